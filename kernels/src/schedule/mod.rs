//! Schedules: which of a kernel family's variants runs a problem on a device.
//!
//! A problem is plain data: types, extents, how operands lie. For each family there is a list of candidates that a device can
//! run and a rule that picks one without measuring anything. The types of the schedules themselves are in [`crate::library`].

pub mod matmul;
pub mod reduce;
pub mod scan;
