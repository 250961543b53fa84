//! Buffers: how much is taken, and the parts of them that kernels are given.

use crate::{cl, device::Device};
use anychip_hal::{Memory, Range, RawBuffer, Result};
use opencl3::{
    memory::{
        CL_BUFFER_CREATE_TYPE_REGION, CL_MEM_ALLOC_HOST_PTR, CL_MEM_READ_WRITE, create_buffer, create_sub_buffer,
    },
    types::{cl_buffer_region, cl_mem},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
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
    pub(crate) fn create(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.buffers.create(&self.info, bytes, || self.place(bytes, memory))
    }

    fn place(&self, bytes: u64, memory: Memory) -> Result<Buffer> {
        let flags = match memory {
            Memory::Device => CL_MEM_READ_WRITE,
            Memory::Upload | Memory::Readback => CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR,
        };
        let made = unsafe { create_buffer(self.context.get(), flags, bytes as usize, std::ptr::null_mut()) };
        let whole = made.map_err(|code| cl::error(&self.info.id, "clCreateBuffer", code, bytes))?;
        Ok(Buffer { parts: Mutex::default(), whole: cl::Mem(whole), bytes })
    }

    /// The buffer of a range, after checking that the range lies in it.
    pub(crate) fn range(&self, r: &Range) -> Result<Arc<Buffer>> {
        self.buffers.range(&self.info.id, r)
    }
}
