//! The text form of a kernel: any text is refused, or gives a kernel whose own text reads back to an equal one, and which the
//! verifier judges without panicking.
#![no_main]

use anychip::hal::ir::{Kernel, verify::verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(kernel) = text.parse::<Kernel>() else { return };
    let again: Kernel = kernel.to_string().parse().expect("what was printed is read");
    assert_eq!(again, kernel);
    let _ = verify(&kernel);
});
