//! What a compiler may compute otherwise than it stands there: to one that re-associates, `(a + b) - a` is `b`, and what a formula
//! meant to learn of the rounding is lost; `(x + 1) - 1` is `x`; `0 · x` and `x / 0` are anything.
//!
//! Where a device's facts let products be contracted they let sums be re-associated too, as WGSL does. Such an operand is hidden:
//! its bits are changed by a number that is 0, as only the launch knows.

use super::emit::{Emit, Pass, rewrite};
use crate::{Result, info::DeviceInfo, ir::*};
use std::collections::HashMap;

/// How a number came about.
#[derive(Clone, Copy)]
enum Made {
    Constant(u64),
    Negated(Value),
    /// Of these terms.
    Sum([Value; 2]),
    Product([Value; 2]),
}

#[derive(Default)]
struct Loose(HashMap<Value, Made>);

impl Loose {
    fn root(&self, v: Value) -> Value {
        match self.0.get(&v) {
            Some(Made::Negated(of)) => self.root(*of),
            _ => v,
        }
    }

    fn constant(&self, v: Value) -> Option<u64> {
        match self.0.get(&self.root(v)) {
            Some(Made::Constant(bits)) => Some(*bits),
            _ => None,
        }
    }

    /// Zero of either sign.
    fn zero(&self, e: &Emit, v: Value) -> bool {
        let sign = 1u64 << (e.k.elem_bytes(e.elem(v)) * 8 - 1);
        self.constant(v).is_some_and(|bits| bits & !sign == 0)
    }

    /// `x − x`.
    fn opposite(&self, op: BinaryOp, a: Value, b: Value) -> bool {
        match op {
            BinaryOp::Sub => a == b,
            _ => a != b && self.root(a) == self.root(b),
        }
    }

    /// Two constants make one, and a number less itself makes nothing.
    fn meet(&self, a: Value, b: Value) -> bool {
        self.root(a) == self.root(b) || self.constant(a).is_some() && self.constant(b).is_some()
    }

    /// Whether adding `other` may be computed with a term of `v` before the rest of it.
    fn sum_meets(&self, v: Value, other: Value) -> bool {
        match self.0.get(&self.root(v)) {
            Some(Made::Sum(terms)) => terms.iter().any(|t| self.meet(*t, other)),
            _ => false,
        }
    }

    fn product_meets(&self, v: Value, other: Value) -> bool {
        let both = |t: Value| self.constant(t).is_some() && self.constant(other).is_some();
        matches!(self.0.get(&self.root(v)), Some(Made::Product(of)) if of.iter().any(|t| both(*t)))
    }
}

pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    if !info.arithmetic.get(&DType::F32).is_some_and(|facts| facts.may_contract) {
        return Ok(());
    }
    let mut p = Loose::default();
    visit(&e.k.body, &mut |i| {
        let Some(out) = i.out.filter(|v| code_type(e, *v).is_some()) else { return };
        let made = match &i.op {
            Op::Const(bits) => Made::Constant(*bits),
            Op::Splat(a) => match p.constant(*a) {
                Some(bits) => Made::Constant(bits),
                None => return,
            },
            Op::Unary(UnaryOp::Neg, a) => Made::Negated(*a),
            Op::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) => Made::Sum([*a, *b]),
            Op::MulAdd(_, _, c) => Made::Sum([*c, *c]),
            Op::Binary(BinaryOp::Mul, a, b) => Made::Product([*a, *b]),
            _ => return,
        };
        p.0.insert(out, made);
    });
    rewrite(e, &mut p)
}

/// The integer in which a float's bits are hidden; `None`: nothing of this type is.
fn code_type(e: &Emit, v: Value) -> Option<DType> {
    match e.ty(v) {
        Type::Num { elem: Elem::D(DType::F32), .. } => Some(DType::U32),
        Type::Num { elem: Elem::D(DType::F64), .. } => Some(DType::U64),
        _ => None,
    }
}

fn hide(e: &mut Emit, v: Value) -> Value {
    let (Some(word), Some(float)) = (code_type(e, v), e.elem(v).dtype()) else { return v };
    let groups = e.op(Type::IDX, Op::Builtin(Builtin::NumGroups(0)));
    let none = e.cmp_c(CmpOp::Eq, groups, 0);
    let mut zero = e.cast(word, none);
    let lanes = e.ty(v).lanes();
    if lanes > 1 {
        zero = e.op(Type::vector(word, lanes), Op::Splat(zero));
    }
    let bits = e.bitcast(word, v);
    let bits = e.bin(BinaryOp::Xor, bits, zero);
    e.bitcast(float, bits)
}

impl Pass for Loose {
    fn inst(&mut self, e: &mut Emit, mut inst: Inst) -> Result<()> {
        use BinaryOp::*;
        if let (Op::Binary(op @ (Add | Sub | Mul | Div), a, b), Some(out)) = (&mut inst.op, inst.out)
            && code_type(e, out).is_some()
        {
            let (x, y) = (*a, *b);
            let hidden = match op {
                Add | Sub => [self.sum_meets(x, y) || self.opposite(*op, x, y), self.sum_meets(y, x)],
                Mul => [self.product_meets(x, y) || self.zero(e, x), self.product_meets(y, x) || self.zero(e, y)],
                _ => [self.zero(e, x), self.zero(e, y)],
            };
            if hidden[0] {
                *a = hide(e, x);
            }
            if hidden[1] {
                *b = hide(e, y);
            }
        }
        e.keep(inst, self)
    }
}
