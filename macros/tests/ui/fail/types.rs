//! What the compiler refuses in the expansion, at the author's own tokens.
use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn mixed(a: f32, n: u32, out: &mut Buf<f32>) {
    out[0] = a + n;
}

#[kernel]
fn compared(a: f32, n: u32, out: &mut Buf<f32>) {
    if a < n {
        out[0] = 1.0;
    }
}

#[kernel]
fn stored(n: u32, out: &mut Buf<f32>) {
    out[0] = n;
}

#[kernel]
fn set(n: u32, out: &mut Buf<f32>) {
    let mut x: f32 = 0.0;
    x = n;
    out[0] = x;
}

#[kernel]
fn read_only(x: &Buf<f32>) {
    x[0] = 1.0;
}

#[kernel]
fn indexed(n: u32, a: f32, out: &mut Buf<f32>) {
    out[0] = n[0];
    out[a] = 1.0;
}

#[kernel]
fn integers(n: u32, out: &mut Buf<u32>) {
    out[0] = exp(n);
}

#[kernel]
fn condition(n: u32, out: &mut Buf<u32>) {
    if n {
        out[0] = 1;
    }
}

#[kernel]
fn length(n: u32, out: &mut Buf<f32>) {
    let tile = shared::<f32>(n);
    out[0] = tile[0];
}

#[kernel]
fn host_loop(#[host] list: Vec<u32>, out: &mut Buf<f32>) {
    for i in list {
        out[i] = 0.0;
    }
}

#[kernel]
fn unknown(x: &Buf<f32>, out: &mut Buf<f32>) {
    out[0] = x[0].frobnicate();
}

#[kernel]
fn text(#[host] name: &str, out: &mut Buf<f32>) {
    out[0] = out[1] + name;
}

#[kernel]
fn atomics(x: &Buf<u32>) {
    x.atomic_add(0, 1);
}

fn main() {}
