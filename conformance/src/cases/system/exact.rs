//! The badge `exact`: integer operations, and sums and products that are rounded one by one, give the CPU's bits on every device whose
//! declared arithmetic leaves no choice. (The library has no mode that asks tensors for it yet: these are kernels.)

use super::cpu;
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, run_on, same},
    oracle::{
        Type,
        sample::{Random, Values, element},
    },
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::Grid,
        info::Subnormals,
        ir::{Access, BinaryOp, Builder, Builtin, Kernel, Place, Value},
    },
};

/// Is there one right result for + − × of this type?
fn declared(s: &Subject, ty: Type) -> End {
    if !ty.is_float() {
        return Ok(());
    }
    s.computes(ty)?;
    let a = s.info().arithmetic.get(&dtype(ty));
    let fits = a.is_some_and(|a| {
        a.correctly_rounded && !a.may_contract && !a.may_reassociate && a.nan_inf && a.subnormals == Subnormals::Kept
    });
    match fits {
        true => Ok(()),
        false => Err(Failure::Unsupported(format!(
            "{}: its declared arithmetic in {} leaves the rounding of sums and products open",
            s.device,
            dtype(ty)
        ))),
    }
}

/// Sixteen rounds of sums and products over three numbers, in a fixed order.
fn rounds(name: &str, ty: Type, ops: &[BinaryOp]) -> anychip::Result<Kernel> {
    let d = dtype(ty);
    let mut b = Builder::new(&format!("exact_{name}_{}", crate::cases::ir::name(ty)), [64, 1, 1]);
    let ins = ["x", "y", "z"].map(|n| b.buffer(n, d, Access::Read));
    let out = b.buffer("out", d, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v: Vec<Value> = ins.iter().map(|p| b.load(Place::Buffer(*p), i)).collect();
    let mut at = v.clone();
    for n in 0..16 {
        let y = b.binary(ops[n % ops.len()], at[n % 3], at[(n + 1) % 3]);
        at[(n + 2) % 3] = y;
    }
    let y = b.add(at[0], at[1]);
    let y = b.add(y, at[2]);
    b.store(Place::Buffer(out), i, y);
    b.finish()
}

pub(super) fn cases(all: &mut Vec<Case>) {
    use BinaryOp::*;
    let sums: &[BinaryOp] = &[Add, Sub, Add];
    let products: &[BinaryOp] = &[Mul, Add, Sub, Mul];
    let bits: &[BinaryOp] = &[Add, Mul, Xor, Shl, Sub, Shr, Or, And];
    for (name, ty, ops) in [
        ("sums", Type::F32, sums),
        ("products", Type::F32, products),
        ("sums", Type::F64, sums),
        ("products", Type::F64, products),
        ("bits", Type::I32, bits),
        ("bits", Type::U32, bits),
        ("bits", Type::I64, bits),
        ("bits", Type::U64, bits),
        ("bits", Type::U8, bits),
    ] {
        for values in [Values::Range(-2.0, 2.0), Values::AnyBits] {
            let kind = if values == Values::AnyBits { "any-bits" } else { "ordinary" };
            let id = format!("system/exact/{name}/{}/{kind}", crate::cases::ir::name(ty));
            let case =
                Case::new(id, "exact", Some(ty), "chain", move |s, r, seen| both(s, name, ty, ops, values, r, seen));
            // Integers have no choice anywhere.
            all.push(if ty.is_float() { case.optional() } else { case });
        }
    }
    all.push(
        Case::new("system/exact/order/f32/fixed-tree", "exact", Some(Type::F32), "reduction", |s, r, seen| {
            // A sum in an order that the kernel says: 4096 numbers, pair by pair.
            declared(s, Type::F32)?;
            let mut b = Builder::new("exact_tree", [64, 1, 1]);
            let (x, out) = (b.buffer("x", DType::F32, Access::Read), b.buffer("out", DType::F32, Access::Write));
            let i = b.builtin(Builtin::GlobalId(0));
            let n = b.idx(16);
            let first = b.mul(i, n);
            let mut parts: Vec<Value> = (0..16u64)
                .map(|k| {
                    let k = b.idx(k);
                    let at = b.add(first, k);
                    b.load(Place::Buffer(x), at)
                })
                .collect();
            while parts.len() > 1 {
                parts = parts.chunks(2).map(|p| b.add(p[0], p[p.len() - 1])).collect();
            }
            b.store(Place::Buffer(out), i, parts[0]);
            let k = b.finish()?;
            let x: Vec<u8> = (0..16 * 256)
                .flat_map(|_| (element(Type::F32, Values::Range(-100.0, 100.0), r) as u32).to_le_bytes())
                .collect();
            let (mut here, mut there) = ([x.clone(), vec![0; 1024]], [x, vec![0; 1024]]);
            run_on(s.chip(), &k, Grid::covering(256, 64), &mut here, &[])?;
            run_on(&cpu()?.chain()[0], &k, Grid::covering(256, 64), &mut there, &[])?;
            same("sums in one order, here and on the CPU", &here[1], &there[1], seen)
        })
        .optional(),
    );
}

fn both(s: &Subject, name: &str, ty: Type, ops: &[BinaryOp], values: Values, r: &mut Random, seen: &mut Seen) -> End {
    declared(s, ty)?;
    let k = rounds(name, ty, ops)?;
    let n = 512usize;
    let mut data = || {
        let x: Vec<u64> = (0..n).map(|_| element(ty, values, r)).collect();
        crate::cases::ir::table::put(ty, &x)
    };
    let mut here = [data(), data(), data(), vec![0xcd; n * ty.bytes()]];
    let mut there = here.clone();
    run_on(s.chip(), &k, Grid::covering(n as u64, 64), &mut here, &[])?;
    run_on(&cpu()?.chain()[0], &k, Grid::covering(n as u64, 64), &mut there, &[])?;
    let bits = |b: &[u8]| -> Vec<u64> {
        let all = crate::cases::ir::table::get(ty, b).into_iter();
        // NaNs are equal, whatever their bits.
        all.map(|b| if ty.is_float() && ty.float_of_bits(b).is_nan() { u64::MAX } else { b }).collect()
    };
    same("bits here and on the CPU", &bits(&here[3]), &bits(&there[3]), seen)
}
