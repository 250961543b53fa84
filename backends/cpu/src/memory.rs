//! Buffers: aligned host memory, counted against a limit; an allocation that does not fit is an error, never an abort.
//!
//! A range is checked against its allocation when it is taken; afterwards the allocation lives as long as whoever
//! holds it.

use crate::team::Team;
use anychip_hal::{Error, Range, Result};
use memmap2::MmapMut;
use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    ptr::NonNull,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

/// Where every buffer begins: a cache line, and the widest vector.
pub(crate) const ALIGN: usize = 64;

/// Memory in use on a device, and how much there may be.
#[derive(Debug)]
pub(crate) struct Budget {
    pub used: AtomicU64,
    pub total: u64,
}

/// Large buffers begin at a multiple of this, the size of x86-64's and most ARM systems' huge pages: with small ones, walking
/// 64 MiB costs 16,384 faults at first and misses in the address translation ever after.
const PAGE: usize = 2 << 20;

/// Where a buffer's bytes come from.
#[derive(Debug)]
enum Source {
    Heap(Layout),
    /// Mapped for this buffer alone; unmapped when dropped.
    Map(#[allow(dead_code)] MmapMut),
}

/// Zeroed memory.
fn source(layout: Layout) -> Result<(NonNull<u8>, Source), String> {
    if layout.size() >= 2 * PAGE
        && let Ok(mut map) = MmapMut::map_anon(layout.size() + PAGE)
    {
        // Without huge pages it is slower, not wrong.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let from = map.as_mut_ptr();
        // Within the map, which is longer by this much.
        let at = unsafe { from.add(from.align_offset(PAGE).min(PAGE)) };
        if let Some(at) = NonNull::new(at) {
            return Ok((at, Source::Map(map)));
        }
    }
    // The layout's size is not zero.
    let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or("the system has no memory left")?;
    Ok((at, Source::Heap(layout)))
}

/// A buffer.
#[derive(Debug)]
pub(crate) struct Allocation {
    at: NonNull<u8>,
    source: Source,
    pub bytes: u64,
    /// In checking mode: per byte, whether it was ever written.
    shadow: Option<Box<[AtomicU8]>>,
    budget: Arc<Budget>,
    /// Raised by every write.
    version: AtomicU64,
}

/// An allocation's part at a point in its life: equal stamps mean the same bytes.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    of: Weak<Allocation>,
    offset: usize,
    bytes: usize,
    version: u64,
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Stamp) -> bool {
        Weak::ptr_eq(&self.of, &other.of)
            && (self.offset, self.bytes, self.version) == (other.offset, other.bytes, other.version)
    }
}

impl Stamp {
    /// The allocation lives and was not written since.
    pub fn is_current(&self) -> bool {
        self.of.upgrade().is_some_and(|a| a.version.load(Ordering::Acquire) == self.version)
    }
}

// Plain memory; who may touch it when is the contract between hal and its callers.
unsafe impl Send for Allocation {}
unsafe impl Sync for Allocation {}

impl Allocation {
    /// Takes memory from the budget and the system.
    pub fn new(bytes: u64, budget: &Arc<Budget>, checked: bool, available: impl Fn() -> u64) -> Result<Allocation> {
        let refuse = |why: String| Error::OutOfMemory { device: "cpu".to_string(), asked: bytes, why };
        let layout = usize::try_from(bytes.max(1))
            .ok()
            .and_then(|b| Layout::from_size_align(b, ALIGN).ok())
            .ok_or_else(|| refuse(format!("more than can be addressed; the machine has {} bytes", budget.total)))?;
        let take = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= budget.total);
        budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_err(|used| {
            refuse(format!("{used} of the machine's {} bytes are in use by this device", budget.total))
        })?;
        let give_back = || budget.used.fetch_sub(bytes, Ordering::Relaxed);
        // The system promises more than it has: what is large is compared with what is free right now.
        if bytes > 64 << 20 && bytes > available() {
            give_back();
            return Err(refuse(format!("the system has {} bytes free", available())));
        }
        let (at, source) = source(layout).map_err(|why| {
            give_back();
            refuse(why)
        })?;
        let shadow = checked.then(|| (0..bytes).map(|_| AtomicU8::new(0)).collect());
        Ok(Allocation { at, source, bytes, shadow, budget: budget.clone(), version: AtomicU64::new(0) })
    }

    /// A part of it. `Err` names the range when it is not inside.
    pub fn slice(self: &Arc<Self>, what: &str, range: Range) -> Result<Slice> {
        let inside = range.offset.checked_add(range.bytes).is_some_and(|end| end <= self.bytes);
        if !inside {
            return Err(Error::invalid(format!(
                "{what}: bytes {} to {} of a buffer of {} bytes on cpu",
                range.offset,
                range.offset.saturating_add(range.bytes),
                self.bytes
            )));
        }
        Ok(Slice { of: self.clone(), offset: range.offset as usize, bytes: range.bytes as usize })
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if let Source::Heap(layout) = self.source {
            // It came from `alloc_zeroed` with this layout.
            unsafe { dealloc(self.at.as_ptr(), layout) };
        }
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of an allocation, inside it, keeping it alive.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    of: Arc<Allocation>,
    offset: usize,
    pub bytes: usize,
}

impl Slice {
    /// The first byte.
    pub fn ptr(&self) -> *mut u8 {
        // Inside the allocation, or one past its end when empty.
        unsafe { self.of.at.as_ptr().add(self.offset) }
    }

    pub fn same_buffer(&self, other: &Slice) -> bool {
        Arc::ptr_eq(&self.of, &other.of)
    }

    /// In checking mode, the marks of its bytes.
    pub fn shadow(&self) -> Option<&[AtomicU8]> {
        self.of.shadow.as_ref().map(|s| &s[self.offset..self.offset + self.bytes])
    }

    /// Its bytes change now: what was derived from them is out of date.
    pub fn touch(&self) {
        self.of.version.fetch_add(1, Ordering::AcqRel);
    }

    /// What its bytes are known by until they change.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            of: Arc::downgrade(&self.of),
            offset: self.offset,
            bytes: self.bytes,
            version: self.of.version.load(Ordering::Acquire),
        }
    }

    /// All its bytes are written now.
    pub fn mark(&self) {
        self.touch();
        self.shadow().into_iter().flatten().for_each(|m| m.store(1, Ordering::Relaxed));
    }

    /// Host bytes in.
    pub fn write(&self, from: &[u8]) {
        let n = from.len().min(self.bytes);
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.ptr(), n) };
        self.mark();
    }

    /// Host bytes out.
    pub fn read(&self, to: &mut [u8]) {
        let n = to.len().min(self.bytes);
        unsafe { std::ptr::copy_nonoverlapping(self.ptr(), to.as_mut_ptr(), n) };
    }

    /// Copies; the lengths are equal.
    pub fn copy_to(&self, dst: &Slice, team: &Team) {
        let n = self.bytes.min(dst.bytes);
        let (from, to) = (Raw(self.ptr()), Raw(dst.ptr()));
        if self.same_buffer(dst) {
            unsafe { std::ptr::copy(from.0, to.0, n) };
        } else {
            in_parts(n, team, |at, len| unsafe {
                std::ptr::copy_nonoverlapping(from.get().add(at), to.get().add(at), len)
            });
        }
        dst.touch();
        if let (Some(a), Some(b)) = (self.shadow(), dst.shadow()) {
            for (a, b) in a.iter().zip(b) {
                b.store(a.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    /// Repeats a word.
    pub fn fill(&self, word: u32, team: &Team) {
        let to = Raw(self.ptr());
        in_parts(self.bytes, team, |at, len| {
            let bytes = word.to_le_bytes();
            unsafe {
                let to = to.get().add(at);
                if bytes.iter().all(|&b| b == bytes[0]) {
                    std::ptr::write_bytes(to, bytes[0], len);
                } else {
                    for i in 0..len / 4 {
                        (to.add(4 * i) as *mut u32).write_unaligned(u32::from_le(word));
                    }
                }
            }
        });
        self.mark();
    }
}

/// A pointer that threads share; each touches its own part.
#[derive(Clone, Copy)]
struct Raw(*mut u8);
unsafe impl Send for Raw {}
unsafe impl Sync for Raw {}
impl Raw {
    fn get(self) -> *mut u8 {
        self.0
    }
}

/// Calls `f(offset, length)` for parts that make up `n` bytes, on all threads when there are many.
fn in_parts(n: usize, team: &Team, f: impl Fn(usize, usize) + Sync) {
    // One core moves about 10 bytes a nanosecond: below 2 MiB, waking others costs as much as it saves.
    const PART: usize = 1 << 20;
    if n <= 2 * PART || team.threads() == 1 {
        return f(0, n);
    }
    team.each(n.div_ceil(PART), |part| f(part * PART, PART.min(n - part * PART)));
}
