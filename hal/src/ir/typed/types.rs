//! The types of the kernel language as Rust types, and the traits that group them.
//!
//! Authors bound their kernels by [`Element`], [`Num`], [`Float`], [`Int`]: scalars that lie in buffers. The wider
//! traits [`Arith`], [`Real`], [`Bits`] also hold for `Idx` and for vectors; the functions and operators use them.

use super::{Expr, IntoExpr};
use crate::DType;
use crate::ir::{Elem, Type};
use std::marker::PhantomData;

pub use half::{bf16, f16};

/// A type that a value on the chip can have: a scalar, a vector of 2, 4 or 8.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of the kernel language",
    note = "there are bool, i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64, Idx, Vec2, Vec4 and Vec8 of them; host values are marked `#[host]`"
)]
pub trait Value: Copy + 'static {
    /// The type in the language.
    const TYPE: Type;
    /// What a comparison gives: bool, or a vector of them.
    type Mask: Value;
}

/// One element: everything but vectors.
pub trait Scalar: Value<Mask = bool> {
    /// The element type.
    const ELEM: Elem;
    /// Its name, as in the names of kernels.
    const NAME: &'static str;
}

/// A scalar that lies in memory: what buffers hold.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot lie in a buffer")]
pub trait Element: Scalar {
    /// The storage type.
    const DTYPE: DType;
}

/// Numbers, `Idx` and vectors of numbers: `+ - * / %`, `min`, `max`.
#[diagnostic::on_unimplemented(message = "there is no arithmetic on `{Self}`")]
pub trait Arith: Value {}

/// Floats and vectors of floats: `exp`, `sqrt`, `tanh`, …
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a float type",
    note = "convert first: `.to_f32()`, `.cast::<T>()`"
)]
pub trait Real: Arith {}

/// Integers, `Idx`, bool and vectors of integers: `& | ^ !`.
#[diagnostic::on_unimplemented(message = "there are no bit operations on `{Self}`")]
pub trait Bits: Value {}

/// A number that lies in memory.
pub trait Num: Element + Arith {
    /// Rounds an f32 to this type; integers truncate and saturate.
    #[track_caller]
    fn from_f32(x: impl IntoExpr<f32>) -> Expr<Self> {
        x.into_expr().cast::<Self>()
    }
    /// Converts an i32.
    #[track_caller]
    fn from_i32(x: impl IntoExpr<i32>) -> Expr<Self> {
        x.into_expr().cast::<Self>()
    }
    /// Converts a u32.
    #[track_caller]
    fn from_u32(x: impl IntoExpr<u32>) -> Expr<Self> {
        x.into_expr().cast::<Self>()
    }
    /// The least number: −∞ for floats. Where a maximum starts.
    #[track_caller]
    fn lowest() -> Expr<Self>;
    /// The greatest number: +∞ for floats. Where a minimum starts.
    #[track_caller]
    fn highest() -> Expr<Self>;
}

/// f16, bf16, f32, f64.
pub trait Float: Num + Real {}

/// i8 … u64.
pub trait Int: Num + Bits {}

/// An unsigned index of 32 or 64 bits, chosen for the launch. Never in buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idx;

/// OCP 8-bit float E4M3: storage only, convert with `.to_f32()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct F8E4M3(pub u8);

/// OCP 8-bit float E5M2: storage only, convert with `.to_f32()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct F8E5M2(pub u8);

macro_rules! scalars {
    ($($t:ty => $d:ident;)*) => {$(
        impl Value for $t {
            const TYPE: Type = Type::Num { elem: Elem::D(DType::$d), lanes: 1 };
            type Mask = bool;
        }
        impl Scalar for $t {
            const ELEM: Elem = Elem::D(DType::$d);
            const NAME: &'static str = DType::$d.name();
        }
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
scalars! {
    bool => Bool; i8 => I8; i16 => I16; i32 => I32; i64 => I64; u8 => U8; u16 => U16; u32 => U32; u64 => U64;
    f16 => F16; bf16 => BF16; f32 => F32; f64 => F64; F8E4M3 => F8E4M3; F8E5M2 => F8E5M2;
}

impl Value for Idx {
    const TYPE: Type = Type::IDX;
    type Mask = bool;
}
impl Scalar for Idx {
    const ELEM: Elem = Elem::Idx;
    const NAME: &'static str = "idx";
}
impl Arith for Idx {}
impl Bits for Idx {}
impl Bits for bool {}

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl Arith for $t {}
        impl Real for $t {}
        impl Num for $t {
            #[track_caller]
            fn lowest() -> Expr<$t> {
                f64::NEG_INFINITY.into_expr()
            }
            #[track_caller]
            fn highest() -> Expr<$t> {
                f64::INFINITY.into_expr()
            }
        }
        impl Float for $t {}
    )*};
}
floats!(f16 bf16 f32 f64);

macro_rules! ints {
    ($($t:ty)*) => {$(
        impl Arith for $t {}
        impl Bits for $t {}
        impl Num for $t {
            #[track_caller]
            fn lowest() -> Expr<$t> {
                i128::from(<$t>::MIN).into_expr()
            }
            #[track_caller]
            fn highest() -> Expr<$t> {
                i128::from(<$t>::MAX).into_expr()
            }
        }
        impl Int for $t {}
    )*};
}
ints!(i8 i16 i32 i64 u8 u16 u32 u64);

/// A vector type of `LANES` scalars `Of`.
pub trait Vector: Value {
    /// The lanes' type.
    type Of: Scalar;
    /// How many.
    const LANES: u8;
}

macro_rules! vectors {
    ($($(#[$m:meta])* $name:ident = $lanes:literal;)*) => {$(
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name<T>(PhantomData<fn() -> T>);
        impl<T: Scalar> Value for $name<T> {
            const TYPE: Type = Type::Num { elem: T::ELEM, lanes: $lanes };
            type Mask = $name<bool>;
        }
        impl<T: Scalar + Arith> Arith for $name<T> {}
        impl<T: Scalar + Real> Real for $name<T> {}
        impl<T: Scalar + Bits> Bits for $name<T> {}
        impl<T: Scalar> Vector for $name<T> {
            type Of = T;
            const LANES: u8 = $lanes;
        }
    )*};
}
vectors! {
    /// Two lanes.
    Vec2 = 2;
    /// Four lanes.
    Vec4 = 4;
    /// Eight lanes.
    Vec8 = 8;
}
