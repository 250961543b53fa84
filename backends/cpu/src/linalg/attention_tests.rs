//! Attention against its definition in f64, with masks, causality, grouped heads and odd sizes, on every level.

use super::tests::numbers;
use super::*;
use crate::vmath::Level;

/// Softmax attention by the definition for one query; also Σ weight·|value|, to which the error is proportional.
fn plain(
    q: &[f64],
    keys: &[Vec<f64>],
    values: &[Vec<f64>],
    mask: &dyn Fn(usize) -> f64,
    scale: f64,
) -> (Vec<f64>, Vec<f64>) {
    let scores: Vec<f64> = keys
        .iter()
        .enumerate()
        .map(|(t, k)| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() * scale + mask(t))
        .collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let total: f64 = weights.iter().sum();
    let dv = values[0].len();
    let sum = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
        (0..dv).map(|c| weights.iter().zip(values).map(|(w, v)| w * f(v[c])).sum::<f64>() / total).collect()
    };
    (sum(&|v| v), sum(&f64::abs))
}

struct Case {
    batch: usize,
    heads: usize,
    groups: usize,
    s: usize,
    t: usize,
    d: usize,
    dv: usize,
    causal: bool,
    /// Shape of the mask, and whether it hides.
    mask: Option<([usize; 4], bool)>,
}

fn check(c: &Case) {
    let Case { batch: b, heads: h, groups: g, s, t, d, dv, causal, .. } = *c;
    let (q, k, v) = (numbers(b * h * s * d, 1), numbers(b * g * t * d, 2), numbers(b * g * t * dv, 3));
    // Queries as a projection leaves them: [b, s, h, d].
    let vq = Matrices::new(&q, [b, h, s, d], [h * s * d, d, h * d, 1]).unwrap();
    let vk = Matrices::new(&k, [b, g, t, d], [g * t * d, t * d, d, 1]).unwrap();
    let vv = Matrices::new(&v, [b, g, t, dv], [g * t * dv, dv, g * dv, 1]).unwrap();
    let mask_data: Option<(Vec<f32>, [usize; 4])> = c.mask.map(|(shape, hide)| {
        let n = shape.iter().product();
        let m = numbers(n, 4);
        (m.into_iter().map(|x| if hide && x > 0.3 { f32::NEG_INFINITY } else { x * 4.0 }).collect(), shape)
    });
    let strides = |[_, y, z, w]: [usize; 4]| [y * z * w, z * w, w, 1];
    let mask = mask_data.as_ref().map(|(m, shape)| Matrices::new(m, *shape, strides(*shape)).unwrap());
    let options = AttentionOptions { scale: 3.0 / (d as f32).sqrt(), causal };
    for level in Level::all() {
        let mut out = vec![f32::MAX; b * h * s * dv];
        let mut view = MatricesMut::new(&mut out, [b, h, s, dv], [h * s * dv, dv, h * dv]).unwrap();
        attention_at(level, &vq, &vk, &vv, mask.as_ref(), options, &mut view).unwrap();
        for i in 0..b * h * s {
            let (bi, hi, si) = (i / (h * s), i / s % h, i % s);
            let gi = hi / (h / g);
            let row = |data: &[f32], at: usize, n: usize| -> Vec<f64> {
                data[at..at + n].iter().map(|&x| f64::from(x)).collect()
            };
            let qr = row(&q, ((bi * s + si) * h + hi) * d, d);
            let keys: Vec<_> = (0..t).map(|j| row(&k, ((bi * g + gi) * t + j) * d, d)).collect();
            let values: Vec<_> = (0..t).map(|j| row(&v, ((bi * t + j) * g + gi) * dv, dv)).collect();
            let hidden = |j: usize| {
                let causal = if causal && j > si { f64::NEG_INFINITY } else { 0.0 };
                causal
                    + mask_data.as_ref().map_or(0.0, |(m, [x, y, z, w])| {
                        let at = [(bi, *x), (hi, *y), (si, *z), (j, *w)];
                        let at = at.into_iter().fold(0, |a, (i, n)| a * n + if n == 1 { 0 } else { i });
                        f64::from(m[at])
                    })
            };
            let (want, size) = plain(&qr, &keys, &values, &hidden, f64::from(options.scale));
            for c in 0..dv {
                let got = f64::from(out[((bi * s + si) * h + hi) * dv + c]);
                // Scores are at most 3·√d + 4 in size and wrong by (d + 2)·ε of that, which weights inherit; the sum over
                // t adds t·ε, the exponential and the division 4·ε.
                let eps = f64::from(f32::EPSILON) / 2.0;
                let score = 3.0 * (d as f64).sqrt() + 4.0;
                let bound = eps * (2.0 * (d as f64 + 2.0) * score + 2.0 * t as f64 + 4.0) * size[c] + 1e-38;
                let same_nan = want[c].is_nan() && got.is_nan();
                assert!(
                    same_nan || (got - want[c]).abs() <= bound,
                    "{level:?} s {s} t {t} d {d} at {i},{c}: {got} for {}, bound {bound:e}",
                    want[c]
                );
            }
        }
    }
}

#[test]
fn agrees_with_the_definition() {
    let base = Case { batch: 1, heads: 2, groups: 2, s: 19, t: 70, d: 32, dv: 32, causal: false, mask: None };
    check(&base);
    check(&Case { s: 1, t: 1, d: 1, dv: 1, ..base });
    check(&Case { d: 7, dv: 50, ..base });
    check(&Case { batch: 2, heads: 4, groups: 2, s: 9, ..base });
    check(&Case { heads: 1, groups: 1, t: 1200, d: 20, dv: 64, ..base });
    check(&Case { heads: 1, groups: 1, s: 300, t: 40, d: 8, dv: 8, ..base });
}

#[test]
fn causal_and_masked() {
    let base = Case { batch: 2, heads: 2, groups: 1, s: 40, t: 40, d: 16, dv: 24, causal: true, mask: None };
    check(&base);
    check(&Case { batch: 1, s: 70, t: 30, ..base });
    check(&Case { batch: 1, s: 5, t: 90, ..base });
    check(&Case { batch: 1, heads: 1, s: 600, t: 600, d: 8, dv: 8, ..base });
    for shape in [[2, 1, 1, 40], [1, 1, 40, 40], [2, 2, 40, 40], [1, 2, 1, 1], [1, 1, 40, 1]] {
        for hide in [false, true] {
            check(&Case { mask: Some((shape, hide)), ..base });
            check(&Case { mask: Some((shape, hide)), causal: false, ..base });
        }
    }
}

#[test]
fn a_query_that_sees_nothing_is_nan_and_an_unseen_first_block_is_not() {
    let (t, d) = (1000, 4);
    let (q, k, v) = (numbers(2 * d, 1), numbers(t * d, 2), vec![1.0; t * d]);
    let mut mask = vec![f32::NEG_INFINITY; 2 * t];
    mask[t + 900] = 0.0;
    let one = |x, rows| Matrices::row_major(x, rows, d).unwrap();
    for level in Level::all() {
        let mut out = vec![0.0; 2 * d];
        attention_at(
            level,
            &one(&q, 2),
            &one(&k, t),
            &one(&v, t),
            Some(&Matrices::row_major(&mask, 2, t).unwrap()),
            AttentionOptions { scale: 1.0, causal: false },
            &mut MatricesMut::row_major(&mut out, 2, d).unwrap(),
        )
        .unwrap();
        assert!(out[..d].iter().all(|x| x.is_nan()), "{out:?}");
        assert_eq!(out[d..], [1.0; 4]);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (h, s, d) = (3, 300, 32);
    let (q, k, v) = (numbers(h * s * d, 1), numbers(h * s * d, 2), numbers(h * s * d, 3));
    let run = |threads: usize| {
        let team = crate::Team::new(threads).unwrap();
        let view = |x| Matrices::new(x, [1, h, s, d], [0, s * d, d, 1]).unwrap();
        let mut out = vec![0.0; h * s * d];
        team.install(|| {
            let mut out = MatricesMut::new(&mut out, [1, h, s, d], [0, s * d, d]).unwrap();
            let options = AttentionOptions { scale: 0.2, causal: true };
            attention(&view(&q), &view(&k), &view(&v), None, options, &mut out).unwrap();
        });
        out
    };
    let one = run(1);
    for threads in [2, 5, 16] {
        assert!(one.iter().zip(run(threads)).all(|(x, y)| x.to_bits() == y.to_bits()), "{threads} threads");
    }
}

#[test]
fn operands_that_do_not_fit_are_named() {
    let x = [0.0f32; 64];
    let mut y = [0.0f32; 64];
    let m = |shape: [usize; 4]| Matrices::new(&x, shape, [0, 0, 4, 1]).unwrap();
    let options = AttentionOptions { scale: 1.0, causal: false };
    let mut out = MatricesMut::row_major(&mut y, 3, 4).unwrap();
    let q = m([1, 1, 3, 4]);
    let refused = |k: [usize; 4], v: [usize; 4], mask: Option<[usize; 4]>, out: &mut MatricesMut<'_, f32>| {
        attention(&q, &m(k), &m(v), mask.map(m).as_ref(), options, out).unwrap_err().to_string()
    };
    assert!(refused([1, 1, 5, 3], [1, 1, 5, 4], None, &mut out).starts_with("k has shape [1, 1, 5, 3]"));
    assert!(refused([1, 2, 5, 4], [1, 2, 5, 4], None, &mut out).starts_with("k has shape"));
    assert!(refused([1, 1, 5, 4], [1, 1, 6, 4], None, &mut out).starts_with("v has shape"));
    assert!(refused([1, 1, 5, 4], [1, 1, 5, 3], None, &mut out).starts_with("out has shape"));
    assert!(refused([1, 1, 5, 4], [1, 1, 5, 4], Some([1, 1, 3, 4]), &mut out).starts_with("mask has shape"));
}

#[test]
fn sixteen_bit_operands_give_the_rounded_result_of_their_widened_values() {
    fn check<T: Element + PartialEq + std::fmt::Debug>() {
        let (h, g, s, t, d, dv) = (4, 2, 70, 600, 24, 40);
        let narrow = |n: usize, seed: u64| numbers(n, seed).into_iter().map(T::from_f32).collect::<Vec<T>>();
        let (q, k, v) = (narrow(h * s * d, 1), narrow(g * t * d, 2), narrow(g * t * dv, 3));
        let mask = narrow(s * t, 4);
        let wide = |x: &[T]| x.iter().map(|x| x.to_f32()).collect::<Vec<f32>>();
        fn views<'a, U: Element>(
            [q, k, v, mask]: [&'a [U]; 4],
            [h, g, s, t, d, dv]: [usize; 6],
            transposed: bool,
        ) -> [Matrices<'a, U>; 4] {
            let m = if transposed { [0, 0, 1, s] } else { [0, 0, t, 1] };
            [
                Matrices::new(q, [1, h, s, d], [0, d, h * d, 1]).unwrap(),
                Matrices::new(k, [1, g, t, d], [0, t * d, d, 1]).unwrap(),
                Matrices::new(v, [1, g, t, dv], [0, dv, g * dv, 1]).unwrap(),
                Matrices::new(mask, [1, 1, s, t], m).unwrap(),
            ]
        }
        let dims = [h, g, s, t, d, dv];
        let (q2, k2, v2, mask2) = (wide(&q), wide(&k), wide(&v), wide(&mask));
        for (level, transposed) in Level::all().flat_map(|l| [(l, false), (l, true)]) {
            let options = AttentionOptions { scale: 0.3, causal: transposed };
            let [vq, vk, vv, vm] = views([&q, &k, &v, &mask], dims, transposed);
            let mut out = vec![T::from_f32(7.0); h * s * dv];
            let mut to = MatricesMut::new(&mut out, [1, h, s, dv], [0, s * dv, dv]).unwrap();
            attention_at(level, &vq, &vk, &vv, Some(&vm), options, &mut to).unwrap();
            let [vq, vk, vv, vm] = views([&q2, &k2, &v2, &mask2], dims, transposed);
            let mut want = vec![7.0; h * s * dv];
            let mut to = MatricesMut::new(&mut want, [1, h, s, dv], [0, s * dv, dv]).unwrap();
            attention_at(level, &vq, &vk, &vv, Some(&vm), options, &mut to).unwrap();
            let want: Vec<T> = want.into_iter().map(T::from_f32).collect();
            assert!(out == want, "{level:?}, mask transposed: {transposed}");
        }
    }
    check::<half::f16>();
    check::<half::bf16>();
}
