//! Products of fragments by the chip's own instructions, beside the legaliser's lowering and numbers of the host, on every CUDA device.

mod common;
#[path = "common/products.rs"]
mod products;

use anychip_hal::{
    DType, Device,
    device::{Checks, Grid, Step},
    info::{Feature, FragmentShape},
    ir::*,
};
use products::{From, maps, matrix, number, product};

const LAYOUTS: [Layout; 2] = [Layout::RowMajor, Layout::ColMajor];

fn run<const N: usize>(device: &Device, k: &Kernel, inputs: &[Vec<u8>], bytes: usize, checks: Checks) -> [Vec<u8>; N] {
    let name = &k.name;
    let program = device.kernel(k, checks).unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs: Vec<_> = inputs.iter().map(|x| device.alloc_from(x).expect("memory")).collect();
    let outs = [(); N].map(|()| device.alloc(bytes as u64).expect("memory"));
    let bindings = inputs.iter().chain(&outs).map(|b| b.all()).collect();
    let launch = Step::Launch { program, grid: Grid::Linear(1), bindings, scalars: vec![] };
    let done = device.submit(&[launch]).and_then(|t| t.wait());
    done.unwrap_or_else(|e| panic!("{name}: {e}"));
    outs.map(|out| {
        let mut read = vec![0; bytes];
        device.download(&out, 0, &mut read).expect("a result");
        read
    })
}

/// `lowered`: once more as the legaliser says it without fragments.
fn check(device: &Device, s: &FragmentShape, from: From, lie: [Layout; 2], lanes: u32, lowered: bool) {
    let [a, b] = [0, 1].map(|seed| move |row: usize, col: usize| number([s.a, s.b][seed], row * 31 + col * 7 + seed));
    let c = |row: usize, col: usize| row as i64 - 2 * col as i64;
    let sum = |row: usize, col: usize| c(row, col) + (0..s.k as usize).map(|k| a(row, k) * b(k, col)).sum::<i64>();
    let inputs = [
        matrix(s.a, (s.m, s.k), lie[0], a),
        matrix(s.b, (s.k, s.n), lie[1], b),
        matrix(s.acc, (s.m, s.n), Layout::RowMajor, c),
    ];
    let want = [
        matrix(s.acc, (s.m, s.n), Layout::ColMajor, sum),
        matrix(s.acc, (s.m, s.n), Layout::RowMajor, |row, col| sum(row, col) + (row * s.n as usize + col) as i64),
    ];
    let k = product(s, from, lie, lanes);
    // SAFETY: fragments and copies of the kernel stay inside of buffers of these sizes.
    for checks in [unsafe { Checks::off() }, Checks::On].into_iter().take(1 + usize::from(lowered)) {
        let got = run(device, &k, &inputs, want[0].len(), checks);
        assert!(got == want, "{} on {}, {from:?}, {lie:?}, {checks:?}", k.name, device.info().id);
    }
}

#[test]
fn every_shape_from_every_place_in_every_layout() {
    for device in common::devices("every_shape_from_every_place_in_every_layout") {
        let info = device.info();
        // That of a line of 32 bytes, and of more than any line here.
        let swizzles = [Swizzle { bits: 1, shift: 2 }, Swizzle { bits: 2, shift: 1 }, Swizzle::NONE];
        for (n, s) in info.fragments.iter().enumerate() {
            println!("{:?}·{:?} {}x{}x{}", s.a, s.b, s.m, s.n, s.k);
            if s.subgroups > 1 {
                let one_line = usize::from(s.n) * s.b.size() == FragmentShape::LINE;
                for b in LAYOUTS.into_iter().filter(|b| *b == Layout::ColMajor || one_line) {
                    let (from, lanes) = (From::Operands(FragmentShape::TILE), 32 * u32::from(s.subgroups));
                    check(&device, s, from, [Layout::RowMajor, b], lanes, one_line);
                }
                continue;
            }
            for (i, (a, b)) in LAYOUTS.into_iter().flat_map(|a| LAYOUTS.map(|b| (a, b))).enumerate() {
                check(&device, s, From::Tiles(swizzles[(i + n) % 3]), [a, b], 64, i == 0);
                match (i + n) % 4 {
                    0 => check(&device, s, From::Buffers, [a, b], 32, false),
                    1 => check(&device, s, From::Operands(swizzles[i % 3]), [a, b], 32, true),
                    _ => {}
                }
            }
        }
        assert_eq!(info.fragments.is_empty(), !info.has(Feature::Fragments));
    }
}

#[test]
fn elements_are_mapped_and_rows_reduced_where_they_are_held() {
    for device in common::devices("elements_are_mapped_and_rows_reduced_where_they_are_held") {
        for s in device.info().fragments.iter().filter(|s| s.n == s.k && s.a.size() == 2 && s.subgroups == 1) {
            let c = |row: usize, col: usize| number(s.acc, row * 5 + col * 3);
            let b = |row: usize, col: usize| number(s.b, row * 31 + col * 7);
            let n = s.n as usize;
            let want = |row: usize, col: usize| {
                let most = (0..n).map(|p| c(row, p)).max().expect("it has columns");
                let sum: i64 = (0..n).map(|p| c(row, p)).sum();
                let product: i64 = (0..n).map(|p| (2 * (c(row, p) - most) + p as i64) * b(p, col)).sum();
                product + c(row, col) + 3 * sum
            };
            let lie = Layout::RowMajor;
            let inputs = [matrix(s.acc, (s.m, s.n), lie, c), matrix(s.b, (s.k, s.n), lie, b)];
            let want = matrix(s.acc, (s.m, s.n), lie, want);
            let k = maps(s);
            // SAFETY: fragments of the kernel stay inside of buffers of these sizes.
            for checks in [unsafe { Checks::off() }, Checks::On] {
                let [got] = run(&device, &k, &inputs, want.len(), checks);
                assert!(got == want, "{} on {}, {checks:?}", k.name, device.info().id);
            }
        }
    }
}

/// Cut operands are for who asks for them, and are rounded to nearest: none is off by more than half a unit of what is kept.
#[test]
fn operands_are_cut_for_who_asks_for_it() {
    let asked = std::env::var("ANYCHIP_CUDA_TF32").is_ok_and(|v| v == "1");
    for device in common::devices("operands_are_cut_for_who_asks_for_it") {
        let cutting: Vec<_> = device.info().fragments.iter().filter(|s| s.cuts()).collect();
        assert!(asked || cutting.is_empty(), "{cutting:?}");
        for s in cutting {
            assert_eq!((s.a, s.b, s.acc, s.operand_bits), (DType::F32, DType::F32, DType::F32, 11));
            let lie = Layout::RowMajor;
            let fill = |x: f32, n: u16| -> Vec<u8> { (0..n).flat_map(|_| x.to_le_bytes()).collect() };
            let unit = 2f32.powi(-10);
            for (x, kept) in [(1.75, 2.0), (0.25, 0.0), (0.5, 1.0), (-0.875, -1.0)] {
                let inputs = [fill(1.0 + x * unit, s.m * s.k), fill(1.0, s.k * s.n), fill(0.0, s.m * s.n)];
                let k = product(s, From::Buffers, [lie, lie], 32);
                // SAFETY: fragments of the kernel stay inside of buffers of these sizes.
                let [got, _] = run(&device, &k, &inputs, inputs[2].len(), unsafe { Checks::off() });
                let want = fill(f32::from(s.k) * (1.0 + kept * unit), s.m * s.n);
                assert!(got == want, "1 + {x} units on {}", device.info().id);
            }
        }
    }
}

/// Chips before and beside the emulated one, and one that may cut: this file's tests once more on each.
#[test]
fn other_chips_multiply_too() {
    let found = common::devices("other_chips_multiply_too");
    if !found.iter().any(|d| d.info().backend.ends_with("emulated")) {
        return println!("SKIPPED: other_chips_multiply_too: only the emulated driver has other chips");
    }
    let tests = [
        "every_shape_from_every_place_in_every_layout",
        "elements_are_mapped_and_rows_reduced_where_they_are_held",
        "operands_are_cut_for_who_asks_for_it",
    ];
    for (name, value, held) in [
        ("ANYCHIP_EMULATED_CC", "7.0", "F16·F16 16x16x16"),
        ("ANYCHIP_EMULATED_CC", "7.5", "F16·F16 16x8x16"),
        ("ANYCHIP_CUDA_TF32", "1", "F32·F32 16x8x8"),
    ] {
        let this = std::env::current_exe().expect("a path");
        let mut command = std::process::Command::new(this);
        let out = command.arg("--exact").args(tests).args(["--nocapture", "--test-threads=1"]).env(name, value);
        let out = out.output().expect("it starts");
        let text = String::from_utf8_lossy(&out.stdout);
        let passed = out.status.success() && text.contains("3 passed") && text.contains(held);
        assert!(passed, "{name}={value}: {text}\n{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn what_is_beyond_a_copy_s_part_is_zero() {
    const LANES: u32 = 32;
    for device in common::devices("what_is_beyond_a_copy_s_part_is_zero") {
        for elems in [2u32, 4, 8] {
            let mut b = Builder::new("part", [LANES, 1, 1]);
            let x = b.param("x", ParamKind::Buffer { elem: DType::I16, access: Access::Read, align: 8 });
            let out = b.buffer("out", DType::I16, Access::Write);
            let tile = b.shared("tile", DType::I16, LANES * elems);
            let lane = b.builtin(Builtin::LocalId(0));
            let [wide, more] = [elems, elems + 2].map(|n| b.u32(n));
            let at = b.mul(lane, wide);
            // From none to all, and what is more is all.
            let take = b.binary(BinaryOp::Rem, lane, more);
            let take = b.binary(BinaryOp::Min, take, wide);
            let (dst, src, take, aligned) = (tile, x, Some(take), false);
            b.effect(Op::CopyAsync { dst, dst_index: at, src, src_index: at, elems, take, aligned });
            b.effect(Op::CopyCommit);
            b.effect(Op::CopyWait(0));
            b.barrier();
            let (zero, one) = (b.u32(0), b.u32(1));
            b.count(zero, wide, one, |b, i| {
                let at = b.add(at, i);
                let v = b.load(Place::Shared(tile), at);
                b.store(Place::Buffer(out), at, v);
            });
            let k = b.finish().expect("a well-formed kernel");
            let n = (LANES * elems) as usize;
            let x: Vec<u8> = (1..=n as i16).flat_map(|x| x.to_le_bytes()).collect();
            let taken = |at: usize| (at % elems as usize) < (at / elems as usize % (elems as usize + 2));
            let want: Vec<u8> = (0..n).flat_map(|i| if taken(i) { i as i16 + 1 } else { 0 }.to_le_bytes()).collect();
            // SAFETY: copies of the kernel stay inside of buffers of these sizes.
            for checks in [unsafe { Checks::off() }, Checks::On] {
                let program = device.kernel(&k, checks).expect("a kernel");
                let (x, out) = (device.alloc_from(&x).expect("memory"), device.alloc(2 * n as u64).expect("memory"));
                let bindings = vec![x.all(), out.all()];
                let launch = Step::Launch { program, grid: Grid::Linear(1), bindings, scalars: vec![] };
                device.submit(&[launch]).and_then(|t| t.wait()).unwrap_or_else(|e| panic!("{e}"));
                let mut got = vec![0; 2 * n];
                device.download(&out, 0, &mut got).expect("a result");
                assert_eq!(got, want, "{elems} elements at once, {checks:?}");
            }
        }
    }
}

#[test]
fn shared_memory_beyond_what_is_declared() {
    for device in common::devices("shared_memory_beyond_what_is_declared") {
        let most = device.info().limits.max_shared;
        if most <= 48 << 10 {
            println!("SKIPPED: {} has {most} bytes", device.info().id);
            continue;
        }
        let n = most / 8;
        let mut b = Builder::new("large", [64, 1, 1]);
        let out = b.buffer("out", DType::U32, Access::Write);
        let [x, y] = ["x", "y"].map(|name| b.shared(name, DType::U32, n));
        let lane = b.builtin(Builtin::LocalId(0));
        let (end, by) = (b.u32(n), b.u32(64));
        b.count(lane, end, by, |b, i| {
            let other = b.sub(end, i);
            b.store(Place::Shared(x), i, i);
            b.store(Place::Shared(y), i, other);
        });
        b.barrier();
        b.count(lane, end, by, |b, i| {
            let one = b.u32(1);
            let last = b.sub(end, one);
            let back = b.sub(last, i);
            let (v, w) = (b.load(Place::Shared(x), back), b.load(Place::Shared(y), back));
            let sum = b.mul(v, w);
            b.store(Place::Buffer(out), i, sum);
        });
        let k = b.finish().expect("a well-formed kernel");
        let mut buffers = [vec![0; 4 * n as usize]];
        common::run(&device, &k, 64, &mut buffers, &[]).unwrap_or_else(|e| panic!("{e}"));
        let want: Vec<u32> = (0..n).map(|i| (n - 1 - i) * (i + 1)).collect();
        assert_eq!(common::u32s(&buffers[0]), want);
    }
}
