//! What an operation reads, whether it does anything but compute, and what a piece of program weighs.

use super::program::Node;
use anychip_hal::ir::{Op, Value};

/// Instructions of a lane; a loop counts as sixteen rounds.
pub(super) fn weight(nodes: &[Node]) -> u64 {
    nodes
        .iter()
        .map(|n| match n {
            Node::Do(_) => 1,
            Node::If { then, otherwise, .. } => 1 + weight(then) + weight(otherwise),
            Node::For { body, .. } => 16 * (1 + weight(body)),
            Node::While { head, body, .. } => 16 * (1 + weight(head) + weight(body)),
            Node::Break | Node::Continue | Node::Return => 1,
        })
        .fold(0u64, |a, b| a.saturating_add(b))
}

/// There are no loops: `weight` is what a lane runs at most.
pub(crate) fn straight(nodes: &[Node]) -> bool {
    nodes.iter().all(|n| match n {
        Node::Do(_) | Node::Break | Node::Continue | Node::Return => true,
        Node::If { then, otherwise, .. } => straight(then) && straight(otherwise),
        Node::For { .. } | Node::While { .. } => false,
    })
}

/// Lanes may leave the block other than by its end.
pub(super) fn exits(nodes: &[Node]) -> bool {
    nodes.iter().any(|n| match n {
        Node::Do(_) => false,
        Node::If { exits, .. } => *exits,
        // A break inside stays inside, but a return does not.
        Node::For { body, .. } => exits(body),
        Node::While { head, body, .. } => exits(head) || exits(body),
        Node::Break | Node::Continue | Node::Return => true,
    })
}

/// Values that an operation reads, blocks inside not included.
pub(super) fn operands(op: &Op) -> Vec<Value> {
    match op {
        Op::Const(_)
        | Op::Scalar(_)
        | Op::BufLen(_)
        | Op::Builtin(_)
        | Op::Get(_)
        | Op::Break
        | Op::Continue
        | Op::Return
        | Op::Barrier(_)
        | Op::CopyCommit
        | Op::CopyWait(_) => vec![],
        Op::Unary(_, a)
        | Op::Cast(a)
        | Op::Bitcast(a)
        | Op::Splat(a)
        | Op::Extract(a, _)
        | Op::Set(_, a)
        | Op::GroupReduce(_, a)
        | Op::FragFill(a)
        | Op::AssumeMultiple(a, _) => vec![*a],
        Op::Binary(_, a, b) | Op::Compare(_, a, b) => vec![*a, *b],
        Op::MulAdd(a, b, c) | Op::Fma(a, b, c) | Op::Select(a, b, c) => vec![*a, *b, *c],
        Op::Dot4 { a, b, acc, .. } => vec![*a, *b, *acc],
        Op::Unpack { word, index, .. } => vec![*word, *index],
        Op::Vector(of) => of.clone(),
        Op::Load { index, .. } => vec![*index],
        Op::Store { index, value, .. } => vec![*index, *value],
        Op::Atomic { index, value, compare, .. } => {
            let mut of = vec![*index, *value];
            of.extend(compare);
            of
        }
        Op::If { cond, .. } | Op::While { cond, .. } => vec![*cond],
        Op::For { start, end, step, .. } => vec![*start, *end, *step],
        Op::Subgroup { value, lane, .. } => {
            let mut of = vec![*value];
            of.extend(lane);
            of
        }
        Op::CopyAsync { dst_index, src_index, .. } => vec![*dst_index, *src_index],
        Op::CopyTile { dst_index, at, slot, .. } => [*dst_index, *slot].into_iter().chain(at.iter().copied()).collect(),
        Op::TileCommit { slot, .. } => vec![*slot],
        Op::TileWait { slot, parity, .. } => vec![*slot, *parity],
        Op::FragLoad { index, stride, .. } => vec![*index, *stride],
        Op::FragMma { acc, .. } => vec![*acc],
        Op::FragStore { frag, index, stride, .. } => vec![*frag, *index, *stride],
        Op::FragEach { frag, .. } => vec![*frag],
        Op::FragRows(_, acc) => vec![*acc],
        Op::FragMap { of, .. } => of.clone(),
    }
}

/// Nothing but its result comes of it.
pub(super) fn is_pure(op: &Op) -> bool {
    !matches!(
        op,
        Op::Store { .. }
            | Op::Set(..)
            | Op::Atomic { .. }
            | Op::If { .. }
            | Op::For { .. }
            | Op::While { .. }
            | Op::Break
            | Op::Continue
            | Op::Return
            | Op::Barrier(_)
            | Op::GroupReduce(..)
            | Op::Subgroup { .. }
            | Op::CopyAsync { .. }
            | Op::CopyCommit
            | Op::CopyWait(_)
            | Op::CopyTile { .. }
            | Op::TileCommit { .. }
            | Op::TileWait { .. }
            | Op::FragStore { .. }
            | Op::FragEach { .. }
            | Op::FragMap { .. }
    )
}

/// Gives its operand's registers on: a variable read through it must be copied.
pub(super) fn is_alias(op: &Op) -> bool {
    matches!(op, Op::Cast(_) | Op::Bitcast(_) | Op::Splat(_) | Op::Extract(..) | Op::Vector(_) | Op::AssumeMultiple(..))
}
