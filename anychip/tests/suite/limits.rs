//! The limits of real devices: what lies beyond them is refused in words or done in parts, never wrong; and a device that is lost in
//! the middle of a run, on every backend.

use crate::common::{drivers, on_every_device, refused};
use anychip::{
    DType, Device, Error, Tensor,
    hal::{
        self,
        device::{Checks, Layers},
        ir::{Access, Place, build::Builder},
        layer::{Call, Fault, Planned},
    },
};
use std::sync::Arc;

/// Devices whose bindings may be longer are not filled up.
const FILLED: u64 = 256 << 20;

#[test]
fn a_binding_at_the_limit_and_one_beyond() {
    on_every_device(|d| {
        let info = d.info();
        let limit = info.limits.max_binding_bytes;
        if limit > FILLED || info.memory.max_alloc < limit + 8192 || info.memory.total < 6 * limit {
            let (one, all) = (info.memory.max_alloc, info.memory.total);
            println!("SKIPPED: a binding at the limit: {d} binds {limit} bytes, of {one} in a buffer and {all} in all");
            return;
        }
        let n = (limit / 4) as usize;
        let one = Tensor::from_slice(&[1f32], 1, d).unwrap();
        let full = one.expand(n).unwrap().contiguous().unwrap();
        full.realize().unwrap();
        assert_eq!(full.sum_all().unwrap().to_vec0::<f32>().unwrap(), n as f32, "{d}");
        assert_eq!(full.mul(2.0).unwrap().max_all().unwrap().to_vec0::<f32>().unwrap(), 2.0, "{d}");
        drop(full);
        let long = one.expand(n + 1024).unwrap().add(1.0).unwrap();
        match long.realize() {
            Ok(_) => {
                let end = long.slice((n - 2..,)).unwrap().to_vec::<f32>().unwrap();
                assert_eq!(end, [2.0; 1026], "{d}");
            }
            Err(e) => {
                assert!(e.is_unsupported(), "{e:?}");
                refused(Err::<(), _>(e), &["binding", &limit.to_string(), &info.id]);
            }
        }
    });
}

#[test]
fn a_workgroup_beyond_the_limit() {
    on_every_device(|d| {
        let chip = &d.chain()[0];
        if !chip.info().kernels {
            return;
        }
        let most = chip.info().limits.max_workgroup;
        let mut b = Builder::new("wide", [most + 1, 1, 1]);
        let out = b.buffer("out", DType::F32, Access::Write);
        let (at, x) = (b.idx(0), b.f32(1.0));
        b.store(Place::Buffer(out), at, x);
        let k = b.finish().unwrap();
        let (wide, most) = ((most + 1).to_string(), most.to_string());
        let e = refused(chip.kernel(&k, Checks::On), &["wide", "workgroup", &wide, &most]);
        assert!(e.is_unsupported(), "{e:?}");
    });
}

/// What is under way and what comes later fails with `DeviceLost`; the process lives, and the device can be opened again.
#[test]
fn a_device_lost_in_the_middle_of_a_run() {
    for driver in drivers() {
        let (name, raw) = (driver.name().to_string(), driver.open(0).unwrap());
        for (call, after) in [(Call::Submit, 0), (Call::Submit, 2), (Call::Wait, 0)] {
            let which = format!("{name}, {call:?} after {after}");
            let fault = Arc::new(Fault::new(raw.clone()));
            let device = hal::Device::with_layers(fault.clone(), &Layers::default());
            let d = Device::from_chain(vec![device]).unwrap();
            let x = Tensor::arange(0f32, 4096., &d).unwrap().add(1.0).unwrap();
            x.realize().unwrap();
            let y = x.mul(2.0).unwrap();
            let error = Error::DeviceLost { device: name.clone(), why: "planned".into(), restart: false };
            fault.plan(Planned { call, after, times: u64::MAX, error });
            let e = (0..4).find_map(|_| y.add(1.0).and_then(|y| y.to_vec::<f32>()).err());
            assert!(e.is_some_and(|e| e.is_lost()), "{which}: the work ended well");
            let e = y.sum_all().and_then(|y| y.to_vec0::<f32>()).expect_err("it is lost");
            assert!(e.is_lost() && e.to_string().contains("planned"), "{which}: {e}");
        }
        drop(raw);
        let again = hal::Device::with_layers(driver.open(0).unwrap(), &Layers::default());
        let again = Device::from_chain(vec![again]).unwrap();
        let sum = Tensor::arange(0f32, 100., &again).unwrap().sum_all().unwrap().to_vec0::<f32>().unwrap();
        assert_eq!(sum, 4950.0, "{name}");
    }
}
