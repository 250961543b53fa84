//! Sorting, and the largest or smallest elements.
//!
//! The order is total: −0 equals 0, NaN is greater than every number and equal to NaN, false is less than true. Sorting is stable:
//! equal elements keep their order, whichever way is up. Positions are u32.

use super::Tensor;
use anychip_hal::{Error, Result, op::Op};

impl Tensor {
    /// The positions, as u32, that sort an axis: [`Tensor::gather`] with them gives the sorted axis. Equal elements keep their order,
    /// NaN is greater than all numbers.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![3f32, 1., f32::NAN, 1.], 4, &device)?;
    /// assert_eq!(x.argsort(0, false)?.to_vec1::<u32>()?, [1, 3, 0, 2]);
    /// assert_eq!(x.argsort(0, true)?.to_vec1::<u32>()?, [2, 0, 1, 3]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn argsort(&self, axis: i64, descending: bool) -> Result<Tensor> {
        let at = self.axis("argsort", axis)? as i64;
        let sort = Op::ArgSort { descending };
        if at + 1 == self.rank() as i64 {
            return self.op(sort, &[]);
        }
        self.transpose(at, -1)?.op(sort, &[])?.transpose(at, -1)
    }

    /// The elements of an axis in order, and where each was (u32). Equal elements keep their order; ascending, NaN comes last;
    /// descending, first.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![3i32, 1, 2, 9, 7, 8], (2, 3), &device)?;
    /// let (values, positions) = x.sort(1, false)?;
    /// assert_eq!(values.to_vec2::<i32>()?, [[1, 2, 3], [7, 8, 9]]);
    /// assert_eq!(positions.to_vec2::<u32>()?, [[1, 2, 0], [1, 2, 0]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn sort(&self, axis: i64, descending: bool) -> Result<(Tensor, Tensor)> {
        let at = self.axis("sort", axis)?;
        let positions = self.argsort(at as i64, descending)?;
        Ok((self.op(Op::Gather { axis: at }, &[&positions])?, positions))
    }

    /// The `k` largest elements of an axis (the smallest, unless `largest`), in order, and where each was (u32). Of equal elements
    /// the first come first; NaN is greater than all numbers.
    ///
    /// # Errors
    /// `ShapeMismatch` for an axis that is not there or has fewer than `k` elements.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![3f32, 1., 4., 1., 5.], 5, &device)?;
    /// let (values, positions) = x.topk(2, 0, true)?;
    /// assert_eq!(values.to_vec1::<f32>()?, [5., 4.]);
    /// assert_eq!(positions.to_vec1::<u32>()?, [4, 2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn topk(&self, k: usize, axis: i64, largest: bool) -> Result<(Tensor, Tensor)> {
        let at = self.axis("topk", axis)?;
        let n = self.dims()[at];
        if k > n {
            return Err(Error::ShapeMismatch(format!(
                "topk: {k} elements of axis {at} of shape {:?}, which has {n}",
                self.dims()
            )));
        }
        let positions = self.argsort(at as i64, largest)?.narrow(at as i64, 0, k)?;
        Ok((self.op(Op::Gather { axis: at }, &[&positions])?, positions))
    }
}
