//! Buffers, shared and private arrays, atomics, asynchronous copies.
//!
//! A place is indexed by `Idx`, `u32`, `i32`, `u64`, `i64` expressions and by numbers of the host. A `&mut Buf`
//! starts as write-only and becomes read-write with its first read.

use super::context::{Build, emit};
use super::expr::{Expr, IntoExpr, IntoHost};
use super::types::{Element, Idx, Scalar, Value, Vec2, Vec4, Vec8, Vector};
use crate::ir::{self, Access, AtomicOp, Op, ParamKind, Place as IrPlace, Role, Scope};
use std::marker::PhantomData;

/// A buffer that is read: what the parameter `&Buf<T>` becomes.
pub struct Buf<T> {
    id: ir::ParamId,
    build: u32,
    ty: PhantomData<fn() -> T>,
}

/// A buffer that is written: what the parameter `&mut Buf<T>` becomes.
pub struct BufMut<T> {
    id: ir::ParamId,
    build: u32,
    ty: PhantomData<fn() -> T>,
}

/// An array of the workgroup.
pub struct Shared<T> {
    id: ir::SharedId,
    build: u32,
    ty: PhantomData<fn() -> T>,
}

/// An array of one lane.
pub struct Private<T> {
    id: ir::PrivateId,
    build: u32,
    ty: PhantomData<fn() -> T>,
}

macro_rules! copy {
    ($($name:ident)*) => {$(
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
    )*};
}
copy!(Buf BufMut Shared Private);

/// A device function that reads takes a buffer that the kernel also writes.
impl<T> From<BufMut<T>> for Buf<T> {
    fn from(b: BufMut<T>) -> Buf<T> {
        Buf { id: b.id, build: b.build, ty: PhantomData }
    }
}

/// Declares a buffer parameter that is read.
#[track_caller]
pub fn buf<T: Element>(name: &str) -> Buf<T> {
    emit(|b| {
        let name = b.name(name);
        Buf { id: b.builder.buffer(&name, T::DTYPE, Access::Read), build: b.serial(), ty: PhantomData }
    })
}

/// Declares a buffer parameter that is written.
#[track_caller]
pub fn buf_mut<T: Element>(name: &str) -> BufMut<T> {
    emit(|b| {
        let name = b.name(name);
        BufMut { id: b.builder.buffer(&name, T::DTYPE, Access::Write), build: b.serial(), ty: PhantomData }
    })
}

/// Declares a scalar parameter.
#[track_caller]
pub fn scalar<T: Scalar>(name: &str) -> Expr<T> {
    emit(|b| {
        let name = b.name(name);
        let id = b.builder.param(&name, ParamKind::Scalar { elem: T::ELEM, role: Role::User });
        b.define(Op::Scalar(id))
    })
}

/// Declares an array of the workgroup under a name.
#[track_caller]
pub fn shared_named<T: Scalar>(name: &str, len: impl IntoHost<u32>) -> Shared<T> {
    let len = len.into_host();
    emit(|b| {
        if len == 0 {
            b.fail(&format!("the shared array {name} has length 0; it must be at least 1"));
        }
        let name = b.name(name);
        Shared { id: b.builder.shared(&name, T::ELEM, len), build: b.serial(), ty: PhantomData }
    })
}

/// Declares an array of the workgroup; its contents are undefined at first. `len`: a number of the host.
#[track_caller]
pub fn shared<T: Scalar>(len: impl IntoHost<u32>) -> Shared<T> {
    shared_named("shared", len)
}

/// Declares an array of each lane under a name.
#[track_caller]
pub fn private_named<T: Scalar>(name: &str, len: impl IntoHost<u32>) -> Private<T> {
    let len = len.into_host();
    emit(|b| {
        if len == 0 {
            b.fail(&format!("the private array {name} has length 0; it must be at least 1"));
        }
        let name = b.name(name);
        Private { id: b.builder.private(&name, T::ELEM, len), build: b.serial(), ty: PhantomData }
    })
}

/// Declares an array of each lane; its contents are undefined at first. `len`: a number of the host.
#[track_caller]
pub fn private<T: Scalar>(len: impl IntoHost<u32>) -> Private<T> {
    private_named("private", len)
}

/// What can stand between the brackets.
#[diagnostic::on_unimplemented(
    message = "a place cannot be indexed by `{Self}`",
    note = "indices are Idx, u32, i32, u64 or i64; convert with `.to_u32()` or `.to_idx()`"
)]
pub trait Index {
    /// The index in the kernel.
    #[doc(hidden)]
    #[track_caller]
    fn index(self) -> AnyIndex;
}

/// An index of any integer type.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct AnyIndex {
    id: ir::Value,
    build: u32,
}

impl AnyIndex {
    pub(super) fn value(self, b: &mut Build) -> ir::Value {
        if b.owns(self.build, "this index") { self.id } else { b.builder.u32(0) }
    }
}

macro_rules! indices {
    ($($t:ty)*) => {$(
        impl Index for Expr<$t> {
            fn index(self) -> AnyIndex {
                AnyIndex { id: self.id, build: self.build }
            }
        }
    )*};
}
indices!(Idx u32 i32 u64 i64);

impl Index for AnyIndex {
    fn index(self) -> AnyIndex {
        self
    }
}
impl Index for i128 {
    #[track_caller]
    fn index(self) -> AnyIndex {
        // A constant that does not fit u32 addresses more than 4 Gi elements.
        if self > i128::from(u32::MAX) {
            IntoExpr::<Idx>::into_expr(self).index()
        } else {
            IntoExpr::<u32>::into_expr(self).index()
        }
    }
}
macro_rules! host_indices {
    ($($t:ty)*) => {$(
        impl Index for $t {
            #[track_caller]
            fn index(self) -> AnyIndex {
                (self as i128).index()
            }
        }
    )*};
}
host_indices!(usize u32 i32 u64 i64);

/// Something that is read with brackets: a buffer, a shared array, a private array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be indexed in a kernel",
    note = "buffers (`&Buf<T>`, `&mut Buf<T>`), `shared::<T>(n)` and `private::<T>(n)` can"
)]
pub trait Place: Copy {
    /// What it holds.
    type Elem: Scalar;

    /// The place in the kernel under construction.
    #[doc(hidden)]
    fn place(self) -> (IrPlace, u32);

    /// Reads one element: `x[i]`. Outside: 0 where checked.
    #[track_caller]
    fn at(self, index: impl Index) -> Expr<Self::Elem> {
        load::<Self, Self::Elem>(self, index, false)
    }

    /// Reads two consecutive elements from `index` on.
    #[track_caller]
    fn load2(self, index: impl Index) -> Expr<Vec2<Self::Elem>> {
        load(self, index, false)
    }

    /// Reads four consecutive elements from `index` on.
    #[track_caller]
    fn load4(self, index: impl Index) -> Expr<Vec4<Self::Elem>> {
        load(self, index, false)
    }

    /// Reads eight consecutive elements from `index` on.
    #[track_caller]
    fn load8(self, index: impl Index) -> Expr<Vec8<Self::Elem>> {
        load(self, index, false)
    }

    /// Reads a vector; `index` is promised to be a multiple of its lanes and the place to be aligned so.
    #[track_caller]
    fn load_aligned<V: Vector<Of = Self::Elem>>(self, index: impl Index) -> Expr<V> {
        load(self, index, true)
    }
}

/// Something that is written with brackets: `&mut Buf<T>`, a shared or a private array.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written in a kernel",
    note = "a buffer that is written is declared `&mut Buf<T>`"
)]
pub trait PlaceMut: Place {
    /// Writes one element: `x[i] = v`. Outside: nothing where checked.
    #[track_caller]
    fn put(self, index: impl Index, value: impl IntoExpr<Self::Elem>) {
        store::<Self, Self::Elem>(self, index, value.into_expr(), false)
    }

    /// Writes the lanes of a vector to consecutive elements from `index` on.
    #[track_caller]
    fn store<V: Vector<Of = Self::Elem>>(self, index: impl Index, value: Expr<V>) {
        store(self, index, value, false)
    }

    /// Writes a vector; `index` is promised to be a multiple of its lanes and the place to be aligned so.
    #[track_caller]
    fn store_aligned<V: Vector<Of = Self::Elem>>(self, index: impl Index, value: Expr<V>) {
        store(self, index, value, true)
    }
}

/// The place, after noting that it is read; `None` when it is of another kernel.
pub(super) fn reads(b: &mut Build, (place, build): (IrPlace, u32)) -> Option<IrPlace> {
    if !b.owns(build, "this buffer or array") {
        return None;
    }
    if let IrPlace::Buffer(p) = place
        && let ParamKind::Buffer { access: Access::Write, .. } = b.builder.kernel().params[p.at()].kind
    {
        b.builder.set_access(p, Access::ReadWrite);
    }
    Some(place)
}

/// The place, to be written; `None` when it is of another kernel.
pub(super) fn writes(b: &mut Build, (place, build): (IrPlace, u32)) -> Option<IrPlace> {
    b.owns(build, "this buffer or array").then_some(place)
}

#[track_caller]
fn load<P: Place, T: Value>(place: P, index: impl Index, aligned: bool) -> Expr<T> {
    let index = index.index();
    emit(|b| {
        let index = index.value(b);
        match reads(b, place.place()) {
            Some(place) => b.define(Op::Load { place, index, aligned }),
            None => {
                let id = b.constant(T::TYPE, 0);
                b.expr(id)
            }
        }
    })
}

#[track_caller]
fn store<P: Place, T: Value>(place: P, index: impl Index, value: Expr<T>, aligned: bool) {
    let index = index.index();
    emit(|b| {
        let (index, value) = (index.value(b), b.value(value));
        if let Some(place) = writes(b, place.place()) {
            b.builder.effect(Op::Store { place, index, value, aligned });
        }
    })
}

macro_rules! places {
    ($($name:ident $variant:ident $bound:ident;)*) => {$(
        impl<T: $bound> Place for $name<T> {
            type Elem = T;
            fn place(self) -> (IrPlace, u32) {
                (IrPlace::$variant(self.id), self.build)
            }
        }
    )*};
}
places! { Buf Buffer Element; BufMut Buffer Element; Shared Shared Scalar; Private Private Scalar; }
impl<T: Element> PlaceMut for BufMut<T> {}
impl<T: Scalar> PlaceMut for Shared<T> {}
impl<T: Scalar> PlaceMut for Private<T> {}

macro_rules! lengths {
    ($($name:ident)*) => {$(
        impl<T: Element> $name<T> {
            /// Elements.
            #[track_caller]
            // Not a container: there is no meaning in "is empty" before the launch.
            #[allow(clippy::len_without_is_empty)]
            pub fn len(self) -> Expr<Idx> {
                emit(|b| {
                    let id = match b.owns(self.build, "this buffer") {
                        true => b.builder.buf_len(self.id),
                        false => b.builder.idx(0),
                    };
                    b.expr(id)
                })
            }
        }
    )*};
}
lengths!(Buf BufMut);

/// A place whose elements several lanes may change at once. Every operation gives the old value.
#[diagnostic::on_unimplemented(
    message = "there are no atomics on `{Self}`",
    note = "`&mut Buf<T>` and `shared::<T>(n)` have atomics; a private array needs none"
)]
pub trait AtomicPlace: PlaceMut {
    /// Who must see the change in order.
    #[doc(hidden)]
    const SCOPE: Scope;

    /// Adds.
    #[track_caller]
    fn atomic_add(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::Add, index, value.into_expr(), None)
    }
    /// Keeps the lesser.
    #[track_caller]
    fn atomic_min(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::Min, index, value.into_expr(), None)
    }
    /// Keeps the greater.
    #[track_caller]
    fn atomic_max(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::Max, index, value.into_expr(), None)
    }
    /// Bitwise and.
    #[track_caller]
    fn atomic_and(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::And, index, value.into_expr(), None)
    }
    /// Bitwise or.
    #[track_caller]
    fn atomic_or(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::Or, index, value.into_expr(), None)
    }
    /// Bitwise exclusive or.
    #[track_caller]
    fn atomic_xor(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::Xor, index, value.into_expr(), None)
    }
    /// Replaces.
    #[track_caller]
    fn atomic_exchange(self, index: impl Index, value: impl IntoExpr<Self::Elem>) -> Expr<Self::Elem> {
        atomic(self, AtomicOp::Exchange, index, value.into_expr(), None)
    }
    /// Stores `value` where the old one equals `compare`.
    #[track_caller]
    fn atomic_compare_exchange(
        self,
        index: impl Index,
        compare: impl IntoExpr<Self::Elem>,
        value: impl IntoExpr<Self::Elem>,
    ) -> Expr<Self::Elem> {
        let compare = compare.into_expr();
        atomic(self, AtomicOp::CompareExchange, index, value.into_expr(), Some(compare))
    }
    /// Reads.
    #[track_caller]
    fn atomic_load(self, index: impl Index) -> Expr<Self::Elem> {
        let zero = emit(|b| {
            let id = b.constant(Self::Elem::TYPE, 0);
            b.expr(id)
        });
        atomic(self, AtomicOp::Load, index, zero, None)
    }
    /// Writes.
    #[track_caller]
    fn atomic_store(self, index: impl Index, value: impl IntoExpr<Self::Elem>) {
        atomic(self, AtomicOp::Store, index, value.into_expr(), None);
    }
}

impl<T: Element> AtomicPlace for BufMut<T> {
    const SCOPE: Scope = Scope::Device;
}
impl<T: Scalar> AtomicPlace for Shared<T> {
    const SCOPE: Scope = Scope::Workgroup;
}

#[track_caller]
fn atomic<P: AtomicPlace>(
    place: P,
    op: AtomicOp,
    index: impl Index,
    value: Expr<P::Elem>,
    compare: Option<Expr<P::Elem>>,
) -> Expr<P::Elem> {
    let index = index.index();
    emit(|b| {
        let (index, value) = (index.value(b), b.value(value));
        let compare = compare.map(|c| b.value(c));
        match reads(b, place.place()) {
            Some(place) => b.define(Op::Atomic { op, place, index, value, compare, scope: P::SCOPE }),
            None => {
                let id = b.constant(<P::Elem as Value>::TYPE, 0);
                b.expr(id)
            }
        }
    })
}

/// Starts copying `elems` consecutive elements from a buffer to shared memory: this lane's part.
#[track_caller]
pub fn copy_async<T: Element>(
    dst: Shared<T>,
    dst_index: impl Index,
    src: impl Into<Buf<T>>,
    src_index: impl Index,
    elems: impl IntoHost<u32>,
) {
    let (src, elems) = (src.into(), elems.into_host());
    let (dst_index, src_index) = (dst_index.index(), src_index.index());
    emit(|b| {
        let (dst_index, src_index) = (dst_index.value(b), src_index.value(b));
        if reads(b, src.place()).is_some() && writes(b, dst.place()).is_some() {
            let (dst, src) = (dst.id, src.id);
            b.builder.effect(Op::CopyAsync { dst, dst_index, src, src_index, elems, take: None, aligned: false });
        }
    })
}

/// [`copy_async`] of which `take` elements are read; zeros stand for the rest.
#[track_caller]
pub fn copy_async_part<T: Element>(
    dst: Shared<T>,
    dst_index: impl Index,
    src: impl Into<Buf<T>>,
    src_index: impl Index,
    elems: impl IntoHost<u32>,
    take: impl IntoExpr<u32>,
) {
    let (src, elems, take) = (src.into(), elems.into_host(), take.into_expr());
    let (dst_index, src_index) = (dst_index.index(), src_index.index());
    emit(|b| {
        let (dst_index, src_index, take) = (dst_index.value(b), src_index.value(b), Some(b.value(take)));
        if reads(b, src.place()).is_some() && writes(b, dst.place()).is_some() {
            let (dst, src) = (dst.id, src.id);
            b.builder.effect(Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned: false });
        }
    })
}

/// Closes a group of asynchronous copies.
#[track_caller]
pub fn copy_commit() {
    emit(|b| b.builder.effect(Op::CopyCommit))
}

/// Waits until at most `open` groups of copies are under way. Other lanes' copies still need a `barrier()`.
#[track_caller]
pub fn copy_wait(open: impl IntoHost<u32>) {
    let open = open.into_host();
    emit(|b| b.builder.effect(Op::CopyWait(open)))
}

/// For fragments: the array behind a shared place.
pub(super) fn shared_id<T>(s: Shared<T>) -> ir::SharedId {
    s.id
}
