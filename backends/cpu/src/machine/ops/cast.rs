//! Conversions: float to integer truncates and saturates, NaN gives 0; everything to float rounds to nearest even;
//! integers wrap. f16 and bf16 convert to and from f32 and f64; other pairs go through f64, which is exact for them.

use crate::vmath::convert::{from_bf16, from_f16, to_bf16, to_f16};
use half::{bf16, f16};

/// A conversion.
pub(crate) trait To<B>: Copy {
    /// Converts.
    fn to(self) -> B;
}

/// A byte, 0 or 1; any non-zero byte reads as true.
#[derive(Clone, Copy)]
pub(crate) struct Bit(u8);

macro_rules! to {
    ($($a:ty => $($b:ty)*;)*) => {$($(
        impl To<$b> for $a {
            #[inline(always)]
            fn to(self) -> $b { self as $b }
        }
    )*)*};
}
to! {
    i8 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    i16 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    i32 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    i64 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    u8 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    u16 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    u32 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    u64 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    f32 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
    f64 => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64;
}
macro_rules! bits {
    ($($t:ty)*) => {$(
        impl To<Bit> for $t {
            #[inline(always)]
            fn to(self) -> Bit { Bit((self != 0 as $t) as u8) }
        }
        impl To<$t> for Bit {
            #[inline(always)]
            fn to(self) -> $t { (self.0 != 0) as u8 as $t }
        }
    )*};
}
bits!(i8 i16 i32 i64 u8 u16 u32 u64 f32 f64);

impl To<f32> for f16 {
    #[inline(always)]
    fn to(self) -> f32 {
        from_f16(self)
    }
}
impl To<f16> for f32 {
    #[inline(always)]
    fn to(self) -> f16 {
        to_f16(self)
    }
}
impl To<f64> for f16 {
    #[inline(always)]
    fn to(self) -> f64 {
        from_f16(self) as f64
    }
}
impl To<f16> for f64 {
    #[inline(always)]
    fn to(self) -> f16 {
        f16::from_f64(self)
    }
}
impl To<f32> for bf16 {
    #[inline(always)]
    fn to(self) -> f32 {
        from_bf16(self)
    }
}
impl To<bf16> for f32 {
    #[inline(always)]
    fn to(self) -> bf16 {
        to_bf16(self)
    }
}
impl To<f64> for bf16 {
    #[inline(always)]
    fn to(self) -> f64 {
        To::<f32>::to(self) as f64
    }
}
impl To<bf16> for f64 {
    #[inline(always)]
    fn to(self) -> bf16 {
        bf16::from_f64(self)
    }
}

/// Looks up `$f::<From, To>` for two element types; `None` for pairs that need two steps.
macro_rules! pairs {
    ($f:ident, $from:ident, $to:ident) => {{
        macro_rules! row {
            ($a:ty: $d:expr) => {
                match $d {
                    DType::Bool => Some($f::<$a, crate::machine::ops::cast::Bit> as CastFn),
                    DType::I8 => Some($f::<$a, i8>),
                    DType::I16 => Some($f::<$a, i16>),
                    DType::I32 => Some($f::<$a, i32>),
                    DType::I64 => Some($f::<$a, i64>),
                    DType::U8 => Some($f::<$a, u8>),
                    DType::U16 => Some($f::<$a, u16>),
                    DType::U32 => Some($f::<$a, u32>),
                    DType::U64 => Some($f::<$a, u64>),
                    DType::F32 => Some($f::<$a, f32>),
                    DType::F64 => Some($f::<$a, f64>),
                    DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => None,
                }
            };
        }
        use half::{bf16, f16};
        match ($from, $to) {
            (DType::F16, DType::F32) => Some($f::<f16, f32> as CastFn),
            (DType::F16, DType::F64) => Some($f::<f16, f64>),
            (DType::F32, DType::F16) => Some($f::<f32, f16>),
            (DType::F64, DType::F16) => Some($f::<f64, f16>),
            (DType::BF16, DType::F32) => Some($f::<bf16, f32>),
            (DType::BF16, DType::F64) => Some($f::<bf16, f64>),
            (DType::F32, DType::BF16) => Some($f::<f32, bf16>),
            (DType::F64, DType::BF16) => Some($f::<f64, bf16>),
            (DType::Bool, to) => match to {
                DType::I8 => Some($f::<crate::machine::ops::cast::Bit, i8> as CastFn),
                DType::I16 => Some($f::<crate::machine::ops::cast::Bit, i16>),
                DType::I32 => Some($f::<crate::machine::ops::cast::Bit, i32>),
                DType::I64 => Some($f::<crate::machine::ops::cast::Bit, i64>),
                DType::U8 => Some($f::<crate::machine::ops::cast::Bit, u8>),
                DType::U16 => Some($f::<crate::machine::ops::cast::Bit, u16>),
                DType::U32 => Some($f::<crate::machine::ops::cast::Bit, u32>),
                DType::U64 => Some($f::<crate::machine::ops::cast::Bit, u64>),
                DType::F32 => Some($f::<crate::machine::ops::cast::Bit, f32>),
                DType::F64 => Some($f::<crate::machine::ops::cast::Bit, f64>),
                _ => None,
            },
            (DType::I8, to) => row!(i8: to),
            (DType::I16, to) => row!(i16: to),
            (DType::I32, to) => row!(i32: to),
            (DType::I64, to) => row!(i64: to),
            (DType::U8, to) => row!(u8: to),
            (DType::U16, to) => row!(u16: to),
            (DType::U32, to) => row!(u32: to),
            (DType::U64, to) => row!(u64: to),
            (DType::F32, to) => row!(f32: to),
            (DType::F64, to) => row!(f64: to),
            _ => None,
        }
    }};
}
pub(super) use pairs;
