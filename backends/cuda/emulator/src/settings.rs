//! What the environment says of the emulated machine, read once. A value that says nothing sensible ends the process: a test that
//! runs with other settings than it asked for would prove nothing.

use std::{path::PathBuf, sync::OnceLock};

/// When work on a stream starts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once, beside the host.
    Eager,
    /// When somebody waits for it or asks, else after a few milliseconds: a missing wait mostly shows.
    Late,
    /// Only when somebody waits for it or asks: a missing wait always shows.
    Lazy,
}

/// The emulated machine.
pub struct Settings {
    pub devices: usize,
    /// Compute capability: major, minor.
    pub capability: (u32, u32),
    /// Bytes of memory of each device.
    pub memory: u64,
    /// What the driver says of itself: 13000 is CUDA 13.0.
    pub driver: i32,
    pub nvrtc: (i32, i32),
    pub seed: u64,
    pub pace: Pace,
    /// Alignment of allocations. A guard page follows within as many bytes.
    pub align: usize,
    pub cache: PathBuf,
    /// Relu of the matrix library makes 0 of NaN.
    pub relu_drops_nan: bool,
    /// The C++ compiler, if one was named.
    pub compiler: Option<PathBuf>,
}

/// The settings of this process.
pub fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| match read() {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("anychip CUDA emulator: {why}");
            std::process::exit(2);
        }
    })
}

fn value<T>(name: &str, default: T, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) if text.is_empty() => Ok(default),
        Ok(text) => parse(&text).ok_or_else(|| format!("{name}={text} says nothing that it knows; see its README.md")),
    }
}

fn version<T: std::str::FromStr>(text: &str) -> Option<(T, T)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn read() -> Result<Settings, String> {
    let capability = value("ANYCHIP_EMULATED_CC", (9, 0), version)?;
    // NVRTC 13 has forgotten what came before Turing.
    let newest = if capability >= (7, 5) { (13, 0) } else { (12, 9) };
    Ok(Settings {
        devices: value("ANYCHIP_EMULATED_DEVICES", 1, |t| t.parse().ok().filter(|n| *n <= 16))?,
        capability,
        memory: value("ANYCHIP_EMULATED_MEMORY", 2 << 30, |t| t.parse().ok())?,
        driver: value("ANYCHIP_EMULATED_DRIVER", (13, 0), version).map(|(major, minor)| major * 1000 + minor * 10)?,
        nvrtc: value("ANYCHIP_EMULATED_NVRTC", newest, version)?,
        seed: value("ANYCHIP_EMULATED_SEED", 1, |t| t.parse().ok())?,
        pace: value("ANYCHIP_EMULATED_STREAMS", Pace::Late, |t| match t {
            "eager" => Some(Pace::Eager),
            "late" => Some(Pace::Late),
            "lazy" => Some(Pace::Lazy),
            _ => None,
        })?,
        align: value("ANYCHIP_EMULATED_ALIGN", 256, |t| {
            t.parse().ok().filter(|n: &usize| n.is_power_of_two() && (16..=4096).contains(n))
        })?,
        cache: value("ANYCHIP_EMULATED_CACHE", std::env::temp_dir().join("anychip-cuda-emulator"), |t| Some(t.into()))?,
        relu_drops_nan: value("ANYCHIP_EMULATED_RELU", false, |t| match t {
            "keeps" => Some(false),
            "max" => Some(true),
            _ => None,
        })?,
        compiler: value("ANYCHIP_EMULATED_CXX", None, |t| Some(Some(t.into())))?,
    })
}
