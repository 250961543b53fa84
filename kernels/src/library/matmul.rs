//! Matrix multiplication as a family of register tiles: each lane computes `rows` × `vectors · width` results.
//!
//! The right operand is read as vectors along its columns (stride 1 there, or width 1), the left one element by element and used for
//! the whole row of the tile. Tiles at the right edge are moved left so that their reads stay inside, and store only what is theirs;
//! rows below the last read the last. Sums run in f32 for 16-bit types, over k in order.

use super::{
    Body, Expr, Made, Map,
    body::Id,
    emit::{Along, Emit, Maker, MapArgs, compute_type, vector_width},
    share::Share,
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, ParamId, Place, PrivateId, Unroll, Value, VarId},
};

/// A matrix multiplication over a space `[batch…, m, n]` with what is fused behind it.
pub struct MatMul {
    /// Expressions of the epilogue; `Anchor` is the product.
    pub body: Body,
    /// The result.
    pub epilogue: Id,
    /// Batch extents, m, n.
    pub dims: Vec<usize>,
    /// Inner dimension.
    pub k: usize,
    /// Left operand over `[batch…, m, k]`.
    pub a: Map,
    /// Right operand over `[batch…, k, n]`; of a packed one, the strides of its batch axes.
    pub b: Map,
    /// Where the result goes.
    pub out: Map,
    /// Type of the operands.
    pub dtype: DType,
    /// Type of the product: that of the operands, or one that holds all their numbers; it is computed in its [`compute_type`].
    pub sums: DType,
    /// Type of the result.
    pub out_dtype: DType,
}

/// A tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// Rows of a lane's tile.
    pub rows: u32,
    /// Vectors per row of a lane's tile.
    pub vectors: u32,
    /// Lanes of a vector: 1, 2, 4, 8, 16.
    pub width: u8,
    /// Lanes of a workgroup, side by side along the columns.
    pub lanes: u32,
    /// Rounds of the loop over k per iteration.
    pub unroll: u16,
    /// Neighbours along k that are read of the left operand at once, as one aligned vector, where its rows allow; 1: elements.
    /// More than 1 says that vectors are aligned where extents and strides allow.
    pub deep: u8,
    /// Lanes of a subgroup, each of which reads another row of the left operand (or another part of it) and broadcasts it to the
    /// others; 1: every lane reads all rows of its tile. One divides the other: rows and lanes.
    pub spread: u8,
    /// The right operand is first copied into panels of a tile's columns ([`super::pack`]).
    pub packed: bool,
}

impl Schedule {
    /// One result per lane: fits everything.
    pub const PLAIN: Schedule =
        Schedule { rows: 1, vectors: 1, width: 1, lanes: 64, unroll: 1, deep: 1, spread: 1, packed: false };

    /// Columns of a lane's tile.
    pub fn cols(&self) -> u32 {
        self.vectors * self.width as u32
    }

    /// Whether a problem may be run with it: vectors need a right operand with unit column stride that is at least one tile wide.
    pub fn fits(&self, n: usize, b_col_stride: isize) -> bool {
        self.cols() == 1 || self.packed || (n >= self.cols() as usize && b_col_stride == 1)
    }
}

struct Tile {
    s: Schedule,
    work: DType,
    acc: Vec<Vec<VarId>>,
}

impl Tile {
    fn splat(&self, b: &mut Builder, v: Value) -> Value {
        if self.s.width == 1 { v } else { b.splat(v, self.s.width) }
    }

    /// [`Tile::step`] where the lanes of a subgroup share what they read of the left operand: the rows that this lane reads, and
    /// how far into the round.
    fn step_shared(
        &self,
        b: &mut Builder,
        a: &Operand<'_>,
        rhs: &Operand<'_>,
        (share, bases, part): (Share, &[Option<Value>], Option<Value>),
        col: Option<Value>,
        k: Value,
    ) {
        let own = match part {
            Some(part) => b.add(k, part),
            None => k,
        };
        let read: Vec<Value> = bases
            .iter()
            .map(|base| {
                let at = a.map.index(b, *base, a.outer + 1, &[own]);
                let at = offset(b, at, 0);
                let x = b.load_vec(Place::Buffer(a.buf), at, share.deep);
                b.cast(self.work, x)
            })
            .collect();
        share.each_term(b, &read, |b, n, of_k| {
            let k = offset(b, Some(k), u64::from(n));
            self.term(b, rhs, &of_k, col, k);
        });
    }

    /// One round of the loop over k: as many terms as the left operand is read deep.
    fn step(
        &self,
        b: &mut Builder,
        a: &Operand<'_>,
        rhs: &Operand<'_>,
        rows: &[Option<Value>],
        col: Option<Value>,
        k: Value,
        deep: u8,
    ) {
        let left: Vec<Value> = rows
            .iter()
            .map(|base| {
                let at = a.map.index(b, *base, a.outer + 1, &[k]);
                let at = offset(b, at, 0);
                let x = b.load_vec(Place::Buffer(a.buf), at, deep);
                b.cast(self.work, x)
            })
            .collect();
        for n in 0..deep {
            let k = offset(b, Some(k), u64::from(n));
            let of_k: Vec<Value> = match deep {
                1 => left.clone(),
                _ => left.iter().map(|&x| b.extract(x, n)).collect(),
            };
            self.term(b, rhs, &of_k, col, k);
        }
    }

    /// Adds the products of one `k`.
    fn term(&self, b: &mut Builder, rhs: &Operand<'_>, left: &[Value], col: Option<Value>, k: Value) {
        let base = match self.s.packed {
            true => {
                let cols = b.idx(self.s.cols() as u64);
                let line = b.mul(k, cols);
                Some(match col {
                    Some(col) => b.add(col, line),
                    None => line,
                })
            }
            false => rhs.map.index(b, col, rhs.outer, &[k]),
        };
        let right: Vec<Value> = (0..self.s.vectors)
            .map(|v| {
                let at = offset(b, base, v as u64 * self.s.width as u64);
                let x = b.load_vec(Place::Buffer(rhs.buf), at, self.s.width);
                b.cast(self.work, x)
            })
            .collect();
        for (r, &x) in left.iter().enumerate() {
            let x = self.splat(b, x);
            for (v, &y) in right.iter().enumerate() {
                let sum = b.get(self.acc[r][v]);
                let sum = if self.work.is_float() {
                    b.mul_add(x, y, sum)
                } else {
                    let product = b.mul(x, y);
                    b.add(product, sum)
                };
                b.set(self.acc[r][v], sum);
            }
        }
    }
}

struct Operand<'a> {
    buf: ParamId,
    map: &'a MapArgs,
    /// Batch axes.
    outer: usize,
}

fn offset(b: &mut Builder, base: Option<Value>, by: u64) -> Value {
    match (base, by) {
        (Some(v), 0) => v,
        (Some(v), n) => {
            let n = b.idx(n);
            b.add(v, n)
        }
        (None, n) => b.idx(n),
    }
}

/// Makes the kernel. Bindings: slots, left, right, output.
pub fn matmul(mm: MatMul, s: Schedule) -> Result<Made> {
    let batch_axes = mm.dims.len() - 2;
    let (rows_n, cols_n) = (mm.dims[batch_axes], mm.dims[batch_axes + 1]);
    let batch: usize = mm.dims[..batch_axes].iter().product();
    let work = compute_type(mm.sums);
    let own = if s.deep > 1 { s.deep.max(s.width.min(4)) } else { 1 };
    let deep = match mm.a.strides.last() {
        Some(1) if mm.k.is_multiple_of(usize::from(s.deep)) => s.deep,
        _ => 1,
    };
    let share = Share { lanes: u32::from(s.spread), rows: s.rows, deep: s.deep };
    let shared = s.spread > 1
        && deep == s.deep
        && mm.k.is_multiple_of(share.terms() as usize)
        && s.lanes.is_multiple_of(share.lanes);
    let mut m = Maker::owning("matmul", s.lanes, own);
    let mut emit = Emit::declare(&mut m, &mm.body);
    let a_args = MapArgs::declare(&mut m, "a", &mm.a);
    let b_args = MapArgs::declare(&mut m, "b", &mm.b);
    let out_args = MapArgs::declare(&mut m, "out", &mm.out);
    let batch_extents: Vec<_> =
        mm.dims[..batch_axes].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let rows_v = m.extent("rows", rows_n);
    let cols_v = m.stride("cols", cols_n);
    let k_v = m.extent("k", mm.k);
    let tiles_m = rows_n.div_ceil(s.rows as usize);
    let tiles_n = cols_n.div_ceil((s.cols() * s.lanes) as usize);
    let tiles_m_v = m.extent("tiles_m", tiles_m);
    let tiles_n_v = m.extent("tiles_n", tiles_n);
    let a_buf = m.buffer("a", mm.dtype, Access::Read);
    let panel = s.packed.then(|| m.stride("panel", mm.k * s.cols() as usize));
    let b_buf = m.buffer("b", if s.packed { work } else { mm.dtype }, Access::Read);
    let out_buf = m.buffer("out", mm.out_dtype, Access::Write);
    let b = &mut m.b;

    // Tiles of rows are fastest: neighbours share the panel of the right operand.
    let group = b.builtin(Builtin::GroupId(0));
    let tile_m = b.binary(BinaryOp::Rem, group, tiles_m_v);
    let rest = b.binary(BinaryOp::Div, group, tiles_m_v);
    let tile_n = b.binary(BinaryOp::Rem, rest, tiles_n_v);
    let batch_i = b.binary(BinaryOp::Div, rest, tiles_n_v);
    let coords = Maker::split_in(b, batch_i, &batch_extents);
    emit.fix(b, &coords);
    let lane = b.builtin(Builtin::LocalId(0));
    let lane = b.cast(Elem::Idx, lane);
    let lanes = b.idx(s.lanes as u64);
    let tile_col = b.mul(tile_n, lanes);
    let tile_col = b.add(tile_col, lane);
    let width = b.idx(s.cols() as u64);
    let col = b.mul(tile_col, width);
    let inside = b.compare(CmpOp::Lt, col, cols_v);
    // What a subgroup does together needs all its lanes: those beyond the last column compute it once more.
    if !shared {
        b.begin_if(inside);
    }
    // At the right edge the tile is moved left; what lies before `col` belongs to the neighbour.
    let last_col = b.sub(cols_v, width);
    let divisible = cols_n.is_multiple_of(s.cols() as usize);
    let moved = s.cols() > 1 && !s.packed && !divisible;
    let first_col = if moved || (shared && !s.packed) { b.binary(BinaryOp::Min, col, last_col) } else { col };
    let height = b.idx(s.rows as u64);
    let first_row = b.mul(tile_m, height);
    let one = b.idx(1);
    let last_row = b.sub(rows_v, one);

    let a_base = a_args.index(b, a_args.origin(), 0, &coords);
    let row_ids: Vec<Value> = (0..s.rows).map(|r| offset(b, Some(first_row), r as u64)).collect();
    let row_bases: Vec<Option<Value>> = row_ids
        .iter()
        .map(|&row| {
            let row = b.binary(BinaryOp::Min, row, last_row);
            a_args.index(b, a_base, batch_axes, &[row])
        })
        .collect();
    let b_base = b_args.index(b, b_args.origin(), 0, &coords);
    // The column comes first so that only k varies in the loop.
    let b_col = match panel {
        Some(panel) => {
            // Of an unused lane: the first panel.
            let tile_col = match shared {
                true => {
                    let none = b.idx(0);
                    b.select(inside, tile_col, none)
                }
                false => tile_col,
            };
            let at = b.mul(tile_col, panel);
            Some(match b_base {
                Some(base) => b.add(base, at),
                None => at,
            })
        }
        None => column(b, &b_args, b_base, batch_axes + 1, first_col),
    };

    let zero = b.number(work, 0.0);
    let zero = if s.width == 1 { zero } else { b.splat(zero, s.width) };
    let acc = (0..s.rows).map(|r| (0..s.vectors).map(|v| b.var(&format!("acc_{r}_{v}"), zero)).collect()).collect();
    let tile = Tile { s, work, acc };
    let a_op = Operand { buf: a_buf, map: &a_args, outer: batch_axes };
    let b_op = Operand { buf: b_buf, map: &b_args, outer: batch_axes };
    let start = b.idx(0);
    let unroll = if s.unroll > 1 { Unroll::By(s.unroll) } else { Unroll::Auto };
    if shared {
        let lane = b.builtin(Builtin::SubgroupLane);
        let lane = b.cast(Elem::Idx, lane);
        let bases: Vec<Option<Value>> = (0..share.reads())
            .map(|n| {
                let row = share.row(b, lane, n);
                let row = b.add(first_row, row);
                let row = b.binary(BinaryOp::Min, row, last_row);
                a_args.index(b, a_base, batch_axes, &[row])
            })
            .collect();
        let part = share.part(b, lane);
        let at_once = b.idx(u64::from(share.terms()));
        let k = b.begin_for(start, k_v, at_once, unroll);
        tile.step_shared(b, &a_op, &b_op, (share, &bases, part), b_col, k);
        b.end_for();
        b.begin_if(inside);
    } else {
        let at_once = b.idx(u64::from(deep));
        let k = b.begin_for(start, k_v, at_once, unroll);
        tile.step(b, &a_op, &b_op, &row_bases, b_col, k, deep);
        b.end_for();
    }

    let o_base = out_args.index(b, out_args.origin(), 0, &coords);
    let plain = matches!(mm.body.exprs[mm.epilogue].0, Expr::Anchor);
    let side_by_side = mm.out.strides.last() == Some(&1);
    let vectors = (s.packed || divisible)
        && side_by_side
        && matches!(work, DType::F32)
        && s.width > 1
        && vector_width(&mm.body, &[mm.epilogue], batch_axes + 1, s.width) == s.width;
    let done = Done {
        emit,
        epilogue: mm.epilogue,
        out: &out_args,
        base: o_base,
        buf: out_buf,
        dtype: mm.out_dtype,
        axes: batch_axes,
        cols: cols_v,
        divisible,
    };
    if vectors {
        done.store_rows(b, &tile, &row_ids, rows_v, col, plain);
    } else if plain && s.width > 1 && side_by_side && !s.packed {
        done.store_vectors(b, &tile, &row_ids, rows_v, first_col, col);
    } else {
        done.store_elements(b, &tile, &row_ids, rows_v, first_col, col);
    }
    b.end_if();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * tiles_m * tiles_n) as u64 })
}

/// The part of an index that the column fixes.
fn column(b: &mut Builder, map: &MapArgs, base: Option<Value>, axis: usize, col: Value) -> Option<Value> {
    map.index(b, base, axis, &[col])
}

struct Done<'a> {
    emit: Emit<'a>,
    epilogue: Id,
    out: &'a MapArgs,
    base: Option<Value>,
    buf: ParamId,
    dtype: DType,
    axes: usize,
    cols: Value,
    /// Every tile has all its columns.
    divisible: bool,
}

impl Done<'_> {
    /// Of a packed product: the epilogue by vectors where the tile has all its columns, else element by element.
    fn store_rows(&self, b: &mut Builder, t: &Tile, rows: &[Value], rows_v: Value, col: Value, plain: bool) {
        if !self.divisible {
            let width = b.idx(t.s.cols() as u64);
            let end = b.add(col, width);
            let whole = b.compare(CmpOp::Le, end, self.cols);
            b.begin_if(whole);
        }
        if plain {
            self.store_whole(b, t, rows, rows_v, col);
        } else {
            // One copy of the epilogue for all rows: it may be long.
            let copy = self.copy(b, t);
            let (zero, one, height) = (b.idx(0), b.idx(1), b.idx(t.s.rows as u64));
            let r = b.begin_for(zero, height, one, Unroll::Never);
            let row = b.add(rows[0], r);
            let inside = b.compare(CmpOp::Lt, row, rows_v);
            b.begin_if(inside);
            let mut emit = self.emit.inner();
            emit.fix(b, &[row]);
            let width = b.idx(t.s.cols() as u64);
            let line = b.mul(r, width);
            let base = self.out.index(b, self.base, self.axes, &[row]);
            // Functions of an epilogue are long: more than this at a time spills what the tile keeps in registers.
            let lanes = t.s.width.min(8);
            let along = Along { axis: self.axes + 1, width: lanes };
            let step = b.idx(lanes as u64);
            let c = b.begin_for(zero, width, step, Unroll::Never);
            let at = b.add(line, c);
            let x = b.load_vec(Place::Private(copy), at, lanes);
            let at_col = b.add(col, c);
            let y = emit.eval_along(b, self.epilogue, &[at_col], Some(x), Some(along));
            let y = if b.ty(y).lanes() == 1 { b.splat(y, lanes) } else { y };
            let y = b.cast(self.dtype, y);
            let at = self.out.index(b, base, self.axes + 1, &[at_col]);
            let at = offset(b, at, 0);
            b.store(Place::Buffer(self.buf), at, y);
            b.end_for();
            b.end_if();
            b.end_for();
        }
        if !self.divisible {
            b.begin_else();
            self.store_elements(b, t, rows, rows_v, col, col);
            b.end_if();
        }
    }

    /// The product itself, by whole vectors from column `col` on; rows below the last are left out.
    fn store_whole(&self, b: &mut Builder, t: &Tile, rows: &[Value], rows_v: Value, col: Value) {
        for (vars, &row) in t.acc.iter().zip(rows) {
            let inside = b.compare(CmpOp::Lt, row, rows_v);
            b.begin_if(inside);
            let base = self.out.index(b, self.base, self.axes, &[row, col]);
            for (v, var) in vars.iter().enumerate() {
                let at = offset(b, base, v as u64 * t.s.width as u64);
                let x = b.get(*var);
                let x = b.cast(self.dtype, x);
                b.store(Place::Buffer(self.buf), at, x);
            }
            b.end_if();
        }
    }

    /// The tile in memory, row by row.
    fn copy(&self, b: &mut Builder, t: &Tile) -> PrivateId {
        let cols = t.s.cols();
        let copy = b.private("tile", t.work, cols * t.s.rows);
        for (r, vars) in t.acc.iter().enumerate() {
            for (v, var) in vars.iter().enumerate() {
                let at = b.u32(r as u32 * cols + v as u32 * t.s.width as u32);
                let x = b.get(*var);
                b.store(Place::Private(copy), at, x);
            }
        }
        copy
    }

    /// Whole vectors where the tile was not moved, else element by element.
    fn store_vectors(&self, b: &mut Builder, t: &Tile, rows: &[Value], rows_v: Value, first: Value, col: Value) {
        let whole = b.compare(CmpOp::Eq, first, col);
        b.begin_if(whole);
        self.store_whole(b, t, rows, rows_v, first);
        b.begin_else();
        self.store_elements(b, t, rows, rows_v, first, col);
        b.end_if();
    }

    /// The epilogue, element by element, through a private copy of the tile.
    fn store_elements(&self, b: &mut Builder, t: &Tile, rows: &[Value], rows_v: Value, first: Value, col: Value) {
        let cols = t.s.cols();
        let single = cols == 1 && t.s.rows == 1;
        let copy = (!single).then(|| self.copy(b, t));
        let zero = b.idx(0);
        let one = b.idx(1);
        let height = b.idx(t.s.rows as u64);
        let width = b.idx(cols as u64);
        let r = b.begin_for(zero, height, one, Unroll::Never);
        let row = b.add(rows[0], r);
        let inside = b.compare(CmpOp::Lt, row, rows_v);
        b.begin_if(inside);
        let mut emit = self.emit.inner();
        emit.fix(b, &[row]);
        let base = self.out.index(b, self.base, self.axes, &[row]);
        let c = b.begin_for(zero, width, one, Unroll::Never);
        let at_col = b.add(first, c);
        let own = match t.s.packed {
            true => b.compare(CmpOp::Lt, at_col, self.cols),
            false => b.compare(CmpOp::Ge, at_col, col),
        };
        b.begin_if(own);
        let x = match copy {
            Some(copy) => {
                let line = b.mul(r, width);
                let at = b.add(line, c);
                b.load(Place::Private(copy), at)
            }
            None => b.get(t.acc[0][0]),
        };
        let y = emit.eval(b, self.epilogue, &[at_col], Some(x));
        let y = b.cast(self.dtype, y);
        let at = self.out.index(b, base, self.axes + 1, &[at_col]);
        let at = offset(b, at, 0);
        b.store(Place::Buffer(self.buf), at, y);
        b.end_if();
        b.end_for();
        b.end_if();
        b.end_for();
    }
}
