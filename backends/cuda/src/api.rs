//! The driver's functions that the backend calls, found once, and the meaning of their codes.
//!
//! The crate loads the library and has its types. The functions are looked up here: the crate's own panic where the library or
//! a symbol is missing, and hold a code to be one of those that they know, which a newer driver's need not be.

use crate::NAME;
use anychip_hal::{Error, Result};
use cudarc::driver::sys::*;
use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void},
    ptr,
    sync::OnceLock,
};

/// The oldest driver whose cubins are those of NVRTC 12.
const OLDEST: i32 = 12_000;

macro_rules! functions {
    ($($name:ident($($of:ty),*);)*) => {
        /// The driver's functions; every one gives a code, 0 for success.
        #[allow(non_snake_case)]
        pub struct Api {
            $(pub $name: unsafe extern "C" fn($($of),*) -> u32,)*
        }

        impl Api {
            fn find() -> std::result::Result<Api, String> {
                // The loader's own list of names; a library that cannot be loaded is not there.
                if !unsafe { is_culib_present() } {
                    return Err("NVIDIA's driver (libcuda.so.1, nvcuda.dll) is not installed, or cannot be loaded".into());
                }
                let library = unsafe { culib() };
                Ok(Api {
                    $($name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                        .map_err(|_| format!("NVIDIA's driver lacks {}: it is too old, CUDA 12.0 is needed", stringify!($name)))?,)*
                })
            }
        }
    };
}

functions! {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuGetErrorName(u32, *mut *const c_char);
    cuGetErrorString(u32, *mut *const c_char);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    cuDeviceTotalMem_v2(*mut usize, CUdevice);
    cuDeviceGetUuid_v2(*mut CUuuid, CUdevice);
    cuDeviceGetPCIBusId(*mut c_char, c_int, CUdevice);
    cuCtxCreate_v2(*mut CUcontext, c_uint, CUdevice);
    cuCtxDestroy_v2(CUcontext);
    cuCtxPushCurrent_v2(CUcontext);
    cuCtxPopCurrent_v2(*mut CUcontext);
    cuStreamCreate(*mut CUstream, c_uint);
    cuStreamDestroy_v2(CUstream);
    cuStreamSynchronize(CUstream);
    cuStreamWaitEvent(CUstream, CUevent, c_uint);
    cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
    cuStreamEndCapture(CUstream, *mut CUgraph);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuMemFree_v2(CUdeviceptr);
    cuMemAllocAsync(*mut CUdeviceptr, usize, CUstream);
    cuMemFreeAsync(CUdeviceptr, CUstream);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuMemcpyPeerAsync(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, usize, CUstream);
    cuCtxEnablePeerAccess(CUcontext, c_uint);
    cuMemcpyAsync(CUdeviceptr, CUdeviceptr, usize, CUstream);
    cuMemsetD32Async(CUdeviceptr, c_uint, usize, CUstream);
    cuModuleLoadData(*mut CUmodule, *const c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuFuncGetAttribute(*mut c_int, CUfunction_attribute, CUfunction);
    cuFuncSetAttribute(CUfunction, CUfunction_attribute, c_int);
    cuTensorMapEncodeTiled(*mut c_void, c_uint, c_uint, *mut c_void, *const u64, *const u64, *const c_uint, *const c_uint, c_uint, c_uint, c_uint, c_uint);
    cuLaunchKernel(CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventDestroy_v2(CUevent);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);
    cuEventElapsedTime(*mut f32, CUevent, CUevent);
    cuGraphDestroy(CUgraph);
    cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, c_ulonglong);
    cuGraphLaunch(CUgraphExec, CUstream);
    cuGraphExecDestroy(CUgraphExec);
}

/// Codes that the backend acts on.
pub const OUT_OF_MEMORY: u32 = 2;
pub const NOT_READY: u32 = 600;
const NO_DEVICE: u32 = 100;

impl Api {
    /// The driver, initialised. The first answer stands: the driver itself initialises once in a process.
    pub fn get() -> Result<&'static Api> {
        static API: OnceLock<std::result::Result<Api, String>> = OnceLock::new();
        let found = API.get_or_init(|| {
            let api = Api::find()?;
            let mut version = 0;
            let code = unsafe { (api.cuDriverGetVersion)(&mut version) };
            if code == 0 && version < OLDEST {
                let (major, minor) = (version / 1000, version % 1000 / 10);
                return Err(format!("NVIDIA's driver is made for CUDA {major}.{minor}; 12.0 is needed"));
            }
            match unsafe { (api.cuInit)(0) } {
                0 => Ok(api),
                NO_DEVICE => Err("NVIDIA's driver is there and shows no device".into()),
                code => Err(format!("cuInit: {}", api.words(code))),
            }
        });
        found.as_ref().map_err(|why| Error::NoDriver { backend: NAME.into(), why: why.clone() })
    }

    /// CUDA's own text for a code.
    pub fn words(&self, code: u32) -> String {
        let text = |of: unsafe extern "C" fn(u32, *mut *const c_char) -> u32| {
            let mut at = ptr::null();
            let known = unsafe { of(code, &mut at) } == 0 && !at.is_null();
            // A constant of the driver's.
            known.then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().to_string())
        };
        match (text(self.cuGetErrorString), text(self.cuGetErrorName)) {
            (Some(says), Some(name)) => format!("{says} ({name}, {code})"),
            _ => format!("code {code}"),
        }
    }

    /// The error of a failed call.
    pub fn error(&self, device: &str, call: &str, code: u32) -> Error {
        let why = format!("{call}: {}", self.words(code));
        if code == OUT_OF_MEMORY {
            return Error::OutOfMemory { device: device.into(), asked: 0, why };
        }
        if is_sticky(code) {
            return Error::DeviceLost { device: device.into(), why, restart: ends_process(code) };
        }
        Error::Backend { backend: NAME.into(), code: code.into(), message: format!("{device}: {why}") }
    }

    /// A call's code as a result.
    pub fn good(&self, device: &str, call: &str, code: u32) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.error(device, call, code)) }
    }
}

/// Codes after which the context does nothing more.
pub fn is_sticky(code: u32) -> bool {
    match code {
        // Uncorrectable ECC, NVLink, contained and poisoned memory; the device fell off the bus or is gone.
        46 | 214 | 220 | 226 | 230 | 719 | 720 | 721 | 999 => true,
        // Illegal address, timeout, destroyed context, assert, stack, instruction, alignment, address space, program counter.
        700 | 702 | 709 | 710 | 714..=718 => true,
        // The driver is shutting down; not initialised; the context is not valid.
        3 | 4 | 201 => true,
        _ => false,
    }
}

/// Codes after which no context of this process works.
fn ends_process(code: u32) -> bool {
    matches!(code, 3 | 4)
}
