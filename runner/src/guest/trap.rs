//! Turns the error that ended a guest's call into an outcome.
//!
//! The words are part of the report's contract. Addresses and native frames never
//! get into a message; the names of the guest's own functions do, because they are
//! what its author needs, and they are a function of the module.

use wasmtime::{Error, GcHeapOutOfMemory, ThrownException, Trap, WasmBacktrace};

use crate::outcome::{Limit, Outcome};

/// Longest name of a function in a message, in characters.
const MAX_NAME: usize = 80;

/// The outcome for `error`, which a call of the guest gave and no host function
/// had asked for.
pub fn outcome(error: &Error) -> Outcome {
    let (word, text) = match error.downcast_ref::<Trap>() {
        Some(trap) => describe(*trap),
        None if error.is::<ThrownException>() => {
            ("uncaught_exception", "an exception that nothing catches")
        }
        None if error.is::<GcHeapOutOfMemory<()>>() => {
            return Outcome::Limit {
                limit: Limit::MemoryBytes,
                message: "no memory is left for an exception (memory_bytes)".to_owned(),
            };
        }
        // Neither a trap nor an end that a host function stored: ours.
        None => return Outcome::Failure(format!("{error:#}")),
    };
    described(error, word, text)
}

/// How the stack of a strict guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackEnd {
    /// By the counter of call depth.
    Counted,
    /// By the native stack, which the counter should have come before.
    Native,
}

/// The word for a native stack that ended first: no function of the job, so it never
/// has a receipt.
pub const HOST_STACK: &str = "host_stack";

/// The outcome when a strict guest's stack has ended.
pub fn of_stack(error: &Error, end: StackEnd) -> Outcome {
    match end {
        StackEnd::Counted => described(error, "stack_overflow", "call stack exhausted"),
        StackEnd::Native => {
            let text = "the host's stack ended before the counted one";
            described(error, HOST_STACK, text)
        }
    }
}

fn described(error: &Error, word: &str, text: &str) -> Outcome {
    let message = match frames(error) {
        Some(frames) => format!("{text} (in {frames})"),
        None => text.to_owned(),
    };
    Outcome::Trap {
        word: word.to_owned(),
        message,
    }
}

/// True if the guest was running when `error` arose: false for a segment of the
/// module that does not fit while it is being instantiated.
pub fn in_guest_code(error: &Error) -> bool {
    error
        .downcast_ref::<WasmBacktrace>()
        .is_some_and(|backtrace| !backtrace.frames().is_empty())
}

/// Word and text of a trap.
fn describe(trap: Trap) -> (&'static str, &'static str) {
    match trap {
        Trap::StackOverflow => ("stack_overflow", "call stack exhausted"),
        Trap::MemoryOutOfBounds => ("memory_out_of_bounds", "memory out of bounds"),
        Trap::TableOutOfBounds => ("table_out_of_bounds", "table out of bounds"),
        Trap::IndirectCallToNull => ("indirect_call", "indirect call to nothing"),
        Trap::BadSignature => ("indirect_call", "indirect call with a wrong signature"),
        Trap::IntegerOverflow => ("integer_overflow", "integer overflow"),
        Trap::IntegerDivisionByZero => ("integer_divide_by_zero", "division by zero"),
        Trap::BadConversionToInteger => {
            ("bad_conversion_to_integer", "a float that is no integer")
        }
        Trap::UnreachableCodeReached => ("unreachable", "unreachable code reached"),
        Trap::NullReference => ("null_reference", "null reference"),
        Trap::HeapMisaligned => ("unaligned_atomic", "unaligned atomic access"),
        Trap::AtomicWaitNonSharedMemory => ("atomic_wait", "wait on unshared memory"),
        // The others belong to features that are off.
        _ => ("other", "trap"),
    }
}

/// Names of the innermost functions, innermost first.
fn frames(error: &Error) -> Option<String> {
    let backtrace = error.downcast_ref::<WasmBacktrace>()?;
    let names: Vec<String> = backtrace
        .frames()
        .iter()
        .map(|frame| match frame.func_name() {
            Some(name) => name
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_NAME)
                .collect(),
            None => format!("function {}", frame.func_index()),
        })
        .collect();
    (!names.is_empty()).then(|| names.join(" < "))
}
