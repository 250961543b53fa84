//! A `.npz` archive of any bytes is refused, or each of its arrays is refused or read.
#![no_main]

use anychip::{Device, Npz};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static CPU: LazyLock<Device> = LazyLock::new(|| Device::open("cpu").expect("the CPU is always there"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Npz::from_bytes("fuzz", bytes.to_vec()) else { return };
    for name in file.names() {
        if let Ok(tensor) = file.tensor(name, &CPU) {
            let read = tensor.to_bytes().expect("a leaf on the host is read");
            assert_eq!(read.len(), tensor.elem_count() * tensor.dtype().size());
        }
    }
});
