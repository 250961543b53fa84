//! Conversions between element types.

use super::{Renderer, Shape, asm};
use crate::{DType, Result};
use rspirv::{
    dr::Operand,
    spirv::{Capability, Decoration, FPRoundingMode, GlslStd450Op as GLOp, Op as S, Word},
};

impl Renderer<'_> {
    /// One part as another type. `stored`: the result is only stored in buffers.
    pub(super) fn convert(&mut self, from: Shape, to: Shape, x: Word, stored: bool) -> Result<Word> {
        if from.d == to.d {
            return Ok(x);
        }
        let ty = self.word(to)?;
        if to.d == DType::Bool {
            let zero = self.number(from, 0)?;
            return if from.d.is_float() {
                self.asm.of(S::FUnordNotEqual, ty, &[x, zero])
            } else {
                self.asm.of(S::INotEqual, ty, &[x, zero])
            };
        }
        if from.d == DType::Bool {
            let (zero, one) = if to.d.is_float() {
                (self.float(to, 0.0)?, self.float(to, 1.0)?)
            } else {
                (self.number(to, 0)?, self.number(to, 1)?)
            };
            return self.asm.of(S::Select, ty, &[x, one, zero]);
        }
        match (from.d.is_float(), to.d.is_float()) {
            (false, false) if from.d.size() == to.d.size() => Ok(x),
            (false, false) => self.asm.of(if from.d.is_signed() { S::SConvert } else { S::UConvert }, ty, &[x]),
            (false, true) if self.t.unsigned_by_halves && from.d == DType::U32 && to.d == DType::F32 => {
                let word = self.word(from)?;
                let (bits, mask, scale) =
                    (self.number(from, 16)?, self.number(from, 0xffff)?, self.float(to, 65536.0)?);
                let high = self.asm.of(S::ShiftRightLogical, word, &[x, bits])?;
                let low = self.asm.of(S::BitwiseAnd, word, &[x, mask])?;
                let (high, low) = (self.asm.of(S::ConvertUToF, ty, &[high])?, self.asm.of(S::ConvertUToF, ty, &[low])?);
                let high = self.asm.of(S::FMul, ty, &[high, scale])?;
                self.asm.of(S::FAdd, ty, &[high, low])
            }
            (false, true) => self.asm.of(if from.d.is_signed() { S::ConvertSToF } else { S::ConvertUToF }, ty, &[x]),
            (true, true) => {
                let x = if from.d == DType::F64 && to.d == DType::F16 { self.odd_single(from, x)? } else { x };
                let y = self.asm.of(S::FConvert, ty, &[x])?;
                if stored && to.d == DType::F16 && self.t.storage16 {
                    // Rounding is the driver's choice but for what goes straight to memory.
                    self.asm.capability(Capability::StorageBuffer16BitAccess);
                    let mode = Operand::FPRoundingMode(FPRoundingMode::RTE);
                    self.asm.decorate(y, Decoration::FPRoundingMode, vec![mode]);
                }
                Ok(y)
            }
            (true, false) => self.saturate(from, to, x),
        }
    }

    /// A double as f32, so that rounding that to f16 is rounding once: where anything is lost, towards zero with the last
    /// bit set, which keeps ties apart. Drivers take the way through f32, too, but round to nearest there (llvmpipe).
    fn odd_single(&mut self, from: Shape, x: Word) -> Result<Word> {
        let (single, code) = (Shape { d: DType::F32, ..from }, Shape { d: DType::U32, ..from });
        let (ty, single_ty, code_ty, mask) = (self.word(from)?, self.word(single)?, self.word(code)?, self.mask(from));
        let near = self.asm.of(S::FConvert, single_ty, &[x])?;
        let back = self.asm.of(S::FConvert, ty, &[near])?;
        let bits = self.asm.of(S::Bitcast, code_ty, &[near])?;
        let one = self.number(code, 1)?;
        let (size, back_size) = (self.asm.glsl(GLOp::FAbs, ty, &[x])?, self.asm.glsl(GLOp::FAbs, ty, &[back])?);
        let outward = self.asm.of(S::FOrdGreaterThan, mask, &[back_size, size])?;
        let less = self.asm.of(S::ISub, code_ty, &[bits, one])?;
        let cut = self.asm.of(S::Select, code_ty, &[outward, less, bits])?;
        let odd = self.asm.of(S::BitwiseOr, code_ty, &[cut, one])?;
        let inexact = self.asm.of(S::FOrdNotEqual, mask, &[back, x])?;
        let bits = self.asm.of(S::Select, code_ty, &[inexact, odd, bits])?;
        self.asm.of(S::Bitcast, single_ty, &[bits])
    }

    /// Float to integer: towards zero, saturating, NaN gives 0.
    fn saturate(&mut self, from: Shape, to: Shape, x: Word) -> Result<Word> {
        if matches!(from.d, DType::F16 | DType::BF16) {
            // The bounds of wide integers are no numbers of f16.
            let wide = Shape { d: DType::F32, ..from };
            let x = self.convert(from, wide, x, false)?;
            return self.saturate(wide, to, x);
        }
        let (ty, mask) = (self.word(to)?, self.mask(to));
        let bits = 8 * to.d.size() as i32;
        let (low, high, least, most) = if to.d.is_signed() {
            let top = 2f64.powi(bits - 1);
            (-top, top, 1u64 << (bits - 1), (u64::MAX >> (64 - bits)) >> 1)
        } else {
            (0.0, 2f64.powi(bits), 0, u64::MAX >> (64 - bits))
        };
        let (low, high) = (self.float(from, low)?, self.float(from, high)?);
        let not_below = self.asm.of(S::FOrdGreaterThanEqual, mask, &[x, low])?;
        let under = self.asm.of(S::FOrdLessThan, mask, &[x, high])?;
        let inside = self.asm.of(S::LogicalAnd, mask, &[not_below, under])?;
        let zero = self.float(from, 0.0)?;
        let from_ty = self.word(from)?;
        let x_inside = self.asm.of(S::Select, from_ty, &[inside, x, zero])?;
        // Narrow integers by way of 32 bits, which every driver converts to.
        let via = Shape { d: if to.d.is_signed() { DType::I32 } else { DType::U32 }, ..to };
        let via = if to.d.size() < 4 { via } else { to };
        let via_ty = self.word(via)?;
        let op = if to.d.is_signed() { S::ConvertFToS } else { S::ConvertFToU };
        let number = self.asm.of(op, via_ty, &[x_inside])?;
        let number = self.convert(via, to, number, false)?;
        let (least, most) = (self.number(to, least)?, self.number(to, most)?);
        let above = self.asm.of(S::FOrdGreaterThanEqual, mask, &[x, high])?;
        let below = self.asm.of(S::FOrdLessThan, mask, &[x, low])?;
        let number = self.asm.of(S::Select, ty, &[above, most, number])?;
        self.asm.of(S::Select, ty, &[below, least, number])
    }

    /// A bool as the integer that stands for it in memory, and back.
    pub(super) fn bool_code(&mut self, s: Shape, code: Shape, x: Word) -> Result<Word> {
        debug_assert_eq!(s.d, DType::Bool);
        let ty = self.word(code)?;
        let (zero, one) = (self.number(code, 0)?, self.number(code, 1)?);
        self.asm.op(S::Select, ty, vec![asm::id(x), asm::id(one), asm::id(zero)])
    }
}
