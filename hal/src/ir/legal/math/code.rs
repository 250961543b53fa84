//! Formulas as Rust writes them: a [`Num`] is a value with the kernel it belongs to, and its operators emit operations.
//!
//! Works for scalars and for vectors of any number of lanes; numbers on the right of an operator become constants of the
//! left operand's type. Floats are compared by `lt` and the like only where NaN and subnormals make no difference: else
//! their bits are, because compilers may assume that there is no NaN and devices may flush what they compare.

use super::super::emit::Emit;
use crate::ir::*;
use std::{
    cell::RefCell,
    ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Rem, Shl, Shr, Sub},
};

/// A value in the kernel that is being written.
#[derive(Clone, Copy)]
pub(super) struct Num<'c> {
    code: &'c RefCell<&'c mut Emit>,
    pub value: Value,
}

/// A variable.
#[derive(Clone, Copy)]
pub(super) struct Var<'c> {
    code: &'c RefCell<&'c mut Emit>,
    var: VarId,
}

/// What a float type is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    /// Bits of a value.
    pub bits: u64,
    /// Bits of the mantissa that are stored.
    pub mantissa: u64,
    /// What is added to the exponent.
    pub bias: u64,
    /// Unsigned integer of the same size.
    pub word: DType,
    /// Signed integer of the same size.
    pub signed: DType,
    pub float: DType,
    pub double: bool,
}

impl Format {
    pub const F32: Format = Format {
        bits: 32,
        mantissa: 23,
        bias: 127,
        word: DType::U32,
        signed: DType::I32,
        float: DType::F32,
        double: false,
    };
    pub const F64: Format = Format {
        bits: 64,
        mantissa: 52,
        bias: 1023,
        word: DType::U64,
        signed: DType::I64,
        float: DType::F64,
        double: true,
    };
    pub fn infinity(self) -> u64 {
        (2 * self.bias + 1) << self.mantissa
    }
    pub fn nan(self) -> u64 {
        self.infinity() | 1 << (self.mantissa - 1)
    }
    pub fn sign(self) -> u64 {
        1 << (self.bits - 1)
    }
    pub fn mantissa_mask(self) -> u64 {
        (1 << self.mantissa) - 1
    }
    /// 1 in the last bit of the exponent: the smallest normal number, and the mantissa's bit that is not stored.
    pub fn hidden(self) -> u64 {
        1 << self.mantissa
    }
    /// The bits of a number.
    pub fn of(self, x: f64) -> u64 {
        if self.double { x.to_bits() } else { (x as f32).to_bits() as u64 }
    }
    /// The choice of this type.
    pub fn pick<T>(self, single: T, double: T) -> T {
        if self.double { double } else { single }
    }
}

impl<'c> Num<'c> {
    pub fn new(code: &'c RefCell<&'c mut Emit>, value: Value) -> Num<'c> {
        Num { code, value }
    }
    fn made(self, value: Value) -> Num<'c> {
        Num { code: self.code, value }
    }
    fn with(self, f: impl FnOnce(&mut Emit) -> Value) -> Num<'c> {
        let v = f(&mut self.code.borrow_mut());
        self.made(v)
    }
    pub fn ty(self) -> Type {
        self.code.borrow().ty(self.value)
    }
    pub fn format(self) -> Format {
        match self.ty().elem() {
            Some(Elem::D(DType::F64)) => Format::F64,
            _ => Format::F32,
        }
    }

    /// The float of the size of this integer.
    pub fn format_of_word(self) -> Format {
        match self.ty().elem() {
            Some(Elem::D(DType::U64 | DType::I64)) => Format::F64,
            _ => Format::F32,
        }
    }

    /// A constant of this float type.
    pub fn number(self, x: f64) -> Num<'c> {
        self.with(|e| e.like(self.value, x))
    }
    /// A constant of this type from its low bits.
    pub fn constant(self, bits: u64) -> Num<'c> {
        self.with(|e| {
            let ty = e.ty(self.value);
            let width = e.k.elem_bytes(e.elem(self.value)) * 8;
            e.bits(ty, bits & (u64::MAX >> (64 - width)))
        })
    }
    fn binary(self, op: BinaryOp, b: Num<'c>) -> Num<'c> {
        self.with(|e| e.bin(op, self.value, b.value))
    }
    fn unary(self, op: UnaryOp) -> Num<'c> {
        self.with(|e| e.un(op, self.value))
    }
    fn compare(self, op: CmpOp, b: Num<'c>) -> Num<'c> {
        self.with(|e| e.cmp(op, self.value, b.value))
    }

    pub fn eq(self, bits: u64) -> Num<'c> {
        self.compare(CmpOp::Eq, self.constant(bits))
    }
    pub fn ne(self, bits: u64) -> Num<'c> {
        self.compare(CmpOp::Ne, self.constant(bits))
    }
    pub fn lt(self, b: Num<'c>) -> Num<'c> {
        self.compare(CmpOp::Lt, b)
    }
    pub fn ge(self, b: Num<'c>) -> Num<'c> {
        self.compare(CmpOp::Ge, b)
    }
    pub fn gt(self, b: Num<'c>) -> Num<'c> {
        self.compare(CmpOp::Gt, b)
    }
    pub fn same(self, b: Num<'c>) -> Num<'c> {
        self.compare(CmpOp::Eq, b)
    }
    /// Of integers.
    pub fn below(self, bits: u64) -> Num<'c> {
        self.lt(self.constant(bits))
    }
    /// Of integers.
    pub fn at_least(self, bits: u64) -> Num<'c> {
        self.ge(self.constant(bits))
    }

    /// This bool's choice.
    pub fn choose(self, yes: Num<'c>, no: Num<'c>) -> Num<'c> {
        self.with(|e| e.select(self.value, yes.value, no.value))
    }
    pub fn not(self) -> Num<'c> {
        self.unary(UnaryOp::Not)
    }

    pub fn mul_add(self, b: Num<'c>, c: Num<'c>) -> Num<'c> {
        self.with(|e| e.op(e.ty(self.value), Op::MulAdd(self.value, b.value, c.value)))
    }
    /// Floor, ceil, round or trunc.
    pub fn whole(self, f: UnaryOp) -> Num<'c> {
        self.unary(f)
    }
    pub fn round(self) -> Num<'c> {
        self.unary(UnaryOp::Round)
    }
    pub fn trunc(self) -> Num<'c> {
        self.unary(UnaryOp::Trunc)
    }
    pub fn sqrt(self) -> Num<'c> {
        self.unary(UnaryOp::Sqrt)
    }

    pub fn cast(self, to: DType) -> Num<'c> {
        self.with(|e| e.cast(to, self.value))
    }
    pub fn reinterpret(self, to: DType) -> Num<'c> {
        self.with(|e| e.bitcast(to, self.value))
    }
    /// The bits of a float.
    pub fn to_bits(self) -> Num<'c> {
        self.reinterpret(self.format().word)
    }
    /// The bits of a float without its sign.
    pub fn magnitude(self) -> Num<'c> {
        self.to_bits() & (self.format().sign() - 1)
    }

    /// True in any lane: a scalar bool.
    pub fn any(self) -> Num<'c> {
        let lanes = self.ty().lanes();
        if lanes == 1 {
            return self;
        }
        // By integers: not every target has operations on vectors of bool.
        let bits = self.with(|e| {
            let ty = Type::vector(DType::U32, lanes);
            let (one, zero) = (e.bits(ty, 1), e.bits(ty, 0));
            e.select(self.value, one, zero)
        });
        bits.across(|a, b| a | b).ne(0)
    }

    /// The lanes of a vector combined to a scalar.
    pub fn across(self, f: impl Fn(Num<'c>, Num<'c>) -> Num<'c>) -> Num<'c> {
        let Type::Num { elem, lanes } = self.ty() else { return self };
        if lanes == 1 {
            return self;
        }
        let lane = |i: u8| self.with(|e| e.op(Type::scalar(elem), Op::Extract(self.value, i)));
        (1..lanes).fold(lane(0), |all, i| f(all, lane(i)))
    }

    pub fn max(self, b: Num<'c>) -> Num<'c> {
        self.binary(BinaryOp::Max, b)
    }
    /// A scalar in as many lanes as `like` has.
    pub fn splat(self, like: Num<'c>) -> Num<'c> {
        let (Type::Num { elem, .. }, lanes) = (self.ty(), like.ty().lanes()) else { return self };
        if lanes == 1 { self } else { self.with(|e| e.op(Type::vector(elem, lanes), Op::Splat(self.value))) }
    }

    /// A variable that begins with this value.
    pub fn var(self, name: &str) -> Var<'c> {
        let ty = self.ty();
        let var = self.code.borrow_mut().var(name, ty);
        let v = Var { code: self.code, var };
        v.set(self);
        v
    }

    /// Runs `then` where this scalar bool is true.
    pub fn when(self, then: impl FnOnce()) {
        self.code.borrow_mut().begin();
        then();
        let mut e = self.code.borrow_mut();
        let then = e.end();
        e.effect(Op::If { cond: self.value, then, otherwise: vec![] });
    }

    /// Runs `body` for 0 up to this scalar u32.
    pub fn times(self, body: impl FnOnce(Num<'c>)) {
        let (start, step) = (self.constant(0).value, self.constant(1).value);
        let var = {
            let mut e = self.code.borrow_mut();
            let var = e.fresh(Type::U32);
            e.begin();
            var
        };
        body(self.made(var));
        let mut e = self.code.borrow_mut();
        let body = e.end();
        e.effect(Op::For { var, start, end: self.value, step, body, unroll: Unroll::Never });
    }
}

impl<'c> Var<'c> {
    pub fn set(self, to: Num<'c>) {
        self.code.borrow_mut().effect(Op::Set(self.var, to.value));
    }
    pub fn get(self) -> Num<'c> {
        let value = self.code.borrow_mut().get(self.var);
        Num { code: self.code, value }
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident;)*) => {
        $(
            impl<'c> $trait for Num<'c> {
                type Output = Num<'c>;
                fn $method(self, b: Num<'c>) -> Num<'c> {
                    self.binary(BinaryOp::$trait, b)
                }
            }
        )*
    };
    ($number:ident $to:ident: $($trait:ident $method:ident;)*) => {
        $(
            impl<'c> $trait<$number> for Num<'c> {
                type Output = Num<'c>;
                fn $method(self, b: $number) -> Num<'c> {
                    self.$method(self.$to(b))
                }
            }
        )*
    };
}
operators! { Add add; Sub sub; Mul mul; Div div; Rem rem; Shl shl; Shr shr; }
operators! { f64 number: Add add; Sub sub; Mul mul; }
operators! { u64 constant: Add add; Sub sub; Mul mul; Div div; Rem rem; Shl shl; Shr shr; BitAnd bitand; BitOr bitor; BitXor bitxor; }

impl<'c> BitAnd for Num<'c> {
    type Output = Num<'c>;
    fn bitand(self, b: Num<'c>) -> Num<'c> {
        self.binary(BinaryOp::And, b)
    }
}
impl<'c> BitOr for Num<'c> {
    type Output = Num<'c>;
    fn bitor(self, b: Num<'c>) -> Num<'c> {
        self.binary(BinaryOp::Or, b)
    }
}
impl<'c> BitXor for Num<'c> {
    type Output = Num<'c>;
    fn bitxor(self, b: Num<'c>) -> Num<'c> {
        self.binary(BinaryOp::Xor, b)
    }
}
impl<'c> Neg for Num<'c> {
    type Output = Num<'c>;
    fn neg(self) -> Num<'c> {
        self.unary(UnaryOp::Neg)
    }
}

/// A polynomial by Horner's rule, constant first; each step may round once or twice.
pub(super) fn poly<'c>(x: Num<'c>, coefficients: &[f64]) -> Num<'c> {
    let (last, rest) = coefficients.split_last().expect("a polynomial has coefficients");
    rest.iter().rev().fold(x.number(*last), |y, c| y.mul_add(x, x.number(*c)))
}

/// The result, or NaN where `x`, given by its bits without the sign, is NaN.
pub(super) fn keep_nan<'c>(magnitude: Num<'c>, y: Num<'c>) -> Num<'c> {
    let f = y.format();
    magnitude.at_least(f.infinity() + 1).choose(y.constant(f.nan()), y)
}
