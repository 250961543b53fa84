//! The loops themselves, generic over the element type, inlined into the body of each vector width.
//!
//! Slices are formed for the length of one loop, so that the compiler knows that nothing overlaps.

use super::Arg;
use crate::vmath::Level;
use anychip_hal::ir::{BinaryOp, ReduceOp, UnaryOp};
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// An element of a given size, moved without looking into it.
pub(crate) trait Same: Copy + 'static {
    /// From the low bits.
    fn of(bits: u64) -> Self;
    /// As the low bits.
    fn bits(self) -> u64;
}

/// An element that is computed with.
pub(crate) trait Num: Same + PartialOrd {
    /// `d[i] = op(a[i])`.
    unsafe fn unary(level: Level, op: UnaryOp, n: usize, d: *mut u8, a: *const u8);
    /// `d[i] = a[i] op b[i]`.
    unsafe fn binary(level: Level, op: BinaryOp, n: usize, d: *mut u8, a: Arg, b: Arg);
    /// a·b+c; fused where that is one instruction.
    fn mul_add<const FUSED: bool>(a: Self, b: Self, c: Self) -> Self;
    /// a·b+c, rounded once.
    fn fma<const FUSED: bool>(a: Self, b: Self, c: Self) -> Self;
    /// Reduces by [`tree`].
    fn reduce(op: ReduceOp, a: &[Self]) -> Self;
}

macro_rules! same {
    ($($t:ty),*) => {$(
        impl Same for $t {
            #[inline(always)]
            fn of(bits: u64) -> $t { bits as $t }
            #[inline(always)]
            fn bits(self) -> u64 {
                let mut bytes = [0; 8];
                bytes[..size_of::<$t>()].copy_from_slice(&self.to_le_bytes());
                u64::from_le_bytes(bytes)
            }
        }
    )*};
}
same!(u8, u16, u32, u64, i8, i16, i32, i64);
impl Same for f32 {
    #[inline(always)]
    fn of(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits() as u64
    }
}
impl Same for f64 {
    #[inline(always)]
    fn of(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
    #[inline(always)]
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

#[inline(always)]
pub(super) unsafe fn map1<A: Copy, D>(n: usize, d: *mut u8, a: *const u8, f: impl Fn(A) -> D) {
    let (d, a) = unsafe { (from_raw_parts_mut(d as *mut D, n), from_raw_parts(a as *const A, n)) };
    for (d, &a) in d.iter_mut().zip(a) {
        *d = f(a);
    }
}

#[inline(always)]
pub(super) unsafe fn map2<A: Same, D: Copy>(n: usize, d: *mut u8, a: Arg, b: Arg, f: impl Fn(A, A) -> D) {
    unsafe {
        let d = from_raw_parts_mut(d as *mut D, n);
        match (a, b) {
            (Arg::Vec(a), Arg::Vec(b)) => {
                let (a, b) = (from_raw_parts(a as *const A, n), from_raw_parts(b as *const A, n));
                for ((d, &a), &b) in d.iter_mut().zip(a).zip(b) {
                    *d = f(a, b);
                }
            }
            (Arg::Vec(a), Arg::One(b)) => {
                let (a, b) = (from_raw_parts(a as *const A, n), A::of(b));
                for (d, &a) in d.iter_mut().zip(a) {
                    *d = f(a, b);
                }
            }
            (Arg::One(a), Arg::Vec(b)) => {
                let (a, b) = (A::of(a), from_raw_parts(b as *const A, n));
                for (d, &b) in d.iter_mut().zip(b) {
                    *d = f(a, b);
                }
            }
            (Arg::One(a), Arg::One(b)) => d.fill(f(A::of(a), A::of(b))),
        }
    }
}

#[inline(always)]
pub(super) unsafe fn map3<A: Same>(n: usize, d: *mut u8, a: *const u8, b: Arg, c: Arg, f: impl Fn(A, A, A) -> A) {
    unsafe {
        let (d, a) = (from_raw_parts_mut(d as *mut A, n), from_raw_parts(a as *const A, n));
        match (b, c) {
            (Arg::Vec(b), Arg::Vec(c)) => {
                let (b, c) = (from_raw_parts(b as *const A, n), from_raw_parts(c as *const A, n));
                for (((d, &a), &b), &c) in d.iter_mut().zip(a).zip(b).zip(c) {
                    *d = f(a, b, c);
                }
            }
            (Arg::Vec(b), Arg::One(c)) => {
                let (b, c) = (from_raw_parts(b as *const A, n), A::of(c));
                for ((d, &a), &b) in d.iter_mut().zip(a).zip(b) {
                    *d = f(a, b, c);
                }
            }
            (Arg::One(b), Arg::Vec(c)) => {
                let (b, c) = (A::of(b), from_raw_parts(c as *const A, n));
                for ((d, &a), &c) in d.iter_mut().zip(a).zip(c) {
                    *d = f(a, b, c);
                }
            }
            (Arg::One(b), Arg::One(c)) => {
                let (b, c) = (A::of(b), A::of(c));
                for (d, &a) in d.iter_mut().zip(a) {
                    *d = f(a, b, c);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn select<A: Same>(n: usize, d: *mut u8, cond: *const u8, a: Arg, b: Arg) {
    unsafe {
        let (d, m) = (from_raw_parts_mut(d as *mut A, n), from_raw_parts(cond, n));
        match (a, b) {
            (Arg::Vec(a), Arg::Vec(b)) => {
                let (a, b) = (from_raw_parts(a as *const A, n), from_raw_parts(b as *const A, n));
                for (((d, &a), &b), &m) in d.iter_mut().zip(a).zip(b).zip(m) {
                    *d = if m != 0 { a } else { b };
                }
            }
            (Arg::Vec(a), Arg::One(b)) => {
                let (a, b) = (from_raw_parts(a as *const A, n), A::of(b));
                for ((d, &a), &m) in d.iter_mut().zip(a).zip(m) {
                    *d = if m != 0 { a } else { b };
                }
            }
            (Arg::One(a), Arg::Vec(b)) => {
                let (a, b) = (A::of(a), from_raw_parts(b as *const A, n));
                for ((d, &b), &m) in d.iter_mut().zip(b).zip(m) {
                    *d = if m != 0 { a } else { b };
                }
            }
            (Arg::One(a), Arg::One(b)) => {
                let (a, b) = (A::of(a), A::of(b));
                for (d, &m) in d.iter_mut().zip(m) {
                    *d = if m != 0 { a } else { b };
                }
            }
        }
    }
}

/// Elements that a reduction keeps side by side: four vectors of AVX-512, which hide an addition's latency.
const SIDE_BY_SIDE: usize = 64;

/// Element i joins element i mod 64, in order; what is left is halved until one is left: element i takes element
/// i + ⌈n/2⌉. The order depends on the length alone, which is not 0.
#[inline(always)]
pub(super) fn tree<T: Copy>(a: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut n = a.len().min(SIDE_BY_SIDE);
    let mut d = [a[0]; SIDE_BY_SIDE];
    d[..n].copy_from_slice(&a[..n]);
    let mut chunks = a[n..].chunks_exact(SIDE_BY_SIDE);
    for c in &mut chunks {
        for (d, &x) in d.iter_mut().zip(c) {
            *d = f(*d, x);
        }
    }
    for (d, &x) in d.iter_mut().zip(chunks.remainder()) {
        *d = f(*d, x);
    }
    while n > 1 {
        let half = n.div_ceil(2);
        let (low, high) = d[..n].split_at_mut(half);
        for (l, &h) in low.iter_mut().zip(high.iter()) {
            *l = f(*l, h);
        }
        n = half;
    }
    d[0]
}

#[inline(always)]
pub(super) unsafe fn gather<T: Same>(n: usize, d: *mut u8, mem: *const u8, idx: *const u8, wide: usize) {
    unsafe {
        let (d, mem) = (from_raw_parts_mut(d as *mut T, n), mem as *const T);
        if wide == 8 {
            for (d, &i) in d.iter_mut().zip(from_raw_parts(idx as *const u64, n)) {
                *d = *mem.add(i as usize);
            }
        } else {
            for (d, &i) in d.iter_mut().zip(from_raw_parts(idx as *const u32, n)) {
                *d = *mem.add(i as usize);
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn max_index(n: usize, idx: *const u8, wide: usize) -> u64 {
    unsafe {
        if wide == 8 {
            from_raw_parts(idx as *const u64, n).iter().fold(0, |m, &i| m.max(i))
        } else {
            from_raw_parts(idx as *const u32, n).iter().fold(0, |m, &i| m.max(i)) as u64
        }
    }
}

#[inline(always)]
pub(super) unsafe fn ramp(n: usize, d: *mut u8, base: u64, step: u64, bytes: usize) {
    unsafe {
        if bytes == 8 {
            for (i, d) in from_raw_parts_mut(d as *mut u64, n).iter_mut().enumerate() {
                *d = base.wrapping_add(step.wrapping_mul(i as u64));
            }
        } else {
            let (base, step) = (base as u32, step as u32);
            for (i, d) in from_raw_parts_mut(d as *mut u32, n).iter_mut().enumerate() {
                *d = base.wrapping_add(step.wrapping_mul(i as u32));
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn splat(n: usize, d: *mut u8, bits: u64, bytes: usize) {
    unsafe {
        match bytes {
            1 => from_raw_parts_mut(d, n).fill(bits as u8),
            2 => from_raw_parts_mut(d as *mut u16, n).fill(bits as u16),
            4 => from_raw_parts_mut(d as *mut u32, n).fill(bits as u32),
            _ => from_raw_parts_mut(d as *mut u64, n).fill(bits),
        }
    }
}

#[inline(always)]
pub(super) unsafe fn mask(n: usize, d: *mut u8, a: *const u8, b: *const u8, negate: bool) -> usize {
    let (d, a, b) = unsafe { (from_raw_parts_mut(d, n), from_raw_parts(a, n), from_raw_parts(b, n)) };
    let flip = negate as u8;
    for ((d, &a), &b) in d.iter_mut().zip(a).zip(b) {
        *d = a & ((b != 0) as u8 ^ flip);
    }
    // Byte sums of at most 255 lanes vectorise; a wider accumulator per lane does not.
    d.chunks(255).map(|c| c.iter().sum::<u8>() as usize).sum()
}
