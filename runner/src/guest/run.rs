//! Runs one guest from its module to its end.
//!
//! Nothing here knows of processes: given a module and the guest's world, it
//! instantiates, calls `_start`, and says how that ended. Linking checks the types
//! of all imports, so a module that got past the compiler's policy with an import
//! of a wrong type still cannot be called.

use wasmtime::{
    Engine, ExternType, Instance, InstancePre, Linker, Module, Store, Trap, Val,
};

use crate::chance::{Source, noise};
use crate::channel::Channel;
use crate::determinism::{STACK_EXPORT, START_EXPORT};
use crate::error::{Code, Error};
use crate::hints::Hints;
use crate::ledger::Ledger;
use crate::manifest::Limits;
use crate::outcome::{Limit, Outcome};
use crate::sys;

use super::limiter::{Limiter, TABLE_ELEMENTS};
use super::wasi::{self, Wasi};
use super::{Guest, trap};
use trap::StackEnd;

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;
/// Code that a waiting process maps as a whole. Of more, a run needs a part.
const FEW_BYTES_OF_CODE: usize = 128 << 10;

/// How the guest ended, and its world as it left it.
pub struct Ended {
    outcome: Outcome,
    store: Store<Guest>,
}

impl Ended {
    pub fn channels(&mut self) -> &mut [Channel] {
        self.store.data_mut().wasi.channels_mut()
    }

    /// The outcome, for a process that ends now: the kernel takes its memory apart
    /// at once, sooner than we could piece by piece.
    pub fn abandon(self) -> Outcome {
        std::mem::forget(self.store);
        self.outcome
    }
}

/// A module whose imports are resolved: all that a run needs and no job decides.
pub struct Ready {
    pre: InstancePre<Guest>,
    hints: Hints,
}

/// Links `module`.
///
/// # Errors
///
/// A module that cannot be linked is [`Code::BadArtefact`].
pub fn prepare(engine: &Engine, module: &Module, hints: Hints) -> Result<Ready, Error> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker, module)
        .map_err(|error| Error::failure("link", error))?;
    let pre = linker.instantiate_pre(module).map_err(|error| {
        Error::refused(Code::BadArtefact, format!("program: {error:#}"))
    })?;
    Ok(Ready { pre, hints })
}

/// An instance that was made before its job was known. Nothing of the guest's has
/// run: its module has no start function.
pub struct Ahead {
    store: Store<Guest>,
    instance: Instance,
}

/// Makes the instance of a run in default mode ahead of its job, in the world of
/// nobody, with its own copies of the pages that every run writes to.
///
/// None if that cannot be, for whatever reason: a run finds it again and says so.
pub fn go_ahead(ready: &Ready, wasi: Wasi) -> Option<Ahead> {
    if ready.hints.late {
        return None;
    }
    // How much memory there may be is the job's to say; see `Limiter::assign`.
    let mut store = new_store(ready, wasi, Limiter::nobodys());
    let instance = ready.pre.instantiate(&mut store).ok()?;
    let code = ready.pre.module().text();
    if code.len() <= FEW_BYTES_OF_CODE {
        sys::map_pages(code);
    }
    if let Some(memory) = instance.get_memory(&mut store, "memory") {
        let memory = memory.data_mut(&mut store);
        for range in ready.hints.ranges(memory.len()) {
            memory.get_mut(range).map(sys::own_pages);
        }
    }
    Some(Ahead { store, instance })
}

impl Ahead {
    /// Becomes a job's: its world, its limits, and its account of memory.
    fn assigned(
        mut self,
        wasi: Wasi,
        ledger: &Ledger,
        limits: &Limits,
    ) -> (Store<Guest>, Option<Instance>) {
        let guest = self.store.data_mut();
        guest.wasi = wasi;
        guest.limiter.assign(ledger.clone(), limits.memory_bytes);
        (self.store, Some(self.instance))
    }
}

fn new_store(ready: &Ready, wasi: Wasi, limiter: Limiter) -> Store<Guest> {
    let guest = Guest {
        wasi,
        limiter,
        end: None,
    };
    let mut store = Store::new(ready.pre.module().engine(), guest);
    store.limiter(|guest| &mut guest.limiter);
    store
}

/// Runs `_start` of a module in `wasi`; strict if `limits` has fuel. What was made
/// `ahead` is of the same module, and is for default mode.
///
/// # Errors
///
/// A module without `_start` is [`Code::BadArtefact`].
pub fn run(
    ready: &Ready,
    ahead: Option<Ahead>,
    wasi: Wasi,
    ledger: &Ledger,
    limits: &Limits,
) -> Result<Ended, Error> {
    let over = initial_memory_over(ready.pre.module(), limits.memory_bytes);
    let ahead = ahead.filter(|_| over.is_none());
    let (mut store, instance) = match ahead {
        Some(ahead) => ahead.assigned(wasi, ledger, limits),
        None => {
            let limiter = Limiter::new(ledger.clone(), limits.memory_bytes);
            (new_store(ready, wasi, limiter), None)
        }
    };
    if let Some(outcome) = over {
        return Ok(Ended { outcome, store });
    }
    ledger.begin(monotonic_nanoseconds());
    let outcome = match limits.fuel {
        None => live(&mut store, ready, instance, ledger)?,
        Some(fuel) => live_strictly(&mut store, ready, ledger, limits, fuel)?,
    };
    Ok(Ended { outcome, store })
}

/// From the module, or its instance, to the guest's end.
fn live(
    store: &mut Store<Guest>,
    ready: &Ready,
    instance: Option<Instance>,
    ledger: &Ledger,
) -> Result<Outcome, Error> {
    let made = instance.map_or_else(|| ready.pre.instantiate(&mut *store), Ok);
    let instance = match made {
        Ok(instance) => instance,
        Err(error) => return Ok(ending(store, Err(error), true, None)),
    };
    let result = call_start(store, &instance, ledger)?;
    Ok(ending(store, result, false, None))
}

/// What the guest's `_start` comes to.
fn call_start(
    store: &mut Store<Guest>,
    instance: &Instance,
    ledger: &Ledger,
) -> Result<wasmtime::Result<()>, Error> {
    let start = instance
        .get_typed_func::<(), ()>(&mut *store, "_start")
        .map_err(|_| no_start())?;
    ledger.begin(monotonic_nanoseconds());
    Ok(start.call(&mut *store, ()))
}

/// The same in strict mode: with fuel, and with the counter of call depth that the
/// compiler put into the module.
///
/// Fuel is exact although the engine looks at it only where functions and loops
/// begin: it gets one unit more than the limit, which it ends at, and whatever else
/// ended the run, more than the limit is the limit's end.
fn live_strictly(
    store: &mut Store<Guest>,
    ready: &Ready,
    ledger: &Ledger,
    limits: &Limits,
    fuel: u64,
) -> Result<Outcome, Error> {
    let given = fuel.saturating_add(1);
    let unfit = |error: wasmtime::Error| Error::failure("fuel", error);
    let less = noise(Source::Fuel).map_or(0, |noise| noise % 2);
    store.set_fuel(given - less).map_err(unfit)?;
    let instance = match ready.pre.instantiate(&mut *store) {
        Ok(instance) => instance,
        Err(error) => return Ok(ending(store, Err(error), true, None)),
    };
    let stack = i32::try_from(limits.stack_bytes).unwrap_or(i32::MAX);
    instance
        .get_global(&mut *store, STACK_EXPORT)
        .and_then(|counter| counter.set(&mut *store, Val::I32(stack)).ok())
        .ok_or_else(|| no_export(STACK_EXPORT))?;
    let outcome = match initialise(store, &instance)? {
        Some(outcome) => outcome,
        None => {
            let result = call_start(store, &instance, ledger)?;
            let stack = stack_end(store, &instance, &result);
            ending(store, result, false, stack)
        }
    };
    let used = given - store.get_fuel().map_err(unfit)?;
    ledger.set_fuel_used(used.min(fuel));
    Ok(match outcome {
        Outcome::Failure(_) => outcome,
        _ if used > fuel => Outcome::Limit {
            limit: Limit::Fuel,
            message: format!("the limit is {fuel} units ({})", Limit::Fuel.name()),
        },
        _ => outcome,
    })
}

/// Calls what was the start function, which the engine no longer calls by itself.
/// An outcome if it ended the run.
fn initialise(
    store: &mut Store<Guest>,
    instance: &Instance,
) -> Result<Option<Outcome>, Error> {
    let Some(start) = instance.get_func(&mut *store, START_EXPORT) else {
        return Ok(None);
    };
    let start = start
        .typed::<(), ()>(&mut *store)
        .map_err(|_| no_export(START_EXPORT))?;
    let result = start.call(&mut *store, ());
    Ok(match result {
        Ok(()) => None,
        result => {
            let stack = stack_end(store, instance, &result);
            Some(ending(store, result, true, stack))
        }
    })
}

/// How a strict guest's stack ended, if that is what `result` says.
fn stack_end(
    store: &mut Store<Guest>,
    instance: &Instance,
    result: &wasmtime::Result<()>,
) -> Option<StackEnd> {
    let counter = instance.get_global(&mut *store, STACK_EXPORT)?;
    let left = counter.get(&mut *store).i32()?;
    match result.as_ref().err()?.downcast_ref()? {
        Trap::UnreachableCodeReached if left < 0 => Some(StackEnd::Counted),
        Trap::StackOverflow => Some(StackEnd::Native),
        _ => None,
    }
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

fn no_export(name: &str) -> Error {
    Error::refused(Code::BadArtefact, format!("program: exports no {name}"))
}

/// The outcome of a call into the guest.
fn ending(
    store: &mut Store<Guest>,
    result: wasmtime::Result<()>,
    starting: bool,
    stack: Option<StackEnd>,
) -> Outcome {
    let Err(error) = result else {
        return Outcome::Exit(0);
    };
    // A host function that ends the run says so before it returns its error.
    if let Some(end) = store.data_mut().end.take() {
        return end;
    }
    if store.data().limiter.host_is_out() {
        return Outcome::Failure(format!("{error:#}: the host is out of memory"));
    }
    // What the limiter refused to a module that is being made ends it at once.
    let refused = store.data().limiter.refused();
    let how = match stack {
        Some(end) => trap::of_stack(&error, end),
        None => trap::outcome(&error),
    };
    match (how, refused) {
        (Outcome::Failure(_), Some(limit)) if starting => Outcome::Limit {
            limit,
            message: starts_with_more(limit),
        },
        (Outcome::Trap { word, message }, _)
            if starting && word != trap::HOST_STACK && trap::in_guest_code(&error) =>
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
