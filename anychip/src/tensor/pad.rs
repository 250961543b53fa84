//! Elements added around a tensor, or taken away at its rim.

use super::{Tensor, operand::Scalar};
use anychip_hal::{Error, Result, op::Op};
use anychip_kernels::View;

impl Tensor {
    /// Elements of one value in front of and behind the last axes: `widths[i]` is `[before, after]` of axis
    /// `rank - widths.len() + i`. A negative number takes elements away.
    ///
    /// # Errors
    /// `ShapeMismatch` when more is taken away than is there; `InvalidArgument` when the value is none of the element type.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1f32, 2., 3.], 3, &device)?;
    /// assert_eq!(x.pad(&[[1, 2]], 0.5)?.to_vec1::<f32>()?, [0.5, 1., 2., 3., 0.5, 0.5]);
    /// assert_eq!(x.pad(&[[-1, 1]], 0)?.to_vec1::<f32>()?, [2., 3., 0.]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn pad(&self, widths: &[[i64; 2]], value: impl Into<Scalar>) -> Result<Tensor> {
        let value = value.into().bits("pad", self.dtype())?;
        let (inner, widths) = self.cropped("pad", widths)?;
        if widths.iter().all(|w| *w == [0, 0]) {
            return Ok(inner);
        }
        let before = widths.iter().map(|w| w[0]).collect();
        let after = widths.iter().map(|w| w[1]).collect();
        inner.op(Op::Pad { before, after, value }, &[])
    }

    /// As [`Tensor::pad`], with the elements next to the edge in reverse order, the edge itself not repeated.
    ///
    /// # Errors
    /// `ShapeMismatch` also when a width is not below the extent of its axis.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1i32, 2, 3], 3, &device)?;
    /// assert_eq!(x.pad_reflect(&[[2, 1]])?.to_vec1::<i32>()?, [3, 2, 1, 2, 3, 2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn pad_reflect(&self, widths: &[[i64; 2]]) -> Result<Tensor> {
        self.extended("pad_reflect", widths, |x, axis, [before, after]| {
            let n = x.dims()[axis];
            if before.max(after) >= n {
                let why = format!(
                    "has extent {n} along axis {axis}; {before} before and {after} after must both be below it, for the edge is \
                     not repeated"
                );
                return Err(x.shape_error("pad_reflect", &why));
            }
            let front = x.narrow(axis as i64, 1, before)?.flip(axis)?;
            let back = x.narrow(axis as i64, n - 1 - after, after)?.flip(axis)?;
            Ok([front, back])
        })
    }

    /// As [`Tensor::pad`], with the element at the edge.
    ///
    /// # Errors
    /// `ShapeMismatch` also when an axis that is padded has no element.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1i32, 2, 3], 3, &device)?;
    /// assert_eq!(x.pad_replicate(&[[2, 1]])?.to_vec1::<i32>()?, [1, 1, 1, 2, 3, 3]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    #[doc(alias = "pad_edge")]
    pub fn pad_replicate(&self, widths: &[[i64; 2]]) -> Result<Tensor> {
        self.extended("pad_replicate", widths, |x, axis, [before, after]| {
            let n = x.dims()[axis];
            if n == 0 {
                return Err(x.shape_error("pad_replicate", &format!("has no element along axis {axis} to repeat")));
            }
            let repeated = |start: usize, len: usize| {
                let mut to = x.dims().to_vec();
                to[axis] = len;
                x.narrow(axis as i64, start, 1)?.view(View::Expand(to))
            };
            Ok([repeated(0, before)?, repeated(n - 1, after)?])
        })
    }

    /// Axis by axis, what `ends` says in front and behind.
    fn extended(
        &self,
        what: &str,
        widths: &[[i64; 2]],
        ends: impl Fn(&Tensor, usize, [usize; 2]) -> Result<[Tensor; 2]>,
    ) -> Result<Tensor> {
        let (inner, widths) = self.cropped(what, widths)?;
        let mut to = Vec::with_capacity(widths.len());
        for (n, w) in inner.dims().iter().zip(&widths) {
            to.push(n.checked_add(w[0]).and_then(|n| n.checked_add(w[1])).unwrap_or(usize::MAX));
        }
        anychip_kernels::shape::elements(&to)?;
        let mut x = inner;
        for (axis, &w) in widths.iter().enumerate().filter(|(_, w)| **w != [0, 0]) {
            let [front, back] = ends(&x, axis, w)?;
            let parts: Vec<Tensor> = [front, x, back].into_iter().filter(|p| p.dims()[axis] > 0).collect();
            x = Tensor::cat(&parts, axis as i64)?;
        }
        Ok(x)
    }

    /// Without what negative widths take away; and the other widths, for every axis.
    fn cropped(&self, what: &str, widths: &[[i64; 2]]) -> Result<(Tensor, Vec<[usize; 2]>)> {
        let Some(lead) = self.rank().checked_sub(widths.len()) else {
            return Err(self.shape_error(what, &format!("has fewer axes than the {} widths {widths:?}", widths.len())));
        };
        let (mut start, mut len) = (vec![0; self.rank()], self.dims().to_vec());
        let mut more = vec![[0; 2]; self.rank()];
        for (i, w) in widths.iter().enumerate() {
            let axis = lead + i;
            let less = w.map(|n| usize::try_from(n.min(0).unsigned_abs()).unwrap_or(usize::MAX));
            more[axis] = w.map(|n| usize::try_from(n.max(0)).unwrap_or(usize::MAX));
            let left = len[axis].checked_sub(less[0]).and_then(|n| n.checked_sub(less[1]));
            let Some(left) = left else {
                return Err(Error::ShapeMismatch(format!(
                    "{what}: {} before and {} after take more from axis {axis} of shape {:?} than its {} elements",
                    w[0],
                    w[1],
                    self.dims(),
                    len[axis]
                )));
            };
            // Where nothing is left, it does not matter where it begins, but it must be inside.
            (start[axis], len[axis]) = (if left == 0 { 0 } else { less[0] }, left);
        }
        if len == self.dims() {
            return Ok((self.clone(), more));
        }
        let step = vec![1; self.rank()];
        Ok((self.view(View::Slice { start, step, len })?, more))
    }
}
