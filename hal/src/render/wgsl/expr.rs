//! Expressions of pure operations, part by part. Every expression has exactly the type of its value and stands in
//! parentheses unless it is a name, a literal or a call.

use super::{Printer, Shape, number};
use crate::{DType, Result, ir::*};

impl Printer<'_> {
    pub(super) fn literal(&mut self, s: Shape, bits: u64) -> String {
        number::literal(s, bits, &mut self.helpers)
    }

    /// One part of the expression of a pure operation with a result of type `ty`.
    pub(super) fn expression(&mut self, op: &Op, ty: Type, part: usize) -> Result<String> {
        let s = self.shape(ty)?;
        let t = self.type_name(s)?;
        Ok(match op {
            Op::Const(bits) => self.literal(s, *bits),
            Op::Scalar(p) => self.scalar_param(*p, s)?,
            Op::Builtin(b) => self.builtin(*b, s)?,
            Op::Unary(op, a) => self.unary(*op, *a, part)?,
            Op::Binary(op, a, b) => self.binary(*op, *a, *b, part)?,
            // naga's `!=` is false for NaN.
            Op::Compare(CmpOp::Ne, a, b) if self.shape(self.k.ty(*a))?.d.is_float() => {
                format!("(!({} == {}))", self.t(*a, part), self.t(*b, part))
            }
            Op::Compare(op, a, b) => {
                let sign = match op {
                    CmpOp::Eq => "==",
                    CmpOp::Ne => "!=",
                    CmpOp::Lt => "<",
                    CmpOp::Le => "<=",
                    CmpOp::Gt => ">",
                    CmpOp::Ge => ">=",
                };
                format!("({} {sign} {})", self.t(*a, part), self.t(*b, part))
            }
            Op::MulAdd(a, b, c) => {
                format!("({} * {} + {})", self.t(*a, part), self.t(*b, part), self.t(*c, part))
            }
            Op::Fma(..) => return Err(self.unsupported("WGSL promises no multiply-add that rounds once")),
            Op::Select(c, a, b) => {
                format!("select({}, {}, {})", self.t(*b, part), self.t(*a, part), self.t(*c, part))
            }
            Op::Cast(a) => self.cast(*a, part, s)?,
            Op::Bitcast(a) => self.bitcast(*a, part, s)?,
            Op::Dot4 { a, b, acc, a_signed, b_signed } => self.dot4(*a, *b, *acc, *a_signed, *b_signed),
            Op::Vector(of) if ty.lanes() == 1 => self.t(of[0], 0).to_string(),
            Op::Vector(of) => {
                let first = part * usize::from(s.lanes);
                let lanes: Vec<_> = of[first..first + usize::from(s.lanes)].iter().map(|v| self.t(*v, 0)).collect();
                format!("{t}({})", lanes.join(", "))
            }
            Op::Splat(a) if ty.lanes() == 1 => self.t(*a, 0).to_string(),
            Op::Splat(a) => format!("{t}({})", self.t(*a, 0)),
            Op::Extract(a, lane) => self.lane(*a, *lane),
            Op::AssumeMultiple(a, _) => self.t(*a, 0).to_string(),
            Op::Subgroup { op, value, lane } => self.subgroup(*op, *value, *lane, part)?,
            other => return Err(self.lowered(other)),
        })
    }

    fn builtin(&mut self, b: Builtin, s: Shape) -> Result<String> {
        let axis = |d: u8| ["x", "y", "z"][usize::from(d.min(2))];
        let text = match b {
            Builtin::GroupId(d) => format!("group_id.{}", axis(d)),
            Builtin::NumGroups(d) => format!("num_groups.{}", axis(d)),
            Builtin::LocalId(d) if self.flat() => {
                let [x, y, _] = self.k.workgroup;
                match d {
                    0 => format!("(local_id.x % {x}u)"),
                    1 => format!("((local_id.x / {x}u) % {y}u)"),
                    _ => format!("(local_id.x / {}u)", x * y),
                }
            }
            Builtin::LocalId(d) => format!("local_id.{}", axis(d)),
            Builtin::SubgroupSize => "subgroup_size".into(),
            Builtin::SubgroupLane => "subgroup_lane".into(),
            Builtin::SubgroupId => "subgroup_number".into(),
            Builtin::LocalSize(d) => format!("{}u", self.k.workgroup[usize::from(d.min(2))]),
            Builtin::GlobalId(_) => return Err(self.lowered(&Op::Builtin(b))),
        };
        if matches!(b, Builtin::SubgroupSize | Builtin::SubgroupLane | Builtin::SubgroupId) {
            self.asks_for_subgroups()?;
        }
        Ok(if s.d == DType::U32 { text } else { format!("{}({text})", self.type_name(s)?) })
    }

    fn asks_for_subgroups(&mut self) -> Result<()> {
        self.subgroups = true;
        match self.target.subgroups {
            true => Ok(()),
            false => Err(self.unsupported("the device has no subgroups")),
        }
    }

    fn unary(&mut self, op: UnaryOp, a: Value, part: usize) -> Result<String> {
        let s = self.shape(self.k.ty(a))?;
        let x = self.t(a, part).to_string();
        let float = s.d.is_float();
        let call = |f: &str| format!("{f}({x})");
        if s.d == DType::F64 && matches!(op, UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Log | UnaryOp::Log2) {
            return Err(self.unsupported(format!("{op:?} of f64 must be lowered by the legaliser")));
        }
        Ok(match op {
            UnaryOp::Neg if float || s.d.is_signed() => format!("(-{x})"),
            UnaryOp::Neg => format!("({} - {x})", self.literal(s, 0)),
            UnaryOp::Abs if float || s.d.is_signed() => call("abs"),
            UnaryOp::Abs => x,
            UnaryOp::Sign => format!("{}({x})", self.helpers.sign(s)),
            UnaryOp::Not if s.d == DType::Bool => format!("(!{x})"),
            UnaryOp::Not => format!("(~{x})"),
            UnaryOp::Floor => call("floor"),
            UnaryOp::Ceil => call("ceil"),
            UnaryOp::Trunc => call("trunc"),
            UnaryOp::Round => call("round"),
            UnaryOp::Sqrt => call("sqrt"),
            // The driver's own may be a quick approximation.
            UnaryOp::Rsqrt => format!("({} / sqrt({x}))", self.one(s)),
            UnaryOp::Recip => format!("({} / {x})", self.one(s)),
            UnaryOp::Exp => call("exp"),
            UnaryOp::Exp2 => call("exp2"),
            UnaryOp::Log => call("log"),
            UnaryOp::Log2 => call("log2"),
            UnaryOp::Sin => call("sin"),
            UnaryOp::Cos => call("cos"),
            UnaryOp::Tan => call("tan"),
            UnaryOp::Tanh => call("tanh"),
            UnaryOp::Erf => return Err(self.unsupported("erf must be lowered by the legaliser")),
            UnaryOp::CountOnes | UnaryOp::LeadingZeros | UnaryOp::TrailingZeros if s.d.size() != 4 => {
                format!("{}({x})", self.helpers.counting(op, s))
            }
            UnaryOp::CountOnes => call("countOneBits"),
            UnaryOp::LeadingZeros => call("countLeadingZeros"),
            UnaryOp::TrailingZeros => call("countTrailingZeros"),
            UnaryOp::IsNan => format!("{}({x})", self.helpers.is_nan(s)),
            UnaryOp::IsInf => format!("{}({x})", self.helpers.is_inf(s)),
        })
    }

    fn one(&mut self, s: Shape) -> String {
        self.literal(s, build::encode_f64(s.d.into(), 1.0))
    }

    fn binary(&mut self, op: BinaryOp, a: Value, b: Value, part: usize) -> Result<String> {
        let s = self.shape(self.k.ty(a))?;
        let (x, y) = (self.t(a, part).to_string(), self.t(b, part).to_string());
        let float = s.d.is_float();
        Ok(match op {
            BinaryOp::Add => format!("({x} + {y})"),
            BinaryOp::Sub => format!("({x} - {y})"),
            BinaryOp::Mul => format!("({x} * {y})"),
            BinaryOp::Div if float => format!("({x} / {y})"),
            BinaryOp::Rem if float => format!("({x} % {y})"),
            BinaryOp::Div => format!("{}({x}, {y})", self.helpers.division(s, false)),
            BinaryOp::Rem => format!("{}({x}, {y})", self.helpers.division(s, true)),
            BinaryOp::Min | BinaryOp::Max if float => {
                format!("{}({x}, {y})", self.helpers.min_max(s, matches!(op, BinaryOp::Max)))
            }
            BinaryOp::Min => format!("min({x}, {y})"),
            BinaryOp::Max => format!("max({x}, {y})"),
            BinaryOp::Pow => format!("pow({x}, {y})"),
            BinaryOp::And => format!("({x} & {y})"),
            BinaryOp::Or => format!("({x} | {y})"),
            BinaryOp::Xor if s.d == DType::Bool => format!("({x} != {y})"),
            BinaryOp::Xor => format!("({x} ^ {y})"),
            BinaryOp::Shl => self.shift("<<", s, &x, &y, b),
            BinaryOp::Shr => self.shift(">>", s, &x, &y, b),
        })
    }

    /// A shift by the amount modulo the width; amounts are u32 whatever is shifted.
    fn shift(&mut self, op: &str, s: Shape, x: &str, y: &str, amount: Value) -> String {
        let (u, width) = (Shape { d: DType::U32, ..s }, s.d.size() as u64 * 8);
        let by = match self.known[amount.at()] {
            Some(n) => self.literal(u, n % width),
            None => {
                let y = if s.d == DType::U32 { y.to_string() } else { format!("{}({y})", super::helpers::name(u)) };
                format!("({y} & {})", self.literal(u, width - 1))
            }
        };
        format!("({x} {op} {by})")
    }

    fn dot4(&mut self, a: Value, b: Value, acc: Value, a_signed: bool, b_signed: bool) -> String {
        let (x, y, acc) = (self.t(a, 0).to_string(), self.t(b, 0).to_string(), self.t(acc, 0).to_string());
        match (a_signed, b_signed) {
            (true, true) => format!("({acc} + dot4I8Packed({x}, {y}))"),
            (false, false) => format!("({acc} + dot4U8Packed({x}, {y}))"),
            _ => {
                let bytes = |x: &str, signed: bool| match signed {
                    true => format!("unpack4xI8({x})"),
                    false => format!("vec4<i32>(unpack4xU8({x}))"),
                };
                format!("({acc} + dot({}, {}))", bytes(&x, a_signed), bytes(&y, b_signed))
            }
        }
    }

    fn subgroup(&mut self, op: SubgroupOp, value: Value, lane: Option<Value>, part: usize) -> Result<String> {
        self.asks_for_subgroups()?;
        let s = self.shape(self.k.ty(value))?;
        // They know neither 16 bits nor bool: more are computed with, and cut.
        let wide = match s.d {
            DType::Bool => Shape { d: DType::U32, ..s },
            DType::I16 => Shape { d: DType::I32, ..s },
            DType::U16 => Shape { d: DType::U32, ..s },
            DType::F16 => Shape { d: DType::F32, ..s },
            _ => s,
        };
        let mut x = self.t(value, part).to_string();
        let back = (wide != s).then(|| super::helpers::name(s));
        if back.is_some() {
            x = format!("{}({x})", super::helpers::name(wide));
        }
        let (of, s) = (s.d, wide);
        let at = lane.map(|l| self.t(l, 0).to_string()).unwrap_or_default();
        let text = match op {
            SubgroupOp::Reduce(ReduceOp::Sum) => format!("subgroupAdd({x})"),
            SubgroupOp::Reduce(ReduceOp::Prod) => format!("subgroupMul({x})"),
            SubgroupOp::Reduce(ReduceOp::And) => format!("subgroupAnd({x})"),
            SubgroupOp::Reduce(ReduceOp::Or) => format!("subgroupOr({x})"),
            SubgroupOp::Reduce(ReduceOp::Xor) => format!("subgroupXor({x})"),
            SubgroupOp::Reduce(op @ (ReduceOp::Min | ReduceOp::Max)) => {
                let f = if op == ReduceOp::Min { "subgroupMin" } else { "subgroupMax" };
                match s.d.is_float() {
                    false => format!("{f}({x})"),
                    // What a NaN does there is not said: a lane that has one makes the sum NaN, all others add 0.
                    true => {
                        let nan = self.helpers.is_nan(s);
                        let zero = self.literal(s, 0);
                        format!("({f}({x}) + subgroupAdd(select({zero}, {x}, {nan}({x}))))")
                    }
                }
            }
            SubgroupOp::Shuffle | SubgroupOp::Broadcast => format!("subgroupShuffle({x}, {at})"),
            SubgroupOp::ShuffleXor => format!("subgroupShuffleXor({x}, {at})"),
            SubgroupOp::ShuffleDown => format!("subgroupShuffleDown({x}, {at})"),
            SubgroupOp::ShuffleUp => format!("subgroupShuffleUp({x}, {at})"),
            SubgroupOp::ScanAdd => format!("subgroupExclusiveAdd({x})"),
        };
        Ok(match back {
            Some(_) if of == DType::Bool => format!("({text} != {})", self.literal(wide, 0)),
            Some(t) => format!("{t}({text})"),
            None => text,
        })
    }
}
