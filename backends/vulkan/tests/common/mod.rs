//! What the tests of every backend need to know of this one.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[path = "../../../tests/common.rs"]
mod shared;

use anychip_hal::{Device, DeviceInfo, Driver, info::Arithmetic, ir::UnaryOp};
use anychip_vulkan::VulkanDriver;
pub use shared::*;

pub fn driver() -> impl Driver {
    VulkanDriver::new()
}

pub fn devices(test: &str) -> Vec<Device> {
    devices_of(&driver(), test)
}

/// Is the device excused from a test? None so far.
pub fn excused(_test: &str, _of: &DeviceInfo) -> bool {
    false
}

/// ULPs of a function by Vulkan's table ("Precision of GLSL.std.450 Instructions"); `None`: nothing is promised there.
pub fn allowed(op: UnaryOp, facts: &Arithmetic, x: f64) -> Option<f64> {
    // An absolute error, in units of the last place of a result that is at least this large.
    let absolute = |error: f64, result: f64| error / (result.abs().max(1e-30).log2().floor() - 23.0).exp2();
    Some(match op {
        UnaryOp::Sqrt => f64::from(facts.sqrt_ulp),
        UnaryOp::Recip => f64::from(facts.div_ulp),
        UnaryOp::Rsqrt => 2.0,
        UnaryOp::Exp | UnaryOp::Exp2 => 3.0 + 2.0 * x.abs(),
        UnaryOp::Log if (0.5..=2.0).contains(&x) => absolute(2f64.powi(-21), x.ln()),
        UnaryOp::Log2 if (0.5..=2.0).contains(&x) => absolute(2f64.powi(-21), x.log2()),
        UnaryOp::Log | UnaryOp::Log2 => 3.0,
        UnaryOp::Sin if x.abs() <= std::f64::consts::PI => absolute(2f64.powi(-11), x.sin()),
        UnaryOp::Cos if x.abs() <= std::f64::consts::PI => absolute(2f64.powi(-11), x.cos()),
        _ => return None,
    })
}
