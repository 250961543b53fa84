//! Expressions, variables, and what turns into an expression.
//!
//! Numbers of the host have no type on the chip until they meet one: an integer of the host (and every integer
//! literal) is an `i128`, a float an `f64`; each becomes a constant of the type that the place asks for.

use super::context::emit;
use super::types::{Arith, Element, Real, Scalar, Value, Vec2, Vec4, Vec8, Vector, f16};
use crate::ir::{self, Elem, Op, build::encode_f64};
use std::marker::PhantomData;

/// A value on the chip: a number in the kernel under construction and its type. Copy: using it twice computes it
/// once.
pub struct Expr<T> {
    pub(super) id: ir::Value,
    pub(super) build: u32,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for Expr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Expr<T> {}

impl<T> std::fmt::Debug for Expr<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "%{}", self.id.0)
    }
}

impl<T> Expr<T> {
    pub(super) fn new(id: ir::Value, build: u32) -> Expr<T> {
        Expr { id, build, ty: PhantomData }
    }
}

/// What can stand where a `T` is expected: an expression of that type, a literal, a number of the host.
#[diagnostic::on_unimplemented(
    message = "a value of type `{T}` is expected in this kernel, this is `{Self}`",
    note = "convert with `.to_f32()`, `.to_u32()`, … or `.cast::<T>()`"
)]
pub trait IntoExpr<T: Value> {
    /// The expression.
    #[track_caller]
    fn into_expr(self) -> Expr<T>;
}

impl<T: Value> IntoExpr<T> for Expr<T> {
    fn into_expr(self) -> Expr<T> {
        self
    }
}

impl<T: Arith> IntoExpr<T> for i128 {
    #[track_caller]
    fn into_expr(self) -> Expr<T> {
        emit(|b| {
            let bits = match T::TYPE.elem() {
                Some(elem) if elem.is_float() => encode_f64(elem, self as f64),
                Some(elem) => {
                    if !fits(elem, self) {
                        b.fail(&format!("the number {self} does not fit the type {}", elem.name()));
                    }
                    mask(elem, self)
                }
                None => 0,
            };
            let id = b.constant(T::TYPE, bits);
            b.expr(id)
        })
    }
}

fn fits(elem: Elem, x: i128) -> bool {
    let (signed, bits) = match elem {
        Elem::Idx => (false, 64),
        Elem::D(d) => (d.is_signed(), 8 * d.size() as u32),
    };
    let (low, high) =
        if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    (low..=high).contains(&x)
}

fn mask(elem: Elem, x: i128) -> u64 {
    match elem {
        Elem::Idx => x as u64,
        Elem::D(d) => (x as u64) & (u64::MAX >> (64 - 8 * d.size())),
    }
}

impl<T: Real> IntoExpr<T> for f64 {
    #[track_caller]
    fn into_expr(self) -> Expr<T> {
        emit(|b| {
            let bits = T::TYPE.elem().map_or(0, |elem| encode_f64(elem, self));
            let id = b.constant(T::TYPE, bits);
            b.expr(id)
        })
    }
}

impl IntoExpr<bool> for bool {
    #[track_caller]
    fn into_expr(self) -> Expr<bool> {
        emit(|b| {
            let id = b.builder.bool(self);
            b.expr(id)
        })
    }
}

/// A number of the host in an expression of the chip.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no meaning on the chip",
    note = "numbers and bool of the host can stand in expressions of a kernel; other host values only in `#[host]` code"
)]
pub trait HostNumber {
    /// `i128`, `f64`, or `Expr<bool>`: what has no type on the chip yet.
    type Literal;
    /// The number.
    #[track_caller]
    fn literal(self) -> Self::Literal;
}

macro_rules! host_numbers {
    ($($t:ty => $lit:ty, $bound:ident;)*) => {$(
        impl HostNumber for $t {
            type Literal = $lit;
            fn literal(self) -> $lit {
                self as $lit
            }
        }
        impl<T: $bound> IntoExpr<T> for $t {
            #[track_caller]
            fn into_expr(self) -> Expr<T> {
                (self as $lit).into_expr()
            }
        }
    )*};
}
host_numbers! {
    i8 => i128, Arith; i16 => i128, Arith; i32 => i128, Arith; i64 => i128, Arith; isize => i128, Arith;
    u8 => i128, Arith; u16 => i128, Arith; u32 => i128, Arith; u64 => i128, Arith; usize => i128, Arith;
    f32 => f64, Real;
}
impl HostNumber for i128 {
    type Literal = i128;
    fn literal(self) -> i128 {
        self
    }
}
impl HostNumber for f64 {
    type Literal = f64;
    fn literal(self) -> f64 {
        self
    }
}
impl HostNumber for f16 {
    type Literal = f64;
    fn literal(self) -> f64 {
        self.to_f64()
    }
}
impl HostNumber for bool {
    type Literal = Expr<bool>;
    #[track_caller]
    fn literal(self) -> Expr<bool> {
        self.into_expr()
    }
}

/// Expressions that host code keeps, in a `Vec` for example.
impl<T> HostNumber for Expr<T> {
    type Literal = Expr<T>;
    fn literal(self) -> Expr<T> {
        self
    }
}
/// Variables that host code keeps: their value now.
impl<T: Value> HostNumber for Var<T> {
    type Literal = Expr<T>;
    #[track_caller]
    fn literal(self) -> Expr<T> {
        self.get()
    }
}

/// A number of the host for use with expressions: `lit(n)`.
#[track_caller]
pub fn lit<H: HostNumber>(x: H) -> H::Literal {
    x.literal()
}

/// An expression of a stated type.
#[track_caller]
pub fn expr<T: Value>(x: impl IntoExpr<T>) -> Expr<T> {
    x.into_expr()
}

/// A number that is known while the kernel is built: an array's length, a dimension.
#[diagnostic::on_unimplemented(
    message = "this must be a number of the host, known while the kernel is built; `{Self}` is not",
    note = "host numbers are literals, constants, `#[host]` parameters and `#[host] let`"
)]
pub trait IntoHost<H> {
    /// The number.
    #[track_caller]
    fn into_host(self) -> H;
}

macro_rules! into_host {
    ($($h:ty: $($from:ty)*;)*) => {$(
        impl IntoHost<$h> for $h {
            fn into_host(self) -> $h {
                self
            }
        }
        $(impl IntoHost<$h> for $from {
            #[track_caller]
            fn into_host(self) -> $h {
                // Not a closure: the place of the mistake is the caller's.
                match <$h>::try_from(self) {
                    Ok(x) => x,
                    Err(_) => {
                        emit(|b| b.fail(&format!("the number {self} does not fit the host type {}", stringify!($h))));
                        0
                    }
                }
            }
        })*
    )*};
}
into_host! {
    u8: i128 usize u32 i32;
    u16: i128 usize u32 i32;
    u32: i128 usize i32;
    u64: i128 usize u32 i32;
    usize: i128 u32 i32;
    i32: i128 usize u32;
    i64: i128 usize u32 i32;
}
impl IntoHost<bool> for bool {
    fn into_host(self) -> bool {
        self
    }
}
impl IntoHost<f32> for f32 {
    fn into_host(self) -> f32 {
        self
    }
}
impl IntoHost<f32> for f64 {
    fn into_host(self) -> f32 {
        self as f32
    }
}
impl IntoHost<f64> for f64 {
    fn into_host(self) -> f64 {
        self
    }
}

/// A variable: what `let mut` becomes.
pub struct Var<T> {
    id: ir::VarId,
    build: u32,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for Var<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Var<T> {}

/// Declares a variable and sets it.
#[track_caller]
pub fn var<T: Value>(name: &str, init: impl IntoExpr<T>) -> Var<T> {
    let init = init.into_expr();
    emit(|b| {
        let (name, init) = (b.name(name), b.value(init));
        Var { id: b.builder.var(&name, init), build: b.serial(), ty: PhantomData }
    })
}

impl<T: Value> Var<T> {
    /// Its value now.
    #[track_caller]
    pub fn get(self) -> Expr<T> {
        emit(|b| {
            let id = if b.owns(self.build, "this variable") { b.builder.get(self.id) } else { b.constant(T::TYPE, 0) };
            b.expr(id)
        })
    }

    /// Sets it.
    #[track_caller]
    pub fn set(self, to: impl IntoExpr<T>) {
        let to = to.into_expr();
        emit(|b| {
            if b.owns(self.build, "this variable") {
                let to = b.value(to);
                b.builder.set(self.id, to);
            }
        })
    }
}

macro_rules! conversions {
    ($($(#[$m:meta])* $name:ident = $to:ty;)*) => {
        impl<T: Scalar> Expr<T> {
            $($(#[$m])*
            #[track_caller]
            pub fn $name(self) -> Expr<$to> {
                self.cast::<$to>()
            })*
        }
        conversions!(@vec Vec2 $($(#[$m])* $name = $to;)*);
        conversions!(@vec Vec4 $($(#[$m])* $name = $to;)*);
        conversions!(@vec Vec8 $($(#[$m])* $name = $to;)*);
    };
    (@vec $v:ident $($(#[$m:meta])* $name:ident = $to:ty;)*) => {
        impl<T: Scalar> Expr<$v<T>> {
            $($(#[$m])*
            #[track_caller]
            pub fn $name(self) -> Expr<$v<$to>> {
                self.cast::<$to>()
            })*
            /// Converts every lane: floats to integers truncate and saturate, NaN gives 0.
            #[track_caller]
            pub fn cast<U: Scalar>(self) -> Expr<$v<U>> {
                emit(|b| {
                    let x = b.value(self);
                    let id = b.builder.cast(U::ELEM, x);
                    b.expr(id)
                })
            }
        }
    };
}
conversions! {
    /// Converted to f32.
    to_f32 = f32;
    /// Converted to f64.
    to_f64 = f64;
    /// Converted to f16, rounded to nearest even.
    to_f16 = f16;
    /// Converted to i32.
    to_i32 = i32;
    /// Converted to i64.
    to_i64 = i64;
    /// Converted to u32.
    to_u32 = u32;
    /// Converted to u64.
    to_u64 = u64;
    /// True where not zero.
    to_bool = bool;
    /// Converted to `idx`.
    to_idx = super::types::Idx;
}

impl<T: Scalar> Expr<T> {
    /// Converts: floats to integers truncate and saturate, NaN gives 0.
    #[track_caller]
    pub fn cast<U: Scalar>(self) -> Expr<U> {
        emit(|b| {
            let x = b.value(self);
            let id = b.builder.cast(U::ELEM, x);
            b.expr(id)
        })
    }

    /// The same bits as another type of the same size.
    #[track_caller]
    pub fn bitcast<U: Element>(self) -> Expr<U> {
        emit(|b| {
            if T::ELEM.dtype().map(|d| d.size()) != Some(U::DTYPE.size()) {
                b.fail(&format!("bitcast from {} to {}: the sizes differ", T::NAME, U::NAME));
            }
            let x = b.value(self);
            b.define(Op::Bitcast(x))
        })
    }

    /// A vector with every lane this value: `x.splat::<Vec4<f32>>()`.
    #[track_caller]
    pub fn splat<V: Vector<Of = T>>(self) -> Expr<V> {
        emit(|b| {
            let x = b.value(self);
            b.define(Op::Splat(x))
        })
    }
}

impl Expr<super::types::Idx> {
    /// Promises that this index is a multiple of `n`: wide accesses may then be aligned.
    #[track_caller]
    pub fn assume_multiple(self, n: impl IntoHost<u32>) -> Expr<super::types::Idx> {
        let n = n.into_host();
        emit(|b| {
            let x = b.value(self);
            b.define(Op::AssumeMultiple(x, n))
        })
    }
}

impl<V: Vector> Expr<V> {
    /// One lane, counted from 0.
    #[track_caller]
    pub fn lane(self, n: impl IntoHost<u8>) -> Expr<V::Of> {
        let n = n.into_host();
        emit(|b| {
            if n >= V::LANES {
                b.fail(&format!("lane {n} of a vector of {} lanes", V::LANES));
            }
            let x = b.value(self);
            b.define(Op::Extract(x, n.min(V::LANES - 1)))
        })
    }

    /// A vector from its lanes, as many as the type has.
    #[track_caller]
    pub fn from_lanes(lanes: &[Expr<V::Of>]) -> Expr<V> {
        emit(|b| {
            if lanes.len() != V::LANES as usize {
                b.fail(&format!("{} values for a vector of {} lanes", lanes.len(), V::LANES));
                let id = b.constant(V::TYPE, 0);
                return b.expr(id);
            }
            let of: Vec<_> = lanes.iter().map(|e| b.value(*e)).collect();
            b.define(Op::Vector(of))
        })
    }
}
