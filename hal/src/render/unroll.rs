//! Which loops the printers of text write out, so that arrays indexed by a loop's variable become registers on every compiler,
//! and what is known of the numbers within.

use crate::{DType, ir::*};

/// Longest trip count of a loop that is written out.
const MAX_ROUNDS: u64 = 64;
/// Statements of a kernel beyond which loops are no longer written out: compilers are not linear.
const MAX_STATEMENTS: usize = 20_000;

/// The values of the variable of a loop from `start` to `end` by `step`, as bit patterns, where it is to be written out behind
/// `statements` others: not a long one, and none that its body leaves.
pub(super) fn written_out(d: DType, [start, end, step]: [u64; 3], body: &Block, statements: usize) -> Option<Vec<u64>> {
    let (mut i, end, step) = (signed(d, start), signed(d, end), signed(d, step).max(1));
    let mut rounds = vec![];
    while i < end {
        if rounds.len() as u64 == MAX_ROUNDS {
            return None;
        }
        rounds.push(i as u64 & (u64::MAX >> (64 - 8 * d.size())));
        i += step;
    }
    let mut size = 0usize;
    visit(body, &mut |_| size += 1);
    let fits = statements.saturating_add(size.saturating_mul(rounds.len())) <= MAX_STATEMENTS;
    (fits && !leaves(body)).then_some(rounds)
}

/// A bit pattern as a number.
pub(super) fn signed(d: DType, bits: u64) -> i128 {
    match d {
        DType::I8 => bits as i8 as i128,
        DType::I16 => bits as i16 as i128,
        DType::I32 => bits as i32 as i128,
        DType::I64 => bits as i64 as i128,
        _ => bits as i128,
    }
}

/// The bit pattern, of integer type `d`, that `op` gives where it is arithmetic of known integers: a written-out loop's indices
/// become literals. `known` has what is known of every value, `held` the integer type in which a value is held.
pub(super) fn folded(op: &Op, d: DType, known: &[Option<u64>], held: impl Fn(Value) -> Option<DType>) -> Option<u64> {
    let mask = u64::MAX >> (64 - 8 * d.size());
    let order = |bits: u64| signed(d, bits & mask);
    let of = |v: &Value| known[v.at()];
    let bits = match op {
        Op::Const(bits) => *bits,
        Op::Cast(a) => signed(held(*a)?, of(a)?) as u64,
        Op::MulAdd(a, b, c) => of(a)?.wrapping_mul(of(b)?).wrapping_add(of(c)?),
        Op::Binary(op, a, b) => {
            let (a, b) = (of(a)?, of(b)?);
            match op {
                BinaryOp::Add => a.wrapping_add(b),
                BinaryOp::Sub => a.wrapping_sub(b),
                BinaryOp::Mul => a.wrapping_mul(b),
                BinaryOp::Min if order(a) <= order(b) => a,
                BinaryOp::Max if order(a) >= order(b) => a,
                BinaryOp::Min | BinaryOp::Max => b,
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(bits & mask)
}

/// True when a `break` or `continue` of this loop stands in its body.
fn leaves(body: &Block) -> bool {
    body.iter().any(|i| match &i.op {
        Op::Break | Op::Continue => true,
        Op::If { then, otherwise, .. } => leaves(then) || leaves(otherwise),
        _ => false,
    })
}
