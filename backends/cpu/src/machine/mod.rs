//! The SIMT vector machine: runs any legalised kernel, a block of lanes at a time.
//!
//! `compile` (with `admit` and `uses`) turns a kernel into a `program` of vector instructions, `slots` gives its registers memory; `launch`
//! spreads workgroups over blocks and threads; `exec` and `flow` run a block, with `affine` values, `mask`s, `access`es and `group`
//! operations; `overlap` lets functions and memory work at once; `ops` are the instruction bodies per vector width; `check`
//! watches. It knows nothing of buffers' lifetimes, queues or devices.

mod access;
mod admit;
mod affine;
mod arena;
pub mod check;
mod compile;
mod exec;
mod flow;
mod functions;
mod group;
mod launch;
mod mask;
mod ops;
mod overlap;
mod program;
mod slots;
mod uses;

pub(crate) use access::{AHEAD, STREAM};
pub(crate) use compile::compile;
pub(crate) use launch::{Bound, Launch, run};
pub(crate) use ops::{StreamFn, fence, prefetch, stream};
pub(crate) use program::Program;
pub(crate) use uses::straight;

/// Lanes of a workgroup.
pub(crate) const MAX_WORKGROUP: usize = 1024;
/// Lanes of a block: one workgroup, or several small ones.
pub(crate) const MAX_BLOCK: usize = 1024;
