//! Statements, branches and loops. Each construct makes its own merge block; what follows a jump is not written, and the
//! merge block of a construct that never ends there is unreachable.

use super::{Renderer, Shape};
use crate::{Result, ir::*};
use rspirv::spirv::{LoopControl, Op as S, Word};

impl Renderer<'_> {
    pub(super) fn block(&mut self, block: &Block) -> Result<()> {
        for inst in block {
            if self.asm.closed() {
                return Ok(());
            }
            self.inst(inst)?;
        }
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Result<()> {
        match &inst.op {
            Op::Load { place, index, aligned } => {
                let Some(out) = inst.out else { return Ok(()) };
                self.values[out.at()] = self.load(*place, *index, self.k.ty(out), *aligned)?;
            }
            Op::Store { place, index, value, aligned } => self.store(*place, *index, *value, *aligned)?,
            Op::Get(v) => {
                let Some(out) = inst.out else { return Ok(()) };
                let ty = match self.k.ty(out) {
                    Type::Frag(f) => self.fragment(f)?,
                    ty => {
                        let s = self.shape(ty)?;
                        self.word(s)?
                    }
                };
                let mut parts = vec![];
                for var in self.vars[v.at()].clone() {
                    parts.push(self.asm.load(ty, var)?);
                }
                self.values[out.at()] = parts;
            }
            Op::Set(v, to) => {
                for (var, x) in self.vars[v.at()].clone().into_iter().zip(self.v(*to)) {
                    self.asm.store(var, x)?;
                }
            }
            Op::Atomic { op: AtomicOp::Store, place, index, value, scope, .. } if inst.out.is_none() => {
                self.atomic_store(*place, *index, *value, *scope)?;
            }
            Op::Atomic { op, place, index, value, compare, scope } => {
                let old = self.atomic(*op, *place, *index, *value, *compare, *scope)?;
                if let Some(out) = inst.out {
                    self.values[out.at()] = vec![old];
                }
            }
            Op::If { cond, then, otherwise } => self.choose(*cond, then, otherwise)?,
            Op::For { var, start, end, step, body, unroll } => self.count(*var, *start, *end, *step, body, *unroll)?,
            Op::While { head, cond, body } => self.repeat(head, *cond, body)?,
            Op::Break | Op::Continue => {
                let Some((end, next)) = self.loops.last().copied() else {
                    return Err(self.unsupported("break or continue outside a loop"));
                };
                self.asm.branch(if matches!(inst.op, Op::Break) { end } else { next })?;
            }
            Op::Return => self.asm.ret()?,
            Op::Barrier(scope) => self.barrier(*scope)?,
            Op::Subgroup { op, value, lane } => {
                let parts = self.subgroup(*op, *value, *lane)?;
                if let Some(out) = inst.out {
                    self.values[out.at()] = parts;
                }
            }
            Op::FragFill(_)
            | Op::FragLoad { .. }
            | Op::FragMma { .. }
            | Op::FragStore { .. }
            | Op::FragEach { .. }
            | Op::FragRows(..)
            | Op::FragMap { .. } => {
                self.matrix(inst)?;
            }
            op => {
                let Some(out) = inst.out else {
                    let name = format!("{op:?}");
                    let name = name.split([' ', '(']).next().unwrap_or("?");
                    return Err(self.unsupported(format!("{name} must be lowered by the legaliser")));
                };
                self.values[out.at()] = self.expression(op, out, self.k.ty(out))?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, cond: Value, then: &Block, otherwise: &Block) -> Result<()> {
        let cond = self.one(cond)?;
        let (yes, no, end) = (self.asm.label(), self.asm.label(), self.asm.label());
        let no = if otherwise.is_empty() { end } else { no };
        self.asm.selection_merge(end)?;
        self.asm.branch_if(cond, yes, no)?;
        self.asm.place(yes)?;
        self.block(then)?;
        let mut reached = no == end || !self.asm.closed();
        self.asm.branch(end)?;
        if no != end {
            self.asm.place(no)?;
            self.block(otherwise)?;
            reached |= !self.asm.closed();
            self.asm.branch(end)?;
        }
        self.asm.place(end)?;
        if reached { Ok(()) } else { self.asm.unreachable() }
    }

    /// `head` gives the condition and stands in the loop's first block; `next` is run before the next round.
    fn looped(
        &mut self,
        control: LoopControl,
        head: impl FnOnce(&mut Self) -> Result<Word>,
        body: &Block,
        next: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let [begin, test, inside, again, end] = std::array::from_fn(|_| self.asm.label());
        self.asm.branch(begin)?;
        self.asm.place(begin)?;
        self.asm.loop_merge(end, again, control)?;
        self.asm.branch(test)?;
        self.asm.place(test)?;
        self.loops.push((end, again));
        let cond = head(self)?;
        self.asm.selection_merge(inside)?;
        self.asm.branch_if(cond, inside, end)?;
        self.asm.place(inside)?;
        self.block(body)?;
        self.loops.pop();
        self.asm.branch(again)?;
        self.asm.place(again)?;
        next(self)?;
        self.asm.branch(begin)?;
        self.asm.place(end)
    }

    fn repeat(&mut self, head: &Block, cond: Value, body: &Block) -> Result<()> {
        let test = |r: &mut Self| {
            r.block(head)?;
            r.one(cond)
        };
        self.looped(LoopControl::NONE, test, body, |_| Ok(()))
    }

    fn count(&mut self, var: Value, start: Value, end: Value, step: Value, body: &Block, unroll: Unroll) -> Result<()> {
        let s = self.shape_of(var)?;
        let ty = self.word(s)?;
        let (start, end, step) = (self.one(start)?, self.one(end)?, self.one(step)?);
        let place = self.asm.local(ty);
        self.asm.store(place, start)?;
        let bool = self.asm.bool();
        let (less, most) = if s.d.is_signed() { (S::SLessThan, 1) } else { (S::ULessThan, 0) };
        let control = match unroll {
            Unroll::Full | Unroll::By(_) => LoopControl::UNROLL,
            Unroll::Never => LoopControl::DONT_UNROLL,
            Unroll::Auto => LoopControl::NONE,
        };
        let head = |r: &mut Self| {
            let i = r.asm.load(ty, place)?;
            r.values[var.at()] = vec![i];
            r.asm.of(less, bool, &[i, end])
        };
        let next = |r: &mut Self| {
            let i = r.asm.load(ty, place)?;
            let by = r.at_least_one(s, step, most == 1)?;
            // Past the end may be past the last number of the type: stop at the end. Within the loop i < end, so that the
            // distance is a number of the unsigned type.
            let left = r.asm.of(S::ISub, ty, &[end, i])?;
            let fits = r.asm.of(S::UGreaterThan, bool, &[left, by])?;
            let sum = r.asm.of(S::IAdd, ty, &[i, by])?;
            let i = r.asm.of(S::Select, ty, &[fits, sum, end])?;
            r.asm.store(place, i)
        };
        self.looped(control, head, body, next)
    }

    /// A step of 0 is taken as 1.
    fn at_least_one(&mut self, s: Shape, step: Word, signed: bool) -> Result<Word> {
        let one = self.number(s, 1)?;
        if step == one {
            return Ok(one);
        }
        let (ty, bool) = (self.word(s)?, self.asm.bool());
        let less = self.asm.of(if signed { S::SLessThan } else { S::ULessThan }, bool, &[step, one])?;
        self.asm.of(S::Select, ty, &[less, one, step])
    }
}
