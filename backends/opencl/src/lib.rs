//! The OpenCL backend: any driver of OpenCL 1.2 to 3.0, opened at run time.
//!
//! It moves bytes, compiles what [`anychip_hal::render::c`] prints and runs it. It knows no tensors and no graphs, and
//! infers nothing from a vendor's name: capabilities are probed ([`probe`]), known driver defects stand in a table
//! ([`quirks`]). Nothing of the OpenCL crate shows outside. A missing loader, a platform without devices or a device that
//! cannot be used is an error with a reason, never a panic.
#![deny(missing_docs)]

mod cl;
mod device;
mod memory;
mod platform;
mod probe;
mod program;
mod queue;
mod quirks;

use anychip_hal::{DeviceInfo, Driver, Error, RawDevice, Result, probe::Installed};
use opencl3::types::cl_device_id;
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

/// The backend's name: what stands before the colon in a device id.
pub const NAME: &str = "opencl";

/// Reaches every device of every OpenCL platform of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct OpenClDriver;

impl OpenClDriver {
    /// A driver; nothing is opened yet.
    pub fn new() -> OpenClDriver {
        OpenClDriver
    }
}

impl Driver for OpenClDriver {
    fn name(&self) -> &str {
        NAME
    }

    fn distance(&self) -> u8 {
        1
    }

    fn installed(&self) -> Option<Installed> {
        let mut all = Installed::new().system().library("libOpenCL.so.1", None).variables(&[
            "OCL_ICD_*",
            "OPENCL_*",
            "POCL_DEVICES",
            "RUSTICL_*",
            "MESA_*",
            "ANYCHIP_OPENCL_*",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
        ]);
        let named = ["OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH"].into_iter().find_map(std::env::var_os);
        let vendors = named.filter(|v| !v.is_empty()).unwrap_or_else(|| "/etc/OpenCL/vendors".into());
        // A manifest is a library's name and nothing else.
        all = all.manifests(Path::new(&vendors), "icd", |text| {
            text.lines().map(str::trim).find(|l| !l.is_empty()).map(str::to_string)
        });
        Some(all)
    }

    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        let found = enumerate()?;
        Ok(found.iter().enumerate().map(|(n, d)| probe::probe(d.id, n as u32).map(|p| p.info)).collect())
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        let found = enumerate()?;
        let Some(device) = found.get(ordinal as usize) else {
            return Err(Error::NoDevice {
                asked: format!("{NAME}:{ordinal}"),
                why: format!("there are {}, counted from 0", found.len()),
            });
        };
        Ok(Arc::new(device::Device::open(device.id, ordinal)?))
    }
}

/// A device in the order of platforms, then devices: the order that gives it its number.
struct Found {
    id: cl_device_id,
}

/// Every device of every platform. `NoDriver` says what is missing when there is none.
fn enumerate() -> Result<Vec<Found>> {
    // Drivers initialise themselves at the first question, and not all are made for two at once: PoCL 3.1 hands a second
    // thread devices that the first is still filling in.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = device::lock(&ONE_AT_A_TIME);
    let no_driver = |why: String| Error::NoDriver { backend: NAME.into(), why };
    let platforms = opencl3::platform::get_platforms().map_err(|e| {
        no_driver(match e.0 {
            // CL_PLATFORM_NOT_FOUND_KHR
            -1001 => "the OpenCL loader is there, but no platform is registered with it".into(),
            opencl3::error_codes::DLOPEN_RUNTIME_LOAD_FAILED => {
                "the OpenCL loader (libOpenCL.so.1, OpenCL.dll) is not installed".into()
            }
            code => format!("clGetPlatformIDs: {}", cl::words(code)),
        })
    })?;
    let mut found = vec![];
    let mut none = vec![];
    for platform in platforms {
        let name = cl::platform_name(&platform);
        match opencl3::device::get_device_ids(platform.id(), opencl3::device::CL_DEVICE_TYPE_ALL) {
            Ok(ids) if ids.is_empty() => none.push(format!("{name} offers no device")),
            Ok(ids) => found.extend(ids.into_iter().map(|id| Found { id })),
            // CL_DEVICE_NOT_FOUND
            Err(-1) => none.push(format!("{name} offers no device")),
            Err(code) => none.push(format!("{name}: clGetDeviceIDs: {}", cl::words(code))),
        }
    }
    if found.is_empty() {
        none.push("install a driver, e.g. pocl-opencl-icd".into());
        return Err(no_driver(none.join("; ")));
    }
    Ok(found)
}
