//! Control flow.
use anychip_hal::ir::typed::*;
use anychip_macros::{device, kernel};

#[kernel]
fn control(x: &Buf<f32>, out: &mut Buf<f32>, n: u32, #[host] tile: usize) {
    for i in 0..=n {
        out[i] = 0.0;
    }
    for i in 0.. {
        out[i] = 0.0;
    }
    for mut i in 0..n {
        out[i] = 0.0;
    }
    for [a, b] in 0..n {}
    'outer: for i in 0..n {
        break 'outer;
    }
    loop {
        break 1.0;
    }
    if let Some(v) = n {
        out[0] = v;
    }
    while let Some(v) = n {}
    #[host]
    for i in 0..tile {
        break;
    }
    #[host]
    for i in 0..tile {
        if n > 3 {
            #[host]
            break;
        }
    }
    for i in 0..n {
        continue;
        out[i] = 1.0;
    }
    if n > 1 {
        return 3;
    }
    let y = x[return];
    #[host(now)]
    if tile == 1 {}
}

#[kernel]
fn nowhere(x: &Buf<f32>) {
    if x[0] > 1.0 {
        break;
    }
    continue;
}

#[device]
fn early(x: f32) -> f32 {
    if x > 1.0 {
        return;
    }
    x
}

#[device]
fn early_host(x: f32, #[host] n: u32) -> f32 {
    #[host]
    if n == 0 {
        #[host]
        return;
    }
    x
}

#[device]
fn valueless(x: f32) -> f32 {
    let y = x;
}

#[device]
fn empty(x: f32) -> f32 {}

fn main() {}
