//! Sums of elements that lie side by side, compiled per vector width.
//!
//! Four places are read in turn: one core has more reads under way with four streams than with one, which took 2^24 floats from
//! 6.3 to 5.0 ms on a busy machine with 2 cores (see benches/README.md).

use super::Element;
use crate::{machine::prefetch, vmath::Level};

/// Partial sums of each stream: a fixed number, so that a result does not depend on the vector width's own way of adding.
const LANES: usize = 16;
/// How many elements ahead memory is asked for.
const AHEAD: usize = 256;

/// The sum of a slice, in f32.
pub(crate) type SumFn<T> = fn(&[T]) -> f32;

#[inline(always)]
fn body<T: Element>(x: &[T]) -> f32 {
    let each = x.len() / (4 * LANES);
    let (whole, tail) = x.as_chunks::<LANES>();
    let (a, rest) = whole.split_at(each);
    let (b, rest) = rest.split_at(each);
    let (c, rest) = rest.split_at(each);
    let (d, rest) = rest.split_at(each);
    let mut sums = [[0.0f32; LANES]; 4];
    let add = |sums: &mut [f32; LANES], x: &[T; LANES]| {
        prefetch(x.as_ptr().wrapping_add(AHEAD).cast(), 1);
        sums.iter_mut().zip(x).for_each(|(s, x)| *s += x.to_f32());
    };
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        add(&mut sums[0], a);
        add(&mut sums[1], b);
        add(&mut sums[2], c);
        add(&mut sums[3], d);
    }
    for (x, s) in rest.iter().zip(&mut sums) {
        s.iter_mut().zip(x).for_each(|(s, x)| *s += x.to_f32());
    }
    sums[3].iter_mut().zip(tail).for_each(|(s, x)| *s += x.to_f32());
    let [mut a, b, c, d] = sums;
    for i in 0..LANES {
        a[i] = (a[i] + b[i]) + (c[i] + d[i]);
    }
    pairwise(&mut a)
}

/// The sum of all, neighbours first: errors grow with the logarithm of their number.
pub(crate) fn pairwise(x: &mut [f32]) -> f32 {
    let mut n = x.len();
    while n > 1 {
        for i in 0..n / 2 {
            x[i] = x[2 * i] + x[2 * i + 1];
        }
        if n % 2 == 1 {
            x[n / 2] = x[n - 1];
        }
        n = n.div_ceil(2);
    }
    x.first().copied().unwrap_or(0.0)
}

/// The function of a level (of the baseline if it is not available).
pub(crate) fn sum<T: Element>(level: Level) -> SumFn<T> {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
        fn avx512<T: Element>(x: &[T]) -> f32 {
            body(x)
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<T: Element>(x: &[T]) -> f32 {
            body(x)
        }
        match level {
            // SAFETY: the level is available.
            Level::Avx512 if level.available() => return |x| unsafe { avx512(x) },
            // SAFETY: the level is available.
            Level::Avx2 if level.available() => return |x| unsafe { avx2(x) },
            _ => {}
        }
    }
    let _ = level;
    body
}
