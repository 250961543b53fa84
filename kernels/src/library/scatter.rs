//! Updates to computed places of an axis, without atomics: the ids were sorted before (see [`super::sort`]), so that each element
//! of the result finds its updates by bisection and takes the last of them, or joins them in their order. The same on every chip.

use super::{
    Body, Lanes, Made, Map,
    body::{Id, merge},
    emit::{Emit, Maker, MapArgs, compute_type},
    reduce::combining,
    sort::{key, position, words_below},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builtin, CmpOp, Elem, Place, ReduceOp},
};

/// A scatter with what is fused around it.
pub struct Scatter {
    /// How updates join what is there; `None`: the last one replaces it.
    pub reduce: Option<ReduceOp>,
    /// Expressions; `Anchor` in the epilogue is the result of the scatter.
    pub body: Body,
    /// What is there.
    pub x: Id,
    /// The updates, over the space with another extent of the axis.
    pub updates: Id,
    /// The result.
    pub epilogue: Id,
    /// The space: the shape of what is there.
    pub dims: Vec<usize>,
    /// The axis.
    pub axis: usize,
    /// Updates along the axis, not 0.
    pub count: usize,
    /// Where a row of sorted words begins; 0 along the axis.
    pub rows: Map,
    /// Where the result goes.
    pub out: Map,
    /// Type of what is there.
    pub dtype: DType,
    /// Type of the result.
    pub out_dtype: DType,
}

/// Makes the kernel. Bindings: slots, sorted words, output.
pub fn scatter(mut s: Scatter, lanes: Lanes) -> Result<Made> {
    s.body.maps.push(s.rows.clone());
    s.body.maps.push(s.out.clone());
    // The axis stays an axis of its own even where it has one element: updates have more.
    let mut dims = s.dims.clone();
    dims[s.axis] = dims[s.axis].max(2);
    let (mut dims, cuts) = merge(&dims, &mut s.body.maps, &[s.axis, s.axis + 1]);
    let axis = cuts.first().copied().unwrap_or(0);
    dims[axis] = s.dims[s.axis];
    let nowhere = || Map { strides: vec![], offset: 0 };
    let out = s.body.maps.pop().unwrap_or_else(nowhere);
    let rows = s.body.maps.pop().unwrap_or_else(nowhere);
    let total: usize = dims.iter().product();
    let lanes = lanes.flat(total);
    let mut m = Maker::new("scatter", lanes);
    let emit = Emit::declare(&mut m, &s.body);
    let row_args = MapArgs::declare(&mut m, "row", &rows);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let extents: Vec<_> = dims.iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let total_v = m.extent("total", total);
    let count = m.extent("count", s.count);
    let top = m.extent("top", s.count.next_power_of_two());
    let words = Place::Buffer(m.b.buffer("words", DType::U64, Access::Read));
    let out_buf = m.b.buffer("out", s.out_dtype, Access::Write);

    let b = &mut m.b;
    let i = b.builtin(Builtin::GlobalId(0));
    let inside = b.compare(CmpOp::Lt, i, total_v);
    b.begin_if(inside);
    let coords = Maker::split_in(b, i, &extents);
    let base = row_args.index(b, row_args.origin(), 0, &coords);
    let place = b.cast(DType::U32, coords[axis]);
    let one = b.idx(1);
    let zero = b.idx(0);
    let x = emit.eval(b, s.x, &coords, None);
    let result = b.var("result", x);
    let update = |b: &mut anychip_hal::ir::Builder, word| {
        let at = position(b, word);
        let mut coords = coords.clone();
        coords[axis] = b.cast(Elem::Idx, at);
        emit.eval(b, s.updates, &coords, None)
    };
    let word_at = |b: &mut anychip_hal::ir::Builder, k| {
        let at = match base {
            Some(base) => b.add(base, k),
            None => k,
        };
        b.load(words, at)
    };
    // The first word of this place, or of the next one.
    let wanted = match s.reduce {
        Some(_) => coords[axis],
        None => b.add(coords[axis], one),
    };
    let wanted = b.cast(DType::U64, wanted);
    let by = b.integer(DType::U64, 32);
    let wanted = b.binary(BinaryOp::Shl, wanted, by);
    let found = words_below(b, words, base, [count, top], wanted);
    match s.reduce {
        None => {
            let any = b.compare(CmpOp::Gt, found, zero);
            b.begin_if(any);
            let last = b.sub(found, one);
            let word = word_at(b, last);
            let id = key(b, word);
            let mine = b.compare(CmpOp::Eq, id, place);
            b.begin_if(mine);
            let v = update(b, word);
            b.set(result, v);
            b.end_if();
            b.end_if();
        }
        Some(op) => {
            let last = b.sub(count, one);
            let next = b.var("next", found);
            b.begin_while();
            let k = b.get(next);
            let inside = b.compare(CmpOp::Lt, k, count);
            let at = b.binary(BinaryOp::Min, k, last);
            let word = word_at(b, at);
            let id = key(b, word);
            let mine = b.compare(CmpOp::Eq, id, place);
            let more = b.binary(BinaryOp::And, inside, mine);
            b.while_cond(more);
            let v = update(b, word);
            let r = b.get(result);
            let r = b.binary(combining(op), r, v);
            b.set(result, r);
            let k = b.get(next);
            let k = b.add(k, one);
            b.set(next, k);
            b.end_while();
        }
    }
    // Rounded as the tensor is, before what is fused behind.
    let r = b.get(result);
    let r = b.cast(s.dtype, r);
    let r = b.cast(compute_type(s.dtype), r);
    let y = emit.eval(b, s.epilogue, &coords, Some(r));
    let y = b.cast(s.out_dtype, y);
    let at = match out_args.index(b, out_args.origin(), 0, &coords) {
        Some(at) => at,
        None => zero,
    };
    b.store(Place::Buffer(out_buf), at, y);
    b.end_if();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: total.div_ceil(lanes as usize) as u64 })
}
