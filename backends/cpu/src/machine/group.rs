//! What lanes do together: reductions over a workgroup, and atomics.

use super::{
    affine::{Rep, number, wrap},
    check::Kind,
    exec::{Fault, Machine, read_bits, write_bits},
    mask::Mask,
    ops::{Arg, ReduceFn},
    program::{Reg, Target},
};
use anychip_hal::{
    DType,
    ir::{AtomicOp, Loc, ReduceOp},
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The bits that change nothing in a reduction.
fn neutral(op: ReduceOp, ty: DType) -> u64 {
    let bits = 8 * ty.size() as u32;
    let ones = wrap(ty, u64::MAX);
    let (min, max) = if ty.is_signed() { (1u64 << (bits - 1), ones >> 1) } else { (0, ones) };
    match (op, ty) {
        (ReduceOp::Sum, DType::F32) => (-0.0f32).to_bits() as u64,
        (ReduceOp::Sum, DType::F64) => (-0.0f64).to_bits(),
        (ReduceOp::Prod, DType::F32) => 1.0f32.to_bits() as u64,
        (ReduceOp::Prod, DType::F64) => 1.0f64.to_bits(),
        (ReduceOp::Min, DType::F32) => f32::INFINITY.to_bits() as u64,
        (ReduceOp::Min, DType::F64) => f64::INFINITY.to_bits(),
        (ReduceOp::Max, DType::F32) => f32::NEG_INFINITY.to_bits() as u64,
        (ReduceOp::Max, DType::F64) => f64::NEG_INFINITY.to_bits(),
        (ReduceOp::And | ReduceOp::Min, DType::Bool) => 1,
        (ReduceOp::Sum | ReduceOp::Or | ReduceOp::Xor, _) => 0,
        (ReduceOp::Prod, _) => 1,
        (ReduceOp::Min, _) => max,
        (ReduceOp::Max, _) => min,
        (ReduceOp::And, _) => ones,
    }
}

impl Machine<'_> {
    /// One result per workgroup, for all its lanes. Lanes that returned take no part.
    pub(crate) fn group_reduce(&mut self, f: ReduceFn, op: ReduceOp, ty: DType, dst: Reg, a: Reg, mask: &Mask) {
        let (w, bytes) = (self.p.lanes(), ty.size());
        let arg = self.arg(a);
        let d = if self.groups > 1 { self.out(dst) } else { self.scratch };
        for g in 0..self.groups as usize {
            // Scratch holds the block's lanes at 8 bytes each; a workgroup is at most the block.
            let tmp = self.scratch;
            let result = unsafe {
                match (arg, mask) {
                    (Arg::Vec(p), Mask::Full) => f(op, w, p.add(g * w * bytes)),
                    (arg, mask) => {
                        match arg {
                            Arg::Vec(p) => std::ptr::copy_nonoverlapping(p.add(g * w * bytes), tmp, w * bytes),
                            Arg::One(bits) => (self.p.table.splat)(w, tmp, bits, bytes),
                        }
                        if let Mask::Part(m) = mask {
                            for l in 0..w {
                                if m.lanes[g * w + l] == 0 {
                                    write_bits(tmp, l, bytes, neutral(op, ty));
                                }
                            }
                        }
                        f(op, w, tmp)
                    }
                }
            };
            if self.groups == 1 {
                self.set(dst, Rep::Uniform(result));
            } else {
                unsafe { (self.p.table.splat)(w, d.add(g * w * bytes), result, bytes) };
            }
        }
    }

    pub(crate) fn atomic(
        &mut self,
        at: &Target,
        op: AtomicOp,
        dst: Option<Reg>,
        value: Reg,
        compare: Option<Reg>,
        mask: &Mask,
        loc: Loc,
    ) -> Result<(), Fault> {
        if self.check.is_some() {
            self.check_access(at, 1, mask, Kind::Atomic, loc)?;
        }
        let region = self.region(at);
        let found = self.locate(at, &region, 1, mask, Kind::Atomic, loc)?;
        let size = at.size;
        let (value, compare) = (self.arg(value), compare.map(|c| self.arg(c)));
        let old = dst.map(|d| self.out(d));
        for l in (0..self.n).filter(|&l| mask.has(l)) {
            let element = match found {
                super::access::Where::One(i) => i,
                super::access::Where::Run(i) | super::access::Where::Tail(i) | super::access::Where::Interleaved(i) => {
                    i + l as u64
                }
                // Not for atomics.
                super::access::Where::Rows(..) => return Err(self.fault(-1, loc, "rows of atomics".to_string())),
                super::access::Where::Each(idx, wide) => unsafe { read_bits(idx, l, wide) },
            };
            let bits = |a: Arg| match a {
                Arg::One(b) => b,
                Arg::Vec(p) => unsafe { read_bits(p, l, size) },
            };
            let (v, c) = (bits(value), compare.map_or(0, bits));
            // `locate` has checked the element; its address is aligned to its size.
            unsafe {
                let address = region.ptr.add(element as usize * size);
                let was = update(address, at.elem, op, v, c);
                if let Some(d) = old {
                    write_bits(d, l, size, was);
                }
            }
        }
        Ok(())
    }
}

/// The new element.
fn next(ty: DType, op: AtomicOp, was: u64, v: u64, compare: u64) -> u64 {
    let (a, b) = (number(ty, was), number(ty, v));
    match op {
        AtomicOp::Add => match ty {
            DType::F32 => (f32::from_bits(was as u32) + f32::from_bits(v as u32)).to_bits() as u64,
            DType::F64 => (f64::from_bits(was) + f64::from_bits(v)).to_bits(),
            _ => wrap(ty, was.wrapping_add(v)),
        },
        AtomicOp::Min | AtomicOp::Max => {
            let least = op == AtomicOp::Min;
            let keep = match ty {
                DType::F32 => {
                    let (x, y) = (f32::from_bits(was as u32), f32::from_bits(v as u32));
                    x.is_nan() || if least { x < y } else { x > y }
                }
                DType::F64 => {
                    let (x, y) = (f64::from_bits(was), f64::from_bits(v));
                    x.is_nan() || if least { x < y } else { x > y }
                }
                _ => (a < b) == least,
            };
            if keep { was } else { v }
        }
        AtomicOp::And => was & v,
        AtomicOp::Or => was | v,
        AtomicOp::Xor => was ^ v,
        AtomicOp::Exchange | AtomicOp::Store => v,
        AtomicOp::CompareExchange => {
            if was == compare {
                v
            } else {
                was
            }
        }
        AtomicOp::Load => was,
    }
}

/// Read, modify, write; returns the old bits.
///
/// # Safety
/// The address is valid and aligned.
unsafe fn update(address: *mut u8, ty: DType, op: AtomicOp, v: u64, compare: u64) -> u64 {
    // Relaxed: there is no order between workgroups, and lanes of one run in lockstep.
    if ty.size() == 4 {
        let a = unsafe { AtomicU32::from_ptr(address as *mut u32) };
        let f = |was: u32| Some(next(ty, op, was as u64, v, compare) as u32);
        a.fetch_update(Ordering::Relaxed, Ordering::Relaxed, f).unwrap_or_else(|was| was) as u64
    } else {
        let a = unsafe { AtomicU64::from_ptr(address as *mut u64) };
        let f = |was: u64| Some(next(ty, op, was, v, compare));
        a.fetch_update(Ordering::Relaxed, Ordering::Relaxed, f).unwrap_or_else(|was| was)
    }
}
