//! Types of values, and what a kernel declares: parameters, arrays, variables. Operations stand in `op`.

use crate::DType;
use serde::{Deserialize, Serialize};

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
    /// `lanes` elements: 1, 2, 4, 8 or 16.
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
    /// A number for every row of an accumulator, held by whoever holds elements of that row: m×1.
    Rows,
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
            FragRole::Rows => (self.m, 1),
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

/// A tensor within a buffer, of which boxes are copied ([`super::Op::CopyTile`]). Scalars of the launch say where it lies: a device that
/// copies boxes itself is told before the kernel begins. It wants the tensor and its strides to be multiples of 16 bytes, and a launch
/// with others fails there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TileView {
    /// The tensor's first element in the buffer.
    pub origin: ParamId,
    /// Extents, outermost first: 2 to 5 of them.
    pub extents: Vec<ParamId>,
    /// Elements between neighbours, of all axes but the last, whose elements lie side by side.
    pub strides: Vec<ParamId>,
    /// Rows and columns of a box: along the last two axes, one along the others.
    pub size: [u16; 2],
}

impl TileView {
    /// All its scalars.
    pub fn scalars(&self) -> impl Iterator<Item = ParamId> + '_ {
        [self.origin].into_iter().chain(self.extents.iter().chain(&self.strides).copied())
    }

    /// Elements of a box.
    pub fn elements(&self) -> u32 {
        u32::from(self.size[0]) * u32::from(self.size[1])
    }
}

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
    /// Added by the legaliser on devices without 64-bit integers: the high word of a scalar that holds only its low one.
    High(ParamId),
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
