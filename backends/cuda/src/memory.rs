//! Buffers: memory of the device, in the order of a stream where the chip allocates so, and pinned memory of the host.

use crate::{
    context::{Context, Stream, asked},
    device::Device,
};
use anychip_hal::{Error, Memory, Range, RawBuffer, Result};
use cudarc::driver::sys::CUdeviceptr;
use std::{ptr, sync::Arc};

/// Where a buffer lies, and so how it is freed.
enum Kind {
    /// In the order of this stream.
    Ordered(Arc<Stream>),
    Plain,
    /// Of the host; the device sees it at the same address.
    Pinned,
}

/// A buffer.
pub struct Buffer {
    at: CUdeviceptr,
    kind: Kind,
    context: Arc<Context>,
}

impl Device {
    pub(crate) fn create(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.buffers.create(&self.info, bytes, || self.allocate(bytes, memory).map_err(|e| asked(e, bytes)))
    }

    fn allocate(&self, bytes: u64, memory: Memory) -> Result<Buffer> {
        let (c, api) = (&self.context, self.context.api);
        let _here = c.enter()?;
        // No more than the memory of the device, which has 64-bit addresses.
        let size = bytes as usize;
        let mut at = 0;
        let kind = match memory {
            Memory::Upload | Memory::Readback => {
                let mut p = ptr::null_mut();
                c.good("cuMemHostAlloc", unsafe { (api.cuMemHostAlloc)(&mut p, size, 0) })?;
                at = p as CUdeviceptr;
                Kind::Pinned
            }
            Memory::Device => match &self.allocating {
                Some(stream) => {
                    c.good("cuMemAllocAsync", unsafe { (api.cuMemAllocAsync)(&mut at, size, stream.raw) })?;
                    Kind::Ordered(stream.clone())
                }
                None => {
                    c.good("cuMemAlloc", unsafe { (api.cuMemAlloc_v2)(&mut at, size) })?;
                    Kind::Plain
                }
            },
        };
        let buffer = Buffer { at, kind, context: c.clone() };
        if let Kind::Ordered(stream) = &buffer.kind {
            // Then every queue may use it at once. Nothing but allocations is in this stream.
            stream.finish()?;
        }
        Ok(buffer)
    }

    /// The address of a range, after checking that it lies in its buffer.
    pub(crate) fn range(&self, r: &Range) -> Result<CUdeviceptr> {
        Ok(self.buffers.range(&self.info.id, r)?.at + r.offset)
    }

    /// The host's address of a part of pinned memory.
    pub(crate) fn pinned(&self, buffer: RawBuffer, at: u64, bytes: usize) -> Result<*mut u8> {
        let b = self.buffers.range(&self.info.id, &Range { buffer, offset: at, bytes: bytes as u64 })?;
        match b.kind {
            Kind::Pinned => Ok((b.at + at) as *mut u8),
            _ => Err(Error::invalid(format!("{}: the host does not reach memory of the device", self.info.id))),
        }
    }
}

impl Drop for Buffer {
    /// Nothing pending uses it.
    fn drop(&mut self) {
        let Ok(_here) = self.context.enter() else { return };
        let api = self.context.api;
        // Fails on a context that is lost, and then the memory goes with it.
        let _ = unsafe {
            match &self.kind {
                Kind::Ordered(stream) => (api.cuMemFreeAsync)(self.at, stream.raw),
                Kind::Plain => (api.cuMemFree_v2)(self.at),
                Kind::Pinned => (api.cuMemFreeHost)(self.at as *mut _),
            }
        };
    }
}
