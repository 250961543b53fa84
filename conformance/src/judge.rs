//! Comparing what the device gave with what is meant, and leaving the evidence.

use crate::{Failure, Seen, Subject, subject::dtype, watch::POISON};
use anychip::Tensor;
use anychip_oracle::{
    Arithmetic, Array, Data, Mismatch, Type,
    compare::{compare_bits, compare_measured},
};

impl Subject {
    /// A tensor's values against what is meant: type, shape, device and every element, in the arithmetic that the device declares.
    ///
    /// # Errors
    /// The worst of the elements that are not permitted; a result of another type or shape, or on another device.
    pub fn judge(&self, got: &Tensor, ty: Type, want: &Data, seen: &mut Seen) -> Result<(), Failure> {
        self.judge_in(got, ty, want, &self.arithmetic(ty), seen)
    }

    /// The same where the device computed in the arithmetic of another type.
    ///
    /// # Errors
    /// As for [`judge`](Self::judge).
    pub fn judge_in(
        &self,
        got: &Tensor,
        ty: Type,
        want: &Data,
        arithmetic: &Arithmetic,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        let bytes = self.fetch(got, ty, want.shape())?;
        judge(ty, &bytes, want, arithmetic, seen)
    }

    /// A tensor's bits against what is meant: copies, views, indexing.
    ///
    /// # Errors
    /// As for [`judge`](Self::judge).
    pub fn judge_bits(&self, got: &Tensor, ty: Type, want: &Array<u64>, seen: &mut Seen) -> Result<(), Failure> {
        let bytes = self.fetch(got, ty, &want.shape)?;
        judge_bits(ty, &bytes, want, seen)
    }

    /// The bytes of a tensor that must be of this type and shape, and on this device.
    ///
    /// # Errors
    /// What is not so, and the device's own.
    pub fn fetch(&self, got: &Tensor, ty: Type, shape: &[usize]) -> Result<Vec<u8>, Failure> {
        if !got.device().same_as(&self.device) {
            let (is, meant) = (got.device(), &self.device);
            return Err(Failure::Broken(format!("the result lies on {is}, and {meant} was asked for it")));
        }
        if got.dims() != shape || got.dtype() != dtype(ty) {
            let (is, of) = (got.dtype(), got.dims());
            return Err(Failure::Broken(format!("the result is {is} {of:?}, expected {} {shape:?}", dtype(ty))));
        }
        Ok(got.to_bytes()?)
    }
}

/// Bytes against what is meant; what was compared goes into the record.
///
/// # Errors
/// The worst element that is not permitted, or that bytes are missing.
pub fn judge(ty: Type, bytes: &[u8], want: &Data, arithmetic: &Arithmetic, seen: &mut Seen) -> Result<(), Failure> {
    let of: usize = want.shape().iter().product();
    enough(ty, bytes, of)?;
    let (measured, result) = compare_measured(ty, bytes, want, arithmetic);
    seen.elements += measured.elements;
    if let Some(worst) = measured.fraction {
        seen.fraction = Some(seen.fraction.map_or(worst, |f| f.max(worst)));
    }
    result.map_err(|m| poisoned(ty, bytes, want.shape(), m))
}

/// Bytes against bits.
///
/// # Errors
/// The first element that differs, or that bytes are missing.
pub fn judge_bits(ty: Type, bytes: &[u8], want: &Array<u64>, seen: &mut Seen) -> Result<(), Failure> {
    enough(ty, bytes, want.data.len())?;
    seen.elements += want.data.len() as u64;
    compare_bits(ty, bytes, want).map_err(|m| poisoned(ty, bytes, &want.shape, m))
}

fn enough(ty: Type, bytes: &[u8], of: usize) -> Result<(), Failure> {
    let want = of * ty.bytes();
    match bytes.len() == want {
        true => Ok(()),
        false => Err(Failure::Broken(format!("the result has {} bytes, expected {want}", bytes.len()))),
    }
}

/// Says of a wrong element that nothing wrote it, where that is so.
fn poisoned(ty: Type, bytes: &[u8], shape: &[usize], mut m: Box<Mismatch>) -> Failure {
    let flat = m.index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i);
    let at = flat * ty.bytes();
    let element = bytes.get(at..at + ty.bytes()).unwrap_or_default();
    let untouched = ty.bytes() > 1 && element.iter().enumerate().all(|(i, b)| *b == POISON.to_le_bytes()[(at + i) % 4]);
    if untouched {
        m.got += ", which nothing wrote: it is what new memory was filled with";
    }
    Failure::Wrong(m)
}
