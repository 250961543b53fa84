//! 16-bit floats to and from f32: of one element, without branches, so that loops over them become vectors; and of slices,
//! compiled for each level. Widening is exact, narrowing rounds to nearest even, a NaN stays one.

use super::Level;
use half::{bf16, f16};

/// f32 to the upper half.
#[inline(always)]
pub(crate) fn to_bf16(x: f32) -> bf16 {
    let u = x.to_bits();
    let rounded = (u.wrapping_add(0x7fff + ((u >> 16) & 1)) >> 16) as u16;
    bf16::from_bits(if x.is_nan() { (u >> 16) as u16 | 0x40 } else { rounded })
}

/// The upper half to f32; a signalling NaN becomes a quiet one.
#[inline(always)]
pub(crate) fn from_bf16(h: bf16) -> f32 {
    let u = (h.to_bits() as u32) << 16;
    f32::from_bits(if u & 0x7fff_ffff > 0x7f80_0000 { u | 0x0040_0000 } else { u })
}

/// Binary16 to f32 by rescaling the bits, so that it vectorises without F16C.
#[inline(always)]
pub(crate) fn from_f16(h: f16) -> f32 {
    let h = h.to_bits() as u32;
    let sign = (h & 0x8000) << 16;
    let body = (h & 0x7fff) << 13;
    // The exponent's bias differs by 112: a multiplication by 2^112 corrects it, subnormals included.
    let scaled = (f32::from_bits(body) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = body | 0x7f80_0000 | if body & 0x007f_ffff != 0 { 0x0040_0000 } else { 0 };
    f32::from_bits(sign | if h & 0x7c00 == 0x7c00 { special } else { scaled })
}

/// f32 to binary16.
#[inline(always)]
pub(crate) fn to_f16(x: f32) -> f16 {
    let u = x.to_bits();
    let sign = (u >> 16) & 0x8000;
    let a = u & 0x7fff_ffff;
    // Normal results: round at bit 13 and rebias; a carry moves into the exponent, up to infinity.
    let normal = (a.wrapping_add(0xfff + ((a >> 13) & 1)).wrapping_sub(112 << 23)) >> 13;
    // Subnormal results: adding 0.5 aligns the last kept bit (2⁻²⁴) with f32's own, which rounds to nearest even.
    let tiny = (f32::from_bits(a) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if a < 0x3880_0000 { tiny } else { normal };
    let big = if a > 0x7f80_0000 { 0x7e00 | ((a >> 13) & 0x3ff) } else { 0x7c00 };
    let out = if a >= 0x4780_0000 { big } else { finite };
    f16::from_bits((sign | out) as u16)
}

macro_rules! slices {
    ($($(#[$doc:meta])* $name:ident $from:ty, $to:ty, $one:path;)*) => {$(
        $(#[$doc])*
        pub fn $name(level: Level, from: &[$from], to: &mut [$to]) {
            #[inline(always)]
            fn body(from: &[$from], to: &mut [$to]) {
                to.iter_mut().zip(from).for_each(|(t, &f)| *t = $one(f));
            }
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2(from: &[$from], to: &mut [$to]) {
                    body(from, to)
                }
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512(from: &[$from], to: &mut [$to]) {
                    body(from, to)
                }
                match level {
                    // SAFETY: the level is available.
                    Level::Avx512 if level.available() => return unsafe { avx512(from, to) },
                    // SAFETY: the level is available.
                    Level::Avx2 if level.available() => return unsafe { avx2(from, to) },
                    _ => {}
                }
            }
            let _ = level;
            body(from, to)
        }
    )*};
}
slices! {
    /// f16 to f32, as many elements as the shorter slice has.
    widen_f16 f16, f32, from_f16;
    /// bf16 to f32, as many elements as the shorter slice has.
    widen_bf16 bf16, f32, from_bf16;
    /// f32 to f16, as many elements as the shorter slice has.
    narrow_f16 f32, f16, to_f16;
    /// f32 to bf16, as many elements as the shorter slice has.
    narrow_bf16 f32, bf16, to_bf16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_16_bit_values_widen_exactly_and_come_back() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for level in Level::all() {
            let h: Vec<f16> = all.iter().map(|&b| f16::from_bits(b)).collect();
            let b: Vec<bf16> = all.iter().map(|&b| bf16::from_bits(b)).collect();
            let (mut x, mut y) = (vec![0.0; h.len()], vec![0.0; b.len()]);
            widen_f16(level, &h, &mut x);
            widen_bf16(level, &b, &mut y);
            let (mut h2, mut b2) = (vec![f16::ZERO; h.len()], vec![bf16::ZERO; b.len()]);
            narrow_f16(level, &x, &mut h2);
            narrow_bf16(level, &y, &mut b2);
            for i in 0..all.len() {
                assert!(x[i].to_bits() == h[i].to_f32().to_bits() || h[i].is_nan() && x[i].is_nan(), "f16 {i:#x}");
                assert!(y[i].to_bits() == b[i].to_f32().to_bits() || b[i].is_nan() && y[i].is_nan(), "bf16 {i:#x}");
                assert!(h2[i].to_bits() == h[i].to_bits() || h[i].is_nan() && h2[i].is_nan(), "f16 {i:#x} back");
                assert!(b2[i].to_bits() == b[i].to_bits() || b[i].is_nan() && b2[i].is_nan(), "bf16 {i:#x} back");
            }
        }
    }

    #[test]
    fn narrowing_rounds_to_nearest_even() {
        // Around every f16 and bf16: the middle between neighbours, and a little to both sides of it.
        let mut x: Vec<f32> = vec![65504.0, 65519.99, 65520.0, 1e30, f32::MAX, f32::INFINITY, f32::MIN_POSITIVE, 1e-45];
        for bits in (0..0x7c00u16).step_by(3) {
            let (a, b) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            let middle = if b.is_finite() { (a + b) / 2.0 } else { 65520.0 };
            x.extend([middle, f32::from_bits(middle.to_bits() + 1), f32::from_bits(middle.to_bits() - 1)]);
        }
        for bits in (1..0x7f80u32).step_by(3) {
            let middle = bits << 16 | 0x8000;
            x.extend([middle - 1, middle, middle + 1].map(f32::from_bits));
        }
        x.extend(x.clone().iter().map(|x| -x));
        for level in Level::all() {
            let (mut h, mut b) = (vec![f16::ZERO; x.len()], vec![bf16::ZERO; x.len()]);
            narrow_f16(level, &x, &mut h);
            narrow_bf16(level, &x, &mut b);
            for (i, &x) in x.iter().enumerate() {
                assert_eq!(h[i].to_bits(), f16::from_f32(x).to_bits(), "{x:e} to f16");
                assert_eq!(b[i].to_bits(), bf16::from_f32(x).to_bits(), "{x:e} to bf16");
            }
        }
    }
}
