//! Which numbers an integer value can hold, as far as constants, lane numbers and constant loops tell.
//!
//! Only scalars; everything unknown has the range of its type. Used to leave out guards that cannot fail.

use crate::ir::*;

/// Inclusive bounds per value.
pub(super) struct Ranges {
    of: Vec<Option<(i128, i128)>>,
}

impl Ranges {
    /// Walks a kernel in order: operands are known before their uses.
    pub fn of(k: &Kernel) -> Ranges {
        let mut r = Ranges { of: vec![None; k.values.len()] };
        visit(&k.body, &mut |i| r.inst(k, i));
        r
    }

    /// Bounds of a value; its type's when nothing is known.
    pub fn get(&self, k: &Kernel, v: Value) -> (i128, i128) {
        self.of.get(v.at()).copied().flatten().unwrap_or_else(|| whole(k, k.ty(v)))
    }

    /// Lower bound; negative when nothing is known.
    pub fn low(&self, v: Value) -> i128 {
        self.of.get(v.at()).copied().flatten().map_or(-1, |r| r.0)
    }

    fn inst(&mut self, k: &Kernel, i: &Inst) {
        if let Op::For { var, start, end, .. } = &i.op {
            let (s, e) = (self.get(k, *start), self.get(k, *end));
            self.of[var.at()] = Some((s.0, (e.1 - 1).max(s.0)));
        }
        let Some(out) = i.out else { return };
        let ty = k.ty(out);
        let Type::Num { elem, lanes: 1 } = ty else { return };
        if !elem.is_int() {
            return;
        }
        let all = whole(k, ty);
        let got = match &i.op {
            Op::Const(bits) => {
                let width = k.elem_bytes(elem) * 8;
                let n = if elem.is_signed() {
                    let shift = 64 - width as u32;
                    (((*bits << shift) as i64) >> shift) as i128
                } else {
                    (*bits & (u64::MAX >> (64 - width))) as i128
                };
                Some((n, n))
            }
            Op::Builtin(Builtin::LocalId(d)) => Some((0, k.workgroup[(*d).min(2) as usize] as i128 - 1)),
            Op::Cast(a) if k.ty(*a).elem().is_some_and(|e| e.is_int()) => Some(self.get(k, *a)),
            Op::Select(_, a, b) => {
                let (a, b) = (self.get(k, *a), self.get(k, *b));
                Some((a.0.min(b.0), a.1.max(b.1)))
            }
            Op::Binary(op, a, b) => {
                let (a, b) = (self.get(k, *a), self.get(k, *b));
                let positive = a.0 >= 0 && b.0 >= 0;
                match op {
                    BinaryOp::Add => Some((a.0 + b.0, a.1 + b.1)),
                    BinaryOp::Sub => Some((a.0 - b.1, a.1 - b.0)),
                    BinaryOp::Mul if positive => a.0.checked_mul(b.0).zip(a.1.checked_mul(b.1)),
                    // Division by zero gives 0.
                    BinaryOp::Div if positive && b.0 > 0 => Some((a.0 / b.1, a.1 / b.0)),
                    BinaryOp::Rem if positive => Some((0, a.1.min((b.1 - 1).max(0)))),
                    BinaryOp::Min => Some((a.0.min(b.0), a.1.min(b.1))),
                    BinaryOp::Max => Some((a.0.max(b.0), a.1.max(b.1))),
                    BinaryOp::And if positive => Some((0, a.1.min(b.1))),
                    BinaryOp::Shr if positive && b.0 == b.1 && b.0 < 64 => Some((a.0 >> b.0, a.1 >> b.0)),
                    BinaryOp::Shl if positive && b.0 == b.1 && b.0 < 32 => Some((a.0 << b.0, a.1 << b.0)),
                    _ => None,
                }
            }
            Op::MulAdd(a, b, c) => {
                let (a, b, c) = (self.get(k, *a), self.get(k, *b), self.get(k, *c));
                if a.0 >= 0 && b.0 >= 0 {
                    let (low, high) = (a.0.checked_mul(b.0), a.1.checked_mul(b.1));
                    low.zip(high).and_then(|(l, h)| l.checked_add(c.0).zip(h.checked_add(c.1)))
                } else {
                    None
                }
            }
            _ => None,
        };
        // What may have wrapped is unknown.
        self.of[out.at()] = got.filter(|r| r.0 >= all.0 && r.1 <= all.1);
    }
}

fn whole(k: &Kernel, ty: Type) -> (i128, i128) {
    let elem = ty.elem().unwrap_or(Elem::Idx);
    let width = k.elem_bytes(elem) as u32 * 8;
    if elem.is_signed() { (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1) } else { (0, (1i128 << width) - 1) }
}
