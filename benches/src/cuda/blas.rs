//! cuBLASLt called directly, as its documentation shows: the peer of our products. Row by row by the transposed order, sums in f32, its
//! first proposal with 32 MiB of workspace, on numbers from −0.5 to 0.5.

use super::{failed, ordinal};
use anychip::{DType, Result, bf16, f16, hal::DeviceInfo};
use anychip_benches::values;
use cudarc::driver::sys::{self, CUresult};
use libloading::{Library, Symbol};
use std::{ffi::c_void, ptr, time::Duration};

type Pointer = *mut c_void;

/// A product of two n×n matrices. It ends with the process.
pub struct Direct {
    library: Library,
    context: sys::CUcontext,
    stream: sys::CUstream,
    events: [sys::CUevent; 2],
    handle: Pointer,
    operation: Pointer,
    layout: Pointer,
    algorithm: [u64; 8],
    /// A, B, the result, the workspace.
    at: [u64; 4],
}

const WORKSPACE: usize = 32 << 20;

/// The code of a call of the driver as a result.
macro_rules! driver {
    ($call:expr) => {
        // SAFETY: calls in the order that the driver asks for, with handles that live as long as the process.
        match unsafe { $call } {
            CUresult::CUDA_SUCCESS => {}
            code => return Err(failed(stringify!($call), code)),
        }
    };
}

/// Calls a function of the library by its name; an error unless it gives 0.
macro_rules! lt {
    ($library:expr, $name:ident($($arg:expr => $of:ty),* $(,)?)) => {{
        // SAFETY: the types are those of cublasLt.h.
        let code = unsafe {
            let f: Symbol<'_, unsafe extern "C" fn($($of),*) -> u32> = $library
                .get(concat!(stringify!($name), "\0").as_bytes())
                .map_err(|e| failed(stringify!($name), e))?;
            f($($arg),*)
        };
        if code != 0 {
            return Err(failed(stringify!($name), code));
        }
    }};
}

impl Direct {
    pub fn new(info: &DeviceInfo, dtype: DType, n: usize) -> Result<Direct> {
        let names =
            ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", "cublasLt64_13.dll", "cublasLt64_12.dll"];
        // SAFETY: what it runs when it is loaded is NVIDIA's own.
        let library = names.into_iter().find_map(|n| unsafe { Library::new(n) }.ok());
        let library = library.ok_or_else(|| failed("cuBLASLt", "it is not installed"))?;
        let (mut device, mut context, mut stream) = (0, ptr::null_mut(), ptr::null_mut());
        driver!(sys::cuInit(0));
        driver!(sys::cuDeviceGet(&mut device, ordinal(info)));
        driver!(sys::cuDevicePrimaryCtxRetain(&mut context, device));
        driver!(sys::cuCtxPushCurrent_v2(context));
        driver!(sys::cuStreamCreate(&mut stream, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32));
        let mut events = [ptr::null_mut(); 2];
        for e in &mut events {
            driver!(sys::cuEventCreate(e, 0));
        }
        let mut at = [0; 4];
        let bytes = n * n * dtype.size();
        for (i, p) in at.iter_mut().enumerate() {
            driver!(sys::cuMemAlloc_v2(p, if i == 3 { WORKSPACE } else { bytes }));
        }
        for (i, p) in at[..2].iter().enumerate() {
            let numbers = values(n * n, 1 + i as u64).into_iter();
            let data: Vec<u8> = match dtype {
                DType::BF16 => numbers.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
                DType::F16 => numbers.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
                _ => numbers.flat_map(f32::to_le_bytes).collect(),
            };
            driver!(sys::cuMemcpyHtoD_v2(*p, data.as_ptr().cast(), bytes));
        }
        // CUDA_R_16BF, CUDA_R_16F, CUDA_R_32F; CUBLAS_COMPUTE_32F.
        let element: u32 = match dtype {
            DType::BF16 => 14,
            DType::F16 => 2,
            _ => 0,
        };
        let (mut handle, mut operation, mut layout, mut preference) =
            (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        lt!(library, cublasLtCreate(&mut handle => *mut Pointer));
        lt!(library, cublasLtMatmulDescCreate(&mut operation => *mut Pointer, 68 => u32, 0 => u32));
        let side = n as u64;
        lt!(library, cublasLtMatrixLayoutCreate(&mut layout => *mut Pointer, element => u32, side => u64, side => u64, n as i64 => i64));
        lt!(library, cublasLtMatmulPreferenceCreate(&mut preference => *mut Pointer));
        let room = WORKSPACE as u64;
        lt!(library, cublasLtMatmulPreferenceSetAttribute(preference => Pointer, 1 => u32, (&raw const room).cast() => *const c_void, 8 => usize));
        // cublasLtMatmulHeuristicResult_t: the algorithm, the workspace it needs, a state, waves, four reserved words.
        let (mut found, mut count) = ([0u64; 12], 0i32);
        lt!(library, cublasLtMatmulAlgoGetHeuristic(
            handle => Pointer, operation => Pointer, layout => Pointer, layout => Pointer, layout => Pointer, layout => Pointer,
            preference => Pointer, 1 => i32, found.as_mut_ptr() => *mut u64, &mut count => *mut i32,
        ));
        if count < 1 {
            return Err(failed("cuBLASLt", "it has no algorithm"));
        }
        let mut algorithm = [0; 8];
        algorithm.copy_from_slice(&found[..8]);
        let mut popped = ptr::null_mut();
        driver!(sys::cuCtxPopCurrent_v2(&mut popped));
        Ok(Direct { library, context, stream, events, handle, operation, layout, algorithm, at })
    }

    /// Multiplies and waits; the time between events.
    pub fn run(&self) -> Result<Option<Duration>> {
        driver!(sys::cuCtxPushCurrent_v2(self.context));
        driver!(sys::cuEventRecord(self.events[0], self.stream));
        let (one, zero) = (1f32, 0f32);
        let [a, b, out, room] = self.at.map(|p| p as Pointer);
        let (handle, operation, layout) = (self.handle, self.operation, self.layout);
        lt!(self.library, cublasLtMatmul(
            handle => Pointer, operation => Pointer, (&raw const one).cast() => *const c_void, b => Pointer, layout => Pointer,
            a => Pointer, layout => Pointer, (&raw const zero).cast() => *const c_void, out => Pointer, layout => Pointer,
            out => Pointer, layout => Pointer, self.algorithm.as_ptr() => *const u64, room => Pointer, WORKSPACE => usize,
            self.stream.cast() => Pointer,
        ));
        driver!(sys::cuEventRecord(self.events[1], self.stream));
        driver!(sys::cuStreamSynchronize(self.stream));
        let mut ms = 0f32;
        driver!(sys::cuEventElapsedTime(&mut ms, self.events[0], self.events[1]));
        let mut popped = ptr::null_mut();
        driver!(sys::cuCtxPopCurrent_v2(&mut popped));
        Ok(Some(Duration::from_secs_f64(f64::from(ms) / 1e3)))
    }
}
