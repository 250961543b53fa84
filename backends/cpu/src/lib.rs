//! The CPU as a device: always there, and the reference for every other.
//!
//! [`CpuDriver`] is the contract's face: `driver` resolves handles, `queue` runs work in order, `memory` holds buffers, `team` the threads,
//! `identity` says what the processor is. `machine` runs kernels, `graph` whole operations on [`linalg`]; [`vmath`] holds
//! the vector mathematics that both use. Nothing here knows tensors.

mod driver;
mod graph;
mod identity;
pub mod linalg;
mod machine;
mod memory;
mod queue;
mod team;
pub mod vmath;

pub use driver::CpuDriver;
pub use machine::check::{DIVERGENT, OUT_OF_BOUNDS, RACE, UNWRITTEN};
pub use team::Team;
