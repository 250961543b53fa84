//! Pure operations that a loop would repeat with the same operands move in front of it.
//!
//! Nothing pure can trap, so a loop that runs no round may compute them too. Loads stay: what they read may change.
//! Out of the branches within a loop only operations without operands move; the others may be there to be skipped.

use crate::ir::*;

/// Hoists within a block, innermost loops first.
pub(super) fn hoist(block: &mut Block, values: usize) {
    Hoist { inside: vec![0; values], depth: 0 }.block(block);
}

struct Hoist {
    /// Depth of the innermost loop in which a value is defined; 0: outside every loop.
    inside: Vec<u32>,
    depth: u32,
}

impl Hoist {
    fn block(&mut self, block: &mut Block) {
        let mut out = Vec::with_capacity(block.len());
        for mut inst in std::mem::take(block) {
            let is_loop =
                matches!(inst.op, Op::For { .. } | Op::While { .. } | Op::FragEach { .. } | Op::FragMap { .. });
            self.depth += is_loop as u32;
            for v in inst.op.block_values().into_iter().chain(inst.out) {
                self.inside[v.at()] = self.depth;
            }
            for b in inst.op.blocks_mut() {
                self.block(b);
            }
            if is_loop {
                for b in inst.op.blocks_mut() {
                    self.lift(b, &mut out, true);
                }
                self.depth -= 1;
            }
            out.push(inst);
        }
        *block = out;
    }

    /// Moves what is invariant in the loop of the current depth to `out`.
    fn lift(&mut self, block: &mut Block, out: &mut Block, top: bool) {
        let mut stay = Vec::with_capacity(block.len());
        for mut inst in std::mem::take(block) {
            let mut invariant = inst.op.is_pure();
            let mut operands = false;
            inst.op.operands(&mut |v| {
                operands = true;
                invariant &= self.inside[v.at()] < self.depth;
            });
            match inst.out {
                Some(v) if invariant && (top || !operands) => {
                    self.inside[v.at()] = self.depth - 1;
                    out.push(inst);
                }
                _ => {
                    for b in inst.op.blocks_mut() {
                        self.lift(b, out, false);
                    }
                    stay.push(inst);
                }
            }
        }
        *block = stay;
    }
}
