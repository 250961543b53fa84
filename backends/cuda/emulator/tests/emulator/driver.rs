//! The library under test, opened once for all tests: two devices of 64 MiB, streams that run only when somebody waits. A `Session` is
//! a context of its own, alone in the process, that must leave nothing behind.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    sync::{LazyLock, Mutex, MutexGuard},
};

macro_rules! symbols {
    ($(fn $name:ident($($arg:ty),*) -> $out:ty;)*) => {
        #[allow(non_snake_case)]
        pub struct Driver {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> $out,)*
        }
        impl Driver {
            fn open() -> Driver {
                let deps = std::env::current_exe().expect("the test's path");
                let path = deps.with_file_name("libanychip_cuda_emulator.so");
                // SAFETY: our own library; it is never closed.
                unsafe {
                    let library = libloading::Library::new(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                    let driver = Driver {
                        $($name: *library
                            .get(concat!(stringify!($name), "\0").as_bytes())
                            .unwrap_or_else(|e| panic!("{}: {e}", stringify!($name))),)*
                    };
                    std::mem::forget(library);
                    driver
                }
            }
        }
    };
}

symbols! {
    fn cuInit(u32) -> u32;
    fn cuDriverGetVersion(*mut i32) -> u32;
    fn cuDeviceGetCount(*mut i32) -> u32;
    fn cuDeviceGetName(*mut c_char, i32, i32) -> u32;
    fn cuDeviceGetAttribute(*mut i32, u32, i32) -> u32;
    fn cuGetErrorName(u32, *mut *const c_char) -> u32;
    fn cuGetProcAddress_v2(*const c_char, *mut *mut c_void, i32, u64, *mut u32) -> u32;
    fn cuGetExportTable(*mut *const c_void, *const c_void) -> u32;
    fn cuCtxCreate_v2(*mut usize, u32, i32) -> u32;
    fn cuCtxDestroy_v2(usize) -> u32;
    fn cuCtxSetCurrent(usize) -> u32;
    fn cuCtxSynchronize() -> u32;
    fn cuStreamCreate(*mut usize, u32) -> u32;
    fn cuStreamDestroy_v2(usize) -> u32;
    fn cuStreamSynchronize(usize) -> u32;
    fn cuStreamQuery(usize) -> u32;
    fn cuStreamWaitEvent(usize, usize, u32) -> u32;
    fn cuStreamBeginCapture_v2(usize, u32) -> u32;
    fn cuStreamEndCapture(usize, *mut usize) -> u32;
    fn cuEventCreate(*mut usize, u32) -> u32;
    fn cuEventDestroy_v2(usize) -> u32;
    fn cuEventRecord(usize, usize) -> u32;
    fn cuEventQuery(usize) -> u32;
    fn cuEventSynchronize(usize) -> u32;
    fn cuEventElapsedTime(*mut f32, usize, usize) -> u32;
    fn cuMemAlloc_v2(*mut u64, usize) -> u32;
    fn cuMemFree_v2(u64) -> u32;
    fn cuMemAllocAsync(*mut u64, usize, usize) -> u32;
    fn cuMemFreeAsync(u64, usize) -> u32;
    fn cuMemAllocHost_v2(*mut *mut c_void, usize) -> u32;
    fn cuMemFreeHost(*mut c_void) -> u32;
    fn cuMemGetInfo_v2(*mut usize, *mut usize) -> u32;
    fn cuMemcpyHtoD_v2(u64, *const c_void, usize) -> u32;
    fn cuMemcpyHtoDAsync_v2(u64, *const c_void, usize, usize) -> u32;
    fn cuMemcpyDtoH_v2(*mut c_void, u64, usize) -> u32;
    fn cuMemcpyDtoHAsync_v2(*mut c_void, u64, usize, usize) -> u32;
    fn cuMemcpyDtoDAsync_v2(u64, u64, usize, usize) -> u32;
    fn cuMemcpyPeerAsync(u64, usize, u64, usize, usize, usize) -> u32;
    fn cuMemsetD8Async(u64, u8, usize, usize) -> u32;
    fn cuMemsetD32Async(u64, u32, usize, usize) -> u32;
    fn cuModuleLoadData(*mut usize, *const c_void) -> u32;
    fn cuModuleUnload(usize) -> u32;
    fn cuModuleGetFunction(*mut usize, usize, *const c_char) -> u32;
    fn cuFuncGetAttribute(*mut i32, u32, usize) -> u32;
    fn cuFuncSetAttribute(usize, u32, i32) -> u32;
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(*mut i32, usize, i32, usize) -> u32;
    fn cuLaunchKernel(usize, u32, u32, u32, u32, u32, u32, u32, usize, *const *const c_void, *const *const c_void) -> u32;
    fn cuGraphCreate(*mut usize, u32) -> u32;
    fn cuGraphDestroy(usize) -> u32;
    fn cuGraphAddKernelNode_v2(*mut usize, usize, *const usize, usize, *const c_void) -> u32;
    fn cuGraphAddMemcpyNode(*mut usize, usize, *const usize, usize, *const c_void, usize) -> u32;
    fn cuGraphAddMemsetNode(*mut usize, usize, *const usize, usize, *const c_void, usize) -> u32;
    fn cuGraphInstantiateWithFlags(*mut usize, usize, u64) -> u32;
    fn cuGraphLaunch(usize, usize) -> u32;
    fn cuGraphExecDestroy(usize) -> u32;
    fn cuTensorMapEncodeTiled(
        *mut c_void, u32, u32, *mut c_void, *const u64, *const u64, *const u32, *const u32, u32, u32, u32, u32
    ) -> u32;
    fn nvrtcVersion(*mut i32, *mut i32) -> u32;
    fn nvrtcCreateProgram(*mut usize, *const c_char, *const c_char, i32, *const *const c_char, *const *const c_char) -> u32;
    fn nvrtcDestroyProgram(*mut usize) -> u32;
    fn nvrtcCompileProgram(usize, i32, *const *const c_char) -> u32;
    fn nvrtcGetProgramLogSize(usize, *mut usize) -> u32;
    fn nvrtcGetProgramLog(usize, *mut c_char) -> u32;
    fn nvrtcGetCUBINSize(usize, *mut usize) -> u32;
    fn nvrtcGetCUBIN(usize, *mut c_char) -> u32;
    fn anychipEmulatorFault(*const c_char) -> i32;
    fn anychipEmulatorCalls(*const c_char) -> u64;
    fn anychipEmulatorLive(*const c_char) -> i64;
}

pub const MEMORY: usize = 64 << 20;

pub fn driver() -> &'static Driver {
    static DRIVER: LazyLock<Driver> = LazyLock::new(|| {
        let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-emulator");
        // SAFETY: under the lock of the first session, before the library reads it.
        unsafe {
            std::env::set_var("ANYCHIP_EMULATED_CACHE", cache);
            std::env::set_var("ANYCHIP_EMULATED_DEVICES", "2");
            std::env::set_var("ANYCHIP_EMULATED_MEMORY", MEMORY.to_string());
            std::env::set_var("ANYCHIP_EMULATED_STREAMS", "lazy");
            std::env::set_var("ANYCHIP_EMULATED_CC", "9.0");
        }
        let driver = Driver::open();
        // SAFETY: as cuda.h says.
        assert_eq!(unsafe { (driver.cuInit)(0) }, 0, "cuInit");
        driver
    });
    &DRIVER
}

/// The driver's own word for a code.
pub fn name(code: u32) -> String {
    let mut text = std::ptr::null();
    // SAFETY: as cuda.h says.
    unsafe {
        (driver().cuGetErrorName)(code, &mut text);
        if text.is_null() { code.to_string() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

/// Calls a symbol of the driver, which must succeed.
macro_rules! ok {
    ($symbol:ident($($arg:expr),* $(,)?)) => {{
        // SAFETY: as cuda.h says.
        let code = unsafe { ($crate::driver::driver().$symbol)($($arg),*) };
        assert_eq!(code, 0, "{}: {}", stringify!($symbol), $crate::driver::name(code));
    }};
}
pub(crate) use ok;

/// Calls a symbol of the driver; gives its code.
macro_rules! code {
    ($symbol:ident($($arg:expr),* $(,)?)) => {
        // SAFETY: as cuda.h says.
        unsafe { ($crate::driver::driver().$symbol)($($arg),*) }
    };
}
pub(crate) use code;

/// A context that is current on this thread.
pub struct Session {
    pub context: usize,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Session {
    pub fn new() -> Session {
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut context = 0;
        ok!(cuCtxCreate_v2(&mut context, 0, 0));
        Session { context, _alone: alone }
    }

    pub fn stream(&self) -> usize {
        let mut stream = 0;
        ok!(cuStreamCreate(&mut stream, 1));
        stream
    }

    pub fn event(&self) -> usize {
        let mut event = 0;
        ok!(cuEventCreate(&mut event, 0));
        event
    }

    pub fn alloc(&self, bytes: usize) -> u64 {
        let mut at = 0;
        ok!(cuMemAlloc_v2(&mut at, bytes));
        at
    }

    /// A buffer with these values.
    pub fn buffer<T: Copy>(&self, values: &[T]) -> u64 {
        let at = self.alloc(size_of_val(values));
        ok!(cuMemcpyHtoD_v2(at, values.as_ptr().cast(), size_of_val(values)));
        at
    }

    pub fn read<T: Copy + Default>(&self, at: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::default(); count];
        ok!(cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), at, size_of_val(&values[..])));
        values
    }

    /// The function `k` of a program.
    pub fn kernel(&self, source: &str) -> usize {
        let image =
            compile(source, &["--gpu-architecture=sm_90"]).unwrap_or_else(|(code, log)| panic!("nvrtc {code}: {log}"));
        let (mut module, mut function) = (0, 0);
        ok!(cuModuleLoadData(&mut module, image.as_ptr().cast()));
        ok!(cuModuleGetFunction(&mut function, module, c"k".as_ptr()));
        function
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A context with an error that sticks says so once more, and goes.
        code!(cuCtxDestroy_v2(self.context));
        code!(anychipEmulatorFault(std::ptr::null()));
        if !std::thread::panicking() {
            let left = ["contexts", "streams", "events", "modules", "memory", "bytes", "pinned", "programs"]
                .map(|kind| (kind, live(kind)))
                .into_iter()
                .filter(|(_, count)| *count != 0);
            assert_eq!(left.collect::<Vec<_>>(), [], "something is left of the session");
        }
    }
}

pub fn live(kind: &str) -> i64 {
    let kind = CString::new(kind).unwrap();
    code!(anychipEmulatorLive(kind.as_ptr()))
}

/// An image, or NVRTC's code and log.
pub fn compile(source: &str, options: &[&str]) -> Result<Vec<u8>, (u32, String)> {
    let source = CString::new(source).unwrap();
    let options: Vec<CString> = options.iter().map(|option| CString::new(*option).unwrap()).collect();
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = 0;
    ok!(nvrtcCreateProgram(&mut program, source.as_ptr(), c"test.cu".as_ptr(), 0, std::ptr::null(), std::ptr::null()));
    let done = code!(nvrtcCompileProgram(program, pointers.len() as i32, pointers.as_ptr()));
    let mut size = 0;
    let result = if done == 0 {
        ok!(nvrtcGetCUBINSize(program, &mut size));
        let mut image = vec![0u8; size];
        ok!(nvrtcGetCUBIN(program, image.as_mut_ptr().cast()));
        Ok(image)
    } else {
        ok!(nvrtcGetProgramLogSize(program, &mut size));
        let mut log = vec![0u8; size];
        ok!(nvrtcGetProgramLog(program, log.as_mut_ptr().cast()));
        Err((done, CStr::from_bytes_until_nul(&log).unwrap().to_string_lossy().into_owned()))
    };
    ok!(nvrtcDestroyProgram(&mut program));
    result
}

/// Launches a function with parameters given by reference.
macro_rules! launch {
    ($function:expr, $grid:expr, $block:expr, $shared:expr, $stream:expr $(, $param:expr)* $(,)?) => {{
        let params: &[*const std::ffi::c_void] = &[$(std::ptr::from_ref(&$param).cast()),*];
        let ([gx, gy, gz], [bx, by, bz]): ([u32; 3], [u32; 3]) = ($grid, $block);
        $crate::driver::code!(cuLaunchKernel(
            $function, gx, gy, gz, bx, by, bz, $shared, $stream, params.as_ptr(), std::ptr::null()
        ))
    }};
}
pub(crate) use launch;
