//! Schedules: which of a kernel family's variants runs a problem on a device.
//!
//! A problem is plain data: types, extents, how operands lie. For each family there is a list of candidates that a device can
//! run, and a rule or a cost model that picks one without measuring anything, so that the first answer comes fast. What the
//! tuner measured goes before it. The types of the schedules themselves are in [`crate::library`].

pub mod attention;
pub mod fragments;
pub mod map;
pub mod matmul;
pub mod reduce;
pub mod roofline;
pub mod rows;
pub mod scan;

use anychip_hal::{DType, DeviceInfo};
use roofline::Roofline;
use serde::{Deserialize, Serialize};

/// Work of one kernel family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Elementwise.
    Map(map::Problem),
    /// Softmax and norms.
    Rows(rows::Problem),
    /// Reductions.
    Reduce(reduce::Problem),
    /// Matrix products.
    Matmul(matmul::Problem),
}

/// How a problem is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The device's own library takes the work as a whole.
    Library,
    /// Elementwise.
    Map(map::Choice),
    /// Softmax and norms.
    Rows(rows::Choice),
    /// Reductions.
    Reduce(reduce::Choice),
    /// Matrix products.
    Matmul(crate::library::matmul::Schedule),
    /// Matrix products by matrix fragments.
    Fragments(crate::library::fragments::Tile),
    /// The same out of shared memory that is filled stages ahead.
    Pipeline(crate::library::pipeline::Pipeline),
}

impl Problem {
    /// The family's name.
    pub fn family(&self) -> &'static str {
        match self {
            Problem::Map(_) => "map",
            Problem::Rows(_) => "rows",
            Problem::Reduce(_) => "reduce",
            Problem::Matmul(_) => "matmul",
        }
    }

    /// The type of the operands.
    pub fn dtype(&self) -> DType {
        match self {
            Problem::Map(p) => p.dtype,
            Problem::Rows(p) => p.dtype,
            Problem::Reduce(p) => p.dtype,
            Problem::Matmul(p) => p.dtype,
        }
    }

    /// Problems of one class share what was measured: extents are rounded up to powers of two.
    pub fn class(&self) -> Problem {
        let up = usize::next_power_of_two;
        match *self {
            Problem::Map(p) => Problem::Map(map::Problem { elements: up(p.elements), cols: up(p.cols), ..p }),
            Problem::Rows(p) => Problem::Rows(rows::Problem { rows: up(p.rows), cols: up(p.cols), ..p }),
            Problem::Reduce(p) => {
                Problem::Reduce(reduce::Problem { results: up(p.results), reduced: up(p.reduced), ..p })
            }
            Problem::Matmul(p) => Problem::Matmul(matmul::Problem {
                batch: up(p.batch),
                rows: up(p.rows),
                cols: up(p.cols),
                inner: up(p.inner),
                col_stride: p.col_stride.signum() * up(p.col_stride.unsigned_abs()) as isize,
                ..p
            }),
        }
    }

    /// What the tuner tries on a device, the library of the device apart; each fits the problem.
    pub fn candidates(&self, info: &DeviceInfo) -> Vec<Schedule> {
        match self {
            Problem::Map(p) => map::candidates(info, p).into_iter().map(Schedule::Map).collect(),
            Problem::Rows(p) => rows::candidates(info, p).into_iter().map(Schedule::Rows).collect(),
            Problem::Reduce(p) => reduce::candidates(info, p).into_iter().map(Schedule::Reduce).collect(),
            Problem::Matmul(p) => {
                let tiles = fragments::candidates(info, p).into_iter().map(Schedule::Fragments);
                let pipelines = fragments::pipelines(info, p).into_iter().map(Schedule::Pipeline);
                pipelines.chain(tiles).chain(matmul::wide(info, p).into_iter().map(Schedule::Matmul)).collect()
            }
        }
    }

    /// Whether a schedule is one that the tuner could have found for this class on a device, and so one that the device can run:
    /// the device's library, or one of the [candidates](Problem::candidates).
    pub fn knows(&self, s: &Schedule, info: &DeviceInfo) -> bool {
        let class = self.class();
        class.fits(s) && (*s == Schedule::Library || class.candidates(info).contains(s))
    }

    /// The schedule with which no others are compared for speed but all for their numbers: one result per lane, sums in the
    /// plainest order.
    pub fn plain(&self, info: &DeviceInfo) -> Schedule {
        match self {
            Problem::Map(_) => Schedule::Map(map::plain(info)),
            Problem::Rows(_) => Schedule::Rows(rows::plain(info)),
            Problem::Reduce(_) => Schedule::Reduce(reduce::plain(info)),
            Problem::Matmul(_) => Schedule::Matmul(matmul::plain(info)),
        }
    }

    /// Whether a schedule may run the problem: a winner of the same class may have been measured on other extents.
    pub fn fits(&self, s: &Schedule) -> bool {
        match (self, s) {
            (Problem::Matmul(p), Schedule::Matmul(s)) => matmul::fits(s, p),
            (Problem::Matmul(p), Schedule::Fragments(t)) => t.fits(p.rows, p.cols, p.inner),
            (Problem::Matmul(p), Schedule::Pipeline(_)) => fragments::worth(p),
            (Problem::Matmul(_) | Problem::Rows(_) | Problem::Reduce(_), Schedule::Library) => true,
            (Problem::Map(_), Schedule::Map(_))
            | (Problem::Rows(_), Schedule::Rows(_))
            | (Problem::Reduce(_), Schedule::Reduce(_)) => true,
            (Problem::Map(_) | Problem::Rows(_) | Problem::Reduce(_) | Problem::Matmul(_), _) => false,
        }
    }

    /// Seconds that a run with the [plain](Problem::plain) schedule should take, by the roofline and how little of it that schedule
    /// can reach: roughly, to tell what is out of all proportion.
    pub fn plain_seconds(&self, info: &DeviceInfo, roofline: &Roofline) -> f64 {
        /// Of the roofline, where no lane uses vectors or keeps anything.
        const SHARE: f64 = 1.0 / 8.0;
        /// Seconds per element of a sum that one lane computes alone, a guess between a cached load and an uncached one.
        const STEP: f64 = 50e-9;
        let (flops, bytes) = self.work();
        let all = roofline.cost(flops, bytes, self.dtype()).0 / SHARE;
        match self {
            Problem::Map(_) | Problem::Rows(_) => all,
            Problem::Reduce(p) => all.max(p.reduced as f64 * STEP),
            Problem::Matmul(p) => matmul::estimate(&matmul::plain(info), p, info, roofline),
        }
    }

    /// Operations, a multiply-add as two and a function as one, and bytes that have to move.
    pub fn work(&self) -> (f64, f64) {
        let size = self.dtype().size() as f64;
        match self {
            Problem::Map(p) => (2.0 * p.elements as f64, (p.reads + 1) as f64 * p.elements as f64 * size),
            Problem::Rows(p) => {
                let n = (p.rows * p.cols) as f64;
                (p.row.operations() * n, 2.0 * n * size)
            }
            Problem::Reduce(p) => {
                let n = p.results as f64 * p.reduced as f64;
                (n, n * size)
            }
            Problem::Matmul(p) => {
                let [b, m, n, k] = [p.batch, p.rows, p.cols, p.inner].map(|x| x as f64);
                (2.0 * b * m * n * k, b * (m * k + k * n + m * n) * size)
            }
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Map(p) => write!(f, "{} elements, rows of {}, {}", p.elements, p.cols, p.dtype),
            Problem::Rows(p) => write!(f, "{:?} {}x{} {}", p.row, p.rows, p.cols, p.dtype),
            Problem::Reduce(p) => write!(f, "{:?} {}x{} {}", p.op, p.results, p.reduced, p.dtype),
            Problem::Matmul(p) if p.batch == 1 => write!(f, "{}x{}x{} {}", p.rows, p.inner, p.cols, p.dtype),
            Problem::Matmul(p) => write!(f, "{}x{}x{}x{} {}", p.batch, p.rows, p.inner, p.cols, p.dtype),
        }
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Schedule::Library => f.write_str("the device's library"),
            Schedule::Map(c) => write!(f, "{}", c.lanes),
            Schedule::Rows(c) => {
                write!(f, "{}, the row {}", c.lanes, if c.keep { "kept where it fits" } else { "computed again" })
            }
            Schedule::Reduce(c) => write!(f, "{:?}, {} parts, {}", c.schedule, c.parts, c.lanes),
            Schedule::Fragments(t) => {
                let ((rows, cols), [m, n, k]) = (t.extent(), t.shape);
                write!(f, "fragments of {m}x{n}x{k}, tile {rows}x{cols}, {} subgroups of {}", t.subgroups, t.subgroup)
            }
            Schedule::Pipeline(p) => {
                let ([rows, cols, depth], [m, n, k]) = (p.tile(), p.shape);
                write!(f, "fragments of {m}x{n}x{k}, tile {rows}x{cols}, {} stages of {depth}, ", p.stages)?;
                match p.wide {
                    true if p.boxes => write!(f, "{} lanes together, boxes copied", p.subgroup),
                    true => write!(f, "{} lanes together", p.subgroup),
                    false => write!(f, "{}x{} subgroups", p.down, p.across),
                }
            }
            Schedule::Matmul(s) => {
                write!(
                    f,
                    "tile {}x{}, vectors of {}, {} lanes, {} deep, unrolled {}{}{}",
                    s.rows,
                    s.cols(),
                    s.width,
                    s.lanes,
                    s.deep,
                    s.unroll,
                    if s.spread > 1 { ", rows spread over a subgroup" } else { "" },
                    if s.packed { ", packed" } else { "" }
                )
            }
        }
    }
}
