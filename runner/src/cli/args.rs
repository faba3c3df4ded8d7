//! Options before operands, each with one value or none; no library is needed.

use std::collections::VecDeque;
use std::ffi::OsString;

use crate::error::{Code, Error};
use crate::lockdown;

/// The words of a command line that have not been taken yet.
pub struct Words(VecDeque<OsString>);

impl Words {
    pub fn new(words: Vec<OsString>) -> Self {
        Words(words.into())
    }

    /// Takes the next option (`--name`), if an option comes next. `--name=value` is
    /// taken apart; `--` is taken and ends the options; `-` is an operand.
    pub fn option(&mut self) -> Option<String> {
        let word = self.0.front()?.to_str()?.to_owned();
        if word == "--" {
            self.0.pop_front();
            return None;
        }
        if word.len() < 2 || !word.starts_with('-') {
            return None;
        }
        self.0.pop_front();
        match word.split_once('=') {
            Some((name, value)) => {
                self.0.push_front(value.into());
                Some(name.to_owned())
            }
            None => Some(word),
        }
    }

    /// Takes the value of option `name`.
    pub fn value(&mut self, name: &str) -> Result<OsString, Error> {
        self.0
            .pop_front()
            .ok_or_else(|| usage(format!("{name} needs a value")))
    }

    /// Takes the value of option `name` as text.
    pub fn text(&mut self, name: &str) -> Result<String, Error> {
        let value = self.value(name)?;
        value
            .into_string()
            .map_err(|value| usage(format!("{name} {value:?} is not UTF-8")))
    }

    /// Takes the value of option `name` as seconds above 0.
    pub fn seconds(&mut self, name: &str) -> Result<f64, Error> {
        const MAX: f64 = 86400.0 * 30.0;
        let text = self.text(name)?;
        match text.parse() {
            Ok(seconds) if seconds > 0.0 && seconds <= MAX => Ok(seconds),
            _ => Err(usage(format!(
                "{name} {text:?}: seconds, above 0, at most {MAX}"
            ))),
        }
    }

    /// Takes the value of option `name` as a size: a number, maybe with K, M or G.
    pub fn size(&mut self, name: &str) -> Result<u64, Error> {
        let text = self.text(name)?;
        parse_size(&text).ok_or_else(|| {
            usage(format!(
                "{name} {text:?}: a number of bytes, K, M or G may follow"
            ))
        })
    }

    /// Takes the value of option `name`, which has the form `KEY=VALUE`.
    pub fn pair(&mut self, name: &str) -> Result<(String, String), Error> {
        let text = self.text(name)?;
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok((key.to_owned(), value.to_owned()))
            }
            _ => Err(usage(format!("{name} {text:?}: NAME=VALUE is needed"))),
        }
    }

    /// Takes `option` if it is one about the lock-down, which several commands have.
    pub fn lockdown(
        &mut self,
        option: &str,
        options: &mut lockdown::Options,
    ) -> Result<bool, Error> {
        match option {
            "--vm-uid" => {
                let text = self.text(option)?;
                let wish = text.parse();
                options.uid = wish
                    .map_err(|allowed| usage(format!("{option} {text:?}: {allowed}")))?;
            }
            "--require-landlock" => options.require_landlock = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The operands.
    pub fn rest(self) -> Vec<OsString> {
        self.0.into()
    }

    /// The only operand, called `what` in the complaint if it is not.
    pub fn only(self, what: &str) -> Result<OsString, Error> {
        let mut words = self.0.into_iter();
        match (words.next(), words.next()) {
            (Some(word), None) => Ok(word),
            _ => Err(usage(format!("exactly one {what} is needed"))),
        }
    }
}

pub fn usage(message: String) -> Error {
    Error::refused(Code::Usage, message + "; see zvm --help")
}

pub fn unknown(option: &str) -> Error {
    usage(format!("no option {option}"))
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().next_back()? {
        (at, 'K' | 'k') => (text.get(..at)?, 10),
        (at, 'M' | 'm') => (text.get(..at)?, 20),
        (at, 'G' | 'g') => (text.get(..at)?, 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Words {
        Words::new(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn options_end_at_the_first_operand() {
        let mut words = words(&["--wall=2", "--json", "prog", "--not-ours"]);
        assert_eq!(words.option().as_deref(), Some("--wall"));
        assert_eq!(words.seconds("--wall"), Ok(2.0));
        assert_eq!(words.option().as_deref(), Some("--json"));
        assert_eq!(words.option(), None);
        assert_eq!(words.rest(), ["prog", "--not-ours"]);
    }

    #[test]
    fn two_dashes_end_the_options() {
        let mut words = words(&["--", "--prog"]);
        assert_eq!(words.option(), None);
        assert_eq!(words.only("program"), Ok("--prog".into()));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("17"), Some(17));
        assert_eq!(parse_size("2k"), Some(2048));
        assert_eq!(parse_size("4G"), Some(4 << 30));
        for bad in ["", "K", "-1", "1T", "99999999999G"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn bad_values_name_the_option() {
        let text = words(&["0"]).seconds("--wall").unwrap_err().to_string();
        assert!(text.starts_with("--wall \"0\": seconds"), "{text}");
        let text = words(&[]).text("--env").unwrap_err().to_string();
        assert!(text.starts_with("--env needs a value"), "{text}");
        let text = words(&["=x"]).pair("--env").unwrap_err().to_string();
        assert!(text.contains("NAME=VALUE"), "{text}");
    }
}
