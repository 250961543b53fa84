//! Entries on disk: written whole or not at all, read only when they are what their name says, bounded in sum.

use crate::layer::lock;
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// Bytes of all entries beyond which the oldest go, unless `ANYCHIP_CACHE_BYTES` says otherwise.
const BOUND: u64 = 1 << 30;
/// First bytes of an entry; the number rises when the layout changes.
const MAGIC: [u8; 8] = *b"ANYCHIP1";
/// Magic, name, hash of the payload.
const HEADER: usize = 8 + 32 + 32;

/// What an entry is called: the hash of everything that its payload depends on.
pub(crate) type Name = [u8; 32];

/// A private folder of entries, each named by the hash of everything that its payload depends on.
pub struct Entries {
    folder: PathBuf,
    pub(super) bound: AtomicU64,
    /// Bytes of all entries, counted at the first write.
    size: Mutex<Option<u64>>,
}

impl Entries {
    /// Takes a folder, which is made when it is not there and must be the user's own.
    pub fn open(folder: PathBuf) -> io::Result<Entries> {
        private_folder(&folder)?;
        let bound = std::env::var("ANYCHIP_CACHE_BYTES").ok().and_then(|v| v.parse().ok()).unwrap_or(BOUND);
        Ok(Entries { folder, bound: bound.into(), size: Mutex::new(None) })
    }

    fn limit(&self) -> u64 {
        self.bound.load(Ordering::Relaxed)
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(blake3::Hash::from_bytes(*name).to_hex().as_str())
    }

    /// The payload, if the entry is whole and is what its name says.
    pub fn read(&self, name: &[u8; 32]) -> Option<Vec<u8>> {
        let path = self.path(name);
        // A folder, a pipe or a link is nothing that we wrote.
        let meta = fs::symlink_metadata(&path).ok()?;
        if !meta.is_file() || meta.len() < HEADER as u64 || meta.len() > self.limit().max(HEADER as u64) {
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

    /// Writes an entry, which appears whole or not at all; then, beyond the bound, the oldest entries go.
    pub fn write(&self, name: &[u8; 32], payload: &[u8]) -> io::Result<()> {
        let bytes = (HEADER + payload.len()) as u64;
        if bytes > self.limit() {
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
        *size = Some(if now > self.limit() { self.evict() } else { now });
        Ok(())
    }

    /// Removes the oldest entries until three quarters of the bound are left; says how many bytes that are.
    fn evict(&self) -> u64 {
        let mut entries = self.entries();
        entries.sort_by_key(|e| e.written);
        let mut left: u64 = entries.iter().map(|e| e.bytes).sum();
        for e in entries {
            if left <= self.limit() / 4 * 3 {
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
