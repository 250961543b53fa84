//! Data for tests: random, special, exact. The same numbers from the same seed everywhere.

use super::{format::Type, wide::Wide};

/// A counter-based generator: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.bits() as u128 * n as u128) >> 64) as usize
    }

    /// Low..high.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * ((self.bits() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// One of some.
    pub fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What the elements of an operand are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values {
    /// Evenly in a range.
    Range(f64, f64),
    /// Any bits at all: every exponent, subnormals, infinities, NaN; for integers every value.
    AnyBits,
    /// Multiples of 1/4 up to ±2: sums and dot products of up to a million of them are exact in f32. For integers −8..=8, or 0..=8.
    Exact,
    /// Zeros of both signs, subnormals, the ends of the type, infinities, NaN among numbers of ordinary size.
    Special,
}

/// Bits of an element.
pub fn element(ty: Type, values: Values, r: &mut Random) -> u64 {
    let Some(format) = ty.format() else {
        let (low, high) = ty.range().unwrap_or((0, 1));
        let x = match values {
            Values::Range(a, b) => (r.between(a, b + 1.0).floor() as i128).clamp(low, high),
            Values::AnyBits => ty.wrap(r.bits() as i128),
            Values::Exact => (r.below(17) as i128 - 8).clamp(low, high),
            Values::Special => {
                *r.one_of(&[low, high, 0, 1, low + 1, high - 1, ty.wrap(-1), high / 2, high.min(7), high.min(3)])
            }
        };
        return x as u64 & (u64::MAX >> (64 - 8 * ty.bytes()));
    };
    let x = match values {
        Values::AnyBits => return r.bits() >> (64 - 8 * ty.bytes()),
        Values::Range(low, high) => r.between(low, high),
        Values::Exact => (r.below(17) as f64 - 8.0) / 4.0,
        Values::Special => {
            let x = *r.one_of(&special(ty));
            if r.below(3) == 0 { r.between(-4.0, 4.0) } else { x }
        }
    };
    ty.bits_of_float(format.round(Wide::from(x)))
}

/// Numbers at which functions go wrong.
pub fn special(ty: Type) -> Vec<f64> {
    let Some(f) = ty.format() else { return vec![] };
    let (max, min, tiny) = (f.max(), f.min_normal(), f.tiny());
    let half =
        [0.0, 0.5, 1.0, 1.0 + f.ulp(1.0), 1.0 - f.ulp(0.75), 1.5, 2.0, 2.5, 3.0, std::f64::consts::PI, 10.0, 88.5]
            .into_iter()
            .chain([104.0, 0.75 / f.unit(), max, max / 2.0, min, min - tiny, tiny, 3.0 * tiny, f64::INFINITY]);
    half.flat_map(|x| [x, -x]).chain([f64::NAN]).map(|x| f.round(Wide::from(x))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_everywhere() {
        let mut r = Random::new(0);
        assert_eq!([r.bits(), r.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        let mut r = Random::new(2);
        assert!((0..1000).all(|_| r.below(7) < 7 && (-1.0..2.0).contains(&r.between(-1.0, 2.0))));
    }

    #[test]
    fn elements_are_of_their_type() {
        let mut r = Random::new(3);
        for ty in Type::ALL {
            for values in [Values::Range(-3.0, 3.0), Values::AnyBits, Values::Exact, Values::Special] {
                for _ in 0..200 {
                    let bits = element(ty, values, &mut r);
                    assert!(ty.bytes() == 8 || bits >> (8 * ty.bytes()) == 0, "{ty:?} {values:?} {bits:#x}");
                    if ty == Type::Bool {
                        assert!(bits < 2);
                    }
                }
            }
        }
    }
}
