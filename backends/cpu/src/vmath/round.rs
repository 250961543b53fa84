//! Roundings, roots and signs: one instruction where the level has it, arithmetic where it has not. Exact.

use super::Body;

/// From here on every f32 is an integer.
const INTEGERS: f32 = 8_388_608.0; // 2^23

/// Nearest integer, halves to even, keeping the sign of zero. Adding 2²³ leaves no place for a fraction.
#[inline(always)]
fn nearest(x: f32) -> f32 {
    let a = x.abs();
    let r = ((a + INTEGERS) - INTEGERS).copysign(x);
    if a < INTEGERS { r } else { x }
}

macro_rules! body {
    ($name:ident, |$x:ident| $fused:expr, $plain:expr) => {
        pub struct $name;
        impl Body for $name {
            #[inline(always)]
            fn lane<const F: bool>($x: f32) -> f32 {
                // The levels with fused multiply-adds also round in one instruction; SSE2 would call libm.
                if F { $fused } else { $plain }
            }
        }
    };
}

body!(Abs, |x| x.abs(), x.abs());
body!(Neg, |x| -x, -x);
body!(Recip, |x| 1.0 / x, 1.0 / x);
body!(Sqrt, |x| x.sqrt(), x.sqrt());
body!(Rsqrt, |x| 1.0 / x.sqrt(), 1.0 / x.sqrt());
body!(Round, |x| x.round_ties_even(), nearest(x));
body!(Floor, |x| x.floor(), {
    let r = nearest(x);
    (if r > x { r - 1.0 } else { r }).copysign(x)
});
body!(Ceil, |x| x.ceil(), {
    let r = nearest(x);
    (if r < x { r + 1.0 } else { r }).copysign(x)
});
body!(Trunc, |x| x.trunc(), {
    let a = x.abs();
    let r = nearest(a);
    (if r > a { r - 1.0 } else { r }).copysign(x)
});
