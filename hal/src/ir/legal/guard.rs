//! Buffers' offsets and bounds: hidden scalars, guards in checked kernels, loops that end.
//!
//! A guard compares before the offset is added, in a width that holds index and length, so nothing wraps into range.
//! Guarded reads outside give 0, writes vanish, atomics are skipped and give 0.

use super::{
    emit::{Emit, Pass, rewrite},
    range::Ranges,
};
use crate::{Result, ir::*};
use std::collections::HashMap;

/// Rounds after which a checked while-loop is left.
const ROUNDS: u32 = 1 << 31;

struct Guard {
    checked: bool,
    ranges: Ranges,
    /// Buffer lengths, comparisons and conjunctions by the value they define, as the author wrote them.
    conditions: HashMap<Value, Op>,
    /// Indices known to lie within a buffer here, because a branch or loop around says so.
    inside: Vec<(Value, ParamId)>,
    offset: Vec<Option<Hidden>>,
    len: Vec<Option<Hidden>>,
}

/// A hidden scalar and the value that holds it, read at the kernel's start when it is used.
#[derive(Clone, Copy)]
struct Hidden {
    param: ParamId,
    value: Option<Value>,
}

/// Adds the hidden scalars and guards every access.
pub(super) fn lower(e: &mut Emit, checked: bool) -> Result<()> {
    let user = e.k.params.len();
    let mut conditions = HashMap::new();
    visit(&e.k.body, &mut |i| {
        if let (Op::BufLen(_) | Op::Compare(..) | Op::Binary(BinaryOp::And, ..), Some(out)) = (&i.op, i.out) {
            conditions.insert(out, i.op.clone());
        }
    });
    let mut g = Guard {
        checked,
        ranges: Ranges::of(&e.k),
        conditions,
        inside: vec![],
        offset: vec![None; user],
        len: vec![None; user],
    };
    let buffers: Vec<ParamId> = e.k.buffers().map(|b| b.0).collect();
    for b in &buffers {
        let param = hidden(e, *b, "_offset", Role::Offset(*b));
        g.offset[b.at()] = Some(Hidden { param, value: None });
    }
    for b in buffers {
        if g.needs_len(&e.k, b) {
            let param = hidden(e, b, "_len", Role::Len(b));
            g.len[b.at()] = Some(Hidden { param, value: None });
        }
    }
    rewrite(e, &mut g)?;
    // The hidden scalars that are used are read once, first.
    let mut body: Block = vec![];
    for h in g.offset.iter().chain(&g.len).flatten() {
        if let Some(v) = h.value {
            body.push(Inst { out: Some(v), op: Op::Scalar(h.param), loc: Loc::default() });
        }
    }
    body.append(&mut e.k.body);
    e.k.body = body;
    Ok(())
}

fn hidden(e: &mut Emit, of: ParamId, suffix: &str, role: Role) -> ParamId {
    let name = e.param_name(&e.k.params[of.at()].name, suffix);
    e.k.params.push(Param { name, kind: ParamKind::Scalar { elem: Elem::Idx, role } });
    ParamId(e.k.params.len() as u32 - 1)
}

impl Guard {
    /// What a condition says about indices when it is true.
    fn learn(&mut self, cond: Value) {
        let mut open = vec![cond];
        while let Some(c) = open.pop() {
            match self.conditions.get(&c) {
                Some(Op::Binary(_, a, b)) if open.len() < 16 => open.extend([*a, *b]),
                Some(Op::Compare(CmpOp::Lt, i, n)) | Some(Op::Compare(CmpOp::Gt, n, i)) => {
                    if let Some(b) = self.buffer_len(*n) {
                        self.inside.push((*i, b));
                    }
                }
                _ => {}
            }
        }
    }

    /// The buffer whose length this value is.
    fn buffer_len(&self, v: Value) -> Option<ParamId> {
        match self.conditions.get(&v) {
            Some(Op::BufLen(b)) => Some(*b),
            _ => None,
        }
    }

    fn needs_len(&self, k: &Kernel, b: ParamId) -> bool {
        let mut any = false;
        visit(&k.body, &mut |i| {
            any |= match &i.op {
                Op::BufLen(p) => *p == b,
                Op::Load { place, .. } | Op::Store { place, .. } | Op::Atomic { place, .. } => {
                    self.checked && *place == Place::Buffer(b)
                }
                Op::FragLoad { place, .. } | Op::FragStore { place, .. } => self.checked && *place == Place::Buffer(b),
                Op::CopyAsync { src, .. } | Op::CopyTile { src, .. } => self.checked && *src == b,
                _ => false,
            }
        });
        any
    }

    fn read(e: &mut Emit, h: &mut Option<Hidden>) -> Value {
        let h = h.as_mut().expect("a hidden scalar was added for every buffer that needs one");
        *h.value.get_or_insert_with(|| e.fresh(Type::IDX))
    }

    /// The condition under which `lanes` elements from `index` lie within the place; `None`: always.
    fn within(&mut self, e: &mut Emit, place: Place, index: Value, lanes: u8) -> Option<Value> {
        if !self.checked || e.trusted.contains(&index) {
            return None;
        }
        match place {
            Place::Buffer(b) if lanes == 1 && self.inside.contains(&(index, b)) => None,
            Place::Buffer(b) => {
                let len = Self::read(e, &mut self.len[b.at()]);
                Some(self.below(e, index, len, lanes))
            }
            Place::Shared(s) => self.below_constant(e, index, e.k.shared[s.at()].len, lanes),
            Place::Private(s) => self.below_constant(e, index, e.k.private[s.at()].len, lanes),
        }
    }

    fn below(&self, e: &mut Emit, index: Value, len: Value, lanes: u8) -> Value {
        let elem = e.elem(index);
        let bits = e.k.elem_bytes(elem) * 8;
        // A 64-bit index against 32-bit lengths is compared in 64 bits.
        let (at, len) = match (bits > e.k.idx_bits as usize, elem) {
            (true, _) => (e.cast(DType::U64, index), e.cast(DType::U64, len)),
            (false, Elem::Idx) => (index, len),
            (false, _) => (e.cast(Elem::Idx, index), len),
        };
        let mut ok = if lanes == 1 {
            e.cmp(CmpOp::Lt, at, len)
        } else {
            let n = e.bits(e.ty(len), lanes as u64);
            let some = e.cmp(CmpOp::Ge, len, n);
            let last = e.sub(len, n);
            let fits = e.cmp(CmpOp::Le, at, last);
            e.bin(BinaryOp::And, some, fits)
        };
        if elem.is_signed() && self.ranges.low(index) < 0 {
            let positive = e.cmp_c(CmpOp::Ge, index, 0);
            ok = e.bin(BinaryOp::And, positive, ok);
        }
        ok
    }

    fn below_constant(&mut self, e: &mut Emit, index: Value, len: u32, lanes: u8) -> Option<Value> {
        let (low, high) = self.ranges.get(&e.k, index);
        if low >= 0 && high <= len as i128 - lanes as i128 {
            return None;
        }
        if len < lanes as u32 {
            return Some(e.bits(Type::BOOL, 0));
        }
        let elem = e.elem(index);
        // Lengths fit 31 bits: a negative index is a large unsigned one.
        let at = match e.k.elem_bytes(elem) {
            8 => e.cast(DType::U64, index),
            _ => e.cast(DType::U32, index),
        };
        Some(e.cmp_c(CmpOp::Le, at, (len - lanes as u32) as u64))
    }

    /// The index that the backend sees: for buffers `idx` with the offset added.
    fn place_index(&mut self, e: &mut Emit, place: Place, index: Value) -> Value {
        match place {
            Place::Buffer(b) => {
                let offset = Self::read(e, &mut self.offset[b.at()]);
                let index = e.cast(Elem::Idx, index);
                e.add(index, offset)
            }
            Place::Shared(_) | Place::Private(_) => index,
        }
    }

    /// Emits `op` with a result of type `ty` where `ok`, else zero.
    fn guarded(&mut self, e: &mut Emit, ok: Value, out: Option<Value>, make: impl FnOnce(&mut Guard, &mut Emit) -> Op) {
        let Some(out) = out else {
            e.begin();
            let op = make(self, e);
            e.effect(op);
            let then = e.end();
            return e.effect(Op::If { cond: ok, then, otherwise: vec![] });
        };
        let ty = e.ty(out);
        let var = e.var("read", ty);
        let zero = e.bits(ty, 0);
        e.effect(Op::Set(var, zero));
        e.begin();
        let op = make(self, e);
        let v = e.op(ty, op);
        e.effect(Op::Set(var, v));
        let then = e.end();
        e.effect(Op::If { cond: ok, then, otherwise: vec![] });
        e.push(Some(out), Op::Get(var));
    }
}

impl Pass for Guard {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let Inst { out, op, loc } = inst;
        match op {
            Op::BufLen(b) => {
                let len = Self::read(e, &mut self.len[b.at()]);
                self.conditions.insert(len, Op::BufLen(b));
                e.result(out, len);
            }
            Op::Load { place, index, aligned } => {
                let lanes = out.map_or(1, |v| e.ty(v).lanes());
                match self.within(e, place, index, lanes) {
                    None => {
                        let index = self.place_index(e, place, index);
                        e.push(out, Op::Load { place, index, aligned });
                    }
                    Some(ok) => self.guarded(e, ok, out, |g, e| {
                        let index = g.place_index(e, place, index);
                        Op::Load { place, index, aligned }
                    }),
                }
            }
            Op::Store { place, index, value, aligned } => {
                let lanes = e.ty(value).lanes();
                match self.within(e, place, index, lanes) {
                    None => {
                        let index = self.place_index(e, place, index);
                        e.effect(Op::Store { place, index, value, aligned });
                    }
                    Some(ok) => self.guarded(e, ok, None, |g, e| {
                        let index = g.place_index(e, place, index);
                        Op::Store { place, index, value, aligned }
                    }),
                }
            }
            Op::Atomic { mut op, place, index, value, compare, scope } => {
                if op == AtomicOp::Store && out.is_some() {
                    op = AtomicOp::Exchange;
                }
                match self.within(e, place, index, 1) {
                    None => {
                        let index = self.place_index(e, place, index);
                        e.push(out, Op::Atomic { op, place, index, value, compare, scope });
                    }
                    Some(ok) => self.guarded(e, ok, out, |g, e| {
                        let index = g.place_index(e, place, index);
                        Op::Atomic { op, place, index, value, compare, scope }
                    }),
                }
            }
            Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned } => {
                let src_index = self.place_index(e, Place::Buffer(src), src_index);
                e.effect(Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned });
            }
            Op::FragLoad { place, index, stride, layout, swizzle, aligned } => {
                let index = self.place_index(e, place, index);
                e.push(out, Op::FragLoad { place, index, stride, layout, swizzle, aligned });
            }
            Op::FragStore { frag, place, index, stride, layout } => {
                let index = self.place_index(e, place, index);
                e.effect(Op::FragStore { frag, place, index, stride, layout });
            }
            Op::If { cond, then, otherwise } => {
                let known = self.inside.len();
                self.learn(cond);
                let then = e.block(then, self)?;
                self.inside.truncate(known);
                let otherwise = e.block(otherwise, self)?;
                e.loc = loc;
                e.effect(Op::If { cond, then, otherwise });
            }
            Op::For { var, start, end, step, body, unroll } => {
                let known = self.inside.len();
                if let Some(b) = self.buffer_len(end) {
                    // Lengths are idx: the variable is, too, and never negative.
                    self.inside.push((var, b));
                }
                let body = e.block(body, self)?;
                self.inside.truncate(known);
                e.loc = loc;
                e.effect(Op::For { var, start, end, step, body, unroll });
            }
            Op::While { head, cond, body } if self.checked => {
                let rounds = e.var("rounds", Type::U32);
                let zero = e.u32(0);
                e.effect(Op::Set(rounds, zero));
                let head = e.block(head, self)?;
                let cond = e.name(cond);
                let mut body = e.block(body, self)?;
                e.loc = loc;
                e.begin();
                let n = e.get(rounds);
                let over = e.cmp_c(CmpOp::Ge, n, ROUNDS as u64);
                e.when(over, |e| e.effect(Op::Break));
                let next = e.bin_c(BinaryOp::Add, n, 1);
                e.effect(Op::Set(rounds, next));
                let mut bounded = e.end();
                bounded.append(&mut body);
                e.effect(Op::While { head, cond, body: bounded });
            }
            op => e.keep(Inst { out, op, loc }, self)?,
        }
        Ok(())
    }
}
