//! What a device is and can do: probed, typed, serialisable.
//!
//! Nothing here is inferred from a vendor's name. A capability that is not listed is not used.

use crate::{DType, ir::Swizzle};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// Everything known about a device before the first kernel runs on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// How to ask for it: `"cpu"`, `"opencl:0"`.
    pub id: String,
    /// The driver's name; with `-emulated` behind it where the device is a stand-in for tests and not a chip.
    pub backend: String,
    /// Who it is.
    pub identity: Identity,
    /// What sort of thing it is; `auto` ranks by it.
    pub class: DeviceClass,
    /// Parallel units as the driver counts them (cores, SMs, CUs).
    pub units: u32,
    /// Lanes of an f32 vector with which the code of one lane of a workgroup is fastest. 1 where the lanes of a workgroup are
    /// themselves lanes of a vector, as on GPUs; more where they run one after another and only vectors in the code use the units.
    pub vector: u32,
    /// Bytes that one lane should read or write at once where they lie side by side and aligned: 16 on GPUs; 0 where that gains
    /// nothing.
    pub vector_bytes: u32,
    /// Memory.
    pub memory: MemoryInfo,
    /// Per element type: what may be done with it.
    pub types: BTreeMap<DType, TypeSupport>,
    /// Features beyond the core language.
    pub features: BTreeSet<Feature>,
    /// Matrix-fragment shapes that the device multiplies natively.
    pub fragments: Vec<FragmentShape>,
    /// Subgroups; `None` when the device has none to show.
    pub subgroups: Option<Subgroups>,
    /// Limits.
    pub limits: Limits,
    /// The device's clock for spans, if it has one.
    pub clock: Option<Clock>,
    /// True when calls must not overlap (hal serialises them).
    pub serialised: bool,
    /// True for a device that takes kernels; false for one with a fixed library of operations.
    pub kernels: bool,
    /// Per float type: what its arithmetic promises.
    pub arithmetic: BTreeMap<DType, Arithmetic>,
    /// How results come about: as fast as the bounds allow, or the same bits everywhere.
    #[serde(default)]
    pub numerics: Numerics,
}

/// How the results of a device come about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numerics {
    /// By whatever is fastest on the chip and inside the bound of the operation.
    #[default]
    Fast,
    /// The same bits on every device that offers it: integer operations and sums, differences and products that are rounded one by one,
    /// and everything else built from those in one order. Only devices whose declared [`Arithmetic`] leaves no choice in these offer
    /// it: see [`Exact`](crate::layer::Exact).
    Exact,
}

impl DeviceInfo {
    /// True when the feature is there.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// What the device does with a type; nothing when it is not listed.
    pub fn support(&self, dtype: DType) -> TypeSupport {
        self.types.get(&dtype).copied().unwrap_or_default()
    }

    /// A text that changes whenever compiled code or measurements of this device may no longer hold.
    pub fn fingerprint(&self) -> String {
        let i = &self.identity;
        let exact = if self.numerics == Numerics::Exact { "|exact" } else { "" };
        format!("{}|{}|{}|{}|{}{exact}", self.backend, i.vendor, i.name, i.driver, i.version)
    }
}

/// Who a device is; every field is mandatory, so that no device is anonymous.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The maker.
    pub vendor: String,
    /// The product.
    pub name: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub version: String,
    /// What ties one chip to several backends: `pci:0000:01:00.0`, else `uuid:` and its digits, and for every device that runs
    /// on the host's processor what [`host_processor`] says. A text that no other chip of this machine has.
    pub physical: String,
}

impl Identity {
    /// An identity; empty fields are replaced by `"unknown"` so that a reader sees the gap.
    pub fn new(vendor: &str, name: &str, driver: &str, version: &str, physical: &str) -> Identity {
        let known = |s: &str| match s.trim() {
            "" => "unknown".to_string(),
            s => s.to_string(),
        };
        Identity {
            vendor: known(vendor),
            name: known(name),
            driver: known(driver),
            version: known(version),
            physical: known(physical),
        }
    }

    /// True when both are the same chip, whatever driver shows it. What is unknown ties nothing.
    pub fn same_chip(&self, other: &Identity) -> bool {
        self.physical == other.physical && self.physical != "unknown"
    }
}

/// The host's processor, by the name of its model: the physical identity of the CPU, and of every GPU interface in software.
pub fn host_processor() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name" && !value.trim().is_empty()).then(|| value.trim().to_string())
        });
        model.unwrap_or_else(|| format!("{} processor", std::env::consts::ARCH))
    });
    &NAME
}

/// What sort of device it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// A GPU API running on the CPU (PoCL, lavapipe).
    Software,
    /// The host's cores, natively.
    Cpu,
    /// A GPU that shares the host's memory.
    IntegratedGpu,
    /// Something else with a driver: NPU, DSP, FPGA.
    Accelerator,
    /// A GPU with its own memory.
    DiscreteGpu,
}

/// Memory of a device, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// All of it.
    pub total: u64,
    /// The largest single buffer.
    pub max_alloc: u64,
    /// True when the host sees the same memory.
    pub unified: bool,
    /// Kinds that `alloc` takes.
    pub kinds: Vec<crate::Memory>,
}

/// What may be done with an element type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeSupport {
    /// Buffers and arrays of the workgroup of it may be read and written. Types of less than 32 bits that may not be are
    /// packed into words by the legaliser.
    pub storage: bool,
    /// Values of it may be computed with. Integers of less than 32 bits that may not be are computed in 32 bits, small
    /// floats in f32; arrays of the workgroup of such integers are 32 bits wide.
    pub arithmetic: bool,
    /// Integer atomics (add, min, max, and, or, xor, exchange, compare-exchange) in buffers and shared memory;
    /// for floats: add.
    pub atomics: bool,
    /// Packed dot products (int8).
    pub dot: bool,
}

impl TypeSupport {
    /// Storage and arithmetic, nothing else.
    pub const FULL: TypeSupport = TypeSupport { storage: true, arithmetic: true, atomics: false, dot: false };
    /// Storage, arithmetic and atomics.
    pub const ATOMIC: TypeSupport = TypeSupport { storage: true, arithmetic: true, atomics: true, dot: false };
    /// Storage only: values are converted on load and store.
    pub const STORAGE: TypeSupport = TypeSupport { storage: true, arithmetic: false, atomics: false, dot: false };
}

/// What a kernel may need beyond the core language. Append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Feature {
    /// `fma` rounds once.
    Fma,
    /// Workgroup reductions are native (else lowered to shared memory).
    GroupReduce,
    /// Subgroup size, lane and id.
    Subgroup,
    /// Subgroup reductions and votes.
    SubgroupReduce,
    /// Subgroup shuffle and broadcast.
    SubgroupShuffle,
    /// Asynchronous copy to shared memory (else load, store, barrier).
    AsyncCopy,
    /// Matrix fragments (else scalar code over shared memory).
    Fragments,
    /// Packed int8 dot products (else four multiplications).
    Dot4,
    /// Error function as one instruction (else a polynomial).
    Erf,
    /// 64-bit integer atomics.
    Atomic64,
    /// Kernels may be launched with 64-bit indices.
    Idx64,
    /// exp, exp2, log, log2, sin, cos, tan, tanh, pow, rem, rsqrt and recip of f32 and f64 are within the bounds of the
    /// table of operations (else they are computed from + − × and integers).
    Math,
    /// Which lane holds which element of a fragment is known: elements are visited where they are, and fragments are read
    /// from swizzled tiles (else fragments in such kernels are lowered).
    FragmentElements,
    /// Copies of whole boxes of a tensor to shared memory (else every lane copies its part).
    TileCopy,
}

/// A matrix-fragment shape: D[m×n] = A[m×k]·B[k×n] + C.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentShape {
    /// Rows of A.
    pub m: u16,
    /// Columns of B.
    pub n: u16,
    /// Columns of A.
    pub k: u16,
    /// Element type of A.
    pub a: DType,
    /// Element type of B.
    pub b: DType,
    /// Element type of C and D.
    pub acc: DType,
    /// Bits that the accumulator keeps.
    pub acc_bits: u8,
    /// How partial sums are rounded.
    pub rounding: Rounding,
    /// Bits of an operand's significand that the product keeps: all of its type ([`FragmentShape::whole`]), or fewer. A device offers
    /// fewer only to who has asked for it: no bound of an operation allows for that.
    pub operand_bits: u8,
    /// Subgroups that hold a fragment together. More than 1: the workgroup has so many and no more, and products read both operands from
    /// tiles that it shares, as [`FragmentShape::LINE`] says.
    pub subgroups: u8,
}

impl FragmentShape {
    /// Bits of a significand, the hidden one included; all bits of an integer.
    pub fn whole(d: DType) -> u8 {
        match d {
            DType::F64 => 53,
            DType::F32 => 24,
            DType::F16 => 11,
            DType::BF16 => 8,
            DType::F8E4M3 => 4,
            DType::F8E5M2 => 3,
            d => 8 * d.size() as u8,
        }
    }

    /// Bytes of a line of the tiles that a product of several subgroups reads. Lines are permuted by eights ([`FragmentShape::TILE`]), a
    /// tile begins at a multiple of eight lines. Those of A are its rows; those of B its columns, or its rows where they are one line.
    pub const LINE: usize = 128;
    /// How tiles of such lines are permuted.
    pub const TILE: Swizzle = Swizzle { bits: 3, shift: 0 };

    /// Whether operands lose bits in the product.
    pub fn cuts(&self) -> bool {
        self.operand_bits < Self::whole(self.a).max(Self::whole(self.b))
    }
}

/// Rounding of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To nearest, ties to even.
    NearestEven,
    /// Towards zero.
    Truncate,
    /// Not promised.
    Unknown,
}

/// Subgroups of a device. A subgroup's size is a run-time value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subgroups {
    /// Smallest size.
    pub min: u32,
    /// Largest size.
    pub max: u32,
}

/// Limits; a launch outside them is refused by hal with the limit in the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Lanes of a workgroup.
    pub max_workgroup: u32,
    /// Lanes per dimension of a workgroup.
    pub max_workgroup_dim: [u32; 3],
    /// Workgroups per dimension of a grid.
    pub max_groups: [u32; 3],
    /// Bytes of workgroup-shared memory.
    pub max_shared: u32,
    /// Buffers of one kernel.
    pub max_bindings: u32,
    /// Bytes of one binding.
    pub max_binding_bytes: u64,
    /// Alignment of a binding's offset.
    pub binding_align: u64,
    /// Alignment of a copy's offsets and length.
    pub copy_align: u64,
    /// Bytes of scalars of one launch. hal puts more into a buffer.
    pub max_scalars: u32,
    /// Queues.
    pub queues: u32,
}

/// A device clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Nanoseconds between two ticks.
    pub resolution_ns: u64,
}

/// What the arithmetic of a float type promises. From the API's guarantees; a probe may refute, never prove.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arithmetic {
    /// + − × are correctly rounded.
    pub correctly_rounded: bool,
    /// The compiler may contract a·b+c.
    pub may_contract: bool,
    /// The compiler may compute sums, products and quotients in another order, and x − x, 0 · x, x / x and x / 0 as it likes (fast math,
    /// WGSL). Kernels then hide from it what they depend on, which costs them. When unsure, say that it may.
    pub may_reassociate: bool,
    /// `fma` rounds once.
    pub fma_fused: bool,
    /// ULPs of a division.
    pub div_ulp: f32,
    /// ULPs of a square root.
    pub sqrt_ulp: f32,
    /// What happens to subnormal numbers.
    pub subnormals: Subnormals,
    /// NaN and infinity behave as IEEE 754 says.
    pub nan_inf: bool,
}

impl Arithmetic {
    /// IEEE 754 to the letter, no contraction.
    pub const IEEE: Arithmetic = Arithmetic {
        correctly_rounded: true,
        may_contract: false,
        may_reassociate: false,
        fma_fused: true,
        div_ulp: 0.5,
        sqrt_ulp: 0.5,
        subnormals: Subnormals::Kept,
        nan_inf: true,
    };
}

/// Subnormal numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subnormals {
    /// Kept.
    Kept,
    /// Flushed to zero.
    Flushed,
    /// Not promised.
    Unknown,
}
