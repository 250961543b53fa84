//! Asynchronous copies to shared memory: whole and part, several groups under way, other lanes' elements. Each with its bounds checks,
//! where they are loads and stores, and without, where they are the chip's own.

use super::table::{get, put};
use crate::{
    Case, Seen, Subject,
    cases::launch::{End, run_both},
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
        ir::{Access, Builder, Builtin, Elem, Op, ParamKind, Place, Role, Swizzle, TileView},
    },
};

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in [Type::F32, Type::U32, Type::F16, Type::U8, Type::I64] {
        for elems in [1u32, 4] {
            all.push(Case::new(
                format!("core/ir/copy-async/{}/whole/{elems}", super::name(ty)),
                "copy-async",
                Some(ty),
                "whole",
                move |s, r, seen| copy(s, ty, elems, false, r, seen),
            ));
        }
    }
    for ty in [Type::F32, Type::F16] {
        all.push(Case::new(
            format!("core/ir/copy-async/{}/part/8", super::name(ty)),
            "copy-async",
            Some(ty),
            "part",
            move |s, r, seen| copy(s, ty, 8, true, r, seen),
        ));
    }
    for stages in [2u32, 3] {
        all.push(Case::new(
            format!("core/ir/copy-async/f32/stages/{stages}"),
            "copy-async",
            Some(Type::F32),
            "stages",
            move |s, r, seen| staged(s, stages, r, seen),
        ));
    }
    for ty in [Type::F32, Type::F16] {
        for (shape, at) in [("inside", [58, 28]), ("edges", [61, 40])] {
            all.push(Case::new(
                format!("core/ir/copy-tile/{}/{shape}", super::name(ty)),
                "copy-tile",
                Some(ty),
                "part",
                move |s, r, seen| boxes(s, ty, at, r, seen),
            ));
        }
    }
}

/// Boxes of a matrix of 64 by 48, of which the last begin near `last`, two under way: a lane gives back what it finds at the other end of a
/// box. What lies outside of the matrix is zero.
fn boxes(s: &Subject, ty: Type, last: [u64; 2], r: &mut Random, seen: &mut Seen) -> End {
    const EXTENTS: [u64; 2] = [64, 48];
    const BOX: [u16; 2] = [4, 16];
    const ROUNDS: u64 = 6;
    let d = dtype(ty);
    let n = u32::from(BOX[0] * BOX[1]);
    let mut b = Builder::new(&format!("copy_tile_{}", super::name(ty)), [LANES, 1, 1]);
    let (x, out) = (b.buffer("x", d, Access::Read), b.buffer("out", d, Access::Write));
    let idx = ParamKind::Scalar { elem: Elem::Idx, role: Role::User };
    let [origin, rows, cols, far] = ["origin", "rows", "cols", "far"].map(|name| b.param(name, idx));
    let (down, across) = (b.scalar("down", Elem::Idx), b.scalar("across", Elem::Idx));
    let (tile, bars) = (b.shared("tile", d, 2 * n), b.shared("bars", DType::U64, 2));
    let me = b.builtin(Builtin::LocalId(0));
    let begin = |b: &mut Builder, round: u64| {
        let slot = b.u32((round % 2) as u32);
        let step = b.idx(round);
        // From the last box backwards, a row and a column of boxes a round.
        let at = [(down, 9), (across, 4)].map(|(last, by)| {
            let by = b.idx(by);
            let back = b.mul(step, by);
            b.sub(last, back)
        });
        let to = b.u32((round % 2) as u32 * n);
        let view = TileView { origin, extents: vec![rows, cols], strides: vec![far], size: BOX };
        let swizzle = Swizzle::NONE;
        b.effect(Op::CopyTile { dst: tile, dst_index: to, src: x, view, at: at.to_vec(), swizzle, bars, slot });
        b.effect(Op::TileCommit { bars, slot });
    };
    begin(&mut b, 0);
    for round in 0..ROUNDS {
        if round + 1 < ROUNDS {
            begin(&mut b, round + 1);
        }
        let (slot, parity) = (b.u32((round % 2) as u32), b.u32((round / 2 % 2) as u32));
        b.effect(Op::TileWait { bars, slot, parity });
        b.barrier();
        for part in 0..n / LANES {
            let first = b.u32(part * LANES);
            let (at, end) = (b.add(me, first), b.u32((round % 2) as u32 * n + n - 1));
            let other = b.sub(end, at);
            let v = b.load(Place::Shared(tile), other);
            let base = b.idx(round * u64::from(n));
            let to = b.cast(Elem::Idx, at);
            let to = b.add(base, to);
            b.store(Place::Buffer(out), to, v);
        }
        b.barrier();
    }
    let (skip, pitch) = (8u64, 56u64);
    let count = (skip + EXTENTS[0] * pitch) as usize;
    let data: Vec<u64> =
        (0..count).map(|_| super::table::plain(s, ty, element(ty, Values::Range(1.0, 90.0), r))).collect();
    let mut buffers = [put(ty, &data), vec![0xcd; (ROUNDS as usize) * n as usize * ty.bytes()]];
    let [down, across] = last;
    let scalars = [skip, EXTENTS[0], EXTENTS[1], pitch, down, across].map(ScalarArg::Idx);
    // SAFETY: boxes are cut at the matrix, which lies inside its buffer, and as many elements are written as there are.
    unsafe { run_both(s, &b.finish()?, Grid::Linear(1), &mut buffers, &scalars)? };
    let mut want = vec![];
    for round in 0..ROUNDS {
        let (top, left) = (down - 9 * round, across - 4 * round);
        let held = (0..u64::from(n)).map(|i| {
            let (row, col) = (top + i / u64::from(BOX[1]), left + i % u64::from(BOX[1]));
            let inside = row < EXTENTS[0] && col < EXTENTS[1];
            if inside { data[(skip + row * pitch + col) as usize] } else { 0 }
        });
        let held: Vec<u64> = held.collect();
        want.extend(held.into_iter().rev());
    }
    let tell = |i: usize| format!("element {} of box {}", i % n as usize, i / n as usize);
    super::table::exactly("a copy of boxes", ty, &get(ty, &buffers[1]), &want, tell, seen)
}

const LANES: u32 = 32;
const GROUPS: u32 = 4;

/// Each lane copies its part; after the barrier each reads from the other end.
fn copy(s: &Subject, ty: Type, elems: u32, part: bool, r: &mut Random, seen: &mut Seen) -> End {
    let d = dtype(ty);
    let n = LANES * elems;
    let mut b = Builder::new(&format!("copy_async_{}_{elems}_{part}", super::name(ty)), [LANES, 1, 1]);
    let (x, out) = (b.buffer("x", d, Access::Read), b.buffer("out", d, Access::Write));
    let take = b.scalar("take", DType::U32);
    let tile = b.shared("tile", d, n);
    let (me, g) = (b.builtin(Builtin::LocalId(0)), b.builtin(Builtin::GroupId(0)));
    let (width, all) = (b.u32(elems), b.idx(u64::from(n)));
    let to = b.mul(me, width);
    let base = b.mul(g, all);
    let wide = b.cast(Elem::Idx, to);
    let from = b.add(base, wide);
    b.effect(Op::CopyAsync {
        dst: tile,
        dst_index: to,
        src: x,
        src_index: from,
        elems,
        take: part.then_some(take),
        aligned: false,
    });
    b.effect(Op::CopyCommit);
    b.effect(Op::CopyWait(0));
    b.barrier();
    let last = b.u32(n - 1);
    let (zero, one) = (b.u32(0), b.u32(1));
    b.count(zero, width, one, |b, j| {
        let at = b.add(to, j);
        let other = b.sub(last, at);
        let v = b.load(Place::Shared(tile), other);
        let at = b.cast(Elem::Idx, at);
        let at = b.add(base, at);
        b.store(Place::Buffer(out), at, v);
    });
    let count = (n * GROUPS) as usize;
    let data: Vec<u64> =
        (0..count).map(|_| super::table::plain(s, ty, element(ty, Values::Range(1.0, 90.0), r))).collect();
    let mut buffers = [put(ty, &data), vec![0xcd; count * ty.bytes()]];
    let take = if part { 1 + r.below(elems as usize - 1) } else { elems as usize };
    // SAFETY: every lane copies and writes elements of its own among the `n` of its workgroup, of which both buffers have all.
    unsafe {
        run_both(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[ScalarArg::U32(take as u32)])?
    };
    let (n, elems) = (n as usize, elems as usize);
    let held = |i: usize| if i % elems < take { data[i] } else { 0 };
    let want: Vec<u64> = (0..count).map(|i| held(i / n * n + n - 1 - i % n)).collect();
    super::table::exactly("a copy", ty, &get(ty, &buffers[1]), &want, |i| format!("element {i}"), seen)
}

/// Several tiles under way: while one is summed up the next ones are copied.
fn staged(s: &Subject, stages: u32, r: &mut Random, seen: &mut Seen) -> End {
    let rounds = 8u32;
    let mut b = Builder::new(&format!("copy_stages_{stages}"), [LANES, 1, 1]);
    let (x, out) = (b.buffer("x", DType::F32, Access::Read), b.buffer("out", DType::F32, Access::Write));
    let tile = b.shared("tile", DType::F32, LANES * stages);
    let me = b.builtin(Builtin::LocalId(0));
    let zero = b.f32(0.0);
    let sum = b.var("sum", zero);
    let copy = |b: &mut Builder, round: u32| {
        if round < rounds {
            let (to, from) = (b.u32(round % stages * LANES), b.u32(round * LANES));
            let (to, from) = (b.add(to, me), b.add(from, me));
            b.effect(Op::CopyAsync {
                dst: tile,
                dst_index: to,
                src: x,
                src_index: from,
                elems: 1,
                take: None,
                aligned: false,
            });
        }
        b.effect(Op::CopyCommit);
    };
    (0..stages - 1).for_each(|n| copy(&mut b, n));
    for round in 0..rounds {
        b.effect(Op::CopyWait(stages - 2));
        b.barrier();
        let (first, last) = (b.u32(round % stages * LANES), b.u32(LANES - 1));
        let other = b.sub(last, me);
        let at = b.add(first, other);
        let v = b.load(Place::Shared(tile), at);
        let old = b.get(sum);
        let weight = b.f32((round + 1) as f32);
        let v = b.mul(v, weight);
        let new = b.add(old, v);
        b.set(sum, new);
        b.barrier();
        copy(&mut b, round + stages - 1);
    }
    let y = b.get(sum);
    b.store(Place::Buffer(out), me, y);
    let data: Vec<f32> = (0..LANES * rounds).map(|_| (r.below(17) as f32 - 8.0) / 4.0).collect();
    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let mut buffers = [bytes(&data), vec![0xcd; 4 * LANES as usize]];
    // SAFETY: rounds of as many elements as lanes are read, and as many written, as the buffers have.
    unsafe { run_both(s, &b.finish()?, Grid::Linear(1), &mut buffers, &[])? };
    let want: Vec<u64> = (0..LANES as usize)
        .map(|l| (0..rounds as usize).map(|n| data[n * 32 + 31 - l] * (n + 1) as f32).sum::<f32>())
        .map(|x| u64::from((x + 0.0).to_bits()))
        .collect();
    let got: Vec<u64> = get(Type::F32, &buffers[1])
        .into_iter()
        .map(|b| u64::from((f32::from_bits(b as u32) + 0.0).to_bits()))
        .collect();
    super::table::exactly("sums of staged copies", Type::F32, &got, &want, |i| format!("lane {i}"), seen)
}
