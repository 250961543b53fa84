//! cuBLASLt as it is found at run time: its functions, its codes in words, its descriptors, each destroyed when it is dropped.
//!
//! Types and numbers are the crate's. The functions are looked up here: the crate's own look for one version by name, panic where the
//! library or a symbol is missing, and hold a code to be one of those that they know.

use crate::nvrtc::folders;
use cudarc::{
    cublaslt::sys::{
        cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulPreference_t,
        cublasLtMatrixLayout_t,
    },
    driver::sys::CUstream,
};
use libloading::Library;
use std::{
    ffi::{CStr, OsString, c_char, c_int, c_void},
    mem::ManuallyDrop,
    ptr,
    sync::OnceLock,
};

/// The majors that are known, newest first. One needs a driver of its own major at least.
const MAJORS: [u32; 2] = [13, 12];

/// `CUBLAS_STATUS_ALLOC_FAILED`, `_NOT_SUPPORTED`, `_ARCH_MISMATCH`.
pub const ALLOC_FAILED: u32 = 3;

/// What a heuristic gives: a `cublasLtMatmulHeuristicResult_t`, whose state is here any number.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Found {
    pub algo: cublasLtMatmulAlgo_t,
    pub workspace: usize,
    pub state: u32,
    pub waves: f32,
    pub reserved: [c_int; 4],
}

macro_rules! functions {
    ($($name:ident($($of:ty),* $(,)?);)*) => {
        /// The functions; every one gives a code, 0 for success.
        #[allow(non_snake_case)]
        pub struct Lt {
            /// As the library says it: 120905 is 12.9.5.
            pub version: usize,
            words: Option<unsafe extern "C" fn(u32) -> *const c_char>,
            $(pub $name: unsafe extern "C" fn($($of),*) -> u32,)*
            /// Never closed: it has threads and tables of its own.
            _library: ManuallyDrop<Library>,
        }

        impl Lt {
            fn open(file: &OsString) -> Result<Lt, String> {
                let shown = file.to_string_lossy();
                // What it runs when it is loaded is NVIDIA's own.
                let library = unsafe { Library::new(file) }.map_err(|e| format!("{shown} cannot be loaded: {e}"))?;
                macro_rules! symbol {
                    ($symbol:expr) => {
                        // The types are those of cublasLt.h, unchanged since 11.
                        *unsafe { library.get(concat!($symbol, "\0").as_bytes()) }
                            .map_err(|_| format!("{shown} lacks {}", $symbol))?
                    };
                }
                let version: unsafe extern "C" fn() -> usize = symbol!("cublasLtGetVersion");
                Ok(Lt {
                    version: unsafe { version() },
                    words: unsafe { library.get(b"cublasLtGetStatusString\0") }.ok().map(|s| *s),
                    $($name: symbol!(stringify!($name)),)*
                    _library: ManuallyDrop::new(library),
                })
            }
        }
    };
}

functions! {
    cublasLtCreate(*mut cublasLtHandle_t);
    cublasLtDestroy(cublasLtHandle_t);
    cublasLtMatmulDescCreate(*mut cublasLtMatmulDesc_t, u32, u32);
    cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t);
    cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, u32, *const c_void, usize);
    cublasLtMatrixLayoutCreate(*mut cublasLtMatrixLayout_t, u32, u64, u64, i64);
    cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t);
    cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t, u32, *const c_void, usize);
    cublasLtMatmulPreferenceCreate(*mut cublasLtMatmulPreference_t);
    cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t);
    cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t, u32, *const c_void, usize);
    cublasLtMatmulAlgoGetHeuristic(
        cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
        cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, c_int, *mut Found, *mut c_int,
    );
    cublasLtMatmul(
        cublasLtHandle_t, cublasLtMatmulDesc_t, *const c_void, *const c_void, cublasLtMatrixLayout_t, *const c_void,
        cublasLtMatrixLayout_t, *const c_void, *const c_void, cublasLtMatrixLayout_t, *mut c_void, cublasLtMatrixLayout_t,
        *const cublasLtMatmulAlgo_t, *mut c_void, usize, CUstream,
    );
}

impl Lt {
    /// The library for this driver. The first answer stands.
    pub fn get(driver: (u32, u32)) -> Result<&'static Lt, String> {
        static FOUND: OnceLock<Result<Lt, String>> = OnceLock::new();
        FOUND.get_or_init(|| Lt::find(driver)).as_ref().map_err(Clone::clone)
    }

    fn find(driver: (u32, u32)) -> Result<Lt, String> {
        let fitting = MAJORS.into_iter().filter(|m| *m <= driver.0);
        let named = |m: u32| if cfg!(windows) { format!("cublasLt64_{m}.dll") } else { format!("libcublasLt.so.{m}") };
        let mut names: Vec<String> = fitting.map(named).collect();
        if cfg!(unix) {
            names.push("libcublasLt.so".into());
        }
        let in_folders = folders().into_iter().flat_map(|f| names.iter().map(move |n| f.join(n)).collect::<Vec<_>>());
        let mut why = vec![];
        for file in names.iter().map(OsString::from).chain(in_folders.filter(|f| f.is_file()).map(OsString::from)) {
            match Lt::open(&file) {
                Ok(lt) if lt.version as u32 / 10_000 > driver.0 => {
                    why.push(format!("{} is newer than the driver", file.to_string_lossy()));
                }
                Ok(lt) => return Ok(lt),
                // Others say how one that is there is broken.
                Err(e) => why.push(e),
            }
        }
        let broken = why.iter().find(|w| w.contains("lacks") || w.contains("newer"));
        Err(broken.cloned().unwrap_or_else(|| {
            format!(
                "cuBLASLt ({}) is not installed; it comes with the CUDA toolkit and as the package nvidia-cublas of PyPI, whose \
                 folder LD_LIBRARY_PATH must name",
                names.join(", ")
            )
        }))
    }

    /// A code in the library's own words.
    pub fn words(&self, code: u32) -> String {
        let text = self.words.map_or(ptr::null(), |words| unsafe { words(code) });
        // A constant of the library.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().to_string());
        text.map_or_else(|| format!("status {code}"), |t| format!("{t} ({code})"))
    }

    /// A call's code as a result, in words.
    pub fn good(&self, call: &str, code: u32) -> Result<(), Failed> {
        if code == 0 { Ok(()) } else { Err(Failed { code, why: format!("{call}: {}", self.words(code)) }) }
    }
}

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Failed {
    pub code: u32,
    pub why: String,
}

macro_rules! descriptor {
    ($(#[$m:meta])* $name:ident, $raw:ty, $create:ident($($arg:ident: $of:ty),*), $destroy:ident, $set:ident) => {
        $(#[$m])*
        pub struct $name {
            pub raw: $raw,
            lt: &'static Lt,
        }

        // Read by calls of any thread; written by one at a time, as the caller sees to.
        unsafe impl Send for $name {}
        unsafe impl Sync for $name {}

        impl $name {
            pub fn create(lt: &'static Lt, $($arg: $of),*) -> Result<$name, Failed> {
                let mut raw = ptr::null_mut();
                lt.good(stringify!($create), unsafe { (lt.$create)(&mut raw, $($arg),*) })?;
                Ok($name { raw, lt })
            }

            /// Sets an attribute, whose type is the one of the header.
            pub fn set<T: Copy>(&self, attribute: u32, value: T) -> Result<(), Failed> {
                let code = unsafe { (self.lt.$set)(self.raw, attribute, (&raw const value).cast(), size_of::<T>()) };
                self.lt.good(&format!("{} {attribute}", stringify!($set)), code)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // Fails only for one that is none.
                let _ = unsafe { (self.lt.$destroy)(self.raw) };
            }
        }
    };
}
descriptor!(
    /// What is computed.
    Descriptor, cublasLtMatmulDesc_t, cublasLtMatmulDescCreate(compute: u32, scale: u32), cublasLtMatmulDescDestroy,
    cublasLtMatmulDescSetAttribute
);
descriptor!(
    /// How a matrix lies.
    Layout, cublasLtMatrixLayout_t, cublasLtMatrixLayoutCreate(dtype: u32, rows: u64, cols: u64, lead: i64),
    cublasLtMatrixLayoutDestroy, cublasLtMatrixLayoutSetAttribute
);
descriptor!(
    /// What an algorithm may use.
    Preference, cublasLtMatmulPreference_t, cublasLtMatmulPreferenceCreate(), cublasLtMatmulPreferenceDestroy,
    cublasLtMatmulPreferenceSetAttribute
);
