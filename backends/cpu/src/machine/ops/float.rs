//! Floating-point arithmetic of f32 and f64, IEEE 754, never contracted; `Min` and `Max` give NaN when either operand
//! is NaN; `Sign` keeps zeros and NaN.

use super::{
    super::functions,
    Arg,
    lanes::{Num, Same, map1, map2, tree},
};
use crate::vmath::Level;
use anychip_hal::ir::{BinaryOp, ReduceOp, UnaryOp};

macro_rules! float {
    ($t:ty, $bits:ty, $functions:path, $pow:path, $fma:path) => {
        impl Num for $t {
            #[inline(always)]
            unsafe fn unary(level: Level, op: UnaryOp, n: usize, d: *mut u8, a: *const u8) {
                unsafe {
                    match op {
                        UnaryOp::Neg => map1::<$t, $t>(n, d, a, |x| -x),
                        UnaryOp::Abs => map1::<$t, $t>(n, d, a, |x| x.abs()),
                        UnaryOp::Sign => map1::<$t, $t>(n, d, a, |x| {
                            if x > 0.0 {
                                1.0
                            } else if x < 0.0 {
                                -1.0
                            } else {
                                x
                            }
                        }),
                        UnaryOp::Floor => map1::<$t, $t>(n, d, a, |x| x.floor()),
                        UnaryOp::Ceil => map1::<$t, $t>(n, d, a, |x| x.ceil()),
                        UnaryOp::Trunc => map1::<$t, $t>(n, d, a, |x| x.trunc()),
                        UnaryOp::Round => map1::<$t, $t>(n, d, a, |x| x.round_ties_even()),
                        UnaryOp::Sqrt => map1::<$t, $t>(n, d, a, |x| x.sqrt()),
                        UnaryOp::Rsqrt => map1::<$t, $t>(n, d, a, |x| 1.0 / x.sqrt()),
                        UnaryOp::Recip => map1::<$t, $t>(n, d, a, |x| 1.0 / x),
                        UnaryOp::IsNan => map1::<$t, u8>(n, d, a, |x| x.is_nan() as u8),
                        UnaryOp::IsInf => map1::<$t, u8>(n, d, a, |x| x.is_infinite() as u8),
                        UnaryOp::Not => map1::<$bits, $bits>(n, d, a, |x| !x),
                        UnaryOp::CountOnes | UnaryOp::LeadingZeros | UnaryOp::TrailingZeros => {
                            // Refused when the kernel is compiled.
                            map1::<$t, $t>(n, d, a, |x| x)
                        }
                        UnaryOp::Exp
                        | UnaryOp::Exp2
                        | UnaryOp::Log
                        | UnaryOp::Log2
                        | UnaryOp::Sin
                        | UnaryOp::Cos
                        | UnaryOp::Tan
                        | UnaryOp::Tanh
                        | UnaryOp::Erf => $functions(
                            level,
                            op,
                            std::slice::from_raw_parts_mut(d as *mut $t, n),
                            std::slice::from_raw_parts(a as *const $t, n),
                        ),
                    }
                }
            }
            #[inline(always)]
            unsafe fn binary(level: Level, op: BinaryOp, n: usize, d: *mut u8, a: Arg, b: Arg) {
                unsafe {
                    match op {
                        BinaryOp::Add => map2::<$t, $t>(n, d, a, b, |x, y| x + y),
                        BinaryOp::Sub => map2::<$t, $t>(n, d, a, b, |x, y| x - y),
                        BinaryOp::Mul => map2::<$t, $t>(n, d, a, b, |x, y| x * y),
                        BinaryOp::Div => map2::<$t, $t>(n, d, a, b, |x, y| x / y),
                        BinaryOp::Rem => map2::<$t, $t>(n, d, a, b, |x, y| x % y),
                        BinaryOp::Min => map2::<$t, $t>(n, d, a, b, |x, y| if x < y || x.is_nan() { x } else { y }),
                        BinaryOp::Max => map2::<$t, $t>(n, d, a, b, |x, y| if x > y || x.is_nan() { x } else { y }),
                        BinaryOp::Pow => {
                            let (mut x, mut y) = (vec![], vec![]);
                            let x = whole(a, n, &mut x);
                            let y = whole(b, n, &mut y);
                            $pow(level, std::slice::from_raw_parts_mut(d as *mut $t, n), x, y)
                        }
                        // Refused when the kernel is compiled.
                        BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => {
                            map2::<$t, $t>(n, d, a, b, |x, _| x)
                        }
                    }
                }
            }
            #[inline(always)]
            fn mul_add<const FUSED: bool>(a: $t, b: $t, c: $t) -> $t {
                if FUSED { a.mul_add(b, c) } else { a * b + c }
            }
            #[inline(always)]
            fn fma<const FUSED: bool>(a: $t, b: $t, c: $t) -> $t {
                if FUSED { a.mul_add(b, c) } else { $fma(a, b, c) }
            }
            #[inline(always)]
            fn reduce(op: ReduceOp, a: &[$t]) -> $t {
                match op {
                    ReduceOp::Sum => tree(a, |x, y| x + y),
                    ReduceOp::Prod => tree(a, |x, y| x * y),
                    ReduceOp::Min => tree(a, |x, y| if x < y || x.is_nan() { x } else { y }),
                    ReduceOp::Max => tree(a, |x, y| if x > y || x.is_nan() { x } else { y }),
                    // Refused when the kernel is compiled.
                    ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => a[0],
                }
            }
        }
    };
}
float!(f32, u32, functions::f32, functions::pow_f32, fma_f32);
float!(f64, u64, functions::f64, functions::pow_f64, f64::mul_add);

/// a·b+c rounded once, without a fused instruction: the product of two f32 is exact in f64; the sum is rounded to
/// odd there (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008), so that the second rounding,
/// to f32, is the only one that counts.
#[inline(always)]
fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (a as f64 * b as f64, c as f64);
    let s = p + c;
    // TwoSum: what the addition lost.
    let t = s - p;
    let e = (p - (s - t)) + (c - t);
    let bits = s.to_bits();
    // Inexact with an even last bit: one step towards the lost part. NaN and infinity have e = NaN, and stay.
    let odd = if e != 0.0 && e.is_finite() && bits & 1 == 0 {
        if (e > 0.0) == (s > 0.0) { bits + 1 } else { bits - 1 }
    } else {
        bits
    };
    f64::from_bits(odd) as f32
}

/// An operand as a slice; `splat` holds it when it is one element for all lanes.
#[inline(always)]
unsafe fn whole<T: Same>(a: Arg, n: usize, splat: &mut Vec<T>) -> &[T] {
    match a {
        Arg::Vec(p) => unsafe { std::slice::from_raw_parts(p as *const T, n) },
        Arg::One(bits) => {
            splat.resize(n, T::of(bits));
            splat
        }
    }
}
