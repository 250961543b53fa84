//! Sine, cosine, tangent: reduced and evaluated in f64, so that the result is within rounding of the true value also
//! near multiples of π/2. Arguments beyond [`LIMIT`] go to the platform's function, one by one.

use super::Body;

/// Up to here n·π/2 needs at most 19 bits for n, and its product with the leading 33 bits of π/2 is exact in f64.
const LIMIT: f32 = 500_000.0;
/// Leading 33 bits of π/2, and what is left of it.
const PIO2_HI: f64 = f64::from_bits(0x3FF9_21FB_5440_0000);
const PIO2_LO: f64 = 6.077_100_506_506_192e-11;
/// Adding 1.5·2⁵² rounds to an integer and leaves it in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// Quadrant (its low two bits count), sine and cosine of x modulo π/2 in −π/4..π/4, by Taylor (error < 10⁻¹⁰).
#[inline(always)]
fn reduce(x: f32) -> (u64, f64, f64) {
    let x = f64::from(x);
    let z = x * std::f64::consts::FRAC_2_PI + MAGIC;
    let n = z - MAGIC;
    let r = x - n * PIO2_HI - n * PIO2_LO;
    let s = r * r;
    let sin =
        1.0 + s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362_880.0 - s / 39_916_800.0))));
    let cos = 1.0
        + s * (-0.5
            + s * (1.0 / 24.0
                + s * (-1.0 / 720.0 + s * (1.0 / 40_320.0 + s * (-1.0 / 3_628_800.0 + s / 479_001_600.0)))));
    // r times 1 + …, so that −0 stays −0.
    (z.to_bits(), r * sin, cos)
}

/// `x` with its sign turned when bit 1 of `quadrant` is set.
#[inline(always)]
fn turn(x: f64, quadrant: u64) -> f64 {
    f64::from_bits(x.to_bits() ^ (quadrant & 2) << 62)
}

pub struct Sin;
impl Body for Sin {
    const HAS_RARE: bool = true;
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let (q, sin, cos) = reduce(x);
        turn(if q & 1 == 0 { sin } else { cos }, q) as f32
    }
    #[inline(always)]
    fn is_rare(x: f32) -> bool {
        x.abs() > LIMIT
    }
    fn rare(x: f32) -> f32 {
        x.sin()
    }
}

pub struct Cos;
impl Body for Cos {
    const HAS_RARE: bool = true;
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let (q, sin, cos) = reduce(x);
        turn(if q & 1 == 0 { cos } else { sin }, q.wrapping_add(q & 1) & 2) as f32
    }
    #[inline(always)]
    fn is_rare(x: f32) -> bool {
        x.abs() > LIMIT
    }
    fn rare(x: f32) -> f32 {
        x.cos()
    }
}

pub struct Tan;
impl Body for Tan {
    const HAS_RARE: bool = true;
    #[inline(always)]
    fn lane<const F: bool>(x: f32) -> f32 {
        let (q, sin, cos) = reduce(x);
        let (above, below) = if q & 1 == 0 { (sin, cos) } else { (-cos, sin) };
        (above / below) as f32
    }
    #[inline(always)]
    fn is_rare(x: f32) -> bool {
        x.abs() > LIMIT
    }
    fn rare(x: f32) -> f32 {
        x.tan()
    }
}
