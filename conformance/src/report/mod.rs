//! A bundle: what a run found, in a folder that someone else can check without the chip.
//!
//! | file | |
//! |---|---|
//! | `report.html` | the page for people |
//! | `results.jsonl` | a line per case: the evidence |
//! | `statement.toml` | what is claimed: level, device, what was asked for |
//! | `environment.json` | the device's data, the host, the driver's libraries, measured peaks |
//! | `waivers.toml` | failures that were known |
//! | `junit.xml` | for other tools |
//! | `HASHES` | the sums of the suite's lists |
//! | `SHA256SUMS` | the sums of all of these; `SHA256SUMS.minisig` is its author's signature, where there is one |

mod junit;
pub mod matrix;
mod page;
mod plot;
mod statement;
pub mod verify;

pub use statement::{Area, Asked, Chip, Statement, words};

use crate::{
    levels,
    run::{Environment, Outcome, Peaks, Selection},
    verdict::{Judgement, Waivers, judge},
};
use anychip::hal::DeviceInfo;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Every file of a bundle but the sums.
pub const FILES: [&str; 7] =
    ["report.html", "results.jsonl", "statement.toml", "environment.json", "waivers.toml", "junit.xml", "HASHES"];
/// The sums.
pub const SUMS: &str = "SHA256SUMS";
/// The signature of the sums.
pub const SIGNATURE: &str = "SHA256SUMS.minisig";

/// What a verdict depends on beside the cases: `environment.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// All of the device's data.
    pub device: DeviceInfo,
    /// The host and the driver.
    pub environment: Environment,
    /// What it can do at most, and what some operations reach.
    pub peaks: Option<Peaks>,
    /// Why that is not known.
    pub no_peaks: Option<String>,
}

/// Everything that a bundle holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What is claimed.
    pub statement: Statement,
    /// What came of every case, by id.
    pub outcomes: Vec<Outcome>,
    /// What it depends on.
    pub facts: Facts,
    /// Failures that were known.
    pub waivers: Waivers,
}

impl Report {
    /// States what outcomes say.
    ///
    /// # Errors
    /// A sentence about a filter that is none.
    pub fn new(
        asked: Asked,
        facts: Facts,
        mut outcomes: Vec<Outcome>,
        waivers: Waivers,
    ) -> Result<(Report, Judgement), String> {
        outcomes.sort_by(|a, b| a.id.cmp(&b.id));
        let judged = judged(&asked, &outcomes, &waivers)?;
        let statement = Statement::new(asked, &facts, &judged, &outcomes);
        Ok((Report { statement, outcomes, facts, waivers }, judged))
    }

    /// Every file's text, the sums aside.
    ///
    /// # Errors
    /// A sentence about what cannot be written down.
    pub fn files(&self) -> Result<Vec<(&'static str, String)>, String> {
        let json = |e: serde_json::Error| format!("JSON: {e}");
        let toml = |e: toml::ser::Error| format!("TOML: {e}");
        let mut results = String::new();
        for o in &self.outcomes {
            results += &serde_json::to_string(o).map_err(json)?;
            results.push('\n');
        }
        let texts = [
            page::render(self)?,
            results,
            toml::to_string(&self.statement).map_err(toml)?,
            serde_json::to_string_pretty(&self.facts).map_err(json)? + "\n",
            toml::to_string(&self.waivers).map_err(toml)?,
            junit::text(self)?,
            levels::own_sums(),
        ];
        Ok(FILES.into_iter().zip(texts).collect())
    }

    /// Writes the bundle. A folder that holds something else is left alone.
    ///
    /// # Errors
    /// A sentence with the path.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        writable(folder)?;
        let io = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
        let old = folder.join(SIGNATURE);
        if old.exists() {
            // It signed what is overwritten now.
            fs::remove_file(&old).map_err(|e| io(&old, e))?;
        }
        let mut sums = String::new();
        for (name, text) in self.files()? {
            sums += &format!("{}  {name}\n", levels::sha256(text.as_bytes()));
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| io(&path, e))?;
        }
        let path = folder.join(SUMS);
        fs::write(&path, sums).map_err(|e| io(&path, e))
    }
}

/// Makes the folder, and refuses one that is neither empty nor a bundle, or that nothing can be written into: nothing of anyone
/// else's is overwritten, and no long run ends without its bundle.
///
/// # Errors
/// A sentence that says so.
pub fn writable(folder: &Path) -> Result<(), String> {
    let empty = fs::read_dir(folder).map_or(true, |mut files| files.next().is_none());
    if !empty && !folder.join(SUMS).exists() {
        return Err(format!("{} is not empty and holds no bundle; name another folder", folder.display()));
    }
    let trial = folder.join(".trial");
    let written =
        fs::create_dir_all(folder).and_then(|()| fs::write(&trial, "")).and_then(|()| fs::remove_file(&trial));
    written.map_err(|e| format!("nothing can be written into {}: {e}; name another folder", folder.display()))
}

/// Judges by the lists what was asked for; a part of it reaches no level.
///
/// # Errors
/// A sentence about a filter that is none.
pub fn judged(asked: &Asked, outcomes: &[Outcome], waivers: &Waivers) -> Result<Judgement, String> {
    let selection = Selection::new(Some(asked.level), asked.filter.as_deref())?;
    let list: Vec<_> = levels::listed().iter().filter(|l| selection.takes(&l.id, l.level)).cloned().collect();
    let mut judged = judge(&list, outcomes, waivers);
    if !selection.is_all() {
        judged.level = None;
        judged.exact = false;
    }
    Ok(judged)
}
