//! Control flow, arrays, barriers and atomics: what a printer can get wrong without any single operation being wrong.

use crate::common::*;
use anychip_hal::{DType, Device, device::ScalarArg, info::Feature, ir::*};

const N: u64 = 64;

/// Runs a kernel that writes one u32 per lane.
fn lanes(
    test: &str,
    build: impl Fn(&Device, &mut Builder, Value, &mut dyn FnMut(&mut Builder, Value)),
    want: impl Fn(&Device, u32) -> u32,
) {
    for device in devices(test) {
        let mut b = Builder::new(test, [32, 1, 1]);
        let out = b.buffer("out", DType::U32, Access::ReadWrite);
        let g = b.builtin(Builtin::GlobalId(0));
        let i = b.cast(DType::U32, g);
        build(&device, &mut b, i, &mut |b, v| b.store(Place::Buffer(out), g, v));
        let k = b.finish().expect("well-formed");
        let mut buffers = [vec![0xee; 4 * N as usize]];
        run(&device, &k, N, &mut buffers, &[]).unwrap_or_else(|e| panic!("{test}: {e}"));
        assert_eq!(
            u32s(&buffers[0]),
            (0..N as u32).map(|i| want(&device, i)).collect::<Vec<_>>(),
            "{test} on {}",
            device.info().id
        );
    }
}

#[test]
fn loops_branches_break_continue_return() {
    lanes(
        "loops",
        |_, b, i, out| {
            let (zero, one, seven) = (b.u32(0), b.u32(1), b.u32(7));
            let sum = b.var("sum", zero);
            // A while whose head computes, with an inner loop that skips and stops.
            let n = b.var("n", i);
            b.begin_while();
            let x = b.get(n);
            let go = b.compare(CmpOp::Gt, x, zero);
            b.while_cond(go);
            let x = b.get(n);
            let less = b.sub(x, seven);
            let end = b.compare(CmpOp::Lt, x, seven);
            let next = b.select(end, zero, less);
            b.set(n, next);
            let ten = b.u32(10);
            let j = b.begin_for(zero, ten, one, Unroll::Auto);
            let three = b.u32(3);
            let r = b.binary(BinaryOp::Rem, j, three);
            let skip = b.compare(CmpOp::Eq, r, zero);
            b.begin_if(skip);
            b.effect(Op::Continue);
            b.end_if();
            let stop = b.compare(CmpOp::Gt, j, seven);
            b.begin_if(stop);
            b.effect(Op::Break);
            b.end_if();
            let s = b.get(sum);
            let s = b.add(s, j);
            b.set(sum, s);
            b.end_for();
            b.end_while();
            let s = b.get(sum);
            out(b, s);
            let half = b.u32(32);
            let upper = b.compare(CmpOp::Ge, i, half);
            b.begin_if(upper);
            b.effect(Op::Return);
            b.begin_else();
            let s = b.get(sum);
            let s = b.add(s, one);
            out(b, s);
            b.end_if();
        },
        |_, i| i.div_ceil(7) * (1 + 2 + 4 + 5 + 7) + (i < 32) as u32,
    );
}

#[test]
fn loops_end_before_their_type_overflows() {
    lanes(
        "edges",
        |_, b, _, out| {
            let zero = b.u32(0);
            let count = b.var("count", zero);
            let bump = |b: &mut Builder| {
                let (c, one) = (b.get(count), b.u32(1));
                let c = b.add(c, one);
                b.set(count, c);
            };
            for (d, start, end, step) in [
                (DType::U32, (u32::MAX - 5) as i64, u32::MAX as i64, 4), // 2 rounds
                (DType::U8, 250, 255, 3),                                // 2
                (DType::I8, -128, 127, 100),                             // 3
                (DType::I32, i32::MIN as i64, i32::MAX as i64, i32::MAX as i64), // 3
                (DType::I64, i64::MAX - 3, i64::MAX, 2),                 // 2
                (DType::U32, 5, 5, 1),                                   // 0
                (DType::I32, 7, -7, 1),                                  // 0
                (DType::U32, 0, 3, 0),                                   // 3: step 0 counts as 1
            ] {
                let (s, e, t) = (b.integer(d, start), b.integer(d, end), b.integer(d, step));
                // Through variables, so that nothing is known when it is printed; and as constants.
                let (vs, ve, vt) = (b.var("s", s), b.var("e", e), b.var("t", t));
                let (s2, e2, t2) = (b.get(vs), b.get(ve), b.get(vt));
                for (s, e, t) in [(s, e, t), (s2, e2, t2)] {
                    b.begin_for(s, e, t, Unroll::Never);
                    bump(b);
                    b.end_for();
                    b.begin_for(s, e, t, Unroll::Full);
                    bump(b);
                    b.end_for();
                }
            }
            let c = b.get(count);
            out(b, c);
        },
        |_, _| 4 * (2 + 2 + 3 + 3 + 2 + 3),
    );
}

#[test]
fn private_arrays_and_unrolled_tiles() {
    lanes(
        "tiles",
        |_, b, i, out| {
            let acc = b.private("acc", DType::U32, 32);
            let flags = b.private("flags", DType::Bool, 8);
            let (zero, one, four, eight) = (b.u32(0), b.u32(1), b.u32(4), b.u32(8));
            let r = b.begin_for(zero, four, one, Unroll::Full);
            let c = b.begin_for(zero, eight, four, Unroll::Full);
            let row = b.mul(r, eight);
            let at = b.add(row, c);
            let x = b.splat(i, 4);
            b.store(Place::Private(acc), at, x);
            b.end_for();
            b.end_for();
            let k = b.begin_for(zero, four, one, Unroll::By(2));
            let r = b.begin_for(zero, four, one, Unroll::Full);
            let row = b.mul(r, eight);
            let x = b.load_vec(Place::Private(acc), row, 8);
            let rk = b.mul(r, k);
            let m = b.splat(rk, 8);
            let y = b.add(x, m);
            b.store(Place::Private(acc), row, y);
            b.end_for();
            b.end_for();
            let odd = b.binary(BinaryOp::And, i, one);
            let odd = b.cast(DType::Bool, odd);
            b.store(Place::Private(flags), four, odd);
            let f = b.load(Place::Private(flags), four);
            let f = b.cast(DType::U32, f);
            let at = b.u32(3 * 8 + 5);
            let x = b.load(Place::Private(acc), at);
            let x = b.add(x, f);
            out(b, x);
        },
        |_, i| i + 3 * (1 + 2 + 3) + (i & 1),
    );
}

#[test]
fn shared_arrays_and_barriers() {
    for device in devices("shared_arrays_and_barriers") {
        let mut b = Builder::new("reverse", [16, 2, 1]);
        let (x, out) = (b.buffer("x", DType::F16, Access::Read), b.buffer("out", DType::F32, Access::Write));
        let (s, h) = (b.shared("tile", DType::F32, 32), b.shared("half", DType::F16, 32));
        let (lx, ly, g) =
            (b.builtin(Builtin::LocalId(0)), b.builtin(Builtin::LocalId(1)), b.builtin(Builtin::GroupId(0)));
        let width = b.builtin(Builtin::LocalSize(0));
        let row = b.mul(ly, width);
        let at = b.add(row, lx);
        let n = b.idx(32);
        let base = b.mul(g, n);
        let wide = b.cast(Elem::Idx, at);
        let from = b.add(base, wide);
        let v = b.load(Place::Buffer(x), from);
        b.store(Place::Shared(h), at, v);
        let v = b.cast(DType::F32, v);
        b.store(Place::Shared(s), at, v);
        b.barrier();
        let last = b.u32(31);
        let other = b.sub(last, at);
        let p = b.load(Place::Shared(s), other);
        let q = b.load(Place::Shared(h), other);
        let q = b.cast(DType::F32, q);
        let sum = b.add(p, q);
        let all = b.group_reduce(ReduceOp::Max, sum);
        let sum = b.add(sum, all);
        b.store(Place::Buffer(out), from, sum);
        let k = b.finish().expect("well-formed");
        let xs: Vec<half::f16> = (0..96).map(|i| half::f16::from_f32(i as f32 * 0.5)).collect();
        let mut buffers = [bytes_of(&xs, half::f16::to_le_bytes), vec![0; 96 * 4]];
        run(&device, &k, 96, &mut buffers, &[]).expect("runs");
        let want: Vec<f32> = (0..96).map(|i| (i / 32 * 32 + 31 - i % 32) as f32 + (i / 32 * 32 + 31) as f32).collect();
        assert_eq!(f32s(&buffers[1]), want, "{}", device.info().id);
    }
}

#[test]
fn atomics_lose_nothing() {
    for device in devices("atomics_lose_nothing") {
        let ops = [AtomicOp::Add, AtomicOp::Min, AtomicOp::Max, AtomicOp::And, AtomicOp::Or, AtomicOp::Xor];
        for d in [DType::I32, DType::U32, DType::I64, DType::U64, DType::F32, DType::F64] {
            if !device.info().support(d).atomics || d.size() == 8 && !device.info().has(Feature::Atomic64) {
                println!("SKIPPED: atomics_lose_nothing: {} has no atomics of {d}", device.info().id);
                continue;
            }
            let float = d.is_float();
            let mut b = Builder::new(&format!("atomics_{d}"), [32, 1, 1]);
            let out = b.buffer("out", d, Access::ReadWrite);
            let tile = b.shared("tile", d, 2);
            let g = b.builtin(Builtin::GlobalId(0));
            let lane = b.builtin(Builtin::LocalId(0));
            let zero = b.u32(0);
            let first = b.compare(CmpOp::Eq, lane, zero);
            let none = b.integer(d, 0);
            b.begin_if(first);
            b.effect(Op::Atomic {
                op: AtomicOp::Store,
                place: Place::Shared(tile),
                index: zero,
                value: none,
                compare: None,
                scope: Scope::Workgroup,
            });
            b.end_if();
            b.barrier();
            let x = b.cast(d, g);
            let count = if float { 1 } else { ops.len() };
            for (n, op) in ops.iter().take(count).enumerate() {
                let at = b.u32(n as u32);
                b.define(
                    d.into(),
                    Op::Atomic {
                        op: *op,
                        place: Place::Buffer(out),
                        index: at,
                        value: x,
                        compare: None,
                        scope: Scope::Device,
                    },
                );
            }
            b.effect(Op::Atomic {
                op: AtomicOp::Add,
                place: Place::Shared(tile),
                index: zero,
                value: x,
                compare: None,
                scope: Scope::Workgroup,
            });
            b.barrier();
            b.begin_if(first);
            let sum = b.define(
                d.into(),
                Op::Atomic {
                    op: AtomicOp::Load,
                    place: Place::Shared(tile),
                    index: zero,
                    value: none,
                    compare: None,
                    scope: Scope::Workgroup,
                },
            );
            let at = b.u32(count as u32);
            b.effect(Op::Atomic {
                op: AtomicOp::Add,
                place: Place::Buffer(out),
                index: at,
                value: sum,
                compare: None,
                scope: Scope::Device,
            });
            b.end_if();
            if !float {
                // The one lane that finds 77 puts its number there.
                let at = b.u32(count as u32 + 1);
                let seen = b.integer(d, 77);
                b.define(
                    d.into(),
                    Op::Atomic {
                        op: AtomicOp::CompareExchange,
                        place: Place::Buffer(out),
                        index: at,
                        value: x,
                        compare: Some(seen),
                        scope: Scope::Device,
                    },
                );
            }
            let at = b.u32(count as u32 + 2);
            let old = b.define(
                d.into(),
                Op::Atomic {
                    op: AtomicOp::Exchange,
                    place: Place::Buffer(out),
                    index: at,
                    value: x,
                    compare: None,
                    scope: Scope::Device,
                },
            );
            let at = b.u32(count as u32 + 3);
            b.effect(Op::Atomic {
                op: AtomicOp::Add,
                place: Place::Buffer(out),
                index: at,
                value: old,
                compare: None,
                scope: Scope::Device,
            });
            let k = b.finish().expect("well-formed");
            let start: [i64; 10] = [0, 40, 40, 0x1f, 0x100, 0x100, 0, 77, 1000, 0];
            let start: Vec<i64> = if float { vec![0, 0, 77, 1000, 0] } else { start.to_vec() };
            let bits = |x: i64| build::encode_f64(d.into(), x as f64).to_le_bytes()[..d.size()].to_vec();
            let bytes: Vec<u8> = start.iter().flat_map(|x| bits(*x)).collect();
            let mut buffers = [bytes];
            run(&device, &k, N, &mut buffers, &[]).unwrap_or_else(|e| panic!("{d}: {e}"));
            let got: Vec<f64> = buffers[0]
                .chunks_exact(d.size())
                .map(|c| match d {
                    DType::F32 => f32::from_le_bytes(c.try_into().expect("4")) as f64,
                    DType::F64 => f64::from_le_bytes(c.try_into().expect("8")),
                    DType::I32 | DType::U32 => u32::from_le_bytes(c.try_into().expect("4")) as f64,
                    _ => u64::from_le_bytes(c.try_into().expect("8")) as f64,
                })
                .collect();
            let total = (N * (N - 1) / 2) as f64;
            let what = format!("{} {d}: {got:?}", device.info().id);
            assert_eq!(got[0], total, "{what}");
            if !float {
                // and: 0x1f of all numbers from 0; or: all bits below 64; xor of 0..64 is 0.
                assert_eq!(got[1..6], [0.0, 63.0, 0.0, 0x13f as f64, 0x100 as f64], "{what}");
                assert!(got[count + 1] < 64.0, "{what}");
            }
            assert_eq!(got[count], total, "{what}");
            // Everything exchanged: what came out and what is left are all numbers and the first one.
            assert_eq!(got[count + 2] + got[count + 3], total + 1000.0, "{what}");
        }
    }
}

#[test]
fn scalars_of_every_type() {
    for device in devices("scalars_of_every_type") {
        let mut b = Builder::new("scalars", [1, 1, 1]);
        let out = b.buffer("out", DType::F32, Access::Write);
        let mut args = vec![];
        let mut types = vec![
            (DType::Bool, ScalarArg::Bool(true)),
            (DType::I8, ScalarArg::I8(-8)),
            (DType::U16, ScalarArg::U16(65535)),
            (DType::I64, ScalarArg::I64(-1 << 40)),
            (DType::U8, ScalarArg::U8(255)),
            (DType::F32, ScalarArg::F32(0.1)),
            (DType::I16, ScalarArg::I16(-300)),
            (DType::U64, ScalarArg::U64(1 << 63)),
            (DType::I32, ScalarArg::I32(-70000)),
            (DType::U32, ScalarArg::U32(u32::MAX)),
            (DType::F16, ScalarArg::F16(half::f16::from_f32(-2.5))),
        ];
        let mut want = vec![
            1.0,
            -8.0,
            65535.0,
            -(1i64 << 40) as f32,
            255.0,
            0.1,
            -300.0,
            (1u64 << 63) as f32,
            -70000.0,
            u32::MAX as f32,
            -2.5,
        ];
        if device.info().support(DType::F64).arithmetic {
            types.push((DType::F64, ScalarArg::F64(1e-3)));
            want.push(1e-3);
        }
        for (n, (d, arg)) in types.iter().enumerate() {
            let v = b.scalar(&format!("s{n}"), *d);
            let v = b.cast(DType::F32, v);
            let at = b.u32(n as u32);
            b.store(Place::Buffer(out), at, v);
            args.push(*arg);
        }
        let i = b.scalar("index", Elem::Idx);
        let v = b.cast(DType::F32, i);
        let at = b.u32(types.len() as u32);
        b.store(Place::Buffer(out), at, v);
        args.push(ScalarArg::Idx(123456));
        want.push(123456.0);
        let k = b.finish().expect("well-formed");
        let mut buffers = [vec![0; 4 * want.len()]];
        run(&device, &k, 1, &mut buffers, &args).expect("runs");
        assert_eq!(f32s(&buffers[0]), want, "{}", device.info().id);
    }
}

#[test]
fn a_sum_is_not_contracted() {
    // a·b − p, where p is a·b rounded: 0 unless the compiler fuses. Only MulAdd and Fma may.
    for device in devices("a_sum_is_not_contracted") {
        let mut b = Builder::new("contract", [1, 1, 1]);
        let (x, out) = (b.buffer("x", DType::F32, Access::Read), b.buffer("out", DType::F32, Access::Write));
        let (zero, one, two) = (b.u32(0), b.u32(1), b.u32(2));
        let p = b.load(Place::Buffer(x), zero);
        let q = b.load(Place::Buffer(x), one);
        let r = b.load(Place::Buffer(x), two);
        let m = b.mul(p, q);
        let d = b.sub(m, r);
        b.store(Place::Buffer(out), zero, d);
        let k = b.finish().expect("well-formed");
        let (p, q) = (1.0f32 + f32::EPSILON, 1.0f32 - f32::EPSILON);
        let mut buffers = [bytes_of(&[p, q, p * q], f32::to_le_bytes), vec![0xff; 4]];
        run(&device, &k, 1, &mut buffers, &[]).expect("runs");
        assert_eq!(f32s(&buffers[1]), [0.0], "{}", device.info().id);
    }
}
