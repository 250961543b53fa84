//! Stacks of fibers, in one map of large pages that is kept for the next block: threads of a block take turns so often that pages of
//! their own, with guards between them, would cost more than what they compute. That no kernel needs more stack than there is, is
//! made sure of when it is compiled (`-Wframe-larger-than`).

use crate::{calls::lock, code::Code};
use corosensei::stack::{Stack, StackPointer};
use std::sync::Mutex;

/// The largest frame of a kernel, in bytes.
pub const FRAME: usize = 56 << 10;
/// From stack to stack. Not a power of two: what lies at their tops would share the same few lines of the caches.
const PITCH: usize = FRAME + (16 << 10) + 192;
const LARGE_PAGE: usize = 2 << 20;

static RESTING: Mutex<Vec<Stacks>> = Mutex::new(Vec::new());

/// Stacks for the threads of a block; they rest when dropped.
pub struct Stacks {
    /// The guard page is below.
    at: usize,
    count: usize,
}

/// One stack.
#[derive(Clone, Copy)]
pub struct Slot {
    low: usize,
}

// SAFETY: memory of this size, more than what kernels are compiled for; all its addresses are multiples of 64. Below the lowest one of a
// map is a page that nobody may touch.
unsafe impl Stack for Slot {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.low + PITCH).expect("a map is not at 0")
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
    let bytes = (count * PITCH).next_multiple_of(LARGE_PAGE);
    // SAFETY: a new map where the system likes, and a guard at its low end.
    unsafe {
        let map = libc::mmap(
            std::ptr::null_mut(),
            bytes + LARGE_PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if map == libc::MAP_FAILED {
            return Err(Code::OPERATING_SYSTEM);
        }
        let at = (map as usize + 1).next_multiple_of(LARGE_PAGE);
        libc::mprotect(map, at - map as usize, libc::PROT_NONE);
        if count > 1 {
            // A wish: without it the stacks are as good and slower.
            libc::madvise(at as *mut _, bytes, libc::MADV_HUGEPAGE);
        }
        Ok(Stacks { at, count })
    }
}

impl Stacks {
    pub fn slot(&self, i: usize) -> Slot {
        Slot { low: self.at + i * PITCH }
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        lock(&RESTING).push(Stacks { at: self.at, count: self.count });
    }
}
