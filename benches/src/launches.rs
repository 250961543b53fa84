//! What a captured program costs per launch on Vulkan: a thousand small softmaxes, each of the last one's result, beside a
//! program written by hand with `ash` that records the same kernel as often into one command buffer and submits that.

use crate::{in_turn, tensor};
use anychip::{
    DType, Device, Error, Program, Result, Tensor,
    hal::{
        DeviceInfo,
        device::ScalarArg,
        info::Feature,
        ir::{ParamKind, Role, legal},
        render::spirv,
    },
};
use anychip_kernels::library::{
    Body, Expr, Lanes, Map,
    rows::{Row, Rows, Schedule, rows},
};
use ash::vk;

/// Launches of the program.
pub const LAUNCHES: usize = 1000;
const SHAPE: [usize; 2] = [8, 64];
/// Bytes of each of its tensors.
pub const BYTES: u64 = (SHAPE[0] * SHAPE[1] * 4) as u64;

/// Prints medians of both, in turn, and their ratio.
pub fn beside(device: &Device) -> Result<()> {
    let chip = &device.chain()[0];
    if chip.info().backend != "vulkan" {
        return Err(Error::unsupported(
            format!("launches on {}", device.id()),
            "the hand-written program is for Vulkan",
        ));
    }
    let (program, x) = program(device)?;
    let by_hand = ByHand::new(chip.info())?;
    let mut ours = || {
        let out = program.run(std::slice::from_ref(&x))?;
        device.synchronize()?;
        drop(out);
        Ok(())
    };
    let t = in_turn(&mut [&mut ours, &mut || by_hand.run()])?;
    println!(
        "{}",
        serde_json::json!({"op": "1000 dependent launches", "device": device.id(), "ms": t[0], "ash_ms": t[1], "ratio": t[0] / t[1]})
    );
    Ok(())
}

/// Our program of a thousand launches, and what it takes.
pub fn program(device: &Device) -> Result<(Program, Tensor)> {
    let x = tensor(&SHAPE, 1, device)?;
    let program = Program::new(device, std::slice::from_ref(&x), |i| {
        let mut y = i[0].clone();
        for _ in 0..LAUNCHES {
            y = y.softmax(-1)?;
        }
        Ok(vec![y])
    })?;
    Ok((program, x))
}

/// The kernel and its scalars, as the planner makes it for the device.
pub fn kernel(info: &DeviceInfo) -> Result<(anychip::hal::ir::Kernel, Vec<u8>, u32)> {
    let dense = |strides: &[isize]| Map { strides: strides.to_vec(), offset: 0 };
    let body = Body {
        slots: vec![DType::F32],
        maps: vec![dense(&[SHAPE[1] as isize, 1])],
        exprs: vec![(Expr::Read { slot: 0, map: 0 }, DType::F32), (Expr::Anchor, DType::F32)],
    };
    let work = Rows {
        row: Row::Softmax,
        body,
        prologue: 0,
        affine: vec![],
        epilogue: 1,
        dims: SHAPE.to_vec(),
        out: dense(&[SHAPE[1] as isize, 1]),
        dtype: DType::F32,
        out_dtype: DType::F32,
    };
    let made = rows(work, Schedule { lanes: Lanes::of(info), max_shared: info.limits.max_shared })?;
    let legal = legal::legalize(&made.kernel, &legal::Target { info, idx_bits: 32, checked: false })?;
    let (slots, bytes) = legal.scalar_layout();
    let mut scalars = vec![0; bytes.next_multiple_of(4) as usize];
    let mut given = made.scalars.iter();
    for slot in slots {
        let ParamKind::Scalar { role, .. } = legal.params[slot.param.at()].kind else { continue };
        let value = match role {
            Role::User => match given.next() {
                Some(ScalarArg::Idx(n)) => *n as u32,
                Some(ScalarArg::F32(x)) => x.to_bits(),
                other => return Err(Error::invalid(format!("launches: a scalar {other:?} was not expected"))),
            },
            Role::Offset(_) => 0,
            // Half of a 64-bit number on devices that have none: nothing here is that long.
            Role::High(_) => 0,
            Role::Len(_) => (BYTES / 4) as u32,
            Role::Groups => made.grid as u32,
        };
        scalars[slot.offset as usize..][..4].copy_from_slice(&value.to_le_bytes());
    }
    Ok((legal, scalars, made.grid as u32))
}

/// Everything that the program holds; it ends with the process.
struct ByHand {
    device: ash::Device,
    queue: vk::Queue,
    commands: vk::CommandBuffer,
    fence: vk::Fence,
    _entry: ash::Entry,
    _instance: ash::Instance,
}

fn failed(e: impl std::fmt::Debug) -> Error {
    Error::invalid(format!("launches: the hand-written program failed: {e:?}"))
}

impl ByHand {
    fn new(info: &DeviceInfo) -> Result<ByHand> {
        let (kernel, scalars, groups) = kernel(info)?;
        let has = |f: Feature| info.has(f);
        let target = spirv::Target {
            version: (1, 3),
            subgroup: has(Feature::Subgroup),
            subgroup_arithmetic: has(Feature::SubgroupReduce),
            ..spirv::Target::default()
        };
        let module = spirv::render(&kernel, &target)?;
        // SAFETY: calls in the order that Vulkan asks for, with handles that live as long as the process.
        unsafe { ByHand::record(info, &module.words, &scalars, groups).map_err(failed) }
    }

    unsafe fn record(
        info: &DeviceInfo,
        words: &[u32],
        scalars: &[u8],
        groups: u32,
    ) -> std::result::Result<ByHand, Box<dyn std::error::Error>> {
        let ordinal: usize = info.id.rsplit(':').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let entry = unsafe { ash::Entry::load()? };
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let instance =
            unsafe { entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)? };
        let chip = *unsafe { instance.enumerate_physical_devices()? }.get(ordinal).ok_or("the device is gone")?;
        let priority = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&priority)];
        let made = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
        let device = unsafe { instance.create_device(chip, &made, None)? };
        let queue = unsafe { device.get_device_queue(0, 0) };
        let kinds = unsafe { instance.get_physical_device_memory_properties(chip) };
        let visible = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let mut buffers = vec![];
        for _ in 0..2 {
            let usage = vk::BufferUsageFlags::STORAGE_BUFFER;
            let buffer =
                unsafe { device.create_buffer(&vk::BufferCreateInfo::default().size(BYTES).usage(usage), None)? };
            let needs = unsafe { device.get_buffer_memory_requirements(buffer) };
            let kind = (0..kinds.memory_type_count)
                .find(|&n| {
                    needs.memory_type_bits & 1 << n != 0
                        && kinds.memory_types[n as usize].property_flags.contains(visible)
                })
                .ok_or("no memory that the host sees")?;
            let asked = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(kind);
            let memory = unsafe { device.allocate_memory(&asked, None)? };
            unsafe { device.bind_buffer_memory(buffer, memory, 0)? };
            buffers.push(buffer);
        }
        let binding = |n| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(n)
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let bindings = [binding(0), binding(1)];
        let set_layout = unsafe {
            device
                .create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings), None)?
        };
        let set_layouts = [set_layout, set_layout];
        let pushed =
            [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(scalars.len() as u32)];
        let layout =
            vk::PipelineLayoutCreateInfo::default().set_layouts(&set_layouts[..1]).push_constant_ranges(&pushed);
        let layout = unsafe { device.create_pipeline_layout(&layout, None)? };
        let module = unsafe { device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(words), None)? };
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let pipeline = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout);
        let pipeline = unsafe { device.create_compute_pipelines(vk::PipelineCache::null(), &[pipeline], None) }
            .map_err(|(_, e)| e)?[0];
        let sizes = [vk::DescriptorPoolSize { ty: vk::DescriptorType::STORAGE_BUFFER, descriptor_count: 4 }];
        let pool = vk::DescriptorPoolCreateInfo::default().max_sets(2).pool_sizes(&sizes);
        let pool = unsafe { device.create_descriptor_pool(&pool, None)? };
        let sets = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&set_layouts);
        let sets = unsafe { device.allocate_descriptor_sets(&sets)? };
        for (n, &set) in sets.iter().enumerate() {
            // From one to the other and back.
            for (binding, buffer) in [(0, buffers[n]), (1, buffers[1 - n])] {
                let whole = [vk::DescriptorBufferInfo { buffer, offset: 0, range: vk::WHOLE_SIZE }];
                let write = vk::WriteDescriptorSet::default()
                    .dst_set(set)
                    .dst_binding(binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .buffer_info(&whole);
                unsafe { device.update_descriptor_sets(&[write], &[]) };
            }
        }
        let pool = unsafe { device.create_command_pool(&vk::CommandPoolCreateInfo::default(), None)? };
        let asked = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        let commands = unsafe { device.allocate_command_buffers(&asked)? }[0];
        let seen = [vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE)];
        unsafe {
            device.begin_command_buffer(commands, &vk::CommandBufferBeginInfo::default())?;
            let point = vk::PipelineBindPoint::COMPUTE;
            device.cmd_bind_pipeline(commands, point, pipeline);
            device.cmd_push_constants(commands, layout, vk::ShaderStageFlags::COMPUTE, 0, scalars);
            for n in 0..LAUNCHES {
                device.cmd_bind_descriptor_sets(commands, point, layout, 0, &[sets[n % 2]], &[]);
                device.cmd_dispatch(commands, groups, 1, 1);
                let stage = vk::PipelineStageFlags::COMPUTE_SHADER;
                device.cmd_pipeline_barrier(commands, stage, stage, vk::DependencyFlags::empty(), &seen, &[], &[]);
            }
            device.end_command_buffer(commands)?;
            let fence = device.create_fence(&vk::FenceCreateInfo::default(), None)?;
            Ok(ByHand { device, queue, commands, fence, _entry: entry, _instance: instance })
        }
    }

    fn run(&self) -> Result<()> {
        let commands = [self.commands];
        let work = [vk::SubmitInfo::default().command_buffers(&commands)];
        // SAFETY: the fence is waited for before the commands are submitted again.
        unsafe {
            self.device.queue_submit(self.queue, &work, self.fence).map_err(failed)?;
            self.device.wait_for_fences(&[self.fence], true, u64::MAX).map_err(failed)?;
            self.device.reset_fences(&[self.fence]).map_err(failed)
        }
    }
}
