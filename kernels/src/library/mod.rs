//! The kernels, each written once.
//!
//! A function here takes a description (a fused [`Body`], extents, a schedule) and gives a [`Made`]: the kernel, the scalars of its
//! launch and its grid. Extents are scalars, never part of a kernel; schedules are.
//!
//! Host-side preconditions, stated once: every map of a body stays inside the buffer bound to its slot for all coordinates of
//! the space. The planner derives maps from shapes that were checked when the nodes were made, so these kernels are launched
//! without guards; ids of a gather are checked on the device.

pub mod attention;
pub mod body;
pub mod boxes;
pub mod emit;
pub mod fragments;
mod functions;
pub mod map;
pub mod matmul;
pub mod pack;
pub mod pipeline;
mod random;
pub mod reduce;
pub mod rows;
pub mod scan;
pub mod scatter;
mod share;
pub mod sort;
mod tiles;
pub mod walk;
pub mod wide;

pub use body::{Body, Expr, Map};

use anychip_hal::{DeviceInfo, device::ScalarArg, info::DeviceClass, ir};
use serde::{Deserialize, Serialize};

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

/// How workgroups along an axis are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lanes {
    /// Lanes of a workgroup, at most.
    pub max: u32,
    /// Workgroups fit the axis closely. For a device whose lanes are a loop (the CPU): a tail costs it more than another kernel.
    pub close: bool,
    /// Lanes of the vectors that a lane computes with. More than 1: lanes run one after another, so that a workgroup is one
    /// lane that walks a piece of the space by vectors, without barriers.
    pub vector: u8,
    /// Neighbours that each of several lanes takes at once, as one aligned vector, where extents and strides allow.
    pub own: u8,
}

/// Bytes of an f32.
const WORD: u32 = 4;

/// Lanes of a workgroup on chips with real lanes: occupancy gains nothing above this.
const WIDE: u32 = 256;

impl Lanes {
    /// What suits a device.
    pub fn of(info: &DeviceInfo) -> Lanes {
        let vector = match info.vector {
            16.. => 16,
            8.. => 8,
            4.. => 4,
            _ => 1,
        };
        let max = info.limits.max_workgroup.max(1);
        // Where threads of a processor play a chip, a barrier switches between them, but not within a subgroup.
        let max = match &info.subgroups {
            Some(s) if info.class == DeviceClass::Software && vector == 1 => max.min(s.max.max(1)),
            _ => max,
        };
        Lanes { max, close: info.class == DeviceClass::Cpu, vector, own: Lanes::own(info, vector) }
    }

    /// Neighbours of a lane: as many as a device reads at once.
    fn own(info: &DeviceInfo, vector: u8) -> u8 {
        if vector == 1 && info.vector_bytes >= 4 * WORD { 4 } else { 1 }
    }

    /// Workgroups of many lanes for work without barriers.
    pub fn many(self, info: &DeviceInfo) -> Lanes {
        Lanes { max: info.limits.max_workgroup.max(1), ..self }
    }

    /// What is worth measuring on a device: widths by doublings, in steps and close.
    pub fn all(info: &DeviceInfo) -> Vec<Lanes> {
        let most = info.limits.max_workgroup.max(1);
        let mut list = vec![Lanes::of(info)];
        let own = Lanes::own(info, 1);
        for max in [4, 8, 16, 32, 64, 128, 256, 512, 1024].into_iter().filter(|&max| max <= most) {
            for close in [false, true] {
                // Workgroups below 32 lanes are for devices whose barriers cost much.
                if max >= 32 || (own > 1 && !close) {
                    list.push(Lanes { max, close, vector: 1, own });
                }
            }
        }
        list.dedup();
        list
    }

    /// Lanes for work along an axis of `n` elements, of which each takes its [own](Lanes::own).
    pub fn along(self, n: usize) -> u32 {
        if self.close {
            let n = n.div_ceil(self.own.max(1) as usize).clamp(1, u32::MAX as usize) as u32;
            let rounds = n.div_ceil(self.max);
            return n.div_ceil(rounds).next_multiple_of(16).min(self.max);
        }
        // Few sizes, so that few kernels are compiled.
        let want = match n.div_ceil(self.own.max(1) as usize) {
            0..=32 => 32,
            33..=64 => 64,
            65..=128 => 128,
            _ => WIDE,
        };
        want.min(self.max)
    }

    /// Lanes for `n` independent elements that lie side by side.
    pub fn flat(self, n: usize) -> u32 {
        Lanes { close: false, ..self }.along(n)
    }
}

impl std::fmt::Display for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.vector > 1 {
            return write!(f, "one lane by vectors of {}", self.vector);
        }
        write!(f, "up to {} lanes{}", self.max, if self.close { ", closely fitted" } else { "" })?;
        if self.own > 1 { write!(f, ", each by vectors of {}", self.own) } else { Ok(()) }
    }
}
