//! `anychip devices`: one chip behind several drivers, and real Vulkan drivers that die or hang as soon as they are loaded.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Instant,
};
use tempfile::TempDir;

/// The command, with a cache of its own.
fn anychip(cache: &Path, arguments: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_anychip"));
    c.args(arguments).env("ANYCHIP_CACHE_DIR", cache).env_remove("ANYCHIP_CACHE").env_remove("ANYCHIP_PROBE");
    c
}

fn text(of: &[u8]) -> String {
    String::from_utf8_lossy(of).into_owned()
}

fn json(of: &Output) -> Value {
    assert!(of.status.success(), "{}: {}", of.status, text(&of.stderr));
    serde_json::from_slice(&of.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&of.stdout)))
}

/// Why a backend, or a device, is not here.
fn why(listing: &Value, backend: &str) -> String {
    let all = listing["unavailable"].as_array().expect("a list");
    let found = all.iter().find(|u| u["backend"] == backend);
    found.map(|u| u["why"].as_str().expect("a text").to_string()).unwrap_or_default()
}

fn ids(listing: &Value) -> Vec<&str> {
    listing["devices"].as_array().expect("a list").iter().map(|d| d["id"].as_str().expect("a text")).collect()
}

#[test]
fn one_chip_behind_several_drivers_is_tied() {
    let cache = TempDir::new().unwrap();
    let listing = json(&anychip(cache.path(), &["devices", "--format", "json"]).output().unwrap());
    let devices = listing["devices"].as_array().unwrap();
    assert!(ids(&listing).contains(&"cpu"), "{:?}", ids(&listing));
    for d in devices {
        let tied =
            |other: &&Value| other["id"] != d["id"] && other["identity"]["physical"] == d["identity"]["physical"];
        let expected: Vec<_> = devices.iter().filter(tied).map(|d| d["id"].clone()).collect();
        assert_eq!(d["same_chip_as"], Value::from(expected), "{}", d["id"]);
        if d["class"] == "software" {
            assert!(d["same_chip_as"].as_array().unwrap().contains(&"cpu".into()), "{} runs on the processor", d["id"]);
        }
    }
    // What was found fine did run its kernel.
    for id in ids(&listing) {
        let target = if id == "cpu" { "cpu:0" } else { id };
        let probed = anychip(cache.path(), &["probe", target]).output().unwrap();
        let said = text(&probed.stdout);
        assert_eq!(said.lines().last(), Some("anychip-probe fine"), "{id}: {said}");
    }
    let table = anychip(cache.path(), &["devices"]).output().unwrap();
    assert_eq!(text(&table.stdout).matches("the same chip as").count(), {
        devices.iter().filter(|d| d["same_chip_as"] != Value::Array(vec![])).count()
    });
    if devices.len() == 1 {
        eprintln!("SKIPPED: ties: the CPU is the only device here");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_cuda_driver_that_is_none_is_a_line_with_its_reason() {
    let (cache, drivers) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::write(drivers.path().join(name), "no library").unwrap();
    }
    let run =
        |arguments: &[&str]| anychip(cache.path(), arguments).env("LD_LIBRARY_PATH", drivers.path()).output().unwrap();
    let listing = json(&run(&["devices", "--format", "json"]));
    assert!(why(&listing, "cuda").contains("libcuda.so.1"), "{listing}");
    assert!(!ids(&listing).iter().any(|id| id.starts_with("cuda")), "{:?}", ids(&listing));
    let table = text(&run(&["devices"]).stdout);
    assert!(table.contains("cuda: not here: NVIDIA's driver"), "{table}");
    let opened = run(&["bench", "sum", "--device", "cuda:0"]);
    assert!(!opened.status.success() && text(&opened.stderr).contains("libcuda.so.1"), "{}", text(&opened.stderr));
}

/// A driver for Vulkan, made from C; `None` where there is no compiler or no loader.
struct Icd {
    folder: TempDir,
    manifest: PathBuf,
}

impl Icd {
    fn new(code: &str) -> Option<Icd> {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (source, library, manifest) = (at("icd.c"), at("libicd.so"), at("icd.json"));
        let begin = "#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
            static void touched(void) { FILE *f = fopen(getenv(\"TOUCHED\"), \"a\"); if (f) { fputc('.', f); fclose(f); } }\n";
        fs::write(&source, format!("{begin}{code}\n")).unwrap();
        let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
        match made {
            Err(e) => {
                eprintln!("SKIPPED: drivers that die: cc: {e}");
                return None;
            }
            Ok(made) => assert!(made.status.success(), "{}", text(&made.stderr)),
        }
        let icd = serde_json::json!({
            "file_format_version": "1.0.0",
            "ICD": { "library_path": "./libicd.so", "api_version": "1.1.0" }
        });
        fs::write(&manifest, icd.to_string()).unwrap();
        let none = folder.path().join("none.json");
        let mut asked = anychip(folder.path(), &["devices", "--format", "json"]);
        asked.env("VK_DRIVER_FILES", &none).env("VK_ICD_FILENAMES", &none).env("OCL_ICD_VENDORS", "/nonexistent/");
        let without = json(&asked.output().unwrap());
        if why(&without, "vulkan").contains("cannot be loaded") {
            eprintln!("SKIPPED: drivers that die: {}", why(&without, "vulkan"));
            return None;
        }
        Some(Icd { folder, manifest })
    }

    /// The command, which finds no driver but this one.
    fn run(&self, arguments: &[&str], helper: Option<&str>) -> Output {
        let mut c = anychip(&self.folder.path().join("cache"), arguments);
        c.env("VK_DRIVER_FILES", &self.manifest).env("VK_ICD_FILENAMES", &self.manifest);
        c.env("OCL_ICD_VENDORS", "/nonexistent/").env("WGPU_BACKEND", "vulkan").env("CUDA_VISIBLE_DEVICES", "");
        c.env("TOUCHED", self.folder.path().join("touched")).env("ANYCHIP_PROBE_SECONDS", "3");
        if let Some(helper) = helper {
            c.env("ANYCHIP_PROBE", helper);
        }
        c.output().unwrap()
    }

    fn touched(&self) -> u64 {
        fs::metadata(self.folder.path().join("touched")).map_or(0, |m| m.len())
    }
}

const LIST: [&str; 3] = ["devices", "--format", "json"];

fn dies(code: &str, signal: &str) {
    let Some(icd) = Icd::new(code) else { return };
    let first = json(&icd.run(&LIST, None));
    assert_eq!(ids(&first), ["cpu"]);
    let expected = format!("probing it ended with {signal}; `anychip devices --probe` tries again");
    assert_eq!((why(&first, "vulkan"), why(&first, "wgpu")), (expected.clone(), expected.clone()));
    // It is recorded: nobody touches it any more, unless asked to.
    let touched = icd.touched();
    assert!(touched >= 2, "by a process for each of the two drivers");
    let begin = Instant::now();
    assert_eq!(json(&icd.run(&LIST, None)), first);
    eprintln!("a start that finds records: {:?}", begin.elapsed());
    let opened = icd.run(&["bench", "sum", "--device", "vulkan:0"], None);
    assert!(!opened.status.success() && text(&opened.stderr).contains(&expected), "{}", text(&opened.stderr));
    let auto = icd.run(&["bench", "sum", "--device", "auto", "--size", "64"], None);
    assert!(auto.status.success(), "{}", text(&auto.stderr));
    assert_eq!(icd.touched(), touched);
    assert_eq!(json(&icd.run(&["devices", "--probe", "--format", "json"], None)), first);
    assert!(icd.touched() > touched);
    // And it is truly deadly.
    assert!(!icd.run(&LIST, Some("off")).status.success());
    // Another driver in its place is another matter.
    fs::write(icd.folder.path().join("libicd.so"), "harmless").unwrap();
    let cured = json(&icd.run(&LIST, None));
    assert!(!why(&cured, "vulkan").contains("probing"), "{}", why(&cured, "vulkan"));
}

#[test]
fn a_driver_that_aborts_when_it_is_loaded_costs_a_line() {
    dies("__attribute__((constructor)) static void up(void) { touched(); abort(); }", "SIGABRT");
}

#[test]
fn a_driver_that_dies_at_its_first_call_costs_a_line() {
    dies("void *vk_icdGetInstanceProcAddr(void *i, const char *n) { touched(); raise(SIGILL); return 0; }", "SIGILL");
}

#[test]
fn a_driver_that_hangs_when_it_is_loaded_costs_a_line() {
    let code = "__attribute__((constructor)) static void up(void) { touched(); for (;;) pause(); }";
    let Some(icd) = Icd::new(code) else { return };
    let first = json(&icd.run(&LIST, None));
    assert_eq!(ids(&first), ["cpu"]);
    for backend in ["vulkan", "wgpu"] {
        assert!(why(&first, backend).starts_with("probing it did not end within 3s"), "{}", why(&first, backend));
    }
    let touched = icd.touched();
    assert_eq!(json(&icd.run(&LIST, None)), first);
    assert_eq!(icd.touched(), touched);
}

#[test]
fn a_helper_of_the_hosts_own_is_run_in_place_of_the_command() {
    let Some(icd) = Icd::new("__attribute__((constructor)) static void up(void) { touched(); abort(); }") else {
        return;
    };
    let listing = json(&icd.run(&LIST, Some("/nonexistent/helper")));
    assert!(why(&listing, "vulkan").contains("/nonexistent/helper cannot be run"), "{}", why(&listing, "vulkan"));
    assert_eq!((ids(&listing), icd.touched()), (vec!["cpu"], 0));
    let script = icd.folder.path().join("helper");
    fs::write(
        &script,
        "#!/bin/sh\n[ \"$1\" = probe ] || exit 1\necho anychip-probe begin\necho \"anychip-probe wrong not $2\"\n",
    )
    .unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
        let listing = json(&icd.run(&LIST, script.to_str()));
        assert!(why(&listing, "vulkan").contains("not vulkan"), "{}", why(&listing, "vulkan"));
        assert_eq!((ids(&listing), icd.touched()), (vec!["cpu"], 0));
    }
}
