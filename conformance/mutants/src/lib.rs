//! Devices that are broken on purpose: layers over a good one, each with one fault that drivers and backends have had.
//!
//! A [`Mutant`] names its fault, the area of the suite that must find it, and cases there whose names say the cause. What no case
//! kills is a hole in the suite. [`layer`] is the way to break a device, [`rewrite`] the way to break a kernel; the other files hold
//! the mutants. `tests/mutants.rs` runs all of them and writes the table in `README.md`.
#![deny(missing_docs)]

mod commands;
mod graphs;
mod kernels;
pub mod layer;
mod memory;
mod numbers;
mod programs;
pub mod rewrite;
mod statements;
mod tickets;

use anychip::{Result, hal::RawDevice};
use anychip_conformance::Subject;
use std::sync::Arc;

/// A device with one fault.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// What is wrong with it, in a sentence.
    pub fault: &'static str,
    /// Beginnings of the ids of the cases that are run on it.
    pub area: &'static [&'static str],
    /// Cases that must fail on it, by their ids; each says the cause.
    pub killers: &'static [&'static str],
    /// Breaks a device.
    pub make: fn(Arc<dyn RawDevice>) -> Arc<dyn RawDevice>,
}

impl std::fmt::Debug for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mutant({})", self.name)
    }
}

impl Mutant {
    /// The broken device, opened for the suite.
    ///
    /// # Errors
    /// Those of opening the good one.
    pub fn subject(&self, good: &str) -> Result<Subject> {
        let (make, good) = (self.make, good.to_string());
        Subject::from_raw(move || Ok(make(anychip::open_raw(&good)?)))
    }
}

/// Every mutant, by name.
pub fn all() -> Vec<Mutant> {
    let parts = [
        commands::MUTANTS,
        graphs::MUTANTS,
        kernels::MUTANTS,
        memory::MUTANTS,
        numbers::MUTANTS,
        programs::MUTANTS,
        statements::MUTANTS,
        tickets::MUTANTS,
    ];
    let mut all: Vec<Mutant> = parts.into_iter().flatten().copied().collect();
    all.sort_by_key(|m| m.name);
    all
}
