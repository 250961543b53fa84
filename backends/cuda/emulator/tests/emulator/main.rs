//! The emulated driver, opened as a program opens libcuda: kernels compute what CUDA says, and what would go wrong on a GPU sometimes
//! goes wrong here always.
#![cfg(target_os = "linux")]

mod driver;

mod errors;
mod kernels;
mod matrix;
mod order;
mod warpgroup;
