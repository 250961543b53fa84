//! What kernels compute: indices, shared memory, warps, atomics, asynchronous copies.

use crate::driver::{Session, code, launch, ok};

#[test]
fn vectors_add() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void __launch_bounds__(256) k(const float* __restrict__ a, const float* __restrict__ b, float* c, int n) {
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < n) c[i] = a[i] + b[i];
        }"#,
    );
    let n = 1000;
    let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let b: Vec<f32> = (0..n).map(|i| 0.5 * i as f32).collect();
    let (da, db, dc) = (s.buffer(&a), s.buffer(&b), s.alloc(4 * n as usize));
    assert_eq!(launch!(k, [4, 1, 1], [256, 1, 1], 0, 0, da, db, dc, n), 0);
    let c: Vec<f32> = s.read(dc, n as usize);
    assert!((0..n as usize).all(|i| c[i] == a[i] + b[i]));
}

#[test]
fn grids_and_blocks_of_three_dimensions() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(unsigned* out) {
            unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
            unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
            out[b * (blockDim.x * blockDim.y * blockDim.z) + t] = blockIdx.z * 1000000 + blockIdx.y * 100000 + blockIdx.x * 10000
                + threadIdx.z * 100 + threadIdx.y * 10 + threadIdx.x;
        }"#,
    );
    let out = s.alloc(4 * 24 * 30);
    assert_eq!(launch!(k, [2, 3, 4], [5, 3, 2], 0, 0, out), 0);
    let found: Vec<u32> = s.read(out, 24 * 30);
    for (i, value) in found.into_iter().enumerate() {
        let (b, t) = (i as u32 / 30, i as u32 % 30);
        let block = b / 6 * 1_000_000 + b / 2 % 3 * 100_000 + b % 2 * 10_000;
        assert_eq!(value, block + t / 15 * 100 + t / 5 % 3 * 10 + t % 5);
    }
}

const STATIC_SUM: &str = r#"extern "C" __global__ void k(const float* x, float* out, int n) {
    __shared__ float part[256];
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += 256) sum += x[i];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}"#;

#[test]
fn shared_memory_sums() {
    let s = Session::new();
    let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let (dx, out) = (s.buffer(&x), s.alloc(4));
    let n = 1000i32;
    let fixed = s.kernel(STATIC_SUM);
    assert_eq!(launch!(fixed, [1, 1, 1], [256, 1, 1], 0, 0, dx, out, n), 0);
    assert_eq!(s.read::<f32>(out, 1), [499_500.0]);

    let dynamic = STATIC_SUM.replace("__shared__ float part[256];", "extern __shared__ __align__(16) float part[];");
    let dynamic = s.kernel(&dynamic);
    assert_eq!(launch!(dynamic, [1, 1, 1], [256, 1, 1], 1024, 0, dx, out, n), 0);
    assert_eq!(s.read::<f32>(out, 1), [499_500.0]);
}

#[test]
fn a_missing_barrier_is_seen() {
    let s = Session::new();
    let x: Vec<f32> = vec![1.0; 1000];
    let (dx, out) = (s.buffer(&x), s.alloc(4 * 8));
    let n = 1000i32;
    // Without the first barrier sums are read that nobody has written yet, without the last such as are not yet complete.
    for without in [0, 1] {
        let broken: String = {
            let mut parts: Vec<&str> = STATIC_SUM.split("__syncthreads();").collect();
            assert_eq!(parts.len(), 3);
            let tail = parts.split_off(without + 1).join("__syncthreads();");
            format!("{}(void)0;{tail}", parts.join("__syncthreads();"))
        };
        let k = s.kernel(&broken);
        assert_eq!(launch!(k, [8, 1, 1], [256, 1, 1], 0, 0, dx, out, n), 0);
        let sums = s.read::<f32>(out, 8);
        assert!(sums.iter().any(|sum| *sum != 1000.0), "barrier {without} is missing and {sums:?} are right");
    }
}

#[test]
fn warps_shuffle_vote_and_reduce() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(int* out) {
            unsigned all = 0xffffffffu;
            int t = threadIdx.x, l = t & 31, at = 0;
            #define PUT(v) out[at++ * 64 + t] = (int)(v)
            PUT(__shfl_sync(all, t * 10, 5));
            PUT(__shfl_xor_sync(all, t, 16));
            PUT(__shfl_up_sync(all, t, 3));
            PUT(__shfl_down_sync(all, t, 3));
            PUT(__shfl_sync(all, t, 9, 8));
            PUT(__ballot_sync(all, l % 3 == 0));
            PUT(__any_sync(all, l == 31) + 2 * __all_sync(all, l < 31));
            PUT(__reduce_add_sync(all, t));
            PUT(__reduce_max_sync(all, -t));
            if (l < 16) PUT(__shfl_xor_sync(0x0000ffffu, t, 1)); else PUT(__shfl_xor_sync(0xffff0000u, t, 2));
            PUT(__syncthreads_count(t < 40));
            double d = __shfl_xor_sync(all, (double)t + 0.5, 1);
            PUT(2 * d);
        }"#,
    );
    let out = s.alloc(4 * 64 * 12);
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, 0, out), 0);
    let found: Vec<i32> = s.read(out, 64 * 12);
    for t in 0..64i32 {
        let (w, l) = (t / 32 * 32, t % 32);
        let expected = [
            (w + 5) * 10,
            w + (l ^ 16),
            if l < 3 { t } else { t - 3 },
            if l > 28 { t } else { t + 3 },
            (t & !7) + 1,
            0x49249249,
            1,
            (w..w + 32).sum(),
            -w,
            if l < 16 { t ^ 1 } else { t ^ 2 },
            40,
            2 * (t ^ 1) + 1,
        ];
        for (i, value) in expected.into_iter().enumerate() {
            assert_eq!(found[i * 64 + t as usize], value, "row {i} of thread {t}");
        }
    }
}

#[test]
fn a_lane_that_has_left_is_not_waited_for() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(int* out) {
            if (threadIdx.x >= 20) return;
            out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 1);
        }"#,
    );
    let out = s.alloc(4 * 20);
    assert_eq!(launch!(k, [1, 1, 1], [32, 1, 1], 0, 0, out), 0);
    assert_eq!(s.read::<i32>(out, 20), (0..20).map(|t| t ^ 1).collect::<Vec<i32>>());
}

#[test]
fn atomics() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(int* i, float* f, double* d, unsigned long long* u) {
            int t = blockIdx.x * blockDim.x + threadIdx.x;
            atomicAdd(i, 1); atomicMax(i + 1, t); atomicMin(i + 2, -t); atomicOr(i + 3, 1 << (t & 7)); atomicSub(i + 4, 2);
            atomicAdd(f, 0.5f); atomicAdd(d, 0.25); atomicAdd(u, 1ull << 33);
            int seen = i[5], was;
            do { was = seen; seen = atomicCAS(i + 5, was, was + 3); } while (seen != was);
        }"#,
    );
    let (i, f, d, u) = (s.buffer(&[0i32; 6]), s.buffer(&[0f32]), s.buffer(&[0f64]), s.buffer(&[0u64]));
    assert_eq!(launch!(k, [4, 1, 1], [64, 1, 1], 0, 0, i, f, d, u), 0);
    assert_eq!(s.read::<i32>(i, 6), [256, 255, -255, 255, -512, 768]);
    assert_eq!((s.read::<f32>(f, 1)[0], s.read::<f64>(d, 1)[0], s.read::<u64>(u, 1)[0]), (128.0, 64.0, 256 << 33));
}

#[test]
fn functions_round_and_saturate_as_cuda_says() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(float* f, int* i) {
            float a = 1.0f + 5.9604645e-8f * 2, b = 1.0f - 5.9604645e-8f;
            f[0] = __fadd_rn(__fmul_rn(a, b), -1.0f);
            f[1] = __fmaf_rn(a, b, -1.0f);
            f[2] = rsqrtf(16.0f); f[3] = exp2f(3.0f); f[4] = erff(0.5f); f[5] = fmaxf(__int_as_float(0x7fc00000), 2.0f); f[6] = tanhf(20.0f);
            i[0] = __float2int_rz(3e9f); i[1] = __float2int_rz(__int_as_float(0x7fc00000)); i[2] = __float2int_rn(2.5f);
            i[3] = __popc(255) + __clz(1) + __ffs(8); i[4] = __dp4a(0x01ff02fe, 0x01010101, 10); i[5] = __mulhi(1 << 30, 8);
            i[6] = __byte_perm(0x03020100, 0x07060504, 0x7531); i[7] = (int)__funnelshift_l(0x80000000u, 1u, 1);
        }"#,
    );
    let (f, i) = (s.alloc(28), s.alloc(32));
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, f, i), 0);
    let f: Vec<f32> = s.read(f, 7);
    let (a, b) = (1.0f32 + 5.9604645e-8 * 2.0, 1.0f32 - 5.9604645e-8);
    assert_eq!((f[0], f[1]), (a * b - 1.0, a.mul_add(b, -1.0)));
    assert_ne!(f[0], f[1]);
    assert_eq!((f[2], f[3], f[5], f[6]), (0.25, 8.0, 2.0, 1.0));
    assert!((f[4] - 0.520_499_9).abs() < 1e-6);
    assert_eq!(s.read::<i32>(i, 8), [i32::MAX, 0, 2, 8 + 31 + 4, 10 + 1 - 1 + 2 - 2, 2, 0x07050301, 3]);
}

#[test]
fn copies_to_shared_memory_land_when_they_are_waited_for() {
    let s = Session::new();
    let source = r#"extern "C" __global__ void k(const float* x, float* out) {
        __shared__ __align__(16) float tile[2][128];
        int t = threadIdx.x;
        anychip_cp_async(&tile[0][4 * t], x + 4 * t, 16, 16);
        anychip_cp_async_commit();
        anychip_cp_async(&tile[1][4 * t], x + 128 + 4 * t, 16, t < 16 ? 16 : 8);
        anychip_cp_async_commit();
        anychip_cp_async_wait(1);
        __syncthreads();
        for (int i = t; i < 128; i += 32) out[i] = tile[0][127 - i];
        anychip_cp_async_wait(0);
        __syncthreads();
        for (int i = t; i < 128; i += 32) out[128 + i] = tile[1][i];
    }"#;
    let x: Vec<f32> = (0..256).map(|i| i as f32).collect();
    let (dx, out) = (s.buffer(&x), s.alloc(4 * 256));
    let k = s.kernel(source);
    assert_eq!(launch!(k, [1, 1, 1], [32, 1, 1], 0, 0, dx, out), 0);
    let found: Vec<f32> = s.read(out, 256);
    let expected = (0..128)
        .map(|i| 127.0 - i as f32)
        .chain((128..256).map(|i| if i >= 192 && i % 4 >= 2 { 0.0 } else { i as f32 }));
    assert_eq!(found, expected.collect::<Vec<f32>>());

    let forgetful = s.kernel(&source.replace("anychip_cp_async_wait(1);", ""));
    assert_eq!(launch!(forgetful, [1, 1, 1], [32, 1, 1], 0, 0, dx, out), 0);
    assert!(s.read::<f32>(out, 128).iter().any(|value| value.is_nan()));
}

#[test]
fn functions_say_what_they_need() {
    let s = Session::new();
    let k = s.kernel(STATIC_SUM);
    let (mut shared, mut threads, mut blocks) = (0, 0, 0);
    ok!(cuFuncGetAttribute(&mut shared, 1, k));
    ok!(cuFuncGetAttribute(&mut threads, 0, k));
    ok!(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, k, 256, 0));
    assert_eq!((shared, threads, blocks), (1024, 1024, 8));
}

#[test]
fn warps_meet_at_barriers_of_their_own() {
    let s = Session::new();
    // Two warps hand a value to two others; the halves never wait for each other.
    let k = s.kernel(
        r#"extern "C" __global__ void k(int* out) {
            __shared__ int box[4];
            int warp = threadIdx.x / 32, half = warp / 2;
            for (int turn = 0; turn < 3 + half; turn++) {
                if (threadIdx.x % 64 == 0) box[half] = 100 * half + turn;
                anychip_bar_sync(1 + half, 64);
                if (threadIdx.x % 64 == 63) out[half * 8 + turn] = box[half];
                anychip_bar_sync(1 + half, 64);
            }
        }"#,
    );
    let out = s.buffer(&[-1i32; 16]);
    assert_eq!(launch!(k, [1, 1, 1], [128, 1, 1], 0, 0, out), 0);
    assert_eq!(s.read::<i32>(out, 16), [0, 1, 2, -1, -1, -1, -1, -1, 100, 101, 102, 103, -1, -1, -1, -1]);
}

#[test]
fn a_thread_may_look_for_what_another_writes() {
    let s = Session::new();
    let source = r#"extern "C" __global__ void k(int* out) {
        __shared__ volatile int flag;
        if (threadIdx.x == 0) flag = 0;
        __syncthreads();
        if (threadIdx.x == 40) flag = 7;
        while (flag == 0) __nanosleep(20);
        out[threadIdx.x] = flag;
    }"#;
    let (k, out) = (s.kernel(source), s.alloc(4 * 64));
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, 0, out), 0);
    assert_eq!(s.read::<i32>(out, 64), [7; 64]);
    let k = s.kernel(&source.replace("flag = 7", "flag = 0"));
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, 0, out), 0);
    assert_eq!(code!(cuCtxSynchronize()), 702);
}
