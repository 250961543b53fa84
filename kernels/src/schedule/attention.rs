//! Attention as one kernel: which problems take it, and how many rows and keys a lane holds.

use crate::library::{Lanes, attention::Schedule, emit::compute_type};
use anychip_hal::{DType, DeviceInfo, info::DeviceClass};

/// Attention of `rows` queries with `keys` keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Type of the operands.
    pub dtype: DType,
    /// Query rows of a head.
    pub rows: usize,
    /// Keys of a head.
    pub keys: usize,
    /// Width of queries and keys.
    pub width: usize,
    /// Width of values.
    pub out_width: usize,
}

/// With fewer rows the two products and the softmax between them take less: packing the keys would cost more than the products, and
/// there would be a lane per head. Their scores are then a few rows, no more than keys and values are.
const ROWS_FROM: usize = 16;
/// The widest heads: a lane keeps a query row and a result row in private memory.
const WIDEST: usize = 1024;
/// Elements of the private query and result rows of a lane, each.
const HELD: usize = 1024;
/// Keys of a block where lanes are a loop: their scores and their part of the panels stay in the nearest caches.
const KEYS: u32 = 64;

impl Problem {
    /// Whether the one kernel runs it; else two products and a softmax do.
    pub fn blockwise(&self) -> bool {
        let held = |n: usize| (1..=WIDEST).contains(&n);
        self.rows >= ROWS_FROM && self.keys > 0 && held(self.width) && held(self.out_width)
    }
}

/// Lanes that run one after another take a tile of rows; others a row each, with what registers hold.
pub fn pick(info: &DeviceInfo, p: &Problem) -> Schedule {
    let Lanes { max, vector, .. } = Lanes::of(info);
    // Vectors are of f32.
    let width = match compute_type(p.dtype) {
        DType::F32 => vector,
        _ => 1,
    };
    if vector == 1 && info.vector_bytes >= 16 && compute_type(p.dtype) == DType::F32 {
        // Panels are read by aligned vectors. Where threads of a processor play the lanes, a lane's own rows are as near as
        // registers, and each vector that it reads serves all of them.
        let rows = if info.class == DeviceClass::Software { 4 } else { 1 };
        return Schedule { rows, keys: 16, width: 4, lanes: max.min(32) };
    }
    if width == 1 {
        let lanes = if vector > 1 { 1 } else { max.min(32) };
        return Schedule { rows: 1, keys: 16, width, lanes };
    }
    let widest = p.width.max(p.out_width).next_power_of_two();
    Schedule { rows: (HELD / widest).clamp(1, 8) as u32, keys: KEYS, width, lanes: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_and_wide_heads_are_left_to_products() {
        let p = Problem { dtype: DType::F32, rows: 512, keys: 512, width: 64, out_width: 64 };
        assert!(p.blockwise());
        for other in [Problem { rows: 1, ..p }, Problem { keys: 0, ..p }, Problem { width: 0, ..p }] {
            assert!(!other.blockwise(), "{other:?}");
        }
        assert!(!Problem { out_width: 2048, ..p }.blockwise());
        let info = DeviceInfo { vector: 8, ..crate::tune::test_device() };
        assert_eq!(pick(&info, &p).rows, 8);
        // What a lane holds is bounded.
        assert_eq!(pick(&info, &Problem { width: 1024, ..p }).rows, 1);
        assert_eq!(pick(&info, &Problem { dtype: DType::F64, ..p }).width, 1);
    }
}
