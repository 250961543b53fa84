//! Every operation in every element type and vector length is valid SPIR-V for Vulkan 1.1, 1.2 and 1.3: `spirv-val` says so.
//! What no driver here executes, cooperative matrices, is validated where the tool knows them.

use crate::legal::plain;
use anychip_hal::{
    DType, DeviceInfo,
    info::{Feature, FragmentShape, Rounding, Subgroups, TypeSupport},
    ir::{build::Builder, *},
    render::spirv::{Floats, Target, render},
};
use std::{
    io::Write,
    process::{Command, Stdio},
};

const ALL: Floats = Floats { f16: true, f32: true, f64: true };

/// A device that has everything, for a version of SPIR-V.
fn full(version: (u8, u8)) -> (DeviceInfo, Target) {
    let mut info = plain();
    info.types.insert(DType::F16, TypeSupport::FULL);
    info.features.extend([
        Feature::Subgroup,
        Feature::SubgroupReduce,
        Feature::SubgroupShuffle,
        Feature::Dot4,
        Feature::Atomic64,
        Feature::Idx64,
    ]);
    info.subgroups = Some(Subgroups { min: 8, max: 8 });
    let target = Target {
        version,
        storage8: true,
        storage16: true,
        f16: true,
        i8: true,
        i16: true,
        i64: true,
        f64: true,
        atomic64: true,
        dot4: true,
        signed_zero_inf_nan: ALL,
        rte: ALL,
        subgroup: true,
        subgroup_arithmetic: true,
        subgroup_ballot: true,
        subgroup_shuffle: true,
        subgroup_shuffle_relative: true,
        // Both ways of reading are validated.
        texels: if version >= (1, 5) { 16 } else { 0 },
        ..Target::default()
    };
    (info, target)
}

/// A device of 32-bit numbers only.
fn bare() -> (DeviceInfo, Target) {
    let mut info = plain();
    for d in DType::ALL {
        if d.size() != 4 {
            info.types.insert(d, TypeSupport::default());
        }
    }
    info.types.insert(DType::Bool, TypeSupport { arithmetic: true, ..TypeSupport::default() });
    (info, Target { version: (1, 3), ..Target::default() })
}

fn spirv_val(words: &[u32], version: (u8, u8)) -> Result<(), String> {
    let environment = match version {
        (1, 3) => "vulkan1.1",
        (1, 5) => "vulkan1.2",
        _ => "vulkan1.3",
    };
    let mut child = Command::new("spirv-val")
        .args(["--target-env", environment, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spirv-val was there");
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    child.stdin.take().expect("piped").write_all(&bytes).expect("spirv-val reads all");
    let done = child.wait_with_output().expect("spirv-val ends");
    let said = String::from_utf8_lossy(&done.stderr).to_string() + &String::from_utf8_lossy(&done.stdout);
    if done.status.success() { Ok(()) } else { Err(said) }
}

fn there() -> bool {
    let there = Command::new("spirv-val").arg("--version").output().is_ok();
    if !there {
        println!("SKIPPED: validation of SPIR-V: spirv-val is not installed");
    }
    there
}

fn valid(k: &Kernel, (info, target): &(DeviceInfo, Target)) {
    for (idx_bits, checked) in [(32, true), (32, false), (64, true)] {
        if idx_bits == 64 && !target.i64 {
            continue;
        }
        let legal =
            legal::legalize(k, &legal::Target { info, idx_bits, checked }).unwrap_or_else(|e| panic!("{e}\n{k}"));
        let module = render(&legal, target).unwrap_or_else(|e| panic!("{e}\n{legal}"));
        if let Err(said) = spirv_val(&module.words, target.version) {
            panic!("{} for SPIR-V {:?}: {said}\n{legal}", k.name, target.version);
        }
    }
}

/// Every operation that a type has, in vectors of so many lanes, each stored.
pub fn every_op_of(d: DType, lanes: u8) -> Kernel {
    let mut b = Builder::new(&format!("ops_{}_{lanes}", d.name()), [64, 1, 1]);
    let x = b.buffer("x", d, Access::Read);
    let out = b.buffer("out", d, Access::ReadWrite);
    let truth = b.buffer("truth", DType::Bool, Access::Write);
    let given = b.scalar("given", d);
    let second = b.scalar("second", DType::U32);
    let tile = b.shared("tile", d, 256);
    let own = b.private("own", d, 16);
    let lane = b.builtin(Builtin::LocalId(0));
    let at = b.cast(Elem::Idx, lane);
    let v = b.load_vec(Place::Buffer(x), at, lanes);
    let s = b.splat(given, lanes);
    let s = if lanes == 1 { given } else { s };
    let mut results = vec![];
    let (float, int) = (d.is_float(), d.is_int());
    use BinaryOp as B;
    if d == DType::Bool {
        results.extend([B::And, B::Or, B::Xor].map(|op| b.binary(op, v, s)));
        results.push(b.unary(UnaryOp::Not, v));
    } else {
        results.extend([B::Add, B::Sub, B::Mul, B::Div, B::Rem, B::Min, B::Max].map(|op| b.binary(op, v, s)));
        results.push(b.mul_add(v, s, v));
        use UnaryOp as U;
        results.extend([U::Neg, U::Abs, U::Sign].map(|op| b.unary(op, v)));
        if float {
            results
                .extend([U::Floor, U::Ceil, U::Trunc, U::Round, U::Sqrt, U::Rsqrt, U::Recip].map(|op| b.unary(op, v)));
        }
        if int {
            results.extend([B::And, B::Or, B::Xor, B::Shl, B::Shr].map(|op| b.binary(op, v, s)));
            results.extend([U::Not, U::CountOnes, U::LeadingZeros, U::TrailingZeros].map(|op| b.unary(op, v)));
        }
    }
    for to in DType::ALL {
        let y = b.cast(to, v);
        results.push(b.cast(d, y));
    }
    let var = b.var("v", v);
    let got = b.get(var);
    b.set(var, s);
    results.push(got);
    let mut bools = vec![];
    if d != DType::Bool {
        use CmpOp as C;
        bools.extend([C::Eq, C::Ne, C::Lt, C::Le, C::Gt, C::Ge].map(|op| b.compare(op, v, s)));
    }
    if float {
        bools.extend([UnaryOp::IsNan, UnaryOp::IsInf].map(|op| b.unary(op, v)));
    }
    for m in bools {
        results.push(b.select(m, v, s));
        b.store(Place::Buffer(truth), at, m);
    }
    b.store(Place::Shared(tile), at, s);
    b.barrier();
    results.push(b.load_vec(Place::Shared(tile), at, lanes));
    let one = b.idx(0);
    b.store(Place::Private(own), one, s);
    results.push(b.load_vec(Place::Private(own), one, lanes));
    let x0 = b.extract(v, lanes - 1);
    let again = b.vector(&vec![x0; lanes as usize]);
    results.push(again);
    let n = b.cast(Elem::Idx, second);
    for r in results {
        let i = b.add(at, n);
        b.store(Place::Buffer(out), i, r);
    }
    b.finish().expect("well built")
}

#[test]
fn every_operation_of_every_type_is_valid() {
    if !there() {
        return;
    }
    // Nothing is computed in the 8-bit floats.
    let computed = DType::ALL.into_iter().filter(|d| !matches!(d, DType::F8E4M3 | DType::F8E5M2));
    for (n, d) in computed.enumerate() {
        let version = [(1, 3), (1, 5), (1, 6)][n % 3];
        for lanes in [1, 2, 4, 8, 16] {
            valid(&every_op_of(d, lanes), &full(version));
        }
    }
    // What a bare device lacks is lowered to what it has.
    for d in [DType::F32, DType::U32, DType::I32] {
        let mut k = every_op_of(d, 4);
        k.name += "_bare";
        // Casts to 64-bit numbers stay unsupported there.
        let info = bare().0;
        let refused =
            legal::legalize(&k, &legal::Target { info: &info, idx_bits: 32, checked: true }).expect_err("64 bits");
        assert!(refused.is_unsupported(), "{refused}");
    }
}

/// Loops, and jumps out of them.
pub fn jumps() -> Kernel {
    let mut b = Builder::new("jumps", [8, 8, 1]);
    let x = b.buffer("x", DType::I32, Access::ReadWrite);
    let n = b.scalar("n", DType::I32);
    let (zero, one) = (b.integer(DType::I32, 0), b.integer(DType::I32, 1));
    let i = b.begin_for(zero, n, n, Unroll::Auto);
    let odd = b.binary(BinaryOp::And, i, one);
    let odd = b.cast(DType::Bool, odd);
    b.when(odd, |b| b.effect(Op::Continue));
    let at = b.cast(Elem::Idx, i);
    b.either(
        odd,
        |b| b.effect(Op::Break),
        |b| {
            b.begin_while();
            let v = b.load(Place::Buffer(x), at);
            let go = b.compare(CmpOp::Lt, v, n);
            b.while_cond(go);
            let more = b.add(v, one);
            b.store(Place::Buffer(x), at, more);
            b.when(odd, |b| b.effect(Op::Return));
            b.effect(Op::Break);
            b.end_while();
        },
    );
    b.end_for();
    b.begin_while();
    let never = b.bool(true);
    b.while_cond(never);
    let some = b.compare(CmpOp::Gt, n, zero);
    b.either(some, |b| b.effect(Op::Break), |b| b.effect(Op::Return));
    b.end_while();
    b.finish().expect("well built")
}

/// No driver of the tests multiplies fragments: what is rendered is validated where the tool knows cooperative matrices
/// (capability 6022; spirv-val of 2023 does not), and read back in any case.
#[test]
fn fragments_are_cooperative_matrices() {
    let (mut info, mut target) = full((1, 6));
    let shape = FragmentShape {
        m: 16,
        n: 16,
        k: 16,
        a: DType::F16,
        b: DType::F16,
        acc: DType::F32,
        acc_bits: 24,
        rounding: Rounding::NearestEven,
        operand_bits: 11,
        subgroups: 1,
    };
    info.fragments.push(shape);
    info.features.insert(Feature::Fragments);
    info.subgroups = Some(Subgroups { min: 32, max: 32 });
    target.cooperative_matrix = true;
    let mut b = Builder::new("fragments", [32, 1, 1]);
    let x = b.buffer("x", DType::F16, Access::Read);
    let y = b.buffer("y", DType::F16, Access::Read);
    let out = b.buffer("out", DType::F32, Access::Write);
    let n = b.scalar("n", DType::U32);
    let tile = b.shared("tile", DType::F32, 256);
    let frag = |role, elem| Type::Frag(Frag { role, m: 16, n: 16, k: 16, elem, scope: Scope::Subgroup });
    let (zero, at) = (b.f32(0.0), b.idx(0));
    let empty = b.define(frag(FragRole::Acc, DType::F32), Op::FragFill(zero));
    let sum = b.var("sum", empty);
    let load =
        |place, layout| Op::FragLoad { place, index: at, stride: n, layout, swizzle: Swizzle::NONE, aligned: false };
    let left = b.define(frag(FragRole::A, DType::F16), load(Place::Buffer(x), Layout::RowMajor));
    let right = b.define(frag(FragRole::B, DType::F16), load(Place::Buffer(y), Layout::ColMajor));
    let acc = b.get(sum);
    let mma = Op::FragMma { a: FragOperand::Reg(left), b: FragOperand::Reg(right), acc };
    let acc = b.define(frag(FragRole::Acc, DType::F32), mma);
    b.set(sum, acc);
    let frag = b.get(sum);
    let (index, stride) = (b.u32(0), b.u32(16));
    b.effect(Op::FragStore { frag, place: Place::Shared(tile), index, stride, layout: Layout::RowMajor });
    b.effect(Op::FragStore { frag, place: Place::Buffer(out), index, stride: n, layout: Layout::RowMajor });
    b.barrier();
    let k = b.finish().expect("well built");
    let legal = legal::legalize(&k, &legal::Target { info: &info, idx_bits: 32, checked: false })
        .unwrap_or_else(|e| panic!("{e}\n{k}"));
    let module = render(&legal, &target).unwrap_or_else(|e| panic!("{e}\n{legal}"));
    let read = rspirv::dr::load_words(&module.words).expect("a module that can be read");
    let ops: Vec<_> = read.all_inst_iter().map(|i| format!("{:?}", i.class.opcode)).collect();
    for (op, times) in
        [("CooperativeMatrixLoadKHR", 2), ("CooperativeMatrixMulAddKHR", 1), ("CooperativeMatrixStoreKHR", 2)]
    {
        assert_eq!(ops.iter().filter(|o| *o == op).count(), times, "{op}");
    }
    if there() {
        match spirv_val(&module.words, target.version) {
            Err(said) if said.contains("6022") => {
                println!("SKIPPED: cooperative matrices: this spirv-val does not know them")
            }
            Err(said) => panic!("{said}"),
            Ok(()) => {}
        }
    }
}

#[test]
fn loops_and_jumps_are_structured() {
    if there() {
        valid(&jumps(), &full((1, 3)));
    }
}

/// Every operation across a subgroup, per type.
pub fn of_subgroups() -> Vec<Kernel> {
    let mut all = vec![];
    for d in [DType::F32, DType::I32, DType::U32, DType::F16, DType::I8, DType::U16, DType::Bool] {
        let mut b = Builder::new(&format!("subgroup_{}", d.name()), [64, 1, 1]);
        let x = b.buffer("x", d, Access::ReadWrite);
        let size = b.builtin(Builtin::SubgroupSize);
        let (lane, id) = (b.builtin(Builtin::SubgroupLane), b.builtin(Builtin::SubgroupId));
        let at = b.mul_add(size, id, lane);
        let v = b.load(Place::Buffer(x), at);
        use SubgroupOp as S;
        let reductions = match d {
            DType::Bool => vec![ReduceOp::And, ReduceOp::Or, ReduceOp::Xor],
            d if d.is_float() => vec![ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Min, ReduceOp::Max],
            _ => vec![ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max, ReduceOp::And, ReduceOp::Or, ReduceOp::Xor],
        };
        for op in reductions {
            let y = b.define(Type::scalar(d), Op::Subgroup { op: S::Reduce(op), value: v, lane: None });
            b.store(Place::Buffer(x), at, y);
        }
        for op in [S::Shuffle, S::ShuffleXor, S::ShuffleDown, S::ShuffleUp, S::Broadcast] {
            let y = b.define(Type::scalar(d), Op::Subgroup { op, value: v, lane: Some(id) });
            b.store(Place::Buffer(x), at, y);
        }
        b.effect(Op::Barrier(Scope::Subgroup));
        if d != DType::Bool {
            let y = b.group_reduce(ReduceOp::Sum, v);
            b.store(Place::Buffer(x), at, y);
        }
        all.push(b.finish().expect("well built"));
    }
    all
}

/// Every atomic, per type.
pub fn atomics() -> Vec<Kernel> {
    let mut all = vec![];
    for (d, native) in
        [(DType::I32, true), (DType::U32, true), (DType::I64, true), (DType::U64, true), (DType::F32, false)]
    {
        let mut b = Builder::new(&format!("atomic_{}", d.name()), [64, 1, 1]);
        let x = b.buffer("x", d, Access::ReadWrite);
        let tile = b.shared("tile", d, 64);
        let lane = b.builtin(Builtin::LocalId(0));
        let v = b.load(Place::Buffer(x), lane);
        use AtomicOp as A;
        let ops = match native {
            true => {
                vec![A::Add, A::Min, A::Max, A::And, A::Or, A::Xor, A::Exchange, A::CompareExchange, A::Load, A::Store]
            }
            false => vec![A::Add],
        };
        for op in ops {
            for place in [Place::Buffer(x), Place::Shared(tile)] {
                let compare = (op == A::CompareExchange).then_some(v);
                let op = Op::Atomic { op, place, index: lane, value: v, compare, scope: Scope::Device };
                match op {
                    Op::Atomic { op: A::Store, .. } => b.effect(op),
                    op => {
                        let old = b.define(Type::scalar(d), op);
                        b.store(Place::Buffer(x), lane, old);
                    }
                }
            }
        }
        all.push(b.finish().expect("well built"));
    }
    all
}

/// Packed products of bytes, signed and not.
pub fn dots() -> Kernel {
    let mut b = Builder::new("dot", [64, 1, 1]);
    let x = b.buffer("x", DType::U32, Access::ReadWrite);
    let lane = b.builtin(Builtin::LocalId(0));
    let v = b.load(Place::Buffer(x), lane);
    let i = b.bitcast(DType::I32, v);
    for (a_signed, b_signed) in [(true, true), (true, false), (false, true), (false, false)] {
        let (ty, acc) = if a_signed || b_signed { (DType::I32, i) } else { (DType::U32, v) };
        let y = b.define(Type::scalar(ty), Op::Dot4 { a: v, b: v, acc, a_signed, b_signed });
        let y = b.cast(DType::U32, y);
        b.store(Place::Buffer(x), lane, y);
    }
    b.finish().expect("well built")
}

#[test]
fn subgroups_atomics_and_packed_products_are_valid() {
    if !there() {
        return;
    }
    of_subgroups().iter().for_each(|k| valid(k, &full((1, 3))));
    atomics().iter().for_each(|k| valid(k, &full((1, 5))));
    for version in [(1, 3), (1, 6)] {
        valid(&dots(), &full(version));
    }
}
