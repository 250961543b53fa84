//! Types of the host that a tensor's elements can be.

use anychip_hal::{DType, Error, Result};
use anychip_kernels::Host;
use half::{bf16, f16};

mod private {
    pub trait Sealed {}
}

/// A host type that lies in memory exactly like the elements of a tensor.
///
/// Implemented for `bool`, the integers from 8 to 64 bits, [`f16`](crate::f16), [`bf16`](crate::bf16), `f32` and `f64`.
/// ```
/// use anychip::{DType, Element};
/// assert_eq!(f32::DTYPE, DType::F32);
/// ```
pub trait Element: private::Sealed + Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// The element type of a tensor of these.
    const DTYPE: DType;
    #[doc(hidden)]
    fn host(values: Vec<Self>) -> Host;
    #[doc(hidden)]
    fn bits(self) -> u64;
    #[doc(hidden)]
    fn values(bytes: &[u8]) -> Vec<Self>;
}

/// Owns a vector and shows its bytes.
struct Owned<T>(Vec<T>);

impl<T: bytemuck::NoUninit> std::ops::Deref for Owned<T> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

macro_rules! element {
    ($($t:ty, $dtype:ident, $bits:expr;)*) => {$(
        impl private::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            fn host(values: Vec<Self>) -> Host {
                Host::new(Owned(values))
            }
            fn bits(self) -> u64 {
                let bits: fn($t) -> u64 = $bits;
                bits(self)
            }
            fn values(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
            }
        }
    )*};
}

element! {
    i8, I8, |x| x as u8 as u64;
    i16, I16, |x| x as u16 as u64;
    i32, I32, |x| x as u32 as u64;
    i64, I64, |x| x as u64;
    u8, U8, |x| x as u64;
    u16, U16, |x| x as u64;
    u32, U32, |x| x as u64;
    u64, U64, |x| x;
    f16, F16, |x| x.to_bits() as u64;
    bf16, BF16, |x| x.to_bits() as u64;
    f32, F32, |x| x.to_bits() as u64;
    f64, F64, |x| x.to_bits();
}

impl private::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;
    fn host(values: Vec<Self>) -> Host {
        Host::new(Owned(values))
    }
    fn bits(self) -> u64 {
        self as u64
    }
    fn values(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&b| b != 0).collect()
    }
}

/// Refuses to read elements of one type as another.
pub(crate) fn check<T: Element>(what: &str, dtype: DType) -> Result<()> {
    if dtype == T::DTYPE {
        return Ok(());
    }
    Err(Error::DTypeMismatch(format!(
        "{what}: the tensor's elements are {dtype}, asked for {}; convert with to_dtype(DType::{:?})",
        T::DTYPE,
        T::DTYPE
    )))
}
