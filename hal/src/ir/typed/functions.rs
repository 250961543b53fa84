//! The functions of the language: where a lane is, mathematics, groups, subgroups, packed integers.

use super::context::emit;
use super::expr::{Expr, IntoExpr, IntoHost};
use super::ops::{Common, binary, unary};
use super::types::{Arith, Bits, Idx, Real, Scalar, Value};
use crate::ir::{BinaryOp, Builtin, Op, ReduceOp, Scope, SubgroupOp, UnaryOp};

macro_rules! builtins {
    ($($(#[$m:meta])* $f:ident $variant:ident -> $t:ty;)*) => {$(
        $(#[$m])*
        #[track_caller]
        pub fn $f(dim: impl IntoHost<u8>) -> Expr<$t> {
            let dim = dim.into_host();
            emit(|b| {
                if dim > 2 {
                    b.fail(&format!("{}({dim}): dimensions are 0, 1 and 2", stringify!($f)));
                }
                b.define(Op::Builtin(Builtin::$variant(dim.min(2))))
            })
        }
    )*};
}
builtins! {
    /// Workgroup in the grid, along a dimension.
    group_id GroupId -> Idx;
    /// Workgroups of the grid, along a dimension.
    num_groups NumGroups -> Idx;
    /// Lane in the workgroup, along a dimension.
    local_id LocalId -> u32;
    /// Lanes of the workgroup, along a dimension.
    local_size LocalSize -> u32;
    /// `group_id · local_size + local_id`, along a dimension.
    global_id GlobalId -> Idx;
}

macro_rules! lanes {
    ($($(#[$m:meta])* $f:ident $variant:ident;)*) => {$(
        $(#[$m])*
        #[track_caller]
        pub fn $f() -> Expr<u32> {
            emit(|b| b.define(Op::Builtin(Builtin::$variant)))
        }
    )*};
}
lanes! {
    /// Lanes of this subgroup: a run-time value.
    subgroup_size SubgroupSize;
    /// Lane in the subgroup.
    subgroup_lane SubgroupLane;
    /// Subgroup in the workgroup.
    subgroup_id SubgroupId;
}

macro_rules! of_float {
    ($($(#[$m:meta])* $f:ident $op:ident;)*) => {
        $($(#[$m])*
        #[track_caller]
        pub fn $f<T: Real>(x: impl IntoExpr<T>) -> Expr<T> {
            unary(UnaryOp::$op, x.into_expr())
        })*
        impl<T: Real> Expr<T> {
            $($(#[$m])*
            #[track_caller]
            pub fn $f(self) -> Expr<T> {
                unary(UnaryOp::$op, self)
            })*
        }
    };
}
of_float! {
    /// Largest integer not above x.
    floor Floor;
    /// Smallest integer not below x.
    ceil Ceil;
    /// Towards zero.
    trunc Trunc;
    /// To nearest, ties to even.
    round Round;
    /// Square root.
    sqrt Sqrt;
    /// 1/√x.
    rsqrt Rsqrt;
    /// 1/x.
    recip Recip;
    /// eˣ.
    exp Exp;
    /// 2ˣ.
    exp2 Exp2;
    /// Natural logarithm.
    log Log;
    /// Logarithm to base 2.
    log2 Log2;
    /// Sine of radians.
    sin Sin;
    /// Cosine of radians.
    cos Cos;
    /// Tangent of radians.
    tan Tan;
    /// Hyperbolic tangent.
    tanh Tanh;
    /// The error function.
    erf Erf;
}

/// Absolute value.
#[track_caller]
pub fn abs<T: Arith>(x: impl IntoExpr<T>) -> Expr<T> {
    unary(UnaryOp::Abs, x.into_expr())
}

/// −1, 0 or 1.
#[track_caller]
pub fn sign<T: Arith>(x: impl IntoExpr<T>) -> Expr<T> {
    unary(UnaryOp::Sign, x.into_expr())
}

/// True for NaN.
#[track_caller]
pub fn is_nan<T: Real>(x: impl IntoExpr<T>) -> Expr<T::Mask> {
    unary(UnaryOp::IsNan, x.into_expr())
}

/// True for +∞ and −∞.
#[track_caller]
pub fn is_inf<T: Real>(x: impl IntoExpr<T>) -> Expr<T::Mask> {
    unary(UnaryOp::IsInf, x.into_expr())
}

/// Bits that are 1.
#[track_caller]
pub fn count_ones<T: Arith + Bits>(x: impl IntoExpr<T>) -> Expr<T> {
    unary(UnaryOp::CountOnes, x.into_expr())
}

/// Zero bits above the highest 1.
#[track_caller]
pub fn leading_zeros<T: Arith + Bits>(x: impl IntoExpr<T>) -> Expr<T> {
    unary(UnaryOp::LeadingZeros, x.into_expr())
}

/// Zero bits below the lowest 1.
#[track_caller]
pub fn trailing_zeros<T: Arith + Bits>(x: impl IntoExpr<T>) -> Expr<T> {
    unary(UnaryOp::TrailingZeros, x.into_expr())
}

/// The lesser; NaN when either is NaN.
#[track_caller]
pub fn min<A: Common<B>, B>(a: A, b: B) -> Expr<A::T>
where
    A::T: Arith,
{
    let (a, b) = a.common(b);
    binary(BinaryOp::Min, a, b)
}

/// The greater; NaN when either is NaN.
#[track_caller]
pub fn max<A: Common<B>, B>(a: A, b: B) -> Expr<A::T>
where
    A::T: Arith,
{
    let (a, b) = a.common(b);
    binary(BinaryOp::Max, a, b)
}

/// aᵇ.
#[track_caller]
pub fn pow<A: Common<B>, B>(a: A, b: B) -> Expr<A::T>
where
    A::T: Real,
{
    let (a, b) = a.common(b);
    binary(BinaryOp::Pow, a, b)
}

/// What three operands have in common.
pub type Common3<A, B, C> = <Expr<<A as Common<B>>::T> as Common<C>>::T;

/// Three operands in the type that they have in common.
#[track_caller]
fn three<A, B, C, T: Value>(a: A, b: B, c: C) -> (Expr<T>, Expr<T>, Expr<T>)
where
    A: Common<B>,
    Expr<A::T>: Common<C, T = T> + IntoExpr<T>,
{
    let (a, b) = a.common(b);
    let (a, c) = a.common(c);
    (a, b.into_expr(), c)
}

/// a·b + c, rounded once or twice, as the chip likes.
#[track_caller]
pub fn mul_add<A, B, C, T: Arith>(a: A, b: B, c: C) -> Expr<T>
where
    A: Common<B>,
    Expr<A::T>: Common<C, T = T> + IntoExpr<T>,
{
    let (a, b, c) = three(a, b, c);
    emit(|k| {
        let (a, b, c) = (k.value(a), k.value(b), k.value(c));
        k.define(Op::MulAdd(a, b, c))
    })
}

/// a·b + c, rounded once; the device needs the feature.
#[track_caller]
pub fn fma<A, B, C, T: Real>(a: A, b: B, c: C) -> Expr<T>
where
    A: Common<B>,
    Expr<A::T>: Common<C, T = T> + IntoExpr<T>,
{
    let (a, b, c) = three(a, b, c);
    emit(|k| {
        let (a, b, c) = (k.value(a), k.value(b), k.value(c));
        k.define(Op::Fma(a, b, c))
    })
}

/// `cond ? a : b`; both are computed. Where one of them must not be, write `if`.
#[track_caller]
pub fn select<A: Common<B>, B>(cond: impl IntoExpr<<A::T as Value>::Mask>, a: A, b: B) -> Expr<A::T> {
    let cond = cond.into_expr();
    let (a, b) = a.common(b);
    emit(|k| {
        let (cond, a, b) = (k.value(cond), k.value(a), k.value(b));
        k.define(Op::Select(cond, a, b))
    })
}

// ---- groups ----

/// All lanes of the workgroup meet; shared memory and buffers are visible within it afterwards.
#[track_caller]
pub fn barrier() {
    emit(|b| b.builder.barrier())
}

/// All lanes of the subgroup meet.
#[track_caller]
pub fn subgroup_barrier() {
    emit(|b| b.builder.effect(Op::Barrier(Scope::Subgroup)))
}

macro_rules! reductions {
    ($($(#[$m:meta])* $group:ident $subgroup:ident $op:ident $bound:ident;)*) => {$(
        $(#[$m])*
        /// Every lane of the workgroup gets it; lanes combine in a fixed order.
        #[track_caller]
        pub fn $group<T: Scalar + $bound>(x: impl IntoExpr<T>) -> Expr<T> {
            let x = x.into_expr();
            emit(|b| {
                let x = b.value(x);
                b.define(Op::GroupReduce(ReduceOp::$op, x))
            })
        }
        $(#[$m])*
        /// Every lane of the subgroup gets it.
        #[track_caller]
        pub fn $subgroup<T: Scalar + $bound>(x: impl IntoExpr<T>) -> Expr<T> {
            subgroup(SubgroupOp::Reduce(ReduceOp::$op), x.into_expr(), None)
        }
    )*};
}
reductions! {
    /// Sum over lanes.
    group_sum subgroup_sum Sum Arith;
    /// Product over lanes.
    group_prod subgroup_prod Prod Arith;
    /// Least over lanes.
    group_min subgroup_min Min Arith;
    /// Greatest over lanes.
    group_max subgroup_max Max Arith;
    /// Bitwise and over lanes; for bool: all.
    group_and subgroup_and And Bits;
    /// Bitwise or over lanes; for bool: any.
    group_or subgroup_or Or Bits;
    /// Bitwise exclusive or over lanes.
    group_xor subgroup_xor Xor Bits;
}

#[track_caller]
fn subgroup<T: Scalar>(op: SubgroupOp, x: Expr<T>, lane: Option<Expr<u32>>) -> Expr<T> {
    emit(|b| {
        let value = b.value(x);
        let lane = lane.map(|l| b.value(l));
        b.define(Op::Subgroup { op, value, lane })
    })
}

macro_rules! shuffles {
    ($($(#[$m:meta])* $f:ident $op:ident;)*) => {$(
        $(#[$m])*
        #[track_caller]
        pub fn $f<T: Scalar>(x: impl IntoExpr<T>, lane: impl IntoExpr<u32>) -> Expr<T> {
            let (x, lane) = (x.into_expr(), lane.into_expr());
            subgroup(SubgroupOp::$op, x, Some(lane))
        }
    )*};
}
shuffles! {
    /// The value that a lane of the subgroup has.
    shuffle Shuffle;
    /// The value of lane `own ^ lane`.
    shuffle_xor ShuffleXor;
    /// The value of lane `own + lane`; undefined past the end.
    shuffle_down ShuffleDown;
    /// The value of lane `own − lane`; undefined before the start.
    shuffle_up ShuffleUp;
    /// The value that the same lane, for all, of the subgroup has.
    broadcast Broadcast;
}

/// Sum over the lanes of the subgroup before this one.
#[track_caller]
pub fn subgroup_scan_add<T: Scalar + Arith>(x: impl IntoExpr<T>) -> Expr<T> {
    subgroup(SubgroupOp::ScanAdd, x.into_expr(), None)
}

// ---- packed integers ----

#[track_caller]
fn dot<T: Value>(a: Expr<u32>, b: Expr<u32>, acc: Expr<T>, a_signed: bool, b_signed: bool) -> Expr<T> {
    emit(|k| {
        let (a, b, acc) = (k.value(a), k.value(b), k.value(acc));
        k.define(Op::Dot4 { a, b, acc, a_signed, b_signed })
    })
}

/// `acc + Σ aᵢ·bᵢ` over four signed bytes each.
#[track_caller]
pub fn dot4(a: impl IntoExpr<u32>, b: impl IntoExpr<u32>, acc: impl IntoExpr<i32>) -> Expr<i32> {
    dot(a.into_expr(), b.into_expr(), acc.into_expr(), true, true)
}

/// `acc + Σ aᵢ·bᵢ` over four unsigned bytes each.
#[track_caller]
pub fn dot4_unsigned(a: impl IntoExpr<u32>, b: impl IntoExpr<u32>, acc: impl IntoExpr<u32>) -> Expr<u32> {
    dot(a.into_expr(), b.into_expr(), acc.into_expr(), false, false)
}

/// `acc + Σ aᵢ·bᵢ` over four unsigned bytes of `a` and four signed bytes of `b`.
#[track_caller]
pub fn dot4_mixed(a: impl IntoExpr<u32>, b: impl IntoExpr<u32>, acc: impl IntoExpr<i32>) -> Expr<i32> {
    dot(a.into_expr(), b.into_expr(), acc.into_expr(), false, true)
}

/// Element `index` of `bits` (1, 2 or 4) bits out of a word; `signed`: two's complement.
#[track_caller]
pub fn unpack(
    word: impl IntoExpr<u32>,
    index: impl IntoExpr<u32>,
    bits: impl IntoHost<u8>,
    signed: impl IntoHost<bool>,
) -> Expr<i32> {
    let (word, index) = (word.into_expr(), index.into_expr());
    let (bits, signed) = (bits.into_host(), signed.into_host());
    emit(|b| {
        if ![1, 2, 4].contains(&bits) {
            b.fail(&format!("unpack: elements of {bits} bits; accepted: 1, 2, 4"));
        }
        let (word, index) = (b.value(word), b.value(index));
        b.define(Op::Unpack { word, index, bits, signed })
    })
}
