//! Buffers: parts of few large blocks of device memory, and how much is taken.

use crate::{
    device::{Device, Handle, lock},
    instance::Instance,
    vk_error::{self, Named},
};
use anychip_hal::{Error, Memory, Range, RawBuffer, Result};
use ash::vk;
use gpu_allocator::{
    AllocationError, AllocationSizes, AllocatorDebugSettings, MemoryLocation,
    vulkan::{Allocation, AllocationCreateDesc, AllocationScheme, Allocator, AllocatorCreateDesc},
};
use std::{
    ptr::NonNull,
    sync::{Arc, Mutex},
};

/// Where buffers come from. The allocator is dropped before the device that it belongs to.
pub struct Heap {
    allocator: Mutex<Allocator>,
    handle: Arc<Handle>,
}

/// Bytes of a block: large enough that drivers are asked seldom, small enough for devices of 2 GiB.
const BLOCK: u64 = 64 << 20;

impl Heap {
    pub fn new(instance: &Instance, physical: vk::PhysicalDevice, handle: &Arc<Handle>) -> Result<Heap> {
        let mut settings = AllocatorDebugSettings::default();
        settings.log_leaks_on_shutdown = false;
        let made = Allocator::new(&AllocatorCreateDesc {
            instance: instance.raw.clone(),
            device: handle.raw.clone(),
            physical_device: physical,
            debug_settings: settings,
            buffer_device_address: false,
            allocation_sizes: AllocationSizes::new(BLOCK, BLOCK),
        });
        let allocator = made.map_err(|e| refused(&handle.id, 0, e))?;
        Ok(Heap { allocator: Mutex::new(allocator), handle: handle.clone() })
    }
}

fn refused(device: &str, asked: u64, e: AllocationError) -> Error {
    match e {
        AllocationError::OutOfMemory => {
            Error::OutOfMemory { device: device.into(), asked, why: "the driver gives no more memory".into() }
        }
        e => Error::Backend { backend: crate::NAME.into(), code: 0, message: format!("{device}: memory: {e}") },
    }
}

/// A buffer with memory of its own.
pub struct Buffer {
    pub raw: vk::Buffer,
    pub bytes: u64,
    pub memory: Memory,
    /// Where the host sees it; always coherent, since the allocator takes nothing else for the host.
    host: Option<NonNull<u8>>,
    allocation: Option<Allocation>,
    heap: Arc<Heap>,
}
// SAFETY: the pointer is to memory that lives as long as the buffer; hal orders who uses it when.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: hal frees a buffer when nothing pending uses it; a closing device has ended its work.
        unsafe { self.heap.handle.raw.destroy_buffer(self.raw, None) };
        if let Some(a) = self.allocation.take() {
            // Fails only for an allocation of another allocator.
            let _ = lock(&self.heap.allocator).free(a);
        }
    }
}

impl Buffer {
    /// What the host sees from byte `at` on, after checking that it is inside.
    fn host(&self, device: &str, at: u64, bytes: usize) -> Result<NonNull<u8>> {
        let base = self.host.ok_or_else(|| {
            Error::invalid(format!("{device}: the host does not see {:?} memory; copy to or from it", self.memory))
        })?;
        // SAFETY: the caller has checked that at + bytes lies inside.
        debug_assert!(at + bytes as u64 <= self.bytes);
        Ok(unsafe { base.add(at as usize) })
    }
}

impl Device {
    pub(crate) fn create(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.buffers.create(&self.info, bytes, || self.place(bytes, memory))
    }

    fn place(&self, bytes: u64, memory: Memory) -> Result<Buffer> {
        let (id, raw) = (self.info.id.as_str(), &self.handle.raw);
        type Usage = vk::BufferUsageFlags;
        // Whole texels.
        let bytes = bytes.next_multiple_of(16);
        let texels = match self.rest.enabled.target.texels {
            0 => Usage::empty(),
            _ => Usage::UNIFORM_TEXEL_BUFFER,
        };
        let info = vk::BufferCreateInfo::default()
            .size(bytes)
            .usage(Usage::STORAGE_BUFFER | Usage::TRANSFER_SRC | Usage::TRANSFER_DST | texels);
        // SAFETY: the device is open; the structures live until the calls return.
        let made = unsafe { raw.create_buffer(&info, None) };
        let made = made.map_err(|code| vk_error::error(id, "vkCreateBuffer", code, bytes))?;
        let requirements = unsafe { raw.get_buffer_memory_requirements(made) };
        let got = lock(&self.heap.allocator).allocate(&AllocationCreateDesc {
            name: "buffer",
            requirements,
            location: match memory {
                Memory::Device => MemoryLocation::GpuOnly,
                Memory::Upload => MemoryLocation::CpuToGpu,
                Memory::Readback => MemoryLocation::GpuToCpu,
            },
            linear: true,
            allocation_scheme: AllocationScheme::GpuAllocatorManaged,
        });
        let allocation = match got {
            Ok(a) => a,
            Err(e) => {
                unsafe { raw.destroy_buffer(made, None) };
                return Err(refused(id, bytes, e));
            }
        };
        let host = allocation.mapped_ptr().map(NonNull::cast);
        let (block, offset) = (unsafe { allocation.memory() }, allocation.offset());
        // From here on dropping the buffer gives everything back.
        let buffer = Buffer { raw: made, bytes, memory, host, allocation: Some(allocation), heap: self.heap.clone() };
        unsafe { raw.bind_buffer_memory(made, block, offset) }.named(id, "vkBindBufferMemory")?;
        Ok(buffer)
    }

    pub(crate) fn write(&self, b: &Buffer, at: u64, from: &[u8]) -> Result<()> {
        let to = b.host(&self.info.id, at, from.len())?;
        // SAFETY: inside the buffer, which is mapped as long as it lives; nothing pending uses it.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        Ok(())
    }

    pub(crate) fn read(&self, b: &Buffer, at: u64, to: &mut [u8]) -> Result<()> {
        let from = b.host(&self.info.id, at, to.len())?;
        // SAFETY: as for `write`.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut *to).cast(), to.len()) };
        Ok(())
    }

    /// The buffer of a range, after checking that the range lies in it.
    pub(crate) fn range(&self, r: &Range) -> Result<Arc<Buffer>> {
        self.buffers.range(&self.info.id, r)
    }
}
