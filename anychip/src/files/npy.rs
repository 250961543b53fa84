//! NumPy's `.npy`: one array. A magic number, a Python dictionary that says type, order and shape, the elements.
//!
//! The format is described in `numpy/lib/format.py`, versions 1.0 to 3.0. NumPy knows neither bf16 nor the 8-bit floats.

use crate::{Device, Tensor};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::{Host, Node, View, graph::Bytes};
use py_literal::Value;
use std::{io::Write, path::Path, sync::Arc};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read: NumPy's own limit for files that are not trusted.
pub(super) const MAX_HEADER: usize = 10_000;
/// Deepest brackets in a header that is parsed.
const MAX_DEPTH: usize = 6;

/// Reads a `.npy` file. The file is mapped, not read: it must not be changed as long as the tensor is in use. Elements in
/// Fortran's order are taken as a view, those of the other byte order are copied.
///
/// # Errors
/// `Io` when it cannot be read; `Corrupt`, with the byte and the reason, when it is cut short or damaged; `Unsupported` for
/// element types that anychip does not have (complex numbers, text, records, objects).
/// ```
/// # let device = anychip::Device::open("cpu")?;
/// # let path = std::env::temp_dir().join(format!("anychip-doc-{}.npy", std::process::id()));
/// use anychip::{Tensor, load_npy, save_npy};
/// let x = Tensor::from_vec(vec![1f32, 2., 3., 4., 5., 6.], (2, 3), &device)?;
/// save_npy(&path, &x.t()?)?;
/// assert_eq!(load_npy(&path, &device)?.to_vec2::<f32>()?, [[1., 4.], [2., 5.], [3., 6.]]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), anychip::Error>(())
/// ```
pub fn load_npy(path: impl AsRef<Path>, device: &Device) -> Result<Tensor> {
    let (name, bytes) = super::map(path.as_ref())?;
    tensor(&name, bytes, 0, device)
}

/// The same from bytes in memory; `name` stands for the file in messages.
///
/// # Errors
/// As [`load_npy`].
pub fn npy_from_bytes(name: &str, bytes: Vec<u8>, device: &Device) -> Result<Tensor> {
    tensor(name, Arc::new(bytes), 0, device)
}

/// Writes a tensor to a `.npy` file, which appears whole or not at all.
///
/// # Errors
/// `Unsupported` for bf16 and the 8-bit floats; `Io` when the file cannot be written; whatever computing the value gives.
pub fn save_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let head = head("save_npy", tensor)?;
    let bytes = tensor.to_bytes()?;
    super::write(path.as_ref(), |out| {
        out.write_all(&head)?;
        out.write_all(&bytes)
    })
}

/// What stands before a tensor's bytes in a `.npy` file.
pub(super) fn head(what: &str, tensor: &Tensor) -> Result<Vec<u8>> {
    let descr = descr(tensor.dtype()).ok_or_else(|| {
        let dtype = tensor.dtype();
        Error::unsupported(format!("{what}: {dtype}"), "NumPy has no such type; convert with to_dtype(DType::F32)")
    })?;
    let mut shape: String = tensor.dims().iter().map(|n| format!("{n}, ")).collect();
    if tensor.rank() > 1 {
        shape.truncate(shape.len() - 2);
    }
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // The elements begin at a multiple of 64 bytes; the text ends with a line feed.
    let before = MAGIC.len() + 4;
    let padded = (before + text.len() + 1).next_multiple_of(64) - before - 1;
    text += &" ".repeat(padded - text.len());
    text.push('\n');
    let length = u16::try_from(text.len()).map_err(|_| Error::invalid(format!("{what}: the header is too long")))?;
    let mut head = MAGIC.to_vec();
    head.extend([1, 0]);
    head.extend(length.to_le_bytes());
    head.extend(text.as_bytes());
    Ok(head)
}

/// NumPy's name of a type, little-endian.
fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => return None,
    })
}

/// The type of a NumPy name without its byte order.
fn dtype(name: &str) -> Option<DType> {
    Some(match name {
        "b1" | "?" => DType::Bool,
        "i1" => DType::I8,
        "u1" => DType::U8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        _ => return None,
    })
}

/// What a header says.
struct Header {
    dtype: DType,
    swapped: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// First byte of the elements.
    data: usize,
}

/// Bytes of a whole file, by its first bytes: the header and the elements that it promises.
pub(super) fn promised(file: &str, start: &[u8]) -> Result<Option<usize>> {
    let bad = |offset: usize, why: String| Error::Corrupt { file: file.to_string(), offset: offset as u64, why };
    let h = header(file, start, &bad)?;
    let elements = h.shape.iter().try_fold(h.dtype.size(), |a, &b| a.checked_mul(b));
    Ok(elements.and_then(|n| n.checked_add(h.data)))
}

/// A tensor from the array that begins at byte `at` and ends with the bytes.
pub(super) fn tensor(file: &str, bytes: Bytes, at: usize, device: &Device) -> Result<Tensor> {
    let bad = |offset: usize, why: String| Error::Corrupt { file: file.to_string(), offset: (at + offset) as u64, why };
    let array = bytes.get(at..).ok_or_else(|| bad(0, "the array lies outside the file".into()))?;
    let h = header(file, array, &bad)?;
    let held = array.len() - h.data;
    let want = h.shape.iter().try_fold(h.dtype.size(), |a, &b| a.checked_mul(b));
    if want != Some(held) {
        let want = want.map_or("too many".to_string(), |n| n.to_string());
        let why = format!(
            "an array of type {} and shape {:?} takes {want} bytes, {held} follow the header",
            h.dtype, h.shape
        );
        return Err(bad(h.data, why));
    }
    let elements = &array[h.data..];
    let host = if h.swapped && h.dtype.size() > 1 {
        let mut turned = elements.to_vec();
        turned.chunks_exact_mut(h.dtype.size()).for_each(<[u8]>::reverse);
        Host::new(turned)
    } else if h.dtype == DType::Bool && elements.iter().any(|&b| b > 1) {
        // Everything but 0 is true to NumPy; here only 1 is.
        Host::new(elements.iter().map(|&b| (b != 0) as u8).collect::<Vec<u8>>())
    } else {
        Host::part(bytes.clone(), at + h.data, held)
            .ok_or_else(|| bad(h.data, "the elements lie outside the file".into()))?
    };
    if !h.fortran {
        return Ok(Tensor::from_node(Node::constant(host, h.dtype, &h.shape)?, device));
    }
    // Fortran's order: the first axis is the fastest.
    let reversed: Vec<usize> = h.shape.iter().rev().copied().collect();
    let node = Node::constant(host, h.dtype, &reversed)?;
    Ok(Tensor::from_node(node.view(View::Permute((0..reversed.len()).rev().collect()))?, device))
}

fn header(file: &str, array: &[u8], bad: &dyn Fn(usize, String) -> Error) -> Result<Header> {
    if array.get(..6) != Some(MAGIC) {
        return Err(bad(0, "it does not begin with NumPy's magic number".into()));
    }
    let number = |at: usize, n: usize| {
        let field = array.get(at..at + n)?;
        Some(field.iter().rev().fold(0usize, |value, &b| value << 8 | b as usize))
    };
    let (text_at, length) = match array.get(6) {
        Some(1) => (10, number(8, 2)),
        Some(2 | 3) => (12, number(8, 4)),
        Some(v) => return Err(bad(6, format!("version {v} of the format is not known; accepted are 1, 2 and 3"))),
        None => (6, None),
    };
    let length = length.ok_or_else(|| bad(array.len(), "the file ends within the header".into()))?;
    if length > MAX_HEADER {
        return Err(bad(8, format!("the header claims {length} bytes; at most {MAX_HEADER} are accepted")));
    }
    let data = text_at + length;
    let text = array
        .get(text_at..data)
        .ok_or_else(|| bad(8, format!("the header claims {length} bytes, the file ends before")))?;
    let text =
        std::str::from_utf8(text).map_err(|e| bad(text_at + e.valid_up_to(), "the header is not text".into()))?;
    let broken = |why: String| bad(text_at, why);
    // The parser's time doubles with every level; NumPy's own headers have three.
    let depth = text.bytes().scan(0usize, |depth, b| {
        match b {
            b'(' | b'[' | b'{' => *depth += 1,
            b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    if depth.max().unwrap_or(0) > MAX_DEPTH {
        return Err(broken(format!("its brackets are nested more than {MAX_DEPTH} deep")));
    }
    let value: Value = text.trim().parse().map_err(|e| broken(format!("the header is not a Python literal: {e}")))?;
    let Value::Dict(fields) = value else {
        return Err(broken("the header is not a Python dictionary".into()));
    };
    let (mut name, mut fortran, mut shape) = (None, None, None);
    for (key, value) in fields {
        match (key, value) {
            (Value::String(k), Value::String(s)) if k == "descr" => name = Some(s),
            (Value::String(k), Value::List(_)) if k == "descr" => {
                return Err(Error::unsupported(format!("{file}: an array of records"), "anychip has numbers and bool"));
            }
            (Value::String(k), Value::Boolean(b)) if k == "fortran_order" => fortran = Some(b),
            (Value::String(k), Value::Tuple(t)) if k == "shape" => shape = Some(t),
            (key, value) => {
                return Err(broken(format!("the header has {key:?}: {value:?}, which does not belong there")));
            }
        }
    }
    let (Some(name), Some(fortran), Some(shape)) = (name, fortran, shape) else {
        return Err(broken("the header lacks 'descr', 'fortran_order' or 'shape'".into()));
    };
    let (order, kind) = match name.as_bytes().first() {
        Some(b'<' | b'|' | b'=') => (false, &name[1..]),
        Some(b'>') => (true, &name[1..]),
        _ => (false, &name[..]),
    };
    let dtype = dtype(kind)
        .ok_or_else(|| Error::unsupported(format!("{file}: NumPy's type {name:?}"), "anychip has numbers and bool"))?;
    let shape = shape
        .iter()
        .map(|n| match n {
            Value::Integer(n) => usize::try_from(n).map_err(|_| broken(format!("an extent of {n}"))),
            other => Err(broken(format!("an extent of {other:?}"))),
        })
        .collect::<Result<Vec<usize>>>()?;
    Ok(Header { dtype, swapped: order, fortran, shape, data })
}
