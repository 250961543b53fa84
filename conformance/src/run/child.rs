//! The child: opens the device and runs the cases that it is asked for, a line of JSON in, a line out.
//!
//! It ends when its input ends. Drivers write to standard output too, so that answers have a mark.

use super::{Outcome, Peaks, one, timing};
use crate::{Case, Subject};
use anychip::{Result, hal::DeviceInfo};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    io::{self, BufRead, Write},
    process::abort,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What stands before an answer.
pub(super) const MARK: &str = "anychip-conform ";

/// What the parent asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// First: the device, and what holds for all cases.
    Open { device: String, seed: u64, soak: f64 },
    /// Run this case; the child ends itself when it takes so many seconds and its parent is gone.
    Case { id: String, limit: f64 },
    /// What the driver is made of.
    Environment { limit: f64 },
    /// Measure the peaks and some operations.
    Peaks { limit: f64 },
}

/// What the child answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The device is open.
    Open(Box<DeviceInfo>),
    /// It is not, or what was asked makes no sense.
    Refused(String),
    /// A case.
    Case(Box<Outcome>),
    /// A case that lost the device, which does not open again here: this process ends.
    Last(Box<Outcome>),
    /// What was asked for.
    Environment(Environment),
    /// The peaks, or why there are none.
    Peaks(std::result::Result<Peaks, String>),
}

/// What a verdict depends on beside the device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The system, its processor's architecture.
    pub system: String,
    /// The processor of the host.
    pub processor: String,
    /// Variables that choose or change drivers.
    pub variables: std::collections::BTreeMap<String, String>,
    /// Shared libraries that opening the device loaded; empty where the system does not say.
    pub libraries: Vec<Library>,
}

/// A shared library of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Its file's name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of it.
    pub blake3: String,
}

/// The child's side: answers until its input ends. `open` opens the device by the name that the parent was given.
///
/// # Errors
/// What reading or writing says.
pub fn serve(
    input: impl BufRead,
    output: &mut impl Write,
    cases: Vec<Case>,
    open: impl Fn(&str) -> Result<Subject>,
) -> io::Result<()> {
    quiet();
    let before = mapped();
    let cases: HashMap<String, Case> = cases.into_iter().map(|c| (c.id.clone(), c)).collect();
    let watchdog = Watchdog::start();
    let mut subject: Option<(Subject, u64)> = None;
    for line in input.lines() {
        let answer = match serde_json::from_str::<Ask>(&line?) {
            Err(e) => Answer::Refused(format!("no question: {e}")),
            Ok(Ask::Open { device, seed, soak }) => match open(&device) {
                Ok(s) => {
                    let soak = Duration::try_from_secs_f64(soak).unwrap_or_default();
                    let (s, _) = subject.insert((s.soaking(soak), seed));
                    Answer::Open(Box::new(s.info().clone()))
                }
                Err(e) => Answer::Refused(e.to_string()),
            },
            Ok(Ask::Case { id, limit }) => match (&mut subject, cases.get(&id)) {
                (Some((s, seed)), Some(case)) => {
                    watchdog.within(limit);
                    let mut outcome = one(s, case, *seed);
                    outcome.why = outcome.why.map(|why| with_place(&why));
                    watchdog.rest();
                    if s.chip().lost().is_some() {
                        // The next case gets a device that lives, in another process where none opens in this one.
                        match s.again() {
                            Ok(fresh) => *s = fresh,
                            Err(_) => subject = None,
                        }
                    }
                    match subject {
                        Some(_) => Answer::Case(Box::new(outcome)),
                        None => Answer::Last(Box::new(outcome)),
                    }
                }
                (None, _) => Answer::Refused("the device is not open any more".into()),
                (_, None) => Answer::Refused(format!("this suite has no case {id}")),
            },
            Ok(Ask::Environment { limit }) => {
                watchdog.within(limit);
                let found = environment(&before);
                watchdog.rest();
                Answer::Environment(found)
            }
            Ok(Ask::Peaks { limit }) => {
                watchdog.within(limit);
                let measured = match &subject {
                    None => Err("the device is not open".to_string()),
                    Some((s, _)) => s.plain().and_then(|p| timing::measure(&p)).map_err(|e| e.to_string()),
                };
                watchdog.rest();
                Answer::Peaks(measured)
            }
        };
        let text = serde_json::to_string(&answer).map_err(io::Error::other)?;
        // On a line of its own, whatever a driver wrote before it.
        writeln!(output, "\n{MARK}{text}")?;
        output.flush()?;
        if matches!(answer, Answer::Last(_)) {
            break;
        }
    }
    Ok(())
}

/// Where the last panic was; the text of a panic alone does not say.
static PLACE: Mutex<Option<(String, String)>> = Mutex::new(None);

/// A panic of a case is its verdict's reason and nothing for the terminal.
fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        let said = info.payload_as_str().unwrap_or_default().to_string();
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some((said, place));
    }));
}

fn with_place(why: &str) -> String {
    match PLACE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some((said, place)) if !said.is_empty() && why.ends_with(&said) => format!("{why} ({place})"),
        _ => why.to_string(),
    }
}

/// Ends the process when a case takes far longer than it may: the parent does so first, unless it is gone.
struct Watchdog {
    begin: Instant,
    /// Milliseconds after `begin`; 0: nothing is under way.
    end: Arc<AtomicU64>,
}

impl Watchdog {
    fn start() -> Watchdog {
        let (begin, end) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let seen = end.clone();
        let _ = thread::Builder::new().name("watchdog".into()).spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(500));
                let end = seen.load(Ordering::Relaxed);
                if end != 0 && begin.elapsed().as_millis() as u64 > end {
                    abort();
                }
            }
        });
        Watchdog { begin, end }
    }

    fn within(&self, seconds: f64) {
        let grace = Duration::from_secs(5);
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(grace) + grace;
        self.end.store((self.begin.elapsed() + limit).as_millis() as u64, Ordering::Relaxed);
    }

    fn rest(&self) {
        self.end.store(0, Ordering::Relaxed);
    }
}

/// Shared libraries in this process, where the system says.
fn mapped() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps.lines().filter_map(|l| l.split_once('/')).map(|(_, path)| format!("/{path}"));
    let mut files: Vec<_> = files.filter(|f| f.contains(".so")).collect();
    files.sort();
    files.dedup();
    files
}

/// Variables that choose a driver or change what it does begin with these.
const VARIABLES: [&str; 16] = [
    "ANYCHIP_", "CL_", "CUDA_", "EGL_", "GALLIUM_", "HIP_", "LIBGL_", "LP_", "MESA_", "OCL_", "POCL_", "RUSTICL_",
    "VK_", "WGPU_", "ROCR_", "ZE_",
];

fn environment(before: &[String]) -> Environment {
    let libraries = mapped().into_iter().filter(|f| !before.contains(f)).filter_map(|path| {
        let mut hash = blake3::Hasher::new();
        let bytes = io::copy(&mut std::fs::File::open(&path).ok()?, &mut hash).ok()?;
        let file = path.rsplit('/').next().unwrap_or(&path).to_string();
        Some(Library { file, bytes, blake3: hash.finalize().to_hex().to_string() })
    });
    let ours = std::env::vars().filter(|(k, _)| VARIABLES.iter().any(|v| k.starts_with(v)));
    // Paths are the owner's business: of a variable that holds one, the file's name says enough.
    let plain = |v: String| match v.rsplit_once('/') {
        Some((_, last)) => format!("…/{last}"),
        None => v,
    };
    Environment {
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: anychip::hal::info::host_processor().to_string(),
        variables: ours.map(|(k, v)| (k, plain(v))).collect(),
        libraries: libraries.collect(),
    }
}
