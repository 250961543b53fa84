//! Choices by position or by a mask: triangles, one-hot, masked fill. Any element type.

use super::{Tensor, operand::Operand};
use anychip_hal::{DType, Error, Result};
use anychip_kernels::{Node, View};

impl Tensor {
    /// The lower triangle of each matrix (the last two axes): 0 (false) above the diagonal. `diagonal` 1 also keeps the one above the
    /// main one, −1 leaves out the main one, and so on.
    pub fn tril(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle("tril", diagonal, Ok)
    }

    /// The upper triangle of each matrix (the last two axes): 0 (false) below the diagonal. `diagonal` 1 leaves out the main one, −1 also
    /// keeps the one below it, and so on.
    pub fn triu(&self, diagonal: i64) -> Result<Tensor> {
        // On or above this diagonal is not on or below the one beneath.
        self.triangle("triu", diagonal.saturating_sub(1), |below| below.not())
    }

    /// Keeps what `choose` makes of "on or below the diagonal".
    fn triangle(&self, what: &str, diagonal: i64, choose: impl Fn(Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let [.., rows, cols] = *self.dims() else {
            return Err(self.shape_error(what, "has fewer than two axes"));
        };
        let index = if rows.max(cols) < 1 << 30 { DType::U32 } else { DType::I64 };
        let iota = |axis: usize| Ok::<_, Error>(self.with(Node::iota(axis, index, &[rows, cols])?));
        let (row, col) = (iota(0)?, iota(1)?);
        // Beyond the matrix every diagonal keeps all or nothing.
        let shift = diagonal.unsigned_abs().min(rows.max(cols) as u64 + 1);
        let below = if diagonal < 0 { col.add(shift)?.le(&row)? } else { col.le(row.add(shift)?)? };
        choose(below)?.where_cond(self, self.zeros_like()?)
    }

    /// A new last axis of `classes` elements with 1 (true) at the place that each of these integers names and 0 elsewhere; integers
    /// outside `0..classes` give zeros only.
    ///
    /// # Errors
    /// `DTypeMismatch` when this is no integer tensor.
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Result<Tensor> {
        if !self.dtype().is_int() {
            return Err(Error::DTypeMismatch(format!("one_hot: takes integers, got {}", self.dtype())));
        }
        // In a type that holds both the ids and the classes.
        let index = match (self.dtype(), classes < 1 << 31) {
            (DType::U64, _) => DType::U64,
            (DType::I64, _) | (_, false) => DType::I64,
            (DType::U32, true) => DType::U32,
            _ => DType::I32,
        };
        let place = self.with(Node::iota(0, index, &[classes])?);
        self.to_dtype(index)?.unsqueeze(-1)?.eq(&place)?.to_dtype(dtype)
    }

    /// Where the mask (bool, broadcast to this shape) is true the value, elsewhere this tensor's element.
    ///
    /// # Errors
    /// `DTypeMismatch` when the mask is not bool or the value of another type; `ShapeMismatch` when they do not broadcast to
    /// this shape.
    pub fn masked_fill(&self, mask: &Tensor, value: impl Operand) -> Result<Tensor> {
        mask.on("masked_fill", &self.device)?;
        mask.expect_bool("masked_fill")?;
        let value = value.beside("masked_fill", self)?;
        for (name, x) in [("mask", mask), ("value", &value)] {
            if x.view(View::Expand(self.dims().to_vec())).is_err() {
                return Err(Error::ShapeMismatch(format!(
                    "masked_fill: {name} has shape {:?}, must broadcast to {:?}",
                    x.dims(),
                    self.dims()
                )));
            }
        }
        mask.where_cond(&value, self)
    }
}
