//! Grids: where a lane is, linear grids beyond what a dimension holds, three dimensions, 64-bit indices.

use crate::{
    Case, Seen, Subject,
    cases::launch::{End, run, same, step, to_u32},
    oracle::{Type, sample::Random},
};
use anychip::{
    DType,
    hal::{
        device::{Checks, Grid, ScalarArg},
        info::DeviceClass,
        ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Place},
    },
};
use std::time::{Duration, Instant};

pub(super) fn cases(all: &mut Vec<Case>) {
    for (lanes, groups) in [
        (1u32, 1u64),
        (1, 2),
        (1, 255),
        (1, 65_535),
        (1, 65_536),
        (1, 65_537),
        (1, 131_071),
        (1, 200_003),
        (32, 1),
        (32, 70_001),
        (64, 3),
        (100, 1009),
        (256, 257),
    ] {
        all.push(Case::new(
            format!("core/ir/grid/u32/linear/{lanes}-{groups}"),
            "grid",
            Some(Type::U32),
            "linear",
            move |s, _, seen| linear(s, lanes, groups, seen),
        ));
    }
    for (size, groups) in [
        ([1u32, 1, 1], [3u32, 4, 5]),
        ([1, 1, 1], [1, 1, 7]),
        ([1, 1, 1], [1, 300, 1]),
        ([4, 2, 3], [1, 1, 1]),
        ([4, 2, 3], [5, 3, 2]),
        ([8, 8, 1], [7, 9, 1]),
        ([1, 1, 8], [2, 2, 2]),
        ([1, 16, 1], [1, 33, 3]),
    ] {
        let name = |x: [u32; 3]| x.map(|n| n.to_string()).join("x");
        let id = format!("core/ir/grid/u32/dimensions/{}-{}", name(size), name(groups));
        all.push(Case::new(id, "grid", Some(Type::U32), "dimensions", move |s, _, seen| cube(s, size, groups, seen)));
    }
    all.push(Case::new("core/ir/grid/u32/linear/empty", "grid", Some(Type::U32), "empty", |s, _, seen| {
        let d = s.chip();
        let p = d.kernel(&crate::cases::launch::bump()?, Checks::On)?;
        let x = d.alloc_from(&[7; 256])?;
        for grid in [Grid::Linear(0), Grid::Xyz([0, 1, 1]), Grid::Xyz([1, 0, 1])] {
            d.submit(&[step(&p, grid, vec![x.all()], &[ScalarArg::U32(1)])])?.wait()?;
        }
        same("a buffer after launches of no workgroups", &crate::cases::launch::read_all(d, &x)?, &[7; 256], seen)
    }));
    all.push(Case::new("core/ir/grid/idx/64-bits/arithmetic", "idx", None, "64 bits", wide_index).optional());
    all.push(Case::new("core/ir/grid/idx/64-bits/lanes", "grid", None, "64 bits", five_billion).optional());
}

/// Every workgroup says which it is and how many there are; every lane adds its number.
fn linear(s: &Subject, lanes: u32, groups: u64, seen: &mut Seen) -> End {
    let mut b = Builder::new(&format!("linear_{lanes}"), [lanes, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let (g, n, l, i) = (
        b.builtin(Builtin::GroupId(0)),
        b.builtin(Builtin::NumGroups(0)),
        b.builtin(Builtin::LocalId(0)),
        b.builtin(Builtin::GlobalId(0)),
    );
    let size = b.builtin(Builtin::LocalSize(0));
    let [g, n, whole] = [g, n, i].map(|x| b.cast(DType::U32, x));
    // Each part counts: 3g + 5n + 7l + 11i + 13·size.
    let mut sum = b.u32(0);
    for (x, m) in [(g, 3), (n, 5), (l, 7), (whole, 11), (size, 13)] {
        let m = b.u32(m);
        let p = b.mul(x, m);
        sum = b.add(sum, p);
    }
    b.store(Place::Buffer(out), i, sum);
    let count = lanes as usize * groups as usize;
    // What lies behind the last lane must stay.
    let mut buffers = [vec![0xee; 4 * count + 64]];
    run(s, &b.finish()?, Grid::Linear(groups), &mut buffers, &[])?;
    let got = to_u32(&buffers[0]);
    let of = |i: u32| {
        (3 * (i / lanes))
            .wrapping_add(5 * groups as u32)
            .wrapping_add(7 * (i % lanes))
            .wrapping_add(11 * i)
            .wrapping_add(13 * lanes)
    };
    let want: Vec<u32> = (0..count as u32).map(of).chain([0xeeee_eeee; 16]).collect();
    same(format!("{groups} workgroups of {lanes} lanes"), &got, &want, seen)
}

/// Three dimensions: every built-in number of every lane.
fn cube(s: &Subject, size: [u32; 3], groups: [u32; 3], seen: &mut Seen) -> End {
    let mut b = Builder::new(&format!("cube_{}_{}_{}", size[0], size[1], size[2]), size);
    let out = b.buffer("out", DType::U32, Access::Write);
    let globals = [0, 1, 2].map(|d| {
        let x = b.builtin(Builtin::GlobalId(d));
        b.cast(DType::U32, x)
    });
    let widths: Vec<_> = [0, 1]
        .into_iter()
        .map(|d| {
            let (n, w) = (b.builtin(Builtin::NumGroups(d)), b.builtin(Builtin::LocalSize(d)));
            let n = b.cast(DType::U32, n);
            b.mul(n, w)
        })
        .collect();
    let row = b.mul(globals[2], widths[1]);
    let row = b.add(row, globals[1]);
    let row = b.mul(row, widths[0]);
    let at = b.add(row, globals[0]);
    let mut sum = at;
    for d in 0..3u8 {
        let (g, l) = (b.builtin(Builtin::GroupId(d)), b.builtin(Builtin::LocalId(d)));
        let g = b.cast(DType::U32, g);
        let (p, q) = (b.u32(101 * (u32::from(d) + 1)), b.u32(1009 * (u32::from(d) + 1)));
        let (g, l) = (b.mul(g, p), b.mul(l, q));
        let both = b.add(g, l);
        sum = b.add(sum, both);
    }
    b.store(Place::Buffer(out), at, sum);
    let extent: [u32; 3] = [0, 1, 2].map(|d| size[d] * groups[d]);
    let count: u32 = extent.iter().product();
    let mut buffers = [vec![0xee; 4 * count as usize]];
    run(s, &b.finish()?, Grid::Xyz(groups), &mut buffers, &[])?;
    let want: Vec<u32> = (0..count)
        .map(|at| {
            let x = [at % extent[0], at / extent[0] % extent[1], at / extent[0] / extent[1]];
            (0..3).fold(at, |sum, d| {
                let n = d as u32 + 1;
                sum + 101 * n * (x[d] / size[d]) + 1009 * n * (x[d] % size[d])
            })
        })
        .collect();
    same(format!("a grid of {groups:?} workgroups of {size:?}"), &to_u32(&buffers[0]), &want, seen)
}

/// Indices beyond 32 bits: products, quotients, remainders, comparisons.
fn wide_index(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new("wide_index", [32, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let (x, y) = (b.scalar("x", Elem::Idx), b.scalar("y", Elem::Idx));
    let i = b.builtin(Builtin::GlobalId(0));
    let p = b.add(x, i);
    let rows = [b.add(p, y), b.mul(p, y), b.binary(BinaryOp::Div, p, y), b.binary(BinaryOp::Rem, p, y), {
        let c = b.compare(CmpOp::Lt, p, y);
        b.select(c, p, y)
    }];
    let n = rows.len() as u64;
    let count = b.idx(2 * n);
    let base = b.mul(i, count);
    for (k, v) in rows.into_iter().enumerate() {
        let half = b.idx(1 << 16);
        let high = b.binary(BinaryOp::Div, v, half);
        let high = b.binary(BinaryOp::Div, high, half);
        for (part, v) in [v, high].into_iter().enumerate() {
            let word = b.cast(DType::U32, v);
            let at = b.idx((2 * k + part) as u64);
            let at = b.add(base, at);
            b.store(Place::Buffer(out), at, word);
        }
    }
    let k = b.finish()?;
    for _ in 0..4 {
        let (x, y) = ((1 << 33) + (r.bits() >> 20), 3 + (r.bits() >> 40));
        let mut buffers = [vec![0; 8 * n as usize * 32]];
        run(s, &k, Grid::Linear(1), &mut buffers, &[ScalarArg::Idx(x), ScalarArg::Idx(y)])?;
        let want: Vec<u32> = (0..32u64)
            .flat_map(|i| {
                let p = x + i;
                [p + y, p.wrapping_mul(y), p / y, p % y, p.min(y)]
            })
            .flat_map(|v| [v as u32, (v >> 32) as u32])
            .collect();
        same(format!("indices from {x} on"), &to_u32(&buffers[0]), &want, seen)?;
    }
    Ok(())
}

/// More lanes than 32 bits count, where the device is fast enough: what a thousandth of them takes says so.
fn five_billion(s: &Subject, _: &mut Random, seen: &mut Seen) -> End {
    let lanes = s.info().limits.max_workgroup.min(s.info().limits.max_workgroup_dim[0]).min(256);
    let mut b = Builder::new("far_lanes", [lanes, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let first = b.scalar("first", Elem::Idx);
    let i = b.builtin(Builtin::GlobalId(0));
    let at = b.sub(i, first);
    let (sixteen, word) = (b.idx(16), b.cast(DType::U32, i));
    let past = b.compare(CmpOp::Ge, i, first);
    let near = b.compare(CmpOp::Lt, at, sixteen);
    let both = b.binary(BinaryOp::And, past, near);
    b.when(both, |b| b.store(Place::Buffer(out), at, word));
    let k = b.finish()?;
    let first = (1u64 << 32) + 5;
    let groups = (first + 16).div_ceil(u64::from(lanes));
    let mut buffers = [vec![0; 64]];
    let begin = Instant::now();
    run(s, &k, Grid::Linear(groups / 1000), &mut buffers, &[ScalarArg::Idx(first)])?;
    let begin = if begin.elapsed() < Duration::from_secs(2) {
        let again = Instant::now();
        run(s, &k, Grid::Linear(groups / 1000), &mut buffers, &[ScalarArg::Idx(first)])?;
        again
    } else {
        begin
    };
    let whole = begin.elapsed() * 1000;
    if whole > Duration::from_secs(10) || s.info().class == DeviceClass::Software {
        let why = format!(
            "2^32 lanes would take {whole:?} here; the case asks for at most 10 s, and for no device in software"
        );
        return Err(crate::Failure::Unsupported(why));
    }
    run(s, &k, Grid::Linear(groups), &mut buffers, &[ScalarArg::Idx(first)])?;
    let want: Vec<u32> = (0..16).map(|i| 5 + i).collect();
    same("lanes beyond 2^32", &to_u32(&buffers[0]), &want, seen)
}
