//! One group becomes launches on one device: a graph candidate where the device takes one, else kernels with a schedule.

mod reduce;
mod rows;
mod scan;
mod sort;

use super::{
    Again, Launch, Planner, Stop, ValueRef,
    about::{About, Origin, reads},
    group::Group,
    lower::{Lower, Materialise, Step, strided},
    offer::{Offer, Operand, graph},
    snapshot::Kind,
};
use crate::{
    graph::View,
    library::{
        Body, Expr, Lanes, Made, Map,
        body::{Id, merge, merge_leading},
        emit::compute_type,
        fragments,
        map::map,
        matmul::{self, MatMul},
        pack::{self, Pack},
        pipeline,
    },
    schedule::{self, Problem, Schedule},
    shape::Strided,
    tune,
};
use anychip_hal::{
    DType, Error, Result,
    device::{Checks, Grid},
    info::Numerics,
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
            Op::Softmax | Op::LayerNorm { .. } | Op::RmsNorm { .. } => self.rows(g, a, &op, &inputs, d, out)?,
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

    /// Workgroups of elementwise kernels.
    pub(super) fn map_lanes(&self, d: usize) -> Lanes {
        schedule::map::pick(self.chain[d].info()).lanes
    }

    /// Workgroups for kernels without a family of schedules: many lanes, an element each.
    pub(super) fn lanes(&self, d: usize) -> Lanes {
        let info = self.chain[d].info();
        Lanes { own: 1, ..Lanes::of(info).many(info) }
    }

    /// The schedule of a problem on device `d`: asked for, measured, or what `model` says.
    pub(super) fn choose(&self, d: usize, problem: &Problem, model: impl FnOnce() -> Schedule) -> (Schedule, Origin) {
        if let Some(asked) = self.asked.filter(|s| problem.fits(s)) {
            return (*asked, Origin::Asked);
        }
        // What is the same on every chip is not what was measured on one.
        if self.chain[d].info().numerics == Numerics::Exact {
            return (model(), Origin::CostModel);
        }
        match tune::winner_or_tune(&self.chain[d], problem) {
            Some(w) => (w.schedule, Origin::Tuned),
            None => (model(), Origin::CostModel),
        }
    }

    /// Loads a kernel and queues its launch.
    pub(super) fn launch(
        &mut self,
        made: Made,
        d: usize,
        slots: &[usize],
        more: &[ValueRef],
        about: impl Into<About>,
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
        self.launches.push(Launch { device: d, program, grid, bindings, scalars: made.scalars, about: about.into() });
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
        let elements: usize = space.iter().product();
        // The row that a kernel sees: axes that every operand walks as one are one.
        let mut maps: Vec<Map> = body.maps.iter().cloned().chain([dense_map(&space)]).collect();
        let cols = merge(&space, &mut maps, &[]).0.last().copied().unwrap_or(1);
        let problem = schedule::map::Problem { dtype: item.dtype, elements, cols, reads: slots.len() };
        let info = self.chain[d].info();
        let (schedule, origin) = self.choose(d, &Problem::Map(problem), || Schedule::Map(schedule::map::pick(info)));
        let lanes = if let Schedule::Map(c) = schedule { c.lanes } else { self.map_lanes(d) };
        let about = About::from(format!("map {space:?} {}", item.dtype))
            .fused(&body)
            .schedule(schedule.to_string(), origin, "one element per lane")
            .work((operations(&body) * elements) as f64, reads(&body, &space) + bytes(elements, item.dtype))
            .dtype(compute_type(item.dtype));
        let target = dense_map(&space);
        let made = map(body, root, &space, target, item.dtype, lanes)?;
        self.launch(made, d, &slots, &[out], about)
    }

    pub(super) fn operand(&self, g: &Group, n: usize) -> Result<(usize, Strided), Stop> {
        strided(self.s, &self.grouping.layouts, n).map_err(|m| self.again(g, m))
    }

    pub(super) fn is_constant(&self, item: usize) -> bool {
        matches!(self.s.items[item].kind, Kind::Leaf { constant: true, .. })
    }

    fn matmul(&mut self, g: &Group, a: usize, inputs: &[usize], d: usize, out: ValueRef) -> Result<(), Stop> {
        let (item, root) = (&self.s.items[a], &self.s.items[g.root]);
        // They differ where both were widened from 8 bits.
        let [dtype, right_dtype] = [0, 1].map(|n| self.s.items[inputs[n]].dtype);
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
            let made = map(body, id, &space, target, root.dtype, self.map_lanes(d))?;
            return self.launch(made, d, &slots, &[out], "matmul over nothing".to_string());
        }
        let epilogue = l.lower(g.root, &steps).map_err(|m| self.again(g, m))?;
        let (body, slots) = (l.body, l.slots);
        let fused = operations(&body);
        // Sums are wider than operands where the device has such a product: see `canonical_narrow`.
        let (sums, widens) = (item.dtype, item.dtype != dtype);
        let to = if widens { format!(" to {sums}") } else { String::new() };
        let shape_note = format!("{:?} × {:?} {dtype}{to}", lhs.shape, rhs.shape);
        let device = &self.chain[d];

        let operands = || {
            vec![
                Operand { layout: lhs.clone(), dtype, constant: self.is_constant(lhs_item) },
                Operand { layout: rhs.clone(), dtype: right_dtype, constant: self.is_constant(rhs_item) },
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
        let col_stride = rhs.strides.last().copied().unwrap_or(1);
        let rank = space.len();
        let problem = schedule::matmul::Problem {
            dtype,
            batch: space[..rank - 2].iter().product(),
            rows: space[rank - 2],
            cols: n,
            inner: k,
            col_stride,
        };
        let wide = schedule::matmul::candidates(device.info(), dtype);
        // What was measured of such operands was summed in their own type.
        let (chosen, origin) = match widens {
            true => (Schedule::Library, Origin::CostModel),
            false => self.choose(d, &Problem::Matmul(problem), || Schedule::Library),
        };
        let elements: usize = space.iter().product();
        let about = |what: String| {
            let moved = places(&lhs, dtype) + places(&rhs, dtype) + reads(&body, &space) + bytes(elements, root.dtype);
            let flops = 2.0 * elements as f64 * k as f64 + (fused * elements) as f64;
            About::from(what).fused(&body).work(flops, moved).dtype(compute_type(dtype))
        };
        let about = about(format!("matmul {shape_note}"));
        let in_library = chosen == Schedule::Library;
        if let Some((whole, bound)) = graph(&offer).filter(|_| in_library)
            && device.accepts(&whole).is_ok()
        {
            let mut bindings = vec![self.value(lhs_item)?, self.value(rhs_item)?];
            for slot in bound {
                bindings.push(self.value(slots[slot])?);
            }
            bindings.push(out);
            let origin = if origin == Origin::CostModel { Origin::Library } else { origin };
            let about = about.schedule(
                chosen.to_string(),
                origin,
                "the device takes the product and what is behind it as a whole",
            );
            return self.offered(&whole, d, bindings, about);
        }
        if g.root != a && in_library && self.takes_bare(&offer, d) {
            return Err(Stop::Again(Again::Bare(a)));
        }
        let as_map = |s: &Strided| Map { strides: s.strides.clone(), offset: s.offset };
        let by_fragments = match chosen {
            Schedule::Fragments(_) | Schedule::Pipeline(_) => Some((chosen, origin)),
            Schedule::Library => {
                let (left, right) = (as_map(&lhs), as_map(&rhs));
                let reads = |p: &pipeline::Pipeline| pipeline::reads(p, dtype, &left, &right);
                let pipeline =
                    schedule::fragments::pick_pipeline(device.info(), &problem, reads).map(Schedule::Pipeline);
                let tile = || schedule::fragments::pick(device.info(), &problem).map(Schedule::Fragments);
                pipeline.or_else(tile).map(|s| (s, Origin::CostModel))
            }
            _ => None,
        };
        if let Some((schedule, origin)) = by_fragments.filter(|_| fragments::readable(&as_map(&lhs), &as_map(&rhs))) {
            let mut body = body.clone();
            let (mut left, mut right, mut target) = (as_map(&lhs), as_map(&rhs), as_map(&placed));
            let mut maps: Vec<&mut Map> = body.maps.iter_mut().chain([&mut left, &mut right, &mut target]).collect();
            let dims = merge_leading(&space, rank - 2, &mut maps);
            let (a, b, out_dtype) = (left, right, root.dtype);
            let mm = MatMul { body, epilogue, dims, k, a, b, out: target, dtype, sums, out_dtype };
            let (made, why) = match schedule {
                Schedule::Pipeline(p) => (pipeline::matmul(mm, p)?, "tiles of operands are fetched ahead"),
                Schedule::Fragments(tile) => (fragments::matmul(mm, tile)?, "the extents are whole tiles"),
                _ => (None, ""),
            };
            if let Some(made) = made {
                let why = format!("the device multiplies fragments of this type, and {why}");
                let about = about.schedule(schedule.to_string(), origin, why);
                let more = [self.value(lhs_item)?, self.value(rhs_item)?, out];
                return self.launch(made, d, &slots, &more, about);
            }
        }
        if widens {
            return Err(Stop::Again(Again::Wide));
        }
        let (schedule, origin) = match chosen {
            Schedule::Matmul(s) => (s, origin),
            _ => {
                let roofline = tune::roofline(device.info());
                (schedule::matmul::pick(&wide, &problem, device.info(), &roofline), Origin::CostModel)
            }
        };
        // A right operand whose columns are far apart is copied once, when enough rows make up for it; packing does that anyway.
        let spread = col_stride != 1 && space[rank - 2] >= 16 && wide.len() > 1 && n >= 16;
        if spread && !schedule.packed {
            return Err(self.again_dense_operand(inputs[1]));
        }
        let why = format!("the least estimated time of {} tiles; each lane keeps its sums in registers", wide.len());
        let why = if origin == Origin::CostModel { why } else { String::new() };
        let about = about.schedule(Schedule::Matmul(schedule).to_string(), origin, why);
        let mut body = body;
        let (mut right, right_value) = match schedule.packed {
            true => self.pack(&rhs, dtype, (schedule.cols(), schedule.width), rhs_item, d)?,
            false => (as_map(&rhs), self.value(rhs_item)?),
        };
        let (mut left, mut target) = (as_map(&lhs), as_map(&placed));
        let mut maps: Vec<&mut Map> = body.maps.iter_mut().chain([&mut left, &mut right, &mut target]).collect();
        let dims = merge_leading(&space, rank - 2, &mut maps);
        let (a, b, out_dtype) = (left, right, root.dtype);
        let mm = MatMul { body, epilogue, dims, k, a, b, out: target, dtype, sums, out_dtype };
        let made = matmul::matmul(mm, schedule)?;
        let more = [self.value(lhs_item)?, right_value, out];
        self.launch(made, d, &slots, &more, about)
    }

    /// Packs a right operand `[batch…, k, n]`: where its batches are, and its buffer.
    pub(super) fn pack(
        &mut self,
        rhs: &Strided,
        dtype: DType,
        (cols, width): (u32, u8),
        item: usize,
        d: usize,
    ) -> Result<(Map, ValueRef), Stop> {
        let axes = rhs.shape.len() - 2;
        // What repeats is packed once.
        let own: Vec<usize> = (0..axes).filter(|&i| rhs.strides[i] != 0 && rhs.shape[i] > 1).collect();
        let of = |axes: &[usize]| -> (Vec<usize>, Vec<isize>) {
            axes.iter().map(|&i| (rhs.shape[i], rhs.strides[i])).unzip()
        };
        let (dims, strides) = of(&[own.as_slice(), &[axes, axes + 1]].concat());
        let cols = cols as usize;
        let p = Pack { dims, from: Map { strides, offset: rhs.offset }, dtype, cols, width };
        let [k, n] = [rhs.shape[axes], rhs.shape[axes + 1]];
        let mut far = (k * n.div_ceil(cols) * cols) as isize;
        let mut strides = vec![0; axes + 2];
        for &i in own.iter().rev() {
            strides[i] = far;
            far *= rhs.shape[i] as isize;
        }
        let key = (item, d, rhs.clone(), cols as u32, width);
        if let Some(&packed) = self.packs.get(&key) {
            return Ok((Map { strides, offset: 0 }, packed));
        }
        let packed = self.temp(p.elements(), compute_type(dtype), d);
        let elements = p.elements();
        let moved = bytes(elements, dtype) + bytes(elements, compute_type(dtype));
        let about = About::from(format!("pack {:?} {dtype} by {cols} columns", rhs.shape)).work(0.0, moved);
        let made = pack::pack(p)?;
        self.launch(made, d, &[item], &[packed], about)?;
        self.packs.insert(key, packed);
        Ok((Map { strides, offset: 0 }, packed))
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

    pub(super) fn offered(&mut self, g: &Graph, d: usize, bindings: Vec<ValueRef>, about: About) -> Result<(), Stop> {
        let program = self.chain[d].graph(g)?;
        let grid = Grid::Linear(1);
        self.launches.push(Launch { device: d, program, grid, bindings, scalars: vec![], about });
        Ok(())
    }

    /// What is offered, its operands those items, and its bindings; `None` where the device does not take it.
    fn whole(
        &self,
        offer: &Offer<'_>,
        operands: &[usize],
        slots: &[usize],
        d: usize,
        out: ValueRef,
    ) -> Result<Option<(Graph, Vec<ValueRef>)>, Stop> {
        let Some((whole, bound)) = graph(offer) else { return Ok(None) };
        if self.chain[d].accepts(&whole).is_err() {
            return Ok(None);
        }
        let items = operands.iter().copied().chain(bound.into_iter().map(|slot| slots[slot]));
        let mut bindings = items.map(|i| self.value(i)).collect::<Result<Vec<_>>>()?;
        bindings.push(out);
        Ok(Some((whole, bindings)))
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
            let moved = reads(&body, &part.shape) + bytes(part.elements(), item.dtype);
            let about = About::from(format!("concat part {:?} of {:?} {}", part.shape, item.shape, item.dtype))
                .fused(&body)
                .work((operations(&body) * part.elements()) as f64, moved)
                .dtype(compute_type(item.dtype));
            let target = Map { strides: layout.strides.clone(), offset };
            let made = map(body, id, &part.shape, target, item.dtype, self.map_lanes(d))?;
            self.launch(made, d, &slots, &[out], about)?;
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

/// An expression over a space that is an element of a buffer as it lies there: the slot and the layout.
fn read_in_place(body: &Body, id: Id, dims: &[usize]) -> Option<(usize, Strided)> {
    let Expr::Read { slot, map } = body.exprs[id].0 else { return None };
    let map = &body.maps[map];
    Some((slot, Strided { shape: dims.to_vec(), strides: map.strides.clone(), offset: map.offset }))
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

/// Bytes of so many elements.
pub(super) fn bytes(elements: usize, dtype: DType) -> u64 {
    (elements * dtype.size()) as u64
}

/// Bytes of the different places of an operand.
fn places(s: &Strided, dtype: DType) -> u64 {
    let places = s.shape.iter().zip(&s.strides).filter(|(_, stride)| **stride != 0).map(|(n, _)| n);
    bytes(places.product(), dtype)
}

/// Operations in a body, for notes.
pub(super) fn operations(body: &Body) -> usize {
    body.exprs
        .iter()
        .filter(|(e, _)| !matches!(e, Expr::Read { .. } | Expr::Const(_) | Expr::Anchor | Expr::Index(_)))
        .count()
}
