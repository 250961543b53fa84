//! NVRTC: from CUDA C++ to a cubin for one architecture.
//!
//! Several versions may be installed, and no one of them knows every chip: 13 dropped those before 7.5, 12.0 does not know
//! Blackwell. All that are found are opened, and the one that fits is taken. Own bindings of eleven functions, because the crate's
//! know one library by one name and panic where it lacks a symbol.

use anychip_hal::render::c::Cuda;
use libloading::Library;
use std::{
    ffi::{CStr, CString, OsString, c_char, c_int},
    path::Path,
    ptr,
    sync::{Arc, OnceLock},
};

type Program = *mut std::ffi::c_void;
type Code = c_int;

/// Why a text was not compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The compiler refused it, in its own words.
    Log(String),
    /// There was not enough memory on the host.
    Memory(String),
    /// Something else, in words.
    Other(String),
}

/// What NVRTC gives for a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The cubin.
    pub cubin: Vec<u8>,
    /// Warnings, and what `--ptxas-options=-v` asks for.
    pub log: String,
}

/// One NVRTC library.
pub struct Nvrtc {
    /// Its file, as it was opened.
    pub file: OsString,
    /// Its version.
    pub version: (u32, u32),
    /// Architectures that it knows, as 10 · major + minor; empty where it does not say.
    pub architectures: Vec<u32>,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Code,
    destroy: unsafe extern "C" fn(*mut Program) -> Code,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Code,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    ptx_size: unsafe extern "C" fn(Program, *mut usize) -> Code,
    ptx: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    words: unsafe extern "C" fn(Code) -> *const c_char,
    /// Never closed: its threads and tables end with the process.
    _library: std::mem::ManuallyDrop<Library>,
}

/// `NVRTC_ERROR_OUT_OF_MEMORY`, `NVRTC_ERROR_COMPILATION`.
const OUT_OF_MEMORY: Code = 1;
const COMPILATION: Code = 6;

/// File names under which the linker knows NVRTC, newest first.
fn names() -> Vec<String> {
    let majors = [13, 12];
    match cfg!(windows) {
        true => majors.iter().map(|m| format!("nvrtc64_{m}0_0.dll")).collect(),
        false => majors.iter().map(|m| format!("libnvrtc.so.{m}")).chain(["libnvrtc.so".to_string()]).collect(),
    }
}

/// Folders of a toolkit that the linker is not told of.
pub(crate) fn folders() -> Vec<std::path::PathBuf> {
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let mut all: Vec<_> = named.flat_map(|home| ["lib64", "lib", "bin"].map(|f| Path::new(&home).join(f))).collect();
    if cfg!(unix) {
        all.push("/usr/local/cuda/lib64".into());
    }
    all
}

/// Every NVRTC of this machine, newest first; with none, what was looked for.
pub fn installed() -> Result<&'static [Arc<Nvrtc>], String> {
    static FOUND: OnceLock<Vec<Arc<Nvrtc>>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let (names, mut all) = (names(), Vec::<Arc<Nvrtc>>::new());
        let places = names.iter().map(OsString::from);
        let in_folders = folders().into_iter().flat_map(|f| names.iter().map(move |n| f.join(n)).collect::<Vec<_>>());
        for file in places.chain(in_folders.filter(|f| f.is_file()).map(OsString::from)) {
            if let Ok(one) = Nvrtc::open(&file)
                && all.iter().all(|other| other.version != one.version)
            {
                all.push(Arc::new(one));
            }
        }
        all.sort_by_key(|n| std::cmp::Reverse(n.version));
        all
    });
    match found.is_empty() {
        false => Ok(found),
        true => Err(format!(
            "NVRTC (CUDA's compiler for run time, {}) is not installed; it comes with the CUDA toolkit and as the package \
             nvidia-cuda-nvrtc of PyPI, whose folder LD_LIBRARY_PATH must name",
            names().join(", ")
        )),
    }
}

/// The NVRTC for a chip under a driver of this version: the newest that knows the chip and is no newer than the driver, else the
/// oldest that knows it.
pub fn fitting(capability: (u32, u32), driver: (u32, u32)) -> Result<Arc<Nvrtc>, String> {
    let all = installed()?;
    let mut knowing: Vec<_> = all.iter().filter(|n| n.knows(capability)).collect();
    knowing.sort_by_key(|n| {
        (
            n.version > driver,
            if n.version > driver { n.version } else { (u32::MAX - n.version.0, u32::MAX - n.version.1) },
        )
    });
    knowing.first().map(|n| Arc::clone(n)).ok_or_else(|| {
        let versions: Vec<_> = all.iter().map(|n| format!("{}.{}", n.version.0, n.version.1)).collect();
        let (major, minor) = capability;
        let needed = if capability < (7, 5) { "12 is the last that does" } else { "a newer one does" };
        format!("NVRTC {} does not know chips of compute capability {major}.{minor}; {needed}", versions.join(" and "))
    })
}

/// The architecture's name for the compiler: from 9.0 with the instructions that only that chip has.
pub fn architecture((major, minor): (u32, u32)) -> String {
    format!("sm_{major}{minor}{}", if major >= 9 { "a" } else { "" })
}

/// What the compiler is told: how the printer's text is meant, and the architecture.
pub fn options(capability: (u32, u32)) -> Vec<String> {
    let architecture = format!("--gpu-architecture={}", architecture(capability));
    let warn = "--ptxas-options=--warn-on-spills".to_string();
    Cuda::OPTIONS.map(String::from).into_iter().chain([architecture, warn]).collect()
}

/// What the assembler says of a kernel that spills, by the last of [`options`].
const SPILLS: &str = "Registers are spilled";

impl Nvrtc {
    /// Opens one by its path, or by a name that the linker knows.
    pub fn open(file: impl Into<OsString>) -> Result<Nvrtc, String> {
        let file = file.into();
        let shown = file.to_string_lossy().to_string();
        // What it runs when it is loaded is NVIDIA's own.
        let library = unsafe { Library::new(&file) }.map_err(|e| format!("{shown} cannot be loaded: {e}"))?;
        macro_rules! symbol {
            ($name:literal) => {
                // The types of the fields are those of nvrtc.h, unchanged since 11.1.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }
                    .map_err(|_| format!("{shown} lacks {}", $name))?
            };
        }
        let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Code = symbol!("nvrtcVersion");
        let (mut major, mut minor) = (0, 0);
        if unsafe { version(&mut major, &mut minor) } != 0 {
            return Err(format!("{shown} does not say its version"));
        }
        Ok(Nvrtc {
            version: (major as u32, minor as u32),
            architectures: architectures(&library),
            create: symbol!("nvrtcCreateProgram"),
            destroy: symbol!("nvrtcDestroyProgram"),
            compile: symbol!("nvrtcCompileProgram"),
            log_size: symbol!("nvrtcGetProgramLogSize"),
            log: symbol!("nvrtcGetProgramLog"),
            cubin_size: symbol!("nvrtcGetCUBINSize"),
            cubin: symbol!("nvrtcGetCUBIN"),
            ptx_size: symbol!("nvrtcGetPTXSize"),
            ptx: symbol!("nvrtcGetPTX"),
            words: symbol!("nvrtcGetErrorString"),
            file,
            _library: std::mem::ManuallyDrop::new(library),
        })
    }

    /// True when it compiles for this chip. One that does not list what it knows is taken at its version.
    pub fn knows(&self, (major, minor): (u32, u32)) -> bool {
        match self.architectures.is_empty() {
            true => self.version.0 < 13 || (major, minor) >= (7, 5),
            false => self.architectures.contains(&(10 * major + minor)),
        }
    }

    /// Compiles a text. The assembler spills a few registers where one more workgroup then shares a processor: such a text is
    /// compiled once more with room for one, and that is kept where it spills none.
    pub fn compile(&self, name: &str, source: &str, options: &[String]) -> Result<Compiled, Failure> {
        let mut first = self.run(name, source, options)?;
        if first.1.contains(SPILLS) {
            let roomy = [options, &["-DRESIDENT=1".to_string()]].concat();
            first = self.run(name, source, &roomy).ok().filter(|(_, log)| !log.contains(SPILLS)).unwrap_or(first);
        }
        let (made, log) = first;
        let cubin = made.bytes(self.cubin_size, self.cubin)?;
        match cubin.is_empty() {
            true => Err(Failure::Other("nvrtcGetCUBIN gives nothing; was a real architecture named?".into())),
            false => Ok(Compiled { cubin, log }),
        }
    }

    /// A text's PTX, to be read: it says how wide an access is.
    pub fn ptx(&self, name: &str, source: &str, options: &[String]) -> Result<String, Failure> {
        let (made, _) = self.run(name, source, options)?;
        Ok(String::from_utf8_lossy(&made.bytes(self.ptx_size, self.ptx)?).trim_end_matches('\0').to_string())
    }

    fn run(&self, name: &str, source: &str, options: &[String]) -> Result<(Made<'_>, String), Failure> {
        let zero = |what: &str| Failure::Other(format!("the {what} holds a zero byte"));
        let source = CString::new(source).map_err(|_| zero("text"))?;
        let name = CString::new(format!("{name}.cu")).map_err(|_| zero("name"))?;
        let options = options.iter().map(|o| CString::new(o.as_str())).collect::<Result<Vec<_>, _>>();
        let options = options.map_err(|_| zero("list of options"))?;
        let options: Vec<_> = options.iter().map(|o| o.as_ptr()).collect();
        let mut made = Made { of: self, program: ptr::null_mut() };
        let code =
            unsafe { (self.create)(&mut made.program, source.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null()) };
        self.good("nvrtcCreateProgram", code)?;
        let code = unsafe { (self.compile)(made.program, options.len() as c_int, options.as_ptr()) };
        let log = made.bytes(self.log_size, self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string();
        match code {
            COMPILATION => Err(Failure::Log(log)),
            code => match self.good("nvrtcCompileProgram", code) {
                Ok(()) => Ok((made, log)),
                Err(Failure::Other(why)) if !log.is_empty() => Err(Failure::Log(format!("{why}\n{log}"))),
                Err(f) => Err(f),
            },
        }
    }

    fn good(&self, call: &str, code: Code) -> Result<(), Failure> {
        if code == 0 {
            return Ok(());
        }
        let words = unsafe { (self.words)(code) };
        // A constant of the library.
        let words = if words.is_null() { "?".into() } else { unsafe { CStr::from_ptr(words) }.to_string_lossy() };
        let why = format!("{call}: {words} ({code})");
        Err(if code == OUT_OF_MEMORY { Failure::Memory(why) } else { Failure::Other(why) })
    }
}

/// `nvrtcGetSupportedArchs`, where it has it.
fn architectures(library: &Library) -> Vec<u32> {
    type Ask = unsafe extern "C" fn(*mut c_int) -> Code;
    let ask = |name: &[u8]| unsafe { library.get::<Ask>(name) }.ok().map(|s| *s);
    let (Some(count), Some(list)) = (ask(b"nvrtcGetNumSupportedArchs\0"), ask(b"nvrtcGetSupportedArchs\0")) else {
        return vec![];
    };
    let mut n = 0;
    if unsafe { count(&mut n) } != 0 || !(1..1000).contains(&n) {
        return vec![];
    }
    let mut all = vec![0; n as usize];
    match unsafe { list(all.as_mut_ptr()) } {
        0 => all.into_iter().map(|a| a as u32).collect(),
        _ => vec![],
    }
}

/// A program of NVRTC's, destroyed at its end.
struct Made<'a> {
    of: &'a Nvrtc,
    program: Program,
}

impl Made<'_> {
    fn bytes(
        &self,
        size: unsafe extern "C" fn(Program, *mut usize) -> Code,
        get: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    ) -> Result<Vec<u8>, Failure> {
        let mut n = 0;
        self.of.good("asking for a size", unsafe { size(self.program, &mut n) })?;
        let mut bytes = vec![0u8; n];
        if n > 0 {
            self.of.good("asking for a result", unsafe { get(self.program, bytes.as_mut_ptr().cast()) })?;
        }
        Ok(bytes)
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // Fails only for a program that is none.
            let _ = unsafe { (self.of.destroy)(&mut self.program) };
        }
    }
}
