//! CUDA C, as NVRTC compiles it for one architecture, with no header of any toolkit.
//!
//! Where CUDA C and the printer disagree, and what stands in the preamble (`cuda.cuh`) for it:
//! * It has no arithmetic on vectors: `vec<T, N>` has, and the functions of OpenCL C that the printer names, lane by lane.
//!   A vector that lies aligned is read and written by 16 bytes at once.
//! * `char` may be unsigned and `long` may have 32 bits, as on the host: 8- and 64-bit integers have names of their own.
//! * All of it stands in a namespace: `float4`, `min` or `exp` of the preamble hide the toolkit's, and nothing is ambiguous.
//! * Small floats lie in memory as their bits; they are converted by instructions where the architecture has them.
//! * Lanes of a subgroup name each other in a mask: those of a last, partial one are fewer.
//! * Arrays of a workgroup beyond 48 KiB are not declared but asked for by the launch ([`super::Rendered::shared`]).
//! * Fragments are those of mma.sync (`cuda_mma.cuh`, before sm_75 `cuda_volta.cuh`), loaded by ldmatrix where a tile's rows lie
//!   aligned; copies are cp.async. Both have a preamble of their own, for kernels that use them.
//! * Boxes of tensors are copied by cp.async.bulk.tensor (`cuda_tiles.cuh`), told by maps that the launch makes
//!   ([`super::Rendered::boxes`]).
//! * Fragments of a workgroup are multiplied by wgmma (`cuda_wgmma.rs`), which reads shared memory by another way than lanes write it:
//!   a barrier fences it.
//! * How many workgroups share a processor is the assembler's choice, and the compiler's option `RESIDENT` another.
//! * Contraction, fast division and flushing are options of the compiler ([`Cuda::OPTIONS`]), on by none of these.

use super::{cuda_wgmma, dialect::Dialect};
use crate::{
    DType,
    info::{FragmentShape, Rounding},
    ir::*,
};

/// Bits of the significand of tf32.
const TF32: u8 = 11;

/// What the CUDA dialect must know of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuda {
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Operands of f32 may be cut to tf32 where fragments multiply them: they are only offered then.
    pub tf32: bool,
}

impl Cuda {
    /// Options of NVRTC under which the text means what the kernel says.
    pub const OPTIONS: [&'static str; 5] =
        ["--std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false"];

    /// Packed products of bytes are one instruction.
    pub fn dot4(self) -> bool {
        self.capability >= (6, 1)
    }

    /// Copies to memory of the workgroup run apart from what issued them.
    pub fn copies(self) -> bool {
        self.capability >= (8, 0)
    }

    /// Whole boxes of tensors are copied there.
    pub fn boxes(self) -> bool {
        self.capability >= (9, 0)
    }

    /// The first generation with fragments, whose products are of another shape.
    fn is_volta(self) -> bool {
        self.capability >= (7, 0) && self.capability < (7, 5)
    }

    /// Four warps multiply out of shared memory: Hopper alone, whose successors do it otherwise.
    fn warpgroups(self) -> bool {
        self.capability == (9, 0)
    }

    /// Products that all of a workgroup's warps make together, of one or two warpgroups.
    fn wide(self) -> impl Iterator<Item = FragmentShape> {
        let groups = if self.warpgroups() { 1..3 } else { 1..1 };
        let types = [DType::F16, DType::BF16];
        groups.rev().flat_map(move |groups: u16| {
            cuda_wgmma::COLUMNS.into_iter().rev().flat_map(move |n| {
                types.into_iter().map(move |d| FragmentShape {
                    m: groups * cuda_wgmma::ROWS,
                    n,
                    k: cuda_wgmma::INNER,
                    a: d,
                    b: d,
                    acc: DType::F32,
                    acc_bits: 24,
                    rounding: Rounding::Truncate,
                    operand_bits: FragmentShape::whole(d),
                    subgroups: 4 * groups as u8,
                })
            })
        })
    }

    /// Products of fragments: those that a workgroup makes, and those of mma.sync with 16 rows, one and two of its 8 columns at a time;
    /// Volta's four products at a time. Terms are summed without rounding between them and cut off towards zero (measured by Fasi,
    /// Higham, Mikaitis, Pranesh: "Numerical behavior of NVIDIA tensor cores", 2021, for V100, T4 and A100).
    pub fn fragments(self) -> Vec<FragmentShape> {
        use DType::*;
        let products: &[[DType; 3]] = match self.capability {
            (8.., _) => {
                &[[F16, F16, F32], [BF16, BF16, F32], [I8, I8, I32], [U8, U8, I32], [I8, U8, I32], [U8, I8, I32]]
            }
            (7, _) => &[[F16, F16, F32]],
            _ => &[],
        };
        let shape = |&[a, b, acc]: &[DType; 3], n| FragmentShape {
            m: 16,
            n,
            k: 32 / a.size() as u16,
            a,
            b,
            acc,
            acc_bits: if acc == F32 { 24 } else { 32 },
            rounding: Rounding::Truncate,
            operand_bits: if a == F32 { TF32 } else { FragmentShape::whole(a) },
            subgroups: 1,
        };
        let cut: &[[DType; 3]] = if self.tf32 && self.capability >= (8, 0) { &[[F32; 3]] } else { &[] };
        let columns: &[u16] = if self.is_volta() { &[16] } else { &[16, 8] };
        let of_warps = columns.iter().flat_map(|n| products.iter().chain(cut).map(move |p| shape(p, *n)));
        self.wide().chain(of_warps).collect()
    }
}

impl Dialect {
    /// CUDA C++ for an architecture, from 6.0.
    pub fn cuda(c: Cuda) -> Dialect {
        Dialect {
            name: "CUDA C++",
            // Known to the compiler: what depends on the lanes of a workgroup folds away.
            begin: |[x, y, z]| format!("#define LANES_X {x}u\n#define LANES_Y {y}u\n#define LANES_Z {z}u\n"),
            preamble: include_str!("cuda.cuh").to_string(),
            end: |entry| format!("}}\nusing anychip::{entry};\n"),
            function: "__device__ __forceinline__ ",
            scalar: |d| match d {
                DType::Bool => Some("bool"),
                DType::I8 => Some("schar"),
                DType::I16 => Some("short"),
                DType::I32 => Some("int"),
                DType::I64 => Some("llong"),
                DType::U8 => Some("uchar"),
                DType::U16 => Some("ushort"),
                DType::U32 => Some("uint"),
                DType::U64 => Some("ullong"),
                DType::F16 => Some("half"),
                DType::BF16 => Some("bfloat"),
                DType::F32 => Some("float"),
                DType::F64 => Some("double"),
                DType::F8E4M3 | DType::F8E5M2 => None,
            },
            global: "",
            shared: "",
            private: "",
            shared_array: |wide| match wide {
                true => "__shared__ __align__(1024) ",
                false => "__shared__ __align__(16) ",
            },
            shared_align: "",
            restrict: "__restrict__",
            entry: |[x, y, z]| {
                let lanes = u64::from(x) * u64::from(y) * u64::from(z);
                format!("extern \"C\" __global__ void __launch_bounds__({lanes}, RESIDENT)")
            },
            builtin: |b| {
                let axis = |d: u8| ['x', 'y', 'z'][usize::from(d.min(2))];
                Some(match b {
                    Builtin::GroupId(d) => format!("blockIdx.{}", axis(d)),
                    Builtin::NumGroups(d) => format!("gridDim.{}", axis(d)),
                    Builtin::LocalId(d) => format!("threadIdx.{}", axis(d)),
                    Builtin::LocalSize(d) => format!("blockDim.{}", axis(d)),
                    // The legaliser has none left: the product would be one of 32 bits.
                    Builtin::GlobalId(_) => return None,
                    Builtin::SubgroupSize => "32u".into(),
                    Builtin::SubgroupLane => "subgroup_lane()".into(),
                    Builtin::SubgroupId => "subgroup_id()".into(),
                })
            },
            barrier: "__syncthreads();",
            subgroup_barrier: Some("__syncwarp(subgroup_mask());"),
            copies: c.copies().then_some(include_str!("cuda_copy.cuh")),
            boxes: c.boxes().then_some(include_str!("cuda_tiles.cuh")),
            fragments: (!c.fragments().is_empty()).then(|| {
                let held = if c.is_volta() { include_str!("cuda_volta.cuh") } else { include_str!("cuda_mma.cuh") };
                [include_str!("cuda_fragments.cuh"), held].concat()
            }),
            wide_fragments: c.warpgroups().then(|| {
                let products = cuda_wgmma::products();
                [include_str!("cuda_wgmma.cuh"), &products].concat()
            }),
            // What every chip takes in a declaration.
            shared_most: Some(48 << 10),
            vector: |ty, parts| format!("{ty}({})", parts.join(", ")),
            put: |to, x| format!("put({to}, {x});"),
            lane: |vector, lane| format!("{vector}.s[{lane}]"),
            unroll: |u| match u {
                Unroll::Auto => None,
                Unroll::Never => Some("#pragma unroll 1".into()),
                Unroll::Full => Some("#pragma unroll".into()),
                Unroll::By(n) => Some(format!("#pragma unroll {n}")),
            },
            f16: false,
            f64: true,
            fma_f32: true,
            fma_f64: true,
            atomic64: true,
            atomic_floats: true,
            dot4: c.dot4(),
            small_vectors: true,
            tanh_below_one: false,
            unranged: false,
            sine_by_elements: false,
            barrier_before_loops: false,
        }
    }
}
