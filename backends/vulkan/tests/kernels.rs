//! The contract, every operation and control flow on every Vulkan device; every module before the validator of SPIR-V.

mod common;

#[path = "../../tests/contract.rs"]
mod contract;
#[path = "../../tests/flow.rs"]
mod flow;
#[path = "../../tests/ops.rs"]
mod ops;

use common::devices;
use std::{fs, process::Command};

/// What the validator of SPIR-V says of every module.
#[test]
fn every_module_passes_the_validator() {
    const TEST: &str = "every_module_passes_the_validator";
    if devices(TEST).is_empty() {
        return;
    }
    if Command::new("spirv-val").arg("--version").output().is_err() {
        println!("SKIPPED: {TEST}: spirv-val (package spirv-tools) is not installed");
        return;
    }
    // The modules of every operation and of control flow, as their own tests make them, in a process of their own.
    let modules = std::env::temp_dir().join(format!("anychip-modules-{}", std::process::id()));
    fs::create_dir_all(&modules).expect("a folder can be made");
    let run = Command::new(std::env::current_exe().expect("a path"))
        .args(["flow::", "ops::", "adds_vectors", "a_list_runs_again_and_again"])
        .env("ANYCHIP_VULKAN_DUMP", &modules)
        .output()
        .expect("it starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    let (mut checked, mut wrong) = (0, vec![]);
    for module in fs::read_dir(&modules).expect("it is there").flatten() {
        // The version that the module names; the environment is as loose as the newest that the tool knows.
        let out = Command::new("spirv-val")
            .args(["--target-env", "vulkan1.3"])
            .arg(module.path())
            .output()
            .expect("spirv-val starts");
        checked += 1;
        if !out.status.success() {
            wrong.push(format!("{}: {}", module.path().display(), String::from_utf8_lossy(&out.stderr)));
        }
    }
    assert!(checked > 20, "only {checked} modules were made");
    assert!(wrong.is_empty(), "{} of {checked} modules are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let _ = fs::remove_dir_all(&modules);
}
