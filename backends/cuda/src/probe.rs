//! What a chip is and can do, asked from its driver.

use crate::{
    NAME,
    api::Api,
    chip::{Chip, OLDEST},
};
use anychip_hal::{Error, Result};
use cudarc::driver::sys::*;
use std::ffi::{CStr, c_char};

/// A device of the driver's, asked.
pub struct Probed {
    pub device: CUdevice,
    pub chip: Chip,
    /// Allocation in the order of a stream.
    pub pools: bool,
}

/// How many there are.
pub fn count(api: &Api) -> Result<u32> {
    let mut n = 0;
    api.good(NAME, "cuDeviceGetCount", unsafe { (api.cuDeviceGetCount)(&mut n) })?;
    Ok(n.max(0) as u32)
}

/// Asks a device. An error says why it cannot be used; it hides no other device.
pub fn probe(api: &Api, ordinal: u32) -> Result<Probed> {
    use CUdevice_attribute_enum::*;
    let id = format!("{NAME}:{ordinal}");
    let mut device = 0;
    api.good(&id, "cuDeviceGet", unsafe { (api.cuDeviceGet)(&mut device, ordinal as i32) })?;
    let mut name = [0 as c_char; 256];
    let code = unsafe { (api.cuDeviceGetName)(name.as_mut_ptr(), name.len() as i32, device) };
    api.good(&id, "cuDeviceGetName", code)?;
    let name = text(&mut name);
    let number = |what: CUdevice_attribute, call: &str| {
        let mut n = 0;
        let code = unsafe { (api.cuDeviceGetAttribute)(&mut n, what, device) };
        api.good(&id, &format!("cuDeviceGetAttribute of {call}"), code).map(|()| n.max(0) as u32)
    };
    let capability = (
        number(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, "the compute capability")?,
        number(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, "the compute capability")?,
    );
    let refuse = |why: String| Err(Error::unsupported(format!("{id} ({name})"), why));
    if capability < OLDEST {
        return refuse(format!("its compute capability is {}.{}; 6.0 is needed", capability.0, capability.1));
    }
    // CU_COMPUTEMODE_PROHIBITED
    if number(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, "the compute mode")? == 2 {
        return refuse("its compute mode prohibits contexts (nvidia-smi -c 0 allows them)".into());
    }
    let mut memory = 0;
    api.good(&id, "cuDeviceTotalMem", unsafe { (api.cuDeviceTotalMem_v2)(&mut memory, device) })?;
    let mut version = 0;
    api.good(&id, "cuDriverGetVersion", unsafe { (api.cuDriverGetVersion)(&mut version) })?;
    let dim = |d: [CUdevice_attribute; 3], call: &str| -> Result<[u32; 3]> {
        Ok([number(d[0], call)?, number(d[1], call)?, number(d[2], call)?])
    };
    let chip = Chip {
        ordinal,
        capability,
        driver: (version as u32 / 1000, version as u32 % 1000 / 10),
        physical: physical(api, device),
        memory: memory as u64,
        integrated: number(CU_DEVICE_ATTRIBUTE_INTEGRATED, "what it is")? == 1,
        multiprocessors: number(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, "its multiprocessors")?,
        workgroup: number(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, "the largest block")?,
        workgroup_dim: dim(
            [
                CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X,
                CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y,
                CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z,
            ],
            "the largest block",
        )?,
        groups: dim(
            [
                CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X,
                CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y,
                CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z,
            ],
            "the largest grid",
        )?,
        shared: number(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, "shared memory")?,
        tf32: crate::is_set("ANYCHIP_CUDA_TF32", &["1", "on"]),
        name,
    };
    // Older drivers do not know the question.
    let pools = number(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, "memory pools").unwrap_or(0) == 1;
    Ok(Probed { device, chip, pools })
}

fn text(bytes: &mut [c_char]) -> String {
    if let Some(last) = bytes.last_mut() {
        *last = 0;
    }
    // It ends within the array: its last byte is zero.
    unsafe { CStr::from_ptr(bytes.as_ptr()) }.to_string_lossy().trim().to_string()
}

/// What ties the chip to other backends: its PCI address, written as they write it, else its UUID.
fn physical(api: &Api, device: CUdevice) -> String {
    let mut bus = [0 as c_char; 32];
    let code = unsafe { (api.cuDeviceGetPCIBusId)(bus.as_mut_ptr(), bus.len() as i32, device) };
    if code == 0
        && let Some(address) = pci(&text(&mut bus))
    {
        return address;
    }
    let mut uuid = CUuuid { bytes: [0; 16] };
    match unsafe { (api.cuDeviceGetUuid_v2)(&mut uuid, device) } {
        0 => uuid.bytes.iter().fold("uuid:".to_string(), |s, x| s + &format!("{:02x}", *x as u8)),
        _ => String::new(),
    }
}

/// `00000000:3B:00.0` or `0000:3B:00.0` as `pci:0000:3b:00.0`; nothing for an address of zeros, which is none.
fn pci(text: &str) -> Option<String> {
    let (address, function) = text.split_once('.')?;
    let parts = address.split(':').map(|p| u32::from_str_radix(p, 16).ok()).collect::<Option<Vec<_>>>()?;
    let [domain, bus, device] = parts[..] else { return None };
    let function = u32::from_str_radix(function, 16).ok()?;
    (bus != 0 || device != 0).then(|| format!("pci:{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_other_backends_write_it() {
        assert_eq!(pci("0000:3B:00.1").as_deref(), Some("pci:0000:3b:00.1"));
        assert_eq!(pci("00000000:3B:00.1").as_deref(), Some("pci:0000:3b:00.1"));
        for none in ["", "0000:00:00.0", "3B:00.1", "0000:3B:00", "x:y:z.0"] {
            assert_eq!(pci(none), None, "{none:?}");
        }
    }
}
