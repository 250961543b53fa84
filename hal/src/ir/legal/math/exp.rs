//! e^x, 2^x and tanh x. The f32 polynomials are minimax fits, those of f64 interpolate at Chebyshev nodes (errors below
//! 2⁻⁵⁹ of the result).

use super::code::{Num, keep_nan, poly};
use std::f64::consts::{LN_2, LOG2_E};

/// ln 2 in two parts; an exponent times the first is exact.
pub(super) const LN2: [[f64; 2]; 2] =
    [[0.693115234375, 3.194618329871446e-5], [0.6931471805592082, 7.371002565167799e-13]];

/// (eʳ − 1 − r)/r².
const EXP_F32: [f64; 5] = [4.999_999_4e-1, 1.666_652_1e-1, 4.166_825_5e-2, 8.368_67e-3, 1.382_169_7e-3];
const EXP_F64: [f64; 11] = [
    0.5,
    0.1666666666666667,
    0.04166666666666667,
    0.008333333333325544,
    0.0013888888888883327,
    0.00019841269876864356,
    2.4801587327007187e-5,
    2.755725283351691e-6,
    2.75572718102198e-7,
    2.5106274733573296e-8,
    2.0915442297780116e-9,
];

/// (2ʳ − 1)/r.
const EXP2_F32: [f64; 7] =
    [LN_2, 0.2402265092, 0.05550410884, 9.618056679e-3, 1.333350239e-3, 1.54614447e-4, 1.529732376e-5];
const EXP2_F64: [f64; 12] = [
    LN_2,
    0.24022650695910072,
    0.055504108664821625,
    0.00961812910762848,
    0.001333355814640647,
    0.00015403530393370734,
    1.5252733841556773e-5,
    1.3215486808705563e-6,
    1.0178057087733941e-7,
    7.0548973041554995e-9,
    4.4558179083360645e-10,
    2.5729324177362305e-11,
];

/// (tanh x / x − 1)/x² by x², below 0.625.
const TANH_F32: [f64; 5] = [-3.333_328e-1, 1.333_141_6e-1, -5.373_794e-2, 2.063_411_8e-2, -5.700_092e-3];
const TANH_F64: [f64; 12] = [
    -0.3333333333333333,
    0.13333333333333042,
    -0.05396825396789699,
    0.021869488519008305,
    -0.008863235103240878,
    0.0035921217511549622,
    -0.0014557754120478055,
    0.0005896606577757043,
    -0.0002375906496055562,
    9.257116129556769e-5,
    -3.12011014257974e-5,
    6.485163482793113e-6,
];

/// x between two numbers.
pub(super) fn clamp(x: Num<'_>, low: f64, high: f64) -> Num<'_> {
    let (low, high) = (x.number(low), x.number(high));
    let x = x.gt(high).choose(high, x);
    x.lt(low).choose(low, x)
}

/// `p · 2ⁿ` for whole n that leave the range of the exponent at most twice, with a single rounding where the result is
/// subnormal: by two factors, neither of which leaves the normal range.
fn scale<'c>(p: Num<'c>, n: Num<'c>) -> Num<'c> {
    let f = p.format();
    let n = n.cast(f.signed);
    let half = n >> 1;
    let factor = |n: Num<'c>| ((n + f.bias) << f.mantissa).reinterpret(f.float);
    p * factor(half) * factor(n - half)
}

/// eˣ = 2ⁿ·eʳ, |r| ≤ ln 2 / 2, eʳ = 1 + r + r²·q(r). NaN gives some number.
fn exp_of_number(x: Num<'_>) -> Num<'_> {
    let f = x.format();
    let x = clamp(x, f.pick(-104.0, -746.0), f.pick(89.0, 710.0));
    let n = (x * LOG2_E).round();
    let [high, low] = f.pick(LN2[0], LN2[1]);
    let r = n.mul_add(x.number(-low), n.mul_add(x.number(-high), x));
    let q = poly(r, f.pick(&EXP_F32[..], &EXP_F64));
    scale((r * r).mul_add(q, r) + 1.0, n)
}

pub(super) fn exp(x: Num<'_>) -> Num<'_> {
    keep_nan(x.magnitude(), exp_of_number(x))
}

/// 2^(n + r), |r| ≤ ½, n whole; 2ʳ = 1 + r·p(r).
pub(super) fn exp2_of_parts<'c>(n: Num<'c>, r: Num<'c>) -> Num<'c> {
    let p = poly(r, r.format().pick(&EXP2_F32[..], &EXP2_F64));
    scale(r.mul_add(p, r.number(1.0)), n)
}

/// The exponents beyond which 2ˣ is 0 or infinite.
pub(super) fn exp2_range(x: Num<'_>) -> Num<'_> {
    let f = x.format();
    clamp(x, f.pick(-151.0, -1080.0), f.pick(129.0, 1025.0))
}

pub(super) fn exp2(x: Num<'_>) -> Num<'_> {
    let near = exp2_range(x);
    let n = near.round();
    keep_nan(x.magnitude(), exp2_of_parts(n, near - n))
}

/// x itself where it is tiny, x + x³·P(x²) near zero, 1 − 2/(e^2|x| + 1) beyond.
pub(super) fn tanh(x: Num<'_>) -> Num<'_> {
    let f = x.format();
    let bits = x.magnitude();
    let a = bits.reinterpret(f.float);
    let s = x * x;
    let near = (x * s).mul_add(poly(s, f.pick(&TANH_F32[..], &TANH_F64)), x);
    // tanh 10 is 1 in f32, tanh 20 in f64.
    let far = a.gt(x.number(20.0)).choose(x.number(20.0), a);
    let far = x.number(1.0) - x.number(2.0) / (exp_of_number(far + far) + 1.0);
    let far = (far.to_bits() | (x.to_bits() & f.sign())).reinterpret(f.float);
    let y = bits.below(f.of(0.625)).choose(near, far);
    let y = bits.below(f.of(f.pick(2f64.powi(-13), 2f64.powi(-28)))).choose(x, y);
    keep_nan(bits, y)
}
