//! Functions of two floats: every row of the oracle's table; broadcasting, layouts, one operand read twice, views that overlap.

use super::support::{FLOATS, Layout, Outcome, Trial, case};
use crate::Case;
use anychip::{Result, Tensor};
use anychip_oracle::{
    Array, Number, Type, elementwise,
    sample::{Values, element, special},
    table,
};

type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// The library's function of each row of the table.
pub const BINARY: &[(&str, Function)] = &[
    ("add", |x, y| x.add(y)),
    ("sub", |x, y| x.sub(y)),
    ("mul", |x, y| x.mul(y)),
    ("div", |x, y| x.div(y)),
    ("rem", |x, y| x.rem(y)),
    ("pow", |x, y| x.pow(y)),
    ("modulo", |x, y| x.modulo(y)),
    ("atan2", |x, y| x.atan2(y)),
    ("hypot", |x, y| x.hypot(y)),
    ("maximum", |x, y| x.maximum(y)),
    ("minimum", |x, y| x.minimum(y)),
];

/// Functions that are also run on extents that vectors divide, on one element, and on broadcasts.
const BASIC: [&str; 3] = ["add", "mul", "div"];

/// Shapes whose dense runs share a kernel, and two that do not.
const SHAPES: [(&str, &[usize]); 6] = [
    ("empty", &[0, 5]),
    ("prime", &[1009]),
    ("unaligned", &[7, 147]),
    ("rank 8", &[1, 3, 5, 1, 7, 1, 3, 3]),
    ("aligned", &[16, 256]),
    ("one", &[1]),
];

/// Pairs of shapes that broadcast.
const BROADCASTS: [(&str, &[usize], &[usize]); 6] = [
    ("row", &[7, 147], &[147]),
    ("column", &[7, 147], &[7, 1]),
    ("scalar", &[7, 147], &[]),
    ("outer", &[31, 1], &[37]),
    ("middle", &[3, 1, 37], &[5, 37]),
    ("rank-8", &[1, 3, 1, 2, 7, 1, 3, 5], &[2, 1, 1, 2, 1, 5, 1, 5]),
];

fn judged(t: &mut Trial<'_>, op: &str, f: Function, ty: Type, [x, y]: [Array<u64>; 2]) -> Outcome {
    let a = t.arithmetic(ty);
    let (x, y) = (t.operand(ty, x)?, t.operand(ty, y)?);
    let want = elementwise::binary(table::find_binary(op), &a, &x.real(), &y.real());
    t.judge_of(f(&x.tensor, &y.tensor), ty, want, &a, &[&x, &y])
}

fn random(t: &mut Trial<'_>, ty: Type, shape: &[usize], values: Values) -> Array<u64> {
    Array::build(shape, |_| element(ty, values, t.r))
}

/// The cases of this area.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for &(op, f) in BINARY {
        for ty in FLOATS {
            if ty == Type::BF16 && !["add", "mul", "div", "maximum"].contains(&op) {
                continue;
            }
            let single = ty == Type::F32;
            let basic = single && BASIC.contains(&op);
            for (class, shape) in SHAPES {
                if matches!(class, "aligned" | "one") && !basic || class == "empty" && !single {
                    continue;
                }
                all.push(case("binary", op, ty, class, "", move |t| {
                    let values = Values::Range(-5.0, 5.0);
                    let both = [random(t, ty, shape, values), random(t, ty, shape, values)];
                    judged(t, op, f, ty, both)
                }));
            }
            // Every special value with every other: 43 of them, so that no vector divides the pairs.
            all.push(case("binary", op, ty, "unaligned", "special-values", move |t| {
                let ends: Vec<u64> = special(ty).into_iter().map(|x| ty.bits_of_float(x)).collect();
                let n = ends.len();
                let x = Array::build(&[n * n], |i| ends[i[0] / n]);
                let y = Array::build(&[n * n], |i| ends[i[0] % n]);
                judged(t, op, f, ty, [x, y])
            }));
            all.push(case("binary", op, ty, "prime", "any-bits", move |t| {
                let both = [random(t, ty, &[4001], Values::AnyBits), random(t, ty, &[4001], Values::AnyBits)];
                judged(t, op, f, ty, both)
            }));
            // Small numbers of quarters: sums and products are exact, quotients and powers meet their special cases.
            all.push(case("binary", op, ty, "prime", "quarters", move |t| {
                let both = [random(t, ty, &[2003], Values::Exact), random(t, ty, &[2003], Values::Exact)];
                judged(t, op, f, ty, both)
            }));
        }
    }
    all.extend(broadcasts());
    all.extend(layouts());
    all.extend(shared());
    all
}

/// Operands of different shapes.
fn broadcasts() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, ty) in [("sub", Type::F32), ("sub", Type::F16)] {
        let (_, f) = *BINARY.iter().find(|(name, _)| *name == op).unwrap_or(&BINARY[0]);
        for (kind, left, right) in BROADCASTS {
            for (side, x, y) in [("right", left, right), ("left", right, left)] {
                // From the other side once: the same kernels with their operands exchanged.
                let other = side == "left" && !["row", "scalar"].contains(&kind);
                if other || ty == Type::F16 && (side == "left" || kind != "row") {
                    continue;
                }
                all.push(case("binary", op, ty, "broadcast", &format!("{kind}-{side}"), move |t| {
                    let values = Values::Range(-3.0, 3.0);
                    let both = [random(t, ty, x, values), random(t, ty, y, values)];
                    judged(t, op, f, ty, both)
                }));
            }
        }
    }
    all
}

/// Each layout on each side of a difference.
fn layouts() -> Vec<Case> {
    let mut all = Vec::new();
    for ty in [Type::F32, Type::F16] {
        for layout in Layout::ALL {
            for side in ["left", "right", "both"] {
                if ty == Type::F16 && (side != "left" || layout != Layout::Sliced) {
                    continue;
                }
                for (class, shape) in [("unaligned", [13, 37]), ("aligned", [16, 64])] {
                    if class == "aligned" && (side != "both" || layout == Layout::Sliced) {
                        continue;
                    }
                    let variant = format!("{}-{side}", layout.name());
                    all.push(case("layouts", "sub", ty, class, &variant, move |t| {
                        let pick = |own: &str| if side == own || side == "both" { layout } else { Layout::Dense };
                        let values = Values::Range(-3.0, 3.0);
                        let x = t.laid(ty, &shape, values, pick("left"))?;
                        let y = t.laid(ty, &shape, values, pick("right"))?;
                        let a = t.arithmetic(ty);
                        let want = elementwise::binary(table::find_binary("sub"), &a, &x.real(), &y.real());
                        t.judge_of(x.tensor.sub(&y.tensor), ty, want, &a, &[&x, &y])
                    }));
                }
            }
        }
    }
    all
}

/// One buffer behind both operands, and numbers of the host beside a tensor.
fn shared() -> Vec<Case> {
    let mut all = Vec::new();
    for (op, f) in BINARY.iter().copied().filter(|(op, _)| ["sub", "div"].contains(op)) {
        all.push(case("binary", op, Type::F32, "prime", "operand-twice", move |t| {
            let x = t.dense(Type::F32, &[1009], Values::Special)?;
            let a = t.arithmetic(Type::F32);
            let want = elementwise::binary(table::find_binary(op), &a, &x.real(), &x.real());
            t.judge_of(f(&x.tensor, &x.tensor), Type::F32, want, &a, &[&x])
        }));
        all.push(case("binary", op, Type::F32, "prime", "overlapping-views", move |t| {
            let x = t.dense(Type::F32, &[1013], Values::Range(0.5, 5.0))?;
            let part = |at: usize| -> Result<_> { Ok((x.tensor.narrow(0, at, 1009)?, x.bits.slice(0, at, 1, 1009))) };
            let ((p, own), (q, other)) = (part(1)?, part(4)?);
            let real = |bits: &Array<u64>| bits.map(|&b| Number::from(Type::F32.float_of_bits(b)));
            let a = t.arithmetic(Type::F32);
            let want = elementwise::binary(table::find_binary(op), &a, &real(&own), &real(&other));
            t.judge(f(&p, &q), Type::F32, want, &a)
        }));
    }
    for ty in [Type::F32, Type::BF16] {
        all.push(case("binary", "mul", ty, "prime", "beside-a-number", move |t| {
            let x = t.dense(ty, &[1009], Values::Special)?;
            let a = t.arithmetic(ty);
            let want = elementwise::binary(table::find_binary("mul"), &a, &x.real(), &Array::full(&[], 0.75.into()));
            t.judge_of(x.tensor.mul(0.75), ty, want, &a, &[&x])
        }));
    }
    all
}
