//! Reductions over axes.
//!
//! Each takes a number, an array or slice of axes, or `..` for all of them; the `_keepdim` form leaves the axes with extent 1.

use super::{
    Tensor,
    axes::{Axes, resolve_all},
};
use anychip_hal::{
    DType, Error, Result,
    op::{Op, ReduceOp},
};

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident $keep:ident $all:ident, $body:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            pub fn $name(&self, axes: impl Axes) -> Result<Tensor> {
                let axes = resolve_all(stringify!($name), &axes, self.dims())?;
                self.$body(&axes)?.without(&axes)
            }
            #[doc = concat!("[`Tensor::", stringify!($name), "`], the axes staying with extent 1.")]
            pub fn $keep(&self, axes: impl Axes) -> Result<Tensor> {
                let axes = resolve_all(stringify!($name), &axes, self.dims())?;
                self.$body(&axes)
            }
            #[doc = concat!("[`Tensor::", stringify!($name), "`] over all axes; the result has rank 0.")]
            pub fn $all(&self) -> Result<Tensor> {
                self.$name(..)
            }
        )*}
    };
}

reductions! {
    /// The sum. Integers are summed in i64, which is the result's type (u64 for u64), and wrap there; 16-bit floats are summed in
    /// f32. Of nothing: 0.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1f32, 2., 3., 4., 5., 6.], (2, 3), &device)?;
    /// assert_eq!(x.sum(-1)?.to_vec1::<f32>()?, [6., 15.]);
    /// assert_eq!(x.mean([0, 1])?.to_vec0::<f32>()?, 3.5);
    /// assert_eq!(x.max_keepdim(0)?.dims(), [1, 3]);
    /// let e = x.sum(2).unwrap_err();
    /// assert_eq!(e.to_string(), "sum: axis 2 of a tensor of shape [2, 3]: accepted are -2..=1");
    /// # Ok::<(), anychip::Error>(())
    /// ```
    sum sum_keepdim sum_all, reduce_sum;
    /// The product, in the types of [`Tensor::sum`]. Of nothing: 1.
    prod prod_keepdim prod_all, reduce_prod;
    /// The largest element; NaN when one is NaN. Of nothing: an error.
    max max_keepdim max_all, reduce_max;
    /// The smallest element; NaN when one is NaN. Of nothing: an error.
    min min_keepdim min_all, reduce_min;
    /// The arithmetic mean; floats only. Of nothing: NaN.
    mean mean_keepdim mean_all, reduce_mean;
    /// Is any element true; bool only. Of nothing: false.
    any any_keepdim any_all, reduce_any;
    /// Are all elements true; bool only. Of nothing: true.
    all all_keepdim all_all, reduce_all;
    /// The unbiased variance Σ(x−mean)²/(n−1); floats only. Of one element or nothing: NaN.
    var var_keepdim var_all, reduce_var;
    /// The square root of the unbiased variance; floats only. Squares of differences are scaled where they would leave the type.
    std std_keepdim std_all, reduce_std;
    /// ln Σ e^x, without overflow in between; floats only. Of nothing: −∞.
    logsumexp logsumexp_keepdim logsumexp_all, reduce_logsumexp;
}

impl Tensor {
    pub(super) fn reduce(&self, op: ReduceOp, axes: &[usize]) -> Result<Tensor> {
        if axes.is_empty() {
            // Nothing to reduce over, but the type is still checked.
            self.op(Op::Reduce { op, axes: vec![] }, &[])?;
            return Ok(self.clone());
        }
        self.op(Op::Reduce { op, axes: axes.to_vec() }, &[])
    }

    pub(super) fn reduce_sum(&self, axes: &[usize]) -> Result<Tensor> {
        self.summable()?.reduce(ReduceOp::Sum, axes)
    }

    /// In the type that holds its sums: PyTorch's choice, a count of bytes must not wrap at 127.
    fn summable(&self) -> Result<Tensor> {
        match self.dtype() {
            d if d.is_int() && d != DType::U64 => self.to_dtype(DType::I64),
            _ => Ok(self.clone()),
        }
    }

    fn reduce_prod(&self, axes: &[usize]) -> Result<Tensor> {
        self.summable()?.reduce(ReduceOp::Prod, axes)
    }

    pub(super) fn reduce_max(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(ReduceOp::Max, axes)
    }

    pub(super) fn reduce_min(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(ReduceOp::Min, axes)
    }

    fn reduce_any(&self, axes: &[usize]) -> Result<Tensor> {
        self.expect_bool("any")?;
        self.reduce(ReduceOp::Or, axes)
    }

    fn reduce_all(&self, axes: &[usize]) -> Result<Tensor> {
        self.expect_bool("all")?;
        self.reduce(ReduceOp::And, axes)
    }

    pub(super) fn reduce_mean(&self, axes: &[usize]) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::DTypeMismatch(format!(
                "mean: takes a float tensor, got {}; convert with to_dtype()",
                self.dtype()
            )));
        }
        let count: usize = axes.iter().map(|&a| self.dims()[a]).product();
        // The sum of a 16-bit type may overflow where the mean does not.
        let wide = if self.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        self.to_dtype(wide)?.reduce(ReduceOp::Sum, axes)?.div(count)?.to_dtype(self.dtype())
    }
}
