//! What the tests of every backend need to know of this one.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[path = "../../../tests/common.rs"]
mod shared;

use anychip_hal::{Device, DeviceInfo, Driver, info::Arithmetic, ir::UnaryOp};
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

/// ULPs of a function by OpenCL C's table of relative errors (full profile).
pub fn allowed(op: UnaryOp, facts: &Arithmetic, _x: f64) -> Option<f64> {
    Some(match op {
        UnaryOp::Sqrt => f64::from(facts.sqrt_ulp),
        UnaryOp::Recip => f64::from(facts.div_ulp),
        UnaryOp::Rsqrt => 2.0,
        UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Log | UnaryOp::Log2 => 3.0,
        UnaryOp::Sin | UnaryOp::Cos => 4.0,
        UnaryOp::Tan | UnaryOp::Tanh => 5.0,
        // The legaliser's polynomial.
        _ => 16.0,
    })
}
