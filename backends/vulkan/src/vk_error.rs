//! Vulkan's result codes as this library's errors.

use crate::NAME;
use anychip_hal::{Error, Result};
use ash::vk;

/// An error of a call on a device. `asked`: bytes, where memory was asked for.
pub fn error(device: &str, call: &str, code: vk::Result, asked: u64) -> Error {
    match code {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => {
            Error::OutOfMemory { device: device.into(), asked, why: format!("{call}: {code}") }
        }
        vk::Result::ERROR_DEVICE_LOST => {
            Error::DeviceLost { device: device.into(), why: format!("{call}: {code}"), restart: false }
        }
        _ => Error::Backend {
            backend: NAME.into(),
            code: code.as_raw() as i64,
            message: format!("{device}: {call}: {code}"),
        },
    }
}

/// Names the call that failed.
pub trait Named<T> {
    /// The result as this library's.
    fn named(self, device: &str, call: &str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, vk::Result> {
    fn named(self, device: &str, call: &str) -> Result<T> {
        self.map_err(|code| error(device, call, code, 0))
    }
}
