//! The contract, every operation and control flow on every device that wgpu finds.

mod common;

#[path = "../../tests/contract.rs"]
mod contract;
#[path = "../../tests/flow.rs"]
mod flow;
#[path = "../../tests/ops.rs"]
mod ops;
