//! The few OpenCL objects that the backend holds, released when dropped, and the meaning of error codes.
//!
//! The crate's own wrappers panic when a release fails and when an answer has an unexpected size; these do not.

use anychip_hal::{Error, Result};
use opencl3::types::*;

macro_rules! object {
    ($(#[$m:meta])* $name:ident, $raw:ty, $release:path) => {
        $(#[$m])*
        #[derive(Debug)]
        pub struct $name(pub $raw);
        // Objects of OpenCL are counted and may be used from any thread; only clSetKernelArg on one kernel may not.
        unsafe impl Send for $name {}
        unsafe impl Sync for $name {}
        impl Drop for $name {
            fn drop(&mut self) {
                // Fails only for a handle that is not valid, and then there is nothing to release.
                let _ = unsafe { $release(self.0) };
            }
        }
    };
}
object!(
    /// An in-order queue.
    Queue, cl_command_queue, opencl3::command_queue::release_command_queue
);
object!(
    /// A buffer or a part of one.
    Mem, cl_mem, opencl3::memory::release_mem_object
);
object!(
    /// An event.
    Event, cl_event, opencl3::event::release_event
);
object!(
    /// A program.
    Program, cl_program, opencl3::program::release_program
);
object!(
    /// A kernel with its arguments.
    Kernel, cl_kernel, opencl3::kernel::release_kernel
);

/// The driver's answer as text, without its end mark.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_string()
}

/// A platform's name.
pub fn platform_name(platform: &opencl3::platform::Platform) -> String {
    const CL_PLATFORM_NAME: cl_uint = 0x0902;
    text(&platform.get_data(CL_PLATFORM_NAME).unwrap_or_default())
}

/// The name of an error code.
pub fn words(code: i32) -> String {
    format!("{} ({code})", opencl3::error_codes::ClError(code))
}

/// True for codes that say that something did not fit: the device stays usable.
pub fn is_memory(code: i32) -> bool {
    // CL_MEM_OBJECT_ALLOCATION_FAILURE, CL_OUT_OF_RESOURCES, CL_OUT_OF_HOST_MEMORY, CL_INVALID_BUFFER_SIZE
    matches!(code, -4 | -5 | -6 | -61)
}

/// The error of a failed call. `bytes`: what was asked for, where the call asked for memory.
pub fn error(device: &str, call: &str, code: i32, bytes: u64) -> Error {
    match code {
        c if is_memory(c) => {
            Error::OutOfMemory { device: device.into(), asked: bytes, why: format!("{call} says {}", words(c)) }
        }
        // CL_DEVICE_NOT_AVAILABLE; NVIDIA's code after an illegal access.
        -2 | -9999 => {
            Error::DeviceLost { device: device.into(), why: format!("{call} says {}", words(code)), restart: false }
        }
        _ => Error::Backend {
            backend: crate::NAME.into(),
            code: code as i64,
            message: format!("{call}: {}", words(code)),
        },
    }
}

/// Turns a call's code into an error that names the call.
pub trait Named<T> {
    /// The error names the device and the call.
    fn named(self, device: &str, call: &str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, i32> {
    fn named(self, device: &str, call: &str) -> Result<T> {
        self.map_err(|code| error(device, call, code, 0))
    }
}
