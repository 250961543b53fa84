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

/// Is the device excused from a test? Says so, with the reason.
pub fn excused(test: &str, of: &DeviceInfo) -> bool {
    let opengl = of.identity.driver.starts_with("OpenGL");
    let why = match test {
        "a_binary_saves_the_compiler" | "a_second_start_compiles_nothing" if opengl => "wgpu has no binaries of OpenGL",
        "submit_returns_at_once_and_waiting_has_a_limit" if opengl => {
            "OpenGL on the processor runs kernels as they are submitted"
        }
        _ => return false,
    };
    println!("SKIPPED: {test}: {} {why}", of.id);
    true
}
