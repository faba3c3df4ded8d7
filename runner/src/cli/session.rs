//! `zvm session`: a manifest on standard input, a report on standard output.

use std::ffi::OsString;
use std::io::{Read, stdin};
use std::os::fd::RawFd;

use crate::error::{Code, Error};
use crate::lockdown::{Options, Plan};
use crate::manifest;
use crate::report::Report;
use crate::session::{self, Session, Setting};
use crate::sys;

use super::args::{Words, unknown, usage};

pub fn main(words: Vec<OsString>) -> u8 {
    let result = run(words).and_then(|report| {
        serde_json::to_string(&report).map_err(|error| Error::failure("report", error))
    });
    match result {
        Ok(document) => super::print(&(document + "\n")),
        Err(error) => super::answer_error(&error, "session"),
    }
}

fn run(words: Vec<OsString>) -> Result<Report, Error> {
    let (numbers, options) = parse_words(words)?;
    let mut keep = vec![0, 1, 2];
    keep.extend(&numbers);
    sys::close_all_except(&keep)?;
    let mut fds = Vec::with_capacity(numbers.len());
    for number in numbers {
        let fd = sys::take_descriptor(number);
        fds.push(fd.map_err(|error| usage(format!("descriptor {number}: {error}")))?);
    }
    let manifest = manifest::parse(&read_manifest()?, fds.len())?;
    let fds = session::in_order(&manifest, fds)?;
    let session = Session::of(manifest, fds, Setting::Node)?;
    session::run(session, Plan::prepare(&options)?)
}

/// Parses `--descriptors N,N,…`, whose list may be empty, and options of the
/// lock-down.
fn parse_words(words: Vec<OsString>) -> Result<(Vec<RawFd>, Options), Error> {
    let mut words = Words::new(words);
    let mut numbers: Vec<RawFd> = Vec::new();
    let mut options = Options::default();
    while let Some(option) = words.option() {
        if words.lockdown(&option, &mut options)? {
            continue;
        }
        if option != "--descriptors" {
            return Err(unknown(&option));
        }
        let text = words.text(&option)?;
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let number = part.parse().ok().filter(|number| *number > 2);
            let number = number.ok_or_else(|| {
                usage(format!("descriptor {part:?}: a number above 2 is needed"))
            })?;
            if numbers.contains(&number) {
                return Err(usage(format!("descriptor {number} is given twice")));
            }
            numbers.push(number);
        }
    }
    if !words.rest().is_empty() {
        return Err(usage("a session takes no operands".to_owned()));
    }
    Ok((numbers, options))
}

fn read_manifest() -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    stdin()
        .lock()
        .take(manifest::MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| Error::failure("read the manifest", error))?;
    if text.len() as u64 > manifest::MAX_BYTES {
        let message = format!("manifest: longer than {} bytes", manifest::MAX_BYTES);
        return Err(Error::refused(Code::BadManifest, message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Vec<RawFd>, Error> {
        parse_words(words.iter().map(OsString::from).collect())
            .map(|(numbers, _)| numbers)
    }

    #[test]
    fn descriptors_are_a_list_of_numbers() {
        assert_eq!(parse(&["--descriptors", "7,9,12"]), Ok(vec![7, 9, 12]));
        assert_eq!(parse(&["--descriptors="]), Ok(vec![]));
    }

    #[test]
    fn standard_descriptors_and_repetitions_are_refused() {
        for (list, text) in [("2", "above 2"), ("7,7", "twice"), ("x", "above 2")] {
            let error = parse(&["--descriptors", list]).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
