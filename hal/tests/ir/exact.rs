//! Exact numerics: what the legaliser leaves has one result, whatever a machine makes of divisions, roots and products with sums.

use crate::{
    legal::{legal, plain},
    reference::{Machine, run_on},
};
use anychip_hal::{
    DType, DeviceInfo,
    info::{Arithmetic, Numerics},
    ir::{build::Builder, *},
};
use std::collections::BTreeMap;

const RIGHT: Machine = Machine { fused: false, flush: false, contracts: false, sloppy: 0, sloppy_doubles: false };

/// A machine that divides and roots so many units off, and rounds sums of products once.
fn sloppy(units: u32) -> Machine {
    Machine { fused: true, sloppy: units, sloppy_doubles: true, ..RIGHT }
}

/// A device that declares all but quotients and roots to be right.
fn device(ulp: f32) -> DeviceInfo {
    let facts = Arithmetic { div_ulp: ulp, sqrt_ulp: ulp, ..Arithmetic::IEEE };
    let arithmetic = BTreeMap::from([(DType::F32, facts.clone()), (DType::F64, facts)]);
    DeviceInfo { numerics: Numerics::Exact, arithmetic, ..plain() }
}

/// A kernel of two operands and one result, by vectors of `lanes`.
fn kernel(ty: DType, lanes: u8, build: impl Fn(&mut Builder, Value, Value) -> Value) -> Kernel {
    let mut b = Builder::new("exact", [32, 1, 1]);
    let (x, y) = (b.buffer("x", ty, Access::Read), b.buffer("y", ty, Access::Read));
    let out = b.buffer("out", ty, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let n = b.idx(lanes as u64);
    let at = b.mul(i, n);
    let v = [x, y].map(|p| b.load_vec(Place::Buffer(p), at, lanes));
    let z = build(&mut b, v[0], v[1]);
    b.store(Place::Buffer(out), at, z);
    b.finish().unwrap()
}

fn compute(k: &Kernel, info: &DeviceInfo, machine: Machine, ty: DType, x: &[u64], y: &[u64]) -> Vec<u64> {
    let k = legal(k, info, 32, true);
    let mut buffers = [x.to_vec(), y.to_vec(), vec![0; x.len()]];
    let groups = x.len().div_ceil(32) as u32;
    run_on(machine, &k, &[ty; 3], [groups, 1, 1], groups as u64, &mut buffers, &[]);
    buffers[2].clone()
}

/// Every edge with every edge, and bits that have no pattern.
fn operands(ty: DType) -> (Vec<u64>, Vec<u64>) {
    let double = ty == DType::F64;
    let bits = |x: f64| if double { x.to_bits() } else { u64::from((x as f32).to_bits()) };
    let (tiny, top) = if double { (1u64, bits(f64::MAX)) } else { (1, bits(f64::from(f32::MAX))) };
    let digits = if double { 52 } else { 23 };
    let mut edges = vec![tiny, 3, (1 << digits) - 1, 1 << digits, (1 << digits) + 1, top, top - 1];
    let numbers = [0.0, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 7.0, 10.0, 1e-30, 1e30, f64::INFINITY, f64::NAN];
    edges.extend(numbers.map(bits));
    edges.extend([bits(1.0) - 1, bits(1.0) + 1, bits(2.0) - 1]);
    let signs: Vec<u64> = edges.iter().flat_map(|e| [*e, *e | bits(-0.0)]).collect();
    let (mut x, mut y) = (vec![], vec![]);
    for a in &signs {
        for b in &signs {
            x.push(*a);
            y.push(*b);
        }
    }
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = state ^ state >> 29;
        if double { high.wrapping_mul(0x9e37_79b9_7f4a_7c15) } else { high.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 }
    };
    for n in 0..1500u64 {
        let a = random();
        // Every third quotient near 1, every third among the subnormal numbers.
        let b = match n % 3 {
            0 => a ^ (random() & ((1 << digits) - 1)),
            1 => random(),
            _ => (random() & ((1 << digits) - 1)) | bits(if double { 1e300 } else { 1e37 }),
        };
        x.push(a);
        y.push(b);
    }
    while x.len() % 128 != 0 {
        x.push(bits(1.0));
        y.push(bits(3.0));
    }
    (x, y)
}

fn number(ty: DType, bits: u64) -> f64 {
    if ty == DType::F64 { f64::from_bits(bits) } else { f64::from(f32::from_bits(bits as u32)) }
}

fn round(ty: DType, x: f64) -> u64 {
    // A quotient and a root of floats that is rounded to double first is rounded to float as if it were not.
    if ty == DType::F64 { x.to_bits() } else { u64::from((x as f32).to_bits()) }
}

fn check(what: &str, ty: DType, (x, y): (&[u64], &[u64]), got: &[u64], truth: impl Fn(f64, f64) -> f64) {
    for ((x, y), got) in x.iter().zip(y).zip(got) {
        let (x, y) = (number(ty, *x), number(ty, *y));
        let want = round(ty, truth(x, y));
        let both_nan = number(ty, *got).is_nan() && number(ty, want).is_nan();
        assert!(both_nan || *got == want, "{what} of {ty}, {x:e} and {y:e}: {got:#x} instead of {want:#x}");
    }
}

#[test]
fn quotients_and_roots_are_right_on_careless_machines() {
    for ty in [DType::F32, DType::F64] {
        let (x, y) = operands(ty);
        for lanes in [1, 4] {
            let div = kernel(ty, lanes, |b, x, y| b.binary(BinaryOp::Div, x, y));
            let sqrt = kernel(ty, lanes, |b, x, _| b.unary(UnaryOp::Sqrt, x));
            for units in [1, 6] {
                let got = compute(&div, &device(7.0), sloppy(units), ty, &x, &y);
                check("x / y", ty, (&x, &y), &got, |x, y| x / y);
                let got = compute(&sqrt, &device(7.0), sloppy(units), ty, &x, &y);
                check("√x", ty, (&x, &y), &got, |x, _| x.sqrt());
            }
        }
    }
}

#[test]
fn products_with_sums_round_twice_and_zeros_have_a_sign() {
    for ty in [DType::F32, DType::F64] {
        let (x, y) = operands(ty);
        let k = kernel(ty, 1, |b, x, y| b.mul_add(x, y, x));
        let got = compute(&k, &device(0.5), sloppy(0), ty, &x, &y);
        let twice = |x: f64, y: f64| number(ty, round(ty, x * y)) + x;
        check("x·y + x", ty, (&x, &y), &got, twice);
        for (op, truth) in [
            (BinaryOp::Min, (|x, y| if x < y || x.is_nan() { x } else { y }) as fn(f64, f64) -> f64),
            (BinaryOp::Max, |x, y| if x > y || x.is_nan() { x } else { y }),
        ] {
            let k = kernel(ty, 1, |b, x, y| b.binary(op, x, y));
            check("min or max", ty, (&x, &y), &compute(&k, &device(0.5), RIGHT, ty, &x, &y), truth);
        }
        for (op, truth) in [
            (UnaryOp::Floor, f64::floor as fn(f64) -> f64),
            (UnaryOp::Ceil, f64::ceil),
            (UnaryOp::Trunc, f64::trunc),
            (UnaryOp::Round, f64::round_ties_even),
        ] {
            let k = kernel(ty, 1, |b, x, _| b.unary(op, x));
            check("whole", ty, (&x, &y), &compute(&k, &device(0.5), RIGHT, ty, &x, &y), |x, _| truth(x));
        }
    }
}

#[test]
fn functions_do_not_depend_on_what_a_machine_divides_and_fuses() {
    use UnaryOp::*;
    for ty in [DType::F32, DType::F64] {
        let (x, y) = operands(ty);
        let both = |what: String, k: &Kernel| {
            // NaNs are equal, whatever their bits.
            let of = |info, machine| -> Vec<u64> {
                let bits = compute(k, &info, machine, ty, &x, &y).into_iter();
                bits.map(|b| if number(ty, b).is_nan() { u64::MAX } else { b }).collect()
            };
            let (want, got) = (of(device(0.5), RIGHT), of(device(7.0), sloppy(3)));
            let wrong = got.iter().zip(&want).position(|(g, w)| g != w);
            assert!(wrong.is_none(), "{what} of {ty}: {wrong:?}");
        };
        for f in [Exp, Exp2, Log, Log2, Sin, Cos, Tan, Tanh, Rsqrt, Recip, Erf] {
            both(format!("{f:?}"), &kernel(ty, 1, |b, x, _| b.unary(f, x)));
        }
        for f in [BinaryOp::Pow, BinaryOp::Rem] {
            both(format!("{f:?}"), &kernel(ty, 1, |b, x, y| b.binary(f, x, y)));
        }
    }
}
