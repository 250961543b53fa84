//! The contract on every OpenCL device, and what only a compiler of text can refuse.

mod common;

#[path = "../../tests/contract.rs"]
mod contract;

#[path = "../../tests/refused.rs"]
mod refused;

#[test]
fn what_the_compiler_refuses_is_told_with_text_and_log() {
    let test = "what_the_compiler_refuses_is_told_with_text_and_log";
    // The driver's own words, besides the code.
    let words = |log: &str| log.contains("CL_BUILD_PROGRAM_FAILURE") && log.lines().count() > 1;
    refused::is_told_with_text_and_log(test, "__kernel", words);
}
