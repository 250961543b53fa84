//! Matrix products: tiles that a device can run, and which of them a problem gets.

use crate::library::matmul::Schedule;
use anychip_hal::{DType, DeviceInfo};

/// A matrix product `[batch, rows, inner] × [batch, inner, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Type of the operands.
    pub dtype: DType,
    /// Products.
    pub batch: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub cols: usize,
    /// Terms of each sum.
    pub inner: usize,
    /// Elements between neighbours in a row of the right operand.
    pub col_stride: isize,
}

/// Tiles for a device, the one for large problems first; the last one fits everything.
pub fn candidates(info: &DeviceInfo, dtype: DType) -> Vec<Schedule> {
    let lanes = |n: u32| n.min(info.limits.max_workgroup.max(1));
    let float = dtype.is_float();
    let mut list = vec![];
    if float && dtype != DType::F64 {
        list.push(Schedule { rows: 8, vectors: 2, width: 8, lanes: lanes(8), unroll: 1 });
        list.push(Schedule { rows: 4, vectors: 1, width: 4, lanes: lanes(16), unroll: 1 });
    }
    list.push(Schedule { lanes: lanes(Schedule::PLAIN.lanes), ..Schedule::PLAIN });
    list
}

/// The first tile that the problem fills at least half.
pub fn pick(candidates: &[Schedule], p: &Problem) -> Schedule {
    let fits = |s: &&Schedule| s.fits(p.cols, p.col_stride) && p.rows * 2 > s.rows as usize;
    candidates.iter().find(fits).copied().unwrap_or(Schedule::PLAIN)
}
