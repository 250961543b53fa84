//! Convolution against the plainest loops. A sum of k products of f32 is within γ(k+1)·Σ|x·w| of the true one; on small integers,
//! whose partial sums are exact, it must be equal, so that no dropped product hides in the bound.

use crate::common::{Host, close, indices, on_every_device, refused, takes};
use anychip::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, DType, Tensor, bf16, f16};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// Two spatial axes; one is two with a height of 1.
#[derive(Debug, Clone, Copy)]
struct Case {
    /// Batch, input channels, height, width.
    x: [usize; 4],
    out: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

/// Defaults, to be changed.
const fn case(x: [usize; 4], out: usize, kernel: [usize; 2]) -> Case {
    Case { x, out, kernel, stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 }
}

impl Case {
    fn weight(&self) -> [usize; 4] {
        [self.out, self.x[1] / self.groups, self.kernel[0], self.kernel[1]]
    }
    fn how(&self) -> Conv2d {
        Conv2d::new().stride(self.stride).padding(self.padding).dilation(self.dilation).groups(self.groups)
    }
    /// Σ x·w and Σ |x·w|.
    fn convolve(&self, x: &Host, w: &Host) -> [Host; 2] {
        let extent = |i: usize| {
            (self.x[2 + i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) / self.stride[i] + 1
        };
        let shape = [self.x[0], self.out, extent(0), extent(1)];
        let (channels, each) = (self.x[1] / self.groups, self.out / self.groups);
        let sum = |i: &[usize], f: fn(f64) -> f64| -> f64 {
            let mut total = 0.0;
            for k in indices(&[channels, self.kernel[0], self.kernel[1]]) {
                let at = |a: usize| {
                    (i[2 + a] * self.stride[a] + k[1 + a] * self.dilation[a])
                        .checked_sub(self.padding[a])
                        .filter(|&p| p < self.x[2 + a])
                };
                if let (Some(y), Some(z)) = (at(0), at(1)) {
                    let channel = i[1] / each * channels + k[0];
                    total += f(x.at(&[i[0], channel, y, z]) * w.at(&[i[1], k[0], k[1], k[2]]));
                }
            }
            total
        };
        [Host::build(&shape, |i| sum(i, |v| v)), Host::build(&shape, |i| sum(i, f64::abs))]
    }
}

const CASES: [Case; 14] = [
    case([1, 1, 5, 5], 1, [3, 3]),
    Case { padding: [1, 1], ..case([2, 5, 9, 11], 7, [3, 3]) },
    case([3, 4, 6, 5], 6, [1, 1]),
    Case { stride: [2, 2], padding: [1, 1], ..case([2, 3, 14, 13], 19, [3, 3]) },
    Case { stride: [2, 2], ..case([1, 8, 8, 8], 9, [1, 1]) },
    Case { stride: [3, 2], padding: [0, 3], dilation: [2, 1], ..case([1, 4, 12, 9], 5, [2, 4]) },
    Case { dilation: [2, 3], padding: [2, 3], ..case([1, 6, 10, 12], 8, [3, 3]) },
    Case { groups: 2, padding: [1, 1], ..case([2, 6, 7, 8], 10, [3, 3]) },
    Case { groups: 6, padding: [1, 1], ..case([2, 6, 20, 21], 6, [3, 3]) },
    Case { groups: 3, stride: [2, 2], padding: [2, 2], ..case([1, 3, 15, 16], 6, [5, 5]) },
    // Padding beyond the kernel; one tall kernel as large as the input; many channels.
    Case { padding: [4, 5], ..case([1, 2, 3, 4], 5, [2, 3]) },
    case([1, 3, 8, 4], 5, [8, 4]),
    Case { padding: [1, 1], ..case([1, 130, 6, 7], 20, [3, 3]) },
    Case { padding: [0, 2], ..case([2, 3, 1, 2500], 6, [1, 5]) },
];

#[test]
fn convolutions_of_images() {
    on_every_device(|d| {
        for (n, case) in CASES.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 3)) {
            // Small integers: every partial sum is exact in f32.
            let x = Host::random(&case.x, n as u64, -8.0, 8.0).map(f64::round);
            let w = Host::random(&case.weight(), n as u64 + 30, -8.0, 8.0).map(f64::round);
            let bias = Host::random(&[case.out], n as u64 + 60, -8.0, 8.0).map(f64::round);
            let what = format!("{case:?} on {d}");
            let want = case.convolve(&x, &w)[0].zip(&Host::new(&[case.out, 1, 1], bias.data.clone()), |y, b| y + b);
            let got = x.on(d).conv2d(&w.on(d), Some(&bias.on(d)), case.how()).unwrap();
            close(&what, &got, &want, |_, _| 0.0);
            let constant = w.on(d).constant().unwrap();
            let got = x.on(d).conv2d(&constant, Some(&bias.on(d)), case.how()).unwrap().relu().unwrap();
            close(&format!("{what}, a weight, relu"), &got, &want.map(|y| y.max(0.0)), |_, _| 0.0);
        }
        let case = CASES[1];
        let x = Host::random(&case.x, 90, -1.0, 1.0);
        let w = Host::random(&case.weight(), 91, -1.0, 1.0);
        let [want, magnitude] = case.convolve(&x, &w);
        let count = w.data.len() as f64 / case.out as f64;
        let got = x.on(d).conv2d(&w.on(d), None, case.how()).unwrap();
        close(&format!("random {case:?} on {d}"), &got, &want, |i, _| (count + 1.0) * U * magnitude.data[i] * 1.01);
    });
}

#[test]
fn views_before_and_work_behind() {
    on_every_device(|d| {
        let case = CASES[1];
        let x = Host::random(&case.x, 1, -8.0, 8.0).map(f64::round);
        let w = Host::random(&case.weight(), 2, -8.0, 8.0).map(f64::round);
        let [want, _] = case.convolve(&x, &w);
        // The same values, lying otherwise: channels last, reversed, a part of something larger.
        let last = Host::build(&[2, 9, 11, 5], |i| x.at(&[i[0], i[3], i[1], i[2]]));
        let got = last.on(d).permute([0, 3, 1, 2]).unwrap().conv2d(&w.on(d), None, case.how()).unwrap();
        close(&format!("channels last on {d}"), &got, &want, |_, _| 0.0);
        let turned = Host::build(&case.x, |i| x.at(&[i[0], i[1], i[2], 10 - i[3]]));
        let got = turned.on(d).flip(3).unwrap().conv2d(&w.on(d), None, case.how()).unwrap();
        close(&format!("reversed on {d}"), &got, &want, |_, _| 0.0);
        let larger = x.on(d).pad(&[[2, 1], [0, 3]], 100.0).unwrap().slice((.., .., 2..11, ..11)).unwrap();
        let residual = Host::random(&want.shape, 3, -8.0, 8.0).map(f64::round);
        let got = larger.conv2d(&w.on(d), None, case.how()).unwrap().add(residual.on(d)).unwrap().mul(2.0).unwrap();
        let both = want.zip(&residual, |a, b| 2.0 * (a + b));
        close(&format!("a part, with a residual, on {d}"), &got, &both, |_, _| 0.0);
        // Something behind that is fused, and something that is not.
        let got = x.on(d).conv2d(&w.on(d), None, case.how()).unwrap().permute([0, 2, 3, 1]).unwrap().sum(3).unwrap();
        let want = Host::build(&[2, 9, 11], |i| (0..7).map(|o| want.at(&[i[0], o, i[1], i[2]])).sum());
        close(&format!("sum over channels on {d}"), &got, &want, |_, _| 0.0);
    });
}

#[test]
fn one_axis_and_same() {
    on_every_device(|d| {
        let x = Host::random(&[2, 4, 1, 17], 7, -8.0, 8.0).map(f64::round);
        for (kernel, dilation, groups) in [(3, 1, 1), (4, 1, 2), (3, 3, 4)] {
            let all = dilation * (kernel - 1);
            let w = Host::random(&[8, 4 / groups, 1, kernel], 8, -8.0, 8.0).map(f64::round);
            // The padding is not the same at both ends: what is computed with the larger, but for its first element.
            let wide = Case {
                padding: [0, all.div_ceil(2)],
                dilation: [1, dilation],
                groups,
                ..case([2, 4, 1, 17], 8, [1, kernel])
            };
            let [more, _] = wide.convolve(&x, &w);
            let skip = all.div_ceil(2) - all / 2;
            let want = Host::build(&[2, 8, 17], |i| more.at(&[i[0], i[1], 0, i[2] + skip]));
            let (line, weight) = (x.on(d).squeeze(2).unwrap(), w.on(d).squeeze(2).unwrap());
            let how = Conv1d::new().dilation(dilation).groups(groups);
            let got = line.conv1d(&weight, None, how.same()).unwrap();
            close(&format!("same, kernel {kernel} on {d}"), &got, &want, |_, _| 0.0);
        }
    });
}

#[test]
fn other_types() {
    on_every_device(|d| {
        let case = CASES[7];
        let x = Host::random(&case.x, 11, -4.0, 4.0).map(f64::round);
        let w = Host::random(&case.weight(), 12, -4.0, 4.0).map(f64::round);
        let want = case.convolve(&x, &w)[0].map(|y| y * 0.125);
        for dtype in [DType::F16, DType::BF16] {
            let (x, w) = (x.on(d).to_dtype(dtype).unwrap(), w.on(d).to_dtype(dtype).unwrap());
            let got = x.conv2d(&w, None, case.how()).unwrap().mul(0.125).unwrap();
            assert_eq!(got.dtype(), dtype);
            let round = |y: f64| match dtype {
                DType::F16 => f16::from_f64(f16::from_f64(y * 8.0).to_f64() * 0.125).to_f64(),
                _ => bf16::from_f64(bf16::from_f64(y * 8.0).to_f64() * 0.125).to_f64(),
            };
            // Exact in f32; rounded once at the end, or where the product is stored as well.
            let ulp = if dtype == DType::F16 { 2f64.powi(-11) } else { 2f64.powi(-8) };
            let rounded = want.map(round);
            close(&format!("{dtype} on {d}"), &got.to_dtype(DType::F32).unwrap(), &rounded, |_, y| 2.0 * ulp * y.abs());
        }
        let [want, _] = case.convolve(&x, &w);
        let i = |t: &Host| t.on(d).to_dtype(DType::I32).unwrap();
        let got = i(&x).conv2d(&i(&w), None, case.how()).unwrap().to_dtype(DType::F32).unwrap();
        close(&format!("i32 on {d}"), &got, &want, |_, _| 0.0);
    });
}

/// Every input element spreads the kernel over the result.
fn spread(x: &Host, w: &Host, how: [[usize; 2]; 4], groups: usize) -> Host {
    let [stride, padding, more, dilation] = how;
    let extent =
        |a: usize| (x.shape[2 + a] - 1) * stride[a] + dilation[a] * (w.shape[2 + a] - 1) + more[a] + 1 - 2 * padding[a];
    let (inner, each) = (x.shape[1] / groups, w.shape[1]);
    let mut out = Host::new(
        &[x.shape[0], each * groups, extent(0), extent(1)],
        vec![0.0; x.shape[0] * each * groups * extent(0) * extent(1)],
    );
    for i in indices(&x.shape) {
        for k in indices(&w.shape[1..]) {
            let at = |a: usize| {
                (i[2 + a] * stride[a] + k[1 + a] * dilation[a]).checked_sub(padding[a]).filter(|&p| p < extent(a))
            };
            if let (Some(y), Some(z)) = (at(0), at(1)) {
                let channel = i[1] / inner * each + k[0];
                let flat = ((i[0] * each * groups + channel) * extent(0) + y) * extent(1) + z;
                out.data[flat] += x.at(&i) * w.at(&[i[1], k[0], k[1], k[2]]);
            }
        }
    }
    out
}

#[test]
fn transposed_convolutions() {
    // input; weight [in, out / groups, kernel…]; stride, padding, output padding, dilation; groups
    type T = ([usize; 4], [usize; 4], [[usize; 2]; 4], usize);
    let cases: [T; 6] = [
        ([1, 2, 3, 4], [2, 3, 3, 3], [[1, 1], [0, 0], [0, 0], [1, 1]], 1),
        ([2, 3, 5, 4], [3, 6, 4, 4], [[2, 2], [1, 1], [0, 0], [1, 1]], 1),
        ([1, 4, 5, 3], [4, 3, 3, 2], [[2, 3], [1, 0], [1, 2], [1, 1]], 2),
        ([1, 2, 4, 4], [2, 5, 2, 3], [[3, 1], [0, 2], [0, 1], [2, 2]], 1),
        ([1, 6, 3, 3], [6, 1, 3, 3], [[2, 2], [1, 1], [1, 1], [1, 1]], 6),
        // More is taken away than the kernel reaches.
        ([1, 2, 6, 7], [2, 3, 1, 2], [[2, 3], [1, 3], [0, 0], [1, 1]], 1),
    ];
    on_every_device(|d| {
        for (n, (xs, ws, how, groups)) in cases.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 2)) {
            let x = Host::random(&xs, n as u64, -8.0, 8.0).map(f64::round);
            let w = Host::random(&ws, n as u64 + 20, -8.0, 8.0).map(f64::round);
            let options = ConvTranspose2d::new()
                .stride(how[0])
                .padding(how[1])
                .output_padding(how[2])
                .dilation(how[3])
                .groups(groups);
            let bias = Host::random(&[ws[1] * groups], 77, -8.0, 8.0).map(f64::round);
            let want =
                spread(&x, &w, how, groups).zip(&Host::new(&[ws[1] * groups, 1, 1], bias.data.clone()), |y, b| y + b);
            let got = x.on(d).conv_transpose2d(&w.on(d), Some(&bias.on(d)), options).unwrap();
            close(&format!("{xs:?} * {ws:?}, {options:?} on {d}"), &got, &want, |_, _| 0.0);
        }
        let x = Host::random(&[2, 3, 1, 9], 5, -8.0, 8.0).map(f64::round);
        let w = Host::random(&[3, 4, 1, 4], 6, -8.0, 8.0).map(f64::round);
        let want = spread(&x, &w, [[1, 2], [0, 1], [0, 1], [1, 1]], 1);
        let options = ConvTranspose1d::new().stride(2).padding(1).output_padding(1);
        let got = x.on(d).squeeze(2).unwrap().conv_transpose1d(&w.on(d).squeeze(2).unwrap(), None, options).unwrap();
        close(&format!("one axis on {d}"), &got.unsqueeze(2).unwrap(), &want, |_, _| 0.0);
    });
}

#[test]
fn no_elements_and_no_channels() {
    on_every_device(|d| {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, d).unwrap();
        let none = zeros(&[0, 3, 5, 5]).conv2d(&zeros(&[4, 3, 3, 3]), None, Conv2d::new()).unwrap();
        assert_eq!(none.dims(), [0, 4, 3, 3]);
        assert_eq!(none.to_vec::<f32>().unwrap(), [0f32; 0], "{d}");
        let none = zeros(&[1, 3, 5, 5]).conv2d(&zeros(&[0, 3, 3, 3]), None, Conv2d::new()).unwrap();
        assert_eq!(none.dims(), [1, 0, 3, 3]);
        // A sum of nothing, plus the bias.
        let bias = Tensor::from_vec(vec![1f32, 2.0], 2, d).unwrap();
        let sum = zeros(&[1, 0, 2, 2]).conv2d(&zeros(&[2, 0, 1, 1]), Some(&bias), Conv2d::new()).unwrap();
        assert_eq!(sum.to_vec::<f32>().unwrap(), [1., 1., 1., 1., 2., 2., 2., 2.], "{d}");
        // Windows over padding alone.
        let ones = Tensor::ones((1, 1, 1, 1), DType::F32, d).unwrap();
        let rim = zeros(&[1, 1, 0, 1]).conv2d(&ones, None, Conv2d::new().padding(1)).unwrap();
        assert_eq!(rim.to_vec::<f32>().unwrap(), [0f32; 6], "{d}");
    });
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let d = anychip::Device::open("cpu").unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &d).unwrap();
    let (x, w) = (zeros(&[1, 4, 5, 6]), zeros(&[8, 4, 3, 3]));
    let how = Conv2d::new();
    refused(zeros(&[4, 5, 6]).conv2d(&w, None, how), &["conv2d", "[4, 5, 6]", "rank 4"]);
    refused(x.conv2d(&zeros(&[8, 4, 3]), None, how), &["conv2d: weight", "[8, 4, 3]", "rank 4"]);
    refused(x.conv2d(&zeros(&[8, 3, 3, 3]), None, how), &["[1, 4, 5, 6]", "[8, 3, 3, 3]", "4 input channels", "3"]);
    refused(x.conv2d(&w, None, how.groups(0)), &["0 groups"]);
    refused(x.conv2d(&w, None, how.groups(2)), &["2 groups", "4 input channels"]);
    refused(x.conv2d(&zeros(&[7, 2, 3, 3]), None, how.groups(2)), &["7 output channels"]);
    refused(x.conv2d(&zeros(&[8, 4, 6, 3]), None, how), &["kernel of 6", "extent 5", "padding of 0", "spatial axis 0"]);
    refused(x.conv2d(&w, None, how.stride([1, 0])), &["stride 0", "spatial axis 1"]);
    refused(x.conv2d(&w, None, how.dilation(3)), &["dilation 3", "kernel of 3"]);
    refused(x.conv2d(&zeros(&[8, 4, 0, 1]), None, how), &["kernel of 0"]);
    refused(x.conv2d(&w, None, how.padding(usize::MAX)), &["conv", "padding"]);
    refused(x.conv2d(&w, None, how.dilation(usize::MAX)), &["conv", "dilation"]);
    refused(x.conv2d(&w, None, how.stride(2).same()), &["conv2d", "[2, 2]", "same"]);
    refused(x.conv2d(&w, Some(&zeros(&[7])), how), &["conv2d: bias", "[7]", "[8]"]);
    refused(x.conv2d(&w.to_dtype(DType::F16).unwrap(), None, how), &["conv", "f32", "f16"]);
    let flags = x.to_dtype(DType::Bool).unwrap();
    refused(flags.conv2d(&w.to_dtype(DType::Bool).unwrap(), None, how), &["conv", "bool"]);
    let how = ConvTranspose2d::new();
    let w = zeros(&[4, 2, 3, 3]);
    refused(x.conv_transpose2d(&zeros(&[3, 2, 3, 3]), None, how), &["conv_transpose2d", "3", "4"]);
    refused(x.conv_transpose2d(&w, None, how.groups(3)), &["3 groups"]);
    refused(x.conv_transpose2d(&w, None, how.groups(0)), &["0 groups"]);
    refused(x.conv_transpose2d(&w, None, how.output_padding(1)), &["output padding 1", "stride 1"]);
    refused(x.conv_transpose2d(&w, None, how.padding(4)), &["padding 4", "spatial axis 0", "extent of -1"]);
    refused(x.conv_transpose2d(&w, None, how.stride(0)), &["stride 0"]);
    refused(x.conv_transpose2d(&w, None, how.stride(usize::MAX)), &["conv_transpose2d", "large"]);
    refused(x.conv_transpose2d(&w, None, how.padding(usize::MAX)), &["conv_transpose2d"]);
    refused(x.conv_transpose2d(&w, Some(&zeros(&[3])), how), &["conv_transpose2d: bias", "[3]", "[2]"]);
}
