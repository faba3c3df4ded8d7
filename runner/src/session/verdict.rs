//! The child's last word to its parent, through the ledger.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::ledger::Ledger;
use crate::outcome::Outcome;

/// Longest message in a verdict, in bytes before escaping.
const MAX_MESSAGE: usize = 2048;

#[derive(Debug, Deserialize, Serialize)]
pub enum Verdict {
    /// The guest ran, and ended so.
    Ran(Outcome),
    /// It never ran: something that the caller gave is bad.
    Refused { code: String, message: String },
    /// zvm failed.
    Failed(String),
}

impl Verdict {
    pub fn of(result: Result<Outcome, Error>) -> Self {
        match result {
            Ok(Outcome::Failure(message)) => Verdict::Failed(cut(message)),
            Ok(outcome) => Verdict::Ran(with_short_message(outcome)),
            Err(Error::Refused { code, message }) => Verdict::Refused {
                code: code.name().to_owned(),
                message: cut(message),
            },
            Err(Error::Failure(message)) => Verdict::Failed(cut(message)),
        }
    }

    pub fn store(&self, ledger: &Ledger) {
        // Messages are cut to fit even if every byte is escaped; were it not so,
        // the parent would see no verdict and say that.
        if let Ok(text) = serde_json::to_vec(self) {
            ledger.set_verdict(&text);
        }
    }

    pub fn load(ledger: &Ledger) -> Option<Self> {
        serde_json::from_slice(&ledger.verdict()).ok()
    }

    pub fn into_outcome(self) -> Result<Outcome, Error> {
        match self {
            Verdict::Ran(Outcome::Failure(message)) | Verdict::Failed(message) => {
                Err(Error::Failure(message))
            }
            Verdict::Ran(outcome) => Ok(outcome),
            Verdict::Refused { code, message } => match Code::from_name(&code) {
                // Shortened and escaped again: a VM taken over can say anything.
                Some(code) => Err(Error::refused(code, message)),
                None => Err(Error::Failure(message)),
            },
        }
    }
}

fn with_short_message(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Exit(code) => Outcome::Exit(code),
        Outcome::Trap { word, message } => Outcome::Trap {
            word,
            message: cut(message),
        },
        Outcome::Limit { limit, message } => Outcome::Limit {
            limit,
            message: cut(message),
        },
        Outcome::Killed { signal, message } => Outcome::Killed {
            signal,
            message: cut(message),
        },
        Outcome::Failure(message) => Outcome::Failure(cut(message)),
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE)
            .rev()
            .find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_message_fits_the_ledger() {
        let ledger = Ledger::new(0, 0).unwrap();
        let message = "\u{1}".repeat(100_000);
        Verdict::of(Ok(Outcome::Trap {
            word: "x".into(),
            message,
        }))
        .store(&ledger);
        let outcome = Verdict::load(&ledger).unwrap().into_outcome().unwrap();
        let Outcome::Trap { message, .. } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(message.ends_with('…') && message.len() < 3000);
    }

    #[test]
    fn refusals_and_failures_come_back_as_errors() {
        let ledger = Ledger::new(0, 0).unwrap();
        let refused = Error::refused(Code::BadLayer, "no tar");
        Verdict::of(Err(refused.clone())).store(&ledger);
        assert_eq!(Verdict::load(&ledger).unwrap().into_outcome(), Err(refused));
        Verdict::of(Ok(Outcome::Failure("disk".into()))).store(&ledger);
        let outcome = Verdict::load(&ledger).unwrap().into_outcome();
        assert_eq!(outcome, Err(Error::Failure("disk".into())));
    }

    #[test]
    fn nothing_stored_is_no_verdict() {
        assert!(Verdict::load(&Ledger::new(0, 0).unwrap()).is_none());
    }
}
