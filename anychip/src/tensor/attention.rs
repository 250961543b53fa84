//! Attention: what its operands may look like, and the operation of the graph that they make.

use super::Tensor;
use anychip_hal::{DType, Error, Result, op::Op};
use anychip_kernels::{View, shape::broadcast};

impl Tensor {
    /// Attention of this tensor's queries: softmax(q·kᵀ·scale + mask)·v.
    ///
    /// Queries `[…, s, d]`, keys `[…, t, d]`, values `[…, t, e]` give `[…, s, e]`; ranks 2 to 4 (usually `[batch, heads, …]`),
    /// the same for all three, leading extents broadcast. Keys and values may have fewer heads (the axis before the last two)
    /// than queries when these are a multiple: query head i uses head i / (query heads / key heads). The mask broadcasts to `[…, s, t]`: of the tensors' type it is
    /// added to the scores, as bool it says who takes part. `scale` is 1/√d when not given. `causal`: position i sees
    /// positions up to i. A row whose every position is masked gives NaN; so may a row with a
    /// value that is not finite at a position that it does not see (0·∞).
    ///
    /// # Errors
    /// `ShapeMismatch`, `DTypeMismatch`.
    pub fn attention(
        &self,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
        scale: Option<f32>,
        causal: bool,
    ) -> Result<Tensor> {
        let (q, k, v) = (self.dims(), keys.dims(), values.dims());
        let misfit = || {
            Error::ShapeMismatch(format!(
                "attention: queries {q:?}, keys {k:?}, values {v:?}: must be […, s, d], […, t, d], […, t, e] of one rank from 2 to 4, \
                 query heads a multiple of key heads"
            ))
        };
        let rank = q.len();
        if !(2..=4).contains(&rank) || k.len() != rank || v.len() != rank {
            return Err(misfit());
        }
        let lead = rank - 2;
        if q[rank - 1] != k[rank - 1] || k[lead] != v[lead] {
            return Err(misfit());
        }
        let (batch, groups) = leading(&q[..lead], &k[..lead], &v[..lead]).ok_or_else(misfit)?;
        let scale = scale.unwrap_or(1.0 / (q[rank - 1].max(1) as f32).sqrt());
        if !scale.is_finite() {
            return Err(Error::invalid(format!("attention: scale is {scale}, must be a finite number")));
        }
        // The operation has two leading axes.
        let four = |x: &Tensor, lead: &[usize], last: [usize; 2]| -> Result<Tensor> {
            let full: Vec<usize> = lead.iter().copied().chain(last).collect();
            let front: Vec<usize> = std::iter::repeat_n(1, 4 - rank).chain(full.iter().copied()).collect();
            x.view(View::Expand(full))?.view(View::Reshape(front))
        };
        let queries = four(self, &batch, [q[lead], q[lead + 1]])?;
        let keys = four(keys, &groups, [k[lead], k[lead + 1]])?;
        let values4 = four(values, &groups, [v[lead], v[lead + 1]])?;
        let op = Op::Attention { scale, causal, masked: mask.is_some() };
        let out = match mask {
            None => queries.op(op, &[&keys, &values4])?,
            Some(mask) => {
                let additive = self.additive(mask)?;
                let scores: Vec<usize> = batch.iter().copied().chain([q[lead], k[lead]]).collect();
                if additive.rank() > rank || additive.view(View::Expand(scores.clone())).is_err() {
                    return Err(Error::ShapeMismatch(format!(
                        "attention: mask has shape {:?}, must broadcast to {scores:?}",
                        mask.dims()
                    )));
                }
                queries.op(op, &[&keys, &values4, &four(&additive, &batch, [q[lead], k[lead]])?])?
            }
        };
        out.view(View::Reshape(batch.iter().copied().chain([q[lead], v[lead + 1]]).collect()))
    }

    /// A mask as numbers to add: a bool mask becomes 0 where true and −∞ where false.
    fn additive(&self, mask: &Tensor) -> Result<Tensor> {
        if mask.dtype() != DType::Bool || self.dtype() == DType::Bool {
            return Ok(mask.clone());
        }
        mask.where_cond(&Tensor::zeros((), self.dtype(), &self.device)?, f64::NEG_INFINITY)
    }
}

/// Leading extents of the queries and the result, and those of keys and values, whose heads may be fewer. `None`: they do not fit.
fn leading(q: &[usize], k: &[usize], v: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut groups = broadcast("attention", k, v).ok()?;
    let fewer = match (q.last(), groups.last()) {
        (Some(&heads), Some(&shared)) => shared > 1 && shared < heads && heads.is_multiple_of(shared),
        _ => false,
    };
    if !fewer {
        let batch = broadcast("attention", q, &groups).ok()?;
        return Some((batch.clone(), batch));
    }
    let outer = q.len() - 1;
    let mut batch = broadcast("attention", &q[..outer], &groups[..outer]).ok()?;
    groups = batch.iter().copied().chain(groups.last().copied()).collect();
    batch.extend(q.last());
    Some((batch, groups))
}
