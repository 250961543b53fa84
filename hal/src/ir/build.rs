//! Builds kernels by calls, with types known at run time. The planner's generator and the typed layer under
//! `#[kernel]` both stand on it.
//!
//! A mistake (operands of different types, a loop left open) is remembered and returned by [`Builder::finish`]
//! with the first place where it happened, so that the calls in between need no `?`.

use super::*;
use crate::{Error, Result};
use std::panic::Location;

/// A kernel in the making.
pub struct Builder {
    kernel: Kernel,
    open: Vec<Open>,
    loc: Option<Loc>,
    error: Option<Error>,
}

/// A block under construction and what it will become.
struct Open {
    block: Block,
    kind: Kind,
}

enum Kind {
    Body,
    Then { cond: Value },
    Else { cond: Value, then: Block },
    For { var: Value, start: Value, end: Value, step: Value, unroll: Unroll },
    Head,
    While { head: Block, cond: Value },
    Each { frag: Value, row: Value, col: Value, elem: Value },
    Map { to: VarId, of: Vec<Value>, row: Value, col: Value, elems: Vec<Value>, result: VarId },
}

impl Builder {
    /// Begins a kernel. `workgroup`: lanes per dimension.
    pub fn new(name: &str, workgroup: [u32; 3]) -> Builder {
        Builder {
            kernel: Kernel {
                version: VERSION,
                name: name.to_string(),
                workgroup,
                params: vec![],
                shared: vec![],
                private: vec![],
                vars: vec![],
                values: vec![],
                body: vec![],
                files: vec![],
                hints: Hints::default(),
                idx_bits: 0,
            },
            open: vec![Open { block: vec![], kind: Kind::Body }],
            loc: None,
            error: None,
        }
    }

    /// The kernel so far.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Hints to the compiler.
    pub fn hints(&mut self) -> &mut Hints {
        &mut self.kernel.hints
    }

    /// Remembers a mistake; the first one is returned by `finish`.
    pub fn fail(&mut self, why: impl Into<String>) {
        if self.error.is_none() {
            self.error = Some(Error::InvalidArgument(format!("kernel {}: {}", self.kernel.name, why.into())));
        }
    }

    /// Sets the source place of what follows; `None`: the place of each builder call.
    pub fn at(&mut self, place: Option<(&str, u32)>) {
        self.loc = place.map(|(file, line)| self.intern(file, line));
    }

    fn intern(&mut self, file: &str, line: u32) -> Loc {
        let n = match self.kernel.files.iter().position(|f| f == file) {
            Some(n) => n,
            None => {
                self.kernel.files.push(file.to_string());
                self.kernel.files.len() - 1
            }
        };
        Loc { file: n as u16, line }
    }

    /// A fresh value of a type, to be defined by the next operation.
    fn value(&mut self, ty: Type) -> Value {
        self.kernel.values.push(ty);
        Value(self.kernel.values.len() as u32 - 1)
    }

    #[track_caller]
    fn push(&mut self, out: Option<Value>, op: Op) {
        let loc = match self.loc {
            Some(l) => l,
            None => {
                let c = Location::caller();
                // Only the file's name: kernels must not differ by where the source tree lies.
                let file = c.file().rsplit(['/', '\\']).next().unwrap_or("?");
                self.intern(file, c.line())
            }
        };
        let block = &mut self.open.last_mut().expect("the body is always open").block;
        block.push(Inst { out, op, loc });
    }

    /// Appends an operation that defines a value of type `ty`.
    #[track_caller]
    pub fn define(&mut self, ty: Type, op: Op) -> Value {
        let v = self.value(ty);
        self.push(Some(v), op);
        v
    }

    /// Appends an operation without a result.
    #[track_caller]
    pub fn effect(&mut self, op: Op) {
        self.push(None, op);
    }

    /// Type of a value.
    pub fn ty(&self, v: Value) -> Type {
        self.kernel.values[v.at()]
    }

    // ---- declarations ----

    /// Declares a buffer parameter.
    pub fn buffer(&mut self, name: &str, elem: DType, access: Access) -> ParamId {
        self.param(name, ParamKind::Buffer { elem, access, align: 1 })
    }

    /// Declares a scalar parameter and reads it.
    #[track_caller]
    pub fn scalar(&mut self, name: &str, elem: impl Into<Elem>) -> Value {
        let elem = elem.into();
        let p = self.param(name, ParamKind::Scalar { elem, role: Role::User });
        self.define(Type::scalar(elem), Op::Scalar(p))
    }

    /// Declares a parameter.
    pub fn param(&mut self, name: &str, kind: ParamKind) -> ParamId {
        self.kernel.params.push(Param { name: name.to_string(), kind });
        ParamId(self.kernel.params.len() as u32 - 1)
    }

    /// Raises a buffer's access, e.g. from Read to ReadWrite.
    pub fn set_access(&mut self, p: ParamId, to: Access) {
        if let ParamKind::Buffer { access, .. } = &mut self.kernel.params[p.at()].kind {
            *access = to;
        }
    }

    /// Declares an array of the workgroup.
    pub fn shared(&mut self, name: &str, elem: impl Into<Elem>, len: u32) -> SharedId {
        self.kernel.shared.push(Array { name: name.to_string(), elem: elem.into(), len });
        SharedId(self.kernel.shared.len() as u32 - 1)
    }

    /// Declares an array of each lane.
    pub fn private(&mut self, name: &str, elem: impl Into<Elem>, len: u32) -> PrivateId {
        self.kernel.private.push(Array { name: name.to_string(), elem: elem.into(), len });
        PrivateId(self.kernel.private.len() as u32 - 1)
    }

    /// Declares a variable and sets it.
    #[track_caller]
    pub fn var(&mut self, name: &str, init: Value) -> VarId {
        let ty = self.ty(init);
        self.kernel.vars.push(Var { name: name.to_string(), ty });
        let v = VarId(self.kernel.vars.len() as u32 - 1);
        self.effect(Op::Set(v, init));
        v
    }

    // ---- values ----

    /// A constant from a bit pattern.
    #[track_caller]
    pub fn bits(&mut self, ty: Type, bits: u64) -> Value {
        self.define(ty, Op::Const(bits))
    }

    /// A constant of any element type from a number: rounded for floats, truncated for integers.
    #[track_caller]
    pub fn number(&mut self, elem: impl Into<Elem>, x: f64) -> Value {
        let elem = elem.into();
        self.bits(Type::scalar(elem), encode_f64(elem, x))
    }

    /// A constant of any element type from an integer; exact for 64-bit types.
    #[track_caller]
    pub fn integer(&mut self, elem: impl Into<Elem>, x: i64) -> Value {
        let elem = elem.into();
        let bits = match elem {
            Elem::Idx => x as u64,
            Elem::D(d) if d.is_float() => encode_f64(elem, x as f64),
            Elem::D(DType::Bool) => (x != 0) as u64,
            Elem::D(d) => (x as u64) & (u64::MAX >> (64 - 8 * d.size())),
        };
        self.bits(Type::scalar(elem), bits)
    }

    /// An `f32` constant.
    #[track_caller]
    pub fn f32(&mut self, x: f32) -> Value {
        self.bits(Type::F32, x.to_bits() as u64)
    }

    /// A `u32` constant.
    #[track_caller]
    pub fn u32(&mut self, x: u32) -> Value {
        self.bits(Type::U32, x as u64)
    }

    /// An `idx` constant.
    #[track_caller]
    pub fn idx(&mut self, x: u64) -> Value {
        self.bits(Type::IDX, x)
    }

    /// A `bool` constant.
    #[track_caller]
    pub fn bool(&mut self, x: bool) -> Value {
        self.bits(Type::BOOL, x as u64)
    }

    /// A number from the surroundings.
    #[track_caller]
    pub fn builtin(&mut self, b: Builtin) -> Value {
        let ty = match b {
            Builtin::GroupId(_) | Builtin::NumGroups(_) | Builtin::GlobalId(_) => Type::IDX,
            _ => Type::U32,
        };
        self.define(ty, Op::Builtin(b))
    }

    /// Elements of a buffer.
    #[track_caller]
    pub fn buf_len(&mut self, p: ParamId) -> Value {
        self.define(Type::IDX, Op::BufLen(p))
    }

    /// One operand.
    #[track_caller]
    pub fn unary(&mut self, op: UnaryOp, a: Value) -> Value {
        let ty = self.ty(a);
        let out = match (op, ty) {
            (UnaryOp::IsNan | UnaryOp::IsInf, Type::Num { lanes, .. }) => Type::vector(DType::Bool, lanes),
            _ => ty,
        };
        self.define(out, Op::Unary(op, a))
    }

    fn same(&mut self, what: &str, a: Value, b: Value) {
        let (x, y) = (self.ty(a), self.ty(b));
        if x != y {
            self.fail(format!("{what}: operands differ: {x:?} and {y:?}"));
        }
    }

    /// A scalar beside a vector is splatted: what computes with scalars computes with vectors too.
    #[track_caller]
    fn alike<const N: usize>(&mut self, of: [Value; N]) -> [Value; N] {
        let lanes = of.iter().map(|&v| self.ty(v).lanes()).max().unwrap_or(1);
        of.map(|v| match self.ty(v) {
            Type::Num { lanes: 1, .. } if lanes > 1 => self.splat(v, lanes),
            _ => v,
        })
    }

    /// Two operands of one type, or a vector and a scalar.
    #[track_caller]
    pub fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let [a, b] = self.alike([a, b]);
        self.same(&format!("{op:?}"), a, b);
        self.define(self.ty(a), Op::Binary(op, a, b))
    }

    /// Sum.
    #[track_caller]
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Add, a, b)
    }

    /// Difference.
    #[track_caller]
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Sub, a, b)
    }

    /// Product.
    #[track_caller]
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.binary(BinaryOp::Mul, a, b)
    }

    /// Comparison.
    #[track_caller]
    pub fn compare(&mut self, op: CmpOp, a: Value, b: Value) -> Value {
        let [a, b] = self.alike([a, b]);
        self.same(&format!("{op:?}"), a, b);
        let lanes = self.ty(a).lanes();
        self.define(Type::vector(DType::Bool, lanes), Op::Compare(op, a, b))
    }

    /// a·b+c, rounded once or twice.
    #[track_caller]
    pub fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        let [a, b, c] = self.alike([a, b, c]);
        self.same("mul_add", a, b);
        self.same("mul_add", a, c);
        self.define(self.ty(a), Op::MulAdd(a, b, c))
    }

    /// a·b+c, rounded once.
    #[track_caller]
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        let [a, b, c] = self.alike([a, b, c]);
        self.same("fma", a, b);
        self.same("fma", a, c);
        self.define(self.ty(a), Op::Fma(a, b, c))
    }

    /// `cond ? a : b`.
    #[track_caller]
    pub fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        let lanes = self.ty(cond).lanes();
        let [mut a, mut b] = self.alike([a, b]);
        if lanes > 1 && self.ty(a).lanes() == 1 && self.ty(b).lanes() == 1 {
            (a, b) = (self.splat(a, lanes), self.splat(b, lanes));
        }
        self.same("select", a, b);
        self.define(self.ty(a), Op::Select(cond, a, b))
    }

    /// Conversion; the value itself when it has that type already.
    #[track_caller]
    pub fn cast(&mut self, to: impl Into<Elem>, a: Value) -> Value {
        let to = to.into();
        let ty = self.ty(a);
        if ty.elem() == Some(to) {
            return a;
        }
        self.define(Type::vector(to, ty.lanes()), Op::Cast(a))
    }

    /// The same bits as another type.
    #[track_caller]
    pub fn bitcast(&mut self, to: impl Into<Elem>, a: Value) -> Value {
        let lanes = self.ty(a).lanes();
        self.define(Type::vector(to, lanes), Op::Bitcast(a))
    }

    /// A vector with every lane the same.
    #[track_caller]
    pub fn splat(&mut self, a: Value, lanes: u8) -> Value {
        match self.ty(a).elem() {
            Some(elem) => self.define(Type::vector(elem, lanes), Op::Splat(a)),
            None => {
                self.fail("splat: a fragment cannot be splatted");
                a
            }
        }
    }

    /// A vector from scalars of one type.
    #[track_caller]
    pub fn vector(&mut self, of: &[Value]) -> Value {
        let elem = of.first().and_then(|v| self.ty(*v).elem()).unwrap_or(Elem::Idx);
        self.define(Type::vector(elem, of.len() as u8), Op::Vector(of.to_vec()))
    }

    /// One lane of a vector.
    #[track_caller]
    pub fn extract(&mut self, a: Value, lane: u8) -> Value {
        let elem = self.ty(a).elem().unwrap_or(Elem::Idx);
        self.define(Type::scalar(elem), Op::Extract(a, lane))
    }

    // ---- memory ----

    /// Element type of a place.
    pub fn place_elem(&self, place: Place) -> Elem {
        match place {
            Place::Buffer(p) => match self.kernel.params[p.at()].kind {
                ParamKind::Buffer { elem, .. } => Elem::D(elem),
                ParamKind::Scalar { elem, .. } => elem,
            },
            Place::Shared(s) => self.kernel.shared[s.at()].elem,
            Place::Private(s) => self.kernel.private[s.at()].elem,
        }
    }

    /// Reads one element.
    #[track_caller]
    pub fn load(&mut self, place: Place, index: Value) -> Value {
        self.load_vec(place, index, 1)
    }

    /// Reads `lanes` consecutive elements.
    #[track_caller]
    pub fn load_vec(&mut self, place: Place, index: Value, lanes: u8) -> Value {
        let ty = Type::vector(self.place_elem(place), lanes);
        self.define(ty, Op::Load { place, index, aligned: false })
    }

    /// Writes a value's lanes to consecutive elements.
    #[track_caller]
    pub fn store(&mut self, place: Place, index: Value, value: Value) {
        self.effect(Op::Store { place, index, value, aligned: false });
    }

    /// Promises that an index is a multiple of `n`: vectors there may then be aligned.
    #[track_caller]
    pub fn assume_multiple(&mut self, index: Value, n: u32) -> Value {
        self.define(self.ty(index), Op::AssumeMultiple(index, n))
    }

    /// Reads a variable.
    #[track_caller]
    pub fn get(&mut self, v: VarId) -> Value {
        let ty = self.kernel.vars[v.at()].ty;
        self.define(ty, Op::Get(v))
    }

    /// Sets a variable.
    #[track_caller]
    pub fn set(&mut self, v: VarId, to: Value) {
        let ty = self.kernel.vars[v.at()].ty;
        if ty != self.ty(to) {
            let (name, got) = (self.kernel.vars[v.at()].name.clone(), self.ty(to));
            self.fail(format!("variable {name} has type {ty:?}, set to {got:?}"));
        }
        self.effect(Op::Set(v, to));
    }

    /// All lanes of the workgroup meet.
    #[track_caller]
    pub fn barrier(&mut self) {
        self.effect(Op::Barrier(Scope::Workgroup));
    }

    /// Reduction over the workgroup; every lane gets it.
    #[track_caller]
    pub fn group_reduce(&mut self, op: ReduceOp, a: Value) -> Value {
        self.define(self.ty(a), Op::GroupReduce(op, a))
    }

    // ---- control flow: begin and end, and the same with closures ----

    fn begin(&mut self, kind: Kind) {
        self.open.push(Open { block: vec![], kind });
    }

    fn end(&mut self, what: &str) -> Option<Open> {
        if self.open.len() < 2 {
            self.fail(format!("{what} closes nothing"));
            return None;
        }
        self.open.pop()
    }

    /// Opens `if cond {`.
    pub fn begin_if(&mut self, cond: Value) {
        self.begin(Kind::Then { cond });
    }

    /// `} else {`.
    pub fn begin_else(&mut self) {
        match self.end("else") {
            Some(Open { block, kind: Kind::Then { cond } }) => self.begin(Kind::Else { cond, then: block }),
            _ => self.fail("else without if"),
        }
    }

    /// Closes an `if`, with or without `else`.
    #[track_caller]
    pub fn end_if(&mut self) {
        match self.end("end of if") {
            Some(Open { block, kind: Kind::Then { cond } }) => {
                self.effect(Op::If { cond, then: block, otherwise: vec![] });
            }
            Some(Open { block, kind: Kind::Else { cond, then } }) => {
                self.effect(Op::If { cond, then, otherwise: block });
            }
            _ => self.fail("end of an if that was not opened"),
        }
    }

    /// Opens a counting loop and gives its variable.
    pub fn begin_for(&mut self, start: Value, end: Value, step: Value, unroll: Unroll) -> Value {
        self.same("for", start, end);
        self.same("for", start, step);
        let var = self.value(self.ty(start));
        self.begin(Kind::For { var, start, end, step, unroll });
        var
    }

    /// Closes a counting loop.
    #[track_caller]
    pub fn end_for(&mut self) {
        match self.end("end of for") {
            Some(Open { block: body, kind: Kind::For { var, start, end, step, unroll } }) => {
                self.effect(Op::For { var, start, end, step, body, unroll });
            }
            _ => self.fail("end of a for that was not opened"),
        }
    }

    /// Opens the head of a while loop: what computes its condition follows.
    pub fn begin_while(&mut self) {
        self.begin(Kind::Head);
    }

    /// Ends the head: the loop goes on while `cond`; its body follows.
    pub fn while_cond(&mut self, cond: Value) {
        match self.end("condition of while") {
            Some(Open { block, kind: Kind::Head }) => self.begin(Kind::While { head: block, cond }),
            _ => self.fail("condition of a while that was not opened"),
        }
    }

    /// Closes a while loop.
    #[track_caller]
    pub fn end_while(&mut self) {
        match self.end("end of while") {
            Some(Open { block: body, kind: Kind::While { head, cond } }) => {
                self.effect(Op::While { head, cond, body });
            }
            _ => self.fail("end of a while that was not opened"),
        }
    }

    /// Sets a fragment variable from fragments of the same product, element by element: what `element` makes of row, column (u32)
    /// and an element of each.
    pub fn map(&mut self, to: VarId, of: &[Value], element: impl FnOnce(&mut Builder, [Value; 2], &[Value]) -> Value) {
        let elem = |t: Type| match t {
            Type::Frag(f) => Some(f.elem),
            Type::Num { .. } => None,
        };
        let target = self.kernel.vars.get(to.at()).and_then(|v| elem(v.ty));
        let types: Option<Vec<_>> = of.iter().map(|v| elem(self.ty(*v))).collect();
        let (Some(target), Some(types)) = (target, types) else {
            return self.fail("a map of what is no fragment, or to it");
        };
        let zero = self.bits(Type::scalar(target), 0);
        let result = self.var("element", zero);
        let [row, col] = [0, 1].map(|_| self.value(Type::U32));
        let elems: Vec<_> = types.into_iter().map(|t| self.value(Type::scalar(t))).collect();
        self.begin(Kind::Map { to, of: of.to_vec(), row, col, elems: elems.clone(), result });
        let x = element(self, [row, col], &elems);
        self.set(result, x);
        match self.open.pop() {
            Some(Open { block: body, kind: Kind::Map { to, of, row, col, elems, result } }) => {
                self.effect(Op::FragMap { to, of, row, col, elems, result, body });
            }
            open => {
                self.open.extend(open);
                self.fail("a block inside of a map is still open at its end");
            }
        }
    }

    /// Opens a visit of a fragment's elements; gives row, column (u32) and element.
    pub fn begin_each(&mut self, frag: Value) -> (Value, Value, Value) {
        let elem_ty = match self.ty(frag) {
            Type::Frag(f) => Type::scalar(f.elem),
            other => {
                self.fail("visit of a value that is no fragment");
                other
            }
        };
        let (row, col) = (self.value(Type::U32), self.value(Type::U32));
        let elem = self.value(elem_ty);
        self.begin(Kind::Each { frag, row, col, elem });
        (row, col, elem)
    }

    /// Closes a visit.
    #[track_caller]
    pub fn end_each(&mut self) {
        match self.end("end of visit") {
            Some(Open { block: body, kind: Kind::Each { frag, row, col, elem } }) => {
                self.effect(Op::FragEach { frag, row, col, elem, body });
            }
            _ => self.fail("end of a visit that was not opened"),
        }
    }

    /// `if cond { then }`.
    #[track_caller]
    pub fn when(&mut self, cond: Value, then: impl FnOnce(&mut Builder)) {
        self.begin_if(cond);
        then(self);
        self.end_if();
    }

    /// `if cond { then } else { otherwise }`.
    #[track_caller]
    pub fn either(&mut self, cond: Value, then: impl FnOnce(&mut Builder), otherwise: impl FnOnce(&mut Builder)) {
        self.begin_if(cond);
        then(self);
        self.begin_else();
        otherwise(self);
        self.end_if();
    }

    /// `for i in (start..end).step_by(step) { body }`.
    #[track_caller]
    pub fn count(&mut self, start: Value, end: Value, step: Value, body: impl FnOnce(&mut Builder, Value)) {
        let i = self.begin_for(start, end, step, Unroll::Auto);
        body(self, i);
        self.end_for();
    }

    /// The finished kernel, or the first mistake.
    pub fn finish(mut self) -> Result<Kernel> {
        if self.open.len() != 1 {
            self.fail("a block was left open");
        }
        if let Some(e) = self.error {
            return Err(e);
        }
        self.kernel.body = self.open.pop().map(|o| o.block).unwrap_or_default();
        Ok(self.kernel)
    }
}

/// The bit pattern of a number in an element type: rounded to nearest for floats, saturating for integers.
pub fn encode_f64(elem: Elem, x: f64) -> u64 {
    match elem {
        Elem::Idx => x as u64,
        Elem::D(d) => match d {
            DType::Bool => (x != 0.0) as u64,
            DType::I8 => x as i8 as u8 as u64,
            DType::I16 => x as i16 as u16 as u64,
            DType::I32 => x as i32 as u32 as u64,
            DType::I64 => x as i64 as u64,
            DType::U8 => x as u8 as u64,
            DType::U16 => x as u16 as u64,
            DType::U32 => x as u32 as u64,
            DType::U64 => x as u64,
            DType::F16 => half::f16::from_f64(x).to_bits() as u64,
            DType::BF16 => half::bf16::from_f64(x).to_bits() as u64,
            DType::F32 => (x as f32).to_bits() as u64,
            DType::F64 => x.to_bits(),
            DType::F8E4M3 => super::fp8::encode(x as f32, super::fp8::Kind::E4M3) as u64,
            DType::F8E5M2 => super::fp8::encode(x as f32, super::fp8::Kind::E5M2) as u64,
        },
    }
}
