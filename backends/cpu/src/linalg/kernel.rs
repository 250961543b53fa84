//! The micro-kernel: a register tile of C += A·B, once per vector width.
//!
//! It may assume packed, padded operands and valid pointers; it knows nothing of blocking, batches or threads. Every
//! element of C is one chain of (fused) multiply-adds in rising k, started from zero or from what C holds, so its bits
//! depend neither on the shape of the tile nor on how k is cut into blocks, nor on who computes it.

use crate::vmath::Level;

/// Most rows of a register tile, over all levels.
pub(crate) const MAX_ROWS: usize = 8;
/// Most vectors of a row of a register tile, over all levels.
pub(crate) const MAX_VECTORS: usize = 3;

/// `tile(k, a, lda, b, ldb, c, ldc, accumulate, ahead)`: C[i, j] (+)= Σ_p a[i·lda + p] · b[p·ldb + j].
type TileFn = unsafe fn(usize, *const f32, usize, *const f32, usize, *mut f32, usize, bool, Ahead);

/// Two stretches of memory that will be wanted soon: one cache line of each is asked for into L2 at every 16th step of k,
/// because a burst of requests would stop the multiply-adds until the fill buffers are free again.
pub(crate) type Ahead = [*const u8; 2];

/// The micro-kernels of one vector width.
pub(crate) struct Kernel {
    /// f32 lanes of a vector.
    pub lanes: usize,
    /// Rows of the full tile.
    pub rows: usize,
    /// Vectors in a row of the full tile.
    pub vectors: usize,
    tiles: [[TileFn; MAX_VECTORS]; MAX_ROWS],
}

impl Kernel {
    /// Columns of the full tile.
    pub fn cols(&self) -> usize {
        self.lanes * self.vectors
    }

    /// The kernels of a level; those of the baseline where the level is not available.
    pub fn of(level: Level) -> &'static Kernel {
        #[cfg(target_arch = "x86_64")]
        match level {
            Level::Avx512 if level.available() => return &x86::AVX512,
            Level::Avx2 if level.available() => return &x86::AVX2,
            _ => {}
        }
        let _ = level;
        &BASELINE
    }

    /// Computes a tile of `rows` × (`vectors` · lanes) of C.
    ///
    /// # Safety
    /// `1 ≤ rows ≤ self.rows`, `1 ≤ vectors ≤ self.vectors`; `a` is readable at `i·lda + p`, `b` at `p·ldb + j`, `c` readable
    /// and writable at `i·ldc + j` for all `i < rows`, `p < k`, `j < vectors·lanes`, and nobody else touches that part of `c`.
    /// `ahead` may be any addresses.
    #[inline(always)]
    pub unsafe fn tile(
        &self,
        (rows, vectors): (usize, usize),
        k: usize,
        (a, lda): (*const f32, usize),
        (b, ldb): (*const f32, usize),
        (c, ldc): (*mut f32, usize),
        accumulate: bool,
        ahead: Ahead,
    ) {
        debug_assert!((1..=self.rows).contains(&rows) && (1..=self.vectors).contains(&vectors));
        // SAFETY: the caller's promise; the table's functions are of a level that is available (`of`).
        unsafe { self.tiles[rows - 1][vectors - 1](k, a, lda, b, ldb, c, ldc, accumulate, ahead) }
    }
}

/// A vector register of f32.
pub(super) trait Vector: Copy {
    const LANES: usize;
    unsafe fn zero() -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn splat(from: *const f32) -> Self;
    /// `self + a·b`, fused where the level has it.
    unsafe fn mul_acc(self, a: Self, b: Self) -> Self;
    unsafe fn prefetch(from: *const f32);
    unsafe fn prefetch_far(from: *const u8);
}

/// The tile, written once. 8 × 48 on AVX-512: 24 accumulators, 3 vectors of B, 1 broadcast of 32 registers; per step of k
/// 11 loads against 24 multiply-adds, so both FMA ports stay busy. 4 × 24 on AVX2, 4 × 12 on SSE2: 12 + 3 + 1 of 16.
#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize>(
    k: usize,
    a: *const f32,
    lda: usize,
    b: *const f32,
    ldb: usize,
    c: *mut f32,
    ldc: usize,
    accumulate: bool,
    ahead: Ahead,
) {
    // SAFETY: the contract of `Kernel::tile`, passed on; prefetching reads nothing.
    unsafe {
        let mut acc = [[V::zero(); VECTORS]; ROWS];
        for (i, row) in acc.iter_mut().enumerate() {
            for (j, x) in row.iter_mut().enumerate() {
                if accumulate {
                    *x = V::load(c.add(i * ldc + j * V::LANES));
                }
                // The tile to the right is next: have its lines on their way.
                V::prefetch(c.wrapping_add(i * ldc + (VECTORS + j) * V::LANES));
            }
        }
        let mut bp = b;
        for p in 0..k {
            if p % 16 == 0 {
                for stretch in ahead {
                    V::prefetch_far(stretch.wrapping_add(p * 4));
                }
            }
            let mut bv = [V::zero(); VECTORS];
            for (j, x) in bv.iter_mut().enumerate() {
                *x = V::load(bp.add(j * V::LANES));
                // B streams from L2; eight steps ahead covers its latency.
                V::prefetch(bp.wrapping_add(8 * ldb + j * V::LANES));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let av = V::splat(a.add(i * lda + p));
                for (x, &y) in row.iter_mut().zip(&bv) {
                    *x = x.mul_acc(av, y);
                }
            }
            bp = bp.wrapping_add(ldb);
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                x.store(c.add(i * ldc + j * V::LANES));
            }
        }
    }
}

/// Four lanes of whatever the target's baseline has.
#[derive(Clone, Copy)]
pub(super) struct Four([f32; 4]);

impl Vector for Four {
    const LANES: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Four([0.0; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise; unaligned.
        Four(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise; unaligned.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Four([unsafe { *from }; 4])
    }
    #[inline(always)]
    unsafe fn mul_acc(self, a: Self, b: Self) -> Self {
        let mut out = self.0;
        for ((x, a), b) in out.iter_mut().zip(a.0).zip(b.0) {
            *x = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, *x) } else { *x + a * b };
        }
        Four(out)
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_far(_: *const u8) {}
}

/// The tiles of a level with its tile function `$t`, up to $t::<$rows…, 3>; rows beyond the level's repeat its last.
macro_rules! table {
    ($t:ident: $($rows:literal)*) => {
        [$([$t::<$rows, 1>, $t::<$rows, 2>, $t::<$rows, 3>]),*]
    };
}
pub(super) use table;

/// The tile function of a level, for its vectors and with its instructions.
macro_rules! level {
    ($(#[$features:meta])* $name:ident: $vector:ty) => {
        $(#[$features])*
        unsafe fn $name<const R: usize, const N: usize>(
            k: usize,
            a: *const f32,
            lda: usize,
            b: *const f32,
            ldb: usize,
            c: *mut f32,
            ldc: usize,
            accumulate: bool,
            ahead: Ahead,
        ) {
            // SAFETY: passed on.
            unsafe { tile::<$vector, R, N>(k, a, lda, b, ldb, c, ldc, accumulate, ahead) }
        }
    };
}

level!(baseline: Four);

static BASELINE: Kernel = Kernel { lanes: 4, rows: 4, vectors: 3, tiles: table!(baseline: 1 2 3 4 4 4 4 4) };

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Ahead, Kernel, Vector, tile};
    use core::arch::x86_64::*;

    macro_rules! vector {
        ($t:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident) => {
            impl Vector for $t {
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: only reached from functions compiled for the level, as are all below; pointers by promise.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: see `zero`.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: see `zero`.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn splat(from: *const f32) -> Self {
                    // SAFETY: see `zero`.
                    unsafe { $splat(*from) }
                }
                #[inline(always)]
                unsafe fn mul_acc(self, a: Self, b: Self) -> Self {
                    // SAFETY: see `zero`.
                    unsafe { $fma(a, b, self) }
                }
                #[inline(always)]
                unsafe fn prefetch(from: *const f32) {
                    // SAFETY: a hint; any address will do.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
                }
                #[inline(always)]
                unsafe fn prefetch_far(from: *const u8) {
                    // SAFETY: as above.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
                }
            }
        };
    }
    vector!(__m256, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps);
    vector!(__m512, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps);

    level!(#[target_feature(enable = "avx2,fma")] avx2: __m256);
    level!(#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")] avx512: __m512);

    pub(super) static AVX2: Kernel = Kernel { lanes: 8, rows: 4, vectors: 3, tiles: table!(avx2: 1 2 3 4 4 4 4 4) };
    pub(super) static AVX512: Kernel =
        Kernel { lanes: 16, rows: 8, vectors: 3, tiles: table!(avx512: 1 2 3 4 5 6 7 8) };
}
