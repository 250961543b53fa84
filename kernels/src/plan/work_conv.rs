//! A convolution that a device takes as a whole, with the elementwise operations behind it. Others were rewritten before.

use super::{
    Again, Planner, Stop, ValueRef,
    about::{About, Origin, reads},
    group::Group,
    offer::{Offer, Operand, graph},
    work::{bytes, operations, to_space},
};
use crate::library::emit::compute_type;
use anychip_hal::{Error, op::Op};

impl Planner<'_> {
    pub(super) fn conv(
        &mut self,
        g: &Group,
        a: usize,
        op: &Op,
        inputs: &[usize],
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let (item, root) = (&self.s.items[a], &self.s.items[g.root]);
        let space = item.shape.clone();
        let mut operands = vec![];
        let mut bindings = vec![];
        let mut shapes = vec![];
        for &i in inputs {
            let (at, layout) = self.operand(g, i)?;
            if layout.strides.iter().any(|&s| s < 0) {
                return Err(self.again_dense_operand(i));
            }
            shapes.push(format!("{:?}", layout.shape));
            operands.push(Operand { layout, dtype: self.s.items[i].dtype, constant: self.is_constant(at) });
            bindings.push(self.value(at)?);
        }
        let steps = to_space(&root.shape, &space);
        let mut placed = self.layout(g.root);
        for step in &steps {
            placed = step.view.of(&placed).ok_or(Stop::Again(Again::Dense(g.root)))?;
        }
        let mut l = self.lower(g);
        let epilogue = l.lower(g.root, &steps).map_err(|m| self.again(g, m))?;
        let (body, slots) = (l.body, l.slots);
        let offer = Offer {
            op: op.clone(),
            operands,
            dtype: item.dtype,
            shape: space,
            body: &body,
            epilogue,
            slots: slots.iter().map(|&i| (self.s.items[i].dtype, self.is_constant(i))).collect(),
            out: placed,
            out_dtype: root.dtype,
        };
        let why = match graph(&offer) {
            Some((whole, bound)) => match self.chain[d].accepts(&whole) {
                Ok(()) => {
                    for slot in bound {
                        bindings.push(self.value(slots[slot])?);
                    }
                    bindings.push(out);
                    let moved =
                        inputs.iter().map(|&i| bytes(self.s.items[i].elements(), self.s.items[i].dtype)).sum::<u64>()
                            + reads(&body, &item.shape)
                            + bytes(item.elements(), root.dtype);
                    // Terms of each sum: what a filter has for one channel of the result.
                    let terms: usize = self.s.items[inputs[1]].shape.iter().skip(1).product();
                    let flops = (item.elements() * (2 * terms + operations(&body))) as f64;
                    let about = About::from(format!("conv {} {}", shapes.join(" * "), item.dtype))
                        .fused(&body)
                        .schedule("the device's library", Origin::Library, "the device takes it as a whole")
                        .work(flops, moved)
                        .dtype(compute_type(item.dtype));
                    return self.offered(&whole, d, bindings, about);
                }
                Err(e) => e,
            },
            None => Error::unsupported("conv", "what is behind it cannot be said as a graph"),
        };
        if g.root != a && self.takes_bare(&offer, d) {
            return Err(Stop::Again(Again::Bare(a)));
        }
        // The device takes dense operands, or the convolution would have been rewritten.
        for (&i, o) in inputs.iter().zip(&offer.operands) {
            if !o.layout.is_dense() {
                return Err(self.again_dense_operand(i));
            }
        }
        Err(Stop::Fail(why))
    }
}
