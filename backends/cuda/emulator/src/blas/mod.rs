//! cuBLASLt as far as the backend calls it: descriptors, which products there is an algorithm for, and products that are queued on a
//! stream. An algorithm belongs to the product that it was asked for, wants the alignment that was promised then, and fills its workspace,
//! so that one handed to another product, an address that is less aligned, or a workspace that is too small or shared is noticed.

mod product;

pub use product::Product;

use crate::{
    abi::Handle,
    calls::{compiler, lock, put},
    code::Code,
    context, memory,
    settings::settings,
    stream::{self, Work},
};
use product::{Layout, Operation, Preference};
use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    sync::{LazyLock, Mutex},
};

/// cublasStatus_t.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    const NOT_INITIALIZED: Status = Status(1);
    pub const INVALID_VALUE: Status = Status(7);
    const EXECUTION_FAILED: Status = Status(13);
    pub const NOT_SUPPORTED: Status = Status(15);
}

impl From<Code> for Status {
    fn from(code: Code) -> Status {
        match code {
            Code::NOT_INITIALIZED | Code::INVALID_CONTEXT => Status::NOT_INITIALIZED,
            _ => Status::EXECUTION_FAILED,
        }
    }
}

type Outcome = Result<(), Status>;

#[derive(Clone, Copy)]
enum Object {
    /// Of a context.
    Library(Handle),
    Operation(Operation),
    Layout(Layout),
    Preference(Preference),
}

#[derive(Default)]
struct Table {
    objects: HashMap<usize, Object>,
    last: usize,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

fn create(to: *mut usize, object: Object) -> Outcome {
    let mut table = lock(&TABLE);
    table.last += 16;
    let handle = 0xb1a5_0000 + table.last;
    table.objects.insert(handle, object);
    put(to, handle).map_err(|_| Status::INVALID_VALUE)
}

fn find(handle: usize) -> Result<Object, Status> {
    lock(&TABLE).objects.get(&handle).copied().ok_or(Status::INVALID_VALUE)
}

fn destroy(handle: usize, is: impl Fn(&Object) -> bool) -> Outcome {
    let mut table = lock(&TABLE);
    match table.objects.get(&handle) {
        Some(object) if is(object) => drop(table.objects.remove(&handle)),
        _ => return Err(Status::INVALID_VALUE),
    }
    Ok(())
}

/// How many handles and descriptors live.
pub fn live() -> i64 {
    lock(&TABLE).objects.len() as i64
}

macro_rules! find {
    ($kind:ident, $handle:expr) => {
        match find($handle)? {
            Object::$kind(found) => found,
            _ => return Err(Status::INVALID_VALUE),
        }
    };
}

/// Reads an attribute of this type.
unsafe fn attribute<T: Copy>(from: *const c_void, bytes: usize) -> Result<T, Status> {
    if from.is_null() || bytes != size_of::<T>() {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the caller's value of this size.
    Ok(unsafe { from.cast::<T>().read_unaligned() })
}

/// Changes what a handle stands for.
fn change(handle: usize, with: impl FnOnce(&mut Object) -> Outcome) -> Outcome {
    with(lock(&TABLE).objects.get_mut(&handle).ok_or(Status::INVALID_VALUE)?)
}

macro_rules! api {
    ($($(#[$gives:ident])? fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::missing_safety_doc)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> u32 {
            let gives_back = api!(@ $($gives)?);
            let body = || -> Outcome { $body };
            compiler(stringify!($name), gives_back, || body().err().map_or(0, |status| status.0))
        }
    )*};
    (@) => { false };
    (@ frees) => { true };
}

/// What an algorithm was found for: `cublasLtMatmulAlgo_t`, 64 bytes of which the caller knows nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Algorithm {
    mark: u64,
    /// Of A, B, C and D.
    alignment: [u32; 4],
    workspace: u64,
    rest: [u64; 4],
}

/// cublasLtMatmulHeuristicResult_t.
#[repr(C)]
pub struct Found {
    algorithm: Algorithm,
    workspace: usize,
    state: u32,
    waves: f32,
    reserved: [c_int; 4],
}

const _: () = assert!(size_of::<Algorithm>() == 64 && size_of::<Found>() == 96);

/// Bytes that every algorithm wants, if it may have them.
const WORKSPACE: u64 = 4096;

api! {
    fn cublasLtCreate(handle: *mut usize) { create(handle, Object::Library(context::usable()?.handle)) }

    #[frees]
    fn cublasLtDestroy(handle: usize) { destroy(handle, |o| matches!(o, Object::Library(_))) }

    fn cublasLtMatmulDescCreate(desc: *mut usize, compute: u32, scale: u32) {
        create(desc, Object::Operation(Operation::new(compute, scale)))
    }

    #[frees]
    fn cublasLtMatmulDescDestroy(desc: usize) { destroy(desc, |o| matches!(o, Object::Operation(_))) }

    fn cublasLtMatmulDescSetAttribute(desc: usize, which: u32, value: *const c_void, bytes: usize) {
        change(desc, |object| match (object, which) {
            // SAFETY: the caller's value, as below.
            (Object::Operation(o), 3) => { o.turned[0] = unsafe { attribute::<u32>(value, bytes) }? == 1; Ok(()) }
            (Object::Operation(o), 4) => { o.turned[1] = unsafe { attribute::<u32>(value, bytes) }? == 1; Ok(()) }
            (Object::Operation(o), 7) => { o.epilogue = unsafe { attribute(value, bytes) }?; Ok(()) }
            (Object::Operation(o), 8) => { o.bias = unsafe { attribute(value, bytes) }?; Ok(()) }
            _ => Err(Status::INVALID_VALUE),
        })
    }

    fn cublasLtMatrixLayoutCreate(layout: *mut usize, dtype: u32, rows: u64, cols: u64, lead: i64) {
        create(layout, Object::Layout(Layout { dtype, rows, cols, lead, batch: 1, step: 0 }))
    }

    #[frees]
    fn cublasLtMatrixLayoutDestroy(layout: usize) { destroy(layout, |o| matches!(o, Object::Layout(_))) }

    fn cublasLtMatrixLayoutSetAttribute(layout: usize, which: u32, value: *const c_void, bytes: usize) {
        change(layout, |object| match (object, which) {
            // SAFETY: the caller's value, as below.
            (Object::Layout(l), 5) => { l.batch = unsafe { attribute(value, bytes) }?; Ok(()) }
            (Object::Layout(l), 6) => { l.step = unsafe { attribute(value, bytes) }?; Ok(()) }
            _ => Err(Status::INVALID_VALUE),
        })
    }

    fn cublasLtMatmulPreferenceCreate(preference: *mut usize) {
        create(preference, Object::Preference(Preference { workspace: 0, alignment: [256; 4], schemes: 7 }))
    }

    #[frees]
    fn cublasLtMatmulPreferenceDestroy(preference: usize) { destroy(preference, |o| matches!(o, Object::Preference(_))) }

    fn cublasLtMatmulPreferenceSetAttribute(preference: usize, which: u32, value: *const c_void, bytes: usize) {
        change(preference, |object| match (object, which) {
            // SAFETY: the caller's value, as below.
            (Object::Preference(p), 1) => { p.workspace = unsafe { attribute(value, bytes) }?; Ok(()) }
            (Object::Preference(p), 3) => { p.schemes = unsafe { attribute(value, bytes) }?; Ok(()) }
            (Object::Preference(p), 5..=8) => {
                p.alignment[which as usize - 5] = unsafe { attribute(value, bytes) }?;
                Ok(())
            }
            _ => Err(Status::INVALID_VALUE),
        })
    }

    fn cublasLtMatmulAlgoGetHeuristic(
        handle: usize, operation: usize, a: usize, b: usize, c: usize, d: usize, preference: usize, asked: c_int,
        found: *mut Found, count: *mut c_int,
    ) {
        let _of = find!(Library, handle);
        let operation = find!(Operation, operation);
        let layouts = [find!(Layout, a), find!(Layout, b), find!(Layout, c), find!(Layout, d)];
        let preference = find!(Preference, preference);
        if found.is_null() || asked < 1 {
            return Err(Status::INVALID_VALUE);
        }
        put(count, 0).map_err(|_| Status::INVALID_VALUE)?;
        product::check(&operation, &layouts, settings().capability)?;
        // Parts that are joined in the type of the result lose what this library would have to lose as well.
        if preference.schemes & 4 != 0 && layouts[3].dtype != 0 {
            return Err(Status::NOT_SUPPORTED);
        }
        let workspace = preference.workspace.min(WORKSPACE);
        let mark = product::mark(&operation, &layouts);
        let algorithm = Algorithm { mark, alignment: preference.alignment, workspace, rest: [0; 4] };
        put(found, Found { algorithm, workspace: workspace as usize, state: 0, waves: 1.0, reserved: [0; 4] })
            .map_err(|_| Status::INVALID_VALUE)?;
        put(count, 1).map_err(|_| Status::INVALID_VALUE)
    }

    fn cublasLtMatmul(
        handle: usize, operation: usize, alpha: *const c_void, a: u64, a_layout: usize, b: u64, b_layout: usize,
        beta: *const c_void, c: u64, c_layout: usize, d: u64, d_layout: usize, algorithm: *const Algorithm, workspace: u64,
        workspace_bytes: usize, stream: Handle,
    ) {
        let of = find!(Library, handle);
        let operation = find!(Operation, operation);
        let layouts = [find!(Layout, a_layout), find!(Layout, b_layout), find!(Layout, c_layout), find!(Layout, d_layout)];
        product::check(&operation, &layouts, settings().capability)?;
        if alpha.is_null() || beta.is_null() || algorithm.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the caller's algorithm, and two numbers of the type that the operation names.
        let (algorithm, [alpha, beta]) = unsafe { (algorithm.read(), [operation.number(alpha), operation.number(beta)]) };
        if algorithm.mark != product::mark(&operation, &layouts) || (workspace_bytes as u64) < algorithm.workspace {
            return Err(Status::INVALID_VALUE);
        }
        let stream = stream::usable(stream)?;
        if stream.context.handle != of {
            return Err(Status::INVALID_VALUE);
        }
        let at = [a, b, c, d];
        // Whole matrices lie in memory of a device.
        for (n, (at, layout)) in at.iter().zip(&layouts).enumerate() {
            if n == 2 && beta == 0.0 {
                continue;
            }
            if !at.is_multiple_of(u64::from(algorithm.alignment[n])) {
                eprintln!("anychip CUDA emulator: cublasLtMatmul: operand {n} is not aligned to {} bytes, as was promised",
                    algorithm.alignment[n]);
                stream.context.strike(Code(716));
                return Err(Status::EXECUTION_FAILED);
            }
            let (from, bytes) = layout.span(*at).ok_or(Status::INVALID_VALUE)?;
            memory::on_device(from as usize, bytes as usize).map_err(|_| Status::INVALID_VALUE)?;
        }
        if algorithm.workspace > 0 {
            memory::on_device(workspace as usize, algorithm.workspace as usize).map_err(|_| Status::INVALID_VALUE)?;
        }
        let room = [workspace, algorithm.workspace];
        stream.submit(Work::Multiply(Product { operation, layouts, at, alpha, beta, workspace: room }))?;
        Ok(())
    }
}

/// 12.9.1, or the first of 13 where the driver is of that major.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn cublasLtGetVersion() -> usize {
    if settings().driver >= 13_000 { 130_000 } else { 120_901 }
}

#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub extern "C" fn cublasLtGetStatusString(status: u32) -> *const c_char {
    let words: &CStr = match status {
        0 => c"CUBLAS_STATUS_SUCCESS",
        1 => c"CUBLAS_STATUS_NOT_INITIALIZED",
        3 => c"CUBLAS_STATUS_ALLOC_FAILED",
        7 => c"CUBLAS_STATUS_INVALID_VALUE",
        8 => c"CUBLAS_STATUS_ARCH_MISMATCH",
        13 => c"CUBLAS_STATUS_EXECUTION_FAILED",
        14 => c"CUBLAS_STATUS_INTERNAL_ERROR",
        15 => c"CUBLAS_STATUS_NOT_SUPPORTED",
        _ => c"an unknown status",
    };
    words.as_ptr()
}
