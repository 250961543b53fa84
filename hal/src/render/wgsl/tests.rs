//! What the text must look like; that it is valid, and what it computes, is tested elsewhere.

use super::*;

fn print(b: Builder, target: &Target) -> Rendered {
    let mut k = b.finish().expect("a well-formed kernel");
    k.idx_bits = 32;
    render(&k, target).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn names_of_the_kernel_meet_no_word_of_the_language() {
    let mut b = Builder::new("fn", [64, 1, 1]);
    let out = b.buffer("array", DType::F32, Access::Write);
    let x = b.scalar("loop", DType::F32);
    let i = b.idx(0);
    let held = b.var("var", x);
    let v = b.get(held);
    b.store(Place::Buffer(out), i, v);
    let r = print(b, &Target::default());
    assert!(r.source.contains("@group(0) @binding(0) var<storage, read_write> b0_array: array<f32>;"), "{}", r.source);
    assert!(r.source.contains("@group(1) @binding(0) var<uniform> scalars: Scalars;"), "{}", r.source);
    assert!(r.source.contains("var x0_var_0: f32;"), "{}", r.source);
    assert_eq!((r.scalar_bytes, r.writes), (4, vec![true]));
}

#[test]
fn a_buffer_of_atomics_is_one_throughout() {
    let mut b = Builder::new("k", [64, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::ReadWrite);
    let (i, one) = (b.idx(0), b.f32(1.0));
    b.effect(Op::Atomic {
        op: AtomicOp::Add,
        place: Place::Buffer(x),
        index: i,
        value: one,
        compare: None,
        scope: Scope::Device,
    });
    let v = b.load(Place::Buffer(x), i);
    b.store(Place::Buffer(x), i, v);
    let text = print(b, &Target { immediates: true, ..Target::default() }).source;
    assert!(text.contains("array<atomic<u32>>"), "{text}");
    assert!(text.contains("atomicCompareExchangeWeak"), "{text}");
    assert!(text.contains("bitcast<f32>(atomicLoad("), "{text}");
    assert!(text.contains("atomicStore("), "{text}");
}

#[test]
fn what_cannot_be_said_is_an_error_that_names_it() {
    let mut b = Builder::new("k", [1, 1, 1]);
    let out = b.buffer("out", DType::F64, Access::Write);
    let (i, x) = (b.idx(0), b.number(DType::F64, 1.0));
    b.store(Place::Buffer(out), i, x);
    let mut k = b.finish().expect("well-formed");
    let e = render(&k, &Target::default()).expect_err("idx has no width yet");
    assert!(e.to_string().contains("legalise it first"), "{e}");
    k.idx_bits = 32;
    let e = render(&k, &Target::default()).expect_err("no f64");
    assert!(e.is_unsupported() && e.to_string().contains("f64"), "{e}");
}

#[test]
fn a_buffer_of_aligned_vectors_is_one_throughout() {
    let mut b = Builder::new("k", [64, 1, 1]);
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let i = b.builtin(Builtin::GroupId(0));
    let v = b.load_vec(Place::Buffer(x), i, 8);
    let w = b.load_vec(Place::Buffer(x), i, 2);
    let first = b.extract(w, 0);
    let all = b.splat(first, 8);
    let sum = b.add(v, all);
    b.store(Place::Buffer(y), i, sum);
    let mut k = b.finish().expect("well-formed");
    k.idx_bits = 32;
    let one_by_one = render(&k, &Target::default()).expect("printable").source;
    assert!(one_by_one.contains("b0_x: array<f32>;") && one_by_one.contains("b1_y: array<f32>;"), "{one_by_one}");
    visit_mut(&mut k.body, &mut |i| {
        if let Op::Load { aligned, .. } | Op::Store { aligned, .. } = &mut i.op {
            *aligned = true;
        }
    });
    let text = render(&k, &Target::default()).expect("printable").source;
    assert!(text.contains("b0_x: array<vec2<f32>>;") && text.contains("b1_y: array<vec4<f32>>;"), "{text}");
    assert_eq!(text.matches("= vec4(b0_x[").count(), 2, "{text}");
    assert_eq!(text.matches("b1_y[").count(), 2, "{text}");
}
