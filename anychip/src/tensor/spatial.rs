//! What convolutions, pooling and resizing share: numbers per spatial axis, and windows along the last axes.

use super::Tensor;
use anychip_hal::{Error, Result};
use anychip_kernels::View;

/// What may stand for a number per spatial axis: one number for all of them, or an array with the first axis first.
pub trait Extents<const N: usize> {
    /// One number per axis.
    fn extents(self) -> [usize; N];
}

impl<const N: usize> Extents<N> for usize {
    fn extents(self) -> [usize; N] {
        [self; N]
    }
}

impl<const N: usize> Extents<N> for [usize; N] {
    fn extents(self) -> [usize; N] {
        self
    }
}

impl Extents<2> for (usize, usize) {
    fn extents(self) -> [usize; 2] {
        [self.0, self.1]
    }
}

/// How far a window of so many elements reaches; the largest number when that is beyond all.
pub(crate) fn span(size: usize, dilation: usize) -> usize {
    size.saturating_sub(1).saturating_mul(dilation).saturating_add(size.min(1))
}

/// A number for each of `n` places, made on the host, which may not hold as many.
pub(crate) fn host_list<T>(what: &str, n: usize, f: impl Fn(usize) -> T) -> Result<Vec<T>> {
    let mut list = Vec::new();
    if n > u32::MAX as usize || list.try_reserve_exact(n).is_err() {
        return Err(Error::ShapeMismatch(format!("{what}: {n} places along an axis are more than the host can list")));
    }
    list.extend((0..n).map(f));
    Ok(list)
}

impl Tensor {
    /// The last `N` axes, counted and then along each window: `[…, count per axis…, size per axis…]`.
    pub(super) fn windows<const N: usize>(
        &self,
        size: [usize; N],
        step: [usize; N],
        dilation: [usize; N],
    ) -> Result<Tensor> {
        let first = self.rank() - N;
        (0..N).try_fold(self.clone(), |x, i| {
            x.view(View::Window { axis: first + i, size: size[i], step: step[i], dilation: dilation[i] })
        })
    }

    /// Slices of `size` elements along an axis, one every `step`: the axis counts them, and a new last axis goes along each.
    /// Nothing is copied, however much they overlap. What is left behind the last whole slice is not seen.
    ///
    /// # Errors
    /// `ShapeMismatch` when `size` is above the axis' extent, or a number is 0.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::arange(0i32, 6, &device)?;
    /// assert_eq!(x.unfold(0, 3, 2)?.to_vec2::<i32>()?, [[0, 1, 2], [2, 3, 4]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn unfold(&self, axis: i64, size: usize, step: usize) -> Result<Tensor> {
        let axis = self.axis("unfold", axis)?;
        self.view(View::Window { axis, size, step, dilation: 1 })
    }
}
