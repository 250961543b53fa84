//! Resizing of the last axes, one after the other: places and weights are computed on the host, elements selected on the device.

use super::{Tensor, axes::IntoShape, axes::shape, spatial::host_list};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::shape::elements;

/// How a resized tensor takes its elements from the original. Of n elements resized to s, element i takes:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resize {
    /// Element ⌊i·n/s⌋.
    Nearest,
    /// The two elements around (i + ½)·n/s − ½ (no less than 0), weighted by how near they are: as images are resized.
    Linear,
    /// The two elements around i·(n−1)/(s−1): first and last elements stay where they are.
    LinearAlignCorners,
}

impl Tensor {
    /// The last axes resized to so many elements each, as PyTorch's `interpolate(size=…)`: two sizes resize images of
    /// `[…, height, width]`. Linear resizing is for floats; 16-bit types are weighted in f32.
    ///
    /// # Errors
    /// `ShapeMismatch` when there are more sizes than axes, a size is 0, or an axis has no elements; `DTypeMismatch`.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{Resize, Tensor};
    /// let x = Tensor::from_vec(vec![1f32, 2., 4.], 3, &device)?;
    /// assert_eq!(x.interpolate(6, Resize::Nearest)?.to_vec1::<f32>()?, [1., 1., 2., 2., 4., 4.]);
    /// assert_eq!(x.interpolate(5, Resize::LinearAlignCorners)?.to_vec1::<f32>()?, [1., 1.5, 2., 3., 4.]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn interpolate(&self, size: impl IntoShape, mode: Resize) -> Result<Tensor> {
        let size = shape("interpolate", size)?;
        self.resized(&size, mode, |axis, n, i| match mode {
            Resize::Nearest => (i as u128 * n as u128 / size[axis] as u128) as f64,
            Resize::Linear => (i as f64 + 0.5) * n as f64 / size[axis] as f64 - 0.5,
            Resize::LinearAlignCorners => i as f64 * (n - 1) as f64 / (size[axis].max(2) - 1) as f64,
        })
    }

    /// The last axes resized by a factor each, as PyTorch's `interpolate(scale_factor=…)`: n elements become ⌊n·factor⌋, and
    /// places are found with 1/factor instead of n/s. The factor says nothing where corners are aligned.
    ///
    /// # Errors
    /// As [`Tensor::interpolate`]; `InvalidArgument` for a factor that is no positive number.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{DType, Resize, Tensor};
    /// let x = Tensor::zeros((1, 3, 10, 20), DType::F32, &device)?;
    /// assert_eq!(x.interpolate_by(&[1.5, 0.5], Resize::Linear)?.dims(), [1, 3, 15, 10]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn interpolate_by(&self, factors: &[f64], mode: Resize) -> Result<Tensor> {
        if let Some(bad) = factors.iter().find(|f| !f.is_finite() || **f <= 0.0) {
            return Err(Error::invalid(format!(
                "interpolate_by: the factor {bad} of {factors:?} is no positive number"
            )));
        }
        let lead = self.rank().saturating_sub(factors.len());
        // A float beyond the integers becomes the largest, which is refused below.
        let size: Vec<usize> = self.dims()[lead..].iter().zip(factors).map(|(&n, f)| (n as f64 * f) as usize).collect();
        if size.len() < factors.len() {
            return self.resized(&vec![1; factors.len()], mode, |_, _, _| 0.0);
        }
        self.resized(&size, mode, |axis, n, i| match mode {
            Resize::Nearest => (i as f64 / factors[axis]).floor(),
            Resize::Linear => (i as f64 + 0.5) / factors[axis] - 0.5,
            Resize::LinearAlignCorners => i as f64 * (n - 1) as f64 / (size[axis].max(2) - 1) as f64,
        })
    }

    /// `place(a, n, i)` is where element i of resized axis a lies among the n elements there were.
    fn resized(&self, size: &[usize], mode: Resize, place: impl Fn(usize, usize, usize) -> f64) -> Result<Tensor> {
        let Some(lead) = self.rank().checked_sub(size.len()) else {
            return Err(
                self.shape_error("interpolate", &format!("has fewer axes than the {} that are resized", size.len()))
            );
        };
        let mut to = self.dims().to_vec();
        to[lead..].copy_from_slice(size);
        elements(&to)?;
        if size.contains(&0) || self.dims()[lead..].contains(&0) {
            return Err(self.shape_error("interpolate", &format!("cannot become {to:?}: resized axes have elements")));
        }
        if mode != Resize::Nearest && !self.dtype().is_float() {
            return Err(Error::DTypeMismatch(format!(
                "interpolate: linear resizing takes a float tensor, got {}; convert with to_dtype()",
                self.dtype()
            )));
        }
        let own = self.dtype();
        let work = if own == DType::F64 { DType::F64 } else { DType::F32 };
        let mut x = self.clone();
        for (a, &s) in size.iter().enumerate() {
            let (axis, n) = (lead + a, self.dims()[lead + a]);
            // What would change nothing is left out; aligned or not, as many elements lie where they were.
            let same = |i: usize| place(a, n, i) == i as f64;
            if s == n && (0..n).all(same) {
                continue;
            }
            let at = |i: usize| place(a, n, i).clamp(0.0, (n - 1) as f64);
            let low = Tensor::from_vec(host_list("interpolate", s, |i| at(i) as u32)?, s, &self.device)?;
            let first = x.index_select(axis as i64, &low)?;
            if mode == Resize::Nearest {
                x = first;
                continue;
            }
            let high = host_list("interpolate", s, |i| (at(i) as usize + 1).min(n - 1) as u32)?;
            let second = x.index_select(axis as i64, &Tensor::from_vec(high, s, &self.device)?)?;
            let mut unit = vec![1; self.rank() - lead - a];
            unit[0] = s;
            let weight = host_list("interpolate", s, |i| at(i).fract())?;
            let near = weight.iter().map(|w| 1.0 - w).collect();
            // Rounded here: a device need not have doubles.
            let weights = |w: Vec<f64>| match work {
                DType::F64 => Tensor::from_vec(w, unit.as_slice(), &self.device),
                _ => Tensor::from_vec(w.iter().map(|&w| w as f32).collect::<Vec<_>>(), unit.as_slice(), &self.device),
            };
            x = first.to_dtype(work)?.mul(&weights(near)?)?.add(&second.to_dtype(work)?.mul(&weights(weight)?)?)?;
        }
        x.to_dtype(own)
    }
}
