//! One row of an online softmax, compiled per vector width. Knows nothing of matrices.

use crate::vmath::{BASELINE_FMA, Level, exp_element};

/// Partial maxima and sums: a fixed number, so that a result does not depend on the vector width's own way of adding.
const LANES: usize = 32;

/// Scores of one row and one block of keys become weights: `x[j] = exp(x[j]·scale + mask[j] − m)`, where m is the largest
/// of the row so far. Returns m and the sum of the weights. `mask` is empty or as long as `x`; `before` is the largest of
/// the blocks before, −∞ at first. Where everything so far is −∞, the weights are 0.
pub(super) type WeighFn = fn(x: &mut [f32], mask: &[f32], scale: f32, before: f32) -> (f32, f32);

#[inline(always)]
fn weigh_body<const F: bool>(x: &mut [f32], mask: &[f32], scale: f32, before: f32) -> (f32, f32) {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut max = [f32::NEG_INFINITY; LANES];
    if mask.is_empty() {
        let (blocks, tail) = x.as_chunks_mut::<LANES>();
        for block in blocks {
            for (x, m) in block.iter_mut().zip(&mut max) {
                *x *= scale;
                *m = larger(*m, *x);
            }
        }
        for (x, m) in tail.iter_mut().zip(&mut max) {
            *x *= scale;
            *m = larger(*m, *x);
        }
    } else {
        let (blocks, tail) = x.as_chunks_mut::<LANES>();
        let (masks, mask_tail) = mask.as_chunks::<LANES>();
        for (block, mask) in blocks.iter_mut().zip(masks) {
            for ((x, a), m) in block.iter_mut().zip(mask).zip(&mut max) {
                *x = *x * scale + a;
                *m = larger(*m, *x);
            }
        }
        for ((x, a), m) in tail.iter_mut().zip(mask_tail).zip(&mut max) {
            *x = *x * scale + a;
            *m = larger(*m, *x);
        }
    }
    // Pairwise: one after the other would take longer than the row's multiplications.
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            max[i] = larger(max[i], max[i + n]);
        }
        n /= 2;
    }
    let max = larger(before, max[0]);
    let origin = if max == f32::NEG_INFINITY { 0.0 } else { max };
    let mut sums = [0.0f32; LANES];
    let (blocks, tail) = x.as_chunks_mut::<LANES>();
    for block in blocks {
        for (x, s) in block.iter_mut().zip(&mut sums) {
            *x = exp_element::<F>(*x - origin);
            *s += *x;
        }
    }
    for (x, s) in tail.iter_mut().zip(&mut sums) {
        *x = exp_element::<F>(*x - origin);
        *s += *x;
    }
    // Pairwise: fixed, and a little more accurate than in a row.
    let mut n = LANES / 2;
    while n > 0 {
        for i in 0..n {
            sums[i] += sums[i + n];
        }
        n /= 2;
    }
    (max, sums[0])
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
fn weigh_avx512(x: &mut [f32], mask: &[f32], scale: f32, before: f32) -> (f32, f32) {
    weigh_body::<true>(x, mask, scale, before)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn weigh_avx2(x: &mut [f32], mask: &[f32], scale: f32, before: f32) -> (f32, f32) {
    weigh_body::<true>(x, mask, scale, before)
}

/// The function of a level (of the baseline if it is not available).
pub(super) fn weigh(level: Level) -> WeighFn {
    #[cfg(target_arch = "x86_64")]
    match level {
        // SAFETY: the level is available.
        Level::Avx512 if level.available() => return |x, m, s, b| unsafe { weigh_avx512(x, m, s, b) },
        // SAFETY: the level is available.
        Level::Avx2 if level.available() => return |x, m, s, b| unsafe { weigh_avx2(x, m, s, b) },
        _ => {}
    }
    let _ = level;
    weigh_body::<BASELINE_FMA>
}
