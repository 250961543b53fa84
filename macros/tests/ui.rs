//! What the attributes accept and refuse, with message and span.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p anychip-macros --test ui`, then read the difference.

#[test]
fn accepted_and_refused() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
