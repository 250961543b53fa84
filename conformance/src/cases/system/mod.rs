//! Level 3: devices together and over time: moving, mixed placement, loss, the same bits every time, an hour of everything.

mod chain;
mod determinism;
mod exact;
mod moves;
mod soak;

use crate::{Case, Failure, Seen, Subject, oracle::sample::Random};
use anychip::{DType, Device, Result, Tensor};

/// Every case of the level.
pub(super) fn cases(all: &mut Vec<Case>) {
    moves::cases(all);
    chain::cases(all);
    determinism::cases(all);
    exact::cases(all);
    soak::cases(all);
}

/// The other device of every case here.
fn cpu() -> Result<Device> {
    Device::open("cpu")
}

/// Numbers whose sums and products are exact in f32 over some thousand terms.
fn numbers(n: usize, r: &mut Random) -> Vec<f32> {
    (0..n).map(|_| (r.below(17) as f32 - 8.0) / 4.0).collect()
}

/// A graph of some launches on a device: products, sums, a softmax whose order is known, choice. On `exact` everything but the last
/// step is exact.
fn network(x: &[f32], w: &[f32], on: &Device) -> Result<Tensor> {
    let x = Tensor::from_vec(x.to_vec(), (24, 32), on)?;
    let w = Tensor::from_vec(w.to_vec(), (32, 20), on)?;
    let y = x.matmul(&w)?;
    let z = y.maximum(0.5)?.sub(&y.mul(0.25)?)?;
    z.matmul(&w.t()?)?.add(&x)?.sum(0)
}

/// The same with functions that round: for comparisons of a device with itself.
fn rounding_network(x: &[f32], w: &[f32], on: &Device) -> Result<Tensor> {
    let y = network(x, w, on)?;
    let x = Tensor::from_vec(x.to_vec(), (24, 32), on)?;
    x.add(&y)?.softmax(-1)?.matmul(&x.t()?)?.tanh()?.exp()
}

/// Bit for bit, of tensors of one shape.
fn same_tensors(what: &str, got: &Tensor, want: &Tensor, seen: &mut Seen) -> Result<(), Failure> {
    super::launch::ensure(got.dims() == want.dims() && got.dtype() == want.dtype(), || {
        format!("{what}: {:?} of {} instead of {:?} of {}", got.dims(), got.dtype(), want.dims(), want.dtype())
    })?;
    super::launch::same(what, &got.to_bytes()?, &want.to_bytes()?, seen)
}

/// The device alone can do it, or it is unsupported.
fn needs(s: &Subject, d: DType) -> Result<(), Failure> {
    match s.info().support(d).arithmetic {
        true => Ok(()),
        false => Err(Failure::Unsupported(format!("{}: no arithmetic in {d}", s.device))),
    }
}
