//! Two starts of a process, and the drivers it may meet: without one there is a reason. WGSL and SPIR-V give the same. What
//! wgpu reports beside a call becomes an error of the next.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Driver, Error, Memory};
use anychip_wgpu::WgpuDriver;
use common::*;
use start::*;
use std::{
    future::Future,
    task::{Context, Poll, Waker},
};

#[test]
fn without_a_driver_there_is_a_reason() {
    if is_child() {
        let e = driver().devices().expect_err("there is no driver");
        assert!(matches!(&e, Error::NoDriver { backend, .. } if backend == "wgpu"), "{e}");
        assert_eq!(e.to_string(), driver().open(0).err().expect("there is no driver").to_string());
        println!("= {e}");
        return;
    }
    let said = child("without_a_driver_there_is_a_reason", |c| {
        // Drivers of DirectX are left out, which this machine's own may be.
        c.env("VK_DRIVER_FILES", "/nowhere.json")
            .env("VK_ICD_FILENAMES", "/nowhere.json")
            .env("WGPU_BACKEND", "vulkan");
    });
    assert!(said.len() == 1 && said[0].contains("finds no adapter"), "{said:?}");
}

/// A future of this backend outside a browser is ready at once.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(x) => x,
        Poll::Pending => panic!("nothing to wait for"),
    }
}

#[test]
fn a_requested_device_is_handed_out_once() {
    const TEST: &str = "a_requested_device_is_handed_out_once";
    if devices(TEST).is_empty() {
        return;
    }
    let requested = ready(WgpuDriver::request()).expect("there are adapters");
    let listed = requested.devices().expect("asked already");
    let asked = driver().devices().expect("there are adapters");
    assert_eq!(listed.len(), asked.len());
    for (n, (a, b)) in listed.iter().zip(&asked).enumerate() {
        let (Ok(a), Ok(b)) = (a, b) else { continue };
        assert_eq!(a, b);
        let d = requested.open(n as u32).unwrap_or_else(|e| panic!("{e}"));
        let buffer = d.alloc(64, Memory::Upload).expect("fits");
        d.host_write(buffer, 4, &[1, 2, 3]).expect("mapped from the beginning");
        let again = requested.open(n as u32).err().expect("one device");
        assert!(matches!(again, Error::NoDevice { .. }) && again.to_string().contains("request"), "{again}");
    }
    let none = requested.open(999).err().expect("there are fewer");
    assert!(matches!(none, Error::NoDevice { .. }), "{none}");
}

#[test]
fn the_way_by_text_is_there_beside_the_one_by_modules() {
    const TEST: &str = "the_way_by_text_is_there_beside_the_one_by_modules";
    if is_child() {
        for d in devices(TEST) {
            let mut buffers = [vec![0; 256], bytes_of(&[1.5f32; 64], f32::to_le_bytes), vec![0; 256]];
            run(&d, &vector_add("add_text"), 64, &mut buffers, &[]).expect("runs");
            assert_eq!(f32s(&buffers[2]), vec![1.5; 64]);
            println!("= {}", d.info().identity.version);
        }
        return;
    }
    let found = devices(TEST).len();
    if found == 0 {
        return;
    }
    let text = child(TEST, |c| {
        c.env("ANYCHIP_WGPU_SHADERS", "wgsl");
    });
    assert!(text.len() == found && text.iter().all(|v| v.ends_with("WGSL")), "{text:?}");
}
