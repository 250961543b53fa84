//! Running sums and products along an axis, and sorting: long lines, every axis, both ways, ties, NaN.

use super::support::{Layout, Trial, case, case_of};
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Data, Number, Type,
    elementwise::{IntBinary, int_binary},
    index, reduce,
    sample::Values,
};

static SHAPES: [(&str, &str, &[usize], usize); 7] = [
    ("one", "", &[1], 0),
    ("prime", "", &[1009], 0),
    ("unaligned", "rows", &[7, 147], 1),
    ("unaligned", "columns", &[147, 7], 0),
    ("large", "", &[2, 4099], 1),
    ("rank 8", "", &[2, 1, 3, 2, 1, 5, 2, 3], 5),
    ("empty", "", &[3, 0], 1),
];

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [sums(), extremes(), integers(), ways(), sorts(), tops()].into_iter().flatten().collect()
}

fn sums() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for (class, variant, dims, axis) in SHAPES {
            if ty != Type::F32 && class != "prime" {
                continue;
            }
            for exact in [true, false] {
                let values = if exact { Values::Exact } else { Values::Range(-2.0, 2.0) };
                let kind = if exact { "exact" } else { "" };
                let variant = [variant, kind].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case("scans", "cumsum", ty, class, &variant, move |t| {
                    let x = t.dense(ty, dims, values)?;
                    let a = t.arithmetic_of(ty, values);
                    t.judge(x.tensor.cumsum(axis as i64), ty, reduce::cumsum(&a, &x.real(), axis), &a)
                }));
            }
            if ty == Type::F32 && ["prime", "unaligned"].contains(&class) {
                all.push(case("scans", "cumprod", ty, class, variant, move |t| {
                    let x = t.dense(ty, dims, Values::Range(0.9, 1.11))?;
                    let a = t.arithmetic(ty);
                    t.judge(x.tensor.cumprod(axis as i64), ty, reduce::cumprod(&a, &x.real(), axis), &a)
                }));
            }
        }
    }
    // Every length around the edges of vectors and workgroups.
    all.push(case("scans", "cumsum", Type::F32, "unaligned", "every-length", |t| {
        for n in (1..=35).chain([63, 65, 127, 129, 255, 257, 511, 513]) {
            let x = t.dense(Type::F32, &[3, n], Values::Exact)?;
            let a = t.arithmetic(Type::F32).without_rounding();
            t.judge(x.tensor.cumsum(1), Type::F32, reduce::cumsum(&a, &x.real(), 1), &a)?;
        }
        Ok(())
    }));
    all
}

type Scan = fn(&Tensor, i64) -> Result<Tensor>;
type Step = fn(Number, Number) -> Number;

fn running(x: &Array<Number>, axis: usize, f: Step) -> Array<Number> {
    let lines = x.lines(axis).map(|line| {
        let mut so_far: Option<Number> = None;
        let step = |x: &Number| {
            let next = so_far.map_or(*x, |s| f(s, *x));
            so_far = Some(next);
            next
        };
        line.iter().map(step).collect::<Vec<_>>()
    });
    Array::from_lines(&lines, axis, x.shape[axis])
}

/// NaN from the first NaN on.
fn extremes() -> Vec<Case> {
    let rows: [(&str, Scan, Step); 2] =
        [("cummax", Tensor::cummax, Number::max), ("cummin", Tensor::cummin, Number::min)];
    let mut all = Vec::new();
    for (op, f, meaning) in rows {
        let ty = Type::F32;
        for (class, variant, dims, axis) in SHAPES.into_iter().filter(|s| ["prime", "unaligned"].contains(&s.0)) {
            for kind in ["", "nan"] {
                let variant = [variant, kind].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case("scans", op, ty, class, &variant, move |t| {
                    let mut bits = t.dense(ty, dims, Values::Range(-9.0, 9.0))?.bits;
                    if kind == "nan" {
                        let at = bits.data.len() / 2 + t.r.below(bits.data.len() / 4);
                        bits.data[at] = ty.bits_of_float(f64::NAN);
                    }
                    let x = t.operand(ty, bits)?;
                    let a = t.arithmetic(ty);
                    t.judge(f(&x.tensor, axis as i64), ty, running(&x.real(), axis, meaning), &a)
                }));
            }
        }
    }
    all
}

fn integers() -> Vec<Case> {
    let rows: [(&str, IntBinary, Scan); 4] = [
        ("cumsum", IntBinary::Add, Tensor::cumsum),
        ("cumprod", IntBinary::Mul, Tensor::cumprod),
        ("cummax", IntBinary::Max, Tensor::cummax),
        ("cummin", IntBinary::Min, Tensor::cummin),
    ];
    let mut all = Vec::new();
    for ty in [Type::I32, Type::I64, Type::U8] {
        for (op, meaning, f) in rows {
            if ty != Type::I32 && op != "cumsum" {
                continue;
            }
            for (class, variant, dims, axis) in SHAPES.into_iter().filter(|s| s.0 == "prime") {
                all.push(case("scans", op, ty, class, variant, move |t| {
                    let x = t.dense(ty, dims, Values::AnyBits)?;
                    let want = reduce::scan_int(ty, &x.int(), axis, |p, q| int_binary(meaning, ty, p, q));
                    let a = t.arithmetic(ty);
                    t.judge(f(&x.tensor, axis as i64), ty, want, &a)
                }));
            }
        }
    }
    all
}

/// From the other end, without the element itself, in other layouts.
fn ways() -> Vec<Case> {
    let mut all = Vec::new();
    for (variant, exclusive, reverse) in [("reverse", false, true), ("exclusive", true, false), ("both", true, true)] {
        all.push(case("scans", "cumsum", Type::F32, "unaligned", variant, move |t| {
            let x = t.dense(Type::F32, &[7, 147], Values::Exact)?;
            let a = t.arithmetic(Type::F32).without_rounding();
            let real = if reverse { x.real().flip(1) } else { x.real() };
            let all = reduce::cumsum(&a, &real, 1);
            let shifted = |i: &[usize]| if i[1] == 0 { Number::ZERO } else { *all.at(&[i[0], i[1] - 1]) };
            let want = if exclusive { Array::build(&[7, 147], shifted) } else { all.clone() };
            let want = if reverse { want.flip(1) } else { want };
            t.judge(x.tensor.cumsum_with(1, exclusive, reverse), Type::F32, want, &a)
        }));
    }
    for layout in [Layout::Permuted, Layout::Sliced] {
        all.push(case("layouts", "cumsum", Type::F32, "unaligned", layout.name(), move |t| {
            let x = t.laid(Type::F32, &[13, 131], Values::Exact, layout)?;
            let a = t.arithmetic(Type::F32).without_rounding();
            t.judge(x.tensor.cumsum(1), Type::F32, reduce::cumsum(&a, &x.real(), 1), &a)
        }));
    }
    all
}

/// The places that sort an axis.
fn order(x: &Data, ty: Type, bits: &Array<u64>, axis: usize, descending: bool) -> Array<i128> {
    match x {
        Data::Real(_) => {
            index::argsort(bits, axis, descending, |p, q| index::order(ty.float_of_bits(*p), ty.float_of_bits(*q)))
        }
        Data::Int(x) => index::argsort(x, axis, descending, i128::cmp),
    }
}

/// Level 2: sorting and the largest.
fn sorts() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16, Type::I32, Type::I64] {
        for (class, variant, dims, axis) in SHAPES {
            let few = ["prime", "unaligned"].contains(&class) && variant != "columns";
            if ty != Type::F32 && !few {
                continue;
            }
            for (kind, values, descending) in [
                ("", Values::Range(-99.0, 99.0), false),
                ("descending", Values::Range(-99.0, 99.0), true),
                ("ties", Values::Exact, false),
                ("descending-ties", Values::Exact, true),
                ("special-values", Values::Special, false),
            ] {
                if class == "empty" && !kind.is_empty() {
                    continue;
                }
                let variant = [variant, kind].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                all.push(case_of("inference", "sort", "sort", ty, class, &variant, move |t| {
                    let x = if values == Values::Special { t.special(ty, dims)? } else { t.dense(ty, dims, values)? };
                    let (sorted, places) = x.tensor.sort(axis as i64, descending)?;
                    let want = order(&x.data(), ty, &x.bits, axis, descending);
                    let a = t.arithmetic(ty);
                    t.judge(Ok(places), Type::U32, want.clone(), &a)?;
                    t.same(Ok(sorted), ty, &index::gather(&x.bits, axis, &want, &0))
                }));
            }
        }
    }
    all.push(case_of("inference", "sort", "argsort", Type::F32, "unaligned", "every-length", |t| {
        for n in (1..=18).chain([31, 32, 33, 63, 65, 127, 129, 255, 257, 513]) {
            let x = t.dense(Type::F32, &[2, n], Values::Exact)?;
            let want = order(&x.data(), Type::F32, &x.bits, 1, false);
            let a = t.arithmetic(Type::F32);
            t.judge(x.tensor.argsort(1, false), Type::U32, want, &a)?;
        }
        Ok(())
    }));
    all
}

fn tops() -> Vec<Case> {
    let mut all = Vec::new();
    let run = |t: &mut Trial<'_>, ty: Type, dims: &[usize], k: usize, axis: usize, largest: bool| {
        let x = t.special(ty, dims)?;
        let (values, places) = x.tensor.topk(k, axis as i64, largest)?;
        let want = order(&x.data(), ty, &x.bits, axis, largest).slice(axis, 0, 1, k);
        let a = t.arithmetic(ty);
        t.judge(Ok(places), Type::U32, want.clone(), &a)?;
        t.same(Ok(values), ty, &index::gather(&x.bits, axis, &want, &0))
    };
    for ty in [Type::F32, Type::F16, Type::I32] {
        for (variant, k, largest) in
            [("largest", 5, true), ("smallest", 5, false), ("one", 1, true), ("all", 147, true)]
        {
            all.push(case_of("inference", "sort", "topk", ty, "unaligned", variant, move |t| {
                run(t, ty, &[7, 147], k, 1, largest)
            }));
        }
    }
    all.push(case_of("inference", "sort", "topk", Type::F32, "unaligned", "columns", move |t| {
        run(t, Type::F32, &[147, 7], 3, 0, true)
    }));
    all.push(case_of("inference", "sort", "topk", Type::F32, "refused", "beyond-the-axis", |t| {
        let x = t.dense(Type::F32, &[7, 13], Values::Exact)?;
        t.refused(x.tensor.topk(14, 1, true).map(|x| x.0), "the largest 14 of 13")
    }));
    all
}
