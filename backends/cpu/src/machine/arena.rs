//! A worker's scratch memory, aligned to cache lines and kept by its thread from one launch to the next.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::RefCell,
    ptr::NonNull,
};

/// Aligned memory.
struct Memory {
    at: NonNull<u8>,
    layout: Layout,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // It came from `alloc_zeroed` with this layout.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}

thread_local! {
    static KEPT: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// Scratch memory, given back to the thread when dropped.
pub(crate) struct Arena(Option<Memory>);

impl Arena {
    /// At least `bytes` bytes, contents undefined but initialised. `Err` says why there are none.
    pub fn take(bytes: usize) -> Result<Arena, String> {
        if let Some(m) = KEPT.with_borrow_mut(Option::take)
            && m.layout.size() >= bytes
        {
            return Ok(Arena(Some(m)));
        }
        let size = bytes.max(64).checked_next_power_of_two().unwrap_or(bytes);
        let layout = Layout::from_size_align(size, 64).map_err(|e| e.to_string())?;
        // The size is not zero.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or("the system has no memory left")?;
        Ok(Arena(Some(Memory { at, layout })))
    }

    /// Where it begins.
    pub fn base(&self) -> *mut u8 {
        self.0.as_ref().map_or(std::ptr::null_mut(), |m| m.at.as_ptr())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // What one unusually large kernel needed is not kept.
        if let Some(m) = self.0.take().filter(|m| m.layout.size() <= 4 << 20) {
            KEPT.with_borrow_mut(|k| *k = Some(m));
        }
    }
}
