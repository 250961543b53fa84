//! From a graph of standard operations to calls of cuBLASLt, as plain data: which products it takes, and why not the others.
//!
//! The library's matrices are column by column, its vectors of biases go along the rows of the result. A result that lies row by row is
//! therefore computed as its own transpose: `Dᵀ = Bᵀ·Aᵀ`, where nothing moves in memory. What it does behind a product is, in this order:
//! times a number, plus a matrix, plus a bias, the larger of it and 0; all in the type of the sums, rounded once.

use anychip_hal::{
    DType, Error, Result,
    op::{BinaryOp, Graph, Op, Ref, TensorSpec, UnaryOp},
};

/// A matrix as the library is told of it: `cols` columns of `rows` elements, `lead` apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matrix {
    /// Which binding.
    pub binding: usize,
    pub dtype: DType,
    pub rows: u64,
    pub cols: u64,
    pub lead: i64,
    /// What is multiplied is its transpose.
    pub transposed: bool,
    /// Elements from a batch's matrix to the next one's.
    pub step: i64,
    /// Its first element within the binding.
    pub offset: u64,
}

impl Matrix {
    /// Bytes to which everything that the library is handed of it is aligned, where bindings are aligned to 256.
    pub fn alignment(&self, calls: impl Iterator<Item = i64>) -> u32 {
        let size = self.dtype.size() as u64;
        let all = calls.map(i64::unsigned_abs).chain([self.offset, self.step.unsigned_abs()]);
        all.map(|n| n * size).filter(|n| *n > 0).fold(256, |least, n| least.min(1 << n.trailing_zeros().min(8)))
    }
}

/// In what the library adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sums {
    F32,
    F64,
    I32,
    /// f32, of operands that are cut to 10 bits behind the point.
    Tf32,
}

/// A product as the library computes it, in as many calls as there are `offsets`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Product {
    pub left: Matrix,
    pub right: Matrix,
    pub addend: Option<Matrix>,
    pub out: Matrix,
    /// The binding of a vector along the rows, and its first element.
    pub bias: Option<(usize, u64)>,
    pub relu: bool,
    /// Bits of an f64.
    pub factor: u64,
    pub sums: Sums,
    /// Products in a call.
    pub batch: u32,
    /// For each call, elements to go on from left, right, addend and out.
    pub offsets: Vec<[i64; 4]>,
    /// Bindings: inputs and the output.
    pub bindings: usize,
}

/// Calls for batches that do not lie at one distance; more are better left to one kernel.
const MOST_CALLS: usize = 32;

fn refuse<T>(graph: &Graph, why: impl Into<String>) -> Result<T> {
    Err(Error::unsupported(format!("graph {} in cuBLASLt", graph.name), why))
}

/// The product that a graph is. `tf32`: f32 may be cut.
///
/// # Errors
/// `Unsupported` that says what is not the library's; `InvalidArgument` for a graph that is none.
pub fn of(graph: &Graph, tf32: bool) -> Result<Product> {
    graph.check()?;
    let Some(first) = graph.nodes.first().filter(|n| n.op == Op::MatMul) else {
        return refuse(graph, "it computes matrix products; the rest runs as kernels");
    };
    let [(result, out)] = graph.outputs.as_slice() else {
        return refuse(graph, "it has not exactly one output");
    };
    let [Ref::Input(l), Ref::Input(r)] = first.inputs[..] else {
        return refuse(graph, "its operands are not inputs");
    };
    let (a, b) = (&graph.inputs[l], &graph.inputs[r]);
    let rank = first.shape.len();
    if rank < 2 || [a, b, out].iter().any(|s| s.shape.len() != rank || s.strides.len() != rank) {
        return refuse(graph, "operands and result are not all of one rank, 2 or more");
    }
    if out.shape != first.shape {
        return refuse(graph, "the output has another shape than the product");
    }
    if first.shape.contains(&0) || a.shape[rank - 1] == 0 {
        return refuse(graph, "it is empty");
    }
    if [a, b, out].iter().any(|s| s.strides.iter().any(|&s| s < 0)) {
        return refuse(graph, "an operand is a reversed slice");
    }
    let sums = sums(graph, a.dtype, b.dtype, first.dtype, out.dtype, tf32)?;
    let behind = Behind::read(graph, *result, out)?;

    // Row by row: the transpose of everything, with the operands in the other order.
    let swapped = adjacent(out, rank - 1);
    if !swapped && !adjacent(out, rank - 2) {
        return refuse(
            graph,
            format!("neither rows nor columns of the result lie together: strides {:?}", out.strides),
        );
    }
    let matrix = |binding: usize, spec: &TensorSpec| matrix(graph, binding, spec, swapped);
    let place = graph.inputs.len();
    let target = matrix(place, out)?;
    if target.transposed {
        return refuse(graph, "the result's rows and columns overlap");
    }
    let (mut left, mut right, mut target) = (matrix(l, a)?, matrix(r, b)?, target);
    if swapped {
        std::mem::swap(&mut left, &mut right);
    }
    let mut addend = None;
    let mut bias = None;
    if let Some(i) = behind.addend {
        let spec = &graph.inputs[i];
        let m = matrix(i, spec)?;
        if m.transposed {
            return refuse(graph, "what is added lies the other way than the result");
        }
        addend = Some(m);
    }
    if let Some(i) = behind.bias {
        let spec = &graph.inputs[i];
        let along = if swapped { rank - 1 } else { rank - 2 };
        let walked = |i: usize| spec.strides[i] != 0 && spec.shape[i] > 1;
        if (0..rank).any(|i| i != along && walked(i)) || (spec.strides[along] != 1 && spec.shape[along] > 1) {
            return refuse(graph, "a bias must go along the axis of the result whose elements lie together");
        }
        if a.dtype.size() == 1 {
            return refuse(graph, "behind products of 8 bits its bias has a type of its own");
        }
        bias = Some((i, spec.offset as u64));
    }

    // The strides of the batch axes of the four, in the order of the library's operands.
    let (first_spec, second_spec) = if swapped { (b, a) } else { (a, b) };
    let added = addend.as_ref().map(|m| &graph.inputs[m.binding]);
    let axes: Vec<(usize, [isize; 4])> = (0..rank - 2)
        .filter(|&i| first.shape[i] > 1)
        .map(|i| {
            let third = added.map_or(0, |s| s.strides[i]);
            (first.shape[i], [first_spec.strides[i], second_spec.strides[i], third, out.strides[i]])
        })
        .collect();
    let Batches { count, step, offsets } = batches(&axes);
    if offsets.len() > MOST_CALLS {
        let why = format!(
            "its batches lie at so many distances that it takes {} calls; {MOST_CALLS} are the most",
            offsets.len()
        );
        return refuse(graph, why);
    }
    if count > 1 && step[3] == 0 || offsets.iter().skip(1).any(|o| o[3] == 0) {
        return refuse(graph, "results of several batches lie in one place");
    }
    let batch = match u32::try_from(count) {
        Ok(n) if n <= i32::MAX as u32 => n,
        _ => return refuse(graph, format!("it has {count} batches")),
    };
    (left.step, right.step, target.step) = (step[0], step[1], step[3]);
    if let Some(m) = &mut addend {
        m.step = step[2];
    }
    Ok(Product {
        left,
        right,
        addend,
        out: target,
        bias,
        relu: behind.relu,
        factor: behind.factor.to_bits(),
        sums,
        batch,
        offsets,
        bindings: place + 1,
    })
}

/// The elements along an axis lie side by side, and those across it do not overlap.
fn adjacent(s: &TensorSpec, axis: usize) -> bool {
    let rank = s.shape.len();
    let other = if axis == rank - 1 { rank - 2 } else { rank - 1 };
    let (along, across) = (s.shape[axis], s.shape[other]);
    (along == 1 || s.strides[axis] == 1) && (across == 1 || s.strides[other] >= along as isize)
}

/// A matrix, or its transpose, in columns.
fn matrix(graph: &Graph, binding: usize, s: &TensorSpec, swapped: bool) -> Result<Matrix> {
    let rank = s.shape.len();
    // Axes of what the library calls rows and columns.
    let (row, col) = if swapped { (rank - 1, rank - 2) } else { (rank - 2, rank - 1) };
    let (together, apart, transposed) = match (adjacent(s, row), adjacent(s, col)) {
        (true, _) => (row, col, false),
        (false, true) => (col, row, true),
        (false, false) => {
            let why = format!(
                "neither rows nor columns of operand {binding} lie together: shape {:?}, strides {:?}",
                s.shape, s.strides
            );
            return refuse(graph, why);
        }
    };
    let (rows, cols) = (s.shape[together], s.shape[apart]);
    // A single column has no next one.
    let lead = if cols == 1 { rows } else { s.strides[apart] as usize };
    let Ok(lead) = i64::try_from(lead.max(rows)) else { return refuse(graph, "an operand is too large") };
    Ok(Matrix {
        binding,
        dtype: s.dtype,
        rows: rows as u64,
        cols: cols as u64,
        lead,
        transposed,
        step: 0,
        offset: s.offset as u64,
    })
}

/// What is summed in, for operands of these types.
fn sums(graph: &Graph, a: DType, b: DType, product: DType, out: DType, tf32: bool) -> Result<Sums> {
    use DType::*;
    let eight = |d: DType| matches!(d, F8E4M3 | F8E5M2);
    match (a, b) {
        (I8, I8) if product == I8 => {
            refuse(graph, "its sums of 8-bit integers saturate where ours wrap; sums in i32 it has")
        }
        (I8, I8) if (product, out) == (I32, I32) => Ok(Sums::I32),
        (F8E5M2, F8E5M2) => refuse(graph, "it does not multiply f8e5m2 by f8e5m2"),
        _ if eight(a) && eight(b) && matches!(out, F16 | BF16 | F32) && product == out => Ok(Sums::F32),
        (F16, F16) if matches!((product, out), (F16, F16 | F32) | (F32, F32)) => Ok(Sums::F32),
        (BF16, BF16) if matches!((product, out), (BF16, BF16 | F32) | (F32, F32)) => Ok(Sums::F32),
        (F32, F32) if (product, out) == (F32, F32) => Ok(if tf32 { Sums::Tf32 } else { Sums::F32 }),
        (F64, F64) if (product, out) == (F64, F64) => Ok(Sums::F64),
        _ => refuse(graph, format!("it has no product of {a} and {b} to {product}, stored as {out}")),
    }
}

/// The operations behind a product.
struct Behind {
    factor: f64,
    addend: Option<usize>,
    bias: Option<usize>,
    relu: bool,
}

impl Behind {
    fn read(graph: &Graph, result: usize, out: &TensorSpec) -> Result<Behind> {
        let mut found = Behind { factor: 1.0, addend: None, bias: None, relu: false };
        let (mut at, mut scaled) = (0, false);
        let constant = |r: &Ref| match *r {
            Ref::Node(n) => match graph.nodes[n].op {
                Op::Full(bits) => Some(number(graph.nodes[n].dtype, bits)),
                _ => None,
            },
            Ref::Input(_) => None,
        };
        for (n, node) in graph.nodes.iter().enumerate().skip(1) {
            if matches!(node.op, Op::Full(_)) {
                continue;
            }
            let from = node.inputs.iter().position(|r| *r == Ref::Node(at));
            let other = from.and_then(|i| node.inputs.get(1 - i.min(1))).filter(|_| node.inputs.len() == 2);
            if from.is_none() || node.shape != out.shape || found.relu {
                return refuse(graph, format!("{:?} behind it is not among what it does there", node.op));
            }
            match (&node.op, other) {
                (Op::Binary(BinaryOp::Mul), Some(r)) if !scaled && found.addend.is_none() && found.bias.is_none() => {
                    let Some(by) = constant(r) else {
                        return refuse(graph, "it multiplies a product by one number, not by a tensor");
                    };
                    if !node.dtype.is_float() {
                        return refuse(graph, "it multiplies sums of integers by nothing");
                    }
                    (found.factor, scaled) = (by, true);
                }
                (Op::Binary(BinaryOp::Add), Some(&Ref::Input(i))) => {
                    let spec = &graph.inputs[i];
                    if spec.shape != out.shape || spec.dtype != out.dtype || spec.strides.iter().any(|&s| s < 0) {
                        return refuse(
                            graph,
                            "what is added must have the result's shape and type, and not be reversed",
                        );
                    }
                    if spec.dtype.is_int() || spec.dtype == DType::F64 {
                        return refuse(graph, format!("it adds nothing to products of {}", spec.dtype));
                    }
                    let walks = spec.strides.iter().zip(&spec.shape).filter(|(s, n)| **s != 0 && **n > 1).count();
                    let to = if walks <= 1 && spec.shape.iter().filter(|n| **n > 1).count() > walks {
                        &mut found.bias
                    } else if found.bias.is_none() {
                        &mut found.addend
                    } else {
                        return refuse(graph, "it adds a matrix before a bias, not behind it");
                    };
                    if to.is_some() {
                        return refuse(graph, "it adds one matrix and one bias, no more");
                    }
                    if walks == 0 && spec.elements() > 1 {
                        return refuse(graph, "it adds no single number to every element");
                    }
                    *to = Some(i);
                }
                (Op::Unary(UnaryOp::Relu), _) if out.dtype.is_float() && out.dtype != DType::F64 => found.relu = true,
                (Op::Unary(UnaryOp::Gelu), _) => {
                    return refuse(graph, "its gelu is the one by tanh, not by erf");
                }
                (Op::Unary(UnaryOp::GeluTanh), _) => {
                    return refuse(graph, "how far its gelu may be off is stated nowhere");
                }
                // A wider type of the same sum: it is rounded once, to the type in which it is stored.
                (Op::Cast(DType::F32), _) if out.dtype == DType::F32 => {}
                (op, _) => return refuse(graph, format!("{op:?} behind it is not among what it does there")),
            }
            at = n;
        }
        if at != result {
            return refuse(graph, "its result is not that of the last operation");
        }
        Ok(found)
    }
}

/// The number that bits of a float type are.
fn number(d: DType, bits: u64) -> f64 {
    match d {
        DType::F64 => f64::from_bits(bits),
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::BF16 => f64::from(f32::from_bits((bits as u32) << 16)),
        DType::F16 => {
            let (sign, exponent, fraction) = (bits >> 15 & 1, bits >> 10 & 31, (bits & 1023) as f64);
            let size = match exponent {
                0 => fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                e => (1.0 + fraction / 1024.0) * 2f64.powi(e as i32 - 15),
            };
            if sign == 1 { -size } else { size }
        }
        _ => f64::NAN,
    }
}

/// Batches at one distance in each call, and where each call begins.
struct Batches {
    count: usize,
    step: [i64; 4],
    offsets: Vec<[i64; 4]>,
}

fn batches(axes: &[(usize, [isize; 4])]) -> Batches {
    // Axes that are walked as one are one.
    let mut merged: Vec<(usize, [i64; 4])> = vec![];
    for &(n, strides) in axes {
        let strides = strides.map(|s| s as i64);
        match merged.last_mut() {
            Some((m, of)) if of.iter().zip(strides).all(|(outer, inner)| *outer == inner * n as i64) => {
                (*m, *of) = (*m * n, strides);
            }
            _ => merged.push((n, strides)),
        }
    }
    // The longest is the call's own.
    let longest = (0..merged.len()).max_by_key(|&i| merged[i].0);
    let (count, step) = longest.map_or((1, [0; 4]), |i| merged.remove(i));
    let calls = merged.iter().try_fold(1usize, |all, (n, _)| all.checked_mul(*n)).unwrap_or(usize::MAX);
    // Beyond the limit nobody looks at them.
    let offsets = (0..calls.min(MOST_CALLS + 1)).map(|mut call| {
        let mut at = [0; 4];
        for (n, strides) in merged.iter().rev() {
            let index = (call % n) as i64;
            call /= n;
            at.iter_mut().zip(strides).for_each(|(at, s)| *at += index * s);
        }
        at
    });
    Batches { count, step, offsets: offsets.collect() }
}
