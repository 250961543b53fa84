//! Integer arithmetic: everything wraps, shift amounts are taken modulo the width, division by zero gives 0,
//! `MIN / -1 = MIN`, `MIN % -1 = 0`.

use super::{
    Arg,
    lanes::{Num, map1, map2, tree},
};
use crate::vmath::Level;
use anychip_hal::ir::{BinaryOp, ReduceOp, UnaryOp};

/// Quotient of integers of at most 32 bits through f64, which vectorises: with |x|, |y| < 2³² the exact quotient is
/// at least 2⁻³² from the next integer, the rounding of f64 moves it by less than 2⁻²¹ of that.
macro_rules! small_div {
    ($t:ty) => {
        |x: $t, y: $t| {
            let q = (x as f64 / y as f64) as $t;
            if y == 0 { 0 } else { q }
        }
    };
}
macro_rules! small_rem {
    ($t:ty) => {
        |x: $t, y: $t| {
            let q = (x as f64 / y as f64) as $t;
            if y == 0 { 0 } else { x.wrapping_sub(q.wrapping_mul(y)) }
        }
    };
}
macro_rules! signed_small_div {
    ($t:ty) => {
        |x: $t, y: $t| {
            // The one quotient that does not fit wraps to MIN.
            let q = (x as f64 / y as f64) as i64 as $t;
            if y == 0 { 0 } else { q }
        }
    };
}
macro_rules! signed_small_rem {
    ($t:ty) => {
        |x: $t, y: $t| {
            let q = (x as f64 / y as f64) as i64 as $t;
            if y == 0 { 0 } else { x.wrapping_sub(q.wrapping_mul(y)) }
        }
    };
}
macro_rules! wide_div {
    ($t:ty) => {
        |x: $t, y: $t| if y == 0 { 0 } else { x.wrapping_div(y) }
    };
}
macro_rules! wide_rem {
    ($t:ty) => {
        |x: $t, y: $t| if y == 0 { 0 } else { x.wrapping_rem(y) }
    };
}

macro_rules! int {
    ($t:ty, $neg:expr, $abs:expr, $sign:expr, $pow:expr, $div:ident, $rem:ident) => {
        impl Num for $t {
            #[inline(always)]
            unsafe fn unary(_: Level, op: UnaryOp, n: usize, d: *mut u8, a: *const u8) {
                unsafe {
                    match op {
                        UnaryOp::Neg => map1::<$t, $t>(n, d, a, $neg),
                        UnaryOp::Abs => map1::<$t, $t>(n, d, a, $abs),
                        UnaryOp::Sign => map1::<$t, $t>(n, d, a, $sign),
                        UnaryOp::Not => map1::<$t, $t>(n, d, a, |x| !x),
                        UnaryOp::CountOnes => map1::<$t, $t>(n, d, a, |x| x.count_ones() as $t),
                        UnaryOp::LeadingZeros => map1::<$t, $t>(n, d, a, |x| x.leading_zeros() as $t),
                        UnaryOp::TrailingZeros => map1::<$t, $t>(n, d, a, |x| x.trailing_zeros() as $t),
                        UnaryOp::IsNan | UnaryOp::IsInf => map1::<$t, u8>(n, d, a, |_| 0),
                        // Already whole; functions of reals are refused when the kernel is compiled.
                        UnaryOp::Floor
                        | UnaryOp::Ceil
                        | UnaryOp::Trunc
                        | UnaryOp::Round
                        | UnaryOp::Sqrt
                        | UnaryOp::Rsqrt
                        | UnaryOp::Recip
                        | UnaryOp::Exp
                        | UnaryOp::Exp2
                        | UnaryOp::Log
                        | UnaryOp::Log2
                        | UnaryOp::Sin
                        | UnaryOp::Cos
                        | UnaryOp::Tan
                        | UnaryOp::Tanh
                        | UnaryOp::Erf => map1::<$t, $t>(n, d, a, |x| x),
                    }
                }
            }
            #[inline(always)]
            unsafe fn binary(_: Level, op: BinaryOp, n: usize, d: *mut u8, a: Arg, b: Arg) {
                const MASK: $t = (<$t>::BITS - 1) as $t;
                unsafe {
                    match op {
                        BinaryOp::Add => map2::<$t, $t>(n, d, a, b, |x, y| x.wrapping_add(y)),
                        BinaryOp::Sub => map2::<$t, $t>(n, d, a, b, |x, y| x.wrapping_sub(y)),
                        BinaryOp::Mul => map2::<$t, $t>(n, d, a, b, |x, y| x.wrapping_mul(y)),
                        BinaryOp::Div => map2::<$t, $t>(n, d, a, b, $div!($t)),
                        BinaryOp::Rem => map2::<$t, $t>(n, d, a, b, $rem!($t)),
                        BinaryOp::Min => map2::<$t, $t>(n, d, a, b, |x, y| x.min(y)),
                        BinaryOp::Max => map2::<$t, $t>(n, d, a, b, |x, y| x.max(y)),
                        BinaryOp::Pow => map2::<$t, $t>(n, d, a, b, $pow),
                        BinaryOp::And => map2::<$t, $t>(n, d, a, b, |x, y| x & y),
                        BinaryOp::Or => map2::<$t, $t>(n, d, a, b, |x, y| x | y),
                        BinaryOp::Xor => map2::<$t, $t>(n, d, a, b, |x, y| x ^ y),
                        BinaryOp::Shl => map2::<$t, $t>(n, d, a, b, |x, y| x << (y & MASK)),
                        BinaryOp::Shr => map2::<$t, $t>(n, d, a, b, |x, y| x >> (y & MASK)),
                    }
                }
            }
            #[inline(always)]
            fn mul_add<const FUSED: bool>(a: $t, b: $t, c: $t) -> $t {
                a.wrapping_mul(b).wrapping_add(c)
            }
            #[inline(always)]
            fn fma<const FUSED: bool>(a: $t, b: $t, c: $t) -> $t {
                a.wrapping_mul(b).wrapping_add(c)
            }
            #[inline(always)]
            fn reduce(op: ReduceOp, a: &[$t]) -> $t {
                match op {
                    ReduceOp::Sum => tree(a, |x, y| x.wrapping_add(y)),
                    ReduceOp::Prod => tree(a, |x, y| x.wrapping_mul(y)),
                    ReduceOp::Min => tree(a, |x, y| x.min(y)),
                    ReduceOp::Max => tree(a, |x, y| x.max(y)),
                    ReduceOp::And => tree(a, |x, y| x & y),
                    ReduceOp::Or => tree(a, |x, y| x | y),
                    ReduceOp::Xor => tree(a, |x, y| x ^ y),
                }
            }
        }
    };
}

/// Powers by squaring, wrapping; a negative exponent is the rounded reciprocal: 0 but for bases 1 and −1.
macro_rules! unsigned_pow {
    ($t:ty) => {
        |x: $t, y: $t| {
            let (mut base, mut left, mut out) = (x, y, 1 as $t);
            while left > 0 {
                if left & 1 == 1 {
                    out = out.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                left >>= 1;
            }
            out
        }
    };
}
macro_rules! signed_pow {
    ($t:ty) => {
        |x: $t, y: $t| {
            if y < 0 {
                return match x {
                    1 => 1,
                    -1 if y & 1 == 0 => 1,
                    -1 => -1,
                    _ => 0,
                };
            }
            let (mut base, mut left, mut out) = (x, y, 1 as $t);
            while left > 0 {
                if left & 1 == 1 {
                    out = out.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                left >>= 1;
            }
            out
        }
    };
}
macro_rules! signed {
    ($($t:ty, $div:ident, $rem:ident;)*) => {$(
        int!($t, |x| x.wrapping_neg(), |x| x.wrapping_abs(), |x| x.signum(), signed_pow!($t), $div, $rem);
    )*};
}
macro_rules! unsigned {
    ($($t:ty, $div:ident, $rem:ident;)*) => {$(
        int!($t, |x| x.wrapping_neg(), |x| x, |x| (x != 0) as $t, unsigned_pow!($t), $div, $rem);
    )*};
}
signed! {
    i8, signed_small_div, signed_small_rem;
    i16, signed_small_div, signed_small_rem;
    i32, signed_small_div, signed_small_rem;
    i64, wide_div, wide_rem;
}
unsigned! {
    u8, small_div, small_rem;
    u16, small_div, small_rem;
    u32, small_div, small_rem;
    u64, wide_div, wide_rem;
}
