//! What wgpu does not tell of a device but its driver does: asked from Vulkan, where wgpu runs on it.

/// What is known beyond wgpu's own answers.
#[derive(Debug, Clone, Default)]
pub struct Native {
    /// The device's UUID, as the Vulkan backend writes it.
    pub uuid: Option<String>,
    /// Bytes of its memory.
    pub memory: Option<u64>,
    /// SPIR-V that it takes.
    pub spirv: Option<(u8, u8)>,
    /// Float controls, for f16, f32, f64: zeros, infinities and NaN are kept; subnormals are; rounded to nearest even.
    pub special: [bool; 3],
    pub subnormals: [bool; 3],
    pub nearest: [bool; 3],
}

#[cfg(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub fn ask(adapter: &wgpu::Adapter) -> Native {
    use ash::vk;
    // SAFETY: nothing is done to the adapter but asking, while wgpu holds it.
    let Some(raw) = (unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }) else { return Native::default() };
    let (vulkan, device) = (raw.shared_instance().raw_instance(), raw.raw_physical_device());
    // SAFETY: here and below: questions about a device of an instance that wgpu holds.
    let basic = unsafe { vulkan.get_physical_device_properties(device) };
    let version = basic.api_version.min(raw.shared_instance().instance_api_version());
    let memory = unsafe { vulkan.get_physical_device_memory_properties(device) };
    let local = |h: &&vk::MemoryHeap| h.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL);
    let mut native = Native {
        memory: memory.memory_heaps_as_slice().iter().filter(local).map(|h| h.size).max(),
        ..Native::default()
    };
    if version < vk::API_VERSION_1_1 {
        return native;
    }
    let mut ids = vk::PhysicalDeviceIDProperties::default();
    let mut float = vk::PhysicalDeviceFloatControlsProperties::default();
    let newer = version >= vk::API_VERSION_1_2;
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut ids);
    if newer {
        all = all.push_next(&mut float);
    }
    unsafe { vulkan.get_physical_device_properties2(device, &mut all) };
    native.uuid = Some(ids.device_uuid.iter().fold("uuid:".to_string(), |s, x| s + &format!("{x:02x}")));
    native.spirv = Some(if newer { (1, 5) } else { (1, 3) });
    let on = |x: vk::Bool32| x == vk::TRUE;
    native.special = [
        on(float.shader_signed_zero_inf_nan_preserve_float16),
        on(float.shader_signed_zero_inf_nan_preserve_float32),
        on(float.shader_signed_zero_inf_nan_preserve_float64),
    ];
    native.subnormals = [
        on(float.shader_denorm_preserve_float16),
        on(float.shader_denorm_preserve_float32),
        on(float.shader_denorm_preserve_float64),
    ];
    native.nearest = [
        on(float.shader_rounding_mode_rte_float16),
        on(float.shader_rounding_mode_rte_float32),
        on(float.shader_rounding_mode_rte_float64),
    ];
    // Modes that must be the same for all widths may not be declared for one alone.
    if float.rounding_mode_independence == vk::ShaderFloatControlsIndependence::NONE
        && !native.nearest.iter().all(|n| *n)
    {
        native.nearest = [false; 3];
    }
    if float.denorm_behavior_independence == vk::ShaderFloatControlsIndependence::NONE
        && !native.subnormals.iter().all(|n| *n)
    {
        native.subnormals = [false; 3];
    }
    native
}

#[cfg(not(any(windows, target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub fn ask(_adapter: &wgpu::Adapter) -> Native {
    Native::default()
}
