//! The contract between applications and chips.
//!
//! Everything that meets here is plain data: a [`DeviceInfo`] says what a chip can do, a [`Module`] is a
//! kernel or a graph of standard operations, a [`Submission`] is a list of [`Command`]s. A backend implements
//! [`Driver`] and [`RawDevice`] and deals in integer handles only. Lifetimes, threads, pooling, caching,
//! validation and device chains are solved once, above the contract, in [`device`], [`layer`] and [`registry`].
//!
//! Read in this order: [`contract`], [`info`], [`error`], [`ir`] (the kernel language), [`op`] (the standard
//! operations), [`device`] (safe handles).
#![deny(missing_docs)]

pub mod contract;
pub mod device;
pub mod dtype;
pub mod error;
pub mod handles;
pub mod info;
pub mod ir;
pub mod layer;
pub mod op;
pub mod probe;
pub mod quirk;
pub mod registry;
pub mod render;
pub mod telemetry;
pub mod wait;

pub use contract::{
    Command, Completion, Driver, Exposed, Loaded, Memory, Module, Range, RawBuffer, RawDevice, RawList, RawProgram,
    Span, Submission, Ticket, Work,
};
pub use device::Device;
pub use dtype::DType;
pub use error::{Error, Result};
pub use info::DeviceInfo;
pub use registry::Registry;
