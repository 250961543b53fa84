//! The calls that allocate, free, copy and fill. A copy from or to memory of the host that is not pinned is staged or waited for, as
//! CUDA does it; from or to pinned memory it happens when its turn comes.

use super::{Kind, Pool, Region, default_pool, find, on_device, pinned, reserve, used};
use crate::{
    abi::{Device, DevicePtr, Handle},
    calls::{driver_api, put},
    code::{Code, Outcome},
    context::{self, Context},
    device, handle,
    settings::settings,
    stream::{self, Copy, Fill, Stream, Work},
};
use std::{ffi::c_void, sync::Arc};

/// Memory, if need be after what waits on streams to be freed.
fn reserve_or_wait(context: &Arc<Context>, bytes: usize) -> Result<Arc<Region>, Code> {
    match reserve(context, bytes, Kind::Device) {
        Err(Code::OUT_OF_MEMORY) if context.finish().is_ok() => reserve(context, bytes, Kind::Device),
        other => other,
    }
}

fn open(region: Arc<Region>) -> Result<Arc<Region>, Code> {
    match region.open() {
        Ok(()) => Ok(region),
        Err(code) => {
            region.close(false);
            Err(code)
        }
    }
}

fn alloc_async(to: *mut DevicePtr, bytes: usize, stream: Handle) -> Outcome {
    let context = context::usable()?;
    let stream = stream::usable(stream)?;
    stream.not_capturing()?;
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let region = reserve_or_wait(&context, bytes)?;
    stream.submit(Work::Open(region.clone()))?;
    put(to, region.at as DevicePtr)
}

/// A copy on a stream, by where its ends lie.
fn copy(stream: &Arc<Stream>, dst: usize, src: usize, bytes: usize) -> Outcome {
    if bytes == 0 {
        return Ok(());
    }
    if dst == 0 || src == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let pageable = |at: usize| find(at, bytes).is_none();
    if pageable(src) && !stream.capturing() {
        // SAFETY: so many bytes of the host lie there: the caller's promise.
        let staged = unsafe { std::slice::from_raw_parts(src as *const u8, bytes) }.to_vec();
        stream.submit(Work::Write { dst, bytes: staged })?;
    } else {
        stream.submit(Work::Copy(Copy::line(dst, src, bytes)))?;
    }
    if pageable(dst) && !stream.capturing() { stream.finish() } else { Ok(()) }
}

fn to_device(dst: DevicePtr, src: *const c_void, bytes: usize, stream: Handle) -> Result<Arc<Stream>, Code> {
    let stream = stream::usable(stream)?;
    if bytes > 0 {
        on_device(dst as usize, bytes)?;
        copy(&stream, dst as usize, src as usize, bytes)?;
    }
    Ok(stream)
}

fn from_device(dst: *mut c_void, src: DevicePtr, bytes: usize, stream: Handle) -> Result<Arc<Stream>, Code> {
    let stream = stream::usable(stream)?;
    if bytes > 0 {
        on_device(src as usize, bytes)?;
        copy(&stream, dst as usize, src as usize, bytes)?;
    }
    Ok(stream)
}

fn on_devices(dst: DevicePtr, src: DevicePtr, bytes: usize, stream: Handle) -> Result<Arc<Stream>, Code> {
    let stream = stream::usable(stream)?;
    if bytes > 0 {
        on_device(src as usize, bytes)?;
        on_device(dst as usize, bytes)?;
        copy(&stream, dst as usize, src as usize, bytes)?;
    }
    Ok(stream)
}

fn fill(dst: DevicePtr, value: u32, element: usize, count: usize, stream: Handle) -> Result<Arc<Stream>, Code> {
    let stream = stream::usable(stream)?;
    if count > 0 {
        if !(dst as usize).is_multiple_of(element) {
            return Err(Code::INVALID_VALUE);
        }
        let bytes = count.checked_mul(element).ok_or(Code::INVALID_VALUE)?;
        // Pinned memory has one address for host and device.
        if !pinned(dst as usize, bytes) {
            on_device(dst as usize, bytes)?;
        }
        stream.submit(Work::Fill(Fill { dst: dst as usize, pitch: 0, value, element, width: count, height: 1 }))?;
    }
    Ok(stream)
}

fn alloc_host(to: *mut *mut c_void, bytes: usize) -> Outcome {
    let context = context::usable()?;
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    put(to, open(reserve(&context, bytes, Kind::Pinned)?)?.at as *mut c_void)
}

driver_api! {
    fn cuMemAlloc_v2(to: *mut DevicePtr, bytes: usize) {
        let context = context::usable()?;
        if to.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        put(to, open(reserve_or_wait(&context, bytes)?)?.at as DevicePtr)
    }

    // A driver waits for the device here by habit, not by promise: this one does not, so that a kernel at work on it is seen.
    #[frees]
    fn cuMemFree_v2(at: DevicePtr) {
        let context = context::current()?;
        if at != 0 {
            let region = on_device(at as usize, 0).ok().filter(|r| r.at == at as usize).ok_or(Code::INVALID_VALUE)?;
            region.give_up()?;
            region.close(true);
        }
        context.check()
    }

    fn cuMemAllocAsync(to: *mut DevicePtr, bytes: usize, stream: Handle) { alloc_async(to, bytes, stream) }

    fn cuMemAllocFromPoolAsync(to: *mut DevicePtr, bytes: usize, pool: Handle, stream: Handle) {
        handle::get::<Pool>(pool)?;
        alloc_async(to, bytes, stream)
    }

    #[frees]
    fn cuMemFreeAsync(at: DevicePtr, stream: Handle) {
        let stream = stream::find(stream)?;
        stream.not_capturing()?;
        if at != 0 {
            let region = on_device(at as usize, 0).ok().filter(|r| r.at == at as usize).ok_or(Code::INVALID_VALUE)?;
            region.give_up()?;
            stream.submit_always(Work::Close(region));
        }
        stream.context.check()
    }

    fn cuMemHostAlloc(to: *mut *mut c_void, bytes: usize, _flags: u32) { alloc_host(to, bytes) }

    fn cuMemAllocHost_v2(to: *mut *mut c_void, bytes: usize) { alloc_host(to, bytes) }

    #[frees]
    fn cuMemFreeHost(at: *mut c_void) {
        let context = context::current()?;
        let region = find(at as usize, 0).filter(|r| r.kind == Kind::Pinned && r.at == at as usize).ok_or(Code::INVALID_VALUE)?;
        region.close(true);
        context.check()
    }

    fn cuMemHostGetDevicePointer_v2(to: *mut DevicePtr, at: *mut c_void, _flags: u32) {
        context::usable()?;
        if pinned(at as usize, 0) { put(to, at as DevicePtr) } else { Err(Code::INVALID_VALUE) }
    }

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let context = context::usable()?;
        put(total, settings().memory as usize)?;
        put(free, (settings().memory - used(context.device)) as usize)
    }

    fn cuMemGetAddressRange_v2(base: *mut DevicePtr, bytes: *mut usize, at: DevicePtr) {
        context::usable()?;
        let region = on_device(at as usize, 0).map_err(|_| Code::NOT_FOUND)?;
        if !base.is_null() {
            put(base, region.at as DevicePtr)?;
        }
        if bytes.is_null() { Ok(()) } else { put(bytes, region.bytes) }
    }

    fn cuPointerGetAttribute(to: *mut c_void, attribute: u32, at: DevicePtr) {
        context::usable()?;
        let region = find(at as usize, 0).ok_or(Code::INVALID_VALUE)?;
        match attribute {
            1 => put(to.cast(), region.context),
            2 => put(to.cast(), if region.kind == Kind::Device { 2u32 } else { 1 }),
            3 => put(to.cast(), at),
            4 if region.kind == Kind::Pinned => put(to.cast(), at),
            8 => put(to.cast(), false),
            9 => put(to.cast(), region.device as i32),
            11 => put(to.cast(), region.at as DevicePtr),
            12 => put(to.cast(), region.bytes),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    fn cuMemcpyHtoD_v2(dst: DevicePtr, src: *const c_void, bytes: usize) { to_device(dst, src, bytes, 0)?.finish() }

    fn cuMemcpyHtoDAsync_v2(dst: DevicePtr, src: *const c_void, bytes: usize, stream: Handle) {
        to_device(dst, src, bytes, stream).map(drop)
    }

    fn cuMemcpyDtoH_v2(dst: *mut c_void, src: DevicePtr, bytes: usize) { from_device(dst, src, bytes, 0)?.finish() }

    fn cuMemcpyDtoHAsync_v2(dst: *mut c_void, src: DevicePtr, bytes: usize, stream: Handle) {
        from_device(dst, src, bytes, stream).map(drop)
    }

    fn cuMemcpyDtoD_v2(dst: DevicePtr, src: DevicePtr, bytes: usize) { on_devices(dst, src, bytes, 0).map(drop) }

    fn cuMemcpyDtoDAsync_v2(dst: DevicePtr, src: DevicePtr, bytes: usize, stream: Handle) {
        on_devices(dst, src, bytes, stream).map(drop)
    }

    fn cuMemcpyAsync(dst: DevicePtr, src: DevicePtr, bytes: usize, stream: Handle) {
        let stream = stream::usable(stream)?;
        copy(&stream, dst as usize, src as usize, bytes)
    }

    fn cuMemcpyPeerAsync(dst: DevicePtr, dst_context: Handle, src: DevicePtr, src_context: Handle, bytes: usize, stream: Handle) {
        for (at, context) in [(dst, dst_context), (src, src_context)] {
            let context = handle::get::<Context>(context).map_err(|_| Code::INVALID_CONTEXT)?;
            if bytes > 0 && on_device(at as usize, bytes)?.device != context.device {
                return Err(Code::INVALID_VALUE);
            }
        }
        on_devices(dst, src, bytes, stream).map(drop)
    }

    fn cuMemsetD8_v2(dst: DevicePtr, value: u8, count: usize) { fill(dst, value.into(), 1, count, 0).map(drop) }

    fn cuMemsetD8Async(dst: DevicePtr, value: u8, count: usize, stream: Handle) { fill(dst, value.into(), 1, count, stream).map(drop) }

    fn cuMemsetD16Async(dst: DevicePtr, value: u16, count: usize, stream: Handle) { fill(dst, value.into(), 2, count, stream).map(drop) }

    fn cuMemsetD32_v2(dst: DevicePtr, value: u32, count: usize) { fill(dst, value, 4, count, 0).map(drop) }

    fn cuMemsetD32Async(dst: DevicePtr, value: u32, count: usize, stream: Handle) { fill(dst, value, 4, count, stream).map(drop) }

    fn cuDeviceGetDefaultMemPool(pool: *mut Handle, device: Device) { put(pool, default_pool(device::check(device)?)) }

    fn cuDeviceGetMemPool(pool: *mut Handle, device: Device) { put(pool, default_pool(device::check(device)?)) }

    fn cuMemPoolSetAttribute(pool: Handle, attribute: u32, value: *mut c_void) {
        handle::get::<Pool>(pool)?;
        if value.is_null() || !matches!(attribute, 1..=4 | 6 | 8) { Err(Code::INVALID_VALUE) } else { Ok(()) }
    }

    fn cuMemPoolGetAttribute(pool: Handle, attribute: u32, value: *mut c_void) {
        let pool = handle::get::<Pool>(pool)?;
        match attribute {
            1..=3 => put(value.cast(), 1i32),
            4 => put(value.cast(), 0u64),
            5..=8 => put(value.cast(), used(pool.device)),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    fn cuMemPoolTrimTo(pool: Handle, _keep: usize) { handle::get::<Pool>(pool).map(drop) }
}
