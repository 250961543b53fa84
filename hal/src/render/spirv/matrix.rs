//! Matrix fragments by `VK_KHR_cooperative_matrix`. A fragment is one value of a type of its own, spread over a subgroup as
//! the driver likes; which lane holds which element is not told, so that the legaliser has taken element visits apart.

use super::{Renderer, asm::id};
use crate::{DType, Result, ir::*};
use rspirv::{
    dr::Operand,
    spirv::{
        Capability, CooperativeMatrixLayout, CooperativeMatrixOperands, CooperativeMatrixUse, Op as S, Scope as Span,
        Word,
    },
};

impl Renderer<'_> {
    /// The type of a fragment.
    pub(super) fn fragment(&mut self, f: Frag) -> Result<Word> {
        if !self.t.cooperative_matrix {
            return Err(self.unsupported("the device has no cooperative matrices: fragments must be lowered"));
        }
        if f.scope != Scope::Subgroup {
            return Err(
                self.unsupported(format!("fragments of a {:?}: cooperative matrices are a subgroup's", f.scope))
            );
        }
        self.asm.capability(Capability::CooperativeMatrixKHR);
        self.asm.extension("SPV_KHR_cooperative_matrix", None);
        if f.elem == DType::BF16 {
            self.asm.capability(Capability::BFloat16CooperativeMatrixKHR);
        }
        let elem = self.scalar(f.elem)?;
        let (rows, columns) = f.shape();
        let r#use = match f.role {
            FragRole::A => CooperativeMatrixUse::MatrixAKHR,
            FragRole::B => CooperativeMatrixUse::MatrixBKHR,
            FragRole::Acc => CooperativeMatrixUse::MatrixAccumulatorKHR,
            FragRole::Rows => {
                return Err(self.unsupported("numbers of a fragment's rows must be lowered by the legaliser"));
            }
        };
        let [span, rows, columns, r#use] =
            [Span::Subgroup as u32, u32::from(rows), u32::from(columns), r#use as u32].map(|n| self.asm.u32(n));
        Ok(self.asm.matrix(elem, span, rows, columns, r#use))
    }

    fn fragment_of(&self, v: Value) -> Result<Frag> {
        match self.k.ty(v) {
            Type::Frag(f) => Ok(f),
            Type::Num { .. } => Err(self.unsupported("a number stands where a matrix fragment must")),
        }
    }

    pub(super) fn matrix(&mut self, inst: &Inst) -> Result<()> {
        let value = match (&inst.op, inst.out) {
            (Op::FragFill(x), Some(out)) => {
                let ty = self.fragment_of(out).and_then(|f| self.fragment(f))?;
                let x = self.one(*x)?;
                self.asm.of(S::CompositeConstruct, ty, &[x])?
            }
            (Op::FragLoad { swizzle, .. }, Some(_)) if *swizzle != Swizzle::NONE => {
                return Err(self.unsupported("a swizzled tile: cooperative matrices read plain rows"));
            }
            (Op::FragLoad { place, index, stride, layout, .. }, Some(out)) => {
                let f = self.fragment_of(out)?;
                let (index, stride) = (self.one(*index)?, self.one(*stride)?);
                self.load_fragment(f, *place, index, stride, *layout)?
            }
            (Op::FragMma { a, b, acc }, Some(out)) => {
                let f = self.fragment_of(out)?;
                let (d_a, x) = self.operand(a, f, FragRole::A)?;
                let (d_b, y) = self.operand(b, f, FragRole::B)?;
                let acc = self.one(*acc)?;
                let ty = self.fragment(f)?;
                let mut signs = CooperativeMatrixOperands::NONE_KHR;
                for (signed, sign) in [
                    (d_a.is_int() && d_a.is_signed(), CooperativeMatrixOperands::MATRIX_A_SIGNED_COMPONENTS_KHR),
                    (d_b.is_int() && d_b.is_signed(), CooperativeMatrixOperands::MATRIX_B_SIGNED_COMPONENTS_KHR),
                    (
                        f.elem.is_int() && f.elem.is_signed(),
                        CooperativeMatrixOperands::MATRIX_C_SIGNED_COMPONENTS_KHR
                            | CooperativeMatrixOperands::MATRIX_RESULT_SIGNED_COMPONENTS_KHR,
                    ),
                ] {
                    if signed {
                        signs |= sign;
                    }
                }
                let signs = Operand::CooperativeMatrixOperands(signs);
                self.asm.op(S::CooperativeMatrixMulAddKHR, ty, vec![id(x), id(y), id(acc), signs])?
            }
            (Op::FragStore { frag, place, index, stride, layout }, _) => {
                let (x, index, stride) = (self.one(*frag)?, self.one(*index)?, self.one(*stride)?);
                let (p, _) = self.pointer(*place, index, 1)?;
                let layout = self.layout(*layout);
                return self.asm.effect(S::CooperativeMatrixStoreKHR, vec![id(p), id(x), id(layout), id(stride)]);
            }
            _ => return Err(self.unsupported("visits of a fragment's elements must be lowered by the legaliser")),
        };
        if let Some(out) = inst.out {
            self.values[out.at()] = vec![value];
        }
        Ok(())
    }

    fn layout(&mut self, layout: Layout) -> Word {
        let layout = match layout {
            Layout::RowMajor => CooperativeMatrixLayout::RowMajorKHR,
            Layout::ColMajor => CooperativeMatrixLayout::ColumnMajorKHR,
        };
        self.asm.u32(layout as u32)
    }

    fn load_fragment(&mut self, f: Frag, place: Place, index: Word, stride: Word, layout: Layout) -> Result<Word> {
        let ty = self.fragment(f)?;
        let (p, _) = self.pointer(place, index, 1)?;
        let layout = self.layout(layout);
        self.asm.of(S::CooperativeMatrixLoadKHR, ty, &[p, layout, stride])
    }

    /// An operand of a product and its element type: held already, or read from a tile of the workgroup.
    fn operand(&mut self, o: &FragOperand, acc: Frag, role: FragRole) -> Result<(DType, Word)> {
        match o {
            FragOperand::Reg(v) => Ok((self.fragment_of(*v)?.elem, self.one(*v)?)),
            FragOperand::Tile { shared, index, stride, layout, swizzle } => {
                if *swizzle != Swizzle::NONE {
                    return Err(self.unsupported("a swizzled tile: cooperative matrices read plain rows"));
                }
                let Some(elem) = self.k.shared[shared.at()].elem.dtype() else {
                    return Err(self.unsupported("a tile of idx"));
                };
                let (index, stride) = (self.one(*index)?, self.one(*stride)?);
                let f = Frag { role, elem, ..acc };
                Ok((elem, self.load_fragment(f, Place::Shared(*shared), index, stride, *layout)?))
            }
        }
    }
}
