//! Literals whose bits are exact whatever the compiler's rounding of decimals.

use crate::DType;

/// A scalar literal of type `d` (the C name is `name`) with these bits, in parentheses where a sign or a cast needs them.
pub(super) fn literal(d: DType, name: &str, bits: u64) -> String {
    // Where `long` may have 32 bits the type has another name.
    let long = if matches!(name, "long" | "ulong") { "L" } else { "LL" };
    match d {
        DType::Bool => (bits & 1).to_string(),
        DType::I8 => format!("(({name}){})", bits as i8),
        DType::I16 => format!("(({name}){})", bits as i16),
        DType::U8 => format!("(({name}){})", bits as u8),
        DType::U16 => format!("(({name}){})", bits as u16),
        // -2147483648 is no literal of type int: the minus is applied to a number that does not fit.
        DType::I32 => match bits as i32 {
            i32::MIN => "((int)0x80000000u)".into(),
            n if n < 0 => format!("({n})"),
            n => n.to_string(),
        },
        DType::I64 => match bits as i64 {
            i64::MIN => format!("(({name})0x8000000000000000U{long})"),
            n if n < 0 => format!("({n}{long})"),
            n => format!("{n}{long}"),
        },
        DType::U32 => format!("{}u", bits as u32),
        DType::U64 => format!("{bits}U{long}"),
        DType::F32 => float(f32::from_bits(bits as u32)),
        DType::F64 => double(f64::from_bits(bits)),
        DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => format!("as_{name}((ushort){})", bits as u16),
    }
}

fn float(x: f32) -> String {
    if !x.is_normal() && x.to_bits() != 0 {
        return format!("as_float(0x{:08x}u)", x.to_bits());
    }
    let text = if x.fract() == 0.0 && x.abs() < 16_777_216.0 { format!("{x:.1}f") } else { hex(x as f64) + "f" };
    if x < 0.0 { format!("({text})") } else { text }
}

fn double(x: f64) -> String {
    if !x.is_normal() && x.to_bits() != 0 {
        return format!("as_double(0x{:016x}UL)", x.to_bits());
    }
    let text = if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.1}") } else { hex(x) };
    if x < 0.0 { format!("({text})") } else { text }
}

/// C's hexadecimal form of a normal number.
fn hex(x: f64) -> String {
    let bits = x.to_bits();
    let sign = if x < 0.0 { "-" } else { "" };
    let exponent = (bits >> 52 & 0x7ff) as i64 - 1023;
    let digits = format!("{:013x}", bits & ((1 << 52) - 1));
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{sign}0x1{point}{digits}p{exponent}")
}
