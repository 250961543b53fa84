//! Reductions by one lane: across, it walks the reduced axes of its results by vectors; along, a vector of results walks them.

use super::{PIECE, Piece, Stride, fitting, rows::join, width};
use crate::library::{
    Made, Map,
    body::merge,
    emit::{Along, Emit, Maker, MapArgs, compute_type, vector_width},
    reduce::{Reduce, combining, neutral},
};
use anychip_hal::{
    Result,
    ir::{Access, BinaryOp, Builder, Builtin, Place, Type, Unroll, Value, VarId},
};

/// Parts of a long walk that are read side by side. A core's prefetcher follows several streams and stops at each one's page: one
/// alone reached 21 GB/s on two cores, four 30, eight 31 (PoCL, 2²⁴ elements, vectors of 8).
const STREAMS: usize = 8;

/// The space after merging, and what the kernel declares for it.
struct Space {
    dims: Vec<usize>,
    kept: usize,
    out: Map,
}

fn space(r: &mut Reduce) -> Space {
    r.body.maps.push(r.out.clone());
    let (mut dims, cuts) = merge(&r.dims, &mut r.body.maps, &[r.kept]);
    let kept = cuts.first().copied().unwrap_or(0);
    if dims.len() == kept {
        // Every reduced axis had one element: one is put back.
        dims.push(1);
        r.body.maps.iter_mut().for_each(|m| m.strides.push(0));
    }
    let out = r.body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    Space { dims, kept, out }
}

/// A lane per result. Bindings: slots, output. `None`: a piece of several reduced axes is not a piece of one.
pub fn across(mut r: Reduce, vector: u8) -> Result<Option<Made>> {
    let Space { dims, kept, out } = space(&mut r);
    let last = dims.len() - 1;
    let cols = dims[last];
    let outer: usize = dims[kept..last].iter().product();
    let results: usize = dims[..kept].iter().product();
    if r.parts > 1 && outer > 1 {
        return Ok(None);
    }
    let work = compute_type(r.dtype);
    let lanes = vector_width(&r.body, &[r.prologue], last, fitting(cols, vector));
    let streams = if r.parts > 1 && lanes > 1 { STREAMS } else { 1 };
    let mut stride = Stride::of(cols, lanes);
    if streams > 1 {
        stride.vectors = 1;
    }
    let mut m = Maker::new("reduce", 1);
    let emit = Emit::declare(&mut m, &r.body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let kept_extents: Vec<_> = dims[..kept].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let red_extents: Vec<_> =
        dims[kept..last].iter().enumerate().map(|(i, &n)| m.extent(&format!("r{i}"), n)).collect();
    let cols_v = m.extent("cols", cols);
    let outer_v = m.extent("outer", outer);
    let split = (r.parts > 1).then(|| {
        let piece = cols.div_ceil(r.parts).next_multiple_of(super::ROUND);
        (m.extent("parts", r.parts), m.extent("piece", piece))
    });
    let tall = if r.parts > 1 { 1 } else { (PIECE / (cols * outer).max(1)).clamp(1, results.max(1)) };
    let results_v = m.extent("results", results * r.parts.max(1));
    let tall_v = m.extent("tall", tall);
    let out_buf = m.b.buffer("out", r.out_dtype, Access::Write);
    let b = &mut m.b;
    let group = b.builtin(Builtin::GroupId(0));
    let begin = b.mul(group, tall_v);
    let end = b.add(begin, tall_v);
    let end = b.binary(BinaryOp::Min, end, results_v);
    let (zero, one) = (b.idx(0), b.idx(1));
    let i = b.begin_for(begin, end, one, Unroll::Never);
    let (result, span) = match split {
        None => (i, (zero, cols_v)),
        Some((parts, piece)) => {
            let part = b.binary(BinaryOp::Rem, i, parts);
            let first = b.mul(part, piece);
            let past = b.add(first, piece);
            let first = b.binary(BinaryOp::Min, first, cols_v);
            let past = b.binary(BinaryOp::Min, past, cols_v);
            (b.binary(BinaryOp::Div, i, parts), (first, past))
        }
    };
    let coords = Maker::split_in(b, result, &kept_extents);
    let mut emit = emit.inner();
    emit.fix(b, &coords);
    let start = b.bits(Type::scalar(work), neutral(r.op, work));
    let wide = super::widen(b, start, lanes);
    let sums: Vec<VarId> = (0..streams.max(stride.vectors as usize)).map(|v| b.var(&format!("acc{v}"), wide)).collect();
    let rest = (!stride.divisible).then(|| b.var("rest", start));
    let fold = |b: &mut Builder, emit: &Emit<'_>| {
        let take = |b: &mut Builder, col: Value, width: u8, slot: usize| {
            let along = (width > 1).then_some(Along { axis: last, width });
            let x = emit.eval_along(b, r.prologue, &[col], None, along);
            let var = match rest {
                Some(rest) if width == 1 => rest,
                _ => sums[slot],
            };
            let s = b.get(var);
            let s = b.binary(combining(r.op), s, x);
            b.set(var, s);
        };
        let left = if streams > 1 { side_by_side(b, span, (streams, lanes), take) } else { span };
        stride.walk(b, left, take);
    };
    if outer > 1 {
        let o = b.begin_for(zero, outer_v, one, Unroll::Never);
        let coords = Maker::split_in(b, o, &red_extents);
        let mut inner = emit.inner();
        inner.fix(b, &coords);
        fold(b, &inner);
        b.end_for();
    } else {
        let zeros = vec![zero; last - kept];
        let mut inner = emit.inner();
        inner.fix(b, &zeros);
        fold(b, &inner);
    }
    let v = join(b, combining(r.op), &sums, rest);
    // Reduced axes do not appear in the epilogue's maps: their strides are 0.
    let y = emit.eval(b, r.epilogue, &[], Some(v));
    let y = b.cast(r.out_dtype, y);
    let at = match split {
        Some(_) => i,
        None => match out_args.index(b, out_args.origin(), 0, &coords) {
            Some(at) => at,
            None => zero,
        },
    };
    b.store(Place::Buffer(out_buf), at, y);
    b.end_for();
    let grid = (results * r.parts.max(1)).div_ceil(tall) as u64;
    Ok(Some(Made { kernel: m.b.finish()?, scalars: m.scalars, grid }))
}

/// Walks a span in streams of equal length by vectors; what is left over.
fn side_by_side(
    b: &mut Builder,
    (first, past): (Value, Value),
    (streams, width): (usize, u8),
    take: impl Fn(&mut Builder, Value, u8, usize),
) -> (Value, Value) {
    let (zero, step, round) = (b.idx(0), b.idx(width as u64), b.idx(streams as u64 * width as u64));
    let len = b.sub(past, first);
    let rounds = b.binary(BinaryOp::Div, len, round);
    let stream = b.mul(rounds, step);
    let begins: Vec<Value> = (0..streams as u64)
        .map(|n| {
            let n = b.idx(n);
            let far = b.mul(stream, n);
            b.add(first, far)
        })
        .collect();
    let i = b.begin_for(zero, stream, step, Unroll::Auto);
    for (slot, &begin) in begins.iter().enumerate() {
        let col = b.add(begin, i);
        take(b, col, width, slot);
    }
    b.end_for();
    let done = b.mul(rounds, round);
    (b.add(first, done), past)
}

/// A vector of neighbouring results walks the reduced axes. Bindings: slots, output. `None`: there are no kept axes.
pub fn along(mut r: Reduce, vector: u8) -> Result<Option<Made>> {
    let Space { dims, kept, out } = space(&mut r);
    if kept == 0 || r.parts > 1 {
        return Ok(None);
    }
    let (axis, last) = (kept - 1, dims.len() - 1);
    let cols = dims[axis];
    let rows: usize = dims[..axis].iter().product();
    let outer: usize = dims[kept..last].iter().product();
    let reduced = outer * dims[last];
    let work = compute_type(r.dtype);
    let lanes = width(&r.body, &[r.prologue, r.epilogue], &out, axis, cols, r.out_dtype, vector);
    let mut m = Maker::new("reduce", 1);
    let emit = Emit::declare(&mut m, &r.body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let row_extents: Vec<_> = dims[..axis].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let red_extents: Vec<_> = dims[kept..].iter().enumerate().map(|(i, &n)| m.extent(&format!("r{i}"), n)).collect();
    let outer_v = m.extent("outer", outer);
    let piece = Piece::of(&mut m, rows, cols, (PIECE / reduced.max(1)).max(super::ROUND));
    let out_buf = m.b.buffer("out", r.out_dtype, Access::Write);
    let b = &mut m.b;
    let (zero, one) = (b.idx(0), b.idx(1));
    let row = b.begin_for(piece.rows.0, piece.rows.1, one, Unroll::Never);
    let coords = Maker::split_in(b, row, &row_extents);
    let mut emit = emit.inner();
    emit.fix(b, &coords);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    let stride = Stride::of(cols, lanes);
    let round = Stride { width: lanes, vectors: 1, divisible: stride.divisible };
    // A round of several vectors walks the reduced axes once for all of them: whole cache lines are read.
    let several = stride.vectors;
    let body = |b: &mut Builder, col: Value, width: u8, several: u8| {
        let cols_at: Vec<Value> = (0..several)
            .map(|v| {
                let by = b.idx(v as u64 * width as u64);
                if v == 0 { col } else { b.add(col, by) }
            })
            .collect();
        let start = b.bits(Type::scalar(work), neutral(r.op, work));
        let start = super::widen(b, start, width);
        let sums: Vec<VarId> = (0..several).map(|v| b.var(&format!("acc{v}"), start)).collect();
        let along = (width > 1).then_some(Along { axis, width });
        let fixed: Vec<Emit<'_>> = cols_at
            .iter()
            .map(|&c| {
                let mut e = emit.inner();
                e.fix(b, &[c]);
                e
            })
            .collect();
        let o = b.begin_for(zero, outer_v, one, Unroll::Never);
        let outer_coords = Maker::split_in(b, o, &red_extents[..last - kept]);
        let inner: Vec<Emit<'_>> = fixed
            .iter()
            .map(|e| {
                let mut e = e.inner();
                e.fix(b, &outer_coords);
                e
            })
            .collect();
        let i = b.begin_for(zero, red_extents[last - kept], one, Unroll::Auto);
        for (e, &var) in inner.iter().zip(&sums) {
            let x = e.eval_along(b, r.prologue, &[i], None, along);
            let s = b.get(var);
            let s = b.binary(combining(r.op), s, x);
            b.set(var, s);
        }
        b.end_for();
        b.end_for();
        for ((e, &var), &c) in fixed.iter().zip(&sums).zip(&cols_at) {
            let v = b.get(var);
            let y = e.eval_along(b, r.epilogue, &[], Some(v), along);
            let y = b.cast(r.out_dtype, y);
            let y = super::widen(b, y, width);
            let at = match out_args.index(b, base, axis, &[c]) {
                Some(at) => at,
                None => b.idx(0),
            };
            b.store(Place::Buffer(out_buf), at, y);
        }
    };
    if several > 1 {
        let step = b.idx(lanes as u64 * several as u64);
        let col = b.begin_for(piece.cols.0, piece.cols.1, step, Unroll::Never);
        body(b, col, lanes, several);
        b.end_for();
    } else {
        round.walk(b, piece.cols, |b, col, width, _| body(b, col, width, 1));
    }
    b.end_for();
    Ok(Some(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: piece.grid }))
}
