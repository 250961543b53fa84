//! Integers and bools: arithmetic that wraps, division that is defined everywhere, counting of bits.

use super::{Renderer, Shape};
use crate::{DType, Result, ir::*};
use rspirv::spirv::{GlslStd450Op as GLOp, Op as S, Word};

impl Renderer<'_> {
    pub(super) fn integer(&mut self, op: BinaryOp, s: Shape, x: Word, y: Word) -> Result<Word> {
        let ty = self.word(s)?;
        let signed = s.d.is_signed();
        if s.d == DType::Bool {
            let op = match op {
                BinaryOp::And | BinaryOp::Mul | BinaryOp::Min => S::LogicalAnd,
                BinaryOp::Or | BinaryOp::Max => S::LogicalOr,
                BinaryOp::Xor => S::LogicalNotEqual,
                _ => return Err(self.unsupported(format!("{op:?} of bool"))),
            };
            return self.asm.of(op, ty, &[x, y]);
        }
        match op {
            BinaryOp::Add => self.asm.of(S::IAdd, ty, &[x, y]),
            BinaryOp::Sub => self.asm.of(S::ISub, ty, &[x, y]),
            BinaryOp::Mul => self.asm.of(S::IMul, ty, &[x, y]),
            BinaryOp::Div => self.divide(s, x, y, false),
            BinaryOp::Rem => self.divide(s, x, y, true),
            BinaryOp::Min | BinaryOp::Max => {
                let less = match (op == BinaryOp::Min, signed) {
                    (true, true) => S::SLessThan,
                    (true, false) => S::ULessThan,
                    (false, true) => S::SGreaterThan,
                    (false, false) => S::UGreaterThan,
                };
                let mask = self.mask(s);
                let first = self.asm.of(less, mask, &[x, y])?;
                self.asm.of(S::Select, ty, &[first, x, y])
            }
            BinaryOp::And => self.asm.of(S::BitwiseAnd, ty, &[x, y]),
            BinaryOp::Or => self.asm.of(S::BitwiseOr, ty, &[x, y]),
            BinaryOp::Xor => self.asm.of(S::BitwiseXor, ty, &[x, y]),
            BinaryOp::Shl | BinaryOp::Shr => {
                let width = self.number(s, 8 * s.d.size() as u64 - 1)?;
                let by = self.asm.of(S::BitwiseAnd, ty, &[y, width])?;
                let op = match (op, signed) {
                    (BinaryOp::Shl, _) => S::ShiftLeftLogical,
                    (_, true) => S::ShiftRightArithmetic,
                    (_, false) => S::ShiftRightLogical,
                };
                self.asm.of(op, ty, &[x, by])
            }
            BinaryOp::Pow => Err(self.unsupported("pow of integers")),
        }
    }

    /// `x / 0 = 0`, `x % 0 = 0`, `MIN / -1 = MIN`, `MIN % -1 = 0`.
    fn divide(&mut self, s: Shape, x: Word, y: Word, rem: bool) -> Result<Word> {
        let (ty, mask) = (self.word(s)?, self.mask(s));
        let (zero, one) = (self.number(s, 0)?, self.number(s, 1)?);
        let by_zero = self.asm.of(S::IEqual, mask, &[y, zero])?;
        let mut bad = by_zero;
        if s.d.is_signed() {
            let least = self.number(s, 1 << (8 * s.d.size() - 1))?;
            let minus = self.number(s, u64::MAX)?;
            let is_least = self.asm.of(S::IEqual, mask, &[x, least])?;
            let is_minus = self.asm.of(S::IEqual, mask, &[y, minus])?;
            let both = self.asm.of(S::LogicalAnd, mask, &[is_least, is_minus])?;
            bad = self.asm.of(S::LogicalOr, mask, &[bad, both])?;
        }
        let by = self.asm.of(S::Select, ty, &[bad, one, y])?;
        let quotient = self.asm.of(if s.d.is_signed() { S::SDiv } else { S::UDiv }, ty, &[x, by])?;
        if rem {
            // Modulo 1 is 0, which is right in both cases.
            let whole = self.asm.of(S::IMul, ty, &[quotient, by])?;
            return self.asm.of(S::ISub, ty, &[x, whole]);
        }
        self.asm.of(S::Select, ty, &[by_zero, zero, quotient])
    }

    pub(super) fn count_bits(&mut self, op: UnaryOp, s: Shape, x: Word) -> Result<Word> {
        let ty = self.word(s)?;
        let word = Shape { d: DType::U32, ..s };
        let u32 = self.word(word)?;
        if s.d.size() == 8 {
            let low = self.asm.of(S::UConvert, u32, &[x])?;
            let by = self.number(s, 32)?;
            let high = self.asm.of(S::ShiftRightLogical, ty, &[x, by])?;
            let high = self.asm.of(S::UConvert, u32, &[high])?;
            let (a, b) = (self.count_word(op, word, low)?, self.count_word(op, word, high)?);
            let both = self.asm.of(S::IAdd, u32, &[a, b])?;
            let all = self.number(word, 32)?;
            let mask = self.mask(s);
            let n = match op {
                UnaryOp::CountOnes => both,
                UnaryOp::LeadingZeros => {
                    let empty = self.asm.of(S::IEqual, mask, &[b, all])?;
                    self.asm.of(S::Select, u32, &[empty, both, b])?
                }
                _ => {
                    let empty = self.asm.of(S::IEqual, mask, &[a, all])?;
                    self.asm.of(S::Select, u32, &[empty, both, a])?
                }
            };
            return self.asm.of(S::UConvert, ty, &[n]);
        }
        if s.d.size() == 4 {
            return self.count_word(op, word, x);
        }
        let bits = 8 * s.d.size() as u64;
        let wide = self.asm.of(S::UConvert, u32, &[x])?;
        let n = match op {
            UnaryOp::CountOnes => self.count_word(op, word, wide)?,
            UnaryOp::LeadingZeros => {
                let n = self.count_word(op, word, wide)?;
                let above = self.number(word, 32 - bits)?;
                self.asm.of(S::ISub, u32, &[n, above])?
            }
            _ => {
                // A one above the number ends the count.
                let stop = self.number(word, 1 << bits)?;
                let stopped = self.asm.of(S::BitwiseOr, u32, &[wide, stop])?;
                self.count_word(op, word, stopped)?
            }
        };
        self.asm.of(S::UConvert, ty, &[n])
    }

    fn count_word(&mut self, op: UnaryOp, s: Shape, x: Word) -> Result<Word> {
        let ty = self.word(s)?;
        match op {
            UnaryOp::CountOnes => self.asm.of(S::BitCount, ty, &[x]),
            // The place of the highest one, -1 where there is none.
            UnaryOp::LeadingZeros => {
                let top = self.asm.glsl(GLOp::FindUMsb, ty, &[x])?;
                let last = self.number(s, 31)?;
                self.asm.of(S::ISub, ty, &[last, top])
            }
            _ => {
                let low = self.asm.glsl(GLOp::FindILsb, ty, &[x])?;
                let (zero, all) = (self.number(s, 0)?, self.number(s, 32)?);
                let mask = self.mask(s);
                let none = self.asm.of(S::IEqual, mask, &[x, zero])?;
                self.asm.of(S::Select, ty, &[none, all, low])
            }
        }
    }
}
