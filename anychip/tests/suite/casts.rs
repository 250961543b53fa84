//! Conversions between all pairs of element types, bit for bit: integers wrap, floats saturate into integers (NaN gives 0), anything
//! but 0 is true, rounding is to nearest even.

use crate::common::{on_every_device, takes};
use anychip::{DType, Device, Tensor, bf16, f16};

#[derive(Clone, Copy, Debug)]
enum Number {
    Int(i128),
    Float(f64),
}

/// All but the 8-bit floats, which end the list.
const TYPES: &[DType] = DType::ALL.split_at(13).0;

/// A number's bits in a type, by the rules of a conversion.
fn bits(x: Number, to: DType) -> u64 {
    let int = |x: i128| (x as u128 & (u128::MAX >> (128 - 8 * to.size()))) as u64;
    match (to, x) {
        (DType::Bool, Number::Int(x)) => (x != 0) as u64,
        (DType::Bool, Number::Float(x)) => (x != 0.0) as u64,
        (DType::F16, Number::Float(x)) => f16::from_f64(x).to_bits() as u64,
        (DType::F16, Number::Int(x)) => f16::from_f64(x as f64).to_bits() as u64,
        (DType::BF16, Number::Float(x)) => bf16::from_f64(x).to_bits() as u64,
        (DType::BF16, Number::Int(x)) => bf16::from_f64(x as f64).to_bits() as u64,
        (DType::F32, Number::Float(x)) => (x as f32).to_bits() as u64,
        (DType::F32, Number::Int(x)) => (x as f32).to_bits() as u64,
        (DType::F64, Number::Float(x)) => x.to_bits(),
        (DType::F64, Number::Int(x)) => (x as f64).to_bits(),
        (_, Number::Int(x)) => int(x),
        (_, Number::Float(x)) => {
            let width = 8 * to.size() as u32;
            let (low, high) = match to.is_signed() {
                true => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
                false => (0, (1i128 << width) - 1),
            };
            // `as` truncates, saturates at i128 and gives 0 for NaN.
            int((x as i128).clamp(low, high))
        }
    }
}

/// The number that some bits are.
fn number(bits: u64, of: DType) -> Number {
    match of {
        DType::Bool => Number::Int(bits as i128),
        DType::F16 => Number::Float(f16::from_bits(bits as u16).to_f64()),
        DType::BF16 => Number::Float(bf16::from_bits(bits as u16).to_f64()),
        DType::F32 => Number::Float(f32::from_bits(bits as u32) as f64),
        DType::F64 => Number::Float(f64::from_bits(bits)),
        d => {
            let spare = 128 - 8 * d.size() as u32;
            let wide = (bits as i128) << spare;
            Number::Int(if d.is_signed() { wide >> spare } else { (wide as u128 >> spare) as i128 })
        }
    }
}

fn tensor(bits: &[u64], dtype: DType, d: &Device) -> Tensor {
    macro_rules! make {
        ($($variant:ident $t:ty, $f:expr;)*) => {
            match dtype {
                $(DType::$variant => Tensor::from_vec(bits.iter().map(|&b| { let f: fn(u64) -> $t = $f; f(b) }).collect(), bits.len(), d),)*
                other => panic!("{other} is not in the list"),
            }
        };
    }
    make! {
        Bool bool, |b| b != 0;
        I8 i8, |b| b as i8;
        I16 i16, |b| b as i16;
        I32 i32, |b| b as i32;
        I64 i64, |b| b as i64;
        U8 u8, |b| b as u8;
        U16 u16, |b| b as u16;
        U32 u32, |b| b as u32;
        U64 u64, |b| b;
        F16 f16, |b| f16::from_bits(b as u16);
        BF16 bf16, |b| bf16::from_bits(b as u16);
        F32 f32, |b| f32::from_bits(b as u32);
        F64 f64, f64::from_bits;
    }
    .unwrap()
}

/// Numbers around every edge; those that a type does not hold come as what they become there.
const NUMBERS: [f64; 30] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    0.99,
    1.5,
    -1.5,
    2.5,
    127.0,
    128.0,
    -128.0,
    -129.0,
    255.0,
    256.0,
    32767.5,
    32768.0,
    -32769.0,
    65535.0,
    65536.0,
    65519.0,
    65520.0,
    2147483647.0,
    2147483648.0,
    -2147483649.0,
    4294967296.0,
    1e19,
    -1e19,
    1e30,
];

#[test]
fn every_pair_of_types() {
    on_every_device(|d| {
        for &from in TYPES {
            if !d.info().support(from).arithmetic && from == DType::F64 {
                continue;
            }
            let mut source: Vec<u64> = NUMBERS.iter().map(|&x| bits(Number::Float(x), from)).collect();
            if from.is_float() {
                source.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|x| bits(Number::Float(x), from)));
            }
            if from.is_int() {
                // All ones, and the pattern of the largest: 64-bit numbers that no f64 has.
                let ones = u64::MAX >> (64 - 8 * from.size());
                source.extend([ones, ones >> 1, (ones >> 1) - 1]);
            }
            let x = tensor(&source, from, d);
            for (n, to) in TYPES.iter().copied().enumerate() {
                // Elsewhere a part of the pairs: every one is a kernel that a driver has to compile.
                let part = takes(d, from as usize + n, 15);
                if !part || to == from || (to == DType::F64 && !d.info().support(to).arithmetic) {
                    continue;
                }
                let got = x.to_dtype(to).unwrap().to_bytes().unwrap();
                for (&s, g) in source.iter().zip(got.chunks(to.size())) {
                    let mut wide = [0u8; 8];
                    wide[..g.len()].copy_from_slice(g);
                    let got = u64::from_le_bytes(wide);
                    let value = number(s, from);
                    let want = bits(value, to);
                    let nan = |b: u64| matches!(number(b, to), Number::Float(x) if x.is_nan());
                    let fits = got == want || to.is_float() && nan(got) && nan(want);
                    assert!(fits, "{from} {value:?} to {to} on {d}: bits {got:#x}, must be {want:#x}");
                }
            }
        }
    });
}
