//! The work that stands for a class of problems: its graph, and operands of two kinds.
//!
//! *Exact* operands are small integers, whose sums and products are exact in every order; *random* ones have no special form.

use super::gate::EPS;
use crate::{
    graph::{Host, Node, View},
    schedule::{Problem, rows::Kind},
};
use anychip_hal::{
    DType, Error, Result,
    op::{BinaryOp, Op, ReduceOp},
};
use half::{bf16, f16};

/// Elements of all operands and the result together, at most: more would take longer to make than to measure.
const MOST: usize = 1 << 26;

/// Shapes of the operands, as they lie in memory.
pub fn shapes(p: &Problem) -> Result<Vec<Vec<usize>>> {
    let refuse = |why: &str| Err(Error::unsupported(format!("tuning {} {p}", p.family()), why));
    if !matches!(p.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
        return refuse("the tuner knows bounds for f16, bf16, f32 and f64 only");
    }
    let shapes = match p {
        Problem::Matmul(p) => {
            let right = if p.col_stride == 1 { [p.inner, p.cols] } else { [p.cols, p.inner] };
            vec![vec![p.batch, p.rows, p.inner], vec![p.batch, right[0], right[1]]]
        }
        Problem::Reduce(p) if !matches!(p.op, ReduceOp::Sum | ReduceOp::Min | ReduceOp::Max) => {
            return refuse("the tuner knows bounds for sums, minima and maxima only");
        }
        Problem::Reduce(p) if p.along && !p.across => vec![vec![p.reduced, p.results]],
        Problem::Reduce(p) => vec![vec![p.results, p.reduced]],
        Problem::Rows(p) => match p.row {
            Kind::Softmax => vec![vec![p.rows, p.cols]],
            Kind::LayerNorm => vec![vec![p.rows, p.cols], vec![p.cols], vec![p.cols]],
            Kind::RmsNorm => vec![vec![p.rows, p.cols], vec![p.cols]],
        },
        Problem::Map(p) if p.reads == 0 || p.reads > 8 => return refuse("one to eight operands are tuned"),
        Problem::Map(p) if p.cols != p.elements => {
            return refuse("elementwise work is tuned on operands that lie densely");
        }
        Problem::Map(p) => vec![vec![p.elements]; p.reads],
    };
    let result = match p {
        Problem::Matmul(p) => vec![p.batch, p.rows, p.cols],
        Problem::Reduce(p) => vec![p.results],
        Problem::Rows(p) => vec![p.rows, p.cols],
        Problem::Map(p) => vec![p.elements],
    };
    let elements = shapes.iter().chain([&result]).map(|s| crate::shape::elements(s)).sum::<Result<usize>>()?;
    if shapes.iter().chain([&result]).any(|s| s.contains(&0)) || elements > MOST {
        return refuse(&format!("operands and result have {elements} elements; 1 to {MOST} are taken"));
    }
    Ok(shapes)
}

/// The result of the work on operands of these [`shapes`].
pub fn output(p: &Problem, x: &[Node]) -> Result<Node> {
    match p {
        Problem::Matmul(m) => {
            let right = match m.col_stride {
                1 => x[1].clone(),
                _ => x[1].view(View::Permute(vec![0, 2, 1]))?,
            };
            Node::op(Op::MatMul, &[x[0].clone(), right])
        }
        Problem::Reduce(r) => {
            let axis = usize::from(!r.along || r.across);
            Node::op(Op::Reduce { op: r.op, axes: vec![axis] }, x)
        }
        Problem::Rows(r) => match r.row {
            Kind::Softmax => Node::op(Op::Softmax, x),
            Kind::LayerNorm => Node::op(Op::LayerNorm { eps: EPS as f32 }, x),
            Kind::RmsNorm => Node::op(Op::RmsNorm { eps: EPS as f32 }, x),
        },
        Problem::Map(_) => {
            // x₀·x₁ + x₂ + …, with x₀ again where there are fewer.
            let binary = |op: BinaryOp, a: &Node, b: &Node| Node::op(Op::Binary(op), &[a.clone(), b.clone()]);
            let product = binary(BinaryOp::Mul, &x[0], x.get(1).unwrap_or(&x[0]))?;
            match x.len() {
                0..=2 => binary(BinaryOp::Add, &product, &x[0]),
                _ => x[2..].iter().try_fold(product, |sum, y| binary(BinaryOp::Add, &sum, y)),
            }
        }
    }
}

/// Whether results on exact operands do not depend on the order of anything.
pub fn has_exact(p: &Problem) -> bool {
    !matches!(p, Problem::Rows(_))
}

/// Whether the bound needs the results on the operands' magnitudes.
pub fn has_magnitude(p: &Problem) -> bool {
    matches!(p, Problem::Matmul(_) | Problem::Reduce(_))
}

/// Numbers −2 … 2.
pub fn exact(count: usize, seed: u64) -> Vec<f64> {
    numbers(count, seed).map(|x| ((x >> 33) % 5) as f64 - 2.0).collect()
}

/// Numbers in −2 … 2 with eleven bits, which every float type but bf16 has; that one rounds them.
pub fn random(count: usize, seed: u64, dtype: DType) -> Vec<f64> {
    let values = numbers(count, seed).map(|x| (x >> 53) as f64 / 512.0 - 2.0);
    values.map(|x| if dtype == DType::BF16 { bf16::from_f64(x).to_f64() } else { x }).collect()
}

fn numbers(count: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count).map(move |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

/// A leaf of these numbers.
pub fn leaf(values: &[f64], shape: &[usize], dtype: DType) -> Result<Node> {
    let bytes: Vec<u8> = match dtype {
        DType::F16 => values.iter().flat_map(|&x| f16::from_f64(x).to_le_bytes()).collect(),
        DType::BF16 => values.iter().flat_map(|&x| bf16::from_f64(x).to_le_bytes()).collect(),
        DType::F32 => values.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&x| x.to_le_bytes()).collect(),
    };
    Node::leaf(Host::new(bytes), dtype, shape)
}

/// The numbers in a result's bytes.
pub fn decode(bytes: &[u8], dtype: DType) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
    }
    match dtype {
        DType::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f64()),
        DType::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f64()),
        DType::F32 => each(bytes, |b| f32::from_le_bytes(b).into()),
        _ => each(bytes, f64::from_le_bytes),
    }
}
