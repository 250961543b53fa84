//! From a legalised kernel to a program: vectors become one register per component, reinterpretations and vector
//! shuffles vanish, what does not change in a loop moves in front of it, what does not change in a launch to the
//! prologue. Registers get their slots afterwards, in `slots`.

use super::{
    ops::{self, Table},
    program::*,
    slots,
    uses::{exits, is_alias, is_pure, operands, weight},
};
use crate::vmath::Level;
use anychip_hal::{
    DType, Error, Result,
    ir::{
        Array, AtomicOp, BinaryOp, Block, Builtin, Elem, Inst as IrInst, Kernel, Loc, Op, ParamKind, Place, Type,
        Value, VarId, visit,
    },
};
use std::collections::HashMap;

/// Where a register's value is known: in the prologue, or inside this many loops.
const PROLOGUE: i32 = -1;

pub(super) struct Lowering<'k> {
    kernel: &'k Kernel,
    table: Table,
    idx: DType,
    regs: Vec<RegInfo>,
    level: Vec<i32>,
    /// Registers of each value's components.
    values: Vec<Vec<Reg>>,
    vars: Vec<Vec<Reg>>,
    /// Operations that read each value.
    uses: Vec<u32>,
    live: Vec<bool>,
    consts: HashMap<(DType, u64), Reg>,
    prologue: Vec<Inst>,
    /// What goes in front of each open loop, outermost first.
    before: Vec<Vec<Node>>,
    buffer_at: Vec<u32>,
    scalar_at: Vec<(u32, u32)>,
    ordered: bool,
    checking: bool,
    sites: u32,
}

/// Compiles a kernel for a vector width. When `checking`, every read of a variable is an instruction of its own.
pub(crate) fn compile(kernel: &Kernel, level: Level, checking: bool) -> Result<Program> {
    let idx = match kernel.idx_bits {
        32 => DType::U32,
        64 => DType::U64,
        other => {
            return Err(Error::invalid(format!(
                "kernel {}: idx has {other} bits; a kernel is legalised to 32 or 64 before it is loaded",
                kernel.name
            )));
        }
    };
    let lanes: u64 = kernel.workgroup.iter().map(|&w| w as u64).product();
    if lanes == 0 || lanes > super::MAX_WORKGROUP as u64 {
        return Err(Error::invalid(format!(
            "kernel {}: a workgroup of {:?} has {lanes} lanes; the CPU takes 1 to {}",
            kernel.name,
            kernel.workgroup,
            super::MAX_WORKGROUP
        )));
    }
    let mut buffer_at = vec![0; kernel.params.len()];
    for (n, (p, ..)) in kernel.buffers().enumerate() {
        buffer_at[p.at()] = n as u32;
    }
    let mut scalar_at = vec![(0, 0); kernel.params.len()];
    let (slots, scalar_bytes) = kernel.scalar_layout();
    for s in slots {
        scalar_at[s.param.at()] = (s.offset, s.bytes);
    }
    let mut low = Lowering {
        kernel,
        table: ops::table(level),
        idx,
        regs: vec![],
        level: vec![],
        values: vec![vec![]; kernel.values.len()],
        vars: vec![],
        uses: vec![0; kernel.values.len()],
        live: vec![false; kernel.values.len()],
        consts: HashMap::new(),
        prologue: vec![],
        before: vec![],
        buffer_at,
        scalar_at,
        ordered: false,
        checking,
        sites: 0,
    };
    low.count_uses();
    let mut vars = Vec::new();
    for var in &kernel.vars {
        let (ty, n) = low.num(var.ty, Loc::default())?;
        // What reads a variable stays where it is: no level is above this one.
        let regs: Vec<Reg> = (0..n).map(|_| low.reg(ty, i32::MAX)).collect();
        vars.extend(regs.iter().map(|&r| (r, var.name.clone())));
        low.vars.push(regs);
    }
    let mut body = low.block(&kernel.body)?;
    let buffers = kernel
        .buffers()
        .map(|(p, elem, access)| BufferInfo { name: kernel.params[p.at()].name.clone(), elem, access })
        .collect();
    let mut at = 0;
    let shared = kernel.shared.iter().map(|a| low.array(a, &mut at, 64)).collect();
    let shared_bytes = at.next_multiple_of(64);
    at = 0;
    let private = kernel.private.iter().map(|a| low.array(a, &mut at, 8)).collect();
    let Lowering { mut regs, prologue, table, ordered, sites, .. } = low;
    let slots::Slots { slots, lane_bytes } = slots::assign(&mut regs, &vars, &prologue, &mut body);
    Ok(Program {
        name: kernel.name.clone(),
        files: kernel.files.clone(),
        workgroup: kernel.workgroup,
        idx,
        table,
        regs,
        slots,
        lane_bytes,
        sites,
        vars,
        weight: weight(&body),
        prologue,
        body,
        buffers,
        shared,
        shared_bytes,
        private,
        private_bytes: at,
        scalar_bytes: scalar_bytes as usize,
        ordered,
    })
}

impl<'k> Lowering<'k> {
    /// Marks what an effect needs, then counts the readers of each value among that.
    fn count_uses(&mut self) {
        let mut def: Vec<Option<&IrInst>> = vec![None; self.kernel.values.len()];
        let mut work = Vec::new();
        visit(&self.kernel.body, &mut |i| {
            if let Some(out) = i.out {
                def[out.at()] = Some(i);
            }
            if !is_pure(&i.op) {
                work.extend(operands(&i.op));
                i.out.iter().for_each(|o| work.push(*o));
            }
        });
        while let Some(v) = work.pop() {
            if !std::mem::replace(&mut self.live[v.at()], true)
                && let Some(i) = def[v.at()]
            {
                work.extend(operands(&i.op));
            }
        }
        let (live, uses) = (&self.live, &mut self.uses);
        visit(&self.kernel.body, &mut |i| {
            if !is_pure(&i.op) || i.out.is_some_and(|o| live[o.at()]) {
                for v in operands(&i.op) {
                    uses[v.at()] += 1;
                }
            }
        });
    }

    pub(super) fn refuse<T>(&self, what: &str, loc: Loc) -> Result<T> {
        let file = self.kernel.files.get(loc.file as usize).map_or("?", |f| f);
        Err(Error::unsupported(
            format!("kernel {} ({file}:{}): {what}", self.kernel.name, loc.line),
            "the CPU machine takes kernels that were legalised for it",
        ))
    }

    fn dtype(&self, e: Elem) -> DType {
        e.dtype().unwrap_or(self.idx)
    }

    fn num(&self, ty: Type, loc: Loc) -> Result<(DType, usize)> {
        match ty {
            Type::Num { elem, lanes } => Ok((self.dtype(elem), lanes as usize)),
            Type::Frag(_) => self.refuse("matrix fragment", loc),
        }
    }

    fn reg(&mut self, ty: DType, level: i32) -> Reg {
        self.regs.push(RegInfo { ty, bytes: ty.size() as u8, slot: u32::MAX });
        self.level.push(level);
        self.regs.len() as Reg - 1
    }

    fn array(&self, a: &Array, at: &mut usize, align: usize) -> ArrayInfo {
        let bytes = self.kernel.elem_bytes(a.elem);
        let offset = at.next_multiple_of(align.max(1));
        *at = offset + bytes * a.len as usize;
        ArrayInfo { name: a.name.clone(), bytes, len: a.len as u64, offset }
    }

    fn constant(&mut self, ty: DType, bits: u64) -> Reg {
        if let Some(&r) = self.consts.get(&(ty, bits)) {
            return r;
        }
        let dst = self.reg(ty, PROLOGUE);
        self.prologue.push(Inst { code: Code::Const { dst, bits }, loc: Loc::default() });
        self.consts.insert((ty, bits), dst);
        dst
    }

    /// Emits a pure instruction where its operands are first all known: the prologue, in front of a loop, or here.
    fn pure(
        &mut self,
        out: &mut Vec<Node>,
        ty: DType,
        reads: &[Reg],
        loc: Loc,
        anchored: bool,
        code: impl FnOnce(Reg) -> Code,
    ) -> Reg {
        let here = self.before.len() as i32;
        let needs = reads.iter().map(|&r| self.level[r as usize]).max().unwrap_or(PROLOGUE);
        let level = if anchored { needs.max(0) } else { needs };
        let dst = self.reg(ty, level.min(here));
        let inst = Inst { code: code(dst), loc };
        if level == PROLOGUE {
            self.prologue.push(inst);
        } else if level < here {
            self.before[level as usize].push(Node::Do(inst));
        } else {
            out.push(Node::Do(inst));
        }
        dst
    }

    /// Loops open here.
    fn here(&self) -> i32 {
        self.before.len() as i32
    }

    fn of(&self, v: Value) -> Vec<Reg> {
        self.values[v.at()].clone()
    }

    fn one(&self, v: Value, loc: Loc) -> Result<Reg> {
        match self.values[v.at()].as_slice() {
            [r] => Ok(*r),
            _ => self.refuse("a scalar is needed here", loc),
        }
    }

    fn target(&self, place: Place, index: Value, loc: Loc) -> Result<Target> {
        let (space, elem) = match place {
            Place::Buffer(p) => match self.kernel.params[p.at()].kind {
                ParamKind::Buffer { elem, .. } => (Space::Buffer(self.buffer_at[p.at()]), elem),
                ParamKind::Scalar { .. } => return self.refuse("access to a scalar parameter", loc),
            },
            Place::Shared(s) => (Space::Shared(s.0), self.dtype(self.kernel.shared[s.at()].elem)),
            Place::Private(s) => (Space::Private(s.0), self.dtype(self.kernel.private[s.at()].elem)),
        };
        let (index_ty, _) = self.num(self.kernel.ty(index), loc)?;
        if !index_ty.is_int() {
            return self.refuse("an index that is no integer", loc);
        }
        Ok(Target { space, elem, size: elem.size(), index: self.one(index, loc)?, index_ty })
    }

    fn block(&mut self, block: &'k Block) -> Result<Vec<Node>> {
        let mut out = Vec::new();
        for (n, inst) in block.iter().enumerate() {
            if is_pure(&inst.op) && !inst.out.is_some_and(|o| self.live[o.at()]) {
                continue;
            }
            let regs = match &inst.op {
                Op::Get(v) => self.get(&mut out, *v, &block[n..], inst.loc)?,
                _ => self.inst(&mut out, inst)?,
            };
            if let Some(o) = inst.out {
                self.values[o.at()] = regs;
            }
        }
        Ok(out)
    }

    /// A variable's own registers when every reader stands before the next write, else a copy.
    fn get(&mut self, out: &mut Vec<Node>, var: VarId, rest: &'k [IrInst], loc: Loc) -> Result<Vec<Reg>> {
        let v = rest[0].out.expect("only a live Get is lowered");
        let mut seen = 0;
        for inst in &rest[1..] {
            if is_pure(&inst.op) && !inst.out.is_some_and(|o| self.live[o.at()]) {
                continue;
            }
            let direct = operands(&inst.op).iter().filter(|&&o| o == v).count() as u32;
            if direct > 0 && is_alias(&inst.op) {
                break;
            }
            let mut sets = matches!(inst.op, Op::Set(to, _) if to == var);
            let mut inside = 0;
            for b in inst.op.blocks() {
                visit(b, &mut |i| {
                    sets |= matches!(i.op, Op::Set(to, _) if to == var);
                    // A use inside may be an alias that lives on; count only when none is.
                    let uses = operands(&i.op).iter().filter(|&&o| o == v).count() as u32;
                    inside += if is_alias(&i.op) { 0 } else { uses };
                });
            }
            let set_here = matches!(inst.op, Op::Set(..));
            if sets && !set_here {
                break;
            }
            seen += direct + inside;
            if sets {
                break;
            }
        }
        let regs = self.vars[var.at()].clone();
        if seen == self.uses[v.at()] && !self.checking {
            return Ok(regs);
        }
        let level = self.here();
        Ok(regs
            .into_iter()
            .map(|var| {
                let dst = self.reg(self.regs[var as usize].ty, level);
                out.push(Node::Do(Inst { code: Code::Get { dst, var }, loc }));
                dst
            })
            .collect())
    }

    fn inst(&mut self, out: &mut Vec<Node>, inst: &'k IrInst) -> Result<Vec<Reg>> {
        let (k, loc, table) = (self.kernel, inst.loc, self.table);
        let (ty, lanes) = match inst.out {
            Some(o) => self.num(k.ty(o), loc)?,
            None => (DType::U32, 0),
        };
        Ok(match &inst.op {
            Op::Const(bits) => vec![self.constant(ty, *bits); lanes],
            Op::Scalar(p) => {
                let (offset, bytes) = self.scalar_at[p.at()];
                vec![self.pure(out, ty, &[], loc, false, |dst| Code::Scalar { dst, offset, bytes })]
            }
            Op::BufLen(p) => {
                let buffer = self.buffer_at[p.at()];
                vec![self.pure(out, ty, &[], loc, false, |dst| Code::BufLen { dst, buffer })]
            }
            Op::Builtin(b) => vec![self.builtin(out, *b, ty, loc)?],
            Op::Unary(op, a) => {
                let (aty, _) = self.num(k.ty(*a), loc)?;
                self.check_unary(*op, aty, loc)?;
                if aty == DType::Bool {
                    let (one, f) = (self.constant(DType::Bool, 1), (table.binary)(DType::U8));
                    return Ok(self
                        .of(*a)
                        .into_iter()
                        .map(|a| {
                            self.pure(out, ty, &[a], loc, false, |dst| Code::Binary {
                                f,
                                op: BinaryOp::Xor,
                                ty: DType::Bool,
                                dst,
                                a,
                                b: one,
                            })
                        })
                        .collect());
                }
                let (op, f) = (*op, (table.unary)(aty));
                let of = self.of(*a);
                of.into_iter()
                    .map(|a| self.pure(out, ty, &[a], loc, false, |dst| Code::Unary { f, op, dst, a }))
                    .collect()
            }
            Op::Binary(op, a, b) => {
                self.check_binary(*op, ty, loc)?;
                let (op, f) = (*op, (table.binary)(ty));
                self.of(*a)
                    .into_iter()
                    .zip(self.of(*b))
                    .map(|(a, b)| self.pure(out, ty, &[a, b], loc, false, |dst| Code::Binary { f, op, ty, dst, a, b }))
                    .collect()
            }
            Op::Compare(op, a, b) => {
                let (aty, _) = self.num(k.ty(*a), loc)?;
                self.check_computes(aty, loc)?;
                let (op, f) = (*op, (table.compare)(aty));
                self.of(*a)
                    .into_iter()
                    .zip(self.of(*b))
                    .map(|(a, b)| {
                        self.pure(out, ty, &[a, b], loc, false, |dst| Code::Compare { f, op, ty: aty, dst, a, b })
                    })
                    .collect()
            }
            Op::MulAdd(a, b, c) | Op::Fma(a, b, c) => {
                self.check_computes(ty, loc)?;
                let f = if matches!(inst.op, Op::Fma(..)) { (table.fma)(ty) } else { (table.mul_add)(ty) };
                let (a, b, c) = (self.of(*a), self.of(*b), self.of(*c));
                (0..lanes)
                    .map(|i| {
                        let (a, b, c) = (a[i], b[i], c[i]);
                        self.pure(out, ty, &[a, b, c], loc, false, |dst| Code::MulAdd { f, ty, dst, a, b, c })
                    })
                    .collect()
            }
            Op::Select(cond, a, b) => {
                let f = (table.select)(ty.size());
                let (cond, a, b) = (self.of(*cond), self.of(*a), self.of(*b));
                (0..lanes)
                    .map(|i| {
                        let (cond, a, b) = (cond[i.min(cond.len() - 1)], a[i], b[i]);
                        self.pure(out, ty, &[cond, a, b], loc, false, |dst| Code::Select { f, dst, cond, a, b })
                    })
                    .collect()
            }
            Op::Cast(a) | Op::Bitcast(a) => {
                let (from, _) = self.num(k.ty(*a), loc)?;
                let bits = matches!(inst.op, Op::Bitcast(_));
                self.of(*a).into_iter().map(|a| self.cast(out, from, ty, a, bits, loc)).collect::<Result<_>>()?
            }
            Op::Dot4 { a, b, acc, a_signed, b_signed } => {
                let (a_signed, b_signed) = (*a_signed, *b_signed);
                let (a, b, acc) = (self.of(*a), self.of(*b), self.of(*acc));
                (0..lanes)
                    .map(|i| {
                        let (a, b, acc) = (a[i], b[i], acc[i]);
                        self.pure(out, ty, &[a, b, acc], loc, false, |dst| Code::Dot4 {
                            dst,
                            a,
                            b,
                            acc,
                            a_signed,
                            b_signed,
                        })
                    })
                    .collect()
            }
            Op::Unpack { word, index, bits, signed } => {
                let (bits, signed) = (*bits, *signed);
                if !matches!(bits, 1 | 2 | 4) {
                    return self.refuse("unpacking of other than 1, 2 or 4 bits", loc);
                }
                let (word, index) = (self.one(*word, loc)?, self.one(*index, loc)?);
                vec![self.pure(out, ty, &[word, index], loc, false, |dst| Code::Unpack {
                    dst,
                    word,
                    index,
                    bits,
                    signed,
                })]
            }
            Op::Vector(of) => of.iter().map(|v| self.one(*v, loc)).collect::<Result<_>>()?,
            Op::Splat(a) => vec![self.one(*a, loc)?; lanes],
            Op::Extract(a, lane) => match self.values[a.at()].get(*lane as usize) {
                Some(r) => vec![*r],
                None => return self.refuse("a lane past the vector's end", loc),
            },
            Op::AssumeMultiple(a, _) => self.of(*a),
            Op::Load { place, index, .. } => {
                let at = self.target(*place, *index, loc)?;
                let level = self.here();
                let dst: Vec<Reg> = (0..lanes).map(|_| self.reg(ty, level)).collect();
                let code = Code::Load { at, dst: dst.clone().into(), site: self.sites, held: false };
                self.sites += 1;
                out.push(Node::Do(Inst { code, loc }));
                dst
            }
            Op::Store { place, index, value, .. } => {
                let at = self.target(*place, *index, loc)?;
                out.push(Node::Do(Inst { code: Code::Store { at, src: self.of(*value).into() }, loc }));
                vec![]
            }
            Op::Get(_) => return self.refuse("a variable read out of order", loc),
            Op::Set(var, a) => {
                for (var, a) in self.vars[var.at()].clone().into_iter().zip(self.of(*a)) {
                    out.push(Node::Do(Inst { code: Code::Set { var, a, dying: false }, loc }));
                }
                vec![]
            }
            Op::Atomic { op, place, index, value, compare, .. } => {
                let at = self.target(*place, *index, loc)?;
                if !matches!(at.elem, DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64)
                    || matches!(at.space, Space::Private(_))
                {
                    return self.refuse(&format!("atomic on {} in this place", at.elem), loc);
                }
                let used = inst.out.is_some_and(|o| self.uses[o.at()] > 0);
                let commutes = !at.elem.is_float()
                    && matches!(
                        op,
                        AtomicOp::Add | AtomicOp::Min | AtomicOp::Max | AtomicOp::And | AtomicOp::Or | AtomicOp::Xor
                    );
                if matches!(at.space, Space::Buffer(_)) && *op != AtomicOp::Load && (used || !commutes) {
                    self.ordered = true;
                }
                let level = self.here();
                let dst = inst.out.map(|_| self.reg(ty, level));
                let value = self.one(*value, loc)?;
                let compare = compare.map(|c| self.one(c, loc)).transpose()?;
                out.push(Node::Do(Inst { code: Code::Atomic { at, op: *op, dst, value, compare }, loc }));
                dst.into_iter().collect()
            }
            Op::If { cond, then, otherwise } => {
                let cond = self.one(*cond, loc)?;
                let (then, otherwise) = (self.block(then)?, self.block(otherwise)?);
                let exits = exits(&then) || exits(&otherwise);
                out.push(Node::If { cond, then, otherwise, exits });
                vec![]
            }
            Op::For { var, start, end, step, body, .. } => {
                let (ty, _) = self.num(k.ty(*start), loc)?;
                if !ty.is_int() {
                    return self.refuse("a loop over other than integers", loc);
                }
                let (start, end, step) = (self.one(*start, loc)?, self.one(*end, loc)?, self.one(*step, loc)?);
                self.before.push(vec![]);
                let level = self.here();
                let reg = self.reg(ty, level);
                self.values[var.at()] = vec![reg];
                let body = self.block(body);
                out.extend(self.before.pop().unwrap_or_default());
                out.push(Node::For { var: reg, ty, start, end, step, body: body? });
                vec![]
            }
            Op::While { head, cond, body } => {
                self.before.push(vec![]);
                let head = self.block(head);
                let cond = self.one(*cond, loc);
                let body = self.block(body);
                out.extend(self.before.pop().unwrap_or_default());
                out.push(Node::While { head: head?, cond: cond?, body: body? });
                vec![]
            }
            Op::Break => {
                out.push(Node::Break);
                vec![]
            }
            Op::Continue => {
                out.push(Node::Continue);
                vec![]
            }
            Op::Return => {
                out.push(Node::Return);
                vec![]
            }
            Op::Barrier(_) => {
                out.push(Node::Do(Inst { code: Code::Barrier, loc }));
                vec![]
            }
            Op::GroupReduce(op, a) => {
                self.check_reduce(*op, ty, loc)?;
                let (level, op, f) = (self.here(), *op, (table.reduce)(ty));
                self.of(*a)
                    .into_iter()
                    .map(|a| {
                        let dst = self.reg(ty, level);
                        out.push(Node::Do(Inst { code: Code::GroupReduce { f, op, ty, dst, a }, loc }));
                        dst
                    })
                    .collect()
            }
            Op::CopyCommit | Op::CopyWait(_) => vec![],
            Op::Subgroup { .. } => return self.refuse("subgroup operation", loc),
            Op::CopyAsync { .. } | Op::CopyTile { .. } | Op::TileCommit { .. } | Op::TileWait { .. } => {
                return self.refuse("asynchronous copy", loc);
            }
            Op::FragFill(_)
            | Op::FragLoad { .. }
            | Op::FragMma { .. }
            | Op::FragStore { .. }
            | Op::FragEach { .. }
            | Op::FragRows(..)
            | Op::FragMap { .. } => {
                return self.refuse("matrix fragment", loc);
            }
        })
    }

    fn builtin(&mut self, out: &mut Vec<Node>, b: Builtin, ty: DType, loc: Loc) -> Result<Reg> {
        let dim = match b {
            Builtin::GroupId(d)
            | Builtin::NumGroups(d)
            | Builtin::LocalId(d)
            | Builtin::LocalSize(d)
            | Builtin::GlobalId(d) => d,
            Builtin::SubgroupSize | Builtin::SubgroupLane | Builtin::SubgroupId => {
                return self.refuse("subgroup number", loc);
            }
        };
        if dim > 2 {
            return self.refuse("a dimension above 2", loc);
        }
        Ok(match b {
            Builtin::LocalSize(_) => self.constant(ty, self.kernel.workgroup[dim as usize] as u64),
            Builtin::GroupId(_) => self.pure(out, ty, &[], loc, true, |dst| Code::GroupId { dst, dim }),
            Builtin::GlobalId(_) => self.pure(out, ty, &[], loc, true, |dst| Code::GlobalId { dst, dim }),
            Builtin::NumGroups(_) => self.pure(out, ty, &[], loc, false, |dst| Code::NumGroups { dst, dim }),
            _ => self.pure(out, ty, &[], loc, false, |dst| Code::LocalId { dst, dim }),
        })
    }

    fn cast(&mut self, out: &mut Vec<Node>, from: DType, to: DType, a: Reg, bits: bool, loc: Loc) -> Result<Reg> {
        let same_size = from.size() == to.size();
        if bits && !same_size {
            return self.refuse(&format!("reinterpreting {from} as {to}, which has another size"), loc);
        }
        // Bits that stay as they are need no instruction; a byte that becomes a bool is made 0 or 1.
        if from == to || (same_size && to != DType::Bool && (bits || (from.is_int() && to.is_int()))) {
            return Ok(a);
        }
        let from = if bits && to == DType::Bool { DType::U8 } else { from };
        if let Some(f) = (self.table.cast)(from, to) {
            return Ok(self.pure(out, to, &[a], loc, false, |dst| Code::Cast { f, from, to, dst, a }));
        }
        for through in [DType::F32, DType::F64] {
            // Narrow floats widen exactly to f32; into them, f64 holds every number that matters exactly.
            if (through == DType::F32) == from.is_float()
                && let (Some(f), Some(g)) = ((self.table.cast)(from, through), (self.table.cast)(through, to))
            {
                let mid = self.pure(out, through, &[a], loc, false, |dst| Code::Cast { f, from, to: through, dst, a });
                return Ok(self.pure(out, to, &[mid], loc, false, |dst| Code::Cast {
                    f: g,
                    from: through,
                    to,
                    dst,
                    a: mid,
                }));
            }
        }
        self.refuse(&format!("conversion from {from} to {to}"), loc)
    }
}
