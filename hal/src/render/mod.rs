//! Printers: a legalised kernel in, the text that a driver's compiler takes out.
//!
//! A printer assumes that the kernel was verified and legalised for its target. It decides nothing that the
//! legaliser could have decided, and opens with where its target and the language disagree.

pub mod c;
pub mod spirv;
mod unroll;
pub mod wgsl;
