//! From what a driver says of a chip to what the library knows of it: plain data, without a driver, so that kernels can be made
//! for chips that are not here.

use crate::NAME;
use anychip_hal::{
    DType, DeviceInfo, Memory,
    info::{
        Arithmetic, Clock, DeviceClass, Feature, Identity, Limits, MemoryInfo, Subgroups, TypeSupport, host_processor,
    },
    render::c::Cuda,
};
use std::collections::{BTreeMap, BTreeSet};

/// How the emulation of the tests names its devices.
const EMULATED: &str = "anychip CUDA emulator";
/// Lanes of a warp, on every chip so far.
const WARP: u32 = 32;
/// The oldest that NVRTC 12 compiles for and `atomicAdd` takes doubles on.
pub const OLDEST: (u32, u32) = (6, 0);

/// What the driver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip {
    /// Its number among the driver's devices.
    pub ordinal: u32,
    /// The product.
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Version of CUDA that the driver is made for.
    pub driver: (u32, u32),
    /// What ties it to other backends: its PCI address or UUID.
    pub physical: String,
    /// Bytes of memory.
    pub memory: u64,
    /// It shares the host's memory.
    pub integrated: bool,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Lanes of a workgroup.
    pub workgroup: u32,
    /// Lanes of a workgroup per dimension.
    pub workgroup_dim: [u32; 3],
    /// Workgroups of a grid per dimension.
    pub groups: [u32; 3],
    /// Bytes of memory of a workgroup, at most.
    pub shared: u32,
    /// Operands of f32 may be cut to tf32: `ANYCHIP_CUDA_TF32=1` says so.
    pub tf32: bool,
}

impl Chip {
    /// An example of a chip of this capability, for making kernels where none is.
    pub fn example(capability: (u32, u32)) -> Chip {
        Chip {
            ordinal: 0,
            name: format!("a chip of compute capability {}.{}", capability.0, capability.1),
            capability,
            driver: (13, 0),
            physical: "unknown".into(),
            memory: 16 << 30,
            integrated: false,
            multiprocessors: 80,
            workgroup: 1024,
            workgroup_dim: [1024, 1024, 64],
            groups: [i32::MAX as u32, 65_535, 65_535],
            // By the guide's table of capabilities.
            shared: match capability {
                (7, 0) => 96,
                (7, _) => 64,
                (8, 0) | (8, 7) => 163,
                (8, _) | (12, _) => 99,
                (9.., _) => 227,
                _ => 48,
            } << 10,
            tf32: false,
        }
    }

    /// True on the emulation of the tests, which is no CUDA.
    pub fn is_emulated(&self) -> bool {
        self.name.starts_with(EMULATED)
    }

    /// What the printer must know.
    pub fn dialect(&self) -> Cuda {
        Cuda { capability: self.capability, tf32: self.tf32 }
    }

    /// What the library knows of it.
    pub fn info(&self) -> DeviceInfo {
        let emulated = self.is_emulated();
        let (major, minor) = self.driver;
        let dot = self.dialect().dot4();
        let mut types = BTreeMap::new();
        for d in [DType::Bool, DType::I8, DType::I16, DType::U8, DType::U16] {
            types.insert(d, TypeSupport { dot: dot && d.size() == 1 && d.is_int(), ..TypeSupport::FULL });
        }
        for d in [DType::I32, DType::U32, DType::I64, DType::U64, DType::F32, DType::F64] {
            types.insert(d, TypeSupport::ATOMIC);
        }
        // Held in f32: as fast where memory is what bounds, and more accurate.
        for d in [DType::F16, DType::BF16] {
            types.insert(d, TypeSupport::STORAGE);
        }
        // The options of the compiler are such that the guide's table of intrinsics says this of + − × ÷ and sqrt.
        let arithmetic = BTreeMap::from([(DType::F32, Arithmetic::IEEE), (DType::F64, Arithmetic::IEEE)]);
        // Math: by the guide's table of functions every one of f32 and f64 is within 2 ULPs, tan 4, pow 4.
        let mut features = BTreeSet::from([
            Feature::Fma,
            Feature::Subgroup,
            Feature::SubgroupReduce,
            Feature::SubgroupShuffle,
            Feature::Erf,
            Feature::Atomic64,
            Feature::Idx64,
            Feature::Math,
        ]);
        if dot {
            features.insert(Feature::Dot4);
        }
        if self.dialect().copies() {
            features.insert(Feature::AsyncCopy);
        }
        if self.dialect().boxes() {
            features.insert(Feature::TileCopy);
        }
        let fragments = self.dialect().fragments();
        if !fragments.is_empty() {
            features.extend([Feature::Fragments, Feature::FragmentElements]);
        }
        DeviceInfo {
            id: format!("{NAME}:{}", self.ordinal),
            backend: if emulated { format!("{NAME}-emulated") } else { NAME.into() },
            identity: Identity::new(
                "NVIDIA",
                &self.name,
                "CUDA",
                &format!("{major}.{minor}, compute capability {}.{}", self.capability.0, self.capability.1),
                if emulated { host_processor() } else { &self.physical },
            ),
            class: match (emulated, self.integrated) {
                (true, _) => DeviceClass::Software,
                (_, true) => DeviceClass::IntegratedGpu,
                _ => DeviceClass::DiscreteGpu,
            },
            units: self.multiprocessors,
            vector: 1,
            vector_bytes: 16,
            memory: MemoryInfo {
                total: self.memory,
                max_alloc: self.memory,
                unified: self.integrated,
                kinds: vec![Memory::Device, Memory::Upload, Memory::Readback],
            },
            types,
            features,
            fragments,
            subgroups: Some(Subgroups { min: WARP, max: WARP }),
            limits: Limits {
                max_workgroup: self.workgroup,
                max_workgroup_dim: self.workgroup_dim,
                max_groups: self.groups,
                max_shared: self.shared,
                // 4,096 bytes of parameters on every chip and driver, 8 of them a pointer, 128 a map of a tensor, of which a kernel
                // has four.
                max_bindings: 64,
                max_binding_bytes: self.memory,
                // What an allocation is aligned to; a vector needs 16.
                binding_align: 256,
                copy_align: 1,
                max_scalars: 4096 - 64 * 8 - 4 * 128 - 64,
                queues: crate::QUEUES,
            },
            // Of events, by the reference of cuEventElapsedTime about half a microsecond.
            clock: Some(Clock { resolution_ns: 500 }),
            serialised: false,
            kernels: true,
            arithmetic,
            numerics: Default::default(),
        }
    }
}
