//! The CUDA backend: NVIDIA's chips through the driver's own interface, opened at run time.
//!
//! It moves bytes, has NVRTC compile what [`anychip_hal::render::c`] prints and runs it. It knows no tensors and no graphs. No
//! toolkit is needed to build it or to start: a missing driver, one that is too old, one that lacks a function, a missing NVRTC,
//! a device that cannot be used are errors with a reason, never a panic. Nothing of the driver's crate shows outside.
#![deny(missing_docs)]

mod api;
mod blas;
mod boxes;
pub mod chip;
mod context;
mod device;
mod list;
mod memory;
mod nvml;
pub mod nvrtc;
mod peer;
mod probe;
mod program;
mod queue;

use anychip_hal::{DeviceInfo, Driver, Error, RawDevice, Result, probe::Installed, telemetry::Telemetry};
use api::Api;
use std::sync::Arc;

/// The backend's name: what stands before the colon in a device id.
pub const NAME: &str = "cuda";

/// Queues of a device: one for work, one for copies beside it.
const QUEUES: u32 = 2;

/// Whether a variable of the environment is one of these words.
fn is_set(name: &str, to: &[&str]) -> bool {
    std::env::var(name).is_ok_and(|v| to.contains(&v.trim().to_ascii_lowercase().as_str()))
}

/// Reaches every NVIDIA device of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct CudaDriver;

impl CudaDriver {
    /// A driver; nothing is opened yet.
    pub fn new() -> CudaDriver {
        CudaDriver
    }
}

impl Driver for CudaDriver {
    fn name(&self) -> &str {
        NAME
    }

    fn installed(&self) -> Option<Installed> {
        let all = Installed::new().system().library("libcuda.so.1", None).library("libnvrtc.so.13", None);
        Some(all.library("libnvrtc.so.12", None).variables(&[
            "CUDA_*",
            "ANYCHIP_EMULATED_*",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
        ]))
    }

    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        let api = Api::get()?;
        // One without a compiler is not offered. It opens all the same, for kernels that were compiled earlier.
        let usable = |p: probe::Probed| match nvrtc::fitting(p.chip.capability, p.chip.driver) {
            Ok(_) => Ok(p.chip.info()),
            Err(why) => Err(Error::unsupported(format!("{NAME}:{} ({})", p.chip.ordinal, p.chip.name), why)),
        };
        Ok((0..probe::count(api)?).map(|n| probe::probe(api, n).and_then(usable)).collect())
    }

    fn telemetry(&self, ordinal: u32) -> Result<Telemetry> {
        let chip = probe::probe(Api::get()?, ordinal)?.chip;
        nvml::read(&chip.physical).map_err(|why| Error::unsupported(format!("telemetry of {NAME}:{ordinal}"), why))
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        let api = Api::get()?;
        let there = probe::count(api)?;
        if ordinal >= there {
            return Err(Error::NoDevice {
                asked: format!("{NAME}:{ordinal}"),
                why: format!("there are {there}, counted from 0"),
            });
        }
        Ok(Arc::new(device::Device::open(api, ordinal)?))
    }
}
