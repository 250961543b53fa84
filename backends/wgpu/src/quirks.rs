//! Known defects of the drivers below wgpu: data, a row each, with the defect that it works around.

use anychip_hal::{
    info::Identity,
    quirk::{self, Quirk},
};

/// What a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// u32 becomes f32 by its halves.
    UnsignedTwice,
}

/// Every row.
pub const QUIRKS: &[Quirk<Effect>] = &[Quirk {
    driver: "Vulkan SwiftShader driver",
    versions: &[],
    effect: Effect::UnsignedTwice,
    why: "OpConvertUToF to f32 rounds twice; wgpu does not tell the version (5.0.0, conformance/findings/swiftshader-unsigned)",
}];

/// True when a row with this effect names the driver.
pub fn applies(effect: Effect, of: &Identity) -> bool {
    quirk::applies(QUIRKS, effect, of)
}
