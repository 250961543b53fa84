//! The kernel language as Rust: what `#[kernel]` expands to, and what its author imports.
//!
//! `use anychip_hal::ir::typed::*;` is the prelude.

mod context;
mod control;
mod expr;
mod fragment;
mod functions;
mod memory;
mod ops;
mod types;

pub use context::{build, hint_min_groups, hint_subgroup, refuse};
pub use control::{Each, Loop, Steps, each, strided};
pub use expr::{Expr, HostNumber, IntoExpr, IntoHost, Var, lit};
pub use fragment::{
    Fragment, FragmentVar, Operand, SharedTile, Tile, frag_fill, frag_load, frag_mma, frag_store, frag_var, shared_tile,
};
pub use functions::*;
pub use memory::{
    AtomicPlace, Buf, BufMut, Index, Place, PlaceMut, Private, Shared, copy_async, copy_commit, copy_wait, private,
    shared,
};
pub use ops::{Common, Mask, Word};
pub use types::{
    Arith, Bits, Element, F8E4M3, F8E5M2, Float, Idx, Int, Num, Real, Scalar, Value, Vec2, Vec4, Vec8, Vector, bf16,
    f16,
};

pub use crate::ir::{FragRole, Layout, Scope, Swizzle};

/// Lanes of a workgroup per dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workgroup(pub [u32; 3]);

impl From<u32> for Workgroup {
    fn from(x: u32) -> Workgroup {
        Workgroup([x, 1, 1])
    }
}
impl From<[u32; 2]> for Workgroup {
    fn from([x, y]: [u32; 2]) -> Workgroup {
        Workgroup([x, y, 1])
    }
}
impl From<[u32; 3]> for Workgroup {
    fn from(xyz: [u32; 3]) -> Workgroup {
        Workgroup(xyz)
    }
}

#[doc(hidden)]
pub use expansion as __anychip;

/// What the attributes' output calls. Reached through the prelude, so that it works under every name that the
/// crate is re-exported by.
#[doc(hidden)]
pub mod expansion {
    pub use super::context::build;
    pub use super::control::{
        begin_else, begin_if, begin_loop, begin_while, branch_value, break_loop, continue_loop, end_if, end_loop,
        end_while, range, return_lane, while_cond,
    };
    pub use super::expr::{Expr, IntoExpr, IntoHost, Var, expr, lit, var};
    pub use super::memory::{
        Buf, BufMut, Index, Place, PlaceMut, buf, buf_mut, private_named, scalar, shared_named,
    };
    pub use super::ops::{eq, ge, gt, le, lt, ne};
    pub use super::types::{Num, Scalar};
    pub use super::{Workgroup, expansion};
    pub use crate::Result;
    pub use crate::ir::Kernel;

    /// `place[index]`
    #[track_caller]
    pub fn load<P: Place>(place: P, index: impl Index) -> Expr<P::Elem> {
        place.at(index)
    }

    /// `place[index] = value`
    #[track_caller]
    pub fn store<P: PlaceMut>(place: P, index: impl Index, value: impl IntoExpr<P::Elem>) {
        place.put(index, value)
    }
}
