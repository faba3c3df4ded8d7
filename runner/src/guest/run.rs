//! Runs one guest from its module to its end.
//!
//! Nothing here knows of processes: given a module and the guest's world, it
//! instantiates, calls `_start`, and says how that ended. Linking checks the types
//! of all imports, so a module that got past the compiler's policy with an import
//! of a wrong type still cannot be called.

use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, Store};

use crate::error::{Code, Error};
use crate::ledger::Ledger;
use crate::outcome::{Limit, Outcome};

use super::limiter::{Limiter, TABLE_ELEMENTS};
use super::wasi::{self, Wasi};
use super::{Guest, trap};

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// How the guest ended, and its world as it left it.
pub struct Ended {
    pub outcome: Outcome,
    pub wasi: Wasi,
}

/// A module whose imports are resolved: all that a run needs and no job decides.
pub struct Ready {
    pre: InstancePre<Guest>,
}

/// Links `module`.
///
/// # Errors
///
/// A module that cannot be linked is [`Code::BadArtefact`].
pub fn prepare(engine: &Engine, module: &Module) -> Result<Ready, Error> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker, module)
        .map_err(|error| Error::failure("link", error))?;
    let pre = linker.instantiate_pre(module).map_err(|error| {
        Error::refused(Code::BadArtefact, format!("program: {error:#}"))
    })?;
    Ok(Ready { pre })
}

/// Runs `_start` of a module in `wasi`.
///
/// # Errors
///
/// A module without `_start` is [`Code::BadArtefact`].
pub fn run(
    ready: &Ready,
    wasi: Wasi,
    ledger: &Ledger,
    memory_bytes: u64,
) -> Result<Ended, Error> {
    let module = ready.pre.module();
    let limiter = Limiter::new(ledger.clone(), memory_bytes);
    let mut store = Store::new(
        module.engine(),
        Guest {
            wasi,
            limiter,
            end: None,
        },
    );
    store.limiter(|guest| &mut guest.limiter);
    if let Some(outcome) = initial_memory_over(module, memory_bytes) {
        return Ok(Ended {
            outcome,
            wasi: store.into_data().wasi,
        });
    }
    ledger.begin(monotonic_nanoseconds());
    let outcome = match ready.pre.instantiate(&mut store) {
        Ok(instance) => {
            let start = instance
                .get_typed_func::<(), ()>(&mut store, "_start")
                .map_err(|_| no_start())?;
            ledger.begin(monotonic_nanoseconds());
            let result = start.call(&mut store, ());
            ending(&mut store, result, false)
        }
        Err(error) => ending(&mut store, Err(error), true),
    };
    Ok(Ended {
        outcome,
        wasi: store.into_data().wasi,
    })
}

/// The host's clock, for the account of times only. It is read without a system
/// call, which a VM that is locked down could not make.
fn monotonic_nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanoseconds
}

fn no_start() -> Error {
    Error::refused(Code::BadArtefact, "program: exports no function _start")
}

/// The outcome of a call into the guest.
fn ending(
    store: &mut Store<Guest>,
    result: wasmtime::Result<()>,
    starting: bool,
) -> Outcome {
    let Err(error) = result else {
        return Outcome::Exit(0);
    };
    // A host function that ends the run says so before it returns its error.
    if let Some(end) = store.data_mut().end.take() {
        return end;
    }
    // What the limiter refused to a module that is being made ends it at once.
    let refused = store.data().limiter.refused();
    match (trap::outcome(&error), refused) {
        (Outcome::Failure(_), Some(limit)) if starting => Outcome::Limit {
            limit,
            message: starts_with_more(limit),
        },
        (Outcome::Trap { word, message }, _)
            if starting && trap::in_guest_code(&error) =>
        {
            let message = format!("in the start function: {word}: {message}");
            Outcome::Trap {
                word: "start_function".to_owned(),
                message,
            }
        }
        (other, _) => other,
    }
}

/// What a module has too much of before its first instruction.
fn starts_with_more(limit: Limit) -> String {
    match limit {
        Limit::TableElements => format!(
            "the program's tables start with more than {TABLE_ELEMENTS} elements (table_elements)"
        ),
        _ => format!("the program starts with more ({})", limit.name()),
    }
}

/// The limit's outcome if the module starts with more memory than is allowed.
fn initial_memory_over(module: &Module, memory_bytes: u64) -> Option<Outcome> {
    let memories = module.exports().filter_map(|export| match export.ty() {
        ExternType::Memory(memory) => Some(memory.minimum()),
        _ => None,
    });
    let pages = memories.max()?;
    let needed = pages.saturating_mul(PAGE_BYTES);
    (needed > memory_bytes).then(|| Outcome::Limit {
        limit: Limit::MemoryBytes,
        message: format!(
            "the program starts with {needed} bytes of memory; the limit is {memory_bytes} \
             (memory_bytes)"
        ),
    })
}
