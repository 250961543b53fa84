//! Which values a fused expression computes once although several of its operations use them.
//!
//! A value that is used twice would be computed twice if its users went to different kernels, or saw it under different views; it
//! then gets a buffer. When all its users meet in one expression and see it in one way, lowering finds the same expression again
//! and computes it once.

use super::{group::Use, snapshot::Snapshot};
use crate::graph::View;
use anychip_hal::op::Op;
use rustc_hash::FxHashMap;

/// Where an expression is part of another, as a number: equal numbers are the same group, seen through the same views.
pub struct Places {
    at: Vec<usize>,
    known: FxHashMap<(Within, Vec<View>), usize>,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Within {
    /// In the expression at this place.
    Place(usize),
    /// An operand of an operation that cannot be inlined.
    Operand(usize, usize),
}

impl Places {
    /// For the items of a snapshot, which must be [settled](Places::settle) from the last to the first.
    pub fn new(s: &Snapshot) -> Places {
        Places { at: (0..s.items.len()).collect(), known: FxHashMap::default() }
    }

    /// Settles where item `i` is computed, given its users, which are settled; true when they meet in one place, so that it needs
    /// no buffer for their sake. A root, or an item whose users do not meet, begins a place of its own.
    pub fn settle(
        &mut self,
        s: &Snapshot,
        i: usize,
        root: bool,
        uses: &[Use],
        cannot_inline: impl Fn(&Op) -> bool,
    ) -> bool {
        let mut meet = None;
        for u in uses {
            let Some(op) = s.op(u.user) else { return false };
            let mut views = u.views.clone();
            let within = match op {
                op if cannot_inline(op) => Within::Operand(u.user, u.input),
                // Its ids do not vary along the last axis.
                Op::Embedding if u.input == 1 => {
                    views.push(View::Expand(s.items[u.user].shape.clone()));
                    Within::Place(self.at[u.user])
                }
                Op::Embedding => Within::Operand(u.user, u.input),
                _ => Within::Place(self.at[u.user]),
            };
            let next = s.items.len() + self.known.len();
            let place = match (within, views.is_empty()) {
                (Within::Place(p), true) => p,
                _ => *self.known.entry((within, views)).or_insert(next),
            };
            if *meet.get_or_insert(place) != place {
                return false;
            }
        }
        if let (Some(place), false) = (meet, root) {
            self.at[i] = place;
        }
        true
    }
}
