//! Contexts: own ones and a device's primary one, the stack of each thread, and the error that sticks to a context until it is destroyed.

use crate::{
    abi::{Device, Handle},
    calls::{driver_api, lock, put},
    code::{Code, Outcome},
    device,
    handle::{self, Object},
    memory,
    stream::Stream,
};
use std::{
    cell::RefCell,
    ffi::c_void,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

pub struct Context {
    pub handle: Handle,
    pub device: usize,
    /// The code that sticks; 0 for none.
    error: AtomicU32,
    pub streams: Mutex<Vec<Arc<Stream>>>,
    /// Destroyed streams whose work may not be done: it still touches what is the context's.
    ending: Mutex<Vec<Arc<Stream>>>,
    null: Mutex<Option<Arc<Stream>>>,
}

thread_local! {
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// Contexts that devices hold for everybody: handle and how often retained.
static PRIMARY: Mutex<Vec<Option<(Handle, u32)>>> = Mutex::new(Vec::new());

impl Context {
    /// The sticking error, if there is one.
    pub fn check(&self) -> Outcome {
        match self.error.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(Code(code)),
        }
    }

    /// From now on every call fails with this code; the first stays.
    pub fn strike(&self, code: Code) {
        let _ = self.error.compare_exchange(0, code.0, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The stream of handle 0.
    pub fn null_stream(self: &Arc<Context>) -> Arc<Stream> {
        lock(&self.null).get_or_insert_with(|| Arc::new(Stream::new(0, self.clone(), 0))).clone()
    }

    /// The stream of handle 0, if anybody has used it.
    pub fn used_null_stream(&self) -> Option<Arc<Stream>> {
        lock(&self.null).clone()
    }

    fn all_streams(&self) -> Vec<Arc<Stream>> {
        let mut all = lock(&self.streams).clone();
        all.extend(self.used_null_stream());
        all
    }

    /// A stream's handle is gone; what was submitted to it is still done.
    pub fn let_end(&self, stream: Arc<Stream>) {
        lock(&self.streams).retain(|other| !Arc::ptr_eq(other, &stream));
        let mut ending = lock(&self.ending);
        ending.retain(|other| !other.has_ended());
        stream.close();
        ending.push(stream);
    }

    /// Waits for all that was submitted.
    pub fn finish(&self) -> Outcome {
        for stream in self.all_streams() {
            stream.finish()?;
        }
        let ending = lock(&self.ending).clone();
        ending.iter().for_each(|stream| stream.wait(stream.last()));
        self.check()
    }
}

/// The current context.
pub fn current() -> Result<Arc<Context>, Code> {
    let top = STACK.with_borrow(|stack| stack.last().copied()).unwrap_or(0);
    if top == 0 {
        return Err(if device::initialised() { Code::INVALID_CONTEXT } else { Code::NOT_INITIALIZED });
    }
    handle::get::<Context>(top).map_err(|_| Code::CONTEXT_IS_DESTROYED)
}

/// The current context, unless an error sticks to it.
pub fn usable() -> Result<Arc<Context>, Code> {
    let context = current()?;
    context.check()?;
    Ok(context)
}

/// An error that was asked for sticks to the current context.
pub fn strike(code: Code) {
    if let Ok(context) = current() {
        context.strike(code);
    }
}

fn create(device: Device) -> Result<Arc<Context>, Code> {
    let device = device::check(device)?;
    Ok(handle::insert(|handle| {
        Arc::new(Context {
            handle,
            device,
            error: AtomicU32::new(0),
            streams: Mutex::new(Vec::new()),
            ending: Mutex::new(Vec::new()),
            null: Mutex::new(None),
        })
    })
    .1)
}

/// Everything of a context goes with it: work that has not begun is dropped.
fn destroy(handle: Handle) -> Outcome {
    let context = handle::remove::<Context>(handle).map_err(|_| Code::INVALID_CONTEXT)?;
    let mut streams = context.all_streams();
    streams.extend(lock(&context.ending).iter().cloned());
    for stream in &streams {
        stream.drop_work();
    }
    for stream in &streams {
        stream.join();
    }
    lock(&context.streams).clear();
    lock(&context.ending).clear();
    *lock(&context.null) = None;
    handle::sweep(|object| match object {
        Object::Stream(s) => s.context.handle == handle,
        Object::Event(e) => e.context == handle,
        Object::Module(m) => m.context == handle,
        Object::Function(f) => f.module.context == handle,
        Object::Executable(x) => x.context == handle,
        Object::Context(_) | Object::Graph(_) | Object::Node(_) | Object::Pool(_) => false,
    });
    memory::free_all_of(handle);
    STACK.with_borrow_mut(|stack| {
        if stack.last() == Some(&handle) {
            stack.pop();
        }
    });
    context.check()
}

fn create_current(to: *mut Handle, device: Device) -> Outcome {
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let context = create(device)?;
    STACK.with_borrow_mut(|stack| stack.push(context.handle));
    put(to, context.handle)
}

driver_api! {
    fn cuCtxCreate_v2(context: *mut Handle, _flags: u32, device: Device) { create_current(context, device) }

    fn cuCtxCreate_v3(context: *mut Handle, _affinities: *const c_void, _count: i32, _flags: u32, device: Device) {
        create_current(context, device)
    }

    fn cuCtxCreate_v4(context: *mut Handle, _params: *const c_void, _flags: u32, device: Device) { create_current(context, device) }

    #[frees]
    fn cuCtxDestroy_v2(context: Handle) {
        let primary = lock(&PRIMARY).iter().flatten().any(|(handle, _)| *handle == context);
        if primary { Err(Code::INVALID_CONTEXT) } else { destroy(context) }
    }

    fn cuCtxSetCurrent(context: Handle) {
        if context != 0 {
            handle::get::<Context>(context).map_err(|_| Code::INVALID_CONTEXT)?;
        }
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    }

    fn cuCtxGetCurrent(context: *mut Handle) {
        device::ready()?;
        put(context, STACK.with_borrow(|stack| stack.last().copied()).unwrap_or(0))
    }

    fn cuCtxPushCurrent_v2(context: Handle) {
        handle::get::<Context>(context).map_err(|_| Code::INVALID_CONTEXT)?;
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    }

    fn cuCtxPopCurrent_v2(context: *mut Handle) {
        let top = STACK.with_borrow_mut(|stack| stack.pop()).ok_or(Code::INVALID_CONTEXT)?;
        if context.is_null() { Ok(()) } else { put(context, top) }
    }

    fn cuCtxGetDevice(device: *mut Device) { put(device, current()?.device as Device) }

    fn cuCtxSynchronize() { usable()?.finish() }

    fn cuCtxGetApiVersion(_context: Handle, version: *mut u32) { put(version, 3020) }

    fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) {
        current()?;
        for to in [least, greatest] {
            if !to.is_null() {
                put(to, 0)?;
            }
        }
        Ok(())
    }

    fn cuCtxEnablePeerAccess(peer: Handle, _flags: u32) {
        let (context, peer) = (usable()?, handle::get::<Context>(peer).map_err(|_| Code::INVALID_CONTEXT)?);
        if context.device == peer.device { Err(Code::INVALID_DEVICE) } else { Ok(()) }
    }

    fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: Device) {
        let at = device::check(device)?;
        let mut primary = lock(&PRIMARY);
        if primary.len() <= at {
            primary.resize(at + 1, None);
        }
        let (handle, count) = match primary[at] {
            Some(held) => held,
            None => (create(device)?.handle, 0),
        };
        primary[at] = Some((handle, count + 1));
        put(context, handle)
    }

    #[frees]
    fn cuDevicePrimaryCtxRelease_v2(device: Device) {
        let at = device::check(device)?;
        let mut primary = lock(&PRIMARY);
        let (handle, count) = primary.get(at).copied().flatten().ok_or(Code::INVALID_CONTEXT)?;
        primary[at] = (count > 1).then_some((handle, count - 1));
        drop(primary);
        if count > 1 { Ok(()) } else { destroy(handle) }
    }
}
