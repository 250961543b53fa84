//! Buffers: how much is taken, and the parts of them that kernels are given.

use crate::{cl, device::Device};
use anychip_hal::{Error, Memory, Range, RawBuffer, Result};
use opencl3::{
    memory::{
        CL_BUFFER_CREATE_TYPE_REGION, CL_MEM_ALLOC_HOST_PTR, CL_MEM_READ_WRITE, create_buffer, create_sub_buffer,
    },
    types::{cl_buffer_region, cl_mem},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
};

/// A buffer and the parts of it that were bound so far. Parts are released before the whole.
pub struct Buffer {
    /// By offset, each to the end: a launch names few different offsets of a buffer, and names them often.
    parts: Mutex<HashMap<u64, Arc<cl::Mem>>>,
    pub whole: cl::Mem,
    pub bytes: u64,
}

impl Buffer {
    /// The object to bind for a range. Its end is not cut: hal has checked the range.
    pub fn bind(&self, offset: u64, device: &str) -> Result<(cl_mem, Option<Arc<cl::Mem>>)> {
        if offset == 0 {
            return Ok((self.whole.0, None));
        }
        let mut parts = crate::device::lock(&self.parts);
        if let Some(part) = parts.get(&offset) {
            return Ok((part.0, Some(part.clone())));
        }
        let region = cl_buffer_region { origin: offset as usize, size: (self.bytes - offset) as usize };
        let part = unsafe {
            create_sub_buffer(self.whole.0, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, (&raw const region).cast())
        }
        .map_err(|code| cl::error(device, "clCreateSubBuffer", code, 0))?;
        let part = Arc::new(cl::Mem(part));
        parts.insert(offset, part.clone());
        Ok((part.0, Some(part)))
    }
}

impl Device {
    /// OpenCL allocates when a buffer is first used, and then fails too late: the limits are kept here.
    pub(crate) fn create(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let m = &self.info.memory;
        let refuse = |why: String| Error::OutOfMemory { device: self.info.id.clone(), asked: bytes, why };
        if bytes == 0 {
            return Err(Error::invalid(format!("{}: a buffer of 0 bytes; 1 or more are accepted", self.info.id)));
        }
        if bytes > m.max_alloc {
            return Err(refuse(format!("one buffer has at most {} bytes", m.max_alloc)));
        }
        let take = |used: u64| used.checked_add(bytes).filter(|n| *n <= m.total);
        if let Err(used) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            return Err(refuse(format!("{used} of {} bytes are taken", m.total)));
        }
        let flags = match memory {
            Memory::Device => CL_MEM_READ_WRITE,
            Memory::Upload | Memory::Readback => CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR,
        };
        let made = unsafe { create_buffer(self.context.get(), flags, bytes as usize, std::ptr::null_mut()) };
        match made {
            Ok(mem) => {
                let buffer = Buffer { parts: Mutex::default(), whole: cl::Mem(mem), bytes };
                Ok(RawBuffer(self.buffers.insert(Arc::new(buffer))))
            }
            Err(code) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(cl::error(&self.info.id, "clCreateBuffer", code, bytes))
            }
        }
    }

    pub(crate) fn destroy(&self, buffer: RawBuffer) {
        if let Some(b) = self.buffers.remove(buffer.0) {
            self.used.fetch_sub(b.bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn buffer(&self, b: RawBuffer) -> Result<Arc<Buffer>> {
        self.buffers.get(b.0).ok_or_else(|| Error::invalid(format!("{}: buffer {} does not exist", self.info.id, b.0)))
    }

    /// The buffer of a range, after checking that the range lies in it.
    pub(crate) fn range(&self, r: &Range) -> Result<Arc<Buffer>> {
        let b = self.buffer(r.buffer)?;
        match r.offset.checked_add(r.bytes) {
            Some(end) if end <= b.bytes => Ok(b),
            _ => Err(Error::invalid(format!(
                "{}: bytes {} to {} + {} of a buffer of {} bytes",
                self.info.id, r.offset, r.offset, r.bytes, b.bytes
            ))),
        }
    }
}
