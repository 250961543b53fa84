//! Every operation of the printer through the real NVRTC, assembled for real architectures. No device is needed, only the
//! compiler: `scripts/cuda-compilers` says where it is.

use anychip_cuda::{
    chip::Chip,
    nvrtc::{self, Compiled, Failure, Nvrtc},
};
use anychip_hal::{
    DType,
    info::FragmentShape,
    ir::{
        legal::{Target, legalize},
        *,
    },
    render::c::{Cuda, Dialect, render},
};

#[path = "common/products.rs"]
mod products;

/// Volta, Ampere, Hopper and Blackwell.
const ARCHITECTURES: [(u32, u32); 4] = [(7, 0), (8, 0), (9, 0), (10, 0)];

/// The NVRTC that knows them all, where it is installed.
fn compiler(test: &str) -> Option<Nvrtc> {
    let Some(named) = std::env::var_os("ANYCHIP_NVRTC") else {
        let required = std::env::var("ANYCHIP_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|r| r.trim() == "nvrtc"), "{test}: ANYCHIP_NVRTC must name NVRTC");
        println!("SKIPPED: {test}: ANYCHIP_NVRTC names no compiler (scripts/cuda-compilers)");
        return None;
    };
    Some(Nvrtc::open(named).unwrap_or_else(|e| panic!("{test}: {e}")))
}

fn compile(with: &Nvrtc, capability: (u32, u32), kernel: &Kernel, idx_bits: u8) -> Result<Compiled, String> {
    compile_as(with, capability, kernel, idx_bits, true)
}

fn compile_as(
    with: &Nvrtc,
    capability: (u32, u32),
    kernel: &Kernel,
    idx_bits: u8,
    checked: bool,
) -> Result<Compiled, String> {
    let source = source(capability, kernel, idx_bits, checked)?;
    let mut options = nvrtc::options(capability);
    options.push("--ptxas-options=-v".into());
    with.compile(&kernel.name, &source, &options).map_err(|e| match e {
        Failure::Log(log) => format!("{log}\n{source}"),
        e => format!("{e:?}"),
    })
}

fn source(capability: (u32, u32), kernel: &Kernel, idx_bits: u8, checked: bool) -> Result<String, String> {
    let info = Chip::example(capability).info();
    let legal = legalize(kernel, &Target { info: &info, idx_bits, checked }).map_err(|e| e.to_string())?;
    Ok(render(&legal, &Dialect::cuda(Cuda { capability, tf32: false })).map_err(|e| e.to_string())?.source)
}

/// All but bool, which comes first, and the 8-bit floats at the end, which are only stored.
const NUMBERS: &[DType] = DType::ALL.split_at(13).0.split_at(1).1;

/// A kernel that stores each of the values that `make` gives for one loaded from memory and a scalar.
fn kernel(name: &str, d: DType, lanes: u8, make: impl FnOnce(&mut Builder, Value, Value) -> Vec<Value>) -> Kernel {
    // A partial warp too.
    let mut b = Builder::new(name, [if lanes == 2 { 48 } else { 64 }, 1, 1]);
    let x = b.buffer("x", d, Access::Read);
    let s = b.scalar("s", d);
    let i = b.builtin(Builtin::GlobalId(0));
    let wide = b.idx(u64::from(lanes));
    let at = b.mul(i, wide);
    let at = b.assume_multiple(at, u32::from(lanes));
    let a = b.load_vec(Place::Buffer(x), at, lanes);
    let s = b.splat(s, lanes);
    for (n, v) in make(&mut b, a, s).into_iter().enumerate() {
        let elem = b.ty(v).elem().and_then(Elem::dtype).expect("a number");
        let out = b.buffer(&format!("out{n}"), elem, Access::Write);
        b.store(Place::Buffer(out), at, v);
    }
    b.finish().expect("a well-formed kernel")
}

/// Every operation of one element type.
fn operations(d: DType, lanes: u8) -> Kernel {
    use BinaryOp::*;
    use UnaryOp::*;
    let (unary, binary): (&[UnaryOp], &[BinaryOp]) = match d {
        DType::Bool => (&[UnaryOp::Not], &[And, Or, Xor]),
        d if d.is_float() => (
            &[
                Neg, Abs, Sign, Floor, Ceil, Trunc, Round, Sqrt, Rsqrt, Recip, Exp, Exp2, Log, Log2, Sin, Cos, Tan,
                Tanh, Erf, IsNan, IsInf,
            ],
            &[Add, Sub, Mul, Div, Rem, Min, Max, Pow],
        ),
        _ => (
            &[Neg, Abs, Sign, Not, CountOnes, LeadingZeros, TrailingZeros],
            &[Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr],
        ),
    };
    kernel(&format!("operations_{}_{lanes}", d.name()), d, lanes, |b, a, s| {
        let mut all: Vec<_> = unary.iter().map(|op| b.unary(*op, a)).collect();
        all.extend(binary.iter().map(|op| b.binary(*op, a, s)));
        let compare = match d {
            DType::Bool => CmpOp::Ne,
            _ => CmpOp::Lt,
        };
        let less = b.compare(compare, a, s);
        all.push(b.select(less, a, s));
        if d != DType::Bool {
            all.push(b.mul_add(a, s, a));
        }
        if matches!(d, DType::F32 | DType::F64) {
            all.push(b.fma(a, s, a));
        }
        all
    })
}

/// From one type to every other, by number and by bits.
fn conversions(d: DType, lanes: u8) -> Kernel {
    kernel(&format!("conversions_{}_{lanes}", d.name()), d, lanes, |b, a, _| {
        let mut all: Vec<_> = NUMBERS.iter().map(|to| b.cast(*to, a)).collect();
        all.push(b.cast(DType::Bool, a));
        if d != DType::Bool {
            all.extend(NUMBERS.iter().filter(|to| to.size() == d.size()).map(|to| b.bitcast(*to, a)));
        }
        all
    })
}

/// What lanes do together.
fn together(d: DType, lanes: u8) -> Kernel {
    use SubgroupOp::*;
    kernel(&format!("together_{}_{lanes}", d.name()), d, lanes, |b, a, _| {
        let ty = b.ty(a);
        let mut reduce = vec![ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Min, ReduceOp::Max];
        if d.is_int() {
            reduce.extend([ReduceOp::And, ReduceOp::Or, ReduceOp::Xor]);
        }
        let mut all: Vec<_> =
            reduce.iter().map(|r| b.define(ty, Op::Subgroup { op: Reduce(*r), value: a, lane: None })).collect();
        all.push(b.define(ty, Op::Subgroup { op: ScanAdd, value: a, lane: None }));
        let three = b.u32(3);
        for op in [Shuffle, ShuffleXor, ShuffleDown, ShuffleUp, Broadcast] {
            all.push(b.define(ty, Op::Subgroup { op, value: a, lane: Some(three) }));
        }
        b.effect(Op::Barrier(Scope::Subgroup));
        all.extend([Builtin::SubgroupSize, Builtin::SubgroupLane, Builtin::SubgroupId].map(|x| {
            let x = b.builtin(x);
            b.splat(x, lanes)
        }));
        all.push(b.group_reduce(ReduceOp::Sum, a));
        all
    })
}

/// Atomics in a buffer and in memory of the workgroup, in a loop.
fn atomics(d: DType) -> Kernel {
    use AtomicOp::*;
    let mut b = Builder::new(&format!("atomics_{}", d.name()), [32, 2, 1]);
    let (buffer, shared) = (b.buffer("x", d, Access::ReadWrite), b.shared("cells", d, 64));
    let s = b.scalar("s", d);
    let ops: &[AtomicOp] = match d.is_float() {
        true => &[Add, Exchange, Load, Store],
        false => &[Add, Min, Max, And, Or, Xor, Exchange, CompareExchange, Load, Store],
    };
    let (zero, one, end) = (b.u32(0), b.u32(1), b.u32(10));
    b.count(zero, end, one, |b, i| {
        for place in [Place::Buffer(buffer), Place::Shared(shared)] {
            for op in ops {
                let compare = matches!(op, CompareExchange).then_some(s);
                let old = b
                    .define(d.into(), Op::Atomic { op: *op, place, index: i, value: s, compare, scope: Scope::Device });
                b.store(place, i, old);
            }
            b.barrier();
        }
    });
    b.finish().expect("a well-formed kernel")
}

/// Packed products of every pair of signs.
fn dots() -> Kernel {
    kernel("dots", DType::U32, 1, |b, a, s| {
        let mut all = vec![];
        for (a_signed, b_signed) in [(true, true), (true, false), (false, true)] {
            let acc = b.integer(DType::I32, -7);
            all.push(b.define(DType::I32.into(), Op::Dot4 { a, b: s, acc, a_signed, b_signed }));
        }
        all.push(b.define(DType::U32.into(), Op::Dot4 { a, b: s, acc: a, a_signed: false, b_signed: false }));
        all
    })
}

/// Functions of floats as scalars only: of vectors they are the same, lane by lane, and cost many times as much to compile.
fn kernels() -> Vec<Kernel> {
    let mut all = vec![dots(), operations(DType::F32, 2)];
    for lanes in [1, 4] {
        all.extend([operations(DType::Bool, lanes), conversions(DType::Bool, lanes)]);
        for d in NUMBERS.iter().copied() {
            all.extend([conversions(d, lanes), together(d, lanes.min(2))]);
            all.extend((lanes == 1 || d.is_int()).then(|| operations(d, lanes)));
        }
    }
    all.extend([DType::I32, DType::U32, DType::I64, DType::U64, DType::F32, DType::F64].map(atomics));
    all
}

/// Bytes of spills that the assembler's report names.
fn spills(log: &str) -> u32 {
    let words: Vec<_> = log.split_whitespace().collect();
    let number = |n: usize| words[n].parse::<u32>().unwrap_or(0);
    (2..words.len()).filter(|n| words[*n] == "spill").map(|n| number(n - 2)).sum()
}

#[test]
fn every_operation_compiles_for_every_architecture() {
    let Some(nvrtc) = compiler("every_operation_compiles_for_every_architecture") else { return };
    let mut wrong = vec![];
    // Every kernel for two of them: few lines of the preamble ask which it is.
    let (kernels, mut n) = (kernels(), 0);
    for (at, k) in kernels.iter().enumerate().flat_map(|(at, k)| [(at, k), (at + 1 + at / 4 % 3, k)]) {
        let capability = ARCHITECTURES[at % 4];
        n += 1;
        // Indices of either width in turn.
        match compile(&nvrtc, capability, k, if n % 2 == 0 { 32 } else { 64 }) {
            Ok(made) => assert!(made.log.contains("registers"), "{}", made.log),
            Err(e) => wrong.push(format!("{} for {capability:?}: {e}", k.name)),
        }
    }
    assert!(wrong.is_empty(), "{} are refused:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn aligned_vectors_are_read_and_written_sixteen_bytes_at_once_and_nothing_spills() {
    let Some(nvrtc) = compiler("aligned_vectors_are_read_and_written_sixteen_bytes_at_once_and_nothing_spills") else {
        return;
    };
    for (d, lanes) in [(DType::F32, 4), (DType::F16, 8), (DType::BF16, 8), (DType::F64, 2), (DType::I8, 16)] {
        let mut copy = kernel(&format!("copy_{}", d.name()), d, lanes, |b, a, s| vec![b.binary(BinaryOp::Add, a, s)]);
        for p in &mut copy.params {
            if let ParamKind::Buffer { align, .. } = &mut p.kind {
                *align = u32::from(lanes);
            }
        }
        for capability in ARCHITECTURES {
            let made = compile_as(&nvrtc, capability, &copy, 64, false).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(spills(&made.log), 0, "{} for {capability:?}: {}", copy.name, made.log);
            let source = source(capability, &copy, 64, false).expect("as before");
            let ptx = nvrtc.ptx(&copy.name, &source, &nvrtc::options(capability)).expect("as before");
            let wide = [".v4.b32", ".v4.u32", ".v4.f32", ".v2.b64", ".v2.u64", ".v2.f64"];
            let whole = |l: &str| wide.iter().any(|w| l.contains(w));
            for access in ["ld.global", "st.global"] {
                let all: Vec<_> = ptx.lines().filter(|l| l.contains(access)).collect();
                assert!(matches!(all[..], [one] if whole(one)), "{} for {capability:?}: {all:?}", copy.name);
            }
        }
    }
}

/// A product that a workgroup makes together is one of the chip's own, and the assembler finds its waits where it wants them.
fn wide_product(nvrtc: &Nvrtc, capability: (u32, u32), s: &FragmentShape) {
    let from = products::From::Operands(FragmentShape::TILE);
    for b in [Layout::ColMajor, Layout::RowMajor] {
        let k = products::product(s, from, [Layout::RowMajor, b], 32 * u32::from(s.subgroups));
        let text = source(capability, &k, 64, false).expect("legal");
        let native = b == Layout::ColMajor || usize::from(s.n) * s.b.size() == FragmentShape::LINE;
        assert_eq!(text.contains("= frag_mma_tiles<"), native, "{}, {b:?}", k.name);
        if native {
            let made = compile_as(nvrtc, capability, &k, 64, false).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(spills(&made.log), 0, "{} for {capability:?}: {}", k.name, made.log);
            let apart = !made.log.contains("serialized") && !made.log.contains("injected");
            assert!(apart, "{}: {}", k.name, made.log);
        }
    }
}

#[test]
fn every_product_of_fragments_compiles_for_every_architecture() {
    let Some(nvrtc) = compiler("every_product_of_fragments_compiles_for_every_architecture") else { return };
    let layouts = [Layout::RowMajor, Layout::ColMajor];
    for capability in [(7, 0), (7, 5), (8, 0), (9, 0), (10, 0)] {
        let shapes = Cuda { capability, tf32: true }.fragments();
        assert!(!shapes.is_empty(), "{capability:?}");
        for (n, s) in shapes.iter().enumerate() {
            if s.subgroups > 1 {
                wide_product(&nvrtc, capability, s);
                continue;
            }
            let lie = [layouts[n % 2], layouts[n / 2 % 2]];
            for from in [products::From::Buffers, products::From::Tiles(Swizzle { bits: 1, shift: 2 })] {
                let k = products::product(s, from, lie, 64);
                let made = compile_as(&nvrtc, capability, &k, 64, false).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(spills(&made.log), 0, "{} for {capability:?}: {}", k.name, made.log);
            }
            if s.n == s.k && s.a.size() == 2 {
                compile_as(&nvrtc, capability, &products::maps(s), 64, false).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
}
