//! Stacks of fibers: maps with a guard page below each, kept for the next block. Their tops lie at different places of a page, or all of
//! a block's threads would fight for the same lines of the cache.

use crate::{calls::lock, code::Code};
use corosensei::stack::{Stack, StackPointer};
use std::sync::Mutex;

const PAGE: usize = 4096;
/// Local memory of a thread.
const BYTES: usize = 124 << 10;
/// With its guard page.
const PITCH: usize = BYTES + PAGE;

static RESTING: Mutex<Vec<Stacks>> = Mutex::new(Vec::new());

/// Stacks for the threads of a block; they rest when dropped.
pub struct Stacks {
    at: usize,
    count: usize,
}

/// One stack.
#[derive(Clone, Copy)]
pub struct Slot {
    /// Its lowest address: the guard page.
    low: usize,
    high: usize,
}

impl Slot {
    /// Does this address lie in its guard page?
    pub fn guards(&self, address: usize) -> bool {
        (self.low..self.low + PAGE).contains(&address)
    }
}

// SAFETY: a map with a guard page and 120 KiB and more above it; both ends are multiples of 64.
unsafe impl Stack for Slot {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.high).expect("a map is not at 0")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.low).expect("a map is not at 0")
    }
}

/// At least so many stacks.
pub fn take(count: usize) -> Result<Stacks, Code> {
    {
        let mut resting = lock(&RESTING);
        if let Some(at) = resting.iter().position(|stacks| stacks.count >= count && (count > 1 || stacks.count == 1)) {
            return Ok(resting.swap_remove(at));
        }
    }
    let count = if count == 1 { 1 } else { count.max(256).next_power_of_two() };
    // SAFETY: a new map where the system likes, and guards inside of it.
    unsafe {
        let map = libc::mmap(
            std::ptr::null_mut(),
            count * PITCH,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if map == libc::MAP_FAILED {
            return Err(Code::OPERATING_SYSTEM);
        }
        for i in 0..count {
            libc::mprotect(map.byte_add(i * PITCH), PAGE, libc::PROT_NONE);
        }
        Ok(Stacks { at: map as usize, count })
    }
}

impl Stacks {
    pub fn slot(&self, i: usize) -> Slot {
        let low = self.at + i * PITCH;
        Slot { low, high: low + PITCH - i * 192 % PAGE }
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        lock(&RESTING).push(Stacks { at: self.at, count: self.count });
    }
}
