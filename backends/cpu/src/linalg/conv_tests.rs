//! Convolution against a chain of multiply-adds written down plainly, on every level of this processor: on small integers, whose
//! partial sums are exact, every bit must be equal.

use super::tests::numbers;
use super::*;
use crate::vmath::Level;
use half::f16;

/// Whole numbers in −8..8.
fn whole(n: usize, seed: u64) -> Vec<f32> {
    numbers(n, seed).into_iter().map(|x| (x * 8.0).round()).collect()
}

fn plain(s: &ConvShape, x: &[f32], w: &[f32]) -> Vec<f32> {
    let [h, width] = s.input;
    let mut out = vec![];
    for image in 0..s.batch {
        for filter in 0..s.groups * s.filters {
            let group = filter / s.filters;
            for y in 0..s.output[0] {
                for z in 0..s.output[1] {
                    let mut sum = 0.0;
                    for c in 0..s.channels {
                        for i in 0..s.kernel[0] {
                            for j in 0..s.kernel[1] {
                                let row = (y * s.stride[0] + i * s.dilation[0]).wrapping_sub(s.before[0]);
                                let col = (z * s.stride[1] + j * s.dilation[1]).wrapping_sub(s.before[1]);
                                if row < h && col < width {
                                    let channel = image * s.groups * s.channels + group * s.channels + c;
                                    let step = (c * s.kernel[0] + i) * s.kernel[1] + j;
                                    let weight = w[filter * s.channels * s.kernel[0] * s.kernel[1] + step];
                                    sum += x[(channel * h + row) * width + col] * weight;
                                }
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

fn check(s: ConvShape, seed: u64) {
    let [h, width] = s.input;
    let (channels, filters) = (s.groups * s.channels, s.groups * s.filters);
    let places = s.output[0] * s.output[1];
    let x = whole(s.batch * channels * h * width, seed);
    let w = whole(filters * s.channels * s.kernel[0] * s.kernel[1], seed + 1);
    let want = plain(&s, &x, &w);
    let x16: Vec<f16> = x.iter().map(|&x| f16::from_f32(x)).collect();
    let xs = [s.batch, channels, h, width];
    let x_strides = [channels * h * width, h * width, width, 1];
    let ws = [filters, s.channels, s.kernel[0], s.kernel[1]];
    let w_strides = [ws[1] * ws[2] * ws[3], ws[2] * ws[3], ws[3], 1];
    for level in Level::all() {
        let packed = PackedFilters::new(level, s, &Matrices::new(&w, ws, w_strides).unwrap()).unwrap();
        let negated = |tile: &mut Tile<'_>| {
            assert_eq!(tile.batch[0], 0);
            for i in 0..tile.rows {
                tile.row(i).iter_mut().for_each(|v| *v = -*v);
            }
        };
        for half in [false, true] {
            let mut out = vec![f32::NAN; s.batch * filters * places];
            let shape = [1, s.batch, filters, places];
            let mut to = MatricesMut::new(&mut out, shape, [0, filters * places, places]).unwrap();
            match half {
                true => convolve(&Matrices::new(&x16, xs, x_strides).unwrap(), &packed, Some(&mut to), Some(&negated))
                    .unwrap(),
                false => convolve(&Matrices::new(&x, xs, x_strides).unwrap(), &packed, Some(&mut to), Some(&negated))
                    .unwrap(),
            }
            for (i, (&got, &want)) in out.iter().zip(&want).enumerate() {
                assert_eq!(got, -want, "{s:?} at {level:?}, element {i} of images of {filters} × {places}");
            }
        }
        // Without an output, tiles say where they belong.
        let seen = std::sync::Mutex::new(vec![f32::NAN; want.len()]);
        let carry = |tile: &mut Tile<'_>| {
            let mut seen = seen.lock().unwrap();
            for i in 0..tile.rows {
                let at = (tile.batch[1] * filters + tile.row0 + i) * places + tile.col0;
                let n = tile.cols;
                seen[at..at + n].copy_from_slice(tile.row(i));
            }
        };
        convolve(&Matrices::new(&x, xs, x_strides).unwrap(), &packed, None, Some(&carry)).unwrap();
        assert_eq!(*seen.lock().unwrap(), want, "{s:?} at {level:?}, carried away");
    }
}

fn shape(batch: usize, groups: [usize; 3], input: [usize; 2], kernel: [usize; 2]) -> ConvShape {
    let [groups, channels, filters] = groups;
    let (stride, dilation, before, output) = ([1; 2], [1; 2], [0; 2], [0; 2]);
    ConvShape { batch, groups, channels, filters, input, output, kernel, stride, dilation, before }
}

/// With the output that so many zeros behind the input give.
fn sized(s: ConvShape, after: [usize; 2]) -> ConvShape {
    let n = |a: usize| (s.input[a] + s.before[a] + after[a] - (s.kernel[a] - 1) * s.dilation[a] - 1) / s.stride[a] + 1;
    ConvShape { output: [n(0), n(1)], ..s }
}

#[test]
fn every_kind_of_window_at_every_level() {
    let cases = [
        sized(ConvShape { before: [1, 1], ..shape(2, [1, 3, 5], [7, 9], [3, 3]) }, [1, 1]),
        sized(shape(3, [1, 4, 17], [5, 6], [1, 1]), [0, 0]),
        sized(ConvShape { before: [3, 0], ..shape(1, [2, 2, 9], [6, 11], [3, 4]) }, [0, 5]),
        sized(ConvShape { before: [0, 4], ..shape(1, [1, 2, 3], [6, 5], [2, 3]) }, [1, 1]),
        // Padding beyond the kernel, on both sides.
        sized(ConvShape { before: [5, 6], ..shape(2, [1, 2, 8], [3, 4], [2, 2]) }, [4, 7]),
        sized(ConvShape { stride: [2, 2], before: [1, 1], ..shape(2, [1, 3, 8], [13, 14], [3, 3]) }, [1, 1]),
        sized(ConvShape { stride: [3, 5], before: [2, 1], ..shape(1, [3, 2, 4], [17, 22], [4, 2]) }, [0, 2]),
        sized(
            ConvShape { stride: [2, 1], dilation: [3, 2], before: [2, 2], ..shape(1, [1, 4, 10], [15, 12], [3, 3]) },
            [2, 2],
        ),
        sized(ConvShape { dilation: [2, 4], stride: [4, 2], ..shape(2, [1, 2, 3], [19, 20], [3, 3]) }, [0, 0]),
        // Depthwise, many of them; more channels than one block of steps holds; a long row, in parts.
        sized(ConvShape { before: [1, 1], ..shape(2, [40, 1, 1], [20, 21], [3, 3]) }, [1, 1]),
        sized(ConvShape { before: [1, 1], ..shape(1, [1, 100, 20], [9, 10], [3, 3]) }, [1, 1]),
        sized(ConvShape { before: [0, 2], ..shape(1, [1, 3, 9], [1, 5000], [1, 5]) }, [0, 2]),
        // So many images, rows and channels that stripes, sets of images and parts of filters are made.
        sized(ConvShape { before: [1, 1], ..shape(70, [1, 8, 16], [5, 5], [3, 3]) }, [1, 1]),
        sized(ConvShape { before: [1, 1], ..shape(1, [1, 60, 24], [70, 64], [3, 3]) }, [1, 1]),
        sized(ConvShape { before: [1, 1], ..shape(1, [1, 600, 40], [4, 4], [3, 3]) }, [1, 1]),
    ];
    for (seed, s) in cases.into_iter().enumerate() {
        check(s, 3 * seed as u64 + 1);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let s = sized(shape(1, [1, 2, 3], [4, 4], [2, 2]), [0, 0]);
    let (x, w) = (vec![0f32; 32], vec![0f32; 24]);
    let filters = Matrices::new(&w, [3, 2, 2, 2], [8, 4, 2, 1]).unwrap();
    let e = PackedFilters::new(Level::Baseline, s, &Matrices::new(&w, [2, 3, 2, 2], [12, 4, 2, 1]).unwrap());
    assert!(e.err().unwrap().to_string().contains("filters has shape [2, 3, 2, 2]"));
    let packed = PackedFilters::new(Level::Baseline, s, &filters).unwrap();
    let e = convolve(&Matrices::new(&x, [1, 2, 2, 4], [8, 8, 4, 1]).unwrap(), &packed, None, None).unwrap_err();
    assert!(e.to_string().contains("[1, 2, 4, 4] is needed"), "{e}");
    let mut out = vec![0f32; 27];
    let mut to = MatricesMut::new(&mut out, [1, 1, 3, 8], [0, 0, 9]).unwrap();
    let x = Matrices::new(&x, [1, 2, 4, 4], [32, 16, 4, 1]).unwrap();
    assert!(convolve(&x, &packed, Some(&mut to), None).unwrap_err().to_string().contains("[1, 1, 3, 9]"));
}
