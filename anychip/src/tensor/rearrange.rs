//! Parts, repeats, rolls and diagonals: compositions of views, copied only where a repeat has to be.

use super::{
    Tensor,
    axes::{IntoShape, shape},
};
use anychip_hal::{DType, Error, Result, op::ReduceOp};
use anychip_kernels::{Node, View};

impl Tensor {
    /// Parts of the given extents along an axis, in order; they must make up the axis.
    ///
    /// # Errors
    /// `ShapeMismatch` when the extents do not add up to that of the axis.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let parts = Tensor::arange(0i32, 6, &device)?.split(&[1, 3, 2], 0)?;
    /// assert_eq!(parts[1].to_vec1::<i32>()?, [1, 2, 3]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn split(&self, extents: &[usize], axis: i64) -> Result<Vec<Tensor>> {
        let at = self.axis("split", axis)?;
        let n = self.dims()[at];
        let total = extents.iter().try_fold(0usize, |sum, &e| sum.checked_add(e));
        if total != Some(n) {
            return Err(self
                .shape_error("split", &format!("has extent {n} along axis {at}, which {extents:?} do not add up to")));
        }
        let mut start = 0;
        let mut part = |len| {
            let part = self.narrow(at as i64, start, len);
            start += len;
            part
        };
        extents.iter().map(|&len| part(len)).collect()
    }

    /// The slices of an axis, each without it.
    pub fn unbind(&self, axis: i64) -> Result<Vec<Tensor>> {
        let at = self.axis("unbind", axis)?;
        (0..self.dims()[at]).map(|i| self.narrow(at as i64, i, 1)?.squeeze(at as i64)).collect()
    }

    /// An axis moves to where another one is; the others keep their order.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{DType, Tensor};
    /// assert_eq!(Tensor::zeros((2, 3, 4), DType::F32, &device)?.movedim(0, -1)?.dims(), [3, 4, 2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    #[doc(alias = "moveaxis")]
    pub fn movedim(&self, from: i64, to: i64) -> Result<Tensor> {
        let (from, to) = (self.axis("movedim", from)?, self.axis("movedim", to)?);
        let mut order: Vec<usize> = (0..self.rank()).collect();
        let moved = order.remove(from);
        order.insert(to, moved);
        self.view(View::Permute(order))
    }

    /// The elements of an axis moved on by `shift` places; what leaves at the end comes back at the beginning. A negative shift
    /// moves towards the beginning.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// assert_eq!(Tensor::arange(0i32, 5, &device)?.roll(2, 0)?.to_vec1::<i32>()?, [3, 4, 0, 1, 2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn roll(&self, shift: i64, axis: i64) -> Result<Tensor> {
        let at = self.axis("roll", axis)?;
        let n = self.dims()[at];
        let shift = if n == 0 { 0 } else { (shift as i128).rem_euclid(n as i128) as usize };
        if shift == 0 {
            return Ok(self.clone());
        }
        let (at, kept) = (at as i64, n - shift);
        Tensor::cat(&[self.narrow(at, kept, shift)?, self.narrow(at, 0, kept)?], at)
    }

    /// The whole tensor repeated along each axis, as often as `times` says; more numbers than axes make new axes in front.
    ///
    /// # Errors
    /// `ShapeMismatch` for fewer numbers than axes, or a result that is too large.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1i32, 2], 2, &device)?;
    /// assert_eq!(x.repeat((2, 2))?.to_vec2::<i32>()?, [[1, 2, 1, 2], [1, 2, 1, 2]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn repeat(&self, times: impl IntoShape) -> Result<Tensor> {
        let times = shape("repeat", times)?;
        if times.len() < self.rank() {
            return Err(self.shape_error("repeat", &format!("has more axes than {times:?} has numbers")));
        }
        self.repeated(&times)
    }

    /// The whole tensor repeated along its last axes, as often as `times` says; as NumPy's `tile`, other axes stay.
    ///
    /// # Errors
    /// `ShapeMismatch` for a result that is too large.
    pub fn tile(&self, times: impl IntoShape) -> Result<Tensor> {
        let times = shape("tile", times)?;
        let front = vec![1; self.rank().saturating_sub(times.len())];
        self.repeated(&[front, times].concat())
    }

    /// One number for each axis, and for new ones in front.
    fn repeated(&self, times: &[usize]) -> Result<Tensor> {
        let mut to = vec![1; times.len() - self.rank()];
        to.extend(self.dims());
        let mut out = self.view(View::Reshape(to.clone()))?;
        for (axis, &n) in times.iter().enumerate().filter(|&(_, &n)| n != 1) {
            let own = std::mem::replace(&mut to[axis], 0);
            let (outer, inner) = (to[..axis].iter().product(), to[axis + 1..].iter().product());
            to[axis] = too_long("repeat", own.checked_mul(n), self)?;
            let spread = out.view(View::Reshape(vec![outer, 1, own, inner]))?;
            out = spread.view(View::Expand(vec![outer, n, own, inner]))?.view(View::Reshape(to.clone()))?;
        }
        Ok(out)
    }

    /// Each slice of an axis repeated `times` times, next to itself.
    ///
    /// # Errors
    /// `ShapeMismatch` for a result that is too large.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1i32, 2], 2, &device)?;
    /// assert_eq!(x.repeat_interleave(3, 0)?.to_vec1::<i32>()?, [1, 1, 1, 2, 2, 2]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn repeat_interleave(&self, times: usize, axis: i64) -> Result<Tensor> {
        let at = self.axis("repeat_interleave", axis)?;
        let mut to = self.dims().to_vec();
        let outer = to[..=at].iter().product();
        let inner = to[at + 1..].iter().product();
        to[at] = too_long("repeat_interleave", to[at].checked_mul(times), self)?;
        let spread = self.view(View::Reshape(vec![outer, 1, inner]))?;
        spread.view(View::Expand(vec![outer, times, inner]))?.view(View::Reshape(to))
    }

    /// Coordinates of a grid from those along its axes: of n tensors of rank 1, each seen over all of the n axes; tensor i varies along
    /// axis i (PyTorch's `indexing="ij"`).
    ///
    /// # Errors
    /// `InvalidArgument` for no tensors or tensors of several devices, `ShapeMismatch` for other ranks than 1 and more than 8 tensors.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let (y, x) = (Tensor::arange(0i32, 2, &device)?, Tensor::arange(0i32, 3, &device)?);
    /// let grid = Tensor::meshgrid(&[y, x])?;
    /// assert_eq!(grid[0].to_vec2::<i32>()?, [[0, 0, 0], [1, 1, 1]]);
    /// assert_eq!(grid[1].to_vec2::<i32>()?, [[0, 1, 2], [0, 1, 2]]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn meshgrid<T: AsRef<Tensor>>(tensors: &[T]) -> Result<Vec<Tensor>> {
        let Some(first) = tensors.first().map(AsRef::as_ref) else {
            return Err(Error::invalid("meshgrid: no tensors given"));
        };
        let mut grid = vec![];
        for t in tensors.iter().map(AsRef::as_ref) {
            t.on("meshgrid", &first.device)?;
            t.expect_rank("meshgrid", 1)?;
            grid.push(t.elem_count());
        }
        let seen = |(i, t): (usize, &T)| {
            let mut unit = vec![1; grid.len()];
            unit[i] = grid[i];
            t.as_ref().view(View::Reshape(unit))?.view(View::Expand(grid.clone()))
        };
        tensors.iter().enumerate().map(seen).collect()
    }

    /// The diagonal of the last two axes, or of each matrix of a batch: `[…, m, n]` gives `[…, d]`. A positive offset counts
    /// columns to the right of the main diagonal, a negative one rows below it; beyond the matrix the diagonal is empty.
    ///
    /// # Errors
    /// `ShapeMismatch` for fewer than two axes.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::arange(0i32, 6, &device)?.reshape((2, 3))?;
    /// assert_eq!(x.diagonal(1)?.to_vec1::<i32>()?, [1, 5]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn diagonal(&self, offset: i64) -> Result<Tensor> {
        let Some((&[m, n], batch)) = self.dims().split_last_chunk::<2>().map(|(batch, last)| (last, batch)) else {
            return Err(self.shape_error("diagonal", "has fewer than two axes"));
        };
        let away = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let (row, col) = if offset < 0 { (away, 0) } else { (0, away) };
        let len = m.saturating_sub(row).min(n.saturating_sub(col));
        let mut to = batch.to_vec();
        to.push(m * n);
        let flat = self.view(View::Reshape(to.clone()))?;
        let last = batch.len();
        let (mut start, mut step) = (vec![0; last + 1], vec![1; last + 1]);
        (start[last], step[last], to[last]) = (if len == 0 { 0 } else { row * n + col }, n as isize + 1, len);
        flat.view(View::Slice { start, step, len: to })
    }

    /// Matrices of zeros with the last axis on a diagonal: `[…, n]` gives `[…, m, m]`, m = n + |offset|. What
    /// [`Tensor::diagonal`] with the same offset takes back.
    ///
    /// # Errors
    /// `ShapeMismatch` for a tensor without axes or a result that is too large.
    pub fn diag_embed(&self, offset: i64) -> Result<Tensor> {
        let Some((&n, batch)) = self.dims().split_last() else {
            return Err(self.shape_error("diag_embed", "has no axis to put on a diagonal"));
        };
        let away = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
        let m = too_long("diag_embed", n.checked_add(away), self)?;
        // The elements by row above the main diagonal, by column below it.
        let rest: Vec<usize> = batch.iter().copied().chain([away]).collect();
        let zeros = Tensor::zeros(rest, self.dtype(), &self.device)?;
        let long = if away == 0 { self.clone() } else { Tensor::cat(&[self, &zeros], -1)? };
        let index = |axis| Ok::<_, Error>(self.with(Node::iota(axis, DType::U32, &[m, m])?));
        let (from, other) = if offset < 0 { (1, 0) } else { (0, 1) };
        let here = index(from)?.add(away)?.eq(&index(other)?)?;
        let spread = long.unsqueeze(if offset < 0 { -2 } else { -1 })?;
        here.where_cond(&spread, Tensor::zeros((), self.dtype(), &self.device)?)
    }

    /// Which interval each element falls into: how many of the rising `boundaries` (rank 1, this tensor's type) lie below it, as u32;
    /// with `right`, below it or equal to it. NaN lies above all. Each element looks at every boundary.
    ///
    /// # Errors
    /// `ShapeMismatch` for boundaries of another rank or an own rank of 8, `DTypeMismatch` for another type.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![0f32, 1., 2.5, 9.], 4, &device)?;
    /// let edges = Tensor::from_vec(vec![1f32, 2., 3.], 3, &device)?;
    /// assert_eq!(x.bucketize(&edges, false)?.to_vec1::<u32>()?, [0, 0, 2, 3]);
    /// assert_eq!(x.bucketize(&edges, true)?.to_vec1::<u32>()?, [0, 1, 2, 3]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    #[doc(alias = "searchsorted")]
    pub fn bucketize(&self, boundaries: &Tensor, right: bool) -> Result<Tensor> {
        boundaries.on("bucketize", &self.device)?;
        boundaries.expect_rank("bucketize: boundaries", 1)?;
        let x = self.unsqueeze(-1)?;
        // Not above or equal, so that NaN is above all.
        let above = if right { boundaries.gt(&x)? } else { boundaries.ge(&x)? };
        let last = above.rank() - 1;
        // A count of boundaries is a position: u32, as everywhere.
        above.not()?.to_dtype(DType::U32)?.reduce(ReduceOp::Sum, &[last])?.without(&[last])
    }
}

fn too_long(what: &str, n: Option<usize>, x: &Tensor) -> Result<usize> {
    n.ok_or_else(|| Error::ShapeMismatch(format!("{what}: shape {:?} becomes too long", x.dims())))
}
