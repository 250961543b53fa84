//! Reductions over any axes of any shape, in every layout; softmax and norms.

use crate::common::*;
use anychip::{Device, Result, Tensor};
use anychip_oracle::{
    Array, Type, reduce,
    sample::{Random, Values},
};

/// A shape, axes of it, and an operand in some layout. Where kernels are dear: rank 3, one or two axes.
fn case(d: &Device, ty: Type, values: Values, r: &mut Random) -> (Operand, Vec<usize>, String) {
    let rank = if compiles_at_once(d) { r.below(9) } else { 3 };
    let mut dims = shape(r, rank, 20_000);
    if r.below(4) == 0 && rank > 0 {
        // A long axis: more than one workgroup, more than one round.
        dims = vec![1; rank];
        dims[r.below(rank)] = *r.one_of(&[1009, 4099, 70_001]);
    }
    let axes: Vec<usize> = match compiles_at_once(d) {
        true => (0..rank).filter(|_| r.below(2) == 0).collect(),
        false => r.one_of(&[vec![2], vec![0], vec![0, 1, 2]]).clone(),
    };
    let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
    let x = Operand::laid(d, ty, &dims, values, layout, r);
    let name = format!("{ty:?} {dims:?} {layout:?} over {axes:?} of {values:?}");
    (x, axes, name)
}

#[test]
fn sums_means_products_extremes() {
    on_every_device(|d| {
        for seed in rounds(d, 300, 24) {
            let mut r = Random::new(seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let values = *r.one_of(&[Values::Range(-4.0, 4.0), Values::Range(0.5, 1.5), Values::Exact]);
            let (x, axes, name) = case(d, ty, values, &mut r);
            let a = match values {
                Values::Exact => arithmetic(d, ty).without_rounding(),
                _ => arithmetic(d, ty),
            };
            let (real, list) = (x.real(), &axes[..]);
            let name = |op: &str| format!("{op} {name} seed {seed} on {d}");
            check(&name("sum"), x.tensor.sum_keepdim(list), ty, reduce::sum(&a, &real, list), &a);
            check(&name("sum"), x.tensor.sum(list), ty, reduce::sum(&a, &real, list).without(list), &a);
            check(&name("mean"), x.tensor.mean(list), ty, reduce::mean(&a, &real, list).without(list), &a);
            let full = arithmetic(d, ty);
            check(&name("prod"), x.tensor.prod(list), ty, reduce::prod(&full, &real, list).without(list), &full);
            let count: usize = axes.iter().map(|&i| x.shape()[i]).product();
            if count > 0 {
                check(&name("max"), x.tensor.max(list), ty, reduce::max(&real, list).without(list), &a);
                check(&name("min"), x.tensor.min(list), ty, reduce::min(&real, list).without(list), &a);
            } else if real.data.is_empty() && reduce::max(&real, list).data.is_empty() {
                // Nothing is asked of nothing.
            } else {
                assert!(x.tensor.max(list).is_err(), "{}: of nothing", name("max"));
                assert!(x.tensor.min(list).is_err(), "{}: of nothing", name("min"));
            }
        }
    });
}

/// NaN and infinities come through; the sign of infinity is kept.
#[test]
fn special_values_in_reductions() {
    on_every_device(|d| {
        for ty in [Type::F32, Type::F16] {
            let a = arithmetic(d, ty);
            for seed in 0..20 {
                let mut r = Random::new(seed);
                let mut x = Operand::dense(d, ty, &[6, 33], Values::Range(-2.0, 2.0), &mut r).bits;
                for _ in 0..r.below(4) {
                    let special = *r.one_of(&[f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0]);
                    let at = r.below(x.data.len());
                    x.data[at] = ty.bits_of_float(special);
                }
                let x = Operand::new(d, ty, x);
                let name = |op: &str| format!("{op} {ty:?} [6, 33] with special values, seed {seed} on {d}");
                check(&name("sum"), x.tensor.sum(1), ty, reduce::sum(&a, &x.real(), &[1]).without(&[1]), &a);
                check(&name("max"), x.tensor.max(1), ty, reduce::max(&x.real(), &[1]).without(&[1]), &a);
                check(&name("min"), x.tensor.min(1), ty, reduce::min(&x.real(), &[1]).without(&[1]), &a);
                check(&name("softmax"), x.tensor.softmax(1), ty, reduce::softmax(&a, &x.real(), 1), &a);
            }
        }
    });
}

#[test]
fn integers_and_truth() {
    type Reduction = fn(&Tensor, &[usize]) -> Result<Tensor>;
    on_every_device(|d| {
        let a = arithmetic(d, Type::F32);
        for seed in rounds(d, 120, 10) {
            let mut r = Random::new(40 + seed);
            let types: &[Type] = if compiles_at_once(d) { &INTEGERS } else { &INTEGERS[..3] };
            let ty = *r.one_of(types);
            let (x, axes, name) = case(d, ty, *r.one_of(&[Values::AnyBits, Values::Special]), &mut r);
            let name = |op: &str| format!("{op} {name} seed {seed} on {d}");
            let list = &axes[..];
            let int = x.int();
            let (sum, prod) = (x.tensor.sum(list), x.tensor.prod(list));
            let wide = sum_type(ty);
            check(&name("sum"), sum, wide, reduce::sum_int(wide, &int, list).without(list), &a);
            check(&name("prod"), prod, wide, reduce::prod_int(wide, &int, list).without(list), &a);
            if axes.iter().all(|&i| x.shape()[i] > 0) {
                check(&name("max"), x.tensor.max(list), ty, reduce::max_int(&int, list).without(list), &a);
                check(&name("min"), x.tensor.min(list), ty, reduce::min_int(&int, list).without(list), &a);
            }
            let (x, axes, name) = case(d, Type::Bool, Values::AnyBits, &mut r);
            let list = &axes[..];
            let name = |op: &str| format!("{op} {name} seed {seed} on {d}");
            let both: [(&str, Reduction, Array<i128>); 2] = [
                ("any", |x, axes| x.any(axes), reduce::max_int(&x.int(), list)),
                ("all", |x, axes| x.all(axes), reduce::min_int(&x.int(), list)),
            ];
            for (op, f, want) in both {
                check(&name(op), f(&x.tensor, list), Type::Bool, want.without(list), &a);
            }
        }
    });
}

#[test]
fn softmax_over_any_axis() {
    on_every_device(|d| {
        for seed in rounds(d, 150, 10) {
            let mut r = Random::new(70 + seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let a = arithmetic(d, ty);
            let rank = if compiles_at_once(d) { 1 + r.below(7) } else { 2 };
            let mut dims = shape(&mut r, rank, 4000);
            if r.below(5) == 0 {
                dims[rank - 1] = *r.one_of(&[257, 1024, 1031]);
            }
            let axis = if compiles_at_once(d) { r.below(rank) } else { 1 };
            let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
            let x = Operand::laid(d, ty, &dims, Values::Range(-20.0, 20.0), layout, &mut r);
            let case = format!("softmax {ty:?} {dims:?} {layout:?} axis {axis} seed {seed} on {d}");
            check(&case, x.tensor.softmax(axis as i64), ty, reduce::softmax(&a, &x.real(), axis), &a);
        }
    });
}

#[test]
fn norms() {
    on_every_device(|d| {
        for seed in rounds(d, 120, 10) {
            let mut r = Random::new(90 + seed);
            let ty = *r.one_of(&[Type::F32, Type::F16, Type::BF16]);
            let a = arithmetic(d, ty);
            let rank = if compiles_at_once(d) { 1 + r.below(5) } else { 2 };
            let mut dims = shape(&mut r, rank, 600);
            dims[rank - 1] = *r.one_of(&[1, 2, 7, 64, 257, 1000]);
            let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
            // A mean far from 0 beside a small spread: the difference of two squares would be refused.
            let values = *r.one_of(&[Values::Range(-3.0, 3.0), Values::Range(29.0, 31.0)]);
            let x = Operand::laid(d, ty, &dims, values, layout, &mut r);
            let n = &dims[rank - 1..];
            let w = Operand::dense(d, ty, n, Values::Range(-2.0, 2.0), &mut r);
            let b = Operand::dense(d, ty, n, Values::Range(-2.0, 2.0), &mut r);
            let case = |op: &str| format!("{op} {ty:?} {dims:?} {layout:?} of {values:?} seed {seed} on {d}");
            let eps = 1e-5f32;
            let (wr, br) = (w.real(), b.real());
            let want = reduce::layer_norm(&a, &x.real(), Some(&wr), Some(&br), eps as f64);
            check(&case("layer_norm"), x.tensor.layer_norm(&w.tensor, &b.tensor, eps), ty, want, &a);
            let want = reduce::rms_norm(&a, &x.real(), Some(&wr), eps as f64);
            check(&case("rms_norm"), x.tensor.rms_norm(&w.tensor, eps), ty, want, &a);
        }
    });
}
