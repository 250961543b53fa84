//! Running sums, products, minima and maxima along an axis, with any fused expression before and after.
//!
//! Two schedules. *Across*: a workgroup per row walks it in chunks. A chunk lies in shared memory; each lane joins its own few
//! elements, the lanes' totals are joined in rounds (Hillis and Steele), and what was before is carried on. Few long rows are cut into
//! parts, each begun with what a launch before found to lie in front of it. *Along*: a lane per row walks it alone, where
//! neighbouring rows lie side by side. The order of all operations is fixed by the extents and the schedule.

use super::{
    Body, Lanes, Made, Map,
    body::{Id, merge},
    emit::{Emit, Maker, MapArgs, compute_type},
    reduce::{combining, neutral},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, ParamId, Place, ReduceOp, Type, Unroll, Value},
};

/// A scan with what is fused around it.
pub struct Scan {
    /// Sum, product, minimum or maximum.
    pub op: ReduceOp,
    /// Without the element itself.
    pub exclusive: bool,
    /// Expressions; `Anchor` in the epilogue is the result of the scan.
    pub body: Body,
    /// The operand.
    pub prologue: Id,
    /// The result.
    pub epilogue: Id,
    /// The space: rows, then the axis.
    pub dims: Vec<usize>,
    /// Where the result goes.
    pub out: Map,
    /// Type of the operand.
    pub dtype: DType,
    /// Type of the result.
    pub out_dtype: DType,
    /// Workgroups per row. With more than one, part p takes the p-th piece of the row and begins with element
    /// `row · parts + p` of a further buffer, of the operand's compute type.
    pub parts: usize,
}

/// How a scan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// A workgroup per row, or per part of one.
    Across,
    /// A lane per row.
    Along,
}

/// Elements of a chunk that each lane joins alone.
const OWN: u32 = 8;

/// What both schedules need to know inside the kernel.
struct Parts<'a> {
    op: ReduceOp,
    exclusive: bool,
    emit: &'a Emit<'a>,
    prologue: Id,
    epilogue: Id,
    out: &'a MapArgs,
    base: Option<Value>,
    rows: usize,
    out_buf: ParamId,
    out_dtype: DType,
}

impl Parts<'_> {
    fn join(&self, b: &mut Builder, a: Value, x: Value) -> Value {
        b.binary(combining(self.op), a, x)
    }

    fn store(&self, b: &mut Builder, c: Value, v: Value) {
        let y = self.emit.eval(b, self.epilogue, &[c], Some(v));
        let y = b.cast(self.out_dtype, y);
        let at = match self.out.index(b, self.base, self.rows, &[c]) {
            Some(at) => at,
            None => b.idx(0),
        };
        b.store(Place::Buffer(self.out_buf), at, y);
    }
}

/// Makes the kernel. Bindings: slots, what lies in front of each part when there are several, output.
pub fn scan(mut s: Scan, schedule: Schedule, lanes: Lanes, max_shared: u32) -> Result<Made> {
    let last = s.dims.len() - 1;
    let len = s.dims[last];
    s.body.maps.push(s.out.clone());
    let (dims, cuts) = merge(&s.dims, &mut s.body.maps, &[last]);
    let out = s.body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    // An axis of one element was merged away; what is left are rows.
    let outer = cuts.first().copied().unwrap_or(0);
    let rows: usize = dims[..outer].iter().product();
    let work = compute_type(s.dtype);
    let lanes = match schedule {
        Schedule::Across => lanes.flat(len.div_ceil(s.parts).div_ceil(OWN as usize)),
        Schedule::Along => lanes.flat(rows),
    };
    let mut m = Maker::new("scan", lanes);
    let mut emit = Emit::declare(&mut m, &s.body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let extents: Vec<_> = dims[..outer].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let len_v = m.extent("len", len);
    let split = (s.parts > 1).then(|| {
        let parts = m.extent("parts", s.parts);
        let piece = m.extent("piece", len.div_ceil(s.parts));
        (parts, piece, m.b.buffer("before", work, Access::Read))
    });
    let count = match schedule {
        Schedule::Across => None,
        Schedule::Along => Some(m.extent("rows", rows)),
    };
    let out_buf = m.b.buffer("out", s.out_dtype, Access::Write);

    let b = &mut m.b;
    let group = b.builtin(Builtin::GroupId(0));
    let lane = b.builtin(Builtin::LocalId(0));
    let lane = b.cast(Elem::Idx, lane);
    let start = b.bits(Type::scalar(work), neutral(s.op, work));
    let zero = b.idx(0);
    let (row, first, end, start) = match (schedule, split) {
        (Schedule::Along, _) => {
            let width = b.idx(lanes as u64);
            let base = b.mul(group, width);
            (b.add(base, lane), zero, len_v, start)
        }
        (Schedule::Across, None) => (group, zero, len_v, start),
        (Schedule::Across, Some((parts, piece, before))) => {
            let part = b.binary(BinaryOp::Rem, group, parts);
            let first = b.mul(part, piece);
            let end = b.add(first, piece);
            let end = b.binary(BinaryOp::Min, end, len_v);
            let start = b.load(Place::Buffer(before), group);
            (b.binary(BinaryOp::Div, group, parts), first, end, start)
        }
    };
    if let Some(count) = count {
        let inside = b.compare(CmpOp::Lt, row, count);
        b.begin_if(inside);
    }
    let coords = Maker::split_in(b, row, &extents);
    emit.fix(b, &coords);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    let parts = Parts {
        op: s.op,
        exclusive: s.exclusive,
        emit: &emit,
        prologue: s.prologue,
        epilogue: s.epilogue,
        out: &out_args,
        base,
        rows: outer,
        out_buf,
        out_dtype: s.out_dtype,
    };
    match schedule {
        Schedule::Along => {
            along(b, &parts, first, end, start);
            b.end_if();
        }
        Schedule::Across => {
            // The chunk and the lanes' totals take at most half of the shared memory.
            let fits = max_shared / 2 / (lanes * work.size() as u32).max(1);
            let own = OWN.min(fits.saturating_sub(1)).max(1);
            across(b, &parts, [first, end, lane], start, lanes, own, work);
        }
    }
    let grid = match schedule {
        Schedule::Across => rows * s.parts.max(1),
        Schedule::Along => rows.div_ceil(lanes as usize),
    };
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: grid as u64 })
}

/// This lane's row, element by element.
fn along(b: &mut Builder, p: &Parts<'_>, first: Value, end: Value, start: Value) {
    let so_far = b.var("so_far", start);
    let one = b.idx(1);
    let c = b.begin_for(first, end, one, Unroll::Auto);
    let x = p.emit.eval(b, p.prologue, &[c], None);
    let before = b.get(so_far);
    let with = p.join(b, before, x);
    b.set(so_far, with);
    p.store(b, c, if p.exclusive { before } else { with });
    b.end_for();
}

/// The workgroup's row, chunk by chunk.
fn across(
    b: &mut Builder,
    p: &Parts<'_>,
    [first, end, lane]: [Value; 3],
    start: Value,
    lanes: u32,
    own: u32,
    work: DType,
) {
    let chunk = Place::Shared(b.shared("chunk", work, lanes * own));
    let totals = Place::Shared(b.shared("totals", work, lanes));
    let neutral = b.bits(Type::scalar(work), neutral(p.op, work));
    let carry = b.var("carry", start);
    let width = b.idx(lanes as u64);
    let step = b.idx((lanes * own) as u64);
    let own_count = b.idx(own as u64);
    let mine = b.mul(lane, own_count);
    let mine_end = b.add(mine, own_count);
    let one = b.idx(1);
    let at = b.begin_for(first, end, step, Unroll::Never);

    // In: neighbouring lanes read neighbouring elements.
    let i = b.begin_for(lane, step, width, Unroll::Never);
    let column = b.add(at, i);
    let inside = b.compare(CmpOp::Lt, column, end);
    b.begin_if(inside);
    let x = p.emit.eval(b, p.prologue, &[column], None);
    b.store(chunk, i, x);
    b.begin_else();
    b.store(chunk, i, neutral);
    b.end_if();
    b.end_for();
    b.barrier();

    // This lane's elements lie side by side.
    let total = b.var("total", neutral);
    let i = b.begin_for(mine, mine_end, one, Unroll::Never);
    let x = b.load(chunk, i);
    let t = b.get(total);
    let t = p.join(b, t, x);
    b.set(total, t);
    b.end_for();
    let t = b.get(total);
    b.store(totals, lane, t);
    b.barrier();
    let back = b.var("back", one);
    b.begin_while();
    let by = b.get(back);
    let more = b.compare(CmpOp::Lt, by, width);
    b.while_cond(more);
    let by = b.get(back);
    let reaches = b.compare(CmpOp::Ge, lane, by);
    b.begin_if(reaches);
    let other = b.sub(lane, by);
    let x = b.load(totals, other);
    let t = b.get(total);
    let t = p.join(b, x, t);
    b.set(total, t);
    b.end_if();
    b.barrier();
    let t = b.get(total);
    b.store(totals, lane, t);
    b.barrier();
    let twice = b.add(by, by);
    b.set(back, twice);
    b.end_while();

    // What lies in front of this lane's elements: what was carried, and the lanes before.
    let carried = b.get(carry);
    let so_far = b.var("so_far", carried);
    let zero = b.idx(0);
    let not_first = b.compare(CmpOp::Gt, lane, zero);
    b.begin_if(not_first);
    let previous = b.sub(lane, one);
    let x = b.load(totals, previous);
    let x = p.join(b, carried, x);
    b.set(so_far, x);
    b.end_if();
    let i = b.begin_for(mine, mine_end, one, Unroll::Never);
    let x = b.load(chunk, i);
    let before = b.get(so_far);
    let with = p.join(b, before, x);
    b.set(so_far, with);
    b.store(chunk, i, if p.exclusive { before } else { with });
    b.end_for();
    let all = b.idx(lanes as u64 - 1);
    let all = b.load(totals, all);
    let next = p.join(b, carried, all);
    b.set(carry, next);
    b.barrier();

    // Out.
    let i = b.begin_for(lane, step, width, Unroll::Never);
    let column = b.add(at, i);
    let inside = b.compare(CmpOp::Lt, column, end);
    b.begin_if(inside);
    let v = b.load(chunk, i);
    p.store(b, column, v);
    b.end_if();
    b.end_for();
    b.barrier();
    b.end_for();
}
