//! Devices, inputs, host arrays with the plainest loops, and comparison.

use crate::chosen::DEVICES;
use anychip::{Device, Tensor, hal::Driver};

/// The driver behind a backend's name in reports, where what is emulated is named as such.
fn of_driver(backend: &str) -> &str {
    backend.strip_suffix("-emulated").unwrap_or(backend)
}

/// The built-in drivers whose devices the tests run on.
pub fn drivers() -> Vec<Box<dyn Driver>> {
    let all: [Box<dyn Driver>; 5] = [
        Box::new(anychip_cpu::CpuDriver::new()),
        Box::new(anychip_cuda::CudaDriver::new()),
        Box::new(anychip_opencl::OpenClDriver::new()),
        Box::new(anychip_vulkan::VulkanDriver::new()),
        Box::new(anychip_wgpu::WgpuDriver::new()),
    ];
    all.into_iter().filter(|driver| DEVICES.iter().any(|d| of_driver(&d.info().backend) == driver.name())).collect()
}

/// Runs a test on every device; tests share the opened devices, as threads of an application would.
pub fn on_every_device(test: impl Fn(&Device)) {
    DEVICES.iter().for_each(test);
}

/// Does a device run the n-th case of a loop? Every one where a kernel is made at once; one in `part` where making it takes a
/// driver half a second, of which PoCL runs every second. ANYCHIP_ALL_CASES, which `scripts/test --full` sets, makes it every one
/// everywhere.
pub fn takes(device: &Device, n: usize, part: usize) -> bool {
    let part = if device.info().backend == "opencl" { 2 * part } else { part };
    device.info().backend == "cpu" || n.is_multiple_of(part) || std::env::var_os("ANYCHIP_ALL_CASES").is_some()
}

/// Numbers that follow from the seed, in low..high.
pub fn numbers(count: usize, seed: u64, low: f64, high: f64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f64 / (1u64 << 24) as f64
    };
    (0..count).map(|_| (low + (high - low) * next()) as f32).collect()
}

/// A dense array of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Host {
    pub fn new(shape: &[usize], data: Vec<f64>) -> Host {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Host { shape: shape.to_vec(), data }
    }

    /// Of numbers that are exact in f32.
    pub fn random(shape: &[usize], seed: u64, low: f64, high: f64) -> Host {
        let data = numbers(shape.iter().product(), seed, low, high).into_iter().map(|x| x as f64).collect();
        Host::new(shape, data)
    }

    pub fn on(&self, device: &Device) -> Tensor {
        Tensor::from_vec(self.data.iter().map(|&x| x as f32).collect(), &self.shape, device).unwrap()
    }

    /// An array of a shape from a function of the index.
    pub fn build(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Host {
        let data = indices(shape).map(|i| f(&i)).collect();
        Host::new(shape, data)
    }

    /// The element at an index; axes of extent 1 and missing axes in front repeat.
    pub fn at(&self, index: &[usize]) -> f64 {
        let own = &index[index.len() - self.shape.len()..];
        let flat = own.iter().zip(&self.shape).fold(0, |flat, (&i, &n)| flat * n + if n == 1 { 0 } else { i });
        self.data[flat]
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Host {
        Host::new(&self.shape, self.data.iter().map(|&x| f(x)).collect())
    }

    pub fn zip(&self, other: &Host, f: impl Fn(f64, f64) -> f64) -> Host {
        let rank = self.shape.len().max(other.shape.len());
        let extent = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
        let shape: Vec<usize> = (0..rank)
            .map(|i| match (extent(&self.shape, i), extent(&other.shape, i)) {
                (1, n) => n,
                (n, _) => n,
            })
            .collect();
        Host::build(&shape, |i| f(self.at(i), other.at(i)))
    }
}

/// Every index of a shape, row-major.
pub fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.iter().product::<usize>()).map(move |mut flat| {
        let mut index = vec![0; shape.len()];
        for (i, &n) in index.iter_mut().zip(shape).rev() {
            *i = flat % n;
            flat /= n;
        }
        index
    })
}

/// Element by element: |got − want| ≤ bound(want), the same infinities, NaN where NaN is.
pub fn close(what: &str, got: &Tensor, want: &Host, bound: impl Fn(usize, f64) -> f64) {
    assert_eq!(got.dims(), want.shape, "{what}: shape");
    let values = got.to_vec::<f32>().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(values.len(), want.data.len(), "{what}: count");
    for (i, (&g, &w)) in values.iter().zip(&want.data).enumerate() {
        let fits = match w {
            w if w.is_nan() => g.is_nan(),
            w if w.abs() > f32::MAX as f64 => g as f64 == w as f32 as f64,
            w => (g as f64 - w).abs() <= bound(i, w),
        };
        if !fits {
            let at = indices(&want.shape).nth(i).unwrap_or_default();
            panic!("{what}: element {at:?} is {g:e}, must be {w:e} ± {:e}", bound(i, w));
        }
    }
}

/// Bit for bit what the host's f32 gives.
pub fn same(what: &str, got: &Tensor, want: &Host) {
    close(what, got, want, |_, _| 0.0);
}

/// So many units in the last place of f32.
pub fn ulps(n: f64) -> impl Fn(usize, f64) -> f64 {
    move |_, want| n * f32::EPSILON as f64 * want.abs().max(f32::MIN_POSITIVE as f64)
}

/// The error function, to about 1e-14: its series below 3, the continued fraction of erfc above.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let fraction = (1..60).rev().fold(0.0, |tail, n| n as f64 / 2.0 / (a + tail));
    let erfc = (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt());
    (1.0 - erfc).copysign(x)
}

/// e^(x−max) / Σ e^(x−max).
pub fn softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = x.iter().map(|v| (v - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

/// Fails unless it is an error whose sentence has all these parts.
pub fn refused<T>(result: anychip::Result<T>, parts: &[&str]) -> anychip::Error {
    let Err(e) = result else { panic!("accepted; should have been refused with {parts:?}") };
    let text = e.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    e
}
