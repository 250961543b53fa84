//! The contract on every CUDA device, and what only a compiler of text can refuse.

mod common;

#[path = "../../tests/contract.rs"]
mod contract;

use anychip_hal::{Error, Module};
use common::*;
use contract::*;

#[test]
fn what_the_compiler_refuses_is_told_with_text_and_log() {
    for d in raw("what_the_compiler_refuses_is_told_with_text_and_log") {
        // hal's verifier lets only identifiers through; given raw, such a name is the surest way to a text that is no CUDA C++,
        // as a defect of the printer would make.
        let mut bad = legal(&*d, &vector_add("add_bad"));
        bad.name = "add bad".into();
        for cached in [None, Some(&[7u8; 100][..])] {
            let e = d.load(&Module::Kernel(&bad), cached).expect_err("it is refused");
            let Error::CompileFailed { kernel, device, rendered, log } = &e else { panic!("{e}") };
            assert_eq!((kernel.as_str(), device), ("add bad", &d.info().id));
            assert!(rendered.contains("__global__") && rendered.contains("k_add bad("), "{rendered}");
            assert!(log.contains("error"), "{log}");
            assert!(e.to_string().contains("add bad"), "{e}");
        }
        let k = legal(&*d, &vector_add("add_after_bad"));
        let p = d.load(&Module::Kernel(&k), None).expect("the device is alive").program;
        check_add(&*d, &k, p);
    }
}
