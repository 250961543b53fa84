//! Level 1, the kernel language: every construct and built-in of `hal::ir`, by kernels that are built by calls.
//!
//! [`table`] holds operations on values, one kernel for many; the other files hold what needs a kernel of its own.

mod arrays;
mod atomics;
mod casts;
mod copies;
mod floats;
mod flow;
mod fragments;
mod grids;
mod groups;
mod guards;
mod ints;
mod packed;
mod scalars;
pub(super) mod table;
mod vectors;

use crate::{Case, Failure, Subject, oracle::Type, subject::dtype};

/// Every case of the kernel language.
pub(super) fn cases(all: &mut Vec<Case>) {
    ints::cases(all);
    floats::cases(all);
    casts::cases(all);
    vectors::cases(all);
    flow::cases(all);
    arrays::cases(all);
    atomics::cases(all);
    groups::cases(all);
    packed::cases(all);
    scalars::cases(all);
    guards::cases(all);
    grids::cases(all);
    copies::cases(all);
    fragments::cases(all);
}

/// The library's name of a type.
pub(super) fn name(ty: Type) -> &'static str {
    dtype(ty).name()
}

/// The shape class of an operation on vectors.
fn vec_name(lanes: u8) -> &'static str {
    match lanes {
        1 => "scalar",
        2 => "vec2",
        4 => "vec4",
        8 => "vec8",
        _ => "vec16",
    }
}

/// A capability that the device does not claim must be refused: then the case is unsupported, and else broken.
fn unclaimed(s: &Subject, what: &str, deed: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    match deed() {
        Ok(()) => Err(Failure::Broken(format!("{} does not claim {what}, and runs it all the same", s.device))),
        Err(e) => Err(e),
    }
}
