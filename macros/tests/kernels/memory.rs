//! Buffers, arrays, vectors, atomics.

use super::{body, expect};
use anychip_hal::ir::typed::*;
use anychip_macros::kernel;

#[kernel]
fn transpose(x: &Buf<f32>, out: &mut Buf<f32>, rows: u32, cols: u32) {
    let tile = shared::<f32>(32 * 33);
    let (c, r) = (local_id(0), local_id(1));
    let (row, col) = (group_id(1) * 32 + r, group_id(0) * 32 + c);
    tile[r * 33 + c] = x[row * cols + col];
    barrier();
    out[(group_id(0) * 32 + r) * rows + group_id(1) * 32 + c] = tile[c * 33 + r];
}

#[test]
fn arrays_have_the_names_of_their_bindings() {
    let k = transpose([32, 32]).unwrap();
    assert_eq!(k.workgroup, [32, 32, 1]);
    assert_eq!((k.shared[0].name.as_str(), k.shared[0].len), ("tile", 32 * 33));
}

#[kernel]
fn in_place(x: &mut Buf<f32>, n: u32) {
    let i = global_id(0) + n;
    let mut v: f32 = 3.0;
    v *= x[0] + 1.0;
    x[i / 2] *= v - 1.0;
}

#[test]
fn an_index_is_computed_once() {
    let k = in_place(1).unwrap();
    expect(
        &k,
        "
        %0: u32 = scalar p1
        %1: idx = global_id 0
        %2: idx = cast %0
        %3: idx = add %1, %2
        %4: f32 = const 0x40400000
        set v0, %4
        %5: f32 = get v0
        %6: u32 = const 0
        %7: f32 = load p0[%6]
        %8: f32 = const 0x3f800000
        %9: f32 = add %7, %8
        %10: f32 = mul %5, %9
        set v0, %10
        %11: idx = const 2
        %12: idx = div %3, %11
        %13: f32 = load p0[%12]
        %14: f32 = get v0
        %15: f32 = const 0x3f800000
        %16: f32 = sub %14, %15
        %17: f32 = mul %13, %16
        store p0[%12], %17
        ",
    );
    assert!(k.to_string().contains("param x: buffer f32 read_write"), "{k}");
}

#[kernel]
fn vectors(x: &Buf<f32>, h: &Buf<f16>, out: &mut Buf<f32>) {
    let i = global_id(0) * 4;
    let mut v: Vec4<f32> = x.load4(i);
    v = v * 2.0 + v.lane(3);
    let wide = h.load4(i).to_f32();
    let clipped = select(wide > v, wide, v);
    out.store(i, max(clipped, 0.0));
    out.store_aligned(i.assume_multiple(2), x.load_aligned::<Vec2<f32>>(i) + exp(x.load2(i)));
    out[0] = x.load8(0).lane(7) + x.len().to_f32();
}

#[test]
fn vectors_load_and_store() {
    let text = body(&vectors(64).unwrap());
    for op in ["f32x4 = load p0", "f16x4 = load p1", "boolx4 = gt", "f32x8 = load", "assume_multiple", "buf_len p0"] {
        assert_eq!(text.matches(op).count(), 1, "{op} in\n{text}");
    }
    assert_eq!(text.matches("aligned").count(), 2, "{text}");
}

#[kernel]
fn atomics(x: &Buf<u32>, out: &mut Buf<u32>) {
    let bins = shared::<u32>(16);
    bins[local_id(0)] = 0;
    barrier();
    bins.atomic_add(x[global_id(0)] % 16, 1);
    barrier();
    let old = out.atomic_max(0, bins[local_id(0)]);
    out.atomic_compare_exchange(1, 5, old);
    out.atomic_store(2, out.atomic_load(3));
    out.atomic_min(4, 1);
    out.atomic_and(5, 1);
    out.atomic_or(6, 1);
    out.atomic_xor(7, 1);
    out.atomic_exchange(8, 1);
}

#[test]
fn atomics_have_the_scope_of_their_place() {
    let k = atomics(16).unwrap();
    let text = body(&k);
    for op in ["add s0", "max p1", "compare_exchange p1", "store p1", "load p1", "min p1", "and p1", "or p1", "xor p1"]
    {
        assert_eq!(text.matches(&format!("atomic {op}")).count(), 1, "{op} in\n{text}");
    }
    assert_eq!(text.matches("workgroup").count(), 3, "two barriers and the shared atomic in\n{text}");
    assert!(k.to_string().contains("param out: buffer u32 read_write"), "{k}");
}

#[kernel]
fn indices(x: &Buf<f32>, out: &mut Buf<f32>, a: u32, b: i32, c: u64, d: i64) {
    out[a] = x[b] + x[c] + x[d] + x[group_id(0)] + x[7] + x[5_000_000_000];
}

#[test]
fn every_integer_is_an_index() {
    expect(
        &indices(1).unwrap(),
        "
        %0: u32 = scalar p2
        %1: i32 = scalar p3
        %2: u64 = scalar p4
        %3: i64 = scalar p5
        %4: f32 = load p0[%1]
        %5: f32 = load p0[%2]
        %6: f32 = add %4, %5
        %7: f32 = load p0[%3]
        %8: f32 = add %6, %7
        %9: idx = group_id 0
        %10: f32 = load p0[%9]
        %11: f32 = add %8, %10
        %12: u32 = const 7
        %13: f32 = load p0[%12]
        %14: f32 = add %11, %13
        %15: idx = const 0x12a05f200
        %16: f32 = load p0[%15]
        %17: f32 = add %14, %16
        store p1[%0], %17
        ",
    );
}
