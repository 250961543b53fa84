//! Matrix multiplication by fragments out of shared memory, which asynchronous copies fill several stages ahead.
//!
//! A workgroup owns a tile of the result, each of its subgroups a part of it. Operands may lie by rows or by columns; extents are
//! any: what lies outside is zero in shared memory and is not stored. Copies are as wide as strides and offsets allow. Where the
//! legaliser lowers fragments, the workgroup is one subgroup and takes the parts one after another.

use super::{
    Made, Map,
    emit::{Along, Emit, Maker, MapArgs, compute_type, vector_width},
    fragments::{lie, readable},
    matmul::MatMul,
    tiles::{Lies, Side, add_c, together},
    wide,
};
use anychip_hal::{
    DType, Result,
    info::FragmentShape,
    ir::{
        Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Frag, FragOperand, FragRole, Layout, Op, Place, Scope, Type,
        Unroll, Value, VarId,
    },
};
use serde::{Deserialize, Serialize};

/// A schedule: tiles, subgroups, stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pipeline {
    /// Rows, columns and inner extent of one product of fragments.
    pub shape: [u16; 3],
    /// Type of the sums.
    pub acc: DType,
    /// Fragments of a subgroup, one below the other.
    pub rows: u32,
    /// Fragments of a subgroup, side by side.
    pub cols: u32,
    /// Subgroups of a workgroup, one below the other.
    pub down: u32,
    /// Subgroups of a workgroup, side by side.
    pub across: u32,
    /// Products of a stage, one behind the other along the inner extent.
    pub deep: u32,
    /// Stages of shared memory: one is read while the others are filled.
    pub stages: u32,
    /// Lanes of a subgroup.
    pub subgroup: u32,
    /// Tiles are read by permuted rows, so that shared memory's banks are all used at once.
    pub swizzled: bool,
    /// A fragment is the whole workgroup's, and products read their operands where they are shared: [`super::wide`]. `subgroup` is then
    /// all its lanes.
    #[serde(default)]
    pub wide: bool,
    /// The device copies the tiles as [`super::boxes`]; else lanes do. Of wide ones only.
    #[serde(default)]
    pub boxes: bool,
}

/// Rows of tiles that are worked on together, so that they share what they read through the device's cache.
const BAND: u64 = 8;

impl Pipeline {
    /// A schedule of one of the device's shapes.
    pub fn of(
        shape: &FragmentShape,
        [rows, cols]: [u32; 2],
        [down, across]: [u32; 2],
        [deep, stages]: [u32; 2],
    ) -> Pipeline {
        let (acc, of) = (shape.acc, [shape.m, shape.n, shape.k]);
        let (subgroup, wide) = (32 * u32::from(shape.subgroups), shape.subgroups > 1);
        Pipeline {
            shape: of,
            acc,
            rows,
            cols,
            down,
            across,
            deep,
            stages,
            subgroup,
            swizzled: true,
            wide,
            boxes: false,
        }
    }

    /// Lanes of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.down * self.across * self.subgroup
    }

    /// Rows, columns and inner extent of a workgroup's tile.
    pub fn tile(&self) -> [u32; 3] {
        let [m, n, k] = self.shape.map(u32::from);
        [self.rows * self.down * m, self.cols * self.across * n, self.deep * k]
    }

    /// Bytes of shared memory, with operands of this type.
    pub fn shared(&self, dtype: DType) -> u64 {
        let [m, n, k] = self.tile().map(u64::from);
        let strip = u64::from(self.shape[0]) * u64::from(self.cols * u32::from(self.shape[1]));
        let strips = strip * u64::from(self.down * self.across) * self.acc.size() as u64;
        let strips = if self.wide { 0 } else { strips };
        // The barriers of boxes, with what aligns the tiles behind them.
        let slots = if self.boxes { 1024 } else { 0 };
        (m + n) * k * u64::from(self.stages) * dtype.size() as u64 + strips + slots
    }

    /// Whether its tiles can be made at all: lines are powers of two, and every stage begins where a permutation does.
    pub fn is_sound(&self) -> bool {
        let [m, n, k] = self.tile();
        [m, n, k].iter().all(|n| n.is_power_of_two() && *n >= 16) && (2..=16).contains(&self.stages)
    }
}

/// A stage's number that goes round.
pub(super) fn next(b: &mut Builder, var: VarId, stages: u32) {
    let (at, one, last, zero) = (b.get(var), b.u32(1), b.u32(stages - 1), b.u32(0));
    let more = b.compare(CmpOp::Lt, at, last);
    let at = b.add(at, one);
    let at = b.select(more, at, zero);
    b.set(var, at);
}

/// Batch, row and column of a workgroup's tile: bands of tiles, each by columns.
pub(super) fn in_bands(b: &mut Builder, group: Value, [tiles_m, tiles_n]: [Value; 2]) -> [Value; 3] {
    let area = b.mul(tiles_m, tiles_n);
    let (batch, tile) = (b.binary(BinaryOp::Div, group, area), b.binary(BinaryOp::Rem, group, area));
    let high = b.idx(BAND);
    let band_area = b.mul(high, tiles_n);
    let (band, in_band) = (b.binary(BinaryOp::Div, tile, band_area), b.binary(BinaryOp::Rem, tile, band_area));
    let first = b.mul(band, high);
    let left = b.sub(tiles_m, first);
    let in_height = b.binary(BinaryOp::Min, left, high);
    let tile_m = b.binary(BinaryOp::Rem, in_band, in_height);
    [batch, b.add(first, tile_m), b.binary(BinaryOp::Div, in_band, in_height)]
}

/// Whether operands lie as a schedule reads them.
pub fn reads(p: &Pipeline, dtype: DType, a: &Map, b: &Map) -> bool {
    if p.wide { wide::reads(p, dtype.size(), a, b) } else { readable(a, b) }
}

/// Makes the kernel; nothing where an operand's rows and columns both lie apart. Bindings: slots, left, right, output.
pub fn matmul(mm: MatMul, p: Pipeline) -> Result<Option<Made>> {
    let (Some((a_far, a_layout)), Some((b_far, b_layout))) = (lie(&mm.a), lie(&mm.b)) else { return Ok(None) };
    if !p.is_sound() {
        return Ok(None);
    }
    if p.wide {
        return wide::matmul(mm, p);
    }
    let axes = mm.dims.len() - 2;
    let (rows_n, cols_n) = (mm.dims[axes], mm.dims[axes + 1]);
    let batch: usize = mm.dims[..axes].iter().product();
    let [height, width, depth] = p.tile();
    let a_inner = a_layout == Layout::RowMajor;
    let b_inner = b_layout == Layout::ColMajor;
    let size = mm.dtype.size();
    let a_line = if a_inner { depth } else { height };
    let b_line = if b_inner { depth } else { width };
    let (a_width, b_width) = (together(&mm.a, size, a_line), together(&mm.b, size, b_line));
    let out_width = match mm.out.strides.last() {
        Some(1) if compute_type(mm.dtype) == DType::F32 && cols_n.is_multiple_of(4) => {
            let most = vector_width(&mm.body, &[mm.epilogue], axes + 1, 4);
            most.min(together(&mm.out, 4, 4).min(4) as u8)
        }
        _ => 1,
    };
    let out_width = if out_width == 4 { 4 } else { 1 };
    let own = a_width.max(b_width).max(u32::from(out_width)) as u8;
    let mut m = Maker::owning("matmul_pipeline", p.lanes(), own);
    let mut emit = Emit::declare(&mut m, &mm.body);
    let a_args = MapArgs::declare(&mut m, "a", &mm.a);
    let b_args = MapArgs::declare(&mut m, "b", &mm.b);
    let out_args = MapArgs::declare(&mut m, "out", &mm.out);
    let batch_extents: Vec<_> =
        mm.dims[..axes].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let rows_v = m.extent("rows", rows_n);
    let cols_v = m.stride("cols", cols_n);
    let k_v = m.extent("k", mm.k);
    let rounds_n = mm.k.div_ceil(depth as usize);
    let rounds = m.word("rounds", rounds_n as u32);
    let (tiles_m, tiles_n) = (rows_n.div_ceil(height as usize), cols_n.div_ceil(width as usize));
    let (tiles_m_v, tiles_n_v) = (m.extent("tiles_m", tiles_m), m.extent("tiles_n", tiles_n));
    let (a_far, b_far) = (m.stride("a_far", a_far), m.stride("b_far", b_far));
    let a_buf = m.buffer("a", mm.dtype, Access::Read);
    let b_buf = m.buffer("b", mm.dtype, Access::Read);
    let out_buf = m.buffer("out", mm.out_dtype, Access::Write);
    let a_tiles = m.b.shared("a_tiles", mm.dtype, height * depth * p.stages);
    let b_tiles = m.b.shared("b_tiles", mm.dtype, width * depth * p.stages);
    let part = [p.rows * u32::from(p.shape[0]), p.cols * u32::from(p.shape[1])];
    let strip = u32::from(p.shape[0]) * part[1];
    let sums = m.b.shared("sums", p.acc, strip * p.down * p.across);
    let b = &mut m.b;

    let group = b.builtin(Builtin::GroupId(0));
    let [batch_i, tile_m, tile_n] = in_bands(b, group, [tiles_m_v, tiles_n_v]);
    let coords = Maker::split_in(b, batch_i, &batch_extents);
    emit.fix(b, &coords);
    let (height_v, width_v) = (b.idx(u64::from(height)), b.idx(u64::from(width)));
    let (first_row, first_col) = (b.mul(tile_m, height_v), b.mul(tile_n, width_v));
    let (zero, zero_k, one) = (b.u32(0), b.idx(0), b.u32(1));

    let inner_edge = (!mm.k.is_multiple_of(depth as usize)).then_some(k_v);
    let lane = b.builtin(Builtin::LocalId(0));
    let side = |b: &mut Builder, role: FragRole| {
        let left = role == FragRole::A;
        let (args, buf, shared, far) = match left {
            true => (&a_args, a_buf, a_tiles, a_far),
            false => (&b_args, b_buf, b_tiles, b_far),
        };
        let (inner, line, copied) = if left { (a_inner, a_line, a_width) } else { (b_inner, b_line, b_width) };
        let (lines, first, end) = match left {
            true => (if inner { height } else { depth }, first_row, rows_v),
            false => (if inner { width } else { depth }, first_col, cols_v),
        };
        let whole = if left { rows_n.is_multiple_of(height as usize) } else { cols_n.is_multiple_of(width as usize) };
        let base = args.index(b, args.origin(), 0, &coords);
        let at = if left { [first, zero_k] } else { [zero_k, first] };
        let base = args.index(b, base, axes, &at).unwrap_or(zero_k);
        let lies = Lies { buf, shared, inner, line, lines, size: size as u32, width: copied, lanes: p.lanes() };
        Side::new(b, lies, (base, far), lane, (!whole).then_some((first, end)), inner_edge, p.swizzled)
    };
    let (a, right) = (side(b, FragRole::A), side(b, FragRole::B));
    let fill = |b: &mut Builder, stage: Value, round: Value| {
        let deep = b.idx(u64::from(depth));
        let k = b.cast(Elem::Idx, round);
        let k = b.mul(k, deep);
        for side in [&a, &right] {
            let length = b.u32(side.stage());
            let at = b.mul(stage, length);
            side.fill(b, at, k);
        }
    };
    let frag = |role: FragRole, elem: DType| Frag {
        role,
        m: p.shape[0],
        n: p.shape[1],
        k: p.shape[2],
        elem,
        scope: Scope::Subgroup,
    };

    // As many parts at a time as there are subgroups: all, where the device holds fragments itself.
    let (subgroup, lanes, parts) = (b.builtin(Builtin::SubgroupSize), b.u32(p.lanes()), b.u32(p.down * p.across));
    let at_once = b.binary(BinaryOp::Div, lanes, subgroup);
    let number = b.builtin(Builtin::SubgroupId);
    let turn = b.begin_for(zero, parts, at_once, Unroll::Auto);
    b.barrier();
    let number_of_part = b.add(turn, number);
    let down = b.u32(p.down);
    let (part_m, part_n) =
        (b.binary(BinaryOp::Rem, number_of_part, down), b.binary(BinaryOp::Div, number_of_part, down));
    let (part_rows, part_cols) = (b.u32(part[0]), b.u32(part[1]));
    let (part_row, part_col) = (b.mul(part_m, part_rows), b.mul(part_n, part_cols));
    let (a_part, b_part) = (a.part(b, part_row), right.part(b, part_col));
    let nothing = b.number(p.acc, 0.0);
    let empty = b.define(Type::Frag(frag(FragRole::Acc, p.acc)), Op::FragFill(nothing));
    let acc: Vec<Vec<_>> =
        (0..p.rows).map(|r| (0..p.cols).map(|c| b.var(&format!("acc_{r}_{c}"), empty)).collect()).collect();

    for n in 0..p.stages - 1 {
        let n = b.u32(n);
        let exists = b.compare(CmpOp::Lt, n, rounds);
        b.when(exists, |b| fill(b, n, n));
        b.effect(Op::CopyCommit);
    }
    let ahead = b.u32(p.stages - 1);
    let (read, write) = (b.var("read", zero), b.var("write", ahead));
    let round = b.begin_for(zero, rounds, one, Unroll::Never);
    b.effect(Op::CopyWait(p.stages - 2));
    b.barrier();
    let coming = b.add(round, ahead);
    let exists = b.compare(CmpOp::Lt, coming, rounds);
    b.when(exists, |b| {
        let stage = b.get(write);
        fill(b, stage, coming);
    });
    b.effect(Op::CopyCommit);
    let stage = b.get(read);
    let starts = [(&a, a_part), (&right, b_part)].map(|(side, part)| {
        let length = b.u32(side.stage());
        let at = b.mul(stage, length);
        let at = b.add(at, part);
        b.assume_multiple(at, 16)
    });
    for deep in (0..depth).step_by(usize::from(p.shape[2])) {
        let rows: Vec<Value> = (0..p.rows)
            .map(|r| a.load(b, frag(FragRole::A, mm.dtype), starts[0], r * u32::from(p.shape[0]), deep, a.inner))
            .collect();
        for c in 0..p.cols {
            let far = c * u32::from(p.shape[1]);
            let y = right.load(b, frag(FragRole::B, mm.dtype), starts[1], far, deep, right.inner);
            for (r, &x) in rows.iter().enumerate() {
                let var = acc[r][c as usize];
                let before = b.get(var);
                let (x, y) = (FragOperand::Reg(x), FragOperand::Reg(y));
                let sum = b.define(Type::Frag(frag(FragRole::Acc, p.acc)), Op::FragMma { a: x, b: y, acc: before });
                b.set(var, sum);
            }
        }
    }
    next(b, read, p.stages);
    next(b, write, p.stages);
    b.end_for();
    b.effect(Op::CopyWait(0));

    // A row of fragments at a time goes through memory of the subgroup: its lanes take neighbours, whatever the fragments are.
    let strip_v = b.u32(strip);
    let begin = b.mul(number, strip_v);
    let (own, step) = (b.builtin(Builtin::SubgroupLane), u32::from(out_width));
    let row_in_tile = b.cast(Elem::Idx, part_row);
    let (row_of_part, col_in_tile) = (b.add(first_row, row_in_tile), b.cast(Elem::Idx, part_col));
    let col_of_part = b.add(first_col, col_in_tile);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    for (r, row) in acc.iter().enumerate() {
        for (c, var) in row.iter().enumerate() {
            let index = add_c(b, begin, c as u32 * u32::from(p.shape[1]));
            let (frag, place, stride) = (b.get(*var), Place::Shared(sums), b.u32(part[1]));
            b.effect(Op::FragStore { frag, place, index, stride, layout: Layout::RowMajor });
        }
        b.effect(Op::Barrier(Scope::Subgroup));
        let several = b.u32(step);
        let (start, by) = (b.mul(own, several), b.mul(subgroup, several));
        let e = b.begin_for(start, strip_v, by, Unroll::By(4));
        let at = b.add(begin, e);
        let at = b.assume_multiple(at, step);
        let x = b.load_vec(Place::Shared(sums), at, out_width);
        let width_v = b.u32(part[1]);
        let (down, side) = (b.binary(BinaryOp::Div, e, width_v), b.binary(BinaryOp::Rem, e, width_v));
        let down = add_c(b, down, r as u32 * u32::from(p.shape[0]));
        let (down, side) = (b.cast(Elem::Idx, down), b.cast(Elem::Idx, side));
        let (at_row, at_col) = (b.add(row_of_part, down), b.add(col_of_part, side));
        let at_col = b.assume_multiple(at_col, step);
        let is_row = b.compare(CmpOp::Lt, at_row, rows_v);
        let is_col = b.compare(CmpOp::Lt, at_col, cols_v);
        let inside = b.binary(BinaryOp::And, is_row, is_col);
        b.begin_if(inside);
        let x = b.cast(compute_type(mm.sums), x);
        let y = match out_width {
            1 => emit.eval(b, mm.epilogue, &[at_row, at_col], Some(x)),
            lanes => {
                let along = Along { axis: axes + 1, width: lanes };
                let y = emit.eval_along(b, mm.epilogue, &[at_row, at_col], Some(x), Some(along));
                if b.ty(y).lanes() == 1 { b.splat(y, lanes) } else { y }
            }
        };
        let y = b.cast(mm.out_dtype, y);
        let at = out_args.index(b, base, axes, &[at_row, at_col]).unwrap_or(zero_k);
        b.store(Place::Buffer(out_buf), at, y);
        b.end_if();
        b.end_for();
        b.effect(Op::Barrier(Scope::Subgroup));
    }
    b.end_for();
    Ok(Some(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * tiles_m * tiles_n) as u64 }))
}
