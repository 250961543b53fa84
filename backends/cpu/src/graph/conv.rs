//! A convolution with elementwise operations behind it. For these, its places are one axis: height and width of everything
//! behind it must lie so that they can be walked as one.

use super::{
    Elements,
    attention::matrices,
    elements, elements_mut,
    epilogue::Epilogue,
    four, linalg_error,
    matmul::{Target, apart, float},
    packed::PackedWeights,
    refuse,
};
use crate::{
    linalg::{ConvShape, Element, Matrices, MatricesMut, PackedFilters, Tile, convolve},
    memory::Slice,
    vmath::Level,
};
use anychip_hal::{
    Error, Result,
    op::{Graph, Op, TensorSpec},
};

pub(super) struct Conv {
    level: Level,
    shape: ConvShape,
    /// `[batch, channels, height, width]`.
    x: TensorSpec,
    /// `[filters, channels / groups, height, width]`.
    w: TensorSpec,
    /// `[batch, filters, places]`.
    out: TensorSpec,
    epilogue: Epilogue,
    /// The sums can be written where the result goes.
    direct: bool,
    packed: PackedWeights<PackedFilters>,
}

impl Conv {
    pub fn prepare(graph: &Graph, result: usize, level: Level) -> Result<Conv> {
        let Op::Conv { stride, padding, dilation, groups } = &graph.nodes[0].op else {
            return Err(refuse(graph, "its first node is no convolution"));
        };
        let [x, w] = [&graph.inputs[0], &graph.inputs[1]];
        let flat = places_as_one(graph).ok_or_else(|| refuse(graph, "height and width do not lie in one row"))?;
        let out = flat.outputs[0].1.clone();
        if !float(x.dtype) || w.dtype != x.dtype || !float(out.dtype) {
            return Err(refuse(graph, format!("conv as a whole is for f32, f16 and bf16, this is {}", x.dtype)));
        }
        let (Some(x), Some(w)) = (two_axes(x), two_axes(w)) else {
            return Err(refuse(graph, "it has neither one nor two spatial axes"));
        };
        let node = &graph.nodes[0].shape;
        if graph.outputs[0].1.shape != *node || [&x, &w].iter().any(|s| s.shape.contains(&0)) || node.contains(&0) {
            return Err(refuse(graph, "it has no elements, or the output has another shape"));
        }
        let one = |v: &[usize], missing: usize| if v.len() == 1 { [missing, v[0]] } else { [v[0], v[1]] };
        let before: Vec<usize> = padding.iter().map(|p| p[0]).collect();
        let shape = ConvShape {
            batch: x.shape[0],
            groups: *groups,
            channels: w.shape[1],
            filters: w.shape[0] / groups,
            input: [x.shape[2], x.shape[3]],
            output: one(&node[2..], 1),
            kernel: [w.shape[2], w.shape[3]],
            stride: one(stride, 1),
            dilation: one(dilation, 1),
            before: one(&before, 0),
        };
        let epilogue = Epilogue::prepare(&flat, result, level)?;
        let (full, strides) = four(&out).ok_or_else(|| refuse(graph, "the output's rank"))?;
        let direct = out.dtype == anychip_hal::DType::F32 && (strides[3] == 1 || full[3] == 1) && apart(full, strides);
        Ok(Conv { level, shape, x, w, out, epilogue, direct, packed: PackedWeights::default() })
    }

    /// Multiply-adds, and a few for each operation behind.
    pub fn work(&self) -> u64 {
        let terms = (self.shape.channels * self.shape.kernel[0] * self.shape.kernel[1]) as u64;
        let each = terms.saturating_add(16 * self.epilogue.len() as u64 + 1);
        self.out.shape.iter().fold(each, |work, &n| work.saturating_mul(n as u64))
    }

    pub fn run(&self, inputs: &[Slice], out: &Slice) -> Result<()> {
        match elements(&inputs[0], self.x.dtype, self.x.offset)? {
            Elements::F32(x) => self.with_x(&matrices("conv", &self.x, x)?, inputs, out),
            Elements::F16(x) => self.with_x(&matrices("conv", &self.x, x)?, inputs, out),
            Elements::BF16(x) => self.with_x(&matrices("conv", &self.x, x)?, inputs, out),
            Elements::Bool(_) => Err(Error::invalid("conv on cpu: operands are floats")),
        }
    }

    fn filters(&self, w: &Slice) -> Result<PackedFilters> {
        match elements(w, self.w.dtype, self.w.offset)? {
            Elements::F32(d) => PackedFilters::new(self.level, self.shape, &matrices("conv", &self.w, d)?),
            Elements::F16(d) => PackedFilters::new(self.level, self.shape, &matrices("conv", &self.w, d)?),
            Elements::BF16(d) => PackedFilters::new(self.level, self.shape, &matrices("conv", &self.w, d)?),
            Elements::Bool(_) => return Err(Error::invalid("conv on cpu: operands are floats")),
        }
        .map_err(|e| linalg_error("conv", &e))
    }

    fn with_x<T: Element>(&self, x: &Matrices<'_, T>, inputs: &[Slice], out: &Slice) -> Result<()> {
        let failed = |e| linalg_error("conv", &e);
        let (kept, made);
        let w: &PackedFilters = if self.w.constant {
            kept = self.packed.get(&inputs[1], || self.filters(&inputs[1]))?;
            &kept
        } else {
            made = self.filters(&inputs[1])?;
            &made
        };
        let epilogue = self.epilogue.bind(inputs)?;
        let (full, strides) = four(&self.out).ok_or_else(|| Error::invalid("conv on cpu: rank"))?;
        if self.direct {
            let data = elements_mut::<f32>(out, self.out.offset)?;
            let mut to = MatricesMut::new(data, full, [strides[0], strides[1], strides[2]]).map_err(failed)?;
            let apply = |tile: &mut Tile<'_>| epilogue.on_tile(tile);
            let fused: Option<&(dyn Fn(&mut Tile<'_>) + Sync)> = if epilogue.is_empty() { None } else { Some(&apply) };
            return convolve(x, w, Some(&mut to), fused).map_err(failed);
        }
        let target = Target::new(self.level, &self.out, full, out)?;
        let carry = |tile: &mut Tile<'_>| {
            epilogue.on_tile(tile);
            target.store(tile);
        };
        convolve(x, w, None, Some(&carry)).map_err(failed)
    }
}

/// Rank 4, a height of 1 where there is none.
fn two_axes(s: &TensorSpec) -> Option<TensorSpec> {
    let mut s = s.clone();
    if s.shape.len() == 3 {
        s.shape.insert(2, 1);
        s.strides.insert(2, 0);
    }
    (s.shape.len() == 4 && s.strides.len() == 4).then_some(s)
}

/// The same graph with one axis of places for everything behind the convolution; `None` when strides do not allow it.
fn places_as_one(graph: &Graph) -> Option<Graph> {
    let mut flat = graph.clone();
    let rank = graph.nodes[0].shape.len();
    if rank == 3 {
        return Some(flat);
    }
    let merge = |s: &mut TensorSpec| -> Option<()> {
        let (&[a, b, h, w], &[sa, sb, sh, sw]) = (s.shape.as_slice(), s.strides.as_slice()) else { return None };
        let stride = match () {
            () if h == 1 => sw,
            () if w == 1 => sh,
            () if sh == sw * w as isize => sw,
            () => return None,
        };
        (s.shape, s.strides) = (vec![a, b, h * w], vec![sa, sb, stride]);
        Some(())
    };
    flat.inputs.iter_mut().skip(2).try_for_each(merge)?;
    flat.outputs.iter_mut().try_for_each(|(_, s)| merge(s))?;
    for node in &mut flat.nodes {
        let &[a, b, h, w] = node.shape.as_slice() else { return None };
        node.shape = vec![a, b, h * w];
    }
    Some(flat)
}
