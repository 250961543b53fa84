//! Has the device round doubles to whole numbers by `Trunc`, `RoundEven`, `Floor` and `Ceil` of GLSL.std.450, and compares.

use ash::{Entry, vk};
use std::error::Error;

/// `x[i] = way(x[i])`, one invocation per number; a line per instruction.
#[rustfmt::skip]
fn shader(way: u32) -> Vec<u32> {
    vec![
        0x0723_0203, 0x0001_0000, 0, 22, 0,                                 // magic, version 1.0, ids below 22
        0x0002_0011, 1,                                                     // OpCapability Shader
        0x0002_0011, 10,                                                    // OpCapability Float64
        0x0006_000b, 1, 0x4c53_4c47, 0x6474_732e, 0x3035_342e, 0,           // %1 = OpExtInstImport "GLSL.std.450"
        0x0003_000e, 0, 1,                                                  // OpMemoryModel Logical GLSL450
        0x0006_000f, 5, 2, 0x6e69_616d, 0, 3,                               // OpEntryPoint GLCompute %2 "main" %3
        0x0006_0010, 2, 17, 32, 1, 1,                                       // OpExecutionMode %2 LocalSize 32 1 1
        0x0004_0047, 3, 11, 28,                                             // OpDecorate %3 BuiltIn GlobalInvocationId
        0x0004_0047, 4, 6, 8,                                               // OpDecorate %4 ArrayStride 8
        0x0003_0047, 5, 3,                                                  // OpDecorate %5 BufferBlock
        0x0005_0048, 5, 0, 35, 0,                                           // OpMemberDecorate %5 0 Offset 0
        0x0004_0047, 6, 34, 0,                                              // OpDecorate %6 DescriptorSet 0
        0x0004_0047, 6, 33, 0,                                              // OpDecorate %6 Binding 0
        0x0002_0013, 7,                                                     // %7 = OpTypeVoid
        0x0003_0021, 8, 7,                                                  // %8 = OpTypeFunction %7
        0x0004_0015, 9, 32, 0,                                              // %9 = OpTypeInt 32 0
        0x0003_0016, 10, 64,                                                // %10 = OpTypeFloat 64
        0x0004_0017, 11, 9, 3,                                              // %11 = OpTypeVector %9 3
        0x0004_0020, 12, 1, 11,                                             // %12 = OpTypePointer Input %11
        0x0004_003b, 12, 3, 1,                                              // %3 = OpVariable %12 Input
        0x0003_001d, 4, 10,                                                 // %4 = OpTypeRuntimeArray %10
        0x0003_001e, 5, 4,                                                  // %5 = OpTypeStruct %4
        0x0004_0020, 13, 2, 5,                                              // %13 = OpTypePointer Uniform %5
        0x0004_0020, 14, 2, 10,                                             // %14 = OpTypePointer Uniform %10
        0x0004_003b, 13, 6, 2,                                              // %6 = OpVariable %13 Uniform
        0x0004_002b, 9, 15, 0,                                              // %15 = OpConstant %9 0
        0x0005_0036, 7, 2, 0, 8,                                            // %2 = OpFunction %7 None %8
        0x0002_00f8, 16,                                                    // %16 = OpLabel
        0x0004_003d, 11, 17, 3,                                             // %17 = OpLoad %11 %3
        0x0005_0051, 9, 18, 17, 0,                                          // %18 = OpCompositeExtract %9 %17 0
        0x0006_0041, 14, 19, 6, 15, 18,                                     // %19 = OpAccessChain %14 %6 %15 %18
        0x0004_003d, 10, 20, 19,                                            // %20 = OpLoad %10 %19
        0x0006_000c, 10, 21, 1, way, 20,                                    // %21 = OpExtInst %10 %1 WAY %20
        0x0003_003e, 19, 21,                                                // OpStore %19 %21
        0x0001_00fd,                                                        // OpReturn
        0x0001_0038,                                                        // OpFunctionEnd
    ]
}

fn main() -> Result<(), Box<dyn Error>> {
    let ways: [(&str, u32, fn(f64) -> f64); 4] = [
        ("Trunc", 3, f64::trunc),
        ("RoundEven", 2, f64::round_ties_even),
        ("Floor", 8, f64::floor),
        ("Ceil", 9, f64::ceil),
    ];
    for (name, number, want) in ways {
        let mut x: Vec<f64> = vec![-1.5, 0.5, 2.5, -0.3, -121_194_416.664_7, 115_876_885_578.476_2];
        // Large and small, all with a fraction.
        x.extend((0..250).map(|n| (f64::from(n) - 125.0) * 1.37 * 3f64.powi(n % 20)));
        let got = run(&shader(number), &x)?;
        let wrong: Vec<_> = x.iter().zip(&got).filter(|&(&x, &got)| got != want(x)).collect();
        println!("{name}: {} of {} are wrong", wrong.len(), x.len());
        for &(&x, got) in wrong.iter().take(3) {
            println!("  of {x:?} is {got:?}, expected {:?}", want(x));
        }
    }
    Ok(())
}

/// The numbers after the shader.
fn run(shader: &[u32], x: &[f64]) -> Result<Vec<f64>, Box<dyn Error>> {
    let bytes = 8 * x.len() as u64;
    unsafe {
        let entry = Entry::load()?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
        let chip = *instance.enumerate_physical_devices()?.first().ok_or("no device")?;
        let about = instance.get_physical_device_properties(chip);
        eprintln!("{}", about.device_name_as_c_str()?.to_string_lossy());
        let families = instance.get_physical_device_queue_family_properties(chip);
        let family = families.iter().position(|f| f.queue_flags.contains(vk::QueueFlags::COMPUTE));
        let family = family.ok_or("no queue computes")? as u32;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])];
        let features = vk::PhysicalDeviceFeatures::default().shader_float64(true);
        let info = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_features(&features);
        let d = instance.create_device(chip, &info, None)?;

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
        let host = d.map_memory(memory, 0, vk::WHOLE_SIZE, vk::MemoryMapFlags::empty())?.cast::<f64>();
        host.copy_from_nonoverlapping(x.as_ptr(), x.len());

        let bindings = [vk::DescriptorSetLayoutBinding::default()
            .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
            .descriptor_count(1)
            .stage_flags(vk::ShaderStageFlags::COMPUTE)];
        let layouts =
            [d.create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings), None)?];
        let layout = d.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&layouts), None)?;
        let module = d.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(shader), None)?;
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
        d.cmd_dispatch(c, x.len() as u32 / 32, 1, 1);
        let seen = vk::MemoryBarrier::default()
            .src_access_mask(vk::AccessFlags::SHADER_WRITE)
            .dst_access_mask(vk::AccessFlags::HOST_READ);
        let (from, to) = (vk::PipelineStageFlags::COMPUTE_SHADER, vk::PipelineStageFlags::HOST);
        d.cmd_pipeline_barrier(c, from, to, vk::DependencyFlags::empty(), &[seen], &[], &[]);
        d.end_command_buffer(c)?;
        let work = [vk::SubmitInfo::default().command_buffers(&recorded)];
        d.queue_submit(d.get_device_queue(family, 0), &work, vk::Fence::null())?;
        d.device_wait_idle()?;

        // The process ends soon, and everything with it.
        Ok(std::slice::from_raw_parts(host, x.len()).to_vec())
    }
}
