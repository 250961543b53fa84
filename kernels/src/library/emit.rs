//! Turns a fused expression into operations of the kernel language.
//!
//! 16-bit floats are computed in f32 and rounded where they are stored or where the graph converts explicitly.

use super::{
    body::{Body, Expr, Id, Map},
    functions, random,
};
use anychip_hal::{
    DType,
    device::ScalarArg,
    ir::{Access, BinaryOp, Builder, CmpOp, Elem, ParamId, ParamKind, Place, Type, UnaryOp as Ir, Value},
    op::UnaryOp,
};

/// The type in which a tensor type is computed.
pub fn compute_type(d: DType) -> DType {
    match d {
        DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => DType::F32,
        other => other,
    }
}

/// A kernel under construction together with the arguments that its launch will pass.
pub struct Maker {
    /// The builder.
    pub b: Builder,
    /// Scalars, in the order of their declaration.
    pub scalars: Vec<ScalarArg>,
    /// Neighbours that a lane takes as one aligned vector: strides are promised to be multiples of it where they are, and
    /// buffers to begin there.
    pub own: u8,
}

impl Maker {
    /// Begins a kernel with a linear workgroup.
    pub fn new(name: &str, lanes: u32) -> Maker {
        Maker { b: Builder::new(name, [lanes, 1, 1]), scalars: vec![], own: 1 }
    }

    /// [`Maker::new`] of a kernel whose lanes take `own` neighbours each.
    pub fn owning(name: &str, lanes: u32, own: u8) -> Maker {
        Maker { own, ..Maker::new(name, lanes) }
    }

    /// A buffer.
    pub fn buffer(&mut self, name: &str, elem: DType, access: Access) -> ParamId {
        let align = u32::from(self.own.max(1));
        self.b.param(name, ParamKind::Buffer { elem, access, align })
    }

    /// A stride or an offset: promised to be the multiple that it is, as far as that matters.
    pub fn stride(&mut self, name: &str, n: usize) -> Value {
        let v = self.extent(name, n);
        match (1u32 << n.trailing_zeros().min(31)).min(u32::from(self.own.max(1))) {
            1 => v,
            n => self.b.assume_multiple(v, n),
        }
    }

    /// An extent or stride: a scalar of the launch.
    pub fn extent(&mut self, name: &str, n: usize) -> Value {
        self.scalars.push(ScalarArg::Idx(n as u64));
        self.b.scalar(name, Elem::Idx)
    }

    /// A float parameter.
    pub fn float(&mut self, name: &str, x: f32) -> Value {
        self.scalars.push(ScalarArg::F32(x));
        self.b.scalar(name, DType::F32)
    }

    /// A word of 32 bits.
    pub fn word(&mut self, name: &str, x: u32) -> Value {
        self.scalars.push(ScalarArg::U32(x));
        self.b.scalar(name, DType::U32)
    }

    /// Splits a linear index into coordinates of an index space, given the values of its extents: the last is fastest.
    pub fn split(&mut self, linear: Value, dims: &[Value]) -> Vec<Value> {
        Maker::split_in(&mut self.b, linear, dims)
    }

    /// [`Maker::split`] where only the builder is at hand.
    pub fn split_in(b: &mut Builder, linear: Value, dims: &[Value]) -> Vec<Value> {
        let mut rest = linear;
        let mut coords = vec![linear; dims.len()];
        for i in (1..dims.len()).rev() {
            coords[i] = b.binary(BinaryOp::Rem, rest, dims[i]);
            rest = b.binary(BinaryOp::Div, rest, dims[i]);
        }
        if let Some(first) = coords.first_mut() {
            *first = rest;
        }
        coords
    }
}

/// A stride as the kernel knows it.
#[derive(Clone, Copy)]
enum Stride {
    Zero,
    One,
    Up(Value),
    Down(Value),
}

/// A map as the kernel knows it.
pub struct MapArgs {
    offset: Option<Value>,
    strides: Vec<Stride>,
}

impl MapArgs {
    /// Declares the scalars of a map.
    pub fn declare(m: &mut Maker, name: &str, map: &Map) -> MapArgs {
        let offset = (map.offset != 0).then(|| m.stride(&format!("{name}_at"), map.offset as usize));
        let strides = map
            .strides
            .iter()
            .enumerate()
            .map(|(axis, &s)| match s {
                0 => Stride::Zero,
                1 => Stride::One,
                s if s > 0 => Stride::Up(m.stride(&format!("{name}_s{axis}"), s as usize)),
                s => Stride::Down(m.stride(&format!("{name}_s{axis}"), s.unsigned_abs())),
            })
            .collect();
        MapArgs { offset, strides }
    }

    /// The index at the coordinates of axes `first..`, added to `base`. `None`: zero.
    pub fn index(&self, b: &mut Builder, base: Option<Value>, first: usize, coords: &[Value]) -> Option<Value> {
        let mut sum = base;
        for (s, &c) in self.strides[first..].iter().zip(coords) {
            let term = match *s {
                Stride::Zero => continue,
                Stride::One => c,
                Stride::Up(s) | Stride::Down(s) => b.mul(c, s),
            };
            sum = Some(match (sum, s) {
                (None, Stride::Down(_)) => {
                    let zero = b.idx(0);
                    b.sub(zero, term)
                }
                (None, _) => term,
                (Some(at), Stride::Down(_)) => b.sub(at, term),
                (Some(at), _) => b.add(at, term),
            });
        }
        sum
    }

    /// Whether the index is the same along an axis.
    pub fn repeats(&self, axis: usize) -> bool {
        matches!(self.strides[axis], Stride::Zero)
    }

    /// Whether neighbours along an axis lie side by side.
    pub fn is_unit(&self, axis: usize) -> bool {
        matches!(self.strides[axis], Stride::One)
    }

    /// The index `by` steps further along an axis.
    pub fn step(&self, b: &mut Builder, at: Value, axis: usize, by: u64) -> Value {
        if by == 0 {
            return at;
        }
        let by = b.idx(by);
        match self.strides[axis] {
            Stride::Zero => at,
            Stride::One => b.add(at, by),
            Stride::Up(s) => {
                let far = b.mul(s, by);
                b.add(at, far)
            }
            Stride::Down(s) => {
                let far = b.mul(s, by);
                b.sub(at, far)
            }
        }
    }

    /// The offset scalar, the start of every index.
    pub fn origin(&self) -> Option<Value> {
        self.offset
    }
}

/// Neighbours along an axis of the space that are computed together, as one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Along {
    /// The axis.
    pub axis: usize,
    /// Lanes of the vector: 2, 4, 8, 16.
    pub width: u8,
}

/// The widest vector up to `most` lanes in which the expressions up to `roots` can be computed along an axis: 1 when they hold
/// types that vectors are not made of, or a gather whose row changes along the axis.
pub fn vector_width(body: &Body, roots: &[Id], axis: usize, most: u8) -> u8 {
    let mut needed = vec![false; body.exprs.len()];
    roots.iter().for_each(|&r| needed[r] = true);
    for i in (0..body.exprs.len()).rev() {
        if needed[i] {
            operands(&body.exprs[i].0).into_iter().for_each(|o| needed[o] = true);
        }
    }
    let varies = varying(body, axis);
    let takes = |d: DType| matches!(compute_type(d), DType::F32 | DType::I32 | DType::U32 | DType::Bool);
    let fits = body.exprs.iter().enumerate().filter(|(i, _)| needed[*i] && varies[*i]).all(|(_, (e, d))| match e {
        Expr::Gather { id, .. } => takes(*d) && !varies[*id],
        // A loop over the bits of one exponent.
        Expr::Binary(BinaryOp::Pow, ..) if !d.is_float() => false,
        _ => takes(*d),
    });
    if fits { most } else { 1 }
}

/// Per expression: whether its value changes along an axis.
fn varying(body: &Body, axis: usize) -> Vec<bool> {
    let moves = |map: &usize| body.maps[*map].strides[axis] != 0;
    let mut varies: Vec<bool> = Vec::with_capacity(body.exprs.len());
    for (e, _) in &body.exprs {
        let own = match e {
            Expr::Read { map, .. } | Expr::Index(map) | Expr::Gather { map, .. } => moves(map),
            Expr::Anchor => true,
            _ => false,
        };
        varies.push(own || operands(e).into_iter().any(|o| varies[o]));
    }
    varies
}

/// A body's parameters, declared, and its indices as far as outer coordinates fix them.
pub struct Emit<'a> {
    body: &'a Body,
    slots: Vec<ParamId>,
    maps: Vec<MapArgs>,
    gathers: Vec<Option<(Value, Value)>>,
    bases: Vec<Option<Value>>,
    outer: usize,
}

impl<'a> Emit<'a> {
    /// Declares the buffers and scalars of a body.
    pub fn declare(m: &mut Maker, body: &'a Body) -> Emit<'a> {
        let slots = (0..body.slots.len()).map(|i| m.buffer(&format!("in{i}"), body.slots[i], Access::Read)).collect();
        let maps: Vec<_> =
            body.maps.iter().enumerate().map(|(i, map)| MapArgs::declare(m, &format!("m{i}"), map)).collect();
        let gathers = body
            .exprs
            .iter()
            .enumerate()
            .map(|(i, (e, _))| match *e {
                Expr::Gather { rows, row_stride, .. } => {
                    let rows = m.extent(&format!("rows{i}"), rows);
                    Some((rows, m.stride(&format!("row{i}"), row_stride.unsigned_abs())))
                }
                _ => None,
            })
            .collect();
        let bases = maps.iter().map(MapArgs::origin).collect();
        Emit { body, slots, maps, gathers, bases, outer: 0 }
    }

    /// Fixes the first axes of the space: their part of every index is computed here, once.
    pub fn fix(&mut self, b: &mut Builder, coords: &[Value]) {
        for (base, map) in self.bases.iter_mut().zip(&self.maps) {
            *base = map.index(b, *base, self.outer, &coords[..coords.len().min(map.strides.len() - self.outer)]);
        }
        self.outer += coords.len();
    }

    /// A copy that can be fixed further, for a loop within.
    pub fn inner(&self) -> Emit<'a> {
        Emit {
            body: self.body,
            slots: self.slots.clone(),
            maps: self.maps.iter().map(|m| MapArgs { offset: m.offset, strides: m.strides.clone() }).collect(),
            gathers: self.gathers.clone(),
            bases: self.bases.clone(),
            outer: self.outer,
        }
    }

    /// Computes the expression `root` at the remaining coordinates; its type is [`compute_type`] of the tensor's.
    pub fn eval(&self, b: &mut Builder, root: Id, coords: &[Value], anchor: Option<Value>) -> Value {
        self.eval_along(b, root, coords, anchor, None)
    }

    /// [`Emit::eval`] of neighbours along an axis, from the coordinates on: a vector, or a scalar where all are the same.
    pub fn eval_along(
        &self,
        b: &mut Builder,
        root: Id,
        coords: &[Value],
        anchor: Option<Value>,
        along: Option<Along>,
    ) -> Value {
        let mut done: Vec<Option<Value>> = vec![None; self.body.exprs.len()];
        let mut indices: Vec<Option<Value>> = vec![None; self.maps.len()];
        // Only what the root needs, in order.
        let mut needed = vec![false; self.body.exprs.len()];
        needed[root] = true;
        for i in (0..=root).rev() {
            if needed[i] {
                operands(&self.body.exprs[i].0).into_iter().for_each(|o| needed[o] = true);
            }
        }
        for i in (0..=root).filter(|&i| needed[i]) {
            let (expr, dtype) = &self.body.exprs[i];
            let value = |id: &Id| done[*id].expect("expressions come before their users");
            let v = match expr {
                Expr::Read { slot, map } => {
                    let at = self.at(b, &mut indices, *map, coords);
                    let v = self.read(b, *slot, &self.maps[*map], at, along);
                    b.cast(compute_type(*dtype), v)
                }
                Expr::Gather { slot, id, map, .. } => {
                    let col = self.at(b, &mut indices, *map, coords);
                    self.gather(b, *slot, i, value(id), (&self.maps[*map], col), *dtype, along)
                }
                Expr::Index(map) => {
                    let at = self.at(b, &mut indices, *map, coords);
                    let args = &self.maps[*map];
                    match along.filter(|a| !args.repeats(a.axis)) {
                        Some(a) => {
                            let each: Vec<Value> = (0..a.width as u64)
                                .map(|n| {
                                    let at = args.step(b, at, a.axis, n);
                                    b.cast(compute_type(*dtype), at)
                                })
                                .collect();
                            b.vector(&each)
                        }
                        None => b.cast(compute_type(*dtype), at),
                    }
                }
                Expr::Const(bits) => {
                    let c = b.bits(Type::scalar(*dtype), *bits);
                    b.cast(compute_type(*dtype), c)
                }
                Expr::Anchor => anchor.expect("an anchor is read in an epilogue only"),
                Expr::Unary(op, x) => unary(b, *op, value(x)),
                Expr::Binary(op, x, y) => logical(b, *op, value(x), value(y)),
                Expr::Compare(op, x, y) => b.compare(*op, value(x), value(y)),
                Expr::Where(c, x, y) => b.select(value(c), value(x), value(y)),
                Expr::Philox(word, [c0, c1, k0, k1]) => {
                    random::philox(b, [value(c0), value(c1)], [value(k0), value(k1)], *word)
                }
                Expr::Cast(x) => {
                    // Through the storage type, so that an explicit conversion rounds.
                    let x = value(x);
                    let x = if *dtype == DType::BF16 { functions::rounded_to_odd(b, x) } else { x };
                    let narrow = b.cast(*dtype, x);
                    b.cast(compute_type(*dtype), narrow)
                }
            };
            done[i] = Some(v);
        }
        done[root].expect("the root was just computed")
    }

    fn at(&self, b: &mut Builder, indices: &mut [Option<Value>], map: usize, coords: &[Value]) -> Value {
        if let Some(v) = indices[map] {
            return v;
        }
        let v = match self.maps[map].index(b, self.bases[map], self.outer, coords) {
            Some(v) => v,
            None => b.idx(0),
        };
        indices[map] = Some(v);
        v
    }

    /// An element, or the neighbours along an axis: at once where they lie side by side.
    fn read(&self, b: &mut Builder, slot: usize, map: &MapArgs, at: Value, along: Option<Along>) -> Value {
        let place = Place::Buffer(self.slots[slot]);
        match along.filter(|a| !map.repeats(a.axis)) {
            None => b.load(place, at),
            Some(a) if map.is_unit(a.axis) => b.load_vec(place, at, a.width),
            Some(a) => {
                let each: Vec<Value> = (0..a.width as u64)
                    .map(|n| {
                        let at = map.step(b, at, a.axis, n);
                        b.load(place, at)
                    })
                    .collect();
                b.vector(&each)
            }
        }
    }

    /// `table[id, col]`; an id outside the table gives NaN or 0 and reads row 0.
    #[allow(clippy::too_many_arguments)] // all of one gather
    fn gather(
        &self,
        b: &mut Builder,
        slot: usize,
        expr: Id,
        id: Value,
        (map, col): (&MapArgs, Value),
        dtype: DType,
        along: Option<Along>,
    ) -> Value {
        let (rows, stride) = self.gathers[expr].expect("declared with the body");
        let inside = in_range(b, id, rows);
        let row = b.cast(Elem::Idx, id);
        let zero = b.idx(0);
        let row = b.select(inside, row, zero);
        let base = b.mul(row, stride);
        let at = b.add(base, col);
        let v = self.read(b, slot, map, at, along);
        let v = b.cast(compute_type(dtype), v);
        let outside = match compute_type(dtype) {
            d if d.is_float() => b.number(d, f64::NAN),
            d => b.integer(d, 0),
        };
        b.select(inside, v, outside)
    }
}

/// Whether an id of any integer type lies in `0..limit`.
pub fn in_range(b: &mut Builder, id: Value, limit: Value) -> Value {
    let elem = b.ty(id).elem().unwrap_or(Elem::Idx);
    // 64-bit ids are compared before they are cut to an index.
    let wide = matches!(elem, Elem::D(DType::I64 | DType::U64));
    let mut inside = if wide {
        let limit = b.cast(elem, limit);
        b.compare(CmpOp::Lt, id, limit)
    } else {
        let id = b.cast(Elem::Idx, id);
        b.compare(CmpOp::Lt, id, limit)
    };
    if elem.is_signed() {
        let zero = b.integer(elem, 0);
        let not_negative = b.compare(CmpOp::Ge, id, zero);
        inside = b.binary(BinaryOp::And, inside, not_negative);
    }
    inside
}

/// The expressions that an expression uses.
pub fn operands(e: &Expr) -> Vec<Id> {
    match *e {
        Expr::Read { .. } | Expr::Index(_) | Expr::Const(_) | Expr::Anchor => vec![],
        Expr::Gather { id, .. } => vec![id],
        Expr::Unary(_, a) | Expr::Cast(a) => vec![a],
        Expr::Binary(_, a, b) | Expr::Compare(_, a, b) => vec![a, b],
        Expr::Where(a, b, c) => vec![a, b, c],
        Expr::Philox(_, words) => words.to_vec(),
    }
}

/// Minimum and maximum of bool are and, or; powers of integers are products; everything else is the language's own.
fn logical(b: &mut Builder, op: BinaryOp, x: Value, y: Value) -> Value {
    let bool = b.ty(x).elem().is_some_and(Elem::is_bool);
    match op {
        BinaryOp::Pow if b.ty(x).elem().is_some_and(Elem::is_int) => functions::integer_power(b, x, y),
        BinaryOp::Min if bool => b.binary(BinaryOp::And, x, y),
        BinaryOp::Max if bool => b.binary(BinaryOp::Or, x, y),
        op => b.binary(op, x, y),
    }
}

/// A tensor function in the language's own functions.
pub fn unary(b: &mut Builder, op: UnaryOp, x: Value) -> Value {
    let elem = b.ty(x).elem().unwrap_or(Elem::Idx);
    let simple = |op: Ir, b: &mut Builder| b.unary(op, x);
    match op {
        UnaryOp::Neg => simple(Ir::Neg, b),
        UnaryOp::Abs => simple(Ir::Abs, b),
        UnaryOp::Sign => simple(Ir::Sign, b),
        UnaryOp::Not => simple(Ir::Not, b),
        UnaryOp::Floor => simple(Ir::Floor, b),
        UnaryOp::Ceil => simple(Ir::Ceil, b),
        UnaryOp::Trunc => simple(Ir::Trunc, b),
        UnaryOp::Round => simple(Ir::Round, b),
        UnaryOp::Sqrt => simple(Ir::Sqrt, b),
        UnaryOp::Rsqrt => simple(Ir::Rsqrt, b),
        UnaryOp::Recip => simple(Ir::Recip, b),
        UnaryOp::Exp => simple(Ir::Exp, b),
        UnaryOp::Exp2 => simple(Ir::Exp2, b),
        UnaryOp::Log => simple(Ir::Log, b),
        UnaryOp::Log2 => simple(Ir::Log2, b),
        UnaryOp::Sin => simple(Ir::Sin, b),
        UnaryOp::Cos => simple(Ir::Cos, b),
        UnaryOp::Tan => simple(Ir::Tan, b),
        UnaryOp::Asin => functions::asin(b, x),
        UnaryOp::Acos => functions::acos(b, x),
        UnaryOp::Atan => functions::atan(b, x),
        UnaryOp::Sinh => functions::sinh(b, x),
        UnaryOp::Cosh => functions::cosh(b, x),
        UnaryOp::Tanh => simple(Ir::Tanh, b),
        UnaryOp::Asinh => functions::asinh(b, x),
        UnaryOp::Acosh => functions::acosh(b, x),
        UnaryOp::Atanh => functions::atanh(b, x),
        UnaryOp::Expm1 => functions::expm1(b, x),
        UnaryOp::Log1p => functions::log1p(b, x),
        UnaryOp::Erf => simple(Ir::Erf, b),
        UnaryOp::Erfc => functions::erfc(b, x),
        UnaryOp::IsNan => simple(Ir::IsNan, b),
        UnaryOp::IsInf => simple(Ir::IsInf, b),
        UnaryOp::LeadingZeros => simple(Ir::LeadingZeros, b),
        UnaryOp::Relu => {
            let zero = b.number(elem, 0.0);
            b.binary(BinaryOp::Max, x, zero)
        }
        UnaryOp::Sigmoid => sigmoid(b, elem, x),
        UnaryOp::Silu => {
            let s = sigmoid(b, elem, x);
            b.mul(x, s)
        }
        UnaryOp::Gelu => {
            let half = b.number(elem, 0.5);
            let inner = b.number(elem, std::f64::consts::FRAC_1_SQRT_2);
            let z = b.mul(x, inner);
            let e = b.unary(Ir::Erf, z);
            let h = b.mul(x, half);
            b.mul_add(h, e, h)
        }
        UnaryOp::GeluTanh => {
            // (1 + tanh z)/2 = 1/(1 + e^-2z), without the cancellation of the left side where z is large and negative.
            let c = b.number(elem, 2.0 * (2.0 / std::f64::consts::PI).sqrt());
            let a = b.number(elem, 2.0 * 0.044715 * (2.0 / std::f64::consts::PI).sqrt());
            let x2 = b.mul(x, x);
            let poly = b.mul_add(a, x2, c);
            let z = b.mul(x, poly);
            let s = sigmoid(b, elem, z);
            b.mul(x, s)
        }
    }
}

fn sigmoid(b: &mut Builder, elem: Elem, x: Value) -> Value {
    let one = b.number(elem, 1.0);
    let minus = b.unary(Ir::Neg, x);
    let e = b.unary(Ir::Exp, minus);
    let d = b.add(one, e);
    b.binary(BinaryOp::Div, one, d)
}
