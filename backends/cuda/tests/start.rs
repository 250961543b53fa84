//! Two starts of a process, and the drivers it may meet: without a driver there is a reason.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Driver, Error};
use common::*;
use start::*;
use std::fs;

/// In a child: there is no driver, and there is a reason.
fn no_driver() {
    let e = driver().devices().expect_err("there is no driver");
    assert!(matches!(&e, Error::NoDriver { backend, .. } if backend == "cuda"), "{e}");
    assert_eq!(e.to_string(), driver().open(0).err().expect("there is no driver").to_string());
    println!("= {e}");
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_there_is_a_reason() {
    if is_child() {
        return no_driver();
    }
    // Libraries that cannot be loaded stand before the real ones in the linker's path.
    let broken = folder("no-driver");
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::write(broken.join(name), "no library").expect("a file can be written");
    }
    let said = child("without_a_driver_there_is_a_reason", |c| {
        c.env("LD_LIBRARY_PATH", &broken);
    });
    assert!(said.len() == 1 && said[0].contains("libcuda.so.1"), "{said:?}");
    let _ = fs::remove_dir_all(&broken);
}

/// Any library that has none of the driver's functions, as a stub of a toolkit or a very old driver has few.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_without_a_function_is_a_reason() {
    if is_child() {
        return no_driver();
    }
    let Some(other) = loaded_library() else {
        println!("SKIPPED: a_driver_without_a_function_is_a_reason: no library to stand in for the driver");
        return;
    };
    let strange = folder("strange-driver");
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::copy(&other, strange.join(name)).expect("a file can be copied");
    }
    let said = child("a_driver_without_a_function_is_a_reason", |c| {
        c.env("LD_LIBRARY_PATH", &strange);
    });
    assert!(said.len() == 1 && said[0].contains("lacks cuInit"), "{said:?}");
    let _ = fs::remove_dir_all(&strange);
}

/// A shared library that this very process runs with.
#[cfg(target_os = "linux")]
fn loaded_library() -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().filter_map(|l| l.split_whitespace().last()).find(|p| p.contains("libgcc_s.so")).map(str::to_string)
}
