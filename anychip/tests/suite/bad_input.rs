//! Every bad input gives its error, with names and numbers in it, at the call; and the device lives on.

use crate::common::{drivers, on_every_device, refused};
use anychip::{
    DType, Device, Error, Numerics, Program, Result, Tensor,
    hal::{
        self, Driver,
        device::Layers,
        layer::{Call, Fault, Planned},
    },
};
use std::{fs, path::Path, sync::Arc};

fn cpu() -> Device {
    Device::open("cpu").unwrap()
}

fn f32s(shape: &[usize], d: &Device) -> Tensor {
    Tensor::ones(shape, DType::F32, d).unwrap()
}

fn shape_error<T>(r: Result<T>, parts: &[&str]) {
    let e = refused(r, parts);
    assert!(matches!(e, Error::ShapeMismatch(_)), "{e:?}");
}

fn type_error<T>(r: Result<T>, parts: &[&str]) {
    let e = refused(r, parts);
    assert!(matches!(e, Error::DTypeMismatch(_)), "{e:?}");
}

#[test]
fn shapes() {
    let d = cpu();
    let x = f32s(&[2, 3], &d);
    shape_error(Tensor::from_vec(vec![1f32; 5], (2, 3), &d), &["from_vec", "[2, 3]", "6", "5"]);
    shape_error(Tensor::from_vec(vec![1f32; 5], (-5, -1), &d), &["from_vec", "-5"]);
    shape_error(Tensor::zeros((usize::MAX, 2), DType::F32, &d), &["too many elements"]);
    shape_error(Tensor::zeros([1; 9], DType::F32, &d), &["rank 9", "8"]);
    shape_error(x.add(f32s(&[2, 4], &d)), &["add", "[2, 3]", "[2, 4]"]);
    shape_error(x.gt(f32s(&[3, 3], &d)), &["gt", "[2, 3]", "[3, 3]"]);
    shape_error(x.gt(0.0).unwrap().where_cond(&x, f32s(&[5], &d)), &["where", "[2, 3]", "[5]"]);
    shape_error(x.reshape((4, 2)), &["reshape", "[2, 3]", "6", "[4, 2]", "8"]);
    shape_error(x.reshape((4, -1)), &["reshape", "[2, 3]", "[4, -1]"]);
    shape_error(x.reshape((-1, -1)), &["reshape", "[-1, -1]"]);
    shape_error(f32s(&[0], &d).reshape((0, -1)), &["reshape", "[0, -1]"]);
    shape_error(x.expand((2, 4)), &["expand", "[2, 3]", "[2, 4]"]);
    shape_error(x.broadcast_as(3), &["expand", "[2, 3]", "[3]"]);
    shape_error(x.matmul(&x), &["matmul", "[2, 3]", "rhs.t()"]);
    shape_error(x.matmul(&f32s(&[], &d)), &["matmul", "[2, 3]", "[]", "mul()"]);
    shape_error(f32s(&[2, 4, 3], &d).matmul(&f32s(&[5, 3, 4], &d)), &["matmul", "[2, 4, 3]", "[5, 3, 4]", "batch"]);
    shape_error(Tensor::cat(&[&x, &f32s(&[3, 4], &d)], 0), &["[2, 3]", "[3, 4]", "axis 0"]);
    shape_error(Tensor::stack(&[&x, &f32s(&[3, 4], &d)], 0), &["stack", "[2, 3]", "[3, 4]"]);
    shape_error(x.layer_norm(&f32s(&[2], &d), &f32s(&[3], &d), 1e-5), &["layer_norm", "weight", "[2]", "[3]"]);
    shape_error(x.rms_norm(&f32s(&[4], &d), 1e-5), &["rms_norm", "[4]", "[3]"]);
    assert_eq!(f32s(&[2, 0], &d).softmax(-1).unwrap().dims(), [2, 0]);
    shape_error(f32s(&[], &d).softmax(0), &["softmax"]);
    shape_error(f32s(&[2, 0], &d).max(1), &["max", "[2, 0]"]);
    let (q, k) = (f32s(&[1, 2, 4, 8], &d), f32s(&[1, 2, 5, 8], &d));
    shape_error(q.attention(&k, &q, None, None, false), &["attention", "[1, 2, 4, 8]", "[1, 2, 5, 8]"]);
    shape_error(q.attention(&k, &k, Some(&f32s(&[4, 4], &d)), None, false), &["mask", "[4, 4]", "[1, 2, 4, 5]"]);
    let many = f32s(&[1, 3, 5, 8], &d);
    shape_error(
        q.attention(&many, &many, None, None, false),
        &["attention", "[1, 2, 4, 8]", "[1, 3, 5, 8]", "multiple"],
    );
    shape_error(q.attention(&x, &x, None, None, false), &["attention", "[2, 3]", "rank"]);
    shape_error(x.to_vec1::<f32>(), &["to_vec1", "[2, 3]", "rank 2"]);
    shape_error(x.to_vec3::<f32>(), &["to_vec3", "[2, 3]"]);
    shape_error(x.to_vec0::<f32>(), &["to_vec0", "[2, 3]", "one element"]);
    shape_error(x.permute([0]), &["permute", "[0]"]);
    shape_error(x.permute([1, 1]), &["permute", "[1, 1]"]);
    shape_error(f32s(&[3], &d).t(), &["t:", "[3]", "two axes"]);
    shape_error(f32s(&[3], &d).embedding(&Tensor::zeros(1, DType::U32, &d).unwrap()), &["embedding", "[3]"]);
}

#[test]
fn axes_and_indices() {
    let d = cpu();
    let x = f32s(&[2, 3], &d);
    shape_error(x.sum(2), &["sum", "axis 2", "[2, 3]", "-2..=1"]);
    shape_error(x.mean(-3), &["mean", "axis -3"]);
    shape_error(x.sum([0, -2]), &["sum", "[0, -2]", "twice"]);
    shape_error(f32s(&[], &d).max(0), &["max", "axis 0", "no axes"]);
    shape_error(x.softmax(5), &["softmax", "axis 5"]);
    shape_error(x.squeeze(2), &["squeeze", "axis 2"]);
    shape_error(x.unsqueeze(4), &["unsqueeze", "axis 4", "-3..=2"]);
    shape_error(x.transpose(0, 7), &["transpose", "axis 7"]);
    shape_error(x.permute([0, 5]), &["permute", "axis 5"]);
    shape_error(x.dim(9), &["dim", "axis 9"]);
    shape_error(Tensor::cat(&[&x], 2), &["cat", "axis 2"]);
    shape_error(x.chunk(2, 3), &["chunk", "axis 3"]);
    shape_error(x.flip(2), &["flip", "axis 2"]);
    shape_error(x.flatten(1, 0), &["flatten", "1..=0"]);
    shape_error(x.narrow(1, 2, 2), &["narrow", "extent 3", "axis 1", "2 elements from 2"]);
    shape_error(x.narrow(0, usize::MAX, 2), &["narrow", "extent 2"]);
    shape_error(x.slice((.., 1..5)), &["slice", "1..5", "axis 1", "extent 3"]);
    #[allow(clippy::reversed_empty_ranges)]
    shape_error(x.slice((2..1,)), &["slice", "2..1", "axis 0"]);
    shape_error(x.slice((-3..,)), &["slice", "-3..", "axis 0"]);
    shape_error(x.slice((.., .., ..)), &["slice", "[2, 3]", "3 ranges"]);
    shape_error(x.get(2), &["get", "2 elements", "element 2"]);
    shape_error(f32s(&[], &d).get(0), &["get", "no axis"]);
    refused(x.chunk(0, 0), &["chunk", "0 parts"]);
    refused(x.step_by(0, 0), &["step_by", "step 0", "1 to"]);
    let none: [Tensor; 0] = [];
    refused(Tensor::cat(&none, 0), &["cat", "no tensors"]);
    refused(Tensor::stack(&none, 0), &["stack", "no tensors"]);
    let table = f32s(&[10, 4], &d);
    let ids = |ids: Vec<i64>| Tensor::from_vec(ids, -1i64, &d);
    assert!(ids(vec![]).is_err(), "an open extent has no place in a new tensor");
    let ids = |ids: Vec<i64>| Tensor::from_slice(&ids, ids.len(), &d).unwrap();
    refused(table.embedding(&ids(vec![3, 10])), &["id 10", "position 1", "10 rows"]);
    refused(table.embedding(&ids(vec![-1])), &["id -1", "position 0", "10 rows"]);
    refused(table.embedding(&ids(vec![0, 1, 2, 99]).reshape((2, 2)).unwrap()), &["id 99", "position [1, 1]"]);
}

#[test]
fn types() {
    let d = cpu();
    let x = f32s(&[2, 2], &d);
    let i = Tensor::ones((2, 2), DType::I32, &d).unwrap();
    let b = Tensor::ones((2, 2), DType::Bool, &d).unwrap();
    type_error(x.add(&i), &["add", "f32", "i32", "to_dtype"]);
    type_error(x.matmul(&i), &["matmul", "f32", "i32"]);
    type_error(i.exp(), &["exp", "float", "i32"]);
    type_error(i.mean(0), &["mean", "float", "i32"]);
    type_error(i.softmax(0), &["softmax", "i32"]);
    type_error(b.add(&b), &["add", "bool"]);
    type_error(b.sum_all(), &["sum", "bool"]);
    type_error(x.any_all(), &["any", "bool", "f32"]);
    type_error(x.and(&x), &["and", "f32"]);
    type_error(x.not(), &["not", "f32"]);
    type_error(x.where_cond(&x, &x), &["where", "f32", "bool"]);
    type_error(b.where_cond(&x, &i), &["where", "f32", "i32"]);
    type_error(x.embedding(&x), &["embedding", "f32", "integers"]);
    type_error(x.to_vec::<f64>(), &["f32", "f64", "to_dtype(DType::F64)"]);
    type_error(x.layer_norm(&i.get(0).unwrap(), &x.get(0).unwrap(), 0.0), &["layer_norm", "f32", "i32"]);
    type_error(Tensor::cat(&[&x, &i], 0), &["f32", "i32"]);
    let q = f32s(&[1, 1, 2, 2], &d);
    type_error(q.attention(&q, &q.to_dtype(DType::F16).unwrap(), None, None, false), &["attention", "f16"]);
    type_error(x.eq(true), &["eq", "true", "f32"]);
    type_error(b.eq(1), &["eq", "1", "bool"]);
    refused(i.add(0.5), &["add", "0.5", "i32"]);
    refused(i.to_dtype(DType::U8).unwrap().add(256), &["add", "256", "u8"]);
    refused(i.to_dtype(DType::U32).unwrap().maximum(-1), &["maximum", "-1", "u32"]);
    refused(i.maximum(f64::NAN), &["maximum", "NaN", "i32"]);
    refused(x.rms_norm(&x.get(0).unwrap(), f32::NAN), &["rms_norm", "NaN"]);
    refused(q.attention(&q, &q, None, Some(f32::INFINITY), false), &["attention", "inf"]);
    refused(Tensor::arange_step(0f32, 1.0, 0.0, &d), &["arange", "step"]);
    refused(Tensor::arange_step(0f32, f32::NAN, 1.0, &d), &["arange", "NaN"]);
    refused("f33".parse::<DType>(), &["f33", "f32", "bf16"]);
}

#[test]
fn devices() {
    refused(Device::open("toaster"), &["toaster", "cpu"]);
    refused(Device::open("cpu:7"), &["cpu:7", "1 device"]);
    refused(Device::open("cpu:x"), &["cpu:x", "number"]);
    refused(Device::open_with("toaster", Numerics::Exact), &["toaster", "cpu"]);
    refused(Device::open("cpu/exact,cpu"), &["differ in their numerics"]);
    let mixed = ["cpu/exact", "cpu"].map(|id| Device::open(id).unwrap().chain()[0].clone());
    refused(Device::from_chain(mixed.into()), &["differ in their numerics", "cpu/exact"]);
    refused(Device::open(""), &["\"\"", "cpu"]);
    refused(Device::open("cpu,cpu"), &["twice"]);
    refused(Device::from_chain(vec![]), &["at least one"]);
    refused(Device::telemetry("toaster"), &["toaster", "no driver"]);
    refused(Device::telemetry("cpu"), &["telemetry", "cpu"]);
    assert!(Device::best().unwrap().id().len() > 1);
    on_every_device(|d| {
        if d.id() == "cpu" {
            return;
        }
        let (here, there) = (f32s(&[2], &cpu()), f32s(&[2], d));
        refused(here.add(&there), &["add", "cpu", d.id(), "to_device"]);
        refused(Tensor::cat(&[&here, &there], 0), &["cat", "cpu", d.id()]);
        refused(here.matmul(&there), &["matmul", "cpu", d.id()]);
        refused(Tensor::realize_all(&[&here, &there]), &["cpu", d.id()]);
        assert_eq!(here.add(there.to_device(&cpu()).unwrap()).unwrap().to_vec1::<f32>().unwrap(), [2., 2.]);
    });
}

#[test]
fn programs() {
    let d = cpu();
    let x = f32s(&[2, 3], &d);
    let p = Program::new(&d, std::slice::from_ref(&x), |x| Ok(vec![x[0].add(1.0)?])).unwrap();
    refused(p.run(&[]), &["1 inputs", "got 0"]);
    shape_error(p.run(&[f32s(&[3, 2], &d)]), &["input 0", "[3, 2]", "[2, 3]"]);
    type_error(p.run(&[x.to_dtype(DType::I32).unwrap()]), &["input 0", "i32", "f32"]);
    assert_eq!(p.run(std::slice::from_ref(&x)).unwrap()[0].to_vec::<f32>().unwrap(), [2.0; 6]);
    refused(Program::new(&d, &[x], |x| Ok(vec![x[0].matmul(&x[0])?])).map(|_| ()), &["matmul", "[2, 3]"]);
}

/// More than the device has, and life after it.
#[test]
fn an_allocation_larger_than_the_device() {
    on_every_device(|d| {
        let keep = f32s(&[1000], d).add(1.0).unwrap();
        keep.realize().unwrap();
        let bytes = 1u64 << 44;
        let e = refused(
            Tensor::zeros(1usize << 42, DType::F32, d).unwrap().realize().map(|_| ()),
            &[&bytes.to_string(), d.id()],
        );
        assert!(matches!(e, Error::OutOfMemory { .. }), "{e:?}");
        assert_eq!(keep.sqr().unwrap().sum_all().unwrap().to_vec0::<f32>().unwrap(), 4000.0, "{d}: life after it");
    });
}

/// A device whose chosen calls fail.
fn faulty() -> (Arc<Fault>, Device) {
    let fault = Arc::new(Fault::new(anychip_cpu::CpuDriver::new().open(0).unwrap()));
    let device = hal::Device::with_layers(fault.clone(), &Layers::default());
    (fault, Device::from_chain(vec![device]).unwrap())
}

#[test]
fn the_largest_numbers_as_ranges_and_steps() {
    let d = cpu();
    let x = f32s(&[2, 3], &d);
    shape_error(x.slice((.., ..=i64::MAX)), &["slice", "..=9223372036854775807", "axis 1", "extent 3"]);
    shape_error(x.slice((..=usize::MAX,)), &["slice", "axis 0", "extent 2"]);
    refused(x.step_by(0, usize::MAX), &["step_by", &usize::MAX.to_string(), &isize::MAX.to_string()]);
    assert_eq!(x.step_by(1, isize::MAX as usize).unwrap().dims(), [2, 1], "a step beyond the axis leaves its first");
}

#[test]
fn a_kernel_that_does_not_compile() {
    let (fault, d) = faulty();
    let error = Error::CompileFailed {
        kernel: "k".into(),
        device: "cpu".into(),
        rendered: "source".into(),
        log: "line 3: no".into(),
    };
    let x = f32s(&[16], &d);
    fault.plan(Planned { call: Call::Load, after: 0, times: 1, error });
    let e = refused(x.add(1.0).unwrap().to_vec::<f32>(), &["does not compile", "line 3: no", "source"]);
    assert!(matches!(e, Error::CompileFailed { .. }));
    assert_eq!(x.add(1.0).unwrap().to_vec::<f32>().unwrap(), [2.0; 16], "the device lives on");
}

#[test]
fn a_device_that_runs_out_and_one_that_is_lost() {
    let (fault, d) = faulty();
    let full = Error::OutOfMemory { device: "cpu".into(), asked: 0, why: "planned".into() };
    // More failures than a call tries again by itself.
    let times = 64;
    fault.plan(Planned { call: Call::Alloc, after: 0, times, error: full });
    let x = f32s(&[1 << 16], &d).mul(2.0).unwrap();
    let e = refused(x.to_vec::<f32>(), &["out of memory", "planned"]);
    assert!(matches!(e, Error::OutOfMemory { .. }), "{e:?}");
    let later = (0..times).find_map(|_| x.to_vec::<f32>().ok()).expect("the device lives on");
    assert_eq!(later[0], 2.0);

    let kept = f32s(&[4], &d).add(5.0).unwrap();
    kept.checkpoint().unwrap();
    let only_there = f32s(&[4], &d).add(6.0).unwrap();
    only_there.realize().unwrap();
    let lost = Error::DeviceLost { device: "cpu".into(), why: "planned".into(), restart: false };
    fault.plan(Planned { call: Call::Submit, after: 0, times: u64::MAX, error: lost });
    let e = refused(kept.sqr().unwrap().to_vec::<f32>(), &["lost", "planned"]);
    assert!(e.is_lost());
    assert!(refused(only_there.to_vec::<f32>(), &["lost"]).is_lost());
    let again = kept.to_device(&cpu()).unwrap();
    assert_eq!(again.add(1.0).unwrap().to_vec::<f32>().unwrap(), [7.0; 4], "a checkpoint survives its device");
}

/// Programs that a driver compiled, altered on disk: they are compiled afresh, and the answer is right.
#[test]
fn an_altered_cache_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = |driver: &dyn Driver, ordinal: u32| {
        let layers = Layers { cache: Some(folder.path().to_path_buf()), ..Layers::default() };
        let device = hal::Device::with_layers(driver.open(ordinal).unwrap(), &layers);
        let d = Device::from_chain(vec![device]).unwrap();
        Tensor::arange(0f32, 100., &d)
            .unwrap()
            .mul(3.0)
            .unwrap()
            .exp2()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_vec0::<f32>()
            .unwrap()
    };
    for driver in drivers() {
        let driver = driver.as_ref();
        let first = run(driver, 0);
        for damage in [flip as fn(&mut Vec<u8>), cut, empty, foreign] {
            for file in files(folder.path()) {
                let mut bytes = fs::read(&file).unwrap();
                damage(&mut bytes);
                fs::write(&file, bytes).unwrap();
            }
            assert_eq!(run(driver, 0), first, "{}", driver.name());
        }
    }
}

#[allow(clippy::ptr_arg)] // one of several ways to damage a file, all of one type
fn flip(bytes: &mut Vec<u8>) {
    let middle = bytes.len() / 2;
    bytes.iter_mut().skip(middle).take(64).for_each(|b| *b ^= 0x55);
}

fn cut(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

fn empty(bytes: &mut Vec<u8>) {
    bytes.clear();
}

fn foreign(bytes: &mut Vec<u8>) {
    *bytes = b"MZ something else entirely".repeat(100);
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    entries
        .flatten()
        .flat_map(|e| match e.path() {
            p if p.is_dir() => files(&p),
            p => vec![p],
        })
        .collect()
}
