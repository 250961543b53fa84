//! What differs between the dialects of C: names, qualifiers, capabilities.
//!
//! A new dialect is a new constructor. The printer uses OpenCL's families of functions on vectors (`vloadN`,
//! `convert_T`, `as_T`, `select`, arithmetic on lanes); a dialect that lacks them defines them in its preamble.

use crate::{DType, ir::*};

/// A dialect: a table.
#[derive(Clone)]
pub struct Dialect {
    /// Its name, for messages and the first line of the text.
    pub name: &'static str,
    /// What stands before everything else, told the lanes of a workgroup.
    pub begin: fn([u32; 3]) -> String,
    /// What stands before every function.
    pub preamble: String,
    /// What stands behind everything else, told the name of the kernel's function.
    pub end: fn(&str) -> String,
    /// What stands before a function that the text defines for itself, with a space behind.
    pub function: &'static str,
    /// The name of a scalar type; `None` where it has none.
    pub scalar: fn(DType) -> Option<&'static str>,
    /// Qualifier of buffers, with a space behind.
    pub global: &'static str,
    /// Qualifier of pointers to memory of the workgroup, with a space behind.
    pub shared: &'static str,
    /// Qualifier of pointers to a lane's own memory, with a space behind.
    pub private: &'static str,
    /// Qualifier of arrays of the workgroup, with a space behind.
    pub shared_array: fn(wide: bool) -> &'static str,
    /// What stands behind an array of the workgroup, so that vectors may be read from it.
    pub shared_align: &'static str,
    /// Qualifier of a pointer that nothing else points into.
    pub restrict: &'static str,
    /// What stands before the name of a kernel with this workgroup.
    pub entry: fn([u32; 3]) -> String,
    /// The expression for a number from the surroundings, before it is cast; `None` where there is none.
    pub builtin: fn(Builtin) -> Option<String>,
    /// The statement with which all lanes of the workgroup meet.
    pub barrier: &'static str,
    /// The statement with which the lanes of a subgroup meet, where it has subgroups. Then its preamble has, for every type,
    /// `subgroup_sum`, `_prod`, `_min`, `_max`, `_and`, `_or`, `_xor`, `_scan` (exclusive sum), `_shuffle`, `_shuffle_xor`, `_shuffle_up` and
    /// `_shuffle_down`, for vectors too.
    pub subgroup_barrier: Option<&'static str>,
    /// What the preamble says of asynchronous copies, for kernels that have them; `None` where the legaliser lowers them.
    pub copies: Option<&'static str>,
    /// The same of copies of boxes of tensors.
    pub boxes: Option<&'static str>,
    /// The same of matrix fragments.
    pub fragments: Option<String>,
    /// The same of fragments that a workgroup holds, behind those.
    pub wide_fragments: Option<String>,
    /// Bytes of arrays of the workgroup beyond which they are cut from one that the launch asks for; `None`: never.
    pub shared_most: Option<u32>,
    /// An expression for a vector of this type: one part for every lane, or one for all.
    pub vector: fn(&str, &[String]) -> String,
    /// The statement that writes a vector where it lies aligned, told a pointer to one and the vector.
    pub put: fn(&str, &str) -> String,
    /// A lane of a vector.
    pub lane: fn(&str, u8) -> String,
    /// The line before a loop that asks for unrolling.
    pub unroll: fn(Unroll) -> Option<String>,
    /// f16 computes.
    pub f16: bool,
    /// f64 computes.
    pub f64: bool,
    /// `MulAdd` of f32 is one instruction: print `fma`.
    pub fma_f32: bool,
    /// `MulAdd` of f64 is one instruction: print `fma`.
    pub fma_f64: bool,
    /// 64-bit atomics.
    pub atomic64: bool,
    /// `atomic_add` takes floats.
    pub atomic_floats: bool,
    /// `dot4_ss`, `dot4_su`, `dot4_us` and `dot4_uu`: packed products of bytes.
    pub dot4: bool,
    /// `vloada_half` and `vstorea_half`: small floats that lie aligned are read and written as one vector.
    pub small_vectors: bool,
    /// `tanh` stays below 1 where it must reach it: print a choice around it.
    pub tanh_below_one: bool,
    /// Functions convert their argument to an integer without a look at its range: what the optimiser knows to be NaN or large makes
    /// them undefined, and the store behind them goes. Print a choice around them.
    pub unranged: bool,
    /// `sin`, `cos` and `tan` of vectors are wrong: print them by elements.
    pub sine_by_elements: bool,
    /// What stands before a loop with a barrier is lost: print one more barrier between them.
    pub barrier_before_loops: bool,
}

/// What the OpenCL dialect must know of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenCl {
    /// `cl_khr_fp16`.
    pub f16: bool,
    /// `cl_khr_fp64`, or a device of OpenCL 1.2 and later that has doubles.
    pub f64: bool,
    /// `fma` of f32 is as fast as a multiplication.
    pub fma_f32: bool,
    /// `fma` of f64 is as fast as a multiplication.
    pub fma_f64: bool,
    /// `cl_khr_int64_base_atomics` and `cl_khr_int64_extended_atomics`.
    pub atomic64: bool,
    /// A defect: `tanh` stays below 1 even at infinity.
    pub tanh_below_one: bool,
    /// A defect: functions are undefined for a constant that no integer holds.
    pub unranged: bool,
    /// A defect: `sin`, `cos` and `tan` of vectors are wrong.
    pub sine_by_elements: bool,
    /// A defect: what stands before a loop with a barrier in it, in a branch that the loop's own condition decides, is lost.
    pub barrier_before_loops: bool,
}

impl Dialect {
    /// OpenCL C 1.2, which every device of OpenCL 1.2 to 3.0 takes.
    pub fn opencl(o: OpenCl) -> Dialect {
        let mut preamble = String::new();
        for (has, extension) in [
            (o.f16, "cl_khr_fp16"),
            (o.f64, "cl_khr_fp64"),
            (o.atomic64, "cl_khr_int64_base_atomics"),
            (o.atomic64, "cl_khr_int64_extended_atomics"),
        ] {
            if has {
                preamble += &format!("#pragma OPENCL EXTENSION {extension} : enable\n");
            }
        }
        preamble += "#pragma OPENCL FP_CONTRACT OFF\n";
        Dialect {
            name: "OpenCL C 1.2",
            begin: |_| String::new(),
            preamble,
            end: |_| String::new(),
            function: "static ",
            scalar: |d| match d {
                DType::Bool => Some("bool"),
                DType::I8 => Some("char"),
                DType::I16 => Some("short"),
                DType::I32 => Some("int"),
                DType::I64 => Some("long"),
                DType::U8 => Some("uchar"),
                DType::U16 => Some("ushort"),
                DType::U32 => Some("uint"),
                DType::U64 => Some("ulong"),
                DType::F16 => Some("half"),
                DType::F32 => Some("float"),
                DType::F64 => Some("double"),
                DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => None,
            },
            global: "__global ",
            shared: "__local ",
            private: "__private ",
            shared_array: |_| "__local ",
            shared_align: " __attribute__((aligned(64)))",
            restrict: "restrict",
            entry: |[x, y, z]| format!("__kernel __attribute__((reqd_work_group_size({x}, {y}, {z}))) void"),
            builtin: |b| match b {
                Builtin::GroupId(d) => Some(format!("get_group_id({d})")),
                Builtin::NumGroups(d) => Some(format!("get_num_groups({d})")),
                Builtin::LocalId(d) => Some(format!("get_local_id({d})")),
                Builtin::LocalSize(d) => Some(format!("get_local_size({d})")),
                Builtin::GlobalId(d) => Some(format!("get_global_id({d})")),
                // Drivers of OpenCL 1.2 have none, and none of those tested offers shuffles without defects.
                Builtin::SubgroupSize | Builtin::SubgroupLane | Builtin::SubgroupId => None,
            },
            barrier: "barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);",
            subgroup_barrier: None,
            copies: None,
            boxes: None,
            fragments: None,
            wide_fragments: None,
            shared_most: None,
            put: |to, x| format!("*{to} = {x};"),
            lane: |vector, lane| format!("{vector}.s{lane:x}"),
            vector: |ty, parts| format!("(({ty})({}))", parts.join(", ")),
            // The attribute came with OpenCL 2.0; the pragma is older, and ignored where it is unknown.
            unroll: |u| match u {
                Unroll::Auto => None,
                Unroll::Never => Some("#pragma unroll 1".into()),
                Unroll::Full => Some("#pragma unroll".into()),
                Unroll::By(n) => Some(format!("#pragma unroll {n}")),
            },
            f16: o.f16,
            f64: o.f64,
            fma_f32: o.fma_f32,
            fma_f64: o.fma_f64,
            atomic64: o.atomic64,
            atomic_floats: false,
            dot4: false,
            small_vectors: false,
            tanh_below_one: o.tanh_below_one,
            unranged: o.unranged,
            sine_by_elements: o.sine_by_elements,
            barrier_before_loops: o.barrier_before_loops,
        }
    }
}
