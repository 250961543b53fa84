//! Activations of neural networks that are compositions of graph operations; sigmoid, silu, relu and gelu are operations of their own.
//!
//! All take floats only, are computed in f32 (f64 for f64) and rounded once at the end. NaN stays NaN.

use super::Tensor;
use anychip_hal::{Error, Result};
use anychip_kernels::View;

/// A parameter of the host, finite.
fn finite(what: &str, name: &str, x: f64) -> Result<f64> {
    if x.is_finite() {
        return Ok(x);
    }
    Err(Error::invalid(format!("{what}: {name} is {x}, must be a finite number")))
}

impl Tensor {
    /// x above 0, slope·x elsewhere. −∞ with slope 0 gives NaN.
    pub fn leaky_relu(&self, slope: f64) -> Result<Tensor> {
        finite("leaky_relu", "slope", slope)?;
        self.widened("leaky_relu", |x| x.gt(0)?.where_cond(x, x.mul(slope)?))
    }

    /// x above 0, weight·x elsewhere: one weight for all elements, or one per channel, which is axis 1 (axis 0 of a
    /// tensor of rank 1).
    ///
    /// # Errors
    /// `ShapeMismatch` when the weights are neither one nor as many as channels; `DTypeMismatch`.
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        let weight = self.per_channel("prelu", "weight", weight)?;
        self.expect_float("prelu")?;
        let wide = self.wide_dtype();
        let (x, weight) = (self.to_dtype(wide)?, weight.to_dtype(wide)?);
        x.gt(0)?.where_cond(&x, x.mul(weight)?)?.to_dtype(self.dtype())
    }

    /// One number per channel (axis 1; axis 0 of rank 1), or one for all, shaped to broadcast along that axis.
    pub(super) fn per_channel(&self, what: &str, name: &str, x: &Tensor) -> Result<Tensor> {
        x.on(what, &self.device)?;
        if x.dtype() != self.dtype() {
            return Err(Error::DTypeMismatch(format!(
                "{what}: {name} is {}, the tensor {}; convert one with to_dtype()",
                x.dtype(),
                self.dtype()
            )));
        }
        let axis = usize::from(self.rank() > 1);
        let channels = self.dims().get(axis).copied().unwrap_or(1);
        if x.rank() > 1 || (x.elem_count() != 1 && x.elem_count() != channels) {
            return Err(Error::ShapeMismatch(format!(
                "{what}: {name} has shape {:?}, must be [{channels}], axis {axis} of {:?}, or one number",
                x.dims(),
                self.dims()
            )));
        }
        let mut shape = vec![1; self.rank().max(1)];
        shape[axis.min(self.rank().saturating_sub(1))] = x.elem_count();
        if self.rank() == 0 {
            shape.clear();
        }
        x.view(View::Reshape(shape))
    }

    /// x above 0, α·(e^x − 1) elsewhere.
    pub fn elu(&self, alpha: f64) -> Result<Tensor> {
        finite("elu", "alpha", alpha)?;
        self.widened("elu", |x| x.gt(0)?.where_cond(x, x.expm1()?.mul(alpha)?))
    }

    /// x above 0, α·(e^(x/α) − 1) elsewhere; α must not be 0.
    pub fn celu(&self, alpha: f64) -> Result<Tensor> {
        if finite("celu", "alpha", alpha)? == 0.0 {
            return Err(Error::invalid("celu: alpha is 0, must be another number: x is divided by it"));
        }
        self.widened("celu", |x| x.gt(0)?.where_cond(x, x.div(alpha)?.expm1()?.mul(alpha)?))
    }

    /// λ·x above 0, λ·α·(e^x − 1) elsewhere, λ = 1.0507…, α = 1.6733… (Klambauer et al., 2017).
    pub fn selu(&self) -> Result<Tensor> {
        const ALPHA: f64 = 1.673_263_242_354_377_2;
        const SCALE: f64 = 1.050_700_987_355_480_5;
        self.widened("selu", |x| x.gt(0)?.where_cond(&x.mul(SCALE)?, x.expm1()?.mul(SCALE * ALPHA)?))
    }

    /// ln(1 + e^x), without overflow: max(x, 0) + ln(1 + e^−|x|).
    pub fn softplus(&self) -> Result<Tensor> {
        self.widened("softplus", softplus)
    }

    /// ln(1/(1 + e^−x)), which is −softplus(−x).
    #[doc(alias = "logsigmoid")]
    pub fn log_sigmoid(&self) -> Result<Tensor> {
        self.widened("log_sigmoid", |x| softplus(&x.neg()?)?.neg())
    }

    /// x·tanh(softplus(x)). −∞ gives NaN (−∞·0), as in PyTorch.
    pub fn mish(&self) -> Result<Tensor> {
        self.widened("mish", |x| x.mul(softplus(x)?.tanh()?))
    }

    /// x/(1 + |x|). Infinities give NaN, as in PyTorch.
    pub fn softsign(&self) -> Result<Tensor> {
        self.widened("softsign", |x| x.div(x.abs()?.add(1)?))
    }

    /// min(max(x, 0), 6).
    pub fn relu6(&self) -> Result<Tensor> {
        self.widened("relu6", |x| x.clamp(0, 6))
    }

    /// min(max(x + 3, 0), 6)/6, as in PyTorch.
    #[doc(alias = "hardsigmoid")]
    pub fn hard_sigmoid(&self) -> Result<Tensor> {
        self.widened("hard_sigmoid", |x| x.add(3)?.clamp(0, 6)?.div(6))
    }

    /// x·hard_sigmoid(x). −∞ gives NaN (−∞·0), as in PyTorch.
    #[doc(alias = "hardswish")]
    pub fn hard_swish(&self) -> Result<Tensor> {
        self.widened("hard_swish", |x| x.mul(x.add(3)?.clamp(0, 6)?.div(6)?))
    }

    /// min(max(x, low), high); usually −1 and 1.
    ///
    /// # Errors
    /// `InvalidArgument` unless low < high.
    #[doc(alias = "hardtanh")]
    pub fn hard_tanh(&self, low: f64, high: f64) -> Result<Tensor> {
        if finite("hard_tanh", "low", low)? >= finite("hard_tanh", "high", high)? {
            return Err(Error::invalid(format!("hard_tanh: low is {low} and high is {high}; low must be smaller")));
        }
        self.widened("hard_tanh", |x| x.clamp(low, high))
    }

    /// x above α, 0 elsewhere.
    pub fn thresholded_relu(&self, alpha: f64) -> Result<Tensor> {
        finite("thresholded_relu", "alpha", alpha)?;
        self.widened("thresholded_relu", |x| x.le(alpha)?.not()?.where_cond(x, 0.0))
    }

    /// x − λ above λ, x + λ below −λ, 0 between; λ at least 0.
    #[doc(alias = "softshrink")]
    pub fn soft_shrink(&self, lambda: f64) -> Result<Tensor> {
        not_negative("soft_shrink", lambda)?;
        // Between, x·0 is 0 with the sign of x, and NaN for NaN.
        self.widened("soft_shrink", |x| {
            let between = x.lt(-lambda)?.where_cond(&x.add(lambda)?, &x.mul(0)?)?;
            x.gt(lambda)?.where_cond(&x.sub(lambda)?, &between)
        })
    }

    /// x outside −λ..=λ, 0 inside; λ at least 0.
    #[doc(alias = "hardshrink")]
    pub fn hard_shrink(&self, lambda: f64) -> Result<Tensor> {
        not_negative("hard_shrink", lambda)?;
        self.widened("hard_shrink", |x| x.abs()?.le(lambda)?.not()?.where_cond(x, 0.0))
    }
}

fn not_negative(what: &str, lambda: f64) -> Result<()> {
    if finite(what, "lambda", lambda)? >= 0.0 {
        return Ok(());
    }
    Err(Error::invalid(format!("{what}: lambda is {lambda}, must be at least 0")))
}

/// ln(1 + e^x) of f32 or f64.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.maximum(0)?.add(x.abs()?.neg()?.exp()?.log1p()?)
}
