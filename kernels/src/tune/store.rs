//! Winners on disk: a small JSON entry per problem class and chip, in the cache folder, by the rules of the program cache (private
//! folder, whole or not at all, hashed).
//!
//! An entry is named by the hash of what it depends on and says it again inside. One that is damaged, of another chip, driver or
//! version, that does not fit the problem, or whose schedule is none of those for this device, is as good as none.

use crate::schedule::{Problem, Schedule, roofline::Roofline};
use anychip_hal::{DeviceInfo, info::Numerics, layer};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
};

/// What was measured for a class of problems on a chip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Winner {
    /// The class.
    pub class: Problem,
    /// The schedule.
    pub schedule: Schedule,
    /// Its time in microseconds.
    pub us: f64,
    /// The time of what the cost model picks.
    pub model_us: f64,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    /// Whose it is: backend, vendor, name, driver, driver's version, physical chip, version of this library.
    chip: String,
    key: String,
    value: T,
}

/// The folder on disk, opened when it is first needed.
struct Disk {
    folder: PathBuf,
    entries: OnceLock<layer::Entries>,
}

impl Disk {
    /// Entries lie in the folder `schedules` below.
    fn below(folder: &Path) -> Disk {
        Disk { folder: folder.join("schedules"), entries: OnceLock::new() }
    }

    /// Opened; made when it is not there.
    fn made(&self) -> io::Result<&layer::Entries> {
        if let Some(entries) = self.entries.get() {
            return Ok(entries);
        }
        let entries = layer::Entries::open(self.folder.clone())?;
        Ok(self.entries.get_or_init(|| entries))
    }

    fn read<T: DeserializeOwned>(&self, chip: &str, key: &str) -> Option<T> {
        // Where nothing was ever tuned, planning makes no folders.
        if self.entries.get().is_none() && !self.folder.is_dir() {
            return None;
        }
        let payload = self.made().ok()?.read(&name(chip, key))?;
        let entry: Entry<T> = serde_json::from_slice(&payload).ok()?;
        (entry.chip == chip && entry.key == key).then_some(entry.value)
    }

    /// The winner of a problem's class. The file may be older than what this device can run, or made by hand: only a schedule that the
    /// tuner could have found on this device is taken.
    fn winner(&self, info: &DeviceInfo, chip: &str, p: &Problem) -> Option<Winner> {
        let winner: Winner = self.read(chip, &key(p))?;
        (winner.class == p.class() && p.knows(&winner.schedule, info)).then_some(winner)
    }

    fn write<T: Serialize>(&self, chip: String, key: String, value: T) -> io::Result<()> {
        let name = name(&chip, &key);
        let payload = serde_json::to_vec_pretty(&Entry { chip, key, value })?;
        self.made()?.write(&name, &payload)
    }
}

/// Where winners are kept.
struct Store {
    /// `None`: nowhere.
    disk: Option<Disk>,
    /// What was read or written before, by name.
    known: FxHashMap<[u8; 32], Option<Winner>>,
    peaks: FxHashMap<[u8; 32], Option<Roofline>>,
    /// Classes that planning has tuned or tried to, by name.
    tried: FxHashSet<[u8; 32]>,
}

impl Store {
    fn new(folder: Option<&Path>) -> Store {
        Store {
            disk: folder.map(Disk::below),
            known: FxHashMap::default(),
            peaks: FxHashMap::default(),
            tried: FxHashSet::default(),
        }
    }
}

static STORE: LazyLock<Mutex<Store>> = LazyLock::new(|| Mutex::new(Store::new(layer::default_folder().as_deref())));

/// Keeps winners below another folder than the cache's, or, with `None`, nowhere; what was read before is forgotten. For tests and
/// for applications that ship what they measured.
pub fn keep_in(folder: Option<&Path>) {
    *STORE.lock().unwrap_or_else(PoisonError::into_inner) = Store::new(folder);
}

fn chip(info: &DeviceInfo) -> String {
    format!("{}|{}|{}", info.fingerprint(), info.identity.physical, env!("CARGO_PKG_VERSION"))
}

/// The name of an entry: `kind` and `key` on a chip.
fn name(chip: &str, key: &str) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for part in ["schedule", chip, key] {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    *hash.finalize().as_bytes()
}

fn key(p: &Problem) -> String {
    // A problem is plain data: this cannot fail, and an empty key finds nothing.
    serde_json::to_string(&p.class()).map(|class| format!("{} {class}", p.family())).unwrap_or_default()
}

/// What was measured for problems of this class on this chip, if it fits this one.
pub fn winner(info: &DeviceInfo, p: &Problem) -> Option<Winner> {
    let chip = chip(info);
    let name = name(&chip, &key(p));
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    let Store { disk, known, .. } = &mut *store;
    let found = known.entry(name).or_insert_with(|| disk.as_ref()?.winner(info, &chip, p));
    found.clone().filter(|w| p.fits(&w.schedule))
}

/// Keeps a winner, in memory and, if there is a folder, on disk.
///
/// # Errors
/// `InvalidInput` for a schedule that is none of the class's candidates on this device, which is not kept at all; what the disk
/// says, then the winner is known to this process all the same.
pub fn keep(info: &DeviceInfo, w: &Winner) -> io::Result<()> {
    if !w.class.knows(&w.schedule, info) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "keeping a schedule for {} {} on {}: {} is none of its candidates, which alone are accepted",
                w.class.family(),
                w.class,
                info.id,
                w.schedule
            ),
        ));
    }
    let (chip, key) = (chip(info), key(&w.class));
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    store.known.insert(name(&chip, &key), Some(w.clone()));
    match &store.disk {
        Some(disk) => disk.write(chip, key, w),
        None => Ok(()),
    }
}

/// True the first time that it is asked for problems of this class on this chip.
pub(super) fn first_try(info: &DeviceInfo, p: &Problem) -> bool {
    let name = name(&chip(info), &key(p));
    STORE.lock().unwrap_or_else(PoisonError::into_inner).tried.insert(name)
}

/// As if problems of this class had not been tried.
pub(super) fn forget_try(info: &DeviceInfo, p: &Problem) {
    let name = name(&chip(info), &key(p));
    STORE.lock().unwrap_or_else(PoisonError::into_inner).tried.remove(&name);
}

/// The device's peaks: measured, or guessed from its class.
pub fn roofline(info: &DeviceInfo) -> Roofline {
    // What is the same on every chip is not what was measured on one.
    if info.numerics == Numerics::Exact {
        return Roofline::guess(info);
    }
    let chip = chip(info);
    let name = name(&chip, "roofline");
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    let Store { disk, peaks, .. } = &mut *store;
    let found = peaks.entry(name).or_insert_with(|| {
        let r: Roofline = disk.as_ref()?.read(&chip, "roofline")?;
        let sane = |x: f64| x.is_finite() && x > 0.0;
        (sane(r.flops) && sane(r.bandwidth) && sane(r.launch)).then_some(r)
    });
    found.unwrap_or_else(|| Roofline::guess(info))
}

/// Keeps measured peaks.
///
/// # Errors
/// What the disk says.
pub fn keep_roofline(info: &DeviceInfo, r: Roofline) -> io::Result<()> {
    let chip = chip(info);
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    store.peaks.insert(name(&chip, "roofline"), Some(r));
    match &store.disk {
        Some(disk) => disk.write(chip, "roofline".to_string(), r),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        library::Lanes,
        schedule::{map, matmul},
        tune::test_device,
    };
    use anychip_hal::DType;

    fn problem(rows: usize) -> Problem {
        Problem::Matmul(matmul::Problem { dtype: DType::F32, batch: 1, rows, cols: 64, inner: 64, col_stride: 1 })
    }

    #[test]
    fn a_class_is_tried_once() {
        let info = test_device();
        let p = problem(7);
        assert!(first_try(&info, &p));
        // Rounded up to the same class; another class.
        assert!(!first_try(&info, &problem(8)));
        assert!(first_try(&info, &problem(9)));
        forget_try(&info, &p);
        assert!(first_try(&info, &p));
    }

    #[test]
    fn a_schedule_that_the_device_cannot_run_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::below(folder.path());
        let info = test_device();
        let chip = chip(&info);
        let taken = |class: Problem, schedule: Schedule| {
            let class = class.class();
            let w = Winner { class, schedule, us: 3.0, model_us: 4.0 };
            disk.write(chip.clone(), key(&class), &w).unwrap();
            disk.winner(&info, &chip, &class).is_some()
        };
        let product = problem(64);
        let Schedule::Matmul(good) = product.candidates(&info)[0] else { panic!() };
        assert!(taken(product, Schedule::Matmul(good)));
        assert!(taken(product, Schedule::Library));
        for bad in [
            crate::library::matmul::Schedule { rows: 0, ..good },
            crate::library::matmul::Schedule { width: 0, ..good },
            crate::library::matmul::Schedule { lanes: 0, ..good },
            crate::library::matmul::Schedule { lanes: 2 * info.limits.max_workgroup, ..good },
        ] {
            assert!(!taken(product, Schedule::Matmul(bad)), "{bad:?}");
        }
        let map = Problem::Map(map::Problem { dtype: DType::F32, elements: 4096, cols: 4096, reads: 2 });
        let good = map::pick(&info).lanes;
        let with = |lanes| Schedule::Map(map::Choice { lanes });
        assert!(taken(map, with(good)));
        assert!(!taken(map, Schedule::Library));
        for max in [0, 2 * info.limits.max_workgroup] {
            for close in [false, true] {
                assert!(!taken(map, with(Lanes { max, close, ..good })), "{max} {close}");
            }
        }
    }

    #[test]
    fn entries_of_another_chip_and_damaged_ones_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::below(folder.path());
        let info = test_device();
        let w = Winner {
            class: problem(60).class(),
            schedule: Schedule::Matmul(matmul::candidates(&info, DType::F32)[0]),
            us: 3.0,
            model_us: 4.0,
        };
        let (chip, key) = (chip(&info), key(&w.class));
        // Reading makes no folder.
        assert_eq!(disk.read::<Winner>(&chip, &key), None);
        assert!(!disk.folder.exists());
        disk.write(chip.clone(), key.clone(), &w).unwrap();
        assert_eq!(disk.read::<Winner>(&chip, &key), Some(w.clone()));
        // Rounded up to the same class; another class; a new driver.
        assert_eq!(super::key(&problem(33)), key);
        assert_ne!(super::key(&problem(65)), key);
        let mut newer = info.clone();
        newer.identity.version = "2".into();
        assert_eq!(disk.read::<Winner>(&super::chip(&newer), &key), None);
        // An entry of one chip under the name of another.
        let entries = disk.made().unwrap();
        let payload = entries.read(&name(&chip, &key)).unwrap();
        let other = super::chip(&newer);
        entries.write(&name(&other, &key), &payload).unwrap();
        assert_eq!(disk.read::<Winner>(&other, &key), None);
        // A flipped bit; half an entry; no JSON.
        let file = disk.folder.join(blake3::Hash::from_bytes(name(&chip, &key)).to_hex().as_str());
        let whole = std::fs::read(&file).unwrap();
        let mut bent = whole.clone();
        *bent.last_mut().unwrap() ^= 1;
        for bad in [bent, whole[..whole.len() / 2].to_vec(), vec![]] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(disk.read::<Winner>(&chip, &key), None);
        }
        entries.write(&name(&chip, &key), b"{\"chip\": 1}").unwrap();
        assert_eq!(disk.read::<Winner>(&chip, &key), None);
        // Written anew over the damage.
        disk.write(chip.clone(), key.clone(), &w).unwrap();
        assert_eq!(disk.read::<Winner>(&chip, &key), Some(w));
    }
}
