//! Level 0: what every application stands on, before any number is computed: memory, order, limits, errors.

mod bytes;
mod misuse;
mod order;

use crate::Case;

/// Every case of the level.
pub(super) fn cases(all: &mut Vec<Case>) {
    bytes::cases(all);
    order::cases(all);
    misuse::cases(all);
}
