//! Matrix multiplication and attention for the CPU: strided views, packing, a micro-kernel per vector width.
//!
//! Front door: [`Matrices`] and [`MatricesMut`] describe operands, [`matmul`] and [`matmul_packed`] multiply them with an
//! epilogue on finished blocks. It may assume slices of plain numbers and a rayon pool; it must not know tensors, devices
//! or the kernel language.

mod kernel;
mod matmul;
mod pack;
mod scratch;
mod view;

#[cfg(test)]
mod tests;

pub use matmul::{Epilogue, matmul, matmul_at, matmul_packed};
pub use pack::PackedB;
pub use view::{Element, LinalgError, Matrices, MatricesMut, Tile};
