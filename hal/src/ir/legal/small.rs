//! Small floats by integer operations: f16, bf16 and the 8-bit formats to and from f32, exactly, ties to even.
//!
//! Everything is u32 arithmetic on bit patterns (and one exact multiplication by a power of two), so that neither
//! flushed subnormals nor a compiler's liberties change a bit. The meaning is that of `half` and of [`fp8`].

use super::emit::Emit;
use crate::ir::*;

/// A format with one sign bit, exponent and mantissa.
struct Format {
    /// Bits of the mantissa.
    m: u32,
    bias: u32,
    /// Bits in all.
    width: u32,
    /// Code of infinity; where there is none, `None`.
    infinity: Option<u64>,
    /// Largest code that a finite value becomes.
    largest: u64,
    nan: u64,
}

fn format(d: DType) -> Format {
    match d {
        DType::F8E4M3 => Format { m: 3, bias: 7, width: 8, infinity: None, largest: 0x7e, nan: 0x7f },
        DType::F8E5M2 => Format { m: 2, bias: 15, width: 8, infinity: Some(0x7c), largest: 0x7b, nan: 0x7e },
        // Finite values beyond the largest become infinity.
        _ => Format { m: 10, bias: 15, width: 16, infinity: Some(0x7c00), largest: 0x7c00, nan: 0x7e00 },
    }
}

/// The integer type in which a small float lies.
pub(super) fn code_type(d: DType) -> DType {
    match d.size() {
        1 => DType::U8,
        _ => DType::U16,
    }
}

/// The f32 of a code (any unsigned type).
pub(super) fn decode(e: &mut Emit, d: DType, code: Value) -> Value {
    use BinaryOp::*;
    let c = e.cast(DType::U32, code);
    if d == DType::BF16 {
        let bits = e.bin_c(Shl, c, 16);
        return e.bitcast(DType::F32, bits);
    }
    let f = format(d);
    let sign = e.bin_c(And, c, 1 << (f.width - 1));
    let sign = e.bin_c(Shl, sign, (32 - f.width) as u64);
    let mag = e.bin_c(And, c, (1 << (f.width - 1)) - 1);
    let spread = e.bin_c(Shl, mag, (23 - f.m) as u64);
    let normal = e.bin_c(Add, spread, ((127 - f.bias) as u64) << 23);
    // Subnormal: the code counts units of 2^(1 - bias - m), a normal f32.
    let count = e.cast(DType::F32, mag);
    let unit = ((127 + 1 - f.bias - f.m) as u64) << 23;
    let unit = e.bits(e.ty(count), unit);
    let sub = e.mul(count, unit);
    let sub = e.bitcast(DType::U32, sub);
    let is_sub = e.cmp_c(CmpOp::Lt, mag, 1 << f.m);
    let mut bits = e.select(is_sub, sub, normal);
    match f.infinity {
        Some(inf) => {
            let special = e.bin_c(Or, spread, 0x7f80_0000);
            let is = e.cmp_c(CmpOp::Ge, mag, inf);
            bits = e.select(is, special, bits);
        }
        None => {
            let nan = e.bits(e.ty(bits), 0x7fc0_0000);
            let is = e.cmp_c(CmpOp::Eq, mag, f.nan);
            bits = e.select(is, nan, bits);
        }
    }
    let bits = e.bin(Or, bits, sign);
    e.bitcast(DType::F32, bits)
}

/// The code of an f32, in [`code_type`].
pub(super) fn encode(e: &mut Emit, d: DType, x: Value) -> Value {
    let code = encode_word(e, d, x);
    e.cast(code_type(d), code)
}

/// The code of an f32, in the low bits of a u32.
pub(super) fn encode_word(e: &mut Emit, d: DType, x: Value) -> Value {
    use BinaryOp::*;
    let b = e.bitcast(DType::U32, x);
    let a = e.bin_c(And, b, 0x7fff_ffff);
    let is_nan = e.cmp_c(CmpOp::Gt, a, 0x7f80_0000);
    if d == DType::BF16 {
        let high = e.bin_c(Shr, b, 16);
        let odd = e.bin_c(And, high, 1);
        let up = e.bin_c(Add, b, 0x7fff);
        let up = e.add(up, odd);
        let rounded = e.bin_c(Shr, up, 16);
        let quiet = e.bin_c(Or, high, 0x40);
        return e.select(is_nan, quiet, rounded);
    }
    let f = format(d);
    let s = 23 - f.m;
    // Normal results: rebias, round away the low bits; a carry runs into the exponent by itself.
    let t = e.bin_c(Sub, a, ((127 - f.bias) as u64) << 23);
    let odd = e.bin_c(Shr, t, s as u64);
    let odd = e.bin_c(And, odd, 1);
    let up = e.bin_c(Add, t, (1 << (s - 1)) - 1);
    let up = e.add(up, odd);
    let normal = e.bin_c(Shr, up, s as u64);
    // Subnormal results: the whole significand is shifted; beyond 25 bits nothing is left.
    let least = (127 + 1 - f.bias) as u64; // biased exponent of the smallest normal result
    let exp = e.bin_c(Shr, a, 23);
    let man = e.bin_c(And, a, 0x7f_ffff);
    let man = e.bin_c(Or, man, 0x80_0000);
    let top = e.bits(e.ty(exp), least + s as u64);
    let shift = e.sub(top, exp);
    let shift = e.bin_c(Min, shift, 25);
    let half = e.bin_c(Sub, shift, 1);
    let one = e.bits(e.ty(exp), 1);
    let half = e.bin(Shl, one, half);
    let below_half = e.bin_c(Sub, half, 1);
    let odd = e.bin(Shr, man, shift);
    let odd = e.bin_c(And, odd, 1);
    let up = e.add(man, below_half);
    let up = e.add(up, odd);
    let sub = e.bin(Shr, up, shift);
    let is_normal = e.cmp_c(CmpOp::Ge, a, least << 23);
    let code = e.select(is_normal, normal, sub);
    let code = e.bin_c(Min, code, f.largest);
    let is_inf = e.cmp_c(CmpOp::Eq, a, 0x7f80_0000);
    let inf = e.bits(e.ty(code), f.infinity.unwrap_or(f.nan));
    let code = e.select(is_inf, inf, code);
    let nan = if d == DType::F16 {
        let payload = e.bin_c(Shr, man, 13);
        let payload = e.bin_c(And, payload, 0x3ff);
        e.bin_c(Or, payload, f.nan)
    } else {
        e.bits(e.ty(code), f.nan)
    };
    let code = e.select(is_nan, nan, code);
    let sign = e.bin_c(Shr, b, (32 - f.width) as u64);
    let sign = e.bin_c(And, sign, 1 << (f.width - 1));
    e.bin(Or, code, sign)
}

/// The f32 bits of a constant of a small float type.
pub(super) fn constant(d: DType, bits: u64) -> u64 {
    let x = match d {
        DType::F16 => half::f16::from_bits(bits as u16).to_f32(),
        DType::BF16 => half::bf16::from_bits(bits as u16).to_f32(),
        DType::F8E4M3 => fp8::decode(bits as u8, fp8::Kind::E4M3),
        _ => fp8::decode(bits as u8, fp8::Kind::E5M2),
    };
    x.to_bits() as u64
}
