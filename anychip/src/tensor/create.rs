//! Tensors from nothing and from values of the host.

use super::{
    Tensor,
    axes::{IntoShape, shape},
    operand::Scalar,
};
use crate::{Device, Element};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::Node;

impl Tensor {
    /// A tensor from a vector's elements, row-major; the vector is not copied.
    ///
    /// # Errors
    /// `ShapeMismatch` when the elements do not fill the shape.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1i32, 2, 3, 4, 5, 6], (2, 3), &device)?;
    /// assert_eq!(x.to_vec2::<i32>()?, [[1, 2, 3], [4, 5, 6]]);
    /// let e = Tensor::from_vec(vec![1i32, 2, 3], (2, 3), &device).unwrap_err();
    /// assert_eq!(e.to_string(), "from_vec: shape [2, 3] takes 6 elements, got 3");
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn from_vec<T: Element>(values: Vec<T>, extents: impl IntoShape, device: &Device) -> Result<Tensor> {
        let shape = shape("from_vec", extents)?;
        let want = anychip_kernels::shape::elements(&shape)?;
        if want != values.len() {
            return Err(Error::ShapeMismatch(format!(
                "from_vec: shape {shape:?} takes {want} elements, got {}",
                values.len()
            )));
        }
        Ok(Tensor::from_node(Node::leaf(T::host(values), T::DTYPE, &shape)?, device))
    }

    /// A tensor from a copy of a slice, row-major.
    pub fn from_slice<T: Element>(values: &[T], extents: impl IntoShape, device: &Device) -> Result<Tensor> {
        Tensor::from_vec(values.to_vec(), extents, device)
    }

    /// A tensor of rank 0.
    pub fn from_scalar<T: Element>(value: T, device: &Device) -> Result<Tensor> {
        Tensor::full(value, (), device)
    }

    /// Every element 0 (false for bool).
    pub fn zeros(extents: impl IntoShape, dtype: DType, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_node(Node::full(0, dtype, &shape("zeros", extents)?)?, device))
    }

    /// Every element 1 (true for bool).
    pub fn ones(extents: impl IntoShape, dtype: DType, device: &Device) -> Result<Tensor> {
        let one = if dtype == DType::Bool { Scalar::Bool(true) } else { Scalar::Int(1) };
        Ok(Tensor::from_node(Node::full(one.bits("ones", dtype)?, dtype, &shape("ones", extents)?)?, device))
    }

    /// Every element `value`; its type is the element type.
    pub fn full<T: Element>(value: T, extents: impl IntoShape, device: &Device) -> Result<Tensor> {
        Ok(Tensor::from_node(Node::full(value.bits(), T::DTYPE, &shape("full", extents)?)?, device))
    }

    /// Zeros of this tensor's shape, type and device.
    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::zeros(self.dims(), self.dtype(), &self.device)
    }

    /// Ones of this tensor's shape, type and device.
    pub fn ones_like(&self) -> Result<Tensor> {
        Tensor::ones(self.dims(), self.dtype(), &self.device)
    }

    /// `start, start+1, …`, below `end`.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// assert_eq!(Tensor::arange(2u32, 6, &device)?.to_vec1::<u32>()?, [2, 3, 4, 5]);
    /// assert_eq!(Tensor::arange_step(1f32, 0., -0.25, &device)?.to_vec1::<f32>()?, [1., 0.75, 0.5, 0.25]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn arange<T: Element + Into<Scalar>>(start: T, end: T, device: &Device) -> Result<Tensor> {
        arange::<T>(start.into(), end.into(), Scalar::Int(1), device)
    }

    /// `start, start+step, …`, before `end`; the step may be negative. Element i of a float type is start + i·step, in f32
    /// for f32 and in f64 for f64.
    ///
    /// # Errors
    /// `InvalidArgument` for a step of zero or a bound that is not a number.
    pub fn arange_step<T: Element + Into<Scalar>>(start: T, end: T, step: T, device: &Device) -> Result<Tensor> {
        arange::<T>(start.into(), end.into(), step.into(), device)
    }

    /// The identity matrix of `n` rows.
    pub fn eye(n: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        let rows = Tensor::from_node(Node::iota(0, DType::U32, &[n, n])?, device);
        let cols = Tensor::from_node(Node::iota(1, DType::U32, &[n, n])?, device);
        rows.eq(&cols)?.to_dtype(dtype)
    }
}

fn arange<T: Element>(start: Scalar, end: Scalar, step: Scalar, device: &Device) -> Result<Tensor> {
    let bad = |why: &str| Error::invalid(format!("arange: from {start} to {end} in steps of {step}: {why}"));
    let count = match (start, end, step) {
        (Scalar::Int(a), Scalar::Int(b), Scalar::Int(s)) => match s.signum() {
            0 => return Err(bad("the step must not be 0")),
            1 => (b - a + s - 1).max(0) / s,
            _ => (a - b - s - 1).max(0) / -s,
        },
        _ => {
            let number = |x: Scalar| match x {
                Scalar::Int(x) => Some(x as f64),
                Scalar::Float(x) => x.is_finite().then_some(x),
                Scalar::Bool(_) => None,
            };
            let (Some(a), Some(b), Some(s)) = (number(start), number(end), number(step)) else {
                return Err(bad("all three must be finite numbers"));
            };
            if s == 0.0 {
                return Err(bad("the step must not be 0"));
            }
            ((b - a) / s).ceil().clamp(0.0, 1e18) as i128
        }
    };
    let count = usize::try_from(count).map_err(|_| bad("too many elements"))?;
    let index = Node::iota(0, T::DTYPE, &[count])?;
    let one_step = matches!(step, Scalar::Int(1)) && matches!(start, Scalar::Int(0));
    let x = Tensor::from_node(index, device);
    if one_step { Ok(x) } else { x.mul(step)?.add(start) }
}
