//! Two starts of a process, and the drivers it may meet: none, a strange, an old one, one without its compiler. There is a reason each time.
#![cfg(target_os = "linux")]

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Device, Driver, Error, device::Layers};
use common::*;
use start::*;
use std::{fs, os::unix::fs::symlink, path::PathBuf};

/// In a child: there is no driver, and there is a reason.
fn no_driver() {
    let e = driver().devices().expect_err("there is no driver");
    assert!(matches!(&e, Error::NoDriver { backend, .. } if backend == "cuda"), "{e}");
    assert_eq!(e.to_string(), driver().open(0).err().expect("there is no driver").to_string());
    println!("= {e}");
}

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
#[test]
fn a_driver_without_a_function_is_a_reason() {
    if is_child() {
        return no_driver();
    }
    let Some(other) = loaded_library("libgcc_s.so") else {
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

/// A shared library of this name that this very process runs with.
fn loaded_library(name: &str) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().filter_map(|l| l.split_whitespace().last()).find(|p| p.contains(name)).map(str::to_string)
}

/// The emulated driver, where that is what this process runs with: a test may have it say what it likes.
fn emulator(test: &str) -> Option<PathBuf> {
    let found = match devices(test).is_empty() {
        true => return None,
        false => loaded_library("libanychip_cuda_emulator"),
    };
    if found.is_none() {
        println!("SKIPPED: {test}: the driver is not the emulated one (scripts/cuda-emulator)");
    }
    found.map(PathBuf::from)
}

#[test]
fn a_driver_too_old_or_without_a_device_is_a_reason() {
    const TEST: &str = "a_driver_too_old_or_without_a_device_is_a_reason";
    if is_child() {
        return no_driver();
    }
    if emulator(TEST).is_none() {
        return;
    }
    for (name, value, reason) in [
        ("ANYCHIP_EMULATED_DRIVER", "11.8", "made for CUDA 11.8; 12.0 is needed"),
        ("ANYCHIP_EMULATED_FAULT", "cuInit:1=100", "shows no device"),
        ("ANYCHIP_EMULATED_FAULT", "cuInit:1=803", "803"),
    ] {
        let said = child(TEST, |c| {
            c.env(name, value);
        });
        assert!(said.len() == 1 && said[0].contains(reason), "{name}={value}: {said:?}");
    }
}

#[test]
fn without_a_compiler_what_was_compiled_earlier_runs() {
    const TEST: &str = "without_a_compiler_what_was_compiled_earlier_runs";
    const CACHE: &str = "ANYCHIP_TEST_CUBINS";
    if let (true, Some(cache)) = (is_child(), std::env::var_os(CACHE)) {
        let listed = driver().devices().expect("there is a driver").remove(0);
        println!("= {}", listed.map_or_else(|e| e.to_string(), |info| info.id));
        let device = Device::with_layers(
            driver().open(0).expect("it opens all the same"),
            &Layers { cache: Some(cache.into()), ..Layers::default() },
        );
        let mut buffers = [1.5f32, 2.0, 0.0].map(|x| bytes_of(&[x; 100], f32::to_le_bytes));
        for name in ["early", &std::env::var("ANYCHIP_TEST_LATER").unwrap_or("early".into())] {
            match run(&device, &vector_add(name), 100, &mut buffers, &[]) {
                Ok(()) => assert_eq!(f32s(&buffers[2]), [3.5; 100]),
                Err(e) => println!("= {e}"),
            }
        }
        return;
    }
    let Some(library) = emulator(TEST) else { return };
    let (cache, alone) = (folder("cubins"), folder("without-nvrtc"));
    for name in ["libcuda.so", "libcuda.so.1"] {
        symlink(&library, alone.join(name)).expect("a link can be made");
    }
    let first = child(TEST, |c| {
        c.env(CACHE, &cache);
    });
    assert_eq!(first, ["cuda:0"]);
    let second = child(TEST, |c| {
        c.env(CACHE, &cache).env("ANYCHIP_TEST_LATER", "later").env("LD_LIBRARY_PATH", &alone);
        c.env_remove("CUDA_HOME").env_remove("CUDA_PATH");
    });
    // The kernel that is kept runs, the other cannot be compiled, and the listing says what is missing.
    assert_eq!(second.len(), 2, "{second:?}");
    assert!(
        second[0].contains("cuda:0") && second[0].contains("NVRTC") && second[0].contains("not installed"),
        "{second:?}"
    );
    assert!(second[1].contains("kernel later") && second[1].contains("NVRTC"), "{second:?}");
    for f in [cache, alone] {
        let _ = fs::remove_dir_all(f);
    }
}
