//! Views, joining, padding and creation: copies, compared bit for bit, of any type, at any rank.

use crate::common::*;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Type,
    index::{self, Rim},
    sample::{Random, Values},
};

const TYPES: [Type; 8] = [Type::F32, Type::F16, Type::BF16, Type::I8, Type::U8, Type::I32, Type::I64, Type::Bool];

/// Chains of views: what each does to the tensor and, independently, to the array. Only the last is computed.
#[test]
fn chains_of_views() {
    on_every_device(|d| {
        for seed in rounds(d, 400, 16) {
            let mut r = Random::new(500 + seed);
            let ty = *r.one_of(if compiles_at_once(d) { &TYPES } else { &TYPES[..1] });
            let rank = if compiles_at_once(d) { 1 + r.below(8) } else { 3 };
            let dims = shape(&mut r, rank, 2000);
            let x = Operand::dense(d, ty, &dims, Values::AnyBits, &mut r);
            let (mut t, mut bits) = (x.tensor.clone(), x.bits.clone());
            let mut names = vec![format!("{ty:?} {dims:?}")];
            for _ in 0..1 + r.below(4) {
                let rank = bits.rank();
                let axis = r.below(rank);
                let n = bits.shape[axis];
                let (name, next, after): (String, Result<Tensor>, Array<u64>) = match r.below(8) {
                    0 => {
                        let other = r.below(rank);
                        (
                            format!("transpose {axis} {other}"),
                            t.transpose(axis as i64, other as i64),
                            bits.swap(axis, other),
                        )
                    }
                    1 => (format!("flip {axis}"), t.flip(axis), bits.flip(axis)),
                    2 => {
                        let start = r.below(n + 1);
                        let len = r.below(n - start + 1);
                        let got = t.narrow(axis as i64, start, len);
                        (format!("narrow {axis} {start} {len}"), got, bits.slice(axis, start, 1, len))
                    }
                    3 => {
                        let step = 1 + r.below(3);
                        let got = t.step_by(axis as i64, step);
                        (format!("step_by {axis} {step}"), got, bits.slice(axis, 0, step, n.div_ceil(step)))
                    }
                    4 => {
                        // Two neighbours become one axis, which of strided views no stride may express.
                        let (a, b) = (axis.min(rank - 1), (axis + 1).min(rank - 1));
                        let mut to = bits.shape.clone();
                        if a != b {
                            to[a] *= to.remove(b);
                        }
                        (format!("flatten {a} {b}"), t.flatten(a as i64, b as i64), bits.reshape(&to))
                    }
                    5 if rank < 8 => {
                        let mut to = bits.shape.clone();
                        to.insert(axis, 1);
                        (format!("unsqueeze {axis}"), t.unsqueeze(axis as i64), bits.reshape(&to))
                    }
                    6 => {
                        let to: Vec<usize> = bits.shape.iter().map(|&n| if n == 1 { 3 } else { n }).collect();
                        (format!("expand {to:?}"), t.expand(&to), bits.expand(&to))
                    }
                    _ => {
                        let mut order: Vec<usize> = (0..rank).collect();
                        order.rotate_left(axis);
                        (format!("permute {order:?}"), t.permute(&order[..]), bits.permute(&order))
                    }
                };
                names.push(name);
                t = next.unwrap_or_else(|e| panic!("{names:?} seed {seed} on {d}: {e}"));
                bits = after;
                if bits.data.len() > 20_000 {
                    break;
                }
            }
            same(&format!("{names:?} seed {seed} on {d}"), Ok(t), ty, &bits);
        }
    });
}

#[test]
fn joining_and_padding() {
    on_every_device(|d| {
        for seed in rounds(d, 250, 10) {
            let mut r = Random::new(600 + seed);
            let ty = *r.one_of(if compiles_at_once(d) { &TYPES } else { &TYPES[..2] });
            let rank = if compiles_at_once(d) { 1 + r.below(6) } else { 2 };
            let dims = shape(&mut r, rank, 700);
            let axis = r.below(rank);
            let parts: Vec<Operand> = (0..1 + r.below(4))
                .map(|_| {
                    let mut own = dims.clone();
                    own[axis] = r.below(5);
                    let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
                    Operand::laid(d, ty, &own, Values::AnyBits, layout, &mut r)
                })
                .collect();
            let tensors: Vec<Tensor> = parts.iter().map(|p| p.tensor.clone()).collect();
            let arrays: Vec<Array<u64>> = parts.iter().map(|p| p.bits.clone()).collect();
            let case = format!("cat of {} {ty:?} like {dims:?} axis {axis} seed {seed} on {d}", parts.len());
            same(&case, Tensor::cat(&tensors, axis as i64), ty, &Array::concat(&arrays, axis));

            let x = Operand::dense(d, ty, &dims, Values::AnyBits, &mut r);
            let stacked = Array::concat(&[x.bits.clone(), x.bits.flip(axis)], 0);
            let mut to = vec![2];
            to.extend(&dims);
            let both = [x.tensor.clone(), x.tensor.flip(axis).unwrap()];
            same(
                &format!("stack {ty:?} {dims:?} seed {seed} on {d}"),
                Tensor::stack(&both, 0),
                ty,
                &stacked.reshape(&to),
            );

            let width = |r: &mut Random, most: usize| r.below(most + 1) as i64;
            let widths: Vec<[i64; 2]> = dims[rank.saturating_sub(2)..]
                .iter()
                .map(|&n| [width(&mut r, 3) - (n > 3) as i64, width(&mut r, 3)])
                .collect();
            let case = |how: &str| format!("{how} {ty:?} {dims:?} by {widths:?} seed {seed} on {d}");
            let zero = if ty == Type::Bool { None } else { Some(0i64) };
            let got = match zero {
                Some(zero) => x.tensor.pad(&widths, zero),
                None => x.tensor.pad(&widths, false),
            };
            same(&case("pad"), got, ty, &index::pad(&x.bits, &widths, &Rim::Constant(0)));
            let fits = |most: fn(i64) -> i64| {
                widths
                    .iter()
                    .zip(&dims[rank - widths.len()..])
                    .all(|(w, &n)| n > 0 && w.iter().all(|&w| w <= most(n as i64)))
            };
            if fits(|n| n - 1) && widths.iter().all(|w| w[0] >= 0) {
                same(
                    &case("pad_reflect"),
                    x.tensor.pad_reflect(&widths),
                    ty,
                    &index::pad(&x.bits, &widths, &Rim::Reflect),
                );
            }
            if fits(|_| i64::MAX) {
                same(
                    &case("pad_replicate"),
                    x.tensor.pad_replicate(&widths),
                    ty,
                    &index::pad(&x.bits, &widths, &Rim::Replicate),
                );
            }
        }
    });
}

#[test]
fn creation() {
    on_every_device(|d| {
        for ty in [Type::F32, Type::I64, Type::U8, Type::F16] {
            let n = 37usize;
            let one = if ty.is_float() { ty.bits_of_float(1.0) } else { 1 };
            let eye = Array::build(&[n, n], |i| if i[0] == i[1] { one } else { 0 });
            same(&format!("eye {ty:?} on {d}"), Tensor::eye(n, dtype(ty), d), ty, &eye);
            same(&format!("zeros {ty:?} on {d}"), Tensor::zeros((2, 3), dtype(ty), d), ty, &Array::full(&[2, 3], 0));
            same(&format!("ones {ty:?} on {d}"), Tensor::ones((2, 3), dtype(ty), d), ty, &Array::full(&[2, 3], one));
        }
        let want: Vec<u64> = (-5i64..40).step_by(3).map(|x| x as u64).collect();
        let got = Tensor::arange_step(-5i64, 40, 3, d);
        same(&format!("arange on {d}"), got, Type::I64, &Array::new(&[want.len()], want));
        let want: Vec<u64> = (0..100).map(|i| Type::F32.bits_of_float((0.5f32 + i as f32 * 0.25) as f64)).collect();
        let got = Tensor::arange_step(0.5f32, 25.5, 0.25, d);
        same(&format!("arange of floats on {d}"), got, Type::F32, &Array::new(&[100], want));
    });
}
