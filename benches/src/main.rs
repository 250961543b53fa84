//! Our operations beside OpenBLAS in one process and one run: every round times both in turn, so that a machine whose speed
//! drifts moves both. Prints a JSON line per measurement.
//!
//! `beside matmul`, `beside ops`, `beside copy` (a fused chain beside copies of the same length), `beside conv` (beside PyTorch, in the Python that `PYTHON` names), `beside small`,
//! `beside bandwidth|products|attention` (for chips with memory of their own: beside copies, beside cuBLASLt called directly),
//! `beside launches` (of a captured program beside one written by hand, for Vulkan or as a CUDA graph),
//! `beside minilm MODEL_FOLDER`, `beside first-matmul`; a device after it (`cpu`, `opencl:0`) limits it to that one, names after
//! `ops cpu` to those operations; `EXPLAIN=1` prints MiniLM's plan. `scripts/bench` runs all of it beside the peers that have
//! programs of their own.

mod conv;
mod cuda;
mod launches;

use anychip::{Device, Error, Result, Tensor, hal::device::Step};
use anychip_benches::{matmul, minilm_ids, small::SmallAdd, tensor, values, work};
use serde_json::json;
use std::time::{Duration, Instant};

/// Sides of the products beside OpenBLAS: powers of two, whose rows fall into few sets of a cache, and what lies between.
const SQUARES: [(usize, &str); 5] =
    [(512, "matmul512"), (768, "matmul768"), (1024, "matmul1024"), (1536, "matmul1536"), (2048, "matmul2048")];

type Sgemm = unsafe extern "C" fn(
    order: i32,
    ta: i32,
    tb: i32,
    m: i32,
    n: i32,
    k: i32,
    alpha: f32,
    a: *const f32,
    lda: i32,
    b: *const f32,
    ldb: i32,
    beta: f32,
    c: *mut f32,
    ldc: i32,
);

/// OpenBLAS, if it is there.
struct OpenBlas(libloading::Library);

impl OpenBlas {
    fn open() -> Option<OpenBlas> {
        // SAFETY: the library's initialisers are those of OpenBLAS.
        let found = ["libopenblas.so.0", "libopenblas.so"]
            .into_iter()
            .find_map(|n| unsafe { libloading::Library::new(n).ok() });
        found.map(OpenBlas)
    }

    fn sgemm(&self, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) -> Result<()> {
        let n32 = n as i32;
        // SAFETY: the signature is CBLAS's; the slices hold n·n elements each.
        unsafe {
            let f: libloading::Symbol<'_, Sgemm> =
                self.0.get(b"cblas_sgemm\0").map_err(|e| Error::invalid(format!("OpenBLAS: {e}")))?;
            f(101, 111, 111, n32, n32, n32, 1.0, a.as_ptr(), n32, b.as_ptr(), n32, 0.0, c.as_mut_ptr(), n32);
        }
        Ok(())
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn least(times: &[Duration]) -> f64 {
    times.iter().min().map_or(0.0, Duration::as_secs_f64) * 1e3
}

/// Time that this process's threads have spent on cores, where the system tells. On a busy machine it says more than the
/// clock on the wall.
fn busy() -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?);
    }
    Some(sum)
}

fn timed(f: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
    let t = Instant::now();
    f()?;
    Ok(t.elapsed())
}

/// Rounds of one of each, until three seconds are over, at least nine.
fn in_turn(works: &mut [&mut dyn FnMut() -> Result<()>]) -> Result<Vec<f64>> {
    Ok(rounds(works)?.into_iter().map(median).collect())
}

fn rounds(works: &mut [&mut dyn FnMut() -> Result<()>]) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![vec![]; works.len()];
    works.iter_mut().try_for_each(|w| w())?;
    let start = Instant::now();
    while times[0].len() < 9 || (start.elapsed() < Duration::from_secs(3) && times[0].len() < 300) {
        for (w, t) in works.iter_mut().zip(&mut times) {
            t.push(timed(*w)?);
        }
    }
    Ok(times)
}

fn devices(only: Option<&str>) -> Result<Vec<Device>> {
    match only {
        Some(id) => Ok(vec![Device::open(id)?]),
        None => Device::list().devices.iter().map(|d| Device::open(&d.id)).collect(),
    }
}

/// gelu(x·y+z) on 2²⁴ elements in turn with copies of as many: a launch that reads and writes once, and the driver's own copy.
/// Rates in GB/s of what is read and written; the share is of the faster copy.
fn chain_beside_copy(device: &Device) -> Result<()> {
    let list = work(device)?;
    let find = |name: &str| {
        list.iter().find(|w| w.name == name).ok_or_else(|| Error::invalid(format!("copy: no work {name}")))
    };
    let (chain, launch) = (find("gelu(x*y+z)")?, find("neg")?);
    let chip = &device.chain()[0];
    let from = chip.alloc_from(&vec![1; launch.bytes as usize / 2])?;
    let copy = [Step::Copy { src: from.all(), dst: chip.alloc(from.bytes())?.all() }];
    let mut driver = || chip.submit(&copy)?.wait();
    let t = in_turn(&mut [&mut || chain.run(device), &mut || launch.run(device), &mut driver])?;
    let [ours, once, driver] = [chain.bytes / t[0], launch.bytes / t[1], launch.bytes / t[2]].map(|x| x / 1e6);
    println!(
        "{}",
        json!({"op": "gelu(x*y+z) beside copy", "device": device.id(), "ms": t[0], "launch_ms": t[1], "driver_ms": t[2],
               "gbps": ours, "launch_gbps": once, "driver_gbps": driver, "share": ours / once.max(driver)})
    );
    Ok(())
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |i: usize| args.get(i).map(String::as_str);
    match arg(0) {
        Some("matmul") => {
            let blas = OpenBlas::open();
            for device in devices(arg(1))? {
                for (n, name) in SQUARES {
                    let ours = matmul(n, name, &device)?;
                    let (a, b, mut c) = (values(n * n, 1), values(n * n, 2), vec![0f32; n * n]);
                    let mut run = || ours.run(&device);
                    let t = match &blas {
                        Some(blas) => in_turn(&mut [&mut run, &mut || blas.sgemm(n, &a, &b, &mut c)])?,
                        None => in_turn(&mut [&mut run])?,
                    };
                    let gflops = |ms: f64| ours.flops / ms / 1e6;
                    let peer = t.get(1).map(|&ms| gflops(ms));
                    println!(
                        "{}",
                        json!({"op": name, "device": device.id(), "ms": t[0], "gflops": gflops(t[0]), "openblas_gflops": peer,
                               "ratio": peer.map(|p| gflops(t[0]) / p)})
                    );
                }
            }
        }
        Some("ops") => {
            for device in devices(arg(1))? {
                let named = |name: &str| args.len() < 3 || args[2..].iter().any(|a| a == name);
                let list = work(&device)?;
                for w in list.iter().filter(|w| named(w.name)) {
                    let mut cores = vec![];
                    let times = rounds(&mut [&mut || {
                        let from = busy();
                        w.run(&device)?;
                        cores.extend(from.zip(busy()).map(|(from, to)| to.saturating_sub(from)));
                        Ok(())
                    }])?
                    .swap_remove(0);
                    let cores = (!cores.is_empty()).then(|| (least(&cores), median(cores)));
                    let least = least(&times);
                    let t = median(times);
                    let rate = |x: f64| (x > 0.0).then(|| x / t / 1e6);
                    println!(
                        "{}",
                        json!({"op": w.name, "device": device.id(), "ms": t, "least_ms": least,
                               "core_ms": cores.map(|c| c.1), "least_core_ms": cores.map(|c| c.0), "gflops": rate(w.flops), "gbps": rate(w.bytes)})
                    );
                }
            }
        }
        Some("copy") => {
            for device in devices(arg(1))? {
                chain_beside_copy(&device)?;
            }
        }
        Some("small") => {
            for device in devices(arg(1))? {
                let [done, row] = SmallAdd::new(&device)?.time(3.0)?;
                for (op, (median, min)) in
                    [("eager add of 1000, each done", done), ("eager add of 1000, in a row", row)]
                {
                    println!("{}", json!({"op": op, "device": device.id(), "us": median, "us_min": min}));
                }
            }
        }
        Some(what @ ("bandwidth" | "products" | "attention")) => {
            for device in devices(arg(1))? {
                match what {
                    "bandwidth" => cuda::bandwidth(&device)?,
                    "products" => cuda::products(&device)?,
                    _ => cuda::attention(&device)?,
                }
            }
        }
        Some("conv") => {
            for device in devices(arg(1))? {
                conv::beside(&device)?;
            }
        }
        Some("launches") => {
            for device in devices(arg(1))? {
                match device.info().backend.as_str() {
                    "vulkan" => launches::beside(&device)?,
                    b if b.starts_with("cuda") => cuda::graph::beside(&device)?,
                    _ => {}
                }
            }
        }
        Some("minilm") => {
            let folder = arg(1).ok_or_else(|| Error::invalid("minilm: the model's folder is missing"))?;
            for device in devices(arg(2))? {
                let model = anychip_embed::Model::load(folder, &device)?;
                for batch in [1, 32] {
                    let ids = minilm_ids(batch);
                    if std::env::var_os("EXPLAIN").is_some() {
                        eprintln!("{}", model.explain(&ids)?);
                    }
                    let t = in_turn(&mut [&mut || model.embed_ids(&ids).map(|_| ())])?[0];
                    println!("{}", json!({"op": format!("minilm {batch}x128"), "device": device.id(), "ms": t}));
                }
            }
        }
        // A process of its own: the caller measures from its start.
        Some("first-matmul") => {
            let device = Device::open(arg(1).unwrap_or("cpu"))?;
            let a = Tensor::from_vec(values(128 * 128, 1), (128, 128), &device)?;
            let sum: f32 = a.matmul(&a)?.to_vec::<f32>()?.iter().sum();
            println!("{}", json!({"op": "first matmul 128", "device": device.id(), "sum": sum}));
        }
        _ => {
            return Err(Error::invalid(
                "usage: beside matmul [DEVICE] | ops [DEVICE [NAME…]] | copy [DEVICE] | conv [DEVICE] | bandwidth [DEVICE] | products [DEVICE] | attention [DEVICE] | small [DEVICE] | launches [DEVICE] | minilm FOLDER [DEVICE] | first-matmul [DEVICE]",
            ));
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("beside: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
