//! Known defects of drivers and of the validation layer: data, a row each, with the defect that it works around.

use anychip_hal::info::Identity;

/// What a row changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Two threads must not call it at once.
    #[allow(dead_code, reason = "no driver so far")]
    Serialised,
    /// Unloading submits nothing now and then, for what was destroyed waits for a submission.
    LateDestroy,
}

/// A row.
pub struct Quirk {
    /// Driver name.
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
pub const QUIRKS: &[Quirk] = &[Quirk {
    driver: "llvmpipe",
    versions: &["Mesa 22."],
    effect: Effect::LateDestroy,
    why: "vkDestroyPipeline gives back nothing: the next vkQueueSubmit does, so that pipelines made and destroyed with none \
          between pile up, 17 KB for the smallest (22.3.6, conformance/findings/llvmpipe-pipelines)",
}];

/// True when a row with this effect names the driver.
pub fn applies(effect: Effect, of: &Identity) -> bool {
    QUIRKS.iter().any(|q| {
        q.effect == effect
            && q.driver == of.driver
            && (q.versions.is_empty() || q.versions.iter().any(|v| of.version.starts_with(v)))
    })
}

/// Parts of messages of the validation layer that are wrong, and why.
const MISTAKEN: &[(&str, &str)] = &[];

/// True when a message of the validation layer is known to be wrong.
pub fn mistaken(message: &str) -> bool {
    MISTAKEN.iter().any(|(part, _)| message.contains(part))
}
