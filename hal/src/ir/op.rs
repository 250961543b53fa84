//! What a kernel can do: the operations and their operands. Their meaning stands in the front page of [`ir`](super).

use super::{Block, ParamId, Place, Scope, SharedId, TileView, Value, VarId};
use serde::{Deserialize, Serialize};

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
        /// How many of them are read (u32); zeros stand for the rest. Nothing: all.
        take: Option<Value>,
        /// Both indices are known to be multiples of `elems` and both places aligned so.
        aligned: bool,
    },
    /// Closes a group of asynchronous copies.
    CopyCommit,
    /// Waits until at most this many groups are open; a workgroup barrier is still needed for other lanes' copies.
    CopyWait(u32),
    /// Starts copying a box of a tensor in a buffer to shared memory, by the workgroup as a whole. Elements outside of the tensor are
    /// zero in the box. What was read of its place before is behind a barrier. It belongs to the slot's next [`Op::TileCommit`].
    CopyTile {
        /// To; the box lies there by rows.
        dst: SharedId,
        /// First element there, u32.
        dst_index: Value,
        /// From.
        src: ParamId,
        /// The tensor in it, and the box.
        view: TileView,
        /// The box's first element in each of the tensor's axes.
        at: Vec<Value>,
        /// How the box is permuted.
        swizzle: Swizzle,
        /// An array of u64 that serves such copies and nothing else, an element a slot.
        bars: SharedId,
        /// Which slot, u32.
        slot: Value,
    },
    /// Closes a round of a slot's copies.
    TileCommit {
        /// The slots.
        bars: SharedId,
        /// Which, u32.
        slot: Value,
    },
    /// Waits for a slot's round, as [`Op::CopyWait`] does: a workgroup barrier is still needed. Every round is waited for, in order.
    TileWait {
        /// The slots.
        bars: SharedId,
        /// Which, u32.
        slot: Value,
        /// The round's number from 0 on, modulo 2, u32.
        parity: Value,
    },
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
        /// Permutation, of a shared array only.
        swizzle: Swizzle,
        /// Every row (column for `ColMajor`) is known to begin at a multiple of 16 bytes of an array that is aligned so.
        aligned: bool,
    },
    /// acc + a·b; result is an accumulator fragment. A product of fragments that a workgroup holds may read its tiles until the workgroup's
    /// next barrier: no lane writes them before.
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
    /// Every row of an accumulator reduced over its columns, in any order; the result is a `Rows` fragment.
    FragRows(ReduceOp, Value),
    /// Computes a fragment element by element from others of the same product: accumulators, and `Rows`, whose number of the
    /// element's row is taken. The body leaves each element in the variable `result`.
    FragMap {
        /// A variable that is set: an accumulator; an operand A, where n equals k; or `Rows`, of `Rows` alone.
        to: VarId,
        /// Fragments that are read.
        of: Vec<Value>,
        /// Defined here, u32.
        row: Value,
        /// Defined here, u32.
        col: Value,
        /// Defined here: the element of each fragment that is read.
        elems: Vec<Value>,
        /// A variable of the type of the elements.
        result: VarId,
        /// Body.
        body: Block,
    },
    /// The value is promised to be a multiple of this number.
    AssumeMultiple(Value, u32),
}

impl Op {
    /// The blocks inside, in order.
    pub fn blocks(&self) -> Vec<&Block> {
        match self {
            Op::If { then, otherwise, .. } => vec![then, otherwise],
            Op::For { body, .. } | Op::FragEach { body, .. } | Op::FragMap { body, .. } => vec![body],
            Op::While { head, body, .. } => vec![head, body],
            _ => vec![],
        }
    }
    /// The blocks inside, in order.
    pub fn blocks_mut(&mut self) -> Vec<&mut Block> {
        match self {
            Op::If { then, otherwise, .. } => vec![then, otherwise],
            Op::For { body, .. } | Op::FragEach { body, .. } | Op::FragMap { body, .. } => vec![body],
            Op::While { head, body, .. } => vec![head, body],
            _ => vec![],
        }
    }
}
