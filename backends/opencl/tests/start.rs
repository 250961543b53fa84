//! Two starts of a process, and the drivers it may meet: without a driver or a loader there is a reason.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Driver, Error};
use common::*;
use start::*;
use std::fs;

#[test]
fn without_a_platform_there_is_a_reason() {
    const TEST: &str = "without_a_platform_there_is_a_reason";
    if is_child() {
        let e = driver().devices().expect_err("there is no platform");
        assert!(matches!(&e, Error::NoDriver { backend, .. } if backend == "opencl"), "{e}");
        let f = driver().open(0).err().expect("there is no platform");
        assert_eq!(e.to_string(), f.to_string());
        println!("= {e}");
        return;
    }
    let none = folder("no-vendors");
    let said = child(TEST, |c| {
        c.env("OCL_ICD_VENDORS", format!("{}/", none.display())).env("OPENCL_VENDOR_PATH", &none);
    });
    // Where the loader is missing too, that is the reason.
    assert!(said.len() == 1 && (said[0].contains("no platform") || said[0].contains("not installed")), "{said:?}");
    let _ = fs::remove_dir_all(&none);
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_loader_there_is_a_reason() {
    const TEST: &str = "without_a_loader_there_is_a_reason";
    if is_child() {
        let e = driver().devices().expect_err("there is no loader");
        assert!(matches!(&e, Error::NoDriver { backend, .. } if backend == "opencl"), "{e}");
        assert_eq!(e.to_string(), driver().open(0).err().expect("there is no loader").to_string());
        println!("= {e}");
        return;
    }
    // A loader that cannot be loaded stands before the real one in the linker's path.
    let broken = folder("no-loader");
    for name in ["libOpenCL.so.1", "libOpenCL.so"] {
        fs::write(broken.join(name), "no library").expect("a file can be written");
    }
    let said = child(TEST, |c| {
        c.env("LD_LIBRARY_PATH", &broken).env_remove("OPENCL_DYLIB_PATH");
    });
    assert!(said.len() == 1 && said[0].contains("libOpenCL.so.1"), "{said:?}");
    let _ = fs::remove_dir_all(&broken);
}
