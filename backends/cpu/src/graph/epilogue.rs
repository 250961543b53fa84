//! Elementwise operations on finished rows of a result while they are in cache: each a loop over a row segment.
//!
//! Values are f32; bool is 0 or 1; a conversion to a 16-bit type rounds. Operations that are not here are refused when the graph is
//! prepared, and the planner runs them as kernels.

use super::{Elements, elements, refuse};
use crate::{
    linalg::Tile,
    memory::Slice,
    vmath::{
        self, Level,
        convert::{from_bf16, from_f16, to_bf16, to_f16, widen_bf16, widen_f16},
    },
};
use anychip_hal::{
    DType, Result,
    op::{BinaryOp, CmpOp, Graph, Op, Ref, TensorSpec, UnaryOp},
};
use half::{bf16, f16};
use std::cell::RefCell;

/// Columns of a tile, at most: a register of this length stays in cache, and a thread keeps its registers.
pub(super) const SEGMENT: usize = 4096;

/// Where an operand is: the product, an input, or an earlier operation's register.
#[derive(Clone, Copy, Debug)]
enum From {
    Product,
    Input(usize),
    Register(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Unary(UnaryOp, From),
    Binary(BinaryOp, DType, From, From),
    Compare(CmpOp, From, From),
    Where(From, From, From),
    /// Rounds to a type.
    Cast(DType, From),
    Full(f32),
}

impl Step {
    fn reads_product(&self) -> bool {
        let product = |f: &From| matches!(f, From::Product);
        match self {
            Step::Unary(_, x) | Step::Cast(_, x) => product(x),
            Step::Binary(_, _, x, y) | Step::Compare(_, x, y) => product(x) || product(y),
            Step::Where(c, x, y) => product(c) || product(x) || product(y),
            Step::Full(_) => false,
        }
    }
}

/// The operations behind a product.
pub(super) struct Epilogue {
    level: Level,
    /// Inputs after the product's operands, with their specs over the product's shape.
    inputs: Vec<(usize, TensorSpec)>,
    steps: Vec<Step>,
    result: From,
}

/// Functions that [`unary`] has; the others are written as kernels only.
fn known(op: UnaryOp) -> bool {
    use UnaryOp::*;
    !matches!(
        op,
        Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh | Expm1 | Log1p | Erfc | IsInf | LeadingZeros
    )
}

fn number(d: DType) -> bool {
    matches!(d, DType::F32 | DType::F16 | DType::BF16 | DType::Bool)
}

impl Epilogue {
    pub fn prepare(graph: &Graph, result: usize, level: Level) -> Result<Epilogue> {
        let shape = &graph.nodes[0].shape;
        let mut e = Epilogue { level, inputs: vec![], steps: vec![], result: From::Product };
        // Per node of the graph: where its value is.
        let mut at = vec![From::Product];
        for node in &graph.nodes[1..] {
            if node.shape != *shape {
                return Err(refuse(graph, "an operation behind the product has another shape"));
            }
            if !number(node.dtype) {
                return Err(refuse(graph, format!("an operation behind the product has type {}", node.dtype)));
            }
            let mut from = Vec::with_capacity(node.inputs.len());
            for r in &node.inputs {
                from.push(match *r {
                    Ref::Node(n) => at[n],
                    Ref::Input(i) => {
                        let spec = &graph.inputs[i];
                        if spec.shape != *shape || !number(spec.dtype) {
                            return Err(refuse(
                                graph,
                                "an operand behind the product has another shape, or is no number",
                            ));
                        }
                        let known = e.inputs.iter().position(|(n, _)| *n == i);
                        From::Input(known.unwrap_or_else(|| {
                            e.inputs.push((i, spec.clone()));
                            e.inputs.len() - 1
                        }))
                    }
                });
            }
            let step = match (&node.op, from.as_slice()) {
                (Op::Unary(UnaryOp::Not), _) if node.dtype != DType::Bool => {
                    return Err(refuse(graph, "not of a number behind a product"));
                }
                (Op::Unary(u), _) if !known(*u) => {
                    return Err(refuse(graph, format!("{u:?} behind a product")));
                }
                (Op::Unary(u), [a]) => Step::Unary(*u, *a),
                (Op::Binary(BinaryOp::Shl | BinaryOp::Shr), _) => {
                    return Err(refuse(graph, "a shift behind a product"));
                }
                (Op::Binary(b), [x, y]) => Step::Binary(*b, node.dtype, *x, *y),
                (Op::Compare(c), [x, y]) => Step::Compare(*c, *x, *y),
                (Op::Where, [c, x, y]) => Step::Where(*c, *x, *y),
                (Op::Cast(to), [x]) => Step::Cast(*to, *x),
                (Op::Full(bits), []) => Step::Full(decode(node.dtype, *bits)),
                (other, _) => return Err(refuse(graph, format!("{other:?} behind a product"))),
            };
            e.steps.push(step);
            // Every result of a 16-bit type is rounded to it only where it is stored: the graph's conversions are explicit.
            at.push(From::Register(e.steps.len() - 1));
        }
        e.result = at[result];
        Ok(e)
    }

    /// Operations.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn bind<'a>(&'a self, inputs: &'a [Slice]) -> Result<Bound<'a>> {
        let inputs = self
            .inputs
            .iter()
            .map(|(i, spec)| {
                let data = elements(&inputs[*i], spec.dtype, spec.offset)?;
                Input::new(spec, data)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Bound { of: self, inputs })
    }
}

fn decode(dtype: DType, bits: u64) -> f32 {
    match dtype {
        DType::F16 => f16::from_bits(bits as u16).to_f32(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f32(),
        DType::Bool => (bits != 0) as u8 as f32,
        _ => f32::from_bits(bits as u32),
    }
}

/// An input with its strides as `[outer, inner, row, col]`.
pub(super) struct Input<'a> {
    data: Elements<'a>,
    strides: [usize; 4],
}

impl<'a> Input<'a> {
    pub fn new(spec: &TensorSpec, data: Elements<'a>) -> Result<Input<'a>> {
        let (shape, strides) =
            super::four(spec).ok_or_else(|| anychip_hal::Error::invalid("graph on cpu: rank is not 1 to 4"))?;
        let len = match data {
            Elements::F32(d) => d.len(),
            Elements::F16(d) => d.len(),
            Elements::BF16(d) => d.len(),
            Elements::Bool(d) => d.len(),
        };
        let last: usize = shape.iter().zip(strides).map(|(&n, s)| n.saturating_sub(1) * s).sum();
        if !shape.contains(&0) && last >= len {
            return Err(anychip_hal::Error::invalid(format!(
                "graph on cpu: an operand of shape {shape:?} with strides {strides:?} reaches past its {len} elements"
            )));
        }
        Ok(Input { data, strides })
    }

    /// `n` columns of a row from `col` on, where they lie as f32 one after the other.
    #[inline(always)]
    pub fn in_place(&self, batch: [usize; 2], row: usize, col: usize, n: usize) -> Option<&[f32]> {
        let [so, si, sr, sc] = self.strides;
        match self.data {
            Elements::F32(d) if sc == 1 => {
                let at = batch[0] * so + batch[1] * si + row * sr + col;
                Some(&d[at..at + n])
            }
            _ => None,
        }
    }

    /// Columns `col ..` of a row as f32.
    pub fn read(&self, level: Level, batch: [usize; 2], row: usize, col: usize, to: &mut [f32]) {
        let [so, si, sr, sc] = self.strides;
        let at = batch[0] * so + batch[1] * si + row * sr + col * sc;
        fn copy<T: Copy>(data: &[T], at: usize, step: usize, to: &mut [f32], f: impl Fn(T) -> f32) {
            let n = to.len();
            match step {
                0 => to.fill(f(data[at])),
                1 => to.iter_mut().zip(&data[at..at + n]).for_each(|(y, &x)| *y = f(x)),
                s => to.iter_mut().enumerate().for_each(|(i, y)| *y = f(data[at + i * s])),
            }
        }
        match self.data {
            Elements::F32(d) => copy(d, at, sc, to, |x| x),
            Elements::F16(d) if sc == 1 => widen_f16(level, &d[at..at + to.len()], to),
            Elements::BF16(d) if sc == 1 => widen_bf16(level, &d[at..at + to.len()], to),
            Elements::F16(d) => copy(d, at, sc, to, f16::to_f32),
            Elements::BF16(d) => copy(d, at, sc, to, bf16::to_f32),
            Elements::Bool(d) => copy(d, at, sc, to, |x| (x != 0) as u8 as f32),
        }
    }
}

/// An epilogue with its inputs.
pub(super) struct Bound<'a> {
    of: &'a Epilogue,
    inputs: Vec<Input<'a>>,
}

thread_local! {
    /// Registers, each as long as the widest row segment so far.
    static REGISTERS: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

impl Bound<'_> {
    /// Nothing is done to the product.
    pub fn is_empty(&self) -> bool {
        matches!(self.of.result, From::Product)
    }

    /// Applies the operations to a tile, in place.
    pub fn on_tile(&self, tile: &mut Tile<'_>) {
        if self.is_empty() {
            return;
        }
        let (batch, row0, col0, n) = (tile.batch, tile.row0, tile.col0, tile.cols);
        REGISTERS.with_borrow_mut(|registers| {
            let want = self.inputs.len() + self.of.steps.len();
            if registers.len() < want {
                registers.resize(want, vec![]);
            }
            for r in &mut registers[..want] {
                if r.len() < n {
                    r.resize(n, 0.0);
                }
            }
            // An input that is the same for all rows is read once; one that lies there as it is used is not copied at all.
            let copied = |same: bool| {
                let inputs = self.inputs.iter().enumerate();
                inputs.filter(move |(_, i)| i.in_place([0; 2], 0, 0, 0).is_none() && (i.strides[2] == 0) == same)
            };
            for (i, input) in copied(true) {
                input.read(self.of.level, batch, row0, col0, &mut registers[i][..n]);
            }
            let apply = self.compiled();
            for r in 0..tile.rows {
                for (i, input) in copied(false) {
                    input.read(self.of.level, batch, row0 + r, col0, &mut registers[i][..n]);
                }
                apply(self, (batch, row0 + r, col0), tile.row(r), registers);
            }
        });
    }

    /// [`Bound::row`], compiled for the level.
    fn compiled(&self) -> RowFn {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2(of: &Bound<'_>, place: Place, row: &mut [f32], registers: &mut [Vec<f32>]) {
                of.row(place, row, registers)
            }
            #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512(of: &Bound<'_>, place: Place, row: &mut [f32], registers: &mut [Vec<f32>]) {
                of.row(place, row, registers)
            }
            match self.of.level {
                // SAFETY: the level is available.
                Level::Avx512 if self.of.level.available() => return |b, p, x, r| unsafe { avx512(b, p, x, r) },
                // SAFETY: the level is available.
                Level::Avx2 if self.of.level.available() => return |b, p, x, r| unsafe { avx2(b, p, x, r) },
                _ => {}
            }
        }
        |b, p, x, r| b.row(p, x, r)
    }

    /// One row of a tile. The last operation writes where the result belongs.
    #[inline(always)]
    fn row(&self, (batch, row_index, col): Place, row: &mut [f32], registers: &mut [Vec<f32>]) {
        let n = row.len();
        let (inputs, steps) = (self.inputs.len(), self.of.steps.len());
        for (i, step) in self.of.steps.iter().enumerate() {
            let (before, rest) = registers.split_at_mut(inputs + i);
            let input = |i: usize| self.inputs[i].in_place(batch, row_index, col, n).unwrap_or(&before[i][..n]);
            let last = i + 1 == steps && matches!(self.of.result, From::Register(r) if r == i);
            // A bias or a residual added last, which most epilogues are: in place.
            let added = match step {
                Step::Binary(BinaryOp::Add, _, From::Product, y) | Step::Binary(BinaryOp::Add, _, y, From::Product) => {
                    y
                }
                _ => &From::Product,
            };
            let added = match *added {
                From::Input(y) if last => Some(input(y)),
                From::Register(y) if last => Some(&before[inputs + y][..n]),
                _ => None,
            };
            if let Some(added) = added {
                row.iter_mut().zip(added).for_each(|(x, &y)| *x += y);
                return;
            }
            let here = last && !step.reads_product();
            let (to, product): (&mut [f32], &[f32]) = if here { (&mut *row, &[]) } else { (&mut rest[0][..n], &*row) };
            let at = |f: From| match f {
                From::Product => product,
                From::Input(i) => input(i),
                From::Register(i) => &before[inputs + i][..n],
            };
            match step {
                Step::Unary(op, x) => unary(*op, self.of.level, at(*x), to),
                Step::Binary(op, dtype, x, y) => binary(*op, *dtype, self.of.level, at(*x), at(*y), to),
                Step::Compare(op, x, y) => compare(*op, at(*x), at(*y), to),
                Step::Where(c, x, y) => {
                    let (c, x, y) = (at(*c), at(*x), at(*y));
                    to.iter_mut().enumerate().for_each(|(i, t)| *t = if c[i] != 0.0 { x[i] } else { y[i] });
                }
                Step::Cast(dtype, x) => cast(*dtype, at(*x), to),
                Step::Full(x) => to.fill(*x),
            }
            if here {
                return;
            }
        }
        match self.of.result {
            From::Product => {}
            From::Input(i) => match self.inputs[i].in_place(batch, row_index, col, n) {
                Some(x) => row.copy_from_slice(x),
                None => row.copy_from_slice(&registers[i][..n]),
            },
            From::Register(i) => row.copy_from_slice(&registers[inputs + i][..n]),
        }
    }
}

/// A row's matrix, its number, and the first column of the segment.
type Place = ([usize; 2], usize, usize);
type RowFn = fn(&Bound<'_>, Place, &mut [f32], &mut [Vec<f32>]);

#[inline(always)]
fn cast(dtype: DType, x: &[f32], to: &mut [f32]) {
    match dtype {
        DType::F16 => each(x, to, |x| from_f16(to_f16(x))),
        DType::BF16 => each(x, to, |x| from_bf16(to_bf16(x))),
        DType::Bool => each(x, to, |x| (x != 0.0) as u8 as f32),
        _ => to.copy_from_slice(x),
    }
}

#[inline(always)]
fn each(x: &[f32], to: &mut [f32], f: impl Fn(f32) -> f32) {
    to.iter_mut().zip(x).for_each(|(t, &x)| *t = f(x));
}

#[inline(always)]
fn unary(op: UnaryOp, level: Level, x: &[f32], to: &mut [f32]) {
    use vmath::Unary as V;
    let v = |op: V, to: &mut [f32]| vmath::unary(op, level)(x, to);
    match op {
        UnaryOp::Neg => v(V::Neg, to),
        UnaryOp::Abs => v(V::Abs, to),
        UnaryOp::Floor => v(V::Floor, to),
        UnaryOp::Ceil => v(V::Ceil, to),
        UnaryOp::Trunc => v(V::Trunc, to),
        UnaryOp::Round => v(V::Round, to),
        UnaryOp::Sqrt => v(V::Sqrt, to),
        UnaryOp::Rsqrt => v(V::Rsqrt, to),
        UnaryOp::Recip => v(V::Recip, to),
        UnaryOp::Exp => v(V::Exp, to),
        UnaryOp::Exp2 => v(V::Exp2, to),
        UnaryOp::Log => v(V::Log, to),
        UnaryOp::Log2 => v(V::Log2, to),
        UnaryOp::Sin => v(V::Sin, to),
        UnaryOp::Cos => v(V::Cos, to),
        UnaryOp::Tan => v(V::Tan, to),
        UnaryOp::Tanh => v(V::Tanh, to),
        UnaryOp::Erf => v(V::Erf, to),
        UnaryOp::Sigmoid => v(V::Sigmoid, to),
        UnaryOp::Silu => {
            v(V::Sigmoid, to);
            to.iter_mut().zip(x).for_each(|(t, &x)| *t *= x);
        }
        UnaryOp::Relu => each(x, to, |x| if x < 0.0 { 0.0 } else { x }),
        UnaryOp::Gelu => {
            each(x, to, |x| x * std::f32::consts::FRAC_1_SQRT_2);
            vmath::unary_in_place(V::Erf, level)(to);
            to.iter_mut().zip(x).for_each(|(t, &x)| {
                let h = 0.5 * x;
                *t = h * *t + h;
            });
        }
        UnaryOp::GeluTanh => {
            // x / (1 + e^-2z), as the kernel has it.
            let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
            let (c, a) = (c as f32, (0.044715 * c) as f32);
            each(x, to, |x| x * (a * (x * x) + c));
            vmath::unary_in_place(V::Sigmoid, level)(to);
            to.iter_mut().zip(x).for_each(|(t, &x)| *t *= x);
        }
        UnaryOp::Sign => each(x, to, |x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }),
        UnaryOp::Not => each(x, to, |x| (x == 0.0) as u8 as f32),
        UnaryOp::IsNan => each(x, to, |x| x.is_nan() as u8 as f32),
        // Refused when the graph was prepared.
        UnaryOp::Asin
        | UnaryOp::Acos
        | UnaryOp::Atan
        | UnaryOp::Sinh
        | UnaryOp::Cosh
        | UnaryOp::Asinh
        | UnaryOp::Acosh
        | UnaryOp::Atanh
        | UnaryOp::Expm1
        | UnaryOp::Log1p
        | UnaryOp::Erfc
        | UnaryOp::IsInf
        | UnaryOp::LeadingZeros => to.fill(f32::NAN),
    }
}

#[inline(always)]
fn binary(op: BinaryOp, dtype: DType, level: Level, x: &[f32], y: &[f32], to: &mut [f32]) {
    #[inline(always)]
    fn pairs(x: &[f32], y: &[f32], to: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        to.iter_mut().zip(x).zip(y).for_each(|((t, &x), &y)| *t = f(x, y));
    }
    let bool = dtype == DType::Bool;
    match op {
        BinaryOp::Add => pairs(x, y, to, |x, y| x + y),
        BinaryOp::Sub => pairs(x, y, to, |x, y| x - y),
        BinaryOp::Mul => pairs(x, y, to, |x, y| x * y),
        BinaryOp::Div => pairs(x, y, to, |x, y| x / y),
        BinaryOp::Rem => pairs(x, y, to, |x, y| x % y),
        // A NaN on either side wins.
        BinaryOp::Min if !bool => pairs(x, y, to, |x, y| if x < y || x.is_nan() { x } else { y }),
        BinaryOp::Max if !bool => pairs(x, y, to, |x, y| if x > y || x.is_nan() { x } else { y }),
        BinaryOp::Pow => vmath::binary(vmath::Binary::Pow, level)(x, y, to),
        BinaryOp::And | BinaryOp::Min => pairs(x, y, to, |x, y| ((x != 0.0) & (y != 0.0)) as u8 as f32),
        BinaryOp::Or | BinaryOp::Max => pairs(x, y, to, |x, y| ((x != 0.0) | (y != 0.0)) as u8 as f32),
        BinaryOp::Xor => pairs(x, y, to, |x, y| ((x != 0.0) ^ (y != 0.0)) as u8 as f32),
        // Refused when the graph was prepared.
        BinaryOp::Shl | BinaryOp::Shr => to.fill(f32::NAN),
    }
}

#[inline(always)]
fn compare(op: CmpOp, x: &[f32], y: &[f32], to: &mut [f32]) {
    #[inline(always)]
    fn pairs(x: &[f32], y: &[f32], to: &mut [f32], f: impl Fn(f32, f32) -> bool) {
        to.iter_mut().zip(x).zip(y).for_each(|((t, &x), &y)| *t = f(x, y) as u8 as f32);
    }
    match op {
        CmpOp::Eq => pairs(x, y, to, |x, y| x == y),
        CmpOp::Ne => pairs(x, y, to, |x, y| x != y),
        CmpOp::Lt => pairs(x, y, to, |x, y| x < y),
        CmpOp::Le => pairs(x, y, to, |x, y| x <= y),
        CmpOp::Gt => pairs(x, y, to, |x, y| x > y),
        CmpOp::Ge => pairs(x, y, to, |x, y| x >= y),
    }
}
