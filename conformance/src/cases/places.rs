//! Elements at computed places: gather, select, take, scatter and their kin; ids of every type, twice the same, outside.

use super::support::{Outcome, Trial, case};
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Type, index,
    sample::{Values, element},
};

/// Ids in 0..limit, of a type, known only to the device when asked.
fn ids(t: &mut Trial<'_>, ty: Type, shape: &[usize], limit: usize, known: bool) -> Result<(Tensor, Array<i128>)> {
    let bits = Array::build(shape, |_| t.r.below(limit.max(1)) as u64);
    let x = t.operand(ty, bits)?;
    let tensor = if known { x.tensor.clone() } else { hidden(&x.tensor)? };
    Ok((tensor, x.int()))
}

/// The same numbers, as the result of an operation: the host does not know them.
fn hidden(x: &Tensor) -> Result<Tensor> {
    x.add(1)?.sub(1)
}

/// What a read outside gives.
fn outside(ty: Type) -> u64 {
    if ty.is_float() { ty.bits_of_float(f64::NAN) } else { 0 }
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [reads(), outside_ids(), writes(), sums(), tables(), triangles()].into_iter().flatten().collect()
}

/// Shapes, an axis, and how many ids along it.
static SHAPES: [(&str, &str, &[usize], usize, usize); 6] = [
    ("one", "", &[1], 0, 1),
    ("prime", "", &[1009], 0, 331),
    ("unaligned", "rows", &[7, 147], 0, 31),
    ("unaligned", "columns", &[7, 147], 1, 31),
    ("rank 8", "", &[2, 1, 3, 2, 1, 5, 2, 3], 5, 7),
    ("empty", "no-ids", &[7, 147], 1, 0),
];

type Read = fn(&mut Trial<'_>, Type, Type, &[usize], usize, usize, bool) -> Outcome;

fn gather(t: &mut Trial<'_>, ty: Type, of: Type, dims: &[usize], axis: usize, n: usize, known: bool) -> Outcome {
    let x = t.dense(ty, dims, Values::AnyBits)?;
    let mut to = dims.to_vec();
    to[axis] = n;
    let (tensor, int) = ids(t, of, &to, dims[axis], known)?;
    t.same(x.tensor.gather(axis as i64, &tensor), ty, &index::gather(&x.bits, axis, &int, &outside(ty)))
}

fn select(t: &mut Trial<'_>, ty: Type, of: Type, dims: &[usize], axis: usize, n: usize, known: bool) -> Outcome {
    let x = t.dense(ty, dims, Values::AnyBits)?;
    let (tensor, int) = ids(t, of, &[n], dims[axis], known)?;
    let want = index::index_select(&x.bits, axis, &int.data, &outside(ty));
    t.same(x.tensor.index_select(axis as i64, &tensor), ty, &want)
}

fn take(t: &mut Trial<'_>, ty: Type, of: Type, dims: &[usize], _: usize, n: usize, known: bool) -> Outcome {
    let x = t.dense(ty, dims, Values::AnyBits)?;
    let (tensor, int) = ids(t, of, &[n, 3], x.bits.data.len(), known)?;
    t.same(x.tensor.take(&tensor), ty, &index::take(&x.bits, &int, &outside(ty)))
}

const READS: [(&str, Read); 3] = [("gather", gather), ("index_select", select), ("take", take)];

/// Types that are moved: one of each width, and those whose bits a device might not keep.
const MOVED: [Type; 4] = [Type::F32, Type::I64, Type::U8, Type::F16];

fn reads() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, f) in READS {
        for ty in MOVED {
            for (class, variant, dims, axis, n) in SHAPES {
                let few = op == "gather" && (class == "prime" || variant == "columns");
                if ty != Type::F32 && !few {
                    continue;
                }
                all.push(case("places", op, ty, class, variant, move |t| f(t, ty, Type::U32, dims, axis, n, true)));
            }
        }
        for of in [Type::I32, Type::I64, Type::U8] {
            if op != "gather" && of != Type::I64 {
                continue;
            }
            all.push(case("places", op, Type::F32, "prime", &format!("ids-{}", super::support::name(of)), move |t| {
                f(t, Type::F32, of, &[113], 0, 331, true)
            }));
        }
        all.push(case("places", op, Type::F32, "prime", "ids-of-the-device", move |t| {
            f(t, Type::F32, Type::I32, &[113], 0, 331, false)
        }));
    }
    for ty in MOVED {
        for (class, rows, width, n) in [("unaligned", 19, 31, 53), ("aligned", 16, 64, 32)] {
            if class == "aligned" && ty != Type::F32 {
                continue;
            }
            all.push(case("places", "embedding", ty, class, "", move |t| {
                let table = t.dense(ty, &[rows, width], Values::AnyBits)?;
                let (tensor, int) = ids(t, Type::U32, &[3, n], rows, true)?;
                t.same(table.tensor.embedding(&tensor), ty, &index::embedding(&table.bits, &int, &outside(ty)))
            }));
        }
    }
    all
}

/// Ids outside: errors where the host knows them, else NaN, 0, false. Some are inside when only 32 bits of them are looked at.
fn outside_ids() -> Vec<Case> {
    const OUTSIDE: [i64; 8] = [-1, 113, i64::MIN, i64::MAX, 1 << 32, (1 << 32) + 5, -(1 << 32) + 5, 114];
    let mut all = Vec::new();
    for ty in [Type::F32, Type::I64, Type::U8, Type::F16] {
        for op in ["gather", "index_select", "take", "embedding"] {
            if ty != Type::F32 && op != "gather" {
                continue;
            }
            all.push(case("places", op, ty, "prime", "outside", move |t| {
                let x = match op {
                    "embedding" => t.dense(ty, &[113, 3], Values::AnyBits)?,
                    _ => t.dense(ty, &[113], Values::AnyBits)?,
                };
                let bits = Array::build(&[337], |i| match i[0] % 3 {
                    0 => OUTSIDE[i[0] / 3 % OUTSIDE.len()] as u64,
                    _ => t.r.below(113) as u64,
                });
                let id = t.operand(Type::I64, bits)?;
                let (tensor, int, none) = (hidden(&id.tensor)?, id.int(), outside(ty));
                match op {
                    "gather" => t.same(x.tensor.gather(0, &tensor), ty, &index::gather(&x.bits, 0, &int, &none)),
                    "index_select" => t.same(
                        x.tensor.index_select(0, &tensor),
                        ty,
                        &index::index_select(&x.bits, 0, &int.data, &none),
                    ),
                    "take" => t.same(x.tensor.take(&tensor), ty, &index::take(&x.bits, &int, &none)),
                    _ => t.same(x.tensor.embedding(&tensor), ty, &index::embedding(&x.bits, &int, &none)),
                }
            }));
        }
    }
    for op in ["gather", "index_select", "take", "embedding", "scatter", "index_add"] {
        for (variant, bad) in [("outside-and-known", 7i64), ("negative-and-known", -1)] {
            all.push(case("places", op, Type::F32, "refused", variant, move |t| {
                let x = t.dense(Type::F32, &[7, 7], Values::Exact)?.tensor;
                let list = Tensor::from_vec(vec![0i64, bad, 1], 3, &t.on.device)?;
                let wide = Tensor::from_vec(vec![0i64, bad, 1], (1, 3), &t.on.device)?;
                let got = match op {
                    "gather" => x.gather(1, &wide),
                    "index_select" => x.index_select(0, &list),
                    "take" => x.narrow(0, 0, 1).and_then(|x| x.take(&list)),
                    "embedding" => x.embedding(&list),
                    "scatter" => x.scatter(1, &wide, &x.narrow(0, 0, 1)?.narrow(1, 0, 3)?),
                    _ => x.index_add(0, &list, &x.narrow(0, 0, 3)?),
                };
                t.refused(got, &format!("{op} of id {bad} where 7 are"))
            }));
        }
    }
    all
}

/// Of several elements for one place the last stays.
fn writes() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::I64, Type::U8, Type::F16] {
        for (class, variant, dims, axis, n) in SHAPES {
            if ty != Type::F32 && class != "prime" {
                continue;
            }
            all.push(case("places", "scatter", ty, class, variant, move |t| {
                let x = t.dense(ty, dims, Values::AnyBits)?;
                let mut to = dims.to_vec();
                to[axis] = n;
                let source = t.dense(ty, &to, Values::AnyBits)?;
                let (tensor, int) = ids(t, Type::U32, &to, dims[axis], true)?;
                let want = index::scatter(&x.bits, axis, &int, &source.bits);
                t.same(x.tensor.scatter(axis as i64, &tensor, &source.tensor), ty, &want)
            }));
        }
        if !matches!(ty, Type::F32 | Type::I64) {
            continue;
        }
        all.push(case("places", "index_copy", ty, "unaligned", "", move |t| {
            let x = t.dense(ty, &[19, 31], Values::AnyBits)?;
            let source = t.dense(ty, &[7, 31], Values::AnyBits)?;
            let (tensor, int) = ids(t, Type::U32, &[7], 19, true)?;
            let wide = Array::build(&[7, 31], |i| int.data[i[0]]);
            t.same(
                x.tensor.index_copy(0, &tensor, &source.tensor),
                ty,
                &index::scatter(&x.bits, 0, &wide, &source.bits),
            )
        }));
    }
    // All to one place, in order; each to its own; some outside, unknown to the host.
    for variant in ["one-place", "a-permutation", "outside"] {
        all.push(case("places", "scatter", Type::F32, "prime", variant, move |t| {
            let x = t.dense(Type::F32, &[113], Values::AnyBits)?;
            let source = t.dense(Type::F32, &[113], Values::AnyBits)?;
            let bits = Array::build(&[113], |i| match variant {
                "one-place" => 71,
                "a-permutation" => (i[0] * 37 % 113) as u64,
                _ if i[0] % 4 == 0 => [-1i64, 113, (1 << 32) + 3, i64::MIN][i[0] / 4 % 4] as u64,
                _ => t.r.below(113) as u64,
            });
            let id = t.operand(Type::I64, bits)?;
            let want = index::scatter(&x.bits, 0, &id.int(), &source.bits);
            t.same(x.tensor.scatter(0, &hidden(&id.tensor)?, &source.tensor), Type::F32, &want)
        }));
    }
    all
}

/// Sums of what meets at a place: in order, each once.
fn sums() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16, Type::I32, Type::I64] {
        for (variant, values) in [("exact", Values::Exact), ("", Values::Range(-3.0, 3.0))] {
            if variant.is_empty() && !ty.is_float() {
                continue;
            }
            for (class, dims, from, axis) in [
                ("prime", [1, 37], [1, 331], 1usize),
                ("unaligned", [19, 31], [53, 31], 0),
                ("unaligned", [19, 31], [19, 61], 1),
            ] {
                if class == "unaligned" && !matches!(ty, Type::F32 | Type::I32) {
                    continue;
                }
                let kind = [if axis == 0 { "columns" } else { "" }, variant];
                let variant = kind.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case("places", "scatter_add", ty, class, &variant, move |t| {
                    let x = t.dense(ty, &dims, values)?;
                    let source = t.dense(ty, &from, values)?;
                    let (tensor, int) = ids(t, Type::U32, &from, dims[axis], true)?;
                    let a = t.arithmetic_of(ty, values);
                    let got = x.tensor.scatter_add(axis as i64, &tensor, &source.tensor);
                    if ty.is_float() {
                        let want = index::scatter_add(&a, &x.real(), axis, &int, &source.real());
                        return t.judge(got, ty, want, &a);
                    }
                    let want = index::scatter_add_int(&x.int(), axis, &int, &source.int(), |x| ty.wrap(x));
                    t.judge(got, ty, want, &a)
                }));
            }
        }
    }
    for (variant, place) in [("one-place", 7u64), ("ends", 0)] {
        all.push(case("places", "scatter_add", Type::I32, "prime", variant, move |t| {
            // Sums that wrap.
            let x = t.dense(Type::I32, &[13], Values::AnyBits)?;
            let source = t.dense(Type::I32, &[1009], Values::AnyBits)?;
            let bits = Array::build(&[1009], |i| if variant == "ends" { (i[0] % 2 * 12) as u64 } else { place });
            let id = t.operand(Type::U32, bits)?;
            let a = t.arithmetic(Type::I32);
            let want = index::scatter_add_int(&x.int(), 0, &id.int(), &source.int(), |x| Type::I32.wrap(x));
            t.judge(x.tensor.scatter_add(0, &id.tensor, &source.tensor), Type::I32, want, &a)
        }));
    }
    for ty in [Type::F32, Type::I32] {
        all.push(case("places", "index_add", ty, "unaligned", "", move |t| {
            let x = t.dense(ty, &[19, 31], Values::Exact)?;
            let source = t.dense(ty, &[53, 31], Values::Exact)?;
            let (tensor, int) = ids(t, Type::U32, &[53], 19, true)?;
            let wide = Array::build(&[53, 31], |i| int.data[i[0]]);
            let a = t.arithmetic_of(ty, Values::Exact);
            let got = x.tensor.index_add(0, &tensor, &source.tensor);
            if ty.is_float() {
                return t.judge(got, ty, index::scatter_add(&a, &x.real(), 0, &wide, &source.real()), &a);
            }
            let want = index::scatter_add_int(&x.int(), 0, &wide, &source.int(), |x| ty.wrap(x));
            t.judge(got, ty, want, &a)
        }));
    }
    all
}

/// One-hot vectors and sorted boundaries.
fn tables() -> Vec<Case> {
    let mut all = Vec::new();
    for (of, to) in [(Type::U32, Type::F32), (Type::I64, Type::U8), (Type::I32, Type::I32)] {
        all.push(case("places", "one_hot", of, "unaligned", "outside", move |t| {
            let bits = Array::build(&[5, 31], |_| element(of, Values::Range(-2.0, 15.0), t.r));
            let id = t.operand(of, bits)?;
            let one = if to.is_float() { to.bits_of_float(1.0) } else { 1 };
            let want = index::one_hot(&id.int(), 13).map(|&x| if x != 0 { one } else { 0 });
            t.same(hidden(&id.tensor)?.one_hot(13, crate::subject::dtype(to)), to, &want)
        }));
    }
    for ty in [Type::F32, Type::I32] {
        for right in [false, true] {
            let variant = if right { "right" } else { "left" };
            all.push(case("places", "bucketize", ty, "prime", variant, move |t| {
                let x = t.special(ty, &[331])?;
                let mut bounds = t.dense(ty, &[17], Values::Exact)?.bits;
                let value = |b: &u64| if ty.is_float() { ty.float_of_bits(*b) } else { ty.int_of_bits(*b) as f64 };
                bounds.data.sort_by(|p, q| value(p).total_cmp(&value(q)));
                let bounds = t.operand(ty, bounds)?;
                let list: Vec<f64> = bounds.bits.data.iter().map(value).collect();
                let want = x.bits.map(|b| {
                    let x = value(b);
                    // NaN is greater than all numbers.
                    let before = |&&y: &&f64| x.is_nan() || if right { y <= x } else { y < x };
                    list.iter().filter(before).count() as i128
                });
                let a = t.arithmetic(ty);
                t.judge_of(x.tensor.bucketize(&bounds.tensor, right), Type::U32, want, &a, &[&x])
            }));
        }
    }
    all
}

/// Triangles and diagonals.
fn triangles() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::Bool] {
        for (op, upper) in [("tril", false), ("triu", true)] {
            for (variant, diagonal) in [("", 0i64), ("above", 3), ("below", -3), ("beyond", 1000)] {
                if ty != Type::F32 && !variant.is_empty() {
                    continue;
                }
                all.push(case("places", op, ty, "unaligned", variant, move |t| {
                    let x = t.any_kept(ty, &[3, 13, 17])?;
                    let want = match upper {
                        false => index::tril(&x.bits, diagonal, &0),
                        true => index::triu(&x.bits, diagonal, &0),
                    };
                    let got = if upper { x.tensor.triu(diagonal) } else { x.tensor.tril(diagonal) };
                    t.same(got, ty, &want)
                }));
            }
        }
    }
    for (variant, offset) in [("", 0i64), ("above", 2), ("below", -3), ("beyond", 40)] {
        all.push(case("places", "diagonal", Type::F32, "unaligned", variant, move |t| {
            let x = t.dense(Type::F32, &[3, 13, 17], Values::AnyBits)?;
            let (row, col) = ((-offset).max(0) as usize, offset.max(0) as usize);
            let n = 13usize.saturating_sub(row).min(17usize.saturating_sub(col));
            let want = Array::build(&[3, n], |i| *x.bits.at(&[i[0], i[1] + row, i[1] + col]));
            t.same(x.tensor.diagonal(offset), Type::F32, &want)
        }));
        all.push(case("places", "diag_embed", Type::F32, "unaligned", variant, move |t| {
            let x = t.any_kept(Type::F32, &[3, 13])?;
            let (row, col) = ((-offset).max(0) as usize, offset.max(0) as usize);
            let n = 13 + offset.unsigned_abs() as usize;
            let on = |i: &[usize]| i[1] >= row && i[2] >= col && i[1] - row == i[2] - col;
            let want = Array::build(&[3, n, n], |i| if on(i) { *x.bits.at(&[i[0], i[1] - row]) } else { 0 });
            t.same(x.tensor.diag_embed(offset), Type::F32, &want)
        }));
    }
    all
}
