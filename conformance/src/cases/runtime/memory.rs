//! Memory over time: running out of it and recovery, leaks, and what another owner left behind.

use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, bump, code, ensure, of_u32, read_all, refused, same, step, still_works, to_u32, works},
    oracle::sample::Random,
};
use anychip::{
    Error,
    hal::{
        Command, Memory, Module, Range, RawDevice, Submission, Work,
        device::{Checks, Device, Grid, Layers, ScalarArg, Step},
        ir,
        layer::{Call, Fault, Planned},
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often a thing is done that must not leak.
const CYCLES: u64 = 10_000;
/// How much the process may grow on the way: allocators keep what was freed, and logs grow; a leak of one page a cycle is more.
const GROWTH: u64 = 32 << 20;

pub(super) fn cases(all: &mut Vec<Case>) {
    let mut case = |name: &str, about: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        all.push(Case::new(format!("runtime/memory/{name}"), about, None, "memory", run));
    };
    case("leak/buffers/any/10000", "leak", |s, _, seen| {
        let s = s.plain()?;
        let d = s.chip();
        let page = vec![0x5a; 16 << 10];
        let one = || -> End {
            drop(d.alloc_from(&page)?);
            // A device that is slower than the host would pile up what it has not done yet.
            Ok(d.synchronize()?)
        };
        flat(&s, "a buffer that is written and dropped", one, seen)
    });
    case("leak/raw-buffers/any/10000", "leak", |s, _, seen| {
        // Below all layers: what is freed must be given back, or the device runs out.
        let raw = s.raw()?;
        let bytes = 16 << 10;
        let word = Command::Fill { dst: Range { buffer: anychip::hal::RawBuffer(1), offset: 0, bytes }, word: 1 };
        let one = || -> End {
            let b = raw.alloc(bytes, Memory::Device)?;
            let Command::Fill { dst, word } = &word else { return Ok(()) };
            let fill = [Command::Fill { dst: Range { buffer: b, ..*dst }, word: *word }];
            let work = Work::Commands(&fill);
            let end = raw
                .submit(&Submission { queue: 0, after: &[], work, profile: false })
                .and_then(|t| raw.wait(t, Duration::from_secs(60)));
            raw.free(b);
            ensure(end?.is_some(), || "a fill of 16 KiB is not done after a minute".into())
        };
        flat(s, "a buffer of the contract that is filled and freed", one, seen)
    });
    case("leak/device-memory/any/thrice", "leak", |s, _, seen| {
        // Memory of a card is not the process's: three times as much as it has can be had only if it comes back.
        let raw = s.raw()?;
        let m = &s.info().memory;
        let bytes = (m.total / 16).min(m.max_alloc).max(1) / 64 * 64;
        let times = (3 * m.total / bytes.max(1)).min(CYCLES);
        for n in 0..times {
            match raw.alloc(bytes.max(64), Memory::Device) {
                Ok(b) => raw.free(b),
                Err(e) => {
                    return Err(Failure::Broken(format!("a buffer of {bytes} bytes, freed at once, time {n}: {e}")));
                }
            }
        }
        seen.elements += times;
        Ok(())
    });
    case("leak/submissions/any/10000", "leak", |s, _, seen| {
        let s = s.plain()?;
        let d = s.chip();
        let p = d.kernel(&bump()?, Checks::On)?;
        let x = d.alloc_from(&of_u32([0; 64]))?;
        let one =
            || -> End { Ok(d.submit(&[step(&p, Grid::Linear(1), vec![x.all()], &[ScalarArg::U32(1)])])?.wait()?) };
        flat(&s, "a launch", one, seen)?;
        let got = to_u32(&read_all(d, &x)?);
        ensure(got.iter().all(|v| *v == got[0]) && u64::from(got[0]) >= CYCLES, || {
            format!("after at least {CYCLES} launches that add 1 there stands {}", got[0])
        })
    });
    case("leak/lists/any/2000", "leak", |s, _, seen| {
        let s = s.plain()?;
        let d = s.chip();
        let x = d.alloc(4096)?;
        let one = || -> End {
            let list = d.record(vec![Step::Fill { dst: x.all(), word: 3 }])?;
            Ok(d.run(&list)?.wait()?)
        };
        flat_of(&s, "a list that is recorded, run and dropped", 2000, one, seen)
    });
    case("leak/handles/any/60", "leak", |s, _, seen| {
        let one = || -> End {
            let other = s.plain()?;
            let b = other.chip().alloc_from(&[1; 64 << 10])?;
            ensure(b.bytes() == 64 << 10, || "a buffer of another length".into())
        };
        flat_of(s, "a device that is opened, used and dropped", 60, one, seen)
    });
    case("leak/programs/any/unloaded", "leak", programs);
    case("leak/programs/any/loaded", "leak", |s, _, seen| {
        // Below hal, from its binary where the device has one: compiling three thousand times would be no test of memory.
        let raw = s.raw()?;
        let target = ir::legal::Target { info: raw.info(), idx_bits: 32, checked: true };
        let k = ir::legal::legalize(&bump()?, &target)?;
        let first = raw.load(&Module::Kernel(&k), None)?;
        let one = || -> End {
            let again = raw.load(&Module::Kernel(&k), Some(&first.binary))?;
            raw.unload(again.program);
            Ok(())
        };
        // Some drivers compile again all the same: then so often as ten seconds allow.
        let begin = Instant::now();
        (0..5).try_for_each(|_| one())?;
        let fits = 10.0 / (begin.elapsed().as_secs_f64() / 5.0).max(1e-4);
        flat_of(s, "a program that is loaded and unloaded", (fits as u64).clamp(100, 1200), one, seen)
    });
    case("reuse/pool/any/in-use", "pool", |s, _, seen| {
        let s = s.plain()?;
        let d = s.chip();
        let before = d.memory();
        let held = (0..50).map(|n| d.alloc(1000 * (n + 1))).collect::<anychip::Result<Vec<_>>>()?;
        let among = d.memory();
        ensure(among.in_use >= before.in_use + 1000 * 25 * 51, || {
            format!("{among:?} with 50 buffers, {before:?} before")
        })?;
        drop(held);
        d.synchronize()?;
        let after = d.memory();
        seen.elements += 3;
        ensure(after.in_use == before.in_use, || format!("{after:?} after 50 buffers were dropped, {before:?} before"))
    });
    case("out-of-memory/alloc/any/planned", "out of memory", planned);
    case("out-of-memory/alloc/any/many-large", "out of memory", until_full);
    for n in [4096u64, 65_536, 1 << 20] {
        all.push(Case::new(format!("runtime/memory/owner/raw/any/{n}"), "owner", None, "memory", move |s, r, seen| {
            owner(s, n, r, seen)
        }));
        all.push(Case::new(
            format!("runtime/memory/owner/handles/any/{n}"),
            "owner",
            None,
            "memory",
            move |s, r, seen| owner_of_handles(s, n, r, seen),
        ));
    }
}

/// Bytes that this process holds; `None` where the system does not say.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn flat(s: &Subject, what: &str, one: impl Fn() -> End, seen: &mut Seen) -> End {
    flat_of(s, what, CYCLES, one, seen)
}

/// Does a thing so often; the process must not grow by more than [`GROWTH`], once it has warmed up.
fn flat_of(s: &Subject, what: &str, cycles: u64, one: impl Fn() -> End, seen: &mut Seen) -> End {
    let again = |n: u64| -> End {
        for k in 0..n {
            one().map_err(|e| Failure::Broken(format!("{what}, time {k}: {e}")))?;
        }
        Ok(())
    };
    again(cycles / 10)?;
    s.device.synchronize()?;
    let before = resident();
    again(cycles)?;
    s.device.synchronize()?;
    seen.elements += cycles;
    match (before, resident()) {
        (Some(before), Some(after)) => {
            seen.notes.push(format!("{} KiB more after {cycles} times", after.saturating_sub(before) >> 10));
            ensure(after.saturating_sub(before) < GROWTH, || {
                format!("{what}, {cycles} times: the process grew by {} bytes; memory leaks", after - before)
            })
        }
        _ => {
            seen.notes.push("this system does not say how large a process is".into());
            Ok(())
        }
    }
}

/// A layer that counts what is live below it.
struct Census {
    inner: Arc<dyn RawDevice>,
    live: std::sync::atomic::AtomicI64,
}

impl RawDevice for Census {
    fn info(&self) -> &anychip::hal::DeviceInfo {
        self.inner.info()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> anychip::Result<anychip::hal::RawBuffer> {
        self.inner.alloc(bytes, memory)
    }
    fn free(&self, buffer: anychip::hal::RawBuffer) {
        self.inner.free(buffer);
    }
    fn host_write(&self, buffer: anychip::hal::RawBuffer, at: u64, from: &[u8]) -> anychip::Result<()> {
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: anychip::hal::RawBuffer, at: u64, to: &mut [u8]) -> anychip::Result<()> {
        self.inner.host_read(buffer, at, to)
    }
    fn load(&self, module: &anychip::hal::Module<'_>, cached: Option<&[u8]>) -> anychip::Result<anychip::hal::Loaded> {
        let loaded = self.inner.load(module, cached)?;
        self.live.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(loaded)
    }
    fn unload(&self, program: anychip::hal::RawProgram) {
        self.live.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        self.inner.unload(program);
    }
    fn submit(&self, work: &Submission<'_>) -> anychip::Result<anychip::hal::Ticket> {
        self.inner.submit(work)
    }
    fn wait(
        &self,
        ticket: anychip::hal::Ticket,
        timeout: Duration,
    ) -> anychip::Result<Option<anychip::hal::contract::Completion>> {
        self.inner.wait(ticket, timeout)
    }
}

/// Programs are loaded once, and unloaded when the last handle of the device is gone.
fn programs(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let census = Arc::new(Census { inner: s.raw()?, live: Default::default() });
    let live = || census.live.load(std::sync::atomic::Ordering::Relaxed);
    let d = Device::with_layers(census.clone(), &Layers::default());
    for _ in 0..50 {
        works(&d, "loading a program again", r, seen)?;
    }
    let once = live();
    ensure(once == 1, || format!("one kernel that is loaded 50 times makes {once} programs"))?;
    drop(d);
    let left = live();
    seen.elements += 2;
    ensure(left == 0, || format!("{left} programs are live after the device was dropped"))
}

/// An allocation that fails once, twice, for good: work before and after it is as if nothing had been.
fn planned(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let fault = Arc::new(Fault::new(s.raw()?));
    let d = Device::with_layers(fault.clone(), &Layers::default());
    works(&d, "opening", r, seen)?;
    let error = || Error::OutOfMemory { device: d.info().id.clone(), asked: 1, why: "planned".into() };
    // The first failure is met by giving back what the pool holds, and a second try.
    fault.plan(Planned { call: Call::Alloc, after: 0, times: 1, error: error() });
    works(&d, "one failed allocation below", r, seen)?;
    let x = d.alloc_from(&[7; 100])?;
    fault.plan(Planned { call: Call::Alloc, after: 0, times: 8, error: error() });
    let mut failed = 0;
    while let Err(e) = d.alloc(100_000) {
        ensure(e.code() == code::MEMORY, || format!("an allocation for which there is no memory: {e}"))?;
        failed += 1;
        ensure(failed < 20, || "eight failed allocations make twenty".into())?;
    }
    seen.elements += 2;
    ensure(failed > 0, || "eight failures of the driver in a row and no error".into())?;
    same("what was there before", &read_all(&d, &x)?, &[7; 100], seen)?;
    works(&d, "running out of memory", r, seen)
}

/// Large buffers until the device says that there is no more; then it must work as before.
fn until_full(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let raw = s.raw()?;
    let m = s.info().memory.clone();
    // Memory that was never written costs little where it is the host's; the device states what it counts.
    let size = (m.total / 4).min(m.max_alloc).max(1);
    let mut held = vec![];
    let end = loop {
        match raw.alloc(size, Memory::Device) {
            Ok(b) => held.push(b),
            Err(e) => break Some(e),
        }
        if held.len() as u64 * size > m.total + m.total / 4 {
            break None;
        }
    };
    let count = held.len();
    held.into_iter().for_each(|b| raw.free(b));
    seen.elements += 1;
    let Some(e) = end else {
        return Err(Failure::Broken(format!(
            "{count} buffers of {size} bytes were given; the device states {}",
            m.total
        )));
    };
    ensure(e.code() == code::MEMORY, || format!("after {count} buffers of {size} bytes: {e}"))?;
    ensure(count >= 1, || format!("not one buffer of {size} bytes, of {} in all", m.total))?;
    let d = Device::with_layers(raw, &Layers::default());
    works(&d, "running out of memory", r, seen)?;
    still_works(s, "another handle ran out of memory", r, seen)
}

/// One that secrets are made of: unlikely by chance.
fn secret(r: &mut Random, n: u64) -> Vec<u8> {
    let word = (r.bits() | 0x8000_0000_0000_0001).to_le_bytes();
    word.iter().copied().cycle().take(n as usize).collect()
}

/// Does new memory hold the secret?
fn shows(bytes: &[u8], secret: &[u8]) -> usize {
    bytes.as_chunks::<8>().0.iter().filter(|c| c[..] == secret[..8]).count()
}

/// Below hal, of a device that says that new memory reads as zeros; others are filled by hal, and looked at through it.
fn owner(s: &Subject, n: u64, r: &mut Random, seen: &mut Seen) -> End {
    let word = secret(r, n);
    let first = s.raw()?;
    if !first.wipes() {
        seen.notes.push("the device does not say that new memory is zero; hal writes zeros there".into());
        seen.elements += 1;
        return Ok(());
    }
    let now = |d: &dyn RawDevice, commands: &[Command]| -> End {
        let ticket = d.submit(&Submission { queue: 0, after: &[], work: Work::Commands(commands), profile: false })?;
        ensure(d.wait(ticket, Duration::from_secs(60))?.is_some(), || "a copy is not done after a minute".into())
    };
    let range = |buffer| Range { buffer, offset: 0, bytes: n };
    // Some buffers of each kind, so that an allocator has something to give again.
    for _ in 0..8 {
        let (up, held) = (first.alloc(n, Memory::Upload)?, first.alloc(n, Memory::Device)?);
        let back = first.alloc(n, Memory::Readback)?;
        first.host_write(up, 0, &word)?;
        now(
            &*first,
            &[Command::Copy { src: range(up), dst: range(held) }, Command::Copy { src: range(held), dst: range(back) }],
        )?;
        [up, held, back].into_iter().for_each(|b| first.free(b));
    }
    drop(first);
    let second = s.raw()?;
    for round in 0..8 {
        let (held, back) = (second.alloc(n, Memory::Device)?, second.alloc(n, Memory::Readback)?);
        let mut got = vec![0; n as usize];
        second.host_read(back, 0, &mut got)?;
        let unread = shows(&got, &word);
        now(&*second, &[Command::Copy { src: range(held), dst: range(back) }])?;
        second.host_read(back, 0, &mut got)?;
        let found = shows(&got, &word).max(unread);
        let dirty = got.iter().filter(|b| **b != 0).count();
        seen.elements += n;
        [held, back].into_iter().for_each(|b| second.free(b));
        ensure(found == 0, || {
            format!(
                "new memory of a device that was opened later shows {found} words of its former owner (buffer {round} of {n} bytes)"
            )
        })?;
        ensure(dirty == 0, || {
            format!("new memory is said to be zero, and {dirty} of {n} bytes are not (buffer {round})")
        })?;
    }
    Ok(())
}

/// The same with the pool that applications have: two handles of one chip, one after the other.
fn owner_of_handles(s: &Subject, n: u64, r: &mut Random, seen: &mut Seen) -> End {
    let word = secret(r, n);
    {
        let first = s.plain()?;
        let held = (0..8).map(|_| first.chip().alloc_from(&word)).collect::<anychip::Result<Vec<_>>>()?;
        same("a secret", &read_all(first.chip(), &held[3])?, &word, seen)?;
    }
    let second = s.plain()?;
    for round in 0..8 {
        let b = second.chip().alloc(n)?;
        let found = shows(&read_all(second.chip(), &b)?, &word);
        ensure(found == 0, || format!("a new handle's buffer {round} shows {found} words of its former owner"))?;
        seen.elements += n;
    }
    // A foreign buffer is refused, whatever it holds.
    let third = s.plain()?;
    let b = second.chip().alloc(64)?;
    refused("reading a buffer of another handle", third.chip().download(&b, 0, &mut [0; 64]), &[code::INVALID])
        .map(|_| ())
}
