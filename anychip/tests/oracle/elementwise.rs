//! Functions of one and two elements: every row of the oracle's table over the whole range of each type; integers; conversions; layouts.

use crate::common::*;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Data, Type,
    elementwise::{self, Comparison, IntBinary, IntUnary},
    sample::{Random, Values, element, special},
    table,
};

type Function = fn(&Tensor) -> Result<Tensor>;
type Function2 = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// The library's function of each row.
pub const UNARY: &[(&str, Function)] = &[
    ("neg", Tensor::neg),
    ("abs", Tensor::abs),
    ("sign", Tensor::sign),
    ("floor", Tensor::floor),
    ("ceil", Tensor::ceil),
    ("trunc", Tensor::trunc),
    ("round", Tensor::round),
    ("relu", Tensor::relu),
    ("sqr", Tensor::sqr),
    ("sqrt", Tensor::sqrt),
    ("rsqrt", Tensor::rsqrt),
    ("recip", Tensor::recip),
    ("exp", Tensor::exp),
    ("exp2", Tensor::exp2),
    ("log", Tensor::log),
    ("log2", Tensor::log2),
    ("sin", Tensor::sin),
    ("cos", Tensor::cos),
    ("tan", Tensor::tan),
    ("tanh", Tensor::tanh),
    ("erf", Tensor::erf),
    ("sigmoid", Tensor::sigmoid),
    ("silu", Tensor::silu),
    ("gelu", Tensor::gelu),
    ("gelu_tanh", Tensor::gelu_tanh),
    ("asin", Tensor::asin),
    ("acos", Tensor::acos),
    ("atan", Tensor::atan),
    ("sinh", Tensor::sinh),
    ("cosh", Tensor::cosh),
    ("asinh", Tensor::asinh),
    ("acosh", Tensor::acosh),
    ("atanh", Tensor::atanh),
    ("expm1", Tensor::expm1),
    ("log1p", Tensor::log1p),
    ("log10", Tensor::log10),
    ("erfc", Tensor::erfc),
    ("softplus", Tensor::softplus),
    ("log_sigmoid", Tensor::log_sigmoid),
    ("softsign", Tensor::softsign),
    ("mish", Tensor::mish),
    ("elu", |x| x.elu(1.0)),
    ("celu", |x| x.celu(1.0)),
    ("selu", Tensor::selu),
    ("leaky_relu", |x| x.leaky_relu(0.01)),
    ("relu6", Tensor::relu6),
    ("hard_sigmoid", Tensor::hard_sigmoid),
    ("hard_swish", Tensor::hard_swish),
    ("hard_tanh", |x| x.hard_tanh(-1.0, 1.0)),
    ("thresholded_relu", |x| x.thresholded_relu(1.0)),
    ("hard_shrink", |x| x.hard_shrink(0.5)),
    ("soft_shrink", |x| x.soft_shrink(0.5)),
];

pub const BINARY: &[(&str, Function2)] = &[
    ("add", |x, y| x.add(y)),
    ("sub", |x, y| x.sub(y)),
    ("mul", |x, y| x.mul(y)),
    ("div", |x, y| x.div(y)),
    ("rem", |x, y| x.rem(y)),
    ("pow", |x, y| x.pow(y)),
    ("maximum", |x, y| x.maximum(y)),
    ("minimum", |x, y| x.minimum(y)),
    ("modulo", |x, y| x.modulo(y)),
    ("atan2", |x, y| x.atan2(y)),
    ("hypot", |x, y| x.hypot(y)),
];

/// A row without a function is a row that nothing judges.
#[test]
fn every_row_is_run() {
    for row in table::UNARY {
        assert!(UNARY.iter().any(|(name, _)| *name == row.name), "{} has a row and no test", row.name);
    }
    for row in table::BINARY {
        assert!(BINARY.iter().any(|(name, _)| *name == row.name), "{} has a row and no test", row.name);
    }
}

/// Where the oracle's numbers of two doubles have their full width: below 2^-480, and at the reciprocals of what is above 2^480,
/// the second part of a product underflows, so that f64 is not judged there. Narrower types have no such numbers.
fn in_full_width(ty: Type, bits: u64) -> bool {
    let x = ty.float_of_bits(bits).abs();
    ty != Type::F64 || x == 0.0 || !x.is_finite() || (2f64.powi(-480)..2f64.powi(480)).contains(&x)
}

/// All values of a 16-bit type; of a wider one every so-manyth, and the special ones.
fn whole_range(ty: Type) -> Array<u64> {
    let count = 1u64 << 16;
    let step = if ty.bytes() == 2 { 1 } else { ((u64::MAX >> (64 - 8 * ty.bytes())) / count) | 1 };
    let mut bits: Vec<u64> = (0..count).map(|i| i * step).collect();
    let mut r = Random::new(77);
    bits.extend(special(ty).into_iter().map(|x| ty.bits_of_float(x)));
    bits.extend((0..4096).map(|_| element(ty, Values::Range(-12.0, 12.0), &mut r)));
    bits.retain(|&x| in_full_width(ty, x));
    Array::new(&[bits.len()], bits)
}

#[test]
fn functions_of_one_over_the_whole_range() {
    let mut wrong = Vec::new();
    for d in every_device() {
        for ty in floats(d) {
            let a = arithmetic(d, ty);
            let x = Operand::new(d, ty, whole_range(ty));
            for (n, (name, f)) in UNARY.iter().enumerate() {
                // Where a kernel costs a second, bf16 and f64 take turns: they differ from f16 and f32 in load and store only.
                if !compiles_at_once(d) && matches!(ty, Type::BF16 | Type::F64) && n % 4 != 0 {
                    continue;
                }
                if compiles_slowly(d) && ty == Type::F16 && n % 2 != 0 {
                    continue;
                }
                let want = elementwise::unary(table::find(name), &a, &x.real());
                wrong.extend(in_words(&format!("{name} {ty:?} on {d}"), f(&x.tensor), ty, want.into(), &a, &[&x]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong, with the operands of the first wrong element.
fn in_words(
    case: &str,
    got: Result<Tensor>,
    ty: Type,
    want: Data,
    a: &anychip_oracle::Arithmetic,
    operands: &[&Operand],
) -> Option<String> {
    let bytes = got.and_then(|t| t.to_bytes()).unwrap_or_else(|e| panic!("{case}: {e}"));
    let e = anychip_oracle::compare::compare(ty, &bytes, &want, a).err()?;
    let at: Vec<f64> = operands.iter().map(|o| o.ty.float_of_bits(*o.bits.at(&e.index))).collect();
    Some(format!("{case}: of {at:?}: {e}"))
}

/// Every special value with every other, numbers of any size, numbers of ordinary size.
#[test]
fn functions_of_two_over_the_whole_range() {
    let mut wrong = Vec::new();
    for d in every_device() {
        for ty in floats(d) {
            let a = arithmetic(d, ty);
            let mut r = Random::new(5);
            let ends = special(ty);
            let mut pairs: Vec<(u64, u64)> = Vec::new();
            for &x in &ends {
                pairs.extend(ends.iter().map(|&y| (ty.bits_of_float(x), ty.bits_of_float(y))));
            }
            for values in [Values::AnyBits, Values::Range(-5.0, 5.0), Values::Exact] {
                pairs.extend((0..8000).map(|_| (element(ty, values, &mut r), element(ty, values, &mut r))));
            }
            pairs.retain(|&(x, y)| in_full_width(ty, x) && in_full_width(ty, y));
            let n = pairs.len();
            let x = Operand::new(d, ty, Array::new(&[n], pairs.iter().map(|p| p.0).collect()));
            let y = Operand::new(d, ty, Array::new(&[n], pairs.iter().map(|p| p.1).collect()));
            for (name, f) in BINARY {
                let want = elementwise::binary(table::find_binary(name), &a, &x.real(), &y.real());
                let case = format!("{name} {ty:?} on {d}");
                wrong.extend(in_words(&case, f(&x.tensor, &y.tensor), ty, want.into(), &a, &[&x, &y]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn comparisons() {
    let ops: [Function2; 6] =
        [|x, y| x.eq(y), |x, y| x.ne(y), |x, y| x.lt(y), |x, y| x.le(y), |x, y| x.gt(y), |x, y| x.ge(y)];
    on_every_device(|d| {
        let types = [Type::F32, Type::I32, Type::F16, Type::BF16, Type::U8, Type::I8, Type::I64, Type::U64, Type::U32];
        for ty in types.into_iter().take(if compiles_at_once(d) { 9 } else { 2 }) {
            let mut r = Random::new(6);
            let x = Operand::kept(d, ty, &[3000], &mut r);
            let y = Operand::kept(d, ty, &[3000], &mut r);
            for (op, f) in Comparison::ALL.into_iter().zip(ops) {
                let want = elementwise::compare(op, &x.data(), &y.data());
                check(&format!("{op:?} {ty:?} on {d}"), f(&x.tensor, &y.tensor), Type::Bool, want, &arithmetic(d, ty));
            }
        }
    });
}

#[test]
fn integers() {
    let one: [(IntUnary, Function); 4] = [
        (IntUnary::Neg, Tensor::neg),
        (IntUnary::Abs, Tensor::abs),
        (IntUnary::Sign, Tensor::sign),
        (IntUnary::Not, Tensor::not),
    ];
    let two: [(IntBinary, Function2); 13] = [
        (IntBinary::Add, |x, y| x.add(y)),
        (IntBinary::Sub, |x, y| x.sub(y)),
        (IntBinary::Mul, |x, y| x.mul(y)),
        (IntBinary::Div, |x, y| x.div(y)),
        (IntBinary::Rem, |x, y| x.rem(y)),
        (IntBinary::Max, |x, y| x.maximum(y)),
        (IntBinary::Min, |x, y| x.minimum(y)),
        (IntBinary::And, |x, y| x.and(y)),
        (IntBinary::Or, |x, y| x.or(y)),
        (IntBinary::Xor, |x, y| x.xor(y)),
        (IntBinary::Shl, |x, y| x.bitwise_left_shift(y)),
        (IntBinary::Shr, |x, y| x.bitwise_right_shift(y)),
        (IntBinary::Pow, |x, y| x.pow(y)),
    ];
    on_every_device(|d| {
        for ty in INTEGERS.into_iter().take(if compiles_at_once(d) { 8 } else { 2 }) {
            for values in [Values::Special, Values::AnyBits, Values::Exact] {
                let mut r = Random::new(7);
                let x = Operand::dense(d, ty, &[2000], values, &mut r);
                let y = Operand::dense(d, ty, &[2000], values, &mut r);
                for (op, f) in one {
                    if op == IntUnary::Neg && ty.range().is_some_and(|(low, _)| low == 0) && f(&x.tensor).is_err() {
                        continue;
                    }
                    let want = x.int().map(|&x| elementwise::int_unary(op, ty, x));
                    check(&format!("{op:?} {ty:?} on {d}"), f(&x.tensor), ty, want, &arithmetic(d, Type::F32));
                }
                for (op, f) in two {
                    let want = x.int().zip(&y.int(), |&x, &y| elementwise::int_binary(op, ty, x, y));
                    let case = format!("{op:?} {ty:?} on {d}");
                    check(&case, f(&x.tensor, &y.tensor), ty, want, &arithmetic(d, Type::F32));
                }
            }
        }
    });
}

/// From every type to every other.
#[test]
fn conversions() {
    on_every_device(|d| {
        let has_doubles = floats(d).contains(&Type::F64);
        let some = [Type::F32, Type::I32, Type::F16, Type::U8, Type::Bool, Type::I64];
        let types: Vec<Type> = match compiles_at_once(d) {
            true => Type::ALL.into_iter().filter(|&t| has_doubles || t != Type::F64).collect(),
            false => some.to_vec(),
        };
        for &from in &types {
            let mut r = Random::new(8);
            let parts = [Values::Special, Values::AnyBits, Values::Range(-300.0, 300.0)];
            let bits = parts.iter().flat_map(|&v| (0..2000).map(|_| element(from, v, &mut r)).collect::<Vec<_>>());
            let bits = bits.map(|b| kept(d, from, b));
            let x = Operand::new(d, from, Array::new(&[6000], bits.collect()));
            for &to in &types {
                let want = if from == to { x.data() } else { elementwise::cast(&x.data(), to) };
                let case = format!("cast {from:?} to {to:?} on {d}");
                check(&case, x.tensor.to_dtype(dtype(to)), to, want, &arithmetic(d, to));
            }
        }
    });
}

/// Signs of zeros, payload-free NaN: what only copies or flips a sign is compared by bits.
#[test]
fn exact_functions_keep_signs_of_zeros() {
    on_every_device(|d| {
        for ty in [Type::F32, Type::F16, Type::BF16] {
            let mut r = Random::new(9);
            let x = Operand::kept(d, ty, &[500], &mut r);
            let y = Operand::kept(d, ty, &[500], &mut r);
            let c = Operand::dense(d, Type::Bool, &[500], Values::AnyBits, &mut r);
            let top = 8 * ty.bytes() - 1;
            same(&format!("neg {ty:?} on {d}"), x.tensor.neg(), ty, &x.bits.map(|b| b ^ 1 << top));
            same(&format!("abs {ty:?} on {d}"), x.tensor.abs(), ty, &x.bits.map(|b| b & !(1 << top)));
            let want = elementwise::choose(&c.int(), &x.bits, &y.bits);
            same(&format!("where {ty:?} on {d}"), c.tensor.where_cond(&x.tensor, &y.tensor), ty, &want);
        }
    });
}

/// Random shapes of rank 0 to 8, operands in every layout, broadcasting; a sum, a choice and a comparison.
#[test]
fn layouts_and_broadcasts() {
    on_every_device(|d| {
        for seed in rounds(d, 400, 12) {
            let mut r = Random::new(1000 + seed);
            let rank = if compiles_at_once(d) { r.below(9) } else { 3 };
            let full = shape(&mut r, rank, 3000);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let a = arithmetic(d, ty);
            let other = broadcastable(&mut r, &full);
            let third = broadcastable(&mut r, &full);
            let layouts = [*r.one_of(&LAYOUTS), *r.one_of(&LAYOUTS), *r.one_of(&LAYOUTS)];
            let x = Operand::laid(d, ty, &full, Values::Range(-3.0, 3.0), layouts[0], &mut r);
            let y = Operand::laid(d, ty, &other, Values::Range(-3.0, 3.0), layouts[1], &mut r);
            let c = Operand::laid(d, Type::Bool, &third, Values::AnyBits, layouts[2], &mut r);
            let case = |op: &str| format!("{op} {ty:?} {full:?} {other:?} {third:?} {layouts:?} seed {seed} on {d}");
            let sum = elementwise::binary(table::find_binary("add"), &a, &x.real(), &y.real());
            check(&case("add"), x.tensor.add(&y.tensor), ty, sum, &a);
            let chosen = elementwise::choose(&c.int(), &x.bits, &y.bits);
            same(&case("where"), c.tensor.where_cond(&x.tensor, &y.tensor), ty, &chosen);
            let less = elementwise::compare(Comparison::Lt, &y.data(), &x.data());
            check(&case("lt"), y.tensor.lt(&x.tensor), Type::Bool, less, &a);
        }
    });
}

#[test]
fn clamp_affine_and_nan() {
    on_every_device(|d| {
        for ty in [Type::F32, Type::F16] {
            let a = arithmetic(d, ty);
            let mut r = Random::new(10);
            let x = Operand::dense(d, ty, &[700], Values::Special, &mut r);
            let high = table::find_binary("minimum");
            // The lower end is exact; a subnormal is flushed, or not, once.
            let low = |x: f64| if x.is_nan() { x } else { x.max(-1.5) };
            let want = x.real().map(|x| table::apply2(high, &a, low(x.value.hi), 2.0));
            check(&format!("clamp {ty:?} on {d}"), x.tensor.clamp(-1.5, 2.0), ty, want, &a);
            let want = x.real().map(|x| x.is_nan() as i128);
            check(&format!("is_nan {ty:?} on {d}"), x.tensor.is_nan(), Type::Bool, want, &a);
            let want = x.real().map(|x| x.value.hi.is_infinite() as i128);
            check(&format!("is_inf {ty:?} on {d}"), x.tensor.is_inf(), Type::Bool, want, &a);
            let want = x.real().map(|x| x.value.is_finite() as i128);
            check(&format!("is_finite {ty:?} on {d}"), x.tensor.is_finite(), Type::Bool, want, &a);
            let x = Operand::dense(d, ty, &[700], Values::Range(-4.0, 4.0), &mut r);
            let (mul, add) = (anychip_oracle::Number::from(1.5), anychip_oracle::Number::from(-0.25));
            // Rounded to the type between, or held wider: both are permitted.
            let want = x.real().map(|&x| a.add(a.perhaps_narrowed(a.mul(x, mul), ty), add));
            check(&format!("affine {ty:?} on {d}"), x.tensor.affine(1.5, -0.25), ty, want, &a);
        }
    });
}
