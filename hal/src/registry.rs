//! Drivers by name, the devices that they reach, and device chains.
//!
//! A device is asked for by text: `"cpu"` (the same as `"cpu:0"`), `"opencl:1"`, a chain `"opencl:0,cpu"`, or `"auto"`.
//! The registry knows no backend: whoever builds it adds the drivers. A driver that is missing is a line in the listing.
//!
//! ```
//! use anychip_hal::{Device, Driver, Registry, Result};
//! use std::sync::Arc;
//!
//! /// What the user named in `ANYCHIP_DEVICE`, or the best there is.
//! fn open(drivers: Vec<Arc<dyn Driver>>) -> Result<Vec<Device>> {
//!     let mut registry = Registry::new();
//!     drivers.into_iter().for_each(|driver| registry.add(driver));
//!     registry.open_default()
//! }
//! # assert!(open(vec![]).is_err());
//! ```

use crate::{
    Device, DeviceInfo, Driver, Error, RawDevice, Result,
    info::{DeviceClass, Numerics},
    layer,
    probe::{self, Helper, Probes},
    telemetry::Telemetry,
};
use serde::Serialize;
use std::{cmp::Reverse, io, path::PathBuf, sync::Arc};

/// The environment variable that [`Registry::open_default`] reads.
pub const DEVICE_VARIABLE: &str = "ANYCHIP_DEVICE";

/// The drivers of a process.
#[derive(Clone, Default)]
pub struct Registry {
    drivers: Vec<Arc<dyn Driver>>,
    probes: Probes,
}

/// Every device of every backend, and why the others give none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Listing {
    /// What can be opened, by driver in the order in which drivers were added.
    pub devices: Vec<DeviceInfo>,
    /// What cannot.
    pub unavailable: Vec<Unavailable>,
}

/// A backend, or one device of it, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unavailable {
    /// The driver's name; with an ordinal when it is about one device (`"opencl:1"`).
    pub backend: String,
    /// The reason.
    pub why: String,
}

impl Listing {
    /// The other ways to the chip of one of these devices, by their ids.
    pub fn ties(&self, info: &DeviceInfo) -> Vec<&str> {
        let tied = |d: &&DeviceInfo| d.id != info.id && d.identity.same_chip(&info.identity);
        self.devices.iter().filter(tied).map(|d| d.id.as_str()).collect()
    }
}

impl Registry {
    /// A registry without drivers.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds a driver; one of the same name is replaced.
    pub fn add(&mut self, driver: Arc<dyn Driver>) {
        match self.drivers.iter_mut().find(|d| d.name() == driver.name()) {
            Some(old) => *old = driver,
            None => self.drivers.push(driver),
        }
    }

    /// Before a driver is touched of which nothing is recorded, this program touches it. Without one, drivers are touched in
    /// this process; those that are recorded as having hung or died are not. `ANYCHIP_PROBE` comes before it
    /// ([`crate::probe`]).
    pub fn probe_with(&mut self, helper: Helper) {
        self.probes.helper = Some(helper);
        self.probes.forget();
    }

    /// Forgets what probing ended with: every driver counts as unknown again.
    pub fn probe_again(&mut self) {
        self.probes.again();
    }

    /// Keeps what probing ended with below another folder than the cache's.
    pub fn keep_probes_in(&mut self, folder: impl Into<PathBuf>) {
        self.probes.folder = Some(folder.into());
        self.probes.forget();
    }

    /// What a helper does when it is run as `program probe TARGET` (`"vulkan"`: asks for the devices; `"vulkan:1"`: opens one
    /// and runs a kernel): touches the target, whatever is recorded, and writes what came of it to its standard output.
    ///
    /// # Errors
    /// What `to` says.
    pub fn answer_probe(&self, target: &str, to: &mut impl io::Write) -> io::Result<()> {
        probe::answer(&self.drivers, target, to)
    }

    /// Asks every driver for its devices. Never fails: what is broken is listed with its reason.
    pub fn devices(&self) -> Listing {
        let mut listing = Listing::default();
        for (_, found) in self.probe() {
            listing.devices.extend(found.devices);
            listing.unavailable.extend(found.unavailable);
        }
        listing
    }

    /// What a device (`"cuda:0"`) says of its power, heat and clocks now; it is not opened for that.
    ///
    /// # Errors
    /// `Unsupported`: its driver does not tell, with the reason. `NoDevice`: no driver has that name.
    pub fn telemetry(&self, id: &str) -> Result<Telemetry> {
        let (name, ordinal) = id.split_once(':').unwrap_or((id, "0"));
        let found = self.drivers.iter().find(|d| d.name() == name).zip(ordinal.parse().ok());
        let Some((driver, ordinal)) = found else {
            return Err(Error::NoDevice { asked: id.into(), why: "no driver has a device of that name".into() });
        };
        if let Some(why) = self.probes.of(&**driver).and_then(|p| p.hidden(None)) {
            return Err(Error::unsupported(format!("telemetry of {id}"), why));
        }
        driver.telemetry(ordinal)
    }

    /// Per driver, in order.
    fn probe(&self) -> Vec<(&Arc<dyn Driver>, Listing)> {
        self.drivers.iter().map(|driver| (driver, self.probe_one(&**driver))).collect()
    }

    fn probe_one(&self, driver: &dyn Driver) -> Listing {
        let mut found = Listing::default();
        let backend = driver.name();
        let mut missing = |backend: String, why: String| found.unavailable.push(Unavailable { backend, why });
        let probe = self.probes.of(driver);
        let hidden = |device| probe.as_ref().and_then(|p| p.hidden(device));
        if let Some(why) = hidden(None) {
            missing(backend.into(), why);
            return found;
        }
        match driver.devices() {
            Err(Error::NoDriver { why, .. }) => missing(backend.into(), why),
            Err(e) => missing(backend.into(), e.to_string()),
            Ok(all) if all.is_empty() => missing(backend.into(), "the driver is there and finds no device".into()),
            Ok(all) => {
                for (n, device) in all.into_iter().enumerate() {
                    let why = match &device {
                        Ok(_) => hidden(u32::try_from(n).ok()),
                        Err(e) => Some(e.to_string()),
                    };
                    match (device, why) {
                        (Ok(info), None) => found.devices.push(info),
                        (_, why) => missing(format!("{backend}:{n}"), why.unwrap_or_default()),
                    }
                }
            }
        }
        found
    }

    /// Opens a device, a chain of them (`"opencl:0,cpu"`: what the first cannot do goes to the next), or `"auto"`: the
    /// best that opens, by class; of several ways to one chip, and of equals, the nearest ([`Driver::distance`]). Every device of
    /// a chain must open. `"vulkan:0/exact"` is the device with [`Numerics::Exact`].
    ///
    /// # Errors
    /// `NoDevice` lists what exists; what the driver said when it could not open one is passed on with its name. `Unsupported`: an
    /// exact device was asked for, and its arithmetic leaves results open.
    pub fn open(&self, asked: &str) -> Result<Vec<Device>> {
        let asked = asked.trim();
        let mut chain: Vec<(String, Device)> = Vec::new();
        for part in asked.split(',').map(str::trim) {
            if part.is_empty() {
                let why = "a device is missing; accepted: a device (\"cpu\", \"opencl:0\"), several separated by commas, or \
                           \"auto\"";
                return Err(Error::NoDevice { asked: asked.into(), why: why.into() });
            }
            let (bare, numerics) = numerics(part);
            let (name, device) = match bare.eq_ignore_ascii_case("auto") {
                true => self.open_best(numerics)?,
                false => {
                    let (name, raw) = self.open_one(bare)?;
                    (name, Device::new(with(raw, numerics)?))
                }
            };
            let name = format!("{name}{}", if numerics == Numerics::Exact { layer::exact::SUFFIX } else { "" });
            if let Some((first, d)) = chain.first()
                && d.info().numerics != numerics
            {
                let why = format!(
                    "{first} and {name} differ in their numerics; accepted: a chain of exact devices alone, or of none, so that no \
                     result depends on which of them computed it"
                );
                return Err(Error::NoDevice { asked: asked.into(), why });
            }
            if chain.iter().any(|(n, _)| *n == name) {
                let why = format!("{name} is named twice in the chain");
                return Err(Error::NoDevice { asked: asked.into(), why });
            }
            chain.push((name, device));
        }
        Ok(chain.into_iter().map(|(_, device)| device).collect())
    }

    /// Opens what `ANYCHIP_DEVICE` names, or `"auto"` where it is not set.
    pub fn open_default(&self) -> Result<Vec<Device>> {
        match std::env::var(DEVICE_VARIABLE) {
            Ok(asked) if !asked.trim().is_empty() => self.open(&asked).map_err(|e| match e {
                Error::NoDevice { asked, why } => Error::NoDevice { asked, why: format!("{why} ({DEVICE_VARIABLE})") },
                e => e,
            }),
            _ => self.open("auto"),
        }
    }

    /// Opens one device and puts no layers on: what a layer of one's own stands on.
    ///
    /// # Errors
    /// Those of [`Registry::open`]; a chain and `"auto"` are no names of one device.
    pub fn open_raw(&self, asked: &str) -> Result<Arc<dyn RawDevice>> {
        let (bare, numerics) = numerics(asked.trim());
        with(self.open_one(bare)?.1, numerics)
    }

    fn open_one(&self, part: &str) -> Result<(String, Arc<dyn RawDevice>)> {
        let no_device = |why: String| Error::NoDevice { asked: part.into(), why };
        let (name, ordinal) = match part.split_once(':') {
            None => (part, 0),
            Some((name, ordinal)) => match ordinal.parse::<u32>() {
                Ok(n) => (name, n),
                Err(_) => {
                    return Err(no_device(format!(
                        "{ordinal:?} is no ordinal; accepted: a number from 0 on, as in \"{name}:0\"; {}",
                        self.what_exists(None)
                    )));
                }
            },
        };
        let Some(driver) = self.drivers.iter().find(|d| d.name().eq_ignore_ascii_case(name)) else {
            return Err(no_device(format!("no backend has the name {name:?}; {}", self.what_exists(None))));
        };
        let name = driver.name();
        let probe = self.probes.of(&**driver);
        let hidden = |device| probe.as_ref().and_then(|p| p.hidden(device));
        if let Some(why) = hidden(None) {
            return Err(no_device(format!("{name}: {why}; {}", self.what_exists(Some(name)))));
        }
        if let Some(why) = hidden(Some(ordinal)) {
            return Err(no_device(format!("{name}:{ordinal}: {why}; {}", self.what_exists(None))));
        }
        match driver.open(ordinal) {
            Ok(raw) => Ok((format!("{name}:{ordinal}"), raw)),
            // Only a failure asks every driver: opening one device must not wait for the others.
            Err(e) => {
                let found = self.probe_one(&**driver);
                let there = found.devices.len() + found.unavailable.iter().filter(|u| u.backend != name).count();
                match &found.unavailable[..] {
                    [all] if all.backend == name => {
                        Err(no_device(format!("{name}: {}; {}", all.why, self.what_exists(Some(name)))))
                    }
                    _ if ordinal as usize >= there => {
                        let ids: Vec<_> = found.devices.iter().map(describe).collect();
                        let s = if ids.len() == 1 { "" } else { "s" };
                        Err(no_device(format!(
                            "{name} has {} device{s} ({}); {}",
                            ids.len(),
                            ids.join(", "),
                            self.what_exists(Some(name))
                        )))
                    }
                    // It is there and does not open: the driver's own error, which may say what to do.
                    _ => match e {
                        Error::NoDevice { why, .. } => Err(no_device(why)),
                        Error::Backend { backend, code, message } => {
                            Err(Error::Backend { backend, code, message: format!("opening {part}: {message}") })
                        }
                        e => Err(e),
                    },
                }
            }
        }
    }

    /// The best of all devices that opens.
    fn open_best(&self, numerics: Numerics) -> Result<(String, Device)> {
        let mut ranked = Vec::new();
        let mut failed = Vec::new();
        for (driver, found) in self.probe() {
            failed.extend(found.unavailable.into_iter().map(|u| format!("{}: {}", u.backend, u.why)));
            ranked.extend(found.devices.into_iter().map(|info| (driver, info)));
        }
        order(&mut ranked);
        for (driver, info) in ranked {
            let ordinal = info.id.split_once(':').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
            match driver.open(ordinal).and_then(|raw| with(raw, numerics)) {
                Ok(raw) => return Ok((format!("{}:{ordinal}", driver.name()), Device::new(raw))),
                Err(e) => failed.push(format!("{}: {e}", info.id)),
            }
        }
        let why = if failed.is_empty() { "no driver was added".into() } else { failed.join("; ") };
        Err(Error::NoDevice { asked: "auto".into(), why })
    }

    /// `there are also: cpu (…), opencl:0 (…)`, without the devices of one backend.
    fn what_exists(&self, but: Option<&str>) -> String {
        let others: Vec<_> = self
            .probe()
            .into_iter()
            .filter(|(driver, _)| Some(driver.name()) != but)
            .flat_map(|(_, found)| found.devices)
            .map(|info| describe(&info))
            .collect();
        match (others.is_empty(), but) {
            (true, _) => "there are no others".into(),
            (false, Some(_)) => format!("there are also: {}", others.join(", ")),
            (false, None) => format!("there are: {}", others.join(", ")),
        }
    }
}

/// A device's name without what says how it computes, and that.
fn numerics(part: &str) -> (&str, Numerics) {
    match part.strip_suffix(layer::exact::SUFFIX) {
        Some(bare) => (bare, Numerics::Exact),
        None => (part, Numerics::Fast),
    }
}

/// The device with these numerics.
fn with(raw: Arc<dyn RawDevice>, numerics: Numerics) -> Result<Arc<dyn RawDevice>> {
    Ok(match numerics {
        Numerics::Fast => raw,
        Numerics::Exact => Arc::new(layer::Exact::new(raw)?),
    })
}

/// Best first: by the class of the chip, which counts by the best of the ways to it; then the way nearest to the chip; equals in
/// the order of the listing.
fn order(found: &mut Vec<(&Arc<dyn Driver>, DeviceInfo)>) {
    let of_chip = |info: &DeviceInfo| {
        let ways = found.iter().filter(|(_, other)| other.identity.same_chip(&info.identity));
        ways.map(|(_, other)| rank(other.class)).fold(rank(info.class), u8::max)
    };
    let ranks: Vec<u8> = found.iter().map(|(_, info)| of_chip(info)).collect();
    let mut ranked: Vec<_> = ranks.into_iter().zip(found.drain(..)).collect();
    ranked.sort_by_key(|(rank, (driver, _))| (Reverse(*rank), driver.distance()));
    found.extend(ranked.into_iter().map(|(_, device)| device));
}

/// What `auto` prefers.
fn rank(class: DeviceClass) -> u8 {
    match class {
        DeviceClass::DiscreteGpu => 4,
        DeviceClass::Accelerator => 3,
        DeviceClass::IntegratedGpu => 2,
        DeviceClass::Cpu => 1,
        DeviceClass::Software => 0,
    }
}

fn describe(info: &DeviceInfo) -> String {
    format!("{} {}", info.id, info.identity.name)
}
