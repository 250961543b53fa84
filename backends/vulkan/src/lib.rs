//! The Vulkan backend: any driver of Vulkan 1.1 and up, opened at run time.
//!
//! It moves bytes, hands the driver what [`anychip_hal::render::spirv`] builds and runs it. It knows no tensors and no
//! graphs, and infers nothing from a vendor's name: capabilities are asked for ([`features`], [`probe`]), known driver
//! defects stand in a table ([`quirks`]). Nothing of the Vulkan crates shows outside. A missing loader, a machine without
//! devices or a device that cannot be used is an error with a reason, never a panic.
//!
//! For tests and for finding faults, by environment variable: `ANYCHIP_VULKAN_VALIDATION=1` (the Khronos validation layer;
//! whatever it says is an error), `ANYCHIP_VULKAN_DUMP=<folder>` (every module as a file), `ANYCHIP_VULKAN_WITHOUT=<list>`
//! (features, by the names in [`features`], that are treated as missing), `ANYCHIP_VULKAN_VECTOR=<lanes>`.
#![deny(missing_docs)]

mod device;
mod features;
mod instance;
mod memory;
mod probe;
mod program;
mod queue;
mod quirks;
mod recorder;
mod vk_error;

use anychip_hal::{DeviceInfo, Driver, Error, RawDevice, Result, probe::Installed};
use instance::Instance;
use std::sync::Arc;

/// The backend's name: what stands before the colon in a device id.
pub const NAME: &str = "vulkan";

/// Reaches every Vulkan device of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct VulkanDriver;

impl VulkanDriver {
    /// A driver; nothing is opened yet.
    pub fn new() -> VulkanDriver {
        VulkanDriver
    }
}

impl Driver for VulkanDriver {
    fn name(&self) -> &str {
        NAME
    }

    fn distance(&self) -> u8 {
        1
    }

    fn installed(&self) -> Option<Installed> {
        Some(Installed::vulkan().variables(&["ANYCHIP_VULKAN_*"]))
    }

    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        let instance = Instance::get()?;
        let found = instance.devices()?;
        Ok(found.iter().enumerate().map(|(n, d)| probe::probe(instance, *d, n as u32).map(|p| p.info)).collect())
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        let instance = Instance::get()?;
        let found = instance.devices()?;
        let Some(device) = found.get(ordinal as usize) else {
            return Err(Error::NoDevice {
                asked: format!("{NAME}:{ordinal}"),
                why: format!("there are {}, counted from 0", found.len()),
            });
        };
        Ok(Arc::new(device::Device::open(instance, *device, ordinal)?))
    }
}
