//! The functions that the library writes itself, swept over all exponents against f64; compositions of a few operations; activations.

use crate::common::{Host, close, numbers, on_every_device, refused, same, takes, ulps};
use anychip::{DType, Device, Result, Tensor, bf16, f16};

type Function = fn(&Tensor) -> Result<Tensor>;
type Meaning = fn(f64) -> f64;

/// Numbers of every exponent and both signs, the special ones, and neighbours of the places where formulas change.
fn sweep() -> Vec<f32> {
    let mut x =
        vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::MIN];
    for edge in [0.5f32, 1.0, 2.0, 0.414_213_57, 2.414_213_7, 1e4, 88.0, 88.722_84, 89.4, -17.3, -20.0, 10.05, 3.0] {
        for near in [edge, edge.next_up(), edge.next_down()] {
            x.extend([near, -near]);
        }
    }
    for (n, bits) in numbers(20_000, 5, 0.0, 1.0).iter().zip(0u32..) {
        // A mantissa from the numbers, every exponent in turn.
        let exponent = bits % 255;
        x.push(f32::from_bits((bits / 255 % 2) << 31 | exponent << 23 | (n * 8_388_607.0) as u32));
    }
    // Where most arguments are.
    x.extend(numbers(6000, 6, -3.0, 3.0));
    x.extend(numbers(4000, 7, -1.0, 1.0));
    x.extend(numbers(4000, 8, -100.0, 100.0));
    x
}

/// erfc to about 1e-13 relative: its continued fraction from 2 on, 1 − erf below.
fn erfc(x: f64) -> f64 {
    if x < 2.0 {
        return 1.0 - crate::common::erf(x);
    }
    let fraction = (1..200).rev().fold(0.0, |tail, n| n as f64 / 2.0 / (x + tail));
    (-x * x).exp() / ((x + fraction) * std::f64::consts::PI.sqrt())
}

/// Name, function, meaning, ULPs: those that the formula has (see the library's file of functions) with functions beneath it that are
/// as far off as OpenCL allows.
const WRITTEN: [(&str, Function, Meaning, f64); 13] = [
    ("asin", Tensor::asin, f64::asin, 4.0),
    ("acos", Tensor::acos, f64::acos, 4.0),
    ("atan", Tensor::atan, f64::atan, 4.0),
    ("sinh", Tensor::sinh, f64::sinh, 7.0),
    ("cosh", Tensor::cosh, f64::cosh, 7.0),
    ("tanh", Tensor::tanh, f64::tanh, 6.0),
    ("asinh", Tensor::asinh, f64::asinh, 8.0),
    (
        "acosh",
        Tensor::acosh,
        |x| (x - 1.0 + ((x - 1.0) * (x + 1.0)).sqrt()).ln_1p() + if x < 1.0 { f64::NAN } else { 0.0 },
        10.0,
    ),
    ("atanh", Tensor::atanh, |x| x.abs().atanh().copysign(x), 8.0),
    ("expm1", Tensor::expm1, f64::exp_m1, 3.0),
    ("log1p", Tensor::log1p, f64::ln_1p, 7.0),
    ("erfc", Tensor::erfc, erfc, 10.0),
    ("log10", Tensor::log10, f64::log10, 5.0),
];

#[test]
fn written_functions_keep_their_ulps_over_the_whole_range() {
    let x = sweep();
    on_every_device(|d| {
        let t = Tensor::from_slice(&x, x.len(), d).unwrap();
        for (name, f, meaning, bound) in WRITTEN {
            let got = f(&t).unwrap().to_vec::<f32>().unwrap();
            let mut worst = (0.0f64, 0.0f32);
            for (&x, &g) in x.iter().zip(&got) {
                let want = meaning(x as f64);
                let rounded = want as f32;
                if want.is_nan() || rounded.is_infinite() || g.is_infinite() || x.is_infinite() || x == 0.0 {
                    // Within half a unit of the largest number either side of overflow is right.
                    let edge = want.abs() > f32::MAX as f64 * (1.0 - 1e-6) && g.abs() >= f32::MAX * 0.999_999;
                    let fits = want.is_nan() && g.is_nan() || rounded == g || edge && g.signum() == rounded.signum();
                    let sign = x != 0.0 || want != 0.0 || g.is_sign_negative() == want.is_sign_negative();
                    assert!(fits && sign, "{name}({x:e}) on {d} is {g:e}, must be {want:e}");
                    continue;
                }
                // A unit of the last place; below the normal numbers one of theirs, which covers devices that flush.
                let unit =
                    f64::from(f32::EPSILON) * 2f64.powi(want.abs().max(f32::MIN_POSITIVE as f64).log2().floor() as i32);
                let error = (g as f64 - want).abs() / unit;
                let error = if want.abs() < f32::MIN_POSITIVE as f64 && g == 0.0 { 0.0 } else { error };
                if error.is_nan() || error > worst.0 {
                    worst = (error, x);
                }
            }
            println!("{name} on {d}: {:.2} ULP at {:e}", worst.0, worst.1);
            assert!(worst.0 <= bound, "{name} on {d}: {:.2} ULP at {:e}, at most {bound}", worst.0, worst.1);
        }
    });
}

#[test]
fn written_functions_in_double_precision() {
    let x: Vec<f64> = sweep().into_iter().filter(|x| x.is_finite()).map(|x| x as f64 * (1.0 + 1e-10)).collect();
    on_every_device(|d| {
        if !d.info().support(DType::F64).arithmetic {
            println!("SKIPPED: f64 on {d}: no f64 arithmetic");
            return;
        }
        let t = Tensor::from_slice(&x, x.len(), d).unwrap();
        for (_, (name, f, meaning, bound)) in WRITTEN.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 4)) {
            let got = f(&t).unwrap().to_vec::<f64>().unwrap();
            for (&x, &g) in x.iter().zip(&got) {
                let want = meaning(x);
                // The host's own functions are off by a unit, too; its erfc by more.
                let bound = bound + if name == "erfc" { 2000.0 } else { 2.0 };
                let fits = want.is_nan() && g.is_nan()
                    || g == want
                    || (g - want).abs() <= bound * f64::EPSILON * want.abs().max(f64::MIN_POSITIVE);
                assert!(fits, "{name}({x:e}) in f64 on {d} is {g:e}, must be {want:e}");
            }
        }
    });
}

/// Every number of both 16-bit types: computed in f32, rounded once. Half a unit for the rounding, and what f32 may be off.
#[test]
fn written_functions_of_sixteen_bits() {
    let h: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let b: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    on_every_device(|d| {
        let (th, tb) = (Tensor::from_slice(&h, h.len(), d).unwrap(), Tensor::from_slice(&b, b.len(), d).unwrap());
        for (name, f, meaning, _) in [WRITTEN[2], WRITTEN[9], WRITTEN[12]] {
            for (x, g) in h.iter().zip(f(&th).unwrap().to_vec::<f16>().unwrap()) {
                let want = meaning(x.to_f64());
                let near = f16::from_f64(want);
                let beside = [near.to_f64() * (1.0 + 1e-6), near.to_f64() * (1.0 - 1e-6)].map(f16::from_f64);
                let half = (g.to_f64() - want).abs() <= want.abs().max(6.2e-5) * 2f64.powi(-11) * 1.001;
                assert!(
                    near == g || near.is_nan() && g.is_nan() || beside.contains(&g) || half,
                    "{name}({x}) in f16 on {d}: {g}"
                );
            }
            for (x, g) in b.iter().zip(f(&tb).unwrap().to_vec::<bf16>().unwrap()) {
                let want = meaning(x.to_f64());
                let near = bf16::from_f64(want);
                // Below the normal numbers a device may give 0.
                let flushed = want.abs() < 1.2e-38 && g.to_f64() == 0.0;
                let half = (g.to_f64() - want).abs() <= want.abs().max(1.2e-38) * 2f64.powi(-8) * 1.001;
                assert!(
                    near == g || near.is_nan() && g.is_nan() || half || flushed,
                    "{name}({x}) in bf16 on {d}: {g}, not {near}"
                );
            }
        }
    });
}

#[test]
fn angles_and_lengths() {
    let values =
        [0.0f32, -0.0, 1.0, -1.0, 0.3, -7.5, 1e30, -1e-30, 3e38, 1e-40, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    on_every_device(|d| {
        let column = Tensor::from_slice(&values, (values.len(), 1), d).unwrap();
        let row = Tensor::from_slice(&values, values.len(), d).unwrap();
        let angle = column.atan2(&row).unwrap().to_vec::<f32>().unwrap();
        let length = column.hypot(&row).unwrap().to_vec::<f32>().unwrap();
        for (i, &y) in values.iter().enumerate() {
            for (j, &x) in values.iter().enumerate() {
                let (g, want) = (angle[i * values.len() + j], (y as f64).atan2(x as f64));
                let fits = want.is_nan() && g.is_nan()
                    || (g as f64 - want).abs() <= 8.0 * f32::EPSILON as f64 * want.abs()
                    // The ratio may be below the normal numbers, and flushed.
                    || want.abs() < 1.2e-38 && g.abs() < 1.2e-38;
                let flushed = x.is_subnormal() || y.is_subnormal();
                assert!(fits || flushed, "atan2({y:e}, {x:e}) on {d} is {g:e}, must be {want:e}");
                assert!(
                    want != 0.0 || g.is_sign_negative() == want.is_sign_negative(),
                    "atan2({y:e}, {x:e}) on {d}: {g:e}"
                );
                let (g, want) = (length[i * values.len() + j], (x as f64).hypot(y as f64));
                let fits = x.is_nan()
                    || y.is_nan()
                    || g == want as f32
                    || (g as f64 - want).abs() <= 4.0 * f32::EPSILON as f64 * want.abs();
                assert!(fits || flushed && want < 1e-38, "hypot({x:e}, {y:e}) on {d} is {g:e}, must be {want:e}");
            }
        }
        let t = Tensor::from_slice(&[3f32, 5.0], 2, d).unwrap();
        same("hypot", &t.hypot(4.0).unwrap(), &Host::new(&[2], vec![5.0, 41f32.sqrt() as f64]));
    });
}

#[test]
fn remainders() {
    let x = [7.5f32, -7.5, 7.5, -7.5, 0.0, 6.0, -6.0, 1e20, f32::INFINITY, 5.0, -5.0];
    let y = [2.0f32, 2.0, -2.0, -2.0, 3.0, 3.0, 3.0, 7.0, 2.0, f32::INFINITY, f32::INFINITY];
    on_every_device(|d| {
        let (a, b) = (Tensor::from_slice(&x, 11, d).unwrap(), Tensor::from_slice(&y, 11, d).unwrap());
        let python = |x: f64, y: f64| {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) { r + y } else { r }
        };
        let want = |f: &dyn Fn(f64, f64) -> f64| {
            Host::new(&[11], x.iter().zip(&y).map(|(&x, &y)| f(x as f64, y as f64)).collect())
        };
        same(&format!("modulo on {d}"), &a.modulo(&b).unwrap(), &want(&python));
        same(&format!("rem on {d}"), &a.rem(&b).unwrap(), &want(&|x, y| x % y));
        let i = Tensor::from_slice(&[7i8, -7, 7, -7, 5, i8::MIN], 6, d).unwrap();
        let j = Tensor::from_slice(&[3i8, 3, -3, -3, 0, -1], 6, d).unwrap();
        assert_eq!(i.modulo(&j).unwrap().to_vec::<i8>().unwrap(), [1, 2, -2, -1, 0, 0], "{d}");
        let u = Tensor::from_slice(&[7u32, 5], 2, d).unwrap();
        assert_eq!(u.modulo(4u32).unwrap().to_vec::<u32>().unwrap(), [3, 1], "{d}");
    });
}

#[test]
fn powers_of_integers() {
    let x = [0i32, 0, 2, -2, -2, 3, 3, 1, -1, -1, 2, 0, 7];
    let y = [0i32, 5, 10, 3, 31, 40, 21, -4, -3, -4, -1, -2, 1];
    let want: Vec<i32> = x
        .iter()
        .zip(&y)
        .map(|(&x, &y)| match (x, y) {
            (x, y) if y >= 0 => x.wrapping_pow(y as u32),
            (1, _) => 1,
            (-1, y) => {
                if y % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        })
        .collect();
    on_every_device(|d| {
        let (a, b) = (Tensor::from_slice(&x, 13, d).unwrap(), Tensor::from_slice(&y, 13, d).unwrap());
        assert_eq!(a.pow(&b).unwrap().to_vec::<i32>().unwrap(), want, "{d}");
        let u = Tensor::from_slice(&[2u8, 3, 255, 0], 4, d).unwrap();
        assert_eq!(u.pow(7u8).unwrap().to_vec::<u8>().unwrap(), [128, 3u8.wrapping_pow(7), 255, 0], "{d}");
    });
}

#[test]
fn bits_and_truth() {
    on_every_device(|d| {
        let x = Tensor::from_slice(&[1i32, -8, 0x4000_0001, 5], 4, d).unwrap();
        let by = Tensor::from_slice(&[31i32, 1, 33, 0], 4, d).unwrap();
        let v = |t: Result<Tensor>| t.unwrap().to_vec::<i32>().unwrap();
        assert_eq!(v(x.bitwise_left_shift(&by)), [i32::MIN, -16, i32::MIN + 2, 5], "{d}");
        assert_eq!(v(x.bitwise_right_shift(&by)), [0, -4, 0x2000_0000, 5], "{d}");
        assert_eq!(v(x.bitwise_and(7)), [1, 0, 1, 5], "{d}");
        assert_eq!(v(x.bitwise_not()), [-2, 7, !0x4000_0001, -6], "{d}");
        assert_eq!(v(x.leading_zeros()), [31, 0, 1, 29], "{d}");
        let f = Tensor::from_slice(&[0f32, 2.0, f32::NAN, f32::NEG_INFINITY], 4, d).unwrap();
        let b = |t: Result<Tensor>| t.unwrap().to_vec::<bool>().unwrap();
        assert_eq!(b(f.logical_not()), [true, false, false, false], "{d}");
        assert_eq!(b(f.logical_and(1.0)), [false, true, true, true], "{d}");
        assert_eq!(b(f.logical_or(0.0)), [false, true, true, true], "{d}");
        assert_eq!(b(f.logical_xor(1.0)), [true, false, false, false], "{d}");
        assert_eq!(b(f.is_inf()), [false, false, false, true], "{d}");
        assert_eq!(b(f.is_finite()), [true, true, false, false], "{d}");
        refused(f.bitwise_left_shift(1.0), &["shl", "integers", "f32"]);
        refused(x.is_finite(), &["is_finite", "float", "i32"]);
        refused(x.asin(), &["asin", "float", "i32"]);
        refused(f.leading_zeros(), &["leading_zeros", "integers", "f32"]);
    });
}

/// Name, function, its meaning. All errors are relative to f32's units at the result, plus an absolute part where a difference
/// of numbers near 1 is formed.
const ACTIVATIONS: [(&str, Function, Meaning, f64); 16] = [
    ("leaky_relu", |x| x.leaky_relu(0.01), |x| if x > 0.0 { x } else { 0.01 * x }, 1.0),
    ("elu", |x| x.elu(1.5), |x| if x > 0.0 { x } else { 1.5 * x.exp_m1() }, 4.0),
    ("celu", |x| x.celu(0.7), |x| if x > 0.0 { x } else { 0.7 * (x / 0.7).exp_m1() }, 8.0),
    ("selu", Tensor::selu, |x| 1.0507009873554805 * if x > 0.0 { x } else { 1.6732632423543772 * x.exp_m1() }, 4.0),
    ("softplus", Tensor::softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), 8.0),
    ("log_sigmoid", Tensor::log_sigmoid, |x| -((-x).max(0.0) + (-x.abs()).exp().ln_1p()), 8.0),
    ("mish", Tensor::mish, |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(), 16.0),
    ("softsign", Tensor::softsign, |x| x / (1.0 + x.abs()), 4.0),
    ("relu6", Tensor::relu6, |x| x.clamp(0.0, 6.0), 0.0),
    ("hard_sigmoid", Tensor::hard_sigmoid, |x| (x + 3.0).clamp(0.0, 6.0) / 6.0, 4.0),
    ("hard_swish", Tensor::hard_swish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0, 5.0),
    ("hard_tanh", |x| x.hard_tanh(-0.5, 2.0), |x| x.clamp(-0.5, 2.0), 0.0),
    ("thresholded_relu", |x| x.thresholded_relu(0.5), |x| if x > 0.5 { x } else { 0.0 }, 0.0),
    (
        "soft_shrink",
        |x| x.soft_shrink(0.5),
        |x| {
            if x > 0.5 {
                x - 0.5
            } else if x < -0.5 {
                x + 0.5
            } else {
                0.0
            }
        },
        1.0,
    ),
    ("hard_shrink", |x| x.hard_shrink(0.5), |x| if x.abs() > 0.5 { x } else { 0.0 }, 0.0),
    ("sigmoid", Tensor::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 8.0),
];

#[test]
fn activations_keep_their_bound() {
    on_every_device(|d| {
        let x = Host::random(&[50, 101], 4, -30.0, 30.0);
        let near = Host::random(&[2000], 5, -2.0, 2.0);
        let t = Tensor::cat(&[x.on(d).flatten_all().unwrap(), near.on(d)], 0).unwrap();
        let all = Host::new(&[7050], x.data.iter().chain(&near.data).copied().collect());
        for (n, (name, f, meaning, bound)) in ACTIVATIONS.into_iter().enumerate() {
            let want = all.map(meaning);
            // x + 3 is rounded at 3.
            let sum = if name.starts_with("hard_s") { 1e-6 } else { 0.0 };
            let within = |i: usize, w: f64| ulps(bound)(i, w) + sum * all.data[i].abs().min(1.0);
            close(&format!("{name} on {d}"), &f(&t).unwrap(), &want, within);
            let nan = Tensor::from_vec(vec![f32::NAN, 1.0], 2, d).unwrap();
            let nan = f(&nan).unwrap().to_vec::<f32>().unwrap();
            assert!(nan[0].is_nan() && !nan[1].is_nan(), "{name}(NaN) on {d} is {nan:?}");
            if takes(d, n + 3, 4) {
                let nan = f(&Tensor::full(f32::NAN, 1, d).unwrap()).unwrap().to_vec::<f32>().unwrap();
                assert!(nan[0].is_nan(), "{name} of a constant NaN on {d} is {}", nan[0]);
            }
        }
        // Constants are not rounded to 16 bits: computed in f32, rounded once.
        let h: Vec<f16> = (0..2000).map(|i| f16::from_f32((i - 1000) as f32 / 100.0)).collect();
        let got = Tensor::from_slice(&h, h.len(), d).unwrap().selu().unwrap().to_vec::<f16>().unwrap();
        for (x, g) in h.iter().zip(got) {
            let want = ACTIVATIONS[3].2(x.to_f64());
            assert!(
                (g.to_f64() - want).abs() <= want.abs() * 2f64.powi(-11) * 1.01 + 1e-7,
                "selu({x}) in f16 on {d}: {g}, not {want}"
            );
        }
    });
}

#[test]
fn prelu_and_lerp() {
    on_every_device(|d| {
        let x = Host::random(&[2, 3, 5], 1, -2.0, 2.0);
        let w = Host::new(&[3], vec![0.25, -1.0, 2.0]);
        let want = Host::build(&[2, 3, 5], |i| if x.at(i) > 0.0 { x.at(i) } else { x.at(i) * w.at(&[i[1]]) });
        close(&format!("prelu on {d}"), &x.on(d).prelu(&w.on(d)).unwrap(), &want, ulps(1.0));
        let one = x.on(d).prelu(&Tensor::full(0.5f32, 1, d).unwrap()).unwrap();
        same(&format!("prelu on {d}"), &one, &x.map(|x| if x > 0.0 { x } else { 0.5 * x }));
        refused(x.on(d).prelu(&Tensor::ones(2, DType::F32, d).unwrap()), &["prelu", "[2]", "[3]", "[2, 3, 5]"]);
        let (a, b) = (Host::random(&[4, 7], 2, -5.0, 5.0), Host::random(&[4, 7], 3, -5.0, 5.0));
        for weight in [0.0, 0.25, 0.5, 1.0, 1.5] {
            let want = a.zip(&b, |a, b| a + weight * (b - a));
            let got = a.on(d).lerp(&b.on(d), weight).unwrap();
            close(&format!("lerp on {d}"), &got, &want, |_, _| 2e-6);
        }
        let ends = a.on(d).lerp(&b.on(d), 1.0).unwrap();
        same(&format!("lerp to the end on {d}"), &ends, &b);
    });
}

#[test]
fn parameters_of_activations_are_checked() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::ones(3, DType::F32, &d).unwrap();
    refused(x.leaky_relu(f64::NAN), &["leaky_relu", "slope", "NaN", "finite"]);
    refused(x.elu(f64::INFINITY), &["elu", "alpha", "finite"]);
    refused(x.celu(0.0), &["celu", "alpha", "0"]);
    refused(x.hard_tanh(1.0, -1.0), &["hard_tanh", "low", "1", "-1"]);
    refused(x.soft_shrink(-1.0), &["soft_shrink", "lambda", "-1"]);
    refused(x.hard_shrink(f64::NAN), &["hard_shrink", "lambda", "NaN"]);
    refused(x.to_dtype(DType::I32).unwrap().mish(), &["mish", "float", "i32"]);
    refused(x.to_dtype(DType::I32).unwrap().atan2(1), &["atan2", "float", "i32"]);
    refused(x.hypot(Tensor::ones(2, DType::F32, &d).unwrap()), &["hypot", "[3]", "[2]"]);
    refused(x.modulo(Tensor::ones(3, DType::I32, &d).unwrap()), &["modulo", "f32", "i32"]);
}

/// A value that several operations of one expression use is computed once, in one kernel.
#[test]
fn compositions_are_one_kernel() {
    let d = Device::open("cpu").unwrap();
    let x = Tensor::from_slice(&numbers(64, 1, -1.0, 1.0), 64, &d).unwrap();
    let y = Tensor::from_slice(&numbers(64, 2, -1.0, 1.0), 64, &d).unwrap();
    for (name, t) in [
        ("mish", x.mish().unwrap()),
        ("modulo", x.modulo(&y).unwrap()),
        ("atan2", x.atan2(&y).unwrap()),
        ("hypot", x.hypot(&y).unwrap()),
        ("lerp", x.lerp(&y, 0.3).unwrap()),
        ("f16 selu", x.to_dtype(DType::F16).unwrap().selu().unwrap()),
    ] {
        let plan = t.explain().unwrap();
        assert_eq!(plan.matches(" map ").count(), 1, "{name}:\n{plan}");
    }
}

/// Drivers have other code for vectors, which products compute their epilogues with: a large operand must not spoil its neighbours.
#[test]
fn functions_behind_a_product() {
    let x: Vec<f32> = sweep().into_iter().filter(|x| x.is_finite() && x.abs() < 1e30).take(64 * 64).collect();
    on_every_device(|d| {
        let (x, one) = (Tensor::from_slice(&x, (64, 64), d).unwrap(), Tensor::eye(64, DType::F32, d).unwrap());
        one.realize().unwrap();
        for (name, f) in [("sin", Tensor::sin as Function), ("cos", Tensor::cos)] {
            let want: Vec<f64> = f(&x).unwrap().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect();
            // x·1 + zeros is x. Either is within 4 ULPs, and what a device takes for 0 is below its smallest normal number.
            let bound = |i: usize, w: f64| ulps(8.0)(i, w) + 2.0 * f64::from(f32::MIN_POSITIVE);
            let got = f(&x.matmul(&one).unwrap()).unwrap();
            close(&format!("{name} behind a product on {d}"), &got, &Host::new(&[64, 64], want), bound);
        }
    });
}
