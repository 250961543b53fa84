//! Operations that compute something else: what compilers and fast paths of drivers get wrong.

use crate::{
    Mutant,
    layer::kernels,
    rewrite::{Writer, every},
};
use anychip::hal::{
    DType,
    ir::{BinaryOp, CmpOp, Inst, Kernel, Op, Type, UnaryOp, Value},
};
use std::collections::HashMap;

/// What a binary operation of one type becomes: the value of the result.
fn binary(k: &mut Kernel, of: BinaryOp, d: DType, become_: fn(&mut Writer<'_>, Value, Value) -> Op) {
    every(k, &mut |w, inst| match inst.op {
        Op::Binary(op, a, b) if op == of && w.elem(a) == Some(d) => {
            let op = become_(w, a, b);
            w.put(inst.out, op);
            None
        }
        _ => Some(inst),
    });
}

fn unary(k: &mut Kernel, of: UnaryOp, d: DType, become_: fn(&mut Writer<'_>, Value) -> Op) {
    every(k, &mut |w, inst| match inst.op {
        Op::Unary(op, a) if op == of && w.elem(a) == Some(d) => {
            let op = become_(w, a);
            w.put(inst.out, op);
            None
        }
        _ => Some(inst),
    });
}

fn compare(k: &mut Kernel, of: CmpOp, d: DType, become_: fn(&mut Writer<'_>, Value, Value) -> Op) {
    every(k, &mut |w, inst| match inst.op {
        Op::Compare(op, a, b) if op == of && w.elem(a) == Some(d) => {
            let op = become_(w, a, b);
            w.put(inst.out, op);
            None
        }
        _ => Some(inst),
    });
}

/// A conversion between two types, of the value by another way.
fn cast(k: &mut Kernel, from: DType, to: DType, become_: fn(&mut Writer<'_>, Value) -> Op) {
    every(k, &mut |w, inst| match inst.op {
        Op::Cast(a) if w.elem(a) == Some(from) && inst.out.is_some_and(|v| w.elem(v) == Some(to)) => {
            let op = become_(w, a);
            w.put(inst.out, op);
            None
        }
        _ => Some(inst),
    });
}

/// A constant of a value's type, from the bits of one element.
fn same(w: &mut Writer<'_>, like: Value, bits: u64) -> Value {
    w.bits(w.ty(like), bits)
}

fn f(x: f32) -> u64 {
    u64::from(x.to_bits())
}

macro_rules! mutant {
    ($name:literal, $fault:literal, [$($area:literal),*], [$($killer:literal),*], $change:expr) => {
        Mutant {
            name: $name,
            fault: $fault,
            area: &[$($area),*],
            killers: &[$($killer),*],
            make: |good| kernels(good, $change),
        }
    };
}
pub(crate) use mutant;

pub const MUTANTS: &[Mutant] = &[
    mutant!(
        "max-loses-nan",
        "The larger of NaN and a number is the number.",
        ["core/ir/max/"],
        ["core/ir/max/f32/scalar"],
        |k| {
            binary(k, BinaryOp::Max, DType::F32, |w, a, b| {
                let c = w.compare(CmpOp::Gt, a, b);
                Op::Select(c, a, b)
            });
        }
    ),
    mutant!(
        "f16-truncated",
        "Conversion to f16 cuts bits off instead of rounding to nearest even.",
        ["core/ir/cast/f32", "core/ir/mul/f16"],
        ["core/ir/cast/f32/scalar/to-f16", "core/ir/mul/f16/scalar"],
        |k| {
            cast(k, DType::F32, DType::F16, |w, a| {
                let bits = w.bitcast(DType::U32, a);
                let mask = same(w, bits, 0xffff_e000);
                let cut = w.binary(BinaryOp::And, bits, mask);
                Op::Cast(w.bitcast(DType::F32, cut))
            });
        }
    ),
    mutant!(
        "subnormals-flushed",
        "Products that are subnormal become zero, on a device that declares to keep them.",
        ["core/facts/"],
        ["core/facts/subnormals-kept/f32/mul"],
        |k| {
            binary(k, BinaryOp::Mul, DType::F32, |w, a, b| {
                let p = w.binary(BinaryOp::Mul, a, b);
                let size = w.unary(UnaryOp::Abs, p);
                let least = same(w, p, f(f32::MIN_POSITIVE));
                let zero = same(w, p, 0);
                let small = w.compare(CmpOp::Lt, size, least);
                Op::Select(small, zero, p)
            });
        }
    ),
    mutant!(
        "negative-zero-lost",
        "Negation is a subtraction from zero: −(+0) is +0.",
        ["core/ir/neg/"],
        ["core/ir/neg/f32/scalar"],
        |k| {
            unary(k, UnaryOp::Neg, DType::F32, |w, a| {
                let zero = same(w, a, 0);
                Op::Binary(BinaryOp::Sub, zero, a)
            });
        }
    ),
    mutant!(
        "float-to-int-wraps",
        "Floats beyond the integers wrap instead of saturating.",
        ["core/ir/cast/f32"],
        ["core/ir/cast/f32/scalar/to-i32"],
        |k| {
            cast(k, DType::F32, DType::I32, |w, a| {
                let wide = w.cast(DType::I64, a);
                Op::Cast(wide)
            });
        }
    ),
    mutant!(
        "bytes-sign-extended",
        "u8 is read as i8 when it becomes a wider integer.",
        ["core/ir/cast/u8"],
        ["core/ir/cast/u8/scalar/to-i32"],
        |k| {
            cast(k, DType::U8, DType::I32, |w, a| {
                let signed = w.bitcast(DType::I8, a);
                Op::Cast(signed)
            });
        }
    ),
    mutant!(
        "division-floors",
        "Integer division rounds down, not towards zero.",
        ["core/ir/div/"],
        ["core/ir/div/i32/scalar"],
        |k| {
            binary(k, BinaryOp::Div, DType::I32, |w, a, b| {
                let q = w.binary(BinaryOp::Div, a, b);
                let left = w.binary(BinaryOp::Rem, a, b);
                let (zero, one) = (same(w, a, 0), same(w, a, 1));
                let signs = w.binary(BinaryOp::Xor, left, b);
                let apart = w.compare(CmpOp::Lt, signs, zero);
                let some = w.compare(CmpOp::Ne, left, zero);
                let both = w.binary(BinaryOp::And, apart, some);
                let less = w.binary(BinaryOp::Sub, q, one);
                Op::Select(both, less, q)
            });
        }
    ),
    mutant!(
        "division-by-zero-all-ones",
        "Division of unsigned integers by zero gives all ones, as many chips do.",
        ["core/ir/div/"],
        ["core/ir/div/u32/scalar"],
        |k| {
            binary(k, BinaryOp::Div, DType::U32, |w, a, b| {
                let q = w.binary(BinaryOp::Div, a, b);
                let (zero, ones) = (same(w, a, 0), same(w, a, 0xffff_ffff));
                let none = w.compare(CmpOp::Eq, b, zero);
                Op::Select(none, ones, q)
            });
        }
    ),
    mutant!(
        "shift-not-masked",
        "A shift by the width or more gives zero instead of taking the amount modulo the width.",
        ["core/ir/shl/", "core/ir/shr/"],
        ["core/ir/shl/u32/scalar"],
        |k| {
            binary(k, BinaryOp::Shl, DType::U32, |w, a, b| {
                let y = w.binary(BinaryOp::Shl, a, b);
                let (width, zero) = (same(w, a, 32), same(w, a, 0));
                let far = w.compare(CmpOp::Ge, b, width);
                Op::Select(far, zero, y)
            });
        }
    ),
    mutant!(
        "shift-loses-sign",
        "Shifting a signed integer right fills with zeros.",
        ["core/ir/shr/"],
        ["core/ir/shr/i32/scalar"],
        |k| {
            binary(k, BinaryOp::Shr, DType::I32, |w, a, b| {
                let (a, b) = (w.bitcast(DType::U32, a), w.bitcast(DType::U32, b));
                let y = w.binary(BinaryOp::Shr, a, b);
                Op::Bitcast(y)
            });
        }
    ),
    mutant!("unsigned-compared-signed", "u32 is compared as i32.", ["core/ir/lt/"], ["core/ir/lt/u32/scalar"], |k| {
        compare(k, CmpOp::Lt, DType::U32, |w, a, b| {
            let (a, b) = (w.bitcast(DType::I32, a), w.bitcast(DType::I32, b));
            Op::Compare(CmpOp::Lt, a, b)
        });
    }),
    mutant!(
        "comparison-of-nan-inverted",
        "a < b is compiled as not a ≥ b, which is true of NaN.",
        ["core/ir/lt/"],
        ["core/ir/lt/f32/scalar"],
        |k| {
            compare(k, CmpOp::Lt, DType::F32, |w, a, b| {
                let c = w.compare(CmpOp::Ge, a, b);
                Op::Unary(UnaryOp::Not, c)
            });
        }
    ),
    mutant!(
        "equality-by-bits",
        "Floats are equal when their bits are: −0 differs from 0, NaN equals itself.",
        ["core/ir/eq/"],
        ["core/ir/eq/f32/scalar"],
        |k| {
            compare(k, CmpOp::Eq, DType::F32, |w, a, b| {
                let (a, b) = (w.bitcast(DType::U32, a), w.bitcast(DType::U32, b));
                Op::Compare(CmpOp::Eq, a, b)
            });
        }
    ),
    mutant!(
        "wide-product-narrow",
        "Products of 64-bit integers are computed in 32 bits.",
        ["core/ir/mul/i64"],
        ["core/ir/mul/i64/scalar"],
        |k| {
            binary(k, BinaryOp::Mul, DType::I64, |w, a, b| {
                let (a, b) = (w.cast(DType::U32, a), w.cast(DType::U32, b));
                let p = w.binary(BinaryOp::Mul, a, b);
                Op::Cast(p)
            });
        }
    ),
    mutant!(
        "integers-saturate",
        "Sums of i32 saturate instead of wrapping.",
        ["core/ir/add/i32"],
        ["core/ir/add/i32/scalar"],
        |k| {
            binary(k, BinaryOp::Add, DType::I32, |w, a, b| {
                let (a, b) = (w.cast(DType::I64, a), w.cast(DType::I64, b));
                let y = w.binary(BinaryOp::Add, a, b);
                let (low, high) = (same(w, y, i32::MIN as i64 as u64), same(w, y, i32::MAX as u64));
                let y = w.binary(BinaryOp::Max, y, low);
                let y = w.binary(BinaryOp::Min, y, high);
                Op::Cast(y)
            });
        }
    ),
    mutant!(
        "ties-away-from-zero",
        "Rounding to an integer takes ties away from zero.",
        ["core/ir/round/"],
        ["core/ir/round/f32/scalar"],
        |k| {
            unary(k, UnaryOp::Round, DType::F32, |w, a| {
                let half = same(w, a, f(0.5));
                let size = w.unary(UnaryOp::Abs, a);
                let up = w.binary(BinaryOp::Add, size, half);
                let up = w.unary(UnaryOp::Floor, up);
                let sign = w.unary(UnaryOp::Sign, a);
                Op::Binary(BinaryOp::Mul, up, sign)
            });
        }
    ),
    mutant!(
        "root-by-reciprocal",
        "√x is x · 1/√x: not correctly rounded, and NaN at 0.",
        ["core/ir/sqrt/", "core/facts/ulps"],
        ["core/facts/ulps/f32/sqrt", "core/ir/sqrt/f32/scalar"],
        |k| {
            unary(k, UnaryOp::Sqrt, DType::F32, |w, a| {
                let r = w.unary(UnaryOp::Rsqrt, a);
                Op::Binary(BinaryOp::Mul, a, r)
            });
        }
    ),
    mutant!(
        "division-by-reciprocal",
        "a / b is a · 1/b, on a device that declares division correctly rounded.",
        ["core/facts/ulps", "core/ir/div/f32"],
        ["core/facts/ulps/f32/div"],
        |k| {
            binary(k, BinaryOp::Div, DType::F32, |w, a, b| {
                let r = w.unary(UnaryOp::Recip, b);
                Op::Binary(BinaryOp::Mul, a, r)
            });
        }
    ),
    mutant!(
        "fma-rounds-twice",
        "fma is a product and a sum, on a device that declares it fused.",
        ["core/facts/fma-fused", "core/ir/fma/"],
        ["core/facts/fma-fused/f32/cancelling", "core/ir/fma/f32/scalar"],
        |k| {
            every(k, &mut |w, inst| match inst.op {
                Op::Fma(a, b, c) => {
                    let p = w.binary(BinaryOp::Mul, a, b);
                    w.put(inst.out, Op::Binary(BinaryOp::Add, p, c));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "products-contracted",
        "a · b + c is rounded once, on a device that declares not to contract.",
        ["core/facts/", "system/exact/matmul/"],
        ["core/facts/no-contraction/f32/add", "system/exact/matmul/f32/tensors"],
        |k| {
            let mut products: HashMap<Value, (Value, Value)> = HashMap::new();
            every(k, &mut |w, inst| {
                match (&inst.op, inst.out) {
                    (Op::Binary(BinaryOp::Mul, a, b), Some(out)) if w.elem(*a) == Some(DType::F32) => {
                        products.insert(out, (*a, *b));
                    }
                    (Op::Binary(BinaryOp::Add, p, c), out) if products.contains_key(p) => {
                        let (a, b) = products[p];
                        w.put(out, Op::Fma(a, b, *c));
                        return None;
                    }
                    _ => {}
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "exact-roots-are-not",
        "Square roots are a unit off now and then, on a device that declares them correctly rounded and so divides and roots by itself where numerics are exact.",
        ["core/facts/ulps/f32/sqrt", "system/exact/roots/"],
        ["core/facts/ulps/f32/sqrt", "system/exact/roots/f32/tensors"],
        |k| {
            unary(k, UnaryOp::Sqrt, DType::F32, |w, a| {
                let root = w.unary(UnaryOp::Sqrt, a);
                let bits = w.bitcast(DType::U32, root);
                let one = same(w, bits, 1);
                let odd = w.binary(BinaryOp::And, bits, one);
                // Of zero, infinity and NaN the lowest bit is not set.
                let more = w.binary(BinaryOp::Add, bits, odd);
                Op::Bitcast(more)
            });
        }
    ),
    mutant!(
        "sums-reassociated",
        "a + b − b is taken for a, on a device that declares correct rounding.",
        ["core/facts/"],
        ["core/facts/no-reassociation/f32/there-and-back"],
        |k| {
            let mut sums: HashMap<Value, (Value, Value)> = HashMap::new();
            every(k, &mut |w, inst: Inst| {
                match (&inst.op, inst.out) {
                    (Op::Binary(BinaryOp::Add, a, b), Some(out)) if w.elem(*a) == Some(DType::F32) => {
                        sums.insert(out, (*a, *b));
                    }
                    (Op::Binary(BinaryOp::Sub, p, c), out) if sums.get(p).is_some_and(|s| s.1 == *c) => {
                        let zero = same(w, *c, 0);
                        w.put(out, Op::Binary(BinaryOp::Sub, sums[p].0, zero));
                        return None;
                    }
                    _ => {}
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "sine-of-large-numbers",
        "Arguments of sin are reduced in f32, so that large ones lose their fraction.",
        ["core/ir/sin/"],
        ["core/ir/sin/f32/scalar"],
        |k| {
            unary(k, UnaryOp::Sin, DType::F32, |w, a| {
                let (turn, inverse) =
                    (same(w, a, f(std::f32::consts::TAU)), same(w, a, f(1.0 / std::f32::consts::TAU)));
                let n = w.binary(BinaryOp::Mul, a, inverse);
                let n = w.unary(UnaryOp::Floor, n);
                let whole = w.binary(BinaryOp::Mul, n, turn);
                let left = w.binary(BinaryOp::Sub, a, whole);
                Op::Unary(UnaryOp::Sin, left)
            });
        }
    ),
    mutant!(
        "exponential-clamped",
        "e^x is clamped at e^80 to be safe from overflow.",
        ["core/ir/exp/"],
        ["core/ir/exp/f32/scalar"],
        |k| {
            unary(k, UnaryOp::Exp, DType::F32, |w, a| {
                let most = same(w, a, f(80.0));
                let below = w.compare(CmpOp::Gt, a, most);
                let a = w.op(w.ty(a), Op::Select(below, most, a));
                Op::Unary(UnaryOp::Exp, a)
            });
        }
    ),
    mutant!(
        "leading-zeros-of-zero",
        "Counting the leading zeros of 0 gives 31, the number of the last bit.",
        ["core/ir/leading-zeros/"],
        ["core/ir/leading-zeros/u32/scalar"],
        |k| {
            unary(k, UnaryOp::LeadingZeros, DType::U32, |w, a| {
                let n = w.unary(UnaryOp::LeadingZeros, a);
                let most = same(w, a, 31);
                Op::Binary(BinaryOp::Min, n, most)
            });
        }
    ),
    mutant!(
        "choice-swapped",
        "select takes its second choice where the condition holds.",
        ["core/ir/select/"],
        ["core/ir/select/i32/scalar"],
        |k| {
            every(k, &mut |w, inst| match inst.op {
                Op::Select(c, a, b) if w.elem(a) == Some(DType::I32) => {
                    w.put(inst.out, Op::Select(c, b, a));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "vector-lanes-reversed",
        "Vectors are put together from the last lane on.",
        ["core/ir/interleave/", "core/ir/reverse/"],
        ["core/ir/interleave/f32/vec4", "core/ir/reverse/f32/vec4"],
        |k| {
            every(k, &mut |w, inst| match inst.op {
                Op::Vector(mut of) => {
                    of.reverse();
                    w.put(inst.out, Op::Vector(of));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "splat-of-first-pair",
        "A splat fills two lanes; the others are zero.",
        ["core/ir/splat/"],
        ["core/ir/splat/f32/vec4"],
        |k| {
            every(k, &mut |w, inst| match inst.op {
                Op::Splat(a) if w.elem(a) == Some(DType::F32) && inst.out.is_some_and(|v| w.ty(v).lanes() == 4) => {
                    let zero = w.bits(Type::scalar(DType::F32), 0);
                    w.put(inst.out, Op::Vector(vec![a, a, zero, zero]));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
];
