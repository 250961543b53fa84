//! Atomics under contention, in buffers and in shared memory: what is left, and what every lane was given.

use super::table::{get, put};
use crate::{
    Case, Seen, Subject,
    cases::launch::{End, ensure, run, same, to_u32},
    oracle::{Type, sample::Random},
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::{Grid, ScalarArg},
        info::Feature,
        ir::{Access, AtomicOp, Builder, Builtin, CmpOp, Op, Place, Scope, Value},
    },
};

const LANES: u32 = 64;
const GROUPS: u32 = 48;
const N: usize = (LANES * GROUPS) as usize;

const OPS: [(&str, AtomicOp); 10] = [
    ("add", AtomicOp::Add),
    ("min", AtomicOp::Min),
    ("max", AtomicOp::Max),
    ("and", AtomicOp::And),
    ("or", AtomicOp::Or),
    ("xor", AtomicOp::Xor),
    ("exchange", AtomicOp::Exchange),
    ("compare-exchange", AtomicOp::CompareExchange),
    ("load", AtomicOp::Load),
    ("store", AtomicOp::Store),
];

fn floats(op: AtomicOp) -> bool {
    matches!(op, AtomicOp::Add | AtomicOp::Exchange | AtomicOp::Load | AtomicOp::Store)
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for ty in [Type::I32, Type::U32, Type::I64, Type::U64, Type::F32, Type::F64] {
        for (row, (name, op)) in OPS.into_iter().enumerate() {
            if ty.is_float() && !floats(op) {
                continue;
            }
            for shared in [false, true] {
                let place = if shared { "shared" } else { "buffer" };
                let id = format!("core/ir/atomic-{name}/{}/{place}", super::name(ty));
                let case = Case::new(id, format!("atomic-{name}"), Some(ty), "contended", move |s, r, seen| {
                    let claimed = s.info().support(dtype(ty)).atomics
                        && (ty.bytes() == 4 || ty.is_float() || s.info().has(Feature::Atomic64));
                    match claimed {
                        true => one(s, ty, row, op, shared, r, seen),
                        false => super::unclaimed(s, &format!("atomics on {}", super::name(ty)), || {
                            one(s, ty, row, op, shared, r, &mut Seen::default())
                        }),
                    }
                });
                all.push(if matches!(ty, Type::I32 | Type::U32) { case } else { case.optional() });
            }
        }
    }
    for bins in [1u32, 16, 1000] {
        all.push(Case::new(
            format!("core/ir/atomic-add/u32/histogram/{bins}"),
            "atomic-add",
            Some(Type::U32),
            "contended",
            move |s, r, seen| histogram(s, bins, r, seen),
        ));
    }
    all.push(Case::new("core/ir/atomic-add/u32/returned", "atomic-add", Some(Type::U32), "contended", |s, _, seen| {
        // Every lane adds 1 and keeps what it was given: each number once.
        let mut b = Builder::new("count_up", [LANES, 1, 1]);
        let (x, out) = (b.buffer("x", DType::U32, Access::ReadWrite), b.buffer("out", DType::U32, Access::Write));
        let (i, zero, one) = (b.builtin(Builtin::GlobalId(0)), b.idx(0), b.u32(1));
        let old = atomic(&mut b, AtomicOp::Add, Place::Buffer(x), zero, one, None, DType::U32);
        b.store(Place::Buffer(out), i, old);
        let mut buffers = [vec![0; 4], vec![0xff; 4 * N]];
        run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
        same("the counter", &to_u32(&buffers[0]), &[N as u32], seen)?;
        let mut given = to_u32(&buffers[1]);
        given.sort_unstable();
        same("the numbers that lanes were given, sorted", &given, &(0..N as u32).collect::<Vec<_>>(), seen)
    }));
}

fn atomic(
    b: &mut Builder,
    op: AtomicOp,
    place: Place,
    index: Value,
    value: Value,
    compare: Option<Value>,
    d: DType,
) -> Value {
    let scope = if matches!(place, Place::Shared(_)) { Scope::Workgroup } else { Scope::Device };
    b.define(d.into(), Op::Atomic { op, place, index, value, compare, scope })
}

/// One operation by every lane on one element (of the buffer, or of each workgroup's array).
fn one(s: &Subject, ty: Type, row: usize, op: AtomicOp, shared: bool, r: &mut Random, seen: &mut Seen) -> End {
    let d = dtype(ty);
    let mut b = Builder::new(
        &format!("atomics_{}_{}", if shared { "shared" } else { "buffer" }, super::name(ty)),
        [LANES, 1, 1],
    );
    let values = b.buffer("values", d, Access::Read);
    let cells = b.buffer("cells", d, Access::ReadWrite);
    let olds = b.buffer("olds", d, Access::Write);
    let which = b.scalar("row", DType::U32);
    let (start, expected) = (b.scalar("start", d), b.scalar("expected", d));
    let (i, lane, g) =
        (b.builtin(Builtin::GlobalId(0)), b.builtin(Builtin::LocalId(0)), b.builtin(Builtin::GroupId(0)));
    let (zero, zero_idx) = (b.u32(0), b.idx(0));
    let first = b.compare(CmpOp::Eq, lane, zero);
    let (place, at) = if shared {
        let cell = b.shared("cell", d, 1);
        b.when(first, |b| b.store(Place::Shared(cell), zero, start));
        b.barrier();
        (Place::Shared(cell), zero)
    } else {
        (Place::Buffer(cells), zero_idx)
    };
    let x = b.load(Place::Buffer(values), i);
    for (n, (_, op)) in OPS.into_iter().enumerate().filter(|(_, (_, op))| !ty.is_float() || floats(*op)) {
        let n = b.u32(n as u32);
        let mine = b.compare(CmpOp::Eq, which, n);
        b.begin_if(mine);
        let none = b.integer(d, 0);
        match op {
            AtomicOp::Store => {
                let scope = if shared { Scope::Workgroup } else { Scope::Device };
                b.effect(Op::Atomic { op, place, index: at, value: x, compare: None, scope });
                b.store(Place::Buffer(olds), i, none);
            }
            op => {
                let value = if op == AtomicOp::Load { none } else { x };
                let compare = (op == AtomicOp::CompareExchange).then_some(expected);
                let old = atomic(&mut b, op, place, at, value, compare, d);
                b.store(Place::Buffer(olds), i, old);
            }
        }
        b.end_if();
    }
    if shared {
        b.barrier();
        b.when(first, |b| {
            let v = b.load(place, zero);
            b.store(Place::Buffer(cells), g, v);
        });
    }
    let k = b.finish()?;
    // Small numbers: their sums are exact in every type. None is the expected one.
    let numbers: Vec<i128> =
        (0..N).map(|_| if ty.is_float() { 1 + r.below(8) as i128 } else { r.below(120) as i128 }).collect();
    let start: i128 = match op {
        AtomicOp::Min => 97,
        AtomicOp::And => 0x7f,
        AtomicOp::CompareExchange => 121,
        _ => 3,
    };
    let bits = |x: i128| {
        if ty.is_float() { ty.bits_of_float(x as f64) } else { ty.wrap(x) as u64 & (u64::MAX >> (64 - 8 * ty.bytes())) }
    };
    let number = |b: u64| if ty.is_float() { ty.float_of_bits(b) as i128 } else { ty.int_of_bits(b) };
    let cell_count = if shared { GROUPS as usize } else { 1 };
    let argument = |x| super::scalars::argument(ty, bits(x));
    let mut buffers = [
        put(ty, &numbers.iter().map(|x| bits(*x)).collect::<Vec<_>>()),
        put(ty, &vec![bits(start); cell_count]),
        vec![0xcd; N * ty.bytes()],
    ];
    let scalars = [ScalarArg::U32(row as u32), argument(start), argument(121)];
    run(s, &k, Grid::Linear(u64::from(GROUPS)), &mut buffers, &scalars)?;
    let cells: Vec<i128> = get(ty, &buffers[1]).into_iter().map(number).collect();
    let olds: Vec<i128> = get(ty, &buffers[2]).into_iter().map(number).collect();
    let part = N / cell_count;
    for (n, cell) in cells.iter().enumerate() {
        let (x, old) = (&numbers[n * part..(n + 1) * part], &olds[n * part..(n + 1) * part]);
        judge(op, start, x, old, *cell).map_err(|why| {
            let of = if shared { format!(", workgroup {n}") } else { String::new() };
            crate::Failure::Broken(format!("atomic {op:?} on {}{of}, {part} lanes: {why}", super::name(ty)))
        })?;
    }
    seen.elements += (N + cell_count) as u64;
    Ok(())
}

/// Is there an order of the lanes in which `end` is left and each was given its `old`?
fn judge(op: AtomicOp, start: i128, x: &[i128], old: &[i128], end: i128) -> Result<(), String> {
    let is = |want: i128| if end == want { Ok(()) } else { Err(format!("{end} is left, expected {want}")) };
    match op {
        AtomicOp::Add => {
            is(start + x.iter().sum::<i128>())?;
            // What was given, in order, are the partial sums.
            let mut steps: Vec<(i128, i128)> = old.iter().copied().zip(x.iter().copied()).collect();
            steps.sort_unstable();
            let mut at = start;
            for (old, x) in steps {
                if old != at {
                    return Err(format!("a lane was given {old}, which was never there after {at}"));
                }
                at += x;
            }
            Ok(())
        }
        AtomicOp::Min => is(x.iter().copied().fold(start, i128::min)).and_then(|()| among(old, x, start)),
        AtomicOp::Max => is(x.iter().copied().fold(start, i128::max)).and_then(|()| among(old, x, start)),
        AtomicOp::And => is(x.iter().fold(start, |a, x| a & x)),
        AtomicOp::Or => is(x.iter().fold(start, |a, x| a | x)),
        AtomicOp::Xor => is(x.iter().fold(start, |a, x| a ^ x)),
        AtomicOp::Exchange => {
            let mut put: Vec<i128> = x.iter().copied().chain([start]).collect();
            let mut got: Vec<i128> = old.iter().copied().chain([end]).collect();
            put.sort_unstable();
            got.sort_unstable();
            if put == got { Ok(()) } else { Err("what was put in is not what came out and is left".into()) }
        }
        AtomicOp::CompareExchange => {
            let winners: Vec<usize> = (0..x.len()).filter(|i| old[*i] == start).collect();
            match winners[..] {
                [w] if end == x[w] && old.iter().enumerate().all(|(i, o)| i == w || *o == end) => Ok(()),
                [w] => Err(format!("lane {w} won with {}, {end} is left", x[w])),
                _ => Err(format!("{} lanes found the start value, one should", winners.len())),
            }
        }
        AtomicOp::Load => is(start).and_then(|()| {
            if old.iter().all(|o| *o == start) { Ok(()) } else { Err("a load gave another number".into()) }
        }),
        AtomicOp::Store => match x.contains(&end) {
            true => Ok(()),
            false => Err(format!("{end} is left, which no lane stored")),
        },
    }
}

fn among(old: &[i128], x: &[i128], start: i128) -> Result<(), String> {
    match old.iter().find(|o| **o != start && !x.contains(o)) {
        None => Ok(()),
        Some(o) => Err(format!("a lane was given {o}, which nobody put there")),
    }
}

fn histogram(s: &Subject, bins: u32, r: &mut Random, seen: &mut Seen) -> End {
    let mut b = Builder::new("histogram", [LANES, 1, 1]);
    let (x, out) = (b.buffer("x", DType::U32, Access::Read), b.buffer("out", DType::U32, Access::ReadWrite));
    let (i, one) = (b.builtin(Builtin::GlobalId(0)), b.u32(1));
    let bin = b.load(Place::Buffer(x), i);
    atomic(&mut b, AtomicOp::Add, Place::Buffer(out), bin, one, None, DType::U32);
    let x: Vec<u32> = (0..N).map(|_| r.below(bins as usize) as u32).collect();
    let mut buffers = [crate::cases::launch::of_u32(x.iter().copied()), vec![0; 4 * bins as usize]];
    run(s, &b.finish()?, Grid::Linear(u64::from(GROUPS)), &mut buffers, &[])?;
    let mut want = vec![0u32; bins as usize];
    x.iter().for_each(|b| want[*b as usize] += 1);
    let got = to_u32(&buffers[1]);
    ensure(got.iter().sum::<u32>() == N as u32, || {
        format!("a histogram of {N} numbers counts {}", got.iter().sum::<u32>())
    })?;
    same(format!("a histogram of {bins} bins"), &got, &want, seen)
}
