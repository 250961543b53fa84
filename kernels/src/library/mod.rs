//! The kernels, each written once.
//!
//! A function here takes a description (a fused [`Body`], extents, a schedule) and gives a [`Made`]: the kernel, the scalars of its
//! launch and its grid. Extents are scalars, never part of a kernel; schedules are.
//!
//! Host-side preconditions, stated once: every map of a body stays inside the buffer bound to its slot for all coordinates of
//! the space. The planner derives maps from shapes that were checked when the nodes were made, so these kernels are launched
//! without guards; ids of a gather are checked on the device.

pub mod body;
pub mod emit;
pub mod map;
pub mod matmul;
pub mod reduce;
pub mod rows;

pub use body::{Body, Expr, Map};

use anychip_hal::{device::ScalarArg, ir};

/// A kernel with the arguments of its launch. Bindings: the body's slots in order, then what the function says, then the
/// output.
pub struct Made {
    /// The kernel.
    pub kernel: ir::Kernel,
    /// Scalars, in order.
    pub scalars: Vec<ScalarArg>,
    /// Workgroups of the linear grid.
    pub grid: u64,
}

/// Lanes for work along an axis of `n` elements: enough to cover it, in steps that keep the number of kernels small.
pub fn lanes_for(n: usize, max: u32) -> u32 {
    let want = match n {
        0..=32 => 32,
        33..=64 => 64,
        65..=128 => 128,
        _ => 256,
    };
    want.min(max.max(1))
}
