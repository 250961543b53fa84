//! Parameters and the function itself.
use anychip_hal::ir::typed::*;
use anychip_macros::{device, kernel};

#[kernel]
fn slices(x: &[f32], out: &mut Vec<f32>) {}

#[kernel]
fn by_value(x: Buf<f32>) {}

#[kernel]
fn shared_parameter(tile: Shared<f32>) {}

#[kernel]
fn host_number(n: usize) {}

#[kernel]
fn tuple((a, b): (f32, f32)) {}

#[kernel]
fn mutable(mut n: u32) {}

#[kernel]
fn array(x: [f32; 4]) {}

#[kernel]
fn attribute(#[allow(unused)] n: u32) {}

#[kernel]
fn returns(x: &Buf<f32>) -> f32 {
    x[0]
}

#[kernel]
async fn waits(x: &Buf<f32>) {}

#[kernel]
unsafe fn unchecked(x: &Buf<f32>) {}

#[kernel]
const fn constant(x: &Buf<f32>) {}

#[kernel]
extern "C" fn foreign(x: &Buf<f32>) {}

#[kernel(256)]
fn arguments(x: &Buf<f32>) {}

#[device]
unsafe fn unchecked_device(x: f32) {}

struct S;
impl S {
    #[kernel]
    fn method(&self, x: &Buf<f32>) {}
}

fn main() {}
