//! Scans: a workgroup or a lane per row, and into how many parts long rows are cut.

use crate::library::scan::Schedule;

/// Rows of this many elements or more are cut into parts when they are few.
const SPLIT_FROM: usize = 1 << 17;
/// Elements that a part has at least.
const PART: usize = 1 << 15;
/// Workgroups that keep a chip busy.
const MANY: usize = 256;
/// Rows from which on a lane per row is better than reading memory in strides.
const SOME_ROWS: usize = 64;
/// Rows of at most this many elements are too short for a workgroup, when there are many.
const SHORT: usize = 16;

/// A scan of `rows` rows of `len` elements each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub len: usize,
    /// Some operand lies side by side along a row.
    pub across: bool,
    /// Some operand has rows side by side.
    pub along: bool,
}

/// How it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// A workgroup or a lane per row.
    pub schedule: Schedule,
    /// Workgroups per row; with more than one, two launches before find what lies in front of each part.
    pub parts: usize,
}

/// A lane per row where rows lie side by side or are short, parts where rows are few and long.
pub fn pick(p: &Problem) -> Choice {
    let side_by_side = p.along && !p.across && p.rows >= SOME_ROWS;
    if side_by_side || (p.len <= SHORT && p.rows >= SOME_ROWS) {
        return Choice { schedule: Schedule::Along, parts: 1 };
    }
    let split = p.len >= SPLIT_FROM && p.rows < MANY;
    let parts = if split { (p.len / PART).clamp(1, (MANY / p.rows.max(1)).max(1)) } else { 1 };
    Choice { schedule: Schedule::Across, parts }
}
