//! Reductions: over one axis, several, all; rows and columns; tails that no vector takes; NaN and infinity; integers that wrap; nothing.
//!
//! Sums are also run on numbers whose partial sums are exact: a dropped element cannot hide in the bound.

use super::support::{INTEGERS, Layout, Operand, Outcome, Trial, broken, case};
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{Arithmetic, Array, Data, Number, Type, reduce, sample::Values};

/// What is reduced: a shape and axes of it.
struct Shape {
    class: &'static str,
    variant: &'static str,
    dims: &'static [usize],
    axes: &'static [usize],
}

const fn shape(class: &'static str, variant: &'static str, dims: &'static [usize], axes: &'static [usize]) -> Shape {
    Shape { class, variant, dims, axes }
}

static SHAPES: [Shape; 11] = [
    shape("one", "", &[1], &[0]),
    shape("prime", "", &[1009], &[0]),
    shape("unaligned", "rows", &[7, 147], &[1]),
    shape("unaligned", "columns", &[147, 7], &[0]),
    shape("unaligned", "all", &[7, 147], &[0, 1]),
    shape("unaligned", "middle", &[3, 37, 5], &[1]),
    shape("aligned", "rows", &[16, 256], &[1]),
    shape("aligned", "columns", &[256, 16], &[0]),
    shape("rank 8", "", &[2, 1, 3, 2, 1, 5, 2, 3], &[0, 3, 5, 7]),
    shape("large", "rows", &[3, 20_011], &[1]),
    shape("large", "columns", &[4099, 3], &[0]),
];

/// Which shapes a float reduction of a type is asked: the rest would be other kernels for the same thing.
fn asked(op: &str, ty: Type, s: &Shape) -> bool {
    let (rows, columns, line) = (
        s.class == "unaligned" && s.variant == "rows",
        s.class == "unaligned" && s.variant == "columns",
        s.class == "prime",
    );
    match (ty, op) {
        (Type::F32, "sum" | "max") => true,
        (Type::F32, "mean" | "min") => rows || columns || line,
        (Type::F32, "var" | "prod" | "logsumexp") | (Type::F16, "sum" | "max") | (Type::BF16, "sum") => rows || columns,
        (Type::F32, _) => rows,
        (Type::F16, "mean" | "var" | "logsumexp") | (Type::BF16, "max") | (Type::F64, "sum") => rows,
        _ => false,
    }
}

type Reduction = fn(&Tensor, &[usize]) -> Result<Tensor>;
type Meaning = fn(&Arithmetic, &Array<Number>, &[usize]) -> Array<Number>;
type IntMeaning = fn(Type, &Array<i128>, &[usize]) -> Array<i128>;

const FLOAT: [(&str, Reduction, Meaning); 11] = [
    ("sum", |x, axes| x.sum(axes), reduce::sum),
    ("mean", |x, axes| x.mean(axes), reduce::mean),
    ("prod", |x, axes| x.prod(axes), reduce::prod),
    ("max", |x, axes| x.max(axes), |_, x, axes| reduce::max(x, axes)),
    ("min", |x, axes| x.min(axes), |_, x, axes| reduce::min(x, axes)),
    ("var", |x, axes| x.var(axes), |a, x, axes| reduce::var(a, x, axes, 1.0)),
    ("std", |x, axes| x.std(axes), |a, x, axes| reduce::std(a, x, axes, 1.0)),
    ("logsumexp", |x, axes| x.logsumexp(axes), reduce::logsumexp),
    ("norm-1", |x, axes| x.norm(1.0, axes), |a, x, axes| reduce::sum(a, &x.map(|x| x.abs()), axes)),
    ("norm-2", |x, axes| x.norm(2.0, axes), norm2),
    ("norm-inf", |x, axes| x.norm(f64::INFINITY, axes), |_, x, axes| reduce::max(&x.map(|x| x.abs()), axes)),
];

/// √Σx². A device may scale by the largest first, which is another rounding of each term and two of the result.
fn norm2(a: &Arithmetic, x: &Array<Number>, axes: &[usize]) -> Array<Number> {
    x.groups(axes).map(|g| {
        let scaled: Vec<Number> = g.iter().map(|&x| a.within_ulps(x, 0.5)).collect();
        let root = a.sqrt(a.dot(scaled.iter().map(|&x| (x, x))));
        a.within_ulps(root, 2.0)
    })
}

/// Factors near 1, so that products stay numbers; else ordinary numbers.
fn ordinary(op: &str) -> Values {
    if op == "prod" { Values::Range(0.8, 1.25) } else { Values::Range(-4.0, 4.0) }
}

fn judged(t: &mut Trial<'_>, row: (Reduction, Meaning), x: &Operand, axes: &[usize], a: &Arithmetic) -> Outcome {
    let want = (row.1)(a, &x.real(), axes).without(axes);
    t.judge((row.0)(&x.tensor, axes), x.ty, want, a)
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    let parts = [floats(), exact(), forms(), specials(), integers(), places(), truth(), nothing(), layouts()];
    parts.into_iter().flatten().collect()
}

fn floats() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, f, meaning) in FLOAT {
        for ty in [Type::F32, Type::F16, Type::BF16, Type::F64] {
            for s in SHAPES.iter().filter(|s| asked(op, ty, s)) {
                all.push(case("reduce", op, ty, s.class, s.variant, move |t| {
                    let x = t.dense(ty, s.dims, ordinary(op))?;
                    let a = t.arithmetic(ty);
                    judged(t, (f, meaning), &x, s.axes, &a)
                }));
            }
        }
    }
    // A mean far from 0 beside a small spread: the difference of two squares would be refused.
    for (op, f, meaning) in FLOAT.into_iter().filter(|(op, ..)| ["var", "std"].contains(op)) {
        all.push(case("reduce", op, Type::F32, "unaligned", "far-from-0", move |t| {
            let x = t.dense(Type::F32, &[7, 147], Values::Range(99.0, 101.0))?;
            let a = t.arithmetic(Type::F32);
            judged(t, (f, meaning), &x, &[1], &a)
        }));
    }
    all
}

/// Sums whose every partial sum is a number of the type: nothing may be lost.
fn exact() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16, Type::BF16] {
        for s in SHAPES.iter().filter(|s| s.class != "one" && asked("sum", ty, s)) {
            let variant = if s.variant.is_empty() { "exact".to_string() } else { format!("exact-{}", s.variant) };
            all.push(case("reduce", "sum", ty, s.class, &variant, move |t| {
                let x = t.dense(ty, s.dims, Values::Exact)?;
                let a = t.arithmetic(ty).without_rounding();
                let want = reduce::sum(&a, &x.real(), s.axes).without(s.axes);
                t.judge(x.tensor.sum(s.axes), ty, want, &a)
            }));
        }
    }
    // Only the last element is not 0: a tail that is dropped shows at once, for every remainder of a vector and a workgroup.
    for (op, over) in [("rows", 1usize), ("columns", 0)] {
        all.push(case("reduce", "sum", Type::F32, "unaligned", &format!("last-element-{op}"), move |t| {
            let lengths = (1..=35).chain([63, 65, 127, 129, 255, 257, 511, 513, 1023, 1025]);
            for n in lengths {
                let dims = if over == 1 { [3, n] } else { [n, 3] };
                let x = Array::build(&dims, |i| if i[over] + 1 == n { 1.0 + i[1 - over] as f64 } else { 0.0 });
                let x = t.floats(Type::F32, &dims, x.data)?;
                let a = t.arithmetic(Type::F32).without_rounding();
                let want = reduce::sum(&a, &x.real(), &[over]).without(&[over]);
                t.judge(x.tensor.sum(over), Type::F32, want, &a)?;
            }
            Ok(())
        }));
    }
    all
}

/// The same by other names: axes kept, all axes, divisors of the variance.
fn forms() -> Vec<Case> {
    type Form = fn(&mut Trial<'_>, &Operand) -> Outcome;
    let rows: [(&str, &str, Form); 6] = [
        ("sum", "keepdim", |t, x| {
            let a = t.arithmetic(Type::F32);
            t.judge(x.tensor.sum_keepdim(1), Type::F32, reduce::sum(&a, &x.real(), &[1]), &a)
        }),
        ("sum", "by-name-of-all", |t, x| {
            let a = t.arithmetic(Type::F32);
            t.judge(x.tensor.sum_all(), Type::F32, reduce::sum(&a, &x.real(), &[0, 1]).without(&[0, 1]), &a)
        }),
        ("max", "keepdim", |t, x| {
            let a = t.arithmetic(Type::F32);
            t.judge(x.tensor.max_keepdim(0), Type::F32, reduce::max(&x.real(), &[0]), &a)
        }),
        ("mean", "negative-axis", |t, x| {
            let a = t.arithmetic(Type::F32);
            t.judge(x.tensor.mean(-1), Type::F32, reduce::mean(&a, &x.real(), &[1]).without(&[1]), &a)
        }),
        ("var", "correction-0", |t, x| {
            let a = t.arithmetic(Type::F32);
            let want = reduce::var(&a, &x.real(), &[1], 0.0).without(&[1]);
            t.judge(x.tensor.var_correction(1, 0.0), Type::F32, want, &a)
        }),
        ("norm-0", "count", |t, x| {
            let a = t.arithmetic(Type::F32).without_rounding();
            let ones = x.real().map(|x| Number::from((x.value.hi != 0.0) as u8 as f64));
            let want = reduce::sum(&a, &ones, &[1]).without(&[1]);
            t.judge(x.tensor.norm(0.0, 1), Type::F32, want, &a)
        }),
    ];
    let mut all = Vec::new();
    for (op, variant, form) in rows {
        all.push(case("reduce", op, Type::F32, "unaligned", variant, move |t| {
            let x = t.dense(Type::F32, &[7, 147], Values::Exact)?;
            form(t, &x)
        }));
    }
    all
}

/// NaN and infinity among the numbers, at the first, at the last and at any place.
fn specials() -> Vec<Case> {
    let mut all = Vec::new();
    let kinds: [(&str, &[f64]); 4] = [
        ("nan", &[f64::NAN]),
        ("infinity", &[f64::INFINITY]),
        ("infinities", &[f64::INFINITY, f64::NEG_INFINITY]),
        ("nan-and-infinity", &[f64::NEG_INFINITY, f64::NAN]),
    ];
    for (op, f, meaning) in FLOAT.into_iter().filter(|(op, ..)| ["sum", "max", "min", "logsumexp"].contains(op)) {
        for ty in [Type::F32, Type::F16] {
            for (kind, values) in kinds {
                for (class, dims, axis) in [("unaligned", [17, 147], 1usize), ("columns", [147, 17], 0)] {
                    if class == "columns" && (ty != Type::F32 || op == "logsumexp") {
                        continue;
                    }
                    let variant = if class == "columns" { format!("{kind}-columns") } else { kind.to_string() };
                    all.push(case("reduce", op, ty, "unaligned", &variant, move |t| {
                        let mut x = t.dense(ty, &dims, Values::Range(-2.0, 2.0))?.bits;
                        // One row without, then rows with them at the first place, the last, and any.
                        for row in 1..17 {
                            for &v in values {
                                let at = match row {
                                    1 => 0,
                                    2 => 146,
                                    _ => t.r.below(147),
                                };
                                let place = if axis == 1 { row * 147 + at } else { at * 17 + row };
                                x.data[place] = ty.bits_of_float(v);
                            }
                        }
                        let x = t.operand(ty, x)?;
                        let a = t.arithmetic(ty);
                        judged(t, (f, meaning), &x, &[axis], &a)
                    }));
                }
            }
        }
    }
    // The largest of nothing but −∞, of negative numbers, of subnormals.
    for (op, f, meaning) in FLOAT.into_iter().filter(|(op, ..)| ["max", "min"].contains(op)) {
        for (variant, low, high) in [("negative", -9.0, -1.0), ("positive", 1.0, 9.0), ("lowest", -3e38, -2e38)] {
            all.push(case("reduce", op, Type::F32, "unaligned", variant, move |t| {
                let x = t.dense(Type::F32, &[7, 147], Values::Range(low, high))?;
                let a = t.arithmetic(Type::F32);
                judged(t, (f, meaning), &x, &[1], &a)
            }));
        }
        all.push(case("reduce", op, Type::F32, "unaligned", "infinite-alone", move |t| {
            let end = if op == "max" { f64::NEG_INFINITY } else { f64::INFINITY };
            let x = t.floats(Type::F32, &[3, 147], vec![end; 441])?;
            let a = t.arithmetic(Type::F32);
            judged(t, (f, meaning), &x, &[1], &a)
        }));
    }
    all
}

/// The type of a sum or a product of integers: the widest of their kind.
fn sum_type(ty: Type) -> Type {
    if ty == Type::U64 { Type::U64 } else { Type::I64 }
}

fn integers() -> Vec<Case> {
    let rows: [(&str, bool, Reduction, IntMeaning); 4] = [
        ("sum", true, |x, axes| x.sum(axes), reduce::sum_int),
        ("prod", true, |x, axes| x.prod(axes), reduce::prod_int),
        ("max", false, |x, axes| x.max(axes), |_, x, axes| reduce::max_int(x, axes)),
        ("min", false, |x, axes| x.min(axes), |_, x, axes| reduce::min_int(x, axes)),
    ];
    let mut all = Vec::new();
    for ty in INTEGERS.into_iter().chain([Type::U64, Type::I8]) {
        for (op, widens, f, meaning) in rows {
            for s in SHAPES.iter().filter(|s| s.class == "unaligned") {
                let asked = match (ty, s.variant) {
                    (Type::I32, "rows") | (Type::I64, "rows") => true,
                    (Type::I32, "columns") => ["sum", "max"].contains(&op),
                    (Type::U8 | Type::U32, "rows") => ["sum", "max"].contains(&op),
                    (Type::U64 | Type::I8, "rows") => op == "sum",
                    _ => false,
                };
                if !asked {
                    continue;
                }
                for (suffix, values) in [("", Values::AnyBits), ("ends", Values::Special)] {
                    let variant =
                        [s.variant, suffix].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("-");
                    all.push(case("reduce", op, ty, s.class, &variant, move |t| {
                        let x = t.dense(ty, s.dims, values)?;
                        let to = if widens { sum_type(ty) } else { ty };
                        let want = meaning(to, &x.int(), s.axes).without(s.axes);
                        let a = t.arithmetic(ty);
                        t.judge(f(&x.tensor, s.axes), to, want, &a)
                    }));
                }
            }
        }
    }
    all
}

/// Positions of extremes: the first of equals, the first NaN before all.
fn places() -> Vec<Case> {
    type Position = fn(&Tensor, i64) -> Result<Tensor>;
    let rows: [(&str, Position); 2] = [("argmax", Tensor::argmax), ("argmin", Tensor::argmin)];
    let mut all = Vec::new();
    for (op, f) in rows {
        for ty in [Type::F32, Type::I32, Type::F16, Type::I64] {
            for (class, dims, axis) in
                [("prime", &[1009][..], 0usize), ("unaligned", &[7, 147], 1), ("rank 8", &[2, 1, 3, 2, 1, 5, 2, 3], 5)]
            {
                let single = ty == Type::F32 && (op == "argmax" || class == "unaligned");
                let other = class == "unaligned" && (ty == Type::I64) == (op == "argmin") && ty != Type::F32;
                if !single && !other {
                    continue;
                }
                for (variant, values) in [("", Values::AnyBits), ("ties", Values::Exact), ("ends", Values::Special)] {
                    all.push(case("reduce", op, ty, class, variant, move |t| {
                        let x = match values {
                            // Subnormal numbers that a device may take for 0 are ties there.
                            Values::Exact => t.dense(ty, dims, values)?,
                            Values::Special => t.special(ty, dims)?,
                            _ => t.any_kept(ty, dims)?,
                        };
                        let want = match (x.data(), op) {
                            (Data::Real(x), "argmax") => reduce::argmax(&x, &[axis]),
                            (Data::Real(x), _) => reduce::argmin(&x, &[axis]),
                            (Data::Int(x), "argmax") => reduce::argmax_int(&x, &[axis]),
                            (Data::Int(x), _) => reduce::argmin_int(&x, &[axis]),
                        };
                        let a = t.arithmetic(ty);
                        t.judge(f(&x.tensor, axis as i64), Type::U32, want.without(&[axis]), &a)
                    }));
                }
            }
        }
    }
    all
}

/// Any and all, of rows with one exception at each place.
fn truth() -> Vec<Case> {
    let rows: [(&str, u64, Reduction); 2] = [("any", 0, |x, axes| x.any(axes)), ("all", 1, |x, axes| x.all(axes))];
    let mut all = Vec::new();
    for (op, usual, f) in rows {
        for (class, variant, dims, axis) in [
            ("unaligned", "rows", [149, 147], 1usize),
            ("unaligned", "columns", [147, 149], 0),
            ("one", "", [1, 1], 1),
            ("empty", "", [3, 0], 1),
        ] {
            all.push(case("reduce", op, Type::Bool, class, variant, move |t| {
                let x = Array::build(&dims, |i| usual ^ (i[axis] == i[1 - axis]) as u64);
                let x = t.operand(Type::Bool, x)?;
                let int = x.int();
                let want = if op == "any" { reduce::max_int(&int, &[axis]) } else { reduce::min_int(&int, &[axis]) };
                let a = t.arithmetic(Type::F32);
                t.judge(f(&x.tensor, &[axis]), Type::Bool, want.without(&[axis]), &a)
            }));
        }
    }
    all
}

/// Reductions of nothing: their neutral element, or an error where there is none.
fn nothing() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, f, meaning) in FLOAT {
        all.push(case("reduce", op, Type::F32, "empty", "", move |t| {
            let x = t.dense(Type::F32, &[3, 0], Values::Exact)?;
            let extreme = ["max", "min", "norm-inf"].contains(&op);
            if extreme {
                return t.refused(f(&x.tensor, &[1]), &format!("{op} of nothing"));
            }
            let a = t.arithmetic(Type::F32);
            judged(t, (f, meaning), &x, &[1], &a)
        }));
    }
    for op in ["argmax", "argmin"] {
        all.push(case("reduce", op, Type::F32, "empty", "", move |t| {
            let x = t.dense(Type::F32, &[3, 0], Values::Exact)?;
            let got = if op == "argmax" { x.tensor.argmax(1) } else { x.tensor.argmin(1) };
            t.refused(got, &format!("{op} of nothing"))
        }));
    }
    // Nothing is left over: no elements of the result, and no error.
    all.push(case("reduce", "sum", Type::F32, "empty", "no-rows", |t| {
        let x = t.dense(Type::F32, &[0, 5], Values::Exact)?;
        match x.tensor.sum(1)?.to_bytes()?.len() {
            0 => Ok(()),
            n => Err(broken(format!("the sum over axis 1 of [0, 5] has {n} bytes, expected none"))),
        }
    }));
    all
}

/// Operands that lie otherwise.
fn layouts() -> Vec<Case> {
    let mut all = Vec::new();
    for layout in Layout::ALL.into_iter().filter(|&l| l != Layout::Dense) {
        for (over, axis) in [("rows", 1usize), ("columns", 0)] {
            if over == "columns" && !matches!(layout, Layout::Permuted | Layout::Sliced) {
                continue;
            }
            let variant = format!("{}-{over}", layout.name());
            all.push(case("layouts", "sum", Type::F32, "unaligned", &variant, move |t| {
                let x = t.laid(Type::F32, &[37, 131], Values::Exact, layout)?;
                let a = t.arithmetic(Type::F32).without_rounding();
                let want = reduce::sum(&a, &x.real(), &[axis]).without(&[axis]);
                t.judge(x.tensor.sum(axis), Type::F32, want, &a)
            }));
        }
    }
    all
}
