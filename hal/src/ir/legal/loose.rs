//! Sums that a compiler may re-associate: `(a + b) - a` is `b` to it, and what a formula meant to learn of the rounding is lost.
//!
//! Where a device's facts let products be contracted they let sums be re-associated too, as WGSL does. A sum whose operand goes
//! into another sum with it is hidden there: its bits are changed by a number that is 0, as only the launch knows.

use super::emit::{Emit, Pass, rewrite};
use crate::{Result, info::DeviceInfo, ir::*};
use std::collections::HashMap;

#[derive(Default)]
struct Loose {
    /// Operands of float sums and differences, without their signs.
    terms: HashMap<Value, [Value; 2]>,
    negated: HashMap<Value, Value>,
    constants: HashMap<Value, u64>,
}

impl Loose {
    fn root(&self, v: Value) -> Value {
        self.negated.get(&v).map_or(v, |of| self.root(*of))
    }

    fn same(&self, a: Value, b: Value) -> bool {
        let bits = |v: Value| self.constants.get(&v);
        a == b || bits(a).is_some() && bits(a) == bits(b)
    }

    /// `sum` is one, and `other` is an operand of it.
    fn cancels(&self, sum: Value, other: Value) -> bool {
        let terms = self.terms.get(&self.root(sum));
        terms.is_some_and(|t| t.iter().any(|t| self.same(*t, self.root(other))))
    }
}

pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    if !info.arithmetic.get(&DType::F32).is_some_and(|facts| facts.may_contract) {
        return Ok(());
    }
    let mut p = Loose::default();
    visit(&e.k.body, &mut |i| {
        let Some(out) = i.out.filter(|v| hidden_type(e, *v).is_some()) else { return };
        match &i.op {
            Op::Const(bits) => drop(p.constants.insert(out, *bits)),
            Op::Unary(UnaryOp::Neg, a) => drop(p.negated.insert(out, *a)),
            Op::Binary(BinaryOp::Add | BinaryOp::Sub, a, b) => {
                let roots = [p.root(*a), p.root(*b)];
                p.terms.insert(out, roots);
            }
            _ => {}
        }
    });
    rewrite(e, &mut p)
}

/// The integer in which a float's bits are hidden; `None`: nothing of this type is.
fn hidden_type(e: &Emit, v: Value) -> Option<DType> {
    match e.ty(v) {
        Type::Num { elem: Elem::D(DType::F32), .. } => Some(DType::U32),
        Type::Num { elem: Elem::D(DType::F64), .. } => Some(DType::U64),
        _ => None,
    }
}

fn hide(e: &mut Emit, v: Value) -> Value {
    let (Some(word), Some(float)) = (hidden_type(e, v), e.elem(v).dtype()) else { return v };
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
        if let (Op::Binary(BinaryOp::Add | BinaryOp::Sub, a, b), Some(_)) = (&mut inst.op, inst.out) {
            let (first, second) = (*a, *b);
            if self.cancels(first, second) {
                *a = hide(e, first);
            }
            if self.cancels(second, first) {
                *b = hide(e, second);
            }
        }
        e.keep(inst, self)
    }
}
