//! Conversions between all types, and the same bits as another type.

use super::table::{exactly, get, operands, put, show};
use crate::{
    Case, Failure, Subject,
    cases::launch::run,
    oracle::{Array, Data, Type, elementwise::cast, number::Number, sample::Random},
    subject::dtype,
};
use anychip::hal::{
    device::{Grid, ScalarArg},
    ir::{Access, Builder, Builtin, CmpOp, Place},
};

/// Targets of one kernel: with the operand as many buffers as the poorest device binds.
const TARGETS: usize = 7;
const N: usize = 256;

pub(super) fn cases(all: &mut Vec<Case>) {
    for from in Type::ALL {
        for part in Type::ALL.chunks(TARGETS) {
            for &to in part.iter().filter(|to| **to != from) {
                let id = format!("core/ir/cast/{}/scalar/to-{}", super::name(from), super::name(to));
                let case = Case::new(id, "cast", Some(from), "scalar", move |s, r, seen| {
                    let [mut x] = operands::<1>(s, from, N, r);
                    if to.is_float() {
                        x.iter_mut().for_each(|b| *b = representable(s, from, to, *b));
                    }
                    let got = convert(s, "cast", from, part, to, &x)?;
                    let want = meant(from, to, &x);
                    exactly(&format!("cast to {}", super::name(to)), to, &got, &want, |i| show(from, x[i]), seen)
                });
                all.push(if [from, to].contains(&Type::F64) { case.optional() } else { case });
            }
        }
        bitcasts(all, from);
    }
}

/// A value whose conversion has one result only: where the device may flush, one whose result is not subnormal.
fn representable(s: &Subject, from: Type, to: Type, bits: u64) -> u64 {
    let facts = s.arithmetic(to).facts;
    let Some(format) = to.format() else { return bits };
    let x = match from.format() {
        Some(_) => from.float_of_bits(bits),
        None => from.int_of_bits(bits) as f64,
    };
    let small = x != 0.0 && x.abs() < format.min_normal() && facts.subnormals != crate::oracle::Subnormals::Kept;
    let large = x.is_finite() && x.abs() > format.max() && !facts.nan_inf;
    if small || large { 0 } else { bits }
}

/// The oracle's conversion, by bits.
fn meant(from: Type, to: Type, x: &[u64]) -> Vec<u64> {
    let data = match from.format() {
        Some(_) => Data::Real(Array::new(&[x.len()], x.iter().map(|b| Number::from(from.float_of_bits(*b))).collect())),
        None => Data::Int(Array::new(&[x.len()], x.iter().map(|b| from.int_of_bits(*b)).collect())),
    };
    match cast(&data, to) {
        Data::Real(y) => y.data.iter().map(|y| to.bits_of_float(y.value.hi)).collect(),
        Data::Int(y) => y.data.iter().map(|y| *y as u64 & (u64::MAX >> (64 - 8 * to.bytes()))).collect(),
    }
}

/// The kernel with one result buffer per target; only the one that is asked for is written.
fn convert(s: &Subject, how: &str, from: Type, part: &[Type], to: Type, x: &[u64]) -> Result<Vec<u64>, Failure> {
    // f64 alone cannot be emulated: where a device has none, it must not take the other targets with it.
    let part: Vec<Type> =
        part.iter().copied().filter(|t| *t == to || *t != Type::F64 || s.computes(*t).is_ok()).collect();
    let n = part.iter().take_while(|t| **t != to).count();
    let mut b = Builder::new(&format!("{how}_{}_{}", super::name(from), super::name(part[0])), [32, 1, 1]);
    let input = b.buffer("x", dtype(from), Access::Read);
    let outs: Vec<_> =
        part.iter().map(|t| b.buffer(&format!("to_{}", super::name(*t)), dtype(*t), Access::Write)).collect();
    let row = b.scalar("row", anychip::DType::U32);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(input), i);
    for (k, (to, out)) in part.iter().zip(&outs).enumerate() {
        let k = b.u32(k as u32);
        let mine = b.compare(CmpOp::Eq, row, k);
        b.begin_if(mine);
        let y = if how == "cast" { b.cast(dtype(*to), v) } else { b.bitcast(dtype(*to), v) };
        b.store(Place::Buffer(*out), i, y);
        b.end_if();
    }
    let mut buffers = vec![put(from, x)];
    buffers.extend(part.iter().enumerate().map(|(k, t)| vec![0xcd; t.bytes() * if k == n { x.len() } else { 2 }]));
    run(s, &b.finish()?, Grid::covering(x.len() as u64, 32), &mut buffers, &[ScalarArg::U32(n as u32)])?;
    Ok(get(to, &buffers[n + 1]))
}

fn bitcasts(all: &mut Vec<Case>, from: Type) {
    let same = |t: &Type| t.bytes() == from.bytes() && *t != Type::Bool && *t != from;
    let part: Vec<Type> = Type::ALL.into_iter().filter(same).collect();
    if from == Type::Bool {
        return;
    }
    for &to in &part {
        let part = part.clone();
        let id = format!("core/ir/bitcast/{}/scalar/to-{}", super::name(from), super::name(to));
        let case = Case::new(id, "bitcast", Some(from), "scalar", move |s, r: &mut Random, seen| {
            let [x] = operands::<1>(s, from, N, r);
            // Bits of floats as they may be: subnormals and NaN only where both types keep them.
            let x: Vec<u64> =
                x.into_iter().map(|b| super::table::plain(s, to, super::table::plain(s, from, b))).collect();
            let got = convert(s, "bitcast", from, &part, to, &x)?;
            let what = format!("bits as {}", super::name(to));
            // A NaN of 16 bits may pass through f32, where its payload changes.
            let nan = |t: Type, b: u64| t.is_float() && t.float_of_bits(b).is_nan();
            let want: Vec<u64> = x
                .iter()
                .zip(&got)
                .map(|(b, g)| if from.bytes() == 2 && (nan(from, *b) || nan(to, *b)) { *g } else { *b })
                .collect();
            exactly(&what, to, &got, &want, |i| show(from, x[i]), seen)
        });
        all.push(if [from, to].contains(&Type::F64) { case.optional() } else { case });
    }
}
