//! Softmax and norms along the last axis, with elementwise operations behind them: each row is computed in a buffer that stays in cache
//! and is carried to the output from there.

use super::{
    elements,
    epilogue::{Bound, Epilogue, Input, SEGMENT},
    four,
    matmul::{Target, apart, float},
    refuse,
};
use crate::{
    Team,
    linalg::{RowKernel, RowOp, Tile, scratch},
    machine::{AHEAD, fence, prefetch},
    memory::Slice,
    vmath::Level,
};
use anychip_hal::{
    Error, Result,
    op::{Graph, Op, Ref, TensorSpec},
};

/// Elements that a thread takes at a time: some 5 µs of work.
const TASK: usize = 1 << 14;

pub(super) struct Rows {
    level: Level,
    kernel: RowKernel,
    /// What the rows are of, then weight and bias as far as the operation has them.
    operands: Vec<TensorSpec>,
    out: TensorSpec,
    /// `[outer, inner, rows, cols]`.
    shape: [usize; 4],
    epilogue: Epilogue,
}

impl Rows {
    pub fn prepare(graph: &Graph, result: usize, out: &TensorSpec, level: Level) -> Result<Rows> {
        let (op, operands) = match graph.nodes[0].op {
            Op::Softmax => (RowOp::Softmax, 1),
            Op::LayerNorm { eps } => (RowOp::LayerNorm { eps }, 3),
            Op::RmsNorm { eps } => (RowOp::RmsNorm { eps }, 2),
            _ => return Err(refuse(graph, "its first node is no row operation")),
        };
        let Some(operands) = graph.inputs.get(..operands) else {
            return Err(refuse(graph, "an operand is missing"));
        };
        let read = graph.nodes[0].inputs.iter().enumerate().all(|(i, r)| *r == Ref::Input(i));
        if !read || graph.nodes[0].inputs.len() != operands.len() {
            return Err(refuse(graph, "operand, weight and bias are not the first inputs"));
        }
        let x = &operands[0];
        if operands.iter().chain([out]).any(|s| !float(s.dtype)) {
            return Err(refuse(graph, format!("rows as a whole are for f32, f16 and bf16, this is {}", x.dtype)));
        }
        let (Some((shape, _)), Some((_, strides))) = (four(x), four(out)) else {
            return Err(refuse(graph, "operands are not of rank 1 to 4"));
        };
        if x.shape != out.shape || graph.nodes[0].shape != out.shape || !apart(shape, strides) {
            return Err(refuse(graph, "the output has another shape than the operand, or overlaps itself"));
        }
        if operands[1..].iter().any(|w| w.shape != [shape[3]] || four(w).is_none()) {
            return Err(refuse(graph, "weight and bias are not as long as a row"));
        }
        let epilogue = Epilogue::prepare(graph, result, level)?;
        let kernel = RowKernel::new(op, level);
        Ok(Rows { level, kernel, operands: operands.to_vec(), out: out.clone(), shape, epilogue })
    }

    /// Operations, more or less.
    pub fn work(&self) -> u64 {
        let each = 16 * (1 + self.epilogue.len() as u64);
        self.shape.iter().fold(each, |all, &n| all.saturating_mul(n as u64))
    }

    pub fn run(&self, inputs: &[Slice], out: &Slice) -> Result<()> {
        let [outer, inner, rows, cols] = self.shape;
        let count = outer * inner * rows;
        if count * cols == 0 {
            return Ok(());
        }
        let operands = self
            .operands
            .iter()
            .zip(inputs)
            .map(|(spec, slice)| Input::new(spec, elements(slice, spec.dtype, spec.offset)?))
            .collect::<Result<Vec<_>>>()?;
        let [x, affine @ ..] = operands.as_slice() else {
            return Err(Error::invalid("rows on cpu: no operand is bound"));
        };
        // Weight and bias as f32: where they are used as they lie there, as they lie there.
        let mut copies = [vec![], vec![]];
        for (v, copy) in affine.iter().zip(&mut copies) {
            if v.in_place([0; 2], 0, 0, cols).is_none() {
                copy.resize(cols, 0.0);
                v.read(self.level, [0; 2], 0, 0, copy);
            }
        }
        let affine = [0, 1].map(|i| affine.get(i).and_then(|v| v.in_place([0; 2], 0, 0, cols)).unwrap_or(&copies[i]));
        let epilogue = self.epilogue.bind(inputs)?;
        let target = Target::new(self.level, &self.out, self.shape, out)?.streaming(out);
        let each = (TASK / cols).max(1);
        Team::current().each(count.div_ceil(each), |task| {
            let these = task * each..((task + 1) * each).min(count);
            self.some(these, x, affine, &epilogue, &target);
            fence();
        });
        Ok(())
    }

    /// Some rows, on one thread.
    fn some(
        &self,
        these: std::ops::Range<usize>,
        x: &Input<'_>,
        affine: [&[f32]; 2],
        epilogue: &Bound<'_>,
        target: &Target,
    ) {
        let [_, inner, rows, cols] = self.shape;
        let long = cols.next_multiple_of(16);
        scratch::with(2 * long, |buffer| {
            // SAFETY: the buffer is this call's alone, initialised, and has two rows of `long` elements.
            let both = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr(), 2 * long) };
            let (widened, y) = both.split_at_mut(long);
            let (widened, y) = (&mut widened[..cols], &mut y[..cols]);
            for i in these {
                let (batch, row) = ([i / rows / inner, i / rows % inner], i % rows);
                let from = match x.in_place(batch, row, 0, cols) {
                    Some(from) => {
                        // Most often the next row begins where this one ends, on a page that the processor does not foresee.
                        prefetch(from.as_ptr().wrapping_add(cols).cast(), AHEAD.min(4 * cols));
                        from
                    }
                    None => {
                        x.read(self.level, batch, row, 0, widened);
                        &*widened
                    }
                };
                self.kernel.run(from, affine, y);
                for (n, y) in y.chunks_mut(SEGMENT).enumerate() {
                    // SAFETY: a part of one row, which this thread alone touches.
                    let mut tile =
                        unsafe { Tile::new(batch, (row, n * SEGMENT), (1, y.len()), y.as_mut_ptr(), y.len()) };
                    epilogue.on_tile(&mut tile);
                    target.store(&mut tile);
                }
            }
        });
    }
}
