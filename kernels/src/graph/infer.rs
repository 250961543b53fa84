//! Result shapes and types of operations, and the sentences that say why operands do not fit.

use super::Node;
use crate::shape::{MAX_RANK, conv_shape, elements};
use anychip_hal::{
    DType, Error, Result,
    op::{Op, UnaryOp},
};

pub(super) fn check_rank(what: &str, shape: &[usize]) -> Result<()> {
    if shape.len() > MAX_RANK {
        return Err(Error::ShapeMismatch(format!("{what}: {shape:?} has rank {}, at most {MAX_RANK}", shape.len())));
    }
    Ok(())
}

/// Result shape and type of an operation, or why its operands do not fit.
pub(super) fn infer(op: &Op, inputs: &[Node]) -> Result<(Vec<usize>, DType)> {
    let count = |n: usize| -> Result<()> {
        if inputs.len() == n {
            return Ok(());
        }
        Err(Error::invalid(format!("{op:?} takes {n} operands, got {}", inputs.len())))
    };
    let name = op_name(op);
    let same_shape = || -> Result<()> {
        match inputs.windows(2).find(|w| w[0].shape() != w[1].shape()) {
            Some(w) => {
                Err(Error::ShapeMismatch(format!("{name}: shapes {:?} and {:?} differ", w[0].shape(), w[1].shape())))
            }
            None => Ok(()),
        }
    };
    let same_type = |a: &Node, b: &Node| -> Result<()> {
        if a.dtype() == b.dtype() {
            return Ok(());
        }
        Err(Error::DTypeMismatch(format!(
            "{name}: types {} and {} differ; convert one with to_dtype()",
            a.dtype(),
            b.dtype()
        )))
    };
    let float = |n: &Node| -> Result<()> {
        if matches!(n.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return Ok(());
        }
        Err(Error::DTypeMismatch(format!("{name}: takes a float tensor, got {}", n.dtype())))
    };
    let numeric = |n: &Node| -> Result<()> {
        if n.dtype() != DType::Bool {
            return Ok(());
        }
        Err(Error::DTypeMismatch(format!("{name}: takes numbers, got bool; convert with to_dtype()")))
    };
    let own = |n: &Node| Ok((n.shape().to_vec(), n.dtype()));
    match op {
        Op::Unary(u) => {
            count(1)?;
            let x = &inputs[0];
            match u {
                UnaryOp::Not if x.dtype() == DType::Bool || x.dtype().is_int() => own(x),
                UnaryOp::Not => Err(Error::DTypeMismatch(format!("{name}: takes bool or integers, got {}", x.dtype()))),
                UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Relu => numeric(x).and_then(|()| own(x)),
                UnaryOp::IsNan | UnaryOp::IsInf => float(x).map(|()| (x.shape().to_vec(), DType::Bool)),
                UnaryOp::LeadingZeros if x.dtype().is_int() => own(x),
                UnaryOp::LeadingZeros => {
                    Err(Error::DTypeMismatch(format!("{name}: takes integers, got {}", x.dtype())))
                }
                _ => float(x).and_then(|()| own(x)),
            }
        }
        Op::Binary(b) => {
            use anychip_hal::op::BinaryOp as B;
            count(2)?;
            same_shape()?;
            same_type(&inputs[0], &inputs[1])?;
            match b {
                B::And | B::Or | B::Xor if inputs[0].dtype().is_float() => {
                    Err(Error::DTypeMismatch(format!("{name}: takes bool or integers, got {}", inputs[0].dtype())))
                }
                B::And | B::Or | B::Xor => own(&inputs[0]),
                B::Shl | B::Shr if !inputs[0].dtype().is_int() => {
                    Err(Error::DTypeMismatch(format!("{name}: takes integers, got {}", inputs[0].dtype())))
                }
                _ => numeric(&inputs[0]).and_then(|()| own(&inputs[0])),
            }
        }
        Op::Compare(_) => {
            count(2)?;
            same_shape()?;
            same_type(&inputs[0], &inputs[1])?;
            Ok((inputs[0].shape().to_vec(), DType::Bool))
        }
        Op::Where => {
            count(3)?;
            same_shape()?;
            if inputs[0].dtype() != DType::Bool {
                return Err(Error::DTypeMismatch(format!("where: condition is {}, must be bool", inputs[0].dtype())));
            }
            same_type(&inputs[1], &inputs[2])?;
            own(&inputs[1])
        }
        Op::Philox { word } => {
            count(4)?;
            same_shape()?;
            if let Some(x) = inputs.iter().find(|x| x.dtype() != DType::U32) {
                return Err(Error::DTypeMismatch(format!("{name}: counter and key are u32, got {}", x.dtype())));
            }
            if *word > 3 {
                return Err(Error::invalid(format!("{name}: a block has words 0 to 3, not {word}")));
            }
            own(&inputs[0])
        }
        Op::Cast(to) => {
            count(1)?;
            Ok((inputs[0].shape().to_vec(), *to))
        }
        Op::Full(_) | Op::Iota { .. } => {
            Err(Error::invalid(format!("{name} has a shape and a type of its own: use Node::full or Node::iota")))
        }
        Op::Reduce { op: r, axes } => {
            use anychip_hal::op::ReduceOp as R;
            count(1)?;
            let x = &inputs[0];
            if axes.windows(2).any(|w| w[0] >= w[1]) || axes.iter().any(|&a| a >= x.shape().len()) {
                return Err(Error::ShapeMismatch(format!(
                    "{name}: axes {axes:?} of shape {:?}: must rise and be below {}",
                    x.shape(),
                    x.shape().len()
                )));
            }
            match r {
                R::And | R::Or | R::Xor if x.dtype().is_float() => {
                    return Err(Error::DTypeMismatch(format!("{name}: takes bool or integers, got {}", x.dtype())));
                }
                R::Sum | R::Prod | R::Min | R::Max => numeric(x)?,
                _ => {}
            }
            if matches!(r, R::Min | R::Max) && axes.iter().any(|&a| x.shape()[a] == 0) {
                return Err(Error::ShapeMismatch(format!(
                    "{name}: no smallest or largest of nothing: axes {axes:?} of shape {:?} are empty",
                    x.shape()
                )));
            }
            let mut shape = x.shape().to_vec();
            axes.iter().for_each(|&a| shape[a] = 1);
            Ok((shape, x.dtype()))
        }
        Op::Scan { op: r, axis, .. } => {
            use anychip_hal::op::ReduceOp as R;
            count(1)?;
            let x = &inputs[0];
            numeric(x)?;
            if matches!(r, R::And | R::Or | R::Xor) {
                return Err(Error::invalid(format!("{name}: a scan is a sum, product, minimum or maximum")));
            }
            inside(name, *axis, x)?;
            own(x)
        }
        Op::Softmax => {
            count(1)?;
            float(&inputs[0])?;
            // Nothing has a softmax of nothing, along whichever axis.
            if inputs[0].elements() > 0 {
                last_axis(name, &inputs[0])?;
            }
            own(&inputs[0])
        }
        Op::LayerNorm { .. } | Op::RmsNorm { .. } => {
            count(if matches!(op, Op::LayerNorm { .. }) { 3 } else { 2 })?;
            let x = &inputs[0];
            float(x)?;
            let d = last_axis(name, x)?;
            for (w, what) in inputs[1..].iter().zip(["weight", "bias"]) {
                same_type(x, w)?;
                if w.shape() != [d] {
                    return Err(Error::ShapeMismatch(format!(
                        "{name}: {what} has shape {:?}, must be [{d}], the last axis of {:?}",
                        w.shape(),
                        x.shape()
                    )));
                }
            }
            own(x)
        }
        Op::MatMul => {
            count(2)?;
            let (a, b) = (&inputs[0], &inputs[1]);
            same_type(a, b)?;
            numeric(a)?;
            let (r, s) = (a.shape().len(), b.shape().len());
            if r < 2 || s != r || a.shape()[..r - 2] != b.shape()[..r - 2] {
                return Err(Error::ShapeMismatch(format!(
                    "matmul: batch dimensions differ: lhs {:?} × rhs {:?}",
                    a.shape(),
                    b.shape()
                )));
            }
            let (m, k, k2, n) = (a.shape()[r - 2], a.shape()[r - 1], b.shape()[r - 2], b.shape()[r - 1]);
            if k != k2 {
                let hint = if k == n { "; did you mean rhs.t()?" } else { "" };
                return Err(Error::ShapeMismatch(format!(
                    "matmul: inner dimensions differ: lhs {:?} × rhs {:?}{hint}",
                    a.shape(),
                    b.shape()
                )));
            }
            let mut shape = a.shape()[..r - 2].to_vec();
            shape.extend([m, n]);
            Ok((shape, a.dtype()))
        }
        Op::Conv { stride, padding, dilation, groups } => {
            count(2)?;
            same_type(&inputs[0], &inputs[1])?;
            numeric(&inputs[0])?;
            let shape = conv_shape(inputs[0].shape(), inputs[1].shape(), stride, padding, dilation, *groups)?;
            Ok((shape, inputs[0].dtype()))
        }
        Op::Attention { masked, .. } => {
            count(3 + *masked as usize)?;
            let (q, k, v) = (&inputs[0], &inputs[1], &inputs[2]);
            inputs[1..].iter().try_for_each(|x| same_type(q, x))?;
            float(q)?;
            let fits = |a: &Node| a.shape().len() == 4;
            let ok = fits(q) && fits(k) && fits(v) && {
                let (q, k, v) = (q.shape(), k.shape(), v.shape());
                let grouped = q[1] == k[1] || (k[1] > 0 && q[1].is_multiple_of(k[1]));
                q[0] == k[0] && k[..3] == v[..3] && grouped && q[3] == k[3]
            };
            if !ok {
                return Err(Error::ShapeMismatch(format!(
                    "attention: q {:?}, k {:?}, v {:?}: must be [batch, heads, s, d], [batch, groups, t, d], [batch, groups, t, e] \
                     with heads a multiple of groups",
                    q.shape(),
                    k.shape(),
                    v.shape()
                )));
            }
            let want = [q.shape()[0], q.shape()[1], q.shape()[2], k.shape()[2]];
            if *masked && inputs[3].shape() != want {
                return Err(Error::ShapeMismatch(format!(
                    "attention: mask has shape {:?}, must broadcast to {want:?}",
                    inputs[3].shape()
                )));
            }
            Ok((vec![want[0], want[1], want[2], v.shape()[3]], q.dtype()))
        }
        Op::Embedding => {
            count(2)?;
            let (table, ids) = (&inputs[0], &inputs[1]);
            if table.shape().len() != 2 {
                return Err(Error::ShapeMismatch(format!(
                    "embedding: table has shape {:?}, must be [rows, width]",
                    table.shape()
                )));
            }
            integers(name, ids)?;
            let mut shape = ids.shape().to_vec();
            shape.push(table.shape()[1]);
            check_rank("embedding", &shape)?;
            elements(&shape)?;
            Ok((shape, table.dtype()))
        }
        Op::Gather { axis } => {
            count(2)?;
            let (x, index) = (&inputs[0], &inputs[1]);
            inside(name, *axis, x)?;
            integers(name, index)?;
            same_outside(name, *axis, x, index)?;
            Ok((index.shape().to_vec(), x.dtype()))
        }
        Op::Scatter { axis, reduce } => {
            use anychip_hal::op::ReduceOp as R;
            count(3)?;
            let (x, index, updates) = (&inputs[0], &inputs[1], &inputs[2]);
            inside(name, *axis, x)?;
            integers(name, index)?;
            same_outside(name, *axis, x, index)?;
            if updates.shape() != index.shape() {
                return Err(Error::ShapeMismatch(format!(
                    "{name}: updates of shape {:?} beside an index of shape {:?}: must be equal",
                    updates.shape(),
                    index.shape()
                )));
            }
            same_type(x, updates)?;
            match reduce {
                Some(R::And | R::Or | R::Xor) => {
                    return Err(Error::invalid(format!(
                        "{name}: updates replace, or join as sum, product, minimum or maximum"
                    )));
                }
                Some(_) => numeric(x)?,
                None => {}
            }
            sortable(name, index.shape()[*axis])?;
            sortable(name, x.shape()[*axis])?;
            own(x)
        }
        Op::ArgSort { .. } => {
            count(1)?;
            let x = &inputs[0];
            match x.shape().last() {
                Some(&n) => sortable(name, n)?,
                None => return Err(Error::ShapeMismatch(format!("{name}: a number has no axis to sort"))),
            }
            Ok((x.shape().to_vec(), DType::U32))
        }
        Op::Concat { axis } => {
            let Some(first) = inputs.first() else {
                return Err(Error::invalid("concat: no tensors given"));
            };
            let mut shape = first.shape().to_vec();
            if *axis >= shape.len() {
                return Err(Error::ShapeMismatch(format!("concat: axis {axis} of shape {shape:?}")));
            }
            for x in &inputs[1..] {
                same_type(first, x)?;
                let fits = x.shape().len() == shape.len()
                    && (0..shape.len()).all(|i| i == *axis || x.shape()[i] == first.shape()[i]);
                if !fits {
                    return Err(Error::ShapeMismatch(format!(
                        "concat: shapes {:?} and {:?} differ outside axis {axis}",
                        first.shape(),
                        x.shape()
                    )));
                }
                shape[*axis] = shape[*axis].checked_add(x.shape()[*axis]).ok_or_else(|| {
                    Error::ShapeMismatch(format!("concat: axis {axis} of {:?} and more is too long", x.shape()))
                })?;
            }
            elements(&shape)?;
            Ok((shape, first.dtype()))
        }
        Op::Pad { before, after, value: _ } => {
            count(1)?;
            let x = &inputs[0];
            let rank = x.shape().len();
            if before.len() != rank || after.len() != rank {
                return Err(Error::ShapeMismatch(format!(
                    "pad: {before:?} before and {after:?} after do not name each of the {rank} axes of {:?}",
                    x.shape()
                )));
            }
            let shape = (0..rank)
                .map(|i| x.shape()[i].checked_add(before[i])?.checked_add(after[i]))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| {
                    Error::ShapeMismatch(format!(
                        "pad: {before:?} before and {after:?} after {:?} are too many",
                        x.shape()
                    ))
                })?;
            elements(&shape)?;
            Ok((shape, x.dtype()))
        }
    }
}

/// Refuses an axis that a tensor does not have.
fn inside(name: &str, axis: usize, x: &Node) -> Result<()> {
    if axis < x.shape().len() {
        return Ok(());
    }
    Err(Error::ShapeMismatch(format!("{name}: axis {axis} of shape {:?}", x.shape())))
}

/// Refuses an axis whose positions u32 does not hold.
fn sortable(name: &str, n: usize) -> Result<()> {
    // Sorted runs double up to the length of the axis, and twice the last but one must be a u32 too.
    const MOST: usize = 1 << 31;
    if n <= MOST {
        return Ok(());
    }
    Err(Error::ShapeMismatch(format!("{name}: an axis of {n} elements; positions are u32, at most {MOST} are sorted")))
}

/// Refuses indices that are no integers.
fn integers(name: &str, index: &Node) -> Result<()> {
    if index.dtype().is_int() {
        return Ok(());
    }
    Err(Error::DTypeMismatch(format!("{name}: ids are {}, must be integers", index.dtype())))
}

/// Refuses an index whose extents differ from those of `x` outside an axis.
fn same_outside(name: &str, axis: usize, x: &Node, index: &Node) -> Result<()> {
    let (a, b) = (x.shape(), index.shape());
    if a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i] == b[i]) {
        return Ok(());
    }
    Err(Error::ShapeMismatch(format!(
        "{name}: index of shape {b:?} beside {a:?}: must have its extents outside axis {axis}"
    )))
}

fn last_axis(name: &str, x: &Node) -> Result<usize> {
    match x.shape().last() {
        Some(&d) if d > 0 => Ok(d),
        _ => Err(Error::ShapeMismatch(format!("{name}: shape {:?} has no last axis to go along", x.shape()))),
    }
}

/// The operation's name in messages.
pub fn op_name(op: &Op) -> &'static str {
    use anychip_hal::op::{BinaryOp as B, CmpOp as C, ReduceOp as R};
    match op {
        Op::Unary(u) => match u {
            UnaryOp::Neg => "neg",
            UnaryOp::Abs => "abs",
            UnaryOp::Sign => "sign",
            UnaryOp::Not => "not",
            UnaryOp::Floor => "floor",
            UnaryOp::Ceil => "ceil",
            UnaryOp::Trunc => "trunc",
            UnaryOp::Round => "round",
            UnaryOp::Sqrt => "sqrt",
            UnaryOp::Rsqrt => "rsqrt",
            UnaryOp::Recip => "recip",
            UnaryOp::Exp => "exp",
            UnaryOp::Exp2 => "exp2",
            UnaryOp::Log => "log",
            UnaryOp::Log2 => "log2",
            UnaryOp::Sin => "sin",
            UnaryOp::Cos => "cos",
            UnaryOp::Tan => "tan",
            UnaryOp::Asin => "asin",
            UnaryOp::Acos => "acos",
            UnaryOp::Atan => "atan",
            UnaryOp::Sinh => "sinh",
            UnaryOp::Cosh => "cosh",
            UnaryOp::Tanh => "tanh",
            UnaryOp::Asinh => "asinh",
            UnaryOp::Acosh => "acosh",
            UnaryOp::Atanh => "atanh",
            UnaryOp::Expm1 => "expm1",
            UnaryOp::Log1p => "log1p",
            UnaryOp::Erf => "erf",
            UnaryOp::Erfc => "erfc",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Silu => "silu",
            UnaryOp::Relu => "relu",
            UnaryOp::Gelu => "gelu",
            UnaryOp::GeluTanh => "gelu_tanh",
            UnaryOp::IsNan => "is_nan",
            UnaryOp::IsInf => "is_inf",
            UnaryOp::LeadingZeros => "leading_zeros",
        },
        Op::Binary(b) => match b {
            B::Add => "add",
            B::Sub => "sub",
            B::Mul => "mul",
            B::Div => "div",
            B::Rem => "rem",
            B::Min => "minimum",
            B::Max => "maximum",
            B::Pow => "pow",
            B::And => "and",
            B::Or => "or",
            B::Xor => "xor",
            B::Shl => "shl",
            B::Shr => "shr",
        },
        Op::Compare(c) => match c {
            C::Eq => "eq",
            C::Ne => "ne",
            C::Lt => "lt",
            C::Le => "le",
            C::Gt => "gt",
            C::Ge => "ge",
        },
        Op::Where => "where",
        Op::Philox { .. } => "philox",
        Op::Cast(_) => "to_dtype",
        Op::Full(_) => "full",
        Op::Iota { .. } => "arange",
        Op::Reduce { op, .. } => match op {
            R::Sum => "sum",
            R::Prod => "prod",
            R::Min => "min",
            R::Max => "max",
            R::And => "all",
            R::Or => "any",
            R::Xor => "xor",
        },
        Op::Scan { op, .. } => match op {
            R::Sum => "cumsum",
            R::Prod => "cumprod",
            R::Min => "cummin",
            R::Max => "cummax",
            R::And | R::Or | R::Xor => "scan",
        },
        Op::Softmax => "softmax",
        Op::LayerNorm { .. } => "layer_norm",
        Op::RmsNorm { .. } => "rms_norm",
        Op::MatMul => "matmul",
        Op::Conv { .. } => "conv",
        Op::Attention { .. } => "attention",
        Op::Embedding => "embedding",
        Op::Gather { .. } => "gather",
        Op::Scatter { reduce: None, .. } => "scatter",
        Op::Scatter { reduce: Some(R::Sum), .. } => "scatter_add",
        Op::Scatter { .. } => "scatter_reduce",
        Op::ArgSort { .. } => "argsort",
        Op::Concat { .. } => "concat",
        Op::Pad { .. } => "pad",
    }
}
