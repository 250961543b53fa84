//! Running sums, products, minima and maxima.

use super::Tensor;
use anychip_hal::{
    Result,
    op::{Op, ReduceOp},
};

impl Tensor {
    /// The sum of the elements up to each, along an axis. Integers wrap in their own type (convert with
    /// [`to_dtype`](Tensor::to_dtype) where that is too narrow); f16 and bf16 are accumulated in f32 and each result is rounded.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there, `DTypeMismatch` for bool.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1f32, 2., 3., 4., 5., 6.], (2, 3), &device)?;
    /// assert_eq!(x.cumsum(1)?.to_vec2::<f32>()?, [[1., 3., 6.], [4., 9., 15.]]);
    /// assert_eq!(x.cumsum_with(1, true, true)?.to_vec2::<f32>()?, [[5., 3., 0.], [11., 6., 0.]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn cumsum(&self, axis: i64) -> Result<Tensor> {
        self.scan("cumsum", ReduceOp::Sum, axis, false, false)
    }

    /// [`Tensor::cumsum`] without each element itself when `exclusive` (the first is then 0), and from the end of the axis when
    /// `reverse`.
    pub fn cumsum_with(&self, axis: i64, exclusive: bool, reverse: bool) -> Result<Tensor> {
        self.scan("cumsum", ReduceOp::Sum, axis, exclusive, reverse)
    }

    /// The product of the elements up to each, along an axis; types as in [`Tensor::cumsum`].
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there, `DTypeMismatch` for bool.
    pub fn cumprod(&self, axis: i64) -> Result<Tensor> {
        self.scan("cumprod", ReduceOp::Prod, axis, false, false)
    }

    /// [`Tensor::cumprod`] without each element itself when `exclusive` (the first is then 1), and from the end of the axis when
    /// `reverse`.
    pub fn cumprod_with(&self, axis: i64, exclusive: bool, reverse: bool) -> Result<Tensor> {
        self.scan("cumprod", ReduceOp::Prod, axis, exclusive, reverse)
    }

    /// The largest of the elements up to each, along an axis; NaN from the first NaN on.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there, `DTypeMismatch` for bool.
    pub fn cummax(&self, axis: i64) -> Result<Tensor> {
        self.scan("cummax", ReduceOp::Max, axis, false, false)
    }

    /// The smallest of the elements up to each, along an axis; NaN from the first NaN on.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there, `DTypeMismatch` for bool.
    pub fn cummin(&self, axis: i64) -> Result<Tensor> {
        self.scan("cummin", ReduceOp::Min, axis, false, false)
    }

    fn scan(&self, what: &str, op: ReduceOp, axis: i64, exclusive: bool, reverse: bool) -> Result<Tensor> {
        let at = self.axis(what, axis)?;
        let scan = Op::Scan { op, axis: at, exclusive };
        if reverse {
            return self.flip(at)?.op(scan, &[])?.flip(at);
        }
        self.op(scan, &[])
    }
}
