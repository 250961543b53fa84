//! The verifier refuses what is malformed, and says which kernel, which line, and what would be accepted.

use crate::kernels::FRAG;
use anychip_hal::{
    DType,
    ir::{build::Builder, verify::verify, *},
};

/// Builds a kernel of 4 lanes with a buffer of each access, a shared array and a variable.
struct Bench {
    b: Builder,
    read: ParamId,
    write: ParamId,
    shared: SharedId,
    private: PrivateId,
    one: Value,
    f: Value,
    lane: Value,
}

fn bench() -> Bench {
    let mut b = Builder::new("bench", [4, 1, 1]);
    b.at(Some(("bench.rs", 12)));
    let read = b.buffer("x", DType::F32, Access::Read);
    let write = b.buffer("y", DType::F32, Access::Write);
    let shared = b.shared("tile", DType::F32, 8);
    let private = b.private("mine", DType::U32, 8);
    let (one, f) = (b.u32(1), b.f32(1.0));
    let lane = b.builtin(Builtin::LocalId(0));
    Bench { b, read, write, shared, private, one, f, lane }
}

#[track_caller]
fn refused(what: &str, make: impl FnOnce(&mut Bench)) {
    let mut t = bench();
    make(&mut t);
    let k = t.b.finish().expect("the builder accepts it");
    let e = verify(&k).expect_err(what).to_string();
    assert!(e.contains(what) && e.contains("kernel bench: bench.rs:12"), "wanted {what:?}, got: {e}");
}

#[track_caller]
fn accepted(make: impl FnOnce(&mut Bench)) {
    let mut t = bench();
    make(&mut t);
    let k = t.b.finish().expect("the builder accepts it");
    verify(&k).unwrap_or_else(|e| panic!("{e}\n{k}"));
}

#[test]
fn types_of_operands_and_results() {
    let u = Type::U32;
    refused("Sqrt of u32; f16, bf16, f32 or f64 is accepted", |t| {
        t.b.unary(UnaryOp::Sqrt, t.one);
    });
    refused("second operand of Add is f32; u32 is accepted", |t| {
        t.b.define(u, Op::Binary(BinaryOp::Add, t.one, t.f));
    });
    refused("And of f32", |t| {
        t.b.binary(BinaryOp::And, t.f, t.f);
    });
    refused("its result is f32; it must be bool", |t| {
        t.b.define(Type::F32, Op::Compare(CmpOp::Lt, t.f, t.f));
    });
    refused("Add of f8e4m3", |t| {
        let x = t.b.number(DType::F8E4M3, 1.0);
        t.b.add(x, x);
    });
    refused("condition of if is u32; bool is accepted", |t| t.b.when(t.one, |_| {}));
    refused("bitcast from f32 to u8", |t| {
        t.b.bitcast(DType::U8, t.f);
    });
    refused("bitcast from u32 to bool", |t| {
        t.b.define(Type::BOOL, Op::Bitcast(t.one));
    });
    refused("cast to f32x4; a type of 1 lanes is accepted", |t| {
        t.b.define(Type::vector(DType::F32, 4), Op::Cast(t.one));
    });
    refused("lane 4 of a vector of 4", |t| {
        let v = t.b.splat(t.f, 4);
        t.b.extract(v, 4);
    });
    refused("index of a load is f32", |t| {
        t.b.load(Place::Buffer(t.read), t.f);
    });
    refused("stores u32 into elements of f32", |t| t.b.store(Place::Shared(t.shared), t.one, t.one));
    refused("its result must be given a value", |t| t.b.effect(Op::Unary(UnaryOp::Neg, t.f)));
    refused("this operation has no result", |t| {
        t.b.define(u, Op::Return);
    });
    refused("atomic Min on f32", |t| {
        let op = Op::Atomic {
            op: AtomicOp::Min,
            place: Place::Shared(t.shared),
            index: t.one,
            value: t.f,
            compare: None,
            scope: Scope::Workgroup,
        };
        t.b.effect(op);
    });
    refused("unpack of 3 bits", |t| {
        t.b.define(Type::scalar(DType::I32), Op::Unpack { word: t.one, index: t.one, bits: 3, signed: false });
    });
    refused("one of the accumulator's shape", |t| {
        let acc = t.b.define(Type::Frag(FRAG), Op::FragFill(t.f));
        let (a, b) = (FragOperand::Reg(acc), FragOperand::Reg(acc));
        t.b.define(Type::Frag(FRAG), Op::FragMma { a, b, acc });
    });
}

#[test]
fn accesses_ids_and_scopes() {
    refused("stores to buffer x, which is declared Read", |t| t.b.store(Place::Buffer(t.read), t.one, t.f));
    refused("loads from buffer y, which is declared Write", |t| {
        t.b.load(Place::Buffer(t.write), t.one);
    });
    refused("names variable 9, but there are only 0", |t| {
        t.b.define(Type::U32, Op::Get(VarId(9)));
    });
    refused("names private array 7", |t| {
        t.b.define(Type::U32, Op::Load { place: Place::Private(PrivateId(7)), index: t.one, aligned: false });
    });
    refused("uses %99, but there are only", |t| {
        t.b.define(Type::U32, Op::Unary(UnaryOp::Neg, Value(99)));
    });
    refused("outside its block", |t| {
        let cond = t.b.bool(true);
        t.b.begin_if(cond);
        let inner = t.b.u32(3);
        t.b.end_if();
        t.b.add(inner, inner);
    });
    refused("before its definition", |t| {
        let next = t.b.kernel().values.len() as u32;
        t.b.define(Type::U32, Op::Unary(UnaryOp::Neg, Value(next + 1)));
        t.b.u32(1);
    });
    refused("break or continue outside a loop's body", |t| t.b.effect(Op::Break));
    refused("no device-wide barrier", |t| t.b.effect(Op::Barrier(Scope::Device)));
    refused("nested deeper than 200", |t| {
        let cond = t.b.bool(true);
        (0..201).for_each(|_| t.b.begin_if(cond));
        t.b.effect(Op::Return);
        (0..201).for_each(|_| t.b.end_if());
    });
    accepted(|t| {
        let cond = t.b.bool(true);
        (0..199).for_each(|_| t.b.begin_if(cond));
        t.b.effect(Op::Return);
        (0..199).for_each(|_| t.b.end_if());
    });
}

#[test]
fn collective_operations_need_uniform_control_flow() {
    let divergent = "control flow that lanes of a workgroup may take differently";
    let first = |t: &mut Bench| t.b.compare(CmpOp::Lt, t.lane, t.one);
    refused(divergent, |t| {
        let c = first(t);
        t.b.when(c, |b| b.barrier());
    });
    refused("a workgroup reduction stands", |t| {
        let c = first(t);
        let f = t.f;
        t.b.when(c, |b| {
            b.group_reduce(ReduceOp::Sum, f);
        });
    });
    // Some lanes have left.
    refused(divergent, |t| {
        let c = first(t);
        t.b.when(c, |b| b.effect(Op::Return));
        t.b.barrier();
    });
    // A loop whose length depends on the lane; a loop that some lanes leave early, seen only in its second round.
    refused(divergent, |t| t.b.count(t.one, t.lane, t.one, |b, _| b.barrier()));
    refused(divergent, |t| {
        let c = first(t);
        let (start, end) = (t.one, t.b.u32(9));
        t.b.count(start, end, start, |b, _| {
            b.barrier();
            b.when(c, |b| b.effect(Op::Break));
        });
    });
    // A variable set to the lane's number at the end of a loop makes the next round differ.
    refused(divergent, |t| {
        let v = t.b.var("v", t.one);
        let (one, lane, end) = (t.one, t.lane, t.b.u32(9));
        t.b.count(one, end, one, |b, _| {
            let x = b.get(v);
            let c = b.compare(CmpOp::Lt, x, one);
            b.when(c, |b| b.barrier());
            b.set(v, lane);
        });
    });
    // Through memory of its own, and through a load at the lane's index.
    refused(divergent, |t| {
        let mine = Place::Private(t.private);
        t.b.store(mine, t.one, t.lane);
        let x = t.b.load(mine, t.one);
        let c = t.b.compare(CmpOp::Lt, x, t.one);
        t.b.when(c, |b| b.barrier());
    });
    refused(divergent, |t| {
        let x = t.b.load(Place::Buffer(t.read), t.lane);
        let c = t.b.compare(CmpOp::Lt, x, t.f);
        t.b.when(c, |b| b.barrier());
    });
    // Uniform: a load at a uniform index, a reduction's result, the workgroup's number, a continue in an earlier round.
    accepted(|t| {
        let x = t.b.load(Place::Buffer(t.read), t.one);
        let s = t.b.group_reduce(ReduceOp::Sum, x);
        let c = t.b.compare(CmpOp::Lt, s, x);
        t.b.when(c, |b| b.barrier());
        let g = t.b.builtin(Builtin::GroupId(0));
        let n = t.b.idx(3);
        let c = t.b.compare(CmpOp::Gt, g, n);
        t.b.when(c, |b| b.effect(Op::Return));
        t.b.barrier();
        let c = t.b.compare(CmpOp::Lt, t.lane, t.one);
        let (one, end) = (t.one, t.b.u32(9));
        t.b.count(one, end, one, |b, _| {
            b.barrier();
            b.when(c, |b| b.effect(Op::Continue));
        });
        t.b.barrier();
    });
}

/// A box of two axes of the bench's buffer, changed.
fn box_of(t: &mut Bench, change: impl FnOnce(&mut Bench, &mut Op)) {
    let far = t.b.param("far", ParamKind::Scalar { elem: Elem::Idx, role: Role::User });
    let bars = t.b.shared("bars", DType::U64, 1);
    let view = TileView { origin: far, extents: vec![far; 2], strides: vec![far], size: [2, 4] };
    let (dst, src, at, slot) = (t.shared, t.read, vec![t.one; 2], t.one);
    let mut op = Op::CopyTile { dst, dst_index: t.one, src, view, at, swizzle: Swizzle::NONE, bars, slot };
    change(t, &mut op);
    t.b.effect(op);
}

#[test]
fn copies_of_boxes() {
    fn with(what: &str, change: impl FnOnce(&mut Bench, &mut TileView, &mut Vec<Value>, &mut SharedId)) {
        refused(what, |t| {
            box_of(t, |t, op| {
                let Op::CopyTile { view, at, bars, .. } = op else { return };
                change(t, view, at, bars);
            });
        });
    }
    accepted(|t| box_of(t, |_, _| {}));
    with("a tensor of 1 axes; 2 to 5", |_, view, _, _| view.extents.truncate(1));
    with("one stride less, and a box of it as many coordinates", |_, view, _, _| view.strides.push(view.origin));
    with("one stride less, and a box of it as many coordinates", |t, _, at, _| at.push(t.one));
    with("a scalar of idx is accepted", |t, view, _, _| view.extents[0] = t.write);
    with("a scalar of idx is accepted", |_, view, _, _| view.strides[0] = ParamId(99));
    with("a box of 0x4; 1 to 256 each", |_, view, _, _| view.size[0] = 0);
    with("where a box begins is f32", |t, _, at, _| at[1] = t.f);
    with("a shared array of f32; u64 is accepted", |t, _, _, bars| *bars = t.shared);
    refused("loads from buffer y", |t| {
        box_of(t, |t, op| {
            if let Op::CopyTile { src, .. } = op {
                *src = t.write;
            }
        });
    });
    refused("a copy of the whole workgroup stands in control flow", |t| {
        let first = t.b.compare(CmpOp::Lt, t.lane, t.one);
        t.b.begin_if(first);
        box_of(t, |_, _| {});
        t.b.end_if();
    });
}

#[test]
fn declarations() {
    let good = bench().b.finish().expect("built");
    verify(&good).expect("well formed");
    let refuse = |what: &str, change: fn(&mut Kernel)| {
        let mut k = good.clone();
        change(&mut k);
        let e = verify(&k).expect_err(what).to_string();
        assert!(e.contains(what), "wanted {what:?}, got: {e}");
    };
    refuse("must be an identifier", |k| k.name = "a b".into());
    refuse("must be an identifier", |k| k.params[0].name = "9x".into());
    refuse("two parameters are named \"x\"", |k| k.params[1].name = "x".into());
    refuse("every dimension must be at least 1", |k| k.workgroup[2] = 0);
    refuse("every dimension must be at least 1", |k| k.workgroup = [u32::MAX; 3]);
    refuse("shared array tile: 0 elements", |k| k.shared[0].len = 0);
    refuse("3 lanes; 1, 2, 4, 8 or 16 are accepted", |k| k.values[0] = Type::vector(DType::F32, 3));
    refuse("is defined twice", |k| k.body.push(k.body[0].clone()));
    refuse("version 2", |k| k.version = VERSION + 1);
    refuse("alignment must be at least 1", |k| {
        k.params[0].kind = ParamKind::Buffer { elem: DType::F32, access: Access::Read, align: 0 }
    });
}
