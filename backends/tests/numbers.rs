//! The numbers on which operations are tried: of every type those that matter, as bits, and every pair of them.

use anychip_hal::DType;

pub fn width(d: DType) -> u32 {
    8 * d.size() as u32
}

pub fn mask(d: DType) -> u64 {
    u64::MAX >> (64 - width(d))
}

/// Bits as a number.
pub fn int(d: DType, bits: u64) -> i128 {
    let x = (bits & mask(d)) as i128;
    if d.is_signed() && x >> (width(d) - 1) == 1 { x - (1i128 << width(d)) } else { x }
}

pub fn put(d: DType, bits: &[u64]) -> Vec<u8> {
    bits.iter().flat_map(|b| b.to_le_bytes()[..d.size()].to_vec()).collect()
}

pub fn get(d: DType, bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(d.size())
        .map(|c| {
            let mut b = [0; 8];
            b[..c.len()].copy_from_slice(c);
            u64::from_le_bytes(b)
        })
        .collect()
}

/// Bits that matter: ends of ranges, neighbours of zero, and a few of every size.
pub fn specials(d: DType) -> Vec<u64> {
    match d {
        DType::Bool => vec![0, 1],
        DType::F32 => [
            0.0f32,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1.5,
            2.5,
            -2.5,
            3.7,
            0.1,
            100.0,
            -127.9,
            255.5,
            65504.0,
            65536.0,
            1e9,
            -3e9,
            1e19,
            1e38,
            -1e-38,
            f32::MIN_POSITIVE,
            1e-42,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            2147483648.0,
            -2147483648.0,
            4294967296.0,
            9.223372e18,
            16777217.0,
            8388607.5,
        ]
        .iter()
        .map(|x| x.to_bits() as u64)
        .collect(),
        DType::F64 => [
            0.0f64,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1.5,
            2.5,
            -2.5,
            0.1,
            1e-5,
            -127.9,
            65519.99999,
            2147483647.9,
            -2147483648.9,
            4294967295.5,
            9.3e18,
            -9.3e18,
            1.9e19,
            1e300,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            16777217.0,
            1.000_000_119_209_289_6,
            3.4e38,
            1e39,
            4503599627370495.5,
            1e-40,
            3.0,
            7.25,
        ]
        .iter()
        .map(|x| x.to_bits())
        .collect(),
        DType::F16 => [
            0.0f32,
            -0.0,
            1.0,
            -1.0,
            0.5,
            2.5,
            0.1,
            65504.0,
            6e-8,
            1e-5,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1000.0,
            -3.3,
            255.0,
        ]
        .iter()
        .map(|x| half::f16::from_f32(*x).to_bits() as u64)
        .collect(),
        _ => {
            let m = mask(d);
            let top = 1u64 << (width(d) - 1);
            [
                0,
                1,
                2,
                3,
                5,
                7,
                8,
                13,
                31,
                33,
                64,
                100,
                top - 1,
                top,
                top + 1,
                m,
                m - 1,
                m - 6,
                m / 3,
                0x5bd1_e995_1234_5678 & m,
            ]
            .to_vec()
        }
    }
}

/// Every pair of special values, padded to whole vectors of 8.
pub fn pairs(d: DType) -> (Vec<u64>, Vec<u64>) {
    let s = specials(d);
    let (mut a, mut b): (Vec<u64>, Vec<u64>) = s.iter().flat_map(|x| s.iter().map(move |y| (*x, *y))).unzip();
    while !a.len().is_multiple_of(8) {
        a.push(s[1]);
        b.push(s[2 % s.len()]);
    }
    (a, b)
}
