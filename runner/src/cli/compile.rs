//! `zvm compile`: a module becomes an artefact in a cache; the answer is JSON.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::compile::{self, Caps, Compiled, Settings};
use crate::error::Error;

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
        compiler: compile::compiler_beside_us()?,
    };
    while let Some(option) = words.option() {
        match option.as_str() {
            "--cache" => cache = Some(PathBuf::from(words.value(&option)?)),
            "--key-file" => settings.key_file = Some(words.value(&option)?.into()),
            "--cache-bytes" => settings.caps.cache_bytes = words.size(&option)?,
            "--reserve-bytes" => settings.caps.reserve_bytes = words.size(&option)?,
            "--memory-bytes" => settings.memory_bytes = words.size(&option)?,
            "--seconds" => settings.seconds = words.seconds(&option)?,
            "--compiler" => {
                // It runs in another folder; a relative path is from this one.
                let path = std::path::absolute(words.value(&option)?);
                settings.compiler = path.map_err(|e| usage(format!("{option}: {e}")))?;
            }
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
