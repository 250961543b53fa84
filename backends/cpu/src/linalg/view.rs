//! Strided matrices over slices: shapes and strides are checked once, here, so that the inner loops need not.
//! Knows nothing of arithmetic.

use crate::vmath::convert::{from_bf16, from_f16, to_bf16, to_f16};
use half::{bf16, f16};
use std::fmt;

/// Why an operand was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinalgError {
    /// Shape and strides reach past the slice's end.
    OutOfBounds {
        /// Shape of the view, `[outer batch, inner batch, rows, cols]`.
        shape: [usize; 4],
        /// Strides of the view, in elements.
        strides: [usize; 4],
        /// Elements in the slice.
        len: usize,
    },
    /// Two elements of an output share a place, so that their order of writing would matter.
    Overlap {
        /// Shape of the output.
        shape: [usize; 4],
        /// Strides of the output, in elements.
        strides: [usize; 4],
    },
    /// Two operands do not fit together.
    Shape {
        /// The operand that does not fit.
        operand: &'static str,
        /// Its shape.
        found: [usize; 4],
        /// The shape that would have been accepted.
        wanted: [usize; 4],
    },
}

impl fmt::Display for LinalgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinalgError::OutOfBounds { shape, strides, len } => {
                write!(f, "shape {shape:?} with strides {strides:?} reaches past the end of a slice of {len} elements")
            }
            LinalgError::Overlap { shape, strides } => {
                write!(f, "output of shape {shape:?} with strides {strides:?} overlaps itself")
            }
            LinalgError::Shape { operand, found, wanted } => {
                write!(f, "{operand} has shape {found:?}, but {wanted:?} is needed")
            }
        }
    }
}

impl std::error::Error for LinalgError {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// An element that converts to f32 without loss, and from it with rounding: f32, f16, bf16.
pub trait Element: Copy + Send + Sync + 'static + sealed::Sealed {
    /// Whether the type is f32 itself, so that it may be read in place.
    const IS_F32: bool = false;
    /// The value as f32, without branches.
    fn to_f32(self) -> f32;
    /// Rounded to nearest even, without branches.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    const IS_F32: bool = true;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }
}

impl Element for f16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        from_f16(self)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f16 {
        to_f16(x)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        from_bf16(self)
    }
    #[inline(always)]
    fn from_f32(x: f32) -> bf16 {
        to_bf16(x)
    }
}

/// Elements that a view of this shape and these strides reaches over, or `None` on overflow.
fn reach(shape: [usize; 4], strides: [usize; 4]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let mut last = 0usize;
    for (n, s) in shape.into_iter().zip(strides) {
        last = last.checked_add((n - 1).checked_mul(s)?)?;
    }
    last.checked_add(1)
}

/// Matrices to read: `[outer batch, inner batch, rows, cols]` with any strides in elements, zero to broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Matrices<'a, T> {
    data: &'a [T],
    shape: [usize; 4],
    strides: [usize; 4],
}

impl<'a, T: Copy> Matrices<'a, T> {
    /// A view of `data`, whose first element is element `[0, 0, 0, 0]`.
    ///
    /// # Errors
    /// [`LinalgError::OutOfBounds`] when an element would lie outside the slice.
    pub fn new(data: &'a [T], shape: [usize; 4], strides: [usize; 4]) -> Result<Self, LinalgError> {
        match reach(shape, strides) {
            Some(n) if n <= data.len() => Ok(Matrices { data, shape, strides }),
            _ => Err(LinalgError::OutOfBounds { shape, strides, len: data.len() }),
        }
    }

    /// One row-major matrix.
    ///
    /// # Errors
    /// [`LinalgError::OutOfBounds`] when the slice is shorter than `rows · cols`.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Result<Self, LinalgError> {
        Self::new(data, [1, 1, rows, cols], [0, 0, cols, 1])
    }

    /// The matrices transposed: rows become columns. Costs nothing.
    pub fn t(self) -> Self {
        let ([b, h, r, c], [sb, sh, sr, sc]) = (self.shape, self.strides);
        Matrices { data: self.data, shape: [b, h, c, r], strides: [sb, sh, sc, sr] }
    }

    /// `[outer batch, inner batch, rows, cols]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Strides in elements, in the order of the shape.
    pub fn strides(&self) -> [usize; 4] {
        self.strides
    }

    /// Pointer to element `[outer, inner, row, col]`; inside the slice whenever the index is inside the shape.
    pub(crate) fn at(&self, index: [usize; 4]) -> *const T {
        let offset: usize = index.iter().zip(self.strides).map(|(i, s)| i * s).sum();
        self.data.as_ptr().wrapping_add(offset)
    }

    /// The same view with batch dimensions of size 1 repeated up to `batch`.
    pub(crate) fn broadcast(self, operand: &'static str, [outer, inner]: [usize; 2]) -> Result<Self, LinalgError> {
        let [_, _, rows, cols] = self.shape;
        self.repeated(operand, [outer, inner, rows, cols])
    }
}

impl<T: Copy> Matrices<'_, T> {
    /// The same view with every dimension of size 1 repeated up to `shape`.
    pub(crate) fn repeated(mut self, operand: &'static str, shape: [usize; 4]) -> Result<Self, LinalgError> {
        let found = self.shape;
        for (i, &n) in shape.iter().enumerate() {
            if self.shape[i] == 1 && n != 1 {
                (self.shape[i], self.strides[i]) = (n, 0);
            } else if self.shape[i] != n {
                return Err(LinalgError::Shape { operand, found, wanted: shape });
            }
        }
        Ok(self)
    }
}

/// Matrices to write: `[outer batch, inner batch, rows, cols]`, columns adjacent, no two elements in one place.
#[derive(Debug)]
pub struct MatricesMut<'a, T> {
    data: &'a mut [T],
    shape: [usize; 4],
    strides: [usize; 4],
}

impl<'a, T: Copy> MatricesMut<'a, T> {
    /// A view of `data`; `strides` are those of outer batch, inner batch and row, the columns are adjacent.
    ///
    /// # Errors
    /// [`LinalgError::OutOfBounds`] when an element would lie outside the slice, [`LinalgError::Overlap`] when two elements
    /// would share a place.
    pub fn new(data: &'a mut [T], shape: [usize; 4], strides: [usize; 3]) -> Result<Self, LinalgError> {
        let strides = [strides[0], strides[1], strides[2], 1];
        if reach(shape, strides).is_none_or(|n| n > data.len()) {
            return Err(LinalgError::OutOfBounds { shape, strides, len: data.len() });
        }
        // Sorted by stride, each dimension must step over all that the smaller ones reach.
        let mut dims: Vec<(usize, usize)> = strides.into_iter().zip(shape).filter(|&(_, n)| n > 1).collect();
        dims.sort_unstable();
        let mut span = 1;
        for (stride, n) in dims {
            if stride < span && !shape.contains(&0) {
                return Err(LinalgError::Overlap { shape, strides });
            }
            span += (n - 1) * stride;
        }
        Ok(MatricesMut { data, shape, strides })
    }

    /// One row-major matrix.
    ///
    /// # Errors
    /// [`LinalgError::OutOfBounds`] when the slice is shorter than `rows · cols`.
    pub fn row_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, LinalgError> {
        Self::new(data, [1, 1, rows, cols], [0, 0, cols])
    }

    /// `[outer batch, inner batch, rows, cols]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Strides in elements, in the order of the shape; the last is 1.
    pub fn strides(&self) -> [usize; 4] {
        self.strides
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.data.as_mut_ptr()
    }
}

/// Where a block of finished output lies: the argument of an epilogue. Rows are in cache; no other thread touches them.
#[derive(Debug)]
pub struct Tile<'a> {
    /// `[outer, inner]` index of the matrix.
    pub batch: [usize; 2],
    /// First row of the block in its matrix.
    pub row0: usize,
    /// First column of the block in its matrix.
    pub col0: usize,
    /// Rows of the block.
    pub rows: usize,
    /// Columns of the block.
    pub cols: usize,
    data: *mut f32,
    row_stride: usize,
    life: std::marker::PhantomData<&'a mut [f32]>,
}

impl Tile<'_> {
    /// # Safety
    /// `data` points to `rows` rows of `cols` elements, `row_stride` apart, that this thread alone touches for as long as
    /// the tile lives, and `row_stride ≥ cols` when there is more than one row.
    pub(crate) unsafe fn new(
        batch: [usize; 2],
        (row0, col0): (usize, usize),
        (rows, cols): (usize, usize),
        data: *mut f32,
        row_stride: usize,
    ) -> Self {
        Tile { batch, row0, col0, rows, cols, data, row_stride, life: std::marker::PhantomData }
    }

    /// Row `row0 + i` of the output, columns `col0 .. col0 + cols`.
    ///
    /// # Panics
    /// When `i ≥ rows`.
    pub fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of a tile of {} rows", self.rows);
        // SAFETY: inside the block, which is ours alone (`new`); `&mut self` keeps rows from being borrowed twice.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.cols) }
    }
}
