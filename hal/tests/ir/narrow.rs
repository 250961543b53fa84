//! Integers of 8 and 16 bits on a device that only stores them give what a device that computes with them gives.

use crate::reference::run;
use anychip_hal::{
    DType, DeviceInfo,
    info::TypeSupport,
    ir::{legal::*, *},
};

const PAIRS: [(i64, i64); 14] = [
    (0, 0),
    (1, 2),
    (-1, 1),
    (100, 100),
    (127, 1),
    (-128, -1),
    (-128, 3),
    (255, 9),
    (-7, -2),
    (32767, 2),
    (-32768, -1),
    (65535, 65535),
    (0x1234, 0x7f),
    (37, 0),
];

/// Every operation on a pair of narrow numbers, each result in an element of its own.
fn kernel(d: DType) -> (Kernel, usize) {
    let mut b = Builder::new("narrow", [PAIRS.len() as u32, 1, 1]);
    let (x, y) = (b.buffer("x", d, Access::Read), b.buffer("y", d, Access::Read));
    let f = b.buffer("f", DType::F32, Access::Read);
    let out = b.buffer("out", d, Access::Write);
    let wide = b.buffer("wide", DType::I64, Access::Write);
    let given = b.scalar("given", d);
    let shared = b.shared("tile", d, PAIRS.len() as u32);
    let lane = b.builtin(Builtin::LocalId(0));
    let at = b.cast(Elem::Idx, lane);
    let (x, y, f) = (b.load(Place::Buffer(x), at), b.load(Place::Buffer(y), at), b.load(Place::Buffer(f), at));
    let mut results = vec![];
    for op in [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Rem,
        BinaryOp::Min,
        BinaryOp::Max,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Xor,
        BinaryOp::Shl,
        BinaryOp::Shr,
    ] {
        results.push(b.binary(op, x, y));
    }
    for op in [
        UnaryOp::Neg,
        UnaryOp::Abs,
        UnaryOp::Sign,
        UnaryOp::Not,
        UnaryOp::CountOnes,
        UnaryOp::LeadingZeros,
        UnaryOp::TrailingZeros,
    ] {
        results.push(b.unary(op, x));
    }
    results.push(b.mul_add(x, y, x));
    results.push(b.cast(d, f));
    let truth = b.compare(CmpOp::Lt, x, y);
    results.push(b.select(truth, x, y));
    results.push(b.cast(d, truth));
    results.push(b.add(x, given));
    let constant = b.integer(d, -3);
    results.push(b.mul(x, constant));
    let twin = match d {
        DType::I8 => DType::U8,
        DType::U8 => DType::I8,
        DType::I16 => DType::U16,
        _ => DType::I16,
    };
    let other = b.bitcast(twin, x);
    let halved = b.binary(BinaryOp::Shr, other, other);
    results.push(b.bitcast(d, halved));
    results.push(b.cast(d, other));
    let large = b.cast(DType::I32, x);
    let large = b.mul(large, large);
    results.push(b.cast(d, large));
    let v = b.var("v", x);
    let twice = b.get(v);
    let twice = b.add(twice, y);
    b.set(v, twice);
    results.push(b.get(v));
    let vector = b.vector(&[x, y]);
    let vector = b.mul(vector, vector);
    results.push(b.extract(vector, 1));
    results.push(b.group_reduce(ReduceOp::Sum, x));
    results.push(b.group_reduce(ReduceOp::Max, y));
    let sum = b.add(x, y);
    b.store(Place::Shared(shared), at, sum);
    results.push(b.load(Place::Shared(shared), at));
    let count = b.idx(results.len() as u64);
    for (i, &r) in results.iter().enumerate() {
        let i = b.idx(i as u64);
        let place = b.mul_add(at, count, i);
        b.store(Place::Buffer(out), place, r);
        // As the program sees it, not only as it is stored: extended right, and true or false.
        let r64 = b.cast(DType::I64, r);
        let as_float = b.cast(DType::F32, r);
        let back = b.cast(DType::I64, as_float);
        let truth = b.cast(DType::Bool, r);
        let truth = b.cast(DType::I64, truth);
        let both = b.add(r64, back);
        let both = b.add(both, truth);
        b.store(Place::Buffer(wide), place, both);
    }
    (b.finish().expect("built"), results.len())
}

#[test]
fn narrow_integers_are_computed_wide_and_cut_back() {
    for d in [DType::I8, DType::I16, DType::U8, DType::U16] {
        let (k, results) = kernel(d);
        let mask = u64::MAX >> (64 - 8 * d.size());
        let floats =
            [0.0, -0.5, 1.9, 127.9, 128.0, -129.0, 300.0, 1e9, -1e9, 65535.5, f32::NAN, f32::INFINITY, -32769.0, 5e10];
        let n = PAIRS.len();
        let buffers = [
            PAIRS.iter().map(|p| p.0 as u64 & mask).collect(),
            PAIRS.iter().map(|p| p.1 as u64 & mask).collect(),
            floats.iter().map(|f| f.to_bits() as u64).collect(),
            vec![0; n * results],
            vec![0; n * results],
        ];
        let compute = |info: &DeviceInfo, checked: bool| {
            let k = legalize(&k, &Target { info, idx_bits: 64, checked }).unwrap_or_else(|e| panic!("{e}\n{k}"));
            let mut b: Vec<Vec<u64>> = buffers.to_vec();
            run(&k, [1, 1, 1], 1, &mut b, &[0xfe]);
            (k, b)
        };
        let full = crate::legal::plain();
        let mut stored = crate::legal::plain();
        for narrow in [DType::I8, DType::I16, DType::U8, DType::U16] {
            stored.types.insert(narrow, TypeSupport::STORAGE);
        }
        for checked in [false, true] {
            let (_, want) = compute(&full, checked);
            let (k, got) = compute(&stored, checked);
            for i in 0..n * results {
                let (w, g) = (&want, &got);
                assert_eq!(g[3][i], w[3][i], "{d}, pair {:?}, result {}\n{k}", PAIRS[i / results], i % results);
                assert_eq!(
                    g[4][i],
                    w[4][i],
                    "{d} extended, pair {:?}, result {}\n{k}",
                    PAIRS[i / results],
                    i % results
                );
            }
            // Nothing is left but moving it.
            visit(&k.body, &mut |inst| {
                let narrow =
                    inst.out.and_then(|v| k.ty(v).elem()).and_then(Elem::dtype).filter(|d| d.size() < 4 && d.is_int());
                let moves = matches!(inst.op, Op::Load { .. } | Op::Cast(_) | Op::Bitcast(_) | Op::Scalar(_));
                assert!(narrow.is_none() || moves, "{:?} computes in {narrow:?}\n{k}", inst.op);
            });
        }
        stored.types.insert(d, TypeSupport::default());
        let e = legalize(&k, &Target { info: &stored, idx_bits: 64, checked: false }).unwrap_err();
        assert!(e.is_unsupported() && e.to_string().contains(d.name()), "{e}");
    }
}
