//! Every exit status of zvm, in one table.
//!
//! | status | `zvm session`, `zvm compile`, … | `zvm run` |
//! |---|---|---|
//! | 0 | a report (an artefact) was written; `zvm serve` has drained | the guest exited 0 |
//! | 1–255 | | the guest's exit code, `& 0xff` |
//! | 64 | the command line is wrong | – |
//! | 65 | the manifest, layer, artefact or module is bad; the socket is taken | – |
//! | 70 | zvm itself failed | – |
//! | 124 | | the wall or CPU limit ended the guest |
//! | 125 | | zvm itself failed, or the command line is wrong |
//! | 126 | | the program, a layer or a file was refused |
//! | 134 | | the guest trapped, or passed another limit |
//! | 128+n | | signal n ended the guest |
//!
//! `zvm run` follows `timeout` (124), `env` (125, 126) and shells (134 is an abort,
//! 128+n a signal), so that it can stand in a script for the program it runs.

use crate::error::{Code, Error};
use crate::outcome::{Limit, Outcome};

pub const OK: u8 = 0;
pub const USAGE: u8 = 64;
pub const REFUSED: u8 = 65;
pub const FAILURE: u8 = 70;

const RUN_DEADLINE: u8 = 124;
const RUN_FAILURE: u8 = 125;
const RUN_REFUSED: u8 = 126;
const RUN_TRAP: u8 = 134;
const RUN_SIGNAL: u8 = 128;

/// Status of the commands that answer with a document.
pub fn of_error(error: &Error) -> u8 {
    match error {
        Error::Refused {
            code: Code::Usage, ..
        } => USAGE,
        Error::Refused { .. } => REFUSED,
        Error::Failure(_) => FAILURE,
    }
}

/// Status of `zvm run` when the guest never ran.
pub fn of_run_error(error: &Error) -> u8 {
    match error {
        Error::Refused {
            code: Code::Usage, ..
        }
        | Error::Failure(_) => RUN_FAILURE,
        Error::Refused { .. } => RUN_REFUSED,
    }
}

/// Status of `zvm run` for what became of the guest.
pub fn of_outcome(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Exit(code) => (code & 0xff) as u8,
        Outcome::Limit {
            limit: Limit::WallSeconds | Limit::CpuSeconds,
            ..
        } => RUN_DEADLINE,
        Outcome::Trap { .. } | Outcome::Limit { .. } => RUN_TRAP,
        Outcome::Killed { signal, .. } => RUN_SIGNAL | (signal & 0x7f) as u8,
        Outcome::Failure(_) => RUN_FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_beyond_a_byte_are_cut() {
        assert_eq!(of_outcome(&Outcome::Exit(0x1_07)), 7);
    }

    #[test]
    fn deadlines_and_other_limits_differ() {
        let over = |limit| Outcome::Limit {
            limit,
            message: String::new(),
        };
        assert_eq!(of_outcome(&over(Limit::CpuSeconds)), 124);
        assert_eq!(of_outcome(&over(Limit::OutputBytes)), 134);
    }

    #[test]
    fn signals_follow_the_shell() {
        let killed = Outcome::Killed {
            signal: 9,
            message: String::new(),
        };
        assert_eq!(of_outcome(&killed), 137);
    }

    #[test]
    fn usage_is_told_apart_from_data() {
        let usage = Error::refused(Code::Usage, "");
        let data = Error::refused(Code::BadLayer, "");
        assert_eq!((of_error(&usage), of_run_error(&usage)), (64, 125));
        assert_eq!((of_error(&data), of_run_error(&data)), (65, 126));
    }
}
