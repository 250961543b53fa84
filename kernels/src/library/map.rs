//! Elementwise: one result element per lane, or a few neighbours, any fused expression, any strides.

use super::{
    Body, Lanes, Made, Map,
    body::{Id, merge},
    emit::{Along, Emit, Maker, MapArgs},
    walk::{self, owned, widen},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builtin, CmpOp, Place, Value},
};

/// Below this many elements along the last axis, a row per workgroup wastes lanes: the index is taken apart per lane instead.
const SHORT_ROW: usize = 32;

/// Writes `body.exprs[root]` over the space `dims` to where `out` says. Bindings: slots, output.
pub fn map(mut body: Body, root: Id, dims: &[usize], out: Map, dtype: DType, lanes: Lanes) -> Result<Made> {
    if lanes.vector > 1 {
        return walk::map(body, root, dims, out, dtype, lanes.vector);
    }
    body.maps.push(out);
    let (dims, _) = merge(dims, &mut body.maps, &[]);
    let out = body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    let total: usize = dims.iter().product();
    let cols = dims.last().copied().unwrap_or(1);
    let by_row = dims.len() > 1 && cols >= SHORT_ROW;
    let last = dims.len().saturating_sub(1);
    let own = match by_row || dims.len() == 1 {
        true => owned(&body, &[root], &out, last, cols, dtype, lanes.own),
        false => 1,
    };
    let lanes = Lanes { own, ..lanes };
    let lanes = if by_row { lanes.along(cols) } else { lanes.flat(total) };
    let wide = lanes as usize * own as usize;
    let mut m = Maker::owning("map", lanes, own);
    let mut emit = Emit::declare(&mut m, &body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let extents: Vec<_> = dims.iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();

    let grid;
    let (outer, inner, inside);
    if by_row {
        // A workgroup per piece of a row: outer coordinates are the same for all its lanes.
        let chunks = cols.div_ceil(wide);
        grid = (total / cols * chunks) as u64;
        let chunks = m.extent("chunks", chunks);
        let group = m.b.builtin(Builtin::GroupId(0));
        let row = m.b.binary(BinaryOp::Div, group, chunks);
        let chunk = m.b.binary(BinaryOp::Rem, group, chunks);
        outer = m.split(row, &extents[..dims.len() - 1]);
        let width = m.b.idx(wide as u64);
        let start = m.b.mul(chunk, width);
        let lane = m.b.builtin(Builtin::LocalId(0));
        let lane = m.b.cast(anychip_hal::ir::Elem::Idx, lane);
        let lane = neighbours(&mut m, lane, own);
        let col = m.b.add(start, lane);
        inside = m.b.compare(CmpOp::Lt, col, extents[dims.len() - 1]);
        inner = vec![col];
        emit.fix(&mut m.b, &outer);
    } else {
        grid = total.div_ceil(wide) as u64;
        let i = m.b.builtin(Builtin::GlobalId(0));
        let i = neighbours(&mut m, i, own);
        let n = match extents.len() {
            1 => extents[0],
            _ => m.extent("total", total),
        };
        inside = m.b.compare(CmpOp::Lt, i, n);
        inner = m.split(i, &extents);
        outer = vec![];
    }
    let out_buf = m.buffer("out", dtype, Access::Write);
    m.b.begin_if(inside);
    let along = (own > 1).then_some(Along { axis: last, width: own });
    let v = emit.eval_along(&mut m.b, root, &inner, None, along);
    let v = m.b.cast(dtype, v);
    let v = widen(&mut m.b, v, own);
    let base = out_args.index(&mut m.b, out_args.origin(), 0, &outer);
    let at = out_args.index(&mut m.b, base, outer.len(), &inner);
    let at = match at {
        Some(at) => at,
        None => m.b.idx(0),
    };
    m.b.store(Place::Buffer(out_buf), at, v);
    m.b.end_if();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid })
}

/// The first of the neighbours that a lane takes.
pub(super) fn neighbours(m: &mut Maker, lane: Value, own: u8) -> Value {
    match own {
        1 => lane,
        n => {
            let n = m.b.idx(u64::from(n));
            m.b.mul(lane, n)
        }
    }
}
