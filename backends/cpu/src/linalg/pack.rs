//! Packing: B into panels as wide as the register tile, one k block after the other; rows of A side by side. Converts
//! 16-bit storage to f32 on the way. Knows the layout of packed memory, and nothing of threads beyond packing in parallel.

use super::kernel::Kernel;
use super::scratch::Aligned;
use super::view::{Element, LinalgError, Matrices};
use crate::{team::Team, vmath::Level};

/// Most steps of k in a block: with it, 8 rows of A (16 KiB) stay in a 32 to 48 KiB L1 while B streams past from L2.
const K_BLOCK: usize = 512;

/// Length of the k blocks, evened out so that the last is not a sliver. The last may be shorter.
pub(crate) fn k_block(k: usize) -> usize {
    k.div_ceil(k.div_ceil(K_BLOCK).max(1)).max(1)
}

/// How the columns of B are cut into panels of whole vectors.
#[derive(Clone, Copy)]
pub(crate) struct Panels {
    /// Columns of B.
    pub cols: usize,
    lanes: usize,
    per_panel: usize,
    vectors: usize,
    /// Number of panels.
    pub count: usize,
}

impl Panels {
    pub fn new(cols: usize, kernel: &Kernel) -> Self {
        let vectors = cols.div_ceil(kernel.lanes);
        let (lanes, per_panel) = (kernel.lanes, kernel.vectors);
        Panels { cols, lanes, per_panel, vectors, count: vectors.div_ceil(per_panel) }
    }

    /// Columns with the padding of the last vector.
    pub fn padded(&self) -> usize {
        self.vectors * self.lanes
    }

    /// First vector of panel `j`, and how many it has. Where one vector would be left over, the last two panels share
    /// four: a panel of one vector leaves the multiply-add units waiting for loads.
    fn vectors(&self, j: usize) -> (usize, usize) {
        let even = self.vectors % self.per_panel == 1 && self.per_panel == 3 && self.count > 1;
        let from_end = self.count - j;
        match (even, from_end) {
            (true, 1) => (self.vectors - 2, 2),
            (true, 2) => (self.vectors - 4, 2),
            _ => (j * self.per_panel, self.per_panel.min(self.vectors - j * self.per_panel)),
        }
    }

    /// Panel `j`: first column, vectors, columns that exist.
    pub fn panel(&self, j: usize) -> (usize, usize, usize) {
        let (first, n) = self.vectors(j);
        let col0 = first * self.lanes;
        (col0, n, (n * self.lanes).min(self.cols - col0))
    }

    /// First column of panel `j`; one past the last column for `j == count`.
    pub fn col0(&self, j: usize) -> usize {
        if j == self.count { self.cols } else { self.vectors(j).0 * self.lanes }
    }
}

/// A function compiled for each level, of which the widest that the processor has is called: conversions then are vectors
/// there. They are exact, so that all levels give the same bits.
macro_rules! widest {
    ($(#[$doc:meta])* $name:ident, $body:ident ($($arg:ident: $ty:ty),*)) => {
        $(#[$doc])*
        pub(crate) unsafe fn $name<T: Element>($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            if !T::IS_F32 {
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn avx2<T: Element>($($arg: $ty),*) {
                    // SAFETY: passed on.
                    unsafe { $body($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
                unsafe fn avx512<T: Element>($($arg: $ty),*) {
                    // SAFETY: passed on.
                    unsafe { $body($($arg),*) }
                }
                // SAFETY: the level is available; the rest is passed on.
                match Level::detect() {
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Baseline => {}
                }
            }
            // SAFETY: passed on.
            unsafe { $body($($arg),*) }
        }
    };
}

widest! {
    /// Writes panel rows `p0 .. p0 + k` of one panel: `to[p · width + j]`, zeros from `cols` to `width`.
    ///
    /// # Safety
    /// `from` is readable at `p·strides.0 + j·strides.1` for `p < k`, `j < cols`; `to` is writable for `k · width` elements.
    pack_panel, panel_body(to: *mut f32, width: usize, from: *const T, strides: (usize, usize), k: usize, cols: usize)
}

widest! {
    /// Copies `rows` × `k` of A so that each row is contiguous and rows are `lda` apart.
    ///
    /// # Safety
    /// `from` is readable at `i·strides.0 + p·strides.1`, `to` writable at `i·lda + p`, for `i < rows`, `p < k`.
    pack_rows, rows_body(to: *mut f32, lda: usize, from: *const T, strides: (usize, usize), rows: usize, k: usize)
}

/// [`pack_panel`].
///
/// # Safety
/// `from` is readable at `p·rs + j·cs` for `p < k`, `j < cols`; `to` is writable for `k · width` elements.
#[inline(always)]
unsafe fn panel_body<T: Element>(
    to: *mut f32,
    width: usize,
    from: *const T,
    (rs, cs): (usize, usize),
    k: usize,
    cols: usize,
) {
    // SAFETY: all indices lie in the ranges of the contract.
    unsafe {
        if cs == 1 {
            for p in 0..k {
                let (src, dst) = (from.add(p * rs), to.add(p * width));
                if T::IS_F32 && cols == width {
                    std::ptr::copy_nonoverlapping(src.cast(), dst, width);
                    continue;
                }
                for j in 0..cols {
                    *dst.add(j) = (*src.add(j)).to_f32();
                }
                for j in cols..width {
                    *dst.add(j) = 0.0;
                }
            }
        } else {
            // Blocks of 8 × 8: both sides touch whole pieces of cache lines.
            for p in (0..k).step_by(8) {
                let ps = 8.min(k - p);
                for j in (0..width).step_by(4) {
                    let js = 4.min(cols.saturating_sub(j));
                    if ps == 8 && js == 4 && rs == 1 && T::IS_F32 {
                        // Columns are contiguous: 4 × 4 transposed in registers, twice.
                        for p in [p, p + 4] {
                            let column = |i: usize| from.add(p + (j + i) * cs).cast::<[f32; 4]>().read_unaligned();
                            let (a, b, c, d) = (column(0), column(1), column(2), column(3));
                            for i in 0..4 {
                                let row = [a[i], b[i], c[i], d[i]];
                                to.add((p + i) * width + j).cast::<[f32; 4]>().write_unaligned(row);
                            }
                        }
                        continue;
                    }
                    if ps == 8 && js == 4 {
                        let mut block = [[0.0f32; 4]; 8];
                        for jj in 0..4 {
                            let src = from.add(p * rs + (j + jj) * cs);
                            for (pp, row) in block.iter_mut().enumerate() {
                                row[jj] = (*src.add(pp * rs)).to_f32();
                            }
                        }
                        for (pp, row) in block.iter().enumerate() {
                            to.add((p + pp) * width + j).cast::<[f32; 4]>().write_unaligned(*row);
                        }
                        continue;
                    }
                    for pp in 0..ps {
                        for jj in 0..4.min(width - j) {
                            let x = if jj < js { (*from.add((p + pp) * rs + (j + jj) * cs)).to_f32() } else { 0.0 };
                            *to.add((p + pp) * width + j + jj) = x;
                        }
                    }
                }
            }
        }
    }
}

/// [`pack_rows`].
///
/// # Safety
/// `from` is readable at `i·rs + p·cs`, `to` writable at `i·lda + p`, for `i < rows`, `p < k`.
#[inline(always)]
unsafe fn rows_body<T: Element>(
    to: *mut f32,
    lda: usize,
    from: *const T,
    (rs, cs): (usize, usize),
    rows: usize,
    k: usize,
) {
    // SAFETY: all indices lie in the ranges of the contract.
    unsafe {
        if cs == 1 {
            for i in 0..rows {
                let (src, dst) = (from.add(i * rs), to.add(i * lda));
                if T::IS_F32 {
                    std::ptr::copy_nonoverlapping(src.cast(), dst, k);
                    continue;
                }
                for p in 0..k {
                    *dst.add(p) = (*src.add(p)).to_f32();
                }
            }
        } else {
            for p in 0..k {
                for i in 0..rows {
                    *to.add(i * lda + p) = (*from.add(i * rs + p * cs)).to_f32();
                }
            }
        }
    }
}

/// A raw pointer that threads share; each writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T = f32>(*mut T);
// SAFETY: a plain address; who dereferences it says why nobody else touches the same elements.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    pub fn new(p: *mut T) -> Self {
        Shared(p)
    }
    pub fn get(self) -> *mut T {
        self.0
    }
}

/// Packs columns `panels` (a cut of the whole of B's columns) of one matrix into `to`, in parallel when it is large.
///
/// # Safety
/// `from` is readable at `p·rs + j·cs` for `p < k`, `j < panels.cols`; `to` is writable for `k · panels.padded()`.
pub(crate) unsafe fn pack_matrix<T: Element>(
    to: *mut f32,
    from: *const T,
    (rs, cs): (usize, usize),
    k: usize,
    panels: &Panels,
) {
    let kc = k_block(k);
    let to = Shared::new(to);
    let from = from as usize; // an address travels between threads, a pointer does not
    // A stretch of 16 rows over 8 panels at a time: reads whole lines of a page before it leaves it, in either direction.
    const STRETCH: usize = 16;
    const GROUP: usize = 8;
    let groups = panels.count.div_ceil(GROUP);
    let one = |index: usize| {
        let (block, group) = (index / groups, index % groups);
        let p0 = block * kc;
        let steps = kc.min(k - p0);
        for p in (0..steps).step_by(STRETCH) {
            for j in group * GROUP..panels.count.min((group + 1) * GROUP) {
                let (col0, vectors, cols) = panels.panel(j);
                let width = vectors * panels.lanes;
                // SAFETY: rows `p0..p0 + steps` and columns `col0..col0 + cols` exist; each (block, panel) has its own part
                // of `to`.
                unsafe {
                    pack_panel(
                        to.get().add(p0 * panels.padded() + steps * col0 + p * width),
                        width,
                        (from as *const T).wrapping_add((p0 + p) * rs + col0 * cs),
                        (rs, cs),
                        STRETCH.min(steps - p),
                        cols,
                    );
                }
            }
        }
    };
    let parts = k.div_ceil(kc) * groups;
    // 64 Ki elements take some 20 µs: below, waking another thread costs more than it saves.
    if k * panels.cols > 1 << 16 {
        Team::current().each(parts, one);
    } else {
        (0..parts).for_each(one);
    }
}

/// B packed once, for weights that are multiplied many times. Bound to the vector width it was packed for.
pub struct PackedB {
    pub(crate) kernel: &'static Kernel,
    shape: [usize; 4],
    buffer: Aligned,
    /// Elements from one matrix to the next, 0 when the batch shares one.
    strides: [usize; 2],
}

impl std::fmt::Debug for PackedB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedB {{ shape: {:?}, lanes: {} }}", self.shape, self.kernel.lanes)
    }
}

impl PackedB {
    /// Packs `b` of shape `[outer, inner, k, n]` for this processor. Batch dimensions of stride 0 are packed once.
    ///
    /// # Errors
    /// [`LinalgError::OutOfBounds`] when the packed form would not be addressable.
    pub fn new<T: Element>(b: &Matrices<'_, T>) -> Result<Self, LinalgError> {
        Self::for_level(Level::detect(), b)
    }

    /// As [`PackedB::new`], for a given level (the baseline if it is not available).
    ///
    /// # Errors
    /// As [`PackedB::new`].
    pub fn for_level<T: Element>(level: Level, b: &Matrices<'_, T>) -> Result<Self, LinalgError> {
        let kernel = Kernel::of(level);
        let [outer, inner, k, n] = b.shape();
        let [so, si, rs, cs] = b.strides();
        let panels = Panels::new(n, kernel);
        let (outer, inner) = (if so == 0 { outer.min(1) } else { outer }, if si == 0 { inner.min(1) } else { inner });
        let too_large =
            LinalgError::OutOfBounds { shape: b.shape(), strides: b.strides(), len: isize::MAX as usize / 4 };
        let one = k.checked_mul(panels.padded()).ok_or_else(|| too_large.clone())?;
        let all = one
            .checked_mul(outer)
            .and_then(|x| x.checked_mul(inner))
            .filter(|&x| x < isize::MAX as usize / 8)
            .ok_or(too_large)?;
        let mut buffer = Aligned::with_len(all);
        if one > 0 {
            for o in 0..outer {
                for i in 0..inner {
                    // SAFETY: the view's elements are in bounds by its construction; `buffer` holds outer·inner·one elements.
                    unsafe {
                        let to = buffer.as_mut_ptr().add((o * inner + i) * one);
                        pack_matrix(to, b.at([o, i, 0, 0]), (rs, cs), k, &panels);
                    }
                }
            }
        }
        let strides = [if so == 0 { 0 } else { inner * one }, if si == 0 { 0 } else { one }];
        Ok(PackedB { kernel, shape: b.shape(), buffer, strides })
    }

    /// `[outer, inner, k, n]` of the matrices packed.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Bytes of memory that the packed form takes.
    pub fn bytes(&self) -> usize {
        self.shape[..2].iter().zip(self.strides).map(|(&n, s)| if s == 0 { n.min(1) } else { n }).product::<usize>()
            * self.shape[2]
            * Panels::new(self.shape[3], self.kernel).padded()
            * 4
    }

    /// The packed form of one matrix; batch dimensions of size 1 repeat.
    pub(crate) fn matrix(&self, batch: [usize; 2]) -> *const f32 {
        let at = |d: usize| if self.shape[d] == 1 { 0 } else { batch[d] * self.strides[d] };
        self.buffer.as_ptr().wrapping_add(at(0) + at(1))
    }
}
