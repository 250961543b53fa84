//! Whole operations: what of a graph runs on the routines of `linalg`. The seam between the device and them.
//!
//! The device asks `accepts`, calls `load` once and `run` per launch with the ranges bound: inputs, outputs, workspace. A matrix
//! product, a row operation or a sum takes any elementwise operations behind it along, on blocks that are still in cache; weights are
//! packed once.

mod attention;
mod conv;
mod epilogue;
mod matmul;
mod packed;
mod rows;
mod sum;

use crate::{memory::Slice, team::Team, vmath::Level};
use anychip_hal::{DType, Error, Result, op};
use half::{bf16, f16};

/// A graph that was prepared.
pub(crate) struct Prepared {
    /// Bytes of workspace, bound last.
    pub workspace: u64,
    /// How many bindings there are, workspace included, and how many of them are inputs.
    bindings: usize,
    inputs: usize,
    name: String,
    work: Work,
}

enum Work {
    MatMul(Box<matmul::MatMul>),
    Attention(Box<attention::Attention>),
    Conv(Box<conv::Conv>),
    Rows(Box<rows::Rows>),
    Sum(Box<sum::Sum>),
}

fn refuse(graph: &op::Graph, why: impl Into<String>) -> Error {
    Error::unsupported(format!("graph {} on cpu", graph.name), why)
}

fn prepare(graph: &op::Graph, level: Level) -> Result<Prepared> {
    graph.check()?;
    let Some(first) = graph.nodes.first() else {
        return Err(refuse(graph, "it has no nodes"));
    };
    let [(result, out)] = graph.outputs.as_slice() else {
        return Err(refuse(graph, "it has not exactly one output"));
    };
    let negative = |s: &op::TensorSpec| s.strides.iter().any(|&s| s < 0);
    if graph.inputs.iter().chain([out]).any(negative) {
        return Err(refuse(graph, "an operand is a reversed slice"));
    }
    let work = match first.op {
        op::Op::MatMul => Work::MatMul(Box::new(matmul::MatMul::prepare(graph, *result, out, level)?)),
        op::Op::Attention { .. } => Work::Attention(Box::new(attention::Attention::prepare(graph, out, level)?)),
        op::Op::Conv { .. } => Work::Conv(Box::new(conv::Conv::prepare(graph, *result, level)?)),
        op::Op::Softmax | op::Op::LayerNorm { .. } | op::Op::RmsNorm { .. } => {
            Work::Rows(Box::new(rows::Rows::prepare(graph, *result, out, level)?))
        }
        op::Op::Reduce { op: op::ReduceOp::Sum, ref axes } => {
            Work::Sum(Box::new(sum::Sum::prepare(graph, axes, *result, out, level)?))
        }
        _ => {
            let takes = "matmul, conv, attention, softmax, norms and sums";
            return Err(refuse(graph, format!("the CPU takes {takes} as a whole; the rest runs as kernels")));
        }
    };
    let workspace = match &work {
        Work::MatMul(m) => m.workspace(),
        Work::Attention(_) | Work::Conv(_) | Work::Rows(_) | Work::Sum(_) => 0,
    };
    let inputs = graph.inputs.len();
    let bindings = inputs + 1 + (workspace > 0) as usize;
    Ok(Prepared { workspace, bindings, inputs, name: graph.name.clone(), work })
}

impl Prepared {
    /// Multiply-adds, or more.
    pub fn work(&self) -> u64 {
        match &self.work {
            Work::MatMul(m) => m.work(),
            Work::Attention(a) => a.work(),
            Work::Conv(c) => c.work(),
            Work::Rows(r) => r.work(),
            Work::Sum(s) => s.work(),
        }
    }
}

/// Would `load` take it?
pub(crate) fn accepts(graph: &op::Graph, level: Level) -> Result<()> {
    prepare(graph, level).map(|_| ())
}

/// Prepares a graph.
pub(crate) fn load(graph: &op::Graph, level: Level) -> Result<Prepared> {
    prepare(graph, level)
}

/// Runs a prepared graph.
pub(crate) fn run(graph: &Prepared, bindings: &[Slice], team: &Team) -> Result<()> {
    if bindings.len() < graph.bindings {
        return Err(Error::invalid(format!(
            "graph {} on cpu: {} bindings; inputs, output and workspace are {}",
            graph.name,
            bindings.len(),
            graph.bindings
        )));
    }
    let (inputs, rest) = bindings.split_at(graph.inputs);
    let out = &rest[0];
    if inputs.iter().any(|i| i.same_buffer(out)) {
        return Err(Error::invalid(format!("graph {} on cpu: the output's buffer is also an input", graph.name)));
    }
    rest.iter().for_each(Slice::mark);
    team.install(|| match &graph.work {
        Work::MatMul(m) => m.run(inputs, out, rest.get(1)),
        Work::Attention(a) => a.run(inputs, out),
        Work::Conv(c) => c.run(inputs, out),
        Work::Rows(r) => r.run(inputs, out),
        Work::Sum(s) => s.run(inputs, out),
    })
}

/// A binding as elements of its type.
#[derive(Clone, Copy)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    Bool(&'a [u8]),
}

/// The binding's elements from `offset` on. Types other than these are refused when a graph is prepared.
fn elements(slice: &Slice, dtype: DType, offset: usize) -> Result<Elements<'_>> {
    fn of<T>(slice: &Slice, offset: usize) -> Result<&[T]> {
        let size = std::mem::size_of::<T>();
        let n = slice.bytes / size;
        if offset > n || !(slice.ptr() as usize).is_multiple_of(size) {
            return Err(Error::invalid(format!(
                "graph on cpu: element {offset} of a binding of {n}, or a binding that is not aligned to {size} bytes"
            )));
        }
        // SAFETY: inside the allocation, which `slice` keeps alive; aligned; every bit pattern is an element; nothing writes it
        // during the launch (its buffer is not the output's).
        Ok(unsafe { std::slice::from_raw_parts((slice.ptr() as *const T).add(offset), n - offset) })
    }
    Ok(match dtype {
        DType::F32 => Elements::F32(of(slice, offset)?),
        DType::F16 => Elements::F16(of(slice, offset)?),
        DType::BF16 => Elements::BF16(of(slice, offset)?),
        DType::Bool => Elements::Bool(of(slice, offset)?),
        other => return Err(Error::unsupported(format!("graph on cpu with {other}"), "only floats and bool")),
    })
}

/// The output's elements of a type.
#[allow(clippy::mut_from_ref)] // a slice is a handle on raw memory; hal binds a written buffer once
fn elements_mut<T>(slice: &Slice, offset: usize) -> Result<&mut [T]> {
    let size = std::mem::size_of::<T>();
    let n = slice.bytes / size;
    if offset > n || !(slice.ptr() as usize).is_multiple_of(size) {
        return Err(Error::invalid(format!("graph on cpu: the output begins at element {offset} of {n}")));
    }
    // SAFETY: inside the allocation; the output's buffer is bound once, so that nothing else touches it during the launch.
    Ok(unsafe { std::slice::from_raw_parts_mut((slice.ptr() as *mut T).add(offset), n - offset) })
}

/// Shape and strides of rank 1 to 4 as `[outer, inner, rows, cols]`. `None` for other ranks.
fn four(spec: &op::TensorSpec) -> Option<([usize; 4], [usize; 4])> {
    let rank = spec.shape.len();
    if !(1..=4).contains(&rank) || spec.strides.len() != rank {
        return None;
    }
    let (mut shape, mut strides) = ([1; 4], [0; 4]);
    for i in 0..rank {
        shape[4 - rank + i] = spec.shape[i];
        strides[4 - rank + i] = usize::try_from(spec.strides[i]).ok()?;
    }
    Some((shape, strides))
}

fn linalg_error(name: &str, e: &crate::linalg::LinalgError) -> Error {
    Error::ShapeMismatch(format!("{name} on cpu: {e}"))
}
