//! One lane walks a piece of a space by vectors: what devices want whose lanes run one after another.
//!
//! Such a device gains nothing from many lanes and loses by barriers; it gains by vectors in the code and by indices that are
//! computed once per row. A vector never crosses the end of a row: what is left over is walked element by element, by code that
//! is only there when the extent is not divisible.

pub mod reduce;
pub mod rows;

pub(super) use rows::join;

use super::{
    Body, Made, Map,
    body::{Id, merge},
    emit::{Along, Emit, Maker, MapArgs, compute_type, vector_width},
};
use anychip_hal::{
    DType, Result,
    ir::{Access, BinaryOp, Builder, Builtin, Place, Unroll, Value},
};

/// Elements of a piece: enough to hide what a workgroup costs, few enough for all cores.
const PIECE: usize = 8192;
/// Pieces of a row begin at multiples of this: of every round.
const ROUND: usize = 16 * VECTORS as usize;

/// How an extent is walked: by vectors, several to a round where the extent allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stride {
    /// Lanes of a vector.
    pub width: u8,
    /// Vectors of a round: independent work for a deep pipeline.
    pub vectors: u8,
    /// Nothing is left over.
    pub divisible: bool,
}

/// Vectors of a round where the extent is divisible: the pipeline of a core holds so many additions at once.
const VECTORS: u8 = 4;

impl Stride {
    /// For an extent.
    pub fn of(extent: usize, width: u8) -> Stride {
        let divisible = extent.is_multiple_of(width as usize);
        let several = divisible && width > 1 && extent.is_multiple_of(width as usize * VECTORS as usize);
        Stride { width, vectors: if several { VECTORS } else { 1 }, divisible }
    }

    /// `start..end`: rounds of whole vectors, then what is left one by one. The body is called with the first coordinate, the
    /// width and the vector's place in its round.
    pub fn walk(
        self,
        b: &mut Builder,
        (start, end): (Value, Value),
        mut body: impl FnMut(&mut Builder, Value, u8, usize),
    ) {
        let one = b.idx(1);
        if self.width == 1 {
            let c = b.begin_for(start, end, one, Unroll::Auto);
            body(b, c, 1, 0);
            b.end_for();
            return;
        }
        let round = b.idx(self.width as u64 * self.vectors as u64);
        let whole = match self.divisible {
            true => end,
            false => {
                let len = b.sub(end, start);
                let rest = b.binary(BinaryOp::Rem, len, round);
                b.sub(end, rest)
            }
        };
        let c = b.begin_for(start, whole, round, Unroll::Auto);
        for v in 0..self.vectors {
            let by = b.idx(v as u64 * self.width as u64);
            let at = if v == 0 { c } else { b.add(c, by) };
            body(b, at, self.width, v as usize);
        }
        b.end_for();
        if !self.divisible {
            let c = b.begin_for(whole, end, one, Unroll::Never);
            body(b, c, 1, 0);
            b.end_for();
        }
    }
}

/// A group's piece of `[rows, cols]`: which rows and which columns.
pub struct Piece {
    /// Workgroups.
    pub grid: u64,
    /// First row and past the last.
    pub rows: (Value, Value),
    /// First column and past the last.
    pub cols: (Value, Value),
}

impl Piece {
    /// Of about so many elements: rows are taken together while they are short, and cut where they are long.
    pub fn of(m: &mut Maker, rows: usize, cols: usize, elements: usize) -> Piece {
        let chunk = elements.next_multiple_of(ROUND).min(cols.max(1));
        let chunks = cols.div_ceil(chunk);
        let tall = (elements / chunk).clamp(1, rows.max(1));
        let rows_v = m.extent("rows", rows);
        let cols_v = m.extent("cols", cols);
        let (chunk_v, chunks_v) = (m.extent("chunk", chunk), m.extent("chunks", chunks));
        let tall_v = m.extent("tall", tall);
        let b = &mut m.b;
        let group = b.builtin(Builtin::GroupId(0));
        let block = b.binary(BinaryOp::Div, group, chunks_v);
        let at = b.binary(BinaryOp::Rem, group, chunks_v);
        let mut span = |at: Value, size: Value, end: Value| {
            let first = b.mul(at, size);
            let last = b.add(first, size);
            (first, b.binary(BinaryOp::Min, last, end))
        };
        let rows_of = span(block, tall_v, rows_v);
        let cols_of = span(at, chunk_v, cols_v);
        Piece { grid: (rows.div_ceil(tall) * chunks) as u64, rows: rows_of, cols: cols_of }
    }
}

/// [`super::map::map`] by pieces; `vector`: lanes of a vector.
pub fn map(mut body: Body, root: Id, dims: &[usize], out: Map, dtype: DType, vector: u8) -> Result<Made> {
    body.maps.push(out);
    let (mut dims, _) = merge(dims, &mut body.maps, &[]);
    if dims.is_empty() {
        dims.push(1);
        body.maps.iter_mut().for_each(|m| m.strides.push(0));
    }
    let out = body.maps.pop().unwrap_or(Map { strides: vec![], offset: 0 });
    let last = dims.len() - 1;
    let cols = dims[last];
    let rows: usize = dims[..last].iter().product();
    let width = width(&body, &[root], &out, last, cols, dtype, vector);
    let mut m = Maker::new("map", 1);
    let emit = Emit::declare(&mut m, &body);
    let out_args = MapArgs::declare(&mut m, "out", &out);
    let extents: Vec<_> = dims[..last].iter().enumerate().map(|(i, &n)| m.extent(&format!("n{i}"), n)).collect();
    let piece = Piece::of(&mut m, rows, cols, PIECE);
    let out_buf = m.b.buffer("out", dtype, Access::Write);
    let b = &mut m.b;
    let one = b.idx(1);
    let row = b.begin_for(piece.rows.0, piece.rows.1, one, Unroll::Never);
    let coords = Maker::split_in(b, row, &extents);
    let mut emit = emit.inner();
    emit.fix(b, &coords);
    let base = out_args.index(b, out_args.origin(), 0, &coords);
    Stride { vectors: 1, ..Stride::of(cols, width) }.walk(b, piece.cols, |b, col, width, _| {
        let along = (width > 1).then_some(Along { axis: last, width });
        let v = emit.eval_along(b, root, &[col], None, along);
        let v = b.cast(dtype, v);
        let v = widen(b, v, width);
        let at = match out_args.index(b, base, last, &[col]) {
            Some(at) => at,
            None => b.idx(0),
        };
        b.store(Place::Buffer(out_buf), at, v);
    });
    b.end_for();
    Ok(Made { kernel: m.b.finish()?, scalars: m.scalars, grid: piece.grid })
}

/// Lanes of the vectors in which expressions are computed along an axis and stored: 1 where the result does not lie side by side.
pub(super) fn width(body: &Body, roots: &[Id], out: &Map, axis: usize, extent: usize, dtype: DType, vector: u8) -> u8 {
    let stores = matches!(compute_type(dtype), DType::F32 | DType::I32 | DType::U32 | DType::Bool);
    match stores && out.strides[axis] == 1 {
        true => vector_width(body, roots, axis, fitting(extent, vector)),
        false => 1,
    }
}

/// Lanes of a vector for an extent, where a device prefers `vector`: half of 16 where the extent is short and those leave less over,
/// 1 where it is shorter than a vector. What is left over is walked one by one.
fn fitting(extent: usize, vector: u8) -> u8 {
    let (whole, half) = (vector as usize, vector as usize / 2);
    let short = vector >= 16 && !extent.is_multiple_of(whole) && extent < 16 * whole;
    if short && extent >= half && (extent < 2 * whole || extent.is_multiple_of(half)) {
        return vector / 2;
    }
    if extent >= whole { vector } else { 1 }
}

/// Neighbours that each of several lanes takes along an axis: [`width`], where nothing is left over.
pub(super) fn owned(body: &Body, roots: &[Id], out: &Map, axis: usize, extent: usize, dtype: DType, own: u8) -> u8 {
    match own > 1 && extent.is_multiple_of(own as usize) {
        true => width(body, roots, out, axis, extent, dtype, own),
        false => 1,
    }
}

/// A value as a vector.
pub(super) fn widen(b: &mut Builder, v: Value, width: u8) -> Value {
    if width > 1 && b.ty(v).lanes() == 1 { b.splat(v, width) } else { v }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_fit_the_extent() {
        let widths = |vector: u8| [3, 7, 8, 9, 15, 16, 24, 31, 33, 40, 1000, 1023, 1024].map(|n| fitting(n, vector));
        assert_eq!(widths(16), [1, 1, 8, 8, 8, 16, 8, 8, 16, 8, 16, 16, 16]);
        assert_eq!(widths(8), [1, 1, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8]);
        assert_eq!(widths(4), [1, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]);
        assert_eq!(widths(1), [1; 13]);
        // Pieces of a row begin where a round does, whatever the vector.
        for width in [4, 8, 16] {
            assert_eq!(ROUND % (width * VECTORS as usize), 0);
        }
    }
}
