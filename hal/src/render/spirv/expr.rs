//! Pure operations on whole values. Arithmetic of integers stands in `int`, conversions in `convert`.

use super::{Parts, Renderer, Shape, asm::id};
use crate::{DType, Result, ir::*};
use rspirv::{
    dr::Operand,
    spirv::{BuiltIn, Capability, Decoration, GlslStd450Op as GLOp, Op as S, PackedVectorFormat, StorageClass, Word},
};

impl Renderer<'_> {
    /// The value of a pure operation with a result of type `ty`.
    pub(super) fn expression(&mut self, op: &Op, out: Value, ty: Type) -> Result<Parts> {
        Ok(match op {
            Op::Const(bits) => {
                let s = self.shape(ty)?;
                vec![self.number(s, *bits)?; s.parts]
            }
            Op::Scalar(p) => vec![self.scalar_param(*p, ty)?],
            Op::Builtin(b) => vec![self.surroundings(*b)?],
            Op::Unary(op, a) => self.each(*a, |r, s, x| r.unary(*op, s, x))?,
            Op::Binary(op, a, b) => self.both(*a, *b, |r, s, x, y| r.binary(*op, s, x, y))?,
            Op::Compare(op, a, b) => self.both(*a, *b, |r, s, x, y| r.compare(*op, s, x, y))?,
            Op::MulAdd(a, b, c) => self.three(*a, *b, *c, |r, s, x, y, z| r.mul_add(s, x, y, z))?,
            Op::Fma(a, b, c) => self.three(*a, *b, *c, |r, s, x, y, z| {
                if !r.t.fma {
                    return Err(r.unsupported("the device does not promise a fused multiply-add"));
                }
                let ty = r.word(s)?;
                r.asm.capability(Capability::FMAKHR);
                r.asm.extension("SPV_KHR_fma", None);
                r.asm.of(S::FmaKHR, ty, &[x, y, z])
            })?,
            Op::Select(c, a, b) => {
                let s = self.shape(ty)?;
                let word = self.word(s)?;
                let (c, a, b) = (self.v(*c), self.v(*a), self.v(*b));
                let mut parts = vec![];
                for i in 0..s.parts {
                    parts.push(self.asm.of(S::Select, word, &[c[i], a[i], b[i]])?);
                }
                parts
            }
            Op::Cast(a) => {
                let to = self.shape(ty)?;
                let from = self.shape_of(*a)?;
                let stored = self.only_stored[out.at()];
                let mut parts = vec![];
                for x in self.v(*a) {
                    parts.push(self.convert(from, to, x, stored)?);
                }
                parts
            }
            Op::Bitcast(a) => {
                let to = self.shape(ty)?;
                let word = self.word(to)?;
                let from = self.shape_of(*a)?;
                let same = self.word(from)? == word;
                let mut parts = vec![];
                for x in self.v(*a) {
                    parts.push(if same { x } else { self.asm.of(S::Bitcast, word, &[x])? });
                }
                parts
            }
            Op::Dot4 { a, b, acc, a_signed, b_signed } => {
                let (x, y, acc) = (self.one(*a)?, self.one(*b)?, self.one(*acc)?);
                vec![self.dot4((x, *a_signed), (y, *b_signed), acc)?]
            }
            Op::Vector(of) => {
                let lanes = of.iter().map(|v| self.one(*v)).collect::<Result<Vec<_>>>()?;
                self.gather(ty, &lanes)?
            }
            Op::Splat(a) => {
                let (s, x) = (self.shape(ty)?, self.one(*a)?);
                let word = self.word(s)?;
                match s.lanes {
                    1 => vec![x],
                    n => vec![self.asm.of(S::CompositeConstruct, word, &vec![x; n as usize])?; s.parts],
                }
            }
            Op::Extract(a, lane) => {
                let s = self.shape_of(*a)?;
                let parts = self.v(*a);
                vec![self.lane(s, &parts, u32::from(*lane))?]
            }
            Op::AssumeMultiple(a, _) => self.v(*a),
            other => {
                let name = format!("{other:?}");
                let name = name.split([' ', '(']).next().unwrap_or("?");
                return Err(self.unsupported(format!("{name} must be lowered by the legaliser")));
            }
        })
    }

    /// Part by part.
    fn each(&mut self, a: Value, f: impl Fn(&mut Self, Shape, Word) -> Result<Word>) -> Result<Parts> {
        let s = self.shape_of(a)?;
        self.v(a).into_iter().map(|x| f(self, s, x)).collect()
    }

    fn both(&mut self, a: Value, b: Value, f: impl Fn(&mut Self, Shape, Word, Word) -> Result<Word>) -> Result<Parts> {
        let s = self.shape_of(a)?;
        let (a, b) = (self.v(a), self.v(b));
        a.into_iter().zip(b).map(|(x, y)| f(self, s, x, y)).collect()
    }

    fn three(
        &mut self,
        a: Value,
        b: Value,
        c: Value,
        f: impl Fn(&mut Self, Shape, Word, Word, Word) -> Result<Word>,
    ) -> Result<Parts> {
        let s = self.shape_of(a)?;
        let (a, b, c) = (self.v(a), self.v(b), self.v(c));
        a.into_iter().zip(b).zip(c).map(|((x, y), z)| f(self, s, x, y, z)).collect()
    }

    /// One lane of a value.
    pub(super) fn lane(&mut self, s: Shape, parts: &Parts, lane: u32) -> Result<Word> {
        if s.lanes == 1 {
            return Ok(parts[0]);
        }
        let elem = self.word(Shape { lanes: 1, parts: 1, ..s })?;
        let part = parts[(lane / s.lanes) as usize];
        self.asm.op(S::CompositeExtract, elem, vec![id(part), Operand::LiteralBit32(lane % s.lanes)])
    }

    /// A value from its lanes.
    pub(super) fn gather(&mut self, ty: Type, lanes: &[Word]) -> Result<Parts> {
        let s = self.shape(ty)?;
        if s.lanes == 1 {
            return Ok(lanes.to_vec());
        }
        let word = self.word(s)?;
        lanes.chunks(s.lanes as usize).map(|part| self.asm.of(S::CompositeConstruct, word, part)).collect()
    }

    /// A constant of this shape from its bits, one part.
    pub(super) fn number(&mut self, s: Shape, bits: u64) -> Result<Word> {
        let ty = self.word(s)?;
        if s.d == DType::Bool {
            let one = self.asm.truth(bits & 1 == 1);
            return Ok(self.asm.splat(ty, one, s.lanes));
        }
        let elem = self.scalar(s.d)?;
        let words = match s.d.size() {
            8 => vec![bits as u32, (bits >> 32) as u32],
            // Narrow signed numbers would be extended; these types have no sign.
            n => vec![bits as u32 & (u32::MAX >> (32 - 8 * n))],
        };
        let one = self.asm.constant(elem, words);
        Ok(self.asm.splat(ty, one, s.lanes))
    }

    /// A float constant of this shape.
    pub(super) fn float(&mut self, s: Shape, x: f64) -> Result<Word> {
        self.number(s, build::encode_f64(s.d.into(), x))
    }

    /// The bool type with as many lanes.
    pub(super) fn mask(&mut self, s: Shape) -> Word {
        let bool = self.asm.bool();
        self.asm.vector(bool, s.lanes)
    }

    /// A scalar parameter out of the words of the push constants.
    fn scalar_param(&mut self, p: ParamId, ty: Type) -> Result<Word> {
        let slot = self.slots.get(&p).copied();
        let (Some(slot), Some(block)) = (slot, self.push) else {
            return Err(self.unsupported(format!("parameter {} is no scalar", self.k.params[p.at()].name)));
        };
        let s = self.shape(ty)?;
        let low = self.push_word(block, slot.offset / 4)?;
        if s.d.size() == 8 {
            let high = self.push_word(block, slot.offset / 4 + 1)?;
            let u32 = self.asm.int(32);
            let pair = self.asm.vector(u32, 2);
            let pair = self.asm.of(S::CompositeConstruct, pair, &[low, high])?;
            let word = self.word(s)?;
            return self.asm.of(S::Bitcast, word, &[pair]);
        }
        let u32 = self.asm.int(32);
        let mut bits = low;
        if slot.offset % 4 > 0 {
            let by = self.asm.u32(8 * (slot.offset % 4));
            bits = self.asm.of(S::ShiftRightLogical, u32, &[bits, by])?;
        }
        let word = self.word(s)?;
        match (s.d, s.d.size()) {
            (DType::Bool, _) => {
                let (mask, zero) = (self.asm.u32(0xff), self.asm.u32(0));
                let byte = self.asm.of(S::BitwiseAnd, u32, &[bits, mask])?;
                self.asm.of(S::INotEqual, word, &[byte, zero])
            }
            (d, 4) if d.is_int() => Ok(bits),
            (_, 4) => self.asm.of(S::Bitcast, word, &[bits]),
            (d, _) if d.is_int() => self.asm.of(S::UConvert, word, &[bits]),
            (_, n) => {
                // A 16-bit float by way of the integer of its width.
                let code = Shape { d: if n == 1 { DType::U8 } else { DType::U16 }, ..s };
                let code = self.word(code)?;
                let bits = self.asm.of(S::UConvert, code, &[bits])?;
                self.asm.of(S::Bitcast, word, &[bits])
            }
        }
    }

    fn push_word(&mut self, block: Word, n: u32) -> Result<Word> {
        let u32 = self.asm.int(32);
        let n = self.asm.u32(n);
        let at = self.asm.chain(StorageClass::PushConstant, u32, block, &[n])?;
        self.asm.load(u32, at)
    }

    fn surroundings(&mut self, b: Builtin) -> Result<Word> {
        let dimension = |r: &mut Self, b: BuiltIn, d: u8| {
            let all = r.builtin(b, 3)?;
            let u32 = r.asm.int(32);
            r.asm.op(S::CompositeExtract, u32, vec![id(all), Operand::LiteralBit32(u32::from(d))])
        };
        let index = |r: &mut Self, x: Word| match r.k.idx_bits {
            32 => Ok(x),
            _ => {
                let s = Shape { d: DType::U64, lanes: 1, parts: 1 };
                let word = r.word(s)?;
                r.asm.of(S::UConvert, word, &[x])
            }
        };
        match b {
            Builtin::GroupId(d) => {
                let x = dimension(self, BuiltIn::WorkgroupId, d)?;
                index(self, x)
            }
            Builtin::NumGroups(d) => {
                let x = dimension(self, BuiltIn::NumWorkgroups, d)?;
                index(self, x)
            }
            Builtin::GlobalId(d) => {
                let x = dimension(self, BuiltIn::GlobalInvocationId, d)?;
                index(self, x)
            }
            Builtin::LocalId(d) => dimension(self, BuiltIn::LocalInvocationId, d),
            Builtin::LocalSize(d) => Ok(self.asm.u32(self.k.workgroup[usize::from(d)])),
            Builtin::SubgroupSize => self.of_subgroup(BuiltIn::SubgroupSize),
            Builtin::SubgroupLane => self.of_subgroup(BuiltIn::SubgroupLocalInvocationId),
            Builtin::SubgroupId => self.of_subgroup(BuiltIn::SubgroupId),
        }
    }

    fn of_subgroup(&mut self, b: BuiltIn) -> Result<Word> {
        if !self.t.subgroup {
            return Err(
                self.unsupported(format!("the device has no subgroups, {b:?} must be lowered by the legaliser"))
            );
        }
        self.asm.capability(Capability::GroupNonUniform);
        self.builtin(b, 1)
    }

    fn unary(&mut self, op: UnaryOp, s: Shape, x: Word) -> Result<Word> {
        let ty = self.word(s)?;
        let float = s.d.is_float();
        let builtin = |r: &mut Self, f: GLOp| {
            use GLOp::{Ceil, FAbs, Floor, InverseSqrt, RoundEven, Sqrt, Trunc};
            if s.d == DType::F64 && !matches!(f, FAbs | Floor | Ceil | Trunc | RoundEven | Sqrt | InverseSqrt) {
                return Err(r.unsupported(format!("{op:?} of f64 must be lowered by the legaliser")));
            }
            r.asm.glsl(f, ty, &[x])
        };
        let whole = |r: &mut Self, f: GLOp| {
            if s.d == DType::F64 && r.t.doubles_by_parts && matches!(f, GLOp::Trunc | GLOp::RoundEven) {
                return r.whole_double(s, f, x);
            }
            let y = builtin(r, f)?;
            // llvmpipe rounds a double -0 to 0 where its vectors have 512 bits.
            if s.d == DType::F64 { r.signed_as(s, y, x) } else { Ok(y) }
        };
        match op {
            UnaryOp::Neg if float => self.asm.of(S::FNegate, ty, &[x]),
            UnaryOp::Neg => self.asm.of(S::SNegate, ty, &[x]),
            UnaryOp::Abs if float => builtin(self, GLOp::FAbs),
            UnaryOp::Abs if s.d.is_signed() => {
                // MIN stays MIN: a difference wraps.
                let zero = self.number(s, 0)?;
                let mask = self.mask(s);
                let minus = self.asm.of(S::SNegate, ty, &[x])?;
                let below = self.asm.of(S::SLessThan, mask, &[x, zero])?;
                self.asm.of(S::Select, ty, &[below, minus, x])
            }
            UnaryOp::Abs => Ok(x),
            UnaryOp::Sign => self.sign(s, x),
            UnaryOp::Not if s.d == DType::Bool => self.asm.of(S::LogicalNot, ty, &[x]),
            UnaryOp::Not => self.asm.of(S::Not, ty, &[x]),
            UnaryOp::Floor => whole(self, GLOp::Floor),
            UnaryOp::Ceil => whole(self, GLOp::Ceil),
            UnaryOp::Trunc => whole(self, GLOp::Trunc),
            UnaryOp::Round => whole(self, GLOp::RoundEven),
            UnaryOp::Sqrt => builtin(self, GLOp::Sqrt),
            // One over the root: the instruction of that name may be two units off, and some drivers' are estimates.
            UnaryOp::Rsqrt => {
                let root = builtin(self, GLOp::Sqrt)?;
                let one = self.float(s, 1.0)?;
                self.asm.of(S::FDiv, ty, &[one, root])
            }
            UnaryOp::Recip => {
                let one = self.float(s, 1.0)?;
                self.asm.of(S::FDiv, ty, &[one, x])
            }
            UnaryOp::Exp => builtin(self, GLOp::Exp),
            UnaryOp::Exp2 => builtin(self, GLOp::Exp2),
            UnaryOp::Log => builtin(self, GLOp::Log),
            UnaryOp::Log2 => builtin(self, GLOp::Log2),
            UnaryOp::Sin => builtin(self, GLOp::Sin),
            UnaryOp::Cos => builtin(self, GLOp::Cos),
            UnaryOp::Tan => builtin(self, GLOp::Tan),
            UnaryOp::Tanh => builtin(self, GLOp::Tanh),
            UnaryOp::Erf => Err(self.unsupported("erf must be lowered by the legaliser")),
            UnaryOp::CountOnes | UnaryOp::LeadingZeros | UnaryOp::TrailingZeros => self.count_bits(op, s, x),
            UnaryOp::IsNan => self.is_nan(s, x),
            UnaryOp::IsInf => {
                let (bits, inf) = self.magnitude(s, x)?;
                let mask = self.mask(s);
                self.asm.of(S::IEqual, mask, &[bits, inf])
            }
        }
    }

    /// A double without its fraction: its magnitude rounded down; or to the nearest whole number, even in the middle: adding 2^52 and
    /// taking it away again does that to what is smaller, and what is larger is whole. NaN stays.
    fn whole_double(&mut self, s: Shape, way: GLOp, x: Word) -> Result<Word> {
        let (ty, mask, edge) = (self.word(s)?, self.mask(s), self.float(s, 2f64.powi(52))?);
        let size = self.asm.glsl(GLOp::FAbs, ty, &[x])?;
        if way == GLOp::Trunc {
            let whole = self.asm.glsl(GLOp::Floor, ty, &[size])?;
            return self.signed_as(s, whole, x);
        }
        let mut exact = |op: S, of: &[Word]| {
            let y = self.asm.of(op, ty, of)?;
            self.asm.decorate(y, Decoration::NoContraction, vec![]);
            Ok::<Word, crate::Error>(y)
        };
        let moved = exact(S::FAdd, &[size, edge])?;
        let whole = exact(S::FSub, &[moved, edge])?;
        let fraction = self.asm.of(S::FOrdLessThan, mask, &[size, edge])?;
        let whole = self.signed_as(s, whole, x)?;
        self.asm.of(S::Select, ty, &[fraction, whole, x])
    }

    /// Integers as wide as floats, and the bits of infinity.
    fn code(&self, s: Shape) -> Result<(Shape, u64)> {
        let (code, infinity) = match s.d {
            DType::F64 => (DType::U64, 0x7ff0_0000_0000_0000),
            DType::F32 => (DType::U32, 0x7f80_0000),
            DType::F16 => (DType::U16, 0x7c00),
            d => return Err(self.unsupported(format!("{d} is no float with a NaN and an infinity"))),
        };
        Ok((Shape { d: code, ..s }, infinity))
    }

    /// The bits of a float without its sign, and those of infinity: what no compiler's liberties with NaN touch.
    fn magnitude(&mut self, s: Shape, x: Word) -> Result<(Word, Word)> {
        let (code, infinity) = self.code(s)?;
        let word = self.word(code)?;
        let bits = self.asm.of(S::Bitcast, word, &[x])?;
        let all = self.number(code, u64::MAX >> (65 - 8 * s.d.size()))?;
        let bits = self.asm.of(S::BitwiseAnd, word, &[bits, all])?;
        Ok((bits, self.number(code, infinity)?))
    }

    /// `y` with the sign of `x`.
    fn signed_as(&mut self, s: Shape, y: Word, x: Word) -> Result<Word> {
        let (ty, code) = (self.word(s)?, self.code(s)?.0);
        let word = self.word(code)?;
        let (size, _) = self.magnitude(s, y)?;
        let (of_x, _) = self.magnitude(s, x)?;
        let bits = self.asm.of(S::Bitcast, word, &[x])?;
        let sign = self.asm.of(S::BitwiseXor, word, &[bits, of_x])?;
        let bits = self.asm.of(S::BitwiseOr, word, &[size, sign])?;
        self.asm.of(S::Bitcast, ty, &[bits])
    }

    pub(super) fn is_nan(&mut self, s: Shape, x: Word) -> Result<Word> {
        let (bits, infinity) = self.magnitude(s, x)?;
        let mask = self.mask(s);
        self.asm.of(S::UGreaterThan, mask, &[bits, infinity])
    }

    /// -1, 0 or 1; zeros and NaN stay.
    fn sign(&mut self, s: Shape, x: Word) -> Result<Word> {
        let (ty, mask) = (self.word(s)?, self.mask(s));
        let (zero, one) = if s.d.is_float() {
            (self.float(s, 0.0)?, self.float(s, 1.0)?)
        } else {
            (self.number(s, 0)?, self.number(s, 1)?)
        };
        let minus = if s.d.is_float() { self.float(s, -1.0)? } else { self.number(s, u64::MAX)? };
        let (above, below) = match (s.d.is_float(), s.d.is_signed()) {
            (true, _) => (S::FOrdGreaterThan, Some(S::FOrdLessThan)),
            (false, true) => (S::SGreaterThan, Some(S::SLessThan)),
            (false, false) => (S::INotEqual, None),
        };
        let mut rest = x;
        if let Some(below) = below {
            let is = self.asm.of(below, mask, &[x, zero])?;
            rest = self.asm.of(S::Select, ty, &[is, minus, x])?;
        }
        let is = self.asm.of(above, mask, &[x, zero])?;
        self.asm.of(S::Select, ty, &[is, one, rest])
    }

    /// `x − x`, `x · 0`, `0 / x` and `x / 0` with a zero that is known: infinities and NaN among the numbers decide, by
    /// their bits. Compilers fold these to 0 or to anything, whatever a module declares (llvmpipe).
    fn of_zero(&mut self, op: BinaryOp, s: Shape, x: Word, y: Word) -> Result<Option<Word>> {
        let null = self.number(s, 0)?;
        let of = match op {
            BinaryOp::Sub if x == y => x,
            BinaryOp::Mul if x == null => y,
            BinaryOp::Mul | BinaryOp::Div if y == null => x,
            BinaryOp::Div if x == null => y,
            _ => return Ok(None),
        };
        let (ty, mask) = (self.word(s)?, self.mask(s));
        let (size, infinity) = self.magnitude(s, of)?;
        let (code, _) = self.code(s)?;
        let (code_ty, zero) = (self.word(code)?, self.number(code, 0)?);
        let bits = self.asm.of(S::Bitcast, code_ty, &[of])?;
        let sign = self.asm.of(S::BitwiseXor, code_ty, &[bits, size])?;
        let by_zero = op == BinaryOp::Div && y == null;
        let finite = match (op, by_zero) {
            (BinaryOp::Sub, _) => zero,
            (_, true) => self.asm.of(S::BitwiseOr, code_ty, &[sign, infinity])?,
            (_, false) => sign,
        };
        // 0/0 and NaN/0; NaN/0 and 0·∞; NaN − NaN and ∞ − ∞.
        let wrong = match op {
            BinaryOp::Div => {
                let nothing = self.asm.of(S::IEqual, mask, &[size, zero])?;
                let nan = self.asm.of(S::UGreaterThan, mask, &[size, infinity])?;
                self.asm.of(S::LogicalOr, mask, &[nothing, nan])?
            }
            _ => self.asm.of(S::UGreaterThanEqual, mask, &[size, infinity])?,
        };
        let nan = self.float(s, f64::NAN)?;
        let finite = self.asm.of(S::Bitcast, ty, &[finite])?;
        Ok(Some(self.asm.of(S::Select, ty, &[wrong, nan, finite])?))
    }

    /// A sum, difference or product that must not become part of a fused one.
    fn alone(&mut self, op: S, ty: Word, x: Word, y: Word) -> Result<Word> {
        let w = self.asm.of(op, ty, &[x, y])?;
        self.asm.decorate(w, Decoration::NoContraction, vec![]);
        Ok(w)
    }

    fn binary(&mut self, op: BinaryOp, s: Shape, x: Word, y: Word) -> Result<Word> {
        let ty = self.word(s)?;
        if !s.d.is_float() {
            return self.integer(op, s, x, y);
        }
        match op {
            BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div if let Some(known) = self.of_zero(op, s, x, y)? => Ok(known),
            BinaryOp::Add => self.alone(S::FAdd, ty, x, y),
            BinaryOp::Sub => self.alone(S::FSub, ty, x, y),
            BinaryOp::Mul => self.alone(S::FMul, ty, x, y),
            BinaryOp::Div => self.alone(S::FDiv, ty, x, y),
            BinaryOp::Rem => self.asm.of(S::FRem, ty, &[x, y]),
            BinaryOp::Min | BinaryOp::Max => {
                let mask = self.mask(s);
                let less = if op == BinaryOp::Min { S::FOrdLessThan } else { S::FOrdGreaterThan };
                let first = self.asm.of(less, mask, &[x, y])?;
                let nan = self.is_nan(s, x)?;
                let first = self.asm.of(S::LogicalOr, mask, &[first, nan])?;
                self.asm.of(S::Select, ty, &[first, x, y])
            }
            BinaryOp::Pow if s.d == DType::F64 => Err(self.unsupported("pow of f64 must be lowered by the legaliser")),
            BinaryOp::Pow => self.asm.glsl(GLOp::Pow, ty, &[x, y]),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr => {
                Err(self.unsupported(format!("{op:?} of {}: bits of integers and bool only", s.d)))
            }
        }
    }

    fn compare(&mut self, op: CmpOp, s: Shape, x: Word, y: Word) -> Result<Word> {
        let mask = self.mask(s);
        let kind = match (s.d == DType::Bool, s.d.is_float(), s.d.is_signed()) {
            (true, ..) => 3,
            (_, true, _) => 0,
            (_, _, true) => 1,
            _ => 2,
        };
        // By kind: float, signed, unsigned, bool (false below true).
        let op = match op {
            CmpOp::Eq => [S::FOrdEqual, S::IEqual, S::IEqual, S::LogicalEqual][kind],
            CmpOp::Ne => [S::FUnordNotEqual, S::INotEqual, S::INotEqual, S::LogicalNotEqual][kind],
            CmpOp::Lt => [S::FOrdLessThan, S::SLessThan, S::ULessThan, S::Nop][kind],
            CmpOp::Le => [S::FOrdLessThanEqual, S::SLessThanEqual, S::ULessThanEqual, S::Nop][kind],
            CmpOp::Gt => [S::FOrdGreaterThan, S::SGreaterThan, S::UGreaterThan, S::Nop][kind],
            CmpOp::Ge => [S::FOrdGreaterThanEqual, S::SGreaterThanEqual, S::UGreaterThanEqual, S::Nop][kind],
        };
        if op != S::Nop {
            return self.asm.of(op, mask, &[x, y]);
        }
        Err(self.unsupported("bool has no order"))
    }

    fn mul_add(&mut self, s: Shape, x: Word, y: Word, z: Word) -> Result<Word> {
        let ty = self.word(s)?;
        if s.d.is_float() {
            return self.asm.glsl(GLOp::Fma, ty, &[x, y, z]);
        }
        let product = self.asm.of(S::IMul, ty, &[x, y])?;
        self.asm.of(S::IAdd, ty, &[product, z])
    }

    /// Σ aᵢ·bᵢ of the bytes of two words, and a sum that wraps.
    fn dot4(&mut self, (a, a_signed): (Word, bool), (b, b_signed): (Word, bool), acc: Word) -> Result<Word> {
        if !self.t.dot4 {
            return Err(self.unsupported("packed products must be lowered by the legaliser"));
        }
        self.asm.capability(Capability::DotProduct);
        self.asm.capability(Capability::DotProductInput4x8BitPacked);
        self.asm.extension("SPV_KHR_integer_dot_product", Some((1, 6)));
        let u32 = self.asm.int(32);
        let (op, a, b) = match (a_signed, b_signed) {
            (true, true) => (S::SDot, a, b),
            (false, false) => (S::UDot, a, b),
            // The signed operand stands first.
            (true, false) => (S::SUDot, a, b),
            (false, true) => (S::SUDot, b, a),
        };
        let format = Operand::PackedVectorFormat(PackedVectorFormat::PackedVectorFormat4x8Bit);
        let dot = self.asm.op(op, u32, vec![id(a), id(b), format])?;
        self.asm.of(S::IAdd, u32, &[dot, acc])
    }
}
