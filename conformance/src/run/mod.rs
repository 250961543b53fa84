//! Running cases: what came of each, and the two processes that it takes.
//!
//! A driver that crashes or hangs costs one case. So cases run in a child process ([`serve`]), one after another as they are asked
//! for; the parent ([`Host`]) starts it, times each case, and starts another where one died.

mod child;
mod host;
mod select;
mod timing;

pub use child::{Environment, Library, serve};
pub use host::{Host, Progress, Session, Settings};
pub use select::{Selection, select};
pub use timing::{Peaks, Timed, Work};

use crate::{Case, Failure, Seen, Subject, case::SUITE};
use anychip_oracle::{Mismatch, sample::Random};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was asked of the device holds.
    Pass,
    /// It does not.
    Fail,
    /// The device says that it lacks what the case needs.
    Unsupported,
    /// The process died in which the case ran.
    Crash,
    /// The case did not end in time.
    Hang,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Verdict; 5] = [Verdict::Pass, Verdict::Fail, Verdict::Unsupported, Verdict::Crash, Verdict::Hang];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unsupported => "unsupported",
            Verdict::Crash => "crash",
            Verdict::Hang => "hang",
        }
    }

    /// The device did something that it must not.
    pub fn is_failure(self) -> bool {
        matches!(self, Verdict::Fail | Verdict::Crash | Verdict::Hang)
    }
}

/// What came of a case: a line of `results.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The case.
    pub id: String,
    /// The operation, construct or rule that it is about.
    pub about: String,
    /// The element type that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ty: Option<String>,
    /// What sort of shape.
    pub shape: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The element that is wrong, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
    /// The evidence.
    pub seen: Seen,
    /// Launches that the device was given under watch.
    pub launches: u64,
    /// Kernels and graphs that the device loaded for it under watch, by their content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<String>,
    /// How long it took, on the host's clock.
    pub seconds: f64,
    /// How much of that went into loading them: long where a compiler is at work, short with a warm cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub loading: f64,
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// An element that is not permitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worst {
    /// Where.
    pub index: Vec<usize>,
    /// What the device gave.
    pub got: String,
    /// What is meant.
    pub expected: String,
    /// How far off it may be, and is.
    pub bound: String,
    /// Elements that are wrong.
    pub wrong: usize,
    /// Of so many.
    pub of: usize,
}

impl From<&Mismatch> for Worst {
    fn from(m: &Mismatch) -> Worst {
        Worst {
            index: m.index.clone(),
            got: m.got.clone(),
            expected: m.expected.clone(),
            bound: m.bound.clone(),
            wrong: m.wrong,
            of: m.of,
        }
    }
}

impl Outcome {
    /// Of a case whose process did not live to say it.
    pub fn ended(case: &Case, verdict: Verdict, why: Option<String>, seconds: f64) -> Outcome {
        Outcome {
            id: case.id.clone(),
            about: case.about.clone(),
            ty: case.ty.map(|t| format!("{t:?}").to_lowercase()),
            shape: case.shape.to_string(),
            verdict,
            why,
            worst: None,
            seen: Seen::default(),
            launches: 0,
            kernels: vec![],
            seconds,
            loading: 0.0,
        }
    }
}

/// The numbers that a case is given: the same for the same suite, case and seed, wherever and in whatever order it runs.
pub fn random(id: &str, seed: u64) -> Random {
    let mut key = blake3::Hasher::new();
    key.update(&SUITE.to_le_bytes()).update(&seed.to_le_bytes()).update(id.as_bytes());
    let mut first = [0; 8];
    key.finalize_xof().fill(&mut first);
    Random::new(u64::from_le_bytes(first))
}

/// Runs one case in this process. A panic in it is a failure of it.
pub fn one(subject: &Subject, case: &Case, seed: u64) -> Outcome {
    let begin = Instant::now();
    let before = subject.traffic().unwrap_or_default();
    subject.loads();
    let (mut seen, mut random) = (Seen::default(), random(&case.id, seed));
    let ran = catch_unwind(AssertUnwindSafe(|| (case.run)(subject, &mut random, &mut seen)));
    let ran = ran.unwrap_or_else(|panic| Err(Failure::Broken(format!("the case panicked: {}", words(&*panic)))));
    // A device that a case lost on purpose has nothing left to look at.
    let lost = subject.chip().lost().is_some();
    let after = if lost { Ok(Ok(())) } else { catch_unwind(AssertUnwindSafe(|| subject.check())) };
    let after = after.unwrap_or_else(|panic| Err(Failure::Broken(format!("after the case: {}", words(&*panic)))));
    let ended = match (ran, after) {
        // Memory that was overwritten counts whatever else was found.
        (Ok(()) | Err(Failure::Unsupported(_)), Err(e)) => Err(e),
        (Err(Failure::Error(e)), Err(Failure::Broken(also))) => Err(Failure::Broken(format!("{also}; {e}"))),
        (ran, _) => ran,
    };
    let launches = subject.traffic().unwrap_or_default().launches.saturating_sub(before.launches);
    let loads = subject.loads();
    let (verdict, why, worst) = match &ended {
        Ok(()) => (Verdict::Pass, None, None),
        Err(Failure::Unsupported(why)) => (Verdict::Unsupported, Some(why.clone()), None),
        Err(Failure::Wrong(m)) => (Verdict::Fail, Some(m.to_string()), Some(Worst::from(&**m))),
        Err(Failure::Broken(why) | Failure::Error(why)) => (Verdict::Fail, Some(why.clone()), None),
    };
    Outcome {
        worst,
        seen,
        launches,
        kernels: loads.programs,
        loading: loads.time.as_secs_f64(),
        ..Outcome::ended(case, verdict, why, begin.elapsed().as_secs_f64())
    }
}

/// How many kernels and graphs differ among all that were loaded.
pub fn kernels<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> usize {
    outcomes.into_iter().flat_map(|o| &o.kernels).collect::<HashSet<_>>().len()
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|s| s.to_string()).or(panic.downcast_ref::<String>().cloned());
    said.unwrap_or_else(|| "without a word".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_depend_on_case_and_seed_alone() {
        let first = |id, seed| random(id, seed).bits();
        assert_eq!(first("core/a", 0), first("core/a", 0));
        assert_ne!(first("core/a", 0), first("core/a", 1));
        assert_ne!(first("core/a", 0), first("core/b", 0));
    }

    #[test]
    fn a_panic_and_a_lost_device_cost_their_case_only() {
        let subject = Subject::open("cpu").unwrap();
        let case =
            |run: fn() -> Result<(), Failure>| Case::new("core/sample/x", "x", None, "one", move |_, _, _| run());
        let o = one(&subject, &case(|| panic!("ouch {}", 7)), 0);
        assert_eq!((o.verdict, o.why.as_deref()), (Verdict::Fail, Some("the case panicked: ouch 7")));
        let o = one(&subject, &case(|| Err(Failure::Unsupported("none".into()))), 0);
        assert_eq!((o.verdict, o.why.as_deref()), (Verdict::Unsupported, Some("none")));
        let o = one(&subject, &case(|| Ok(())), 0);
        assert_eq!((o.verdict, o.why, o.launches), (Verdict::Pass, None, 0));
    }
}
