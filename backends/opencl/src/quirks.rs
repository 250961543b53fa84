//! Known defects of drivers: data, a row each, with the defect that it works around.

use anychip_hal::info::Identity;

/// What a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Event times mean nothing: the device has no clock.
    NoClock,
    /// What the driver says of a kernel's largest workgroup means nothing: launching decides.
    NoKernelLimit,
}

/// A row.
pub struct Quirk {
    /// Platform name.
    pub driver: &'static str,
    /// Beginnings of the driver versions that have the defect; empty: all.
    pub versions: &'static [&'static str],
    /// What is done about it.
    pub effect: Effect,
    /// The defect, for whoever wants to know whether the row may go.
    #[allow(dead_code, reason = "read by people")]
    pub why: &'static str,
}

/// Every row.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        driver: "rusticl",
        versions: &["22.", "23."],
        effect: Effect::NoClock,
        why: "CL_PROFILING_COMMAND_START and _END of a kernel are always 1 ns apart (seen with Mesa 22.3.6 on llvmpipe)",
    },
    Quirk {
        driver: "rusticl",
        versions: &["22."],
        effect: Effect::NoKernelLimit,
        why: "CL_KERNEL_WORK_GROUP_SIZE is 32 for kernels that run with 1024 (seen with Mesa 22.3.6 on llvmpipe)",
    },
];

/// True when a row with this effect names the driver.
pub fn applies(effect: Effect, of: &Identity) -> bool {
    QUIRKS.iter().any(|q| {
        q.effect == effect
            && q.driver == of.driver
            && (q.versions.is_empty() || q.versions.iter().any(|v| of.version.starts_with(v)))
    })
}
