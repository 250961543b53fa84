//! Barriers that count bytes, copies of boxes, and products of four warps.

use crate::driver::{Session, code, compile, launch, ok};

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct TensorMap([u64; 16]);

/// A map of a matrix of 16-bit elements whose rows have `cols`, for boxes of `size`.
fn map(at: u64, [cols, rows]: [u64; 2], size: [u32; 2], swizzle: u32) -> TensorMap {
    let mut map = TensorMap([0; 16]);
    ok!(cuTensorMapEncodeTiled(
        (&raw mut map).cast(),
        6,
        2,
        at as *mut _,
        [cols, rows].as_ptr(),
        [cols * 2].as_ptr(),
        size.as_ptr(),
        [1, 1].as_ptr(),
        0,
        swizzle,
        0,
        0
    ));
    map
}

const PRELUDE: &str = r#"
struct alignas(64) tensor_map { unsigned long long words[16]; };
#define COPY(to, map, col, row, bytes) \
    if (threadIdx.x == 0) { anychip_mbarrier_arrive_expect_tx(&bar, bytes); anychip_bulk_tensor(to, &map, &bar, col, row); }
"#;

#[test]
fn boxes_are_copied_with_zeros_outside() {
    let s = Session::new();
    let source = format!(
        r#"{PRELUDE}
        extern "C" __global__ void k(const __grid_constant__ tensor_map map, unsigned short* out, int wait) {{
            __shared__ __align__(1024) unsigned short box[8 * 8];
            __shared__ __align__(8) unsigned long long bar;
            if (threadIdx.x == 0) anychip_mbarrier_init(&bar, 1);
            __syncthreads();
            COPY(box, map, 4, -2, 128)
            if (wait) anychip_mbarrier_wait(&bar, 0);
            for (int i = threadIdx.x; i < 64; i += 32) out[i] = box[i];
        }}"#
    );
    let k = s.kernel(&source);
    let x: Vec<u16> = (0..8 * 16).map(|i| i as u16 + 1).collect();
    let (dx, out) = (s.buffer(&x), s.alloc(128));
    let map = map(dx, [8, 16], [8, 8], 0);
    assert_eq!(launch!(k, [1, 1, 1], [32, 1, 1], 0, 0, map, out, 1i32), 0);
    let expected = |i: usize| {
        let (row, col) = (i as i32 / 8 - 2, i % 8 + 4);
        if row < 0 || col >= 8 { 0 } else { x[row as usize * 8 + col] }
    };
    assert_eq!(s.read::<u16>(out, 64), (0..64).map(expected).collect::<Vec<u16>>());
    // Who does not wait reads what nobody has written.
    assert_eq!(launch!(k, [1, 1, 1], [32, 1, 1], 0, 0, map, out, 0i32), 0);
    assert_eq!(s.read::<u16>(out, 64), [0xffa5; 64]);
}

#[test]
fn a_barrier_that_expects_more_ends_the_launch() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(const float* x) {
            __shared__ __align__(16) float tile[32];
            __shared__ __align__(8) unsigned long long bar;
            if (threadIdx.x == 0) {
                anychip_mbarrier_init(&bar, 1);
                anychip_mbarrier_arrive_expect_tx(&bar, 256);
                anychip_bulk_copy(tile, x, 128, &bar);
            }
            __syncthreads();
            anychip_mbarrier_wait(&bar, 0);
        }"#,
    );
    let x = s.alloc(256);
    assert_eq!(launch!(k, [1, 1, 1], [32, 1, 1], 0, 0, x), 0);
    assert_eq!(code!(cuCtxSynchronize()), 702);
}

/// f16 of a small integer.
fn f16(v: i32) -> u16 {
    if v == 0 {
        return 0;
    }
    let log = v.unsigned_abs().ilog2();
    ((v < 0) as u16) << 15 | (log as u16 + 15) << 10 | ((v.unsigned_abs() << 10 >> log) & 0x3ff) as u16
}

fn small(row: usize, col: usize, salt: usize) -> i32 {
    ((row * 7 + col * 13 + salt * 5) % 9) as i32 - 4
}

/// 64 × 64 × 64: A from a swizzled tile or from registers, B by columns or by rows.
fn product(a_registers: bool, b_by_k: bool, waits: bool) -> (Vec<f32>, Vec<f32>) {
    let s = Session::new();
    let a_operand = if a_registers { "r" } else { "anychip_wgmma_desc(a + 32 * k, 16, 1024, 128)" };
    let step = if b_by_k { 32 } else { 2048 };
    let template = match (a_registers, b_by_k) {
        (true, by) => format!("<anychip_f16, 64, {by}>"),
        (false, by) => format!("<anychip_f16, 64, true, {by}>"),
    };
    let wait = if waits { "anychip_wgmma_wait(0);" } else { "" };
    let k = s.kernel(&format!(
        r#"{PRELUDE}
        extern "C" __global__ void __launch_bounds__(128) k(
            const __grid_constant__ tensor_map ma, const __grid_constant__ tensor_map mb, const unsigned short* rows, float* out
        ) {{
            extern __shared__ __align__(1024) char tiles[];
            char *a = tiles, *b = tiles + 8192;
            __shared__ __align__(8) unsigned long long bar;
            if (threadIdx.x == 0) anychip_mbarrier_init(&bar, 2);
            __syncthreads();
            COPY(a, ma, 0, 0, 8192)
            COPY(b, mb, 0, 0, 8192)
            anychip_mbarrier_wait(&bar, 0);
            float d[32];
            for (int i = 0; i < 32; i++) d[i] = 0;
            anychip_wgmma_fence();
            for (int k = 0; k < 4; k++) {{
                unsigned r[4];
                int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, col = 16 * k + threadIdx.x % 4 * 2;
                for (int i = 0; i < 4; i++) r[i] = *(const unsigned*)(rows + (row + 8 * (i & 1)) * 64 + col + 8 * (i >> 1));
                anychip_wgmma{template}(d, {a_operand}, anychip_wgmma_desc(b + {step} * k, 16, 1024, 128), k > 0);
            }}
            anychip_wgmma_commit();
            {wait}
            for (int i = 0; i < 32; i++)
                out[(threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + 8 * (i >> 1 & 1)) * 64 + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2] = d[i];
        }}"#
    ));
    let matrix = |salt: usize, turned: bool| {
        let element = |i: usize| if turned { small(i % 64, i / 64, salt) } else { small(i / 64, i % 64, salt) };
        (0..64 * 64).map(|i| f16(element(i))).collect::<Vec<u16>>()
    };
    // B is K × N; by K it lies turned.
    let (a, b, out) = (s.buffer(&matrix(0, false)), s.buffer(&matrix(1, b_by_k)), s.alloc(4 * 64 * 64));
    let (ma, mb) = (map(a, [64, 64], [64, 64], 3), map(b, [64, 64], [64, 64], 3));
    assert_eq!(launch!(k, [1, 1, 1], [128, 1, 1], 16384, 0, ma, mb, a, out), 0);
    let expected = (0..64 * 64).map(|i| (0..64).map(|k| small(i / 64, k, 0) * small(k, i % 64, 1)).sum::<i32>() as f32);
    (s.read(out, 64 * 64), expected.collect())
}

#[test]
fn wgmma_multiplies_from_tiles_and_registers() {
    for (a_registers, b_by_k) in [(false, true), (true, true), (false, false), (true, false)] {
        let (found, expected) = product(a_registers, b_by_k, true);
        assert_eq!(found, expected, "A from registers: {a_registers}, B by K: {b_by_k}");
    }
    // Products that nobody waits for have not been computed.
    assert_eq!(product(false, true, false).0, [0.0; 64 * 64]);
}

#[test]
fn older_chips_have_none_of_it() {
    let _s = Session::new();
    let source = "extern \"C\" __global__ void k(void* bar) { anychip_mbarrier_init(bar, 1); }";
    assert_eq!(compile(source, &["--gpu-architecture=sm_89"]).unwrap_err().0, 6);
    assert!(compile(source, &["--gpu-architecture=sm_90a"]).is_ok());
    let mut map = TensorMap([0; 16]);
    let at = &raw mut map;
    // A stride that is no multiple of 16 bytes.
    assert_eq!(
        code!(cuTensorMapEncodeTiled(
            at.cast(),
            6,
            2,
            at.cast(),
            [8, 8].as_ptr(),
            [24].as_ptr(),
            [8, 8].as_ptr(),
            [1, 1].as_ptr(),
            0,
            0,
            0,
            0
        )),
        1
    );
}
