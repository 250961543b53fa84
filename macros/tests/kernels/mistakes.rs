//! Mistakes that show only while a kernel is built: each is an error with its place, none is a panic.

use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn empty_tile(out: &mut Buf<f32>, #[host] len: usize) {
    let tile = shared::<f32>(len);
    out[0] = tile[0];
}

#[kernel]
fn byte(out: &mut Buf<u8>) {
    out[0] = 300;
}

#[kernel]
fn dimension(out: &mut Buf<f32>) {
    out[group_id(3)] = 1.0;
}

#[kernel]
fn lane(x: &Buf<f32>, out: &mut Buf<f32>) {
    out[0] = x.load2(0).lane(2);
}

#[kernel]
fn sizes(x: &Buf<f32>, out: &mut Buf<u64>) {
    out[0] = x[0].bitcast::<u64>();
}

#[kernel]
fn keeps(out: &mut Buf<f32>, #[host] keep: &std::cell::Cell<Option<Expr<f32>>>) {
    #[host]
    if let Some(old) = keep.get() {
        out[0] = old;
    }
    let v = out[1];
    keep.set(Some(v));
}

#[test]
fn each_is_an_error_with_its_place() {
    let cases = [
        (empty_tile(64, 0), "mistakes.rs:8", "the shared array tile has length 0"),
        (empty_tile(64, 1 << 33), "mistakes.rs:8", "8589934592 does not fit the host type u32"),
        (byte(64), "mistakes.rs:14", "300 does not fit the type u8"),
        (dimension(64), "mistakes.rs:19", "dimensions are 0, 1 and 2"),
        (lane(64), "mistakes.rs:24", "lane 2 of a vector of 2 lanes"),
        (sizes(64), "mistakes.rs:29", "bitcast from f32 to u64: the sizes differ"),
        (byte([4, 0, 1]), "byte", "workgroup [4, 0, 1] has a dimension of 0"),
    ];
    for (result, place, why) in cases {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(why), "{place} and {why} in {error}");
    }
}

#[test]
fn a_value_does_not_move_to_the_next_kernel() {
    let keep = std::cell::Cell::new(None);
    keeps(1, &keep).unwrap();
    let error = keeps(1, &keep).unwrap_err().to_string();
    assert!(error.contains("belongs to another kernel"), "{error}");
}

#[test]
fn calls_outside_of_a_kernel_do_nothing() {
    let x = group_id(0) + 1;
    let _ = exp(x.to_f32() * 2.0) + f32::from_f32(2.0);
    assert!(empty_tile(64, 1).is_ok(), "the next kernel is not touched by it");
}

#[test]
fn a_panic_of_the_host_leaves_no_open_kernel() {
    #[kernel]
    fn panics(out: &mut Buf<f32>, #[host] f: &dyn Fn()) {
        out[0] = 1.0;
        #[host]
        f();
        out[1] = 1.0;
    }
    let panicked = std::panic::catch_unwind(|| panics(1, &|| std::panic::panic_any("host"))).is_err();
    assert!(panicked);
    assert_eq!(byte(1).unwrap_err().code(), 8);
    assert_eq!(panics(1, &|| ()).unwrap().body.len(), 6);
}
