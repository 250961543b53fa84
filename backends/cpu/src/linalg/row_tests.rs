//! Rows and sums against f64 written down plainly, on every level of this processor: lengths around those of vectors and blocks,
//! and rows with NaN and infinities.

use super::tests::numbers;
use super::*;
use crate::vmath::Level;
use half::{bf16, f16};

const LENGTHS: [usize; 12] = [1, 2, 3, 31, 32, 33, 127, 255, 257, 1023, 1024, 100_000];

fn softmax(x: &[f32]) -> Vec<f64> {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let e: Vec<f64> = x.iter().map(|&x| (x as f64 - max).exp()).collect();
    let total: f64 = e.iter().sum();
    e.iter().map(|e| e / total).collect()
}

fn norm(x: &[f32], mean: f64, w: &[f32], b: &[f32], eps: f32) -> Vec<f64> {
    let squares: f64 = x.iter().map(|&x| (x as f64 - mean).powi(2)).sum();
    let scale = 1.0 / (squares / x.len() as f64 + eps as f64).sqrt();
    x.iter().zip(w).zip(b).map(|((&x, &w), &b)| (x as f64 - mean) * scale * w as f64 + b as f64).collect()
}

fn close(case: &str, got: &[f32], want: &[f64], bound: f64) {
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((g as f64 - w).abs() <= bound * (w.abs() + 1e-3), "{case}: element {i} is {g}, not {w}");
    }
}

#[test]
fn rows_of_many_lengths() {
    for level in Level::all() {
        for n in LENGTHS {
            let x: Vec<f32> = numbers(n, n as u64 + 1).iter().map(|x| 4.0 * x + 0.5).collect();
            let (w, b) = (numbers(n, 7), numbers(n, 8));
            let mut y = vec![f32::NAN; n];
            let mut run = |op: RowOp, affine: [&[f32]; 2]| {
                y.fill(f32::NAN);
                RowKernel::new(op, level).run(&x, affine, &mut y);
                y.clone()
            };
            // Sums in 32 lanes: some 100,000/32 roundings at most, and those of the functions.
            let bound = (n as f64 / 32.0 + 40.0) * f32::EPSILON as f64;
            let case = |op: &str| format!("{op} of {n} at {level:?}");
            close(&case("softmax"), &run(RowOp::Softmax, [&[], &[]]), &softmax(&x), bound);
            let mean = x.iter().map(|&x| x as f64).sum::<f64>() / n as f64;
            let eps = 1e-2;
            let layer = run(RowOp::LayerNorm { eps }, [&w, &b]);
            close(&case("layer norm"), &layer, &norm(&x, mean, &w, &b, eps), 1e2 * bound);
            let rms = run(RowOp::RmsNorm { eps }, [&w, &[]]);
            close(&case("rms norm"), &rms, &norm(&x, 0.0, &w, &vec![0.0; n], eps), bound);
        }
    }
}

#[test]
fn a_row_of_nothing_is_nothing() {
    for level in Level::all() {
        for op in [RowOp::Softmax, RowOp::LayerNorm { eps: 1e-5 }, RowOp::RmsNorm { eps: 1e-5 }] {
            RowKernel::new(op, level).run(&[], [&[], &[]], &mut []);
        }
        assert_eq!(sum::<f32>(level)(&[]).to_bits(), 0);
    }
}

#[test]
fn softmax_of_nan_and_infinities() {
    let inf = f32::INFINITY;
    for level in Level::all() {
        for n in [1, 5, 33, 300, 1024] {
            let mut y = vec![0.0; n];
            for special in [f32::NAN, inf] {
                for at in [0, n / 2, n - 1] {
                    let mut x = numbers(n, 3);
                    x[at] = special;
                    RowKernel::new(RowOp::Softmax, level).run(&x, [&[], &[]], &mut y);
                    assert!(y.iter().all(|y| y.is_nan()), "{special} at {at} of {n}, {level:?}");
                }
            }
            RowKernel::new(RowOp::Softmax, level).run(&vec![-inf; n], [&[], &[]], &mut y);
            assert!(y.iter().all(|y| y.is_nan()), "−∞ alone, {n}, {level:?}");
            // −∞ beside a number is a weight of 0.
            let mut x = vec![-inf; n];
            x[n / 2] = 5.0;
            RowKernel::new(RowOp::Softmax, level).run(&x, [&[], &[]], &mut y);
            assert!(y.iter().enumerate().all(|(i, &y)| y == (i == n / 2) as u8 as f32), "{n}, {level:?}");
        }
    }
}

#[test]
fn norms_of_nan_and_infinities_are_nan() {
    for level in Level::all() {
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut x, w) = (numbers(300, 3), vec![1.0; 300]);
            x[77] = special;
            let mut y = vec![0.0; 300];
            RowKernel::new(RowOp::LayerNorm { eps: 1e-5 }, level).run(&x, [&w, &w], &mut y);
            assert!(y.iter().all(|y| y.is_nan()), "layer norm with {special}, {level:?}");
            RowKernel::new(RowOp::RmsNorm { eps: 1e-5 }, level).run(&x, [&w, &[]], &mut y);
            assert!(y[77].is_nan(), "rms norm with {special}, {level:?}");
            let others = if special.is_nan() { f32::is_nan } else { |y: f32| y == 0.0 };
            assert!(y.iter().enumerate().all(|(i, &y)| i == 77 || others(y)), "rms norm with {special}, {level:?}");
        }
    }
}

/// Whole numbers, whose partial sums are exact in any order: no element is lost and none is added twice.
#[test]
fn sums_of_many_lengths_bit_for_bit() {
    fn check<T: Element>(level: Level, x: &[f32]) {
        let of: Vec<T> = x.iter().map(|&x| T::from_f32(x)).collect();
        assert_eq!(sum::<T>(level)(&of), x.iter().sum::<f32>(), "{} elements at {level:?}", x.len());
    }
    for level in Level::all() {
        for n in (0..200).chain(LENGTHS) {
            let x: Vec<f32> = numbers(n, n as u64 + 5).iter().map(|x| (16.0 * x).round()).collect();
            check::<f32>(level, &x);
            check::<f16>(level, &x);
            check::<bf16>(level, &x);
        }
        let mut x = vec![1.0f32; 500];
        x[123] = f32::INFINITY;
        assert_eq!(sum::<f32>(level)(&x), f32::INFINITY);
        x[400] = f32::NEG_INFINITY;
        assert!(sum::<f32>(level)(&x).is_nan());
    }
}

#[test]
fn pieces_are_joined_pairwise() {
    for n in 0..40usize {
        let mut x: Vec<f32> = (0..n).map(|i| i as f32).collect();
        assert_eq!(pairwise(&mut x), (n * n.saturating_sub(1) / 2) as f32, "{n}");
    }
}
