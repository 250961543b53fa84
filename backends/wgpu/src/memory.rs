//! Buffers. What the host writes or reads is mapped whenever no work uses it: unmapped for a submission, asked to be mapped
//! again right behind it. A ticket is complete only then, so that neither writing nor reading ever waits.

use crate::device::{Device, lock};
use anychip_hal::{Error, Memory, Range, RawBuffer, Result};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, Ordering},
};
use wgpu::BufferUsages as U;

/// A buffer.
pub struct Buffer {
    pub raw: wgpu::Buffer,
    /// `None`: the host does not touch it.
    map: Option<(wgpu::MapMode, Mutex<Arc<AtomicU8>>)>,
}

const UNMAPPED: u8 = 0;
const PENDING: u8 = 1;
const MAPPED: u8 = 2;

impl Buffer {
    /// Bytes that there are: a binding covers whole words and vectors.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }

    /// Before work uses it.
    pub fn unmap(&self) {
        if let Some((_, state)) = &self.map {
            let mut state = lock(state);
            if state.load(Ordering::Acquire) != UNMAPPED {
                self.raw.unmap();
                // What an earlier request still says is of no interest.
                *state = Arc::new(AtomicU8::new(UNMAPPED));
            }
        }
    }

    /// Behind the work that uses it.
    pub fn map(&self) {
        if let Some((mode, state)) = &self.map {
            let state = lock(state).clone();
            if state.swap(PENDING, Ordering::AcqRel) == UNMAPPED {
                self.raw.map_async(*mode, .., move |done| {
                    state.store(if done.is_ok() { MAPPED } else { UNMAPPED }, Ordering::Release);
                });
            }
        }
    }

    fn mapped(&self) -> bool {
        self.map.as_ref().is_some_and(|(_, state)| lock(state).load(Ordering::Acquire) == MAPPED)
    }
}

impl Device {
    pub(crate) fn create(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.buffers.create(&self.info, bytes, || self.place(bytes, memory))
    }

    fn place(&self, bytes: u64, memory: Memory) -> Result<Buffer> {
        let (usage, mode) = match memory {
            Memory::Device => (U::STORAGE | U::COPY_SRC | U::COPY_DST, None),
            Memory::Upload => (U::MAP_WRITE | U::COPY_SRC, Some(wgpu::MapMode::Write)),
            Memory::Readback => (U::MAP_READ | U::COPY_DST, Some(wgpu::MapMode::Read)),
        };
        let written = memory == Memory::Upload;
        let made = self.guarded("a buffer", bytes, || {
            self.raw.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: bytes.next_multiple_of(16),
                usage,
                mapped_at_creation: written,
            })
        });
        let raw = made?;
        let state = if written { MAPPED } else { UNMAPPED };
        let map = mode.map(|mode| (mode, Mutex::new(Arc::new(AtomicU8::new(state)))));
        Ok(Buffer { raw, map })
    }

    /// The buffer of a range, after checking that the range lies in it.
    pub(crate) fn range(&self, r: &Range) -> Result<Arc<Buffer>> {
        self.buffers.range(&self.info.id, r)
    }

    /// The buffer of a transfer, mapped, and the part of it to look at, which begins and ends where mappings may.
    fn transfer(&self, buffer: RawBuffer, at: u64, bytes: usize) -> Result<(Arc<Buffer>, std::ops::Range<u64>)> {
        let b = self.range(&Range { buffer, offset: at, bytes: bytes as u64 })?;
        if b.map.is_none() {
            return Err(Error::invalid(format!("{}: buffer {} is the device's alone", self.info.id, buffer.0)));
        }
        if !b.mapped() {
            b.map();
            // Only memory that no work has used yet comes here: that which was is mapped.
            let _ = self.raw.poll(wgpu::PollType::Poll);
            self.earlier()?;
        }
        if !b.mapped() {
            return Err(Error::invalid(format!(
                "{}: buffer {} is in use, or a browser has not mapped it yet; wait for a ticket that uses it",
                self.info.id, buffer.0
            )));
        }
        let end = (at + bytes as u64).next_multiple_of(wgpu::MAP_ALIGNMENT).min(b.size());
        Ok((b, at / wgpu::MAP_ALIGNMENT * wgpu::MAP_ALIGNMENT..end))
    }

    pub(crate) fn write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        let (b, part) = self.transfer(buffer, at, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        let first = (at - part.start) as usize;
        let mut view = b.raw.get_mapped_range_mut(part).map_err(|e| self.unmappable(&e))?;
        view.slice(first..first + from.len()).copy_from_slice(from);
        Ok(())
    }

    pub(crate) fn read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let (b, part) = self.transfer(buffer, at, to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        let first = (at - part.start) as usize;
        let view = b.raw.get_mapped_range(part).map_err(|e| self.unmappable(&e))?;
        to.copy_from_slice(&view[first..first + to.len()]);
        Ok(())
    }

    pub(crate) fn unmappable(&self, e: &dyn std::error::Error) -> Error {
        Error::Backend { backend: crate::NAME.into(), code: 3, message: format!("{}: mapping: {e}", self.info.id) }
    }
}
