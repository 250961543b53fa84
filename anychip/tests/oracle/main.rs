//! Every operation of the tensor library on every device that is here, judged by the oracle of the conformance crate.
//!
//! Random shapes, layouts, broadcasts, special values, and data whose partial sums are exact, where results must be equal bit for bit. A
//! failure names operation, types, shapes, seed, index, result, expectation and bound. `ANYCHIP_REQUIRE=cpu,opencl` makes a missing
//! device a failure. A driver that compiles for seconds runs fewer cases than the CPU does, on fewer kinds of layouts.

#[path = "../chosen/mod.rs"]
mod chosen;
mod common;
mod complete;
mod elementwise;
mod linear;
mod places;
mod reduce;
mod spatial;
mod views;
