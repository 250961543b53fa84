//! What a compiler may compute otherwise than it stands there: to one that re-associates, `(a + b) - a` is `b`, and what a formula
//! meant to learn of the rounding is lost; `(x + 1) - 1` is `x`; `0 · x`, `x / 0` and `x / x` are anything.
//!
//! Where a device's facts allow that (WGSL does), such an operand is hidden: its bits are changed by a number that is 0, as only the
//! launch knows. Terms are looked for through a few sums; products with a common factor are not. 16-bit floats are computed as they
//! come, and f64 is hidden where 64-bit integers are computed with.

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
    /// The first by the second.
    Quotient([Value; 2]),
    /// A variable, with what was set last before, as the text goes.
    Read(VarId, Option<Value>),
}

struct Loose {
    made: HashMap<Value, Made>,
    /// There are 64-bit integers in which an f64 can be hidden.
    wide: bool,
}

/// Sums of sums that are looked through.
const DEPTH: u32 = 4;

impl Loose {
    fn root(&self, v: Value) -> Value {
        match self.made.get(&v) {
            Some(Made::Negated(of)) => self.root(*of),
            _ => v,
        }
    }

    /// Where a variable was read, what it may hold.
    fn through(&self, v: Value) -> Value {
        match self.made.get(&self.root(v)) {
            Some(Made::Read(_, Some(x))) => self.through(*x),
            _ => self.root(v),
        }
    }

    /// The same number, as far as can be seen: two reads of a variable count as such, since hiding too much only costs.
    fn same(&self, a: Value, b: Value) -> bool {
        let read = |v: Value| match self.made.get(&self.root(v)) {
            Some(Made::Read(var, _)) => Some(*var),
            _ => None,
        };
        self.root(a) == self.root(b)
            || self.through(a) == self.through(b)
            || read(a).is_some_and(|var| read(b) == Some(var))
    }

    fn constant(&self, v: Value) -> Option<u64> {
        match self.made.get(&self.root(v)) {
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
            BinaryOp::Sub => self.same(a, b),
            _ => a != b && self.root(a) == self.root(b),
        }
    }

    /// Two constants make one, and a number less itself makes nothing.
    fn meet(&self, a: Value, b: Value) -> bool {
        self.same(a, b) || self.constants(a, b)
    }

    fn constants(&self, a: Value, b: Value) -> bool {
        self.constant(a).is_some() && self.constant(b).is_some()
    }

    /// Whether adding `other` may be computed with a term of `v` before the rest of it.
    fn sum_meets(&self, v: Value, other: Value) -> bool {
        self.sum_meets_within(v, other, DEPTH)
    }

    fn sum_meets_within(&self, v: Value, other: Value, depth: u32) -> bool {
        match self.made.get(&self.through(v)) {
            Some(Made::Sum(terms)) if depth > 0 => {
                terms.iter().any(|t| self.meet(*t, other) || self.sum_meets_within(*t, other, depth - 1))
            }
            _ => false,
        }
    }

    /// Whether multiplying or dividing by `other` may be computed with a factor of `v` before the rest of it.
    fn product_meets(&self, v: Value, other: Value, divides: bool) -> bool {
        match self.made.get(&self.through(v)) {
            Some(Made::Product(of)) => of.iter().any(|t| divides && self.same(*t, other) || self.constants(*t, other)),
            Some(Made::Quotient([a, b])) => {
                let cancels = if divides { *a } else { *b };
                self.same(cancels, other) || self.constants(*a, other) || self.constants(*b, other)
            }
            _ => false,
        }
    }

    /// Whether `v` is the product of these two.
    fn is_product(&self, v: Value, a: Value, b: Value) -> bool {
        match self.made.get(&self.through(v)) {
            Some(Made::Product([x, y])) => self.same(*x, a) && self.same(*y, b) || self.same(*x, b) && self.same(*y, a),
            _ => false,
        }
    }
}

pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    if !info.arithmetic.get(&DType::F32).is_some_and(|facts| facts.may_reassociate) {
        return Ok(());
    }
    let mut p = Loose { made: HashMap::new(), wide: info.support(DType::U64).arithmetic };
    let mut set = HashMap::new();
    visit(&e.k.body, &mut |i| {
        if let Op::Set(var, x) = &i.op {
            set.insert(*var, *x);
        }
        let Some(out) = i.out.filter(|v| p.code_type(e, *v).is_some()) else { return };
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
            Op::Binary(BinaryOp::Div, a, b) => Made::Quotient([*a, *b]),
            Op::Get(var) => Made::Read(*var, set.get(var).copied()),
            _ => return,
        };
        p.made.insert(out, made);
    });
    rewrite(e, &mut p)
}

impl Loose {
    /// The integer in which a float's bits are hidden; `None`: nothing of this type is.
    fn code_type(&self, e: &Emit, v: Value) -> Option<DType> {
        match e.ty(v) {
            Type::Num { elem: Elem::D(DType::F32), .. } => Some(DType::U32),
            Type::Num { elem: Elem::D(DType::F64), .. } if self.wide => Some(DType::U64),
            _ => None,
        }
    }

    fn hide(&self, e: &mut Emit, v: Value) -> Value {
        let (Some(word), Some(float)) = (self.code_type(e, v), e.elem(v).dtype()) else { return v };
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
}

impl Pass for Loose {
    fn inst(&mut self, e: &mut Emit, mut inst: Inst) -> Result<()> {
        use BinaryOp::*;
        match (&mut inst.op, inst.out.filter(|v| self.code_type(e, *v).is_some())) {
            (Op::Binary(op @ (Add | Sub | Mul | Div), a, b), Some(_)) => {
                let (x, y) = (*a, *b);
                let hidden = match op {
                    Add | Sub => [self.sum_meets(x, y) || self.opposite(*op, x, y), self.sum_meets(y, x)],
                    Mul => {
                        let meets = [self.product_meets(x, y, false), self.product_meets(y, x, false)];
                        [meets[0] || self.zero(e, x), meets[1] || self.zero(e, y)]
                    }
                    _ => {
                        let meets = self.same(x, y) || self.product_meets(x, y, true);
                        [meets || self.zero(e, x), self.zero(e, y)]
                    }
                };
                if hidden[0] {
                    *a = self.hide(e, x);
                }
                if hidden[1] {
                    *b = self.hide(e, y);
                }
            }
            // In WGSL a product and a sum.
            (Op::MulAdd(a, b, c), Some(_)) => {
                let (x, y) = (*a, *b);
                if self.is_product(*c, x, y) {
                    *c = self.hide(e, *c);
                }
                for (v, of, other) in [(a, x, y), (b, y, x)] {
                    if self.zero(e, of) || self.product_meets(of, other, false) {
                        *v = self.hide(e, of);
                    }
                }
            }
            _ => {}
        }
        e.keep(inst, self)
    }
}
