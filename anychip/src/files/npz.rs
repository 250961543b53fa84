//! NumPy's `.npz`: a ZIP archive with a `.npy` file per array.

use super::{Progress, npy, progress};
use crate::{Device, Tensor};
use anychip_hal::{Error, Result};
use anychip_kernels::graph::Bytes;
use std::{
    collections::BTreeMap,
    io::{Cursor, Read, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

/// The archive's reader works on shared bytes.
#[derive(Clone)]
struct Shared(Bytes);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// An opened `.npz` archive. Arrays that are stored as they are share its bytes; compressed ones are unpacked when they are asked for.
///
/// ```
/// # let device = anychip::Device::open("cpu")?;
/// # let path = std::env::temp_dir().join(format!("anychip-doc-{}.npz", std::process::id()));
/// use anychip::{Npz, Tensor, save_npz};
/// let x = Tensor::arange(0i64, 3, &device)?;
/// save_npz(&path, [("x", &x)])?;
/// let file = Npz::open(&path)?;
/// assert_eq!(file.names().collect::<Vec<_>>(), ["x"]);
/// assert_eq!(file.tensor("x", &device)?.to_vec1::<i64>()?, [0, 1, 2]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), anychip::Error>(())
/// ```
pub struct Npz {
    file: String,
    bytes: Bytes,
    archive: Mutex<ZipArchive<Cursor<Shared>>>,
    /// Place of each array in the archive, by the name without `.npy`.
    members: BTreeMap<String, usize>,
}

impl Npz {
    /// Maps an archive and reads its directory. The file must not be changed while it, or a tensor taken from it, is in use.
    ///
    /// # Errors
    /// `Io` when it cannot be read; `Corrupt` when it is no ZIP archive, or two members share a name.
    pub fn open(path: impl AsRef<Path>) -> Result<Npz> {
        let (name, bytes) = super::map(path.as_ref())?;
        Npz::parse(name, bytes)
    }

    /// The same from bytes in memory; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`Npz::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Npz> {
        Npz::parse(name.to_string(), Arc::new(bytes))
    }

    fn parse(file: String, bytes: Bytes) -> Result<Npz> {
        let archive = ZipArchive::new(Cursor::new(Shared(bytes.clone()))).map_err(|e| corrupt(&file, &e))?;
        let mut members = BTreeMap::new();
        for i in 0..archive.len() {
            let name = archive.name_for_index(i).transpose().map_err(|e| corrupt(&file, &e))?.unwrap_or_default();
            // NumPy leaves other members alone.
            let Some(array) = name.strip_suffix(".npy") else { continue };
            if members.insert(array.to_string(), i).is_some() {
                let why = format!("two members are called {name:?}");
                return Err(Error::Corrupt { file, offset: 0, why });
            }
        }
        Ok(Npz { file, bytes, archive: Mutex::new(archive), members })
    }

    /// Names of the arrays, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// An array, as a constant.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none of that name; `Corrupt` when it is damaged; `Unsupported` for an element type that
    /// anychip does not have, or a way of compression other than none and deflate.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let Some(&member) = self.members.get(name) else {
            let some: Vec<&str> = self.names().take(5).collect();
            let held = format!("it holds {} arrays, such as {}", self.members.len(), some.join(", "));
            return Err(Error::invalid(format!("{}: no array {name:?}; {held}", self.file)));
        };
        let label = format!("{}/{name}.npy", self.file);
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = archive.by_index(member).map_err(|e| corrupt(&label, &e))?;
        let damaged = |why: String| Error::Corrupt { file: label.clone(), offset: 0, why };
        if entry.compression() == CompressionMethod::Stored
            && let Some(start) = entry.data_start()
            && let (Ok(start), Ok(size)) = (usize::try_from(start), usize::try_from(entry.size()))
            && let Some(end) = start.checked_add(size).filter(|&end| end <= self.bytes.len())
        {
            let part = Part { bytes: self.bytes.clone(), start, end };
            if crc32fast::hash(&part) != entry.crc32() {
                return Err(damaged("its checksum is not that of the archive's directory".into()));
            }
            return npy::tensor(&label, Arc::new(part), 0, device);
        }
        // A small archive can unpack to more than there is memory: the directory, the array's own header and the stream agree on
        // its size, or nothing large is asked for.
        let claimed = usize::try_from(entry.size()).map_err(|_| damaged("it does not fit in memory".into()))?;
        let mut unpacked = vec![];
        let start = claimed.min(12 + npy::MAX_HEADER);
        entry.by_ref().take(start as u64).read_to_end(&mut unpacked).map_err(|e| damaged(e.to_string()))?;
        if npy::promised(&label, &unpacked)? != Some(claimed) {
            return Err(damaged(format!("the directory says {claimed} bytes, its header another number")));
        }
        unpacked.try_reserve_exact(claimed - unpacked.len().min(claimed)).map_err(|e| Error::OutOfMemory {
            device: "the host".into(),
            asked: claimed as u64,
            why: e.to_string(),
        })?;
        // To its end, where the checksum is compared.
        entry.read_to_end(&mut unpacked).map_err(|e| damaged(e.to_string()))?;
        npy::tensor(&label, Arc::new(unpacked), 0, device)
    }

    /// All arrays, brought to the device now, in pieces; `progress` is called after every piece, and once for every array.
    ///
    /// # Errors
    /// As [`Npz::tensor`]; `OutOfMemory` when the device cannot hold them.
    pub fn load(&self, device: &Device, progress: impl FnMut(Progress<'_>)) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.names().map(|n| Ok((n.to_string(), self.tensor(n, device)?))).collect::<Result<Vec<_>>>()?;
        progress::upload(&tensors, device, progress)?;
        Ok(tensors.into_iter().collect())
    }
}

/// A part of shared bytes.
struct Part {
    bytes: Bytes,
    start: usize,
    end: usize,
}

impl std::ops::Deref for Part {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

impl std::fmt::Debug for Npz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Npz({}, {} arrays)", self.file, self.members.len())
    }
}

fn corrupt(file: &str, e: &ZipError) -> Error {
    match e {
        ZipError::UnsupportedArchive(why) => Error::unsupported(format!("{file}: this archive"), why.to_string()),
        e => Error::Corrupt { file: file.to_string(), offset: 0, why: e.to_string() },
    }
}

/// Writes named tensors to a `.npz` archive, stored as they are (as `numpy.savez` does), which appears whole or not at all.
///
/// # Errors
/// `InvalidArgument` when two tensors share a name; `Unsupported` for bf16 and the 8-bit floats; `Io` when the file cannot be
/// written; whatever computing the values gives.
pub fn save_npz<'a, N: Into<String>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, &'a Tensor)>,
) -> Result<()> {
    let mut saved = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = name.into();
        let array = (npy::head("save_npz", tensor)?, tensor.to_bytes()?);
        if saved.insert(name.clone(), array).is_some() {
            return Err(Error::invalid(format!("save_npz: the name {name:?} is taken")));
        }
    }
    super::write(path.as_ref(), |out| {
        let mut zip = ZipWriter::new(out);
        for (name, (head, bytes)) in &saved {
            // Elements at a multiple of 64 bytes can be used as they lie in a mapped file.
            let large = (head.len() + bytes.len()) as u64 >= u32::MAX as u64;
            let how = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(large)
                .with_alignment(64);
            zip.start_file(format!("{name}.npy"), how)?;
            zip.write_all(head)?;
            zip.write_all(bytes)?;
        }
        zip.finish()?;
        Ok(())
    })
}
