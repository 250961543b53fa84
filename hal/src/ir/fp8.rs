//! OCP 8-bit floats on the host: the meaning that every lowering must reproduce.
//!
//! E4M3: bias 7, no infinity, NaN is all ones, largest 448. E5M2: bias 15, IEEE-like, largest 57344. Encoding rounds to
//! nearest even and saturates finite values to the largest; infinity becomes NaN in E4M3 and stays in E5M2.
//! Source: OCP 8-bit Floating Point Specification (OFP8), revision 1.0.

/// Which of the two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 4 exponent bits, 3 mantissa bits.
    E4M3,
    /// 5 exponent bits, 2 mantissa bits.
    E5M2,
}

impl Kind {
    const fn mantissa(self) -> i32 {
        match self {
            Kind::E4M3 => 3,
            Kind::E5M2 => 2,
        }
    }
    const fn bias(self) -> i32 {
        match self {
            Kind::E4M3 => 7,
            Kind::E5M2 => 15,
        }
    }
    const fn largest(self) -> f32 {
        match self {
            Kind::E4M3 => 448.0,
            Kind::E5M2 => 57344.0,
        }
    }
}

/// The value of a code.
pub fn decode(code: u8, kind: Kind) -> f32 {
    let m = kind.mantissa();
    let sign = if code & 0x80 != 0 { -1.0 } else { 1.0 };
    let exp = ((code & 0x7f) >> m) as i32;
    let man = (code & ((1 << m) - 1)) as i32;
    match kind {
        Kind::E4M3 if code & 0x7f == 0x7f => return f32::NAN,
        Kind::E5M2 if exp == 31 => return if man == 0 { sign * f32::INFINITY } else { f32::NAN },
        _ => {}
    }
    let (significand, power) = if exp == 0 { (man, 1) } else { (man | 1 << m, exp) };
    sign * significand as f32 * 2f32.powi(power - kind.bias() - m)
}

/// The code of a value.
pub fn encode(x: f32, kind: Kind) -> u8 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let nan = match kind {
        Kind::E4M3 => 0x7f,
        Kind::E5M2 => 0x7e,
    };
    if x.is_nan() {
        return sign | nan;
    }
    if x.is_infinite() {
        return match kind {
            Kind::E4M3 => sign | nan,
            Kind::E5M2 => sign | 0x7c,
        };
    }
    let a = x.abs().min(kind.largest());
    let m = kind.mantissa();
    // Exponent of the code's binade, at least that of the subnormals; scaling by a power of two is exact.
    let e = if a == 0.0 { 1 } else { ((a.to_bits() >> 23) as i32 - 127 + kind.bias()).max(1) };
    let scaled = (a as f64) * 2f64.powi(m + kind.bias() - e);
    // `scaled` is below 2^(m+1); rounding up to that carries into the exponent by itself.
    let n = scaled.round_ties_even() as i32;
    let code = ((e - 1) << m) + n;
    sign | code as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for kind in [Kind::E4M3, Kind::E5M2] {
            for code in 0..=255u8 {
                let x = decode(code, kind);
                if !x.is_nan() {
                    assert_eq!(encode(x, kind), code, "{kind:?} {code:#x} {x}");
                }
            }
        }
        assert_eq!(decode(0x7e, Kind::E4M3), 448.0);
        assert_eq!(decode(0x7b, Kind::E5M2), 57344.0);
        assert_eq!(encode(1e9, Kind::E4M3), 0x7e);
        assert_eq!(encode(0.0009765625, Kind::E4M3), 0); // half of the smallest subnormal: ties to even
        assert!(decode(encode(f32::INFINITY, Kind::E4M3), Kind::E4M3).is_nan());
    }
}
