//! Devices by name, chains, and messages that say what there is.

mod common;

use anychip_hal::{
    DeviceInfo, Error, Registry,
    info::{DeviceClass, Numerics},
    registry::DEVICE_VARIABLE,
};
use common::{Mocks, info};
use std::sync::Arc;

fn device(id: &str, class: DeviceClass) -> DeviceInfo {
    let mut i = info();
    i.id = id.into();
    i.identity.name = format!("name of {id}");
    i.identity.physical = format!("slot of {id}");
    i.class = class;
    i
}

fn registry() -> Registry {
    let broken =
        Error::Backend { backend: "opencl".into(), code: -30, message: "clCreateContext: invalid value".into() };
    let mut r = Registry::new();
    r.add(Arc::new(Mocks {
        name: "cpu",
        devices: vec![Ok(device("cpu", DeviceClass::Cpu))],
        missing: None,
        distance: 0,
    }));
    r.add(Arc::new(Mocks {
        name: "opencl",
        devices: vec![Ok(device("opencl:0", DeviceClass::Software)), Err(broken)],
        missing: None,
        distance: 0,
    }));
    let why = "libcuda.so.1: cannot open shared object file".into();
    let missing = Some(Error::NoDriver { backend: "cuda".into(), why });
    r.add(Arc::new(Mocks { name: "cuda", devices: vec![], missing, distance: 0 }));
    r
}

fn ids(r: &Registry, asked: &str) -> Vec<String> {
    r.open(asked).unwrap().iter().map(|d| d.info().id.clone()).collect()
}

#[test]
fn the_listing_says_what_is_there_and_what_is_not() {
    let listing = registry().devices();
    assert_eq!(listing.devices.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["cpu", "opencl:0"]);
    let why: Vec<_> = listing.unavailable.iter().map(|u| (u.backend.as_str(), u.why.as_str())).collect();
    assert_eq!(
        why,
        [
            ("opencl:1", "opencl: clCreateContext: invalid value (code -30)"),
            ("cuda", "libcuda.so.1: cannot open shared object file")
        ]
    );
    let mut empty = Registry::new();
    empty.add(Arc::new(Mocks { name: "npu", devices: vec![], missing: None, distance: 0 }));
    assert!(empty.devices().unavailable[0].why.contains("finds no device"));
}

#[test]
fn devices_and_chains_open_by_name() {
    let r = registry();
    assert_eq!(ids(&r, "cpu"), ["cpu"]);
    assert_eq!(ids(&r, " CPU:0 "), ["cpu"]);
    assert_eq!(ids(&r, "opencl"), ["opencl:0"]);
    assert_eq!(ids(&r, "opencl:0, cpu"), ["opencl:0", "cpu"]);
    assert_ne!(r.open("cpu").unwrap()[0], r.open("cpu").unwrap()[0], "each opening is a handle of its own");
}

#[test]
fn exact_devices_open_by_name_and_mix_with_no_others() {
    let r = registry();
    assert_eq!(ids(&r, "opencl:0/exact, cpu/exact"), ["opencl:0/exact", "cpu/exact"]);
    assert_eq!(ids(&r, "auto/exact"), ["cpu/exact"]);
    assert_eq!(r.open_raw("cpu/exact").unwrap().info().numerics, Numerics::Exact);
    let why = |asked: &str| r.open(asked).unwrap_err().to_string();
    assert!(why("opencl:0/exact,cpu").contains("differ in their numerics"), "{}", why("opencl:0/exact,cpu"));
    assert!(why("cpu,cpu/exact").contains("differ in their numerics"));
    assert!(why("cpu/exact,cpu:0/exact").contains("twice"));
    assert!(why("toaster/exact").contains("toaster"));

    let mut contracts = device("gpu", DeviceClass::DiscreteGpu);
    contracts.arithmetic.get_mut(&anychip_hal::DType::F32).unwrap().may_contract = true;
    let mut r = registry();
    r.add(Arc::new(Mocks { name: "gpu", devices: vec![Ok(contracts)], missing: None, distance: 0 }));
    let e = r.open("gpu/exact").err().unwrap();
    assert!(e.is_unsupported() && e.to_string().contains("a·b + c"), "{e}");
    // The best that offers it.
    assert_eq!(ids(&r, "auto"), ["gpu"]);
    assert_eq!(ids(&r, "auto/exact"), ["cpu/exact"]);
}

#[test]
fn messages_say_what_exists() {
    let r = registry();
    let says = |asked: &str, parts: &[&str]| {
        let e = r.open(asked).unwrap_err();
        assert!(matches!(e, Error::NoDevice { .. }), "{e:?}");
        parts.iter().for_each(|p| assert!(e.to_string().contains(p), "{asked}: {e}"));
    };
    says("opencl:3", &["no device \"opencl:3\"", "opencl has 1 device (opencl:0 name of opencl:0)", "also: cpu name"]);
    says("cpu:1", &["cpu has 1 device", "there are also: opencl:0"]);
    says("metal", &["no backend has the name \"metal\"", "there are: cpu name of cpu, opencl:0"]);
    says("cpu:x", &["\"x\" is no ordinal", "\"cpu:0\""]);
    says("cpu:-1", &["\"-1\" is no ordinal"]);
    says("cuda:0", &["cuda: libcuda.so.1: cannot open", "there are also: cpu"]);
    says("", &["a device is missing"]);
    says("cpu,", &["a device is missing"]);
    says("cpu,cpu:0", &["cpu:0 is named twice"]);
    // The first opens, the second does not: still an error, with its name.
    says("cpu,opencl:7", &["no device \"opencl:7\""]);
    // It is there and broken: the driver's words.
    let e = r.open("cpu,opencl:1").unwrap_err();
    assert!(matches!(&e, Error::Backend { code: -30, .. }) && e.to_string().contains("opening opencl:1"), "{e}");
    assert!(Registry::new().open("auto").unwrap_err().to_string().contains("no driver was added"));
    assert!(Registry::new().open("cpu").unwrap_err().to_string().contains("there are no others"));
}

#[test]
fn auto_takes_the_best_that_opens() {
    let mut r = registry();
    assert_eq!(ids(&r, "auto"), ["cpu"], "the host's cores before a GPU interface in software");
    let gpu = |class| vec![Ok(device("vulkan:0", class))];
    r.add(Arc::new(Mocks { name: "vulkan", devices: gpu(DeviceClass::IntegratedGpu), missing: None, distance: 0 }));
    assert_eq!(ids(&r, "auto"), ["vulkan:0"]);
    r.add(Arc::new(Mocks {
        name: "npu",
        devices: vec![Ok(device("npu:0", DeviceClass::Accelerator))],
        missing: None,
        distance: 0,
    }));
    assert_eq!(ids(&r, "auto"), ["npu:0"]);
    r.add(Arc::new(Mocks { name: "vulkan", devices: gpu(DeviceClass::DiscreteGpu), missing: None, distance: 0 }));
    assert_eq!(ids(&r, "auto,cpu"), ["vulkan:0", "cpu"]);
}

/// A way to a chip, so far from it.
fn way(name: &'static str, distance: u8, class: DeviceClass, physical: &str) -> Arc<Mocks> {
    let mut i = device(&format!("{name}:0"), class);
    i.identity.physical = physical.into();
    Arc::new(Mocks { name, devices: vec![Ok(i)], missing: None, distance })
}

#[test]
fn one_chip_behind_several_drivers_is_opened_by_the_nearest() {
    let gpu = "pci:0000:01:00.0";
    let mut r = Registry::new();
    r.add(way("wgpu", 2, DeviceClass::DiscreteGpu, gpu));
    r.add(way("opencl", 1, DeviceClass::DiscreteGpu, gpu));
    assert_eq!(ids(&r, "auto"), ["opencl:0"]);
    // A driver that takes the chip for something less does not make it less.
    r.add(way("native", 0, DeviceClass::Accelerator, gpu));
    assert_eq!(ids(&r, "auto"), ["native:0"]);
    // Another chip of a better class comes before the nearest way to a lesser one.
    r.add(way("native", 0, DeviceClass::IntegratedGpu, "pci:0000:00:02.0"));
    assert_eq!(ids(&r, "auto"), ["opencl:0"]);
    // Equals of a class: again the nearest, though it was added last.
    r.add(way("native", 0, DeviceClass::DiscreteGpu, "pci:0000:02:00.0"));
    assert_eq!(ids(&r, "auto"), ["native:0"]);
    // In software on the host's processor: its cores.
    let host = anychip_hal::info::host_processor();
    let mut r = Registry::new();
    r.add(way("vulkan", 1, DeviceClass::Software, host));
    r.add(way("cpu", 0, DeviceClass::Cpu, host));
    assert_eq!(ids(&r, "auto"), ["cpu:0"]);
}

#[test]
fn the_listing_ties_what_is_one_chip() {
    let mut r = Registry::new();
    r.add(way("a", 0, DeviceClass::DiscreteGpu, "uuid:00"));
    r.add(way("b", 1, DeviceClass::DiscreteGpu, "uuid:00"));
    r.add(way("c", 1, DeviceClass::DiscreteGpu, "uuid:01"));
    // Two that nobody knows are not one.
    r.add(way("d", 1, DeviceClass::Accelerator, "unknown"));
    r.add(way("e", 1, DeviceClass::Accelerator, "unknown"));
    let listing = r.devices();
    let ties: Vec<_> = listing.devices.iter().map(|d| listing.ties(d)).collect();
    assert_eq!(ties, [vec!["b:0"], vec!["a:0"], vec![], vec![], vec![]]);
}

#[test]
fn the_environment_names_the_default() {
    // One test owns the variable; no other test of this binary reads it.
    let r = registry();
    let set = |to: &str| unsafe { std::env::set_var(DEVICE_VARIABLE, to) };
    set("opencl:0,cpu");
    assert_eq!(r.open_default().unwrap().len(), 2);
    set("tpu");
    assert!(r.open_default().unwrap_err().to_string().contains("(ANYCHIP_DEVICE)"));
    set("");
    assert_eq!(r.open_default().unwrap()[0].info().id, "cpu");
}
