//! The calls on streams.

use super::{HostCall, Stream, Work};
use crate::{
    abi::Handle,
    calls::{driver_api, lock, put},
    code::{Code, Outcome},
    context, event, handle,
};
use std::{ffi::c_void, sync::Arc};

/// The stream of a handle; of 0, 1 and 2 the current context's own.
pub fn find(stream: Handle) -> Result<Arc<Stream>, Code> {
    match stream {
        0..=2 => Ok(context::current()?.null_stream()),
        _ => handle::get::<Stream>(stream),
    }
}

/// The stream of a handle, unless an error sticks to its context.
pub fn usable(stream: Handle) -> Result<Arc<Stream>, Code> {
    context::usable()?;
    let stream = find(stream)?;
    stream.context.check()?;
    Ok(stream)
}

fn create(to: *mut Handle, flags: u32) -> Outcome {
    let context = context::usable()?;
    if to.is_null() || flags > 1 {
        return Err(Code::INVALID_VALUE);
    }
    let (handle, stream) = handle::insert(|handle| Arc::new(Stream::new(handle, context.clone(), flags)));
    lock(&context.streams).push(stream);
    put(to, handle)
}

driver_api! {
    fn cuStreamCreate(stream: *mut Handle, flags: u32) { create(stream, flags) }

    fn cuStreamCreateWithPriority(stream: *mut Handle, flags: u32, _priority: i32) { create(stream, flags) }

    #[frees]
    fn cuStreamDestroy_v2(stream: Handle) {
        let stream = handle::remove::<Stream>(stream)?;
        let context = stream.context.clone();
        context.let_end(stream);
        context.check()
    }

    fn cuStreamSynchronize(stream: Handle) { usable(stream)?.finish() }

    fn cuStreamQuery(stream: Handle) {
        let stream = usable(stream)?;
        stream.not_capturing()?;
        if !stream.reached(stream.last()) {
            return Err(Code::NOT_READY);
        }
        stream.context.check()
    }

    fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: u32) {
        event::make_wait(&usable(stream)?, &*handle::get(event)?)
    }

    fn cuStreamGetCtx(stream: Handle, context: *mut Handle) { put(context, find(stream)?.context.handle) }

    fn cuStreamGetFlags(stream: Handle, flags: *mut u32) { put(flags, find(stream)?.flags) }

    fn cuStreamGetPriority(stream: Handle, priority: *mut i32) {
        find(stream)?;
        put(priority, 0)
    }

    fn cuLaunchHostFunc(stream: Handle, function: Option<unsafe extern "C" fn(*mut c_void)>, data: *mut c_void) {
        let function = function.ok_or(Code::INVALID_VALUE)?;
        let stream = usable(stream)?;
        stream.submit(Work::Host(HostCall { function, data: data as usize }))?;
        // Who leaves a function behind waits for nothing else.
        stream.reached(stream.last());
        Ok(())
    }

    fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) {
        if mode > 2 { Err(Code::INVALID_VALUE) } else { usable(stream)?.begin_capture() }
    }

    fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) {
        if !graph.is_null() {
            put(graph, 0)?;
        }
        let captured = find(stream)?.end_capture()?;
        put(graph, handle::insert(|_| captured).0)
    }

    fn cuStreamIsCapturing(stream: Handle, status: *mut u32) {
        put(status, find(stream)?.joined().map_or(0, |joined| if joined.session.spoilt() { 2 } else { 1 }))
    }

    fn cuThreadExchangeStreamCaptureMode(mode: *mut u32) { put(mode, 0) }
}
