//! Elementwise mathematics over slices of f32, compiled for several vector widths and chosen at run time.
//!
//! Front door: [`unary`] and [`binary`] give the function of an operation at a level, to be asked once and called on many
//! blocks; blocks of some 256 elements or more keep the call's cost out of sight. A function's body is written once, for
//! one element and without branches, in `exp`, `log`, `trig`, `pow` and `round` ([`convert`]: 16-bit floats); the loops here make vectors of it. It must
//! not know the machine that calls it. Results do not depend on where in a slice an element stands.

pub mod convert;
mod exp;
mod level;
mod log;
mod pow;
mod round;
mod trig;
#[cfg(target_arch = "x86_64")]
mod wide;

#[cfg(test)]
mod tests;

pub(crate) use exp::exp as exp_element;
pub use level::Level;

/// Whether the baseline itself fuses multiply-adds; elsewhere `mul_add` would be a call into libm per element.
pub(crate) const BASELINE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Elements that are looked over together for rare ones.
const BLOCK: usize = 256;

/// `a·b + c`, fused where the level has it (`F`).
#[inline(always)]
pub(crate) fn mul_add<const F: bool>(a: f32, b: f32, c: f32) -> f32 {
    if F { a.mul_add(b, c) } else { a * b + c }
}

/// Horner's rule: `coefficients[0] + x·(coefficients[1] + …)`.
#[inline(always)]
fn poly<const F: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut y = coefficients[N - 1];
    for &c in coefficients[..N - 1].iter().rev() {
        y = mul_add::<F>(y, x, c);
    }
    y
}

/// A function of one element: what all lanes do, and where some elements need more care, which and how.
trait Body {
    /// Whether any element is rare at all.
    const HAS_RARE: bool = false;
    fn lane<const F: bool>(x: f32) -> f32;
    #[inline(always)]
    fn is_rare(_: f32) -> bool {
        false
    }
    fn rare(x: f32) -> f32 {
        x
    }
}

/// One element, rare or not.
#[inline(always)]
fn careful<B: Body, const F: bool>(x: f32) -> f32 {
    if B::is_rare(x) { B::rare(x) } else { B::lane::<F>(x) }
}

/// The loop of every unary function from one slice into another of the same length. Slices as arguments tell the compiler
/// that they do not overlap; without that it would not make vectors.
#[inline(always)]
fn map<B: Body, const F: bool>(x: &[f32], y: &mut [f32]) {
    for (x, y) in x.chunks(BLOCK).zip(y.chunks_mut(BLOCK)) {
        if B::HAS_RARE && x.iter().fold(false, |any, &x| any | B::is_rare(x)) {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = careful::<B, F>(x);
            }
        } else {
            for (y, &x) in y.iter_mut().zip(x) {
                *y = B::lane::<F>(x);
            }
        }
    }
}

/// The loop of every unary function in place.
#[inline(always)]
fn map_in_place<B: Body, const F: bool>(x: &mut [f32]) {
    for x in x.chunks_mut(BLOCK) {
        if B::HAS_RARE && x.iter().fold(false, |any, &x| any | B::is_rare(x)) {
            for x in x {
                *x = careful::<B, F>(*x);
            }
        } else {
            for x in x {
                *x = B::lane::<F>(*x);
            }
        }
    }
}

/// A unary function of slices: reads the first, writes the second, as many elements as the shorter has.
pub type UnaryFn = fn(&[f32], &mut [f32]);
/// A unary function of a slice in place.
pub type InPlaceFn = fn(&mut [f32]);

macro_rules! unary {
    ($($(#[$doc:meta])* $op:ident $name:ident $body:ty;)*) => {
        /// A function of one variable. The bound is the largest error in ULP over all f32, on every level.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Unary {
            $($(#[$doc])* $op,)*
        }

        impl Unary {
            /// All of them.
            pub const ALL: &[Unary] = &[$(Unary::$op),*];
        }

        /// The function of `op` at `level` (at the baseline if the level is not available).
        pub fn unary(op: Unary, level: Level) -> UnaryFn {
            #[cfg(target_arch = "x86_64")]
            if level == Level::Avx512 && level.available() && let Some(f) = wide::unary(op) {
                return f;
            }
            match op {
                $(Unary::$op => choose!(level, {
                    fn out_of_place(x: &[f32], y: &mut [f32]) {
                        let n = x.len().min(y.len());
                        // SAFETY: `choose!` hands this out only where the level is available.
                        unsafe { $name(&x[..n], &mut y[..n]) }
                    }
                    out_of_place
                }, unsafe fn $name(x: &[f32], y: &mut [f32]): map::<$body>),)*
            }
        }

        /// The function of `op` in place at `level` (at the baseline if the level is not available).
        pub fn unary_in_place(op: Unary, level: Level) -> InPlaceFn {
            #[cfg(target_arch = "x86_64")]
            if level == Level::Avx512 && level.available() && let Some(f) = wide::unary_in_place(op) {
                return f;
            }
            match op {
                $(Unary::$op => choose!(level, {
                    fn in_place(x: &mut [f32]) {
                        // SAFETY: as in `unary`.
                        unsafe { $name(x) }
                    }
                    in_place
                }, unsafe fn $name(x: &mut [f32]): map_in_place::<$body>),)*
            }
        }

        $(
            #[doc = concat!("[`Unary::", stringify!($op), "`] of `x` into `y`, at the widest level; as many elements as the shorter has.")]
            pub fn $name(x: &[f32], y: &mut [f32]) {
                unary(Unary::$op, Level::detect())(x, y)
            }
        )*
    };
}

/// Compiles `$loop` for each level as `$name`, and yields the wrapper `$outer` around the one of `$level`.
macro_rules! choose {
    ($level:expr, $outer:block, unsafe fn $name:ident($($arg:ident: $t:ty),*): $loop:ident::<$body:ty>) => {
        match $level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 if $level.available() => {
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                unsafe fn $name($($arg: $t),*) {
                    $loop::<$body, true>($($arg),*)
                }
                $outer
            }
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 if $level.available() => {
                #[target_feature(enable = "avx2,fma")]
                unsafe fn $name($($arg: $t),*) {
                    $loop::<$body, true>($($arg),*)
                }
                $outer
            }
            _ => {
                unsafe fn $name($($arg: $t),*) {
                    $loop::<$body, BASELINE_FMA>($($arg),*)
                }
                $outer
            }
        }
    };
}

unary! {
    /// eˣ, 1.5 ULP.
    Exp exp exp::Exp;
    /// 2ˣ, 1.5 ULP.
    Exp2 exp2 exp::Exp2;
    /// Natural logarithm, 1.5 ULP; NaN below zero, −∞ at ±0.
    Log log log::Log;
    /// Logarithm to base 2, 1.5 ULP.
    Log2 log2 log::Log2;
    /// Square root, correctly rounded.
    Sqrt sqrt round::Sqrt;
    /// 1/√x, 1.5 ULP.
    Rsqrt rsqrt round::Rsqrt;
    /// Sine, 1 ULP, for any argument.
    Sin sin trig::Sin;
    /// Cosine, 1 ULP, for any argument.
    Cos cos trig::Cos;
    /// Tangent, 1 ULP, for any argument.
    Tan tan trig::Tan;
    /// Hyperbolic tangent, 2 ULP.
    Tanh tanh exp::Tanh;
    /// The error function 2/√π ∫₀ˣ e^(−t²) dt, 2 ULP.
    Erf erf exp::Erf;
    /// 1/(1 + e⁻ˣ), 2.5 ULP.
    Sigmoid sigmoid exp::Sigmoid;
    /// Absolute value, exact.
    Abs abs round::Abs;
    /// Negation, exact.
    Neg neg round::Neg;
    /// Largest integer not above, exact.
    Floor floor round::Floor;
    /// Smallest integer not below, exact.
    Ceil ceil round::Ceil;
    /// Integer part, exact.
    Trunc trunc round::Trunc;
    /// Nearest integer, halves to even, exact.
    Round round round::Round;
    /// 1/x, correctly rounded.
    Recip recip round::Recip;
}

/// A function of two variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// xʸ as C's `pow` defines it, 1 ULP.
    Pow,
}

/// A binary function of slices: reads two, writes the third, as many elements as the shortest has.
pub type BinaryFn = fn(&[f32], &[f32], &mut [f32]);

/// The function of `op` at `level` (at the baseline if the level is not available).
pub fn binary(op: Binary, level: Level) -> BinaryFn {
    match op {
        Binary::Pow => choose!(level, {
            fn run(x: &[f32], y: &[f32], z: &mut [f32]) {
                let n = x.len().min(y.len()).min(z.len());
                // SAFETY: `choose!` hands this out only where the level is available.
                unsafe { power(&x[..n], &y[..n], &mut z[..n]) }
            }
            run
        }, unsafe fn power(x: &[f32], y: &[f32], z: &mut [f32]): map_pow::<pow::Pow>),
    }
}

/// [`Binary::Pow`] of `x` and `y` into `z`, at the widest level; as many elements as the shortest has.
pub fn pow(x: &[f32], y: &[f32], z: &mut [f32]) {
    binary(Binary::Pow, Level::detect())(x, y, z)
}

/// The loop of [`pow`], over slices of one length.
#[inline(always)]
fn map_pow<B: pow::Body2, const F: bool>(x: &[f32], y: &[f32], z: &mut [f32]) {
    for ((x, y), z) in x.chunks(BLOCK).zip(y.chunks(BLOCK)).zip(z.chunks_mut(BLOCK)) {
        for ((z, &x), &y) in z.iter_mut().zip(x).zip(y) {
            *z = B::lane(x, y);
        }
        if x.iter().zip(y).fold(false, |any, (&x, &y)| any | B::is_rare(x, y)) {
            for ((z, &x), &y) in z.iter_mut().zip(x).zip(y) {
                if B::is_rare(x, y) {
                    *z = B::rare(x, y);
                }
            }
        }
    }
}
