//! Odd edges of Copy and Fill: commands of the contract are aligned, slices of a caller need not be.
//!
//! Everything stays on the device and in the order of the queue. Bytes that share a word with bytes that must not change
//! are merged by a small kernel over 32-bit words, which every device that takes kernels can store.

use super::{
    Device, Grid, ScalarArg, Slice,
    lower::{Lowered, launch, range},
    program::{Checks, Program},
};
use crate::{
    Command, DType, Error, Memory, Result,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Kernel, Place, UnaryOp},
};

/// Lanes of a workgroup of the merging kernel: every device has so many.
const LANES: u32 = 64;
/// Bytes that one launch merges at most, so that its counts fit u32.
const MERGE: u64 = 1 << 30;

/// Copies between checked slices that do not overlap.
pub(super) fn copy(device: &Device, src: &Slice, dst: &Slice, out: &mut Lowered) -> Result<()> {
    if src.bytes == 0 {
        return Ok(());
    }
    let align = device.info().limits.copy_align.max(1);
    let phase = dst.offset % align;
    if src.offset % align != phase {
        return merge(device, src, dst, out);
    }
    let head = ((align - phase) % align).min(src.bytes);
    let middle = (src.bytes - head) / align * align;
    let part = |s: &Slice, from: u64, bytes: u64| s.buffer.slice(s.offset + from, bytes);
    if head > 0 {
        merge(device, &part(src, 0, head), &part(dst, 0, head), out)?;
    }
    if middle > 0 {
        let src = range(&part(src, head, middle), &mut out.keep);
        let dst = range(&part(dst, head, middle), &mut out.keep);
        out.commands.push(Command::Copy { src, dst });
    }
    let from = head + middle;
    if from < src.bytes {
        merge(device, &part(src, from, src.bytes - from), &part(dst, from, src.bytes - from), out)?;
    }
    Ok(())
}

/// Fills a checked slice.
pub(super) fn fill(device: &Device, dst: &Slice, word: u32, out: &mut Lowered) -> Result<()> {
    let head = ((4 - dst.offset % 4) % 4).min(dst.bytes);
    let middle = (dst.bytes - head) / 4 * 4;
    let tail = dst.bytes - head - middle;
    // The word as it looks to the aligned part, after `head` of its bytes.
    let turned = word.rotate_right(8 * head as u32);
    if head + tail > 0 {
        let edges = device.alloc_in(8, Memory::Device)?;
        let mut edge = |at: u64, word: u32, from: u64, bytes: u64| -> Result<()> {
            let word_at = range(&edges.slice(at, 4), &mut out.keep);
            out.commands.push(Command::Fill { dst: word_at, word });
            copy(device, &edges.slice(at, bytes), &dst.buffer.slice(dst.offset + from, bytes), out)
        };
        if head > 0 {
            edge(0, word, 0, head)?;
        }
        if tail > 0 {
            edge(4, turned, head + middle, tail)?;
        }
    }
    if middle > 0 {
        let dst = range(&dst.buffer.slice(dst.offset + head, middle), &mut out.keep);
        out.commands.push(Command::Fill { dst, word: turned });
    }
    Ok(())
}

/// Copies bytes at any phase by merging words.
fn merge(device: &Device, src: &Slice, dst: &Slice, out: &mut Lowered) -> Result<()> {
    let info = device.info();
    if !info.kernels {
        return Err(Error::unsupported(
            format!("copying {} bytes from offset {} to {}", src.bytes, src.offset, dst.offset),
            format!("{} copies multiples of {} bytes and takes no kernels", info.id, info.limits.copy_align),
        ));
    }
    if src.buffer.same(&dst.buffer) || src.buffer.memory() != Memory::Device {
        // A buffer that is written may not be bound twice, and what the host writes not at all: through a third one.
        let align = info.limits.copy_align.max(1);
        let lead = src.offset % align;
        let window = (lead + src.bytes).next_multiple_of(align);
        let third = device.alloc_in(window, Memory::Device)?;
        let from = range(&src.buffer.padded().slice(src.offset - lead, window), &mut out.keep);
        let to = range(&third.slice(0, window), &mut out.keep);
        out.commands.push(Command::Copy { src: from, dst: to });
        return merge(device, &third.slice(lead, src.bytes), dst, out);
    }
    let program = merger(device)?;
    let step = MERGE.min(info.limits.max_binding_bytes / 2).max(64) / 4 * 4;
    let mut done = 0;
    while done < src.bytes {
        let bytes = (src.bytes - done).min(step);
        let (from, src_byte) = words(&src.buffer.slice(src.offset + done, bytes));
        let (to, dst_byte) = words(&dst.buffer.slice(dst.offset + done, bytes));
        let grid = Grid::covering(to.bytes / 4, LANES);
        let scalars = [ScalarArg::U32(src_byte), ScalarArg::U32(dst_byte), ScalarArg::U32(bytes as u32)];
        launch(device, &program, grid, &[from, to], &scalars, out)?;
        done += bytes;
    }
    Ok(())
}

/// The words around a slice, and where it begins in the first. Buffers are padded to 16 bytes, so that they are there.
fn words(slice: &Slice) -> (Slice, u32) {
    let lead = slice.offset % 4;
    let bytes = (lead + slice.bytes).next_multiple_of(4);
    (slice.buffer.padded().slice(slice.offset - lead, bytes), lead as u32)
}

fn merger(device: &Device) -> Result<Program> {
    if let Some(p) = device.merger().get() {
        return Ok(p.clone());
    }
    let program = device.kernel(&merge_bytes()?, Checks::On)?;
    Ok(device.merger().get_or_init(|| program).clone())
}

/// One lane per word of `dst`: those of its bytes that lie in `dst_byte..dst_byte + bytes` come from `src`, from its byte
/// `src_byte` on; the others stay.
fn merge_bytes() -> Result<Kernel> {
    let u32_of = DType::U32;
    let mut b = Builder::new("anychip_merge_bytes", [LANES, 1, 1]);
    let src = b.buffer("src", u32_of, Access::Read);
    let dst = b.buffer("dst", u32_of, Access::ReadWrite);
    let src_byte = b.scalar("src_byte", u32_of);
    let dst_byte = b.scalar("dst_byte", u32_of);
    let bytes = b.scalar("bytes", u32_of);
    let lane = b.builtin(Builtin::GlobalId(0));
    let word = b.cast(u32_of, lane);
    let [zero, one, four, eight, all] = [0, 1, 4, 8, u32::MAX].map(|x| b.u32(x));
    let bits = b.u32(32);
    let first = b.mul(word, four);
    let end = b.add(dst_byte, bytes);
    let inside = b.compare(CmpOp::Lt, first, end);
    b.when(inside, |b| {
        // Byte of `src`, plus 4, that belongs at the word's byte 0: at least 1.
        let ahead = b.add(src_byte, four);
        let ahead = b.sub(ahead, dst_byte);
        let at = b.add(first, ahead);
        let index = b.binary(BinaryOp::Div, at, four);
        let before = b.compare(CmpOp::Lt, at, four);
        let low_at = b.sub(index, one);
        let low_at = b.select(before, zero, low_at);
        let low = b.load(Place::Buffer(src), low_at);
        let high = b.load(Place::Buffer(src), index);
        let phase = b.binary(BinaryOp::Rem, at, four);
        let shift = b.mul(phase, eight);
        let whole = b.compare(CmpOp::Eq, phase, zero);
        let back = b.sub(bits, shift);
        let low_part = b.binary(BinaryOp::Shr, low, shift);
        let high_part = b.binary(BinaryOp::Shl, high, back);
        let joined = b.binary(BinaryOp::Or, low_part, high_part);
        let value = b.select(whole, low, joined);
        // Which bytes of the word change.
        let is_first = b.compare(CmpOp::Eq, word, zero);
        let skipped = b.mul(dst_byte, eight);
        let skipped = b.select(is_first, skipped, zero);
        let from = b.binary(BinaryOp::Shl, all, skipped);
        let left = b.sub(end, first);
        let full = b.compare(CmpOp::Ge, left, four);
        let left_bits = b.mul(left, eight);
        let cut = b.sub(bits, left_bits);
        let until = b.binary(BinaryOp::Shr, all, cut);
        let until = b.select(full, all, until);
        let mask = b.binary(BinaryOp::And, from, until);
        let keep = b.unary(UnaryOp::Not, mask);
        let old = b.load(Place::Buffer(dst), word);
        let old = b.binary(BinaryOp::And, old, keep);
        let new = b.binary(BinaryOp::And, value, mask);
        let merged = b.binary(BinaryOp::Or, old, new);
        b.store(Place::Buffer(dst), word, merged);
    });
    b.finish()
}
