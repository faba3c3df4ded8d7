//! Calls of a guest, one after another, over a memory of the engine.
//!
//! A byte chooses the function; then each parameter is a byte that stands for a
//! number that a guest could get far with (a small one, a place in memory, a path with its
//! length, a vector of buffers with its count), lies about (just behind the end), or
//! that follows it as it is. The calls go through the engine, as those of compiled
//! code do; only the code is missing.

use std::fs::File;
use std::os::fd::OwnedFd;

use wasmparser::ValType;
use wasmtime::{Linker, Memory, MemoryType, Store, Val};

use super::script::Script;
use super::world::{self, World};
use crate::determinism::Determinism;
use crate::engine;
use crate::guest::Guest;
use crate::guest::limiter::Limiter;
use crate::guest::wasi::{self, Errno};
use crate::ledger::Ledger;
use crate::outcome::{Limit, Outcome};

const MODULE: &str = "wasi_snapshot_preview1";
const PAGE: u32 = 64 << 10;
const MAX_PAGES: u32 = 2;
/// Longer scripts find nothing that shorter ones do not.
const MAX_STEPS: usize = 200;

/// What is said where a guest asks for what it cannot have; nothing else ever is.
const ERRNOS: [Errno; 26] = [
    Errno::Acces,
    Errno::Badf,
    Errno::Busy,
    Errno::Exist,
    Errno::Fault,
    Errno::Fbig,
    Errno::Inval,
    Errno::Isdir,
    Errno::Loop,
    Errno::Mlink,
    Errno::Nametoolong,
    Errno::Nfile,
    Errno::Noent,
    Errno::Nospc,
    Errno::Nosys,
    Errno::Notcapable,
    Errno::Notdir,
    Errno::Notempty,
    Errno::Notsock,
    Errno::Notsup,
    Errno::Overflow,
    Errno::Perm,
    Errno::Rofs,
    Errno::Spipe,
    Errno::Stale,
    Errno::Xdev,
];

/// All that a script did: two runs of one script must not differ in it.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    answers: Vec<Option<u32>>,
    end: Option<Outcome>,
    memory: [u8; 32],
    outputs: Vec<Vec<u8>>,
    stderr: Vec<u8>,
}

/// Every call is answered with an errno of the list, or ends the run with an
/// outcome that is the guest's own; a refused call leaves no trace in memory; the
/// counts of /tmp, descriptors and channels stay right; and it all comes out the
/// same once more.
pub fn wasi(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let mode = script.byte();
    let first = run(mode, script.clone());
    if mode & 1 != 0 {
        assert_eq!(run(mode, script), first, "not repeatable");
    }
}

thread_local! {
    static LINKER: Linker<Guest> = {
        let engine = engine::engine(1 << 20, Determinism::Default).unwrap();
        let mut linker = Linker::new(&engine);
        wasi::add_named(&mut linker, wasi::FUNCTIONS).unwrap();
        linker
    };
}

fn run(mode: u8, script: Script<'_>) -> Trace {
    LINKER.with(|linker| Run::new(linker, mode).play(script))
}

struct Run<'a> {
    linker: &'a Linker<Guest>,
    store: Store<Guest>,
    memory: Memory,
    ledger: Ledger,
    outputs: Vec<File>,
    answers: Vec<Option<u32>>,
}

impl<'a> Run<'a> {
    fn new(linker: &'a Linker<Guest>, mode: u8) -> Self {
        let World {
            wasi,
            ledger,
            outputs,
        } = world::make(mode & 2 != 0);
        let limiter = Limiter::new(ledger.clone(), u64::from(PAGE * MAX_PAGES));
        let guest = Guest {
            wasi,
            limiter,
            end: None,
        };
        let mut store = Store::new(linker.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
        world::fill(memory.data_mut(&mut store));
        // A guest without a memory can call as well.
        if mode & 4 == 0 {
            store.data_mut().wasi.use_memory(memory);
        }
        Run {
            linker,
            store,
            memory,
            ledger,
            outputs,
            answers: Vec::new(),
        }
    }

    fn play(mut self, mut script: Script<'_>) -> Trace {
        for _ in 0..MAX_STEPS {
            if script.is_empty() || self.store.data().end.is_some() {
                break;
            }
            self.step(&mut script);
            self.store.data().wasi.audit();
        }
        self.finish()
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let number = usize::from(script.byte());
        if let Some(name) = wasi::FUNCTIONS.get(number) {
            return self.call(name, script);
        }
        if number == 255 {
            let room = self.memory.size(&self.store) < u64::from(MAX_PAGES);
            return assert_eq!(self.memory.grow(&mut self.store, 1).is_ok(), room);
        }
        // What a guest writes by itself.
        let (at, bytes) = (script.number(2) as usize, script.string());
        let memory = self.memory.data_mut(&mut self.store);
        for (byte, value) in memory.iter_mut().skip(at).zip(bytes) {
            *byte = *value;
        }
    }

    fn call(&mut self, name: &str, script: &mut Script<'_>) {
        let end = self.memory.data_size(&self.store) as u64;
        let mut pending = None;
        let types = wasi::parameters(name).unwrap();
        let arguments = types.iter().map(|ty| {
            let value = pending.take();
            let value = value.unwrap_or_else(|| argument(script, end, &mut pending));
            match ty {
                ValType::I32 => Val::I32(value as u32 as i32),
                _ => Val::I64(value as i64),
            }
        });
        let arguments: Vec<Val> = arguments.collect();
        let before = self.memory.data(&self.store).to_vec();
        let function = self.linker.get(&mut self.store, MODULE, name).unwrap();
        let function = function.into_func().unwrap();
        let mut results = [Val::I32(0)];
        let results = match name {
            "proc_exit" => &mut results[..0],
            _ => &mut results[..],
        };
        let answered = function.call(&mut self.store, &arguments, results);
        let errno = match (answered, &*results) {
            (Ok(()), [Val::I32(errno)]) => Some(*errno as u32),
            (Err(_), _) => None,
            other => panic!("{name}: {other:?}"),
        };
        self.answers.push(errno);
        match errno {
            Some(0) => {}
            Some(errno) => {
                let known = ERRNOS.iter().any(|known| *known as u32 == errno);
                assert!(known, "{name}{arguments:?}: errno {errno}");
                let after = self.memory.data(&self.store);
                assert!(before == after, "{name}{arguments:?}: errno {errno} wrote");
            }
            None => self.check_end(name),
        }
    }

    /// No guest can bring about a failure of ours.
    fn check_end(&self, name: &str) {
        match self.store.data().end.as_ref().unwrap() {
            Outcome::Exit(_) => assert_eq!(name, "proc_exit"),
            Outcome::Limit { limit, .. } => assert!(matches!(
                limit,
                Limit::InputBytes | Limit::OutputBytes | Limit::ChannelCalls
            )),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn finish(self) -> Trace {
        let memory = *blake3::hash(self.memory.data(&self.store)).as_bytes();
        let mut guest = self.store.into_data();
        let stderr = self.ledger.stderr_tail();
        assert!(stderr.len() <= world::STDERR_BYTES);
        for channel in guest.wasi.channels_mut() {
            // It hashes what was delivered, however that was.
            let _ = channel.delivered_blake3();
        }
        Trace {
            answers: self.answers,
            end: guest.end,
            memory,
            outputs: self.outputs.iter().map(content).collect(),
            stderr,
        }
    }
}

fn content(file: &File) -> Vec<u8> {
    let file = OwnedFd::from(file.try_clone().unwrap());
    let mut bytes = vec![0; world::OUTPUT_BYTES as usize + 1];
    let length = rustix::io::pread(&file, &mut bytes[..], 0).unwrap();
    bytes.truncate(length);
    bytes
}

/// One parameter; what goes with it as the next is left in `pending`.
fn argument(script: &mut Script<'_>, end: u64, pending: &mut Option<u64>) -> u64 {
    let tag = script.byte();
    let low = u64::from(tag & 15);
    match tag {
        0x00..=0x1f => u64::from(tag),
        // Places all over the first page.
        0x20..=0x5f => u64::from(tag - 0x20) * 1024,
        0x60..=0x6f => end - low,
        0x70..=0x7f => end + low,
        0x80..=0x8f => u64::MAX - low,
        0x90..=0x9f => 1 << (4 * low),
        0xa0..=0xaf => script.number(1 + tag as usize % 8),
        0xb0..=0xef => {
            let (at, length) = world::path(tag - 0xb0);
            *pending = Some(length);
            at
        }
        0xf0..=0xff => {
            let (at, count) = world::vector(tag - 0xf0);
            *pending = Some(count);
            at
        }
    }
}
