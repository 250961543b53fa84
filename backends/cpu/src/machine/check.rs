//! The checking mode: what a kernel must not do, found while it runs, with its name and line. One workgroup at a time,
//! one thread; every element remembers who touched it last.

use super::{
    affine::number,
    exec::{Fault, Machine},
    launch::Launch,
    mask::Mask,
    program::{Program, Reg, Space, Target},
};
use anychip_hal::ir::Loc;
use std::{collections::HashMap, sync::atomic::Ordering};

/// Code of `Error::Backend`: an access outside its memory.
pub const OUT_OF_BOUNDS: i64 = 1;
/// Code of `Error::Backend`: a read of memory that nobody wrote.
pub const UNWRITTEN: i64 = 2;
/// Code of `Error::Backend`: two lanes touch an element, one of them writes, nothing orders them.
pub const RACE: i64 = 3;
/// Code of `Error::Backend`: a barrier that not all lanes of a workgroup reach.
pub const DIVERGENT: i64 = 4;

/// How an element is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Atomic,
}

impl Kind {
    pub fn verb(self) -> &'static str {
        match self {
            Kind::Read => "reads",
            Kind::Write => "writes",
            Kind::Atomic => "updates",
        }
    }
}

/// Who touched an element, and between which barriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Who {
    group: u32,
    lane: u32,
    epoch: u32,
}

/// Touches of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Touches {
    last: Option<Who>,
    /// Several lanes since the same barrier.
    lanes: bool,
    /// Several workgroups.
    groups: bool,
}

impl Touches {
    fn add(&mut self, who: Who) {
        if let Some(last) = self.last {
            let together = last.group == who.group && last.epoch == who.epoch;
            self.lanes = together && (self.lanes || last.lane != who.lane);
            self.groups |= last.group != who.group;
        }
        self.last = Some(who);
    }

    /// Somebody else touched it with no barrier in between.
    fn conflict(&self, who: Who) -> Option<Who> {
        let last = self.last?;
        let apart = last.group != who.group || self.groups;
        let together = last.epoch == who.epoch && (last.lane != who.lane || self.lanes);
        (apart || together).then_some(last)
    }
}

/// What is remembered of one element.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    reads: Touches,
    writes: Touches,
    atomics: Touches,
    written: bool,
}

/// The checker's memory during one launch.
pub(crate) struct Checker {
    group: u32,
    epoch: u32,
    /// Elements of each buffer; empty for one that is never written.
    buffers: Vec<Vec<Cell>>,
    shared: Vec<Vec<Cell>>,
    /// Per private array: written, by element and lane.
    private: Vec<Vec<bool>>,
    lanes: usize,
    vars: HashMap<Reg, Vec<bool>>,
}

impl Checker {
    pub fn new(p: &Program, launch: &Launch<'_>) -> Checker {
        let cells = |n: u64| vec![Cell::default(); n as usize];
        Checker {
            group: 0,
            epoch: 0,
            buffers: p
                .buffers
                .iter()
                .zip(&launch.buffers)
                .map(|(info, b)| if info.access.writes() { cells(b.len) } else { vec![] })
                .collect(),
            shared: p.shared.iter().map(|a| cells(a.len)).collect(),
            private: p.private.iter().map(|a| vec![false; a.len as usize * p.lanes()]).collect(),
            lanes: p.lanes(),
            vars: HashMap::new(),
        }
    }

    /// Another workgroup begins: its own arrays and variables are unwritten.
    pub fn begin_group(&mut self) {
        self.group += 1;
        self.epoch = 0;
        self.shared.iter_mut().for_each(|s| s.fill(Cell::default()));
        self.private.iter_mut().for_each(|s| s.fill(false));
        self.vars.clear();
    }

    /// The lanes met.
    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    pub fn wrote_var(&mut self, var: Reg, mask: &Mask, n: usize) {
        let written = self.vars.entry(var).or_insert_with(|| vec![false; n]);
        for (l, w) in written.iter_mut().enumerate() {
            *w |= mask.has(l);
        }
    }
}

impl Machine<'_> {
    /// Before a variable is read.
    pub(crate) fn check_get(&mut self, var: Reg, mask: &Mask, loc: Loc) -> Result<(), Fault> {
        let Some(check) = &self.check else { return Ok(()) };
        let written = check.vars.get(&var);
        let missing = (0..self.n).find(|&l| mask.has(l) && !written.is_some_and(|w| w[l]));
        let Some(lane) = missing else { return Ok(()) };
        let name = self.p.vars.iter().find(|v| v.0 == var).map_or("?", |v| &v.1);
        Err(self.fault(
            UNWRITTEN,
            loc,
            format!("lane {lane} of workgroup {:?} reads variable {name}, which it never set", self.first),
        ))
    }

    /// Before an access: bounds, writers, races.
    pub(crate) fn check_access(
        &mut self,
        at: &Target,
        comps: usize,
        mask: &Mask,
        kind: Kind,
        loc: Loc,
    ) -> Result<(), Fault> {
        let region = self.region(at);
        // Bounds first: what follows indexes by them.
        self.locate(at, &region, comps, mask, kind, loc)?;
        for lane in (0..self.n).filter(|&l| mask.has(l)) {
            let first = number(at.index_ty, self.lane(at.index, lane)) as usize;
            for element in first..first + comps {
                if let Some((code, what)) = self.touch(at, element, lane, kind) {
                    let text = format!(
                        "lane {lane} of workgroup {:?} {} element {element} of {}, {what}",
                        self.first,
                        kind.verb(),
                        self.place_name(at)
                    );
                    return Err(self.fault(code, loc, text));
                }
            }
        }
        Ok(())
    }

    fn touch(&mut self, at: &Target, element: usize, lane: usize, kind: Kind) -> Option<(i64, String)> {
        let size = at.size;
        let bound = match at.space {
            Space::Buffer(b) => self.launch.buffers[b as usize].shadow,
            _ => None,
        };
        let check = self.check.as_mut()?;
        let who = Who { group: check.group, lane: lane as u32, epoch: check.epoch };
        let unwritten = || Some((UNWRITTEN, "which nobody wrote".to_string()));
        let cell = match at.space {
            Space::Private(s) => {
                let written = &mut check.private[s as usize][element * check.lanes + lane];
                if kind == Kind::Read && !*written {
                    return unwritten();
                }
                *written |= kind == Kind::Write;
                return None;
            }
            Space::Shared(s) => &mut check.shared[s as usize][element],
            Space::Buffer(b) => {
                if let Some(shadow) = bound {
                    for byte in element * size..(element + 1) * size {
                        // The shadow covers the binding, and the element lies in it.
                        let mark = unsafe { &*shadow.add(byte) };
                        if kind == Kind::Write {
                            mark.store(1, Ordering::Relaxed);
                        } else if mark.load(Ordering::Relaxed) == 0 {
                            return unwritten();
                        }
                    }
                }
                // Without cells it is never written by this kernel, and nothing can race.
                check.buffers[b as usize].get_mut(element)?
            }
        };
        if matches!(at.space, Space::Shared(_)) && kind != Kind::Write && !cell.written {
            return unwritten();
        }
        let other = match kind {
            Kind::Read => cell.writes.conflict(who).or(cell.atomics.conflict(who)),
            Kind::Write => cell.reads.conflict(who).or(cell.writes.conflict(who)).or(cell.atomics.conflict(who)),
            Kind::Atomic => cell.reads.conflict(who).or(cell.writes.conflict(who)),
        };
        match kind {
            Kind::Read => cell.reads.add(who),
            Kind::Write => cell.writes.add(who),
            Kind::Atomic => cell.atomics.add(who),
        }
        cell.written |= kind != Kind::Read;
        let other = other?;
        let by = if other.group == who.group {
            format!("as lane {} of the same workgroup did or does, with no barrier in between", other.lane)
        } else {
            "as a lane of another workgroup did or does, not both atomically".to_string()
        };
        Some((RACE, format!("a data race: {by}")))
    }
}
