//! The badge `exact`: on a device whose declared arithmetic leaves no choice, `Numerics::Exact` gives the CPU's bits for every operation.
//!
//! Kernels of integer operations, and of sums and products that are rounded one by one, first; then tensors: functions, sums, products,
//! norms, attention, in f32 and in the types of 16 bits.

use super::{cpu, same_tensors};
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
    Conv2d, DType, Device, Numerics, Result, Tensor,
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
    tensors(all);
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

/// What is computed twice, from numbers of a shape.
type Work = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Operations on `[6, 34, 34]` and another such, all of which round, and most of which sum.
const WORK: &[(&str, Work)] = &[
    ("quotients", |x, y| x.div(y)?.add(&y.recip()?)),
    ("roots", |x, y| x.abs()?.sqrt()?.add(&y.abs()?.rsqrt()?)),
    ("exponentials", |x, y| x.exp()?.add(&y.exp2()?)?.add(&x.tanh()?)?.add(&y.sigmoid()?)),
    ("logarithms", |x, y| x.abs()?.log()?.add(&y.abs()?.log2()?)?.add(&x.abs()?.log1p()?)),
    ("angles", |x, y| x.sin()?.add(&y.cos()?)?.add(&x.tan()?)?.add(&y.atan()?)),
    ("powers", |x, y| x.abs()?.pow(y)?.add(&x.rem(y)?)),
    ("errors", |x, y| x.erf()?.add(&y.gelu()?)?.add(&x.erfc()?)),
    ("chain", |x, y| x.mul(y)?.add(x)?.gelu()),
    ("sum", |x, y| x.mul(y)?.sum(-1)),
    ("sum-of-all", |x, y| x.sub(y)?.sum_all()),
    ("mean-and-variance", |x, y| x.mean(0)?.add(&y.var(0)?)),
    ("softmax", |x, y| x.mul(y)?.softmax(-1)),
    ("layer-norm", |x, y| x.add(y)?.layer_norm(None, None, 1e-5)),
    ("rms-norm", |x, y| x.sub(y)?.rms_norm(None, 1e-6)),
    ("matmul", |x, y| x.matmul(y)),
    ("matmul-with-epilogue", |x, y| x.matmul(&y.t()?)?.add(x)?.silu()),
    ("running-sum", |x, y| x.mul(y)?.cumsum(-1)),
    ("conv", |x, y| {
        let w = y.narrow(1, 0, 3)?.narrow(2, 0, 3)?.unsqueeze(0)?;
        x.unsqueeze(0)?.conv2d(&w, None, Conv2d::default())
    }),
    ("attention", |x, y| {
        let (q, k) = (x.unsqueeze(0)?, y.unsqueeze(0)?);
        q.attention(&k, &q, None, None, true)
    }),
    ("pooling", |x, _| x.unsqueeze(0)?.avg_pool2d([3, 3])),
];

/// The types that they are computed in; f16 and bf16 are rounded wherever a value lies in memory.
const TYPES: [Type; 3] = [Type::F32, Type::F16, Type::BF16];

fn tensors(all: &mut Vec<Case>) {
    for &(name, work) in WORK {
        for ty in TYPES {
            let id = format!("system/exact/{name}/{}/tensors", crate::cases::ir::name(ty));
            let case = Case::new(id, "exact", Some(ty), "tensors", move |s, r, seen| {
                let exact = s.exact()?;
                let (mut make, shape) = (|| numbers(ty, r), [6usize, 34, 34]);
                let (x, y) = (make(), make());
                let on = |d: &Device| -> Result<Tensor> {
                    let t = |v: &[f32]| Tensor::from_vec(v.to_vec(), &shape[..], d)?.to_dtype(dtype(ty));
                    work(&t(&x)?, &t(&y)?)
                };
                let (here, there) = (on(&exact.device)?, on(&Device::open_with("cpu", Numerics::Exact)?)?);
                let same = same_tensors("exact, here and on the CPU", &here, &there, seen);
                s.absorb(&exact);
                same.and_then(|()| exact.check())
            });
            all.push(case.optional());
        }
    }
}

/// Numbers of both signs and many sizes, for f32 a few of them subnormal.
fn numbers(ty: Type, r: &mut Random) -> Vec<f32> {
    let value = |i: usize, r: &mut Random| match i % 97 {
        0 if ty == Type::F32 => f32::from_bits(r.bits() as u32 & 0x807f_ffff),
        _ => Type::F32.float_of_bits(element(Type::F32, Values::Range(-4.0, 4.0), r)) as f32,
    };
    (0..6 * 34 * 34).map(|i| value(i, r)).collect()
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
