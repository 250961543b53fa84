//! Elements at computed places, sorting, triangles, padding: copies that have no error.
//!
//! Everything but [`scatter_add`] moves elements and works on any, so that tests compare bits.

use super::{
    array::{Array, indices},
    number::{Arithmetic, Number},
};
use std::cmp::Ordering;

/// Element `[i, j, k]` is, for axis 1, `x[i, index[i, j, k], k]`; `outside` where the index is not on the axis.
pub fn gather<T: Clone>(x: &Array<T>, axis: usize, index: &Array<i128>, outside: &T) -> Array<T> {
    Array::build(&index.shape, |i| {
        let id = *index.at(i);
        if !(0..x.shape[axis] as i128).contains(&id) {
            return outside.clone();
        }
        let mut at = i.to_vec();
        at[axis] = id as usize;
        x.at(&at).clone()
    })
}

/// The slices of an axis that ids name, in their order.
pub fn index_select<T: Clone>(x: &Array<T>, axis: usize, ids: &[i128], outside: &T) -> Array<T> {
    let mut shape = x.shape.clone();
    shape[axis] = ids.len();
    Array::build(&shape, |i| {
        let id = ids[i[axis]];
        if !(0..x.shape[axis] as i128).contains(&id) {
            return outside.clone();
        }
        let mut at = i.to_vec();
        at[axis] = id as usize;
        x.at(&at).clone()
    })
}

/// Rows of a table `[rows, width]`: ids of any shape give that shape and the width.
pub fn embedding<T: Clone>(table: &Array<T>, ids: &Array<i128>, outside: &T) -> Array<T> {
    let rows = index_select(table, 0, &ids.data, outside);
    let shape: Vec<usize> = ids.shape.iter().copied().chain([table.shape[1]]).collect();
    rows.reshape(&shape)
}

/// Elements of the flat array; the result has the shape of the ids.
pub fn take<T: Clone>(x: &Array<T>, ids: &Array<i128>, outside: &T) -> Array<T> {
    ids.map(|&id| usize::try_from(id).ok().and_then(|id| x.data.get(id)).unwrap_or(outside).clone())
}

/// For each update its place in `x`, in their order; updates to places that are not there go nowhere.
fn updates(x: &[usize], axis: usize, index: &Array<i128>) -> Vec<(Vec<usize>, Vec<usize>)> {
    indices(&index.shape)
        .filter_map(|from| {
            let id = *index.at(&from);
            let mut to = from.clone();
            to[axis] = usize::try_from(id).ok()?;
            (to[axis] < x[axis]).then_some((from, to))
        })
        .collect()
}

fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (&i, &n)| at * n + i)
}

/// x with elements of `source` in place of its own; the last of several stays.
pub fn scatter<T: Clone>(x: &Array<T>, axis: usize, index: &Array<i128>, source: &Array<T>) -> Array<T> {
    let mut out = x.clone();
    for (from, to) in updates(&x.shape, axis, index) {
        out.data[flat(&to, &x.shape)] = source.at(&from).clone();
    }
    out
}

/// x with elements of `source` added to its own, in any order.
pub fn scatter_add(
    a: &Arithmetic,
    x: &Array<Number>,
    axis: usize,
    index: &Array<i128>,
    source: &Array<Number>,
) -> Array<Number> {
    let mut terms: Vec<Vec<Number>> = x.data.iter().map(|&x| vec![x]).collect();
    for (from, to) in updates(&x.shape, axis, index) {
        terms[flat(&to, &x.shape)].push(*source.at(&from));
    }
    Array::new(&x.shape, terms.into_iter().map(|t| a.sum(t)).collect())
}

/// x with integers of `source` added, wrapping by `wrap`.
pub fn scatter_add_int(
    x: &Array<i128>,
    axis: usize,
    index: &Array<i128>,
    source: &Array<i128>,
    wrap: impl Fn(i128) -> i128,
) -> Array<i128> {
    let mut out = x.clone();
    for (from, to) in updates(&x.shape, axis, index) {
        let place = &mut out.data[flat(&to, &x.shape)];
        *place = wrap(*place + source.at(&from));
    }
    out
}

/// Order of floats for sorting: NaN is greater than all numbers and equal to NaN.
pub fn order(x: f64, y: f64) -> Ordering {
    x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
}

/// The positions that sort an axis; equal elements keep their order, in both directions.
pub fn argsort<T: Clone>(
    x: &Array<T>,
    axis: usize,
    descending: bool,
    order: impl Fn(&T, &T) -> Ordering,
) -> Array<i128> {
    let lines = x.lines(axis).map(|line| {
        let mut at: Vec<usize> = (0..line.len()).collect();
        at.sort_by(|&i, &j| if descending { order(&line[j], &line[i]) } else { order(&line[i], &line[j]) });
        at.into_iter().map(|i| i as i128).collect::<Vec<_>>()
    });
    Array::from_lines(&lines, axis, x.shape[axis])
}

/// The lower triangle of the last two axes: column ≤ row + diagonal; elsewhere `zero`.
pub fn tril<T: Clone>(x: &Array<T>, diagonal: i64, zero: &T) -> Array<T> {
    triangle(x, zero, |row, col| col <= row + diagonal)
}

/// The upper triangle: column ≥ row + diagonal.
pub fn triu<T: Clone>(x: &Array<T>, diagonal: i64, zero: &T) -> Array<T> {
    triangle(x, zero, |row, col| col >= row + diagonal)
}

fn triangle<T: Clone>(x: &Array<T>, zero: &T, keep: impl Fn(i64, i64) -> bool) -> Array<T> {
    let r = x.rank();
    Array::build(&x.shape, |i| if keep(i[r - 2] as i64, i[r - 1] as i64) { x.at(i).clone() } else { zero.clone() })
}

/// 1 where the last axis' index is the id, else 0; an id outside gives zeros.
pub fn one_hot(ids: &Array<i128>, classes: usize) -> Array<i128> {
    let shape: Vec<usize> = ids.shape.iter().copied().chain([classes]).collect();
    Array::build(&shape, |i| (*ids.at(&i[..i.len() - 1]) == i[i.len() - 1] as i128) as i128)
}

/// What stands beyond an edge.
#[derive(Debug, Clone, PartialEq)]
pub enum Rim<T> {
    /// One value.
    Constant(T),
    /// The elements next to the edge in reverse, the edge itself not repeated.
    Reflect,
    /// The element at the edge.
    Replicate,
}

/// Elements in front of and behind the last axes: `widths[i]` of axis `rank - widths.len() + i`; negative ones take away.
///
/// # Panics
/// When a reflection goes beyond the other edge.
pub fn pad<T: Clone>(x: &Array<T>, widths: &[[i64; 2]], rim: &Rim<T>) -> Array<T> {
    let lead = x.rank() - widths.len();
    let mut shape = x.shape.clone();
    for (i, [before, after]) in widths.iter().enumerate() {
        shape[lead + i] = (shape[lead + i] as i64 + before + after) as usize;
    }
    Array::build(&shape, |i| {
        let mut at = i.to_vec();
        for (axis, [before, _]) in widths.iter().enumerate() {
            let n = x.shape[lead + axis] as i64;
            let place = i[lead + axis] as i64 - before;
            let inside = (0..n).contains(&place);
            at[lead + axis] = match rim {
                _ if inside => place,
                Rim::Constant(value) => return value.clone(),
                Rim::Reflect if place < 0 => -place,
                Rim::Reflect => 2 * (n - 1) - place,
                Rim::Replicate => place.clamp(0, n - 1),
            } as usize;
        }
        x.at(&at).clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{format::Type, number::Facts};

    fn ints(shape: &[usize], x: &[i128]) -> Array<i128> {
        Array::new(shape, x.to_vec())
    }

    #[test]
    fn places_by_hand() {
        let x = ints(&[2, 3], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(gather(&x, 1, &ints(&[2, 2], &[2, 0, 1, 9]), &-7).data, [2, 0, 4, -7]);
        assert_eq!(index_select(&x, 0, &[1, 1, -1], &9).data, [3, 4, 5, 3, 4, 5, 9, 9, 9]);
        assert_eq!(embedding(&x, &ints(&[1, 2], &[1, 0]), &9).shape, [1, 2, 3]);
        assert_eq!(take(&x, &ints(&[3], &[5, -1, 6]), &9).data, [5, 9, 9]);
        let index = ints(&[2, 2], &[0, 0, 2, 7]);
        let source = ints(&[2, 2], &[10, 20, 30, 40]);
        assert_eq!(scatter(&x, 1, &index, &source).data, [20, 1, 2, 3, 4, 30]);
        assert_eq!(scatter_add_int(&x, 1, &index, &source, |x| x % 32).data, [30, 1, 2, 3, 4, 3]);
        let a = Arithmetic::new(Type::F32, Facts::IEEE).without_rounding();
        let real = |x: &Array<i128>| x.map(|&x| Number::from(x as f64));
        let sum = scatter_add(&a, &real(&x), 1, &index, &real(&source));
        assert_eq!(sum.data[0], Number::from(30.0));
        assert_eq!(tril(&x, 0, &0).data, [0, 0, 0, 3, 4, 0]);
        assert_eq!(triu(&x, 1, &0).data, [0, 1, 2, 0, 0, 5]);
        assert_eq!(one_hot(&ints(&[3], &[1, 0, 5]), 2).data, [0, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn sorting_is_stable_and_nan_is_largest() {
        let x = Array::new(&[5], vec![2.0, f64::NAN, 1.0, 2.0, f64::NEG_INFINITY]);
        assert_eq!(argsort(&x, 0, false, |a, b| order(*a, *b)).data, [4, 2, 0, 3, 1]);
        assert_eq!(argsort(&x, 0, true, |a, b| order(*a, *b)).data, [1, 0, 3, 2, 4]);
        let rows = ints(&[2, 2], &[3, 1, 0, 5]);
        assert_eq!(argsort(&rows, 0, false, i128::cmp).data, [1, 0, 0, 1]);
    }

    #[test]
    fn rims() {
        let x = ints(&[3], &[1, 2, 3]);
        assert_eq!(pad(&x, &[[1, 2]], &Rim::Constant(0)).data, [0, 1, 2, 3, 0, 0]);
        assert_eq!(pad(&x, &[[2, 1]], &Rim::Reflect).data, [3, 2, 1, 2, 3, 2]);
        assert_eq!(pad(&x, &[[2, 1]], &Rim::Replicate).data, [1, 1, 1, 2, 3, 3]);
        assert_eq!(pad(&x, &[[-1, 1]], &Rim::Constant(9)).data, [2, 3, 9]);
        let y = ints(&[1, 2], &[1, 2]);
        assert_eq!(pad(&y, &[[1, 0], [0, 1]], &Rim::Constant(0)).data, [0, 0, 0, 1, 2, 0]);
    }
}
