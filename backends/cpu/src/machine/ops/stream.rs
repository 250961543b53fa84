//! Moving bytes with the caches in mind: copies that go past them, for results larger than they are, and requests for what
//! will be read next. Elsewhere than on x86-64 the copies are plain and the requests do nothing.

/// Fetches the lines of `bytes` bytes at `at` into the first-level cache. The address may be any: nothing is accessed.
#[inline(always)]
pub(crate) fn prefetch(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // A hint: it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// Makes what this thread streamed visible before whatever it writes next.
pub(crate) fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SSE2 is part of the architecture.
    unsafe {
        std::arch::x86_64::_mm_sfence()
    }
}

macro_rules! streams {
    ($name:ident, $bytes:literal, $load:ident, $store:ident $(, #[$enable:meta])?) => {
        /// Copies past the caches.
        ///
        /// # Safety
        /// Both pointers cover `n` bytes and do not overlap.
        #[cfg(target_arch = "x86_64")]
        $(#[$enable])?
        #[inline]
        pub(super) unsafe fn $name(n: usize, d: *mut u8, a: *const u8) {
            use std::arch::x86_64::{$load, $store};
            // Streaming stores are aligned; lines that are not written whole are written the plain way.
            let head = d.align_offset(64);
            unsafe {
                if n < head + 64 {
                    return std::ptr::copy_nonoverlapping(a, d, n);
                }
                std::ptr::copy_nonoverlapping(a, d, head);
                let body = (n - head) / 64 * 64;
                for at in (head..head + body).step_by($bytes) {
                    $store(d.add(at).cast(), $load(a.add(at).cast()));
                }
                let tail = head + body;
                std::ptr::copy_nonoverlapping(a.add(tail), d.add(tail), n - tail);
            }
        }
    };
}
streams!(baseline, 16, _mm_loadu_si128, _mm_stream_si128);
streams!(avx2, 32, _mm256_loadu_si256, _mm256_stream_si256, #[target_feature(enable = "avx2")]);
streams!(avx512, 64, _mm512_loadu_si512, _mm512_stream_si512, #[target_feature(enable = "avx512f")]);

/// Copies.
///
/// # Safety
/// Both pointers cover `n` bytes and do not overlap.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn baseline(n: usize, d: *mut u8, a: *const u8) {
    unsafe { std::ptr::copy_nonoverlapping(a, d, n) }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::table;
    use crate::vmath::Level;

    #[test]
    fn a_streamed_copy_writes_its_bytes_and_no_others() {
        let a: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        for level in [Level::Baseline, Level::Avx2, Level::Avx512] {
            for from in [0, 1, 4, 63, 64, 65] {
                for n in [0, 1, 63, 64, 127, 128, 191, 500, 800] {
                    let mut d = vec![0xffu8; 1000];
                    unsafe { (table(level).stream)(n, d.as_mut_ptr().add(from), a.as_ptr().add(3)) };
                    super::fence();
                    assert_eq!(d[from..from + n], a[3..3 + n], "{level:?} {n} bytes at {from}");
                    assert!(d[..from].iter().chain(&d[from + n..]).all(|&b| b == 0xff), "{level:?} {n} at {from}");
                }
            }
        }
    }
}
