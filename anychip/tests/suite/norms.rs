//! Norms over groups, channels and trailing axes, and over numbers whose squares overflow; triangles, one-hot, masked fill.

use crate::common::{Host, close, on_every_device, refused, same, takes};
use anychip::{DType, Device, Tensor, bf16, f16};

/// Each of `parts` equal pieces of the elements with mean 0 and variance 1.
fn normed(x: &Host, parts: usize, eps: f64) -> Host {
    let n = x.data.len() / parts;
    let data = x.data.chunks(n).flat_map(|p| {
        let mean = p.iter().sum::<f64>() / n as f64;
        let var = p.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        p.iter().map(move |v| (v - mean) / (var + eps).sqrt()).collect::<Vec<_>>()
    });
    Host::new(&x.shape, data.collect())
}

const NEAR: fn(usize, f64) -> f64 = |_, w| 3e-6 * (w.abs() + 1.0);

#[test]
fn norms_over_groups_of_channels() {
    on_every_device(|d| {
        let x = Host::random(&[2, 6, 5, 3], 1, -2.0, 4.0);
        let (w, b) = (Host::random(&[6], 2, -1.0, 1.0), Host::random(&[6], 3, -1.0, 1.0));
        let affine = |y: &Host| Host::build(&y.shape, |i| y.at(i) * w.at(&[i[1]]) + b.at(&[i[1]]));
        for groups in [1, 2, 3, 6] {
            let want = normed(&x, 2 * groups, 1e-5);
            let got = x.on(d).group_norm(groups, &w.on(d), &b.on(d), 1e-5).unwrap();
            close(&format!("group_norm {groups} on {d}"), &got, &affine(&want), NEAR);
            let bare = x.on(d).group_norm(groups, None, None, 1e-5).unwrap();
            close(&format!("group_norm {groups} alone on {d}"), &bare, &want, NEAR);
        }
        let got = x.on(d).instance_norm(&w.on(d), None, 1e-3).unwrap();
        let want = normed(&x, 12, 1e-3);
        close(&format!("instance_norm on {d}"), &got, &Host::build(&x.shape, |i| want.at(i) * w.at(&[i[1]])), NEAR);
        let (mean, var) = (Host::random(&[6], 4, -1.0, 1.0), Host::random(&[6], 5, 0.1, 2.0));
        let got = x.on(d).batch_norm(&mean.on(d), &var.on(d), &w.on(d), &b.on(d), 1e-5).unwrap();
        let want = Host::build(&x.shape, |i| (x.at(i) - mean.at(&[i[1]])) / (var.at(&[i[1]]) + 1e-5).sqrt());
        close(&format!("batch_norm on {d}"), &got, &affine(&want), NEAR);
        // 16-bit types are rounded once.
        let h = x.on(d).to_dtype(DType::F16).unwrap();
        let (hw, hb) = (w.on(d).to_dtype(DType::F16).unwrap(), b.on(d).to_dtype(DType::F16).unwrap());
        let exact = |t: &Tensor| {
            let v = t.to_vec::<f16>().unwrap().iter().map(|x| x.to_f64()).collect();
            Host::new(t.dims(), v)
        };
        let (hx, hws, hbs) = (exact(&h), exact(&hw), exact(&hb));
        let y = normed(&hx, 4, 1e-5);
        let want = Host::build(&x.shape, |i| y.at(i) * hws.at(&[i[1]]) + hbs.at(&[i[1]]));
        let got = h.group_norm(2, &hw, &hb, 1e-5).unwrap().to_dtype(DType::F32).unwrap();
        close(&format!("group_norm f16 on {d}"), &got, &want, |_, w| 5.0e-4 * w.abs() + 1e-5);
        assert_eq!(
            Tensor::zeros((0, 4, 2), DType::F32, d).unwrap().group_norm(2, None, None, 0.1).unwrap().dims(),
            [0, 4, 2]
        );
    });
}

#[test]
fn norms_over_several_trailing_axes() {
    on_every_device(|d| {
        let x = Host::random(&[4, 3, 5], 1, -2.0, 2.0);
        let (w, b) = (Host::random(&[3, 5], 2, -1.0, 1.0), Host::random(&[3, 5], 3, -1.0, 1.0));
        let want = normed(&x, 4, 1e-5).zip(&w, |a, w| a * w).zip(&b, |a, b| a + b);
        close(&format!("layer_norm on {d}"), &x.on(d).layer_norm(&w.on(d), &b.on(d), 1e-5).unwrap(), &want, NEAR);
        let bare = x.on(d).layer_norm(None, None, 1e-5).unwrap();
        close(&format!("layer_norm alone on {d}"), &bare, &normed(&x, 12, 1e-5), NEAR);
        let two = x.on(d).layer_norm_over(2, None, None, 1e-5).unwrap();
        close(&format!("layer_norm over two on {d}"), &two, &normed(&x, 4, 1e-5), NEAR);
        let biased = x.on(d).layer_norm(None, &b.on(d), 1e-5).unwrap();
        close(&format!("layer_norm, bias only on {d}"), &biased, &normed(&x, 4, 1e-5).zip(&b, |a, b| a + b), NEAR);
        let rms = |parts: usize| {
            let n = 60 / parts;
            let data = x.data.chunks(n).flat_map(|p| {
                let mean = p.iter().map(|v| v * v).sum::<f64>() / n as f64;
                p.iter().map(move |v| v / (mean + 1e-5).sqrt()).collect::<Vec<_>>()
            });
            Host::new(&x.shape, data.collect())
        };
        close(&format!("rms_norm on {d}"), &x.on(d).rms_norm(None, 1e-5).unwrap(), &rms(12), NEAR);
        let weighted = x.on(d).rms_norm(&w.on(d), 1e-5).unwrap();
        close(&format!("rms_norm, two axes on {d}"), &weighted, &rms(4).zip(&w, |a, w| a * w), NEAR);
    });
}

/// The largest numbers that norms promise to take: their squares, and the sum of them, stay inside f32.
#[test]
fn norms_of_large_numbers() {
    on_every_device(|d| {
        let x = Host::build(&[3, 40], |i| {
            let v = ((i[1] * 7 + i[0]) % 11) as f64 - 5.0;
            (if i[0] == 1 { v } else { v * 1e17 }) as f32 as f64
        });
        let want = normed(&x, 3, 1e-5);
        let got = x.on(d).layer_norm(None, None, 1e-5).unwrap();
        close(&format!("layer_norm of 1e17 on {d}"), &got, &want, |_, w| 1e-4 * (w.abs() + 0.1));
    });
}

#[test]
fn triangles() {
    on_every_device(|d| {
        for shape in [&[3usize, 5][..], &[5, 3], &[2, 4, 4], &[1, 1], &[0, 4], &[2, 0, 3]] {
            let x = Host::random(shape, 1, 1.0, 2.0);
            let diagonals = [0i64, 1, -1, 3, -4, 100, -100, i64::MIN, i64::MAX].into_iter().enumerate();
            for (_, k) in diagonals.filter(|(n, _)| takes(d, *n, 1)) {
                let rank = shape.len();
                let keep = |lower: bool| {
                    Host::build(shape, |i| {
                        let ahead = i[rank - 1] as i128 - i[rank - 2] as i128;
                        let kept = if lower { ahead <= k as i128 } else { ahead >= k as i128 };
                        if kept { x.at(i) } else { 0.0 }
                    })
                };
                same(&format!("tril {k} of {shape:?} on {d}"), &x.on(d).tril(k).unwrap(), &keep(true));
                same(&format!("triu {k} of {shape:?} on {d}"), &x.on(d).triu(k).unwrap(), &keep(false));
            }
        }
        let b = Tensor::ones((2, 2), DType::Bool, d).unwrap();
        assert_eq!(b.tril(0).unwrap().to_vec::<bool>().unwrap(), [true, false, true, true], "{d}");
        let i = Tensor::ones((2, 2), DType::I64, d).unwrap();
        assert_eq!(i.triu(1).unwrap().to_vec::<i64>().unwrap(), [0, 1, 0, 0], "{d}");
        refused(Tensor::ones(3, DType::F32, d).unwrap().tril(0), &["tril", "[3]", "two axes"]);
    });
}

#[test]
fn one_hot_and_masks() {
    on_every_device(|d| {
        let ids = Tensor::from_slice(&[0u8, 2, 255, 1], (2, 2), d).unwrap();
        let hot = ids.one_hot(3, DType::F32).unwrap();
        assert_eq!(hot.dims(), [2, 2, 3]);
        assert_eq!(hot.to_vec::<f32>().unwrap(), [1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0.], "{d}");
        // More classes than the ids' type has numbers: none is counted twice.
        let many = ids.one_hot(600, DType::U8).unwrap().sum(-1).unwrap();
        assert_eq!(many.to_vec::<i64>().unwrap(), [1; 4], "{d}");
        let signed = Tensor::from_slice(&[-1i64, 1], 2, d).unwrap().one_hot(2, DType::Bool).unwrap();
        assert_eq!(signed.to_vec::<bool>().unwrap(), [false, false, false, true], "{d}");
        let x = Tensor::arange(0f32, 6., d).unwrap().reshape((2, 3)).unwrap();
        let mask = Tensor::from_slice(&[true, false, true], 3, d).unwrap();
        let filled = x.masked_fill(&mask, f32::NEG_INFINITY).unwrap().to_vec::<f32>().unwrap();
        let low = f32::NEG_INFINITY;
        assert_eq!(filled, [low, 1., low, low, 4., low], "{d}");
        refused(x.masked_fill(&x, 0.0), &["masked_fill", "bool", "f32"]);
        let wide = Tensor::zeros((4, 2, 3), DType::Bool, d).unwrap();
        refused(x.masked_fill(&wide, 0.0), &["masked_fill", "mask", "[4, 2, 3]", "[2, 3]"]);
        refused(x.one_hot(3, DType::F32), &["one_hot", "integers", "f32"]);
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::ones((2, 6, 4), DType::F32, &d).unwrap();
    let w = Tensor::ones(5, DType::F32, &d).unwrap();
    refused(x.group_norm(4, None, None, 1e-5), &["group_norm", "6 channels", "4 groups"]);
    refused(x.group_norm(0, None, None, 1e-5), &["group_norm", "0 groups"]);
    refused(x.group_norm(2, &w, None, 1e-5), &["group_norm", "weight", "[5]", "[6]"]);
    refused(x.group_norm(2, None, None, -1.0), &["group_norm", "eps", "-1"]);
    refused(x.instance_norm(None, &w, 1e-5), &["instance_norm", "bias", "[5]", "[6]"]);
    refused(x.batch_norm(&w, &w, None, None, 1e-5), &["batch_norm", "mean", "[5]", "[6]"]);
    refused(w.instance_norm(None, None, 1e-5), &["instance_norm", "[5]", "channels"]);
    refused(x.layer_norm_over(0, None, None, 1e-5), &["layer_norm", "0", "[2, 6, 4]"]);
    refused(x.layer_norm_over(4, None, None, 1e-5), &["layer_norm", "4", "[2, 6, 4]"]);
    refused(x.layer_norm(&w, None, 1e-5), &["layer_norm", "weight", "[5]", "[4]"]);
    refused(x.to_dtype(DType::I32).unwrap().layer_norm(None, None, 1e-5), &["layer_norm", "float", "i32"]);
    let half = Tensor::ones(4, DType::BF16, &d).unwrap();
    refused(x.rms_norm(&half, 1e-5), &["rms_norm", "f32", "bf16"]);
    assert_eq!(bf16::from_f32(1.0), half.to_vec::<bf16>().unwrap()[0]);
}
