//! Scalars of a launch: every type, many of them, and built-in numbers.

use crate::{
    Case,
    cases::launch::{of_u32, run, same, to_u32},
    oracle::{
        Type,
        sample::{Values, element},
    },
    subject::dtype,
};
use anychip::{
    DType, bf16, f16,
    hal::{
        device::{Grid, ScalarArg},
        ir::{Access, BinaryOp, Builder, Builtin, Elem, Place},
    },
};

/// A scalar argument of a type from its bits.
pub fn argument(ty: Type, bits: u64) -> ScalarArg {
    match ty {
        Type::Bool => ScalarArg::Bool(bits != 0),
        Type::I8 => ScalarArg::I8(bits as i8),
        Type::I16 => ScalarArg::I16(bits as i16),
        Type::I32 => ScalarArg::I32(bits as i32),
        Type::I64 => ScalarArg::I64(bits as i64),
        Type::U8 => ScalarArg::U8(bits as u8),
        Type::U16 => ScalarArg::U16(bits as u16),
        Type::U32 => ScalarArg::U32(bits as u32),
        Type::U64 => ScalarArg::U64(bits),
        Type::F16 => ScalarArg::F16(f16::from_bits(bits as u16)),
        Type::BF16 => ScalarArg::BF16(bf16::from_bits(bits as u16)),
        Type::F32 => ScalarArg::F32(f32::from_bits(bits as u32)),
        Type::F64 => ScalarArg::F64(f64::from_bits(bits)),
    }
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in Type::ALL {
        let name = super::name(ty);
        let case = Case::new(format!("core/ir/scalar/{name}/mixed"), "scalar", Some(ty), "mixed", move |s, r, seen| {
            // Between others of other sizes, so that its place in the layout matters.
            let mut b = Builder::new(&format!("scalar_{name}"), [4, 1, 1]);
            let out = b.buffer("out", dtype(ty), Access::Write);
            let p = b.scalar("p", DType::U8);
            let x = b.scalar("x", dtype(ty));
            let q = b.scalar("q", DType::U16);
            let y = b.scalar("y", dtype(ty));
            let (zero, one) = (b.idx(0), b.idx(1));
            b.store(Place::Buffer(out), zero, x);
            b.store(Place::Buffer(out), one, y);
            let check = b.buffer("check", DType::U32, Access::Write);
            let p = b.cast(DType::U32, p);
            let q = b.cast(DType::U32, q);
            b.store(Place::Buffer(check), zero, p);
            b.store(Place::Buffer(check), one, q);
            let k = b.finish()?;
            for _ in 0..8 {
                let [v, w] = [0; 2].map(|_| super::table::plain(s, ty, element(ty, Values::Special, r)));
                let args = [ScalarArg::U8(201), argument(ty, v), ScalarArg::U16(60_007), argument(ty, w)];
                let mut buffers = [vec![0xcd; 2 * ty.bytes()], vec![0xcd; 8]];
                run(s, &k, Grid::Linear(1), &mut buffers, &args)?;
                let nan = |b: u64| ty.is_float() && ty.float_of_bits(b).is_nan();
                let got = super::table::get(ty, &buffers[0]);
                let got: Vec<u64> =
                    got.iter().zip([v, w]).map(|(g, w)| if nan(*g) && nan(w) { w } else { *g }).collect();
                same(format!("two scalars of {name}"), &got, &[v, w], seen)?;
                same("the scalars beside them", &to_u32(&buffers[1]), &[201, 60_007], seen)?;
            }
            Ok(())
        });
        all.push(if ty == Type::F64 { case.optional() } else { case });
    }
    for n in [1u32, 15, 31, 64, 200] {
        all.push(Case::new(
            format!("core/ir/scalar/u32/many/{n}"),
            "scalar",
            Some(Type::U32),
            "many",
            move |s, r, seen| {
                let mut b = Builder::new(&format!("scalars_{n}"), [64, 1, 1]);
                let out = b.buffer("out", DType::U32, Access::Write);
                let i = b.builtin(Builtin::GlobalId(0));
                let lane = b.cast(DType::U32, i);
                let mut sum = lane;
                for k in 0..n {
                    let (x, m) = (b.scalar(&format!("s{k}"), DType::U32), b.u32(2 * k + 1));
                    let p = b.mul(x, m);
                    sum = b.add(sum, p);
                }
                b.store(Place::Buffer(out), i, sum);
                let k = b.finish()?;
                let values: Vec<u32> = (0..n).map(|_| r.bits() as u32).collect();
                let args: Vec<_> = values.iter().map(|v| ScalarArg::U32(*v)).collect();
                let mut buffers = [vec![0; 4 * 130]];
                run(s, &k, Grid::covering(130, 64), &mut buffers, &args)?;
                let total =
                    values.iter().enumerate().fold(0u32, |t, (k, v)| t.wrapping_add(v.wrapping_mul(2 * k as u32 + 1)));
                let want: Vec<u32> = (0..130).map(|i| total.wrapping_add(i)).collect();
                same(format!("{n} scalars"), &to_u32(&buffers[0]), &want, seen)
            },
        ));
    }
    all.push(Case::new("core/ir/scalar/u32/two-launches", "scalar", Some(Type::U32), "many", |s, r, seen| {
        // Launches of one submission keep their own scalars.
        let d = s.chip();
        let p = d.kernel(&crate::cases::launch::bump()?, anychip::hal::device::Checks::On)?;
        let held = (0..40).map(|_| d.alloc_from(&of_u32([0; 70]))).collect::<anychip::Result<Vec<_>>>()?;
        let by: Vec<u32> = held.iter().map(|_| r.bits() as u32).collect();
        let steps: Vec<_> = held
            .iter()
            .zip(&by)
            .map(|(b, by)| {
                crate::cases::launch::step(&p, Grid::covering(70, 64), vec![b.all()], &[ScalarArg::U32(*by)])
            })
            .collect();
        d.submit(&steps)?.wait()?;
        for (n, (b, by)) in held.iter().zip(&by).enumerate() {
            let got = to_u32(&crate::cases::launch::read_all(d, b)?);
            same(format!("launch {n} of 40 with scalars of their own"), &got, &[*by; 70], seen)?;
        }
        Ok(())
    }));
    for (name, x) in [
        ("small", 123_456u64),
        ("32-bits", u64::from(u32::MAX)),
        ("33-bits", (1 << 32) + 7),
        ("60-bits", (1 << 60) + 12_345),
    ] {
        let case = Case::new(format!("core/ir/scalar/idx/one/{name}"), "idx", None, "one", move |s, _, seen| {
            let mut b = Builder::new("idx_parts", [1, 1, 1]);
            let out = b.buffer("out", DType::U32, Access::Write);
            let x0 = b.scalar("x", Elem::Idx);
            let zero = b.idx(0);
            // Split by arithmetic of the index type: low, and what lies above 32 bits by two halvings.
            let half = b.idx(1 << 16);
            let low = b.cast(DType::U32, x0);
            let high = b.binary(BinaryOp::Div, x0, half);
            let high = b.binary(BinaryOp::Div, high, half);
            let high = b.cast(DType::U32, high);
            b.store(Place::Buffer(out), zero, low);
            let one = b.idx(1);
            b.store(Place::Buffer(out), one, high);
            let mut buffers = [vec![0xcd; 8]];
            run(s, &b.finish()?, Grid::Linear(1), &mut buffers, &[ScalarArg::Idx(x)])?;
            same(format!("the index {x}"), &to_u32(&buffers[0]), &[x as u32, (x >> 32) as u32], seen)
        });
        all.push(if x > u64::from(u32::MAX) { case.optional() } else { case });
    }
}
