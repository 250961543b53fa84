//! Reductions that are made of others: positions of extremes, variance, lengths, logarithms of sums.

use super::{
    Tensor,
    axes::{Axes, resolve_all},
};
use anychip_hal::{
    DType, Error, Result,
    op::{Op, ReduceOp},
};
use anychip_kernels::{Node, View};

impl Tensor {
    /// Position of the largest element along an axis, u32 (i64 for axes of 2^32 elements and more), as
    /// [`Tensor::argsort`] has them: the first of equals; NaN counts as the largest. The axis goes.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis of nothing.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1f32, 5., 5., 2., 0., f32::NAN], (2, 3), &device)?;
    /// assert_eq!(x.argmax(1)?.to_vec1::<u32>()?, [1, 2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn argmax(&self, axis: i64) -> Result<Tensor> {
        self.argmax_keepdim(axis)?.squeeze(self.axis("argmax", axis)? as i64)
    }

    /// [`Tensor::argmax`], the axis staying with extent 1.
    pub fn argmax_keepdim(&self, axis: i64) -> Result<Tensor> {
        self.position("argmax", ReduceOp::Max, axis)
    }

    /// Row-major position of the largest element of all; the result has rank 0.
    pub fn argmax_all(&self) -> Result<Tensor> {
        self.flatten_all()?.argmax(0)
    }

    /// Position of the smallest element along an axis: the first of equals; NaN counts as the smallest. Otherwise as
    /// [`Tensor::argmax`].
    pub fn argmin(&self, axis: i64) -> Result<Tensor> {
        self.argmin_keepdim(axis)?.squeeze(self.axis("argmin", axis)? as i64)
    }

    /// [`Tensor::argmin`], the axis staying with extent 1.
    pub fn argmin_keepdim(&self, axis: i64) -> Result<Tensor> {
        self.position("argmin", ReduceOp::Min, axis)
    }

    /// Row-major position of the smallest element of all; the result has rank 0.
    pub fn argmin_all(&self) -> Result<Tensor> {
        self.flatten_all()?.argmin(0)
    }

    /// The first place where the extreme is, or a NaN: extremes are NaN when an element is.
    fn position(&self, what: &str, op: ReduceOp, axis: i64) -> Result<Tensor> {
        let axis = self.axis(what, axis)?;
        let count = self.dims()[axis];
        if count == 0 {
            return Err(self.shape_error(what, &format!("has nothing along axis {axis}: there is no position")));
        }
        let x = if self.dtype() == DType::Bool { self.to_dtype(DType::U8)? } else { self.clone() };
        let extreme = x.op(Op::Reduce { op, axes: vec![axis] }, &[])?;
        let mut found = x.eq(&extreme)?;
        if x.dtype().is_float() {
            found = found.or(x.is_nan()?)?;
        }
        let index = if count as u64 <= u32::MAX as u64 { DType::U32 } else { DType::I64 };
        let place = self.with(Node::iota(axis, index, self.dims())?);
        found.where_cond(&place, count)?.op(Op::Reduce { op: ReduceOp::Min, axes: vec![axis] }, &[])
    }

    /// The variance with a divisor of n − `correction` (1: unbiased, as [`Tensor::var`]; 0: of the elements themselves); NaN where
    /// that is not above 0 and the elements are equal. The mean is taken first, then the squares of the differences.
    pub fn var_correction(&self, axes: impl Axes, correction: f64) -> Result<Tensor> {
        let axes = resolve_all("var", &axes, self.dims())?;
        self.variance(&axes, correction)?.without(&axes)
    }

    /// The square root of [`Tensor::var_correction`].
    pub fn std_correction(&self, axes: impl Axes, correction: f64) -> Result<Tensor> {
        let axes = resolve_all("std", &axes, self.dims())?;
        self.deviation(&axes, correction)?.without(&axes)
    }

    pub(super) fn reduce_var(&self, axes: &[usize]) -> Result<Tensor> {
        self.variance(axes, 1.0)
    }

    pub(super) fn reduce_std(&self, axes: &[usize]) -> Result<Tensor> {
        self.deviation(axes, 1.0)
    }

    fn count(&self, axes: &[usize]) -> usize {
        axes.iter().map(|&a| self.dims()[a]).product()
    }

    fn variance(&self, axes: &[usize], correction: f64) -> Result<Tensor> {
        let left = self.divisor("var", axes, correction)?;
        self.widened("var", |x| x.sub(x.reduce_mean(axes)?)?.sqr()?.reduce_sum(axes)?.div(left))
    }

    /// Of scaled differences where their squares would leave the type.
    fn deviation(&self, axes: &[usize], correction: f64) -> Result<Tensor> {
        let left = self.divisor("std", axes, correction)?;
        if self.count(axes) == 0 {
            return self.variance(axes, correction);
        }
        self.widened("std", |x| {
            let away = x.sub(x.reduce_mean(axes)?)?;
            let scale = away.abs()?.reduce(ReduceOp::Max, axes)?.square_scale()?;
            away.mul(&scale)?.sqr()?.reduce_sum(axes)?.div(left)?.sqrt()?.div(&scale)
        })
    }

    fn divisor(&self, what: &str, axes: &[usize], correction: f64) -> Result<f64> {
        if correction.is_finite() {
            return Ok((self.count(axes) as f64 - correction).max(0.0));
        }
        Err(Error::invalid(format!("{what}: correction is {correction}, must be a finite number")))
    }

    /// The p-norm (Σ|x|^p)^(1/p) over axes: 1 the sum of magnitudes, 2 the length (of scaled numbers where squares would leave the
    /// type), ∞ the largest, −∞ the smallest magnitude, 0 how many are not 0. Floats only. Of nothing: 0 for finite p, an error for
    /// infinite p.
    ///
    /// # Errors
    /// `InvalidArgument` for p that is NaN.
    pub fn norm(&self, p: f64, axes: impl Axes) -> Result<Tensor> {
        let axes = resolve_all("norm", &axes, self.dims())?;
        self.p_norm(p, &axes)?.without(&axes)
    }

    /// [`Tensor::norm`], the axes staying with extent 1.
    pub fn norm_keepdim(&self, p: f64, axes: impl Axes) -> Result<Tensor> {
        let axes = resolve_all("norm", &axes, self.dims())?;
        self.p_norm(p, &axes)
    }

    fn p_norm(&self, p: f64, axes: &[usize]) -> Result<Tensor> {
        if p.is_nan() {
            return Err(Error::invalid("norm: p is NaN, must be a number or an infinity"));
        }
        let nothing = self.count(axes) == 0;
        self.widened("norm", |x| {
            let x = x.abs()?;
            if p == f64::INFINITY {
                return x.reduce_max(axes);
            }
            if p == f64::NEG_INFINITY {
                return x.reduce_min(axes);
            }
            if nothing || p == 1.0 {
                return x.reduce_sum(axes);
            }
            if p == 0.0 {
                return x.ne(0)?.to_dtype(x.dtype())?.reduce_sum(axes);
            }
            if p == 2.0 {
                let scale = x.reduce(ReduceOp::Max, axes)?.square_scale()?;
                return x.mul(&scale)?.sqr()?.reduce_sum(axes)?.sqrt()?.div(&scale);
            }
            x.pow(p)?.reduce_sum(axes)?.pow(1.0 / p)
        })
    }

    /// ln Σ e^x over axes, without overflow. −∞ of nothing, and where all are −∞.
    pub(super) fn reduce_logsumexp(&self, axes: &[usize]) -> Result<Tensor> {
        let nothing = self.count(axes) == 0;
        self.widened("logsumexp", |x| {
            if nothing {
                return x.reduce_sum(axes)?.add(f64::NEG_INFINITY);
            }
            let largest = x.reduce(ReduceOp::Max, axes)?;
            // ∞ − ∞ is no number.
            let base = largest.is_inf()?.where_cond(&largest.zeros_like()?, &largest)?;
            x.sub(&base)?.exp()?.reduce_sum(axes)?.log()?.add(&base)
        })
    }

    /// ln softmax(x) along an axis: x − max − ln Σ e^(x−max), in f32 for 16-bit types. Rows of −∞ and rows with ∞ give NaN.
    pub fn log_softmax(&self, axis: i64) -> Result<Tensor> {
        let axis = self.axis("log_softmax", axis)?;
        self.expect_float("log_softmax")?;
        if self.elem_count() == 0 {
            return Ok(self.clone());
        }
        self.widened("log_softmax", |x| {
            let y = x.sub(x.reduce(ReduceOp::Max, &[axis])?)?;
            y.sub(y.exp()?.reduce_sum(&[axis])?.log()?)
        })
    }

    /// Drops axes of extent 1.
    pub(super) fn without(&self, axes: &[usize]) -> Result<Tensor> {
        let left = self.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &n)| n);
        self.view(View::Reshape(left.collect()))
    }
}
