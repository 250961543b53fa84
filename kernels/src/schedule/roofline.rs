//! What work should cost: the larger of its arithmetic at the device's peak and its traffic at the device's bandwidth, plus a
//! launch (Williams, Waterman, Patterson: "Roofline", 2009).
//!
//! A peak is measured by the tuner, or guessed from the class of the device and its units until then; a guess is called one.

use anychip_hal::{DType, DeviceInfo, info::DeviceClass};
use serde::{Deserialize, Serialize};

/// Peaks of a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// f32 operations per second; a multiply-add counts two.
    pub flops: f64,
    /// Bytes per second, read and written.
    pub bandwidth: f64,
    /// Seconds from one launch to the next.
    pub launch: f64,
    /// Measured on this device, not guessed from its class.
    pub measured: bool,
}

/// What bounds a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Arithmetic.
    Compute,
    /// Traffic.
    Memory,
    /// Neither: the launch itself costs more.
    Launch,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Bound::Compute => "compute bound",
            Bound::Memory => "memory bound",
            Bound::Launch => "launch bound",
        })
    }
}

impl Roofline {
    /// A guess: what a middling chip of the class does with so many units.
    pub fn guess(info: &DeviceInfo) -> Roofline {
        let units = f64::from(info.units.max(1));
        // Per unit and second, then for the whole chip: a core of 3 GHz with 8 lanes and one multiply-add a cycle; a unit of 1.5
        // GHz with 64 lanes (integrated) or 128 (discrete). Bandwidths: two channels of DDR4, the same shared, GDDR6.
        let (per_unit, bandwidth, launch) = match info.class {
            DeviceClass::Cpu => (48e9, 20e9, 1e-6),
            DeviceClass::Software => (48e9, 20e9, 20e-6),
            DeviceClass::IntegratedGpu => (192e9, 40e9, 10e-6),
            DeviceClass::Accelerator => (192e9, 100e9, 10e-6),
            DeviceClass::DiscreteGpu => (384e9, 400e9, 5e-6),
        };
        Roofline { flops: units * per_unit, bandwidth, launch, measured: false }
    }

    /// Operations per second in a type: half as many of twice the size.
    pub fn peak(&self, dtype: DType) -> f64 {
        match dtype.size() {
            8 => self.flops / 2.0,
            _ => self.flops,
        }
    }

    /// Seconds that work takes at least, and what bounds it.
    pub fn cost(&self, flops: f64, bytes: f64, dtype: DType) -> (f64, Bound) {
        let (compute, memory) = (flops / self.peak(dtype), bytes / self.bandwidth);
        let work = compute.max(memory);
        let bound = match (work < self.launch, compute >= memory) {
            (true, _) => Bound::Launch,
            (false, true) => Bound::Compute,
            (false, false) => Bound::Memory,
        };
        (work + self.launch, bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_both_decides() {
        let r = Roofline { flops: 100e9, bandwidth: 10e9, launch: 1e-6, measured: true };
        let (t, b) = r.cost(1e9, 1e6, DType::F32);
        assert!((t - 10.001e-3).abs() < 1e-9, "{t}");
        assert_eq!(b, Bound::Compute);
        assert_eq!(r.cost(1e6, 1e9, DType::F32).1, Bound::Memory);
        assert_eq!(r.cost(10.0, 10.0, DType::F32).1, Bound::Launch);
        // Twice as long in f64.
        assert!((r.cost(1e9, 0.0, DType::F64).0 - 20.001e-3).abs() < 1e-9);
    }
}
