//! `anychip devices` and `anychip bench` where a chip tells its power: the emulated CUDA device with its NVML
//! (`scripts/cuda-emulator --libraries`).

use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

fn anychip(cache: &TempDir, arguments: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_anychip"));
    c.args(arguments).env("ANYCHIP_CACHE_DIR", cache.path()).env_remove("ANYCHIP_CACHE").env_remove("ANYCHIP_PROBE");
    c
}

fn said(mut c: Command) -> String {
    let out = c.output().expect("the command runs");
    assert!(out.status.success(), "{}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn json(c: Command) -> Value {
    serde_json::from_str(&said(c)).expect("JSON")
}

#[test]
fn power_and_joules_are_shown_where_the_chip_tells_them() {
    let cache = TempDir::new().unwrap();
    let listing = json(anychip(&cache, &["devices", "--format", "json"]));
    let devices = listing["devices"].as_array().expect("a list");
    for d in devices.iter().filter(|d| d["class"] == "cpu" && d["same_chip_as"] == Value::Array(vec![])) {
        assert_eq!(d["telemetry"], Value::Null, "{d}");
    }
    let told = devices.iter().find(|d| d["backend"] == "cuda-emulated" && d["telemetry"].is_object());
    let Some(told) = told else {
        return println!("SKIPPED: telemetry of the command: no emulated CUDA device with an NVML is here");
    };
    assert_eq!(told["telemetry"]["power_watts"], 100.0, "{told}");
    let id = told["id"].as_str().expect("an id");
    let table = said(anychip(&cache, &["devices"]));
    assert!(table.contains("100.0 W, 45 °C, 1980 MHz, memory 2619 MHz"), "{table}");

    let bench = ["bench", "matmul", "--device", id, "--size", "32", "--format", "json"];
    let report = json(anychip(&cache, &bench));
    // The emulated counter rises with time, and every run takes some.
    assert!(report["joules"].as_f64().is_some_and(|j| j > 0.0), "{report}");
    // A counter that fails is a counter that is not told, and nothing else.
    let mut broken = anychip(&cache, &bench);
    broken.env("ANYCHIP_EMULATED_FAULT", "nvmlDeviceGetTotalEnergyConsumption:1=3");
    let report = json(broken);
    assert_eq!(report["joules"], Value::Null, "{report}");
    assert!(report["wall_ms"].as_f64().is_some_and(|t| t > 0.0), "{report}");
}
