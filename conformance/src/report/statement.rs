//! What a bundle claims, in a few lines: what a support matrix is made of.

use super::{Facts, page};
use crate::{
    case::{LEVELS, SUITE},
    levels,
    run::{Outcome, kernels},
    verdict::{Counts, Judgement, Obstacle},
};
use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// As the device was named.
    pub device: String,
    /// The level.
    pub level: u8,
    /// Only what matches; nothing: all of the level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The seed of all inputs.
    pub seed: u64,
    /// Seconds of soaking.
    pub soak: u64,
}

impl Asked {
    /// The line that replays a case.
    pub fn replay(&self, id: &str) -> String {
        // As long as it was where it is not an hour.
        let soak = match id.contains("/soak/") && self.soak != 3600 {
            true => format!(" --soak {}", self.soak),
            false => String::new(),
        };
        format!("anychip conform --device {} --filter {id} --seed {}{soak}", self.device, self.seed)
    }
}

/// Who the device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chip {
    /// The product.
    pub name: String,
    /// Its maker.
    pub vendor: String,
    /// The way to it.
    pub backend: String,
    /// Software, a GPU, …
    pub class: String,
    /// The driver.
    pub driver: String,
    /// Its version.
    pub version: String,
    /// The system and the host's processor.
    pub host: String,
}

/// An area's cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Its level.
    pub level: u8,
    /// Its name.
    pub area: String,
    /// How they ended.
    pub counts: Counts,
}

/// `statement.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// In a sentence.
    pub verdict: String,
    /// The level that is reached; nothing: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u8>,
    /// The badge `exact`.
    pub exact: bool,
    /// When it was made, in UTC.
    pub made: String,
    /// Version of the suite.
    pub suite: u32,
    /// SHA-256 of the lists' sums.
    pub lists: String,
    /// Version of anychip.
    pub anychip: String,
    /// What made the page: where it is the same, the page can be made again and compared.
    pub page: String,
    /// minisign's public key of the author, where the bundle is to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Seconds that the cases took together.
    pub seconds: u64,
    /// How many of them the device's compiler or its cache took.
    #[serde(default)]
    pub loading: u64,
    /// Kernels and graphs of different content that the device loaded.
    #[serde(default)]
    pub kernels: usize,
    /// What was asked for.
    pub asked: Asked,
    /// The device.
    pub chip: Chip,
    /// How all cases ended.
    pub counts: Counts,
    /// By area.
    #[serde(default)]
    pub areas: Vec<Area>,
}

impl Statement {
    /// What a judgement claims.
    pub fn new(asked: Asked, facts: &Facts, judged: &Judgement, outcomes: &[Outcome]) -> Statement {
        let (d, e) = (&facts.device, &facts.environment);
        let class = serde_json::to_value(d.class).ok().and_then(|v| v.as_str().map(String::from)).unwrap_or_default();
        Statement {
            verdict: words(&asked, judged),
            level: judged.level,
            exact: judged.exact,
            made: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
            suite: SUITE,
            lists: levels::hash(),
            anychip: env!("CARGO_PKG_VERSION").into(),
            page: page::revision(),
            signer: None,
            seconds: outcomes.iter().map(|o| o.seconds).sum::<f64>() as u64,
            loading: outcomes.iter().map(|o| o.loading).sum::<f64>() as u64,
            kernels: kernels(outcomes),
            chip: Chip {
                name: d.identity.name.clone(),
                vendor: d.identity.vendor.clone(),
                backend: d.backend.clone(),
                class,
                driver: d.identity.driver.clone(),
                version: d.identity.version.clone(),
                host: format!("{}, {}", e.system, e.processor),
            },
            counts: judged.counts,
            areas: areas(judged),
            asked,
        }
    }
}

/// The areas of a judgement.
pub fn areas(judged: &Judgement) -> Vec<Area> {
    let area =
        |((level, area), counts): &((u8, String), Counts)| Area { level: *level, area: area.clone(), counts: *counts };
    judged.areas.iter().map(area).collect()
}

/// The verdict in a sentence.
pub fn words(asked: &Asked, judged: &Judgement) -> String {
    let c = judged.counts;
    let of = format!("{} of {} cases passed, suite {SUITE}, seed {}", c.pass, c.all(), asked.seed);
    if asked.filter.is_some() {
        return format!("no level: only what matches the filter was run; {of}");
    }
    let reached = match judged.level {
        Some(level) => format!("level {level} {}", LEVELS[level as usize % LEVELS.len()]),
        None => "no level".into(),
    };
    let mut text = format!("{reached}: {of}");
    if judged.exact {
        text += "; exact";
    }
    if judged.level == Some(3) && asked.soak < 3600 {
        let _ = write!(text, "; soaked for {} s instead of an hour", asked.soak);
    }
    if let Some(cap) = judged.short.iter().map(|s| s.level).min() {
        let _ = write!(text, "; level {cap} is out of reach: {}", obstacles(judged, cap));
    }
    text
}

/// How many cases are in the way of a level, by reason.
pub fn obstacles(judged: &Judgement, level: u8) -> String {
    let parts = [
        (Obstacle::Failed, "failed"),
        (Obstacle::Waived, "waived"),
        (Obstacle::Unexpected, "listed as failing but passed"),
        (Obstacle::Unsupported, "mandatory and not there"),
        (Obstacle::Missing, "not run"),
    ];
    let count = |o| judged.short.iter().filter(|s| s.level == level && s.obstacle == o).count();
    let parts: Vec<_> =
        parts.iter().filter(|(o, _)| count(*o) > 0).map(|(o, name)| format!("{} {name}", count(*o))).collect();
    parts.join(", ")
}
