//! Operators: arithmetic, bits, comparison.
//!
//! Both sides have one type, with three liberties: a literal takes the other side's type, `u32` next to `Idx` is
//! widened to `Idx`, and a scalar next to a vector is splatted.

use super::context::emit;
use super::expr::{Expr, IntoExpr};
use super::types::{Arith, Bits, Idx, Real, Scalar, Value, Vec2, Vec4, Vec8};
use crate::ir::{BinaryOp, CmpOp, Op, UnaryOp};
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Shl, Shr, Sub};

#[track_caller]
pub(super) fn binary<T: Value>(op: BinaryOp, a: Expr<T>, b: Expr<T>) -> Expr<T> {
    emit(|k| {
        let (x, y) = (k.value(a), k.value(b));
        k.define(Op::Binary(op, x, y))
    })
}

#[track_caller]
pub(super) fn unary<T: Value, U: Value>(op: UnaryOp, a: Expr<T>) -> Expr<U> {
    emit(|k| {
        let x = k.value(a);
        k.define(Op::Unary(op, x))
    })
}

macro_rules! mixed {
    ($tr:ident $f:ident $op:ident: $($a:ty, $b:ty => $out:ty;)*) => {$(
        impl $tr<Expr<$b>> for Expr<$a> {
            type Output = Expr<$out>;
            #[track_caller]
            fn $f(self, other: Expr<$b>) -> Expr<$out> {
                binary(BinaryOp::$op, self.cast::<$out>(), other.cast::<$out>())
            }
        }
    )*};
}

macro_rules! splatted {
    ($tr:ident $f:ident $op:ident: $($v:ident)*) => {$(
        impl<T: Scalar + Arith> $tr<Expr<T>> for Expr<$v<T>> {
            type Output = Expr<$v<T>>;
            #[track_caller]
            fn $f(self, other: Expr<T>) -> Expr<$v<T>> {
                binary(BinaryOp::$op, self, other.splat())
            }
        }
        impl<T: Scalar + Arith> $tr<Expr<$v<T>>> for Expr<T> {
            type Output = Expr<$v<T>>;
            #[track_caller]
            fn $f(self, other: Expr<$v<T>>) -> Expr<$v<T>> {
                binary(BinaryOp::$op, self.splat(), other)
            }
        }
    )*};
}

macro_rules! with_literal {
    ($tr:ident $f:ident $op:ident: $lit:ty, $bound:ident) => {
        impl<T: $bound> $tr<$lit> for Expr<T> {
            type Output = Expr<T>;
            #[track_caller]
            fn $f(self, other: $lit) -> Expr<T> {
                binary(BinaryOp::$op, self, IntoExpr::<T>::into_expr(other))
            }
        }
        impl<T: $bound> $tr<Expr<T>> for $lit {
            type Output = Expr<T>;
            #[track_caller]
            fn $f(self, other: Expr<T>) -> Expr<T> {
                binary(BinaryOp::$op, IntoExpr::<T>::into_expr(self), other)
            }
        }
    };
}

macro_rules! arithmetic {
    ($($tr:ident $f:ident;)*) => {$(
        impl<T: Arith> $tr<Expr<T>> for Expr<T> {
            type Output = Expr<T>;
            #[track_caller]
            fn $f(self, other: Expr<T>) -> Expr<T> {
                binary(BinaryOp::$tr, self, other)
            }
        }
        with_literal!($tr $f $tr: i128, Arith);
        with_literal!($tr $f $tr: f64, Real);
        mixed!($tr $f $tr: Idx, u32 => Idx; u32, Idx => Idx;);
        splatted!($tr $f $tr: Vec2 Vec4 Vec8);
    )*};
}
arithmetic! { Add add; Sub sub; Mul mul; Div div; Rem rem; }

/// Integers that a literal can meet in a bit operation: all of [`Bits`] but bool.
pub trait Word: Arith + Bits {}
impl<T: Arith + Bits> Word for T {}

macro_rules! bits {
    ($($tr:ident $f:ident $op:ident;)*) => {$(
        impl<T: Bits> $tr<Expr<T>> for Expr<T> {
            type Output = Expr<T>;
            #[track_caller]
            fn $f(self, other: Expr<T>) -> Expr<T> {
                binary(BinaryOp::$op, self, other)
            }
        }
        with_literal!($tr $f $op: i128, Word);
    )*};
}
bits! { BitAnd bitand And; BitOr bitor Or; BitXor bitxor Xor; Shl shl Shl; Shr shr Shr; }

impl<T: Arith> Neg for Expr<T> {
    type Output = Expr<T>;
    #[track_caller]
    fn neg(self) -> Expr<T> {
        unary(UnaryOp::Neg, self)
    }
}

impl<T: Bits> Not for Expr<T> {
    type Output = Expr<T>;
    #[track_caller]
    fn not(self) -> Expr<T> {
        unary(UnaryOp::Not, self)
    }
}

/// Two operands that have a type in common: equal types, `Idx` with `u32`, anything with a literal.
#[diagnostic::on_unimplemented(
    message = "`{Self}` and `{R}` have no type in common",
    note = "convert one side with `.to_f32()`, `.to_u32()`, `.to_idx()`, … or `.cast::<T>()`"
)]
pub trait Common<R> {
    /// The type.
    type T: Value;
    /// Both in that type.
    #[track_caller]
    fn common(self, other: R) -> (Expr<Self::T>, Expr<Self::T>);
}

impl<T: Value> Common<Expr<T>> for Expr<T> {
    type T = T;
    fn common(self, other: Expr<T>) -> (Expr<T>, Expr<T>) {
        (self, other)
    }
}
impl Common<Expr<u32>> for Expr<Idx> {
    type T = Idx;
    #[track_caller]
    fn common(self, other: Expr<u32>) -> (Expr<Idx>, Expr<Idx>) {
        (self, other.to_idx())
    }
}
impl Common<Expr<Idx>> for Expr<u32> {
    type T = Idx;
    #[track_caller]
    fn common(self, other: Expr<Idx>) -> (Expr<Idx>, Expr<Idx>) {
        (self.to_idx(), other)
    }
}
impl Common<bool> for Expr<bool> {
    type T = bool;
    #[track_caller]
    fn common(self, other: bool) -> (Expr<bool>, Expr<bool>) {
        (self, other.into_expr())
    }
}
impl Common<Expr<bool>> for bool {
    type T = bool;
    #[track_caller]
    fn common(self, other: Expr<bool>) -> (Expr<bool>, Expr<bool>) {
        (self.into_expr(), other)
    }
}
/// Two integers without a type are u32.
impl Common<i128> for i128 {
    type T = u32;
    #[track_caller]
    fn common(self, other: i128) -> (Expr<u32>, Expr<u32>) {
        (self.into_expr(), other.into_expr())
    }
}
/// Two floats without a type are f32.
impl Common<f64> for f64 {
    type T = f32;
    #[track_caller]
    fn common(self, other: f64) -> (Expr<f32>, Expr<f32>) {
        (self.into_expr(), other.into_expr())
    }
}

macro_rules! common_literal {
    ($($lit:ty, $bound:ident;)*) => {$(
        impl<T: $bound> Common<$lit> for Expr<T> {
            type T = T;
            #[track_caller]
            fn common(self, other: $lit) -> (Expr<T>, Expr<T>) {
                (self, other.into_expr())
            }
        }
        impl<T: $bound> Common<Expr<T>> for $lit {
            type T = T;
            #[track_caller]
            fn common(self, other: Expr<T>) -> (Expr<T>, Expr<T>) {
                (self.into_expr(), other)
            }
        }
    )*};
}
common_literal! { i128, Arith; f64, Real; }

macro_rules! host_is_literal {
    ($($h:ty => $lit:ty, $bound:ident;)*) => {$(
        impl<T: $bound> Common<$h> for Expr<T> {
            type T = T;
            #[track_caller]
            fn common(self, other: $h) -> (Expr<T>, Expr<T>) {
                (self, other.into_expr())
            }
        }
        impl<T: $bound> Common<Expr<T>> for $h {
            type T = T;
            #[track_caller]
            fn common(self, other: Expr<T>) -> (Expr<T>, Expr<T>) {
                (self.into_expr(), other)
            }
        }
    )*};
}
host_is_literal! { usize => i128, Arith; u32 => i128, Arith; i32 => i128, Arith; f32 => f64, Real; }

/// What comparing two operands gives: `Expr<bool>`, or a vector of them.
pub type Mask<A, B> = Expr<<<A as Common<B>>::T as Value>::Mask>;

macro_rules! comparisons {
    ($($(#[$m:meta])* $f:ident $op:ident;)*) => {$(
        $(#[$m])*
        #[track_caller]
        pub fn $f<A: Common<B>, B>(a: A, b: B) -> Mask<A, B> {
            let (a, b) = a.common(b);
            emit(|k| {
                let (x, y) = (k.value(a), k.value(b));
                k.define(Op::Compare(CmpOp::$op, x, y))
            })
        }
    )*};
}
comparisons! {
    /// `a == b`
    eq Eq;
    /// `a != b`
    ne Ne;
    /// `a < b`
    lt Lt;
    /// `a <= b`
    le Le;
    /// `a > b`
    gt Gt;
    /// `a >= b`
    ge Ge;
}
