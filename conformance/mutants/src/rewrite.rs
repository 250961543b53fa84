//! Changes in a kernel: each operation by others that give its result.

use anychip::hal::{
    DType,
    ir::{BinaryOp, Block, CmpOp, Elem, Inst, Kernel, Loc, Op, Type, UnaryOp, Value},
};

/// Where operations go that take the place of one.
pub struct Writer<'a> {
    values: &'a mut Vec<Type>,
    block: Block,
    loc: Loc,
}

impl Writer<'_> {
    /// The type of a value.
    pub fn ty(&self, v: Value) -> Type {
        self.values[v.at()]
    }
    /// Its element type.
    pub fn elem(&self, v: Value) -> Option<DType> {
        self.ty(v).elem().and_then(Elem::dtype)
    }
    /// An operation with a new value.
    pub fn op(&mut self, ty: Type, op: Op) -> Value {
        self.values.push(ty);
        let out = Value(self.values.len() as u32 - 1);
        self.block.push(Inst { out: Some(out), op, loc: self.loc });
        out
    }
    /// The operation that defines the value it stands for.
    pub fn put(&mut self, out: Option<Value>, op: Op) {
        self.block.push(Inst { out, op, loc: self.loc });
    }
    /// A constant by its bits.
    pub fn bits(&mut self, ty: Type, bits: u64) -> Value {
        self.op(ty, Op::Const(bits))
    }
    /// Of a value's type.
    pub fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        self.op(self.ty(a), Op::Binary(op, a, b))
    }
    /// Of a value's type.
    pub fn unary(&mut self, op: UnaryOp, a: Value) -> Value {
        self.op(self.ty(a), Op::Unary(op, a))
    }
    /// As many bools as a value has lanes.
    pub fn compare(&mut self, op: CmpOp, a: Value, b: Value) -> Value {
        let ty = Type::vector(DType::Bool, self.ty(a).lanes());
        self.op(ty, Op::Compare(op, a, b))
    }
    /// To an element type, with as many lanes.
    pub fn cast(&mut self, to: DType, a: Value) -> Value {
        let ty = Type::vector(to, self.ty(a).lanes());
        if self.ty(a) == ty { a } else { self.op(ty, Op::Cast(a)) }
    }
    /// The same bits.
    pub fn bitcast(&mut self, to: DType, a: Value) -> Value {
        let ty = Type::vector(to, self.ty(a).lanes());
        self.op(ty, Op::Bitcast(a))
    }
}

/// Hands every operation to `change`, inner ones first; it writes what stands in its place, or gives it back to be kept.
pub fn every(k: &mut Kernel, change: &mut dyn FnMut(&mut Writer<'_>, Inst) -> Option<Inst>) {
    let mut body = std::mem::take(&mut k.body);
    walk(&mut body, &mut k.values, change);
    k.body = body;
}

fn walk(block: &mut Block, values: &mut Vec<Type>, change: &mut dyn FnMut(&mut Writer<'_>, Inst) -> Option<Inst>) {
    let mut out = Vec::with_capacity(block.len());
    for mut inst in std::mem::take(block) {
        for inner in inst.op.blocks_mut() {
            walk(inner, values, change);
        }
        let mut w = Writer { values, block: vec![], loc: inst.loc };
        let kept = change(&mut w, inst);
        out.append(&mut w.block);
        out.extend(kept);
    }
    *block = out;
}
