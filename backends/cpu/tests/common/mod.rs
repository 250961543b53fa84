//! Runs a kernel on a CPU device through the raw contract, host bytes in and out.
#![allow(dead_code)] // every test file uses its part

pub mod scalar;

use anychip_cpu::{CpuDriver, vmath::Level};
use anychip_hal::{
    Command, DType, Driver, Error, Memory, Module, Range, RawDevice, RawProgram, Result, Submission, Ticket, Work,
    ir::{self, Kernel, ParamKind, Role, legal},
};
use std::{sync::Arc, time::Duration};

pub const LONG: Duration = Duration::from_secs(600);

/// The device of this vector width and number of threads.
pub fn device(level: Level, threads: usize) -> Arc<dyn RawDevice> {
    CpuDriver::new().with_level(level).with_threads(threads).with_checking(false).open(0).unwrap()
}

/// A device in checking mode.
pub fn checking() -> Arc<dyn RawDevice> {
    CpuDriver::new().with_threads(2).with_checking(true).open(0).unwrap()
}

/// Legalised without guards.
pub fn legal(dev: &dyn RawDevice, k: &Kernel, idx_bits: u8) -> Kernel {
    legal::legalize(k, &legal::Target { info: dev.info(), idx_bits, checked: false }).unwrap()
}

/// Packs scalars by the kernel's layout: the user's in order, then what legalising added.
pub fn pack(k: &Kernel, user: &[u64], groups: [u32; 3], lens: &[usize]) -> Vec<u8> {
    let (slots, bytes) = k.scalar_layout();
    let mut out = vec![0; bytes as usize];
    let mut user = user.iter();
    let buffer = |p: ir::ParamId| k.buffers().position(|b| b.0 == p).unwrap();
    for s in slots {
        let bits = match k.params[s.param.at()].kind {
            ParamKind::Scalar { role: Role::User, .. } => *user.next().expect("a scalar is missing"),
            ParamKind::Scalar { role: Role::Offset(_), .. } => 0,
            ParamKind::Scalar { role: Role::Len(p), .. } => {
                let n = buffer(p);
                (lens[n] / k.buffers().nth(n).unwrap().1.size()) as u64
            }
            ParamKind::Scalar { role: Role::Groups, .. } => groups[0] as u64,
            ParamKind::Scalar { role: Role::High(_), .. } => unreachable!("the processor has 64-bit integers"),
            ParamKind::Buffer { .. } => unreachable!("scalars only"),
        };
        let at = s.offset as usize;
        out[at..at + s.bytes as usize].copy_from_slice(&bits.to_le_bytes()[..s.bytes as usize]);
    }
    out
}

pub fn wait(dev: &dyn RawDevice, t: Ticket) -> Result<()> {
    match dev.wait(t, LONG)? {
        Some(_) => Ok(()),
        None => Err(Error::Timeout { what: "test".into(), after: LONG }),
    }
}

pub fn submit(dev: &dyn RawDevice, commands: &[Command]) -> Result<Ticket> {
    dev.submit(&Submission { queue: 0, after: &[], work: Work::Commands(commands), profile: false })
}

/// Loads a legalised kernel.
pub fn load(dev: &dyn RawDevice, k: &Kernel) -> RawProgram {
    dev.load(&Module::Kernel(k), None).unwrap().program
}

/// Runs a kernel with 32-bit indices: buffers go in and come out.
pub fn run(dev: &dyn RawDevice, k: &Kernel, groups: [u32; 3], bufs: &mut [Vec<u8>], scalars: &[u64]) -> Result<()> {
    run_with(dev, k, 32, groups, bufs, scalars)
}

/// Runs a kernel: buffers go in and come out, whatever becomes of it.
pub fn run_with(
    dev: &dyn RawDevice,
    k: &Kernel,
    idx_bits: u8,
    groups: [u32; 3],
    bufs: &mut [Vec<u8>],
    scalars: &[u64],
) -> Result<()> {
    let k = legal(dev, k, idx_bits);
    let program = load(dev, &k);
    let mut bindings = vec![];
    for b in bufs.iter() {
        let buffer = dev.alloc(b.len().max(1) as u64, Memory::Device)?;
        dev.host_write(buffer, 0, b)?;
        bindings.push(Range { buffer, offset: 0, bytes: b.len() as u64 });
    }
    let lens: Vec<usize> = bufs.iter().map(Vec::len).collect();
    let scalars = pack(&k, scalars, groups, &lens);
    let t = submit(dev, &[Command::Launch { program, groups, bindings: bindings.clone(), scalars }])?;
    let result = wait(dev, t);
    for (b, r) in bufs.iter_mut().zip(bindings) {
        dev.host_read(r.buffer, 0, b)?;
        dev.free(r.buffer);
    }
    dev.unload(program);
    result
}

/// Bytes of a slice of plain numbers.
pub fn bytes<T: Copy>(of: &[T]) -> Vec<u8> {
    let n = std::mem::size_of_val(of);
    unsafe { std::slice::from_raw_parts(of.as_ptr() as *const u8, n) }.to_vec()
}

/// Elements from bytes.
pub fn elements<T: Copy + Default>(of: &[u8]) -> Vec<T> {
    let size = std::mem::size_of::<T>();
    let mut out = vec![T::default(); of.len() / size];
    unsafe { std::ptr::copy_nonoverlapping(of.as_ptr(), out.as_mut_ptr() as *mut u8, out.len() * size) };
    out
}

/// Bits of element `i`.
pub fn bits_at(of: &[u8], i: usize, d: DType) -> u64 {
    let mut b = [0; 8];
    b[..d.size()].copy_from_slice(&of[i * d.size()..(i + 1) * d.size()]);
    u64::from_le_bytes(b)
}

/// A small generator of numbers (xorshift64*), the same on every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }
}
