//! From a kernel to something that can be launched: printed, compiled or taken from an earlier binary.

use crate::{
    cl,
    device::Device,
    quirks::{self, Effect},
};
use anychip_hal::{Error, Loaded, RawProgram, Result, contract::Resources, ir, ir::ParamKind, render};
use opencl3::{kernel as clk, program as clp};
use std::{
    ffi::CString,
    sync::{Arc, Mutex},
};

/// A parameter as a launch sets it.
pub enum Arg {
    /// The next binding.
    Buffer,
    /// These bytes of the scalars.
    Scalar { offset: usize, bytes: usize },
}

/// A compiled kernel.
pub struct Program {
    pub name: String,
    /// Setting arguments is the one thing in OpenCL that two threads must not do to one object.
    pub kernel: Mutex<cl::Kernel>,
    pub args: Vec<Arg>,
    pub bindings: usize,
    pub scalars: usize,
    pub workgroup: [u32; 3],
    /// What it was compiled from: a binary is good for this text only.
    source: String,
    program: cl::Program,
}

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
        let reused = cached
            .and_then(|c| self.unsealed(&text.source, c))
            .and_then(|binary| self.reuse_binary(binary).ok())
            .and_then(|p| clk::create_kernel(p.0, &entry).ok().map(|k| (p, cl::Kernel(k))));
        let earlier = if reused.is_some() { cached } else { None };
        let (program, object) = match reused {
            Some(found) => found,
            None => {
                let program = self.compile_text(&text.source).map_err(|e| match e {
                    Built::Log(log) => failed(log),
                    Built::Code(call, code) => cl::error(&self.info.id, call, code, 0),
                })?;
                let object = clk::create_kernel(program.0, &entry)
                    .map_err(|code| failed(format!("clCreateKernel: {}", cl::words(code))))?;
                (program, cl::Kernel(object))
            }
        };
        let most = match quirks::applies(Effect::NoKernelLimit, &self.info.identity) {
            true => None,
            false => self.kernel_number(&object, clk::CL_KERNEL_WORK_GROUP_SIZE),
        };
        if most.is_some_and(|n| n < kernel.lanes() as u64) {
            return Err(Error::unsupported(
                format!("kernel {} with {} lanes a workgroup on {}", kernel.name, kernel.lanes(), self.info.id),
                format!("the driver compiled it for at most {}", most.unwrap_or(0)),
            ));
        }
        let (slots, scalars) = kernel.scalar_layout();
        let mut slots = slots.iter();
        let args: Vec<Arg> = kernel
            .params
            .iter()
            .filter_map(|p| match p.kind {
                ParamKind::Buffer { .. } => Some(Arg::Buffer),
                ParamKind::Scalar { .. } => {
                    slots.next().map(|s| Arg::Scalar { offset: s.offset as usize, bytes: s.bytes as usize })
                }
            })
            .collect();
        let shared = self.kernel_number(&object, clk::CL_KERNEL_LOCAL_MEM_SIZE);
        let loaded = Program {
            name: kernel.name.clone(),
            kernel: Mutex::new(object),
            bindings: kernel.buffers().count(),
            args,
            scalars: scalars as usize,
            workgroup: kernel.workgroup,
            source: text.source,
            program,
        };
        let binary = match earlier {
            Some(binary) => binary.to_vec(),
            None if quirks::applies(Effect::LateBinary, &self.info.identity) => vec![],
            None => self.sealed_binary(&loaded),
        };
        Ok(Loaded {
            program: RawProgram(self.programs.insert(Arc::new(loaded))),
            binary,
            resources: Resources {
                workspace: 0,
                shared: shared.unwrap_or(kernel.shared_bytes()) as u32,
                registers: None,
                subgroup: None,
            },
        })
    }

    /// What stands before a binary: a hash of it and of the text and options that it was made from. A cache may outlive
    /// the printer, and drivers trust their binaries: PoCL 3.1 aborts the process on one that is cut short.
    fn seal(&self, source: &str, binary: &[u8]) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        for part in [self.options.as_bytes(), source.as_bytes(), binary] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hash.finalize().as_bytes()
    }

    fn unsealed<'b>(&self, source: &str, cached: &'b [u8]) -> Option<&'b [u8]> {
        let (seal, binary) = cached.split_at_checked(32)?;
        (seal == self.seal(source, binary)).then_some(binary)
    }

    fn compile_text(&self, source: &str) -> std::result::Result<cl::Program, Built> {
        let program = clp::create_program_with_source(self.context.get(), &[source])
            .map_err(|code| Built::Code("clCreateProgramWithSource", code))?;
        self.build(cl::Program(program))
    }

    fn reuse_binary(&self, binary: &[u8]) -> std::result::Result<cl::Program, Built> {
        let program = unsafe { clp::create_program_with_binary(self.context.get(), &[self.id.0], &[binary]) }
            .map_err(|code| Built::Code("clCreateProgramWithBinary", code))?;
        self.build(cl::Program(program))
    }

    fn build(&self, program: cl::Program) -> std::result::Result<cl::Program, Built> {
        let options =
            CString::new(self.options.as_str()).expect("the options are made of constants without a zero byte");
        match clp::build_program(program.0, &[self.id.0], &options, None, std::ptr::null_mut()) {
            Ok(()) => Ok(program),
            Err(code) if cl::is_memory(code) => Err(Built::Code("clBuildProgram", code)),
            Err(code) => {
                let log = clp::get_program_build_data(program.0, self.id.0, clp::CL_PROGRAM_BUILD_LOG);
                Err(Built::Log(format!("{}\n{}", cl::words(code), cl::text(&log.unwrap_or_default()))))
            }
        }
    }

    /// The driver's binary behind its seal; empty when it gives none.
    pub(crate) fn sealed_binary(&self, of: &Program) -> Vec<u8> {
        let all = clp::get_program_info(of.program.0, clp::CL_PROGRAM_BINARIES).map(Vec::<Vec<u8>>::from);
        match all.ok().and_then(|mut all| all.pop()) {
            Some(binary) if !binary.is_empty() => [&self.seal(&of.source, &binary)[..], &binary].concat(),
            _ => vec![],
        }
    }

    fn kernel_number(&self, kernel: &cl::Kernel, what: u32) -> Option<u64> {
        let bytes = clk::get_kernel_work_group_data(kernel.0, self.id.0, what).ok()?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}

/// Why a build failed.
enum Built {
    /// The compiler refused, in its own words.
    Log(String),
    /// A call failed.
    Code(&'static str, i32),
}
