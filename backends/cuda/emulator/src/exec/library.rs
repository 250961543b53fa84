//! A compiled kernel's shared library: loaded from memory, and the variables in it that the host sets, as `shim/shim.h` lays them out.

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_char, c_void},
    sync::atomic::{AtomicU32, Ordering},
};

/// Runs a kernel for some threads of a block: parameters, the threads' indices, how many.
pub type RunKernel = unsafe extern "C" fn(*const *const c_void, *const [u32; 3], u32);
type Layout = unsafe extern "C" fn(*mut u32, u32) -> u32;
type Bound = unsafe extern "C" fn() -> u32;
type Bind = unsafe extern "C" fn(*mut Binding);
/// How a kernel is run, size and alignment of its parameters, and the threads that a block may have; 0 for any.
pub type Entry = (RunKernel, Vec<(usize, usize)>, u32);
/// What the lanes of a warp, or the threads of a block, do together.
pub type Together = Option<unsafe extern "C" fn(*const *mut c_void, u32)>;

/// `anychip_calls`: what kernels call, each with this structure itself.
#[repr(C)]
pub struct Calls {
    pub collective: unsafe extern "C" fn(&Calls, u32, u32, Together, *mut c_void),
    pub alive: unsafe extern "C" fn(&Calls) -> u32,
    pub pause: unsafe extern "C" fn(&Calls),
    pub fail: unsafe extern "C" fn(&Calls, i32, *const c_char),
    /// The host's own: who runs the block.
    pub runner: Cell<*const c_void>,
}

/// `anychip_binding`: the library's variables.
#[repr(C)]
pub struct Binding {
    pub calls: *mut *const Calls,
    pub thread: *mut [u32; 3],
    pub block: *mut [u32; 3],
    pub threads: *mut [u32; 3],
    pub blocks: *mut [u32; 3],
    pub lane: *mut *mut c_void,
    pub dynamic: *mut *mut u8,
    pub dynamic_bytes: *mut u32,
    pub lane_bytes: u32,
    pub shared: *mut u8,
    pub shared_end: *mut u8,
}

// SAFETY: addresses of variables that only the holder of the module's lock touches.
unsafe impl Send for Binding {}
// SAFETY: as above.
unsafe impl Sync for Binding {}

impl Binding {
    pub fn shared_bytes(&self) -> usize {
        self.shared_end as usize - self.shared as usize
    }
}

pub struct Library {
    handle: *mut c_void,
}

// SAFETY: a handle of the dynamic loader, which may be used from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a library from its bytes, apart from every other one with the same bytes.
    pub fn open(bytes: &[u8]) -> Result<Library, String> {
        static LOADED: AtomicU32 = AtomicU32::new(1);
        // SAFETY: a file that nobody else has.
        let file = unsafe { libc::memfd_create(c"anychip-kernel".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(format!("memfd_create: {}", std::io::Error::last_os_error()));
        }
        // SAFETY: owned from here on.
        let mut file: std::fs::File = unsafe { std::os::fd::FromRawFd::from_raw_fd(file) };
        std::io::Write::write_all(&mut file, bytes).map_err(|e| e.to_string())?;
        // The loader takes two libraries with one name for the same, and numbers of files come again: a path that says the same and is
        // written differently each time.
        let mut path = String::from("/proc/self/fd");
        let mut number = LOADED.fetch_add(1, Ordering::Relaxed);
        while number > 0 {
            path.push_str(if number & 1 == 1 { "/." } else { "//." });
            number >>= 1;
        }
        path.push_str(&format!("/{}", std::os::fd::AsRawFd::as_raw_fd(&file)));
        let path = CString::new(path).map_err(|e| e.to_string())?;
        // SAFETY: a library that our own compiler has made.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: dlerror gives null or a C string.
            let why = unsafe { libc::dlerror() };
            let why = if why.is_null() { c"unknown" } else { unsafe { CStr::from_ptr(why) } };
            return Err(why.to_string_lossy().into_owned());
        }
        Ok(Library { handle })
    }

    fn symbol(&self, name: &str) -> Option<*mut c_void> {
        let name = CString::new(name).ok()?;
        // SAFETY: an open library.
        let found = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }

    /// Where its variables lie.
    pub fn binding(&self) -> Option<Binding> {
        // SAFETY: ANYCHIP_MODULE defines it with this type, and it fills the whole structure.
        unsafe {
            let bind: Bind = std::mem::transmute(self.symbol("anychip_bind")?);
            let mut binding = std::mem::MaybeUninit::<Binding>::zeroed();
            bind(binding.as_mut_ptr());
            Some(binding.assume_init())
        }
    }

    /// Do its threads ever do anything together?
    pub fn needs_fibers(&self) -> bool {
        self.symbol("anychip_collective").is_some()
    }

    /// A kernel.
    pub fn kernel(&self, name: &str) -> Option<Entry> {
        // SAFETY: ANYCHIP_KERNEL defines them with these types.
        unsafe {
            let run: RunKernel = std::mem::transmute(self.symbol(&format!("anychip_run_{name}"))?);
            let layout: Layout = std::mem::transmute(self.symbol(&format!("anychip_layout_{name}"))?);
            let bound: Bound = std::mem::transmute(self.symbol(&format!("anychip_bound_{name}"))?);
            let mut packed = vec![0; layout(std::ptr::null_mut(), 0) as usize];
            layout(packed.as_mut_ptr(), packed.len() as u32);
            let params = packed.iter().map(|p| ((p >> 8) as usize, (p & 255) as usize)).collect();
            Some((run, params, bound()))
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: opened by us; no launch holds the module any more.
        unsafe { libc::dlclose(self.handle) };
    }
}

/// A symbol that this library itself exports.
pub fn own_symbol(name: &CStr) -> *mut c_void {
    // SAFETY: the loader's own functions; the address is one of ours.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(own_symbol as *const c_void, &mut info) == 0 {
            return std::ptr::null_mut();
        }
        let own = libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD);
        if own.is_null() { std::ptr::null_mut() } else { libc::dlsym(own, name.as_ptr()) }
    }
}
