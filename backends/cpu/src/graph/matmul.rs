//! A matrix product with elementwise operations behind it.
//!
//! Results go straight to the output when that is f32 with adjacent columns; otherwise the product is computed in the workspace and the
//! epilogue carries it over.

use super::{
    Elements, attention::matrices, elements, elements_mut, epilogue::Epilogue, four, linalg_error,
    packed::PackedWeights, refuse,
};
use crate::{
    linalg::{Element, LinalgError, Matrices, MatricesMut, PackedB, Tile, matmul_at, matmul_packed},
    machine::{STREAM, StreamFn, stream},
    memory::Slice,
    vmath::{
        Level,
        convert::{narrow_bf16, narrow_f16},
    },
};
use anychip_hal::{
    DType, Error, Result,
    op::{Graph, TensorSpec},
};
use half::{bf16, f16};

pub(super) struct MatMul {
    level: Level,
    a: TensorSpec,
    b: TensorSpec,
    out: TensorSpec,
    /// The product's shape, as `[outer, inner, rows, cols]`.
    shape: [usize; 4],
    epilogue: Epilogue,
    /// The product can be written where the result goes.
    direct: bool,
    packed: PackedWeights,
}

pub(super) fn float(d: DType) -> bool {
    matches!(d, DType::F32 | DType::F16 | DType::BF16)
}

impl MatMul {
    pub fn prepare(graph: &Graph, result: usize, out: &TensorSpec, level: Level) -> Result<MatMul> {
        let (a, b) = (graph.inputs[0].clone(), graph.inputs[1].clone());
        if !float(a.dtype) || !float(b.dtype) || !float(out.dtype) {
            return Err(refuse(graph, format!("matmul as a whole is for f32, f16 and bf16, this is {}", a.dtype)));
        }
        let (Some(_), Some(_), Some((shape, strides))) = (four(&a), four(&b), four(out)) else {
            return Err(refuse(graph, "operands are not of rank 2 to 4"));
        };
        if graph.nodes[0].shape != out.shape {
            return Err(refuse(graph, "the output has another shape than the product"));
        }
        let epilogue = Epilogue::prepare(graph, result, level)?;
        let direct = out.dtype == DType::F32 && (strides[3] == 1 || shape[3] == 1) && apart(shape, strides);
        Ok(MatMul { level, a, b, out: out.clone(), shape, epilogue, direct, packed: PackedWeights::default() })
    }

    pub fn workspace(&self) -> u64 {
        if self.direct { 0 } else { self.shape.iter().product::<usize>() as u64 * 4 }
    }

    /// Multiply-adds, and a few for each operation behind.
    pub fn work(&self) -> u64 {
        let [outer, inner, rows, cols] = self.shape.map(|n| n as u64);
        let k = self.a.shape.last().map_or(0, |&k| k as u64);
        let each = k.saturating_add(16 * self.epilogue.len() as u64 + 1);
        [outer, inner, rows, cols].into_iter().fold(each, u64::saturating_mul)
    }

    pub fn run(&self, inputs: &[Slice], out: &Slice, workspace: Option<&Slice>) -> Result<()> {
        let epilogue = self.epilogue.bind(inputs)?;
        let apply = |tile: &mut Tile<'_>| epilogue.on_tile(tile);
        if self.direct {
            let (_, strides) = four(&self.out).ok_or_else(|| Error::invalid("matmul on cpu: rank"))?;
            let data = elements_mut::<f32>(out, self.out.offset)?;
            let mut to = MatricesMut::new(data, self.shape, [strides[0], strides[1], strides[2]])
                .map_err(|e| linalg_error("matmul", &e))?;
            let fused: Option<&(dyn Fn(&mut Tile<'_>) + Sync)> = if epilogue.is_empty() { None } else { Some(&apply) };
            return self.multiply(inputs, &mut to, fused);
        }
        let space = workspace.ok_or_else(|| Error::invalid("matmul on cpu: no workspace was bound"))?;
        let data = elements_mut::<f32>(space, 0)?;
        let [_, inner, rows, cols] = self.shape;
        let mut to = MatricesMut::new(data, self.shape, [inner * rows * cols, rows * cols, cols])
            .map_err(|e| linalg_error("matmul", &e))?;
        let target = Target::new(self.level, &self.out, self.shape, out)?;
        let carry = |tile: &mut Tile<'_>| {
            epilogue.on_tile(tile);
            target.store(tile);
        };
        self.multiply(inputs, &mut to, Some(&carry))
    }

    fn multiply(
        &self,
        inputs: &[Slice],
        to: &mut MatricesMut<'_, f32>,
        epilogue: Option<&(dyn Fn(&mut Tile<'_>) + Sync)>,
    ) -> Result<()> {
        match elements(&inputs[0], self.a.dtype, self.a.offset)? {
            Elements::F32(a) => self.with_a(&matrices("matmul", &self.a, a)?, inputs, to, epilogue),
            Elements::F16(a) => self.with_a(&matrices("matmul", &self.a, a)?, inputs, to, epilogue),
            Elements::BF16(a) => self.with_a(&matrices("matmul", &self.a, a)?, inputs, to, epilogue),
            Elements::Bool(_) => Err(Error::invalid("matmul on cpu: operands are floats")),
        }
    }

    fn with_a<A: Element>(
        &self,
        a: &Matrices<'_, A>,
        inputs: &[Slice],
        to: &mut MatricesMut<'_, f32>,
        epilogue: Option<&(dyn Fn(&mut Tile<'_>) + Sync)>,
    ) -> Result<()> {
        let failed = |e: LinalgError| linalg_error("matmul", &e);
        let right = elements(&inputs[1], self.b.dtype, self.b.offset)?;
        if self.b.constant {
            let packed = self.packed.get(&inputs[1], || {
                match right {
                    Elements::F32(b) => PackedB::for_level(self.level, &matrices("matmul", &self.b, b)?),
                    Elements::F16(b) => PackedB::for_level(self.level, &matrices("matmul", &self.b, b)?),
                    Elements::BF16(b) => PackedB::for_level(self.level, &matrices("matmul", &self.b, b)?),
                    Elements::Bool(_) => return Err(Error::invalid("matmul on cpu: operands are floats")),
                }
                .map_err(failed)
            })?;
            return matmul_packed(a, &packed, to, epilogue).map_err(failed);
        }
        match right {
            Elements::F32(b) => matmul_at(self.level, a, &matrices("matmul", &self.b, b)?, to, epilogue),
            Elements::F16(b) => matmul_at(self.level, a, &matrices("matmul", &self.b, b)?, to, epilogue),
            Elements::BF16(b) => matmul_at(self.level, a, &matrices("matmul", &self.b, b)?, to, epilogue),
            Elements::Bool(_) => return Err(Error::invalid("matmul on cpu: operands are floats")),
        }
        .map_err(failed)
    }
}

/// No two elements in one place.
pub(super) fn apart(shape: [usize; 4], strides: [usize; 4]) -> bool {
    let mut dims: Vec<(usize, usize)> = strides.into_iter().zip(shape).filter(|&(_, n)| n > 1).collect();
    dims.sort_unstable();
    let mut span = 1;
    dims.iter().all(|&(stride, n)| {
        let ok = stride >= span;
        span += (n - 1) * stride;
        ok
    })
}

/// Where results go when the product cannot be written there itself.
pub(super) struct Target {
    level: Level,
    at: *mut u8,
    dtype: DType,
    strides: [usize; 4],
    /// What copies rows of f32 that lie side by side.
    copy: StreamFn,
}

/// A copy through the caches.
///
/// # Safety
/// Both pointers cover `n` bytes and do not overlap.
unsafe fn copied(n: usize, to: *mut u8, from: *const u8) {
    // SAFETY: as promised.
    unsafe { std::ptr::copy_nonoverlapping(from, to, n) }
}

// SAFETY: tiles are disjoint and so are the places of different elements (checked in `new`).
unsafe impl Sync for Target {}

impl Target {
    pub fn new(level: Level, spec: &TensorSpec, shape: [usize; 4], out: &Slice) -> Result<Target> {
        let (_, strides) = four(spec).ok_or_else(|| Error::invalid("graph on cpu: rank"))?;
        let last: usize = shape.iter().zip(strides).map(|(&n, s)| n.saturating_sub(1) * s).sum();
        let needs = (spec.offset + last + 1) * spec.dtype.size();
        if needs > out.bytes || !apart(shape, strides) {
            return Err(Error::invalid(format!(
                "graph on cpu: the output of shape {shape:?} with strides {strides:?} takes {needs} bytes of {} and must not \
                 overlap itself",
                out.bytes
            )));
        }
        let at = out.ptr().wrapping_add(spec.offset * spec.dtype.size());
        if !(at as usize).is_multiple_of(spec.dtype.size()) {
            return Err(Error::invalid("graph on cpu: the output is not aligned to its elements"));
        }
        Ok(Target { level, at, dtype: spec.dtype, strides, copy: copied })
    }

    /// The same; results that the caches would not hold anyway go past them. Who stores ends its part with a
    /// [`fence`](crate::machine::fence).
    pub fn streaming(mut self, out: &Slice) -> Target {
        if out.bytes as u64 >= STREAM {
            self.copy = stream(self.level);
        }
        self
    }

    pub fn store(&self, tile: &mut Tile<'_>) {
        let [outer, inner] = tile.batch;
        let [so, si, sr, sc] = self.strides;
        for i in 0..tile.rows {
            let first = outer * so + inner * si + (tile.row0 + i) * sr + tile.col0 * sc;
            let row = tile.row(i);
            if sc == 1 {
                // SAFETY: the row's places, inside the output (`new`), and this tile's alone.
                unsafe {
                    match self.dtype {
                        DType::F16 => {
                            let to = std::slice::from_raw_parts_mut((self.at as *mut f16).add(first), row.len());
                            narrow_f16(self.level, row, to);
                        }
                        DType::F32 => {
                            let to = (self.at as *mut f32).add(first);
                            (self.copy)(size_of_val(row), to.cast(), row.as_ptr().cast());
                        }
                        _ => {
                            let to = std::slice::from_raw_parts_mut((self.at as *mut bf16).add(first), row.len());
                            narrow_bf16(self.level, row, to);
                        }
                    }
                }
                continue;
            }
            for (c, &x) in row.iter().enumerate() {
                let at = first + c * sc;
                // SAFETY: inside the output (`new`), and this element's place alone.
                unsafe {
                    match self.dtype {
                        DType::F16 => *(self.at as *mut f16).add(at) = f16::from_f32(x),
                        DType::BF16 => *(self.at as *mut bf16).add(at) = bf16::from_f32(x),
                        _ => *(self.at as *mut f32).add(at) = x,
                    }
                }
            }
        }
    }
}
