//! Elementary functions of numbers of 106 bits, for subjects that compute in doubles.
//!
//! Each is its series after a reduction of the argument, or follows from such a one by an identity; the error is below 2⁻⁹⁵ of the
//! result, except for [`pow`] (2⁻⁹⁵ of y·ln x besides). Special values are those of C.

use super::wide::Wide;

fn number(x: f64) -> Wide {
    Wide::from(x)
}

/// π/2 in four doubles: the third and fourth part for arguments far from 0.
const HALF_PI_PARTS: [f64; 4] =
    [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33, 5.562271104316826e-50];

/// eˣ − 1 for |x| ≤ 0.4: the series at x/512, then nine doublings.
fn expm1_small(x: Wide) -> Wide {
    let r = x.times_power(-9);
    let mut sum = Wide::ZERO;
    for n in (1..=9).rev() {
        sum = (sum + Wide::ONE) * r / number(n as f64);
    }
    for _ in 0..9 {
        sum = sum.times_power(1) + sum * sum;
    }
    sum
}

/// eˣ.
pub fn exp(x: Wide) -> Wide {
    if x.is_nan() || x.hi > 709.79 || x.hi < -745.14 {
        return number(x.hi.exp());
    }
    let k = (x.hi / std::f64::consts::LN_2).round();
    (expm1_small(x - Wide::LN_2 * number(k)) + Wide::ONE).times_power(k as i32)
}

/// 2ˣ.
pub fn exp2(x: Wide) -> Wide {
    if x.is_nan() || x.hi >= 1024.0 || x.hi < -1075.0 {
        return number(x.hi.exp2());
    }
    let k = x.hi.round();
    (expm1_small((x - number(k)) * Wide::LN_2) + Wide::ONE).times_power(k as i32)
}

/// eˣ − 1.
pub fn expm1(x: Wide) -> Wide {
    if x.hi.abs() < 0.3 {
        return if x.hi == 0.0 { x } else { expm1_small(x) };
    }
    exp(x) - Wide::ONE
}

/// 2 artanh s for |s| ≤ 0.2: its series.
fn two_atanh(s: Wide) -> Wide {
    let square = s * s;
    let mut sum = Wide::ZERO;
    for n in (1..=23).rev() {
        sum = (sum + Wide::ONE / number((2 * n + 1) as f64)) * square;
    }
    (s + s * sum).times_power(1)
}

/// ln(1+x).
pub fn log1p(x: Wide) -> Wide {
    if x.hi == 0.0 {
        return x;
    }
    if x.hi.abs() < 0.3 { two_atanh(x / (number(2.0) + x)) } else { log(Wide::ONE + x) }
}

/// Mantissa in about 0.7..1.41 and exponent.
fn split(x: Wide) -> (Wide, i32) {
    let lift = if x.hi < 1e-290 { 200 } else { 0 };
    let y = x.times_power(lift);
    let mut e = ((y.hi.to_bits() >> 52) as i32) - 1023;
    if y.times_power(-e).hi > std::f64::consts::SQRT_2 {
        e += 1;
    }
    (y.times_power(-e), e - lift)
}

/// ln x.
pub fn log(x: Wide) -> Wide {
    if x.is_nan() || x.hi <= 0.0 || !x.is_finite() {
        return number(x.hi.ln());
    }
    let (m, e) = split(x);
    let fraction = two_atanh((m - Wide::ONE) / (m + Wide::ONE));
    fraction + Wide::LN_2 * number(e as f64)
}

/// log₂ x, exact for powers of two.
pub fn log2(x: Wide) -> Wide {
    if x.is_nan() || x.hi <= 0.0 || !x.is_finite() {
        return number(x.hi.log2());
    }
    let (m, e) = split(x);
    two_atanh((m - Wide::ONE) / (m + Wide::ONE)) / Wide::LN_2 + number(e as f64)
}

/// sin x and cos x. Arguments up to 10¹⁵ only: beyond, the doubles of the C library.
pub fn sin_cos(x: Wide) -> (Wide, Wide) {
    if !x.is_finite() || x.hi.abs() > 1e15 {
        return (number(x.hi.sin()), number(x.hi.cos()));
    }
    let k = (x.hi / std::f64::consts::FRAC_PI_2).round();
    let mut r = x;
    for part in HALF_PI_PARTS {
        r = r - Wide::product(part, k);
    }
    let square = -(r * r);
    let series = |first: i32| {
        let mut sum = Wide::ZERO;
        for n in (0..16).rev() {
            let low = (2 * n + 1 + first) as f64;
            sum = (sum + Wide::ONE) * square / number(low * (low + 1.0));
        }
        sum + Wide::ONE
    };
    let (s, c) = (if r.hi == 0.0 { r } else { r * series(1) }, series(0));
    match (k as i64).rem_euclid(4) {
        0 => (s, c),
        1 => (c, -s),
        2 => (-s, -c),
        _ => (-c, s),
    }
}

/// sin x.
pub fn sin(x: Wide) -> Wide {
    sin_cos(x).0
}

/// cos x.
pub fn cos(x: Wide) -> Wide {
    sin_cos(x).1
}

/// tan x.
pub fn tan(x: Wide) -> Wide {
    let (s, c) = sin_cos(x);
    if s.hi == 0.0 { s } else { s / c }
}

/// arctan x: one step of Newton's from the double.
pub fn atan(x: Wide) -> Wide {
    let y = x.hi.atan();
    if x.hi == 0.0 || x.is_nan() {
        return x;
    }
    if !x.is_finite() {
        return if x.hi > 0.0 { Wide::HALF_PI } else { -Wide::HALF_PI };
    }
    let (s, c) = sin_cos(number(y));
    number(y) + (x * c - s) / (c + x * s)
}

/// arcsin x.
pub fn asin(x: Wide) -> Wide {
    if x.hi == 0.0 || x.is_nan() {
        return x;
    }
    if x.hi.abs() > 1.0 {
        return Wide::NAN;
    }
    atan(x / ((Wide::ONE - x) * (Wide::ONE + x)).sqrt())
}

/// arccos x.
pub fn acos(x: Wide) -> Wide {
    if x.is_nan() || x.hi.abs() > 1.0 {
        return Wide::NAN;
    }
    atan(((Wide::ONE - x) / (Wide::ONE + x)).sqrt()).times_power(1)
}

/// sinh x.
pub fn sinh(x: Wide) -> Wide {
    if x.hi == 0.0 || !x.is_finite() || x.hi.abs() > 711.0 {
        return number(x.hi.sinh());
    }
    let a = x.abs();
    let half = if a.hi > 40.0 {
        let root = exp(a.times_power(-1));
        root.times_power(-1) * root
    } else {
        let e = expm1(a);
        (e + e / (e + Wide::ONE)).times_power(-1)
    };
    if x.hi < 0.0 { -half } else { half }
}

/// cosh x.
pub fn cosh(x: Wide) -> Wide {
    if !x.is_finite() || x.hi.abs() > 711.0 {
        return number(x.hi.cosh());
    }
    let root = exp(x.abs().times_power(-1));
    root.times_power(-1) * root + (Wide::ONE / root).times_power(-1) / root
}

/// tanh x.
pub fn tanh(x: Wide) -> Wide {
    if x.hi == 0.0 || x.is_nan() || x.hi.abs() > 40.0 {
        return number(x.hi.tanh());
    }
    let e = expm1(x.abs().times_power(1));
    let y = e / (e + number(2.0));
    if x.hi < 0.0 { -y } else { y }
}

/// arsinh x.
pub fn asinh(x: Wide) -> Wide {
    if x.hi == 0.0 || !x.is_finite() {
        return x;
    }
    let a = x.abs();
    let y =
        if a.hi > 1e100 { log(a) + Wide::LN_2 } else { log1p(a + a * a / (Wide::ONE + (Wide::ONE + a * a).sqrt())) };
    if x.hi < 0.0 { -y } else { y }
}

/// arcosh x.
pub fn acosh(x: Wide) -> Wide {
    if x.is_nan() || x.hi < 1.0 || !x.is_finite() {
        return number(x.hi.acosh());
    }
    if x.hi > 1e100 {
        return log(x) + Wide::LN_2;
    }
    let t = x - Wide::ONE;
    log1p(t + (t.times_power(1) + t * t).sqrt())
}

/// artanh x.
pub fn atanh(x: Wide) -> Wide {
    if x.is_nan() || x.hi.abs() >= 1.0 || x.hi == 0.0 {
        return number(x.hi.atanh());
    }
    log1p(x.times_power(1) / (Wide::ONE - x)).times_power(-1)
}

/// The error function: 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1)/(2n+1)!!, whose terms have one sign.
pub fn erf(x: Wide) -> Wide {
    if x.hi == 0.0 || x.is_nan() || x.hi.abs() > 9.0 {
        return number(libm::erf(x.hi));
    }
    let square = x * x;
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.hi.abs() > sum.hi.abs() * 1e-33 {
        n += 1.0;
        term = term * square.times_power(1) / number(2.0 * n + 1.0);
        sum = sum + term;
    }
    Wide::TWO_OVER_ROOT_PI * exp(-square) * sum
}

/// xʸ for x > 0, by exp and log; the rest as C has it.
pub fn pow(x: Wide, y: Wide) -> Wide {
    if x == Wide::ONE {
        return Wide::ONE;
    }
    let plain = x.hi.powf(y.hi);
    if !plain.is_finite() || plain == 0.0 || y.hi == 0.0 || !y.is_finite() || x.hi == 0.0 || !x.is_finite() {
        return number(plain);
    }
    let size = exp(y * log(x.abs()));
    if plain < 0.0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(what: &str, a: Wide, b: Wide, bound: f64) {
        let off = (a - b).hi.abs() / b.hi.abs().max(f64::MIN_POSITIVE);
        assert!(off <= bound, "{what}: {a:?} and {b:?} differ by {off:e}");
    }

    fn steps(low: f64, high: f64) -> impl Iterator<Item = Wide> {
        (0..400).map(move |i| Wide::sum(low + (high - low) * i as f64 / 400.0, 1e-19 * i as f64))
    }

    /// The C library's doubles are right to a unit in the last place.
    #[test]
    fn the_first_part_is_that_of_the_c_library() {
        type Pair = (&'static str, fn(Wide) -> Wide, fn(f64) -> f64, f64, f64);
        let pairs: [Pair; 20] = [
            ("exp", exp, f64::exp, -700.0, 700.0),
            ("exp2", exp2, f64::exp2, -1000.0, 1000.0),
            ("expm1", expm1, f64::exp_m1, -3.0, 3.0),
            ("log", log, f64::ln, 1e-300, 1e3),
            ("log near 1", log, f64::ln, 0.999, 1.001),
            ("log2", log2, f64::log2, 1e-3, 1e3),
            ("log1p", log1p, f64::ln_1p, -0.99, 5.0),
            ("sin", sin, f64::sin, -1e5, 1e5),
            ("cos", cos, f64::cos, -10.0, 10.0),
            ("tan", tan, f64::tan, -1e3, 1e3),
            ("atan", atan, f64::atan, -50.0, 50.0),
            ("asin", asin, libm::asin, -1.0, 1.0),
            ("acos", acos, libm::acos, -1.0, 1.0),
            ("sinh", sinh, libm::sinh, -60.0, 60.0),
            ("cosh", cosh, libm::cosh, -60.0, 60.0),
            ("tanh", tanh, libm::tanh, -20.0, 20.0),
            ("asinh", asinh, libm::asinh, -60.0, 60.0),
            ("acosh", acosh, libm::acosh, 1.0, 60.0),
            ("atanh", atanh, libm::atanh, -0.999, 0.999),
            ("erf", erf, libm::erf, -6.0, 6.0),
        ];
        for (name, wide, double, low, high) in pairs {
            for x in steps(low, high) {
                let x = Wide::from(x.hi);
                let (w, d) = (wide(x), double(x.hi));
                let ulp = (f64::from_bits(d.abs().to_bits() + 1) - d.abs()).max(5e-324);
                assert!((w.hi - d).abs() <= 2.0 * ulp, "{name}({}): {w:?} and {d:e}", x.hi);
            }
        }
    }

    /// Identities hold in the second part too: nothing here is only a double.
    #[test]
    fn identities_hold_to_all_bits() {
        for x in steps(-20.0, 20.0) {
            near("exp of a sum", exp(x + number(1.0)), exp(x) * exp(Wide::ONE), 1e-29);
            near("exp(log)", log(exp(x)) + number(40.0), x + number(40.0), 1e-30);
            let (s, c) = sin_cos(x);
            near("sin² + cos²", s * s + c * c, Wide::ONE, 1e-30);
            near("sin 2x", sin(x.times_power(1)) + number(2.0), s * c.times_power(1) + number(2.0), 1e-30);
            near("atan(tan)", tan(atan(x)) + number(40.0), x + number(40.0), 1e-27);
            near("cosh² − sinh²", Wide::ONE + sinh(x) * sinh(x), cosh(x) * cosh(x), 1e-28);
            near("asinh(sinh)", asinh(sinh(x)) + number(40.0), x + number(40.0), 1e-29);
            near("2^x", exp2(x), exp(x * Wide::LN_2), 1e-29);
            near("log2", log2(exp2(x)) + number(40.0), x + number(40.0), 1e-29);
        }
        for x in steps(0.01, 3.0) {
            near("expm1(log1p)", expm1(log1p(x)), x, 1e-29);
            near("tanh", tanh(x), sinh(x) / cosh(x), 1e-29);
            near("atanh(tanh)", atanh(tanh(x)), x, 1e-27);
            near("pow", pow(x, number(3.0)), x * x * x, 1e-29);
            near("acosh(cosh)", acosh(cosh(x)), x, 1e-26);
        }
        for x in steps(-0.9, 0.9) {
            near("sin(asin)", sin(asin(x)) + number(2.0), x + number(2.0), 1e-29);
            near("cos(acos)", cos(acos(x)) + number(2.0), x + number(2.0), 1e-29);
        }
    }

    /// Digits from tables: e, ln 10, sin 1, erf 1, erf 3, and the sine of a large number.
    #[test]
    fn known_digits() {
        let split = |hi: f64, lo: f64| Wide::sum(hi, lo);
        near("e", exp(Wide::ONE), split(std::f64::consts::E, 1.4456468917292502e-16), 1e-31);
        near("ln 10", log(number(10.0)), split(std::f64::consts::LN_10, -2.1707562233822494e-16), 1e-31);
        near("sin 1", sin(Wide::ONE), split(0.8414709848078965, 1.776845092935536e-18), 1e-30);
        near("erf 1", erf(Wide::ONE), split(0.8427007929497149, -2.4801011789118602e-17), 1e-30);
        near("erf 3", erf(number(3.0)), split(0.9999779095030014, 5.363397058636269e-17), 1e-30);
        near("sin 123456789", sin(number(123456789.0)), split(0.9901147518020355, -8.980618906983069e-18), 1e-30);
    }
}
