//! From a kernel to something that can be launched: printed or built, and made a pipeline.

use crate::{device::Device, probe::Shaders};
use anychip_hal::{
    Error, Loaded, RawProgram, Result,
    contract::Resources,
    ir::{self, ParamKind},
    render::{spirv, wgsl},
};
use std::{borrow::Cow, num::NonZeroU64, sync::Arc};

/// A pipeline and what a launch must know of it.
pub struct Program {
    pub name: String,
    pub pipeline: wgpu::ComputePipeline,
    /// Of its buffers.
    pub buffers: wgpu::BindGroupLayout,
    /// Of its scalars, where they lie in a uniform buffer.
    pub uniforms: Option<wgpu::BindGroupLayout>,
    pub bindings: usize,
    /// Bytes of the scalars, and of the block that holds them.
    pub scalars: usize,
    pub block: usize,
}

/// What wgpu is given, as text for messages and for the seal of its binary.
enum Source {
    Wgsl(String),
    Spirv(Vec<u32>),
}

impl Source {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Source::Wgsl(text) => text.as_bytes().to_vec(),
            Source::Spirv(words) => words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        }
    }
}

impl Device {
    /// Makes a pipeline of a legalised kernel; the driver takes what it can from `cached`, where that came from the very same
    /// source.
    pub(crate) fn compile(&self, kernel: &ir::Kernel, cached: Option<&[u8]>) -> Result<Loaded> {
        let (_, scalars) = kernel.scalar_layout();
        let (source, writes, block, entry) = match &self.shaders {
            Shaders::Wgsl(target) => {
                let r = wgsl::render(kernel, target)?;
                (Source::Wgsl(r.source), r.writes, r.scalar_bytes, r.entry)
            }
            Shaders::Spirv(target) => {
                let r = spirv::render(kernel, target)?;
                let writes = kernel.params.iter().filter_map(|p| match p.kind {
                    ParamKind::Buffer { access, .. } => Some(access.writes()),
                    ParamKind::Scalar { .. } => None,
                });
                (Source::Spirv(r.words), writes.collect(), r.push_bytes, r.entry)
            }
        };
        if let Some(folder) = std::env::var_os("ANYCHIP_WGPU_DUMP") {
            let ending = if matches!(source, Source::Wgsl(_)) { "wgsl" } else { "spv" };
            let file = format!("{}-{}.{ending}", kernel.name, &blake3::hash(&source.bytes()).to_hex()[..16]);
            // For whoever looks at what is printed: nothing depends on it.
            let _ = std::fs::write(std::path::Path::new(&folder).join(file), source.bytes());
        }
        let cache = self.pipeline_cache(&source, cached);
        let (immediate, uniform) = match self.features.contains(wgpu::Features::IMMEDIATES) {
            true => (block, 0),
            false => (0, block),
        };
        let made = self.guarded("a pipeline", 0, || {
            let buffers =
                self.layout(writes.iter().map(|&w| wgpu::BufferBindingType::Storage { read_only: !w }), false);
            let uniforms = (uniform > 0).then(|| self.layout([wgpu::BufferBindingType::Uniform].into_iter(), true));
            let groups = [Some(&buffers), uniforms.as_ref()];
            let layout = self.raw.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: None,
                bind_group_layouts: &groups[..1 + usize::from(uniforms.is_some())],
                immediate_size: immediate,
            });
            let module = self.module(&source, &entry, kernel.workgroup);
            let pipeline = self.raw.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&kernel.name),
                layout: Some(&layout),
                module: &module,
                entry_point: Some(&entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write before they read.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: cache.as_ref(),
            });
            (pipeline, buffers, uniforms)
        });
        let (pipeline, buffers, uniforms) = made.map_err(|e| match e {
            Error::Backend { message, .. } => Error::CompileFailed {
                kernel: kernel.name.clone(),
                device: self.info.id.clone(),
                rendered: match &source {
                    Source::Wgsl(text) => text.clone(),
                    Source::Spirv(words) => format!("SPIR-V of {} words, from\n{kernel}", words.len()),
                },
                log: message,
            },
            e => e,
        })?;
        let binary = match cache.and_then(|c| c.get_data()) {
            Some(data) if !data.is_empty() => [&seal(&source, &data)[..], &data].concat(),
            _ => vec![],
        };
        let program = Program {
            name: kernel.name.clone(),
            pipeline,
            buffers,
            uniforms,
            bindings: writes.len(),
            scalars: scalars as usize,
            block: block as usize,
        };
        Ok(Loaded {
            program: RawProgram(self.programs.insert(Arc::new(program))),
            // Of a load from `cached` the same bytes.
            binary: match cached.filter(|c| unsealed(&source, c).is_some()) {
                Some(c) => c.to_vec(),
                None => binary,
            },
            resources: Resources {
                workspace: 0,
                shared: u32::try_from(kernel.shared_bytes()).unwrap_or(u32::MAX),
                registers: None,
                subgroup: None,
            },
        })
    }

    fn layout(
        &self,
        types: impl Iterator<Item = wgpu::BufferBindingType>,
        has_dynamic_offset: bool,
    ) -> wgpu::BindGroupLayout {
        let entries: Vec<_> = types
            .enumerate()
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty,
                    has_dynamic_offset,
                    // A launch is not asked again for what hal has checked; no element is longer.
                    min_binding_size: NonZeroU64::new(16).filter(|_| !has_dynamic_offset),
                },
                count: None,
            })
            .collect();
        self.raw.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
    }

    fn module(&self, source: &Source, entry: &str, workgroup: [u32; 3]) -> wgpu::ShaderModule {
        match source {
            // SAFETY: indices are guarded and loops bounded by the legaliser, or the caller has promised both.
            Source::Wgsl(text) => unsafe {
                self.raw.create_shader_module_trusted(
                    wgpu::ShaderModuleDescriptor { label: None, source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(text)) },
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            },
            // SAFETY: the module is built for what this device was opened with, and its indices are guarded like those above.
            Source::Spirv(words) => unsafe {
                self.raw.create_shader_module_passthrough(wgpu::ShaderModuleDescriptorPassthrough {
                    entry_points: Cow::Owned(vec![wgpu::PassthroughShaderEntryPoint {
                        name: Cow::Borrowed(entry),
                        workgroup_size: (workgroup[0], workgroup[1], workgroup[2]),
                    }]),
                    spirv: Some(Cow::Borrowed(words)),
                    ..Default::default()
                })
            },
        }
    }

    /// A cache for one pipeline, filled from `cached` if that is of the same source.
    fn pipeline_cache(&self, source: &Source, cached: Option<&[u8]>) -> Option<wgpu::PipelineCache> {
        if !self.features.contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let data = cached.and_then(|c| unsealed(source, c));
        // SAFETY: the bytes came from this function's caches, as their seal says, and wgpu checks that they are this driver's.
        let made = self.guarded("a pipeline cache", 0, || unsafe {
            self.raw.create_pipeline_cache(&wgpu::PipelineCacheDescriptor { label: None, data, fallback: true })
        });
        made.ok()
    }
}

/// What stands before a pipeline's bytes: a hash of them and of the source that they were made from. A cache may outlive the
/// printer, and drivers trust such bytes.
fn seal(source: &Source, binary: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for part in [&source.bytes()[..], binary] {
        hash.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hash.finalize().as_bytes()
}

fn unsealed<'b>(source: &Source, cached: &'b [u8]) -> Option<&'b [u8]> {
    let (first, binary) = cached.split_at_checked(32)?;
    (first == seal(source, binary)).then_some(binary)
}
