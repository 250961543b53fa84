//! Tensors on disk: safetensors, and NumPy's `.npy` and `.npz`. Files are memory-mapped, and nothing in them is believed before it
//! is checked: a cut, damaged or hostile file is an error that names the file and the byte.

#[cfg(feature = "numpy")]
mod npy;
#[cfg(feature = "numpy")]
mod npz;
mod progress;
mod safetensors;

#[cfg(feature = "numpy")]
pub use npy::{load_npy, npy_from_bytes, save_npy};
#[cfg(feature = "numpy")]
pub use npz::{Npz, save_npz};
pub use progress::Progress;
pub use safetensors::{SafeTensors, save};

use anychip_hal::{Error, Result};
use anychip_kernels::graph::Bytes;
use std::{fs::File, path::Path, sync::Arc};

/// A file's name for messages, and its bytes, mapped. The file must not be changed while they are in use.
fn map(path: &Path) -> Result<(String, Bytes)> {
    let file = File::open(path).map_err(|e| Error::io(path, &e))?;
    let meta = file.metadata().map_err(|e| Error::io(path, &e))?;
    if !meta.is_file() {
        return Err(Error::Io { path: path.display().to_string(), why: "is not a file".into() });
    }
    let name = path.display().to_string();
    if meta.len() == 0 {
        return Err(Error::Corrupt { file: name, offset: 0, why: "the file is empty".into() });
    }
    // SAFETY: the mapping is read-only; that nobody changes the file meanwhile is the caller's part, stated by every reader.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, &e))?;
    Ok((name, Arc::new(map)))
}

/// Temporary files that others may read as far as the user's mask lets them: they become what the user asked for.
#[cfg(feature = "numpy")]
fn readable() -> tempfile::Builder<'static, 'static> {
    #[allow(unused_mut)] // elsewhere a new file is the user's own by the folder's rules
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

/// Writes a file that appears whole or not at all.
#[cfg(feature = "numpy")]
fn write(path: &Path, fill: impl FnOnce(&mut std::io::BufWriter<&mut File>) -> std::io::Result<()>) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = readable().tempfile_in(folder).map_err(|e| Error::io(path, &e))?;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, new.as_file_mut());
    fill(&mut out).and_then(|()| out.flush()).map_err(|e| Error::io(path, &e))?;
    drop(out);
    new.persist(path).map_err(|e| Error::io(path, &e.error))?;
    Ok(())
}
