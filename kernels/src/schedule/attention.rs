//! Attention as one kernel: which problems take it, and how many rows and keys a lane holds.

use crate::library::{
    Lanes,
    attention::{
        Schedule,
        fragments::Strips,
        subgroup::{Columns, shares},
    },
    emit::compute_type,
};
use anychip_hal::{DType, DeviceInfo, info::Feature};

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
/// Elements of the result that a lane of a subgroup keeps in registers, or near them.
const SHARED: u32 = 128;
/// Keys of a block where lanes are a loop: their scores and their part of the panels stay in the nearest caches.
const KEYS: u32 = 64;

impl Problem {
    /// Whether the one kernel runs it; else two products and a softmax do.
    pub fn blockwise(&self) -> bool {
        let held = |n: usize| (1..=WIDEST).contains(&n);
        self.rows >= ROWS_FROM && self.keys > 0 && held(self.width) && held(self.out_width)
    }
}

/// Lanes that run one after another take a tile of rows, subgroups of one size share one; others take a row each, with what registers
/// hold.
pub fn pick(info: &DeviceInfo, p: &Problem) -> Schedule {
    let Lanes { max, vector, .. } = Lanes::of(info);
    // Vectors are of f32.
    let width = match compute_type(p.dtype) {
        DType::F32 => vector,
        _ => 1,
    };
    if let Some(s) = shared(info, p) {
        return s;
    }
    if vector == 1 && info.vector_bytes >= 16 && compute_type(p.dtype) == DType::F32 {
        return Schedule { rows: 1, keys: 16, width: 4, lanes: max.min(32), spread: 1 };
    }
    if width == 1 {
        let lanes = if vector > 1 { 1 } else { max.min(32) };
        return Schedule { rows: 1, keys: 16, width, lanes, spread: 1 };
    }
    let widest = p.width.max(p.out_width).next_power_of_two();
    Schedule { rows: (HELD / widest).clamp(1, 8) as u32, keys: KEYS, width, lanes: 1, spread: 1 }
}

/// Strips of rows for subgroups that multiply fragments, where a device has such of 16 rows and columns, knows where their elements
/// are, and has the shared memory. A lane holds 8 registers of a result per strip and 16 columns, as many of scores per 16 keys, and 4
/// of queries: two strips of heads up to 64, one of wider ones; one with a mask, whose places take registers too (two spill for sm_80).
/// With 64 keys a block two strips, and a mask with heads of 128, spill for sm_100.
pub fn strips(info: &DeviceInfo, p: &Problem, masked: bool) -> Option<Strips> {
    let subgroup = info.subgroups.as_ref().filter(|s| s.min == s.max)?.max;
    let has = [Feature::Fragments, Feature::FragmentElements, Feature::Subgroup].into_iter().all(|f| info.has(f));
    let small = matches!(p.dtype, DType::F16 | DType::BF16);
    let multiplies = info.fragments.iter().any(|s| {
        (s.m, s.n, s.k, s.subgroups) == (16, 16, 16, 1) && (s.a, s.b) == (p.dtype, p.dtype) && s.acc == DType::F32
    });
    let same = p.width == p.out_width && p.width.is_power_of_two() && (16..=128).contains(&p.width);
    if !(has && small && multiplies && same) {
        return None;
    }
    let rows = if p.width <= 64 && !masked { 2 } else { 1 };
    let wide = |subgroups, keys| Strips { rows, subgroups, keys, subgroup };
    let keys = if rows == 2 || masked && p.width > 64 { 32 } else { 64 };
    let list = [wide(4, keys), wide(4, 32), Strips { rows: 1, subgroups: 2, keys: 16, subgroup }];
    let fits = |s: &Strips| {
        s.shared(p.width as u32, 2) <= info.limits.max_shared && s.subgroups * subgroup <= info.limits.max_workgroup
    };
    list.into_iter().find(fits)
}

/// A tile of rows for a subgroup, on devices with subgroups of one size whose rounds divide the sums.
fn shared(info: &DeviceInfo, p: &Problem) -> Option<Schedule> {
    let subgroups = info.subgroups.as_ref().filter(|s| s.min == s.max && (2..=64).contains(&s.max))?;
    let lanes = subgroups.max;
    let has = [Feature::Subgroup, Feature::SubgroupShuffle, Feature::SubgroupReduce].into_iter().all(|f| info.has(f));
    if !has || info.vector > 1 || compute_type(p.dtype) != DType::F32 {
        return None;
    }
    let own = Columns::of(p.out_width, lanes).own;
    // Large subgroups have scores enough with fewer keys a lane.
    let keys = lanes * if lanes >= 32 { 4 } else { 8 };
    let rows = [16, 8, 4].into_iter().find(|r| r * own <= SHARED)?;
    let s = Schedule { rows, keys, width: 4, lanes, spread: lanes };
    let fits = s.rows * s.keys * 4 <= info.limits.max_shared && lanes <= info.limits.max_workgroup;
    (fits && shares(&s, p.width, p.keys)).then_some(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anychip_hal::info::Subgroups;

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
    #[test]
    fn a_subgroup_shares_a_tile_where_its_rounds_divide_the_sums() {
        let mut info = crate::tune::test_device();
        info.vector = 1;
        info.limits.max_shared = 32 << 10;
        let p = Problem { dtype: DType::F32, rows: 512, keys: 512, width: 64, out_width: 64 };
        assert_eq!(pick(&info, &p).spread, 1, "no subgroups");
        info.features.extend([Feature::Subgroup, Feature::SubgroupReduce, Feature::SubgroupShuffle]);
        for (lanes, rows) in [(4, 8), (8, 16), (16, 16), (32, 16), (64, 16)] {
            info.subgroups = Some(Subgroups { min: lanes, max: lanes });
            let s = pick(&info, &p);
            assert_eq!((s.spread, s.lanes, s.rows), (lanes, lanes, rows), "{s:?}");
        }
        // 64 lanes read four parts of a row each: 511 keys are no such rounds.
        assert_eq!(pick(&info, &Problem { keys: 511, ..p }).spread, 1);
        info.subgroups = Some(Subgroups { min: 8, max: 32 });
        assert_eq!(pick(&info, &p).spread, 1, "of several sizes");
        info.subgroups = Some(Subgroups { min: 8, max: 8 });
        assert_eq!(pick(&info, &Problem { dtype: DType::F64, ..p }).spread, 1);
        assert!(pick(&info, &Problem { keys: 511, ..p }).spread == 8);
    }
}
