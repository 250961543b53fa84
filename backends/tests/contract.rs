//! The contract on every device of a backend: listing, memory, submission, waiting, failing, caching, threads.

use crate::common::*;
use anychip_hal::{
    Command, DType, Driver, Error, Memory, Module, Range, RawBuffer, RawDevice, Submission, Work,
    contract::Ticket,
    info::{DeviceClass, host_processor},
    ir::{self, *},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Every device, raw.
pub fn raw(test: &str) -> Vec<Arc<dyn RawDevice>> {
    let ordinal = |id: &str| id.rsplit(':').next().expect("one part at least").parse().expect("a number");
    devices(test).iter().map(|d| driver().open(ordinal(&d.info().id)).expect("opens")).collect()
}

pub fn legal(d: &dyn RawDevice, k: &Kernel) -> Kernel {
    ir::legal::legalize(k, &ir::legal::Target { info: d.info(), idx_bits: 32, checked: true }).expect("legal")
}

pub fn submit(d: &dyn RawDevice, commands: &[Command]) -> anychip_hal::Result<Ticket> {
    d.submit(&Submission { queue: 0, after: &[], work: Work::Commands(commands), profile: false })
}

pub fn finish(d: &dyn RawDevice, t: Ticket) {
    while d.wait(t, Duration::from_secs(10)).expect("work succeeds").is_none() {}
}

pub fn all(buffer: RawBuffer, bytes: u64) -> Range {
    Range { buffer, offset: 0, bytes }
}

/// Scalars of a legalised kernel whose user scalars are none: offsets 0, lengths as given, in the order of parameters.
pub fn hidden(k: &Kernel, elements: u64, groups: u64) -> Vec<u8> {
    let (slots, bytes) = k.scalar_layout();
    let mut out = vec![0; bytes as usize];
    for s in slots {
        let value = match k.params[s.param.at()].kind {
            ParamKind::Scalar { role: Role::Len(_), .. } => elements,
            ParamKind::Scalar { role: Role::Groups, .. } => groups,
            _ => 0,
        };
        out[s.offset as usize..(s.offset + s.bytes) as usize].copy_from_slice(&value.to_le_bytes()[..s.bytes as usize]);
    }
    out
}

#[test]
fn devices_say_who_they_are() {
    for d in devices("devices_say_who_they_are") {
        let i = d.info();
        // What is emulated says so.
        assert_eq!(i.backend.strip_suffix("-emulated").unwrap_or(&i.backend), driver().name());
        assert!(i.id.starts_with(&format!("{}:", driver().name())), "{}", i.id);
        assert!(i.memory.total >= i.memory.max_alloc && i.memory.max_alloc > 1 << 20, "{:?}", i.memory);
        assert!(
            i.limits.max_workgroup >= 64 && i.limits.max_bindings >= 8 && i.limits.max_shared >= 16 << 10,
            "{:?}",
            i.limits
        );
        assert!(i.limits.binding_align.is_power_of_two());
        assert!(i.support(DType::F32).arithmetic && i.support(DType::U32).storage);
        let physical = i.identity.physical.as_str();
        assert_ne!(physical, "unknown");
        // One chip has one name, whatever driver shows it.
        assert_eq!(i.class == DeviceClass::Software, physical == host_processor(), "{physical}");
        println!("{}", summary(i));
    }
}

fn summary(i: &anychip_hal::DeviceInfo) -> String {
    format!(
        "{}: {} | {} {} | {:?} | {:?} | clock {:?}",
        i.id, i.identity.name, i.identity.driver, i.identity.version, i.class, i.features, i.clock
    )
}

#[test]
fn adds_vectors() {
    for d in devices("adds_vectors") {
        let n = 1000usize;
        let a: Vec<f32> = (0..n).map(|i| i as f32 * 0.25).collect();
        let b: Vec<f32> = (0..n).map(|i| 1000.0 - i as f32).collect();
        let mut buffers = [bytes_of(&a, f32::to_le_bytes), bytes_of(&b, f32::to_le_bytes), vec![0xaa; 4 * n]];
        run(&d, &vector_add("add"), n as u64, &mut buffers, &[]).expect("runs");
        let want: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(f32s(&buffers[2]), want, "{}", d.info().id);
    }
}

#[test]
fn an_ordinal_too_far_is_no_device() {
    if devices("an_ordinal_too_far_is_no_device").is_empty() {
        return;
    }
    let e = driver().open(999).err().expect("there are fewer");
    let id = format!("{}:999", driver().name());
    assert!(matches!(&e, Error::NoDevice { asked, .. } if *asked == id), "{e}");
}

#[test]
fn copies_and_fills_at_any_byte() {
    for d in raw("copies_and_fills_at_any_byte") {
        let (up, mid, down) = (
            d.alloc(100, Memory::Upload).expect("fits"),
            d.alloc(100, Memory::Device).expect("fits"),
            d.alloc(100, Memory::Readback).expect("fits"),
        );
        let bytes: Vec<u8> = (0..100).collect();
        d.host_write(up, 0, &bytes).expect("written");
        let part = |buffer, offset, bytes| Range { buffer, offset, bytes };
        let (from, to, bytes_copied) = if d.info().limits.copy_align == 1 { (13, 7, 31) } else { (12, 8, 32) };
        let t = submit(
            &*d,
            &[
                Command::Fill { dst: part(mid, 0, 100), word: 0x04030201 },
                // At the finest that the device copies by.
                Command::Copy { src: part(up, from, bytes_copied), dst: part(mid, to, bytes_copied) },
                Command::Copy { src: all(mid, 100), dst: all(down, 100) },
            ],
        )
        .expect("queued");
        finish(&*d, t);
        let mut got = vec![0; 100];
        d.host_read(down, 0, &mut got).expect("read");
        let mut want: Vec<u8> = (0..100).map(|i| 1 + (i % 4) as u8).collect();
        let (to, from, n) = (to as usize, from as usize, bytes_copied as usize);
        want[to..to + n].copy_from_slice(&bytes[from..from + n]);
        assert_eq!(got, want);
        let e = d.host_read(down, 90, &mut got).expect_err("past the end");
        assert!(matches!(e, Error::InvalidArgument(_)) && e.to_string().contains("100"), "{e}");
        [up, mid, down].iter().for_each(|b| d.free(*b));
        let e = d.host_write(up, 0, &bytes).expect_err("freed");
        assert!(matches!(e, Error::InvalidArgument(_)), "{e}");
    }
}

#[test]
fn an_offset_binds_a_part() {
    for d in raw("an_offset_binds_a_part") {
        let k = legal(&*d, &vector_add("add_part"));
        let p = d.load(&Module::Kernel(&k), None).expect("compiles").program;
        let align = d.info().limits.binding_align;
        let (n, bytes) = (64u64, 256u64);
        let (a, up) =
            (d.alloc(2 * align + bytes, Memory::Device).expect("fits"), d.alloc(bytes, Memory::Upload).expect("fits"));
        let (b, c) = (d.alloc(bytes, Memory::Device).expect("fits"), d.alloc(bytes, Memory::Device).expect("fits"));
        let down = d.alloc(bytes, Memory::Readback).expect("fits");
        d.host_write(up, 0, &bytes_of(&(0..64).map(|i| i as f32).collect::<Vec<_>>(), f32::to_le_bytes))
            .expect("written");
        let part = Range { buffer: a, offset: 2 * align, bytes };
        for _ in 0..2 {
            let t = submit(
                &*d,
                &[
                    Command::Copy { src: all(up, bytes), dst: part },
                    Command::Copy { src: all(up, bytes), dst: all(b, bytes) },
                    Command::Launch {
                        program: p,
                        groups: [1, 1, 1],
                        bindings: vec![part, all(b, bytes), all(c, bytes)],
                        scalars: hidden(&k, n, 1),
                    },
                    Command::Copy { src: all(c, bytes), dst: all(down, bytes) },
                ],
            )
            .expect("queued");
            finish(&*d, t);
        }
        let mut got = vec![0; bytes as usize];
        d.host_read(down, 0, &mut got).expect("read");
        assert_eq!(f32s(&got), (0..64).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
        [a, b, up, c, down].iter().for_each(|b| d.free(*b));
    }
}

#[test]
fn memory_runs_out_and_life_goes_on() {
    for d in raw("memory_runs_out_and_life_goes_on") {
        // Where memory is the chip's and not counted per handle, other tests would find none.
        if excused("memory_beside_others", d.info()) && !alone("contract::memory_runs_out_and_life_goes_on") {
            return;
        }
        let m = d.info().memory.clone();
        let e = d.alloc(m.max_alloc + 1, Memory::Device).expect_err("too large");
        assert!(matches!(&e, Error::OutOfMemory { asked, .. } if *asked == m.max_alloc + 1), "{e}");
        assert!(e.to_string().contains(&m.max_alloc.to_string()), "{e}");
        // Drivers take memory when it is first used: these allocations cost nothing.
        let (mut held, step) = (vec![], m.max_alloc.min(m.total / 4));
        let e = loop {
            match d.alloc(step, Memory::Device) {
                Ok(b) => held.push(b),
                Err(e) => break e,
            }
            assert!(held.len() as u64 * step <= m.total, "more is given than there is");
        };
        assert!(matches!(e, Error::OutOfMemory { .. }), "{e}");
        for b in held {
            d.free(b);
        }
        let b = d.alloc(4096, Memory::Readback).expect("the device is alive");
        let t = submit(&*d, &[Command::Fill { dst: all(b, 4096), word: 7 }]).expect("queued");
        finish(&*d, t);
        let mut got = vec![0; 4096];
        d.host_read(b, 0, &mut got).expect("read");
        assert_eq!(u32s(&got), vec![7; 1024]);
        d.free(b);
    }
}

#[test]
fn a_binary_saves_the_compiler() {
    for d in raw("a_binary_saves_the_compiler") {
        if excused("a_binary_saves_the_compiler", d.info()) {
            continue;
        }
        // A name of its own, so that the driver's cache does not know it.
        let k = legal(&*d, &vector_add(&format!("add_{}_{}", std::process::id(), nanos())));
        let first = Instant::now();
        let one = d.load(&Module::Kernel(&k), None).expect("compiles");
        let first = first.elapsed();
        // Some drivers have it only once the program has run.
        check_add(&*d, &k, one.program);
        let binary = match one.binary.is_empty() {
            true => d.binary(one.program).expect("this backend has binaries"),
            false => one.binary.clone(),
        };
        assert!(binary.len() > 32, "{}: no binary", d.info().id);
        let second = Instant::now();
        let two = d.load(&Module::Kernel(&k), Some(&binary)).expect("loads");
        println!("{}: {first:?} from source, {:?} from {} bytes", d.info().id, second.elapsed(), binary.len());
        assert_ne!(one.program, two.program);
        assert!(two.binary == binary, "{}: the binary was not used", d.info().id);
        check_add(&*d, &k, two.program);
        // Damaged, cut short, of another kernel: compiled afresh.
        // With workgroups of another size: a module that has no names is the same under another one.
        let mut other_kernel = vector_add("other");
        other_kernel.workgroup = [32, 1, 1];
        let other_kernel = legal(&*d, &other_kernel);
        let other = d.load(&Module::Kernel(&other_kernel), None).expect("compiles");
        check_add(&*d, &other_kernel, other.program);
        let other = match other.binary.is_empty() {
            true => d.binary(other.program).expect("this backend has binaries"),
            false => other.binary,
        };
        let (cut, mut flipped) = (&binary[..binary.len() / 2], binary.clone());
        flipped[binary.len() / 2] ^= 1;
        for cached in [cut, &flipped, &[], &[1, 2, 3], &other[..]] {
            let afresh = d.load(&Module::Kernel(&k), Some(cached)).expect("compiled afresh");
            assert!(afresh.binary != cached || cached.is_empty(), "{}: a wrong binary was used", d.info().id);
            check_add(&*d, &k, afresh.program);
            d.unload(afresh.program);
        }
    }
}

#[test]
fn a_binary_beside_launches() {
    for d in raw("a_binary_beside_launches") {
        if excused("a_binary_beside_launches", d.info()) {
            continue;
        }
        let k = legal(&*d, &vector_add(&format!("beside_{}_{}", std::process::id(), nanos())));
        let program = d.load(&Module::Kernel(&k), None).expect("compiles").program;
        check_add(&*d, &k, program);
        if d.binary(program).is_none() {
            println!("SKIPPED: a_binary_beside_launches: {} gives binaries when it compiles", d.info().id);
            continue;
        }
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    let buffers = [(); 3].map(|()| d.alloc(256, Memory::Device).expect("fits"));
                    let bindings = buffers.map(|b| all(b, 256)).to_vec();
                    let launch = Command::Launch { program, groups: [1, 1, 1], bindings, scalars: hidden(&k, 64, 1) };
                    let commands = vec![launch; 8];
                    let tickets: Vec<Ticket> = (0..100).map(|_| submit(&*d, &commands).expect("queued")).collect();
                    tickets.into_iter().for_each(|t| finish(&*d, t));
                    buffers.iter().for_each(|b| d.free(*b));
                });
            }
            for _ in 0..10 {
                assert!(d.binary(program).expect("it had one").len() > 32, "{}", d.info().id);
            }
        });
        check_add(&*d, &k, program);
    }
}

fn nanos() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").subsec_nanos()
}

pub fn check_add(d: &dyn RawDevice, k: &Kernel, program: anychip_hal::RawProgram) {
    let b = |m| d.alloc(256, m).expect("fits");
    let (up, x, y, z, down) =
        (b(Memory::Upload), b(Memory::Device), b(Memory::Device), b(Memory::Device), b(Memory::Readback));
    d.host_write(up, 0, &bytes_of(&[1.5f32; 64], f32::to_le_bytes)).expect("written");
    let t = submit(
        d,
        &[
            Command::Copy { src: all(up, 256), dst: all(x, 256) },
            Command::Fill { dst: all(y, 256), word: 2.0f32.to_bits() },
            Command::Launch {
                program,
                groups: [64 / k.lanes(), 1, 1],
                bindings: [x, y, z].map(|b| all(b, 256)).to_vec(),
                scalars: hidden(k, 64, u64::from(64 / k.lanes())),
            },
            Command::Copy { src: all(z, 256), dst: all(down, 256) },
        ],
    )
    .expect("queued");
    finish(d, t);
    let mut got = vec![0; 256];
    d.host_read(down, 0, &mut got).expect("read");
    assert_eq!(f32s(&got), vec![3.5; 64]);
    [up, x, y, z, down].iter().for_each(|b| d.free(*b));
}

/// Runs for a while: `rounds` dependent multiplications a lane. llvmpipe ends a lane's loops after 65,535 rounds.
fn slow(rounds: u32) -> Kernel {
    let mut b = Builder::new("slow", [64, 1, 1]);
    let out = b.buffer("out", DType::F32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let x = b.cast(DType::F32, i);
    let acc = b.var("acc", x);
    let (zero, end, one) = (b.u32(0), b.u32(rounds), b.u32(1));
    b.count(zero, end, one, |b, _| {
        let (x, m, a) = (b.get(acc), b.f32(0.999), b.f32(0.001));
        let y = b.mul_add(x, m, a);
        b.set(acc, y);
    });
    let x = b.get(acc);
    b.store(Place::Buffer(out), i, x);
    b.finish().expect("well-formed")
}

#[test]
fn submit_returns_at_once_and_waiting_has_a_limit() {
    const LANES: u64 = 64 * 300;
    for d in raw("submit_returns_at_once_and_waiting_has_a_limit") {
        if excused("submit_returns_at_once_and_waiting_has_a_limit", d.info()) {
            continue;
        }
        let k = legal(&*d, &slow(30_000));
        let p = d.load(&Module::Kernel(&k), None).expect("compiles").program;
        let out = d.alloc(LANES * 4, Memory::Device).expect("fits");
        let launch = Command::Launch {
            program: p,
            groups: [(LANES / 64) as u32, 1, 1],
            bindings: vec![all(out, LANES * 4)],
            scalars: hidden(&k, LANES, LANES / 64),
        };
        // The first launch may compile.
        finish(&*d, submit(&*d, std::slice::from_ref(&launch)).expect("queued"));
        let begin = Instant::now();
        let t = submit(&*d, std::slice::from_ref(&launch)).expect("queued");
        let queued = begin.elapsed();
        if !excused("polling", d.info()) {
            assert_eq!(d.wait(t, Duration::ZERO).expect("polls"), None, "it cannot be done yet");
            assert_eq!(d.wait(t, Duration::from_millis(2)).expect("waits"), None, "it cannot be done yet");
        }
        finish(&*d, t);
        let whole = begin.elapsed();
        println!("{}: queued after {queued:?}, done after {whole:?}", d.info().id);
        assert!(queued < whole / 4, "submitting took {queued:?} of {whole:?}");
        assert!(d.wait(t, Duration::ZERO).expect("waiting twice is legal").is_some());
        let e = d.wait(Ticket { queue: 0, value: t.value + 1 }, Duration::ZERO).expect_err("never given out");
        assert!(matches!(e, Error::InvalidArgument(_)), "{e}");
        if d.info().limits.queues < 2 {
            println!("SKIPPED: one queue waits for another: {} has one", d.info().id);
            continue;
        }
        // Another queue waits for it.
        let t = submit(&*d, &[launch]).expect("queued");
        let after = [t];
        let fill = Command::Fill { dst: all(out, LANES * 4), word: 5 };
        let s =
            Submission { queue: 1, after: &after, work: Work::Commands(std::slice::from_ref(&fill)), profile: false };
        let u = d.submit(&s).expect("queued");
        finish(&*d, u);
        assert!(d.wait(t, Duration::ZERO).expect("polls").is_some(), "what came before must be done");
    }
}

#[test]
fn spans_come_in_order_where_there_is_a_clock() {
    for d in raw("spans_come_in_order_where_there_is_a_clock") {
        let out = d.alloc(1 << 20, Memory::Device).expect("fits");
        let fill = Command::Fill { dst: all(out, 1 << 20), word: 5 };
        let commands = vec![fill; 3];
        let s = Submission { queue: 0, after: &[], work: Work::Commands(&commands), profile: true };
        let t = d.submit(&s).expect("queued");
        let done = loop {
            if let Some(c) = d.wait(t, Duration::from_secs(10)).expect("succeeds") {
                break c;
            }
        };
        if d.info().clock.is_none() {
            assert!(done.spans.is_empty());
            continue;
        }
        assert_eq!(done.spans.len(), 3);
        for (a, b) in done.spans.iter().zip(&done.spans[1..]) {
            assert!(a.begin <= a.end && a.end <= b.end, "{:?}", done.spans);
        }
        assert!(done.spans[2].end > done.spans[0].begin);
    }
}

#[test]
fn several_threads_share_one_device() {
    for d in devices("several_threads_share_one_device") {
        if excused("several_threads_share_one_device", d.info()) {
            continue;
        }
        let k = vector_add("add_threads");
        std::thread::scope(|s| {
            for t in 0..4 {
                let (d, k) = (d.clone(), k.clone());
                s.spawn(move || {
                    for round in 0..10 {
                        let x = (t * 10 + round) as f32;
                        let mut buffers = [
                            bytes_of(&[x; 500], f32::to_le_bytes),
                            bytes_of(&[0.5f32; 500], f32::to_le_bytes),
                            vec![0; 2000],
                        ];
                        run(&d, &k, 500, &mut buffers, &[]).expect("runs");
                        assert_eq!(f32s(&buffers[2]), vec![x + 0.5; 500]);
                    }
                });
            }
        });
    }
}

#[test]
fn a_kernel_for_a_device_without_its_types_is_refused() {
    for d in devices("a_kernel_for_a_device_without_its_types_is_refused") {
        let mut b = Builder::new("wide", [1 << 20, 1, 1]);
        let out = b.buffer("out", DType::F32, Access::Write);
        let (i, x) = (b.idx(0), b.f32(1.0));
        b.store(Place::Buffer(out), i, x);
        let k = b.finish().expect("well-formed");
        let mut buffers = [vec![0; 4]];
        let e = run(&d, &k, 1, &mut buffers, &[]).expect_err("no device has workgroups of a million lanes");
        assert!(e.is_unsupported(), "{e}");
    }
}

#[test]
fn a_list_runs_again_and_again() {
    for d in raw("a_list_runs_again_and_again") {
        let (up, sum, down) = (
            d.alloc(256, Memory::Upload).expect("fits"),
            d.alloc(256, Memory::Device).expect("fits"),
            d.alloc(256, Memory::Readback).expect("fits"),
        );
        let twin = d.alloc(256, Memory::Device).expect("fits");
        let more = d.alloc(256, Memory::Device).expect("fits");
        let k = legal(&*d, &vector_add("add_list"));
        let program = d.load(&Module::Kernel(&k), None).expect("compiles").program;
        let launch = Command::Launch {
            program,
            groups: [1, 1, 1],
            bindings: vec![all(more, 256), all(sum, 256), all(twin, 256)],
            scalars: hidden(&k, 64, 1),
        };
        // Adds what is in `up` to `sum` three times.
        let mut commands = vec![Command::Copy { src: all(up, 256), dst: all(more, 256) }];
        for _ in 0..3 {
            commands.extend([launch.clone(), Command::Copy { src: all(twin, 256), dst: all(sum, 256) }]);
        }
        commands.push(Command::Copy { src: all(sum, 256), dst: all(down, 256) });
        let list = match d.record(&commands) {
            Ok(list) => list,
            Err(e) if e.is_unsupported() => {
                println!("SKIPPED: a_list_runs_again_and_again: {}: {e}", d.info().id);
                continue;
            }
            Err(e) => panic!("{}: {e}", d.info().id),
        };
        finish(&*d, submit(&*d, &[Command::Fill { dst: all(sum, 256), word: 0 }]).expect("queued"));
        d.host_write(up, 0, &bytes_of(&[1.0f32; 64], f32::to_le_bytes)).expect("written");
        let run = |profile: bool| {
            d.submit(&Submission { queue: 0, after: &[], work: Work::List(list), profile }).expect("queued")
        };
        let read = || {
            let mut got = vec![0; 256];
            d.host_read(down, 0, &mut got).expect("read");
            f32s(&got)
        };
        for n in 1..=3 {
            finish(&*d, run(false));
            assert_eq!(read(), [3.0 * n as f32; 64], "{}: run {n}", d.info().id);
        }
        // Submitted again while it is still running.
        let tickets: Vec<_> = (0..20).map(|_| run(false)).collect();
        tickets.windows(2).for_each(|t| assert!(t[0].value < t[1].value));
        finish(&*d, tickets[19]);
        assert_eq!(read(), [69.0; 64], "{}", d.info().id);
        let timed = run(true);
        let done = loop {
            if let Some(c) = d.wait(timed, Duration::from_secs(10)).expect("succeeds") {
                break c;
            }
        };
        assert_eq!(done.spans.len(), if d.info().clock.is_some() { commands.len() } else { 0 });
        assert_eq!(read(), [72.0; 64], "{}", d.info().id);
        d.release(list);
        let e = d
            .submit(&Submission { queue: 0, after: &[], work: Work::List(list), profile: false })
            .expect_err("it is released");
        assert!(matches!(e, Error::InvalidArgument(_)), "{e}");
        [up, sum, down, twin, more].iter().for_each(|b| d.free(*b));
    }
}
