//! What a device can do, and how much of it some operations reach. Shown, never judged.

use crate::{Subject, case::Work};
use anychip::{DType, Program, Result, Tensor, schedule::roofline::Roofline};
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
type Operation<'a> = (&'a str, &'a [&'a [usize]], (f64, f64), Make);

/// Measures on a subject without the watch.
pub fn measure(subject: &Subject) -> Result<Peaks> {
    let Roofline { flops, bandwidth, launch, .. } = anychip::tune::peak::measure(subject.chip())?;
    let begin = Instant::now();
    let mut timed = Vec::new();
    let large: &[usize] = &[1 << 24];
    let rows: &[usize] = &[2048, 1024];
    let n = (1 << 24) as f64;
    let r = 2048.0 * 1024.0;
    let square = |m: usize| {
        let f = m as f64;
        (2.0 * f * f * f, 12.0 * f * f)
    };
    let (s, m, l) = (square(256), square(512), square(1024));
    let conv = (2.0 * 64.0 * 64.0 * 9.0 * 56.0 * 56.0, 4.0 * (2.0 * 64.0 * 58.0 * 58.0 + 64.0 * 64.0 * 9.0));
    let heads: &[usize] = &[1, 8, 512, 64];
    let h = 8.0 * 512.0 * 64.0;
    // Work as by the formula, a function as one operation; traffic: what must be read and written once.
    let all: [Operation<'_>; 10] = [
        ("add 16777216", &[large, large], (n, 12.0 * n), |x| x[0].add(&x[1])),
        ("gelu(a·b + c) 16777216", &[large, large, large], (7.0 * n, 16.0 * n), |x| {
            x[0].mul(&x[1])?.add(&x[2])?.gelu()
        }),
        ("sum 16777216", &[large], (n, 4.0 * n), |x| x[0].sum_all()),
        ("softmax 2048×1024", &[rows], (5.0 * r, 8.0 * r), |x| x[0].softmax(-1)),
        ("layer_norm 2048×1024", &[rows, &[1024], &[1024]], (8.0 * r, 8.0 * r), |x| {
            x[0].layer_norm(&x[1], &x[2], 1e-5)
        }),
        ("matmul 256³", &[&[256, 256], &[256, 256]], s, |x| x[0].matmul(&x[1])),
        ("matmul 512³", &[&[512, 512], &[512, 512]], m, |x| x[0].matmul(&x[1])),
        ("matmul 1024³", &[&[1024, 1024], &[1024, 1024]], l, |x| x[0].matmul(&x[1])),
        ("conv 3×3 64→64 56×56", &[&[1, 64, 58, 58], &[64, 64, 3, 3]], conv, |x| {
            x[0].conv2d(&x[1], None, anychip::Conv2d::default())
        }),
        ("attention 8×512×64", &[heads, heads, heads], (4.0 * h * 512.0, 16.0 * h), |x| {
            x[0].attention(&x[1], &x[2], None, None, false)
        }),
    ];
    for (name, shapes, (flops, bytes), make) in all {
        if begin.elapsed() > ALL {
            break;
        }
        // A device that lacks one is measured by the others.
        if let Ok((time, clock)) = time(subject, shapes, make) {
            let work = Work { flops, bytes, nanoseconds: time.as_nanos() as f64 };
            timed.push(Timed { name: name.into(), work, clock });
        }
    }
    Ok(Peaks { flops, bandwidth, launch, timed })
}

/// The shortest of some runs.
fn time(subject: &Subject, shapes: &[&[usize]], make: Make) -> Result<(Duration, bool)> {
    let ones = |shape: &&[usize]| Tensor::ones(*shape, DType::F32, &subject.device);
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
