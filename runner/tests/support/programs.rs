//! The programs of the determinism suite: a little of everything that a guest can
//! see, do, and run into.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Session;

/// What a program is made of.
#[derive(Clone, Copy)]
pub enum Code {
    /// One of tests/guests, by its name.
    Guest(&'static str),
    /// Text, with what every program here imports and exports.
    Wat(&'static str),
    /// A script of the Python image, started from the beginning.
    Python(&'static str),
}

pub struct Program {
    pub name: &'static str,
    pub code: Code,
    pub args: &'static [&'static str],
    /// Of standard input; /dev/input has the same bytes.
    pub input: fn() -> Vec<u8>,
    pub limits: &'static [(&'static str, u64)],
    /// Of standard output.
    pub output_bytes: u64,
    pub kind: &'static str,
}

/// How a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Default,
    /// With so much fuel.
    Strict(u64),
}

const PLENTY: u64 = 1 << 40;
pub const STRICT: Mode = Mode::Strict(PLENTY);

fn nothing() -> Vec<u8> {
    Vec::new()
}

/// Bytes that no compressor likes.
fn noise() -> Vec<u8> {
    let mut bytes = vec![0; 300_000];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn words() -> Vec<u8> {
    let word = |n: u32| format!("word{} {}\n", n * 7919 % 1000, n);
    (0..5000).map(word).collect::<String>().into_bytes()
}

const fn program(name: &'static str, code: Code) -> Program {
    Program {
        name,
        code,
        args: &[],
        input: nothing,
        limits: &[],
        output_bytes: 1 << 20,
        kind: "exit",
    }
}

const fn guest(name: &'static str) -> Program {
    program(name, Code::Guest(name))
}

const fn wat(name: &'static str, text: &'static str) -> Program {
    program(name, Code::Wat(text))
}

const fn python(name: &'static str, script: &'static str) -> Program {
    program(name, Code::Python(script))
}

impl Program {
    const fn args(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    const fn input(mut self, input: fn() -> Vec<u8>) -> Self {
        self.input = input;
        self
    }

    const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    const fn limits(mut self, limits: &'static [(&'static str, u64)]) -> Self {
        self.limits = limits;
        self
    }

    const fn output(mut self, bytes: u64) -> Self {
        self.output_bytes = bytes;
        self
    }

    const fn ends(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    pub fn is_python(&self) -> bool {
        matches!(self.code, Code::Python(_))
    }

    /// The session, with files of its own.
    pub fn session(&self, mode: Mode) -> Session {
        self.session_by(mode, &[])
    }

    /// The same with another module in the program's place.
    pub fn session_of(&self, mode: Mode, module: &Path) -> Session {
        self.made(mode, module, &[])
    }

    /// The same by an engine that `variables` choose; strict only.
    pub fn session_by(&self, mode: Mode, variables: &[(&str, &str)]) -> Session {
        self.made(mode, &self.module(), variables)
    }

    fn made(&self, mode: Mode, module: &Path, variables: &[(&str, &str)]) -> Session {
        let mut session = match mode {
            Mode::Default => Session::of_file(self.name, module),
            Mode::Strict(fuel) => {
                Session::strict_of_file(self.name, module, fuel, variables)
            }
        };
        session = match self.code {
            Code::Python(script) => {
                let session = session
                    .layer(&image())
                    .limit("memory_bytes", json!(256 << 20))
                    .limit("files", json!(1000));
                let args = [&["-c", script], self.args].concat();
                with_python_environment(session.args(&args))
            }
            _ => {
                let tree = tree();
                session.layer(&tree).args(self.args)
            }
        };
        let input = (self.input)();
        session = session
            .input("/dev/stdin", "sequential", &input)
            .input("/dev/input", "random", &input)
            .output("/dev/stdout", "sequential", self.output_bytes)
            .output("/dev/output", "random", 1 << 20);
        for (name, value) in [("Z", "last"), ("A", "first"), ("LANG", "C"), ("B", "")] {
            let env = session.manifest["env"].as_array_mut().unwrap();
            env.push(json!([name, value]));
        }
        for (name, value) in self.limits {
            session = session.limit(name, json!(value));
        }
        session
    }

    fn module(&self) -> PathBuf {
        match self.code {
            Code::Guest(name) => super::guest(name),
            Code::Wat(text) => {
                let path = super::cache().with_extension(format!("{}.wasm", self.name));
                write_once(&path, &wat::parse_str(whole(text)).unwrap());
                path
            }
            Code::Python(_) => interpreter("python"),
        }
    }
}

/// Writes a file that other tests of this build write too, with the same bytes.
fn write_once(path: &Path, bytes: &[u8]) {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return;
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    std::fs::write(&draft, bytes).unwrap();
    std::fs::rename(&draft, path).unwrap();
}

pub fn image() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/images/python3.tar");
    assert!(path.is_file(), "run tools/build_images");
    path
}

/// A program of the Python image: the interpreter, or its template.
pub fn interpreter(member: &str) -> PathBuf {
    let name = member.replace(['/', '.'], "_");
    let path = super::cache().with_extension(format!("{name}.wasm"));
    if !path.is_file() {
        write_once(&path, &tar_member(&image(), member));
    }
    path
}

pub const TEMPLATE: &str = ".zerocloud/templates/python";

fn tar_member(tar: &Path, member: &str) -> Vec<u8> {
    let output = std::process::Command::new("tar")
        .args(["-xOf", tar.to_str().unwrap(), member])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// What the image says of its environment.
fn with_python_environment(mut session: Session) -> Session {
    let said: Value =
        serde_json::from_slice(&tar_member(&image(), ".zerocloud/image.json")).unwrap();
    for (name, value) in said["env"].as_object().into_iter().flatten() {
        let env = session.manifest["env"].as_array_mut().unwrap();
        env.push(json!([name, value]));
    }
    session
}

/// A small tree, whose names are not in order.
fn tree() -> PathBuf {
    let path = super::cache().with_extension("tree.tar");
    if path.is_file() {
        return path;
    }
    let folder = super::folder("tree");
    for (name, content) in [("z", "zz"), ("a", "a"), ("m", "mmm"), ("B", ""), ("é", "e")]
    {
        std::fs::create_dir_all(folder.join("d")).unwrap();
        std::fs::write(folder.join("d").join(name), content).unwrap();
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let words = [
        "--sort=none",
        "--owner=0",
        "--group=0",
        "--mtime=@1000000000",
        "-cf",
    ];
    let status = std::process::Command::new("tar")
        .args(words)
        .arg(&draft)
        .arg("-C")
        .arg(&folder)
        .args(["d/z", "d/a", "d/m", "d/B", "d/é"])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::rename(&draft, &path).unwrap();
    path
}

/// Imports, a memory, and `$say`, which writes bytes of the memory to stdout.
fn whole(text: &str) -> String {
    format!("(module {PRELUDE} {text})")
}

const PRELUDE: &str = include_str!("prelude.wat");

pub const PROGRAMS: &[Program] = &[
    // What a guest sees of the world.
    wat("probe", include_str!("probe.wat")).input(words),
    guest("hello"),
    guest("args_env").args(&["a b", "ä", ""]),
    guest("clock_random"),
    guest("wasi_time"),
    guest("read_dir"),
    guest("wasi_names"),
    guest("wasi_streams").input(words),
    guest("sockets"),
    guest("open_host"),
    guest("close_all"),
    // Channels and files.
    guest("cat").input(noise),
    guest("count_bytes").input(noise),
    guest("hash_all").input(noise),
    guest("seek_read").args(&["5", "100", "-50", "20", "0", "3"]).input(words),
    guest("write_random"),
    guest("write_stdin").input(words),
    guest("files_tmp"),
    guest("jumps").args(&["nest"]),
    guest("jumps").args(&["loop", "20000"]).named("jumps_loop"),
    guest("jumps").args(&["stray"]).named("jumps_stray").ends("trap"),
    guest("throws"),
    guest("many_files").limits(&[("files", 50)]),
    guest("open_files").limits(&[("files", 40)]),
    guest("fill_tmp").limits(&[("tmp_bytes", 200_000)]),
    guest("alloc_all").limits(&[("memory_bytes", 20 << 20)]),
    guest("alloc_all")
        .named("alloc_all_grow")
        .args(&["grow"])
        .limits(&[("memory_bytes", 20 << 20)]),
    // Ends.
    guest("exit_code").args(&["7"]),
    guest("trap").ends("trap"),
    guest("recurse").ends("trap"),
    guest("endless_output").output(100_000).ends("limit"),
    guest("cat")
        .named("cat_over_limit")
        .input(noise)
        .output(1000)
        .ends("limit"),
    guest("hello")
        .named("starts_with_more_memory")
        .limits(&[("memory_bytes", 65_536)])
        .ends("limit"),
    wat("unreachable", "(func (export \"_start\") unreachable)").ends("trap"),
    wat(
        "divide_by_zero",
        "(func (export \"_start\") (drop (i32.div_s (i32.const 1) (i32.load (i32.const 0)))))",
    )
    .ends("trap"),
    wat(
        "integer_overflow",
        "(func (export \"_start\")
          (drop (i32.div_s (i32.const 0x80000000)
                           (i32.sub (i32.load (i32.const 0)) (i32.const 1)))))",
    )
    .ends("trap"),
    wat(
        "bad_conversion",
        "(func (export \"_start\")
          (drop (i32.trunc_f64_s (f64.div (f64.load (i32.const 0)) (f64.load (i32.const 0))))))",
    )
    .ends("trap"),
    wat(
        "memory_out_of_bounds",
        "(func (export \"_start\") (i32.store (i32.const 8) (i32.const 65)) (call $say (i32.const 8) (i32.const 1))
          (i32.store (i32.const -4) (i32.const 1)))",
    )
    .ends("trap"),
    wat(
        "indirect_call",
        "(table 4 funcref) (type $t (func))
        (func (export \"_start\") (call_indirect (type $t) (i32.const 2)))",
    )
    .ends("trap"),
    wat(
        "table_out_of_bounds",
        "(table 4 funcref) (type $t (func))
        (func (export \"_start\") (call_indirect (type $t) (i32.const 9)))",
    )
    .ends("trap"),
    wat(
        "table_grows_to_its_limit",
        "(table $t 1 funcref)
        (func (export \"_start\") (local $n i32)
          (local.set $n (table.grow $t (ref.null func) (i32.const 2000000)))
          (i32.store (i32.const 0) (local.get $n))
          (i32.store (i32.const 4) (table.grow $t (ref.null func) (i32.const 1000)))
          (call $say (i32.const 0) (i32.const 8)))",
    ),
    wat(
        "start_function_traps",
        "(func $init unreachable) (start $init) (func (export \"_start\"))",
    )
    .ends("trap"),
    // How deep it goes: it says so at each thousandth call.
    wat(
        "depth",
        "(global $depth (mut i32) (i32.const 0))
        (func $down (param i64 i64) (result i64)
          (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
          (i32.store (i32.const 0) (global.get $depth))
          (if (i32.eqz (i32.rem_u (global.get $depth) (i32.const 100)))
            (then (call $say (i32.const 0) (i32.const 4))))
          (i64.add (local.get 1) (call $down (local.get 1) (local.get 0))))
        (func (export \"_start\") (drop (call $down (i64.const 1) (i64.const 2))))",
    )
    .ends("trap"),
    // Arithmetic.
    wat("floats", include_str!("floats.wat")),
    wat("vectors", include_str!("vectors.wat")),
    wat("exceptions", include_str!("exceptions.wat")),
    wat(
        "integers",
        "(func (export \"_start\") (local $i i32) (local $a i64)
          (local.set $a (i64.const 0x9e3779b97f4a7c15))
          (loop $again
            (local.set $a (i64.mul (i64.rotl (i64.xor (local.get $a)
              (i64.extend_i32_u (i32.popcnt (local.get $i)))) (i64.const 31))
              (i64.add (i64.clz (local.get $a)) (i64.const 0xbf58476d1ce4e5b9))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 100000))))
          (i64.store (i32.const 0) (local.get $a))
          (call $say (i32.const 0) (i32.const 8)))",
    ),
    wat(
        "bulk_memory",
        "(func (export \"_start\") (local $i i32)
          (memory.fill (i32.const 100) (i32.const 7) (i32.const 60000))
          (loop $again
            (memory.copy (i32.add (i32.const 90) (local.get $i)) (i32.const 100) (i32.const 50000))
            (i32.store (i32.add (i32.const 100) (local.get $i)) (local.get $i))
            (local.set $i (i32.add (local.get $i) (i32.const 13)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 5000))))
          (call $say (i32.const 0) (i32.const 65000)))",
    ),
    // An interpreter.
    python("python_hello", "print('hello')"),
    python(
        "python_world",
        "import os, sys, time, random, uuid, secrets
print(sys.argv, sorted(os.environ.items()) == list(os.environ.items()), os.environ)
print(time.time(), time.monotonic(), time.perf_counter(), time.localtime())
print(random.random(), uuid.uuid4(), secrets.token_hex(8), os.urandom(4), os.getpid())
print({'a', 'b', 'c', 'ä', 1, 2.5}, hash('x'), hash((1, 'y')))
for root, dirs, files in os.walk('/dev'): print(root, dirs, files)
print(os.stat('/'), os.stat('/dev/stdin'), os.listdir('/tmp'))",
    ),
    python(
        "python_numbers",
        "import math, struct, json, decimal, fractions
x = 0.5
for n in range(3000): x = math.sin(x * 3.7) + math.sqrt(abs(x)) / (n + 1) + math.exp(-x * x)
print(x, struct.pack('<d', x).hex(), struct.pack('<d', float('inf') - float('inf')).hex())
print(2 ** 2000 % 10 ** 30, decimal.Decimal(1) / 7, fractions.Fraction(3, 9))
print(json.dumps([0.1 + 0.2, 1e308 * 10, -0.0]))",
    ),
    python(
        "python_files",
        "import os, tempfile, csv, io, hashlib, sys
data = open('/dev/input', 'rb').read()
print(hashlib.sha256(data).hexdigest(), len(sys.stdin.read()))
with tempfile.TemporaryDirectory() as folder:
    print(folder)
    for n in range(40): open(f'{folder}/{n * 7919 % 40}', 'w').write(str(n))
    print(os.listdir(folder), [os.stat(f'{folder}/{n}').st_ino for n in range(5)])
with open('/dev/output', 'r+b') as out: out.seek(10); out.write(data[:100])",
    )
    .input(words),
    python(
        "python_fails",
        "import sys
def down(n): return down(n + 1) if n < 10**6 else n
try: down(0)
except RecursionError as error: print(error)
try: bytearray(10**10)
except MemoryError: print('memory')
print('last words', file=sys.stderr)
raise SystemExit(5)",
    ),
    python("python_traceback", "def f(): return {}['missing']\nf()"),
];
