//! Control flow, arrays, barriers and atomics on every OpenCL device.

mod common;

#[path = "../../tests/flow.rs"]
mod flow;
