//! Every operation on every type against host arithmetic over special values, on every vector width, with operands that
//! are lanes and operands that are the same for all.

// Lanes are compared by number, across several lists.
#![allow(clippy::needless_range_loop)]

mod common;

use anychip_cpu::vmath::Level;
use anychip_hal::{
    DType, RawDevice,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Place, UnaryOp},
};
use common::{scalar, *};

/// A function on the host.
type Real = fn(f64) -> f64;

const COMPUTING: [DType; 11] = [
    DType::Bool,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::F32,
    DType::F64,
];

fn specials(d: DType) -> Vec<u64> {
    let mut r = Random(d as u64 + 99);
    match d {
        DType::Bool => vec![0, 1],
        DType::F16 | DType::BF16 => {
            (0..48).map(|_| r.next() & 0xffff).chain([0, 0x8000, 0x7c00, 0x7f80, 0x3c00, 1, 0x3f80, 0xff80]).collect()
        }
        DType::F32 => [
            0.0f32,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1.5,
            2.5,
            -2.5,
            3.0,
            1e-45,
            -1e-40,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            127.5,
            255.0,
            256.0,
            -129.0,
            2147483648.0,
            4294967296.0,
            1e10,
            -1e10,
            9.3e18,
            1.9e19,
            16777217.0,
            0.1,
        ]
        .iter()
        .map(|x| x.to_bits() as u64)
        .collect(),
        DType::F64 => [
            0.0f64,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1.5,
            2.5,
            -2.5,
            3.0,
            5e-324,
            -1e-310,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            127.5,
            255.0,
            256.0,
            -129.0,
            2147483648.0,
            4294967296.0,
            1e10,
            -1e10,
            9.3e18,
            1.9e19,
            16777217.0,
            1e39,
            1e-46,
            65520.0,
            65519.9,
        ]
        .iter()
        .map(|x| x.to_bits())
        .collect(),
        d => {
            let width = 8 * d.size() as u32;
            let top = 1u64 << (width - 1);
            let mask = u64::MAX >> (64 - width);
            [0, 1, 2, 3, 5, 7, 8, 31, 33, 64, 100, top, top - 1, top + 1, u64::MAX, u64::MAX - 1, u64::MAX - 6]
                .into_iter()
                .chain((0..6).map(|_| r.next()))
                .map(|x| x & mask)
                .collect()
        }
    }
}

fn raw(d: DType, of: &[u64]) -> Vec<u8> {
    of.iter().flat_map(|x| x.to_le_bytes()[..d.size()].to_vec()).collect()
}

fn is_nan(d: DType, bits: u64) -> bool {
    match d {
        DType::F32 => f32::from_bits(bits as u32).is_nan(),
        DType::F64 => f64::from_bits(bits).is_nan(),
        DType::F16 => half::f16::from_bits(bits as u16).is_nan(),
        DType::BF16 => half::bf16::from_bits(bits as u16).is_nan(),
        _ => false,
    }
}

fn same(d: DType, a: u64, b: u64) -> bool {
    a == b || is_nan(d, a) && is_nan(d, b)
}

fn is_zero(d: DType, bits: u64) -> bool {
    d.is_float() && bits << (65 - 8 * d.size()) == 0
}

fn devices() -> Vec<std::sync::Arc<dyn RawDevice>> {
    Level::all().map(|l| device(l, 1)).collect()
}

/// All pairs of special values, some of them in every lane.
fn pairs(d: DType) -> (Vec<u64>, Vec<u64>) {
    let s = specials(d);
    s.iter().flat_map(|&a| s.iter().map(move |&b| (a, b))).unzip()
}

fn binary_ops(d: DType) -> Vec<BinaryOp> {
    use BinaryOp::*;
    match d {
        DType::Bool => vec![And, Or, Xor],
        d if d.is_float() => vec![Add, Sub, Mul, Div, Rem, Min, Max],
        _ => vec![Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr],
    }
}

#[test]
fn binary_operations() {
    for d in COMPUTING {
        let (x, y) = pairs(d);
        let n = x.len();
        for op in binary_ops(d) {
            // Lanes with lanes, and the first or the second operand from one element.
            for (one_x, one_y) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut b = Builder::new("binary", [32, 1, 1]);
                let (px, py) = (b.buffer("x", d, Access::Read), b.buffer("y", d, Access::Read));
                let pz = b.buffer("z", d, Access::Write);
                let (at, count) = (b.scalar("at", DType::U32), b.scalar("n", DType::U32));
                let i = b.builtin(Builtin::GlobalId(0));
                let i = b.cast(DType::U32, i);
                let inside = b.compare(CmpOp::Lt, i, count);
                b.when(inside, |b| {
                    let vx = b.load(Place::Buffer(px), if one_x { at } else { i });
                    let vy = b.load(Place::Buffer(py), if one_y { at } else { i });
                    let r = b.binary(op, vx, vy);
                    b.store(Place::Buffer(pz), i, r);
                });
                let k = b.finish().unwrap();
                for dev in devices() {
                    for at in if one_x || one_y { (0..n).step_by(7).collect() } else { vec![0] } {
                        let mut bufs = [raw(d, &x), raw(d, &y), vec![0; n * d.size()]];
                        run(&*dev, &k, [n.div_ceil(32) as u32, 1, 1], &mut bufs, &[at as u64, n as u64]).unwrap();
                        for i in 0..n {
                            let (a, c) = (if one_x { x[at] } else { x[i] }, if one_y { y[at] } else { y[i] });
                            let (got, want) = (bits_at(&bufs[2], i, d), scalar::binary(op, d, a, c));
                            let zeros =
                                matches!(op, BinaryOp::Min | BinaryOp::Max) && is_zero(d, got) && is_zero(d, want);
                            assert!(same(d, got, want) || zeros, "{op:?} {d} {a:#x} {c:#x}: {got:#x}, not {want:#x}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn comparisons_and_select() {
    for d in COMPUTING {
        let (x, y) = pairs(d);
        let n = x.len();
        let ordered = [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge];
        for op in ordered.into_iter().take(if d == DType::Bool { 2 } else { 6 }) {
            assert!(n <= 1024, "one workgroup holds all pairs");
            let mut b = Builder::new("compare", [n as u32, 1, 1]);
            let (px, py) = (b.buffer("x", d, Access::Read), b.buffer("y", d, Access::Read));
            let (pz, ps) = (b.buffer("z", DType::Bool, Access::Write), b.buffer("s", d, Access::Write));
            let i = b.builtin(Builtin::LocalId(0));
            let (vx, vy) = (b.load(Place::Buffer(px), i), b.load(Place::Buffer(py), i));
            let r = b.compare(op, vx, vy);
            b.store(Place::Buffer(pz), i, r);
            let s = b.select(r, vx, vy);
            b.store(Place::Buffer(ps), i, s);
            let k = b.finish().unwrap();
            for dev in devices() {
                let mut bufs = [raw(d, &x), raw(d, &y), vec![9; n], vec![0; n * d.size()]];
                run(&*dev, &k, [1; 3], &mut bufs, &[]).unwrap();
                for i in 0..n {
                    let want = scalar::compare(op, d, x[i], y[i]);
                    assert_eq!(bufs[2][i], want as u8, "{op:?} {d} {:#x} {:#x}", x[i], y[i]);
                    assert_eq!(bits_at(&bufs[3], i, d), if want { x[i] } else { y[i] });
                }
            }
        }
    }
}

fn unary_ops(d: DType) -> Vec<UnaryOp> {
    use UnaryOp::*;
    match d {
        DType::Bool => vec![Not],
        d if d.is_float() => vec![Neg, Abs, Sign, Floor, Ceil, Trunc, Round, Sqrt, Recip, IsNan, IsInf],
        d if d.is_signed() => vec![Neg, Abs, Sign, Not, CountOnes, LeadingZeros, TrailingZeros],
        _ => vec![Neg, Not, CountOnes, LeadingZeros, TrailingZeros],
    }
}

#[test]
fn unary_operations() {
    for d in COMPUTING {
        let x = specials(d);
        let n = x.len();
        for op in unary_ops(d) {
            let to = if matches!(op, UnaryOp::IsNan | UnaryOp::IsInf) { DType::Bool } else { d };
            for uniform in [false, true] {
                let mut b = Builder::new("unary", [n as u32, 1, 1]);
                let (px, pz) = (b.buffer("x", d, Access::Read), b.buffer("z", to, Access::Write));
                let at = b.scalar("at", DType::U32);
                let i = b.builtin(Builtin::LocalId(0));
                let v = b.load(Place::Buffer(px), if uniform { at } else { i });
                let r = b.unary(op, v);
                b.store(Place::Buffer(pz), i, r);
                let k = b.finish().unwrap();
                for dev in devices() {
                    for at in 0..if uniform { n } else { 1 } {
                        let mut bufs = [raw(d, &x), vec![0; n * to.size()]];
                        run(&*dev, &k, [1; 3], &mut bufs, &[at as u64]).unwrap();
                        for i in 0..n {
                            let a = if uniform { x[at] } else { x[i] };
                            let (got, want) = (bits_at(&bufs[1], i, to), scalar::unary(op, d, a));
                            assert!(same(to, got, want), "{op:?} {d} {a:#x}: {got:#x}, not {want:#x}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn conversions_between_all_types() {
    let all = COMPUTING.into_iter().chain([DType::F16, DType::BF16]);
    for from in all.clone() {
        let x = specials(from);
        let n = x.len();
        for to in all.clone().filter(|&t| t != from) {
            let mut b = Builder::new("convert", [n as u32, 1, 1]);
            let (px, pz) = (b.buffer("x", from, Access::Read), b.buffer("z", to, Access::Write));
            let i = b.builtin(Builtin::LocalId(0));
            let v = b.load(Place::Buffer(px), i);
            let r = b.cast(to, v);
            b.store(Place::Buffer(pz), i, r);
            let k = b.finish().unwrap();
            for dev in devices() {
                let mut bufs = [raw(from, &x), vec![0; n * to.size()]];
                run(&*dev, &k, [1; 3], &mut bufs, &[]).unwrap();
                for i in 0..n {
                    let got = bits_at(&bufs[1], i, to);
                    // Without 16-bit arithmetic the language takes these through f32.
                    let small = |d: DType| matches!(d, DType::F16 | DType::BF16);
                    let want = if small(to) && from != DType::F32 {
                        scalar::cast(DType::F32, to, scalar::cast(from, DType::F32, x[i]))
                    } else {
                        scalar::cast(from, to, x[i])
                    };
                    assert!(same(to, got, want), "{from} {:#x} to {to}: {got:#x}, not {want:#x}", x[i]);
                }
            }
        }
    }
}

#[test]
fn all_16_bit_floats_and_the_roundings_into_them() {
    for d in [DType::F16, DType::BF16] {
        let mut b = Builder::new("widen", [256, 1, 1]);
        let (px, pz) = (b.buffer("x", d, Access::Read), b.buffer("z", DType::F32, Access::Write));
        let i = b.builtin(Builtin::GlobalId(0));
        let v = b.load(Place::Buffer(px), i);
        let r = b.cast(DType::F32, v);
        b.store(Place::Buffer(pz), i, r);
        let widen = b.finish().unwrap();
        let mut b = Builder::new("narrow", [256, 1, 1]);
        let (px, pz) = (b.buffer("x", DType::F32, Access::Read), b.buffer("z", d, Access::Write));
        let i = b.builtin(Builtin::GlobalId(0));
        let v = b.load(Place::Buffer(px), i);
        let r = b.cast(d, v);
        b.store(Place::Buffer(pz), i, r);
        let narrow = b.finish().unwrap();
        let every: Vec<u64> = (0..65536).collect();
        // Each 16-bit value's f32 neighbourhood, midpoints included, and arbitrary ones.
        let mut r = Random(5);
        let mut near: Vec<u64> = every
            .iter()
            .flat_map(|&h| {
                let f = scalar::cast(d, DType::F32, h) as u32;
                [0u32, 1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001].map(|o| f.wrapping_add(o) as u64)
            })
            .collect();
        near.extend((0..65536).map(|_| r.next() & 0xffff_ffff));
        for dev in devices() {
            let mut bufs = [raw(d, &every), vec![0; 4 * 65536]];
            run(&*dev, &widen, [256, 1, 1], &mut bufs, &[]).unwrap();
            for &h in &every {
                let (got, want) = (bits_at(&bufs[1], h as usize, DType::F32), scalar::cast(d, DType::F32, h));
                assert!(same(DType::F32, got, want), "{d} {h:#x}: {got:#x}, not {want:#x}");
            }
            let mut bufs = [raw(DType::F32, &near), vec![0; 2 * near.len()]];
            run(&*dev, &narrow, [near.len() as u32 / 256, 1, 1], &mut bufs, &[]).unwrap();
            for (i, &f) in near.iter().enumerate() {
                let x = f32::from_bits(f as u32);
                let want = match d {
                    DType::F16 => half::f16::from_f32(x).to_bits(),
                    _ => half::bf16::from_f32(x).to_bits(),
                } as u64;
                let got = bits_at(&bufs[1], i, d);
                assert!(same(d, got, want), "f32 {f:#x} to {d}: {got:#x}, not {want:#x}");
            }
        }
    }
}

#[test]
fn fma_rounds_once_and_mul_add_once_or_twice() {
    let mut r = Random(17);
    let n = 65536;
    let some = |r: &mut Random| {
        let s = specials(DType::F32);
        let x = r.next();
        match x % 4 {
            0 => s[r.below(s.len())] as u32,
            // Close exponents, so that products and sums meet.
            1 => (x >> 32) as u32 & 0x80ff_ffff | 0x3f00_0000,
            2 => 0x3f80_0000 | (x >> 40) as u32 & 0xfff,
            _ => (x >> 32) as u32,
        }
    };
    let x: Vec<[u32; 3]> = (0..n).map(|_| [some(&mut r), some(&mut r), some(&mut r)]).collect();
    let col = |c: usize| bytes(&x.iter().map(|t| t[c]).collect::<Vec<_>>());
    for fused in [true, false] {
        let mut b = Builder::new("fma", [64, 1, 1]);
        let p = ["a", "b", "c"].map(|n| b.buffer(n, DType::F32, Access::Read));
        let z = b.buffer("z", DType::F32, Access::Write);
        let i = b.builtin(Builtin::GlobalId(0));
        let [x0, x1, x2] = p.map(|p| b.load(Place::Buffer(p), i));
        let v = if fused { b.fma(x0, x1, x2) } else { b.mul_add(x0, x1, x2) };
        b.store(Place::Buffer(z), i, v);
        let k = b.finish().unwrap();
        for dev in devices() {
            let mut bufs = [col(0), col(1), col(2), vec![0; 4 * n]];
            run(&*dev, &k, [n as u32 / 64, 1, 1], &mut bufs, &[]).unwrap();
            for (i, t) in x.iter().enumerate() {
                let [a, b, c] = t.map(f32::from_bits);
                let got = bits_at(&bufs[3], i, DType::F32);
                let (once, twice) = (a.mul_add(b, c).to_bits() as u64, (a * b + c).to_bits() as u64);
                let right = same(DType::F32, got, once) || !fused && same(DType::F32, got, twice);
                assert!(right, "{a:e} * {b:e} + {c:e}: {got:#x}, not {once:#x}");
            }
        }
    }
}

#[test]
fn functions_of_reals_are_close_and_pow_and_dot_products_right() {
    use UnaryOp::*;
    let host: [(UnaryOp, Real); 9] = [
        (Exp, f64::exp),
        (Exp2, f64::exp2),
        (Log, f64::ln),
        (Log2, f64::log2),
        (Sin, f64::sin),
        (Cos, f64::cos),
        (Tan, f64::tan),
        (Tanh, f64::tanh),
        (Rsqrt, |x| 1.0 / x.sqrt()),
    ];
    let n = 512;
    let x: Vec<f64> = (0..n).map(|i| (i as f32 * 0.037 - 9.0) as f64).collect();
    for (op, f) in host {
        for d in [DType::F32, DType::F64] {
            let mut b = Builder::new("function", [64, 1, 1]);
            let (px, pz) = (b.buffer("x", d, Access::Read), b.buffer("z", d, Access::Write));
            let i = b.builtin(Builtin::GlobalId(0));
            let v = b.load(Place::Buffer(px), i);
            let r = b.unary(op, v);
            b.store(Place::Buffer(pz), i, r);
            let k = b.finish().unwrap();
            for dev in devices() {
                let xs: Vec<u64> = x
                    .iter()
                    .map(|&x| if d == DType::F32 { (x as f32).to_bits() as u64 } else { x.to_bits() })
                    .collect();
                let mut bufs = [raw(d, &xs), vec![0; n * d.size()]];
                run(&*dev, &k, [n as u32 / 64, 1, 1], &mut bufs, &[]).unwrap();
                for i in 0..n {
                    let got = bits_at(&bufs[1], i, d);
                    let (got, ulp) = match d {
                        DType::F32 => (f32::from_bits(got as u32) as f64, f32::EPSILON as f64),
                        _ => (f64::from_bits(got), f64::EPSILON),
                    };
                    let want = f(x[i]);
                    let right = got.is_nan() && want.is_nan() || (got - want).abs() <= 3.0 * ulp * want.abs();
                    assert!(right, "{op:?} {d} of {}: {got}, not {want}", x[i]);
                }
            }
        }
    }
    let mut b = Builder::new("dots", [64, 1, 1]);
    let (pa, pb) = (b.buffer("a", DType::U32, Access::Read), b.buffer("b", DType::U32, Access::Read));
    let pz = b.buffer("z", DType::I32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let (va, vb) = (b.load(Place::Buffer(pa), i), b.load(Place::Buffer(pb), i));
    let acc = b.integer(DType::I32, -5);
    let dot = anychip_hal::ir::Op::Dot4 { a: va, b: vb, acc, a_signed: true, b_signed: false };
    let v = b.define(DType::I32.into(), dot);
    b.store(Place::Buffer(pz), i, v);
    let k = b.finish().unwrap();
    let mut r = Random(3);
    let (a, c): (Vec<u32>, Vec<u32>) = (0..256).map(|_| (r.next() as u32, r.next() as u32)).unzip();
    for dev in devices() {
        let mut bufs = [bytes(&a), bytes(&c), vec![0; 1024]];
        run(&*dev, &k, [4, 1, 1], &mut bufs, &[]).unwrap();
        for (i, got) in elements::<i32>(&bufs[2]).into_iter().enumerate() {
            let (x, y) = (a[i].to_le_bytes(), c[i].to_le_bytes());
            let want: i32 = -5 + (0..4).map(|j| x[j] as i8 as i32 * y[j] as i32).sum::<i32>();
            assert_eq!(got, want);
        }
    }
}
