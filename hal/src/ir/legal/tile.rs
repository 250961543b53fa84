//! Copies of boxes of tensors as loads and stores of all lanes, which are done where they stand: nothing is left to wait for.

use super::{
    Target,
    align::Multiples,
    emit::{Emit, Pass},
    fragment::swizzled,
};
use crate::{Result, info::Feature, ir::*};

/// Tensors of which a kernel copies boxes, at most: each is a parameter of a device that copies them itself.
const MOST: usize = 4;

/// Whether the device makes all such copies of a kernel itself: of lines of 128 bytes, permuted by eights, or of unpermuted ones of
/// whole 16 bytes, to where such permutations begin.
pub(super) fn all_native(k: &Kernel, t: &Target<'_>) -> bool {
    if t.checked || !t.info.has(Feature::TileCopy) {
        return false;
    }
    let multiples = Multiples::of_kernel(k);
    let (mut all, mut tensors) = (true, vec![]);
    visit(&k.body, &mut |i| {
        let Op::CopyTile { dst, dst_index, src, view, swizzle, .. } = &i.op else { return };
        let Some(d) = k.shared[dst.at()].elem.dtype().filter(|d| *d != DType::Bool) else { return all = false };
        let ParamKind::Buffer { align, .. } = k.params[src.at()].kind else { return all = false };
        let line = usize::from(view.size[1]) * d.size();
        let period = match *swizzle {
            Swizzle::NONE if line.is_multiple_of(16) => 128,
            Swizzle { bits: 3, shift: 0 } if line == 128 => 1024,
            _ => return all = false,
        };
        all &= d.size() << multiples.of(*dst_index).min(16) >= period;
        all &= align as usize * d.size() >= 16 && !super::ints::emulated(d, t.info);
        let tensor = (*src, view.clone(), *swizzle);
        if !tensors.contains(&tensor) {
            tensors.push(tensor);
        }
    });
    all && tensors.len() <= MOST
}

/// Lowers them.
pub(super) struct Tiles;

impl Pass for Tiles {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        match inst.op {
            Op::CopyTile { dst, dst_index, src, view, at, swizzle, .. } => {
                copy(e, (dst, dst_index), src, &view, &at, swizzle);
            }
            Op::TileCommit { .. } | Op::TileWait { .. } => {}
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}

fn copy(
    e: &mut Emit,
    (dst, dst_index): (SharedId, Value),
    src: ParamId,
    view: &TileView,
    at: &[Value],
    swizzle: Swizzle,
) {
    let elem = e.k.shared[dst.at()].elem;
    let scalar = |e: &mut Emit, p: ParamId| e.op(Type::IDX, Op::Scalar(p));
    let at: Vec<Value> = at.iter().map(|v| e.cast(Elem::Idx, *v)).collect();
    let outer = at.len() - 2;
    // Where the box's matrix begins, and whether it is one of the tensor's.
    let mut first = scalar(e, view.origin);
    let mut exists = e.bits(Type::BOOL, 1);
    for (i, v) in at[..outer].iter().enumerate() {
        let (stride, extent) = (scalar(e, view.strides[i]), scalar(e, view.extents[i]));
        let far = e.mul(*v, stride);
        first = e.add(first, far);
        let inside = e.cmp(CmpOp::Lt, *v, extent);
        exists = e.bin(BinaryOp::And, exists, inside);
    }
    let far = scalar(e, view.strides[outer]);
    let [rows, cols] = [0, 1].map(|i| scalar(e, view.extents[outer + i]));
    let ty = Type::scalar(elem);
    let var = e.var("boxed", ty);
    let (lane, end, lanes) = (e.lane(), e.u32(view.elements()), e.u32(e.k.lanes()));
    e.count(lane, end, lanes, |e, number| {
        let [row, col] = [BinaryOp::Div, BinaryOp::Rem].map(|op| e.bin_c(op, number, u64::from(view.size[1])));
        let (row, col) = (e.cast(Elem::Idx, row), e.cast(Elem::Idx, col));
        let (row, col) = (e.add(at[outer], row), e.add(at[outer + 1], col));
        let (is_row, is_col) = (e.cmp(CmpOp::Lt, row, rows), e.cmp(CmpOp::Lt, col, cols));
        let inside = e.bin(BinaryOp::And, is_row, is_col);
        let inside = e.bin(BinaryOp::And, inside, exists);
        let zero = e.bits(ty, 0);
        e.effect(Op::Set(var, zero));
        e.when(inside, |e| {
            let line = e.mul(row, far);
            let from = e.add(first, line);
            let from = e.add(from, col);
            let x = e.load(Place::Buffer(src), from, ty);
            e.effect(Op::Set(var, x));
        });
        let to = e.add(dst_index, number);
        let to = swizzled(e, swizzle, elem, to);
        let x = e.get(var);
        e.store(Place::Shared(dst), to, x);
    });
}
