//! Bounds: checked reads outside give 0, checked writes vanish, and neighbours stay as they were.

use super::table::{get, put};
use crate::{
    Case, Seen, Subject,
    cases::launch::{End, bytes, of_u32, read_all, run, same, step, to_u32},
    oracle::{
        Type,
        sample::{Random, Values, element},
    },
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::{Checks, Grid, ScalarArg},
        ir::{Access, AtomicOp, BinaryOp, Builder, Builtin, Elem, Kernel, Op, Place, Scope},
    },
};

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in Type::ALL {
        for lanes in [1u8, 4] {
            if lanes == 4 && !matches!(ty, Type::F32 | Type::U8 | Type::F16 | Type::I64) {
                continue;
            }
            let (name, shape) = (super::name(ty), super::vec_name(lanes));
            for (row, what) in [(0u32, "read"), (1, "write")] {
                let id = format!("core/ir/guard-{what}/{name}/{shape}");
                let case = Case::new(id, format!("guard-{what}"), Some(ty), "outside", move |s, r, seen| {
                    slices(s, ty, lanes, row, r, seen)
                });
                all.push(if ty == Type::F64 { case.optional() } else { case });
            }
        }
    }
    for (name, index) in INDICES {
        all.push(Case::new(
            format!("core/ir/guard-index/u32/{name}"),
            "guard-index",
            Some(Type::U32),
            "outside",
            move |s, r, seen| far(s, name, index, r, seen),
        ));
    }
    for (name, place) in [("shared", true), ("private", false)] {
        all.push(Case::new(
            format!("core/ir/guard-{name}/u32/outside"),
            format!("guard-{name}"),
            Some(Type::U32),
            "outside",
            move |s, r, seen| arrays(s, place, r, seen),
        ));
    }
    all.push(Case::new("core/ir/guard-atomic/u32/outside", "guard-atomic", Some(Type::U32), "outside", atomics));
    all.push(Case::new("core/ir/guard-empty/u32/empty", "guard-read", Some(Type::U32), "empty", empty));
    all.push(Case::new("core/ir/buf-len/u32/slices", "buf-len", Some(Type::U32), "slices", lengths));
    for n in [2u32, 4, 8, 16] {
        all.push(Case::new(
            format!("core/ir/assume/u32/multiple-of-{n}"),
            "assume",
            Some(Type::U32),
            "aligned",
            move |s, r, seen| assumption(s, n, r, seen),
        ));
    }
}

/// `out[i + by] = x[i + by]` by vectors, for parts in the middle of buffers: lanes on both sides lie outside.
fn slices(s: &Subject, ty: Type, lanes: u8, row: u32, r: &mut Random, seen: &mut Seen) -> End {
    let d = dtype(ty);
    let mut b = Builder::new(&format!("shifted_{}x{lanes}", super::name(ty)), [32, 1, 1]);
    let (x, out) = (b.buffer("x", d, Access::Read), b.buffer("out", d, Access::Write));
    let (from, to) = (b.scalar("from", DType::I32), b.scalar("to", DType::I32));
    let i = b.builtin(Builtin::GlobalId(0));
    let i = b.cast(DType::I32, i);
    let step_by = b.integer(DType::I32, i64::from(lanes));
    let i = b.mul(i, step_by);
    let (p, q) = (b.add(i, from), b.add(i, to));
    let v = b.load_vec(Place::Buffer(x), p, lanes);
    b.store(Place::Buffer(out), q, v);
    let k = b.finish()?;
    let (size, d) = (ty.bytes(), s.chip());
    // A part of 37 elements, behind 19 and before 23 others; its offset suits no alignment but the element's.
    let (before, n, after) = (19usize, 37usize, 23usize);
    let whole = before + n + after;
    let values = |r: &mut Random| -> Vec<u64> {
        (0..whole).map(|_| super::table::plain(s, ty, element(ty, Values::Range(1.0, 100.0), r))).collect()
    };
    let (xs, ys) = (values(r), values(r));
    let (a, c) = (d.alloc_from(&put(ty, &xs))?, d.alloc_from(&put(ty, &ys))?);
    let program = d.kernel(&k, Checks::On)?;
    let part = |b: &anychip::hal::device::Buffer| b.slice((before * size) as u64, (n * size) as u64);
    let lanes_n = 64i64;
    let (from, to) = if row == 0 { (-11i64, 0) } else { (0, -9i64) };
    let scalars = [ScalarArg::I32(from as i32), ScalarArg::I32(to as i32)];
    d.submit(&[step(&program, Grid::covering(lanes_n as u64, 32), vec![part(&a), part(&c)], &scalars)])?.wait()?;
    // A vector that lies partly outside lies outside.
    let l = i64::from(lanes);
    let inside = |at: i64| at >= 0 && at + l <= n as i64;
    let mut want = ys;
    for i in 0..lanes_n {
        let (p, q) = (i * l + from, i * l + to);
        for k in (0..l).filter(|_| inside(q)) {
            want[before + (q + k) as usize] = if inside(p) { xs[before + (p + k) as usize] } else { 0 };
        }
    }
    let got = get(ty, &read_all(d, &c)?);
    super::table::exactly(
        "a part of a buffer",
        ty,
        &got,
        &want,
        |i| format!("element {i} ({before} before it)"),
        seen,
    )?;
    let got = get(ty, &read_all(d, &a)?);
    super::table::exactly("the buffer that is read", ty, &got, &xs, |i| format!("element {i}"), seen)
}

/// Indices far outside, of several types.
type Index = fn(&mut Builder) -> anychip::hal::ir::Value;
const INDICES: [(&str, Index); 8] = [
    ("minus-1-i32", |b| b.integer(DType::I32, -1)),
    ("lowest-i32", |b| b.integer(DType::I32, i64::from(i32::MIN))),
    ("highest-u32", |b| b.integer(DType::U32, i64::from(u32::MAX))),
    ("2-to-31-u32", |b| b.integer(DType::U32, 1 << 31)),
    // Four of its bytes wrap to 0.
    ("2-to-30-u32", |b| b.integer(DType::U32, 1 << 30)),
    ("minus-1-i64", |b| b.integer(DType::I64, -1)),
    ("2-to-32-i64", |b| b.integer(DType::I64, 1 << 32)),
    ("2-to-62-i64", |b| b.integer(DType::I64, 1 << 62)),
];

fn far(s: &Subject, name: &str, index: Index, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new(&format!("far_{}", name.replace('-', "_")), [32, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::ReadWrite), b.buffer("out", DType::U32, Access::Write));
    let i = b.builtin(Builtin::GlobalId(0));
    let far = index(&mut b);
    // Through a variable, so that no compiler knows it; the lane's number keeps the lanes apart.
    let v = b.var("far", far);
    let far = b.get(v);
    let read = b.load(Place::Buffer(x), far);
    let c = b.u32(0xbad_bad);
    b.store(Place::Buffer(x), far, c);
    b.store(Place::Buffer(out), i, read);
    let data = bytes(r, 4 * 64);
    let mut buffers = [data.clone(), vec![0xcd; 4 * 64]];
    run(s, &b.finish()?, Grid::covering(64, 32), &mut buffers, &[])?;
    same(format!("reads at {name}"), &to_u32(&buffers[1]), &[0; 64], seen)?;
    same(format!("a buffer written at {name}"), &buffers[0], &data, seen)
}

/// Indices outside of an array of the workgroup or of the lane.
fn arrays(s: &Subject, shared: bool, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new(if shared { "outside_shared" } else { "outside_private" }, [32, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let (place, beside) = if shared {
        (Place::Shared(b.shared("tile", DType::U32, 32)), Place::Shared(b.shared("beside", DType::U32, 64)))
    } else {
        (Place::Private(b.private("own", DType::U32, 32)), Place::Private(b.private("beside", DType::U32, 64)))
    };
    let i = b.builtin(Builtin::GlobalId(0));
    let me = b.builtin(Builtin::LocalId(0));
    let (zero, end, one) = (b.u32(0), b.u32(64), b.u32(1));
    b.count(zero, end, one, |b, j| {
        b.store(beside, j, j);
        let half = b.u32(32);
        let low = b.compare(anychip::hal::ir::CmpOp::Lt, j, half);
        b.when(low, |b| b.store(place, j, j));
    });
    if shared {
        b.barrier();
    }
    // Anything from 0 on, most of it outside of 32 elements.
    let at = b.load(Place::Buffer(x), i);
    let old = b.load(place, at);
    if shared {
        b.barrier();
    }
    let c = b.u32(0x1234);
    b.store(place, at, c);
    if shared {
        b.barrier();
    }
    // What lies beside must be as it was.
    let sum = b.var("sum", zero);
    b.count(zero, end, one, |b, j| {
        let v = b.load(beside, j);
        let s = b.get(sum);
        let s = b.add(s, v);
        b.set(sum, s);
    });
    let s0 = b.get(sum);
    let shift = b.u32(16);
    let high = b.binary(BinaryOp::Shl, s0, shift);
    let y = b.binary(BinaryOp::Or, high, old);
    b.store(Place::Buffer(out), i, y);
    let _ = me;
    let n = 96usize;
    let ends = [31u32, 32, 33, 40, 95, 96, 1 << 20, u32::MAX, u32::MAX - 3, 1 << 31, 1 << 30];
    let x: Vec<u32> = (0..n).map(|i| if i % 3 == 0 { (i % 32) as u32 } else { *r.one_of(&ends) }).collect();
    let mut buffers = [of_u32(x.iter().copied()), vec![0xcd; 4 * n]];
    run(s, &b.finish()?, Grid::covering(n as u64, 32), &mut buffers, &[])?;
    let want: Vec<u32> = x.iter().map(|x| 2016 << 16 | if *x < 32 { *x } else { 0 }).collect();
    same("reads outside of an array, and the array beside it", &to_u32(&buffers[1]), &want, seen)
}

fn atomics(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new("atomic_outside", [32, 1, 1]);
    let (x, at) = (b.buffer("x", DType::U32, Access::ReadWrite), b.buffer("at", DType::U32, Access::Read));
    let out = b.buffer("out", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let (index, value) = (b.load(Place::Buffer(at), i), b.u32(5));
    let op =
        Op::Atomic { op: AtomicOp::Add, place: Place::Buffer(x), index, value, compare: None, scope: Scope::Device };
    let old = b.define(DType::U32.into(), op);
    b.store(Place::Buffer(out), i, old);
    let at: Vec<u32> = (0..64).map(|i| if i == 7 { 3 } else { *r.one_of(&[16, 17, 63, 1 << 30, u32::MAX]) }).collect();
    let mut buffers = [of_u32([100; 16]), of_u32(at.iter().copied()), vec![0xcd; 256]];
    run(s, &b.finish()?, Grid::covering(64, 32), &mut buffers, &[])?;
    let mut want = [100u32; 16];
    want[3] = 105;
    same("a buffer beside which atomics go", &to_u32(&buffers[0]), &want, seen)?;
    let want: Vec<u32> = (0..64).map(|i| if i == 7 { 100 } else { 0 }).collect();
    same("what atomics outside give", &to_u32(&buffers[2]), &want, seen)
}

/// Slices of no elements: every read gives 0, no write happens.
fn empty(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let d = s.chip();
    let k = crate::cases::launch::triple_add()?;
    let p = d.kernel(&k, Checks::On)?;
    let data = bytes(r, 256);
    let (a, c) = (d.alloc_from(&data)?, d.alloc_from(&data)?);
    let launch = step(&p, Grid::Linear(2), vec![a.slice(64, 0), a.slice(0, 128), c.slice(0, 128)], &[]);
    d.submit(&[launch, step(&p, Grid::Linear(1), vec![a.all(), a.all(), c.slice(128, 0)], &[])])?.wait()?;
    let mut want = data.clone();
    want[..128].copy_from_slice(&data[..128]);
    same("an empty operand counts as zeros, and an empty result as none", &read_all(d, &c)?, &want, seen)
}

/// Lengths of parts, at odd offsets.
fn lengths(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new("lengths", [1, 1, 1]);
    let (x, y) = (b.buffer("x", DType::U32, Access::Read), b.buffer("y", DType::U8, Access::Read));
    let out = b.buffer("out", DType::U32, Access::Write);
    let zero = b.idx(0);
    let keep = b.load(Place::Buffer(x), zero);
    let keep_too = b.load(Place::Buffer(y), zero);
    for (n, p) in [x, y, out].into_iter().enumerate() {
        let (at, len) = (b.idx(n as u64), b.buf_len(p));
        let len = b.cast(DType::U32, len);
        b.store(Place::Buffer(out), at, len);
    }
    let (at, wide) = (b.idx(3), b.cast(DType::U32, keep_too));
    let sum = b.add(keep, wide);
    b.store(Place::Buffer(out), at, sum);
    let k: Kernel = b.finish()?;
    let d = s.chip();
    let p = d.kernel(&k, Checks::On)?;
    for (from, words, at, n) in
        [(0u64, 1u64, 0u64, 1u64), (1, 7, 3, 13), (5, 100, 17, 255), (13, 0, 1, 1), (2, 1000, 0, 4000)]
    {
        let (a, c) = (d.alloc_from(&[0; 4096])?, d.alloc_from(&[0; 4096])?);
        let out = d.alloc_from(&[9; 20])?;
        let bindings = vec![a.slice(4 * from, 4 * words), c.slice(at, n), out.all()];
        d.submit(&[step(&p, Grid::Linear(1), bindings, &[])])?.wait()?;
        let got = to_u32(&read_all(d, &out)?);
        same(format!("lengths of {words} words and {n} bytes"), &got[..4], &[words as u32, n as u32, 5, 0], seen)?;
    }
    Ok(())
}

/// Vectors at indices that are promised to be multiples.
fn assumption(s: &Subject, n: u32, r: &mut Random, seen: &mut Seen) -> End {
    let lanes = n.min(8) as u8;
    let mut b = Builder::new(&format!("assume_{n}"), [32, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let stride = b.scalar("stride", Elem::Idx);
    let i = b.builtin(Builtin::GlobalId(0));
    let stride = b.assume_multiple(stride, n);
    let at = b.mul(i, stride);
    let at = b.assume_multiple(at, n);
    let v = b.load_vec(Place::Buffer(x), at, lanes);
    let w = b.add(v, v);
    b.store(Place::Buffer(out), at, w);
    let count = 64 * n as usize;
    let data = to_u32(&bytes(r, 4 * count));
    let mut buffers = [of_u32(data.iter().copied()), vec![0; 4 * count]];
    run(s, &b.finish()?, Grid::covering(64, 32), &mut buffers, &[ScalarArg::Idx(u64::from(n))])?;
    let want: Vec<u32> = data
        .iter()
        .enumerate()
        .map(|(i, x)| if i as u32 % n < u32::from(lanes) { x.wrapping_mul(2) } else { 0 })
        .collect();
    same(format!("vectors at multiples of {n}"), &to_u32(&buffers[1]), &want, seen)
}
