//! Sum, product, minimum, maximum, all, any over any axes, with any fused expression before and after.
//!
//! Two schedules. *Across*: a workgroup per result, its lanes walk the reduced axes; for few results the reduced axes are split over
//! several workgroups and a second launch joins the parts. *Along*: a lane per result walks the reduced axes alone, when neighbours
//! of the result lie side by side in memory and neighbours of the reduction do not.

use super::{
    Body, Lanes, Made, Map,
    body::{Id, merge},
    emit::{Along, Emit, Maker, MapArgs, compute_type, vector_width},
    walk::{self, join, widen},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Place, ReduceOp, Value, VarId},
};

/// A reduction with what is fused around it.
#[derive(Debug, Clone)]
pub struct Reduce {
    /// What.
    pub op: ReduceOp,
    /// Expressions; `Anchor` in the epilogue is the result of the reduction.
    pub body: Body,
    /// The operand.
    pub prologue: Id,
    /// The result.
    pub epilogue: Id,
    /// The space: kept axes, then reduced ones.
    pub dims: Vec<usize>,
    /// How many axes are kept.
    pub kept: usize,
    /// Where the result goes; strides of reduced axes are 0.
    pub out: Map,
    /// Type of the operand.
    pub dtype: DType,
    /// Type of the result.
    pub out_dtype: DType,
    /// Workgroups per result, 1 unless the reduction is one of two launches; part p takes the p-th piece of the reduced axes.
    /// With more than one, the epilogue must be the anchor and results lie at `result · parts + p`.
    pub parts: usize,
}

/// How a reduction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Schedule {
    /// A workgroup per result.
    Across,
    /// A lane per result.
    Along,
}

/// The neutral element's bits.
pub fn neutral(op: ReduceOp, dtype: DType) -> u64 {
    use anychip_hal::ir::build::encode_f64;
    let d = Elem::D(dtype);
    match op {
        ReduceOp::Sum | ReduceOp::Or | ReduceOp::Xor => 0,
        ReduceOp::Prod => encode_f64(d, 1.0),
        ReduceOp::And => match dtype {
            DType::Bool => 1,
            d => u64::MAX >> (64 - 8 * d.size()),
        },
        ReduceOp::Min if dtype.is_float() => encode_f64(d, f64::INFINITY),
        ReduceOp::Max if dtype.is_float() => encode_f64(d, f64::NEG_INFINITY),
        ReduceOp::Min | ReduceOp::Max => {
            let bits = 8 * dtype.size() as u32;
            let ones = u64::MAX >> (64 - bits);
            match (op == ReduceOp::Max, dtype.is_signed()) {
                (false, true) => ones >> 1,
                (false, false) => ones,
                (true, true) => 1 << (bits - 1),
                (true, false) => 0,
            }
        }
    }
}

/// The operation that joins two parts.
pub fn combining(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Min => BinaryOp::Min,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::And => BinaryOp::And,
        ReduceOp::Or => BinaryOp::Or,
        ReduceOp::Xor => BinaryOp::Xor,
    }
}

fn combine(b: &mut Builder, op: ReduceOp, var: VarId, x: Value) {
    let s = b.get(var);
    let s = b.binary(combining(op), s, x);
    b.set(var, s);
}

/// Makes the kernel. Bindings: slots, output.
pub fn reduce(mut r: Reduce, schedule: Schedule, lanes: Lanes) -> Result<Made> {
    if lanes.vector > 1 {
        let made = match schedule {
            Schedule::Across => walk::reduce::across(r.clone(), lanes.vector)?,
            Schedule::Along => walk::reduce::along(r.clone(), lanes.vector)?,
        };
        if let Some(made) = made {
            return Ok(made);
        }
    }
    r.body.maps.push(r.out.clone());
    let (dims, cuts) = merge(&r.dims, &mut r.body.maps, &[r.kept]);
    let out = r.body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    let kept = cuts.first().copied().unwrap_or(0);
    let results: usize = dims[..kept].iter().product();
    let reduced: usize = dims[kept..].iter().product();
    let work = compute_type(r.dtype);
    let last = dims.len().saturating_sub(1);
    let piece = reduced.div_ceil(r.parts.max(1));
    // Neighbours along the reduced axis, where no part ends within them.
    let own = match schedule {
        Schedule::Across if dims.len() == kept + 1 && lanes.own > 1 && reduced.is_multiple_of(lanes.own as usize) => {
            vector_width(&r.body, &[r.prologue], last, lanes.own)
        }
        _ => 1,
    };
    let piece = piece.next_multiple_of(own as usize);
    let lanes = Lanes { own, ..lanes };
    let lanes = match schedule {
        Schedule::Across => lanes.along(reduced.div_ceil(r.parts.max(1))),
        Schedule::Along => lanes.flat(results),
    };
    let mut m = Maker::owning("reduce", lanes, own);
    let mut emit = Emit::declare(&mut m, &r.body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let kept_extents: Vec<_> = dims[..kept].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let red_extents: Vec<_> = dims[kept..].iter().enumerate().map(|(i, &n)| m.extent(&format!("r{i}"), n)).collect();
    let total = match red_extents.len() {
        1 => red_extents[0],
        _ => m.extent("reduced", reduced),
    };
    let split = (r.parts > 1).then(|| {
        let parts = m.extent("parts", r.parts);
        (parts, m.stride("piece", piece))
    });
    let count = match schedule {
        Schedule::Across => None,
        Schedule::Along => Some(m.extent("results", results)),
    };
    let out_buf = m.buffer("out", r.out_dtype, Access::Write);
    let b = &mut m.b;
    let group = b.builtin(Builtin::GroupId(0));
    let lane = b.builtin(Builtin::LocalId(0));
    let lane = b.cast(Elem::Idx, lane);
    let width = b.idx(lanes as u64);
    let start = b.bits(anychip_hal::ir::Type::scalar(work), neutral(r.op, work));
    let wide = widen(b, start, own);
    let acc = b.var("acc", wide);
    let each = b.idx(u64::from(own));
    let mine = b.mul(lane, each);
    let stride = b.mul(width, each);
    let zero = b.idx(0);
    let one = b.idx(1);

    // Which result, and which part of the reduced axes.
    let (result, first, end, step) = match (schedule, split) {
        (Schedule::Across, None) => (group, mine, total, stride),
        (Schedule::Across, Some((parts, piece))) => {
            let part = b.binary(BinaryOp::Rem, group, parts);
            let begin = b.mul(part, piece);
            let first = b.add(begin, mine);
            let end = b.add(begin, piece);
            let end = b.binary(BinaryOp::Min, end, total);
            (b.binary(BinaryOp::Div, group, parts), first, end, stride)
        }
        (Schedule::Along, _) => {
            let base = b.mul(group, width);
            (b.add(base, lane), zero, total, one)
        }
    };
    if let Some(count) = count {
        let inside = b.compare(CmpOp::Lt, result, count);
        b.begin_if(inside);
    }
    let coords = Maker::split_in(b, result, &kept_extents);
    emit.fix(b, &coords);
    let i = b.begin_for(first, end, step, anychip_hal::ir::Unroll::Auto);
    let inner = Maker::split_in(b, i, &red_extents);
    let along = (own > 1).then_some(Along { axis: last, width: own });
    let x = emit.eval_along(b, r.prologue, &inner, None, along);
    let x = widen(b, x, own);
    combine(b, r.op, acc, x);
    b.end_for();
    let mut v = join(b, combining(r.op), &[acc], None);
    if schedule == Schedule::Across {
        v = b.group_reduce(r.op, v);
        let leader = b.compare(CmpOp::Eq, lane, zero);
        b.begin_if(leader);
    }
    // Reduced axes do not appear in the epilogue's maps: their strides are 0.
    let y = emit.eval(b, r.epilogue, &[], Some(v));
    let y = b.cast(r.out_dtype, y);
    let at = match split {
        Some(_) => group,
        None => match out_args.index(b, out_args.origin(), 0, &coords) {
            Some(at) => at,
            None => zero,
        },
    };
    b.store(Place::Buffer(out_buf), at, y);
    b.end_if();
    let grid = match schedule {
        Schedule::Across => results * r.parts.max(1),
        Schedule::Along => results.div_ceil(lanes as usize),
    };
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: grid as u64 })
}
