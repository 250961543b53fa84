//! Matrix multiplication by matrix fragments: each subgroup computes a tile of them, the units of the device multiply.
//!
//! Operands are read as they lie, by rows or by columns. The tile of sums goes through shared memory, where every lane takes
//! elements of it for the epilogue: which lane holds which element of a fragment is the device's business. Extents are multiples
//! of the tile; other products are left to [`super::matmul`].

use super::{
    Made, Map,
    emit::{Emit, Maker, MapArgs},
    matmul::MatMul,
};
use anychip_hal::{
    DType, Result,
    info::FragmentShape,
    ir::{
        Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Frag, FragOperand, FragRole, Layout, Op, ParamId, Place,
        Scope, Swizzle, Type, Unroll, Value,
    },
};
use serde::{Deserialize, Serialize};

/// A tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tile {
    /// Rows, columns and inner extent of one product of fragments.
    pub shape: [u16; 3],
    /// Type of the sums.
    pub acc: DType,
    /// Fragments of a subgroup, one below the other.
    pub rows: u32,
    /// Fragments of a subgroup, side by side.
    pub cols: u32,
    /// Lanes of a subgroup.
    pub subgroup: u32,
    /// Subgroups of a workgroup, side by side.
    pub subgroups: u32,
}

impl Tile {
    /// A tile of one of the device's shapes.
    pub fn of(shape: &FragmentShape, rows: u32, cols: u32, subgroup: u32, subgroups: u32) -> Tile {
        Tile { shape: [shape.m, shape.n, shape.k], acc: shape.acc, rows, cols, subgroup, subgroups }
    }

    /// Rows and columns of a subgroup's tile.
    pub fn extent(&self) -> (usize, usize) {
        (self.rows as usize * usize::from(self.shape[0]), self.cols as usize * usize::from(self.shape[1]))
    }

    /// Bytes of shared memory of a workgroup.
    pub fn shared(&self) -> u64 {
        let (rows, cols) = self.extent();
        (rows * cols * self.subgroups as usize * self.acc.size()) as u64
    }

    /// Whether a product is made of whole tiles.
    pub fn fits(&self, rows: usize, cols: usize, inner: usize) -> bool {
        let (r, c) = self.extent();
        rows.is_multiple_of(r) && cols.is_multiple_of(c) && inner.is_multiple_of(usize::from(self.shape[2]))
    }
}

/// How an operand lies: elements between rows or columns, and which of them are contiguous.
pub(super) fn lie(map: &Map) -> Option<(usize, Layout)> {
    match map.strides[map.strides.len() - 2..] {
        [far, 1] if far > 0 => Some((far as usize, Layout::RowMajor)),
        [1, far] if far > 0 => Some((far as usize, Layout::ColMajor)),
        _ => None,
    }
}

/// Whether fragments can be read from both operands.
pub fn readable(a: &Map, b: &Map) -> bool {
    lie(a).is_some() && lie(b).is_some()
}

struct Operand {
    buf: ParamId,
    /// Index of the tile's first element at k = 0.
    base: Value,
    stride: Value,
    layout: Layout,
}

impl Operand {
    /// The fragment that begins `row` rows and `col` columns further.
    fn load(&self, b: &mut Builder, frag: Frag, row: Value, col: Value) -> Value {
        let far = b.cast(Elem::Idx, self.stride);
        let (near, line) = match self.layout {
            Layout::RowMajor => (col, row),
            Layout::ColMajor => (row, col),
        };
        let line = b.mul(line, far);
        let at = b.add(self.base, line);
        let index = b.add(at, near);
        let (place, stride, layout) = (Place::Buffer(self.buf), self.stride, self.layout);
        b.define(
            Type::Frag(frag),
            Op::FragLoad { place, index, stride, layout, swizzle: Swizzle::NONE, aligned: false },
        )
    }
}

/// Makes the kernel, where [`readable`] and [`Tile::fits`]. Bindings: slots, left, right, output.
pub fn matmul(mm: MatMul, t: Tile) -> Result<Option<Made>> {
    let (Some((a_far, a_layout)), Some((b_far, b_layout))) = (lie(&mm.a), lie(&mm.b)) else { return Ok(None) };
    let axes = mm.dims.len() - 2;
    let (rows_n, cols_n) = (mm.dims[axes], mm.dims[axes + 1]);
    if !t.fits(rows_n, cols_n, mm.k) {
        return Ok(None);
    }
    let batch: usize = mm.dims[..axes].iter().product();
    let (height, width) = t.extent();
    let mut m = Maker::new("matmul_fragments", t.subgroup * t.subgroups);
    let mut emit = Emit::declare(&mut m, &mm.body);
    let a_args = MapArgs::declare(&mut m, "a", &mm.a);
    let b_args = MapArgs::declare(&mut m, "b", &mm.b);
    let out_args = MapArgs::declare(&mut m, "out", &mm.out);
    let batch_extents: Vec<_> =
        mm.dims[..axes].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let cols_v = m.extent("cols", cols_n);
    let k_v = m.extent("k", mm.k);
    let tiles_m = rows_n / height;
    let tiles_n = cols_n.div_ceil(width * t.subgroups as usize);
    let (tiles_m_v, tiles_n_v) = (m.extent("tiles_m", tiles_m), m.extent("tiles_n", tiles_n));
    let (a_far, b_far) = (m.word("a_far", a_far as u32), m.word("b_far", b_far as u32));
    let a_buf = m.b.buffer("a", mm.dtype, Access::Read);
    let b_buf = m.b.buffer("b", mm.dtype, Access::Read);
    let out_buf = m.b.buffer("out", mm.out_dtype, Access::Write);
    let sums = m.b.shared("sums", t.acc, (height * width) as u32 * t.subgroups);
    let b = &mut m.b;

    let group = b.builtin(Builtin::GroupId(0));
    let tile_m = b.binary(BinaryOp::Rem, group, tiles_m_v);
    let rest = b.binary(BinaryOp::Div, group, tiles_m_v);
    let tile_n = b.binary(BinaryOp::Rem, rest, tiles_n_v);
    let batch_i = b.binary(BinaryOp::Div, rest, tiles_n_v);
    let coords = Maker::split_in(b, batch_i, &batch_extents);
    emit.fix(b, &coords);
    let own = b.builtin(Builtin::SubgroupId);
    let own_idx = b.cast(Elem::Idx, own);
    let (height_v, width_v) = (b.idx(height as u64), b.idx(width as u64));
    let first_row = b.mul(tile_m, height_v);
    let side = b.idx(u64::from(t.subgroups));
    let tile = b.mul(tile_n, side);
    let tile = b.add(tile, own_idx);
    let col = b.mul(tile, width_v);
    // A subgroup beyond the last column computes the last tile once more and stores nothing: barriers need it.
    let inside = b.compare(CmpOp::Lt, col, cols_v);
    let last = b.sub(cols_v, width_v);
    let first_col = b.binary(BinaryOp::Min, col, last);

    let zero = b.idx(0);
    let start = |b: &mut Builder, args: &MapArgs, at: [Value; 2]| {
        let base = args.index(b, args.origin(), 0, &coords);
        match args.index(b, base, axes, &at) {
            Some(at) => at,
            None => zero,
        }
    };
    let a_base = start(b, &a_args, [first_row, zero]);
    let b_base = start(b, &b_args, [zero, first_col]);
    let a = Operand { buf: a_buf, base: a_base, stride: a_far, layout: a_layout };
    let right = Operand { buf: b_buf, base: b_base, stride: b_far, layout: b_layout };
    let frag = |role: FragRole, elem: DType| Frag {
        role,
        m: t.shape[0],
        n: t.shape[1],
        k: t.shape[2],
        elem,
        scope: Scope::Subgroup,
    };
    let nothing = b.number(t.acc, 0.0);
    let empty = b.define(Type::Frag(frag(FragRole::Acc, t.acc)), Op::FragFill(nothing));
    let vars: Vec<Vec<_>> =
        (0..t.rows).map(|r| (0..t.cols).map(|c| b.var(&format!("acc_{r}_{c}"), empty)).collect()).collect();
    let step = b.idx(u64::from(t.shape[2]));
    let k = b.begin_for(zero, k_v, step, Unroll::Auto);
    let rows: Vec<Value> = (0..t.rows)
        .map(|r| {
            let row = b.idx(u64::from(r) * u64::from(t.shape[0]));
            a.load(b, frag(FragRole::A, mm.dtype), row, k)
        })
        .collect();
    for c in 0..t.cols {
        let col = b.idx(u64::from(c) * u64::from(t.shape[1]));
        let y = right.load(b, frag(FragRole::B, mm.dtype), k, col);
        for (r, &x) in rows.iter().enumerate() {
            let var = vars[r][c as usize];
            let acc = b.get(var);
            let (x, y) = (FragOperand::Reg(x), FragOperand::Reg(y));
            let sum = b.define(Type::Frag(frag(FragRole::Acc, t.acc)), Op::FragMma { a: x, b: y, acc });
            b.set(var, sum);
        }
    }
    b.end_for();

    let stride = b.u32(width as u32);
    let area = b.u32((height * width) as u32);
    let begin = b.mul(own, area);
    for (r, row) in vars.iter().enumerate() {
        for (c, var) in row.iter().enumerate() {
            let at = b.u32((r * usize::from(t.shape[0]) * width + c * usize::from(t.shape[1])) as u32);
            let index = b.add(begin, at);
            let frag = b.get(*var);
            let place = Place::Shared(sums);
            b.effect(Op::FragStore { frag, place, index, stride, layout: Layout::RowMajor });
        }
    }
    b.barrier();
    b.begin_if(inside);
    let lane = b.builtin(Builtin::SubgroupLane);
    let lanes = b.builtin(Builtin::SubgroupSize);
    let e = b.begin_for(lane, area, lanes, Unroll::Never);
    let at = b.add(begin, e);
    let x = b.load(Place::Shared(sums), at);
    let e = b.cast(Elem::Idx, e);
    let row = b.binary(BinaryOp::Div, e, width_v);
    let row = b.add(first_row, row);
    let across = b.binary(BinaryOp::Rem, e, width_v);
    let across = b.add(first_col, across);
    let x = b.cast(super::emit::compute_type(mm.sums), x);
    let y = emit.eval(b, mm.epilogue, &[row, across], Some(x));
    let y = b.cast(mm.out_dtype, y);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    let at = match out_args.index(b, base, axes, &[row, across]) {
        Some(at) => at,
        None => zero,
    };
    b.store(Place::Buffer(out_buf), at, y);
    b.end_for();
    b.end_if();
    Ok(Some(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * tiles_m * tiles_n) as u64 }))
}
