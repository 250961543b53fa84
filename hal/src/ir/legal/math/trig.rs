//! sin, cos and tan of every finite float: the argument less a multiple of π/2, in twice the digits, then polynomials
//! that interpolate at Chebyshev nodes (errors below 2⁻²⁹ and 2⁻⁵⁵ of the result).

use super::{
    code::{Num, poly},
    reduce::{Reduced, reduce},
    wide::divide,
};

/// (sin r / r − 1)/r² by r².
const SIN_F32: [f64; 4] = [-0.1666666666, 8.333331831e-3, -1.984006304e-4, 2.724686872e-6];
const SIN_F64: [f64; 7] = [
    -0.16666666666666666,
    0.008333333333333331,
    -0.00019841269841264821,
    2.755731922150782e-6,
    -2.5052106167335705e-8,
    1.6058521349954986e-10,
    -7.586094789672621e-13,
];
/// (cos r − 1 + r²/2)/r⁴ by r².
const COS_F32: [f64; 3] = [0.0416666646, -1.38882913e-3, 2.454541908e-5];
const COS_F64: [f64; 6] = [
    0.041666666666666664,
    -0.0013888888888887322,
    2.4801587298651292e-5,
    -2.755731721268659e-7,
    2.0876134024090145e-9,
    -1.1381754653662937e-11,
];

/// Sine and cosine of a reduced argument. What the low part adds to the sine is multiplied by a cosine of at least 0.7
/// in truth: left out, it is 0.15 units in the last place.
fn sin_cos<'c>(r: &Reduced<'c>) -> (Num<'c>, Num<'c>) {
    let (high, low) = (r.rest.high, r.rest.low);
    let f = high.format();
    let z = high * high;
    let sin = high + (high * z).mul_add(poly(z, f.pick(&SIN_F32[..], &SIN_F64)), low);
    let more = (z * z).mul_add(poly(z, f.pick(&COS_F32[..], &COS_F64)), -(high * low));
    let cos = high.number(1.0) - (z * 0.5 - more);
    (sin, cos)
}

/// `y` turned to the other sign where bit 1 of the quadrant is set.
fn turned<'c>(y: Num<'c>, quadrant: Num<'c>) -> Num<'c> {
    let f = y.format();
    (y.to_bits() ^ ((quadrant & 2) << (f.bits - 2))).reinterpret(f.float)
}

/// NaN where x has no finite value.
fn finite<'c>(x: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = x.format();
    x.magnitude().at_least(f.infinity()).choose(x.constant(f.nan()), y)
}

/// x where it is so small that sin x and tan x are x: it stays what it is, −0 and subnormals too.
fn small<'c>(x: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = x.format();
    x.magnitude().below(f.of(f.pick(2f64.powi(-13), 2f64.powi(-28)))).choose(x, y)
}

pub(super) fn sin(x: Num<'_>) -> Num<'_> {
    let r = reduce(x);
    let (sin, cos) = sin_cos(&r);
    let y = (r.quadrant & 1).eq(0).choose(sin, cos);
    finite(x, small(x, turned(y, r.quadrant)))
}

pub(super) fn cos(x: Num<'_>) -> Num<'_> {
    let r = reduce(x);
    let (sin, cos) = sin_cos(&r);
    let y = (r.quadrant & 1).eq(0).choose(cos, sin);
    finite(x, turned(y, r.quadrant + 1))
}

pub(super) fn tan(x: Num<'_>) -> Num<'_> {
    let r = reduce(x);
    let (sin, cos) = sin_cos(&r);
    let even = (r.quadrant & 1).eq(0);
    finite(x, small(x, divide(even.choose(sin, -cos), even.choose(cos, sin))))
}
