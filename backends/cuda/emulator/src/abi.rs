//! The driver API's structures that callers pass, as C lays them out, and the handles: plain numbers here.

use std::ffi::c_void;

/// CUcontext, CUstream, CUevent, CUmodule, CUfunction, CUgraph, CUgraphNode, CUgraphExec, CUmemoryPool.
pub type Handle = usize;
/// CUdevice.
pub type Device = i32;
/// CUdeviceptr.
pub type DevicePtr = u64;

/// CUlaunchConfig.
#[repr(C)]
pub struct LaunchConfig {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub stream: Handle,
    pub attributes: *const LaunchAttribute,
    pub count: u32,
}

/// CUlaunchAttribute: a kind and a union of 64 bytes.
#[repr(C)]
pub struct LaunchAttribute {
    pub id: u32,
    pub pad: u32,
    pub value: [u64; 8],
}

/// CUDA_KERNEL_NODE_PARAMS_v2.
#[repr(C)]
pub struct KernelNode {
    pub function: Handle,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
    pub params: *const *const c_void,
    pub extra: *const *const c_void,
    pub kernel: Handle,
    pub context: Handle,
}

/// CUDA_MEMSET_NODE_PARAMS.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FillNode {
    pub dst: DevicePtr,
    pub pitch: usize,
    pub value: u32,
    pub element: u32,
    pub width: usize,
    pub height: usize,
}

/// One side of a CUDA_MEMCPY3D.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CopySide {
    pub x: usize,
    pub y: usize,
    pub z: usize,
    pub lod: usize,
    /// 1 host, 2 device, 3 array, 4 unified.
    pub kind: u32,
    pub host: usize,
    pub device: DevicePtr,
    pub array: usize,
    pub reserved: usize,
    pub pitch: usize,
    pub height: usize,
}

/// CUDA_MEMCPY3D.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy3d {
    pub src: CopySide,
    pub dst: CopySide,
    pub width: usize,
    pub height: usize,
    pub depth: usize,
}

// Laid out as cuda.h has them on 64-bit Linux.
const _: () = assert!(size_of::<LaunchConfig>() == 56 && size_of::<KernelNode>() == 72);
const _: () = assert!(size_of::<FillNode>() == 40 && size_of::<Copy3d>() == 200 && size_of::<LaunchAttribute>() == 72);
