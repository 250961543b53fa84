//! Matrix multiplication by fragments that a whole workgroup holds, out of shared memory, where the products read their operands
//! themselves. Asynchronous copies of its lanes or of the device fill it several stages ahead.
//!
//! A workgroup owns a tile of the result: one fragment high, one or several wide. Lines of the tiles are [`LINE`] bytes, permuted by
//! eights: as units that read shared memory have it. The left operand lies by rows; the right one by columns, or by rows in panels of
//! a line. Extents are any: what lies outside is zero in shared memory and is not stored.

use super::{
    Made, Map,
    boxes::{self, Boxes},
    emit::{Emit, Maker, MapArgs, compute_type},
    fragments::lie,
    matmul::MatMul,
    pipeline::{Pipeline, in_bands, next},
    tiles::{self, Lies, Side, add_c, together},
};
use anychip_hal::{
    DType, Result,
    ir::{
        Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Frag, FragOperand, FragRole, Layout, Op, Place, Scope,
        SharedId, Type, Unroll, Value,
    },
};

/// Bytes of a line.
const LINE: u32 = 128;

/// Whether the operands of a product lie as a schedule reads them.
pub fn reads(p: &Pipeline, size: usize, a: &Map, b: &Map) -> bool {
    let line = LINE / size as u32;
    let lines = p.deep == 1 && u32::from(p.shape[2]) == line;
    let right = match lie(b) {
        Some((_, Layout::ColMajor)) => true,
        Some((_, Layout::RowMajor)) => u32::from(p.shape[1]) == line,
        None => false,
    };
    let boxes = !p.boxes || (boxes::reads(a, size) && boxes::reads(b, size));
    lines && right && boxes && matches!(lie(a), Some((_, Layout::RowMajor)))
}

/// How tiles come to shared memory: the left operand, and the right one by panels.
enum Feed {
    Lanes(Side, Vec<Side>),
    Boxes(Boxes, Boxes),
}

/// Makes the kernel; nothing where operands lie otherwise. Bindings: slots, left, right, output.
pub(super) fn matmul(mm: MatMul, p: Pipeline) -> Result<Option<Made>> {
    let size = mm.dtype.size();
    let (Some((a_far_n, _)), Some((b_far_n, b_layout))) = (lie(&mm.a), lie(&mm.b)) else { return Ok(None) };
    // Measured for operands that lie so; these may not.
    let p = if reads(&p, size, &mm.a, &mm.b) { p } else { Pipeline { boxes: false, ..p } };
    if !reads(&p, size, &mm.a, &mm.b) {
        return Ok(None);
    }
    let axes = mm.dims.len() - 2;
    let (rows_n, cols_n) = (mm.dims[axes], mm.dims[axes + 1]);
    let batch: usize = mm.dims[..axes].iter().product();
    let ([height, width, depth], lanes) = (p.tile(), p.lanes());
    let of_fragment = u32::from(p.shape[1]);
    let by_columns = b_layout == Layout::ColMajor;
    let (a_copy, b_copy) = (together(&mm.a, size, depth), together(&mm.b, size, depth));
    let mut m = Maker::owning("matmul_wide", lanes, a_copy.max(b_copy) as u8);
    let mut emit = Emit::declare(&mut m, &mm.body);
    let a_args = MapArgs::declare(&mut m, "a", &mm.a);
    let b_args = MapArgs::declare(&mut m, "b", &mm.b);
    let out_args = MapArgs::declare(&mut m, "out", &mm.out);
    let batch_extents: Vec<_> =
        mm.dims[..axes].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let rows_v = m.extent("rows", rows_n);
    let cols_v = m.stride("cols", cols_n);
    let k_v = m.extent("k", mm.k);
    let rounds = m.word("rounds", mm.k.div_ceil(depth as usize) as u32);
    let (tiles_m, tiles_n) = (rows_n.div_ceil(height as usize), cols_n.div_ceil(width as usize));
    let (tiles_m_v, tiles_n_v) = (m.extent("tiles_m", tiles_m), m.extent("tiles_n", tiles_n));
    let (a_far, b_far) = (m.stride("a_far", a_far_n), m.stride("b_far", b_far_n));
    let of_boxes = p.boxes.then(|| m.b.shared("slots", DType::U64, p.stages));
    let a_tiles = m.b.shared("a_tiles", mm.dtype, height * depth * p.stages);
    let b_tiles = m.b.shared("b_tiles", mm.dtype, width * depth * p.stages);
    let (batches, swizzle) = (&mm.dims[..axes], tiles::swizzle(LINE));
    let boxed = of_boxes.map(|slots| {
        let lies = |map, lines, far, size| boxes::Lies { map, batch: batches, lines, far, size, swizzle };
        let a = lies(&mm.a, [rows_n, mm.k], a_far_n, [height, depth]);
        let b = match by_columns {
            true => lies(&mm.b, [cols_n, mm.k], b_far_n, [of_fragment, depth]),
            false => lies(&mm.b, [mm.k, cols_n], b_far_n, [depth, of_fragment]),
        };
        let a = Boxes::declare(&mut m, "a", mm.dtype, &a, a_tiles, slots);
        (a, Boxes::declare(&mut m, "b", mm.dtype, &b, b_tiles, slots))
    });
    let bufs = boxed.is_none().then(|| ["a", "b"].map(|name| m.buffer(name, mm.dtype, Access::Read)));
    let out_buf = m.buffer("out", mm.out_dtype, Access::Write);
    let b = &mut m.b;

    let group = b.builtin(Builtin::GroupId(0));
    let [batch_i, tile_m, tile_n] = in_bands(b, group, [tiles_m_v, tiles_n_v]);
    let coords = Maker::split_in(b, batch_i, &batch_extents);
    emit.fix(b, &coords);
    let (height_v, width_v) = (b.idx(u64::from(height)), b.idx(u64::from(width)));
    let (first_row, first_col) = (b.mul(tile_m, height_v), b.mul(tile_n, width_v));
    let (zero, zero_k, one) = (b.u32(0), b.idx(0), b.u32(1));

    let (a_stage, b_stage) = (b.u32(height * depth), b.u32(width * depth));
    // By columns one tile; by rows a panel of a line for every fragment.
    let panels = if by_columns { 1 } else { width / of_fragment };
    let feed = match (boxed, bufs) {
        (Some((left, right)), _) => Feed::Boxes(left, right),
        (None, Some([a_buf, b_buf])) => {
            let inner_edge = (!mm.k.is_multiple_of(depth as usize)).then_some(k_v);
            let lane = b.builtin(Builtin::LocalId(0));
            let (sized, of) = (size as u32, lanes);
            let a_base = a_args.index(b, a_args.origin(), 0, &coords);
            let a_base = a_args.index(b, a_base, axes, &[first_row, zero_k]).unwrap_or(zero_k);
            let lies = Lies {
                buf: a_buf,
                shared: a_tiles,
                inner: true,
                line: depth,
                lines: height,
                size: sized,
                width: a_copy,
                lanes: of,
            };
            let edge = (!rows_n.is_multiple_of(height as usize)).then_some((first_row, rows_v));
            let left = Side::new(b, lies, (a_base, a_far), lane, edge, inner_edge, true);
            let right = (0..panels).map(|n| {
                let further = b.idx(u64::from(n * of_fragment));
                let col = b.add(first_col, further);
                let base = b_args.index(b, b_args.origin(), 0, &coords);
                let base = b_args.index(b, base, axes, &[zero_k, col]).unwrap_or(zero_k);
                let (line, lines) = if by_columns { (depth, width) } else { (of_fragment, depth) };
                let lies = Lies {
                    buf: b_buf,
                    shared: b_tiles,
                    inner: by_columns,
                    line,
                    lines,
                    size: sized,
                    width: b_copy,
                    lanes: of,
                };
                let edge = (!cols_n.is_multiple_of(width as usize)).then_some((col, cols_v));
                Side::new(b, lies, (base, b_far), lane, edge, inner_edge, true)
            });
            let right = right.collect();
            Feed::Lanes(left, right)
        }
        (None, None) => return Ok(None),
    };
    let panel = width * depth / panels;
    let fill = |b: &mut Builder, stage: Value, round: Value| {
        let deep = b.idx(u64::from(depth));
        let k = b.cast(Elem::Idx, round);
        let k = b.mul(k, deep);
        let (a_at, b_at) = (b.mul(stage, a_stage), b.mul(stage, b_stage));
        match &feed {
            Feed::Lanes(left, right) => {
                left.fill(b, a_at, k);
                for (n, side) in right.iter().enumerate() {
                    let at = add_c(b, b_at, n as u32 * panel);
                    side.fill(b, at, k);
                }
            }
            Feed::Boxes(left, right) => {
                left.copy(b, stage, a_at, &coords, [first_row, k]);
                // A fragment's lines each.
                for n in 0..p.cols {
                    let to = add_c(b, b_at, n * of_fragment * depth);
                    let further = b.idx(u64::from(n * of_fragment));
                    let col = b.add(first_col, further);
                    right.copy(b, stage, to, &coords, if by_columns { [col, k] } else { [k, col] });
                }
                b.effect(Op::TileCommit { bars: left.bars, slot: stage });
            }
        }
    };
    // Copies of lanes are closed in every round, there or not.
    let close = |b: &mut Builder| {
        if let Feed::Lanes(..) = feed {
            b.effect(Op::CopyCommit);
        }
    };

    let [fm, fn_, fk] = p.shape;
    let sums = Type::Frag(Frag { role: FragRole::Acc, m: fm, n: fn_, k: fk, elem: p.acc, scope: Scope::Workgroup });
    let nothing = b.number(p.acc, 0.0);
    let empty = b.define(sums, Op::FragFill(nothing));
    let acc: Vec<_> = (0..p.cols).map(|c| b.var(&format!("acc_{c}"), empty)).collect();
    for n in 0..p.stages - 1 {
        let n = b.u32(n);
        let exists = b.compare(CmpOp::Lt, n, rounds);
        b.when(exists, |b| fill(b, n, n));
        close(b);
    }
    let ahead = b.u32(p.stages - 1);
    let (read, write) = (b.var("read", zero), b.var("write", ahead));
    let round = b.begin_for(zero, rounds, one, Unroll::Never);
    let stage = b.get(read);
    match &feed {
        Feed::Lanes(..) => b.effect(Op::CopyWait(p.stages - 2)),
        Feed::Boxes(left, _) => {
            let stages = b.u32(p.stages);
            let turn = b.binary(BinaryOp::Div, round, stages);
            let parity = b.binary(BinaryOp::And, turn, one);
            b.effect(Op::TileWait { bars: left.bars, slot: stage, parity });
        }
    }
    b.barrier();
    let (a_at, b_at) = (b.mul(stage, a_stage), b.mul(stage, b_stage));
    let stride = b.u32(depth);
    let tile =
        |shared: SharedId, index: Value, layout: Layout| FragOperand::Tile { shared, index, stride, layout, swizzle };
    for (c, &var) in acc.iter().enumerate() {
        // Both ways the operands of a fragment are so many whole lines.
        let index = add_c(b, b_at, c as u32 * of_fragment * depth);
        let before = b.get(var);
        let (x, y) = (tile(a_tiles, a_at, Layout::RowMajor), tile(b_tiles, index, b_layout));
        let sum = b.define(sums, Op::FragMma { a: x, b: y, acc: before });
        b.set(var, sum);
    }
    // While the products run.
    let coming = b.add(round, ahead);
    let exists = b.compare(CmpOp::Lt, coming, rounds);
    b.when(exists, |b| {
        let stage = b.get(write);
        fill(b, stage, coming);
    });
    close(b);
    next(b, read, p.stages);
    next(b, write, p.stages);
    b.end_for();
    if let Feed::Lanes(..) = feed {
        b.effect(Op::CopyWait(0));
    }

    let out_base = out_args.index(b, out_args.origin(), 0, &coords);
    for (c, &var) in acc.iter().enumerate() {
        let sum = b.get(var);
        let (row, col, x) = b.begin_each(sum);
        let col = add_c(b, col, c as u32 * of_fragment);
        let (row, col) = (b.cast(Elem::Idx, row), b.cast(Elem::Idx, col));
        let (row, col) = (b.add(first_row, row), b.add(first_col, col));
        let is_row = b.compare(CmpOp::Lt, row, rows_v);
        let is_col = b.compare(CmpOp::Lt, col, cols_v);
        let inside = b.binary(BinaryOp::And, is_row, is_col);
        b.begin_if(inside);
        let x = b.cast(compute_type(mm.sums), x);
        let y = emit.eval(b, mm.epilogue, &[row, col], Some(x));
        let y = b.cast(mm.out_dtype, y);
        let at = out_args.index(b, out_base, axes, &[row, col]).unwrap_or(zero_k);
        b.store(Place::Buffer(out_buf), at, y);
        b.end_if();
        b.end_each();
    }
    Ok(Some(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * tiles_m * tiles_n) as u64 }))
}
