//! What a kernel becomes: vector instructions over registers, in a tree that keeps loops and branches.
//!
//! A register holds one component of a value for every lane of a block. Plain data; made by `compile`, run by `exec`.

use super::ops::{BinaryFn, CastFn, CompareFn, MulAddFn, ReduceFn, SelectFn, Table, UnaryFn};
use anychip_hal::{
    DType,
    ir::{Access, AtomicOp, BinaryOp, CmpOp, Loc, ReduceOp, UnaryOp},
};

/// A register, by number.
pub(crate) type Reg = u32;

/// What a register holds and where its lanes lie when they are written out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegInfo {
    pub ty: DType,
    /// Of an element.
    pub bytes: u8,
    pub slot: u32,
}

/// One vector instruction.
pub(crate) struct Inst {
    pub code: Code,
    pub loc: Loc,
}

/// Memory that an access touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Binding, by position among the buffers.
    Buffer(u32),
    /// Array of the workgroup.
    Shared(u32),
    /// Array of the lane.
    Private(u32),
}

/// Where an access goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub space: Space,
    /// Element type in memory.
    pub elem: DType,
    /// Bytes of an element.
    pub size: usize,
    pub index: Reg,
    /// Type of the index.
    pub index_ty: DType,
}

/// What an instruction does.
#[derive(Clone)]
pub(crate) enum Code {
    Const {
        dst: Reg,
        bits: u64,
    },
    Scalar {
        dst: Reg,
        offset: u32,
        bytes: u32,
    },
    BufLen {
        dst: Reg,
        buffer: u32,
    },
    GroupId {
        dst: Reg,
        dim: u8,
    },
    NumGroups {
        dst: Reg,
        dim: u8,
    },
    LocalId {
        dst: Reg,
        dim: u8,
    },
    GlobalId {
        dst: Reg,
        dim: u8,
    },
    Unary {
        f: UnaryFn,
        op: UnaryOp,
        dst: Reg,
        a: Reg,
    },
    Binary {
        f: BinaryFn,
        op: BinaryOp,
        ty: DType,
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    Compare {
        f: CompareFn,
        op: CmpOp,
        ty: DType,
        dst: Reg,
        a: Reg,
        b: Reg,
    },
    MulAdd {
        f: MulAddFn,
        ty: DType,
        dst: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    Select {
        f: SelectFn,
        dst: Reg,
        cond: Reg,
        a: Reg,
        b: Reg,
    },
    Cast {
        f: CastFn,
        from: DType,
        to: DType,
        dst: Reg,
        a: Reg,
    },
    Dot4 {
        dst: Reg,
        a: Reg,
        b: Reg,
        acc: Reg,
        a_signed: bool,
        b_signed: bool,
    },
    Unpack {
        dst: Reg,
        word: Reg,
        index: Reg,
        bits: u8,
        signed: bool,
    },
    Load {
        at: Target,
        dst: Box<[Reg]>,
        /// Which of the program's loads this is.
        site: u32,
        /// Nobody in the workgroup writes there while the registers are read: they may refer to it.
        held: bool,
    },
    Store {
        at: Target,
        src: Box<[Reg]>,
    },
    /// Reads a variable into a register of its own.
    Get {
        dst: Reg,
        var: Reg,
    },
    /// Sets a variable; `dying` when nobody reads the value afterwards.
    Set {
        var: Reg,
        a: Reg,
        dying: bool,
    },
    Atomic {
        at: Target,
        op: AtomicOp,
        dst: Option<Reg>,
        value: Reg,
        compare: Option<Reg>,
    },
    Barrier,
    GroupReduce {
        f: ReduceFn,
        op: ReduceOp,
        ty: DType,
        dst: Reg,
        a: Reg,
    },
}

/// An instruction or a structure of them.
pub(crate) enum Node {
    Do(Inst),
    If {
        cond: Reg,
        then: Vec<Node>,
        otherwise: Vec<Node>,
        /// Lanes may leave inside.
        exits: bool,
    },
    For {
        var: Reg,
        ty: DType,
        start: Reg,
        end: Reg,
        step: Reg,
        body: Vec<Node>,
    },
    While {
        head: Vec<Node>,
        cond: Reg,
        body: Vec<Node>,
    },
    Break,
    Continue,
    Return,
}

/// A shared or private array.
#[derive(Debug, Clone)]
pub(crate) struct ArrayInfo {
    pub name: String,
    pub bytes: usize,
    pub len: u64,
    /// Byte offset: of the bank of one workgroup (shared), or elements of one lane before it (private).
    pub offset: usize,
}

/// A buffer parameter.
#[derive(Debug, Clone)]
pub(crate) struct BufferInfo {
    pub name: String,
    pub elem: DType,
    pub access: Access,
}

/// A compiled kernel.
pub(crate) struct Program {
    pub name: String,
    pub files: Vec<String>,
    pub workgroup: [u32; 3],
    pub idx: DType,
    pub table: Table,
    pub regs: Vec<RegInfo>,
    /// Bytes of a lane per slot.
    pub slots: Vec<u8>,
    /// Bytes of a lane in slots that are written in every block.
    pub lane_bytes: usize,
    /// Loads.
    pub sites: u32,
    /// Registers of variables, with names.
    pub vars: Vec<(Reg, String)>,
    /// Computed once per worker: what depends on constants, scalars and the place in the workgroup alone.
    pub prologue: Vec<Inst>,
    pub body: Vec<Node>,
    pub buffers: Vec<BufferInfo>,
    pub shared: Vec<ArrayInfo>,
    /// Bytes of one workgroup's bank.
    pub shared_bytes: usize,
    pub private: Vec<ArrayInfo>,
    /// Bytes of one lane's arrays.
    pub private_bytes: usize,
    pub scalar_bytes: usize,
    /// The result depends on the order of workgroups (atomics whose result is used, floating-point atomics): they run
    /// one after another, so that it is the same with any number of threads.
    pub ordered: bool,
    /// A rough count of instructions a lane runs, to decide where a launch runs.
    pub weight: u64,
}

impl Program {
    /// Lanes of a workgroup.
    pub fn lanes(&self) -> usize {
        self.workgroup.iter().map(|&w| w as usize).product()
    }

    /// `file:line` of an instruction.
    pub fn place(&self, loc: Loc) -> String {
        match self.files.get(loc.file as usize) {
            Some(file) if loc.line > 0 => format!("{file}:{}", loc.line),
            _ => "unknown line".to_string(),
        }
    }
}

impl Code {
    /// Visits every register read, then every register written.
    pub fn visit(&self, mut read: impl FnMut(Reg), mut write: impl FnMut(Reg)) {
        match self {
            Code::Const { dst, .. }
            | Code::Scalar { dst, .. }
            | Code::BufLen { dst, .. }
            | Code::GroupId { dst, .. }
            | Code::NumGroups { dst, .. }
            | Code::LocalId { dst, .. }
            | Code::GlobalId { dst, .. } => write(*dst),
            Code::Unary { dst, a, .. } | Code::Cast { dst, a, .. } | Code::GroupReduce { dst, a, .. } => {
                read(*a);
                write(*dst);
            }
            Code::Binary { dst, a, b, .. } | Code::Compare { dst, a, b, .. } => {
                read(*a);
                read(*b);
                write(*dst);
            }
            Code::MulAdd { dst, a, b, c, .. } | Code::Select { dst, cond: a, a: b, b: c, .. } => {
                read(*a);
                read(*b);
                read(*c);
                write(*dst);
            }
            Code::Dot4 { dst, a, b, acc, .. } => {
                read(*a);
                read(*b);
                read(*acc);
                write(*dst);
            }
            Code::Unpack { dst, word, index, .. } => {
                read(*word);
                read(*index);
                write(*dst);
            }
            Code::Load { at, dst, .. } => {
                read(at.index);
                dst.iter().for_each(|&d| write(d));
            }
            Code::Store { at, src } => {
                read(at.index);
                src.iter().for_each(|&s| read(s));
            }
            Code::Get { dst, var } => {
                read(*var);
                write(*dst);
            }
            Code::Set { var, a, .. } => {
                read(*a);
                write(*var);
            }
            Code::Atomic { at, dst, value, compare, .. } => {
                read(at.index);
                read(*value);
                compare.iter().for_each(|&c| read(c));
                dst.iter().for_each(|&d| write(d));
            }
            Code::Barrier => {}
        }
    }
}
