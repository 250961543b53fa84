//! Vulkan's optional features: which a device offers, and which of them are switched on when it is opened.
//!
//! Only structures that the device's version or one of its extensions knows are ever handed to it. What is switched on is
//! exactly what [`spirv::Target`] then tells the printer that it may use.

use anychip_hal::render::spirv::{self, Floats};
use ash::{ext, khr, vk};
use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, c_void},
    ptr,
};

/// What a device offers by name.
pub struct Offered {
    /// Its version, at most the one that this backend knows.
    pub version: u32,
    /// Names of its extensions.
    pub extensions: BTreeSet<CString>,
    /// Features that `ANYCHIP_VULKAN_WITHOUT` names: treated as missing.
    without: BTreeSet<String>,
}

impl Offered {
    pub fn new(version: u32, extensions: BTreeSet<CString>) -> Offered {
        let without = std::env::var("ANYCHIP_VULKAN_WITHOUT").unwrap_or_default();
        let without = without.split(',').map(|s| s.trim().to_string()).filter(|s| !s.is_empty()).collect();
        Offered { version, extensions, without }
    }

    /// True when the extension is offered.
    pub fn has(&self, extension: &CStr) -> bool {
        self.extensions.contains(extension)
    }

    /// True when the device knows it, by version or by extension.
    pub fn knows(&self, since: u32, extension: &CStr) -> bool {
        self.version >= since || self.has(extension)
    }

    /// True unless the environment says that the feature is missing.
    pub fn admits(&self, feature: &str) -> bool {
        !self.without.contains(feature)
    }
}

/// A version that no device has: only the extension brings it.
const NEVER: u32 = u32::MAX;

macro_rules! features {
    ($($(#[$m:meta])* $field:ident: $t:ty, $since:expr, $extension:expr;)*) => {
        /// Feature structures; `None` where the device does not know them.
        #[derive(Default)]
        pub struct Features {
            pub base: vk::PhysicalDeviceFeatures,
            $($(#[$m])* pub $field: Option<$t>,)*
        }

        impl Features {
            /// Empty structures of everything that the device knows.
            fn known(offered: &Offered) -> Features {
                let knows = |since, extension: &CStr| offered.knows(since, extension);
                Features {
                    base: Default::default(),
                    $($field: (knows($since, $extension) && offered.admits(stringify!($field))).then(Default::default),)*
                }
            }

            /// Hands the structures as a chain to `f`.
            pub fn chain<R>(&mut self, f: impl FnOnce(&mut vk::PhysicalDeviceFeatures2<'_>) -> R) -> R {
                let mut head = vk::PhysicalDeviceFeatures2::default().features(self.base);
                $(if let Some(s) = &mut self.$field {
                    s.p_next = ptr::null_mut();
                    head = head.push_next(s);
                })*
                let done = f(&mut head);
                self.base = head.features;
                done
            }

            /// Extensions that the structures in use come from.
            fn extensions(&self, offered: &Offered) -> Vec<&'static CStr> {
                let mut names: Vec<&'static CStr> = vec![];
                $(if self.$field.is_some() && offered.version < $since { names.push($extension); })*
                names
            }
        }
    };
}

features! {
    storage16: vk::PhysicalDevice16BitStorageFeatures<'static>, vk::API_VERSION_1_1, khr::_16bit_storage::NAME;
    storage8: vk::PhysicalDevice8BitStorageFeatures<'static>, vk::API_VERSION_1_2, khr::_8bit_storage::NAME;
    float16_int8: vk::PhysicalDeviceShaderFloat16Int8Features<'static>, vk::API_VERSION_1_2, khr::shader_float16_int8::NAME;
    atomic_int64: vk::PhysicalDeviceShaderAtomicInt64Features<'static>, vk::API_VERSION_1_2, khr::shader_atomic_int64::NAME;
    atomic_float: vk::PhysicalDeviceShaderAtomicFloatFeaturesEXT<'static>, NEVER, ext::shader_atomic_float::NAME;
    integer_dot: vk::PhysicalDeviceShaderIntegerDotProductFeatures<'static>, vk::API_VERSION_1_3, khr::shader_integer_dot_product::NAME;
    timeline: vk::PhysicalDeviceTimelineSemaphoreFeatures<'static>, vk::API_VERSION_1_2, khr::timeline_semaphore::NAME;
    memory_model: vk::PhysicalDeviceVulkanMemoryModelFeatures<'static>, vk::API_VERSION_1_2, khr::vulkan_memory_model::NAME;
    subgroup_types: vk::PhysicalDeviceShaderSubgroupExtendedTypesFeatures<'static>, vk::API_VERSION_1_2, khr::shader_subgroup_extended_types::NAME;
    subgroup_size: vk::PhysicalDeviceSubgroupSizeControlFeatures<'static>, vk::API_VERSION_1_3, ext::subgroup_size_control::NAME;
    cooperative_matrix: vk::PhysicalDeviceCooperativeMatrixFeaturesKHR<'static>, NEVER, khr::cooperative_matrix::NAME;
    fma: Fma, NEVER, FMA;
    bfloat16: Bfloat16, NEVER, BFLOAT16;
}

/// `VkPhysicalDeviceShaderFmaFeaturesKHR`, newer than the bindings.
#[repr(C)]
pub struct Fma {
    s_type: vk::StructureType,
    p_next: *mut c_void,
    pub float16: vk::Bool32,
    pub float32: vk::Bool32,
    pub float64: vk::Bool32,
}

impl Default for Fma {
    fn default() -> Fma {
        let s_type = vk::StructureType::from_raw(1_000_579_000);
        Fma { s_type, p_next: ptr::null_mut(), float16: 0, float32: 0, float64: 0 }
    }
}

/// `VkPhysicalDeviceShaderBfloat16FeaturesKHR`, newer than the bindings.
#[repr(C)]
pub struct Bfloat16 {
    s_type: vk::StructureType,
    p_next: *mut c_void,
    pub arithmetic: vk::Bool32,
    pub dot: vk::Bool32,
    pub cooperative_matrix: vk::Bool32,
}

impl Default for Bfloat16 {
    fn default() -> Bfloat16 {
        let s_type = vk::StructureType::from_raw(1_000_141_000);
        Bfloat16 { s_type, p_next: ptr::null_mut(), arithmetic: 0, dot: 0, cooperative_matrix: 0 }
    }
}

// SAFETY: both begin as the specification asks of what extends the features: type, then the next structure.
unsafe impl vk::ExtendsPhysicalDeviceFeatures2 for Fma {}
// SAFETY: as above.
unsafe impl vk::ExtendsPhysicalDeviceFeatures2 for Bfloat16 {}

const FMA: &CStr = c"VK_KHR_shader_fma";
const BFLOAT16: &CStr = c"VK_KHR_shader_bfloat16";
const PORTABILITY: &CStr = c"VK_KHR_portability_subset";

/// What a device is opened with, beside the structures.
pub struct Enabled {
    pub extensions: Vec<&'static CStr>,
    pub target: spirv::Target,
    pub timeline: bool,
    pub subgroup_size: bool,
    pub full_subgroups: bool,
}

fn on(b: vk::Bool32) -> bool {
    b == vk::TRUE
}

/// Of settings that widths share, only those are used that all of them may have: 32 bits alone may differ with
/// `32_BIT_ONLY`, and every width with `ALL`.
fn dependent(offered: Floats, how: vk::ShaderFloatControlsIndependence, target: &spirv::Target) -> Floats {
    let f16 = offered.f16 || !target.f16;
    let f64 = offered.f64 || !target.f64;
    match how {
        vk::ShaderFloatControlsIndependence::ALL => offered,
        vk::ShaderFloatControlsIndependence::TYPE_32_ONLY if f16 && f64 => offered,
        vk::ShaderFloatControlsIndependence::TYPE_32_ONLY => Floats { f32: offered.f32, ..Floats::default() },
        _ if f16 && f64 && offered.f32 => offered,
        _ => Floats::default(),
    }
}

/// Asks what a device offers and chooses what is switched on. `float`: its float controls, where it knows them.
pub fn choose(
    instance: &ash::Instance,
    device: vk::PhysicalDevice,
    offered: &Offered,
    float: Option<&vk::PhysicalDeviceFloatControlsProperties<'_>>,
    subgroup: &vk::PhysicalDeviceSubgroupProperties<'_>,
) -> (Features, Enabled) {
    let mut there = Features::known(offered);
    // SAFETY: the chain holds only structures that the device knows.
    there.chain(|head| unsafe { instance.get_physical_device_features2(device, head) });

    let mut use_ = Features::default();
    let mut target = spirv::Target {
        version: match offered.version {
            v if v >= vk::API_VERSION_1_3 => (1, 6),
            v if v >= vk::API_VERSION_1_2 => (1, 5),
            _ => (1, 3),
        },
        ..spirv::Target::default()
    };
    macro_rules! base {
        ($($flag:ident = $name:ident),*) => { $(
            target.$flag = on(there.base.$name) && offered.admits(stringify!($name));
            use_.base.$name = target.$flag.into();
        )* };
    }
    base!(i16 = shader_int16, i64 = shader_int64, f64 = shader_float64);
    if let Some(s) = &there.storage16 {
        target.storage16 = on(s.storage_buffer16_bit_access);
        let u = vk::PhysicalDevice16BitStorageFeatures::default();
        use_.storage16 = target.storage16.then(|| u.storage_buffer16_bit_access(true));
    }
    if let Some(s) = &there.storage8 {
        target.storage8 = on(s.storage_buffer8_bit_access);
        use_.storage8 =
            target.storage8.then(|| vk::PhysicalDevice8BitStorageFeatures::default().storage_buffer8_bit_access(true));
    }
    if let Some(s) = &there.float16_int8 {
        target.f16 = on(s.shader_float16) && offered.admits("shader_float16");
        target.i8 = on(s.shader_int8) && offered.admits("shader_int8");
        let u = vk::PhysicalDeviceShaderFloat16Int8Features::default();
        use_.float16_int8 = (target.f16 || target.i8).then(|| u.shader_float16(target.f16).shader_int8(target.i8));
    }
    if let Some(s) = &there.atomic_int64 {
        target.atomic64 = target.i64 && on(s.shader_buffer_int64_atomics) && on(s.shader_shared_int64_atomics);
        let u = vk::PhysicalDeviceShaderAtomicInt64Features::default();
        use_.atomic_int64 =
            target.atomic64.then(|| u.shader_buffer_int64_atomics(true).shader_shared_int64_atomics(true));
    }
    if let Some(s) = &there.atomic_float {
        // Loads, stores and exchanges are a feature apart from sums.
        target.atomic_f32_add = [
            s.shader_buffer_float32_atomics,
            s.shader_buffer_float32_atomic_add,
            s.shader_shared_float32_atomics,
            s.shader_shared_float32_atomic_add,
        ]
        .iter()
        .all(|b| on(*b));
        use_.atomic_float = target.atomic_f32_add.then(|| {
            vk::PhysicalDeviceShaderAtomicFloatFeaturesEXT::default()
                .shader_buffer_float32_atomics(true)
                .shader_buffer_float32_atomic_add(true)
                .shader_shared_float32_atomics(true)
                .shader_shared_float32_atomic_add(true)
        });
    }
    if let Some(s) = &there.integer_dot {
        target.dot4 = on(s.shader_integer_dot_product);
        let u = vk::PhysicalDeviceShaderIntegerDotProductFeatures::default();
        use_.integer_dot = target.dot4.then(|| u.shader_integer_dot_product(true));
    }
    if let Some(s) = &there.timeline {
        let u = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
        use_.timeline = on(s.timeline_semaphore).then(|| u.timeline_semaphore(true));
    }
    if let Some(s) = &there.memory_model {
        target.memory_model = on(s.vulkan_memory_model) && on(s.vulkan_memory_model_device_scope);
        let u = vk::PhysicalDeviceVulkanMemoryModelFeatures::default();
        use_.memory_model =
            target.memory_model.then(|| u.vulkan_memory_model(true).vulkan_memory_model_device_scope(true));
    }
    if let Some(s) = &there.subgroup_types {
        let u = vk::PhysicalDeviceShaderSubgroupExtendedTypesFeatures::default();
        target.subgroup_extended = on(s.shader_subgroup_extended_types);
        use_.subgroup_types = on(s.shader_subgroup_extended_types).then(|| u.shader_subgroup_extended_types(true));
    }
    let (mut subgroup_size, mut full_subgroups) = (false, false);
    if let Some(s) = &there.subgroup_size {
        (subgroup_size, full_subgroups) = (on(s.subgroup_size_control), on(s.compute_full_subgroups));
        let u = vk::PhysicalDeviceSubgroupSizeControlFeatures::default();
        use_.subgroup_size = (subgroup_size || full_subgroups)
            .then(|| u.subgroup_size_control(subgroup_size).compute_full_subgroups(full_subgroups));
    }
    if let Some(s) = &there.cooperative_matrix {
        // The matrices' own instructions are part of the memory model.
        target.cooperative_matrix = on(s.cooperative_matrix) && target.memory_model;
        let u = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        use_.cooperative_matrix = target.cooperative_matrix.then(|| u.cooperative_matrix(true));
    }
    if let Some(s) = &there.fma {
        target.fma = on(s.float32);
        let u = Fma { float16: s.float16, float32: s.float32, float64: s.float64, ..Fma::default() };
        use_.fma = target.fma.then_some(u);
    }
    if let Some(s) = &there.bfloat16 {
        target.bf16 = on(s.arithmetic);
        let matrix = (target.cooperative_matrix && on(s.cooperative_matrix)).into();
        let u = Bfloat16 { arithmetic: vk::TRUE, cooperative_matrix: matrix, ..Bfloat16::default() };
        use_.bfloat16 = target.bf16.then_some(u);
    }
    let mut extensions = use_.extensions(offered);
    if let Some(p) = float.filter(|_| offered.admits("float_controls")) {
        let floats = |f16, f32, f64| Floats { f16: on(f16) && target.f16, f32: on(f32), f64: on(f64) && target.f64 };
        let kept = floats(
            p.shader_signed_zero_inf_nan_preserve_float16,
            p.shader_signed_zero_inf_nan_preserve_float32,
            p.shader_signed_zero_inf_nan_preserve_float64,
        );
        let subnormal = floats(
            p.shader_denorm_preserve_float16,
            p.shader_denorm_preserve_float32,
            p.shader_denorm_preserve_float64,
        );
        let nearest = floats(
            p.shader_rounding_mode_rte_float16,
            p.shader_rounding_mode_rte_float32,
            p.shader_rounding_mode_rte_float64,
        );
        // Where the settings of several widths depend on each other, only those that they share are promised.
        target.signed_zero_inf_nan = kept;
        target.denorm_preserve = dependent(subnormal, p.denorm_behavior_independence, &target);
        target.rte = dependent(nearest, p.rounding_mode_independence, &target);
        if offered.version < vk::API_VERSION_1_2 {
            extensions.push(khr::shader_float_controls::NAME);
        }
    }
    if subgroup.supported_stages.contains(vk::ShaderStageFlags::COMPUTE) && offered.admits("subgroup") {
        type Ops = vk::SubgroupFeatureFlags;
        let has = |o: Ops| subgroup.supported_operations.contains(o);
        target.subgroup = has(Ops::BASIC);
        target.subgroup_arithmetic = has(Ops::ARITHMETIC);
        target.subgroup_ballot = has(Ops::BALLOT);
        target.subgroup_shuffle = has(Ops::SHUFFLE);
        target.subgroup_shuffle_relative = has(Ops::SHUFFLE_RELATIVE);
    }
    if offered.has(PORTABILITY) {
        extensions.push(PORTABILITY);
    }
    let timeline = use_.timeline.is_some();
    (use_, Enabled { extensions, target, timeline, subgroup_size, full_subgroups })
}
