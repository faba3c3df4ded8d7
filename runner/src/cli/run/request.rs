//! What a command line of `zvm run` asks for.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::channel::Direction;
use crate::cli::args::{Words, unknown, usage};
use crate::determinism::Determinism;
use crate::error::{Code, Error};
use crate::lockdown;
use crate::manifest::{DEFAULT_FUEL, Limits, MAX_FUEL, parse_digest};

/// The standard channels, in the order of their descriptors.
pub const STANDARD: [(&str, Direction); 3] = [
    ("/dev/stdin", Direction::Read),
    ("/dev/stdout", Direction::Write),
    ("/dev/stderr", Direction::Write),
];

/// No limit, as a manifest says it: the longest time that it allows.
const LONG_SECONDS: f64 = 86400.0 * 30.0;
const OUTPUT_BYTES: u64 = 1 << 30;

pub struct Request {
    pub program: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub layers: Vec<PathBuf>,
    pub files: Vec<ChannelFile>,
    pub limits: Limits,
    pub seed: Option<String>,
    pub json: bool,
    pub report: Option<PathBuf>,
    pub lockdown: lockdown::Options,
}

/// A file of the shell that stands behind a channel.
pub struct ChannelFile {
    pub path: String,
    pub direction: Direction,
    pub file: PathBuf,
    pub limit_bytes: u64,
}

impl Request {
    pub fn parse(words: Vec<OsString>) -> Result<Self, Error> {
        let mut words = Words::new(words);
        let mut request = Request {
            program: String::new(),
            args: Vec::new(),
            env: Vec::new(),
            layers: Vec::new(),
            files: Vec::new(),
            limits: Limits {
                wall_seconds: LONG_SECONDS,
                cpu_seconds: LONG_SECONDS,
                ..Limits::default()
            },
            seed: None,
            json: false,
            report: None,
            lockdown: lockdown::Options::default(),
        };
        let mut output_bytes = OUTPUT_BYTES;
        while let Some(option) = words.option() {
            match option.as_str() {
                "--output-limit" => output_bytes = words.size(&option)?,
                _ => request.take(&option, &mut words)?,
            }
        }
        for file in &mut request.files {
            if file.direction == Direction::Write {
                file.limit_bytes = output_bytes;
            }
        }
        request.take_operands(words.rest())?;
        Ok(request)
    }

    fn take(&mut self, option: &str, words: &mut Words) -> Result<(), Error> {
        match option {
            "--env" => self.env.push(words.pair(option)?),
            "--env-file" => {
                let path = PathBuf::from(words.value(option)?);
                self.env.extend(read_env_file(&path)?);
            }
            "--layer" => self.layers.push(words.value(option)?.into()),
            "--in" => self.add_file(Direction::Read, words.pair(option)?)?,
            "--out" => self.add_file(Direction::Write, words.pair(option)?)?,
            "--memory" => self.limits.memory_bytes = words.size(option)?.min(4 << 30),
            "--stack" => self.limits.stack_bytes = words.size(option)?,
            "--tmp" => self.limits.tmp_bytes = words.size(option)?,
            "--strict" => {
                self.limits.fuel.get_or_insert(DEFAULT_FUEL);
            }
            "--fuel" => {
                let text = words.text(option)?;
                let fuel = text.parse().ok().filter(|fuel| *fuel <= MAX_FUEL);
                let what = "units of fuel, a whole number";
                let wrong =
                    || usage(format!("{option} {text:?}: {what}, at most {MAX_FUEL}"));
                self.limits.fuel = Some(fuel.ok_or_else(wrong)?);
            }
            "--wall" => self.limits.wall_seconds = words.seconds(option)?,
            "--cpu" => self.limits.cpu_seconds = words.seconds(option)?,
            "--json" => self.json = true,
            "--report" => self.report = Some(words.value(option)?.into()),
            "--seed" => {
                let seed = words.text(option)?;
                if parse_digest(&seed).is_none() {
                    let what = "64 lower-case hexadecimal digits are needed";
                    return Err(usage(format!("--seed {seed:?}: {what}")));
                }
                self.seed = Some(seed);
            }
            _ if words.lockdown(option, &mut self.lockdown)? => {}
            _ => return Err(unknown(option)),
        }
        Ok(())
    }

    /// A limit of fuel is one of strict mode.
    pub fn determinism(&self) -> Determinism {
        match self.limits.fuel {
            Some(_) => Determinism::Strict,
            None => Determinism::Default,
        }
    }

    fn add_file(
        &mut self,
        direction: Direction,
        (name, file): (String, String),
    ) -> Result<(), Error> {
        let path = match (name.as_str(), direction) {
            ("stdin" | "input" | "script", Direction::Read)
            | ("stdout" | "stderr" | "output", Direction::Write) => {
                format!("/dev/{name}")
            }
            (_, Direction::Read) => format!("/dev/in/{name}"),
            (_, Direction::Write) => format!("/dev/out/{name}"),
        };
        if self.files.iter().any(|other| other.path == path) {
            return Err(usage(format!("{path} is given twice")));
        }
        let file = file.into();
        self.files.push(ChannelFile {
            path,
            direction,
            file,
            limit_bytes: u64::MAX,
        });
        Ok(())
    }

    fn take_operands(&mut self, operands: Vec<OsString>) -> Result<(), Error> {
        for operand in operands {
            let word = operand.into_string();
            let word = word.map_err(|word| usage(format!("{word:?} is not UTF-8")))?;
            self.args.push(word);
        }
        let program = self.args.first();
        let program = program.ok_or_else(|| usage("no PROGRAM".to_owned()))?;
        self.program.clone_from(program);
        Ok(())
    }
}

impl ChannelFile {
    /// Opens the file; one to write is made, or emptied.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        let opened = match self.direction {
            Direction::Read => File::open(&self.file),
            Direction::Write => OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&self.file),
        };
        let refused = |error| {
            Error::refused(Code::NotFound, format!("{}: {error}", self.file.display()))
        };
        opened.map(OwnedFd::from).map_err(refused)
    }
}

/// Reads lines `K=V`; empty lines and lines that start with `#` are skipped.
fn read_env_file(path: &PathBuf) -> Result<Vec<(String, String)>, Error> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::refused(Code::NotFound, format!("{shown}: {error}")))?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| match line.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(usage(format!("{shown}:{}: no K=V", number + 1))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, Error> {
        Request::parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn everything_after_the_program_belongs_to_it() {
        let request = parse(&["--env", "A=b=c", "prog", "--json", "-x"]).unwrap();
        assert_eq!(request.args, ["prog", "--json", "-x"]);
        assert_eq!(request.env, [("A".to_owned(), "b=c".to_owned())]);
        assert!(!request.json);
    }

    #[test]
    fn files_become_channels_by_their_names() {
        let words = [
            "--in", "input=a", "--in", "data=b", "--out", "stdout=c", "p",
        ];
        let request = parse(&words).unwrap();
        let paths: Vec<_> = request.files.iter().map(|file| &*file.path).collect();
        assert_eq!(paths, ["/dev/input", "/dev/in/data", "/dev/stdout"]);
        let bytes: Vec<_> = request.files.iter().map(|file| file.limit_bytes).collect();
        assert_eq!(bytes, [u64::MAX, u64::MAX, OUTPUT_BYTES]);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, text) in [
            (&["--wat", "p"][..], "no option --wat"),
            (&[], "no PROGRAM"),
            (
                &["--in", "a=x", "--in", "a=y", "p"],
                "/dev/in/a is given twice",
            ),
            (&["--seed", "12", "p"], "64 lower-case"),
        ] {
            let Err(error) = parse(words) else {
                panic!("{words:?}")
            };
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
