//! What the tests of every backend need to know of this one.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[path = "../../../tests/common.rs"]
mod shared;

use anychip_hal::{Device, DeviceInfo, Driver};
use anychip_wgpu::WgpuDriver;
pub use shared::*;

pub fn driver() -> impl Driver {
    WgpuDriver::new()
}

pub fn devices(test: &str) -> Vec<Device> {
    devices_of(&driver(), test)
}

/// Is the device excused from a test? None so far.
pub fn excused(_test: &str, _of: &DeviceInfo) -> bool {
    false
}
