//! The static memory plan: what it reports is what a run takes.

use crate::common::on_every_device;
use anychip::{DType, Device, Program, Tensor, hal};

/// Sizes that no pool rounds up.
const SIDE: usize = 128;
const BYTES: u64 = (SIDE * SIDE * 4) as u64;

fn matrix(seed: f32, device: &Device) -> Tensor {
    let values = (0..SIDE * SIDE).map(|i| seed + (i % 7) as f32 / 64.0).collect::<Vec<f32>>();
    let t = Tensor::from_vec(values, (SIDE, SIDE), device).unwrap();
    // On the device, and nothing of the way there is left.
    t.buffer_on(&device.chain()[0]).unwrap();
    device.synchronize().unwrap();
    t
}

/// Another opened handle of the same device: nobody else allocates in its pool.
fn alone(device: &Device) -> (Device, hal::device::Device) {
    let own = Device::open(device.id()).unwrap();
    let chip = own.chain()[0].clone();
    (own, chip)
}

#[test]
fn a_deep_chain_takes_two_buffers_and_the_pool_lends_no_more_than_is_reported() {
    on_every_device(|device| {
        let (device, chip) = alone(device);
        let (x, w) = (matrix(0.0, &device), matrix(0.01, &device));
        let program = Program::new(&device, std::slice::from_ref(&x), |x| {
            Ok(vec![(0..12).try_fold(x[0].clone(), |y, _| y.matmul(&w)?.mul(0.01))?])
        })
        .unwrap();
        let m = program.memory();
        assert_eq!((m.peak, m.slots, m.values), (2 * BYTES, 2, 11));
        assert_eq!((m.naive, m.outputs, m.inputs, m.constants), (11 * BYTES, BYTES, BYTES, BYTES));
        // Twice, so that the weights are there: what is taken then is what every run takes.
        drop(program.run(std::slice::from_ref(&x)).unwrap()[0].to_bytes().unwrap());
        device.synchronize().unwrap();
        let before = chip.memory();
        let out = program.run(std::slice::from_ref(&x)).unwrap();
        device.synchronize().unwrap();
        let after = chip.memory();
        // Everything came from what the first run gave back: the slots and the result, no more, no fewer.
        assert_eq!(after.fresh, before.fresh);
        let taken = (after.reused - before.reused) as usize;
        // And what a vendor's library works in, for each product.
        let works = if m.workspace > 0 { 12 } else { 0 };
        assert_eq!(taken, m.slots + 1 + works, "buffers of a run");
        drop(out);
    });
}

#[test]
fn the_peak_of_the_pool_is_what_the_plan_says() {
    on_every_device(|device| {
        // A pool that has lent nothing but the operands: its peak is theirs and what one run takes.
        let (device, chip) = alone(device);
        let (x, w) = (matrix(0.0, &device), matrix(0.5, &device));
        let operands = chip.memory().in_use;
        assert!(operands >= 2 * BYTES);
        let mut y = x.clone();
        for _ in 0..6 {
            y = y.matmul(&w).unwrap().mul(0.01).unwrap();
        }
        let program = Program::new(&device, std::slice::from_ref(&x), |x| {
            Ok(vec![(0..6).try_fold(x[0].clone(), |y, _| y.matmul(&w)?.mul(0.01))?])
        })
        .unwrap();
        let m = program.memory();
        let outs = program.run(std::slice::from_ref(&x)).unwrap();
        device.synchronize().unwrap();
        let peak = chip.memory().peak;
        // What follows from the weight (a packed copy, where the device takes products so) is made once and kept.
        assert!(m.settled <= BYTES, "{m:?}");
        assert_eq!(peak - operands, m.peak + m.outputs + m.settled + m.workspace, "{m:?}, {:?}", chip.memory());
        // The slots were given back; the result is held.
        assert_eq!(chip.memory().in_use, operands + BYTES + m.settled);
        assert_eq!(outs[0].to_vec::<f32>().unwrap(), y.to_vec::<f32>().unwrap());
    });
}

#[test]
fn values_of_different_sizes_share_slots_by_size() {
    let Ok(device) = Device::open("cpu") else { return };
    // Each value larger than the one before: the two largest are what it takes.
    let x = Tensor::ones((1, 16), DType::F32, &device).unwrap();
    let program = Program::new(&device, &[x], |x| {
        let mut y = x[0].clone();
        for _ in 0..5 {
            // A sum over rows that are repeated: a launch of its own each time.
            y = Tensor::cat(&[&y, &y], 0)?.softmax(-1)?;
        }
        Ok(vec![y.sum_all()?])
    })
    .unwrap();
    let m = program.memory();
    let largest = 32 * 16 * 4;
    assert_eq!(m.peak, 2 * largest, "{m:?}\n{}", program.explain());
    assert!(m.naive > m.peak);
}
