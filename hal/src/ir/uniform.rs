//! Uniformity: which control flow every lane of a workgroup takes together.
//!
//! A value is non-uniform when it may differ between lanes of one workgroup: lane numbers, results of atomics and of
//! subgroup operations, loads at such an index, and everything computed from them; a variable or private array also
//! when it is set under control flow that lanes take differently. The analysis runs to a fixpoint and errs on the safe
//! side. It assumes a kernel whose ids and nesting were checked.

use super::*;

/// The first whole-workgroup operation that some lanes might not reach, with a sentence about it.
pub(super) fn first_divergent(k: &Kernel) -> Option<(Loc, String)> {
    if !has_collective(k) {
        return None;
    }
    let mut a = Analysis {
        k,
        values: vec![false; k.values.len()],
        vars: vec![false; k.vars.len()],
        private: vec![false; k.private.len()],
        loops: vec![],
        next_loop: 0,
        changed: true,
        found: None,
    };
    while a.changed {
        a.changed = false;
        a.found = None;
        a.next_loop = 0;
        a.block(&k.body, false);
    }
    a.found
}

fn collective(k: &Kernel, op: &Op) -> Option<&'static str> {
    match op {
        Op::Get(v) | Op::Set(v, _) if matches!(k.vars[v.at()].ty, Type::Frag(_)) => Some("a fragment's variable"),
        Op::Barrier(_) => Some("a barrier"),
        Op::GroupReduce(..) => Some("a workgroup reduction"),
        Op::Subgroup { .. } => Some("a subgroup operation"),
        Op::CopyTile { .. } | Op::TileCommit { .. } | Op::TileWait { .. } => Some("a copy of the whole workgroup"),
        Op::FragFill(_)
        | Op::FragLoad { .. }
        | Op::FragMma { .. }
        | Op::FragStore { .. }
        | Op::FragEach { .. }
        | Op::FragRows(..)
        | Op::FragMap { .. } => Some("a fragment operation"),
        _ => None,
    }
}

fn has_collective(k: &Kernel) -> bool {
    let mut any = false;
    visit(&k.body, &mut |i| any |= collective(k, &i.op).is_some());
    any
}

struct Analysis<'k> {
    k: &'k Kernel,
    values: Vec<bool>,
    vars: Vec<bool>,
    private: Vec<bool>,
    /// Per loop in order: some lanes leave it before others.
    loops: Vec<bool>,
    next_loop: usize,
    changed: bool,
    found: Option<(Loc, String)>,
}

/// How some lanes may have left a block while others stay.
#[derive(Default, Clone, Copy)]
struct Exits {
    returns: bool,
    breaks: bool,
    continues: bool,
}

impl Exits {
    fn any(self) -> bool {
        self.returns || self.breaks || self.continues
    }
    fn join(&mut self, o: Exits) {
        self.returns |= o.returns;
        self.breaks |= o.breaks;
        self.continues |= o.continues;
    }
}

impl Analysis<'_> {
    fn mark(flag: &mut bool, changed: &mut bool, to: bool) {
        if to && !*flag {
            *flag = true;
            *changed = true;
        }
    }

    fn value(&mut self, v: Value, varies: bool) {
        Self::mark(&mut self.values[v.at()], &mut self.changed, varies);
    }

    /// Walks a block; `apart`: lanes may have taken different ways to get here.
    fn block(&mut self, block: &Block, apart: bool) -> Exits {
        let mut exits = Exits::default();
        for inst in block {
            let apart = apart || exits.any();
            let e = self.inst(inst, apart);
            exits.join(e);
        }
        exits
    }

    fn inst(&mut self, inst: &Inst, apart: bool) -> Exits {
        if let (true, None, Some(what)) = (apart, &self.found, collective(self.k, &inst.op)) {
            let why = format!(
                "{what} stands in control flow that lanes of a workgroup may take differently; it is accepted where \
                 every lane arrives: outside, or under conditions that do not depend on the lane"
            );
            self.found = Some((inst.loc, why));
        }
        let mut exits = Exits::default();
        let mut varies = false;
        inst.op.operands(&mut |v| varies |= self.values[v.at()]);
        match &inst.op {
            Op::If { then, otherwise, .. } => {
                exits.join(self.block(then, apart || varies));
                exits.join(self.block(otherwise, apart || varies));
            }
            Op::For { var, start, step, body, .. } => {
                let moved = self.values[start.at()] || self.values[step.at()];
                let id = self.enter();
                let inner = apart || varies || self.loops[id];
                self.value(*var, moved || self.loops[id] || apart);
                let e = self.block(body, inner);
                exits.returns = e.returns;
                self.leave(id, e);
            }
            Op::While { head, cond, body } => {
                let id = self.enter();
                let mut e = self.block(head, apart || self.loops[id]);
                // Known once the head was walked.
                let inner = apart || self.values[cond.at()] || self.loops[id] || e.any();
                e.join(self.block(body, inner));
                if self.values[cond.at()] {
                    e.breaks = true; // lanes leave at different rounds
                }
                exits.returns = e.returns;
                self.leave(id, e);
            }
            op @ (Op::FragEach { body, .. } | Op::FragMap { body, .. }) => {
                for v in op.block_values() {
                    self.value(v, true);
                }
                exits.join(self.block(body, true));
            }
            Op::Return => exits.returns = apart,
            Op::Break => exits.breaks = apart,
            Op::Continue => exits.continues = apart,
            Op::Set(v, to) => {
                let to = apart || self.values[to.at()];
                Self::mark(&mut self.vars[v.at()], &mut self.changed, to);
            }
            Op::Store { place: Place::Private(p), .. } => {
                Self::mark(&mut self.private[p.at()], &mut self.changed, apart || varies);
            }
            _ => {}
        }
        if let Some(out) = inst.out {
            let result = match &inst.op {
                Op::Get(v) => self.vars[v.at()],
                Op::Builtin(b) => match b {
                    Builtin::GroupId(_) | Builtin::NumGroups(_) | Builtin::LocalSize(_) | Builtin::SubgroupSize => {
                        false
                    }
                    Builtin::LocalId(d) => self.k.workgroup[(*d).min(2) as usize] > 1,
                    Builtin::GlobalId(d) => self.k.workgroup[(*d).min(2) as usize] > 1,
                    Builtin::SubgroupLane | Builtin::SubgroupId => self.k.lanes() > 1,
                },
                Op::Load { place: Place::Private(p), .. } => varies || self.private[p.at()],
                Op::Atomic { .. } | Op::Subgroup { .. } => true,
                Op::GroupReduce(..) => false,
                _ => varies,
            };
            self.value(out, result);
        }
        exits
    }

    fn enter(&mut self) -> usize {
        let id = self.next_loop;
        self.next_loop += 1;
        if id == self.loops.len() {
            self.loops.push(false);
        }
        id
    }

    fn leave(&mut self, id: usize, e: Exits) {
        let early = e.breaks || e.returns;
        Self::mark(&mut self.loops[id], &mut self.changed, early);
    }
}
