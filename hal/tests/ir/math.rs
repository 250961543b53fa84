//! Functions that the legaliser makes itself, against numbers of more digits: in every kind of number, on machines that
//! fuse or do not, contract what should be rounded twice, keep subnormal numbers or flush them, and divide carelessly.

use crate::{
    legal::plain,
    reference::{Machine, run_on},
};
use anychip_hal::{
    DType, Error,
    info::{Feature, TypeSupport},
    ir::{build::Builder, legal::*, *},
};
use anychip_oracle::{functions as wide, wide::Wide};

const STRICT: Machine = Machine { fused: false, flush: false, contracts: false, sloppy: 0, sloppy_doubles: false };
const FLUSHES: Machine = Machine { flush: true, ..STRICT };
const CONTRACTS: Machine = Machine { fused: true, contracts: true, ..STRICT };
const CARELESS: Machine = Machine { sloppy: 2, ..CONTRACTS };

/// A function, how it is written, its truth, and the units in the last place that it may be off.
#[derive(Clone, Copy)]
enum Function {
    One(UnaryOp, fn(f64) -> f64, fn(Wide) -> Wide),
    Two(BinaryOp, fn(f64, f64) -> f64, fn(Wide, Wide) -> Wide),
}
use Function::*;

/// What the oracle makes of numbers that are neither so small that 106 bits do not fit above the smallest one, nor so large
/// that it would ask the C library, whose sine is 8 ULP off where x is very near to a multiple of π/2.
fn by_size(x: Wide, wide: fn(Wide) -> Wide, double: fn(f64) -> f64) -> Wide {
    if (1e-290..1e15).contains(&x.hi.abs()) { wide(x) } else { Wide::from(double(x.hi)) }
}

fn rsqrt(x: Wide) -> Wide {
    Wide::ONE / x.sqrt()
}

fn rem(x: Wide, y: Wide) -> Wide {
    Wide::from(x.hi % y.hi)
}

const EXP: Function = One(UnaryOp::Exp, f64::exp, wide::exp);
const EXP2: Function = One(UnaryOp::Exp2, f64::exp2, wide::exp2);
const LOG: Function = One(UnaryOp::Log, f64::ln, wide::log);
const LOG2: Function = One(UnaryOp::Log2, f64::log2, wide::log2);
const SIN: Function = One(UnaryOp::Sin, f64::sin, |x| by_size(x, wide::sin, libm::sin));
const COS: Function = One(UnaryOp::Cos, f64::cos, |x| by_size(x, wide::cos, libm::cos));
const TAN: Function = One(UnaryOp::Tan, f64::tan, |x| by_size(x, wide::tan, libm::tan));
const TANH: Function = One(UnaryOp::Tanh, f64::tanh, |x| by_size(x, wide::tanh, libm::tanh));
const ERF: Function = One(UnaryOp::Erf, libm::erf, |x| by_size(x, wide::erf, libm::erf));
const RSQRT: Function = One(UnaryOp::Rsqrt, |x| 1.0 / x.sqrt(), rsqrt);
const RECIP: Function = One(UnaryOp::Recip, |x| 1.0 / x, |x| Wide::from(1.0 / x.hi));
const POW: Function = Two(BinaryOp::Pow, f64::powf, wide::pow);
const REM: Function = Two(BinaryOp::Rem, |x, y| x % y, rem);

/// A float type in these tests.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Single,
    Double,
}
use Kind::*;

impl Kind {
    fn dtype(self) -> DType {
        if self == Single { DType::F32 } else { DType::F64 }
    }
    fn number(self, bits: u64) -> f64 {
        if self == Single { f32::from_bits(bits as u32) as f64 } else { f64::from_bits(bits) }
    }
    fn bits(self, x: f64) -> u64 {
        if self == Single { (x as f32).to_bits() as u64 } else { x.to_bits() }
    }
    /// Digits after the first, least exponent.
    fn shape(self) -> (i32, i32) {
        if self == Single { (23, -126) } else { (52, -1022) }
    }
    fn smallest_normal(self) -> f64 {
        2f64.powi(self.shape().1)
    }
    /// Units in the last place of `truth` between it and a result.
    fn ulps(self, y: f64, truth: Wide) -> f64 {
        if y.is_nan() || truth.is_nan() {
            return if y.is_nan() && truth.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if y == truth.hi && (self == Single || truth.lo == 0.0 || y.is_infinite()) {
            return 0.0;
        }
        // Halved, so that what overflows has room: infinity stands for the first power of two that is none.
        let (digits, least) = self.shape();
        let end = 2f64.powi(1 - least);
        let halved = |x: f64| (x / 2.0).clamp(-end, end);
        let exponent = match truth.hi.abs() {
            t if t < self.smallest_normal() => least,
            t => ((t.to_bits() >> 52) as i32 - 1023).min(-least + 1),
        };
        let off = Wide::from(halved(y)) - Wide { hi: halved(truth.hi), lo: truth.lo / 2.0 };
        // Of subnormal doubles nothing can be halved.
        if truth.hi.abs() < 2.0 * self.smallest_normal() && self == Double {
            return ((y - truth.hi) / f64::from_bits(1)).abs();
        }
        let unit = exponent - digits - 1;
        (off.times_power(-unit)).hi.abs()
    }
}

/// Bits that meet every exponent and no pattern of mantissas, ordinary numbers, and the edges of the type and of the
/// functions.
fn arguments(kind: Kind) -> Vec<u64> {
    let mut x: Vec<u64> = match kind {
        Single => (0..=u32::MAX as u64).step_by(400_009).collect(),
        Double => (0..12_000u64).map(|i| i.wrapping_mul(u64::MAX / 12_000 - 12_345_678_901)).collect(),
    };
    x.extend((0..6000).map(|i| kind.bits((i - 3000) as f64 * 7.03e-3)));
    x.extend((0..6000).map(|i| kind.bits((i - 3000) as f64 * 0.4321)));
    x.extend((0..3000).map(|i| kind.bits(0.5 + i as f64 * 3.1e-4)));
    x.extend((0..2000).map(|i| kind.bits(1.0 + (i - 1000) as f64 * 1.2e-7)));
    x.extend((0..1500).map(|i| kind.bits(1.7f64.powi(i - 750))));
    x.extend(edges(kind));
    // Multiples of π/2, and their neighbours; then the arguments that are hardest to reduce.
    let mut near = |y: f64| {
        let bits = kind.bits(y);
        x.extend([bits - 1, bits, bits + 1, bits | kind.bits(-0.0)]);
    };
    (1..1200).for_each(|n| near(n as f64 * std::f64::consts::FRAC_PI_2));
    (11..31).for_each(|n| near((1u64 << n) as f64 * std::f64::consts::FRAC_PI_4 * 11.0));
    // (F32 and F64 that come nearest to a multiple: Kahan's 6381956970095103·2^797.)
    near(16367173.0 * 2f64.powi(72));
    near(6381956970095103.0 * 2f64.powi(if kind == Single { 40 } else { 797 }));
    near(3200.0);
    near(1.6e6);
    near(5419351.0);
    x
}

fn edges(kind: Kind) -> Vec<u64> {
    let (digits, least) = kind.shape();
    let all = [
        0.0,
        2f64.powi(least - digits),
        2f64.powi(least - 1),
        2f64.powi(least),
        2f64.powi(-25),
        2f64.powi(-13),
        2f64.powi(-28),
        0.5,
        0.625,
        std::f64::consts::FRAC_1_SQRT_2,
        1.0,
        std::f64::consts::SQRT_2,
        1.5,
        2.0,
        3.0,
        10.0,
        20.0,
        88.0,
        89.0,
        104.0,
        127.0,
        128.0,
        149.0,
        150.0,
        151.0,
        709.0,
        710.0,
        745.0,
        746.0,
        1022.0,
        1024.0,
        1074.0,
        1075.0,
        1025.0,
        1080.0,
        8388607.5,
        8388608.0,
        16777215.0,
        16777216.0,
        9007199254740991.0,
        9007199254740992.0,
        2f64.powi(-least),
        f32::MAX as f64,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ];
    let mut out = vec![];
    for x in all {
        let bits = kind.bits(x);
        // Signalling NaNs stay away: the C library that is the judge has rules of its own for them.
        let around = match x.is_nan() {
            true => [bits; 3],
            false => [bits.saturating_sub(1), bits, (bits + 1).min(kind.bits(f64::INFINITY))],
        };
        out.extend(around.into_iter().flat_map(|b| [b, b | kind.bits(-0.0)]));
    }
    out
}

/// Every edge with every edge; whole, half and random exponents; bases near 1 with large ones.
fn pairs(kind: Kind) -> (Vec<u64>, Vec<u64>) {
    let mut all = vec![];
    let edges = edges(kind);
    for a in edges.iter().step_by(2) {
        all.extend(edges.iter().map(|b| (*a, *b)));
        all.extend([-3.0, -2.0, 2.0, 3.0, 0.3, -0.7, 17.0, 5.0].map(|b| (*a | kind.bits(-0.0), kind.bits(b))));
    }
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let (_, least) = kind.shape();
    let top = -least as f64;
    for _ in 0..4000 {
        let x = 2f64.powf((random() - 0.5) * 2.0 * top);
        let y = (random() - 0.5) * 200.0 * random() * random();
        // The whole range of results, evenly in its exponent.
        let base = 2f64.powf((random() - 0.5) * 4.0);
        let to = (random() - 0.5) * 2.2 * top / base.log2();
        let near_one = 1.0 + (random() - 0.5) * 2f64.powf(-18.0 * random());
        let far = (random() - 0.5) * 2.0 * top / near_one.log2();
        for (x, y) in [(x, y), (-x, y.round()), (base, to), (near_one, far)] {
            all.push((kind.bits(x), kind.bits(y)));
        }
        let [a, b] = [random(), random()].map(|r| (r * kind.bits(f64::INFINITY) as f64) as u64);
        all.push((a, b));
    }
    all.into_iter().unzip()
}

/// A kernel of two lanes that go through `each` vectors of numbers each.
fn kernel(function: Function, kind: Kind, lanes: u8, each: u32) -> Kernel {
    let d = kind.dtype();
    let mut b = Builder::new("function", [2, 1, 1]);
    let x = b.buffer("x", d, Access::Read);
    let y = b.buffer("y", d, Access::Read);
    let out = b.buffer("out", d, Access::Write);
    let lane = b.builtin(Builtin::LocalId(0));
    let (zero, one, count, width) = (b.u32(0), b.u32(1), b.u32(each), b.u32(lanes as u32));
    b.count(zero, count, one, |b, i| {
        let first = b.mul(lane, count);
        let at = b.add(first, i);
        let at = b.mul(at, width);
        let x = b.load_vec(Place::Buffer(x), at, lanes);
        let result = match function {
            One(op, ..) => b.unary(op, x),
            Two(op, ..) => {
                let y = b.load_vec(Place::Buffer(y), at, lanes);
                b.binary(op, x, y)
            }
        };
        b.store(Place::Buffer(out), at, result);
    });
    b.finish().expect("built")
}

fn evaluate(function: Function, kind: Kind, machine: Machine, lanes: u8, x: &[u64], y: &[u64]) -> Vec<u64> {
    let each = (x.len() as u32).div_ceil(2 * lanes as u32);
    let room = 2 * (each * lanes as u32) as usize;
    let padded = |v: &[u64]| {
        let mut v = v.to_vec();
        v.resize(room, kind.bits(1.0));
        v
    };
    let mut info = plain();
    if machine.sloppy == 0 {
        info.arithmetic.insert(kind.dtype(), anychip_hal::info::Arithmetic::IEEE);
    }
    let k = kernel(function, kind, lanes, each);
    let k = legalize(&k, &Target { info: &info, idx_bits: 32, checked: false }).unwrap_or_else(|e| panic!("{e}"));
    let mut buffers = [padded(x), padded(y), vec![0; room]];
    let elems = [kind.dtype(); 3];
    run_on(machine, &k, &elems, [1, 1, 1], 1, &mut buffers, &[]);
    let mut out = std::mem::take(&mut buffers[2]);
    out.truncate(x.len());
    out
}

fn truth(function: Function, kind: Kind, x: f64, y: f64) -> Wide {
    match (function, kind) {
        (One(_, f, _), Single) => Wide::from(f(x)),
        (One(_, _, f), Double) => f(Wide::from(x)),
        (Two(_, f, _), Single) => Wide::from(f(x, y)),
        (Two(_, _, f), Double) => f(Wide::from(x), Wide::from(y)),
    }
}

/// How far a result is off; signs of zeros must be right.
fn off(function: Function, kind: Kind, machine: Machine, [x, y]: [f64; 2], want: Wide, got: f64) -> f64 {
    let zero = |x: f64| 0f64.copysign(x);
    let mut off = kind.ulps(got, want);
    if got == 0.0 && want.hi == 0.0 && got.is_sign_negative() != want.hi.is_sign_negative() {
        off = f64::INFINITY;
    }
    if machine.flush && off > 0.0 {
        // Subnormal operands may count as zeros, subnormal results become zeros.
        let small = |x: f64| x.abs() < kind.smallest_normal();
        let mut operands = vec![(x, y)];
        operands.extend(small(x).then_some((zero(x), y)));
        operands.extend(small(y).then_some((x, zero(y))));
        operands.extend((small(x) && small(y)).then_some((zero(x), zero(y))));
        for (x, y) in operands {
            let want = truth(function, kind, x, y);
            off = off.min(kind.ulps(got, want));
            // What lies a rounding above the smallest normal number may lie below it.
            if got == 0.0 && want.hi.abs() < kind.smallest_normal() * (1.0 + 1e-6) {
                off = 0.0;
            }
        }
    }
    off
}

/// Every machine stays inside `bound`.
fn keeps(name: &str, function: Function, kind: Kind, bound: f64) {
    let (x, y) = match function {
        One(..) => {
            let x = arguments(kind);
            (x.clone(), x)
        }
        Two(..) => pairs(kind),
    };
    assert!(x.len() >= 20_000, "{} points", x.len());
    let numbers: Vec<[f64; 2]> = x.iter().zip(&y).map(|(x, y)| [kind.number(*x), kind.number(*y)]).collect();
    let wants: Vec<Wide> = numbers.iter().map(|[x, y]| truth(function, kind, *x, *y)).collect();
    for machine in [STRICT, FLUSHES, CONTRACTS, CARELESS] {
        if machine.sloppy > 0 && kind == Double {
            continue;
        }
        let got = evaluate(function, kind, machine, 1, &x, &y);
        let (mut worst, mut at) = (0.0, 0);
        for (i, got) in got.iter().enumerate() {
            let off = off(function, kind, machine, numbers[i], wants[i], kind.number(*got));
            if off > worst {
                (worst, at) = (off, i);
            }
        }
        let d = kind.dtype();
        let text = format!("{name}: {worst:.3} ULP at {:e} in {d} on {machine:?}", numbers[at][0]);
        println!("{text}");
        assert!(worst <= bound, "{text}: {:e}, should be {:e}", kind.number(got[at]), wants[at].hi);
    }
}

macro_rules! keeps {
    ($($test:ident $function:ident $kind:ident $bound:expr;)*) => {
        $(
            #[test]
            fn $test() {
                keeps(stringify!($test), $function, $kind, $bound);
            }
        )*
    };
}

// The table's bounds are 3 for exponentials and logarithms, 4 for sine and cosine, 5 for the tangents, 16 for pow and erf, 2 for
// rsqrt, what the device declares for recip, none for rem.
keeps! {
    exp_of_singles EXP Single 2.5;
    exp2_of_singles EXP2 Single 2.5;
    log_of_singles LOG Single 2.5;
    log2_of_singles LOG2 Single 2.5;
    sin_of_singles SIN Single 3.0;
    cos_of_singles COS Single 3.0;
    tan_of_singles TAN Single 4.0;
    tanh_of_singles TANH Single 4.5;
    erf_of_singles ERF Single 8.0;
    rsqrt_of_singles RSQRT Single 1.9;
    recip_of_singles RECIP Single 2.5;
    pow_of_singles POW Single 8.0;
    rem_of_singles REM Single 0.0;
    exp_of_doubles EXP Double 2.5;
    exp2_of_doubles EXP2 Double 2.5;
    log_of_doubles LOG Double 2.5;
    log2_of_doubles LOG2 Double 2.5;
    sin_of_doubles SIN Double 3.0;
    cos_of_doubles COS Double 3.0;
    tan_of_doubles TAN Double 4.0;
    tanh_of_doubles TANH Double 4.5;
    erf_of_doubles ERF Double 8.0;
    rsqrt_of_doubles RSQRT Double 1.9;
    recip_of_doubles RECIP Double 0.0;
    pow_of_doubles POW Double 8.0;
    rem_of_doubles REM Double 0.0;
}

/// Lanes of a vector are what scalars are, bit for bit, also where some of them take the rare way.
#[test]
fn vectors_give_what_scalars_give() {
    for function in [EXP, EXP2, LOG, LOG2, SIN, COS, TAN, TANH, RSQRT, RECIP, POW, REM] {
        for (kind, lanes) in [(Single, 4), (Single, 2), (Double, 8)] {
            let (x, y) = pairs(kind);
            let some = |v: Vec<u64>| v.into_iter().step_by(13).collect::<Vec<u64>>();
            let (x, y) = (some(x), some(y));
            let [scalars, vectors] = [1, lanes].map(|lanes| evaluate(function, kind, STRICT, lanes, &x, &y));
            assert_eq!(scalars, vectors, "{}", kind.dtype());
        }
    }
}

/// Native f16 is computed in f32 and rounded once: all 65536 of them.
#[test]
fn halves_are_rounded_once() {
    let mut info = plain();
    info.types.insert(DType::F16, TypeSupport::FULL);
    let x: Vec<u64> = (0..1 << 16).collect();
    for op in [UnaryOp::Exp, UnaryOp::Sin, UnaryOp::Tanh, UnaryOp::Log2] {
        let mut b = Builder::new("halves", [2, 1, 1]);
        let (from, to) = (b.buffer("x", DType::F16, Access::Read), b.buffer("y", DType::F16, Access::Write));
        let lane = b.builtin(Builtin::LocalId(0));
        let (end, two) = (b.u32(1 << 16), b.u32(2));
        b.count(lane, end, two, |b, i| {
            let x = b.load(Place::Buffer(from), i);
            let y = b.unary(op, x);
            b.store(Place::Buffer(to), i, y);
        });
        let k = b.finish().expect("built");
        let k = legalize(&k, &Target { info: &info, idx_bits: 32, checked: false }).expect("legal");
        let mut buffers = [x.clone(), vec![0; x.len()]];
        run_on(STRICT, &k, &[DType::F16; 2], [1, 1, 1], 1, &mut buffers, &[]);
        for (x, y) in x.iter().zip(&buffers[1]) {
            let number = half::f16::from_bits(*x as u16).to_f64();
            let want = match op {
                UnaryOp::Exp => number.exp(),
                UnaryOp::Sin => number.sin(),
                UnaryOp::Tanh => number.tanh(),
                _ => number.log2(),
            };
            let got = half::f16::from_bits(*y as u16).to_f64();
            // Half a unit, and what f32 lost before.
            let unit = 2f64.powi((want.abs().max(2f64.powi(-14)).log2().floor() as i32).min(15) - 10);
            let close = (got - want).abs() <= 0.501 * unit || got == want || got.is_nan() && want.is_nan();
            let beyond = got.is_infinite() && got.signum() == want.signum() && want.abs() >= 65520.0;
            assert!(close || beyond, "{op:?} of {number:e}: {got:e}, should be {want:e}");
        }
    }
}

#[test]
fn a_device_that_has_them_keeps_its_own() {
    let k = kernel(SIN, Single, 1, 1);
    assert!(features(&k).contains(&Feature::Math));
    let mut info = plain();
    let has = |info: &anychip_hal::DeviceInfo| {
        let k = legalize(&k, &Target { info, idx_bits: 32, checked: true }).expect("legal");
        let mut found = false;
        visit(&k.body, &mut |i| found |= matches!(i.op, Op::Unary(UnaryOp::Sin, _)));
        found
    };
    assert!(!has(&info));
    info.features.insert(Feature::Math);
    assert!(has(&info));
    // Remainders of integers are nobody's feature.
    let mut b = Builder::new("integers", [1, 1, 1]);
    let x = b.u32(7);
    b.binary(BinaryOp::Rem, x, x);
    assert!(features(&b.finish().expect("built")).is_empty());
}

#[test]
fn doubles_need_wide_integers() {
    let mut info = plain();
    info.types.remove(&DType::U64);
    for function in [EXP, POW, ERF] {
        let k = kernel(function, Double, 1, 1);
        let e = legalize(&k, &Target { info: &info, idx_bits: 32, checked: true }).expect_err("no u64");
        assert!(matches!(&e, Error::Unsupported { what, why } if what.contains("f64") && why.contains("u64")), "{e}");
    }
    legalize(&kernel(RECIP, Double, 1, 1), &Target { info: &info, idx_bits: 32, checked: true }).expect("a division");
    legalize(&kernel(SIN, Single, 1, 1), &Target { info: &info, idx_bits: 32, checked: true }).expect("32 bits");
}
