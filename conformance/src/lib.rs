//! What every operation must give, and how far a device may be off.
//!
//! [`oracle`] computes it independently: no crate of the house is known here, so that the tests of every crate may use it.
#![deny(missing_docs)]

pub mod oracle;
