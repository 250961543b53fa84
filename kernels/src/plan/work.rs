//! One group becomes launches on one device: a graph candidate where the device takes one, else kernels with a schedule.

mod scan;
mod sort;

use super::{
    Again, Launch, Planner, Stop, ValueRef,
    group::Group,
    lower::{Lower, Materialise, Step, strided},
    offer::{Offer, Operand, graph},
    snapshot::Kind,
};
use crate::{
    graph::View,
    library::{
        Body, Expr, Lanes, Made, Map,
        body::Id,
        emit::compute_type,
        map::map,
        matmul::{self, MatMul},
        reduce::{self, Reduce, neutral, reduce},
        rows::{self, Row, Rows, rows},
    },
    schedule,
    shape::Strided,
};
use anychip_hal::{
    Error, Result,
    device::{Checks, Grid},
    op::{Graph, Op},
};

impl Planner<'_> {
    /// Plans a group on device `d` of the chain; the value of its root.
    pub(super) fn work(&mut self, g: &Group, d: usize) -> Result<ValueRef, Stop> {
        let item = &self.s.items[g.root];
        let (elements, dtype) = (item.elements(), item.dtype);
        let out = self.temp(elements, dtype, d);
        if elements == 0 {
            return Ok(out);
        }
        let Some(a) = g.anchor else {
            self.elementwise(g, d, out)?;
            return Ok(out);
        };
        let Kind::Op(op, inputs) = self.s.items[a].kind.clone() else {
            return Err(Error::invalid("an anchor is an operation").into());
        };
        match &op {
            Op::Softmax => self.rows(g, a, Row::Softmax, &inputs, d, out)?,
            Op::LayerNorm { eps } => self.rows(g, a, Row::LayerNorm { eps: *eps }, &inputs, d, out)?,
            Op::RmsNorm { eps } => self.rows(g, a, Row::RmsNorm { eps: *eps }, &inputs, d, out)?,
            Op::Reduce { op, axes } => self.reduce(g, a, *op, axes, inputs[0], d, out)?,
            Op::Scan { op, axis, exclusive } => self.scan(g, a, (*op, *axis, *exclusive), inputs[0], d, out)?,
            Op::Scatter { axis, reduce } => self.scatter(g, a, (*axis, *reduce), &inputs, d, out)?,
            Op::ArgSort { descending } => self.argsort(g, *descending, inputs[0], d, out)?,
            Op::MatMul => self.matmul(g, a, &inputs, d, out)?,
            Op::Conv { .. } => self.conv(g, a, &op, &inputs, d, out)?,
            Op::Attention { .. } => self.attention(g, &op, &inputs, d, out)?,
            Op::Concat { axis } => self.concat(g, *axis, &inputs, d, out)?,
            Op::Pad { before, value, .. } => self.pad(g, before, *value, inputs[0], d, out)?,
            other => return Err(Error::invalid(format!("{other:?} is no anchor")).into()),
        }
        Ok(out)
    }

    pub(super) fn lanes(&self, d: usize) -> Lanes {
        Lanes::of(self.chain[d].info())
    }

    /// Loads a kernel and queues its launch.
    pub(super) fn launch(
        &mut self,
        made: Made,
        d: usize,
        slots: &[usize],
        more: &[ValueRef],
        note: String,
    ) -> Result<(), Stop> {
        let device = &self.chain[d];
        if slots.len() + more.len() > device.info().limits.max_bindings as usize {
            let most = device.info().limits.max_bindings;
            let id = &device.info().id;
            let why = format!("it reads {} buffers and {id} binds at most {most}", slots.len());
            return Err(Error::unsupported(format!("kernel {}", made.kernel.name), why).into());
        }
        // SAFETY: the preconditions of library kernels (see `library`): maps stay inside their buffers, because they come from
        // shapes that were checked when the nodes were made, and each buffer holds all elements of its item.
        let checks = unsafe { Checks::off() };
        let program = device.kernel(&made.kernel, checks)?;
        let mut bindings = slots.iter().map(|&i| self.value(i)).collect::<Result<Vec<_>>>()?;
        bindings.extend_from_slice(more);
        let grid = Grid::Linear(made.grid);
        self.launches.push(Launch { device: d, program, grid, bindings, scalars: made.scalars, note });
        Ok(())
    }

    pub(super) fn lower<'s>(&'s self, g: &Group) -> Lower<'s> {
        Lower::new(self.s, &self.grouping.layouts, g.root, g.anchor)
    }

    fn elementwise(&mut self, g: &Group, d: usize, out: ValueRef) -> Result<(), Stop> {
        let item = &self.s.items[g.root];
        let mut steps = vec![];
        let mut space = item.shape.clone();
        if let Some(order) = &g.order {
            space = order.iter().map(|&o| item.shape[o]).collect();
            steps.push(Step { view: View::Permute(order.clone()), from: None });
        }
        let mut l = self.lower(g);
        let root = l.lower(g.root, &steps).map_err(|m| self.again(g, m))?;
        let (body, slots) = (l.body, l.slots);
        let note = format!("map {:?} {}, {} operations", space, item.dtype, operations(&body));
        let target = dense_map(&space);
        let made = map(body, root, &space, target, item.dtype, self.lanes(d))?;
        self.launch(made, d, &slots, &[out], note)
    }

    fn rows(&mut self, g: &Group, a: usize, row: Row, inputs: &[usize], d: usize, out: ValueRef) -> Result<(), Stop> {
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
        let note = format!("{row:?} {dims:?} {}, {} operations fused", item.dtype, operations(&body));
        let limits = &self.chain[d].info().limits;
        let schedule = rows::Schedule { lanes: self.lanes(d), max_shared: limits.max_shared };
        let out_map = dense_map(&dims);
        let (dtype, out_dtype) = (self.s.items[inputs[0]].dtype, root.dtype);
        let made =
            rows(Rows { row, body, prologue, affine, epilogue, dims, out: out_map, dtype, out_dtype }, schedule)?;
        self.launch(made, d, &slots, &[out], note)
    }

    fn reduce(
        &mut self,
        g: &Group,
        a: usize,
        op: anychip_hal::op::ReduceOp,
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
        let schedule::reduce::Choice { schedule, parts } = schedule::reduce::pick(&problem);
        let lanes = self.lanes(d);
        let note = format!(
            "{op:?} {:?} over {axes:?} {dtype}, {schedule:?}, {} operations fused",
            source.shape,
            operations(&l.body)
        );
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
            let made = reduce(r, schedule, lanes)?;
            return self.launch(made, d, &slots, &[out], note);
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
        let made = reduce(first, schedule, lanes)?;
        self.launch(made, d, &slots, &[between], format!("{note}, {parts} parts"))?;

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
        let made = reduce(second, reduce::Schedule::Across, lanes)?;
        self.launch(made, d, &slots, &[between, out], format!("{op:?} of {parts} parts"))
    }

    pub(super) fn operand(&self, g: &Group, n: usize) -> Result<(usize, Strided), Stop> {
        strided(self.s, &self.grouping.layouts, n).map_err(|m| self.again(g, m))
    }

    pub(super) fn is_constant(&self, item: usize) -> bool {
        matches!(self.s.items[item].kind, Kind::Leaf { constant: true, .. })
    }

    fn matmul(&mut self, g: &Group, a: usize, inputs: &[usize], d: usize, out: ValueRef) -> Result<(), Stop> {
        let (item, root) = (&self.s.items[a], &self.s.items[g.root]);
        let dtype = self.s.items[inputs[0]].dtype;
        let (lhs_item, mut lhs) = self.operand(g, inputs[0])?;
        let (rhs_item, mut rhs) = self.operand(g, inputs[1])?;
        let rank = item.shape.len();
        let (m, k, n) = (item.shape[rank - 2], lhs.shape[rank - 1], item.shape[rank - 1]);
        let batch: usize = item.shape[..rank - 2].iter().product();
        let mut space = item.shape.clone();
        // One right operand for the whole batch: its rows are one tall matrix.
        if rhs.strides[..rank - 2].iter().zip(&rhs.shape).all(|(&s, &n)| s == 0 || n == 1)
            && let Some(tall) = lhs.reshape(&[batch * m, k])
        {
            lhs = tall;
            rhs = Strided { shape: vec![k, n], strides: rhs.strides[rank - 2..].to_vec(), offset: rhs.offset };
            space = vec![batch * m, n];
        }
        let steps = to_space(&root.shape, &space);
        let mut placed = self.layout(g.root);
        for step in &steps {
            placed = step.view.of(&placed).ok_or(Stop::Again(Again::Dense(g.root)))?;
        }
        let mut l = self.lower(g);
        if k == 0 {
            // A sum of nothing: the epilogue of zero.
            l.anchor = None;
            l.constants.insert(a, 0);
            let id = l.lower(g.root, &steps).map_err(|m| self.again(g, m))?;
            let (body, slots) = (l.body, l.slots);
            let target = Map { strides: placed.strides, offset: placed.offset };
            let made = map(body, id, &space, target, root.dtype, self.lanes(d))?;
            return self.launch(made, d, &slots, &[out], "matmul over nothing".into());
        }
        let epilogue = l.lower(g.root, &steps).map_err(|m| self.again(g, m))?;
        let (body, slots) = (l.body, l.slots);
        let fused = operations(&body);
        let shape_note = format!("{:?} × {:?} {dtype}", lhs.shape, rhs.shape);
        let device = &self.chain[d];

        let operands = || {
            vec![
                Operand { layout: lhs.clone(), dtype, constant: self.is_constant(lhs_item) },
                Operand { layout: rhs.clone(), dtype, constant: self.is_constant(rhs_item) },
            ]
        };
        let offer = Offer {
            op: Op::MatMul,
            operands: operands(),
            dtype: item.dtype,
            shape: space.clone(),
            body: &body,
            epilogue,
            slots: slots.iter().map(|&i| (self.s.items[i].dtype, self.is_constant(i))).collect(),
            out: placed.clone(),
            out_dtype: root.dtype,
        };
        if let Some((whole, bound)) = graph(&offer)
            && device.accepts(&whole).is_ok()
        {
            let mut bindings = vec![self.value(lhs_item)?, self.value(rhs_item)?];
            for slot in bound {
                bindings.push(self.value(slots[slot])?);
            }
            bindings.push(out);
            return self.offered(
                &whole,
                d,
                bindings,
                format!("matmul {shape_note}, library, {fused} operations fused"),
            );
        }
        if g.root != a && self.takes_bare(&offer, d) {
            return Err(Stop::Again(Again::Bare(a)));
        }
        // A right operand whose columns are far apart is copied once, when enough rows make up for it.
        let col_stride = rhs.strides.last().copied().unwrap_or(1);
        let rank = space.len();
        let problem = schedule::matmul::Problem { dtype, batch, rows: space[rank - 2], cols: n, inner: k, col_stride };
        let wide = schedule::matmul::candidates(device.info(), dtype);
        if col_stride != 1 && space[rank - 2] >= 16 && wide.len() > 1 && n >= 16 {
            return Err(self.again_dense_operand(inputs[1]));
        }
        let schedule = schedule::matmul::pick(&wide, &problem);
        let as_map = |s: &Strided| Map { strides: s.strides.clone(), offset: s.offset };
        let mm = MatMul {
            body,
            epilogue,
            dims: space,
            k,
            a: as_map(&lhs),
            b: as_map(&rhs),
            out: as_map(&placed),
            dtype,
            out_dtype: root.dtype,
        };
        let made = matmul::matmul(mm, schedule)?;
        let more = [self.value(lhs_item)?, self.value(rhs_item)?, out];
        let tile = format!("tile {}×{}", schedule.rows, schedule.cols());
        self.launch(made, d, &slots, &more, format!("matmul {shape_note}, {tile}, {fused} operations fused"))
    }

    /// The operand gets a dense buffer of its own.
    pub(super) fn again_dense_operand(&self, n: usize) -> Stop {
        Stop::Again(if self.grouping.layouts[n].is_some() { Again::Dense(n) } else { Again::Root(n) })
    }

    /// True when the device takes the anchor alone.
    pub(super) fn takes_bare(&self, o: &Offer<'_>, d: usize) -> bool {
        let mut body = Body::default();
        let epilogue = body.push(Expr::Anchor, o.dtype);
        let bare = Offer {
            op: o.op.clone(),
            operands: o
                .operands
                .iter()
                .map(|p| Operand { layout: p.layout.clone(), dtype: p.dtype, constant: p.constant })
                .collect(),
            dtype: o.dtype,
            shape: o.shape.clone(),
            body: &body,
            epilogue,
            slots: vec![],
            out: Strided::dense(&o.shape),
            out_dtype: o.dtype,
        };
        graph(&bare).is_some_and(|(g, _)| self.chain[d].accepts(&g).is_ok())
    }

    pub(super) fn offered(&mut self, g: &Graph, d: usize, bindings: Vec<ValueRef>, note: String) -> Result<(), Stop> {
        let program = self.chain[d].graph(g)?;
        let grid = Grid::Linear(1);
        self.launches.push(Launch { device: d, program, grid, bindings, scalars: vec![], note });
        Ok(())
    }

    fn attention(&mut self, g: &Group, op: &Op, inputs: &[usize], d: usize, out: ValueRef) -> Result<(), Stop> {
        let item = &self.s.items[g.root];
        let mut operands = vec![];
        let mut bindings = vec![];
        for &i in inputs {
            let (at, layout) = self.operand(g, i)?;
            if layout.strides.iter().any(|&s| s < 0) {
                return Err(self.again_dense_operand(i));
            }
            operands.push(Operand { layout, dtype: self.s.items[i].dtype, constant: false });
            bindings.push(self.value(at)?);
        }
        bindings.push(out);
        let mut body = Body::default();
        let epilogue = body.push(Expr::Anchor, item.dtype);
        let offer = Offer {
            op: op.clone(),
            operands,
            dtype: item.dtype,
            shape: item.shape.clone(),
            body: &body,
            epilogue,
            slots: vec![],
            out: self.layout(g.root),
            out_dtype: item.dtype,
        };
        let (graph, _) = graph(&offer).ok_or_else(|| {
            Stop::Fail(Error::unsupported("attention", "an operand is a reversed slice, which no device library takes"))
        })?;
        self.chain[d].accepts(&graph)?;
        let note = format!("attention {:?} {}, library", item.shape, item.dtype);
        self.offered(&graph, d, bindings, note)
    }

    fn concat(&mut self, g: &Group, axis: usize, inputs: &[usize], d: usize, out: ValueRef) -> Result<(), Stop> {
        let item = &self.s.items[g.root];
        let layout = self.layout(g.root);
        let mut start = 0;
        for &i in inputs {
            let part = &self.s.items[i];
            let offset = layout.offset + layout.strides[axis] * start as isize;
            start += part.shape[axis];
            if part.elements() == 0 {
                continue;
            }
            let mut l = Lower::new(self.s, &self.grouping.layouts, g.root, None);
            let id = l.lower(i, &[]).map_err(|Materialise(n)| self.again(g, Materialise(n)))?;
            let (body, slots) = (l.body, l.slots);
            let note = format!("concat part {:?} of {:?} {}", part.shape, item.shape, item.dtype);
            let target = Map { strides: layout.strides.clone(), offset };
            let made = map(body, id, &part.shape, target, item.dtype, self.lanes(d))?;
            self.launch(made, d, &slots, &[out], note)?;
        }
        Ok(())
    }
}

/// Whether some read walks the reduced axes, and some the kept ones, element by element.
fn unit_axes(body: &Body, prologue: Id, kept: usize, dims: &[usize]) -> (bool, bool) {
    let strides = body.exprs[..=prologue].iter().filter_map(|(e, _)| match e {
        Expr::Read { map, .. } => Some(&body.maps[*map].strides),
        _ => None,
    });
    let unit_in =
        |range: std::ops::Range<usize>, s: &[isize]| range.rev().find(|&i| dims[i] > 1).is_some_and(|i| s[i] == 1);
    strides
        .fold((false, false), |(across, along), s| (across | unit_in(kept..dims.len(), s), along | unit_in(0..kept, s)))
}

/// The dense map of a space.
pub(super) fn dense_map(space: &[usize]) -> Map {
    let s = Strided::dense(space);
    Map { strides: s.strides, offset: 0 }
}

/// The step from a root to the space of its anchor, which has the same elements in the same order.
pub(super) fn to_space(root: &[usize], space: &[usize]) -> Vec<Step> {
    if root == space {
        return vec![];
    }
    vec![Step { view: View::Reshape(space.to_vec()), from: None }]
}

/// Operations in a body, for notes.
pub(super) fn operations(body: &Body) -> usize {
    body.exprs
        .iter()
        .filter(|(e, _)| !matches!(e, Expr::Read { .. } | Expr::Const(_) | Expr::Anchor | Expr::Index(_)))
        .count()
}
