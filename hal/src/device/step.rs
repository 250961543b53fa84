//! What a caller asks a device to do, as plain values. Nothing is checked here: `submit` and `record` check.

use super::{Program, Slice};
use crate::{
    DType,
    ir::{Elem, ParamKind},
};

/// One step of work; each sees the writes of those before it.
#[derive(Debug, Clone)]
pub enum Step {
    /// Copies bytes between slices of equal length that do not overlap. Any offset and length will do.
    Copy {
        /// From.
        src: Slice,
        /// To.
        dst: Slice,
    },
    /// Repeats a 32-bit little-endian word from the slice's first byte on. Any offset and length will do.
    Fill {
        /// To.
        dst: Slice,
        /// The word.
        word: u32,
    },
    /// Runs a program.
    Launch {
        /// Which.
        program: Program,
        /// Workgroups; a grid of none skips the launch. Ignored by graphs.
        grid: Grid,
        /// One slice per buffer parameter, in order. For a graph its inputs, its outputs and, if the caller brings it,
        /// its workspace.
        bindings: Vec<Slice>,
        /// One per scalar parameter, in order.
        scalars: Vec<ScalarArg>,
    },
}

/// How many workgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// So many along dimension 0. Where the device limits that dimension, it is folded, which the kernel does not see.
    Linear(u64),
    /// Per dimension, for kernels that use dimensions above 0.
    Xyz([u32; 3]),
}

impl Grid {
    /// The linear grid of workgroups of `lanes` lanes that covers `items`.
    pub fn covering(items: u64, lanes: u32) -> Grid {
        Grid::Linear(items.div_ceil(u64::from(lanes.max(1))))
    }
}

/// A scalar argument; its type must be the parameter's.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // the element types' own names
pub enum ScalarArg {
    Bool(bool),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    F16(half::f16),
    BF16(half::bf16),
    F32(f32),
    F64(f64),
    /// An index: 32 or 64 bits on the device, as the launch needs.
    Idx(u64),
}

impl ScalarArg {
    /// The type it has.
    pub fn elem(&self) -> Elem {
        Elem::D(match self {
            ScalarArg::Bool(_) => DType::Bool,
            ScalarArg::I8(_) => DType::I8,
            ScalarArg::I16(_) => DType::I16,
            ScalarArg::I32(_) => DType::I32,
            ScalarArg::I64(_) => DType::I64,
            ScalarArg::U8(_) => DType::U8,
            ScalarArg::U16(_) => DType::U16,
            ScalarArg::U32(_) => DType::U32,
            ScalarArg::U64(_) => DType::U64,
            ScalarArg::F16(_) => DType::F16,
            ScalarArg::BF16(_) => DType::BF16,
            ScalarArg::F32(_) => DType::F32,
            ScalarArg::F64(_) => DType::F64,
            ScalarArg::Idx(_) => return Elem::Idx,
        })
    }

    /// Its bits, the element's in the low bytes.
    pub fn bits(&self) -> u64 {
        match *self {
            ScalarArg::Bool(x) => u64::from(x),
            ScalarArg::I8(x) => u64::from(x as u8),
            ScalarArg::I16(x) => u64::from(x as u16),
            ScalarArg::I32(x) => u64::from(x as u32),
            ScalarArg::I64(x) => x as u64,
            ScalarArg::U8(x) => u64::from(x),
            ScalarArg::U16(x) => u64::from(x),
            ScalarArg::U32(x) => u64::from(x),
            ScalarArg::U64(x) | ScalarArg::Idx(x) => x,
            ScalarArg::F16(x) => u64::from(x.to_bits()),
            ScalarArg::BF16(x) => u64::from(x.to_bits()),
            ScalarArg::F32(x) => u64::from(x.to_bits()),
            ScalarArg::F64(x) => x.to_bits(),
        }
    }
}

macro_rules! from {
    ($($t:ty => $v:ident),* $(,)?) => { $(
        impl From<$t> for ScalarArg {
            fn from(x: $t) -> ScalarArg { ScalarArg::$v(x) }
        }
    )* };
}
from! {
    bool => Bool, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    half::f16 => F16, half::bf16 => BF16, f32 => F32, f64 => F64,
}

/// A parameter's kind as a reader calls it.
pub(super) fn kind_name(kind: &ParamKind) -> String {
    match kind {
        ParamKind::Buffer { elem, access, .. } if access.writes() => format!("&mut Buf<{elem}>"),
        ParamKind::Buffer { elem, .. } => format!("&Buf<{elem}>"),
        ParamKind::Scalar { elem, .. } => elem.name().to_string(),
    }
}
