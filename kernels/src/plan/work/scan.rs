//! Scans: one launch, or three for few long rows: totals of the parts, what lies in front of each, the parts themselves.

use super::{
    super::{
        Planner, Stop, ValueRef,
        about::{About, Origin, reads},
        group::Group,
        lower::Step,
    },
    bytes, dense_map, operations, to_space, unit_axes,
};
use crate::{
    graph::View,
    library::{
        Body, Expr, Lanes, Map,
        emit::compute_type,
        reduce::{self, Reduce, reduce},
        scan::{Scan, Schedule, scan},
    },
    plan::Again,
    schedule,
    shape::Strided,
};
use anychip_hal::op::ReduceOp;

/// The operation: what, along which axis, without the element itself.
pub(super) type Running = (ReduceOp, usize, bool);

impl Planner<'_> {
    pub(super) fn scan(
        &mut self,
        g: &Group,
        a: usize,
        (op, axis, exclusive): Running,
        x: usize,
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let (source, root) = (&self.s.items[x], &self.s.items[g.root]);
        let again = |m| self.again(g, m);
        // The axis last.
        let order: Vec<usize> = (0..source.shape.len()).filter(|&i| i != axis).chain([axis]).collect();
        let dims: Vec<usize> = order.iter().map(|&o| source.shape[o]).collect();
        let kept = dims.len() - 1;
        let (rows, len) = (dims[..kept].iter().product::<usize>(), dims[kept]);
        let dtype = source.dtype;
        let work = compute_type(dtype);
        let lanes = self.lanes(d);
        let max_shared = self.chain[d].info().limits.max_shared;

        let mut l = self.lower(g);
        let view = |from| vec![Step { view: View::Permute(order.clone()), from }];
        let prologue = l.lower(x, &view(Some(x))).map_err(again)?;
        let (across, along) = unit_axes(&l.body, prologue, kept, &dims);
        let problem = schedule::scan::Problem { rows, len, across, along };
        let schedule::scan::Choice { schedule, parts } = schedule::scan::pick(&problem);
        let totals = (parts > 1).then(|| l.body.clone()).map(|body| (body, l.slots.clone()));

        let mut steps = to_space(&root.shape, &self.s.items[a].shape);
        steps.extend(view(None));
        let epilogue = l.lower(g.root, &steps).map_err(again)?;
        let mut target = Strided::dense(&root.shape);
        for step in &steps {
            target = step.view.of(&target).ok_or(Stop::Again(Again::Bare(a)))?;
        }
        let target = Map { strides: target.strides, offset: target.offset };
        let (body, slots) = (l.body, l.slots);
        let elements: usize = dims.iter().product();
        let why = match schedule {
            Schedule::Across => "a workgroup per row: the elements of a row lie side by side, or are many",
            Schedule::Along => "a lane per row: rows lie side by side, or are short",
        };
        let about = |what: String, parts: usize, body: &Body, flops: usize, moved: u64| {
            About::from(what)
                .fused(body)
                .schedule(format!("{schedule:?}, {parts} parts"), Origin::CostModel, why)
                .work(flops as f64, moved)
                .dtype(work)
        };
        let between = bytes(rows * parts, work);
        let behind = if parts > 1 { between } else { 0 };
        let about_rows = about(
            format!("running {op:?} {:?} along {axis} {dtype}", source.shape),
            parts,
            &body,
            (1 + operations(&body)) * elements,
            reads(&body, &dims) + behind + bytes(elements, root.dtype),
        );

        let mut more = vec![];
        if let Some((mut body, slots)) = totals {
            let epilogue = body.push(Expr::Anchor, work);
            let plain = Map { strides: vec![0; dims.len()], offset: 0 };
            let dims = dims.clone();
            let first = Reduce { op, body, prologue, epilogue, dims, kept, out: plain, dtype, out_dtype: work, parts };
            let about_totals = about(
                format!("totals of {parts} parts for a running {op:?}"),
                parts,
                &first.body,
                (1 + operations(&first.body)) * elements,
                reads(&first.body, &first.dims) + between,
            );
            // The scan's parts are cut where this kernel cuts them, and the one that walks by vectors rounds its pieces up.
            let made = reduce(first, reduce::Schedule::Across, Lanes { vector: 1, ..lanes })?;
            let totals = self.temp(rows * parts, work, d);
            self.launch(made, d, &slots, &[totals], about_totals)?;

            let mut body = Body::default();
            let map = body.map(dense_map(&[rows, parts]));
            body.slots.push(work);
            let prologue = body.push(Expr::Read { slot: 0, map }, work);
            let epilogue = body.push(Expr::Anchor, work);
            let second = Scan {
                op,
                exclusive: true,
                body,
                prologue,
                epilogue,
                dims: vec![rows, parts],
                out: dense_map(&[rows, parts]),
                dtype: work,
                out_dtype: work,
                parts: 1,
            };
            let about_parts =
                about(format!("running {op:?} of {parts} parts"), 1, &second.body, rows * parts, 2 * between);
            let made = scan(second, Schedule::Across, lanes, max_shared)?;
            let before = self.temp(rows * parts, work, d);
            self.launch(made, d, &[], &[totals, before], about_parts)?;
            more.push(before);
        }
        let (out_dtype, out_map) = (root.dtype, target);
        let s = Scan { op, exclusive, body, prologue, epilogue, dims, out: out_map, dtype, out_dtype, parts };
        let made = scan(s, schedule, lanes, max_shared)?;
        more.push(out);
        self.launch(made, d, &slots, &more, about_rows)
    }
}
