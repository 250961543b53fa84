//! Convolution in operations that every device has.
//!
//! The windows of the padded input are a view. With many output channels they are laid out as a matrix (im2col) and multiplied with
//! the weights, all groups as one batch; with few, laying them out would cost more than it saves, and products are summed in place.

use super::snapshot::{Kind, Snapshot};
use crate::graph::View;
use anychip_hal::{
    DType,
    op::{BinaryOp, Op, ReduceOp},
};

/// Output channels per group up to which products are summed in place: each reads its window anew.
const FEW_CHANNELS: usize = 4;
/// Longest sum that one lane takes alone.
const SHORT_SUM: usize = 64;

/// Items under construction.
struct Build<'a>(&'a mut Snapshot);

impl Build<'_> {
    fn shape(&self, x: usize) -> Vec<usize> {
        self.0.items[x].shape.clone()
    }
    fn dtype(&self, x: usize) -> DType {
        self.0.items[x].dtype
    }
    fn op(&mut self, op: Op, inputs: &[usize], shape: &[usize], dtype: DType) -> usize {
        self.0.push(Kind::Op(op, inputs.to_vec()), shape.to_vec(), dtype)
    }
    fn view(&mut self, view: View, x: usize, shape: Vec<usize>) -> usize {
        if self.shape(x) == shape && !matches!(view, View::Permute(_)) {
            return x;
        }
        let dtype = self.dtype(x);
        self.0.push(Kind::View(view, x), shape, dtype)
    }
    fn reshape(&mut self, x: usize, to: &[usize]) -> usize {
        self.view(View::Reshape(to.to_vec()), x, to.to_vec())
    }
    fn expand(&mut self, x: usize, to: &[usize]) -> usize {
        self.view(View::Expand(to.to_vec()), x, to.to_vec())
    }
    fn permute(&mut self, x: usize, order: &[usize]) -> usize {
        let from = self.shape(x);
        self.view(View::Permute(order.to_vec()), x, order.iter().map(|&o| from[o]).collect())
    }
    fn cast(&mut self, x: usize, to: DType) -> usize {
        if self.dtype(x) == to {
            return x;
        }
        let shape = self.shape(x);
        self.op(Op::Cast(to), &[x], &shape, to)
    }

    /// `[n, c, out…, kernel…]`.
    fn windows(
        &mut self,
        x: usize,
        out: &[usize],
        kernel: &[usize],
        stride: &[usize],
        padding: &[[usize; 2]],
        dilation: &[usize],
    ) -> usize {
        let (dtype, mut shape) = (self.dtype(x), self.shape(x));
        let mut x = x;
        if padding.iter().flatten().any(|&n| n > 0) {
            let around = |side: usize| [0, 0].into_iter().chain(padding.iter().map(|p| p[side])).collect::<Vec<_>>();
            let (before, after) = (around(0), around(1));
            (0..shape.len()).for_each(|i| shape[i] += before[i] + after[i]);
            x = self.op(Op::Pad { before, after, value: 0 }, &[x], &shape, dtype);
        }
        for i in 0..out.len() {
            (shape[2 + i], _) = (out[i], shape.push(kernel[i]));
            let view = View::Window { axis: 2 + i, size: kernel[i], step: stride[i], dilation: dilation[i] };
            // Also where the shape stays: a window may skip elements.
            x = self.0.push(Kind::View(view, x), shape.clone(), dtype);
        }
        x
    }
}

/// The convolution of `inputs`, of shape `out`.
pub(super) fn conv(
    s: &mut Snapshot,
    inputs: &[usize],
    stride: &[usize],
    padding: &[[usize; 2]],
    dilation: &[usize],
    groups: usize,
    out: &[usize],
) -> usize {
    let mut b = Build(s);
    let (x, w) = (inputs[0], inputs[1]);
    let dtype = b.dtype(x);
    let (n, weight) = (b.shape(x)[0], b.shape(w));
    let (channels, kernel, space) = (weight[1], &weight[2..], &out[2..]);
    let each = out[1] / groups;
    let axes = space.len();
    let (inner, places): (usize, usize) = (channels * kernel.iter().product::<usize>(), space.iter().product());
    let x = b.windows(x, space, kernel, stride, padding, dilation);
    // `[n, groups, 1 or each, channels, out…, kernel…]`
    let lead = |each: usize, at: &[usize], kernel: &[usize]| [&[n, groups, each, channels], at, kernel].concat();
    if each <= FEW_CHANNELS && inner <= SHORT_SUM {
        let work = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
        let full = lead(each, space, kernel);
        let x = b.reshape(x, &lead(1, space, kernel));
        let x = b.cast(x, work);
        let x = b.expand(x, &full);
        let w = b.reshape(w, &[&[1, groups, each, channels], &vec![1; axes][..], kernel].concat());
        let w = b.cast(w, work);
        let w = b.expand(w, &full);
        let products = b.op(Op::Binary(BinaryOp::Mul), &[x, w], &full, work);
        let summed: Vec<usize> = [3].into_iter().chain(4 + axes..4 + 2 * axes).collect();
        let mut shape = full;
        summed.iter().for_each(|&a| shape[a] = 1);
        let sum = b.op(Op::Reduce { op: ReduceOp::Sum, axes: summed }, &[products], &shape, work);
        let sum = b.reshape(sum, out);
        return b.cast(sum, dtype);
    }
    let x = b.reshape(x, &[&[n, groups, channels], space, kernel].concat());
    let order: Vec<usize> = (0..3).chain(3 + axes..3 + 2 * axes).chain(3..3 + axes).collect();
    let x = b.permute(x, &order);
    let x = b.reshape(x, &[n, groups, inner, places]);
    let w = b.reshape(w, &[1, groups, each, inner]);
    let w = b.expand(w, &[n, groups, each, inner]);
    let product = b.op(Op::MatMul, &[w, x], &[n, groups, each, places], dtype);
    b.reshape(product, out)
}
