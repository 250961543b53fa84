//! Has the device convert numbers of 32 bits without sign to f32, and compares with the nearest f32.

use ash::{Entry, vk};
use std::error::Error;

/// `x[i] = floatBitsToUint(float(x[i]))`, one invocation per number; a line per instruction.
#[rustfmt::skip]
const SHADER: &[u32] = &[
    0x0723_0203, 0x0001_0000, 0, 22, 0,         // magic, version 1.0, number of ids
    0x0002_0011, 1,                             // OpCapability Shader
    0x0003_000e, 0, 1,                          // OpMemoryModel Logical GLSL450
    0x0006_000f, 5, 1, 0x6e69_616d, 0, 2,       // OpEntryPoint GLCompute %1 "main" %2
    0x0006_0010, 1, 17, 1, 1, 1,                // OpExecutionMode %1 LocalSize 1 1 1
    0x0004_0047, 2, 11, 28,                     // OpDecorate %2 BuiltIn GlobalInvocationId
    0x0004_0047, 3, 6, 4,                       // OpDecorate %3 ArrayStride 4
    0x0003_0047, 4, 3,                          // OpDecorate %4 BufferBlock
    0x0005_0048, 4, 0, 35, 0,                   // OpMemberDecorate %4 0 Offset 0
    0x0004_0047, 5, 34, 0,                      // OpDecorate %5 DescriptorSet 0
    0x0004_0047, 5, 33, 0,                      // OpDecorate %5 Binding 0
    0x0002_0013, 6,                             // %6 = OpTypeVoid
    0x0003_0021, 7, 6,                          // %7 = OpTypeFunction %6
    0x0004_0015, 8, 32, 0,                      // %8 = OpTypeInt 32 0
    0x0003_0016, 9, 32,                         // %9 = OpTypeFloat 32
    0x0004_0017, 10, 8, 3,                      // %10 = OpTypeVector %8 3
    0x0004_0020, 11, 1, 10,                     // %11 = OpTypePointer Input %10
    0x0004_003b, 11, 2, 1,                      // %2 = OpVariable %11 Input
    0x0003_001d, 3, 8,                          // %3 = OpTypeRuntimeArray %8
    0x0003_001e, 4, 3,                          // %4 = OpTypeStruct %3
    0x0004_0020, 12, 2, 4,                      // %12 = OpTypePointer Uniform %4
    0x0004_0020, 13, 2, 8,                      // %13 = OpTypePointer Uniform %8
    0x0004_003b, 12, 5, 2,                      // %5 = OpVariable %12 Uniform
    0x0004_002b, 8, 14, 0,                      // %14 = OpConstant %8 0
    0x0005_0036, 6, 1, 0, 7,                    // %1 = OpFunction %6 None %7
    0x0002_00f8, 15,                            // %15 = OpLabel
    0x0004_003d, 10, 16, 2,                     // %16 = OpLoad %10 %2
    0x0005_0051, 8, 17, 16, 0,                  // %17 = OpCompositeExtract %8 %16 0
    0x0006_0041, 13, 18, 5, 14, 17,             // %18 = OpAccessChain %13 %5 %14 %17
    0x0004_003d, 8, 19, 18,                     // %19 = OpLoad %8 %18
    0x0004_0070, 9, 20, 19,                     // %20 = OpConvertUToF %9 %19
    0x0004_007c, 8, 21, 20,                     // %21 = OpBitcast %8 %20
    0x0003_003e, 18, 21,                        // OpStore %18 %21
    0x0001_00fd,                                // OpReturn
    0x0001_0038,                                // OpFunctionEnd
];

fn main() -> Result<(), Box<dyn Error>> {
    // Near ties of the lower 31 bits, and others all over the range.
    let mut x: Vec<u32> = vec![3_705_011_840, 3_705_011_850, 2_147_483_648 + 128, 2_147_483_648 + 129, u32::MAX];
    x.extend((0..1000u32).map(|n| n.wrapping_mul(2_654_435_769)));
    let bytes = 4 * x.len() as u64;
    unsafe {
        let entry = Entry::load()?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
        let chip = *instance.enumerate_physical_devices()?.first().ok_or("no device")?;
        let about = instance.get_physical_device_properties(chip);
        println!("{}", about.device_name_as_c_str()?.to_string_lossy());
        let families = instance.get_physical_device_queue_family_properties(chip);
        let family = families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE));
        let family = family.ok_or("no queue computes")? as u32;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let d = instance.create_device(chip, &vk::DeviceCreateInfo::default().queue_create_infos(&queues), None)?;

        let info = vk::BufferCreateInfo::default().size(bytes).usage(vk::BufferUsageFlags::STORAGE_BUFFER);
        let buffer = d.create_buffer(&info, None)?;
        let needs = d.get_buffer_memory_requirements(buffer);
        let kinds = instance.get_physical_device_memory_properties(chip);
        let wanted = vk::MemoryPropertyFlags::HOST_VISIBLE | vk::MemoryPropertyFlags::HOST_COHERENT;
        let kind = (0..kinds.memory_type_count).find(|n| {
            needs.memory_type_bits >> n & 1 == 1 && kinds.memory_types[*n as usize].property_flags.contains(wanted)
        });
        let info =
            vk::MemoryAllocateInfo::default().allocation_size(needs.size).memory_type_index(kind.ok_or("no memory")?);
        let memory = d.allocate_memory(&info, None)?;
        d.bind_buffer_memory(buffer, memory, 0)?;
        let host = d.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty())?.cast::<u32>();
        host.copy_from_nonoverlapping(x.as_ptr(), x.len());

        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)];
        let layouts =
            [d.create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings), None)?];
        let layout = d.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts), None)?;
        let module = d.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(SHADER), None)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout);
        let made = d.create_compute_pipelines(vk::PipelineCache::null(), &[info], None).map_err(|(_, code)| code)?;

        let sizes = [vk::DescriptorPoolSize::default().ty(vk::DescriptorType::STORAGE_BUFFER).descriptor_count(1)];
        let info = vk::DescriptorPoolCreateInfo::default().max_sets(1).pool_sizes(&sizes);
        let pool = d.create_descriptor_pool(&info, None)?;
        let info = vk::DescriptorSetAllocateInfo::default().descriptor_pool(pool).set_layouts(&layouts);
        let sets = d.allocate_descriptor_sets(&info)?;
        let whole = [vk::DescriptorBufferInfo::default().buffer(buffer).range(vk::WHOLE_SIZE)];
        let write = vk::WriteDescriptorSet::default()
            .dst_set(sets[0])
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .buffer_info(&whole);
        d.update_descriptor_sets(&[write], &[]);

        let commands = d.create_command_pool(&vk::CommandPoolCreateInfo::default().queue_family_index(family), None)?;
        let info = vk::CommandBufferAllocateInfo::default().command_pool(commands).command_buffer_count(1);
        let recorded = d.allocate_command_buffers(&info)?;
        let c = recorded[0];
        d.begin_command_buffer(c, &vk::CommandBufferBeginInfo::default())?;
        d.cmd_bind_pipeline(c, vk::PipelineBindPoint::COMPUTE, made[0]);
        d.cmd_bind_descriptor_sets(c, vk::PipelineBindPoint::COMPUTE, layout, 0, &sets, &[]);
        d.cmd_dispatch(c, x.len() as u32, 1, 1);
        let seen = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ);
        let (from, to) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::HOST);
        d.cmd_pipeline_barrier(c, from, to, vk::DependencyFlags::empty(), &[seen], &[], &[]);
        d.end_command_buffer(c)?;
        let work = [vk::SubmitInfo::default().command_buffers(&recorded)];
        d.queue_submit(d.get_device_queue(family, 0), &work, vk::Fence::null())?;
        d.device_wait_idle()?;

        let got = std::slice::from_raw_parts(host, x.len());
        let wrong: Vec<_> =
            x.iter().zip(got).map(|(x, got)| (*x, f32::from_bits(*got))).filter(|(x, got)| *got != *x as f32).collect();
        println!("{} of {} are not the nearest", wrong.len(), x.len());
        for &(x, got) in wrong.iter().take(5) {
            println!("{x} became {}, the nearest is {}", f64::from(got), f64::from(x as f32));
        }
        // The process ends here, and everything with it.
    }
    Ok(())
}
