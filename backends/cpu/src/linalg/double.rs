//! f64 products, by the `gemm-f64` crate: no chip but the CPU is asked for them, and nobody waits for them in inference, so
//! they have no packed form and no epilogue. Cut in stretches of rows for threads; the crate itself runs on one.

use super::pack::Shared;
use super::view::{LinalgError, Matrices, MatricesMut};
use crate::team::Team;
use gemm_common::Parallelism;
use gemm_f64::gemm::f64::get_gemm_fn;

/// Rows of a task. Fixed, so that the bits do not depend on the number of threads.
const ROWS: usize = 128;

/// out[o, i, m, n] = a[o, i, m, k] · b[o, i, k, n] in f64. Batch dimensions of size 1 repeat; |error| ≤ k·2⁻⁵³·Σ|a·b|;
/// the bits do not depend on the number of threads.
///
/// # Errors
/// [`LinalgError::Shape`] when an operand does not fit the output.
pub fn matmul_f64(
    a: &Matrices<'_, f64>,
    b: &Matrices<'_, f64>,
    out: &mut MatricesMut<'_, f64>,
) -> Result<(), LinalgError> {
    let [outer, inner, m, n] = out.shape();
    let k = a.shape()[3];
    let a = a.repeated("lhs", [outer, inner, a.shape()[2], k])?;
    let b = b.repeated("rhs", [outer, inner, b.shape()[2], b.shape()[3]])?;
    for (operand, found, wanted) in [("lhs", a.shape(), [outer, inner, m, k]), ("rhs", b.shape(), [outer, inner, k, n])]
    {
        if found != wanted {
            return Err(LinalgError::Shape { operand, found, wanted });
        }
    }
    let [so, si, ldc, _] = out.strides();
    let to = Shared::new(out.as_mut_ptr());
    if out.shape().contains(&0) {
        return Ok(());
    }
    let stretches = m.div_ceil(ROWS);
    let one = |index: usize| {
        let (index, row) = (index / stretches, index % stretches * ROWS);
        let at = [index / inner, index % inner, 0, 0];
        let ([_, _, ars, acs], [_, _, brs, bcs]) = (a.strides(), b.strides());
        // SAFETY: the views are in bounds and the output does not overlap itself, by their construction; strides of a
        // slice's elements fit isize. Cᵀ = Bᵀ·Aᵀ: it takes columns that lie side by side.
        unsafe {
            get_gemm_fn()(
                n,
                ROWS.min(m - row),
                k,
                to.get().wrapping_add(at[0] * so + at[1] * si + row * ldc),
                ldc as isize,
                1,
                false,
                b.at(at),
                brs as isize,
                bcs as isize,
                a.at([at[0], at[1], row, 0]),
                ars as isize,
                acs as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    };
    Team::current().each(outer * inner * stretches, one);
    Ok(())
}
