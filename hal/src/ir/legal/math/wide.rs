//! Unevaluated sums of two floats: twice the digits of the type, from separately rounded + − ×.
//!
//! Knuth's and Dekker's error-free transformations. None of them uses `MulAdd`, which may round twice, and none minds
//! contraction; sums must not be re-associated.

use super::code::Num;

/// high + low; but for [`Wide::product`], |low| is at most half a unit in the last place of high.
#[derive(Clone, Copy)]
pub(super) struct Wide<'c> {
    pub high: Num<'c>,
    pub low: Num<'c>,
}

impl<'c> Wide<'c> {
    /// a + b, exactly.
    pub fn sum(a: Num<'c>, b: Num<'c>) -> Wide<'c> {
        let s = a + b;
        let t = s - a;
        Wide { high: s, low: (a - (s - t)) + (b - t) }
    }

    /// a + b, exactly where |a| ≥ |b| or a = 0.
    pub fn quick(a: Num<'c>, b: Num<'c>) -> Wide<'c> {
        let s = a + b;
        Wide { high: s, low: b - (s - a) }
    }

    /// a · b up to about the square of a rounding, while nothing underflows; the low part may be a few units of the high one.
    /// All products that reach a sum are exact, so that it does not matter whether a compiler contracts them (Dekker's own
    /// formula subtracts a rounded one).
    pub fn product(a: Num<'c>, b: Num<'c>) -> Wide<'c> {
        let ((a1, a2), (b1, b2)) = (halves(a), halves(b));
        let cross = Wide::sum(a1 * b2, a2 * b1);
        let s = Wide::sum(a1 * b1, cross.high);
        Wide { high: s.high, low: s.low + (cross.low + a2 * b2) }
    }

    /// A constant of the type of `like` in two parts per type, single and double.
    pub fn constant(like: Num<'c>, single: [f64; 2], double: [f64; 2]) -> Wide<'c> {
        let [high, low] = like.format().pick(single, double);
        Wide { high: like.number(high), low: like.number(low) }
    }

    pub fn plus(self, a: Num<'c>) -> Wide<'c> {
        let s = Wide::sum(a, self.high);
        Wide::quick(s.high, s.low + self.low)
    }

    pub fn times(self, b: Wide<'c>) -> Wide<'c> {
        let p = Wide::product(self.high, b.high);
        Wide::quick(p.high, p.low + (self.high * b.low + self.low * b.high))
    }

    pub fn times_number(self, b: Num<'c>) -> Wide<'c> {
        let p = Wide::product(self.high, b);
        Wide::quick(p.high, p.low + self.low * b)
    }
}

/// A float as a sum of two with half of its bits each.
fn halves(a: Num<'_>) -> (Num<'_>, Num<'_>) {
    let f = a.format();
    let mask = f.pick(0xffff_f000, 0xffff_ffff_f800_0000);
    let high = (a.to_bits() & mask).reinterpret(f.float);
    (high, a - high)
}

/// a / b to about half a unit in the last place, although the device's division may be off by some.
pub(super) fn divide<'c>(a: Num<'c>, b: Num<'c>) -> Num<'c> {
    let q = a / b;
    let p = Wide::product(q, b);
    q + ((a - p.high) - p.low) / b
}
