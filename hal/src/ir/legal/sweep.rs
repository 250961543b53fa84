//! Drops what has no effect and renumbers the rest, so that backends keep no room for what nobody reads.

use crate::ir::*;

/// Removes operations without effect whose results are not used, variables that nothing reads, and empty branches and
/// loops; then numbers values, variables and arrays without gaps. Parameters stay: a launch packs them.
pub(super) fn sweep(k: &mut Kernel) {
    loop {
        let mut read = vec![false; k.vars.len()];
        visit(&k.body, &mut |i| {
            if let Op::Get(v) | Op::FragMap { result: v, .. } = i.op {
                read[v.at()] = true;
            }
        });
        let before = count(&k.body);
        let mut body = std::mem::take(&mut k.body);
        block(&mut body, &mut vec![false; k.values.len()], &read);
        k.body = body;
        if count(&k.body) == before {
            break;
        }
    }
    renumber(k);
}

fn count(body: &Block) -> usize {
    let mut n = 0;
    visit(body, &mut |_| n += 1);
    n
}

/// Backwards: uses come before definitions.
fn block(b: &mut Block, live: &mut Vec<bool>, read: &[bool]) {
    let mut kept = Vec::with_capacity(b.len());
    for mut inst in std::mem::take(b).into_iter().rev() {
        if let Op::While { cond, .. } = inst.op {
            live[cond.at()] = true;
        }
        for inner in inst.op.blocks_mut().into_iter().rev() {
            block(inner, live, read);
        }
        let needed = match &inst.op {
            Op::Set(v, _) => read[v.at()],
            Op::If { then, otherwise, .. } => !then.is_empty() || !otherwise.is_empty(),
            Op::For { body, .. } => !body.is_empty(),
            op if op.is_pure() || matches!(op, Op::Get(_) | Op::Load { .. }) => inst.out.is_some_and(|v| live[v.at()]),
            _ => true,
        };
        if needed {
            inst.op.operands(&mut |v| live[v.at()] = true);
            kept.push(inst);
        }
    }
    kept.reverse();
    *b = kept;
}

/// New numbers in the order of first sight, and what stands at them.
struct Numbers<T> {
    new: Vec<Option<u32>>,
    kept: Vec<T>,
}

impl<T: Clone> Numbers<T> {
    fn of(old: &[T]) -> Numbers<T> {
        Numbers { new: vec![None; old.len()], kept: vec![] }
    }
    fn see(&mut self, old: &[T], at: u32) -> u32 {
        *self.new[at as usize].get_or_insert_with(|| {
            self.kept.push(old[at as usize].clone());
            self.kept.len() as u32 - 1
        })
    }
}

fn renumber(k: &mut Kernel) {
    let (mut values, mut vars) = (Numbers::of(&k.values), Numbers::of(&k.vars));
    let (mut shared, mut private) = (Numbers::of(&k.shared), Numbers::of(&k.private));
    let mut body = std::mem::take(&mut k.body);
    visit_mut(&mut body, &mut |i| {
        if let Some(v) = &mut i.out {
            v.0 = values.see(&k.values, v.0);
        }
        i.op.operands_mut(&mut |v| v.0 = values.see(&k.values, v.0));
        let mut array = |p: &mut Place| match p {
            Place::Shared(s) => s.0 = shared.see(&k.shared, s.0),
            Place::Private(p) => p.0 = private.see(&k.private, p.0),
            Place::Buffer(_) => {}
        };
        match &mut i.op {
            Op::Get(v) | Op::Set(v, _) => v.0 = vars.see(&k.vars, v.0),
            Op::For { var, .. } => var.0 = values.see(&k.values, var.0),
            Op::FragEach { row, col, elem, .. } => {
                for v in [row, col, elem] {
                    v.0 = values.see(&k.values, v.0);
                }
            }
            Op::FragMap { to, row, col, elems, result, .. } => {
                for v in [row, col].into_iter().chain(elems) {
                    v.0 = values.see(&k.values, v.0);
                }
                for v in [to, result] {
                    v.0 = vars.see(&k.vars, v.0);
                }
            }
            Op::Load { place, .. }
            | Op::Store { place, .. }
            | Op::Atomic { place, .. }
            | Op::FragLoad { place, .. }
            | Op::FragStore { place, .. } => array(place),
            Op::CopyAsync { dst, .. } => dst.0 = shared.see(&k.shared, dst.0),
            Op::CopyTile { dst, bars, .. } => {
                for s in [dst, bars] {
                    s.0 = shared.see(&k.shared, s.0);
                }
            }
            Op::TileCommit { bars, .. } | Op::TileWait { bars, .. } => bars.0 = shared.see(&k.shared, bars.0),
            Op::FragMma { a, b, .. } => {
                for o in [a, b] {
                    if let FragOperand::Tile { shared: s, .. } = o {
                        s.0 = shared.see(&k.shared, s.0);
                    }
                }
            }
            _ => {}
        }
    });
    k.body = body;
    (k.values, k.vars, k.shared, k.private) = (values.kept, vars.kept, shared.kept, private.kept);
}
