//! 1/√x within 2 units in the last place, whatever the device promises of its division and square root.

use super::code::Num;
use crate::info::Arithmetic;

/// 1/√x; where division and root are not both correctly rounded, x is brought to normal numbers and one step of Newton's
/// follows.
pub(super) fn rsqrt<'c>(x: Num<'c>, facts: Option<&Arithmetic>) -> Num<'c> {
    let f = x.format();
    let one = x.number(1.0);
    // Half a unit for each of the two, at most doubled where the result is just below a power of two.
    if facts.is_some_and(|a| a.div_ulp <= 0.5 && a.sqrt_ulp <= 0.5) {
        return one / x.sqrt();
    }
    let bits = x.magnitude();
    let subnormal = bits.below(f.hidden());
    // A subnormal number is its bits times 2^−(bias + mantissa − 1); an even power has a root.
    let up = (f.bias + f.mantissa - 1).next_multiple_of(2) as i32;
    let odd = up as u64 - (f.bias + f.mantissa - 1);
    let lifted = bits.cast(f.float) * 2f64.powi(odd as i32);
    let normal = subnormal.choose(lifted, x);
    let y = one / normal.sqrt();
    let off = x.number(1.0) - (normal * y) * y;
    let y = y + (y * 0.5) * off;
    let y = y * subnormal.choose(x.number(2f64.powi(up / 2)), one);
    // Infinities, zeros and numbers below.
    let y = x.to_bits().eq(f.infinity()).choose(x.number(0.0), y);
    let y = x.to_bits().at_least(f.infinity() + 1).choose(x.constant(f.nan()), y);
    let infinity = (x.to_bits() & f.sign()) | f.infinity();
    bits.eq(0).choose(infinity.reinterpret(f.float), y)
}
