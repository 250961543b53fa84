//! Offers a fused group to a device as a graph of standard operations, for vendors' libraries and fixed-function chips.

use crate::{
    library::{Body, Expr, body::Id, emit::operands},
    shape::Strided,
};
use anychip_hal::{
    DType,
    op::{Graph, Node, Op, Ref, TensorSpec},
};

/// An operand of the anchor: how it lies in the buffer that is bound.
pub struct Operand {
    /// Layout.
    pub layout: Strided,
    /// Element type.
    pub dtype: DType,
    /// A weight.
    pub constant: bool,
}

/// What is offered: an anchor on operands, then an epilogue over `shape`.
pub struct Offer<'a> {
    /// The anchor.
    pub op: Op,
    /// Its operands, bound first.
    pub operands: Vec<Operand>,
    /// The anchor's result type.
    pub dtype: DType,
    /// The anchor's result shape, the epilogue's space.
    pub shape: Vec<usize>,
    /// The epilogue; its slots are bound after the operands.
    pub body: &'a Body,
    /// Its result.
    pub epilogue: Id,
    /// Per slot: element type and whether it is a weight.
    pub slots: Vec<(DType, bool)>,
    /// Where the result goes.
    pub out: Strided,
    /// Its type.
    pub out_dtype: DType,
}

/// The graph, or `None` when the epilogue has what a graph cannot say (indices, gathers, offsets into a buffer).
///
/// Bindings: operands, then one input per (slot, view) in the returned order, then the output.
pub fn graph(o: &Offer<'_>) -> Option<(Graph, Vec<usize>)> {
    let spec = |l: &Strided, dtype: DType, constant: bool| {
        Some(TensorSpec {
            dtype,
            shape: l.shape.clone(),
            strides: l.strides.clone(),
            offset: usize::try_from(l.offset).ok()?,
            constant,
        })
    };
    let mut inputs: Vec<TensorSpec> =
        o.operands.iter().map(|p| spec(&p.layout, p.dtype, p.constant)).collect::<Option<_>>()?;
    let anchors = inputs.len();
    let mut nodes = vec![Node {
        op: o.op.clone(),
        inputs: (0..anchors).map(Ref::Input).collect(),
        views: vec![None; anchors],
        dtype: o.dtype,
        shape: o.shape.clone(),
    }];
    let mut bound = vec![];
    let mut refs: Vec<Option<Ref>> = vec![None; o.body.exprs.len()];
    let mut needed = vec![false; o.body.exprs.len()];
    needed[o.epilogue] = true;
    for i in (0..=o.epilogue).rev() {
        if needed[i] {
            operands(&o.body.exprs[i].0).into_iter().for_each(|x| needed[x] = true);
        }
    }
    for i in (0..=o.epilogue).filter(|&i| needed[i]) {
        let (expr, dtype) = &o.body.exprs[i];
        let (op, from): (Op, Vec<Id>) = match expr {
            Expr::Anchor => {
                refs[i] = Some(Ref::Node(0));
                continue;
            }
            Expr::Read { slot, map } => {
                let m = &o.body.maps[*map];
                let (slot_dtype, constant) = o.slots[*slot];
                let layout = Strided { shape: o.shape.clone(), strides: m.strides.clone(), offset: m.offset };
                inputs.push(spec(&layout, slot_dtype, constant)?);
                bound.push(*slot);
                refs[i] = Some(Ref::Input(inputs.len() - 1));
                continue;
            }
            Expr::Gather { .. } | Expr::Index(_) => return None,
            Expr::Const(bits) => (Op::Full(*bits), vec![]),
            Expr::Unary(u, a) => (Op::Unary(*u), vec![*a]),
            Expr::Binary(b, x, y) => (Op::Binary(*b), vec![*x, *y]),
            Expr::Compare(c, x, y) => (Op::Compare(*c), vec![*x, *y]),
            Expr::Where(c, x, y) => (Op::Where, vec![*c, *x, *y]),
            Expr::Philox(word, words) => (Op::Philox { word: *word }, words.to_vec()),
            Expr::Cast(x) => (Op::Cast(*dtype), vec![*x]),
        };
        let from: Vec<Ref> = from.into_iter().map(|x| refs[x]).collect::<Option<_>>()?;
        nodes.push(Node { op, views: vec![None; from.len()], inputs: from, dtype: *dtype, shape: o.shape.clone() });
        refs[i] = Some(Ref::Node(nodes.len() - 1));
    }
    let Some(Ref::Node(result)) = refs[o.epilogue] else { return None };
    let outputs = vec![(result, spec(&o.out, o.out_dtype, false)?)];
    let name = crate::graph::op_name(&o.op).to_string();
    Some((Graph { name, inputs, nodes, outputs }, bound))
}
