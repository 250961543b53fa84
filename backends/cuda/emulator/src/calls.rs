//! What every exported symbol goes through: it is counted, may be told to fail, and no panic leaves it. The tests' own symbols,
//! `anychipEmulator…`, are here as well.

use crate::{
    code::{Code, Outcome},
    handle,
};
use std::{
    collections::HashMap,
    ffi::{CStr, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, OnceLock},
};

/// A call that shall fail.
struct Fault {
    symbol: String,
    /// Calls of it until then; the first call is 1.
    call: u64,
    code: u32,
}

#[derive(Default)]
struct Calls {
    counts: HashMap<&'static str, u64>,
    faults: Vec<Fault>,
}

/// A lock that a panic elsewhere does not take away.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn calls() -> MutexGuard<'static, Calls> {
    static CALLS: OnceLock<Mutex<Calls>> = OnceLock::new();
    lock(CALLS.get_or_init(|| {
        let mut calls = Calls::default();
        if let Ok(text) = std::env::var("ANYCHIP_EMULATED_FAULT")
            && let Err(why) = parse(&text).map(|faults| calls.faults = faults)
        {
            eprintln!("anychip CUDA emulator: ANYCHIP_EMULATED_FAULT={text}: {why}");
            std::process::exit(2);
        }
        Mutex::new(calls)
    }))
}

/// `cuLaunchKernel:3=700;cuMemAlloc_v2:1=2`: the third call of one symbol, the first of another.
fn parse(text: &str) -> Result<Vec<Fault>, String> {
    let fault = |part: &str| {
        let (place, code) = part.split_once('=')?;
        let (symbol, call) = place.split_once(':').unwrap_or((place, "1"));
        Some(Fault { symbol: symbol.trim().into(), call: call.trim().parse().ok()?, code: code.trim().parse().ok()? })
    };
    text.split([';', ','])
        .filter(|part| !part.trim().is_empty())
        .map(|part| fault(part).ok_or_else(|| format!("'{part}' is not symbol:call=code")))
        .collect()
}

/// Counts a call, and says what it shall fail with.
fn enter(symbol: &'static str) -> Option<u32> {
    let mut calls = calls();
    let count = calls.counts.entry(symbol).or_default();
    *count += 1;
    let count = *count;
    calls.faults.iter().find(|f| f.symbol == symbol && f.call == count).map(|f| f.code)
}

fn guarded(symbol: &str, body: impl FnOnce() -> Result<(), Code>) -> Result<(), Code> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        eprintln!("anychip CUDA emulator: {symbol} is broken");
        Err(Code::UNKNOWN)
    })
}

/// A call of the driver API. One that is told to fail does nothing, unless it gives something back: that it does all the same, as a
/// driver that reports an earlier error does.
pub fn driver(symbol: &'static str, gives_back: bool, body: impl FnOnce() -> Result<(), Code>) -> u32 {
    let Some(told) = enter(symbol) else {
        return guarded(symbol, body).err().map_or(0, |code| code.0);
    };
    if gives_back {
        let _ = guarded(symbol, body);
    }
    let code = Code(told);
    if code.sticks() {
        crate::context::strike(code);
    }
    told
}

/// A call of NVRTC or another library; its codes are its own.
pub fn compiler(symbol: &'static str, gives_back: bool, body: impl FnOnce() -> u32) -> u32 {
    let told = enter(symbol);
    if told.is_some() && !gives_back {
        return told.unwrap_or_default();
    }
    let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(11);
    told.unwrap_or(code)
}

/// Writes a result where the caller wants it.
pub fn put<T>(to: *mut T, value: T) -> Outcome {
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller's pointer to a place for it.
    unsafe { to.write(value) };
    Ok(())
}

/// Exports functions of the driver API by the names that a driver has; `gives back` marks those that free or destroy.
macro_rules! driver_api {
    ($($(#[$gives:ident])? fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::missing_safety_doc)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> u32 {
            let gives_back = $crate::calls::driver_api!(@ $($gives)?);
            $crate::calls::driver(stringify!($name), gives_back, || $body)
        }
    )*};
    (@) => { false };
    (@ frees) => { true };
}
pub(crate) use driver_api;

fn text<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: the tests pass a C string or null.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().ok())?
}

/// Sets what shall fail from now on, as `ANYCHIP_EMULATED_FAULT` does, with calls counted from here; null or "" forgets all. 0 where
/// the text is understood.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn anychipEmulatorFault(faults: *const c_char) -> i32 {
    let Ok(faults) = parse(text(faults).unwrap_or_default()) else { return 1 };
    let mut calls = calls();
    calls.counts.clear();
    calls.faults = faults;
    0
}

/// How often a symbol was called since the last `anychipEmulatorFault`; null counts all calls.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn anychipEmulatorCalls(symbol: *const c_char) -> u64 {
    let calls = calls();
    match text(symbol) {
        None => calls.counts.values().sum(),
        Some(symbol) => calls.counts.get(symbol).copied().unwrap_or(0),
    }
}

/// Which symbols were called since the last `anychipEmulatorFault`, as lines `symbol count`: written to `to` with a final NUL as far as
/// `room` goes; gives the length of all.
#[unsafe(no_mangle)]
#[allow(non_snake_case, clippy::missing_safety_doc)]
pub unsafe extern "C" fn anychipEmulatorCalled(to: *mut c_char, room: usize) -> usize {
    let mut lines: Vec<String> = calls().counts.iter().map(|(symbol, count)| format!("{symbol} {count}")).collect();
    lines.sort();
    let all = lines.join("\n");
    if room > 0 && !to.is_null() {
        let n = all.len().min(room - 1);
        // SAFETY: the caller has room for so many bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(all.as_ptr(), to.cast(), n);
            *to.add(n) = 0;
        }
    }
    all.len()
}

/// How many things live: of "contexts", "streams", "events", "modules", "graphs", "executables" (instantiated graphs), "programs" (of
/// NVRTC), "blas" (handles and descriptors of cuBLASLt), "memory" (device allocations), "bytes" (of them), "pinned" (host allocations); null: all but bytes. -1 for another word.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn anychipEmulatorLive(kind: *const c_char) -> i64 {
    let memory = crate::memory::live();
    match text(kind) {
        Some("memory") => memory.device,
        Some("bytes") => memory.bytes,
        Some("pinned") => memory.pinned,
        Some("programs") => crate::nvrtc::live(),
        Some("blas") => crate::blas::live(),
        Some(kind) => handle::live(kind).unwrap_or(-1),
        None => {
            handle::KINDS.iter().filter_map(|kind| handle::live(kind)).sum::<i64>()
                + memory.device
                + memory.pinned
                + crate::nvrtc::live()
                + crate::blas::live()
        }
    }
}
