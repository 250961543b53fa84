//! Gives registers their memory: a slot per register while it lives, reused as soon as nobody reads it, the most
//! recently freed first, so that a long chain of instructions stays in the first-level cache.
//!
//! A destination never shares a slot with an operand of the same instruction: the loops assume no overlap.

use super::program::{Code, Inst, Node, Reg, RegInfo, Space};
use anychip_hal::DType;
use std::collections::HashMap;

/// Numbers instructions in order and finds the last reader of each register.
struct Liveness {
    at: u32,
    born: Vec<u32>,
    last: Vec<u32>,
    /// For each open loop: where it begins, and registers from outside that it reads.
    loops: Vec<(u32, Vec<Reg>)>,
    /// Where which memory is written.
    writes: Vec<(u32, Space)>,
}

impl Liveness {
    fn read(&mut self, r: Reg) {
        let (at, born) = (self.at, self.born[r as usize]);
        self.last[r as usize] = self.last[r as usize].max(at);
        for (begin, from_outside) in &mut self.loops {
            if born < *begin {
                from_outside.push(r);
            }
        }
    }

    fn write(&mut self, r: Reg) {
        let r = r as usize;
        self.born[r] = self.born[r].min(self.at);
        self.last[r] = self.last[r].max(self.at);
    }

    fn begin(&mut self) {
        self.at += 1;
        self.loops.push((self.at, vec![]));
    }

    fn end(&mut self) {
        self.at += 1;
        for r in self.loops.pop().map(|l| l.1).unwrap_or_default() {
            self.last[r as usize] = self.at;
        }
    }

    fn walk(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.at += 1;
            match node {
                Node::Do(Inst { code, .. }) => {
                    let mut reads = Vec::new();
                    let mut writes = Vec::new();
                    code.visit(|r| reads.push(r), |r| writes.push(r));
                    reads.into_iter().for_each(|r| self.read(r));
                    writes.into_iter().for_each(|r| self.write(r));
                    if let Code::Store { at, .. } | Code::Atomic { at, .. } = code {
                        self.writes.push((self.at, at.space));
                    }
                }
                Node::If { cond, then, otherwise, .. } => {
                    self.read(*cond);
                    self.walk(then);
                    self.walk(otherwise);
                }
                Node::For { var, start, end, step, body, .. } => {
                    // The loop looks at its bounds and its variable until it ends.
                    self.write(*var);
                    self.begin();
                    for r in [start, end, step, var] {
                        self.read(*r);
                    }
                    self.walk(body);
                    self.end();
                }
                Node::While { head, cond, body } => {
                    self.begin();
                    self.walk(head);
                    self.at += 1;
                    self.read(*cond);
                    self.walk(body);
                    self.end();
                }
                Node::Break | Node::Continue | Node::Return => {}
            }
        }
    }
}

/// Slots in use and free, by bytes of an element.
struct Pool {
    slots: Vec<u8>,
    free: HashMap<u8, Vec<u32>>,
}

impl Pool {
    fn take(&mut self, bytes: u8) -> u32 {
        if let Some(s) = self.free.get_mut(&bytes).and_then(Vec::pop) {
            return s;
        }
        self.slots.push(bytes);
        self.slots.len() as u32 - 1
    }
}

struct Assign<'a> {
    regs: &'a mut [RegInfo],
    live: &'a Liveness,
    pool: Pool,
    at: u32,
    /// Registers by the position after which they are dead.
    dying: HashMap<u32, Vec<Reg>>,
}

impl Assign<'_> {
    fn give(&mut self, r: Reg) {
        let info = &mut self.regs[r as usize];
        if info.slot == u32::MAX {
            info.slot = self.pool.take(info.bytes);
            self.dying.entry(self.live.last[r as usize]).or_default().push(r);
        }
    }

    /// Whether what is loaded here stays in its memory as long as the registers are read. Shared memory only: a block has its
    /// own, what other blocks write to a buffer is not known.
    fn held(&self, space: Space, elem: DType, dst: &[Reg]) -> bool {
        let last = dst.iter().map(|&r| self.live.last[r as usize]).max().unwrap_or(0);
        matches!(space, Space::Shared(_))
            && elem != DType::Bool
            && !self.live.writes.iter().any(|&(at, to)| to == space && at > self.at && at <= last)
    }

    fn reap(&mut self) {
        for r in self.dying.remove(&self.at).unwrap_or_default() {
            let info = self.regs[r as usize];
            self.pool.free.entry(info.bytes).or_default().push(info.slot);
        }
    }

    fn walk(&mut self, nodes: &mut [Node]) {
        for node in nodes {
            self.at += 1;
            match node {
                Node::Do(Inst { code, .. }) => {
                    let mut writes = Vec::new();
                    code.visit(|_| (), |r| writes.push(r));
                    writes.into_iter().for_each(|r| self.give(r));
                    if let Code::Set { a, dying, .. } = code {
                        *dying = self.live.last[*a as usize] == self.at;
                    }
                    if let Code::Load { at, dst, held, .. } = code {
                        *held = self.held(at.space, at.elem, dst);
                    }
                    self.reap();
                }
                Node::If { then, otherwise, .. } => {
                    self.reap();
                    self.walk(then);
                    self.walk(otherwise);
                }
                Node::For { var, body, .. } => {
                    self.give(*var);
                    self.at += 1;
                    self.reap();
                    self.walk(body);
                    self.at += 1;
                    self.reap();
                }
                Node::While { head, body, .. } => {
                    self.at += 1;
                    self.reap();
                    self.walk(head);
                    self.at += 1;
                    self.reap();
                    self.walk(body);
                    self.at += 1;
                    self.reap();
                }
                Node::Break | Node::Continue | Node::Return => self.reap(),
            }
        }
    }
}

/// The memory of a lane.
pub(crate) struct Slots {
    /// Bytes of an element per slot.
    pub slots: Vec<u8>,
    /// Bytes of the slots that are not the prologue's, which seldom are more than one element for all lanes.
    pub lane_bytes: usize,
}

/// Assigns slots. Variables and the prologue's registers keep theirs.
pub(crate) fn assign(regs: &mut [RegInfo], vars: &[(Reg, String)], prologue: &[Inst], body: &mut [Node]) -> Slots {
    let (born, last) = (vec![u32::MAX; regs.len()], vec![0; regs.len()]);
    let mut live = Liveness { at: 0, born, last, loops: vec![], writes: vec![] };
    let mut forever: Vec<Reg> = vars.iter().map(|v| v.0).collect();
    for inst in prologue {
        inst.code.visit(|_| (), |r| forever.push(r));
    }
    for &r in &forever {
        live.born[r as usize] = 0;
    }
    live.walk(body);
    for &r in &forever {
        live.last[r as usize] = u32::MAX;
    }
    let mut assign =
        Assign { regs, live: &live, pool: Pool { slots: vec![], free: HashMap::new() }, at: 0, dying: HashMap::new() };
    for &r in &forever {
        assign.give(r);
    }
    assign.walk(body);
    let slots = assign.pool.slots;
    let bytes = |slots: &[u8]| slots.iter().map(|&b| b as usize).sum::<usize>();
    let lane_bytes = bytes(&slots[..vars.len()]) + bytes(&slots[forever.len()..]);
    Slots { slots, lane_bytes }
}
