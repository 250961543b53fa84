//! Two starts of a process on every device of a backend: what the first compiled the second finds, whatever the driver itself
//! has forgotten. And how a test runs in a process of its own.

use crate::common::*;
use anychip_hal::{
    Completion, Device, DeviceInfo, Driver, Loaded, Memory, Module, RawBuffer, RawDevice, RawProgram, Result,
    Submission, Ticket, device::Layers,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// In a child: what it has to do.
const CHILD: &str = "ANYCHIP_TEST_CHILD";
/// Where the child's program cache lies.
const FOLDER: &str = "ANYCHIP_TEST_FOLDER";

/// This test again, in a process of its own; what it printed behind `= `, line by line.
pub fn child(test: &str, prepare: impl FnOnce(&mut Command)) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    prepare(&mut command);
    let out = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    text.lines().filter_map(|l| l.split_once("= ").map(|(_, l)| l.to_string())).collect()
}

pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Counts the loads that a stored binary answered.
struct Watched {
    inner: Arc<dyn RawDevice>,
    loads: AtomicU32,
    hits: AtomicU32,
}

impl RawDevice for Watched {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.inner.alloc(bytes, memory)
    }
    fn free(&self, buffer: RawBuffer) {
        self.inner.free(buffer)
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.inner.host_read(buffer, at, to)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let loaded = self.inner.load(module, cached)?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        // A backend that used the binary gives it back as it was.
        self.hits.fetch_add((cached == Some(&loaded.binary[..])) as u32, Ordering::Relaxed);
        Ok(loaded)
    }
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        self.inner.binary(program)
    }
    fn unload(&self, program: RawProgram) {
        self.inner.unload(program)
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.inner.submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.inner.wait(ticket, timeout)
    }
}

/// A new empty folder of this test binary.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder can be made");
    path
}

#[test]
fn a_second_start_compiles_nothing() {
    const TEST: &str = "start::a_second_start_compiles_nothing";
    if let (true, Some(cache)) = (is_child(), std::env::var_os(FOLDER)) {
        for n in 0..driver().devices().expect("there were some").len() {
            let Ok(inner) = driver().open(n as u32) else { continue };
            let watched = Arc::new(Watched { inner, loads: AtomicU32::new(0), hits: AtomicU32::new(0) });
            let device = Device::with_layers(
                watched.clone(),
                &Layers { cache: Some(cache.clone().into()), ..Layers::default() },
            );
            let mut buffers = [
                bytes_of(&[1.5f32; 1000], f32::to_le_bytes),
                bytes_of(&[2.0f32; 1000], f32::to_le_bytes),
                vec![0; 4000],
            ];
            run(&device, &vector_add("start"), 1000, &mut buffers, &[]).expect("runs");
            assert_eq!(f32s(&buffers[2]), [3.5; 1000]);
            println!("= {} {}", watched.loads.load(Ordering::Relaxed), watched.hits.load(Ordering::Relaxed));
            // As with a device in a static: nothing is closed, the process just ends.
            std::mem::forget(device);
        }
        return;
    }
    let devices = devices(TEST);
    if devices.is_empty() {
        return;
    }
    let (ours, drivers) = (folder("ours"), [folder("driver-1"), folder("driver-2")]);
    let start = |driver: &Path| {
        child(TEST, |c| {
            // The drivers' own caches, empty each time.
            c.env(FOLDER, &ours).env("POCL_CACHE_DIR", driver).env("MESA_SHADER_CACHE_DIR", driver);
        })
    };
    assert_eq!(start(&drivers[0]), vec!["1 0"; devices.len()], "the first start compiles");
    let entries = fs::read_dir(ours.join("programs")).expect("it is there").count();
    // Not every way to a chip has binaries to keep.
    let kept: Vec<bool> = devices.iter().map(|d| !excused("a_second_start_compiles_nothing", d.info())).collect();
    assert_eq!(entries, kept.iter().filter(|k| **k).count(), "an entry per device");
    let second: Vec<_> = kept.iter().map(|k| if *k { "1 1" } else { "1 0" }).collect();
    assert_eq!(start(&drivers[1]), second, "the second takes what the first left");
    for f in drivers.iter().chain([&ours]) {
        let _ = fs::remove_dir_all(f);
    }
}
