//! The device through the raw contract: memory, copies, launches, tickets, and what it says to mistakes.

mod common;

use anychip_cpu::{CpuDriver, vmath::Level};
use anychip_hal::{
    Command, DType, Driver, Error, Memory, Module, Range, RawBuffer, RawProgram, Submission, Ticket, Work,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Kernel, Place, UnaryOp, Value},
};
use common::*;
use std::{sync::Arc, time::Duration};

/// z = f(x, y) for the first n elements.
fn kernel_of_two(name: &str, lanes: u32, f: impl FnOnce(&mut Builder, Value, Value) -> Value) -> Kernel {
    let mut b = Builder::new(name, [lanes, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::Read);
    let y = b.buffer("y", DType::F32, Access::Read);
    let z = b.buffer("z", DType::F32, Access::Write);
    let n = b.scalar("n", DType::U32);
    let n = b.cast(Elem::Idx, n);
    let i = b.builtin(Builtin::GlobalId(0));
    let inside = b.compare(CmpOp::Lt, i, n);
    b.when(inside, |b| {
        let (x, y) = (b.load(Place::Buffer(x), i), b.load(Place::Buffer(y), i));
        let value = f(b, x, y);
        b.store(Place::Buffer(z), i, value);
    });
    b.finish().unwrap()
}

fn add_kernel() -> Kernel {
    kernel_of_two("add", 64, |b, x, y| b.add(x, y))
}

#[test]
fn vector_add_on_every_width_and_number_of_threads() {
    for level in Level::all() {
        for threads in [1, 2, 3] {
            let dev = device(level, threads);
            for n in [1usize, 63, 64, 65, 1000, 200_000] {
                let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
                let y: Vec<f32> = (0..n).map(|i| 1.0 / (i as f32 + 1.0)).collect();
                let mut bufs = [bytes(&x), bytes(&y), vec![0; 4 * n]];
                let groups = [n.div_ceil(64) as u32, 1, 1];
                run(&*dev, &add_kernel(), groups, &mut bufs, &[n as u64]).unwrap();
                let z: Vec<f32> = elements(&bufs[2]);
                for i in 0..n {
                    assert_eq!(z[i], x[i] + y[i], "element {i} of {n}");
                }
            }
        }
    }
}

/// Of large buffers, what the next block reads is asked for while a function is computed, in pieces.
#[test]
fn a_function_of_large_operands() {
    let kernel = kernel_of_two("exp", 256, |b, x, y| {
        let product = b.binary(BinaryOp::Mul, x, y);
        b.unary(UnaryOp::Exp, product)
    });
    let n = (1 << 21) + 777;
    let x: Vec<f32> = (0..n).map(|i| (i % 1009) as f32 * 0.01).collect();
    let y: Vec<f32> = (0..n).map(|i| (i % 31) as f32 * 0.1 - 1.5).collect();
    for level in Level::all() {
        let dev = device(level, 2);
        let mut bufs = [bytes(&x), bytes(&y), vec![0; 4 * n]];
        run(&*dev, &kernel, [n.div_ceil(256) as u32, 1, 1], &mut bufs, &[n as u64]).unwrap();
        for (i, z) in elements::<f32>(&bufs[2]).into_iter().enumerate() {
            let want = (x[i] * y[i]).exp();
            assert!((z - want).abs() <= want * 3e-7, "element {i} at {level:?}: {z}, not {want}");
        }
    }
}

#[test]
fn indices_of_64_bits_and_binding_offsets() {
    let dev = device(Level::detect(), 2);
    let n = 1000usize;
    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let mut bufs = [bytes(&x), bytes(&x), vec![0; 4 * n]];
    run_with(&*dev, &add_kernel(), 64, [16, 1, 1], &mut bufs, &[n as u64]).unwrap();
    assert_eq!(elements::<f32>(&bufs[2])[999], 1998.0);

    let k = legal(&*dev, &add_kernel(), 32);
    let program = load(&*dev, &k);
    let a = dev.alloc(8000, Memory::Device).unwrap();
    dev.host_write(a, 0, &bytes(&(0..2000).map(|i| i as f32).collect::<Vec<_>>())).unwrap();
    let out = dev.alloc(4000, Memory::Device).unwrap();
    let bindings = vec![
        Range { buffer: a, offset: 16, bytes: 400 },
        Range { buffer: a, offset: 4000, bytes: 400 },
        Range { buffer: out, offset: 32, bytes: 400 },
    ];
    let scalars = pack(&k, &[100], [2, 1, 1], &[400, 400, 400]);
    let t = submit(&*dev, &[Command::Launch { program, groups: [2, 1, 1], bindings, scalars }]).unwrap();
    wait(&*dev, t).unwrap();
    let mut got = vec![0; 400];
    dev.host_read(out, 32, &mut got).unwrap();
    assert_eq!(elements::<f32>(&got)[99], (4 + 99) as f32 + (1000 + 99) as f32);
}

#[test]
fn copies_and_fills_of_every_size() {
    let dev = device(Level::detect(), 2);
    for n in [4u64, 8, 4096, 4 << 20, (9 << 20) + 12] {
        let (a, b) = (dev.alloc(n, Memory::Upload).unwrap(), dev.alloc(n, Memory::Readback).unwrap());
        let from: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
        dev.host_write(a, 0, &from).unwrap();
        let all = |buffer| Range { buffer, offset: 0, bytes: n };
        let t = submit(&*dev, &[Command::Copy { src: all(a), dst: all(b) }]).unwrap();
        wait(&*dev, t).unwrap();
        let mut to = vec![0; n as usize];
        dev.host_read(b, 0, &mut to).unwrap();
        assert!(to == from);
        for word in [0u32, 0x0102_0304, 0xffff_ffff] {
            let t = submit(&*dev, &[Command::Fill { dst: all(b), word }]).unwrap();
            wait(&*dev, t).unwrap();
            dev.host_read(b, 0, &mut to).unwrap();
            assert!(elements::<u32>(&to).iter().all(|&w| w == word));
        }
        dev.free(a);
        dev.free(b);
    }
}

fn invalid<T: std::fmt::Debug>(r: anychip_hal::Result<T>, says: &str) {
    match r {
        Err(Error::InvalidArgument(text)) => assert!(text.contains(says), "{text:?} does not say {says:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mistakes_are_errors_with_names_and_numbers() {
    let dev = device(Level::detect(), 2);
    let k = legal(&*dev, &add_kernel(), 32);
    let program = load(&*dev, &k);
    let buffer = dev.alloc(400, Memory::Device).unwrap();
    let good = Range { buffer, offset: 0, bytes: 400 };
    let scalars = pack(&k, &[100], [2, 1, 1], &[400; 3]);
    let launch = |program, groups, bindings: &[Range], scalars: &[u8]| {
        submit(&*dev, &[Command::Launch { program, groups, bindings: bindings.into(), scalars: scalars.into() }])
    };
    let three = [good; 3];
    invalid(launch(RawProgram(77), [1; 3], &three, &scalars), "no program 77");
    invalid(launch(program, [1, 0, 1], &three, &scalars), "none may be 0");
    invalid(launch(program, [1; 3], &three[..2], &scalars), "2 bindings; the kernel has 3 buffers");
    invalid(launch(program, [1; 3], &three, &scalars[1..]), "bytes of scalars");
    let outside = Range { bytes: 401, ..good };
    invalid(launch(program, [1; 3], &[good, outside, good], &scalars), "binding 1: bytes 0 to 401 of a buffer of 400");
    let odd = Range { offset: 2, bytes: 8, ..good };
    invalid(launch(program, [1; 3], &[odd, good, good], &scalars), "buffer x of f32 begins at byte 2");
    let missing = Range { buffer: RawBuffer(999), ..good };
    invalid(submit(&*dev, &[Command::Fill { dst: missing, word: 0 }]), "no buffer 999");
    let far = Range { offset: u64::MAX, bytes: 2, ..good };
    invalid(submit(&*dev, &[Command::Copy { src: far, dst: Range { bytes: 2, ..good } }]), "of a buffer of 400");
    invalid(dev.host_write(buffer, 399, &[1, 2]), "bytes 399 to 401");
    invalid(dev.host_read(buffer, 401, &mut []), "bytes 401 to 401");
    invalid(dev.wait(Ticket { queue: 0, value: 1 << 40 }, Duration::ZERO), "never given out");
    invalid(dev.wait(Ticket { queue: 9, value: 1 }, Duration::ZERO), "queue 9");
    let raw = Kernel { idx_bits: 0, ..k.clone() };
    invalid(dev.load(&Module::Kernel(&raw), None), "legalised");
    assert!(matches!(CpuDriver::new().open(1), Err(Error::NoDevice { .. })));
}

#[test]
fn memory_that_does_not_fit_is_refused_and_the_device_lives_on() {
    let dev = device(Level::detect(), 2);
    for ask in [u64::MAX, 1 << 62, dev.info().memory.total + 1] {
        match dev.alloc(ask, Memory::Device) {
            Err(Error::OutOfMemory { asked, why, .. }) => {
                assert_eq!(asked, ask);
                assert!(why.contains("bytes"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
    let mut bufs = [bytes(&[1f32]), bytes(&[2f32]), vec![0; 4]];
    run(&*dev, &add_kernel(), [1; 3], &mut bufs, &[1]).unwrap();
    assert_eq!(elements::<f32>(&bufs[2]), [3.0]);
}

/// Stores to an index that a scalar gives.
fn poke() -> Kernel {
    let mut b = Builder::new("poke", [1, 1, 1]);
    let z = b.buffer("z", DType::U32, Access::Write);
    let i = b.scalar("i", DType::U32);
    b.store(Place::Buffer(z), i, i);
    b.finish().unwrap()
}

#[test]
fn a_failing_kernel_fails_its_ticket_and_no_other() {
    let dev = device(Level::detect(), 2);
    let k = legal(&*dev, &poke(), 32);
    let program = load(&*dev, &k);
    let buffer = dev.alloc(40, Memory::Device).unwrap();
    let at = |i: u64| {
        let scalars = pack(&k, &[i], [1; 3], &[40]);
        let bindings = vec![Range { buffer, offset: 0, bytes: 40 }];
        submit(&*dev, &[Command::Launch { program, groups: [1; 3], bindings, scalars }]).unwrap()
    };
    let (a, bad, c) = (at(3), at(10), at(4));
    wait(&*dev, c).unwrap();
    wait(&*dev, a).unwrap();
    for _ in 0..2 {
        match wait(&*dev, bad) {
            Err(Error::Backend { code, message, .. }) => {
                assert_eq!(code, anychip_cpu::OUT_OF_BOUNDS);
                assert!(message.contains("kernel poke, driver.rs:"), "{message}");
                assert!(message.contains("writes element 10 of buffer z, which has 10"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    let mut got = vec![0; 40];
    dev.host_read(buffer, 0, &mut got).unwrap();
    assert_eq!(elements::<u32>(&got)[3..5], [3, 4]);
}

#[test]
fn spans_lists_queues_and_wakers() {
    let dev = device(Level::detect(), 2);
    let buffer = dev.alloc(1 << 20, Memory::Device).unwrap();
    let all = Range { buffer, offset: 0, bytes: 1 << 20 };
    let commands = [Command::Fill { dst: all, word: 7 }, Command::Fill { dst: all, word: 8 }];
    let list = dev.record(&commands).unwrap();
    let work = Submission { queue: 0, after: &[], work: Work::List(list), profile: true };
    let t = dev.submit(&work).unwrap();
    let spans = dev.wait(t, LONG).unwrap().unwrap().spans;
    assert_eq!(spans.len(), 2);
    assert!(spans[0].begin <= spans[0].end && spans[0].end <= spans[1].begin && spans[1].begin < spans[1].end);
    assert_eq!(dev.wait(t, Duration::ZERO).unwrap().unwrap().spans, []);

    let second = Submission { queue: 1, after: &[t], work: Work::Commands(&commands), profile: false };
    let t1 = dev.submit(&second).unwrap();
    struct Flag(std::sync::mpsc::Sender<()>);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let (send, receive) = std::sync::mpsc::channel();
    assert!(dev.notify(t1, Arc::new(Flag(send)).into()));
    receive.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(dev.wait(t1, Duration::ZERO).unwrap().is_some());
    dev.release(list);
    assert!(dev.submit(&work).is_err());
}

#[test]
fn many_threads_submit_and_wait() {
    let dev = device(Level::detect(), 2);
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                for n in [1usize, 100, 5000] {
                    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
                    let mut bufs = [bytes(&x), bytes(&x), vec![0; 4 * n]];
                    run(&*dev, &add_kernel(), [n.div_ceil(64) as u32, 1, 1], &mut bufs, &[n as u64]).unwrap();
                    assert_eq!(elements::<f32>(&bufs[2])[n - 1], 2.0 * (n - 1) as f32);
                }
            });
        }
    });
}

#[test]
fn the_device_says_who_it_is() {
    let infos = CpuDriver::new().devices().unwrap();
    let info = infos[0].as_ref().unwrap();
    assert_eq!(info.id, "cpu");
    assert!(!info.identity.name.is_empty() && info.memory.total > 1 << 20 && info.units >= 1);
}
