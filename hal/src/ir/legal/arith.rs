//! Packed products, unpacking and the error function as plain arithmetic.
//!
//! `erf` follows two polynomials: near 0, erf(x)/x − 1 in x²; above, one of erfc. In f32 that is erfc(x)^(−1/4) in x − 1.15, so that
//! the result is 1 − 1/q⁴, a third of an exponential's instructions; the fits minimise the largest error, weighed by what it
//! does to the result, and err by 0.13 and 0.32 ULP; with what is rounded, by less than 1.7. In f64 it is ln erfc(x) in
//! x − 1, interpolated at Chebyshev nodes from 50-digit values to 5e-17, and the result 1 − exp(·). Zeros keep their sign,
//! infinities give ±1, NaN stays.

use super::emit::{Emit, Pass};
use crate::{
    Result,
    info::{DeviceInfo, Feature},
    ir::*,
};

pub(super) struct Arith {
    dot: bool,
    erf: bool,
}

impl Arith {
    pub fn new(info: &DeviceInfo) -> Arith {
        Arith { dot: !info.has(Feature::Dot4), erf: !info.has(Feature::Erf) }
    }
}

impl Pass for Arith {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        match (&inst.op, inst.out) {
            (Op::Dot4 { a, b, acc, a_signed, b_signed }, Some(out)) if self.dot => {
                let ((a, sa), (b, sb)) = ((*a, *a_signed), (*b, *b_signed));
                let to = e.elem(*acc).dtype().unwrap_or(DType::I32);
                let mut sum = *acc;
                for i in 0..4 {
                    let (x, y) = (byte(e, a, i, sa, to), byte(e, b, i, sb, to));
                    let product = e.mul(x, y);
                    sum = e.add(sum, product);
                }
                e.rename(out, sum);
            }
            (Op::Unpack { word, index, bits, signed }, Some(out)) => {
                let (bits, signed) = (*bits as u64, *signed);
                let shift = e.bin_c(BinaryOp::Mul, *index, bits);
                let low = e.bin(BinaryOp::Shr, *word, shift);
                let top = e.bin_c(BinaryOp::Shl, low, 32 - bits);
                let x = if signed {
                    let top = e.bitcast(DType::I32, top);
                    e.bin_c(BinaryOp::Shr, top, 32 - bits)
                } else {
                    let low = e.bin_c(BinaryOp::Shr, top, 32 - bits);
                    e.bitcast(DType::I32, low)
                };
                e.rename(out, x);
            }
            (Op::Unary(UnaryOp::Erf, x), Some(out)) if self.erf => {
                let from = e.elem(*x);
                let y = match from {
                    Elem::D(DType::F64) => erf(e, *x, &ERF_F64),
                    _ => {
                        let wide = e.cast(DType::F32, *x);
                        let y = erf(e, wide, &ERF_F32);
                        e.cast(from, y)
                    }
                };
                e.rename(out, y);
            }
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}

/// Byte `i` of a word as a number of type `to`.
fn byte(e: &mut Emit, word: Value, i: u64, signed: bool, to: DType) -> Value {
    let top = e.bin_c(BinaryOp::Shl, word, 24 - 8 * i);
    if signed {
        let top = e.bitcast(DType::I32, top);
        e.bin_c(BinaryOp::Shr, top, 24)
    } else {
        let low = e.bin_c(BinaryOp::Shr, top, 24);
        e.bitcast(to, low)
    }
}

fn horner(e: &mut Emit, x: Value, coefficients: &[f64]) -> Value {
    let ty = e.ty(x);
    let (last, rest) = coefficients.split_last().expect("a polynomial has coefficients");
    let mut y = e.like(x, *last);
    for c in rest.iter().rev() {
        let c = e.like(x, *c);
        y = e.op(ty, Op::MulAdd(y, x, c));
    }
    y
}

/// What a polynomial of the upper part gives.
enum Upper {
    /// The logarithm of erfc.
    Log,
    /// erfc to the power −1/4.
    Root,
}

struct Erf {
    /// Below, erf is linear.
    tiny: f64,
    small: &'static [f64],
    /// Where the upper part begins.
    from: f64,
    large: &'static [f64],
    upper: Upper,
    /// From here on it is 1.
    top: f64,
}

const ERF_F32: Erf = Erf { tiny: 1e-4, small: &SMALL_F32, from: 1.15, large: &LARGE_F32, upper: Upper::Root, top: 4.0 };
const ERF_F64: Erf = Erf { tiny: 1e-9, small: &SMALL_F64, from: 1.0, large: &LARGE_F64, upper: Upper::Log, top: 6.0 };

fn erf(e: &mut Emit, x: Value, f: &Erf) -> Value {
    let ty = e.ty(x);
    let a = e.un(UnaryOp::Abs, x);
    let one = e.like(x, 1.0);
    let s = e.mul(x, x);
    let p = horner(e, s, f.small);
    let low = e.op(ty, Op::MulAdd(p, x, x));
    // Next to the smallest normal number a device may flush the product: there it is x alone times 2/√π, the rest lost in
    // rounding.
    let factor = e.like(x, std::f64::consts::FRAC_2_SQRT_PI);
    let linear = e.mul(x, factor);
    let edge = e.like(x, f.tiny);
    let is_tiny = e.cmp(CmpOp::Lt, a, edge);
    let low = e.select(is_tiny, linear, low);
    let (from, top) = (e.like(x, f.from), e.like(x, f.top));
    let w = e.bin(BinaryOp::Min, a, top);
    let w = e.sub(w, from);
    let p = horner(e, w, f.large);
    let c = match f.upper {
        Upper::Log => e.un(UnaryOp::Exp, p),
        Upper::Root => {
            let p = e.mul(p, p);
            let p = e.mul(p, p);
            e.bin(BinaryOp::Div, one, p)
        }
    };
    let high = e.sub(one, c);
    let minus = e.un(UnaryOp::Neg, high);
    let zero = e.like(x, 0.0);
    let negative = e.cmp(CmpOp::Lt, x, zero);
    let high = e.select(negative, minus, high);
    // NaN compares false and takes the way that keeps it.
    let is_high = e.cmp(CmpOp::Ge, a, from);
    e.select(is_high, high, low)
}

const SMALL_F32: [f64; 7] =
    [0.1283791583, -0.3761257579, 0.1128304032, -0.02683215993, 0.005149473408, -0.0007688843629, 6.85635273e-05];

const LARGE_F32: [f64; 9] = [
    1.761452965,
    1.274650064,
    0.8405218255,
    0.3976532814,
    0.1842136446,
    0.02316060703,
    0.0700604191,
    -0.02712706827,
    0.01178519791,
];

const SMALL_F64: [f64; 15] = [
    0.12837916709551256,
    -0.37612638903183754,
    0.11283791670955126,
    -0.026866170645131218,
    0.005223977625441674,
    -0.0008548327023403001,
    0.00012055332978879483,
    -1.4925650236967503e-5,
    1.6462110782018636e-6,
    -1.636576864883207e-7,
    1.4806027146128752e-8,
    -1.2277734486795524e-9,
    9.323723518153027e-11,
    -6.1967364287877e-12,
    2.8067128195611264e-13,
];

const LARGE_F64: [f64; 24] = [
    -1.8496055099332485,
    -2.6389675142347313,
    -0.8431072563607669,
    -0.0415610980121353,
    0.010033825160920953,
    -0.0019779016975242304,
    0.00023732046313066263,
    2.6279862858634217e-5,
    -2.7156334221864217e-5,
    9.595006509513527e-6,
    -2.033159780146731e-6,
    1.1028561509522453e-7,
    1.2585035591399704e-7,
    -7.014356561785236e-8,
    2.3570812642171107e-8,
    -5.9695484096523654e-9,
    1.1993313226526883e-9,
    -1.9306769041530837e-10,
    2.470337254501987e-11,
    -2.459764005017919e-12,
    1.837898289962346e-13,
    -9.691465054328285e-15,
    3.213950386575977e-16,
    -5.038175090820216e-18,
];
