//! Reductions made of others, against plain loops; positions and counts exactly.

use crate::common::{Host, close, on_every_device, refused, ulps};
use anychip::{DType, Device, Tensor, bf16, f16};

const SHAPES: [(&[usize], i64); 6] =
    [(&[7], 0), (&[3, 5], 0), (&[3, 5], -1), (&[2, 300, 4], 1), (&[1, 1, 9], 0), (&[40, 70], 1)];

fn positions(x: &[f32], better: impl Fn(f32, f32) -> bool) -> u32 {
    let mut best = 0;
    for (i, &v) in x.iter().enumerate() {
        if v.is_nan() {
            return i as u32;
        }
        if better(v, x[best]) {
            best = i;
        }
    }
    best as u32
}

/// The elements along an axis for every place of the others.
fn lines(shape: &[usize], axis: usize, x: &[f32]) -> Vec<Vec<f32>> {
    let (outer, n, inner) =
        (shape[..axis].iter().product::<usize>(), shape[axis], shape[axis + 1..].iter().product::<usize>());
    (0..outer * inner).map(|k| (0..n).map(|i| x[(k / inner * n + i) * inner + k % inner]).collect()).collect()
}

#[test]
fn positions_of_extremes() {
    on_every_device(|d| {
        for (n, (shape, axis)) in SHAPES.into_iter().enumerate() {
            // Few different values: most lines hold equals. NaN here and there.
            let mut x: Vec<f32> =
                Host::random(shape, n as u64, -3.0, 3.0).map(f64::round).data.iter().map(|&x| x as f32).collect();
            if n % 2 == 1 {
                let at = x.len() / 2;
                x[at] = f32::NAN;
            }
            let t = Tensor::from_slice(&x, shape, d).unwrap();
            let at = if axis < 0 { shape.len() - 1 } else { axis as usize };
            let lines = lines(shape, at, &x);
            let want = |f: fn(f32, f32) -> bool| lines.iter().map(|l| positions(l, f)).collect::<Vec<_>>();
            assert_eq!(t.argmax(axis).unwrap().to_vec::<u32>().unwrap(), want(|a, b| a > b), "argmax {shape:?} on {d}");
            assert_eq!(t.argmin(axis).unwrap().to_vec::<u32>().unwrap(), want(|a, b| a < b), "argmin {shape:?} on {d}");
            let all = positions(&x, |a, b| a > b);
            assert_eq!(t.argmax_all().unwrap().to_vec0::<u32>().unwrap(), all, "argmax_all {shape:?} on {d}");
            assert_eq!(t.argmax_keepdim(axis).unwrap().dims()[at], 1);
            assert_eq!(t.argmax(axis).unwrap().rank(), shape.len() - 1);
        }
        let i = Tensor::from_slice(&[3i8, -128, 127, 127], 4, d).unwrap();
        assert_eq!(
            (i.argmax_all().unwrap().to_vec0::<u32>().unwrap(), i.argmin_all().unwrap().to_vec0::<u32>().unwrap()),
            (2, 1)
        );
        let b = Tensor::from_slice(&[false, true, true], 3, d).unwrap();
        assert_eq!(b.argmax(0).unwrap().to_vec0::<u32>().unwrap(), 1, "{d}");
        let inf = Tensor::full(f32::NEG_INFINITY, 5, d).unwrap();
        assert_eq!(inf.argmax(0).unwrap().to_vec0::<u32>().unwrap(), 0, "{d}");
        let turned = Tensor::from_slice(&[1f32, 9., 2., 3.], (2, 2), d).unwrap().t().unwrap();
        assert_eq!(turned.argmax(1).unwrap().to_vec1::<u32>().unwrap(), [1, 0], "{d}");
        assert_eq!(Tensor::zeros((0, 3), DType::F32, d).unwrap().argmax(1).unwrap().dims(), [0]);
    });
    let d = Device::open("cpu").unwrap();
    let none = Tensor::zeros((2, 0), DType::F32, &d).unwrap();
    refused(none.argmax(1), &["argmax", "[2, 0]", "axis 1", "nothing"]);
    refused(none.argmin(2), &["argmin", "axis 2"]);
    refused(Tensor::zeros((), DType::F32, &d).unwrap().argmax(0), &["argmax"]);
}

#[test]
fn spread() {
    on_every_device(|d| {
        for (n, (shape, axis)) in SHAPES.into_iter().enumerate() {
            let x = Host::random(shape, n as u64 + 9, -2.0, 3.0);
            let at = if axis < 0 { shape.len() - 1 } else { axis as usize };
            let values: Vec<f32> = x.data.iter().map(|&x| x as f32).collect();
            for correction in [1.0, 0.0] {
                let want: Vec<f64> = lines(shape, at, &values)
                    .iter()
                    .map(|l| {
                        let mean = l.iter().map(|&v| v as f64).sum::<f64>() / l.len() as f64;
                        l.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / (l.len() as f64 - correction)
                    })
                    .collect();
                let mut left = shape.to_vec();
                left.remove(at);
                let want = Host::new(&left, want);
                let var = x.on(d).var_correction(axis, correction).unwrap();
                // n additions, and the mean's error, which is small against the spread here.
                let bound = (shape[at] + 20) as f64 * f32::EPSILON as f64;
                close(&format!("var {shape:?} on {d}"), &var, &want, |_, w| bound * w + 1e-12);
                let std = x.on(d).std_correction(axis, correction).unwrap();
                close(&format!("std {shape:?} on {d}"), &std, &want.map(f64::sqrt), |_, w| bound * w + 1e-9);
            }
            let plain = x.on(d).var_keepdim(axis).unwrap();
            assert_eq!(plain.dims()[at], 1);
        }
        let v = |t: anychip::Result<Tensor>| t.unwrap().to_vec0::<f32>().unwrap();
        assert!(v(Tensor::ones(1, DType::F32, d).unwrap().var(0)).is_nan(), "{d}");
        assert!(v(Tensor::zeros(0, DType::F32, d).unwrap().std(0)).is_nan(), "{d}");
        // Squares overflow, the deviation does not.
        let far = Tensor::from_slice(&[1e30f32, -1e30, 3e30], 3, d).unwrap();
        let want = 2e30f32;
        assert!((v(far.std(0)) / want - 1.0).abs() < 1e-6, "{d}");
        let near = Tensor::from_slice(&[1e-30f32, -1e-30, 3e-30], 3, d).unwrap();
        assert!((v(near.std(0)) / 2e-30 - 1.0).abs() < 1e-6, "{d}");
        // 60000² overflows f16.
        let h = Tensor::from_slice(&[f16::from_f32(60000.0), f16::from_f32(-60000.0)], 2, d).unwrap();
        assert_eq!(h.std_correction(0, 0.0).unwrap().to_vec0::<f16>().unwrap().to_f32(), 60000.0, "{d}");
    });
    let d = Device::open("cpu").unwrap();
    let i = Tensor::ones(3, DType::I32, &d).unwrap();
    refused(i.var(0), &["var", "float", "i32"]);
    refused(i.std(0), &["std", "float", "i32"]);
    refused(Tensor::ones(3, DType::F32, &d).unwrap().var_correction(0, f64::NAN), &["var", "correction", "NaN"]);
}

#[test]
fn lengths() {
    on_every_device(|d| {
        let x = Host::new(&[2, 3], vec![3.0, -4.0, 12.0, 0.0, -1.0, 0.0]);
        let t = x.on(d);
        let v = |p: f64| t.norm(p, 1).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(v(2.0), [13.0, 1.0], "{d}");
        assert_eq!(v(1.0), [19.0, 1.0], "{d}");
        assert_eq!(v(f64::INFINITY), [12.0, 1.0], "{d}");
        assert_eq!(v(f64::NEG_INFINITY), [3.0, 0.0], "{d}");
        assert_eq!(v(0.0), [3.0, 1.0], "{d}");
        let cubes = (27f64 + 64.0 + 1728.0).cbrt();
        close(&format!("norm on {d}"), &t.norm(3.0, 1).unwrap(), &Host::new(&[2], vec![cubes, 1.0]), |_, w| 1e-6 * w);
        assert_eq!(t.norm_keepdim(2.0, ..).unwrap().dims(), [1, 1]);
        for scale in [1e30f32, 1e-30, 1e38, 1e-38] {
            let far = Tensor::from_slice(&[3.0 * scale, -4.0 * scale / 2.0], 2, d).unwrap();
            let want = (9f64 + 4.0).sqrt() * scale as f64;
            let got = far.norm(2.0, 0).unwrap().to_vec0::<f32>().unwrap() as f64;
            if want < f32::MAX as f64 {
                assert!((got / want - 1.0).abs() < 1e-6, "{scale:e} on {d}: {got:e}");
            }
        }
        assert_eq!(
            Tensor::zeros((2, 0), DType::F32, d).unwrap().norm(2.0, 1).unwrap().to_vec1::<f32>().unwrap(),
            [0.0; 2]
        );
        refused(t.norm(f64::NAN, 1), &["norm", "NaN"]);
        refused(Tensor::zeros((2, 0), DType::F32, d).unwrap().norm(f64::INFINITY, 1), &["max", "[2, 0]"]);
    });
}

#[test]
fn logarithms_of_sums() {
    on_every_device(|d| {
        for (n, (shape, axis)) in SHAPES.into_iter().enumerate() {
            let x = Host::random(shape, n as u64 + 30, -90.0, 90.0);
            let at = if axis < 0 { shape.len() - 1 } else { axis as usize };
            let values: Vec<f32> = x.data.iter().map(|&x| x as f32).collect();
            let sums: Vec<f64> = lines(shape, at, &values)
                .iter()
                .map(|l| {
                    let m = l.iter().copied().fold(f32::MIN, f32::max) as f64;
                    m + l.iter().map(|&v| (v as f64 - m).exp()).sum::<f64>().ln()
                })
                .collect();
            let mut kept = shape.to_vec();
            kept[at] = 1;
            let want = Host::new(&kept, sums);
            let bound = |_: usize, w: f64| 4.0 * f32::EPSILON as f64 * (w.abs() + 100.0);
            close(&format!("logsumexp {shape:?} on {d}"), &x.on(d).logsumexp_keepdim(axis).unwrap(), &want, bound);
            let want = x.zip(&want, |x, s| x - s);
            close(&format!("log_softmax {shape:?} on {d}"), &x.on(d).log_softmax(axis).unwrap(), &want, bound);
        }
        let v = |x: &[f32]| {
            let t = Tensor::from_slice(x, x.len(), d).unwrap();
            t.logsumexp(0).unwrap().to_vec0::<f32>().unwrap()
        };
        let inf = f32::INFINITY;
        assert_eq!([v(&[]), v(&[-inf, -inf]), v(&[inf, 0.0]), v(&[-inf, 3.0])], [-inf, -inf, inf, 3.0], "{d}");
        assert!(v(&[f32::NAN, inf]).is_nan(), "{d}");
        let big = Tensor::from_slice(&[bf16::from_f32(3e38), bf16::from_f32(3e38)], 2, d).unwrap();
        assert_eq!(
            big.log_softmax(0).unwrap().to_vec::<bf16>().unwrap()[0],
            bf16::from_f32(-std::f32::consts::LN_2),
            "{d}"
        );
        assert_eq!(Tensor::zeros((2, 0), DType::F32, d).unwrap().log_softmax(1).unwrap().dims(), [2, 0]);
    });
}

/// i8 and u8 in every place where one would wrap: sums and products are i64, as PyTorch has them.
#[test]
fn sums_of_small_integers_do_not_wrap() {
    on_every_device(|d| {
        let x = Tensor::full(100i8, (3, 1000), d).unwrap();
        assert_eq!(x.sum(1).unwrap().to_vec1::<i64>().unwrap(), [100_000; 3], "{d}");
        assert_eq!(x.narrow(1, 0, 5).unwrap().prod(1).unwrap().to_vec1::<i64>().unwrap(), [10_000_000_000; 3], "{d}");
        let u = Tensor::full(255u8, 70_000, d).unwrap();
        assert_eq!(u.sum_all().unwrap().to_vec0::<i64>().unwrap(), 255 * 70_000, "{d}");
        assert_eq!(Tensor::full(u64::MAX, 1, d).unwrap().sum_all().unwrap().dtype(), DType::U64);
        assert_eq!(x.max_all().unwrap().dtype(), DType::I8);
        let empty: [i64; 0] = [];
        assert_eq!(x.sum(empty).unwrap().dtype(), DType::I64);
        let short = Tensor::from_slice(&[1f32, 2.0, 4.0], 3, d).unwrap();
        close("mean", &short.mean_keepdim(0).unwrap(), &Host::new(&[1], vec![7.0 / 3.0]), ulps(1.0));
    });
}
