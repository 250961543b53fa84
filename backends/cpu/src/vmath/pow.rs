//! xʸ = 2^(y·log₂|x|) in f64, which leaves f32 its rounding only. Zeros, infinities and NaN go to the platform's function.

/// A function of two elements, in the parts of [`super::Body`].
pub trait Body2 {
    fn lane(x: f32, y: f32) -> f32;
    fn is_rare(x: f32, y: f32) -> bool;
    fn rare(x: f32, y: f32) -> f32;
}

/// Adding 1.5·2⁵² rounds to an integer and leaves it in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// Bits of √½ in f64.
const SQRT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;

#[inline(always)]
fn nearest(x: f64) -> f64 {
    (x + MAGIC) - MAGIC
}

/// log₂ of a positive f32, by ln m = 2·artanh((m − 1)/(m + 1)) for m in [√½, √2); truncated at 10⁻¹³.
#[inline(always)]
fn log2(x: f32) -> f64 {
    let bits = f64::from(x).to_bits().wrapping_sub(SQRT_HALF);
    // The exponent as a float without an integer conversion of 64 bits, which AVX2 lacks: put it below MAGIC's ones.
    let biased = (bits >> 52) ^ 0x800; // sign bit of the 12-bit exponent flipped: 0..4096
    let e = f64::from_bits(MAGIC.to_bits().wrapping_add(biased)) - (MAGIC + 2048.0);
    let m = f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF).wrapping_add(SQRT_HALF));
    let t = (m - 1.0) / (m + 1.0);
    let s = t * t;
    let series = 1.0
        + s * (1.0 / 3.0
            + s * (1.0 / 5.0
                + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s * (1.0 / 11.0 + s * (1.0 / 13.0 + s * (1.0 / 15.0)))))));
    e + t * series * (2.0 * std::f64::consts::LOG2_E)
}

/// 2ᵗ rounded to f32, by Taylor (error < 10⁻¹⁰).
#[inline(always)]
fn exp2(t: f64) -> f32 {
    let t = if t > 200.0 { 200.0 } else { t };
    let t = if t < -200.0 { -200.0 } else { t };
    let z = t + MAGIC;
    let r = (t - (z - MAGIC)) * std::f64::consts::LN_2;
    let p = 1.0
        + r * (1.0
            + r * (1.0 / 2.0
                + r * (1.0 / 6.0
                    + r * (1.0 / 24.0
                        + r * (1.0 / 120.0
                            + r * (1.0 / 720.0
                                + r * (1.0 / 5040.0 + r * (1.0 / 40_320.0 + r * (1.0 / 362_880.0)))))))));
    let n = z.to_bits().wrapping_sub(MAGIC.to_bits());
    (p * f64::from_bits(n.wrapping_add(1023) << 52)) as f32
}

pub struct Pow;
impl Body2 for Pow {
    #[inline(always)]
    fn lane(x: f32, y: f32) -> f32 {
        let magnitude = exp2(f64::from(y) * log2(x.abs()));
        // A negative base takes whole exponents only. From 2²⁴ on every f32 is even.
        let whole = f64::from(if y.abs() < 1e9 { y } else { 0.0 });
        let odd = nearest(whole * 0.5) != whole * 0.5;
        let negative = if odd { -magnitude } else { magnitude };
        let negative = if nearest(whole) == whole { negative } else { f32::NAN };
        if x < 0.0 { negative } else { magnitude }
    }
    #[inline(always)]
    fn is_rare(x: f32, y: f32) -> bool {
        let finite = |v: f32| v.abs() <= f32::MAX;
        !finite(x) | !finite(y) | (x == 0.0)
    }
    fn rare(x: f32, y: f32) -> f32 {
        x.powf(y)
    }
}
