//! What only a compiler of text can refuse, on every device of a backend that has one: it is told with the text and in the compiler's own
//! words, and the device lives on. A backend's test includes it by path, beside `contract.rs`.

use crate::{common::*, contract::*};
use anychip_hal::{Error, Module};

/// `qualifier`: the word before a kernel in the language; `words`: whether a log is the compiler's.
pub fn is_told_with_text_and_log(test: &str, qualifier: &str, words: impl Fn(&str) -> bool) {
    for d in raw(test) {
        // hal's verifier lets only identifiers through; given raw, such a name is the surest way to a text that is none of the
        // language, as a defect of the printer would make.
        let mut bad = legal(&*d, &vector_add("add_bad"));
        bad.name = "add bad".into();
        for cached in [None, Some(&[7u8; 100][..])] {
            let e = d.load(&Module::Kernel(&bad), cached).expect_err("it is refused");
            let Error::CompileFailed { kernel, device, rendered, log } = &e else { panic!("{e}") };
            assert_eq!((kernel.as_str(), device), ("add bad", &d.info().id));
            assert!(rendered.contains(qualifier) && rendered.contains("k_add bad("), "{rendered}");
            assert!(words(log), "{log}");
            assert!(e.to_string().contains("add bad"), "{e}");
        }
        let k = legal(&*d, &vector_add("add_after_bad"));
        let p = d.load(&Module::Kernel(&k), None).expect("the device is alive").program;
        check_add(&*d, &k, p);
    }
}
