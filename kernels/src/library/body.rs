//! A fused expression as data: what one lane computes for one element, and where it reads.
//!
//! A body belongs to an iteration space. Every index is a *map*: an affine function of the space's coordinates. Extents and
//! strides become scalars of a launch; only their class (0, 1, positive, negative) is part of a kernel's identity.

use anychip_hal::{DType, op::BinaryOp, op::CmpOp, op::UnaryOp};

/// Index of an expression.
pub type Id = usize;

/// An affine index: offset + Σ strides·coordinates, in elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Map {
    /// Per axis of the space.
    pub strides: Vec<isize>,
    /// Index at the origin.
    pub offset: isize,
}

/// What one lane computes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Expr {
    /// An element of a buffer.
    Read {
        /// Which of the body's slots.
        slot: usize,
        /// Where.
        map: usize,
    },
    /// Row `id` of a table; outside it NaN, for integers 0.
    Gather {
        /// The table's slot.
        slot: usize,
        /// Rows of the table, not 0.
        rows: usize,
        /// Elements between rows.
        row_stride: isize,
        /// The row.
        id: Id,
        /// Where in the row.
        map: usize,
    },
    /// The index itself, as a number.
    Index(usize),
    /// A bit pattern.
    Const(u64),
    /// The value that the group's anchor (a reduction, a matmul) gives.
    Anchor,
    /// One operand.
    Unary(UnaryOp, Id),
    /// Two operands.
    Binary(BinaryOp, Id, Id),
    /// Comparison.
    Compare(CmpOp, Id, Id),
    /// Choice.
    Where(Id, Id, Id),
    /// A word of a block of Philox: counter and key.
    Philox(u8, [Id; 4]),
    /// Conversion to the expression's type.
    Cast(Id),
}

/// A fused expression. Expressions come before their users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Body {
    /// Expressions and their types.
    pub exprs: Vec<(Expr, DType)>,
    /// Indices.
    pub maps: Vec<Map>,
    /// Types of the buffers that are read, in binding order.
    pub slots: Vec<DType>,
}

impl Body {
    /// Adds an expression, or finds it.
    pub fn push(&mut self, e: Expr, dtype: DType) -> Id {
        match self.exprs.iter().position(|x| x.0 == e && x.1 == dtype) {
            Some(i) => i,
            None => {
                self.exprs.push((e, dtype));
                self.exprs.len() - 1
            }
        }
    }

    /// Adds a map, or finds it.
    pub fn map(&mut self, m: Map) -> usize {
        match self.maps.iter().position(|x| *x == m) {
            Some(i) => i,
            None => {
                self.maps.push(m);
                self.maps.len() - 1
            }
        }
    }
}

/// Drops axes of extent 1 and merges neighbours that every map walks as one. Axes on both sides of a position in `cuts` stay
/// apart; the result gives the new extents and the new cuts.
pub fn merge(dims: &[usize], maps: &mut [Map], cuts: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut out: Vec<usize> = Vec::new();
    let mut strides: Vec<Vec<isize>> = vec![Vec::new(); maps.len()];
    let mut new_cuts = Vec::new();
    let mut fresh = true; // nothing to merge with since the last cut
    for (axis, &n) in dims.iter().enumerate() {
        if cuts.contains(&axis) {
            new_cuts.push(out.len());
            fresh = true;
        }
        if n == 1 {
            continue;
        }
        let joins = !fresh
            && maps.iter().zip(&strides).all(|(m, s)| s.last().is_some_and(|&l| l == m.strides[axis] * n as isize));
        if joins {
            if let Some(last) = out.last_mut() {
                *last *= n;
            }
            for (m, s) in maps.iter().zip(&mut strides) {
                if let Some(l) = s.last_mut() {
                    *l = m.strides[axis];
                }
            }
        } else {
            out.push(n);
            for (m, s) in maps.iter().zip(&mut strides) {
                s.push(m.strides[axis]);
            }
        }
        fresh = false;
    }
    if cuts.contains(&dims.len()) {
        new_cuts.push(out.len());
    }
    for (m, s) in maps.iter_mut().zip(strides) {
        m.strides = s;
    }
    (out, new_cuts)
}

/// Merges the first `axes` axes as [`merge`] does and leaves the rest as they are: a batch that all operands walk as one is one
/// axis, however many it was made of, and needs one kernel.
pub fn merge_leading(dims: &[usize], axes: usize, maps: &mut [&mut Map]) -> Vec<usize> {
    let mut leading: Vec<Map> = maps.iter().map(|m| Map { strides: m.strides[..axes].to_vec(), offset: 0 }).collect();
    let (mut out, _) = merge(&dims[..axes], &mut leading, &[]);
    for (m, l) in maps.iter_mut().zip(leading) {
        m.strides.splice(..axes, l.strides);
    }
    out.extend(&dims[axes..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_when_every_map_agrees() {
        let dense = Map { strides: vec![12, 4, 1], offset: 0 };
        let row = Map { strides: vec![0, 0, 1], offset: 0 };
        let (dims, _) = merge(&[2, 3, 4], &mut [dense.clone()], &[]);
        assert_eq!(dims, [24]);
        let mut both = [dense.clone(), row];
        let (dims, _) = merge(&[2, 3, 4], &mut both, &[]);
        assert_eq!((dims, &both[0].strides, &both[1].strides), (vec![6, 4], &vec![4, 1], &vec![0, 1]));
        let (dims, cuts) = merge(&[2, 3, 4], &mut [dense], &[2]);
        assert_eq!((dims, cuts), (vec![6, 4], vec![1]));
        let (dims, cuts) = merge(&[1, 1, 4], &mut [], &[2]);
        assert_eq!((dims, cuts), (vec![4], vec![0]));
    }

    #[test]
    fn leading_axes_merge_alone() {
        // Heads and batches of a dense product, and of one whose right operand repeats per batch.
        let dense = |last: [isize; 2]| Map { strides: vec![60, 20, last[0], last[1]], offset: 3 };
        let (mut a, mut b) = (dense([4, 1]), dense([5, 1]));
        assert_eq!(merge_leading(&[2, 3, 5, 4], 2, &mut [&mut a, &mut b]), [6, 5, 4]);
        assert_eq!((a.strides, b.strides, a.offset), (vec![20, 4, 1], vec![20, 5, 1], 3));
        let (mut a, mut b) = (dense([4, 1]), Map { strides: vec![0, 20, 5, 1], offset: 0 });
        assert_eq!(merge_leading(&[2, 3, 5, 4], 2, &mut [&mut a, &mut b]), [2, 3, 5, 4]);
        let mut one = Map { strides: vec![7, 9, 4, 1], offset: 0 };
        assert_eq!(merge_leading(&[1, 1, 5, 4], 2, &mut [&mut one]), [5, 4]);
        assert_eq!(one.strides, [4, 1]);
    }
}
