//! Arithmetic facts: what a device declares is probed with numbers that would refute it. A fact that is not declared is not asked.

use super::ir::table::{Build, Table};
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::End,
    oracle::{Type, format::Format, sample::Random, wide::Wide},
};
use anychip::hal::{
    info::{Feature, Subnormals},
    ir::{BinaryOp, CmpOp, UnaryOp},
};
use std::sync::Arc;

/// A float type whose facts are declared apart.
const TYPES: [Type; 3] = [Type::F32, Type::F64, Type::F16];
const N: usize = 1024;

/// What is said of a type, if the device computes with it.
fn declared(s: &Subject, ty: Type) -> Result<anychip::hal::info::Arithmetic, Failure> {
    s.computes(ty)?;
    let d = crate::subject::dtype(ty);
    s.info()
        .arithmetic
        .get(&d)
        .cloned()
        .ok_or_else(|| Failure::Unsupported(format!("{}: says nothing of {d}", s.device)))
}

/// The format of a type; every type here has one.
fn format(ty: Type) -> Format {
    ty.format().unwrap_or(Format { fraction: 23, low: -126, high: 127 })
}

fn not_declared(s: &Subject, what: &str) -> Failure {
    Failure::Unsupported(format!("{}: does not declare {what}", s.device))
}

/// Rows of the kernel of facts.
fn rows() -> Vec<Build> {
    vec![
        Box::new(|b, x| b.binary(BinaryOp::Add, x[0], x[1])),
        Box::new(|b, x| b.binary(BinaryOp::Sub, x[0], x[1])),
        Box::new(|b, x| b.binary(BinaryOp::Mul, x[0], x[1])),
        Box::new(|b, x| b.binary(BinaryOp::Div, x[0], x[1])),
        Box::new(|b, x| b.unary(UnaryOp::Sqrt, x[0])),
        // May be contracted where a compiler is free to.
        Box::new(|b, x| {
            let p = b.mul(x[0], x[1]);
            b.add(p, x[2])
        }),
        Box::new(|b, x| {
            let p = b.mul(x[0], x[1]);
            b.sub(x[2], p)
        }),
        // A compiler that re-associates takes these for x[0], or for 0.
        Box::new(|b, x| {
            let p = b.add(x[0], x[1]);
            b.sub(p, x[1])
        }),
        Box::new(|b, x| {
            let (p, q) = (b.add(x[0], x[1]), b.sub(x[0], x[1]));
            let (p, q) = (b.sub(p, x[0]), b.sub(q, x[0]));
            b.add(p, q)
        }),
        Box::new(|b, x| b.mul(x[0], x[2])),
        Box::new(|b, x| {
            let c = b.compare(CmpOp::Lt, x[0], x[1]);
            b.select(c, x[2], x[0])
        }),
    ]
}

fn table(ty: Type) -> Arc<Table> {
    Arc::new(Table {
        name: format!("facts_{}", super::ir::name(ty)),
        ins: vec![ty; 3],
        out: ty,
        lanes: 1,
        rows: rows(),
    })
}

/// A number of any size whose neighbours and results stay far from the ends of the type.
fn middling(ty: Type, r: &mut Random) -> f64 {
    let f = format(ty);
    let reach = f.high / 3;
    let x = r.between(1.0, 2.0) * 2f64.powi(r.below(2 * reach as usize) as i32 - reach);
    f.round(Wide::from(if r.below(2) == 0 { x } else { -x }))
}

/// A number near another: of its size within two powers, so that sums round.
fn near(ty: Type, x: f64, r: &mut Random) -> f64 {
    format(ty).round(Wide::from(r.between(-4.0, 4.0) * x))
}

/// Compares with the one result that is permitted.
fn exact(
    what: &str,
    ty: Type,
    x: &[Vec<u64>],
    got: &[u64],
    want: impl Fn(f64, f64, f64) -> f64,
    seen: &mut Seen,
) -> End {
    seen.elements += got.len() as u64;
    for (i, g) in got.iter().enumerate() {
        let [p, q, c]: [f64; 3] = [0, 1, 2].map(|k| ty.float_of_bits(x[k][i]));
        let (g, w) = (ty.float_of_bits(*g), want(p, q, c));
        if g != w && !(g.is_nan() && w.is_nan()) {
            return Err(Failure::Broken(format!("{what} of {p:e}, {q:e}, {c:e} is {g:e}, expected {w:e}")));
        }
    }
    Ok(())
}

fn bits(ty: Type, numbers: [Vec<f64>; 3]) -> Vec<Vec<u64>> {
    numbers.into_iter().map(|v| v.into_iter().map(|x| ty.bits_of_float(x)).collect()).collect()
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in TYPES {
        let name = super::ir::name(ty);
        let table = table(ty);
        let mut case = |fact: &str, variant: &str, run: Arc<crate::case::Run>| {
            let id = format!("core/facts/{fact}/{name}/{variant}");
            let case = Case { run, ..Case::new(id, fact, Some(ty), "fact", |_, _, _| Ok(())) };
            all.push(case.optional());
        };
        for (row, op) in [(0usize, "add"), (1, "sub"), (2, "mul")] {
            let table = table.clone();
            case(
                "correctly-rounded",
                op,
                Arc::new(move |s, r, seen| {
                    if !declared(s, ty)?.correctly_rounded {
                        return Err(not_declared(s, "that + − × are correctly rounded"));
                    }
                    let f = format(ty);
                    let p: Vec<f64> = (0..N).map(|_| middling(ty, r)).collect();
                    let q: Vec<f64> =
                        p.iter().map(|x| if row == 2 { middling(ty, r) } else { near(ty, *x, r) }).collect();
                    let x = bits(ty, [p, q, vec![0.0; N]]);
                    let got = table.run(s, row, &x)?;
                    let want = |p: f64, q: f64, _: f64| match row {
                        0 => f.round(Wide::sum(p, q)),
                        1 => f.round(Wide::sum(p, -q)),
                        _ => f.round(Wide::product(p, q)),
                    };
                    exact(op, ty, &x, &got, want, seen)
                }),
            );
        }
        for (row, op) in [(3usize, "div"), (4, "sqrt")] {
            let table = table.clone();
            case(
                "ulps",
                op,
                Arc::new(move |s, r, seen| {
                    let said = declared(s, ty)?;
                    let ulps = f64::from(if row == 3 { said.div_ulp } else { said.sqrt_ulp });
                    let f = format(ty);
                    let p: Vec<f64> =
                        (0..N).map(|_| middling(ty, r)).map(|x| if row == 4 { x.abs() } else { x }).collect();
                    let q: Vec<f64> = (0..N).map(|_| middling(ty, r)).collect();
                    let x = bits(ty, [p, q, vec![0.0; N]]);
                    let got = table.run(s, row, &x)?;
                    seen.elements += N as u64;
                    for i in 0..N {
                        let [p, q]: [f64; 2] = [0, 1].map(|k| ty.float_of_bits(x[k][i]));
                        let w = if row == 3 { Wide::from(p) / Wide::from(q) } else { Wide::from(p).sqrt() };
                        let g = ty.float_of_bits(got[i]);
                        let small = w.hi.abs() < f.min_normal();
                        let off = (Wide::from(g) - w).hi.abs() / f.ulp(w.hi);
                        // Rounding to nearest may be half an ULP and the oracle's last bit off.
                        if !small && off > ulps.max(0.5) + 1e-9 {
                            let why = format!("{op} of {p:e}, {q:e} is {g:e}, {off:.3} ULP off; {ulps} are declared");
                            return Err(Failure::Broken(why));
                        }
                        if !small {
                            seen.fraction = Some(seen.fraction.unwrap_or(0.0).max(off / ulps.max(0.5)));
                        }
                    }
                    Ok(())
                }),
            );
        }
        for (row, variant) in [(5usize, "add"), (6, "sub")] {
            let table = table.clone();
            case(
                "no-contraction",
                variant,
                Arc::new(move |s, r, seen| {
                    let said = declared(s, ty)?;
                    if said.may_contract || !said.correctly_rounded {
                        return Err(not_declared(s, "that products and sums are rounded apart"));
                    }
                    let f = format(ty);
                    let (mut p, mut q, mut c) = (vec![], vec![], vec![]);
                    for _ in 0..N {
                        let (x, y) = (middling(ty, r), middling(ty, r));
                        let (x, y) = (x.clamp(-1e3, 1e3), y.clamp(-1e3, 1e3));
                        let (x, y) = (f.round(Wide::from(x)), f.round(Wide::from(y)));
                        let z = f.round(Wide::product(x, y));
                        p.push(x);
                        q.push(y);
                        c.push(if row == 5 { -z } else { z });
                    }
                    let x = bits(ty, [p, q, c]);
                    let got = table.run(s, row, &x)?;
                    // What is left of a product and its own rounding: nothing, unless it was rounded once.
                    exact("a · b and its rounding", ty, &x, &got, |_, _, _| 0.0, seen)
                }),
            );
        }
        for (row, variant) in [(7usize, "there-and-back"), (8, "both-ways")] {
            let table = table.clone();
            case(
                "no-reassociation",
                variant,
                Arc::new(move |s, r, seen| {
                    let said = declared(s, ty)?;
                    if !said.correctly_rounded {
                        return Err(not_declared(s, "that + − × are correctly rounded"));
                    }
                    let f = format(ty);
                    let p: Vec<f64> = (0..N).map(|_| f.round(Wide::from(r.between(-2.0, 2.0)))).collect();
                    let q: Vec<f64> = p
                        .iter()
                        .map(|x| {
                            f.round(Wide::from(
                                x * 2f64.powi(r.below(f.fraction as usize) as i32) * r.between(1.0, 2.0),
                            ))
                        })
                        .collect();
                    let x = bits(ty, [p, q, vec![0.0; N]]);
                    let got = table.run(s, row, &x)?;
                    let round = |x: f64, y: f64| f.round(Wide::sum(x, y));
                    let want = |p: f64, q: f64, _: f64| match row {
                        7 => round(round(p, q), -q),
                        _ => round(round(round(p, q), -p), round(round(p, -q), -p)),
                    };
                    exact("sums in the order in which they are written", ty, &x, &got, want, seen)
                }),
            );
        }
        {
            let table = table.clone();
            case(
                "subnormals-kept",
                "mul",
                Arc::new(move |s, r, seen| {
                    kept(s, ty)?;
                    let f = format(ty);
                    // Normal times a small power: the result is subnormal, and exact to round.
                    let p: Vec<f64> =
                        (0..N).map(|_| f.round(Wide::from(r.between(1.0, 2.0) * f.min_normal()))).collect();
                    let q: Vec<f64> = (0..N).map(|_| 2f64.powi(-(r.below(f.fraction as usize) as i32))).collect();
                    let x = bits(ty, [p, q, vec![0.0; N]]);
                    let got = table.run(s, 2, &x)?;
                    exact("a product that is subnormal", ty, &x, &got, |p, q, _| f.round(Wide::product(p, q)), seen)
                }),
            );
        }
        for (row, variant) in [(0usize, "add"), (1, "sub"), (10, "compare")] {
            let table = table.clone();
            case(
                "subnormals-kept",
                variant,
                Arc::new(move |s, r, seen| {
                    kept(s, ty)?;
                    let f = format(ty);
                    let small = |r: &mut Random| (r.below(2000) as f64 - 1000.0) * f.tiny();
                    let numbers = [0; 3].map(|_| (0..N).map(|_| small(r)).collect());
                    let x = bits(ty, numbers);
                    let got = table.run(s, row, &x)?;
                    let want = |p: f64, q: f64, c: f64| match row {
                        0 => p + q,
                        1 => p - q,
                        _ if p < q => c,
                        _ => p,
                    };
                    exact("subnormal operands", ty, &x, &got, want, seen)
                }),
            );
        }
        for (row, variant) in [(0usize, "add"), (1, "sub"), (2, "mul"), (3, "div")] {
            let table = table.clone();
            case(
                "nan-inf",
                variant,
                Arc::new(move |s, r, seen| {
                    if !declared(s, ty)?.nan_inf {
                        return Err(not_declared(s, "that NaN and infinity are as in IEEE 754"));
                    }
                    let f = format(ty);
                    let ends = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f.max(), -f.max(), 0.0, -0.0, 1.0, -2.0];
                    let numbers = [0; 3].map(|_| (0..N).map(|_| *r.one_of(&ends)).collect());
                    let x = bits(ty, numbers);
                    let got = table.run(s, row, &x)?;
                    let want = |p: f64, q: f64, _: f64| {
                        let exact = match row {
                            0 => p + q,
                            1 => p - q,
                            2 => p * q,
                            _ => p / q,
                        };
                        if exact.is_finite() { f.round(Wide::from(exact)) } else { exact }
                    };
                    // A quotient of large numbers rounds as it is declared: only what is 0, infinite or NaN is asked.
                    let fits = |p: f64, q: f64| !want(p, q, 0.0).is_finite() || want(p, q, 0.0) == 0.0 || row != 3;
                    let asked: Vec<usize> =
                        (0..N).filter(|&i| fits(ty.float_of_bits(x[0][i]), ty.float_of_bits(x[1][i]))).collect();
                    let pick = |v: &[u64]| asked.iter().map(|&i| v[i]).collect::<Vec<u64>>();
                    let x: Vec<Vec<u64>> = x.iter().map(|v| pick(v)).collect();
                    exact("NaN, infinity and the largest numbers", ty, &x, &pick(&got), want, seen)
                }),
            );
        }
        fused(&mut case, ty);
        ties(&mut case, ty);
    }
}

fn kept(s: &Subject, ty: Type) -> End {
    match declared(s, ty)?.subnormals {
        Subnormals::Kept => Ok(()),
        _ => Err(not_declared(s, "that subnormal numbers are kept")),
    }
}

/// `fma` rounds once where both the feature and the fact are claimed.
fn fused(case: &mut impl FnMut(&str, &str, Arc<crate::case::Run>), ty: Type) {
    let table = Arc::new(Table {
        name: format!("facts_fma_{}", super::ir::name(ty)),
        ins: vec![ty; 3],
        out: ty,
        lanes: 1,
        rows: vec![Box::new(|b, x| b.fma(x[0], x[1], x[2]))],
    });
    case(
        "fma-fused",
        "cancelling",
        Arc::new(move |s, r, seen| {
            if !declared(s, ty)?.fma_fused || !s.info().has(Feature::Fma) {
                return Err(not_declared(s, "an fma that rounds once"));
            }
            let f = format(ty);
            let (mut p, mut q, mut c) = (vec![], vec![], vec![]);
            for _ in 0..N {
                let [x, y] = [0; 2].map(|_| f.round(Wide::from(r.between(-4.0, 4.0))));
                p.push(x);
                q.push(y);
                c.push(-f.round(Wide::product(x, y)));
            }
            let x = bits(ty, [p, q, c]);
            let got = table.run(s, 0, &x)?;
            // What the product's rounding lost: not 0, and a number of the type.
            exact("fma", ty, &x, &got, |p, q, c| f.round(Wide::product(p, q) + Wide::from(c)), seen)
        }),
    );
}

/// Sums that lie in the middle between two numbers of a type go to the even one.
fn ties(case: &mut impl FnMut(&str, &str, Arc<crate::case::Run>), ty: Type) {
    case(
        "nearest-even",
        "ties",
        Arc::new(move |s, r, seen| {
            if !declared(s, ty)?.correctly_rounded {
                return Err(not_declared(s, "that + − × are correctly rounded"));
            }
            // Ties of sums: x + half a unit of its last place.
            let f = format(ty);
            let table = table(ty);
            let (mut p, mut q) = (vec![], vec![]);
            for _ in 0..N {
                let x = f.round(Wide::from(r.between(1.0, 2.0))) * 2f64.powi(r.below(5) as i32);
                p.push(if r.below(2) == 0 { x } else { -x });
                q.push(f.ulp(x) / 2.0 * if r.below(2) == 0 { 1.0 } else { -1.0 });
            }
            let x = bits(ty, [p, q, vec![0.0; N]]);
            let got = table.run(s, 0, &x)?;
            exact("a sum in the middle between two numbers", ty, &x, &got, |p, q, _| f.round(Wide::sum(p, q)), seen)
        }),
    );
}
