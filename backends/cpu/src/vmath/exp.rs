//! The exponential and what is made of it: exp, exp2, sigmoid, tanh, erf. Polynomials are minimax fits (weighted least
//! squares with Lawson's reweighting, in 40 digits) of the function named, coefficients rounded to f32 one after another.

use super::{Body, mul_add, poly};

/// Adding 1.5·2²³ rounds to an integer and leaves it in the low bits.
pub(super) const MAGIC: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has 9 bits, so that n times it is exact.
pub(super) const LN2_HI: f32 = 0.693_359_4;
pub(super) const LN2_LO: f32 = -2.121_944_4e-4;
/// Beyond these eˣ is infinity or 0 anyway.
pub(super) const EXP_HIGH: f32 = 89.0;
pub(super) const EXP_LOW: f32 = -104.0;
/// (eʳ − 1 − r)/r².
pub(super) const EXP: [f32; 5] = [4.999_999_4e-1, 1.666_652_1e-1, 4.166_825_5e-2, 8.368_67e-3, 1.382_169_7e-3];
/// erf(x)/x − 1 by x², below [`ERF_FROM`].
pub(super) const ERF_NEAR: [f32; 7] =
    [1.283_791_7e-1, -3.761_263_2e-1, 1.128_367_8e-1, -2.685_867_2e-2, 5.199_593_5e-3, -8.129_061e-4, 8.320_448e-5];
/// ln erfc(x)/x, from [`ERF_FROM`] to 4.
pub(super) const ERF_FAR: [f32; 8] = [
    -1.128_553,
    -6.356_192e-1,
    -1.052_746_5e-1,
    2.268_698_4e-2,
    -2.938_255_4e-3,
    5.257_836e-5,
    4.498_207_3e-5,
    -4.888_086_6e-6,
];
/// Where erf changes its formula.
pub(super) const ERF_FROM: f32 = 0.921_875;

/// `p · 2ⁿ` for n in −252..=252 with a single rounding where the result is subnormal, infinity where it overflows: by
/// two factors, neither of which leaves the normal range.
#[inline(always)]
fn scale(p: f32, n: i32) -> f32 {
    let half = n >> 1;
    let factor = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * factor(half) * factor(n.wrapping_sub(half))
}

/// x rounded to an integer: as a float and as an integer. NaN gives NaN and a number of no meaning.
#[inline(always)]
fn split(x: f32) -> (f32, i32) {
    let z = x + MAGIC;
    (z - MAGIC, (z.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32))
}

/// eˣ = 2ⁿ·eʳ, |r| ≤ ln 2 / 2, eʳ = 1 + r + r²·q(r).
#[inline(always)]
pub(crate) fn exp<const F: bool>(x: f32) -> f32 {
    // Comparisons that keep NaN.
    let x = if x > EXP_HIGH { EXP_HIGH } else { x };
    let x = if x < EXP_LOW { EXP_LOW } else { x };
    let (n, i) = split(x * std::f32::consts::LOG2_E);
    let r = mul_add::<F>(n, -LN2_LO, mul_add::<F>(n, -LN2_HI, x));
    let q = poly::<F, 5>(r, EXP);
    scale(mul_add::<F>(r * r, q, r) + 1.0, i)
}

pub struct Exp;
impl Body for Exp {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        exp::<F>(x)
    }
}

/// 2ˣ = 2ⁿ·2ʳ, |r| ≤ ½, 2ʳ = 1 + r·p(r).
pub struct Exp2;
impl Body for Exp2 {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let x = if x > 129.0 { 129.0 } else { x };
        let x = if x < -151.0 { -151.0 } else { x };
        let (n, i) = split(x);
        let r = x - n;
        let p = poly::<F, 6>(
            r,
            [6.931_472e-1, 2.402_264_3e-1, 5.550_358_4e-2, 9.618_996e-3, 1.339_147_4e-3, 1.519_960_8e-4],
        );
        scale(mul_add::<F>(r, p, 1.0), i)
    }
}

/// By e^−|x|, which cannot overflow, so that the far negative side keeps its subnormals.
pub struct Sigmoid;
impl Body for Sigmoid {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let t = exp::<F>(-x.abs());
        let numerator = if x < 0.0 { t } else { 1.0 };
        numerator / (1.0 + t)
    }
}

/// x + x³·P(x²) near zero, 1 − 2/(e^2x + 1) beyond.
pub struct Tanh;
impl Body for Tanh {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let (a, s) = (x.abs(), x * x);
        let p = poly::<F, 5>(s, [-3.333_328e-1, 1.333_141_6e-1, -5.373_794e-2, 2.063_411_8e-2, -5.700_092e-3]);
        // At −0 the sum is +0: give it its sign back.
        let near = mul_add::<F>(x * s, p, x).copysign(x);
        let far = (1.0 - 2.0 / (exp::<F>(a + a) + 1.0)).copysign(x);
        if a < 0.625 { near } else { far }
    }
}

/// x + x·u(x²) near zero, 1 − exp(|x|·h(|x|)) beyond, where |x|·h fits ln erfc; 1 in f32 from 3.92 on.
pub struct Erf;
impl Body for Erf {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let (a, s) = (x.abs(), x * x);
        let u = poly::<F, 7>(s, ERF_NEAR);
        let near = mul_add::<F>(x, u, x);
        let t = if a > 4.0 { 4.0 } else { a };
        let h = poly::<F, 8>(t, ERF_FAR);
        let far = (1.0 - exp::<F>(t * h)).copysign(x);
        if a < ERF_FROM { near } else { far }
    }
}
