//! The host's part: parameters, loops and choices that are gone when the kernel is built.

use super::expect;
use anychip_hal::ir::typed::*;
use anychip_macros::{device, kernel};

/// What a map does to every element.
#[derive(Clone, Copy)]
enum Activation {
    None,
    Relu,
    Scale(f32),
}

#[kernel]
fn map(x: &Buf<f32>, out: &mut Buf<f32>, #[host] tile: usize, #[host] activation: Activation, #[host] twice: bool) {
    #[host]
    if tile == 0 {
        #[host]
        return refuse("tile must be at least 1");
    }
    #[host]
    let last = tile - 1;
    let base = global_id(0) * tile;
    #[host]
    for t in 0..tile {
        let mut v: f32 = x[base + t];
        #[host]
        match activation {
            Activation::None => {}
            Activation::Relu => v = max(v, 0.0),
            Activation::Scale(by) => v *= by,
        }
        #[host]
        if twice && t == last {
            v = v + v;
        }
        out[base + t] = v;
    }
}

#[test]
fn the_host_writes_the_loop_out() {
    expect(
        &map(32, 2, Activation::Relu, true).unwrap(),
        "
        %0: idx = global_id 0
        %1: idx = const 2
        %2: idx = mul %0, %1
        %3: idx = const 0
        %4: idx = add %2, %3
        %5: f32 = load p0[%4]
        set v0, %5
        %6: f32 = get v0
        %7: f32 = const 0
        %8: f32 = max %6, %7
        set v0, %8
        %9: idx = const 0
        %10: idx = add %2, %9
        %11: f32 = get v0
        store p1[%10], %11
        %12: idx = const 1
        %13: idx = add %2, %12
        %14: f32 = load p0[%13]
        set v1, %14
        %15: f32 = get v1
        %16: f32 = const 0
        %17: f32 = max %15, %16
        set v1, %17
        %18: f32 = get v1
        %19: f32 = get v1
        %20: f32 = add %18, %19
        set v1, %20
        %21: idx = const 1
        %22: idx = add %2, %21
        %23: f32 = get v1
        store p1[%22], %23
        ",
    );
    let scaled = map(32, 1, Activation::Scale(0.5), false).unwrap();
    assert!(scaled.to_string().contains("mul %"), "{scaled}");
    assert!(map(32, 4, Activation::None, false).unwrap().vars.len() == 4);
}

#[test]
fn a_precondition_of_the_host_refuses_the_kernel() {
    let why = map(32, 0, Activation::None, false).unwrap_err().to_string();
    assert!(why.contains("tile must be at least 1") && why.contains("host.rs:"), "{why}");
}

#[kernel]
fn with<F: Fn(Expr<f32>) -> Expr<f32>>(x: &Buf<f32>, out: &mut Buf<f32>, #[host] f: F) {
    let i = global_id(0);
    out[i] = f(x[i]);
}

#[kernel]
fn with_dyn<T: Float>(out: &mut Buf<T>, #[host] f: &dyn Fn(Expr<T>) -> Expr<T>) {
    let i = global_id(0);
    out[i] = f(out[i]);
}

#[test]
fn functions_of_the_host_write_code() {
    let k = with(64, |v| v * 2.0 + 1).unwrap();
    assert_eq!(k.name, "with");
    expect(
        &k,
        "
        %0: idx = global_id 0
        %1: f32 = load p0[%0]
        %2: f32 = const 0x40000000
        %3: f32 = mul %1, %2
        %4: f32 = const 0x3f800000
        %5: f32 = add %3, %4
        store p1[%0], %5
        ",
    );
    assert_eq!(with_dyn::<f16>(64, &|v| -v).unwrap().name, "with_dyn_f16");
}

#[kernel]
fn constants<const N: usize>(out: &mut Buf<f32>) {
    const OFFSET: u32 = 3;
    let sums = private::<f32>(N);
    for i in 0..N {
        sums[i] = f32::INFINITY;
    }
    out[global_id(0) + OFFSET] = sums[N - 1];
}

#[test]
fn const_generics_are_of_the_host() {
    let k = constants::<4>(64).unwrap();
    assert_eq!(k.name, "constants_4");
    assert_eq!((k.private[0].name.as_str(), k.private[0].len), ("sums", 4));
    expect(
        &k,
        "
        %0: u32 = const 0
        %1: u32 = const 4
        %2: u32 = const 1
        for %3: u32 in %0, %1, %2 auto {
            %4: f32 = const 0x7f800000
            store a0[%3], %4
        }
        %5: idx = global_id 0
        %6: idx = const 3
        %7: idx = add %5, %6
        %8: u32 = const 3
        %9: f32 = load a0[%8]
        store p0[%7], %9
        ",
    );
}

#[kernel]
fn kept(x: &Buf<f32>, out: &mut Buf<f32>, #[host] n: usize) {
    #[host]
    let mut values = Vec::new();
    #[host]
    for i in 0..n {
        let v = x[i];
        values.push(v * v);
    }
    let mut sum: f32 = 0.0;
    #[host]
    for v in values {
        sum += v;
    }
    out[0] = sum;
}

#[test]
fn the_host_keeps_expressions() {
    expect(
        &kept(1, 2).unwrap(),
        "
        %0: u32 = const 0
        %1: f32 = load p0[%0]
        %2: f32 = mul %1, %1
        %3: u32 = const 1
        %4: f32 = load p0[%3]
        %5: f32 = mul %4, %4
        %6: f32 = const 0
        set v0, %6
        %7: f32 = get v0
        %8: f32 = add %7, %2
        set v0, %8
        %9: f32 = get v0
        %10: f32 = add %9, %5
        set v0, %10
        %11: f32 = get v0
        %12: u32 = const 0
        store p1[%12], %11
        ",
    );
}

#[device]
fn choose<T: Num>(x: T, #[host] double: bool) -> T {
    let y = #[host]
    if double { x + x } else { x };
    y
}

#[kernel]
fn chosen(out: &mut Buf<i32>) {
    out[0] = choose(out[0], true);
    out[1] = choose(out[1], false);
}

#[test]
fn the_host_chooses_a_value() {
    expect(
        &chosen(1).unwrap(),
        "
        %0: u32 = const 0
        %1: i32 = load p0[%0]
        %2: i32 = add %1, %1
        %3: u32 = const 0
        store p0[%3], %2
        %4: u32 = const 1
        %5: i32 = load p0[%4]
        %6: u32 = const 1
        store p0[%6], %5
        ",
    );
}
