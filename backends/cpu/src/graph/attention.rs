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
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(refuse(graph, format!("attention as a whole is for f32, f16 and bf16, this is {dtype}")));
        }
        if graph.inputs.iter().chain([out]).any(|i| i.dtype != dtype) {
            return Err(refuse(graph, "operands and output are not of one type"));
        }
        if graph.inputs.iter().chain([out]).any(|s| s.shape.len() != 4 || four(s).is_none()) {
            return Err(refuse(graph, "operands are not of rank 4"));
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
        match elements(&inputs[0], self.out.dtype, self.operands[0].offset)? {
            Elements::F32(_) => self.run_as(inputs, out, |e| if let Elements::F32(x) = e { Some(x) } else { None }),
            Elements::F16(_) => self.run_as(inputs, out, |e| if let Elements::F16(x) = e { Some(x) } else { None }),
            Elements::BF16(_) => self.run_as(inputs, out, |e| if let Elements::BF16(x) = e { Some(x) } else { None }),
            Elements::Bool(_) => Err(Error::invalid("attention on cpu: operands are floats")),
        }
    }

    /// With all operands as elements of one type.
    fn run_as<T: Element>(&self, inputs: &[Slice], out: &Slice, of: fn(Elements<'_>) -> Option<&[T]>) -> Result<()> {
        let operand = |n: usize| {
            let spec = &self.operands[n];
            let data = of(elements(&inputs[n], spec.dtype, spec.offset)?);
            matrices(
                "attention",
                spec,
                data.ok_or_else(|| Error::invalid("attention on cpu: operands differ in type"))?,
            )
        };
        let mask = if self.operands.len() == 4 { Some(operand(3)?) } else { None };
        let (shape, strides) = four(&self.out).ok_or_else(|| Error::invalid("attention on cpu: rank"))?;
        let failed = |e| linalg_error("attention", &e);
        let data = elements_mut::<T>(out, self.out.offset)?;
        let mut to = MatricesMut::new(data, shape, [strides[0], strides[1], strides[2]]).map_err(failed)?;
        let (q, k, v) = (operand(0)?, operand(1)?, operand(2)?);
        attention_at(self.level, &q, &k, &v, mask.as_ref(), self.options, &mut to).map_err(failed)
    }
}

/// A spec over its elements.
pub(super) fn matrices<'a, T: Element>(name: &str, spec: &TensorSpec, data: &'a [T]) -> Result<Matrices<'a, T>> {
    let (shape, strides) = four(spec).ok_or_else(|| Error::invalid(format!("{name} on cpu: rank is not 2 to 4")))?;
    Matrices::new(data, shape, strides).map_err(|e| linalg_error(name, &e))
}
