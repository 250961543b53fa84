//! Instruction bodies: loops over the lanes of a block, compiled once per vector width and chosen at run time.
//!
//! Every body reads and writes raw lanes: the caller guarantees that each pointer covers `n` elements of the type
//! the body was looked up for, aligned to it, and that the destination overlaps no operand. They know nothing of
//! registers, masks or kernels.

mod cast;
mod compare;
mod float;
mod int;
mod lanes;
mod stream;

use crate::vmath::Level;
use anychip_hal::{
    DType,
    ir::{BinaryOp, CmpOp, ReduceOp, UnaryOp},
};

/// An operand: one element per lane, or one bit pattern for all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg {
    /// `n` elements.
    Vec(*const u8),
    /// The same element in every lane.
    One(u64),
}

/// `d[i] = op(a[i])`; for `IsNan` and `IsInf` the destination is bool.
pub(crate) type UnaryFn = unsafe fn(UnaryOp, usize, *mut u8, *const u8);
/// `d[i] = a[i] op b[i]`.
pub(crate) type BinaryFn = unsafe fn(BinaryOp, usize, *mut u8, Arg, Arg);
/// `d[i] = a[i] op b[i]`, the destination is bool.
pub(crate) type CompareFn = unsafe fn(CmpOp, usize, *mut u8, Arg, Arg);
/// `d[i] = a[i]·b[i] + c[i]`.
pub(crate) type MulAddFn = unsafe fn(usize, *mut u8, *const u8, Arg, Arg);
/// `d[i] = cond[i] ? a[i] : b[i]`, by the size of the element.
pub(crate) type SelectFn = unsafe fn(usize, *mut u8, *const u8, Arg, Arg);
/// `d[i] = a[i]` in another type.
pub(crate) type CastFn = unsafe fn(usize, *mut u8, *const u8);
/// The bits of the reduction of `n ≥ 1` elements in an order that depends on `n` alone.
pub(crate) type ReduceFn = unsafe fn(ReduceOp, usize, *const u8) -> u64;
/// `d[i] = mem[idx[i]]`; every index is in range. By the size of the element; indices are u32 or u64.
pub(crate) type GatherFn = unsafe fn(usize, *mut u8, *const u8, *const u8, usize);
/// The largest of `n` indices (u32 or u64 by `wide`), 0 for none.
pub(crate) type MaxFn = unsafe fn(usize, *const u8, usize) -> u64;
/// `d[i] = base + step·i`, wrapping, by the size of the element.
pub(crate) type RampFn = unsafe fn(usize, *mut u8, u64, u64, usize);
/// `d[i] = bits`, by the size of the element.
pub(crate) type SplatFn = unsafe fn(usize, *mut u8, u64, usize);
/// Copies bytes past the caches where the processor can: they will not be read soon.
pub(crate) type StreamFn = unsafe fn(usize, *mut u8, *const u8);
/// `d[i] = a[i] != 0` as 0 or 1.
pub(crate) type NormFn = unsafe fn(usize, *mut u8, *const u8);
/// `d[i] = a[i] & b[i]` or `a[i] & !b[i]` of bool bytes; returns how many are set.
pub(crate) type MaskFn = unsafe fn(usize, *mut u8, *const u8, *const u8, bool) -> usize;

/// The bodies of one vector width, looked up when a kernel is compiled.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    /// By element type.
    pub unary: fn(DType) -> UnaryFn,
    /// By element type.
    pub binary: fn(DType) -> BinaryFn,
    /// By element type of the operands.
    pub compare: fn(DType) -> CompareFn,
    /// By element type; rounds once or twice.
    pub mul_add: fn(DType) -> MulAddFn,
    /// By element type; rounds once.
    pub fma: fn(DType) -> MulAddFn,
    /// By bytes of an element.
    pub select: fn(usize) -> SelectFn,
    /// From, to; `None` where two conversions are needed.
    pub cast: fn(DType, DType) -> Option<CastFn>,
    /// By element type.
    pub reduce: fn(DType) -> ReduceFn,
    /// By bytes of an element.
    pub gather: fn(usize) -> GatherFn,
    /// Largest index.
    pub max_index: MaxFn,
    /// Ramps.
    pub ramp: RampFn,
    /// Splats.
    pub splat: SplatFn,
    /// Copies past the caches.
    pub stream: StreamFn,
    /// Bytes to bools.
    pub normalise: NormFn,
    /// Masks.
    pub mask: MaskFn,
}

/// The type whose bodies serve this one: bool computes as u8, storage types move as integers.
fn carrier(d: DType) -> DType {
    match d {
        DType::Bool | DType::F8E4M3 | DType::F8E5M2 => DType::U8,
        DType::F16 | DType::BF16 => DType::U16,
        d => d,
    }
}

macro_rules! numeric {
    ($d:expr, $f:ident $(, $more:expr)?) => {
        match carrier($d) {
            DType::I8 => $f::<i8 $(, $more)?>,
            DType::I16 => $f::<i16 $(, $more)?>,
            DType::I32 => $f::<i32 $(, $more)?>,
            DType::I64 => $f::<i64 $(, $more)?>,
            DType::U16 => $f::<u16 $(, $more)?>,
            DType::U32 => $f::<u32 $(, $more)?>,
            DType::U64 => $f::<u64 $(, $more)?>,
            DType::F32 => $f::<f32 $(, $more)?>,
            DType::F64 => $f::<f64 $(, $more)?>,
            _ => $f::<u8 $(, $more)?>,
        }
    };
}

macro_rules! sized {
    ($bytes:expr, $f:ident) => {
        match $bytes {
            1 => $f::<u8>,
            2 => $f::<u16>,
            4 => $f::<u32>,
            _ => $f::<u64>,
        }
    };
}

macro_rules! level {
    ($name:ident, $level:ident, $fused:literal $(, #[$enable:meta])?) => {
        mod $name {
            use super::*;
            use lanes::{Num, Same};

            $(#[$enable])?
            unsafe fn unary<T: Num>(op: UnaryOp, n: usize, d: *mut u8, a: *const u8) {
                unsafe { T::unary(Level::$level, op, n, d, a) }
            }
            $(#[$enable])?
            unsafe fn binary<T: Num>(op: BinaryOp, n: usize, d: *mut u8, a: Arg, b: Arg) {
                unsafe { T::binary(Level::$level, op, n, d, a, b) }
            }
            $(#[$enable])?
            unsafe fn compare<T: Num>(op: CmpOp, n: usize, d: *mut u8, a: Arg, b: Arg) {
                unsafe { compare::compare::<T>(op, n, d, a, b) }
            }
            $(#[$enable])?
            unsafe fn mul_add<T: Num>(n: usize, d: *mut u8, a: *const u8, b: Arg, c: Arg) {
                unsafe { lanes::map3::<T>(n, d, a, b, c, T::mul_add::<$fused>) }
            }
            $(#[$enable])?
            unsafe fn fma<T: Num>(n: usize, d: *mut u8, a: *const u8, b: Arg, c: Arg) {
                unsafe { lanes::map3::<T>(n, d, a, b, c, T::fma::<$fused>) }
            }
            $(#[$enable])?
            unsafe fn select<T: Same>(n: usize, d: *mut u8, cond: *const u8, a: Arg, b: Arg) {
                unsafe { lanes::select::<T>(n, d, cond, a, b) }
            }
            $(#[$enable])?
            unsafe fn convert<A: cast::To<B>, B: Copy>(n: usize, d: *mut u8, a: *const u8) {
                unsafe { lanes::map1::<A, B>(n, d, a, |x| x.to()) }
            }
            $(#[$enable])?
            unsafe fn reduce<T: Num>(op: ReduceOp, n: usize, a: *const u8) -> u64 {
                T::reduce(op, unsafe { std::slice::from_raw_parts(a as *const T, n) }).bits()
            }
            $(#[$enable])?
            unsafe fn gather<T: Same>(n: usize, d: *mut u8, mem: *const u8, idx: *const u8, wide: usize) {
                unsafe { lanes::gather::<T>(n, d, mem, idx, wide) }
            }
            $(#[$enable])?
            unsafe fn max_index(n: usize, idx: *const u8, wide: usize) -> u64 {
                unsafe { lanes::max_index(n, idx, wide) }
            }
            $(#[$enable])?
            unsafe fn ramp(n: usize, d: *mut u8, base: u64, step: u64, bytes: usize) {
                unsafe { lanes::ramp(n, d, base, step, bytes) }
            }
            $(#[$enable])?
            unsafe fn splat(n: usize, d: *mut u8, bits: u64, bytes: usize) {
                unsafe { lanes::splat(n, d, bits, bytes) }
            }
            $(#[$enable])?
            unsafe fn stream(bytes: usize, d: *mut u8, a: *const u8) {
                unsafe { stream::$name(bytes, d, a) }
            }
            $(#[$enable])?
            unsafe fn normalise(n: usize, d: *mut u8, a: *const u8) {
                unsafe { lanes::map1::<u8, u8>(n, d, a, |x| (x != 0) as u8) }
            }
            $(#[$enable])?
            unsafe fn mask(n: usize, d: *mut u8, a: *const u8, b: *const u8, negate: bool) -> usize {
                unsafe { lanes::mask(n, d, a, b, negate) }
            }
            fn cast(from: DType, to: DType) -> Option<CastFn> {
                cast::pairs!(convert, from, to)
            }
            pub(super) const TABLE: Table = Table {
                unary: |d| numeric!(d, unary),
                binary: |d| numeric!(d, binary),
                compare: |d| numeric!(d, compare),
                mul_add: |d| numeric!(d, mul_add),
                fma: |d| numeric!(d, fma),
                select: |b| sized!(b, select),
                cast,
                reduce: |d| numeric!(d, reduce),
                gather: |b| sized!(b, gather),
                max_index,
                ramp,
                splat,
                stream,
                normalise,
                mask,
            };
        }
    };
}

// On targets without a fused instruction in the baseline, `MulAdd` rounds twice and `Fma` is computed exactly by
// other means: calling libm once per lane would be a hundred times slower.
#[cfg(not(target_arch = "aarch64"))]
level!(baseline, Baseline, false);
#[cfg(target_arch = "aarch64")]
level!(baseline, Baseline, true);
#[cfg(target_arch = "x86_64")]
level!(avx2, Avx2, true, #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]);
#[cfg(target_arch = "x86_64")]
level!(avx512, Avx512, true, #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]);

pub(crate) use stream::{fence, prefetch};

/// What copies past the caches at a vector width.
pub(crate) fn stream(level: Level) -> StreamFn {
    table(level).stream
}

/// The bodies for a vector width; the baseline's where this processor lacks it.
pub(crate) fn table(level: Level) -> Table {
    #[cfg(target_arch = "x86_64")]
    if level.available() {
        return match level {
            Level::Baseline => baseline::TABLE,
            Level::Avx2 => avx2::TABLE,
            Level::Avx512 => avx512::TABLE,
        };
    }
    let _ = level;
    baseline::TABLE
}
