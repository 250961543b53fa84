//! Every operation on every type and on special values, against the host's arithmetic: exact where the language says
//! what comes out, within the bounds of functions (`common::allowed`).

mod numbers;

use crate::common::*;
use anychip_hal::{
    DType, Device,
    info::{Feature, Subnormals},
    ir::*,
};
use numbers::*;

const INTS: [DType; 8] = [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64];

/// A way to the result from the operands, in the kernel.
type Build = Box<dyn Fn(&mut Builder, Value, Value) -> Value>;

/// Bits of results, by row.
type Rows = Vec<Vec<u64>>;

/// Runs rows of operations on (a, b): `same` give the operands' type, `bools` give bool. Results by row.
fn table(device: &Device, d: DType, lanes: u8, same: &[Build], bools: &[Build]) -> Option<(Rows, Rows)> {
    let (a, b) = pairs(d);
    let n = a.len();
    let mut k = Builder::new(&format!("rows_{d}x{lanes}"), [16, 1, 1]);
    let (pa, pb) = (k.buffer("a", d, Access::Read), k.buffer("b", d, Access::Read));
    let (ps, pq) = (k.buffer("same", d, Access::Write), k.buffer("bools", DType::Bool, Access::Write));
    let i = k.builtin(Builtin::GlobalId(0));
    let (step, count) = (k.idx(lanes as u64), k.idx(n as u64));
    let at = k.mul(i, step);
    let inside = k.compare(CmpOp::Lt, at, count);
    k.begin_if(inside);
    let (x, y) = (k.load_vec(Place::Buffer(pa), at, lanes), k.load_vec(Place::Buffer(pb), at, lanes));
    for (rows, place) in [(same, ps), (bools, pq)] {
        for (row, build) in rows.iter().enumerate() {
            let r = build(&mut k, x, y);
            let base = k.idx((row * n) as u64);
            let to = k.add(base, at);
            k.store(Place::Buffer(place), to, r);
        }
    }
    k.end_if();
    let k = k.finish().expect("a well-formed kernel");
    let mut buffers =
        [put(d, &a), put(d, &b), vec![0xcd; d.size() * n * same.len().max(1)], vec![0xcd; n * bools.len().max(1)]];
    run_or_skip(device, &k, (n / lanes as usize) as u64, &mut buffers, &[d])?;
    let rows = |bytes: Vec<u64>| bytes.chunks(n).map(<[u64]>::to_vec).collect();
    Some((rows(get(d, &buffers[2])), rows(get(DType::Bool, &buffers[3]))))
}

fn binary(op: BinaryOp) -> Build {
    Box::new(move |k, a, b| k.binary(op, a, b))
}

fn unary(op: UnaryOp) -> Build {
    Box::new(move |k, a, _| k.unary(op, a))
}

const COMPARE: [CmpOp; 6] = [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge];

fn compare<T: PartialOrd>(op: CmpOp, a: T, b: T) -> bool {
    match op {
        CmpOp::Eq => a == b,
        CmpOp::Ne => a != b,
        CmpOp::Lt => a < b,
        CmpOp::Le => a <= b,
        CmpOp::Gt => a > b,
        CmpOp::Ge => a >= b,
    }
}

/// Comparisons, then their combinations as bools.
fn bools() -> Vec<Build> {
    let mut rows: Vec<Build> =
        COMPARE.iter().map(|op| Box::new(move |k: &mut Builder, a, b| k.compare(*op, a, b)) as Build).collect();
    for op in [BinaryOp::And, BinaryOp::Or, BinaryOp::Xor] {
        rows.push(Box::new(move |k, a, b| {
            let (p, q) = (k.compare(CmpOp::Lt, a, b), k.compare(CmpOp::Ne, a, b));
            let q = k.unary(UnaryOp::Not, q);
            k.binary(op, p, q)
        }));
    }
    rows
}

fn check_bools<T: PartialOrd + Copy>(what: &str, a: &[T], b: &[T], rows: &[Vec<u64>]) {
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        for (op, row) in COMPARE.iter().zip(rows) {
            assert_eq!(row[i], compare(*op, *x, *y) as u64, "{what}: {op:?} of pair {i}");
        }
        let (p, q) = (x < y, !(x != y));
        for (want, row) in [p & q, p | q, p ^ q].iter().zip(&rows[6..]) {
            assert_eq!(row[i], *want as u64, "{what}: logic of pair {i}");
        }
    }
}

/// Rows that every type has: choosing, and taking vectors apart.
fn structure() -> Vec<Build> {
    vec![
        Box::new(|k, a, b| {
            let c = k.compare(CmpOp::Lt, a, b);
            k.select(c, a, b)
        }),
        Box::new(|k, a, b| {
            let (x, y) = (k.extract(a, 0), k.extract(b, 0));
            let c = k.compare(CmpOp::Lt, x, y);
            k.select(c, a, b)
        }),
        Box::new(|k, a, _| {
            let lanes = k.ty(a).lanes();
            let parts: Vec<_> = (0..lanes).rev().map(|l| k.extract(a, l)).collect();
            k.vector(&parts)
        }),
        Box::new(|k, a, _| {
            let lanes = k.ty(a).lanes();
            let last = k.extract(a, lanes - 1);
            k.splat(last, lanes)
        }),
    ]
}

fn check_structure<T: PartialOrd + Copy>(what: &str, lanes: usize, n: &[(T, u64)], m: &[(T, u64)], rows: &[Vec<u64>]) {
    for i in 0..n.len() {
        let first = i / lanes * lanes;
        let want = [
            if n[i].0 < m[i].0 { n[i].1 } else { m[i].1 },
            if n[first].0 < m[first].0 { n[i].1 } else { m[i].1 },
            n[first + lanes - 1 - i % lanes].1,
            n[first + lanes - 1].1,
        ];
        for (row, want) in rows.iter().zip(want) {
            assert_eq!(row[i], want, "{what}: structure of pair {i}");
        }
    }
}

#[test]
fn integers() {
    use BinaryOp::*;
    for device in devices("integers") {
        for (d, lanes) in INTS.iter().flat_map(|d| [(*d, 1u8), (*d, if d.size() == 1 { 8 } else { 4 })]) {
            let what = format!("{} {d}x{lanes}", device.info().id);
            let ops = [Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr];
            let singles = [
                UnaryOp::Neg,
                UnaryOp::Abs,
                UnaryOp::Sign,
                UnaryOp::Not,
                UnaryOp::CountOnes,
                UnaryOp::LeadingZeros,
                UnaryOp::TrailingZeros,
            ];
            let mut same: Vec<Build> = ops.iter().map(|op| binary(*op)).collect();
            same.extend(singles.iter().map(|op| unary(*op)));
            same.push(Box::new(|k, a, b| k.mul_add(a, b, a)));
            let fixed = same.len();
            same.extend(structure());
            let Some((rows, logic)) = table(&device, d, lanes, &same, &bools()) else { continue };
            let (a, b) = pairs(d);
            let w = width(d) as i128;
            for (i, (x, y)) in a.iter().zip(&b).enumerate() {
                let (p, q) = (int(d, *x), int(d, *y));
                let s = q.rem_euclid(w);
                let want = [
                    p + q,
                    p - q,
                    p.wrapping_mul(q),
                    if q == 0 { 0 } else { p / q },
                    if q == 0 { 0 } else { p % q },
                    p.min(q),
                    p.max(q),
                    p & q,
                    p | q,
                    p ^ q,
                    p << s,
                    p >> s,
                    -p,
                    p.abs(),
                    p.signum(),
                    !p,
                    x.count_ones() as i128,
                    w - (64 - x.leading_zeros() as i128),
                    (x.trailing_zeros() as i128).min(w),
                    p.wrapping_mul(q).wrapping_add(p),
                ];
                assert_eq!(want.len(), fixed);
                for (r, want) in want.iter().enumerate() {
                    assert_eq!(rows[r][i], *want as u64 & mask(d), "{what}: row {r} of {p}, {q}");
                }
            }
            let numbers = |v: &[u64]| v.iter().map(|x| int(d, *x)).collect::<Vec<_>>();
            check_bools(&what, &numbers(&a), &numbers(&b), &logic);
            let both = |v: &[u64]| v.iter().map(|x| (int(d, *x), *x)).collect::<Vec<_>>();
            check_structure(&what, lanes as usize, &both(&a), &both(&b), &rows[fixed..]);
        }
    }
}

/// Distance in units of the last place of `want`, which is exact or a double's rounding of it.
fn ulps(d: DType, got: u64, want: f64) -> f64 {
    let (got, tiny, digits, max) = match d {
        DType::F32 => (f32::from_bits(got as u32) as f64, f32::MIN_POSITIVE as f64, 23, f32::MAX as f64),
        _ => (f64::from_bits(got), f64::MIN_POSITIVE, 52, f64::MAX),
    };
    if got == want || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    // What rounds to infinity may be infinite.
    if got.is_infinite() && want.abs() > max * (1.0 - 1e-7) && got.signum() == want.signum() {
        return 0.0;
    }
    if !got.is_finite() || !want.is_finite() {
        return f64::INFINITY;
    }
    // Halved, because powi inverts a power that may be infinite.
    let exponent = want.abs().max(tiny).log2().floor() as i32 - digits;
    let unit = 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
    (got - want).abs() / unit
}

/// A function of one number on the host.
type Function = fn(f64) -> f64;

/// The error function by its series; for |x| ≤ 3.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 || x.is_nan() {
        return x.signum() * if x.is_nan() { f64::NAN } else { 1.0 };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn floats() {
    use BinaryOp::*;
    for device in devices("floats") {
        for (d, lanes) in [(DType::F32, 1u8), (DType::F32, 2), (DType::F32, 8), (DType::F64, 1), (DType::F64, 4)] {
            if !device.info().support(d).arithmetic {
                println!("SKIPPED: floats: {} has no {d}", device.info().id);
                continue;
            }
            let facts = device.info().arithmetic[&d].clone();
            let what = format!("{} {d}x{lanes}", device.info().id);
            let single = d == DType::F32;
            let value = move |x: u64| if single { f32::from_bits(x as u32) as f64 } else { f64::from_bits(x) };
            let exact: Vec<(UnaryOp, Function)> = vec![
                (UnaryOp::Neg, |x| -x),
                (UnaryOp::Abs, f64::abs),
                (UnaryOp::Sign, |x| {
                    if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        -1.0
                    } else {
                        x
                    }
                }),
                (UnaryOp::Floor, f64::floor),
                (UnaryOp::Ceil, f64::ceil),
                (UnaryOp::Trunc, f64::trunc),
                (UnaryOp::Round, f64::round_ties_even),
            ];
            let bounded: Vec<(UnaryOp, Function)> = vec![
                (UnaryOp::Sqrt, f64::sqrt),
                (UnaryOp::Rsqrt, |x| 1.0 / x.sqrt()),
                (UnaryOp::Recip, |x| 1.0 / x),
                (UnaryOp::Exp, f64::exp),
                (UnaryOp::Exp2, f64::exp2),
                (UnaryOp::Log, f64::ln),
                (UnaryOp::Log2, f64::log2),
                (UnaryOp::Sin, f64::sin),
                (UnaryOp::Cos, f64::cos),
                (UnaryOp::Tan, f64::tan),
                (UnaryOp::Tanh, f64::tanh),
                (UnaryOp::Erf, erf),
            ];
            let mut same: Vec<Build> = [Add, Sub, Mul, Min, Max, Div, Rem, Pow].map(binary).into();
            same.extend(exact.iter().map(|r| unary(r.0)));
            same.extend(bounded.iter().map(|r| unary(r.0)));
            same.push(Box::new(|k, a, b| k.mul_add(a, b, a)));
            let has_fma = device.info().has(Feature::Fma);
            if has_fma {
                same.push(Box::new(|k, a, b| k.fma(a, b, a)));
            }
            let fixed = same.len();
            same.extend(structure());
            let mut logic_rows = bools();
            logic_rows.push(unary(UnaryOp::IsNan));
            logic_rows.push(unary(UnaryOp::IsInf));
            let Some((rows, logic)) = table(&device, d, lanes, &same, &logic_rows) else { continue };
            let (a, b) = pairs(d);
            let tiny = if single { f32::MIN_POSITIVE as f64 } else { f64::MIN_POSITIVE };
            let kept = facts.subnormals == Subnormals::Kept;
            let sub = |x: f64| x != 0.0 && x.abs() < tiny;
            for (i, (x, y)) in a.iter().zip(&b).enumerate() {
                let (p, q) = (value(*x), value(*y));
                if !kept && (sub(p) || sub(q)) {
                    continue;
                }
                let check = |row: usize, name: &str, want: f64, bound: f64| {
                    if !kept && sub(want) || !(facts.nan_inf || p.is_finite() && q.is_finite() && want.is_finite()) {
                        return;
                    }
                    let off = ulps(d, rows[row][i], want);
                    assert!(
                        off <= bound,
                        "{what}: {name}({p:e}, {q:e}) = {:e}, want {want:e}, {off} ULP off, {bound} allowed",
                        value(rows[row][i])
                    );
                };
                // Sums and products of f32 are exact in f64 or rounded so that rounding again gives the same.
                let round = |z: f64| if single { z as f32 as f64 } else { z };
                check(0, "add", round(p + q), 0.0);
                check(1, "sub", round(p - q), 0.0);
                check(2, "mul", round(p * q), 0.0);
                let nan = p.is_nan() || q.is_nan();
                check(3, "min", if nan { f64::NAN } else { p.min(q) }, 0.0);
                check(4, "max", if nan { f64::NAN } else { p.max(q) }, 0.0);
                check(5, "div", p / q, facts.div_ulp as f64);
                check(6, "rem", p % q, 0.0);
                check(7, "pow", p.powf(q), 16.0);
                for (r, (op, f)) in exact.iter().enumerate() {
                    check(8 + r, &format!("{op:?}"), f(p), 0.0);
                    if matches!(op, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Round | UnaryOp::Ceil) && !p.is_nan() {
                        assert_eq!(
                            value(rows[8 + r][i]).is_sign_negative(),
                            f(p).is_sign_negative(),
                            "{what}: sign of {op:?}({p:e})"
                        );
                    }
                }
                for (r, (op, f)) in bounded.iter().enumerate() {
                    // The series is good below 3 for f32; doubles need an oracle as good as themselves.
                    let outside = matches!(op, UnaryOp::Erf) && (3.0..=6.0).contains(&p.abs())
                        || matches!(op, UnaryOp::Erf) && !single && p.abs() > 1.0;
                    if !outside {
                        let bound = allowed(*op, &facts);
                        // The host's own functions are within 1 ULP in f64.
                        check(8 + exact.len() + r, &format!("{op:?}"), f(p), bound + if single { 0.01 } else { 1.0 });
                    }
                }
                let at = 8 + exact.len() + bounded.len();
                let (once, twice) = if single {
                    ((p as f32).mul_add(q as f32, p as f32) as f64, ((p as f32 * q as f32) + p as f32) as f64)
                } else {
                    (p.mul_add(q, p), p * q + p)
                };
                let got = rows[at][i];
                assert!(
                    ulps(d, got, once) == 0.0
                        || ulps(d, got, twice) == 0.0
                        || !kept && (sub(once) || sub(twice) || sub(p * q)),
                    "{what}: {p:e} * {q:e} + {p:e} = {:e}, want {once:e} or {twice:e}",
                    value(got)
                );
                if has_fma {
                    check(at + 1, "fma", once, 0.0);
                }
                assert_eq!(logic[9][i], p.is_nan() as u64, "{what}: is_nan({p})");
                assert_eq!(logic[10][i], p.is_infinite() as u64, "{what}: is_inf({p})");
            }
            if kept {
                let numbers = |v: &[u64]| v.iter().map(|x| value(*x)).collect::<Vec<_>>();
                check_bools(&what, &numbers(&a), &numbers(&b), &logic);
                let both = |v: &[u64]| v.iter().map(|x| (value(*x), *x)).collect::<Vec<_>>();
                check_structure(&what, lanes as usize, &both(&a), &both(&b), &rows[fixed..]);
            }
        }
    }
}

/// A double as f16, rounded once: first to f32 with the last bit set when anything is lost, which keeps ties apart.
fn half_once(x: f64) -> half::f16 {
    let near = x as f32;
    if near as f64 == x || x.is_nan() {
        return half::f16::from_f32(near);
    }
    let cut = if (near as f64).abs() > x.abs() { near.to_bits() - 1 } else { near.to_bits() };
    half::f16::from_f32(f32::from_bits(cut | 1))
}

/// A conversion by the rules of the language. Without `half`, arithmetic on f16, conversions to it go through f32.
fn convert(from: DType, to: DType, bits: u64, half: bool) -> u64 {
    let float = |bits: u64| match from {
        DType::F16 => half::f16::from_bits(bits as u16).to_f64(),
        DType::F32 => f32::from_bits(bits as u32) as f64,
        _ => f64::from_bits(bits),
    };
    if to == DType::Bool {
        return if from.is_float() { float(bits) != 0.0 } else { bits != 0 } as u64;
    }
    if !from.is_float() {
        let x = if from == DType::Bool { bits as i128 } else { int(from, bits) };
        return match to {
            DType::F16 => half::f16::from_f32(x as f32).to_bits() as u64,
            DType::F32 => (x as f32).to_bits() as u64,
            DType::F64 => (x as f64).to_bits(),
            _ => x as u64 & mask(to),
        };
    }
    let x = float(bits);
    match to {
        DType::F16 if half => half_once(x).to_bits() as u64,
        DType::F16 => half::f16::from_f32(x as f32).to_bits() as u64,
        DType::F32 => (x as f32).to_bits() as u64,
        DType::F64 => x.to_bits(),
        _ => {
            let (low, high) = if to.is_signed() {
                (-(1i128 << (width(to) - 1)), (1i128 << (width(to) - 1)) - 1)
            } else {
                (0, mask(to) as i128)
            };
            if x.is_nan() { 0 } else { (x as i128).clamp(low, high) as u64 & mask(to) }
        }
    }
}

#[test]
fn casts() {
    for device in devices("casts") {
        let all: Vec<DType> = [DType::Bool, DType::F16, DType::F32, DType::F64]
            .into_iter()
            .chain(INTS)
            .filter(|d| *d != DType::F64 || device.info().types.contains_key(d))
            .collect();
        // As many results as the device binds buffers, beside the operand.
        let parts: Vec<_> = all.chunks(device.info().limits.max_bindings as usize - 1).collect();
        let cases = all.iter().flat_map(|d| [(*d, 1u8), (*d, 4)]);
        for ((from, lanes), targets) in cases.flat_map(|c| parts.iter().map(move |p| (c, *p))) {
            let what = format!("{} {from}x{lanes}", device.info().id);
            let mut values = specials(from);
            while !values.len().is_multiple_of(8) {
                values.push(values[1]);
            }
            let mut k = Builder::new(&format!("casts_{from}x{lanes}"), [8, 1, 1]);
            let input = k.buffer("input", from, Access::Read);
            let outs: Vec<_> = targets.iter().map(|d| k.buffer(&format!("to_{d}"), *d, Access::Write)).collect();
            let i = k.builtin(Builtin::GlobalId(0));
            let step = k.idx(lanes as u64);
            let at = k.mul(i, step);
            let x = k.load_vec(Place::Buffer(input), at, lanes);
            for (d, out) in targets.iter().zip(&outs) {
                let y = k.cast(*d, x);
                k.store(Place::Buffer(*out), at, y);
            }
            let k = k.finish().expect("well-formed");
            let mut buffers = vec![put(from, &values)];
            buffers.extend(targets.iter().map(|d| vec![0xcd; d.size() * values.len()]));
            run(&device, &k, (values.len() / lanes as usize) as u64, &mut buffers, &[])
                .unwrap_or_else(|e| panic!("{what}: {e}"));
            let kept = device.info().arithmetic[&DType::F32].subnormals == Subnormals::Kept;
            for (to, bytes) in targets.iter().zip(&buffers[1..]) {
                for (x, got) in values.iter().zip(get(*to, bytes)) {
                    let half = device.info().support(DType::F16).arithmetic;
                    let want = convert(from, *to, *x, half);
                    let nan = |b: u64| match to {
                        DType::F16 => half::f16::from_bits(b as u16).is_nan(),
                        DType::F32 => f32::from_bits(b as u32).is_nan(),
                        DType::F64 => f64::from_bits(b).is_nan(),
                        _ => false,
                    };
                    // A subnormal of either type may be flushed where the device does not promise to keep it.
                    let tiny = |d: DType, b: u64| match d {
                        DType::F32 => f32::from_bits(b as u32).is_subnormal(),
                        DType::F16 => half::f16::from_bits(b as u16).to_f32().abs() < 6.2e-5,
                        _ => false,
                    };
                    if nan(want) && nan(got) || !kept && (tiny(from, *x) || tiny(*to, want)) {
                        continue;
                    }
                    assert_eq!(got, want, "{what} to {to}: bits {x:#x} give {got:#x}, want {want:#x}");
                }
            }
        }
    }
}

#[test]
fn bits_stay() {
    for device in devices("bits_stay") {
        for (from, to) in [
            (DType::F32, DType::U32),
            (DType::I32, DType::F32),
            (DType::I64, DType::U64),
            (DType::I8, DType::U8),
            (DType::F64, DType::I64),
            (DType::F16, DType::U16),
            (DType::I16, DType::F16),
        ] {
            if [from, to].contains(&DType::F64) && !device.info().types.contains_key(&DType::F64) {
                println!("SKIPPED: bits_stay: {} has no {from} or no {to}", device.info().id);
                continue;
            }
            let values = specials(from);
            for lanes in [1u8, 2] {
                let mut k = Builder::new(&format!("bits_{from}_{to}x{lanes}"), [4, 1, 1]);
                let (a, c) = (k.buffer("a", from, Access::Read), k.buffer("c", to, Access::Write));
                let i = k.builtin(Builtin::GlobalId(0));
                let step = k.idx(lanes as u64);
                let at = k.mul(i, step);
                let x = k.load_vec(Place::Buffer(a), at, lanes);
                let y = k.bitcast(to, x);
                k.store(Place::Buffer(c), at, y);
                let k = k.finish().expect("well-formed");
                let mut buffers = [put(from, &values), vec![0; values.len() * to.size()]];
                run(&device, &k, (values.len() / lanes as usize) as u64, &mut buffers, &[])
                    .unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
                for (x, got) in values.iter().zip(get(to, &buffers[1])) {
                    // A NaN of f16 passes through f32 where f16 does not compute: its payload may change.
                    let nan = (from == DType::F16 || to == DType::F16) && half::f16::from_bits(*x as u16).is_nan();
                    assert!(got == *x || nan, "{}: {from} to {to}: {x:#x} became {got:#x}", device.info().id);
                }
            }
        }
    }
}
