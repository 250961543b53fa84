//! What is measured on NVIDIA's chips: memory-bound work beside the chip's own copy, products beside cuBLASLt called directly, attention,
//! and recorded launches beside a CUDA graph written by hand. Times are the device's own, medians, in turn with the peer. `SMALL=1`
//! takes sizes that an emulated chip gets through.

pub mod blas;
pub mod graph;

use crate::median;
use anychip::{DType, Device, Error, Program, Result, Tensor, hal::device::Step};
use anychip_benches::tensor;
use serde_json::json;
use std::time::Duration;

/// Rounds of each.
const ROUNDS: usize = 21;

/// Sizes for an emulated chip.
pub fn small() -> bool {
    std::env::var_os("SMALL").is_some_and(|v| v != "0")
}

/// A thing that is timed by the device, where it has a clock.
type Timed<'a> = &'a mut dyn FnMut() -> Result<Option<Duration>>;

/// Medians in milliseconds of rounds of one of each, after three that do not count: by the device's clock, or by the wall's where one of
/// them has no other.
pub fn rounds(works: &mut [Timed<'_>]) -> Result<Vec<f64>> {
    let n = if small() { 3 } else { ROUNDS };
    let mut times = vec![vec![]; works.len()];
    for round in 0..n + 3 {
        for (w, t) in works.iter_mut().zip(&mut times) {
            let begin = std::time::Instant::now();
            let took = w()?;
            if round >= 3 {
                t.push(took.unwrap_or_else(|| begin.elapsed()));
            }
        }
    }
    Ok(times.into_iter().map(median).collect())
}

/// One of the tensor operations, captured.
struct Case {
    name: String,
    program: Program,
    inputs: Vec<Tensor>,
}

impl Case {
    fn new(
        name: impl Into<String>,
        device: &Device,
        inputs: Vec<Tensor>,
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<Case> {
        let program = Program::new(device, &inputs, |i| Ok(vec![f(i)?]))?;
        Ok(Case { name: name.into(), program, inputs })
    }

    fn run(&self) -> Result<Option<Duration>> {
        Ok(self.program.run_timed(&self.inputs)?.1)
    }
}

/// A tensor of a type other than f32, made on the device.
fn typed(shape: &[usize], seed: u64, dtype: DType, device: &Device) -> Result<Tensor> {
    let x = tensor(shape, seed, device)?.to_dtype(dtype)?;
    x.realize()?;
    Ok(x)
}

/// Work that memory bounds, each in turn with a copy of as many bytes as one of its tensors, by the driver; all several times the
/// second-level cache. Rates in GB/s of what is read and written at least; the share is of the copy's.
pub fn bandwidth(device: &Device) -> Result<()> {
    let (rows, cols) = if small() { (16, 256) } else { (1 << 17, 2048) };
    let n = rows * cols;
    let shape = [rows, cols];
    let x = tensor(&shape, 3, device)?;
    let (y, z) = (tensor(&shape, 4, device)?, tensor(&shape, 5, device)?);
    let (w, b) = (tensor(&[cols], 6, device)?, tensor(&[cols], 7, device)?);
    let one = || vec![x.clone()];
    let norm = w.clone();
    let cases = [
        (4, Case::new("gelu(x*y+z)", device, vec![x.clone(), y, z], |i| i[0].mul(&i[1])?.add(&i[2])?.gelu())?),
        (2, Case::new("softmax", device, one(), |i| i[0].softmax(-1))?),
        (2, Case::new("layer_norm", device, one(), |i| i[0].layer_norm(&w, &b, 1e-5))?),
        (2, Case::new("rms_norm", device, one(), |i| i[0].rms_norm(&norm, 1e-5))?),
        (1, Case::new("sum of rows", device, one(), |i| i[0].sum(-1))?),
        (1, Case::new("sum of columns", device, one(), |i| i[0].sum(0))?),
        (1, Case::new("sum of all", device, one(), |i| i[0].sum_all())?),
    ];
    let chip = &device.chain()[0];
    let from = x.buffer_on(chip)?;
    let copy = chip.record(vec![Step::Copy { src: from.clone(), dst: chip.alloc(from.bytes)?.all() }])?;
    let mut copied = || -> Result<Option<Duration>> {
        let spans = chip.run_profiled(&copy)?.spans()?;
        let nanos: u64 = spans.iter().flatten().map(|s| s.end.saturating_sub(s.begin)).sum();
        Ok(chip.info().clock.is_some().then(|| Duration::from_nanos(nanos)))
    };
    for (tensors, case) in &cases {
        let t = rounds(&mut [&mut || case.run(), &mut copied])?;
        let rate = |bytes: usize, ms: f64| bytes as f64 / ms / 1e6;
        let (ours, peer) = (rate(tensors * n * 4, t[0]), rate(2 * n * 4, t[1]));
        println!(
            "{}",
            json!({"op": format!("{} beside copy", case.name), "device": device.id(), "shape": shape, "ms": t[0], "copy_ms": t[1],
                   "gbps": ours, "copy_gbps": peer, "share": ours / peer})
        );
    }
    Ok(())
}

/// Square products in turn with cuBLASLt called directly. `ANYCHIP_CUBLASLT=off` makes ours the portable ones; else it is the library
/// through our own way to it.
pub fn products(device: &Device) -> Result<()> {
    let n = if small() { 64 } else { 8192 };
    let off = std::env::var("ANYCHIP_CUBLASLT").is_ok_and(|v| matches!(v.as_str(), "off" | "0"));
    for dtype in [DType::BF16, DType::F16, DType::F32] {
        let inputs = vec![typed(&[n, n], 1, dtype, device)?, typed(&[n, n], 2, dtype, device)?];
        let case = Case::new("matmul", device, inputs, |i| i[0].matmul(&i[1]))?;
        let direct = blas::Direct::new(device.chain()[0].info(), dtype, n);
        let (t, why) = match &direct {
            Ok(direct) => (rounds(&mut [&mut || case.run(), &mut || direct.run()])?, None),
            Err(e) => (rounds(&mut [&mut || case.run()])?, Some(e.to_string())),
        };
        let rate = |ms: &f64| 2.0 * (n as f64).powi(3) / ms / 1e9;
        let peer = t.get(1).map(rate);
        println!(
            "{}",
            json!({"op": format!("matmul {n} {dtype} {}", if off { "portable" } else { "override" }), "device": device.id(), "ms": t[0],
                   "tflops": rate(&t[0]), "cublaslt_tflops": peer, "share": peer.map(|p| rate(&t[0]) / p), "no_peer": why})
        );
    }
    Ok(())
}

/// Attention forward: bf16, head sizes 64 and 128, causal and not; batch times length is 16,384, width 2,048. Work is counted as 4·b·h·s²·d, half
/// of it where causal.
pub fn attention(device: &Device) -> Result<()> {
    let (tokens, width, lengths): (usize, usize, &[usize]) =
        if small() { (64, 128, &[32, 64]) } else { (16_384, 2048, &[512, 1024, 2048, 4096, 8192, 16_384]) };
    for (&s, d, causal) in
        lengths.iter().flat_map(|s| [64, 128].map(|d| (s, d))).flat_map(|(s, d)| [(s, d, false), (s, d, true)])
    {
        let shape = [tokens / s, width / d, s, d];
        let inputs = (7..10).map(|seed| typed(&shape, seed, DType::BF16, device)).collect::<Result<Vec<_>>>()?;
        let case = Case::new("attention", device, inputs, |i| i[0].attention(&i[1], &i[2], None, None, causal))?;
        let t = rounds(&mut [&mut || case.run()])?[0];
        let flops = 4.0 * (tokens * width) as f64 * s as f64 * if causal { 0.5 } else { 1.0 };
        println!(
            "{}",
            json!({"op": format!("attention bf16 {s}×{d}{}", if causal { " causal" } else { "" }), "device": device.id(), "shape": shape,
                   "ms": t, "tflops": flops / t / 1e9})
        );
    }
    Ok(())
}

/// The chip's ordinal among the driver's.
pub fn ordinal(info: &anychip::hal::DeviceInfo) -> i32 {
    info.id.rsplit(':').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The error of a peer written by hand.
pub fn failed(what: &str, e: impl std::fmt::Debug) -> Error {
    Error::invalid(format!("{what}: the program written by hand failed: {e:?}"))
}
