//! Conversions of numbers and reinterpretations of bits.

use super::{Printer, Shape, helpers::name};
use crate::{DType, Result, ir::*};

impl Printer<'_> {
    pub(super) fn cast(&mut self, a: Value, part: usize, to: Shape) -> Result<String> {
        let from = self.shape(self.k.ty(a))?;
        let x = self.t(a, part).to_string();
        let t = self.type_name(to)?;
        Ok(match (from.d, to.d) {
            (f, t) if f == t => x,
            // naga's `!=` is false for NaN.
            (f, DType::Bool) if f.is_float() => format!("(!({x} == {}))", self.literal(from, 0)),
            (_, DType::Bool) => format!("({x} != {})", self.literal(from, 0)),
            (f, d) if f.is_float() && d.is_int() => {
                // The bounds of integers are no numbers of f16.
                let (from, x) = match f {
                    DType::F16 => {
                        (Shape { d: DType::F32, ..from }, format!("{}({x})", name(Shape { d: DType::F32, ..from })))
                    }
                    _ => (from, x),
                };
                format!("{}({x})", self.helpers.saturate(from, to))
            }
            // naga extends by the sign of the result: first to longer, then to the other sign.
            (f, d) if f.is_int() && d.is_int() && f.is_signed() != d.is_signed() && d.size() > f.size() => {
                let longer = match (d.size(), f.is_signed()) {
                    (8, true) => DType::I64,
                    (8, false) => DType::U64,
                    (_, true) => DType::I32,
                    (_, false) => DType::U32,
                };
                format!("{t}({}({x}))", name(Shape { d: longer, ..to }))
            }
            // WGSL promises one neighbour or the other; SwiftShader rounds twice.
            (DType::U32, DType::F32) => format!("{}({x})", self.helpers.single_of_word(to.lanes)),
            (DType::F64, DType::F16) => format!("{}({x})", self.helpers.half_of_double(to.lanes)),
            _ => format!("{t}({x})"),
        })
    }

    pub(super) fn bitcast(&mut self, a: Value, part: usize, to: Shape) -> Result<String> {
        let from = self.shape(self.k.ty(a))?;
        let x = self.t(a, part).to_string();
        Ok(if from == to { x } else { format!("bitcast<{}>({x})", self.type_name(to)?) })
    }

    /// A scalar parameter from the words of its block.
    pub(super) fn scalar_param(&mut self, p: ParamId, to: Shape) -> Result<String> {
        let (slots, _) = self.k.scalar_layout();
        let Some(slot) = slots.iter().find(|s| s.param == p) else {
            return Err(self.unsupported(format!("parameter {} is no scalar", p.0)));
        };
        let word = |n: u32| format!("scalars.w{n}");
        let (first, t) = (word(slot.offset / 4), self.type_name(to)?);
        Ok(match (to.d, slot.bytes) {
            (DType::U32, 4) => first,
            (_, 4) => format!("bitcast<{t}>({first})"),
            (d, 8) => {
                let wide = format!("((u64({}) << 32u) | u64({first}))", word(slot.offset / 4 + 1));
                if d == DType::U64 { wide } else { format!("bitcast<{t}>({wide})") }
            }
            (d, bytes) => {
                let moved = format!("({first} >> {}u)", slot.offset % 4 * 8);
                match d {
                    DType::F16 => format!("f16(unpack2x16float{moved}.x)"),
                    DType::Bool => format!("(({moved} & 0xffu) != 0u)"),
                    DType::I16 => format!("i16(bitcast<i32>({moved} << 16u) >> 16u)"),
                    DType::U16 => format!("u16({moved} & 0xffffu)"),
                    _ => {
                        return Err(
                            self.unsupported(format!("a scalar of {bytes} bytes must be widened by the legaliser"))
                        );
                    }
                }
            }
        })
    }
}
