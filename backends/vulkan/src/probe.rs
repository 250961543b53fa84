//! What a device is and can do, asked from its driver.

use crate::{
    NAME,
    features::{self, Enabled, Features, Offered},
    instance::{Instance, VERSION},
    quirks,
    vk_error::Named,
};
use anychip_hal::{
    DType, DeviceInfo, Error, Memory, Result,
    info::{
        Arithmetic, Clock, DeviceClass, Feature, FragmentShape, Identity, Limits, MemoryInfo, Rounding, Subgroups,
        Subnormals, TypeSupport, host_processor,
    },
    render::spirv,
};
use ash::{amd, arm, ext, khr, nv, vk};
use std::collections::{BTreeMap, BTreeSet};

/// Most logical queues: one for work, one for copies beside it.
const QUEUES: u32 = 2;
/// Buffers of one kernel, where the device sets a higher limit.
const BINDINGS: u32 = 64;
/// Bytes of scalars, where the device sets a higher limit.
const SCALARS: u32 = 4096;

/// Buffers that a kernel may read as texels: none where not every binding fits as texels of one word.
fn texels(limits: &vk::PhysicalDeviceLimits) -> u32 {
    match limits.max_texel_buffer_elements >= limits.max_storage_buffer_range / 4 {
        true => limits
            .max_per_stage_descriptor_sampled_images
            .min(limits.max_descriptor_set_sampled_images)
            .min(limits.max_per_stage_resources.saturating_sub(BINDINGS))
            .min(BINDINGS),
        false => 0,
    }
}

/// Numbers of 32 bits that processors permute in one register by one instruction (AVX2).
const PERMUTED: u32 = 8;

/// Everything asked from a device.
pub struct Probed {
    /// For the world.
    pub info: DeviceInfo,
    /// For this backend.
    pub rest: Rest,
    /// What is switched on when it is opened.
    pub switched: Features,
}

/// What only this backend needs to know.
pub struct Rest {
    /// What it is opened with.
    pub enabled: Enabled,
    /// The queue family that is used.
    pub family: u32,
    /// Bits of a timestamp that count; nanoseconds of a tick.
    pub timestamps: (u32, f32),
    /// In the beginning of every pipeline cache of this device: vendor, device, UUID.
    pub cache: (u32, u32, [u8; 16]),
    /// True where subgroups of compute kernels may be given a size.
    pub sized_subgroups: bool,
    /// Subgroups of one workgroup whose size is given.
    pub workgroup_subgroups: u32,
    /// What is destroyed is given back at the next submission.
    pub late_destroy: bool,
}

/// Asks a device. An error says why it cannot be used; it hides no other device.
pub fn probe(instance: &Instance, device: vk::PhysicalDevice, ordinal: u32) -> Result<Probed> {
    let id = format!("{NAME}:{ordinal}");
    let vk = &instance.raw;
    // SAFETY: here and below: questions about a device of an instance that lives as long as the process.
    let basic = unsafe { vk.get_physical_device_properties(device) };
    let name = basic.device_name_as_c_str().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let refuse = |why: String| Err(Error::unsupported(format!("{id} ({name})"), why));
    let version =
        |v: u32| format!("{}.{}.{}", vk::api_version_major(v), vk::api_version_minor(v), vk::api_version_patch(v));
    if basic.api_version < vk::API_VERSION_1_1 {
        return refuse(format!("it has Vulkan {}; 1.1 is needed", version(basic.api_version)));
    }
    if cfg!(target_endian = "big") {
        return refuse("buffers are little-endian, this host is not".into());
    }
    let extensions = unsafe { vk.enumerate_device_extension_properties(device) }
        .named(&id, "vkEnumerateDeviceExtensionProperties")?
        .iter()
        .filter_map(|e| e.extension_name_as_c_str().ok().map(Into::into))
        .collect();
    let offered = Offered::new(basic.api_version.min(VERSION), extensions);

    let mut ids = vk::PhysicalDeviceIDProperties::default();
    let mut subgroup = vk::PhysicalDeviceSubgroupProperties::default();
    let mut maintenance3 = vk::PhysicalDeviceMaintenance3Properties::default();
    let mut maintenance4 = vk::PhysicalDeviceMaintenance4Properties::default();
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut float = vk::PhysicalDeviceFloatControlsProperties::default();
    let mut sizes = vk::PhysicalDeviceSubgroupSizeControlProperties::default();
    let mut pci = vk::PhysicalDevicePCIBusInfoPropertiesEXT::default();
    let mut matrices = vk::PhysicalDeviceCooperativeMatrixPropertiesKHR::default();
    let mut sms = vk::PhysicalDeviceShaderSMBuiltinsPropertiesNV::default();
    let mut cus = vk::PhysicalDeviceShaderCoreProperties2AMD::default();
    let mut cores = vk::PhysicalDeviceShaderCoreBuiltinsPropertiesARM::default();
    let has_float = offered.knows(vk::API_VERSION_1_2, khr::shader_float_controls::NAME);
    let has_pci = offered.has(ext::pci_bus_info::NAME);
    let has_maintenance4 = offered.knows(vk::API_VERSION_1_3, khr::maintenance4::NAME);
    let mut all = vk::PhysicalDeviceProperties2::default()
        .push_next(&mut ids)
        .push_next(&mut subgroup)
        .push_next(&mut maintenance3);
    if has_maintenance4 {
        all = all.push_next(&mut maintenance4);
    }
    if offered.knows(vk::API_VERSION_1_2, khr::driver_properties::NAME) {
        all = all.push_next(&mut driver);
    }
    if has_float {
        all = all.push_next(&mut float);
    }
    if offered.knows(vk::API_VERSION_1_3, ext::subgroup_size_control::NAME) {
        all = all.push_next(&mut sizes);
    }
    if has_pci {
        all = all.push_next(&mut pci);
    }
    if offered.has(khr::cooperative_matrix::NAME) {
        all = all.push_next(&mut matrices);
    }
    if offered.has(nv::shader_sm_builtins::NAME) {
        all = all.push_next(&mut sms);
    }
    if offered.has(amd::shader_core_properties2::NAME) {
        all = all.push_next(&mut cus);
    }
    if offered.has(arm::shader_core_builtins::NAME) {
        all = all.push_next(&mut cores);
    }
    unsafe { vk.get_physical_device_properties2(device, &mut all) };
    let limits = all.properties.limits;

    let families = unsafe { vk.get_physical_device_queue_family_properties(device) };
    let Some((family, queues)) = compute_family(&families) else {
        return refuse("none of its queues runs compute kernels".into());
    };
    let (switched, mut enabled) = features::choose(vk, device, &offered, has_float.then_some(&float), &subgroup);
    let played = basic.device_type == vk::PhysicalDeviceType::CPU;
    enabled.target.shuffle_at_once = played && subgroup.subgroup_size == PERMUTED;
    enabled.target.broadcast_pairs = played && enabled.target.i64 && enabled.target.subgroup_extended;
    enabled.target.texels = if played { texels(&limits) } else { 0 };

    let text = |t: Result<&std::ffi::CStr, std::ffi::FromBytesUntilNulError>| {
        t.map(|t| t.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let class = match basic.device_type {
        vk::PhysicalDeviceType::CPU => DeviceClass::Software,
        vk::PhysicalDeviceType::INTEGRATED_GPU => DeviceClass::IntegratedGpu,
        vk::PhysicalDeviceType::DISCRETE_GPU | vk::PhysicalDeviceType::VIRTUAL_GPU => DeviceClass::DiscreteGpu,
        _ => DeviceClass::Accelerator,
    };
    let driver_info = text(driver.driver_info_as_c_str());
    let identity = Identity::new(
        &vendor(basic.vendor_id),
        &name,
        &text(driver.driver_name_as_c_str()),
        format!("{driver_info} {:#x}, Vulkan {}", basic.driver_version, version(basic.api_version)).trim(),
        &match has_pci {
            _ if class == DeviceClass::Software => host_processor().to_string(),
            // All zeros: a driver that fills nothing in.
            true if pci.pci_bus != 0 || pci.pci_device != 0 => {
                format!("pci:{:04x}:{:02x}:{:02x}.{:x}", pci.pci_domain, pci.pci_bus, pci.pci_device, pci.pci_function)
            }
            _ => ids.device_uuid.iter().fold("uuid:".to_string(), |s, x| s + &format!("{x:02x}")),
        },
    );
    enabled.target.unsigned_by_halves = quirks::applies(quirks::Effect::UnsignedTwice, &identity);
    enabled.target.doubles_by_parts = quirks::applies(quirks::Effect::RoundedDoubles, &identity);
    let target = &enabled.target;
    let heaps = unsafe { vk.get_physical_device_memory_properties(device) };
    let local = |h: &&vk::MemoryHeap| h.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL);
    let total = heaps.memory_heaps_as_slice().iter().filter(local).map(|h| h.size).max().unwrap_or(0);
    let largest = if has_maintenance4 { maintenance4.max_buffer_size } else { u64::MAX };
    let max_alloc = total.min(maintenance3.max_memory_allocation_size).min(largest) / 16 * 16;

    let mut features = BTreeSet::new();
    let mut add = |f: Feature, there: bool| {
        if there {
            features.insert(f);
        }
    };
    add(Feature::Fma, target.fma);
    add(Feature::Subgroup, target.subgroup);
    add(Feature::SubgroupReduce, target.subgroup && target.subgroup_arithmetic);
    add(Feature::SubgroupShuffle, target.subgroup && target.subgroup_shuffle && target.subgroup_shuffle_relative);
    add(Feature::Dot4, target.dot4);
    add(Feature::Atomic64, target.atomic64);
    add(Feature::Idx64, target.i64);
    let fragments = match target.cooperative_matrix
        && matrices.cooperative_matrix_supported_stages.contains(vk::ShaderStageFlags::COMPUTE)
    {
        true => fragment_shapes(instance, device, target),
        false => vec![],
    };
    add(Feature::Fragments, !fragments.is_empty());

    // Compilers do not choose the size by themselves below SPIR-V 1.6.
    let sized = enabled.subgroup_size && sizes.required_subgroup_size_stages.contains(vk::ShaderStageFlags::COMPUTE);
    let (min, max) = match enabled.subgroup_size && sizes.min_subgroup_size > 0 {
        true => (sizes.min_subgroup_size, sizes.max_subgroup_size),
        false => (subgroup.subgroup_size, subgroup.subgroup_size),
    };
    let (bits, period) = (families[family as usize].timestamp_valid_bits, limits.timestamp_period);
    let clock = bits > 0 && period > 0.0;
    let late_destroy = quirks::applies(quirks::Effect::LateDestroy, &identity);
    let serialised = quirks::applies(quirks::Effect::Serialised, &identity);
    let info = DeviceInfo {
        id,
        backend: NAME.into(),
        identity,
        class,
        units: units(class, sms.shader_sm_count, cus.active_compute_unit_count, cores.shader_core_count),
        vector: asked_vector().unwrap_or(1),
        // GPUs move vec4 at once; lavapipe gathers lane by lane, and a vec4 costs it what a number costs.
        vector_bytes: 16,
        memory: MemoryInfo {
            total,
            max_alloc,
            unified: matches!(class, DeviceClass::Software | DeviceClass::IntegratedGpu),
            kinds: vec![Memory::Device, Memory::Upload, Memory::Readback],
        },
        types: types(target),
        features,
        fragments,
        subgroups: target.subgroup.then_some(Subgroups { min, max }),
        limits: Limits {
            max_workgroup: limits.max_compute_work_group_invocations,
            max_workgroup_dim: limits.max_compute_work_group_size,
            max_groups: limits.max_compute_work_group_count,
            max_shared: limits.max_compute_shared_memory_size,
            max_bindings: limits
                .max_per_stage_descriptor_storage_buffers
                .min(limits.max_descriptor_set_storage_buffers)
                .min(limits.max_per_stage_resources)
                .min(BINDINGS),
            max_binding_bytes: max_alloc.min(u64::from(limits.max_storage_buffer_range) / 16 * 16),
            // Vectors of four 32-bit elements are read as one.
            binding_align: limits.min_storage_buffer_offset_alignment.max(16).max(match target.texels {
                0 => 1,
                _ => limits.min_texel_buffer_offset_alignment,
            }),
            copy_align: 1,
            max_scalars: limits.max_push_constants_size.min(SCALARS) / 4 * 4,
            queues: queues.min(QUEUES),
        },
        clock: clock.then(|| Clock { resolution_ns: (period.ceil() as u64).max(1) }),
        serialised,
        kernels: true,
        arithmetic: arithmetic(target, switched.fma.as_ref()),
        numerics: Default::default(),
    };
    let rest = Rest {
        family,
        timestamps: (bits, period),
        cache: (basic.vendor_id, basic.device_id, basic.pipeline_cache_uuid),
        sized_subgroups: sized,
        workgroup_subgroups: sizes.max_compute_workgroup_subgroups,
        late_destroy,
        enabled,
    };
    Ok(Probed { info, rest, switched })
}

/// A family for compute alone, else one that does compute; and how many queues it has.
fn compute_family(families: &[vk::QueueFamilyProperties]) -> Option<(u32, u32)> {
    let able = |f: &vk::QueueFamilyProperties| f.queue_count > 0 && f.queue_flags.contains(vk::QueueFlags::COMPUTE);
    let alone = |f: &vk::QueueFamilyProperties| able(f) && !f.queue_flags.contains(vk::QueueFlags::GRAPHICS);
    let n = families.iter().position(alone).or_else(|| families.iter().position(able))?;
    Some((n as u32, families[n].queue_count))
}

fn types(target: &spirv::Target) -> BTreeMap<DType, TypeSupport> {
    let kind = |storage, arithmetic, atomics| TypeSupport { storage, arithmetic, atomics, dot: false };
    let byte = TypeSupport { dot: target.dot4, ..kind(target.storage8, target.i8, false) };
    let mut types = BTreeMap::from([
        (DType::Bool, kind(target.storage8, true, false)),
        (DType::I8, byte),
        (DType::U8, byte),
        (DType::I16, kind(target.storage16, target.i16, false)),
        (DType::U16, kind(target.storage16, target.i16, false)),
        // Without its arithmetic it may not lie in workgroup memory either: it is then held as u16.
        (DType::F16, kind(target.storage16 && target.f16, target.f16, false)),
        (DType::I32, TypeSupport::ATOMIC),
        (DType::U32, TypeSupport::ATOMIC),
        (DType::F32, kind(true, true, target.atomic_f32_add)),
    ]);
    if target.i64 {
        types.insert(DType::I64, kind(true, true, target.atomic64));
        types.insert(DType::U64, kind(true, true, target.atomic64));
    }
    if target.f64 {
        types.insert(DType::F64, TypeSupport::FULL);
    }
    types
}

/// What the specification promises ("Precision and Operation of SPIR-V Instructions"), with the float controls that
/// modules declare. Sums, differences and products are correctly rounded, but in a direction that only
/// `RoundingModeRTE` settles.
fn arithmetic(target: &spirv::Target, fma: Option<&features::Fma>) -> BTreeMap<DType, Arithmetic> {
    let facts = |nearest, kept, special, fused| Arithmetic {
        correctly_rounded: nearest,
        may_contract: false,
        may_reassociate: false,
        fma_fused: fused,
        div_ulp: 2.5,
        // "Inherited from 1.0 / inversesqrt": 2 ULP of the inverse root are up to 4 of the root; then the division.
        sqrt_ulp: 6.5,
        subnormals: if kept { Subnormals::Kept } else { Subnormals::Unknown },
        nan_inf: special,
    };
    let fused = |f: fn(&features::Fma) -> vk::Bool32| fma.is_some_and(|x| f(x) == vk::TRUE);
    let (rte, kept, special) = (target.rte, target.denorm_preserve, target.signed_zero_inf_nan);
    let mut all = BTreeMap::from([(DType::F32, facts(rte.f32, kept.f32, special.f32, fused(|x| x.float32)))]);
    if target.f16 {
        all.insert(DType::F16, facts(rte.f16, kept.f16, special.f16, fused(|x| x.float16)));
    }
    if target.f64 {
        // "At least that of single precision", which is read as the same rows in units of double precision.
        all.insert(DType::F64, facts(rte.f64, kept.f64, special.f64, fused(|x| x.float64)));
    }
    all
}

fn fragment_shapes(instance: &Instance, device: vk::PhysicalDevice, target: &spirv::Target) -> Vec<FragmentShape> {
    let entry = instance.entry();
    let loader = khr::cooperative_matrix::Instance::new(entry, &instance.raw);
    // SAFETY: the device offers the extension.
    let rows = unsafe { loader.get_physical_device_cooperative_matrix_properties(device) }.unwrap_or_default();
    let shape = |p: &vk::CooperativeMatrixPropertiesKHR<'_>| {
        if p.scope != vk::ScopeKHR::SUBGROUP || p.c_type != p.result_type || p.saturating_accumulation == vk::TRUE {
            return None;
        }
        let (a, b, acc) = (component(p.a_type)?, component(p.b_type)?, component(p.c_type)?);
        let known = |d: DType| d != DType::BF16 || target.bf16;
        if ![a, b, acc].into_iter().all(known) {
            return None;
        }
        Some(FragmentShape {
            m: p.m_size.try_into().ok()?,
            n: p.n_size.try_into().ok()?,
            k: p.k_size.try_into().ok()?,
            a,
            b,
            acc,
            acc_bits: 8 * acc.size() as u8,
            rounding: if acc.is_float() { Rounding::Unknown } else { Rounding::NearestEven },
            operand_bits: FragmentShape::whole(a),
            subgroups: 1,
        })
    };
    let mut shapes: Vec<FragmentShape> = vec![];
    for s in rows.iter().filter_map(shape) {
        if !shapes.contains(&s) {
            shapes.push(s);
        }
    }
    shapes
}

/// `VK_COMPONENT_TYPE_BFLOAT16_KHR`, newer than the bindings.
const BFLOAT16: i32 = 1_000_141_000;

fn component(t: vk::ComponentTypeKHR) -> Option<DType> {
    Some(match t {
        vk::ComponentTypeKHR::FLOAT16 => DType::F16,
        vk::ComponentTypeKHR::FLOAT32 => DType::F32,
        vk::ComponentTypeKHR::FLOAT64 => DType::F64,
        vk::ComponentTypeKHR::SINT8 => DType::I8,
        vk::ComponentTypeKHR::SINT16 => DType::I16,
        vk::ComponentTypeKHR::SINT32 => DType::I32,
        vk::ComponentTypeKHR::SINT64 => DType::I64,
        vk::ComponentTypeKHR::UINT8 => DType::U8,
        vk::ComponentTypeKHR::UINT16 => DType::U16,
        vk::ComponentTypeKHR::UINT32 => DType::U32,
        vk::ComponentTypeKHR::UINT64 => DType::U64,
        t if t.as_raw() == BFLOAT16 => DType::BF16,
        _ => return None,
    })
}

/// Vulkan itself does not count units: extensions of some makers do. A device on the host's cores has those.
fn units(class: DeviceClass, sms: u32, cus: u32, cores: u32) -> u32 {
    match [sms, cus, cores].into_iter().max() {
        Some(n) if n > 0 => n,
        _ if class == DeviceClass::Software => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        // A guess in the middle of what is sold, for the cost model only.
        _ => 16,
    }
}

/// `ANYCHIP_VULKAN_VECTOR=<lanes>`: instead of 1, for a device that runs the lanes of a workgroup one after another.
fn asked_vector() -> Option<u32> {
    Some(std::env::var("ANYCHIP_VULKAN_VECTOR").ok()?.trim().parse::<u32>().ok()?.clamp(1, 16))
}

/// The maker, by its number with the PCI group or Khronos; for people only.
fn vendor(id: u32) -> String {
    match id {
        0x1002 => "AMD".into(),
        0x1010 => "Imagination".into(),
        0x106b => "Apple".into(),
        0x10de => "NVIDIA".into(),
        0x13b5 => "ARM".into(),
        0x14e4 => "Broadcom".into(),
        0x1ae0 => "Google".into(),
        0x5143 => "Qualcomm".into(),
        0x8086 => "Intel".into(),
        0x10005 => "Mesa".into(),
        id => format!("vendor {id:#x}"),
    }
}
