//! ln x and log₂ x: x = 2ᵉ·(1 + f) with 1 + f in [√½, √2), ln(1 + f) by a polynomial in f (f32, a minimax fit), or in
//! s² for s = f/(2 + f) (f64, interpolated, error 2⁻⁶³). Subnormal numbers are read from their bits, so that a device
//! that flushes them cannot.

use super::{
    code::{Num, poly},
    exp::LN2,
};

/// (ln(1 + f) − f + f²/2)/f³.
const LOG_F32: [f64; 9] = [
    3.333_331_3e-1,
    -2.500_001_2e-1,
    2.000_207_5e-1,
    -1.666_784_9e-1,
    1.422_019e-1,
    -1.240_831_1e-1,
    1.188_665_6e-1,
    -1.166_004_1e-1,
    6.731_177e-2,
];
/// (ln((1 + s)/(1 − s))/s − 2)/s² by s².
const LOG_F64: [f64; 8] = [
    0.6666666666666666,
    0.40000000000000907,
    0.2857142857078428,
    0.22222222396085492,
    0.18181795174169585,
    0.15386264984142528,
    0.13268097770489085,
    0.13093671486101807,
];

/// Exponent e and f of the float with these positive finite bits.
pub(super) fn split<'c>(bits: Num<'c>, like: Num<'c>) -> (Num<'c>, Num<'c>) {
    let f = like.format();
    let root_half = f.of(std::f64::consts::FRAC_1_SQRT_2);
    let subnormal = bits.below(f.hidden());
    let whole = bits.cast(f.float).to_bits();
    let bits = subnormal.choose(whole, bits);
    let lift = subnormal.choose(like.number((f.bias + f.mantissa - 1) as f64), like.number(0.0));
    let i = bits - root_half;
    let e = (i.reinterpret(f.signed) >> f.mantissa).cast(f.float) - lift;
    let m = ((i & f.mantissa_mask()) + root_half).reinterpret(f.float);
    (e, m - 1.0)
}

/// ln(1 + f) − f.
fn rest(f: Num<'_>) -> Num<'_> {
    let half_square = f * f * 0.5;
    if f.format().double {
        let s = f / (f + 2.0);
        let z = s * s;
        let r = z * poly(z, &LOG_F64);
        s * (half_square + r) - half_square
    } else {
        let square = f * f;
        (square * f).mul_add(poly(f, &LOG_F32), -half_square)
    }
}

/// The values at the edges: −∞ at zero, NaN below, ∞ and NaN as they are.
fn edges<'c>(x: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = x.format();
    let (bits, magnitude) = (x.to_bits(), x.magnitude());
    let y = bits.eq(f.infinity()).choose(x, y);
    let y = bits.at_least(f.infinity() + 1).choose(x.constant(f.nan()), y);
    magnitude.eq(0).choose(x.constant(f.infinity() | f.sign()), y)
}

pub(super) fn log(x: Num<'_>) -> Num<'_> {
    let (e, f) = split(x.magnitude(), x);
    let [high, low] = x.format().pick(LN2[0], LN2[1]);
    let low = e.mul_add(x.number(low), rest(f));
    edges(x, e.mul_add(x.number(high), f + low))
}

pub(super) fn log2(x: Num<'_>) -> Num<'_> {
    // log₂ e − 1: multiplying by 1 + c keeps the error of the product out of the leading part.
    let c = x.number(std::f64::consts::LOG2_E - 1.0);
    let (e, f) = split(x.magnitude(), x);
    let rest = rest(f);
    let low = f.mul_add(c, rest.mul_add(c, rest));
    edges(x, e + (f + low))
}
