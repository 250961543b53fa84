//! Expressions of pure operations. Every expression has exactly the C type of its value, so that overloaded functions
//! find it, and stands in parentheses unless it is a name, a literal or a call.

use super::{
    Printer,
    helpers::{Range, Shape},
    number,
};
use crate::{DType, Result, ir::*};

impl Printer<'_> {
    /// The expression of a pure operation with a result of type `ty`; `stored`: it is only stored.
    pub(super) fn expression(&mut self, op: &Op, ty: Type, stored: bool) -> Result<String> {
        let c = self.ctype(ty)?;
        let lanes = ty.lanes();
        Ok(match op {
            Op::Const(bits) => self.constant(ty, *bits)?,
            Op::Scalar(p) => {
                let name = self.param_name(*p);
                match ty.elem() {
                    Some(Elem::D(DType::Bool)) => format!("({name} != 0)"),
                    Some(e) => match self.small(e) {
                        Some(small) => format!("{}({name})", self.helpers.small_of_bits(small, 1)),
                        None => name,
                    },
                    None => name,
                }
            }
            Op::Builtin(Builtin::LocalSize(d)) => {
                number::literal(DType::U32, "uint", self.k.workgroup[*d as usize] as u64)
            }
            Op::Builtin(b) => match (self.d.builtin)(*b) {
                Some(text) => format!("(({c}){text})"),
                None => return Err(self.unsupported(format!("{b:?} must be lowered by the legaliser"))),
            },
            Op::Unary(op, a) => self.unary(*op, *a)?,
            Op::Binary(op, a, b) => self.binary(*op, *a, *b)?,
            Op::Compare(op, a, b) => self.compare(*op, *a, *b)?,
            Op::MulAdd(a, b, d) => self.mul_add(*a, *b, *d, false)?,
            Op::Fma(a, b, d) => self.mul_add(*a, *b, *d, true)?,
            Op::Select(cond, a, b) => {
                let (m, yes, no) = (self.t(*cond), self.t(*a), self.t(*b));
                if self.k.ty(*cond).lanes() == 1 {
                    format!("({m} ? {yes} : {no})")
                } else {
                    let wide = self.shape(ty).mask(m);
                    format!("select({no}, {yes}, {wide})")
                }
            }
            Op::Cast(a) => self.cast(*a, ty, stored)?,
            Op::Bitcast(a) => self.bitcast(*a, ty)?,
            Op::Vector(of) if lanes == 1 => self.t(of[0]).to_string(),
            Op::Vector(of) => {
                let bool = ty.elem().is_some_and(Elem::is_bool);
                let parts: Vec<_> =
                    of.iter().map(|v| if bool { mask_lane(self.t(*v)) } else { self.t(*v).into() }).collect();
                (self.d.vector)(&c, &parts)
            }
            Op::Splat(a) if lanes == 1 => self.t(*a).to_string(),
            Op::Splat(a) => {
                let bool = ty.elem().is_some_and(Elem::is_bool);
                let part = if bool { mask_lane(self.t(*a)) } else { self.t(*a).to_string() };
                (self.d.vector)(&c, &[part])
            }
            Op::Extract(a, lane) => match (self.k.ty(*a).lanes(), ty.elem().is_some_and(Elem::is_bool)) {
                (1, _) => self.t(*a).to_string(),
                (_, true) => format!("({} != 0)", (self.d.lane)(self.t(*a), *lane)),
                (_, false) => (self.d.lane)(self.t(*a), *lane),
            },
            Op::AssumeMultiple(a, _) => self.t(*a).to_string(),
            Op::Subgroup { op, value, lane } => self.subgroup(*op, *value, *lane)?,
            Op::Dot4 { a, b, acc, a_signed, b_signed } if self.d.dot4 => {
                let of = |signed: &bool| if *signed { 's' } else { 'u' };
                let (x, y, z) = (self.t(*a), self.t(*b), self.t(*acc));
                format!("dot4_{}{}({x}, {y}, {z})", of(a_signed), of(b_signed))
            }
            other => {
                let name = format!("{other:?}");
                let name = name.split([' ', '(']).next().unwrap_or("?");
                return Err(self.unsupported(format!("{name} must be lowered by the legaliser")));
            }
        })
    }

    /// How values of a scalar or vector type are held.
    pub(super) fn shape(&self, ty: Type) -> Shape {
        let elem = ty.elem().unwrap_or(Elem::Idx);
        let held = self.held(elem);
        let lanes = ty.lanes();
        let d = if held == DType::Bool && lanes > 1 { DType::I32 } else { held };
        self.held_as(d, (self.d.scalar)(d).unwrap_or("?"), lanes)
    }

    fn held_as(&self, d: DType, name: &'static str, lanes: u8) -> Shape {
        Shape { d, name, lanes, scalar: self.d.scalar }
    }

    fn constant(&mut self, ty: Type, bits: u64) -> Result<String> {
        let elem = ty.elem().unwrap_or(Elem::Idx);
        let c = self.ctype(ty)?;
        let one = match elem {
            e @ Elem::D(d) if self.small(e).is_some() => {
                let x = match d {
                    DType::BF16 => half::bf16::from_bits(bits as u16).to_f32(),
                    _ => half::f16::from_bits(bits as u16).to_f32(),
                };
                number::literal(DType::F32, "float", x.to_bits() as u64)
            }
            Elem::D(DType::Bool) if ty.lanes() > 1 => if bits & 1 == 1 { "-1" } else { "0" }.to_string(),
            e => {
                let d = self.held(e);
                number::literal(d, self.scalar(d)?, bits)
            }
        };
        Ok(if ty.lanes() > 1 { (self.d.vector)(&c, &[one]) } else { one })
    }

    fn unary(&mut self, op: UnaryOp, a: Value) -> Result<String> {
        let ty = self.k.ty(a);
        let s = self.shape(ty);
        let x = self.t(a).to_string();
        let bool = ty.elem().is_some_and(Elem::is_bool);
        let float = s.d.is_float();
        let call = |f: &str| format!("{f}({x})");
        Ok(match op {
            UnaryOp::Neg if float => format!("(-{x})"),
            UnaryOp::Neg => s.wrapping("-", &s.zero(), &x),
            UnaryOp::Abs if float => call("fabs"),
            UnaryOp::Abs if s.d.is_signed() => s.reinterpret(&call("abs")),
            UnaryOp::Abs => x,
            UnaryOp::Sign => format!("{}({x})", self.helpers.sign(s)),
            UnaryOp::Not if bool && s.lanes == 1 => format!("(!{x})"),
            UnaryOp::Not if s.lanes == 1 => format!("(({})(~{x}))", s.name),
            UnaryOp::Not => format!("(~{x})"),
            UnaryOp::Floor => self.in_range("floor", Range::Fractions, s, &x),
            UnaryOp::Ceil => self.in_range("ceil", Range::Fractions, s, &x),
            UnaryOp::Trunc => self.in_range("trunc", Range::Fractions, s, &x),
            UnaryOp::Round => self.in_range("rint", Range::Fractions, s, &x),
            UnaryOp::Sqrt => call("sqrt"),
            UnaryOp::Rsqrt => call("rsqrt"),
            UnaryOp::Recip => format!("({} / {x})", s.one()),
            UnaryOp::Exp => self.in_range("exp", Range::Numbers, s, &x),
            UnaryOp::Exp2 => self.in_range("exp2", Range::Numbers, s, &x),
            UnaryOp::Log => self.in_range("log", Range::Numbers, s, &x),
            UnaryOp::Log2 => self.in_range("log2", Range::Numbers, s, &x),
            UnaryOp::Sin => self.in_range("sin", Range::Finite, s, &x),
            UnaryOp::Cos => self.in_range("cos", Range::Finite, s, &x),
            UnaryOp::Tan => self.in_range("tan", Range::Finite, s, &x),
            UnaryOp::Tanh if self.d.tanh_below_one => {
                let inside = self.in_range("tanh", Range::Numbers, s, "x");
                format!("{}({x})", self.helpers.tanh(s, &inside))
            }
            UnaryOp::Tanh => self.in_range("tanh", Range::Numbers, s, &x),
            UnaryOp::Erf => self.in_range("erf", Range::Numbers, s, &x),
            UnaryOp::CountOnes => call("popcount"),
            UnaryOp::LeadingZeros => call("clz"),
            // ctz came with OpenCL 2.0: the ones below the lowest one. 0 gives the width.
            UnaryOp::TrailingZeros => format!("{}({x})", self.helpers.trailing_zeros(s)),
            UnaryOp::IsNan => s.bool_of(&format!("isnan({x})")),
            UnaryOp::IsInf => s.bool_of(&format!("isinf({x})")),
        })
    }

    /// A function of the driver's, which may be undefined outside a range.
    fn in_range(&mut self, f: &'static str, range: Range, s: Shape, x: &str) -> String {
        // Only these three are asked for finite numbers.
        let by_elements = self.d.sine_by_elements && s.lanes > 1 && matches!(range, Range::Finite);
        match self.d.unranged || by_elements {
            true => format!("{}({x})", self.helpers.in_range(f, range, s, by_elements)),
            false => format!("{f}({x})"),
        }
    }

    fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Result<String> {
        let s = self.shape(self.k.ty(a));
        let (x, y) = (self.t(a).to_string(), self.t(b).to_string());
        let float = s.d.is_float();
        Ok(match op {
            BinaryOp::Add if float => format!("({x} + {y})"),
            BinaryOp::Sub if float => format!("({x} - {y})"),
            BinaryOp::Mul if float => format!("({x} * {y})"),
            BinaryOp::Div if float => format!("({x} / {y})"),
            BinaryOp::Rem if float => format!("fmod({x}, {y})"),
            BinaryOp::Min | BinaryOp::Max if float => {
                format!("{}({x}, {y})", self.helpers.min_max(s, matches!(op, BinaryOp::Max)))
            }
            BinaryOp::Add => s.wrapping("+", &x, &y),
            BinaryOp::Sub => s.wrapping("-", &x, &y),
            BinaryOp::Mul => s.wrapping("*", &x, &y),
            BinaryOp::Div => format!("{}({x}, {y})", self.helpers.division(s, false)),
            BinaryOp::Rem => format!("{}({x}, {y})", self.helpers.division(s, true)),
            BinaryOp::Min => format!("min({x}, {y})"),
            BinaryOp::Max => format!("max({x}, {y})"),
            BinaryOp::Pow if self.d.unranged => format!("{}({x}, {y})", self.helpers.pow(s)),
            BinaryOp::Pow => format!("pow({x}, {y})"),
            BinaryOp::And => s.narrow(format!("({x} & {y})")),
            BinaryOp::Or => s.narrow(format!("({x} | {y})")),
            BinaryOp::Xor => s.narrow(format!("({x} ^ {y})")),
            BinaryOp::Shl => s.shift("<<", &x, &y),
            BinaryOp::Shr => s.shift(">>", &x, &y),
        })
    }

    fn compare(&mut self, op: CmpOp, a: Value, b: Value) -> Result<String> {
        let s = self.shape(self.k.ty(a));
        let sign = match op {
            CmpOp::Eq => "==",
            CmpOp::Ne => "!=",
            CmpOp::Lt => "<",
            CmpOp::Le => "<=",
            CmpOp::Gt => ">",
            CmpOp::Ge => ">=",
        };
        Ok(s.bool_of(&format!("({} {sign} {})", self.t(a), self.t(b))))
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value, exact: bool) -> Result<String> {
        let s = self.shape(self.k.ty(a));
        let (x, y, z) = (self.t(a).to_string(), self.t(b).to_string(), self.t(c).to_string());
        let fused = exact
            || match s.d {
                DType::F32 => self.d.fma_f32,
                DType::F64 => self.d.fma_f64,
                _ => false,
            };
        if exact && self.k.ty(a).elem().is_some_and(|e| self.small(e).is_some()) {
            let ty = self.k.ty(a);
            return Err(
                self.unsupported(format!("fma of {ty}, which does not compute here; mul_add, or a cast to f32, does"))
            );
        }
        Ok(if !s.d.is_float() {
            let product = s.wrapping("*", &x, &y);
            s.wrapping("+", &product, &z)
        } else if fused {
            format!("fma({x}, {y}, {z})")
        } else {
            format!("({x} * {y} + {z})")
        })
    }

    /// Functions of the preamble. A bool is a byte on its way.
    fn subgroup(&mut self, op: SubgroupOp, value: Value, lane: Option<Value>) -> Result<String> {
        if self.d.subgroup_barrier.is_none() {
            return Err(self.unsupported("subgroup operations must be lowered by the legaliser"));
        }
        let x = self.t(value).to_string();
        let lane = lane.map(|l| self.t(l).to_string());
        let at = || lane.clone().ok_or_else(|| self.unsupported("a shuffle names a lane"));
        Ok(match op {
            SubgroupOp::Reduce(op) => {
                let name = match op {
                    ReduceOp::Sum => "sum",
                    ReduceOp::Prod => "prod",
                    ReduceOp::Min => "min",
                    ReduceOp::Max => "max",
                    ReduceOp::And => "and",
                    ReduceOp::Or => "or",
                    ReduceOp::Xor => "xor",
                };
                format!("subgroup_{name}({x})")
            }
            SubgroupOp::ScanAdd => format!("subgroup_scan({x})"),
            SubgroupOp::Shuffle | SubgroupOp::Broadcast => format!("subgroup_shuffle({x}, {})", at()?),
            SubgroupOp::ShuffleXor => format!("subgroup_shuffle_xor({x}, {})", at()?),
            SubgroupOp::ShuffleDown => format!("subgroup_shuffle_down({x}, {})", at()?),
            SubgroupOp::ShuffleUp => format!("subgroup_shuffle_up({x}, {})", at()?),
        })
    }

    fn cast(&mut self, a: Value, ty: Type, stored: bool) -> Result<String> {
        let from_ty = self.k.ty(a);
        let (from, to) = (self.shape(from_ty), self.shape(ty));
        let x = self.t(a).to_string();
        let (from_bool, to_bool) = (from_ty.elem().is_some_and(Elem::is_bool), ty.elem().is_some_and(Elem::is_bool));
        if to_bool {
            if from_bool {
                return Ok(x);
            }
            return Ok(to_mask(from, &format!("({x} != {})", from.zero())));
        }
        let small = |t: Type| t.elem().and_then(|e| self.small(e));
        let (from_small, to_small) = (small(from_ty), small(ty));
        // A vector of bool holds -1 for true.
        let x = if from_bool && from.lanes > 1 { format!("({x} & 1)") } else { x };
        let wide = if from.d == to.d {
            x
        } else if from.d.is_float() && to.d.is_int() {
            // The bounds of wide integers are no numbers of f16.
            let (from, x) = if from.d == DType::F16 {
                let f = self.held_as(DType::F32, self.scalar(DType::F32)?, from.lanes);
                (f, f.convert(&x))
            } else {
                (from, x)
            };
            let u = to.unsigned_or_same();
            format!("{}({x})", self.helpers.saturate(from, to, u))
        } else if let (Some(small), DType::F64) = (to_small, from.d) {
            // Rounding to f32 first would round twice.
            return Ok(format!("{}({x})", self.helpers.round_small(small, from)));
        } else {
            to.convert(&x)
        };
        Ok(match to_small {
            Some(small) if from_small != to_small && !stored => {
                format!("{}({wide})", self.helpers.round_small(small, to))
            }
            _ => wide,
        })
    }

    fn bitcast(&mut self, a: Value, ty: Type) -> Result<String> {
        let x = self.t(a).to_string();
        let from_ty = self.k.ty(a);
        if from_ty == ty {
            return Ok(x);
        }
        let small = |t: Type| t.elem().and_then(|e| self.small(e));
        let c = self.ctype(ty)?;
        let (from_small, to_small) = (small(from_ty), small(ty));
        let x = match from_small {
            Some(small) => format!("{}({x})", self.helpers.bits_of_small(small, from_ty.lanes())),
            None => x,
        };
        if let Some(small) = to_small {
            let u16 = self.held_as(DType::U16, self.scalar(DType::U16)?, ty.lanes());
            return Ok(format!("{}({})", self.helpers.small_of_bits(small, ty.lanes()), u16.reinterpret(&x)));
        }
        Ok(format!("as_{c}({x})"))
    }
}

/// A scalar bool as a lane of a mask.
fn mask_lane(x: &str) -> String {
    format!("({x} ? -1 : 0)")
}

/// A comparison's result as a bool: in vectors, lanes of `int`.
fn to_mask(of: Shape, x: &str) -> String {
    of.bool_of(x)
}
