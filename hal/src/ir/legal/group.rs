//! Workgroup reductions and subgroup operations through shared memory.
//!
//! Reductions combine lanes in a tree of fixed shape: in each round lane `i` takes the value of lane `i + s`, with `s` the
//! powers of two below the number of lanes, largest first. Each lowering ends with a barrier, so that the scratch array,
//! one per element type, may be used again at once. Where the device has no subgroups, the workgroup acts as one.
//!
//! Where it reduces within subgroups of one size and the workgroup is made of whole ones, each reduces by itself and every
//! lane joins the parts in the order of the subgroups: no barrier where there is one, two where there are several.

use super::emit::{Emit, Pass};
use crate::{
    Result,
    info::{DeviceInfo, Feature},
    ir::*,
};
use std::collections::BTreeSet;

pub(super) struct Group {
    reduce: bool,
    /// The workgroup acts as one subgroup.
    emulate: bool,
    /// Lanes of the subgroups that reduce.
    size: Option<u32>,
}

impl Group {
    /// `emulate`: the workgroup must act as one subgroup whatever the device has. `uses`: what the kernel asks for. Where one subgroup operation is emulated, all are: lanes, ids and sizes must
    /// speak of the same subgroup.
    pub fn new(info: &DeviceInfo, uses: &BTreeSet<Feature>, emulate: bool) -> Group {
        let family = [Feature::Subgroup, Feature::SubgroupReduce, Feature::SubgroupShuffle];
        let emulate = emulate || family.iter().any(|f| uses.contains(f) && !info.has(*f));
        let one_size = info.subgroups.as_ref().filter(|s| s.min == s.max && s.max > 1).map(|s| s.max);
        let has = !emulate && info.has(Feature::Subgroup) && info.has(Feature::SubgroupReduce);
        Group { reduce: !info.has(Feature::GroupReduce), emulate, size: one_size.filter(|_| has) }
    }
}

fn combine(e: &mut Emit, op: ReduceOp, a: Value, b: Value) -> Value {
    let op = match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Min => BinaryOp::Min,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::And => BinaryOp::And,
        ReduceOp::Or => BinaryOp::Or,
        ReduceOp::Xor => BinaryOp::Xor,
    };
    e.bin(op, a, b)
}

/// The index of a lane's part in the scratch array; vectors lie one after the other.
fn part(e: &mut Emit, lane: Value, lanes: u8) -> Value {
    let at = match lanes {
        1 => lane,
        n => e.bin_c(BinaryOp::Mul, lane, n as u64),
    };
    e.trust(at)
}

/// Every lane's value into scratch, visible to all. Gives the array, the lane's number and its part.
fn publish(e: &mut Emit, v: Value) -> (Place, Value, Value) {
    let ty = e.ty(v);
    let elem = e.elem(v);
    let len = e.k.lanes() * ty.lanes() as u32;
    let scratch = Place::Shared(e.scratch(elem, len));
    let lane = e.lane();
    let at = part(e, lane, ty.lanes());
    e.store(scratch, at, v);
    e.barrier();
    (scratch, lane, at)
}

fn reduce(e: &mut Emit, op: ReduceOp, v: Value, out: Value) {
    let ty = e.ty(v);
    let n = e.k.lanes();
    if n == 1 {
        return e.rename(out, v);
    }
    let (scratch, lane, at) = publish(e, v);
    let mut s = n.next_power_of_two() / 2;
    while s > 0 {
        // Lanes below `s` whose partner exists: in the first round of a workgroup that is no power of two, fewer.
        let active = e.cmp_c(CmpOp::Lt, lane, s.min(n - s) as u64);
        e.when(active, |e| {
            let other = e.bin_c(BinaryOp::Add, lane, s as u64);
            let other = part(e, other, ty.lanes());
            let a = e.load(scratch, at, ty);
            let b = e.load(scratch, other, ty);
            let c = combine(e, op, a, b);
            e.store(scratch, at, c);
        });
        e.barrier();
        s /= 2;
    }
    let zero = e.u32(0);
    let zero = e.trust(zero);
    e.push(Some(out), Op::Load { place: scratch, index: zero, aligned: false });
    e.barrier();
}

/// By subgroups of `size` lanes, of which the workgroup has several or one.
fn reduce_by_subgroups(e: &mut Emit, op: ReduceOp, v: Value, size: u32, out: Value) {
    let ty = e.ty(v);
    let parts = e.k.lanes() / size;
    let own = Op::Subgroup { op: SubgroupOp::Reduce(op), value: v, lane: None };
    if parts == 1 {
        return e.push(Some(out), own);
    }
    let own = e.op(ty, own);
    let elem = e.elem(v);
    let scratch = Place::Shared(e.scratch(elem, parts * u32::from(ty.lanes())));
    let id = e.op(Type::U32, Op::Builtin(Builtin::SubgroupId));
    let lane = e.op(Type::U32, Op::Builtin(Builtin::SubgroupLane));
    let first = e.cmp_c(CmpOp::Eq, lane, 0);
    e.when(first, |e| {
        let at = part(e, id, ty.lanes());
        e.store(scratch, at, own);
    });
    e.barrier();
    let mut all = None;
    for n in 0..parts {
        let n = e.u32(n);
        let at = part(e, n, ty.lanes());
        let x = e.load(scratch, at, ty);
        all = Some(match all {
            Some(all) => combine(e, op, all, x),
            None => x,
        });
    }
    e.barrier();
    e.rename(out, all.unwrap_or(own));
}

/// Exclusive prefix sum: Hillis and Steele's rounds, then one lane back.
fn scan(e: &mut Emit, v: Value, out: Value) {
    let ty = e.ty(v);
    let n = e.k.lanes();
    let (scratch, lane, at) = publish(e, v);
    let var = e.var("scan", ty);
    let mut s = 1;
    while s < n {
        let mine = e.load(scratch, at, ty);
        e.effect(Op::Set(var, mine));
        let active = e.cmp_c(CmpOp::Ge, lane, s as u64);
        e.when(active, |e| {
            let other = e.bin_c(BinaryOp::Sub, lane, s as u64);
            let other = part(e, other, ty.lanes());
            let b = e.load(scratch, other, ty);
            let c = e.add(b, mine);
            e.effect(Op::Set(var, c));
        });
        e.barrier();
        let sum = e.get(var);
        e.store(scratch, at, sum);
        e.barrier();
        s *= 2;
    }
    let zero = e.bits(ty, 0);
    e.effect(Op::Set(var, zero));
    let active = e.cmp_c(CmpOp::Ge, lane, 1);
    e.when(active, |e| {
        let other = e.bin_c(BinaryOp::Sub, lane, 1);
        let other = part(e, other, ty.lanes());
        let b = e.load(scratch, other, ty);
        e.effect(Op::Set(var, b));
    });
    e.push(Some(out), Op::Get(var));
    e.barrier();
}

/// Each lane reads the value of the lane that it names; a lane that does not exist reads its own.
fn shuffle(e: &mut Emit, op: SubgroupOp, v: Value, operand: Value, out: Value) {
    let ty = e.ty(v);
    let (scratch, lane, _) = publish(e, v);
    let from = match op {
        SubgroupOp::ShuffleXor => e.bin(BinaryOp::Xor, lane, operand),
        SubgroupOp::ShuffleDown => e.add(lane, operand),
        SubgroupOp::ShuffleUp => e.sub(lane, operand),
        _ => operand,
    };
    let exists = e.cmp_c(CmpOp::Lt, from, e.k.lanes() as u64);
    let from = e.select(exists, from, lane);
    let at = part(e, from, ty.lanes());
    e.push(Some(out), Op::Load { place: scratch, index: at, aligned: false });
    e.barrier();
}

impl Pass for Group {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        match (&inst.op, inst.out) {
            (Op::GroupReduce(op, v), Some(out)) if self.reduce => {
                // Wider numbers than 32 bits are another property of subgroups.
                let narrow = e.k.elem_bytes(e.elem(*v)) <= 4;
                match self.size.filter(|s| narrow && e.k.lanes().is_multiple_of(*s)) {
                    Some(size) => reduce_by_subgroups(e, *op, *v, size, out),
                    None => reduce(e, *op, *v, out),
                }
            }
            (Op::Subgroup { op: SubgroupOp::Reduce(op), value, .. }, Some(out)) if self.emulate => {
                reduce(e, *op, *value, out)
            }
            (Op::Subgroup { op: SubgroupOp::ScanAdd, value, .. }, Some(out)) if self.emulate => scan(e, *value, out),
            (Op::Subgroup { op, value, lane: Some(lane) }, Some(out)) if self.emulate => {
                shuffle(e, *op, *value, *lane, out)
            }
            (Op::Builtin(Builtin::SubgroupSize), Some(out)) if self.emulate => {
                e.push(Some(out), Op::Const(e.k.lanes() as u64));
            }
            (Op::Builtin(Builtin::SubgroupLane), Some(out)) if self.emulate => {
                let lane = e.lane();
                e.rename(out, lane);
            }
            (Op::Builtin(Builtin::SubgroupId), Some(out)) if self.emulate => e.push(Some(out), Op::Const(0)),
            (Op::Barrier(Scope::Subgroup), _) if self.emulate => e.barrier(),
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}
