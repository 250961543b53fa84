//! What a plan says of itself, for a reader.

use crate::common::on_every_device;
use anychip::{DType, Device, Program, Tensor};

fn ones(shape: &[usize], device: &Device) -> Tensor {
    Tensor::ones(shape, DType::F32, device).unwrap()
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_chain_of_elementwise_work_is_one_launch_that_moves_each_operand_once() {
    on_every_device(|device| {
        let x: Vec<Tensor> = (0..3).map(|_| ones(&[64, 256], device)).collect();
        Tensor::realize_all(&x.iter().collect::<Vec<_>>()).unwrap();
        let program = Program::new(device, &x, |x| Ok(vec![x[0].mul(&x[1])?.add(&x[2])?.gelu()?])).unwrap();
        let text = program.explain();
        has(
            &text,
            &[
                "  0  ",
                device.info().id.as_str(),
                "map [64, 256] f32 · fused: mul, add, gelu",
                "schedule  ",
                "(cost model): one element per lane",
                // Three operands and the result; a function counts as one operation.
                "moves     262.1 kB in 4 buffers, computes 49152 FLOP",
                " µs, ",
                "roofline of ",
                "memory: 0 B at most for 0 values in between, in 0 slots",
                "inputs 196.6 kB, weights 0 B, results 65.5 kB",
            ],
        );
        assert!(!text.contains("  1  "), "one launch:\n{text}");
        assert!(!text.contains("fell back"), "{text}");
    });
}

#[test]
fn a_product_says_what_is_behind_it_and_how_it_is_run() {
    on_every_device(|device| {
        let (x, w, b) = (ones(&[64, 128], device), ones(&[128, 32], device), ones(&[32], device));
        let y = x.matmul(&w).unwrap().add(&b).unwrap().relu().unwrap();
        let text = y.explain().unwrap();
        let library = text.contains("the device's library (library)");
        // That of the CPU takes what is behind it too, a vendor's where it is installed the product.
        let (cpu, bare) = (device.info().backend == "cpu", device.info().backend.starts_with("cuda") && library);
        let behind = if bare { "\n" } else { " · fused: add, relu" };
        has(
            &text,
            &[&format!("matmul [64, 128] × [128, 32] f32{behind}"), "fused: add, relu", "computes ", "schedule  "],
        );
        assert_eq!(library, cpu || bare, "{text}");
        if !library {
            has(&text, &["tile ", "(cost model): the least estimated time of "]);
        }
        // 2·64·32·128 operations of the product and two per element behind it.
        has(&text, &["computes 0.5 MFLOP"]);
        // The product comes to 128.
        assert_eq!(y.to_vec::<f32>().unwrap()[0], 129.0);
    });
}

#[test]
fn rows_and_sums_say_who_computes_them_and_what_is_behind_them() {
    on_every_device(|device| {
        let library = device.info().backend == "cpu";
        let (x, two) = (ones(&[6, 300], device), ones(&[6, 300], device).mul(2.0).unwrap());
        Tensor::realize_all(&[&x, &two]).unwrap();
        // An operand as it lies there; one that a kernel computes first.
        let of = [("softmax", x.softmax(1), true), ("softmax", x.sub(&two).unwrap().softmax(1), false)];
        for (name, y, taken) in of {
            let y = y.unwrap().mul(&two).unwrap();
            let text = y.explain().unwrap();
            has(&text.to_lowercase(), &[name, "mul"]);
            assert_eq!(text.contains("the device's library (library)"), library && taken, "{text}");
            assert!(!text.contains("  1  "), "one launch:\n{text}");
            assert!(y.to_vec::<f32>().unwrap().iter().all(|y| (y - 2.0 / 300.0).abs() < 1e-6));
        }
        let sum = x.sum(1).unwrap().add(1.0).unwrap();
        let text = sum.explain().unwrap();
        has(&text, &["fused: add"]);
        assert_eq!(text.contains("the device's library (library)"), library, "{text}");
        assert_eq!(sum.to_vec::<f32>().unwrap(), [301.0; 6]);
        // Results that lie apart from each other in what is summed, and a column, which is for kernels.
        let every_other = x.step_by(0, 2).unwrap();
        assert_eq!(every_other.sum(1).unwrap().to_vec::<f32>().unwrap(), [300.0; 3]);
        assert_eq!(x.sum(0).unwrap().to_vec::<f32>().unwrap(), [6.0; 300]);
    });
}

#[test]
fn a_table_moves_the_rows_that_are_asked_for() {
    on_every_device(|device| {
        let table = ones(&[10_000, 64], device);
        table.realize().unwrap();
        let ids = Tensor::from_vec(vec![3u32, 5, 7, 9], 4, device).unwrap();
        let text = table.embedding(&ids).unwrap().explain().unwrap();
        // Four rows read and written, and four ids.
        has(&text, &["fused: gather", "moves     2064 B in 3 buffers"]);
    });
}

#[test]
fn scans_sorts_and_scatters_say_their_schedule_and_work() {
    let Ok(cpu) = Device::open("cpu") else { return };
    let x = ones(&[2, 1 << 17], &cpu);
    x.realize().unwrap();
    let text = x.cumsum(1).unwrap().explain().unwrap();
    // Each of the elements is added once for the totals and once for the sums.
    has(
        &text,
        &["totals of 4 parts", "running Sum of 4 parts", "schedule  Across, 4 parts (cost model): a workgroup per row"],
    );
    has(
        &text,
        &[
            "moves     1048.6 kB in 2 buffers, computes 0.3 MFLOP",
            "moves     2097.2 kB in 3 buffers, computes 0.3 MFLOP",
        ],
    );
    assert!(!text.contains("fixed"), "{text}");

    let x = ones(&[4, 2000], &cpu);
    x.realize().unwrap();
    let text = x.argsort(1, false).unwrap().explain().unwrap();
    has(&text, &["sort [4, 2000] f32", "schedule  blocks of 1024 (cost model)", "merge runs of 1024 of 2000"]);
    // Words of 8 bytes are read, positions of 4 written; each word is compared ten times.
    has(&text, &["a word per lane, workgroups of ", "moves     96.0 kB in 2 buffers, computes 80000 FLOP"]);
    assert!(!text.contains("fixed"), "{text}");

    let ids = Tensor::zeros((4, 8), DType::U32, &cpu).unwrap();
    let updates = ones(&[4, 8], &cpu);
    Tensor::realize_all(&[&ids, &updates]).unwrap();
    let text = x.scatter_add(1, &ids, &updates).unwrap().explain().unwrap();
    has(&text, &["scatter Sum 8 of [4, 2000] along 1 f32", "an element of the result per lane, workgroups of "]);
    // 8000 elements read and written, 32 updates and the words of as many ids; three steps of bisection per element.
    has(&text, &["moves     64.4 kB in 4 buffers, computes 24032 FLOP"]);
    assert!(!text.contains("fixed"), "{text}");
}

#[test]
fn what_follows_from_weights_is_computed_once() {
    on_every_device(|device| {
        let w = ones(&[48, 32], device);
        w.realize().unwrap();
        let x = ones(&[8, 32], device);
        let program = Program::new(device, &[x], |x| Ok(vec![x[0].matmul(&w.add(1.0)?.t()?)?])).unwrap();
        let text = program.explain();
        has(&text, &["map [48, 32] f32 · fused: add · computed once: it follows from weights"]);
        assert_eq!(program.memory().settled % (48 * 32 * 4), 0);
        assert!(program.memory().settled > 0);
        assert_eq!(program.memory().constants, 48 * 32 * 4);
    });
}

#[test]
fn what_fell_back_is_named() {
    let Ok(cpu) = Device::open("cpu") else { return };
    // One device cannot fall back.
    let x = ones(&[4], &cpu);
    assert!(!x.exp().unwrap().explain().unwrap().contains("fell back"));
}
