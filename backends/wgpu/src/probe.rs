//! What a device is and can do: wgpu's features and limits as the contract's capabilities.

use crate::{NAME, native, quirks};
use anychip_hal::{
    DType, DeviceInfo, Error, Memory, Result,
    info::{
        Arithmetic, Clock, DeviceClass, Feature, Identity, Limits, MemoryInfo, Subgroups, Subnormals, TypeSupport,
        host_processor,
    },
    render::{spirv, wgsl},
};
use std::collections::{BTreeMap, BTreeSet};
use wgpu::Features as F;

/// Buffers of one kernel, where the device sets a higher limit.
const BINDINGS: u32 = 64;
/// Bytes of scalars, where the device sets a higher limit.
const SCALARS: u32 = 4096;

/// Everything that is switched on where it is offered.
const WANTED: [F; 13] = [
    F::SHADER_F16,
    F::SHADER_I16,
    F::SHADER_F64,
    F::SHADER_INT64,
    F::SHADER_INT64_ATOMIC_ALL_OPS,
    F::SUBGROUP,
    F::SUBGROUP_BARRIER,
    F::TIMESTAMP_QUERY,
    F::TIMESTAMP_QUERY_INSIDE_ENCODERS,
    F::IMMEDIATES,
    F::PIPELINE_CACHE,
    F::PASSTHROUGH_SHADERS,
    F::SHADER_FLOAT32_ATOMIC,
];

/// What kernels become.
#[derive(Debug, Clone, PartialEq)]
pub enum Shaders {
    /// Text, which wgpu translates.
    Wgsl(wgsl::Target),
    /// A module, which wgpu hands on.
    Spirv(spirv::Target),
}

/// Everything asked from an adapter.
pub struct Probed {
    /// For the world.
    pub info: DeviceInfo,
    /// What is switched on when it is opened.
    pub features: F,
    /// As large as it has them.
    pub limits: wgpu::Limits,
    pub shaders: Shaders,
}

/// Asks an adapter. An error says why it cannot be used; it hides no other.
pub fn probe(adapter: &wgpu::Adapter, ordinal: u32) -> Result<Probed> {
    let id = format!("{NAME}:{ordinal}");
    let (about, limits, offered) = (adapter.get_info(), adapter.limits(), adapter.features());
    let refuse = |why: String| Err(Error::unsupported(format!("{id} ({}, {:?})", about.name, about.backend), why));
    let flags = adapter.get_downlevel_capabilities().flags;
    if !flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) || limits.max_storage_buffers_per_shader_stage < 4 {
        return refuse("it runs no compute kernels on buffers".into());
    }
    if cfg!(target_endian = "big") {
        return refuse("buffers are little-endian, this host is not".into());
    }
    let features = offered & WANTED.into_iter().fold(F::empty(), |all, f| all | f);
    let has = |f: F| features.contains(f);
    let native = native::ask(adapter);
    let mut shaders = shaders(&about, features, &native);
    let words = match &shaders {
        Shaders::Wgsl(_) => "WGSL",
        Shaders::Spirv(_) => "SPIR-V",
    };
    let class = match about.device_type {
        wgpu::DeviceType::Cpu => DeviceClass::Software,
        wgpu::DeviceType::IntegratedGpu => DeviceClass::IntegratedGpu,
        wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::VirtualGpu => DeviceClass::DiscreteGpu,
        // OpenGL does not say; its drivers on the processor have these names in front.
        wgpu::DeviceType::Other if about.name.starts_with("llvmpipe") => DeviceClass::Software,
        wgpu::DeviceType::Other => DeviceClass::Accelerator,
    };
    let identity = Identity::new(
        &vendor(about.vendor),
        &about.name,
        format!("{} {}", backend(about.backend), about.driver).trim(),
        format!("{}, {words}", about.driver_info).trim_start_matches(", "),
        &match (&native.uuid, about.device_pci_bus_id.as_str()) {
            _ if class == DeviceClass::Software => host_processor().to_string(),
            (_, pci) if !pci.is_empty() => format!("pci:{}", pci.to_ascii_lowercase()),
            (Some(uuid), _) => uuid.clone(),
            (None, _) => format!("{}:{:04x}:{:04x}:{}", backend(about.backend), about.vendor, about.device, about.name),
        },
    );
    if let Shaders::Spirv(t) = &mut shaders {
        t.unsigned_by_halves = quirks::applies(quirks::Effect::UnsignedTwice, &identity);
    }
    let max_alloc = native.memory.unwrap_or(u64::MAX).min(limits.max_buffer_size) / 16 * 16;
    let subgroup = match &shaders {
        Shaders::Wgsl(t) => t.subgroups,
        Shaders::Spirv(t) => t.subgroup,
    };
    let wide = has(F::SHADER_INT64);
    let mut kinds = BTreeSet::new();
    for (feature, there) in [
        (Feature::Subgroup, subgroup),
        (Feature::SubgroupReduce, subgroup),
        (Feature::SubgroupShuffle, subgroup),
        (Feature::Dot4, matches!(shaders, Shaders::Wgsl(_))),
        (Feature::Atomic64, wide && has(F::SHADER_INT64_ATOMIC_ALL_OPS)),
        (Feature::Idx64, wide),
    ] {
        if there {
            kinds.insert(feature);
        }
    }
    let clock = has(F::TIMESTAMP_QUERY) && has(F::TIMESTAMP_QUERY_INSIDE_ENCODERS);
    let info = DeviceInfo {
        id,
        backend: NAME.into(),
        identity,
        class,
        // wgpu does not say. Where it runs on the host's cores, those.
        units: match class {
            DeviceClass::Software => std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            _ => 1,
        },
        vector: 1,
        vector_bytes: 16,
        memory: MemoryInfo {
            total: native.memory.unwrap_or(max_alloc).max(max_alloc),
            max_alloc,
            unified: matches!(class, DeviceClass::Software | DeviceClass::IntegratedGpu),
            kinds: vec![Memory::Device, Memory::Upload, Memory::Readback],
        },
        types: types(&shaders),
        features: kinds,
        fragments: vec![],
        subgroups: subgroup.then_some(Subgroups { min: about.subgroup_min_size, max: about.subgroup_max_size }),
        limits: Limits {
            max_workgroup: limits.max_compute_invocations_per_workgroup,
            max_workgroup_dim: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            max_groups: [limits.max_compute_workgroups_per_dimension; 3],
            max_shared: limits.max_compute_workgroup_storage_size,
            max_bindings: limits
                .max_storage_buffers_per_shader_stage
                .min(limits.max_bindings_per_bind_group)
                .min(BINDINGS),
            max_binding_bytes: max_alloc.min(limits.max_storage_buffer_binding_size / 16 * 16),
            // Vectors of four 32-bit elements are read as one.
            binding_align: u64::from(limits.min_storage_buffer_offset_alignment.max(16)),
            copy_align: wgpu::COPY_BUFFER_ALIGNMENT,
            max_scalars: match has(F::IMMEDIATES) {
                true => limits.max_immediate_size.min(SCALARS) / 4 * 4,
                false => {
                    u32::try_from(limits.max_uniform_buffer_binding_size).unwrap_or(SCALARS).min(SCALARS) / 16 * 16
                }
            },
            queues: 1,
        },
        clock: clock.then_some(Clock { resolution_ns: 1 }),
        serialised: false,
        kernels: true,
        arithmetic: arithmetic(&shaders),
        numerics: Default::default(),
    };
    Ok(Probed { info, features, limits, shaders })
}

/// SPIR-V where wgpu hands it on to a driver of Vulkan, unless it is not wanted; of its types those that wgpu's own features
/// switch on: 16-bit storage and arithmetic, not 8-bit, packed products or matrices.
fn shaders(about: &wgpu::AdapterInfo, features: F, native: &native::Native) -> Shaders {
    let has = |f: F| features.contains(f);
    let wanted = std::env::var("ANYCHIP_WGPU_SHADERS").map_or(true, |s| s != "wgsl");
    let passes = about.backend == wgpu::Backend::Vulkan && has(F::PASSTHROUGH_SHADERS) && has(F::IMMEDIATES);
    let subgroup = has(F::SUBGROUP) && has(F::SUBGROUP_BARRIER);
    match native.spirv.filter(|_| wanted && passes) {
        Some(version) => {
            let of = |[f16, f32, f64]: [bool; 3]| spirv::Floats {
                f16: f16 && has(F::SHADER_F16),
                f32,
                f64: f64 && has(F::SHADER_F64),
            };
            Shaders::Spirv(spirv::Target {
                version,
                storage16: has(F::SHADER_F16) || has(F::SHADER_I16),
                f16: has(F::SHADER_F16),
                i16: has(F::SHADER_I16),
                i64: has(F::SHADER_INT64),
                f64: has(F::SHADER_F64),
                atomic64: has(F::SHADER_INT64_ATOMIC_ALL_OPS),
                signed_zero_inf_nan: of(native.special),
                denorm_preserve: of(native.subnormals),
                rte: of(native.nearest),
                subgroup,
                subgroup_arithmetic: subgroup,
                subgroup_shuffle: subgroup,
                subgroup_shuffle_relative: subgroup,
                ..spirv::Target::default()
            })
        }
        None => Shaders::Wgsl(wgsl::Target {
            f16: has(F::SHADER_F16),
            i16: has(F::SHADER_I16),
            i64: has(F::SHADER_INT64),
            f64: has(F::SHADER_F64),
            atomic64: has(F::SHADER_INT64_ATOMIC_ALL_OPS),
            subgroups: subgroup,
            enable_subgroups: about.backend == wgpu::Backend::BrowserWebGpu,
            immediates: has(F::IMMEDIATES),
        }),
    }
}

fn types(shaders: &Shaders) -> BTreeMap<DType, TypeSupport> {
    let kind = |there, atomics| TypeSupport { storage: there, arithmetic: there, atomics, dot: false };
    let none = TypeSupport::default();
    let (f16, i16, i64, f64, atomic64, add_f32, i16_stored) = match shaders {
        // Floats are added to by comparing and exchanging their bits.
        Shaders::Wgsl(t) => (t.f16, t.i16, t.i64, t.f64, t.atomic64, true, t.i16),
        Shaders::Spirv(t) => (t.f16 && t.storage16, t.i16, t.i64, t.f64, t.atomic64, t.atomic_f32_add, t.storage16),
    };
    let short = TypeSupport { storage: i16_stored, arithmetic: i16, ..none };
    let mut types = BTreeMap::from([
        (DType::Bool, TypeSupport { arithmetic: true, ..none }),
        (DType::I8, none),
        (DType::U8, none),
        (DType::I16, short),
        (DType::U16, short),
        (DType::F16, kind(f16, false)),
        (DType::I32, TypeSupport::ATOMIC),
        (DType::U32, TypeSupport::ATOMIC),
        (DType::F32, kind(true, add_f32)),
    ]);
    if i64 {
        types.insert(DType::I64, kind(true, atomic64));
        types.insert(DType::U64, kind(true, atomic64));
    }
    if f64 {
        types.insert(DType::F64, kind(true, false));
    }
    types
}

/// What WGSL promises ("Floating Point Evaluation"): right in one of two directions, subnormals, infinities and NaN as the driver
/// likes, sums of products contracted or not. By SPIR-V, what Vulkan promises with the float controls that modules declare.
fn arithmetic(shaders: &Shaders) -> BTreeMap<DType, Arithmetic> {
    let facts = |(nearest, kept, special): (bool, bool, bool), may_contract| Arithmetic {
        correctly_rounded: nearest,
        may_contract,
        // WGSL lets compilers do both.
        may_reassociate: may_contract,
        fma_fused: false,
        div_ulp: 2.5,
        // "Inherited from 1.0 / inverseSqrt": 2 ULP of the inverse root are up to 4 of the root; then the division.
        sqrt_ulp: 6.5,
        subnormals: if kept { Subnormals::Kept } else { Subnormals::Unknown },
        nan_inf: special,
    };
    let nothing = (false, false, false);
    let (f16, f64, single, half, double) = match shaders {
        Shaders::Wgsl(t) => (t.f16, t.f64, facts(nothing, true), facts(nothing, true), facts(nothing, true)),
        Shaders::Spirv(t) => {
            let (r, d, s) = (t.rte, t.denorm_preserve, t.signed_zero_inf_nan);
            (
                t.f16,
                t.f64,
                facts((r.f32, d.f32, s.f32), false),
                facts((r.f16, d.f16, s.f16), false),
                facts((r.f64, d.f64, s.f64), false),
            )
        }
    };
    let mut all = BTreeMap::from([(DType::F32, single)]);
    if f16 {
        all.insert(DType::F16, half);
    }
    if f64 {
        all.insert(DType::F64, double);
    }
    all
}

fn backend(b: wgpu::Backend) -> &'static str {
    match b {
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "DirectX 12",
        wgpu::Backend::Gl => "OpenGL",
        wgpu::Backend::BrowserWebGpu => "WebGPU",
        wgpu::Backend::Noop => "nothing",
    }
}

/// Names of the vendors that PCI and Khronos number.
fn vendor(id: u32) -> String {
    match id {
        0x1002 => "AMD".into(),
        0x10de => "NVIDIA".into(),
        0x8086 => "Intel".into(),
        0x106b => "Apple".into(),
        0x13b5 => "Arm".into(),
        0x5143 => "Qualcomm".into(),
        0x1ae0 => "Google".into(),
        0x1414 => "Microsoft".into(),
        0x1_0005 => "Mesa".into(),
        0 => String::new(),
        id => format!("vendor {id:#06x}"),
    }
}
