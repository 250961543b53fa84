//! Memory that leaks, is not the owner's own, or holds something else than was put there.

use crate::{
    Mutant,
    layer::{Broken, Fault, lock, reads},
};
use anychip::{
    Error, Result,
    hal::{Command, Memory, Range, RawBuffer, RawDevice, Submission, Work},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Runs commands at once.
fn now(good: &dyn RawDevice, commands: &[Command]) -> Result<()> {
    let ticket = good.submit(&Submission { queue: 0, after: &[], work: Work::Commands(commands), profile: false })?;
    good.wait(ticket, Duration::from_secs(30)).map(|_| ())
}

fn whole(buffer: RawBuffer, bytes: u64) -> Range {
    Range { buffer, offset: 0, bytes }
}

struct Leaks(Arc<dyn RawDevice>);

impl Fault for Leaks {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn free(&self, _: RawBuffer) {}
}

/// What freed buffers held, by size: as an allocator of the process keeps it.
static LEFT: Mutex<Option<HashMap<u64, Vec<u8>>>> = Mutex::new(None);

struct NotWiped {
    good: Arc<dyn RawDevice>,
    sizes: Mutex<HashMap<RawBuffer, u64>>,
}

impl Fault for NotWiped {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let b = self.good.alloc(bytes, memory)?;
        if memory == Memory::Device {
            lock(&self.sizes).insert(b, bytes);
            let old = lock(&LEFT).as_ref().and_then(|l| l.get(&bytes).cloned());
            if let Some(old) = old {
                let up = self.good.alloc(bytes, Memory::Upload)?;
                self.good.host_write(up, 0, &old)?;
                now(&*self.good, &[Command::Copy { src: whole(up, bytes), dst: whole(b, bytes) }])?;
                self.good.free(up);
            }
        }
        Ok(b)
    }
    fn free(&self, buffer: RawBuffer) {
        let size = lock(&self.sizes).remove(&buffer);
        if let Some(n) = size
            && let Ok(back) = self.good.alloc(n, Memory::Readback)
        {
            let mut old = vec![0; n as usize];
            let copied = now(&*self.good, &[Command::Copy { src: whole(buffer, n), dst: whole(back, n) }]);
            if copied.and_then(|()| self.good.host_read(back, 0, &mut old)).is_ok() {
                lock(&LEFT).get_or_insert_default().insert(n, old);
            }
            self.good.free(back);
        }
        self.good.free(buffer);
    }
}

/// Frees a neighbour too: its bytes are given to somebody else, who writes.
struct FreesLive {
    good: Arc<dyn RawDevice>,
    live: Mutex<Vec<(RawBuffer, u64)>>,
    count: AtomicU64,
}

impl Fault for FreesLive {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let b = self.good.alloc(bytes, memory)?;
        if memory == Memory::Device {
            lock(&self.live).push((b, bytes));
        }
        Ok(b)
    }
    fn free(&self, buffer: RawBuffer) {
        let mut live = lock(&self.live);
        let device = live.iter().any(|l| l.0 == buffer);
        live.retain(|l| l.0 != buffer);
        self.good.free(buffer);
        if device
            && self.count.fetch_add(1, Ordering::Relaxed) % 3 == 2
            && let Some(&(b, n)) = live.first()
        {
            let fill =
                Command::Fill { dst: Range { buffer: b, offset: 0, bytes: n.min(64) / 4 * 4 }, word: 0xdddd_dddd };
            let _ = now(&*self.good, &[fill]);
        }
    }
}

struct StaysFull {
    good: Arc<dyn RawDevice>,
    full: AtomicBool,
}

impl Fault for StaysFull {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let refused =
            || Error::OutOfMemory { device: self.info().id.clone(), asked: bytes, why: "memory is short".into() };
        if self.full.load(Ordering::Relaxed) {
            return Err(refused());
        }
        let got = self.good.alloc(bytes, memory);
        if matches!(got, Err(Error::OutOfMemory { .. })) {
            self.full.store(true, Ordering::Relaxed);
        }
        got
    }
}

struct WritesAtZero(Arc<dyn RawDevice>);

impl Fault for WritesAtZero {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn host_write(&self, buffer: RawBuffer, _: u64, from: &[u8]) -> Result<()> {
        self.0.host_write(buffer, 0, from)
    }
}

/// By length, which handle read last, and what.
type Reads = HashMap<usize, (u64, Vec<u8>)>;

/// Handles of this process, and what they read last.
static HANDLES: AtomicU64 = AtomicU64::new(0);
static LAST: Mutex<Option<Reads>> = Mutex::new(None);

struct OfAnother {
    good: Arc<dyn RawDevice>,
    number: u64,
}

impl Fault for OfAnother {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.good.host_read(buffer, at, to)?;
        let own = to.to_vec();
        let mut last = lock(&LAST);
        match last.get_or_insert_default().insert(to.len(), (self.number, own)) {
            Some((number, other)) if number != self.number => to.copy_from_slice(&other),
            _ => {}
        }
        Ok(())
    }
}

static READS: AtomicU64 = AtomicU64::new(0);

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "memory-leaks",
        fault: "Freed buffers are not given back.",
        area: &["runtime/memory/leak/raw-buffers"],
        killers: &["runtime/memory/leak/raw-buffers/any/10000"],
        make: |good| Arc::new(Broken(Leaks(good))),
    },
    Mutant {
        name: "memory-not-wiped",
        fault: "New memory is said to be zero and holds what the last owner of as many bytes left, also one of another handle.",
        area: &["runtime/memory/owner"],
        killers: &["runtime/memory/owner/handles/any/4096", "runtime/memory/owner/handles/any/65536"],
        make: |good| Arc::new(Broken(NotWiped { good, sizes: Mutex::default() })),
    },
    Mutant {
        name: "live-buffer-freed",
        fault: "Now and then freeing a buffer frees another one too, whose bytes are overwritten.",
        area: &["runtime/contract/free"],
        killers: &["runtime/contract/free/any/neighbours-stay"],
        make: |good| Arc::new(Broken(FreesLive { good, live: Mutex::default(), count: AtomicU64::new(0) })),
    },
    Mutant {
        name: "out-of-memory-sticks",
        fault: "After one allocation that did not fit none succeeds any more.",
        area: &["runtime/memory/out-of-memory"],
        killers: &["runtime/memory/out-of-memory/alloc/any/many-large"],
        make: |good| Arc::new(Broken(StaysFull { good, full: AtomicBool::new(false) })),
    },
    Mutant {
        name: "host-write-at-zero",
        fault: "The host's writes to staging memory begin at its first byte, whatever was asked.",
        area: &["runtime/contract/host"],
        killers: &["runtime/contract/host/any/parts"],
        make: |good| Arc::new(Broken(WritesAtZero(good))),
    },
    Mutant {
        name: "last-element-dropped",
        fault: "The last byte of what the host reads is zero.",
        area: &["runtime/bytes/read"],
        killers: &["runtime/bytes/read/u8/unaligned/1-31"],
        make: |good| {
            reads(good, |good, b, at, to| {
                good.host_read(b, at, to)?;
                if let Some(last) = to.last_mut() {
                    *last = 0;
                }
                Ok(())
            })
        },
    },
    Mutant {
        name: "result-of-another-device",
        fault: "The host reads what another opened handle read last.",
        area: &["runtime/order/handles"],
        killers: &["runtime/order/handles/u32/two-open"],
        make: |good| Arc::new(Broken(OfAnother { good, number: HANDLES.fetch_add(1, Ordering::Relaxed) })),
    },
    Mutant {
        name: "results-differ-from-run-to-run",
        fault: "Every fifth reading of numbers has another last bit.",
        area: &["system/determinism"],
        killers: &["system/determinism/chain/f32/runs"],
        make: |good| {
            reads(good, |good, b, at, to| {
                good.host_read(b, at, to)?;
                if to.len() >= 64 && READS.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
                    to[0] ^= 1;
                }
                Ok(())
            })
        },
    },
];
