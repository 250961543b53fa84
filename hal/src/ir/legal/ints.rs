//! Integers of 8 and 16 bits on devices that store them but do not compute with them: values are held as i32 or u32 and cut back
//! to their width after each operation that may leave it.
//!
//! A value is always held extended: with its sign, or with zeros. Results are those of the narrow type, bit for bit. Private arrays
//! become wide; buffers, shared arrays and scalars keep their bytes, so that a launch packs the same for every device.

use super::emit::{Emit, Pass, rewrite};
use crate::{Error, Result, info::DeviceInfo, ir::*};

const NARROW: [DType; 4] = [DType::I8, DType::I16, DType::U8, DType::U16];

/// True for an integer type that is emulated on a device.
pub(super) fn emulated(d: DType, info: &DeviceInfo) -> bool {
    let s = info.support(d);
    NARROW.contains(&d) && s.storage && !s.arithmetic
}

struct Ints {
    emulated: Vec<DType>,
    /// Types before.
    values: Vec<Type>,
    shared: Vec<Elem>,
    params: Vec<ParamKind>,
}

/// The type that holds values of a narrow one.
fn holds(d: DType) -> DType {
    if d.is_signed() { DType::I32 } else { DType::U32 }
}

fn width(d: DType) -> u64 {
    8 * d.size() as u64
}

/// All bits of a narrow type.
fn mask(d: DType) -> u64 {
    (1 << width(d)) - 1
}

/// The low bits of a wide value, extended.
fn cut(e: &mut Emit, d: DType, x: Value) -> Value {
    if !d.is_signed() {
        return e.bin_c(BinaryOp::And, x, mask(d));
    }
    let spare = 32 - width(d);
    let top = e.bin_c(BinaryOp::Shl, x, spare);
    e.bin_c(BinaryOp::Shr, top, spare)
}

impl Ints {
    fn narrow(&self, e: Elem) -> Option<DType> {
        e.dtype().filter(|d| self.emulated.contains(d))
    }

    fn widen(&self, e: Elem) -> Elem {
        self.narrow(e).map_or(e, |d| Elem::D(holds(d)))
    }

    /// The narrow type that a value was and no longer is.
    fn was(&self, v: Value) -> Option<DType> {
        self.narrow(self.values.get(v.at())?.elem()?)
    }

    /// The narrow type in which elements of a place lie.
    fn place(&self, p: Place) -> Option<DType> {
        let elem = match p {
            Place::Buffer(b) => match self.params[b.at()] {
                ParamKind::Buffer { elem, .. } => Elem::D(elem),
                ParamKind::Scalar { .. } => return None,
            },
            Place::Shared(s) => *self.shared.get(s.at())?,
            Place::Private(_) => return None,
        };
        self.narrow(elem)
    }
}

pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    let emulated: Vec<DType> = NARROW.into_iter().filter(|&d| emulated(d, info)).collect();
    if emulated.is_empty() {
        return Ok(());
    }
    let mut p = Ints {
        emulated,
        values: e.k.values.clone(),
        shared: e.k.shared.iter().map(|a| a.elem).collect(),
        params: e.k.params.iter().map(|p| p.kind).collect(),
    };
    for t in &mut e.k.values {
        match t {
            Type::Num { elem, .. } => *elem = p.widen(*elem),
            Type::Frag(f) if p.narrow(Elem::D(f.elem)).is_some() => {
                return Err(Error::unsupported(
                    format!("kernel {}: fragments of {}", e.k.name, f.elem),
                    format!("{} multiplies fragments but does not compute with this type", info.id),
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
    for a in &mut e.k.private {
        a.elem = p.widen(a.elem);
    }
    rewrite(e, &mut p)
}

impl Pass for Ints {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let was_out = inst.out.and_then(|v| self.was(v));
        match (&inst.op, inst.out, was_out) {
            (Op::Const(bits), Some(out), Some(d)) => {
                let spare = 64 - width(d);
                let low = *bits << spare;
                let number = if d.is_signed() { (low as i64 >> spare) as u64 } else { low >> spare };
                e.push(Some(out), Op::Const(number & u32::MAX as u64));
            }
            (Op::Scalar(p), Some(out), Some(d)) => {
                let raw = e.op(Type::scalar(d), Op::Scalar(*p));
                e.push(Some(out), Op::Cast(raw));
            }
            (Op::Load { place, index, aligned }, Some(out), Some(d)) if self.place(*place).is_some() => {
                let (place, index, aligned) = (*place, *index, *aligned);
                let raw = e.op(Type::vector(d, e.ty(out).lanes()), Op::Load { place, index, aligned });
                e.push(Some(out), Op::Cast(raw));
            }
            (Op::Store { place, index, value, aligned }, _, _) if self.place(*place).is_some() => {
                let d = self.place(*place).expect("checked by the guard of this arm");
                let (place, index, aligned) = (*place, *index, *aligned);
                let value = e.cast(d, *value);
                e.push(None, Op::Store { place, index, value, aligned });
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
                let a = *a;
                let to = holds(d);
                let x = if e.elem(a).is_float() {
                    // Saturated in 32 bits first, then in the narrow range.
                    let x = e.cast(DType::I32, a);
                    let (low, high) = match d.is_signed() {
                        true => (-(1i64 << (width(d) - 1)), (1i64 << (width(d) - 1)) - 1),
                        false => (0, mask(d) as i64),
                    };
                    let x = e.bin_c(BinaryOp::Max, x, low as u32 as u64);
                    let x = e.bin_c(BinaryOp::Min, x, high as u64);
                    e.cast(to, x)
                } else {
                    let x = e.cast(to, a);
                    cut(e, d, x)
                };
                e.rename(out, x);
            }
            (Op::Cast(a), Some(out), None) if e.ty(*a) == e.ty(out) => e.rename(out, *a),
            (Op::Bitcast(a), Some(out), _) => {
                let mut x = *a;
                if let Some(d) = self.was(x) {
                    x = e.cast(d, x);
                }
                match was_out {
                    Some(d) => {
                        let raw = e.op(Type::vector(d, e.ty(out).lanes()), Op::Bitcast(x));
                        e.push(Some(out), Op::Cast(raw));
                    }
                    None if e.ty(x) == e.ty(out) => e.rename(out, x),
                    None => e.push(Some(out), Op::Bitcast(x)),
                }
            }
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}
