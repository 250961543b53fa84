//! Devices: how many, what they call themselves, what they can do. The figures are those of a chip of the emulated compute capability,
//! but for two multiprocessors and the memory that the settings give it.

use crate::{
    abi::Device,
    calls::{driver_api, put},
    code::{Code, Outcome},
    settings::settings,
};
use std::{
    ffi::{CStr, CString, c_char, c_void},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

static READY: AtomicBool = AtomicBool::new(false);

/// What every device's name begins with: reports tell an emulated chip by it.
const NAME: &str = "anychip CUDA emulator";

/// Has `cuInit` been called?
pub fn initialised() -> bool {
    READY.load(Ordering::Acquire)
}

/// `cuInit` has been called.
pub fn ready() -> Outcome {
    if initialised() { Ok(()) } else { Err(Code::NOT_INITIALIZED) }
}

/// The number of a device that is there.
pub fn check(device: Device) -> Result<usize, Code> {
    ready()?;
    usize::try_from(device).ok().filter(|at| *at < settings().devices).ok_or(Code::INVALID_DEVICE)
}

/// Bytes of shared memory that a block may have when it asks for them; 48 KiB it has without asking.
pub fn shared_optin() -> u32 {
    match settings().capability {
        (7, 0) => 96 << 10,
        (7, _) => 64 << 10,
        (8, 0 | 7) => 163 << 10,
        (8, _) => 99 << 10,
        (12, _) => 99 << 10,
        (9.., _) => 227 << 10,
        _ => 48 << 10,
    }
}

pub fn shared_per_multiprocessor() -> u32 {
    match settings().capability {
        (6.., _) => shared_optin() + if settings().capability.0 >= 8 { 1 << 10 } else { 0 },
        _ => 64 << 10,
    }
}

pub fn threads_per_multiprocessor() -> u32 {
    match settings().capability {
        (7, 5) => 1024,
        (8, 6 | 7 | 9) | (12, _) => 1536,
        _ => 2048,
    }
}

/// CUdevice_attribute to its value, by the numbers of cuda.h.
fn attribute(attribute: u32, device: usize) -> Result<i32, Code> {
    let (major, minor) = settings().capability;
    Ok(match attribute {
        1..=3 => [1024, 1024, 64][attribute as usize - 1],
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => 48 << 10,
        9 => 64 << 10,
        10 => 32,
        11 => i32::MAX,
        12 | 82 => 65536,
        13 => 1_000_000,
        14 => 512,
        15 | 19 | 31 | 41 | 78 | 79 | 80 | 83 => 1,
        16 => 2,
        17 | 18 | 20 | 35 => 0,
        32 => 1,
        33 => device as i32 + 1,
        34 | 50 => 0,
        36 => 1_000_000,
        37 => 512,
        38 => 4 << 20,
        39 => threads_per_multiprocessor() as i32,
        40 => 2,
        75 => major as i32,
        76 => minor as i32,
        81 => shared_per_multiprocessor() as i32,
        84..=86 => 0,
        87 => 2,
        88..=94 => 0,
        95 => 1,
        97 => shared_optin() as i32,
        98..=105 | 107..=110 | 112..=114 | 116..=119 | 121 => 0,
        106 => 32,
        111 => {
            if major >= 8 {
                1024
            } else {
                0
            }
        }
        115 => 1,
        _ => return Err(Code::INVALID_VALUE),
    })
}

/// A device's address; no such domain is on any real machine.
pub fn pci(device: usize) -> String {
    format!("FFFF:{:02X}:00.0", device + 1)
}

pub fn uuid(device: usize) -> [u8; 16] {
    let mut bytes = *b"anychip emulate\0";
    bytes[15] = device as u8;
    bytes
}

fn put_text(to: *mut c_char, room: i32, text: &str) -> Outcome {
    if to.is_null() || room < 1 {
        return Err(Code::INVALID_VALUE);
    }
    let n = text.len().min(room as usize - 1);
    // SAFETY: the caller has room for so many bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), n);
        *to.add(n) = 0;
    }
    Ok(())
}

driver_api! {
    fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let settings = settings();
        crate::exec::prepare();
        READY.store(true, Ordering::Release);
        if settings.devices == 0 { Err(Code(100)) } else { Ok(()) }
    }

    fn cuDriverGetVersion(version: *mut i32) { put(version, settings().driver) }

    fn cuDeviceGetCount(count: *mut i32) {
        ready()?;
        put(count, settings().devices as i32)
    }

    fn cuDeviceGet(device: *mut Device, ordinal: i32) { put(device, check(ordinal)? as Device) }

    fn cuDeviceGetName(name: *mut c_char, room: i32, device: Device) {
        let (at, (major, minor)) = (check(device)?, settings().capability);
        put_text(name, room, &format!("{NAME} sm_{major}{minor} #{at}"))
    }

    fn cuDeviceGetAttribute(value: *mut i32, which: u32, device: Device) { put(value, attribute(which, check(device)?)?) }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: Device) {
        check(device)?;
        put(bytes, settings().memory as usize)
    }

    fn cuDeviceGetUuid_v2(to: *mut [u8; 16], device: Device) { put(to, uuid(check(device)?)) }

    fn cuDeviceGetUuid(to: *mut [u8; 16], device: Device) { put(to, uuid(check(device)?)) }

    fn cuDeviceGetPCIBusId(id: *mut c_char, room: i32, device: Device) {
        put_text(id, room, &pci(check(device)?))
    }

    fn cuDeviceCanAccessPeer(can: *mut i32, device: Device, peer: Device) { put(can, (check(device)? != check(peer)?) as i32) }

    fn cuGetErrorName(code: u32, name: *mut *const c_char) {
        match Code(code).name() {
            Some(text) => put(name, text.as_ptr()),
            None => put(name, std::ptr::null()).and(Err(Code::INVALID_VALUE)),
        }
    }

    fn cuGetErrorString(code: u32, text: *mut *const c_char) {
        match sentence(code) {
            Some(sentence) => put(text, sentence.as_ptr()),
            None => put(text, std::ptr::null()).and(Err(Code::INVALID_VALUE)),
        }
    }

    fn cuGetProcAddress_v2(symbol: *const c_char, to: *mut *mut c_void, version: i32, _flags: u64, status: *mut u32) {
        if symbol.is_null() || to.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: a C string of the caller.
        let found = address(unsafe { CStr::from_ptr(symbol) }, version);
        if !status.is_null() {
            put(status, found.is_null() as u32)?;
        }
        put(to, found)?;
        if found.is_null() { Err(Code::NOT_FOUND) } else { Ok(()) }
    }

    // NVIDIA's own NVRTC, in one process with this driver, asks for tables of the driver's insides, and calls this without a look at
    // whether it is there.
    fn cuGetExportTable(to: *mut *const c_void, _table: *const c_void) {
        put(to, std::ptr::null())?;
        Err(Code::NOT_FOUND)
    }
}

/// The words of a code: its name as a sentence.
fn sentence(code: u32) -> Option<&'static CStr> {
    static SENTENCES: LazyLock<Mutex<std::collections::HashMap<u32, &'static CStr>>> = LazyLock::new(Default::default);
    let name = Code(code).name()?.to_str().ok()?;
    let mut known = crate::calls::lock(&SENTENCES);
    Some(*known.entry(code).or_insert_with(|| {
        let words = name.trim_start_matches("CUDA_").trim_start_matches("ERROR_").replace('_', " ").to_lowercase();
        // At most one for each code of cuda.h: callers may keep them for ever.
        Box::leak(CString::new(words).unwrap_or_default().into_boxed_c_str())
    }))
}

/// The newest form of a symbol that a program made for this version of CUDA knows.
fn address(symbol: &CStr, version: i32) -> *mut c_void {
    let Ok(name) = symbol.to_str() else { return std::ptr::null_mut() };
    let forms: &[&str] = match name {
        "cuCtxCreate" if version >= 13000 => &["_v4"],
        "cuEventElapsedTime" if version >= 13000 => &["_v2"],
        "cuEventElapsedTime" => &[""],
        "cuGraphInstantiate" => &["WithFlags"],
        _ => &["_v2", ""],
    };
    forms
        .iter()
        .filter_map(|form| CString::new(format!("{name}{form}")).ok())
        .map(|name| crate::exec::own_symbol(&name))
        .find(|found| !found.is_null())
        .unwrap_or(std::ptr::null_mut())
}
