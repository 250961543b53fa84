//! Softmax and norms: the device's library where it takes them, else a kernel.

use super::super::{
    Planner, Stop, ValueRef,
    about::{About, Origin, reads},
    group::Group,
    lower::Step,
    offer::{Offer, Operand},
};
use super::{bytes, dense_map, operations, read_in_place, to_space};
use crate::{
    graph::View,
    library::{
        Body,
        body::Id,
        emit::compute_type,
        rows::{self, Row, Rows, rows},
    },
    schedule::{self, Problem, Schedule},
    shape::Strided,
};
use anychip_hal::op::Op;

/// Why a device's library computes it.
pub(super) const WHOLE: &str = "the device takes it and what is behind it as a whole";

impl Planner<'_> {
    pub(super) fn rows(
        &mut self,
        g: &Group,
        a: usize,
        op: &Op,
        inputs: &[usize],
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let row = match *op {
            Op::LayerNorm { eps } => Row::LayerNorm { eps },
            Op::RmsNorm { eps } => Row::RmsNorm { eps },
            _ => Row::Softmax,
        };
        let (item, root) = (&self.s.items[a], &self.s.items[g.root]);
        let dims = item.shape.clone();
        let mut l = self.lower(g);
        let again = |m| self.again(g, m);
        let prologue = l.lower(inputs[0], &[]).map_err(again)?;
        let affine = inputs[1..]
            .iter()
            .map(|&w| l.lower(w, &[Step { view: View::Expand(dims.clone()), from: Some(w) }]))
            .collect::<Result<Vec<_>, _>>()
            .map_err(again)?;
        let epilogue = l.lower(g.root, &to_space(&root.shape, &dims)).map_err(again)?;
        let (body, slots) = (l.body, l.slots);
        let cols = dims.last().copied().unwrap_or(1);
        let elements: usize = dims.iter().product();
        let problem =
            schedule::rows::Problem { row: row.into(), dtype: item.dtype, rows: elements / cols.max(1), cols };
        let (chosen, origin) = self.choose(d, &Problem::Rows(problem), || Schedule::Library);
        let flops = (problem.row.operations() + operations(&body) as f64) * elements as f64;
        let about = About::from(format!("{row:?} {dims:?} {}", item.dtype))
            .fused(&body)
            .work(flops, reads(&body, &dims) + bytes(elements, root.dtype))
            .dtype(compute_type(item.dtype));
        if chosen == Schedule::Library
            && let Some(operands) = in_place(&body, prologue, &affine, &dims)
        {
            let from: Vec<usize> = operands.iter().map(|(slot, _)| slots[*slot]).collect();
            let operand = |(slot, layout): (usize, Strided)| Operand {
                layout,
                dtype: self.s.items[slots[slot]].dtype,
                constant: self.is_constant(slots[slot]),
            };
            let offer = Offer {
                op: op.clone(),
                operands: operands.into_iter().map(operand).collect(),
                dtype: item.dtype,
                shape: dims.clone(),
                body: &body,
                epilogue,
                slots: slots.iter().map(|&i| (self.s.items[i].dtype, self.is_constant(i))).collect(),
                out: Strided::dense(&dims),
                out_dtype: root.dtype,
            };
            if let Some((whole, bindings)) = self.whole(&offer, &from, &slots, d, out)? {
                let origin = if origin == Origin::CostModel { Origin::Library } else { origin };
                let about = about.schedule(chosen.to_string(), origin, WHOLE);
                return self.offered(&whole, d, bindings, about);
            }
        }
        let info = self.chain[d].info();
        // What was measured of the device's library says nothing of a kernel.
        let (choice, origin) = match chosen {
            Schedule::Rows(c) => (c, origin),
            _ => (schedule::rows::pick(info), Origin::CostModel),
        };
        let max_shared = if choice.keep { info.limits.max_shared } else { 0 };
        let about = about.schedule(Schedule::Rows(choice).to_string(), origin, "a workgroup per row");
        let schedule = rows::Schedule { lanes: choice.lanes, max_shared };
        let out_map = dense_map(&dims);
        let (dtype, out_dtype) = (self.s.items[inputs[0]].dtype, root.dtype);
        let made =
            rows(Rows { row, body, prologue, affine, epilogue, dims, out: out_map, dtype, out_dtype }, schedule)?;
        self.launch(made, d, &slots, &[out], about)
    }
}

/// The operand, then weight and bias as a vector each, where all of them are in buffers as they are used: slots and layouts.
fn in_place(body: &Body, prologue: Id, affine: &[Id], dims: &[usize]) -> Option<Vec<(usize, Strided)>> {
    let mut all = vec![read_in_place(body, prologue, dims)?];
    for &v in affine {
        let (slot, mut layout) = read_in_place(body, v, dims)?;
        let (last, before) = layout.strides.split_last()?;
        if before.iter().zip(dims).any(|(&stride, &n)| stride != 0 && n != 1) {
            return None;
        }
        (layout.strides, layout.shape) = (vec![*last], dims.last().into_iter().copied().collect());
        all.push((slot, layout));
    }
    Some(all)
}
