//! Every case, by area. A file holds one area and makes its cases by loops over operations, types and shape classes.

mod attention;
mod binary;
mod choice;
mod create;
mod facts;
mod graphs;
mod integers;
mod ir;
mod launch;
mod linear;
mod places;
mod reduce;
mod rows;
mod runtime;
mod scans;
mod spatial;
mod support;
mod system;
mod unary;
mod views;

use crate::Case;

/// Every case of the suite, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    runtime::cases(&mut all);
    let operations = [
        unary::cases(),
        binary::cases(),
        integers::cases(),
        choice::cases(),
        reduce::cases(),
        rows::cases(),
        linear::cases(),
        attention::cases(),
        places::cases(),
        views::cases(),
        scans::cases(),
        spatial::cases(),
        create::cases(),
        graphs::cases(),
    ];
    all.extend(operations.into_iter().flatten());
    ir::cases(&mut all);
    facts::cases(&mut all);
    system::cases(&mut all);
    all.sort_by(|a: &Case, b: &Case| (a.level, &a.id).cmp(&(b.level, &b.id)));
    all
}
