//! Vectors: taking apart, putting together, splatting, choosing, loading and storing at any index.

use super::{
    table::{Build, Table, exactly, operands, show},
    vec_name,
};
use crate::{Case, oracle::Type};
use anychip::hal::ir::CmpOp;
use std::sync::Arc;

/// A row's meaning: the result's lane `l` of vectors `x`, `y`; `less` compares two elements.
type Want = fn(x: &[u64], y: &[u64], l: usize, less: &dyn Fn(u64, u64) -> bool) -> u64;

fn rows() -> Vec<(&'static str, Build, Want)> {
    vec![
        (
            "select",
            Box::new(|b, x| {
                let c = b.compare(CmpOp::Lt, x[0], x[1]);
                b.select(c, x[0], x[1])
            }),
            |x, y, l, less| if less(x[l], y[l]) { x[l] } else { y[l] },
        ),
        (
            "select-by-one",
            Box::new(|b, x| {
                let (p, q) = (b.extract(x[0], 0), b.extract(x[1], 0));
                let c = b.compare(CmpOp::Lt, p, q);
                b.select(c, x[0], x[1])
            }),
            |x, y, l, less| if less(x[0], y[0]) { x[l] } else { y[l] },
        ),
        (
            "reverse",
            Box::new(|b, x| {
                let lanes = b.ty(x[0]).lanes();
                let parts: Vec<_> = (0..lanes).rev().map(|l| b.extract(x[0], l)).collect();
                b.vector(&parts)
            }),
            |x, _, l, _| x[x.len() - 1 - l],
        ),
        (
            "interleave",
            Box::new(|b, x| {
                let lanes = b.ty(x[0]).lanes();
                let parts: Vec<_> = (0..lanes).map(|l| b.extract(x[(l % 2) as usize], l)).collect();
                b.vector(&parts)
            }),
            |x, y, l, _| if l % 2 == 0 { x[l] } else { y[l] },
        ),
        (
            "splat",
            Box::new(|b, x| {
                let lanes = b.ty(x[0]).lanes();
                let last = b.extract(x[0], lanes - 1);
                b.splat(last, lanes)
            }),
            |x, _, _, _| x[x.len() - 1],
        ),
        ("move", Box::new(|_, x| x[1]), |_, y, l, _| y[l]),
    ]
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in Type::ALL {
        for lanes in [1u8, 2, 4, 8, 16] {
            let many = matches!(ty, Type::F32 | Type::I32 | Type::U8 | Type::F16);
            if lanes > 1 && lanes != 4 && !many {
                continue;
            }
            table(all, ty, lanes);
        }
    }
}

fn table(all: &mut Vec<Case>, ty: Type, lanes: u8) {
    // Bools have no order: they are chosen by equality.
    let mut rows = rows();
    if ty == Type::Bool {
        rows.retain(|r| !r.0.starts_with("select"));
        rows.push((
            "select",
            Box::new(|b, x| {
                let c = b.compare(CmpOp::Ne, x[0], x[1]);
                b.select(c, x[0], x[1])
            }),
            |x, y, l, _| if x[l] != y[l] { x[l] } else { y[l] },
        ));
    }
    if lanes == 1 {
        rows.retain(|r| matches!(r.0, "select" | "move"));
    }
    let (names, rest): (Vec<_>, Vec<_>) = rows.into_iter().map(|(n, b, w)| (n, (b, w))).unzip();
    let (builds, wants): (Vec<_>, Vec<Want>) = rest.into_iter().unzip();
    let table = Arc::new(Table {
        name: format!("lanes_{}x{lanes}", super::name(ty)),
        ins: vec![ty; 2],
        out: ty,
        lanes,
        rows: builds,
    });
    for (n, (op, want)) in names.into_iter().zip(wants).enumerate() {
        let table = table.clone();
        let id = format!("core/ir/{op}/{}/{}", super::name(ty), vec_name(lanes));
        let case = Case::new(id, op, Some(ty), vec_name(lanes), move |s, r, seen| {
            let x: [Vec<u64>; 2] = operands(s, ty, 320, r);
            let got = table.run(s, n, &x)?;
            let less = |p: u64, q: u64| match ty.is_float() {
                true => ty.float_of_bits(p) < ty.float_of_bits(q),
                false => ty.int_of_bits(p) < ty.int_of_bits(q),
            };
            let lanes = lanes as usize;
            let want: Vec<u64> = (0..x[0].len())
                .map(|i| {
                    let from = i / lanes * lanes;
                    want(&x[0][from..from + lanes], &x[1][from..from + lanes], i % lanes, &less)
                })
                .collect();
            let tell = |i: usize| format!("{} and {}", show(ty, x[0][i]), show(ty, x[1][i]));
            exactly(op, ty, &got, &want, tell, seen)
        });
        all.push(if ty == Type::F64 { case.optional() } else { case });
    }
}
