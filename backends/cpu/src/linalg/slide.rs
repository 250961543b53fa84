//! The micro-kernel of convolutions: a register tile of C += A·B whose rows of B lie anywhere.
//!
//! Row p of B begins at `b + offsets[p]`, so that the windows of an image are read from the image itself, without being laid out
//! as a matrix first. A is packed: `lda` rows side by side for each p. As in `kernel`, every element is one chain of multiply-adds
//! in rising p.

use super::kernel::{Four, MAX_ROWS, MAX_VECTORS, Vector, table};
use crate::vmath::Level;

type SlideFn = unsafe fn(usize, *const f32, usize, *const f32, *const usize, *mut f32, usize, bool);

/// The micro-kernels of one vector width.
pub(crate) struct Slide {
    /// f32 lanes of a vector.
    pub lanes: usize,
    /// Rows of the full tile, and of packed A.
    pub rows: usize,
    /// Vectors in a row of the full tile.
    pub vectors: usize,
    tiles: [[SlideFn; MAX_VECTORS]; MAX_ROWS],
}

impl Slide {
    /// The kernels of a level; those of the baseline where the level is not available.
    pub fn of(level: Level) -> &'static Slide {
        #[cfg(target_arch = "x86_64")]
        match level {
            Level::Avx512 if level.available() => return &x86::AVX512,
            Level::Avx2 if level.available() => return &x86::AVX2,
            _ => {}
        }
        let _ = level;
        &BASELINE
    }

    /// Computes a tile of `rows` × (`vectors` · lanes) of C: C[i, j] (+)= Σ_p a[p·lda + i] · b[offsets[p] + j].
    ///
    /// # Safety
    /// `1 ≤ rows ≤ self.rows`, `1 ≤ vectors ≤ self.vectors`; `a` is readable at `p·lda + i`, `offsets` at `p`, `b` at
    /// `offsets[p] + j`, `c` readable and writable at `i·ldc + j` for all `i < rows`, `p < k`, `j < vectors·lanes`, and nobody
    /// else touches that part of `c`.
    #[inline(always)]
    pub unsafe fn tile(
        &self,
        (rows, vectors): (usize, usize),
        k: usize,
        (a, lda): (*const f32, usize),
        (b, offsets): (*const f32, *const usize),
        (c, ldc): (*mut f32, usize),
        accumulate: bool,
    ) {
        debug_assert!((1..=self.rows).contains(&rows) && (1..=self.vectors).contains(&vectors));
        // SAFETY: the caller's promise; the table's functions are of a level that is available (`of`).
        unsafe { self.tiles[rows - 1][vectors - 1](k, a, lda, b, offsets, c, ldc, accumulate) }
    }
}

/// The tile, written once. Vectors of B cross cache lines, which costs a second load each: 8 broadcasts and 6 loads against 24
/// multiply-adds on AVX-512, so both FMA ports stay busy all the same.
#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize>(
    k: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    offsets: *const usize,
    c: *mut f32,
    ldc: usize,
    accumulate: bool,
) {
    // SAFETY: the contract of `Slide::tile`, passed on; prefetching reads nothing.
    unsafe {
        let mut acc = [[V::zero(); VECTORS]; ROWS];
        if accumulate {
            for (i, row) in acc.iter_mut().enumerate() {
                for (j, x) in row.iter_mut().enumerate() {
                    *x = V::load(c.add(i * ldc + j * V::LANES));
                }
            }
        }
        let mut ap = a;
        for p in 0..k {
            let bp = b.add(*offsets.add(p));
            let mut bv = [V::zero(); VECTORS];
            for (j, x) in bv.iter_mut().enumerate() {
                *x = V::load(bp.add(j * V::LANES));
            }
            // The tile to the right is next: neighbouring p share their lines, so that one each is enough.
            V::prefetch(bp.wrapping_add((VECTORS + p % VECTORS) * V::LANES));
            for (i, row) in acc.iter_mut().enumerate() {
                let av = V::splat(ap.add(i));
                for (x, &y) in row.iter_mut().zip(&bv) {
                    *x = x.mul_acc(av, y);
                }
            }
            ap = ap.wrapping_add(lda);
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                x.store(c.add(i * ldc + j * V::LANES));
            }
        }
    }
}

/// The tile function of a level, for its vectors and with its instructions.
macro_rules! level {
    ($(#[$features:meta])* $name:ident: $vector:ty) => {
        $(#[$features])*
        unsafe fn $name<const R: usize, const N: usize>(
            k: usize,
            a: *const f32,
            lda: usize,
            b: *const f32,
            offsets: *const usize,
            c: *mut f32,
            ldc: usize,
            accumulate: bool,
        ) {
            // SAFETY: passed on.
            unsafe { tile::<$vector, R, N>(k, a, lda, b, offsets, c, ldc, accumulate) }
        }
    };
}

level!(baseline: Four);

static BASELINE: Slide = Slide { lanes: 4, rows: 4, vectors: 3, tiles: table!(baseline: 1 2 3 4 4 4 4 4) };

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Slide, table, tile};
    use core::arch::x86_64::{__m256, __m512};

    level!(#[target_feature(enable = "avx2,fma")] avx2: __m256);
    level!(#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")] avx512: __m512);

    pub(super) static AVX2: Slide = Slide { lanes: 8, rows: 4, vectors: 3, tiles: table!(avx2: 1 2 3 4 4 4 4 4) };
    pub(super) static AVX512: Slide = Slide { lanes: 16, rows: 8, vectors: 3, tiles: table!(avx512: 1 2 3 4 5 6 7 8) };
}
