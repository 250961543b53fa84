//! Barriers and subgroup operations.

use super::{Parts, Renderer, Shape, asm::id};
use crate::{DType, Result, ir::*};
use rspirv::{
    dr::Operand,
    spirv::{Capability, GroupOperation, MemorySemantics as M, Op as S, Scope as Span, Word},
};

impl Renderer<'_> {
    pub(super) fn barrier(&mut self, scope: Scope) -> Result<()> {
        let span = if scope == Scope::Subgroup { Span::Subgroup } else { Span::Workgroup };
        let span = self.asm.u32(span as u32);
        let order = self.asm.u32((M::ACQUIRE_RELEASE | M::UNIFORM_MEMORY | M::WORKGROUP_MEMORY).bits());
        self.asm.effect(S::ControlBarrier, vec![id(span), id(span), id(order)])
    }

    pub(super) fn subgroup(&mut self, op: SubgroupOp, value: Value, lane: Option<Value>) -> Result<Parts> {
        if !self.t.subgroup {
            return Err(self.unsupported("the device has no subgroups: they must be lowered by the legaliser"));
        }
        let s = self.shape_of(value)?;
        // A lane that is a constant is broadcast, which most drivers do at once; a shuffle may visit every lane.
        let constant = lane.is_some_and(|l| self.constants.contains(&l)) && self.t.subgroup_ballot;
        let fixed = constant && !(self.t.shuffle_at_once && self.t.subgroup_shuffle && s.d.size() == 4);
        let lane = lane.map(|l| self.one(l)).transpose()?;
        let mut parts = vec![];
        if s.d.size() == 8 && s.d.is_int() && !self.t.subgroup_extended {
            for x in self.v(value) {
                parts.push(self.subgroup_by_words(op, s, x, lane, fixed)?);
            }
            return Ok(parts);
        }
        let wide = self.wide(s);
        let two = fixed && s.d.size() == 4 && s.lanes.is_multiple_of(2) && self.t.broadcast_pairs;
        if two && matches!(op, SubgroupOp::Broadcast | SubgroupOp::Shuffle) {
            let pairs = Shape { d: DType::U64, lanes: s.lanes / 2, ..s };
            let (own, paired) = (self.word(s)?, self.word(pairs)?);
            for x in self.v(value) {
                let x = self.asm.of(S::Bitcast, paired, &[x])?;
                let y = self.subgroup_part(op, pairs, x, lane, fixed)?;
                parts.push(self.asm.of(S::Bitcast, own, &[y])?);
            }
            return Ok(parts);
        }
        for x in self.v(value) {
            let x = self.convert(s, wide, x, false)?;
            let y = self.subgroup_part(op, wide, x, lane, fixed)?;
            parts.push(self.convert(wide, s, y, false)?);
        }
        Ok(parts)
    }

    /// The type in which a subgroup works on values: narrow ones need a property of their own.
    fn wide(&self, s: Shape) -> Shape {
        let d = match s.d {
            d if self.t.subgroup_extended => d,
            DType::I8 | DType::I16 => DType::I32,
            DType::U8 | DType::U16 => DType::U32,
            DType::F16 | DType::BF16 => DType::F32,
            d => d,
        };
        Shape { d, ..s }
    }

    /// 64-bit integers where subgroups take 32 bits: moves and bits word by word, sums by halves of words, which do not overflow.
    fn subgroup_by_words(
        &mut self,
        op: SubgroupOp,
        s: Shape,
        x: Word,
        lane: Option<Word>,
        fixed: bool,
    ) -> Result<Word> {
        let (long, short) = (Shape { d: DType::U64, ..s }, Shape { d: DType::U32, ..s });
        let (ty, word) = (self.word(long)?, self.word(short)?);
        let bits = self.number(long, 32)?;
        let upper = self.asm.of(S::ShiftRightLogical, ty, &[x, bits])?;
        let words = [self.convert(long, short, x, false)?, self.convert(long, short, upper, false)?];
        let mut all: Option<Word> = None;
        let mut place = |r: &mut Self, y: Word, at: u64| -> Result<()> {
            let y = r.convert(short, long, y, false)?;
            let at = r.number(long, at)?;
            let y = r.asm.of(S::ShiftLeftLogical, ty, &[y, at])?;
            all = Some(match all {
                Some(sum) => r.asm.of(S::IAdd, ty, &[sum, y])?,
                None => y,
            });
            Ok(())
        };
        for (n, x) in words.into_iter().enumerate() {
            let at = 32 * n as u64;
            match op {
                SubgroupOp::Reduce(ReduceOp::Sum) => {
                    let (half, mask) = (self.number(short, 16)?, self.number(short, 0xffff)?);
                    let low = self.asm.of(S::BitwiseAnd, word, &[x, mask])?;
                    let high = self.asm.of(S::ShiftRightLogical, word, &[x, half])?;
                    for (part, at) in [(low, at), (high, at + 16)] {
                        let y = self.subgroup_part(op, short, part, lane, fixed)?;
                        place(self, y, at)?;
                    }
                }
                SubgroupOp::Reduce(ReduceOp::Prod | ReduceOp::Min | ReduceOp::Max) | SubgroupOp::ScanAdd => {
                    return Err(self.unsupported(format!("the device's subgroups do not take {} for {op:?}", s.d)));
                }
                SubgroupOp::Reduce(ReduceOp::And | ReduceOp::Or | ReduceOp::Xor)
                | SubgroupOp::Shuffle
                | SubgroupOp::ShuffleXor
                | SubgroupOp::ShuffleDown
                | SubgroupOp::ShuffleUp
                | SubgroupOp::Broadcast => {
                    let y = self.subgroup_part(op, short, x, lane, fixed)?;
                    place(self, y, at)?;
                }
            }
        }
        all.ok_or_else(|| self.unsupported("a 64-bit integer without words"))
    }

    fn subgroup_part(&mut self, op: SubgroupOp, s: Shape, x: Word, lane: Option<Word>, fixed: bool) -> Result<Word> {
        let ty = self.word(s)?;
        let span = self.asm.u32(Span::Subgroup as u32);
        let (needs, has) = match op {
            SubgroupOp::Reduce(_) | SubgroupOp::ScanAdd => {
                (Capability::GroupNonUniformArithmetic, self.t.subgroup_arithmetic)
            }
            SubgroupOp::Shuffle | SubgroupOp::Broadcast if fixed => (Capability::GroupNonUniformBallot, true),
            SubgroupOp::Shuffle | SubgroupOp::ShuffleXor | SubgroupOp::Broadcast => {
                (Capability::GroupNonUniformShuffle, self.t.subgroup_shuffle)
            }
            SubgroupOp::ShuffleDown | SubgroupOp::ShuffleUp => {
                (Capability::GroupNonUniformShuffleRelative, self.t.subgroup_shuffle_relative)
            }
        };
        if !has {
            return Err(self.unsupported(format!("the device's subgroups have no {op:?}")));
        }
        self.asm.capability(needs);
        let shuffle = match op {
            SubgroupOp::Reduce(r) => return self.reduce(s, ty, span, r, GroupOperation::Reduce, x),
            SubgroupOp::ScanAdd => return self.reduce(s, ty, span, ReduceOp::Sum, GroupOperation::ExclusiveScan, x),
            // A broadcast takes constants only before SPIR-V 1.5.
            SubgroupOp::Shuffle | SubgroupOp::Broadcast if fixed => S::GroupNonUniformBroadcast,
            SubgroupOp::Shuffle | SubgroupOp::Broadcast => S::GroupNonUniformShuffle,
            SubgroupOp::ShuffleXor => S::GroupNonUniformShuffleXor,
            SubgroupOp::ShuffleDown => S::GroupNonUniformShuffleDown,
            SubgroupOp::ShuffleUp => S::GroupNonUniformShuffleUp,
        };
        let Some(lane) = lane else { return Err(self.unsupported(format!("{op:?} without a lane"))) };
        self.asm.of(shuffle, ty, &[span, x, lane])
    }

    fn reduce(&mut self, s: Shape, ty: Word, span: Word, op: ReduceOp, how: GroupOperation, x: Word) -> Result<Word> {
        let kind = match (s.d == DType::Bool, s.d.is_float(), s.d.is_signed()) {
            (true, ..) => 3,
            (_, true, _) => 0,
            (_, _, true) => 1,
            _ => 2,
        };
        // By kind: float, signed, unsigned, bool.
        let inst = match op {
            ReduceOp::Sum => [S::GroupNonUniformFAdd, S::GroupNonUniformIAdd, S::GroupNonUniformIAdd, S::Nop],
            ReduceOp::Prod => [S::GroupNonUniformFMul, S::GroupNonUniformIMul, S::GroupNonUniformIMul, S::Nop],
            ReduceOp::Min => {
                [S::GroupNonUniformFMin, S::GroupNonUniformSMin, S::GroupNonUniformUMin, S::GroupNonUniformLogicalAnd]
            }
            ReduceOp::Max => {
                [S::GroupNonUniformFMax, S::GroupNonUniformSMax, S::GroupNonUniformUMax, S::GroupNonUniformLogicalOr]
            }
            ReduceOp::And => {
                [S::Nop, S::GroupNonUniformBitwiseAnd, S::GroupNonUniformBitwiseAnd, S::GroupNonUniformLogicalAnd]
            }
            ReduceOp::Or => {
                [S::Nop, S::GroupNonUniformBitwiseOr, S::GroupNonUniformBitwiseOr, S::GroupNonUniformLogicalOr]
            }
            ReduceOp::Xor => {
                [S::Nop, S::GroupNonUniformBitwiseXor, S::GroupNonUniformBitwiseXor, S::GroupNonUniformLogicalXor]
            }
        }[kind];
        if inst == S::Nop {
            return Err(self.unsupported(format!("{op:?} of {}", s.d)));
        }
        let whole = |r: &mut Self, inst: S, ty: Word, x: Word| {
            r.asm.op(inst, ty, vec![Operand::IdScope(span), Operand::GroupOperation(how), id(x)])
        };
        let y = whole(self, inst, ty, x)?;
        if !s.d.is_float() || !matches!(op, ReduceOp::Min | ReduceOp::Max) {
            return Ok(y);
        }
        // The instructions drop a NaN: any lane's makes the result one.
        let code = Shape { d: if s.d == DType::F16 { DType::F32 } else { s.d }, ..s };
        let nan = self.is_nan(s, x)?;
        let u32 = Shape { d: DType::U32, ..s };
        let count = self.bool_code(Shape { d: DType::Bool, ..s }, u32, nan)?;
        let word = self.word(u32)?;
        let any = whole(self, S::GroupNonUniformUMax, word, count)?;
        let (mask, zero) = (self.mask(s), self.number(u32, 0)?);
        let any = self.asm.of(S::INotEqual, mask, &[any, zero])?;
        let nan = self.float(code, f64::NAN)?;
        let nan = self.convert(code, s, nan, false)?;
        self.asm.of(S::Select, ty, &[any, nan, y])
    }
}
