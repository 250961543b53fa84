//! Integers: every operation of every type, bit for bit.

use super::{
    table::{Build, Table, exactly, operands, show},
    vec_name,
};
use crate::{
    Case,
    oracle::{
        Type,
        elementwise::{IntBinary, IntUnary, int_binary, int_unary},
    },
};
use anychip::hal::ir::{BinaryOp, UnaryOp};
use std::sync::Arc;

/// The integer types.
pub const INTS: [Type; 8] = [Type::I8, Type::I16, Type::I32, Type::I64, Type::U8, Type::U16, Type::U32, Type::U64];

/// A row: its name, its operation, its meaning.
struct Row {
    name: &'static str,
    build: fn() -> Build,
    want: fn(Type, i128, i128, i128) -> i128,
}

macro_rules! binary {
    ($name:literal, $op:ident) => {
        Row {
            name: $name,
            build: || Box::new(|b, x| b.binary(BinaryOp::$op, x[0], x[1])),
            want: |t, x, y, _| int_binary(IntBinary::$op, t, x, y),
        }
    };
}
macro_rules! unary {
    ($name:literal, $op:ident) => {
        Row {
            name: $name,
            build: || Box::new(|b, x| b.unary(UnaryOp::$op, x[0])),
            want: |t, x, _, _| int_unary(IntUnary::$op, t, x),
        }
    };
}

fn width(t: Type) -> i128 {
    8 * t.bytes() as i128
}

/// The bits of a number of a type, without its sign.
fn raw(t: Type, x: i128) -> u64 {
    x as u64 & (u64::MAX >> (64 - 8 * t.bytes()))
}

const ROWS: &[Row] = &[
    binary!("add", Add),
    binary!("sub", Sub),
    binary!("mul", Mul),
    binary!("div", Div),
    binary!("rem", Rem),
    binary!("min", Min),
    binary!("max", Max),
    binary!("and", And),
    binary!("or", Or),
    binary!("xor", Xor),
    binary!("shl", Shl),
    binary!("shr", Shr),
    unary!("neg", Neg),
    unary!("abs", Abs),
    unary!("sign", Sign),
    unary!("not", Not),
    Row {
        name: "count-ones",
        build: || Box::new(|b, x| b.unary(UnaryOp::CountOnes, x[0])),
        want: |t, x, _, _| i128::from(raw(t, x).count_ones()),
    },
    Row {
        name: "leading-zeros",
        build: || Box::new(|b, x| b.unary(UnaryOp::LeadingZeros, x[0])),
        want: |t, x, _, _| width(t) - (64 - i128::from(raw(t, x).leading_zeros())),
    },
    Row {
        name: "trailing-zeros",
        build: || Box::new(|b, x| b.unary(UnaryOp::TrailingZeros, x[0])),
        want: |t, x, _, _| i128::from(raw(t, x).trailing_zeros()).min(width(t)),
    },
    Row {
        name: "mul-add",
        build: || Box::new(|b, x| b.mul_add(x[0], x[1], x[2])),
        want: |t, x, y, z| t.wrap(x.wrapping_mul(y).wrapping_add(z)),
    },
];

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in INTS {
        for lanes in [1u8, 4] {
            let table = Arc::new(Table {
                name: format!("ints_{}x{lanes}", super::name(ty)),
                ins: vec![ty; 3],
                out: ty,
                lanes,
                rows: ROWS.iter().map(|r| (r.build)()).collect(),
            });
            for (n, row) in ROWS.iter().enumerate() {
                let table = table.clone();
                let id = format!("core/ir/{}/{}/{}", row.name, super::name(ty), vec_name(lanes));
                all.push(Case::new(id, row.name, Some(ty), vec_name(lanes), move |s, r, seen| {
                    let x: [Vec<u64>; 3] = operands(s, ty, 512, r);
                    let got = table.run(s, n, &x)?;
                    let int = |k: usize, i: usize| ty.int_of_bits(x[k][i]);
                    let want: Vec<u64> =
                        (0..512).map(|i| raw(ty, (row.want)(ty, int(0, i), int(1, i), int(2, i)))).collect();
                    let tell = |i: usize| format!("{} and {}", show(ty, x[0][i]), show(ty, x[1][i]));
                    exactly(row.name, ty, &got, &want, tell, seen)
                }));
            }
        }
    }
}
