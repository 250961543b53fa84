//! Whole operations: what of a graph runs on the matrix routines of `linalg`. The seam between the device and them.
//!
//! The device asks `accepts`, calls `load` once and `run` per launch with the ranges bound: inputs, outputs, workspace.

use crate::memory::Slice;
use anychip_hal::{Error, Result, op};

/// A graph that was prepared.
pub(crate) struct Prepared {
    /// Bytes of workspace, bound last.
    pub workspace: u64,
}

/// Would `load` take it?
pub(crate) fn accepts(graph: &op::Graph) -> Result<()> {
    Err(Error::unsupported(
        format!("graph {}", graph.name),
        "the CPU has no routine for it as a whole; its operations run as kernels",
    ))
}

/// Prepares a graph.
pub(crate) fn load(graph: &op::Graph, _pool: &rayon::ThreadPool) -> Result<Prepared> {
    accepts(graph)?;
    Ok(Prepared { workspace: 0 })
}

/// Runs a prepared graph.
pub(crate) fn run(_graph: &Prepared, _bindings: &[Slice], _pool: &rayon::ThreadPool) -> Result<()> {
    Ok(())
}
