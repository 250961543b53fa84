//! Sums over trailing axes that lie side by side, with elementwise operations behind them. Long ones are cut into pieces, always the
//! same ones, so that a result does not depend on the number of threads.

use super::{
    Elements, elements,
    epilogue::{Epilogue, SEGMENT},
    four,
    matmul::{Target, apart, float},
    refuse,
};
use crate::{
    Team,
    linalg::{self, Element, Tile},
    memory::Slice,
    vmath::Level,
};
use anychip_hal::{
    Error, Result,
    op::{Graph, Ref, TensorSpec},
};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Elements of a piece, and elements that a thread takes at a time.
const PIECE: usize = 1 << 16;
const TASK: usize = 1 << 15;
/// Shorter sums are for kernels, which take a lane for each.
const SHORTEST: usize = 128;

pub(super) struct Sum {
    level: Level,
    x: TensorSpec,
    /// Kept axes: how many, how far apart.
    kept: Vec<(usize, usize)>,
    /// Elements of each sum.
    reduced: usize,
    out: TensorSpec,
    /// The results' shape, as `[outer, inner, rows, cols]`.
    shape: [usize; 4],
    epilogue: Epilogue,
}

/// The graph without the axes along which it sums, which have length 1 behind the sum.
fn squeezed(graph: &Graph, axes: &[usize]) -> Graph {
    let mut graph = graph.clone();
    let rank = graph.nodes[0].shape.len();
    fn rest<T: Copy>(of: &[T], axes: &[usize], one: T) -> Vec<T> {
        let kept: Vec<T> = of.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &x)| x).collect();
        if kept.is_empty() { vec![one] } else { kept }
    }
    for node in &mut graph.nodes {
        if node.shape.len() == rank {
            node.shape = rest(&node.shape, axes, 1);
        }
    }
    let outputs = graph.outputs.iter_mut().map(|(_, spec)| spec);
    for spec in graph.inputs.iter_mut().skip(1).chain(outputs) {
        if spec.shape.len() == rank && spec.strides.len() == rank {
            (spec.shape, spec.strides) = (rest(&spec.shape, axes, 1), rest(&spec.strides, axes, 1));
        }
    }
    graph
}

impl Sum {
    pub fn prepare(graph: &Graph, axes: &[usize], result: usize, out: &TensorSpec, level: Level) -> Result<Sum> {
        let x = &graph.inputs[0];
        if !float(x.dtype) || !float(out.dtype) {
            return Err(refuse(graph, format!("sums as a whole are for f32, f16 and bf16, this is {}", x.dtype)));
        }
        let rank = x.shape.len();
        if x.strides.len() != rank || out.shape.len() != rank || graph.nodes[0].shape != out.shape {
            return Err(refuse(graph, "the output has another shape than the sum"));
        }
        let first = rank - axes.len().min(rank);
        if !axes.iter().copied().eq(first..rank) {
            return Err(refuse(graph, "it does not sum along the last axes"));
        }
        let node = &graph.nodes[0];
        if node.inputs != [Ref::Input(0)]
            || node.shape[..first] != x.shape[..first]
            || node.shape[first..].iter().any(|&n| n != 1)
        {
            return Err(refuse(graph, "the sum has another shape than its operand without the summed axes"));
        }
        let mut reduced = 1;
        for i in (first..rank).rev() {
            if x.shape[i] != 1 && x.strides[i] != reduced as isize {
                return Err(refuse(graph, "what is summed does not lie side by side"));
            }
            reduced *= x.shape[i];
        }
        if reduced < SHORTEST {
            return Err(refuse(graph, "it sums a few elements only"));
        }
        let kept = x.shape[..first].iter().zip(&x.strides).map(|(&n, &s)| (n, s as usize)).collect();
        let small = squeezed(graph, axes);
        let out = small.outputs[0].1.clone();
        let Some((shape, strides)) = four(&out) else {
            return Err(refuse(graph, "the result is not of rank 0 to 4"));
        };
        if !apart(shape, strides) {
            return Err(refuse(graph, "the output overlaps itself"));
        }
        let epilogue = Epilogue::prepare(&small, result, level)?;
        Ok(Sum { level, x: x.clone(), kept, reduced, out, shape, epilogue })
    }

    fn results(&self) -> usize {
        self.shape.iter().product()
    }

    /// Additions.
    pub fn work(&self) -> u64 {
        let behind = 16 * self.epilogue.len() as u64;
        (self.results() as u64).saturating_mul((self.reduced as u64).saturating_add(behind))
    }

    pub fn run(&self, inputs: &[Slice], out: &Slice) -> Result<()> {
        if self.results() == 0 {
            return Ok(());
        }
        let sums = match elements(&inputs[0], self.x.dtype, self.x.offset)? {
            Elements::F32(x) => self.sums(x)?,
            Elements::F16(x) => self.sums(x)?,
            Elements::BF16(x) => self.sums(x)?,
            Elements::Bool(_) => return Err(Error::invalid("sum on cpu: operands are floats")),
        };
        let epilogue = self.epilogue.bind(inputs)?;
        let target = Target::new(self.level, &self.out, self.shape, out)?;
        let [_, inner, rows, cols] = self.shape;
        Team::current().each(sums.len().div_ceil(SEGMENT), |task| {
            let mut piece = [0.0; SEGMENT];
            let mut at = task * SEGMENT;
            let end = (at + SEGMENT).min(sums.len());
            while at < end {
                let (line, col) = (at / cols, at % cols);
                let (matrix, row) = (line / rows, line % rows);
                // Whole rows of one matrix, or a part of one row.
                let (lines, n) = match (end - at) / cols {
                    whole if whole > 0 && col == 0 => (whole.min(rows - row), cols),
                    _ => (1, (cols - col).min(end - at)),
                };
                let y = &mut piece[..lines * n];
                y.copy_from_slice(&sums[at..at + lines * n]);
                // SAFETY: `y` has that many rows and is this thread's alone.
                let mut tile =
                    unsafe { Tile::new([matrix / inner, matrix % inner], (row, col), (lines, n), y.as_mut_ptr(), n) };
                epilogue.on_tile(&mut tile);
                target.store(&mut tile);
                at += lines * n;
            }
        });
        Ok(())
    }

    /// All sums, in the order of the results.
    fn sums<T: Element>(&self, x: &[T]) -> Result<Vec<f32>> {
        let results = self.results();
        let last: usize = self.kept.iter().map(|&(n, stride)| (n - 1) * stride).sum();
        if last + self.reduced > x.len() {
            return Err(Error::invalid(format!(
                "sum on cpu: the operand reaches to element {} of {}",
                last + self.reduced,
                x.len()
            )));
        }
        let sum = linalg::sum::<T>(self.level);
        let pieces = self.reduced.div_ceil(PIECE);
        let parts: Vec<AtomicU32> = (0..results * pieces).map(|_| AtomicU32::new(0)).collect();
        let each = (TASK / self.reduced.min(PIECE)).max(1);
        Team::current().each(parts.len().div_ceil(each), |task| {
            for (i, part) in parts.iter().enumerate().skip(task * each).take(each) {
                let (mut result, piece) = (i / pieces, i % pieces);
                let mut at = piece * PIECE;
                let end = (at + PIECE).min(self.reduced);
                for &(n, stride) in self.kept.iter().rev() {
                    at += result % n * stride;
                    result /= n;
                }
                let long = end - piece * PIECE;
                part.store(sum(&x[at..at + long]).to_bits(), Relaxed);
            }
        });
        let mut parts: Vec<f32> = parts.into_iter().map(|p| f32::from_bits(p.into_inner())).collect();
        Ok(match pieces {
            1 => parts,
            _ => parts.chunks_mut(pieces).map(linalg::pairwise).collect(),
        })
    }
}
