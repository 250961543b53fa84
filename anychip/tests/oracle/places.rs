//! Elements at computed places, scans and sorting, for ids that the host knows and for ids that only the device does.

use crate::common::*;
use anychip::{Device, Tensor};
use anychip_oracle::{
    Array, Type,
    elementwise::{IntBinary, int_binary},
    index, reduce,
    sample::{Random, Values, element},
};

/// Ids of a shape in 0..limit.
fn ids(d: &Device, shape: &[usize], limit: usize, r: &mut Random) -> (Tensor, Array<i128>) {
    let ty = *r.one_of(if compiles_at_once(d) {
        &[Type::U32, Type::I64, Type::I32]
    } else {
        &[Type::U32, Type::U32, Type::U32]
    });
    let bits = Array::build(shape, |_| r.below(limit.max(1)) as u64);
    let int = bits.map(|&b| b as i128);
    (tensor(d, ty, &bits), int)
}

#[test]
fn elements_at_ids() {
    on_every_device(|d| {
        for seed in rounds(d, 200, 6) {
            let mut r = Random::new(900 + seed);
            let ty = *r.one_of(if compiles_at_once(d) {
                &[Type::F32, Type::F16, Type::I64, Type::U8]
            } else {
                &[Type::F32, Type::F32, Type::F32, Type::F32]
            });
            let rank = if compiles_at_once(d) { 1 + r.below(5) } else { 2 };
            let dims: Vec<usize> = shape(&mut r, rank, 900).iter().map(|&n| n.max(1)).collect();
            let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
            let x = Operand::laid(d, ty, &dims, Values::AnyBits, layout, &mut r);
            let axis = r.below(rank);
            let at = axis as i64;
            let case = |op: &str| format!("{op} {ty:?} {dims:?} {layout:?} axis {axis} seed {seed} on {d}");

            let mut want = dims.clone();
            want.iter_mut().for_each(|n| *n = 1 + r.below(*n));
            want[axis] = 1 + r.below(9);
            let (t, int) = ids(d, &want, dims[axis], &mut r);
            same(&case("gather"), x.tensor.gather(at, &t), ty, &index::gather(&x.bits, axis, &int, &0));
            let (t, int) = ids(d, &[1 + r.below(9)], dims[axis], &mut r);
            let picked = index::index_select(&x.bits, axis, &int.data, &0);
            same(&case("index_select"), x.tensor.index_select(at, &t), ty, &picked);
            let (t, int) = ids(d, &[2, 3], x.bits.data.len(), &mut r);
            same(&case("take"), x.tensor.take(&t), ty, &index::take(&x.bits, &int, &0));
            let table = Operand::dense(d, ty, &[7, 5], Values::AnyBits, &mut r);
            let (t, int) = ids(d, &[3, 2], 7, &mut r);
            same(&case("embedding"), table.tensor.embedding(&t), ty, &index::embedding(&table.bits, &int, &0));

            // The last of several stays.
            let mut parts = dims.clone();
            parts[axis] = 1 + r.below(2 * dims[axis]);
            let (t, int) = ids(d, &parts, dims[axis], &mut r);
            let source = Operand::dense(d, ty, &parts, Values::AnyBits, &mut r);
            let wanted = index::scatter(&x.bits, axis, &int, &source.bits);
            same(&case("scatter"), x.tensor.scatter(at, &t, &source.tensor), ty, &wanted);
        }
    });
}

#[test]
fn sums_at_ids() {
    on_every_device(|d| {
        for seed in rounds(d, 120, 4) {
            let mut r = Random::new(1100 + seed);
            let ty = *r.one_of(if compiles_at_once(d) {
                &[Type::F32, Type::F16, Type::BF16]
            } else {
                &[Type::F32, Type::F32, Type::F32]
            });
            let values = *r.one_of(&[Values::Exact, Values::Range(-3.0, 3.0)]);
            let a = arithmetic(d, ty);
            let a = if values == Values::Exact { a.without_rounding() } else { a };
            let dims = [1 + r.below(5), 1 + r.below(9)];
            let axis = r.below(2);
            let mut parts = dims;
            parts[axis] = 1 + r.below(40);
            let x = Operand::dense(d, ty, &dims, values, &mut r);
            let source = Operand::dense(d, ty, &parts, values, &mut r);
            let (t, int) = ids(d, &parts, dims[axis], &mut r);
            let want = index::scatter_add(&a, &x.real(), axis, &int, &source.real());
            let case =
                format!("scatter_add {ty:?} {dims:?} from {parts:?} axis {axis} of {values:?} seed {seed} on {d}");
            check(&case, x.tensor.scatter_add(axis as i64, &t, &source.tensor), ty, want, &a);
            let x = Operand::dense(d, Type::I32, &dims, Values::AnyBits, &mut r);
            let source = Operand::dense(d, Type::I32, &parts, Values::AnyBits, &mut r);
            let want = index::scatter_add_int(&x.int(), axis, &int, &source.int(), |x| Type::I32.wrap(x));
            check(&case, x.tensor.scatter_add(axis as i64, &t, &source.tensor), Type::I32, want, &a);
        }
    });
}

#[test]
fn running_sums_and_products() {
    on_every_device(|d| {
        for seed in rounds(d, 120, 6) {
            let mut r = Random::new(1200 + seed);
            let ty = *r.one_of(if compiles_at_once(d) {
                &[Type::F32, Type::F16, Type::BF16]
            } else {
                &[Type::F32, Type::F32, Type::F32]
            });
            let values = *r.one_of(&[Values::Exact, Values::Range(-2.0, 2.0)]);
            let full = arithmetic(d, ty);
            let a = if values == Values::Exact { full.without_rounding() } else { full };
            let rank = if compiles_at_once(d) { 1 + r.below(4) } else { 2 };
            let mut dims = shape(&mut r, rank, 300);
            let axis = if compiles_at_once(d) { r.below(rank) } else { 1 };
            dims[axis] = *r.one_of(&[1, 2, 31, 64, 257, 700]);
            let layout = if compiles_at_once(d) { *r.one_of(&LAYOUTS) } else { Layout::Dense };
            let x = Operand::laid(d, ty, &dims, values, layout, &mut r);
            let case =
                |op: &str| format!("{op} {ty:?} {dims:?} {layout:?} axis {axis} of {values:?} seed {seed} on {d}");
            let at = axis as i64;
            check(&case("cumsum"), x.tensor.cumsum(at), ty, reduce::cumsum(&a, &x.real(), axis), &a);
            check(&case("cumprod"), x.tensor.cumprod(at), ty, reduce::cumprod(&full, &x.real(), axis), &full);
            // From the other end.
            let back = reduce::cumsum(&a, &x.real().flip(axis), axis).flip(axis);
            check(&case("cumsum from the end"), x.tensor.cumsum_with(at, false, true), ty, back, &a);
            let ty = *r.one_of(if compiles_at_once(d) {
                &[Type::I32, Type::U8, Type::I64]
            } else {
                &[Type::I32, Type::I32, Type::I32]
            });
            let x = Operand::dense(d, ty, &dims, Values::AnyBits, &mut r);
            let scans = [
                ("cumsum", IntBinary::Add, x.tensor.cumsum(at)),
                ("cumprod", IntBinary::Mul, x.tensor.cumprod(at)),
                ("cummax", IntBinary::Max, x.tensor.cummax(at)),
                ("cummin", IntBinary::Min, x.tensor.cummin(at)),
            ];
            for (op, meaning, got) in scans {
                let want = reduce::scan_int(ty, &x.int(), axis, |p, q| int_binary(meaning, ty, p, q));
                check(&format!("{} {ty:?}", case(op)), got, ty, want, &a);
            }
        }
    });
}

#[test]
fn sorted() {
    on_every_device(|d| {
        for seed in rounds(d, 120, 4) {
            let mut r = Random::new(1300 + seed);
            let ty = *r.one_of(if compiles_at_once(d) {
                &[Type::F32, Type::F16, Type::BF16, Type::I64]
            } else {
                &[Type::F32, Type::F32, Type::F32, Type::F32]
            });
            let values = *r.one_of(&[Values::Special, Values::Exact, Values::Range(-9.0, 9.0)]);
            let rank = if compiles_at_once(d) { 1 + r.below(3) } else { 2 };
            let mut dims = shape(&mut r, rank, 200);
            let axis = if compiles_at_once(d) { r.below(rank) } else { 1 };
            dims[axis] = *r.one_of(&[1, 2, 3, 17, 64, 300, 1025]);
            let bits = Array::build(&dims, |_| element(ty, values, &mut r));
            let x = Operand::new(d, ty, bits);
            let descending = r.below(2) == 0;
            let at = axis as i64;
            let by = |x: &u64, y: &u64| match ty.format() {
                Some(_) => index::order(ty.float_of_bits(*x), ty.float_of_bits(*y)),
                None => ty.int_of_bits(*x).cmp(&ty.int_of_bits(*y)),
            };
            let places = index::argsort(&x.bits, axis, descending, by);
            let case = |op: &str| {
                format!("{op} {ty:?} {dims:?} axis {axis} descending {descending} of {values:?} seed {seed} on {d}")
            };
            let a = arithmetic(d, Type::F32);
            let (sorted, order) = x.tensor.sort(at, descending).unwrap_or_else(|e| panic!("{}: {e}", case("sort")));
            check(&case("argsort"), Ok(order), Type::U32, places.clone(), &a);
            same(&case("sort"), Ok(sorted), ty, &index::gather(&x.bits, axis, &places, &0));
            let k = 1 + r.below(dims[axis]);
            let best = places.slice(axis, 0, 1, k);
            let (top, order) = x.tensor.topk(k, at, descending).unwrap_or_else(|e| panic!("{}: {e}", case("topk")));
            check(&case("topk"), Ok(order), Type::U32, best.clone(), &a);
            same(&case("topk"), Ok(top), ty, &index::gather(&x.bits, axis, &best, &0));
        }
    });
}
