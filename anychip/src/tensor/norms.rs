//! Norms: over trailing axes, over groups of channels, with given statistics.
//!
//! Sums are taken in f32 (f64 for f64). The sum of a row's squared differences must stay inside the type: numbers up to 1e18/√n in
//! f32, n being the elements of a row. Beyond, the variance is infinite and the norm 0, as in PyTorch.

use super::Tensor;
use anychip_hal::{Error, Result, op::Op};
use anychip_kernels::View;

impl Tensor {
    /// (x−mean)/√(var+eps) · weight + bias along the trailing axes whose shape weight and bias have; along the last axis when
    /// there is neither. The variance is that of all elements (divided by their number, not one less).
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch` when weight or bias do not fit; `InvalidArgument` for a negative eps.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1f32, 3., -2., 2.], (2, 2), &device)?;
    /// assert_eq!(x.layer_norm(None, None, 0.0)?.to_vec2::<f32>()?, [[-1., 1.], [-1., 1.]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn layer_norm<'a>(
        &self,
        weight: impl Into<Option<&'a Tensor>>,
        bias: impl Into<Option<&'a Tensor>>,
        eps: f32,
    ) -> Result<Tensor> {
        let (weight, bias) = (weight.into(), bias.into());
        let axes = weight.or(bias).map_or(1, Tensor::rank);
        self.layer_norm_over(axes, weight, bias, eps)
    }

    /// [`Tensor::layer_norm`] along the last `axes` axes, whose shape weight and bias have.
    pub fn layer_norm_over<'a>(
        &self,
        axes: usize,
        weight: impl Into<Option<&'a Tensor>>,
        bias: impl Into<Option<&'a Tensor>>,
        eps: f32,
    ) -> Result<Tensor> {
        self.check_eps("layer_norm", eps)?;
        let rows = self.rows_of("layer_norm", axes)?;
        let weight = self.trailing("layer_norm", "weight", axes, weight.into(), 1)?;
        let bias = self.trailing("layer_norm", "bias", axes, bias.into(), 0)?;
        rows.op(Op::LayerNorm { eps }, &[&weight, &bias])?.view(View::Reshape(self.dims().to_vec()))
    }

    /// x/√(mean(x²)+eps) · weight along the trailing axes whose shape the weight has; along the last axis without one.
    ///
    /// # Errors
    /// As [`Tensor::layer_norm`].
    pub fn rms_norm<'a>(&self, weight: impl Into<Option<&'a Tensor>>, eps: f32) -> Result<Tensor> {
        self.check_eps("rms_norm", eps)?;
        let weight = weight.into();
        let axes = weight.map_or(1, Tensor::rank);
        let rows = self.rows_of("rms_norm", axes)?;
        let weight = self.trailing("rms_norm", "weight", axes, weight, 1)?;
        rows.op(Op::RmsNorm { eps }, &[&weight])?.view(View::Reshape(self.dims().to_vec()))
    }

    pub(super) fn check_eps(&self, what: &str, eps: f32) -> Result<()> {
        if eps >= 0.0 && eps.is_finite() {
            return Ok(());
        }
        Err(Error::invalid(format!("{what}: eps is {eps}, must be a finite number of at least 0")))
    }

    /// The last axes as one.
    fn rows_of(&self, what: &str, axes: usize) -> Result<Tensor> {
        self.expect_float(what)?;
        if axes == 0 || axes > self.rank() {
            return Err(self.shape_error(what, &format!("has no {axes} trailing axes to go along")));
        }
        let (lead, last) = self.dims().split_at(self.rank() - axes);
        let mut shape = lead.to_vec();
        shape.push(last.iter().product());
        self.view(View::Reshape(shape))
    }

    /// A weight or bias of the shape of the last axes, in one axis; all the same where none is given.
    fn trailing(&self, what: &str, name: &str, axes: usize, x: Option<&Tensor>, otherwise: i32) -> Result<Tensor> {
        let last = &self.dims()[self.rank() - axes..];
        let flat = vec![last.iter().product::<usize>()];
        let Some(x) = x else {
            return Tensor::zeros(flat, self.dtype(), &self.device)?.add(otherwise);
        };
        x.on(what, &self.device)?;
        if x.dtype() != self.dtype() {
            return Err(Error::DTypeMismatch(format!(
                "{what}: types {} and {} differ; convert {name} with to_dtype()",
                self.dtype(),
                x.dtype()
            )));
        }
        if x.dims() != last {
            return Err(Error::ShapeMismatch(format!(
                "{what}: {name} has shape {:?}, must be {last:?}, the last axes of {:?}",
                x.dims(),
                self.dims()
            )));
        }
        x.view(View::Reshape(flat))
    }

    /// Groups of neighbouring channels (axis 1), each group of each batch element normed over all its elements, then multiplied by
    /// a weight and added to a bias per channel (Wu and He, 2018). Ranks 2 and more: `[batch, channels, …]`.
    ///
    /// # Errors
    /// `ShapeMismatch` when the groups do not divide the channels, or weight or bias do not have one number per channel;
    /// `DTypeMismatch`, `InvalidArgument`.
    pub fn group_norm<'a>(
        &self,
        groups: usize,
        weight: impl Into<Option<&'a Tensor>>,
        bias: impl Into<Option<&'a Tensor>>,
        eps: f32,
    ) -> Result<Tensor> {
        self.grouped("group_norm", Some(groups), weight.into(), bias.into(), eps)
    }

    /// Each channel (axis 1) of each batch element normed over all its elements, then weighted and biased per channel: a group norm
    /// with one channel per group. Ranks 2 and more: `[batch, channels, …]`.
    ///
    /// # Errors
    /// As [`Tensor::group_norm`].
    pub fn instance_norm<'a>(
        &self,
        weight: impl Into<Option<&'a Tensor>>,
        bias: impl Into<Option<&'a Tensor>>,
        eps: f32,
    ) -> Result<Tensor> {
        self.grouped("instance_norm", None, weight.into(), bias.into(), eps)
    }

    fn grouped(
        &self,
        what: &str,
        groups: Option<usize>,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor> {
        self.check_eps(what, eps)?;
        self.expect_float(what)?;
        let [batch, channels, ..] = *self.dims() else {
            return Err(self.shape_error(what, "must have the axes [batch, channels, …]"));
        };
        let groups = groups.unwrap_or(channels);
        if groups == 0 || channels % groups != 0 {
            if self.elem_count() == 0 && channels == 0 {
                return Ok(self.clone());
            }
            return Err(
                self.shape_error(what, &format!("has {channels} channels, which {groups} groups do not divide"))
            );
        }
        let affine = self.affine_per_channel(what, weight, bias)?;
        if self.elem_count() == 0 {
            return Ok(self.clone());
        }
        let wide = self.to_dtype(self.wide_dtype())?;
        let normed = wide.view(View::Reshape(vec![batch, groups, self.elem_count() / batch / groups]))?;
        affine
            .of(&normed.layer_norm(None, None, eps)?.view(View::Reshape(self.dims().to_vec()))?)?
            .to_dtype(self.dtype())
    }

    /// (x − mean)/√(var + eps) · weight + bias with one number of each per channel (axis 1, axis 0 of rank 1): a batch norm at
    /// inference, with the statistics that training found.
    ///
    /// # Errors
    /// `ShapeMismatch` when one of them does not have one number per channel; `DTypeMismatch`, `InvalidArgument`.
    pub fn batch_norm<'a>(
        &self,
        mean: &Tensor,
        variance: &Tensor,
        weight: impl Into<Option<&'a Tensor>>,
        bias: impl Into<Option<&'a Tensor>>,
        eps: f32,
    ) -> Result<Tensor> {
        self.check_eps("batch_norm", eps)?;
        self.expect_float("batch_norm")?;
        let wide = self.wide_dtype();
        let mean = self.per_channel("batch_norm", "mean", mean)?.to_dtype(wide)?;
        let variance = self.per_channel("batch_norm", "variance", variance)?.to_dtype(wide)?;
        let affine = self.affine_per_channel("batch_norm", weight.into(), bias.into())?;
        let y = self.to_dtype(wide)?.sub(mean)?.div(variance.add(eps as f64)?.sqrt()?)?;
        affine.of(&y)?.to_dtype(self.dtype())
    }

    fn affine_per_channel(&self, what: &str, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Affine> {
        let wide = self.wide_dtype();
        let part = |name: &str, x: Option<&Tensor>| -> Result<Option<Tensor>> {
            x.map(|x| self.per_channel(what, name, x)?.to_dtype(wide)).transpose()
        };
        Ok(Affine { weight: part("weight", weight)?, bias: part("bias", bias)? })
    }
}

/// What is multiplied and added per channel, in the type that is computed in.
struct Affine {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
}

impl Affine {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let x = match &self.weight {
            Some(w) => x.mul(w)?,
            None => x.clone(),
        };
        match &self.bias {
            Some(b) => x.add(b),
            None => Ok(x),
        }
    }
}
