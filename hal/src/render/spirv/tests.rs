//! What a module must say; what it computes is tested where a device runs it, and every module of the library is validated.

use super::*;
use rspirv::binary::Disassemble;

fn target() -> Target {
    Target { version: (1, 3), storage8: true, storage16: true, i64: true, ..Target::default() }
}

fn print(mut k: Kernel, t: &Target) -> String {
    k.idx_bits = 32;
    let r = render(&k, t).unwrap_or_else(|e| panic!("{e}"));
    rspirv::dr::load_words(&r.words).expect("a module that can be read").disassemble()
}

#[test]
fn what_stands_alone_must_not_be_fused() {
    let mut b = Builder::new("k", [64, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::Read);
    let y = b.buffer("y", DType::F32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    let p = b.mul(v, v);
    let s = b.add(p, v);
    let m = b.mul_add(s, v, v);
    b.store(Place::Buffer(y), i, m);
    let text = print(b.finish().expect("a well-formed kernel"), &target());
    assert_eq!(text.matches("NoContraction").count(), 2, "{text}");
    assert!(text.contains("Fma") && text.contains("LocalSize 64 1 1"), "{text}");
    assert!(text.contains("NonWritable"), "{text}");
}

#[test]
fn aligned_vectors_have_a_view_of_their_own() {
    let mut b = Builder::new("k", [64, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::Read);
    let y = b.buffer("y", DType::F32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load_vec(Place::Buffer(x), i, 8);
    b.store(Place::Buffer(y), i, v);
    let mut k = b.finish().expect("a well-formed kernel");
    visit_mut(&mut k.body, &mut |i| {
        if let Op::Load { aligned, .. } | Op::Store { aligned, .. } = &mut i.op {
            *aligned = true;
        }
    });
    let text = print(k, &target());
    assert_eq!(text.matches("ArrayStride 16").count(), 1, "{text}");
    assert_eq!(text.matches("OpLoad").count(), 3, "the index and two vectors of 4: {text}");
}

#[test]
fn what_cannot_be_said_is_an_error_that_names_it() {
    let mut b = Builder::new("k", [1, 1, 1]);
    let out = b.buffer("out", DType::F64, Access::Write);
    let (i, x) = (b.idx(0), b.number(DType::F64, 1.0));
    b.store(Place::Buffer(out), i, x);
    let mut k = b.finish().expect("well-formed");
    let e = render(&k, &target()).expect_err("idx has no width yet");
    assert!(e.to_string().contains("legalise it first"), "{e}");
    k.idx_bits = 32;
    let e = render(&k, &target()).expect_err("no f64");
    assert!(e.is_unsupported() && e.to_string().contains("f64"), "{e}");
}
