//! The numeric gate: a candidate may win only if every element agrees with the plain schedule's inside a derived bound.
//!
//! Both results carry rounding errors of their own, so that they may differ by twice what one may be off. With γₙ = n·u/(1−n·u) and
//! u the unit roundoff of the type summed in (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1 and 4.2): a product is
//! off by γₖ·Σ|a·b|, a sum by γₙ₋₁·Σ|x|, each plus the rounding of the result. On data whose partial sums are exact in every
//! order, they must be equal: an element left out cannot hide there.

use crate::{library::emit::compute_type, schedule::Problem, schedule::rows::Kind};
use anychip_hal::{DType, DeviceInfo, ir::ReduceOp};

/// How far two results of an element may be apart.
pub enum Rule {
    /// Not at all.
    Equal,
    /// Per element.
    Within(Vec<f64>),
}

/// The first element that is too far from the reference, as a sentence; `None`: all agree.
pub fn disagreement(reference: &[f64], got: &[f64], rule: &Rule) -> Option<String> {
    if got.len() != reference.len() {
        return Some(format!("gives {} elements where there are {}", got.len(), reference.len()));
    }
    let apart = |i: usize| match rule {
        Rule::Equal => got[i] != reference[i],
        Rule::Within(bound) => {
            let apart = (got[i] - reference[i]).abs();
            apart > bound[i] || apart.is_nan()
        }
    };
    let first = (0..got.len()).find(|&i| apart(i))?;
    let count = (first..got.len()).filter(|&i| apart(i)).count();
    let allowed = match rule {
        Rule::Equal => "exactly".to_string(),
        Rule::Within(bound) => format!("± {:e}", bound[first]),
    };
    Some(format!(
        "{count} of {} elements are wrong; element {first} is {:e}, must be {:e} {allowed}",
        got.len(),
        got[first],
        reference[first]
    ))
}

/// Half the distance between 1 and the next number.
fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

/// What underflow may cost once: the smallest normal number, since subnormals may be flushed.
fn tiny(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 2f64.powi(-14),
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

/// What operands cut by fragments add, relative to Σ|a·b|, on a device that was asked for that: each is rounded once more.
fn cut(dtype: DType, info: &DeviceInfo) -> f64 {
    let cutting = info.fragments.iter().filter(|s| s.a == dtype && s.cuts());
    let u = cutting.map(|s| 2f64.powi(-i32::from(s.operand_bits))).fold(0.0, f64::max);
    2.0 * u + u * u
}

/// n·u/(1−n·u).
fn gamma(n: usize, u: f64) -> f64 {
    let nu = n as f64 * u;
    if nu < 1.0 { nu / (1.0 - nu) } else { f64::INFINITY }
}

/// ULPs in which exp, division and square root of the languages that we render to may be off, the worst of them
/// (OpenCL C 3.0, 7.4: exp 3 in f32, division 2.5, square root 3), in units of u.
const FUNCTION: f64 = 6.0;

/// What bounds are made from.
pub struct Facts<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// Operands, as they are in their types.
    pub inputs: &'a [Vec<f64>],
    /// The plain schedule's result.
    pub reference: &'a [f64],
    /// For products and sums: the plain schedule's result on |operands|.
    pub magnitude: Option<&'a [f64]>,
}

/// The bound of every element for data of no special form.
pub fn bounds(f: &Facts<'_>, info: &DeviceInfo) -> Vec<f64> {
    let dtype = f.problem.dtype();
    let work = compute_type(dtype);
    // Units that do not round to nearest are off by twice as much.
    let exact = info.arithmetic.get(&work).is_some_and(|a| a.correctly_rounded);
    let u = unit_roundoff(work) * if exact { 1.0 } else { 2.0 };
    let u_out = unit_roundoff(dtype);
    let result = |of_one: f64, y: f64| 2.0 * (of_one + u_out * (y.abs() + of_one) + tiny(dtype));
    let summed = |terms: usize, cut: f64| {
        let g = gamma(terms, u) + cut;
        let magnitude = f.magnitude.unwrap_or(&[]);
        // The magnitude was itself summed and rounded on the device.
        let whole = 1.0 / ((1.0 - g) * (1.0 - u_out));
        f.reference.iter().zip(magnitude).map(|(&y, &m)| result(g * m * whole, y)).collect()
    };
    match f.problem {
        Problem::Matmul(p) => summed(p.inner + 1, cut(dtype, info)),
        Problem::Reduce(p) => match p.op {
            ReduceOp::Min | ReduceOp::Max => vec![0.0; f.reference.len()],
            _ => summed(p.reduced, 0.0),
        },
        Problem::Map(p) => {
            let terms = |i: usize| -> f64 {
                let product = f.inputs[0][i] * f.inputs.get(1).unwrap_or(&f.inputs[0])[i];
                let last = f.inputs.len().max(2);
                product.abs()
                    + f.inputs.get(2..last).into_iter().flatten().map(|x| x[i].abs()).sum::<f64>()
                    + f.inputs[0][i].abs()
            };
            (0..f.reference.len()).map(|i| result(gamma(p.reads + 2, u) * terms(i), f.reference[i])).collect()
        }
        Problem::Rows(p) => {
            let row = |r: usize| &f.inputs[0][r * p.cols..(r + 1) * p.cols];
            let of = |r: usize, c: usize| f.reference[r * p.cols + c];
            let mut bounds = Vec::with_capacity(f.reference.len());
            for r in 0..p.rows {
                let x = row(r);
                let n = p.cols as f64;
                let weight = |c: usize| f.inputs.get(1).map_or(1.0, |w| w[c]);
                match p.row {
                    Kind::Softmax => {
                        // x−max is off by u·|x−max|, which e^ turns into a relative error; the same again in the sum.
                        let (low, high) = x.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
                        let term = u * (high - low) + FUNCTION * u;
                        let relative = 2.0 * term + gamma(p.cols, u) + FUNCTION * u;
                        bounds.extend((0..p.cols).map(|c| result(relative * of(r, c).abs(), of(r, c))));
                    }
                    Kind::LayerNorm => {
                        let mean = x.iter().sum::<f64>() / n;
                        let off = gamma(p.cols + 1, u) * x.iter().map(|x| x.abs()).sum::<f64>() / n;
                        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
                        let scale = 1.0 / (var + EPS).sqrt();
                        let var_off = off * off + gamma(p.cols + 4, u) * (var + off * off);
                        let relative = 0.5 * var_off / (var + EPS) + 2.0 * FUNCTION * u;
                        bounds.extend((0..p.cols).map(|c| {
                            let d = (x[c] - mean).abs();
                            let one =
                                weight(c).abs() * scale * (off + u * d + d * (relative + 3.0 * u)) + u * of(r, c).abs();
                            result(one, of(r, c))
                        }));
                    }
                    Kind::RmsNorm => {
                        let relative = 0.5 * gamma(p.cols + 2, u) + (2.0 * FUNCTION + 3.0) * u;
                        bounds.extend((0..p.cols).map(|c| result(relative * of(r, c).abs(), of(r, c))));
                    }
                }
            }
            bounds
        }
    }
}

/// Added to the variance in norms that are tuned.
pub const EPS: f64 = 1e-5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_element_outside_is_enough() {
        let reference = vec![1.0; 1000];
        let within = Rule::Within(vec![1e-6; 1000]);
        assert!(disagreement(&reference, &reference, &within).is_none());
        let mut last = reference.clone();
        last[999] += 2e-6;
        let why = disagreement(&reference, &last, &within).unwrap();
        assert!(why.contains("1 of 1000") && why.contains("element 999"), "{why}");
        last[999] = 1.0 + 0.5e-6;
        assert!(disagreement(&reference, &last, &within).is_none());
        assert!(disagreement(&reference, &last, &Rule::Equal).is_some());
        last[999] = f64::NAN;
        assert!(disagreement(&reference, &last, &within).is_some());
        assert!(disagreement(&reference, &last, &Rule::Equal).is_some());
        assert!(disagreement(&reference, &last[..999], &within).is_some());
    }
}
