//! Which nodes are computed together: every group has one node with a buffer of its own (its root) and at most one anchor
//! (a reduction, a row operation, a matrix product) whose elementwise users are fused behind it.

use super::{
    lower::base,
    share::Places,
    snapshot::{Kind, Snapshot},
};
use crate::{graph::View, shape::Strided};
use anychip_hal::op::Op;
use std::collections::{BTreeMap, BTreeSet};

/// Corrections that lowering asked for; grouping begins again with them.
#[derive(Debug, Default, Clone)]
pub struct Demands {
    /// Nodes that need a buffer of their own.
    pub roots: BTreeSet<usize>,
    /// Roots that must lie densely in row-major order.
    pub dense: BTreeSet<usize>,
    /// Anchors that are stored as they are.
    pub bare: BTreeSet<usize>,
}

/// A group: `root` is stored; `anchor` is the operation inside, if any.
#[derive(Debug, Clone)]
pub struct Group {
    /// Stored.
    pub root: usize,
    /// The operation that cannot be inlined.
    pub anchor: Option<usize>,
    /// Set when the root is stored in another order of its axes: axis i of the stored order is axis `order[i]` of the root.
    pub order: Option<Vec<usize>>,
}

/// Groups in the order in which they run, and how every item with a buffer lies in it.
pub struct Grouping {
    /// In order.
    pub groups: Vec<Group>,
    /// Per item.
    pub layouts: Vec<Option<Strided>>,
    /// Per output: the item whose buffer holds it.
    pub outputs: Vec<usize>,
}

/// True for operations that compute each element from the same element of their operands.
pub fn elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Where | Op::Philox { .. } | Op::Cast(_))
}

fn anchor_with_epilogue(op: &Op) -> bool {
    matches!(
        op,
        Op::Reduce { .. }
            | Op::Scan { .. }
            | Op::Scatter { .. }
            | Op::Softmax
            | Op::LayerNorm { .. }
            | Op::RmsNorm { .. }
            | Op::MatMul
            | Op::Conv { .. }
    )
}

/// True for operations whose result always gets a buffer.
fn anchor(op: &Op) -> bool {
    anchor_with_epilogue(op)
        || matches!(op, Op::Attention { .. } | Op::Concat { .. } | Op::Pad { .. } | Op::ArgSort { .. })
}

/// True when an element is seen under several indices, next to each other.
fn overlaps(view: &View) -> bool {
    matches!(view, View::Window { size, step, dilation, .. } if *step <= (size - 1).saturating_mul(*dilation))
}

/// An edge from a user to what it uses, with the views between, innermost first.
pub(super) struct Use {
    pub user: usize,
    /// Which of the user's operands it is.
    pub input: usize,
    pub views: Vec<View>,
}

/// Divides a graph into groups.
///
/// No group reads more than about `most_reads` buffers.
pub fn group(s: &Snapshot, demands: &Demands, most_reads: usize) -> Grouping {
    let none = vec![None; s.items.len()];
    let mut uses: Vec<Vec<Use>> = s.items.iter().map(|_| vec![]).collect();
    let mut roots = demands.roots.clone();
    for (i, item) in s.items.iter().enumerate() {
        let Kind::Op(op, inputs) = &item.kind else { continue };
        for (n, &input) in inputs.iter().enumerate() {
            let (b, steps) = base(s, &none, input);
            // Where windows overlap, what they look at would be computed once for each of them.
            let overlaps = steps.iter().any(|step| overlaps(&step.view));
            uses[b].push(Use { user: i, input: n, views: steps.into_iter().map(|s| s.view).collect() });
            let reads_buffer = match op {
                Op::MatMul | Op::Conv { .. } | Op::Attention { .. } => true,
                Op::Embedding | Op::Gather { .. } => n == 0,
                _ => false,
            };
            if reads_buffer || (overlaps && !s.items[b].inputs().is_empty()) {
                roots.insert(b);
            }
        }
    }
    // A demanded view is used by those that look through it: its base has it as a further user, of no kind that fuses.
    let outputs: Vec<usize> = s.outputs.iter().map(|&o| stored_as(s, o, demands)).collect();
    roots.extend(&outputs);
    let mut places = Places::new(s);
    for (i, item) in s.items.iter().enumerate().rev() {
        if let Kind::Op(op, inputs) = &item.kind {
            let free = inputs.is_empty();
            // Users that look at it in different ways (y + yᵀ), or that are computed apart, would compute it several times.
            let meet = places.settle(s, i, roots.contains(&i), &uses[i], anchor);
            let several = if anchor(op) { uses[i].len() > 1 } else { !meet };
            if several && !free {
                roots.insert(i);
            }
            if anchor(op) && !anchor_with_epilogue(op) {
                roots.insert(i);
            }
        }
    }
    limit(s, &mut roots, most_reads);
    // Elementwise users join the anchor in front of them.
    let mut anchor_of: BTreeMap<usize, usize> = BTreeMap::new();
    let mut claimed: BTreeSet<usize> = BTreeSet::new();
    for (a, item) in s.items.iter().enumerate() {
        let Kind::Op(op, _) = &item.kind else { continue };
        if !anchor(op) {
            continue;
        }
        let mut tail = a;
        while anchor_with_epilogue(op) && !roots.contains(&tail) && !demands.bare.contains(&a) {
            let [only] = uses[tail].as_slice() else { break };
            let user = &s.items[only.user];
            let in_order = only.views.iter().all(|v| matches!(v, View::Reshape(_)));
            let joins = matches!(&user.kind, Kind::Op(o, _) if elementwise(o))
                && in_order
                && user.elements() == s.items[tail].elements()
                && !claimed.contains(&only.user);
            // A view between that was given a buffer cuts the chain.
            if !joins || cut(s, only.user, tail, &roots) {
                break;
            }
            tail = only.user;
            claimed.insert(tail);
        }
        roots.insert(tail);
        anchor_of.insert(tail, a);
    }
    // Roots that are leaves have their buffers already.
    let groups: Vec<Group> = roots
        .iter()
        .filter(|&&r| !matches!(s.items[r].kind, Kind::Leaf { .. }))
        .map(|&root| {
            let anchor = anchor_of.get(&root).copied();
            let order = stored_order(s, &uses[root], root, anchor, demands, &outputs);
            Group { root, anchor, order }
        })
        .collect();
    let mut layouts: Vec<Option<Strided>> =
        s.items.iter().map(|i| matches!(i.kind, Kind::Leaf { .. }).then(|| i.dense())).collect();
    for g in &groups {
        layouts[g.root] = Some(layout(&s.items[g.root].shape, g.order.as_deref()));
    }
    Grouping { groups, layouts, outputs }
}

/// Operations that one expression chains at most: expressions are walked by recursion, and a kernel should stay readable.
const DEEPEST: usize = 128;

/// Gives buffers to nodes inside expressions that are too deep, or read too many buffers.
fn limit(s: &Snapshot, roots: &mut BTreeSet<usize>, most_reads: usize) {
    // Per item, for what would be inlined with it: how deep it is and which buffers it reads.
    let mut depth = vec![0usize; s.items.len()];
    let mut reads: Vec<BTreeSet<usize>> = (0..s.items.len()).map(|i| BTreeSet::from([i])).collect();
    for (i, item) in s.items.iter().enumerate() {
        match &item.kind {
            Kind::Leaf { .. } => {}
            Kind::View(_, input) if !roots.contains(&i) => {
                (depth[i], reads[i]) = (depth[*input] + 1, reads[*input].clone());
            }
            Kind::View(..) => {}
            Kind::Op(op, _) if anchor(op) => {}
            Kind::Op(_, inputs) => {
                let total = |reads: &[BTreeSet<usize>]| -> BTreeSet<usize> {
                    inputs.iter().flat_map(|&n| reads[n].iter().copied()).collect()
                };
                let mut all = total(&reads);
                while all.len() > most_reads {
                    let Some(&widest) = inputs.iter().filter(|&&n| reads[n].len() > 1).max_by_key(|&&n| reads[n].len())
                    else {
                        break;
                    };
                    roots.insert(widest);
                    (depth[widest], reads[widest]) = (0, BTreeSet::from([widest]));
                    all = total(&reads);
                }
                reads[i] = all;
                depth[i] = 1 + inputs.iter().map(|&n| depth[n]).max().unwrap_or(0);
            }
        }
        if depth[i] >= DEEPEST || roots.contains(&i) {
            if depth[i] >= DEEPEST {
                roots.insert(i);
            }
            (depth[i], reads[i]) = (0, BTreeSet::from([i]));
        }
    }
}

/// How a root lies in its buffer when its axes are stored in an order.
fn layout(shape: &[usize], order: Option<&[usize]>) -> Strided {
    let Some(order) = order else { return Strided::dense(shape) };
    let stored: Vec<usize> = order.iter().map(|&o| shape[o]).collect();
    let dense = Strided::dense(&stored);
    let mut strides = vec![0; shape.len()];
    for (i, &o) in order.iter().enumerate() {
        strides[o] = dense.strides[i];
    }
    Strided { shape: shape.to_vec(), strides, offset: 0 }
}

/// A root whose only user permutes it first is stored in that order, so that a reshape behind costs nothing.
fn stored_order(
    s: &Snapshot,
    uses: &[Use],
    root: usize,
    anchor: Option<usize>,
    demands: &Demands,
    outputs: &[usize],
) -> Option<Vec<usize>> {
    let strided_output = match anchor.map(|a| &s.items[a].kind) {
        None => true,
        Some(Kind::Op(Op::MatMul | Op::Attention { .. }, _)) => true,
        Some(_) => false,
    };
    let free = !outputs.contains(&root) && !demands.dense.contains(&root) && strided_output;
    match uses {
        [Use { views, .. }] if free => match views.as_slice() {
            [View::Permute(order), View::Reshape(_), ..] => Some(order.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The item whose buffer holds an output: reshapes of something dense share its buffer.
fn stored_as(s: &Snapshot, mut o: usize, demands: &Demands) -> usize {
    while let Kind::View(View::Reshape(_), input) = &s.items[o].kind {
        if demands.roots.contains(&o) {
            break;
        }
        o = *input;
    }
    o
}

/// True when a view between `user` and `base` has a buffer of its own.
fn cut(s: &Snapshot, user: usize, base: usize, roots: &BTreeSet<usize>) -> bool {
    s.items[user].inputs().iter().any(|&start| {
        let mut n = start;
        let mut met = false;
        while let Kind::View(_, input) = &s.items[n].kind {
            met |= roots.contains(&n);
            n = *input;
        }
        n == base && met
    })
}
