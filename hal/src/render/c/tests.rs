//! What the text must look like; what it computes is tested where a device runs it.

use super::*;

fn dialect() -> Dialect {
    Dialect::opencl(OpenCl {
        f64: true,
        fma_f32: true,
        fma_f64: true,
        atomic64: true,
        f16: false,
        tanh_below_one: false,
        unranged: false,
        sine_by_elements: false,
        barrier_before_loops: false,
    })
}

fn print(b: Builder) -> String {
    let mut k = b.finish().expect("a well-formed kernel");
    k.idx_bits = 32;
    render(&k, &dialect()).expect("printable").source
}

#[test]
fn names_of_the_kernel_meet_no_word_of_the_language() {
    let mut b = Builder::new("kernel", [64, 1, 1]);
    let float = b.buffer("float", DType::F32, Access::Write);
    let global = b.scalar("__global", DType::F32);
    let i = b.builtin(Builtin::GlobalId(0));
    let half = b.var("half", global);
    let v = b.get(half);
    b.store(Place::Buffer(float), i, v);
    let text = print(b);
    assert!(text.contains("void k_kernel(__global float* restrict b0_float, float p1___global)"), "{text}");
    assert!(text.contains("reqd_work_group_size(64, 1, 1)"), "{text}");
    assert!(text.contains("float x0_half = 0;"), "{text}");
}

#[test]
fn constants_keep_their_bits() {
    for (x, text) in [
        (0.0f32, "0.0f".to_string()),
        (-0.0, "as_float(0x80000000u)".into()),
        (1.0, "1.0f".into()),
        (-2.5, "(-0x1.4p+1f)".replace("p+", "p")),
        (0.1, "0x1.99999ap-4f".into()),
        (f32::INFINITY, "as_float(0x7f800000u)".into()),
        (f32::from_bits(1), "as_float(0x00000001u)".into()),
        (f32::from_bits(0x7fc0_1234), "as_float(0x7fc01234u)".into()),
    ] {
        assert_eq!(number::literal(DType::F32, "float", x.to_bits() as u64), text);
    }
    assert_eq!(number::literal(DType::I32, "int", 0x8000_0000), "((int)0x80000000u)");
    assert_eq!(number::literal(DType::I64, "long", u64::MAX), "(-1L)");
    assert_eq!(number::literal(DType::F64, "double", 0.1f64.to_bits()), "0x1.999999999999ap-4");
}

#[test]
fn a_loop_with_a_barrier_follows_one_where_a_driver_needs_it() {
    let kernel = || {
        let mut b = Builder::new("sum", [8, 1, 1]);
        let n = b.scalar("n", DType::U32);
        let (zero, one) = (b.u32(0), b.u32(1));
        for synchronises in [false, true] {
            let _ = b.begin_for(zero, n, one, Unroll::Never);
            if synchronises {
                b.barrier();
            }
            b.end_for();
        }
        let mut k = b.finish().expect("a well-formed kernel");
        k.idx_bits = 32;
        k
    };
    let barriers = |d: &Dialect| render(&kernel(), d).expect("printable").source.matches("barrier(").count();
    assert_eq!(barriers(&dialect()), 1);
    assert_eq!(barriers(&Dialect { barrier_before_loops: true, ..dialect() }), 2);
}

#[test]
fn a_loop_with_constant_bounds_is_written_out() {
    let mut b = Builder::new("tile", [1, 1, 1]);
    let out = b.buffer("out", DType::F32, Access::Write);
    let acc = b.private("acc", DType::F32, 4);
    let (zero, four, one) = (b.u32(0), b.u32(4), b.u32(1));
    let i = b.begin_for(zero, four, one, Unroll::Full);
    let x = b.f32(1.5);
    b.store(Place::Private(acc), i, x);
    b.end_for();
    let i = b.begin_for(zero, four, one, Unroll::Never);
    let x = b.load(Place::Private(acc), i);
    b.store(Place::Buffer(out), i, x);
    b.end_for();
    let text = print(b);
    for i in 0..4 {
        assert!(text.contains(&format!("a0_acc[{i}u] = 1.5f;").replace("1.5f", "0x1.8p0f")), "{text}");
    }
    assert_eq!(text.matches("for (").count(), 1, "{text}");
}

#[test]
fn what_cannot_be_said_is_an_error_that_names_it() {
    let mut b = Builder::new("k", [1, 1, 1]);
    let out = b.buffer("out", DType::BF16, Access::Write);
    let (i, x) = (b.idx(0), b.number(DType::BF16, 1.0));
    b.store(Place::Buffer(out), i, x);
    let mut k = b.finish().expect("well-formed");
    let not_legalised = render(&k, &dialect()).expect_err("idx has no width yet");
    assert!(not_legalised.to_string().contains("legalise it first"), "{not_legalised}");
    k.idx_bits = 64;
    let e = render(&k, &dialect()).expect_err("OpenCL C has no bf16");
    assert!(e.is_unsupported() && e.to_string().contains("bf16"), "{e}");
}

#[test]
fn f64_needs_the_device() {
    let mut b = Builder::new("k", [1, 1, 1]);
    let out = b.buffer("out", DType::F64, Access::Write);
    let (i, x) = (b.idx(0), b.number(DType::F64, 1.0));
    b.store(Place::Buffer(out), i, x);
    let mut k = b.finish().expect("well-formed");
    k.idx_bits = 32;
    let e = render(&k, &Dialect::opencl(OpenCl::default())).expect_err("no f64");
    assert!(e.is_unsupported() && e.to_string().contains("f64"), "{e}");
}

/// Products that a workgroup makes run beside what follows them, and are waited for before a barrier, before their sums are read, and
/// at the end of their block.
#[test]
fn products_of_a_workgroup_are_waited_for_where_they_must_be() {
    let mut b = Builder::new("wide", [128, 1, 1]);
    let out = b.buffer("out", DType::F32, Access::Write);
    let tile = b.shared("tile", DType::F16, 64 * 64);
    let acc = Frag { role: FragRole::Acc, m: 64, n: 64, k: 64, elem: DType::F32, scope: Scope::Workgroup };
    let (zero, one, four, stride, nothing) = (b.u32(0), b.u32(1), b.u32(4), b.u32(64), b.f32(0.0));
    let empty = b.define(Type::Frag(acc), Op::FragFill(nothing));
    let sum = b.var("sum", empty);
    let operand = |layout| FragOperand::Tile {
        shared: tile,
        index: zero,
        stride,
        layout,
        swizzle: Swizzle { bits: 3, shift: 0 },
    };
    let mma = |b: &mut Builder| {
        let (x, y, before) = (operand(Layout::RowMajor), operand(Layout::ColMajor), b.get(sum));
        b.define(Type::Frag(acc), Op::FragMma { a: x, b: y, acc: before })
    };
    b.count(zero, four, one, |b, i| {
        b.barrier();
        let more = mma(b);
        b.set(sum, more);
        b.store(Place::Buffer(out), i, nothing);
    });
    let more = mma(&mut b);
    b.set(sum, more);
    b.barrier();
    let more = mma(&mut b);
    b.effect(Op::FragStore { frag: more, place: Place::Buffer(out), index: zero, stride, layout: Layout::RowMajor });
    let mut k = b.finish().expect("a well-formed kernel");
    k.idx_bits = 32;
    let hopper = Dialect::cuda(Cuda { capability: (9, 0), tf32: false });
    let text = render(&k, &hopper).expect("printable").source;
    let body = &text[text.find("k_wide(").expect("it is there")..];
    let words = [
        "frag_mma_tiles<",
        "products_done();",
        "frag_fence(",
        "__syncthreads();",
        "b0_out[",
        "frag_done(",
        "frag_store<",
    ];
    let mut found: Vec<_> = words.iter().flat_map(|w| body.match_indices(w)).collect();
    found.sort();
    let order: Vec<_> = found.into_iter().map(|(_, w)| w.split(['<', '(', '[']).next().unwrap_or(w)).collect();
    let want = [
        ["__syncthreads", "frag_mma_tiles", "b0_out", "products_done", "frag_fence"].as_slice(),
        &["frag_mma_tiles", "products_done", "frag_fence", "__syncthreads"],
        &["frag_done", "frag_mma_tiles", "frag_store"],
    ];
    assert_eq!(order, want.concat(), "{body}");
    assert!(body.contains("__shared__ __align__(1024) ushort"), "{body}");
    // What holds none is printed for no other chip.
    assert!(render(&k, &Dialect::cuda(Cuda { capability: (10, 0), tf32: false })).is_err());
}
