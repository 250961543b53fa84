//! Portable tensor kernels: a lazy, chip-neutral graph of operations, the planner that turns it into commands, and
//! the kernels, each written once.
//!
//! * [`graph`] – what an application builds: [`Node`]s, nothing computed yet.
//! * [`plan`] – fusion, schedules, memory, placement; plans are cached by structure and device.
//! * [`schedule`] – which variant of a kernel runs a problem on a device.
//! * [`tune`] – measures schedules and keeps the fastest that computes the same.
//! * [`library`] – the kernels themselves, generated from one description for every chip.
//! * [`run`] – realising nodes, reading values, capturing a [`Program`].
//!
//! This crate never names a backend: what differs between chips is read from `DeviceInfo`.
#![deny(missing_docs)]

pub mod graph;
pub mod library;
pub mod plan;
pub mod run;
pub mod schedule;
pub mod shape;
pub mod tune;
mod upload;

pub use graph::{Host, Node, View};
pub use run::{Program, buffer_of, checkpoint, explain, read, realize};
pub use upload::upload;
