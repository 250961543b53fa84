//! One row of a softmax or a norm, compiled per vector width. Knows nothing of matrices or of where rows come from.
//!
//! A row is walked two or three times; one of up to some thousand elements lies in the first-level cache meanwhile.

use crate::vmath::{BASELINE_FMA, InPlaceFn, Level, Unary, mul_add, unary_in_place};

/// Partial maxima and sums: a fixed number, so that a result does not depend on the vector width's own way of adding.
const LANES: usize = 32;
/// Elements whose exponentials are taken at once: the differences that they are taken of stay in the first-level cache.
const BLOCK: usize = 256;

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RowOp {
    /// e^(x−max) / Σ.
    Softmax,
    /// (x−mean)/√(var+eps)·weight + bias.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// x/√(mean(x²)+eps)·weight.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
}

type RowFn = fn(&RowKernel, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]);

/// A row operation at a level.
pub(crate) struct RowKernel {
    op: RowOp,
    exp: InPlaceFn,
    run: RowFn,
}

impl RowKernel {
    /// The operation at a level (at the baseline if it is not available).
    pub fn new(op: RowOp, level: Level) -> RowKernel {
        RowKernel { op, exp: unary_in_place(Unary::Exp, level), run: compiled(level) }
    }

    /// `y` is the result for `x`, of the same length; `affine` are weight and bias, empty where the operation has none.
    pub fn run(&self, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]) {
        (self.run)(self, x, affine, y)
    }
}

/// Joins what `f` makes of each element, by lanes and then pairwise.
#[inline(always)]
fn fold(x: &[f32], first: f32, f: impl Fn(f32, f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [first; LANES];
    let (whole, tail) = x.as_chunks::<LANES>();
    for x in whole {
        for (&x, l) in x.iter().zip(&mut lanes) {
            *l = f(*l, x);
        }
    }
    for (&x, l) in tail.iter().zip(&mut lanes) {
        *l = f(*l, x);
    }
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            lanes[i] = join(lanes[i], lanes[i + n]);
        }
        n /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn body<const F: bool>(of: &RowKernel, x: &[f32], [weight, bias]: [&[f32]; 2], y: &mut [f32]) {
    let n = x.len() as f32;
    let add = |a: f32, b: f32| a + b;
    match of.op {
        RowOp::Softmax => {
            // A NaN is not seen here; its exponential makes the sum NaN, and with it all of the row.
            let larger = |a: f32, b: f32| if b > a { b } else { a };
            let max = fold(x, f32::NEG_INFINITY, larger, larger);
            let mut total = 0.0;
            for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
                x.iter().zip(&mut *y).for_each(|(&x, y)| *y = x - max);
                (of.exp)(y);
                total += fold(y, 0.0, add, add);
            }
            // The largest element alone gives 1: the reciprocal neither overflows nor loses digits.
            let share = 1.0 / total;
            y.iter_mut().for_each(|y| *y *= share);
        }
        RowOp::LayerNorm { eps } => {
            let mean = fold(x, 0.0, add, add) / n;
            let squares = fold(x, 0.0, |s, x| mul_add::<F>(x - mean, x - mean, s), add);
            let scale = 1.0 / (squares / n + eps).sqrt();
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = mul_add::<F>((x - mean) * scale, w, b);
            }
        }
        RowOp::RmsNorm { eps } => {
            let squares = fold(x, 0.0, |s, x| mul_add::<F>(x, x, s), add);
            let scale = 1.0 / (squares / n + eps).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                *y = x * scale * w;
            }
        }
    }
}

fn compiled(level: Level) -> RowFn {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512(of: &RowKernel, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]) {
            body::<true>(of, x, affine, y)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(of: &RowKernel, x: &[f32], affine: [&[f32]; 2], y: &mut [f32]) {
            body::<true>(of, x, affine, y)
        }
        match level {
            // SAFETY: the level is available.
            Level::Avx512 if level.available() => return |k, x, a, y| unsafe { avx512(k, x, a, y) },
            // SAFETY: the level is available.
            Level::Avx2 if level.available() => return |k, x, a, y| unsafe { avx2(k, x, a, y) },
            _ => {}
        }
    }
    let _ = level;
    body::<BASELINE_FMA>
}
