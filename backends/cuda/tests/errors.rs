//! Every call that the backend makes, made to fail in every way that matters: what comes out is an error of the right sort, nothing is
//! left behind, and the device opens again. Only the emulated driver can be told to fail.

mod common;

use anychip_hal::{
    Command, DType, Driver, Error, Memory, Module, Range, RawBuffer, RawDevice, Result, Submission, Ticket, Work,
    ir::{
        Access, Builder, Builtin, Elem, Kernel, Op, Param, ParamKind, Place, Role, Swizzle, TileView,
        legal::{Target, legalize},
    },
};
use common::*;
use libloading::Library;
use std::{
    ffi::{CString, c_char},
    ptr,
    sync::Arc,
    time::Duration,
};

/// The emulated driver's own functions, where the driver is that one.
struct Emulator(Library);

impl Emulator {
    fn find() -> Option<Emulator> {
        // Loaded already under this name.
        let library = unsafe { Library::new("libcuda.so.1") }.ok()?;
        let known = unsafe { library.get::<unsafe extern "C" fn()>(b"anychipEmulatorFault\0") }.is_ok();
        known.then_some(Emulator(library))
    }

    /// What shall fail from now on; counts begin anew.
    fn fault(&self, text: &str) {
        let text = CString::new(text).expect("no zero byte");
        let tell = unsafe { self.0.get::<unsafe extern "C" fn(*const c_char) -> i32>(b"anychipEmulatorFault\0") };
        assert_eq!(unsafe { tell.expect("it is there")(text.as_ptr()) }, 0);
    }

    /// Calls since then, by symbol.
    fn called(&self) -> Vec<(String, u64)> {
        let ask =
            unsafe { self.0.get::<unsafe extern "C" fn(*mut c_char, usize) -> usize>(b"anychipEmulatorCalled\0") };
        let mut text = vec![0u8; 1 << 16];
        let n = unsafe { ask.expect("it is there")(text.as_mut_ptr().cast(), text.len()) };
        let text = String::from_utf8_lossy(&text[..n]).to_string();
        let line = |l: &str| l.split_once(' ').map(|(s, n)| (s.to_string(), n.parse().expect("a count")));
        text.lines().filter_map(line).collect()
    }

    /// Things of the driver's that live.
    fn live(&self) -> i64 {
        let ask = unsafe { self.0.get::<unsafe extern "C" fn(*const c_char) -> i64>(b"anychipEmulatorLive\0") };
        unsafe { ask.expect("it is there")(ptr::null()) }
    }
}

fn add(d: &dyn RawDevice) -> Kernel {
    let target = Target { info: d.info(), idx_bits: 32, checked: true };
    legalize(&vector_add("add_or_fail"), &target).expect("legal")
}

/// Copies 4 lines of 16 numbers, as a box.
fn boxed(d: &dyn RawDevice) -> Kernel {
    let mut b = Builder::new("box_or_fail", [64, 1, 1]);
    let x = b.param("x", ParamKind::Buffer { elem: DType::F32, access: Access::Read, align: 16 });
    let out = b.buffer("out", DType::F32, Access::Write);
    let mut scalar = |name| b.param(name, ParamKind::Scalar { elem: Elem::Idx, role: Role::User });
    let (origin, far) = (scalar("origin"), scalar("far"));
    let view = TileView { origin, extents: vec![far; 2], strides: vec![far], size: [4, 16] };
    let (tile, bars) = (b.shared("tile", DType::F32, 64), b.shared("bars", DType::U64, 1));
    let (zero, begin, lane) = (b.u32(0), b.idx(0), b.builtin(Builtin::LocalId(0)));
    let (dst_index, slot, parity, swizzle) = (zero, zero, zero, Swizzle::NONE);
    b.effect(Op::CopyTile { dst: tile, dst_index, src: x, view, at: vec![begin; 2], swizzle, bars, slot });
    b.effect(Op::TileCommit { bars, slot });
    b.effect(Op::TileWait { bars, slot, parity });
    b.barrier();
    let v = b.load(Place::Shared(tile), lane);
    b.store(Place::Buffer(out), lane, v);
    let k = b.finish().expect("a well-formed kernel");
    legalize(&k, &Target { info: d.info(), idx_bits: 32, checked: false }).expect("legal")
}

/// The scalars of a launch, by what a parameter is.
fn packed(kernel: &Kernel, number: impl Fn(&Param) -> u32) -> Vec<u8> {
    let (slots, bytes) = kernel.scalar_layout();
    let mut scalars = vec![0; bytes as usize];
    for s in slots {
        let n = number(&kernel.params[s.param.at()]);
        scalars[s.offset as usize..][..4].copy_from_slice(&n.to_le_bytes());
    }
    scalars
}

fn all(buffer: RawBuffer) -> Range {
    Range { buffer, offset: 0, bytes: 256 }
}

fn finish(d: &dyn RawDevice, t: Ticket) -> Result<()> {
    while d.wait(t, Duration::from_secs(10))?.is_none() {}
    Ok(())
}

/// Everything once: memory of each kind, a kernel, one that copies boxes, both queues, spans, a recorded list. What is left when a step fails is left to
/// the drop of the device.
fn work() -> Result<()> {
    let d: Arc<dyn RawDevice> = driver().open(0)?;
    let b = |m| d.alloc(256, m);
    let (up, x, y, z, down) =
        (b(Memory::Upload)?, b(Memory::Device)?, b(Memory::Device)?, b(Memory::Device)?, b(Memory::Readback)?);
    let moved = b(Memory::Device)?;
    let (kernel, copy) = (add(&*d), boxed(&*d));
    let program = d.load(&Module::Kernel(&kernel), None)?.program;
    let copier = d.load(&Module::Kernel(&copy), None)?.program;
    let is_len = |p: &Param| matches!(p.kind, ParamKind::Scalar { role: Role::Len(_), .. });
    let scalars = packed(&kernel, |p| if is_len(p) { 64 } else { 0 });
    let far = packed(&copy, |p| if p.name == "far" { 16 } else { 0 });
    d.host_write(up, 0, &bytes_of(&[1.5f32; 64], f32::to_le_bytes))?;
    let commands = [
        Command::Copy { src: all(up), dst: all(x) },
        Command::Fill { dst: all(y), word: 2.0f32.to_bits() },
        Command::Launch { program, groups: [1; 3], bindings: vec![all(x), all(y), all(z)], scalars },
        Command::Launch { program: copier, groups: [1; 3], bindings: vec![all(z), all(moved)], scalars: far },
        Command::Copy { src: all(moved), dst: all(down) },
    ];
    let submit = |queue, after: &[Ticket], work, profile| d.submit(&Submission { queue, after, work, profile });
    let first = submit(0, &[], Work::Commands(&commands), true)?;
    let second = submit(1, &[first], Work::Commands(&commands[2..]), false)?;
    finish(&*d, first)?;
    finish(&*d, second)?;
    let list = d.record(&commands)?;
    let third = submit(0, &[second], Work::List(list), false)?;
    finish(&*d, third)?;
    let mut got = vec![0; 256];
    d.host_read(down, 0, &mut got)?;
    assert_eq!(f32s(&got), [3.5; 64], "what went through without an error is right");
    d.release(list);
    [program, copier].iter().for_each(|p| d.unload(*p));
    [up, x, y, z, moved, down].iter().for_each(|b| d.free(*b));
    Ok(())
}

/// Every code of `CUresult`, and one that nobody has heard of.
fn every_code() -> impl Iterator<Item = u32> {
    let few = [1..=8, 34..=36, 46..=46, 100..=102, 200..=202, 205..=227, 300..=304, 400..=402, 500..=500, 600..=600];
    few.into_iter().chain([700..=721, 800..=812, 900..=913, 999..=999, 98_765..=98_765]).flatten()
}

/// Codes after which, by CUDA's reference, the context or the process does nothing more.
fn sticks(code: u32) -> bool {
    matches!(code, 3 | 4 | 46 | 201 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=721 | 999)
}

/// What a call is made to fail with: in every way the first time; later, when more has been set up that is to be given back, in
/// the ways that matter: an invalid value, out of memory, an illegal address, an uncorrectable error of memory, an unknown error.
fn codes(symbol: &str, call: u64) -> Vec<u32> {
    match (symbol.starts_with("nvrtc"), call) {
        (true, _) => (1..=11).collect(),
        (_, 1) => every_code().collect(),
        _ => vec![1, 2, 700, 214, 999],
    }
}

fn emulator(test: &str) -> Option<Emulator> {
    if devices(test).is_empty() {
        return None;
    }
    let found = Emulator::find();
    if found.is_none() {
        println!("SKIPPED: {test}: the driver is not the emulated one (scripts/cuda-emulator)");
    }
    found
}

#[test]
fn every_call_may_fail_in_every_way() {
    const TEST: &str = "every_call_may_fail_in_every_way";
    let Some(emulator) = emulator(TEST) else { return };
    // Counts are the process's.
    if !alone(TEST) {
        return;
    }
    work().expect("it works");
    assert_eq!(emulator.live(), 0, "left behind by work that went well");
    emulator.fault("");
    work().expect("it works");
    let called = emulator.called();
    assert!(called.len() > 25, "{called:?}");
    let (mut failed, mut tried) = (0, 0);
    for (symbol, count) in &called {
        for (n, code) in (1..=*count).flat_map(|n| codes(symbol, n).into_iter().map(move |code| (n, code))) {
            let fault = format!("{symbol}:{n}={code}");
            emulator.fault(&fault);
            let ended = work();
            emulator.fault("");
            tried += 1;
            if let Err(e) = &ended {
                failed += 1;
                let sticky = sticks(code) && symbol.starts_with("cu");
                let waiting = symbol.contains("Synchronize") || symbol == "cuEventQuery";
                let right = match e {
                    // A context that cannot be made because the device is lost will never be made in this process.
                    Error::DeviceLost { why, restart, .. } => {
                        let ends = symbol.starts_with("cuCtxCreate") || matches!(code, 3 | 4);
                        (sticky || waiting) && !why.is_empty() && *restart == ends
                    }
                    Error::OutOfMemory { .. } => code == if symbol.starts_with("nvrtc") { 1 } else { 2 },
                    Error::CompileFailed { .. } => symbol.starts_with("nvrtc") || symbol.starts_with("cuModule"),
                    Error::Backend { .. } => !sticky && !waiting,
                    _ => false,
                };
                assert!(right, "{fault}: {e:?}");
            }
            assert_eq!(emulator.live(), 0, "left behind after {fault}: {ended:?}");
            if tried % 8 == 0 || matches!(ended, Err(Error::DeviceLost { .. })) {
                work().unwrap_or_else(|e| panic!("it opens again after {fault}: {e}"));
            }
        }
    }
    println!("{failed} of {tried} faults were noticed");
    // Calls that free fail unheard.
    assert!(failed * 2 > tried, "{failed} of {tried} faults were noticed");
}

#[test]
fn a_lost_device_fails_what_is_pending_and_all_that_follows() {
    const TEST: &str = "a_lost_device_fails_what_is_pending_and_all_that_follows";
    let Some(emulator) = emulator(TEST) else { return };
    if !alone(TEST) {
        return;
    }
    let d = driver().open(0).expect("it opens");
    let x = d.alloc(256, Memory::Device).expect("there is room");
    let fill = [Command::Fill { dst: all(x), word: 1 }];
    let submit = |queue| d.submit(&Submission { queue, after: &[], work: Work::Commands(&fill), profile: false });
    let tickets = [0, 0, 1].map(|queue| submit(queue).expect("it is alive"));
    emulator.fault("cuEventQuery:1=700");
    for t in tickets {
        let e = finish(&*d, t).expect_err("the device is lost").to_string();
        assert!(e.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{e}");
    }
    emulator.fault("");
    for e in [d.alloc(16, Memory::Device).map(drop), submit(0).map(drop), d.record(&fill).map(drop)] {
        assert!(matches!(e, Err(Error::DeviceLost { restart: false, .. })), "{e:?}");
    }
    drop(d);
    assert_eq!(emulator.live(), 0);
    work().expect("another one works");
}
