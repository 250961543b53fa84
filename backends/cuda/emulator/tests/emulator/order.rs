//! Order: streams, events, captured and built graphs, two devices.

use crate::driver::{Session, code, launch, live, ok};
use std::ffi::c_void;

/// Doubles `n` floats.
const DOUBLE: &str = r#"extern "C" __global__ void k(float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] = 2 * x[i];
}"#;

#[test]
fn a_stream_that_does_not_wait_is_seen() {
    let s = Session::new();
    let (k, first, second, event) = (s.kernel(DOUBLE), s.stream(), s.stream(), s.event());
    let (x, y) = (s.buffer(&[1f32; 64]), s.buffer(&[0f32; 64]));
    let run = |wait: bool| {
        ok!(cuMemsetD32Async(x, 1f32.to_bits(), 64, first));
        assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, first, x, 64i32), 0);
        ok!(cuEventRecord(event, first));
        if wait {
            ok!(cuStreamWaitEvent(second, event, 0));
        }
        ok!(cuMemcpyDtoDAsync_v2(y, x, 256, second));
        ok!(cuStreamSynchronize(second));
        let seen = s.read::<f32>(y, 1)[0];
        ok!(cuStreamSynchronize(first));
        seen
    };
    assert_eq!(run(false), 1.0);
    assert_eq!(run(true), 2.0);
    // Without a wait it still sees what the run before has left, not this one's.
    ok!(cuMemsetD32Async(x, 9f32.to_bits(), 64, first));
    ok!(cuStreamSynchronize(first));
    assert_eq!(run(false), 9.0);
}

#[test]
fn the_host_sees_nothing_before_it_waits() {
    let s = Session::new();
    let (k, stream, event) = (s.kernel(DOUBLE), s.stream(), s.event());
    let mut pinned: *mut c_void = std::ptr::null_mut();
    ok!(cuMemAllocHost_v2(&mut pinned, 256));
    let host = pinned.cast::<f32>();
    let x = s.alloc(256);
    // SAFETY: pinned memory of 64 floats.
    unsafe { host.write(3.0) };
    ok!(cuMemcpyHtoDAsync_v2(x, pinned, 256, stream));
    // The copy has not been made: it takes what is written now.
    // SAFETY: as above.
    unsafe { host.write(5.0) };
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, stream, x, 64i32), 0);
    ok!(cuMemcpyDtoHAsync_v2(pinned, x, 256, stream));
    ok!(cuEventRecord(event, stream));
    // SAFETY: as above.
    assert_eq!(unsafe { host.read() }, 5.0);
    ok!(cuEventSynchronize(event));
    // SAFETY: as above.
    assert_eq!(unsafe { host.read() }, 10.0);
    // Memory that is not pinned is taken at once.
    let mut value = [7f32; 64];
    ok!(cuMemcpyHtoDAsync_v2(x, value.as_ptr().cast(), 256, stream));
    value = [0.0; 64];
    ok!(cuMemcpyDtoHAsync_v2(value.as_mut_ptr().cast(), x, 256, stream));
    assert_eq!(value, [7.0; 64]);
    ok!(cuMemFreeHost(pinned));
}

#[test]
fn asking_lets_streams_go_on() {
    let s = Session::new();
    let (stream, start, end) = (s.stream(), s.event(), s.event());
    let x = s.alloc(1 << 20);
    ok!(cuEventRecord(start, stream));
    ok!(cuMemsetD8Async(x, 7, 1 << 20, stream));
    ok!(cuEventRecord(end, stream));
    let begun = std::time::Instant::now();
    while code!(cuEventQuery(end)) == 600 {
        assert!(begun.elapsed().as_secs() < 20, "nothing happens");
        std::thread::yield_now();
    }
    let mut milliseconds = -1.0;
    ok!(cuEventElapsedTime(&mut milliseconds, start, end));
    assert!(milliseconds > 0.0);
    assert_eq!(s.read::<u8>(x + 1000, 2), [7, 7]);
}

#[test]
fn memory_of_a_stream_is_there_in_its_turn() {
    let s = Session::new();
    let (k, stream, other) = (s.kernel(DOUBLE), s.stream(), s.stream());
    let mut x = 0;
    ok!(cuMemAllocAsync(&mut x, 256, stream));
    ok!(cuMemsetD32Async(x, 4f32.to_bits(), 64, stream));
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, stream, x, 64i32), 0);
    ok!(cuStreamSynchronize(stream));
    assert_eq!(s.read::<f32>(x, 1), [8.0]);
    ok!(cuMemFreeAsync(x, stream));
    ok!(cuStreamSynchronize(stream));
    assert_eq!(live("memory"), 0);
    // Another stream that does not wait comes too early.
    ok!(cuMemAllocAsync(&mut x, 256, stream));
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, other, x, 64i32), 0);
    assert_eq!(code!(cuStreamSynchronize(other)), 700);
}

#[test]
fn a_destroyed_stream_ends_its_work_first() {
    const WORDS: usize = 4 << 20;
    let s = Session::new();
    let (x, stream) = (s.alloc(4 * WORDS), s.stream());
    ok!(cuMemsetD32Async(x, 7, WORDS, stream));
    ok!(cuStreamDestroy_v2(stream));
    ok!(cuCtxSynchronize());
    assert_eq!(s.read::<u32>(x + 4 * (WORDS as u64 - 1), 1), [7]);
    drop(s);
    // A context that goes meanwhile waits for what still touches its memory.
    for _ in 0..200 {
        let s = Session::new();
        let (mut x, stream) = (0, s.stream());
        ok!(cuMemAllocAsync(&mut x, 256, stream));
        ok!(cuMemFreeAsync(x, stream));
        ok!(cuStreamDestroy_v2(stream));
    }
}

#[test]
fn a_captured_list_runs_again_and_again() {
    let s = Session::new();
    let (k, stream, side, fork, join) = (s.kernel(DOUBLE), s.stream(), s.stream(), s.event(), s.event());
    let (x, y) = (s.buffer(&[1f32; 64]), s.buffer(&[1f32; 64]));
    ok!(cuStreamBeginCapture_v2(stream, 0));
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, stream, x, 64i32), 0);
    ok!(cuEventRecord(fork, stream));
    ok!(cuStreamWaitEvent(side, fork, 0));
    ok!(cuMemcpyDtoDAsync_v2(y, x, 256, side));
    ok!(cuEventRecord(join, side));
    ok!(cuStreamWaitEvent(stream, join, 0));
    assert_eq!(launch!(k, [1, 1, 1], [64, 1, 1], 0, stream, x, 64i32), 0);
    let (mut graph, mut executable) = (0, 0);
    ok!(cuStreamEndCapture(stream, &mut graph));
    assert_eq!(s.read::<f32>(x, 1), [1.0]);
    ok!(cuGraphInstantiateWithFlags(&mut executable, graph, 0));
    ok!(cuGraphDestroy(graph));
    for turn in 1..=8 {
        ok!(cuGraphLaunch(executable, stream));
        ok!(cuStreamSynchronize(stream));
        let all = 4f32.powi(turn);
        assert_eq!((s.read::<f32>(x, 64), s.read::<f32>(y, 64)), (vec![all; 64], vec![all / 2.0; 64]));
    }
    ok!(cuGraphExecDestroy(executable));
    assert_eq!((live("graphs"), live("executables")), (0, 0));
    // What no graph can hold spoils the capture, and a side that does not come back is left out of none.
    ok!(cuStreamBeginCapture_v2(stream, 0));
    assert_eq!(code!(cuStreamSynchronize(stream)), 900);
    assert_eq!((code!(cuStreamEndCapture(stream, &mut graph)), graph), (901, 0));
    ok!(cuStreamBeginCapture_v2(stream, 0));
    ok!(cuEventRecord(fork, stream));
    ok!(cuStreamWaitEvent(side, fork, 0));
    ok!(cuMemcpyDtoDAsync_v2(y, x, 256, side));
    assert_eq!(code!(cuStreamEndCapture(stream, &mut graph)), 904);
}

#[repr(C)]
struct KernelNode {
    function: usize,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    params: *const *const c_void,
    extra: *const *const c_void,
    kernel: usize,
    context: usize,
}

#[repr(C)]
struct FillNode {
    dst: u64,
    pitch: usize,
    value: u32,
    element: u32,
    width: usize,
    height: usize,
}

/// CUDA_MEMCPY3D of one row on the device.
fn copy_node(dst: u64, src: u64, bytes: usize) -> [usize; 25] {
    let mut node = [0; 25];
    (node[4], node[6], node[9]) = (2, src as usize, bytes);
    (node[15], node[17], node[20]) = (2, dst as usize, bytes);
    (node[22], node[23], node[24]) = (bytes, 1, 1);
    node
}

#[test]
fn a_built_graph_keeps_its_edges_and_only_those() {
    let s = Session::new();
    let k = s.kernel(DOUBLE);
    let (x, y) = (s.buffer(&[0f32; 64]), s.buffer(&[0f32; 64]));
    let n = 64i32;
    let build = |edges: bool| {
        let (mut graph, mut fill, mut kernel, mut copy, mut executable) = (0, 0, 0, 0, 0);
        ok!(cuGraphCreate(&mut graph, 0));
        let fill_params = FillNode { dst: x, pitch: 0, value: 1f32.to_bits(), element: 4, width: 64, height: 1 };
        ok!(cuGraphAddMemsetNode(&mut fill, graph, std::ptr::null(), 0, (&raw const fill_params).cast(), s.context));
        let params: [*const c_void; 2] = [(&raw const x).cast(), (&raw const n).cast()];
        let node = KernelNode {
            function: k,
            grid: [1; 3],
            block: [64, 1, 1],
            shared: 0,
            params: params.as_ptr(),
            extra: std::ptr::null(),
            kernel: 0,
            context: 0,
        };
        let count = edges as usize;
        ok!(cuGraphAddKernelNode_v2(&mut kernel, graph, &fill, count, (&raw const node).cast()));
        let row = copy_node(y, x, 256);
        ok!(cuGraphAddMemcpyNode(&mut copy, graph, &kernel, count, row.as_ptr().cast(), s.context));
        ok!(cuGraphInstantiateWithFlags(&mut executable, graph, 0));
        ok!(cuGraphDestroy(graph));
        executable
    };
    let (with, without) = (build(true), build(false));
    let run = |executable: usize| {
        ok!(cuGraphLaunch(executable, 0));
        ok!(cuStreamSynchronize(0));
        s.read::<f32>(y, 1)[0]
    };
    assert!((0..16).all(|_| run(with) == 2.0));
    assert!((0..16).any(|_| run(without) != 2.0), "edges are missing and nobody notices");
    ok!(cuGraphExecDestroy(with));
    ok!(cuGraphExecDestroy(without));
}

#[test]
fn copies_between_devices() {
    let s = Session::new();
    let x = s.buffer(&[1f32, 2.0, 3.0, 4.0]);
    let (mut other, mut y) = (0, 0);
    ok!(cuCtxCreate_v2(&mut other, 0, 1));
    ok!(cuMemAlloc_v2(&mut y, 16));
    ok!(cuMemcpyPeerAsync(y, other, x, s.context, 16, 0));
    ok!(cuCtxSynchronize());
    assert_eq!(s.read::<f32>(y, 4), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(code!(cuMemcpyPeerAsync(y, s.context, x, other, 16, 0)), 1);
    ok!(cuCtxDestroy_v2(other));
    // The other device's memory went with its context, this one's did not.
    assert_eq!(live("memory"), 1);
}

#[test]
fn the_stream_of_everybody_waits_for_streams_that_block() {
    let s = Session::new();
    let mut blocking = 0;
    ok!(cuStreamCreate(&mut blocking, 0));
    let (x, y) = (s.buffer(&[1u8; 64]), s.buffer(&[0u8; 64]));
    ok!(cuMemsetD8Async(x, 9, 64, blocking));
    ok!(cuMemcpyDtoDAsync_v2(y, x, 64, 0));
    assert_eq!(s.read::<u8>(y, 64), [9; 64]);
    let apart = s.stream();
    ok!(cuMemsetD8Async(x, 3, 64, apart));
    ok!(cuMemcpyDtoDAsync_v2(y, x, 64, 0));
    assert_eq!(s.read::<u8>(y, 64), [9; 64]);
}
