//! Which operations the machine has for which types; what a legalised kernel never asks for is refused by name.

use super::compile::Lowering;
use anychip_hal::{
    DType, Result,
    ir::{BinaryOp, Loc, ReduceOp, UnaryOp},
};

impl Lowering<'_> {
    pub(super) fn check_computes(&self, ty: DType, loc: Loc) -> Result<()> {
        match ty {
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => {
                self.refuse(&format!("arithmetic in {ty}"), loc)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_unary(&self, op: UnaryOp, ty: DType, loc: Loc) -> Result<()> {
        self.check_computes(ty, loc)?;
        let fits = match op {
            UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign => ty != DType::Bool,
            UnaryOp::Not => !ty.is_float(),
            UnaryOp::CountOnes | UnaryOp::LeadingZeros | UnaryOp::TrailingZeros => ty.is_int(),
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Trunc | UnaryOp::Round => ty != DType::Bool,
            UnaryOp::IsNan | UnaryOp::IsInf => ty != DType::Bool,
            UnaryOp::Sqrt
            | UnaryOp::Rsqrt
            | UnaryOp::Recip
            | UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tan
            | UnaryOp::Tanh
            | UnaryOp::Erf => ty.is_float(),
        };
        if fits { Ok(()) } else { self.refuse(&format!("{op:?} of {ty}"), loc) }
    }

    pub(super) fn check_binary(&self, op: BinaryOp, ty: DType, loc: Loc) -> Result<()> {
        self.check_computes(ty, loc)?;
        let fits = match op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => !ty.is_float(),
            BinaryOp::Shl | BinaryOp::Shr => ty.is_int(),
            BinaryOp::Min | BinaryOp::Max => true,
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem | BinaryOp::Pow => {
                ty != DType::Bool
            }
        };
        if fits { Ok(()) } else { self.refuse(&format!("{op:?} of {ty}"), loc) }
    }

    pub(super) fn check_reduce(&self, op: ReduceOp, ty: DType, loc: Loc) -> Result<()> {
        self.check_computes(ty, loc)?;
        let fits = match op {
            ReduceOp::And | ReduceOp::Or | ReduceOp::Xor => !ty.is_float(),
            ReduceOp::Min | ReduceOp::Max => true,
            ReduceOp::Sum | ReduceOp::Prod => ty != DType::Bool,
        };
        if fits { Ok(()) } else { self.refuse(&format!("{op:?} over {ty}"), loc) }
    }
}
