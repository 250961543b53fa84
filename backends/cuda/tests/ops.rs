//! Every operation on every CUDA device.

mod common;

#[path = "../../tests/ops.rs"]
mod ops;
