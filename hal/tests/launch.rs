//! The launch rules, on a device that needs none of them and on one that needs all.

mod common;

use anychip_hal::{
    Command, DType, Error,
    device::{Checks, Device, Grid, Program, ScalarArg, Step},
    ir::{Access, Builder, Builtin, CmpOp, Elem, Kernel, ParamKind, Place},
    op::{Graph, Node, Op, Ref, TensorSpec, UnaryOp},
};
use common::{Mock, info, infos, narrow_info, open};

/// out[i] = x[i] · scale + bias for i below n.
fn affine(elem: DType) -> Kernel {
    let mut b = Builder::new("affine", [4, 1, 1]);
    let x = b.buffer("x", elem, Access::Read);
    let out = b.buffer("out", elem, Access::Write);
    let n = b.scalar("n", Elem::Idx);
    let scale = b.scalar("scale", elem);
    let bias = b.scalar("bias", elem);
    let i = b.builtin(Builtin::GlobalId(0));
    let inside = b.compare(CmpOp::Lt, i, n);
    b.when(inside, |b| {
        let v = b.load(Place::Buffer(x), i);
        let v = b.mul(v, scale);
        let v = b.add(v, bias);
        b.store(Place::Buffer(out), i, v);
    });
    b.finish().unwrap()
}

/// out[group] = group, and nothing else is said about the grid.
fn groups() -> Kernel {
    let mut b = Builder::new("groups", [1, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let g = b.builtin(Builtin::GroupId(0));
    let all = b.builtin(Builtin::NumGroups(0));
    let g32 = b.cast(DType::U32, g);
    let all = b.cast(DType::U32, all);
    let thousand = b.u32(1000);
    let v = b.mul(all, thousand);
    let v = b.add(v, g32);
    b.store(Place::Buffer(out), g, v);
    b.finish().unwrap()
}

/// Uses dimension 1: out[y · 3 + x] = 10 y + x.
fn plane() -> Kernel {
    let mut b = Builder::new("plane", [1, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let x = b.builtin(Builtin::GroupId(0));
    let y = b.builtin(Builtin::GroupId(1));
    let [three, ten] = [3, 10].map(|n| b.idx(n));
    let at = b.mul(y, three);
    let at = b.add(at, x);
    let v = b.mul(y, ten);
    let v = b.add(v, x);
    let v = b.cast(DType::U32, v);
    b.store(Place::Buffer(out), at, v);
    b.finish().unwrap()
}

fn u32s(device: &Device, of: &anychip_hal::device::Buffer) -> Vec<u32> {
    let mut raw = vec![0; of.bytes() as usize];
    device.download(of, 0, &mut raw).unwrap();
    raw.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
}

fn raw(of: &[u32]) -> Vec<u8> {
    of.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn last_launch(mock: &Mock) -> ([u32; 3], Vec<anychip_hal::Range>, Vec<u8>) {
    let s = mock.state();
    let found = s.log.iter().rev().find_map(|c| match c {
        Command::Launch { groups, bindings, scalars, .. } => Some((*groups, bindings.clone(), scalars.clone())),
        _ => None,
    });
    found.expect("a launch")
}

fn affine_step(p: &Program, x: anychip_hal::device::Slice, out: anychip_hal::device::Slice) -> Step {
    let n = out.bytes / 4;
    Step::Launch {
        program: p.clone(),
        grid: Grid::covering(n, 4),
        bindings: vec![x, out],
        scalars: vec![ScalarArg::Idx(n), 3u32.into(), 5u32.into()],
    }
}

#[test]
fn slices_at_any_element_compute_the_same() {
    for info in infos() {
        let (device, mock) = open(info.clone());
        let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
        let data: Vec<u32> = (0..200).collect();
        let x = device.alloc_from(&raw(&data)).unwrap();
        for (first, n) in [(0, 200), (1, 10), (64, 64), (65, 135), (199, 1), (3, 0)] {
            let out = device.alloc_from(&raw(&[7; 100])).unwrap();
            let n = n.min(90);
            device
                .submit(&[affine_step(&p, x.slice(first * 4, n * 4), out.slice(5 * 4, n * 4))])
                .unwrap()
                .wait()
                .unwrap();
            let mut expect = vec![7; 100];
            for i in 0..n as usize {
                expect[5 + i] = (first as u32 + i as u32) * 3 + 5;
            }
            assert_eq!(u32s(&device, &out), expect, "{first}, {n}");
            if n > 0 {
                let (_, bound, _) = last_launch(&mock);
                let align = info.limits.binding_align;
                assert!(bound.iter().all(|r| r.offset % align == 0));
                assert_eq!(bound[0].offset + first * 4 % align, first * 4);
            }
        }
    }
}

#[test]
fn linear_grids_are_folded_unseen() {
    for info in infos() {
        let (device, mock) = open(info.clone());
        let p = device.kernel(&groups(), Checks::On).unwrap();
        for n in [1u32, 6, 7, 8, 50, 100] {
            let out = device.alloc_from(&raw(&[9; 101])).unwrap();
            let bindings = vec![out.all()];
            let step = Step::Launch { program: p.clone(), grid: Grid::Linear(u64::from(n)), bindings, scalars: vec![] };
            device.submit(&[step]).unwrap().wait().unwrap();
            let mut expect: Vec<u32> = (0..n).map(|g| n * 1000 + g).collect();
            expect.resize(101, 9);
            assert_eq!(u32s(&device, &out), expect);
            let (grid, ..) = last_launch(&mock);
            assert!(grid.iter().zip(info.limits.max_groups).all(|(&g, max)| g <= max), "{grid:?}");
        }
    }
}

#[test]
fn an_empty_grid_is_skipped() {
    let (device, mock) = open(info());
    let p = device.kernel(&groups(), Checks::On).unwrap();
    let out = device.alloc(4).unwrap();
    for grid in [Grid::Linear(0), Grid::Xyz([0, 1, 1]), Grid::Xyz([3, 0, 2])] {
        let step = Step::Launch { program: p.clone(), grid, bindings: vec![out.all()], scalars: vec![] };
        assert!(device.submit(&[step]).unwrap().ticket().is_none());
    }
    assert!(mock.launches().is_empty());
}

#[test]
fn planes_are_planes_and_lines_are_lines() {
    let (device, _) = open(info());
    let p = device.kernel(&plane(), Checks::On).unwrap();
    let out = device.alloc(24).unwrap();
    let step = |program: &Program, grid| Step::Launch {
        program: program.clone(),
        grid,
        bindings: vec![out.all()],
        scalars: vec![],
    };
    device.submit(&[step(&p, Grid::Xyz([3, 2, 1]))]).unwrap().wait().unwrap();
    assert_eq!(u32s(&device, &out), [0, 1, 2, 10, 11, 12]);
    // A kernel of one dimension takes no plane, on no device: folding would change its meaning.
    let line = device.kernel(&groups(), Checks::On).unwrap();
    let e = device.submit(&[step(&line, Grid::Xyz([3, 2, 1]))]).unwrap_err();
    assert!(e.to_string().contains("[3, 2, 1]") && e.to_string().contains("Grid::Linear"), "{e}");
    let e = device.submit(&[step(&p, Grid::Xyz([1, 70_000, 1]))]).unwrap_err();
    assert!(e.is_unsupported() && e.to_string().contains("65535"), "{e}");
}

#[test]
fn what_does_not_fit_32_bits_gets_64() {
    let (device, mock) = open(info());
    let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
    let (x, out) = (device.alloc_from(&raw(&[1, 2, 3, 4])).unwrap(), device.alloc(16).unwrap());
    let launch = |n: u64| Step::Launch {
        program: p.clone(),
        grid: Grid::Linear(1),
        bindings: vec![x.all(), out.all()],
        scalars: vec![ScalarArg::Idx(n), 1u32.into(), 0u32.into()],
    };
    device.submit(&[launch(4)]).unwrap().wait().unwrap();
    device.submit(&[launch(1 << 32)]).unwrap().wait().unwrap();
    device.submit(&[launch(1 << 40)]).unwrap().wait().unwrap();
    let names: Vec<_> = mock.launches().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["affine/32", "affine/64", "affine/64"]);
    assert_eq!(mock.state().compiled.len(), 2, "the wide variant is loaded once");
    assert_eq!(u32s(&device, &out), [1, 2, 3, 4]);

    let mut small = info();
    small.features.clear();
    let (device, _) = open(small);
    let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
    let (x, out) = (device.alloc(16).unwrap(), device.alloc(16).unwrap());
    let step = Step::Launch {
        program: p,
        grid: Grid::Linear(1),
        bindings: vec![x.all(), out.all()],
        scalars: vec![ScalarArg::Idx(1 << 33), 1u32.into(), 0u32.into()],
    };
    let e = device.submit(&[step]).unwrap_err();
    assert!(e.is_unsupported() && e.to_string().contains("`n` = 8589934592"), "{e}");
}

#[test]
fn a_constant_that_needs_64_bits_leaves_only_the_wide_variant() {
    let mut b = Builder::new("far", [1, 1, 1]);
    let out = b.buffer("out", DType::U32, Access::Write);
    let i = b.builtin(Builtin::GlobalId(0));
    let far = b.idx(1 << 33);
    let below = b.compare(CmpOp::Lt, i, far);
    let v = b.cast(DType::U32, below);
    b.store(Place::Buffer(out), i, v);
    let k = b.finish().unwrap();
    let (device, mock) = open(info());
    let p = device.kernel(&k, Checks::On).unwrap();
    let out = device.alloc(8).unwrap();
    let step = Step::Launch { program: p, grid: Grid::Linear(2), bindings: vec![out.all()], scalars: vec![] };
    device.submit(&[step]).unwrap().wait().unwrap();
    assert_eq!(u32s(&device, &out), [1, 1]);
    assert_eq!(mock.launches()[0].0, "far/64");
    let mut small = info();
    small.features.clear();
    let e = open(small).0.kernel(&k, Checks::On).unwrap_err();
    assert!(e.is_unsupported() && e.to_string().contains("8589934592"), "{e}");
}

#[test]
fn scalars_keep_their_bits() {
    let mut b = Builder::new("scalars", [1, 1, 1]);
    let out = b.buffer("out", DType::U8, Access::Write);
    let all = [
        ScalarArg::U8(200),
        ScalarArg::I64(-2),
        ScalarArg::Bool(true),
        ScalarArg::F32(1.5),
        ScalarArg::I16(-3),
        ScalarArg::F64(-0.25),
        ScalarArg::F16(half::f16::from_f32(2.0)),
        ScalarArg::BF16(half::bf16::from_f32(3.0)),
        ScalarArg::I8(-1),
        ScalarArg::U16(65535),
        ScalarArg::I32(i32::MIN),
        ScalarArg::U64(u64::MAX),
        ScalarArg::U32(9),
    ];
    let params: Vec<_> = all.iter().enumerate().map(|(i, s)| b.scalar(&format!("s{i}"), s.elem())).collect();
    let zero = b.idx(0);
    b.store(Place::Buffer(out), zero, params[0]);
    let k = b.finish().unwrap();
    let (device, mock) = open(info());
    let p = device.kernel(&k, Checks::On).unwrap();
    let out = device.alloc(1).unwrap();
    let scalars = all.to_vec();
    let step = Step::Launch { program: p, grid: Grid::Linear(1), bindings: vec![out.all()], scalars };
    device.submit(&[step]).unwrap().wait().unwrap();
    let (_, _, packed) = last_launch(&mock);
    // By hand: each at the next multiple of its size, after the one before.
    let mut expect = vec![200];
    let mut put = |at: usize, bytes: &[u8]| {
        expect.resize(at, 0);
        expect.extend(bytes);
    };
    put(8, &(-2i64).to_le_bytes());
    put(16, &[1]);
    put(20, &1.5f32.to_le_bytes());
    put(24, &(-3i16).to_le_bytes());
    put(32, &(-0.25f64).to_le_bytes());
    put(40, &0x4000u16.to_le_bytes());
    put(42, &0x4040u16.to_le_bytes());
    put(44, &[0xFF]);
    put(46, &[0xFF, 0xFF]);
    put(48, &i32::MIN.to_le_bytes());
    put(56, &[0xFF; 8]);
    put(64, &9u32.to_le_bytes());
    assert_eq!(packed[..expect.len()], expect);
}

#[test]
fn wrong_launches_are_refused_by_name() {
    let (device, mock) = open(narrow_info());
    let (other, _) = open(info());
    let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
    let (x, out) = (device.alloc(64).unwrap(), device.alloc(64).unwrap());
    let good = vec![ScalarArg::Idx(4), 1u32.into(), 0u32.into()];
    let refused = |bindings: Vec<_>, scalars: Vec<_>, code: u32, says: &[&str]| {
        let step = Step::Launch { program: p.clone(), grid: Grid::Linear(1), bindings, scalars };
        let e = device.submit(&[step]).unwrap_err();
        assert_eq!(e.code(), code, "{e}");
        for s in ["affine", "mock:0"].iter().chain(says) {
            assert!(e.to_string().contains(s), "{e} does not say {s}");
        }
    };
    refused(vec![x.all()], good.clone(), 8, &["1 buffers", "2 (x: &Buf<u32>, out: &mut Buf<u32>)"]);
    refused(vec![x.all(), out.all()], vec![], 8, &["0 scalars", "n: idx, scale: u32, bias: u32"]);
    let ints = vec![ScalarArg::Idx(4), 1i32.into(), 0u32.into()];
    refused(vec![x.all(), out.all()], ints, 10, &["`scale` is u32", "i32"]);
    refused(vec![x.slice(2, 8), out.all()], good.clone(), 8, &["`x`", "offset 2", "multiple of 4"]);
    refused(vec![x.slice(0, 6), out.all()], good.clone(), 8, &["`x`", "length 6"]);
    refused(vec![x.slice(60, 8), out.all()], good.clone(), 8, &["`x`", "60..68", "64 bytes"]);
    refused(vec![x.slice(0, 16), x.slice(32, 16)], good.clone(), 8, &["`out` is written", "`x`"]);
    let large = device.alloc(17 << 20).unwrap();
    refused(vec![large.all(), out.all()], good.clone(), 3, &["`x`", "17825792", "16777216"]);
    let step = Step::Launch {
        program: p.clone(),
        grid: Grid::Linear(8 << 20),
        bindings: vec![x.all(), out.all()],
        scalars: good,
    };
    let e = device.submit(&[step]).unwrap_err();
    assert!(e.is_unsupported() && e.to_string().contains("7340032"), "{e}");
    let step = Step::Launch { program: p, grid: Grid::Linear(1), bindings: vec![], scalars: vec![] };
    assert!(other.submit(&[step]).unwrap_err().to_string().contains("another opened device"));
    assert!(mock.launches().is_empty());
}

#[test]
fn a_stated_alignment_is_kept() {
    let mut b = Builder::new("aligned", [1, 1, 1]);
    let out = b.param("out", ParamKind::Buffer { elem: DType::F32, access: Access::Write, align: 4 });
    let (zero, one) = (b.idx(0), b.f32(1.0));
    b.store(Place::Buffer(out), zero, one);
    let (device, _) = open(info());
    let p = device.kernel(&b.finish().unwrap(), Checks::On).unwrap();
    let out = device.alloc(64).unwrap();
    let at = |offset| {
        let bindings = vec![out.slice(offset, 16)];
        device.submit(&[Step::Launch { program: p.clone(), grid: Grid::Linear(1), bindings, scalars: vec![] }])
    };
    at(16).unwrap().wait().unwrap();
    assert!(at(4).unwrap_err().to_string().contains("multiple of 16"));
}

#[test]
fn kernels_larger_than_the_device_are_refused_when_loaded() {
    let build = |workgroup, buffers: usize, shared: u32| {
        let mut b = Builder::new("large", workgroup);
        let zero = b.idx(0);
        for i in 0..buffers {
            let p = b.buffer(&format!("b{i}"), DType::U32, Access::Write);
            let v = b.u32(1);
            b.store(Place::Buffer(p), zero, v);
        }
        if shared > 0 {
            let s = b.shared("tile", DType::U32, shared);
            let v = b.u32(1);
            b.store(Place::Shared(s), zero, v);
        }
        b.finish().unwrap()
    };
    let (device, mock) = open(info());
    let refused = |k: Kernel, says: &str| {
        let e = device.kernel(&k, Checks::On).unwrap_err();
        assert!(e.is_unsupported() && e.to_string().contains(says), "{e}");
    };
    refused(build([512, 1, 1], 1, 0), "[512, 1, 1]");
    refused(build([32, 32, 1], 1, 0), "1024 lanes, at most 256");
    refused(build([1, 1, 1], 9, 0), "9 buffers, at most 8");
    refused(build([1, 1, 1], 1, 5000), "20000 bytes of workgroup memory is not supported: mock:0 has 16384");
    assert!(mock.state().compiled.is_empty());
    let mut fixed = info();
    fixed.kernels = false;
    let e = open(fixed).0.kernel(&groups(), Checks::On).unwrap_err();
    assert!(e.is_unsupported() && e.to_string().contains("graphs of standard operations only"), "{e}");
}

#[test]
fn checked_kernels_stay_within_their_slices() {
    // The kernel believes n; the slice is shorter. The mock panics when a lane leaves its binding.
    for info in infos() {
        let (device, _) = open(info);
        let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
        let x = device.alloc_from(&raw(&[1; 16])).unwrap();
        let out = device.alloc_from(&raw(&[9; 16])).unwrap();
        let step = Step::Launch {
            program: p,
            grid: Grid::Linear(4),
            bindings: vec![x.slice(4, 8), out.slice(8, 16)],
            scalars: vec![ScalarArg::Idx(16), 2u32.into(), 1u32.into()],
        };
        device.submit(&[step]).unwrap().wait().unwrap();
        let mut expect = vec![9; 16];
        // Reads outside give 0.
        expect[2..6].copy_from_slice(&[3, 3, 1, 1]);
        assert_eq!(u32s(&device, &out), expect);
    }
}

#[test]
fn the_same_kernel_is_loaded_once() {
    let (device, mock) = open(info());
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| device.kernel(&affine(DType::U32), Checks::On).unwrap());
        }
    });
    assert_eq!(mock.state().compiled, ["affine"]);
    // SAFETY: it is never launched.
    unsafe { device.kernel_unchecked(&affine(DType::U32)) }.unwrap();
    device.kernel(&affine(DType::F32), Checks::On).unwrap();
    assert_eq!(mock.state().compiled.len(), 3);
    drop(device);
    assert_eq!(mock.state().unloaded, 3);
}

fn relu(elements: usize) -> Graph {
    let spec = TensorSpec::dense(DType::F32, &[elements]);
    let node = Node {
        op: Op::Unary(UnaryOp::Relu),
        inputs: vec![Ref::Input(0)],
        views: vec![None],
        dtype: DType::F32,
        shape: vec![elements],
    };
    Graph { name: "relu".into(), inputs: vec![spec.clone()], nodes: vec![node], outputs: vec![(0, spec)] }
}

#[test]
fn graphs_take_inputs_outputs_and_workspace() {
    for info in infos() {
        let (device, mock) = open(info);
        let graph = relu(8);
        device.accepts(&graph).unwrap();
        let p = device.graph(&graph).unwrap();
        assert_eq!(p.workspace(), 128);
        let (x, out, work) =
            (device.alloc_from(&raw(&[5; 8])).unwrap(), device.alloc(32).unwrap(), device.alloc(128).unwrap());
        let launch = |bindings| {
            device.submit(&[Step::Launch { program: p.clone(), grid: Grid::Linear(1), bindings, scalars: vec![] }])
        };
        launch(vec![x.all(), out.all()]).unwrap().wait().unwrap();
        assert_eq!(u32s(&device, &out), [5; 8]);
        assert_eq!(last_launch(&mock).1.len(), 3, "its workspace was allocated");
        launch(vec![x.all(), out.all(), work.all()]).unwrap().wait().unwrap();
        let refused = |bindings, says: &str| {
            let e = launch(bindings).unwrap_err();
            assert!(e.to_string().contains(says) && e.to_string().contains("graph relu on mock:0"), "{e}");
        };
        refused(vec![x.all()], "takes 1 inputs, 1 outputs and, at choice, 128 bytes of workspace");
        refused(vec![x.all(), out.slice(0, 28)], "output 0 has 28 bytes, 32 are needed");
        refused(vec![x.all(), x.all()], "output 0 is written");
        refused(vec![x.all(), out.all(), work.slice(0, 64)], "the workspace has 64 bytes, 128");
        // The same graph is the same program while someone holds it.
        let again = device.graph(&graph).unwrap();
        assert_eq!(mock.state().compiled.len(), 1);
        drop((p, again));
        device.synchronize().unwrap();
        device.graph(&graph).unwrap();
        assert_eq!(mock.state().compiled.len(), 2);
    }
    let mut two = relu(8);
    two.nodes.push(Node { inputs: vec![Ref::Node(0)], ..two.nodes[0].clone() });
    let (device, _) = open(info());
    assert!(device.graph(&two).unwrap_err().is_unsupported());
    assert!(device.accepts(&two).unwrap_err().is_unsupported());
    let mut wrong = relu(8);
    wrong.nodes[0].inputs = vec![Ref::Input(3)];
    assert!(matches!(device.graph(&wrong).unwrap_err(), Error::InvalidArgument(_)));
}

#[test]
fn strided_tensors_need_what_they_reach() {
    let (device, _) = open(info());
    let mut graph = relu(4);
    // Backwards over every other element, from element 6 on.
    graph.inputs[0].strides = vec![-2];
    graph.inputs[0].offset = 6;
    let p = device.graph(&graph).unwrap();
    let (x, out) = (device.alloc(32).unwrap(), device.alloc(64).unwrap());
    let launch = |p: &Program, x| {
        let bindings = vec![x, out.all()];
        device.submit(&[Step::Launch { program: p.clone(), grid: Grid::Linear(1), bindings, scalars: vec![] }])
    };
    launch(&p, x.slice(0, 28)).unwrap().wait().unwrap();
    assert!(launch(&p, x.slice(0, 24)).unwrap_err().to_string().contains("28 are needed"));
    graph.inputs[0].offset = 5;
    let p = device.graph(&graph).unwrap();
    assert!(launch(&p, x.all()).unwrap_err().to_string().contains("strides [-2] leave the binding"));
}

#[test]
fn recorded_steps_run_again() {
    for info in infos() {
        let (device, mock) = open(info.clone());
        let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
        let (a, b) = (device.alloc_from(&raw(&[1; 8])).unwrap(), device.alloc(32).unwrap());
        let steps = vec![affine_step(&p, a.all(), b.all()), Step::Copy { src: b.all(), dst: a.all() }];
        let recorded = device.record(steps).unwrap();
        drop((p, b));
        for _ in 0..3 {
            device.run(&recorded).unwrap().wait().unwrap();
        }
        // 1 → 8 → 29 → 92.
        assert_eq!(u32s(&device, &a), [92; 8]);
        let (other, _) = open(info);
        assert!(other.run(&recorded).unwrap_err().to_string().contains("another opened device"));
        let last = device.run(&recorded).unwrap();
        drop(recorded);
        last.wait().unwrap();
        assert!(mock.state().compiled == ["affine"]);
    }
}

#[test]
fn each_step_has_its_time() {
    let (device, _) = open(narrow_info());
    let p = device.kernel(&groups(), Checks::On).unwrap();
    let out = device.alloc(64).unwrap();
    let launch = |grid| Step::Launch { program: p.clone(), grid, bindings: vec![out.all()], scalars: vec![] };
    // An odd fill becomes several commands, an empty grid none.
    let steps = [launch(Grid::Linear(2)), Step::Fill { dst: out.slice(1, 9), word: 1 }, launch(Grid::Linear(0))];
    let spans = device.submit_profiled(&steps).unwrap().spans().unwrap();
    assert_eq!(spans.len(), 3);
    assert_eq!(spans[0].map(|s| s.end - s.begin), Some(10));
    assert!(spans[1].is_some_and(|s| s.end - s.begin >= 50), "{spans:?}");
    assert_eq!(spans[2], None);
    assert_eq!(device.submit(&steps).unwrap().spans().unwrap(), [None; 3]);
    let recorded = device.record(steps.to_vec()).unwrap();
    assert!(device.run_profiled(&recorded).unwrap().spans().unwrap()[0].is_some());
}

#[test]
fn many_threads_share_a_device() {
    for info in infos() {
        let serialised = info.serialised;
        let (device, mock) = open(info);
        std::thread::scope(|s| {
            for t in 0..8u32 {
                let device = device.clone();
                s.spawn(move || {
                    for round in 0..20u32 {
                        let p = device.kernel(&affine(DType::U32), Checks::On).unwrap();
                        let n = 10 + t as usize;
                        let x = device.alloc_from(&raw(&vec![t * 100 + round; n])).unwrap();
                        let out = device.alloc(n as u64 * 4).unwrap();
                        let work = device.submit(&[affine_step(&p, x.all(), out.all())]).unwrap();
                        if round % 2 == 0 {
                            work.wait().unwrap();
                        }
                        assert_eq!(u32s(&device, &out), vec![(t * 100 + round) * 3 + 5; n]);
                    }
                });
            }
            for t in 0..4 {
                let device = device.clone();
                s.spawn(move || {
                    let mut k = groups();
                    k.name = format!("groups{t}");
                    device.kernel(&k, Checks::On).unwrap();
                });
            }
        });
        let s = mock.state();
        assert!(!serialised || s.most_inside == 1, "{} calls at once", s.most_inside);
        drop(s);
        device.synchronize().unwrap();
        assert_eq!(device.memory().in_use, 0);
    }
}
