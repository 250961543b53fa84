//! An author's own kernels on tensors: `#[kernel]`, `Launch`, and what a wrong launch or a wrong kernel leads to.

use crate::common::{Host, close, on_every_device, refused};
use anychip::{DType, Launch, Tensor, lang::*};

#[kernel]
fn scaled(x: &Buf<f32>, out: &mut Buf<f32>, factor: f32, n: u32) {
    let i = global_id(0);
    if i < n {
        out[i] = x[i] * factor;
    }
}

#[kernel]
fn rms<T: Float>(x: &Buf<T>, weight: &Buf<T>, out: &mut Buf<T>, cols: u32, eps: f32) {
    let row = group_id(0);
    let mut sum: f32 = 0.0;
    for c in strided(local_id(0), cols, local_size(0)) {
        let v = x[row * cols + c].to_f32();
        sum = mul_add(v, v, sum);
    }
    let scale = rsqrt(group_sum(sum) / cols.to_f32() + eps);
    for c in strided(local_id(0), cols, local_size(0)) {
        let i = row * cols + c;
        out[i] = T::from_f32(x[i].to_f32() * scale * weight[c].to_f32());
    }
}

#[kernel]
fn add_one(values: &mut Buf<i32>) {
    let i = global_id(0);
    values[i] = values[i] + 1;
}

/// Reads and writes far outside.
#[kernel]
fn astray(x: &Buf<f32>, out: &mut Buf<f32>) {
    let i = global_id(0);
    out[i] = x[i + 1000000] + 1.0;
    out[i + 1000000] = 7.0;
}

#[test]
fn authors_kernels_run_on_lazy_tensors_and_views() {
    on_every_device(|d| {
        let x = Host::random(&[6, 100], 1, -2., 2.);
        let w = Host::random(&[100], 2, 0.5, 1.5);
        let kernel = rms::<f32>(64).unwrap();
        // The input is a pending view: it is computed and laid out for the kernel.
        let lazy = x.on(d).mul(2.0).unwrap().flip(0).unwrap();
        let out = Launch::new(&kernel, d)
            .input(&lazy)
            .input(&w.on(d))
            .output((6, 100))
            .scalar(100)
            .scalar(1e-5)
            .groups(6)
            .run()
            .unwrap();
        let want = lazy.rms_norm(&w.on(d), 1e-5).unwrap().to_vec::<f32>().unwrap();
        let want = Host::new(&[6, 100], want.into_iter().map(f64::from).collect());
        close(&format!("rms on {d}"), &out[0].add(0.0).unwrap(), &want, |_, w| 1e-5 * w.abs() + 1e-7);

        let kernel = add_one(32).unwrap();
        let before = Tensor::arange(0i32, 50, d).unwrap();
        let after = Launch::new(&kernel, d).update(&before).over(50).run().unwrap();
        assert_eq!(after[0].to_vec1::<i32>().unwrap(), (1..51).collect::<Vec<_>>(), "{d}");
        assert_eq!(before.to_vec1::<i32>().unwrap(), (0..50).collect::<Vec<_>>(), "{d}: an input changed");
        let nothing = Launch::new(&kernel, d).output(0).groups(0).run().unwrap();
        assert_eq!(nothing[0].dims(), [0]);
    });
}

#[test]
fn a_kernel_that_goes_astray_harms_nobody() {
    on_every_device(|d| {
        let neighbour = Tensor::full(3f32, 4096, d).unwrap();
        neighbour.realize().unwrap();
        let x = Tensor::ones(100, DType::F32, d).unwrap();
        let kernel = astray(64).unwrap();
        let out = Launch::new(&kernel, d).input(&x).output(100).over(100).run().unwrap();
        assert_eq!(out[0].to_vec1::<f32>().unwrap(), [1.0; 100], "{d}: a checked read outside gives 0");
        assert_eq!(neighbour.to_vec1::<f32>().unwrap(), [3.0; 4096], "{d}");
    });
}

#[test]
fn outputs_that_nothing_wrote_are_zero() {
    on_every_device(|d| {
        let x = Tensor::ones(10, DType::F32, d).unwrap();
        let kernel = scaled(64).unwrap();
        let out = Launch::new(&kernel, d).input(&x).output(1000).scalar(2.0).scalar(10).over(1000).run().unwrap();
        let got = out[0].to_vec1::<f32>().unwrap();
        assert_eq!(got[..10], [2.0; 10], "{d}");
        assert!(got[10..].iter().all(|&x| x == 0.0), "{d}");
    });
}

#[test]
fn wrong_launches_say_what_is_wrong() {
    on_every_device(|d| {
        let x = Tensor::ones(8, DType::F32, d).unwrap();
        let kernel = scaled(64).unwrap();
        let launch = || Launch::new(&kernel, d);
        refused(launch().input(&x).output(8).over(8).run(), &["scaled", "4 arguments", "x, out, factor, n", "got 2"]);
        refused(launch().input(&x).output(8).scalar(1.0).scalar(8).run(), &["scaled", "grid"]);
        refused(launch().output(8).input(&x).scalar(1.0).scalar(8).over(8).run(), &["parameter x", "input()"]);
        refused(launch().input(&x).input(&x).scalar(1.0).scalar(8).over(8).run(), &["parameter out", "output()"]);
        refused(launch().input(&x).output(8).scalar(1.0).scalar(-8).over(8).run(), &["parameter n", "-8", "u32"]);
        refused(
            launch().input(&x).output(8).scalar(true).scalar(8).over(8).run(),
            &["parameter factor", "true", "f32"],
        );
        refused(launch().input(&x).output(-8).scalar(1.0).scalar(8).over(8).run(), &["parameter out", "[-8]"]);
        let ints = x.to_dtype(DType::I32).unwrap();
        refused(launch().input(&ints).output(8).scalar(1.0).scalar(8).over(8).run(), &["parameter x", "f32", "i32"]);
        let large = scaled(1 << 20).unwrap();
        refused(Launch::new(&large, d).input(&x).output(8).scalar(1.0).scalar(8).over(8).run(), &["scaled", "1048576"]);
    });
}
