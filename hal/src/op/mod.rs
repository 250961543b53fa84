//! The standard operations on tensors and their meaning.
//!
//! The lazy graph of the tensor library is made of these, and a [`Graph`] of them with concrete shapes and strides is
//! what a device with a fixed-function library, or a vendor's matrix library, is offered as a whole.

use crate::{DType, Error, Result};
use serde::{Deserialize, Serialize};

pub use crate::ir::{BinaryOp, CmpOp, ReduceOp};

/// Elementwise functions of one tensor; dtype and shape stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the field's own names
pub enum UnaryOp {
    Neg,
    Abs,
    Sign,
    /// Logical not, bool only.
    Not,
    Floor,
    Ceil,
    Trunc,
    /// To nearest, ties to even.
    Round,
    Sqrt,
    Rsqrt,
    Recip,
    Exp,
    Exp2,
    Log,
    Log2,
    Sin,
    Cos,
    Tan,
    /// Inverse sine; NaN outside −1..1.
    Asin,
    /// Inverse cosine; NaN outside −1..1.
    Acos,
    /// Inverse tangent.
    Atan,
    Sinh,
    Cosh,
    Tanh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine; NaN below 1.
    Acosh,
    /// Inverse hyperbolic tangent; ±∞ at ±1, NaN outside.
    Atanh,
    /// e^x − 1, accurate where x is small.
    Expm1,
    /// ln(1 + x), accurate where x is small; −∞ at −1, NaN below.
    Log1p,
    Erf,
    /// 1 − erf(x), accurate where that is small.
    Erfc,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x · sigmoid(x).
    Silu,
    /// max(x, 0); NaN stays.
    Relu,
    /// x/2 · (1 + erf(x/√2)).
    Gelu,
    /// x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))).
    GeluTanh,
    /// Result bool.
    IsNan,
    /// Result bool: +∞ or −∞.
    IsInf,
    /// Zero bits above the highest one, integers only; the width for 0.
    LeadingZeros,
}

/// An operation. Operands broadcast as in NumPy only through explicit views: shapes of elementwise operands are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Elementwise, one operand.
    Unary(UnaryOp),
    /// Elementwise, two operands of one dtype. Integer rules as in [`crate::ir`].
    Binary(BinaryOp),
    /// Elementwise comparison; result bool.
    Compare(CmpOp),
    /// `cond ? a : b`; cond is bool.
    Where,
    /// One word of a block of the counter-based generator Philox4x32-10 (Salmon et al., SC 2011): operands, u32 each, are
    /// the two low words of the counter (the high ones are 0), low first, and the two words of the key; result u32.
    Philox {
        /// Which of the block's four words.
        word: u8,
    },
    /// Conversion, by the rules of [`crate::ir`].
    Cast(DType),
    /// Every element the same; no operands. Bits of the element.
    Full(u64),
    /// 0, 1, 2, … along an axis; no operands.
    Iota {
        /// The axis.
        axis: usize,
    },
    /// Reduction over axes; they stay with length 1. Sums of f16/bf16 are taken in f32. Empty: the neutral element.
    Reduce {
        /// What.
        op: ReduceOp,
        /// Axes, ascending.
        axes: Vec<usize>,
    },
    /// Running reduction along an axis: element i joins elements 0 to i, or 0 to i−1 when exclusive (the first is then the
    /// neutral element). Sum, Prod, Min or Max; 16-bit floats are accumulated in f32, integers wrap.
    Scan {
        /// What.
        op: ReduceOp,
        /// The axis.
        axis: usize,
        /// Without the element itself.
        exclusive: bool,
    },
    /// e^(x−max) / Σ e^(x−max) along the last axis, in f32 for 16-bit types.
    Softmax,
    /// (x−mean)/√(var+eps) along the last axis, times weight, plus bias: operands x, weight [d], bias [d].
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// x/√(mean(x²)+eps) along the last axis, times weight: operands x, weight `[d]`.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// [b…, m, k] × [b…, k, n] → [b…, m, n]; batch dimensions equal. 16-bit types accumulate in f32.
    MatMul,
    /// Cross-correlation along one or two spatial axes: operands x [n, c, spatial…] and w [o, c/groups, kernel…] give
    /// [n, o, spatial…]. Channel o sees the c/groups input channels of its group; elements of padding are 0. 16-bit types
    /// accumulate in f32; integers wrap.
    Conv {
        /// From a window's first element to that of the next, per spatial axis.
        stride: Vec<usize>,
        /// Elements added before and behind, per spatial axis.
        padding: Vec<[usize; 2]>,
        /// From an element of a window to its next, per spatial axis.
        dilation: Vec<usize>,
        /// Channels are divided into so many groups, computed apart.
        groups: usize,
    },
    /// softmax(q·kᵀ·scale + mask)·v: operands q [b, h, s, d], k [b, g, t, d], v [b, g, t, e] and, when `masked`, an additive
    /// mask broadcast to [b, h, s, t]; the result is [b, h, s, e]. Heads are grouped: h is a multiple of g, and query head i uses
    /// head i / (h/g) of k and v. A row whose mask is −∞ everywhere gives NaN; so may one with a value that is not finite at a
    /// position that it does not see (0·∞). 16-bit types keep scores and sums in f32.
    Attention {
        /// Multiplied onto the scores.
        scale: f32,
        /// Position i sees positions ≤ i only.
        causal: bool,
        /// A fourth operand is there.
        masked: bool,
    },
    /// Rows of a table: operands table [v, d], ids […] of an integer type → […, d]. An id outside 0..v gives NaN (0 for
    /// integer tables); ids known on the host are checked there.
    Embedding,
    /// Elements along an axis: operands x and index of an integer type, whose extents are equal outside the axis; the element
    /// at a place of the index is x there, with the index as its coordinate along the axis. An index outside the axis
    /// (negative ones are) gives NaN, 0 for integers and false for bool; indices known on the host are checked there.
    Gather {
        /// The axis.
        axis: usize,
    },
    /// Places along an axis written: operands x, index of an integer type and updates of the shape of the index, whose extents
    /// are those of x outside the axis. An update goes where a gather by the same index would read. Several for one place:
    /// the last along the axis stays; with `reduce` they are joined to the element of x, in their order (16-bit floats
    /// in f32, rounded once). Updates outside the axis go nowhere; indices known on the host are checked there.
    Scatter {
        /// The axis.
        axis: usize,
        /// Sum, Prod, Min or Max; `None`: replaces.
        reduce: Option<ReduceOp>,
    },
    /// The positions (u32) that sort the last axis, stably: −0 equals 0, NaN is greater than all numbers, false less than true.
    ArgSort {
        /// Largest first.
        descending: bool,
    },
    /// Concatenation of all operands along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// More elements of one value around the operand's, so many before and after it along each axis.
    Pad {
        /// Elements in front, per axis.
        before: Vec<usize>,
        /// Elements behind, per axis.
        after: Vec<usize>,
        /// Bits of the element that they all are.
        value: u64,
    },
}

/// A tensor as a graph sees it. Strides are in elements and may be 0 (broadcast).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// Elements between neighbours along each axis.
    pub strides: Vec<isize>,
    /// First element within its binding.
    pub offset: usize,
    /// The bytes do not change between launches: a backend may keep a prepacked copy, keyed by the binding.
    pub constant: bool,
}

impl TensorSpec {
    /// Row-major, densely packed.
    pub fn dense(dtype: DType, shape: &[usize]) -> TensorSpec {
        TensorSpec { dtype, shape: shape.to_vec(), strides: dense_strides(shape), offset: 0, constant: false }
    }
    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
    /// True for row-major, densely packed.
    pub fn is_dense(&self) -> bool {
        let mut expect = 1isize;
        self.shape.iter().zip(&self.strides).rev().all(|(&n, &s)| {
            let ok = n == 1 || s == expect;
            expect *= n as isize;
            ok
        }) || self.elements() == 0
    }
}

/// Row-major strides of a shape, in elements.
pub fn dense_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i].max(1) as isize;
    }
    strides
}

/// An operand of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ref {
    /// An input of the graph.
    Input(usize),
    /// Result of an earlier node.
    Node(usize),
}

/// An operation in a graph. Results between nodes are dense.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// What.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<Ref>,
    /// How an elementwise node sees an operand whose shape differs: strides over this node's shape, per operand; `None`
    /// where the operand has this node's shape.
    pub views: Vec<Option<Vec<isize>>>,
    /// Result type.
    pub dtype: DType,
    /// Result shape.
    pub shape: Vec<usize>,
}

/// Standard operations with concrete shapes: bindings are the inputs in order, then the outputs, then workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// For messages and traces.
    pub name: String,
    /// Inputs.
    pub inputs: Vec<TensorSpec>,
    /// Operations in order.
    pub nodes: Vec<Node>,
    /// Which nodes are results, and how each lies in its binding.
    pub outputs: Vec<(usize, TensorSpec)>,
}

impl Graph {
    /// Content hash without the name.
    pub fn identity(&self) -> [u8; 32] {
        let bare = Graph { name: String::new(), ..self.clone() };
        *blake3::hash(&serde_json::to_vec(&bare).expect("a graph is plain data")).as_bytes()
    }

    /// Checks that references point backwards and that operand counts fit.
    pub fn check(&self) -> Result<()> {
        let bad = |n: usize, why: String| Err(Error::invalid(format!("graph {}, node {n}: {why}", self.name)));
        for (n, node) in self.nodes.iter().enumerate() {
            for r in &node.inputs {
                match *r {
                    Ref::Input(i) if i >= self.inputs.len() => return bad(n, format!("input {i} does not exist")),
                    Ref::Node(i) if i >= n => return bad(n, format!("uses node {i}, which does not come before it")),
                    _ => {}
                }
            }
            let want = match &node.op {
                Op::Unary(_) | Op::Cast(_) | Op::Reduce { .. } | Op::Scan { .. } | Op::Softmax => 1..=1,
                Op::Pad { .. } | Op::ArgSort { .. } => 1..=1,
                Op::Binary(_)
                | Op::Compare(_)
                | Op::MatMul
                | Op::Conv { .. }
                | Op::Embedding
                | Op::Gather { .. }
                | Op::RmsNorm { .. } => 2..=2,
                Op::Where | Op::LayerNorm { .. } | Op::Scatter { .. } => 3..=3,
                Op::Full(_) | Op::Iota { .. } => 0..=0,
                Op::Philox { .. } => 4..=4,
                Op::Attention { masked, .. } => (3 + *masked as usize)..=(3 + *masked as usize),
                Op::Concat { .. } => 1..=usize::MAX,
            };
            if !want.contains(&node.inputs.len()) {
                return bad(n, format!("{:?} has {} operands, takes {want:?}", node.op, node.inputs.len()));
            }
        }
        for (n, _) in &self.outputs {
            if *n >= self.nodes.len() {
                return bad(*n, "is an output but does not exist".into());
            }
        }
        Ok(())
    }
}
