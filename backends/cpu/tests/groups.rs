//! What lanes do together: shared memory, barriers, reductions, atomics; and that results do not depend on the number of
//! threads.

mod common;

use anychip_cpu::vmath::Level;
use anychip_hal::{
    DType, RawDevice,
    ir::{Access, AtomicOp, BinaryOp, Builder, Builtin, CmpOp, Kernel, Op, Place, ReduceOp, Scope},
};
use common::*;
use std::sync::Arc;

fn devices() -> Vec<Arc<dyn RawDevice>> {
    let mut all: Vec<_> = Level::all().map(|l| device(l, 1)).collect();
    all.extend([2, 3, 5].map(|t| device(Level::detect(), t)));
    all
}

fn reduce_kernel(op: ReduceOp, d: DType, w: u32) -> Kernel {
    let mut b = Builder::new("reduce", [w, 1, 1]);
    let (x, z) = (b.buffer("x", d, Access::Read), b.buffer("z", d, Access::Write));
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    let r = b.group_reduce(op, v);
    b.store(Place::Buffer(z), i, r);
    b.finish().unwrap()
}

/// Element i joins element i mod 64, in order; then element i takes element i + ⌈n/2⌉, until one is left.
fn tree<T: Copy>(mut v: Vec<T>, f: impl Fn(T, T) -> T) -> T {
    for i in 64..v.len() {
        v[i % 64] = f(v[i % 64], v[i]);
    }
    v.truncate(64);
    while v.len() > 1 {
        let half = v.len().div_ceil(2);
        for i in 0..v.len() - half {
            v[i] = f(v[i], v[i + half]);
        }
        v.truncate(half);
    }
    v[0]
}

#[test]
fn reductions_of_every_kind_and_size() {
    let mut r = Random(11);
    for w in [1u32, 2, 7, 32, 100, 256, 1000, 1024] {
        for groups in [1u32, 5] {
            let n = (w * groups) as usize;
            let x: Vec<i64> = (0..n).map(|_| r.next() as i64).collect();
            for d in [DType::I8, DType::I32, DType::U32, DType::I64, DType::U64, DType::Bool] {
                let ops: &[ReduceOp] = match d {
                    DType::Bool => &[ReduceOp::And, ReduceOp::Or, ReduceOp::Xor],
                    _ => &[
                        ReduceOp::Sum,
                        ReduceOp::Prod,
                        ReduceOp::Min,
                        ReduceOp::Max,
                        ReduceOp::And,
                        ReduceOp::Or,
                        ReduceOp::Xor,
                    ],
                };
                let bits = |i: usize| match d {
                    DType::Bool => (x[i] & 1) as u64,
                    d => x[i] as u64 & (u64::MAX >> (64 - 8 * d.size())),
                };
                let input: Vec<u8> = (0..n).flat_map(|i| bits(i).to_le_bytes()[..d.size()].to_vec()).collect();
                for &op in ops {
                    for dev in devices().into_iter().take(4) {
                        let mut bufs = [input.clone(), vec![0; input.len()]];
                        run(&*dev, &reduce_kernel(op, d, w), [groups, 1, 1], &mut bufs, &[]).unwrap();
                        for g in 0..groups as usize {
                            let members = (g * w as usize..(g + 1) * w as usize).map(bits);
                            let binary = match op {
                                ReduceOp::Sum => BinaryOp::Add,
                                ReduceOp::Prod => BinaryOp::Mul,
                                ReduceOp::Min => BinaryOp::Min,
                                ReduceOp::Max => BinaryOp::Max,
                                ReduceOp::And => BinaryOp::And,
                                ReduceOp::Or => BinaryOp::Or,
                                ReduceOp::Xor => BinaryOp::Xor,
                            };
                            let want = members.reduce(|a, b| scalar::binary(binary, d, a, b)).unwrap();
                            for l in 0..w as usize {
                                let got = bits_at(&bufs[1], g * w as usize + l, d);
                                assert_eq!(got, want, "{op:?} {d} over {w}, workgroup {g} of {groups}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn sums_of_floats_have_one_order_everywhere() {
    let mut r = Random(23);
    for w in [7u32, 64, 256, 1000] {
        let n = w as usize * 33;
        let x: Vec<f32> = (0..n).map(|_| (r.next() as i32 as f32) * 1e-5).collect();
        let want: Vec<f32> = x.chunks(w as usize).map(|c| tree(c.to_vec(), |a, b| a + b)).collect();
        for dev in devices() {
            let mut bufs = [bytes(&x), vec![0; 4 * n]];
            run(&*dev, &reduce_kernel(ReduceOp::Sum, DType::F32, w), [33, 1, 1], &mut bufs, &[]).unwrap();
            let got: Vec<f32> = elements(&bufs[1]);
            for i in 0..n {
                assert_eq!(got[i].to_bits(), want[i / w as usize].to_bits());
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_every_reduction() {
    let mut x = vec![1.0f32; 64];
    x[37] = f32::NAN;
    for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Min, ReduceOp::Max] {
        for dev in devices() {
            let mut bufs = [bytes(&x), vec![0; 256]];
            run(&*dev, &reduce_kernel(op, DType::F32, 64), [1; 3], &mut bufs, &[]).unwrap();
            assert!(elements::<f32>(&bufs[1]).iter().all(|y| y.is_nan()), "{op:?}");
        }
    }
}

/// Softmax of rows, a row per workgroup: strided loops, two reductions.
fn softmax(w: u32) -> Kernel {
    let mut b = Builder::new("softmax", [w, 1, 1]);
    let (x, z) = (b.buffer("x", DType::F32, Access::Read), b.buffer("z", DType::F32, Access::Write));
    let cols = b.scalar("cols", DType::U32);
    let row = b.builtin(Builtin::GroupId(0));
    let row = b.cast(DType::U32, row);
    let (base, lane, step) = (b.mul(row, cols), b.builtin(Builtin::LocalId(0)), b.u32(w));
    let lowest = b.f32(f32::NEG_INFINITY);
    let top = b.var("top", lowest);
    b.count(lane, cols, step, |b, c| {
        let i = b.add(base, c);
        let (v, t) = (b.load(Place::Buffer(x), i), b.get(top));
        let t = b.binary(BinaryOp::Max, v, t);
        b.set(top, t);
    });
    let t = b.get(top);
    let t = b.group_reduce(ReduceOp::Max, t);
    let zero = b.f32(0.0);
    let sum = b.var("sum", zero);
    b.count(lane, cols, step, |b, c| {
        let i = b.add(base, c);
        let v = b.load(Place::Buffer(x), i);
        let v = b.sub(v, t);
        let v = b.unary(anychip_hal::ir::UnaryOp::Exp, v);
        let s = b.get(sum);
        let s = b.add(s, v);
        b.set(sum, s);
        b.store(Place::Buffer(z), i, v);
    });
    let s = b.get(sum);
    let s = b.group_reduce(ReduceOp::Sum, s);
    b.set_access(z, Access::ReadWrite);
    b.count(lane, cols, step, |b, c| {
        let i = b.add(base, c);
        let v = b.load(Place::Buffer(z), i);
        let v = b.binary(BinaryOp::Div, v, s);
        b.store(Place::Buffer(z), i, v);
    });
    b.finish().unwrap()
}

#[test]
fn softmax_is_right_and_the_same_bits_with_any_number_of_threads() {
    let mut r = Random(31);
    for (rows, cols, w) in [(37u32, 100u32, 64u32), (5, 1000, 256), (300, 17, 32), (2, 4096, 1024)] {
        let n = (rows * cols) as usize;
        let x: Vec<f32> = (0..n).map(|_| r.below(2000) as f32 * 0.01 - 10.0).collect();
        let mut first: Option<Vec<u8>> = None;
        for threads in [1, 2, 3, 4, 7] {
            let dev = device(Level::detect(), threads);
            let mut bufs = [bytes(&x), vec![0; 4 * n]];
            run(&*dev, &softmax(w), [rows, 1, 1], &mut bufs, &[cols as u64]).unwrap();
            let got: Vec<f32> = elements(&bufs[1]);
            for (row, out) in x.chunks(cols as usize).zip(got.chunks(cols as usize)) {
                let top = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v)) as f64;
                let sum: f64 = row.iter().map(|&v| (v as f64 - top).exp()).sum();
                for (&v, &o) in row.iter().zip(out) {
                    let want = (v as f64 - top).exp() / sum;
                    assert!((o as f64 - want).abs() <= 2e-6 * want, "{o} not {want}");
                }
            }
            match &first {
                None => first = Some(bufs[1].clone()),
                Some(f) => assert!(*f == bufs[1], "{threads} threads give other bits"),
            }
        }
    }
}

/// Transposes tiles through shared memory, in a two-dimensional workgroup.
fn transpose() -> Kernel {
    let mut b = Builder::new("transpose", [8, 8, 1]);
    let (x, z) = (b.buffer("x", DType::U32, Access::Read), b.buffer("z", DType::U32, Access::Write));
    let cols = b.scalar("cols", DType::U32);
    let tile = b.shared("tile", DType::U32, 64);
    let (lx, ly) = (b.builtin(Builtin::LocalId(0)), b.builtin(Builtin::LocalId(1)));
    let (gx, gy) = (b.builtin(Builtin::GroupId(0)), b.builtin(Builtin::GroupId(1)));
    let (gx, gy) = (b.cast(DType::U32, gx), b.cast(DType::U32, gy));
    let eight = b.u32(8);
    let at = |b: &mut Builder, y, x| {
        let r = b.mul(y, eight);
        b.add(r, x)
    };
    let (row, col) = (at(&mut b, gy, ly), at(&mut b, gx, lx));
    let i = b.mul(row, cols);
    let i = b.add(i, col);
    let v = b.load(Place::Buffer(x), i);
    let here = at(&mut b, ly, lx);
    b.store(Place::Shared(tile), here, v);
    b.barrier();
    let there = at(&mut b, lx, ly);
    let v = b.load(Place::Shared(tile), there);
    // Square: the block goes to its mirror place.
    let (row, col) = (at(&mut b, gx, ly), at(&mut b, gy, lx));
    let i = b.mul(row, cols);
    let i = b.add(i, col);
    b.store(Place::Buffer(z), i, v);
    b.finish().unwrap()
}

#[test]
fn shared_memory_is_each_workgroups_own() {
    let n = 64usize;
    let x: Vec<u32> = (0..(n * n) as u32).collect();
    for dev in devices().into_iter().chain([checking()]) {
        let mut bufs = [bytes(&x), vec![0; 4 * n * n]];
        run(&*dev, &transpose(), [8, 8, 1], &mut bufs, &[n as u64]).unwrap();
        let got: Vec<u32> = elements(&bufs[1]);
        for r in 0..n {
            for c in 0..n {
                assert_eq!(got[r * n + c], x[c * n + r]);
            }
        }
    }
}

fn atomic_kernel(op: AtomicOp, d: DType, use_result: bool) -> Kernel {
    let mut b = Builder::new("atomic", [64, 1, 1]);
    let (x, acc) = (b.buffer("x", d, Access::Read), b.buffer("acc", d, Access::ReadWrite));
    let seen = b.buffer("seen", d, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    // Four accumulators by lane.
    let four = b.idx(4);
    let at = b.binary(BinaryOp::Rem, i, four);
    let atomic = Op::Atomic { op, place: Place::Buffer(acc), index: at, value: v, compare: None, scope: Scope::Device };
    let old = b.define(d.into(), atomic);
    if use_result {
        b.store(Place::Buffer(seen), i, old);
    } else {
        b.store(Place::Buffer(seen), i, v);
    }
    b.finish().unwrap()
}

#[test]
fn atomics_of_every_kind() {
    let mut r = Random(41);
    let n = 64 * 200;
    for d in [DType::I32, DType::U32, DType::I64, DType::U64] {
        let ops = [
            (AtomicOp::Add, BinaryOp::Add),
            (AtomicOp::Min, BinaryOp::Min),
            (AtomicOp::Max, BinaryOp::Max),
            (AtomicOp::And, BinaryOp::And),
            (AtomicOp::Or, BinaryOp::Or),
            (AtomicOp::Xor, BinaryOp::Xor),
        ];
        let x: Vec<u64> = (0..n).map(|_| r.next() >> (64 - 8 * d.size())).collect();
        let input: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()[..d.size()].to_vec()).collect();
        for (op, binary) in ops {
            for use_result in [false, true] {
                for dev in devices() {
                    let mut bufs = [input.clone(), input[..4 * d.size()].to_vec(), vec![0; input.len()]];
                    run(&*dev, &atomic_kernel(op, d, use_result), [200, 1, 1], &mut bufs, &[]).unwrap();
                    for a in 0..4 {
                        let mut acc = x[a];
                        for i in (a..n).step_by(4) {
                            if use_result {
                                assert_eq!(bits_at(&bufs[2], i, d), acc, "old value of {op:?} {d}");
                            }
                            acc = scalar::binary(binary, d, acc, x[i]);
                        }
                        assert_eq!(bits_at(&bufs[1], a, d), acc, "{op:?} {d}");
                    }
                }
            }
        }
    }
}

#[test]
fn float_atomics_add_in_one_order() {
    let n = 64 * 200;
    let mut r = Random(43);
    let x: Vec<f32> = (0..n).map(|_| r.next() as i32 as f32 * 1e-7).collect();
    let mut want = [0f32; 4];
    for (i, x) in x.iter().enumerate() {
        want[i % 4] += x;
    }
    for dev in devices() {
        let mut bufs = [bytes(&x), vec![0; 16], vec![0; 4 * n]];
        run(&*dev, &atomic_kernel(AtomicOp::Add, DType::F32, false), [200, 1, 1], &mut bufs, &[]).unwrap();
        assert_eq!(elements::<f32>(&bufs[1]), want);
    }
}

#[test]
fn exchange_and_compare_exchange() {
    let mut b = Builder::new("swap", [64, 1, 1]);
    let acc = b.buffer("acc", DType::U32, Access::ReadWrite);
    let old = b.buffer("old", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.cast(DType::U32, i);
    let (zero, one) = (b.u32(0), b.u32(1));
    let ten = b.u32(10);
    let next = b.add(v, one);
    let place = Place::Buffer(acc);
    let atomic = |op, index, value, compare| Op::Atomic { op, place, index, value, compare, scope: Scope::Device };
    let was = b.define(DType::U32.into(), atomic(AtomicOp::Exchange, zero, v, None));
    // A counter that only the lane which finds its own number may raise.
    b.define(DType::U32.into(), atomic(AtomicOp::CompareExchange, one, next, Some(v)));
    let is_ten = b.compare(CmpOp::Eq, v, ten);
    let two = b.u32(2);
    b.when(is_ten, |b| {
        b.define(DType::U32.into(), atomic(AtomicOp::Store, two, v, None));
    });
    let back = b.define(DType::U32.into(), atomic(AtomicOp::Load, two, zero, None));
    let sum = b.add(was, back);
    b.store(Place::Buffer(old), i, sum);
    let k = b.finish().unwrap();
    for dev in devices() {
        let mut bufs = [bytes(&[7u32, 0, 0]), vec![0; 4 * 128]];
        run(&*dev, &k, [2, 1, 1], &mut bufs, &[]).unwrap();
        assert_eq!(elements::<u32>(&bufs[0]), [127, 128, 10]);
        let got: Vec<u32> = elements(&bufs[1]);
        assert_eq!(got[0], 17);
        assert_eq!((got[1], got[64], got[127]), (10, 73, 136));
    }
}

#[test]
fn booleans_in_memory_read_as_true_when_not_zero() {
    let mut b = Builder::new("bools", [64, 1, 1]);
    let (x, z) = (b.buffer("x", DType::Bool, Access::Read), b.buffer("z", DType::Bool, Access::Write));
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    let v = b.unary(anychip_hal::ir::UnaryOp::Not, v);
    let v = b.unary(anychip_hal::ir::UnaryOp::Not, v);
    b.store(Place::Buffer(z), i, v);
    let k = b.finish().unwrap();
    for dev in devices() {
        let x: Vec<u8> = (0..=255).collect();
        let mut bufs = [x, vec![3; 256]];
        run(&*dev, &k, [4, 1, 1], &mut bufs, &[]).unwrap();
        assert!(bufs[1].iter().enumerate().all(|(i, &v)| v == (i != 0) as u8));
    }
}
