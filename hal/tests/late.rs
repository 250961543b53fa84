//! The program cache over a device whose binaries are whole only after a program has run.

mod common;

use anychip_hal::{
    DType, Error,
    device::{Checks, Device, Grid, Layers, Step},
    ir::{Access, Builder, Builtin, Kernel, Place},
    layer::{Call, Fault, Planned},
};
use common::{Mock, info};
use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

/// out[i] = i + add.
fn count(add: u32) -> Kernel {
    let mut b = Builder::new("count", [1, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.cast(DType::U32, i);
    let add = b.u32(add);
    let v = b.add(v, add);
    b.store(Place::Buffer(out), i, v);
    b.finish().unwrap()
}

fn late(fetch: Duration) -> Arc<Mock> {
    let mock = Arc::new(Mock::new(info()));
    mock.state().late = Some(fetch);
    mock
}

fn cached(folder: &Path) -> Layers {
    Layers { cache: Some(folder.into()), ..Layers::default() }
}

fn launch(device: &Device, add: u32) -> Step {
    let program = device.kernel(&count(add), Checks::On).unwrap();
    let out = device.alloc(12).unwrap();
    Step::Launch { program, grid: Grid::Linear(3), bindings: vec![out.all()], scalars: vec![] }
}

fn run(device: &Device, add: u32) {
    let step = launch(device, add);
    let Step::Launch { bindings, .. } = &step else { unreachable!("made above") };
    device.submit(std::slice::from_ref(&step)).unwrap().wait().unwrap();
    let mut got = [0; 12];
    device.download(&bindings[0].buffer, 0, &mut got).unwrap();
    assert_eq!(got[8], add as u8 + 2);
}

fn entries(folder: &Path) -> usize {
    let whole = |e: &fs::DirEntry| !e.file_name().to_string_lossy().starts_with('.');
    fs::read_dir(folder.join("programs")).unwrap().map(|e| e.unwrap()).filter(whole).count()
}

/// How many of `adds` the next start takes from the cache.
fn hits(folder: &Path, adds: &[u32]) -> usize {
    let mock = late(Duration::ZERO);
    let device = Device::with_layers(mock.clone(), &cached(folder));
    adds.iter().for_each(|&add| run(&device, add));
    let s = mock.state();
    assert_eq!(s.compiled.len() + s.from_cache.len(), adds.len());
    s.from_cache.len()
}

/// Waits for what happens on another thread.
fn eventually(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it never happens");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_binary_is_stored_once_the_program_has_run() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::with_layers(late(Duration::ZERO), &cached(dir.path()));
    let steps = [launch(&device, 1), launch(&device, 2)];
    assert_eq!(entries(dir.path()), 0, "nothing has run");
    device.submit(&steps[..1]).unwrap().wait().unwrap();
    // Beside the work, while the device is open.
    eventually(|| entries(dir.path()) == 1);
    let list = device.record(steps[1..].to_vec()).unwrap();
    assert_eq!(entries(dir.path()), 1);
    device.run(&list).unwrap().wait().unwrap();
    device.run(&list).unwrap().wait().unwrap();
    eventually(|| entries(dir.path()) == 2);
    assert_eq!(hits(dir.path(), &[1, 2]), 2);
}

#[test]
fn what_was_not_fetched_yet_is_stored_when_the_device_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let device = Device::with_layers(late(Duration::from_millis(20)), &cached(dir.path()));
    (0..5).for_each(|add| run(&device, add));
    // Nobody waits for this one.
    drop(device.submit(&[launch(&device, 5)]).unwrap());
    let unused = launch(&device, 6);
    drop(unused);
    drop(device);
    assert_eq!(entries(dir.path()), 6, "all that ran, and not the one that did not");
    assert_eq!(hits(dir.path(), &[0, 1, 2, 3, 4, 5]), 6);
}

#[test]
fn after_a_failure_the_next_launch_counts_as_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let fault = Arc::new(Fault::new(late(Duration::ZERO)));
    let device = Device::with_layers(fault.clone(), &cached(dir.path()));
    let step = [launch(&device, 1)];
    let error = Error::Backend { backend: "mock".into(), code: 1, message: "planned".into() };
    fault.plan(Planned { call: Call::Wait, after: 0, times: 1, error });
    device.submit(&step).unwrap().wait().unwrap_err();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(entries(dir.path()), 0);
    device.submit(&step).unwrap().wait().unwrap();
    eventually(|| entries(dir.path()) == 1);
}

#[test]
fn a_process_that_never_closes_its_devices_leaves_its_binaries() {
    const FOLDER: &str = "ANYCHIP_TEST_LATE_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        // The child: the device lives in a static, as it were, and the process ends at once.
        let device = Device::with_layers(late(Duration::from_millis(50)), &cached(folder.as_ref()));
        (0..4).for_each(|add| run(&device, add));
        std::mem::forget(device);
        std::process::exit(0);
    }
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_never_closes_its_devices_leaves_its_binaries"])
        .env(FOLDER, dir.path())
        .status()
        .unwrap();
    assert!(child.success());
    assert_eq!(hits(dir.path(), &[0, 1, 2, 3]), 4);
}
