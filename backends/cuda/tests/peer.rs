//! Copies between devices: straight, of every length, after the work before them, also between two handles on one chip, and failing.

mod common;

#[path = "../../tests/start.rs"]
mod start;

use anychip_hal::{Device, Driver};
use common::*;
use start::*;

fn bytes(n: usize, seed: u8) -> Vec<u8> {
    (0..n).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed).collect()
}

/// Copies between each two devices, and between two handles on each.
fn copy_all() -> Result<(), String> {
    let open = |n: usize| Device::new(driver().open(n as u32).expect("it opens"));
    let count = driver().devices().expect("devices").len();
    for (from, to) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
        let (a, b) = (open(from), open(to));
        for n in [1, 7, 4096, (3 << 20) + 5] {
            let sent = bytes(n, from as u8);
            let x = a.alloc_from(&sent).map_err(|e| e.to_string())?;
            // Not waited for: it comes before the copy all the same.
            let mut late = sent.clone();
            late[n / 2] ^= 0xff;
            a.upload(&x, 0, &late).map_err(|e| e.to_string())?;
            let y = b.carry(&a, &x).map_err(|e| e.to_string())?;
            let mut got = vec![0; n];
            b.download(&y, 0, &mut got).map_err(|e| e.to_string())?;
            assert_eq!(got, late, "{n} bytes from {from} to {to}");
        }
        assert_eq!(b.carry(&a, &a.alloc(0).expect("no memory")).map(|y| y.bytes()), Ok(0));
        let (other, foreign) = (open(from), a.alloc(8).expect("memory"));
        let e = b.carry(&other, &foreign).expect_err("another device's buffer");
        assert!(e.to_string().contains("carry"), "{e}");
    }
    Ok(())
}

#[test]
fn bytes_go_from_device_to_device() {
    const TEST: &str = "bytes_go_from_device_to_device";
    if is_child() {
        let done = copy_all();
        let calls = unsafe {
            let library = libloading::Library::new("libcuda.so.1").expect("it is loaded");
            let ask = library.get::<unsafe extern "C" fn(*const std::ffi::c_char) -> u64>(b"anychipEmulatorCalls\0");
            ask.map_or(0, |ask| ask(c"cuMemcpyPeerAsync".as_ptr()))
        };
        return println!("= {} {calls}", done.err().unwrap_or("right".into()));
    }
    let Some(emulated) = devices(TEST).first().map(|d| d.info().backend.ends_with("emulated")) else { return };
    if !emulated {
        return copy_all().expect("it goes well");
    }
    let said = |fault: &str| {
        let all = child(TEST, |c| {
            c.env("ANYCHIP_EMULATED_DEVICES", "2").env("ANYCHIP_EMULATED_FAULT", fault);
        });
        all.concat()
    };
    // Four lengths, four pairs, none of them through the host.
    assert_eq!(said(""), "right 16");
    // Chips that do not reach each other: the driver sees to it.
    assert_eq!(said("cuCtxEnablePeerAccess:1=217"), "right 16");
    assert!(said("cuMemcpyPeerAsync:3=1").contains("cuMemcpyPeerAsync"), "a refused copy is an error");
    let lost = said("cuMemcpyPeerAsync:2=719");
    assert!(lost.contains("is lost") && lost.contains("719"), "{lost}");
}
