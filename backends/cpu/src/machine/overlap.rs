//! Functions that take long enough for memory to bring meanwhile what the next block will read.
//!
//! A load asks for the beginning of what it will read next and leaves the rest to the processor, which sees one line after another
//! being read and fetches on. While a function is computed nothing is read, and nothing is fetched: here the rest is asked for, piece
//! by piece between pieces of the function, as a core has only some dozen requests under way.

use super::{
    access::{AHEAD, NEXT},
    exec::Machine,
    ops::{UnaryFn, prefetch},
};
use anychip_hal::ir::UnaryOp;

/// Lanes of a piece.
const PIECE: usize = 128;
/// Bytes of a lane that are asked for: those of most, half of the widest.
const LANE: usize = 4;

/// More than some ten instructions an element.
fn is_long(op: UnaryOp) -> bool {
    matches!(
        op,
        UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tan
            | UnaryOp::Tanh
            | UnaryOp::Erf
    )
}

impl Machine<'_> {
    /// `f` over all lanes.
    ///
    /// # Safety
    /// Both pointers cover the block's lanes of `bytes` bytes each.
    pub(super) unsafe fn function(&self, f: UnaryFn, op: UnaryOp, d: *mut u8, a: *const u8, bytes: usize) {
        let n = self.n;
        if n <= PIECE || !is_long(op) || self.sites.iter().all(|&s| s == 0) {
            // SAFETY: as promised.
            return unsafe { f(op, n, d, a) };
        }
        for at in (0..n).step_by(PIECE) {
            let lanes = PIECE.min(n - at);
            for (&now, &before) in self.sites.iter().zip(&self.before) {
                let step = now.wrapping_sub(before);
                if before == 0 || step == 0 || step > NEXT {
                    continue;
                }
                // This piece's share of what the load will read, where it reads that without gaps.
                let all = step.min(n * LANE);
                let (from, to) = (all * at / n, all * (at + lanes) / n);
                let from = from.max(AHEAD).next_multiple_of(64);
                prefetch(now.wrapping_add(step + from) as *const u8, to.saturating_sub(from));
            }
            // SAFETY: a part of what is promised.
            unsafe { f(op, lanes, d.add(at * bytes), a.add(at * bytes)) };
        }
    }
}
