//! Matrix products: tiles that a device can run, and which of them a problem gets.

use super::roofline::Roofline;
use crate::library::matmul::Schedule;
use anychip_hal::{
    DType, DeviceInfo,
    info::{DeviceClass, Feature},
};
use serde::{Deserialize, Serialize};

/// A matrix product `[batch, rows, inner] × [batch, inner, cols]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// Rows from which on a right operand is packed: each of its elements is then used by two tiles of rows at least.
const PACKED_FROM: usize = 16;

/// Tiles for a device, the one for large problems first; the last one fits everything.
pub fn candidates(info: &DeviceInfo, dtype: DType) -> Vec<Schedule> {
    let lanes = |n: u32| n.min(info.limits.max_workgroup.max(1));
    let float = dtype.is_float();
    let mut list = vec![];
    if float && dtype != DType::F64 {
        // Where the lanes of a workgroup are a loop, 16 rows make up for packing. Vectors of 16 where the device prefers them: compilers
        // use AVX-512's registers for these only (PoCL, 1024³: 1.5 to 2 times the rate of vectors of 8).
        if info.vector >= 16 {
            list.push(Schedule {
                rows: 8,
                vectors: 2,
                width: 16,
                lanes: lanes(4),
                unroll: 1,
                deep: 1,
                spread: 1,
                packed: true,
            });
        } else if info.vector >= 8 {
            list.push(Schedule {
                rows: 8,
                vectors: 2,
                width: 8,
                lanes: lanes(8),
                unroll: 1,
                deep: 1,
                spread: 1,
                packed: true,
            });
        }
        if info.vector == 1 && info.vector_bytes >= 16 {
            let tile = |rows: u32, vectors: u32, of: u32, packed: bool| {
                let spread = spread(info, rows);
                let lanes = lanes(of.max(u32::from(spread)));
                Schedule { rows, vectors, width: 4, lanes, unroll: 1, deep: 4, spread, packed }
            };
            // Loads of a lane cost so much there that sums beyond the registers are cheaper.
            if info.class == DeviceClass::Software {
                list.push(tile(16, 2, 8, true));
            }
            list.push(tile(8, 4, 16, false));
            list.push(tile(8, 2, 16, false));
        }
        list.push(Schedule {
            rows: 8,
            vectors: 2,
            width: 8,
            lanes: lanes(8),
            unroll: 1,
            deep: 1,
            spread: 1,
            packed: false,
        });
        list.push(Schedule {
            rows: 4,
            vectors: 1,
            width: 4,
            lanes: lanes(16),
            unroll: 1,
            deep: 1,
            spread: 1,
            packed: false,
        });
    }
    list.push(Schedule { lanes: lanes(Schedule::PLAIN.lanes), ..Schedule::PLAIN });
    list
}

/// Lanes of a subgroup that share the rows of a tile, where the device has subgroups of one size that rows divide or that divide
/// rows; else 1.
fn spread(info: &DeviceInfo, rows: u32) -> u8 {
    let has = info.has(Feature::Subgroup) && info.has(Feature::SubgroupShuffle);
    let one_size = info.subgroups.as_ref().filter(|s| s.min == s.max && has);
    match one_size.map_or(1, |s| s.max) {
        n @ 2..=64 if rows.is_multiple_of(n) || n.is_multiple_of(rows) => n as u8,
        _ => 1,
    }
}

/// Whether a tile may and should run a problem: it fills at least half of the tile's rows.
pub fn fits(s: &Schedule, p: &Problem) -> bool {
    let worth = !s.packed || (p.rows >= PACKED_FROM && p.cols * 2 > s.cols() as usize);
    s.fits(p.cols, p.col_stride) && (s.rows == 1 || p.rows * 2 > s.rows as usize) && worth
}

/// One result per lane, sums in order.
pub fn plain(info: &DeviceInfo) -> Schedule {
    Schedule { lanes: Schedule::PLAIN.lanes.min(info.limits.max_workgroup.max(1)), ..Schedule::PLAIN }
}

/// Among the candidates that fit, the one that should take the least time.
pub fn pick(candidates: &[Schedule], p: &Problem, info: &DeviceInfo, roofline: &Roofline) -> Schedule {
    let cost = |s: &&Schedule| estimate(s, p, info, roofline);
    let fitting = candidates.iter().filter(|s| fits(s, p));
    fitting.min_by(|a, b| cost(a).total_cmp(&cost(b))).copied().unwrap_or_else(|| plain(info))
}

/// Bytes of a vector register that compilers of today use without being asked by the width of the vectors themselves.
const REGISTER: f64 = 32.0;
/// Vector registers.
const REGISTERS: f64 = 32.0;

/// Accumulators that a lane of many keeps in registers.
const HELD: f64 = 128.0;
/// Multiply-adds that take as long as one load of a lane.
const LOAD: f64 = 4.0;
/// The same where threads of a processor play the lanes: it loads for each on its own (lavapipe: some 40 instructions a lane and vector,
/// where a multiply-add of all lanes takes 2).
const PLAYED_LOAD: f64 = 100.0;
/// Multiply-adds that take as long as one broadcast of a lane's number.
const BROADCAST: f64 = 1.0;
/// The same where threads play the lanes: measured where it is a permutation, on eight lanes of lavapipe ("A shuffle for a broadcast" in
/// benches/README.md). Elsewhere it was some 10, which ranks the candidates alike.
const PLAYED_BROADCAST: f64 = 2.0;

/// The share of the peak that a tile reaches where each lane of a workgroup is a lane of a vector: what counts is how many loads
/// go with its multiply-adds, whether they read an element or an aligned vector.
fn of_lanes(s: &Schedule, p: &Problem, info: &DeviceInfo) -> f64 {
    let [rows, vectors, width, deep] = [f64::from(s.rows), f64::from(s.vectors), f64::from(s.width), f64::from(s.deep)];
    let own = usize::from(s.deep.max(1));
    let aligned = s.deep > 1 && p.cols.is_multiple_of(own) && p.inner.is_multiple_of(own);
    let loads = if aligned {
        rows / deep / f64::from(s.spread.max(1)) + vectors * (width / 4.0).max(1.0)
    } else {
        rows + vectors * width
    };
    let (load, broadcast) = match info.class {
        DeviceClass::Software => (PLAYED_LOAD, PLAYED_BROADCAST),
        _ => (LOAD, BROADCAST),
    };
    let broadcasts = if aligned && s.spread > 1 { rows } else { 0.0 };
    let products = rows * vectors * width;
    products / (products + load * loads + broadcast * broadcasts)
}

/// Seconds that a tile should take: its arithmetic, with the waste at the edges, at the share of the peak that its loop can
/// reach, on as many units as there are workgroups; or its traffic.
///
/// Per round of the loop a tile loads `rows` numbers and `vectors` vectors for `rows · vectors` multiply-adds; two loads are
/// issued where one multiply-add is.
pub fn estimate(s: &Schedule, p: &Problem, info: &DeviceInfo, roofline: &Roofline) -> f64 {
    let [rows, vectors, width] = [f64::from(s.rows), f64::from(s.vectors), f64::from(s.width)];
    let tiles_m = p.rows.div_ceil(s.rows as usize) as f64;
    let tiles_n = p.cols.div_ceil((s.cols() * s.lanes) as usize) as f64;
    let batch = p.batch as f64;
    let groups = batch * tiles_m * tiles_n;
    // Lanes without a column leave at once; a lane at the edge computes its whole tile.
    let columns = (p.cols.div_ceil(s.cols() as usize) * s.cols() as usize) as f64;
    let flops = 2.0 * batch * tiles_m * rows * columns * p.inner as f64;
    let size = p.dtype.size().max(4) as f64;
    let (share, spill) = match info.vector > 1 {
        true => {
            let loop_share = rows * vectors / (rows * vectors + 0.5 * (rows + vectors));
            let vector_share = (width * size / REGISTER).min(1.0);
            // Accumulators that do not fit are stored and loaded in every round.
            let spill = rows * vectors * (width * size / REGISTER).max(1.0) / REGISTERS;
            (loop_share * vector_share, spill.max(1.0))
        }
        false if info.class == DeviceClass::Software => (of_lanes(s, p, info), 1.0),
        false => (of_lanes(s, p, info), (rows * vectors * width / HELD).max(1.0)),
    };
    let busy = (groups / f64::from(info.units.max(1))).min(1.0);
    let compute = flops / (roofline.peak(p.dtype) * share * busy / spill);
    let (_, bytes) = super::Problem::Matmul(*p).work();
    // Where lanes are a loop, rows of the right operand that lie far apart miss the nearest cache in every round
    // (PoCL, 1024³: 0.24 of OpenBLAS's rate, measured with the unpacked tile; the packed one is expected to be faster, see
    // benches/README.md); a packed one costs its copy.
    let copied = 2.0 * batch * columns * p.inner as f64 * size / roofline.bandwidth;
    match (s.packed, info.vector > 1) {
        (true, _) => compute.max(bytes / roofline.bandwidth) + copied,
        (false, true) => (2.0 * compute).max(bytes / roofline.bandwidth),
        (false, false) => compute.max(bytes / roofline.bandwidth),
    }
}

/// Tiles for the tuner: every shape that keeps its sums in registers.
pub fn wide(info: &DeviceInfo, p: &Problem) -> Vec<Schedule> {
    let mut list = candidates(info, p.dtype);
    let most = info.limits.max_workgroup.max(1);
    let aligned = info.vector == 1 && info.vector_bytes >= 16;
    for (rows, vectors) in [(8, 2), (16, 2), (8, 4), (16, 1), (4, 4), (32, 1)] {
        let spread = spread(info, rows);
        for lanes in [8, 16, 32].into_iter().filter(|&n| aligned && n <= most && n.is_multiple_of(u32::from(spread))) {
            for packed in [true, false] {
                list.push(Schedule { rows, vectors, width: 4, lanes, deep: 4, spread, packed, ..Schedule::PLAIN });
            }
        }
    }
    for (rows, vectors, width) in
        [(2, 1, 8), (4, 1, 8), (4, 2, 8), (6, 2, 8), (8, 1, 8), (8, 2, 4), (8, 2, 8), (4, 4, 8), (12, 2, 8), (16, 1, 8)]
    {
        for lanes in [4, 8, 16, 32] {
            if lanes <= most {
                list.push(Schedule { rows, vectors, width, lanes, ..Schedule::PLAIN });
                if aligned {
                    list.push(Schedule { rows, vectors, width: 4, lanes, deep: 4, ..Schedule::PLAIN });
                }
                if info.vector > 1 {
                    let width = if width == 8 && info.vector >= 16 { 16 } else { width };
                    list.push(Schedule { rows, vectors, width, lanes, packed: true, ..Schedule::PLAIN });
                }
            }
        }
    }
    let mut seen = vec![];
    list.retain(|s| {
        let new = fits(s, p) && !seen.contains(s);
        seen.push(*s);
        new
    });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(rows: usize, cols: usize) -> Problem {
        Problem { dtype: DType::F32, batch: 1, rows, cols, inner: 512, col_stride: 1 }
    }

    #[test]
    fn large_products_get_large_tiles_and_small_ones_fill_the_units() {
        let info = crate::tune::test_device();
        let roofline = Roofline::guess(&info);
        let list = candidates(&info, DType::F32);
        let pick = |p: &Problem| super::pick(&list, p, &info, &roofline);
        assert_eq!(pick(&problem(1024, 1024)).rows, 8);
        assert_eq!(pick(&problem(1, 1024)).rows, 1);
        // A tile's columns must be there, side by side.
        assert_eq!(pick(&Problem { col_stride: 512, ..problem(1024, 1024) }).cols(), 1);
        assert_eq!(pick(&problem(1024, 3)).cols(), 1);
        for s in wide(&info, &problem(1024, 1024)) {
            assert!(fits(&s, &problem(1024, 1024)), "{s:?}");
        }
    }
}
