//! Sorting: positions and values are exactly those of a stable sort of the host.

use crate::common::{Host, indices, numbers, on_every_device, refused};
use anychip::{DType, Device, Tensor, bf16, f16};
use std::cmp::Ordering;

/// NaN above all numbers, −0 equal to 0.
fn order(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap(),
        (a, b) => a.cmp(&b),
    }
}

/// The plainest stable sort of a row.
fn sorted<T>(row: &[T], descending: bool, order: impl Fn(&T, &T) -> Ordering) -> Vec<u32> {
    let mut at: Vec<u32> = (0..row.len() as u32).collect();
    at.sort_by(|&a, &b| {
        let o = order(&row[a as usize], &row[b as usize]);
        if descending { o.reverse() } else { o }
    });
    at
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn rows_of_many_lengths_with_repeats() {
    on_every_device(|d| {
        for (n, (rows, len)) in
            [(1, 1), (3, 2), (2, 31), (5, 64), (1, 1000), (1, 1024), (3, 1025), (2, 5000), (1, 70_001)]
                .into_iter()
                .enumerate()
        {
            // Whole numbers below 100: most repeat.
            let x: Vec<f32> = numbers(rows * len, n as u64 + 1, -50.0, 50.0).into_iter().map(f32::round).collect();
            let descending = n % 2 == 1;
            let (values, positions) = Tensor::from_slice(&x, (rows, len), d).unwrap().sort(1, descending).unwrap();
            let want: Vec<Vec<u32>> =
                x.chunks(len).map(|row| sorted(row, descending, |a, b| order(*a as f64, *b as f64))).collect();
            assert!(positions.to_vec2::<u32>().unwrap() == want, "positions of {rows}×{len} on {d}");
            let want: Vec<f32> = want
                .iter()
                .enumerate()
                .flat_map(|(r, row)| row.iter().map(move |&p| (r, p)))
                .map(|(r, p)| x[r * len + p as usize])
                .collect();
            assert!(bits(&values.to_vec::<f32>().unwrap()) == bits(&want), "values of {rows}×{len} on {d}");
        }
    });
}

#[test]
fn special_values_both_ways() {
    let x =
        [0.0, f32::NAN, -0.0, 1e-40, f32::INFINITY, -1e-40, 0.0, -f32::NAN, f32::NEG_INFINITY, -1.0, f32::MAX, -0.0];
    on_every_device(|d| {
        let t = Tensor::from_slice(&x, 12, d).unwrap();
        for descending in [false, true] {
            let want = sorted(&x, descending, |a, b| order(*a as f64, *b as f64));
            assert_eq!(t.argsort(0, descending).unwrap().to_vec::<u32>().unwrap(), want, "{descending} on {d}");
        }
    });
}

#[test]
fn any_axis_of_any_view() {
    on_every_device(|d| {
        let x = Host::random(&[4, 3, 5], 3, -9.0, 9.0).map(f64::round);
        for axis in 0..3 {
            let t = x.on(d).flip(2).unwrap();
            let (values, positions) = t.sort(axis as i64 - 3, false).unwrap();
            let (values, positions) = (values.to_vec::<f32>().unwrap(), positions.to_vec::<u32>().unwrap());
            let flat = |i: &[usize]| i.iter().zip(&x.shape).fold(0, |flat, (&i, &n)| flat * n + i);
            for first in indices(&x.shape).filter(|i| i[axis] == 0) {
                let at = |k: usize| {
                    let mut at = first.clone();
                    at[axis] = k;
                    at
                };
                let seen = |mut i: Vec<usize>| {
                    i[2] = 4 - i[2];
                    x.at(&i)
                };
                let row: Vec<f64> = (0..x.shape[axis]).map(|k| seen(at(k))).collect();
                for (k, &p) in sorted(&row, false, |a, b| order(*a, *b)).iter().enumerate() {
                    assert_eq!(positions[flat(&at(k))], p, "axis {axis}, {:?} on {d}", at(k));
                    assert_eq!(values[flat(&at(k))] as f64, row[p as usize], "axis {axis}, {:?} on {d}", at(k));
                }
            }
        }
        // What is sorted may be computed, and what is sorted by may be used.
        let t = x.on(d).flatten_all().unwrap();
        let got = t.neg().unwrap().argsort(0, false).unwrap().add(1u32).unwrap().to_vec::<u32>().unwrap();
        let want = sorted(&x.data, true, |a, b| order(*a, *b));
        assert_eq!(got, want.iter().map(|p| p + 1).collect::<Vec<_>>(), "{d}");
        let none = Tensor::zeros((3, 0), DType::F32, d).unwrap().sort(1, false).unwrap();
        assert_eq!((none.0.dims(), none.1.to_vec::<u32>().unwrap()), (&[3, 0][..], vec![]), "{d}");
    });
}

#[test]
fn every_type() {
    on_every_device(|d| {
        macro_rules! check {
            ($($t:ty: $make:expr;)*) => {$({
                let make: fn(i64) -> $t = $make;
                // Most of 64 bits are used by both halves.
                let x: Vec<$t> = (0..300i64).map(|i| make((i * 7919 % 83 - 41).wrapping_mul(0x0123_4567_89ab_cdef) >> 3)).collect();
                let t = Tensor::from_slice(&x, 300, d).unwrap();
                for descending in [false, true] {
                    let want = sorted(&x, descending, |a, b| a.partial_cmp(b).unwrap());
                    let got = t.argsort(0, descending).unwrap().to_vec::<u32>().unwrap();
                    assert!(got == want, "{} {descending} on {d}: {got:?} not {want:?}", stringify!($t));
                }
            })*};
        }
        check! {
            f16: |i| f16::from_f32((i >> 50) as f32);
            bf16: |i| bf16::from_f32(i as f32);
            i8: |i| (i >> 40) as i8;
            u8: |i| (i >> 40) as u8;
            i32: |i| (i >> 20) as i32;
            u32: |i| (i >> 20) as u32;
            i64: |i| i;
            bool: |i| i & 256 == 0;
        }
        if d.info().support(DType::F64).arithmetic {
            check! { f64: |i| i as f64; }
        }
    });
}

/// Rows of 64-bit elements that take merges in both passes.
#[test]
fn long_rows_of_wide_elements() {
    on_every_device(|d| {
        let x: Vec<i64> = (0..6000i64).map(|i| (i * 7919 % 501 - 250) << 31).collect();
        let t = Tensor::from_slice(&x, (2, 3000), d).unwrap();
        let want: Vec<Vec<u32>> = x.chunks(3000).map(|row| sorted(row, true, Ord::cmp)).collect();
        assert!(t.argsort(1, true).unwrap().to_vec2::<u32>().unwrap() == want, "{d}");
    });
}

#[test]
fn the_largest_and_the_smallest() {
    on_every_device(|d| {
        let x: Vec<f32> = numbers(3 * 700, 8, -50.0, 50.0).into_iter().map(f32::round).collect();
        let t = Tensor::from_slice(&x, (3, 700), d).unwrap();
        for largest in [true, false] {
            let (values, positions) = t.topk(5, 1, largest).unwrap();
            let want: Vec<Vec<u32>> = x
                .chunks(700)
                .map(|row| sorted(row, largest, |a, b| order(*a as f64, *b as f64))[..5].to_vec())
                .collect();
            assert_eq!(positions.to_vec2::<u32>().unwrap(), want, "{d}");
            let values = values.to_vec2::<f32>().unwrap();
            for (r, row) in want.iter().enumerate() {
                let want: Vec<f32> = row.iter().map(|&p| x[r * 700 + p as usize]).collect();
                assert_eq!(values[r], want, "{d}");
            }
        }
        assert_eq!(t.topk(0, 0, true).unwrap().0.dims(), [0, 700]);
        assert_eq!(t.topk(3, 0, true).unwrap().1.dims(), [3, 700]);
    });
}

#[test]
fn sorts_that_are_refused() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    refused(x.sort(2, false), &["sort", "axis 2", "[2, 3]"]);
    refused(x.argsort(-3, false), &["argsort", "axis -3"]);
    refused(Tensor::zeros((), DType::F32, &d).unwrap().sort(0, true), &["sort", "no axes"]);
    refused(x.topk(4, 1, true), &["topk", "4 elements", "axis 1", "[2, 3]", "has 3"]);
    refused(x.topk(1, 5, true), &["topk", "axis 5"]);
    let long = Tensor::zeros((), DType::U8, &d).unwrap().expand(1usize << 32).unwrap();
    refused(long.argsort(0, false), &["argsort", "4294967296", "u32"]);
}
