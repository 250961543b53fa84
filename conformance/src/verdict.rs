//! What all outcomes together say: the level that is reached, and what stands in the way of the next one.
//!
//! A level is reached when every case of it and of those below passed, or is optional and unsupported. A mandatory case that is
//! unsupported, one that failed, one that was waived and one that was not run each keep the device below their level.

use crate::{
    levels::{self, Listed},
    run::{Outcome, Verdict},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A failure that is known and listed, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The case.
    pub id: String,
    /// Why it fails, and where that is followed up.
    pub reason: String,
}

/// `waivers.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waivers {
    /// All of them.
    #[serde(default)]
    pub waiver: Vec<Waiver>,
}

impl Waivers {
    /// From TOML.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn read(text: &str) -> Result<Waivers, String> {
        let all: Waivers = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut seen = HashSet::new();
        for w in &all.waiver {
            if w.reason.trim().is_empty() {
                return Err(format!("the waiver of {} has no reason", w.id));
            }
            if !levels::listed().iter().any(|l| l.id == w.id) {
                return Err(format!("{} is waived, and no case has this id", w.id));
            }
            if !seen.insert(&w.id) {
                return Err(format!("{} is waived twice", w.id));
            }
        }
        Ok(all)
    }
}

/// Why a case keeps the device below its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It failed, crashed or hung.
    Failed,
    /// It failed, which was listed.
    Waived,
    /// It was listed as failing and passes: the list is to be mended.
    Unexpected,
    /// The device lacks what it must have.
    Unsupported,
    /// It was not run.
    Missing,
}

/// A case that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// The case.
    pub id: String,
    /// Its level.
    pub level: u8,
    /// What is in the way.
    pub obstacle: Obstacle,
    /// In words.
    pub why: String,
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Passed.
    pub pass: usize,
    /// Failed.
    pub fail: usize,
    /// Not there.
    pub unsupported: usize,
    /// The process died.
    pub crash: usize,
    /// Not in time.
    pub hang: usize,
}

impl Counts {
    /// One more.
    pub fn add(&mut self, v: Verdict) {
        *self.of(v) += 1;
    }

    fn of(&mut self, v: Verdict) -> &mut usize {
        match v {
            Verdict::Pass => &mut self.pass,
            Verdict::Fail => &mut self.fail,
            Verdict::Unsupported => &mut self.unsupported,
            Verdict::Crash => &mut self.crash,
            Verdict::Hang => &mut self.hang,
        }
    }

    /// Of one sort.
    pub fn get(mut self, v: Verdict) -> usize {
        *self.of(v)
    }

    /// All of them.
    pub fn all(self) -> usize {
        Verdict::ALL.iter().map(|v| self.get(*v)).sum()
    }

    /// Failed, crashed or hung.
    pub fn failures(self) -> usize {
        self.fail + self.crash + self.hang
    }
}

/// What is said of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The highest level that is reached.
    pub level: Option<u8>,
    /// The badge: every case of exact numerics passed.
    pub exact: bool,
    /// What stands in the way, by level and id.
    pub short: Vec<Shortfall>,
    /// Of all that ran.
    pub counts: Counts,
    /// By area, in the order of the levels.
    pub areas: Vec<((u8, String), Counts)>,
}

/// The area whose cases make the badge `exact`.
pub const EXACT: &str = "exact";

/// Judges outcomes by the lists.
pub fn judge(list: &[Listed], outcomes: &[Outcome], waivers: &Waivers) -> Judgement {
    let by_id: HashMap<&str, &Outcome> = outcomes.iter().map(|o| (o.id.as_str(), o)).collect();
    let waived: HashMap<&str, &str> = waivers.waiver.iter().map(|w| (w.id.as_str(), w.reason.as_str())).collect();
    let (mut short, mut counts) = (vec![], Counts::default());
    let mut areas: BTreeMap<(u8, String), Counts> = BTreeMap::new();
    let (mut exact, mut inexact) = (0, 0);
    for l in list {
        let outcome = by_id.get(l.id.as_str()).copied();
        if let Some(o) = outcome {
            counts.add(o.verdict);
            areas.entry((l.level, l.area().to_string())).or_default().add(o.verdict);
        }
        if l.area() == EXACT {
            match outcome.map(|o| o.verdict) {
                Some(Verdict::Pass) => exact += 1,
                _ => inexact += 1,
            }
        }
        let why = outcome.and_then(|o| o.why.clone()).unwrap_or_default();
        let obstacle = match (outcome.map(|o| o.verdict), waived.get(l.id.as_str())) {
            (None, _) => Some((Obstacle::Missing, "it was not run".to_string())),
            (Some(v), Some(reason)) if v.is_failure() => Some((Obstacle::Waived, format!("{reason} ({why})"))),
            (Some(v), None) if v.is_failure() => Some((Obstacle::Failed, why)),
            (Some(Verdict::Pass), Some(reason)) => {
                Some((Obstacle::Unexpected, format!("it is listed as failing ({reason}), and passes")))
            }
            (Some(Verdict::Unsupported), _) if l.mandatory => Some((Obstacle::Unsupported, why)),
            _ => None,
        };
        if let Some((obstacle, why)) = obstacle {
            short.push(Shortfall { id: l.id.clone(), level: l.level, obstacle, why });
        }
    }
    let cap = short.iter().map(|s| s.level).min();
    // A level whose list is empty, and nothing that ran, say nothing.
    let top = list.iter().map(|l| l.level).max().filter(|_| counts.pass > 0);
    let level = match (cap, top) {
        (_, None) | (Some(0), _) => None,
        (Some(cap), Some(top)) => Some(top.min(cap - 1)),
        (None, top) => top,
    };
    // Without the operations themselves the same bits would say nothing.
    let exact = exact > 0 && inexact == 0 && level >= Some(1);
    Judgement { level, exact, short, counts, areas: areas.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Case;

    fn list() -> Vec<Listed> {
        let of = |id: &str, level, mandatory| Listed { id: id.into(), level, mandatory };
        vec![
            of("runtime/a/x", 0, true),
            of("core/b/x", 1, true),
            of("core/b/y", 1, false),
            of("inference/c/x", 2, true),
            of("system/exact/x", 3, false),
        ]
    }

    fn passed(id: &str) -> Outcome {
        Outcome::ended(&Case::new(id, "x", None, "one", |_, _, _| Ok(())), Verdict::Pass, None, 0.1)
    }

    fn judged(change: &[(&str, Verdict)], waived: &[&str]) -> Judgement {
        let mut outcomes: Vec<_> = list().iter().map(|l| passed(&l.id)).collect();
        for (id, v) in change {
            outcomes.iter_mut().filter(|o| o.id == *id).for_each(|o| o.verdict = *v);
        }
        let waiver = waived.iter().map(|id| Waiver { id: id.to_string(), reason: "known".into() }).collect();
        judge(&list(), &outcomes, &Waivers { waiver })
    }

    #[test]
    fn every_obstacle_caps_the_level() {
        let all = judged(&[], &[]);
        assert_eq!((all.level, all.exact, all.short.len(), all.counts.pass), (Some(3), true, 0, 5));
        assert_eq!(
            judged(&[("core/b/y", Verdict::Unsupported)], &[]).level,
            Some(3),
            "an optional case may be lacking"
        );
        let without = judged(&[("system/exact/x", Verdict::Unsupported)], &[]);
        assert_eq!((without.level, without.exact), (Some(3), false));
        for (id, below) in [("core/b/x", Some(0)), ("inference/c/x", Some(1)), ("runtime/a/x", None)] {
            for v in [Verdict::Fail, Verdict::Crash, Verdict::Hang, Verdict::Unsupported] {
                assert_eq!(judged(&[(id, v)], &[]).level, below, "{id} {v:?}");
            }
            let waived = judged(&[(id, Verdict::Fail)], &[id]);
            assert_eq!((waived.level, waived.short[0].obstacle), (below, Obstacle::Waived));
            let passes = judged(&[], &[id]);
            assert_eq!((passes.level, passes.short[0].obstacle), (below, Obstacle::Unexpected));
        }
        assert_eq!(judged(&[("core/b/y", Verdict::Fail)], &[]).level, Some(0), "what is there must be right");
    }

    #[test]
    fn what_did_not_run_says_nothing() {
        assert_eq!(judge(&list(), &[], &Waivers::default()).level, None);
        let one = [passed("runtime/a/x")];
        let j = judge(&list(), &one, &Waivers::default());
        assert_eq!((j.level, j.short.len(), j.short[0].obstacle), (Some(0), 4, Obstacle::Missing));
        assert!(judge(&[], &[], &Waivers::default()).level.is_none());
        assert!(Waivers::read("[[waiver]]\nid = \"a\"\nreason = \" \"").is_err());
        assert!(Waivers::read("[[waiver]]\nid = \"a\"\nreasons = \"b\"").is_err());
    }
}
