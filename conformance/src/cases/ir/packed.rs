//! Packed numbers: dot products of four bytes, elements of 1, 2 and 4 bits.

use super::table::{Build, Table, exactly};
use crate::{Case, Seen, oracle::Type, oracle::sample::Random};
use anychip::DType;
use anychip::hal::ir::{Op, Type as Ty};
use std::sync::Arc;

/// Words whose bytes matter, and random ones.
fn words(n: usize, r: &mut Random) -> Vec<u64> {
    let ends = [0u64, 0xffff_ffff, 0x8080_8080, 0x7f7f_7f7f, 0x0180_ff7f, 0x8000_007f];
    (0..n).map(|i| if i % 3 == 0 { *r.one_of(&ends) } else { r.bits() & 0xffff_ffff }).collect()
}

fn byte(word: u64, k: u32, signed: bool) -> i64 {
    let b = (word >> (8 * k)) as u8;
    if signed { i64::from(b as i8) } else { i64::from(b) }
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for (name, a_signed, b_signed) in [
        ("signed", true, true),
        ("unsigned", false, false),
        ("left-signed", true, false),
        ("right-signed", false, true),
    ] {
        let ty = if a_signed || b_signed { Type::I32 } else { Type::U32 };
        let build: Build = Box::new(move |b, x| {
            let out = Ty::scalar(if a_signed || b_signed { DType::I32 } else { DType::U32 });
            b.define(out, Op::Dot4 { a: x[0], b: x[1], acc: x[2], a_signed, b_signed })
        });
        let table = Table {
            name: format!("dot4_{}", name.replace('-', "_")),
            ins: vec![Type::U32, Type::U32, ty],
            out: ty,
            lanes: 1,
            rows: vec![build],
        };
        all.push(Case::new(
            format!("core/ir/dot4/{}/{name}", super::name(ty)),
            "dot4",
            Some(ty),
            "scalar",
            move |s, r, seen| {
                let x = [words(256, r), words(256, r), words(256, r)];
                let got = table.run(s, 0, &x)?;
                let want: Vec<u64> = (0..256)
                    .map(|i| {
                        let dot: i64 = (0..4).map(|k| byte(x[0][i], k, a_signed) * byte(x[1][i], k, b_signed)).sum();
                        (dot as u64).wrapping_add(x[2][i]) & 0xffff_ffff
                    })
                    .collect();
                exactly("dot4", ty, &got, &want, |i| format!("{:#x}, {:#x}, {:#x}", x[0][i], x[1][i], x[2][i]), seen)
            },
        ));
    }
    let kinds: Vec<(u8, bool)> = [1u8, 2, 4].into_iter().flat_map(|bits| [(bits, false), (bits, true)]).collect();
    let rows: Vec<Build> = kinds
        .iter()
        .map(|&(bits, signed)| {
            Box::new(move |b: &mut anychip::hal::ir::Builder, x: &[anychip::hal::ir::Value]| {
                b.define(Ty::scalar(DType::I32), Op::Unpack { word: x[0], index: x[1], bits, signed })
            }) as Build
        })
        .collect();
    let table = Arc::new(Table { name: "unpack".into(), ins: vec![Type::U32; 2], out: Type::I32, lanes: 1, rows });
    for (n, (bits, signed)) in kinds.into_iter().enumerate() {
        let table = table.clone();
        let sign = if signed { "signed" } else { "unsigned" };
        all.push(Case::new(
            format!("core/ir/unpack/i32/{bits}-bits-{sign}"),
            "unpack",
            Some(Type::I32),
            "scalar",
            move |s, r, seen: &mut Seen| {
                let per_word = 32 / u64::from(bits);
                let x = [words(256, r), (0..256).map(|i| i % per_word).collect::<Vec<u64>>()];
                let got = table.run(s, n, &x)?;
                let want: Vec<u64> = (0..256)
                    .map(|i| {
                        let field = x[0][i] >> (x[1][i] * u64::from(bits)) & ((1 << bits) - 1);
                        let negative = signed && field >> (bits - 1) == 1;
                        let value = field as i64 - if negative { 1 << bits } else { 0 };
                        value as u64 & 0xffff_ffff
                    })
                    .collect();
                exactly("unpack", Type::I32, &got, &want, |i| format!("{:#x}, element {}", x[0][i], x[1][i]), seen)
            },
        ));
    }
}
