//! Buffers and slices of them. A buffer is given back when its last handle and all pending work that uses it are gone.

use crate::{Error, Memory, RawBuffer, RawDevice, Result};
use std::{fmt, sync::Arc};

/// Memory on a device. Clones are handles to the same bytes; contents are undefined until written.
#[derive(Clone)]
pub struct Buffer {
    owned: Arc<Owned>,
    bytes: u64,
}

struct Owned {
    raw: Arc<dyn RawDevice>,
    device: u64,
    handle: RawBuffer,
    capacity: u64,
    memory: Memory,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Pending work holds a handle, so that nothing uses the buffer any more.
        self.raw.free(self.handle);
    }
}

impl Buffer {
    /// `capacity` bytes were allocated for the `bytes` asked for.
    pub(super) fn own(
        raw: &Arc<dyn RawDevice>,
        device: u64,
        handle: RawBuffer,
        bytes: u64,
        capacity: u64,
        memory: Memory,
    ) -> Buffer {
        Buffer { owned: Arc::new(Owned { raw: raw.clone(), device, handle, capacity, memory }), bytes }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What there really is, padding included: a multiple of 16.
    pub(super) fn capacity(&self) -> u64 {
        self.owned.capacity
    }

    pub(super) fn handle(&self) -> RawBuffer {
        self.owned.handle
    }

    pub(super) fn device(&self) -> u64 {
        self.owned.device
    }

    /// Where it lives.
    pub fn memory(&self) -> Memory {
        self.owned.memory
    }

    /// A part, by first byte and length; checked when it is used.
    pub fn slice(&self, offset: u64, bytes: u64) -> Slice {
        Slice { buffer: self.clone(), offset, bytes }
    }

    /// The same memory, padding included.
    pub(super) fn padded(&self) -> Buffer {
        Buffer { owned: self.owned.clone(), bytes: self.capacity() }
    }

    /// All of it.
    pub fn all(&self) -> Slice {
        self.slice(0, self.bytes())
    }

    /// True when both are handles to the same memory.
    pub fn same(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.owned, &other.owned)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer {} ({} bytes on {})", self.owned.handle.0, self.bytes, self.owned.raw.info().id)
    }
}

/// A part of a buffer, in bytes.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The buffer.
    pub buffer: Buffer,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Slice {
    /// Refuses a slice that leaves its buffer, or a buffer of another device. `who` begins the sentence.
    pub(super) fn check(&self, device: u64, id: &str, who: impl Fn() -> String) -> Result<()> {
        if self.buffer.device() != device {
            return Err(Error::invalid(format!(
                "{} belongs to another opened device ({}), not to this one ({id}); copy it over with download and upload",
                who(),
                self.buffer.owned.raw.info().id,
            )));
        }
        if self.offset.checked_add(self.bytes).is_none_or(|end| end > self.buffer.bytes()) {
            return Err(Error::invalid(format!(
                "{}: bytes {}..{} do not lie within the buffer's {} bytes on {id}",
                who(),
                self.offset,
                u128::from(self.offset) + u128::from(self.bytes),
                self.buffer.bytes(),
            )));
        }
        Ok(())
    }

    /// True when the two share a byte.
    pub(super) fn overlaps(&self, other: &Slice) -> bool {
        self.buffer.same(&other.buffer)
            && self.offset < other.offset + other.bytes
            && other.offset < self.offset + self.bytes
    }
}
