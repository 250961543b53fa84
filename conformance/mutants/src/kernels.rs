//! Kernels whose structure is lost: barriers, atomics, loops, branches, reductions, where a lane is.

use crate::{Mutant, layer::kernels, numbers::mutant, rewrite::every};
use anychip::hal::{
    DType,
    ir::{AtomicOp, BinaryOp, Builtin, CmpOp, Elem, Inst, Loc, Op, ReduceOp, Type, Unroll, Value},
};

pub const MUTANTS: &[Mutant] = &[
    mutant!(
        "barrier-removed",
        "Barriers are dropped by the compiler, and one half of a workgroup runs before the other.",
        ["core/ir/barrier/"],
        ["core/ir/barrier/u32/workgroup/64", "core/ir/barrier/u32/ring/64"],
        |k| {
            let (mut barriers, mut reduces) = (false, false);
            anychip::hal::ir::visit(&k.body, &mut |i| {
                barriers |= matches!(i.op, Op::Barrier(_));
                reduces |= matches!(i.op, Op::GroupReduce(..));
            });
            let half = k.workgroup[0] / 2;
            if !barriers || reduces || half == 0 {
                return;
            }
            every(k, &mut |_, inst| if matches!(inst.op, Op::Barrier(_)) { None } else { Some(inst) });
            // `for h in 0..2 { if lane / half == h { … } }`: the CPU's lanes run in step, those of a chip do not.
            let mut value = |ty| {
                k.values.push(ty);
                Value(k.values.len() as u32 - 1)
            };
            let [lane, size, part, zero, two, one, h] = [Type::U32; 7].map(&mut value);
            let mine = value(Type::BOOL);
            let at = |out, op| Inst { out, op, loc: Loc::default() };
            let body = std::mem::take(&mut k.body);
            let then = at(None, Op::If { cond: mine, then: body, otherwise: vec![] });
            let round = vec![at(Some(mine), Op::Compare(CmpOp::Eq, part, h)), then];
            k.body = vec![
                at(Some(lane), Op::Builtin(Builtin::LocalId(0))),
                at(Some(size), Op::Const(u64::from(half))),
                at(Some(part), Op::Binary(BinaryOp::Div, lane, size)),
                at(Some(zero), Op::Const(0)),
                at(Some(two), Op::Const(if k.workgroup[0] % 2 == 0 { 2 } else { 3 })),
                at(Some(one), Op::Const(1)),
                at(None, Op::For { var: h, start: zero, end: two, step: one, body: round, unroll: Unroll::Never }),
            ];
        }
    ),
    mutant!(
        "atomics-lose-updates",
        "An atomic addition is a load, a sum and a store.",
        ["core/ir/atomic-add/"],
        ["core/ir/atomic-add/u32/buffer", "core/ir/atomic-add/u32/histogram/16"],
        |k| {
            every(k, &mut |w, inst| match inst.op {
                Op::Atomic { op: AtomicOp::Add, place, index, value, .. } => {
                    let ty = w.ty(value);
                    let old = w.op(ty, Op::Load { place, index, aligned: false });
                    let new = w.binary(BinaryOp::Add, old, value);
                    w.put(None, Op::Store { place, index, value: new, aligned: false });
                    if let Some(out) = inst.out {
                        let zero = w.bits(ty, 0);
                        w.put(Some(out), Op::Binary(BinaryOp::Add, old, zero));
                    }
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "atomics-give-the-new-value",
        "An atomic addition gives the sum instead of what was there.",
        ["core/ir/atomic-add/"],
        ["core/ir/atomic-add/u32/returned"],
        |k| {
            every(k, &mut |w, inst| match (&inst.op, inst.out) {
                (Op::Atomic { op: AtomicOp::Add, value, .. }, Some(out)) => {
                    let value = *value;
                    let old = w.op(w.ty(value), inst.op);
                    w.put(Some(out), Op::Binary(BinaryOp::Add, old, value));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "compare-exchange-always-stores",
        "CompareExchange stores whatever it finds.",
        ["core/ir/atomic-compare-exchange/"],
        ["core/ir/atomic-compare-exchange/u32/buffer"],
        |k| {
            every(k, &mut |w, mut inst| {
                if let Op::Atomic { op, compare, .. } = &mut inst.op
                    && *op == AtomicOp::CompareExchange
                {
                    (*op, *compare) = (AtomicOp::Exchange, None);
                }
                w.put(inst.out, inst.op);
                None
            });
        }
    ),
    mutant!(
        "atomic-minimum-unsigned",
        "The atomic minimum of signed integers compares them as unsigned.",
        ["core/ir/atomic-max/", "core/ir/atomic-min/"],
        ["core/ir/atomic-min/u32/buffer"],
        |k| {
            every(k, &mut |w, mut inst| {
                if let Op::Atomic { op, .. } = &mut inst.op
                    && *op == AtomicOp::Min
                {
                    *op = AtomicOp::Max;
                }
                w.put(inst.out, inst.op);
                None
            });
        }
    ),
    mutant!(
        "group-sum-misses-a-subgroup",
        "The sum over a workgroup leaves out its last eight lanes.",
        ["core/ir/group-sum/"],
        ["core/ir/group-sum/u32/64", "core/ir/group-sum/f32/64"],
        |k| {
            let lanes = k.lanes();
            every(k, &mut |w, inst| match inst.op {
                Op::GroupReduce(ReduceOp::Sum, v) if lanes > 8 => {
                    let lane = w.op(Type::U32, Op::Builtin(Builtin::LocalId(0)));
                    let end = w.bits(Type::U32, u64::from(lanes - 8));
                    let inside = w.compare(CmpOp::Lt, lane, end);
                    let zero = w.bits(w.ty(v), 0);
                    let v = w.op(w.ty(v), Op::Select(inside, v, zero));
                    w.put(inst.out, Op::GroupReduce(ReduceOp::Sum, v));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "group-reduction-of-powers-of-two",
        "Reductions halve the workgroup and lose the lanes beyond a power of two.",
        ["core/ir/group-"],
        ["core/ir/group-sum/u32/100", "core/ir/group-sum/u32/33"],
        |k| {
            let lanes = k.lanes();
            let whole = if lanes.is_power_of_two() { lanes } else { lanes.next_power_of_two() / 2 };
            every(k, &mut |w, inst| match inst.op {
                Op::GroupReduce(op, v) if whole < lanes && w.elem(v) == Some(DType::U32) => {
                    let lane = w.op(Type::U32, Op::Builtin(Builtin::LocalId(0)));
                    let end = w.bits(Type::U32, u64::from(whole));
                    let inside = w.compare(CmpOp::Lt, lane, end);
                    let zero = w.bits(w.ty(v), 0);
                    let v = w.op(w.ty(v), Op::Select(inside, v, zero));
                    w.put(inst.out, Op::GroupReduce(op, v));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "odd-tail-dropped",
        "Loops of single steps are unrolled by four, and the rounds that are left over are lost.",
        ["core/ir/for/u32/lanes/"],
        ["core/ir/for/u32/lanes/count-of-each-lane"],
        |k| {
            every(k, &mut |w, mut inst| {
                if let Op::For { end, .. } = &mut inst.op
                    && w.ty(*end) == Type::U32
                {
                    let mask = w.bits(Type::U32, 0xffff_fffc);
                    *end = w.binary(BinaryOp::And, *end, mask);
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "loops-end-early",
        "Loops end after 4096 rounds, as a watchdog against endless ones.",
        ["core/ir/for/u32/lanes/"],
        ["core/ir/for/u32/lanes/ten-thousand-rounds"],
        |k| {
            every(k, &mut |w, mut inst| {
                if let Op::For { start, end, .. } = &mut inst.op
                    && w.ty(*end) == Type::U32
                {
                    let most = w.bits(Type::U32, 4096);
                    let last = w.binary(BinaryOp::Add, *start, most);
                    *end = w.binary(BinaryOp::Min, *end, last);
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "continue-is-break",
        "continue leaves the loop.",
        ["core/ir/for/u32/lanes/"],
        ["core/ir/for/u32/lanes/continue"],
        |k| {
            every(k, &mut |_, mut inst| {
                if inst.op == Op::Continue {
                    inst.op = Op::Break;
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "return-ignored",
        "Lanes that are done go on.",
        ["core/ir/return/"],
        ["core/ir/return/u32/lanes/some-lanes"],
        |k| {
            every(k, &mut |_, inst| if inst.op == Op::Return { None } else { Some(inst) });
        }
    ),
    mutant!(
        "else-lost",
        "The second way of a branch is not taken.",
        ["core/ir/if/"],
        ["core/ir/if/u32/lanes/else"],
        |k| {
            every(k, &mut |_, mut inst| {
                if let Op::If { otherwise, .. } = &mut inst.op {
                    otherwise.clear();
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "branch-of-the-first-lane",
        "A branch is taken by all lanes as the first value of its condition says: both ways run for all.",
        ["core/ir/if/"],
        ["core/ir/if/u32/lanes/then"],
        |k| {
            every(k, &mut |w, mut inst| {
                if let Op::If { cond, then, .. } = &mut inst.op
                // Guards are left alone: they keep the process whole.
                && then.iter().all(|i| !matches!(i.op, Op::Load { .. } | Op::Store { .. }))
                {
                    *cond = w.bits(Type::BOOL, 1);
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "group-number-of-16-bits",
        "A lane's workgroup is counted in 16 bits.",
        ["core/ir/grid/u32/linear/"],
        ["core/ir/grid/u32/linear/1-65537"],
        |k| {
            every(k, &mut |w, inst| match (&inst.op, inst.out) {
                (Op::Builtin(Builtin::GroupId(0)), Some(out)) => {
                    let ty = Type::scalar(Elem::Idx);
                    let g = w.op(ty, inst.op);
                    let mask = w.bits(ty, 0xffff);
                    w.put(Some(out), Op::Binary(BinaryOp::And, g, mask));
                    None
                }
                _ => Some(inst),
            });
        }
    ),
    mutant!(
        "grid-dimensions-swapped",
        "Dimensions 1 and 2 of a workgroup's number are swapped.",
        ["core/ir/grid/u32/dimensions/"],
        ["core/ir/grid/u32/dimensions/1x1x1-3x4x5"],
        |k| {
            every(k, &mut |_, mut inst| {
                if let Op::Builtin(Builtin::GroupId(d)) = &mut inst.op {
                    *d = [0, 2, 1][usize::from(*d)];
                }
                Some(inst)
            });
        }
    ),
    mutant!(
        "private-arrays-forget",
        "Reads of a lane's own array at an index that is not constant give element 0.",
        ["core/ir/private/"],
        ["core/ir/private/f32/64"],
        |k| {
            every(k, &mut |w, mut inst| {
                if let Op::Load { place: anychip::hal::ir::Place::Private(_), index, .. } = &mut inst.op {
                    let zero = w.bits(w.ty(*index), 0);
                    *index = zero;
                }
                Some(inst)
            });
        }
    ),
];
