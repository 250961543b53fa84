//! Tensor maps: what a bulk copy of a box needs to know of a tensor, checked as a driver checks it and laid out for `shim/warpgroup.h`.

use crate::{
    calls::driver_api,
    code::{Code, Outcome},
    context,
};
use std::ffi::c_void;

/// `anychip_tensor_map`, in the 128 bytes of a CUtensorMap.
#[repr(C)]
struct TensorMap {
    mark: u64,
    at: u64,
    strides: [u64; 4],
    extents: [u32; 5],
    box_: [u16; 5],
    steps: [u8; 5],
    rank: u8,
    bytes: u8,
    swizzle: u8,
    nan: u8,
}

const _: () = assert!(size_of::<TensorMap>() <= 128);
const MARK: u64 = 0x7061_6d72_6f73_6e74;
/// Bytes of an element, by CUtensorMapDataType.
const BYTES: [u8; 13] = [1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4];

/// The first `n` numbers that a pointer of the caller leads to.
unsafe fn numbers<T: Copy>(at: *const T, n: usize) -> Result<Vec<T>, Code> {
    match at.is_null() && n > 0 {
        true => Err(Code::INVALID_VALUE),
        // SAFETY: so many lie there: the caller's promise.
        false => Ok((0..n).map(|i| unsafe { at.add(i).read() }).collect()),
    }
}

fn check(holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(Code::INVALID_VALUE) }
}

driver_api! {
    fn cuTensorMapEncodeTiled(
        map: *mut c_void, kind: u32, rank: u32, at: *mut c_void, extents: *const u64, strides: *const u64, sizes: *const u32,
        steps: *const u32, interleave: u32, swizzle: u32, _l2: u32, fill: u32,
    ) {
        context::usable()?;
        check((1..=5).contains(&rank) && !map.is_null() && (map as usize).is_multiple_of(64))?;
        let (n, bytes) = (rank as usize, *BYTES.get(kind as usize).ok_or(Code::INVALID_VALUE)?);
        // SAFETY: the caller's arrays have as many numbers as cuda.h says.
        let (extents, strides, sizes, steps) =
            unsafe { (numbers(extents, n)?, numbers(strides, n - 1)?, numbers(sizes, n)?, numbers(steps, n)?) };
        let row = u64::from(sizes[0]) * u64::from(bytes);
        check(at as usize != 0 && (at as usize).is_multiple_of(16) && interleave == 0 && swizzle <= 3 && fill <= 1)?;
        check(extents.iter().all(|e| (1..=1 << 32).contains(e)))?;
        check(strides.iter().all(|s| s.is_multiple_of(16) && *s < 1 << 40))?;
        check(sizes.iter().all(|s| (1..=256).contains(s)) && steps.iter().all(|s| (1..=8).contains(s)))?;
        check(row.is_multiple_of(16) && (swizzle == 0 || row <= 16 << swizzle))?;
        let mut filled = TensorMap {
            mark: MARK,
            at: at as u64,
            strides: [0; 4],
            extents: [1; 5],
            box_: [1; 5],
            steps: [1; 5],
            rank: rank as u8,
            bytes,
            swizzle: swizzle as u8,
            nan: fill as u8,
        };
        for i in 0..n {
            filled.extents[i] = u32::try_from(extents[i]).unwrap_or(u32::MAX);
            filled.box_[i] = sizes[i] as u16;
            filled.steps[i] = steps[i] as u8;
        }
        filled.strides[..n - 1].copy_from_slice(&strides);
        // SAFETY: a CUtensorMap of the caller has 128 bytes.
        unsafe { map.cast::<TensorMap>().write(filled) };
        Ok(())
    }
}
