//! Level 0: what every application stands on, before any number is computed: memory, order, limits, errors, times.

mod bytes;
mod clock;
mod contract;
mod failure;
mod identity;
mod limits;
mod memory;
mod misuse;
mod order;

use crate::Case;

/// Every case of the level.
pub(super) fn cases(all: &mut Vec<Case>) {
    identity::cases(all);
    limits::cases(all);
    bytes::cases(all);
    order::cases(all);
    misuse::cases(all);
    memory::cases(all);
    failure::cases(all);
    clock::cases(all);
    contract::cases(all);
}
