//! Matrix products and attention.

use super::{
    array::{Array, broadcast, indices},
    format::Type,
    number::{Arithmetic, Number},
    reduce::softmax_of,
};

/// Pairs of operands that one element of a product sums: [b…, m, k] × [b…, k, n], batches broadcast; an operand of rank 1 is a row on the
/// left, a column on the right, and its axis goes.
///
/// # Panics
/// When the shapes do not fit.
fn products<T: Clone, U: Clone>(x: &Array<T>, y: &Array<T>, mut f: impl FnMut(Vec<(T, T)>) -> U) -> Array<U> {
    let left = if x.rank() == 1 { x.reshape(&[1, x.shape[0]]) } else { x.clone() };
    let right = if y.rank() == 1 { y.reshape(&[y.shape[0], 1]) } else { y.clone() };
    let (p, q) = (left.rank() - 2, right.rank() - 2);
    let (m, k, n) = (left.shape[p], left.shape[p + 1], right.shape[q + 1]);
    assert_eq!(right.shape[q], k, "inner extents");
    let batch = broadcast(&left.shape[..p], &right.shape[..q]).expect("batches that broadcast");
    let mut data = Vec::new();
    for b in indices(&batch) {
        // Places of the two matrices: the batch index, as far as it is theirs, then an element.
        let place = |z: &Array<T>, lead: usize| -> usize {
            let own = &b[b.len() - lead..];
            own.iter().zip(&z.shape).fold(0, |at, (&i, &n)| at * n + if n == 1 { 0 } else { i })
        };
        let (l, r) = (place(&left, p) * m * k, place(&right, q) * k * n);
        for i in 0..m {
            for j in 0..n {
                data.push(f((0..k)
                    .map(|c| (left.data[l + i * k + c].clone(), right.data[r + c * n + j].clone()))
                    .collect()));
            }
        }
    }
    let mut shape = batch;
    if x.rank() > 1 {
        shape.push(m);
    }
    if y.rank() > 1 {
        shape.push(n);
    }
    Array::new(&shape, data)
}

/// The matrix product; each element is Σ of k products in any order.
pub fn matmul(a: &Arithmetic, x: &Array<Number>, y: &Array<Number>) -> Array<Number> {
    products(x, y, |pairs| a.dot(pairs))
}

/// The matrix product of integers, wrapping.
pub fn matmul_int(ty: Type, x: &Array<i128>, y: &Array<i128>) -> Array<i128> {
    products(x, y, |pairs| pairs.into_iter().fold(0, |s, (x, y)| ty.wrap(s + ty.wrap(x.wrapping_mul(y)))))
}

/// softmax(q·kᵀ·scale + mask)·v over q `[b, h, s, d]`, k `[b, g, t, d]`, v `[b, g, t, e]`, where g divides h and query head i uses
/// head i/(h/g). The mask broadcasts to `[b, h, s, t]` and is added; `causal`: position i sees positions ≤ i.
///
/// The roundings of the weighted sum are counted twice: an online softmax multiplies what it has by a correction for each block of
/// keys, which for blocks of four keys or more is at most one exponential and one rounding for each four terms.
pub fn attention(
    a: &Arithmetic,
    [q, k, v]: [&Array<Number>; 3],
    mask: Option<&Array<Number>>,
    scale: f64,
    causal: bool,
) -> Array<Number> {
    let [b, h, s, d] = [q.shape[0], q.shape[1], q.shape[2], q.shape[3]];
    let (g, t, e) = (k.shape[1], k.shape[2], v.shape[3]);
    let mut data = Vec::with_capacity(b * h * s * e);
    for i in 0..b {
        for j in 0..h {
            let own = if h == 0 { 0 } else { j / (h / g) };
            for r in 0..s {
                let scores: Vec<Number> = (0..t)
                    .map(|c| {
                        if causal && c > r {
                            return Number::from(f64::NEG_INFINITY);
                        }
                        let dot = a.dot((0..d).map(|x| (*q.at(&[i, j, r, x]), *k.at(&[i, own, c, x]))));
                        let scaled = a.within_ulps(a.mul(dot, Number::from(scale)), 1.0);
                        mask.map_or(scaled, |m| a.add(scaled, *m.broadcast_at(&[i, j, r, c])))
                    })
                    .collect();
                let weights = softmax_of(a, &scores);
                for x in 0..e {
                    let once = a.dot((0..t).map(|c| (weights[c], *v.at(&[i, own, c, x]))));
                    let again: f64 = (0..t).map(|c| weights[c].size() * v.at(&[i, own, c, x]).size()).sum();
                    let more = if again > 0.0 && again.is_finite() { a.gamma(t) * again } else { 0.0 };
                    data.push(Number { value: once.value, radius: once.radius + more });
                }
            }
        }
    }
    Array::new(&[b, h, s, e], data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::permits, number::Facts};

    fn array(shape: &[usize], x: &[f64]) -> Array<Number> {
        Array::new(shape, x.iter().map(|&x| Number::from(x)).collect())
    }

    fn values(x: &Array<Number>) -> Vec<f64> {
        x.data.iter().map(|x| x.value.hi).collect()
    }

    #[test]
    fn products_by_hand() {
        let a = Arithmetic::new(Type::F32, Facts::IEEE);
        let x = array(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = array(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(values(&matmul(&a, &x, &y)), [4.0, 5.0, 10.0, 11.0]);
        assert_eq!(values(&matmul(&a, &array(&[3], &[1.0, 1.0, 1.0]), &y)), [2.0, 2.0]);
        assert_eq!(values(&matmul(&a, &x, &array(&[3], &[1.0, 0.0, -1.0]))), [-2.0, -2.0]);
        let batch = array(&[2, 1, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        let other = array(&[3, 2, 1], &[1.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        let p = matmul(&a, &batch, &other);
        assert_eq!((p.shape.clone(), values(&p)), (vec![2, 3, 1, 1], vec![3.0, 1.0, 2.0, 7.0, 3.0, 4.0]));
        assert_eq!(values(&matmul(&a, &array(&[1, 0], &[]), &array(&[0, 2], &[]))), [0.0, 0.0]);
        let ints = Array::new(&[1, 2], vec![100, 100]);
        assert_eq!(matmul_int(Type::I8, &ints, &Array::new(&[2, 1], vec![1, 1])).data, [-56]);
    }

    /// Dropping one term, or rounding to f16 on the way, leaves the bound; every order of addition stays inside.
    #[test]
    fn wrong_sums_are_refused() {
        let a = Arithmetic::new(Type::F32, Facts::IEEE);
        let f = a.format();
        for k in [1usize, 2, 17, 200] {
            let x: Vec<f64> = (0..k).map(|i| ((i * 37 % 101) as f32 / 7.0 - 5.1) as f64).collect();
            let y: Vec<f64> = (0..k).map(|i| ((i * 53 % 89) as f32 / 11.0 + 0.5) as f64).collect();
            let want = matmul(&a, &array(&[k], &x), &array(&[k], &y)).data[0];
            let fits = |got: f64| permits(Type::F32, f, &a.facts, want, got, Type::F32);
            let run = |n: usize| x[..n].iter().zip(&y).fold(0f32, |s, (&x, &y)| x as f32 * y as f32 + s) as f64;
            assert!(fits(run(k)), "{k}");
            assert!(!fits(run(k - 1)), "{k}: the last is missing");
            let sixteen = Type::F16.format().unwrap().round(super::super::wide::Wide::from(run(k)));
            assert!(!fits(sixteen), "{k}: rounded to f16: {sixteen} {want:?}");
            assert!(!fits(f64::NAN));
            assert!(!fits(want.value.hi + 3.0 * want.radius));
        }
    }

    #[test]
    fn attention_by_hand() {
        let a = Arithmetic::new(Type::F32, Facts::IEEE);
        // Equal scores: the mean of the values; two query heads share one of keys.
        let q = array(&[1, 2, 2, 1], &[0.0; 4]);
        let k = array(&[1, 1, 2, 1], &[1.0, 2.0]);
        let v = array(&[1, 1, 2, 1], &[10.0, 20.0]);
        assert_eq!(values(&attention(&a, [&q, &k, &v], None, 1.0, false)), [15.0; 4]);
        assert_eq!(values(&attention(&a, [&q, &k, &v], None, 1.0, true)), [10.0, 15.0, 10.0, 15.0]);
        let mask = array(&[2], &[f64::NEG_INFINITY, 0.0]);
        assert_eq!(values(&attention(&a, [&q, &k, &v], Some(&mask), 1.0, false)), [20.0; 4]);
        let none = attention(&a, [&q, &k, &v], Some(&mask), 1.0, true);
        assert!(none.data[0].is_nan() && none.data[1].value.hi == 20.0);
        // Scores 0 and ln 3: weights 1/4, 3/4.
        let q = array(&[1, 1, 1, 1], &[3f64.ln()]);
        let k = array(&[1, 1, 2, 1], &[0.0, 2.0]);
        let out = attention(&a, [&q, &k, &v], None, 0.5, false).data[0];
        assert!((out.value.hi - 17.5).abs() < 1e-12 && out.radius < 1e-4 && out.radius > 1e-6, "{out:?}");
    }
}
