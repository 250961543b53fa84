//! What may stand beside a tensor in an elementwise operation: another tensor, or a number.

use super::Tensor;
use anychip_hal::{DType, Error, Result, ir::Elem, ir::build::encode_f64};
use anychip_kernels::Node;

/// A number of the host that has not met a tensor's element type yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// An integer; exact for every integer type.
    Int(i128),
    /// A float; rounded to nearest in the tensor's type.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

impl Scalar {
    /// Its bit pattern in an element type.
    ///
    /// # Errors
    /// `InvalidArgument` when an integer type does not hold the number; `DTypeMismatch` for a bool beside numbers.
    pub fn bits(self, what: &str, dtype: DType) -> Result<u64> {
        let lossy = || Error::invalid(format!("{what}: the number {self} is not a value of type {dtype}"));
        match self {
            Scalar::Bool(b) if dtype == DType::Bool => Ok(b as u64),
            Scalar::Bool(_) => Err(Error::DTypeMismatch(format!("{what}: {self} beside a tensor of type {dtype}"))),
            _ if dtype == DType::Bool => {
                Err(Error::DTypeMismatch(format!("{what}: the number {self} beside a tensor of type bool")))
            }
            Scalar::Float(x) if dtype.is_float() => Ok(encode_f64(Elem::D(dtype), x)),
            Scalar::Int(x) if dtype.is_float() => Ok(encode_f64(Elem::D(dtype), x as f64)),
            // Beyond 2^100 every float is an integer that no type holds.
            Scalar::Float(x) if x.fract() == 0.0 && x.abs() < 1e30 => Scalar::Int(x as i128).bits(what, dtype),
            Scalar::Float(_) => Err(lossy()),
            Scalar::Int(x) => {
                let bits = 8 * dtype.size() as u32;
                let (low, high) = match dtype.is_signed() {
                    true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                    false => (0, (1i128 << bits) - 1),
                };
                if !(low..=high).contains(&x) {
                    return Err(lossy());
                }
                Ok((x as u64) & (u64::MAX >> (64 - bits)))
            }
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Int(x) => write!(f, "{x}"),
            Scalar::Float(x) => write!(f, "{x}"),
            Scalar::Bool(x) => write!(f, "{x}"),
        }
    }
}

/// What may stand beside a tensor: `&Tensor`, `Tensor`, a number, a truth value.
pub trait Operand {
    /// As a tensor that broadcasts with `beside`, of its type when it is a number.
    fn beside(self, what: &str, beside: &Tensor) -> Result<Tensor>;
}

impl Operand for &Tensor {
    fn beside(self, what: &str, beside: &Tensor) -> Result<Tensor> {
        self.on(what, beside.device())?;
        Ok(self.clone())
    }
}

impl Operand for Tensor {
    fn beside(self, what: &str, beside: &Tensor) -> Result<Tensor> {
        self.on(what, beside.device())?;
        Ok(self)
    }
}

impl Operand for Scalar {
    fn beside(self, what: &str, beside: &Tensor) -> Result<Tensor> {
        let bits = self.bits(what, beside.dtype())?;
        Ok(beside.with(Node::full(bits, beside.dtype(), &[])?))
    }
}

macro_rules! scalars {
    ($($t:ty, $make:expr;)*) => {$(
        impl From<$t> for Scalar {
            fn from(x: $t) -> Scalar {
                let make: fn($t) -> Scalar = $make;
                make(x)
            }
        }
        impl Operand for $t {
            fn beside(self, what: &str, beside: &Tensor) -> Result<Tensor> {
                Scalar::from(self).beside(what, beside)
            }
        }
    )*};
}

scalars! {
    i8, |x| Scalar::Int(x as i128);
    i16, |x| Scalar::Int(x as i128);
    i32, |x| Scalar::Int(x as i128);
    i64, |x| Scalar::Int(x as i128);
    u8, |x| Scalar::Int(x as i128);
    u16, |x| Scalar::Int(x as i128);
    u32, |x| Scalar::Int(x as i128);
    u64, |x| Scalar::Int(x as i128);
    usize, |x| Scalar::Int(x as i128);
    f32, |x| Scalar::Float(x as f64);
    f64, Scalar::Float;
    bool, Scalar::Bool;
}
