//! Tiles of operands in shared memory, copied there as boxes of a tensor by the device itself, permuted as [`super::tiles`] has them,
//! zero beyond the operand's edges.

use super::{Map, emit::Maker, tiles::together};
use anychip_hal::{
    DType,
    device::ScalarArg,
    ir::{Access, Builder, Elem, Op, ParamId, ParamKind, Role, SharedId, Swizzle, TileView, Value},
};

/// Bytes of whose multiples everything must be.
const WHOLE: u32 = 16;
/// Axes of a tensor beside its rows and columns.
const MOST: usize = 3;

/// Whether boxes of an operand can be copied: it begins at a multiple of 16 bytes, as do its lines and batches.
pub fn reads(map: &Map, size: usize) -> bool {
    let axes = map.strides.len() - 2;
    let batches = map.strides[..axes].iter().filter(|s| **s != 0).count();
    let forward = map.offset >= 0 && map.strides.iter().all(|s| *s >= 0);
    forward && batches <= MOST && together(map, size, WHOLE) * size as u32 == WHOLE
}

/// An operand of which boxes are copied.
pub struct Boxes {
    buf: ParamId,
    shared: SharedId,
    view: TileView,
    /// Its batches, as coordinates of the product's.
    batch: Vec<usize>,
    swizzle: Swizzle,
    /// The barriers.
    pub bars: SharedId,
}

/// How an operand lies, and its boxes.
pub struct Lies<'a> {
    /// Where it is.
    pub map: &'a Map,
    /// Extents of the product's batches.
    pub batch: &'a [usize],
    /// Lines, and elements of one.
    pub lines: [usize; 2],
    /// Elements between lines.
    pub far: usize,
    /// Lines of a box, and elements of one.
    pub size: [u32; 2],
    /// How they are permuted.
    pub swizzle: Swizzle,
}

fn scalar(m: &mut Maker, name: &str, n: usize) -> ParamId {
    m.scalars.push(ScalarArg::Idx(n as u64));
    m.b.param(name, ParamKind::Scalar { elem: Elem::Idx, role: Role::User })
}

impl Boxes {
    /// Declares the scalars that say where the operand lies.
    pub fn declare(m: &mut Maker, name: &str, dtype: DType, l: &Lies<'_>, shared: SharedId, bars: SharedId) -> Boxes {
        let batch: Vec<usize> = (0..l.batch.len()).filter(|&i| l.map.strides[i] != 0).collect();
        let origin = scalar(m, &format!("{name}_begin"), l.map.offset.unsigned_abs());
        let mut each = |what: &str, all: Vec<usize>| -> Vec<ParamId> {
            all.into_iter().enumerate().map(|(i, n)| scalar(m, &format!("{name}_{what}{i}"), n)).collect()
        };
        let extents = each("extent", batch.iter().map(|&i| l.batch[i]).chain(l.lines).collect());
        let far = batch.iter().map(|&i| l.map.strides[i].unsigned_abs()).chain([l.far]);
        let strides = each("stride", far.collect());
        let view = TileView { origin, extents, strides, size: l.size.map(|n| n as u16) };
        let buf = m.buffer(name, dtype, Access::Read);
        Boxes { buf, shared, view, batch, swizzle: l.swizzle, bars }
    }

    /// Starts the copy of the box that begins at these line and element, of these batches' matrix, to `to`.
    pub fn copy(&self, b: &mut Builder, slot: Value, to: Value, batch: &[Value], at: [Value; 2]) {
        let at = self.batch.iter().map(|&i| batch[i]).chain(at).collect();
        let (dst, src, bars) = (self.shared, self.buf, self.bars);
        let (view, swizzle) = (self.view.clone(), self.swizzle);
        b.effect(Op::CopyTile { dst, dst_index: to, src, view, at, swizzle, bars, slot });
    }
}
