//! A number and how far a device's may be from it, and the arithmetic by which such errors grow.
//!
//! The value is what exact arithmetic gives; the radius bounds the distance of every result that the device's arithmetic permits
//! ("running error analysis", Higham, Accuracy and Stability of Numerical Algorithms, §3.3). Sums are bounded for every order of
//! addition: γₙ₋₁ Σ|x| with γₙ = n·u/(1−n·u) (§4.2).

use super::{
    format::{Format, Type},
    functions,
    wide::Wide,
};

/// A value and the largest distance of a permitted result. An infinite radius permits everything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    /// In exact arithmetic; it may be infinite or NaN, and then the radius is 0.
    pub value: Wide,
    /// Not negative.
    pub radius: f64,
}

impl From<f64> for Number {
    fn from(x: f64) -> Number {
        Number::exact(Wide::from(x))
    }
}

impl Number {
    /// 0.
    pub const ZERO: Number = Number { value: Wide::ZERO, radius: 0.0 };

    /// A number without error.
    pub fn exact(value: Wide) -> Number {
        Number { value, radius: 0.0 }
    }

    /// Anything is permitted: what a subject gives after a permitted overflow.
    pub fn anything() -> Number {
        Number { value: Wide::ZERO, radius: f64::INFINITY }
    }

    /// An upper bound of |x|.
    pub fn size(self) -> f64 {
        self.value.hi.abs() + self.radius
    }

    /// −x; exact everywhere.
    pub fn negated(self) -> Number {
        Number { value: -self.value, ..self }
    }

    /// |x|; exact everywhere.
    pub fn abs(self) -> Number {
        Number { value: self.value.abs(), ..self }
    }

    /// The larger one, NaN when either is; exact everywhere.
    pub fn max(self, other: Number) -> Number {
        Number { value: self.value.max(other.value), radius: self.radius.max(other.radius) }
    }

    /// The smaller one, NaN when either is; exact everywhere.
    pub fn min(self, other: Number) -> Number {
        Number { value: self.value.min(other.value), radius: self.radius.max(other.radius) }
    }

    /// Is it a value that counts as NaN, whatever its radius.
    pub fn is_nan(self) -> bool {
        self.value.is_nan()
    }

    fn wider(self, by: f64) -> Number {
        Number { value: self.value, radius: self.radius + by }
    }
}

/// Subnormal numbers on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subnormals {
    /// Kept.
    Kept,
    /// Zero, or not promised: both are accepted.
    MayBeZero,
}

/// What a device promises of its arithmetic in one float type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// + − × are correctly rounded; else one ULP off.
    pub correctly_rounded: bool,
    /// The compiler may contract a·b+c.
    pub may_contract: bool,
    /// `fma` rounds once.
    pub fma_fused: bool,
    /// ULPs of a division.
    pub div_ulp: f64,
    /// ULPs of a square root.
    pub sqrt_ulp: f64,
    /// What happens to subnormal numbers.
    pub subnormals: Subnormals,
    /// NaN and infinity behave as IEEE 754 says; else nothing is asked where they appear.
    pub nan_inf: bool,
}

impl Facts {
    /// IEEE 754 to the letter.
    pub const IEEE: Facts = Facts {
        correctly_rounded: true,
        may_contract: false,
        fma_fused: true,
        div_ulp: 0.5,
        sqrt_ulp: 0.5,
        subnormals: Subnormals::Kept,
        nan_inf: true,
    };
}

/// The arithmetic in which a subject computes: a type and what the device promises of it. The methods are the subject's
/// operations; each adds what its rounding may do to what its operands bring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// The type of intermediate results: f32 for tensors of f16, bf16 and f32, f64 for f64.
    pub compute: Type,
    /// What the device promises of that type.
    pub facts: Facts,
    format: Format,
    exact: bool,
}

impl Arithmetic {
    /// For tensors of an element type on a device of these promises (of [`Arithmetic::compute_type`]).
    pub fn new(element: Type, facts: Facts) -> Arithmetic {
        let compute = Arithmetic::compute_type(element);
        let format = compute.format().unwrap_or(SINGLE);
        Arithmetic { compute, facts, format, exact: false }
    }

    /// The type in which a tensor type is computed.
    pub fn compute_type(element: Type) -> Type {
        if element == Type::F64 { Type::F64 } else { Type::F32 }
    }

    /// The same without any rounding of sums and products: for data whose partial results are all numbers of the type. Results must then
    /// be equal bit for bit. Division, roots and functions round as ever.
    pub fn without_rounding(self) -> Arithmetic {
        Arithmetic { exact: true, ..self }
    }

    /// The format of intermediate results.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Unit roundoff of one addition or multiplication.
    pub fn unit(&self) -> f64 {
        if self.facts.correctly_rounded { self.format.unit() } else { 2.0 * self.format.unit() }
    }

    /// What underflow may lose in one operation other than addition.
    fn underflow(&self) -> f64 {
        match self.facts.subnormals {
            Subnormals::Kept => self.format.tiny(),
            Subnormals::MayBeZero => self.format.min_normal(),
        }
    }

    /// γₙ for n roundings; infinite where the bound says nothing.
    pub fn gamma(&self, n: usize) -> f64 {
        let nu = n as f64 * self.unit();
        if self.exact {
            0.0
        } else if nu < 0.5 {
            nu / (1.0 - nu)
        } else {
            f64::INFINITY
        }
    }

    /// A result whose rounding is bounded by `n` ULPs, or by underflow. A finite result that may overflow permits everything.
    pub fn within_ulps(&self, x: Number, n: f64) -> Number {
        if !x.value.is_finite() {
            return Number { radius: if x.radius.is_infinite() { x.radius } else { 0.0 }, ..x };
        }
        if x.size() > self.format.max() {
            return Number::anything();
        }
        if n <= 0.5 && x.radius == 0.0 && self.format.round(x.value) == x.value.hi && x.value.lo == 0.0 {
            return x; // rounding to nearest leaves a number of the type as it is
        }
        x.wider(n * self.format.ulp(x.size())).wider(if n > 0.0 { self.flushed(x) } else { 0.0 })
    }

    /// What flushing to zero may take from a small result.
    fn flushed(&self, x: Number) -> f64 {
        match self.facts.subnormals {
            Subnormals::MayBeZero if x.value.hi.abs() - x.radius < self.format.min_normal() => self.format.min_normal(),
            _ => 0.0,
        }
    }

    fn rounded(&self, x: Number) -> Number {
        if self.exact { x } else { self.within_ulps(x, if self.facts.correctly_rounded { 0.5 } else { 1.0 }) }
    }

    /// a + b.
    pub fn add(&self, a: Number, b: Number) -> Number {
        self.rounded(Number { value: a.value + b.value, radius: a.radius + b.radius })
    }

    /// a − b.
    pub fn sub(&self, a: Number, b: Number) -> Number {
        self.add(a, b.negated())
    }

    /// a · b without its rounding: what a product brings into a sum that counts roundings itself.
    fn product(a: Number, b: Number) -> Number {
        let radius = spread(a.size(), b.radius) + spread(b.value.hi.abs(), a.radius);
        Number { value: a.value * b.value, radius }
    }

    /// a · b.
    pub fn mul(&self, a: Number, b: Number) -> Number {
        self.rounded(Arithmetic::product(a, b))
    }

    /// a / b.
    pub fn div(&self, a: Number, b: Number) -> Number {
        let value = a.value / b.value;
        if a.radius == 0.0 && b.radius == 0.0 || !value.is_finite() {
            return self.within_ulps(Number { value, radius: worst(a, b) }, self.facts.div_ulp);
        }
        let least = b.value.hi.abs() - b.radius;
        if least <= 0.0 {
            return Number::anything();
        }
        let radius = (a.radius + spread(value.hi.abs(), b.radius)) / least;
        self.within_ulps(Number { value, radius }, self.facts.div_ulp)
    }

    /// √x.
    pub fn sqrt(&self, x: Number) -> Number {
        let value = x.value.sqrt();
        if x.radius == 0.0 || !value.is_finite() {
            return self.within_ulps(Number { value, radius: x.radius }, self.facts.sqrt_ulp);
        }
        // √(v+r) − √v ≤ min(r/√v, √r), and below v it is the other end that is farther.
        let low = (x.value.hi - x.radius).max(0.0).sqrt();
        let radius = (value.hi - low).max(x.radius / (value.hi + low).max(f64::MIN_POSITIVE)).min(x.radius.sqrt());
        self.within_ulps(Number { value, radius }, self.facts.sqrt_ulp)
    }

    /// 1/√x, as a root and a division or as one function of `ulps`.
    pub fn rsqrt(&self, x: Number, ulps: f64) -> Number {
        let root = self.sqrt(x);
        self.within_ulps(self.div(Number::from(1.0), root), ulps)
    }

    /// eˣ by a function of so many ULPs. Below the smallest normal number flushing is allowed for.
    pub fn exp(&self, x: Number, ulps: f64) -> Number {
        let value = if self.compute == Type::F64 { functions::exp(x.value) } else { Wide::from(x.value.hi.exp()) };
        if !x.value.is_finite() && x.radius == 0.0 {
            return Number::exact(value);
        }
        let own = value.hi.abs() * 1e-15;
        let grown = if value.hi == 0.0 { 0.0 } else { value.hi * x.radius.exp_m1() };
        self.within_ulps(Number { value, radius: grown + own * (self.compute != Type::F64) as u8 as f64 }, ulps)
    }

    /// ln x by a function of so many ULPs.
    pub fn log(&self, x: Number, ulps: f64) -> Number {
        let value = functions::log(x.value);
        if !value.is_finite() {
            return Number { value, radius: if x.radius > 0.0 { f64::INFINITY } else { 0.0 } };
        }
        let least = x.value.hi - x.radius;
        if least <= 0.0 {
            return Number::anything();
        }
        self.within_ulps(Number { value, radius: x.radius / least }, ulps)
    }

    /// The sum in any order: γₙ₋₁·Σ|x| and what the terms bring. Where Σ|x| may overflow, everything is permitted.
    pub fn sum(&self, terms: impl IntoIterator<Item = Number>) -> Number {
        self.sum_of(terms.into_iter(), 0)
    }

    /// Σ a·b in any order, products rounded or fused: γₖ·Σ|ab|, what the operands bring, and underflow of each product.
    pub fn dot(&self, pairs: impl IntoIterator<Item = (Number, Number)>) -> Number {
        let under = if self.exact { 0.0 } else { self.underflow() };
        self.sum_of(
            pairs.into_iter().map(|(a, b)| {
                let p = Arithmetic::product(a, b);
                // A product whose bits all lie above the smallest number loses nothing.
                if p.value.hi == 0.0 || p.value.hi.abs() > 1e8 * self.format.min_normal() { p } else { p.wider(under) }
            }),
            1,
        )
    }

    /// `more`: roundings of a term besides those of the additions.
    fn sum_of(&self, terms: impl Iterator<Item = Number>, more: usize) -> Number {
        let (mut value, mut size, mut radius, mut count) = (Wide::ZERO, 0.0f64, 0.0f64, 0usize);
        for t in terms {
            value = if count == 0 { t.value } else { value + t.value };
            size += t.size();
            radius += t.radius;
            count += 1;
        }
        if !value.is_finite() {
            return Number { value, radius: if radius.is_infinite() { radius } else { 0.0 } };
        }
        let gamma = self.gamma((count + more).saturating_sub(1));
        let most = size * (1.0 + gamma);
        if most.is_nan() || most > self.format.max() {
            return Number::anything();
        }
        let flush = match self.facts.subnormals {
            Subnormals::MayBeZero if !self.exact => count as f64 * self.format.min_normal(),
            _ => 0.0,
        };
        Number { value, radius: radius + gamma * size + flush }
    }

    /// Rounded to a narrower type on the way, as an explicit conversion does.
    pub fn narrowed(&self, x: Number, to: Type) -> Number {
        match to.format() {
            Some(f) if to != self.compute => {
                if x.radius == 0.0 {
                    return Number::from(f.round(x.value));
                }
                if x.size() > f.max() { Number::anything() } else { x.wider(0.5 * f.ulp(x.size())) }
            }
            _ => x,
        }
    }

    /// As [`Arithmetic::narrowed`], where a device may also hold the wider number.
    pub fn perhaps_narrowed(&self, x: Number, to: Type) -> Number {
        match to.format() {
            Some(f) if to != self.compute && x.value.is_finite() => {
                if x.size() > f.max() {
                    Number::anything()
                } else {
                    x.wider(0.5 * f.ulp(x.size()))
                }
            }
            _ => x,
        }
    }
}

const SINGLE: Format = Format { fraction: 23, low: -126, high: 127 };

/// Radius of a product's part: an infinite factor times no error is no error.
fn spread(size: f64, radius: f64) -> f64 {
    if radius == 0.0 { 0.0 } else { size * radius }
}

/// The radius of a result that is infinite or NaN: 0 when its operands are without error.
fn worst(a: Number, b: Number) -> f64 {
    if a.radius == 0.0 && b.radius == 0.0 { 0.0 } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single() -> Arithmetic {
        Arithmetic::new(Type::F32, Facts::IEEE)
    }

    fn inputs(count: usize, seed: u64) -> Vec<f32> {
        let mut s = seed;
        (0..count)
            .map(|_| {
                s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                ((s >> 33) as f32 / (1u64 << 30) as f32 - 1.0) * 3.0
            })
            .collect()
    }

    /// Every order that is tried lies inside the bound, and the bound is no more than twenty times what was seen at worst.
    #[test]
    fn sums_lie_inside_and_the_bound_is_near() {
        let mut nearest = f64::INFINITY;
        for seed in 0..300 {
            let x = inputs(3 + seed as usize % 9, seed + 1);
            let sum = single().sum(x.iter().map(|&x| Number::from(x as f64)));
            let forward = x.iter().fold(0f32, |s, &x| s + x) as f64;
            let backward = x.iter().rev().fold(0f32, |s, &x| s + x) as f64;
            for got in [forward, backward] {
                let off = (Wide::from(got) - sum.value).hi.abs();
                assert!(off <= sum.radius, "{got} {sum:?}");
                nearest = nearest.min(sum.radius / off);
            }
        }
        assert!(nearest < 20.0, "the bound is {nearest} times too wide");
    }

    /// The chain √(Σ(x−m)²/n) in f32 lies inside what the operations give one by one.
    #[test]
    fn a_chain_of_operations_lies_inside() {
        let a = single();
        let mut nearest = f64::INFINITY;
        for seed in 0..300 {
            let x = inputs(11, seed + 1);
            let n = Number::from(11.0);
            let mean = a.div(a.sum(x.iter().map(|&x| Number::from(x as f64))), n);
            let d: Vec<Number> = x.iter().map(|&x| a.sub(Number::from(x as f64), mean)).collect();
            let want = a.sqrt(a.div(a.dot(d.iter().map(|&d| (d, d))), n));
            let mean = x.iter().sum::<f32>() / 11.0;
            let got = (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / 11.0).sqrt() as f64;
            let exact_mean = x.iter().map(|&x| x as f64).sum::<f64>() / 11.0;
            let exact = (x.iter().map(|&x| (x as f64 - exact_mean).powi(2)).sum::<f64>() / 11.0).sqrt();
            assert!((want.value.hi - exact).abs() < 1e-14, "{want:?} {exact}");
            assert!((got - exact).abs() <= want.radius, "{got} {want:?}");
            nearest = nearest.min(want.radius / (got - exact).abs());
        }
        assert!(nearest < 30.0, "the bound is {nearest} times too wide");
    }

    #[test]
    fn exact_data_has_no_radius() {
        let a = single().without_rounding();
        let x: Vec<Number> = (0..1000).map(|i| Number::from((i % 7) as f64 * 0.25)).collect();
        assert_eq!(a.sum(x.iter().copied()).radius, 0.0);
        assert_eq!(a.dot(x.iter().map(|&x| (x, x))).radius, 0.0);
    }

    #[test]
    fn infinities_have_no_radius_and_overflow_permits_everything() {
        let a = single();
        let inf = Number::from(f64::INFINITY);
        assert_eq!(a.sum([inf, Number::from(1.0)]), inf);
        assert!(a.sum([inf, inf.negated()]).is_nan());
        assert!(a.dot([(inf, Number::ZERO)]).is_nan());
        assert!(a.sum([Number::from(3e38), Number::from(3e38), Number::from(-3e38)]).radius.is_infinite());
        assert_eq!(a.div(Number::from(1.0), Number::ZERO).value.hi, f64::INFINITY);
        assert_eq!(a.exp(Number::from(f64::NEG_INFINITY), 3.0), Number::ZERO);
    }

    /// Each operation's radius covers a change of its operands within theirs.
    #[test]
    fn operands_errors_are_carried() {
        let a = single();
        for (v, w) in [(2.0, 3.0), (-0.7, 11.0), (1e-3, 0.2), (30.0, 4.0)] {
            let (x, y) = (
                Number { value: Wide::from(v), radius: 0.01 * f64::abs(v) },
                Number { value: Wide::from(w), radius: 0.02 * w },
            );
            for (dx, dy) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
                let (p, q) = (v + dx * x.radius, w + dy * y.radius);
                let inside = |what: &str, n: Number, y: f64| {
                    assert!((n.value.hi - y).abs() <= n.radius, "{what} {p} {q}: {y} {n:?}");
                };
                inside("add", a.add(x, y), p + q);
                inside("mul", a.mul(x, y), p * q);
                inside("div", a.div(x, y), p / q);
                inside("sqrt", a.sqrt(y), q.sqrt());
                inside("rsqrt", a.rsqrt(y, 0.0), 1.0 / q.sqrt());
                inside("exp", a.exp(x, 0.0), p.exp());
                inside("log", a.log(y, 0.0), q.ln());
            }
        }
    }
}
