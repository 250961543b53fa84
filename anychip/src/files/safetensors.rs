//! Weights on disk: safetensors files, memory-mapped and validated before anything in them is believed.
//!
//! The format: eight bytes with the header's length, a JSON header that says type, shape and place of every tensor, the
//! bytes of all of them without gaps.

use super::{Progress, progress};
use crate::{Device, Tensor};
use ::safetensors::tensor::{Dtype, Metadata, TensorInfo, View, serialize_to_file};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::{Host, Node, graph::Bytes};
use std::{borrow::Cow, collections::BTreeMap, path::Path, sync::Arc};

/// Largest header that is read: the limit of the format's own library.
const MAX_HEADER: u64 = 100_000_000;

/// An opened safetensors file. Tensors taken from it share its bytes.
///
/// ```
/// use anychip::{Device, SafeTensors, Tensor};
/// # fn main() -> anychip::Result<()> {
/// let device = Device::open("cpu")?;
/// let path = std::env::temp_dir().join(format!("anychip-doc-{}.safetensors", std::process::id()));
/// let w = Tensor::from_vec(vec![1f32, 2., 3., 4.], (2, 2), &device)?;
/// anychip::save(&path, [("w", &w)])?;
/// let file = SafeTensors::open(&path)?;
/// assert_eq!(file.names().collect::<Vec<_>>(), ["w"]);
/// assert_eq!(file.tensor("w", &device)?.to_vec2::<f32>()?, [[1., 2.], [3., 4.]]);
/// # std::fs::remove_file(&path).ok();
/// # Ok(())
/// # }
/// ```
pub struct SafeTensors {
    file: String,
    bytes: Bytes,
    /// First byte of the tensors' bytes.
    data: usize,
    tensors: BTreeMap<String, TensorInfo>,
}

impl SafeTensors {
    /// Maps a file into memory and checks all of its header. The file must not be changed while it, or a tensor taken
    /// from it, is in use: its bytes are read when a device needs them.
    ///
    /// # Errors
    /// `Io` when it cannot be read; `Corrupt`, with the byte and the reason, when it is cut short, damaged or hostile.
    pub fn open(path: impl AsRef<Path>) -> Result<SafeTensors> {
        let (name, bytes) = super::map(path.as_ref())?;
        SafeTensors::parse(name, bytes)
    }

    /// The same from bytes in memory; `name` stands for the file in messages.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<SafeTensors> {
        SafeTensors::parse(name.to_string(), Arc::new(bytes))
    }

    fn parse(file: String, bytes: Bytes) -> Result<SafeTensors> {
        let (data, tensors) = header(&file, &bytes)?;
        Ok(SafeTensors { file, bytes, data, tensors })
    }

    /// Names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor; `None` when there is none of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// A tensor, as a constant: a device may keep it in a layout of its own. No bytes are copied here.
    ///
    /// # Errors
    /// `InvalidArgument` when there is none of that name, with names that are like it; `Unsupported` for an element type
    /// that anychip does not have.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let Some(info) = self.tensors.get(name) else {
            return Err(Error::invalid(format!("{}: no tensor {name:?}; {}", self.file, self.like(name))));
        };
        let dtype = dtype(info.dtype).ok_or_else(|| {
            Error::unsupported(format!("{}: tensor {name:?}", self.file), format!("type {}", info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        let host = Host::part(self.bytes.clone(), self.data + start, end - start).ok_or_else(|| Error::Corrupt {
            file: self.file.clone(),
            offset: (self.data + start) as u64,
            why: format!("tensor {name:?} lies outside the file"),
        })?;
        Ok(Tensor::from_node(Node::constant(host, dtype, &info.shape)?, device))
    }

    /// All tensors, brought to the device now, in pieces; `progress` is called after every piece, and once for every tensor. Only
    /// the piece under way lies in memory twice, however large the file is.
    ///
    /// # Errors
    /// As [`SafeTensors::tensor`]; `OutOfMemory` when the device cannot hold them.
    /// ```no_run
    /// # use anychip::{Device, SafeTensors};
    /// # let device = Device::open("cpu")?;
    /// let weights = SafeTensors::open("model.safetensors")?.load(&device, |p| {
    ///     eprint!("\r{:3} % {}", 100 * p.done / p.total.max(1), p.tensor);
    /// })?;
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn load(&self, device: &Device, progress: impl FnMut(Progress<'_>)) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.names().map(|n| Ok((n.to_string(), self.tensor(n, device)?))).collect::<Result<Vec<_>>>()?;
        progress::upload(&tensors, device, progress)?;
        Ok(tensors.into_iter().collect())
    }

    /// Says which names there are: those that end like the one asked for, else the first few.
    fn like(&self, name: &str) -> String {
        let tail = name.rsplit('.').next().unwrap_or(name);
        let near: Vec<&str> = self.names().filter(|n| n.ends_with(tail)).take(5).collect();
        let shown = if near.is_empty() { self.names().take(5).collect() } else { near };
        match shown.len() {
            0 => "the file holds no tensors".into(),
            _ => format!("it holds {} tensors, such as {}", self.tensors.len(), shown.join(", ")),
        }
    }
}

impl std::fmt::Debug for SafeTensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SafeTensors({}, {} tensors)", self.file, self.tensors.len())
    }
}

/// Reads and checks a header: where the tensors' bytes begin, and what they are.
fn header(file: &str, bytes: &[u8]) -> Result<(usize, BTreeMap<String, TensorInfo>)> {
    let bad = |offset: usize, why: String| Error::Corrupt { file: file.to_string(), offset: offset as u64, why };
    let total = bytes.len();
    let Some(first) = bytes.first_chunk::<8>() else {
        return Err(bad(total, format!("the file has {total} bytes, a safetensors file at least 8")));
    };
    let n = u64::from_le_bytes(*first);
    if n > MAX_HEADER {
        return Err(bad(0, format!("the header claims {n} bytes; at most {MAX_HEADER} are accepted")));
    }
    let data = 8 + n as usize;
    let Some(text) = bytes.get(8..data) else {
        return Err(bad(0, format!("the header claims {n} bytes, but the file has only {total}")));
    };
    let text =
        std::str::from_utf8(text).map_err(|e| bad(8 + e.valid_up_to(), "the header is not UTF-8 text".into()))?;
    let entries: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|e| bad(8 + place(text, &e), format!("the header is not a JSON object: {e}")))?;

    let at = |name: &str| 8 + text.find(&format!("{name:?}")).unwrap_or(0);
    let mut infos = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if name == "__metadata__" {
            continue;
        }
        let info: TensorInfo =
            serde_json::from_value(value).map_err(|e| bad(at(&name), format!("tensor {name:?}: {e}")))?;
        infos.push((name, info));
    }
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let held = total - data;
    let mut next = 0usize;
    for (name, info) in &infos {
        let (start, end) = info.data_offsets;
        let shape = &info.shape;
        if end < start {
            return Err(bad(at(name), format!("tensor {name:?} ends at {end}, before its start {start}")));
        }
        if end > held {
            let why = format!("tensor {name:?} takes bytes {start}..{end}, but only {held} follow the header");
            return Err(bad(at(name), why));
        }
        if start != next {
            let what = if start < next { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(bad(
                at(name),
                format!("tensor {name:?} starts at {start}, which {what} (that ends at {next})"),
            ));
        }
        let count = shape.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        let bits = count.and_then(|c| c.checked_mul(info.dtype.bitsize()));
        if bits.is_none_or(|b| b % 8 != 0 || b / 8 != end - start) {
            let why = format!(
                "tensor {name:?} of type {} and shape {shape:?} takes {} bytes, its place holds {}",
                info.dtype,
                bits.map_or("too many".to_string(), |b| b.div_ceil(8).to_string()),
                end - start
            );
            return Err(bad(at(name), why));
        }
        next = end;
    }
    if next != held {
        return Err(bad(data + next, format!("{} bytes at the end belong to no tensor", held - next)));
    }
    // The format's own library has the last word.
    Metadata::new(None, infos.clone()).map_err(|e| bad(8, e.to_string()))?;
    Ok((data, infos.into_iter().collect()))
}

/// Byte of a text that a JSON error points to.
fn place(text: &str, e: &serde_json::Error) -> usize {
    let line = text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len).sum::<usize>();
    (line + e.column().saturating_sub(1)).min(text.len())
}

fn dtype(d: Dtype) -> Option<DType> {
    Some(match d {
        Dtype::BOOL => DType::Bool,
        Dtype::I8 => DType::I8,
        Dtype::I16 => DType::I16,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::U8 => DType::U8,
        Dtype::U16 => DType::U16,
        Dtype::U32 => DType::U32,
        Dtype::U64 => DType::U64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E5M2 => DType::F8E5M2,
        _ => return None,
    })
}

fn file_dtype(d: DType) -> Dtype {
    match d {
        DType::Bool => Dtype::BOOL,
        DType::I8 => Dtype::I8,
        DType::I16 => Dtype::I16,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
        DType::U16 => Dtype::U16,
        DType::U32 => Dtype::U32,
        DType::U64 => Dtype::U64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::F8E4M3 => Dtype::F8_E4M3,
        DType::F8E5M2 => Dtype::F8_E5M2,
    }
}

/// A value on its way to a file.
struct Saved {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Saved {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes named tensors to a safetensors file, which appears whole or not at all.
///
/// # Errors
/// `InvalidArgument` when two tensors share a name; `Io` when the file cannot be written; whatever computing the values
/// gives.
pub fn save<'a, N: Into<String>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, &'a Tensor)>,
) -> Result<()> {
    let path = path.as_ref();
    let mut saved = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = name.into();
        let value =
            Saved { dtype: file_dtype(tensor.dtype()), shape: tensor.dims().to_vec(), bytes: tensor.to_bytes()? };
        if name == "__metadata__" || saved.contains_key(&name) {
            return Err(Error::invalid(format!("save: the name {name:?} is taken")));
        }
        saved.insert(name, value);
    }
    serialize_to_file(saved, None, path).map_err(|e| Error::Io { path: path.display().to_string(), why: e.to_string() })
}
