//! Loads and stores. The index's form decides: one element for all lanes, a contiguous run, interleaved vectors, or
//! lane by lane. Every access is checked against its memory's length before it happens; where the form allows it, once
//! for the block.

use super::{
    affine::{Affine, Rep, number},
    check::Kind,
    exec::{Fault, Machine, read_bits, write_bits},
    mask::Mask,
    ops::{Arg, prefetch},
    program::{Reg, Space, Target},
};
use anychip_hal::{
    DType,
    ir::{Access, Loc},
};

/// Memory that an access may touch.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    pub ptr: *mut u8,
    /// Elements that an index may name.
    pub len: u64,
    /// Elements between the banks of neighbouring workgroups.
    bank: i64,
    /// Elements between an element and the next one of the same lane: private arrays are interleaved.
    stride: usize,
    /// Registers may refer to it.
    stable: bool,
    /// Bytes of a buffer; 0 for an array.
    bytes: u64,
}

/// Where an access goes, within its memory's bounds for every acting lane.
pub(crate) enum Where {
    /// All lanes: this element.
    One(u64),
    /// Lane l: element `start + l`; all lanes are in bounds.
    Run(u64),
    /// As `Run`, but only the acting lanes, which are neighbours, are in bounds.
    Tail(u64),
    /// Lane l: the vector that starts at `start + l · components`; all lanes are in bounds.
    Interleaved(u64),
    /// Runs of this many lanes, the first elements of which lie as the index says; all lanes are in bounds.
    Rows(Affine, usize),
    /// Lane l: the element given by these indices (bytes of an index: 4 or 8); idle lanes have 0.
    Each(*const u8, usize),
}

/// Lanes from which on a copy costs less than a gather.
const RUN: usize = 8;
/// Bytes of a buffer from which on what is read next is asked for: twice the second-level cache of a core.
const LARGE: u64 = 4 << 20;
/// Bytes of a buffer from which on what is written goes past the caches: it would drive out what is read, and be gone itself
/// before it is read.
pub(crate) const STREAM: u64 = 16 << 20;
/// Bytes of the next block that are asked for. The processor fetches the rest itself; asking for a whole page keeps it from
/// that (64 MiB by pages on one core: 5.5 ms without, 3.9 ms with the first 1 KiB, 6.5 ms with all of it).
pub(crate) const AHEAD: usize = 1 << 10;
/// Bytes between what a load reads in one block and in the next, at most: farther apart is no pattern.
pub(super) const NEXT: usize = 1 << 20;

impl Machine<'_> {
    // In the caller and by reference: its fields are read back as they were written, one by one.
    #[inline(always)]
    pub(crate) fn region(&self, at: &Target) -> Region {
        match at.space {
            Space::Buffer(b) => {
                let b = &self.launch.buffers[b as usize];
                let bytes = b.len.saturating_mul(at.size as u64);
                Region { ptr: b.ptr, len: b.len, bank: 0, stride: 1, stable: b.stable, bytes }
            }
            Space::Shared(s) => {
                let a = &self.p.shared[s as usize];
                // Within the arena: banks are `shared_bytes` long and hold every array.
                let ptr = unsafe { self.shared.add(a.offset) };
                let bank = (self.p.shared_bytes / a.bytes) as i64;
                Region { ptr, len: a.len, bank, stride: 1, stable: false, bytes: 0 }
            }
            Space::Private(s) => {
                let a = &self.p.private[s as usize];
                let ptr = unsafe { self.private.add(a.offset * self.cap) };
                Region { ptr, len: a.len, bank: 0, stride: self.cap, stable: false, bytes: 0 }
            }
        }
    }

    /// The name of what is accessed.
    pub(crate) fn place_name(&self, at: &Target) -> String {
        match at.space {
            Space::Buffer(b) => format!("buffer {}", self.p.buffers[b as usize].name),
            Space::Shared(s) => format!("shared array {}", self.p.shared[s as usize].name),
            Space::Private(s) => format!("private array {}", self.p.private[s as usize].name),
        }
    }

    fn out_of_bounds(
        &mut self,
        at: &Target,
        region: &Region,
        comps: usize,
        mask: &Mask,
        kind: Kind,
        loc: Loc,
    ) -> Fault {
        let outside = |i: i128| i < 0 || i + comps as i128 > region.len as i128;
        let found = (0..self.n).filter(|&l| mask.has(l)).find_map(|l| {
            let i = number(at.index_ty, self.lane(at.index, l));
            outside(i).then_some((l, i))
        });
        let (lane, index) = found.unwrap_or((0, 0));
        let what = format!(
            "out of bounds: lane {} of workgroup {:?} {} element {index}{} of {}, which has {}",
            lane % self.p.lanes(),
            self.group_of(lane),
            kind.verb(),
            if comps > 1 { format!(" to {}", index + comps as i128 - 1) } else { String::new() },
            self.place_name(at),
            region.len
        );
        self.fault(super::check::OUT_OF_BOUNDS, loc, what)
    }

    /// The workgroup that a lane of the block belongs to.
    pub(crate) fn group_of(&self, lane: usize) -> [u32; 3] {
        let mut group = self.first;
        group[self.launch.along] += (lane / self.p.lanes()) as u32;
        group
    }

    pub(crate) fn locate(
        &mut self,
        at: &Target,
        region: &Region,
        comps: usize,
        mask: &Mask,
        kind: Kind,
        loc: Loc,
    ) -> Result<Where, Fault> {
        let (n, len) = (self.n, region.len);
        // Neighbouring lanes, neighbouring elements: most accesses.
        if comps == 1
            && region.stride == 1
            && (region.bank == 0 || self.groups == 1)
            && let Rep::Affine(a) = self.reps[at.index as usize]
            && a.c == self.shape.linear
        {
            let inside = |lanes| a.base.checked_add(lanes as u64).is_some_and(|e| e <= len && e <= most(at.index_ty));
            if inside(n) {
                return Ok(Where::Run(a.base));
            }
            // The tail of a buffer.
            if matches!(mask, Mask::Part(_))
                && let Some((_, end)) = mask.run(n)
                && inside(end)
            {
                return Ok(Where::Tail(a.base));
            }
        }
        let fits = |lo: i128, hi: i128| lo >= 0 && hi + comps as i128 <= len as i128;
        let mut affine = self.affine(at.index);
        if let Some(a) = affine {
            match a.range(at.index_ty, &self.shape) {
                Some((lo, hi)) if fits(lo, hi) => {
                    // In bounds for all lanes, so that no lane wrapped: the index in 64 bits.
                    let mut a = Affine::new(DType::U64, lo_base(a, at.index_ty), a.c);
                    if region.stride > 1 {
                        if a.c == [0; 4] {
                            return Ok(Where::Run(a.base * region.stride as u64));
                        }
                    } else {
                        if region.bank != 0 && self.groups > 1 {
                            a.c[3] += region.bank;
                        }
                        let linear = self.shape.linear;
                        if a.c == [0; 4] {
                            return Ok(Where::One(a.base));
                        }
                        if comps == 1 && a.c == linear {
                            return Ok(Where::Run(a.base));
                        }
                        if comps > 1 && a.c == linear.map(|l| l * comps as i64) {
                            return Ok(Where::Interleaved(a.base));
                        }
                        if comps == 1 && kind != Kind::Atomic && (kind == Kind::Read || mask.is_full()) {
                            let digits = (0..4).take_while(|&d| a.c[d] == linear[d]).count();
                            let run = self.shape.radix[..digits].iter().map(|&r| r as usize).product();
                            if run >= RUN {
                                return Ok(Where::Rows(a, run));
                            }
                        }
                        self.spread(self.index, a, 8);
                        return Ok(Where::Each(self.index, 8));
                    }
                }
                Some((lo, hi)) if lo == hi => {
                    return Err(self.out_of_bounds(at, region, comps, mask, kind, loc));
                }
                _ => affine = None,
            }
        }
        // Plain unsigned indices of a full block are used where they are.
        let unsigned = matches!(at.index_ty, DType::U32 | DType::U64) || (at.index_ty == DType::I32 && len <= 1 << 31);
        let banked = region.bank != 0 && self.groups > 1;
        if affine.is_none() && mask.is_full() && unsigned && !banked && region.stride == 1 {
            let (mut idx, wide) = (self.lanes(at.index), at.index_ty.size());
            if !std::ptr::eq(idx, self.slot(at.index)) {
                // Indices that lie in a buffer are copied, so that what was checked is what is used.
                unsafe { std::ptr::copy_nonoverlapping(idx, self.index, n * wide) };
                idx = self.index;
            }
            let top = unsafe { (self.p.table.max_index)(n, idx, wide) };
            if top.checked_add(comps as u64).is_none_or(|end| end > len) {
                return Err(self.out_of_bounds(at, region, comps, mask, kind, loc));
            }
            return Ok(Where::Each(idx, wide));
        }
        let bytes = at.index_ty.size();
        let idx = self.arg(at.index);
        let lanes = self.p.lanes();
        for l in 0..n {
            let mut i = 0u64;
            if mask.has(l) {
                let bits = match idx {
                    Arg::One(b) => b,
                    Arg::Vec(p) => unsafe { read_bits(p, l, bytes) },
                };
                let number = number(at.index_ty, bits);
                if !fits(number, number) {
                    return Err(self.out_of_bounds(at, region, comps, mask, kind, loc));
                }
                i = number as u64;
                if banked {
                    i += (l / lanes) as u64 * region.bank as u64;
                }
                if region.stride > 1 {
                    i = i * region.stride as u64 + l as u64;
                }
            }
            unsafe { write_bits(self.index, l, 8, i) };
        }
        Ok(Where::Each(self.index, 8))
    }

    /// Asks for what the same load will read in the next block, going by where it read in the last one: a row often is a
    /// page, and the processor's own prefetching ends with the page.
    fn ahead(&mut self, site: u32, from: *const u8, bytes: usize) {
        let last = std::mem::replace(&mut self.sites[site as usize], from as usize);
        let step = (from as usize).wrapping_sub(last) as isize;
        if last != 0 && step != 0 && step.unsigned_abs() <= NEXT {
            prefetch(from.wrapping_offset(step), bytes.min(AHEAD));
        }
    }

    pub(crate) fn load(
        &mut self,
        at: &Target,
        dst: &[Reg],
        (site, held): (u32, bool),
        mask: &Mask,
        loc: Loc,
    ) -> Result<(), Fault> {
        if self.check.is_some() {
            self.check_access(at, dst.len(), mask, Kind::Read, loc)?;
        }
        let region = self.region(at);
        let (n, size, comps) = (self.n, at.size, dst.len());
        let bool_ = at.elem == DType::Bool;
        let found = self.locate(at, &region, comps, mask, Kind::Read, loc)?;
        for (c, &r) in dst.iter().enumerate() {
            // `locate` has checked every element that is read, for the components as well.
            unsafe {
                let step = c * region.stride;
                match found {
                    Where::One(i) => {
                        let bits = read_bits(region.ptr, i as usize + step, size);
                        self.set(r, Rep::Uniform(if bool_ { (bits != 0) as u64 } else { bits }));
                    }
                    Where::Run(i) => {
                        let from = region.ptr.add((i as usize + step) * size);
                        if region.bytes >= LARGE {
                            self.ahead(site, from, n * size);
                        }
                        if bool_ {
                            let d = self.out(r);
                            (self.p.table.normalise)(n, d, from);
                        } else if region.stable || held {
                            self.set(r, Rep::Vec(from));
                        } else {
                            let d = self.out(r);
                            std::ptr::copy_nonoverlapping(from, d, n * size);
                        }
                    }
                    Where::Tail(i) => {
                        let d = self.out(r);
                        if let Some((a, b)) = mask.run(n) {
                            let from = region.ptr.add((i as usize + a) * size);
                            std::ptr::copy_nonoverlapping(from, d.add(a * size), (b - a) * size);
                        }
                        if bool_ {
                            self.normalise(d);
                        }
                    }
                    Where::Rows(a, run) => {
                        let d = self.out(r);
                        self.each_row(a, run, |lane, i| {
                            std::ptr::copy_nonoverlapping(region.ptr.add(i * size), d.add(lane * size), run * size);
                        });
                        if bool_ {
                            self.normalise(d);
                        }
                    }
                    Where::Interleaved(i) => {
                        let from = region.ptr.add((i as usize + c) * size);
                        let d = self.out(r);
                        strided_in(size, n, comps, from, d);
                        if bool_ {
                            self.normalise(d);
                        }
                    }
                    Where::Each(idx, wide) => {
                        if region.len == 0 {
                            // No lane acts: an acting one would be out of bounds.
                            self.set(r, Rep::Uniform(0));
                            continue;
                        }
                        let d = self.out(r);
                        (self.p.table.gather)(size)(n, d, region.ptr.add(step * size), idx, wide);
                        if bool_ {
                            self.normalise(d);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `f(first lane, first element)` for runs of lanes whose elements are neighbours.
    fn each_row(&self, a: Affine, run: usize, f: impl Fn(usize, usize)) {
        let radix = self.shape.radix.map(u64::from);
        for lane in (0..self.n).step_by(run) {
            let (mut left, mut at) = (lane as u64, a.base);
            for (c, radix) in a.c.into_iter().zip(radix) {
                at = at.wrapping_add((c as u64).wrapping_mul(left % radix));
                left /= radix;
            }
            f(lane, at as usize);
        }
    }

    /// The kernel never reads what it writes there.
    fn writes_only(&self, at: &Target) -> bool {
        matches!(at.space, Space::Buffer(b) if self.p.buffers[b as usize].access == Access::Write)
    }

    fn normalise(&mut self, d: *mut u8) {
        // The slot has n lanes and scratch 8 n bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(d, self.scratch, self.n);
            (self.p.table.normalise)(self.n, d, self.scratch);
        }
    }

    pub(crate) fn store(&mut self, at: &Target, src: &[Reg], mask: &Mask, loc: Loc) -> Result<(), Fault> {
        if self.check.is_some() {
            self.check_access(at, src.len(), mask, Kind::Write, loc)?;
        }
        let region = self.region(at);
        let (n, size, comps) = (self.n, at.size, src.len());
        let found = self.locate(at, &region, comps, mask, Kind::Write, loc)?;
        for (c, &r) in src.iter().enumerate() {
            let step = c * region.stride;
            // `locate` has checked every element that is written.
            unsafe {
                match found {
                    // Lanes write in order: the last one's element stays.
                    Where::One(i) => {
                        if let Some(last) = mask.last(n) {
                            let bits = self.lane(r, last);
                            write_bits(region.ptr, i as usize + step, size, bits);
                        }
                    }
                    Where::Run(i) | Where::Tail(i) => {
                        let to = region.ptr.add((i as usize + step) * size);
                        match (self.arg(r), mask.run(n)) {
                            (Arg::One(bits), Some((a, b))) => {
                                (self.p.table.splat)(b - a, to.add(a * size), bits, size);
                            }
                            (Arg::Vec(p), Some((a, b))) => {
                                let (from, to, bytes) = (p.add(a * size), to.add(a * size), (b - a) * size);
                                if region.bytes >= STREAM && self.writes_only(at) {
                                    (self.p.table.stream)(bytes, to, from);
                                } else {
                                    std::ptr::copy_nonoverlapping(from, to, bytes);
                                }
                            }
                            (arg, None) => scatter(arg, size, mask, n, |l| to.add(l * size)),
                        }
                    }
                    Where::Rows(a, run) => {
                        let p = self.lanes(r);
                        self.each_row(a, run, |lane, i| {
                            std::ptr::copy_nonoverlapping(p.add(lane * size), region.ptr.add(i * size), run * size);
                        });
                    }
                    Where::Interleaved(i) => {
                        let to = region.ptr.add((i as usize + c) * size);
                        match self.arg(r) {
                            Arg::Vec(p) if mask.is_full() => strided_out(size, n, comps, p, to),
                            arg => scatter(arg, size, mask, n, |l| to.add(l * comps * size)),
                        }
                    }
                    Where::Each(idx, wide) => {
                        let to = region.ptr.add(step * size);
                        let arg = self.arg(r);
                        scatter(arg, size, mask, n, |l| to.add(read_bits(idx, l, wide) as usize * size));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The largest value of an index type of 32 or 64 bits.
fn most(ty: DType) -> u64 {
    match ty {
        DType::I32 => i32::MAX as u64,
        DType::U32 => u32::MAX as u64,
        DType::I64 => i64::MAX as u64,
        _ => u64::MAX,
    }
}

/// The base as a 64-bit index, when no lane wraps and none is negative.
fn lo_base(a: Affine, ty: DType) -> u64 {
    number(ty, a.base) as u64
}

/// Writes acting lanes in order, each where `to` says.
///
/// # Safety
/// The operand covers `n` lanes, and `to` gives valid, aligned places for acting lanes.
unsafe fn scatter(arg: Arg, size: usize, mask: &Mask, n: usize, to: impl Fn(usize) -> *mut u8) {
    let (first, end) = match mask {
        Mask::Full => (0, n),
        Mask::Empty => return,
        Mask::Part(p) => (p.first, p.end),
    };
    macro_rules! typed {
        ($t:ty) => {
            for l in first..end {
                if mask.has(l) {
                    let x = match arg {
                        Arg::One(b) => b as $t,
                        Arg::Vec(p) => unsafe { *(p as *const $t).add(l) },
                    };
                    unsafe { *(to(l) as *mut $t) = x };
                }
            }
        };
    }
    match size {
        1 => typed!(u8),
        2 => typed!(u16),
        4 => typed!(u32),
        _ => typed!(u64),
    }
}

/// `d[l] = from[l · stride]`.
///
/// # Safety
/// Both cover their elements, aligned, without overlap.
unsafe fn strided_in(size: usize, n: usize, stride: usize, from: *const u8, d: *mut u8) {
    macro_rules! typed {
        ($t:ty) => {
            for l in 0..n {
                unsafe { *(d as *mut $t).add(l) = *(from as *const $t).add(l * stride) };
            }
        };
    }
    match size {
        1 => typed!(u8),
        2 => typed!(u16),
        4 => typed!(u32),
        _ => typed!(u64),
    }
}

/// `to[l · stride] = s[l]`.
///
/// # Safety
/// Both cover their elements, aligned, without overlap.
unsafe fn strided_out(size: usize, n: usize, stride: usize, s: *const u8, to: *mut u8) {
    macro_rules! typed {
        ($t:ty) => {
            for l in 0..n {
                unsafe { *(to as *mut $t).add(l * stride) = *(s as *const $t).add(l) };
            }
        };
    }
    match size {
        1 => typed!(u8),
        2 => typed!(u16),
        4 => typed!(u32),
        _ => typed!(u64),
    }
}
