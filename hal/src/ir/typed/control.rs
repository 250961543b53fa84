//! Control flow as `#[kernel]` writes it: each construct is opened and closed by a call.

use super::context::emit;
use super::expr::{Expr, IntoExpr, IntoHost, Var, var};
use super::fragment::{Fragment, fragment_value};
use super::ops::Common;
use super::types::{Arith, Element, Scalar, Value};
use crate::ir::{Op, Unroll};

/// `if cond {`
#[track_caller]
pub fn begin_if(cond: impl IntoExpr<bool>) {
    let cond = cond.into_expr();
    emit(|b| {
        let cond = b.value(cond);
        b.builder.begin_if(cond);
    })
}

/// `} else {`
#[track_caller]
pub fn begin_else() {
    emit(|b| b.builder.begin_else())
}

/// `}` of an `if`.
#[track_caller]
pub fn end_if() {
    emit(|b| b.builder.end_if())
}

/// The value of the first branch: a variable that the other branch sets too.
#[track_caller]
pub fn branch_value<T: Value>(value: impl IntoExpr<T>) -> Var<T> {
    var("if_value", value)
}

/// `while`: what computes the condition follows.
#[track_caller]
pub fn begin_while() {
    emit(|b| b.builder.begin_while())
}

/// The condition of a `while`; its body follows.
#[track_caller]
pub fn while_cond(cond: impl IntoExpr<bool>) {
    let cond = cond.into_expr();
    emit(|b| {
        let cond = b.value(cond);
        b.builder.while_cond(cond);
    })
}

/// `}` of a `while`.
#[track_caller]
pub fn end_while() {
    emit(|b| b.builder.end_while())
}

/// `break`
#[track_caller]
pub fn break_loop() {
    emit(|b| b.builder.effect(Op::Break))
}

/// `continue`
#[track_caller]
pub fn continue_loop() {
    emit(|b| b.builder.effect(Op::Continue))
}

/// `return`
#[track_caller]
pub fn return_lane() {
    emit(|b| b.builder.effect(Op::Return))
}

/// What `for` counts through.
pub struct Steps<T> {
    start: Expr<T>,
    end: Expr<T>,
    step: Expr<T>,
    unroll: Unroll,
}

impl<T> Clone for Steps<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Steps<T> {}

impl<T: Scalar + Arith> Steps<T> {
    /// Unrolled completely.
    pub fn unroll(self) -> Steps<T> {
        Steps { unroll: Unroll::Full, ..self }
    }

    /// Unrolled by a factor.
    #[track_caller]
    pub fn unroll_by(self, factor: impl IntoHost<u16>) -> Steps<T> {
        Steps { unroll: Unroll::By(factor.into_host()), ..self }
    }

    /// Not unrolled.
    pub fn no_unroll(self) -> Steps<T> {
        Steps { unroll: Unroll::Never, ..self }
    }

    /// Every `step`-th.
    #[track_caller]
    pub fn step_by(self, step: impl IntoExpr<T>) -> Steps<T> {
        Steps { step: step.into_expr(), ..self }
    }
}

/// `start..end`, in the type that both have in common; two numbers of the host count in u32.
#[track_caller]
pub fn range<A: Common<B>, B>(start: A, end: B) -> Steps<A::T>
where
    A::T: Scalar + Arith,
{
    let (start, end) = start.common(end);
    Steps { start, end, step: 1i128.into_expr(), unroll: Unroll::Auto }
}

/// From `start` to before `end` in steps of `step`: how the lanes of a workgroup share a row.
#[track_caller]
pub fn strided<A, B, C, T>(start: A, end: B, step: C) -> Steps<T>
where
    A: Common<B>,
    Expr<A::T>: Common<C, T = T> + IntoExpr<T>,
    T: Scalar + Arith,
{
    let (start, end) = start.common(end);
    let (start, step) = start.common(step);
    Steps { start, end: end.into_expr(), step, unroll: Unroll::Auto }
}

/// What can stand after `in`.
#[diagnostic::on_unimplemented(
    message = "`for` in a kernel cannot go through `{Self}`",
    note = "it goes through `a..b`, `(a..b).unroll()`, `strided(start, end, step)` and `each(fragment)`; a loop of the host is marked `#[host]`"
)]
pub trait Loop: Copy {
    /// What the pattern is bound to.
    type Item;
    /// Opens it.
    #[track_caller]
    fn begin(self) -> Self::Item;
    /// Closes it.
    #[track_caller]
    fn end(self);
}

impl<T: Scalar + Arith> Loop for Steps<T> {
    type Item = Expr<T>;
    #[track_caller]
    fn begin(self) -> Expr<T> {
        emit(|b| {
            let (start, end, step) = (b.value(self.start), b.value(self.end), b.value(self.step));
            let id = b.builder.begin_for(start, end, step, self.unroll);
            b.expr(id)
        })
    }
    #[track_caller]
    fn end(self) {
        emit(|b| b.builder.end_for())
    }
}

/// The elements of a fragment that this lane holds: `for (row, col, value) in each(acc)`.
pub fn each<T: Element>(of: Fragment<T>) -> Each<T> {
    Each { of }
}

/// See [`each`].
pub struct Each<T> {
    of: Fragment<T>,
}

impl<T> Clone for Each<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Each<T> {}

impl<T: Element> Loop for Each<T> {
    type Item = (Expr<u32>, Expr<u32>, Expr<T>);
    #[track_caller]
    fn begin(self) -> Self::Item {
        emit(|b| {
            let frag = fragment_value(b, self.of);
            let (row, col, elem) = b.builder.begin_each(frag);
            (b.expr(row), b.expr(col), b.expr(elem))
        })
    }
    #[track_caller]
    fn end(self) {
        emit(|b| b.builder.end_each())
    }
}

/// `for … in steps {`
#[track_caller]
pub fn begin_loop<L: Loop>(steps: L) -> L::Item {
    steps.begin()
}

/// `}` of a `for`.
#[track_caller]
pub fn end_loop<L: Loop>(steps: L) {
    steps.end()
}
