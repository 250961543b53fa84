//! What a chip says of itself while it works: plain readings, each where the chip or its driver tells.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Readings of one moment. `None`: not told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Power that is drawn, in watts.
    pub power_watts: Option<f64>,
    /// Energy that was drawn since some moment in the past, in joules: a difference of two readings counts. Chips renew it
    /// some ten times a second.
    pub energy_joules: Option<f64>,
    /// Temperature of the chip, in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Clock of the units that compute, in MHz.
    pub clock_mhz: Option<u32>,
    /// Clock of the memory, in MHz.
    pub memory_clock_mhz: Option<u32>,
    /// Errors of memory that were corrected since the driver started.
    pub ecc_corrected: Option<u64>,
    /// Errors of memory that could not be corrected since the driver started.
    pub ecc_uncorrected: Option<u64>,
}

/// In a line: `87.5 W, 45 °C, 1980 MHz, memory 2619 MHz, memory errors 0 corrected and 0 not`.
impl fmt::Display for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        parts.extend(self.power_watts.map(|x| format!("{x:.1} W")));
        parts.extend(self.temperature_celsius.map(|x| format!("{x:.0} °C")));
        parts.extend(self.clock_mhz.map(|x| format!("{x} MHz")));
        parts.extend(self.memory_clock_mhz.map(|x| format!("memory {x} MHz")));
        match (self.ecc_corrected, self.ecc_uncorrected) {
            (Some(good), Some(bad)) => parts.push(format!("memory errors {good} corrected and {bad} not")),
            (Some(good), None) => parts.push(format!("memory errors {good} corrected")),
            (None, Some(bad)) => parts.push(format!("memory errors {bad} not corrected")),
            (None, None) => {}
        }
        f.write_str(&parts.join(", "))
    }
}
