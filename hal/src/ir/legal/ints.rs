//! Bool and integers of 8 and 16 bits on devices that do not have them whole.
//!
//! Where a device does not compute with such an integer, values are held as i32 or u32, extended with the sign or with zeros,
//! and cut back to their width after each operation that may leave it: results are those of the narrow type, bit for bit. Private
//! arrays, arrays of the workgroup and scalars become 32 bits wide. Buffers keep their bytes: a device that stores the type
//! converts where it loads and stores, for others the buffer becomes one of words ([`storage`]).
//!
//! Small floats come here as the integers that hold their codes (`float`), so what is said of those holds for them.

use super::{
    emit::{Emit, Pass, rewrite},
    small,
    storage::{self, holds, mask, width},
};
use crate::{Error, Result, info::DeviceInfo, ir::*};
use std::collections::HashMap;

const NARROW: [DType; 5] = [DType::Bool, DType::I8, DType::I16, DType::U8, DType::U16];

/// How a type is treated.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Native,
    /// Buffers of it are loaded and stored as it is.
    Stored,
    /// Buffers of it are words.
    Packed,
}

fn mode(d: DType, info: &DeviceInfo) -> Mode {
    let s = info.support(d);
    match (NARROW.contains(&d), s.storage) {
        (false, _) => Mode::Native,
        (true, false) => Mode::Packed,
        (true, true) if d == DType::Bool || s.arithmetic => Mode::Native,
        (true, true) => Mode::Stored,
    }
}

/// True for a type that a fragment or an asynchronous copy cannot have, because it is not what lies in memory.
pub(super) fn emulated(d: DType, info: &DeviceInfo) -> bool {
    mode(d, info) != Mode::Native || (d.is_float() && d.size() < 4 && !info.support(d).storage)
}

struct Ints {
    mode: [Mode; 5],
    /// Types before.
    values: Vec<Type>,
    shared: Vec<Elem>,
    params: Vec<ParamKind>,
    /// What casts and bitcasts converted, which was renamed when the pass meets them.
    from: HashMap<Value, DType>,
}

/// The low bits of a held value, extended.
fn cut(e: &mut Emit, d: DType, x: Value) -> Value {
    if !d.is_signed() {
        return e.bin_c(BinaryOp::And, x, mask(d));
    }
    let spare = 32 - width(d);
    let top = e.bin_c(BinaryOp::Shl, x, spare);
    e.bin_c(BinaryOp::Shr, top, spare)
}

/// True when every number of `from` is one of `to`.
fn contains(to: DType, from: DType) -> bool {
    from == DType::Bool
        || from == to
        || (from.is_int() && from.size() < to.size() && (to.is_signed() || !from.is_signed()))
}

impl Ints {
    fn mode(&self, e: Elem) -> Mode {
        let at = e.dtype().and_then(|d| NARROW.iter().position(|n| *n == d));
        at.map_or(Mode::Native, |i| self.mode[i])
    }

    /// The narrow integer that is held in 32 bits.
    fn held(&self, e: Elem) -> Option<DType> {
        e.dtype().filter(|d| *d != DType::Bool && self.mode(e) != Mode::Native)
    }

    fn widen(&self, e: Elem) -> Elem {
        self.held(e).map_or(e, |d| Elem::D(holds(d)))
    }

    /// The narrow integer that a value was and no longer is.
    fn was(&self, v: Value) -> Option<DType> {
        self.held(self.values.get(v.at())?.elem()?)
    }

    /// A scalar parameter that becomes a word: all narrow ones, floats included, where the integer of their code is not native.
    fn word(&self, e: Elem) -> Option<DType> {
        let d = e.dtype().filter(|d| d.size() < 4)?;
        let code = if d == DType::Bool {
            DType::U8
        } else if d.is_float() {
            small::code_type(d)
        } else {
            d
        };
        (self.mode(e) != Mode::Native || self.mode(Elem::D(code)) != Mode::Native).then_some(d)
    }

    /// Element type of a buffer before, if it is treated.
    fn buffer(&self, p: Place) -> Option<(DType, Mode)> {
        let Place::Buffer(b) = p else { return None };
        let ParamKind::Buffer { elem, .. } = self.params[b.at()] else { return None };
        let mode = self.mode(Elem::D(elem));
        (mode != Mode::Native).then_some((elem, mode))
    }

    /// True for an array of bool that becomes one of words.
    fn flags(&self, p: Place) -> bool {
        matches!(p, Place::Shared(s) if self.shared.get(s.at()).is_some_and(|e| e.is_bool()))
            && self.mode(Elem::D(DType::Bool)) != Mode::Native
    }
}

/// Rewrites a kernel whose accesses are guarded already.
pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    let mut p = Ints {
        mode: NARROW.map(|d| mode(d, info)),
        values: e.k.values.clone(),
        shared: e.k.shared.iter().map(|a| a.elem).collect(),
        params: e.k.params.iter().map(|p| p.kind).collect(),
        from: HashMap::new(),
    };
    if p.mode.iter().all(|m| *m == Mode::Native) {
        return Ok(());
    }
    let mut partly = vec![false; e.k.params.len()];
    visit(&e.k.body, &mut |i| match (&i.op, i.out) {
        (Op::Cast(a) | Op::Bitcast(a), Some(out)) => {
            if let Some(Elem::D(d)) = e.k.ty(*a).elem() {
                p.from.insert(out, d);
            }
        }
        (Op::Store { place: place @ Place::Buffer(b), value, aligned, .. }, _) => {
            if let Some((d, Mode::Packed)) = p.buffer(*place) {
                partly[b.at()] |= !storage::whole(d, e.k.ty(*value).lanes(), *aligned);
            }
        }
        _ => {}
    });
    if partly.contains(&true) && !info.support(DType::U32).atomics {
        return Err(Error::unsupported(
            format!("kernel {}: storing elements of less than 32 bits", e.k.name),
            format!("{} has neither such elements in buffers nor atomics on 32-bit words", info.id),
        ));
    }
    for t in &mut e.k.values {
        match t {
            Type::Num { elem, .. } => *elem = p.widen(*elem),
            Type::Frag(f) if p.mode(Elem::D(f.elem)) != Mode::Native => {
                return Err(Error::unsupported(
                    format!("kernel {}: fragments of {}", e.k.name, f.elem),
                    format!("{} multiplies fragments but does not have this type whole", info.id),
                ));
            }
            Type::Frag(_) => {}
        }
    }
    for v in &mut e.k.vars {
        if let Type::Num { elem, .. } = &mut v.ty {
            *elem = p.widen(*elem);
        }
    }
    for a in e.k.private.iter_mut().chain(&mut e.k.shared) {
        a.elem = p.widen(a.elem);
    }
    if p.mode(Elem::D(DType::Bool)) != Mode::Native {
        for a in e.k.shared.iter_mut().filter(|a| a.elem.is_bool()) {
            a.elem = Elem::D(DType::U32);
        }
    }
    for (param, partly) in e.k.params.iter_mut().zip(partly) {
        match &mut param.kind {
            ParamKind::Buffer { elem, access, align } if p.mode(Elem::D(*elem)) == Mode::Packed => {
                *align = (*align * elem.size() as u32 / 4).max(1);
                *elem = DType::U32;
                if partly {
                    *access = Access::ReadWrite;
                }
            }
            ParamKind::Scalar { elem, .. } if p.word(*elem).is_some() => *elem = Elem::D(DType::U32),
            ParamKind::Buffer { .. } | ParamKind::Scalar { .. } => {}
        }
    }
    rewrite(e, &mut p)
}

impl Ints {
    /// A number of another type as one of `d`.
    fn cast(&self, e: &mut Emit, a: Value, from: Option<DType>, d: DType) -> Value {
        if e.elem(a).is_float() {
            // Saturated in 32 bits first, then in the narrow range.
            let x = e.cast(DType::I32, a);
            let (low, high) = match d.is_signed() {
                true => (-(1i64 << (width(d) - 1)), (1i64 << (width(d) - 1)) - 1),
                false => (0, mask(d) as i64),
            };
            let x = e.bin_c(BinaryOp::Max, x, low as u32 as u64);
            let x = e.bin_c(BinaryOp::Min, x, high as u64);
            return e.cast(holds(d), x);
        }
        let x = e.cast(holds(d), a);
        if from.is_some_and(|from| contains(d, from)) { x } else { cut(e, d, x) }
    }

    fn bitcast(&self, e: &mut Emit, inst: &Inst, a: Value, out: Value) {
        let from = self.from.get(&out).copied();
        let to = self.values[out.at()].elem().and_then(Elem::dtype);
        let code = |e: &mut Emit| {
            let word = e.cast(DType::U32, a);
            e.bin_c(BinaryOp::And, word, from.map_or(0, mask))
        };
        let x = match (from, to) {
            (_, Some(to)) if self.was(out).is_some() => {
                let word = match e.elem(a).is_float() {
                    true => {
                        let wide = e.cast(DType::F32, a);
                        small::encode_word(e, from.unwrap_or(DType::F16), wide)
                    }
                    false => a,
                };
                let x = e.cast(holds(to), word);
                cut(e, to, x)
            }
            (Some(from), Some(to)) if self.held(Elem::D(from)).is_some() && to.is_float() => {
                let word = code(e);
                let wide = small::decode(e, to, word);
                e.cast(to, wide)
            }
            (Some(from), Some(to)) if self.held(Elem::D(from)).is_some() => {
                let word = code(e);
                e.cast(to, word)
            }
            _ => return e.push(Some(out), inst.op.clone()),
        };
        e.rename(out, x);
    }

    fn scalar(&self, e: &mut Emit, p: ParamId, d: DType) -> Value {
        let word = e.op(Type::U32, Op::Scalar(p));
        match d {
            DType::Bool => e.cmp_c(CmpOp::Ne, word, 0),
            d if d.is_float() => {
                let wide = small::decode(e, d, word);
                e.cast(d, wide)
            }
            d if self.held(Elem::D(d)).is_none() => e.cast(d, word),
            d if d.is_signed() => {
                let x = e.cast(DType::I32, word);
                cut(e, d, x)
            }
            _ => word,
        }
    }
}

impl Pass for Ints {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let was_out = inst.out.and_then(|v| self.was(v));
        match (&inst.op, inst.out, was_out) {
            (Op::Const(bits), Some(out), Some(d)) => {
                let spare = 64 - width(d);
                let low = *bits << spare;
                let number = if d.is_signed() { ((low as i64) >> spare) as u64 } else { low >> spare };
                e.push(Some(out), Op::Const(number & u64::from(u32::MAX)));
            }
            (Op::Scalar(p), Some(out), _) => match self.params[p.at()] {
                ParamKind::Scalar { elem, .. } if self.word(elem).is_some() => {
                    let d = self.word(elem).expect("checked by the guard of this arm");
                    let x = self.scalar(e, *p, d);
                    e.rename(out, x);
                }
                _ => e.push(Some(out), inst.op),
            },
            (Op::Load { place, index, aligned }, Some(out), _) => {
                let (place, index, aligned) = (*place, *index, *aligned);
                let lanes = e.ty(out).lanes();
                match self.buffer(place) {
                    Some((d, Mode::Packed)) => {
                        let x = storage::load(e, place, d, index, lanes, aligned);
                        e.rename(out, x);
                    }
                    Some((d, _)) => {
                        let raw = e.op(Type::vector(d, lanes), Op::Load { place, index, aligned });
                        e.push(Some(out), Op::Cast(raw));
                    }
                    None if self.flags(place) => {
                        let raw = e.op(Type::vector(DType::U32, lanes), Op::Load { place, index, aligned });
                        let x = e.cmp_c(CmpOp::Ne, raw, 0);
                        e.rename(out, x);
                    }
                    None => e.push(Some(out), inst.op),
                }
            }
            (Op::Store { place, index, value, aligned }, _, _) => {
                let (place, index, value, aligned) = (*place, *index, *value, *aligned);
                match self.buffer(place) {
                    Some((d, Mode::Packed)) => storage::store(e, place, d, index, value, aligned),
                    Some((d, _)) => {
                        let value = e.cast(d, value);
                        e.push(None, Op::Store { place, index, value, aligned });
                    }
                    None if self.flags(place) => {
                        let value = e.cast(DType::U32, value);
                        e.push(None, Op::Store { place, index, value, aligned });
                    }
                    None => e.push(None, inst.op),
                }
            }
            (Op::Unary(op, a), Some(out), Some(d)) => {
                let (op, a) = (*op, *a);
                let x = match op {
                    // Only the type's own bits count.
                    UnaryOp::CountOnes | UnaryOp::LeadingZeros => {
                        let low = e.bin_c(BinaryOp::And, a, mask(d));
                        let n = e.un(op, low);
                        match op {
                            UnaryOp::CountOnes => n,
                            _ => e.bin_c(BinaryOp::Sub, n, 32 - width(d)),
                        }
                    }
                    UnaryOp::TrailingZeros => {
                        let stop = e.bin_c(BinaryOp::Or, a, 1 << width(d));
                        e.un(op, stop)
                    }
                    op => {
                        let x = e.un(op, a);
                        cut(e, d, x)
                    }
                };
                e.rename(out, x);
            }
            (Op::Binary(op, a, b), Some(out), Some(d)) => {
                let (op, a, mut b) = (*op, *a, *b);
                if matches!(op, BinaryOp::Shl | BinaryOp::Shr) {
                    b = e.bin_c(BinaryOp::And, b, width(d) - 1);
                }
                let x = e.bin(op, a, b);
                let x = match op {
                    BinaryOp::Add
                    | BinaryOp::Sub
                    | BinaryOp::Mul
                    | BinaryOp::Div
                    | BinaryOp::Rem
                    | BinaryOp::Pow
                    | BinaryOp::Shl => cut(e, d, x),
                    // These give no bits that their operands did not have.
                    BinaryOp::Min | BinaryOp::Max | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shr => x,
                };
                e.rename(out, x);
            }
            (Op::MulAdd(..) | Op::Fma(..) | Op::GroupReduce(..) | Op::Subgroup { .. }, Some(out), Some(d)) => {
                let x = e.op(e.ty(out), inst.op);
                let x = cut(e, d, x);
                e.rename(out, x);
            }
            (Op::Cast(a), Some(out), Some(d)) => {
                let x = self.cast(e, *a, self.from.get(&out).copied(), d);
                e.rename(out, x);
            }
            (Op::Cast(a), Some(out), None) if e.ty(*a) == e.ty(out) => e.rename(out, *a),
            (Op::Bitcast(a), Some(out), _) => self.bitcast(e, &inst, *a, out),
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}
