//! Values that depend on the lane's place in an arithmetic way: `base + Σ cᵢ·digitᵢ`, where the digits are the lane's
//! three coordinates in its workgroup and the number of its workgroup in the block. They are computed once per block,
//! not per lane, and an access with such an index needs no gather. Everything is exact modulo the type's width.

use anychip_hal::{
    DType,
    ir::{BinaryOp, CmpOp},
};

/// The digits of a lane's number within its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Lanes per dimension, then workgroups.
    pub radix: [u32; 4],
    /// Coefficients of the lane's own number; 0 where the digit is always 0.
    pub linear: [i64; 4],
}

impl Shape {
    pub fn new(workgroup: [u32; 3], groups: u32) -> Shape {
        let radix = [workgroup[0], workgroup[1], workgroup[2], groups];
        let mut linear = [0; 4];
        let mut place = 1i64;
        for i in 0..4 {
            if radix[i] > 1 {
                linear[i] = place;
            }
            place *= radix[i] as i64;
        }
        Shape { radix, linear }
    }
}

/// What a register holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rep {
    /// The same bits in every lane.
    Uniform(u64),
    /// An integer of 32 or 64 bits that the lane's place gives.
    Affine(Affine),
    /// One element per lane, here.
    Vec(*const u8),
}

/// `base + Σ c[i]·digit[i]`, modulo the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Affine {
    pub base: u64,
    pub c: [i64; 4],
}

/// Integers wide enough to be indices.
pub(crate) fn is_wide(ty: DType) -> bool {
    matches!(ty, DType::I32 | DType::U32 | DType::I64 | DType::U64)
}

/// The low bits of a type.
pub(crate) fn wrap(ty: DType, x: u64) -> u64 {
    match ty.size() {
        1 => x as u8 as u64,
        2 => x as u16 as u64,
        4 => x as u32 as u64,
        _ => x,
    }
}

/// The number that bits of an integer type stand for.
pub(crate) fn number(ty: DType, bits: u64) -> i128 {
    match ty {
        DType::I8 => bits as i8 as i128,
        DType::I16 => bits as i16 as i128,
        DType::I32 => bits as i32 as i128,
        DType::I64 => bits as i64 as i128,
        _ => wrap(ty, bits) as i128,
    }
}

fn limits(ty: DType) -> (i128, i128) {
    let bits = 8 * ty.size() as u32;
    if ty.is_signed() { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) }
}

impl Affine {
    /// A value from unreduced numbers.
    pub fn new(ty: DType, base: u64, c: [i64; 4]) -> Affine {
        if matches!(ty, DType::I64 | DType::U64) {
            return Affine { base, c };
        }
        Affine { base: wrap(ty, base), c: c.map(|x| x as i32 as i64) }
    }

    /// As a register holds it.
    pub fn rep(self) -> Rep {
        if self.c == [0; 4] { Rep::Uniform(self.base) } else { Rep::Affine(self) }
    }

    fn uniform(self) -> bool {
        self.c == [0; 4]
    }

    /// Smallest and largest value over the block, when no lane wraps.
    pub fn range(self, ty: DType, shape: &Shape) -> Option<(i128, i128)> {
        if ty == DType::U32 || ty == DType::I32 {
            // The same in 64 bits, where nothing overflows: coefficients have 32 bits, digits 10.
            let base = if ty == DType::U32 { self.base as i64 } else { self.base as i32 as i64 };
            let (mut lo, mut hi) = (base, base);
            for i in 0..4 {
                let span = self.c[i] * (shape.radix[i] as i64 - 1);
                if span < 0 { lo += span } else { hi += span }
            }
            let fits = if ty == DType::U32 {
                lo >= 0 && hi <= u32::MAX as i64
            } else {
                lo >= i32::MIN as i64 && hi <= i32::MAX as i64
            };
            return fits.then_some((lo as i128, hi as i128));
        }
        let base = number(ty, self.base);
        let (mut lo, mut hi) = (base, base);
        for i in 0..4 {
            let span = self.c[i] as i128 * (shape.radix[i] as i128 - 1);
            if span < 0 { lo += span } else { hi += span }
        }
        let (min, max) = limits(ty);
        (lo >= min && hi <= max).then_some((lo, hi))
    }

    /// The result where it is affine again.
    #[inline(always)]
    pub fn binary(op: BinaryOp, ty: DType, a: Affine, b: Affine, shape: &Shape) -> Option<Affine> {
        let zip = |f: fn(i64, i64) -> i64| std::array::from_fn(|i| f(a.c[i], b.c[i]));
        let scale =
            |x: Affine, by: u64| Affine::new(ty, x.base.wrapping_mul(by), x.c.map(|c| c.wrapping_mul(by as i64)));
        match op {
            BinaryOp::Add => Some(Affine::new(ty, a.base.wrapping_add(b.base), zip(i64::wrapping_add))),
            BinaryOp::Sub => Some(Affine::new(ty, a.base.wrapping_sub(b.base), zip(i64::wrapping_sub))),
            BinaryOp::Mul if b.uniform() => Some(scale(a, b.base)),
            BinaryOp::Mul if a.uniform() => Some(scale(b, a.base)),
            BinaryOp::Shl if b.uniform() => Some(scale(a, 1 << (b.base % (8 * ty.size() as u64)))),
            BinaryOp::Div | BinaryOp::Rem if b.uniform() => {
                let by = number(ty, b.base);
                a.divide(ty, by, matches!(op, BinaryOp::Rem), shape)
            }
            BinaryOp::Shr if b.uniform() => {
                let by = 1i128 << (b.base % (8 * ty.size() as u64));
                a.divide(ty, by, false, shape)
            }
            BinaryOp::And if b.uniform() && (b.base.wrapping_add(1) & b.base) == 0 => {
                a.divide(ty, b.base as i128 + 1, true, shape)
            }
            BinaryOp::Min | BinaryOp::Max => {
                let below = Affine::compare(CmpOp::Le, ty, a, b, shape)?;
                Some(if below == matches!(op, BinaryOp::Min) { a } else { b })
            }
            _ => None,
        }
    }

    /// Quotient or remainder where the whole block has one quotient.
    fn divide(self, ty: DType, by: i128, remainder: bool, shape: &Shape) -> Option<Affine> {
        let (lo, hi) = self.range(ty, shape)?;
        if by <= 0 || lo < 0 || lo / by != hi / by {
            return None;
        }
        let q = lo / by;
        Some(if remainder {
            Affine::new(ty, self.base.wrapping_sub((q * by) as u64), self.c)
        } else {
            Affine::new(ty, q as u64, [0; 4])
        })
    }

    /// The comparison where it has one answer for the whole block.
    pub fn compare(op: CmpOp, ty: DType, a: Affine, b: Affine, shape: &Shape) -> Option<bool> {
        let ((alo, ahi), (blo, bhi)) = (a.range(ty, shape)?, b.range(ty, shape)?);
        let decide = |yes: bool, no: bool| {
            if yes {
                Some(true)
            } else if no {
                Some(false)
            } else {
                None
            }
        };
        match op {
            CmpOp::Lt => decide(ahi < blo, alo >= bhi),
            CmpOp::Le => decide(ahi <= blo, alo > bhi),
            CmpOp::Gt => decide(alo > bhi, ahi <= blo),
            CmpOp::Ge => decide(alo >= bhi, ahi < blo),
            CmpOp::Eq => decide(a == b, ahi < blo || alo > bhi),
            CmpOp::Ne => decide(ahi < blo || alo > bhi, a == b),
        }
    }

    /// Converted to another integer type of 32 or 64 bits.
    pub fn cast(self, from: DType, to: DType, shape: &Shape) -> Option<Affine> {
        if from.size() >= to.size() {
            return Some(Affine::new(to, self.base, self.c));
        }
        self.range(from, shape)?;
        Some(Affine::new(to, number(from, self.base) as u64, self.c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(a: Affine, ty: DType, shape: &Shape) -> Vec<u64> {
        let mut out = vec![];
        let [x, y, z, g] = shape.radix;
        for g in 0..g as i64 {
            for z in 0..z as i64 {
                for y in 0..y as i64 {
                    for x in 0..x as i64 {
                        let d = a.c[0] * x + a.c[1] * y + a.c[2] * z + a.c[3] * g;
                        out.push(wrap(ty, a.base.wrapping_add(d as u64)));
                    }
                }
            }
        }
        out
    }

    #[test]
    fn affine_results_equal_lane_by_lane_arithmetic() {
        let shape = Shape::new([4, 2, 1], 3);
        let some = [
            Affine { base: 5, c: [1, 0, 0, 0] },
            Affine { base: 0, c: [1, 4, 0, 8] },
            Affine { base: 0xffff_fffe, c: [1, 4, 0, 8] },
            Affine { base: 100, c: [-3, 7, 0, 0] },
            Affine { base: 16, c: [0; 4] },
            Affine { base: 15, c: [0; 4] },
            Affine { base: 0, c: [0; 4] },
        ];
        let mut decided = 0;
        for ty in [DType::U32, DType::I32, DType::U64, DType::I64] {
            for a in some {
                for b in some {
                    let (va, vb) = (values(a, ty, &shape), values(b, ty, &shape));
                    for op in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Shl, BinaryOp::Shr]
                        .into_iter()
                        .chain([BinaryOp::Div, BinaryOp::Rem, BinaryOp::And, BinaryOp::Min, BinaryOp::Max])
                    {
                        let Some(r) = Affine::binary(op, ty, a, b, &shape) else { continue };
                        decided += 1;
                        for ((x, y), r) in va.iter().zip(&vb).zip(values(r, ty, &shape)) {
                            let (nx, ny) = (number(ty, *x), number(ty, *y));
                            let want = match op {
                                BinaryOp::Add => nx + ny,
                                BinaryOp::Sub => nx - ny,
                                BinaryOp::Mul => nx.wrapping_mul(ny),
                                BinaryOp::Shl => nx << (*y % (8 * ty.size() as u64)),
                                BinaryOp::Shr => nx >> (*y % (8 * ty.size() as u64)),
                                BinaryOp::Div => nx / ny,
                                BinaryOp::Rem => nx % ny,
                                BinaryOp::And => nx & ny,
                                BinaryOp::Min => nx.min(ny),
                                _ => nx.max(ny),
                            };
                            assert_eq!(r, wrap(ty, want as u64), "{op:?} {ty} {a:?} {b:?}");
                        }
                    }
                    for op in [CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge, CmpOp::Eq, CmpOp::Ne] {
                        let Some(r) = Affine::compare(op, ty, a, b, &shape) else { continue };
                        decided += 1;
                        for (x, y) in va.iter().zip(&vb) {
                            let (x, y) = (number(ty, *x), number(ty, *y));
                            let want = match op {
                                CmpOp::Lt => x < y,
                                CmpOp::Le => x <= y,
                                CmpOp::Gt => x > y,
                                CmpOp::Ge => x >= y,
                                CmpOp::Eq => x == y,
                                CmpOp::Ne => x != y,
                            };
                            assert_eq!(r, want, "{op:?} {ty} {a:?} {b:?}");
                        }
                    }
                }
            }
        }
        assert!(decided > 500, "{decided}");
    }
}
