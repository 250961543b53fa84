//! The exponential and what is made of it, 16 elements at a time with AVX-512's own instructions: `vscalefps` multiplies by
//! a power of two with a single rounding, which the plain body needs eight instructions for. Same polynomials, same order of
//! roundings, so that the results are those of the fused bodies in `exp`, bit for bit.

use super::{
    InPlaceFn, Unary, UnaryFn,
    exp::{ERF_FAR, ERF_FROM, ERF_NEAR, EXP, EXP_HIGH, EXP_LOW, LN2_HI, LN2_LO, MAGIC},
};
use std::arch::x86_64::*;

/// Horner's rule.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn poly<const N: usize>(x: __m512, coefficients: [f32; N]) -> __m512 {
    let mut y = _mm512_set1_ps(coefficients[N - 1]);
    for &c in coefficients[..N - 1].iter().rev() {
        y = _mm512_fmadd_ps(y, x, _mm512_set1_ps(c));
    }
    y
}

/// eˣ for x that is neither far below −104 nor above 89.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn exp_within(x: __m512) -> __m512 {
    let magic = _mm512_set1_ps(MAGIC);
    let z = _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E));
    let n = _mm512_sub_ps(_mm512_add_ps(z, magic), magic);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_HI), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN2_LO), r);
    let q = poly(r, EXP);
    let p = _mm512_fmadd_ps(_mm512_mul_ps(r, r), q, r);
    _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0)), n)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn exp(x: __m512) -> __m512 {
    // These give their second operand when either is NaN.
    let x = _mm512_min_ps(_mm512_set1_ps(EXP_HIGH), x);
    exp_within(_mm512_max_ps(_mm512_set1_ps(EXP_LOW), x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn erf(x: __m512) -> __m512 {
    let (a, s) = (_mm512_abs_ps(x), _mm512_mul_ps(x, x));
    let near = _mm512_fmadd_ps(x, poly(s, ERF_NEAR), x);
    let t = _mm512_min_ps(_mm512_set1_ps(4.0), a);
    let far = exp_within(_mm512_mul_ps(t, poly(t, ERF_FAR)));
    let far = _mm512_sub_ps(_mm512_set1_ps(1.0), far);
    let sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0));
    let far = _mm512_or_ps(_mm512_abs_ps(far), sign);
    let is_near = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, _mm512_set1_ps(ERF_FROM));
    _mm512_mask_blend_ps(is_near, far, near)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn sigmoid(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let t = exp(_mm512_or_ps(x, _mm512_set1_ps(-0.0)));
    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
    _mm512_div_ps(_mm512_mask_blend_ps(below, one, t), _mm512_add_ps(one, t))
}

macro_rules! functions {
    ($($op:ident $all:ident $name:ident;)*) => {
        $(
            /// # Safety
            /// The processor has AVX-512 F and DQ; both cover `n` elements, and are the same or do not overlap.
            #[target_feature(enable = "avx512f,avx512dq")]
            unsafe fn $all(n: usize, x: *const f32, y: *mut f32) {
                let whole = n / 16 * 16;
                for i in (0..whole).step_by(16) {
                    unsafe { _mm512_storeu_ps(y.add(i), $name(_mm512_loadu_ps(x.add(i)))) };
                }
                if whole < n {
                    let some = (1u16 << (n - whole)) - 1;
                    unsafe {
                        let v = $name(_mm512_maskz_loadu_ps(some, x.add(whole)));
                        _mm512_mask_storeu_ps(y.add(whole), some, v);
                    }
                }
            }
        )*

        /// The function of an operation, where this is its best. For a processor that has the level.
        pub fn unary(op: Unary) -> Option<UnaryFn> {
            match op {
                $(Unary::$op => Some(|x, y| {
                    let n = x.len().min(y.len());
                    // SAFETY: asked for only where the level is available; the slices have `n` elements.
                    unsafe { $all(n, x.as_ptr(), y.as_mut_ptr()) }
                }),)*
                _ => None,
            }
        }

        /// The function in place.
        pub fn unary_in_place(op: Unary) -> Option<InPlaceFn> {
            match op {
                $(Unary::$op => Some(|x| {
                    // SAFETY: as in `unary`.
                    unsafe { $all(x.len(), x.as_ptr(), x.as_mut_ptr()) }
                }),)*
                _ => None,
            }
        }
    };
}

functions! {
    Exp exps exp;
    Erf erfs erf;
    Sigmoid sigmoids sigmoid;
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Unary, unary};

    #[test]
    fn results_are_those_of_the_narrower_level_bit_for_bit() {
        if !Level::Avx512.available() {
            return;
        }
        // A step without small factors meets every exponent with many mantissas.
        let x: Vec<f32> = (0..1u32 << 21).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_769))).collect();
        let (mut narrow, mut wide) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for op in [Unary::Exp, Unary::Erf, Unary::Sigmoid] {
            unary(op, Level::Avx2)(&x, &mut narrow);
            unary(op, Level::Avx512)(&x, &mut wide);
            for ((x, a), b) in x.iter().zip(&narrow).zip(&wide) {
                assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{op:?}({x:e}): {a:e} and {b:e}");
            }
        }
    }
}
