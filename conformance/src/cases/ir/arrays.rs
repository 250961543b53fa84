//! Arrays of the workgroup and of a lane, and the barriers that order them.

use super::table::{get, put};
use crate::{
    Case, Seen, Subject,
    cases::launch::{End, bytes, of_u32, run, same, to_u32},
    oracle::{
        Type,
        sample::{Random, Values, element},
    },
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::{Grid, ScalarArg},
        ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Place, Unroll, Value},
    },
};

/// Workgroups of each launch.
const GROUPS: u32 = 5;

/// The lane's number in its workgroup, dimension 0 fastest.
fn lane(b: &mut Builder, size: [u32; 3]) -> Value {
    let [x, y, z] = [0, 1, 2].map(|d| b.builtin(Builtin::LocalId(d)));
    let (w, h) = (b.u32(size[0]), b.u32(size[1]));
    let row = b.mul(z, h);
    let row = b.add(row, y);
    let row = b.mul(row, w);
    b.add(row, x)
}

/// The first element of the workgroup's part, in `idx`.
fn base(b: &mut Builder, lanes: u32) -> Value {
    let (g, n) = (b.builtin(Builtin::GroupId(0)), b.idx(u64::from(lanes)));
    b.mul(g, n)
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in Type::ALL {
        let name = super::name(ty);
        for (row, op) in ["shared", "private"].into_iter().enumerate() {
            let case = Case::new(format!("core/ir/{op}/{name}/64"), op, Some(ty), "array", move |s, r, seen| {
                typed(s, ty, row as u32, r, seen)
            });
            all.push(if ty == Type::F64 { case.optional() } else { case });
        }
    }
    for lanes in [1u32, 2, 3, 7, 31, 32, 33, 64, 100, 128, 250, 256] {
        let about = "barrier";
        all.push(Case::new(
            format!("core/ir/barrier/u32/workgroup/{lanes}"),
            about,
            Some(Type::U32),
            "workgroup",
            move |s, r, seen| reverse(s, [lanes, 1, 1], r, seen),
        ));
    }
    all.push(Case::new(
        "core/ir/barrier/u32/workgroup/limit",
        "barrier",
        Some(Type::U32),
        "workgroup",
        |s, r, seen| {
            let l = &s.info().limits;
            // A word a lane, twice.
            reverse(s, [l.max_workgroup.min(l.max_workgroup_dim[0]).min(l.max_shared / 8), 1, 1], r, seen)
        },
    ));
    for size in [[8u32, 8, 1], [4, 4, 4], [1, 16, 2], [2, 3, 5], [1, 1, 32], [16, 1, 4]] {
        let name = size.map(|n| n.to_string()).join("x");
        all.push(Case::new(
            format!("core/ir/barrier/u32/dimensions/{name}"),
            "barrier",
            Some(Type::U32),
            "dimensions",
            move |s, r, seen| reverse(s, size, r, seen),
        ));
    }
    for lanes in [16u32, 64, 128, 256] {
        all.push(Case::new(
            format!("core/ir/barrier/u32/scan/{lanes}"),
            "barrier",
            Some(Type::U32),
            "contended",
            move |s, r, seen| scan(s, lanes, r, seen),
        ));
        all.push(Case::new(
            format!("core/ir/barrier/u32/ring/{lanes}"),
            "barrier",
            Some(Type::U32),
            "contended",
            move |s, r, seen| ring(s, lanes, r, seen),
        ));
    }
    all.push(Case::new("core/ir/barrier/u32/buffer", "barrier", Some(Type::U32), "contended", through_buffer));
    all.push(Case::new("core/ir/barrier/u32/uneven-work", "barrier", Some(Type::U32), "contended", uneven));
    all.push(Case::new("core/ir/shared/u32/limit", "shared", Some(Type::U32), "limit", whole_shared));
}

/// Reverses 64 elements through an array of the workgroup, or of the lane.
fn typed(s: &Subject, ty: Type, row: u32, r: &mut Random, seen: &mut Seen) -> End {
    let d = dtype(ty);
    let mut b = Builder::new(&format!("arrays_{row}_{}", super::name(ty)), [64, 1, 1]);
    let (x, out) = (b.buffer("x", d, Access::Read), b.buffer("out", d, Access::Write));
    let me = lane(&mut b, [64, 1, 1]);
    let first = base(&mut b, 64);
    let wide = b.cast(Elem::Idx, me);
    let at = b.add(first, wide);
    let (zero, last) = (b.u32(0), b.u32(63));
    if row == 0 {
        let tile = b.shared("tile", d, 64);
        let v = b.load(Place::Buffer(x), at);
        b.store(Place::Shared(tile), me, v);
        b.barrier();
        let other = b.sub(last, me);
        let v = b.load(Place::Shared(tile), other);
        b.store(Place::Buffer(out), at, v);
    } else {
        // Eight elements from here on into an array of the lane, read back at an index that only it knows.
        let own = b.private("own", d, 8);
        let (eight, one) = (b.u32(8), b.u32(1));
        let j = b.begin_for(zero, eight, one, Unroll::Auto);
        let wide = b.cast(Elem::Idx, j);
        let from = b.add(at, wide);
        let v = b.load(Place::Buffer(x), from);
        b.store(Place::Private(own), j, v);
        b.end_for();
        let pick = b.binary(BinaryOp::Rem, me, eight);
        let v = b.load(Place::Private(own), pick);
        b.store(Place::Buffer(out), at, v);
    }
    let n = 64 * GROUPS as usize;
    let data: Vec<u64> = (0..n).map(|_| super::table::plain(s, ty, element(ty, Values::Special, r))).collect();
    let mut buffers = [put(ty, &data), vec![0xcd; n * ty.bytes()]];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let want: Vec<u64> = (0..n)
        .map(|i| match row {
            0 => data[i / 64 * 64 + 63 - i % 64],
            // Checked reads behind the end give 0.
            _ => data.get(i + i % 64 % 8).copied().unwrap_or(0),
        })
        .collect();
    super::table::exactly("an array", ty, &get(ty, &buffers[1]), &want, |i| format!("element {i}"), seen)
}

/// Every lane writes its element and reads the one on the other side, twice.
fn reverse(s: &Subject, size: [u32; 3], r: &mut Random, seen: &mut Seen) -> End {
    let lanes: u32 = size.iter().product();
    let mut b = Builder::new(&format!("reverse_{}_{}_{}", size[0], size[1], size[2]), size);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let tile = b.shared("tile", DType::U32, lanes);
    let me = lane(&mut b, size);
    let first = base(&mut b, lanes);
    let wide = b.cast(Elem::Idx, me);
    let at = b.add(first, wide);
    let last = b.u32(lanes - 1);
    let other = b.sub(last, me);
    let v = b.load(Place::Buffer(x), at);
    b.store(Place::Shared(tile), me, v);
    b.barrier();
    let v = b.load(Place::Shared(tile), other);
    b.barrier();
    let v = b.add(v, me);
    b.store(Place::Shared(tile), me, v);
    b.barrier();
    let w = b.load(Place::Shared(tile), other);
    let three = b.u32(3);
    let w = b.mul(w, three);
    let y = b.add(v, w);
    b.store(Place::Buffer(out), at, y);
    let n = (lanes * GROUPS) as usize;
    let data = to_u32(&bytes(r, 4 * n));
    let mut buffers = [of_u32(data.iter().copied()), vec![0xcd; 4 * n]];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let lanes = lanes as usize;
    let first = |i: usize| data[i / lanes * lanes + lanes - 1 - i % lanes].wrapping_add((i % lanes) as u32);
    let want: Vec<u32> = (0..n)
        .map(|i| first(i).wrapping_add(first(i / lanes * lanes + lanes - 1 - i % lanes).wrapping_mul(3)))
        .collect();
    same(format!("workgroups of {size:?} lanes that exchange through shared memory"), &to_u32(&buffers[1]), &want, seen)
}

/// Prefix sums with two barriers in each round of a loop.
fn scan(s: &Subject, lanes: u32, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new(&format!("scan_{lanes}"), [lanes, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let tile = b.shared("tile", DType::U32, lanes);
    let me = lane(&mut b, [lanes, 1, 1]);
    let first = base(&mut b, lanes);
    let wide = b.cast(Elem::Idx, me);
    let at = b.add(first, wide);
    let v = b.load(Place::Buffer(x), at);
    b.store(Place::Shared(tile), me, v);
    b.barrier();
    let (one, n) = (b.u32(1), b.u32(lanes));
    let step = b.var("step", one);
    b.begin_while();
    let by = b.get(step);
    let more = b.compare(CmpOp::Lt, by, n);
    b.while_cond(more);
    let v = b.load(Place::Shared(tile), me);
    let has = b.compare(CmpOp::Ge, me, by);
    let zero = b.u32(0);
    let back = b.sub(me, by);
    let back = b.select(has, back, zero);
    let w = b.load(Place::Shared(tile), back);
    let w = b.select(has, w, zero);
    let sum = b.add(v, w);
    b.barrier();
    b.store(Place::Shared(tile), me, sum);
    b.barrier();
    let two = b.add(by, by);
    b.set(step, two);
    b.end_while();
    let y = b.load(Place::Shared(tile), me);
    b.store(Place::Buffer(out), at, y);
    let n = (lanes * GROUPS) as usize;
    let data = to_u32(&bytes(r, 4 * n));
    let mut buffers = [of_u32(data.iter().copied()), vec![0xcd; 4 * n]];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let want: Vec<u32> = data
        .chunks(lanes as usize)
        .flat_map(|part| {
            part.iter()
                .scan(0u32, |t, x| {
                    *t = t.wrapping_add(*x);
                    Some(*t)
                })
                .collect::<Vec<_>>()
        })
        .collect();
    same(format!("prefix sums of {lanes} lanes"), &to_u32(&buffers[1]), &want, seen)
}

/// A hundred rounds in which every lane takes what its neighbour had.
fn ring(s: &Subject, lanes: u32, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new(&format!("ring_{lanes}"), [lanes, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let tile = b.shared("tile", DType::U32, lanes);
    let me = lane(&mut b, [lanes, 1, 1]);
    let first = base(&mut b, lanes);
    let wide = b.cast(Elem::Idx, me);
    let at = b.add(first, wide);
    let v = b.load(Place::Buffer(x), at);
    let own = b.var("own", v);
    let (zero, one, rounds, n) = (b.u32(0), b.u32(1), b.u32(100), b.u32(lanes));
    b.count(zero, rounds, one, |b, _| {
        let v = b.get(own);
        b.store(Place::Shared(tile), me, v);
        b.barrier();
        let next = b.add(me, one);
        let next = b.binary(BinaryOp::Rem, next, n);
        let v = b.load(Place::Shared(tile), next);
        let v = b.add(v, one);
        b.set(own, v);
        b.barrier();
    });
    let y = b.get(own);
    b.store(Place::Buffer(out), at, y);
    let n = (lanes * GROUPS) as usize;
    let data = to_u32(&bytes(r, 4 * n));
    let mut buffers = [of_u32(data.iter().copied()), vec![0xcd; 4 * n]];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let lanes = lanes as usize;
    let want: Vec<u32> =
        (0..n).map(|i| data[i / lanes * lanes + (i % lanes + 100) % lanes].wrapping_add(100)).collect();
    same(format!("a ring of {lanes} lanes, a hundred rounds"), &to_u32(&buffers[1]), &want, seen)
}

/// A barrier orders buffers within its workgroup too.
fn through_buffer(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let lanes = 128u32;
    let mut b = Builder::new("through_buffer", [lanes, 1, 1]);
    let x = b.buffer("x", DType::U32, Access::ReadWrite);
    let me = lane(&mut b, [lanes, 1, 1]);
    let first = base(&mut b, lanes);
    let wide = b.cast(Elem::Idx, me);
    let at = b.add(first, wide);
    let last = b.u32(lanes - 1);
    let other = b.sub(last, me);
    let other = b.cast(Elem::Idx, other);
    let there = b.add(first, other);
    let v = b.load(Place::Buffer(x), there);
    b.barrier();
    b.store(Place::Buffer(x), at, v);
    b.barrier();
    let w = b.load(Place::Buffer(x), there);
    b.barrier();
    let y = b.add(v, w);
    b.store(Place::Buffer(x), at, y);
    let n = (lanes * GROUPS) as usize;
    let data = to_u32(&bytes(r, 4 * n));
    let mut buffers = [of_u32(data.iter().copied())];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let l = lanes as usize;
    let want: Vec<u32> = (0..n).map(|i| data[i].wrapping_add(data[i / l * l + l - 1 - i % l])).collect();
    same("lanes that exchange through a buffer", &to_u32(&buffers[0]), &want, seen)
}

/// Lanes come late to the barrier, each after work of its own length.
fn uneven(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let lanes = 64u32;
    let mut b = Builder::new("uneven", [lanes, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::Write));
    let tile = b.shared("tile", DType::U32, lanes);
    let me = lane(&mut b, [lanes, 1, 1]);
    let first = base(&mut b, lanes);
    let wide = b.cast(Elem::Idx, me);
    let at = b.add(first, wide);
    let v = b.load(Place::Buffer(x), at);
    let own = b.var("own", v);
    let (zero, one, sixty) = (b.u32(0), b.u32(1), b.u32(60));
    let end = b.mul(me, sixty);
    b.count(zero, end, one, |b, j| {
        let v = b.get(own);
        let w = b.binary(BinaryOp::Xor, v, j);
        let w = b.add(w, one);
        b.set(own, w);
    });
    let v = b.get(own);
    b.store(Place::Shared(tile), me, v);
    b.barrier();
    let last = b.u32(lanes - 1);
    let other = b.sub(last, me);
    let y = b.load(Place::Shared(tile), other);
    b.store(Place::Buffer(out), at, y);
    let n = (lanes * GROUPS) as usize;
    let data = to_u32(&bytes(r, 4 * n));
    let mut buffers = [of_u32(data.iter().copied()), vec![0xcd; 4 * n]];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let l = lanes as usize;
    let work = |i: usize| (0..(i % l) as u32 * 60).fold(data[i], |v, j| (v ^ j).wrapping_add(1));
    let want: Vec<u32> = (0..n).map(|i| work(i / l * l + l - 1 - i % l)).collect();
    same("lanes that come late to a barrier", &to_u32(&buffers[1]), &want, seen)
}

/// All the shared memory that the device states, every word written and read by another lane.
fn whole_shared(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let words = s.info().limits.max_shared / 16 * 4;
    let mut b = Builder::new(&format!("whole_shared_{words}"), [64, 1, 1]);
    let (key, out) = (b.scalar("key", DType::U32), b.buffer("out", DType::U32, Access::Write));
    let tile = b.shared("tile", DType::U32, words);
    let me = lane(&mut b, [64, 1, 1]);
    let (end, lanes, last) = (b.u32(words), b.u32(64), b.u32(words - 1));
    b.count(me, end, lanes, |b, j| {
        let v = b.binary(BinaryOp::Xor, j, key);
        b.store(Place::Shared(tile), j, v);
    });
    b.barrier();
    b.count(me, end, lanes, |b, j| {
        let other = b.sub(last, j);
        let v = b.load(Place::Shared(tile), other);
        b.store(Place::Buffer(out), j, v);
    });
    let key = r.bits() as u32;
    let mut buffers = [vec![0xcd; 4 * words as usize]];
    run(s, &b.finish()?, Grid::Linear(2), &mut buffers, &[ScalarArg::U32(key)])?;
    let want: Vec<u32> = (0..words).map(|i| (words - 1 - i) ^ key).collect();
    same(format!("{} bytes of shared memory", 4 * words), &to_u32(&buffers[0]), &want, seen)
}
