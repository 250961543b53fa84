//! From a kernel to something that can be launched: printed, compiled for the chip's own architecture, or taken from an earlier
//! cubin, for which no compiler is needed.

use crate::{
    blas,
    boxes::Tensor,
    context::Module,
    device::Device,
    nvrtc::{self, Failure, Nvrtc},
};
use anychip_hal::{
    Error, Loaded, RawProgram, Result,
    contract::Resources,
    ir::{self, ParamKind},
    render,
};
use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUfunction_attribute_enum::*};
use std::{ffi::CString, sync::Arc};

/// A parameter as a launch sets it.
pub enum Arg {
    /// The next binding.
    Buffer,
    /// These bytes of the scalars.
    Scalar { offset: usize, bytes: usize },
}

/// What a program handle stands for.
pub enum Program {
    Kernel(Kernel),
    /// A matrix product in the vendor's library.
    Product(Box<blas::Prepared>),
}

/// A compiled kernel.
pub struct Kernel {
    pub name: String,
    pub function: CUfunction,
    pub args: Vec<Arg>,
    /// Tensors of which it copies boxes: parameters behind those.
    pub tensors: Vec<Tensor>,
    pub bindings: usize,
    pub scalars: usize,
    pub workgroup: [u32; 3],
    /// Bytes of memory of the workgroup that a launch asks for.
    pub shared: u32,
    /// What the function belongs to.
    _module: Module,
}

// The function is a name within the module, which every thread may use.
unsafe impl Send for Kernel {}
unsafe impl Sync for Kernel {}

/// Bytes before a cubin: a hash of it and of all that it was made from, and the version of its compiler.
const HEAD: usize = 32 + 8;

impl Device {
    /// Compiles a legalised kernel, or takes it from `cached` where that was made from the very same text.
    pub(crate) fn compile(&self, kernel: &ir::Kernel, cached: Option<&[u8]>) -> Result<Loaded> {
        let text = render::c::render(kernel, &self.dialect)?;
        let failed = |log: String| Error::CompileFailed {
            kernel: kernel.name.clone(),
            device: self.info.id.clone(),
            rendered: text.source.clone(),
            log,
        };
        let entry = CString::new(text.entry.as_str()).map_err(|e| failed(e.to_string()))?;
        let compiler = nvrtc::fitting(self.chip.capability, self.chip.driver);
        let version = compiler.as_ref().ok().map(|n| n.version);
        let _here = self.context.enter()?;
        let earlier = cached
            .filter(|c| self.is_sealed(&text.source, version, c))
            .and_then(|c| Some((c, Module::load(&self.context, &c[HEAD..], &entry).ok()?)));
        let (binary, (module, function)) = match earlier {
            Some((sealed, loaded)) => (sealed.to_vec(), loaded),
            None => {
                let with = compiler.map_err(|why| {
                    Error::unsupported(format!("compiling kernel {} for {}", kernel.name, self.info.id), why)
                })?;
                let cubin = self.cubin(&with, &kernel.name, &text.source).map_err(|e| match e {
                    Failure::Log(log) => failed(log),
                    Failure::Memory(why) => Error::OutOfMemory { device: self.info.id.clone(), asked: 0, why },
                    Failure::Other(why) => failed(why),
                })?;
                let loaded = Module::load(&self.context, &cubin, &entry).map_err(|code| {
                    match self.context.api.error(&self.info.id, "cuModuleLoadData", code) {
                        Error::Backend { message, .. } => failed(message),
                        e => e,
                    }
                })?;
                (self.sealed(&text.source, with.version, &cubin), loaded)
            }
        };
        let attribute = |what: CUfunction_attribute, name: &str| {
            let mut n = 0;
            let code = unsafe { (self.context.api.cuFuncGetAttribute)(&mut n, what, function) };
            self.context.good(&format!("cuFuncGetAttribute of {name}"), code).map(|()| n.max(0) as u32)
        };
        let most = attribute(CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, "the largest block")?;
        if u64::from(most) < u64::from(kernel.lanes()) {
            return Err(Error::unsupported(
                format!("kernel {} with {} lanes a workgroup on {}", kernel.name, kernel.lanes(), self.info.id),
                format!("it was compiled for at most {most}"),
            ));
        }
        if text.shared > 0 {
            let (what, bytes) = (CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, text.shared as i32);
            let code = unsafe { (self.context.api.cuFuncSetAttribute)(function, what, bytes) };
            self.context.good(&format!("cuFuncSetAttribute: {bytes} bytes of a workgroup"), code)?;
        }
        let resources = Resources {
            workspace: 0,
            shared: attribute(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, "shared memory")? + text.shared,
            registers: Some(attribute(CU_FUNC_ATTRIBUTE_NUM_REGS, "registers")?),
            subgroup: Some(32),
        };
        let (slots, scalars) = kernel.scalar_layout();
        let mut slots = slots.iter();
        let args = kernel
            .params
            .iter()
            .filter_map(|p| match p.kind {
                ParamKind::Buffer { .. } => Some(Arg::Buffer),
                ParamKind::Scalar { .. } => {
                    slots.next().map(|s| Arg::Scalar { offset: s.offset as usize, bytes: s.bytes as usize })
                }
            })
            .collect();
        let program = Program::Kernel(Kernel {
            name: kernel.name.clone(),
            function,
            args,
            tensors: text.boxes.iter().map(|b| Tensor::of(kernel, b)).collect::<Result<_>>()?,
            bindings: kernel.buffers().count(),
            scalars: scalars as usize,
            workgroup: kernel.workgroup,
            shared: text.shared,
            _module: module,
        });
        Ok(Loaded { program: RawProgram(self.programs.insert(Arc::new(program))), binary, resources })
    }

    fn cubin(&self, with: &Nvrtc, name: &str, source: &str) -> std::result::Result<Vec<u8>, Failure> {
        with.compile(name, source, &nvrtc::options(self.chip.capability)).map(|made| made.cubin)
    }

    /// A cache may outlive the printer and the compiler.
    fn seal(&self, source: &str, version: &[u8], cubin: &[u8]) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        let options = nvrtc::options(self.chip.capability).join(" ");
        for part in [options.as_bytes(), source.as_bytes(), version, cubin] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hash.finalize().as_bytes()
    }

    fn sealed(&self, source: &str, (major, minor): (u32, u32), cubin: &[u8]) -> Vec<u8> {
        let version = [major.to_le_bytes(), minor.to_le_bytes()].concat();
        [&self.seal(source, &version, cubin)[..], &version, cubin].concat()
    }

    /// Whole, from this text, and by the compiler that is here; by any where none is.
    fn is_sealed(&self, source: &str, compiler: Option<(u32, u32)>, cached: &[u8]) -> bool {
        let Some((head, cubin)) = cached.split_at_checked(HEAD) else { return false };
        let (seal, version) = head.split_at(32);
        let same = compiler.is_none_or(|(a, b)| version == [a.to_le_bytes(), b.to_le_bytes()].concat());
        same && !cubin.is_empty() && seal == self.seal(source, version, cubin)
    }
}
