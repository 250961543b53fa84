//! What cases about memory and kernels share: bytes to a device, through a launch, and back; rules said as sentences.

use crate::{Failure, Seen, Subject};
use anychip::{
    Error,
    hal::{
        DType,
        device::{Buffer, Checks, Device, Grid, Program, ScalarArg, Slice, Step},
        ir::{Access, Builder, Builtin, Kernel, Place},
    },
};
use anychip_oracle::sample::Random;
use std::fmt::Display;

/// How a case ends.
pub type End = Result<(), Failure>;

/// Fails with a sentence unless it holds.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> End {
    if holds { Ok(()) } else { Err(Failure::Broken(why())) }
}

/// What was asked for must be refused, with one of these codes of [`Error::code`].
pub fn refused<T>(what: impl Display, got: anychip::Result<T>, codes: &[u32]) -> Result<Error, Failure> {
    match got {
        Ok(_) => Err(Failure::Broken(format!("{what}: it was accepted; an error of code {codes:?} was expected"))),
        Err(e) if codes.contains(&e.code()) => Ok(e),
        Err(e) => Err(Failure::Broken(format!("{what}: refused with code {}, expected {codes:?}: {e}", e.code()))),
    }
}

/// Codes of [`Error::code`] that cases expect.
pub mod code {
    /// `Unsupported`.
    pub const UNSUPPORTED: u32 = 3;
    /// `OutOfMemory`.
    pub const MEMORY: u32 = 4;
    /// `DeviceLost`.
    pub const LOST: u32 = 6;
    /// `Timeout`.
    pub const TIMEOUT: u32 = 7;
    /// `InvalidArgument`.
    pub const INVALID: u32 = 8;
    /// `DTypeMismatch`.
    pub const DTYPE: u32 = 10;
    /// `Backend`.
    pub const BACKEND: u32 = 13;
}

/// Random bytes.
pub fn bytes(r: &mut Random, n: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(n + 7);
    while out.len() < n {
        out.extend(r.bits().to_le_bytes());
    }
    out.truncate(n);
    out
}

/// Little-endian bytes of words.
pub fn of_u32(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Words of little-endian bytes.
pub fn to_u32(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|c| u32::from_le_bytes(*c)).collect()
}

/// Both must be equal; the first difference is told.
pub fn same<T: PartialEq + std::fmt::Debug>(what: impl Display, got: &[T], want: &[T], seen: &mut Seen) -> End {
    seen.elements += want.len().max(1) as u64;
    ensure(got.len() == want.len(), || {
        format!("{what}: {} elements came back, {} were expected", got.len(), want.len())
    })?;
    let wrong = got.iter().zip(want).filter(|(g, w)| g != w).count();
    match got.iter().zip(want).position(|(g, w)| g != w) {
        None => Ok(()),
        Some(i) => Err(Failure::Broken(format!(
            "{what}: element {i} is {:?}, expected {:?}; {wrong} of {} are wrong",
            got[i],
            want[i],
            want.len()
        ))),
    }
}

/// A part of a buffer, read back.
pub fn read(d: &Device, from: &Buffer, at: u64, n: usize) -> Result<Vec<u8>, Failure> {
    let mut out = vec![0x5a; n];
    d.download(from, at, &mut out)?;
    Ok(out)
}

/// All of a buffer, read back.
pub fn read_all(d: &Device, from: &Buffer) -> Result<Vec<u8>, Failure> {
    read(d, from, 0, from.bytes() as usize)
}

/// A launch of a kernel as a step.
pub fn step(program: &Program, grid: Grid, bindings: Vec<Slice>, scalars: &[ScalarArg]) -> Step {
    Step::Launch { program: program.clone(), grid, bindings, scalars: scalars.to_vec() }
}

/// Runs a kernel with its bounds checks: `buffers` are uploaded, and read back afterwards.
pub fn run(s: &Subject, k: &Kernel, grid: Grid, buffers: &mut [Vec<u8>], scalars: &[ScalarArg]) -> End {
    run_on(s.chip(), k, grid, buffers, scalars)
}

/// Runs a kernel with its bounds checks and without them, which must give the same: what a chip has of its own for copies and products is
/// used without them only.
///
/// # Safety
/// The kernel stays inside its buffers.
pub unsafe fn run_both(s: &Subject, k: &Kernel, grid: Grid, buffers: &mut [Vec<u8>], scalars: &[ScalarArg]) -> End {
    let mut unchecked = buffers.to_vec();
    run(s, k, grid, buffers, scalars)?;
    // SAFETY: the caller's.
    let program = unsafe { s.chip().kernel_unchecked(k)? };
    launched(s.chip(), &program, grid, &mut unchecked, scalars)?;
    for (n, (got, want)) in unchecked.iter().zip(buffers.iter()).enumerate() {
        let wrong = got.iter().zip(want).position(|(g, w)| g != w);
        ensure(wrong.is_none(), || {
            format!(
                "{}: without its bounds checks buffer {n} differs from byte {} on",
                k.name,
                wrong.unwrap_or_default()
            )
        })?;
    }
    Ok(())
}

/// The same on a handle of the contract.
pub fn run_on(d: &Device, k: &Kernel, grid: Grid, buffers: &mut [Vec<u8>], scalars: &[ScalarArg]) -> End {
    launched(d, &d.kernel(k, Checks::On)?, grid, buffers, scalars)
}

fn launched(d: &Device, program: &Program, grid: Grid, buffers: &mut [Vec<u8>], scalars: &[ScalarArg]) -> End {
    let held = buffers.iter().map(|b| d.alloc_from(b)).collect::<anychip::Result<Vec<_>>>()?;
    d.submit(&[step(program, grid, held.iter().map(|b| b.all()).collect(), scalars)])?.wait()?;
    for (b, bytes) in held.iter().zip(buffers) {
        d.download(b, 0, bytes)?;
    }
    Ok(())
}

/// `x[i] += by`, in workgroups of 64 lanes.
pub fn bump() -> anychip::Result<Kernel> {
    let mut b = Builder::new("bump", [64, 1, 1]);
    let x = b.buffer("x", DType::U32, Access::ReadWrite);
    let by = b.scalar("by", DType::U32);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    let v = b.add(v, by);
    b.store(Place::Buffer(x), i, v);
    b.finish()
}

/// `out[i] = a[i] * 3 + b[i]`, in workgroups of 64 lanes.
pub fn triple_add() -> anychip::Result<Kernel> {
    let mut b = Builder::new("triple_add", [64, 1, 1]);
    let p = b.buffer("a", DType::U32, Access::Read);
    let q = b.buffer("b", DType::U32, Access::Read);
    let out = b.buffer("out", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let (x, y, three) = (b.load(Place::Buffer(p), i), b.load(Place::Buffer(q), i), b.u32(3));
    let v = b.mul(x, three);
    let v = b.add(v, y);
    b.store(Place::Buffer(out), i, v);
    b.finish()
}

/// The device still does ordinary work.
pub fn still_works(s: &Subject, after: impl Display, r: &mut Random, seen: &mut Seen) -> End {
    works(s.chip(), after, r, seen)
}

/// The same of a handle of the contract.
pub fn works(d: &Device, after: impl Display, r: &mut Random, seen: &mut Seen) -> End {
    let words = to_u32(&bytes(r, 4 * 200));
    let mut buffers = [of_u32(words.iter().copied())];
    run_on(d, &bump()?, Grid::covering(200, 64), &mut buffers, &[ScalarArg::U32(7)])
        .map_err(|e| Failure::Broken(format!("after {after} the device no longer works: {e}")))?;
    let want: Vec<u32> = words.iter().map(|w| w.wrapping_add(7)).collect();
    same(format!("x[i] + 7 after {after}"), &to_u32(&buffers[0]), &want, seen)
}
