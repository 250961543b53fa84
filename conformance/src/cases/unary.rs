//! Functions of one float: every row of the oracle's table in every float type, over ordinary numbers, over the whole range, at the ends
//! of the type and below its smallest normal number.

use super::support::{FLOATS, Outcome, Trial, case};
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Type, elementwise,
    sample::{Values, element, special},
    table,
};

type Function = fn(&Tensor) -> Result<Tensor>;
/// A sign's way: the bits of an element and the bit of its sign.
type Flip = fn(u64, u64) -> u64;

/// The library's function of each row of the table.
pub const UNARY: &[(&str, Function)] = &[
    ("neg", Tensor::neg),
    ("abs", Tensor::abs),
    ("sign", Tensor::sign),
    ("floor", Tensor::floor),
    ("ceil", Tensor::ceil),
    ("trunc", Tensor::trunc),
    ("round", Tensor::round),
    ("relu", Tensor::relu),
    ("relu6", Tensor::relu6),
    ("sqr", Tensor::sqr),
    ("sqrt", Tensor::sqrt),
    ("rsqrt", Tensor::rsqrt),
    ("recip", Tensor::recip),
    ("exp", Tensor::exp),
    ("exp2", Tensor::exp2),
    ("expm1", Tensor::expm1),
    ("log", Tensor::log),
    ("log2", Tensor::log2),
    ("log10", Tensor::log10),
    ("log1p", Tensor::log1p),
    ("sin", Tensor::sin),
    ("cos", Tensor::cos),
    ("tan", Tensor::tan),
    ("asin", Tensor::asin),
    ("acos", Tensor::acos),
    ("atan", Tensor::atan),
    ("sinh", Tensor::sinh),
    ("cosh", Tensor::cosh),
    ("tanh", Tensor::tanh),
    ("asinh", Tensor::asinh),
    ("acosh", Tensor::acosh),
    ("atanh", Tensor::atanh),
    ("erf", Tensor::erf),
    ("erfc", Tensor::erfc),
    ("sigmoid", Tensor::sigmoid),
    ("silu", Tensor::silu),
    ("gelu", Tensor::gelu),
    ("gelu_tanh", Tensor::gelu_tanh),
    ("softplus", Tensor::softplus),
    ("log_sigmoid", Tensor::log_sigmoid),
    ("softsign", Tensor::softsign),
    ("mish", Tensor::mish),
    ("elu", |x| x.elu(1.0)),
    ("celu", |x| x.celu(1.0)),
    ("selu", Tensor::selu),
    ("leaky_relu", |x| x.leaky_relu(0.01)),
    ("hard_sigmoid", Tensor::hard_sigmoid),
    ("hard_swish", Tensor::hard_swish),
    ("hard_tanh", |x| x.hard_tanh(-1.0, 1.0)),
    ("thresholded_relu", |x| x.thresholded_relu(1.0)),
    ("hard_shrink", |x| x.hard_shrink(0.5)),
    ("soft_shrink", |x| x.soft_shrink(0.5)),
];

/// Functions whose kernel is also run on extents that vectors divide: one for each kind of code behind them.
const ALIGNED: [&str; 6] = ["neg", "sqrt", "exp", "sin", "tanh", "gelu"];

/// Functions whose kernel is also run on one element.
const ONE: [&str; 1] = ["exp"];

/// Functions that bf16 is asked: it differs from f16 in how it is read and written, not in what is computed.
const BF16: [&str; 12] =
    ["neg", "round", "sqrt", "rsqrt", "recip", "exp", "log", "sin", "tanh", "erf", "sigmoid", "gelu"];

/// Where a function is neither constant nor undefined.
fn ordinary(op: &str) -> Values {
    match op {
        "asin" | "acos" | "atanh" => Values::Range(-1.05, 1.05),
        "acosh" => Values::Range(0.9, 40.0),
        "log" | "log2" | "log10" | "sqrt" | "rsqrt" => Values::Range(-1.0, 60.0),
        "log1p" => Values::Range(-1.2, 20.0),
        _ => Values::Range(-12.0, 12.0),
    }
}

/// Shapes of one dense run: the same kernel serves all whose number of elements no vector divides.
const SHAPES: [(&str, &[usize]); 6] = [
    ("empty", &[3, 0, 2]),
    ("prime", &[1009]),
    ("unaligned", &[7, 147]),
    ("rank 8", &[1, 3, 5, 1, 7, 1, 3, 3]),
    ("aligned", &[16, 256]),
    ("one", &[1]),
];

fn judged(t: &mut Trial<'_>, row: &table::Unary, f: Function, ty: Type, bits: Array<u64>) -> Outcome {
    let a = t.arithmetic(ty);
    let x = t.operand(ty, bits)?;
    let want = elementwise::unary(row, &a, &x.real());
    t.judge_of(f(&x.tensor), ty, want, &a, &[&x])
}

/// All values of a 16-bit type; of f32 every so-manyth of each sign and exponent.
fn whole_range(ty: Type) -> Array<u64> {
    let count = 1u64 << 16;
    let step = if ty.bytes() == 2 { 1 } else { (1 << 16) | 1 };
    let mut bits: Vec<u64> = (0..count).map(|i| i * step).collect();
    bits.push(ty.bits_of_float(1.0));
    Array::new(&[bits.len()], bits)
}

/// Subnormal numbers of both signs.
fn subnormals(t: &mut Trial<'_>, ty: Type) -> Array<u64> {
    let fraction = ty.format().map_or(1, |f| f.fraction);
    let top = 8 * ty.bytes() - 1;
    Array::build(&[1009], |_| {
        let bits = t.r.bits();
        (bits & ((1 << fraction) - 1)).max(1) | (bits >> 63) << top
    })
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &(op, f) in UNARY {
        let row = table::find(op);
        for ty in FLOATS {
            if ty == Type::BF16 && !BF16.contains(&op) {
                continue;
            }
            let single = ty == Type::F32;
            for (class, shape) in SHAPES {
                let left_out = match class {
                    "aligned" => !(single && ALIGNED.contains(&op)),
                    "one" => !(single && ONE.contains(&op)),
                    "empty" => !single,
                    _ => false,
                };
                if left_out {
                    continue;
                }
                all.push(case("unary", op, ty, class, "", move |t| {
                    let bits = Array::build(shape, |_| element(ty, ordinary(op), t.r));
                    judged(t, row, f, ty, bits)
                }));
            }
            all.push(case("unary", op, ty, "prime", "whole-range", move |t| judged(t, row, f, ty, whole_range(ty))));
            all.push(case("unary", op, ty, "prime", "special-values", move |t| {
                let ends: Vec<u64> = special(ty).into_iter().map(|x| ty.bits_of_float(x)).collect();
                judged(t, row, f, ty, Array::build(&[1009], |i| ends[i[0] % ends.len()]))
            }));
            if single {
                all.push(case("unary", op, ty, "prime", "subnormals", move |t| {
                    let bits = subnormals(t, ty);
                    judged(t, row, f, ty, bits)
                }));
            }
        }
    }
    all.extend(signs());
    all
}

/// What only moves or flips a sign is compared by bits: −0 is not 0.
fn signs() -> Vec<Case> {
    let flips: [(&str, Function, Flip); 2] =
        [("neg", Tensor::neg, |bits, sign| bits ^ sign), ("abs", Tensor::abs, |bits, sign| bits & !sign)];
    let mut all = Vec::new();
    for (op, f, meaning) in flips {
        for ty in [Type::F32, Type::F16] {
            all.push(case("unary", op, ty, "prime", "signs-of-zeros", move |t| {
                let x = t.special(ty, &[1009])?;
                let sign = 1 << (8 * ty.bytes() - 1);
                let want = x.bits.map(|&b| meaning(b, sign));
                t.same_of(f(&x.tensor), ty, &want, &[&x])
            }));
        }
    }
    all
}
