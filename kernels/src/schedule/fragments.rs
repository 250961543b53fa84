//! Products by matrix fragments: which tiles a device can run, and which of them a problem gets.

use super::matmul::Problem;
use crate::library::{fragments::Tile, pipeline::Pipeline};
use anychip_hal::{
    DType, DeviceInfo,
    info::{Feature, FragmentShape},
};

/// Tiles of the fragments that a device multiplies, larger first: of operands of this type, with sums of at least its precision.
pub fn candidates(info: &DeviceInfo, p: &Problem) -> Vec<Tile> {
    // A subgroup's fragments are spread over all its lanes: they must be as many as the schedule says.
    let Some(subgroup) = info.subgroups.as_ref().filter(|s| s.min == s.max).map(|s| s.max) else { return vec![] };
    if !info.has(Feature::Fragments) || !info.has(Feature::Subgroup) {
        return vec![];
    }
    let Some(sums) = sums(p.dtype).filter(|_| p.dtype.is_float()) else { return vec![] };
    let mut list = vec![];
    for shape in products(info, p.dtype, sums).filter(|s| s.subgroups == 1) {
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

/// Whether a product is large enough for tiles that are filled together.
pub fn worth(p: &Problem) -> bool {
    p.rows > 8 && p.cols >= 16 && p.inner >= 16
}

/// Fragments of a subgroup, subgroups of a workgroup, and products and number of stages: for shapes of 16 rows and columns tiles
/// of 128 x 256, 128 x 128, 64 x 128, 64 x 64 and 32 x 32. Accumulators of 64 x 64 are 128 registers of a lane of 32; with them
/// ptxas uses 218 to 224 registers for sm_90a and spills none.
const PIPELINES: [([u32; 2], [u32; 2], [u32; 2]); 8] = [
    ([4, 4], [2, 4], [4, 3]),
    ([4, 4], [2, 4], [2, 4]),
    ([4, 4], [2, 2], [4, 3]),
    ([4, 4], [2, 2], [2, 4]),
    ([2, 4], [2, 2], [4, 3]),
    ([2, 2], [2, 2], [4, 4]),
    ([2, 2], [2, 2], [2, 2]),
    ([1, 1], [2, 2], [2, 4]),
];

/// The same of fragments that a workgroup holds, a stage as deep as one product: one high, and one wide or several of a line each. With
/// three stages two workgroups of 128 x 128 share a processor of Hopper. None was timed, with copies by lanes or in boxes: there was no
/// chip, so that the model takes lanes, and boxes where they were measured.
const WIDE: [([u32; 2], [u32; 2], [u32; 2]); 4] =
    [([1, 1], [1, 1], [1, 4]), ([1, 1], [1, 1], [1, 3]), ([1, 2], [1, 1], [1, 3]), ([1, 4], [1, 1], [1, 4])];
/// Sums of a lane that it keeps in registers with all else.
const MOST_SUMS: u32 = 128;

/// The device's products of this type.
fn products(info: &DeviceInfo, dtype: DType, sums: DType) -> impl Iterator<Item = &FragmentShape> {
    info.fragments.iter().filter(move |s| s.a == dtype && s.b == dtype && s.acc == sums)
}

/// Whether lines of dense operands begin at multiples of 16 bytes, as boxes want them, on a device that copies such.
fn boxed(info: &DeviceInfo, p: &Problem) -> bool {
    let right = if p.col_stride == 1 { p.cols } else { p.inner };
    let whole = |line: usize| (line * p.dtype.size()).is_multiple_of(16);
    info.has(Feature::TileCopy) && whole(p.inner) && whole(right)
}

/// Pipelines that a device can run, larger tiles first.
pub fn pipelines(info: &DeviceInfo, p: &Problem) -> Vec<Pipeline> {
    let Some(subgroup) = info.subgroups.as_ref().filter(|s| s.min == s.max).map(|s| s.max) else { return vec![] };
    let (Some(sums), true) = (sums(p.dtype), worth(p)) else { return vec![] };
    // Behind the product each element is computed where it is held.
    if ![Feature::Fragments, Feature::FragmentElements, Feature::Subgroup].into_iter().all(|f| info.has(f)) {
        return vec![];
    }
    let mut list = vec![];
    for shape in products(info, p.dtype, sums) {
        let wide = shape.subgroups > 1;
        let schedules = if wide { &WIDE[..] } else { &PIPELINES[..] };
        // Copied by lanes, and in boxes where the device copies such.
        let ways: &[bool] = if wide && boxed(info, p) { &[false, true] } else { &[false] };
        let all = ways.iter().flat_map(|&boxes| schedules.iter().map(move |s| (boxes, s)));
        for (boxes, &(fragments, subgroups, [deep, stages])) in all {
            // Without copies that run apart, more stages only take room.
            let stages = if info.has(Feature::AsyncCopy) { stages } else { 2 };
            let of = Pipeline::of(shape, fragments, subgroups, [deep, stages]);
            let pipeline = Pipeline { subgroup: subgroup * u32::from(shape.subgroups), boxes, ..of };
            let held = pipeline.shared(p.dtype) <= u64::from(info.limits.max_shared);
            let lanes = pipeline.lanes() <= info.limits.max_workgroup;
            let [rows, cols, _] = pipeline.tile();
            let kept = rows * cols / pipeline.lanes() <= MOST_SUMS;
            let one_line = usize::from(shape.n) * shape.b.size() == FragmentShape::LINE;
            // Of a right operand that lies by rows panels of a line are read, else as many columns as there are.
            let suits = !wide || if p.col_stride == 1 { one_line } else { fragments[1] == 1 };
            if held && lanes && kept && suits && pipeline.is_sound() && !list.contains(&pipeline) {
                list.push(pipeline);
            }
        }
    }
    list
}

/// Columns of products whose operands cost a tile one more column or row to fetch, roughly.
const FETCH: f64 = 16.0;

/// Among the pipelines that `reads` accepts the one with the least work of the busiest unit: whole tiles, and what each fetches.
pub fn pick_pipeline(info: &DeviceInfo, p: &Problem, reads: impl Fn(&Pipeline) -> bool) -> Option<Pipeline> {
    let units = info.units.max(1) as usize;
    let cost = |s: &Pipeline| {
        let [rows, cols, _] = s.tile().map(|n| n as usize);
        let tiles = p.batch * p.rows.div_ceil(rows) * p.cols.div_ceil(cols);
        let (rows, cols) = (rows as f64, cols as f64);
        tiles.div_ceil(units) as f64 * (rows * cols + FETCH * (rows + cols))
    };
    pipelines(info, p).into_iter().filter(|s| reads(s)).min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

/// The type in which products of this type are summed, where fragments give no less than the plain kernel.
fn sums(dtype: DType) -> Option<DType> {
    match dtype {
        DType::F16 | DType::BF16 => Some(DType::F32),
        DType::F64 => Some(DType::F64),
        // Sums wrap: what is cut off of a wider one is the same.
        DType::I8 | DType::U8 => Some(DType::I32),
        // A device that would cut operands offers it to none but who has asked for that.
        DType::F32 => Some(DType::F32),
        _ => None,
    }
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
    use anychip_hal::info::{Rounding, Subgroups};

    fn large_enough(p: &Pipeline) -> bool {
        p.is_sound() && p.lanes() >= 128
    }

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
            operand_bits: 11,
            subgroups: 1,
        };
        info.fragments.push(shape);
        let tile = pick(&info, &p).expect("256 are whole tiles of 16");
        assert!(tile.fits(256, 256, 64));
        assert_eq!(pick(&info, &Problem { rows: 250, ..p }), None);
        assert_eq!(pick(&info, &Problem { inner: 24, ..p }), None);
        assert_eq!(pick(&info, &Problem { dtype: DType::F32, ..p }), None);
        // Tiles filled together need no whole ones; a small product gets small ones.
        info.limits.max_shared = 227 << 10;
        info.features.extend([Feature::AsyncCopy, Feature::FragmentElements]);
        let large = Problem { rows: 8192, cols: 8191, inner: 8190, ..p };
        assert_eq!(pick_pipeline(&info, &large, |_| true).expect("it is large").tile()[..2], [128, 256]);
        assert_eq!(
            pick_pipeline(&info, &Problem { rows: 40, cols: 40, ..p }, |_| true).expect("large enough").tile()[..2],
            [32, 32]
        );
        assert_eq!(pick_pipeline(&info, &Problem { rows: 1, ..p }, |_| true), None);
        for pipeline in pipelines(&info, &large) {
            assert!(pipeline.shared(DType::F16) <= 227 << 10 && large_enough(&pipeline), "{pipeline:?}");
        }
        // Sizes that vary are not relied on.
        info.subgroups = Some(Subgroups { min: 8, max: 32 });
        assert_eq!(pick(&info, &p), None);
    }
}
