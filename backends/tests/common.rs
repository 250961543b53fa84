//! What the tests of every backend share: the devices that a test runs on, and the way from host values to a kernel and
//! back. A backend's test includes it by path and says which driver it is for.
#![allow(dead_code, reason = "each test file uses a part of it")]

use anychip_hal::{
    DType, Device, Driver, Error,
    device::{Checks, Grid, ScalarArg, Step},
    info::Arithmetic,
    ir::*,
};

/// Opens every device of a driver. None: a failure where `ANYCHIP_REQUIRE` names the driver, or an emulation of it, else a named skip.
pub fn devices_of(driver: &dyn Driver, test: &str) -> Vec<Device> {
    let name = driver.name();
    let required = std::env::var("ANYCHIP_REQUIRE").unwrap_or_default();
    let required: Vec<_> = required.split(',').map(str::trim).filter(|r| of_driver(r) == name).collect();
    let none = |why: String| {
        assert!(required.is_empty(), "{test}: a device of {name} is required: {why}");
        println!("SKIPPED: {test}: {why}");
        vec![]
    };
    match driver.devices() {
        Err(e @ Error::NoDriver { .. }) => none(e.to_string()),
        Err(e) => panic!("{test}: {e}"),
        Ok(found) => {
            let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().enumerate().partition(|(_, d)| d.is_ok());
            if good.is_empty() {
                return none(format!("no device of {} can be used", bad.len()));
            }
            let open = |n: usize| Device::new(driver.open(n as u32).expect("a listed device opens"));
            let all: Vec<_> = good.into_iter().map(|(n, _)| open(n)).collect();
            for r in required {
                assert!(all.iter().any(|d| d.info().backend == r), "{test}: {r} is required, and no device is of it");
            }
            all
        }
    }
}

/// The driver behind a backend's name in reports, where what is emulated is named as such.
fn of_driver(backend: &str) -> &str {
    backend.strip_suffix("-emulated").unwrap_or(backend)
}

/// True in a process that runs this test only; else has one run it and fails as it does.
pub fn alone(test: &str) -> bool {
    const ALONE: &str = "ANYCHIP_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("a path");
    let out = std::process::Command::new(this).args(["--exact", test, "--nocapture"]).env(ALONE, "1").output();
    let out = out.expect("it starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    false
}

/// Runs a kernel as [`run`] does; a device without its types is skipped by name.
pub fn run_or_skip(
    device: &Device,
    kernel: &Kernel,
    items: u64,
    buffers: &mut [Vec<u8>],
    types: &[DType],
) -> Option<()> {
    match run(device, kernel, items, buffers, &[]) {
        Ok(()) => Some(()),
        Err(e) if e.is_unsupported() && types.iter().any(|d| !device.info().types.contains_key(d)) => {
            println!("SKIPPED: kernel {}: {e}", kernel.name);
            None
        }
        Err(e) => panic!("{} on {}: {e}", kernel.name, device.info().id),
    }
}

/// Runs a kernel over `items` lanes, rounded up to whole workgroups. `buffers` are uploaded, and read back afterwards.
pub fn run(
    device: &Device,
    kernel: &Kernel,
    items: u64,
    buffers: &mut [Vec<u8>],
    scalars: &[ScalarArg],
) -> Result<(), Error> {
    let program = device.kernel(kernel, Checks::On)?;
    let held = buffers.iter().map(|b| device.alloc_from(b)).collect::<Result<Vec<_>, _>>()?;
    let launch = Step::Launch {
        program,
        grid: Grid::covering(items, kernel.lanes()),
        bindings: held.iter().map(|b| b.all()).collect(),
        scalars: scalars.to_vec(),
    };
    device.submit(&[launch])?.wait()?;
    for (b, bytes) in held.iter().zip(buffers) {
        device.download(b, 0, bytes)?;
    }
    Ok(())
}

pub fn bytes_of<const N: usize, T: Copy>(xs: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    xs.iter().flat_map(|x| bytes(*x)).collect()
}

pub fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("4 bytes"))).collect()
}

pub fn u32s(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().expect("4 bytes"))).collect()
}

/// `c[i] = a[i] + b[i]`.
pub fn vector_add(name: &str) -> Kernel {
    let mut b = Builder::new(name, [64, 1, 1]);
    let (x, y) = (b.buffer("a", DType::F32, Access::Read), b.buffer("b", DType::F32, Access::Read));
    let z = b.buffer("c", DType::F32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let (p, q) = (b.load(Place::Buffer(x), i), b.load(Place::Buffer(y), i));
    let sum = b.add(p, q);
    b.store(Place::Buffer(z), i, sum);
    b.finish().expect("a well-formed kernel")
}

/// ULPs of a function: OpenCL C's table of relative errors (full profile), which every device keeps, by its own functions
/// or by those that the legaliser makes.
pub fn allowed(op: UnaryOp, facts: &Arithmetic) -> f64 {
    match op {
        UnaryOp::Sqrt => f64::from(facts.sqrt_ulp),
        UnaryOp::Recip => f64::from(facts.div_ulp),
        UnaryOp::Rsqrt => 2.0,
        UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Log | UnaryOp::Log2 => 3.0,
        UnaryOp::Sin | UnaryOp::Cos => 4.0,
        UnaryOp::Tan | UnaryOp::Tanh => 5.0,
        // The legaliser's polynomial.
        _ => 16.0,
    }
}
