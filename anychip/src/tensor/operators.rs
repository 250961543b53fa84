//! `+ - * / %` and unary `-` between tensors and numbers; the result is a `Result<Tensor>`.

use super::{
    Tensor,
    operand::{Operand, Scalar},
};
use anychip_hal::Result;
use anychip_kernels::{Node, View};
use std::ops;

macro_rules! operators {
    ($($trait:ident, $method:ident;)*) => {$(
        impl<O: Operand> ops::$trait<O> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: O) -> Result<Tensor> {
                Tensor::$method(self, other)
            }
        }
        impl<O: Operand> ops::$trait<O> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: O) -> Result<Tensor> {
                Tensor::$method(&self, other)
            }
        }
        operators!(number $trait, $method, f32 f64 i32 i64);
    )*};
    (number $trait:ident, $method:ident, $($t:ty)*) => {$(
        impl ops::$trait<&Tensor> for $t {
            type Output = Result<Tensor>;
            fn $method(self, other: &Tensor) -> Result<Tensor> {
                number(self.into(), stringify!($method), other)?.$method(other)
            }
        }
        impl ops::$trait<Tensor> for $t {
            type Output = Result<Tensor>;
            fn $method(self, other: Tensor) -> Result<Tensor> {
                ops::$trait::$method(self, &other)
            }
        }
    )*};
}

operators! {
    Add, add;
    Sub, sub;
    Mul, mul;
    Div, div;
    Rem, rem;
}

/// A number on the left, in the type and shape of the tensor on the right.
fn number(x: Scalar, what: &str, beside: &Tensor) -> Result<Tensor> {
    let node = Node::full(x.bits(what, beside.dtype())?, beside.dtype(), &[])?;
    beside.with(node).view(View::Expand(beside.dims().to_vec()))
}

impl ops::Neg for &Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

impl ops::Neg for Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(&self)
    }
}
