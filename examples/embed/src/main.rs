//! Sentence embeddings with all-MiniLM-L6-v2: on the device that is asked for, or on every one that is found, so that
//! their answers and times stand side by side. No line here names a chip.

use anychip::{Device, Result};
use anychip_embed::Model;
use clap::Parser;
use indicatif::ProgressBar;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Sentence embeddings with all-MiniLM-L6-v2.
#[derive(Parser)]
#[command(name = "embed", version)]
struct Args {
    /// A folder with model.safetensors, tokenizer.json and config.json
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// One device, such as cpu, opencl:0 or "opencl:0,cpu"; without it: every device found (with --json: the best)
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Print {"device":…,"embeddings":[[…],…],"ms":…} and nothing else; ms is the time for all texts, once warm
    #[arg(long)]
    json: bool,
    /// The texts; without them: a few examples
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
}

const EXAMPLES: [&str; 6] = [
    "The cat sits outside.",
    "A kitten is sitting in the garden.",
    "A man is playing the guitar.",
    "Somebody plays a musical instrument.",
    "The same program runs on every chip.",
    "你好，世界 — naïve café 🙂",
];

/// Texts of a similarity matrix that still fits on a screen.
const MATRIX: usize = 16;

/// What one device did.
struct Answer {
    device: String,
    name: String,
    embeddings: Vec<Vec<f32>>,
    /// Reading the weights.
    load: Duration,
    /// The first call: kernels are compiled, weights are brought to the device.
    first: Duration,
    /// A call once warm: the median of a few.
    warm: Duration,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("embed: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let texts: Vec<&str> = match args.texts.is_empty() {
        true => EXAMPLES.to_vec(),
        false => args.texts.iter().map(String::as_str).collect(),
    };
    let open = || args.device.as_deref().map_or_else(Device::best, Device::open);
    if args.json {
        let answer = answer(&open()?, args, &texts)?;
        let ms = answer.warm.as_secs_f64() * 1e3;
        let object = serde_json::json!({ "device": answer.device, "embeddings": answer.embeddings, "ms": ms });
        return print(&format!("{object}\n"));
    }
    let (mut answers, mut notes, mut failed) = (Vec::new(), String::new(), false);
    if args.device.is_some() {
        answers.push(answer(&open()?, args, &texts)?);
    } else {
        let listing = Device::list();
        for gone in &listing.unavailable {
            let _ = writeln!(notes, "{}: not here: {}", gone.backend, gone.why);
        }
        for info in &listing.devices {
            match Device::open(&info.id).and_then(|d| answer(&d, args, &texts)) {
                Ok(a) => answers.push(a),
                Err(e) => {
                    failed = true;
                    let _ = writeln!(notes, "{}: failed: {e}", info.id);
                }
            }
        }
    }
    let code = print(&report(&texts, &answers, &notes))?;
    Ok(if failed { ExitCode::FAILURE } else { code })
}

/// Loads the model on a device and times it.
fn answer(device: &Device, args: &Args, texts: &[&str]) -> Result<Answer> {
    // Drawn on a terminal only.
    let bar = ProgressBar::new_spinner().with_message(format!("{device}: loading the model"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let start = Instant::now();
    let model = Model::load(&args.model, device)?;
    let load = start.elapsed();
    bar.set_message(format!("{device}: {} texts", texts.len()));
    let start = Instant::now();
    let embeddings = model.embed(texts)?;
    let first = start.elapsed();
    // A long list of texts is not computed again and again only to be timed.
    let mut times = vec![];
    let begin = Instant::now();
    while times.len() < 9 && begin.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        model.embed(texts)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let warm = times.get(times.len() / 2).copied().unwrap_or(first);
    bar.finish_and_clear();
    let name = device.info().identity.name.clone();
    Ok(Answer { device: device.id().to_string(), name, embeddings, load, first, warm })
}

fn report(texts: &[&str], answers: &[Answer], notes: &str) -> String {
    let mut out = String::new();
    if let Some(a) = answers.first() {
        out.push_str("Similarity (cosine)\n");
        for (i, text) in texts.iter().take(MATRIX).enumerate() {
            let _ = write!(out, "{i:4} ");
            for j in 0..texts.len().min(MATRIX) {
                let _ = write!(out, "{:6.2}", dot(&a.embeddings[i], &a.embeddings[j]));
            }
            let _ = writeln!(out, "  {}", shortened(text));
        }
        if texts.len() > MATRIX {
            let _ = writeln!(out, "     … and {} more texts", texts.len() - MATRIX);
        }
        out.push('\n');
    }
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    for a in answers {
        let _ = writeln!(
            out,
            "{:<12} {:9.3} ms a sentence   (load {:.0} ms, first call {:.0} ms)   {}",
            a.device,
            ms(a.warm) / texts.len() as f64,
            ms(a.load),
            ms(a.first),
            a.name
        );
    }
    out.push_str(notes);
    for (i, a) in answers.iter().enumerate() {
        for b in &answers[i + 1..] {
            let _ = writeln!(out, "{} and {} differ by at most {:.1e}", a.device, b.device, difference(a, b));
        }
    }
    out
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The largest difference of a component; NaN counts as infinite.
fn difference(a: &Answer, b: &Answer) -> f32 {
    let pairs = a.embeddings.iter().flatten().zip(b.embeddings.iter().flatten());
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

/// A text on one line of at most 60 characters.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Writes to standard output; a reader that has gone away is no error of ours.
fn print(text: &str) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(anychip::Error::io("standard output", &e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
