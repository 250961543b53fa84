//! The contract on every CUDA device, and what only a compiler of text can refuse.

mod common;

#[path = "../../tests/contract.rs"]
mod contract;

#[path = "../../tests/refused.rs"]
mod refused;

#[test]
fn what_the_compiler_refuses_is_told_with_text_and_log() {
    let test = "what_the_compiler_refuses_is_told_with_text_and_log";
    refused::is_told_with_text_and_log(test, "__global__", |log| log.contains("error"));
}
