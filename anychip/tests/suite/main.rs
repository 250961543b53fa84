//! The tensor library on every device that is here, against plain f64 arithmetic of the host.
//!
//! `ANYCHIP_REQUIRE=cpu,opencl` makes a missing device a failure; without it a skip is printed by name.

mod attention;
mod bad_input;
mod casts;
#[path = "../chosen/mod.rs"]
mod chosen;
mod common;
mod conv;
mod cuda_kernels;
mod devices;
mod elementwise;
mod every_function;
mod every_kernel;
mod exact;
mod explain;
mod files;
mod fragments;
mod functions;
mod index;
mod kernels;
mod limits;
mod memory;
mod neural;
mod norms;
mod numpy;
mod out_of_memory;
mod pad;
mod planner;
mod pool;
mod random;
mod rearrange;
mod reduce;
mod resize;
mod scan;
mod scatter;
mod sort;
mod statistics;
mod tune;
mod types;
mod views;
mod widened;
