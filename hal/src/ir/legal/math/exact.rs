//! [`Numerics::Exact`](crate::info::Numerics::Exact): one right result for every operation on f32 and f64.
//!
//! `MulAdd` becomes a product and a sum, each rounded. Minimum and maximum say which of two zeros they take, and what rounds to a whole
//! number keeps the sign of its operand. Quotients and roots that the device does not promise to round correctly are begun by the device
//! and finished by integers: its result, off by some units in the last place, gives a quotient of two bits more than a mantissa holds; the
//! remainder, which fits an integer of the same size because it wraps, says by how much that is wrong, and where the result rounds to.

use super::{
    super::emit::{Emit, Pass, rewrite},
    code::{Format, Num},
};
use crate::{
    Result,
    info::{DeviceInfo, Numerics},
    ir::*,
};
use std::cell::RefCell;

/// How often a quotient is moved by one after it was corrected as a whole: the correction is itself begun by a division.
const STEPS: usize = 2;

struct Exact<'i> {
    info: &'i DeviceInfo,
}

/// Rewrites what leaves a choice, on devices that play the exact machine.
pub(in super::super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    match info.numerics {
        Numerics::Fast => Ok(()),
        Numerics::Exact => rewrite(e, &mut Exact { info }),
    }
}

impl Pass for Exact<'_> {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let Some(out) = inst.out else { return e.keep(inst, self) };
        let first = match inst.op {
            Op::MulAdd(x, ..) | Op::Binary(_, x, _) | Op::Unary(_, x) => x,
            _ => return e.keep(inst, self),
        };
        let elem = e.elem(first);
        let facts = match elem {
            Elem::D(d @ (crate::DType::F32 | crate::DType::F64)) => self.info.arithmetic.get(&d),
            _ => return e.keep(inst, self),
        };
        let rounds = |ulp: fn(&crate::info::Arithmetic) -> f32| facts.is_some_and(|a| ulp(a) <= 0.5);
        let code = RefCell::new(&mut *e);
        let num = |v: Value| Num::new(&code, v);
        let y = match inst.op {
            Op::MulAdd(a, b, c) => num(a) * num(b) + num(c),
            Op::Binary(BinaryOp::Div, x, y) if !rounds(|a| a.div_ulp) => div(num(x), num(y)),
            Op::Unary(UnaryOp::Sqrt, x) if !rounds(|a| a.sqrt_ulp) => sqrt(num(x)),
            Op::Binary(BinaryOp::Min, x, y) => choose(num(x), num(x).lt(num(y)), num(y)),
            Op::Binary(BinaryOp::Max, x, y) => choose(num(x), num(x).gt(num(y)), num(y)),
            Op::Unary(f @ (UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc), x) => {
                let x = num(x);
                signed_as(x.whole(f), x)
            }
            _ => return e.keep(inst, self),
        };
        let y = y.value;
        e.rename(out, y);
        Ok(())
    }
}

/// The first where it is the better or no number, else the second.
fn choose<'c>(x: Num<'c>, better: Num<'c>, y: Num<'c>) -> Num<'c> {
    let nan = x.magnitude().at_least(x.format().infinity() + 1);
    (better | nan).choose(x, y)
}

/// The magnitude of one with the sign of the other.
fn signed_as<'c>(y: Num<'c>, x: Num<'c>) -> Num<'c> {
    let f = x.format();
    (y.magnitude() | (x.to_bits() & f.sign())).reinterpret(f.float)
}

/// A number that is neither 0 nor infinite: its mantissa with the highest bit at [`Format::mantissa`], and its exponent, biased and signed.
/// What is subnormal has exponents below 1.
fn parts<'c>(magnitude: Num<'c>, f: Format) -> (Num<'c>, Num<'c>) {
    let normal = magnitude.at_least(f.hidden());
    let stored = magnitude & f.mantissa_mask();
    let mantissa = normal.choose(stored | f.hidden(), stored);
    // The exponent of a whole number is where its highest bit stands.
    let top = (mantissa.cast(f.float).to_bits() >> f.mantissa) - f.bias;
    let shift = mantissa.constant(f.mantissa) - top;
    let exponent = normal.choose(magnitude >> f.mantissa, magnitude.constant(1));
    // Of 0 there is no highest bit; what comes of it is not used.
    let shift = magnitude.eq(0).choose(mantissa.constant(0), shift);
    (mantissa << shift, (exponent - shift).reinterpret(f.signed))
}

/// A whole number of floats, cut off.
fn whole<'c>(x: Num<'c>, to: crate::DType) -> Num<'c> {
    x.trunc().cast(to)
}

/// x / y, to nearest, ties to even.
fn div<'c>(x: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = x.format();
    let (ax, ay) = (x.magnitude(), y.magnitude());
    let ((mx, ex), (my, ey)) = (parts(ax, f), parts(ay, f));
    let my = my.eq(0).choose(my.constant(1), my);
    let less = mx.lt(my);
    let mx = less.choose(mx << 1, mx);
    let one = ex.constant(1);
    let exponent = ex - ey + f.bias - less.choose(one, ex.constant(0));
    // Two bits more than the mantissa has.
    let (fx, fy) = (mx.cast(f.float), my.cast(f.float));
    let begun = whole((fx / fy) * 2f64.powi(f.mantissa as i32 + 2), f.word);
    let rest = |q: Num<'c>| ((mx << (f.mantissa + 2)) - q * my).reinterpret(f.signed);
    let off = whole(rest(begun).cast(f.float) / fy, f.signed);
    let mut q = begun + off.reinterpret(f.word);
    let mut r = rest(q);
    let y_signed = my.reinterpret(f.signed);
    let zero = r.constant(0);
    for _ in 0..STEPS {
        let low = r.lt(zero);
        q = low.choose(q - 1, q);
        r = low.choose(r + y_signed, r);
        let high = r.ge(y_signed);
        q = high.choose(q + 1, q);
        r = high.choose(r - y_signed, r);
    }
    // Subnormal results keep fewer bits; beyond the mantissa nothing is left but 0.
    let below = one - exponent;
    let below = below.lt(zero).choose(zero, below);
    let most = below.constant(f.mantissa + 2);
    let drop = below.lt(most).choose(below, most).reinterpret(f.word) + 2;
    let unit = q.constant(1);
    let kept = q >> drop;
    let (left, half) = (q & ((unit << drop) - 1), unit << (drop - 1));
    let odd = (kept & 1).ne(0);
    let up = left.gt(half) | (left.same(half) & (r.ne(0) | odd));
    let rounded = kept + up.choose(unit, q.constant(0));
    let normal = ((exponent - 1).reinterpret(f.word) << f.mantissa) + rounded;
    let bits = exponent.lt(one).choose(rounded, normal);
    let bits = exponent.at_least(2 * f.bias + 1).choose(bits.constant(f.infinity()), bits);
    let (x_infinite, y_infinite) = (ax.eq(f.infinity()), ay.eq(f.infinity()));
    let (x_zero, y_zero) = (ax.eq(0), ay.eq(0));
    let bits = (x_zero | y_infinite).choose(bits.constant(0), bits);
    let bits = (x_infinite | y_zero).choose(bits.constant(f.infinity()), bits);
    let none = (x_zero & y_zero) | (x_infinite & y_infinite) | is_nan(ax, f) | is_nan(ay, f);
    let sign = (x.to_bits() ^ y.to_bits()) & f.sign();
    none.choose(bits.constant(f.nan()), bits | sign).reinterpret(f.float)
}

/// √x, to nearest: there are no ties.
fn sqrt<'c>(x: Num<'c>) -> Num<'c> {
    let f = x.format();
    let a = x.magnitude();
    let (m, biased) = parts(a, f);
    let e = biased - f.bias;
    let odd = (e & 1).ne(0);
    let m = odd.choose(m << 1, m);
    // Arithmetic: half of the even exponent.
    let half = (e - odd.choose(e.constant(1), e.constant(0))) >> 1;
    // One bit more than the mantissa has.
    let scale = 2f64.powi(-(f.mantissa as i32));
    let begun = whole((m.cast(f.float) * scale).sqrt() * 2f64.powi(f.mantissa as i32 + 1), f.word);
    let rest = |s: Num<'c>| ((m << (f.mantissa + 2)) - s * s).reinterpret(f.signed);
    let off = whole(rest(begun).cast(f.float) / (begun << 1).cast(f.float), f.signed);
    let mut s = begun + off.reinterpret(f.word);
    let mut r = rest(s);
    let zero = r.constant(0);
    for _ in 0..STEPS {
        let low = r.lt(zero);
        s = low.choose(s - 1, s);
        r = low.choose(r + ((s << 1) + 1).reinterpret(f.signed), r);
        let twice = (s << 1).reinterpret(f.signed);
        let high = r.gt(twice);
        r = high.choose(r - (twice + 1), r);
        s = high.choose(s + 1, s);
    }
    let rounded = (s >> 1) + (s & 1);
    let bits = ((half + (f.bias - 1)).reinterpret(f.word) << f.mantissa) + rounded;
    let bits = a.eq(f.infinity()).choose(a, bits);
    let negative = (x.to_bits() & f.sign()).ne(0);
    let bits = (negative | is_nan(a, f)).choose(bits.constant(f.nan()), bits);
    a.eq(0).choose(x.to_bits(), bits).reinterpret(f.float)
}

fn is_nan<'c>(magnitude: Num<'c>, f: Format) -> Num<'c> {
    magnitude.at_least(f.infinity() + 1)
}
