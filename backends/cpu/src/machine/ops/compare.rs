//! Comparisons. With a NaN every ordered comparison is false and `Ne` is true.

use super::{
    Arg,
    lanes::{Num, map2},
};
use anychip_hal::ir::CmpOp;

#[inline(always)]
pub(super) unsafe fn compare<T: Num>(op: CmpOp, n: usize, d: *mut u8, a: Arg, b: Arg) {
    unsafe {
        match op {
            CmpOp::Eq => map2::<T, u8>(n, d, a, b, |x, y| (x == y) as u8),
            CmpOp::Ne => map2::<T, u8>(n, d, a, b, |x, y| (x != y) as u8),
            CmpOp::Lt => map2::<T, u8>(n, d, a, b, |x, y| (x < y) as u8),
            CmpOp::Le => map2::<T, u8>(n, d, a, b, |x, y| (x <= y) as u8),
            CmpOp::Gt => map2::<T, u8>(n, d, a, b, |x, y| (x > y) as u8),
            CmpOp::Ge => map2::<T, u8>(n, d, a, b, |x, y| (x >= y) as u8),
        }
    }
}
