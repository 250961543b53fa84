//! A frozen copy of the pending part of the graph: what is to be computed, from which leaves.
//!
//! Nodes are numbered in an order in which operands come first. Two snapshots of equal items and outputs are the same work on
//! other leaves: the plan cache goes by that.

use crate::{
    graph::{Node, Source, View, hash_op},
    shape::Strided,
};
use anychip_hal::{
    DType,
    op::{Op, dense_strides},
};
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};

/// A node of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Extents.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

/// What a node of a snapshot is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// The n-th leaf; `constant`: a weight.
    Leaf {
        /// Which.
        leaf: usize,
        /// A weight.
        constant: bool,
    },
    /// An operation.
    Op(Op, Vec<usize>),
    /// A view.
    View(View, usize),
}

impl Item {
    /// Operands.
    pub fn inputs(&self) -> &[usize] {
        match &self.kind {
            Kind::Leaf { .. } => &[],
            Kind::Op(_, inputs) => inputs,
            Kind::View(_, input) => std::slice::from_ref(input),
        }
    }

    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Dense layout of its shape.
    pub fn dense(&self) -> Strided {
        Strided { shape: self.shape.clone(), strides: dense_strides(&self.shape), offset: 0 }
    }
}

/// The pending part of a graph.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Operands before users.
    pub items: Vec<Item>,
    /// Which items are asked for.
    pub outputs: Vec<usize>,
    /// The nodes behind the leaves.
    pub leaves: Vec<Node>,
}

impl Snapshot {
    /// Freezes what `outputs` need. Nodes in `inputs` are leaves even when they are pending (a program's parameters).
    pub fn take(outputs: &[Node], inputs: &[Node]) -> Snapshot {
        let mut s = Snapshot { items: vec![], outputs: vec![], leaves: vec![] };
        let mut seen: FxHashMap<u64, usize> = FxHashMap::default();
        for input in inputs {
            let at = s.leaf(input);
            seen.insert(input.id(), at);
        }
        // An explicit stack: chains may be long.
        enum Visit {
            Enter(Node),
            Leave(Node, Source),
        }
        let mut stack: Vec<Visit> = outputs.iter().rev().cloned().map(Visit::Enter).collect();
        while let Some(v) = stack.pop() {
            match v {
                Visit::Enter(n) if seen.contains_key(&n.id()) => {}
                Visit::Enter(n) => match n.source() {
                    None => {
                        let at = s.leaf(&n);
                        seen.insert(n.id(), at);
                    }
                    Some(source) => {
                        let inputs: Vec<Node> = source.inputs().to_vec();
                        stack.push(Visit::Leave(n, source));
                        stack.extend(inputs.into_iter().rev().map(Visit::Enter));
                    }
                },
                Visit::Leave(n, _) if seen.contains_key(&n.id()) => {}
                Visit::Leave(n, source) => {
                    let at = |x: &Node| seen[&x.id()];
                    let kind = match &source {
                        Source::Op(op, inputs) => Kind::Op(op.clone(), inputs.iter().map(at).collect()),
                        Source::View(view, input) => Kind::View(view.clone(), at(input)),
                    };
                    let index = s.push(kind, n.shape().to_vec(), n.dtype());
                    seen.insert(n.id(), index);
                }
            }
        }
        s.outputs = outputs.iter().map(|n| seen[&n.id()]).collect();
        s
    }

    /// The operation of an item that is one.
    pub fn op(&self, item: usize) -> Option<&Op> {
        match &self.items[item].kind {
            Kind::Op(op, _) => Some(op),
            _ => None,
        }
    }

    fn leaf(&mut self, n: &Node) -> usize {
        self.leaves.push(n.clone());
        let kind = Kind::Leaf { leaf: self.leaves.len() - 1, constant: n.is_constant() };
        self.push(kind, n.shape().to_vec(), n.dtype())
    }

    /// Appends an item.
    pub fn push(&mut self, kind: Kind, shape: Vec<usize>, dtype: DType) -> usize {
        self.items.push(Item { kind, shape, dtype });
        self.items.len() - 1
    }

    /// A hash of the structure: equal for the same work on other leaves, and nearly always different for other work.
    pub fn hash(&self) -> u64 {
        let mut h = FxHasher::default();
        for i in &self.items {
            match &i.kind {
                Kind::Leaf { leaf, constant } => (0u8, leaf, constant).hash(&mut h),
                Kind::Op(op, inputs) => {
                    hash_op(op, &mut h);
                    inputs.hash(&mut h);
                }
                Kind::View(view, input) => (view, input).hash(&mut h),
            }
            (&i.shape, i.dtype).hash(&mut h);
        }
        self.outputs.hash(&mut h);
        h.finish()
    }

    /// True when both are the same work, if on other leaves.
    pub fn same_work(&self, items: &[Item], outputs: &[usize]) -> bool {
        self.items == items && self.outputs == outputs
    }
}
