//! Two starts of a process, and the drivers it may meet: without a driver or a loader there is a reason.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Command as AnyCommand, Driver, Error, Memory, Range, Submission, Work};
use common::*;
use start::*;
use std::{fs, time::Duration};

/// In a child: there is no driver, and there is a reason.
fn no_driver() {
    let e = driver().devices().expect_err("there is no driver");
    assert!(matches!(&e, Error::NoDriver { backend, .. } if backend == "vulkan"), "{e}");
    assert_eq!(e.to_string(), driver().open(0).err().expect("there is no driver").to_string());
    println!("= {e}");
}

#[test]
fn without_a_driver_there_is_a_reason() {
    if is_child() {
        return no_driver();
    }
    let said = child("without_a_driver_there_is_a_reason", |c| {
        c.env("VK_DRIVER_FILES", "/nowhere.json").env("VK_ICD_FILENAMES", "/nowhere.json");
    });
    // Where the loader is missing too, that is the reason.
    assert!(said.len() == 1 && (said[0].contains("install one") || said[0].contains("cannot be loaded")), "{said:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_loader_there_is_a_reason() {
    if is_child() {
        return no_driver();
    }
    // A loader that cannot be loaded stands before the real one in the linker's path.
    let broken = folder("no-loader");
    for name in ["libvulkan.so.1", "libvulkan.so"] {
        fs::write(broken.join(name), "no library").expect("a file can be written");
    }
    let said = child("without_a_loader_there_is_a_reason", |c| {
        c.env("LD_LIBRARY_PATH", &broken);
    });
    assert!(said.len() == 1 && said[0].contains("libvulkan.so.1"), "{said:?}");
    let _ = fs::remove_dir_all(&broken);
}

#[test]
fn what_the_validation_layer_says_is_an_error() {
    const TEST: &str = "what_the_validation_layer_says_is_an_error";
    if is_child() {
        let device = driver().open(0).expect("it opened before");
        let buffer = device.alloc(64, Memory::Device).expect("fits");
        let submit = |offset| {
            let fill = [AnyCommand::Fill { dst: Range { buffer, offset, bytes: 8 }, word: 1 }];
            let ticket =
                device.submit(&Submission { queue: 0, after: &[], work: Work::Commands(&fill), profile: false })?;
            while device.wait(ticket, Duration::from_secs(10))?.is_none() {}
            Ok::<(), Error>(())
        };
        submit(4).expect("nothing is wrong with it");
        // Vulkan fills whole words; hal sees to it, and nobody stands between this test and the layer.
        match submit(2) {
            Ok(()) => println!("= silent"),
            Err(e) => {
                println!("= {}", e.to_string().replace('\n', " "));
                assert_eq!(submit(4), Err(e), "from the first message on everything fails with it");
            }
        }
        return;
    }
    if devices(TEST).is_empty() {
        return;
    }
    let said = child(TEST, |c| {
        c.env("ANYCHIP_VULKAN_VALIDATION", "1");
    });
    if said == ["silent"] {
        println!("SKIPPED: {TEST}: the validation layer (package vulkan-validationlayers) is not installed");
        return;
    }
    assert!(said.len() == 1 && said[0].contains("validation layer") && said[0].contains("VUID-"), "{said:?}");
}
