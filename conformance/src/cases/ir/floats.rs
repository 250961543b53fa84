//! Floats: every operation of every type, within its row of the oracle's table; comparisons of all types.

use super::{
    table::{Build, Table, exactly, facts, operands, permitted, plain, show},
    vec_name,
};
use crate::{
    Case, Failure, Subject,
    oracle::{
        Type,
        number::Number,
        sample::Random,
        table::{apply, apply2, find, find_binary},
        wide::Wide,
    },
};
use anychip::hal::{
    info::Feature,
    ir::{BinaryOp, CmpOp, UnaryOp},
};
use std::{cmp::Ordering, sync::Arc};

/// The float types.
pub const FLOATS: [Type; 4] = [Type::F32, Type::F64, Type::F16, Type::BF16];

/// Unary rows: name in ids, the oracle's row, operation.
const EXACT: [(&str, &str, UnaryOp); 8] = [
    ("neg", "neg", UnaryOp::Neg),
    ("abs", "abs", UnaryOp::Abs),
    ("sign", "sign", UnaryOp::Sign),
    ("floor", "floor", UnaryOp::Floor),
    ("ceil", "ceil", UnaryOp::Ceil),
    ("trunc", "trunc", UnaryOp::Trunc),
    ("round", "round", UnaryOp::Round),
    ("sqrt", "sqrt", UnaryOp::Sqrt),
];
const MATH: [(&str, &str, UnaryOp); 11] = [
    ("rsqrt", "rsqrt", UnaryOp::Rsqrt),
    ("recip", "recip", UnaryOp::Recip),
    ("exp", "exp", UnaryOp::Exp),
    ("exp2", "exp2", UnaryOp::Exp2),
    ("log", "log", UnaryOp::Log),
    ("log2", "log2", UnaryOp::Log2),
    ("sin", "sin", UnaryOp::Sin),
    ("cos", "cos", UnaryOp::Cos),
    ("tan", "tan", UnaryOp::Tan),
    ("tanh", "tanh", UnaryOp::Tanh),
    ("erf", "erf", UnaryOp::Erf),
];
/// Binary rows of the plain kernel, and those that are functions.
const PLAIN: [(&str, &str, BinaryOp); 6] = [
    ("add", "add", BinaryOp::Add),
    ("sub", "sub", BinaryOp::Sub),
    ("mul", "mul", BinaryOp::Mul),
    ("div", "div", BinaryOp::Div),
    ("min", "minimum", BinaryOp::Min),
    ("max", "maximum", BinaryOp::Max),
];
const POWERS: [(&str, &str, BinaryOp); 2] = [("rem", "rem", BinaryOp::Rem), ("pow", "pow", BinaryOp::Pow)];

fn unary(op: UnaryOp) -> Build {
    Box::new(move |b, x| b.unary(op, x[0]))
}

fn binary(op: BinaryOp) -> Build {
    Box::new(move |b, x| b.binary(op, x[0], x[1]))
}

const N: usize = 512;

/// Values at which a function has one sign of zero only, or none: bits are compared where an exact function keeps signs.
fn signed_zeros(name: &str) -> bool {
    matches!(name, "neg" | "abs" | "floor" | "ceil" | "trunc" | "round" | "sqrt" | "sign")
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in FLOATS {
        for lanes in [1u8, 4] {
            tables(all, ty, lanes);
        }
        fused(all, ty);
    }
    for ty in Type::ALL {
        comparisons(all, ty, 1);
        if matches!(ty, Type::F32 | Type::I32 | Type::U8) {
            comparisons(all, ty, 4);
        }
    }
}

fn tables(all: &mut Vec<Case>, ty: Type, lanes: u8) {
    let (name, shape) = (super::name(ty), vec_name(lanes));
    let make = |part: &str, rows: Vec<Build>| {
        Arc::new(Table { name: format!("floats_{part}_{name}x{lanes}"), ins: vec![ty; 2], out: ty, lanes, rows })
    };
    let plain_rows = PLAIN.iter().map(|r| binary(r.2)).chain(EXACT.iter().map(|r| unary(r.2))).collect();
    let math_rows = POWERS.iter().map(|r| binary(r.2)).chain(MATH.iter().map(|r| unary(r.2))).collect();
    let (plain_table, math_table) = (make("plain", plain_rows), make("math", math_rows));
    let optional = |c: Case| if ty == Type::F64 { c.optional() } else { c };
    for (table, twos, ones) in [(plain_table, &PLAIN[..], &EXACT[..]), (math_table, &POWERS[..], &MATH[..])] {
        for (n, &(op, row, _)) in twos.iter().enumerate() {
            let table = table.clone();
            let id = format!("core/ir/{op}/{name}/{shape}");
            all.push(optional(Case::new(id, op, Some(ty), shape, move |s, r, seen| {
                let mut x: [Vec<u64>; 2] = operands(s, ty, N, r);
                if matches!(op, "mul" | "div" | "pow") {
                    x.iter_mut().flatten().for_each(|b| *b = within_reach(ty, *b));
                }
                let got = table.run(s, n, &x)?;
                let (a, row) = (facts(s, ty), find_binary(row));
                let value = |k: usize, i: usize| ty.float_of_bits(x[k][i]);
                let want: Vec<Number> = (0..N).map(|i| apply2(row, &a, value(0, i), value(1, i))).collect();
                let tell = |i: usize| format!("{} and {}", show(ty, x[0][i]), show(ty, x[1][i]));
                permitted(s, op, ty, &got, &want, tell, seen)
            })));
        }
        for (n, &(op, row, _)) in ones.iter().enumerate() {
            let (table, at) = (table.clone(), twos.len() + n);
            let id = format!("core/ir/{op}/{name}/{shape}");
            all.push(optional(Case::new(id, op, Some(ty), shape, move |s, r, seen| {
                let mut x: [Vec<u64>; 2] = operands(s, ty, N, r);
                // Ordinary arguments too: special ones alone leave a function's middle unseen.
                for b in x[0].iter_mut().step_by(2) {
                    *b = plain(s, ty, ordinary(ty, r));
                }
                if !signed_zeros(op) || op == "sqrt" {
                    x[0].iter_mut().for_each(|b| *b = within_reach(ty, *b));
                }
                let got = table.run(s, at, &x)?;
                let (a, row) = (facts(s, ty), find(row));
                let want: Vec<Number> = x[0].iter().map(|b| apply(row, &a, ty.float_of_bits(*b))).collect();
                let tell = |i: usize| show(ty, x[0][i]);
                permitted(s, op, ty, &got, &want, tell, seen)?;
                if !signed_zeros(op) {
                    return Ok(());
                }
                for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                    let g = ty.float_of_bits(*g);
                    if g == 0.0 && w.value.hi == 0.0 && g.is_sign_negative() != w.value.hi.is_sign_negative() {
                        let (x, w) = (tell(i), w.value.hi);
                        return Err(Failure::Broken(format!("{op} of {x} is {g:?}, expected {w:?}: the zero's sign")));
                    }
                }
                Ok(())
            })));
        }
    }
}

/// Of f64 nothing beyond 2^±500: the oracle's numbers of 106 bits end where doubles do, and lose their second half before.
fn within_reach(ty: Type, bits: u64) -> u64 {
    let x = ty.float_of_bits(bits).abs();
    let near = x == 0.0 || !x.is_finite() || (2f64.powi(-500)..2f64.powi(500)).contains(&x);
    if near || ty != Type::F64 { bits } else { ty.bits_of_float(1.25).wrapping_add(bits & 0xffff) }
}

/// A number of ordinary size, of both signs, over some powers of two.
fn ordinary(ty: Type, r: &mut Random) -> u64 {
    let x = r.between(-1.0, 1.0) * 2f64.powi(r.below(9) as i32 - 2);
    let format = ty.format().map_or(x, |f| f.round(Wide::from(x)));
    ty.bits_of_float(format)
}

/// a·b+c: rounded once or twice, as `mul_add`; once, as `fma`.
fn fused(all: &mut Vec<Case>, ty: Type) {
    for (name, fma) in [("mul-add", false), ("fma", true)] {
        for lanes in [1u8, 4] {
            let table = Arc::new(Table {
                name: format!("{}_{}x{lanes}", name.replace('-', "_"), super::name(ty)),
                ins: vec![ty; 3],
                out: ty,
                lanes,
                rows: vec![if fma {
                    Box::new(|b, x| b.fma(x[0], x[1], x[2]))
                } else {
                    Box::new(|b, x| b.mul_add(x[0], x[1], x[2]))
                }],
            });
            let id = format!("core/ir/{name}/{}/{}", super::name(ty), vec_name(lanes));
            let case = Case::new(id, name, Some(ty), vec_name(lanes), move |s, r, seen| {
                if fma && !s.info().has(Feature::Fma) {
                    return super::unclaimed(s, "fma that rounds once", || {
                        table.run(s, 0, &operands::<3>(s, ty, 4, &mut Random::new(0))).map(|_| ())
                    });
                }
                multiply_add(s, &table, ty, fma, r, seen)
            });
            all.push(if fma || ty == Type::F64 { case.optional() } else { case });
        }
    }
}

fn multiply_add(
    s: &Subject,
    table: &Table,
    ty: Type,
    fma: bool,
    r: &mut Random,
    seen: &mut crate::Seen,
) -> Result<(), Failure> {
    let mut x: [Vec<u64>; 3] = operands(s, ty, N, r);
    let Some(format) = ty.format() else { return Ok(()) };
    // Sums that cancel all but the rounding of the product: there one rounding and two differ.
    for i in (0..N).step_by(2) {
        let (p, q) = (ty.float_of_bits(ordinary(ty, r)), ty.float_of_bits(ordinary(ty, r)));
        let c = format.round(Wide::product(-p, q));
        for (k, v) in [p, q, c].into_iter().enumerate() {
            x[k][i] = plain(s, ty, ty.bits_of_float(v));
        }
    }
    let got = table.run(s, 0, &x)?;
    let a = facts(s, ty);
    let kept = a.facts.subnormals == crate::oracle::Subnormals::Kept;
    seen.elements += N as u64;
    for i in 0..N {
        let [p, q, c]: [f64; 3] = [0, 1, 2].map(|k| ty.float_of_bits(x[k][i]));
        // A product of doubles and a sum far from it need more than 106 bits: there the host's own fma is the measure.
        let once = match ty {
            Type::F64 => p.mul_add(q, c),
            _ => format.round(Wide::product(p, q) + Wide::from(c)),
        };
        let twice = format.round(Wide::from(format.round(Wide::product(p, q))) + Wide::from(c));
        // A narrow type is computed in f32 and rounded once more where a lowering says so.
        let between = a.format().round(Wide::from(a.format().round(Wide::product(p, q))) + Wide::from(c));
        let wide = format.round(Wide::from(between));
        let wide_once = format.round(Wide::from(a.format().round(Wide::product(p, q) + Wide::from(c))));
        let g = ty.float_of_bits(got[i]);
        let small = |v: f64| v != 0.0 && v.abs() < 2.0 * a.format().min_normal().max(format.min_normal());
        let exact_product = (p * q).abs();
        let lost = !kept && (small(once) || small(twice) || small(exact_product) || small(g));
        let is = |w: f64| g == w || g.is_nan() && w.is_nan();
        let strange = !a.facts.nan_inf && (!once.is_finite() || !twice.is_finite());
        let loose =
            !a.facts.correctly_rounded && !fma && (g - once).abs() <= 2.0 * format.ulp(exact_product.max(c.abs()));
        let right = is(once) || ty != a.compute && is(wide_once) || !fma && (is(twice) || is(wide));
        if !(right || lost || strange || loose) {
            return Err(Failure::Broken(format!(
                "{p:e} · {q:e} + {c:e} is {g:e}, expected {once:e}{}",
                if fma { ", rounded once".to_string() } else { format!(" or {twice:e}") }
            )));
        }
    }
    Ok(())
}

const COMPARE: [(&str, CmpOp); 6] =
    [("eq", CmpOp::Eq), ("ne", CmpOp::Ne), ("lt", CmpOp::Lt), ("le", CmpOp::Le), ("gt", CmpOp::Gt), ("ge", CmpOp::Ge)];

fn holds(op: CmpOp, order: Option<Ordering>) -> bool {
    match op {
        CmpOp::Eq => order == Some(Ordering::Equal),
        CmpOp::Ne => order != Some(Ordering::Equal),
        CmpOp::Lt => order == Some(Ordering::Less),
        CmpOp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        CmpOp::Gt => order == Some(Ordering::Greater),
        CmpOp::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn order(ty: Type, x: u64, y: u64) -> Option<Ordering> {
    match ty.is_float() {
        true => ty.float_of_bits(x).partial_cmp(&ty.float_of_bits(y)),
        false => ty.int_of_bits(x).partial_cmp(&ty.int_of_bits(y)),
    }
}

/// Comparisons, and what has a bool for its result.
fn comparisons(all: &mut Vec<Case>, ty: Type, lanes: u8) {
    type Want = Box<dyn Fn(u64, u64) -> bool + Send + Sync>;
    let mut rows: Vec<(&'static str, Build, Want)> = vec![];
    for (name, op) in COMPARE {
        if ty != Type::Bool || matches!(op, CmpOp::Eq | CmpOp::Ne) {
            rows.push((
                name,
                Box::new(move |b, x| b.compare(op, x[0], x[1])),
                Box::new(move |x, y| holds(op, order(ty, x, y))),
            ));
        }
    }
    if ty.is_float() {
        let of = move |b: u64| ty.float_of_bits(b);
        rows.push(("is-nan", unary(UnaryOp::IsNan), Box::new(move |x, _| of(x).is_nan())));
        rows.push(("is-inf", unary(UnaryOp::IsInf), Box::new(move |x, _| of(x).is_infinite())));
    }
    if ty == Type::Bool {
        for (name, op) in [("and", BinaryOp::And), ("or", BinaryOp::Or), ("xor", BinaryOp::Xor)] {
            let want: Want = match op {
                BinaryOp::And => Box::new(|x, y| x & y != 0),
                BinaryOp::Or => Box::new(|x, y| x | y != 0),
                _ => Box::new(|x, y| x ^ y != 0),
            };
            rows.push((name, binary(op), want));
        }
        rows.push(("not", unary(UnaryOp::Not), Box::new(|x, _| x == 0)));
    }
    let (names, rest): (Vec<_>, Vec<_>) = rows.into_iter().map(|(n, b, w)| (n, (b, w))).unzip();
    let (builds, wants): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
    let table = Arc::new(Table {
        name: format!("compare_{}x{lanes}", super::name(ty)),
        ins: vec![ty; 2],
        out: Type::Bool,
        lanes,
        rows: builds,
    });
    let wants = Arc::new(wants);
    for (n, op) in names.into_iter().enumerate() {
        let (table, wants) = (table.clone(), wants.clone());
        let id = format!("core/ir/{op}/{}/{}", super::name(ty), vec_name(lanes));
        let case = Case::new(id, op, Some(ty), vec_name(lanes), move |s, r, seen| {
            let mut x: [Vec<u64>; 2] = operands(s, ty, N, r);
            // Equal ones among them.
            for i in (0..N).step_by(5) {
                x[1][i] = x[0][i];
            }
            let got = table.run(s, n, &x)?;
            let want: Vec<u64> = x[0].iter().zip(&x[1]).map(|(p, q)| u64::from(wants[n](*p, *q))).collect();
            let tell = |i: usize| format!("{} and {}", show(ty, x[0][i]), show(ty, x[1][i]));
            exactly(op, Type::Bool, &got, &want, tell, seen)
        });
        all.push(if ty == Type::F64 { case.optional() } else { case });
    }
}
