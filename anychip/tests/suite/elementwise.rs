//! Functions of one and two operands in f32: values, special values, broadcasting, views as operands, empty tensors.

use crate::common::{Host, close, erf, on_every_device, same, takes, ulps};
use anychip::{DType, Result, Tensor};

const SHAPES: [&[usize]; 10] =
    [&[], &[1], &[7], &[3, 5], &[2, 3, 4], &[0], &[3, 0, 2], &[33, 65], &[4, 1, 6], &[2, 1, 2, 1, 3]];

type Function = fn(&Tensor) -> Result<Tensor>;
type Meaning = fn(f64) -> f64;
type Test = fn(f64, f64) -> bool;

/// Name, function, its meaning, range of arguments, ULPs. The bounds are those of the OpenCL specification's full profile, which
/// every device here has to keep; for compositions, the sum over their parts.
const EXACT: [(&str, Function, Meaning); 9] = [
    ("neg", Tensor::neg, |x| -x),
    ("abs", Tensor::abs, f64::abs),
    ("sign", Tensor::sign, |x| if x == 0.0 { 0.0 } else { x.signum() }),
    ("floor", Tensor::floor, f64::floor),
    ("ceil", Tensor::ceil, f64::ceil),
    ("trunc", Tensor::trunc, f64::trunc),
    ("round", Tensor::round, f64::round_ties_even),
    ("relu", Tensor::relu, |x| x.max(0.0)),
    ("sqr", Tensor::sqr, |x| (x as f32 * x as f32) as f64),
];

const ROUNDED: [(&str, Function, Meaning, f64, f64, f64); 15] = [
    ("sqrt", Tensor::sqrt, f64::sqrt, 0.0, 100.0, 3.0),
    ("rsqrt", Tensor::rsqrt, |x| 1.0 / x.sqrt(), 0.01, 100.0, 3.0),
    ("recip", Tensor::recip, |x| 1.0 / x, 0.01, 100.0, 2.5),
    ("exp", Tensor::exp, f64::exp, -80.0, 80.0, 3.0),
    ("exp2", Tensor::exp2, f64::exp2, -120.0, 120.0, 3.0),
    ("log", Tensor::log, f64::ln, 1.5, 1e6, 3.0),
    ("log2", Tensor::log2, f64::log2, 1.5, 1e6, 3.0),
    ("sin", Tensor::sin, f64::sin, 0.1, 3.0, 4.0),
    ("cos", Tensor::cos, f64::cos, -1.5, 1.5, 4.0),
    ("tan", Tensor::tan, f64::tan, -1.5, 1.5, 5.0),
    ("tanh", Tensor::tanh, f64::tanh, -10.0, 10.0, 6.0),
    ("erf", Tensor::erf, erf, -4.0, 4.0, 16.0),
    ("sigmoid", Tensor::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -20.0, 20.0, 8.0),
    ("silu", Tensor::silu, |x| x / (1.0 + (-x).exp()), -20.0, 20.0, 9.0),
    ("gelu", Tensor::gelu, |x| x / 2.0 * (1.0 + erf(x / 2f64.sqrt())), 0.0, 8.0, 20.0),
];

#[test]
fn exact_functions_are_exact() {
    on_every_device(|d| {
        for (i, (name, f, meaning)) in EXACT.into_iter().enumerate() {
            for (n, shape) in SHAPES.into_iter().enumerate().filter(|(n, _)| takes(d, i + n, 5)) {
                let x = Host::random(shape, 1 + n as u64, -6.0, 6.0);
                same(&format!("{name} on {d}"), &f(&x.on(d)).unwrap(), &x.map(meaning));
            }
        }
    });
}

#[test]
fn rounded_functions_keep_their_bound() {
    on_every_device(|d| {
        for (i, (name, f, meaning, low, high, bound)) in ROUNDED.into_iter().enumerate() {
            for (n, shape) in SHAPES.into_iter().enumerate().filter(|(n, _)| takes(d, i + n, 5)) {
                let x = Host::random(shape, 20 + n as u64, low, high);
                close(&format!("{name} on {d}"), &f(&x.on(d)).unwrap(), &x.map(meaning), ulps(bound));
            }
        }
    });
}

/// Below zero gelu is a small difference of numbers near 1: its error is relative to |x|.
#[test]
fn gelu_forms_over_the_whole_line() {
    on_every_device(|d| {
        let x = Host::random(&[4099], 3, -12.0, 12.0);
        let tanh = |x: f64| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
        let exact = |x: f64| x / 2.0 * (1.0 + erf(x / 2f64.sqrt()));
        let bound = |i: usize, _: f64| 20.0 * f32::EPSILON as f64 * x.data[i].abs();
        close(&format!("gelu on {d}"), &x.on(d).gelu().unwrap(), &x.map(exact), bound);
        close(&format!("gelu_tanh on {d}"), &x.on(d).gelu_tanh().unwrap(), &x.map(tanh), bound);
    });
}

#[test]
fn special_values() {
    let x = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    let inf = f64::INFINITY;
    let nan = f64::NAN;
    on_every_device(|d| {
        let t = Tensor::from_slice(&x, 5, d).unwrap();
        let check = |what: &str, got: Tensor, want: [f64; 5]| {
            same(&format!("{what} on {d}"), &got, &Host::new(&[5], want.to_vec()));
        };
        check("exp", t.exp().unwrap(), [1.0, 1.0, inf, 0.0, nan]);
        check("log", t.log().unwrap(), [-inf, -inf, inf, nan, nan]);
        check("sqrt", t.sqrt().unwrap(), [0.0, 0.0, inf, nan, nan]);
        check("recip", t.recip().unwrap(), [inf, -inf, 0.0, 0.0, nan]);
        check("tanh", t.tanh().unwrap(), [0.0, 0.0, 1.0, -1.0, nan]);
        // At infinity erf is held to its ULPs, as everywhere.
        let limits = Host::new(&[5], vec![0.0, 0.0, 1.0, -1.0, nan]);
        close(&format!("erf on {d}"), &t.erf().unwrap(), &limits, ulps(16.0));
        check("relu", t.relu().unwrap(), [0.0, 0.0, inf, 0.0, nan]);
        check("maximum", t.maximum(1.0).unwrap(), [1.0, 1.0, inf, 1.0, nan]);
        check("minimum", t.minimum(1.0).unwrap(), [0.0, 0.0, 1.0, -inf, nan]);
        check("clamp", t.clamp(-1.0, 1.0).unwrap(), [0.0, 0.0, 1.0, -1.0, nan]);
        let nans = t.is_nan().unwrap().to_vec::<bool>().unwrap();
        assert_eq!(nans, [false, false, false, false, true], "is_nan on {d}");
        assert_eq!(t.eq(&t).unwrap().to_vec::<bool>().unwrap(), [true, true, true, true, false], "eq on {d}");
        assert_eq!(t.ne(&t).unwrap().to_vec::<bool>().unwrap(), [false, false, false, false, true], "ne on {d}");
    });
}

/// A driver's compiler computes what a kernel knows, by rules of its own: where it finds the result undefined, it drops the store.
#[test]
fn what_a_kernel_knows_is_computed_as_what_it_reads() {
    let exact = EXACT.map(|(name, f, _)| (name, f));
    let rounded = ROUNDED.map(|(name, f, ..)| (name, f));
    let two: [(&str, Function); 4] = [
        ("pow", |x| x.pow(2.5)),
        ("rem", |x| x.rem(3.0)),
        ("pow of 1", |x| Tensor::full(1f32, 1, x.device())?.pow(x)),
        ("round of log", |x| x.log()?.round()),
    ];
    on_every_device(|d| {
        for (n, (name, f)) in exact.into_iter().chain(rounded).chain(two).enumerate() {
            let rounds = matches!(name, "floor" | "ceil" | "trunc" | "round");
            for (m, x) in [f32::NAN, 3e9, -1e20, f32::INFINITY].into_iter().enumerate() {
                let part = if m == 0 || m == 1 && rounds { 1 } else { 5 };
                if !takes(d, n + m, part) {
                    continue;
                }
                let known = f(&Tensor::full(x, 1, d).unwrap()).unwrap().to_vec::<f32>().unwrap()[0];
                let read = f(&Tensor::from_slice(&[x], 1, d).unwrap()).unwrap().to_vec::<f32>().unwrap()[0];
                let same =
                    known == read || known.is_nan() && read.is_nan() || (known - read).abs() <= read.abs() * 4e-6;
                assert!(same, "{name} of a constant {x} on {d} is {known}, of the same in memory {read}");
            }
        }
    });
}

#[test]
fn two_operands_broadcast() {
    let pairs: [(&[usize], &[usize]); 9] = [
        (&[], &[]),
        (&[5], &[]),
        (&[3, 4], &[4]),
        (&[3, 1], &[1, 4]),
        (&[2, 3, 4], &[3, 1]),
        (&[1, 1, 7], &[5, 3, 1]),
        (&[0, 3], &[3]),
        (&[2, 1], &[2, 0]),
        (&[65, 33], &[65, 33]),
    ];
    let f = |x: f64| x as f32;
    on_every_device(|d| {
        for (n, (a, b)) in pairs.into_iter().enumerate().filter(|(n, _)| takes(d, *n, 3)) {
            let (x, y) = (Host::random(a, 7 + n as u64, -5.0, 5.0), Host::random(b, 70 + n as u64, 0.5, 4.0));
            let (s, t) = (x.on(d), y.on(d));
            let what = |op: &str| format!("{op} {a:?} {b:?} on {d}");
            same(&what("add"), &s.add(&t).unwrap(), &x.zip(&y, |x, y| (f(x) + f(y)) as f64));
            same(&what("sub"), &s.sub(&t).unwrap(), &x.zip(&y, |x, y| (f(x) - f(y)) as f64));
            same(&what("mul"), &s.mul(&t).unwrap(), &x.zip(&y, |x, y| (f(x) * f(y)) as f64));
            close(&what("div"), &s.div(&t).unwrap(), &x.zip(&y, |x, y| x / y), ulps(2.5));
            same(&what("rem"), &s.rem(&t).unwrap(), &x.zip(&y, |x, y| (f(x) % f(y)) as f64));
            same(&what("maximum"), &s.maximum(&t).unwrap(), &x.zip(&y, f64::max));
            same(&what("minimum"), &s.minimum(&t).unwrap(), &x.zip(&y, f64::min));
            close(&what("pow"), &t.pow(&s).unwrap(), &y.zip(&x, f64::powf), ulps(16.0));
            let bools: [(&str, Tensor, Test); 4] = [
                ("lt", s.lt(&t).unwrap(), |x, y| x < y),
                ("le", s.le(&t).unwrap(), |x, y| x <= y),
                ("gt", s.gt(&t).unwrap(), |x, y| x > y),
                ("ge", s.ge(&t).unwrap(), |x, y| x >= y),
            ];
            for (op, got, meaning) in bools {
                let want = x.zip(&y, |x, y| meaning(x, y) as u8 as f64);
                assert_eq!(got.dtype(), DType::Bool);
                same(&what(op), &got.to_dtype(DType::F32).unwrap(), &want);
            }
            let chosen = s.gt(&t).unwrap().where_cond(&s, &t).unwrap();
            same(&what("where"), &chosen, &x.zip(&y, f64::max));
        }
    });
}

#[test]
fn operators_take_tensors_and_numbers_on_both_sides() {
    on_every_device(|d| {
        let x = Tensor::from_vec(vec![1f32, 2., 4.], 3, d).unwrap();
        let v = |t: Result<Tensor>| t.unwrap().to_vec::<f32>().unwrap();
        assert_eq!(v(&x + &x), [2., 4., 8.]);
        assert_eq!(v(&x - 1.0), [0., 1., 3.]);
        assert_eq!(v(8.0 / &x), [8., 4., 2.]);
        assert_eq!(v(1 - x.clone()), [0., -1., -3.]);
        assert_eq!(v(&x * x.clone()), [1., 4., 16.]);
        assert_eq!(v(&x % 3), [1., 2., 1.]);
        assert_eq!(v(-&x), [-1., -2., -4.]);
        assert_eq!(v(x.affine(2.0, 0.5)), [2.5, 4.5, 8.5]);
        assert_eq!(x.ge(2).unwrap().to_vec::<bool>().unwrap(), [false, true, true]);
    });
}

/// One kernel must see every operand through its own strides.
#[test]
fn long_chains_on_views() {
    on_every_device(|d| {
        let (x, y, z) =
            (Host::random(&[6, 40], 1, -2., 2.), Host::random(&[40, 6], 2, -2., 2.), Host::random(&[6, 1], 3, -2., 2.));
        let got = x.on(d).mul(y.on(d).t().unwrap()).unwrap().add(z.on(d)).unwrap();
        let got = got.slice((1..5, 3..)).unwrap().flip(1).unwrap().mul(2.0).unwrap();
        let want = Host::build(&[4, 37], |i| {
            let (r, c) = (i[0] + 1, 39 - i[1]);
            2.0 * (x.at(&[r, c]) * y.at(&[c, r]) + z.at(&[r, 0]))
        });
        close(&format!("chain on {d}"), &got, &want, |_, _| 16.0 * f32::EPSILON as f64);
        let mut t = x.on(d);
        for _ in 0..200 {
            t = t.add(1.0).unwrap();
        }
        close(&format!("deep chain on {d}"), &t, &x.map(|x| x + 200.0), |_, _| 200.0 * 2e-5);
    });
}
