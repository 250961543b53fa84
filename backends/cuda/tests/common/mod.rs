//! What the tests of every backend need to know of this one.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[path = "../../../tests/common.rs"]
mod shared;

use anychip_cuda::CudaDriver;
use anychip_hal::{Device, DeviceInfo, Driver};
pub use shared::*;

pub fn driver() -> impl Driver {
    CudaDriver::new()
}

pub fn devices(test: &str) -> Vec<Device> {
    devices_of(&driver(), test)
}

/// Is the device excused from a test? Only from sharing what is the chip's.
pub fn excused(test: &str, _of: &DeviceInfo) -> bool {
    test == "memory_beside_others"
}
