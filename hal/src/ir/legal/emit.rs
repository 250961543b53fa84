//! Rewriting: walks a kernel operation by operation and lets a pass emit something else in its place.
//!
//! A pass either keeps an operation or emits others whose last defines the same value; where the result is a value that
//! exists already, it is renamed and later operands follow. Every emitted operation bears the place of the one it
//! stands for.

use crate::{Result, ir::*};
use std::collections::{HashMap, HashSet};

/// A kernel whose body is being written anew.
pub(super) struct Emit {
    /// Everything but the body.
    pub k: Kernel,
    /// Place of what is emitted.
    pub loc: Loc,
    /// Index values made by lowerings, in range by construction: they need no guard.
    pub trusted: HashSet<Value>,
    scratch: HashMap<Elem, SharedId>,
    open: Vec<Block>,
    renamed: HashMap<Value, Value>,
}

/// What a pass does with one operation; its operands are renamed already.
pub(super) trait Pass {
    /// Emits what stands for `inst`; [`Emit::keep`] leaves it and walks its blocks.
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()>;
    /// A block begins.
    fn enter(&mut self) {}
    /// A block ends: what it defined is out of scope.
    fn leave(&mut self) {}
}

/// Runs a pass over a whole kernel.
pub(super) fn rewrite(e: &mut Emit, pass: &mut dyn Pass) -> Result<()> {
    let body = std::mem::take(&mut e.k.body);
    e.k.body = e.block(body, pass)?;
    Ok(())
}

impl Emit {
    pub fn new(k: Kernel) -> Emit {
        Emit {
            k,
            loc: Loc::default(),
            trusted: HashSet::new(),
            scratch: HashMap::new(),
            open: vec![],
            renamed: HashMap::new(),
        }
    }

    /// Walks a block.
    pub fn block(&mut self, block: Block, pass: &mut dyn Pass) -> Result<Block> {
        self.begin();
        pass.enter();
        for mut inst in block {
            self.loc = inst.loc;
            // A while's condition is defined in its head: renamed once that was walked.
            if !matches!(inst.op, Op::While { .. }) {
                inst.op.operands_mut(&mut |v| *v = self.name(*v));
            }
            pass.inst(self, inst)?;
        }
        pass.leave();
        Ok(self.end())
    }

    /// Keeps an operation, walking its blocks.
    pub fn keep(&mut self, mut inst: Inst, pass: &mut dyn Pass) -> Result<()> {
        let loc = inst.loc;
        for b in inst.op.blocks_mut() {
            *b = self.block(std::mem::take(b), pass)?;
        }
        self.loc = loc;
        if let Op::While { cond, .. } = &mut inst.op {
            *cond = self.name(*cond);
        }
        self.push(inst.out, inst.op);
        Ok(())
    }

    /// What a value is called now.
    pub fn name(&self, mut v: Value) -> Value {
        while let Some(to) = self.renamed.get(&v) {
            v = *to;
        }
        v
    }

    /// Uses of `v` become uses of `to`, which is visible wherever `v` would have been.
    pub fn rename(&mut self, v: Value, to: Value) {
        if v != to {
            self.renamed.insert(v, to);
        }
    }

    /// Defines `out` as what `to` is, if the operation had a result.
    pub fn result(&mut self, out: Option<Value>, to: Value) {
        if let Some(out) = out {
            self.rename(out, to);
        }
    }

    pub fn begin(&mut self) {
        self.open.push(vec![]);
    }

    pub fn end(&mut self) -> Block {
        self.open.pop().expect("every end has its begin")
    }

    pub fn push(&mut self, out: Option<Value>, op: Op) {
        let loc = self.loc;
        self.open.last_mut().expect("a block is open while a pass runs").push(Inst { out, op, loc });
    }

    /// Operations that were written already.
    pub fn append(&mut self, block: Block) {
        self.open.last_mut().expect("a block is open while a pass runs").extend(block);
    }

    pub fn fresh(&mut self, ty: Type) -> Value {
        self.k.values.push(ty);
        Value(self.k.values.len() as u32 - 1)
    }

    pub fn ty(&self, v: Value) -> Type {
        self.k.values[v.at()]
    }

    /// Element of a scalar or vector; a fragment's element.
    pub fn elem(&self, v: Value) -> Elem {
        match self.ty(v) {
            Type::Num { elem, .. } => elem,
            Type::Frag(f) => Elem::D(f.elem),
        }
    }

    // ---- operations; results have the operands' type unless said otherwise ----

    pub fn op(&mut self, ty: Type, op: Op) -> Value {
        let v = self.fresh(ty);
        self.push(Some(v), op);
        v
    }
    pub fn effect(&mut self, op: Op) {
        self.push(None, op);
    }
    pub fn bits(&mut self, ty: Type, bits: u64) -> Value {
        self.op(ty, Op::Const(bits))
    }
    pub fn u32(&mut self, x: u32) -> Value {
        self.bits(Type::U32, x as u64)
    }
    /// A constant of the type of `like` from a number.
    pub fn like(&mut self, like: Value, x: f64) -> Value {
        let ty = self.ty(like);
        self.bits(ty, build::encode_f64(self.elem(like), x))
    }
    pub fn un(&mut self, op: UnaryOp, a: Value) -> Value {
        let ty = match op {
            UnaryOp::IsNan | UnaryOp::IsInf => Type::vector(DType::Bool, self.ty(a).lanes()),
            _ => self.ty(a),
        };
        self.op(ty, Op::Unary(op, a))
    }
    pub fn bin(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        self.op(self.ty(a), Op::Binary(op, a, b))
    }
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinaryOp::Add, a, b)
    }
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinaryOp::Sub, a, b)
    }
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinaryOp::Mul, a, b)
    }
    /// `op` with a constant of the operand's type on the right.
    pub fn bin_c(&mut self, op: BinaryOp, a: Value, c: u64) -> Value {
        let c = self.bits(self.ty(a), c);
        self.bin(op, a, c)
    }
    pub fn cmp(&mut self, op: CmpOp, a: Value, b: Value) -> Value {
        self.op(Type::vector(DType::Bool, self.ty(a).lanes()), Op::Compare(op, a, b))
    }
    pub fn cmp_c(&mut self, op: CmpOp, a: Value, c: u64) -> Value {
        let c = self.bits(self.ty(a), c);
        self.cmp(op, a, c)
    }
    pub fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        self.op(self.ty(a), Op::Select(c, a, b))
    }
    pub fn cast(&mut self, to: impl Into<Elem>, a: Value) -> Value {
        let to = to.into();
        if self.elem(a) == to {
            return a;
        }
        self.op(Type::vector(to, self.ty(a).lanes()), Op::Cast(a))
    }
    pub fn bitcast(&mut self, to: DType, a: Value) -> Value {
        if self.elem(a) == Elem::D(to) {
            return a;
        }
        self.op(Type::vector(to, self.ty(a).lanes()), Op::Bitcast(a))
    }
    pub fn load(&mut self, place: Place, index: Value, ty: Type) -> Value {
        self.op(ty, Op::Load { place, index, aligned: false })
    }
    pub fn store(&mut self, place: Place, index: Value, value: Value) {
        self.effect(Op::Store { place, index, value, aligned: false });
    }
    pub fn var(&mut self, name: &str, ty: Type) -> VarId {
        self.k.vars.push(Var { name: name.to_string(), ty });
        VarId(self.k.vars.len() as u32 - 1)
    }
    pub fn get(&mut self, v: VarId) -> Value {
        self.op(self.k.vars[v.at()].ty, Op::Get(v))
    }
    pub fn when(&mut self, cond: Value, f: impl FnOnce(&mut Emit)) {
        self.begin();
        f(self);
        let then = self.end();
        self.effect(Op::If { cond, then, otherwise: vec![] });
    }
    pub fn barrier(&mut self) {
        self.effect(Op::Barrier(Scope::Workgroup));
    }
    /// `for i in (start..end).step_by(step)` over u32 constants and values.
    pub fn count(&mut self, start: Value, end: Value, step: Value, f: impl FnOnce(&mut Emit, Value)) {
        let var = self.fresh(self.ty(start));
        self.begin();
        f(self, var);
        let body = self.end();
        self.effect(Op::For { var, start, end, step, body, unroll: Unroll::Auto });
    }
    pub fn trust(&mut self, v: Value) -> Value {
        self.trusted.insert(v);
        v
    }

    /// The lane's number in its workgroup, dimension 0 fastest, u32.
    pub fn lane(&mut self) -> Value {
        let [x, y, z] = self.k.workgroup;
        let mut lane = self.op(Type::U32, Op::Builtin(Builtin::LocalId(0)));
        let mut step = x;
        for (d, n) in [(1u8, y), (2, z)] {
            if n > 1 {
                let id = self.op(Type::U32, Op::Builtin(Builtin::LocalId(d)));
                let c = self.u32(step);
                let part = self.mul(id, c);
                lane = self.add(lane, part);
            }
            step *= n;
        }
        lane
    }

    /// A shared array of at least `len` elements, one per element type, made when first asked for.
    pub fn scratch(&mut self, elem: Elem, len: u32) -> SharedId {
        match self.scratch.get(&elem) {
            Some(id) => {
                let a = &mut self.k.shared[id.at()];
                a.len = a.len.max(len);
                *id
            }
            None => {
                let name = format!("scratch_{}", elem.name());
                self.k.shared.push(Array { name, elem, len });
                let id = SharedId(self.k.shared.len() as u32 - 1);
                self.scratch.insert(elem, id);
                id
            }
        }
    }

    /// A parameter's name made of another's and a suffix, different from all others.
    pub fn param_name(&self, of: &str, suffix: &str) -> String {
        let mut name = format!("{of}{suffix}");
        while self.k.params.iter().any(|p| p.name == name) {
            name.push('_');
        }
        name
    }
}
