//! Arithmetic of pairs of words; every result has the lanes of its operands.

use super::super::emit::Emit;
use crate::ir::*;

/// Low and high words of an integer, or of the lanes of a vector.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub low: Value,
    pub high: Value,
}

pub(super) fn constant(e: &mut Emit, lanes: u8, bits: u64) -> Pair {
    let ty = Type::vector(DType::U32, lanes);
    Pair { low: e.bits(ty, bits & 0xffff_ffff), high: e.bits(ty, bits >> 32) }
}

/// The low word with zeros above.
pub(super) fn extended(e: &mut Emit, low: Value) -> Pair {
    let high = e.bits(e.ty(low), 0);
    Pair { low, high }
}

fn signed(e: &mut Emit, x: Value) -> Value {
    e.bitcast(DType::I32, x)
}

/// All bits the sign's.
pub(super) fn sign_mask(e: &mut Emit, high: Value) -> Value {
    let s = signed(e, high);
    let s = e.bin_c(BinaryOp::Shr, s, 31);
    e.bitcast(DType::U32, s)
}

pub(super) fn add(e: &mut Emit, a: Pair, b: Pair) -> Pair {
    let low = e.add(a.low, b.low);
    let carry = e.cmp(CmpOp::Lt, low, a.low);
    let carry = e.cast(DType::U32, carry);
    let high = e.add(a.high, b.high);
    Pair { low, high: e.add(high, carry) }
}

/// The sum of pairs of many lanes by sums of words: each of 16 bits, no sum of up to 65,536 lanes overflows.
pub(super) fn sum_by_halves(e: &mut Emit, x: Pair, sum: impl Fn(&mut Emit, Value) -> Value) -> Pair {
    let [s0, s1, s2, s3] = [(x.low, false), (x.low, true), (x.high, false), (x.high, true)].map(|(word, upper)| {
        let half = if upper { e.bin_c(BinaryOp::Shr, word, 16) } else { e.bin_c(BinaryOp::And, word, 0xffff) };
        sum(e, half)
    });
    let lowest = extended(e, s0);
    let next = Pair { low: e.bin_c(BinaryOp::Shl, s1, 16), high: e.bin_c(BinaryOp::Shr, s1, 16) };
    let Pair { low, high } = add(e, lowest, next);
    let top = e.bin_c(BinaryOp::Shl, s3, 16);
    let high = e.add(high, s2);
    Pair { low, high: e.add(high, top) }
}

pub(super) fn sub(e: &mut Emit, a: Pair, b: Pair) -> Pair {
    let borrow = e.cmp(CmpOp::Lt, a.low, b.low);
    let borrow = e.cast(DType::U32, borrow);
    let high = e.sub(a.high, b.high);
    Pair { low: e.sub(a.low, b.low), high: e.sub(high, borrow) }
}

pub(super) fn each(e: &mut Emit, op: BinaryOp, a: Pair, b: Pair) -> Pair {
    Pair { low: e.bin(op, a.low, b.low), high: e.bin(op, a.high, b.high) }
}

pub(super) fn choose(e: &mut Emit, c: Value, a: Pair, b: Pair) -> Pair {
    Pair { low: e.select(c, a.low, b.low), high: e.select(c, a.high, b.high) }
}

pub(super) fn is_zero(e: &mut Emit, a: Pair) -> Value {
    let any = e.bin(BinaryOp::Or, a.low, a.high);
    e.cmp_c(CmpOp::Eq, any, 0)
}

pub(super) fn negate(e: &mut Emit, a: Pair) -> Pair {
    let zero = constant(e, e.ty(a.low).lanes(), 0);
    sub(e, zero, a)
}

pub(super) fn less(e: &mut Emit, a: Pair, b: Pair, is_signed: bool) -> Value {
    let (x, y) = match is_signed {
        true => (signed(e, a.high), signed(e, b.high)),
        false => (a.high, b.high),
    };
    let above = e.cmp(CmpOp::Lt, x, y);
    let same = e.cmp(CmpOp::Eq, a.high, b.high);
    let below = e.cmp(CmpOp::Lt, a.low, b.low);
    let below = e.bin(BinaryOp::And, same, below);
    e.bin(BinaryOp::Or, above, below)
}

/// Both words of the product of two words, by halves.
fn product(e: &mut Emit, a: Value, b: Value) -> Pair {
    let (a0, b0) = (e.bin_c(BinaryOp::And, a, 0xffff), e.bin_c(BinaryOp::And, b, 0xffff));
    let (a1, b1) = (e.bin_c(BinaryOp::Shr, a, 16), e.bin_c(BinaryOp::Shr, b, 16));
    let (p00, p01, p10, p11) = (e.mul(a0, b0), e.mul(a0, b1), e.mul(a1, b0), e.mul(a1, b1));
    // At most 3 · (2^16 − 1): no carry is lost.
    let top = e.bin_c(BinaryOp::Shr, p00, 16);
    let (x, y) = (e.bin_c(BinaryOp::And, p01, 0xffff), e.bin_c(BinaryOp::And, p10, 0xffff));
    let middle = e.add(top, x);
    let middle = e.add(middle, y);
    let (x, y) = (e.bin_c(BinaryOp::Shr, p01, 16), e.bin_c(BinaryOp::Shr, p10, 16));
    let carry = e.bin_c(BinaryOp::Shr, middle, 16);
    let high = e.add(p11, x);
    let high = e.add(high, y);
    Pair { low: e.mul(a, b), high: e.add(high, carry) }
}

pub(super) fn mul(e: &mut Emit, a: Pair, b: Pair) -> Pair {
    let p = product(e, a.low, b.low);
    let (x, y) = (e.mul(a.low, b.high), e.mul(a.high, b.low));
    let high = e.add(p.high, x);
    Pair { low: p.low, high: e.add(high, y) }
}

/// Left by 0 to 63, per lane.
pub(super) fn shift(e: &mut Emit, op: BinaryOp, a: Pair, by: Value, is_signed: bool) -> Pair {
    let small = e.bin_c(BinaryOp::And, by, 31);
    let rest = e.bin_c(BinaryOp::Xor, small, 31);
    let large = e.bin_c(BinaryOp::And, by, 32);
    let large = e.cmp_c(CmpOp::Ne, large, 0);
    if op == BinaryOp::Shl {
        let moved = e.bin(BinaryOp::Shl, a.low, small);
        // Down by 32 − small in two steps, since nothing must come over where small is 0.
        let over = e.bin_c(BinaryOp::Shr, a.low, 1);
        let over = e.bin(BinaryOp::Shr, over, rest);
        let high = e.bin(BinaryOp::Shl, a.high, small);
        let high = e.bin(BinaryOp::Or, high, over);
        let zero = e.bits(e.ty(a.low), 0);
        return Pair { low: e.select(large, zero, moved), high: e.select(large, moved, high) };
    }
    let moved = match is_signed {
        true => {
            let (high, small) = (signed(e, a.high), signed(e, small));
            let moved = e.bin(BinaryOp::Shr, high, small);
            e.bitcast(DType::U32, moved)
        }
        false => e.bin(BinaryOp::Shr, a.high, small),
    };
    let over = e.bin_c(BinaryOp::Shl, a.high, 1);
    let over = e.bin(BinaryOp::Shl, over, rest);
    let low = e.bin(BinaryOp::Shr, a.low, small);
    let low = e.bin(BinaryOp::Or, low, over);
    let fill = if is_signed { sign_mask(e, a.high) } else { e.bits(e.ty(a.low), 0) };
    Pair { low: e.select(large, moved, low), high: e.select(large, fill, moved) }
}

/// Quotient and remainder of numbers without a sign, bit by bit; by zero: quotient of ones, remainder `a`.
fn long_division(e: &mut Emit, a: Pair, b: Pair) -> (Pair, Pair) {
    let ty = e.ty(a.low);
    let names = ["n_low", "n_high", "r_low", "r_high"];
    let [n0, n1, r0, r1] = names.map(|n| e.var(n, ty));
    let zero = e.bits(ty, 0);
    for (var, x) in [(n0, a.low), (n1, a.high), (r0, zero), (r1, zero)] {
        e.effect(Op::Set(var, x));
    }
    let (from, to, step) = (e.u32(0), e.u32(64), e.u32(1));
    e.count(from, to, step, |e, _| {
        let n = Pair { low: e.get(n0), high: e.get(n1) };
        let r = Pair { low: e.get(r0), high: e.get(r1) };
        let lost = e.bin_c(BinaryOp::Shr, r.high, 31);
        let one = e.bits(ty, 1);
        let twice = shift(e, BinaryOp::Shl, r, one, false);
        let top = e.bin_c(BinaryOp::Shr, n.high, 31);
        let r = Pair { low: e.bin(BinaryOp::Or, twice.low, top), high: twice.high };
        let below = less(e, r, b, false);
        let fits = e.un(UnaryOp::Not, below);
        let lost = e.cmp_c(CmpOp::Ne, lost, 0);
        let fits = e.bin(BinaryOp::Or, fits, lost);
        let smaller = sub(e, r, b);
        let r = choose(e, fits, smaller, r);
        let n = shift(e, BinaryOp::Shl, n, one, false);
        let bit = e.cast(DType::U32, fits);
        let low = e.bin(BinaryOp::Or, n.low, bit);
        for (var, x) in [(n0, low), (n1, n.high), (r0, r.low), (r1, r.high)] {
            e.effect(Op::Set(var, x));
        }
    });
    let n = Pair { low: e.get(n0), high: e.get(n1) };
    (n, Pair { low: e.get(r0), high: e.get(r1) })
}

/// Quotient and remainder without a sign. Scalars that fit 32 bits, as most do, are divided as such.
fn divide_unsigned(e: &mut Emit, a: Pair, b: Pair) -> (Pair, Pair) {
    let ty = e.ty(a.low);
    if ty.lanes() > 1 {
        return long_division(e, a, b);
    }
    let vars = ["q_low", "q_high", "m_low", "m_high"].map(|n| e.var(n, ty));
    let set = |e: &mut Emit, values: [Value; 4]| {
        for (var, x) in vars.into_iter().zip(values) {
            e.effect(Op::Set(var, x));
        }
    };
    let high = e.bin(BinaryOp::Or, a.high, b.high);
    let cond = e.cmp_c(CmpOp::Eq, high, 0);
    e.begin();
    let zero = e.bits(ty, 0);
    let short = [e.bin(BinaryOp::Div, a.low, b.low), zero, e.bin(BinaryOp::Rem, a.low, b.low), zero];
    set(e, short);
    let then = e.end();
    e.begin();
    let (q, m) = long_division(e, a, b);
    set(e, [q.low, q.high, m.low, m.high]);
    let otherwise = e.end();
    e.effect(Op::If { cond, then, otherwise });
    let [q0, q1, m0, m1] = vars.map(|v| e.get(v));
    (Pair { low: q0, high: q1 }, Pair { low: m0, high: m1 })
}

pub(super) fn size(e: &mut Emit, a: Pair) -> Pair {
    let sign = sign_mask(e, a.high);
    let negative = e.cmp_c(CmpOp::Ne, sign, 0);
    let minus = negate(e, a);
    choose(e, negative, minus, a)
}

/// `x / 0 = 0`, `x % 0 = 0`; towards zero, the remainder has the dividend's sign.
pub(super) fn divide(e: &mut Emit, a: Pair, b: Pair, is_signed: bool, rem: bool) -> Pair {
    let by_zero = is_zero(e, b);
    let (x, y) = if is_signed { (size(e, a), size(e, b)) } else { (a, b) };
    let (q, m) = divide_unsigned(e, x, y);
    let mut out = if rem { m } else { q };
    if is_signed {
        let bits = if rem { a.high } else { e.bin(BinaryOp::Xor, a.high, b.high) };
        let sign = sign_mask(e, bits);
        let negative = e.cmp_c(CmpOp::Ne, sign, 0);
        let minus = negate(e, out);
        out = choose(e, negative, minus, out);
    }
    let zero = constant(e, e.ty(a.low).lanes(), 0);
    choose(e, by_zero, zero, out)
}

/// Leading zeros of both words, u32.
pub(super) fn leading_zeros(e: &mut Emit, a: Pair) -> Value {
    let (low, high) = (e.un(UnaryOp::LeadingZeros, a.low), e.un(UnaryOp::LeadingZeros, a.high));
    let low = e.bin_c(BinaryOp::Add, low, 32);
    let none = e.cmp_c(CmpOp::Eq, a.high, 0);
    e.select(none, low, high)
}

/// The nearest f32, ties to even: the leading 31 bits, the last of them set where anything is below, are converted, which
/// rounds once, and scaled by a power of two, which rounds nothing. Not 32: SwiftShader rounds numbers of that many bits twice.
pub(super) fn to_float(e: &mut Emit, a: Pair, is_signed: bool) -> Value {
    let lanes = e.ty(a.low).lanes();
    let n = if is_signed { size(e, a) } else { a };
    let zeros = leading_zeros(e, n);
    let by = e.bin_c(BinaryOp::Min, zeros, 63);
    let m = shift(e, BinaryOp::Shl, n, by, false);
    let below = e.cmp_c(CmpOp::Ne, m.low, 0);
    let below = e.cast(DType::U32, below);
    let last = e.bin_c(BinaryOp::And, m.high, 1);
    let below = e.bin(BinaryOp::Or, last, below);
    let top = e.bin_c(BinaryOp::Shr, m.high, 1);
    let top = e.bin(BinaryOp::Or, top, below);
    let top = signed(e, top);
    let x = e.cast(DType::F32, top);
    // 2^(33 − by), of 2^−30 to 2^33.
    let exponent = e.bits(Type::vector(DType::U32, lanes), 127 + 33);
    let exponent = e.sub(exponent, by);
    let scale = e.bin_c(BinaryOp::Shl, exponent, 23);
    let scale = e.bitcast(DType::F32, scale);
    let x = e.mul(x, scale);
    if !is_signed {
        return x;
    }
    let sign = sign_mask(e, a.high);
    let negative = e.cmp_c(CmpOp::Ne, sign, 0);
    let minus = e.un(UnaryOp::Neg, x);
    e.select(negative, minus, x)
}

/// f32 towards zero, saturating, NaN gives 0.
pub(super) fn from_float(e: &mut Emit, x: Value, is_signed: bool) -> Pair {
    let lanes = e.ty(x).lanes();
    let whole = e.un(UnaryOp::Trunc, x);
    let a = e.un(UnaryOp::Abs, whole);
    let down = e.like(a, 2f64.powi(-32));
    let up = e.like(a, 2f64.powi(32));
    // A number of 24 bits: each step is exact.
    let scaled = e.mul(a, down);
    let high = e.un(UnaryOp::Trunc, scaled);
    let above = e.mul(high, up);
    let low = e.sub(a, above);
    let n = Pair { low: e.cast(DType::U32, low), high: e.cast(DType::U32, high) };
    let zero = e.like(x, 0.0);
    let negative = e.cmp(CmpOp::Lt, x, zero);
    let nothing = constant(e, lanes, 0);
    let (limit, most, least) = match is_signed {
        true => (2f64.powi(63), i64::MAX as u64, i64::MIN as u64),
        false => (2f64.powi(64), u64::MAX, 0),
    };
    let minus = if is_signed { negate(e, n) } else { nothing };
    let limit = e.like(a, limit);
    let over = e.cmp(CmpOp::Ge, a, limit);
    let (most, least) = (constant(e, lanes, most), constant(e, lanes, least));
    let end = choose(e, negative, least, most);
    let n = choose(e, negative, minus, n);
    let n = choose(e, over, end, n);
    let nan = e.un(UnaryOp::IsNan, x);
    choose(e, nan, nothing, n)
}
