//! What the planner must not change: the same values lazy or realised step by step, however deep, wide or shared the graph.

use crate::common::{Host, close, on_every_device};
use anychip::{DType, Tensor};

#[test]
fn an_explicit_conversion_rounds_even_when_it_is_fused() {
    on_every_device(|device| {
        let x = Tensor::from_vec(vec![0.1f32, 70000.0, -1.0009765, 1e-9], 4, device).unwrap();
        for narrow in [DType::F16, DType::BF16] {
            let half = x.to_dtype(narrow).unwrap();
            let lazy = half.to_dtype(DType::F32).unwrap().mul(1.0).unwrap().to_vec::<f32>().unwrap();
            half.realize().unwrap();
            let stepwise = half.to_dtype(DType::F32).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(lazy, stepwise, "{narrow} on {}", device.id());
            let want: Vec<f32> = [0.1f32, 70000.0, -1.0009765, 1e-9]
                .iter()
                .map(|&x| match narrow {
                    DType::F16 => anychip::f16::from_f32(x).to_f32(),
                    _ => anychip::bf16::from_f32(x).to_f32(),
                })
                .collect();
            assert_eq!(lazy, want, "{narrow} on {}", device.id());
        }
    });
}

#[test]
fn chains_of_any_length_and_sums_of_many_tensors() {
    on_every_device(|device| {
        let mut deep = Tensor::zeros(4, DType::F32, device).unwrap();
        for _ in 0..10_000 {
            deep = deep.add(1.0).unwrap();
        }
        assert_eq!(deep.to_vec::<f32>().unwrap(), [10_000f32; 4]);
        let parts: Vec<Host> = (0..100).map(|i| Host::random(&[5], i + 1, -1.0, 1.0)).collect();
        let mut sum = Tensor::zeros(5, DType::F32, device).unwrap();
        let mut want = Host::new(&[5], vec![0.0; 5]);
        for part in &parts {
            sum = sum.add(part.on(device)).unwrap();
            want = want.zip(part, |a, b| a + b);
        }
        // 100 additions of numbers below 1, each rounded by at most half an ULP of a partial sum below 100.
        close("sum of 100 tensors", &sum, &want, |_, _| 100.0 * 100.0 * f64::powi(2.0, -24));
    });
}

#[test]
fn a_value_used_in_two_ways_is_computed_once() {
    on_every_device(|device| {
        let x = Host::random(&[6, 6], 3, -1.0, 1.0);
        let mut y = x.on(device);
        // 2^18 paths lead to the leaf.
        for _ in 0..18 {
            y = y.add(y.t().unwrap()).unwrap();
        }
        let symmetric = Host::build(&[6, 6], |i| x.at(i) + x.at(&[i[1], i[0]]));
        let want = symmetric.map(|s| s * f64::powi(2.0, 17));
        // One rounding at the first sum; doubling is exact.
        close("y + yᵀ", &y, &want, |_, w| w.abs() * f64::powi(2.0, -23));
    });
}

#[test]
fn reversed_operands_empty_axes_and_no_keys() {
    on_every_device(|device| {
        let (q, k, v) = (
            Host::random(&[1, 2, 5, 4], 1, -1.0, 1.0),
            Host::random(&[1, 2, 5, 4], 2, -1.0, 1.0),
            Host::random(&[1, 2, 5, 4], 3, -1.0, 1.0),
        );
        let flipped = q.on(device).flip(2).unwrap();
        let a = flipped.attention(&k.on(device), &v.on(device), None, None, false).unwrap();
        let b = q.on(device).attention(&k.on(device), &v.on(device), None, None, false).unwrap().flip(2).unwrap();
        let (a, b) = (a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6), "{a:?} {b:?}");
        let none = Tensor::zeros((0, 4), DType::F32, device).unwrap();
        assert_eq!(none.softmax(0).unwrap().to_vec::<f32>().unwrap(), Vec::<f32>::new());
        let no_keys = Tensor::zeros((1, 2, 0, 4), DType::F32, device).unwrap();
        let nothing = q.on(device).attention(&no_keys, &no_keys, None, None, false).unwrap();
        assert_eq!(nothing.to_vec::<f32>().unwrap(), [0f32; 40], "{}", device.id());
        assert!(Tensor::zeros((0, usize::MAX, usize::MAX), DType::F32, device).is_err());
    });
}
