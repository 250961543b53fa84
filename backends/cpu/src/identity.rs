//! What this processor is: its name, its memory, what the vector machine does with each type.

use crate::vmath::Level;
use anychip_hal::{
    DType, DeviceInfo, Memory,
    info::{Arithmetic, Clock, DeviceClass, Feature, Identity, Limits, MemoryInfo, TypeSupport, host_processor},
};
use std::collections::{BTreeMap, BTreeSet};

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|l| {
        let (key, value) = l.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_string())
    })
}

fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = field(&text, name)?.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// Bytes of memory: of the machine, or of the container if that has less.
fn total_memory() -> u64 {
    // Where the system does not tell, 8 GiB is what a small machine of today has.
    let machine = meminfo("MemTotal").unwrap_or(8 << 30);
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    container.and_then(|t| t.trim().parse().ok()).map_or(machine, |c: u64| c.min(machine))
}

/// Bytes that are free now.
pub(crate) fn available_memory() -> u64 {
    meminfo("MemAvailable").unwrap_or(u64::MAX)
}

/// The name of a vector width, as `ANYCHIP_CPU_ISA` takes it.
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::Baseline => "baseline",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    }
}

/// The device, as it is described to everyone.
pub(crate) fn info(level: Level, threads: usize) -> DeviceInfo {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = host_processor();
    let vendor = field(&cpuinfo, "vendor_id").unwrap_or_default();
    let driver = format!("anychip vector machine ({})", level_name(level));
    let total = total_memory();
    let types: BTreeMap<DType, TypeSupport> = DType::ALL
        .into_iter()
        .map(|d| {
            let support = match d {
                DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => TypeSupport::ATOMIC,
                DType::F16 | DType::BF16 => TypeSupport::STORAGE,
                DType::F8E4M3 | DType::F8E5M2 => TypeSupport::default(),
                DType::Bool | DType::I8 | DType::I16 | DType::U8 | DType::U16 => TypeSupport::FULL,
            };
            let dot = matches!(d, DType::I8 | DType::U8);
            (d, TypeSupport { dot, ..support })
        })
        .collect();
    DeviceInfo {
        id: "cpu".to_string(),
        backend: "cpu".to_string(),
        identity: Identity::new(&vendor, name, &driver, env!("CARGO_PKG_VERSION"), name),
        class: DeviceClass::Cpu,
        units: threads as u32,
        // The machine runs the lanes of a workgroup as vectors.
        vector: 1,
        vector_bytes: 0,
        memory: MemoryInfo {
            total,
            max_alloc: total,
            unified: true,
            kinds: vec![Memory::Device, Memory::Upload, Memory::Readback],
        },
        types,
        features: BTreeSet::from([
            Feature::Fma,
            Feature::GroupReduce,
            Feature::Erf,
            Feature::Dot4,
            Feature::Atomic64,
            Feature::Idx64,
            Feature::Math,
        ]),
        fragments: vec![],
        subgroups: None,
        limits: Limits {
            max_workgroup: crate::machine::MAX_WORKGROUP as u32,
            max_workgroup_dim: [crate::machine::MAX_WORKGROUP as u32; 3],
            max_groups: [u32::MAX; 3],
            max_shared: 256 << 10,
            max_bindings: 64,
            max_binding_bytes: total,
            // Elements are read in place: a binding begins where every type may.
            binding_align: 16,
            copy_align: 1,
            max_scalars: 4096,
            queues: crate::driver::QUEUES,
        },
        clock: Some(Clock { resolution_ns: 1 }),
        serialised: false,
        kernels: true,
        arithmetic: BTreeMap::from([(DType::F32, Arithmetic::IEEE), (DType::F64, Arithmetic::IEEE)]),
        numerics: Default::default(),
    }
}
