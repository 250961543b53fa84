//! Operations of neural networks: matrix products, softmax, norms, embedding.

use super::Tensor;
use anychip_hal::{Error, Result, op::Op};
use anychip_kernels::{View, shape::broadcast};

impl Tensor {
    /// The matrix product: `[…, m, k] × […, k, n] → […, m, n]`. Batch dimensions broadcast; an operand of rank 1 is a row
    /// on the left, a column on the right, and its axis goes from the result. 16-bit types accumulate in f32.
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch`, with both operands' shapes or types.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::{DType, Tensor};
    /// let x = Tensor::ones((8, 4, 384), DType::F32, &device)?;
    /// let w = Tensor::ones((512, 384), DType::F32, &device)?;
    /// assert_eq!(x.matmul(&w.t()?)?.dims(), [8, 4, 512]);
    /// let e = x.matmul(&w).unwrap_err();
    /// assert_eq!(
    ///     e.to_string(),
    ///     "matmul: inner dimensions differ: lhs [8, 4, 384] × rhs [512, 384]; did you mean rhs.t()?"
    /// );
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn matmul(&self, rhs: &Tensor) -> Result<Tensor> {
        rhs.on("matmul", &self.device)?;
        if self.dtype() != rhs.dtype() {
            return Err(Error::DTypeMismatch(format!(
                "matmul: types {} and {} differ; convert one with to_dtype()",
                self.dtype(),
                rhs.dtype()
            )));
        }
        let (a, b) = (self.dims(), rhs.dims());
        if a.is_empty() || b.is_empty() {
            return Err(Error::ShapeMismatch(format!(
                "matmul: lhs {a:?} × rhs {b:?}: both need an axis; multiply numbers with mul()"
            )));
        }
        let inner = if b.len() == 1 { b[0] } else { b[b.len() - 2] };
        if a[a.len() - 1] != inner {
            let fits = b.len() > 1 && a[a.len() - 1] == b[b.len() - 1];
            let hint = if fits { "; did you mean rhs.t()?" } else { "" };
            return Err(Error::ShapeMismatch(format!("matmul: inner dimensions differ: lhs {a:?} × rhs {b:?}{hint}")));
        }
        let left = if a.len() == 1 { self.unsqueeze(0)? } else { self.clone() };
        let right = if b.len() == 1 { rhs.unsqueeze(1)? } else { rhs.clone() };
        let mut product = left.matrices(&right)?;
        if b.len() == 1 {
            product = product.squeeze(-1)?;
        }
        if a.len() == 1 {
            product = product.squeeze(if b.len() == 1 { -1 } else { -2 })?;
        }
        Ok(product)
    }

    /// Both operands have rank 2 or more and fit.
    fn matrices(&self, rhs: &Tensor) -> Result<Tensor> {
        let (a, b) = (self.dims(), rhs.dims());
        let (m, n) = (a[a.len() - 2], b[b.len() - 1]);
        if b.len() == 2 && a.len() > 2 {
            // One matrix for the whole batch: the batch is rows. A weight is then read once, not once per batch.
            let rows = a[..a.len() - 1].iter().product();
            let flat = self.view(View::Reshape(vec![rows, a[a.len() - 1]]))?.op(Op::MatMul, &[rhs])?;
            let mut shape = a[..a.len() - 1].to_vec();
            shape.push(n);
            return flat.view(View::Reshape(shape));
        }
        let batch = broadcast("matmul", &a[..a.len() - 2], &b[..b.len() - 2]).map_err(|_| {
            Error::ShapeMismatch(format!("matmul: batch dimensions do not broadcast: lhs {a:?} × rhs {b:?}"))
        })?;
        let full = |last: [usize; 2]| batch.iter().copied().chain(last).collect::<Vec<_>>();
        let left = self.view(View::Expand(full([m, a[a.len() - 1]])))?;
        let right = rhs.view(View::Expand(full([b[b.len() - 2], n])))?;
        left.op(Op::MatMul, &[&right])
    }

    /// e^(x−max) / Σ e^(x−max) along an axis, in f32 for 16-bit types.
    pub fn softmax(&self, axis: i64) -> Result<Tensor> {
        let at = self.axis("softmax", axis)? as i64;
        if at + 1 == self.rank() as i64 {
            return self.op(Op::Softmax, &[]);
        }
        self.transpose(at, -1)?.op(Op::Softmax, &[])?.transpose(at, -1)
    }

    /// Rows of this table `[rows, width]`: ids `[…]` of an integer type give `[…, width]`. Ids that are known on the host
    /// are checked here; others, outside the table, give NaN (0 in integer tables).
    ///
    /// # Errors
    /// `InvalidArgument` names the id, its position and the table's rows.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let table = Tensor::arange(0f32, 6., &device)?.reshape((3, 2))?;
    /// let ids = Tensor::from_vec(vec![2u32, 0], 2, &device)?;
    /// assert_eq!(table.embedding(&ids)?.to_vec2::<f32>()?, [[4., 5.], [0., 1.]]);
    /// let e = table.embedding(&Tensor::from_vec(vec![1i64, 3], 2, &device)?).unwrap_err();
    /// assert_eq!(e.to_string(), "embedding: id 3 at position 1 is outside the table of 3 rows");
    /// # Ok::<(), anychip::Error>(())
    /// ```
    pub fn embedding(&self, ids: &Tensor) -> Result<Tensor> {
        let out = self.op(Op::Embedding, &[ids])?;
        ids.check_ids("embedding", self.dims()[0], &format!("the table of {} rows", self.dims()[0]))?;
        Ok(out)
    }
}
