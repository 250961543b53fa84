//! Functions whose accuracy a driver does not promise, as + − × and integer operations.
//!
//! Vulkan and WGSL leave sin an absolute error of 2⁻¹¹, exp one of 3 + 2|x| ULP and tanh none at all for large arguments,
//! and GLSL.std.450 has no such functions of f64. A device without [`Feature::Math`] therefore gets them from here, within
//! the bounds that `docs/operations.md` states, for every argument. What stays is what drivers have exactly or declare: sums,
//! differences and products (contracted or not, but in the order in which they stand), √, division, rounding to whole numbers,
//! conversions and integers.
//!
//! `MulAdd` appears where it may round once or twice. Subnormal numbers may be flushed: a function of one is then that of
//! 0 or the true one. Where NaN and infinity decide, bits are compared. f32 needs 32-bit integers alone, f64 those of 64
//! bits; f16 and bf16 are computed in f32 and rounded once. Vectors take the same code; the rare ways (arguments of sin
//! that are large) run when one lane needs them.

mod code;
pub(super) mod exact;
mod exp;
mod log;
mod pow;
mod reduce;
mod rem;
mod root;
mod trig;
mod wide;

use super::emit::{Emit, Pass};
use crate::{
    Error, Result,
    info::{Arithmetic, DeviceInfo, Feature, Numerics},
    ir::*,
};
use code::Num;
use std::cell::RefCell;

pub(super) struct Math<'i> {
    info: &'i DeviceInfo,
}

/// A function that is made here, and its operands.
#[derive(Clone, Copy)]
enum Call {
    Unary(UnaryOp, Value),
    Binary(BinaryOp, Value, Value),
}

impl Call {
    fn of(op: &Op) -> Option<Call> {
        use UnaryOp::*;
        match *op {
            Op::Unary(f @ (Exp | Exp2 | Log | Log2 | Sin | Cos | Tan | Tanh | Rsqrt | Recip), x) => {
                Some(Call::Unary(f, x))
            }
            Op::Binary(f @ (BinaryOp::Pow | BinaryOp::Rem), x, y) => Some(Call::Binary(f, x, y)),
            _ => None,
        }
    }

    fn first(self) -> Value {
        match self {
            Call::Unary(_, x) | Call::Binary(_, x, _) => x,
        }
    }

    fn name(self) -> String {
        match self {
            Call::Unary(f, _) => format!("{f:?}").to_lowercase(),
            Call::Binary(f, ..) => format!("{f:?}").to_lowercase(),
        }
    }
}

/// An operation that [`Feature::Math`] speaks of.
pub(super) fn is_math(op: &Op, k: &Kernel) -> bool {
    Call::of(op).is_some_and(|c| k.ty(c.first()).elem().is_some_and(Elem::is_float))
}

impl<'i> Math<'i> {
    pub fn new(info: &'i DeviceInfo) -> Math<'i> {
        Math { info }
    }

    /// f64 is made of 64-bit integers, but for what is a division.
    fn check(&self, e: &Emit, call: Call, double: bool) -> Result<()> {
        let lacks = [DType::U64, DType::I64].into_iter().find(|d| !self.info.support(*d).arithmetic);
        match lacks {
            Some(lacking) if double && !matches!(call, Call::Unary(UnaryOp::Recip, _)) => Err(Error::unsupported(
                format!("kernel {}: {}{} of f64", e.k.name, verify::place(&e.k, e.loc), call.name()),
                format!(
                    "{} has no such function within the bound, and lacks {lacking}, of which it could be made",
                    self.info.id
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl Pass for Math<'_> {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let (Some(call), Some(out)) = (Call::of(&inst.op), inst.out) else { return e.keep(inst, self) };
        let elem = e.elem(call.first());
        if !elem.is_float() {
            return e.keep(inst, self);
        }
        let double = elem == Elem::D(DType::F64);
        self.check(e, call, double)?;
        let computed = if double { DType::F64 } else { DType::F32 };
        // What is made here must be the same for all that play the exact machine: they round quotients and roots correctly.
        let facts = match self.info.numerics {
            Numerics::Fast => self.info.arithmetic.get(&computed),
            Numerics::Exact => Some(&Arithmetic::IEEE),
        };
        let result = {
            let code = RefCell::new(&mut *e);
            let given = |v: Value| Num::new(&code, v).cast(computed);
            let y = match call {
                Call::Unary(f, x) => {
                    let x = given(x);
                    match f {
                        UnaryOp::Exp => exp::exp(x),
                        UnaryOp::Exp2 => exp::exp2(x),
                        UnaryOp::Tanh => exp::tanh(x),
                        UnaryOp::Log => log::log(x),
                        UnaryOp::Log2 => log::log2(x),
                        UnaryOp::Sin => trig::sin(x),
                        UnaryOp::Cos => trig::cos(x),
                        UnaryOp::Tan => trig::tan(x),
                        UnaryOp::Rsqrt => root::rsqrt(x, facts),
                        _ => x.number(1.0) / x,
                    }
                }
                Call::Binary(BinaryOp::Rem, x, y) => rem::rem(given(x), given(y)),
                Call::Binary(_, x, y) => pow::pow(given(x), given(y)),
            };
            match elem {
                Elem::D(d) => y.cast(d).value,
                Elem::Idx => y.value,
            }
        };
        e.rename(out, result);
        Ok(())
    }
}

/// Rewrites what a device without [`Feature::Math`] lacks.
pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    if info.has(Feature::Math) {
        return Ok(());
    }
    super::rewrite(e, &mut Math::new(info))
}
