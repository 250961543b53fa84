//! The oracle: what an operation means, computed by plain loops in numbers wider than any device's, and what a device may give.
//!
//! Read it in this order. [`wide`] are numbers of 106 bits and [`functions`] their elementary functions; [`mod@format`] are the element types
//! and rounding to them; [`number`] is a value with its radius and the arithmetic that lets the radius grow; [`array`] holds them.
//! The operations follow: rows of [`table`] for elementwise functions, then one file per family. [`compare`] says whether a
//! subject's bytes are permitted, [`sample`] makes data.
//!
//! Everything is written from the meaning of the operation. No crate of the library is known here.
#![deny(missing_docs)]

pub mod array;
pub mod compare;
pub mod elementwise;
pub mod format;
pub mod functions;
pub mod index;
pub mod linear;
pub mod number;
pub mod operations;
pub mod reduce;
pub mod sample;
pub mod spatial;
pub mod table;
pub mod wide;

pub use array::Array;
pub use compare::{Data, Mismatch};
pub use format::Type;
pub use number::{Arithmetic, Facts, Number, Subnormals};
