//! Products of the vendor's matrix library beside sums in f64: layouts, batches, offsets, what comes behind, every type; what is refused;
//! and the library missing or failing. Where there is none, a named skip; `ANYCHIP_REQUIRE=cublaslt` makes that a failure.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{
    DType, Device, Result,
    device::{Grid, Step},
    op::{BinaryOp, Graph, Node, Op, Ref, TensorSpec, UnaryOp, dense_strides},
};
use common::*;
use half::{bf16, f16};
use start::*;

/// Numbers that differ from call to call, in −1..1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f64 / (1u64 << 23) as f64 - 1.0
    }
}

fn put(d: DType, x: f64) -> Vec<u8> {
    match d {
        DType::F64 => x.to_le_bytes().to_vec(),
        DType::F16 => f16::from_f64(x).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(x).to_le_bytes().to_vec(),
        DType::I8 => vec![(x * 127.0) as i8 as u8],
        DType::I32 => ((x * 1000.0) as i32).to_le_bytes().to_vec(),
        // Random bits of numbers that are neither so small nor so large that sums of them leave any type.
        DType::F8E4M3 | DType::F8E5M2 => vec![(((x + 1.0) * 16.0) as u8 + 36) ^ if x < 0.0 { 0x80 } else { 0 }],
        _ => (x as f32).to_le_bytes().to_vec(),
    }
}

fn get(d: DType, b: &[u8]) -> f64 {
    match d {
        DType::F64 => f64::from_le_bytes(b.try_into().expect("8 bytes")),
        DType::F16 => f16::from_le_bytes([b[0], b[1]]).to_f64(),
        DType::BF16 => bf16::from_le_bytes([b[0], b[1]]).to_f64(),
        DType::I8 => f64::from(b[0] as i8),
        DType::I32 => f64::from(i32::from_le_bytes(b.try_into().expect("4 bytes"))),
        // By its bits: f8e5m2 is an f16 cut short; f8e4m3 has one exponent bit less and another bias.
        DType::F8E5M2 => f16::from_bits(u16::from(b[0]) << 8).to_f64(),
        DType::F8E4M3 => {
            let (sign, e, f) = (b[0] >> 7, i32::from(b[0] >> 3 & 15), f64::from(b[0] & 7));
            let size = if e == 0 { f / 8.0 * 2f64.powi(-6) } else { (1.0 + f / 8.0) * 2f64.powi(e - 7) };
            if sign == 1 { -size } else { size }
        }
        _ => f64::from(f32::from_le_bytes(b.try_into().expect("4 bytes"))),
    }
}

/// Half the distance between 1 and the next number; 0 for integers.
fn unit(d: DType) -> f64 {
    match d {
        DType::F64 => 2f64.powi(-53),
        DType::F32 => 2f64.powi(-24),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => 0.0,
    }
}

#[derive(Clone, Copy, Debug)]
enum Lies {
    Rows,
    Columns,
    /// Rows with something between them.
    Apart(usize),
    /// The batch axes in the other order, as heads of attention lie.
    Heads,
    /// One matrix for every batch.
    Shared,
    /// One matrix for all of the last batch axis.
    SharedInner,
}

/// A tensor of this shape that lies so, from this element on.
fn spec(dtype: DType, shape: &[usize], lies: Lies, offset: usize) -> TensorSpec {
    let rank = shape.len();
    let mut order: Vec<usize> = (0..rank).collect();
    let mut room = shape.to_vec();
    match lies {
        Lies::Rows => {}
        Lies::Columns => order.swap(rank - 1, rank - 2),
        Lies::Apart(more) => room[rank - 1] += more,
        // [outer, rows, inner, cols] in memory.
        Lies::Heads => order.swap(rank - 3, rank - 2),
        Lies::Shared => room[..rank - 2].fill(1),
        Lies::SharedInner => room[rank - 3] = 1,
    }
    let placed: Vec<usize> = order.iter().map(|&i| room[i]).collect();
    let dense = dense_strides(&placed);
    let mut strides = vec![0; rank];
    for (at, &axis) in order.iter().enumerate() {
        strides[axis] = if room[axis] < shape[axis] { 0 } else { dense[at] };
    }
    TensorSpec { dtype, shape: shape.to_vec(), strides, offset, constant: false }
}

fn places(s: &TensorSpec) -> Vec<usize> {
    let n = s.elements();
    (0..n)
        .map(|mut i| {
            let mut at = s.offset as isize;
            for (n, stride) in s.shape.iter().zip(&s.strides).rev() {
                at += (i % n) as isize * stride;
                i /= n;
            }
            at as usize
        })
        .collect()
}

struct Case {
    a: TensorSpec,
    b: TensorSpec,
    out: TensorSpec,
    factor: Option<f64>,
    addend: Option<TensorSpec>,
    bias: Option<TensorSpec>,
    relu: bool,
}

impl Case {
    fn new(a: TensorSpec, b: TensorSpec, out: TensorSpec) -> Case {
        Case { a, b, out, factor: None, addend: None, bias: None, relu: false }
    }

    fn graph(&self) -> Graph {
        let (shape, dtype) = (&self.out.shape, self.out.dtype);
        let mut inputs = vec![self.a.clone(), self.b.clone()];
        let mut nodes: Vec<Node> = vec![];
        let mut push = |op: Op, from: Vec<Ref>| {
            let views = vec![None; from.len()];
            nodes.push(Node { op, inputs: from, views, dtype, shape: shape.clone() });
            Ref::Node(nodes.len() - 1)
        };
        let mut at = push(Op::MatMul, vec![Ref::Input(0), Ref::Input(1)]);
        if let Some(by) = self.factor {
            let bits = put(dtype, by).iter().rev().fold(0, |w, b| w << 8 | u64::from(*b));
            let by = push(Op::Full(bits), vec![]);
            at = push(Op::Binary(BinaryOp::Mul), vec![at, by]);
        }
        for more in [&self.addend, &self.bias].into_iter().flatten() {
            inputs.push(more.clone());
            at = push(Op::Binary(BinaryOp::Add), vec![at, Ref::Input(inputs.len() - 1)]);
        }
        if self.relu {
            at = push(Op::Unary(UnaryOp::Relu), vec![at]);
        }
        let Ref::Node(result) = at else { panic!("a node") };
        Graph { name: "product".into(), inputs, nodes, outputs: vec![(result, self.out.clone())] }
    }

    /// Runs it, recorded or not, and looks at every element, and at what lies between them.
    fn run(&self, d: &Device, recorded: bool) -> Result<()> {
        let graph = self.graph();
        let program = d.graph(&graph)?;
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut fill = |s: &TensorSpec| -> Vec<u8> {
            let n = places(s).into_iter().max().map_or(0, |last| last + 1);
            (0..n).flat_map(|_| put(s.dtype, numbers.next())).collect()
        };
        let bytes: Vec<Vec<u8>> = graph.inputs.iter().map(&mut fill).collect();
        let before = fill(&self.out);
        let mut bindings = bytes.iter().map(|b| Ok(d.alloc_from(b)?.all())).collect::<Result<Vec<_>>>()?;
        let out = d.alloc_from(&before)?;
        bindings.push(out.all());
        let steps = vec![Step::Launch { program, grid: Grid::Linear(1), bindings, scalars: vec![] }];
        match recorded {
            true => d.run(&d.record(steps)?)?.wait()?,
            false => d.submit(&steps)?.wait()?,
        };
        let mut after = vec![0; before.len()];
        d.download(&out, 0, &mut after)?;
        self.judge(&bytes, &before, &after);
        Ok(())
    }

    fn judge(&self, bytes: &[Vec<u8>], before: &[u8], after: &[u8]) {
        let rank = self.out.shape.len();
        let (m, n, k) = (self.out.shape[rank - 2], self.out.shape[rank - 1], self.a.shape[rank - 1]);
        let value = |s: &TensorSpec, bytes: &[u8], at: usize| {
            let size = s.dtype.size();
            get(s.dtype, &bytes[at * size..(at + 1) * size])
        };
        let (a, b, out) = (places(&self.a), places(&self.b), places(&self.out));
        let more: Vec<_> = [&self.addend, &self.bias].into_iter().flatten().map(|s| (s, places(s))).collect();
        let summed = match self.out.dtype {
            DType::F64 => unit(DType::F64),
            d if d.is_float() => unit(DType::F32),
            _ => 0.0,
        };
        for (i, &place) in out.iter().enumerate() {
            let (batch, row, col) = (i / (m * n), i / n % m, i % n);
            let (mut exact, mut size) = (0.0, 0.0);
            for j in 0..k {
                let x = value(&self.a, &bytes[0], a[(batch * m + row) * k + j]);
                let y = value(&self.b, &bytes[1], b[(batch * k + j) * n + col]);
                exact += x * y;
                size += (x * y).abs();
            }
            // As it is in the graph, in its own type.
            let by = self.factor.map_or(1.0, |by| get(self.out.dtype, &put(self.out.dtype, by)));
            (exact, size) = (exact * by, size * by.abs());
            for (at, (s, of)) in more.iter().enumerate() {
                let x = value(s, &bytes[2 + at], of[i]);
                (exact, size) = (exact + x, size + x.abs());
            }
            if self.relu {
                exact = exact.max(0.0);
            }
            let allowed = (k + 4) as f64 * summed * size * 1.01 + unit(self.out.dtype) * exact.abs() + 1e-300;
            let got = value(&self.out, after, place);
            assert!(
                (got - exact).abs() <= allowed,
                "element {i}: {got}, should be {exact} ± {allowed}: {:?}",
                self.graph()
            );
        }
        let size = self.out.dtype.size();
        let mut untouched = vec![true; after.len() / size];
        out.iter().for_each(|&place| untouched[place] = false);
        let kept = |i: usize| before[i * size..(i + 1) * size] == after[i * size..(i + 1) * size];
        assert!((0..untouched.len()).all(|i| !untouched[i] || kept(i)), "written between elements: {:?}", self.graph());
    }
}

fn plain(d: DType, result: DType, batch: &[usize], [m, k, n]: [usize; 3]) -> Case {
    let with = |x: usize, y: usize| [batch, &[x, y]].concat();
    Case::new(
        spec(d, &with(m, k), Lies::Rows, 0),
        spec(d, &with(k, n), Lies::Rows, 0),
        spec(result, &with(m, n), Lies::Rows, 0),
    )
}

/// Devices with the library.
fn with_library(test: &str) -> Vec<Device> {
    let small = plain(DType::F32, DType::F32, &[], [4, 4, 4]).graph();
    let has = |d: &Device| match d.accepts(&small) {
        Ok(()) => true,
        Err(e) => {
            let required = std::env::var("ANYCHIP_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|r| r.trim() == "cublaslt"), "{test}: cublaslt is required: {e}");
            println!("SKIPPED: {test}: {e}");
            false
        }
    };
    devices(test).into_iter().filter(has).collect()
}

#[test]
fn operands_and_results_lie_in_every_way() {
    for d in with_library("operands_and_results_lie_in_every_way") {
        let ways = [Lies::Rows, Lies::Columns, Lies::Apart(3)];
        for (a, b, out) in ways.iter().flat_map(|a| ways.iter().flat_map(move |b| ways.map(move |o| (*a, *b, o)))) {
            for [m, k, n] in [[5, 7, 11], [16, 8, 4], [1, 9, 6], [6, 9, 1], [3, 1, 5], [1, 1, 1]] {
                let t = DType::F32;
                let case = Case::new(spec(t, &[m, k], a, 0), spec(t, &[k, n], b, 2), spec(t, &[m, n], out, 1));
                case.run(&d, false).unwrap_or_else(|e| panic!("{a:?} {b:?} {out:?} {m}×{k}×{n}: {e}"));
            }
        }
    }
}

#[test]
fn batches_lie_in_every_way() {
    for d in with_library("batches_lie_in_every_way") {
        let ways = [Lies::Rows, Lies::Columns, Lies::Heads, Lies::Shared, Lies::SharedInner, Lies::Apart(5)];
        for (a, b) in ways.iter().flat_map(|a| ways.map(move |b| (*a, b))) {
            for out in [Lies::Rows, Lies::Heads, Lies::Columns] {
                let t = DType::F32;
                let case = Case::new(
                    spec(t, &[3, 4, 5, 6], a, 0),
                    spec(t, &[3, 4, 6, 7], b, 0),
                    spec(t, &[3, 4, 5, 7], out, 4),
                );
                case.run(&d, true).unwrap_or_else(|e| panic!("{a:?} {b:?} {out:?}: {e}"));
            }
        }
    }
}

#[test]
fn every_type_is_multiplied() {
    use DType::*;
    for d in with_library("every_type_is_multiplied") {
        for (from, to) in [(F32, F32), (F64, F64), (F16, F16), (F16, F32), (BF16, BF16), (BF16, F32)] {
            plain(from, to, &[2], [9, 33, 20]).run(&d, false).unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
        }
        eight_bits(I8, I8, I32).run(&d, false).unwrap_or_else(|e| panic!("i8 to i32: {e}"));
    }
}

/// The right operand lies in columns, as weights of a linear layer do.
fn eight_bits(a: DType, b: DType, to: DType) -> Case {
    Case::new(
        spec(a, &[32, 48], Lies::Rows, 0),
        spec(b, &[48, 16], Lies::Columns, 0),
        spec(to, &[32, 16], Lies::Rows, 0),
    )
}

#[test]
fn what_comes_behind_is_the_libraries() {
    for d in with_library("what_comes_behind_is_the_libraries") {
        for t in [DType::F32, DType::F16, DType::BF16] {
            for choice in 0..16 {
                let has = |bit: usize| choice >> bit & 1 == 1;
                let mut case = plain(t, t, &[2, 3], [5, 17, 12]);
                case.factor = has(0).then_some(0.125);
                case.addend = has(1).then(|| spec(t, &[2, 3, 5, 12], Lies::Apart(4), 3));
                case.bias = has(2).then(|| TensorSpec { strides: vec![0, 0, 0, 1], offset: 5, ..case.out.clone() });
                case.relu = has(3);
                for recorded in [false, true] {
                    case.run(&d, recorded).unwrap_or_else(|e| panic!("{t}, {choice:04b}: {e}"));
                }
            }
        }
    }
}

#[test]
fn what_it_means_otherwise_is_refused_with_a_reason() {
    for d in with_library("what_it_means_otherwise_is_refused_with_a_reason") {
        let t = DType::F32;
        let refused = |graph: &Graph, word: &str| {
            let e = d.accepts(graph).expect_err(word);
            assert!(e.is_unsupported() && e.to_string().contains(word), "{word}: {e}");
            assert_eq!(d.graph(graph).expect_err("neither is it loaded").to_string(), e.to_string());
        };
        let case = || plain(t, t, &[], [8, 8, 8]);
        let behind = |op: Op| {
            let mut g = case().graph();
            let one = Node { op, inputs: vec![Ref::Node(0)], views: vec![None], dtype: t, shape: vec![8, 8] };
            g.nodes.push(one);
            g.outputs[0].0 = 1;
            g
        };
        refused(&behind(Op::Unary(UnaryOp::Gelu)), "by erf");
        refused(&behind(Op::Unary(UnaryOp::GeluTanh)), "stated nowhere");
        refused(&behind(Op::Unary(UnaryOp::Exp)), "behind it");
        refused(&behind(Op::Cast(DType::F16)), "behind it");
        refused(&plain(DType::I8, DType::I8, &[], [8, 8, 8]).graph(), "wrap");
        refused(&plain(DType::I32, DType::I32, &[], [8, 8, 8]).graph(), "no product of i32");
        // A bias down the rows, one of each batch, one number for all.
        for (batch, strides, word) in [
            (vec![], vec![1, 0], "along the axis"),
            (vec![4], vec![1, 0, 0], "along the axis"),
            (vec![], vec![0, 0], "single"),
        ] {
            let mut c = plain(t, t, &batch, [8, 8, 8]);
            c.bias = Some(TensorSpec { strides, ..c.out.clone() });
            refused(&c.graph(), word);
        }
        let mut c = plain(DType::F8E4M3, DType::F32, &[], [16, 16, 16]);
        c.bias = Some(TensorSpec { strides: vec![0, 1], ..c.out.clone() });
        refused(&c.graph(), "a type of its own");
        let mut c = case();
        c.b.strides = vec![2, 16];
        refused(&c.graph(), "lie together");
        let mut c = case();
        c.a = TensorSpec { strides: vec![8, -1], offset: 7, ..c.a };
        refused(&c.graph(), "reversed");
        // As many calls as batches.
        let mut c = plain(t, t, &[40, 40], [2, 2, 2]);
        c.a.strides = vec![4, 1000, 2, 1];
        refused(&c.graph(), "calls");
    }
}

/// In a child: prints why a product is refused, or that it is right.
fn in_child() {
    let d = Device::new(anychip_hal::Driver::open(&driver(), 0).expect("the driver is there"));
    let mut case = plain(DType::F32, DType::F32, &[], [8, 8, 8]);
    case.relu = std::env::var_os("RELU").is_some();
    for _ in 0..2 {
        match case.run(&d, false) {
            Ok(()) => println!("= right"),
            Err(e) => println!("= {e}"),
        }
    }
    // Whatever the library did, the device works on.
    let mut buffers =
        [bytes_of(&[1.5f32; 64], f32::to_le_bytes), bytes_of(&[2.0f32; 64], f32::to_le_bytes), vec![0; 256]];
    run(&d, &vector_add("after_blas"), 64, &mut buffers, &[]).expect("the device is alive");
    assert_eq!(f32s(&buffers[2]), [3.5; 64]);
}

fn said(test: &str, set: &[(&str, &str)]) -> Vec<String> {
    child(test, |c| {
        c.envs(set.iter().copied());
    })
}

fn emulated(test: &str) -> bool {
    let found = with_library(test).iter().any(|d| d.info().backend.ends_with("emulated"));
    if !found {
        println!("SKIPPED: {test}: only the emulated library can be told to fail");
    }
    found
}

#[test]
fn the_library_may_be_missing_switched_off_or_of_no_use() {
    const TEST: &str = "the_library_may_be_missing_switched_off_or_of_no_use";
    if is_child() {
        return in_child();
    }
    if !emulated(TEST) {
        return;
    }
    let told = said(TEST, &[("ANYCHIP_CUBLASLT", "off")]);
    assert!(told.len() == 2 && told.iter().all(|t| t.contains("ANYCHIP_CUBLASLT is off")), "{told:?}");
    // One that cannot be loaded stands first in the linker's path, one that has none of the functions.
    let broken = folder("no-cublaslt");
    let before = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let path = format!("{}:{before}", broken.display());
    for (other, word) in [(None, "not installed"), (loaded_library(), "lacks cublasLtGetVersion")] {
        for name in ["libcublasLt.so", "libcublasLt.so.12", "libcublasLt.so.13"] {
            match &other {
                None => std::fs::write(broken.join(name), "no library").map(drop).expect("written"),
                Some(file) => std::fs::copy(file, broken.join(name)).map(drop).expect("copied"),
            }
        }
        let told = said(TEST, &[("LD_LIBRARY_PATH", &path)]);
        assert!(told.len() == 2 && told.iter().all(|t| t.contains(word)), "{word}: {told:?}");
    }
    let _ = std::fs::remove_dir_all(&broken);
    let told = said(TEST, &[("ANYCHIP_EMULATED_RELU", "max"), ("RELU", "1")]);
    assert!(told.iter().all(|t| t.contains("NaN")), "{told:?}");
    assert_eq!(said(TEST, &[("RELU", "1")]), ["right", "right"]);
}

/// A shared library that this very process runs with.
fn loaded_library() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().filter_map(|l| l.split_whitespace().last()).find(|p| p.contains("libgcc_s.so")).map(str::to_string)
}

#[test]
fn every_call_of_the_library_may_fail() {
    const TEST: &str = "every_call_of_the_library_may_fail";
    if is_child() {
        return in_child();
    }
    if !emulated(TEST) {
        return;
    }
    let calls = [
        "cublasLtCreate",
        "cublasLtMatmulDescCreate",
        "cublasLtMatmulDescSetAttribute",
        "cublasLtMatrixLayoutCreate",
        "cublasLtMatmulPreferenceCreate",
        "cublasLtMatmulPreferenceSetAttribute",
        "cublasLtMatmulAlgoGetHeuristic",
        "cublasLtMatmul",
    ];
    for call in calls {
        // Out of memory; an error of its own; a code that nobody has heard of.
        for code in ["3", "14", "4711"] {
            let told = said(TEST, &[("ANYCHIP_EMULATED_FAULT", &format!("{call}:1={code}"))]);
            assert!(told.len() == 2 && told[0].contains(call) && told[0].contains(code), "{call}, {code}: {told:?}");
            // What failed for want of memory, or in a launch, goes well the next time.
            if (code == "3" || call == "cublasLtMatmul") && call != "cublasLtCreate" {
                assert_eq!(told[1], "right", "{call}, {code}");
            }
        }
    }
    // The context is lost meanwhile: the device says so.
    for call in ["cublasLtDestroy", "cublasLtMatmulDescDestroy", "cublasLtMatrixLayoutDestroy"] {
        assert_eq!(said(TEST, &[("ANYCHIP_EMULATED_FAULT", &format!("{call}:1=14"))]), ["right", "right"], "{call}");
    }
}

#[test]
fn nothing_of_the_library_is_left_behind() {
    const TEST: &str = "nothing_of_the_library_is_left_behind";
    if !alone(TEST) || !emulated(TEST) {
        return;
    }
    let live = || {
        let library = unsafe { libloading::Library::new("libcuda.so.1") }.expect("it is loaded");
        let ask =
            unsafe { library.get::<unsafe extern "C" fn(*const std::ffi::c_char) -> i64>(b"anychipEmulatorLive\0") };
        unsafe { ask.expect("the emulated driver")(c"blas".as_ptr()) }
    };
    assert_eq!(live(), 0);
    for d in with_library(TEST) {
        let mut case = plain(DType::F32, DType::F32, &[3], [8, 8, 8]);
        case.bias = Some(TensorSpec { strides: vec![0, 0, 1], ..case.out.clone() });
        case.relu = true;
        case.run(&d, true).expect("it runs");
        assert!(live() > 0);
    }
    assert_eq!(live(), 0);
}

/// Nothing says that its sums keep as many bits as ours.
#[test]
fn f8_is_only_for_who_asks_for_it() {
    use DType::*;
    const TEST: &str = "f8_is_only_for_who_asks_for_it";
    if is_child() {
        let d = Device::new(anychip_hal::Driver::open(&driver(), 0).expect("the driver is there"));
        for (a, b, to) in [(F8E4M3, F8E4M3, F32), (F8E4M3, F8E5M2, BF16), (F8E5M2, F8E4M3, F16)] {
            let case = eight_bits(a, b, to);
            let taken = match d.graph(&case.graph()) {
                Ok(_) => {
                    case.run(&d, false).unwrap_or_else(|e| panic!("{a} and {b} to {to}: {e}"));
                    true
                }
                Err(e) => {
                    assert!(e.to_string().contains("ANYCHIP_CUDA_FP8=1"), "{e}");
                    false
                }
            };
            println!("= {taken}");
        }
        return;
    }
    if emulated(TEST) {
        assert_eq!(said(TEST, &[]), ["false"; 3]);
        assert_eq!(said(TEST, &[("ANYCHIP_CUDA_FP8", "1")]), ["true"; 3]);
    }
}

/// The default keeps f32; the faster form is for who asks for it, and cuts operands to 10 bits.
#[test]
fn tf32_is_only_for_who_asks_for_it() {
    const TEST: &str = "tf32_is_only_for_who_asks_for_it";
    if is_child() {
        let d = Device::new(anychip_hal::Driver::open(&driver(), 0).expect("the driver is there"));
        let case = plain(DType::F32, DType::F32, &[], [1, 1, 1]);
        let program = d.graph(&case.graph()).expect("it is taken");
        let x = d.alloc_from(&(1.0f32 + 2f32.powi(-12)).to_le_bytes()).expect("memory");
        let (one, out) = (d.alloc_from(&1f32.to_le_bytes()).expect("memory"), d.alloc(4).expect("memory"));
        let bindings = vec![x.all(), one.all(), out.all()];
        let step = Step::Launch { program, grid: Grid::Linear(1), bindings, scalars: vec![] };
        d.submit(&[step]).and_then(|p| p.wait()).expect("it runs");
        let mut got = [0; 4];
        d.download(&out, 0, &mut got).expect("it is read");
        return println!("= {}", f32::from_le_bytes(got) == 1.0);
    }
    if emulated(TEST) {
        assert_eq!(said(TEST, &[]), ["false"]);
        assert_eq!(said(TEST, &[("ANYCHIP_CUDA_TF32", "1")]), ["true"]);
    }
}
