//! What 1,000 dependent small launches cost: recorded and run by anychip, and by a program written by hand on `ash` with one
//! command buffer that was recorded before. Same kernel, same driver, same process, in turns; prints a JSON line.
//!
//! `cargo run --release -p anychip-vulkan --example launches [ORDINAL]`

use anychip_hal::{
    DType, Device, Driver, Error, Result,
    device::{Grid, Step},
    ir::*,
    render::spirv,
};
use anychip_vulkan::VulkanDriver;
use ash::vk;
use std::time::Instant;

/// Launches of a run; elements that each works on.
const LAUNCHES: usize = 1000;
const ELEMENTS: usize = 256;

/// `x[i] = x[i] · 1.0001 + 1`.
fn kernel() -> Kernel {
    let mut b = Builder::new("step", [64, 1, 1]);
    let x = b.buffer("x", DType::F32, Access::ReadWrite);
    let i = b.builtin(Builtin::GlobalId(0));
    let (v, m, one) = (b.load(Place::Buffer(x), i), b.f32(1.0001), b.f32(1.0));
    let v = b.mul_add(v, m, one);
    b.store(Place::Buffer(x), i, v);
    b.finish().expect("a well-formed kernel")
}

fn failed(what: &str) -> impl Fn(vk::Result) -> Error {
    move |code| Error::Backend {
        backend: "by hand".into(),
        code: code.as_raw().into(),
        message: format!("{what}: {code}"),
    }
}

/// The hand-written program. Nothing is given back: the process ends when it has measured.
struct ByHand {
    device: ash::Device,
    queue: vk::Queue,
    commands: vk::CommandBuffer,
    fence: vk::Fence,
    memory: *const f32,
}

impl ByHand {
    /// Records the launches once. `words`: a module with one storage buffer and these push constants.
    ///
    /// # Safety
    /// The loader and the drivers of this machine are trusted; the module must be valid.
    unsafe fn new(ordinal: usize, words: &[u32], scalars: &[u8]) -> Result<ByHand> {
        unsafe {
            let entry = ash::Entry::load().map_err(|e| Error::invalid(e.to_string()))?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None).map_err(failed("vkCreateInstance"))?;
            let devices = instance.enumerate_physical_devices().map_err(failed("vkEnumeratePhysicalDevices"))?;
            let physical = *devices.get(ordinal).ok_or_else(|| Error::invalid("there are fewer devices"))?;
            let families = instance.get_physical_device_queue_family_properties(physical);
            let family = families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE));
            let family = family.ok_or_else(|| Error::invalid("no queue computes"))? as u32;
            let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
            let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues);
            let device = instance.create_device(physical, &info, None).map_err(failed("vkCreateDevice"))?;
            let queue = device.get_device_queue(family, 0);

            let info =
                vk::BufferCreateInfo::default().size(4 * ELEMENTS as u64).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
            let buffer = device.create_buffer(&info, None).map_err(failed("vkCreateBuffer"))?;
            let needs = device.get_buffer_memory_requirements(buffer);
            let kinds = instance.get_physical_device_memory_properties(physical);
            let seen = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
            let kind = kinds
                .memory_types_as_slice()
                .iter()
                .enumerate()
                .position(|(n, t)| needs.memory_type_bits & (1 << n) != 0 && t.property_flags.contains(seen));
            let kind = kind.ok_or_else(|| Error::invalid("the host sees no memory"))? as u32;
            let info = vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(kind);
            let memory = device.allocate_memory(&info, None).map_err(failed("vkAllocateMemory"))?;
            device.bind_buffer_memory(buffer, memory, 0).map_err(failed("vkBindBufferMemory"))?;
            let mapped =
                device.map_memory(memory, 0, vk::WHOLE_SIZE, Default::default()).map_err(failed("vkMapMemory"))?;
            std::ptr::write_bytes(mapped.cast::<u8>(), 0, 4 * ELEMENTS);

            let binding = [vk::DescriptorSetLayoutBinding::default()
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)];
            let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&binding);
            let layouts =
                [device.create_descriptor_set_layout(&info, None).map_err(failed("vkCreateDescriptorSetLayout"))?];
            let sizes = [vk::DescriptorPoolSize::default().ty(vk::DescriptorType::STORAGE_BUFFER).descriptor_count(1)];
            let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
            let pool = device.create_descriptor_pool(&info, None).map_err(failed("vkCreateDescriptorPool"))?;
            let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
            let sets = device.allocate_descriptor_sets(&info).map_err(failed("vkAllocateDescriptorSets"))?;
            let whole = [vk::DescriptorBufferInfo::default().buffer(buffer).range(vk::WHOLE_SIZE)];
            let write = vk::WriteDescriptorSet::default()
                .dst_set(sets[0])
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .buffer_info(&whole);
            device.update_descriptor_sets(&[write], &[]);

            let ranges = [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(64)];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts).push_constant_ranges(&ranges);
            let layout = device.create_pipeline_layout(&info, None).map_err(failed("vkCreatePipelineLayout"))?;
            let info = vk::ShaderModuleCreateInfo::default().code(words);
            let module = device.create_shader_module(&info, None).map_err(failed("vkCreateShaderModule"))?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
            let pipelines = device
                .create_compute_pipelines(vk::PipelineCache::null(), &info, None)
                .map_err(|(_, code)| failed("vkCreateComputePipelines")(code))?;

            let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
            let pool = device.create_command_pool(&info, None).map_err(failed("vkCreateCommandPool"))?;
            let info = vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
            let commands = device.allocate_command_buffers(&info).map_err(failed("vkAllocateCommandBuffers"))?[0];
            let info = vk::CommandBufferBeginInfo::default();
            device.begin_command_buffer(commands, &info).map_err(failed("vkBeginCommandBuffer"))?;
            let compute = vk::PipelineBindPoint::COMPUTE;
            device.cmd_bind_pipeline(commands, compute, pipelines[0]);
            device.cmd_bind_descriptor_sets(commands, compute, layout, 0, &sets, &[]);
            device.cmd_push_constants(commands, layout, vk::ShaderStageFlags::COMPUTE, 0, scalars);
            let barrier = [vk::MemoryBarrier::default()
                .src_access_mask(vk::AccessFlags::SHADER_WRITE)
                .dst_access_mask(vk::AccessFlags::SHADER_READ | vk::AccessFlags::SHADER_WRITE)];
            let at = vk::PipelineStageFlags::COMPUTE_SHADER;
            for _ in 0..LAUNCHES {
                device.cmd_dispatch(commands, ELEMENTS as u32 / 64, 1, 1);
                device.cmd_pipeline_barrier(commands, at, at, vk::DependencyFlags::empty(), &barrier, &[], &[]);
            }
            device.end_command_buffer(commands).map_err(failed("vkEndCommandBuffer"))?;
            let fence = device.create_fence(&Default::default(), None).map_err(failed("vkCreateFence"))?;
            // The loader and the instance stay until the process ends.
            std::mem::forget((entry, instance));
            Ok(ByHand { device, queue, commands, fence, memory: mapped.cast() })
        }
    }

    fn run(&self) -> Result<()> {
        let commands = [self.commands];
        let work = vk::SubmitInfo::default().command_buffers(&commands);
        // SAFETY: the work before has ended, since it was waited for.
        unsafe {
            self.device.queue_submit(self.queue, &[work], self.fence).map_err(failed("vkQueueSubmit"))?;
            self.device.wait_for_fences(&[self.fence], true, u64::MAX).map_err(failed("vkWaitForFences"))?;
            self.device.reset_fences(&[self.fence]).map_err(failed("vkResetFences"))
        }
    }
}

fn main() -> Result<()> {
    let ordinal = std::env::args().nth(1).map_or(Ok(0), |n| n.parse()).map_err(|_| Error::invalid("[ORDINAL]"))?;
    let device = Device::new(VulkanDriver::new().open(ordinal)?);
    let kernel = kernel();
    let buffer = device.alloc_from(&[0; 4 * ELEMENTS])?;
    // SAFETY: as many lanes as the buffer has elements.
    let program = unsafe { device.kernel_unchecked(&kernel)? };
    let launch = Step::Launch {
        program,
        grid: Grid::covering(ELEMENTS as u64, 64),
        bindings: vec![buffer.all()],
        scalars: vec![],
    };
    let recorded = device.record(vec![launch; LAUNCHES])?;

    let target = legal::Target { info: device.info(), idx_bits: 32, checked: false };
    let legal = legal::legalize(&kernel, &target)?;
    let words = spirv::render(&legal, &spirv::Target { version: (1, 3), ..Default::default() })?.words;
    // The hidden scalars: the binding begins at its first element.
    let (slots, bytes) = legal.scalar_layout();
    let mut scalars = vec![0u8; bytes.next_multiple_of(4) as usize];
    for s in slots {
        if let ParamKind::Scalar { role: Role::Groups, .. } = legal.params[s.param.at()].kind {
            scalars[s.offset as usize..][..4].copy_from_slice(&(ELEMENTS as u32 / 64).to_le_bytes());
        }
    }
    // SAFETY: the module is what anychip itself would load.
    let by_hand = unsafe { ByHand::new(ordinal as usize, &words, &scalars)? };

    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..60 {
        let begin = Instant::now();
        device.run(&recorded)?.wait()?;
        let first = begin.elapsed();
        by_hand.run()?;
        let second = begin.elapsed() - first;
        // The first rounds compile and wake.
        if round >= 10 {
            ours.push(first.as_secs_f64() * 1e6);
            theirs.push(second.as_secs_f64() * 1e6);
        }
    }
    let mut bytes = vec![0; 4 * ELEMENTS];
    device.download(&buffer, 0, &mut bytes)?;
    // SAFETY: the buffer stays mapped, and its work has ended.
    let same = unsafe { by_hand.memory.read() };
    assert_eq!(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]), same, "the two do not compute the same");
    let middle = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[0])
    };
    let ((a, a_min), (b, b_min)) = (middle(&mut ours), middle(&mut theirs));
    println!(
        "{{\"bench\":\"launches\",\"device\":\"{}\",\"launches\":{LAUNCHES},\"ours_us\":{a:.0},\"ours_min_us\":{a_min:.0},\
         \"by_hand_us\":{b:.0},\"by_hand_min_us\":{b_min:.0},\"ratio\":{:.3}}}",
        device.info().identity.name,
        a / b
    );
    Ok(())
}
