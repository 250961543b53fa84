//! A thousand small softmaxes, each of the last one's result, as a CUDA graph written by hand: the same kernel, a node behind a node,
//! launched as one.

use super::{failed, ordinal};
use crate::{in_turn, launches};
use anychip::{
    Device, Error, Result,
    hal::{
        DeviceInfo,
        ir::ParamKind,
        render::c::{Cuda, Dialect, render},
    },
};
use anychip_cuda::nvrtc;
use cudarc::driver::sys::{self, CUresult};
use std::{ffi::CString, ptr};

/// Prints medians of both, in turn, and their ratio.
pub fn beside(device: &Device) -> Result<()> {
    let (program, x) = launches::program(device)?;
    let by_hand = ByHand::new(device.chain()[0].info())?;
    let mut ours = || {
        let out = program.run(std::slice::from_ref(&x))?;
        device.synchronize()?;
        drop(out);
        Ok(())
    };
    let t = in_turn(&mut [&mut ours, &mut || by_hand.run()])?;
    println!(
        "{}",
        serde_json::json!({"op": "1000 dependent launches", "device": device.id(), "ms": t[0], "graph_ms": t[1], "ratio": t[0] / t[1]})
    );
    Ok(())
}

/// Everything that the program holds; it ends with the process.
struct ByHand {
    context: sys::CUcontext,
    stream: sys::CUstream,
    graph: sys::CUgraphExec,
}

/// The code of a call of the driver as a result.
macro_rules! ok {
    ($call:expr) => {
        // SAFETY: calls in the order that the driver asks for, with handles that live as long as the process.
        match unsafe { $call } {
            CUresult::CUDA_SUCCESS => {}
            code => return Err(failed(stringify!($call), code)),
        }
    };
}

impl ByHand {
    fn new(info: &DeviceInfo) -> Result<ByHand> {
        let (kernel, scalars, groups) = launches::kernel(info)?;
        let mut device = 0;
        ok!(sys::cuInit(0));
        ok!(sys::cuDeviceGet(&mut device, ordinal(info)));
        let (mut major, mut minor, mut version) = (0, 0, 0);
        use sys::CUdevice_attribute_enum::*;
        ok!(sys::cuDeviceGetAttribute(&mut major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
        ok!(sys::cuDeviceGetAttribute(&mut minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
        ok!(sys::cuDriverGetVersion(&mut version));
        let capability = (major as u32, minor as u32);
        let text = render(&kernel, &Dialect::cuda(Cuda { capability, tf32: false }))?;
        let compiler = nvrtc::fitting(capability, (version as u32 / 1000, version as u32 % 1000 / 10));
        let compiler = compiler.map_err(|e| failed("NVRTC", e))?;
        let made =
            compiler.compile("softmax", &text.source, &nvrtc::options(capability)).map_err(|e| failed("NVRTC", e))?;

        let mut context = ptr::null_mut();
        ok!(sys::cuDevicePrimaryCtxRetain(&mut context, device));
        ok!(sys::cuCtxPushCurrent_v2(context));
        let (mut module, mut function, mut stream) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        ok!(sys::cuModuleLoadData(&mut module, made.cubin.as_ptr().cast()));
        let entry = CString::new(text.entry).map_err(|e| failed("the kernel's name", e))?;
        ok!(sys::cuModuleGetFunction(&mut function, module, entry.as_ptr()));
        ok!(sys::cuStreamCreate(&mut stream, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32));
        let mut buffers = [0; 2];
        for b in &mut buffers {
            ok!(sys::cuMemAlloc_v2(b, launches::BYTES as usize));
            ok!(sys::cuMemsetD32Async(*b, 0x3f00_0000, launches::BYTES as usize / 4, stream));
        }
        let (slots, _) = kernel.scalar_layout();
        let (mut graph, mut exec) = (ptr::null_mut(), ptr::null_mut());
        ok!(sys::cuGraphCreate(&mut graph, 0));
        let mut last: Option<sys::CUgraphNode> = None;
        for n in 0..launches::LAUNCHES {
            // From one to the other and back.
            let (mut bound, mut given) = ([buffers[n % 2], buffers[1 - n % 2]].into_iter(), slots.iter());
            let mut values: Vec<u64> = vec![];
            for p in &kernel.params {
                let more = || Error::invalid("launches: the kernel has other parameters than expected");
                values.push(match p.kind {
                    ParamKind::Buffer { .. } => bound.next().ok_or_else(more)?,
                    ParamKind::Scalar { .. } => {
                        let slot = given.next().ok_or_else(more)?;
                        let mut word = [0; 8];
                        let (at, bytes) = (slot.offset as usize, slot.bytes as usize);
                        word[..bytes].copy_from_slice(&scalars[at..at + bytes]);
                        u64::from_ne_bytes(word)
                    }
                });
            }
            let mut params: Vec<_> = values.iter_mut().map(|v| (&raw mut *v).cast()).collect();
            let [x, y, z] = kernel.workgroup;
            let node = sys::CUDA_KERNEL_NODE_PARAMS {
                func: function,
                gridDimX: groups,
                gridDimY: 1,
                gridDimZ: 1,
                blockDimX: x,
                blockDimY: y,
                blockDimZ: z,
                sharedMemBytes: text.shared,
                kernelParams: params.as_mut_ptr(),
                extra: ptr::null_mut(),
                kern: ptr::null_mut(),
                ctx: ptr::null_mut(),
            };
            let mut made = ptr::null_mut();
            let before = last.as_ref().map_or(ptr::null(), ptr::from_ref);
            ok!(sys::cuGraphAddKernelNode_v2(&mut made, graph, before, last.is_some() as usize, &node));
            last = Some(made);
        }
        ok!(sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0));
        ok!(sys::cuStreamSynchronize(stream));
        let mut popped = ptr::null_mut();
        ok!(sys::cuCtxPopCurrent_v2(&mut popped));
        Ok(ByHand { context, stream, graph: exec })
    }

    fn run(&self) -> Result<()> {
        ok!(sys::cuCtxPushCurrent_v2(self.context));
        ok!(sys::cuGraphLaunch(self.graph, self.stream));
        ok!(sys::cuStreamSynchronize(self.stream));
        let mut popped = ptr::null_mut();
        ok!(sys::cuCtxPopCurrent_v2(&mut popped));
        Ok(())
    }
}
