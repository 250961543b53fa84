//! Running sums and the like. Where all partial results are exact they must be equal; else a running f32 sum of n numbers is
//! within γ(n−1)·Σ|x| of the true one, in any order.

use crate::common::{Host, close, indices, on_every_device, refused, same};
use anychip::{DType, Device, Error, Tensor, bf16, f16};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// The plainest scan.
fn running(x: &Host, axis: usize, start: f64, exclusive: bool, reverse: bool, f: impl Fn(f64, f64) -> f64) -> Host {
    let mut out = x.clone();
    let flat = |i: &[usize]| i.iter().zip(&x.shape).fold(0, |flat, (&i, &n)| flat * n + i);
    let n = x.shape[axis];
    for first in indices(&x.shape).filter(|i| i[axis] == 0) {
        let mut so_far = start;
        for k in 0..n {
            let mut at = first.clone();
            at[axis] = if reverse { n - 1 - k } else { k };
            let with = f(so_far, x.data[flat(&at)]);
            out.data[flat(&at)] = if exclusive { so_far } else { with };
            so_far = with;
        }
    }
    out
}

const CASES: [(&[usize], usize); 14] = [
    (&[1], 0),
    (&[31], 0),
    (&[5000], 0),
    (&[70_001], 0),
    (&[2, 150_000], 1),
    (&[3, 5], 1),
    (&[3, 5], 0),
    (&[3, 1, 2], 1),
    (&[300, 7], 1),
    (&[13, 2049], 1),
    (&[700, 90], 0),
    (&[2, 300, 40], 1),
    (&[2, 3, 4, 5], 2),
    (&[1, 2, 1, 3, 1, 2, 4, 2], 6),
];

#[test]
fn running_sums_along_every_axis() {
    on_every_device(|d| {
        for (n, (shape, axis)) in CASES.into_iter().enumerate() {
            let what = format!("cumsum of {shape:?} along {axis} on {d}");
            // Small integers: every partial sum is exact in f32.
            let x = Host::random(shape, n as u64 + 1, -8.0, 8.0).map(f64::round);
            let at = axis as i64;
            let add = |a: f64, b: f64| a + b;
            same(&what, &x.on(d).cumsum(at).unwrap(), &running(&x, axis, 0.0, false, false, add));
            if n % 3 == 0 {
                let got = x.on(d).cumsum_with(at, true, false).unwrap();
                same(&format!("exclusive {what}"), &got, &running(&x, axis, 0.0, true, false, add));
            }
            if n % 3 == 1 {
                let got = x.on(d).cumsum_with(at, n % 2 == 0, true).unwrap();
                same(&format!("reverse {what}"), &got, &running(&x, axis, 0.0, n % 2 == 0, true, add));
            }
            let x = Host::random(shape, n as u64 + 50, -1.0, 1.0);
            let magnitude = running(&x, axis, 0.0, false, false, |a, b| a + b.abs());
            let len = shape[axis] as f64;
            let bound = |i: usize, _: f64| len * U * magnitude.data[i] * 1.01;
            close(&what, &x.on(d).cumsum(at).unwrap(), &running(&x, axis, 0.0, false, false, add), bound);
        }
    });
}

#[test]
fn products_and_extremes() {
    on_every_device(|d| {
        let x = Host::random(&[5, 700], 3, 0.99, 1.01);
        let want = running(&x, 1, 1.0, false, false, |a, b| a * b);
        close(&format!("cumprod on {d}"), &x.on(d).cumprod(-1).unwrap(), &want, |_, w| 700.0 * 2.0 * U * w.abs());
        let signs = Host::random(&[5, 700], 4, -1.0, 1.0).map(|x| x.signum() * if x.abs() < 0.1 { 2.0 } else { 1.0 });
        let want = running(&signs, 1, 1.0, true, true, |a, b| a * b);
        same(&format!("exclusive reverse cumprod on {d}"), &signs.on(d).cumprod_with(1, true, true).unwrap(), &want);
        let x = Host::random(&[40, 90], 5, -1.0, 1.0);
        let largest = running(&x, 0, f64::NEG_INFINITY, false, false, f64::max);
        same(&format!("cummax on {d}"), &x.on(d).cummax(0).unwrap(), &largest);
        let least = running(&x, 1, f64::INFINITY, false, false, f64::min);
        same(&format!("cummin on {d}"), &x.on(d).cummin(1).unwrap(), &least);
        let mut nan = x.clone();
        nan.data[90 + 3] = f64::NAN;
        let got = nan.on(d).cummax(1).unwrap().to_vec2::<f32>().unwrap();
        assert!(got[1][..3].iter().all(|x| !x.is_nan()) && got[1][3..].iter().all(|x| x.is_nan()), "{d}");
    });
}

#[test]
fn a_scan_of_views_with_work_before_and_after() {
    on_every_device(|d| {
        let x = Host::random(&[30, 50], 5, -8.0, 8.0).map(f64::round);
        let t = x.on(d).t().unwrap().slice((5..45, ..)).unwrap().flip(0).unwrap();
        let got = t.mul(2.0).unwrap().cumsum(1).unwrap().add(&t).unwrap().neg().unwrap();
        let doubled = Host::build(&[40, 30], |i| 2.0 * x.at(&[i[1], 44 - i[0]]));
        let want = running(&doubled, 1, 0.0, false, false, |a, b| a + b).zip(&doubled, |a, b| -(a + b / 2.0));
        same(&format!("a scan among others on {d}"), &got, &want);
        let flat = t.cumsum(0).unwrap().flatten_all().unwrap().abs().unwrap();
        let half = doubled.map(|x| x / 2.0);
        let want = running(&half, 0, 0.0, false, false, |a, b| a + b).map(f64::abs);
        same(&format!("a flattened scan on {d}"), &flat, &Host::new(&[1200], want.data));
        let ones = Tensor::ones((), DType::F32, d).unwrap().expand((3, 4)).unwrap().cumsum(1).unwrap();
        assert_eq!(ones.to_vec2::<f32>().unwrap(), [[1., 2., 3., 4.]; 3], "{d}");
    });
}

#[test]
fn every_numeric_type() {
    on_every_device(|d| {
        let bytes: Vec<u8> = (0..1000).map(|i| (i * 37) as u8).collect();
        let mut sum = 0u8;
        let want: Vec<u8> = bytes
            .iter()
            .map(|&x| {
                sum = sum.wrapping_add(x);
                sum
            })
            .collect();
        assert_eq!(
            Tensor::from_slice(&bytes, 1000, d).unwrap().cumsum(0).unwrap().to_vec::<u8>().unwrap(),
            want,
            "{d}"
        );
        let signed: Vec<i8> = want.iter().map(|&x| x as i8).collect();
        let same_bits = Tensor::from_vec(bytes.iter().map(|&x| x as i8).collect(), 1000, d).unwrap().cumsum(0).unwrap();
        assert_eq!(same_bits.to_vec::<i8>().unwrap(), signed, "{d}");
        let i: Vec<i32> = (0..1000).map(|i| (i * 7919) % 10007 - 5000).collect();
        let mut sum = 0;
        let want: Vec<i32> = i
            .iter()
            .map(|&x| {
                sum += x;
                sum
            })
            .collect();
        assert_eq!(Tensor::from_slice(&i, 1000, d).unwrap().cumsum(0).unwrap().to_vec::<i32>().unwrap(), want, "{d}");
        let long = Tensor::full(1i64 << 40, 100, d).unwrap().cumsum(0).unwrap().to_vec::<i64>().unwrap();
        assert_eq!(long, (1..=100).map(|i| i << 40).collect::<Vec<i64>>(), "{d}");
        // 16 bits are accumulated in f32: 4096 ones reach 4096.
        let h = Tensor::full(f16::from_f32(1.0), 4096, d).unwrap().cumsum(0).unwrap().to_vec::<f16>().unwrap();
        assert!((0..4096).all(|i| h[i] == f16::from_f32((i + 1) as f32)), "{d}");
        let b = Tensor::full(bf16::from_f32(1.0), 4096, d).unwrap().cumsum(0).unwrap().to_vec::<bf16>().unwrap();
        assert!((0..4096).all(|i| b[i] == bf16::from_f32((i + 1) as f32)), "{d}");
        let none = Tensor::zeros((3, 0), DType::F32, d).unwrap();
        assert_eq!(none.cumsum(1).unwrap().dims(), [3, 0]);
        assert_eq!(none.cumsum(0).unwrap().to_vec::<f32>().unwrap(), Vec::<f32>::new(), "{d}");
    });
}

#[test]
fn scans_that_are_refused() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    refused(x.cumsum(2), &["cumsum", "axis 2", "[2, 3]"]);
    refused(x.cumprod_with(-3, true, true), &["cumprod", "axis -3"]);
    refused(Tensor::zeros((), DType::F32, &d).unwrap().cummax(0), &["cummax", "no axes"]);
    let e = refused(x.gt(0.0).unwrap().cumsum(0), &["cumsum", "bool"]);
    assert!(matches!(e, Error::DTypeMismatch(_)));
}
