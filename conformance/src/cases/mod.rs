//! Every case, by area. A file holds one area and makes its cases by loops over operations, types and shape classes.

mod launch;
mod runtime;
mod support;
mod unary;

use crate::Case;

/// Every case of the suite, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    runtime::cases(&mut all);
    all.extend([unary::cases()].into_iter().flatten());
    all.sort_by(|a: &Case, b: &Case| (a.level, &a.id).cmp(&(b.level, &b.id)));
    all
}
