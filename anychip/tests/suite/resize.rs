//! Resizing against the formula, place by place. Nearest must be equal; linear is within some units of the largest neighbour.

use crate::common::{Host, close, on_every_device, refused, same};
use anychip::{DType, Resize, Tensor, f16};

/// Where an element of a resized axis lies.
fn place(mode: Resize, n: usize, s: usize, i: usize) -> f64 {
    let at = match mode {
        Resize::Nearest => (i * n / s) as f64,
        Resize::Linear => (i as f64 + 0.5) * n as f64 / s as f64 - 0.5,
        Resize::LinearAlignCorners if s == 1 => 0.0,
        Resize::LinearAlignCorners => i as f64 * (n - 1) as f64 / (s - 1) as f64,
    };
    at.clamp(0.0, (n - 1) as f64)
}

/// The last two axes at places.
fn resized(x: &Host, to: [usize; 2], at: impl Fn(usize, usize) -> f64) -> Host {
    let rank = x.shape.len();
    let shape: Vec<usize> = x.shape[..rank - 2].iter().copied().chain(to).collect();
    Host::build(&shape, |i| {
        let (y, z) = (at(0, i[rank - 2]), at(1, i[rank - 1]));
        let mut sum = 0.0;
        for (row, wy) in [(y as usize, 1.0 - y.fract()), (y as usize + 1, y.fract())] {
            for (col, wz) in [(z as usize, 1.0 - z.fract()), (z as usize + 1, z.fract())] {
                if wy * wz > 0.0 {
                    let mut index = i.to_vec();
                    (index[rank - 2], index[rank - 1]) = (row, col);
                    sum += wy * wz * x.at(&index);
                }
            }
        }
        sum
    })
}

const MODES: [Resize; 3] = [Resize::Nearest, Resize::Linear, Resize::LinearAlignCorners];

#[test]
fn images_of_any_size() {
    on_every_device(|d| {
        let cases: [(&[usize], [usize; 2]); 5] = [
            (&[2, 3, 4, 5], [8, 10]),
            (&[1, 2, 7, 9], [3, 13]),
            (&[6, 5], [1, 1]),
            (&[3, 1, 4], [5, 4]),
            (&[1, 1, 8, 8], [8, 3]),
        ];
        for (n, (shape, to)) in cases.into_iter().enumerate() {
            let x = Host::random(shape, n as u64, -4.0, 4.0);
            for mode in MODES {
                let want = resized(&x, to, |a, i| place(mode, shape[shape.len() - 2 + a], to[a], i));
                let got = x.on(d).interpolate(to, mode).unwrap();
                let what = format!("{mode:?} of {shape:?} to {to:?} on {d}");
                match mode {
                    Resize::Nearest => same(&what, &got, &want),
                    _ => close(&what, &got, &want, |_, _| 8.0 * 4.0 * f32::EPSILON as f64),
                }
            }
        }
    });
}

#[test]
fn by_factors_and_along_one_axis() {
    on_every_device(|d| {
        let x = Host::random(&[2, 5, 6], 9, -4.0, 4.0);
        let factors = [1.7, 0.45];
        let to = [8, 2];
        let at = |mode| {
            move |a: usize, i: usize| {
                let n = [5.0, 6.0][a];
                let at: f64 = match mode {
                    Resize::Nearest => (i as f64 / factors[a]).floor(),
                    _ => (i as f64 + 0.5) / factors[a] - 0.5,
                };
                at.clamp(0.0, n - 1.0)
            }
        };
        let nearest = x.on(d).interpolate_by(&factors, Resize::Nearest).unwrap();
        same(&format!("nearest by factors on {d}"), &nearest, &resized(&x, to, at(Resize::Nearest)));
        let linear = x.on(d).interpolate_by(&factors, Resize::Linear).unwrap();
        let bound = |_: usize, _: f64| 32.0 * f32::EPSILON as f64;
        close(&format!("linear by factors on {d}"), &linear, &resized(&x, to, at(Resize::Linear)), bound);
        let i = Tensor::arange(0i32, 6, d).unwrap().reshape((2, 3)).unwrap();
        assert_eq!(i.interpolate(2, Resize::Nearest).unwrap().to_vec::<i32>().unwrap(), [0, 1, 3, 4], "{d}");
        let h = Tensor::from_vec(vec![f16::from_f32(0.0), f16::from_f32(1.0)], 2, d).unwrap();
        let got = h.interpolate(3, Resize::LinearAlignCorners).unwrap().to_vec1::<f16>().unwrap();
        assert_eq!(got.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), [0.0, 0.5, 1.0], "{d}");
        let none = Tensor::zeros((0, 4), DType::F32, d).unwrap();
        assert_eq!(none.interpolate(9, Resize::Linear).unwrap().to_vec::<f32>().unwrap(), [0f32; 0], "{d}");
    });
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let d = anychip::Device::open("cpu").unwrap();
    let x = Tensor::zeros((2, 3), DType::F32, &d).unwrap();
    refused(x.interpolate([1, 2, 3], Resize::Nearest), &["interpolate", "[2, 3]", "3"]);
    refused(x.interpolate([1, 0], Resize::Nearest), &["interpolate", "[1, 0]"]);
    refused(x.interpolate(-1, Resize::Nearest), &["interpolate", "-1"]);
    refused(x.interpolate(usize::MAX, Resize::Linear), &["too many elements"]);
    refused(x.interpolate(1usize << 40, Resize::Linear), &["interpolate", "1099511627776 places"]);
    refused(Tensor::zeros((2, 0), DType::F32, &d).unwrap().interpolate(3, Resize::Linear), &["[2, 0]", "[2, 3]"]);
    refused(x.to_dtype(DType::I32).unwrap().interpolate(3, Resize::Linear), &["interpolate", "i32"]);
    refused(x.interpolate_by(&[0.0], Resize::Linear), &["interpolate_by", "factor 0"]);
    refused(x.interpolate_by(&[1.0, f64::NAN], Resize::Linear), &["interpolate_by", "NaN"]);
    refused(x.interpolate_by(&[2.0; 3], Resize::Linear), &["interpolate", "[2, 3]", "3"]);
    refused(x.interpolate_by(&[0.1], Resize::Linear), &["interpolate", "[2, 0]"]);
    refused(x.interpolate_by(&[1e300], Resize::Linear), &["too many elements"]);
}
