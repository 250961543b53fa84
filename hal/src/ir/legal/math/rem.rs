//! x − y·trunc(x/y), exactly: long division of the mantissas by as many bits a round as an integer has room for.

use super::code::Num;

pub(super) fn rem<'c>(x: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = x.format();
    let (ax, ay) = (x.magnitude(), y.magnitude());
    let exponent = |a: Num<'c>| {
        let e = a >> f.mantissa;
        e.eq(0).choose(e.constant(1), e)
    };
    // A number is its mantissa times 2^(exponent − bias − bits of the mantissa), subnormal or not.
    let mantissa = |a: Num<'c>| {
        let m = a & f.mantissa_mask();
        a.below(f.hidden()).choose(m, m | f.hidden())
    };
    let (ex, ey) = (exponent(ax), exponent(ay));
    let less = ax.lt(ay);
    let distance = less.choose(ex.constant(0), ex - ey);
    let divisor = mantissa(ay);
    let divisor = divisor.eq(0).choose(divisor.constant(1), divisor);
    let room = f.bits - f.mantissa - 1;
    let rounds = (distance / room).cast(crate::DType::U32);
    let left = (mantissa(ax) % divisor).var("left");
    rounds.across(Num::max).times(|round| {
        let before = left.get();
        let after = (before << room) % divisor;
        left.set(round.splat(rounds).lt(rounds).choose(after, before));
    });
    let m = (left.get() << (distance % room)) % divisor;

    // The exponent of a whole number is where its highest bit stands.
    let top = (m.cast(f.float).to_bits() >> f.mantissa) - f.bias;
    let shift = m.constant(f.mantissa) - top;
    let normal = ((m << shift) & f.mantissa_mask()) | ((ey - shift) << f.mantissa);
    let subnormal = m << (ey - 1);
    let bits = shift.lt(ey).choose(normal, subnormal);
    let bits = m.eq(0).choose(m, bits);
    let bits = (bits | (x.to_bits() & f.sign())).reinterpret(f.float);
    let y_is_nan = ay.at_least(f.infinity() + 1);
    let no_number = ax.at_least(f.infinity()) | y_is_nan | ay.eq(0);
    no_number.choose(x.constant(f.nan()), less.choose(x, bits))
}
