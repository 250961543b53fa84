//! Reductions over any axes, running sums and products, softmax and its relatives.
//!
//! Reduced axes stay with extent 1; a caller drops them with [`Array::without`].

use super::{
    array::Array,
    format::Type,
    number::{Arithmetic, Number},
    table::{Bound, find},
    wide::Wide,
};

/// ULPs of a function in the type of an arithmetic.
fn ulps(name: &str, a: &Arithmetic) -> f64 {
    match find(name).bound {
        Bound::Ulps { single, double, .. } => {
            if a.compute == Type::F64 {
                double
            } else {
                single
            }
        }
        _ => 0.5,
    }
}

/// Σ over axes, in any order; of nothing 0.
pub fn sum(a: &Arithmetic, x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| a.sum(g.iter().copied()))
}

/// Σ of integers, wrapping.
pub fn sum_int(ty: Type, x: &Array<i128>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| g.iter().fold(0, |s, &x| ty.wrap(s + x)))
}

/// Π of numbers in any order: γₙ₋₁·|Π|. Where partial products may leave the normal numbers, everything is permitted.
fn product_of(a: &Arithmetic, g: &[Number]) -> Number {
    let (mut value, mut relative) = (Wide::ONE, 0.0);
    let (mut largest, mut smallest) = (1.0f64, 1.0f64);
    for x in g {
        value = value * x.value;
        relative += if x.radius == 0.0 { 0.0 } else { x.radius / (x.value.hi.abs() - x.radius) };
        largest *= x.size().max(1.0);
        smallest *= if x.value.hi == 0.0 { 1.0 } else { (x.value.hi.abs() - x.radius).min(1.0) };
    }
    let special = g.iter().any(|x| !x.value.is_finite() || x.value.hi == 0.0);
    // The finite factors alone may overflow, which zeros then make NaN, or hide.
    let finite = g.iter().filter(|x| x.value.is_finite()).fold(1.0, |p, x| p * x.size().max(1.0));
    if special && finite <= a.format().max() && smallest >= a.format().min_normal() {
        return Number::exact(value);
    }
    if special || largest > a.format().max() || smallest < a.format().min_normal() {
        return Number::anything();
    }
    let factor = a.gamma(g.len().saturating_sub(1));
    Number { value, radius: value.hi.abs() * (factor + relative * 1.1) }
}

/// Π over axes; of nothing 1.
pub fn prod(a: &Arithmetic, x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| product_of(a, g))
}

/// Π of integers, wrapping.
pub fn prod_int(ty: Type, x: &Array<i128>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| g.iter().fold(1i128, |p, &x| ty.wrap(p.wrapping_mul(x))))
}

/// The largest over axes, NaN when one is; none of nothing.
pub fn max(x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| g.iter().copied().reduce(Number::max).unwrap_or(Number::from(f64::NEG_INFINITY)))
}

/// The smallest over axes, NaN when one is.
pub fn min(x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| g.iter().copied().reduce(Number::min).unwrap_or(Number::from(f64::INFINITY)))
}

/// The largest integer over axes; of bool "any".
pub fn max_int(x: &Array<i128>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| g.iter().copied().max().unwrap_or(0))
}

/// The smallest integer over axes; of bool "all", which holds of nothing.
pub fn min_int(x: &Array<i128>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| g.iter().copied().min().unwrap_or(1))
}

/// Place of the first element for which none `beats` it; a NaN beats every number.
fn best<T: Copy>(line: &[T], nan: impl Fn(T) -> bool, beats: impl Fn(T, T) -> bool) -> i128 {
    let mut at = 0;
    for (i, &x) in line.iter().enumerate() {
        if !nan(line[at]) && (nan(x) || beats(x, line[at])) {
            at = i;
        }
    }
    at as i128
}

/// Index of the largest element among those of the axes, row-major; the first of equals, the first NaN before all.
pub fn argmax(x: &Array<Number>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| best(g, Number::is_nan, |x, y| x.value > y.value))
}

/// Index of the smallest element.
pub fn argmin(x: &Array<Number>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| best(g, Number::is_nan, |x, y| x.value < y.value))
}

/// Index of the largest integer.
pub fn argmax_int(x: &Array<i128>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| best(g, |_| false, |x, y| x > y))
}

/// Index of the smallest integer.
pub fn argmin_int(x: &Array<i128>, axes: &[usize]) -> Array<i128> {
    x.groups(axes).map(|g| best(g, |_| false, |x, y| x < y))
}

fn count(n: usize) -> Number {
    Number::from(n as f64)
}

fn mean_of(a: &Arithmetic, g: &[Number]) -> Number {
    a.div(a.sum(g.iter().copied()), count(g.len()))
}

/// Σ/n over axes; NaN of nothing.
pub fn mean(a: &Arithmetic, x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| mean_of(a, g))
}

/// Σ(x−mean)²/(n−correction), by the mean first: the difference of Σx² and n·mean² is not accepted.
fn var_of(a: &Arithmetic, g: &[Number], correction: f64) -> Number {
    let mean = mean_of(a, g);
    let d: Vec<Number> = g.iter().map(|&x| a.sub(x, mean)).collect();
    let left = (g.len() as f64 - correction).max(0.0);
    a.div(a.dot(d.iter().map(|&d| (d, d))), Number::from(left))
}

/// The variance over axes. With n ≤ correction: NaN of no spread, else ∞, as the division gives.
pub fn var(a: &Arithmetic, x: &Array<Number>, axes: &[usize], correction: f64) -> Array<Number> {
    x.groups(axes).map(|g| var_of(a, g, correction))
}

/// The standard deviation over axes.
pub fn std(a: &Arithmetic, x: &Array<Number>, axes: &[usize], correction: f64) -> Array<Number> {
    x.groups(axes).map(|g| a.sqrt(var_of(a, g, correction)))
}

/// The largest, the exponentials of the distances to it, and their sum.
fn exponentials(a: &Arithmetic, g: &[Number]) -> (Number, Vec<Number>, Number) {
    let top = g.iter().copied().reduce(Number::max).unwrap_or(Number::ZERO);
    let e: Vec<Number> = g.iter().map(|&x| a.exp(a.sub(x, top), ulps("exp", a))).collect();
    let sum = a.sum(e.iter().copied());
    (top, e, sum)
}

/// ln Σ e^x over axes: the largest plus the logarithm of the sum of e^(x−largest). Of nothing −∞; infinite where the largest is.
pub fn logsumexp(a: &Arithmetic, x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| {
        let Some(top) = g.iter().copied().reduce(Number::max) else { return Number::from(f64::NEG_INFINITY) };
        if !top.value.is_finite() {
            return top;
        }
        let (top, _, sum) = exponentials(a, g);
        a.add(top, a.log(sum, ulps("log", a)))
    })
}

fn line_wise(x: &Array<Number>, axis: usize, f: impl Fn(&[Number]) -> Vec<Number>) -> Array<Number> {
    Array::from_lines(&x.lines(axis).map(|l| f(l)), axis, x.shape[axis])
}

/// e^(x−largest) / Σ along an axis. A line of −∞ alone, or with +∞, is NaN.
pub fn softmax(a: &Arithmetic, x: &Array<Number>, axis: usize) -> Array<Number> {
    line_wise(x, axis, |l| softmax_of(a, l))
}

/// A line's softmax. One rounding more than a division: many multiply by the reciprocal.
pub(super) fn softmax_of(a: &Arithmetic, line: &[Number]) -> Vec<Number> {
    let (_, e, sum) = exponentials(a, line);
    e.into_iter().map(|e| a.within_ulps(a.div(e, sum), 0.5)).collect()
}

/// x − largest − ln Σ e^(x−largest) along an axis.
pub fn log_softmax(a: &Arithmetic, x: &Array<Number>, axis: usize) -> Array<Number> {
    line_wise(x, axis, |l| {
        let (top, _, sum) = exponentials(a, l);
        let log = a.log(sum, ulps("log", a));
        // (x − top) − log, or x − (top + log): the wider of both.
        let other = a.add(top, log);
        l.iter()
            .map(|&x| {
                let (p, q) = (a.sub(a.sub(x, top), log), a.sub(x, other));
                Number { value: p.value, radius: p.radius.max(q.radius) }
            })
            .collect()
    })
}

/// (x−mean)/√(var+eps)·weight + bias over groups: what every norm here is.
fn normalised(a: &Arithmetic, g: &[Number], eps: f64) -> Vec<Number> {
    let mean = mean_of(a, g);
    let d: Vec<Number> = g.iter().map(|&x| a.sub(x, mean)).collect();
    let var = a.div(a.dot(d.iter().map(|&d| (d, d))), count(g.len()));
    let scale = a.rsqrt(a.add(var, Number::from(eps)), ulps("rsqrt", a));
    d.into_iter().map(|d| a.mul(d, scale)).collect()
}

fn scaled(a: &Arithmetic, x: Number, weight: Option<Number>, bias: Option<Number>) -> Number {
    let y = weight.map_or(x, |w| a.mul(x, w));
    bias.map_or(y, |b| a.add(y, b))
}

/// (x−mean)/√(var+eps)·weight + bias along the last axis.
pub fn layer_norm(
    a: &Arithmetic,
    x: &Array<Number>,
    weight: Option<&Array<Number>>,
    bias: Option<&Array<Number>>,
    eps: f64,
) -> Array<Number> {
    line_wise(x, x.rank() - 1, |l| {
        let y = normalised(a, l, eps);
        let part = |p: Option<&Array<Number>>, i: usize| p.map(|p| p.data[i]);
        y.into_iter().enumerate().map(|(i, y)| scaled(a, y, part(weight, i), part(bias, i))).collect()
    })
}

/// x/√(mean(x²)+eps)·weight along the last axis.
pub fn rms_norm(a: &Arithmetic, x: &Array<Number>, weight: Option<&Array<Number>>, eps: f64) -> Array<Number> {
    line_wise(x, x.rank() - 1, |l| {
        let square = a.div(a.dot(l.iter().map(|&x| (x, x))), count(l.len()));
        let scale = a.rsqrt(a.add(square, Number::from(eps)), ulps("rsqrt", a));
        l.iter().enumerate().map(|(i, &x)| scaled(a, a.mul(x, scale), weight.map(|w| w.data[i]), None)).collect()
    })
}

/// Channels (axis 1) in `groups` equal parts, each normalised with all axes behind it, for each element of axis 0; weight and bias per channel.
/// One channel a group is the instance norm.
pub fn group_norm(
    a: &Arithmetic,
    x: &Array<Number>,
    groups: usize,
    weight: Option<&Array<Number>>,
    bias: Option<&Array<Number>>,
    eps: f64,
) -> Array<Number> {
    let behind: usize = x.shape[2..].iter().product();
    let per = x.shape[1] / groups * behind;
    let flat = x.reshape(&[x.shape[0] * groups, per]);
    let y = line_wise(&flat, 1, |l| normalised(a, l, eps)).reshape(&x.shape);
    Array::build(&x.shape, |i| {
        let part = |p: Option<&Array<Number>>| p.map(|p| p.data[i[1]]);
        scaled(a, *y.at(i), part(weight), part(bias))
    })
}

/// (x−mean)/√(var+eps)·weight + bias with mean and variance given per channel (axis 1).
pub fn batch_norm(
    a: &Arithmetic,
    x: &Array<Number>,
    mean: &Array<Number>,
    var: &Array<Number>,
    weight: Option<&Array<Number>>,
    bias: Option<&Array<Number>>,
    eps: f64,
) -> Array<Number> {
    Array::build(&x.shape, |i| {
        let c = i[1];
        let scale = a.rsqrt(a.add(var.data[c], Number::from(eps)), ulps("rsqrt", a));
        let y = a.mul(a.sub(*x.at(i), mean.data[c]), scale);
        scaled(a, y, weight.map(|w| w.data[c]), bias.map(|b| b.data[c]))
    })
}

/// Running sums along an axis: element i is Σ of the first i+1, in any order.
pub fn cumsum(a: &Arithmetic, x: &Array<Number>, axis: usize) -> Array<Number> {
    line_wise(x, axis, |l| (1..=l.len()).map(|n| a.sum(l[..n].iter().copied())).collect())
}

/// Running products along an axis.
pub fn cumprod(a: &Arithmetic, x: &Array<Number>, axis: usize) -> Array<Number> {
    line_wise(x, axis, |l| (1..=l.len()).map(|n| product_of(a, &l[..n])).collect())
}

/// Running results of integers along an axis.
pub fn scan_int(ty: Type, x: &Array<i128>, axis: usize, f: impl Fn(i128, i128) -> i128) -> Array<i128> {
    let lines = x.lines(axis).map(|l| {
        let mut so_far = None;
        l.iter()
            .map(|&x| {
                let next = so_far.map_or(x, |s| ty.wrap(f(s, x)));
                so_far = Some(next);
                next
            })
            .collect::<Vec<_>>()
    });
    Array::from_lines(&lines, axis, x.shape[axis])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::Facts;

    fn array(shape: &[usize], x: &[f64]) -> Array<Number> {
        Array::new(shape, x.iter().map(|&x| Number::from(x)).collect())
    }

    fn single() -> Arithmetic {
        Arithmetic::new(Type::F32, Facts::IEEE)
    }

    fn is(what: &str, got: Number, want: f64) {
        let near = (got.value.hi - want).abs() <= 1e-14 * want.abs().max(1e-3) || got.value.hi == want;
        assert!(near || got.is_nan() && want.is_nan(), "{what}: {got:?} is not {want}");
        assert!(got.radius <= 1e-5 * want.abs().max(1.0), "{what}: {got:?} has a wide radius");
    }

    #[test]
    fn closed_forms() {
        let a = single();
        let ramp = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        is("sum", sum(&a, &ramp, &[0, 1]).data[0], 21.0);
        is("mean", mean(&a, &ramp, &[0]).data[2], 4.5);
        is("var", var(&a, &ramp, &[0, 1], 1.0).data[0], 3.5);
        is("std", std(&a, &ramp, &[1], 0.0).data[0], (2.0f64 / 3.0).sqrt());
        is("prod", prod(&a, &ramp, &[0, 1]).data[0], 720.0);
        // softmax of ln 1, ln 2, ln 3 is 1/6, 2/6, 3/6.
        let logs = array(&[3], &[0.0, 2f64.ln(), 3f64.ln()]);
        let soft = softmax(&a, &logs, 0);
        (0..3).for_each(|i| is("softmax", soft.data[i], (i + 1) as f64 / 6.0));
        let log_soft = log_softmax(&a, &logs, 0);
        (0..3).for_each(|i| is("log_softmax", log_soft.data[i], ((i + 1) as f64 / 6.0).ln()));
        is("logsumexp", logsumexp(&a, &logs, &[0]).data[0], 6f64.ln());
        // ±1 about 5: mean 5, variance 1.
        let x = array(&[1, 2, 2], &[4.0, 6.0, 6.0, 4.0]);
        let w = array(&[2], &[2.0, 3.0]);
        let b = array(&[2], &[10.0, 20.0]);
        is("layer_norm", layer_norm(&a, &x, Some(&w), Some(&b), 0.0).data[1], 23.0);
        is("layer_norm with eps", layer_norm(&a, &x, None, None, 3.0).data[0], -0.5);
        is("group_norm", group_norm(&a, &x, 1, Some(&w), Some(&b), 0.0).data[2], 23.0);
        is("instance_norm", group_norm(&a, &x, 2, Some(&w), None, 0.0).data[3], -3.0);
        is("rms_norm", rms_norm(&a, &array(&[2], &[3.0, 4.0]), None, 0.0).data[0], 3.0 / 12.5f64.sqrt());
        is("batch_norm", batch_norm(&a, &x, &b, &array(&[2], &[4.0, 9.0]), None, None, 0.0).data[0], -3.0);
        is("cumsum", cumsum(&a, &ramp, 1).data[5], 15.0);
        is("cumprod", cumprod(&a, &ramp, 0).data[5], 18.0);
        assert_eq!(scan_int(Type::U8, &Array::new(&[3], vec![200, 50, 10]), 0, |a, b| a + b).data, [200, 250, 4]);
    }

    #[test]
    fn edges() {
        let a = single();
        let inf = f64::INFINITY;
        let none = array(&[0], &[]);
        is("sum of nothing", sum(&a, &none, &[0]).data[0], 0.0);
        is("product of nothing", prod(&a, &none, &[0]).data[0], 1.0);
        is("mean of nothing", mean(&a, &none, &[0]).data[0], f64::NAN);
        is("softmax of a far one", softmax(&a, &array(&[2], &[0.0, 1000.0]), 0).data[1], 1.0);
        is("softmax with −∞", softmax(&a, &array(&[2], &[-inf, 3.0]), 0).data[0], 0.0);
        is("softmax of −∞", softmax(&a, &array(&[1], &[-inf]), 0).data[0], f64::NAN);
        is("logsumexp of −∞", logsumexp(&a, &array(&[2], &[-inf, -inf]), &[0]).data[0], -inf);
        is("logsumexp with ∞", logsumexp(&a, &array(&[2], &[1.0, inf]), &[0]).data[0], inf);
        is("variance of one", var(&a, &array(&[1], &[5.0]), &[0], 1.0).data[0], f64::NAN);
        is("0·∞", prod(&a, &array(&[2], &[0.0, inf]), &[0]).data[0], f64::NAN);
        let x = array(&[5], &[1.0, 3.0, f64::NAN, 3.0, f64::NAN]);
        assert_eq!((argmax(&x, &[0]).data[0], argmin(&x, &[0]).data[0]), (2, 2));
        assert_eq!(argmax(&array(&[3], &[1.0, 3.0, 3.0]), &[0]).data[0], 1);
        assert_eq!(argmin_int(&Array::new(&[2, 2], vec![4, 2, 2, 9]), &[0, 1]).data[0], 1);
        assert!(max(&x, &[0]).data[0].is_nan());
        assert_eq!(
            (max_int(&Array::new(&[0], vec![]), &[0]).data[0], min_int(&Array::new(&[0], vec![]), &[0]).data[0]),
            (0, 1)
        );
    }
}
