//! What probing ended with, on disk: an entry for each driver as it is installed, by the rules of the program cache (private
//! folder, whole or not at all, hashed). One that is damaged, or of another driver, installation or version, is as good as none.

use super::Record;
use crate::layer::Entries;
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

#[derive(Serialize, Deserialize)]
struct Entry {
    /// What it depends on, in words.
    key: String,
    record: Record,
}

fn name(key: &str) -> [u8; 32] {
    *blake3::Hasher::new().update(b"probe").update(key.as_bytes()).finalize().as_bytes()
}

/// What is recorded under a key, below the cache's folder.
pub fn read(folder: &Path, key: &str) -> Option<Record> {
    let folder = folder.join("probes");
    // Where nothing was ever probed, no folder is made.
    if !folder.is_dir() {
        return None;
    }
    let payload = Entries::open(folder).ok()?.read(&name(key))?;
    let entry: Entry = serde_json::from_slice(&payload).ok()?;
    (entry.key == key).then_some(entry.record)
}

/// Records under a key.
pub fn write(folder: &Path, key: &str, record: &Record) -> io::Result<()> {
    let payload = serde_json::to_vec_pretty(&Entry { key: key.to_string(), record: record.clone() })?;
    Entries::open(folder.join("probes"))?.write(&name(key), &payload)
}
