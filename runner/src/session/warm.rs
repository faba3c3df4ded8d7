//! What a process can hold before it knows its job: an engine, perhaps a program.
//!
//! A process that waits for its job (`serve::idle`) inherits both from the one that
//! forked it. A program is there for sessions of that program only, so that no VM
//! ever has another one's code mapped.

use std::fs::File;

use wasmtime::Engine;

use crate::artefact;
use crate::determinism::Determinism;
use crate::engine;
use crate::error::{Code, Error};
use crate::guest::run::{Ready, prepare};
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

pub struct Warm {
    engine: Engine,
    kind: Kind,
    program: Option<(String, Ready)>,
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
        })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Loads an artefact, checked to be of the module with this SHA-256.
    pub fn load(&self, program: File, sha256: &str) -> Result<Ready, Error> {
        artefact::check(&program, sha256, self.kind.determinism)?;
        let module = sys::load_artefact(&self.engine, program).map_err(|error| {
            Error::refused(Code::BadArtefact, format!("program: {error:#}"))
        })?;
        prepare(&self.engine, &module)
    }

    /// Loads an artefact and keeps it for sessions of that program.
    pub fn keep(&mut self, program: File, sha256: &str) -> Result<(), Error> {
        let ready = self.load(program, sha256)?;
        self.program = Some((sha256.to_owned(), ready));
        Ok(())
    }

    /// The program that the manifest names, if it is the one kept here and the
    /// guest is to have the stack and the mode that this engine gives.
    pub fn program(&self, manifest: &Manifest) -> Option<&Ready> {
        let (sha256, ready) = self.program.as_ref()?;
        let fits = *sha256 == manifest.program.sha256 && self.kind == Kind::of(manifest);
        fits.then_some(ready)
    }
}
