//! The contract itself, below every layer: handles, tickets, queues, alignment, programs and their binaries.

use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, bump, bytes, code, ensure, of_u32, refused, same, to_u32},
    oracle::sample::Random,
};
use anychip::{
    DType,
    hal::{
        Command, Memory, Module, Range, RawBuffer, RawDevice, Submission, Ticket, Work,
        device::{Checks, Device, Grid, Layers},
        ir::{self, Access, Builder, Builtin, Kernel, ParamKind, Place, Role},
    },
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Wake, Waker},
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(60);

fn all(buffer: RawBuffer, bytes: u64) -> Range {
    Range { buffer, offset: 0, bytes }
}

fn queue(d: &dyn RawDevice, queue: u32, after: &[Ticket], commands: &[Command]) -> anychip::Result<Ticket> {
    d.submit(&Submission { queue, after, work: Work::Commands(commands), profile: false })
}

/// Waits for at most a minute.
fn finish(d: &dyn RawDevice, t: Ticket) -> End {
    let begin = Instant::now();
    loop {
        if d.wait(t, LONG)?.is_some() {
            return Ok(());
        }
        ensure(begin.elapsed() < LONG, || format!("ticket {} is not complete after a minute", t.value))?;
    }
}

fn now(d: &dyn RawDevice, commands: &[Command]) -> End {
    finish(d, queue(d, 0, &[], commands)?)
}

/// A buffer's bytes, by way of the host.
fn read(d: &dyn RawDevice, from: RawBuffer, n: u64) -> Result<Vec<u8>, Failure> {
    let back = d.alloc(n, Memory::Readback)?;
    now(d, &[Command::Copy { src: all(from, n), dst: all(back, n) }])?;
    let mut got = vec![0; n as usize];
    d.host_read(back, 0, &mut got)?;
    d.free(back);
    Ok(got)
}

/// A buffer with these bytes.
fn held(d: &dyn RawDevice, of: &[u8]) -> Result<RawBuffer, Failure> {
    let n = of.len() as u64;
    let (up, b) = (d.alloc(n, Memory::Upload)?, d.alloc(n, Memory::Device)?);
    d.host_write(up, 0, of)?;
    now(d, &[Command::Copy { src: all(up, n), dst: all(b, n) }])?;
    d.free(up);
    Ok(b)
}

/// A kernel as the device gets it.
fn legal(d: &dyn RawDevice, k: &Kernel) -> anychip::Result<Kernel> {
    ir::legal::legalize(k, &ir::legal::Target { info: d.info(), idx_bits: 32, checked: true })
}

/// The scalars of a launch of a legalised kernel: the author's in order, and what hal adds; every buffer has so many elements.
fn scalars(k: &Kernel, user: &[u32], elements: u64, groups: u64) -> Vec<u8> {
    let (slots, bytes) = k.scalar_layout();
    let mut out = vec![0; bytes as usize];
    let mut user = user.iter();
    for s in slots {
        let value = match k.params[s.param.at()].kind {
            ParamKind::Scalar { role: Role::User, .. } => u64::from(user.next().copied().unwrap_or(0)),
            ParamKind::Scalar { role: Role::Len(_), .. } => elements,
            ParamKind::Scalar { role: Role::Groups, .. } => groups,
            _ => 0,
        };
        out[s.offset as usize..(s.offset + s.bytes) as usize].copy_from_slice(&value.to_le_bytes()[..s.bytes as usize]);
    }
    out
}

/// `x[i] = x[i] · times + plus`: kernels that differ in a constant only.
fn affine(name: &str, times: u32, plus: u32) -> anychip::Result<Kernel> {
    let mut b = Builder::new(name, [64, 1, 1]);
    let x = b.buffer("x", DType::U32, Access::ReadWrite);
    let i = b.builtin(Builtin::GlobalId(0));
    let (v, m, a) = (b.load(Place::Buffer(x), i), b.u32(times), b.u32(plus));
    let v = b.mul(v, m);
    let v = b.add(v, a);
    b.store(Place::Buffer(x), i, v);
    b.finish()
}

/// Loads it, with what a cache may have kept, and runs it over 64 words from 0 on.
fn run_affine(d: &dyn RawDevice, k: &Kernel, cached: Option<&[u8]>) -> Result<(Vec<u32>, Vec<u8>), Failure> {
    let k = legal(d, k)?;
    let loaded = d.load(&Module::Kernel(&k), cached)?;
    let x = held(d, &of_u32(0..64))?;
    let launch = Command::Launch {
        program: loaded.program,
        groups: [1, 1, 1],
        bindings: vec![all(x, 256)],
        scalars: scalars(&k, &[], 64, 1),
    };
    now(d, &[launch])?;
    let got = to_u32(&read(d, x, 256)?);
    let binary = match loaded.binary.is_empty() {
        true => d.binary(loaded.program).unwrap_or_default(),
        false => loaded.binary,
    };
    d.free(x);
    d.unload(loaded.program);
    Ok((got, binary))
}

pub(super) fn cases(out: &mut Vec<Case>) {
    let mut case = |name: &str, about: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        out.push(Case::new(format!("runtime/contract/{name}"), about, None, "contract", run));
    };
    case("handles/any/distinct", "handles", handles);
    case("tickets/any/rise", "tickets", tickets);
    case("tickets/any/never-given", "tickets", |s, _, seen| {
        let d = s.raw()?;
        let b = d.alloc(64, Memory::Device)?;
        let t = queue(&*d, 0, &[], &[Command::Fill { dst: all(b, 64), word: 1 }])?;
        finish(&*d, t)?;
        seen.elements += 1;
        let never = Ticket { queue: 0, value: t.value + 1000 };
        refused("a ticket that was never given", d.wait(never, Duration::ZERO), &[code::INVALID]).map(|_| ())
    });
    case("tickets/any/complete-means-done", "tickets", complete);
    case("tickets/any/waited-for-again", "tickets", |s, _, seen| {
        let d = s.raw()?;
        let b = d.alloc(64, Memory::Device)?;
        let fill = |word| Command::Fill { dst: all(b, 64), word };
        let tickets = (0..50).map(|n| queue(&*d, 0, &[], &[fill(n)])).collect::<anychip::Result<Vec<_>>>()?;
        for round in 0..3 {
            for t in tickets.iter().rev() {
                finish(&*d, *t).map_err(|e| Failure::Broken(format!("round {round} of waiting: {e}")))?;
            }
        }
        let again = d.wait(tickets[0], Duration::ZERO)?;
        seen.elements += 150;
        ensure(again.is_some(), || "a ticket that was waited for is pending again".into())
    });
    case("tickets/any/wakes", "tickets", wakes);
    case("queues/any/order-within-each", "queues", queues);
    case("queues/any/after", "queues", after);
    case("copy/any/finest", "copy", finest);
    case("binding/any/finest", "binding", binding);
    case("host/any/past-end", "misuse", |s, _, seen| {
        let d = s.raw()?;
        let (up, back) = (d.alloc(100, Memory::Upload)?, d.alloc(100, Memory::Readback)?);
        refused("the host writes past the end", d.host_write(up, 1 << 40, &[1; 4]), &[code::INVALID])?;
        refused("the host reads past the end", d.host_read(back, 1 << 40, &mut [0; 4]), &[code::INVALID])?;
        d.free(up);
        d.free(back);
        refused("the host writes to a freed buffer", d.host_write(up, 0, &[1; 4]), &[code::INVALID])?;
        seen.elements += 3;
        Ok(())
    });
    case("host/any/parts", "host memory", |s, r, seen| {
        // What the host writes and reads in pieces at odd places.
        let d = s.raw()?;
        let (up, back) = (d.alloc(4096, Memory::Upload)?, d.alloc(4096, Memory::Readback)?);
        let mut want = bytes(r, 4096);
        d.host_write(up, 0, &want)?;
        for (at, n) in [(1usize, 3usize), (255, 2), (1000, 1), (1001, 999), (4095, 1)] {
            let part = bytes(r, n);
            d.host_write(up, at as u64, &part)?;
            want[at..at + n].copy_from_slice(&part);
        }
        now(&*d, &[Command::Copy { src: all(up, 4096), dst: all(back, 4096) }])?;
        for (at, n) in [(0usize, 4096usize), (1, 1), (3, 5), (1000, 1001), (4095, 1)] {
            let mut got = vec![0; n];
            d.host_read(back, at as u64, &mut got)?;
            same(format!("{n} bytes that the host reads at {at}"), &got, &want[at..at + n], seen)?;
        }
        Ok(())
    });
    case("free/any/neighbours-stay", "free", neighbours);
    case("list/any/released", "recorded list", released);
    case("program/any/own-binary", "program cache", |s, _, seen| {
        let d = s.raw()?;
        let k = affine("own_binary", 3, 1)?;
        let want: Vec<u32> = (0..64).map(|i| 3 * i + 1).collect();
        let (first, binary) = run_affine(&*d, &k, None)?;
        same("a program from its source", &first, &want, seen)?;
        let (second, again) = run_affine(&*d, &k, Some(&binary))?;
        same("a program from its binary", &second, &want, seen)?;
        seen.notes.push(format!("{} bytes of binary, then {}", binary.len(), again.len()));
        Ok(())
    });
    case("program/any/foreign-binary", "program cache", |s, r, seen| {
        let d = s.raw()?;
        let (k, other) = (affine("foreign_binary", 5, 2)?, affine("another_binary", 7, 3)?);
        let want: Vec<u32> = (0..64).map(|i| 5 * i + 2).collect();
        let (_, stale) = run_affine(&*d, &other, None)?;
        let (_, own) = run_affine(&*d, &k, None)?;
        let mut flipped = own.clone();
        if let Some(b) = flipped.get_mut(own.len() / 2) {
            *b ^= 1;
        }
        let noise = bytes(r, 1000);
        for (what, cached) in [
            ("of another kernel", &stale[..]),
            ("cut in half", &own[..own.len() / 2]),
            ("with a bit flipped", &flipped),
            ("of noise", &noise),
            ("of nothing", &[]),
        ] {
            let (got, _) = run_affine(&*d, &k, Some(cached))?;
            same(format!("a program that was offered a binary {what}"), &got, &want, seen)?;
        }
        Ok(())
    });
    case("program/any/same-name", "program cache", |s, _, seen| {
        // Kernels of one name that differ in a constant, one after another and all at once.
        let d = s.raw()?;
        for plus in [1, 2, 3] {
            let (got, _) = run_affine(&*d, &affine("one_name", 3, plus)?, None)?;
            same(format!("x · 3 + {plus}"), &got, &(0..64).map(|i| 3 * i + plus).collect::<Vec<_>>(), seen)?;
        }
        let handle = s.plain()?;
        for (times, plus) in [(3, 1), (3, 2), (9, 2)] {
            let mut buffers = [of_u32(0..64)];
            let k = affine("one_name", times, plus)?;
            crate::cases::launch::run_on(handle.chip(), &k, Grid::Linear(1), &mut buffers, &[])?;
            let want: Vec<u32> = (0..64).map(|i| times * i + plus).collect();
            same(format!("x · {times} + {plus}, loaded by hal"), &to_u32(&buffers[0]), &want, seen)?;
        }
        Ok(())
    });
    case("program/any/unload-one-of-two", "program", |s, _, seen| {
        let d = s.raw()?;
        let k = legal(&*d, &affine("unloaded", 3, 4)?)?;
        let (one, two) = (d.load(&Module::Kernel(&k), None)?, d.load(&Module::Kernel(&k), None)?);
        ensure(one.program != two.program, || "two loads gave one program".into())?;
        d.unload(one.program);
        let x = held(&*d, &of_u32(0..64))?;
        let (bindings, scalars) = (vec![all(x, 256)], scalars(&k, &[], 64, 1));
        now(&*d, &[Command::Launch { program: two.program, groups: [1, 1, 1], bindings, scalars }])?;
        let want: Vec<u32> = (0..64).map(|i| 3 * i + 4).collect();
        same("the program that was left", &to_u32(&read(&*d, x, 256)?), &want, seen)
    });
    case("program/any/cache-on-disk", "program cache", disk);
    case("exchange/any/other-handle", "copy", exchange);
    case("drop/any/everything-live", "drop", |s, _, seen| {
        for _ in 0..3 {
            let d = s.raw()?;
            let k = legal(&*d, &bump()?)?;
            d.load(&Module::Kernel(&k), None)?;
            let b = held(&*d, &[7; 4096])?;
            let fill = Command::Fill { dst: all(b, 4096), word: 3 };
            // A list, where the device has them, and work under way.
            let _ = d.record(std::slice::from_ref(&fill));
            queue(&*d, 0, &[], &vec![fill; 50])?;
            seen.elements += 1;
        }
        crate::cases::launch::still_works(s, "dropping devices with everything live", &mut Random::new(1), seen)
    });
}

fn handles(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let mut live = BTreeSet::new();
    for n in 0..300u64 {
        let kind = [Memory::Device, Memory::Upload, Memory::Readback][(n % 3) as usize];
        let b = d.alloc(1 + n * 7, kind)?;
        ensure(b.0 != 0, || "a buffer has the handle 0".into())?;
        ensure(live.insert(b), || format!("buffer {} was given twice while it lives", b.0))?;
        if n % 4 == 3 {
            let first = live.iter().next().copied().unwrap_or(b);
            live.remove(&first);
            d.free(first);
        }
    }
    seen.elements += 300;
    live.into_iter().for_each(|b| d.free(b));
    Ok(())
}

fn tickets(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let b = d.alloc(4096, Memory::Device)?;
    for q in 0..d.info().limits.queues.min(4) {
        let mut last = 0;
        for n in 0..100 {
            let t = queue(&*d, q, &[], &[Command::Fill { dst: all(b, 4096), word: n }])?;
            ensure(t.queue == q, || format!("work for queue {q} has a ticket of queue {}", t.queue))?;
            ensure(n == 0 || t.value > last, || format!("ticket {} of queue {q} follows {last}; they rise", t.value))?;
            last = t.value;
            seen.elements += 1;
        }
        finish(&*d, Ticket { queue: q, value: last })?;
    }
    Ok(())
}

/// When a ticket is complete its work is done, and so is all before it: the host sees it without waiting for more.
fn complete(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let k = legal(&*d, &bump()?)?;
    let program = d.load(&Module::Kernel(&k), None)?.program;
    let n = 64 * 1024u64;
    let x = held(&*d, &vec![0; 4 * n as usize])?;
    let back = d.alloc(4 * n, Memory::Readback)?;
    let groups = (n / 64) as u32;
    let mut total = 0u32;
    for round in 0..10 {
        let by = r.bits() as u32;
        let launch = Command::Launch {
            program,
            groups: [groups, 1, 1],
            bindings: vec![all(x, 4 * n)],
            scalars: scalars(&k, &[by], n, u64::from(groups)),
        };
        let mut commands = vec![launch; 30];
        commands.push(Command::Copy { src: all(x, 4 * n), dst: all(back, 4 * n) });
        let early = queue(&*d, 0, &[], &commands[..15])?;
        let t = queue(&*d, 0, &[], &commands[15..])?;
        finish(&*d, t)?;
        let mut got = vec![0; 4 * n as usize];
        d.host_read(back, 0, &mut got)?;
        ensure(d.wait(early, Duration::ZERO)?.is_some(), || "a ticket is complete, the one before it is not".into())?;
        total = total.wrapping_add(by.wrapping_mul(30));
        same(
            format!("round {round}: what is there when the ticket is complete"),
            &to_u32(&got),
            &vec![total; n as usize],
            seen,
        )?;
    }
    Ok(())
}

struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Count>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whoever asks to be woken is, or is told that the device cannot.
fn wakes(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let b = d.alloc(1 << 20, Memory::Device)?;
    for _ in 0..10 {
        let count = Arc::new(Count(AtomicU32::new(0)));
        let t = queue(&*d, 0, &[], &[Command::Fill { dst: all(b, 1 << 20), word: 1 }])?;
        let takes = d.notify(t, Waker::from(count.clone()));
        finish(&*d, t)?;
        seen.elements += 1;
        if !takes {
            seen.notes.push("the device does not wake; hal asks again".into());
            return Ok(());
        }
        let begin = Instant::now();
        while count.0.load(Ordering::SeqCst) == 0 {
            ensure(begin.elapsed() < LONG / 2, || {
                "work is complete and its waker was not woken within half a minute".into()
            })?;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

fn queues(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let k = legal(&*d, &bump()?)?;
    let program = d.load(&Module::Kernel(&k), None)?.program;
    let count = d.info().limits.queues.min(4);
    let x = (0..count).map(|_| held(&*d, &[0; 256])).collect::<Result<Vec<_>, _>>()?;
    let mut last = vec![];
    for n in 0..40u32 {
        for q in 0..count {
            let launch = Command::Launch {
                program,
                groups: [1, 1, 1],
                bindings: vec![all(x[q as usize], 256)],
                scalars: scalars(&k, &[n + q], 64, 1),
            };
            let fill = Command::Fill { dst: all(x[q as usize], 256), word: 1000 };
            last.push(queue(&*d, q, &[], &if n == 20 { vec![fill, launch] } else { vec![launch] })?);
        }
    }
    for t in last {
        finish(&*d, t)?;
    }
    for (q, b) in x.into_iter().enumerate() {
        let want = 1000 + (20..40).map(|n| n + q as u32).sum::<u32>();
        same(format!("queue {q} of {count}"), &to_u32(&read(&*d, b, 256)?), &[want; 64], seen)?;
    }
    Ok(())
}

/// Work of one queue that must come after work of another.
fn after(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let last = d.info().limits.queues.min(4) - 1;
    if last == 0 {
        seen.notes.push("one queue: it waits for itself".into());
    }
    let k = legal(&*d, &bump()?)?;
    let program = d.load(&Module::Kernel(&k), None)?.program;
    let n = 64 * 256u64;
    let x = held(&*d, &vec![0; 4 * n as usize])?;
    let mut before: Vec<Ticket> = vec![];
    let mut want = 0u32;
    for round in 0..30u32 {
        let q = round % (last + 1);
        // Additions and multiplications by fills in turn: any other order gives another sum.
        let launch = |by| Command::Launch {
            program,
            groups: [256, 1, 1],
            bindings: vec![all(x, 4 * n)],
            scalars: scalars(&k, &[by], n, 256),
        };
        let commands = match round % 3 {
            0 => {
                want = round;
                vec![Command::Fill { dst: all(x, 4 * n), word: round }]
            }
            _ => {
                want += 8 * (round + 1);
                vec![launch(round + 1); 8]
            }
        };
        before = vec![queue(&*d, q, &before, &commands)?];
    }
    finish(&*d, before[0])?;
    same("queues that wait for each other", &to_u32(&read(&*d, x, 4 * n)?), &vec![want; n as usize], seen)
}

/// Copies at the finest that the device states.
fn finest(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let align = d.info().limits.copy_align.max(1);
    let n = 1024 * align;
    for _ in 0..30 {
        let (x, y) = (bytes(r, n as usize), bytes(r, n as usize));
        let (a, b) = (held(&*d, &x)?, held(&*d, &y)?);
        let len = align * (1 + r.below(500) as u64);
        let (from, to) = (align * r.below(500) as u64, align * r.below(500) as u64);
        now(
            &*d,
            &[Command::Copy {
                src: Range { buffer: a, offset: from, bytes: len },
                dst: Range { buffer: b, offset: to, bytes: len },
            }],
        )?;
        let mut want = y;
        want[to as usize..(to + len) as usize].copy_from_slice(&x[from as usize..(from + len) as usize]);
        same(format!("{len} bytes from {from} to {to}"), &read(&*d, b, n)?, &want, seen)?;
        d.free(a);
        d.free(b);
    }
    Ok(())
}

/// Bindings at multiples of the alignment that the device states: the kernel sees the part and no more.
fn binding(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let k = legal(&*d, &bump()?)?;
    let program = d.load(&Module::Kernel(&k), None)?.program;
    let align = d.info().limits.binding_align.max(4);
    let words = 64 * align;
    for n in [0u64, 1, 2, 3, 7, 16] {
        let x = to_u32(&bytes(r, 4 * words as usize));
        let b = held(&*d, &of_u32(x.iter().copied()))?;
        let part = Range { buffer: b, offset: n * align, bytes: 4 * 50 };
        let launch =
            Command::Launch { program, groups: [1, 1, 1], bindings: vec![part], scalars: scalars(&k, &[9], 50, 1) };
        now(&*d, &[launch])?;
        let first = (n * align / 4) as usize;
        let want: Vec<u32> = x
            .iter()
            .enumerate()
            .map(|(i, x)| if (first..first + 50).contains(&i) { x.wrapping_add(9) } else { *x })
            .collect();
        same(format!("a binding at byte {}", n * align), &to_u32(&read(&*d, b, 4 * words)?), &want, seen)?;
        d.free(b);
    }
    Ok(())
}

/// Buffers that live keep their bytes while others come and go.
fn neighbours(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let mut live: Vec<(RawBuffer, Vec<u8>)> = vec![];
    for round in 0..60 {
        let n = 64 * (1 + r.below(100));
        let x = bytes(r, n);
        live.push((held(&*d, &x)?, x));
        if round % 3 == 2 {
            let (b, want) = live.swap_remove(r.below(live.len()));
            same("a buffer before it is freed", &read(&*d, b, want.len() as u64)?, &want, seen)?;
            d.free(b);
        }
    }
    for (n, (b, want)) in live.into_iter().enumerate() {
        same(format!("live buffer {n}"), &read(&*d, b, want.len() as u64)?, &want, seen)?;
        d.free(b);
    }
    Ok(())
}

fn released(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let d = s.raw()?;
    let x = d.alloc(256, Memory::Device)?;
    let list = match d.record(&[Command::Fill { dst: all(x, 256), word: 8 }]) {
        Ok(list) => list,
        Err(e) if e.is_unsupported() => {
            seen.notes.push("the device replays commands".into());
            seen.elements += 1;
            return Ok(());
        }
        Err(e) => return Err(e.into()),
    };
    let other = d.record(&[Command::Fill { dst: all(x, 256), word: 9 }])?;
    let run = |list| d.submit(&Submission { queue: 0, after: &[], work: Work::List(list), profile: false });
    for (list, word) in [(list, 8u32), (other, 9), (list, 8), (other, 9)] {
        finish(&*d, run(list)?)?;
        same("a list that fills", &to_u32(&read(&*d, x, 256)?), &[word; 64], seen)?;
    }
    d.release(list);
    refused("a list that was released", run(list), &[code::INVALID])?;
    finish(&*d, run(other)?)?;
    same("the list that was left", &to_u32(&read(&*d, x, 256)?), &[9; 64], seen)
}

/// hal's cache on disk between two handles: the second loads from it, and gets the right program.
fn disk(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let folder = std::env::temp_dir().join(format!("anychip-conformance-{}-{:p}", std::process::id(), s));
    let layers = Layers { cache: Some(folder.clone()), ..Layers::default() };
    let mut end = Ok(());
    for round in 0..3 {
        for plus in [4u32, 5] {
            let mut one = || -> End {
                let d = Device::with_layers(s.raw()?, &layers);
                let p = d.kernel(&affine("on_disk", 11, plus)?, Checks::On)?;
                let x = d.alloc_from(&of_u32(0..64))?;
                d.submit(&[crate::cases::launch::step(&p, Grid::Linear(1), vec![x.all()], &[])])?.wait()?;
                let got = to_u32(&crate::cases::launch::read_all(&d, &x)?);
                let want: Vec<u32> = (0..64).map(|i| 11 * i + plus).collect();
                same(format!("x · 11 + {plus} through the cache on disk, round {round}"), &got, &want, seen)
            };
            end = end.and_then(|()| one());
        }
    }
    // Left behind where it cannot be removed: the system's folder for such things.
    let _ = std::fs::remove_dir_all(folder);
    end
}

/// Bytes from one opened handle to another, directly where they reach each other.
fn exchange(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let (one, two) = (s.again()?, s.again()?);
    for n in [1usize, 4, 1000, 70_001] {
        let want = bytes(r, n);
        let b = one.chip().alloc_from(&want)?;
        let there = two.chip().carry(one.chip(), &b)?;
        let got = crate::cases::launch::read_all(two.chip(), &there)?;
        same(format!("{n} bytes carried to another handle"), &got, &want, seen)?;
        let back = one.chip().carry(two.chip(), &there)?;
        let got = crate::cases::launch::read_all(one.chip(), &back)?;
        same(format!("{n} bytes carried there and back"), &got, &want, seen)?;
    }
    Ok(())
}
