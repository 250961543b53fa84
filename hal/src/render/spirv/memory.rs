//! Buffers and arrays: views, loads, stores, atomics.
//!
//! An array of one type is all that a buffer can be. A buffer whose vectors are aligned is declared once more as an array
//! of such vectors, on the same binding; both are then marked as aliases. Software drivers and some hardware read a
//! vector several times faster than its lanes.

use super::{
    Parts, Renderer, Shape,
    asm::{id, literal},
};
use crate::{DType, Result, ir::*};
use rspirv::spirv::{Capability, Decoration, MemorySemantics, Op as S, Scope as Span, StorageClass, Word};
use std::collections::{BTreeMap, BTreeSet};

/// One way to see a buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub var: Word,
    /// The type of what it is an array of.
    pub elem: Word,
}

/// Lanes of the view through which a value is read or written.
fn view_lanes(ty: Type, aligned: bool) -> u32 {
    if aligned { u32::from(ty.lanes()).min(4) } else { 1 }
}

/// Lanes of the view that serves atomics on floats: their bits.
const BITS: u32 = 0;

impl Renderer<'_> {
    /// Declares every buffer in the views that the kernel uses.
    pub(super) fn buffers(&mut self) -> Result<()> {
        let mut views: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let k = self.k;
        let mut wanted = BTreeSet::new();
        visit(&k.body, &mut |i| {
            if let Op::Load { place: Place::Buffer(p), aligned, .. } = &i.op {
                let lanes = i.out.map_or(1, |v| view_lanes(k.ty(v), *aligned));
                wanted.extend(self.texel(*p, lanes).map(|bytes| (*p, bytes)));
            }
        });
        self.texels(&mut wanted);
        visit(&k.body, &mut |i| {
            let mut see = |place: &Place, lanes: u32| {
                if let Place::Buffer(p) = place {
                    views.entry(p.0).or_default().insert(lanes);
                }
            };
            match &i.op {
                Op::Load { place, aligned, .. } => {
                    let lanes = i.out.map_or(1, |v| view_lanes(k.ty(v), *aligned));
                    if !self.fetches(place, lanes) {
                        see(place, lanes);
                    }
                }
                Op::Store { place, value, aligned, .. } => see(place, view_lanes(k.ty(*value), *aligned)),
                Op::Atomic { op, place, value, .. } => {
                    let float = k.ty(*value).elem().is_some_and(Elem::is_float);
                    see(place, if float && *op == AtomicOp::Add && !self.t.atomic_f32_add { BITS } else { 1 });
                }
                Op::FragLoad { place, .. } | Op::FragStore { place, .. } => see(place, 1),
                _ => {}
            }
        });
        for (n, (p, d, access)) in k.buffers().enumerate() {
            let lanes = views.remove(&p.0).unwrap_or_default();
            let alone = lanes.len() == 1;
            for n_lanes in lanes {
                let stored = self.stored(d)?;
                let (elem, stride) = match n_lanes {
                    BITS => (self.scalar(if d.size() == 8 { DType::U64 } else { DType::U32 })?, d.size() as u32),
                    n => (self.asm.vector(stored, n), d.size() as u32 * n),
                };
                let block = self.asm.buffer_block(elem, stride);
                let var = self.asm.variable(StorageClass::StorageBuffer, block, None);
                self.asm.decorate(var, Decoration::DescriptorSet, vec![literal(0)]);
                self.asm.decorate(var, Decoration::Binding, vec![literal(n as u32)]);
                self.asm.decorate(var, if alone { Decoration::Restrict } else { Decoration::Aliased }, vec![]);
                if !access.writes() {
                    self.asm.decorate(var, Decoration::NonWritable, vec![]);
                }
                self.views.insert((p, n_lanes), View { var, elem });
            }
        }
        Ok(())
    }

    /// The type of an element in a buffer, with what storing it needs.
    fn stored(&mut self, d: DType) -> Result<Word> {
        match d.size() {
            1 if self.t.storage8 => {
                self.asm.capability(Capability::StorageBuffer8BitAccess);
                self.asm.extension("SPV_KHR_8bit_storage", Some((1, 5)));
            }
            2 if self.t.storage16 => {
                self.asm.capability(Capability::StorageBuffer16BitAccess);
                self.asm.extension("SPV_KHR_16bit_storage", Some((1, 3)));
            }
            1 | 2 => return Err(self.unsupported(format!("the device has no buffers of {d}"))),
            _ => {}
        }
        self.scalar(if d == DType::Bool { DType::U8 } else { d })
    }

    fn place_elem(&self, place: Place) -> Elem {
        match place {
            Place::Buffer(p) => match self.k.params[p.at()].kind {
                ParamKind::Buffer { elem, .. } => Elem::D(elem),
                ParamKind::Scalar { elem, .. } => elem,
            },
            Place::Shared(s) => self.k.shared[s.at()].elem,
            Place::Private(a) => self.k.private[a.at()].elem,
        }
    }

    /// The type of an element of an array of the workgroup.
    pub(super) fn shared_elem(&mut self, s: SharedId) -> Result<Word> {
        match self.added_to.contains(&s) {
            true => Ok(self.asm.int(32)),
            false => self.array_elem(self.k.shared[s.at()].elem),
        }
    }

    /// The view of a buffer with so many lanes.
    fn view(&self, p: ParamId, lanes: u32) -> Result<View> {
        self.views.get(&(p, lanes)).copied().ok_or_else(|| {
            self.unsupported(format!(
                "buffer {} has no view of {lanes} lanes, a bug in anychip",
                self.k.params[p.at()].name
            ))
        })
    }

    /// A pointer to an element, and the type of what it points to.
    pub(super) fn pointer(&mut self, place: Place, index: Word, lanes: u32) -> Result<(Word, Word)> {
        match place {
            Place::Buffer(p) => {
                let View { var, elem } = self.view(p, lanes)?;
                let zero = self.asm.u32(0);
                Ok((self.asm.chain(StorageClass::StorageBuffer, elem, var, &[zero, index])?, elem))
            }
            Place::Shared(s) => {
                let elem = self.shared_elem(s)?;
                let elem = self.asm.vector(elem, if self.is_wide(place) { 4 } else { 1 });
                Ok((self.asm.chain(StorageClass::Workgroup, elem, self.shared[s.at()], &[index])?, elem))
            }
            Place::Private(a) => {
                let elem = self.array_elem(self.k.private[a.at()].elem)?;
                let elem = self.asm.vector(elem, if self.is_wide(place) { 4 } else { 1 });
                Ok((self.asm.chain(StorageClass::Function, elem, self.private[a.at()], &[index])?, elem))
            }
        }
    }

    /// How elements of a place are held there: bools have codes, floats that are added to atomically their bits.
    fn lies(&self, place: Place, s: Shape) -> Shape {
        let d = match (s.d, place) {
            (DType::Bool, Place::Buffer(_)) => DType::U8,
            (DType::Bool, _) => DType::U32,
            (_, Place::Shared(a)) if self.added_to.contains(&a) => DType::U32,
            (d, _) => d,
        };
        Shape { d, ..s }
    }

    /// Arrays of the kernel that are only read and written by aligned vectors: they are made of vectors of 4.
    pub(super) fn find_wide(&mut self) {
        let arrays =
            |n: usize, len: &dyn Fn(usize) -> u32| (0..n).map(|i| len(i).is_multiple_of(4)).collect::<Vec<_>>();
        let mut shared = arrays(self.k.shared.len(), &|i| self.k.shared[i].len);
        let mut private = arrays(self.k.private.len(), &|i| self.k.private[i].len);
        let mut see = |place: &Place, fits: bool| match place {
            Place::Shared(a) => shared[a.at()] &= fits,
            Place::Private(a) => private[a.at()] &= fits,
            Place::Buffer(_) => {}
        };
        let k = self.k;
        let whole = |lanes: u8, aligned: bool| aligned && lanes >= 4;
        visit(&k.body, &mut |i| match &i.op {
            Op::Load { place, aligned, .. } => see(place, whole(i.out.map_or(1, |v| k.ty(v).lanes()), *aligned)),
            Op::Store { place, value, aligned, .. } => see(place, whole(k.ty(*value).lanes(), *aligned)),
            Op::Atomic { place, .. } | Op::FragLoad { place, .. } | Op::FragStore { place, .. } => see(place, false),
            Op::FragMma { a, b, .. } => {
                for o in [a, b] {
                    if let FragOperand::Tile { shared, .. } = o {
                        see(&Place::Shared(*shared), false);
                    }
                }
            }
            _ => {}
        });
        (self.wide_shared, self.wide_private) = (shared, private);
    }

    /// Whether an array of the kernel is made of vectors of 4.
    fn is_wide(&self, place: Place) -> bool {
        match place {
            Place::Shared(a) => self.wide_shared[a.at()],
            Place::Private(a) => self.wide_private[a.at()],
            Place::Buffer(_) => false,
        }
    }

    /// The type of an array of the kernel.
    pub(super) fn array_of(&mut self, place: Place, elem: Word, len: u32) -> Word {
        match self.is_wide(place) {
            true => {
                let elem = self.asm.vector(elem, 4);
                self.asm.array(elem, (len / 4).max(1))
            }
            false => self.asm.array(elem, len.max(1)),
        }
    }

    /// Arrays of the workgroup whose floats are added to atomically on a device that can only exchange.
    pub(super) fn find_added_to(&mut self) {
        if self.t.atomic_f32_add {
            return;
        }
        let mut found = BTreeSet::new();
        visit(&self.k.body, &mut |i| {
            if let Op::Atomic { op: AtomicOp::Add, place: Place::Shared(a), .. } = &i.op
                && self.k.shared[a.at()].elem.is_float()
            {
                found.insert(*a);
            }
        });
        self.added_to = found;
    }

    /// A part as it lies in its place.
    fn coded(&mut self, s: Shape, lies: Shape, x: Word) -> Result<Word> {
        match s.d {
            _ if s.d == lies.d => Ok(x),
            DType::Bool => self.bool_code(s, lies, x),
            _ => {
                let ty = self.word(lies)?;
                self.asm.of(S::Bitcast, ty, &[x])
            }
        }
    }

    /// A part out of what lies in its place.
    fn decoded(&mut self, s: Shape, lies: Shape, x: Word) -> Result<Word> {
        match s.d {
            _ if s.d == lies.d => Ok(x),
            DType::Bool => {
                let (mask, zero) = (self.mask(s), self.number(lies, 0)?);
                self.asm.of(S::INotEqual, mask, &[x, zero])
            }
            _ => {
                let ty = self.word(s)?;
                self.asm.of(S::Bitcast, ty, &[x])
            }
        }
    }

    /// `index + n`, in the index's type.
    pub(super) fn offset(&mut self, s: Shape, index: Word, n: u32) -> Result<Word> {
        if n == 0 {
            return Ok(index);
        }
        let (ty, by) = (self.word(s)?, self.number(s, u64::from(n))?);
        self.asm.of(S::IAdd, ty, &[index, by])
    }

    /// The places of a value's parts: pointers to whole parts where `aligned`, else to single lanes.
    fn places(&mut self, place: Place, index: Value, s: Shape, aligned: bool) -> Result<(Vec<(Word, Word)>, bool)> {
        let of_index = self.shape_of(index)?;
        let mut at = self.one(index)?;
        let whole = aligned && s.lanes > 1 && (matches!(place, Place::Buffer(_)) || self.is_wide(place));
        let (count, lanes) = if whole { (s.parts as u32, s.lanes) } else { (s.parts as u32 * s.lanes, 1) };
        if whole {
            let (ty, by) = (self.word(of_index)?, self.number(of_index, u64::from(s.lanes.trailing_zeros()))?);
            at = self.asm.of(S::ShiftRightLogical, ty, &[at, by])?;
        }
        let mut all = vec![];
        for n in 0..count {
            let at = self.offset(of_index, at, n)?;
            all.push(self.pointer(place, at, lanes)?);
        }
        Ok((all, whole))
    }

    pub(super) fn load(&mut self, place: Place, index: Value, ty: Type, aligned: bool) -> Result<Parts> {
        let s = self.shape(ty)?;
        let lies = self.lies(place, s);
        let lanes = view_lanes(ty, aligned);
        if let Some(read) =
            self.fetch(place, index, Shape { lanes, parts: 1, ..s }, s.parts as u32 * s.lanes / lanes)?
        {
            return if lanes == s.lanes { Ok(read) } else { self.gather(ty, &read) };
        }
        let (places, whole) = self.places(place, index, s, aligned)?;
        let mut read = vec![];
        for (at, elem) in places {
            let x = self.asm.load(elem, at)?;
            let lanes = if whole { s.lanes } else { 1 };
            read.push(self.decoded(Shape { lanes, parts: 1, ..s }, Shape { lanes, parts: 1, ..lies }, x)?);
        }
        if whole { Ok(read) } else { self.gather(ty, &read) }
    }

    pub(super) fn store(&mut self, place: Place, index: Value, value: Value, aligned: bool) -> Result<()> {
        let s = self.shape_of(value)?;
        let lies = self.lies(place, s);
        let (places, whole) = self.places(place, index, s, aligned)?;
        let parts = self.v(value);
        for (n, (at, _)) in places.into_iter().enumerate() {
            let (lanes, x) = if whole { (s.lanes, parts[n]) } else { (1, self.lane(s, &parts, n as u32)?) };
            let x = self.coded(Shape { lanes, parts: 1, ..s }, Shape { lanes, parts: 1, ..lies }, x)?;
            self.asm.store(at, x)?;
        }
        Ok(())
    }

    /// Read-modify-write of one element; gives the old value.
    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        place: Place,
        index: Value,
        value: Value,
        compare: Option<Value>,
        scope: Scope,
    ) -> Result<Word> {
        let s = self.shape(Type::scalar(self.place_elem(place)))?;
        let (float, signed) = (s.d.is_float(), s.d.is_signed());
        if s.d.size() == 8 {
            if !self.t.atomic64 {
                return Err(self.unsupported("the device has no 64-bit atomics"));
            }
            self.asm.capability(Capability::Int64Atomics);
        }
        let at = self.one(index)?;
        let x = self.one(value)?;
        let ty = self.word(s)?;
        let span = self.asm.u32(match scope {
            Scope::Subgroup => Span::Subgroup,
            Scope::Workgroup => Span::Workgroup,
            Scope::Device => Span::Device,
        } as u32);
        let relaxed = self.asm.u32(MemorySemantics::RELAXED.bits());
        if float && op == AtomicOp::Add {
            if s.d != DType::F32 {
                return Err(self.unsupported(format!("atomic addition to {}", s.d)));
            }
            if self.t.atomic_f32_add {
                self.asm.capability(Capability::AtomicFloat32AddEXT);
                self.asm.extension("SPV_EXT_shader_atomic_float_add", None);
                let (p, _) = self.pointer(place, at, 1)?;
                return self.asm.of(S::AtomicFAddEXT, ty, &[p, span, relaxed, x]);
            }
            return self.add_by_exchange(place, at, x, span, relaxed);
        }
        let (p, _) = self.pointer(place, at, 1)?;
        if let Place::Shared(a) = place
            && self.added_to.contains(&a)
        {
            return Err(self.unsupported("an array of f32 that is added to atomically takes no other atomics here"));
        }
        let with = |r: &mut Self, op: S| r.asm.of(op, ty, &[p, span, relaxed, x]);
        if float && !matches!(op, AtomicOp::Load | AtomicOp::Store | AtomicOp::Exchange) {
            return Err(self.unsupported(format!("atomic {op:?} of {}", s.d)));
        }
        match op {
            AtomicOp::Load => self.asm.of(S::AtomicLoad, ty, &[p, span, relaxed]),
            AtomicOp::Exchange | AtomicOp::Store => with(self, S::AtomicExchange),
            AtomicOp::Add => with(self, S::AtomicIAdd),
            AtomicOp::Min => with(self, if signed { S::AtomicSMin } else { S::AtomicUMin }),
            AtomicOp::Max => with(self, if signed { S::AtomicSMax } else { S::AtomicUMax }),
            AtomicOp::And => with(self, S::AtomicAnd),
            AtomicOp::Or => with(self, S::AtomicOr),
            AtomicOp::Xor => with(self, S::AtomicXor),
            AtomicOp::CompareExchange => {
                let with = match compare {
                    Some(c) => self.one(c)?,
                    None => self.number(s, 0)?,
                };
                self.asm.of(S::AtomicCompareExchange, ty, &[p, span, relaxed, relaxed, x, with])
            }
        }
    }

    /// Addition to f32 on its bits, until nobody was faster.
    fn add_by_exchange(&mut self, place: Place, at: Word, x: Word, span: Word, relaxed: Word) -> Result<Word> {
        let (u32, f32, bool) = (self.asm.int(32), self.asm.float(32), self.asm.bool());
        let (p, _) = self.pointer(place, at, BITS)?;
        let old = self.asm.local(u32);
        let first = self.asm.of(S::AtomicLoad, u32, &[p, span, relaxed])?;
        self.asm.store(old, first)?;
        let (head, next, end) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.branch(head)?;
        self.asm.place(head)?;
        let expected = self.asm.load(u32, old)?;
        let number = self.asm.of(S::Bitcast, f32, &[expected])?;
        let sum = self.asm.of(S::FAdd, f32, &[number, x])?;
        let bits = self.asm.of(S::Bitcast, u32, &[sum])?;
        let seen = self.asm.of(S::AtomicCompareExchange, u32, &[p, span, relaxed, relaxed, bits, expected])?;
        self.asm.store(old, seen)?;
        let done = self.asm.of(S::IEqual, bool, &[seen, expected])?;
        self.asm.loop_merge(end, next, rspirv::spirv::LoopControl::NONE)?;
        self.asm.branch_if(done, end, next)?;
        self.asm.place(next)?;
        self.asm.branch(head)?;
        self.asm.place(end)?;
        let before = self.asm.load(u32, old)?;
        self.asm.of(S::Bitcast, f32, &[before])
    }

    /// Stores to a pointer what an atomic store writes.
    pub(super) fn atomic_store(&mut self, place: Place, index: Value, value: Value, scope: Scope) -> Result<()> {
        let (at, x) = (self.one(index)?, self.one(value)?);
        let (p, _) = self.pointer(place, at, 1)?;
        let span = self.asm.u32(if scope == Scope::Device { Span::Device } else { Span::Workgroup } as u32);
        let relaxed = self.asm.u32(MemorySemantics::RELAXED.bits());
        self.asm.effect(S::AtomicStore, vec![id(p), id(span), id(relaxed), id(x)])
    }
}
