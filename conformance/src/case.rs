//! What a case is, and what comes of it.

use crate::Subject;
use anychip::Error;
use anychip_oracle::{Mismatch, Type, sample::Random};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Version of the suite: part of the key of every input, and of every list.
pub const SUITE: u32 = 1;

/// One thing that is asked of a device.
#[derive(Clone)]
pub struct Case {
    /// Its name for ever, by parts: `core/unary/exp/f32/prime`. The first part is the level's, the second the area's.
    pub id: String,
    /// The level that it belongs to: 0 runtime, 1 core, 2 inference, 3 system.
    pub level: u8,
    /// The operation, construct or rule that it is about: a row of the matrix in the report.
    pub about: String,
    /// The element type that it is about: a column of the matrix.
    pub ty: Option<Type>,
    /// What sort of shape: `"empty"`, `"one"`, `"prime"`, `"unaligned"`, `"rank 8"`, `"aligned"`, …
    pub shape: &'static str,
    /// Whether the level is out of reach where the device says `Unsupported`.
    pub mandatory: bool,
    /// It goes on for as long as [`Subject::soak`] says; it runs last.
    pub soaks: bool,
    /// Does it. The numbers are keyed on suite, id and seed.
    pub run: Arc<Run>,
}

/// What a case does: inputs come from the random numbers, what it saw goes into the record.
pub type Run = dyn Fn(&Subject, &mut Random, &mut Seen) -> Result<(), Failure> + Send + Sync;

impl Case {
    /// A mandatory case. The level is that of the first part of the id.
    ///
    /// # Panics
    /// When the id does not begin with a level's name.
    pub fn new(
        id: impl Into<String>,
        about: impl Into<String>,
        ty: Option<Type>,
        shape: &'static str,
        run: impl Fn(&Subject, &mut Random, &mut Seen) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Case {
        let id = id.into();
        let first = id.split('/').next().unwrap_or_default();
        let level = LEVELS.iter().position(|l| *l == first).unwrap_or_else(|| panic!("{id}: no level has this name"));
        Case {
            level: level as u8,
            about: about.into(),
            ty,
            shape,
            mandatory: true,
            soaks: false,
            run: Arc::new(run),
            id,
        }
    }

    /// The same, but a device may lack it: what it lacks is listed and caps nothing.
    pub fn optional(self) -> Case {
        Case { mandatory: false, ..self }
    }

    /// The same, but it goes on for as long as [`Subject::soak`] says, beyond the time that other cases have.
    pub fn soaking(self) -> Case {
        Case { soaks: true, ..self }
    }

    /// The second part of the id.
    pub fn area(&self) -> &str {
        self.id.split('/').nth(1).unwrap_or_default()
    }
}

/// First parts of ids, by level.
pub const LEVELS: [&str; 4] = ["runtime", "core", "inference", "system"];

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.id)
    }
}

/// What a case saw on its way, whatever the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The largest error as a fraction of its bound; `None` where nothing with a bound was compared.
    pub fraction: Option<f64>,
    /// Elements that were compared.
    pub elements: u64,
    /// Remarks for the report, a line each.
    pub notes: Vec<String>,
}

/// Why a case did not pass.
#[derive(Debug, Clone)]
pub enum Failure {
    /// An element that no reading of the device's declared arithmetic permits.
    Wrong(Box<Mismatch>),
    /// A rule that was broken, in a sentence: what was done, what was seen, what was expected.
    Broken(String),
    /// The device says that it lacks what the case needs, with its reason.
    Unsupported(String),
    /// An error where none was due.
    Error(String),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        match e {
            Error::Unsupported { .. } => Failure::Unsupported(e.to_string()),
            e => Failure::Error(e.to_string()),
        }
    }
}

impl From<Box<Mismatch>> for Failure {
    fn from(m: Box<Mismatch>) -> Failure {
        Failure::Wrong(m)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Wrong(m) => m.fmt(f),
            Failure::Broken(why) | Failure::Unsupported(why) | Failure::Error(why) => f.write_str(why),
        }
    }
}
