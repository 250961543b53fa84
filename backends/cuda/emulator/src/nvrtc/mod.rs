//! NVRTC: programs, their options, logs and images. `source` finds the kernels, `compile` runs the compiler.

mod compile;
mod source;

pub use compile::version;

use crate::{
    calls::{self, lock},
    module,
    settings::settings,
};
use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char},
    sync::{LazyLock, Mutex},
};

const SUCCESS: u32 = 0;
const INVALID_INPUT: u32 = 3;
const INVALID_PROGRAM: u32 = 4;
const INVALID_OPTION: u32 = 5;
const COMPILATION: u32 = 6;
const NO_NAMES_BEFORE_COMPILATION: u32 = 9;
const NAME_NOT_VALID: u32 = 10;

#[derive(Default)]
struct Program {
    source: String,
    name: String,
    headers: Vec<(String, String)>,
    log: CString,
    /// The image for a chip, if one was asked for, and the one that stands for PTX.
    cubin: Vec<u8>,
    ptx: Vec<u8>,
    compiled: bool,
    kernels: Vec<CString>,
}

type Programs = (usize, HashMap<usize, Program>);
static PROGRAMS: LazyLock<Mutex<Programs>> = LazyLock::new(|| Mutex::new((0x7274_0000, HashMap::new())));

/// How many programs live.
pub fn live() -> i64 {
    lock(&PROGRAMS).1.len() as i64
}

fn with(program: usize, f: impl FnOnce(&mut Program) -> u32) -> u32 {
    lock(&PROGRAMS).1.get_mut(&program).map_or(INVALID_PROGRAM, f)
}

/// A C string of the caller.
unsafe fn text(at: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
}

unsafe fn texts(at: *const *const c_char, count: i32) -> Option<Vec<String>> {
    // SAFETY: so many strings lie there: the caller's promise.
    (0..usize::try_from(count).ok()?).map(|i| unsafe { text(at.add(i).read()) }).collect()
}

unsafe fn create(
    to: *mut usize,
    source: *const c_char,
    name: *const c_char,
    count: i32,
    headers: *const *const c_char,
    names: *const *const c_char,
) -> u32 {
    // SAFETY: the caller's strings.
    let (source, name, headers) = unsafe {
        let both =
            if count == 0 { Some((Vec::new(), Vec::new())) } else { texts(names, count).zip(texts(headers, count)) };
        (text(source), text(name), both)
    };
    let (Some(source), Some((names, headers)), false) = (source, headers, to.is_null()) else { return INVALID_INPUT };
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "default_program".into());
    let program = Program { source, name, headers: names.into_iter().zip(headers).collect(), ..Program::default() };
    let mut programs = lock(&PROGRAMS);
    programs.0 += 16;
    let handle = programs.0;
    programs.1.insert(handle, program);
    // SAFETY: the caller's pointer to a place for it.
    unsafe { to.write(handle) };
    SUCCESS
}

/// What the options ask for.
struct Options {
    /// `sm_90`, `compute_80`.
    architecture: String,
    defines: Vec<String>,
    /// Products and sums may be rounded as one.
    contract: bool,
}

/// Chips that this NVRTC knows.
fn known(number: u32) -> bool {
    if settings().nvrtc >= (13, 0) { (75..=121).contains(&number) } else { (50..=121).contains(&number) }
}

fn options(all: &[String]) -> Result<Options, String> {
    let mut options = Options { architecture: "compute_75".into(), defines: Vec::new(), contract: true };
    if settings().nvrtc < (13, 0) {
        options.architecture = "compute_52".into();
    }
    let mut rest = all.iter();
    while let Some(option) = rest.next() {
        let (name, value) = option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value)));
        let mut value = || value.map(str::to_owned).or_else(|| rest.next().cloned()).unwrap_or_default();
        match name {
            "--gpu-architecture" | "-arch" => options.architecture = value(),
            "--fmad" | "-fmad" => options.contract = value() == "true",
            "--define-macro" => options.defines.push(value()),
            "-D" => options.defines.push(value()),
            "--use_fast_math" | "-use_fast_math" => {}
            "--std"
            | "-std"
            | "--ftz"
            | "-ftz"
            | "--prec-div"
            | "-prec-div"
            | "--prec-sqrt"
            | "-prec-sqrt"
            | "--maxrregcount"
            | "-maxrregcount"
            | "--ptxas-options"
            | "-Xptxas"
            | "--split-compile"
            | "--extra-device-vectorization"
            | "--minimal"
            | "-default-device"
            | "--device-as-default-execution-space"
            | "--restrict"
            | "-restrict"
            | "--disable-warnings"
            | "-w"
            | "--generate-line-info"
            | "-lineinfo"
            | "--device-debug"
            | "-G"
            | "--dopt"
            | "--relocatable-device-code"
            | "-rdc"
            | "--diag-suppress"
            | "--no-source-include"
            | "--device-int128" => {}
            _ if name.starts_with("-D") => options.defines.push(option[2..].to_owned()),
            _ if name.starts_with("-I") || name == "--include-path" => {}
            _ => return Err(format!("nvrtc: error: unrecognized option {option} found")),
        }
    }
    let number = options.architecture.split_once('_').map(|(_, n)| n.trim_end_matches(['a', 'f']));
    match number.and_then(|n| n.parse().ok()) {
        Some(number) if known(number) => Ok(options),
        _ => Err(format!("nvrtc: error: invalid value for --gpu-architecture (-arch): {}", options.architecture)),
    }
}

fn compile(program: &Program, given: &[String]) -> (u32, Program) {
    let mut new = Program {
        source: program.source.clone(),
        name: program.name.clone(),
        headers: program.headers.clone(),
        ..Program::default()
    };
    let code = match options(given) {
        Err(why) => {
            new.log = CString::new(why).unwrap_or_default();
            INVALID_OPTION
        }
        Ok(options) => {
            let kernels = source::kernels(&new.source);
            let made = compile::library(&new.name, &new.source, &kernels, &new.headers, &options);
            new.kernels = kernels.into_iter().filter_map(|kernel| CString::new(kernel.name).ok()).collect();
            match made {
                Ok(library) => {
                    let real = options.architecture.starts_with("sm_");
                    let virtual_name = options.architecture.replace("sm_", "compute_");
                    if real {
                        new.cubin = module::image(&options.architecture, &library);
                    }
                    new.ptx = module::image(&virtual_name, &library);
                    new.compiled = true;
                    SUCCESS
                }
                Err(log) => {
                    new.log = CString::new(log.replace('\0', " ")).unwrap_or_default();
                    COMPILATION
                }
            }
        }
    };
    (code, new)
}

unsafe fn give_size(size: *mut usize, bytes: usize) -> u32 {
    if size.is_null() {
        return INVALID_INPUT;
    }
    // SAFETY: the caller's pointer to a place for it.
    unsafe { size.write(bytes) };
    SUCCESS
}

unsafe fn give(to: *mut c_char, bytes: &[u8]) -> u32 {
    if to.is_null() {
        return INVALID_INPUT;
    }
    // SAFETY: the caller has room for as many bytes as it was told.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len()) };
    SUCCESS
}

macro_rules! nvrtc {
    ($($(#[$gives:ident])? fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, unused_unsafe, clippy::missing_safety_doc)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> u32 {
            // SAFETY: the caller's pointers are as nvrtc.h says.
            calls::compiler(stringify!($name), calls::driver_api!(@ $($gives)?), || unsafe { $body })
        }
    )*};
}

nvrtc! {
    fn nvrtcVersion(major: *mut i32, minor: *mut i32) {
        if major.is_null() || minor.is_null() {
            return INVALID_INPUT;
        }
        major.write(settings().nvrtc.0);
        minor.write(settings().nvrtc.1);
        SUCCESS
    }

    fn nvrtcCreateProgram(
        to: *mut usize, source: *const c_char, name: *const c_char, count: i32, headers: *const *const c_char,
        names: *const *const c_char,
    ) {
        create(to, source, name, count, headers, names)
    }

    #[frees]
    fn nvrtcDestroyProgram(program: *mut usize) {
        if program.is_null() {
            return INVALID_PROGRAM;
        }
        let gone = lock(&PROGRAMS).1.remove(&program.read());
        program.write(0);
        if gone.is_some() { SUCCESS } else { INVALID_PROGRAM }
    }

    fn nvrtcCompileProgram(program: usize, count: i32, options: *const *const c_char) {
        let Some(options) = texts(options, count) else { return INVALID_INPUT };
        let Some(asked) = lock(&PROGRAMS).1.get(&program).map(|p| Program {
            source: p.source.clone(), name: p.name.clone(), headers: p.headers.clone(), ..Program::default()
        }) else { return INVALID_PROGRAM };
        // Without the lock: programs compile beside each other.
        let (code, new) = compile(&asked, &options);
        with(program, |to| {
            *to = new;
            code
        })
    }

    fn nvrtcGetProgramLogSize(program: usize, size: *mut usize) {
        with(program, |p| give_size(size, p.log.as_bytes_with_nul().len()))
    }

    fn nvrtcGetProgramLog(program: usize, log: *mut c_char) { with(program, |p| give(log, p.log.as_bytes_with_nul())) }

    fn nvrtcGetCUBINSize(program: usize, size: *mut usize) {
        with(program, |p| if p.compiled { give_size(size, p.cubin.len()) } else { INVALID_PROGRAM })
    }

    fn nvrtcGetCUBIN(program: usize, to: *mut c_char) {
        with(program, |p| if p.compiled { give(to, &p.cubin) } else { INVALID_PROGRAM })
    }

    fn nvrtcGetPTXSize(program: usize, size: *mut usize) {
        with(program, |p| if p.compiled { give_size(size, p.ptx.len()) } else { INVALID_PROGRAM })
    }

    fn nvrtcGetPTX(program: usize, to: *mut c_char) {
        with(program, |p| if p.compiled { give(to, &p.ptx) } else { INVALID_PROGRAM })
    }

    fn nvrtcAddNameExpression(program: usize, name: *const c_char) {
        if name.is_null() {
            return INVALID_INPUT;
        }
        with(program, |_| SUCCESS)
    }

    fn nvrtcGetLoweredName(program: usize, name: *const c_char, lowered: *mut *const c_char) {
        let Some(name) = text(name) else { return INVALID_INPUT };
        with(program, |p| {
            if !p.compiled {
                return NO_NAMES_BEFORE_COMPILATION;
            }
            // Kernels have C's names here: each is its own.
            match p.kernels.iter().find(|kernel| kernel.to_bytes() == name.as_bytes()) {
                Some(kernel) => {
                    lowered.write(kernel.as_ptr());
                    SUCCESS
                }
                None => NAME_NOT_VALID,
            }
        })
    }

    fn nvrtcGetNumSupportedArchs(count: *mut i32) {
        if count.is_null() {
            return INVALID_INPUT;
        }
        count.write(ARCHITECTURES.iter().filter(|number| known(**number as u32)).count() as i32);
        SUCCESS
    }

    fn nvrtcGetSupportedArchs(to: *mut i32) {
        if to.is_null() {
            return INVALID_INPUT;
        }
        for (i, number) in ARCHITECTURES.iter().filter(|number| known(**number as u32)).enumerate() {
            to.add(i).write(*number);
        }
        SUCCESS
    }
}

const ARCHITECTURES: [i32; 17] = [50, 52, 53, 60, 61, 62, 70, 72, 75, 80, 86, 87, 89, 90, 100, 120, 121];

/// The words of a result.
///
/// # Safety
/// None needed: any number will do.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn nvrtcGetErrorString(result: u32) -> *const c_char {
    let words = match result {
        0 => c"NVRTC_SUCCESS",
        1 => c"NVRTC_ERROR_OUT_OF_MEMORY",
        2 => c"NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
        3 => c"NVRTC_ERROR_INVALID_INPUT",
        4 => c"NVRTC_ERROR_INVALID_PROGRAM",
        5 => c"NVRTC_ERROR_INVALID_OPTION",
        6 => c"NVRTC_ERROR_COMPILATION",
        7 => c"NVRTC_ERROR_BUILTIN_OPERATION_FAILURE",
        8 => c"NVRTC_ERROR_NO_NAME_EXPRESSIONS_AFTER_COMPILATION",
        9 => c"NVRTC_ERROR_NO_LOWERED_NAMES_BEFORE_COMPILATION",
        10 => c"NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID",
        11 => c"NVRTC_ERROR_INTERNAL_ERROR",
        _ => c"NVRTC_ERROR unknown",
    };
    words.as_ptr()
}
