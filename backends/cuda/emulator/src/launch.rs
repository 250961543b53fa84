//! Launches: what a driver checks when one is asked for, and the parameters, which are copied then.

use crate::{
    abi::{Handle, LaunchConfig},
    calls::driver_api,
    code::Code,
    context, device, handle,
    module::Function,
    stream::{self, Work},
};
use std::{
    ffi::c_void,
    sync::{Arc, atomic::Ordering},
};

pub struct Launch {
    pub function: Arc<Function>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The parameters, each at the beginning of a line: none is aligned to more.
    params: Vec<Line>,
    offsets: Vec<usize>,
}

#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Line([u8; LINE]);
const LINE: usize = 128;

impl Launch {
    /// Where each parameter lies.
    pub fn pointers(&self) -> Vec<*const c_void> {
        self.offsets.iter().map(|at| self.params[*at..].as_ptr().cast()).collect()
    }
}

/// Checks a launch and copies its parameters.
///
/// # Safety
/// `params` points to as many pointers as the function has parameters, or `extra` to a list as cuda.h describes it.
pub unsafe fn prepare(
    function: Handle,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Result<Launch, Code> {
    let function = handle::get::<Function>(function)?;
    let threads = block.iter().try_fold(1u32, |all, n| all.checked_mul(*n)).unwrap_or(u32::MAX);
    let fits = |sizes: [u32; 3], limits: [u32; 3]| sizes.iter().zip(limits).all(|(n, limit)| (1..=limit).contains(n));
    if !fits(grid, [i32::MAX as u32, 65535, 65535]) || !fits(block, [1024, 1024, 64]) || threads > 1024 {
        return Err(Code::INVALID_VALUE);
    }
    if threads > function.max_threads {
        return Err(Code::LAUNCH_OUT_OF_RESOURCES);
    }
    let statics = function.module.static_shared();
    if shared > function.max_dynamic.load(Ordering::Relaxed) || statics + shared > device::shared_optin() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's promise.
    let sources = unsafe { sources(&function, params, extra)? };
    let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
    for (source, (size, _)) in sources.into_iter().zip(&function.params) {
        offsets.push(bytes.len());
        bytes.resize(bytes.len() + size.div_ceil(LINE).max(1), Line([0; LINE]));
        let to = bytes[*offsets.last().expect("pushed above")..].as_mut_ptr();
        // SAFETY: the caller's parameter of this size; there is room for it.
        unsafe { std::ptr::copy_nonoverlapping(source.cast::<u8>(), to.cast::<u8>(), *size) };
    }
    Ok(Launch { function, grid, block, shared, params: bytes, offsets })
}

/// Where the caller has each parameter.
unsafe fn sources(
    function: &Function,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Result<Vec<*const c_void>, Code> {
    let count = function.params.len();
    if !extra.is_null() {
        // CU_LAUNCH_PARAM_END 0, _BUFFER_POINTER 1, _BUFFER_SIZE 2.
        let (mut buffer, mut size, mut at) = (std::ptr::null::<u8>(), 0usize, extra);
        // SAFETY: the list ends with 0, as cuda.h says.
        unsafe {
            while !at.read().is_null() {
                match at.read() as usize {
                    1 => buffer = at.add(1).read().cast(),
                    2 => size = at.add(1).read().cast::<usize>().read(),
                    _ => return Err(Code::INVALID_VALUE),
                }
                at = at.add(2);
            }
        }
        let mut offset = 0usize;
        let mut found = Vec::with_capacity(count);
        for (bytes, align) in &function.params {
            offset = offset.next_multiple_of(*align);
            if buffer.is_null() || offset + bytes > size {
                return Err(Code::INVALID_VALUE);
            }
            // SAFETY: inside of the buffer.
            found.push(unsafe { buffer.add(offset) }.cast());
            offset += bytes;
        }
        return Ok(found);
    }
    if count > 0 && params.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: so many pointers lie there: the caller's promise.
    let found: Vec<*const c_void> = (0..count).map(|i| unsafe { params.add(i).read() }).collect();
    if found.iter().any(|pointer| pointer.is_null()) { Err(Code::INVALID_VALUE) } else { Ok(found) }
}

driver_api! {
    fn cuLaunchKernel(
        function: Handle,
        grid_x: u32, grid_y: u32, grid_z: u32,
        block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: Handle, params: *const *const c_void, extra: *const *const c_void,
    ) {
        context::usable()?;
        // SAFETY: the caller's promise.
        let launch =
            unsafe { prepare(function, [grid_x, grid_y, grid_z], [block_x, block_y, block_z], shared, params, extra)? };
        let stream = stream::usable(stream)?;
        if stream.context.handle != launch.function.module.context {
            return Err(Code::INVALID_HANDLE);
        }
        stream.submit(Work::Launch(Arc::new(launch)))
    }

    fn cuLaunchKernelEx(config: *const LaunchConfig, function: Handle, params: *const *const c_void, extra: *const *const c_void) {
        context::usable()?;
        if config.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller's structures.
        let (config, launch) = unsafe {
            let config = &*config;
            let attributes = match config.count {
                0 => &[],
                n => std::slice::from_raw_parts(config.attributes, n as usize),
            };
            // Clusters of one block only: 4 is CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION.
            if attributes.iter().any(|a| a.id == 4 && (a.value[0] != 1 | 1 << 32 || a.value[1] as u32 != 1)) {
                return Err(Code::NOT_SUPPORTED);
            }
            (config, prepare(function, config.grid, config.block, config.shared, params, extra)?)
        };
        let stream = stream::usable(config.stream)?;
        if stream.context.handle != launch.function.module.context {
            return Err(Code::INVALID_HANDLE);
        }
        stream.submit(Work::Launch(Arc::new(launch)))
    }
}
