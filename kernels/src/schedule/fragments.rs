//! Products by matrix fragments: which tiles a device can run, and which of them a problem gets.

use super::matmul::Problem;
use crate::library::fragments::Tile;
use anychip_hal::{DType, DeviceInfo, info::Feature};

/// Tiles of the fragments that a device multiplies, larger first: of operands of this type, with sums of at least its precision.
pub fn candidates(info: &DeviceInfo, p: &Problem) -> Vec<Tile> {
    // A subgroup's fragments are spread over all its lanes: they must be as many as the schedule says.
    let Some(subgroup) = info.subgroups.as_ref().filter(|s| s.min == s.max).map(|s| s.max) else { return vec![] };
    if !info.has(Feature::Fragments) || !info.has(Feature::Subgroup) {
        return vec![];
    }
    let sums = match p.dtype {
        DType::F16 | DType::BF16 => DType::F32,
        DType::F64 => DType::F64,
        // f32 by fragments would be rounded to fewer digits; integers are summed in their own type.
        _ => return vec![],
    };
    let mut list = vec![];
    for shape in info.fragments.iter().filter(|s| s.a == p.dtype && s.b == p.dtype && s.acc == sums) {
        for (rows, cols, subgroups) in [(4, 4, 4), (4, 2, 4), (2, 2, 4), (2, 2, 1), (1, 1, 1)] {
            let tile = Tile::of(shape, rows, cols, subgroup, subgroups);
            let held = tile.shared() <= u64::from(info.limits.max_shared);
            let lanes = subgroup * subgroups <= info.limits.max_workgroup;
            if held && lanes && tile.fits(p.rows, p.cols, p.inner) && !list.contains(&tile) {
                list.push(tile);
            }
        }
    }
    list
}

/// The largest tile that still leaves work for every unit, else the one with most workgroups.
pub fn pick(info: &DeviceInfo, p: &Problem) -> Option<Tile> {
    let list = candidates(info, p);
    let groups = |t: &Tile| {
        let (rows, cols) = t.extent();
        p.batch * (p.rows / rows) * p.cols.div_ceil(cols * t.subgroups as usize)
    };
    let busy = list.iter().find(|t| groups(t) >= 2 * info.units.max(1) as usize);
    busy.or_else(|| list.iter().max_by_key(|t| groups(t))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anychip_hal::info::{FragmentShape, Rounding, Subgroups};

    #[test]
    fn whole_tiles_of_the_device_s_shapes_only() {
        let mut info = crate::tune::test_device();
        let p = Problem { dtype: DType::F16, batch: 1, rows: 256, cols: 256, inner: 64, col_stride: 1 };
        assert_eq!(pick(&info, &p), None);
        info.features.extend([Feature::Fragments, Feature::Subgroup]);
        info.subgroups = Some(Subgroups { min: 32, max: 32 });
        let shape = FragmentShape {
            m: 16,
            n: 16,
            k: 16,
            a: DType::F16,
            b: DType::F16,
            acc: DType::F32,
            acc_bits: 24,
            rounding: Rounding::NearestEven,
        };
        info.fragments.push(shape);
        let tile = pick(&info, &p).expect("256 are whole tiles of 16");
        assert!(tile.fits(256, 256, 64));
        assert_eq!(pick(&info, &Problem { rows: 250, ..p }), None);
        assert_eq!(pick(&info, &Problem { inner: 24, ..p }), None);
        assert_eq!(pick(&info, &Problem { dtype: DType::F32, ..p }), None);
        // Sizes that vary are not relied on.
        info.subgroups = Some(Subgroups { min: 8, max: 32 });
        assert_eq!(pick(&info, &p), None);
    }
}
