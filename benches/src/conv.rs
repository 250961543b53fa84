//! Convolution beside PyTorch: rounds of one and the other in turn, each a few runs, of which the first is not counted. PyTorch runs
//! in `scripts/peer-conv.py`, which answers a number of runs with their times.

use anychip::{Conv2d, Device, Error, Program, Result};
use anychip_benches::tensor;
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// Runs of a round.
const RUNS: usize = 4;
/// Rounds of both.
const ROUNDS: usize = 25;
/// Between rounds: threads of the one that still wait for work in a loop would take time from the other.
const PAUSE: Duration = Duration::from_millis(60);

/// Batch, input channels, height and width, output channels, kernel, stride, padding, groups.
type Shape = [usize; 8];

const SHAPES: [(&str, Shape); 4] = [
    ("conv2d 8x64x56x56, 64 of 3x3", [8, 64, 56, 64, 3, 1, 1, 1]),
    ("conv2d 8x64x56x56, 128 of 3x3, stride 2", [8, 64, 56, 128, 3, 2, 1, 1]),
    ("conv2d 8x256x14x14, 256 of 3x3", [8, 256, 14, 256, 3, 1, 1, 1]),
    ("conv2d 8x128x56x56, depthwise 3x3", [8, 128, 56, 128, 3, 1, 1, 128]),
];

/// PyTorch in a process of its own.
struct Peer {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &str, shape: &Shape) -> Result<Peer> {
        let failed = |e: std::io::Error| Error::invalid(format!("{python} scripts/peer-conv.py: {e}"));
        let mut process = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/peer-conv.py"))
            .args(shape.map(|n| n.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (process.stdin.take(), process.stdout.take()) {
            (Some(to), Some(from)) => Ok(Peer { process, to, from: BufReader::new(from) }),
            _ => Err(Error::invalid("peer-conv.py: no pipes")),
        }
    }

    /// Milliseconds of each run.
    fn run(&mut self) -> Result<Vec<f64>> {
        let mut line = String::new();
        let answered = writeln!(self.to, "{RUNS}").and_then(|()| self.from.read_line(&mut line));
        let times: Vec<f64> = line.split_whitespace().filter_map(|t| t.parse().ok()).collect();
        match answered {
            Ok(_) if times.len() == RUNS => Ok(times),
            other => Err(Error::invalid(format!("peer-conv.py answered {line:?} ({other:?}); PyTorch must be there"))),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Median and smallest.
fn summary(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times.get(times.len() / 2).copied().unwrap_or(f64::NAN), times.first().copied().unwrap_or(f64::NAN))
}

/// Times every shape on a device, beside PyTorch in the Python that `PYTHON` names (`python3`).
pub fn beside(device: &Device) -> Result<()> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    for (name, shape) in SHAPES {
        let [n, c, size, out, k, stride, padding, groups] = shape;
        let inputs = [tensor(&[n, c, size, size], 1, device)?, tensor(&[out, c / groups, k, k], 2, device)?];
        let how = Conv2d::new().stride(stride).padding(padding).groups(groups);
        let program = Program::new(device, &inputs, |i| Ok(vec![i[0].conv2d(&i[1], None, how)?]))?;
        let mut peer = match Peer::start(&python, &shape) {
            Ok(peer) => Some(peer),
            Err(e) => {
                eprintln!("left out: {e}");
                None
            }
        };
        let (mut ours, mut theirs) = (vec![], vec![]);
        for round in 0..ROUNDS {
            let mut times = vec![];
            for _ in 0..RUNS {
                let start = Instant::now();
                let result = program.run(&inputs)?;
                device.synchronize()?;
                drop(result);
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            std::thread::sleep(PAUSE);
            let answer = peer.as_mut().map(Peer::run).transpose().unwrap_or_else(|e| {
                eprintln!("left out: {e}");
                peer = None;
                None
            });
            std::thread::sleep(PAUSE);
            if round > 0 {
                ours.extend(times.into_iter().skip(1));
                theirs.extend(answer.into_iter().flatten().skip(1));
            }
        }
        let flops = 2.0 * [n, out, size / stride, size / stride, c / groups, k, k].iter().product::<usize>() as f64;
        let ((ours, best), theirs) = (summary(ours), (!theirs.is_empty()).then(|| summary(theirs)));
        let (peer, peer_best) = (theirs.map(|t| t.0), theirs.map(|t| t.1));
        println!(
            "{}",
            json!({"op": name, "device": device.id(), "ms": ours, "min_ms": best, "gflops": flops / ours / 1e6,
                   "torch_ms": peer, "torch_min_ms": peer_best, "ratio": peer.map(|p| ours / p)})
        );
    }
    Ok(())
}
