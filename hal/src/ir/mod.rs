//! The kernel language: small, typed, structured, versioned, append-only.
//!
//! A [`Kernel`] is a value: comparable, serialisable, printed as text. Values are numbered, each defined once;
//! mutable state lives in variables, private arrays, shared arrays and buffers. There are no pointers and no
//! device-wide barrier. A backend meets a kernel only after it was verified and legalised for its device.
//!
//! # Meaning
//! * Integers wrap; shift amounts are taken modulo the width; `x / 0 = 0`, `x % 0 = 0`, `MIN / -1 = MIN`,
//!   `MIN % -1 = 0`.
//! * Float to integer truncates towards zero and saturates, NaN gives 0. Float to float rounds to nearest even.
//!   Integer to float rounds to nearest even. Anything to bool is `!= 0`; bool to number is 0 or 1.
//! * `Min` and `Max` of floats give NaN when either operand is NaN.
//! * `MulAdd` may round once or twice; `Fma` rounds once and needs [`Feature::Fma`](crate::info::Feature).
//! * Bool in buffers is one byte, 0 or 1 (any non-zero byte reads as true).
//! * f16, bf16 and fp8 values may be held wider between load and store only by a legaliser that states so; without
//!   arithmetic support they are converted to f32 on load and back on store.
//! * `Sign` of NaN is NaN, of ±0 the same zero.
//! * Atomics are relaxed: they order nothing but themselves. A barrier orders, within its scope.
//! * `idx` is an unsigned integer of 32 or 64 bits, chosen when the kernel is legalised.
//! * A grid is linear unless the kernel uses a dimension above 0: hal folds it where a dimension is limited.
//!   A workgroup is numbered with dimension 0 fastest.
//! * Barriers, group operations, subgroup operations, fragments and copies of boxes stand in control flow that is uniform
//!   over their scope.

pub mod build;
pub mod fp8;
pub mod legal;
mod op;
pub mod text;
pub mod typed;
mod types;
pub mod uses;
pub mod verify;

mod uniform;

use crate::DType;
use serde::{Deserialize, Serialize};

pub use build::Builder;
pub use op::{
    AtomicOp, BinaryOp, Builtin, CmpOp, FragOperand, Layout, Op, ReduceOp, SubgroupOp, Swizzle, UnaryOp, Unroll,
};
pub use types::{
    Access, Array, Elem, Frag, FragRole, Param, ParamId, ParamKind, Place, PrivateId, Role, Scope, SharedId, TileView,
    Type, Value, Var, VarId,
};

/// Version of the language; raised when something is appended.
pub const VERSION: u32 = 1;
/// Where an operation was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Loc {
    /// Index into [`Kernel::files`].
    pub file: u16,
    /// Line, from 1; 0: unknown.
    pub line: u32,
}

/// An operation in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inst {
    /// The value it defines.
    pub out: Option<Value>,
    /// What it does.
    pub op: Op,
    /// Where it was written.
    pub loc: Loc,
}

/// Operations in order.
pub type Block = Vec<Inst>;

/// Hints of the author to the compiler.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Hints {
    /// Workgroups that should fit a compute unit at once.
    pub min_groups_per_unit: Option<u32>,
    /// Subgroup size that the schedule was made for.
    pub subgroup: Option<u32>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// [`VERSION`] when it was made.
    pub version: u32,
    /// Its name; an identifier.
    pub name: String,
    /// Lanes of a workgroup per dimension: part of its identity.
    pub workgroup: [u32; 3],
    /// Parameters, buffers and scalars in one list.
    pub params: Vec<Param>,
    /// Arrays of the workgroup.
    pub shared: Vec<Array>,
    /// Arrays of each lane.
    pub private: Vec<Array>,
    /// Variables.
    pub vars: Vec<Var>,
    /// Type of each value.
    pub values: Vec<Type>,
    /// The code.
    pub body: Block,
    /// Source files that `Loc` names.
    pub files: Vec<String>,
    /// Hints.
    pub hints: Hints,
    /// Bits of `idx` once legalised; 0 before.
    pub idx_bits: u8,
}

/// Where a scalar lies in the packed bytes of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalarSlot {
    /// The parameter.
    pub param: ParamId,
    /// First byte.
    pub offset: u32,
    /// Bytes.
    pub bytes: u32,
}

impl Kernel {
    /// Type of a value.
    pub fn ty(&self, v: Value) -> Type {
        self.values[v.at()]
    }

    /// Bytes of an element in scalars, variables and arrays; `idx` as legalised (8 before).
    pub fn elem_bytes(&self, e: Elem) -> usize {
        match e {
            Elem::D(d) => d.size(),
            Elem::Idx if self.idx_bits == 32 => 4,
            Elem::Idx => 8,
        }
    }

    /// Buffer parameters in order: the order of a launch's bindings.
    pub fn buffers(&self) -> impl Iterator<Item = (ParamId, DType, Access)> + '_ {
        self.params.iter().enumerate().filter_map(|(i, p)| match p.kind {
            ParamKind::Buffer { elem, access, .. } => Some((ParamId(i as u32), elem, access)),
            ParamKind::Scalar { .. } => None,
        })
    }

    /// Where each scalar lies in a launch's packed bytes: in order, each aligned to its own size.
    pub fn scalar_layout(&self) -> (Vec<ScalarSlot>, u32) {
        let mut slots = Vec::new();
        let mut end = 0u32;
        for (i, p) in self.params.iter().enumerate() {
            if let ParamKind::Scalar { elem, .. } = p.kind {
                let bytes = self.elem_bytes(elem) as u32;
                let offset = end.next_multiple_of(bytes);
                slots.push(ScalarSlot { param: ParamId(i as u32), offset, bytes });
                end = offset + bytes;
            }
        }
        (slots, end)
    }

    /// Lanes of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.workgroup.iter().product()
    }

    /// Bytes of shared memory, each array aligned to 16.
    pub fn shared_bytes(&self) -> u64 {
        self.shared.iter().map(|a| (a.len as u64 * self.elem_bytes(a.elem) as u64).next_multiple_of(16)).sum()
    }

    /// Content hash without names of files and lines: kernels that do the same thing the same way share it.
    pub fn identity(&self) -> [u8; 32] {
        let mut bare = self.clone();
        bare.files.clear();
        visit_mut(&mut bare.body, &mut |i| i.loc = Loc::default());
        let text = serde_json::to_vec(&bare).expect("a kernel is plain data");
        *blake3::hash(&text).as_bytes()
    }
}

/// Visits every operation, outer before inner.
pub fn visit<'a>(block: &'a Block, f: &mut dyn FnMut(&'a Inst)) {
    for inst in block {
        f(inst);
        for b in inst.op.blocks() {
            visit(b, f);
        }
    }
}

/// Visits every operation, outer before inner.
pub fn visit_mut(block: &mut Block, f: &mut dyn FnMut(&mut Inst)) {
    for inst in block {
        f(inst);
        for b in inst.op.blocks_mut() {
            visit_mut(b, f);
        }
    }
}
