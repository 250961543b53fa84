//! Loads, stores and atomics.

use super::Printer;
use crate::{Result, ir::*};

impl Printer<'_> {
    /// Qualifier of pointers into a place, with a space behind.
    fn space(&self, place: Place) -> &'static str {
        match place {
            Place::Buffer(_) => self.d.global,
            Place::Shared(_) => self.d.shared,
            Place::Private(_) => self.d.private,
        }
    }

    pub(super) fn place_elem(&self, place: Place) -> Elem {
        match place {
            Place::Buffer(p) => match self.k.params[p.at()].kind {
                ParamKind::Buffer { elem, .. } => Elem::D(elem),
                ParamKind::Scalar { elem, .. } => elem,
            },
            Place::Shared(s) => self.k.shared[s.at()].elem,
            Place::Private(a) => self.k.private[a.at()].elem,
        }
    }

    /// A place as a pointer to a `small` float: arrays of the kernel are declared as `ushort`.
    pub(super) fn small_pointer(&self, small: &str, place: Place, writes: bool) -> String {
        let name = self.place_name(place);
        match place {
            Place::Buffer(_) => name,
            _ => format!("(({}{}{small}*){name})", if writes { "" } else { "const " }, self.space(place)),
        }
    }

    pub(super) fn load(&mut self, place: Place, index: Value, ty: Type, aligned: bool) -> Result<String> {
        let (name, i) = (self.place_name(place), self.t(index).to_string());
        let lanes = ty.lanes();
        let bool = ty.elem().is_some_and(Elem::is_bool);
        // f16 that does not compute is reached by `vload_half` and `vstore_half` only.
        if let Some(small) = self.small(self.place_elem(place)) {
            let p = self.small_pointer(small, place, false);
            return Ok(match lanes {
                1 => format!("vload_{small}({i}, {p})"),
                n if aligned && self.d.small_vectors => format!("vloada_{small}{n}(0, {p} + {i})"),
                n => format!("vload_{small}{n}(0, {p} + {i})"),
            });
        }
        Ok(match lanes {
            1 if bool => format!("({name}[{i}] != 0)"),
            1 => format!("{name}[{i}]"),
            n if bool => format!("convert_int{n}(vload{n}(0, {name} + {i}) != ((uchar{n})(0)))"),
            n if aligned => {
                let c = self.ctype(Type::vector(self.place_elem(place), n))?;
                format!("(*(const {}{c}*)({name} + {i}))", self.space(place))
            }
            n => format!("vload{n}(0, {name} + {i})"),
        })
    }

    pub(super) fn store(&mut self, place: Place, index: Value, value: Value, aligned: bool) -> Result<String> {
        let (name, i, x) = (self.place_name(place), self.t(index).to_string(), self.t(value).to_string());
        let ty = self.k.ty(value);
        let bool = ty.elem().is_some_and(Elem::is_bool);
        if let Some(small) = self.small(self.place_elem(place)) {
            let p = self.small_pointer(small, place, true);
            return Ok(match ty.lanes() {
                1 => format!("vstore_{small}_rte({x}, {i}, {p});"),
                n if aligned && self.d.small_vectors => format!("vstorea_{small}{n}_rte({x}, 0, {p} + {i});"),
                n => format!("vstore_{small}{n}_rte({x}, 0, {p} + {i});"),
            });
        }
        Ok(match ty.lanes() {
            1 => format!("{name}[{i}] = {x};"),
            n if bool => format!("vstore{n}(convert_uchar{n}({x} & 1), 0, {name} + {i});"),
            _ if aligned => {
                let c = self.ctype(ty)?;
                (self.d.put)(&format!("({}{c}*)({name} + {i})", self.space(place)), &x)
            }
            n => format!("vstore{n}({x}, 0, {name} + {i});"),
        })
    }

    /// An atomic as an expression that gives the old value.
    pub(super) fn atomic(
        &mut self,
        op: AtomicOp,
        place: Place,
        index: Value,
        value: Value,
        compare: Option<Value>,
    ) -> Result<String> {
        let s = self.shape(Type::scalar(self.place_elem(place)));
        let (name, i, x) = (self.place_name(place), self.t(index).to_string(), self.t(value).to_string());
        let space = self.space(place);
        let wide = s.d.size() == 8;
        if wide && !self.d.atomic64 {
            return Err(self.unsupported("64-bit atomics need cl_khr_int64_base_atomics and _extended_atomics"));
        }
        // The 64-bit extension has names of its own.
        let family = if wide { "atom" } else { "atomic" };
        let p = format!("(volatile {space}{}*)({name} + {i})", s.name);
        let bits = s.unsigned_name();
        let q = format!("(volatile {space}{bits}*)({name} + {i})");
        let float = s.d.is_float();
        Ok(match op {
            // A read-only buffer must not be written, not even with the same bits.
            AtomicOp::Load => format!("(*(volatile const {space}{}*)({name} + {i}))", s.name),
            AtomicOp::Exchange | AtomicOp::Store if float => {
                format!("as_{}({family}_xchg({q}, as_{bits}({x})))", s.name)
            }
            AtomicOp::Exchange | AtomicOp::Store => format!("{family}_xchg({p}, {x})"),
            AtomicOp::Add if float && !self.d.atomic_floats => {
                format!("{}({p}, {x})", self.helpers.float_add(s, space))
            }
            AtomicOp::Add => format!("{family}_add({p}, {x})"),
            AtomicOp::Min => format!("{family}_min({p}, {x})"),
            AtomicOp::Max => format!("{family}_max({p}, {x})"),
            AtomicOp::And => format!("{family}_and({p}, {x})"),
            AtomicOp::Or => format!("{family}_or({p}, {x})"),
            AtomicOp::Xor => format!("{family}_xor({p}, {x})"),
            AtomicOp::CompareExchange => {
                let with = compare.map(|c| self.t(c).to_string()).unwrap_or_else(|| s.zero());
                format!("{family}_cmpxchg({p}, {with}, {x})")
            }
        })
    }
}
