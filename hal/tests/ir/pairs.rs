//! 64-bit integers on devices that have none give what a device that has them gives, bit for bit.

use crate::reference::run_as;
use anychip_hal::{
    DType, DeviceInfo,
    ir::{legal::*, *},
};

const NUMBERS: [u64; 12] = [
    0,
    1,
    7,
    0xffff_ffff,
    0x1_0000_0000,
    0x1234_5678_9abc_def0,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
    u64::MAX - 6,
    0x0000_0100_0000_0081,
    0xffff_fffe_0000_0001,
];

const FLOATS: [f32; 12] =
    [0.0, -0.75, 1.9, -3e9, 4294967296.0, 1.5e18, -9.3e18, 1.7e19, 2e19, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

const LANES: u32 = 144;

/// Every operation on every pair of numbers, a lane each, by scalars or by vectors of `lanes`; each result in an element of its own.
fn kernel(d: DType, lanes: u8) -> (Kernel, usize) {
    let mut b = Builder::new("pairs", [LANES / u32::from(lanes), 1, 1]);
    let (x, y) = (b.buffer("x", d, Access::Read), b.buffer("y", d, Access::Read));
    let f = b.buffer("f", DType::F32, Access::Read);
    let out = b.buffer("out", d, Access::Write);
    let other = b.buffer("other", DType::F32, Access::Write);
    let truths = b.buffer("truths", DType::Bool, Access::Write);
    let given = b.scalar("given", d);
    let tile = b.shared("tile", d, LANES);
    let own = b.private("own", d, u32::from(lanes));
    let lane = b.builtin(Builtin::LocalId(0));
    let width = b.u32(u32::from(lanes));
    let first = b.mul(lane, width);
    let at = b.cast(Elem::Idx, first);
    let (x, y) = (b.load_vec(Place::Buffer(x), at, lanes), b.load_vec(Place::Buffer(y), at, lanes));
    let f = b.load_vec(Place::Buffer(f), at, lanes);
    let mut results = vec![];
    use BinaryOp::*;
    for op in [Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr] {
        results.push(b.binary(op, x, y));
    }
    use UnaryOp::*;
    for op in [Neg, Abs, Sign, Not, CountOnes, LeadingZeros, TrailingZeros] {
        results.push(b.unary(op, x));
    }
    results.push(b.mul_add(x, y, x));
    results.push(b.cast(d, f));
    let mut truth = vec![];
    for op in [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge] {
        truth.push(b.compare(op, x, y));
    }
    truth.push(b.cast(DType::Bool, x));
    results.push(b.select(truth[2], x, y));
    results.push(b.cast(d, truth[0]));
    for to in [DType::I8, DType::I32, DType::U32, DType::U16] {
        let less = b.cast(to, x);
        results.push(b.cast(d, less));
    }
    let twin = if d == DType::I64 { DType::U64 } else { DType::I64 };
    let code = b.bitcast(twin, x);
    let halved = b.binary(Shr, code, code);
    results.push(b.cast(d, halved));
    let given = b.splat(given, lanes);
    results.push(b.add(x, given));
    let constant = b.integer(d, -3);
    let constant = b.splat(constant, lanes);
    results.push(b.mul(x, constant));
    let v = b.var("v", x);
    let twice = b.get(v);
    let twice = b.add(twice, y);
    b.set(v, twice);
    results.push(b.get(v));
    b.store(Place::Shared(tile), first, y);
    results.push(b.load_vec(Place::Shared(tile), first, lanes));
    let zero = b.u32(0);
    b.store(Place::Private(own), zero, x);
    results.push(b.load_vec(Place::Private(own), zero, lanes));
    results.push(b.group_reduce(ReduceOp::Sum, x));
    results.push(b.group_reduce(ReduceOp::Max, y));
    let count = LANES as u64;
    for (i, &r) in results.iter().enumerate() {
        let base = b.idx(i as u64 * count);
        let place = b.add(base, at);
        b.store(Place::Buffer(out), place, r);
        let float = b.cast(DType::F32, r);
        b.store(Place::Buffer(other), place, float);
    }
    for (i, &t) in truth.iter().enumerate() {
        let base = b.idx(i as u64 * count);
        let place = b.add(base, at);
        b.store(Place::Buffer(truths), place, t);
    }
    (b.finish().expect("built"), results.len())
}

/// No value and no place of the kernel is a 64-bit integer.
fn has_none(k: &Kernel) {
    let wide = |e: Option<Elem>| e.and_then(Elem::dtype).is_some_and(|d| d.is_int() && d.size() == 8);
    assert!(!k.values.iter().any(|t| wide(t.elem())), "{k}");
    assert!(!k.vars.iter().any(|v| wide(v.ty.elem())), "{k}");
    assert!(!k.shared.iter().chain(&k.private).any(|a| wide(Some(a.elem))), "{k}");
    assert!(!k.buffers().any(|(_, d, _)| wide(Some(Elem::D(d)))), "{k}");
}

fn lacking() -> DeviceInfo {
    let mut info = crate::legal::plain();
    info.types.remove(&DType::I64);
    info.types.remove(&DType::U64);
    info
}

/// Buffers after running it on a device with 64-bit integers, and on one without.
fn both(k: &Kernel, checked: bool, buffers: &[Vec<u64>], scalars: &[u64]) -> [Vec<Vec<u64>>; 2] {
    let lies: Vec<DType> = k.buffers().map(|b| b.1).collect();
    [(crate::legal::plain(), false), (lacking(), true)].map(|(info, none)| {
        let k = legalize(k, &Target { info: &info, idx_bits: 32, checked }).unwrap_or_else(|e| panic!("{e}\n{k}"));
        if none {
            has_none(&k);
        }
        let mut b = buffers.to_vec();
        run_as(&k, &lies, [1, 1, 1], 1, &mut b, scalars);
        b
    })
}

#[test]
fn integers_of_two_words_compute_like_those_of_one() {
    for (d, lanes, checked) in
        [(DType::I64, 1, true), (DType::U64, 1, false), (DType::I64, 4, false), (DType::U64, 2, true)]
    {
        let (k, results) = kernel(d, lanes);
        let n = LANES as usize;
        let buffers = [
            (0..n).map(|i| NUMBERS[i / 12]).collect::<Vec<_>>(),
            (0..n).map(|i| NUMBERS[i % 12]).collect(),
            (0..n).map(|i| FLOATS[i % 12].to_bits() as u64).collect(),
            vec![0; n * results],
            vec![0; n * results],
            vec![0; n * 7],
        ];
        let [want, got] = both(&k, checked, &buffers, &[0x8765_4321_0fed_cba9]);
        for (buffer, what) in [(3, "result"), (4, "as a float, result"), (5, "truth")] {
            for (i, (want, got)) in want[buffer].iter().zip(&got[buffer]).enumerate() {
                let (x, y) = (NUMBERS[i % n / 12], NUMBERS[i % 12]);
                assert_eq!(got, want, "{d}x{lanes} of {x:#x}, {y:#x}: {what} {}", i / n);
            }
        }
    }
}

#[test]
fn loops_count_in_two_words() {
    let top = i64::MAX;
    let cases: [(DType, i64, i64, i64); 7] = [
        (DType::I64, -3, 9, 4),
        (DType::I64, top - 3, top, 2),
        (DType::I64, i64::MIN, i64::MIN + 5, 3),
        (DType::U64, 0xffff_fffe, 0x1_0000_0002, 1),
        (DType::U64, -5, -1, 3),
        (DType::I64, 4, 4, 1),
        (DType::U64, 0, 3, 0),
    ];
    let mut b = Builder::new("loops", [1, 1, 1]);
    let bounds = b.buffer("bounds", DType::I64, Access::Read);
    let out = b.buffer("out", DType::I64, Access::Write);
    for (n, (d, ..)) in cases.iter().enumerate() {
        let bound: Vec<Value> = (0..3)
            .map(|k| {
                let at = b.idx(3 * n as u64 + k);
                let x = b.load(Place::Buffer(bounds), at);
                b.cast(*d, x)
            })
            .collect();
        let zero = b.integer(DType::I64, 0);
        let sum = b.var("sum", zero);
        let i = b.begin_for(bound[0], bound[1], bound[2], Unroll::Auto);
        let i = b.cast(DType::I64, i);
        let (one, none) = (b.integer(DType::I64, 1), b.integer(DType::I64, 0));
        let odd = b.binary(BinaryOp::And, i, one);
        let odd = b.compare(CmpOp::Ne, odd, none);
        let s = b.get(sum);
        let thousand = b.integer(DType::I64, 1000);
        let s = b.add(s, thousand);
        b.set(sum, s);
        // The loop goes on counting after this.
        b.begin_if(odd);
        b.effect(Op::Continue);
        b.end_if();
        let s = b.add(s, i);
        b.set(sum, s);
        b.end_for();
        let s = b.get(sum);
        let at = b.idx(n as u64);
        b.store(Place::Buffer(out), at, s);
    }
    let k = b.finish().expect("built");
    let bounds = cases.iter().flat_map(|c| [c.1 as u64, c.2 as u64, c.3 as u64]).collect();
    let [want, got] = both(&k, true, &[bounds, vec![0; cases.len()]], &[]);
    // 3 rounds of −3, 1, 5, all odd; and so on.
    assert_eq!(want[1][0], 3000);
    assert_eq!(got[1], want[1]);
}

#[test]
fn what_pairs_do_not_have_is_refused() {
    let mut b = Builder::new("atomic", [1, 1, 1]);
    let x = b.buffer("x", DType::U64, Access::ReadWrite);
    let (at, one) = (b.idx(0), b.integer(DType::U64, 1));
    let place = Place::Buffer(x);
    b.define(
        DType::U64.into(),
        Op::Atomic { op: AtomicOp::Add, place, index: at, value: one, compare: None, scope: Scope::Device },
    );
    let k = b.finish().expect("built");
    let info = lacking();
    let e = legalize(&k, &Target { info: &info, idx_bits: 32, checked: true }).expect_err("no such atomics");
    assert!(e.is_unsupported() && e.to_string().contains("u64") && e.to_string().contains("plain:0"), "{e}");
}
