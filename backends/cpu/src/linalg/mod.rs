//! Matrix multiplication, convolution, attention, rows and sums for the CPU: strided views, packing, a micro-kernel per vector width.
//!
//! Front door: [`Matrices`] and [`MatricesMut`] describe operands, [`matmul`] and [`matmul_packed`] multiply them with an
//! epilogue on finished blocks, [`convolve`] reads windows where they lie; [`attention`] never holds all scores. It may assume slices of plain numbers and the thread's current [`Team`](crate::Team); it must not know tensors, devices
//! or the kernel language.

mod attention;
mod conv;
mod kernel;
mod matmul;
mod pack;
mod rows;
pub(crate) mod scratch;
mod slide;
mod softmax;
mod sum;
mod view;

#[cfg(test)]
mod attention_tests;
#[cfg(test)]
mod conv_tests;
#[cfg(test)]
mod row_tests;
#[cfg(test)]
mod tests;

pub use attention::{AttentionOptions, attention, attention_at};
pub use conv::{ConvShape, PackedFilters, convolve};
pub use matmul::{Epilogue, matmul, matmul_at, matmul_packed};
pub use pack::PackedB;
pub(crate) use rows::{RowKernel, RowOp};
pub(crate) use sum::{pairwise, sum};
pub use view::{Element, LinalgError, Matrices, MatricesMut, Tile};
