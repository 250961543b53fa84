//! The grid: `GlobalId` from `GroupId`, constants for `LocalSize`, promises dropped, and the linear grid folded over two
//! dimensions where the device limits one.
//!
//! A folded grid has more workgroups than were asked for when the count is no product: those return at once.

use super::emit::{Emit, Pass, rewrite};
use crate::{Result, ir::*};

/// Groups that every linear grid may have without folding.
const UNFOLDED: u32 = i32::MAX as u32;

struct Grid {
    /// The hidden parameter with the number of workgroups, where the grid is folded.
    groups: Option<ParamId>,
}

pub(super) fn lower(e: &mut Emit, max_groups: [u32; 3]) -> Result<()> {
    let mut linear = true;
    visit(&e.k.body, &mut |i| {
        if let Op::Builtin(Builtin::GroupId(d) | Builtin::NumGroups(d) | Builtin::GlobalId(d)) = i.op {
            linear &= d == 0;
        }
    });
    let groups = (linear && max_groups[0] < UNFOLDED).then(|| {
        let name = e.param_name("groups", "");
        e.k.params.push(Param { name, kind: ParamKind::Scalar { elem: Elem::Idx, role: Role::Groups } });
        ParamId(e.k.params.len() as u32 - 1)
    });
    rewrite(e, &mut Grid { groups })?;
    let Some(groups) = groups else { return Ok(()) };
    // The whole body runs only in workgroups that were asked for.
    let body = std::mem::take(&mut e.k.body);
    e.loc = Loc::default();
    e.begin();
    let id = folded_id(e);
    let n = e.op(Type::IDX, Op::Scalar(groups));
    let cond = e.cmp(CmpOp::Lt, id, n);
    e.effect(Op::If { cond, then: body, otherwise: vec![] });
    e.k.body = e.end();
    Ok(())
}

fn folded_id(e: &mut Emit) -> Value {
    let x = e.op(Type::IDX, Op::Builtin(Builtin::GroupId(0)));
    let y = e.op(Type::IDX, Op::Builtin(Builtin::GroupId(1)));
    let row = e.op(Type::IDX, Op::Builtin(Builtin::NumGroups(0)));
    let before = e.mul(y, row);
    e.add(x, before)
}

impl Grid {
    fn group(&self, e: &mut Emit, d: u8) -> Value {
        match self.groups {
            Some(_) => folded_id(e),
            None => e.op(Type::IDX, Op::Builtin(Builtin::GroupId(d))),
        }
    }
}

impl Pass for Grid {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        match (&inst.op, inst.out) {
            (Op::Builtin(Builtin::GroupId(0)), Some(out)) if self.groups.is_some() => {
                let id = folded_id(e);
                e.rename(out, id);
            }
            (Op::Builtin(Builtin::NumGroups(0)), Some(out)) if self.groups.is_some() => {
                e.push(Some(out), Op::Scalar(self.groups.expect("checked by the guard of this arm")));
            }
            (Op::Builtin(Builtin::GlobalId(d)), Some(out)) => {
                let d = *d;
                let group = self.group(e, d);
                let size = e.bits(Type::IDX, e.k.workgroup[d as usize] as u64);
                let first = e.mul(group, size);
                let lane = e.op(Type::U32, Op::Builtin(Builtin::LocalId(d)));
                let lane = e.cast(Elem::Idx, lane);
                e.push(Some(out), Op::Binary(BinaryOp::Add, first, lane));
            }
            (Op::Builtin(Builtin::LocalSize(d)), Some(out)) => {
                e.push(Some(out), Op::Const(e.k.workgroup[*d as usize] as u64));
            }
            (Op::AssumeMultiple(v, _), out) => e.result(out, *v),
            (Op::Splat(v), Some(out)) if e.ty(out).lanes() == 1 => e.rename(out, *v),
            (Op::Vector(of), Some(out)) if of.len() == 1 => e.rename(out, of[0]),
            (Op::Extract(v, _), Some(out)) if e.ty(*v).lanes() == 1 => e.rename(out, *v),
            // A scalar condition over vectors becomes a vector of one condition, the only form that backends see.
            (Op::Select(c, a, b), Some(out)) if e.ty(*c).lanes() != e.ty(*a).lanes() => {
                let lanes = e.ty(*a).lanes();
                let (c, a, b) = (*c, *a, *b);
                let c = e.op(Type::vector(DType::Bool, lanes), Op::Splat(c));
                e.push(Some(out), Op::Select(c, a, b));
            }
            // A step of zero or less counts as one.
            (Op::For { step, .. }, _) => {
                let step = *step;
                let one = e.bits(e.ty(step), 1);
                let at_least = e.bin(BinaryOp::Max, step, one);
                let mut inst = inst;
                if let Op::For { step, .. } = &mut inst.op {
                    *step = at_least;
                }
                e.keep(inst, self)?;
            }
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}
