//! Elements at computed places: gather, select, take, and their like.
//!
//! Ids count from 0; negative ids are out of range and do not count from the end. Ids that are known on the host (a tensor made
//! from values, under any views) are checked by the call. Others are checked on the device: reading outside gives NaN, 0 for
//! integers and false for bool.

use super::Tensor;
use anychip_hal::{Error, Result, op::Op};
use anychip_kernels::View;

impl Tensor {
    /// Elements along an axis: element `[i, j, k]` of the result is, for axis 1, element `[i, index[i, j, k], k]` of this tensor.
    /// `index` has integers, this tensor's rank, and outside the axis at most its extents; the result has the shape of the index
    /// and this tensor's type.
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch` when the index does not fit; `InvalidArgument` names an id outside the axis that is known
    /// on the host. Others give NaN (0 for integers, false for bool).
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::arange(0f32, 6., &device)?.reshape((2, 3))?;
    /// let index = Tensor::from_vec(vec![2u32, 0, 1, 1], (2, 2), &device)?;
    /// assert_eq!(x.gather(1, &index)?.to_vec2::<f32>()?, [[2., 0.], [4., 4.]]);
    /// let e = x.gather(1, &Tensor::from_vec(vec![0i64, -1], (1, 2), &device)?).unwrap_err();
    /// assert_eq!(e.to_string(), "gather: id -1 at position [0, 1] is outside axis 1 of shape [2, 3]");
    /// # Ok::<(), anychip::Error>(())
    /// ```
    #[doc(alias = "take_along_axis")]
    pub fn gather(&self, axis: i64, index: &Tensor) -> Result<Tensor> {
        let at = self.axis("gather", axis)?;
        index.on("gather", &self.device)?;
        let (own, want) = (self.dims(), index.dims());
        if own.len() != want.len() || (0..own.len()).any(|i| i != at && want[i] > own[i]) {
            return Err(Error::ShapeMismatch(format!(
                "gather: index of shape {want:?} beside {own:?}: must have its rank and, outside axis {at}, at most its extents"
            )));
        }
        let mut len = want.to_vec();
        len[at] = own[at];
        let part = self.part(&len)?;
        let out = part.op(Op::Gather { axis: at }, &[index])?;
        index.check_ids("gather", own[at], &format!("axis {at} of shape {own:?}"))?;
        Ok(out)
    }

    /// The first elements along each axis, `len` of them.
    pub(super) fn part(&self, len: &[usize]) -> Result<Tensor> {
        if len == self.dims() {
            return Ok(self.clone());
        }
        self.view(View::Slice { start: vec![0; len.len()], step: vec![1; len.len()], len: len.to_vec() })
    }

    /// The elements of an axis that a list of ids names, in its order; ids may repeat. The axis gets the extent of `ids`, which has
    /// rank 1 and integers.
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch` when the ids do not fit; `InvalidArgument` names an id outside the axis that is known on
    /// the host. Others give NaN (0 for integers, false for bool).
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::arange(0i32, 6, &device)?.reshape((2, 3))?;
    /// let ids = Tensor::from_vec(vec![2u32, 2, 0], 3, &device)?;
    /// assert_eq!(x.index_select(1, &ids)?.to_vec2::<i32>()?, [[2, 2, 0], [5, 5, 3]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn index_select(&self, axis: i64, ids: &Tensor) -> Result<Tensor> {
        let at = self.axis("index_select", axis)?;
        ids.on("index_select", &self.device)?;
        let index = ids.ids_along(at, self.dims(), "index_select")?;
        let out = self.op(Op::Gather { axis: at }, &[&index])?;
        ids.check_ids("index_select", self.dims()[at], &format!("axis {at} of shape {:?}", self.dims()))?;
        Ok(out)
    }

    /// A list of ids along one axis of a shape, the same along all others.
    pub(super) fn ids_along(&self, axis: usize, shape: &[usize], what: &str) -> Result<Tensor> {
        self.expect_ids(what)?;
        if self.rank() != 1 {
            return Err(self.shape_error(&format!("{what}: ids"), "must have rank 1"));
        }
        let mut unit = vec![1; shape.len()];
        unit[axis] = self.dims()[0];
        let mut full = shape.to_vec();
        full[axis] = self.dims()[0];
        self.view(View::Reshape(unit))?.view(View::Expand(full))
    }

    /// Refuses ids that are no integers.
    pub(super) fn expect_ids(&self, what: &str) -> Result<()> {
        if self.dtype().is_int() {
            return Ok(());
        }
        Err(Error::DTypeMismatch(format!("{what}: ids are {}, must be integers", self.dtype())))
    }

    /// Elements of this tensor as if it were flat, row-major: the result has the shape of `ids`.
    ///
    /// # Errors
    /// As [`Tensor::gather`].
    pub fn take(&self, ids: &Tensor) -> Result<Tensor> {
        ids.on("take", &self.device)?;
        ids.expect_ids("take")?;
        let out = self.flatten_all()?.op(Op::Gather { axis: 0 }, &[&ids.flatten_all()?])?;
        ids.check_ids(
            "take",
            self.elem_count(),
            &format!("the {} elements of shape {:?}", self.elem_count(), self.dims()),
        )?;
        out.view(View::Reshape(ids.dims().to_vec()))
    }
}
