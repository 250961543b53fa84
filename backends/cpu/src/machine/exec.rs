//! Runs a program over one block of lanes after another: registers, and instructions that stay in them.
//!
//! A block is one or more whole workgroups. All its lanes take each instruction together, so that a barrier between
//! them is already kept. Branches and loops are `flow`'s.

use super::{
    affine::{Affine, Rep, Shape, is_wide},
    arena::Arena,
    check::Checker,
    launch::Launch,
    mask::Mask,
    ops::Arg,
    program::*,
};
use anychip_hal::{
    DType, Error,
    ir::{BinaryOp, Loc},
};

/// A failed launch; boxed, because instructions return it.
pub(crate) type Fault = Box<Error>;

/// One worker's registers and arrays.
pub(crate) struct Machine<'a> {
    pub p: &'a Program,
    pub launch: &'a Launch<'a>,
    /// Lanes that a slot has room for.
    pub cap: usize,
    /// Lanes of this block.
    pub n: usize,
    /// Workgroups of this block.
    pub groups: u32,
    /// First workgroup of this block.
    pub first: [u32; 3],
    pub shape: Shape,
    pub reps: Vec<Rep>,
    /// The lanes of a uniform or affine register are written out in its slot.
    filled: Vec<bool>,
    slots: Vec<*mut u8>,
    pub shared: *mut u8,
    pub private: *mut u8,
    /// Indices of an access, one u64 per lane.
    pub index: *mut u8,
    /// Scratch of 8 bytes per lane.
    pub scratch: *mut u8,
    /// Lanes at `continue`, per open loop.
    pub(super) continued: Vec<Mask>,
    pub(super) returned: Mask,
    /// Where each load of the program read last, and zero before.
    pub(super) sites: Vec<usize>,
    /// The same when this block began.
    pub(super) before: Vec<usize>,
    pub check: Option<Checker>,
    _arena: Arena,
}

impl<'a> Machine<'a> {
    /// A machine for blocks of at most `groups` workgroups.
    pub fn new(p: &'a Program, launch: &'a Launch<'a>, groups: u32, check: Option<Checker>) -> Result<Self, Fault> {
        let cap = groups as usize * p.lanes();
        // Neighbouring slots a cache line apart: equal offsets in 4 KiB pages would share the sets of the cache.
        let size = |bytes: usize| (cap * bytes).next_multiple_of(64) + 64;
        let slots: usize = p.slots.iter().map(|&b| size(b as usize)).sum();
        let shared = p.shared_bytes * groups as usize;
        let private = size(p.private_bytes);
        let total = slots + shared + private + 2 * size(8);
        let arena = Arena::take(total).map_err(|why| {
            Box::new(Error::OutOfMemory {
                device: "cpu".to_string(),
                asked: total as u64,
                why: format!("registers and arrays of a block of kernel {}: {why}", p.name),
            })
        })?;
        let mut at = arena.base();
        let mut next = |bytes: usize| {
            let here = at;
            // Within the arena: `total` is the sum of these.
            at = unsafe { at.add(bytes) };
            here
        };
        let slots = p.slots.iter().map(|&b| next(size(b as usize))).collect();
        let (shared, private) = (next(shared), next(private));
        let (index, scratch) = (next(size(8)), next(size(8)));
        Ok(Machine {
            p,
            launch,
            cap,
            n: 0,
            groups: 0,
            first: [0; 3],
            shape: Shape::new(p.workgroup, 1),
            reps: vec![Rep::Uniform(0); p.regs.len()],
            filled: vec![false; p.regs.len()],
            slots,
            shared,
            private,
            index,
            scratch,
            continued: vec![],
            returned: Mask::Empty,
            sites: vec![0; p.sites as usize],
            before: vec![0; p.sites as usize],
            check,
            _arena: arena,
        })
    }

    /// Runs a block: `groups` workgroups from `first` on, along the launch's dimension.
    pub fn run(&mut self, first: [u32; 3], groups: u32) -> Result<(), Fault> {
        self.first = first;
        self.before.copy_from_slice(&self.sites);
        if groups != self.groups {
            self.groups = groups;
            self.n = groups as usize * self.p.lanes();
            self.shape = Shape::new(self.p.workgroup, groups);
            for inst in &self.p.prologue {
                self.step(inst, &Mask::Full)?;
            }
        }
        self.returned = Mask::Empty;
        self.continued.clear();
        if self.p.shared_bytes > 0 {
            // Never another workgroup's data, so that a kernel's mistake is the same on every run.
            unsafe { std::ptr::write_bytes(self.shared, 0, self.p.shared_bytes * groups as usize) };
        }
        for (var, _) in &self.p.vars {
            self.set(*var, Rep::Uniform(0));
        }
        if let Some(c) = &mut self.check {
            c.begin_group();
        }
        self.block(&self.p.body, &mut Mask::Full)
    }

    pub fn fault(&self, code: i64, loc: Loc, what: String) -> Fault {
        Box::new(Error::Backend {
            backend: "cpu".to_string(),
            code,
            message: format!("kernel {}, {}: {what}", self.p.name, self.p.place(loc)),
        })
    }

    // ---- registers ----

    #[inline]
    pub fn set(&mut self, r: Reg, rep: Rep) {
        self.reps[r as usize] = rep;
        self.filled[r as usize] = false;
    }

    /// One element for all lanes, which an instruction body has just written. Read by its own width: a wider read would wait
    /// until every store before it, results included, has left the processor's store buffer.
    #[inline]
    fn set_one(&mut self, r: Reg, d: &u64) {
        // Eight bytes, aligned; the rest of them is 0.
        let bits = unsafe { read_bits((d as *const u64).cast(), 0, self.bytes(r)) };
        self.set(r, Rep::Uniform(bits));
    }

    pub fn slot(&self, r: Reg) -> *mut u8 {
        self.slots[self.p.regs[r as usize].slot as usize]
    }

    /// The register will hold one element per lane: where to write them.
    #[inline]
    pub fn out(&mut self, r: Reg) -> *mut u8 {
        let d = self.slot(r);
        self.set(r, Rep::Vec(d));
        d
    }

    pub fn bytes(&self, r: Reg) -> usize {
        self.p.regs[r as usize].bytes as usize
    }

    /// Writes an affine value out.
    pub fn spread(&self, d: *mut u8, a: Affine, bytes: usize) {
        let s = &self.shape;
        let step = s.linear.iter().position(|&l| l != 0).map_or(0, |i| a.c[i] / s.linear[i].max(1));
        let ramp = self.p.table.ramp;
        // Every slot has room for the block's lanes.
        unsafe {
            if (0..4).all(|i| s.radix[i] == 1 || a.c[i] == step.wrapping_mul(s.linear[i])) {
                return ramp(self.n, d, a.base, step as u64, bytes);
            }
            let [x, y, z, g] = s.radix;
            let mut at = d;
            for g in 0..g as i64 {
                for z in 0..z as i64 {
                    for y in 0..y as i64 {
                        let off = a.c[1].wrapping_mul(y) + a.c[2].wrapping_mul(z) + a.c[3].wrapping_mul(g);
                        ramp(x as usize, at, a.base.wrapping_add(off as u64), a.c[0] as u64, bytes);
                        at = at.add(x as usize * bytes);
                    }
                }
            }
        }
    }

    /// The register's lanes, written out if they are not yet.
    #[inline]
    pub fn lanes(&mut self, r: Reg) -> *const u8 {
        match self.reps[r as usize] {
            Rep::Vec(p) => p,
            _ => self.write_out(r),
        }
    }

    #[inline(never)]
    fn write_out(&mut self, r: Reg) -> *const u8 {
        let at = r as usize;
        let d = self.slot(r);
        match self.reps[at] {
            Rep::Vec(p) => return p,
            _ if self.filled[at] => {}
            Rep::Uniform(bits) => unsafe { (self.p.table.splat)(self.n, d, bits, self.bytes(r)) },
            Rep::Affine(a) => self.spread(d, a, self.bytes(r)),
        }
        self.filled[at] = true;
        d
    }

    /// An operand: one element, or lanes.
    #[inline]
    pub fn arg(&mut self, r: Reg) -> Arg {
        match self.reps[r as usize] {
            Rep::Uniform(bits) => Arg::One(bits),
            Rep::Vec(p) => Arg::Vec(p),
            Rep::Affine(_) => Arg::Vec(self.write_out(r)),
        }
    }

    pub fn affine(&self, r: Reg) -> Option<Affine> {
        match self.reps[r as usize] {
            Rep::Uniform(base) => Some(Affine { base, c: [0; 4] }),
            Rep::Affine(a) => Some(a),
            Rep::Vec(_) => None,
        }
    }

    /// One lane's bits.
    pub fn lane(&mut self, r: Reg, lane: usize) -> u64 {
        match self.arg(r) {
            Arg::One(bits) => bits,
            // Lane is below n.
            Arg::Vec(p) => unsafe { read_bits(p, lane, self.bytes(r)) },
        }
    }

    // ---- instructions ----

    pub(super) fn step(&mut self, inst: &'a Inst, mask: &Mask) -> Result<(), Fault> {
        match &inst.code {
            Code::Const { dst, bits } => self.set(*dst, Rep::Uniform(*bits)),
            Code::Scalar { dst, offset, bytes } => {
                let mut bits = [0u8; 8];
                let (from, to) = (*offset as usize, (*offset + *bytes) as usize);
                bits[..*bytes as usize].copy_from_slice(&self.launch.scalars[from..to]);
                let mut bits = u64::from_le_bytes(bits);
                if self.p.regs[*dst as usize].ty == DType::Bool {
                    bits = (bits != 0) as u64;
                }
                self.set(*dst, Rep::Uniform(bits));
            }
            Code::BufLen { dst, buffer } => {
                self.set(*dst, Rep::Uniform(self.launch.buffers[*buffer as usize].len));
            }
            Code::GroupId { dst, dim } => {
                let mut c = [0; 4];
                if *dim as usize == self.launch.along && self.groups > 1 {
                    c[3] = 1;
                }
                let base = self.first[*dim as usize] as u64;
                self.set(*dst, Affine::new(self.p.idx, base, c).rep());
            }
            Code::NumGroups { dst, dim } => {
                self.set(*dst, Rep::Uniform(self.launch.groups[*dim as usize] as u64));
            }
            Code::LocalId { dst, dim } => {
                let mut c = [0; 4];
                c[*dim as usize] = (self.p.workgroup[*dim as usize] > 1) as i64;
                self.set(*dst, Affine { base: 0, c }.rep());
            }
            Code::GlobalId { dst, dim } => {
                let d = *dim as usize;
                let w = self.p.workgroup[d];
                let mut c = [0; 4];
                c[d] = (w > 1) as i64;
                if d == self.launch.along && self.groups > 1 {
                    c[3] = w as i64;
                }
                let base = self.first[d] as u64 * w as u64;
                self.set(*dst, Affine::new(self.p.idx, base, c).rep());
            }
            Code::Unary { f, op, dst, a } => {
                if let Rep::Uniform(bits) = self.reps[*a as usize] {
                    let mut d = 0u64;
                    unsafe { f(*op, 1, (&raw mut d).cast(), (&raw const bits).cast()) };
                    self.set_one(*dst, &d);
                } else {
                    let (a, bytes) = (self.lanes(*a), self.bytes(*dst));
                    let d = self.out(*dst);
                    unsafe { self.function(*f, *op, d, a, bytes) };
                }
            }
            Code::Binary { f, op, ty, dst, a, b } => self.binary(*f, *op, *ty, *dst, *a, *b),
            Code::Compare { f, op, ty, dst, a, b } => {
                if is_wide(*ty)
                    && let (Some(x), Some(y)) = (self.affine(*a), self.affine(*b))
                    && let Some(r) = Affine::compare(*op, *ty, x, y, &self.shape)
                {
                    self.set(*dst, Rep::Uniform(r as u64));
                    return Ok(());
                }
                let (a, b) = (self.arg(*a), self.arg(*b));
                if let (Arg::One(_), Arg::One(_)) = (a, b) {
                    let mut d = 0u64;
                    unsafe { f(*op, 1, (&raw mut d).cast(), a, b) };
                    self.set_one(*dst, &d);
                } else {
                    let d = self.out(*dst);
                    unsafe { f(*op, self.n, d, a, b) };
                }
            }
            Code::MulAdd { f, ty, dst, a, b, c } => self.mul_add(*f, *ty, *dst, *a, *b, *c),
            Code::Select { f, dst, cond, a, b } => {
                if let Rep::Uniform(x) = self.reps[*cond as usize] {
                    let of = if x != 0 { *a } else { *b };
                    self.copy(*dst, of);
                } else {
                    let c = self.lanes(*cond);
                    let (a, b) = (self.arg(*a), self.arg(*b));
                    let d = self.out(*dst);
                    unsafe { f(self.n, d, c, a, b) };
                }
            }
            Code::Cast { f, from, to, dst, a } => match self.reps[*a as usize] {
                Rep::Uniform(bits) => {
                    let mut d = 0u64;
                    unsafe { f(1, (&raw mut d).cast(), (&raw const bits).cast()) };
                    self.set_one(*dst, &d);
                }
                Rep::Affine(x) if is_wide(*from) && is_wide(*to) && x.cast(*from, *to, &self.shape).is_some() => {
                    if let Some(x) = x.cast(*from, *to, &self.shape) {
                        self.set(*dst, x.rep());
                    }
                }
                _ => {
                    let a = self.lanes(*a);
                    let d = self.out(*dst);
                    unsafe { f(self.n, d, a) };
                }
            },
            Code::Dot4 { dst, a, b, acc, a_signed, b_signed } => {
                let byte = |x: u64, i: u32, signed: bool| {
                    let b = (x >> (8 * i)) as u8;
                    if signed { b as i8 as i32 } else { b as i32 }
                };
                self.each_lane(*dst, [*a, *b, *acc], |[a, b, acc]| {
                    let dot = (0..4).map(|i| byte(a, i, *a_signed) * byte(b, i, *b_signed));
                    dot.fold(acc as i32, i32::wrapping_add) as u32 as u64
                });
            }
            Code::Unpack { dst, word, index, bits, signed } => {
                let width = *bits as u32;
                self.each_lane(*dst, [*word, *index, *index], |[w, i, _]| {
                    let shift = (i as u32).wrapping_mul(width) & 31;
                    let high = (w as u32 >> shift) << (32 - width);
                    (if *signed { (high as i32 >> (32 - width)) as u32 } else { high >> (32 - width) }) as u64
                });
            }
            Code::Load { at, dst, site, held } => self.load(at, dst, (*site, *held), mask, inst.loc)?,
            Code::Store { at, src } => self.store(at, src, mask, inst.loc)?,
            Code::Get { dst, var } => {
                self.check_get(*var, mask, inst.loc)?;
                self.copy(*dst, *var);
            }
            Code::Set { var, a, dying } => self.assign(*var, *a, *dying, mask),
            Code::Atomic { at, op, dst, value, compare } => {
                self.atomic(at, *op, *dst, *value, *compare, mask, inst.loc)?;
            }
            Code::Barrier => self.barrier(mask, inst.loc)?,
            Code::GroupReduce { f, op, ty, dst, a } => {
                self.barrier(mask, inst.loc)?;
                self.group_reduce(*f, *op, *ty, *dst, *a, mask);
            }
        }
        Ok(())
    }

    fn binary(&mut self, f: super::ops::BinaryFn, op: BinaryOp, ty: DType, dst: Reg, a: Reg, b: Reg) {
        if let (Rep::Uniform(_), Rep::Uniform(_)) = (self.reps[a as usize], self.reps[b as usize]) {
        } else if is_wide(ty)
            && let (Some(x), Some(y)) = (self.affine(a), self.affine(b))
            && let Some(r) = Affine::binary(op, ty, x, y, &self.shape)
        {
            return self.set(dst, r.rep());
        }
        let (a, b) = (self.arg(a), self.arg(b));
        if let (Arg::One(_), Arg::One(_)) = (a, b) {
            let mut d = 0u64;
            unsafe { f(op, 1, (&raw mut d).cast(), a, b) };
            self.set_one(dst, &d);
        } else {
            let d = self.out(dst);
            unsafe { f(op, self.n, d, a, b) };
        }
    }

    fn mul_add(&mut self, f: super::ops::MulAddFn, ty: DType, dst: Reg, a: Reg, b: Reg, c: Reg) {
        if is_wide(ty)
            && let (Some(x), Some(y), Some(z)) = (self.affine(a), self.affine(b), self.affine(c))
            && let Some(p) = Affine::binary(BinaryOp::Mul, ty, x, y, &self.shape)
            && let Some(r) = Affine::binary(BinaryOp::Add, ty, p, z, &self.shape)
        {
            return self.set(dst, r.rep());
        }
        let uniform = |m: &Self, r: Reg| matches!(m.reps[r as usize], Rep::Uniform(_));
        if uniform(self, a) && uniform(self, b) && uniform(self, c) {
            let (x, b, c) = (self.lane(a, 0), self.arg(b), self.arg(c));
            let mut d = 0u64;
            unsafe { f(1, (&raw mut d).cast(), (&raw const x).cast(), b, c) };
            return self.set_one(dst, &d);
        }
        // The product commutes: the first factor is the one with lanes.
        let (a, b) = if uniform(self, a) { (b, a) } else { (a, b) };
        let a = self.lanes(a);
        let (b, c) = (self.arg(b), self.arg(c));
        let d = self.out(dst);
        unsafe { f(self.n, d, a, b, c) };
    }

    /// An operation on bits, lane by lane; once when all operands are uniform.
    fn each_lane(&mut self, dst: Reg, of: [Reg; 3], f: impl Fn([u64; 3]) -> u64) {
        let args = of.map(|r| self.arg(r));
        if let [Arg::One(a), Arg::One(b), Arg::One(c)] = args {
            return self.set(dst, Rep::Uniform(f([a, b, c])));
        }
        let sizes = of.map(|r| self.bytes(r));
        let (d, bytes) = (self.out(dst), self.bytes(dst));
        for l in 0..self.n {
            let bits = std::array::from_fn(|i| match args[i] {
                Arg::One(b) => b,
                Arg::Vec(p) => unsafe { read_bits(p, l, sizes[i]) },
            });
            unsafe { write_bits(d, l, bytes, f(bits)) };
        }
    }

    /// The same value in another register. Lanes in a slot are copied: the slot may be reused or changed.
    pub fn copy(&mut self, dst: Reg, of: Reg) {
        match self.reps[of as usize] {
            Rep::Vec(p) => {
                let d = self.out(dst);
                unsafe { std::ptr::copy_nonoverlapping(p, d, self.n * self.bytes(dst)) };
            }
            rep => self.set(dst, rep),
        }
    }

    fn assign(&mut self, var: Reg, a: Reg, dying: bool, mask: &Mask) {
        if let Some(c) = &mut self.check {
            c.wrote_var(var, mask, self.n);
        }
        if var == a {
            return;
        }
        if mask.is_full() {
            let slot = self.slot(a);
            match self.reps[a as usize] {
                Rep::Vec(p) if dying && std::ptr::eq(p, slot) => {
                    // Nobody reads the value again: the variable takes its slot over.
                    let (v, t) = (self.p.regs[var as usize].slot, self.p.regs[a as usize].slot);
                    self.slots.swap(v as usize, t as usize);
                    self.set(var, Rep::Vec(p));
                }
                _ => self.copy(var, a),
            }
            return;
        }
        let d = self.lanes(var) as *mut u8;
        let (a, bytes, n) = (self.arg(a), self.bytes(var), self.n);
        let own = self.slot(var);
        debug_assert_eq!(d, own);
        let Mask::Part(p) = mask else { return };
        // The old lanes are read and written by one loop: through scratch, since nothing may overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(d, self.scratch, n * bytes);
            (self.p.table.select)(bytes)(n, d, p.lanes.as_ptr(), a, Arg::Vec(self.scratch));
        }
        self.set(var, Rep::Vec(d));
    }

    fn barrier(&mut self, mask: &Mask, loc: Loc) -> Result<(), Fault> {
        let Some(c) = &mut self.check else { return Ok(()) };
        c.barrier();
        if let Some(lane) = (0..self.n).find(|&l| !mask.has(l)) {
            return Err(self.fault(
                super::check::DIVERGENT,
                loc,
                format!("divergent barrier: lane {lane} of workgroup {:?} does not reach it", self.first),
            ));
        }
        Ok(())
    }
}

/// Element `i` of `bytes` bytes, widened.
///
/// # Safety
/// `p` covers element `i`, aligned.
#[inline(always)]
pub(crate) unsafe fn read_bits(p: *const u8, i: usize, bytes: usize) -> u64 {
    unsafe {
        match bytes {
            1 => *p.add(i) as u64,
            2 => *(p as *const u16).add(i) as u64,
            4 => *(p as *const u32).add(i) as u64,
            _ => *(p as *const u64).add(i),
        }
    }
}

/// Writes element `i`.
///
/// # Safety
/// `p` covers element `i`, aligned.
#[inline(always)]
pub(crate) unsafe fn write_bits(p: *mut u8, i: usize, bytes: usize, bits: u64) {
    unsafe {
        match bytes {
            1 => *p.add(i) = bits as u8,
            2 => *(p as *mut u16).add(i) = bits as u16,
            4 => *(p as *mut u32).add(i) = bits as u32,
            _ => *(p as *mut u64).add(i) = bits,
        }
    }
}
