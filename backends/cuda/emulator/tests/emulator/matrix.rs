//! Matrix instructions, by the layouts of the PTX manual, against products on the host.

use crate::driver::{Session, code, compile, launch};

/// A small number that every type of these tests holds, from a row and a column.
fn small(row: usize, col: usize, salt: usize) -> i32 {
    ((row * 7 + col * 13 + salt * 5) % 9) as i32 - 4
}

fn f16(v: i32) -> u32 {
    bits(v, 5, 10)
}

/// An integer that it holds exactly as a float of so many bits of exponent and mantissa.
fn bits(v: i32, exponent: u32, mantissa: u32) -> u32 {
    if v == 0 {
        return 0;
    }
    let (m, log) = (v.unsigned_abs(), v.unsigned_abs().ilog2());
    let bias = (1 << (exponent - 1)) - 1;
    u32::from(v < 0) << (exponent + mantissa)
        | (log + bias) << mantissa
        | ((m << mantissa) >> log) & ((1 << mantissa) - 1)
}

/// One form of `mma.sync`: its function, bits of an element, registers of A, how a number is written, type of sums.
struct Form {
    function: &'static str,
    bits: usize,
    registers: usize,
    write: fn(i32) -> u32,
    sum: &'static str,
}

const FORMS: [Form; 12] = [
    Form { function: "m16n8k8_f16_f32", bits: 16, registers: 2, write: f16, sum: "float" },
    Form { function: "m16n8k16_f16_f32", bits: 16, registers: 4, write: f16, sum: "float" },
    Form { function: "m16n8k8_bf16_f32", bits: 16, registers: 2, write: |v| bits(v, 8, 7), sum: "float" },
    Form { function: "m16n8k16_bf16_f32", bits: 16, registers: 4, write: |v| bits(v, 8, 7), sum: "float" },
    Form {
        function: "m16n8k4_tf32_f32",
        bits: 32,
        registers: 2,
        write: |v| (v as f32).to_bits() | 0x1fff,
        sum: "float",
    },
    Form {
        function: "m16n8k8_tf32_f32",
        bits: 32,
        registers: 4,
        write: |v| (v as f32).to_bits() | 0x1fff,
        sum: "float",
    },
    Form { function: "m16n8k16_s8_s32", bits: 8, registers: 2, write: |v| v as u8 as u32, sum: "int" },
    Form { function: "m16n8k32_s8_s32", bits: 8, registers: 4, write: |v| v as u8 as u32, sum: "int" },
    Form { function: "m16n8k32_u8_s32", bits: 8, registers: 4, write: |v| (v + 4) as u32, sum: "int" },
    Form { function: "m16n8k32_e4m3_f32", bits: 8, registers: 4, write: |v| bits(v, 4, 3), sum: "float" },
    Form { function: "m16n8k32_e5m2_f32", bits: 8, registers: 4, write: |v| bits(v, 5, 2), sum: "float" },
    Form { function: "m16n8k16_f16_f16", bits: 16, registers: 4, write: f16, sum: "half" },
];

#[test]
fn mma_multiplies_as_the_manual_lays_it_out() {
    let s = Session::new();
    for Form { function, bits, registers, write, sum } in FORMS {
        let (per, k) = (32 / bits, registers / 2 * 4 * (32 / bits));
        let shift = if function.contains("u8") { 4 } else { 0 };
        let (mut a, mut b) = (vec![0u32; 32 * registers], vec![0u32; 32 * registers / 2]);
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            for r in 0..registers {
                for i in 0..per {
                    let col = r / 2 * 4 * per + t * per + i;
                    a[lane * registers + r] |= write(small(g + 8 * (r % 2), col, 0)) << (i * bits);
                }
            }
            for r in 0..registers / 2 {
                for i in 0..per {
                    b[lane * registers / 2 + r] |= write(small(r * 4 * per + t * per + i, g, 1)) << (i * bits);
                }
            }
        }
        let (ty, words) = if sum == "half" { ("unsigned", 2) } else { (sum, 4) };
        let kernel = s.kernel(&format!(
            r#"extern "C" __global__ void k(const unsigned* a, const unsigned* b, {ty}* out) {{
                unsigned ra[{registers}], rb[{registers} / 2];
                {ty} d[{words}] = {{0}};
                for (int i = 0; i < {registers}; i++) ra[i] = a[threadIdx.x * {registers} + i];
                for (int i = 0; i < {registers} / 2; i++) rb[i] = b[threadIdx.x * {registers} / 2 + i];
                for (int i = 0; i < 2; i++) anychip_mma_{function}(d, ra, rb, d);
                for (int i = 0; i < {words}; i++) out[threadIdx.x * {words} + i] = d[i];
            }}"#
        ));
        let (da, db, out) = (s.buffer(&a), s.buffer(&b), s.alloc(32 * 4 * words));
        assert_eq!(launch!(kernel, [1, 1, 1], [32, 1, 1], 0, 0, da, db, out), 0);
        let found: Vec<u32> = s.read(out, 32 * words);
        for lane in 0..32 {
            for i in 0..4 {
                let (row, col) = (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
                let dot: i32 = (0..k).map(|k| (small(row, k, 0) + shift) * (small(k, col, 1) + shift)).sum();
                let word = found[lane * words + i * words / 4];
                let (found, expected) = match sum {
                    "int" => (word, (2 * dot) as u32),
                    "float" => (word, (2.0 * dot as f32).to_bits()),
                    _ => (word >> (16 * (i % 2)) & 0xffff, f16(2 * dot)),
                };
                assert_eq!(found, expected, "{function}: row {row}, column {col}");
            }
        }
    }
}

/// Four products at once. Where elements are, as the manual has it: of operand `line` in its group of eight lanes 0 to 3 and 16
/// to 19, and of sums `i` of that lane.
#[test]
fn volta_multiplies_four_times() {
    let s = Session::new();
    let kernel = s.kernel(
        r#"extern "C" __global__ void k(const unsigned* a, const unsigned* b, float* out) {
            float d[8];
            for (int i = 0; i < 8; i++) d[i] = i;
            anychip_mma_m8n8k4_f16_f32(d, a + threadIdx.x * 2, b + threadIdx.x * 2, d);
            for (int i = 0; i < 8; i++) out[threadIdx.x * 8 + i] = d[i];
        }"#,
    );
    let place = |lane: usize| (lane / 4 % 4, lane % 4 + lane / 16 * 4);
    let operand = |salt: usize| -> Vec<u32> {
        let word = |i: usize| {
            let (group, line) = place(i / 2);
            let of = |k: usize| f16(small(8 * group + line, i % 2 * 2 + k, salt));
            of(0) | of(1) << 16
        };
        (0..64).map(word).collect()
    };
    let (a, b, out) = (s.buffer(&operand(0)), s.buffer(&operand(1)), s.alloc(4 * 256));
    assert_eq!(launch!(kernel, [1, 1, 1], [32, 1, 1], 0, 0, a, b, out), 0);
    for (at, found) in s.read::<f32>(out, 256).into_iter().enumerate() {
        let (lane, i) = (at / 8, at % 8);
        let ((group, _), high) = (place(lane), lane / 16);
        let (row, col) = ((lane & 1) + (i & 2) + 4 * high, (i & 4) + (lane & 2) + (i & 1));
        let dot: i32 = (0..4).map(|k| small(8 * group + row, k, 0) * small(8 * group + col, k, 1)).sum();
        assert_eq!(found, (i as i32 + dot) as f32, "lane {lane}, {i}");
    }
}

#[test]
fn ldmatrix_gives_each_lane_its_part() {
    let s = Session::new();
    for (transposed, store) in
        [(false, ""), (true, ""), (false, "anychip_stmatrix<4>(row, r);"), (true, "anychip_stmatrix<4, true>(row, r);")]
    {
        let kernel = s.kernel(&format!(
            r#"extern "C" __global__ void k(const unsigned short* x, unsigned* out, unsigned short* back) {{
                __shared__ __align__(16) unsigned short tile[32 * 8];
                for (int i = 0; i < 8; i++) tile[threadIdx.x * 8 + i] = x[threadIdx.x * 8 + i];
                __syncwarp();
                unsigned r[4];
                unsigned short* row = tile + threadIdx.x * 8;
                anychip_ldmatrix<4, {transposed}>(r, row);
                for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = r[i];
                for (int i = 0; i < 8; i++) row[i] = 0;
                __syncwarp();
                {store}
                __syncwarp();
                for (int i = 0; i < 8; i++) back[threadIdx.x * 8 + i] = row[i];
            }}"#
        ));
        let x: Vec<u16> = (0..256).map(|i| i as u16 * 3).collect();
        let (dx, out, back) = (s.buffer(&x), s.alloc(4 * 128), s.alloc(2 * 256));
        assert_eq!(launch!(kernel, [1, 1, 1], [32, 1, 1], 0, 0, dx, out, back), 0);
        let found: Vec<u32> = s.read(out, 128);
        for (i, word) in found.into_iter().enumerate() {
            let (lane, matrix) = (i / 4, i % 4);
            let element = |h: usize| {
                let (row, col) = (lane / 4, lane % 4 * 2 + h);
                let (row, col) = if transposed { (col, row) } else { (row, col) };
                u32::from(x[(matrix * 8 + row) * 8 + col])
            };
            assert_eq!(word, element(0) | element(1) << 16, "lane {lane}, matrix {matrix}, transposed {transposed}");
        }
        if !store.is_empty() {
            assert_eq!(s.read::<u16>(back, 256), x);
        }
    }
}

#[test]
fn a_row_that_is_not_aligned_is_refused() {
    let s = Session::new();
    let kernel = s.kernel(
        r#"extern "C" __global__ void k() {
            __shared__ __align__(16) unsigned short tile[300];
            unsigned r[1];
            anychip_ldmatrix<1>(r, tile + 8 * threadIdx.x + 1);
        }"#,
    );
    assert_eq!(launch!(kernel, [1, 1, 1], [32, 1, 1], 0, 0), 0);
    assert_eq!(code!(cuCtxSynchronize()), 716);
}

#[test]
fn wmma_multiplies_tiles() {
    let s = Session::new();
    for (a_rows, b_rows) in [(true, true), (false, false)] {
        let kernel = s.kernel(&format!(
            r#"extern "C" __global__ void k(const unsigned short* a, const unsigned short* b, float* c) {{
                unsigned ra[8], rb[8];
                float d[8];
                anychip_wmma_load_a(ra, a, 20, {a_rows});
                anychip_wmma_load_b(rb, b, 24, {b_rows});
                anychip_wmma_load_c(d, c, 16, true);
                anychip_wmma_mma_f16(d, ra, rb, d);
                anychip_wmma_store(c, d, 16, true);
            }}"#
        ));
        let tile = |ld: usize, rows: bool, salt: usize| {
            let mut tile = vec![0u16; 16 * ld];
            for row in 0..16 {
                for col in 0..16 {
                    tile[if rows { row * ld + col } else { col * ld + row }] = f16(small(row, col, salt)) as u16;
                }
            }
            tile
        };
        let (a, b, c) = (s.buffer(&tile(20, a_rows, 0)), s.buffer(&tile(24, b_rows, 1)), s.buffer(&[1f32; 256]));
        assert_eq!(launch!(kernel, [1, 1, 1], [32, 1, 1], 0, 0, a, b, c), 0);
        let found: Vec<f32> = s.read(c, 256);
        for (i, value) in found.into_iter().enumerate() {
            let dot: i32 = (0..16).map(|k| small(i / 16, k, 0) * small(k, i % 16, 1)).sum();
            assert_eq!(value, 1.0 + dot as f32, "{i}");
        }
    }
}

#[test]
fn small_floats_round_once() {
    let s = Session::new();
    let kernel = s.kernel(
        r#"#include <cuda_fp16.h>
        #include <cuda_bf16.h>
        extern "C" __global__ void k(unsigned short* out, const float* f, const double* d) {
            __half h = __float2half(f[0]);
            out[0] = __half_as_ushort(h + h);
            out[1] = __half_as_ushort(__float2half(f[1]));
            out[2] = __half_as_ushort(__double2half(d[0]));
            out[3] = __half_as_ushort(__hfma(__ushort_as_half(0x3c01), __ushort_as_half(0x3c01), __ushort_as_half(0x8001)));
            out[4] = __bfloat16_as_ushort(__float2bfloat16(f[2]));
            out[5] = __bfloat16_as_ushort(__double2bfloat16(d[1]));
            out[6] = __half_as_ushort(__float2half(f[3]));
            __half2 two = __hadd2(__floats2half2_rn(1.5f, -2.0f), __half2half2(h));
            out[7] = __half_as_ushort(two.y);
            out[8] = __half_as_ushort(__ushort_as_half(0x0001) * __ushort_as_half(0x3800));
            out[9] = __bfloat16_as_ushort(__hfma(__ushort_as_bfloat16(0x3f81), __ushort_as_bfloat16(0x3f80 + 64), __ushort_as_bfloat16(0x0001)));
        }"#,
    );
    // 1; a tie that goes to even; just above a tie of f16, which f32 cannot tell; just above a tie of bf16; the largest and beyond.
    let f = s.buffer(&[1f32, 1.0 + 0.5 / 1024.0, 1.0 + 1.5 / 128.0, 65520.0]);
    let d = s.buffer(&[1.0 + 0.5 / 1024.0 + 1e-12, 1.0 + 0.5 / 128.0 + 1e-12]);
    let out = s.alloc(20);
    assert_eq!(launch!(kernel, [1, 1, 1], [1, 1, 1], 0, 0, out, f, d), 0);
    // 1.0078125 * 1.5 = 1.51171875 lies between 1.5078125 and 1.515625, exactly; what is added decides.
    let found: Vec<u16> = s.read(out, 10);
    assert_eq!(found, [0x4000, 0x3c00, 0x3c01, 0x3c02, 0x3f82, 0x3f81, 0x7c00, 0xbc00, 0x0000, 0x3fc2]);
}

#[test]
fn chips_have_what_they_have() {
    let kernel = |call: &str| format!("extern \"C\" __global__ void k(unsigned* r, float* f, int* i) {{ {call}; }}");
    for (call, lacks, has) in [
        ("anychip_mma_m16n8k16_f16_f32(f, r, r, f)", 75, 80),
        ("anychip_mma_m16n8k32_e4m3_f32(f, r, r, f)", 80, 89),
        ("anychip_stmatrix<1>(r, r)", 89, 90),
        ("anychip_wmma_mma_bf16(f, r, r, f)", 75, 80),
        ("i[0] = __reduce_add_sync(0xffffffffu, i[1])", 75, 80),
    ] {
        let _s = Session::new();
        let source = kernel(call);
        assert_eq!(compile(&source, &[&format!("--gpu-architecture=sm_{lacks}")]).unwrap_err().0, 6, "{call}");
        compile(&source, &[&format!("--gpu-architecture=sm_{has}")]).unwrap_or_else(|(_, log)| panic!("{call}: {log}"));
    }
}
