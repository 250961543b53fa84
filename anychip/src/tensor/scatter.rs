//! Elements written to computed places.
//!
//! The results are the same on every run and every device, up to the rounding of a sum's terms in their order: ids are sorted
//! stably, then each element of the result looks for its updates. Nothing is atomic. Ids that are known on the host are checked
//! by the call; updates to other ids outside the axis go nowhere.

use super::Tensor;
use anychip_hal::{
    Error, Result,
    op::{Op, ReduceOp},
};

impl Tensor {
    /// This tensor with elements of `source` written along an axis: for axis 1, element `[i, index[i, j, k], k]` becomes
    /// `source[i, j, k]`. Where several updates go to one place, the last along the axis stays. `index` (integers) and `source` (this
    /// tensor's type) have this tensor's rank; the index has at most the extents of `source`, and outside the axis at most this
    /// tensor's.
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch` when the operands do not fit; `InvalidArgument` names an id outside the axis that is known
    /// on the host. Updates to others go nowhere.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{DType, Tensor};
    /// let x = Tensor::zeros((2, 3), DType::F32, &device)?;
    /// let index = Tensor::from_vec(vec![0u32, 2, 1, 1], (2, 2), &device)?;
    /// let source = Tensor::from_vec(vec![1f32, 2., 3., 4.], (2, 2), &device)?;
    /// assert_eq!(x.scatter(1, &index, &source)?.to_vec2::<f32>()?, [[1., 0., 2.], [0., 4., 0.]]);
    /// assert_eq!(x.scatter_add(1, &index, &source)?.to_vec2::<f32>()?, [[1., 0., 2.], [0., 7., 0.]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn scatter(&self, axis: i64, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        self.scattered("scatter", axis, None, index, source)
    }

    /// This tensor with elements of `source` added along an axis: as [`Tensor::scatter`], but updates of one place are added to
    /// what is there, in their order along the axis. f16 and bf16 are added in f32 and rounded once; integers wrap.
    ///
    /// # Errors
    /// As [`Tensor::scatter`]; and `DTypeMismatch` for bool.
    pub fn scatter_add(&self, axis: i64, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        self.scattered("scatter_add", axis, Some(ReduceOp::Sum), index, source)
    }

    /// This tensor with slices of `source` added to the slices of an axis that a list of ids names: slice j of `source` to slice
    /// `ids[j]`, in the order of the list; ids may repeat. `ids` has rank 1; `source` has this tensor's type, its rank, its
    /// extents outside the axis, and the extent of `ids` along it. Sums as in [`Tensor::scatter_add`].
    ///
    /// # Errors
    /// As [`Tensor::scatter_add`].
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{DType, Tensor};
    /// let ids = Tensor::from_vec(vec![1u32, 1, 0], 3, &device)?;
    /// let rows = Tensor::from_vec(vec![1f32, 2., 3., 4., 5., 6.], (3, 2), &device)?;
    /// let x = Tensor::zeros((2, 2), DType::F32, &device)?.index_add(0, &ids, &rows)?;
    /// assert_eq!(x.to_vec2::<f32>()?, [[5., 6.], [4., 6.]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn index_add(&self, axis: i64, ids: &Tensor, source: &Tensor) -> Result<Tensor> {
        self.indexed("index_add", axis, Some(ReduceOp::Sum), ids, source)
    }

    /// This tensor with slices of `source` in place of the slices of an axis that a list of ids names; of several for one slice the
    /// last stays. Shapes as in [`Tensor::index_add`].
    ///
    /// # Errors
    /// As [`Tensor::scatter`].
    pub fn index_copy(&self, axis: i64, ids: &Tensor, source: &Tensor) -> Result<Tensor> {
        self.indexed("index_copy", axis, None, ids, source)
    }

    fn indexed(
        &self,
        what: &str,
        axis: i64,
        reduce: Option<ReduceOp>,
        ids: &Tensor,
        source: &Tensor,
    ) -> Result<Tensor> {
        let at = self.axis(what, axis)?;
        ids.on(what, &self.device)?;
        source.on(what, &self.device)?;
        let index = ids.ids_along(at, self.dims(), what)?;
        if source.dims() != index.dims() {
            return Err(Error::ShapeMismatch(format!(
                "{what}: source of shape {:?} for {} slices along axis {at} of {:?}: must be {:?}",
                source.dims(),
                ids.elem_count(),
                self.dims(),
                index.dims()
            )));
        }
        let out = self.op(Op::Scatter { axis: at, reduce }, &[&index, source])?;
        ids.check_ids(what, self.dims()[at], &format!("axis {at} of shape {:?}", self.dims()))?;
        Ok(out)
    }

    fn scattered(
        &self,
        what: &str,
        axis: i64,
        reduce: Option<ReduceOp>,
        index: &Tensor,
        source: &Tensor,
    ) -> Result<Tensor> {
        let at = self.axis(what, axis)?;
        index.on(what, &self.device)?;
        source.on(what, &self.device)?;
        index.expect_ids(what)?;
        let (own, to, from) = (self.dims(), index.dims(), source.dims());
        let fits = to.len() == own.len()
            && from.len() == own.len()
            && (0..own.len()).all(|i| to[i] <= from[i] && (i == at || to[i] <= own[i]));
        if !fits {
            return Err(Error::ShapeMismatch(format!(
                "{what}: index of shape {to:?}, source of shape {from:?} beside {own:?}: must have its rank, the index at most \
                 the extents of the source and, outside axis {at}, at most its extents"
            )));
        }
        let updates = source.part(to)?;
        // What no index reaches stays as it is, axis by axis.
        let mut reached = to.to_vec();
        reached[at] = own[at];
        let mut out = self.part(&reached)?.op(Op::Scatter { axis: at, reduce }, &[index, &updates])?;
        for i in (0..own.len()).filter(|&i| i != at && to[i] < own[i]) {
            let mut whole = reached.clone();
            whole[i] = own[i];
            let rest = self.part(&whole)?.narrow(i as i64, to[i], own[i] - to[i])?;
            out = Tensor::cat(&[&out, &rest], i as i64)?;
            reached = whole;
        }
        index.check_ids(what, own[at], &format!("axis {at} of shape {own:?}"))?;
        Ok(out)
    }
}
