//! From a node to a fused expression over an iteration space: elementwise operands are inlined, views become strides.
//!
//! A view that strides cannot express (a reshape of something permuted) stops the lowering with the node that has to be
//! materialised first; the caller does that and begins again.

use super::snapshot::{Kind, Snapshot};
use crate::{
    graph::View,
    library::{Body, Expr, Map, body::Id},
    shape::Strided,
};
use anychip_hal::op::Op;
use rustc_hash::FxHashMap;

/// The node that must be computed into a buffer of its own before this can be lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Materialise(pub usize);

/// A view on the way from a node to the space, and the node that it views.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Step {
    /// The view.
    pub view: View,
    /// The node that it views; `None` for the step from the group's root to its space.
    pub from: Option<usize>,
}

/// Lowers nodes of one group.
pub struct Lower<'a> {
    /// The graph.
    pub graph: &'a Snapshot,
    /// Items that have a buffer of their own, and how they lie in it.
    pub layouts: &'a [Option<Strided>],
    /// The group's anchor, if it has one: read as `Expr::Anchor`.
    pub anchor: Option<usize>,
    /// What is lowered here although it will have a buffer: the group's own root.
    pub root: usize,
    /// The expression.
    pub body: Body,
    /// Which item each slot reads.
    pub slots: Vec<usize>,
    /// Items whose value is a constant here: bits.
    pub constants: FxHashMap<usize, u64>,
    memo: FxHashMap<(usize, Vec<Step>), Id>,
}

impl<'a> Lower<'a> {
    /// Begins a group.
    pub fn new(graph: &'a Snapshot, layouts: &'a [Option<Strided>], root: usize, anchor: Option<usize>) -> Lower<'a> {
        Lower {
            graph,
            layouts,
            anchor,
            root,
            body: Body::default(),
            slots: vec![],
            constants: FxHashMap::default(),
            memo: FxHashMap::default(),
        }
    }

    fn slot(&mut self, item: usize) -> usize {
        match self.slots.iter().position(|&s| s == item) {
            Some(s) => s,
            None => {
                self.slots.push(item);
                self.body.slots.push(self.graph.items[item].dtype);
                self.slots.len() - 1
            }
        }
    }

    /// Applies steps to a layout of item `n`.
    fn apply(&self, start: Strided, n: usize, steps: &[Step]) -> Result<Map, Materialise> {
        // A step to the group's space fails for a permuted buffer, which can be had densely, or for a repeated one, which cannot:
        // then the group is cut.
        let own = if start.is_dense() { self.root } else { n };
        let mut s = start;
        for step in steps {
            s = step.view.of(&s).ok_or(Materialise(step.from.unwrap_or(own)))?;
        }
        Ok(Map { strides: s.strides, offset: s.offset })
    }

    /// The expression for item `n` seen through `steps` (innermost first) from the space.
    pub fn lower(&mut self, n: usize, steps: &[Step]) -> Result<Id, Materialise> {
        let key = (n, steps.to_vec());
        if let Some(&id) = self.memo.get(&key) {
            return Ok(id);
        }
        let id = self.lower_new(n, steps)?;
        self.memo.insert(key, id);
        Ok(id)
    }

    fn lower_new(&mut self, n: usize, steps: &[Step]) -> Result<Id, Materialise> {
        let graph = self.graph;
        let item = &graph.items[n];
        let dtype = item.dtype;
        if let Some(&bits) = self.constants.get(&n) {
            return Ok(self.body.push(Expr::Const(bits), dtype));
        }
        if self.anchor == Some(n) {
            // The way from the anchor to the space keeps the row-major order, or the epilogue would not have been chosen.
            return Ok(self.body.push(Expr::Anchor, dtype));
        }
        let layouts = self.layouts;
        if let Some(layout) = layouts[n].as_ref().filter(|_| n != self.root) {
            let map = self.apply(layout.clone(), n, steps)?;
            let slot = self.slot(n);
            let map = self.body.map(map);
            return Ok(self.body.push(Expr::Read { slot, map }, dtype));
        }
        match &item.kind {
            Kind::Leaf { .. } => Err(Materialise(n)),
            Kind::View(view, input) => {
                let mut all = vec![Step { view: view.clone(), from: Some(*input) }];
                all.extend_from_slice(steps);
                self.lower(*input, &all)
            }
            Kind::Op(op, inputs) => match op {
                Op::Unary(u) => {
                    let a = self.lower(inputs[0], steps)?;
                    Ok(self.body.push(Expr::Unary(*u, a), dtype))
                }
                Op::Binary(o) => {
                    let a = self.lower(inputs[0], steps)?;
                    let b = self.lower(inputs[1], steps)?;
                    Ok(self.body.push(Expr::Binary(*o, a, b), dtype))
                }
                Op::Compare(o) => {
                    let a = self.lower(inputs[0], steps)?;
                    let b = self.lower(inputs[1], steps)?;
                    Ok(self.body.push(Expr::Compare(*o, a, b), dtype))
                }
                Op::Where => {
                    let c = self.lower(inputs[0], steps)?;
                    let a = self.lower(inputs[1], steps)?;
                    let b = self.lower(inputs[2], steps)?;
                    Ok(self.body.push(Expr::Where(c, a, b), dtype))
                }
                Op::Philox { word } => {
                    let mut words = [0; 4];
                    for (to, &from) in words.iter_mut().zip(inputs) {
                        *to = self.lower(from, steps)?;
                    }
                    Ok(self.body.push(Expr::Philox(*word, words), dtype))
                }
                Op::Cast(_) => {
                    let a = self.lower(inputs[0], steps)?;
                    Ok(self.body.push(Expr::Cast(a), dtype))
                }
                Op::Full(bits) => Ok(self.body.push(Expr::Const(*bits), dtype)),
                Op::Iota { axis } => {
                    let mut unit = Strided { shape: item.shape.clone(), strides: vec![0; item.shape.len()], offset: 0 };
                    unit.strides[*axis] = 1;
                    let map = self.apply(unit, n, steps)?;
                    let map = self.body.map(map);
                    Ok(self.body.push(Expr::Index(map), dtype))
                }
                Op::Embedding => self.embedding(n, inputs[0], inputs[1], steps),
                // Without updates it is what is there.
                Op::Scatter { axis, .. } if graph.items[inputs[1]].shape[*axis] == 0 => self.lower(inputs[0], steps),
                Op::Gather { axis } => self.gather(n, inputs[0], *axis, inputs[1], steps),
                Op::Reduce { .. }
                | Op::Scan { .. }
                | Op::Scatter { .. }
                | Op::ArgSort { .. }
                | Op::Softmax
                | Op::LayerNorm { .. }
                | Op::RmsNorm { .. }
                | Op::MatMul
                | Op::Conv { .. }
                | Op::Attention { .. }
                | Op::Concat { .. }
                | Op::Pad { .. } => Err(Materialise(n)),
            },
        }
    }

    fn embedding(&mut self, n: usize, table: usize, ids: usize, steps: &[Step]) -> Result<Id, Materialise> {
        let shape = &self.graph.items[n].shape;
        // The ids do not vary along the last axis.
        let mut unit = self.graph.items[ids].shape.clone();
        unit.push(1);
        let mut id_steps = vec![
            Step { view: View::Reshape(unit), from: Some(ids) },
            Step { view: View::Expand(shape.clone()), from: Some(ids) },
        ];
        id_steps.extend_from_slice(steps);
        let rank = shape.len();
        let within = |table: &[isize]| {
            let mut strides = vec![0; rank];
            strides[rank - 1] = table[1];
            strides
        };
        self.pick(n, (table, 0), (ids, &id_steps), within, steps)
    }

    fn gather(&mut self, n: usize, x: usize, axis: usize, index: usize, steps: &[Step]) -> Result<Id, Materialise> {
        let within = |x: &[isize]| {
            let mut strides = x.to_vec();
            strides[axis] = 0;
            strides
        };
        self.pick(n, (x, axis), (index, steps), within, steps)
    }

    /// Item `n`, whose elements are those of `x` at computed places of an axis. `within`: from the strides of `x` to those of
    /// its other axes over the shape of `n`.
    fn pick(
        &mut self,
        n: usize,
        (x, axis): (usize, usize),
        (index, index_steps): (usize, &[Step]),
        within: impl Fn(&[isize]) -> Vec<isize>,
        steps: &[Step],
    ) -> Result<Id, Materialise> {
        let item = &self.graph.items[n];
        let dtype = item.dtype;
        let rows = self.graph.items[x].shape[axis];
        if rows == 0 {
            let bits = if dtype.is_float() { super::nan_bits(dtype) } else { 0 };
            return Ok(self.body.push(Expr::Const(bits), dtype));
        }
        // What is picked from: a buffer, seen through its own views.
        let (base, views) = self.base(x);
        let Some(layout) = self.layouts[base].clone() else {
            return Err(Materialise(base));
        };
        let placed = self.apply(layout, base, &views)?;
        if placed.strides[axis] < 0 {
            return Err(Materialise(x));
        }
        let id = self.lower(index, index_steps)?;
        let rest = Strided { shape: item.shape.clone(), strides: within(&placed.strides), offset: placed.offset };
        let map = self.apply(rest, n, steps)?;
        let map = self.body.map(map);
        let slot = self.slot(base);
        Ok(self.body.push(Expr::Gather { slot, rows, row_stride: placed.strides[axis], id, map }, dtype))
    }

    /// The item under a node's views, and the views, innermost first.
    pub fn base(&self, n: usize) -> (usize, Vec<Step>) {
        base(self.graph, self.layouts, n)
    }
}

/// The first item under `n`'s views that is no view, or has a buffer; and the views, innermost first.
pub fn base(graph: &Snapshot, layouts: &[Option<Strided>], mut n: usize) -> (usize, Vec<Step>) {
    let mut steps = vec![];
    while let Kind::View(view, input) = &graph.items[n].kind {
        if layouts[n].is_some() {
            break;
        }
        steps.push(Step { view: view.clone(), from: Some(*input) });
        n = *input;
    }
    steps.reverse();
    (n, steps)
}

/// How operand `n` lies in the buffer of its base.
pub fn strided(graph: &Snapshot, layouts: &[Option<Strided>], n: usize) -> Result<(usize, Strided), Materialise> {
    let (at, steps) = base(graph, layouts, n);
    let mut s = layouts[at].clone().ok_or(Materialise(at))?;
    for step in steps {
        s = step.view.of(&s).ok_or(Materialise(step.from.unwrap_or(at)))?;
    }
    Ok((at, s))
}
