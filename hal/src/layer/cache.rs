//! Program cache on disk: what a driver compiled is there at the next start.
//!
//! A cache that fails never fails a load: an entry that is damaged, foreign or altered is ignored and written anew, and a
//! folder that cannot be used, or that others may write to, is as good as none. An entry is named by the hash of what was
//! compiled, for which device, driver and anychip; it carries the hash of its payload and appears whole or not at all.

use super::{forward, lock};
use crate::{Loaded, Module, RawDevice, Result};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::SystemTime,
};

/// Bytes of all entries beyond which the oldest go, unless `ANYCHIP_CACHE_BYTES` says otherwise.
const BOUND: u64 = 1 << 30;
/// First bytes of an entry; the number rises when the layout changes.
const MAGIC: [u8; 8] = *b"ANYCHIP1";
/// Magic, name, hash of the payload.
const HEADER: usize = 8 + 32 + 32;

/// Keeps compiled programs on disk.
pub struct Cache {
    inner: Arc<dyn RawDevice>,
    folder: PathBuf,
    bound: u64,
    /// Bytes of all entries, counted at the first write.
    size: Mutex<Option<u64>>,
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
        let folder = folder.join("programs");
        private_folder(&folder)?;
        let bound = std::env::var("ANYCHIP_CACHE_BYTES").ok().and_then(|v| v.parse().ok()).unwrap_or(BOUND);
        Ok(Cache { inner, folder, bound, size: Mutex::new(None) })
    }

    /// Sets the bound on all entries, in bytes.
    pub fn bounded(mut self, bytes: u64) -> Cache {
        self.bound = bytes;
        self
    }

    fn name(&self, module: &Module<'_>) -> [u8; 32] {
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

    fn path(&self, name: &[u8; 32]) -> PathBuf {
        self.folder.join(blake3::Hash::from_bytes(*name).to_hex().as_str())
    }

    /// The payload, if the entry is whole and is what its name says.
    fn read(&self, name: &[u8; 32]) -> Option<Vec<u8>> {
        let path = self.path(name);
        // A folder, a pipe or a link is nothing that we wrote.
        let meta = fs::symlink_metadata(&path).ok()?;
        if !meta.is_file() || meta.len() < HEADER as u64 || meta.len() > self.bound.max(HEADER as u64) {
            return None;
        }
        let mut entry = fs::read(&path).ok()?;
        let header = entry.get(..HEADER)?;
        let hash = blake3::hash(&entry[HEADER..]);
        if header[..8] != MAGIC || header[8..40] != *name || header[40..] != *hash.as_bytes() {
            return None;
        }
        entry.drain(..HEADER);
        Some(entry)
    }

    fn write(&self, name: &[u8; 32], payload: &[u8]) -> io::Result<()> {
        let bytes = (HEADER + payload.len()) as u64;
        if bytes > self.bound {
            return Ok(());
        }
        let mut file = tempfile::Builder::new().prefix(".").tempfile_in(&self.folder)?;
        file.write_all(&MAGIC)?;
        file.write_all(name)?;
        file.write_all(blake3::hash(payload).as_bytes())?;
        file.write_all(payload)?;
        let path = self.path(name);
        let old = fs::symlink_metadata(&path).map_or(0, |m| m.len());
        file.persist(&path).map_err(|e| e.error)?;
        let mut size = lock(&self.size);
        let now = match *size {
            Some(s) => (s + bytes).saturating_sub(old),
            None => self.entries().iter().map(|e| e.bytes).sum(),
        };
        *size = Some(if now > self.bound { self.evict() } else { now });
        Ok(())
    }

    /// Removes the oldest entries until three quarters of the bound are left; says how many bytes that are.
    fn evict(&self) -> u64 {
        let mut entries = self.entries();
        entries.sort_by_key(|e| e.written);
        let mut left: u64 = entries.iter().map(|e| e.bytes).sum();
        for e in entries {
            if left <= self.bound / 4 * 3 {
                break;
            }
            if fs::remove_file(&e.path).is_ok() {
                left -= e.bytes;
            }
        }
        left
    }

    fn entries(&self) -> Vec<Entry> {
        let Ok(list) = fs::read_dir(&self.folder) else { return vec![] };
        list.filter_map(|e| {
            let e = e.ok()?;
            let meta = e.metadata().ok().filter(|m| m.is_file())?;
            let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            Some(Entry { path: e.path(), bytes: meta.len(), written })
        })
        .collect()
    }
}

struct Entry {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl RawDevice for Cache {
    forward!(info, alloc, free, host_write, host_read, accepts, unload, record, release, submit, wait, notify, trim);

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        if cached.is_some() {
            return self.inner.load(module, cached);
        }
        let name = self.name(module);
        let found = self.read(&name);
        let loaded = self.inner.load(module, found.as_deref())?;
        if !loaded.binary.is_empty() && found.as_ref() != Some(&loaded.binary) {
            // A full disk or a folder that went away costs the next start its time, nothing else.
            let _ = self.write(&name, &loaded.binary);
        }
        Ok(loaded)
    }
}

/// Makes a folder that only its owner may enter, or checks that an existing one belongs to this user and makes it so.
#[cfg(unix)]
fn private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let meta = fs::metadata(folder)?;
    // A file made now belongs to this process's user: its owner must be the folder's.
    let probe = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
    if probe.as_file().metadata()?.uid() != meta.uid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the folder belongs to another user"));
    }
    if meta.mode() & 0o777 != 0o700 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes a folder; elsewhere the user's cache folder is private by itself.
#[cfg(not(unix))]
fn private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}
