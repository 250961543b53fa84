//! Bytes between the host and a device, through staging buffers in chunks; the pool keeps these for the next transfer.

use super::{Buffer, Device, Step, flight::InFlight};
use crate::{Memory, Result};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// Bytes of one staging buffer: large enough to hide the cost of a submission, small enough to overlap the host's copy
/// with the device's.
const CHUNK: u64 = 8 << 20;
/// Chunks under way at once, so that a transfer of any size needs little staging memory.
const DEPTH: usize = 4;

/// Queues the bytes; they are read before this returns, the device may still be copying.
pub(super) fn upload(device: &Device, buffer: &Buffer, at: u64, from: &[u8]) -> Result<()> {
    let whole = buffer.slice(at, from.len() as u64);
    whole.check(device.number(), &device.info().id, || "upload: the destination".into())?;
    // The staging offset has the destination's phase, so that only the edges of a transfer can be odd.
    let phase = at % device.info().limits.copy_align.max(1);
    let mut under_way: VecDeque<Arc<InFlight>> = VecDeque::new();
    let mut sent = 0;
    while sent < whole.bytes {
        let bytes = (whole.bytes - sent).min(CHUNK);
        let staging = device.alloc_in(phase + bytes, Memory::Upload)?;
        let part = &from[sent as usize..(sent + bytes) as usize];
        device.raw().host_write(staging.handle(), phase, part).map_err(|e| device.flight().note(e))?;
        let (src, dst) = (staging.slice(phase, bytes), buffer.slice(at + sent, bytes));
        under_way.extend(device.submit(&[Step::Copy { src, dst }])?.work);
        if under_way.len() >= DEPTH
            && let Some(oldest) = under_way.pop_front()
        {
            device.flight().wait(&oldest, None);
            fail_with(&oldest)?;
        }
        sent += bytes;
    }
    Ok(())
}

/// Waits for everything before it and for the bytes.
pub(super) fn download(device: &Device, buffer: &Buffer, at: u64, to: &mut [u8]) -> Result<()> {
    let whole = buffer.slice(at, to.len() as u64);
    whole.check(device.number(), &device.info().id, || "download: the source".into())?;
    let align = device.info().limits.copy_align.max(1);
    let mut asked = 0;
    let mut under_way: VecDeque<(Arc<InFlight>, Buffer, u64, Range<usize>)> = VecDeque::new();
    while asked < whole.bytes || !under_way.is_empty() {
        if asked < whole.bytes && under_way.len() < DEPTH {
            let bytes = (whole.bytes - asked).min(CHUNK);
            // The aligned window around the chunk; buffers are padded, so that it lies within.
            let first = at + asked;
            let lead = first % align;
            let window = (lead + bytes).next_multiple_of(align);
            let staging = device.alloc_in(window, Memory::Readback)?;
            let work = device.copy_window(buffer, first - lead, &staging, window)?;
            under_way.push_back((work, staging, lead, asked as usize..(asked + bytes) as usize));
            asked += bytes;
        } else if let Some((work, staging, lead, part)) = under_way.pop_front() {
            device.flight().wait(&work, None);
            fail_with(&work)?;
            device.flight().unseen()?;
            let to = &mut to[part];
            device.raw().host_read(staging.handle(), lead, to).map_err(|e| device.flight().note(e))?;
        }
    }
    Ok(())
}

fn fail_with(work: &InFlight) -> Result<()> {
    match work.end() {
        Some(Err(e)) => Err(e.clone()),
        _ => Ok(()),
    }
}
