//! A `.npy` file of any bytes is refused, or gives a tensor whose bytes are as many as its shape takes.
#![no_main]

use anychip::{Device, npy_from_bytes};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static CPU: LazyLock<Device> = LazyLock::new(|| Device::open("cpu").expect("the CPU is always there"));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tensor) = npy_from_bytes("fuzz", bytes.to_vec(), &CPU) {
        let read = tensor.to_bytes().expect("a leaf on the host is read");
        assert_eq!(read.len(), tensor.elem_count() * tensor.dtype().size());
    }
});
