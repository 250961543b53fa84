//! What cases of tensor operations share: operands in every layout with their values on the host, and the judging of what comes back.
//!
//! Nothing here panics for what a device does: a wrong shape, type or number of bytes is a [`Failure`] like a wrong element.

use crate::{Case, Failure, Seen, Subject, subject::dtype};
use anychip::{Element, Error, Result, Tensor, bf16, f16};
use anychip_oracle::{
    Arithmetic, Array, Data, Number, Subnormals, Type,
    sample::{Random, Values, element},
};

/// How a case ends.
pub type Outcome = std::result::Result<(), Failure>;

/// The integer types that level 1 asks for.
pub const INTEGERS: [Type; 4] = [Type::I32, Type::U32, Type::I64, Type::U8];

/// The integer types that a device may lack.
pub const MORE_INTEGERS: [Type; 4] = [Type::I8, Type::I16, Type::U16, Type::U64];

/// f32, which level 1 asks for, and the floats of level 2.
pub const FLOATS: [Type; 3] = [Type::F32, Type::F16, Type::BF16];

/// A type as ids have it.
pub fn name(ty: Type) -> String {
    dtype(ty).to_string()
}

/// A case about an operation on tensors of one type: 16-bit floats belong to level 2, others to level 1; types that few chips have are
/// optional.
pub fn case(
    area: &str,
    op: &str,
    ty: Type,
    shape: &'static str,
    variant: &str,
    run: impl Fn(&mut Trial<'_>) -> Outcome + Send + Sync + 'static,
) -> Case {
    let level = if matches!(ty, Type::F16 | Type::BF16) { "inference" } else { "core" };
    case_of(level, area, op, ty, shape, variant, run)
}

/// The same at a level by name.
pub fn case_of(
    level: &str,
    area: &str,
    op: &str,
    ty: Type,
    shape: &'static str,
    variant: &str,
    run: impl Fn(&mut Trial<'_>) -> Outcome + Send + Sync + 'static,
) -> Case {
    let mut id = format!("{level}/{area}/{op}/{}/{}", name(ty), shape.replace(' ', "-"));
    if !variant.is_empty() {
        id += &format!("/{variant}");
    }
    let case = Case::new(id, op, Some(ty), shape, move |on, random, seen| {
        if ty == Type::F64 {
            on.computes(ty)?;
        }
        match run(&mut Trial { on, r: random, seen }) {
            // Who claims a type does not refuse it.
            Err(Failure::Unsupported(why)) if on.info().support(dtype(ty)).arithmetic => {
                Err(broken(format!("{} claims arithmetic in {}, and refuses: {why}", on.device, name(ty))))
            }
            ended => ended,
        }
    });
    let rare = matches!(ty, Type::I8 | Type::I16 | Type::U16 | Type::U64 | Type::F64);
    if rare { case.optional() } else { case }
}

/// One run of a case: the device, its numbers, its record.
pub struct Trial<'a> {
    /// The device.
    pub on: &'a Subject,
    /// The only source of inputs.
    pub r: &'a mut Random,
    /// What was seen.
    pub seen: &'a mut Seen,
}

/// How an operand lies: what views lead to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row-major without gaps.
    Dense,
    /// Its axes in reverse order.
    Permuted,
    /// Every second element of the last axis of something larger, from the second on.
    Sliced,
    /// The last axis backwards.
    Flipped,
    /// Its first axis repeats one element.
    Expanded,
    /// Rows of something wider, from an odd place on: an offset, and gaps between rows.
    Offset,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 6] =
        [Layout::Dense, Layout::Permuted, Layout::Sliced, Layout::Flipped, Layout::Expanded, Layout::Offset];

    /// As ids have it.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Dense => "dense",
            Layout::Permuted => "permuted",
            Layout::Sliced => "sliced",
            Layout::Flipped => "flipped",
            Layout::Expanded => "expanded",
            Layout::Offset => "offset",
        }
    }
}

/// A tensor and the same values on the host.
#[derive(Clone)]
pub struct Operand {
    /// Its element type.
    pub ty: Type,
    /// On the device.
    pub tensor: Tensor,
    /// On the host.
    pub bits: Array<u64>,
}

impl Operand {
    /// Extents.
    pub fn shape(&self) -> &[usize] {
        &self.bits.shape
    }

    /// The values as the oracle has them.
    pub fn data(&self) -> Data {
        match self.ty.format() {
            Some(_) => Data::Real(self.real()),
            None => Data::Int(self.int()),
        }
    }

    /// Floats.
    pub fn real(&self) -> Array<Number> {
        self.bits.map(|&b| Number::from(self.ty.float_of_bits(b)))
    }

    /// Integers; of bool 0 and 1.
    pub fn int(&self) -> Array<i128> {
        self.bits.map(|&b| self.ty.int_of_bits(b))
    }

    /// An element in words.
    fn show(&self, index: &[usize]) -> Option<String> {
        let own = index.get(index.len().checked_sub(self.bits.rank())?..)?;
        let fits = own.iter().zip(self.shape()).all(|(&i, &n)| n == 1 || i < n);
        let bits = fits.then(|| *self.bits.broadcast_at(own))?;
        Some(match self.ty.format() {
            Some(_) => format!("{:e} ({bits:#x})", self.ty.float_of_bits(bits)),
            None => self.ty.int_of_bits(bits).to_string(),
        })
    }
}

impl Trial<'_> {
    /// What the device declares of the arithmetic in which a type is computed.
    pub fn arithmetic(&self, ty: Type) -> Arithmetic {
        self.on.arithmetic(ty)
    }

    /// The arithmetic for some values: without rounding where partial sums are exact.
    pub fn arithmetic_of(&self, ty: Type, values: Values) -> Arithmetic {
        let a = self.arithmetic(ty);
        if values == Values::Exact { a.without_rounding() } else { a }
    }

    /// A tensor of bits.
    pub fn tensor(&self, ty: Type, bits: &Array<u64>) -> Result<Tensor> {
        let Trial { on, .. } = self;
        fn make<T: Element>(on: &Subject, bits: &Array<u64>, f: impl Fn(u64) -> T) -> Result<Tensor> {
            Tensor::from_vec(bits.data.iter().map(|&b| f(b)).collect(), &bits.shape, &on.device)
        }
        match ty {
            Type::Bool => make(on, bits, |b| b != 0),
            Type::I8 => make(on, bits, |b| b as i8),
            Type::I16 => make(on, bits, |b| b as i16),
            Type::I32 => make(on, bits, |b| b as i32),
            Type::I64 => make(on, bits, |b| b as i64),
            Type::U8 => make(on, bits, |b| b as u8),
            Type::U16 => make(on, bits, |b| b as u16),
            Type::U32 => make(on, bits, |b| b as u32),
            Type::U64 => make(on, bits, |b| b),
            Type::F16 => make(on, bits, |b| f16::from_bits(b as u16)),
            Type::BF16 => make(on, bits, |b| bf16::from_bits(b as u16)),
            Type::F32 => make(on, bits, |b| f32::from_bits(b as u32)),
            Type::F64 => make(on, bits, f64::from_bits),
        }
    }

    /// An operand of bits.
    pub fn operand(&self, ty: Type, bits: Array<u64>) -> Result<Operand> {
        Ok(Operand { ty, tensor: self.tensor(ty, &bits)?, bits })
    }

    /// An operand of floats, each rounded to the type.
    pub fn floats(&self, ty: Type, shape: &[usize], x: impl IntoIterator<Item = f64>) -> Result<Operand> {
        let bits = x.into_iter().map(|x| rounded_bits(ty, x)).collect();
        self.operand(ty, Array::new(shape, bits))
    }

    /// Random values of a shape, dense.
    pub fn dense(&mut self, ty: Type, shape: &[usize], values: Values) -> Result<Operand> {
        let bits = Array::build(shape, |_| element(ty, values, self.r));
        self.operand(ty, bits)
    }

    /// Special values, with zeros for those subnormal numbers that the device does not promise to keep: for what has one right result
    /// only.
    pub fn special(&mut self, ty: Type, shape: &[usize]) -> Result<Operand> {
        let bits = Array::build(shape, |_| element(ty, Values::Special, self.r));
        self.operand(ty, bits.map(|&b| self.kept(ty, b)))
    }

    /// Any bits, with zeros for subnormal numbers as in [`Trial::special`].
    pub fn any_kept(&mut self, ty: Type, shape: &[usize]) -> Result<Operand> {
        let bits = Array::build(shape, |_| element(ty, Values::AnyBits, self.r));
        self.operand(ty, bits.map(|&b| self.kept(ty, b)))
    }

    /// An element's bits, or those of a zero of its sign where the device may take it for one.
    pub fn kept(&self, ty: Type, bits: u64) -> u64 {
        if !ty.is_float() {
            return bits;
        }
        let a = self.arithmetic(ty);
        let x = ty.float_of_bits(bits).abs();
        let small = a.facts.subnormals == Subnormals::MayBeZero && x != 0.0 && x < a.format().min_normal();
        if small { bits & 1 << (8 * ty.bytes() - 1) } else { bits }
    }

    /// Random values of a shape in a layout. A scalar has one layout.
    pub fn laid(&mut self, ty: Type, shape: &[usize], values: Values, layout: Layout) -> Result<Operand> {
        let Some(last) = shape.len().checked_sub(1) else { return self.dense(ty, shape, values) };
        match layout {
            Layout::Dense => self.dense(ty, shape, values),
            Layout::Permuted => {
                let order: Vec<usize> = (0..=last).rev().collect();
                let base: Vec<usize> = shape.iter().rev().copied().collect();
                let x = self.dense(ty, &base, values)?;
                Ok(Operand { ty, tensor: x.tensor.permute(&order[..])?, bits: x.bits.permute(&order) })
            }
            Layout::Sliced => {
                let mut base = shape.to_vec();
                base[last] = 2 * shape[last] + 1;
                let x = self.dense(ty, &base, values)?;
                let tensor = x.tensor.narrow(last as i64, 1, 2 * shape[last])?.step_by(last as i64, 2)?;
                Ok(Operand { ty, tensor, bits: x.bits.slice(last, 1, 2, shape[last]) })
            }
            Layout::Flipped => {
                let x = self.dense(ty, shape, values)?;
                Ok(Operand { ty, tensor: x.tensor.flip(last)?, bits: x.bits.flip(last) })
            }
            Layout::Expanded => {
                let mut base = shape.to_vec();
                base[0] = 1;
                let x = self.dense(ty, &base, values)?;
                Ok(Operand { ty, tensor: x.tensor.expand(shape)?, bits: x.bits.expand(shape) })
            }
            Layout::Offset => {
                let mut base = shape.to_vec();
                base[last] = shape[last] + 4;
                let x = self.dense(ty, &base, values)?;
                let tensor = x.tensor.narrow(last as i64, 3, shape[last])?;
                Ok(Operand { ty, tensor, bits: x.bits.slice(last, 3, 1, shape[last]) })
            }
        }
    }

    /// Judges a result by what the oracle permits.
    pub fn judge(&mut self, got: Result<Tensor>, ty: Type, want: impl Into<Data>, a: &Arithmetic) -> Outcome {
        self.judge_of(got, ty, want, a, &[])
    }

    /// The same; a failure says what the operands of the worst element were. They broadcast to the result.
    pub fn judge_of(
        &mut self,
        got: Result<Tensor>,
        ty: Type,
        want: impl Into<Data>,
        a: &Arithmetic,
        operands: &[&Operand],
    ) -> Outcome {
        self.on.judge_in(&got?, ty, &want.into(), a, self.seen).map_err(|e| with_operands(e, operands))
    }

    /// Judges a result that must be equal bit for bit.
    pub fn same(&mut self, got: Result<Tensor>, ty: Type, want: &Array<u64>) -> Outcome {
        self.same_of(got, ty, want, &[])
    }

    /// The same; a failure says what the operands were.
    pub fn same_of(&mut self, got: Result<Tensor>, ty: Type, want: &Array<u64>, operands: &[&Operand]) -> Outcome {
        self.on.judge_bits(&got?, ty, want, self.seen).map_err(|e| with_operands(e, operands))
    }

    /// A call that must be refused with an error of the caller's, not computed.
    pub fn refused(&mut self, got: Result<Tensor>, what: &str) -> Outcome {
        match got.and_then(|t| t.to_bytes()) {
            Err(Error::InvalidArgument(_) | Error::ShapeMismatch(_) | Error::DTypeMismatch(_)) => Ok(()),
            Err(e) => Err(broken(format!("{what} must be refused as a mistake of the caller, and gave: {e}"))),
            Ok(bytes) => Err(broken(format!("{what} must be refused, and gave {} bytes", bytes.len()))),
        }
    }
}

/// A broken rule.
pub fn broken(why: impl Into<String>) -> Failure {
    Failure::Broken(why.into())
}

/// The bits of a float rounded to a type.
pub fn rounded_bits(ty: Type, x: f64) -> u64 {
    let rounded = ty.format().map_or(x, |f| f.round(anychip_oracle::wide::Wide::from(x)));
    ty.bits_of_float(rounded)
}

fn with_operands(e: Failure, operands: &[&Operand]) -> Failure {
    let Failure::Wrong(mut m) = e else { return e };
    let shown: Vec<String> = operands.iter().filter_map(|o| o.show(&m.index)).collect();
    if !shown.is_empty() {
        m.expected += &format!(" for {}", shown.join(" and "));
    }
    Failure::Wrong(m)
}
