//! anychip: AI applications written once that move between chips unchanged.
//!
//! A [`Device`] is one chip, or a chain of chips that stand in for each other; a [`Tensor`] is a lazy handle on a value
//! that some chip computes when it is asked for; a [`Program`] is a captured computation that is replayed. Names follow
//! PyTorch and candle, and no chip is named in an application's code.
//!
//! ```
//! use anychip::{Device, Tensor};
//! # fn main() -> anychip::Result<()> {
//! let device = Device::open("cpu")?; // Device::best()? takes the best chip that is there
//! let x = Tensor::from_vec(vec![1f32, 2., 3., 4., 5., 6.], (2, 3), &device)?;
//! let y = x.matmul(&x.t()?)?.softmax(-1)?;
//! assert_eq!(y.dims(), [2, 2]);
//! let rows = y.to_vec2::<f32>()?;
//! assert!((rows[0].iter().sum::<f32>() - 1.0).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```
//!
//! * [`Device`] – which chips are there, and opening them.
//! * [`Tensor`] – values and what is done with them; nothing is computed until values are asked for.
//! * [`Program`] – one computation, captured for replay.
//! * [`SafeTensors`], [`save`] – weights on disk.
//! * [`Launch`] – an author's own kernel on tensors.
//!
//! # Errors
//!
//! Shapes, types, axes and devices are checked where a method is called, not where values are read; every failure is an
//! [`Error`] whose sentence names the operation and the numbers. Nothing in this crate panics on bad input.
#![deny(missing_docs)]

mod device;
mod element;
mod files;
mod launch;
mod program;
mod tensor;

pub use anychip_hal::{DType, Error, Result, info::Numerics};
pub use device::{Device, answer_probe, open_raw, probe_again, probe_with, register};
pub use element::Element;
#[cfg(feature = "numpy")]
pub use files::{Npz, load_npy, npy_from_bytes, save_npy, save_npz};
pub use files::{Progress, SafeTensors, save};
pub use launch::Launch;
pub use program::{MemoryPlan, Program};
pub use tensor::{
    Generator, Tensor,
    axes::{Axes, AxisRange, IntoRanges, IntoShape},
    conv::{Conv, Conv1d, Conv2d, ConvTranspose, ConvTranspose1d, ConvTranspose2d},
    operand::{Operand, Scalar},
    pool::{Pool, Pool1d, Pool2d},
    resize::Resize,
    spatial::Extents,
};

/// The kernel language: what a function under `#[kernel]` imports.
pub mod lang {
    pub use anychip_hal::ir::typed::*;
    pub use anychip_macros::{device, kernel};
}

/// The contract below: what a vendor implements, what a kernel is made of.
pub use anychip_hal as hal;
/// Schedules of kernels as data, and the tuner that measures them; what `anychip tune` does.
pub use anychip_kernels::{schedule, tune};
/// 16-bit floats on the host.
pub use half::{bf16, f16};

/// The programs of the README are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
