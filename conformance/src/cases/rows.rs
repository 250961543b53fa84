//! Softmax and norms: lines of every length, along every axis, in every layout; means far from 0; rows that are masked; no spread.

use super::support::{FLOATS, Layout, Outcome, Trial, case};
use crate::Case;
use anychip_oracle::{Number, Type, reduce, sample::Values};

/// Shapes and the axis of the lines.
static SHAPES: [(&str, &str, &[usize], usize); 9] = [
    ("one", "", &[1, 1], 1),
    ("prime", "", &[1, 1009], 1),
    ("unaligned", "", &[7, 147], 1),
    ("unaligned", "short", &[31, 5], 1),
    ("aligned", "", &[16, 256], 1),
    ("unaligned", "columns", &[147, 7], 0),
    ("rank 8", "", &[2, 1, 3, 2, 1, 5, 2, 31], 7),
    ("large", "", &[2, 4099], 1),
    ("empty", "", &[0, 5], 1),
];

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [softmax(), softmax_ends(), norms(), channels(), layouts()].into_iter().flatten().collect()
}

fn soft(t: &mut Trial<'_>, op: &str, ty: Type, shape: &[usize], axis: usize, values: Values) -> Outcome {
    let x = t.dense(ty, shape, values)?;
    let a = t.arithmetic(ty);
    match op {
        "softmax" => t.judge(x.tensor.softmax(axis as i64), ty, reduce::softmax(&a, &x.real(), axis), &a),
        _ => t.judge(x.tensor.log_softmax(axis as i64), ty, reduce::log_softmax(&a, &x.real(), axis), &a),
    }
}

fn softmax() -> Vec<Case> {
    let mut all = Vec::new();
    for op in ["softmax", "log_softmax"] {
        for ty in FLOATS {
            for (class, variant, shape, axis) in SHAPES {
                let rows = class == "unaligned" && variant.is_empty();
                let full = ty == Type::F32 && (op == "softmax" || !["large", "one", "aligned"].contains(&class));
                let half = ty == Type::F16 && op == "softmax" && class == "prime";
                if !(full || rows || half) {
                    continue;
                }
                if ty == Type::BF16 && op == "log_softmax" {
                    continue;
                }
                all.push(case("rows", op, ty, class, variant, move |t| {
                    soft(t, op, ty, shape, axis, Values::Range(-20.0, 20.0))
                }));
            }
            if ty != Type::BF16 {
                // Far apart: exponentials underflow, and nothing may overflow.
                all.push(case("rows", op, ty, "unaligned", "far-apart", move |t| {
                    soft(t, op, ty, &[7, 147], 1, Values::Range(-3000.0, 3000.0))
                }));
                all.push(case("rows", op, ty, "unaligned", "equal", move |t| {
                    soft(t, op, ty, &[7, 147], 1, Values::Range(300.0, 300.0))
                }));
            }
        }
        all.push(case("rows", op, Type::F32, "unaligned", "every-length", move |t| {
            (1..=35)
                .chain([63, 65, 127, 129, 255, 257])
                .try_for_each(|n| soft(t, op, Type::F32, &[3, n], 1, Values::Range(-5.0, 5.0)))
        }));
        all.push(case("rows", op, Type::F32, "rank 8", "middle-axis", move |t| {
            soft(t, op, Type::F32, &[2, 1, 3, 11, 1, 5, 2, 3], 3, Values::Range(-5.0, 5.0))
        }));
    }
    all
}

/// −∞ as a mask has it, a whole masked row, +∞, NaN.
fn softmax_ends() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for (variant, value) in [("masked", f64::NEG_INFINITY), ("infinity", f64::INFINITY), ("nan", f64::NAN)] {
            all.push(case("rows", "softmax", ty, "unaligned", variant, move |t| {
                let mut x = t.dense(ty, &[17, 147], Values::Range(-4.0, 4.0))?.bits;
                for row in 1..16 {
                    for _ in 0..row {
                        let at = t.r.below(147);
                        x.data[row * 147 + at] = ty.bits_of_float(value);
                    }
                }
                // The last row holds nothing else.
                x.data[16 * 147..].fill(ty.bits_of_float(value));
                let x = t.operand(ty, x)?;
                let a = t.arithmetic(ty);
                t.judge(x.tensor.softmax(1), ty, reduce::softmax(&a, &x.real(), 1), &a)
            }));
        }
    }
    all
}

const EPS: f32 = 1e-5;

/// Which of weight and bias a norm is given.
fn norm(t: &mut Trial<'_>, op: &str, ty: Type, shape: &[usize], values: Values, eps: f32, scaled: bool) -> Outcome {
    let last = &shape[shape.len() - 1..];
    let x = t.dense(ty, shape, values)?;
    let (w, b) = (t.dense(ty, last, Values::Range(-2.0, 2.0))?, t.dense(ty, last, Values::Range(-2.0, 2.0))?);
    let a = t.arithmetic(ty);
    let (real, wr, br) = (x.real(), w.real(), b.real());
    let eps64 = f64::from(eps);
    let (got, want) = match (op, scaled) {
        ("layer_norm", true) => {
            let want = reduce::layer_norm(&a, &real, Some(&wr), Some(&br), eps64);
            (x.tensor.layer_norm(&w.tensor, &b.tensor, eps), want)
        }
        ("layer_norm", false) => {
            (x.tensor.layer_norm(None, None, eps), reduce::layer_norm(&a, &real, None, None, eps64))
        }
        (_, true) => (x.tensor.rms_norm(&w.tensor, eps), reduce::rms_norm(&a, &real, Some(&wr), eps64)),
        (_, false) => (x.tensor.rms_norm(None, eps), reduce::rms_norm(&a, &real, None, eps64)),
    };
    t.judge(got, ty, want, &a)
}

fn norms() -> Vec<Case> {
    let mut all = Vec::new();
    for op in ["layer_norm", "rms_norm"] {
        for ty in FLOATS {
            for (class, variant, shape, _) in SHAPES.iter().copied().filter(|s| s.1 != "columns") {
                let rows = class == "unaligned" && variant.is_empty();
                let full = ty == Type::F32 && (op == "layer_norm" || !["large", "one", "aligned"].contains(&class));
                let half = ty == Type::F16 && op == "layer_norm" && class == "prime";
                if !(full || rows || half) {
                    continue;
                }
                all.push(case("rows", op, ty, class, variant, move |t| {
                    norm(t, op, ty, shape, Values::Range(-3.0, 3.0), EPS, true)
                }));
            }
            if ty == Type::F32 {
                all.push(case("rows", op, ty, "unaligned", "without-weight", move |t| {
                    norm(t, op, ty, &[7, 147], Values::Range(-3.0, 3.0), EPS, false)
                }));
            }
            // The difference of two squares would be refused.
            all.push(case("rows", op, ty, "unaligned", "far-from-0", move |t| {
                norm(t, op, ty, &[7, 147], Values::Range(29.0, 31.0), EPS, true)
            }));
        }
        all.push(case("rows", op, Type::F32, "unaligned", "every-length", move |t| {
            (1..=35)
                .chain([63, 65, 127, 129, 255, 257])
                .try_for_each(|n| norm(t, op, Type::F32, &[3, n], Values::Range(-3.0, 3.0), EPS, true))
        }));
        // The constant under the root decides.
        all.push(case("rows", op, Type::F32, "unaligned", "small-numbers", move |t| {
            norm(t, op, Type::F32, &[7, 147], Values::Range(-1e-3, 1e-3), EPS, true)
        }));
        all.push(case("rows", op, Type::F32, "unaligned", "zeros", move |t| {
            norm(t, op, Type::F32, &[3, 147], Values::Range(0.0, 0.0), EPS, true)
        }));
    }
    all
}

/// Norms over channels.
fn channels() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, groups) in [("group_norm", 3), ("group_norm", 1), ("instance_norm", 6), ("batch_norm", 0)] {
        for ty in [Type::F32, Type::F16] {
            for (class, shape) in [("unaligned", &[2, 6, 7, 5][..]), ("prime", &[1, 6, 37]), ("aligned", &[2, 6, 8, 8])]
            {
                if class != "unaligned" && (ty != Type::F32 || op != "group_norm" || groups == 1) {
                    continue;
                }
                let variant = if op == "group_norm" { format!("{groups}-groups") } else { String::new() };
                all.push(case("rows", op, ty, class, &variant, move |t| {
                    let x = t.dense(ty, shape, Values::Range(-3.0, 5.0))?;
                    let mut each = |low: f64| t.dense(ty, &[6], Values::Range(low, 2.0));
                    let (w, b, mean, var) = (each(-2.0)?, each(-2.0)?, each(-1.0)?, each(0.5)?);
                    let a = t.arithmetic(ty);
                    let (wr, br, eps) = (w.real(), b.real(), f64::from(EPS));
                    let (got, want) = match op {
                        "group_norm" => (
                            x.tensor.group_norm(groups, &w.tensor, &b.tensor, EPS),
                            reduce::group_norm(&a, &x.real(), groups, Some(&wr), Some(&br), eps),
                        ),
                        "instance_norm" => (
                            x.tensor.instance_norm(&w.tensor, &b.tensor, EPS),
                            reduce::group_norm(&a, &x.real(), 6, Some(&wr), Some(&br), eps),
                        ),
                        _ => (
                            x.tensor.batch_norm(&mean.tensor, &var.tensor, &w.tensor, &b.tensor, EPS),
                            reduce::batch_norm(&a, &x.real(), &mean.real(), &var.real(), Some(&wr), Some(&br), eps),
                        ),
                    };
                    t.judge(got, ty, want, &a)
                }));
            }
        }
    }
    all.push(case("rows", "group_norm", Type::F32, "unaligned", "groups-that-do-not-divide", |t| {
        let x = t.dense(Type::F32, &[2, 6, 7], Values::Range(-3.0, 3.0))?;
        t.refused(x.tensor.group_norm(4, None, None, EPS), "6 channels in 4 groups")
    }));
    all
}

fn layouts() -> Vec<Case> {
    let mut all = Vec::new();
    for layout in Layout::ALL.into_iter().filter(|&l| l != Layout::Dense) {
        all.push(case("layouts", "softmax", Type::F32, "unaligned", layout.name(), move |t| {
            let x = t.laid(Type::F32, &[13, 131], Values::Range(-9.0, 9.0), layout)?;
            let a = t.arithmetic(Type::F32);
            t.judge(x.tensor.softmax(1), Type::F32, reduce::softmax(&a, &x.real(), 1), &a)
        }));
        if !matches!(layout, Layout::Permuted | Layout::Sliced) {
            continue;
        }
        all.push(case("layouts", "layer_norm", Type::F32, "unaligned", layout.name(), move |t| {
            let x = t.laid(Type::F32, &[13, 131], Values::Range(-9.0, 9.0), layout)?;
            let a = t.arithmetic(Type::F32);
            let want = reduce::layer_norm(&a, &x.real(), None, None, f64::from(EPS));
            t.judge(x.tensor.layer_norm(None, None, EPS), Type::F32, want, &a)
        }));
    }
    // What stands behind a norm is one expression with it.
    all.push(case("rows", "layer_norm", Type::F32, "unaligned", "with-what-follows", |t| {
        let x = t.dense(Type::F32, &[7, 147], Values::Range(-3.0, 3.0))?;
        let y = t.dense(Type::F32, &[7, 147], Values::Range(-3.0, 3.0))?;
        let a = t.arithmetic(Type::F32);
        let norm = reduce::layer_norm(&a, &x.real(), None, None, f64::from(EPS));
        let want = norm.zip(&y.real(), |&n, &y| a.mul(a.add(n, y), Number::from(0.5)));
        let got = x.tensor.layer_norm(None, None, EPS)?.add(&y.tensor)?.mul(0.5);
        t.judge(got, Type::F32, want, &a)
    }));
    all
}
