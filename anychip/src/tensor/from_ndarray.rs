//! From and to the array type of the Rust ecosystem.

use super::Tensor;
use crate::{Device, Element};
use anychip_hal::{Error, Result};
use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};

impl Tensor {
    /// A tensor from an array of any layout.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let a = ndarray::array![[1i32, 2, 3], [4, 5, 6]];
    /// let x = Tensor::from_ndarray(&a.t(), &device)?;
    /// assert_eq!(x.dims(), [3, 2]);
    /// assert_eq!(x.to_ndarray::<i32>()?, a.t().into_dyn());
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn from_ndarray<T, S, D>(array: &ArrayBase<S, D, T>, device: &Device) -> Result<Tensor>
    where
        T: Element,
        S: Data<Elem = T>,
        D: Dimension,
    {
        Tensor::from_vec(array.iter().copied().collect(), array.shape(), device)
    }

    /// The values as an array, row-major.
    ///
    /// # Errors
    /// `DTypeMismatch` when `T` is not the element type.
    pub fn to_ndarray<T: Element>(&self) -> Result<ArrayD<T>> {
        ArrayD::from_shape_vec(IxDyn(self.dims()), self.to_vec()?)
            .map_err(|e| Error::ShapeMismatch(format!("to_ndarray: shape {:?}: {e}", self.dims())))
    }
}
