//! Types of 8 and 16 bits on devices that only store them, or that have not even that, give what a device that has them
//! gives, bit for bit, and nothing beside an element changes.

use crate::reference::run_as;
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
        let lies: Vec<DType> = k.buffers().map(|b| b.1).collect();
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
            run_as(&k, &lies, [1, 1, 1], 1, &mut b, &[0xfe]);
            (k, b)
        };
        let full = crate::legal::plain();
        let mut stored = crate::legal::plain();
        for narrow in [DType::I8, DType::I16, DType::U8, DType::U16] {
            stored.types.insert(narrow, TypeSupport::STORAGE);
        }
        let mut packed = crate::legal::plain();
        for narrow in [DType::Bool, DType::I8, DType::I16, DType::U8, DType::U16] {
            packed.types.insert(narrow, TypeSupport::default());
        }
        for (info, moved) in [(&stored, true), (&packed, false)] {
            for checked in [false, true] {
                let (_, want) = compute(&full, checked);
                let (k, got) = compute(info, checked);
                for i in 0..n * results {
                    for (buffer, what) in [(3, "stored"), (4, "extended")] {
                        let (want, got, pair) = (want[buffer][i], got[buffer][i], PAIRS[i / results]);
                        assert_eq!(got, want, "{d} {what}, pair {pair:?}, result {}\n{k}", i % results);
                    }
                }
                // Nothing is left but moving it, where that much is there.
                visit(&k.body, &mut |inst| {
                    let narrow = inst
                        .out
                        .and_then(|v| k.ty(v).elem())
                        .and_then(Elem::dtype)
                        .filter(|d| d.size() < 4 && d.is_int());
                    let moves = moved && matches!(inst.op, Op::Load { .. } | Op::Cast(_));
                    assert!(narrow.is_none() || moves, "{:?} computes in {narrow:?}\n{k}", inst.op);
                });
            }
        }
    }
}

/// What a device has, for the types of less than 32 bits.
fn lacking(narrow: TypeSupport) -> DeviceInfo {
    let mut info = crate::legal::plain();
    for d in DType::ALL.into_iter().filter(|d| d.size() < 4) {
        info.types.insert(d, narrow);
    }
    info
}

/// Scalars, vectors at any element and vectors at multiples of their length, moved from one buffer to another by way of an
/// array of the workgroup, a private one and a variable; every lane writes beside others.
fn moves(d: DType, lanes: u8, aligned: bool, by: u64) -> Kernel {
    let mut b = Builder::new("moves", [8, 1, 1]);
    let x = b.buffer("x", d, Access::Read);
    let out = b.buffer("out", d, Access::Write);
    let first = b.scalar("first", d);
    let tile = b.shared("tile", d, 8 * u32::from(lanes));
    let own = b.private("own", d, u32::from(lanes));
    let lane = b.builtin(Builtin::LocalId(0));
    let n = b.u32(u32::from(lanes));
    let place = b.mul(lane, n);
    let at = b.cast(Elem::Idx, place);
    // Behind a hidden offset of three elements, 1 more is a multiple of 4.
    let by = b.idx(by);
    let at = b.add(at, by);
    let zero = b.u32(0);
    if aligned {
        let v = b.load_vec(Place::Buffer(x), at, lanes);
        b.store(Place::Buffer(out), at, v);
    } else {
        let v = if lanes == 1 { b.load(Place::Buffer(x), at) } else { b.load_vec(Place::Buffer(x), at, lanes) };
        b.store(Place::Shared(tile), place, v);
        b.barrier();
        let v =
            if lanes == 1 { b.load(Place::Shared(tile), place) } else { b.load_vec(Place::Shared(tile), place, lanes) };
        b.store(Place::Private(own), zero, v);
        let v =
            if lanes == 1 { b.load(Place::Private(own), zero) } else { b.load_vec(Place::Private(own), zero, lanes) };
        let held = b.var("held", v);
        let v = b.get(held);
        b.store(Place::Buffer(out), at, v);
    }
    let is_first = b.compare(CmpOp::Eq, lane, zero);
    let begin = b.idx(0);
    if !aligned {
        b.barrier();
        b.when(is_first, |b| b.store(Place::Buffer(out), begin, first));
    }
    let mut k = b.finish().expect("built");
    visit_mut(&mut k.body, &mut |i| {
        if let Op::Load { aligned: promised, .. } | Op::Store { aligned: promised, .. } = &mut i.op {
            *promised = aligned;
        }
    });
    k
}

#[test]
fn elements_move_alone_and_in_vectors_and_neighbours_stay() {
    let narrow = DType::ALL.into_iter().filter(|d| d.size() < 4);
    for d in narrow {
        let forms = [
            (1, false, 0),
            (2, false, 0),
            (4, false, 0),
            (4, false, 1),
            (8, false, 0),
            (8, false, 1),
            (2, true, 1),
            (4, true, 1),
        ];
        for (lanes, aligned, by) in forms {
            let k = moves(d, lanes, aligned, by);
            let n = 8 * usize::from(lanes) + 1;
            let bits = |i: usize| match d {
                DType::Bool => i.is_multiple_of(3) as u64,
                // Numbers: what is not one may change its payload.
                d if d.is_float() && d.size() == 1 => i as u64 % 0x70,
                d if d.is_float() => 0x3c00 + i as u64,
                d => (0x9180 + 0x11 * i as u64) & (u64::MAX >> (64 - 8 * d.size())),
            };
            let x: Vec<u64> = (0..n).map(bits).collect();
            let old: Vec<u64> = (0..n).map(|i| bits(i + 5)).collect();
            for info in [lacking(TypeSupport::default()), lacking(TypeSupport::STORAGE), lacking(TypeSupport::FULL)] {
                // The interpreter knows no fp8.
                if info.support(d).storage && matches!(d, DType::F8E4M3 | DType::F8E5M2) {
                    continue;
                }
                for (checked, idx_bits) in [(false, 32), (true, 32), (true, 64)] {
                    let legal =
                        legalize(&k, &Target { info: &info, idx_bits, checked }).unwrap_or_else(|e| panic!("{e}\n{k}"));
                    let mut buffers = [x.clone(), old.clone()];
                    run_as(&legal, &[d, d], [1, 1, 1], 1, &mut buffers, &[bits(7)]);
                    let mut want = x.clone();
                    if by == 1 {
                        want[0] = old[0];
                    } else {
                        want[n - 1] = old[n - 1];
                    }
                    if !aligned {
                        want[0] = bits(7);
                    }
                    assert_eq!(
                        buffers[1], want,
                        "{d} x {lanes} from {by}, aligned {aligned}, checked {checked}\n{legal}"
                    );
                    if !info.support(d).storage {
                        let left = legal.buffers().any(|b| b.1.size() < 4)
                            || legal
                                .values
                                .iter()
                                .filter_map(|t| t.elem()?.dtype())
                                .any(|d| d.size() < 4 && d != DType::Bool);
                        assert!(!left, "{d}\n{legal}");
                    }
                }
            }
        }
    }
}

#[test]
fn checked_accesses_outside_a_packed_buffer_read_zero_and_vanish() {
    for d in [DType::Bool, DType::U8, DType::I16, DType::F16] {
        let mut b = Builder::new("outside", [8, 1, 1]);
        let x = b.buffer("x", d, Access::Read);
        let out = b.buffer("out", d, Access::Write);
        let i = b.builtin(Builtin::GlobalId(0));
        let two = b.idx(2);
        let far = b.add(i, two);
        let v = b.load(Place::Buffer(x), far);
        b.store(Place::Buffer(out), i, v);
        let k = b.finish().expect("built");
        let info = lacking(TypeSupport::default());
        let k = legalize(&k, &Target { info: &info, idx_bits: 32, checked: true }).expect("legal");
        // Seven elements each: neither their begin nor their end is that of a word, and lane 7 is outside.
        let mut buffers = [vec![1; 7], vec![1; 7]];
        run_as(&k, &[d, d], [1, 1, 1], 1, &mut buffers, &[]);
        assert_eq!(buffers[1], [1, 1, 1, 1, 1, 0, 0], "{d}\n{k}");
    }
}

#[test]
fn packed_stores_need_atomics_on_words() {
    let k = moves(DType::U8, 1, false, 0);
    let mut info = lacking(TypeSupport::default());
    info.types.insert(DType::U32, TypeSupport::FULL);
    let e = legalize(&k, &Target { info: &info, idx_bits: 32, checked: true }).expect_err("no way to store a byte");
    assert!(e.is_unsupported() && e.to_string().contains("atomics"), "{e}");
}
