//! The library's products and attention by fragments: on every CUDA device beside numbers of the host, and through the real NVRTC,
//! where no schedule may spill.

mod common;

use anychip_cuda::{
    chip::Chip,
    nvrtc::{self, Nvrtc},
};
use anychip_hal::{
    DType, Device,
    device::{Checks, Grid, Step},
    info::FragmentShape,
    ir::{
        Kernel, Op,
        legal::{Target, legalize},
        visit,
    },
    op::{BinaryOp, UnaryOp},
    render::c::{Cuda, Dialect, render},
};
use anychip_kernels::{
    library::{
        Body, Expr, Made, Map,
        attention::{
            Attention,
            fragments::{self, Strips},
        },
        matmul::MatMul,
        pipeline::{self, Pipeline},
    },
    schedule,
};

fn map(strides: [usize; 3]) -> Map {
    Map { strides: strides.map(|s| s as isize).to_vec(), offset: 0 }
}

/// A product with a bias along the columns behind it, of which what is below zero is cut off; operands by columns where asked.
fn product(dtype: DType, out_dtype: DType, dims: [usize; 4], by_columns: [bool; 2]) -> MatMul {
    let [batch, rows, inner, cols] = dims;
    let mut body = Body { slots: vec![DType::F32], ..Body::default() };
    let along = body.map(map([0, 0, 1]));
    let bias = body.push(Expr::Read { slot: 0, map: along }, DType::F32);
    let anchor = body.push(Expr::Anchor, DType::F32);
    let sum = body.push(Expr::Binary(BinaryOp::Add, anchor, bias), DType::F32);
    let epilogue = body.push(Expr::Unary(UnaryOp::Relu, sum), DType::F32);
    let lies = |[rows, cols]: [usize; 2], by_columns| {
        if by_columns { map([rows * cols, 1, rows]) } else { map([rows * cols, cols, 1]) }
    };
    MatMul {
        body,
        epilogue,
        dims: vec![batch, rows, cols],
        k: inner,
        a: lies([rows, inner], by_columns[0]),
        b: lies([inner, cols], by_columns[1]),
        out: lies([rows, cols], false),
        dtype,
        sums: dtype,
        out_dtype,
    }
}

fn attention(dims: [usize; 6], causal: bool, masked: bool, dtype: DType) -> Attention {
    let [batch, heads, groups, rows, keys, width] = dims;
    let lies = |heads: usize, n: usize| Map {
        strides: [heads * n * width, n * width, width, 1].map(|s| s as isize).to_vec(),
        offset: 0,
    };
    Attention {
        dims: [batch, heads, rows, keys, width, width],
        groups,
        q: lies(heads, rows),
        k: lies(groups, keys),
        v: lies(groups, keys),
        // The same for every head.
        mask: masked.then(|| Map { strides: [rows * keys, 0, keys, 1].map(|s| s as isize).to_vec(), offset: 0 }),
        out: lies(heads, rows),
        scale: 0.25,
        causal,
        dtype,
    }
}

fn run(device: &Device, made: Made, inputs: &[Vec<u8>], bytes: usize, checks: Checks) -> Vec<u8> {
    let name = made.kernel.name.clone();
    let program = device.kernel(&made.kernel, checks).unwrap_or_else(|e| panic!("{name}: {e}"));
    let inputs: Vec<_> = inputs.iter().map(|x| device.alloc_from(x).expect("memory")).collect();
    let out = device.alloc(bytes as u64).expect("memory");
    let bindings = inputs.iter().chain([&out]).map(|b| b.all()).collect();
    let launch = Step::Launch { program, grid: Grid::Linear(made.grid), bindings, scalars: made.scalars };
    device.submit(&[launch]).and_then(|t| t.wait()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut read = vec![0; bytes];
    device.download(&out, 0, &mut read).expect("a result");
    read
}

fn halves(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect()
}

/// The shape of the tests, where a chip has it.
fn shape(of: &[FragmentShape], d: DType) -> Option<FragmentShape> {
    of.iter().find(|s| (s.a, s.b, s.m, s.n) == (d, d, 16, 16)).cloned()
}

#[test]
fn pipelines_multiply_any_extents_in_any_layout() {
    // Copies of 16 bytes, of 4, of single elements; whole tiles and parts; the tile of large products.
    let small = [([1, 1], [2, 2], [2, 3]), ([2, 1], [1, 1], [1, 2])];
    let cases: [([usize; 4], &[_]); 4] = [
        ([2, 64, 96, 64], &small),
        ([1, 70, 50, 52], &small),
        ([1, 33, 17, 65], &small),
        ([1, 130, 72, 200], &[([4, 4], [2, 2], [2, 4])]),
    ];
    for device in common::devices("pipelines_multiply_any_extents_in_any_layout") {
        let Some(shape) = shape(&device.info().fragments, DType::F16) else { continue };
        let wide: Vec<_> = device.info().fragments.iter().filter(|s| s.subgroups > 1 && s.a == DType::F16).collect();
        // Whole numbers: every order of a sum gives the same.
        let numbers =
            |n: usize, s: usize| -> Vec<f32> { (0..n).map(|i| ((i * 7 + i / 5 + s) % 9) as f32 - 4.0).collect() };
        for (n, (dims, schedules)) in cases.into_iter().enumerate() {
            let [batch, rows, inner, cols] = dims;
            let (a, b, bias) = (numbers(batch * rows * inner, 1), numbers(batch * inner * cols, 2), numbers(cols, 3));
            let inputs = [common::bytes_of(&bias, f32::to_le_bytes), halves(&a), halves(&b)];
            for (i, by_columns) in [[false, false], [false, true], [true, false], [true, true]].into_iter().enumerate()
            {
                let at =
                    |by: bool, [rows, cols]: [usize; 2], row, col| if by { col * rows + row } else { row * cols + col };
                let mut want = vec![];
                for (b_n, row, col) in (0..batch * rows * cols).map(|i| (i / cols / rows, i / cols % rows, i % cols)) {
                    let sum: f32 = (0..inner)
                        .map(|k| {
                            let left = b_n * rows * inner + at(by_columns[0], [rows, inner], row, k);
                            let right = b_n * inner * cols + at(by_columns[1], [inner, cols], k, col);
                            a[left] * b[right]
                        })
                        .sum();
                    want.push((sum + bias[col]).max(0.0));
                }
                let (fragments, subgroups, stages) = schedules[(n + i) % schedules.len()];
                let p = Pipeline::of(&shape, fragments, subgroups, stages);
                // Fragments that a workgroup holds: every one at one extent, by rows in panels of one line.
                for (w, s) in wide.iter().enumerate().filter(|(w, _)| !by_columns[0] && w % cases.len() == n) {
                    let p = Pipeline::of(s, [1, 1 + w as u32 % 2], [1, 1], [1, 2 + w as u32 % 3]);
                    let mm = product(DType::F16, DType::F32, dims, by_columns);
                    let read = pipeline::reads(&p, DType::F16, &mm.a, &mm.b);
                    assert_eq!(read, by_columns[1] || s.n == 64, "{p:?}");
                    let Some(made) = pipeline::matmul(mm, p).expect("a kernel") else { continue };
                    // SAFETY: as below.
                    let got = common::f32s(&run(&device, made, &inputs, want.len() * 4, unsafe { Checks::off() }));
                    assert!(got == want, "{dims:?}, by columns {by_columns:?}, {p:?}");
                    // The same with boxes, where every line begins at a multiple of 16 bytes.
                    let p = Pipeline { boxes: true, ..p };
                    let mm = product(DType::F16, DType::F32, dims, by_columns);
                    let whole = inner % 8 == 0 && (by_columns[1] || cols % 8 == 0);
                    assert_eq!(pipeline::reads(&p, DType::F16, &mm.a, &mm.b), whole, "{p:?}");
                    let made = pipeline::matmul(mm, p).expect("a kernel").expect("it was made without");
                    let mut boxes = false;
                    visit(&made.kernel.body, &mut |i| boxes |= matches!(i.op, Op::CopyTile { .. }));
                    assert_eq!(boxes, whole, "{p:?}");
                    // SAFETY: as below.
                    let got = common::f32s(&run(&device, made, &inputs, want.len() * 4, unsafe { Checks::off() }));
                    assert!(got == want, "{dims:?}, by columns {by_columns:?}, {p:?}");
                }
                // SAFETY: buffers have the extents that the kernel was made for.
                let ways = [unsafe { Checks::off() }, Checks::On];
                // With guards fragments are lowered: small tiles are enough.
                for checks in ways.into_iter().take(if n < 3 && i == n { 2 } else { 1 }) {
                    let mm = product(DType::F16, DType::F32, dims, by_columns);
                    let made = pipeline::matmul(mm, p).expect("a kernel").expect("an axis lies side by side");
                    let got = common::f32s(&run(&device, made, &inputs, want.len() * 4, checks));
                    assert!(got == want, "{dims:?}, by columns {by_columns:?}, {p:?}, {checks:?}");
                }
            }
        }
    }
}

/// Products of f32 lose bits by fragments: without being asked no schedule has them.
#[test]
fn f32_is_multiplied_by_fragments_for_who_asks() {
    const TEST: &str = "f32_is_multiplied_by_fragments_for_who_asks";
    const ASKED: &str = "ANYCHIP_CUDA_TF32";
    let asked = std::env::var(ASKED).is_ok_and(|v| v == "1");
    let [rows, inner, cols] = [40, 24, 33];
    let dtype = DType::F32;
    let problem = schedule::matmul::Problem { dtype, batch: 1, rows, cols, inner, col_stride: 1 };
    for device in common::devices(TEST) {
        let found = schedule::fragments::pipelines(device.info(), &problem);
        let Some(p) = found.into_iter().last() else {
            assert!(!asked, "{} has none", device.info().id);
            // The emulated chip once more, asked.
            if device.info().backend.ends_with("emulated") {
                let mut command = std::process::Command::new(std::env::current_exe().expect("a path"));
                let out = command.args(["--exact", TEST]).env(ASKED, "1").output().expect("it starts");
                let text = String::from_utf8_lossy(&out.stdout);
                assert!(out.status.success() && text.contains("1 passed"), "{text}");
            }
            continue;
        };
        assert!(asked, "{p:?} on {}", device.info().id);
        // Whole numbers, and of the left ones a part that tf32 has no room for.
        let (x, y) = (|at: usize| (at % 7 + 1) as f32, |at: usize| (at % 5) as f32 - 2.0);
        let a: Vec<f32> = (0..rows * inner).map(|at| x(at) + f32::powi(2.0, -14)).collect();
        let b: Vec<f32> = (0..inner * cols).map(y).collect();
        let inputs = [vec![0.0; cols], a, b].map(|x| common::bytes_of(&x, f32::to_le_bytes));
        let made = pipeline::matmul(product(dtype, dtype, [1, rows, inner, cols], [false, false]), p);
        let made = made.expect("a kernel").expect("rows lie side by side");
        // SAFETY: buffers have the extents that the kernel was made for.
        let got = common::f32s(&run(&device, made, &inputs, rows * cols * 4, unsafe { Checks::off() }));
        let sum = |at: usize| -> f32 {
            let (row, col) = (at / cols, at % cols);
            (0..inner).map(|k| x(row * inner + k) * y(k * cols + col)).sum::<f32>().max(0.0)
        };
        assert!(got == (0..rows * cols).map(sum).collect::<Vec<_>>(), "{p:?}");
    }
}

#[test]
fn attention_by_fragments_is_within_the_rounding_of_its_result() {
    let strips = |rows, subgroups, keys| Strips { rows, subgroups, keys, subgroup: 32 };
    let cases = [
        ([1, 1, 1, 32, 16, 16], [false, false], strips(1, 2, 16)),
        ([2, 2, 1, 50, 70, 32], [false, false], strips(1, 2, 32)),
        ([2, 2, 1, 50, 70, 32], [false, true], strips(1, 2, 32)),
        ([1, 2, 2, 70, 70, 64], [true, false], strips(2, 4, 64)),
        ([1, 2, 2, 70, 70, 64], [true, true], strips(2, 4, 64)),
        ([1, 2, 1, 90, 130, 128], [true, false], strips(1, 4, 64)),
    ];
    for device in common::devices("attention_by_fragments_is_within_the_rounding_of_its_result") {
        if shape(&device.info().fragments, DType::F16).is_none() {
            continue;
        }
        for (dims, [causal, masked], s) in cases {
            let [batch, heads, groups, rows, keys, width] = dims;
            let numbers = |n: usize, s: usize| -> Vec<f32> {
                let x = |i: usize| (((i * 7919 + s * 104_729) % 1009) as f32 / 504.5 - 1.0) * 1.5;
                (0..n).map(|i| half::f16::from_f32(x(i)).to_f32()).collect()
            };
            let q = numbers(batch * heads * rows * width, 1);
            let (k, v) = (numbers(batch * groups * keys * width, 2), numbers(batch * groups * keys * width, 3));
            let hidden = |at: usize| masked && at % 5 == 3;
            let mask: Vec<f32> = numbers(batch * rows * keys, 4)
                .into_iter()
                .enumerate()
                .map(|(at, x)| if hidden(at) { f32::NEG_INFINITY } else { x })
                .collect();
            let mut inputs = vec![halves(&q), halves(&k), halves(&v)];
            inputs.extend(masked.then(|| halves(&mask)));
            // SAFETY: buffers have the extents that the kernel was made for.
            for checks in [unsafe { Checks::off() }, Checks::On].into_iter().take(if width < 64 { 2 } else { 1 }) {
                let made = fragments::attention(&attention(dims, causal, masked, DType::F16), s).expect("a kernel");
                let got = run(&device, made.expect("a head that suits"), &inputs, q.len() * 2, checks);
                let got = got.chunks_exact(2).map(|c| half::f16::from_le_bytes([c[0], c[1]]).to_f64());
                for (at, got) in got.enumerate() {
                    let (row, col) = (at / width, at % width);
                    let head = row / rows;
                    let group = head / heads * groups + head % heads / (heads / groups);
                    let seen = if causal { (row % rows + 1).min(keys) } else { keys };
                    let of = |x: &[f32], key: usize, col: usize| f64::from(x[(group * keys + key) * width + col]);
                    let scores: Vec<f64> = (0..seen)
                        .map(|key| {
                            let score: f64 = (0..width).map(|c| f64::from(q[row * width + c]) * of(&k, key, c)).sum();
                            let at = (head / heads * rows + row % rows) * keys + key;
                            score * 0.25 + if masked { f64::from(mask[at]) } else { 0.0 }
                        })
                        .collect();
                    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|x| (x - most).exp()).sum();
                    let want: f64 = (0..seen).map(|j| (scores[j] - most).exp() * of(&v, j, col)).sum::<f64>() / total;
                    // The result is rounded to f16, of values up to 1.5; scores, weights and sums are of f32.
                    let bound = 1.5 * (f64::powi(2.0, -11) + f64::powi(2.0, -16));
                    assert!((got - want).abs() <= bound, "{dims:?}, {s:?}, {checks:?}, {at}: {got} for {want}");
                }
            }
        }
    }
}

/// Bytes that a kernel spills, and the compiler's report.
fn spills(with: &Nvrtc, capability: (u32, u32), kernel: &Kernel) -> (u32, String) {
    let info = Chip::example(capability).info();
    let legal = legalize(kernel, &Target { info: &info, idx_bits: 32, checked: false }).expect("legal");
    let text = render(&legal, &Dialect::cuda(Cuda { capability, tf32: false })).expect("printable");
    let mut options = nvrtc::options(capability);
    options.push("--ptxas-options=-v".into());
    let log =
        with.compile(&legal.name, &text.source, &options).unwrap_or_else(|e| panic!("{e:?}\n{}", text.source)).log;
    let words: Vec<_> = log.split_whitespace().collect();
    let number = |n: usize| words[n].parse::<u32>().unwrap_or(0);
    ((2..words.len()).filter(|n| words[*n] == "spill").map(|n| number(n - 2)).sum(), log)
}

#[test]
fn no_schedule_of_fragments_spills() {
    const TEST: &str = "no_schedule_of_fragments_spills";
    let required = std::env::var("ANYCHIP_REQUIRE").unwrap_or_default().split(',').any(|r| r.trim() == "nvrtc");
    let nvrtc = match std::env::var_os("ANYCHIP_NVRTC").ok_or("ANYCHIP_NVRTC names none".into()).and_then(Nvrtc::open) {
        Ok(found) => found,
        Err(why) => {
            assert!(!required, "{TEST}: NVRTC is required: {why}");
            return println!("SKIPPED: {TEST}: {why} (scripts/cuda-compilers)");
        }
    };
    let n = 8192;
    let dtype = DType::BF16;
    for capability in [(7, 0), (8, 0), (9, 0), (10, 0)] {
        let info = Chip::example(capability).info();
        for col_stride in [1, n as isize] {
            let dtype = if capability == (7, 0) { DType::F16 } else { dtype };
            let problem = schedule::matmul::Problem { dtype, batch: 1, rows: n, cols: n, inner: n, col_stride };
            let pipelines = schedule::fragments::pipelines(&info, &problem);
            assert!(pipelines.iter().any(|p| p.tile()[..2] == [128, 128]), "{capability:?}");
            assert_eq!(pipelines.iter().any(|p| p.wide), capability == (9, 0));
            assert_eq!(pipelines.iter().any(|p| p.boxes), capability == (9, 0));
            for p in pipelines.into_iter().filter(|p| p.shape[1] >= 16 && (p.wide || col_stride == 1)) {
                let made = pipeline::matmul(product(dtype, dtype, [1, n, n, n], [false, col_stride != 1]), p);
                let (bytes, log) =
                    spills(&nvrtc, capability, &made.expect("a kernel").expect("an axis lies side by side").kernel);
                assert_eq!(bytes, 0, "{p:?} for {capability:?}: {log}");
                assert!(!log.contains("serialized") && !log.contains("injected"), "{p:?}: {log}");
            }
        }
        if capability == (7, 0) {
            continue;
        }
        for (width, causal, masked) in [
            (64, false, false),
            (64, true, false),
            (64, true, true),
            (128, false, false),
            (128, true, false),
            (128, false, true),
        ] {
            let p = schedule::attention::Problem { dtype, rows: 4096, keys: 4096, width, out_width: width };
            let strips = schedule::attention::strips(&info, &p, masked).expect("it multiplies fragments");
            let made = fragments::attention(&attention([1, 16, 16, 4096, 4096, width], causal, masked, dtype), strips);
            let (bytes, log) = spills(&nvrtc, capability, &made.expect("a kernel").expect("a head that suits").kernel);
            assert_eq!(bytes, 0, "{strips:?}, heads of {width} for {capability:?}: {log}");
        }
    }
}
