//! Logarithms: x = 2ᵉ·(1 + f) with 1 + f in [√½, √2), ln(1 + f) = f − f²/2 + f³·P(f), P a minimax fit (see `exp`).

use super::{Body, mul_add, poly};

/// Bits of √½.
const SQRT_HALF: u32 = 0x3f35_04f3;

/// Exponent e, f, and ln(1 + f) − f, for a positive finite x; subnormal too.
#[inline(always)]
fn split<const F: bool>(x: f32) -> (f32, f32, f32) {
    let small = x < f32::MIN_POSITIVE;
    let x = if small { x * 8_388_608.0 } else { x }; // 2^23
    let i = x.to_bits().wrapping_sub(SQRT_HALF) as i32;
    let e = (i >> 23) as f32 - if small { 23.0 } else { 0.0 };
    let f = f32::from_bits((i as u32 & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    let p = poly::<F, 9>(
        f,
        [
            3.333_331_3e-1,
            -2.500_001_2e-1,
            2.000_207_5e-1,
            -1.666_784_9e-1,
            1.422_019e-1,
            -1.240_831_1e-1,
            1.188_665_6e-1,
            -1.166_004_1e-1,
            6.731_177e-2,
        ],
    );
    let s = f * f;
    (e, f, mul_add::<F>(s * f, p, -0.5 * s))
}

/// The values at the edges: −∞ at zero, NaN below, ∞ and NaN as they are.
#[inline(always)]
fn edges(x: f32, y: f32) -> f32 {
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x < 0.0 { f32::NAN } else { y };
    if x == 0.0 { f32::NEG_INFINITY } else { y }
}

pub struct Log;
impl Body for Log {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        // ln 2 in two parts; e times the first is exact.
        const LN2_HI: f32 = 0.693_359_4;
        const LN2_LO: f32 = -2.121_944_4e-4;
        let (e, f, rest) = split::<F>(x);
        let low = mul_add::<F>(e, LN2_LO, rest);
        edges(x, mul_add::<F>(e, LN2_HI, f + low))
    }
}

pub struct Log2;
impl Body for Log2 {
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        // log₂ e − 1: multiplying by 1 + c keeps the error of the product out of the leading part.
        const C: f32 = 0.442_695_04;
        let (e, f, rest) = split::<F>(x);
        let low = mul_add::<F>(f, C, mul_add::<F>(rest, C, rest));
        edges(x, e + (f + low))
    }
}
