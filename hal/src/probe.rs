//! Drivers are code of others: some hang or die when they are first touched, which must cost a line and not the process.
//!
//! A [`Helper`] is a program that touches a driver in this one's stead (the `anychip` command asks itself). What came of it is
//! kept on disk, in the folder `probes` of the cache, under everything that it may depend on ([`Installed`]): the next process
//! asks nobody. A process without a helper touches drivers itself, but those that are recorded as having hung or died it
//! leaves alone.
//!
//! | variable | effect |
//! |---|---|
//! | `ANYCHIP_PROBE=<program>` | is run as `program probe DRIVER[:ORDINAL]`, whatever helper the host has |
//! | `ANYCHIP_PROBE=off` | nobody probes, and no record is looked at |
//! | `ANYCHIP_PROBE_SECONDS=<n>` | how long one probing may take, 10 otherwise |
//!
//! Driver and device are probed apart: `probe vulkan` asks for the devices, `probe vulkan:1` opens one and runs a kernel on
//! it. A driver that brings nothing of others ([`Driver::installed`] is `None`, as for the CPU) is never probed, and no
//! record can hide it.

mod child;
mod installed;
mod kernel;
mod store;

use crate::{Driver, layer};
pub use child::Helper;
pub(crate) use child::answer;
pub use installed::Installed;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The environment variable that names a helper, or is `off`.
pub const HELPER_VARIABLE: &str = "ANYCHIP_PROBE";
/// The environment variable with the seconds that one probing may take.
pub const LIMIT_VARIABLE: &str = "ANYCHIP_PROBE_SECONDS";

/// What probing a driver, or one device of it, ended with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It answered, if only that there is nothing: it may be touched.
    Fine,
    /// The process that touched it died.
    Died {
        /// `SIGILL`, `exit code 3`.
        how: String,
        /// The last line that it wrote to its standard error.
        said: String,
    },
    /// It did not end in time.
    Hung {
        /// The time that it had.
        limit: Duration,
    },
    /// It computes something else than was asked, or is lost.
    Wrong {
        /// What happened.
        why: String,
    },
}

impl Outcome {
    /// Why it must not be touched; `None` when it may.
    pub fn why(&self) -> Option<String> {
        const AGAIN: &str = "`anychip devices --probe` tries again";
        match self {
            Outcome::Fine => None,
            Outcome::Died { how, said } if said.is_empty() => Some(format!("probing it ended with {how}; {AGAIN}")),
            Outcome::Died { how, said } => Some(format!("probing it ended with {how} ({said}); {AGAIN}")),
            Outcome::Hung { limit } => Some(format!("probing it did not end within {limit:?}; {AGAIN}")),
            Outcome::Wrong { why } => Some(format!("it cannot be relied on: {why}; {AGAIN}")),
        }
    }
}

/// What is known of a driver and its devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    driver: Option<Outcome>,
    devices: BTreeMap<u32, Outcome>,
}

impl Record {
    fn get(&self, device: Option<u32>) -> Option<&Outcome> {
        match device {
            None => self.driver.as_ref(),
            Some(n) => self.devices.get(&n),
        }
    }

    fn set(&mut self, device: Option<u32>, outcome: Outcome) {
        match device {
            None => self.driver = Some(outcome),
            Some(n) => drop(self.devices.insert(n, outcome)),
        }
    }
}

/// What this process knows of a driver as it is installed.
struct Known {
    /// What it depends on.
    key: String,
    record: Record,
    /// What is true of this process only and not worth a record.
    passing: HashMap<Option<u32>, Option<String>>,
}

/// What a registry knows of its drivers. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Probes {
    /// The host's own.
    pub helper: Option<Helper>,
    /// Where records lie; `None`: in the cache's folder.
    pub folder: Option<PathBuf>,
    /// Records on disk are not read, only written.
    again: bool,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl Probes {
    /// As if nothing were recorded.
    pub fn again(&mut self) {
        self.again = true;
        self.forget();
    }

    /// What was read before is read anew.
    pub fn forget(&mut self) {
        self.known = Arc::default();
    }

    /// What is to be known before a driver is touched, as it is installed now; `None`: nothing, it may be.
    pub fn of<'a>(&'a self, driver: &'a dyn Driver) -> Option<Touch<'a>> {
        // A driver of the house, or a place without processes and files.
        let installed = driver.installed().filter(|_| !cfg!(target_arch = "wasm32"))?;
        let named = std::env::var_os(HELPER_VARIABLE).filter(|v| !v.is_empty());
        let helper = match &named {
            Some(v) if v.eq_ignore_ascii_case("off") || v == "0" => return None,
            Some(program) => Some(Helper::new(program)),
            None => self.helper.clone(),
        };
        let folder = self.folder.clone().or_else(layer::default_folder);
        let (name, key) = (driver.name(), installed.key(driver.name()));
        let mut all = layer::lock(&self.known);
        if all.get(name).is_none_or(|known| known.key != key) {
            let read = folder.as_ref().filter(|_| !self.again).and_then(|f| store::read(f, &key));
            let known = Known { key, record: read.unwrap_or_default(), passing: HashMap::new() };
            all.insert(name.to_string(), known);
        }
        Some(Touch { name, helper, folder, known: &self.known })
    }
}

/// A driver about to be touched.
pub(crate) struct Touch<'a> {
    name: &'a str,
    helper: Option<Helper>,
    folder: Option<PathBuf>,
    known: &'a Mutex<HashMap<String, Known>>,
}

impl Touch<'_> {
    /// Why the driver, or one device of it, must not be touched. Probes it first if that has not been done and there is a helper.
    pub fn hidden(&self, device: Option<u32>) -> Option<String> {
        // Held while a helper is at work: who asks for the same driver wants to know the same.
        let mut all = layer::lock(self.known);
        let known = all.get_mut(self.name)?;
        if let Some(outcome) = known.record.get(device) {
            return outcome.why();
        }
        if let Some(why) = known.passing.get(&device) {
            return why.clone();
        }
        let target = device.map_or(self.name.to_string(), |n| format!("{}:{n}", self.name));
        match self.helper.as_ref()?.ask(&target) {
            child::Answer::Lasting(outcome) => {
                let why = outcome.why();
                known.record.set(device, outcome);
                if let Some(folder) = &self.folder {
                    // A full disk or a folder that went away costs the next start this probing, nothing else.
                    let _ = store::write(folder, &known.key, &known.record);
                }
                why
            }
            child::Answer::Passing(why) => {
                known.passing.insert(device, why.clone());
                why
            }
        }
    }
}
