//! What may stand for a shape, for axes, and for ranges of indices.

use anychip_hal::{Error, Result};
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// An axis argument as an index: `-rank..rank` is accepted. `limit` is the rank, or one more where an axis is made.
pub(crate) fn resolve(what: &str, axis: i64, shape: &[usize], limit: usize) -> Result<usize> {
    let n = limit as i64;
    if (-n..n).contains(&axis) {
        return Ok(if axis < 0 { (axis + n) as usize } else { axis as usize });
    }
    let accepted = match n {
        0 => "it has no axes".to_string(),
        _ => format!("accepted are {}..={}", -n, n - 1),
    };
    Err(Error::ShapeMismatch(format!("{what}: axis {axis} of a tensor of shape {shape:?}: {accepted}")))
}

/// What may stand for a shape: a number, a tuple, an array, a slice, a vector. In [`Tensor::reshape`](crate::Tensor::reshape) one
/// extent may be -1, which stands for what is left.
pub trait IntoShape {
    /// The extents as they were written.
    fn extents(self) -> Vec<i64>;
}

/// A written extent or axis; numbers beyond `i64` become its largest and are refused later as too large.
trait Number: Copy {
    fn wide(self) -> i64;
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Number for $t {
            fn wide(self) -> i64 {
                i64::try_from(self).unwrap_or(i64::MAX)
            }
        }
        impl IntoShape for $t {
            fn extents(self) -> Vec<i64> {
                vec![self.wide()]
            }
        }
        impl<const N: usize> IntoShape for [$t; N] {
            fn extents(self) -> Vec<i64> {
                self.iter().map(|n| n.wide()).collect()
            }
        }
        impl<const N: usize> IntoShape for &[$t; N] {
            fn extents(self) -> Vec<i64> {
                self.iter().map(|n| n.wide()).collect()
            }
        }
        impl IntoShape for &[$t] {
            fn extents(self) -> Vec<i64> {
                self.iter().map(|n| n.wide()).collect()
            }
        }
        impl IntoShape for Vec<$t> {
            fn extents(self) -> Vec<i64> {
                self.as_slice().extents()
            }
        }
        impl IntoShape for &Vec<$t> {
            fn extents(self) -> Vec<i64> {
                self.as_slice().extents()
            }
        }
        impl Axes for $t {
            fn axes(&self) -> Option<Vec<i64>> {
                Some(vec![self.wide()])
            }
        }
        impl<const N: usize> Axes for [$t; N] {
            fn axes(&self) -> Option<Vec<i64>> {
                Some(self.iter().map(|n| n.wide()).collect())
            }
        }
        impl Axes for &[$t] {
            fn axes(&self) -> Option<Vec<i64>> {
                Some(self.iter().map(|n| n.wide()).collect())
            }
        }
    )*};
}
numbers!(usize i32 i64 isize);

impl IntoShape for () {
    fn extents(self) -> Vec<i64> {
        vec![]
    }
}

macro_rules! tuples {
    ($(($($name:ident)*);)*) => {$(
        #[allow(private_bounds, non_snake_case)]
        impl<$($name: Number),*> IntoShape for ($($name,)*) {
            fn extents(self) -> Vec<i64> {
                let ($($name,)*) = self;
                vec![$($name.wide()),*]
            }
        }
        #[allow(non_snake_case)]
        impl<$($name: Into<AxisRange>),*> IntoRanges for ($($name,)*) {
            fn ranges(self) -> Vec<AxisRange> {
                let ($($name,)*) = self;
                vec![$($name.into()),*]
            }
        }
    )*};
}
tuples! {
    (A);
    (A B);
    (A B C);
    (A B C D);
    (A B C D E);
    (A B C D E F);
    (A B C D E F G);
    (A B C D E F G H);
}

/// A shape for a new tensor: every extent at least 0.
pub(crate) fn shape(what: &str, shape: impl IntoShape) -> Result<Vec<usize>> {
    let extents = shape.extents();
    extents
        .iter()
        .map(|&n| usize::try_from(n))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::ShapeMismatch(format!("{what}: shape {extents:?} has a negative extent")))
}

/// What may stand for axes: a number, an array, a slice, or `..` for all of them.
pub trait Axes {
    /// The axes as they were written; `None`: all of them.
    fn axes(&self) -> Option<Vec<i64>>;
}

impl Axes for RangeFull {
    fn axes(&self) -> Option<Vec<i64>> {
        None
    }
}

/// Axes in rising order, each once.
pub(crate) fn resolve_all(what: &str, axes: &impl Axes, shape: &[usize]) -> Result<Vec<usize>> {
    let Some(written) = axes.axes() else { return Ok((0..shape.len()).collect()) };
    let mut found: Vec<usize> = written.iter().map(|&a| resolve(what, a, shape, shape.len())).collect::<Result<_>>()?;
    found.sort_unstable();
    if found.windows(2).any(|w| w[0] == w[1]) {
        return Err(Error::ShapeMismatch(format!("{what}: axes {written:?} of shape {shape:?} name one axis twice")));
    }
    Ok(found)
}

/// Indices along one axis. Made from `2..5`, `..`, `3..`, `..=-2`; negative numbers count from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AxisRange {
    start: Option<i64>,
    end: Option<i64>,
    /// The end itself is taken.
    inclusive: bool,
}

impl AxisRange {
    /// First index and length for an axis.
    pub(crate) fn on(self, axis: usize, shape: &[usize]) -> Result<(usize, usize)> {
        let n = shape[axis] as i64;
        let from_end = |i: i64| if i < 0 { i + n } else { i };
        let start = self.start.map_or(0, from_end);
        // An inclusive end may be the largest number there is, which has no next one and is beyond every axis.
        let end = self.end.map_or(Some(n), |e| from_end(e).checked_add(self.inclusive as i64));
        match end {
            Some(end) if start >= 0 && start <= end && end <= n => Ok((start as usize, (end - start) as usize)),
            _ => Err(Error::ShapeMismatch(format!("slice: {self} leaves axis {axis} of shape {shape:?} (extent {n})"))),
        }
    }
}

impl std::fmt::Display for AxisRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |x: Option<i64>| x.map_or(String::new(), |x| x.to_string());
        write!(f, "{}..{}{}", text(self.start), if self.inclusive { "=" } else { "" }, text(self.end))
    }
}

impl From<RangeFull> for AxisRange {
    fn from(_: RangeFull) -> AxisRange {
        AxisRange { start: None, end: None, inclusive: false }
    }
}

macro_rules! ranges {
    ($($t:ty)*) => {$(
        impl From<Range<$t>> for AxisRange {
            fn from(r: Range<$t>) -> AxisRange {
                AxisRange { start: Some(r.start.wide()), end: Some(r.end.wide()), inclusive: false }
            }
        }
        impl From<RangeFrom<$t>> for AxisRange {
            fn from(r: RangeFrom<$t>) -> AxisRange {
                AxisRange { start: Some(r.start.wide()), end: None, inclusive: false }
            }
        }
        impl From<RangeTo<$t>> for AxisRange {
            fn from(r: RangeTo<$t>) -> AxisRange {
                AxisRange { start: None, end: Some(r.end.wide()), inclusive: false }
            }
        }
        impl From<RangeInclusive<$t>> for AxisRange {
            fn from(r: RangeInclusive<$t>) -> AxisRange {
                AxisRange { start: Some(r.start().wide()), end: Some(r.end().wide()), inclusive: true }
            }
        }
        impl From<RangeToInclusive<$t>> for AxisRange {
            fn from(r: RangeToInclusive<$t>) -> AxisRange {
                AxisRange { start: None, end: Some(r.end.wide()), inclusive: true }
            }
        }
    )*};
}
ranges!(usize i32 i64 isize);

/// What may stand for the ranges of several axes, the first axis first: a tuple, an array, a vector. Axes that are not
/// named are taken whole.
pub trait IntoRanges {
    /// One range per named axis.
    fn ranges(self) -> Vec<AxisRange>;
}

impl<R: Into<AxisRange>, const N: usize> IntoRanges for [R; N] {
    fn ranges(self) -> Vec<AxisRange> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<R: Into<AxisRange>> IntoRanges for Vec<R> {
    fn ranges(self) -> Vec<AxisRange> {
        self.into_iter().map(Into::into).collect()
    }
}
