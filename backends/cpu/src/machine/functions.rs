//! Functions of real numbers over slices: the one place that names who computes them.

use crate::vmath::{self, Level};
use anychip_hal::ir::UnaryOp;

/// `d[i] = op(a[i])` at a vector width; operations that are not functions of this table copy.
pub(crate) fn f32(level: Level, op: UnaryOp, d: &mut [f32], a: &[f32]) {
    let op = match op {
        UnaryOp::Exp => vmath::Unary::Exp,
        UnaryOp::Exp2 => vmath::Unary::Exp2,
        UnaryOp::Log => vmath::Unary::Log,
        UnaryOp::Log2 => vmath::Unary::Log2,
        UnaryOp::Sin => vmath::Unary::Sin,
        UnaryOp::Cos => vmath::Unary::Cos,
        UnaryOp::Tan => vmath::Unary::Tan,
        UnaryOp::Tanh => vmath::Unary::Tanh,
        UnaryOp::Erf => vmath::Unary::Erf,
        _ => return d.copy_from_slice(a),
    };
    vmath::unary(op, level)(a, d);
}

/// `d[i] = op(a[i])` in double precision, an element at a time.
pub(crate) fn f64(_: Level, op: UnaryOp, d: &mut [f64], a: &[f64]) {
    let f: fn(f64) -> f64 = match op {
        UnaryOp::Exp => f64::exp,
        UnaryOp::Exp2 => f64::exp2,
        UnaryOp::Log => f64::ln,
        UnaryOp::Log2 => f64::log2,
        UnaryOp::Sin => f64::sin,
        UnaryOp::Cos => f64::cos,
        UnaryOp::Tan => f64::tan,
        UnaryOp::Tanh => f64::tanh,
        UnaryOp::Erf => libm::erf,
        _ => return d.copy_from_slice(a),
    };
    for (d, &a) in d.iter_mut().zip(a) {
        *d = f(a);
    }
}

/// `d[i] = x[i]` to the power `y[i]`.
pub(crate) fn pow_f32(level: Level, d: &mut [f32], x: &[f32], y: &[f32]) {
    vmath::binary(vmath::Binary::Pow, level)(x, y, d);
}

/// `d[i] = x[i]` to the power `y[i]`, an element at a time.
pub(crate) fn pow_f64(_: Level, d: &mut [f64], x: &[f64], y: &[f64]) {
    for ((d, x), y) in d.iter_mut().zip(x).zip(y) {
        *d = x.powf(*y);
    }
}
