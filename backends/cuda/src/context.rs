//! The few objects of the driver that the backend holds, each released when it is dropped.
//!
//! A context of the backend's own, never the process's primary one: reopening a device resets nobody else's. It is made current
//! around every call and then the one before it again, so that a caller's own CUDA code on the thread is not disturbed.

use crate::api::{Api, NOT_READY};
use anychip_hal::{Error, Result};
use cudarc::driver::sys::*;
use std::{ffi::CString, ptr, sync::Arc};

/// A context.
pub struct Context {
    pub api: &'static Api,
    /// The device's id, for messages.
    pub id: String,
    pub raw: CUcontext,
}

// Handles of the driver are names that every thread may use; what must not overlap is said where it is used.
unsafe impl Send for Context {}
unsafe impl Sync for Context {}

/// While it lives its context is the thread's current one.
pub struct Current<'a>(&'a Context);

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut old = ptr::null_mut();
        // Fails only when somebody popped more than they pushed.
        let _ = unsafe { (self.0.api.cuCtxPopCurrent_v2)(&mut old) };
    }
}

impl Context {
    pub fn create(api: &'static Api, device: CUdevice, id: &str) -> Result<Arc<Context>> {
        let mut raw = ptr::null_mut();
        let code = unsafe { (api.cuCtxCreate_v2)(&mut raw, 0, device) };
        api.good(id, "cuCtxCreate", code)?;
        let made = Arc::new(Context { api, id: id.into(), raw });
        // Creating makes it current; it is the caller's thread.
        drop(Current(&made));
        Ok(made)
    }

    pub fn enter(&self) -> Result<Current<'_>> {
        let code = unsafe { (self.api.cuCtxPushCurrent_v2)(self.raw) };
        self.good("cuCtxPushCurrent", code)?;
        Ok(Current(self))
    }

    pub fn good(&self, call: &str, code: u32) -> Result<()> {
        self.api.good(&self.id, call, code)
    }

    /// The error of a call after which nothing is known of the device's work.
    fn lost(&self, call: &str, code: u32) -> Error {
        match self.api.error(&self.id, call, code) {
            e @ Error::DeviceLost { .. } => e,
            _ => {
                let why = format!("{call}: {}", self.api.words(code));
                Error::DeviceLost { device: self.id.clone(), why, restart: false }
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = unsafe { (self.api.cuCtxDestroy_v2)(self.raw) };
    }
}

macro_rules! object {
    ($(#[$m:meta])* $name:ident, $raw:ty, $release:ident) => {
        $(#[$m])*
        pub struct $name {
            pub raw: $raw,
            pub context: Arc<Context>,
        }
        unsafe impl Send for $name {}
        unsafe impl Sync for $name {}
        impl Drop for $name {
            fn drop(&mut self) {
                // Of a graph no context needs to be current. A context that is lost refuses; then what is left goes with it.
                let _here = self.context.enter();
                let _ = unsafe { (self.context.api.$release)(self.raw) };
            }
        }
    };
}
object!(
    /// A queue of the driver's.
    Stream, CUstream, cuStreamDestroy_v2
);
object!(
    /// A point in a stream.
    Event, CUevent, cuEventDestroy_v2
);
object!(
    /// A loaded cubin.
    Module, CUmodule, cuModuleUnload
);
object!(
    /// A recorded graph.
    Graph, CUgraph, cuGraphDestroy
);
object!(
    /// A graph that can be launched.
    Exec, CUgraphExec, cuGraphExecDestroy
);

impl Stream {
    /// A stream that does not wait for the legacy default one.
    pub fn create(context: &Arc<Context>) -> Result<Stream> {
        let _here = context.enter()?;
        let mut raw = ptr::null_mut();
        let code = unsafe { (context.api.cuStreamCreate)(&mut raw, CUstream_flags::CU_STREAM_NON_BLOCKING as u32) };
        context.good("cuStreamCreate", code)?;
        Ok(Stream { raw, context: context.clone() })
    }

    /// Waits for everything in it. The context is current. Whatever it fails with: what the stream did is unknown then.
    pub fn finish(&self) -> Result<()> {
        match unsafe { (self.context.api.cuStreamSynchronize)(self.raw) } {
            0 => Ok(()),
            code => Err(self.context.lost("cuStreamSynchronize", code)),
        }
    }

    /// Everything from now on waits for the event. The context is current.
    pub fn after(&self, event: &Event) -> Result<()> {
        self.context.good("cuStreamWaitEvent", unsafe { (self.context.api.cuStreamWaitEvent)(self.raw, event.raw, 0) })
    }
}

impl Event {
    /// An event; `timed` ones cost more. The context is current.
    pub fn create(context: &Arc<Context>, timed: bool) -> Result<Event> {
        let flags = if timed { CUevent_flags::CU_EVENT_DEFAULT } else { CUevent_flags::CU_EVENT_DISABLE_TIMING };
        let mut raw = ptr::null_mut();
        context.good("cuEventCreate", unsafe { (context.api.cuEventCreate)(&mut raw, flags as u32) })?;
        Ok(Event { raw, context: context.clone() })
    }

    pub fn record(&self, stream: &Stream) -> Result<()> {
        self.context.good("cuEventRecord", unsafe { (self.context.api.cuEventRecord)(self.raw, stream.raw) })
    }

    /// Is everything before it done? The error of work that failed.
    pub fn done(&self) -> Result<bool> {
        match unsafe { (self.context.api.cuEventQuery)(self.raw) } {
            NOT_READY => Ok(false),
            0 => Ok(true),
            code => Err(self.context.lost("work on the device (cuEventQuery)", code)),
        }
    }

    /// Nanoseconds from another event, both done and timed.
    pub fn since(&self, earlier: &Event) -> Result<f64> {
        let mut ms = 0f32;
        let code = unsafe { (self.context.api.cuEventElapsedTime)(&mut ms, earlier.raw, self.raw) };
        self.context.good("cuEventElapsedTime", code)?;
        Ok(f64::from(ms) * 1e6)
    }
}

impl Module {
    /// Loads a cubin and finds a kernel in it. The context is current. The driver's code where it refuses.
    pub fn load(
        context: &Arc<Context>,
        cubin: &[u8],
        entry: &CString,
    ) -> std::result::Result<(Module, CUfunction), u32> {
        let mut raw = ptr::null_mut();
        match unsafe { (context.api.cuModuleLoadData)(&mut raw, cubin.as_ptr().cast()) } {
            0 => {}
            code => return Err(code),
        }
        let module = Module { raw, context: context.clone() };
        let mut function = ptr::null_mut();
        match unsafe { (context.api.cuModuleGetFunction)(&mut function, module.raw, entry.as_ptr()) } {
            0 => Ok((module, function)),
            code => Err(code),
        }
    }
}

impl Graph {
    /// Makes a graph ready to be launched. The context is current.
    pub fn instantiate(&self) -> Result<Exec> {
        let mut raw = ptr::null_mut();
        let code = unsafe { (self.context.api.cuGraphInstantiateWithFlags)(&mut raw, self.raw, 0) };
        self.context.good("cuGraphInstantiate", code)?;
        Ok(Exec { raw, context: self.context.clone() })
    }
}

/// The error with how much was asked for.
pub fn asked(e: Error, bytes: u64) -> Error {
    match e {
        Error::OutOfMemory { device, why, .. } => Error::OutOfMemory { device, asked: bytes, why },
        e => e,
    }
}
