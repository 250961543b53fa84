//! Comparison, choice and conversion: NaN that is equal to nothing, zeros that are, ends of types where conversions saturate or wrap.

use super::support::{FLOATS, INTEGERS, Layout, Trial, case, case_of, name};
use crate::{Case, subject::dtype};
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Data, Number, Type,
    elementwise::{self, Comparison},
    sample::{Values, element},
    table,
};

type Function2 = fn(&Tensor, &Tensor) -> Result<Tensor>;

const COMPARISONS: [(&str, Comparison, Function2); 6] = [
    ("eq", Comparison::Eq, |x, y| x.eq(y)),
    ("ne", Comparison::Ne, |x, y| x.ne(y)),
    ("lt", Comparison::Lt, |x, y| x.lt(y)),
    ("le", Comparison::Le, |x, y| x.le(y)),
    ("gt", Comparison::Gt, |x, y| x.gt(y)),
    ("ge", Comparison::Ge, |x, y| x.ge(y)),
];

const SHAPES: [(&str, &[usize]); 4] =
    [("empty", &[4, 0]), ("prime", &[1009]), ("unaligned", &[7, 147]), ("rank 8", &[1, 3, 5, 1, 7, 1, 3, 3])];

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    [comparisons(), orderings(), kinds(), choices(), clamps(), mixtures(), conversions()]
        .into_iter()
        .flatten()
        .collect()
}

/// Each comparison of f32.
fn comparisons() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, meaning, f) in COMPARISONS {
        for (class, shape) in SHAPES {
            for values in ["special-values", "equal-often"] {
                if class == "empty" && values != "special-values" {
                    continue;
                }
                all.push(case("compare", op, Type::F32, class, values, move |t| {
                    let [x, y] = match values {
                        "equal-often" => {
                            [t.dense(Type::F32, shape, Values::Exact)?, t.dense(Type::F32, shape, Values::Exact)?]
                        }
                        _ => [t.special(Type::F32, shape)?, t.special(Type::F32, shape)?],
                    };
                    let want = elementwise::compare(meaning, &x.data(), &y.data());
                    let a = t.arithmetic(Type::F32);
                    t.judge_of(f(&x.tensor, &y.tensor), Type::Bool, want, &a, &[&x, &y])
                }));
            }
        }
    }
    all
}

/// All six comparisons of the other types, a bit of the result for each, in one expression.
fn orderings() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in INTEGERS.into_iter().chain([Type::U64, Type::F16, Type::BF16]) {
        for (class, shape) in SHAPES {
            for values in ["ends", "equal-often"] {
                if class == "empty" && values != "ends" {
                    continue;
                }
                all.push(case("compare", "all-six", ty, class, values, move |t| {
                    let [x, y] = match values {
                        "equal-often" => [t.dense(ty, shape, Values::Exact)?, t.dense(ty, shape, Values::Exact)?],
                        _ => [t.special(ty, shape)?, t.special(ty, shape)?],
                    };
                    let (mut got, mut want) = (None, Array::full(shape, 0i128));
                    for (n, (_, meaning, f)) in COMPARISONS.into_iter().enumerate() {
                        let bit = f(&x.tensor, &y.tensor)?.to_dtype(dtype(Type::I32))?.mul(1i32 << n)?;
                        got = Some(match got {
                            None => bit,
                            Some(sum) => bit.add(sum)?,
                        });
                        let holds = elementwise::compare(meaning, &x.data(), &y.data());
                        want = want.zip(holds.int(), |w, h| w + (h << n));
                    }
                    let a = t.arithmetic(ty);
                    let got = got.map_or_else(|| Tensor::zeros(shape, dtype(Type::I32), &t.on.device), Ok);
                    t.judge_of(got, Type::I32, want, &a, &[&x, &y])
                }));
            }
        }
    }
    all
}

/// Is it NaN, infinite, finite.
fn kinds() -> Vec<Case> {
    type Row = (&'static str, fn(&Tensor) -> Result<Tensor>, fn(f64) -> bool);
    let rows: [Row; 3] = [
        ("is_nan", Tensor::is_nan, f64::is_nan),
        ("is_inf", Tensor::is_inf, f64::is_infinite),
        ("is_finite", Tensor::is_finite, f64::is_finite),
    ];
    let mut all = Vec::new();
    for (op, f, meaning) in rows {
        for ty in [Type::F32, Type::F16] {
            for variant in ["special-values", "any-bits"] {
                all.push(case("compare", op, ty, "prime", variant, move |t| {
                    let values = if variant == "any-bits" { Values::AnyBits } else { Values::Special };
                    let x = t.dense(ty, &[2003], values)?;
                    let want = x.real().map(|x| i128::from(meaning(x.value.hi)));
                    let a = t.arithmetic(ty);
                    t.judge_of(f(&x.tensor), Type::Bool, want, &a, &[&x])
                }));
            }
        }
    }
    all
}

/// `where_cond` and `masked_fill`: copies, compared bit for bit.
fn choices() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::I64, Type::U8, Type::Bool, Type::F16] {
        for (class, shape) in SHAPES {
            all.push(case("choice", "where_cond", ty, class, "", move |t| {
                let c = t.dense(Type::Bool, shape, Values::AnyBits)?;
                let (x, y) = (t.any_kept(ty, shape)?, t.any_kept(ty, shape)?);
                let want = elementwise::choose(&c.int(), &x.bits, &y.bits);
                t.same_of(c.tensor.where_cond(&x.tensor, &y.tensor), ty, &want, &[&c, &x, &y])
            }));
        }
    }
    for layout in Layout::ALL.into_iter().filter(|&l| l != Layout::Dense) {
        all.push(case("layouts", "where_cond", Type::F32, "unaligned", layout.name(), move |t| {
            let c = t.laid(Type::Bool, &[13, 37], Values::AnyBits, layout)?;
            let x = t.laid(Type::F32, &[13, 37], Values::Range(-9.0, 9.0), layout)?;
            let y = t.dense(Type::F32, &[13, 37], Values::Range(-9.0, 9.0))?;
            let want = elementwise::choose(&c.int(), &x.bits, &y.bits);
            t.same_of(c.tensor.where_cond(&x.tensor, &y.tensor), Type::F32, &want, &[&c, &x, &y])
        }));
    }
    for (variant, c, x, y) in [
        ("condition-column", &[7, 1][..], &[7, 147][..], &[147][..]),
        ("value-scalar", &[7, 147], &[], &[7, 147]),
        ("all-three", &[5, 1, 1], &[3, 1], &[1, 1, 37]),
    ] {
        all.push(case("choice", "where_cond", Type::F32, "broadcast", variant, move |t| {
            let c = t.dense(Type::Bool, c, Values::AnyBits)?;
            let (x, y) = (t.special(Type::F32, x)?, t.special(Type::F32, y)?);
            let want = elementwise::choose(&c.int(), &x.bits, &y.bits);
            t.same_of(c.tensor.where_cond(&x.tensor, &y.tensor), Type::F32, &want, &[&c, &x, &y])
        }));
    }
    for ty in [Type::F32, Type::I64] {
        all.push(case("choice", "masked_fill", ty, "broadcast", "", move |t| {
            let x = t.special(ty, &[7, 147])?;
            let mask = t.dense(Type::Bool, &[147], Values::AnyBits)?;
            let value = if ty.is_float() { ty.bits_of_float(-3.0) } else { -3i64 as u64 };
            let want = elementwise::choose(&mask.int(), &Array::full(&[], value), &x.bits);
            t.same_of(x.tensor.masked_fill(&mask.tensor, -3), ty, &want, &[&x, &mask])
        }));
    }
    all
}

/// Between two numbers; NaN stays, and the upper end wins where they cross.
fn clamps() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in FLOATS {
        for (variant, low, high) in [("", -1.5, 2.0), ("crossed", 2.0, -1.5)] {
            all.push(case("choice", "clamp", ty, "prime", variant, move |t| {
                let x = t.dense(ty, &[1009], Values::Special)?;
                let a = t.arithmetic(ty);
                let row = table::find_binary("minimum");
                // The lower end is exact; a subnormal is flushed, or not, once.
                let least = |x: f64| if x.is_nan() { x } else { x.max(low) };
                let want = x.real().map(|x| table::apply2(row, &a, least(x.value.hi), high));
                t.judge_of(x.tensor.clamp(low, high), ty, want, &a, &[&x])
            }));
        }
    }
    for ty in [Type::I32, Type::U8] {
        all.push(case("choice", "clamp", ty, "prime", "", move |t| {
            let x = t.dense(ty, &[1009], Values::AnyBits)?;
            let want = x.int().map(|&x| x.clamp(5, 99));
            let a = t.arithmetic(ty);
            t.judge_of(x.tensor.clamp(5, 99), ty, want, &a, &[&x])
        }));
    }
    all
}

/// Multiplication and addition in one expression: a device may fuse them or not.
fn mixtures() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in FLOATS {
        all.push(case("choice", "affine", ty, "prime", "", move |t| {
            let x = t.dense(ty, &[1009], Values::Range(-4.0, 4.0))?;
            let a = t.arithmetic(ty);
            // Rounded to the type between, or held wider: both are permitted.
            let want =
                x.real().map(|&x| a.add(a.perhaps_narrowed(a.mul(x, Number::from(1.5)), ty), Number::from(-0.25)));
            t.judge_of(x.tensor.affine(1.5, -0.25), ty, want, &a, &[&x])
        }));
        all.push(case("choice", "lerp", ty, "prime", "", move |t| {
            let (x, y) =
                (t.dense(ty, &[1009], Values::Range(-4.0, 4.0))?, t.dense(ty, &[1009], Values::Range(-4.0, 4.0))?);
            let w = t.dense(ty, &[1009], Values::Range(0.0, 1.0))?;
            let a = t.arithmetic(ty);
            let both = x.real().zip(&y.real(), |&x, &y| (x, y));
            let want = both.zip(&w.real(), |&(x, y), &w| {
                let value = x.value + w.value * (y.value - x.value);
                // Three roundings of the larger of both, each perhaps in the type.
                let unit = a.unit() + if ty == a.compute { 0.0 } else { ty.format().map_or(0.0, |f| f.unit()) };
                Number { value, radius: 6.0 * unit * x.size().max(y.size()) }
            });
            t.judge_of(x.tensor.lerp(&y.tensor, &w.tensor), ty, want, &a, &[&x, &y, &w])
        }));
    }
    all.push(case("choice", "prelu", Type::F32, "broadcast", "", move |t| {
        let x = t.dense(Type::F32, &[3, 5, 37], Values::Range(-4.0, 4.0))?;
        let w = t.dense(Type::F32, &[5], Values::Range(-1.0, 1.0))?;
        let a = t.arithmetic(Type::F32);
        let column = w.real().reshape(&[5, 1]);
        let want = x.real().zip(&column, |&x, &w| if x.value.hi > 0.0 { x } else { a.mul(x, w) });
        t.judge_of(x.tensor.prelu(&w.tensor), Type::F32, want, &a, &[&x])
    }));
    all
}

/// Types between which level 1 converts, and those of level 2 with some of them.
fn pairs() -> Vec<(Type, Type)> {
    let core = [Type::F32, Type::I32, Type::U32, Type::I64, Type::U8, Type::Bool];
    let mut all: Vec<(Type, Type)> =
        core.iter().flat_map(|&from| core.iter().map(move |&to| (from, to))).filter(|(a, b)| a != b).collect();
    for half in [Type::F16, Type::BF16] {
        all.extend([Type::F32, Type::I32, Type::U8, Type::Bool].map(|to| (half, to)));
        all.extend([Type::F32, Type::I32, Type::I64, Type::U8].map(|from| (from, half)));
    }
    all.extend([(Type::F16, Type::BF16), (Type::BF16, Type::F16), (Type::F32, Type::I8), (Type::U64, Type::F32)]);
    all
}

fn conversions() -> Vec<Case> {
    let mut all = Vec::new();
    for (from, to) in pairs() {
        let halves = [from, to].iter().any(|t| matches!(t, Type::F16 | Type::BF16));
        let rare = [from, to].iter().any(|t| matches!(t, Type::I8 | Type::U16 | Type::U64));
        for variant in ["ends", "any-bits", "ordinary", "ties"] {
            // Between representable numbers: where rounding shows.
            let short = matches!(from, Type::U8 | Type::I8 | Type::Bool);
            if variant == "ties" && (short || !to.is_float()) {
                continue;
            }
            let op = format!("to-{}", name(to));
            let level = if halves { "inference" } else { "core" };
            let case = case_of(level, "casts", &op, from, "prime", variant, move |t| {
                let bits = match variant {
                    "ties" => ties(t, from, to),
                    _ => {
                        let values = match variant {
                            "ends" => Values::Special,
                            "any-bits" => Values::AnyBits,
                            _ => Values::Range(-300.0, 300.0),
                        };
                        Array::build(&[2003], |_| element(from, values, t.r))
                    }
                };
                let bits = bits.map(|&b| t.kept(from, b));
                let x = t.operand(from, bits)?;
                let want: Data = elementwise::cast(&x.data(), to);
                let a = t.arithmetic(to);
                t.judge_of(x.tensor.to_dtype(dtype(to)), to, want, &a, &[&x])
            });
            all.push(if rare { case.optional() } else { case });
        }
    }
    all
}

/// Numbers half way between two of the target, and beside such.
fn ties(t: &mut Trial<'_>, from: Type, to: Type) -> Array<u64> {
    let fraction = to.format().map_or(0, |f| f.fraction);
    Array::build(&[2003], |_| {
        // An odd number of fraction + 2 bits lies half way; one more or less decides it.
        let half = (1u64 << (fraction + 1)) | (t.r.bits() & ((1 << (fraction + 1)) - 1)) | 1;
        match from.format() {
            Some(f) => {
                let more = (f.fraction - fraction - 1).max(0) as u32;
                let wide = (half << more.min(30)) as f64 + t.r.below(3) as f64 - 1.0;
                let scaled = wide * 2f64.powi(-(more.min(30) as i32) - fraction + t.r.below(9) as i32 - 4);
                super::support::rounded_bits(from, scaled)
            }
            None => {
                let (low, high) = from.range().unwrap_or((0, 1));
                // Within both types.
                let reach = to.format().map_or(0, |f| f.high);
                let room = (8 * from.bytes() as i32 - 3).min(reach) - fraction;
                let room = (room - 2).clamp(1, 30);
                let shift = 1 + t.r.below(room as usize) as u32;
                let x = (i128::from(half) << shift) + t.r.below(3) as i128 - 1;
                let x = if low < 0 && t.r.below(2) == 0 { -x } else { x };
                from.wrap(x.clamp(low, high)) as u64 & (u64::MAX >> (64 - 8 * from.bytes()))
            }
        }
    })
}
