//! Padding and windows against index arithmetic: what is moved must arrive bit for bit.

use crate::common::{Host, on_every_device, refused, same};
use anychip::{DType, Tensor, f16};

/// The element that padding of `before` puts at `i` of an axis of extent `n`; `None`: a new one.
fn source(mode: &str, i: usize, before: i64, n: usize) -> Option<usize> {
    let at = i as i64 - before;
    let last = n as i64 - 1;
    match mode {
        _ if (0..=last).contains(&at) => Some(at as usize),
        "reflect" => Some((if at < 0 { -at } else { 2 * last - at }) as usize),
        "replicate" => Some(at.clamp(0, last) as usize),
        _ => None,
    }
}

fn padded(x: &Host, widths: &[[i64; 2]], mode: &str, value: f64) -> Host {
    let lead = x.shape.len() - widths.len();
    let width = |axis: usize| if axis < lead { [0, 0] } else { widths[axis - lead] };
    let shape: Vec<usize> =
        x.shape.iter().enumerate().map(|(a, &n)| (n as i64 + width(a)[0] + width(a)[1]) as usize).collect();
    Host::build(&shape, |index| {
        let from: Option<Vec<usize>> =
            index.iter().enumerate().map(|(a, &i)| source(mode, i, width(a)[0], x.shape[a])).collect();
        from.map_or(value, |i| x.at(&i))
    })
}

#[test]
fn every_mode_on_every_axis() {
    let cases: [(&[usize], &[[i64; 2]]); 7] = [
        (&[5], &[[2, 3]]),
        (&[4, 6], &[[1, 0], [0, 2]]),
        (&[2, 3, 4, 5], &[[2, 1], [1, 3]]),
        (&[2, 3, 4], &[[0, 0], [1, 1], [3, 0]]),
        (&[7, 8], &[[-2, 1], [3, -4]]),
        (&[7, 8], &[[-2, -1], [0, -4]]),
        (&[3, 2], &[[0, 0]]),
    ];
    on_every_device(|d| {
        for (n, (shape, widths)) in cases.into_iter().enumerate() {
            let x = Host::random(shape, n as u64, -4.0, 4.0);
            let t = x.on(d);
            let what = |mode: &str| format!("{mode} {widths:?} of {shape:?} on {d}");
            same(&what("value"), &t.pad(widths, -1.5).unwrap(), &padded(&x, widths, "value", -1.5));
            same(&what("replicate"), &t.pad_replicate(widths).unwrap(), &padded(&x, widths, "replicate", 0.0));
            // What was cropped is gone before the rest is reflected.
            if widths.iter().flatten().all(|&w| w >= 0) {
                same(&what("reflect"), &t.pad_reflect(widths).unwrap(), &padded(&x, widths, "reflect", 0.0));
            }
        }
    });
}

#[test]
fn what_is_before_and_behind_a_padding_is_fused_or_not_but_right() {
    on_every_device(|d| {
        let x = Host::random(&[3, 4], 1, -2.0, 2.0);
        let t = x.on(d);
        let got = t.t().unwrap().mul(2.0).unwrap().pad(&[[1, 1], [0, 2]], 7).unwrap().neg().unwrap().sum(0).unwrap();
        let twice = Host::build(&[4, 3], |i| 2.0 * x.at(&[i[1], i[0]]));
        let all = padded(&twice, &[[1, 1], [0, 2]], "value", 7.0);
        let want = Host::build(&[5], |i| (0..6).map(|r| -all.at(&[r, i[0]]) as f32).sum::<f32>() as f64);
        crate::common::close(&format!("sum behind a padding on {d}"), &got, &want, |_, _| {
            8.0 * f32::EPSILON as f64 * 8.0
        });
        // Padding of a padding; a part of the padding alone; a padding that is looked at through windows.
        let again = t.pad(&[[1, 0]], 1).unwrap().pad(&[[0, 1]], 2).unwrap();
        let want = padded(&padded(&x, &[[1, 0]], "value", 1.0), &[[0, 1]], "value", 2.0);
        same(&format!("twice on {d}"), &again, &want);
        let rim = again.narrow(1, 5, 1).unwrap();
        same(&format!("rim on {d}"), &rim, &Host::new(&[3, 1], vec![2.0; 3]));
        let windows = t.pad(&[[1, 1]], 0).unwrap().unfold(1, 3, 1).unwrap();
        let all = padded(&x, &[[1, 1]], "value", 0.0);
        same(&format!("windows on {d}"), &windows, &Host::build(&[3, 4, 3], |i| all.at(&[i[0], i[1] + i[2]])));
    });
}

#[test]
fn other_types_and_no_elements() {
    on_every_device(|d| {
        let i = Tensor::from_vec(vec![1i64, -2, 1 << 40], 3, d).unwrap().pad(&[[1, 1]], i64::MIN).unwrap();
        assert_eq!(i.to_vec1::<i64>().unwrap(), [i64::MIN, 1, -2, 1 << 40, i64::MIN], "{d}");
        let b = Tensor::from_vec(vec![true, false], 2, d).unwrap().pad(&[[1, 2]], true).unwrap();
        assert_eq!(b.to_vec1::<bool>().unwrap(), [true, true, false, true, true], "{d}");
        let u = Tensor::from_vec(vec![3u8], 1, d).unwrap().pad(&[[2, 0]], 255).unwrap();
        assert_eq!(u.to_vec1::<u8>().unwrap(), [255, 255, 3], "{d}");
        let h = Tensor::full(f16::from_f32(0.5), (1, 1), d).unwrap().pad(&[[0, 1]], f32::NEG_INFINITY).unwrap();
        assert_eq!(h.to_vec2::<f16>().unwrap(), [[f16::from_f32(0.5), f16::NEG_INFINITY]], "{d}");
        let none = Tensor::zeros((0, 2), DType::F32, d).unwrap();
        assert_eq!(none.pad(&[[1, 1], [0, 1]], 3).unwrap().to_vec2::<f32>().unwrap(), [[3.0; 3]; 2], "{d}");
        assert_eq!(none.pad(&[[0, 0], [1, 1]], 3).unwrap().dims(), [0, 4]);
        assert_eq!(none.pad(&[[1, 1]], 3).unwrap().to_vec::<f32>().unwrap(), [0f32; 0], "{d}");
        let x = Tensor::ones((2, 3), DType::F32, d).unwrap();
        assert_eq!(x.pad(&[[-1, -1]], 0).unwrap().to_vec::<f32>().unwrap(), [1.0; 2], "{d}");
        assert_eq!(x.pad(&[[-2, -1]], 0).unwrap().dims(), [2, 0]);
        assert_eq!(x.pad(&[[-3, 2]], 9).unwrap().to_vec::<f32>().unwrap(), [9.0; 4], "{d}");
    });
}

#[test]
fn windows_of_any_size_and_step() {
    on_every_device(|d| {
        let x = Host::random(&[4, 11], 3, -1.0, 1.0);
        for (size, step) in [(1, 1), (3, 1), (3, 2), (2, 5), (11, 1), (4, 3)] {
            let got = x.on(d).unfold(-1, size, step).unwrap();
            let want = Host::build(&[4, (11 - size) / step + 1, size], |i| x.at(&[i[0], i[1] * step + i[2]]));
            same(&format!("unfold {size} every {step} on {d}"), &got, &want);
            let sum = got.exp().unwrap().sum(2).unwrap();
            let total = |i: &[usize]| (0..size).map(|k| want.at(&[i[0], i[1], k]).exp()).sum::<f64>();
            let total = Host::build(&want.shape[..2], total);
            crate::common::close("sum of exp over windows", &sum, &total, |_, w| 32.0 * f32::EPSILON as f64 * w);
        }
        // Windows of windows, and of the first axis.
        let got = x.on(d).unfold(0, 2, 1).unwrap().unfold(1, 4, 2).unwrap();
        let want = Host::build(&[3, 4, 2, 4], |i| x.at(&[i[0] + i[2], 2 * i[1] + i[3]]));
        same(&format!("windows on both axes on {d}"), &got, &want);
    });
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let d = anychip::Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    refused(x.pad(&[[0, 0]; 3], 0), &["pad", "[2, 3]", "3 widths"]);
    refused(x.pad(&[[-2, -2]], 0), &["pad", "axis 1", "[2, 3]", "-2 before"]);
    refused(x.pad(&[[i64::MIN, 0]], 0), &["pad", "axis 1"]);
    refused(x.pad(&[[i64::MAX, i64::MAX]], 0), &["pad", "too many"]);
    refused(x.pad(&[[i64::MAX, 0]], 0), &["too many elements"]);
    refused(x.pad(&[[1, 0]], true), &["pad", "true", "f32"]);
    refused(x.to_dtype(DType::I8).unwrap().pad(&[[1, 0]], 300), &["pad", "300", "i8"]);
    refused(x.pad_reflect(&[[3, 0]]), &["pad_reflect", "extent 3", "axis 1", "3 before"]);
    refused(x.pad_reflect(&[[0, 5]]), &["pad_reflect", "5 after"]);
    refused(x.pad_replicate(&[[i64::MAX, 0]]), &["too many elements"]);
    let none = Tensor::zeros((2, 0), DType::F32, &d).unwrap();
    refused(none.pad_replicate(&[[1, 0]]), &["pad_replicate", "[2, 0]", "axis 1"]);
    refused(none.pad_reflect(&[[1, 0]]), &["pad_reflect", "[2, 0]"]);
    refused(x.unfold(1, 4, 1), &["unfold", "4 elements", "extent 3", "[2, 3]"]);
    refused(x.unfold(1, 0, 1), &["unfold", "0 elements"]);
    refused(x.unfold(1, 2, 0), &["unfold", "every 0"]);
    refused(x.unfold(2, 1, 1), &["unfold", "axis 2"]);
    refused(x.unfold(0, usize::MAX, usize::MAX), &["unfold"]);
    assert_eq!(x.unfold(1, 2, usize::MAX).unwrap().to_vec::<f32>().unwrap(), [0.0; 4]);
    refused(Tensor::zeros([1; 8], DType::F32, &d).unwrap().unfold(0, 1, 1), &["unfold", "rank 9"]);
}
