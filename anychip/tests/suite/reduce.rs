//! Reductions. A sum of n f32 numbers in any order is within γ(n−1)·Σ|x| of the true one; where partial sums are exact it must
//! be equal, so that no dropped element hides in the bound.

use crate::common::{Host, close, indices, on_every_device, same};
use anychip::{Axes, DType, Tensor, bf16, f16};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// The plainest reduction: f over all elements that share the kept indices.
fn reduced(x: &Host, axes: &[usize], start: f64, f: impl Fn(f64, f64) -> f64) -> Host {
    let shape: Vec<usize> = x.shape.iter().enumerate().map(|(a, &n)| if axes.contains(&a) { 1 } else { n }).collect();
    let mut out = Host::new(&shape, vec![start; shape.iter().product()]);
    for (index, &v) in indices(&x.shape).zip(&x.data) {
        let flat = index.iter().zip(&shape).fold(0, |flat, (&i, &n)| flat * n + if n == 1 { 0 } else { i });
        out.data[flat] = f(out.data[flat], v);
    }
    out
}

const CASES: [(&[usize], &[i64]); 13] = [
    (&[], &[]),
    (&[1], &[0]),
    (&[1000], &[0]),
    (&[100_003], &[0]),
    (&[3, 5], &[1]),
    (&[3, 5], &[0]),
    (&[3, 5], &[0, 1]),
    (&[700, 3], &[0]),
    (&[2, 3, 4, 5], &[1, 3]),
    (&[2, 3, 4, 5], &[0, 2]),
    (&[65, 130], &[-1]),
    (&[4, 1, 300], &[1]),
    (&[2, 300, 40], &[1]),
];

fn positive(shape: &[usize], axes: &[i64]) -> Vec<usize> {
    axes.iter().map(|&a| if a < 0 { (a + shape.len() as i64) as usize } else { a as usize }).collect()
}

#[test]
fn reductions_over_every_kind_of_axes() {
    on_every_device(|d| {
        for (n, (shape, axes)) in CASES.into_iter().enumerate() {
            let at = positive(shape, axes);
            let what = |op: &str| format!("{op} of {shape:?} over {axes:?} on {d}");
            // Small integers: every partial sum is exact in f32.
            let x = Host::random(shape, n as u64 + 1, -64.0, 64.0).map(f64::round);
            let t = x.on(d);
            same(&what("sum"), &t.sum_keepdim(axes).unwrap(), &reduced(&x, &at, 0.0, |a, b| a + b));
            same(&what("max"), &t.max_keepdim(axes).unwrap(), &reduced(&x, &at, f64::NEG_INFINITY, f64::max));
            same(&what("min"), &t.min_keepdim(axes).unwrap(), &reduced(&x, &at, f64::INFINITY, f64::min));
            let dropped = t.sum(axes).unwrap();
            assert_eq!(dropped.rank(), shape.len() - axes.len(), "{}", what("sum"));

            let x = Host::random(shape, n as u64 + 50, -1.0, 1.0);
            let t = x.on(d);
            let count = at.iter().map(|&a| shape[a]).product::<usize>() as f64;
            let magnitude = reduced(&x, &at, 0.0, |a, b| a + b.abs());
            let bound = |i: usize, _: f64| count * U * magnitude.data[i] * 1.01 + 1e-40;
            close(&what("sum"), &t.sum_keepdim(axes).unwrap(), &reduced(&x, &at, 0.0, |a, b| a + b), bound);
            let mean = reduced(&x, &at, 0.0, |a, b| a + b).map(|s| s / count);
            let bound = |i: usize, w: f64| (count * U * magnitude.data[i] * 1.01) / count + 3.0 * U * w.abs() + 1e-40;
            close(&what("mean"), &t.mean_keepdim(axes).unwrap(), &mean, bound);
            if count <= 1000.0 {
                let near = x.map(|v| (1.0 + v / 100.0) as f32 as f64);
                let want = reduced(&near, &at, 1.0, |a, b| a * b);
                let got = near.on(d).prod_keepdim(axes).unwrap();
                close(&what("prod"), &got, &want, |_, w| count * 2.0 * U * w.abs() * 1.01);
            }
        }
    });
}

#[test]
fn reductions_of_views_with_work_before_and_after() {
    on_every_device(|d| {
        let x = Host::random(&[30, 50], 5, -1.0, 1.0);
        let t = x.on(d).t().unwrap().slice((5..45, ..)).unwrap();
        let got = t.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
        let want = Host::build(&[40], |i| (0..30).map(|r| x.at(&[r, i[0] + 5]).powi(2)).sum::<f64>().sqrt());
        close(&format!("norm of a view on {d}"), &got, &want, |_, w| 40.0 * U * w);
        let repeated = x.on(d).narrow(0, 0, 1).unwrap().expand((7, 50)).unwrap().sum(0).unwrap();
        close(
            &format!("sum of a repeat on {d}"),
            &repeated,
            &Host::build(&[50], |i| 7.0 * x.at(&[0, i[0]])),
            |_, w| 8.0 * U * w.abs(),
        );
    });
}

#[test]
fn nothing_and_nan() {
    on_every_device(|d| {
        let none = Tensor::zeros((3, 0), DType::F32, d).unwrap();
        assert_eq!(none.sum(1).unwrap().to_vec1::<f32>().unwrap(), [0.0; 3], "{d}");
        assert_eq!(none.prod(-1).unwrap().to_vec1::<f32>().unwrap(), [1.0; 3], "{d}");
        assert!(none.mean(1).unwrap().to_vec1::<f32>().unwrap().iter().all(|x| x.is_nan()), "{d}");
        assert_eq!(none.sum(0).unwrap().dims(), [0]);
        assert_eq!(none.sum(0).unwrap().to_vec1::<f32>().unwrap(), Vec::<f32>::new());
        let x = Tensor::from_vec(vec![1.0, f32::NAN, 3.0, 5.0, 2.0, 4.0], (2, 3), d).unwrap();
        let max = x.max(1).unwrap().to_vec1::<f32>().unwrap();
        assert!(max[0].is_nan() && max[1] == 5.0, "{d}: {max:?}");
        let min = x.min(1).unwrap().to_vec1::<f32>().unwrap();
        assert!(min[0].is_nan() && min[1] == 2.0, "{d}: {min:?}");
        let inf = Tensor::from_vec(vec![f32::INFINITY, f32::NEG_INFINITY], 2, d).unwrap();
        assert!(inf.sum_all().unwrap().to_vec0::<f32>().unwrap().is_nan(), "{d}");
        assert_eq!(inf.max_all().unwrap().to_vec0::<f32>().unwrap(), f32::INFINITY, "{d}");
    });
}

#[test]
fn truth_and_integers() {
    on_every_device(|d| {
        let b = Tensor::from_vec(vec![true, false, true, true, true, true], (2, 3), d).unwrap();
        assert_eq!(b.all(1).unwrap().to_vec1::<bool>().unwrap(), [false, true], "{d}");
        assert_eq!(b.not().unwrap().any(1).unwrap().to_vec1::<bool>().unwrap(), [true, false], "{d}");
        assert!(b.any_all().unwrap().to_vec0::<bool>().unwrap());
        let none = Tensor::zeros(0, DType::Bool, d).unwrap();
        assert!(none.all_all().unwrap().to_vec0::<bool>().unwrap(), "{d}");
        assert!(!none.any_all().unwrap().to_vec0::<bool>().unwrap(), "{d}");
        let i: Vec<i32> = (0..5000).map(|i| (i * 7919) % 10007 - 5000).collect();
        let t = Tensor::from_slice(&i, (50, 100), d).unwrap();
        assert_eq!(t.sum_all().unwrap().to_vec0::<i64>().unwrap(), i.iter().map(|&i| i as i64).sum::<i64>(), "{d}");
        assert_eq!(t.max_all().unwrap().to_vec0::<i32>().unwrap(), *i.iter().max().unwrap(), "{d}");
        let rows: Vec<i32> = i.chunks(100).map(|r| r.iter().copied().min().unwrap()).collect();
        assert_eq!(t.min(1).unwrap().to_vec1::<i32>().unwrap(), rows, "{d}");
        let wide = Tensor::full(i32::MAX, 3, d).unwrap().sum_all().unwrap().to_vec0::<i64>().unwrap();
        assert_eq!(wide, i32::MAX as i64 * 3, "{d}");
        let wraps = Tensor::full(i64::MAX, 3, d).unwrap().sum_all().unwrap().to_vec0::<i64>().unwrap();
        assert_eq!(wraps, i64::MAX.wrapping_mul(3), "{d}");
        let long = Tensor::full(1i64 << 40, 1000, d).unwrap().sum_all().unwrap().to_vec0::<i64>().unwrap();
        assert_eq!(long, 1000i64 << 40, "{d}");
    });
}

/// 16-bit types are summed in f32: 4096 ones are 4096, which f16 and bf16 cannot reach one by one.
#[test]
fn sixteen_bits_are_summed_in_f32() {
    on_every_device(|d| {
        let h = Tensor::full(f16::from_f32(1.0), 4096, d).unwrap();
        assert_eq!(h.sum_all().unwrap().to_vec0::<f16>().unwrap().to_f32(), 4096.0, "{d}");
        let b = Tensor::full(bf16::from_f32(1.0), 4096, d).unwrap();
        assert_eq!(b.sum_all().unwrap().to_vec0::<bf16>().unwrap().to_f32(), 4096.0, "{d}");
        // The sum overflows f16, the mean does not.
        let big = Tensor::full(f16::from_f32(60000.0), 100, d).unwrap();
        assert_eq!(big.mean(0).unwrap().to_vec0::<f16>().unwrap().to_f32(), 60000.0, "{d}");
    });
}

#[test]
fn axes_may_be_given_in_many_ways() {
    fn total(x: &Tensor, axes: impl Axes) -> usize {
        x.sum(axes).unwrap().elem_count()
    }
    let d = anychip::Device::open("cpu").unwrap();
    let x = Tensor::ones((2, 3, 4), DType::F32, &d).unwrap();
    assert_eq!(total(&x, 1), 8);
    assert_eq!(total(&x, -1), 6);
    assert_eq!(total(&x, [0, 2]), 3);
    assert_eq!(total(&x, [2usize, 0]), 3);
    assert_eq!(total(&x, &[1i64][..]), 8);
    assert_eq!(total(&x, ..), 1);
}
