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
//! * Barriers, group operations, subgroup operations and fragments stand in control flow that is uniform over
//!   their scope.

pub mod build;
pub mod fp8;
pub mod legal;
pub mod text;
pub mod typed;
pub mod uses;
pub mod verify;

mod uniform;

use crate::DType;
use serde::{Deserialize, Serialize};

pub use build::Builder;

/// Version of the language; raised when something is appended.
pub const VERSION: u32 = 1;

/// Element type of a value: the storage types and `idx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Elem {
    /// A type that also lies in memory.
    D(DType),
    /// An unsigned index of 32 or 64 bits, chosen when legalised. Never in buffers.
    Idx,
}

impl Elem {
    /// The name in texts.
    pub const fn name(self) -> &'static str {
        match self {
            Elem::D(d) => d.name(),
            Elem::Idx => "idx",
        }
    }
    /// The storage type; `None` for `idx`.
    pub const fn dtype(self) -> Option<DType> {
        match self {
            Elem::D(d) => Some(d),
            Elem::Idx => None,
        }
    }
    /// Integer, `idx` included, bool not.
    pub const fn is_int(self) -> bool {
        match self {
            Elem::D(d) => d.is_int(),
            Elem::Idx => true,
        }
    }
    /// Any float.
    pub const fn is_float(self) -> bool {
        match self {
            Elem::D(d) => d.is_float(),
            Elem::Idx => false,
        }
    }
    /// Signed integer.
    pub const fn is_signed(self) -> bool {
        match self {
            Elem::D(d) => d.is_signed(),
            Elem::Idx => false,
        }
    }
    /// Bool.
    pub const fn is_bool(self) -> bool {
        matches!(self, Elem::D(DType::Bool))
    }
}

impl From<DType> for Elem {
    fn from(d: DType) -> Elem {
        Elem::D(d)
    }
}

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// `lanes` elements: 1, 2, 4 or 8.
    Num {
        /// Element.
        elem: Elem,
        /// How many.
        lanes: u8,
    },
    /// A matrix fragment, spread over the lanes of its scope.
    Frag(Frag),
}

impl Type {
    /// A scalar type.
    pub fn scalar(elem: impl Into<Elem>) -> Type {
        Type::Num { elem: elem.into(), lanes: 1 }
    }
    /// A vector type.
    pub fn vector(elem: impl Into<Elem>, lanes: u8) -> Type {
        Type::Num { elem: elem.into(), lanes }
    }
    /// Scalar bool.
    pub const BOOL: Type = Type::Num { elem: Elem::D(DType::Bool), lanes: 1 };
    /// Scalar u32.
    pub const U32: Type = Type::Num { elem: Elem::D(DType::U32), lanes: 1 };
    /// Scalar idx.
    pub const IDX: Type = Type::Num { elem: Elem::Idx, lanes: 1 };
    /// Scalar f32.
    pub const F32: Type = Type::Num { elem: Elem::D(DType::F32), lanes: 1 };

    /// The element type of a scalar or vector.
    pub fn elem(self) -> Option<Elem> {
        match self {
            Type::Num { elem, .. } => Some(elem),
            Type::Frag(_) => None,
        }
    }
    /// Lanes of a scalar (1) or vector; 0 for a fragment.
    pub fn lanes(self) -> u8 {
        match self {
            Type::Num { lanes, .. } => lanes,
            Type::Frag(_) => 0,
        }
    }
}

impl From<DType> for Type {
    fn from(d: DType) -> Type {
        Type::scalar(d)
    }
}

/// Which operand a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FragRole {
    /// m×k.
    A,
    /// k×n.
    B,
    /// m×n.
    Acc,
}

/// A matrix fragment type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frag {
    /// Which operand.
    pub role: FragRole,
    /// Rows of the product.
    pub m: u16,
    /// Columns of the product.
    pub n: u16,
    /// Inner dimension.
    pub k: u16,
    /// Element type.
    pub elem: DType,
    /// Who holds it: one subgroup, or the workgroup.
    pub scope: Scope,
}

impl Frag {
    /// Rows and columns of this operand.
    pub fn shape(self) -> (u16, u16) {
        match self.role {
            FragRole::A => (self.m, self.k),
            FragRole::B => (self.k, self.n),
            FragRole::Acc => (self.m, self.n),
        }
    }
}

/// Lanes that act together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// One subgroup.
    Subgroup,
    /// One workgroup.
    Workgroup,
    /// The whole device (for the memory order of atomics; there is no device-wide barrier).
    Device,
}

macro_rules! id {
    ($(#[$m:meta])* $name:ident) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub u32);
        impl $name {
            /// The number as an index.
            pub fn at(self) -> usize {
                self.0 as usize
            }
        }
    };
}
id!(
    /// A value, defined by exactly one operation (or loop, or fragment visit).
    Value
);
id!(
    /// A parameter, by position.
    ParamId
);
id!(
    /// A mutable variable of one lane.
    VarId
);
id!(
    /// An array shared by a workgroup.
    SharedId
);
id!(
    /// An array private to a lane.
    PrivateId
);

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Only read; may be bound several times.
    Read,
    /// Only written.
    Write,
    /// Read and written.
    ReadWrite,
}

impl Access {
    /// Writes happen.
    pub fn writes(self) -> bool {
        !matches!(self, Access::Read)
    }
    /// Reads happen.
    pub fn reads(self) -> bool {
        !matches!(self, Access::Write)
    }
}

/// Why a scalar parameter exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Declared by the kernel's author.
    User,
    /// Added by the legaliser: elements between the binding's aligned offset and the buffer's first element.
    Offset(ParamId),
    /// Added by the legaliser: elements of a buffer.
    Len(ParamId),
    /// Added by the legaliser where grids are folded: workgroups of the linear grid.
    Groups,
}

/// What a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ParamKind {
    /// A buffer.
    Buffer {
        /// Element type.
        elem: DType,
        /// Reads, writes, both.
        access: Access,
        /// Elements that the address of element 0 is a multiple of, stated by the caller; 1 when nothing is known.
        align: u32,
    },
    /// A number, the same for every lane.
    Scalar {
        /// Element type.
        elem: Elem,
        /// Who added it.
        role: Role,
    },
}

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Param {
    /// Its name, for messages and rendered code; an identifier.
    pub name: String,
    /// What it is.
    pub kind: ParamKind,
}

/// A shared or private array.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Array {
    /// Its name; an identifier.
    pub name: String,
    /// Element type.
    pub elem: Elem,
    /// Elements.
    pub len: u32,
}

/// A mutable variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Var {
    /// Its name; an identifier.
    pub name: String,
    /// Its type: a scalar, a vector or a fragment.
    pub ty: Type,
}

/// Something indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// A buffer parameter.
    Buffer(ParamId),
    /// A shared array.
    Shared(SharedId),
    /// A private array.
    Private(PrivateId),
}

/// Numbers that a lane finds in its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Builtin {
    /// Workgroup in the grid, `idx`.
    GroupId(u8),
    /// Workgroups of the grid, `idx`.
    NumGroups(u8),
    /// Lane in the workgroup, u32.
    LocalId(u8),
    /// Lanes of the workgroup, u32.
    LocalSize(u8),
    /// `GroupId · LocalSize + LocalId`, `idx`.
    GlobalId(u8),
    /// Lanes of this subgroup, u32, a run-time value.
    SubgroupSize,
    /// Lane in the subgroup, u32.
    SubgroupLane,
    /// Subgroup in the workgroup, u32.
    SubgroupId,
}

/// One operand. All but the last group keep the operand's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the field's own names
pub enum UnaryOp {
    Neg,
    Abs,
    Sign,
    /// Logical for bool, bitwise for integers.
    Not,
    Floor,
    Ceil,
    Trunc,
    /// To nearest, ties to even.
    Round,
    Sqrt,
    Rsqrt,
    Recip,
    Exp,
    Exp2,
    Log,
    Log2,
    Sin,
    Cos,
    Tan,
    Tanh,
    Erf,
    CountOnes,
    LeadingZeros,
    TrailingZeros,
    /// Result bool.
    IsNan,
    /// Result bool.
    IsInf,
}

/// Two operands of one type, result of the same type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the field's own names
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Min,
    Max,
    Pow,
    And,
    Or,
    Xor,
    /// The amount has the type of the value.
    Shl,
    Shr,
}

/// Comparison of two operands of one type; result bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the field's own names
pub enum CmpOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Reduction over lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the field's own names
pub enum ReduceOp {
    Sum,
    Prod,
    Min,
    Max,
    And,
    Or,
    Xor,
}

/// Read-modify-write of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the field's own names
pub enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    /// Stores the value where the old one equals `compare`.
    CompareExchange,
    /// The value operand is ignored by convention: pass 0.
    Load,
    Store,
}

/// Operations across a subgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SubgroupOp {
    /// Every lane gets the reduction.
    Reduce(ReduceOp),
    /// Value of the lane given by the operand `lane`.
    Shuffle,
    /// Value of lane `own ^ lane`.
    ShuffleXor,
    /// Value of lane `own + lane`, undefined past the end.
    ShuffleDown,
    /// Value of lane `own - lane`, undefined before the start.
    ShuffleUp,
    /// Value of the lane given by the uniform operand `lane`.
    Broadcast,
    /// Exclusive prefix sum.
    ScanAdd,
}

/// How a loop should be unrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unroll {
    /// As the compiler likes.
    Auto,
    /// Not at all.
    Never,
    /// Completely.
    Full,
    /// By this factor.
    By(u16),
}

/// Element order of a tile in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Layout {
    /// Rows are contiguous.
    RowMajor,
    /// Columns are contiguous.
    ColMajor,
}

/// How a shared tile is permuted to avoid bank conflicts: the index of a 16-byte chunk within `1 << bits`-chunk
/// rows is XORed with its row, shifted by `shift`. `NONE` leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Swizzle {
    /// Chunks taking part, as a power of two.
    pub bits: u8,
    /// Right shift of the row.
    pub shift: u8,
}

impl Swizzle {
    /// No permutation.
    pub const NONE: Swizzle = Swizzle { bits: 0, shift: 0 };
}

/// An operand of a fragment multiplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FragOperand {
    /// A fragment held in registers.
    Reg(Value),
    /// A tile in shared memory.
    Tile {
        /// The array.
        shared: SharedId,
        /// First element, u32.
        index: Value,
        /// Elements between rows (columns for `ColMajor`), u32.
        stride: Value,
        /// Element order.
        layout: Layout,
        /// Permutation.
        swizzle: Swizzle,
    },
}

/// What an operation does. The result's type stands in [`Kernel::values`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// A constant: the low bits are the element's bit pattern (`idx`: the number); splatted over a vector's lanes.
    Const(u64),
    /// Reads a scalar parameter.
    Scalar(ParamId),
    /// Elements of a buffer, `idx`.
    BufLen(ParamId),
    /// A number from the surroundings.
    Builtin(Builtin),
    /// One operand.
    Unary(UnaryOp, Value),
    /// Two operands.
    Binary(BinaryOp, Value, Value),
    /// Comparison.
    Compare(CmpOp, Value, Value),
    /// a·b+c, rounded once or twice.
    MulAdd(Value, Value, Value),
    /// a·b+c, rounded once.
    Fma(Value, Value, Value),
    /// `cond ? a : b`; both are evaluated.
    Select(Value, Value, Value),
    /// Converts to the result's element type; lanes stay.
    Cast(Value),
    /// Reinterprets bits; sizes are equal.
    Bitcast(Value),
    /// `acc + Σ aᵢ·bᵢ` over the four bytes of two u32; result and `acc` are i32 (u32 when both are unsigned).
    Dot4 {
        /// Four packed bytes.
        a: Value,
        /// Four packed bytes.
        b: Value,
        /// Accumulator.
        acc: Value,
        /// Bytes of `a` are signed.
        a_signed: bool,
        /// Bytes of `b` are signed.
        b_signed: bool,
    },
    /// Element `index` of `bits` (1, 2, 4) bits out of a u32, sign-extended when `signed`; result i32.
    Unpack {
        /// The word.
        word: Value,
        /// Which element, u32.
        index: Value,
        /// Bits of an element.
        bits: u8,
        /// Two's complement.
        signed: bool,
    },
    /// A vector from scalars.
    Vector(Vec<Value>),
    /// Every lane the same.
    Splat(Value),
    /// One lane of a vector.
    Extract(Value, u8),
    /// Reads the result's lanes from consecutive elements starting at `index`. Outside: 0 where checked.
    Load {
        /// From.
        place: Place,
        /// First element, an integer or `idx`.
        index: Value,
        /// `index` is known to be a multiple of the lanes and the place aligned so.
        aligned: bool,
    },
    /// Writes a value's lanes. Outside: nothing where checked.
    Store {
        /// To.
        place: Place,
        /// First element.
        index: Value,
        /// What.
        value: Value,
        /// As in `Load`.
        aligned: bool,
    },
    /// Reads a variable.
    Get(VarId),
    /// Sets a variable.
    Set(VarId, Value),
    /// Read-modify-write; the result is the old value.
    Atomic {
        /// What.
        op: AtomicOp,
        /// Where: a buffer or a shared array.
        place: Place,
        /// Which element.
        index: Value,
        /// Operand.
        value: Value,
        /// For `CompareExchange`.
        compare: Option<Value>,
        /// Who must see it in order.
        scope: Scope,
    },
    /// Two ways.
    If {
        /// bool.
        cond: Value,
        /// When true.
        then: Block,
        /// When false; may be empty.
        otherwise: Block,
    },
    /// `for var in (start..end).step_by(step)`; all of one integer type; step ≥ 1 (0 is taken as 1); it ends before
    /// overflowing.
    For {
        /// Defined by the loop.
        var: Value,
        /// First.
        start: Value,
        /// Past the last.
        end: Value,
        /// Increment.
        step: Value,
        /// Body.
        body: Block,
        /// Hint.
        unroll: Unroll,
    },
    /// Runs `head`, leaves when `cond` (defined in `head`) is false, runs `body`, again.
    While {
        /// Computes the condition.
        head: Block,
        /// bool.
        cond: Value,
        /// Body.
        body: Block,
    },
    /// Leaves the innermost loop.
    Break,
    /// Next round of the innermost loop.
    Continue,
    /// This lane is done.
    Return,
    /// All lanes of the scope meet; shared memory and buffers are visible within it afterwards.
    Barrier(Scope),
    /// Every lane of the workgroup gets the reduction. Lanes combine in a fixed order.
    GroupReduce(ReduceOp, Value),
    /// Across a subgroup; `lane` is u32 where the operation needs one.
    Subgroup {
        /// What.
        op: SubgroupOp,
        /// Operand.
        value: Value,
        /// Lane operand.
        lane: Option<Value>,
    },
    /// Starts copying `elems` consecutive elements from a buffer to shared memory (this lane's part).
    CopyAsync {
        /// To.
        dst: SharedId,
        /// First element there.
        dst_index: Value,
        /// From.
        src: ParamId,
        /// First element there.
        src_index: Value,
        /// How many.
        elems: u32,
    },
    /// Closes a group of asynchronous copies.
    CopyCommit,
    /// Waits until at most this many groups are open; a workgroup barrier is still needed for other lanes' copies.
    CopyWait(u32),
    /// A fragment of one value.
    FragFill(Value),
    /// Loads a fragment; `stride` (u32) elements between rows (columns for `ColMajor`).
    FragLoad {
        /// From a buffer or a shared array.
        place: Place,
        /// First element.
        index: Value,
        /// Elements between rows.
        stride: Value,
        /// Element order.
        layout: Layout,
    },
    /// acc + a·b; result is an accumulator fragment.
    FragMma {
        /// m×k.
        a: FragOperand,
        /// k×n.
        b: FragOperand,
        /// m×n.
        acc: Value,
    },
    /// Stores a fragment.
    FragStore {
        /// What.
        frag: Value,
        /// To.
        place: Place,
        /// First element.
        index: Value,
        /// Elements between rows.
        stride: Value,
        /// Element order.
        layout: Layout,
    },
    /// Visits every element that this lane holds; `row`, `col` (u32) and `elem` are defined for the body.
    FragEach {
        /// What.
        frag: Value,
        /// Defined here.
        row: Value,
        /// Defined here.
        col: Value,
        /// Defined here.
        elem: Value,
        /// Body.
        body: Block,
    },
    /// The value is promised to be a multiple of this number.
    AssumeMultiple(Value, u32),
}

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

impl Op {
    /// The blocks inside, in order.
    pub fn blocks(&self) -> Vec<&Block> {
        match self {
            Op::If { then, otherwise, .. } => vec![then, otherwise],
            Op::For { body, .. } | Op::FragEach { body, .. } => vec![body],
            Op::While { head, body, .. } => vec![head, body],
            _ => vec![],
        }
    }
    /// The blocks inside, in order.
    pub fn blocks_mut(&mut self) -> Vec<&mut Block> {
        match self {
            Op::If { then, otherwise, .. } => vec![then, otherwise],
            Op::For { body, .. } | Op::FragEach { body, .. } => vec![body],
            Op::While { head, body, .. } => vec![head, body],
            _ => vec![],
        }
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
