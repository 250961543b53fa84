//! What legalised kernels compute, lane by lane, against numbers from the host.

use crate::{kernels::FRAG, reference::run};
use anychip_hal::{
    DType, DeviceInfo, Error,
    info::{DeviceClass, Feature, Identity, Limits, MemoryInfo, TypeSupport},
    ir::{build::Builder, legal::*, *},
};

/// A device with nothing beyond the core: f32, f64, integers, atomics; small floats are stored if `small` says so.
pub fn device(small: TypeSupport) -> DeviceInfo {
    let mut types: std::collections::BTreeMap<_, _> = DType::ALL.map(|d| (d, TypeSupport::ATOMIC)).into();
    for d in [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2] {
        types.insert(d, small);
    }
    DeviceInfo {
        id: "plain:0".into(),
        backend: "plain".into(),
        identity: Identity::new("test", "test", "test", "1", "test"),
        class: DeviceClass::Software,
        units: 1,
        vector: 1,
        vector_bytes: 0,
        memory: MemoryInfo { total: 1 << 30, max_alloc: 1 << 30, unified: true, kinds: vec![] },
        types,
        features: Default::default(),
        fragments: vec![],
        subgroups: None,
        limits: Limits {
            max_workgroup: 1024,
            max_workgroup_dim: [1024; 3],
            max_groups: [i32::MAX as u32; 3],
            max_shared: 1 << 16,
            max_bindings: 16,
            max_binding_bytes: 1 << 30,
            binding_align: 256,
            copy_align: 4,
            max_scalars: 256,
            queues: 1,
        },
        clock: None,
        serialised: false,
        kernels: true,
        arithmetic: Default::default(),
        numerics: Default::default(),
    }
}

pub fn plain() -> DeviceInfo {
    device(TypeSupport::default())
}

pub fn legal(k: &Kernel, info: &DeviceInfo, idx_bits: u8, checked: bool) -> Kernel {
    legalize(k, &Target { info, idx_bits, checked }).unwrap_or_else(|e| panic!("{e}\n{k}"))
}

/// Every way of legalising must give the same numbers.
pub fn everywhere(k: &Kernel, groups: u32, buffers: &[Vec<u64>], scalars: &[u64], check: impl Fn(&[Vec<u64>])) {
    for (idx, checked) in [(32, true), (64, true), (32, false), (64, false)] {
        for fold in [false, true] {
            let mut info = plain();
            if fold {
                info.limits.max_groups[0] = 2;
            }
            let k = legal(k, &info, idx, checked);
            let mut b = buffers.to_vec();
            let grid = if fold { [2, groups.div_ceil(2), 1] } else { [groups, 1, 1] };
            run(&k, grid, groups as u64, &mut b, scalars);
            check(&b);
        }
    }
}

pub fn floats(x: &[f32]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits() as u64).collect()
}

pub fn as_f32(x: &[u64]) -> Vec<f32> {
    x.iter().map(|x| f32::from_bits(*x as u32)).collect()
}

#[test]
fn group_reductions_of_any_size_combine_in_a_tree() {
    for (workgroup, vectors) in [([1, 1, 1], 1), ([3, 1, 1], 1), ([8, 1, 1], 2), ([3, 4, 1], 1), ([5, 1, 2], 4)] {
        let n: u32 = workgroup.iter().product();
        let mut b = Builder::new("reduce", workgroup);
        let x = b.buffer("x", DType::F32, Access::Read);
        let out = b.buffer("out", DType::F32, Access::Write);
        let all = b.buffer("all", DType::F32, Access::Write);
        let mut lane = b.builtin(Builtin::LocalId(0));
        for (d, step) in [(1, workgroup[0]), (2, workgroup[0] * workgroup[1])] {
            let (id, step) = (b.builtin(Builtin::LocalId(d)), b.u32(step));
            lane = b.mul_add(id, step, lane);
        }
        let group = b.builtin(Builtin::GroupId(0));
        let size = b.idx(n as u64);
        let lane_idx = b.cast(Elem::Idx, lane);
        let at = b.mul_add(group, size, lane_idx);
        let v = b.load(Place::Buffer(x), at);
        let v = if vectors > 1 { b.splat(v, vectors) } else { v };
        // Twice in a row: the second must not disturb the first.
        let sum = b.group_reduce(ReduceOp::Sum, v);
        let max = b.group_reduce(ReduceOp::Max, v);
        let both = b.add(sum, max);
        let last = if vectors > 1 { b.extract(both, vectors - 1) } else { both };
        b.store(Place::Buffer(all), at, last);
        let zero = b.u32(0);
        let first = b.compare(CmpOp::Eq, lane, zero);
        b.when(first, |b| b.store(Place::Buffer(out), group, last));
        let k = b.finish().expect("built");
        let groups = 3;
        let data: Vec<f32> = (0..n * groups).map(|i| (i as f32 * 1.7).sin() * 1e3).collect();
        let tree = |part: &[f32]| {
            let mut v = part.to_vec();
            let mut s = v.len().next_power_of_two() / 2;
            while s > 0 {
                for i in 0..s.min(v.len()) {
                    if i + s < v.len() {
                        v[i] += v[i + s];
                    }
                }
                v.truncate(s);
                s /= 2;
            }
            v[0] + part.iter().copied().fold(f32::MIN, f32::max)
        };
        let want: Vec<f32> = data.chunks(n as usize).map(tree).collect();
        let buffers = [floats(&data), vec![0; groups as usize], vec![0; (n * groups) as usize]];
        everywhere(&k, groups, &buffers, &[], |b| {
            assert_eq!(as_f32(&b[1]), want, "{workgroup:?}");
            let every: Vec<f32> = want.iter().flat_map(|w| vec![*w; n as usize]).collect();
            assert_eq!(as_f32(&b[2]), every);
        });
    }
}

#[test]
fn subgroup_operations_act_on_the_whole_workgroup() {
    let mut b = Builder::new("subgroup", [6, 1, 1]);
    let out = b.buffer("out", DType::I32, Access::Write);
    let lane = b.builtin(Builtin::SubgroupLane);
    let size = b.builtin(Builtin::SubgroupSize);
    let id = b.builtin(Builtin::SubgroupId);
    let v = b.cast(DType::I32, lane);
    let v = b.mul(v, v);
    let one = b.u32(1);
    let two = b.u32(2);
    let mut results = vec![b.cast(DType::I32, size), b.cast(DType::I32, id)];
    let i32t = Type::scalar(DType::I32);
    for (op, operand) in [
        (SubgroupOp::Reduce(ReduceOp::Sum), None),
        (SubgroupOp::ScanAdd, None),
        (SubgroupOp::ShuffleXor, Some(one)),
        (SubgroupOp::ShuffleDown, Some(one)),
        (SubgroupOp::ShuffleUp, Some(two)),
        (SubgroupOp::Broadcast, Some(two)),
        (SubgroupOp::Shuffle, Some(lane)),
    ] {
        results.push(b.define(i32t, Op::Subgroup { op, value: v, lane: operand }));
    }
    for (i, r) in results.into_iter().enumerate() {
        let row = b.u32(6 * i as u32);
        let at = b.add(row, lane);
        b.store(Place::Buffer(out), at, r);
    }
    let k = b.finish().expect("built");
    everywhere(&k, 1, &[vec![0; 54]], &[], |b| {
        let rows: Vec<&[u64]> = b[0].chunks(6).collect();
        assert_eq!(rows[0], [6; 6]);
        assert_eq!(rows[1], [0; 6]);
        assert_eq!(rows[2], [55; 6]);
        assert_eq!(rows[3], [0, 0, 1, 5, 14, 30]);
        assert_eq!(rows[4], [1, 0, 9, 4, 25, 16]);
        assert_eq!(rows[5][..5], [1, 4, 9, 16, 25]);
        assert_eq!(rows[6][2..], [0, 1, 4, 9]);
        assert_eq!(rows[7], [4; 6]);
        assert_eq!(rows[8], [0, 1, 4, 9, 16, 25]);
    });
}

/// A checked kernel reads 0 outside, writes nothing there, and touches no other element.
#[test]
fn guards_hold_at_every_edge() {
    for index_type in [DType::I32, DType::U32, DType::I64, DType::U64, DType::I8] {
        for lanes in [1u8, 4] {
            let mut b = Builder::new("edges", [4, 1, 1]);
            let at = b.buffer("at", index_type, Access::Read);
            let x = b.buffer("x", DType::F32, Access::Read);
            let y = b.buffer("y", DType::F32, Access::ReadWrite);
            let got = b.buffer("got", DType::F32, Access::Write);
            let tile = b.shared("tile", DType::F32, 8);
            let mine = b.private("mine", DType::F32, 8);
            let n = b.buf_len(at);
            let gid = b.builtin(Builtin::GlobalId(0));
            let in_range = b.compare(CmpOp::Lt, gid, n);
            b.when(in_range, |b| {
                let i = b.load(Place::Buffer(at), gid);
                let v = b.load_vec(Place::Buffer(x), i, lanes);
                b.store(Place::Shared(tile), i, v);
                b.store(Place::Private(mine), i, v);
                b.store(Place::Buffer(y), i, v);
                let s = if lanes == 1 { v } else { b.extract(v, lanes - 1) };
                b.store(Place::Buffer(got), gid, s);
            });
            let k = b.finish().expect("built");
            let mut indices: Vec<i64> = vec![0, 1, 4, 5, 7, 8, 9, -1, -8, 127, -128];
            match index_type {
                DType::I32 => indices.extend([i32::MAX as i64, i32::MIN as i64]),
                DType::U32 => indices.extend([u32::MAX as i64, 1 << 31]),
                DType::I64 | DType::U64 => indices.extend([i64::MAX, i64::MIN, 1 << 32, (1 << 32) + 4]),
                _ => {}
            }
            let mask = u64::MAX >> (64 - 8 * index_type.size());
            let words: Vec<u64> = indices.iter().map(|i| *i as u64 & mask).collect();
            let x: Vec<f32> = (1..=8).map(|i| i as f32).collect();
            let (x_words, len) = (floats(&x), x.len());
            for idx in [32, 64] {
                let k = legal(&k, &plain(), idx, true);
                let n = indices.len();
                let mut b = [words.clone(), x_words.clone(), vec![0; len], vec![7; n]];
                run(&k, [(n as u32).div_ceil(4) + 1, 1, 1], 0, &mut b, &[]);
                let mut y = vec![0f32; len];
                for (j, i) in indices.iter().enumerate() {
                    let inside = *i >= 0 && *i <= (len - lanes as usize) as i64;
                    let want = if inside { x[*i as usize + lanes as usize - 1] } else { 0.0 };
                    assert_eq!(f32::from_bits(b[3][j] as u32), want, "{index_type} {i} x{lanes}");
                    if inside {
                        let r = *i as usize..*i as usize + lanes as usize;
                        y[r.clone()].copy_from_slice(&x[r]);
                    }
                }
                assert_eq!(as_f32(&b[2]), y);
            }
        }
    }
}

#[test]
fn provable_indices_bear_no_guard() {
    let mut b = Builder::new("proven", [8, 1, 1]);
    let out = b.buffer("out", DType::F32, Access::Write);
    let tile = b.shared("tile", DType::F32, 32);
    let lane = b.builtin(Builtin::LocalId(0));
    let (zero, four, one) = (b.u32(0), b.u32(4), b.u32(1));
    let mut last = zero;
    b.count(zero, four, one, |b, i| {
        let at = b.mul_add(lane, four, i);
        let v = b.cast(DType::F32, i);
        b.store(Place::Shared(tile), at, v);
        last = at;
    });
    b.barrier();
    let three = b.u32(31);
    let v = b.load(Place::Shared(tile), three);
    let over = b.add(lane, three);
    let w = b.load(Place::Shared(tile), over);
    let sum = b.add(v, w);
    b.store(Place::Buffer(out), lane, sum);
    let k = legal(&b.finish().expect("built"), &plain(), 32, true);
    let mut ifs = 0;
    visit(&k.body, &mut |i| ifs += matches!(i.op, Op::If { .. }) as u32);
    assert_eq!(ifs, 2, "the load at lane + 31 and the store to the buffer are guarded, nothing else:\n{k}");
}

#[test]
fn conditions_on_a_length_stand_for_guards() {
    let mut b = Builder::new("known", [8, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::ReadWrite);
    let y = b.buffer("y", DType::F32, Access::Write);
    let (gid, n) = (b.builtin(Builtin::GlobalId(0)), b.buf_len(x));
    let ok = b.compare(CmpOp::Lt, gid, n);
    b.when(ok, |b| {
        let v = b.load(Place::Buffer(x), gid);
        b.store(Place::Buffer(x), gid, v);
    });
    let (start, step) = (b.idx(2), b.idx(3));
    b.count(start, n, step, |b, i| {
        b.load(Place::Buffer(x), i);
        let v = b.f32(5.0);
        b.store(Place::Buffer(x), i, v);
    });
    let ifs = |k: &Kernel| {
        let mut ifs = 0;
        visit(&k.body, &mut |i| ifs += matches!(i.op, Op::If { .. }) as u32);
        ifs
    };
    // Another buffer, or the same one after the branch, is guarded.
    let v = b.f32(1.0);
    b.store(Place::Buffer(y), gid, v);
    b.store(Place::Buffer(x), gid, v);
    let k = b.finish().expect("built");
    let checked = legal(&k, &plain(), 32, true);
    assert_eq!(ifs(&checked), 3, "{checked}");
    let mut bufs = [vec![0; 5], vec![0; 3]];
    run(&checked, [1, 1, 1], 0, &mut bufs, &[]);
    assert_eq!(as_f32(&bufs[1]), [1.0; 3]);
}

/// Integer identities, shared subterms, invariants of loops and dead code go; what is left computes the same.
#[test]
fn simplified_kernels_are_small_and_mean_the_same() {
    let mut b = Builder::new("simple", [2, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::ReadWrite);
    let n = b.scalar("n", DType::U32);
    let (zero, one, three) = (b.u32(0), b.u32(1), b.u32(3));
    let nothing = b.mul(n, zero);
    let dead = b.var("dead", nothing);
    let lane = b.builtin(Builtin::LocalId(0));
    b.count(zero, three, one, |b, i| {
        let again = b.scalar("m", DType::U32);
        let square = b.mul(again, again);
        let same = b.mul(again, again);
        let sum = b.add(square, same);
        let sum = b.add(sum, nothing);
        let never = b.compare(CmpOp::Gt, zero, three);
        b.either(never, |b| b.set(dead, i), |b| b.set(dead, sum));
        let at = b.mul_add(i, three, lane);
        let at = b.add(at, zero);
        let old = b.load(Place::Buffer(out), at);
        let new = b.add(old, sum);
        b.store(Place::Buffer(out), at, new);
    });
    let k = b.finish().expect("built");
    let small = legal(&k, &plain(), 32, false);
    let Some(Op::For { body, .. }) = small.body.iter().map(|i| &i.op).find(|o| matches!(o, Op::For { .. })) else {
        panic!("the loop is left:\n{small}")
    };
    // mul_add, cast, add offset, load, add, store: everything else is outside or gone.
    assert_eq!(body.len(), 6, "{small}");
    assert!(small.vars.is_empty() && small.values.len() < 20, "{small}");
    everywhere(&k, 1, &[(0..9).collect()], &[0, 7], |b| {
        let want: Vec<u64> = (0..9).map(|i| if i % 3 < 2 { i + 98 } else { i }).collect();
        assert_eq!(b[0], want);
    });
}

#[test]
fn endless_loops_end_and_steps_of_zero_count_as_one() {
    let mut b = Builder::new("loops", [1, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let (zero, five) = (b.u32(0), b.u32(5));
    let n = b.var("n", zero);
    b.count(zero, five, zero, |b, _| {
        let (x, one) = (b.get(n), b.u32(1));
        let y = b.add(x, one);
        b.set(n, y);
    });
    let total = b.get(n);
    b.store(Place::Buffer(out), zero, total);
    b.begin_while();
    let go = b.bool(true);
    b.while_cond(go);
    b.end_while();
    let k = b.finish().expect("built");
    let checked = legal(&k, &plain(), 32, true);
    let mut breaks = 0;
    visit(&checked.body, &mut |i| breaks += (i.op == Op::Break) as u32);
    assert_eq!(breaks, 1, "the loop is bounded:\n{checked}");
    // Without its endless loop it runs.
    let mut k = k;
    k.body.retain(|i| !matches!(i.op, Op::While { .. }));
    everywhere(&k, 1, &[vec![0]], &[], |b| assert_eq!(b[0], [5]));
}

#[test]
fn packed_products_and_unpacking() {
    let (a, c) = (0x80ff_017fu32, 0xfe02_8081u32);
    let mut b = Builder::new("packed", [1, 1, 1]);
    let out = b.buffer("out", DType::I32, Access::Write);
    let (av, cv, acc) = (b.scalar("a", DType::U32), b.scalar("c", DType::U32), b.integer(DType::I32, -5));
    let mut results = vec![];
    let i32t = Type::scalar(DType::I32);
    for (a_signed, b_signed) in [(true, true), (true, false), (false, true)] {
        results.push(b.define(i32t, Op::Dot4 { a: av, b: cv, acc, a_signed, b_signed }));
    }
    let ten = b.u32(10);
    let u = b.define(Type::U32, Op::Dot4 { a: av, b: cv, acc: ten, a_signed: false, b_signed: false });
    results.push(b.cast(DType::I32, u));
    let mut want: Vec<i32> = vec![];
    for (sa, sb, start) in [(true, true, -5), (true, false, -5), (false, true, -5), (false, false, 10)] {
        let byte =
            |w: u32, i: usize, s: bool| if s { w.to_le_bytes()[i] as i8 as i32 } else { w.to_le_bytes()[i] as i32 };
        want.push((0..4).map(|i| byte(a, i, sa) * byte(c, i, sb)).sum::<i32>() + start);
    }
    for bits in [1u8, 2, 4] {
        for i in 0..32 / bits as u32 {
            for signed in [false, true] {
                let index = b.u32(i);
                results.push(b.define(i32t, Op::Unpack { word: av, index, bits, signed }));
                let raw = (a >> (i * bits as u32)) & ((1 << bits) - 1);
                let s = 32 - bits as u32;
                want.push(if signed { ((raw << s) as i32) >> s } else { raw as i32 });
            }
        }
    }
    for (i, r) in results.iter().enumerate() {
        let at = b.u32(i as u32);
        b.store(Place::Buffer(out), at, *r);
    }
    let k = b.finish().expect("built");
    everywhere(&k, 1, &[vec![0; want.len()]], &[a as u64, c as u64], |b| {
        assert_eq!(b[0].iter().map(|x| *x as u32 as i32).collect::<Vec<_>>(), want);
    });
}

/// C = A·B + 1 over two steps of k; A from a buffer, column-major, B from a swizzled tile filled by asynchronous copies; the
/// accumulator lives in a variable; the epilogue visits elements with their coordinates.
#[test]
fn fragments_multiply_what_matrices_do() {
    let (m, n, k, steps) = (FRAG.m as u32, FRAG.n as u32, FRAG.k as u32, 2u32);
    for swizzle in [Swizzle::NONE, Swizzle { bits: 2, shift: 1 }] {
        let mut b = Builder::new("fragments", [5, 1, 1]);
        let x = b.buffer("x", DType::F32, Access::Read);
        let w = b.buffer("w", DType::F32, Access::Read);
        let out = b.buffer("out", DType::F32, Access::Write);
        let each = b.buffer("each", DType::F32, Access::Write);
        let tile = b.shared("tile", DType::F32, 64);
        let lane = b.builtin(Builtin::LocalId(0));
        let c = |b: &mut Builder, x| b.u32(x);
        let frag = |role| Type::Frag(Frag { role, ..FRAG });
        let one = b.f32(1.0);
        let start = b.define(frag(FragRole::Acc), Op::FragFill(one));
        let acc = b.var("acc", start);
        let (zero, end, by, five) = (c(&mut b, 0), c(&mut b, steps), c(&mut b, 1), c(&mut b, 5));
        b.count(zero, end, by, |b, step| {
            // B, row-major with stride 8 in the tile: lane l copies rows l, l + 5, …, each element to its swizzled place.
            let (rows, cols) = (c(b, k), c(b, n));
            b.barrier();
            b.count(lane, rows, five, |b, r| {
                b.count(zero, cols, by, |b, j| {
                    let eight = c(b, 8);
                    let at = b.mul_add(r, eight, j);
                    let mut to = at;
                    if swizzle.bits > 0 {
                        let (two, mask) = (c(b, 2), c(b, (1 << swizzle.bits) - 1));
                        let row_shift = c(b, 2 + swizzle.bits as u32 + swizzle.shift as u32);
                        let row = b.binary(BinaryOp::Shr, at, row_shift);
                        let row = b.binary(BinaryOp::And, row, mask);
                        let flip = b.binary(BinaryOp::Shl, row, two);
                        to = b.binary(BinaryOp::Xor, at, flip);
                    }
                    let row = b.mul_add(step, rows, r);
                    let from = b.mul_add(row, cols, j);
                    b.effect(Op::CopyAsync {
                        dst: tile,
                        dst_index: to,
                        src: w,
                        src_index: from,
                        elems: 1,
                        take: None,
                        aligned: false,
                    });
                });
            });
            b.effect(Op::CopyCommit);
            b.effect(Op::CopyWait(0));
            b.barrier();
            let height = c(b, m * k);
            let first = b.mul(step, height);
            let stride = c(b, m);
            let load = Op::FragLoad {
                place: Place::Buffer(x),
                index: first,
                stride,
                layout: Layout::ColMajor,
                swizzle: Swizzle::NONE,
                aligned: false,
            };
            let a = b.define(frag(FragRole::A), load);
            let stride = c(b, 8);
            let operand = FragOperand::Tile { shared: tile, index: zero, stride, layout: Layout::RowMajor, swizzle };
            let before = b.get(acc);
            let after = b.define(frag(FragRole::Acc), Op::FragMma { a: FragOperand::Reg(a), b: operand, acc: before });
            b.set(acc, after);
        });
        let done = b.get(acc);
        let stride = c(&mut b, n);
        b.effect(Op::FragStore {
            frag: done,
            place: Place::Buffer(out),
            index: zero,
            stride,
            layout: Layout::RowMajor,
        });
        let (row, col, elem) = b.begin_each(done);
        let at = b.mul_add(row, stride, col);
        let twice = b.add(elem, elem);
        b.store(Place::Buffer(each), at, twice);
        b.end_each();
        let kernel = b.finish().expect("built");
        let (m, n, k) = (m as usize, n as usize, k as usize * steps as usize);
        let x: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let w: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 * 0.5).collect();
        let mut want = vec![1.0; m * n];
        for i in 0..m {
            for j in 0..n {
                want[i * n + j] += (0..k).map(|p| x[p * m + i] * w[p * n + j]).sum::<f32>();
            }
        }
        let buffers = [floats(&x), floats(&w), vec![0; m * n], vec![0; m * n]];
        everywhere(&kernel, 1, &buffers, &[], |b| {
            assert_eq!(as_f32(&b[2]), want, "{swizzle:?}");
            assert_eq!(as_f32(&b[3]), want.iter().map(|x| x + x).collect::<Vec<_>>());
        });
    }
}

#[test]
fn what_cannot_be_lowered_is_refused() {
    let mut b = Builder::new("fused", [1, 1, 1]);
    let x = b.f32(1.0);
    b.fma(x, x, x);
    let k = b.finish().expect("built");
    assert_eq!(features(&k).into_iter().collect::<Vec<_>>(), [Feature::Fma]);
    let mut info = plain();
    let e = legalize(&k, &Target { info: &info, idx_bits: 32, checked: true }).expect_err("no fma");
    assert!(matches!(&e, Error::Unsupported { what, .. } if what.contains("legal.rs:")), "{e}");
    info.features.insert(Feature::Fma);
    legal(&k, &info, 32, true);
    info.types.remove(&DType::F32);
    assert!(legalize(&k, &Target { info: &info, idx_bits: 32, checked: true }).is_err_and(|e| e.is_unsupported()));

    let mut b = Builder::new("large", [1, 1, 1]);
    b.idx(1 << 33);
    let k = b.finish().expect("built");
    let e = legalize(&k, &Target { info: &plain(), idx_bits: 32, checked: true }).expect_err("too large");
    assert!(e.to_string().contains("8589934592"), "{e}");
    legal(&k, &plain(), 64, true);
}
