//! Packing of a matrix product's right operand: panels of a tile's columns, each contiguous over k and filled up with zeros.
//!
//! What it is good for: the product then reads one stream per tile, whatever the operand's strides were. Rows that lie a power of
//! two apart would fall into the same few sets of a cache (1024 columns of f32: all of a panel into one set of the first level).

use super::{
    Made, Map,
    emit::{Maker, MapArgs, compute_type},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builtin, CmpOp, Place, Unroll, Value},
};

/// Rows of a panel that a workgroup packs.
const BLOCK: usize = 64;

/// A right operand over `[batch…, k, n]`, to be packed as `[batch…, n/cols, k, cols]` of [`compute_type`].
pub struct Pack {
    /// Batch extents without those along which it repeats, k, n.
    pub dims: Vec<usize>,
    /// Where it is.
    pub from: Map,
    /// Its type.
    pub dtype: DType,
    /// Columns of a panel.
    pub cols: usize,
    /// Lanes of a vector; they divide `cols`.
    pub width: u8,
}

impl Pack {
    /// Elements of the packed operand.
    pub fn elements(&self) -> usize {
        let [batch @ .., k, n] = self.dims.as_slice() else { return 0 };
        batch.iter().product::<usize>() * n.div_ceil(self.cols) * self.cols * k
    }
}

/// Makes the kernel. Bindings: the operand, the packed operand.
pub fn pack(p: Pack) -> Result<Made> {
    let axes = p.dims.len() - 2;
    let (k, n) = (p.dims[axes], p.dims[axes + 1]);
    let panels = n.div_ceil(p.cols);
    let blocks = k.div_ceil(BLOCK);
    let batch: usize = p.dims[..axes].iter().product();
    let work = compute_type(p.dtype);
    let mut m = Maker::new("pack", 1);
    let from = MapArgs::declare(&mut m, "b", &p.from);
    let extents: Vec<_> = p.dims[..axes].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let (k_v, n_v) = (m.extent("k", k), m.extent("cols", n));
    let (panels_v, blocks_v) = (m.extent("panels", panels), m.extent("blocks", blocks));
    let source = Place::Buffer(m.b.buffer("b", p.dtype, Access::Read));
    let target = Place::Buffer(m.b.buffer("packed", work, Access::Write));
    let b = &mut m.b;
    let group = b.builtin(Builtin::GroupId(0));
    let block = b.binary(BinaryOp::Rem, group, blocks_v);
    let which = b.binary(BinaryOp::Div, group, blocks_v);
    let panel = b.binary(BinaryOp::Rem, which, panels_v);
    let batch_i = b.binary(BinaryOp::Div, which, panels_v);
    let coords = Maker::split_in(b, batch_i, &extents);
    let base = from.index(b, from.origin(), 0, &coords);
    let cols = b.idx(p.cols as u64);
    let col = b.mul(panel, cols);
    let base = from.index(b, base, axes + 1, &[col]);
    let (one, height) = (b.idx(1), b.idx(BLOCK as u64));
    let first = b.mul(block, height);
    let past = b.add(first, height);
    let past = b.binary(BinaryOp::Min, past, k_v);
    let line = b.mul(which, k_v);
    let row = b.begin_for(first, past, one, Unroll::Never);
    let at = match from.index(b, base, axes, &[row]) {
        Some(at) => at,
        None => b.idx(0),
    };
    let to = b.add(line, row);
    let to = b.mul(to, cols);
    let whole = |b: &mut anychip_hal::ir::Builder| {
        for v in (0..p.cols as u64).step_by(p.width as usize) {
            let x = if from.is_unit(axes + 1) {
                let at = from.step(b, at, axes + 1, v);
                b.load_vec(source, at, p.width)
            } else {
                let each: Vec<Value> = (0..p.width as u64)
                    .map(|lane| {
                        let at = from.step(b, at, axes + 1, v + lane);
                        b.load(source, at)
                    })
                    .collect();
                if p.width == 1 { each[0] } else { b.vector(&each) }
            };
            let x = b.cast(work, x);
            let by = b.idx(v);
            let to = b.add(to, by);
            b.store(target, to, x);
        }
    };
    if n.is_multiple_of(p.cols) {
        whole(b);
    } else {
        let end = b.add(col, cols);
        let inside = b.compare(CmpOp::Le, end, n_v);
        b.begin_if(inside);
        whole(b);
        b.begin_else();
        let zero = b.idx(0);
        let c = b.begin_for(zero, cols, one, Unroll::Never);
        let own = b.add(col, c);
        let inside = b.compare(CmpOp::Lt, own, n_v);
        let nothing = b.number(work, 0.0);
        let value = b.var("value", nothing);
        b.begin_if(inside);
        let at = match from.index(b, Some(at), axes + 1, &[c]) {
            Some(at) => at,
            None => at,
        };
        let x = b.load(source, at);
        let x = b.cast(work, x);
        b.set(value, x);
        b.end_if();
        let x = b.get(value);
        let to = b.add(to, c);
        b.store(target, to, x);
        b.end_for();
        b.end_if();
    }
    b.end_for();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: (batch * panels * blocks) as u64 })
}
