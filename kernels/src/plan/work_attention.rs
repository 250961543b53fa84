//! Attention on one device: as a whole where its library takes it, else as the portable kernel.

use super::{
    Planner, Stop, ValueRef,
    about::{About, Origin},
    canonical::attention_of,
    group::Group,
    offer::{Offer, Operand, graph},
    work::bytes,
};
use crate::{
    library::{
        Body, Expr, Map,
        attention::{Attention, attention, fragments},
        emit::compute_type,
    },
    schedule::{self, Schedule},
    shape::Strided,
};
use anychip_hal::{Error, Result, op::Op};

impl Planner<'_> {
    pub(super) fn attention(
        &mut self,
        g: &Group,
        op: &Op,
        inputs: &[usize],
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let mut operands: Vec<(usize, Strided)> = vec![];
        for &i in inputs {
            let operand = self.operand(g, i)?;
            // A reversed slice gets a copy: no library takes it.
            if operand.1.strides.iter().any(|&s| s < 0) {
                return Err(self.again_dense_operand(i));
            }
            operands.push(operand);
        }
        let item = &self.s.items[g.root];
        let mut body = Body::default();
        let epilogue = body.push(Expr::Anchor, item.dtype);
        let operand = |(n, (_, layout)): (usize, &(usize, Strided))| Operand {
            layout: layout.clone(),
            dtype: self.s.items[inputs[n]].dtype,
            constant: false,
        };
        let offer = Offer {
            op: op.clone(),
            operands: operands.iter().enumerate().map(operand).collect(),
            dtype: item.dtype,
            shape: item.shape.clone(),
            body: &body,
            epilogue,
            slots: vec![],
            out: self.layout(g.root),
            out_dtype: item.dtype,
        };
        let refused = match graph(&offer) {
            Some((graph, _)) => match self.chain[d].accepts(&graph) {
                Ok(()) => {
                    let mut bindings = operands.iter().map(|o| self.value(o.0)).collect::<Result<Vec<_>>>()?;
                    bindings.push(out);
                    let why = "the device takes it as a whole";
                    let about = self.about_attention(g.root, inputs);
                    let about = about.schedule(Schedule::Library.to_string(), Origin::Library, why);
                    return self.offered(&graph, d, bindings, about);
                }
                Err(e) => e,
            },
            None => Error::unsupported("attention", "an operand is a reversed slice, which no device library takes"),
        };
        match attention_of(self.s, inputs).blockwise() {
            true => self.blockwise(g, op, inputs, &operands, d, out),
            false => Err(refused.into()),
        }
    }

    /// The portable kernel; where it wants keys and values packed, that goes before.
    fn blockwise(
        &mut self,
        g: &Group,
        op: &Op,
        inputs: &[usize],
        operands: &[(usize, Strided)],
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let &Op::Attention { scale, causal, .. } = op else {
            return Err(Error::invalid("attention: another operation").into());
        };
        let item = &self.s.items[g.root];
        let (dtype, shape) = (item.dtype, item.shape.clone());
        let problem = attention_of(self.s, inputs);
        if let Some(strips) = schedule::attention::strips(self.chain[d].info(), &problem, operands.len() > 3) {
            let as_map = |s: &Strided| Map { strides: s.strides.clone(), offset: s.offset };
            let a = Attention {
                dims: [shape[0], shape[1], problem.rows, problem.keys, problem.width, problem.out_width],
                groups: operands[1].1.shape[1],
                q: as_map(&operands[0].1),
                k: as_map(&operands[1].1),
                v: as_map(&operands[2].1),
                mask: operands.get(3).map(|o| as_map(&o.1)),
                out: as_map(&self.layout(g.root)),
                scale,
                causal,
                dtype,
            };
            if let Some(made) = fragments::attention(&a, strips)? {
                let why = "the device multiplies fragments of this type; scores stay in them";
                let about = self.about_attention(g.root, inputs).schedule(strips.to_string(), Origin::Only, why);
                let mut bindings = operands.iter().map(|o| self.value(o.0)).collect::<Result<Vec<_>>>()?;
                bindings.push(out);
                return self.launch(made, d, &[], &bindings, about);
            }
        }
        let s = schedule::attention::pick(self.chain[d].info(), &problem);
        let tile = (s.panel() as u32, s.width);
        let as_map = |s: &Strided| Map { strides: s.strides.clone(), offset: s.offset };
        let ((q_item, q), (k_item, k), (v_item, v)) = (&operands[0], &operands[1], &operands[2]);
        let ((k_map, keys), (v_map, values)) = match s.spread {
            // Keys as the right operand of queries: their width is summed over, they are the columns.
            0 | 1 => {
                (self.pack(&k.permute(&[0, 1, 3, 2]), dtype, tile, *k_item, d)?, self.pack(v, dtype, tile, *v_item, d)?)
            }
            _ => ((as_map(k), self.value(*k_item)?), (as_map(v), self.value(*v_item)?)),
        };
        let a = Attention {
            dims: [shape[0], shape[1], problem.rows, problem.keys, problem.width, problem.out_width],
            groups: k.shape[1],
            q: as_map(q),
            k: k_map,
            v: v_map,
            mask: operands.get(3).map(|o| as_map(&o.1)),
            out: as_map(&self.layout(g.root)),
            scale,
            causal,
            dtype,
        };
        let why = "scores are never stored: memory grows with the lengths, not with their product";
        let about = self.about_attention(g.root, inputs).schedule(s.to_string(), Origin::Only, why);
        let made = attention(a, s)?;
        let mut bindings = vec![self.value(*q_item)?, keys, values];
        if let Some(mask) = operands.get(3) {
            bindings.push(self.value(mask.0)?);
        }
        bindings.push(out);
        self.launch(made, d, &[], &bindings, about)
    }

    /// Two products and the softmax between them.
    fn about_attention(&self, root: usize, inputs: &[usize]) -> About {
        let item = &self.s.items[root];
        let p = attention_of(self.s, inputs);
        let moved: u64 = inputs.iter().map(|&i| bytes(self.s.items[i].elements(), self.s.items[i].dtype)).sum();
        let scores = item.shape[..2].iter().product::<usize>() as f64 * p.rows as f64 * p.keys as f64;
        let flops = scores * (2 * p.width + 2 * p.out_width + 5) as f64;
        About::from(format!("attention {:?} {}", item.shape, item.dtype))
            .work(flops, moved + bytes(item.elements(), item.dtype))
            .dtype(compute_type(item.dtype))
    }
}
