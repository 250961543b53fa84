//! The kernel language as Rust: what an author of kernels imports, and what `#[kernel]` expands to.
//!
//! ```
//! use anychip_hal::ir::typed::*;
//! use anychip_macros::{device, kernel};
//!
//! #[device]
//! fn silu<T: Float>(x: T) -> T {
//!     let v = x.to_f32();
//!     T::from_f32(v / (1.0 + exp(-v)))
//! }
//!
//! #[kernel]
//! fn gate<T: Float>(x: &Buf<T>, gate: &Buf<T>, out: &mut Buf<T>, n: u32) {
//!     let i = global_id(0);
//!     if i < n {
//!         out[i] = x[i] * silu(gate[i]);
//!     }
//! }
//!
//! # fn main() -> anychip_hal::Result<()> {
//! let kernel = gate::<f16>(256)?; // 256 lanes a workgroup
//! assert_eq!(kernel.name, "gate_f16");
//! assert_eq!(kernel.params.len(), 4);
//! println!("{kernel}");
//! # Ok(())
//! # }
//! ```
//!
//! # What the attributes write
//! `#[kernel] fn k<T: Float>(x: &Buf<T>, n: u32, #[host] tile: usize)` becomes a function that builds the kernel:
//! `fn k<T: Float>(workgroup: impl Into<Workgroup>, tile: usize) -> Result<ir::Kernel>`. Its first argument is the
//! workgroup (`256`, `[16, 16]`, `[8, 8, 4]`), then come the `#[host]` parameters in order. The kernel is verified;
//! its name is the function's with an underscore and the name of every element type and const parameter behind it;
//! its parameters are the others in order, which is what a launch takes. Every operation carries its file and line.
//!
//! `#[device] fn f(x: f32, b: &Buf<f32>, #[host] n: u32) -> f32` becomes an ordinary function of expressions:
//! `fn f(x: impl IntoExpr<f32>, b: impl Into<Buf<f32>>, n: impl IntoHost<u32>) -> Expr<f32>`.
//!
//! # Names
//! The output of the attributes calls this module through the name `__anychip`, which the prelude brings in. It
//! therefore works under every name that the prelude is re-exported by, as long as it is imported with `*`.
//!
//! # Building by hand
//! Expressions append to the kernel that this thread is building. Outside of one they go nowhere; an expression
//! kept from one kernel and used in another is an error of that kernel. Nothing here panics.
//!
//! `docs/kernel-language.md` is the guide for authors.

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
    Fragment, FragmentVar, Operand, SharedTile, Tile, frag_fill, frag_load, frag_load_tile, frag_mma, frag_store,
    frag_var, shared_tile,
};
pub use functions::*;
pub use memory::{
    AtomicPlace, Buf, BufMut, Index, Place, PlaceMut, Private, Shared, copy_async, copy_async_part, copy_commit,
    copy_wait, private, shared,
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
    pub use super::memory::{Buf, BufMut, Index, Place, PlaceMut, buf, buf_mut, private_named, scalar, shared_named};
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
