//! Which values an operation reads and which it defines for its blocks: the one list that the verifier and every
//! rewriting pass share, so that a new operation cannot be forgotten in one of them.

use super::*;

macro_rules! each_operand {
    ($op:expr, $f:expr) => {
        match $op {
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
            | Op::CopyWait(_) => {}
            Op::Unary(_, a)
            | Op::Cast(a)
            | Op::Bitcast(a)
            | Op::Splat(a)
            | Op::Extract(a, _)
            | Op::Set(_, a)
            | Op::GroupReduce(_, a)
            | Op::FragFill(a)
            | Op::FragRows(_, a)
            | Op::AssumeMultiple(a, _) => $f(a),
            Op::Binary(_, a, b) | Op::Compare(_, a, b) => {
                $f(a);
                $f(b);
            }
            Op::MulAdd(a, b, c) | Op::Fma(a, b, c) | Op::Select(a, b, c) => {
                $f(a);
                $f(b);
                $f(c);
            }
            Op::Dot4 { a, b, acc, .. } => {
                $f(a);
                $f(b);
                $f(acc);
            }
            Op::Unpack { word, index, .. } => {
                $f(word);
                $f(index);
            }
            Op::Vector(of) => {
                for v in of {
                    $f(v);
                }
            }
            Op::Load { index, .. } => $f(index),
            Op::Store { index, value, .. } => {
                $f(index);
                $f(value);
            }
            Op::Atomic { index, value, compare, .. } => {
                $f(index);
                $f(value);
                if let Some(c) = compare {
                    $f(c);
                }
            }
            Op::If { cond, .. } => $f(cond),
            Op::For { start, end, step, .. } => {
                $f(start);
                $f(end);
                $f(step);
            }
            Op::While { cond, .. } => $f(cond),
            Op::Subgroup { value, lane, .. } => {
                $f(value);
                if let Some(l) = lane {
                    $f(l);
                }
            }
            Op::CopyAsync { dst_index, src_index, take, .. } => {
                $f(dst_index);
                $f(src_index);
                if let Some(n) = take {
                    $f(n);
                }
            }
            Op::CopyTile { dst_index, at, slot, .. } => {
                $f(dst_index);
                for v in at {
                    $f(v);
                }
                $f(slot);
            }
            Op::TileCommit { slot, .. } => $f(slot),
            Op::TileWait { slot, parity, .. } => {
                $f(slot);
                $f(parity);
            }
            Op::FragLoad { index, stride, .. } => {
                $f(index);
                $f(stride);
            }
            Op::FragMma { a, b, acc } => {
                for o in [a, b] {
                    match o {
                        FragOperand::Reg(v) => $f(v),
                        FragOperand::Tile { index, stride, .. } => {
                            $f(index);
                            $f(stride);
                        }
                    }
                }
                $f(acc);
            }
            Op::FragStore { frag, index, stride, .. } => {
                $f(frag);
                $f(index);
                $f(stride);
            }
            Op::FragEach { frag, .. } => $f(frag),
            Op::FragMap { of, .. } => {
                for v in of {
                    $f(v);
                }
            }
        }
    };
}

impl Op {
    /// Visits every value that the operation itself reads (its blocks' operations not included).
    pub fn operands(&self, f: &mut dyn FnMut(Value)) {
        let mut g = |v: &Value| f(*v);
        each_operand!(self, g)
    }

    /// Visits every value that the operation itself reads, to change it.
    pub fn operands_mut(&mut self, f: &mut dyn FnMut(&mut Value)) {
        each_operand!(self, f)
    }

    /// Values that the operation defines for its blocks: a loop's variable, a visit's row, column and element.
    pub fn block_values(&self) -> Vec<Value> {
        match self {
            Op::For { var, .. } => vec![*var],
            Op::FragEach { row, col, elem, .. } => vec![*row, *col, *elem],
            Op::FragMap { row, col, elems, .. } => [*row, *col].into_iter().chain(elems.iter().copied()).collect(),
            _ => vec![],
        }
    }

    /// True when the result depends on the operands alone: it may be shared, moved or dropped.
    pub fn is_pure(&self) -> bool {
        matches!(
            self,
            Op::Const(_)
                | Op::Scalar(_)
                | Op::BufLen(_)
                | Op::Builtin(_)
                | Op::Unary(..)
                | Op::Binary(..)
                | Op::Compare(..)
                | Op::MulAdd(..)
                | Op::Fma(..)
                | Op::Select(..)
                | Op::Cast(_)
                | Op::Bitcast(_)
                | Op::Dot4 { .. }
                | Op::Unpack { .. }
                | Op::Vector(_)
                | Op::Splat(_)
                | Op::Extract(..)
        )
    }
}
