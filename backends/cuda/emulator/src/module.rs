//! Modules and their functions. What stands for a cubin is a shared library of the host behind a short header; each load of it is a
//! library of its own, with its own shared memory.

use crate::{
    abi::Handle,
    calls::{driver_api, lock, put},
    code::{Code, Outcome},
    context, device,
    exec::{Binding, Library, RunKernel},
    handle,
    handle::Object,
    nvrtc,
    settings::settings,
};
use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_void},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

const MAGIC: &[u8; 8] = b"ANYCUBIN";
const HEADER: usize = 8 + 16 + 8 + 32 + 32;

/// The bytes that stand for a cubin or for PTX of this architecture (`sm_90a`, `compute_90`).
pub fn image(architecture: &str, library: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + library.len());
    bytes.extend(MAGIC);
    let mut name = [0; 16];
    name[..architecture.len().min(16)].copy_from_slice(&architecture.as_bytes()[..architecture.len().min(16)]);
    bytes.extend(name);
    bytes.extend((library.len() as u64).to_le_bytes());
    bytes.extend(blake3::hash(library).as_bytes());
    bytes.extend(nvrtc::version().as_bytes());
    bytes.extend(library);
    bytes
}

/// Does code for this architecture run here? `sm_80` does on 8.x from 8.0, `sm_90a` on 9.0 only, PTX on all that is newer.
fn runs_here(architecture: &str) -> bool {
    let (major, minor) = settings().capability;
    let (real, number) = match architecture.split_once('_') {
        Some(("sm", number)) => (true, number),
        Some(("compute", number)) => (false, number),
        _ => return false,
    };
    let specific = number.ends_with('a');
    let Ok(number) = number.trim_end_matches(['a', 'f']).parse::<u32>() else { return false };
    match (number / 10, number % 10) {
        made if specific => made == (major, minor),
        made if real => made.0 == major && made.1 <= minor,
        made => made <= (major, minor),
    }
}

pub struct Module {
    pub context: Handle,
    pub library: Library,
    pub binding: Binding,
    functions: Mutex<HashMap<String, Handle>>,
    /// Only one launch at a time uses the library's variables.
    pub busy: Mutex<()>,
}

pub struct Function {
    pub module: Arc<Module>,
    pub name: String,
    pub run: RunKernel,
    /// Size and alignment of each parameter.
    pub params: Vec<(usize, usize)>,
    /// Threads that a block may have.
    pub max_threads: u32,
    /// Bytes of dynamic shared memory that a launch may have.
    pub max_dynamic: AtomicU32,
}

impl Module {
    pub fn static_shared(&self) -> u32 {
        self.binding.shared_bytes() as u32
    }
}

fn load(to: *mut Handle, image: *const c_void) -> Outcome {
    let context = context::usable()?;
    if to.is_null() || image.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let at = image.cast::<u8>();
    // Nobody says how long an image is: no byte is read before those in front of it are right.
    // SAFETY: an image of ours is as long as its header says.
    let (name, library) = unsafe {
        for (i, byte) in MAGIC.iter().enumerate() {
            if at.add(i).read() != *byte {
                return Err(Code::INVALID_IMAGE);
            }
        }
        let header = std::slice::from_raw_parts(at, HEADER);
        let bytes = u64::from_le_bytes(header[24..32].try_into().expect("8 bytes"));
        let library = std::slice::from_raw_parts(at.add(HEADER), bytes as usize);
        // One that somebody kept from another version of the emulator calls what is not there.
        if blake3::hash(library).as_bytes() != &header[32..64] || nvrtc::version().as_bytes() != &header[64..] {
            return Err(Code::INVALID_IMAGE);
        }
        (header[8..24].to_vec(), library)
    };
    let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
    if !runs_here(&String::from_utf8_lossy(&name)) {
        return Err(Code::NO_BINARY_FOR_GPU);
    }
    let library = Library::open(library).map_err(|why| {
        eprintln!("anychip CUDA emulator: a module cannot be loaded: {why}");
        Code::INVALID_IMAGE
    })?;
    let binding = library.binding().ok_or(Code::INVALID_IMAGE)?;
    let module = Module {
        context: context.handle,
        library,
        binding,
        functions: Mutex::new(HashMap::new()),
        busy: Mutex::new(()),
    };
    let (handle, _) = handle::insert(|_| Arc::new(module));
    // SAFETY: the caller's pointer to a place for it.
    unsafe { to.write(handle) };
    Ok(())
}

fn function(module: &Arc<Module>, name: &str) -> Result<Handle, Code> {
    let mut functions = lock(&module.functions);
    if let Some(known) = functions.get(name) {
        return Ok(*known);
    }
    let (run, params, bound) = module.library.kernel(name).ok_or(Code::NOT_FOUND)?;
    let room = (48u32 << 10).saturating_sub(module.static_shared());
    let (handle, _) = handle::insert(|_| {
        Arc::new(Function {
            module: module.clone(),
            name: name.into(),
            run,
            params,
            max_threads: if bound == 0 { 1024 } else { bound.min(1024) },
            max_dynamic: AtomicU32::new(room),
        })
    });
    functions.insert(name.into(), handle);
    Ok(handle)
}

fn attribute(function: &Function, attribute: u32) -> Result<i32, Code> {
    let (major, minor) = settings().capability;
    Ok(match attribute {
        0 => function.max_threads as i32,
        1 => function.module.static_shared() as i32,
        2 | 3 => 0,
        4 => 32,
        5 | 6 => (major * 10 + minor) as i32,
        7 => 0,
        8 => function.max_dynamic.load(Ordering::Relaxed) as i32,
        9 => -1,
        10..=17 => 0,
        _ => return Err(Code::INVALID_VALUE),
    })
}

fn set_attribute(function: &Function, attribute: u32, value: i32) -> Outcome {
    match attribute {
        8 => {
            let value = u32::try_from(value).map_err(|_| Code::INVALID_VALUE)?;
            if value + function.module.static_shared() > device::shared_optin() {
                return Err(Code::INVALID_VALUE);
            }
            function.max_dynamic.store(value, Ordering::Relaxed);
            Ok(())
        }
        9 if (-1..=100).contains(&value) => Ok(()),
        10..=15 => Ok(()),
        _ => Err(Code::INVALID_VALUE),
    }
}

/// Blocks that fit on a multiprocessor at once.
fn occupancy(function: &Function, threads: i32, dynamic: usize) -> Result<i32, Code> {
    let threads = u32::try_from(threads).ok().filter(|n| (1..=1024).contains(n)).ok_or(Code::INVALID_VALUE)?;
    let reserved = if settings().capability.0 >= 8 { 1024 } else { 0 };
    let shared = u64::from(function.module.static_shared()) + dynamic as u64 + reserved;
    let by_threads = device::threads_per_multiprocessor() / threads.next_multiple_of(32);
    let by_shared = u64::from(device::shared_per_multiprocessor()).checked_div(shared).unwrap_or(32);
    Ok(if threads > function.max_threads { 0 } else { by_threads.min(32).min(by_shared as u32) as i32 })
}

driver_api! {
    fn cuModuleLoadData(module: *mut Handle, image: *const c_void) { load(module, image) }

    fn cuModuleLoadDataEx(
        module: *mut Handle, image: *const c_void, _count: u32, _options: *const u32, _values: *const *const c_void,
    ) {
        load(module, image)
    }

    #[frees]
    fn cuModuleUnload(module: Handle) {
        let module = handle::remove::<Module>(module)?;
        handle::sweep(|object| matches!(object, Object::Function(f) if Arc::ptr_eq(&f.module, &module)));
        context::current().map_or(Ok(()), |context| context.check())
    }

    fn cuModuleGetFunction(to: *mut Handle, module: Handle, name: *const c_char) {
        context::usable()?;
        let module = handle::get::<Module>(module)?;
        if name.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: a C string of the caller.
        let name = unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| Code::NOT_FOUND)?;
        put(to, function(&module, name)?)
    }

    fn cuFuncGetAttribute(value: *mut i32, which: u32, function: Handle) {
        context::usable()?;
        put(value, attribute(&*handle::get(function)?, which)?)
    }

    fn cuFuncSetAttribute(function: Handle, which: u32, value: i32) {
        context::usable()?;
        set_attribute(&*handle::get(function)?, which, value)
    }

    fn cuFuncSetCacheConfig(function: Handle, _config: u32) { handle::get::<Function>(function).map(drop) }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut i32, function: Handle, threads: i32, dynamic: usize) {
        context::usable()?;
        put(blocks, occupancy(&*handle::get(function)?, threads, dynamic)?)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: *mut i32, function: Handle, threads: i32, dynamic: usize, _flags: u32,
    ) {
        context::usable()?;
        put(blocks, occupancy(&*handle::get(function)?, threads, dynamic)?)
    }
}
