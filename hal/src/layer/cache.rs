//! Program cache on disk: what a driver compiled is there at the next start.
//!
//! A cache that fails never fails a load: an entry that is damaged, foreign or altered is ignored and written anew, and a
//! folder that cannot be used, or that others may write to, is as good as none. An entry is named by the hash of what was
//! compiled, for which device, driver and anychip; it carries the hash of its payload and appears whole or not at all.
//! Where a binary is whole only after the program's first launch, it is fetched then ([`later`]).

mod entries;
mod later;

use super::forward;
use crate::{Command, Completion, Loaded, Module, RawDevice, RawList, RawProgram, Result, Submission, Ticket};
pub use entries::Entries;
use entries::Name;
use later::Later;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Keeps compiled programs on disk.
pub struct Cache {
    /// Dropped first: it still asks the device.
    later: Later,
    inner: Arc<dyn RawDevice>,
    entries: Arc<Entries>,
}

/// Where the cache lies: `ANYCHIP_CACHE_DIR`, or `anychip` in the user's cache folder. `None`: there is none, or
/// `ANYCHIP_CACHE=off`.
pub fn default_folder() -> Option<PathBuf> {
    if std::env::var("ANYCHIP_CACHE").is_ok_and(|v| v.eq_ignore_ascii_case("off") || v == "0") {
        return None;
    }
    match std::env::var_os("ANYCHIP_CACHE_DIR") {
        Some(folder) if !folder.is_empty() => Some(folder.into()),
        _ => Some(directories::BaseDirs::new()?.cache_dir().join("anychip")),
    }
}

impl Cache {
    /// Wraps a device; entries lie in the folder `programs` below `folder`, which is made when it is not there and must
    /// be the user's own. Errors say why it cannot be used; the device then goes without.
    pub fn new(inner: Arc<dyn RawDevice>, folder: &Path) -> io::Result<Cache> {
        let entries = Arc::new(Entries::open(folder.join("programs"))?);
        Ok(Cache { later: Later::new(inner.clone(), entries.clone()), inner, entries })
    }

    /// Sets the bound on all entries, in bytes.
    pub fn bounded(self, bytes: u64) -> Cache {
        self.entries.bound.store(bytes, Ordering::Relaxed);
        self
    }

    fn name(&self, module: &Module<'_>) -> Name {
        let mut hash = blake3::Hasher::new();
        let (kind, identity) = match module {
            Module::Kernel(k) => ("kernel", k.identity()),
            Module::Graph(g) => ("graph", g.identity()),
        };
        for part in [kind, env!("CARGO_PKG_VERSION"), &self.inner.info().fingerprint()] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        *hash.update(&identity).finalize().as_bytes()
    }
}

impl RawDevice for Cache {
    forward!(info, alloc, free, host_write, host_read, accepts, binary, notify, expose, fetch, trim);

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        if cached.is_some() {
            return self.inner.load(module, cached);
        }
        let name = self.name(module);
        let found = self.entries.read(&name);
        let loaded = self.inner.load(module, found.as_deref())?;
        if loaded.binary.is_empty() {
            self.later.expect(loaded.program, name);
        } else if found.as_ref() != Some(&loaded.binary) {
            // A full disk or a folder that went away costs the next start its time, nothing else.
            let _ = self.entries.write(&name, &loaded.binary);
        }
        Ok(loaded)
    }

    fn unload(&self, program: RawProgram) {
        self.later.unloading(program);
        self.inner.unload(program)
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let list = self.inner.record(commands)?;
        self.later.recorded(list, commands);
        Ok(list)
    }

    fn release(&self, list: RawList) {
        self.later.released(list);
        self.inner.release(list)
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let ticket = self.inner.submit(work)?;
        self.later.submitted(&work.work, ticket);
        Ok(ticket)
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let end = self.inner.wait(ticket, timeout);
        match &end {
            Ok(None) => {}
            Ok(Some(_)) => self.later.ended(ticket, true),
            Err(_) => self.later.ended(ticket, false),
        }
        end
    }
}
