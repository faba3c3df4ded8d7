//! The process that VMs are forked from: an engine, perhaps one program, no job.
//!
//! It is started by the daemon as a program of its own, so that it has nothing of
//! the daemon's memory, and therefore nothing of any job's: what a VM inherits is
//! this. It holds one engine and at most one program with the system images that it
//! comes with, mapped and indexed; a VM never has the code of another one's program
//! mapped, and no user's image is ever here. It never learns of a job: orders carry
//! sockets and ledgers, and it is the forked process that then waits for a manifest
//! (`idle`).
//!
//! Its children are the daemon's (CLONE_PARENT): the daemon waits for them, and they
//! and this process die with it. Single-threaded, as whatever forks must be.
//!
//! ```text
//! order   F  fork a process that waits: capacity of its ledger
//!            + its socket, its ledger
//!         Z  fork a zygote for a program: stack, SHA-256 of the module, and of each
//!            system image that it comes with, topmost first (S: strict)
//!            + its control socket, the artefact, the images
//! reply   the number of the new process, or minus an errno; four bytes
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, Resource, Rlimit};

use crate::cli::args::{Words, unknown};
use crate::determinism::Determinism;
use crate::error::Error;
use crate::lockdown::{Options, Plan, descriptors, warm_up};
use crate::session::vm::die_with;
use crate::session::warm::{Kind, Warm};
use crate::sys::{self, CommandLine, Fork};
use crate::weights;

use super::idle::{self, Waiting};
use super::packet;

/// The hidden command by which the daemon starts this process.
pub const COMMAND: &str = "serve-zygote";
/// Room for the titles of VMs in the command line.
pub const TITLE_BYTES: usize = 256;
/// How this process shows in the process table.
pub const NAME: &std::ffi::CStr = c"zvm-zygote";

/// Length of a digest in hexadecimal.
const DIGEST_BYTES: usize = 64;
/// Room for an order with as many images as a manifest may have.
const ORDER_BYTES: usize = 16 + DIGEST_BYTES * 65;

/// An order of the daemon's, without its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The ledger's capacity: channels, bytes of stderr.
    Fork { channels: u32, stderr_bytes: u32 },
    Zygote {
        kind: Kind,
        sha256: String,
        images: Vec<String>,
    },
}

impl Order {
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Order::Fork {
                channels,
                stderr_bytes,
            } => {
                let mut bytes = vec![b'F'];
                bytes.extend(channels.to_ne_bytes());
                bytes.extend(stderr_bytes.to_ne_bytes());
                bytes
            }
            Order::Zygote {
                kind,
                sha256,
                images,
            } => {
                let mut bytes = vec![match kind.determinism {
                    Determinism::Default => b'Z',
                    Determinism::Strict => b'S',
                }];
                bytes.extend(kind.stack_bytes.to_ne_bytes());
                bytes.extend(sha256.as_bytes());
                bytes.extend(images.concat().as_bytes());
                bytes
            }
        }
    }

    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            b'F' => {
                let (channels, rest) = rest.split_first_chunk()?;
                Some(Order::Fork {
                    channels: u32::from_ne_bytes(*channels),
                    stderr_bytes: u32::from_ne_bytes(*rest.first_chunk()?),
                })
            }
            b'Z' | b'S' => {
                let (stack_bytes, rest) = rest.split_first_chunk()?;
                let (digests, rest) = rest.as_chunks::<DIGEST_BYTES>();
                let digests = digests.iter().map(|hex| String::from_utf8(hex.to_vec()));
                let mut digests: Vec<String> = digests.collect::<Result<_, _>>().ok()?;
                if digests.is_empty() || !rest.is_empty() {
                    return None;
                }
                Some(Order::Zygote {
                    kind: Kind {
                        stack_bytes: u64::from_ne_bytes(*stack_bytes),
                        determinism: match kind {
                            b'S' => Determinism::Strict,
                            _ => Determinism::Default,
                        },
                    },
                    sha256: digests.remove(0),
                    images: digests,
                })
            }
            _ => None,
        }
    }
}

/// The process itself; its control socket is its standard input.
pub fn main(words: Vec<OsString>) -> u8 {
    match start(&words) {
        Ok((mut zygote, control)) => zygote.serve(control),
        Err(error) => {
            eprintln!("event=zygote_failed error={:?}", error.to_string());
            crate::exit::FAILURE
        }
    }
}

struct Zygote {
    daemon: Pid,
    plan: Plan,
    warm: Warm,
    /// Descriptors that the engine holds.
    held: Vec<RawFd>,
    title: Option<CommandLine>,
}

fn start(words: &[OsString]) -> Result<(Zygote, OwnedFd), Error> {
    let daemon = words.first().and_then(|word| word.to_str()?.parse().ok());
    let daemon = daemon.and_then(Pid::from_raw);
    let daemon = daemon.ok_or_else(|| Error::Failure("not the daemon's".to_owned()))?;
    die_with(daemon)?;
    let _ = rustix::thread::set_name(NAME);
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
        .map_err(|errno| Error::failure("control socket", errno))?;
    sys::close_all_except(&[0, 1, 2, control.as_raw_fd()])?;
    let plan = Plan::prepare(&options_of(words)?)?;
    // It costs time only where it cannot be.
    let _ = sys::move_code_to_huge_pages();
    let warm = Warm::new(Kind::USUAL)?;
    warm_up();
    widen_stack()?;
    weights::yield_memory_and_disk();
    descriptors::silence()?;
    let zygote = Zygote {
        daemon,
        plan,
        warm,
        held: Vec::new(),
        title: CommandLine::find(),
    };
    Ok((zygote, control))
}

/// What the daemon was told about the lock-down: the words behind the padding.
fn options_of(words: &[OsString]) -> Result<Options, Error> {
    let mut options = Options::default();
    let mut words = Words::new(words.get(2..).unwrap_or_default().to_vec());
    while let Some(option) = words.option() {
        if !words.lockdown(&option, &mut options)? {
            return Err(unknown(&option));
        }
    }
    Ok(options)
}

/// A main thread's stack grows up to the limit that it has when it grows; VMs set
/// their own from the manifest.
fn widen_stack() -> Result<(), Error> {
    let hard = rustix::process::getrlimit(Resource::Stack).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    rustix::process::setrlimit(Resource::Stack, limit)
        .map_err(|errno| Error::failure("setrlimit", errno))
}

impl Zygote {
    /// Carries out orders until the daemon closes its end.
    fn serve(&mut self, mut control: OwnedFd) -> u8 {
        let mut buffer = [0; ORDER_BYTES];
        loop {
            let packet = packet::receive(&control, &mut buffer, RecvFlags::empty());
            let Ok(Some(received)) = packet else { return 0 };
            let order = buffer.get(..received.bytes).and_then(Order::parse);
            let mut fds = received.fds.into_iter();
            let (Some(order), Some(first), Some(second)) =
                (order, fds.next(), fds.next())
            else {
                return crate::exit::FAILURE;
            };
            let forked = sys::fork_sibling();
            let answer = match &forked {
                Ok(Fork::Parent(pid)) => pid.as_raw_nonzero().get(),
                Ok(Fork::Child) => {
                    drop(std::mem::replace(&mut control, first));
                    match self.become_child(order, &mut control, second, fds.collect()) {
                        Some(status) => return status,
                        None => continue,
                    }
                }
                Err(error) => -error.errno.raw_os_error(),
            };
            drop((first, second));
            if reply(&control, answer).is_err() {
                return 0;
            }
        }
    }

    /// In the forked process: `socket` is its own. A status ends it; none makes it
    /// a zygote itself.
    fn become_child(
        &mut self,
        order: Order,
        socket: &mut OwnedFd,
        second: OwnedFd,
        others: Vec<OwnedFd>,
    ) -> Option<u8> {
        if let Err(error) = die_with(self.daemon) {
            return Some(crate::exit::of_error(&error));
        }
        match order {
            Order::Fork {
                channels,
                stderr_bytes,
            } => {
                let waiting = Waiting {
                    socket,
                    ledger: second,
                    capacity: (channels as usize, stderr_bytes as usize),
                    warm: &self.warm,
                    plan: &mut self.plan,
                    daemon: self.daemon,
                    held: &self.held,
                    title: self.title.as_ref(),
                };
                idle::wait(waiting)
            }
            Order::Zygote {
                kind,
                sha256,
                images,
            } => {
                let images = images.into_iter().zip(others).collect();
                match self.keep(kind, second, &sha256, images) {
                    Ok(()) => None,
                    Err(error) => Some(crate::exit::of_error(&error)),
                }
            }
        }
    }

    fn keep(
        &mut self,
        kind: Kind,
        program: OwnedFd,
        sha256: &str,
        images: Vec<(String, OwnedFd)>,
    ) -> Result<(), Error> {
        if kind != self.warm.kind() {
            self.warm = Warm::new(kind)?;
        }
        let program = File::from(program);
        if !images.is_empty() {
            self.warm.keep_images(images)?;
        }
        let mut before = sys::open_descriptors()?;
        before.retain(|fd| *fd != program.as_raw_fd());
        self.warm.keep(program, sha256)?;
        self.held = sys::open_descriptors()?;
        self.held.retain(|fd| !before.contains(fd));
        Ok(())
    }
}

fn reply(control: &OwnedFd, answer: i32) -> Result<(), Errno> {
    let bytes = answer.to_ne_bytes();
    rustix::io::retry_on_intr(|| {
        rustix::net::send(control, &bytes, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_come_back_as_they_were_written() {
        let fork = Order::Fork {
            channels: 3,
            stderr_bytes: 65536,
        };
        let zygote = |determinism| Order::Zygote {
            kind: Kind {
                stack_bytes: 8 << 20,
                determinism,
            },
            sha256: "5e".repeat(32),
            images: Vec::new(),
        };
        let (usual, strict) = (Determinism::Default, Determinism::Strict);
        let with_images = Order::Zygote {
            kind: Kind::USUAL,
            sha256: "5e".repeat(32),
            images: vec!["1a".repeat(32); 64],
        };
        assert!(with_images.to_bytes().len() <= ORDER_BYTES);
        for order in [fork, zygote(usual), zygote(strict), with_images] {
            assert_eq!(Order::parse(&order.to_bytes()), Some(order));
        }
        for bytes in [&b""[..], b"F", b"F1234567", b"Z123", b"Q12345678"] {
            assert_eq!(Order::parse(bytes), None);
        }
    }
}
