//! Literals whose bits are exact, and which no compiler refuses.

use super::{Shape, helpers::Helpers};
use crate::DType;

/// A literal of a shape with these bits in every lane, in parentheses where a sign or a cast needs them.
pub(super) fn literal(s: Shape, bits: u64, helpers: &mut Helpers) -> String {
    let one = scalar(s.d, bits, helpers);
    if s.lanes == 1 { one } else { format!("{}({one})", super::helpers::name(s)) }
}

fn scalar(d: DType, bits: u64, helpers: &mut Helpers) -> String {
    match d {
        DType::Bool => (bits & 1 == 1).to_string(),
        // No literal has these types.
        DType::I8 | DType::I16 => format!("i16({}i)", bits as i16),
        DType::U8 | DType::U16 => format!("u16({}u)", bits as u16),
        DType::I32 => match bits as i32 {
            // The minus is applied to a number that does not fit.
            i32::MIN => "(-2147483647i - 1i)".into(),
            n if n < 0 => format!("({n}i)"),
            n => format!("{n}i"),
        },
        DType::I64 => match bits as i64 {
            i64::MIN => "(-9223372036854775807li - 1li)".into(),
            n if n < 0 => format!("({n}li)"),
            n => format!("{n}li"),
        },
        DType::U32 => format!("{}u", bits as u32),
        DType::U64 => format!("{bits}lu"),
        DType::F32 => match f32::from_bits(bits as u32) {
            x if plain(x.is_normal(), bits) => signed(format!("{x:e}f")),
            _ => format!("{}({}u)", helpers.bits(d), bits as u32),
        },
        DType::F64 => match f64::from_bits(bits) {
            x if plain(x.is_normal(), bits) => signed(format!("{x:e}lf")),
            _ => format!("{}({bits}lu)", helpers.bits(d)),
        },
        DType::F16 => match half::f16::from_bits(bits as u16) {
            x if plain(x.is_normal(), bits) => signed(format!("{:e}h", x.to_f32())),
            _ => format!("{}({}u)", helpers.bits(d), bits as u16),
        },
        DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => format!("{bits}u"),
    }
}

/// A compiler may flush or refuse what is not normal.
fn plain(normal: bool, bits: u64) -> bool {
    normal || bits == 0
}

fn signed(text: String) -> String {
    if text.starts_with('-') { format!("({text})") } else { text }
}
