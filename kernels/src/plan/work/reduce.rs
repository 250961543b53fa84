//! Reductions: the device's library where it takes them, else one kernel, or two for long ones.

use super::super::{
    Again, Planner, Stop, ValueRef,
    about::{About, Origin, reads},
    group::Group,
    lower::Step,
    offer::{Offer, Operand},
};
use super::{bytes, dense_map, operations, read_in_place, rows::WHOLE, to_space, unit_axes};
use crate::{
    graph::View,
    library::{
        Body, Expr, Map,
        emit::compute_type,
        reduce::{self, Reduce, neutral, reduce},
    },
    schedule::{self, Problem, Schedule},
    shape::Strided,
};
use anychip_hal::op::{Graph, Op, ReduceOp};

impl Planner<'_> {
    pub(super) fn reduce(
        &mut self,
        g: &Group,
        a: usize,
        op: ReduceOp,
        axes: &[usize],
        x: usize,
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let source = &self.s.items[x];
        let root = &self.s.items[g.root];
        let rank = source.shape.len();
        let kept_axes: Vec<usize> = (0..rank).filter(|i| !axes.contains(i)).collect();
        let order: Vec<usize> = kept_axes.iter().chain(axes).copied().collect();
        let dims: Vec<usize> = order.iter().map(|&o| source.shape[o]).collect();
        let kept = kept_axes.len();
        let results: usize = dims[..kept].iter().product();
        let reduced: usize = dims[kept..].iter().product();
        let dtype = source.dtype;
        let again = |m| self.again(g, m);

        let mut l = self.lower(g);
        let view = vec![Step { view: View::Permute(order.clone()), from: Some(x) }];
        let prologue = match reduced {
            // Nothing to read: the loop does not run, and an empty buffer is not bound.
            0 => l.body.push(Expr::Const(neutral(op, dtype)), dtype),
            _ => l.lower(x, &view).map_err(again)?,
        };
        let (across, along) = unit_axes(&l.body, prologue, kept, &dims);
        let problem = schedule::reduce::Problem { op, dtype, results, reduced, across, along };
        let (mut chosen, origin) = self.choose(d, &Problem::Reduce(problem), || Schedule::Library);
        if chosen == Schedule::Library
            && let Some((whole, bindings, about)) = self.reduce_whole(g, a, (op, axes), x, d, out)?
        {
            let origin = if origin == Origin::CostModel { Origin::Library } else { origin };
            return self.offered(&whole, d, bindings, about.schedule(chosen.to_string(), origin, WHOLE));
        }
        let info = self.chain[d].info();
        // What was measured of the device's library says nothing of a kernel.
        let (choice, origin) = match chosen {
            Schedule::Reduce(c) => (c, origin),
            _ => (schedule::reduce::pick(info, &problem), Origin::CostModel),
        };
        chosen = Schedule::Reduce(choice);
        let schedule::reduce::Choice { schedule, parts, lanes } = choice;
        // What was measured on a longer reduction of the class may have more parts than this one has elements.
        let parts = parts.clamp(1, reduced.max(1));
        let why = match schedule {
            reduce::Schedule::Across => "a workgroup per result: the reduced elements lie side by side, or are many",
            reduce::Schedule::Along => "a lane per result: the results lie side by side, or the reductions are short",
        };
        let read = reads(&l.body, &dims);
        let flops = (1 + operations(&l.body)) as f64 * results as f64 * reduced as f64;
        let about = |what: String, body: &Body| {
            About::from(what).fused(body).schedule(chosen.to_string(), origin, why).dtype(compute_type(dtype))
        };
        let what = format!("{op:?} {:?} over {axes:?} {dtype}", source.shape);
        // From the result to the space: reduced axes have extent 1 there and repeat.
        let anchor_shape = self.s.items[a].shape.clone();
        let steps = |extents: &[usize]| {
            let mut steps = to_space(&root.shape, &anchor_shape);
            steps.push(Step { view: View::Permute(order.clone()), from: None });
            let mut to: Vec<usize> = dims[..kept].to_vec();
            if extents.len() != axes.len() {
                let mut flat = to.clone();
                flat.extend(vec![1; extents.len()]);
                steps.push(Step { view: View::Reshape(flat), from: None });
            }
            to.extend(extents);
            steps.push(Step { view: View::Expand(to), from: None });
            steps
        };
        let out_map = |extents: &[usize]| -> Result<Map, Stop> {
            let mut s = Strided::dense(&root.shape);
            for step in steps(extents) {
                s = step.view.of(&s).ok_or(Stop::Again(Again::Bare(a)))?;
            }
            Ok(Map { strides: s.strides, offset: s.offset })
        };
        if parts == 1 {
            let steps = steps(&dims[kept..]);
            let epilogue = l.lower(g.root, &steps).map_err(again)?;
            let (body, slots) = (l.body, l.slots);
            let out_map = out_map(&dims[kept..])?;
            let r =
                Reduce { op, body, prologue, epilogue, dims, kept, out: out_map, dtype, out_dtype: root.dtype, parts };
            let about = about(what, &r.body).work(flops, read + bytes(results, root.dtype));
            let made = reduce(r, schedule, lanes)?;
            return self.launch(made, d, &slots, &[out], about);
        }
        // Two launches: parts, then their reduction with the epilogue.
        let work = compute_type(dtype);
        let epilogue = l.body.push(Expr::Anchor, work);
        let (body, slots) = (l.body, l.slots);
        let plain = Map { strides: vec![0; dims.len()], offset: 0 };
        let first = Reduce {
            op,
            body,
            prologue,
            epilogue,
            dims: dims.clone(),
            kept,
            out: plain,
            dtype,
            out_dtype: work,
            parts,
        };
        let between = self.temp(results * parts, work, d);
        let about_first =
            about(format!("{what}, in {parts} parts"), &first.body).work(flops, read + bytes(results * parts, work));
        let made = reduce(first, schedule, lanes)?;
        self.launch(made, d, &slots, &[between], about_first)?;

        let mut l = self.lower(g);
        let extents = [parts];
        let epilogue = l.lower(g.root, &steps(&extents)).map_err(|m| self.again(g, m))?;
        let (mut body, slots) = (l.body, l.slots);
        // The parts lie as [results…, parts]; their buffer is bound after the epilogue's own.
        let mut space: Vec<usize> = dims[..kept].to_vec();
        space.push(parts);
        let map = body.map(dense_map(&space));
        body.slots.push(work);
        let slot = body.slots.len() - 1;
        let prologue = body.push(Expr::Read { slot, map }, work);
        let second = Reduce {
            op,
            body,
            prologue,
            epilogue,
            dims: space,
            kept,
            out: out_map(&extents)?,
            dtype: work,
            out_dtype: root.dtype,
            parts: 1,
        };
        let about = about(format!("{op:?} of {parts} parts"), &second.body)
            .work((results * parts) as f64, bytes(results * parts, work) + bytes(results, root.dtype));
        let made = reduce(second, reduce::Schedule::Across, lanes)?;
        self.launch(made, d, &slots, &[between, out], about)
    }
    /// The reduction for the device's library, with its bindings; `None` where the device does not take it.
    fn reduce_whole(
        &self,
        g: &Group,
        a: usize,
        (op, axes): (ReduceOp, &[usize]),
        x: usize,
        d: usize,
        out: ValueRef,
    ) -> Result<Option<(Graph, Vec<ValueRef>, About)>, Stop> {
        let (item, root, source) = (&self.s.items[a], &self.s.items[g.root], &self.s.items[x]);
        let again = |m| self.again(g, m);
        let mut l = self.lower(g);
        let prologue = l.lower(x, &[]).map_err(again)?;
        let epilogue = l.lower(g.root, &to_space(&root.shape, &item.shape)).map_err(again)?;
        let (body, slots) = (l.body, l.slots);
        let Some((slot, layout)) = read_in_place(&body, prologue, &source.shape) else { return Ok(None) };
        let offer = Offer {
            op: Op::Reduce { op, axes: axes.to_vec() },
            operands: vec![Operand { layout, dtype: source.dtype, constant: self.is_constant(slots[slot]) }],
            dtype: item.dtype,
            shape: item.shape.clone(),
            body: &body,
            epilogue,
            slots: slots.iter().map(|&i| (self.s.items[i].dtype, self.is_constant(i))).collect(),
            out: Strided::dense(&item.shape),
            out_dtype: root.dtype,
        };
        let flops = source.elements() as f64 + (operations(&body) * item.elements()) as f64;
        let about = About::from(format!("{op:?} {:?} over {axes:?} {}", source.shape, source.dtype))
            .fused(&body)
            .work(flops, bytes(source.elements(), source.dtype) + bytes(item.elements(), root.dtype))
            .dtype(compute_type(source.dtype));
        let whole = self.whole(&offer, &[slots[slot]], &slots, d, out)?;
        Ok(whole.map(|(graph, bindings)| (graph, bindings, about)))
    }
}
