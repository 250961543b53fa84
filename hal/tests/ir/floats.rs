//! What legalised kernels compute with floats: small ones that are stored and converted, functions written out, and what a
//! compiler that re-associates must not see.

use crate::{
    legal::{as_f32, device, floats, legal, plain},
    reference::run,
};
use anychip_hal::{
    DType,
    info::{Arithmetic, TypeSupport},
    ir::{build::Builder, fp8, *},
};
use half::{bf16, f16};

#[test]
fn small_floats_are_exact_in_every_bit() {
    for d in [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2] {
        let mut b = Builder::new("small", [64, 1, 1]);
        let code = b.buffer("code", d, Access::Read);
        let wide = b.buffer("wide", DType::F32, Access::Write);
        let x = b.buffer("x", DType::F32, Access::Read);
        let narrow = b.buffer("narrow", d, Access::Write);
        let scale = b.scalar("scale", d);
        let scaled = b.buffer("scaled", DType::F32, Access::Write);
        let i = b.builtin(Builtin::GlobalId(0));
        let v = b.load(Place::Buffer(code), i);
        let v = b.cast(DType::F32, v);
        b.store(Place::Buffer(wide), i, v);
        let v = b.load(Place::Buffer(x), i);
        let v = b.cast(d, v);
        b.store(Place::Buffer(narrow), i, v);
        let s = b.cast(DType::F32, scale);
        b.store(Place::Buffer(scaled), i, s);
        let k = b.finish().expect("built");
        let decode = |c: u64| match d {
            DType::F16 => f16::from_bits(c as u16).to_f32(),
            DType::BF16 => bf16::from_bits(c as u16).to_f32(),
            DType::F8E4M3 => fp8::decode(c as u8, fp8::Kind::E4M3),
            _ => fp8::decode(c as u8, fp8::Kind::E5M2),
        };
        let encode = |x: f32| match d {
            DType::F16 => f16::from_f32(x).to_bits() as u64,
            DType::BF16 => bf16::from_f32(x).to_bits() as u64,
            DType::F8E4M3 => fp8::encode(x, fp8::Kind::E4M3) as u64,
            _ => fp8::encode(x, fp8::Kind::E5M2) as u64,
        };
        let codes: Vec<u64> = (0..1u64 << (8 * d.size())).step_by(if d.size() == 1 { 1 } else { 7 }).collect();
        // Every code's value, the middle between it and the next, and both neighbours of that middle.
        let mut values: Vec<f32> = vec![f32::NAN, -f32::NAN, f32::INFINITY, -f32::INFINITY, f32::MAX, 1e-45, -1e-40];
        for c in &codes {
            let (a, b) = (decode(*c), decode(c + 1));
            let mid = ((a as f64 + b as f64) / 2.0) as f32;
            values.extend([a, mid, f32::from_bits(mid.to_bits() + 1), f32::from_bits(mid.to_bits().wrapping_sub(1))]);
        }
        let n = values.len().next_multiple_of(64);
        values.resize(n, 1.0);
        let mut codes = codes;
        codes.resize(n, 0);
        let info = plain();
        let k = legal(&k, &info, 32, false);
        let mut bufs = [codes.clone(), vec![0; n], floats(&values), vec![0; n], vec![0; n]];
        run(&k, [n as u32 / 64, 1, 1], 0, &mut bufs, &[encode(1.5)]);
        for i in 0..n {
            let (got, want) = (f32::from_bits(bufs[1][i] as u32), decode(codes[i]));
            assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{d} {:#x}: {got}", codes[i]);
            assert_eq!(bufs[3][i], encode(values[i]), "{d} {:e} {:#x}", values[i], values[i].to_bits());
        }
        assert!(as_f32(&bufs[4]).iter().all(|s| *s == 1.5));
    }
}

#[test]
fn stored_types_are_converted_at_memory_only() {
    let mut b = Builder::new("half", [4, 1, 1]);
    let x = b.buffer("x", DType::F16, Access::ReadWrite);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load_vec(Place::Buffer(x), i, 4);
    let w = b.mul(v, v);
    let code = b.bitcast(DType::U16, w);
    let back = b.bitcast(DType::F16, code);
    let w = b.add(w, back);
    b.store(Place::Buffer(x), i, w);
    let k = legal(&b.finish().expect("built"), &device(TypeSupport::STORAGE), 32, true);
    visit(&k.body, &mut |i| {
        let f16s = |v: Value| k.ty(v).elem() == Some(Elem::D(DType::F16));
        if let (Some(out), true) = (i.out, i.out.is_some_and(f16s)) {
            let ok = matches!(i.op, Op::Load { .. } | Op::Cast(_) | Op::Get(_) | Op::Const(0));
            assert!(ok, "{out} = {:?}\n{k}", i.op);
        }
    });
}

#[test]
fn erf_is_within_two_ulp() {
    let mut b = Builder::new("erf", [1, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::ReadWrite);
    let n = b.buf_len(x);
    let (zero, one) = (b.idx(0), b.idx(1));
    b.count(zero, n, one, |b, i| {
        let v = b.load(Place::Buffer(x), i);
        let v = b.unary(UnaryOp::Erf, v);
        b.store(Place::Buffer(x), i, v);
    });
    let k = legal(&b.finish().expect("built"), &plain(), 32, false);
    let mut xs: Vec<f32> = (0..20000).map(|i| (i as f32 - 10000.0) / 2300.0).collect();
    xs.extend([1.0, f32::from_bits(0x3f7f_ffff), 1e-20, 1e-40, 4.0, 10.0, f32::MAX]);
    let mut bufs = [floats(&xs)];
    run(&k, [1, 1, 1], 0, &mut bufs, &[]);
    let mut worst = 0f64;
    for (x, got) in xs.iter().zip(as_f32(&bufs[0])) {
        let want = erf64(*x as f64);
        let ulp = f32::from_bits((want.abs() as f32).to_bits() + 1) as f64 - (want.abs() as f32) as f64;
        worst = worst.max((got as f64 - want).abs() / ulp);
    }
    assert!(worst <= 2.0, "{worst} ULP");
    let mut bufs = [floats(&[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN])];
    run(&k, [1, 1, 1], 0, &mut bufs, &[]);
    let got = as_f32(&bufs[0]);
    assert_eq!(bufs[0][..2], floats(&[0.0, -0.0]));
    assert_eq!(got[2..4], [1.0, -1.0]);
    assert!(got[4].is_nan());
}

/// Maclaurin's series below 3 (alternating: 1e-11 is left of cancellation), the continued fraction above.
fn erf64(x: f64) -> f64 {
    let a = x.abs();
    let y = if a < 3.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..200 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = 0.0;
        for n in (1..200).rev() {
            f = n as f64 / 2.0 / (a + f);
        }
        1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + f)
    };
    y.copysign(x)
}

/// Where a compiler may re-associate, what it would fold away is hidden from it, and nothing else is; the numbers stay.
#[test]
fn what_re_association_would_lose_is_hidden() {
    let mut info = plain();
    info.arithmetic.insert(DType::F32, Arithmetic { may_reassociate: true, ..Arithmetic::IEEE });
    type Make<'m> = &'m dyn Fn(&mut Builder, Value) -> Value;
    let kernel = |make: Make<'_>| {
        let mut b = Builder::new("loose", [1, 1, 1]);
        let x = b.buffer("x", DType::F32, Access::Read);
        let out = b.buffer("out", DType::F32, Access::Write);
        let at = b.idx(0);
        let v = b.load(Place::Buffer(x), at);
        let y = make(&mut b, v);
        b.store(Place::Buffer(out), at, y);
        b.finish().expect("well built")
    };
    let cases: [(&str, Make<'_>, usize, f32); 11] = [
        (
            "(x + 1) + -1",
            &|b, x| {
                let (c, d) = (b.f32(1.0), b.f32(-1.0));
                let s = b.add(x, c);
                b.add(s, d)
            },
            1,
            0.0,
        ),
        (
            "(x + x) - x",
            &|b, x| {
                let s = b.add(x, x);
                b.sub(s, x)
            },
            1,
            1e-9,
        ),
        (
            "(x · 1e30) · 1e30",
            &|b, x| {
                let c = b.f32(1e30);
                let s = b.mul(x, c);
                b.mul(s, c)
            },
            1,
            f32::INFINITY,
        ),
        (
            "x / 0",
            &|b, x| {
                let c = b.f32(0.0);
                b.binary(BinaryOp::Div, x, c)
            },
            1,
            f32::INFINITY,
        ),
        ("x - x", &|b, x| b.sub(x, x), 1, 0.0),
        ("x / x", &|b, x| b.binary(BinaryOp::Div, x, x), 1, 1.0),
        (
            "(x / 3) · 3",
            &|b, x| {
                let c = b.f32(3.0);
                let s = b.binary(BinaryOp::Div, x, c);
                b.mul(s, c)
            },
            1,
            (1e-9 / 3.0) * 3.0,
        ),
        (
            "mul_add(x · 1e30, 1e30, x)",
            &|b, x| {
                let c = b.f32(1e30);
                let s = b.mul(x, c);
                b.mul_add(s, c, x)
            },
            1,
            f32::INFINITY,
        ),
        (
            "Kahan's compensation of a variable's sum",
            &|b, x| {
                let one = b.f32(1.0);
                let sum = b.var("sum", one);
                let before = b.get(sum);
                let t = b.add(before, x);
                let again = b.get(sum);
                let added = b.sub(t, again);
                b.sub(added, x)
            },
            2,
            -1e-9,
        ),
        ("x + x", &|b, x| b.add(x, x), 0, 2e-9),
        (
            "(x + 1) · 3",
            &|b, x| {
                let (c, d) = (b.f32(1.0), b.f32(3.0));
                let s = b.add(x, c);
                b.mul(s, d)
            },
            0,
            3.0,
        ),
    ];
    for (what, make, times, want) in cases {
        let k = kernel(make);
        let count = |info| {
            let mut n = 0;
            visit(&legal(&k, info, 32, false).body, &mut |i| {
                n += matches!(i.op, Op::Binary(BinaryOp::Xor, ..)) as usize
            });
            n
        };
        assert_eq!(count(&info), times, "{what}");
        assert_eq!(count(&plain()), 0, "{what}");
        let mut buffers = vec![floats(&[1e-9]), floats(&[7.0])];
        run(&legal(&k, &info, 32, false), [1, 1, 1], 1, &mut buffers, &[]);
        assert_eq!(as_f32(&buffers[1])[0], want, "{what}");
    }
}
