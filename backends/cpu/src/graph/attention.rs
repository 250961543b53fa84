//! Attention as a whole: blockwise softmax, so that memory does not grow with the square of the length.

use super::{Elements, elements, elements_mut, four, linalg_error, refuse};
use crate::{
    linalg::{AttentionOptions, Element, Matrices, MatricesMut, attention_at},
    memory::Slice,
    vmath::Level,
};
use anychip_hal::{
    DType, Error, Result,
    op::{Graph, Op, TensorSpec},
};

pub(super) struct Attention {
    level: Level,
    /// q, k, v and, when there is one, the mask.
    operands: Vec<TensorSpec>,
    out: TensorSpec,
    options: AttentionOptions,
}

impl Attention {
    pub fn prepare(graph: &Graph, out: &TensorSpec, level: Level) -> Result<Attention> {
        let Op::Attention { scale, causal, .. } = graph.nodes[0].op else {
            return Err(refuse(graph, "its first node is not attention"));
        };
        if graph.nodes.len() != 1 {
            return Err(refuse(graph, "nothing is fused behind attention"));
        }
        let dtype = graph.inputs[0].dtype;
        if dtype != DType::F32 || out.dtype != DType::F32 || graph.inputs.iter().any(|i| i.dtype != dtype) {
            return Err(refuse(graph, format!("attention as a whole is for f32, this is {dtype}")));
        }
        if graph.inputs.iter().chain([out]).any(|s| s.shape.len() != 4 || four(s).is_none()) {
            return Err(refuse(graph, "operands are not of rank 4"));
        }
        if graph.inputs[0].shape[1] != graph.inputs[1].shape[1] {
            return Err(refuse(graph, "several query heads share a key head"));
        }
        if graph.inputs[1].shape[2] == 0 {
            return Err(refuse(graph, "there are no keys"));
        }
        if out.strides[3] != 1 && out.shape[3] != 1 {
            return Err(refuse(graph, "the output's last axis is not contiguous"));
        }
        let options = AttentionOptions { scale, causal };
        Ok(Attention { level, operands: graph.inputs.clone(), out: out.clone(), options })
    }

    /// Multiply-adds, and some for each weight.
    pub fn work(&self) -> u64 {
        let [b, h, s, d] = [0, 1, 2, 3].map(|i| self.operands[0].shape[i] as u64);
        [b, h, s, self.operands[1].shape[2] as u64].into_iter().fold(2 * d + 16, u64::saturating_mul)
    }

    pub fn run(&self, inputs: &[Slice], out: &Slice) -> Result<()> {
        let (q, k, v) = (self.operand(inputs, 0)?, self.operand(inputs, 1)?, self.operand(inputs, 2)?);
        let mask = match self.operands.len() {
            4 => Some(self.operand(inputs, 3)?),
            _ => None,
        };
        let (shape, strides) = four(&self.out).ok_or_else(|| Error::invalid("attention on cpu: rank"))?;
        let data = elements_mut::<f32>(out, self.out.offset)?;
        let mut out = MatricesMut::new(data, shape, [strides[0], strides[1], strides[2]])
            .map_err(|e| linalg_error("attention", &e))?;
        attention_at(self.level, &q, &k, &v, mask.as_ref(), self.options, &mut out)
            .map_err(|e| linalg_error("attention", &e))
    }

    fn operand<'a>(&self, inputs: &'a [Slice], n: usize) -> Result<Matrices<'a, f32>> {
        let spec = &self.operands[n];
        match elements(&inputs[n], spec.dtype, spec.offset)? {
            Elements::F32(data) => matrices("attention", spec, data),
            _ => Err(Error::invalid("attention on cpu: operands are f32")),
        }
    }
}

/// A spec over its elements.
pub(super) fn matrices<'a, T: Element>(name: &str, spec: &TensorSpec, data: &'a [T]) -> Result<Matrices<'a, T>> {
    let (shape, strides) = four(spec).ok_or_else(|| Error::invalid(format!("{name} on cpu: rank is not 2 to 4")))?;
    Matrices::new(data, shape, strides).map_err(|e| linalg_error(name, &e))
}
