//! Is a subject's result one of those that are permitted?
//!
//! NaN equals NaN, and zeros of both signs are equal except where bits are compared. A value that was rounded to a narrower type
//! at the end is permitted when it is the rounding of a number within the radius.

use super::{
    array::{Array, index_of},
    format::{Format, Type},
    number::{Arithmetic, Facts, Number, Subnormals},
    wide::Wide,
};

/// Values of a tensor as the oracle computes with them.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Of a float type.
    Real(Array<Number>),
    /// Of an integer type; of bool 0 and 1.
    Int(Array<i128>),
}

impl Data {
    /// The values of little-endian bytes.
    ///
    /// # Panics
    /// When they do not fill the shape.
    pub fn from_bytes(ty: Type, shape: &[usize], bytes: &[u8]) -> Data {
        let bits = bytes.chunks_exact(ty.bytes()).map(|b| ty.bits(b));
        match ty.format() {
            Some(_) => Data::Real(Array::new(shape, bits.map(|b| Number::from(ty.float_of_bits(b))).collect())),
            None => Data::Int(Array::new(shape, bits.map(|b| ty.int_of_bits(b)).collect())),
        }
    }

    /// Extents.
    pub fn shape(&self) -> &[usize] {
        match self {
            Data::Real(x) => &x.shape,
            Data::Int(x) => &x.shape,
        }
    }

    /// The float values.
    ///
    /// # Panics
    /// For integers.
    pub fn real(&self) -> &Array<Number> {
        match self {
            Data::Real(x) => x,
            Data::Int(_) => panic!("integers where floats are meant"),
        }
    }

    /// The integers, or bools as 0 and 1.
    ///
    /// # Panics
    /// For floats.
    pub fn int(&self) -> &Array<i128> {
        match self {
            Data::Int(x) => x,
            Data::Real(_) => panic!("floats where integers are meant"),
        }
    }
}

impl From<Array<Number>> for Data {
    fn from(x: Array<Number>) -> Data {
        Data::Real(x)
    }
}

impl From<Array<i128>> for Data {
    fn from(x: Array<i128>) -> Data {
        Data::Int(x)
    }
}

/// The worst element that is not permitted, the first of several.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Where.
    pub index: Vec<usize>,
    /// What the subject gave.
    pub got: String,
    /// What is meant.
    pub expected: String,
    /// How far off it may be.
    pub bound: String,
    /// How many elements are wrong.
    pub wrong: usize,
    /// Of how many.
    pub of: usize,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Mismatch { index, got, expected, bound, wrong, of } = self;
        write!(f, "element {index:?} is {got}, expected {expected} {bound}; {wrong} of {of} elements are wrong")
    }
}

/// Is a float among the permitted results?
pub fn permits(ty: Type, format: Format, facts: &Facts, want: Number, got: f64, computed_in: Type) -> bool {
    if want.radius == f64::INFINITY || want.radius.is_nan() {
        return true;
    }
    let strange = !facts.nan_inf && (!want.value.is_finite() || want.size() > format.max());
    if want.value.is_nan() || got.is_nan() {
        return strange || want.value.is_nan() && got.is_nan();
    }
    if !want.value.is_finite() {
        return strange || got == want.value.hi;
    }
    // Functions of doubles are known to some 104 bits: what lies so close to a tie may round either way.
    let own = if ty == Type::F64 { want.value.hi.abs() * 2f64.powi(-100) } else { 0.0 };
    let radius = Wide::from(want.radius * (1.0 + 1e-12) + own);
    let (low, high) = (want.value - radius, want.value + radius);
    if got == 0.0 && facts.subnormals == Subnormals::MayBeZero {
        let least = if low.hi > 0.0 { low.hi } else { (-high.hi).max(0.0) };
        if least < format.min_normal() {
            return true;
        }
    }
    if !got.is_finite() || ty != computed_in || want.radius == 0.0 {
        return strange || format.round(low) <= got && got <= format.round(high);
    }
    low <= Wide::from(got) && Wide::from(got) <= high
}

/// What a comparison saw, whatever the end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// The largest error as a fraction of its bound; above 1 only where an element is not permitted. `None` where no element had a
    /// bound that is not 0, and none was wrong by a number.
    pub fraction: Option<f64>,
    /// Elements that were compared.
    pub elements: u64,
}

/// More than any bound: where the bound is 0, and a plot must end.
const FAR: f64 = 1e9;

/// An element's error as a fraction of what it may be. The rounding at the end is part of the bound.
fn fraction(ty: Type, format: Format, want: Number, got: f64, computed_in: Type, fits: bool) -> Option<f64> {
    if !want.value.is_finite() || !got.is_finite() || !want.radius.is_finite() {
        return None;
    }
    let off = (Wide::from(got) - want.value).hi.abs();
    let last = if ty == computed_in { 0.0 } else { 0.5 * format.ulp(want.value.hi) };
    match fits {
        // What is permitted beyond the radius, as a flushed number is, stands at the bound.
        true => (want.radius > 0.0).then(|| (off / (want.radius + last)).min(1.0)),
        false => Some((off / (want.radius + last)).min(FAR)),
    }
}

/// Compares a subject's bytes with what is meant. `arithmetic` is what the subject computed in, `ty` what it gave.
///
/// # Errors
/// The worst element that is not permitted.
///
/// # Panics
/// When the bytes do not fill the shape.
pub fn compare(ty: Type, bytes: &[u8], want: &Data, arithmetic: &Arithmetic) -> Result<(), Box<Mismatch>> {
    compare_measured(ty, bytes, want, arithmetic).1
}

/// As [`compare`], and how near the bounds were.
///
/// # Panics
/// When the bytes do not fill the shape.
pub fn compare_measured(
    ty: Type,
    bytes: &[u8],
    want: &Data,
    arithmetic: &Arithmetic,
) -> (Measured, Result<(), Box<Mismatch>>) {
    let shape = want.shape();
    let of: usize = shape.iter().product();
    assert_eq!(bytes.len(), of * ty.bytes(), "bytes of {ty:?} {shape:?}");
    let mut worst = Worst::default();
    let mut nearest: Option<f64> = None;
    for (i, b) in bytes.chunks_exact(ty.bytes()).enumerate() {
        let bits = ty.bits(b);
        match (want, ty.format()) {
            (Data::Real(w), Some(format)) => {
                let (w, got) = (w.data[i], ty.float_of_bits(bits));
                let fits = permits(ty, format, &arithmetic.facts, w, got, arithmetic.compute);
                let f = fraction(ty, format, w, got, arithmetic.compute, fits);
                nearest = f.map(|f| nearest.map_or(f, |n| n.max(f))).or(nearest);
                if fits {
                    continue;
                }
                let off = (Wide::from(got) - w.value).hi.abs();
                let ulps = |x: f64| x / format.ulp(w.value.hi);
                worst.see(i, if off.is_finite() { ulps(off) } else { f64::INFINITY }, || {
                    let (radius, own) = (w.radius, ulps(w.radius));
                    let bound = format!("± {radius:e} ({own:.2} ULP); it is {:.2} ULP off", ulps(off));
                    [format!("{got:e} ({bits:#x})"), format!("{:e}", w.value.hi), bound]
                });
            }
            (Data::Int(w), None) => {
                // Any byte that is not 0 would read as true: of a bool only 0 and 1 are well formed.
                let got = if ty == Type::Bool { bits as i128 } else { ty.int_of_bits(bits) };
                if got != w.data[i] {
                    worst.see(i, f64::INFINITY, || [format!("{got}"), format!("{}", w.data[i]), "exactly".into()]);
                }
            }
            (w, _) => panic!("{ty:?} compared with {w:?}"),
        }
    }
    (Measured { fraction: nearest, elements: of as u64 }, worst.end(shape, of))
}

/// The element that is farthest off, the first of several.
#[derive(Default)]
struct Worst {
    wrong: usize,
    most: f64,
    at: Option<(usize, [String; 3])>,
}

impl Worst {
    fn see(&mut self, i: usize, off: f64, lines: impl FnOnce() -> [String; 3]) {
        self.wrong += 1;
        if self.at.is_none() || off > self.most {
            self.most = off;
            self.at = Some((i, lines()));
        }
    }

    fn end(self, shape: &[usize], of: usize) -> Result<(), Box<Mismatch>> {
        let Some((i, [got, expected, bound])) = self.at else { return Ok(()) };
        Err(Box::new(Mismatch { index: index_of(i, shape), got, expected, bound, wrong: self.wrong, of }))
    }
}

/// Compares bits: copies, views, indexing. NaNs of any bits are equal.
///
/// # Errors
/// The first element that differs.
///
/// # Panics
/// When the bytes do not fill the shape.
pub fn compare_bits(ty: Type, bytes: &[u8], want: &Array<u64>) -> Result<(), Box<Mismatch>> {
    let of = want.data.len();
    assert_eq!(bytes.len(), of * ty.bytes(), "bytes of {ty:?} {:?}", want.shape);
    let nan = |bits: u64| ty.is_float() && ty.float_of_bits(bits).is_nan();
    let mut worst = Worst::default();
    for (i, (b, &w)) in bytes.chunks_exact(ty.bytes()).zip(&want.data).enumerate() {
        let got = ty.bits(b);
        if got != w && !(nan(got) && nan(w)) {
            let show = |bits: u64| match ty.format() {
                Some(_) => format!("{:e} ({bits:#x})", ty.float_of_bits(bits)),
                None => format!("{}", ty.int_of_bits(bits)),
            };
            worst.see(i, f64::INFINITY, || [show(got), show(w), "bit for bit".into()]);
        }
    }
    worst.end(&want.shape, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(x: &[f32]) -> Vec<u8> {
        x.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn arithmetic() -> Arithmetic {
        Arithmetic::new(Type::F32, Facts::IEEE)
    }

    fn number(value: f64, radius: f64) -> Number {
        Number { value: Wide::from(value), radius }
    }

    #[test]
    fn permitted_and_refused() {
        let want = Data::Real(Array::new(
            &[4],
            vec![number(1.0, 1e-6), Number::from(f64::NAN), Number::from(f64::INFINITY), number(0.0, 0.0)],
        ));
        let right = [1.0 + 5e-7, f32::NAN, f32::INFINITY, -0.0];
        compare(Type::F32, &bytes(&right), &want, &arithmetic()).unwrap();
        for (i, wrong) in [(0, 1.0 + 3e-6), (0, f32::NAN), (1, 0.0), (2, f32::MAX), (2, f32::NEG_INFINITY), (3, 1e-45)]
        {
            let mut got = right;
            got[i] = wrong;
            let e = compare(Type::F32, &bytes(&got), &want, &arithmetic()).unwrap_err();
            assert_eq!((e.index, e.wrong, e.of), (vec![i], 1, 4));
        }
    }

    /// The worst element is named, and where all are permitted how near the bound the nearest came.
    #[test]
    fn measured() {
        let want = Data::Real(Array::new(&[3], vec![number(1.0, 1e-6), number(2.0, 1e-6), Number::from(0.5)]));
        let (seen, result) = compare_measured(Type::F32, &bytes(&[1.0 + 5e-7, 2.0, 0.5]), &want, &arithmetic());
        result.unwrap();
        assert_eq!(seen.elements, 3);
        assert!((0.4..0.6).contains(&seen.fraction.unwrap()), "{seen:?}");
        let (seen, result) = compare_measured(Type::F32, &bytes(&[1.0 + 1e-5, 3.0, 0.5]), &want, &arithmetic());
        let e = result.unwrap_err();
        assert_eq!((e.index, e.wrong), (vec![1], 2));
        assert!(seen.fraction.unwrap() > 9e5, "{seen:?}");
        let ints = Data::Int(Array::new(&[1], vec![7]));
        assert_eq!(compare_measured(Type::I8, &[7], &ints, &arithmetic()).0.fraction, None);
    }

    /// A result in a narrower type may be the rounding of any number within the radius, and no other.
    #[test]
    fn rounding_at_the_end() {
        let half = |x: f64| Type::F16.bits_of_float(x).to_le_bytes()[..2].to_vec();
        let tie = 1.0 + 2f64.powi(-11);
        for (radius, low, high) in [(0.0, true, false), (1e-9, true, true)] {
            let want = Data::Real(Array::new(&[], vec![number(tie, radius)]));
            assert_eq!(compare(Type::F16, &half(1.0), &want, &arithmetic()).is_ok(), low);
            assert_eq!(compare(Type::F16, &half(1.0 + 2f64.powi(-10)), &want, &arithmetic()).is_ok(), high);
            assert!(compare(Type::F16, &half(1.0 - 2f64.powi(-11)), &want, &arithmetic()).is_err());
        }
        let want = Data::Real(Array::new(&[], vec![number(65519.0, 2.0)]));
        compare(Type::F16, &half(f64::INFINITY), &want, &arithmetic()).unwrap();
        compare(Type::F16, &half(65504.0), &want, &arithmetic()).unwrap();
        assert!(compare(Type::F16, &half(65472.0), &want, &arithmetic()).is_err());
    }

    #[test]
    fn flushing_is_accepted_only_where_it_is_declared() {
        let want = Data::Real(Array::new(&[], vec![Number::from(1e-39f32 as f64)]));
        assert!(compare(Type::F32, &bytes(&[0.0]), &want, &arithmetic()).is_err());
        let flushing = Arithmetic::new(Type::F32, Facts { subnormals: Subnormals::MayBeZero, ..Facts::IEEE });
        compare(Type::F32, &bytes(&[0.0]), &want, &flushing).unwrap();
        assert!(compare(Type::F32, &bytes(&[2e-39]), &want, &flushing).is_err());
        let normal = Data::Real(Array::new(&[], vec![Number::from(1e-37f32 as f64)]));
        assert!(compare(Type::F32, &bytes(&[0.0]), &normal, &flushing).is_err());
    }

    #[test]
    fn bits_and_integers() {
        let want = Array::new(&[2], vec![Type::F32.bits_of_float(-0.0), Type::F32.bits_of_float(f64::NAN)]);
        compare_bits(Type::F32, &bytes(&[-0.0, -f32::NAN]), &want).unwrap();
        assert!(compare_bits(Type::F32, &bytes(&[0.0, f32::NAN]), &want).is_err());
        let ints = Data::Int(Array::new(&[1, 2], vec![-3, 7]));
        compare(Type::I8, &[253, 7], &ints, &arithmetic()).unwrap();
        let e = compare(Type::I8, &[253, 8], &ints, &arithmetic()).unwrap_err();
        assert_eq!(e.to_string(), "element [0, 1] is 8, expected 7 exactly; 1 of 2 elements are wrong");
        assert!(compare(Type::Bool, &[2], &Data::Int(Array::new(&[1], vec![1])), &arithmetic()).is_err());
    }
}
