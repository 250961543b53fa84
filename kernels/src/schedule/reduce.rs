//! Reductions: a workgroup or a lane per result, and into how many parts a long one is cut.

pub use crate::library::reduce::Schedule;

use crate::library::Lanes;
use anychip_hal::{DType, DeviceInfo, ir::ReduceOp};
use serde::{Deserialize, Serialize};

/// Reductions of this many elements or more into few results are split over several workgroups.
const SPLIT_FROM: usize = 1 << 16;
/// Elements that a part of a split reduction has at least.
const PART: usize = 1 << 15;
/// Results from which on a lane per result keeps a chip busy.
const MANY_RESULTS: usize = 512;
/// Results from which on a lane per result is better than reading memory in strides.
const SOME_RESULTS: usize = 64;

/// A reduction of `reduced` elements into each of `results`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Problem {
    /// What.
    pub op: ReduceOp,
    /// Type of the operand.
    pub dtype: DType,
    /// Results.
    pub results: usize,
    /// Elements per result.
    pub reduced: usize,
    /// Some operand lies side by side along the reduced axes.
    pub across: bool,
    /// Some operand lies side by side along the kept axes.
    pub along: bool,
}

/// How it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// A workgroup or a lane per result.
    pub schedule: Schedule,
    /// Workgroups per result; with more than one a second launch joins the parts.
    pub parts: usize,
    /// Lanes of a workgroup.
    pub lanes: Lanes,
}

/// A lane per result where neighbours among the results lie side by side and neighbours of the reduction do not, or where the
/// reduction is too short for a workgroup: a lane then reads less than a cache line or two, or shares its lines with its neighbours.
pub fn pick(info: &DeviceInfo, p: &Problem) -> Choice {
    let lanes = Lanes::of(info);
    let neighbours = p.along && !p.across && p.results >= SOME_RESULTS;
    let short = p.reduced <= if p.along { 64 } else { 16 };
    if neighbours || (short && p.results >= MANY_RESULTS) {
        return Choice { schedule: Schedule::Along, parts: 1, lanes };
    }
    let split = p.reduced >= SPLIT_FROM && p.results < MANY_RESULTS;
    let parts = match split {
        true => (p.reduced / PART).clamp(1, (MANY_RESULTS / p.results.max(1)).max(1)),
        false => 1,
    };
    Choice { schedule: Schedule::Across, parts, lanes }
}

/// A lane per result: each sums in order.
pub fn plain(info: &DeviceInfo) -> Choice {
    Choice {
        schedule: Schedule::Along,
        parts: 1,
        lanes: Lanes { max: info.limits.max_workgroup.clamp(1, 32), close: false, vector: 1, own: 1 },
    }
}

/// A lane per result; a workgroup per result of several widths, whole and cut into parts.
pub fn candidates(info: &DeviceInfo, p: &Problem) -> Vec<Choice> {
    let mut list = vec![pick(info, p)];
    if p.results > 1 {
        list.push(Choice { schedule: Schedule::Along, parts: 1, lanes: Lanes::of(info) });
    }
    for lanes in Lanes::all(info) {
        for parts in [1, 8, 64, 512] {
            // A part shorter than a workgroup is no part.
            if parts == 1 || p.reduced / parts >= lanes.max as usize {
                list.push(Choice { schedule: Schedule::Across, parts, lanes });
            }
        }
    }
    list.dedup();
    list
}
