//! The layers by themselves: program cache on disk, trace, validation.

mod common;

use anychip_hal::{
    Command, DType, DeviceInfo, Error, Memory, Module, Range, RawBuffer, RawDevice, RawProgram, Submission, Ticket,
    Work,
    device::{Checks, Device, Grid, Layers, Step},
    ir::{Access, Builder, Builtin, Kernel, Place},
    layer::{Cache, Exact, Validate},
    op,
};
use common::{Mock, info};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
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

fn run(device: &Device, k: &Kernel) -> Vec<u8> {
    let p = device.kernel(k, Checks::On).unwrap();
    let out = device.alloc(12).unwrap();
    let step = Step::Launch { program: p, grid: Grid::Linear(3), bindings: vec![out.all()], scalars: vec![] };
    device.submit(&[step]).unwrap().wait().unwrap();
    let mut got = vec![0; 12];
    device.download(&out, 0, &mut got).unwrap();
    got.chunks(4).map(|c| c[0]).collect()
}

/// One start of a process: opens, runs, says how often something was compiled and taken from the cache.
fn start(folder: &Path, info: anychip_hal::DeviceInfo, k: &Kernel) -> (Vec<u8>, usize, usize) {
    let mock = Arc::new(Mock::new(info));
    let layers = Layers { cache: Some(folder.into()), ..Layers::default() };
    let got = run(&Device::with_layers(mock.clone(), &layers), k);
    let s = mock.state();
    (got, s.compiled.len(), s.from_cache.len())
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder.join("programs")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn the_second_start_compiles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let k = count(1);
    assert_eq!(start(dir.path(), info(), &k), (vec![1, 2, 3], 1, 0));
    assert_eq!(start(dir.path(), info(), &k), (vec![1, 2, 3], 0, 1));
    assert_eq!(entries(dir.path()).len(), 1);
    // Another kernel, another driver version: entries of their own.
    assert_eq!(start(dir.path(), info(), &count(2)), (vec![2, 3, 4], 1, 0));
    let mut newer = info();
    newer.identity.version = "2".into();
    assert_eq!(start(dir.path(), newer, &k), (vec![1, 2, 3], 1, 0));
    assert_eq!(entries(dir.path()).len(), 3);
}

#[test]
fn damaged_foreign_and_altered_entries_are_compiled_afresh_and_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let k = count(1);
    start(dir.path(), info(), &count(2));
    let foreign = fs::read(&entries(dir.path())[0]).unwrap();
    fs::remove_file(&entries(dir.path())[0]).unwrap();
    start(dir.path(), info(), &k);
    let entry = entries(dir.path()).remove(0);
    let whole = fs::read(&entry).unwrap();
    let mut damages: Vec<Vec<u8>> = vec![vec![], whole[..40].to_vec(), whole[..whole.len() - 1].to_vec(), foreign];
    // Every region of the entry: magic, name, hash, payload.
    for at in [0, 20, 50, 80, whole.len() / 2, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        damages.push(bad);
    }
    let mut longer = whole.clone();
    longer.push(0);
    damages.push(longer);
    for (n, bad) in damages.iter().enumerate() {
        fs::write(&entry, bad).unwrap();
        assert_eq!(start(dir.path(), info(), &k), (vec![1, 2, 3], 1, 0), "damage {n}");
        assert!(fs::read(&entry).unwrap() == whole, "damage {n} was not repaired");
    }
    assert_eq!(start(dir.path(), info(), &k), (vec![1, 2, 3], 0, 1));
    // A folder in its place cannot be repaired and does no harm.
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert_eq!(start(dir.path(), info(), &k), (vec![1, 2, 3], 1, 0));
}

#[test]
fn a_cache_that_cannot_be_used_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    fs::write(&file, "no folder").unwrap();
    assert_eq!(start(&file, info(), &count(1)), (vec![1, 2, 3], 1, 0));
    // It goes away while it is open.
    let mock = Arc::new(Mock::new(info()));
    let folder = dir.path().join("gone");
    let device = Device::with_layers(mock, &Layers { cache: Some(folder.clone()), ..Layers::default() });
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(run(&device, &count(1)), [1, 2, 3]);
}

#[cfg(unix)]
#[test]
fn the_folder_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("programs");
    let mode = || fs::metadata(&programs).unwrap().permissions().mode() & 0o777;
    start(dir.path(), info(), &count(1));
    assert_eq!(mode(), 0o700);
    fs::set_permissions(&programs, fs::Permissions::from_mode(0o777)).unwrap();
    start(dir.path(), info(), &count(1));
    assert_eq!(mode(), 0o700);
}

#[test]
fn the_oldest_entries_go_first() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), info(), &count(0));
    let one = fs::metadata(&entries(dir.path())[0]).unwrap().len();
    let mock = Arc::new(Mock::new(info()));
    let cache = Cache::new(mock.clone(), dir.path()).unwrap().bounded(one * 4 + one / 2);
    let device = Device::with_layers(Arc::new(cache), &Layers::default());
    for add in 1..10 {
        // File times must differ for "oldest" to mean something.
        std::thread::sleep(Duration::from_millis(15));
        run(&device, &count(add));
        let bytes: u64 = entries(dir.path()).iter().map(|e| fs::metadata(e).unwrap().len()).sum();
        assert!(bytes <= one * 4 + one / 2, "{bytes}");
    }
    assert_eq!(start(dir.path(), info(), &count(9)).2, 1, "the newest is there");
    assert_eq!(start(dir.path(), info(), &count(0)).2, 0, "the oldest is not");
}

#[test]
fn starts_at_the_same_time_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| (0..5).for_each(|add| drop(start(dir.path(), info(), &count(add)))));
        }
    });
    assert_eq!(entries(dir.path()).len(), 5, "and no temporary file is left");
    (0..5).for_each(|add| assert_eq!(start(dir.path(), info(), &count(add)).2, 1));
}

#[test]
fn a_trace_names_kernels_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.json");
    let layers = Layers { trace: Some(path.clone()), validate: true, ..Layers::default() };
    let device = Device::with_layers(Arc::new(Mock::new(info())), &layers);
    let mut blind = info();
    blind.clock = None;
    blind.id = "mock:1".into();
    let other = Device::with_layers(Arc::new(Mock::new(blind)), &layers);
    run(&device, &count(1));
    run(&other, &count(1));
    // Whole before the devices are closed.
    let text = fs::read_to_string(&path).unwrap();
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let on = |tid: u64, name: &str| {
        events.iter().find(|e| e["tid"] == tid && e["name"].as_str().is_some_and(|n| n.starts_with(name)))
    };
    let launch = on(1, "count 3x1x1").expect("the launch on the first device");
    assert_eq!(launch["dur"].as_f64(), Some(0.01), "10 ns on the mock's clock: {launch}");
    assert!(on(1, "copy 12 bytes").is_some());
    assert!(on(2, "count").is_some() || on(2, "copy").is_some());
    assert!(on(0, "load count").is_some() && on(0, "submit").is_some());
    assert!(events.iter().any(|e| e["args"]["name"] == "mock:0 Mock device"));
    // Nobody above asked for spans and nobody gets them.
    let buffer = device.alloc(16).unwrap();
    let work = device.submit(&[Step::Fill { dst: buffer.all(), word: 0 }]).unwrap();
    assert_eq!(work.spans().unwrap(), [None]);
}

#[test]
fn a_trace_that_cannot_be_written_stops_nothing() {
    let layers = Layers { trace: Some("/nonexistent/folder/trace.json".into()), ..Layers::default() };
    let device = Device::with_layers(Arc::new(Mock::new(info())), &layers);
    assert_eq!(run(&device, &count(1)), [1, 2, 3]);
}

/// A device with one buffer and one program, driven raw.
fn raw() -> (Validate, Arc<Mock>, RawBuffer, RawProgram) {
    let mut info = info();
    info.limits.binding_align = 16;
    info.limits.copy_align = 4;
    let mock = Arc::new(Mock::new(info.clone()));
    let v = Validate::new(mock.clone());
    let buffer = v.alloc(64, Memory::Device).unwrap();
    let target = anychip_hal::ir::legal::Target { info: &info, idx_bits: 32, checked: true };
    let k = anychip_hal::ir::legal::legalize(&count(0), &target).unwrap();
    let program = v.load(&Module::Kernel(&k), None).unwrap().program;
    (v, mock, buffer, program)
}

#[test]
fn breaches_of_the_contract_by_a_caller_are_named() {
    let (v, mock, buffer, program) = raw();
    let at = |offset, bytes| Range { buffer, offset, bytes };
    let launch = |binding: Range, scalars: usize, groups| Command::Launch {
        program,
        groups,
        bindings: vec![binding],
        scalars: vec![0; scalars],
    };
    let one = [1, 1, 1];
    let cases = [
        (Command::Fill { dst: at(0, 65), word: 0 }, "65 bytes at 0"),
        (Command::Fill { dst: at(2, 4), word: 0 }, "no multiple of 4"),
        (Command::Fill { dst: at(0, 6), word: 0 }, "fill: 6 bytes"),
        (Command::Copy { src: at(0, 8), dst: at(4, 8) }, "overlap"),
        (Command::Copy { src: at(0, 8), dst: at(32, 4) }, "8 bytes to 4"),
        (Command::Copy { src: at(0, 0), dst: at(32, 0) }, "0 bytes at 0"),
        (Command::Fill { dst: Range { buffer: RawBuffer(99), offset: 0, bytes: 4 }, word: 0 }, "not allocated"),
        (launch(at(8, 8), 8, one), "no multiple of 16"),
        (launch(at(0, 8), 3, one), "3 bytes of scalars"),
        (launch(at(0, 8), 8, [0, 1, 1]), "grid [0, 1, 1]"),
    ];
    for (command, says) in cases {
        let work = Work::Commands(std::slice::from_ref(&command));
        let e = v.submit(&Submission { queue: 0, after: &[], work, profile: false }).unwrap_err();
        assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains(says), "{command:?}: {e}");
    }
    assert!(v.host_write(buffer, 0, &[0]).unwrap_err().to_string().contains("Device memory as Upload"));
    assert!(v.load(&Module::Kernel(&count(0)), None).unwrap_err().to_string().contains("not legalised"));
    // Freed while in use: said by the next call.
    mock.hold();
    let work = Work::Commands(&[Command::Fill { dst: at(0, 4), word: 0 }]);
    v.submit(&Submission { queue: 0, after: &[], work, profile: false }).unwrap();
    v.free(buffer);
    assert!(v.alloc(4, Memory::Device).unwrap_err().to_string().contains("pending work uses it"));
}

/// A backend whose tickets fall and which gives one span too many.
struct Wrong(Arc<Mock>);

impl RawDevice for Wrong {
    fn info(&self) -> &anychip_hal::DeviceInfo {
        self.0.info()
    }
    fn alloc(&self, _: u64, _: Memory) -> anychip_hal::Result<RawBuffer> {
        Ok(RawBuffer(7))
    }
    fn free(&self, _: RawBuffer) {}
    fn host_write(&self, _: RawBuffer, _: u64, _: &[u8]) -> anychip_hal::Result<()> {
        Ok(())
    }
    fn host_read(&self, _: RawBuffer, _: u64, _: &mut [u8]) -> anychip_hal::Result<()> {
        Ok(())
    }
    fn load(&self, _: &Module<'_>, _: Option<&[u8]>) -> anychip_hal::Result<anychip_hal::Loaded> {
        Err(Error::unsupported("loading", "not here"))
    }
    fn unload(&self, _: RawProgram) {}
    fn submit(&self, _: &Submission<'_>) -> anychip_hal::Result<Ticket> {
        Ok(Ticket { queue: 0, value: 5 })
    }
    fn wait(&self, _: Ticket, _: Duration) -> anychip_hal::Result<Option<anychip_hal::Completion>> {
        let span = anychip_hal::Span { begin: 1, end: 2 };
        Ok(Some(anychip_hal::Completion { spans: vec![span; 2] }))
    }
}

#[test]
fn breaches_of_the_contract_by_a_backend_are_named() {
    let v = Validate::new(Arc::new(Wrong(Arc::new(Mock::new(info())))));
    let buffer = v.alloc(16, Memory::Device).unwrap();
    let e = v.alloc(16, Memory::Device).unwrap_err();
    assert!(
        matches!(&e, Error::Plugin { plugin, .. } if plugin == "mock:0") && e.to_string().contains("in use"),
        "{e}"
    );
    let commands = [Command::Fill { dst: Range { buffer, offset: 0, bytes: 16 }, word: 0 }];
    let submit = || {
        let work = Work::Commands(&commands);
        v.submit(&Submission { queue: 0, after: &[], work, profile: true })
    };
    let ticket = submit().unwrap();
    let e = v.wait(ticket, Duration::ZERO).unwrap_err();
    assert!(e.to_string().contains("2 spans for 1 commands"), "{e}");
    assert!(matches!(submit().unwrap_err(), Error::Plugin { .. }), "the ticket does not rise");
}

#[test]
fn different_chips_play_one_exact_machine() {
    use anychip_hal::info::{DeviceClass, Feature, FragmentShape, Rounding, Subgroups, TypeSupport};
    let plain = info();
    let mut rich = info();
    rich.class = DeviceClass::Cpu;
    (rich.units, rich.vector, rich.vector_bytes) = (132, 8, 16);
    rich.subgroups = Some(Subgroups { min: 32, max: 32 });
    rich.features.extend([Feature::Math, Feature::Erf, Feature::Dot4, Feature::SubgroupReduce, Feature::Fragments]);
    let f = DType::F16;
    let (acc, rounding) = (DType::F32, Rounding::NearestEven);
    let shape =
        FragmentShape { m: 16, n: 8, k: 16, a: f, b: f, acc, acc_bits: 24, rounding, operand_bits: 11, subgroups: 1 };
    rich.fragments.push(shape);
    rich.types.insert(DType::F16, TypeSupport::FULL);
    rich.limits.max_workgroup = 1024;
    rich.limits.max_workgroup_dim = [1024, 1024, 64];
    rich.limits.max_shared = 227 << 10;
    rich.limits.max_bindings = 64;
    rich.limits.max_groups = [u32::MAX; 3];
    let played = |i: &DeviceInfo| Exact::new(Arc::new(Mock::new(i.clone()))).map(|e| e.info().clone());
    assert_eq!(played(&plain).unwrap(), played(&rich).unwrap());
    let made = played(&rich).unwrap();
    assert_ne!(made.fingerprint(), rich.fingerprint());
    assert_eq!(made.support(DType::F16), TypeSupport::default());

    // Less than the machine, or arithmetic with a choice, is refused with the reason.
    let refused = |change: fn(&mut DeviceInfo), why: &str| {
        let mut i = info();
        change(&mut i);
        let e = played(&i).unwrap_err();
        assert!(e.is_unsupported() && e.to_string().contains(why), "{e}");
    };
    refused(|i| i.limits.max_bindings = 4, "4 buffers of a kernel");
    refused(|i| i.limits.max_shared = 1024, "1024 bytes of workgroup memory");
    refused(|i| i.kernels = false, "takes no kernels");
    refused(|i| i.arithmetic.clear(), "nothing is declared");
    refused(|i| i.arithmetic.get_mut(&DType::F32).unwrap().may_reassociate = true, "another order");
    refused(|i| i.arithmetic.get_mut(&DType::F32).unwrap().correctly_rounded = false, "correctly rounded");
    refused(|i| i.arithmetic.get_mut(&DType::F32).unwrap().nan_inf = false, "NaN");

    // No library decides what a sum is.
    let exact = Exact::new(Arc::new(Mock::new(rich))).unwrap();
    let g = op::Graph { name: "sum".into(), inputs: vec![], nodes: vec![], outputs: vec![] };
    for e in [exact.accepts(&g).unwrap_err(), exact.load(&Module::Graph(&g), None).unwrap_err()] {
        assert!(e.is_unsupported() && e.to_string().contains("kernels alone"), "{e}");
    }
}
