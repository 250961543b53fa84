//! Control flow, arrays, barriers and atomics on every CUDA device.

mod common;

#[path = "../../tests/flow.rs"]
mod flow;
