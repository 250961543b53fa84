//! Aligned working memory that a thread keeps between calls: packing must not pay page faults each time.

use std::cell::RefCell;

/// One cache line of f32.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// A buffer of f32 that begins on a cache line.
#[derive(Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    /// At least `len` elements, zero where never written.
    pub fn with_len(len: usize) -> Self {
        Aligned { lines: vec![Line([0.0; 16]); len.div_ceil(16)] }
    }

    pub fn as_ptr(&self) -> *const f32 {
        self.lines.as_ptr().cast()
    }

    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }

    fn grow(&mut self, len: usize) {
        let lines = len.div_ceil(16);
        if self.lines.len() < lines {
            self.lines = Vec::new(); // nothing to keep: free before allocating
            self.lines = vec![Line([0.0; 16]); lines];
        }
    }
}

/// Buffers kept by a thread; more than this many bytes each go back to the allocator.
const KEEP_BYTES: usize = 64 << 20;

thread_local! {
    static POOL: RefCell<Vec<Aligned>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with a buffer of at least `len` elements of unspecified (but initialised) content. Calls may nest.
pub(crate) fn with<R>(len: usize, work: impl FnOnce(&mut Aligned) -> R) -> R {
    let mut buffer = POOL
        .with_borrow_mut(|pool| {
            // The smallest that is large enough, else the largest, which then grows.
            let fits = |b: &Aligned| b.lines.len() * 16 >= len;
            let best = (0..pool.len()).min_by_key(|&i| {
                let n = pool[i].lines.len();
                if fits(&pool[i]) { (0, n) } else { (1, usize::MAX - n) }
            });
            best.map(|i| pool.swap_remove(i))
        })
        .unwrap_or_default();
    buffer.grow(len);
    let result = work(&mut buffer);
    if buffer.lines.len() * 64 <= KEEP_BYTES {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < 4 {
                pool.push(buffer);
            }
        });
    }
    result
}
