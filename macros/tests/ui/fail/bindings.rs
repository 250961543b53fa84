//! Bindings and assignments.
use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn bindings(x: &Buf<f32>, out: &mut Buf<f32>, n: u32, #[host] tile: usize) {
    let mut untyped = 0.0;
    let mut pair: (f32, f32) = (0.0, 0.0);
    let mut array: [f32; 4] = x;
    let late: f32;
    let Some(v) = x[0] else { return };
    let (a, mut b) = (x[0], x[1]);
    let [c, d] = x;
    let typed: &str = n;
    #[inline]
    let marked = x[0];
    let once = 0.0;
    once = 1.0;
    n += 1;
    tile = 3;
    #[host]
    let mut count = 0;
    count += 1;
    nowhere = 1.0;
    x.field = 1.0;
}

fn main() {}
