//! Every case, by area. A file holds one area and makes its cases by loops over operations, types and shape classes.

mod binary;
mod choice;
mod facts;
mod integers;
mod ir;
mod launch;
mod reduce;
mod rows;
mod runtime;
mod support;
mod unary;

use crate::Case;

/// Every case of the suite, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    runtime::cases(&mut all);
    let operations =
        [unary::cases(), binary::cases(), integers::cases(), choice::cases(), reduce::cases(), rows::cases()];
    all.extend(operations.into_iter().flatten());
    ir::cases(&mut all);
    facts::cases(&mut all);
    all.sort_by(|a: &Case, b: &Case| (a.level, &a.id).cmp(&(b.level, &b.id)));
    all
}
