//! What goes wrong: in kernels, in calls, and by order of the test.

use crate::driver::{MEMORY, Session, code, compile, launch, live, name, ok};
use std::ffi::CString;

const STORE: &str = r#"extern "C" __global__ void k(float* x, long long at) { x[at] = 1; }"#;

#[test]
fn writing_behind_an_allocation_loses_the_context_only() {
    let s = Session::new();
    let k = s.kernel(STORE);
    let x = s.alloc(256);
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, x, 63i64), 0);
    ok!(cuCtxSynchronize());
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, x, 64i64), 0);
    assert_eq!(name(code!(cuCtxSynchronize())), "CUDA_ERROR_ILLEGAL_ADDRESS");
    // It sticks.
    let mut y = 0;
    assert_eq!(code!(cuMemAlloc_v2(&mut y, 16)), 700);
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, x, 0i64), 700);
    assert_eq!(code!(cuStreamQuery(0)), 700);
    drop(s);
    let s = Session::new();
    let (k, x) = (s.kernel(STORE), s.alloc(256));
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, x, 3i64), 0);
    ok!(cuCtxSynchronize());
    assert_eq!(s.read::<f32>(x + 12, 1), [1.0]);
}

#[test]
fn writing_into_the_slack_of_an_allocation_is_seen_when_it_is_freed() {
    let s = Session::new();
    let (k, x) = (s.kernel(STORE), s.alloc(100));
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, x, 25i64), 0);
    ok!(cuCtxSynchronize());
    assert_eq!(code!(cuMemFree_v2(x)), 700);
}

#[test]
fn freed_memory_is_nobodys() {
    let s = Session::new();
    let (k, x) = (s.kernel(STORE), s.alloc(4096));
    ok!(cuMemFree_v2(x));
    assert_eq!(code!(cuMemFree_v2(x)), 1);
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, 0, x, 0i64), 0);
    assert_eq!(code!(cuCtxSynchronize()), 700);
}

#[test]
fn memory_whose_turn_never_comes_is_freed_all_the_same() {
    let s = Session::new();
    let (k, x, stream, mut y) = (s.kernel(STORE), s.alloc(256), s.stream(), 0);
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 0, stream, x, 64i64), 0);
    ok!(cuMemAllocAsync(&mut y, 256, stream));
    ok!(cuMemFreeAsync(y, stream));
    assert_eq!(code!(cuStreamSynchronize(stream)), 700);
    assert_eq!(live("memory"), 1);
}

#[test]
fn faults_of_fibers_end_the_launch_too() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(float* x) {
            __syncthreads();
            if (threadIdx.x == 40) x[1 << 20] = 1;
            __syncthreads();
        }"#,
    );
    let x = s.alloc(256);
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, 0, x), 0);
    assert_eq!(code!(cuCtxSynchronize()), 700);
}

#[test]
fn divergent_barriers_fail_the_launch() {
    for body in [
        "if (threadIdx.x < 32) __syncthreads(); else out[threadIdx.x] = 1;",
        "if (threadIdx.x < 5) { __syncthreads(); }\n else { __syncthreads(); }",
        "if (threadIdx.x == 3) return; __syncthreads();",
        "if (threadIdx.x % 2) __shfl_sync(0xffffffffu, 1, 0);\n else __syncthreads();",
        "__shfl_sync(1u, 1, 0);",
        "__trap();",
    ] {
        let s = Session::new();
        let k = s.kernel(&format!("extern \"C\" __global__ void k(int* out) {{ {body} }}"));
        let out = s.alloc(256);
        assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, 0, out), 0);
        assert_eq!(name(code!(cuCtxSynchronize())), "CUDA_ERROR_LAUNCH_FAILED", "{body}");
    }
}

#[test]
fn launches_that_cannot_be_are_refused() {
    let s = Session::new();
    let k = s.kernel(r#"extern "C" __global__ void __launch_bounds__(128) k(float* x) { extern __shared__ float s[]; s[0] = 1; x[0] = s[0]; }"#);
    let x = s.alloc(256);
    assert_eq!(launch!(k, [0, 1, 1], [1, 1, 1], 0, 0, x), 1);
    assert_eq!(launch!(k, [1, 65536, 1], [1, 1, 1], 0, 0, x), 1);
    assert_eq!(launch!(k, [1, 1, 1], [1025, 1, 1], 0, 0, x), 1);
    assert_eq!(name(launch!(k, [1, 1, 1], [129, 1, 1], 0, 0, x)), "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES");
    assert_eq!(launch!(k, [1, 1, 1], [128, 1, 1], 100_000, 0, x), 1);
    ok!(cuFuncSetAttribute(k, 8, 100_000));
    assert_eq!(code!(cuFuncSetAttribute(k, 8, 300_000)), 1);
    assert_eq!(launch!(k, [1, 1, 1], [128, 1, 1], 100_000, 0, x), 0);
    ok!(cuCtxSynchronize());
    assert_eq!(s.read::<f32>(x, 1), [1.0]);
    assert_eq!(launch!(12345, [1, 1, 1], [1, 1, 1], 0, 0, x), 400);
}

#[test]
fn shared_memory_has_an_end() {
    let s = Session::new();
    let k = s.kernel(
        r#"extern "C" __global__ void k(float* x, int at) { extern __shared__ float s[]; s[at] = 1; x[0] = s[at]; }"#,
    );
    let x = s.alloc(256);
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 100, 0, x, 24i32), 0);
    ok!(cuCtxSynchronize());
    assert_eq!(launch!(k, [1, 1, 1], [1, 1, 1], 100, 0, x, 25i32), 0);
    assert_eq!(code!(cuCtxSynchronize()), 700);
}

#[test]
fn what_does_not_compile_has_a_log() {
    let _s = Session::new();
    let (code, log) =
        compile("extern \"C\" __global__ void k() {\n int x = missing;\n}", &["--gpu-architecture=sm_90"]).unwrap_err();
    assert_eq!(code, 6);
    assert!(log.contains("test.cu:2") && log.contains("missing"), "{log}");
    let (code, log) = compile("", &["--gpu-architecture=sm_42"]).unwrap_err();
    assert!(code == 5 && log.contains("sm_42"), "{log}");
    let (code, log) = compile("", &["--no-such-option"]).unwrap_err();
    assert!(code == 5 && log.contains("--no-such-option"), "{log}");
    // More local memory than the emulation has.
    let large = "extern \"C\" __global__ void k(int* x) { int all[20000]; for (int i = 0; i < 20000; i++) all[x[i]] = i; x[0] = all[x[1]]; }";
    let (code, log) = compile(large, &["--gpu-architecture=sm_90"]).unwrap_err();
    assert!(code == 6 && log.contains("frame size"), "{log}");
    // NVRTC has no headers of the system, and what sm_75 lacks does not compile for it.
    assert_eq!(compile("#include <stdint.h>\n", &["--gpu-architecture=sm_90"]).unwrap_err().0, 6);
    let copies = "extern \"C\" __global__ void k(float* x) { anychip_cp_async(x, x, 4, 4); }";
    assert_eq!(compile(copies, &["--gpu-architecture=sm_75"]).unwrap_err().0, 6);
    assert!(compile(copies, &["--gpu-architecture=sm_80"]).is_ok());
}

#[test]
fn modules_are_for_their_chip_and_know_their_kernels() {
    let _s = Session::new();
    let (mut module, mut function) = (0, 0);
    let image = compile(STORE, &["--gpu-architecture=sm_80"]).unwrap();
    assert_eq!(name(code!(cuModuleLoadData(&mut module, image.as_ptr().cast()))), "CUDA_ERROR_NO_BINARY_FOR_GPU");
    let mut image = compile(STORE, &["--gpu-architecture=sm_90a"]).unwrap();
    ok!(cuModuleLoadData(&mut module, image.as_ptr().cast()));
    assert_eq!(name(code!(cuModuleGetFunction(&mut function, module, c"nothing".as_ptr()))), "CUDA_ERROR_NOT_FOUND");
    ok!(cuModuleUnload(module));
    assert_eq!(code!(cuModuleUnload(module)), 400);
    // Damaged, and made by another version of the emulator.
    for at in [image.len() - 1, 64] {
        image[at] ^= 1;
        assert_eq!(name(code!(cuModuleLoadData(&mut module, image.as_ptr().cast()))), "CUDA_ERROR_INVALID_IMAGE");
        image[at] ^= 1;
    }
    assert_eq!(code!(cuModuleLoadData(&mut module, b"\x7fELF".as_ptr().cast())), 200);
    // A kernel without C linkage has another name on a GPU.
    let mangled = compile("__global__ void k() {}", &["--gpu-architecture=sm_90"]).unwrap();
    ok!(cuModuleLoadData(&mut module, mangled.as_ptr().cast()));
    assert_eq!(code!(cuModuleGetFunction(&mut function, module, c"k".as_ptr())), 500);
}

#[test]
fn memory_ends_at_its_limit() {
    let s = Session::new();
    let mut at = 0;
    assert_eq!(code!(cuMemAlloc_v2(&mut at, MEMORY + 1)), 2);
    assert_eq!(code!(cuMemAlloc_v2(&mut at, usize::MAX - 5000)), 2);
    let half = s.alloc(MEMORY / 2 + 1);
    assert_eq!(code!(cuMemAlloc_v2(&mut at, MEMORY / 2)), 2);
    let (mut free, mut total) = (0, 0);
    ok!(cuMemGetInfo_v2(&mut free, &mut total));
    assert_eq!((free, total), (MEMORY / 2 - 1, MEMORY));
    // What a stream will free counts as free for who can wait for it.
    let stream = s.stream();
    ok!(cuMemFreeAsync(half, stream));
    ok!(cuMemAllocAsync(&mut at, MEMORY, stream));
    ok!(cuMemFree_v2(at));
}

#[test]
fn any_call_can_be_told_to_fail() {
    let s = Session::new();
    let tell = |text: &str| assert_eq!(code!(anychipEmulatorFault(CString::new(text).unwrap().as_ptr())), 0);
    tell("cuMemAlloc_v2:2=2");
    let x = s.alloc(16);
    let mut y = 0;
    assert_eq!(code!(cuMemAlloc_v2(&mut y, 16)), 2);
    assert_eq!(code!(anychipEmulatorCalls(c"cuMemAlloc_v2".as_ptr())), 2);
    let y = s.alloc(16);
    assert_eq!(live("memory"), 2);
    // What gives back does so although it says that it failed.
    tell("cuMemFree_v2:1=999;nvrtcCreateProgram:1=1");
    assert_eq!(code!(cuMemFree_v2(x)), 999);
    assert_eq!(live("memory"), 1);
    let mut program = 0;
    assert_eq!(
        code!(nvrtcCreateProgram(&mut program, c"".as_ptr(), std::ptr::null(), 0, std::ptr::null(), std::ptr::null())),
        1
    );
    // A code that sticks does.
    tell("cuStreamQuery:1=214");
    assert_eq!(name(code!(cuStreamQuery(0))), "CUDA_ERROR_ECC_UNCORRECTABLE");
    assert_eq!(code!(cuMemFree_v2(y)), 214);
    assert_eq!(code!(cuCtxSynchronize()), 214);
    assert_eq!(code!(anychipEmulatorFault(c"nonsense".as_ptr())), 1);
}

#[test]
fn handles_of_what_is_gone_are_known() {
    let s = Session::new();
    let (stream, event) = (s.stream(), s.event());
    ok!(cuStreamDestroy_v2(stream));
    ok!(cuEventDestroy_v2(event));
    assert_eq!((code!(cuStreamSynchronize(stream)), code!(cuEventRecord(event, 0))), (400, 400));
    ok!(cuCtxSetCurrent(0));
    let mut at = 0;
    assert_eq!(name(code!(cuMemAlloc_v2(&mut at, 4))), "CUDA_ERROR_INVALID_CONTEXT");
}

#[test]
fn symbols_are_found_by_name() {
    let _s = Session::new();
    let (mut at, mut status) = (std::ptr::null_mut(), 9);
    ok!(cuGetProcAddress_v2(c"cuMemAlloc".as_ptr(), &mut at, 12000, 0, &mut status));
    assert!(!at.is_null() && status == 0);
    assert_eq!(code!(cuGetProcAddress_v2(c"cuNothing".as_ptr(), &mut at, 12000, 0, &mut status)), 500);
    assert!(at.is_null() && status == 1);
    let (mut driver, mut major, mut minor, mut devices) = (0, 0, 0, 0);
    ok!(cuDriverGetVersion(&mut driver));
    ok!(nvrtcVersion(&mut major, &mut minor));
    ok!(cuDeviceGetCount(&mut devices));
    assert_eq!((driver, major, minor, devices), (13000, 13, 0, 2));
    let (mut text, mut capability) = ([0; 64], [0; 2]);
    ok!(cuDeviceGetName(text.as_mut_ptr(), 64, 1));
    // SAFETY: the driver ends it with NUL.
    let text = unsafe { std::ffi::CStr::from_ptr(text.as_ptr()) }.to_str().unwrap();
    assert!(text.starts_with("anychip CUDA emulator"), "{text}");
    ok!(cuDeviceGetAttribute(&mut capability[0], 75, 1));
    ok!(cuDeviceGetAttribute(&mut capability[1], 76, 1));
    assert_eq!(capability, [9, 0]);
    assert_eq!(code!(cuDeviceGetName(std::ptr::null_mut(), 64, 2)), 101);
}

/// NVIDIA's NVRTC, in one process with this driver, asks for them and goes on without.
#[test]
fn there_are_no_tables_of_the_insides() {
    let _s = Session::new();
    let mut table = std::ptr::dangling::<std::ffi::c_void>();
    assert_eq!(code!(cuGetExportTable(&mut table, std::ptr::null())), 500);
    assert!(table.is_null());
}
