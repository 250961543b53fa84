//! Matrix products and attention over random shapes, layouts and broadcasts.

use crate::common::*;
use anychip::Device;
use anychip_oracle::{
    Type, linear,
    sample::{Random, Values},
};

/// Extents at the edges of tiles, and primes.
const EXTENTS: [usize; 12] = [1, 2, 3, 5, 8, 15, 16, 17, 33, 64, 67, 0];

fn matrices(d: &Device, seed: u64, r: &mut Random) -> (Vec<usize>, Vec<usize>) {
    let (m, k, n) = (*r.one_of(&EXTENTS), *r.one_of(&[1, 2, 3, 7, 16, 31, 64, 129, 0]), *r.one_of(&EXTENTS));
    let batch = if compiles_at_once(d) && r.below(2) == 0 { (1 + r.below(3), 1 + r.below(4)) } else { (0, 0) };
    let (mut x, mut y) = match (seed % 8, batch) {
        (0, (0, _)) => (vec![k], vec![k, n]),
        (1, (0, _)) => (vec![m, k], vec![k]),
        (2, (0, _)) => (vec![k], vec![k]),
        (3, (b, c)) if b > 0 => (vec![b, c, m, k], vec![k, n]),
        (4, (b, c)) if b > 0 => (vec![m, k], vec![b, c, k, n]),
        (5, (b, c)) if b > 0 => (vec![b, 1, m, k], vec![c, k, n]),
        (_, (b, c)) if b > 0 => (vec![b, c, m, k], vec![b, c, k, n]),
        _ => (vec![m, k], vec![k, n]),
    };
    if seed % 37 == 36 {
        (x, y) = (vec![19, 1500], vec![1500, 23]);
    }
    (x, y)
}

#[test]
fn products() {
    on_every_device(|d| {
        for seed in rounds(d, 400, 24) {
            let mut r = Random::new(200 + seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let values = *r.one_of(&[Values::Range(-2.0, 2.0), Values::Exact]);
            let (xs, ys) = matrices(d, seed, &mut r);
            let layouts = match compiles_at_once(d) {
                true => [*r.one_of(&LAYOUTS), *r.one_of(&LAYOUTS)],
                false => [Layout::Dense, Layout::Dense],
            };
            let x = Operand::laid(d, ty, &xs, values, layouts[0], &mut r);
            let y = Operand::laid(d, ty, &ys, values, layouts[1], &mut r);
            let a = arithmetic(d, ty);
            let a = if values == Values::Exact { a.without_rounding() } else { a };
            let case = format!("matmul {ty:?} {xs:?} × {ys:?} {layouts:?} of {values:?} seed {seed} on {d}");
            check(&case, x.tensor.matmul(&y.tensor), ty, linear::matmul(&a, &x.real(), &y.real()), &a);
        }
    });
}

/// An infinity, a NaN or a zero beside it reaches exactly the elements that it takes part in.
#[test]
fn special_values_in_products() {
    on_every_device(|d| {
        let a = arithmetic(d, Type::F32);
        for seed in 0..12 {
            let mut r = Random::new(300 + seed);
            let x = Operand::dense(d, Type::F32, &[9, 17], Values::Exact, &mut r);
            let y = Operand::dense(d, Type::F32, &[17, 11], Values::Exact, &mut r);
            let mut bits = x.bits.clone();
            for special in [f64::INFINITY, f64::NAN, f64::NEG_INFINITY] {
                let at = r.below(bits.data.len());
                bits.data[at] = Type::F32.bits_of_float(special);
            }
            let x = Operand::new(d, Type::F32, bits);
            let case = format!("matmul with special values, seed {seed} on {d}");
            check(&case, x.tensor.matmul(&y.tensor), Type::F32, linear::matmul(&a, &x.real(), &y.real()), &a);
        }
    });
}

#[test]
fn integer_products() {
    on_every_device(|d| {
        let a = arithmetic(d, Type::F32);
        for seed in rounds(d, 60, 3) {
            let mut r = Random::new(400 + seed);
            let types: &[Type] = if compiles_at_once(d) { &INTEGERS } else { &[Type::I32] };
            let ty = *r.one_of(types);
            let (xs, ys) = matrices(d, seed, &mut r);
            let x = Operand::dense(d, ty, &xs, Values::AnyBits, &mut r);
            let y = Operand::dense(d, ty, &ys, Values::AnyBits, &mut r);
            let case = format!("matmul {ty:?} {xs:?} × {ys:?} seed {seed} on {d}");
            check(&case, x.tensor.matmul(&y.tensor), ty, linear::matmul_int(ty, &x.int(), &y.int()), &a);
        }
    });
}

/// Batches, grouped heads, masks of numbers and of truth, causal, queries and keys of different number.
#[test]
fn attention() {
    on_every_device(|d| {
        for seed in rounds(d, 120, 12) {
            let mut r = Random::new(800 + seed);
            let ty = *r.one_of(&floats(d));
            let a = arithmetic(d, ty);
            let (b, groups, per) = (1 + r.below(2), 1 + r.below(3), 1 + r.below(3));
            let h = groups * per;
            let (s, t) = (*r.one_of(&[1, 2, 7, 16, 33]), *r.one_of(&[1, 3, 16, 37, 130]));
            let (e, f) = (*r.one_of(&[1, 4, 16, 31]), *r.one_of(&[1, 4, 16, 31]));
            let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
            let values = Values::Range(-2.0, 2.0);
            let q = Operand::laid(d, ty, &[b, h, s, e], values, layout, &mut r);
            let k = Operand::laid(d, ty, &[b, groups, t, e], values, layout, &mut r);
            let v = Operand::laid(d, ty, &[b, groups, t, f], values, layout, &mut r);
            let causal = r.below(2) == 0;
            let scale = if r.below(2) == 0 { Some(0.3f32) } else { None };
            let used = scale.map_or(1.0 / (e as f32).sqrt(), |s| s) as f64;
            let (mask, additive) = match r.below(3) {
                0 => (None, None),
                1 => {
                    let m = Operand::dense(d, ty, &[s, t], Values::Range(-3.0, 1.0), &mut r);
                    let numbers = m.real();
                    (Some(m.tensor), Some(numbers))
                }
                _ => {
                    let m = Operand::dense(d, Type::Bool, &[b, 1, s, t], Values::AnyBits, &mut r);
                    let numbers =
                        m.int().map(|&m| anychip_oracle::Number::from(if m != 0 { 0.0 } else { f64::NEG_INFINITY }));
                    (Some(m.tensor), Some(numbers))
                }
            };
            let want = linear::attention(&a, [&q.real(), &k.real(), &v.real()], additive.as_ref(), used, causal);
            let case = format!(
                "attention {ty:?} q {:?} k {:?} v {:?} {layout:?} mask {:?} scale {scale:?} causal {causal} seed {seed} on {d}",
                q.shape(),
                k.shape(),
                v.shape(),
                mask.as_ref().map(|m| (m.dtype(), m.dims().to_vec())),
            );
            check(&case, q.tensor.attention(&k.tensor, &v.tensor, mask.as_ref(), scale, causal), ty, want, &a);
        }
    });
}
