//! From a kernel to something that can be launched: a module of SPIR-V, a pipeline, and its bytes for the next start.

use crate::{
    device::{Device, Handle, lock},
    instance,
    vk_error::{self, Named},
};
use anychip_hal::{
    Error, Loaded, RawProgram, Result,
    contract::Resources,
    ir::{self, Builtin, Op},
    render::spirv,
};
use ash::vk;
use std::{ffi::CString, sync::Arc};

/// How a kernel with so many buffers and so many of them as texels takes them and its scalars.
pub struct Layout {
    pub set: vk::DescriptorSetLayout,
    pub pipeline: vk::PipelineLayout,
    handle: Arc<Handle>,
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: pipelines hold their layout, and nothing pending uses it.
        unsafe {
            self.handle.raw.destroy_pipeline_layout(self.pipeline, None);
            self.handle.raw.destroy_descriptor_set_layout(self.set, None);
        }
    }
}

/// A compiled kernel.
pub struct Program {
    pub name: String,
    pub pipeline: vk::Pipeline,
    pub layout: Arc<Layout>,
    /// Per buffer: whether the kernel writes it.
    pub writes: Vec<bool>,
    /// What it reads as texels.
    pub texels: Vec<spirv::Texels>,
    /// Bytes of scalars of a launch, and of the block of whole words that holds them.
    pub scalars: usize,
    pub push: usize,
    handle: Arc<Handle>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: hal unloads a program when nothing pending uses it.
        unsafe { self.handle.raw.destroy_pipeline(self.pipeline, None) };
    }
}

impl Device {
    /// Compiles a legalised kernel, with the help of `cached` where that was made from the very same module.
    pub(crate) fn compile(&self, kernel: &ir::Kernel, cached: Option<&[u8]>) -> Result<Loaded> {
        let id = self.info.id.as_str();
        let raw = &self.handle.raw;
        let rendered = spirv::render(kernel, &self.rest.enabled.target)?;
        dump(kernel, &rendered.words);
        let size = self.subgroup_size(kernel);
        let layout = self.layout(kernel.buffers().count(), rendered.texels.len())?;

        let earlier = cached.and_then(|c| self.unsealed(&rendered.words, size, c));
        // SAFETY: here and below: the device is open, what is handed in lives until the calls return, and the bytes of an
        // earlier cache are those that this very driver gave out.
        let create = |data: &[u8]| unsafe {
            raw.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default().initial_data(data), None)
        };
        let (cache, reused) = match earlier.map(create) {
            Some(Ok(cache)) => (cache, cached),
            _ => (create(&[]).named(id, "vkCreatePipelineCache")?, None),
        };
        let made = self.pipeline(kernel, &rendered, &layout, size, cache);
        let data = unsafe { raw.get_pipeline_cache_data(cache) };
        unsafe { raw.destroy_pipeline_cache(cache, None) };
        let program = Program {
            name: kernel.name.clone(),
            pipeline: made?,
            layout,
            writes: kernel.buffers().map(|(_, _, access)| access.writes()).collect(),
            texels: rendered.texels,
            scalars: kernel.scalar_layout().1 as usize,
            push: rendered.push_bytes as usize,
            handle: self.handle.clone(),
        };
        instance::validated()?;
        let binary = match (reused, data) {
            (Some(cached), _) => cached.to_vec(),
            (None, Ok(data)) if !data.is_empty() => [&self.seal(&rendered.words, size, &data)[..], &data].concat(),
            _ => vec![],
        };
        Ok(Loaded {
            program: RawProgram(self.programs.insert(Arc::new(program))),
            binary,
            resources: Resources {
                workspace: 0,
                shared: u32::try_from(kernel.shared_bytes()).unwrap_or(u32::MAX),
                registers: None,
                subgroup: size,
            },
        })
    }

    fn pipeline(
        &self,
        kernel: &ir::Kernel,
        rendered: &spirv::Rendered,
        layout: &Layout,
        size: Option<u32>,
        cache: vk::PipelineCache,
    ) -> Result<vk::Pipeline> {
        let id = self.info.id.as_str();
        let raw = &self.handle.raw;
        let failed = |call: &str, code: vk::Result| match vk_error::error(id, call, code, 0) {
            e @ (Error::OutOfMemory { .. } | Error::DeviceLost { .. }) => e,
            _ => Error::CompileFailed {
                kernel: kernel.name.clone(),
                device: id.into(),
                rendered: spirv::disassemble(&rendered.words),
                log: format!("{call}: {code}"),
            },
        };
        let entry = CString::new(rendered.entry.as_str())
            .map_err(|e| Error::invalid(format!("kernel {}: its entry point's name: {e}", kernel.name)))?;
        // SAFETY: as in `compile`.
        let module =
            unsafe { raw.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&rendered.words), None) }
                .map_err(|code| failed("vkCreateShaderModule", code))?;
        let mut required = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default();
        let mut stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&entry);
        let largest = size.or(self.info.subgroups.as_ref().map(|s| s.max)).unwrap_or(1);
        if self.rest.enabled.full_subgroups && uses_subgroups(kernel) && kernel.workgroup[0].is_multiple_of(largest) {
            stage = stage.flags(vk::PipelineShaderStageCreateFlags::REQUIRE_FULL_SUBGROUPS);
        }
        if let Some(n) = size {
            required = required.required_subgroup_size(n);
            stage = stage.push_next(&mut required);
        }
        let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout.pipeline);
        let made = unsafe { raw.create_compute_pipelines(cache, &[info], None) };
        unsafe { raw.destroy_shader_module(module, None) };
        match made {
            Ok(pipelines) => pipelines.into_iter().next().ok_or(vk::Result::ERROR_UNKNOWN),
            Err((pipelines, code)) => {
                pipelines.into_iter().for_each(|p| unsafe { raw.destroy_pipeline(p, None) });
                Err(code)
            }
        }
        .map_err(|code| failed("vkCreateComputePipelines", code))
    }

    /// The subgroup size that the kernel's schedule was made for, where it can be had.
    fn subgroup_size(&self, kernel: &ir::Kernel) -> Option<u32> {
        let (asked, there) = (kernel.hints.subgroup?, self.info.subgroups.as_ref()?);
        let fits = self.rest.sized_subgroups
            && asked.is_power_of_two()
            && (there.min..=there.max).contains(&asked)
            && kernel.lanes().div_ceil(asked) <= self.rest.workgroup_subgroups;
        fits.then_some(asked)
    }

    /// The layout of kernels with so many buffers and texels; made once.
    fn layout(&self, buffers: usize, texels: usize) -> Result<Arc<Layout>> {
        let id = self.info.id.as_str();
        let raw = &self.handle.raw;
        let mut layouts = lock(&self.layouts);
        if let Some(l) = layouts.get(&(buffers, texels)) {
            return Ok(l.clone());
        }
        let (storage, texel) = (vk::DescriptorType::STORAGE_BUFFER, vk::DescriptorType::UNIFORM_TEXEL_BUFFER);
        let bindings: Vec<_> = (0..buffers + texels)
            .map(|n| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(n as u32)
                    .descriptor_type(if n < buffers { storage } else { texel })
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: as in `compile`.
        let set = unsafe { raw.create_descriptor_set_layout(&info, None) }.named(id, "vkCreateDescriptorSetLayout")?;
        let sets = [set];
        // Every kernel may have as many scalars as there can be: one layout serves them all.
        let ranges = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .size(self.info.limits.max_scalars)];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&ranges);
        let pipeline = unsafe { raw.create_pipeline_layout(&info, None) }.named(id, "vkCreatePipelineLayout");
        let pipeline = pipeline.inspect_err(|_| unsafe { raw.destroy_descriptor_set_layout(set, None) })?;
        let layout = Arc::new(Layout { set, pipeline, handle: self.handle.clone() });
        layouts.insert((buffers, texels), layout.clone());
        Ok(layout)
    }

    /// What stands before a pipeline's bytes: a hash of them and of what they were made from. A cache may outlive the
    /// printer, and not every driver survives bytes that were altered.
    fn seal(&self, words: &[u32], size: Option<u32>, data: &[u8]) -> [u8; 32] {
        let mut hash = blake3::Hasher::new();
        hash.update(&size.unwrap_or(0).to_le_bytes()).update(&(words.len() as u64).to_le_bytes());
        words.iter().for_each(|w| {
            hash.update(&w.to_le_bytes());
        });
        *hash.update(data).finalize().as_bytes()
    }

    /// The pipeline's bytes, if they are whole, from this module, and their header names this device and driver.
    fn unsealed<'b>(&self, words: &[u32], size: Option<u32>, cached: &'b [u8]) -> Option<&'b [u8]> {
        let (seal, data) = cached.split_at_checked(32)?;
        let header = data.get(..32)?;
        let word = |n: usize| header[4 * n..].first_chunk().map(|b| u32::from_le_bytes(*b));
        let (vendor, device, uuid) = &self.rest.cache;
        let ours = word(1) == Some(vk::PipelineCacheHeaderVersion::ONE.as_raw() as u32)
            && word(2) == Some(*vendor)
            && word(3) == Some(*device)
            && header[16..] == uuid[..];
        (ours && seal == self.seal(words, size, data)).then_some(data)
    }
}

fn uses_subgroups(kernel: &ir::Kernel) -> bool {
    let mut uses = false;
    ir::visit(&kernel.body, &mut |i| {
        uses |= matches!(
            i.op,
            Op::Subgroup { .. }
                | Op::Builtin(Builtin::SubgroupSize | Builtin::SubgroupLane | Builtin::SubgroupId)
                | Op::FragMma { .. }
        );
    });
    uses
}

/// `ANYCHIP_VULKAN_DUMP=<folder>`: every module as a file there, for spirv-val and spirv-dis.
fn dump(kernel: &ir::Kernel, words: &[u32]) {
    let Some(folder) = std::env::var_os("ANYCHIP_VULKAN_DUMP").filter(|f| !f.is_empty()) else { return };
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let hash = blake3::hash(&bytes).to_hex();
    let path = std::path::Path::new(&folder).join(format!("{}-{}.spv", kernel.name, &hash[..12]));
    if let Err(e) = std::fs::write(&path, bytes) {
        eprintln!("anychip: no module is written to {}: {e}", path.display());
    }
}
