//! Elementwise functions that are a few graph operations each, and what the activations share: computing in f32 for 16-bit
//! types, so that constants and steps in between are not rounded to 16 bits.

use super::{Tensor, operand::Operand};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::shape::broadcast;

impl Tensor {
    /// Refuses what is no float.
    pub(super) fn expect_float(&self, what: &str) -> Result<()> {
        if matches!(self.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return Ok(());
        }
        Err(Error::DTypeMismatch(format!(
            "{what}: takes a float tensor, got {}; convert with to_dtype()",
            self.dtype()
        )))
    }

    /// The type in which a composition of this float type is computed.
    pub(super) fn wide_dtype(&self) -> DType {
        if self.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
    }

    /// `f` of this float tensor in f32 (f64 for f64), rounded to its own type at the end.
    pub(super) fn widened(&self, what: &str, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        self.expect_float(what)?;
        f(&self.to_dtype(self.wide_dtype())?)?.to_dtype(self.dtype())
    }

    /// [`Tensor::widened`] of two operands of one float type, which broadcast.
    fn widened_pair(
        &self,
        what: &str,
        other: impl Operand,
        f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let other = self.partner(what, other)?;
        self.expect_float(what)?;
        let wide = self.wide_dtype();
        f(&self.to_dtype(wide)?, &other.to_dtype(wide)?)?.to_dtype(self.dtype())
    }

    /// The other operand as a tensor of this type whose shape broadcasts with this one.
    fn partner(&self, what: &str, other: impl Operand) -> Result<Tensor> {
        let other = other.beside(what, self)?;
        if other.dtype() != self.dtype() {
            return Err(Error::DTypeMismatch(format!(
                "{what}: types {} and {} differ; convert one with to_dtype()",
                self.dtype(),
                other.dtype()
            )));
        }
        broadcast(what, self.dims(), other.dims())?;
        Ok(other)
    }

    /// log₁₀ x. Within two roundings of `log`.
    pub fn log10(&self) -> Result<Tensor> {
        self.widened("log10", |x| x.log()?.mul(std::f64::consts::LOG10_E))
    }

    /// Is it neither NaN nor infinite; floats only, result bool.
    pub fn is_finite(&self) -> Result<Tensor> {
        self.expect_float("is_finite")?;
        self.is_nan()?.or(self.is_inf()?)?.not()
    }

    /// What is left after a division towards −∞, as Python's `%` and PyTorch's `remainder`: it has the sign of y. Floats: NaN for
    /// x = ±∞ or y = 0; for y = ±∞ and a sign that differs, y. Integers: x modulo 0 is 0.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![5i32, -5, 5, -5], 4, &device)?;
    /// let y = Tensor::from_vec(vec![3i32, 3, -3, -3], 4, &device)?;
    /// assert_eq!(x.modulo(&y)?.to_vec1::<i32>()?, [2, 1, -1, -2]);
    /// assert_eq!(x.rem(&y)?.to_vec1::<i32>()?, [2, -2, 2, -2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    #[doc(alias = "remainder")]
    pub fn modulo(&self, other: impl Operand) -> Result<Tensor> {
        let other = self.partner("modulo", other)?;
        let python = |x: &Tensor, y: &Tensor| {
            let left = x.rem(y)?;
            let differs = left.lt(0)?.xor(y.lt(0)?)?.and(left.ne(0)?)?;
            differs.where_cond(&left.add(y)?, &left)
        };
        if self.dtype().is_float() { self.widened_pair("modulo", other, python) } else { python(self, &other) }
    }

    /// The angle of the point (x, y), this tensor being y: tan⁻¹(y/x) in the right quadrant, −π..π. Floats only. Zeros count with
    /// their signs, and infinities as equally far, as in C: atan2(±0, −0) = ±π, atan2(∞, −∞) = 3π/4.
    pub fn atan2(&self, x: impl Operand) -> Result<Tensor> {
        self.widened_pair("atan2", x, |y, x| {
            let (up, right) = (y.abs()?, x.abs()?);
            let same = up.eq(&right)?;
            let ratio = up.div(&right)?;
            // 0/0 is 0, ∞/∞ is 1.
            let infinite = up.is_inf()?.to_dtype(ratio.dtype())?;
            let ratio = same.and(up.is_inf()?.or(up.eq(0)?)?)?.where_cond(&infinite, &ratio)?;
            let angle = ratio.atan()?;
            let (high, low) = match x.dtype() {
                DType::F64 => (std::f64::consts::PI, 1.224_646_799_147_353_2e-16),
                _ => (std::f32::consts::PI as f64, -8.742_278_000_38e-8),
            };
            let left = angle.sub(low)?.neg()?.add(high)?;
            let angle = x.is_negative()?.where_cond(&left, &angle)?;
            y.is_negative()?.where_cond(&angle.neg()?, &angle)
        })
    }

    /// True below 0 and for −0.
    fn is_negative(&self) -> Result<Tensor> {
        self.lt(0)?.or(self.eq(0)?.and(self.recip()?.lt(0)?)?)
    }

    /// √(x² + y²) without overflow or underflow in between. Floats only. Infinite when one is infinite, unless the other is NaN.
    pub fn hypot(&self, other: impl Operand) -> Result<Tensor> {
        self.widened_pair("hypot", other, |x, y| {
            let (x, y) = (x.abs()?, y.abs()?);
            let scale = x.maximum(&y)?.square_scale()?;
            let (a, b) = (x.mul(&scale)?, y.mul(&scale)?);
            a.sqr()?.add(b.sqr()?)?.sqrt()?.div(&scale)
        })
    }

    /// Of largest magnitudes m: a power of two by which numbers up to m can be multiplied so that neither the sum of up to 2⁴⁰ of
    /// their squares overflows nor the largest square underflows. 1 in the middle of the range.
    pub(super) fn square_scale(&self) -> Result<Tensor> {
        let (edge, scale) = match self.dtype() {
            DType::F64 => (400, 624),
            _ => (40, 88),
        };
        let power = |n: i32| 2f64.powi(n);
        let one = self.ones_like()?;
        let small = self.lt(power(-edge))?.where_cond(&one.mul(power(scale))?, &one)?;
        self.gt(power(edge))?.where_cond(&one.mul(power(-scale))?, &small)
    }

    /// From this tensor to `end`: x + weight·(end − x), computed from the nearer end, as in PyTorch. Floats only.
    pub fn lerp(&self, end: &Tensor, weight: impl Operand) -> Result<Tensor> {
        let end = self.partner("lerp", end)?;
        let weight = self.partner("lerp", weight)?;
        self.expect_float("lerp")?;
        let wide = self.wide_dtype();
        let (start, end, weight) = (self.to_dtype(wide)?, end.to_dtype(wide)?, weight.to_dtype(wide)?);
        let way = end.sub(&start)?;
        let from_start = weight.mul(&way)?.add(&start)?;
        let from_end = end.sub(way.mul(weight.neg()?.add(1)?)?)?;
        weight.abs()?.lt(0.5)?.where_cond(&from_start, &from_end)?.to_dtype(self.dtype())
    }

    /// Is it not 0, and the other not 0; any types that can be compared with 0, result bool.
    pub fn logical_and(&self, other: impl Operand) -> Result<Tensor> {
        self.truth()?.and(other.beside("logical_and", self)?.truth()?)
    }

    /// Is it not 0, or the other not 0; result bool.
    pub fn logical_or(&self, other: impl Operand) -> Result<Tensor> {
        self.truth()?.or(other.beside("logical_or", self)?.truth()?)
    }

    /// Is exactly one of the two not 0; result bool.
    pub fn logical_xor(&self, other: impl Operand) -> Result<Tensor> {
        self.truth()?.xor(other.beside("logical_xor", self)?.truth()?)
    }

    /// Is it 0; result bool. NaN is not 0.
    pub fn logical_not(&self) -> Result<Tensor> {
        self.truth()?.not()
    }

    fn truth(&self) -> Result<Tensor> {
        self.to_dtype(DType::Bool)
    }
}
