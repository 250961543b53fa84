//! Elementwise work: how wide a workgroup is and how closely it fits a row.

use crate::library::Lanes;
use anychip_hal::{DType, DeviceInfo};
use serde::{Deserialize, Serialize};

/// An elementwise expression over `elements`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// Type of the result.
    pub dtype: DType,
    /// Elements of the result.
    pub elements: usize,
    /// Elements along the last axis.
    pub cols: usize,
    /// Buffers read.
    pub reads: usize,
}

/// How it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Lanes of a workgroup.
    pub lanes: Lanes,
}

/// What the device's class asks for.
pub fn pick(info: &DeviceInfo) -> Choice {
    // No lane waits for another.
    Choice { lanes: Lanes::of(info).many(info) }
}

/// The narrowest.
pub fn plain(info: &DeviceInfo) -> Choice {
    Choice { lanes: Lanes { max: info.limits.max_workgroup.clamp(1, 32), close: false, vector: 1, own: 1 } }
}

/// Widths of a workgroup, close and in steps.
pub fn candidates(info: &DeviceInfo, _: &Problem) -> Vec<Choice> {
    Lanes::all(info).into_iter().map(|lanes| Choice { lanes }).collect()
}
