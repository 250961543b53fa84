//! Which vectors in memory are aligned to their own size: found once here, so that backends read them as one.
//!
//! What counts is by which power of two an index can be divided, which survives arithmetic that wraps. It follows from
//! constants, from products and sums, from loops, and from what authors promise by `AssumeMultiple`; of a buffer its own
//! alignment counts, too, which is checked at every launch. Arrays of the kernel begin aligned.

use crate::{DType, ir::*};
use std::collections::HashMap;

/// Powers of two beyond this one are of no use.
const MOST: u32 = 16;

/// Marks the loads and stores of vectors that are aligned, and copies and fragments' rows that are.
pub(super) fn mark(k: &mut Kernel) {
    let found = Multiples::of_kernel(k);
    let params = k.params.clone();
    let values = k.values.clone();
    let shared = k.shared.clone();
    visit_mut(&mut k.body, &mut |i| {
        let base = |place| match place {
            Place::Buffer(ParamId(p)) => match params[p as usize].kind {
                ParamKind::Buffer { align, .. } => align.trailing_zeros(),
                ParamKind::Scalar { .. } => 0,
            },
            Place::Shared(_) | Place::Private(_) => MOST,
        };
        let (place, index, lanes, aligned) = match &mut i.op {
            Op::CopyAsync { dst_index, src, src_index, elems, aligned, .. } => {
                let needed = elems.trailing_zeros();
                let source = base(Place::Buffer(*src)).min(found.of(*src_index));
                *aligned |= elems.is_power_of_two() && source.min(found.of(*dst_index)) >= needed;
                return;
            }
            Op::FragLoad { place: Place::Shared(s), index, stride, aligned, .. } => {
                let size = shared[s.at()].elem.dtype().map_or(16, DType::size).min(16) as u32;
                *aligned |= found.of(*index).min(found.of(*stride)) >= (16 / size).trailing_zeros();
                return;
            }
            Op::Load { place, index, aligned } => {
                let lanes = i.out.map_or(1, |v| values[v.at()].lanes());
                (*place, *index, lanes, aligned)
            }
            Op::Store { place, index, value, aligned } => (*place, *index, values[value.at()].lanes(), aligned),
            _ => return,
        };
        let needed = u32::from(lanes).trailing_zeros();
        *aligned |= lanes > 1 && base(place).min(found.of(index)) >= needed;
    });
}

/// Per value, the exponent of the largest known power of two that divides it.
pub(super) struct Multiples {
    known: HashMap<Value, u32>,
    /// Which values are integers: the bits of a float's constant say nothing.
    integers: Vec<bool>,
}

impl Multiples {
    /// What is known of a kernel's values.
    pub fn of_kernel(k: &Kernel) -> Multiples {
        let integers = k.values.iter().map(|t| t.elem().is_some_and(Elem::is_int)).collect();
        let mut found = Multiples { known: HashMap::new(), integers };
        found.block(&k.body);
        found
    }

    pub fn of(&self, v: Value) -> u32 {
        self.known.get(&v).copied().unwrap_or(0)
    }

    fn block(&mut self, block: &Block) {
        for inst in block {
            // A loop's variable is known before its body is looked at.
            if let Op::For { var, start, step, .. } = &inst.op {
                self.known.insert(*var, self.of(*start).min(self.of(*step)));
            }
            for b in inst.op.blocks() {
                self.block(b);
            }
            let n = match &inst.op {
                Op::Const(bits) => bits.trailing_zeros().min(MOST),
                Op::Binary(
                    BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max | BinaryOp::Or | BinaryOp::Xor,
                    a,
                    b,
                ) => self.of(*a).min(self.of(*b)),
                Op::Binary(BinaryOp::And, a, b) => self.of(*a).max(self.of(*b)),
                Op::Binary(BinaryOp::Mul, a, b) => (self.of(*a) + self.of(*b)).min(MOST),
                // a - b·⌊a/b⌋
                Op::Binary(BinaryOp::Rem, a, b) => self.of(*a).min(self.of(*b)),
                Op::MulAdd(a, b, c) => (self.of(*a) + self.of(*b)).min(MOST).min(self.of(*c)),
                Op::Select(_, a, b) => self.of(*a).min(self.of(*b)),
                // Narrow integers may lose high bits, never low ones.
                Op::Cast(a) => self.of(*a),
                Op::AssumeMultiple(v, n) => {
                    let n = self.of(*v).max(n.trailing_zeros().min(MOST));
                    self.known.insert(*v, n);
                    n
                }
                _ => 0,
            };
            if let Some(out) = inst.out
                && n > 0
                && self.integers[out.at()]
            {
                self.known.insert(out, n);
            }
        }
    }
}
