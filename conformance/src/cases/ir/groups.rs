//! Reductions over the workgroup, and what lanes of a subgroup do together.

use super::table::{get, put};
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, ensure, run},
    oracle::{Type, sample::Random},
    subject::dtype,
};
use anychip::{
    DType,
    hal::{
        device::Grid,
        info::Feature,
        ir::{Access, Builder, Builtin, Op, Place, ReduceOp, SubgroupOp},
    },
};

const GROUPS: usize = 5;

const REDUCE: [(&str, ReduceOp); 7] = [
    ("sum", ReduceOp::Sum),
    ("prod", ReduceOp::Prod),
    ("min", ReduceOp::Min),
    ("max", ReduceOp::Max),
    ("and", ReduceOp::And),
    ("or", ReduceOp::Or),
    ("xor", ReduceOp::Xor),
];

fn bitwise(op: ReduceOp) -> bool {
    matches!(op, ReduceOp::And | ReduceOp::Or | ReduceOp::Xor)
}

/// Reductions that a type has.
fn of(ty: Type) -> Vec<(&'static str, ReduceOp)> {
    REDUCE.into_iter().filter(|(_, op)| !ty.is_float() || !bitwise(*op)).collect()
}

/// The reduction on the host, of numbers whose sums and products are exact.
fn fold(ty: Type, op: ReduceOp, x: &[u64]) -> u64 {
    if ty.is_float() {
        let v = x.iter().map(|b| ty.float_of_bits(*b));
        let nan =
            |f: fn(f64, f64) -> f64| move |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { f(a, b) };
        let y = match op {
            ReduceOp::Sum => v.sum(),
            ReduceOp::Prod => v.product(),
            ReduceOp::Min => v.reduce(nan(f64::min)).unwrap_or(0.0),
            _ => v.reduce(nan(f64::max)).unwrap_or(0.0),
        };
        return ty.bits_of_float(y);
    }
    let v = x.iter().map(|b| ty.int_of_bits(*b));
    let y = match op {
        ReduceOp::Sum => v.sum(),
        ReduceOp::Prod => v.fold(1i128, |a, b| ty.wrap(a.wrapping_mul(b))),
        ReduceOp::Min => v.min().unwrap_or(0),
        ReduceOp::Max => v.max().unwrap_or(0),
        ReduceOp::And => v.fold(-1, |a, b| a & b),
        ReduceOp::Or => v.fold(0, |a, b| a | b),
        ReduceOp::Xor => v.fold(0, |a, b| a ^ b),
    };
    ty.wrap(y) as u64 & (u64::MAX >> (64 - 8 * ty.bytes()))
}

/// Values for a reduction: bits for integers, multiples of a quarter for sums, powers of two for products.
fn values(s: &Subject, ty: Type, op: ReduceOp, n: usize, r: &mut Random) -> Vec<u64> {
    (0..n)
        .map(|_| {
            if !ty.is_float() {
                return r.bits() & (u64::MAX >> (64 - 8 * ty.bytes()));
            }
            let x = match op {
                ReduceOp::Prod if ty == Type::F16 => *r.one_of(&[1.0, -1.0]),
                ReduceOp::Prod => *r.one_of(&[1.0, -1.0, 1.0, 2.0, 0.5, 1.0]),
                ReduceOp::Sum => (r.below(17) as f64 - 8.0) / 4.0,
                _ if r.below(60) == 0 && s.arithmetic(ty).facts.nan_inf => f64::NAN,
                _ => r.between(-100.0, 100.0),
            };
            ty.bits_of_float(ty.format().map_or(x, |f| f.round(x.into())))
        })
        .collect()
}

/// Reductions of the types besides u32 and f32, which have all of theirs. Barriers in branches are the slowest code that there is for
/// compilers of GPU languages to CPUs: each reduction has a kernel of its own.
const OTHERS: [(Type, &[ReduceOp]); 6] = [
    (Type::I32, &[ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max]),
    (Type::I64, &[ReduceOp::Sum, ReduceOp::Min]),
    (Type::U64, &[ReduceOp::Max, ReduceOp::Xor]),
    (Type::I8, &[ReduceOp::Sum, ReduceOp::Max]),
    (Type::F64, &[ReduceOp::Sum, ReduceOp::Max]),
    (Type::F16, &[ReduceOp::Sum, ReduceOp::Min]),
];

pub(super) fn cases(all: &mut Vec<Case>) {
    let whole = [Type::U32, Type::F32].map(|ty| (ty, of(ty)));
    let others = OTHERS.map(|(ty, ops)| (ty, of(ty).into_iter().filter(|(_, op)| ops.contains(op)).collect()));
    for (ty, ops) in whole.into_iter().chain(others) {
        for (name, op) in ops {
            all.push(reduction(ty, name, op, 64));
        }
    }
    for lanes in [1u32, 2, 3, 31, 33, 100, 128, 256] {
        all.push(reduction(Type::U32, "sum", ReduceOp::Sum, lanes));
        if [33, 100].contains(&lanes) {
            all.push(reduction(Type::U32, "max", ReduceOp::Max, lanes));
        }
    }
    all.push(Case::new("core/ir/group-sum/u32/limit", "group-sum", Some(Type::U32), "limit", |s, r, seen| {
        let l = &s.info().limits;
        let lanes = l.max_workgroup.min(l.max_workgroup_dim[0]).min(l.max_shared / 8);
        group(s, Type::U32, ReduceOp::Sum, lanes, r, seen)
    }));
    subgroups(all);
}

fn reduction(ty: Type, name: &str, op: ReduceOp, lanes: u32) -> Case {
    let id = format!("core/ir/group-{name}/{}/{lanes}", super::name(ty));
    let case = Case::new(id, format!("group-{name}"), Some(ty), "workgroup", move |s, r, seen| {
        group(s, ty, op, lanes, r, seen)
    });
    if ty == Type::F64 { case.optional() } else { case }
}

/// One reduction of each of some workgroups; every lane must have it.
fn group(s: &Subject, ty: Type, op: ReduceOp, lanes: u32, r: &mut Random, seen: &mut Seen) -> End {
    let d = dtype(ty);
    let name = format!("group_{op:?}_{}_{lanes}", super::name(ty)).to_lowercase();
    let mut b = Builder::new(&name, [lanes, 1, 1]);
    let (x, out) = (b.buffer("x", d, Access::Read), b.buffer("out", d, Access::Write));
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    let y = b.group_reduce(op, v);
    b.store(Place::Buffer(out), i, y);
    let n = lanes as usize * GROUPS;
    let data = values(s, ty, op, n, r);
    let mut buffers = [put(ty, &data), vec![0xcd; n * ty.bytes()]];
    run(s, &b.finish()?, Grid::Linear(GROUPS as u64), &mut buffers, &[])?;
    let want: Vec<u64> = data.chunks(lanes as usize).flat_map(|part| vec![fold(ty, op, part); part.len()]).collect();
    let what = format!("group {op:?} of {lanes} lanes");
    super::table::exactly(
        &what,
        ty,
        &get(ty, &buffers[1]),
        &want,
        |i| format!("workgroup {}", i / lanes as usize),
        seen,
    )
}

/// What lanes of a subgroup give each other.
const MOVES: [(&str, SubgroupOp); 6] = [
    ("shuffle", SubgroupOp::Shuffle),
    ("shuffle-xor", SubgroupOp::ShuffleXor),
    ("shuffle-down", SubgroupOp::ShuffleDown),
    ("shuffle-up", SubgroupOp::ShuffleUp),
    ("broadcast", SubgroupOp::Broadcast),
    ("scan-add", SubgroupOp::ScanAdd),
];

fn subgroups(all: &mut Vec<Case>) {
    let some = |name: &str| matches!(name, "sum" | "max" | "shuffle" | "broadcast" | "scan-add");
    let few = |name: &str| matches!(name, "sum" | "shuffle");
    for (ty, lanes) in
        [(Type::U32, 64u32), (Type::F32, 64), (Type::I32, 64), (Type::F16, 64), (Type::U64, 64), (Type::U32, 96)]
    {
        let reduces = of(ty).into_iter().map(|(name, op)| (name, SubgroupOp::Reduce(op)));
        for (name, op) in reduces.chain(MOVES) {
            let wanted = match (ty, lanes) {
                (Type::U32, 64) => true,
                (Type::F32, _) => some(name),
                (Type::I32, _) => matches!(name, "min" | "max"),
                _ => few(name),
            };
            if wanted {
                let id = format!("core/ir/subgroup-{name}/{}/{lanes}", super::name(ty));
                all.push(Case::new(id, format!("subgroup-{name}"), Some(ty), "subgroup", move |s, r, seen| {
                    subgroup(s, ty, lanes, op, r, seen)
                }));
            }
        }
    }
    for lanes in [64u32, 96] {
        let id = format!("core/ir/subgroup-ids/u32/{lanes}");
        all.push(Case::new(id, "subgroup-ids", Some(Type::U32), "subgroup", move |s, _, seen| {
            let data = vec![1; lanes as usize * GROUPS];
            let op = SubgroupOp::Reduce(ReduceOp::Sum);
            let (_, parts) = run_subgroups(s, Type::U32, lanes, op, &data)?;
            seen.elements += (parts.len() * lanes as usize) as u64;
            Ok(())
        }));
    }
}

/// Each subgroup: its size, and its lanes in order by their place in the buffers.
type Parts = Vec<(usize, Vec<usize>)>;

/// Runs an operation; gives the results and who is in which subgroup, which must be consistent.
fn run_subgroups(
    s: &Subject,
    ty: Type,
    lanes: u32,
    op: SubgroupOp,
    data: &[u64],
) -> Result<(Vec<u64>, Parts), Failure> {
    let d = dtype(ty);
    let name: String = format!("{op:?}").chars().filter(|c| c.is_alphanumeric()).collect();
    let mut b = Builder::new(&format!("subgroup_{name}_{}_{lanes}", super::name(ty)).to_lowercase(), [lanes, 1, 1]);
    let (x, out) = (b.buffer("x", d, Access::Read), b.buffer("out", d, Access::Write));
    let who = b.buffer("who", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let ids = [Builtin::SubgroupSize, Builtin::SubgroupLane, Builtin::SubgroupId].map(|x| b.builtin(x));
    let three = b.idx(3);
    let at = b.mul(i, three);
    for (n, id) in ids.into_iter().enumerate() {
        let n = b.idx(n as u64);
        let at = b.add(at, n);
        b.store(Place::Buffer(who), at, id);
    }
    let v = b.load(Place::Buffer(x), i);
    let lane = match op {
        SubgroupOp::Reduce(_) | SubgroupOp::ScanAdd => None,
        // The last lane reads the first, and so on.
        SubgroupOp::Shuffle => {
            let one = b.u32(1);
            let last = b.sub(ids[0], one);
            Some(b.sub(last, ids[1]))
        }
        SubgroupOp::ShuffleXor | SubgroupOp::ShuffleDown | SubgroupOp::ShuffleUp => Some(b.u32(1)),
        SubgroupOp::Broadcast => Some(b.u32(0)),
    };
    let y = b.define(d.into(), Op::Subgroup { op, value: v, lane });
    b.store(Place::Buffer(out), i, y);
    let mut buffers = [put(ty, data), vec![0xcd; data.len() * ty.bytes()], vec![0xcd; 12 * data.len()]];
    run(s, &b.finish()?, Grid::Linear(GROUPS as u64), &mut buffers, &[])?;
    let who: Vec<u32> = crate::cases::launch::to_u32(&buffers[2]);
    let mut parts: Parts = vec![];
    let claimed =
        [Feature::Subgroup, Feature::SubgroupReduce, Feature::SubgroupShuffle].iter().all(|f| s.info().has(*f));
    for g in 0..GROUPS {
        let first = g * lanes as usize;
        let mut of_group: std::collections::BTreeMap<u32, Vec<(u32, usize)>> = Default::default();
        for l in 0..lanes as usize {
            let [size, lane, id] = [0, 1, 2].map(|n| who[3 * (first + l) + n]);
            ensure(lane < size && size > 0, || {
                format!("lane {l} of a workgroup is lane {lane} of a subgroup of {size}")
            })?;
            if let (true, Some(sizes)) = (claimed, &s.info().subgroups) {
                ensure((sizes.min..=sizes.max).contains(&size), || {
                    format!("a subgroup has {size} lanes; the device states {} to {}", sizes.min, sizes.max)
                })?;
            }
            of_group.entry(id).or_default().push((lane, first + l));
        }
        for (id, mut members) in of_group {
            members.sort_unstable();
            let size = who[3 * members[0].1];
            ensure(members.iter().enumerate().all(|(n, m)| m.0 == n as u32) && members.len() <= size as usize, || {
                let numbers: Vec<u32> = members.iter().map(|m| m.0).collect();
                format!("subgroup {id} of {size} lanes has lanes {numbers:?}; they count from 0")
            })?;
            parts.push((size as usize, members.into_iter().map(|m| m.1).collect()));
        }
    }
    Ok((get(ty, &buffers[1]), parts))
}

fn subgroup(s: &Subject, ty: Type, lanes: u32, op: SubgroupOp, r: &mut Random, seen: &mut Seen) -> End {
    let kind = match op {
        SubgroupOp::Reduce(op) => op,
        _ => ReduceOp::Sum,
    };
    let data = values(s, ty, kind, lanes as usize * GROUPS, r);
    let (got, parts) = run_subgroups(s, ty, lanes, op, &data)?;
    for (size, part) in parts {
        let x: Vec<u64> = part.iter().map(|i| data[*i]).collect();
        let n = x.len();
        // `None`: the language says nothing of it.
        let want: Vec<Option<u64>> = (0..n)
            .map(|l| match op {
                SubgroupOp::Reduce(op) => Some(fold(ty, op, &x)),
                SubgroupOp::ScanAdd if l == 0 => Some(0),
                SubgroupOp::ScanAdd => Some(fold(ty, ReduceOp::Sum, &x[..l])),
                SubgroupOp::Shuffle => x.get(size - 1 - l).copied(),
                SubgroupOp::ShuffleXor => x.get(l ^ 1).copied(),
                SubgroupOp::ShuffleDown => x.get(l + 1).copied(),
                SubgroupOp::ShuffleUp => l.checked_sub(1).map(|l| x[l]),
                SubgroupOp::Broadcast => Some(x[0]),
            })
            .collect();
        let got: Vec<u64> = part.iter().map(|i| got[*i]).collect();
        let want: Vec<u64> = want.into_iter().zip(&got).map(|(w, g)| w.unwrap_or(*g)).collect();
        let zeros = |b: u64| if ty.is_float() && ty.float_of_bits(b) == 0.0 { 0 } else { b };
        let (got, want): (Vec<_>, Vec<_>) = got.into_iter().zip(want).map(|(g, w)| (zeros(g), zeros(w))).unzip();
        super::table::exactly(&format!("{op:?}"), ty, &got, &want, |l| format!("lane {l} of {n}"), seen)?;
    }
    Ok(())
}
