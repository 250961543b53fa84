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
    /// tanh x.
    tanh, Tanh;
    /// The error function.
    erf, Erf;
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
    /// Is it NaN; result bool.
    is_nan, IsNan;
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
    /// What is left after a division towards zero; it has the sign of x. Integers: x%0 = 0.
    rem, Op::Binary(BinaryOp::Rem);
    /// x^y. Floats only.
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
