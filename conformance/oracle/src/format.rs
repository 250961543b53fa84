//! Element types: their bits, their spacing, rounding to them.
//!
//! Rounding is to nearest, ties to even, from numbers of 106 bits, so that it happens once.

use super::wide::Wide;

/// An element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the field's own names
pub enum Type {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

/// A binary float format of IEEE 754's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Bits of the fraction, without the leading one.
    pub fraction: i32,
    /// Exponent of the smallest normal number.
    pub low: i32,
    /// Exponent of the largest number.
    pub high: i32,
}

const F16: Format = Format { fraction: 10, low: -14, high: 15 };
const BF16: Format = Format { fraction: 7, low: -126, high: 127 };
const F32: Format = Format { fraction: 23, low: -126, high: 127 };
const F64: Format = Format { fraction: 52, low: -1022, high: 1023 };

/// 2ⁿ, from the smallest subnormal double to the largest power.
fn power(n: i32) -> f64 {
    match n {
        ..-1074 => 0.0,
        -1074..-1022 => f64::from_bits(1 << (n + 1074)),
        -1022..1024 => f64::from_bits(((n + 1023) as u64) << 52),
        _ => f64::INFINITY,
    }
}

/// ⌊log₂ |x|⌋ of a finite number that is not 0.
fn exponent(x: f64) -> i32 {
    let biased = ((x.to_bits() >> 52) & 0x7ff) as i32;
    if biased > 0 { biased - 1023 } else { -1011 - (x.to_bits() << 12).leading_zeros() as i32 - 12 }
}

impl Format {
    /// Largest finite number.
    pub fn max(self) -> f64 {
        power(self.high) * (2.0 - power(-self.fraction))
    }

    /// Smallest normal number.
    pub fn min_normal(self) -> f64 {
        power(self.low)
    }

    /// Smallest number above 0: the spacing of the subnormals.
    pub fn tiny(self) -> f64 {
        power(self.low - self.fraction)
    }

    /// Half the spacing at 1: the unit roundoff.
    pub fn unit(self) -> f64 {
        power(-self.fraction - 1)
    }

    /// The spacing of the format at x; at infinity that of its largest numbers.
    pub fn ulp(self, x: f64) -> f64 {
        if x == 0.0 {
            return self.tiny();
        }
        let e = if x.is_finite() { exponent(x).min(self.high) } else { self.high };
        power(e.max(self.low) - self.fraction)
    }

    /// The number of the format nearest to x, ties to even; beyond the largest: infinite.
    pub fn round(self, x: Wide) -> f64 {
        if self == F64 || !x.is_finite() || x.hi == 0.0 {
            return x.hi;
        }
        let quantum = exponent(x.hi).max(self.low) - self.fraction;
        // Scaling by a power of two is exact: no format here reaches the doubles' subnormals.
        let x = x.times_power(-quantum);
        let mut nearest = x.hi.round_ties_even();
        let off = x.hi - nearest;
        if off.abs() == 0.5 && x.lo != 0.0 {
            // No tie after all: the second part decides.
            nearest = if x.lo > 0.0 { x.hi.floor() + 1.0 } else { x.hi.floor() };
        }
        let y = Wide::from(nearest).times_power(quantum).hi;
        if y.abs() > self.max() { f64::INFINITY.copysign(y) } else { y }
    }
}

impl Type {
    /// Every type.
    pub const ALL: [Type; 13] = [
        Type::Bool,
        Type::I8,
        Type::I16,
        Type::I32,
        Type::I64,
        Type::U8,
        Type::U16,
        Type::U32,
        Type::U64,
        Type::F16,
        Type::BF16,
        Type::F32,
        Type::F64,
    ];

    /// The format of a float type.
    pub fn format(self) -> Option<Format> {
        match self {
            Type::F16 => Some(F16),
            Type::BF16 => Some(BF16),
            Type::F32 => Some(F32),
            Type::F64 => Some(F64),
            _ => None,
        }
    }

    /// Is it a float type.
    pub fn is_float(self) -> bool {
        self.format().is_some()
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Type::Bool | Type::I8 | Type::U8 => 1,
            Type::I16 | Type::U16 | Type::F16 | Type::BF16 => 2,
            Type::I32 | Type::U32 | Type::F32 => 4,
            Type::I64 | Type::U64 | Type::F64 => 8,
        }
    }

    /// Smallest and largest value of an integer type; 0 and 1 for bool. `None` for floats.
    pub fn range(self) -> Option<(i128, i128)> {
        let bits = 8 * self.bytes() as u32;
        match self {
            Type::Bool => Some((0, 1)),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1)),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => Some((0, (1 << bits) - 1)),
            Type::F16 | Type::BF16 | Type::F32 | Type::F64 => None,
        }
    }

    /// An integer modulo 2 to the bits of the type.
    pub fn wrap(self, x: i128) -> i128 {
        match self.range() {
            None => x,
            Some(_) if self == Type::Bool => (x != 0) as i128,
            Some((low, high)) => (x - low).rem_euclid(high - low + 1) + low,
        }
    }

    /// The value of a float's bits.
    pub fn float_of_bits(self, bits: u64) -> f64 {
        match self {
            Type::F64 => f64::from_bits(bits),
            Type::F32 => f32::from_bits(bits as u32) as f64,
            Type::BF16 => f32::from_bits((bits as u32) << 16) as f64,
            _ => {
                let (sign, e, f) = (bits >> 15 & 1, (bits >> 10 & 31) as i32, (bits & 1023) as f64);
                let size = match e {
                    31 if f == 0.0 => f64::INFINITY,
                    31 => f64::NAN,
                    0 => f * power(-24),
                    e => (1024.0 + f) * power(e - 25),
                };
                if sign == 1 { -size } else { size }
            }
        }
    }

    /// The bits of a float that the type holds; NaN becomes the quiet one.
    pub fn bits_of_float(self, x: f64) -> u64 {
        match self {
            Type::F64 => x.to_bits(),
            Type::F32 => (x as f32).to_bits() as u64,
            Type::BF16 if x.is_nan() => 0x7fc0,
            Type::BF16 => (x as f32).to_bits() as u64 >> 16,
            _ => {
                let sign = (x.is_sign_negative() as u64) << 15;
                let size = x.abs();
                match size {
                    s if s.is_nan() => 0x7e00,
                    f64::INFINITY => sign | 0x7c00,
                    s if s < power(-14) => sign | (s * power(24)) as u64,
                    s => {
                        let e = exponent(s);
                        sign | ((e + 15) as u64) << 10 | (s * power(10 - e)) as u64 & 1023
                    }
                }
            }
        }
    }

    /// An element's bits from its little-endian bytes.
    pub fn bits(self, bytes: &[u8]) -> u64 {
        bytes.iter().rev().fold(0, |bits, &b| bits << 8 | b as u64)
    }

    /// The value of an integer's bits; of bool 0 or 1.
    pub fn int_of_bits(self, bits: u64) -> i128 {
        self.wrap(bits as i128)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    /// All 16-bit values, their neighbours and the ties between them, against another author's rounding.
    #[test]
    fn sixteen_bits_round_as_half_does() {
        for bits in 0..=u16::MAX {
            let h = f16::from_bits(bits);
            let b = bf16::from_bits(bits);
            let read = Type::F16.float_of_bits(bits as u64);
            assert!(read.to_bits() == h.to_f64().to_bits() || read.is_nan() && h.is_nan(), "{bits:#x}");
            for (ty, x, next) in [
                (Type::F16, h.to_f64(), f16::from_bits(bits.wrapping_add(1)).to_f64()),
                (Type::BF16, b.to_f64(), bf16::from_bits(bits.wrapping_add(1)).to_f64()),
            ] {
                let format = ty.format().unwrap();
                if x.is_nan() {
                    assert!(ty.float_of_bits(ty.bits_of_float(x)).is_nan());
                    continue;
                }
                assert_eq!(ty.bits_of_float(x), bits as u64, "{ty:?} {x:e}");
                assert_eq!(format.round(Wide::from(x)).to_bits(), x.to_bits(), "{ty:?} {x:e}");
                if !next.is_finite() || !x.is_finite() {
                    continue;
                }
                for part in [0.25, 0.5, 0.75] {
                    let between = x + (next - x) * part;
                    let want = match ty {
                        Type::F16 => f16::from_f64(between).to_f64(),
                        _ => bf16::from_f64(between).to_f64(),
                    };
                    assert_eq!(format.round(Wide::from(between)), want, "{ty:?} {between:e}");
                }
                // A tie that a second part breaks, which no double shows.
                let tie = x + (next - x) / 2.0;
                let up = format.round(Wide { hi: tie, lo: (next - x).abs() * 1e-20 });
                assert_eq!(up, x.max(next), "{ty:?} {tie:e} and a little");
                let down = format.round(Wide { hi: tie, lo: -(next - x).abs() * 1e-20 });
                assert_eq!(down, x.min(next), "{ty:?} {tie:e} less a little");
            }
        }
    }

    #[test]
    fn single_rounds_as_the_compiler_does() {
        let mut seed = 3u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let x = f64::from_bits(seed);
            if x.is_nan() {
                continue;
            }
            for x in [x, (seed >> 20) as f64 * 1e-50, (seed >> 11) as f64 * 1e25] {
                assert_eq!(
                    Type::F32.format().unwrap().round(Wide::from(x)).to_bits(),
                    (x as f32 as f64).to_bits(),
                    "{x:e}"
                );
            }
        }
    }

    #[test]
    fn spacing() {
        let f = Type::F32.format().unwrap();
        assert_eq!(f.max(), f32::MAX as f64);
        assert_eq!(f.tiny(), f32::from_bits(1) as f64);
        assert_eq!(f.min_normal(), f32::MIN_POSITIVE as f64);
        assert_eq!(f.ulp(1.0), f32::EPSILON as f64);
        assert_eq!(f.ulp(0.99), f32::EPSILON as f64 / 2.0);
        assert_eq!(f.ulp(1e-42), f.tiny());
        assert_eq!(Type::F64.format().unwrap().ulp(5e-324), 5e-324);
        assert_eq!((exponent(5e-324), exponent(1.5), exponent(2.2250738585072014e-308)), (-1074, 0, -1022));
        assert_eq!((Type::I8.wrap(200), Type::U8.wrap(-1), Type::I64.wrap(1 << 63)), (-56, 255, -(1 << 63)));
    }
}
