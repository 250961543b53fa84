//! C = A·B over batches: how the work is cut for caches and threads. Arithmetic is the micro-kernel's.
//!
//! Blocking, after Goto and van Zee: a task holds a block of B of at most 512 × 480 f32 (960 KiB, half of a 2 MiB L2);
//! eight rows of A (16 KiB) stay in L1 and meet each panel of that block in turn; C is touched once per block of k.
//! Tasks are cut in rows and columns only, never in k, and every element is one chain of multiply-adds in rising k:
//! the bits of the result are the same for any number of threads.

use super::kernel::{Ahead, Kernel, MAX_ROWS};
use super::pack::{PackedB, Panels, Shared, k_block, pack_matrix, pack_panel, pack_rows};
use super::scratch;
use super::view::{Element, LinalgError, Matrices, MatricesMut, Tile};
use crate::{team::Team, vmath::Level};
use std::ops::Range;

/// What is done with a block of finished rows while they are in cache: add a bias, apply an activation, add a residual.
/// Called exactly once for every element, from any thread; blocks come in no particular order.
pub type Epilogue<'a> = &'a (dyn Fn(&mut Tile<'_>) + Sync);

/// Widest block of B that a task holds, in f32 columns.
const COL_BLOCK: usize = 384;
/// Most elements of B packed at a time when it is not prepacked: 32 MiB of scratch.
const PACK_AT_ONCE: usize = 8 << 20;
/// Multiply-adds below which waking other threads costs more than it saves (about 10 µs on one core).
const SEQUENTIAL: usize = 1 << 20;
/// Rows of A up to which B is not packed as a whole: writing it out and reading it again would cost more than it saves.
const UNPACKED_ROWS: usize = 16;
/// Steps of k of a panel of B that few rows meet: 128 × 48 f32 are 24 KiB, half of L1.
const FEW_STEPS: usize = 128;

/// Where a task finds its B.
#[derive(Clone, Copy)]
enum Rhs {
    /// Panels as `pack_matrix` lays them out.
    Packed(*const f32),
    /// Row-major f32 with this row stride.
    Rows(*const f32, usize),
}

/// Writes some steps of a panel of B, widened and in rows: of `(batch, (col0, width, cols), (p0, steps))`.
type Fetch<'a> = &'a (dyn Fn([usize; 2], (usize, usize, usize), (usize, usize), *mut f32) + Sync);

/// One C = A·B without its batch: what all tasks of a call share.
struct Problem<'a, T> {
    kernel: &'static Kernel,
    a: Matrices<'a, T>,
    out: Shared,
    out_strides: [usize; 4],
    /// Of the columns at hand, which begin at `col0` of the output.
    panels: Panels,
    col0: usize,
    epilogue: Option<Epilogue<'a>>,
}

// SAFETY: `out` is written by each task in its own rows and columns; all else is read only.
unsafe impl<T: Sync> Sync for Problem<'_, T> {}

/// out[o, i, m, n] = a[o, i, m, k] · b[o, i, k, n], then `epilogue` on the result. Batch dimensions of size 1 repeat.
/// f16 and bf16 operands are widened exactly; sums are f32, each one chain of multiply-adds in rising k (fused where the
/// processor can), so |error| ≤ k·ε·Σ|a·b| with ε = 2⁻²⁴, and k = 0 gives zeros. The current team's threads are used; the
/// bits do not depend on their number.
///
/// # Errors
/// [`LinalgError::Shape`] when an operand does not fit the output.
pub fn matmul<A: Element, B: Element>(
    a: &Matrices<'_, A>,
    b: &Matrices<'_, B>,
    out: &mut MatricesMut<'_, f32>,
    epilogue: Option<Epilogue<'_>>,
) -> Result<(), LinalgError> {
    matmul_at(Level::detect(), a, b, out, epilogue)
}

/// [`matmul`] with a `b` packed before.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_packed<A: Element>(
    a: &Matrices<'_, A>,
    b: &PackedB,
    out: &mut MatricesMut<'_, f32>,
    epilogue: Option<Epilogue<'_>>,
) -> Result<(), LinalgError> {
    let (a, [outer, inner, _, n]) = fit(a, b.shape(), out)?;
    let problem = Problem {
        kernel: b.kernel,
        a,
        out_strides: out.strides(),
        out: Shared::new(out.as_mut_ptr()),
        panels: Panels::new(n, b.kernel),
        col0: 0,
        epilogue,
    };
    problem.run([0..outer, 0..inner], &|batch| Rhs::Packed(b.matrix(batch)));
    Ok(())
}

/// [`matmul`] at a given level (the baseline if it is not available), so that every one can be tested.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_at<A: Element, B: Element>(
    level: Level,
    a: &Matrices<'_, A>,
    b: &Matrices<'_, B>,
    out: &mut MatricesMut<'_, f32>,
    epilogue: Option<Epilogue<'_>>,
) -> Result<(), LinalgError> {
    let (a, [outer, inner, m, n]) = fit(a, b.shape(), out)?;
    let b = b.broadcast("rhs", [outer, inner])?;
    let kernel = Kernel::of(level);
    let [_, _, k, _] = b.shape();
    let [so, si, rs, cs] = b.strides();
    let mut problem = Problem {
        kernel,
        a,
        out_strides: out.strides(),
        out: Shared::new(out.as_mut_ptr()),
        panels: Panels::new(n, kernel),
        col0: 0,
        epilogue,
    };
    // Few rows: B is read once or twice in all, so it is read where it lies.
    if B::IS_F32 && cs == 1 && m <= UNPACKED_ROWS {
        let b = &b;
        problem.run([0..outer, 0..inner], &move |[o, i]| Rhs::Rows(b.at([o, i, 0, 0]).cast(), rs));
        return Ok(());
    }
    if m <= UNPACKED_ROWS {
        let b = &b;
        problem.few_rows(&|[o, i], (col0, width, cols), (p0, steps), to| {
            // SAFETY: the view is in bounds by construction; `to` has room for `steps` rows of `width`.
            unsafe { pack_panel(to, width, b.at([o, i, p0, col0]), (rs, cs), steps, cols) }
        });
        return Ok(());
    }
    let shared = (so == 0 || outer == 1) && (si == 0 || inner == 1);
    let matrix = k * problem.panels.padded();
    if !shared && outer * inner >= Team::current().threads() && matrix <= COL_BLOCK * 512 {
        // Many small matrices: a thread packs and multiplies one at a time, all of it in its own L2.
        let one = |index: usize| {
            let (o, i) = (index / inner, index % inner);
            scratch::with(matrix, |packed| {
                // SAFETY: the view is in bounds by construction; the scratch holds k · padded elements.
                unsafe { pack_matrix(packed.as_mut_ptr(), b.at([o, i, 0, 0]), (rs, cs), k, &problem.panels) };
                let panels = 0..problem.panels.count;
                problem.block([o, i], 0..m, panels, Rhs::Packed(packed.as_ptr()));
            });
        };
        for_each(outer * inner, outer * inner * m * n * k, one);
        return Ok(());
    }
    // Pack a stretch of columns with all threads, multiply by it with all threads, go on.
    let width = (PACK_AT_ONCE / k.max(1)).max(COL_BLOCK) / kernel.cols() * kernel.cols();
    let (outers, inners) = (if so == 0 { 1 } else { outer }, if si == 0 { 1 } else { inner });
    for o in 0..outers {
        for i in 0..inners {
            for col0 in (0..n).step_by(width) {
                problem.panels = Panels::new(width.min(n - col0), kernel);
                problem.col0 = col0;
                scratch::with(k * problem.panels.padded(), |packed| {
                    // SAFETY: as above, from column `col0` on.
                    unsafe {
                        pack_matrix(packed.as_mut_ptr(), b.at([o, i, 0, col0]), (rs, cs), k, &problem.panels);
                    }
                    let rhs = Rhs::Packed(packed.as_ptr());
                    let outers = if so == 0 { 0..outer } else { o..o + 1 };
                    let inners = if si == 0 { 0..inner } else { i..i + 1 };
                    problem.run([outers, inners], &move |_| rhs);
                });
            }
        }
    }
    Ok(())
}

/// Checks `a` against the output and B's shape; returns `a` with its batch repeated, and `[outer, inner, m, n]`.
fn fit<'a, A: Element>(
    a: &Matrices<'a, A>,
    b: [usize; 4],
    out: &MatricesMut<'_, f32>,
) -> Result<(Matrices<'a, A>, [usize; 4]), LinalgError> {
    let [outer, inner, m, n] = out.shape();
    let k = a.shape()[3];
    let fits = |have: usize, want: usize| have == want || have == 1;
    if b[2] != k || b[3] != n || !fits(b[0], outer) || !fits(b[1], inner) {
        return Err(LinalgError::Shape { operand: "rhs", found: b, wanted: [outer, inner, k, n] });
    }
    if a.shape()[2] != m {
        return Err(LinalgError::Shape { operand: "lhs", found: a.shape(), wanted: [outer, inner, m, k] });
    }
    Ok((a.broadcast("lhs", [outer, inner])?, [outer, inner, m, n]))
}

/// Runs `task` for `0..count`, in parallel when the work is worth it.
pub(super) fn for_each(count: usize, multiply_adds: usize, task: impl Fn(usize) + Sync + Send) {
    if count > 1 && multiply_adds > SEQUENTIAL {
        Team::current().each(count, task);
    } else {
        (0..count).for_each(task);
    }
}

impl<T: Element> Problem<'_, T> {
    /// All rows, the columns of `panels`, and the matrices of `batch`, cut into tasks.
    fn run(&self, batch: [Range<usize>; 2], rhs: &dyn Fn([usize; 2]) -> Rhs) {
        let [_, _, m, k] = self.a.shape();
        let (outer, inner) = (batch[0].len(), batch[1].len());
        if m == 0 || self.panels.cols == 0 || outer * inner == 0 {
            return;
        }
        let work = outer * inner * m * self.panels.cols * k;
        let threads = Team::current().threads();
        // Columns first: a task then holds its B in L2 and sees all rows of A. Then rows, until there are some four tasks
        // for each thread, so that a thread that was held up does not hold up the rest; not below 32 rows, though, for
        // each task loads its block of B anew.
        let wanted = if work > SEQUENTIAL { 4 * threads } else { 1 };
        let most = (COL_BLOCK / self.kernel.cols()).max(1);
        let mut col_tasks = self.panels.count.div_ceil(most);
        let mut row_tasks = m.div_ceil(512);
        while outer * inner * col_tasks * row_tasks < wanted {
            let narrow = self.panels.count / (col_tasks + 1) < 4;
            if m / row_tasks >= 192 || (narrow && m / row_tasks >= 64) {
                row_tasks += 1;
            } else if !narrow {
                col_tasks += 1;
            } else {
                break;
            }
        }
        let rows = m.div_ceil(row_tasks).next_multiple_of(self.kernel.rows);
        let row_tasks = m.div_ceil(rows);
        let rhs = SyncFn(rhs);
        for_each(outer * inner * row_tasks * col_tasks, work, |task| {
            // Neighbours in time share A's rows of one matrix, then B.
            let (rest, col) = (task / col_tasks, task % col_tasks);
            let (matrix, row) = (rest / row_tasks, rest % row_tasks);
            let at = [batch[0].start + matrix / inner, batch[1].start + matrix % inner];
            let cut = |i: usize| i * self.panels.count / col_tasks;
            let row_range = row * rows..m.min((row + 1) * rows);
            self.block(at, row_range, cut(col)..cut(col + 1), rhs.call(at));
        });
    }

    /// Few rows of A, and a B that cannot be read where it lies: a piece of a panel at a time is laid out in L1 and used there,
    /// so that memory is read once and nothing is written but the result.
    fn few_rows(&self, fetch: Fetch<'_>) {
        let ([outer, inner, m, k], [_, _, rs, cs]) = (self.a.shape(), self.a.strides());
        let kernel = self.kernel;
        if m == 0 || self.panels.cols == 0 || outer * inner == 0 {
            return;
        }
        let wanted = (4 * Team::current().threads()).div_ceil(outer * inner);
        let col_tasks = self.panels.count.min(wanted);
        let in_place = T::IS_F32 && cs == 1;
        let lda = k + 16;
        let a_len = if in_place { 0 } else { (m * lda).next_multiple_of(16) };
        // Reading B costs more than the arithmetic.
        let work = (outer * inner * self.panels.cols * k).saturating_mul(8.max(m));
        for_each(outer * inner * col_tasks, work, |task| {
            let (matrix, col) = (task / col_tasks, task % col_tasks);
            let batch = [matrix / inner, matrix % inner];
            let panels = col * self.panels.count / col_tasks..(col + 1) * self.panels.count / col_tasks;
            let [so, si, ldc, _] = self.out_strides;
            let out = self.out.get().wrapping_add(batch[0] * so + batch[1] * si + self.col0);
            scratch::with(a_len + FEW_STEPS * kernel.cols(), |buffer| {
                let mut edge = [0.0f32; MAX_ROWS * 64];
                let from = self.a.at([batch[0], batch[1], 0, 0]);
                let (a, lda) = if in_place {
                    (from.cast::<f32>(), rs)
                } else {
                    // SAFETY: all of the matrix A; the scratch holds m rows of lda elements.
                    unsafe { pack_rows(buffer.as_mut_ptr(), lda, from, (rs, cs), m, k) };
                    (buffer.as_ptr(), lda)
                };
                let b = buffer.as_mut_ptr().wrapping_add(a_len);
                for j in panels.clone() {
                    let (col0, vectors, cols) = self.panels.panel(j);
                    let width = vectors * kernel.lanes;
                    for p0 in (0..k.max(1)).step_by(FEW_STEPS) {
                        let steps = FEW_STEPS.min(k - p0);
                        fetch(batch, (col0, width, cols), (p0, steps), b);
                        for row in (0..m).step_by(kernel.rows) {
                            let n_rows = kernel.rows.min(m - row);
                            let a = (a.wrapping_add(row * lda + p0), lda);
                            let c = (out.wrapping_add(row * ldc + col0), ldc);
                            let (b, ahead) = ((b.cast_const(), width), [a.0.cast(); 2]);
                            // SAFETY: A as said; B was just laid out; C's rows and columns are this task's own.
                            unsafe {
                                if cols == width {
                                    kernel.tile((n_rows, vectors), steps, a, b, c, p0 > 0, ahead);
                                } else {
                                    let e = (edge.as_mut_ptr(), width);
                                    copy_rows((c.0, ldc), e, n_rows, if p0 > 0 { cols } else { 0 });
                                    kernel.tile((n_rows, vectors), steps, a, b, e, p0 > 0, ahead);
                                    copy_rows((edge.as_ptr(), width), c, n_rows, cols);
                                }
                            }
                        }
                    }
                }
                for row in (0..m).step_by(kernel.rows) {
                    self.finish(batch, row..m.min(row + kernel.rows), &panels);
                }
            });
        });
    }

    /// The epilogue on finished rows of some panels.
    fn finish(&self, batch: [usize; 2], rows: Range<usize>, panels: &Range<usize>) {
        let Some(epilogue) = self.epilogue else { return };
        let [so, si, ldc, _] = self.out_strides;
        let (first, end) = (self.panels.col0(panels.start), self.panels.col0(panels.end));
        let at = self.out.get().wrapping_add(batch[0] * so + batch[1] * si + rows.start * ldc + self.col0 + first);
        // SAFETY: these rows and columns are the caller's own, and finished.
        let mut tile = unsafe { Tile::new(batch, (rows.start, self.col0 + first), (rows.len(), end - first), at, ldc) };
        epilogue(&mut tile);
    }

    /// One task: rows × panels of one matrix, all of k, and the epilogue.
    fn block(&self, batch: [usize; 2], rows: Range<usize>, panels: Range<usize>, rhs: Rhs) {
        let [_, _, _, k] = self.a.shape();
        let [_, _, rs, cs] = self.a.strides();
        let [so, si, ldc, _] = self.out_strides;
        let (kernel, kc) = (self.kernel, k_block(k));
        let out = self.out.get().wrapping_add(batch[0] * so + batch[1] * si + self.col0);
        // Rows one page apart fall into the same sets of L1: such rows are copied side by side, as are rows with gaps.
        let in_place = T::IS_F32 && cs == 1 && (rs % 256 != 0 || panels.len() < 3);
        let lda = kc + 16;
        scratch::with(MAX_ROWS * lda, |a_rows| {
            let mut edge = [0.0f32; MAX_ROWS * 64];
            for block in 0..k.div_ceil(kc).max(1) {
                let p0 = block * kc;
                let steps = kc.min(k - p0);
                let last = p0 + steps == k;
                for row in rows.clone().step_by(kernel.rows) {
                    let n_rows = kernel.rows.min(rows.end - row);
                    let from = self.a.at([batch[0], batch[1], row, p0]);
                    let a = if in_place {
                        (from.cast::<f32>(), rs)
                    } else {
                        // SAFETY: rows and steps are inside A; the scratch holds MAX_ROWS rows of lda elements.
                        unsafe { pack_rows(a_rows.as_mut_ptr(), lda, from, (rs, cs), n_rows, steps) };
                        (a_rows.as_ptr(), lda)
                    };
                    for j in panels.clone() {
                        let (col0, vectors, cols) = self.panels.panel(j);
                        let ahead = self.ahead(batch, &rows, &panels, (row, j), (p0, steps), rhs);
                        let width = vectors * kernel.lanes;
                        let c = out.wrapping_add(row * ldc + col0);
                        let b = match rhs {
                            Rhs::Packed(b) => (b.wrapping_add(p0 * self.panels.padded() + steps * col0), width),
                            Rhs::Rows(b, ldb) => (b.wrapping_add(p0 * ldb + col0), ldb),
                        };
                        // SAFETY: A as said; B has `width` columns here (packed: padded), or less, and then the edge branch
                        // does without the missing ones; C's rows and columns are this task's own.
                        unsafe {
                            if cols == width {
                                kernel.tile((n_rows, vectors), steps, a, b, (c, ldc), block > 0, ahead);
                            } else {
                                let e = (edge.as_mut_ptr(), width);
                                copy_rows((c, ldc), e, n_rows, if block > 0 { cols } else { 0 });
                                self.edge((n_rows, vectors, cols), steps, a, b, e, block > 0, rhs, ahead);
                                copy_rows((edge.as_ptr(), width), (c, ldc), n_rows, cols);
                            }
                        }
                    }
                    if last {
                        self.finish(batch, row..row + n_rows, &panels);
                    }
                }
            }
        });
    }

    /// What comes after, a share for each tile: a row of the next rows of A, and a piece of the next block of B, so that
    /// both are in L2 when their turn comes.
    #[inline(always)]
    fn ahead(
        &self,
        batch: [usize; 2],
        rows: &Range<usize>,
        panels: &Range<usize>,
        (row, j): (usize, usize),
        (p0, steps): (usize, usize),
        rhs: Rhs,
    ) -> Ahead {
        const LINE: usize = 64;
        let k = self.a.shape()[3];
        let kernel = self.kernel;
        let (index, count) = (j - panels.start, panels.len());
        let mut ahead = [self.a.at([batch[0], batch[1], row, p0]).cast::<u8>(); 2]; // at hand: asking again costs nothing
        let next = row + kernel.rows + index;
        if index < kernel.rows && next < rows.end && self.a.strides()[3] == 1 {
            ahead[0] = self.a.at([batch[0], batch[1], next, p0]).cast();
        }
        if let (Rhs::Packed(b), true) = (rhs, p0 + steps < k) {
            let p1 = p0 + steps;
            let after = k_block(k).min(k - p1);
            let (from, to) = (self.panels.col0(panels.start), self.panels.col0(panels.end));
            let tiles = rows.len().div_ceil(kernel.rows) * count;
            let share = (after * (to - from) * 4 / LINE).div_ceil(tiles);
            // With few rows a block is hardly used before the next is due: then it would only get in the way.
            if share <= 48 {
                let tile = (row - rows.start) / kernel.rows * count + index;
                let at = b.wrapping_add(p1 * self.panels.padded() + after * from).cast::<u8>();
                ahead[1] = at.wrapping_add(tile * share * LINE);
            }
        }
        ahead
    }

    /// A tile of fewer columns than its vectors hold, into `c`, which has room for all of them.
    ///
    /// # Safety
    /// As [`Kernel::tile`], except that B in rows need only have `cols` columns.
    unsafe fn edge(
        &self,
        (rows, vectors, cols): (usize, usize, usize),
        steps: usize,
        a: (*const f32, usize),
        b: (*const f32, usize),
        c: (*mut f32, usize),
        accumulate: bool,
        rhs: Rhs,
        ahead: Ahead,
    ) {
        // SAFETY: the caller's promise; the copy has all columns.
        unsafe {
            match rhs {
                Rhs::Packed(_) => self.kernel.tile((rows, vectors), steps, a, b, c, accumulate, ahead),
                Rhs::Rows(..) => scratch::with(steps * c.1, |copy| {
                    pack_panel(copy.as_mut_ptr(), c.1, b.0, (b.1, 1), steps, cols);
                    self.kernel.tile((rows, vectors), steps, a, (copy.as_ptr(), c.1), c, accumulate, ahead);
                }),
            }
        }
    }
}

/// # Safety
/// Both sides hold `rows` rows of `cols` elements at their strides, and do not overlap.
unsafe fn copy_rows(from: (*const f32, usize), to: (*mut f32, usize), rows: usize, cols: usize) {
    for i in 0..rows {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from.0.wrapping_add(i * from.1), to.0.wrapping_add(i * to.1), cols) }
    }
}

/// The function that tells a task its B; it only computes addresses of memory that lives as long as the call.
struct SyncFn<'a>(&'a dyn Fn([usize; 2]) -> Rhs);
// SAFETY: every closure passed here captures shared references and plain addresses only, and writes nothing.
unsafe impl Sync for SyncFn<'_> {}

impl SyncFn<'_> {
    fn call(&self, batch: [usize; 2]) -> Rhs {
        (self.0)(batch)
    }
}
