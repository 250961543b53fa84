//! Sorting, and scatters, which sort their ids first: blocks in shared memory, then merges, each from one buffer into another.

use super::{
    super::{
        Again, Planner, Stop, ValueRef,
        about::{About, Origin, reads},
        group::Group,
        lower::Step,
    },
    bytes, operations, to_space,
};
use crate::{
    graph::View,
    library::{
        Body, Map,
        body::Id,
        emit::compute_type,
        map::map,
        scatter::{Scatter, scatter},
        sort::{self, Key, Keys, Leaves},
    },
    shape::Strided,
};
use anychip_hal::{DType, ir::ReduceOp, op::dense_strides};

/// What is sorted: an expression, the items that its slots read, and its space, the axis last.
struct Rows {
    body: Body,
    root: Id,
    slots: Vec<usize>,
    dims: Vec<usize>,
    dtype: DType,
}

impl Planner<'_> {
    pub(super) fn argsort(
        &mut self,
        g: &Group,
        descending: bool,
        x: usize,
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let source = &self.s.items[x];
        let (dims, dtype) = (source.shape.clone(), source.dtype);
        let mut l = self.lower(g);
        let root = l.lower(x, &[]).map_err(|m| self.again(g, m))?;
        let rows = Rows { body: l.body, root, slots: l.slots, dims, dtype };
        let low = Key::Order { descending, high: false };
        if !sort::wide(dtype) {
            return self.sort(&rows, low, None, out, Leaves::Positions, d);
        }
        let before = self.temp(rows.dims.iter().product(), DType::U32, d);
        self.sort(&rows, low, None, before, Leaves::Positions, d)?;
        self.sort(&rows, Key::Order { descending, high: true }, Some(before), out, Leaves::Positions, d)
    }

    /// Sorts rows, beginning from the order that an earlier sort left, into `out`.
    fn sort(
        &mut self,
        rows: &Rows,
        key: Key,
        before: Option<ValueRef>,
        out: ValueRef,
        leaves: Leaves,
        d: usize,
    ) -> Result<(), Stop> {
        let info = self.chain[d].info();
        let (max_lanes, n) = (info.limits.max_workgroup.max(1), rows.dims[rows.dims.len() - 1]);
        let block = sort::block(info, n);
        let elements: usize = rows.dims.iter().product();
        let (count, through) = (elements / n, before.is_some());
        let mut width = block as usize;
        // Runs as long as a row are the result.
        let (mut left, mut words) = self.runs(width >= n, (leaves, out), elements, d);
        let keys = Keys { body: rows.body.clone(), root: rows.root, dims: rows.dims.clone(), dtype: rows.dtype, key };
        let made = sort::blocks(keys, block, through, left, max_lanes)?;
        // What bisection among so many words takes, per word: a comparison a step.
        let steps = |words: usize| words.next_power_of_two().ilog2() as usize;
        let size = |leaves: Leaves| if leaves == Leaves::Words { DType::U64 } else { DType::U32 };
        let order = |through: bool| if through { bytes(elements, DType::U32) } else { 0 };
        // A block is sorted by merges too: one bisection in every doubling.
        let in_block: usize = (0..steps(block as usize)).sum();
        let about = About::from(format!("sort {:?} {}", rows.dims, rows.dtype))
            .fused(&rows.body)
            .schedule(
                format!("blocks of {block}"),
                Origin::CostModel,
                "a workgroup per block, as large as rows and shared memory allow",
            )
            .work(
                ((in_block + operations(&rows.body)) * elements) as f64,
                reads(&rows.body, &rows.dims) + order(through) + bytes(elements, size(left)),
            )
            .dtype(DType::U64);
        let more: Vec<ValueRef> = before.into_iter().chain([words]).collect();
        self.launch(made, d, &rows.slots, &more, about)?;
        while width < n {
            let from = words;
            (left, words) = self.runs(2 * width >= n, (leaves, out), elements, d);
            let lanes = self.lanes(d).flat(elements);
            // Only the last merge goes through the order of the earlier sort.
            let through = before.filter(|_| left == Leaves::Positions);
            let made = sort::merges(count, n, width, through.is_some(), left, lanes)?;
            let about = About::from(format!("merge runs of {width} of {n}"))
                .schedule(
                    format!("a word per lane, workgroups of {lanes}"),
                    Origin::CostModel,
                    "each finds its place by bisection",
                )
                .work(
                    (steps(width) * elements) as f64,
                    bytes(elements, DType::U64) + order(through.is_some()) + bytes(elements, size(left)),
                )
                .dtype(DType::U64);
            let more: Vec<ValueRef> = [from].into_iter().chain(through).chain([words]).collect();
            self.launch(made, d, &[], &more, about)?;
            width *= 2;
        }
        Ok(())
    }

    /// Where sorted runs go, and as what: to the end, or to the next merge.
    fn runs(&mut self, done: bool, end: (Leaves, ValueRef), elements: usize, d: usize) -> (Leaves, ValueRef) {
        if done { end } else { (Leaves::Words, self.temp(elements, DType::U64, d)) }
    }

    pub(super) fn scatter(
        &mut self,
        g: &Group,
        a: usize,
        (axis, reduce): (usize, Option<ReduceOp>),
        inputs: &[usize],
        d: usize,
        out: ValueRef,
    ) -> Result<(), Stop> {
        let [x, index, updates] = [inputs[0], inputs[1], inputs[2]];
        let (item, root) = (&self.s.items[a], &self.s.items[g.root]);
        let again = |m| self.again(g, m);
        let dims = item.shape.clone();
        let shape = self.s.items[index].shape.clone();
        let count = shape[axis];
        let lanes = self.lanes(d);

        let mut l = self.lower(g);
        let steps = to_space(&root.shape, &dims);
        let mut target = Strided::dense(&root.shape);
        for step in &steps {
            target = step.view.of(&target).ok_or(Stop::Again(Again::Bare(a)))?;
        }
        let target = Map { strides: target.strides, offset: target.offset };
        let what = match reduce {
            Some(op) => format!("scatter {op:?}"),
            None => "scatter".to_string(),
        };
        let elements = item.elements();
        let about = |body: &Body, flops: usize, moved: u64, schedule: String, why: &str| {
            About::from(format!("{what} {count} of {dims:?} along {axis} {}", item.dtype))
                .fused(body)
                .schedule(schedule, Origin::CostModel, why)
                .work((flops + operations(body) * elements) as f64, moved + bytes(elements, root.dtype))
                .dtype(compute_type(item.dtype))
        };
        let id_x = l.lower(x, &[]).map_err(again)?;
        let of_x = reads(&l.body, &dims);
        if count == 0 {
            // No updates: what is there, with what is fused behind it.
            l.anchor = None;
            let id = l.lower(g.root, &steps).map_err(again)?;
            let (body, slots) = (l.body, l.slots);
            let about = about(&body, 0, reads(&body, &dims), lanes.to_string(), "there are no updates");
            let made = map(body, id, &dims, target, root.dtype, lanes)?;
            return self.launch(made, d, &slots, &[out], about);
        }
        // Updates have another extent of the axis than all else.
        let before = reads(&l.body, &shape);
        let id_updates = l.lower(updates, &[]).map_err(again)?;
        let of_updates = reads(&l.body, &shape) - before;
        let before = reads(&l.body, &dims);
        let epilogue = l.lower(g.root, &steps).map_err(again)?;
        let behind = reads(&l.body, &dims) - before;
        let (body, slots) = (l.body, l.slots);

        // The ids: the axis last, and only axes along which they vary.
        let mut l = self.lower(g);
        let order: Vec<usize> = (0..shape.len()).filter(|&i| i != axis).chain([axis]).collect();
        let view = vec![Step { view: View::Permute(order.clone()), from: Some(index) }];
        let id = l.lower(index, &view).map_err(again)?;
        let (mut ids, id_slots) = (l.body, l.slots);
        let kept = order.len() - 1;
        let varies: Vec<usize> = (0..kept).filter(|&i| ids.maps.iter().any(|m| m.strides[i] != 0)).collect();
        for m in &mut ids.maps {
            m.strides = varies.iter().chain([&kept]).map(|&i| m.strides[i]).collect();
        }
        let id_dims: Vec<usize> = varies.iter().chain([&kept]).map(|&i| shape[order[i]]).collect();
        let dense = dense_strides(&id_dims);
        let mut begins = vec![0; dims.len()];
        for (&i, &stride) in varies.iter().zip(&dense) {
            begins[order[i]] = stride;
        }
        let sorted: usize = id_dims.iter().product();
        let words = self.temp(sorted, DType::U64, d);
        let dtype = self.s.items[index].dtype;
        let rows = Rows { body: ids, root: id, slots: id_slots, dims: id_dims, dtype };
        self.sort(&rows, Key::Id { limit: dims[axis] }, None, words, Leaves::Words, d)?;

        let bisection = count.next_power_of_two().ilog2() as usize;
        let about = about(
            &body,
            bisection * elements + shape.iter().product::<usize>(),
            of_x + of_updates + behind + bytes(sorted, DType::U64),
            format!("an element of the result per lane, workgroups of {}", lanes.flat(elements)),
            "each finds its updates among the sorted ids by bisection",
        );
        let s = Scatter {
            reduce,
            body,
            x: id_x,
            updates: id_updates,
            epilogue,
            dims,
            axis,
            count,
            rows: Map { strides: begins, offset: 0 },
            out: target,
            dtype: item.dtype,
            out_dtype: root.dtype,
        };
        let made = scatter(s, lanes)?;
        self.launch(made, d, &slots, &[words, out], about)
    }
}
