//! What a device can do, and how much of it some operations reach. Shown, never judged.

use crate::Subject;
use anychip::{DType, Program, Resize, Result, Tensor, schedule::roofline::Roofline};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Runs of an operation at the most; the shortest counts, as for the peaks.
const RUNS: usize = 10;
/// Time for the runs of one operation.
const EACH: Duration = Duration::from_secs(2);
/// Operations begun after so long are left out.
const ALL: Duration = Duration::from_secs(60);

/// Peaks and operations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// f32 operations per second in registers.
    pub flops: f64,
    /// Bytes per second of large copies.
    pub bandwidth: f64,
    /// Seconds from one launch to the next.
    pub launch: f64,
    /// Operations.
    pub timed: Vec<Timed>,
}

/// Work and the time that it took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written at the least.
    pub bytes: f64,
    /// The device's time.
    pub nanoseconds: f64,
}

/// An operation that was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// With its extents.
    pub name: String,
    /// What it is and how long it took.
    pub work: Work,
    /// By the device's clock; else by the host's.
    pub clock: bool,
}

type Make = fn(&[Tensor]) -> Result<Tensor>;
/// A name, shapes of the inputs, floating-point operations and bytes, and what is done.
type Operation = (&'static str, Vec<Vec<usize>>, (f64, f64), Make);

/// One of every family. Work as by the formula, a function as one operation; traffic: what must be read and written once.
fn operations() -> Vec<Operation> {
    let (long, rows) = (vec![1 << 24], vec![2048, 1024]);
    let (n, r) = ((1 << 24) as f64, 2048.0 * 1024.0);
    let square = |m: usize| vec![vec![m, m]; 2];
    let product = |m: usize, size: f64| {
        let f = m as f64;
        (2.0 * f * f * f, 3.0 * size * f * f)
    };
    let image = vec![1, 64, 58, 58];
    let pixels = 64.0 * 58.0 * 58.0;
    let conv = (2.0 * 64.0 * 64.0 * 9.0 * 56.0 * 56.0, 4.0 * (2.0 * pixels + 64.0 * 64.0 * 9.0));
    let heads = vec![vec![1, 8, 512, 64]; 3];
    let h = 8.0 * 512.0 * 64.0;
    vec![
        ("add 16777216", vec![long.clone(); 2], (n, 12.0 * n), |x| x[0].add(&x[1])),
        ("exp 16777216", vec![long.clone()], (n, 8.0 * n), |x| x[0].exp()),
        ("gelu(a·b + c) 16777216", vec![long.clone(); 3], (7.0 * n, 16.0 * n), |x| {
            x[0].mul(&x[1])?.add(&x[2])?.gelu()
        }),
        ("to f16 16777216", vec![long.clone()], (n, 6.0 * n), |x| x[0].to_dtype(DType::F16)),
        ("where 16777216", vec![long.clone(); 2], (2.0 * n, 12.0 * n), |x| x[0].gt(0.5)?.where_cond(&x[0], &x[1])),
        ("transpose 2048×1024", vec![rows.clone()], (r, 8.0 * r), |x| x[0].t()?.neg()),
        ("sum 16777216", vec![long.clone()], (n, 4.0 * n), |x| x[0].sum_all()),
        ("sum over rows 2048×1024", vec![rows.clone()], (r, 4.0 * r), |x| x[0].sum(0)),
        ("argmax 2048×1024", vec![rows.clone()], (r, 4.0 * r), |x| x[0].argmax(-1)),
        ("softmax 2048×1024", vec![rows.clone()], (5.0 * r, 8.0 * r), |x| x[0].softmax(-1)),
        ("layer_norm 2048×1024", vec![rows.clone(), vec![1024], vec![1024]], (8.0 * r, 8.0 * r), |x| {
            x[0].layer_norm(&x[1], &x[2], 1e-5)
        }),
        ("rms_norm 2048×1024", vec![rows.clone(), vec![1024]], (4.0 * r, 8.0 * r), |x| x[0].rms_norm(&x[1], 1e-5)),
        ("cumsum 2048×1024", vec![rows.clone()], (r, 8.0 * r), |x| x[0].cumsum(-1)),
        ("sort 2048×1024", vec![rows.clone()], (10.0 * r, 8.0 * r), |x| Ok(x[0].sort(-1, false)?.0)),
        ("gather 2048×1024", vec![rows], (r, 12.0 * r), |x| {
            let ids = x[0].zeros_like()?.to_dtype(DType::U32)?;
            x[0].gather(1, &ids)
        }),
        ("matmul 256³", square(256), product(256, 4.0), |x| x[0].matmul(&x[1])),
        ("matmul 512³", square(512), product(512, 4.0), |x| x[0].matmul(&x[1])),
        ("matmul 1024³", square(1024), product(1024, 4.0), |x| x[0].matmul(&x[1])),
        ("matmul 1024³ in f16", square(1024), product(1024, 2.0), |x| {
            x[0].to_dtype(DType::F16)?.matmul(&x[1].to_dtype(DType::F16)?)
        }),
        ("conv 3×3 64→64 56×56", vec![image.clone(), vec![64, 64, 3, 3]], conv, |x| {
            x[0].conv2d(&x[1], None, anychip::Conv2d::default())
        }),
        ("max_pool 2×2 64×58×58", vec![image.clone()], (pixels, 5.0 * pixels), |x| x[0].max_pool2d(2)),
        ("resize ×2 64×58×58", vec![image], (8.0 * pixels, 20.0 * pixels), |x| {
            x[0].interpolate([116, 116], Resize::Nearest)
        }),
        ("attention 8×512×64", heads, (4.0 * h * 512.0, 16.0 * h), |x| {
            x[0].attention(&x[1], &x[2], None, None, false)
        }),
    ]
}

/// Measures on a subject without the watch.
pub fn measure(subject: &Subject) -> Result<Peaks> {
    let Roofline { flops, bandwidth, launch, .. } = anychip::tune::peak::measure(subject.chip())?;
    let begin = Instant::now();
    let mut timed = Vec::new();
    for (name, shapes, (flops, bytes), make) in operations() {
        if begin.elapsed() > ALL {
            break;
        }
        // A device that lacks one is measured by the others.
        if let Ok((time, clock)) = time(subject, &shapes, make) {
            let work = Work { flops, bytes, nanoseconds: time.as_nanos() as f64 };
            timed.push(Timed { name: name.into(), work, clock });
        }
    }
    Ok(Peaks { flops, bandwidth, launch, timed })
}

/// The shortest of some runs.
fn time(subject: &Subject, shapes: &[Vec<usize>], make: Make) -> Result<(Duration, bool)> {
    let ones = |shape: &Vec<usize>| Tensor::ones(&shape[..], DType::F32, &subject.device);
    let inputs = shapes.iter().map(ones).collect::<Result<Vec<_>>>()?;
    let program = Program::new(&subject.device, &inputs, |x| Ok(vec![make(x)?]))?;
    // The first run compiles.
    program.run_timed(&inputs)?;
    let (begin, mut best, mut clock) = (Instant::now(), Duration::MAX, false);
    for n in 0..RUNS {
        if n > 0 && begin.elapsed() > EACH {
            break;
        }
        let t = Instant::now();
        let (_, on_device) = program.run_timed(&inputs)?;
        subject.device.synchronize()?;
        clock = on_device.is_some_and(|d| !d.is_zero());
        best = best.min(on_device.filter(|_| clock).unwrap_or(t.elapsed()));
    }
    Ok((best.max(Duration::from_nanos(1)), clock))
}
