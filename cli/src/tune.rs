//! `anychip tune`: measures the schedules of kernel families on a device and keeps the fastest that compute the same.

use crate::Format;
use anychip::{
    DType, Device, Error, Result,
    hal::op::ReduceOp,
    schedule::{Problem, map, matmul, reduce, roofline::Roofline, rows},
    tune::{self, Outcome},
};
use clap::ValueEnum;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
#[command(
    after_help = "Sizes: matmul MxNxK; softmax, layer_norm, rms_norm ROWSxCOLUMNS; sum RESULTSxELEMENTS; map ELEMENTS.\n\
                  A size stands for its class: extents are rounded up to powers of two.\n\
                  What is found lies in the cache folder (ANYCHIP_CACHE_DIR) and is planned with from then on.\n\
                  Example: anychip tune --device opencl:0 --family matmul --size 768x768x768 --budget 60"
)]
pub struct Args {
    /// The device, such as cpu or opencl:0; without it the best that is there
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// What to tune; without it everything, at usual sizes
    #[arg(long, value_enum, value_name = "FAMILY")]
    family: Option<Family>,
    /// Extents, joined by x or commas: 512x512x512
    #[arg(long, value_name = "MxNxK", value_parser = size, requires = "family")]
    size: Option<Size>,
    /// Element type, such as f32, f16, bf16, f64
    #[arg(long, value_name = "T", default_value = "f32")]
    dtype: DType,
    /// Seconds for all of it; a candidate that has begun is finished
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    budget: f64,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Extents from the command line.
#[derive(Clone)]
struct Size(Vec<usize>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Family {
    /// Matrix products
    Matmul,
    /// Softmax along rows
    Softmax,
    /// Layer norm along rows
    LayerNorm,
    /// RMS norm along rows
    RmsNorm,
    /// Sums
    Sum,
    /// Elementwise work
    Map,
}

fn size(text: &str) -> std::result::Result<Size, String> {
    let parts = text.split(['x', 'X', '×', ',']).map(|n| n.trim().parse::<usize>().ok().filter(|&n| n > 0));
    parts.collect::<Option<Vec<_>>>().map(Size).ok_or_else(|| {
        format!("{text:?} is no size; accepted are numbers from 1 on, joined by x or commas, such as 512x512x512")
    })
}

/// What is printed of a problem.
#[derive(Serialize)]
struct Line {
    problem: String,
    model: String,
    model_us: f64,
    winner: String,
    winner_us: f64,
    tried: usize,
    left: usize,
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Refused {
    candidate: String,
    why: String,
}

impl Line {
    fn of(o: &Outcome) -> Line {
        let refused = o.refused().filter_map(|v| Some((v, v.result.as_ref().err()?)));
        Line {
            problem: format!("{} {}", o.winner.class.family(), o.winner.class),
            model: o.model.to_string(),
            model_us: o.winner.model_us,
            winner: o.winner.schedule.to_string(),
            winner_us: o.winner.us,
            tried: o.verdicts.len(),
            left: o.left,
            refused: refused.map(|(v, why)| Refused { candidate: v.name.clone(), why: why.clone() }).collect(),
        }
    }
}

/// Everything that a run says.
#[derive(Serialize)]
struct Report {
    device: String,
    roofline: Roofline,
    problems: Vec<Line>,
    /// Problems that could not be tuned, and why.
    failed: Vec<String>,
}

pub fn run(args: &Args) -> Result<String> {
    if !(args.budget.is_finite() && args.budget >= 0.0 && args.budget <= 86_400.0) {
        return Err(Error::invalid(format!("tune: --budget {}: 0 to 86400 seconds are accepted", args.budget)));
    }
    let device = match &args.device {
        Some(id) => Device::open(id)?,
        None => Device::best()?,
    };
    let problems = problems(args)?;
    let chip = &device.chain()[0];
    let style = "{msg} {wide_bar} {elapsed} of {len} s, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(args.budget.ceil() as u64).with_style(style);
    bar.set_message(format!("peaks of {}", device.id()));
    let mut failed = vec![];
    let roofline = tune::peak::measure(chip)?;
    if let Err(e) = tune::keep_roofline(chip.info(), roofline) {
        failed.push(format!("the peaks are not kept: {e}"));
    }
    let (begin, all) = (Instant::now(), Duration::from_secs_f64(args.budget));
    let mut lines = vec![];
    for (n, p) in problems.iter().enumerate() {
        // What earlier problems left over goes to the later ones.
        let budget = all.saturating_sub(begin.elapsed()) / (problems.len() - n) as u32;
        bar.set_message(format!("{} {p}", p.family()));
        let outcome = tune::tune(chip, p, budget, &mut |done, of, v| {
            let end = if v.result.is_ok() { "" } else { ", refused" };
            bar.set_message(format!("{} {p}: {done}/{of}{end}", p.family()));
            bar.set_position(begin.elapsed().as_secs().min(all.as_secs()));
        });
        match outcome {
            Ok(o) => {
                failed.extend(o.unkept.iter().map(|why| format!("{} {p} is not kept: {why}", p.family())));
                lines.push(Line::of(&o));
            }
            Err(e) if e.is_lost() => return Err(e),
            Err(e) => failed.push(e.to_string()),
        }
    }
    bar.finish_and_clear();
    print(&Report { device: device.id().to_string(), roofline, problems: lines, failed }, args.format)
}

/// What is tuned: what was asked for, or usual sizes.
fn problems(args: &Args) -> Result<Vec<Problem>> {
    let dtype = args.dtype;
    if let (Some(family), Some(Size(size))) = (args.family, &args.size) {
        return Ok(vec![problem(family, size, dtype)?]);
    }
    let usual: [(Family, &[usize]); 12] = [
        (Family::Matmul, &[512, 512, 512]),
        (Family::Matmul, &[1024, 1024, 1024]),
        (Family::Matmul, &[128, 512, 512]),
        (Family::Matmul, &[1, 1024, 1024]),
        (Family::Softmax, &[4096, 1024]),
        (Family::Softmax, &[4096, 128]),
        (Family::LayerNorm, &[4096, 1024]),
        (Family::LayerNorm, &[4096, 512]),
        (Family::RmsNorm, &[4096, 1024]),
        (Family::Sum, &[1, 1 << 24]),
        (Family::Sum, &[4096, 1024]),
        (Family::Map, &[1 << 22]),
    ];
    let chosen = usual.into_iter().filter(|(f, _)| args.family.is_none_or(|asked| asked == *f));
    chosen.map(|(family, size)| problem(family, size, dtype)).collect()
}

fn problem(family: Family, size: &[usize], dtype: DType) -> Result<Problem> {
    let wrong = |like: &str| Err(Error::invalid(format!("tune: --size {size:?}: {family:?} takes {like}")));
    let rows = |row: rows::Kind| match *size {
        [rows, cols] => Ok(Problem::Rows(rows::Problem { row, dtype, rows, cols })),
        _ => wrong("rows and columns, such as 4096x1024"),
    };
    match family {
        Family::Matmul => match *size {
            [m, n, k] => {
                Ok(Problem::Matmul(matmul::Problem { dtype, batch: 1, rows: m, cols: n, inner: k, col_stride: 1 }))
            }
            _ => wrong("M, N and K, such as 512x512x512"),
        },
        Family::Softmax => rows(rows::Kind::Softmax),
        Family::LayerNorm => rows(rows::Kind::LayerNorm),
        Family::RmsNorm => rows(rows::Kind::RmsNorm),
        Family::Sum => match *size {
            [results, reduced] => {
                let op = ReduceOp::Sum;
                Ok(Problem::Reduce(reduce::Problem { op, dtype, results, reduced, across: true, along: false }))
            }
            _ => wrong("results and elements of each, such as 1x16777216"),
        },
        Family::Map => match *size {
            [n] => Ok(Problem::Map(map::Problem { dtype, elements: n, cols: n, reads: 3 })),
            _ => wrong("a number of elements, such as 4194304"),
        },
    }
}

fn print(r: &Report, format: Format) -> Result<String> {
    if format == Format::Json {
        let text = serde_json::to_string(r).map_err(|e| Error::invalid(format!("tune: {e}")))?;
        return Ok(text + "\n");
    }
    let mut text = format!(
        "{}: {:.0} GFLOP/s in f32, {:.1} GB/s, {:.1} µs a launch\n",
        r.device,
        r.roofline.flops / 1e9,
        r.roofline.bandwidth / 1e9,
        r.roofline.launch * 1e6
    );
    let mut t = Table::new();
    t.load_style(UTF8_FULL_CONDENSED);
    t.set_header([
        "problem",
        "before: the cost model's",
        "µs",
        "after: the winner",
        "µs",
        "times",
        "tried",
        "refused",
        "left",
    ]);
    for l in &r.problems {
        t.add_row([
            l.problem.clone(),
            l.model.clone(),
            format!("{:.1}", l.model_us),
            if l.winner == l.model { "the same".into() } else { l.winner.clone() },
            format!("{:.1}", l.winner_us),
            format!("{:.2}", l.model_us / l.winner_us.max(1e-9)),
            l.tried.to_string(),
            l.refused.len().to_string(),
            l.left.to_string(),
        ]);
    }
    text += &format!("{t}\n");
    if r.problems.iter().any(|l| !l.refused.is_empty()) {
        let mut t = Table::new();
        t.load_style(UTF8_FULL_CONDENSED);
        t.set_header(["problem", "refused", "why"]);
        for l in &r.problems {
            for refused in &l.refused {
                t.add_row([&l.problem, &refused.candidate, &refused.why]);
            }
        }
        text += &format!("{t}\n");
    }
    for f in &r.failed {
        text += &format!("{f}\n");
    }
    Ok(text)
}
