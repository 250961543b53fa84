//! Matmul against a chain of multiply-adds written down plainly: equal bits, on every level of this processor.

use super::*;
use crate::vmath::Level;
use half::{bf16, f16};

/// Deterministic numbers in [-1, 1).
pub(super) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn step(level: Level, acc: f32, a: f32, b: f32) -> f32 {
    if level != Level::Baseline || cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, acc)
    } else {
        acc + a * b
    }
}

/// C[m, n] at `[o, i]` by the definition, in rising k.
fn plain<A: Element, B: Element>(
    level: Level,
    a: &Matrices<'_, A>,
    b: &Matrices<'_, B>,
    [o, i, r, c]: [usize; 4],
) -> f32 {
    let k = a.shape()[3];
    let pick = |s: [usize; 4], d: usize, x: usize| if s[d] == 1 { 0 } else { x };
    (0..k).fold(0.0, |acc, p| {
        // SAFETY: in the views' bounds.
        let (x, y) = unsafe {
            (
                *a.at([pick(a.shape(), 0, o), pick(a.shape(), 1, i), r, p]),
                *b.at([pick(b.shape(), 0, o), pick(b.shape(), 1, i), p, c]),
            )
        };
        step(level, acc, x.to_f32(), y.to_f32())
    })
}

fn check<A: Element, B: Element>(a: Matrices<'_, A>, b: Matrices<'_, B>, batch: [usize; 2]) {
    let ([_, _, m, _], [_, _, _, n]) = (a.shape(), b.shape());
    let ldc = n + 3;
    for level in Level::all() {
        let want: Vec<f32> = (0..batch[0] * batch[1] * m * n)
            .map(|x| plain(level, &a, &b, [x / (n * m * batch[1]), x / (n * m) % batch[1], x / n % m, x % n]))
            .collect();
        for packed in [false, true] {
            let mut out = vec![f32::MAX; batch[0] * batch[1] * m * ldc + 1];
            let shape = [batch[0], batch[1], m, n];
            let mut view = MatricesMut::new(&mut out, shape, [batch[1] * m * ldc, m * ldc, ldc]).unwrap();
            if packed {
                matmul_packed(&a, &PackedB::for_level(level, &b).unwrap(), &mut view, None).unwrap();
            } else {
                matmul_at(level, &a, &b, &mut view, None).unwrap();
            }
            for (row, chunk) in out.chunks(ldc).enumerate() {
                if row == batch[0] * batch[1] * m {
                    assert_eq!(chunk, [f32::MAX]);
                    continue;
                }
                assert!(
                    chunk[..n].iter().zip(&want[row * n..]).all(|(x, y)| x.to_bits() == y.to_bits()),
                    "{level:?} packed {packed} batch {batch:?} {:?} {:?} row {row}",
                    a.shape(),
                    b.shape()
                );
                assert_eq!(chunk[n..], [f32::MAX; 3], "wrote past the row's end");
            }
        }
    }
}

#[test]
fn every_edge_has_the_bits_of_the_definition() {
    for m in [1, 2, 5, 8, 9, 16, 17, 31] {
        for n in [1, 3, 15, 16, 17, 33, 48, 49, 64, 65, 97, 112] {
            for k in [0, 1, 2, 7, 64] {
                let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
                let a = Matrices::row_major(&a, m, k).unwrap();
                check(a, Matrices::row_major(&b, k, n).unwrap(), [1, 1]);
            }
        }
    }
}

#[test]
fn blocks_of_k_rows_and_columns() {
    for (m, n, k) in [(70, 500, 1030), (1, 1000, 1100), (530, 50, 513), (12, 20, 3000), (256, 256, 512)] {
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
        check(Matrices::row_major(&a, m, k).unwrap(), Matrices::row_major(&b, k, n).unwrap(), [1, 1]);
    }
}

#[test]
fn transposed_strided_and_broadcast() {
    let x = numbers(40_000, 5);
    let y = numbers(40_000, 6);
    for (m, n, k) in [(20, 50, 33), (7, 19, 70), (40, 70, 20)] {
        for (sa, sb) in [([0, 0], [0, 0]), ([3000, 0], [0, 3500]), ([9000, 3000], [7001, 3501])] {
            let batch = [2, 3];
            for a in [
                Matrices::new(&x, [2, 3, m, k], [sa[0], sa[1], 1, m]).unwrap(),
                Matrices::new(&x, [2, 3, m, k], [sa[0], sa[1], 2 * k, 2]).unwrap(),
                Matrices::new(&x, [1, 1, k, m], [0, 0, m, 1]).unwrap().t(),
                Matrices::new(&x, [2, 3, m, k], [sa[0], sa[1], k, 0]).unwrap(),
            ] {
                for b in [
                    Matrices::new(&y, [2, 3, k, n], [sb[0], sb[1], 1, k]).unwrap(),
                    Matrices::new(&y, [2, 3, k, n], [sb[0], sb[1], n, 1]).unwrap(),
                    Matrices::new(&y, [2, 1, k, n], [sb[0], 0, 2 * n, 2]).unwrap(),
                    Matrices::new(&y, [1, 3, k, n], [0, sb[1], 0, 1]).unwrap(),
                ] {
                    check(a, b, batch);
                }
            }
        }
    }
}

#[test]
fn sixteen_bit_storage_is_widened() {
    let (m, n, k) = (21, 70, 40);
    let a: Vec<f16> = numbers(m * k, 7).into_iter().map(f16::from_f32).collect();
    let b: Vec<bf16> = numbers(n * k, 8).into_iter().map(bf16::from_f32).collect();
    check(Matrices::row_major(&a, m, k).unwrap(), Matrices::row_major(&b, n, k).unwrap().t(), [1, 1]);
    check(Matrices::row_major(&a, 5, k).unwrap(), Matrices::row_major(&b, k, n).unwrap(), [1, 1]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (m, n, k) = (300, 500, 700);
    let (a, b) = (numbers(m * k, 9), numbers(k * n, 10));
    let run = |threads: usize| {
        let team = crate::Team::new(threads).unwrap();
        let mut out = vec![0.0; m * n];
        team.install(|| {
            let mut out = MatricesMut::row_major(&mut out, m, n).unwrap();
            let a = Matrices::row_major(&a, m, k).unwrap();
            matmul(&a, &Matrices::row_major(&b, k, n).unwrap(), &mut out, None).unwrap();
        });
        out
    };
    let one = run(1);
    for threads in [2, 3, 7, 16] {
        assert!(one.iter().zip(run(threads)).all(|(x, y)| x.to_bits() == y.to_bits()), "{threads} threads");
    }
}

#[test]
fn the_epilogue_sees_every_element_once() {
    for (m, n, k) in [(200, 1000, 600), (3, 70, 40), (1, 1, 0), (65, 49, 8)] {
        let (a, b, bias) = (numbers(m * k, 11), numbers(k * n, 12), numbers(n, 13));
        let (va, vb) = (Matrices::row_major(&a, m, k).unwrap(), Matrices::row_major(&b, k, n).unwrap());
        let (mut bare, mut fused) = (vec![0.0; m * n], vec![0.0; m * n]);
        matmul(&va, &vb, &mut MatricesMut::row_major(&mut bare, m, n).unwrap(), None).unwrap();
        let add = |t: &mut Tile<'_>| {
            for i in 0..t.rows {
                let (row, col0, cols) = ((t.row0 + i) as f32, t.col0, t.cols);
                for (x, b) in t.row(i).iter_mut().zip(&bias[col0..col0 + cols]) {
                    *x += b + row;
                }
            }
        };
        matmul(&va, &vb, &mut MatricesMut::row_major(&mut fused, m, n).unwrap(), Some(&add)).unwrap();
        for (i, (x, y)) in bare.iter().zip(&fused).enumerate() {
            assert_eq!(x + (bias[i % n] + (i / n) as f32), *y, "at {i} of {m}×{n}");
        }
    }
}

#[test]
fn bad_views_and_shapes_are_refused() {
    let x = [0.0f32; 12];
    assert!(matches!(Matrices::row_major(&x, 3, 5), Err(LinalgError::OutOfBounds { .. })));
    assert!(Matrices::new(&x, [usize::MAX, 2, 2, 2], [usize::MAX, 1, 1, 1]).is_err());
    let mut y = [0.0f32; 12];
    assert!(matches!(MatricesMut::new(&mut y, [1, 1, 3, 4], [0, 0, 3]), Err(LinalgError::Overlap { .. })));
    assert!(matches!(MatricesMut::new(&mut y, [2, 1, 2, 3], [0, 0, 3]), Err(LinalgError::Overlap { .. })));
    assert!(MatricesMut::new(&mut y, [2, 2, 1, 3], [6, 3, 0]).is_ok());
    let (a, b) = (Matrices::row_major(&x, 3, 4).unwrap(), Matrices::row_major(&x, 3, 4).unwrap());
    let mut out = MatricesMut::row_major(&mut y, 3, 4).unwrap();
    let error = matmul(&a, &b, &mut out, None).unwrap_err();
    assert_eq!(error.to_string(), "rhs has shape [1, 1, 3, 4], but [1, 1, 4, 4] is needed");
}

#[test]
fn few_rows_have_the_bits_of_many() {
    let (m, n, k) = (40, 131, 300);
    let (a, b) = (numbers(m * k, 21), numbers(n * k, 22));
    let narrow = |x: &[f32]| x.iter().map(|&x| f16::from_f32(x)).collect::<Vec<f16>>();
    let (ah, bh) = (narrow(&a), narrow(&b));
    fn product<A: Element, B: Element>(level: Level, a: &Matrices<'_, A>, b: &Matrices<'_, B>) -> Vec<f32> {
        let (m, n) = (a.shape()[2], b.shape()[3]);
        let mut out = vec![7.0; m * n];
        let double: crate::linalg::Epilogue<'_> = &|tile: &mut Tile<'_>| {
            for r in 0..tile.rows {
                tile.row(r).iter_mut().for_each(|x| *x *= 2.0);
            }
        };
        matmul_at(level, a, b, &mut MatricesMut::row_major(&mut out, m, n).unwrap(), Some(double)).unwrap();
        out
    }
    let same = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits());
    for level in Level::all() {
        // B as a weight lies: [n, k].
        let (vb, vbh) = (Matrices::row_major(&b, n, k).unwrap().t(), Matrices::row_major(&bh, n, k).unwrap().t());
        let many = product(level, &Matrices::row_major(&a, m, k).unwrap(), &vb);
        let many_h = product(level, &Matrices::row_major(&ah, m, k).unwrap(), &vbh);
        for rows in [1, 2, 8, 9, 16] {
            let few = product(level, &Matrices::row_major(&a, rows, k).unwrap(), &vb);
            assert!(same(&few, &many), "{rows} rows at {level:?}");
            let few = product(level, &Matrices::row_major(&ah, rows, k).unwrap(), &vbh);
            assert!(same(&few, &many_h), "{rows} rows of f16 at {level:?}");
        }
    }
}
