//! The device under test.

use crate::Failure;
use anychip::{
    DType, Device, Result,
    hal::{device, info, info::DeviceInfo},
};
use anychip_oracle::{Arithmetic, Facts, Subnormals, Type};

/// A device under test, opened; nothing falls back from it to another.
#[derive(Debug, Clone)]
pub struct Subject {
    /// For tensors.
    pub device: Device,
    id: String,
}

impl Subject {
    /// Opens one device by its id.
    ///
    /// # Errors
    /// Those of [`Device::open`].
    pub fn open(id: &str) -> Result<Subject> {
        Ok(Subject { device: Device::open(id)?, id: id.to_string() })
    }

    /// The same chip, opened once more: nothing is shared with the first.
    ///
    /// # Errors
    /// Those of [`Device::open`].
    pub fn again(&self) -> Result<Subject> {
        Subject::open(&self.id)
    }

    /// The handle of the contract: buffers, programs, submissions.
    pub fn chip(&self) -> &device::Device {
        &self.device.chain()[0]
    }

    /// What the device says that it is and can do.
    pub fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    /// What it declares of the arithmetic in which a type is computed.
    pub fn arithmetic(&self, ty: Type) -> Arithmetic {
        let compute = Arithmetic::compute_type(ty);
        let facts = self.info().arithmetic.get(&dtype(compute)).map_or(Facts::IEEE, |a| Facts {
            correctly_rounded: a.correctly_rounded,
            may_contract: a.may_contract,
            fma_fused: a.fma_fused,
            div_ulp: a.div_ulp as f64,
            sqrt_ulp: a.sqrt_ulp as f64,
            subnormals: match a.subnormals {
                info::Subnormals::Kept => Subnormals::Kept,
                _ => Subnormals::MayBeZero,
            },
            nan_inf: a.nan_inf,
        });
        Arithmetic::new(ty, facts)
    }

    /// Unsupported where the device does not compute with a type.
    ///
    /// # Errors
    /// That.
    pub fn computes(&self, ty: Type) -> std::result::Result<(), Failure> {
        match self.info().support(dtype(ty)).arithmetic {
            true => Ok(()),
            false => Err(Failure::Unsupported(format!("{}: no arithmetic in {}", self.device, dtype(ty)))),
        }
    }
}

/// The library's name of a type.
pub fn dtype(ty: Type) -> DType {
    match ty {
        Type::Bool => DType::Bool,
        Type::I8 => DType::I8,
        Type::I16 => DType::I16,
        Type::I32 => DType::I32,
        Type::I64 => DType::I64,
        Type::U8 => DType::U8,
        Type::U16 => DType::U16,
        Type::U32 => DType::U32,
        Type::U64 => DType::U64,
        Type::F16 => DType::F16,
        Type::BF16 => DType::BF16,
        Type::F32 => DType::F32,
        Type::F64 => DType::F64,
    }
}
