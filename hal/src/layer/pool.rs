//! Memory pool: freed buffers are kept by size class and handed out again.
//!
//! A pool belongs to one opened device and is never shared, so that what one handle left in memory is not seen by
//! another; what the driver hands out is filled with zeros first, unless it says that it is. Before an allocation fails
//! for want of memory, everything kept is given back and it is tried once more.

use super::{forward, lock};
use crate::{Command, Error, Memory, Range, RawBuffer, RawDevice, Result, Submission, Ticket, Work, contract::Exposed};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Bytes that a device's pool holds, over all kinds of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// In buffers that someone holds (size classes, so at least what was asked for).
    pub in_use: u64,
    /// The most that `in_use` ever was.
    pub peak: u64,
    /// In freed buffers kept for reuse.
    pub cached: u64,
    /// Allocations answered from the pool.
    pub reused: u64,
    /// Allocations that went to the driver.
    pub fresh: u64,
}

/// The smallest buffer that is asked of a driver.
const MIN_CLASS: u64 = 256;
/// From here on sizes are rounded to this and not to a class.
const LARGE_STEP: u64 = 2 << 20;

/// How long one question lasts whether zeros are written.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pools the memory of a device.
pub struct Pool {
    inner: Arc<dyn RawDevice>,
    state: Mutex<State>,
    /// Bytes that may lie in freed buffers.
    keep: u64,
    /// Freed buffers are not lent again, and none is larger than asked for.
    quarantine: bool,
}

#[derive(Default)]
struct State {
    free: BTreeMap<(Memory, u64), Vec<RawBuffer>>,
    live: FxHashMap<RawBuffer, (Memory, u64)>,
    /// Fills of new memory that may be under way.
    wiping: FxHashMap<RawBuffer, Ticket>,
    used: MemoryUse,
}

impl Pool {
    /// Wraps a device. A quarter of its memory (at least 64 MiB) may lie in freed buffers.
    pub fn new(inner: Arc<dyn RawDevice>) -> Pool {
        let keep = (inner.info().memory.total / 4).max(64 << 20);
        Pool { inner, state: Mutex::default(), keep, quarantine: false }
    }

    /// Wraps a device; no freed buffer is lent again as long as there is memory. A checker of memory then sees who reads what
    /// nobody wrote, and who uses what was freed.
    pub fn quarantine(inner: Arc<dyn RawDevice>) -> Pool {
        Pool { inner, state: Mutex::default(), keep: u64::MAX, quarantine: true }
    }

    /// What the pool holds now.
    pub fn memory(&self) -> MemoryUse {
        lock(&self.state).used
    }

    /// Four classes per doubling up to 8 MiB (at most a quarter is wasted), multiples of 2 MiB above.
    fn class(&self, bytes: u64) -> u64 {
        if self.quarantine {
            return bytes;
        }
        let max = self.inner.info().memory.max_alloc;
        let class = if bytes <= MIN_CLASS {
            MIN_CLASS
        } else if bytes <= 4 * LARGE_STEP {
            let step = bytes.next_power_of_two() / 8;
            bytes.next_multiple_of(step.max(MIN_CLASS / 4))
        } else {
            bytes.checked_next_multiple_of(LARGE_STEP).unwrap_or(bytes)
        };
        if class <= max { class } else { bytes }
    }

    fn take(&self, memory: Memory, class: u64) -> Option<RawBuffer> {
        let mut s = lock(&self.state);
        // A large buffer may serve a request up to an eighth smaller.
        let (&key, _) = s.free.range((memory, class)..=(memory, class + class / 8)).next()?;
        let list = s.free.get_mut(&key)?;
        let buffer = list.pop()?;
        if list.is_empty() {
            s.free.remove(&key);
        }
        s.used.cached -= key.1;
        s.used.reused += 1;
        Self::lend(&mut s, buffer, memory, key.1);
        Some(buffer)
    }

    /// Queues zeros over new memory: everything that comes later sees them.
    fn wipe(&self, buffer: RawBuffer, bytes: u64) -> Result<()> {
        let dst = Range { buffer, offset: 0, bytes: bytes / 4 * 4 };
        if dst.bytes == 0 {
            return Ok(());
        }
        let fill = [Command::Fill { dst, word: 0 }];
        let work = Submission { queue: 0, after: &[], work: Work::Commands(&fill), profile: false };
        let ticket = self.inner.submit(&work)?;
        lock(&self.state).wiping.insert(buffer, ticket);
        Ok(())
    }

    /// Waits until the zeros of a buffer are written.
    fn settle(&self, buffer: RawBuffer) {
        let ticket = lock(&self.state).wiping.remove(&buffer);
        if let Some(ticket) = ticket {
            // Complete long ago, unless the buffer was never used; a failure shows in whatever comes next.
            while matches!(self.inner.wait(ticket, PATIENCE), Ok(None)) {}
        }
    }

    /// Gives a buffer back to the driver.
    fn give_back(&self, buffer: RawBuffer) {
        self.settle(buffer);
        self.inner.free(buffer);
    }

    fn lend(s: &mut State, buffer: RawBuffer, memory: Memory, class: u64) {
        s.live.insert(buffer, (memory, class));
        s.used.in_use += class;
        s.used.peak = s.used.peak.max(s.used.in_use);
    }
}

impl RawDevice for Pool {
    forward!(info, host_write, host_read, accepts, load, binary, unload, record, release, submit, wait, notify, expose);

    /// The zeros come first: another device's bytes do not go through the queue.
    fn fetch(&self, from: &Exposed, to: Range) -> Result<()> {
        self.settle(to.buffer);
        self.inner.fetch(from, to)
    }

    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let info = self.inner.info();
        if bytes > info.memory.max_alloc {
            return Err(Error::OutOfMemory {
                device: info.id.clone(),
                asked: bytes,
                why: format!("the largest single buffer is {} bytes", info.memory.max_alloc),
            });
        }
        let class = self.class(bytes);
        if !self.quarantine
            && let Some(buffer) = self.take(memory, class)
        {
            return Ok(buffer);
        }
        let fresh = match self.inner.alloc(class, memory) {
            Err(Error::OutOfMemory { .. }) => {
                self.trim();
                self.inner.alloc(class, memory)
            }
            other => other,
        };
        let buffer = fresh.map_err(|e| match e {
            // The caller's number, not the class.
            Error::OutOfMemory { device, why, .. } => Error::OutOfMemory { device, asked: bytes, why },
            e => e,
        })?;
        // A checker of memory is to see what nobody wrote.
        if memory == Memory::Device
            && !self.quarantine
            && !self.inner.wipes()
            && let Err(e) = self.wipe(buffer, class)
        {
            self.inner.free(buffer);
            return Err(e);
        }
        let mut s = lock(&self.state);
        s.used.fresh += 1;
        Self::lend(&mut s, buffer, memory, class);
        Ok(buffer)
    }

    fn free(&self, buffer: RawBuffer) {
        let kept = {
            let mut s = lock(&self.state);
            match s.live.remove(&buffer) {
                // Not of this pool: the device's own affair.
                None => false,
                Some((memory, class)) => {
                    s.used.in_use -= class;
                    let keep = s.used.cached.saturating_add(class) <= self.keep;
                    if keep {
                        s.used.cached += class;
                        s.free.entry((memory, class)).or_default().push(buffer);
                    }
                    keep
                }
            }
        };
        if !kept {
            self.give_back(buffer);
        }
    }

    fn trim(&self) {
        let free = {
            let mut s = lock(&self.state);
            s.used.cached = 0;
            std::mem::take(&mut s.free)
        };
        for buffer in free.into_values().flatten() {
            self.give_back(buffer);
        }
        self.inner.trim();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.trim();
    }
}
