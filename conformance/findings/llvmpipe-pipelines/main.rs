//! Makes the same compute pipeline and destroys it, again and again, and prints what the process holds.
//!
//! The shader does nothing. Everything that is made is destroyed in the same round: module and pipeline, and with
//! the argument `device` the logical device too. With `submit` an empty submission follows each round; with `cache`
//! a pipeline cache is used.

use ash::{Entry, Instance, vk};
use std::error::Error;

/// `#version 450 / layout(local_size_x = 1) in; void main() {}`, a line per instruction.
#[rustfmt::skip]
const SHADER: &[u32] = &[
    0x0723_0203, 0x0001_0000, 0, 6, 0,          // magic, version 1.0, ids below 6
    0x0002_0011, 1,                             // OpCapability Shader
    0x0003_000e, 0, 1,                          // OpMemoryModel Logical GLSL450
    0x0005_000f, 5, 3, 0x6e69_616d, 0,          // OpEntryPoint GLCompute %3 "main"
    0x0006_0010, 3, 17, 1, 1, 1,                // OpExecutionMode %3 LocalSize 1 1 1
    0x0002_0013, 1,                             // %1 = OpTypeVoid
    0x0003_0021, 2, 1,                          // %2 = OpTypeFunction %1
    0x0005_0036, 1, 3, 0, 2,                    // %3 = OpFunction %1 None %2
    0x0002_00f8, 4,                             // %4 = OpLabel
    0x0001_00fd,                                // OpReturn
    0x0001_0038,                                // OpFunctionEnd
];

/// A logical device with one queue of the first family that computes.
unsafe fn open(instance: &Instance, chip: vk::PhysicalDevice) -> Result<ash::Device, Box<dyn Error>> {
    let families = unsafe { instance.get_physical_device_queue_family_properties(chip) };
    let computes = |f: &vk::QueueFamilyProperties| f.queue_flags.contains(vk::QueueFlags::COMPUTE);
    let family = families.iter().position(computes).ok_or("no queue computes")?;
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family as u32).queue_priorities(&[1.0])];
    Ok(unsafe { instance.create_device(chip, &vk::DeviceCreateInfo::default().queue_create_infos(&queues), None) }?)
}

/// A pipeline made and destroyed.
unsafe fn round(d: &ash::Device, layout: vk::PipelineLayout, cache: vk::PipelineCache) -> Result<(), Box<dyn Error>> {
    unsafe {
        let module = d.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(SHADER), None)?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(c"main");
        let info = vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout);
        let made = d.create_compute_pipelines(cache, &[info], None).map_err(|(_, code)| code)?;
        d.destroy_shader_module(module, None);
        made.into_iter().for_each(|p| d.destroy_pipeline(p, None));
    }
    Ok(())
}

/// KiB that the process holds.
fn resident() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    Ok(text.split(' ').nth(1).ok_or("statm")?.parse::<u64>()? * 4)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    unsafe {
        let entry = Entry::load()?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
        let chip = *instance.enumerate_physical_devices()?.first().ok_or("no device")?;
        let about = instance.get_physical_device_properties(chip);
        println!("{}", about.device_name_as_c_str()?.to_string_lossy());

        let mut d = open(&instance, chip)?;
        let mut layout = d.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default(), None)?;
        let mut cache = vk::PipelineCache::null();
        if mode == "cache" {
            cache = d.create_pipeline_cache(&vk::PipelineCacheCreateInfo::default(), None)?;
        }
        let mut before = 0;
        for n in 0..=2000 {
            round(&d, layout, cache)?;
            if mode == "device" {
                d.destroy_pipeline_layout(layout, None);
                d.destroy_device(None);
                d = open(&instance, chip)?;
                layout = d.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default(), None)?;
            }
            if mode == "submit" {
                d.queue_submit(d.get_device_queue(0, 0), &[vk::SubmitInfo::default()], vk::Fence::null())?;
                d.device_wait_idle()?;
            }
            if n == 100 {
                before = resident()?;
            }
            if n > 0 && n % 500 == 0 {
                println!("{n} pipelines: {} KiB", resident()?);
            }
        }
        println!("{:.1} KiB each after the first 100", (resident()? - before) as f64 / 1900.0);
        d.destroy_pipeline_cache(cache, None);
        d.destroy_pipeline_layout(layout, None);
        d.destroy_device(None);
        instance.destroy_instance(None);
    }
    Ok(())
}
