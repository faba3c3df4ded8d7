//! What a process can hold before it knows its job: an engine, perhaps a program and
//! the system images that it comes with.
//!
//! A process that waits for its job (`serve::idle`) inherits them from the one that
//! forked it. They are there for sessions of that program over those images only, so
//! that no VM ever has another one's code mapped. Users' images are never held.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use wasmtime::Engine;

use crate::artefact;
use crate::determinism::Determinism;
use crate::engine;
use crate::error::{Code, Error};
use crate::guest::run::{Ahead, Ready, go_ahead, prepare};
use crate::guest::tree::{Stack, TarLayer};
use crate::guest::wasi::Wasi;
use crate::manifest::Manifest;
use crate::sys;

/// What of a manifest an engine is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub stack_bytes: u64,
    pub determinism: Determinism,
}

impl Kind {
    pub const USUAL: Kind = Kind {
        stack_bytes: engine::DEFAULT_STACK_BYTES,
        determinism: Determinism::Default,
    };

    pub fn of(manifest: &Manifest) -> Self {
        Kind {
            stack_bytes: manifest.limits.stack_bytes,
            determinism: manifest.determinism,
        }
    }
}

/// System images, mapped and indexed.
pub struct Images {
    /// Their SHA-256, topmost first.
    sha256: Vec<String>,
    pub stack: Rc<Stack>,
}

pub struct Warm {
    engine: Engine,
    kind: Kind,
    program: Option<(String, Ready)>,
    images: Option<Images>,
}

impl Warm {
    /// An engine for guests of this kind.
    pub fn new(kind: Kind) -> Result<Self, Error> {
        let engine = engine::engine(kind.stack_bytes, kind.determinism)
            .map_err(|error| Error::failure("engine", error))?;
        Ok(Warm {
            engine,
            kind,
            program: None,
            images: None,
        })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Loads an artefact, checked to be of the module with this SHA-256.
    pub fn load(&self, program: File, sha256: &str) -> Result<Ready, Error> {
        artefact::check(&program, sha256, self.kind.determinism)?;
        let hints = artefact::hints(&program)?;
        let module = sys::load_artefact(&self.engine, program).map_err(|error| {
            Error::refused(Code::BadArtefact, format!("program: {error:#}"))
        })?;
        prepare(&self.engine, &module, hints)
    }

    /// Loads an artefact and keeps it for sessions of that program.
    pub fn keep(&mut self, program: File, sha256: &str) -> Result<(), Error> {
        let ready = self.load(program, sha256)?;
        self.program = Some((sha256.to_owned(), ready));
        Ok(())
    }

    /// Makes the instance of the program that is kept, in `wasi`, which is nobody's.
    pub fn go_ahead(&self, wasi: Wasi) -> Option<Ahead> {
        let (_, ready) = self.program.as_ref()?;
        // A strict run has fuel from its first instruction on.
        let fits = !self.kind.determinism.is_strict();
        fits.then(|| go_ahead(ready, wasi))?
    }

    /// Maps and indexes system images, topmost first, and keeps them.
    pub fn keep_images(&mut self, images: Vec<(String, OwnedFd)>) -> Result<(), Error> {
        let bad = |error| Error::refused(Code::BadLayer, format!("{error}"));
        let (sha256, files): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let layers = files
            .into_iter()
            .map(|fd| TarLayer::open_to_index(fd, "image"));
        let layers = layers.collect::<Result<_, _>>().map_err(bad)?;
        let mut stack = Stack::new(layers).map_err(bad)?;
        stack.list();
        self.images = Some(Images {
            sha256,
            stack: Rc::new(stack),
        });
        Ok(())
    }

    /// The system images of the manifest, if they are those that are kept here; how
    /// many of its layers, the lowest ones, they are.
    pub fn images(&self, manifest: &Manifest) -> Option<(&Images, usize)> {
        let images = self.images.as_ref()?;
        let named = manifest.system_layers();
        let same = named.iter().map(|layer| &layer.sha256).eq(&images.sha256);
        (same && !named.is_empty()).then_some((images, named.len()))
    }

    /// True if a program is kept.
    pub fn has_program(&self) -> bool {
        self.program.is_some()
    }

    /// The program that the manifest names, if it is the one kept here and the
    /// guest is to have the stack and the mode that this engine gives.
    pub fn program(&self, manifest: &Manifest) -> Option<&Ready> {
        let (sha256, ready) = self.program.as_ref()?;
        let fits = *sha256 == manifest.program.sha256 && self.kind == Kind::of(manifest);
        fits.then_some(ready)
    }
}
