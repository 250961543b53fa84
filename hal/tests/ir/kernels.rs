//! Kernels for tests.

use anychip_hal::{
    DType,
    ir::{build::Builder, *},
};

pub const FRAG: Frag = Frag { role: FragRole::Acc, m: 4, n: 6, k: 8, elem: DType::F32, scope: Scope::Subgroup };

/// A kernel that holds every operation with every variant of its enums, well typed.
pub fn every_op() -> Kernel {
    let mut b = Builder::new("every_op", [8, 4, 1]);
    b.hints().min_groups_per_unit = Some(2);
    b.hints().subgroup = Some(32);
    b.at(Some(("path with \"quotes\" \\ and\nlines\u{1b}é.rs", 7)));
    let x = b.buffer("x", DType::F32, Access::Read);
    let y = b.buffer("y", DType::F32, Access::ReadWrite);
    let w = b.buffer("w", DType::F32, Access::Write);
    let n = b.buffer("n", DType::I32, Access::ReadWrite);
    b.scalar("count", DType::U32);
    let tile = b.shared("tile", DType::F32, 64);
    let mine = b.private("mine", DType::I8, 3);
    let u = b.u32(5);
    let i = b.integer(DType::I32, -3);
    let f = b.f32(1.5);
    let h = b.number(DType::F8E4M3, 2.0);
    let t = b.bool(true);
    let at = b.idx(1 << 40);
    b.buf_len(x);
    use Builtin::*;
    for d in [GroupId(0), NumGroups(1), LocalId(2), LocalSize(0), GlobalId(1), SubgroupSize, SubgroupLane, SubgroupId] {
        b.builtin(d);
    }
    use UnaryOp::*;
    for op in [
        Neg, Abs, Sign, Floor, Ceil, Trunc, Round, Sqrt, Rsqrt, Recip, Exp, Exp2, Log, Log2, Sin, Cos, Tan, Tanh, Erf,
        IsNan, IsInf,
    ] {
        b.unary(op, f);
    }
    for op in [Not, CountOnes, LeadingZeros, TrailingZeros] {
        b.unary(op, u);
    }
    use BinaryOp::*;
    for op in [Add, Sub, Mul, Div, Rem, Min, Max, Pow] {
        b.binary(op, f, f);
    }
    for op in [And, Or, Xor, Shl, Shr] {
        b.binary(op, i, i);
    }
    for op in [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge] {
        b.compare(op, f, f);
    }
    b.mul_add(f, f, f);
    b.fma(f, f, f);
    b.select(t, f, f);
    b.cast(DType::F64, h);
    b.bitcast(DType::U32, f);
    let signed = b.integer(DType::I32, 7);
    b.define(Type::scalar(DType::I32), Op::Dot4 { a: u, b: u, acc: signed, a_signed: true, b_signed: false });
    b.define(Type::U32, Op::Dot4 { a: u, b: u, acc: u, a_signed: false, b_signed: false });
    b.define(Type::scalar(DType::I32), Op::Unpack { word: u, index: u, bits: 4, signed: true });
    let v = b.vector(&[f, f, f, f]);
    b.splat(f, 8);
    b.extract(v, 3);
    let loaded = b.load_vec(Place::Buffer(x), at, 4);
    b.define(Type::vector(DType::F32, 4), Op::Load { place: Place::Shared(tile), index: u, aligned: true });
    b.load(Place::Private(mine), u);
    b.store(Place::Buffer(y), u, loaded);
    b.effect(Op::Store { place: Place::Buffer(w), index: i, value: f, aligned: true });
    b.at(None);
    let var = b.var("total", f);
    let got = b.get(var);
    b.set(var, got);
    use AtomicOp as A;
    for (op, compare) in [
        (A::Add, None),
        (A::Min, None),
        (A::Max, None),
        (A::And, None),
        (A::Or, None),
        (A::Xor, None),
        (A::Exchange, None),
        (A::CompareExchange, Some(i)),
        (A::Load, None),
    ] {
        let scope = if op == A::Min { Scope::Workgroup } else { Scope::Device };
        b.define(
            Type::scalar(DType::I32),
            Op::Atomic { op, place: Place::Buffer(n), index: u, value: i, compare, scope },
        );
    }
    b.effect(Op::Atomic {
        op: A::Store,
        place: Place::Buffer(n),
        index: u,
        value: i,
        compare: None,
        scope: Scope::Subgroup,
    });
    b.either(t, |b| b.set(var, f), |b| b.set(var, got));
    for unroll in [Unroll::Auto, Unroll::Never, Unroll::Full, Unroll::By(4)] {
        b.begin_for(u, u, u, unroll);
        b.when(t, |b| b.effect(Op::Continue));
        b.end_for();
    }
    b.begin_while();
    let go = b.compare(CmpOp::Lt, u, u);
    b.while_cond(go);
    b.effect(Op::Break);
    b.end_while();
    b.barrier();
    b.effect(Op::Barrier(Scope::Subgroup));
    b.group_reduce(ReduceOp::Sum, f);
    use ReduceOp as R;
    for op in [R::Sum, R::Prod, R::Min, R::Max, R::And, R::Or, R::Xor] {
        b.define(Type::U32, Op::Subgroup { op: SubgroupOp::Reduce(op), value: u, lane: None });
    }
    use SubgroupOp as S;
    for op in [S::Shuffle, S::ShuffleXor, S::ShuffleDown, S::ShuffleUp, S::Broadcast] {
        b.define(Type::F32, Op::Subgroup { op, value: f, lane: Some(u) });
    }
    b.define(Type::F32, Op::Subgroup { op: S::ScanAdd, value: f, lane: None });
    for (take, aligned) in [(None, false), (Some(u), false), (None, true), (Some(u), true)] {
        b.effect(Op::CopyAsync { dst: tile, dst_index: u, src: x, src_index: at, elems: 4, take, aligned });
    }
    b.effect(Op::CopyCommit);
    b.effect(Op::CopyWait(1));
    let idx = ParamKind::Scalar { elem: Elem::Idx, role: Role::User };
    let far = b.param("far", idx);
    let bars = b.shared("bars", DType::U64, 2);
    for (rank, swizzle) in [(2, Swizzle::NONE), (3, Swizzle { bits: 3, shift: 0 })] {
        let view = TileView { origin: far, extents: vec![far; rank], strides: vec![far; rank - 1], size: [4, 16] };
        let at = vec![at; rank];
        b.effect(Op::CopyTile { dst: tile, dst_index: u, src: x, view, at, swizzle, bars, slot: u });
    }
    b.effect(Op::TileCommit { bars, slot: u });
    b.effect(Op::TileWait { bars, slot: u, parity: u });
    let frag = |role| Type::Frag(Frag { role, ..FRAG });
    let acc = b.define(frag(FragRole::Acc), Op::FragFill(f));
    let swizzle = Swizzle { bits: 3, shift: 1 };
    let load = |place, layout| {
        let shared = matches!(place, Place::Shared(_));
        let swizzle = if shared { swizzle } else { Swizzle::NONE };
        Op::FragLoad { place, index: u, stride: u, layout, swizzle, aligned: shared }
    };
    let a = b.define(frag(FragRole::A), load(Place::Buffer(x), Layout::RowMajor));
    b.define(frag(FragRole::B), load(Place::Shared(tile), Layout::ColMajor));
    let tile = FragOperand::Tile { shared: tile, index: u, stride: u, layout: Layout::ColMajor, swizzle };
    let acc = b.define(frag(FragRole::Acc), Op::FragMma { a: FragOperand::Reg(a), b: tile, acc });
    b.effect(Op::FragStore { frag: acc, place: Place::Buffer(y), index: u, stride: u, layout: Layout::RowMajor });
    let (_, _, elem) = b.begin_each(acc);
    b.set(var, elem);
    b.end_each();
    let rows = b.define(frag(FragRole::Rows), Op::FragRows(R::Max, acc));
    let (sums, most) = (b.var("sums", acc), b.var("most", rows));
    b.map(sums, &[acc, rows], |b, _, of| b.sub(of[0], of[1]));
    b.map(most, &[rows], |b, _, of| b.add(of[0], of[0]));
    b.effect(Op::AssumeMultiple(at, 16));
    b.effect(Op::Return);
    b.finish().expect("the kernel is well built")
}
