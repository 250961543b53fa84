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

/// In halves only where it is asked for; both halves are exact.
#[test]
fn unsigned_numbers_by_halves() {
    let mut b = Builder::new("k", [64, 1, 1]);
    let x = b.buffer("x", DType::U32, Access::Read);
    let y = b.buffer("y", DType::F32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let v = b.load(Place::Buffer(x), i);
    let f = b.cast(DType::F32, v);
    b.store(Place::Buffer(y), i, f);
    let k = b.finish().expect("a well-formed kernel");
    let count = |t: &Target| print(k.clone(), t).matches("OpConvertUToF").count();
    assert_eq!(count(&target()), 1);
    assert_eq!(count(&Target { unsigned_by_halves: true, ..target() }), 2);
}

/// By other operations only where it is asked for; the sums may not be joined.
#[test]
fn doubles_by_parts() {
    let print = |op: UnaryOp, doubles_by_parts: bool| {
        let mut b = Builder::new("k", [64, 1, 1]);
        let x = b.buffer("x", DType::F64, Access::Read);
        let y = b.buffer("y", DType::F64, Access::Write);
        let i = b.builtin(Builtin::GlobalId(0));
        let v = b.load(Place::Buffer(x), i);
        let f = b.unary(op, v);
        b.store(Place::Buffer(y), i, f);
        let k = b.finish().expect("a well-formed kernel");
        print(k, &Target { f64: true, doubles_by_parts, ..target() })
    };
    for (op, name) in [(UnaryOp::Trunc, "Trunc"), (UnaryOp::Round, "RoundEven")] {
        assert!(print(op, false).contains(name));
        assert!(!print(op, true).contains(name));
    }
    assert_eq!(print(UnaryOp::Round, true).matches("NoContraction").count(), 2);
    assert!(print(UnaryOp::Floor, true).contains("Floor"));
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

/// What is only read is read as texels where the device has them, as many buffers of it as there may be; the rest as before.
#[test]
fn buffers_that_are_only_read_are_texels() {
    let mut b = Builder::new("k", [64, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::Read);
    let y = b.buffer("y", DType::F32, Access::ReadWrite);
    let i = b.builtin(Builtin::GlobalId(0));
    let (v, one, old) = (b.load_vec(Place::Buffer(x), i, 8), b.load(Place::Buffer(x), i), b.load(Place::Buffer(y), i));
    b.store(Place::Buffer(y), i, v);
    let sum = b.add(one, old);
    b.store(Place::Buffer(y), i, sum);
    let mut k = b.finish().expect("a well-formed kernel");
    visit_mut(&mut k.body, &mut |i| {
        if let (Op::Load { aligned, .. }, Some(_)) = (&mut i.op, i.out) {
            *aligned = true;
        }
    });
    let k = Kernel { idx_bits: 32, ..k };
    let fetched = |texels: u32| {
        let r = render(&k, &Target { texels, ..target() }).unwrap_or_else(|e| panic!("{e}"));
        let text = rspirv::dr::load_words(&r.words).expect("a module that can be read").disassemble();
        (r.texels, text.matches("OpImageFetch").count())
    };
    let [vectors, words] = [16, 4].map(|bytes| Texels { buffer: 0, bytes });
    assert_eq!(fetched(8), (vec![vectors, words], 3), "two vectors of 4 and a number");
    assert_eq!(fetched(1), (vec![vectors], 2));
    assert_eq!(fetched(0), (vec![], 0));
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
