//! NVML as far as the backend asks it: a chip that draws 100 W whatever it does, at 45 °C and fixed clocks, without errors of memory.

use crate::{
    calls::{compiler, put},
    settings::settings,
};
use std::{
    ffi::{CStr, c_char},
    sync::OnceLock,
    time::Instant,
};

const INVALID_ARGUMENT: u32 = 2;
const NOT_FOUND: u32 = 6;
const POWER_WATTS: f64 = 100.0;

type Outcome = Result<(), u32>;

macro_rules! api {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::missing_safety_doc)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> u32 {
            let body = || -> Outcome { $body };
            compiler(stringify!($name), false, || body().err().unwrap_or(0))
        }
    )*};
}

fn give<T>(to: *mut T, value: T) -> Outcome {
    put(to, value).map_err(|_| INVALID_ARGUMENT)
}

/// A handle of a device, which is one more than its number.
fn check(device: usize) -> Outcome {
    if (1..=settings().devices).contains(&device) { Ok(()) } else { Err(INVALID_ARGUMENT) }
}

fn text(at: *const c_char) -> Result<String, u32> {
    if at.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: the caller's C string.
    Ok(unsafe { CStr::from_ptr(at) }.to_string_lossy().to_lowercase())
}

fn find(device: *mut usize, is: impl Fn(usize) -> bool) -> Outcome {
    let at = (0..settings().devices).find(|at| is(*at)).ok_or(NOT_FOUND)?;
    give(device, at + 1)
}

api! {
    fn nvmlInit_v2() { Ok(()) }

    fn nvmlShutdown() { Ok(()) }

    fn nvmlSystemGetDriverVersion(version: *mut c_char, room: u32) {
        let words = c"580.0.0".to_bytes_with_nul();
        if version.is_null() || (room as usize) < words.len() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: the caller has room for so many bytes.
        unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), version.cast(), words.len()) };
        Ok(())
    }

    fn nvmlDeviceGetHandleByPciBusId_v2(id: *const c_char, device: *mut usize) {
        let id = text(id)?;
        find(device, |at| crate::device::pci(at).to_lowercase() == id)
    }

    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut usize) {
        let digits = |text: &str| text.trim_start_matches("gpu-").replace('-', "");
        let asked = digits(&text(uuid)?);
        let own = |at: usize| crate::device::uuid(at).iter().map(|b| format!("{b:02x}")).collect::<String>();
        find(device, |at| own(at) == asked)
    }

    fn nvmlDeviceGetPowerUsage(device: usize, milliwatts: *mut u32) {
        check(device)?;
        give(milliwatts, (POWER_WATTS * 1e3) as u32)
    }

    fn nvmlDeviceGetTotalEnergyConsumption(device: usize, millijoules: *mut u64) {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        check(device)?;
        give(millijoules, 1_000_000 + (BEGIN.get_or_init(Instant::now).elapsed().as_secs_f64() * POWER_WATTS * 1e3) as u64)
    }

    fn nvmlDeviceGetTemperature(device: usize, sensor: u32, celsius: *mut u32) {
        check(device)?;
        if sensor == 0 { give(celsius, 45) } else { Err(INVALID_ARGUMENT) }
    }

    fn nvmlDeviceGetClockInfo(device: usize, which: u32, mhz: *mut u32) {
        check(device)?;
        // Graphics, multiprocessors, memory, video.
        let clocks = [1980, 1980, 2619, 1590];
        give(mhz, *clocks.get(which as usize).ok_or(INVALID_ARGUMENT)?)
    }

    fn nvmlDeviceGetTotalEccErrors(device: usize, _which: u32, _counter: u32, errors: *mut u64) {
        check(device)?;
        give(errors, 0)
    }
}

#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn nvmlErrorString(code: u32) -> *const c_char {
    let words: &CStr = match code {
        0 => c"Success",
        INVALID_ARGUMENT => c"Invalid Argument",
        3 => c"Not Supported",
        NOT_FOUND => c"Not Found",
        15 => c"GPU is lost",
        _ => c"Unknown Error",
    };
    words.as_ptr()
}
