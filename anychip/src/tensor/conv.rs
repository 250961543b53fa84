//! Convolution along the last axes, and its transpose.

use super::{
    Tensor,
    spatial::{Extents, span},
};
use anychip_hal::{DType, Error, Result, op::Op};
use anychip_kernels::{View, shape::elements};

/// How a kernel is moved: `Conv2d::new().stride(2).padding(1)`. Stride and dilation are 1, padding 0, groups 1 unless said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv<const N: usize> {
    stride: [usize; N],
    /// `None`: as much as keeps the extents.
    padding: Option<[usize; N]>,
    dilation: [usize; N],
    groups: usize,
}

/// Along the last axis.
pub type Conv1d = Conv<1>;
/// Along the last two axes.
pub type Conv2d = Conv<2>;

impl<const N: usize> Default for Conv<N> {
    fn default() -> Conv<N> {
        Conv { stride: [1; N], padding: Some([0; N]), dilation: [1; N], groups: 1 }
    }
}

impl<const N: usize> Conv<N> {
    /// One step at a time, no padding, one group.
    pub fn new() -> Conv<N> {
        Conv::default()
    }
    /// From the first element of a window to that of the next.
    pub fn stride(self, stride: impl Extents<N>) -> Conv<N> {
        Conv { stride: stride.extents(), ..self }
    }
    /// Zeros in front of and behind each axis.
    pub fn padding(self, padding: impl Extents<N>) -> Conv<N> {
        Conv { padding: Some(padding.extents()), ..self }
    }
    /// As many zeros as keep the extents, an odd one behind; for stride 1 only.
    pub fn same(self) -> Conv<N> {
        Conv { padding: None, ..self }
    }
    /// From an element of a window to its next.
    pub fn dilation(self, dilation: impl Extents<N>) -> Conv<N> {
        Conv { dilation: dilation.extents(), ..self }
    }
    /// Input and output channels are divided into so many groups, computed apart. As many as input channels: depthwise.
    pub fn groups(self, groups: usize) -> Conv<N> {
        Conv { groups, ..self }
    }
}

/// How a kernel is moved in a transposed convolution: `ConvTranspose2d::new().stride(2).padding(1).output_padding(1)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTranspose<const N: usize> {
    stride: [usize; N],
    padding: [usize; N],
    output_padding: [usize; N],
    dilation: [usize; N],
    groups: usize,
}

/// Along the last axis.
pub type ConvTranspose1d = ConvTranspose<1>;
/// Along the last two axes.
pub type ConvTranspose2d = ConvTranspose<2>;

impl<const N: usize> Default for ConvTranspose<N> {
    fn default() -> ConvTranspose<N> {
        ConvTranspose { stride: [1; N], padding: [0; N], output_padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

impl<const N: usize> ConvTranspose<N> {
    /// One step at a time, no padding, one group.
    pub fn new() -> ConvTranspose<N> {
        ConvTranspose::default()
    }
    /// From where one input element is spread to where the next is.
    pub fn stride(self, stride: impl Extents<N>) -> ConvTranspose<N> {
        ConvTranspose { stride: stride.extents(), ..self }
    }
    /// Elements that the result lacks at either end: what the convolution's padding was.
    pub fn padding(self, padding: impl Extents<N>) -> ConvTranspose<N> {
        ConvTranspose { padding: padding.extents(), ..self }
    }
    /// Elements more at the end; below the stride or the dilation.
    pub fn output_padding(self, more: impl Extents<N>) -> ConvTranspose<N> {
        ConvTranspose { output_padding: more.extents(), ..self }
    }
    /// From an element of the kernel to its next.
    pub fn dilation(self, dilation: impl Extents<N>) -> ConvTranspose<N> {
        ConvTranspose { dilation: dilation.extents(), ..self }
    }
    /// Input and output channels are divided into so many groups, computed apart.
    pub fn groups(self, groups: usize) -> ConvTranspose<N> {
        ConvTranspose { groups, ..self }
    }
}

impl Tensor {
    /// Convolution (cross-correlation, as PyTorch has it) of `[batch, channels, length]` with a weight
    /// `[out, channels / groups, kernel]`, plus a bias `[out]`: `[batch, out, length']`. See [`Tensor::conv2d`].
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, how: Conv1d) -> Result<Tensor> {
        self.conv("conv1d", weight, bias, how)
    }

    /// Convolution (cross-correlation, as PyTorch has it) of `[batch, channels, height, width]` with a weight
    /// `[out, channels / groups, kernel height, kernel width]`, plus a bias `[out]`: `[batch, out, height', width']`, where
    /// `height' = ⌊(height + 2·padding - dilation·(kernel - 1) - 1) / stride⌋ + 1`. 16-bit types accumulate in f32.
    ///
    /// # Errors
    /// `ShapeMismatch` when channels and groups do not fit or the kernel is larger than the padded input; `DTypeMismatch`.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{Conv2d, DType, Tensor};
    /// let x = Tensor::ones((1, 2, 3, 3), DType::F32, &device)?;
    /// let w = Tensor::ones((1, 2, 3, 3), DType::F32, &device)?;
    /// let y = x.conv2d(&w, None, Conv2d::new().padding(1))?;
    /// assert_eq!(y.to_vec::<f32>()?, [8., 12., 8., 12., 18., 12., 8., 12., 8.]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, how: Conv2d) -> Result<Tensor> {
        self.conv("conv2d", weight, bias, how)
    }

    /// Transposed convolution of `[batch, channels, length]` with a weight `[channels, out / groups, kernel]`, plus a bias
    /// `[out]`. See [`Tensor::conv_transpose2d`].
    pub fn conv_transpose1d(&self, weight: &Tensor, bias: Option<&Tensor>, how: ConvTranspose1d) -> Result<Tensor> {
        self.conv_transpose("conv_transpose1d", weight, bias, how)
    }

    /// Transposed convolution of `[batch, channels, height, width]` with a weight
    /// `[channels, out / groups, kernel height, kernel width]`, plus a bias `[out]`: `[batch, out, height', width']`, where
    /// `height' = (height - 1)·stride - 2·padding + dilation·(kernel - 1) + output_padding + 1`.
    ///
    /// # Errors
    /// `ShapeMismatch` when channels and groups do not fit or nothing is left of the result; `InvalidArgument` when the output
    /// padding is not below the stride or the dilation; `DTypeMismatch`.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{ConvTranspose2d, DType, Tensor};
    /// let x = Tensor::ones((1, 1, 2, 2), DType::F32, &device)?;
    /// let w = Tensor::arange(0f32, 4., &device)?.reshape((1, 1, 2, 2))?;
    /// let y = x.conv_transpose2d(&w, None, ConvTranspose2d::new().stride(2))?;
    /// assert_eq!(y.get(0)?.get(0)?.get(3)?.to_vec1::<f32>()?, [2., 3., 2., 3.]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>, how: ConvTranspose2d) -> Result<Tensor> {
        self.conv_transpose("conv_transpose2d", weight, bias, how)
    }

    fn conv<const N: usize>(&self, what: &str, weight: &Tensor, bias: Option<&Tensor>, how: Conv<N>) -> Result<Tensor> {
        self.expect_rank(what, N + 2)?;
        weight.expect_rank(&format!("{what}: weight"), N + 2)?;
        if let Some([x, w, b]) = self.wide(weight, bias)? {
            return x.conv(what, &w, Some(&b), how)?.to_dtype(self.dtype());
        }
        if how.padding.is_none() && how.stride != [1; N] {
            let why = format!("{what}: a stride of {:?} does not keep the extents; `same` is for stride 1", how.stride);
            return Err(Error::invalid(why));
        }
        let padding = (0..N).map(|i| match how.padding {
            Some(p) => [p[i]; 2],
            None => {
                let all = span(weight.dims()[2 + i], how.dilation[i]).saturating_sub(1);
                [all / 2, all - all / 2]
            }
        });
        let op = Op::Conv {
            stride: how.stride.to_vec(),
            padding: padding.collect(),
            dilation: how.dilation.to_vec(),
            groups: how.groups,
        };
        self.op(op, &[weight])?.with_bias(what, bias)
    }

    /// Input, weight and bias of a 16-bit type in f32: the bias belongs to the sum, which is rounded once.
    fn wide(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Option<[Tensor; 3]>> {
        let Some(bias) = bias else { return Ok(None) };
        let small = matches!(self.dtype(), DType::F16 | DType::BF16);
        // Types that differ are refused where they meet.
        if !small || [weight, bias].iter().any(|t| t.dtype() != self.dtype()) {
            return Ok(None);
        }
        let f32 = |t: &Tensor| t.to_dtype(DType::F32);
        Ok(Some([f32(self)?, f32(weight)?, f32(bias)?]))
    }

    /// Plus a number per channel.
    fn with_bias(self, what: &str, bias: Option<&Tensor>) -> Result<Tensor> {
        let Some(bias) = bias else { return Ok(self) };
        let channels = self.dims()[1];
        if bias.dims() != [channels] {
            return Err(
                bias.shape_error(&format!("{what}: bias"), &format!("must be [{channels}], a number per channel"))
            );
        }
        let mut shape = vec![channels];
        shape.extend(vec![1; self.rank() - 2]);
        self.add(&bias.view(View::Reshape(shape))?)
    }

    /// The convolution of the input, zeros between its elements, with the weight turned round.
    fn conv_transpose<const N: usize>(
        &self,
        what: &str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        how: ConvTranspose<N>,
    ) -> Result<Tensor> {
        self.expect_rank(what, N + 2)?;
        weight.expect_rank(&format!("{what}: weight"), N + 2)?;
        if let Some([x, w, b]) = self.wide(weight, bias)? {
            return x.conv_transpose(what, &w, Some(&b), how)?.to_dtype(self.dtype());
        }
        let (x, w) = (self.dims(), weight.dims());
        let groups = how.groups;
        if groups == 0 || x[1] != w[0] || !w[0].is_multiple_of(groups) {
            return Err(Error::ShapeMismatch(format!(
                "{what}: input {x:?}, weight {w:?}, {groups} groups: the weight is [channels, out / groups, kernel…], and its {} \
                 channels must be the input's {} and a multiple of the groups",
                w[0], x[1]
            )));
        }
        let mut widths = vec![];
        for i in 0..N {
            let (n, k) = (x[2 + i], w[2 + i]);
            let (s, p, more, d) = (how.stride[i], how.padding[i], how.output_padding[i], how.dilation[i]);
            let numbers = format!(
                "{what}: spatial axis {i} of {x:?} with a kernel of {k}, stride {s}, padding {p}, output padding {more}, dilation {d}"
            );
            if more >= s.max(d) || s == 0 || d == 0 {
                return Err(Error::invalid(format!(
                    "{numbers}: stride and dilation are at least 1, and the output padding is below one of them"
                )));
            }
            // In wide numbers, in which none of these overflows.
            let [n, k, s, p, more, d] = [n, k, s, p, more, d].map(|v| v as i128);
            let reach = d * (k - 1);
            let result = (n - 1) * s - 2 * p + reach + more + 1;
            if n == 0 || k == 0 || result < 1 {
                return Err(Error::ShapeMismatch(format!("{numbers}: the result would have an extent of {result}")));
            }
            // Behind each element come s - 1 zeros, behind the last as well.
            let mut ends = [reach - p, reach - p + more - (s - 1)];
            // Padding may take away more than there is: the rest goes from the zeros at the other end.
            for (here, there) in [(0, 1), (1, 0)] {
                let over = (-ends[here] - n * s).max(0);
                ends[here] += over;
                ends[there] -= over;
            }
            let fits = |v: i128| i64::try_from(v).map_err(|_| Error::ShapeMismatch(format!("{numbers}: too large")));
            widths.push([fits(ends[0])?, fits(ends[1])?]);
        }
        let spread = self.spread(&how.stride)?;
        let crop: Vec<[i64; 2]> = widths.iter().map(|w| w.map(|n| n.min(0))).collect();
        let grow = widths.iter().map(|w| w.map(|n| n.max(0) as usize)).collect();
        // [groups · in, out, …] → [groups · out, in, …], each kernel turned round.
        let (inner, outer) = (w[0] / groups, w[1]);
        let kernel = &w[2..];
        let mut order: Vec<usize> = (0..N + 3).collect();
        order.swap(1, 2);
        let channels = outer.checked_mul(groups).ok_or_else(|| {
            Error::ShapeMismatch(format!("{what}: weight {w:?} has too many output channels for {groups} groups"))
        })?;
        let turned = weight
            .view(View::Reshape([&[groups, inner, outer], kernel].concat()))?
            .view(View::Permute(order))?
            .view(View::Reshape([&[channels, inner], kernel].concat()))?
            .flip(&(2..2 + N as i64).collect::<Vec<_>>()[..])?;
        let op = Op::Conv { stride: vec![1; N], padding: grow, dilation: how.dilation.to_vec(), groups };
        spread.pad_or_crop(&crop)?.op(op, &[&turned])?.with_bias(what, bias)
    }

    /// Takes elements away where a width is negative.
    fn pad_or_crop(&self, widths: &[[i64; 2]]) -> Result<Tensor> {
        let (mut start, mut len) = (vec![0; self.rank()], self.dims().to_vec());
        let lead = self.rank() - widths.len();
        for (i, w) in widths.iter().enumerate() {
            let less = w.map(|n| n.unsigned_abs() as usize);
            (start[lead + i], len[lead + i]) = (less[0], len[lead + i].saturating_sub(less[0]).saturating_sub(less[1]));
        }
        if len == self.dims() {
            return Ok(self.clone());
        }
        self.view(View::Slice { start, step: vec![1; self.rank()], len })
    }

    /// `stride - 1` zeros behind each element of the last axes.
    fn spread<const N: usize>(&self, stride: &[usize; N]) -> Result<Tensor> {
        if *stride == [1; N] {
            return Ok(self.clone());
        }
        let (mut apart, mut after, mut joined) = (self.dims()[..2].to_vec(), vec![0; 2], self.dims()[..2].to_vec());
        for (&n, &step) in self.dims()[2..].iter().zip(stride) {
            apart.extend([n, 1]);
            after.extend([0, step - 1]);
            joined.push(n.saturating_mul(step));
        }
        elements(&joined)?;
        let before = vec![0; after.len()];
        let spread = self.view(View::Reshape(apart))?.op(Op::Pad { before, after, value: 0 }, &[])?;
        spread.view(View::Reshape(joined))
    }
}
