//! Drives the built binaries as an executor would: a compiled guest, a manifest on
//! standard input, descriptors by redirection, a report back.
//!
//! The guests are built by `tools/build_guests`. A test without its guest fails
//! and says so; none is skipped.

// Each test binary uses a part of this.
#![allow(dead_code)]

pub mod daemon;
pub mod modules;
pub mod programs;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

pub const ZVM: &str = env!("CARGO_BIN_EXE_zvm");

/// Path of a guest's module.
pub fn guest(name: &str) -> PathBuf {
    let folder = match std::env::var_os("ZVM_GUESTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/guests"),
    };
    let path = folder.join(format!("{name}.wasm"));
    assert!(
        path.is_file(),
        "{} is missing: run tools/build_guests",
        path.display()
    );
    path
}

/// A fresh folder for one test; it stays for whoever looks into a failure.
pub fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The cache that the tests of this build share.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// Output of one command.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Code and message of an error document.
    pub fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        let text = |key: &str| error[key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

pub fn finish(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `zvm` with `args` and `input`.
pub fn zvm(args: &[&str], input: &[u8]) -> Ended {
    zvm_with(args, input, &[])
}

/// Runs `zvm` with `args`, `input` and variables of the environment.
pub fn zvm_with(args: &[&str], input: &[u8], variables: &[(&str, &str)]) -> Ended {
    let mut child = Command::new(ZVM)
        .args(args)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("XDG_CACHE_HOME", cache())
        .spawn()
        .unwrap();
    // It may end without reading, which is for its status to tell.
    let _ = child.stdin.take().unwrap().write_all(input);
    finish(child)
}

/// Compiles a guest into the shared cache; path of the artefact and its module's
/// digest.
pub fn compile(name: &str) -> (PathBuf, String) {
    compile_file(&guest(name))
}

pub fn compile_file(module: &Path) -> (PathBuf, String) {
    compile_with(module, &[])
}

/// Compiles a module with more options of `zvm compile`.
pub fn compile_with(module: &Path, options: &[&str]) -> (PathBuf, String) {
    compile_by(module, options, &[])
}

/// Compiles with variables of the environment, which a test's build reads.
pub fn compile_by(
    module: &Path,
    options: &[&str],
    variables: &[(&str, &str)],
) -> (PathBuf, String) {
    let cache = cache();
    let mut args = vec!["compile", "--cache", cache.to_str().unwrap()];
    // Not for a busy machine to decide.
    args.extend(["--seconds", "600"]);
    args.extend(options);
    args.push(module.to_str().unwrap());
    let ended = zvm_with(&args, b"", variables);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let answer = ended.json();
    let artefact = answer["artefact"].as_str().unwrap().into();
    (artefact, answer["sha256"].as_str().unwrap().to_owned())
}

/// A session to be run: its manifest, and the files behind its descriptors.
pub struct Session {
    pub manifest: Value,
    pub folder: PathBuf,
    /// Redirections of a shell, one per descriptor.
    redirections: Vec<String>,
    /// More words for `zvm session`, and variables of its own environment.
    options: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Session {
    /// A session of a guest with no channels.
    pub fn new(name: &str) -> Self {
        Session::of(name, compile(name))
    }

    /// A session of a module that a test wrote by hand.
    pub fn of_module(name: &str, module: &[u8]) -> Self {
        let path = folder(name).join("module.wasm");
        std::fs::write(&path, module).unwrap();
        Session::of(name, compile_file(&path))
    }

    /// A session of the module in a file.
    pub fn of_file(name: &str, module: &Path) -> Self {
        Session::of(name, compile_file(module))
    }

    /// A strict one, by an engine that `variables` choose.
    pub fn strict_of_file(
        name: &str,
        module: &Path,
        fuel: u64,
        variables: &[(&str, &str)],
    ) -> Self {
        let compiled = compile_by(module, &["--strict"], variables);
        let mut session = Session::of(name, compiled).made_strict(fuel);
        for (name, value) in variables {
            session = session.environment(name, value);
        }
        session
    }

    /// A strict session of a guest, with so much fuel.
    pub fn strict(name: &str, fuel: u64) -> Self {
        let compiled = compile_with(&guest(name), &["--strict"]);
        Session::of(name, compiled).made_strict(fuel)
    }

    /// A strict session of a module that a test wrote by hand.
    pub fn strict_of_module(name: &str, module: &[u8], fuel: u64) -> Self {
        let path = folder(name).join("module.wasm");
        std::fs::write(&path, module).unwrap();
        let compiled = compile_with(&path, &["--strict"]);
        Session::of(name, compiled).made_strict(fuel)
    }

    /// The manifest of a strict session; the artefact stays.
    pub fn made_strict(mut self, fuel: u64) -> Self {
        self.manifest["version"] = json!(2);
        self.manifest["determinism"] = json!("strict");
        self.limit("fuel", json!(fuel))
    }

    fn of(name: &str, (artefact, sha256): (PathBuf, String)) -> Self {
        let manifest = json!({
            "version": 1, "job": "job", "node": name,
            "program": {"descriptor": 0, "sha256": sha256, "name": name},
            "args": [name], "env": [], "layers": [], "channels": [],
            "limits": {
                "memory_bytes": 64 << 20, "wall_seconds": 20.0, "cpu_seconds": 20.0,
                "stack_bytes": 8 << 20, "tmp_bytes": 1 << 20, "files": 100,
                "stderr_bytes": 1024,
            },
            "clock_nanoseconds": 946684800000000000u64, "seed": "5e".repeat(32),
        });
        let redirections = vec![format!("<{}", artefact.display())];
        Session {
            manifest,
            folder: folder(name),
            redirections,
            options: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Adds an option of `zvm session`.
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Adds an option of `zvm session` that has no value.
    pub fn flag(mut self, name: &str) -> Self {
        self.options.push(name.to_owned());
        self
    }

    /// Sets a variable of the runner's environment, not of the guest's.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        let name = self.manifest["args"][0].clone();
        let mut all = vec![name];
        all.extend(args.iter().map(|arg| json!(arg)));
        self.manifest["args"] = Value::Array(all);
        self
    }

    pub fn limit(mut self, name: &str, value: Value) -> Self {
        self.manifest["limits"][name] = value;
        self
    }

    /// Adds an input that holds `content`.
    pub fn input(self, path: &str, access: &str, content: &[u8]) -> Self {
        let file = self.folder.join(path.replace('/', "_"));
        std::fs::write(&file, content).unwrap();
        self.channel(
            path,
            "read",
            access,
            format!("<{}", file.display()),
            u64::MAX,
        )
    }

    /// Adds an empty output.
    pub fn output(self, path: &str, access: &str, limit_bytes: u64) -> Self {
        let file = self.file_of(path);
        std::fs::write(&file, b"").unwrap();
        self.channel(
            path,
            "write",
            access,
            format!("<>{}", file.display()),
            limit_bytes,
        )
    }

    /// Adds a channel with any redirection behind it.
    pub fn channel(
        mut self,
        path: &str,
        direction: &str,
        access: &str,
        redirection: String,
        limit_bytes: u64,
    ) -> Self {
        let descriptor = self.redirections.len();
        self.redirections.push(redirection);
        self.manifest["channels"]
            .as_array_mut()
            .unwrap()
            .push(json!({
                "path": path, "direction": direction, "access": access,
                "descriptor": descriptor, "identity": format!("identity of {path}"),
                "limit_bytes": limit_bytes, "limit_calls": 1u64 << 32,
            }));
        self
    }

    /// Adds a layer; a file is its tar.
    pub fn layer(mut self, tar: &Path) -> Self {
        let descriptor = self.redirections.len();
        self.redirections.push(format!("<{}", tar.display()));
        self.manifest["layers"].as_array_mut().unwrap().push(json!({
            "descriptor": descriptor, "sha256": "00".repeat(32), "name": "layer",
        }));
        self
    }

    /// As `layer`, of the operator's.
    #[allow(dead_code, reason = "tests of the daemon use it")]
    pub fn system_layer(self, tar: &Path) -> Self {
        let mut session = self.layer(tar);
        let layers = session.manifest["layers"].as_array_mut().unwrap();
        layers.last_mut().unwrap()["system"] = json!(true);
        session
    }

    /// Puts another file in the place of descriptor `index`.
    pub fn redirect(mut self, index: usize, redirection: String) -> Self {
        self.redirections[index] = redirection;
        self
    }

    fn file_of(&self, path: &str) -> PathBuf {
        self.folder.join(path.replace('/', "_"))
    }

    /// Empties the outputs, as they must be when a session starts.
    pub fn clear_outputs(&self) {
        for channel in self.manifest["channels"].as_array().unwrap() {
            if channel["direction"] == "write" {
                let path = channel["path"].as_str().unwrap();
                std::fs::write(self.file_of(path), b"").unwrap();
            }
        }
    }

    /// What an output holds now.
    pub fn content(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.file_of(path)).unwrap()
    }

    /// Starts the session. A shell opens the files under the right numbers, in the
    /// new process only, then becomes zvm.
    pub fn start(&self) -> Child {
        assert!(
            self.redirections.len() <= 7,
            "a shell knows nine descriptors"
        );
        let numbers: Vec<String> = (3..3 + self.redirections.len())
            .map(|number| number.to_string())
            .collect();
        let redirections: Vec<String> = self
            .redirections
            .iter()
            .zip(&numbers)
            .map(|(redirection, number)| format!("{number}{redirection}"))
            .collect();
        let line = format!("exec \"$0\" session \"$@\" {}", redirections.join(" "));
        let mut child = Command::new("sh")
            .args(["-c", &line, ZVM, "--descriptors", &numbers.join(",")])
            .args(&self.options)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let manifest = serde_json::to_vec(&self.manifest).unwrap();
        let _ = child.stdin.take().unwrap().write_all(&manifest);
        child
    }

    /// Opens what the redirections name, as [`Session::start`] lets the shell do.
    pub fn open(&self) -> Vec<OwnedFd> {
        let open = |redirection: &String| {
            let path = redirection.trim_start_matches(['<', '>']);
            let operator = redirection.strip_suffix(path).unwrap();
            let mut options = File::options();
            match operator {
                "<" => options.read(true),
                "<>" => options.read(true).write(true),
                ">" => options.write(true),
                other => panic!("{other}"),
            };
            options.open(path).unwrap().into()
        };
        self.redirections.iter().map(open).collect()
    }

    pub fn text(&self) -> Vec<u8> {
        serde_json::to_vec(&self.manifest).unwrap()
    }

    /// Runs the session; its report.
    pub fn run(&self) -> Value {
        let ended = finish(self.start());
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert_eq!(ended.stderr, "");
        ended.json()
    }

    /// Runs a session that is refused; status, code and message.
    pub fn refused(&self) -> (i32, String, String) {
        let ended = finish(self.start());
        let (code, message) = ended.error();
        (ended.status.unwrap(), code, message)
    }
}

/// Kind and code of a report's outcome.
pub fn outcome(report: &Value) -> (String, String) {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    (
        text(&report["outcome"]["kind"]),
        text(&report["outcome"]["code"]),
    )
}

/// A report without what differs from run to run.
pub fn lasting(mut report: Value) -> Value {
    for key in ["wall_seconds", "cpu_seconds"] {
        let time = report.as_object_mut().unwrap().remove(key);
        assert!(time.is_some_and(|time| time.is_number()), "{key}");
    }
    report
}

/// Asserts kind and code of a report's outcome.
pub fn assert_outcome(report: &Value, kind: &str, code: &str) {
    assert_eq!(
        outcome(report),
        (kind.to_owned(), code.to_owned()),
        "{report:#}"
    );
}

/// What a VM's process has open, besides what every one has: null devices and its
/// program.
#[allow(dead_code, reason = "tests of processes use it")]
pub fn own_files_of(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut files: Vec<String> = entries
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| target != "/dev/null" && !target.ends_with(".cwasm"))
        .collect();
    files.sort();
    files
}
