//! Integers and truth: wrapping, division by zero, the smallest by −1, shifts beyond the width; bits and logic.

use super::support::{INTEGERS, MORE_INTEGERS, Outcome, Trial, case};
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Type,
    elementwise::{IntBinary, IntUnary, int_binary, int_unary},
    sample::{Values, element},
};

type Function = fn(&Tensor) -> Result<Tensor>;
type Function2 = fn(&Tensor, &Tensor) -> Result<Tensor>;

const ONE: [(&str, IntUnary, Function); 4] = [
    ("neg", IntUnary::Neg, Tensor::neg),
    ("abs", IntUnary::Abs, Tensor::abs),
    ("sign", IntUnary::Sign, Tensor::sign),
    ("not", IntUnary::Not, Tensor::not),
];

const TWO: [(&str, IntBinary, Function2); 13] = [
    ("add", IntBinary::Add, |x, y| x.add(y)),
    ("sub", IntBinary::Sub, |x, y| x.sub(y)),
    ("mul", IntBinary::Mul, |x, y| x.mul(y)),
    ("div", IntBinary::Div, |x, y| x.div(y)),
    ("rem", IntBinary::Rem, |x, y| x.rem(y)),
    ("maximum", IntBinary::Max, |x, y| x.maximum(y)),
    ("minimum", IntBinary::Min, |x, y| x.minimum(y)),
    ("and", IntBinary::And, |x, y| x.and(y)),
    ("or", IntBinary::Or, |x, y| x.or(y)),
    ("xor", IntBinary::Xor, |x, y| x.xor(y)),
    ("bitwise_left_shift", IntBinary::Shl, |x, y| x.bitwise_left_shift(y)),
    ("bitwise_right_shift", IntBinary::Shr, |x, y| x.bitwise_right_shift(y)),
    ("pow", IntBinary::Pow, |x, y| x.pow(y)),
];

/// What narrow and rare types are asked: where their width shows.
const WIDTH: [&str; 2] = ["mul", "div"];

const SHAPES: [(&str, &[usize]); 4] =
    [("empty", &[4, 0]), ("prime", &[1009]), ("unaligned", &[7, 147]), ("rank 8", &[1, 3, 5, 1, 7, 1, 3, 3])];

/// Values at which integers go wrong: the ends of the type, their neighbours, small ones, and amounts of shifts at the width.
fn ends(ty: Type) -> Vec<u64> {
    let (low, high) = ty.range().unwrap_or((0, 1));
    let width = 8 * ty.bytes() as i128;
    let all =
        [low, low + 1, high, high - 1, high / 2, 0, 1, 2, 3, 7, ty.wrap(-1), ty.wrap(-2), width - 1, width, width + 1];
    all.into_iter().map(|x| ty.wrap(x) as u64 & (u64::MAX >> (64 - 8 * ty.bytes()))).collect()
}

fn two(t: &mut Trial<'_>, op: IntBinary, f: Function2, ty: Type, [x, y]: [Array<u64>; 2]) -> Outcome {
    let (x, y) = (t.operand(ty, x)?, t.operand(ty, y)?);
    let want = x.int().zip(&y.int(), |&x, &y| int_binary(op, ty, x, y));
    let a = t.arithmetic(ty);
    t.judge_of(f(&x.tensor, &y.tensor), ty, want, &a, &[&x, &y])
}

fn random(t: &mut Trial<'_>, ty: Type, shape: &[usize], values: Values) -> Array<u64> {
    Array::build(shape, |_| element(ty, values, t.r))
}

/// Whether a type is asked an operation.
fn asked(op: &str, ty: Type) -> bool {
    match ty {
        Type::I32 => true,
        // Of two words where a chip has no wider ones: what carries, borrows or moves between them.
        Type::I64 => !["or", "sign", "minimum", "pow"].contains(&op),
        Type::U32 => ["mul", "div", "rem", "maximum", "bitwise_right_shift"].contains(&op),
        Type::U8 => ["sub", "mul", "div", "not", "maximum", "bitwise_left_shift", "pow"].contains(&op),
        _ => WIDTH.contains(&op),
    }
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in INTEGERS.into_iter().chain(MORE_INTEGERS) {
        for (op, meaning, f) in TWO.into_iter().filter(|(op, ..)| asked(op, ty)) {
            for (class, shape) in SHAPES {
                all.push(case("integers", op, ty, class, "", move |t| {
                    let both = [random(t, ty, shape, Values::AnyBits), random(t, ty, shape, Values::AnyBits)];
                    two(t, meaning, f, ty, both)
                }));
            }
            // Every end with every other: 225 pairs, five times.
            all.push(case("integers", op, ty, "unaligned", "ends", move |t| {
                let list = ends(ty);
                let n = list.len();
                let x = Array::build(&[5, n * n], |i| list[i[1] / n]);
                let y = Array::build(&[5, n * n], |i| list[i[1] % n]);
                two(t, meaning, f, ty, [x, y])
            }));
            all.push(case("integers", op, ty, "prime", "small", move |t| {
                let both = [random(t, ty, &[1009], Values::Exact), random(t, ty, &[1009], Values::Exact)];
                two(t, meaning, f, ty, both)
            }));
        }
        for (op, meaning, f) in ONE.into_iter().filter(|(op, ..)| asked(op, ty)) {
            for (class, shape) in SHAPES {
                all.push(case("integers", op, ty, class, "", move |t| {
                    let bits = random(t, ty, shape, Values::AnyBits);
                    one(t, meaning, f, ty, bits)
                }));
            }
            all.push(case("integers", op, ty, "unaligned", "ends", move |t| {
                let list = ends(ty);
                one(t, meaning, f, ty, Array::build(&[1005], |i| list[i[0] % list.len()]))
            }));
        }
    }
    all.extend(counting());
    all.extend(truth());
    all.extend(beside());
    all
}

fn one(t: &mut Trial<'_>, op: IntUnary, f: Function, ty: Type, bits: Array<u64>) -> Outcome {
    let x = t.operand(ty, bits)?;
    let want = x.int().map(|&x| int_unary(op, ty, x));
    let a = t.arithmetic(ty);
    t.judge_of(f(&x.tensor), ty, want, &a, &[&x])
}

/// Zero bits above the highest one.
fn counting() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::I32, Type::I64, Type::U8] {
        for variant in ["", "ends"] {
            all.push(case("integers", "leading_zeros", ty, "prime", variant, move |t| {
                let list = ends(ty);
                let bits = Array::build(&[1009], |i| match variant {
                    // Numbers of every length.
                    "" => (t.r.bits() >> t.r.below(64)) & (u64::MAX >> (64 - 8 * ty.bytes())),
                    _ => list[i[0] % list.len()],
                });
                let x = t.operand(ty, bits)?;
                let width = 8 * ty.bytes() as i128;
                let want = x.bits.map(|&b| width - (64 - b.leading_zeros()) as i128);
                let a = t.arithmetic(ty);
                t.judge_of(x.tensor.leading_zeros(), ty, want, &a, &[&x])
            }));
        }
    }
    all
}

/// Logic: of bool, and of any number that is not 0.
fn truth() -> Vec<Case> {
    type Row = (&'static str, Type, Function2, fn(bool, bool) -> bool);
    let rows: [Row; 7] = [
        ("and", Type::Bool, |x, y| x.and(y), |x, y| x & y),
        ("or", Type::Bool, |x, y| x.or(y), |x, y| x | y),
        ("xor", Type::Bool, |x, y| x.xor(y), |x, y| x ^ y),
        ("logical_and", Type::F32, |x, y| x.logical_and(y), |x, y| x & y),
        ("logical_or", Type::I64, |x, y| x.logical_or(y), |x, y| x | y),
        ("logical_xor", Type::U8, |x, y| x.logical_xor(y), |x, y| x ^ y),
        ("not", Type::Bool, |x, _| x.not(), |x, _| !x),
    ];
    let mut all = Vec::new();
    for (op, ty, f, meaning) in rows {
        for (class, shape) in SHAPES {
            all.push(case("logic", op, ty, class, "", move |t| {
                // Of numbers: NaN is true, zeros of both signs are not.
                let (x, y) = (t.special(ty, shape)?, t.special(ty, shape)?);
                let is = |bits: &u64| match ty.format() {
                    Some(_) => ty.float_of_bits(*bits) != 0.0,
                    None => *bits != 0,
                };
                let want = x.bits.zip(&y.bits, |x, y| i128::from(meaning(is(x), is(y))));
                let a = t.arithmetic(ty);
                t.judge_of(f(&x.tensor, &y.tensor), Type::Bool, want, &a, &[&x, &y])
            }));
        }
    }
    all
}

/// One operand twice, and a number of the host beside a tensor.
fn beside() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::I32, Type::I64] {
        all.push(case("integers", "mul", ty, "prime", "operand-twice", move |t| {
            let x = t.dense(ty, &[1009], Values::AnyBits)?;
            let want = x.int().map(|&x| int_binary(IntBinary::Mul, ty, x, x));
            let a = t.arithmetic(ty);
            t.judge_of(x.tensor.mul(&x.tensor), ty, want, &a, &[&x])
        }));
        all.push(case("integers", "sub", ty, "prime", "beside-a-number", move |t| {
            let x = t.dense(ty, &[1009], Values::AnyBits)?;
            let want = x.int().map(|&x| int_binary(IntBinary::Sub, ty, x, i128::from(i32::MAX)));
            let a = t.arithmetic(ty);
            t.judge_of(x.tensor.sub(i32::MAX), ty, want, &a, &[&x])
        }));
    }
    all
}
