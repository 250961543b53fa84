//! Rust that is not part of the kernel language: each form has its sentence.
use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn forms(x: &Buf<f32>, out: &mut Buf<f32>, n: u32) {
    let a = n as f32;
    let b = match n {
        0 => 1.0,
        _ => 2.0,
    };
    let c = |v| v + 1.0;
    let d = &x;
    let e = *x;
    let f = unsafe { x[0] };
    let g = x[0]?;
    let h = [0.0; 4];
    let i = [1.0, 2.0];
    let j = n.value;
    let k = Point { x: 1.0 };
    let l = "text";
    let m = 'c';
    let o = loop { break; };
    let p = 0..n;
    let q = if n > 1 { 1.0 };
    let r = { let s = 1.0; };
    let t = async { 1.0 };
    let u = x.await;
    let v = 1u128;
    let w = 4usize;
    println!("{}", n);
    assert!(n > 0);
    struct Inner;
    (twice)(1.0)(2.0);
    out(1);
}

fn main() {}
