//! `zvm compile`: a module becomes an artefact in a cache; the answer is JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::compile::{self, Caps, Compiled, Settings};
use crate::determinism::Determinism;
use crate::error::Error;
use crate::lockdown;

use super::args::{Words, unknown, usage};

pub fn main(words: Vec<OsString>) -> u8 {
    let result = run(words).and_then(|compiled| {
        serde_json::to_string(&compiled).map_err(|error| Error::failure("answer", error))
    });
    match result {
        Ok(document) => super::print(&(document + "\n")),
        Err(error) => super::answer_error(&error, "compile"),
    }
}

fn run(words: Vec<OsString>) -> Result<Compiled, Error> {
    let mut words = Words::new(words);
    let mut cache = None;
    let mut settings = Settings {
        cache: PathBuf::new(),
        key_file: None,
        caps: Caps::default(),
        memory_bytes: compile::DEFAULT_MEMORY_BYTES,
        seconds: compile::DEFAULT_SECONDS,
        output_bytes: compile::DEFAULT_OUTPUT_BYTES,
        compiler: compile::compiler_beside_us()?,
        determinism: Determinism::Default,
        lockdown: lockdown::Options::default(),
    };
    while let Some(option) = words.option() {
        match option.as_str() {
            "--cache" => cache = Some(PathBuf::from(words.value(&option)?)),
            "--key-file" => settings.key_file = Some(words.value(&option)?.into()),
            "--cache-bytes" => settings.caps.cache_bytes = words.size(&option)?,
            "--reserve-bytes" => settings.caps.reserve_bytes = words.size(&option)?,
            "--memory-bytes" => settings.memory_bytes = words.size(&option)?,
            "--output-bytes" => settings.output_bytes = words.size(&option)?,
            "--strict" => settings.determinism = Determinism::Strict,
            "--seconds" => settings.seconds = words.seconds(&option)?,
            "--compiler" => {
                // It runs in another folder; a relative path is from this one.
                let path = std::path::absolute(words.value(&option)?);
                settings.compiler = path.map_err(|e| usage(format!("{option}: {e}")))?;
            }
            _ if words.lockdown(&option, &mut settings.lockdown)? => {}
            _ => return Err(unknown(&option)),
        }
    }
    settings.cache = cache.ok_or_else(|| usage("--cache DIR is needed".to_owned()))?;
    let program = words.only("PROGRAM")?;
    let module = if program == "-" {
        compile::read_module(std::io::stdin().lock())?
    } else {
        compile::read_module(compile::open_module(program.as_ref())?)?
    };
    compile::compile(&module, &settings)
}

/// Parses the command line of `zvm-compile`.
#[cfg(feature = "compiler")]
pub fn parse_bounds(
    mut words: Vec<OsString>,
) -> Result<crate::compile::compiler::Bounds, Error> {
    const FORM: &str = "zvm-compile MEMORY_BYTES SECONDS OUTPUT_BYTES [OPTIONS] < MODULE";
    let wrong = || usage(FORM.to_owned());
    if words.len() < 3 {
        return Err(wrong());
    }
    let mut options = Words::new(words.split_off(3));
    let mut numbers = Words::new(words);
    let mut bounds = crate::compile::compiler::Bounds {
        memory_bytes: numbers.size("MEMORY_BYTES")?,
        seconds: numbers.seconds("SECONDS")?,
        output_bytes: numbers.size("OUTPUT_BYTES")?,
        determinism: Determinism::Default,
        lockdown: lockdown::Options::default(),
    };
    while let Some(option) = options.option() {
        if option == "--strict" {
            bounds.determinism = Determinism::Strict;
        } else if !options.lockdown(&option, &mut bounds.lockdown)? {
            return Err(wrong());
        }
    }
    match options.rest().is_empty() {
        true => Ok(bounds),
        false => Err(wrong()),
    }
}
