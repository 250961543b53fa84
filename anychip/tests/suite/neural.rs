//! Matrix products, softmax, norms, embedding. Bounds follow from the operations' error analysis, u = 2⁻²⁴.

use crate::common::{Host, close, on_every_device, same, softmax};
use anychip::{
    DType, Device, Program, Tensor, f16,
    hal::{
        self, Driver,
        device::Layers,
        layer::{Call, Fault, Planned},
    },
};
use std::sync::Arc;

const U: f64 = f32::EPSILON as f64 / 2.0;

/// [.., m, k] × [.., k, n] and the sum of |a·b|, batch by broadcasting.
fn product(a: &Host, b: &Host) -> (Host, Host) {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let (m, k, n) = (a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]);
    let batch = Host::new(&a.shape[..ra - 2], vec![0.0; a.shape[..ra - 2].iter().product()])
        .zip(&Host::new(&b.shape[..rb - 2], vec![0.0; b.shape[..rb - 2].iter().product()]), |_, _| 0.0);
    let shape: Vec<usize> = batch.shape.iter().copied().chain([m, n]).collect();
    let entry = |i: &[usize], f: &dyn Fn(f64) -> f64| {
        let (lead, last) = i.split_at(i.len() - 2);
        let at = |r: usize, c: usize| lead.iter().copied().chain([r, c]).collect::<Vec<_>>();
        (0..k).map(|j| f(a.at(&at(last[0], j)) * b.at(&at(j, last[1])))).sum::<f64>()
    };
    (Host::build(&shape, |i| entry(i, &|x| x)), Host::build(&shape, |i| entry(i, &f64::abs)))
}

const PRODUCTS: [(&[usize], &[usize]); 14] = [
    (&[1, 1], &[1, 1]),
    (&[2, 3], &[3, 4]),
    (&[17, 33], &[33, 9]),
    (&[64, 64], &[64, 64]),
    (&[130, 70], &[70, 190]),
    (&[1, 384], &[384, 384]),
    (&[384, 1], &[1, 384]),
    (&[5, 0], &[0, 4]),
    (&[0, 5], &[5, 4]),
    (&[3, 4, 5], &[5, 6]),
    (&[3, 4, 5], &[3, 5, 6]),
    (&[2, 1, 4, 5], &[3, 5, 6]),
    (&[4, 5], &[2, 3, 5, 6]),
    (&[2, 12, 40, 32], &[2, 12, 32, 40]),
];

#[test]
fn products() {
    on_every_device(|d| {
        for (n, (sa, sb)) in PRODUCTS.into_iter().enumerate() {
            let what = format!("matmul {sa:?} × {sb:?} on {d}");
            let k = *sa.last().unwrap() as f64;
            let (a, b) = (Host::random(sa, n as u64 + 1, -1., 1.), Host::random(sb, n as u64 + 90, -1., 1.));
            let (want, magnitude) = product(&a, &b);
            let bound = |i: usize, _: f64| 1.01 * k * U * magnitude.data[i] + 1e-40;
            close(&what, &a.on(d).matmul(&b.on(d)).unwrap(), &want, bound);
            let bt = Host::build(&[&sb[..sb.len() - 2], &[sb[sb.len() - 1], sb[sb.len() - 2]]].concat(), |i| {
                let mut i = i.to_vec();
                let r = i.len();
                i.swap(r - 1, r - 2);
                b.at(&i)
            });
            close(&format!("{what}, transposed"), &a.on(d).matmul(&bt.on(d).t().unwrap()).unwrap(), &want, bound);
            let (a, b) = (a.map(|x| (x * 8.0).round()), b.map(|x| (x * 8.0).round()));
            same(&format!("{what}, exact"), &a.on(d).matmul(&b.on(d)).unwrap(), &product(&a, &b).0);
        }
    });
}

#[test]
fn products_of_vectors() {
    on_every_device(|d| {
        let (v, m) = (Host::build(&[3], |i| i[0] as f64 + 1.0), Host::build(&[3, 2], |i| (i[0] * 2 + i[1]) as f64));
        let (tv, tm) = (v.on(d), m.on(d));
        assert_eq!(tv.matmul(&tv).unwrap().to_vec0::<f32>().unwrap(), 14.0, "{d}");
        assert_eq!(tv.matmul(&tm).unwrap().to_vec1::<f32>().unwrap(), [16.0, 22.0], "{d}");
        assert_eq!(tm.t().unwrap().matmul(&tv).unwrap().to_vec1::<f32>().unwrap(), [16.0, 22.0], "{d}");
        let batch = tm.broadcast_as((5, 3, 2)).unwrap();
        assert_eq!(tv.matmul(&batch).unwrap().dims(), [5, 2]);
        assert_eq!(batch.t().unwrap().matmul(&tv).unwrap().to_vec2::<f32>().unwrap()[4], [16.0, 22.0], "{d}");
        let i = Tensor::from_vec(vec![1i32, 2, 3, 4], (2, 2), d).unwrap();
        assert_eq!(i.matmul(&i).unwrap().to_vec2::<i32>().unwrap(), [[7, 10], [15, 22]], "{d}");
    });
}

/// Weights are prepacked, bias and activation fused, operands are views: the answer stays.
#[test]
fn products_as_models_write_them() {
    on_every_device(|d| {
        let (x, w) = (Host::random(&[2, 9, 24], 1, -1., 1.), Host::random(&[40, 24], 2, -1., 1.));
        let (bias, rest) = (Host::random(&[40], 3, -1., 1.), Host::random(&[2, 9, 40], 4, -1., 1.));
        let weight = w.on(d).constant().unwrap();
        let wt = Host::build(&[24, 40], |i| w.at(&[i[1], i[0]]));
        let want = product(&x, &wt).0.zip(&bias, |a, b| a + b);
        let linear = |x: &Tensor| x.matmul(&weight.t()?)?.add(bias.on(d));
        let what = |s: &str| format!("{s} on {d}");
        close(&what("linear"), &linear(&x.on(d)).unwrap(), &want, |_, _| 30.0 * U * 13.0);
        let relu = linear(&x.on(d)).unwrap().relu().unwrap();
        close(&what("linear, relu"), &relu, &want.map(|x| x.max(0.0)), |_, _| 30.0 * U * 13.0);
        let residual = linear(&x.on(d)).unwrap().add(rest.on(d)).unwrap();
        close(&what("linear, residual"), &residual, &want.zip(&rest, |a, b| a + b), |_, _| 30.0 * U * 14.0);
        let turned = x.on(d).transpose(0, 1).unwrap().transpose(0, 1).unwrap();
        close(&what("linear of a view"), &linear(&turned).unwrap(), &want, |_, _| 30.0 * U * 13.0);
        let first = x.on(d).slice((.., ..4)).unwrap();
        let part = Host::build(&[2, 4, 40], |i| want.at(i));
        close(&what("linear of a slice"), &linear(&first).unwrap(), &part, |_, _| 30.0 * U * 13.0);
    });
}

#[test]
fn softmax_along_every_axis() {
    on_every_device(|d| {
        for (n, shape) in [&[5][..], &[3, 1], &[4, 33], &[2, 3, 257], &[70, 1000], &[0, 4]].into_iter().enumerate() {
            let x = Host::random(shape, n as u64 + 1, -20., 20.);
            let row = *shape.last().unwrap();
            let want = Host::new(shape, x.data.chunks(row).flat_map(softmax).collect());
            let bound = |_: usize, w: f64| (row as f64 + 60.0) * U * w + 1e-38;
            close(&format!("softmax {shape:?} on {d}"), &x.on(d).softmax(-1).unwrap(), &want, bound);
        }
        let x = Host::random(&[4, 5, 3], 9, -3., 3.);
        let got = x.on(d).softmax(1).unwrap();
        let want =
            Host::build(&[4, 5, 3], |i| softmax(&(0..5).map(|j| x.at(&[i[0], j, i[2]])).collect::<Vec<_>>())[i[1]]);
        close(&format!("softmax along the middle on {d}"), &got, &want, |_, w| 70.0 * U * w);
        let large = Tensor::from_vec(vec![1e30f32, 1e30, -1e30, f32::NEG_INFINITY], 4, d).unwrap();
        assert_eq!(large.softmax(0).unwrap().to_vec1::<f32>().unwrap(), [0.5, 0.5, 0.0, 0.0], "{d}");
        let none = Tensor::full(f32::NEG_INFINITY, 3, d).unwrap().softmax(0).unwrap().to_vec1::<f32>().unwrap();
        assert!(none.iter().all(|x| x.is_nan()), "{d}: {none:?}");
    });
}

#[test]
fn norms() {
    on_every_device(|d| {
        for (n, shape) in [&[1, 1][..], &[3, 7], &[2, 5, 384], &[200, 65], &[6, 2000], &[0, 8]].into_iter().enumerate()
        {
            let cols = *shape.last().unwrap();
            let x = Host::random(shape, n as u64 + 1, -2., 3.);
            let (w, b) = (Host::random(&[cols], 50, 0.5, 2.), Host::random(&[cols], 51, -1., 1.));
            let eps = 1e-5f32;
            let per_row =
                |f: &dyn Fn(&[f64]) -> Vec<f64>| Host::new(shape, x.data.chunks(cols).flat_map(f).collect::<Vec<_>>());
            let plain = per_row(&|r| {
                let mean = r.iter().sum::<f64>() / cols as f64;
                let var = r.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / cols as f64;
                r.iter().map(|v| (v - mean) / (var + eps as f64).sqrt()).collect()
            });
            let want = plain.zip(&w, |a, b| a * b).zip(&b, |a, b| a + b);
            // Mean and variance carry cols·u each, relative to numbers of at most 3; one row of one element is all eps.
            let amplify = if cols == 1 { 1.0 / (eps as f64).sqrt() } else { 8.0 };
            let bound = |_: usize, w: f64| (cols as f64 + 40.0) * U * amplify * (1.0 + w.abs());
            let got = x.on(d).layer_norm(&w.on(d), &b.on(d), eps).unwrap();
            close(&format!("layer_norm {shape:?} on {d}"), &got, &want, bound);
            let rms = per_row(&|r| {
                let square = r.iter().map(|v| v * v).sum::<f64>() / cols as f64;
                r.iter().map(|v| v / (square + eps as f64).sqrt()).collect()
            });
            let got = x.on(d).rms_norm(&w.on(d), eps).unwrap();
            let bound = |_: usize, w: f64| (cols as f64 + 20.0) * U * w.abs() + 1e-38;
            close(&format!("rms_norm {shape:?} on {d}"), &got, &rms.zip(&w, |a, b| a * b), bound);
        }
    });
}

#[test]
fn embedding_of_every_id_type() {
    on_every_device(|d| {
        let table = Host::random(&[10, 6], 1, -1., 1.);
        let want = Host::build(&[2, 2, 6], |i| table.at(&[[9, 0, 3, 3][i[0] * 2 + i[1]], i[2]]));
        let ids = Tensor::from_vec(vec![9u32, 0, 3, 3], (2, 2), d).unwrap();
        for dtype in [DType::U32, DType::I32, DType::I64, DType::U8] {
            let got = table.on(d).embedding(&ids.to_dtype(dtype).unwrap()).unwrap();
            same(&format!("embedding by {dtype} on {d}"), &got, &want);
        }
        // Computed ids are not known when the call is made: outside the table is NaN, and nothing else is touched.
        let ids = ids.to_dtype(DType::I32).unwrap().mul(2).unwrap();
        let got = table.on(d).embedding(&ids).unwrap().to_vec::<f32>().unwrap();
        assert!(got[..6].iter().all(|x| x.is_nan()), "{d}: {got:?}");
        assert_eq!(got[6..12].iter().map(|&x| x as f64).collect::<Vec<_>>(), table.data[..6], "{d}");
        let none = Tensor::zeros((0, 3), DType::U32, d).unwrap();
        assert_eq!(table.on(d).embedding(&none).unwrap().dims(), [0, 3, 6]);
    });
}

#[test]
fn sixteen_bit_networks() {
    on_every_device(|d| {
        let (x, w) = (Host::random(&[5, 64], 1, -1., 1.), Host::random(&[64, 8], 2, -1., 1.));
        let half = |x: &Host| x.map(|v| f16::from_f64(v).to_f64());
        let (want, magnitude) = product(&half(&x), &half(&w));
        let h = |x: &Host| x.on(d).to_dtype(DType::F16).unwrap();
        let got = h(&x).matmul(&h(&w)).unwrap();
        assert_eq!(got.dtype(), DType::F16);
        // Accumulated in f32, rounded once to f16.
        let bound = |i: usize, w: f64| 65.0 * U * magnitude.data[i] + w.abs() * 2f64.powi(-11) + 1e-7;
        close(&format!("f16 matmul on {d}"), &got.to_dtype(DType::F32).unwrap(), &want, bound);
        let soft = h(&x).softmax(-1).unwrap().to_dtype(DType::F32).unwrap();
        let want = Host::new(&[5, 64], half(&x).data.chunks(64).flat_map(softmax).collect());
        close(&format!("f16 softmax on {d}"), &soft, &want, |_, w| w * 2f64.powi(-11) * 1.01 + 1e-7);
    });
}

#[test]
fn programs_replay() {
    on_every_device(|d| {
        let w = Host::random(&[8, 8], 1, -1., 1.);
        let weight = w.on(d).constant().unwrap();
        let example = Tensor::zeros((3, 8), DType::F32, d).unwrap();
        let program = Program::new(d, &[example.clone(), example.clone()], |x| {
            let y = x[0].matmul(&weight)?.add(&x[1])?;
            Ok(vec![y.relu()?, y.sum(-1)?])
        })
        .unwrap();
        for seed in 0..5 {
            let (a, b) = (Host::random(&[3, 8], 10 + seed, -1., 1.), Host::random(&[3, 8], 20 + seed, -1., 1.));
            let out = program.run(&[a.on(d), b.on(d)]).unwrap();
            let y = product(&a, &w).0.zip(&b, |p, q| p + q);
            close(&format!("program on {d}"), &out[0], &y.map(|v| v.max(0.0)), |_, _| 20.0 * U * 8.0);
            let sums = Host::new(&[3], y.data.chunks(8).map(|r| r.iter().sum()).collect());
            close(&format!("program on {d}"), &out[1], &sums, |_, _| 200.0 * U * 8.0);
            // Results of one run stay when the next has begun.
            let again = program.run(&[b.on(d), a.on(d)]).unwrap();
            close(&format!("first result on {d}"), &out[0], &y.map(|v| v.max(0.0)), |_, _| 20.0 * U * 8.0);
            assert_eq!(again[1].dims(), [3]);
        }
        let (_, time) = program.run_timed(&[example.clone(), example]).unwrap();
        assert_eq!(time.is_some(), d.info().clock.is_some(), "{d}");
    });
}

/// The results of a run wait for all that it waited for; as the next run's inputs they name each piece of work once.
#[test]
fn states_are_fed_back_without_waiting() {
    on_every_device(|d| {
        let big = Host::random(&[512, 512], 1, -1., 1.).on(d);
        let scale = big.matmul(&big).unwrap().max_all().unwrap().mul(0.0).unwrap();
        let start = Tensor::from_slice(&[1f32, 2., 3.], 3, d).unwrap();
        let program = Program::new(d, &[start.clone(), start.clone().add(1.0).unwrap()], |x| {
            Ok(vec![x[0].add(&x[1])?.mul(0.5)?, x[0].sub(&x[1])?.mul(0.5)?])
        })
        .unwrap();
        let mut state = vec![start.add(&scale).unwrap(), start.clone()];
        for _ in 0..64 {
            state = program.run(&state).unwrap();
        }
        // Each pair of runs halves both.
        let want = [1f32, 2., 3.].map(|x| x / 2f32.powi(32));
        assert_eq!(state[0].to_vec::<f32>().unwrap(), want, "{d}");
        assert_eq!(state[1].to_vec::<f32>().unwrap(), want, "{d}");
    });
}

/// What follows from the weights alone is computed once; where that failed, the next run computes it again.
#[test]
fn a_program_outlives_a_failure_of_what_it_computes_once() {
    let raw = anychip_cpu::CpuDriver::new().open(0).unwrap();
    let fault = Arc::new(Fault::new(raw));
    let chip = hal::Device::with_layers(fault.clone(), &Layers::default());
    let d = Device::from_chain(vec![chip]).unwrap();
    let w = Host::random(&[8, 8], 1, -1., 1.);
    let weight = w.on(&d).constant().unwrap();
    let x = Host::random(&[3, 8], 2, -1., 1.);
    let input = x.on(&d);
    input.realize().unwrap();
    let program = Program::new(&d, std::slice::from_ref(&input), |x| Ok(vec![x[0].matmul(&weight.exp()?)?])).unwrap();
    let error = hal::Error::Backend { backend: "cpu".into(), code: 7, message: "planned".into() };
    fault.plan(Planned { call: Call::Wait, after: 0, times: 2, error });
    let failed =
        (0..4).find_map(|_| program.run(std::slice::from_ref(&input)).and_then(|y| y[0].to_vec::<f32>()).err());
    assert!(failed.is_some_and(|e| e.to_string().contains("planned")));
    let want = product(&x, &w.map(f64::exp)).0;
    let y = (0..4).find_map(|_| program.run(std::slice::from_ref(&input)).and_then(|y| y[0].to_vec::<f32>()).ok());
    let y = y.expect("the failure has passed");
    assert!(
        y.iter().zip(&want.data).all(|(y, want)| (f64::from(*y) - want).abs() < 1e-4),
        "{y:?}, must be {:?}",
        want.data
    );
}

/// Where devices keep lists, the third run records what lies between inputs and results; one result here comes from the middle.
#[test]
fn long_programs_replay_from_several_threads() {
    on_every_device(|d| {
        let weight = Host::random(&[8, 8], 3, -0.6, 0.6).on(d).constant().unwrap();
        let layers = |x: &Tensor| {
            let mut y = x.clone();
            let mut seen = vec![];
            for n in 0..40 {
                y = y.matmul(&weight)?.tanh()?;
                if n == 19 {
                    seen.push(y.clone());
                }
            }
            seen.push(y);
            anychip::Result::Ok(seen)
        };
        let program = Program::new(d, &[Tensor::zeros((3, 8), DType::F32, d).unwrap()], |x| layers(&x[0])).unwrap();
        let run = |seed: u64| {
            for n in 0..4 {
                let x = Host::random(&[3, 8], 100 * seed + n, -2., 2.);
                let got = program.run(&[x.on(d)]).unwrap();
                let other = program.run(&[Host::random(&[3, 8], 7, -1., 1.).on(d)]).unwrap();
                for (part, (got, want)) in got.iter().zip(layers(&x.on(d)).unwrap()).enumerate() {
                    let (got, want) = (got.to_vec::<f32>().unwrap(), want.to_vec::<f32>().unwrap());
                    let near = got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5);
                    assert!(near, "{d}: run {n}, result {part}: {got:?}, must be {want:?}");
                }
                drop(other);
            }
        };
        std::thread::scope(|s| {
            s.spawn(|| run(1));
            s.spawn(|| run(2));
        });
    });
}
