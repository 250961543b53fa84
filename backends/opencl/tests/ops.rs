//! Every operation on every OpenCL device.

mod common;

#[path = "../../tests/ops.rs"]
mod ops;
