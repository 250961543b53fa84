//! Pooling: the largest or the mean of windows along the last axes. Compositions of padding, windows and reductions.

use super::{
    Tensor,
    operand::Scalar,
    spatial::{Extents, host_list, span},
};
use anychip_hal::{
    DType, Error, Result,
    ir::build::encode_f64,
    op::{Op, ReduceOp},
};
use anychip_kernels::{
    View,
    shape::{elements, windows},
};

/// Windows of a pooling: `Pool2d::new(3).stride(2).padding(1)`. A number, or one per axis, stands for windows of that size
/// side by side: `x.max_pool2d(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool<const N: usize> {
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    dilation: [usize; N],
    ceil_mode: bool,
    count_include_pad: bool,
}

/// Windows along the last axis.
pub type Pool1d = Pool<1>;
/// Windows along the last two axes.
pub type Pool2d = Pool<2>;

impl<const N: usize> Pool<N> {
    /// Windows of a size, side by side.
    pub fn new(kernel: impl Extents<N>) -> Pool<N> {
        let kernel = kernel.extents();
        Pool { kernel, stride: kernel, padding: [0; N], dilation: [1; N], ceil_mode: false, count_include_pad: true }
    }
    /// From the first element of a window to the first of the next.
    pub fn stride(self, stride: impl Extents<N>) -> Pool<N> {
        Pool { stride: stride.extents(), ..self }
    }
    /// Elements in front of and behind each axis; at most half a window. They are never the largest; in a mean they count as 0.
    pub fn padding(self, padding: impl Extents<N>) -> Pool<N> {
        Pool { padding: padding.extents(), ..self }
    }
    /// From an element of a window to its next; for the largest only.
    pub fn dilation(self, dilation: impl Extents<N>) -> Pool<N> {
        Pool { dilation: dilation.extents(), ..self }
    }
    /// A last window may go beyond the end, when it begins inside the tensor or the padding in front. What is beyond the
    /// padding does not count.
    pub fn ceil_mode(self, on: bool) -> Pool<N> {
        Pool { ceil_mode: on, ..self }
    }
    /// The mean is over padding too (as PyTorch has it); otherwise over elements of the tensor only.
    pub fn count_include_pad(self, on: bool) -> Pool<N> {
        Pool { count_include_pad: on, ..self }
    }

    /// Per axis: windows, and elements to add behind the padding for a last window that goes beyond it.
    fn plan(&self, what: &str, x: &Tensor) -> Result<[(usize, usize); N]> {
        let lead = spatial_axes::<N>(what, x)?;
        let mut plan = [(0, 0); N];
        for (i, planned) in plan.iter_mut().enumerate() {
            let (n, k, s, p, d) =
                (x.dims()[lead + i], self.kernel[i], self.stride[i], self.padding[i], self.dilation[i]);
            let refused = |why: &str| {
                Error::ShapeMismatch(format!(
                    "{what}: windows of {k} elements, {d} apart, one every {s}, on axis {} of {:?} (extent {n}) with a padding of \
                     {p}: {why}",
                    lead + i,
                    x.dims()
                ))
            };
            if k == 0 || s == 0 || d == 0 {
                return Err(refused("size, stride and dilation are at least 1"));
            }
            let reach = span(k, d);
            if p > reach / 2 {
                return Err(refused(&format!(
                    "the padding is at most half of what a window reaches over, {}",
                    reach / 2
                )));
            }
            let padded = p.checked_mul(2).and_then(|p| n.checked_add(p)).unwrap_or(usize::MAX);
            let Some(mut count) = windows(padded, k, s, d).filter(|_| n > 0 && padded < usize::MAX / 4) else {
                return Err(refused(&format!("a window reaches over {reach}, there are {padded} with the padding")));
            };
            let mut beyond = 0;
            if self.ceil_mode && !(padded - reach).is_multiple_of(s) && count.saturating_mul(s) < n + p {
                beyond = count * s + reach - padded;
                count += 1;
            }
            *planned = (count, beyond);
        }
        Ok(plan)
    }

    /// The windows of x, padded with the bits of an element: `[…, count…, size…]`.
    fn windows(&self, x: &Tensor, plan: &[(usize, usize); N], value: u64) -> Result<Tensor> {
        let lead = x.rank() - N;
        let (mut before, mut after) = (vec![0; x.rank()], vec![0; x.rank()]);
        for i in 0..N {
            before[lead + i] = self.padding[i];
            after[lead + i] = self.padding[i] + plan[i].1;
        }
        let padded = match before.iter().chain(&after).any(|&n| n > 0) {
            true => x.op(Op::Pad { before, after, value }, &[])?,
            false => x.clone(),
        };
        padded.windows(self.kernel, self.stride, self.dilation)
    }
}

impl<const N: usize> From<usize> for Pool<N> {
    fn from(kernel: usize) -> Pool<N> {
        Pool::new(kernel)
    }
}

impl<const N: usize> From<[usize; N]> for Pool<N> {
    fn from(kernel: [usize; N]) -> Pool<N> {
        Pool::new(kernel)
    }
}

/// The first of the last N axes.
fn spatial_axes<const N: usize>(what: &str, x: &Tensor) -> Result<usize> {
    x.rank()
        .checked_sub(N)
        .ok_or_else(|| x.shape_error(what, &format!("has rank {}, at least {N} is needed", x.rank())))
}

/// The type in which a mean is taken.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The smallest value of a type: what never is the largest.
fn lowest(dtype: DType) -> Result<u64> {
    match dtype {
        DType::Bool => Ok(0),
        d if d.is_float() => Ok(encode_f64(d.into(), f64::NEG_INFINITY)),
        d if d.is_signed() => Scalar::Int(-(1i128 << (8 * d.size() - 1))).bits("max_pool", d),
        _ => Ok(0),
    }
}

impl Tensor {
    /// The largest element of each window along the last axis; NaN when one is NaN. See [`Pool`].
    pub fn max_pool1d(&self, windows: impl Into<Pool1d>) -> Result<Tensor> {
        self.max_pool("max_pool1d", windows.into())
    }

    /// The largest element of each window along the last two axes, usually of `[batch, channels, height, width]`; NaN when one
    /// is NaN. See [`Pool`].
    ///
    /// # Errors
    /// `ShapeMismatch` when a window does not fit, a number is 0, or the padding is more than half a window.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{Pool2d, Tensor};
    /// let x = Tensor::arange(0f32, 16., &device)?.reshape((1, 1, 4, 4))?;
    /// assert_eq!(x.max_pool2d(2)?.to_vec::<f32>()?, [5., 7., 13., 15.]);
    /// assert_eq!(x.avg_pool2d(Pool2d::new(2).stride(2))?.to_vec::<f32>()?, [2.5, 4.5, 10.5, 12.5]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn max_pool2d(&self, windows: impl Into<Pool2d>) -> Result<Tensor> {
        self.max_pool("max_pool2d", windows.into())
    }

    /// The mean of each window along the last axis; floats only, 16-bit types are summed in f32. See [`Pool`].
    pub fn avg_pool1d(&self, windows: impl Into<Pool1d>) -> Result<Tensor> {
        self.avg_pool("avg_pool1d", windows.into())
    }

    /// The mean of each window along the last two axes; floats only, 16-bit types are summed in f32. See [`Pool`].
    ///
    /// # Errors
    /// As [`Tensor::max_pool2d`]; `DTypeMismatch` for what is no float; `InvalidArgument` for a dilation.
    pub fn avg_pool2d(&self, windows: impl Into<Pool2d>) -> Result<Tensor> {
        self.avg_pool("avg_pool2d", windows.into())
    }

    fn max_pool<const N: usize>(&self, what: &str, pool: Pool<N>) -> Result<Tensor> {
        let plan = pool.plan(what, self)?;
        let windows = pool.windows(self, &plan, lowest(self.dtype())?)?;
        windows.over_last::<N>(ReduceOp::Max)
    }

    fn avg_pool<const N: usize>(&self, what: &str, pool: Pool<N>) -> Result<Tensor> {
        self.expect_float(what)?;
        if pool.dilation != [1; N] {
            let why = format!("{what}: a dilation of {:?}: elements of a mean are adjacent", pool.dilation);
            return Err(Error::invalid(why));
        }
        let plan = pool.plan(what, self)?;
        let sums = pool.windows(self, &plan, 0)?.to_dtype(wide(self.dtype()))?.over_last::<N>(ReduceOp::Sum)?;
        let lead = self.rank() - N;
        // Per axis: how many elements of each window count.
        let mut divisor = Tensor::full(1f32, (), &self.device)?.to_dtype(sums.dtype())?;
        for (i, &(windows, _)) in plan.iter().enumerate() {
            let (n, p) = (self.dims()[lead + i], pool.padding[i]);
            let (from, to) = if pool.count_include_pad { (0, n + 2 * p) } else { (p, p + n) };
            let count = |w: usize| {
                let first = w * pool.stride[i];
                (first + pool.kernel[i]).min(to).saturating_sub(first.max(from))
            };
            divisor = divisor.mul(&self.along(windows, count, N - 1 - i, sums.dtype())?)?;
        }
        sums.div(&divisor)?.to_dtype(self.dtype())
    }

    /// Counts along an axis that so many axes follow, to broadcast; one number when they are all the same.
    fn along(&self, n: usize, count: impl Fn(usize) -> usize, behind: usize, dtype: DType) -> Result<Tensor> {
        // Before numbers are listed: a tensor that is only looked at may have more elements than the memory.
        if self.elem_count() == 0 || (1..n).all(|i| count(i) == count(0)) {
            return Tensor::full(count(0) as f32, (), &self.device)?.to_dtype(dtype);
        }
        let mut shape = vec![n];
        shape.extend(std::iter::repeat_n(1, behind));
        Tensor::from_vec(host_list("pool", n, |i| count(i) as f32)?, shape, &self.device)?.to_dtype(dtype)
    }

    /// Reduces the last N axes, which go.
    fn over_last<const N: usize>(&self, op: ReduceOp) -> Result<Tensor> {
        let lead = self.rank() - N;
        let reduced = self.op(Op::Reduce { op, axes: (lead..self.rank()).collect() }, &[])?;
        reduced.view(View::Reshape(self.dims()[..lead].to_vec()))
    }

    /// The largest element of each of `size` stretches that cover the last axis evenly. See [`Tensor::adaptive_avg_pool2d`].
    pub fn adaptive_max_pool1d(&self, size: impl Extents<1>) -> Result<Tensor> {
        self.adaptive("adaptive_max_pool1d", size.extents(), ReduceOp::Max)
    }

    /// The largest element of each of `size` stretches that cover each of the last two axes evenly. See
    /// [`Tensor::adaptive_avg_pool2d`].
    pub fn adaptive_max_pool2d(&self, size: impl Extents<2>) -> Result<Tensor> {
        self.adaptive("adaptive_max_pool2d", size.extents(), ReduceOp::Max)
    }

    /// The mean of each of `size` stretches that cover the last axis evenly. See [`Tensor::adaptive_avg_pool2d`].
    pub fn adaptive_avg_pool1d(&self, size: impl Extents<1>) -> Result<Tensor> {
        self.adaptive_mean("adaptive_avg_pool1d", size.extents())
    }

    /// The mean of each of `size` stretches that cover each of the last two axes evenly: of n elements, stretch i of s goes from
    /// ⌊i·n/s⌋ to before ⌈(i+1)·n/s⌉, as PyTorch has it. `1` is the global mean. Floats only, 16-bit types are summed in f32.
    ///
    /// # Errors
    /// `ShapeMismatch` when an axis has no elements or a size is 0; `DTypeMismatch` for what is no float.
    pub fn adaptive_avg_pool2d(&self, size: impl Extents<2>) -> Result<Tensor> {
        self.adaptive_mean("adaptive_avg_pool2d", size.extents())
    }

    /// The mean over all axes behind the second (`[batch, channels, …]`), which stay with extent 1.
    pub fn global_avg_pool(&self) -> Result<Tensor> {
        self.mean_keepdim(&self.behind_channels("global_avg_pool")?[..])
    }

    /// The largest element over all axes behind the second (`[batch, channels, …]`), which stay with extent 1.
    pub fn global_max_pool(&self) -> Result<Tensor> {
        self.max_keepdim(&self.behind_channels("global_max_pool")?[..])
    }

    fn behind_channels(&self, what: &str) -> Result<Vec<i64>> {
        match self.rank() {
            0..3 => Err(self.shape_error(what, "must be [batch, channels, …] with at least one axis more")),
            rank => Ok((2..rank as i64).collect()),
        }
    }

    fn adaptive_mean<const N: usize>(&self, what: &str, size: [usize; N]) -> Result<Tensor> {
        self.expect_float(what)?;
        let sums = self.adaptive(what, size, ReduceOp::Sum)?;
        let lead = self.rank() - N;
        let mut divisor = Tensor::full(1f32, (), &self.device)?.to_dtype(sums.dtype())?;
        for (i, &parts) in size.iter().enumerate() {
            let count = |w: usize| {
                let (from, to) = stretch(w, self.dims()[lead + i], parts);
                to - from
            };
            divisor = divisor.mul(&self.along(parts, count, N - 1 - i, sums.dtype())?)?;
        }
        sums.div(&divisor)?.to_dtype(self.dtype())
    }

    fn adaptive<const N: usize>(&self, what: &str, size: [usize; N], op: ReduceOp) -> Result<Tensor> {
        let lead = spatial_axes::<N>(what, self)?;
        for (i, &s) in size.iter().enumerate() {
            let n = self.dims()[lead + i];
            if s == 0 || n == 0 || n.checked_mul(s).is_none_or(|all| all >= usize::MAX / 2) {
                let why = format!("cannot be pooled to {size:?}: axis {} has {n} elements for {s} stretches", lead + i);
                return Err(self.shape_error(what, &why));
            }
        }
        if (0..N).all(|i| self.dims()[lead + i].is_multiple_of(size[i])) {
            let kernel = std::array::from_fn(|i| self.dims()[lead + i] / size[i]);
            let mut windows = self.windows(kernel, kernel, [1; N])?;
            if op == ReduceOp::Sum {
                windows = windows.to_dtype(wide(self.dtype()))?;
            }
            return windows.over_last::<N>(op);
        }
        let mut to = self.dims().to_vec();
        to[lead..].copy_from_slice(&size);
        elements(&to)?;
        (0..N).try_fold(self.clone(), |x, i| x.adaptive_axis(what, lead + i, size[i], op))
    }

    /// One axis: the stretches' elements side by side, in each as many as in the longest. What is too many is the last again, or
    /// nothing in a sum.
    fn adaptive_axis(&self, what: &str, axis: usize, size: usize, op: ReduceOp) -> Result<Tensor> {
        let n = self.dims()[axis];
        let longest = (0..size).map(|i| stretch(i, n, size)).map(|(from, to)| to - from).max().unwrap_or(1);
        let place = |i: usize| {
            let (from, to) = stretch(i / longest, n, size);
            (from + i % longest, to)
        };
        let all = size.saturating_mul(longest);
        let ids = host_list(what, all, |i| place(i).0.min(place(i).1 - 1) as u32)?;
        let mut apart = self.dims().to_vec();
        apart[axis] = size;
        let shape = apart.clone();
        apart.insert(axis + 1, longest);
        let ids = Tensor::from_vec(ids, all, &self.device)?;
        let mut values = self.index_select(axis as i64, &ids)?.view(View::Reshape(apart))?;
        if op == ReduceOp::Sum {
            values = values.to_dtype(wide(self.dtype()))?;
            let inside = host_list(what, all, |i| place(i).0 < place(i).1)?;
            let mut to = vec![size, longest];
            to.extend(vec![1; self.rank() - axis - 1]);
            values = Tensor::from_vec(inside, to, &self.device)?.where_cond(&values, 0.0)?;
        }
        values.op(Op::Reduce { op, axes: vec![axis + 1] }, &[])?.view(View::Reshape(shape))
    }
}

/// First element of stretch i of `size` over n elements, and one past its last.
fn stretch(i: usize, n: usize, size: usize) -> (usize, usize) {
    (i * n / size, ((i + 1) * n).div_ceil(size))
}
