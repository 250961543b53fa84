//! Matrix fragments: a small matrix spread over the lanes of a subgroup or a workgroup.
//!
//! Shapes are numbers of the host, since they come from the device's rows of supported shapes. An accumulator that
//! a loop carries is a [`FragmentVar`].

use super::context::{Build, emit};
use super::expr::{Expr, IntoExpr};
use super::memory::{Index, Place, PlaceMut, Shared, reads, shared_id, writes};
use super::types::Element;
use crate::ir::{self, Frag, FragOperand, FragRole, Layout, Op, Scope, Swizzle, Type};
use std::marker::PhantomData;

/// Shape of a fragment product: m×k times k×n, and who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows.
    pub m: u16,
    /// Columns.
    pub n: u16,
    /// Inner dimension.
    pub k: u16,
    /// One subgroup or the workgroup.
    pub scope: Scope,
}

impl Tile {
    /// A product of m×k and k×n held by one subgroup.
    pub fn subgroup(m: u16, n: u16, k: u16) -> Tile {
        Tile { m, n, k, scope: Scope::Subgroup }
    }

    /// A product of m×k and k×n held by the workgroup.
    pub fn workgroup(m: u16, n: u16, k: u16) -> Tile {
        Tile { m, n, k, scope: Scope::Workgroup }
    }

    fn frag<T: Element>(self, role: FragRole) -> Frag {
        Frag { role, m: self.m, n: self.n, k: self.k, elem: T::DTYPE, scope: self.scope }
    }
}

/// A fragment of elements `T`.
pub struct Fragment<T> {
    id: ir::Value,
    build: u32,
    frag: Frag,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for Fragment<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Fragment<T> {}

impl<T: Element> Fragment<T> {
    /// Role, shape, element type and scope.
    pub fn kind(self) -> Frag {
        self.frag
    }
}

/// The value behind a fragment; one filled with zeros when it is of another kernel.
pub(super) fn fragment_value<T: Element>(b: &mut Build, f: Fragment<T>) -> ir::Value {
    if b.owns(f.build, "this fragment") {
        return f.id;
    }
    zeros::<T>(b, f.frag)
}

fn zeros<T: Element>(b: &mut Build, frag: Frag) -> ir::Value {
    let zero = b.constant(T::TYPE, 0);
    b.builder.define(Type::Frag(frag), Op::FragFill(zero))
}

fn wrap<T: Element>(b: &Build, id: ir::Value, frag: Frag) -> Fragment<T> {
    Fragment { id, build: b.serial(), frag, ty: PhantomData }
}

/// A fragment of one value.
#[track_caller]
pub fn frag_fill<T: Element>(role: FragRole, tile: Tile, value: impl IntoExpr<T>) -> Fragment<T> {
    let value = value.into_expr();
    emit(|b| {
        let value = b.value(value);
        let frag = tile.frag::<T>(role);
        let id = b.builder.define(Type::Frag(frag), Op::FragFill(value));
        wrap(b, id, frag)
    })
}

/// Loads a fragment; `stride`: elements between rows (between columns for `ColMajor`).
#[track_caller]
pub fn frag_load<P>(
    role: FragRole,
    tile: Tile,
    from: P,
    index: impl Index,
    stride: impl IntoExpr<u32>,
    layout: Layout,
) -> Fragment<P::Elem>
where
    P: Place,
    P::Elem: Element,
{
    let (index, stride) = (index.index(), stride.into_expr());
    emit(|b| {
        let (index, stride) = (index.value(b), b.value(stride));
        let frag = tile.frag::<P::Elem>(role);
        let id = match reads(b, from.place()) {
            Some(place) => {
                let (swizzle, aligned) = (Swizzle::NONE, false);
                b.builder.define(Type::Frag(frag), Op::FragLoad { place, index, stride, layout, swizzle, aligned })
            }
            None => zeros::<P::Elem>(b, frag),
        };
        wrap(b, id, frag)
    })
}

/// Loads a fragment from a tile in shared memory, where it is not only one product's operand.
#[track_caller]
pub fn frag_load_tile<T: Element>(role: FragRole, tile: Tile, from: SharedTile<T>) -> Fragment<T> {
    emit(|b| {
        let (index, stride) = (from.index.value(b), b.value(from.stride));
        let frag = tile.frag::<T>(role);
        let id = match reads(b, from.shared.place()) {
            Some(place) => {
                let (layout, swizzle, aligned) = (from.layout, from.swizzle, false);
                b.builder.define(Type::Frag(frag), Op::FragLoad { place, index, stride, layout, swizzle, aligned })
            }
            None => zeros::<T>(b, frag),
        };
        wrap(b, id, frag)
    })
}

/// Stores a fragment; `stride` as in [`frag_load`].
#[track_caller]
pub fn frag_store<P>(frag: Fragment<P::Elem>, to: P, index: impl Index, stride: impl IntoExpr<u32>, layout: Layout)
where
    P: PlaceMut,
    P::Elem: Element,
{
    let (index, stride) = (index.index(), stride.into_expr());
    emit(|b| {
        let (frag, index, stride) = (fragment_value(b, frag), index.value(b), b.value(stride));
        if let Some(place) = writes(b, to.place()) {
            b.builder.effect(Op::FragStore { frag, place, index, stride, layout });
        }
    })
}

/// An operand of [`frag_mma`]: a fragment in registers, or a tile in shared memory.
pub trait Operand {
    /// The operand in the kernel under construction.
    #[doc(hidden)]
    fn operand(self, b: &mut Build) -> FragOperand;
}

impl<T: Element> Operand for Fragment<T> {
    fn operand(self, b: &mut Build) -> FragOperand {
        FragOperand::Reg(fragment_value(b, self))
    }
}

/// A matrix in shared memory as an operand; made by [`shared_tile`].
#[derive(Clone, Copy)]
pub struct SharedTile<T: Element> {
    shared: Shared<T>,
    index: super::memory::AnyIndex,
    stride: Expr<u32>,
    layout: Layout,
    swizzle: Swizzle,
}

/// A matrix in shared memory as an operand of [`frag_mma`]; `stride` as in [`frag_load`].
#[track_caller]
pub fn shared_tile<T: Element>(
    shared: Shared<T>,
    index: impl IntoExpr<u32>,
    stride: impl IntoExpr<u32>,
    layout: Layout,
    swizzle: Swizzle,
) -> SharedTile<T> {
    SharedTile { shared, index: index.into_expr().index(), stride: stride.into_expr(), layout, swizzle }
}

impl<T: Element> Operand for SharedTile<T> {
    fn operand(self, b: &mut Build) -> FragOperand {
        let _ = reads(b, self.shared.place());
        FragOperand::Tile {
            shared: shared_id(self.shared),
            index: self.index.value(b),
            stride: b.value(self.stride),
            layout: self.layout,
            swizzle: self.swizzle,
        }
    }
}

/// acc + a·b.
#[track_caller]
pub fn frag_mma<T: Element>(a: impl Operand, b: impl Operand, acc: Fragment<T>) -> Fragment<T> {
    emit(|k| {
        let (a, b, acc_id) = (a.operand(k), b.operand(k), fragment_value(k, acc));
        let id = k.builder.define(Type::Frag(acc.frag), Op::FragMma { a, b, acc: acc_id });
        wrap(k, id, acc.frag)
    })
}

/// A fragment that a loop carries.
pub struct FragmentVar<T> {
    id: ir::VarId,
    build: u32,
    frag: Frag,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for FragmentVar<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for FragmentVar<T> {}

/// Declares a variable that holds a fragment.
#[track_caller]
pub fn frag_var<T: Element>(init: Fragment<T>) -> FragmentVar<T> {
    emit(|b| {
        let (name, value) = (b.name("frag"), fragment_value(b, init));
        FragmentVar { id: b.builder.var(&name, value), build: b.serial(), frag: init.frag, ty: PhantomData }
    })
}

impl<T: Element> FragmentVar<T> {
    /// Its value now.
    #[track_caller]
    pub fn get(self) -> Fragment<T> {
        emit(|b| {
            let id = match b.owns(self.build, "this variable") {
                true => b.builder.get(self.id),
                false => zeros::<T>(b, self.frag),
            };
            wrap(b, id, self.frag)
        })
    }

    /// Sets it.
    #[track_caller]
    pub fn set(self, to: Fragment<T>) {
        emit(|b| {
            if b.owns(self.build, "this variable") {
                let to = fragment_value(b, to);
                b.builder.set(self.id, to);
            }
        })
    }
}
