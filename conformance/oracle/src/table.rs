//! Elementwise functions as data: meaning and largest error, one row per function.
//!
//! ULPs of f32 and f64 are those that the OpenCL specification's full profile allows (§7.4), which is the widest table in use; where a
//! function is a small difference of large numbers its row adds ULPs of the operand or of 1. f16 and bf16 are computed in f32 and
//! rounded once, so that they have no column. Rounding to nearest, division and roots are what the device declares.

use super::{
    format::Type,
    functions,
    number::{Arithmetic, Number, Subnormals},
    wide::Wide,
};

/// The largest error of a function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// None: the result is a value of the type.
    Exact,
    /// One addition or multiplication as the device declares them.
    Rounded,
    /// One division as the device declares it.
    Division,
    /// One square root as the device declares it.
    Root,
    /// Units in the last place, the sum of three parts.
    Ulps {
        /// ULPs of the result in f32.
        single: f64,
        /// ULPs of the result in f64.
        double: f64,
        /// ULPs of the operand.
        operand: f64,
        /// ULPs of 1.
        one: f64,
        /// Smallest normal numbers: what is lost where e^−x overflows before its reciprocal underflows.
        small: f64,
    },
}

impl Bound {
    const fn ulps(n: f64) -> Bound {
        Bound::beside(n, 0.0, 0.0)
    }

    const fn beside(n: f64, operand: f64, one: f64) -> Bound {
        Bound::Ulps { single: n, double: n, operand, one, small: 0.0 }
    }

    const fn early_underflow(n: f64, small: f64) -> Bound {
        Bound::Ulps { single: n, double: n, operand: 0.0, one: 0.0, small }
    }

    /// As a table prints it.
    pub fn text(self) -> String {
        match self {
            Bound::Exact => "exact".into(),
            Bound::Rounded => "correctly rounded where the device declares it, else 1 ULP".into(),
            Bound::Division => "ULPs of division as the device declares".into(),
            Bound::Root => "ULPs of the square root as the device declares".into(),
            Bound::Ulps { single, double, operand, one, small } => {
                let mut text = if single == double {
                    format!("{single} ULP")
                } else {
                    format!("{single} ULP in f32, {double} in f64")
                };
                if operand > 0.0 {
                    text += &format!(" + {operand} ULP of x");
                }
                if one > 0.0 {
                    text += &format!(" + {one} ULP of 1");
                }
                if small > 0.0 {
                    text += &format!(" + {small} × the smallest normal number");
                }
                text
            }
        }
    }
}

/// A function of one float.
#[derive(Debug, Clone, Copy)]
pub struct Unary {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
    /// In doubles, right to a few units of their last place.
    pub double: fn(f64) -> f64,
    /// To 106 bits, for f64; without it `double` is used, and its error allowed for.
    pub wide: Option<fn(Wide) -> Wide>,
    /// How far off.
    pub bound: Bound,
}

/// A function of two floats.
#[derive(Debug, Clone, Copy)]
pub struct Binary {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
    /// In doubles.
    pub double: fn(f64, f64) -> f64,
    /// To 106 bits.
    pub wide: Option<fn(Wide, Wide) -> Wide>,
    /// How far off; the operand of [`Bound::Ulps`] is the first.
    pub bound: Bound,
}

const fn unary(
    name: &'static str,
    meaning: &'static str,
    double: fn(f64) -> f64,
    wide: Option<fn(Wide) -> Wide>,
    bound: Bound,
) -> Unary {
    Unary { name, meaning, double, wide, bound }
}

const fn binary(
    name: &'static str,
    meaning: &'static str,
    double: fn(f64, f64) -> f64,
    wide: Option<fn(Wide, Wide) -> Wide>,
    bound: Bound,
) -> Binary {
    Binary { name, meaning, double, wide, bound }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

/// The library's is wrong far below 1, where there is no result.
fn acosh(x: f64) -> f64 {
    if x < 1.0 { f64::NAN } else { libm::acosh(x) }
}

/// x/2 · erfc(−x/√2): the same without the difference.
fn gelu(x: f64) -> f64 {
    0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// x · sigmoid(2z): the tanh form without its cancellation.
fn gelu_tanh(x: f64) -> f64 {
    let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    x * sigmoid(2.0 * z)
}

fn soft_shrink(x: f64) -> f64 {
    match x {
        x if x > 0.5 => x - 0.5,
        x if x < -0.5 => x + 0.5,
        x => x * 0.0,
    }
}

/// The remainder of C is exact; a sum with y brings it to the sign of y.
fn modulo(x: Wide, y: Wide) -> Wide {
    let left = x.hi % y.hi;
    if left != 0.0 && (left < 0.0) != (y.hi < 0.0) { Wide::sum(left, y.hi) } else { Wide::from(left) }
}

/// NaN beside infinity is NaN here, unlike in C.
fn hypot(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() { f64::NAN } else { libm::hypot(x, y) }
}

/// The sign as the library has it: NaN stays, zeros stay.
fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

fn maximum(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }
}

fn minimum(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }
}

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// Functions of one float, each as a whole. For those with a parameter, its usual value.
pub static UNARY: &[Unary] = &[
    unary("neg", "−x", |x| -x, Some(|x| -x), Bound::Exact),
    unary("abs", "|x|", f64::abs, Some(Wide::abs), Bound::Exact),
    unary("sign", "−1, 0 or 1; ±0 and NaN stay", sign, None, Bound::Exact),
    unary("floor", "rounded down", f64::floor, None, Bound::Exact),
    unary("ceil", "rounded up", f64::ceil, None, Bound::Exact),
    unary("trunc", "rounded towards zero", f64::trunc, None, Bound::Exact),
    unary("round", "rounded to nearest, ties to even", f64::round_ties_even, None, Bound::Exact),
    unary("relu", "max(x, 0); NaN stays", |x| maximum(x, 0.0), None, Bound::Exact),
    unary("relu6", "min(max(x, 0), 6); NaN stays", |x| minimum(maximum(x, 0.0), 6.0), None, Bound::Exact),
    unary("sqr", "x·x", |x| x * x, Some(|x| x * x), Bound::Rounded),
    unary("sqrt", "√x; NaN below zero", f64::sqrt, Some(Wide::sqrt), Bound::Root),
    unary("rsqrt", "1/√x; ∞ at 0, NaN below", |x| 1.0 / x.sqrt(), Some(|x| Wide::ONE / x.sqrt()), Bound::ulps(2.0)),
    unary("recip", "1/x; ±∞ at ±0", |x| 1.0 / x, Some(|x| Wide::ONE / x), Bound::Division),
    unary("exp", "e^x", f64::exp, Some(functions::exp), Bound::ulps(3.0)),
    unary("exp2", "2^x", f64::exp2, Some(functions::exp2), Bound::ulps(3.0)),
    unary("expm1", "e^x − 1", f64::exp_m1, Some(functions::expm1), Bound::ulps(3.0)),
    unary("log", "ln x; −∞ at 0, NaN below", f64::ln, Some(functions::log), Bound::ulps(3.0)),
    unary("log2", "log₂ x; −∞ at 0, NaN below", f64::log2, Some(functions::log2), Bound::ulps(3.0)),
    unary("log10", "log₁₀ x; −∞ at 0, NaN below", f64::log10, None, Bound::ulps(7.5)),
    unary("log1p", "ln(1+x); −∞ at −1, NaN below", f64::ln_1p, Some(functions::log1p), Bound::ulps(3.0)),
    unary("sin", "sin x, x in radians; NaN at ±∞", f64::sin, Some(functions::sin), Bound::ulps(4.0)),
    unary("cos", "cos x, x in radians; NaN at ±∞", f64::cos, Some(functions::cos), Bound::ulps(4.0)),
    unary("tan", "tan x, x in radians; NaN at ±∞", f64::tan, Some(functions::tan), Bound::ulps(5.0)),
    unary("asin", "arcsin x; NaN outside −1..1", libm::asin, Some(functions::asin), Bound::ulps(4.0)),
    unary("acos", "arccos x; NaN outside −1..1", libm::acos, Some(functions::acos), Bound::ulps(4.0)),
    unary("atan", "arctan x", libm::atan, Some(functions::atan), Bound::ulps(5.0)),
    unary("sinh", "sinh x", libm::sinh, Some(functions::sinh), Bound::ulps(4.0)),
    unary("cosh", "cosh x", libm::cosh, Some(functions::cosh), Bound::ulps(4.0)),
    unary("tanh", "tanh x", libm::tanh, Some(functions::tanh), Bound::ulps(5.0)),
    unary("asinh", "arsinh x", libm::asinh, Some(functions::asinh), Bound::ulps(4.0)),
    unary("acosh", "arcosh x; NaN below 1", acosh, Some(functions::acosh), Bound::ulps(4.0)),
    unary("atanh", "artanh x; ±∞ at ±1, NaN outside", libm::atanh, Some(functions::atanh), Bound::ulps(5.0)),
    unary("erf", "2/√π ∫₀ˣ e^(−t²) dt", libm::erf, Some(functions::erf), Bound::ulps(16.0)),
    unary("erfc", "1 − erf(x)", libm::erfc, None, Bound::ulps(16.0)),
    unary("sigmoid", "1/(1+e^−x)", sigmoid, None, Bound::early_underflow(8.0, 1.0)),
    unary("silu", "x·sigmoid(x); NaN at −∞", |x| x * sigmoid(x), None, Bound::early_underflow(9.0, 256.0)),
    unary("gelu", "x/2·(1+erf(x/√2)); NaN at −∞", gelu, None, Bound::beside(2.0, 10.0, 0.0)),
    unary("gelu_tanh", "x/2·(1+tanh(√(2/π)(x+0.044715x³))); NaN at −∞", gelu_tanh, None, Bound::beside(7.0, 4.0, 0.0)),
    unary("softplus", "ln(1+e^x)", softplus, None, Bound::ulps(13.0)),
    unary("log_sigmoid", "ln(1/(1+e^−x))", |x| -softplus(-x), None, Bound::ulps(13.0)),
    unary("softsign", "x/(1+|x|); NaN at ±∞", |x| x / (1.0 + x.abs()), None, Bound::ulps(6.0)),
    // softplus is subnormal below −87 and is rounded to half of 2^-149 there, times |x| < 104: 7e-6 of the smallest normal number.
    unary(
        "mish",
        "x·tanh(softplus(x)); NaN at −∞",
        |x| x * softplus(x).tanh(),
        None,
        Bound::early_underflow(24.0, 7e-6),
    ),
    unary(
        "elu",
        "x above 0, else α(e^x − 1); here α = 1",
        |x| if x > 0.0 { x } else { x.exp_m1() },
        None,
        Bound::ulps(4.0),
    ),
    unary(
        "celu",
        "x above 0, else α(e^(x/α) − 1); here α = 1",
        |x| if x > 0.0 { x } else { x.exp_m1() },
        None,
        Bound::ulps(9.0),
    ),
    unary(
        "selu",
        "λx above 0, else λα(e^x − 1); λ = 1.0507…, α = 1.6733…",
        |x| SELU_SCALE * if x > 0.0 { x } else { SELU_ALPHA * x.exp_m1() },
        None,
        Bound::ulps(8.0),
    ),
    unary(
        "leaky_relu",
        "x above 0, else slope·x; here slope = 0.01",
        |x| if x > 0.0 { x } else { 0.01 * x },
        None,
        Bound::ulps(2.0),
    ),
    unary(
        "hard_sigmoid",
        "min(max(x+3, 0), 6)/6",
        |x| minimum(maximum(x + 3.0, 0.0), 6.0) / 6.0,
        None,
        Bound::ulps(6.0),
    ),
    unary(
        "hard_swish",
        "x·min(max(x+3, 0), 6)/6; NaN at −∞",
        |x| x * minimum(maximum(x + 3.0, 0.0), 6.0) / 6.0,
        None,
        Bound::ulps(8.0),
    ),
    unary("hard_tanh", "min(max(x, low), high); here −1 and 1", |x| minimum(maximum(x, -1.0), 1.0), None, Bound::Exact),
    unary(
        "thresholded_relu",
        "x above α, else 0; NaN stays; here α = 1",
        |x| if x <= 1.0 { 0.0 } else { x },
        None,
        Bound::Exact,
    ),
    unary(
        "hard_shrink",
        "x outside −λ..=λ, else 0; NaN stays; here λ = ½",
        |x| if x.abs() <= 0.5 { 0.0 } else { x },
        None,
        Bound::Exact,
    ),
    unary("soft_shrink", "x ∓ λ outside −λ..=λ, else 0; NaN stays; here λ = ½", soft_shrink, None, Bound::ulps(1.0)),
];

/// Functions of two floats.
pub static BINARY: &[Binary] = &[
    binary("add", "x + y; ∞ − ∞ is NaN", |x, y| x + y, Some(|x, y| x + y), Bound::Rounded),
    binary("sub", "x − y; ∞ − ∞ is NaN", |x, y| x - y, Some(|x, y| x - y), Bound::Rounded),
    binary("mul", "x · y; 0·∞ is NaN", |x, y| x * y, Some(|x, y| x * y), Bound::Rounded),
    binary("div", "x / y; x/0 is ±∞, 0/0 and ∞/∞ NaN", |x, y| x / y, Some(|x, y| x / y), Bound::Division),
    binary("rem", "x − y·trunc(x/y), sign of x; x%0 and ∞%y are NaN", |x, y| x % y, None, Bound::Exact),
    binary(
        "pow",
        "x^y as C has it; NaN for x < 0 and y no integer",
        f64::powf,
        Some(functions::pow),
        Bound::ulps(16.0),
    ),
    binary(
        "modulo",
        "x − y·⌊x/y⌋, sign of y; NaN for x = ±∞ or y = 0; y for y = ±∞ of the other sign",
        |x, y| modulo(Wide::from(x), Wide::from(y)).hi,
        Some(modulo),
        Bound::Rounded,
    ),
    binary(
        "atan2",
        "angle of the point (y, x), −π..π; zeros count with their signs",
        libm::atan2,
        None,
        Bound::ulps(16.0),
    ),
    binary("hypot", "√(x² + y²) without overflow between; NaN when either is", hypot, None, Bound::ulps(12.0)),
    binary("maximum", "the larger; NaN when either is", maximum, None, Bound::Exact),
    binary("minimum", "the smaller; NaN when either is", minimum, None, Bound::Exact),
];

/// The row of a name.
///
/// # Panics
/// When there is none: a test that asks for it is wrong.
pub fn find(name: &str) -> &'static Unary {
    UNARY.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no row for {name}"))
}

/// The row of a name, of two operands.
///
/// # Panics
/// When there is none.
pub fn find_binary(name: &str) -> &'static Binary {
    BINARY.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no row for {name}"))
}

impl Bound {
    /// What this bound permits around a value; `own` is the error of the oracle's own evaluation.
    fn around(self, a: &Arithmetic, value: Wide, operand: f64, own: f64) -> Number {
        let format = a.format();
        if !value.is_finite() {
            return Number::exact(value);
        }
        let nearest = |correctly: bool, ulps: f64| {
            if correctly && a.compute == Type::F64 {
                // The comparison rounds it, and knows how near a tie the oracle can tell.
                Number::exact(value)
            } else if correctly {
                Number::from(format.round(value))
            } else {
                Number { value, radius: ulps * format.ulp(value.hi) }
            }
        };
        match self {
            Bound::Exact => Number::exact(value),
            Bound::Rounded => nearest(a.facts.correctly_rounded, 1.0),
            Bound::Division => nearest(a.facts.div_ulp <= 0.5, a.facts.div_ulp),
            Bound::Root => nearest(a.facts.sqrt_ulp <= 0.5, a.facts.sqrt_ulp),
            Bound::Ulps { single, double, operand: of_operand, one, small } => {
                let n = if a.compute == Type::F64 { double } else { single };
                // 0 ULPs of an infinite operand is 0.
                let beside = if of_operand > 0.0 { of_operand * format.ulp(operand) } else { 0.0 };
                // An e^x that may be flushed costs |x| of the smallest normal numbers, and there |x| < 104.
                let flushed = small > 0.0 && a.facts.subnormals == Subnormals::MayBeZero;
                let small = if flushed { small.max(128.0) } else { small };
                Number {
                    value,
                    radius: n * format.ulp(value.hi)
                        + beside
                        + one * format.ulp(1.0)
                        + small * format.min_normal()
                        + own,
                }
            }
        }
    }
}

/// Both results, where a device may read a subnormal operand as 0.
fn either(a: Number, b: Number) -> Number {
    let (low, high) = (
        (a.value - Wide::from(a.radius)).min(b.value - Wide::from(b.radius)),
        (a.value + Wide::from(a.radius)).max(b.value + Wide::from(b.radius)),
    );
    if a.value == b.value && a.radius == b.radius || a.is_nan() && b.is_nan() {
        return a;
    }
    if !low.is_finite() || !high.is_finite() {
        return Number::anything();
    }
    let value = (low + high).times_power(-1);
    Number { value, radius: (high - value).hi * (1.0 + 1e-15) }
}

fn flushes(a: &Arithmetic, x: f64) -> bool {
    a.facts.subnormals == Subnormals::MayBeZero && x != 0.0 && x.abs() < a.format().min_normal()
}

/// What a flushed number may read as: zero with its sign, which atan2 sees, or without.
fn zeros(x: f64) -> [f64; 2] {
    [0.0f64.copysign(x), 0.0]
}

/// A function of an exact operand.
pub fn apply(row: &Unary, a: &Arithmetic, x: f64) -> Number {
    let at = |x: f64| {
        let wide = if a.compute == Type::F64 { row.wide } else { None };
        let (value, own) = match wide {
            Some(f) => (f(Wide::from(x)), 0.0),
            None => {
                let y = (row.double)(x);
                (Wide::from(y), y.abs() * 1e-15)
            }
        };
        row.bound.around(a, value, x, own)
    };
    if flushes(a, x) { zeros(x).into_iter().fold(at(x), |r, zero| either(r, at(zero))) } else { at(x) }
}

/// A function of two exact operands.
pub fn apply2(row: &Binary, a: &Arithmetic, x: f64, y: f64) -> Number {
    let at = |x: f64, y: f64| {
        let exact = row.bound != Bound::Exact && !matches!(row.bound, Bound::Ulps { .. });
        let wide = if a.compute == Type::F64 || exact { row.wide } else { None };
        let (value, own) = match wide {
            Some(f) => (f(Wide::from(x), Wide::from(y)), 0.0),
            None => {
                let z = (row.double)(x, y);
                (Wide::from(z), z.abs() * 1e-15)
            }
        };
        row.bound.around(a, value, x, own)
    };
    let (small_x, small_y) = (flushes(a, x), flushes(a, y));
    let read = |small: bool, x: f64| std::iter::once(x).chain(zeros(x).into_iter().filter(move |_| small));
    let mut result = at(x, y);
    for x in read(small_x, x) {
        result = read(small_y, y).fold(result, |r, y| either(r, at(x, y)));
    }
    // A remainder that reads as 0 needs no correction.
    if row.name == "modulo" && flushes(a, x % y) {
        result = either(result, Number { value: Wide::from(0.0), radius: a.format().min_normal() });
    }
    // What compares as 0 may yet be passed on as it is: either operand for the other, a remainder without its correction.
    let compares = row.bound == Bound::Exact || row.name == "modulo";
    if compares && (small_x || small_y) && result.value.hi.is_finite() {
        result.radius += 2.0 * a.format().min_normal();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Facts;

    /// The doubles of every row against its 106 bits, over the whole range of f32: the allowance for the oracle's own error holds.
    #[test]
    fn doubles_are_near_enough() {
        for row in UNARY {
            let Some(wide) = row.wide else { continue };
            for step in 0..20_000u32 {
                let x = f32::from_bits(step.wrapping_mul(214_783)) as f64;
                let (d, w) = ((row.double)(x), wide(Wide::from(x)));
                if d.is_nan() || w.is_nan() || !d.is_finite() {
                    assert!(d.is_nan() == w.is_nan() && (d.is_nan() || d == w.hi), "{}({x:e}): {d:e} {w:?}", row.name);
                    continue;
                }
                let off = (Wide::from(d) - w).hi.abs();
                assert!(off <= d.abs() * 5e-16 + 1e-320, "{}({x:e}): {d:e} is {off:e} off {w:?}", row.name);
            }
        }
    }

    /// A result that is off by more than the row is refused, three times as much surely.
    #[test]
    fn bounds_refuse() {
        let a = Arithmetic::new(Type::F32, Facts::IEEE);
        let f = a.format();
        for row in UNARY {
            for x in [0.3, 0.7, 2.5, 17.0] {
                let want = apply(row, &a, x as f32 as f64);
                if !want.value.is_finite() {
                    continue;
                }
                let nearest = f.round(want.value);
                let fits = |got: f64| super::super::compare::permits(Type::F32, f, &a.facts, want, got, Type::F32);
                assert!(fits(nearest), "{}({x}) = {nearest:e}: {want:?}", row.name);
                let off = 3.0 * want.radius + 1.5 * f.ulp(nearest);
                assert!(!fits(f.round(Wide::from(nearest + off))), "{}({x}): {want:?}", row.name);
                assert!(!fits(f64::NAN), "{}({x})", row.name);
            }
        }
    }

    #[test]
    fn flushed_operands() {
        let a = Arithmetic::new(Type::F32, Facts { subnormals: Subnormals::MayBeZero, ..Facts::IEEE });
        let tiny = 1e-40f32 as f64;
        let neg = apply(find("neg"), &a, tiny);
        assert!(neg.value.hi - neg.radius <= -tiny && neg.value.hi + neg.radius >= 0.0, "{neg:?}");
        assert_eq!(apply(find("recip"), &a, 5e-39f32 as f64).radius, f64::INFINITY);
        assert_eq!(apply2(find_binary("add"), &a, tiny, 1.0), Number::from(1.0));
        // −0 over a negative number is −π, +0 over it is π.
        let angle = apply2(find_binary("atan2"), &a, -tiny, -1.0);
        assert!(angle.radius > std::f64::consts::PI && angle.radius < 3.2, "{angle:?}");
        // 16777217 modulo −3·2⁻¹²⁶ leaves 2⁻¹²⁷: with its correction, or as it is where that reads as 0.
        let (x, y) = (f64::powi(2.0, -125), -3.0 * f64::powi(2.0, -127));
        let rest = apply2(find_binary("modulo"), &a, x, y);
        for got in [f64::powi(2.0, -127) + y, f64::powi(2.0, -127), 0.0] {
            assert!((rest.value.hi - got).abs() <= rest.radius, "{got:e}: {rest:?}");
        }
        assert!((rest.value.hi - y).abs() > rest.radius, "{rest:?}");
    }
}
