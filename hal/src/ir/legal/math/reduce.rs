//! An angle as a multiple of π/2 and a rest within ±π/4 (and a little): Cody and Waite's way for small ones, Payne and
//! Hanek's for large ("Radian reduction for trigonometric functions", 1983).
//!
//! No float but 0 is nearer to a multiple of π/2 than about 2⁻³⁰ (f32) or 2⁻⁶² (f64), so that the digits kept here leave
//! the rest with more than those of its type.

use super::{code::Num, wide::Wide};

pub(super) struct Reduced<'c> {
    /// Multiples of π/2: its low two bits count.
    pub quadrant: Num<'c>,
    pub rest: Wide<'c>,
}

/// π/2 in parts of 12 bits, so that a multiple below 2¹¹ of each but the last is exact in f32.
const PARTS_F32: [f64; 5] =
    [1.570556640625, 0.0002396702766418457, 1.5890691429376602e-8, 2.561506562415161e-12, 1.8375892746737375e-15];
/// In parts of 32 bits, for multiples below 2²⁰ in f64.
const PARTS_F64: [f64; 4] = [1.5707963267341256, 6.07710050359346e-11, 2.912732056084878e-20, 8.4784276603689e-32];

/// The leading 1216 bits of 2/π.
const TWO_OVER_PI: [u64; 19] = [
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
];

pub(super) fn reduce(x: Num<'_>) -> Reduced<'_> {
    let f = x.format();
    let near = by_parts(x);
    // 2037·π/2 and 1018591·π/2.
    let far = x.magnitude().at_least(f.of(f.pick(3200.0, 1.6e6)));
    let quadrant = near.quadrant.var("quadrant");
    let (high, low) = (near.rest.high.var("rest"), near.rest.low.var("rest_low"));
    far.any().when(|| {
        let r = by_bits(x);
        quadrant.set(far.choose(r.quadrant, near.quadrant));
        high.set(far.choose(r.rest.high, near.rest.high));
        low.set(far.choose(r.rest.low, near.rest.low));
    });
    Reduced { quadrant: quadrant.get(), rest: Wide { high: high.get(), low: low.get() } }
}

fn by_parts(x: Num<'_>) -> Reduced<'_> {
    let f = x.format();
    let n = (x * std::f64::consts::FRAC_2_PI).round();
    let parts = f.pick(&PARTS_F32[..], &PARTS_F64);
    let (last, exact) = parts.split_last().expect("π/2 has parts");
    // The first difference is exact, too: its bits lie between those of x and of n·part, and it is small.
    let mut high = x - n * exact[0];
    let mut low = x.number(0.0);
    for part in &exact[1..] {
        let s = Wide::sum(high, -(n * *part));
        (high, low) = (s.high, low + s.low);
    }
    let rest = Wide::sum(high, low - n * *last);
    Reduced { quadrant: n.cast(f.signed).reinterpret(f.word), rest }
}

/// x = m·2^e with a whole m, times those bits of 2/π that matter modulo 4: three words of them, times m modulo three
/// words. The highest two bits of the product count quarters, the others are the fraction of one.
fn by_bits(x: Num<'_>) -> Reduced<'_> {
    let f = x.format();
    let w = f.bits;
    let bits = x.magnitude();
    let m = (bits & f.mantissa_mask()) | f.hidden();
    // The bit of 2/π, after a word of zeros, that has the weight 2 when multiplied by m: at least 0 where x is large.
    let first = (bits >> f.mantissa) + (w - 2).wrapping_sub(f.bias + f.mantissa);
    let offset = first % w;
    let words = four_words(first / w);
    let word = |k: usize| (words[k] << offset) | ((words[k + 1] >> 1) >> (offset.constant(w - 1) - offset));
    let (low_high, low_low) = full_product(m, word(2));
    let (middle_high, middle_low) = full_product(m, word(1));
    let p2 = low_low;
    let p1 = low_high + middle_low;
    let carry = p1.lt(middle_low).choose(p1.constant(1), p1.constant(0));
    let p0 = m * word(0) + middle_high + carry;
    // To the nearest multiple; the fraction is a signed number.
    let quadrant = (p0 + (1u64 << (w - 3))) >> (w - 2);
    let p0 = (p0 << 2) | (p1 >> (w - 2));
    let p1 = (p1 << 2) | (p2 >> (w - 2));
    let p2 = p2 << 2;
    // Pieces of three quarters of a word, exact as floats.
    let (quarter, half) = (w / 4, w / 2);
    let c0 = (p0.reinterpret(f.signed) >> quarter).cast(f.float);
    let c1 = ((p0 & ((1 << quarter) - 1)) << half) | (p1 >> half);
    let c2 = ((p1 & ((1 << half) - 1)) << quarter) | (p2 >> (half + quarter));
    let unit = |n: i32| 2f64.powi(-n * (half + quarter) as i32);
    let c0 = c0 * unit(1);
    let c1 = c1.cast(f.float) * unit(2);
    let c2 = c2.cast(f.float) * unit(3);
    let s = Wide::quick(c0, c1);
    let fraction = Wide::quick(s.high, s.low + c2);
    let half_pi = Wide::constant(
        x,
        [1.570796251296997, 7.549790126404332e-8],
        [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17],
    );
    let rest = fraction.times(half_pi);
    let negative = x.to_bits().at_least(f.sign());
    Reduced {
        quadrant: negative.choose(quadrant.constant(0) - quadrant, quadrant),
        rest: Wide { high: negative.choose(-rest.high, rest.high), low: negative.choose(-rest.low, rest.low) },
    }
}

/// Words `at` to `at + 3` of 2/π, the first being a word of zeros: the table is moved by powers of two words.
fn four_words(at: Num<'_>) -> [Num<'_>; 4] {
    let f = at.format_of_word();
    let mut words: Vec<u64> = vec![0];
    match f.double {
        true => words.extend(TWO_OVER_PI),
        false => words.extend(TWO_OVER_PI[..4].iter().flat_map(|w| [w >> 32, w & 0xffff_ffff])),
    }
    // The largest exponents begin at word 16 and 4.
    let mut words: Vec<Num<'_>> = words.into_iter().map(|w| at.constant(w)).collect();
    let mut step = f.pick(4, 16);
    while step > 0 {
        let moves = (at & step).ne(0);
        let step_words = step as usize;
        // What later steps can still reach.
        let left = words.len().min(step_words + 3);
        words = (0..left)
            .map(|i| match words.get(i + step_words) {
                Some(other) => moves.choose(*other, words[i]),
                None => words[i],
            })
            .collect();
        step /= 2;
    }
    [words[0], words[1], words[2], words[3]]
}

/// The high and the low word of a product, by half words.
fn full_product<'c>(a: Num<'c>, b: Num<'c>) -> (Num<'c>, Num<'c>) {
    let half = a.format_of_word().bits / 2;
    let mask = (1u64 << half) - 1;
    let ((a1, a0), (b1, b0)) = ((a >> half, a & mask), (b >> half, b & mask));
    let low = a0 * b0;
    // Neither sum overflows: (2^h − 1)² + 2(2^h − 1) = 2^2h − 1.
    let first = a1 * b0 + (low >> half);
    let second = a0 * b1 + (first & mask);
    (a1 * b1 + (first >> half) + (second >> half), a * b)
}
