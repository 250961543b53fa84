//! Operations on each element alone, or on pairs of elements.

use super::{Tensor, operand::Operand};
use anychip_hal::{
    DType, Error, Result,
    op::{BinaryOp, CmpOp, Op, UnaryOp},
};
use anychip_kernels::{View, graph::op_name, shape::broadcast};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident, $op:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            pub fn $name(&self) -> Result<Tensor> {
                self.op(Op::Unary(UnaryOp::$op), &[])
            }
        )*}
    };
}

unary! {
    /// −x. Integers wrap.
    neg, Neg;
    /// |x|. Integers wrap: the smallest stays itself.
    abs, Abs;
    /// −1, 0 or 1.
    sign, Sign;
    /// Not, for bool; every bit inverted, for integers.
    not, Not;
    /// Every bit inverted; not, for bool. The same as [`Tensor::not`], by PyTorch's name.
    bitwise_not, Not;
    /// Rounded down. Floats only.
    floor, Floor;
    /// Rounded up. Floats only.
    ceil, Ceil;
    /// Rounded towards zero. Floats only.
    trunc, Trunc;
    /// Rounded to nearest, ties to even. Floats only.
    round, Round;
    /// √x.
    sqrt, Sqrt;
    /// 1/√x.
    rsqrt, Rsqrt;
    /// 1/x.
    recip, Recip;
    /// 1/x; the same as [`Tensor::recip`], by PyTorch's name.
    reciprocal, Recip;
    /// e^x.
    exp, Exp;
    /// 2^x.
    exp2, Exp2;
    /// ln x.
    log, Log;
    /// log₂ x.
    log2, Log2;
    /// sin x, x in radians.
    sin, Sin;
    /// cos x, x in radians.
    cos, Cos;
    /// tan x, x in radians.
    tan, Tan;
    /// sin⁻¹ x in −π/2..π/2; NaN outside −1..1.
    asin, Asin;
    /// cos⁻¹ x in 0..π; NaN outside −1..1.
    acos, Acos;
    /// tan⁻¹ x in −π/2..π/2.
    atan, Atan;
    /// sinh x.
    sinh, Sinh;
    /// cosh x.
    cosh, Cosh;
    /// tanh x.
    tanh, Tanh;
    /// sinh⁻¹ x.
    asinh, Asinh;
    /// cosh⁻¹ x; NaN below 1.
    acosh, Acosh;
    /// tanh⁻¹ x; ±∞ at ±1, NaN outside.
    atanh, Atanh;
    /// e^x − 1, accurate where x is small.
    expm1, Expm1;
    /// ln(1 + x), accurate where x is small; −∞ at −1, NaN below.
    log1p, Log1p;
    /// The error function.
    erf, Erf;
    /// 1 − erf(x), accurate where that is small.
    erfc, Erfc;
    /// 1 / (1 + e^−x).
    sigmoid, Sigmoid;
    /// x · sigmoid(x).
    silu, Silu;
    /// max(x, 0); NaN stays.
    relu, Relu;
    /// x/2 · (1 + erf(x/√2)): the exact form, as PyTorch's `gelu()`; candle calls it `gelu_erf`.
    gelu, Gelu;
    /// x/2 · (1 + tanh(√(2/π)(x + 0.044715 x³))): the approximation, as PyTorch's `gelu(approximate="tanh")`; candle
    /// calls it `gelu`.
    gelu_tanh, GeluTanh;
    /// Is it NaN; floats only, result bool.
    is_nan, IsNan;
    /// Is it +∞ or −∞; floats only, result bool.
    is_inf, IsInf;
    /// Zero bits above the highest one; the width for 0. Integers only.
    leading_zeros, LeadingZeros;
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident, $op:expr;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            pub fn $name(&self, other: impl Operand) -> Result<Tensor> {
                self.pairwise($op, other)
            }
        )*}
    };
}

binary! {
    /// x + y. Integers wrap.
    /// ```
    /// # let device = anychip::Device::open("cpu")?;
    /// # use anychip::Tensor;
    /// let x = Tensor::from_vec(vec![1f32, 2., 3., 4.], (2, 2), &device)?;
    /// let row = Tensor::from_vec(vec![10f32, 20.], 2, &device)?;
    /// assert_eq!(x.add(&row)?.add(0.5)?.to_vec::<f32>()?, [11.5, 22.5, 13.5, 24.5]);
    /// # Ok::<(), anychip::Error>(())
    /// ```
    add, Op::Binary(BinaryOp::Add);
    /// x − y. Integers wrap.
    sub, Op::Binary(BinaryOp::Sub);
    /// x · y. Integers wrap.
    mul, Op::Binary(BinaryOp::Mul);
    /// x / y. Integers: towards zero, x/0 = 0, MIN/−1 = MIN.
    div, Op::Binary(BinaryOp::Div);
    /// What is left after a division towards zero, exactly; it has the sign of x. C's and PyTorch's `fmod`. Floats: NaN for x = ±∞
    /// or y = 0. Integers: x%0 = 0. See [`Tensor::modulo`] for Python's.
    #[doc(alias = "fmod")]
    rem, Op::Binary(BinaryOp::Rem);
    /// x^y. Floats as C's `pow` has it (0^0 = 1^NaN = 1). Integers wrap; of a negative exponent what 1/x^|y| is when rounded
    /// towards zero, and 0 for x = 0.
    pow, Op::Binary(BinaryOp::Pow);
    /// The larger one; NaN when either is.
    maximum, Op::Binary(BinaryOp::Max);
    /// The smaller one; NaN when either is.
    minimum, Op::Binary(BinaryOp::Min);
    /// x and y: bool, or the bits of integers.
    and, Op::Binary(BinaryOp::And);
    /// x or y: bool, or the bits of integers.
    or, Op::Binary(BinaryOp::Or);
    /// Either x or y: bool, or the bits of integers.
    xor, Op::Binary(BinaryOp::Xor);
    /// x and y: bool, or the bits of integers. The same as [`Tensor::and`], by PyTorch's name.
    bitwise_and, Op::Binary(BinaryOp::And);
    /// x or y: bool, or the bits of integers. The same as [`Tensor::or`], by PyTorch's name.
    bitwise_or, Op::Binary(BinaryOp::Or);
    /// Either x or y: bool, or the bits of integers. The same as [`Tensor::xor`], by PyTorch's name.
    bitwise_xor, Op::Binary(BinaryOp::Xor);
    /// The bits of x moved up by y, modulo the width of the type; zeros come in below. Integers only.
    bitwise_left_shift, Op::Binary(BinaryOp::Shl);
    /// The bits of x moved down by y, modulo the width of the type; the sign comes in above, zeros for unsigned types. Integers only.
    bitwise_right_shift, Op::Binary(BinaryOp::Shr);
    /// x = y; result bool. NaN equals nothing.
    eq, Op::Compare(CmpOp::Eq);
    /// x ≠ y; result bool.
    ne, Op::Compare(CmpOp::Ne);
    /// x < y; result bool.
    lt, Op::Compare(CmpOp::Lt);
    /// x ≤ y; result bool.
    le, Op::Compare(CmpOp::Le);
    /// x > y; result bool.
    gt, Op::Compare(CmpOp::Gt);
    /// x ≥ y; result bool.
    ge, Op::Compare(CmpOp::Ge);
}

impl Tensor {
    fn pairwise(&self, op: Op, other: impl Operand) -> Result<Tensor> {
        let name = op_name(&op);
        let other = other.beside(name, self)?;
        if self.dims() == other.dims() {
            return self.op(op, &[&other]);
        }
        let shape = broadcast(name, self.dims(), other.dims())?;
        self.expanded(&shape)?.op(op, &[&other.expanded(&shape)?])
    }

    fn expanded(&self, shape: &[usize]) -> Result<Tensor> {
        self.view(View::Expand(shape.to_vec()))
    }

    /// x · x.
    pub fn sqr(&self) -> Result<Tensor> {
        self.mul(self)
    }

    /// x · `mul` + `add`.
    pub fn affine(&self, mul: f64, add: f64) -> Result<Tensor> {
        self.mul(mul)?.add(add)
    }

    /// Not below `low`, not above `high`; `high` wins when they cross. NaN stays.
    pub fn clamp(&self, low: impl Operand, high: impl Operand) -> Result<Tensor> {
        self.maximum(low)?.minimum(high)
    }

    /// Where this (bool) is true the element of `a`, elsewhere that of `b`; all three broadcast.
    ///
    /// # Errors
    /// `DTypeMismatch` when this is not bool, or `a` and `b` differ in type.
    pub fn where_cond(&self, a: &Tensor, b: impl Operand) -> Result<Tensor> {
        let b = b.beside("where", a)?;
        let shape = broadcast("where", &broadcast("where", self.dims(), a.dims())?, b.dims())?;
        self.expanded(&shape)?.op(Op::Where, &[&a.expanded(&shape)?, &b.expanded(&shape)?])
    }

    /// Converted to another element type. Float to integer truncates towards zero and saturates, NaN gives 0; anything to
    /// bool is `!= 0`; bool to a number is 0 or 1; otherwise to nearest, ties to even.
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        self.op(Op::Cast(dtype), &[])
    }

    /// Refuses what is not bool.
    pub(super) fn expect_bool(&self, what: &str) -> Result<()> {
        if self.dtype() == DType::Bool {
            return Ok(());
        }
        Err(Error::DTypeMismatch(format!("{what}: takes bool, got {}; compare it with something", self.dtype())))
    }
}
