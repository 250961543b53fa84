//! Kernels written with the attributes, and what is built from them, in the text form.
//!
//! `docs/kernel-language.md` quotes kernels of this folder; `guide` holds the two together.

mod control;
mod functions;
mod guide;
mod host;
mod memory;
mod mistakes;

use anychip_hal::ir::Kernel;
use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn vector_add(a: &Buf<f32>, b: &Buf<f32>, out: &mut Buf<f32>, n: u32) {
    let i = global_id(0);
    if i < n {
        out[i] = a[i] + b[i];
    }
}

#[kernel]
fn rms_norm<T: Float>(x: &Buf<T>, weight: &Buf<T>, out: &mut Buf<T>, cols: u32, eps: f32) {
    let row = group_id(0);
    let mut sum: f32 = 0.0;
    for c in strided(local_id(0), cols, local_size(0)) {
        let v = x[row * cols + c].to_f32();
        sum = mul_add(v, v, sum);
    }
    let scale = rsqrt(group_sum(sum) / cols.to_f32() + eps);
    for c in strided(local_id(0), cols, local_size(0)) {
        let i = row * cols + c;
        out[i] = T::from_f32(x[i].to_f32() * scale * weight[c].to_f32());
    }
}

/// The body of a kernel in the text form, one operation after the other, without places and indentation.
fn body(k: &Kernel) -> String {
    let text = k.to_string();
    assert_eq!(&text.parse::<Kernel>().unwrap(), k, "the text form does not parse back to the kernel");
    let start = text.find("body").expect("every kernel has a body");
    let lines = text[start..].lines().skip(1).map(|line| line.split(" @").next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Compares a body with its text; `expected` is written with free indentation and without the two closing braces.
#[track_caller]
fn expect(k: &Kernel, expected: &str) {
    let got = body(k);
    let got = got.strip_suffix("}\n}").expect("a kernel ends with two braces").trim();
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(got, expected.join("\n"), "\n--- built ---\n{got}\n");
}

#[test]
fn vector_add_is_what_was_written() {
    let k = vector_add(64).unwrap();
    assert_eq!(k.workgroup, [64, 1, 1]);
    assert_eq!(k.params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b", "out", "n"]);
    expect(
        &k,
        "
        %0: u32 = scalar p3
        %1: idx = global_id 0
        %2: idx = cast %0
        %3: bool = lt %1, %2
        if %3 {
            %4: f32 = load p0[%1]
            %5: f32 = load p1[%1]
            %6: f32 = add %4, %5
            store p2[%1], %6
        }
        ",
    );
}

#[test]
fn names_follow_types() {
    assert_eq!(vector_add(64).unwrap().name, "vector_add");
    assert_eq!(rms_norm::<f32>(256).unwrap().name, "rms_norm_f32");
    assert_eq!(rms_norm::<f16>([64, 4]).unwrap().name, "rms_norm_f16");
}

#[test]
fn every_operation_has_its_line() {
    let k = rms_norm::<f32>(256).unwrap();
    assert_eq!(k.files, ["main.rs"]);
    let first = k.body[0].loc.line;
    let lines: Vec<_> = k.body.iter().map(|inst| inst.loc.line - first).collect();
    // The line of the signature, then those of the statements.
    assert_eq!(lines, [0, 0, 1, 2, 2, 3, 3, 3, 7, 7, 7, 7, 7, 7, 8, 8, 8]);
}

#[test]
fn rms_norm_is_what_was_written() {
    expect(
        &rms_norm::<f16>(256).unwrap(),
        "
        %0: u32 = scalar p3
        %1: f32 = scalar p4
        %2: idx = group_id 0
        %3: f32 = const 0
        set v0, %3
        %4: u32 = local_id 0
        %5: u32 = local_size 0
        for %6: u32 in %4, %0, %5 auto {
            %7: idx = cast %0
            %8: idx = mul %2, %7
            %9: idx = cast %6
            %10: idx = add %8, %9
            %11: f16 = load p0[%10]
            %12: f32 = cast %11
            %13: f32 = get v0
            %14: f32 = mul_add %12, %12, %13
            set v0, %14
        }
        %15: f32 = get v0
        %16: f32 = group_reduce sum %15
        %17: f32 = cast %0
        %18: f32 = div %16, %17
        %19: f32 = add %18, %1
        %20: f32 = rsqrt %19
        %21: u32 = local_id 0
        %22: u32 = local_size 0
        for %23: u32 in %21, %0, %22 auto {
            %24: idx = cast %0
            %25: idx = mul %2, %24
            %26: idx = cast %23
            %27: idx = add %25, %26
            %28: f16 = load p0[%27]
            %29: f32 = cast %28
            %30: f32 = mul %29, %20
            %31: f16 = load p1[%23]
            %32: f32 = cast %31
            %33: f32 = mul %30, %32
            %34: f16 = cast %33
            store p2[%27], %34
        }
        ",
    );
}
