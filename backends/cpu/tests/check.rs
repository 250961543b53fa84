//! The checking mode: one planted mistake of each kind is found, with the kernel's name and line; right kernels are not
//! accused.

mod common;

use anychip_cpu::{DIVERGENT, OUT_OF_BOUNDS, RACE, UNWRITTEN};
use anychip_hal::{
    Command, DType, Error, Memory, Range, Result,
    ir::{Access, AtomicOp, BinaryOp, Builder, Builtin, CmpOp, Kernel, Op, Place, ReduceOp, Scope, Type, Value, Var},
};
use common::*;

/// A kernel over two buffers of 256 u32; `f` gets x, z and the lane in the grid. The mistake stands at line 42.
fn kernel(f: impl FnOnce(&mut Builder, Place, Place, Value)) -> Kernel {
    let mut b = Builder::new("planted", [64, 1, 1]);
    let (x, z) = (b.buffer("x", DType::U32, Access::Read), b.buffer("z", DType::U32, Access::ReadWrite));
    let i = b.builtin(Builtin::GlobalId(0));
    let i = b.cast(DType::U32, i);
    f(&mut b, Place::Buffer(x), Place::Buffer(z), i);
    b.finish().unwrap()
}

fn at_42(b: &mut Builder) {
    b.at(Some(("app.rs", 42)));
}

fn go(k: &Kernel) -> Result<()> {
    let dev = checking();
    let mut bufs = [bytes(&(0..256u32).collect::<Vec<_>>()), bytes(&[0u32; 256])];
    run(&*dev, k, [4, 1, 1], &mut bufs, &[])
}

/// Past the verifier, which refuses a barrier that lanes may miss: a device must not rely on it alone.
fn go_unverified(mut k: Kernel) -> Result<()> {
    let dev = checking();
    k.idx_bits = 32;
    let program = load(&*dev, &k);
    let bindings = [0, 1].map(|_| Range { buffer: dev.alloc(1024, Memory::Device).unwrap(), offset: 0, bytes: 1024 });
    let fill = bindings.map(|dst| Command::Fill { dst, word: 1 });
    let launch = Command::Launch { program, groups: [4, 1, 1], bindings: bindings.to_vec(), scalars: vec![] };
    let [a, b] = fill;
    wait(&*dev, submit(&*dev, &[a, b, launch])?)
}

#[track_caller]
fn found(r: Result<()>, kind: i64, says: &str) {
    match r {
        Err(Error::Backend { backend, code, message }) => {
            assert_eq!((backend.as_str(), code), ("cpu", kind), "{message}");
            assert!(message.starts_with("kernel planted, app.rs:42: "), "{message}");
            assert!(message.contains(says), "{message:?} does not say {says:?}");
        }
        other => panic!("not found: {other:?}"),
    }
}

#[test]
fn out_of_bounds_reads_and_writes() {
    let k = kernel(|b, x, z, i| {
        let one = b.u32(1);
        let next = b.add(i, one);
        at_42(b);
        let v = b.load(x, next);
        b.at(Some(("app.rs", 43)));
        b.store(z, i, v);
    });
    found(go(&k), OUT_OF_BOUNDS, "lane 63 of workgroup [3, 0, 0] reads element 256 of buffer x, which has 256");
    let k = kernel(|b, x, z, i| {
        let v = b.load(x, i);
        at_42(b);
        b.store(z, v, v);
        b.at(Some(("app.rs", 43)));
        let big = b.u32(1000);
        let far = b.add(i, big);
        at_42(b);
        b.store(z, far, v);
    });
    found(go(&k), OUT_OF_BOUNDS, "writes element 1000 of buffer z, which has 256");
    let k = kernel(|b, _, z, i| {
        let a = b.private("table", DType::U32, 4);
        let l = b.builtin(Builtin::LocalId(0));
        at_42(b);
        b.store(Place::Private(a), l, i);
        b.at(Some(("app.rs", 43)));
        b.store(z, i, i);
    });
    found(go(&k), OUT_OF_BOUNDS, "element 4 of private array table, which has 4");
}

#[test]
fn reads_of_what_nobody_wrote() {
    let k = kernel(|b, _, z, i| {
        let s = b.shared("tile", DType::U32, 64);
        let l = b.builtin(Builtin::LocalId(0));
        let half = b.u32(32);
        let low = b.compare(CmpOp::Lt, l, half);
        b.when(low, |b| b.store(Place::Shared(s), l, i));
        b.barrier();
        at_42(b);
        let v = b.load(Place::Shared(s), l);
        b.store(z, i, v);
    });
    found(
        go(&k),
        UNWRITTEN,
        "lane 32 of workgroup [0, 0, 0] reads element 32 of shared array tile, which nobody wrote",
    );
    let k = kernel(|b, _, z, i| {
        let a = b.private("table", DType::U32, 4);
        let zero = b.u32(0);
        at_42(b);
        let v = b.load(Place::Private(a), zero);
        b.store(z, i, v);
    });
    found(go(&k), UNWRITTEN, "private array table, which nobody wrote");
    // A variable set by some lanes only.
    let mut k = kernel(|b, _, z, i| {
        let seven = b.u32(7);
        let odd = b.compare(CmpOp::Eq, i, seven);
        let v = b.var("maybe", i);
        b.when(odd, |b| b.set(v, i));
        at_42(b);
        let got = b.get(v);
        b.store(z, i, got);
    });
    k.vars = vec![Var { name: "maybe".into(), ty: Type::U32 }];
    let first = k.body.iter().position(|i| matches!(i.op, Op::Set(..))).unwrap();
    k.body.remove(first);
    found(go(&k), UNWRITTEN, "lane 0 of workgroup [0, 0, 0] reads variable maybe, which it never set");
    // A buffer that was allocated and never written; and one whose contents were copied from it.
    let k = kernel(|b, x, z, i| {
        at_42(b);
        let v = b.load(x, i);
        b.store(z, i, v);
    });
    let dev = checking();
    let l = legal(&*dev, &k, 32);
    let program = load(&*dev, &l);
    let (fresh, copy, z) = (
        dev.alloc(1024, Memory::Device).unwrap(),
        dev.alloc(1024, Memory::Device).unwrap(),
        dev.alloc(1024, Memory::Device).unwrap(),
    );
    let all = |buffer| Range { buffer, offset: 0, bytes: 1024 };
    let scalars = pack(&l, &[], [4, 1, 1], &[1024, 1024]);
    let launch =
        |x| Command::Launch { program, groups: [4, 1, 1], bindings: vec![all(x), all(z)], scalars: scalars.clone() };
    let says = "reads element 0 of buffer x, which nobody wrote";
    found(submit(&*dev, &[launch(fresh)]).and_then(|t| wait(&*dev, t)), UNWRITTEN, says);
    let copied = [Command::Copy { src: all(fresh), dst: all(copy) }, launch(copy)];
    found(submit(&*dev, &copied).and_then(|t| wait(&*dev, t)), UNWRITTEN, says);
    let filled = [Command::Fill { dst: all(fresh), word: 0 }, launch(fresh), launch(z)];
    // x and z are one buffer in the last launch, each lane its own element: written by the first.
    submit(&*dev, &filled[..2]).and_then(|t| wait(&*dev, t)).unwrap();
}

#[test]
fn races_within_and_between_workgroups() {
    let k = kernel(|b, _, z, i| {
        let s = b.shared("tile", DType::U32, 64);
        let l = b.builtin(Builtin::LocalId(0));
        b.store(Place::Shared(s), l, i);
        // No barrier.
        let (one, mask) = (b.u32(1), b.u32(63));
        let n = b.add(l, one);
        let n = b.binary(BinaryOp::And, n, mask);
        at_42(b);
        let v = b.load(Place::Shared(s), n);
        b.store(z, i, v);
    });
    found(go(&k), RACE, "with no barrier in between");
    let k = kernel(|b, _, z, i| {
        let two = b.u32(2);
        let at = b.binary(BinaryOp::Div, i, two);
        at_42(b);
        b.store(z, at, i);
    });
    found(go(&k), RACE, "lane 1 of workgroup [0, 0, 0] writes element 0 of buffer z");
    let k = kernel(|b, _, z, _| {
        let l = b.builtin(Builtin::LocalId(0));
        at_42(b);
        b.store(z, l, l);
    });
    found(go(&k), RACE, "another workgroup");
    // Atomic here, plain there.
    let k = kernel(|b, _, z, i| {
        let zero = b.u32(0);
        let op = Op::Atomic { op: AtomicOp::Add, place: z, index: zero, value: i, compare: None, scope: Scope::Device };
        b.define(Type::U32, op);
        at_42(b);
        let v = b.load(z, zero);
        b.at(Some(("app.rs", 43)));
        let s = b.shared("t", DType::U32, 64);
        let l = b.builtin(Builtin::LocalId(0));
        b.store(Place::Shared(s), l, v);
    });
    found(go(&k), RACE, "reads element 0 of buffer z");
}

#[test]
fn barriers_that_some_lanes_miss() {
    let k = kernel(|b, _, z, i| {
        let l = b.builtin(Builtin::LocalId(0));
        let half = b.u32(32);
        let low = b.compare(CmpOp::Lt, l, half);
        b.when(low, |b| {
            at_42(b);
            b.barrier();
        });
        b.store(z, i, i);
    });
    found(go_unverified(k), DIVERGENT, "divergent barrier: lane 32 of workgroup [0, 0, 0] does not reach it");
    let k = kernel(|b, x, z, i| {
        let l = b.builtin(Builtin::LocalId(0));
        let five = b.u32(5);
        let is_five = b.compare(CmpOp::Eq, l, five);
        b.when(is_five, |b| b.effect(Op::Return));
        let v = b.load(x, i);
        at_42(b);
        let s = b.group_reduce(ReduceOp::Sum, v);
        b.store(z, i, s);
    });
    found(go_unverified(k), DIVERGENT, "lane 5 of workgroup");
}

#[test]
fn right_kernels_are_not_accused() {
    // Shared memory with barriers where they belong, atomics, uniform loops, neighbours read after a barrier.
    let k = kernel(|b, x, z, i| {
        let s = b.shared("tile", DType::U32, 64);
        let c = b.shared("count", DType::U32, 1);
        let l = b.builtin(Builtin::LocalId(0));
        let (zero, one, mask) = (b.u32(0), b.u32(1), b.u32(63));
        let first = b.compare(CmpOp::Eq, l, zero);
        b.when(first, |b| b.store(Place::Shared(c), zero, zero));
        let v = b.load(x, i);
        let four = b.u32(4);
        let acc = b.var("acc", v);
        b.count(zero, four, one, |b, _| {
            let a = b.get(acc);
            b.store(Place::Shared(s), l, a);
            b.barrier();
            let n = b.add(l, one);
            let n = b.binary(BinaryOp::And, n, mask);
            let v = b.load(Place::Shared(s), n);
            b.barrier();
            let op = Op::Atomic {
                op: AtomicOp::Add,
                place: Place::Shared(c),
                index: zero,
                value: one,
                compare: None,
                scope: Scope::Workgroup,
            };
            b.define(Type::U32, op);
            let a = b.get(acc);
            let a = b.add(a, v);
            b.set(acc, a);
        });
        b.barrier();
        let n = b.load(Place::Shared(c), zero);
        let a = b.get(acc);
        let t = b.group_reduce(ReduceOp::Max, a);
        let r = b.add(t, n);
        b.store(z, i, r);
        let back = b.load(z, i);
        b.store(z, i, back);
    });
    let dev = checking();
    let x: Vec<u32> = (0..256).collect();
    let mut bufs = [bytes(&x), bytes(&[0u32; 256])];
    run(&*dev, &k, [4, 1, 1], &mut bufs, &[]).unwrap();
    let mut unchecked = [bytes(&x), bytes(&[0u32; 256])];
    run(&*device(anychip_cpu::vmath::Level::detect(), 2), &k, [4, 1, 1], &mut unchecked, &[]).unwrap();
    assert!(bufs[1] == unchecked[1]);
    let mut acc: Vec<u64> = (0..64).map(|i| i as u64).collect();
    for _ in 0..4 {
        acc = (0..64).map(|i| acc[i] + acc[(i + 1) % 64]).collect();
    }
    assert_eq!(elements::<u32>(&bufs[1])[0] as u64, acc.iter().max().unwrap() + 4 * 64);
}
