//! Pooling against the plainest loops. The largest must be equal; a mean of n numbers is within γ(n+1)·Σ|x|/n.

use crate::common::{Host, close, on_every_device, refused, same};
use anychip::{DType, Pool1d, Pool2d, Tensor, f16};

const U: f64 = f32::EPSILON as f64 / 2.0;

/// What is known of the windows of one axis.
#[derive(Clone, Copy)]
struct Axis {
    n: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    ceil: bool,
}

impl Axis {
    fn count(self) -> usize {
        let room = self.n + 2 * self.padding - (self.kernel - 1) * self.dilation - 1;
        let floor = room / self.stride + 1;
        let more = self.ceil && !room.is_multiple_of(self.stride) && floor * self.stride < self.n + self.padding;
        floor + more as usize
    }
    /// Window w: what of it lies in the tensor, and how many elements lie in the tensor or its padding.
    fn window(self, w: usize) -> (Vec<usize>, usize) {
        let at: Vec<usize> = (0..self.kernel).map(|k| w * self.stride + k * self.dilation).collect();
        let inside = at.iter().filter(|&&i| (self.padding..self.padding + self.n).contains(&i));
        let padded = at.iter().filter(|&&i| i < self.n + 2 * self.padding).count();
        (inside.map(|i| i - self.padding).collect(), padded)
    }
}

/// Largest, sum, sum of magnitudes, elements in the tensor, elements with the padding.
fn pooled(x: &Host, [rows, cols]: [Axis; 2]) -> [Host; 5] {
    let lead = &x.shape[..x.shape.len() - 2];
    let shape: Vec<usize> = lead.iter().copied().chain([rows.count(), cols.count()]).collect();
    let values = |i: &[usize]| -> (Vec<f64>, usize) {
        let ((r, pr), (c, pc)) = (rows.window(i[i.len() - 2]), cols.window(i[i.len() - 1]));
        let mut found = vec![];
        for &r in &r {
            for &c in &c {
                let mut at = i.to_vec();
                let rank = at.len();
                (at[rank - 2], at[rank - 1]) = (r, c);
                found.push(x.at(&at));
            }
        }
        (found, pr * pc)
    };
    [
        Host::build(&shape, |i| values(i).0.into_iter().fold(f64::NEG_INFINITY, f64::max)),
        Host::build(&shape, |i| values(i).0.iter().sum()),
        Host::build(&shape, |i| values(i).0.iter().map(|x| x.abs()).sum()),
        Host::build(&shape, |i| values(i).0.len() as f64),
        Host::build(&shape, |i| values(i).1 as f64),
    ]
}

fn mean(what: &str, got: &Tensor, sum: &Host, magnitude: &Host, count: &Host) {
    let want = sum.zip(count, |s, n| s / n);
    let bound =
        |i: usize, w: f64| (count.data[i] + 2.0) * U * magnitude.data[i] / count.data[i] + 2.0 * U * w.abs() + 1e-40;
    close(what, got, &want, bound);
}

#[test]
fn pooling_of_images() {
    // shape; kernel, stride, padding of rows and of columns; dilation of the largest; ceil mode
    type Case = (&'static [usize], [usize; 2], [usize; 2], [usize; 2], usize, bool);
    let cases: [Case; 8] = [
        (&[2, 3, 8, 8], [2, 2], [2, 2], [0, 0], 1, false),
        (&[1, 2, 9, 7], [3, 3], [2, 2], [1, 1], 1, false),
        (&[1, 2, 9, 7], [3, 2], [1, 3], [1, 0], 1, true),
        (&[2, 10, 11], [3, 3], [3, 2], [1, 1], 1, true),
        (&[6, 13], [1, 5], [4, 5], [0, 2], 1, true),
        (&[1, 1, 12, 12], [3, 3], [1, 2], [1, 0], 2, false),
        (&[1, 1, 12, 13], [2, 3], [3, 4], [1, 1], 3, true),
        (&[0, 2, 5, 5], [3, 3], [1, 1], [1, 1], 1, false),
    ];
    on_every_device(|d| {
        for (n, (shape, k, s, p, dilation, ceil)) in cases.into_iter().enumerate() {
            let x = Host::random(shape, n as u64 + 10, -3.0, 3.0);
            let axis = |i: usize, dilation| Axis {
                n: shape[shape.len() - 2 + i],
                kernel: k[i],
                stride: s[i],
                padding: p[i],
                dilation,
                ceil,
            };
            let pool = Pool2d::new(k).stride(s).padding(p).ceil_mode(ceil);
            let what = |op: &str| format!("{op} {pool:?} of {shape:?} on {d}");
            let [max, ..] = pooled(&x, [axis(0, dilation), axis(1, dilation)]);
            same(&what("max"), &x.on(d).max_pool2d(pool.dilation(dilation)).unwrap(), &max);
            let [_, sum, magnitude, inside, padded] = pooled(&x, [axis(0, 1), axis(1, 1)]);
            mean(&what("avg"), &x.on(d).avg_pool2d(pool).unwrap(), &sum, &magnitude, &padded);
            let got = x.on(d).avg_pool2d(pool.count_include_pad(false)).unwrap();
            mean(&what("avg without padding"), &got, &sum, &magnitude, &inside);
        }
    });
}

#[test]
fn pooling_of_one_axis_and_of_other_types() {
    on_every_device(|d| {
        let x = Tensor::from_vec(vec![1f32, 5., 2., f32::NAN, 0., -7., -8.], (1, 7), d).unwrap();
        let max = x.max_pool1d(Pool1d::new(3).stride(2)).unwrap().to_vec::<f32>().unwrap();
        assert!(max[0] == 5.0 && max[1].is_nan() && max[2] == 0.0, "{d}: {max:?}");
        let ends = x.max_pool1d(Pool1d::new(2).padding(1)).unwrap().to_vec::<f32>().unwrap();
        assert!(ends[0] == 1.0 && ends[3] == -7.0, "{d}: {ends:?}");
        let i = Tensor::from_vec(vec![-5i32, -3, -9, i32::MIN], 4, d).unwrap();
        assert_eq!(
            i.max_pool1d(Pool1d::new(2).padding(1)).unwrap().to_vec1::<i32>().unwrap(),
            [-5, -3, i32::MIN],
            "{d}"
        );
        let u = Tensor::from_vec(vec![3u8, 250, 4], 3, d).unwrap();
        assert_eq!(
            u.max_pool1d(Pool1d::new(3).stride(1).padding(1)).unwrap().to_vec1::<u8>().unwrap(),
            [250; 3],
            "{d}"
        );
        // The sum leaves the type, the mean does not.
        let h = Tensor::full(f16::from_f32(60000.0), (1, 4, 4), d).unwrap();
        assert!(h.avg_pool2d(2).unwrap().to_vec::<f16>().unwrap().iter().all(|x| x.to_f32() == 60000.0), "{d}");
        assert_eq!(h.adaptive_avg_pool2d((3, 1)).unwrap().to_vec::<f16>().unwrap(), [f16::from_f32(60000.0); 3], "{d}");
        // Work in front and behind.
        let y = Host::random(&[2, 6], 4, 0.1, 2.0);
        let got = y.on(d).log().unwrap().max_pool1d(Pool1d::new(3).stride(1)).unwrap().exp().unwrap();
        let want = Host::build(&[2, 4], |i| (0..3).map(|k| y.at(&[i[0], i[1] + k])).fold(0.0, f64::max));
        close(&format!("exp of the largest log on {d}"), &got, &want, |_, w| 16.0 * f32::EPSILON as f64 * w);
    });
}

#[test]
fn adaptive_pooling_covers_every_element_evenly() {
    let cases: [(&[usize], [usize; 2]); 6] = [
        (&[1, 2, 8, 6], [4, 3]),
        (&[2, 7, 10], [3, 4]),
        (&[1, 1, 7, 5], [1, 1]),
        (&[2, 3, 4], [5, 9]),
        (&[1, 12, 10], [8, 10]),
        (&[0, 3, 7, 7], [2, 2]),
    ];
    on_every_device(|d| {
        for (n, (shape, size)) in cases.into_iter().enumerate() {
            let x = Host::random(shape, n as u64 + 40, -2.0, 2.0);
            let rank = shape.len();
            let to: Vec<usize> = shape[..rank - 2].iter().copied().chain(size).collect();
            let values = |i: &[usize]| {
                let range = |a: usize| {
                    let (n, s, i) = (shape[rank - 2 + a], size[a], i[rank - 2 + a]);
                    i * n / s..((i + 1) * n).div_ceil(s)
                };
                let mut found = vec![];
                for r in range(0) {
                    for c in range(1) {
                        let mut at = i.to_vec();
                        (at[rank - 2], at[rank - 1]) = (r, c);
                        found.push(x.at(&at));
                    }
                }
                found
            };
            let what = |op: &str| format!("adaptive {op} of {shape:?} to {size:?} on {d}");
            let max = Host::build(&to, |i| values(i).into_iter().fold(f64::NEG_INFINITY, f64::max));
            same(&what("max"), &x.on(d).adaptive_max_pool2d(size).unwrap(), &max);
            let sum = Host::build(&to, |i| values(i).iter().sum());
            let magnitude = Host::build(&to, |i| values(i).iter().map(|x| x.abs()).sum());
            let count = Host::build(&to, |i| values(i).len() as f64);
            mean(&what("avg"), &x.on(d).adaptive_avg_pool2d(size).unwrap(), &sum, &magnitude, &count);
        }
        let x = Tensor::arange(0f32, 10., d).unwrap();
        assert_eq!(x.adaptive_avg_pool1d(4).unwrap().to_vec1::<f32>().unwrap(), [1.0, 3.0, 6.0, 8.0], "{d}");
        assert_eq!(x.adaptive_max_pool1d(3).unwrap().to_vec1::<f32>().unwrap(), [3.0, 6.0, 9.0], "{d}");
        let g = Tensor::arange(0i32, 24, d).unwrap().reshape((2, 3, 2, 2)).unwrap();
        assert_eq!(g.global_max_pool().unwrap().to_vec::<i32>().unwrap(), [3, 7, 11, 15, 19, 23], "{d}");
        let g = g.to_dtype(DType::F32).unwrap().global_avg_pool().unwrap();
        assert_eq!(g.dims(), [2, 3, 1, 1]);
        assert_eq!(g.to_vec::<f32>().unwrap(), [1.5, 5.5, 9.5, 13.5, 17.5, 21.5], "{d}");
    });
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let d = anychip::Device::open("cpu").unwrap();
    let x = Tensor::zeros((1, 2, 5, 6), DType::F32, &d).unwrap();
    refused(x.max_pool2d(6), &["max_pool2d", "windows of 6", "axis 2", "[1, 2, 5, 6]", "extent 5", "padding of 0"]);
    refused(x.max_pool2d(0), &["max_pool2d", "windows of 0", "at least 1"]);
    refused(x.max_pool2d(Pool2d::new(2).stride([1, 0])), &["every 0", "axis 3"]);
    refused(x.max_pool2d(Pool2d::new(3).padding(2)), &["padding of 2", "at most half", "1"]);
    refused(x.max_pool2d(Pool2d::new(3).dilation(3)), &["3 apart", "reaches over 7"]);
    refused(x.max_pool2d(Pool2d::new(usize::MAX).padding(usize::MAX / 2)), &["max_pool2d"]);
    refused(x.max_pool2d(Pool2d::new(2).dilation(usize::MAX)), &["max_pool2d"]);
    assert_eq!(x.max_pool2d(Pool2d::new(2).stride(usize::MAX).ceil_mode(true)).unwrap().dims(), [1, 2, 1, 1]);
    refused(x.avg_pool2d(Pool2d::new(2).dilation(2)), &["avg_pool2d", "dilation"]);
    refused(x.to_dtype(DType::I32).unwrap().avg_pool2d(2), &["avg_pool2d", "i32"]);
    refused(x.get(0).unwrap().get(0).unwrap().get(0).unwrap().max_pool2d(1), &["max_pool2d", "[6]", "at least 2"]);
    refused(
        Tensor::zeros((2, 0), DType::F32, &d).unwrap().max_pool1d(Pool1d::new(2).padding(1)),
        &["[2, 0]", "extent 0"],
    );
    refused(x.adaptive_avg_pool2d((0, 3)), &["adaptive_avg_pool2d", "[0, 3]", "axis 2"]);
    refused(x.adaptive_max_pool2d((2, usize::MAX)), &["adaptive_max_pool2d", "axis 3"]);
    refused(Tensor::zeros((2, 0), DType::F32, &d).unwrap().adaptive_max_pool1d(1), &["[2, 0]"]);
    refused(x.get(0).unwrap().get(0).unwrap().global_avg_pool(), &["global_avg_pool", "[5, 6]"]);
}
