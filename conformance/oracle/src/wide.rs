//! Numbers of about 106 bits: an unevaluated sum of two doubles.
//!
//! The error-free transformations are Dekker's and Knuth's, the arithmetic that of Hida, Li and Bailey, "Algorithms for
//! quad-double precision floating point arithmetic" (2001). Infinities and NaN live in the first part alone.

use std::{
    cmp::Ordering,
    ops::{Add, Div, Mul, Neg, Sub},
};

/// hi + lo, |lo| ≤ half a unit in the last place of hi.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wide {
    /// The number rounded to a double.
    pub hi: f64,
    /// What that leaves.
    pub lo: f64,
}

/// a + b and what rounding it lost.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// a · b and what rounding it lost.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let p = a * b;
    (p, a.mul_add(b, -p))
}

impl Wide {
    /// 0.
    pub const ZERO: Wide = Wide { hi: 0.0, lo: 0.0 };
    /// 1.
    pub const ONE: Wide = Wide { hi: 1.0, lo: 0.0 };
    /// Not a number.
    pub const NAN: Wide = Wide { hi: f64::NAN, lo: 0.0 };
    /// ln 2.
    pub const LN_2: Wide = Wide { hi: std::f64::consts::LN_2, lo: 2.3190468138462996e-17 };
    /// π/2.
    pub const HALF_PI: Wide = Wide { hi: std::f64::consts::FRAC_PI_2, lo: 6.123233995736766e-17 };
    /// 2/√π.
    pub const TWO_OVER_ROOT_PI: Wide = Wide { hi: std::f64::consts::FRAC_2_SQRT_PI, lo: 1.533545961316588e-17 };

    /// A sum of two doubles, |a| ≥ |b| or a = 0.
    fn quick(a: f64, b: f64) -> Wide {
        let hi = a + b;
        if !hi.is_finite() {
            return Wide { hi, lo: 0.0 };
        }
        Wide { hi, lo: b - (hi - a) }
    }

    /// The sum of any two doubles.
    pub fn sum(a: f64, b: f64) -> Wide {
        let (hi, lo) = two_sum(a, b);
        Wide { hi, lo: if hi.is_finite() { lo } else { 0.0 } }
    }

    /// The product of two doubles.
    pub fn product(a: f64, b: f64) -> Wide {
        let (hi, lo) = two_product(a, b);
        Wide { hi, lo: if hi.is_finite() { lo } else { 0.0 } }
    }

    /// An integer, exact up to 106 bits.
    pub fn from_int(x: i128) -> Wide {
        let hi = x as f64;
        // Beyond 2^127 the double is no i128, nor is anything that comes here.
        Wide::sum(hi, if hi.abs() < 1.7e38 { (x - hi as i128) as f64 } else { 0.0 })
    }

    /// Neither part is infinite or NaN.
    pub fn is_finite(self) -> bool {
        self.hi.is_finite()
    }

    /// Not a number.
    pub fn is_nan(self) -> bool {
        self.hi.is_nan()
    }

    /// |x|.
    pub fn abs(self) -> Wide {
        if self.hi.is_sign_negative() { -self } else { self }
    }

    /// √x, correct to about 104 bits.
    pub fn sqrt(self) -> Wide {
        if self.hi == 0.0 || !self.is_finite() || self.hi < 0.0 {
            return Wide::from(self.hi.sqrt());
        }
        // Scaled by a power of 4, so that the square of the root neither overflows nor loses bits.
        let shift = if self.hi < 1e-200 { 600 } else { 0 };
        let x = self.times_power(shift);
        let root = x.hi.sqrt();
        let rest = x - Wide::product(root, root);
        Wide::quick(root, rest.hi / (2.0 * root)).times_power(-shift / 2)
    }

    /// x · 2^n, exact unless it leaves the doubles.
    pub fn times_power(self, n: i32) -> Wide {
        let (mut x, mut left) = (self, n);
        while left != 0 {
            let step = left.clamp(-1000, 1000);
            let power = f64::from_bits(((1023 + step) as u64) << 52);
            x = Wide { hi: x.hi * power, lo: x.lo * power };
            left -= step;
        }
        if x.is_finite() { x } else { Wide::from(x.hi) }
    }

    /// Rounded towards −∞.
    pub fn floor(self) -> Wide {
        let hi = self.hi.floor();
        if hi == self.hi { Wide::quick(hi, self.lo.floor()) } else { Wide::from(hi) }
    }

    /// The smaller one, NaN when either is.
    pub fn min(self, other: Wide) -> Wide {
        match self.partial_cmp(&other) {
            None => Wide::NAN,
            Some(Ordering::Greater) => other,
            _ => self,
        }
    }

    /// The larger one, NaN when either is.
    pub fn max(self, other: Wide) -> Wide {
        match self.partial_cmp(&other) {
            None => Wide::NAN,
            Some(Ordering::Less) => other,
            _ => self,
        }
    }
}

impl From<f64> for Wide {
    fn from(hi: f64) -> Wide {
        Wide { hi, lo: 0.0 }
    }
}

impl PartialOrd for Wide {
    fn partial_cmp(&self, other: &Wide) -> Option<Ordering> {
        match self.hi.partial_cmp(&other.hi) {
            Some(Ordering::Equal) => self.lo.partial_cmp(&other.lo),
            other => other,
        }
    }
}

impl Neg for Wide {
    type Output = Wide;
    fn neg(self) -> Wide {
        Wide { hi: -self.hi, lo: -self.lo }
    }
}

impl Add for Wide {
    type Output = Wide;
    fn add(self, other: Wide) -> Wide {
        let (s, e) = two_sum(self.hi, other.hi);
        if !s.is_finite() {
            return Wide::from(s);
        }
        if s == 0.0 && self.lo == 0.0 && other.lo == 0.0 {
            return Wide::from(s); // keeps the sign of −0 + −0
        }
        let (t, f) = two_sum(self.lo, other.lo);
        let x = Wide::quick(s, e + t);
        Wide::quick(x.hi, x.lo + f)
    }
}

impl Sub for Wide {
    type Output = Wide;
    fn sub(self, other: Wide) -> Wide {
        self + -other
    }
}

impl Mul for Wide {
    type Output = Wide;
    fn mul(self, other: Wide) -> Wide {
        let (p, e) = two_product(self.hi, other.hi);
        if !p.is_finite() || p == 0.0 {
            return Wide::from(p);
        }
        Wide::quick(p, e + (self.hi * other.lo + self.lo * other.hi))
    }
}

impl Div for Wide {
    type Output = Wide;
    fn div(self, other: Wide) -> Wide {
        let first = self.hi / other.hi;
        if !first.is_finite() || first == 0.0 || !other.is_finite() {
            return Wide::from(first);
        }
        let rest = self - other * Wide::from(first);
        let second = rest.hi / other.hi;
        let rest = rest - other * Wide::from(second);
        let x = Wide::quick(first, second);
        x + Wide::from(rest.hi / other.hi)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Products and sums of integers of 100 bits are exact in both.
    #[test]
    fn arithmetic_is_that_of_integers() {
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 14) as i128 - (1 << 49)
        };
        for _ in 0..10_000 {
            let (a, b, c) = (next(), next(), next());
            let exact = a * b + c;
            let wide = Wide::from_int(a) * Wide::from_int(b) + Wide::from_int(c);
            assert_eq!(wide, Wide::from_int(exact), "{a} {b} {c}");
            assert_eq!(wide - Wide::from_int(exact), Wide::ZERO);
        }
    }

    #[test]
    fn quotients_and_roots_come_back() {
        for n in 1..2000 {
            let x = Wide::from(n as f64);
            let third = x / Wide::from(3.0);
            assert!((third * Wide::from(3.0) - x).hi.abs() <= x.hi * 1e-31, "{n}");
            let root = x.sqrt();
            assert!((root * root - x).hi.abs() <= x.hi * 1e-31, "{n}");
        }
        assert_eq!(Wide::from(144.0).sqrt(), Wide::from(12.0));
        assert_eq!(Wide::from(5e-324).sqrt().hi, 5e-324f64.sqrt());
    }

    #[test]
    fn the_ends_of_the_line() {
        let inf = Wide::from(f64::INFINITY);
        assert_eq!((inf + Wide::ONE).hi, f64::INFINITY);
        assert!((inf - inf).is_nan());
        assert!((inf * Wide::ZERO).is_nan());
        assert_eq!((Wide::ONE / Wide::ZERO).hi, f64::INFINITY);
        assert_eq!((Wide::ONE / inf).hi, 0.0);
        assert!((Wide::from(-0.0) + Wide::from(-0.0)).hi.is_sign_negative());
        assert_eq!(Wide::from_int(-7).times_power(-3).floor(), Wide::from(-1.0));
    }
}
