//! A module becomes a template: the same module, started up to its safe point.
//!
//! ```text
//! module ─▶ instrument ─▶ compile ─▶ initialise() ─▶ read memory and globals
//!                                                          │
//! template ◀── data segments and initial values ◀──────────┘
//! ```
//!
//! A module that takes part exports `initialise`, which depends on its image
//! alone, `set_clock_readings`, and `resume`, which becomes the template's
//! `_start`. It runs under our own WASI here, with the image's layer and nothing
//! else, so that what it has seen is what every VM of that image would see.
//!
//! Building images is the only use: nothing here runs on a storage node, and
//! nothing that a user sent ever comes here.
//!
//! Invariants: a template holds no state of the host. What the first half may not
//! do (draw random numbers, read input, write, leave descriptors or files) is
//! refused, since the second half would find it undone; the clock's readings are
//! counted, and the template makes up for them.
//!
//! A trial of the template (`trial`) tells which pages of memory a run writes to; the
//! template has their list (`hints`).

mod trial;

use std::collections::HashMap;
use std::fs::File;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmparser::ValType;
use wasmtime::{Engine, ExternType, Instance, Linker, Module, Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, Wizer};

use crate::determinism::Determinism;
use crate::engine;
use crate::error::{Code, Error};
use crate::guest::limiter::Limiter;
use crate::guest::tree::{TarLayer, Tree, TreeError};
use crate::guest::wasi::{self, Wasi, WasiConfig, WasiLimits};
use crate::guest::{Guest, trap};
use crate::hints::{self, Hints};
use crate::ledger::Ledger;

const INITIALISE: &str = "initialise";
const RESUME: &str = "resume";
const SET_CLOCK_READINGS: &str = "set_clock_readings";
const MEMORY_BYTES: u64 = 512 << 20;
const OPEN_FILES: u64 = 64;
const STDERR_BYTES: usize = 64 << 10;

/// What was made, and what the first half did.
pub struct Template {
    pub module: Vec<u8>,
    pub clock_readings: u64,
    pub memory_bytes: usize,
    /// Pages of 4 KiB that the trial wrote to.
    pub written_pages: usize,
}

/// A command line, with its environment, that a template is tried with.
pub struct Trial {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// Runs `initialise` of `module` over `layer` and stores what it leaves; then runs
/// that as `trial` says, and notes which pages it writes to.
///
/// # Errors
///
/// [`Error::Refused`] when the module does not take part, fails, or does what a
/// first half must not do; or when the trial does not end with status 0.
pub fn make(module: &[u8], layer: &File, trial: Trial) -> Result<Template, Error> {
    let wizer = wizer();
    let (context, instrumented) = wizer.instrument(module).map_err(refused)?;
    let engine = engine::engine(engine::DEFAULT_STACK_BYTES, Determinism::Default)
        .map_err(|error| Error::failure("engine", error))?;
    let nobody = Trial {
        args: Vec::new(),
        env: Vec::new(),
    };
    let Made {
        mut store,
        instance,
        ledger,
        compiled,
    } = instantiate(&engine, &instrumented, layer, nobody)?;
    call(&mut store, &instance, &ledger, INITIALISE, ())?;
    let wasi = &store.data().wasi;
    if let Some(trace) = wasi.trace() {
        return Err(refused(format!("{INITIALISE} {trace}")));
    }
    let clock_readings = wasi.clock_readings();
    let count = i32::try_from(clock_readings)
        .map_err(|_| refused(format!("{INITIALISE} read the clock too often")))?;
    call(&mut store, &instance, &ledger, SET_CLOCK_READINGS, (count,))?;
    let mut state = State::read(&mut store, &instance, &compiled);
    let memory_bytes = state.memories.values().map(Vec::len).sum();
    let mut module = complete(wizer.snapshot(&context, &mut state))
        .ok_or_else(|| Error::Failure("the snapshot waits".to_owned()))?
        .map_err(refused)?;
    let hints = trial::run(&engine, &module, layer, trial)?;
    append_section(&mut module, &hints);
    Ok(Template {
        module,
        clock_readings,
        memory_bytes,
        written_pages: hints.pages.len(),
    })
}

fn refused(why: impl std::fmt::Display) -> Error {
    Error::refused(Code::InvalidModule, format!("no template: {why:#}"))
}

fn wizer() -> Wizer {
    let mut wizer = Wizer::new();
    wizer.init_func(INITIALISE);
    wizer.func_rename("_start", RESUME);
    wizer
}

fn append_section(module: &mut Vec<u8>, hints: &Hints) {
    use wasm_encoder::{CustomSection, Section};
    CustomSection {
        name: hints::SECTION.into(),
        data: hints.section().into(),
    }
    .append_to(module);
}

/// An instance that nothing has been called of, in a world of its own.
struct Made {
    store: Store<Guest>,
    instance: Instance,
    ledger: Ledger,
    compiled: Module,
}

fn instantiate(
    engine: &Engine,
    module: &[u8],
    layer: &File,
    words: Trial,
) -> Result<Made, Error> {
    let compiled = Module::new(engine, module).map_err(refused)?;
    let ledger = Ledger::new(0, STDERR_BYTES)?;
    let mut store = store(engine, layer, words, &ledger)?;
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker, &compiled)
        .map_err(|error| Error::failure("link", error))?;
    let instance = linker.instantiate(&mut store, &compiled).map_err(refused)?;
    Ok(Made {
        store,
        instance,
        ledger,
        compiled,
    })
}

fn store(
    engine: &Engine,
    layer: &File,
    words: Trial,
    ledger: &Ledger,
) -> Result<Store<Guest>, Error> {
    let bad = |error: TreeError| Error::refused(Code::BadLayer, error.to_string());
    let layer = TarLayer::open(layer, "image").map_err(bad)?;
    let tree = Tree::new(vec![layer]).map_err(bad)?;
    let wasi = Wasi::new(WasiConfig {
        args: words.args,
        env: words.env,
        clock_nanoseconds: 0,
        seed: [0; 32],
        tree,
        channels: Vec::new(),
        limits: WasiLimits {
            tmp_bytes: 0,
            files: OPEN_FILES,
        },
        ledger: ledger.clone(),
    });
    let mut store = Store::new(
        engine,
        Guest {
            wasi,
            limiter: Limiter::new(ledger.clone(), MEMORY_BYTES),
            end: None,
        },
    );
    store.limiter(|guest| &mut guest.limiter);
    Ok(store)
}

fn call<P: wasmtime::WasmParams>(
    store: &mut Store<Guest>,
    instance: &Instance,
    ledger: &Ledger,
    name: &str,
    parameters: P,
) -> Result<(), Error> {
    let function = instance
        .get_typed_func::<P, ()>(&mut *store, name)
        .map_err(|error| refused(format!("{name}: {error}")))?;
    function.call(&mut *store, parameters).map_err(|error| {
        let said = String::from_utf8_lossy(&ledger.stderr_tail()).into_owned();
        let end = store.data_mut().end.take();
        let how = end.unwrap_or_else(|| trap::outcome(&error));
        refused(format!("{name} ended: {how:?}: {said}"))
    })
}

/// The instance's memories and globals, as the instrumented module exports them.
struct State {
    memories: HashMap<String, Vec<u8>>,
    globals: HashMap<String, SnapshotVal>,
}

impl State {
    fn read(store: &mut Store<Guest>, instance: &Instance, module: &Module) -> State {
        let mut state = State {
            memories: HashMap::new(),
            globals: HashMap::new(),
        };
        for export in module.exports() {
            let name = export.name();
            match export.ty() {
                ExternType::Memory(_) => {
                    if let Some(memory) = instance.get_memory(&mut *store, name) {
                        let bytes = memory.data(&*store).to_vec();
                        state.memories.insert(name.to_owned(), bytes);
                    }
                }
                ExternType::Global(_) => {
                    let value = instance
                        .get_global(&mut *store, name)
                        .and_then(|global| snapshot_value(global.get(&mut *store)));
                    if let Some(value) = value {
                        state.globals.insert(name.to_owned(), value);
                    }
                }
                _ => {}
            }
        }
        state
    }
}

fn snapshot_value(value: Val) -> Option<SnapshotVal> {
    match value {
        Val::I32(value) => Some(SnapshotVal::I32(value)),
        Val::I64(value) => Some(SnapshotVal::I64(value)),
        Val::F32(bits) => Some(SnapshotVal::F32(bits)),
        Val::F64(bits) => Some(SnapshotVal::F64(bits)),
        Val::V128(value) => Some(SnapshotVal::V128(value.as_u128())),
        _ => None,
    }
}

impl InstanceState for State {
    async fn global_get(&mut self, name: &str, hint: ValType) -> SnapshotVal {
        // Instrumentation exports every mutable global; those of other types
        // have been refused.
        self.globals.remove(name).unwrap_or(match hint {
            ValType::I64 => SnapshotVal::I64(0),
            _ => SnapshotVal::I32(0),
        })
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        contents(self.memories.get(name).map_or(&[], Vec::as_slice));
    }
}

/// The result of a future that never waits; none if it does.
fn complete<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
