//! Constants folded, neutral operands dropped, pure operations computed once where an equal one dominates.
//!
//! Floats are not re-associated and not folded: what a device rounds, it rounds itself. Integers follow the language's
//! rules (wrap, masked shifts, division by zero).

use super::emit::{Emit, Pass};
use crate::{Result, ir::*};
use std::collections::HashMap;

/// What an operation is, for comparing: its kind, its type, its operands.
type Key = Vec<u64>;

#[derive(Default)]
pub(super) struct Fold {
    constants: HashMap<Value, u64>,
    seen: HashMap<Key, Value>,
    /// Keys added per open block, forgotten at its end.
    added: Vec<Vec<Key>>,
}

impl Fold {
    /// A constant's number, where it is an integer or bool.
    fn int(&self, e: &Emit, v: Value) -> Option<i128> {
        let elem = e.ty(v).elem()?;
        (!elem.is_float()).then_some(())?;
        let bits = *self.constants.get(&v)?;
        let s = 64 - width(e, elem);
        Some(if elem.is_signed() { (((bits << s) as i64) >> s) as i128 } else { bits as i128 })
    }

    /// The bits of a result that is known, or the value that it is.
    fn known(&self, e: &Emit, op: &Op, out: Value) -> Option<Known> {
        let elem = e.ty(out).elem()?;
        let int = |v: Value| self.int(e, v);
        match op {
            Op::Binary(op, a, b) if !elem.is_float() => self.binary(e, elem, *op, *a, *b),
            Op::Unary(UnaryOp::Not, a) if elem.is_bool() => Some(Known::Bits((int(*a)? == 0) as u64)),
            Op::Unary(UnaryOp::Not, a) => Some(Known::Bits(pack(e, elem, !int(*a)?))),
            Op::Unary(UnaryOp::Neg, a) if !elem.is_float() => Some(Known::Bits(pack(e, elem, -int(*a)?))),
            Op::Compare(op, a, b) => {
                let (a, b) = (int(*a)?, int(*b)?);
                Some(Known::Bits(match op {
                    CmpOp::Eq => a == b,
                    CmpOp::Ne => a != b,
                    CmpOp::Lt => a < b,
                    CmpOp::Le => a <= b,
                    CmpOp::Gt => a > b,
                    CmpOp::Ge => a >= b,
                } as u64))
            }
            Op::MulAdd(a, b, c) if !elem.is_float() => match (int(*a), int(*b), int(*c)) {
                (Some(a), Some(b), Some(c)) => Some(Known::Bits(pack(e, elem, a.wrapping_mul(b).wrapping_add(c)))),
                (Some(0), ..) | (_, Some(0), _) => Some(Known::Is(*c)),
                _ => None,
            },
            Op::Select(_, a, b) if a == b => Some(Known::Is(*a)),
            Op::Select(c, a, b) => Some(Known::Is(if int(*c)? != 0 { *a } else { *b })),
            Op::Cast(a) if e.ty(*a) == e.ty(out) => Some(Known::Is(*a)),
            Op::Cast(a) => {
                let n = int(*a)?;
                match elem {
                    // Exact in f64, then rounded once.
                    Elem::D(DType::F32 | DType::F64) if n.unsigned_abs() <= 1 << 53 => {
                        Some(Known::Bits(build::encode_f64(elem, n as f64)))
                    }
                    e if e.is_float() => None,
                    e if e.is_bool() => Some(Known::Bits((n != 0) as u64)),
                    to => Some(Known::Bits(pack(e, to, n))),
                }
            }
            Op::Splat(a) => Some(Known::Bits(*self.constants.get(a)?)),
            Op::Extract(a, _) => Some(Known::Bits(*self.constants.get(a)?)),
            _ => None,
        }
    }

    fn binary(&self, e: &Emit, elem: Elem, op: BinaryOp, a: Value, b: Value) -> Option<Known> {
        let bits = width(e, elem);
        let number = |n: i128| Some(Known::Bits(pack(e, elem, n)));
        match (self.int(e, a), self.int(e, b)) {
            (Some(x), Some(y)) => number(match op {
                BinaryOp::Add => x + y,
                BinaryOp::Sub => x - y,
                BinaryOp::Mul => x.wrapping_mul(y),
                // MIN / -1 leaves the range and wraps back to MIN.
                BinaryOp::Div => x.checked_div(y).unwrap_or(0),
                BinaryOp::Rem => x.checked_rem(y).unwrap_or(0),
                BinaryOp::Min => x.min(y),
                BinaryOp::Max => x.max(y),
                BinaryOp::And => x & y,
                BinaryOp::Or => x | y,
                BinaryOp::Xor => x ^ y,
                BinaryOp::Shl => x << (y as u32 % bits),
                BinaryOp::Shr => x >> (y as u32 % bits),
                BinaryOp::Pow => return None,
            }),
            (x, y) => {
                let ones = pack(e, elem, -1) as i128;
                let is_ones = |n: i128| pack(e, elem, n) as i128 == ones;
                match (op, x, y) {
                    (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Or | BinaryOp::Xor, _, Some(0))
                    | (BinaryOp::Shl | BinaryOp::Shr, _, Some(0))
                    | (BinaryOp::Mul | BinaryOp::Div, _, Some(1)) => Some(Known::Is(a)),
                    (BinaryOp::Add | BinaryOp::Or | BinaryOp::Xor, Some(0), _) | (BinaryOp::Mul, Some(1), _) => {
                        Some(Known::Is(b))
                    }
                    (BinaryOp::Mul | BinaryOp::And, Some(0), _)
                    | (BinaryOp::Mul | BinaryOp::And, _, Some(0))
                    | (BinaryOp::Rem, _, Some(1)) => number(0),
                    (BinaryOp::And, Some(n), _) if is_ones(n) => Some(Known::Is(b)),
                    (BinaryOp::And, _, Some(n)) if is_ones(n) => Some(Known::Is(a)),
                    (BinaryOp::Or, Some(n), _) | (BinaryOp::Or, _, Some(n)) if is_ones(n) => {
                        Some(Known::Bits(ones as u64))
                    }
                    (BinaryOp::Min | BinaryOp::Max | BinaryOp::And | BinaryOp::Or, ..) if a == b => Some(Known::Is(a)),
                    (BinaryOp::Sub | BinaryOp::Xor, ..) if a == b => number(0),
                    _ => None,
                }
            }
        }
    }
}

enum Known {
    Bits(u64),
    Is(Value),
}

fn width(e: &Emit, elem: Elem) -> u32 {
    if elem.is_bool() { 1 } else { e.k.elem_bytes(elem) as u32 * 8 }
}

fn pack(e: &Emit, elem: Elem, n: i128) -> u64 {
    (n as u64) & (u64::MAX >> (64 - width(e, elem)))
}

/// `None` for what is not pure or rarely repeats.
fn key(e: &Emit, op: &Op, out: Value) -> Option<Key> {
    let mut key: Key = match op {
        Op::Const(bits) => vec![0, *bits],
        Op::Scalar(p) => vec![1, p.0 as u64],
        Op::Builtin(b) => {
            let (which, d) = match b {
                Builtin::GroupId(d) => (0, *d),
                Builtin::NumGroups(d) => (1, *d),
                Builtin::LocalId(d) => (2, *d),
                Builtin::LocalSize(d) => (3, *d),
                Builtin::GlobalId(d) => (4, *d),
                Builtin::SubgroupSize => (5, 0),
                Builtin::SubgroupLane => (6, 0),
                Builtin::SubgroupId => (7, 0),
            };
            vec![2, which, d as u64]
        }
        Op::Unary(op, _) => vec![3, *op as u64],
        Op::Binary(op, ..) => vec![4, *op as u64],
        Op::Compare(op, ..) => vec![5, *op as u64],
        Op::MulAdd(..) => vec![6],
        Op::Fma(..) => vec![7],
        Op::Select(..) => vec![8],
        Op::Cast(_) => vec![9],
        Op::Bitcast(_) => vec![10],
        Op::Vector(_) => vec![11],
        Op::Splat(_) => vec![12],
        Op::Extract(_, lane) => vec![13, *lane as u64],
        Op::Dot4 { a_signed, b_signed, .. } => vec![14, *a_signed as u64, *b_signed as u64],
        _ => return None,
    };
    match e.ty(out) {
        Type::Num { elem, lanes } => key.extend([elem.dtype().map_or(255, |d| d as u64), lanes as u64]),
        Type::Frag(_) => return None,
    }
    let first = key.len();
    op.operands(&mut |v| key.push(v.0 as u64));
    if let Op::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor, a, _) = op
        && !e.elem(*a).is_float()
    {
        key[first..].sort_unstable();
    }
    Some(key)
}

impl Pass for Fold {
    fn enter(&mut self) {
        self.added.push(vec![]);
    }

    fn leave(&mut self) {
        for key in self.added.pop().into_iter().flatten() {
            self.seen.remove(&key);
        }
    }

    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let Inst { out, mut op, loc } = inst;
        if let Op::If { cond, then, otherwise } = &mut op
            && let Some(c) = self.int(e, *cond)
        {
            let taken = std::mem::take(if c != 0 { then } else { otherwise });
            let taken = e.block(taken, self)?;
            e.append(taken);
            return Ok(());
        }
        let Some(v) = out.filter(|_| op.is_pure()) else { return e.keep(Inst { out, op, loc }, self) };
        match self.known(e, &op, v) {
            Some(Known::Is(to)) => {
                e.rename(v, to);
                return Ok(());
            }
            Some(Known::Bits(bits)) => op = Op::Const(bits),
            None => {}
        }
        if let Some(key) = key(e, &op, v) {
            if let Some(before) = self.seen.get(&key) {
                e.rename(v, *before);
                return Ok(());
            }
            self.seen.insert(key.clone(), v);
            if let Some(added) = self.added.last_mut() {
                added.push(key);
            }
        }
        if let Op::Const(bits) = op {
            self.constants.insert(v, bits);
        }
        e.push(out, op);
        Ok(())
    }
}
