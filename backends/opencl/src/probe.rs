//! What a device is and can do, asked from its driver.

use crate::{NAME, cl, quirks};
use anychip_hal::{
    DType, DeviceInfo, Error, Memory, Result,
    info::{
        Arithmetic, Clock, DeviceClass, Feature, Identity, Limits, MemoryInfo, Subnormals, TypeSupport, host_processor,
    },
    render::c::OpenCl,
};
use opencl3::{device::*, types::cl_device_id};
use std::collections::{BTreeMap, BTreeSet};

/// Everything asked from a device.
pub struct Probed {
    /// For the world.
    pub info: DeviceInfo,
    /// For the printer.
    pub dialect: OpenCl,
    /// Options for the driver's compiler.
    pub options: String,
}

struct Ask(cl_device_id);

impl Ask {
    fn bytes(&self, what: u32) -> Option<Vec<u8>> {
        get_device_data(self.0, what).ok()
    }

    fn text(&self, what: u32) -> String {
        cl::text(&self.bytes(what).unwrap_or_default())
    }

    /// A number of whatever width the driver answers with.
    fn number(&self, what: u32) -> Option<u64> {
        let bytes = self.bytes(what)?;
        match bytes.len() {
            4 => Some(u32::from_ne_bytes(bytes.try_into().ok()?) as u64),
            8 => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    fn need(&self, what: u32, name: &str, id: &str) -> Result<u64> {
        self.number(what).ok_or_else(|| Error::Backend {
            backend: NAME.into(),
            code: 0,
            message: format!("{id}: the driver does not answer {name}"),
        })
    }
}

/// `OpenCL 1.2 …` as (1, 2).
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("OpenCL ")?.split_whitespace().next()?;
    let (major, minor) = number.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn flag(config: u64, bit: u64) -> bool {
    config & bit != 0
}

/// Asks a device. An error says why it cannot be used; it hides no other device.
pub fn probe(device: cl_device_id, ordinal: u32) -> Result<Probed> {
    let ask = Ask(device);
    let id = format!("{NAME}:{ordinal}");
    let name = ask.text(CL_DEVICE_NAME);
    let refuse = |why: String| Err(Error::unsupported(format!("{id} ({name})"), why));
    let offered = ask.text(CL_DEVICE_VERSION);
    match version(&offered) {
        Some(v) if v >= (1, 2) => {}
        _ => return refuse(format!("its version is {offered:?}; OpenCL 1.2 is needed")),
    }
    if ask.number(CL_DEVICE_AVAILABLE) == Some(0) {
        return refuse("its driver says that it is not available".into());
    }
    if ask.number(CL_DEVICE_COMPILER_AVAILABLE) == Some(0) {
        return refuse("its driver has no compiler".into());
    }
    if ask.number(CL_DEVICE_ENDIAN_LITTLE) == Some(0) {
        return refuse("it is big-endian; buffers are little-endian".into());
    }
    let extensions: BTreeSet<String> = ask.text(CL_DEVICE_EXTENSIONS).split_whitespace().map(str::to_string).collect();
    let has = |e: &str| extensions.contains(e);

    let platform = ask.number(CL_DEVICE_PLATFORM).unwrap_or(0) as usize as opencl3::types::cl_platform_id;
    let driver = cl::platform_name(&opencl3::platform::Platform::new(platform));
    let driver_version = ask.text(CL_DRIVER_VERSION);
    let kind = ask.number(CL_DEVICE_TYPE).unwrap_or(0);
    let unified = ask.number(CL_DEVICE_HOST_UNIFIED_MEMORY) == Some(1);
    let class = match (flag(kind, CL_DEVICE_TYPE_CPU), flag(kind, CL_DEVICE_TYPE_GPU)) {
        (true, _) => DeviceClass::Software,
        (_, true) if unified => DeviceClass::IntegratedGpu,
        (_, true) => DeviceClass::DiscreteGpu,
        _ => DeviceClass::Accelerator,
    };
    let identity = Identity::new(
        &ask.text(CL_DEVICE_VENDOR),
        &name,
        &driver,
        // rusticl's driver version is Mesa's; PoCL's says nothing of the LLVM behind it, its device version does.
        &format!("{driver_version}, {offered}"),
        &match class {
            DeviceClass::Software => host_processor().to_string(),
            _ => physical(&|what| ask.bytes(what), &has).unwrap_or_else(|| format!("{id} {driver} {name}")),
        },
    );

    let single = ask.number(CL_DEVICE_SINGLE_FP_CONFIG).unwrap_or(0);
    let double = ask.number(CL_DEVICE_DOUBLE_FP_CONFIG).unwrap_or(0);
    let half = if has("cl_khr_fp16") { ask.number(CL_DEVICE_HALF_FP_CONFIG).unwrap_or(0) } else { 0 };
    let f64 = has("cl_khr_fp64") || double != 0;
    let f16 = half != 0;
    let atomic64 = has("cl_khr_int64_base_atomics") && has("cl_khr_int64_extended_atomics");
    let rounded = flag(single, CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT);

    let mut types = BTreeMap::new();
    for d in [DType::Bool, DType::I8, DType::I16, DType::U8, DType::U16] {
        types.insert(d, TypeSupport::FULL);
    }
    for d in [DType::I32, DType::U32, DType::F32] {
        types.insert(d, TypeSupport::ATOMIC);
    }
    let wide = if atomic64 { TypeSupport::ATOMIC } else { TypeSupport::FULL };
    types.insert(DType::I64, wide);
    types.insert(DType::U64, wide);
    types.insert(DType::F16, if f16 { TypeSupport::FULL } else { TypeSupport::STORAGE });
    let mut arithmetic = BTreeMap::new();
    arithmetic.insert(
        DType::F32,
        Arithmetic {
            correctly_rounded: flag(single, CL_FP_ROUND_TO_NEAREST),
            may_contract: false,
            may_reassociate: quirks::applies(quirks::Effect::Reassociates, &identity),
            fma_fused: flag(single, CL_FP_FMA),
            // OpenCL C, relative error as ULPs: x / y ≤ 2.5, sqrt ≤ 3, unless correctly rounded is asked for and there.
            div_ulp: if rounded { 0.5 } else { 2.5 },
            sqrt_ulp: if rounded { 0.5 } else { 3.0 },
            subnormals: if flag(single, CL_FP_DENORM) { Subnormals::Kept } else { Subnormals::Unknown },
            nan_inf: flag(single, CL_FP_INF_NAN),
        },
    );
    if f64 {
        types.insert(DType::F64, wide);
        // The specification asks all of this of a device that has doubles.
        arithmetic.insert(DType::F64, Arithmetic::IEEE);
    }
    if f16 {
        arithmetic.insert(
            DType::F16,
            Arithmetic {
                correctly_rounded: flag(half, CL_FP_ROUND_TO_NEAREST),
                may_contract: false,
                may_reassociate: false,
                fma_fused: flag(half, CL_FP_FMA),
                // OpenCL C asks 1 ULP of half division and square root.
                div_ulp: 1.0,
                sqrt_ulp: 1.0,
                subnormals: if flag(half, CL_FP_DENORM) { Subnormals::Kept } else { Subnormals::Unknown },
                nan_inf: flag(half, CL_FP_INF_NAN),
            },
        );
    }

    // No erf: it is a function with branches in every driver's library, which keeps loops and vectors from being vector code.
    // OpenCL C states the same bounds for its functions as the table of operations.
    let mut features = BTreeSet::from([Feature::Math]);
    if flag(single, CL_FP_FMA) {
        features.insert(Feature::Fma);
    }
    if atomic64 {
        features.insert(Feature::Atomic64);
    }
    if ask.number(CL_DEVICE_ADDRESS_BITS) == Some(64) {
        features.insert(Feature::Idx64);
    }

    let total = ask.need(CL_DEVICE_GLOBAL_MEM_SIZE, "CL_DEVICE_GLOBAL_MEM_SIZE", &id)?;
    let max_alloc = ask.need(CL_DEVICE_MAX_MEM_ALLOC_SIZE, "CL_DEVICE_MAX_MEM_ALLOC_SIZE", &id)?;
    let workgroup = ask.need(CL_DEVICE_MAX_WORK_GROUP_SIZE, "CL_DEVICE_MAX_WORK_GROUP_SIZE", &id)?;
    let sizes = ask.bytes(CL_DEVICE_MAX_WORK_ITEM_SIZES).unwrap_or_default();
    let mut max_workgroup_dim = [1u32; 3];
    for (to, from) in max_workgroup_dim.iter_mut().zip(sizes.chunks_exact(size_of::<usize>())) {
        let n = usize::from_ne_bytes(from.try_into().expect("a chunk has the size of usize"));
        *to = u32::try_from(n).unwrap_or(u32::MAX);
    }
    // At least 1024 in every full-profile device; a pointer takes 8 of these bytes, scalars their size.
    let parameters = ask.number(CL_DEVICE_MAX_PARAMETER_SIZE).unwrap_or(1024);
    let max_bindings = (parameters / 2 / 8).clamp(8, 64);
    let max_scalars = parameters.saturating_sub(8 * max_bindings).clamp(64, 4096);
    let align_bits = ask.number(CL_DEVICE_MEM_BASE_ADDR_ALIGN).unwrap_or(1024).max(1024);

    let clock = ask
        .number(CL_DEVICE_PROFILING_TIMER_RESOLUTION)
        .filter(|_| !quirks::applies(quirks::Effect::NoClock, &identity))
        .map(|ns| Clock { resolution_ns: ns.max(1) });

    let serialised = quirks::applies(quirks::Effect::Serialised, &identity);
    let info = DeviceInfo {
        id,
        backend: NAME.into(),
        identity,
        class,
        units: ask.number(CL_DEVICE_MAX_COMPUTE_UNITS).unwrap_or(1) as u32,
        vector: asked_vector().or_else(|| ask.number(CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT)).unwrap_or(1).clamp(1, 16)
            as u32,
        // Drivers read vectors that are not aligned as fast.
        vector_bytes: 0,
        memory: MemoryInfo { total, max_alloc, unified, kinds: vec![Memory::Device, Memory::Upload, Memory::Readback] },
        types,
        features,
        fragments: vec![],
        subgroups: None,
        limits: Limits {
            max_workgroup: u32::try_from(workgroup).unwrap_or(u32::MAX),
            max_workgroup_dim,
            // OpenCL names no limit but the width of size_t; these are the smallest of the GPUs behind it.
            max_groups: [i32::MAX as u32, 65_535, 65_535],
            max_shared: u32::try_from(ask.number(CL_DEVICE_LOCAL_MEM_SIZE).unwrap_or(0)).unwrap_or(u32::MAX),
            max_bindings: max_bindings as u32,
            max_binding_bytes: max_alloc,
            binding_align: (align_bits / 8).next_power_of_two(),
            copy_align: 1,
            max_scalars: max_scalars as u32,
            queues: crate::queue::QUEUES,
        },
        clock,
        serialised,
        kernels: true,
        arithmetic,
        numerics: Default::default(),
    };
    let dialect = OpenCl {
        f16,
        f64,
        fma_f32: flag(single, CL_FP_FMA),
        fma_f64: f64 && flag(double, CL_FP_FMA),
        atomic64,
        tanh_below_one: quirks::applies(quirks::Effect::TanhBelowOne, &info.identity),
        unranged: quirks::applies(quirks::Effect::Unranged, &info.identity),
        sine_by_elements: quirks::applies(quirks::Effect::SineByElements, &info.identity),
        barrier_before_loops: quirks::applies(quirks::Effect::BarrierBeforeLoops, &info.identity),
    };
    // OpenCL C 1.2 is what every device from 1.2 to 3.0 takes.
    let mut options = "-cl-std=CL1.2".to_string();
    if rounded {
        options += " -cl-fp32-correctly-rounded-divide-sqrt";
    }
    if quirks::applies(quirks::Effect::NoOptimiser, &info.identity) {
        options += " -cl-opt-disable";
    }
    Ok(Probed { info, dialect, options })
}

/// `ANYCHIP_OPENCL_VECTOR=<lanes>`: instead of the vector width that the driver prefers. Chooses the kernels for devices whose lanes run
/// one after another, or those for the others, on any driver.
fn asked_vector() -> Option<u64> {
    std::env::var("ANYCHIP_OPENCL_VECTOR").ok()?.trim().parse().ok()
}

/// What ties the chip to other backends: its PCI address as the standard or its maker's extension gives it, else its UUID.
fn physical(ask: &dyn Fn(u32) -> Option<Vec<u8>>, has: &dyn Fn(&str) -> bool) -> Option<String> {
    let pci = |domain: u32, bus: u32, device: u32, function: u32| {
        Some(format!("pci:{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
    };
    let words = |what: u32, count: usize| -> Option<Vec<u32>> {
        let bytes = ask(what).filter(|b| b.len() == 4 * count)?;
        Some(bytes.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect())
    };
    // CL_DEVICE_PCI_BUS_INFO_KHR: domain, bus, device, function. All zeros: a driver that fills nothing in.
    if has("cl_khr_pci_bus_info")
        && let Some(w) = words(0x410F, 4).filter(|w| w[1] != 0 || w[2] != 0)
    {
        return pci(w[0], w[1], w[2], w[3]);
    }
    // CL_DEVICE_PCI_BUS_ID_NV; CL_DEVICE_PCI_SLOT_ID_NV: device and function; CL_DEVICE_PCI_DOMAIN_ID_NV, which old drivers lack.
    if has("cl_nv_device_attribute_query")
        && let (Some(bus), Some(slot)) = (words(0x4008, 1), words(0x4009, 1))
    {
        return pci(words(0x400A, 1).map_or(0, |d| d[0]), bus[0], slot[0] >> 3, slot[0] & 7);
    }
    // CL_DEVICE_TOPOLOGY_AMD: a word, 1 for PCI; 17 bytes without meaning; bus, device, function.
    if has("cl_amd_device_attribute_query")
        && let Some(b) = ask(0x4037).filter(|b| b.len() == 24 && u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) == 1)
    {
        return pci(0, b[21].into(), b[22].into(), b[23].into());
    }
    // CL_DEVICE_UUID_KHR
    let uuid = ask(0x106A).filter(|b| has("cl_khr_device_uuid") && b.len() == 16)?;
    Some(uuid.iter().fold("uuid:".to_string(), |s, x| s + &format!("{x:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(of: &[u32]) -> Vec<u8> {
        of.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    #[test]
    fn every_way_to_an_address_writes_it_the_same() {
        let ask = |what: u32| match what {
            0x410F => Some(words(&[0, 0x3b, 0, 1])),
            0x4008 => Some(words(&[0x3b])),
            0x4009 => Some(words(&[1])),
            0x4037 => {
                let mut b = words(&[1, 0, 0, 0, 0, 0]);
                b[21..].copy_from_slice(&[0x3b, 0, 1]);
                Some(b)
            }
            0x106A => Some((0..16).collect()),
            _ => None,
        };
        let by = |extension: &'static str| physical(&ask, &move |e: &str| e == extension);
        for extension in ["cl_khr_pci_bus_info", "cl_nv_device_attribute_query", "cl_amd_device_attribute_query"] {
            assert_eq!(by(extension).as_deref(), Some("pci:0000:3b:00.1"), "{extension}");
        }
        assert_eq!(by("cl_khr_device_uuid").as_deref(), Some("uuid:000102030405060708090a0b0c0d0e0f"));
        assert_eq!(by("cl_khr_fp16"), None);
        // A driver that names an extension and does not answer, or answers something else.
        assert_eq!(physical(&|_| None, &|_| true), None);
        assert_eq!(physical(&|_| Some(vec![0; 3]), &|_| true), None);
    }
}
