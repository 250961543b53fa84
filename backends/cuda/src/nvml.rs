//! NVML, the library behind `nvidia-smi`: what a chip says of its power, heat, clocks and memory errors.
//!
//! Opened when somebody asks; it makes no context and disturbs no work. A reading that a chip does not have is left out.

use anychip_hal::telemetry::Telemetry;
#[cfg(any(target_os = "linux", windows))]
use {
    nvml_wrapper::{
        Nvml,
        enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor},
    },
    std::{mem::ManuallyDrop, sync::OnceLock},
};

/// The readings of the chip of this physical name (`pci:0000:3b:00.0`, `uuid:…`), or why there are none.
#[cfg(any(target_os = "linux", windows))]
pub fn read(physical: &str) -> Result<Telemetry, String> {
    // Never shut down: the crate's own end of it panics where a symbol is missing.
    static NVML: OnceLock<Result<ManuallyDrop<Nvml>, String>> = OnceLock::new();
    let open = || Nvml::init().map(ManuallyDrop::new).map_err(|e| format!("NVML (libnvidia-ml.so.1, nvml.dll): {e}"));
    let nvml = NVML.get_or_init(open).as_ref().map_err(Clone::clone)?;
    let device = match (physical.strip_prefix("pci:"), physical.strip_prefix("uuid:")) {
        (Some(address), _) => nvml.device_by_pci_bus_id(address),
        (_, Some(digits)) => nvml.device_by_uuid(uuid(digits).ok_or_else(|| format!("{physical} is no UUID"))?),
        _ => return Err(format!("{physical:?} is neither a PCI address nor a UUID, by which NVML knows its chips")),
    };
    let device = device.map_err(|e| format!("NVML does not know {physical}: {e}"))?;
    let errors = |of: MemoryError| device.total_ecc_errors(of, EccCounter::Volatile).ok();
    Ok(Telemetry {
        power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        energy_joules: device.total_energy_consumption().ok().map(|millijoules| millijoules as f64 / 1e3),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        clock_mhz: device.clock_info(Clock::SM).ok(),
        memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
        ecc_corrected: errors(MemoryError::Corrected),
        ecc_uncorrected: errors(MemoryError::Uncorrected),
    })
}

/// NVIDIA has no such library for this system.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn read(physical: &str) -> Result<Telemetry, String> {
    Err(format!("there is no NVML for this system, of which {physical} could be asked"))
}

/// 32 hexadecimal digits as NVML writes a UUID.
#[cfg(any(target_os = "linux", windows))]
fn uuid(digits: &str) -> Option<String> {
    let part = |from: usize, to: usize| digits.get(from..to);
    let parts = [part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?];
    (digits.len() == 32).then(|| format!("GPU-{}", parts.join("-")))
}

#[cfg(all(test, any(target_os = "linux", windows)))]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_nvml_does() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert_eq!(uuid(digits).as_deref(), Some("GPU-01234567-89ab-cdef-0123-456789abcdef"));
        assert_eq!(uuid("0123"), None);
        assert!(read("the host's processor").is_err());
    }
}
