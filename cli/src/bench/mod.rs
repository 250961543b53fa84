//! `anychip bench`: one operation on one device, timed over inputs that change from run to run.

mod fma;
mod ops;
mod room;

use crate::Format;
use anychip::{DType, Device, Error, Result};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use ops::Case;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Inputs of the same shape and other values that runs go through in turn, so that no result can be remembered.
pub const SETS: usize = 4;

/// Runs that are not counted: kernels are compiled, memory is touched.
const WARM_UPS: usize = 3;

#[derive(clap::Args)]
#[command(
    after_help = "Shapes: matmul MxKxN; attention BATCHxHEADSxLENGTHxWIDTH; softmax and layer_norm ROWSxCOLUMNS; \
                        elementwise, sum and copy of any rank; fma LANES.\n\
                        Example: anychip bench matmul --device cpu --size 1024 --format json"
)]
pub struct Args {
    /// What to time
    #[arg(value_enum, value_name = "OP")]
    op: Name,
    /// The device, such as cpu or opencl:0
    #[arg(long, value_name = "D")]
    device: String,
    /// Element type, such as f32, f16, bf16, f64
    #[arg(long, value_name = "T", default_value = "f32", value_parser = dtype)]
    dtype: DType,
    /// One number for all extents: matmul N×N×N, softmax N×N, sum N, …
    #[arg(long, value_name = "N", conflicts_with = "shape")]
    size: Option<usize>,
    /// Extents, joined by x or commas: 64x1024x512
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    shape: Option<Shape>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Extents from the command line.
#[derive(Clone)]
pub struct Shape(Vec<usize>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Name {
    /// Matrix product
    Matmul,
    /// Softmax along the rows
    Softmax,
    /// Layer norm along the rows
    LayerNorm,
    /// gelu(x·y + z)
    Elementwise,
    /// Sum of all elements
    Sum,
    /// softmax(q·kᵀ/√d)·v
    Attention,
    /// Bytes from one buffer to another
    Copy,
    /// The device's own arithmetic peak: independent chains of a·b+c in registers
    Fma,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |v| v.get_name()))
    }
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    op: String,
    device: String,
    dtype: DType,
    shape: Vec<usize>,
    /// On the device's clock; null where it has none.
    device_ms: Option<f64>,
    /// From the call until the result is there.
    wall_ms: f64,
    /// By the device's time where known, else by the wall's.
    gflops: f64,
    gbps: f64,
    /// Energy of a run by the chip's own counter; null where it has none, or where all runs took less than it resolves.
    joules: Option<f64>,
    /// Sum over the results of all inputs.
    checksum: f64,
}

fn dtype(text: &str) -> std::result::Result<DType, String> {
    text.parse::<DType>().map_err(|e| e.to_string())
}

fn shape(text: &str) -> std::result::Result<Shape, String> {
    let parts = text.split(['x', 'X', '×', ',']).map(|n| n.trim().parse::<usize>().ok().filter(|&n| n > 0));
    parts.collect::<Option<Vec<_>>>().map(Shape).ok_or_else(|| {
        format!("{text:?} is no shape; accepted are numbers from 1 on, joined by x or commas, such as 64x1024x512")
    })
}

pub fn run(args: &Args) -> Result<String> {
    if args.size == Some(0) {
        return Err(Error::invalid("bench: --size 0: must be at least 1"));
    }
    let device = Device::open(&args.device)?;
    let name = args.op.to_string();
    let shape = extents(args, &name)?;
    let mut case = Case::new(args.op, &device, args.dtype, &shape)?;
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_message(format!("{name} on {device}"));
    let report = time(&mut case, &device, &bar).map(|t| Report {
        op: name,
        device: device.id().to_string(),
        dtype: args.dtype,
        shape,
        device_ms: t.device.map(ms),
        wall_ms: ms(t.wall),
        gflops: case.flops / t.device.unwrap_or(t.wall).as_secs_f64().max(1e-12) / 1e9,
        gbps: case.bytes / t.device.unwrap_or(t.wall).as_secs_f64().max(1e-12) / 1e9,
        joules: t.joules,
        checksum: t.checksum,
    });
    bar.finish_and_clear();
    print(&report?, args.format)
}

struct Times {
    device: Option<Duration>,
    wall: Duration,
    joules: Option<f64>,
    checksum: f64,
}

/// Medians: at least 5 runs, then as many as fit into a second, at most 101.
fn time(case: &mut Case, device: &Device, bar: &ProgressBar) -> Result<Times> {
    let mut checksum = 0.0;
    bar.set_length((SETS + WARM_UPS) as u64);
    for set in 0..SETS {
        checksum += case.checksum(set)?;
        bar.inc(1);
    }
    let mut once = Duration::ZERO;
    for n in 0..WARM_UPS {
        let start = Instant::now();
        case.run(n % SETS)?;
        once = start.elapsed();
        bar.inc(1);
    }
    let runs = (1.0 / once.as_secs_f64().max(1e-6)).clamp(5.0, 101.0) as usize;
    bar.inc_length(runs as u64);
    let before = energy(device);
    let (mut walls, mut spans) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for n in 0..runs {
        let start = Instant::now();
        let span = case.run(n % SETS)?;
        walls.push(start.elapsed());
        spans.extend(span);
        bar.inc(1);
    }
    let drawn = before.zip(energy(device)).map(|(before, after)| (after - before) / runs as f64);
    let device = (spans.len() == runs).then(|| median(spans));
    Ok(Times { device, wall: median(walls), joules: drawn.filter(|j| *j > 0.0), checksum })
}

/// Joules that the first chip has drawn since some moment.
fn energy(device: &Device) -> Option<f64> {
    Device::telemetry(&device.chain()[0].info().id).ok()?.energy_joules
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// The shape that was asked for, in the operation's own rank.
fn extents(args: &Args, name: &str) -> Result<Vec<usize>> {
    let n = args.size;
    let (default, rank): (Vec<usize>, Option<usize>) = match args.op {
        Name::Matmul => (vec![n.unwrap_or(1024); 3], Some(3)),
        Name::Softmax | Name::LayerNorm => (vec![n.unwrap_or(1024); 2], Some(2)),
        Name::Attention => (vec![1, 12, n.unwrap_or(256), 64], Some(4)),
        Name::Elementwise | Name::Sum | Name::Copy => (vec![n.unwrap_or(1 << 22)], None),
        Name::Fma => (vec![n.unwrap_or(1 << 16)], Some(1)),
    };
    let Some(Shape(given)) = &args.shape else { return Ok(default) };
    if rank.is_some_and(|r| r != given.len()) {
        return Err(Error::invalid(format!(
            "bench: {name} takes a shape of {} extents, such as {}; got {given:?}",
            default.len(),
            default.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
        )));
    }
    Ok(given.clone())
}

fn print(r: &Report, format: Format) -> Result<String> {
    if format == Format::Json {
        let text = serde_json::to_string(r).map_err(|e| Error::invalid(format!("bench: {e}")))?;
        return Ok(text + "\n");
    }
    let device = r.device_ms.map_or("no clock".to_string(), |t| format!("{t:.4} ms"));
    let mut t = comfy_table::Table::new();
    t.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    t.set_header(["op", "device", "dtype", "shape", "on the device", "wall", "GFLOP/s", "GB/s", "joules", "checksum"]);
    t.add_row([
        r.op.clone(),
        r.device.clone(),
        r.dtype.to_string(),
        format!("{:?}", r.shape),
        device,
        format!("{:.4} ms", r.wall_ms),
        format!("{:.2}", r.gflops),
        format!("{:.2}", r.gbps),
        r.joules.map_or("not told".into(), |j| format!("{j:.4}")),
        format!("{:.6e}", r.checksum),
    ]);
    Ok(format!("{t}\n"))
}
