//! What NVML says of a chip: there, missing, broken, without one of its readings. The device is usable all the same.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Driver, telemetry::Telemetry};
use common::*;
use start::*;

/// In a child: prints the readings as JSON, or why there are none.
fn in_child() {
    for n in 0..driver().devices().expect("the driver is there").len() as u32 {
        match driver().telemetry(n) {
            Ok(t) => println!("= {}", serde_json::to_string(&t).expect("plain data")),
            Err(e) => println!("= {e}"),
        }
    }
}

fn said(test: &str, set: &[(&str, &str)]) -> Vec<String> {
    child(test, |c| {
        c.env("ANYCHIP_EMULATED_DEVICES", "2").envs(set.iter().copied());
    })
}

#[test]
fn a_chip_tells_what_it_can() {
    const TEST: &str = "a_chip_tells_what_it_can";
    if is_child() {
        return in_child();
    }
    let found = devices(TEST);
    if !found.iter().any(|d| d.info().backend.ends_with("emulated")) {
        for d in &found {
            // A real chip: what it tells is plausible.
            let ordinal = d.info().id.split_once(':').and_then(|(_, n)| n.parse().ok()).expect("an id");
            match driver().telemetry(ordinal) {
                Ok(t) => assert!(t.power_watts.is_none_or(|w| (1.0..5000.0).contains(&w)), "{t:?}"),
                Err(e) => println!("SKIPPED: {TEST}: {e}"),
            }
        }
        return println!("SKIPPED: {TEST}: only the emulated NVML says what is expected");
    }
    let told = said(TEST, &[]);
    if told.iter().all(|t| t.contains("libnvidia-ml.so.1") && t.contains("is not supported")) {
        return println!("SKIPPED: {TEST}: no NVML (scripts/cuda-emulator --libraries): {}", told[0]);
    }
    let read = |text: &str| serde_json::from_str::<Telemetry>(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(told.len(), 2, "{told:?}");
    for t in told.iter().map(|t| read(t)) {
        assert_eq!((t.power_watts, t.temperature_celsius), (Some(100.0), Some(45.0)));
        assert_eq!((t.clock_mhz, t.memory_clock_mhz), (Some(1980), Some(2619)));
        assert_eq!((t.ecc_corrected, t.ecc_uncorrected), (Some(0), Some(0)));
        assert!(t.energy_joules.is_some_and(|j| j >= 1000.0), "{t:?}");
        assert_eq!(t.to_string(), "100.0 W, 45 °C, 1980 MHz, memory 2619 MHz, memory errors 0 corrected and 0 not");
    }
    // A reading that fails is left out.
    let one = read(&said(TEST, &[("ANYCHIP_EMULATED_FAULT", "nvmlDeviceGetTemperature:1=3")])[0]);
    assert_eq!((one.temperature_celsius, one.power_watts), (None, Some(100.0)));
    // NVML that does not start, one that does not know the chip, none.
    for (set, word) in [
        (("ANYCHIP_EMULATED_FAULT", "nvmlInit_v2:1=9"), "NVML"),
        (("ANYCHIP_EMULATED_FAULT", "nvmlDeviceGetHandleByPciBusId_v2:1=6"), "pci:ffff:01:00.0"),
    ] {
        let told = said(TEST, &[set]);
        assert!(told.len() == 2 && told[0].contains("is not supported") && told[0].contains(word), "{told:?}");
    }
    let broken = folder("no-nvml");
    std::fs::write(broken.join("libnvidia-ml.so.1"), "no library").expect("written");
    let before = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let told = said(TEST, &[("LD_LIBRARY_PATH", &format!("{}:{before}", broken.display()))]);
    assert!(told.len() == 2 && told.iter().all(|t| t.contains("libnvidia-ml.so.1")), "{told:?}");
    let _ = std::fs::remove_dir_all(&broken);
}

/// The counter of energy rises with time.
#[test]
fn energy_is_counted() {
    const TEST: &str = "energy_is_counted";
    for d in devices(TEST) {
        let ordinal = d.info().id.split_once(':').and_then(|(_, n)| n.parse().ok()).expect("an id");
        let read = || driver().telemetry(ordinal).ok().and_then(|t| t.energy_joules);
        let Some(before) = read() else {
            println!("SKIPPED: {TEST}: {} tells none", d.info().id);
            continue;
        };
        std::thread::sleep(std::time::Duration::from_millis(250));
        let drawn = read().expect("it told before") - before;
        assert!((0.1..2000.0).contains(&drawn), "{drawn} joules in a quarter of a second");
    }
}
