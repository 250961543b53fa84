//! x^y = ±2^(y·log₂|x|) with the logarithm in twice the digits of the type, and the edge values of C.

use super::{
    code::{Num, poly},
    exp, log,
    wide::Wide,
};

/// (artanh s / s − 1 − s²/3)/s⁴ by s²; error 2⁻³³ and 2⁻⁶⁹ of artanh s.
const ATANH_F32: [f64; 3] = [0.2000000764, 0.1428107206, 0.1152620098];
const ATANH_F64: [f64; 8] = [
    0.2,
    0.14285714285714696,
    0.1111111111081936,
    0.09090909169637089,
    0.07692297274411096,
    0.06667413569200566,
    0.05852818389871431,
    0.05864716429033647,
];

/// log₂ of the float with these positive finite bits: e + 2 log₂e · artanh s, s = (m − 1)/(m + 1), |s| ≤ 0.172.
fn log2<'c>(bits: Num<'c>, like: Num<'c>) -> Wide<'c> {
    let (e, f) = log::split(bits, like);
    let s = {
        let d = Wide::sum(like.number(2.0), f);
        let high = f / d.high;
        let p = Wide::product(high, d.high);
        let low = (((f - p.high) - p.low) - high * d.low) / d.high;
        Wide::quick(high, low)
    };
    let z = s.times(s);
    let third =
        Wide::constant(like, [0.3333333134651184, 9.934107758624577e-9], [0.3333333333333333, 1.850371707708594e-17]);
    let more = z.high * poly(z.high, like.format().pick(&ATANH_F32[..], &ATANH_F64));
    let u = third.plus(more).times(z).plus(like.number(1.0));
    let twice_log2_e =
        Wide::constant(like, [2.885390043258667, 3.851926067000022e-8], [2.8853900817779268, 4.0710547481862066e-17]);
    s.times(u).times(twice_log2_e).plus(e)
}

pub(super) fn pow<'c>(x: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = x.format();
    let (x_bits, y_bits) = (x.magnitude(), y.magnitude());
    let one = x.number(1.0);
    // Beyond this every power but that of ±1 overflows or vanishes; infinity counts as such.
    let most = f.of(f.pick(2f64.powi(35), 2f64.powi(65)));
    let bounded = y_bits.at_least(most).choose(y_bits.constant(most), y_bits);
    let bounded = (bounded | (y.to_bits() & f.sign())).reinterpret(f.float);
    let t = log2(x_bits, x).times_number(bounded);
    let near = exp::exp2_range(t.high);
    let n = near.round();
    let low = near.to_bits().same(t.high.to_bits()).choose(t.low, x.number(0.0));
    let size = exp::exp2_of_parts(n, (near - n) + low);

    let zero = x_bits.eq(0);
    let infinite = x_bits.eq(f.infinity());
    let x_negative = x.to_bits().at_least(f.sign());
    let y_negative = y.to_bits().at_least(f.sign());
    let infinity = x.constant(f.infinity());
    // 0^y and ∞^y.
    let size = zero.choose(y_negative.choose(infinity, x.number(0.0)), size);
    let size = infinite.choose(y_negative.choose(x.number(0.0), infinity), size);

    // From 2^(mantissa + 1) on every float is even, below 1 none but 0 is whole.
    let whole = y.trunc().same(y) & y_bits.at_least(f.of(1.0));
    let half = y * 0.5;
    let even = half.trunc().same(half);
    let small = y_bits.below(f.of(2f64.powi(f.mantissa as i32 + 1)));
    let whole_everywhere = whole | small.not();
    let odd = whole & small & even.not();
    let sign = (x_negative & odd).choose(x_bits.constant(f.sign()), x_bits.constant(0));
    let power = (size.to_bits() | sign).reinterpret(f.float);
    let no_number = x_negative & whole_everywhere.not() & zero.not() & infinite.not();
    let power = no_number.choose(x.constant(f.nan()), power);

    let nan = x_bits.at_least(f.infinity() + 1) | y_bits.at_least(f.infinity() + 1);
    let power = nan.choose(x.constant(f.nan()), power);
    (x.to_bits().eq(f.of(1.0)) | y_bits.eq(0)).choose(one, power)
}
