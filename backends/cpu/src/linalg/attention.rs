//! softmax(Q·Kᵀ·scale + mask)·V without ever holding the scores of more than a few rows and one block of keys.
//!
//! After Milakov and Gimelshein (online softmax) and Dao et al. (FlashAttention): a task takes up to 256 queries of one
//! head; for each block of 512 keys it packs Kᵀ once (512 × d, in L2), and each group of query rows goes through scores,
//! weights and weighted sum while its 16 KiB of scores are in L1. Blocks of keys are fixed and rows independent, so the
//! bits do not depend on the number of threads.

use super::kernel::{Kernel, MAX_ROWS};
use super::matmul::for_each;
use super::pack::{Panels, Shared, pack_panel, pack_rows};
use super::scratch;
use super::softmax::weigh;
use super::view::{Element, LinalgError, Matrices, MatricesMut};
use crate::{team::Team, vmath::Level};
use std::ops::Range;

/// Keys in a block: 8 rows of scores are 16 KiB.
const KEYS: usize = 512;
/// Most queries of a task: their sums (256 × d f32) stay in L2 beside the block of keys.
const QUERIES: usize = 256;
/// Fewest queries worth a task of their own: each packs its keys anew.
const FEWEST_QUERIES: usize = 64;

/// What attention does besides its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionOptions {
    /// Factor of the scores, commonly 1/√d.
    pub scale: f32,
    /// Query i sees keys 0..=i only (aligned at the first key, as PyTorch's `is_causal`).
    pub causal: bool,
}

/// out[b, h, s, dv] = softmax over t of (q[b, h, s, d]·k[b, g, t, d]ᵀ·scale + mask[b|1, h|1, s|1, t|1])·v[b, g, t, dv].
///
/// `h` must be a multiple of `g`: consecutive heads share keys and values. A mask of −∞ hides a key.
/// Scores, weights and sums are f32 whatever the operands are; results are rounded once. A query that sees no
/// key (all hidden, or t = 0) gives NaN, as the softmax of nothing does in PyTorch, and NaN or +∞ among the scores of a
/// query give NaN. Uses the current team's threads; the bits do not depend on their number.
///
/// # Errors
/// [`LinalgError::Shape`] names the operand that does not fit.
pub fn attention<T: Element>(
    q: &Matrices<'_, T>,
    k: &Matrices<'_, T>,
    v: &Matrices<'_, T>,
    mask: Option<&Matrices<'_, T>>,
    options: AttentionOptions,
    out: &mut MatricesMut<'_, T>,
) -> Result<(), LinalgError> {
    attention_at(Level::detect(), q, k, v, mask, options, out)
}

/// [`attention`] at a given level (the baseline if it is not available), so that every one can be tested.
///
/// # Errors
/// As [`attention`].
pub fn attention_at<T: Element>(
    level: Level,
    q: &Matrices<'_, T>,
    k: &Matrices<'_, T>,
    v: &Matrices<'_, T>,
    mask: Option<&Matrices<'_, T>>,
    options: AttentionOptions,
    out: &mut MatricesMut<'_, T>,
) -> Result<(), LinalgError> {
    let [b, h, s, d] = q.shape();
    let [_, g, t, _] = k.shape();
    let dv = v.shape()[3];
    let fits = |operand, found: [usize; 4], wanted: [usize; 4]| {
        if found == wanted { Ok(()) } else { Err(LinalgError::Shape { operand, found, wanted }) }
    };
    if g == 0 && h != 0 || g != 0 && h % g != 0 {
        return Err(LinalgError::Shape { operand: "k", found: k.shape(), wanted: [b, h, t, d] });
    }
    fits("k", k.shape(), [b, g, t, d])?;
    fits("v", v.shape(), [b, g, t, dv])?;
    fits("out", out.shape(), [b, h, s, dv])?;
    let mask = match mask {
        Some(mask) => Some(mask.repeated("mask", [b, h, s, t])?),
        None => None,
    };
    if out.shape().contains(&0) {
        return Ok(());
    }
    let task = Attention {
        kernel: Kernel::of(level),
        level,
        q: *q,
        k: *k,
        v: *v,
        mask,
        options,
        out_strides: out.strides(),
        out: Shared::new(out.as_mut_ptr()),
    };
    let wanted = (4 * Team::current().threads()).div_ceil(b * h);
    let queries = s.div_ceil(wanted).clamp(FEWEST_QUERIES, QUERIES).next_multiple_of(MAX_ROWS);
    let parts = s.div_ceil(queries);
    for_each(b * h * parts, b * h * s * t * (d + dv), |index| {
        let (matrix, part) = (index / parts, index % parts);
        task.run([matrix / h, matrix % h], part * queries..s.min((part + 1) * queries));
    });
    Ok(())
}

struct Attention<'a, T> {
    kernel: &'static Kernel,
    level: Level,
    q: Matrices<'a, T>,
    k: Matrices<'a, T>,
    v: Matrices<'a, T>,
    mask: Option<Matrices<'a, T>>,
    options: AttentionOptions,
    out: Shared<T>,
    out_strides: [usize; 4],
}

/// What a task knows of its queries: sums of weighted values, and per row the largest score and the sum of weights.
struct State {
    sums: *mut f32,
    stride: usize,
    max: [f32; QUERIES],
    total: [f32; QUERIES],
}

impl<T: Element> Attention<'_, T> {
    /// One head, some of its queries.
    fn run(&self, at: [usize; 2], queries: Range<usize>) {
        let [_, _, t, d] = self.k.shape();
        let kv = [at[0], at[1] / (self.q.shape()[1] / self.k.shape()[1])];
        let values = Panels::new(self.v.shape()[3], self.kernel);
        let dv = values.padded();
        let keys = Panels::new(KEYS.min(t), self.kernel);
        // Keys beyond the last query are never seen.
        let seen = if self.options.causal { t.min(queries.end) } else { t };
        let parts = [d * keys.padded(), KEYS.min(t) * dv, MAX_ROWS * (keys.padded() + 16), MAX_ROWS * (d + 16)]
            .map(|n| n.next_multiple_of(16));
        let sums = queries.len() * dv;
        scratch::with(parts.iter().sum::<usize>() + sums, |buffer| {
            let kt = buffer.as_mut_ptr();
            let vs = kt.wrapping_add(parts[0]);
            let scores = vs.wrapping_add(parts[1]);
            let rows = scores.wrapping_add(parts[2]);
            let mut state = State {
                sums: rows.wrapping_add(parts[3]),
                stride: dv,
                max: [f32::NEG_INFINITY; QUERIES],
                total: [0.0; QUERIES],
            };
            // SAFETY: `sums` elements lie behind `parts`.
            unsafe { state.sums.write_bytes(0, sums) };
            for t0 in (0..seen).step_by(KEYS) {
                let block = t0..seen.min(t0 + KEYS);
                let panels = Panels::new(block.len(), self.kernel);
                let [_, _, rs, cs] = self.k.strides();
                for j in 0..panels.count {
                    let (col0, vectors, cols) = panels.panel(j);
                    let width = vectors * self.kernel.lanes;
                    // SAFETY: keys `t0 + col0 ..` exist; panel j of d rows begins at d · col0 of d · padded.
                    unsafe {
                        let from = self.k.at([kv[0], kv[1], t0 + col0, 0]);
                        pack_panel(kt.add(d * col0), width, from, (cs, rs), d, cols);
                    }
                }
                let v = self.values(kv, &block, dv, vs);
                for row in queries.clone().step_by(self.kernel.rows) {
                    let n = self.kernel.rows.min(queries.end - row);
                    let state_row = row - queries.start;
                    self.rows(at, (row, n, state_row), &block, &panels, kt, v, &values, (scores, rows), &mut state);
                }
            }
            self.finish(at, queries, &state);
        });
    }

    /// The block's values as rows of whole vectors: in place where they lie so already, one row after the other, else
    /// copied to `to`.
    fn values(&self, kv: [usize; 2], block: &Range<usize>, dv: usize, to: *mut f32) -> (*const f32, usize) {
        let [_, _, _, cols] = self.v.shape();
        let [_, _, rs, cs] = self.v.strides();
        let from = self.v.at([kv[0], kv[1], block.start, 0]);
        if T::IS_F32 && cs == 1 && cols == dv && rs == dv {
            return (from.cast(), rs);
        }
        // SAFETY: the block's rows exist; `to` has room for KEYS rows of dv.
        unsafe { pack_panel(to, dv, from, (rs, cs), block.len(), cols) };
        (to, dv)
    }

    /// A group of at most `kernel.rows` queries against one block of keys.
    fn rows(
        &self,
        at: [usize; 2],
        (row, n, state_row): (usize, usize, usize),
        block: &Range<usize>,
        panels: &Panels,
        kt: *const f32,
        v: (*const f32, usize),
        values: &Panels,
        (scores, q_rows): (*mut f32, *mut f32),
        state: &mut State,
    ) {
        let (kernel, d) = (self.kernel, self.q.shape()[3]);
        // Keys that row i sees.
        let visible = |i: usize| {
            if self.options.causal { (row + i + 1).clamp(block.start, block.end) - block.start } else { block.len() }
        };
        let keys = visible(n - 1);
        if keys == 0 {
            return;
        }
        let [_, _, rs, cs] = self.q.strides();
        let from = self.q.at([at[0], at[1], row, 0]);
        let q = if T::IS_F32 && cs == 1 {
            (from.cast::<f32>(), rs)
        } else {
            // SAFETY: rows `row..row + n` exist; `q_rows` has room for MAX_ROWS rows of d + 16.
            unsafe { pack_rows(q_rows, d + 16, from, (rs, cs), n, d) };
            (q_rows.cast_const(), d + 16)
        };
        // 16 more than needed, so that rows do not fall into the same sets of L1.
        let stride = panels.padded() + 16;
        for j in 0..panels.count {
            let (col0, vectors, _) = panels.panel(j);
            if col0 >= keys {
                break;
            }
            let b = (kt.wrapping_add(d * col0), vectors * kernel.lanes);
            let c = (scores.wrapping_add(col0), stride);
            // SAFETY: Kᵀ is packed and padded; `scores` has room for MAX_ROWS rows of `stride`.
            unsafe { kernel.tile((n, vectors), d, q, b, c, false, [q.0.cast(); 2]) };
        }
        let weigh = weigh(self.level);
        for i in 0..n {
            let r = state_row + i;
            // SAFETY: a row of scores, just written up to `keys`.
            let x = unsafe { std::slice::from_raw_parts_mut(scores.add(i * stride), keys) };
            let (x, hidden) = x.split_at_mut(visible(i));
            hidden.fill(0.0);
            let mut copy = [0.0; KEYS];
            let mask = self.mask_row(at, row + i, block.start, x.len(), &mut copy);
            let before = state.max[r];
            let (max, sum) = weigh(x, mask, self.options.scale, before);
            let fade = if before == max || before == f32::NEG_INFINITY { 1.0 } else { (before - max).exp() };
            state.max[r] = max;
            state.total[r] = state.total[r] * fade + sum;
            if fade != 1.0 {
                // SAFETY: row r of the sums.
                let sums = unsafe { std::slice::from_raw_parts_mut(state.sums.add(r * state.stride), state.stride) };
                sums.iter_mut().for_each(|x| *x *= fade);
            }
        }
        for j in 0..values.count {
            let (col0, vectors, _) = values.panel(j);
            let c = (state.sums.wrapping_add(state_row * state.stride + col0), state.stride);
            let b = (v.0.wrapping_add(col0), v.1);
            // SAFETY: values are rows of whole vectors for `keys` keys; the sums have room for whole vectors.
            unsafe { kernel.tile((n, vectors), keys, (scores, stride), b, c, true, [scores.cast(); 2]) };
        }
    }

    /// Row `row` of the mask for `n` keys from `t0` on; empty without one.
    fn mask_row<'m>(&'m self, at: [usize; 2], row: usize, t0: usize, n: usize, copy: &'m mut [f32; KEYS]) -> &'m [f32] {
        let Some(mask) = self.mask.as_ref().filter(|_| n > 0) else { return &[] };
        let from = mask.at([at[0], at[1], row, t0]);
        match mask.strides()[3] {
            // SAFETY: keys `t0..t0 + n` exist in the mask, and T is f32.
            1 if T::IS_F32 => unsafe { std::slice::from_raw_parts(from.cast(), n) },
            1 => {
                // SAFETY: as above; `copy` has room for a block.
                unsafe { pack_rows(copy.as_mut_ptr(), KEYS, from, (0, 1), 1, n) };
                &copy[..n]
            }
            stride => {
                for (j, x) in copy[..n].iter_mut().enumerate() {
                    // SAFETY: as above.
                    *x = unsafe { *from.wrapping_add(j * stride) }.to_f32();
                }
                &copy[..n]
            }
        }
    }

    /// Sums divided by the total weight, to where they belong.
    fn finish(&self, at: [usize; 2], queries: Range<usize>, state: &State) {
        let [so, si, sr, _] = self.out_strides;
        let cols = self.v.shape()[3];
        for (i, row) in queries.enumerate() {
            // No weight at all: 0/0, NaN.
            let factor = 1.0 / state.total[i];
            // SAFETY: row i of the sums; the output's row is inside its slice and this task's own.
            unsafe {
                let from = std::slice::from_raw_parts(state.sums.add(i * state.stride), cols);
                let to = self.out.get().add(at[0] * so + at[1] * si + row * sr);
                let to = std::slice::from_raw_parts_mut(to, cols);
                for (y, x) in to.iter_mut().zip(from) {
                    *y = T::from_f32(x * factor);
                }
            }
        }
    }
}
