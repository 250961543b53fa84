//! What the tests of every backend need to know of this one.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[path = "../../../tests/common.rs"]
mod shared;

use anychip_hal::{Device, DeviceInfo, Driver};
use anychip_opencl::OpenClDriver;
pub use shared::*;

pub fn driver() -> impl Driver {
    OpenClDriver::new()
}

pub fn devices(test: &str) -> Vec<Device> {
    devices_of(&driver(), test)
}

/// Is the device excused from a test? Says so, with the defect.
pub fn excused(test: &str, of: &DeviceInfo) -> bool {
    let why = match (of.identity.driver.as_str(), test) {
        ("Oclgrind", "submit_returns_at_once_and_waiting_has_a_limit") => "works inside clFlush",
        ("Oclgrind", "a_binary_beside_launches" | "several_threads_share_one_device") => {
            "keeps its shadow memory per thread"
        }
        // On llvmpipe it holds the event's lock while the kernel runs: clGetEventInfo returns when that is done.
        ("rusticl", "polling") => "waits for the work when it is asked for a status",
        _ => return false,
    };
    println!("SKIPPED: {test}: {} {why}", of.id);
    true
}
