//! Known defects of drivers and of the validation layer: data, a row each, with the defect that it works around.

use anychip_hal::{
    info::Identity,
    quirk::{self, Quirk},
};

/// What a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Two threads must not call it at once.
    #[allow(dead_code, reason = "no driver so far")]
    Serialised,
    /// Unloading submits nothing now and then, for what was destroyed waits for a submission.
    LateDestroy,
    /// u32 becomes f32 by its halves.
    UnsignedTwice,
    /// Trunc and RoundEven of f64 by other operations.
    RoundedDoubles,
}

/// Every row.
pub const QUIRKS: &[Quirk<Effect>] = &[
    Quirk {
        driver: "llvmpipe",
        versions: &["Mesa 22."],
        effect: Effect::LateDestroy,
        why: "vkDestroyPipeline gives back nothing: the next vkQueueSubmit does, so that pipelines made and destroyed with none \
              between pile up, 17 KB for the smallest (22.3.6, conformance/findings/llvmpipe-pipelines)",
    },
    Quirk {
        driver: "llvmpipe",
        versions: &["Mesa 22."],
        effect: Effect::RoundedDoubles,
        why: "where its vectors have 512 bits, Trunc and RoundEven of f64 leave numbers as they are whose magnitude is above 2^24, and \
              RoundEven of -1.5 is -1 (22.3.6, LLVM 15, LP_NATIVE_VECTOR_WIDTH=512, conformance/findings/llvmpipe-doubles)",
    },
    Quirk {
        driver: "SwiftShader driver",
        versions: &["0x1400000"],
        effect: Effect::UnsignedTwice,
        why: "OpConvertUToF to f32 rounds the lower 31 bits, then the sum with the upper one: 3705011850 becomes 3705011712 and \
              not 3705011968 (5.0.0, conformance/findings/swiftshader-unsigned)",
    },
];

/// True when a row with this effect names the driver.
pub fn applies(effect: Effect, of: &Identity) -> bool {
    quirk::applies(QUIRKS, effect, of)
}

/// Parts of messages of the validation layer that are wrong, and why.
const MISTAKEN: &[(&str, &str)] = &[];

/// True when a message of the validation layer is known to be wrong.
pub fn mistaken(message: &str) -> bool {
    MISTAKEN.iter().any(|(part, _)| message.contains(part))
}
