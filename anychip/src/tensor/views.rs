//! The same elements under other indices: nothing is computed, no bytes move. And joining, which moves them once.

use super::{
    Tensor,
    axes::{Axes, IntoRanges, IntoShape, resolve, resolve_all, shape},
};
use anychip_hal::{Error, Result, op::Op};
use anychip_kernels::{Node, View, shape::elements};

impl Tensor {
    /// Another shape, the same row-major order. One extent may be -1: what is left.
    ///
    /// # Errors
    /// `ShapeMismatch` when the numbers of elements differ.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::arange(0i32, 12, &device)?;
    /// assert_eq!(x.reshape((3, -1))?.dims(), [3, 4]);
    /// let e = x.reshape((5, -1)).unwrap_err();
    /// assert_eq!(e.to_string(), "reshape: [12] has 12 elements, which [5, -1] does not divide");
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn reshape(&self, extents: impl IntoShape) -> Result<Tensor> {
        let mut to = extents.extents();
        let holes = to.iter().filter(|&&n| n == -1).count();
        if holes > 1 {
            return Err(Error::ShapeMismatch(format!("reshape: {to:?} leaves more than one extent open")));
        }
        if holes == 1 {
            let known: Vec<i64> = to.iter().copied().filter(|&n| n != -1).collect();
            let given = elements(&shape("reshape", known)?)?;
            let have = self.elem_count();
            if given == 0 || !have.is_multiple_of(given) {
                return Err(Error::ShapeMismatch(format!(
                    "reshape: {:?} has {have} elements, which {to:?} does not divide",
                    self.dims()
                )));
            }
            to.iter_mut().filter(|n| **n == -1).for_each(|n| *n = (have / given) as i64);
        }
        self.view(View::Reshape(shape("reshape", to)?))
    }

    /// All elements in one axis.
    pub fn flatten_all(&self) -> Result<Tensor> {
        self.view(View::Reshape(vec![self.elem_count()]))
    }

    /// The axes `first..=last` as one.
    pub fn flatten(&self, first: i64, last: i64) -> Result<Tensor> {
        if self.rank() == 0 && [-1, 0].contains(&first) && [-1, 0].contains(&last) {
            return self.flatten_all();
        }
        let (a, b) = (self.axis("flatten", first)?, self.axis("flatten", last)?);
        if a > b {
            return Err(self.shape_error("flatten", &format!("has no axes {a}..={b}")));
        }
        let mut to = self.dims()[..a].to_vec();
        to.push(self.dims()[a..=b].iter().product());
        to.extend(&self.dims()[b + 1..]);
        self.view(View::Reshape(to))
    }

    /// Without an axis of extent 1; a longer axis stays (as in PyTorch).
    pub fn squeeze(&self, axis: i64) -> Result<Tensor> {
        let axis = self.axis("squeeze", axis)?;
        let mut to = self.dims().to_vec();
        if to[axis] == 1 {
            to.remove(axis);
        }
        self.view(View::Reshape(to))
    }

    /// With a new axis of extent 1 before `axis`; -1 is after the last.
    pub fn unsqueeze(&self, axis: i64) -> Result<Tensor> {
        let axis = resolve("unsqueeze", axis, self.dims(), self.rank() + 1)?;
        let mut to = self.dims().to_vec();
        to.insert(axis, 1);
        self.view(View::Reshape(to))
    }

    /// New axis i is old axis `order[i]`.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{DType, Tensor};
    /// assert_eq!(Tensor::zeros((2, 3, 4), DType::F32, &device)?.permute([2, 0, -2])?.dims(), [4, 2, 3]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn permute(&self, order: impl IntoShape) -> Result<Tensor> {
        let order = order.extents();
        let axes = order.iter().map(|&a| self.axis("permute", a)).collect::<Result<Vec<_>>>()?;
        self.view(View::Permute(axes))
    }

    /// Two axes change places.
    #[doc(alias = "swapaxes")]
    pub fn transpose(&self, a: i64, b: i64) -> Result<Tensor> {
        let (a, b) = (self.axis("transpose", a)?, self.axis("transpose", b)?);
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(a, b);
        self.view(View::Permute(order))
    }

    /// The last two axes change places: the transposed matrix, or each matrix of a batch.
    pub fn t(&self) -> Result<Tensor> {
        match self.rank() {
            0 | 1 => Err(self.shape_error("t", "has fewer than two axes")),
            _ => self.transpose(-2, -1),
        }
    }

    /// Axes of extent 1 repeated, new axes in front: the shape must be one that this broadcasts to.
    pub fn broadcast_as(&self, extents: impl IntoShape) -> Result<Tensor> {
        self.view(View::Expand(shape("broadcast_as", extents)?))
    }

    /// The same as [`Tensor::broadcast_as`], by PyTorch's name; an extent of -1 keeps the axis.
    pub fn expand(&self, extents: impl IntoShape) -> Result<Tensor> {
        let mut to = extents.extents();
        let lead = to.len().saturating_sub(self.rank());
        for (n, &own) in to.iter_mut().skip(lead).zip(self.dims()) {
            if *n == -1 {
                *n = own as i64;
            }
        }
        self.view(View::Expand(shape("expand", to)?))
    }

    /// `len` elements from `start` along an axis.
    ///
    /// # Errors
    /// `ShapeMismatch` when they leave the axis.
    pub fn narrow(&self, axis: i64, start: usize, len: usize) -> Result<Tensor> {
        let at = self.axis("narrow", axis)?;
        let n = self.dims()[at];
        if start.checked_add(len).is_none_or(|end| end > n) {
            let why = format!("has extent {n} along axis {at}; {len} elements from {start} leave it");
            return Err(self.shape_error("narrow", &why));
        }
        let mut starts = vec![0; self.rank()];
        let mut lens = self.dims().to_vec();
        (starts[at], lens[at]) = (start, len);
        self.view(View::Slice { start: starts, step: vec![1; self.rank()], len: lens })
    }

    /// A range along each of the first axes; the others are taken whole. Negative numbers count from the end.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::arange(0i32, 12, &device)?.reshape((3, 4))?;
    /// assert_eq!(x.slice((1.., ..-2))?.to_vec2::<i32>()?, [[4, 5], [8, 9]]);
    /// let e = x.slice((0..4,)).unwrap_err();
    /// assert_eq!(e.to_string(), "slice: 0..4 leaves axis 0 of shape [3, 4] (extent 3)");
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn slice(&self, ranges: impl IntoRanges) -> Result<Tensor> {
        let ranges = ranges.ranges();
        if ranges.len() > self.rank() {
            return Err(self.shape_error("slice", &format!("has fewer axes than the {} ranges", ranges.len())));
        }
        let mut start = vec![0; self.rank()];
        let mut len = self.dims().to_vec();
        for (axis, range) in ranges.into_iter().enumerate() {
            (start[axis], len[axis]) = range.on(axis, self.dims())?;
        }
        self.view(View::Slice { start, step: vec![1; self.rank()], len })
    }

    /// Every `step`-th element along an axis, from the first.
    pub fn step_by(&self, axis: i64, step: usize) -> Result<Tensor> {
        let at = self.axis("step_by", axis)?;
        let stride = match isize::try_from(step) {
            Ok(stride) if stride > 0 => stride,
            _ => {
                let most = isize::MAX;
                return Err(Error::invalid(format!("step_by: step {step} along axis {at}: accepted are 1 to {most}")));
            }
        };
        let mut steps = vec![1; self.rank()];
        let mut len = self.dims().to_vec();
        (steps[at], len[at]) = (stride, len[at].div_ceil(step));
        self.view(View::Slice { start: vec![0; self.rank()], step: steps, len })
    }

    /// The elements of some axes in reverse order.
    pub fn flip(&self, axes: impl Axes) -> Result<Tensor> {
        let (mut start, mut step) = (vec![0; self.rank()], vec![1; self.rank()]);
        for a in resolve_all("flip", &axes, self.dims())? {
            (start[a], step[a]) = (self.dims()[a].saturating_sub(1), -1);
        }
        self.view(View::Slice { start, step, len: self.dims().to_vec() })
    }

    /// Element `index` of the first axis, which goes.
    ///
    /// # Errors
    /// `ShapeMismatch` names the index and the extent.
    pub fn get(&self, index: usize) -> Result<Tensor> {
        let Some((&n, rest)) = self.dims().split_first() else {
            return Err(self.shape_error("get", "has no axis to take an element of"));
        };
        if index >= n {
            return Err(self.shape_error("get", &format!("has {n} elements along axis 0; there is no element {index}")));
        }
        self.narrow(0, index, 1)?.view(View::Reshape(rest.to_vec()))
    }

    /// At most `chunks` parts along an axis, equal but for the last.
    pub fn chunk(&self, chunks: usize, axis: i64) -> Result<Vec<Tensor>> {
        let at = self.axis("chunk", axis)?;
        if chunks == 0 {
            return Err(Error::invalid(format!("chunk: 0 parts of shape {:?}", self.dims())));
        }
        let n = self.dims()[at];
        let part = n.div_ceil(chunks).max(1);
        let starts = if n == 0 { vec![0] } else { (0..n).step_by(part).collect() };
        starts.into_iter().map(|s| self.narrow(axis, s, part.min(n - s))).collect()
    }

    /// Tensors joined along an axis; all other extents are equal.
    ///
    /// # Errors
    /// `InvalidArgument` for no tensors; `ShapeMismatch`, `DTypeMismatch` when they do not fit.
    #[doc(alias = "concat")]
    pub fn cat<T: AsRef<Tensor>>(tensors: &[T], axis: i64) -> Result<Tensor> {
        let Some(first) = tensors.first().map(AsRef::as_ref) else {
            return Err(Error::invalid("cat: no tensors given"));
        };
        let axis = first.axis("cat", axis)?;
        let mut nodes = Vec::with_capacity(tensors.len());
        for t in tensors {
            t.as_ref().on("cat", &first.device)?;
            nodes.push(t.as_ref().node.clone());
        }
        if let [one] = &nodes[..] {
            return Ok(first.with(one.clone()));
        }
        Ok(first.with(Node::op(Op::Concat { axis }, &nodes)?))
    }

    /// Tensors of one shape joined along a new axis.
    pub fn stack<T: AsRef<Tensor>>(tensors: &[T], axis: i64) -> Result<Tensor> {
        let Some(first) = tensors.first().map(AsRef::as_ref) else {
            return Err(Error::invalid("stack: no tensors given"));
        };
        let at = resolve("stack", axis, first.dims(), first.rank() + 1)?;
        let mut parts = Vec::with_capacity(tensors.len());
        for t in tensors {
            let t = t.as_ref();
            if t.dims() != first.dims() {
                return Err(Error::ShapeMismatch(format!(
                    "stack: shapes {:?} and {:?} differ",
                    first.dims(),
                    t.dims()
                )));
            }
            parts.push(t.unsqueeze(at as i64)?);
        }
        Tensor::cat(&parts, at as i64)
    }

    /// The value in row-major order without gaps. Views are free and every operation takes them, so that this is never
    /// needed for correctness; it computes the value once where it would be read many times.
    pub fn contiguous(&self) -> Result<Tensor> {
        self.realize()?;
        Ok(self.clone())
    }
}

impl AsRef<Tensor> for Tensor {
    fn as_ref(&self) -> &Tensor {
        self
    }
}
