//! The conformance suite: whether applications may move to a chip, with evidence that someone else can check without it.
//!
//! A [`Case`] asks one thing of a [`Subject`], a device under test, and judges it by the [`oracle`]. [`cases`] makes all of them; a
//! level is a checked-in list of their ids.
#![deny(missing_docs)]

pub use anychip_oracle as oracle;

pub mod case;
pub mod cases;
pub mod harness;
pub mod judge;
pub mod levels;
pub mod report;
pub mod run;
pub mod subject;
pub mod verdict;
pub mod watch;

pub use case::{Case, Failure, Seen};
pub use subject::Subject;
