//! Executes a legalised kernel lane after lane: scalars only, no barriers, which is all that hal's own tests need.

use anychip_hal::{
    DType, Range,
    ir::{self, *},
};
use std::collections::HashMap;

struct Lane<'a> {
    k: &'a Kernel,
    values: Vec<u64>,
    vars: Vec<u64>,
    group: [u32; 3],
    groups: [u32; 3],
    local: [u32; 3],
    scalars: &'a HashMap<u32, u64>,
    bindings: &'a HashMap<u32, Range>,
    memory: &'a mut HashMap<u64, Vec<u8>>,
}

enum Flow {
    Next,
    Break,
    Continue,
    Return,
}

/// Runs the whole grid.
pub fn run(k: &Kernel, groups: [u32; 3], bound: &[Range], packed: &[u8], memory: &mut HashMap<u64, Vec<u8>>) {
    let bindings: HashMap<u32, Range> = k.buffers().zip(bound).map(|((p, ..), r)| (p.0, *r)).collect();
    let (slots, bytes) = k.scalar_layout();
    assert_eq!(bytes as usize, packed.len());
    let scalars: HashMap<u32, u64> = slots
        .iter()
        .map(|s| {
            let mut raw = [0; 8];
            raw[..s.bytes as usize].copy_from_slice(&packed[s.offset as usize..][..s.bytes as usize]);
            (s.param.0, u64::from_le_bytes(raw))
        })
        .collect();
    let three =
        |n: [u32; 3]| (0..n[2]).flat_map(move |z| (0..n[1]).flat_map(move |y| (0..n[0]).map(move |x| [x, y, z])));
    for group in three(groups) {
        for local in three(k.workgroup) {
            let (values, vars) = (vec![0; k.values.len()], vec![0; k.vars.len()]);
            let (scalars, bindings) = (&scalars, &bindings);
            let mut lane = Lane { k, values, vars, group, groups, local, scalars, bindings, memory };
            lane.block(&k.body);
        }
    }
}

fn size(k: &Kernel, e: Elem) -> usize {
    k.elem_bytes(e)
}

fn float(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

impl Lane<'_> {
    fn v(&self, v: Value) -> u64 {
        self.values[v.at()]
    }

    fn elem(&self, v: Value) -> Elem {
        self.k.ty(v).elem().expect("no fragments here")
    }

    fn mask(&self, e: Elem, x: u64) -> u64 {
        match size(self.k, e) {
            8 => x,
            n => x & ((1 << (n * 8)) - 1),
        }
    }

    fn signed(&self, e: Elem, x: u64) -> i64 {
        let unused = 64 - size(self.k, e) as u32 * 8;
        (x << unused) as i64 >> unused
    }

    fn at(&self, place: Place, index: Value) -> (u64, usize, usize) {
        let Place::Buffer(p) = place else { panic!("only buffers here") };
        let ParamKind::Buffer { elem, .. } = self.k.params[p.at()].kind else { panic!("a buffer") };
        let r = self.bindings[&p.0];
        let at = r.offset + self.v(index) * elem.size() as u64;
        assert!(at + elem.size() as u64 <= r.offset + r.bytes, "{}: outside of binding {r:?}", self.k.name);
        (r.buffer.0, at as usize, elem.size())
    }

    fn block(&mut self, block: &Block) -> Flow {
        for inst in block {
            let x = match &inst.op {
                Op::If { cond, then, otherwise } => {
                    match self.block(if self.v(*cond) != 0 { then } else { otherwise }) {
                        Flow::Next => continue,
                        other => return other,
                    }
                }
                Op::For { var, start, end, step, body, .. } => {
                    let (mut i, end, step) = (self.v(*start), self.v(*end), self.v(*step).max(1));
                    while i < end {
                        self.values[var.at()] = i;
                        match self.block(body) {
                            Flow::Break => break,
                            Flow::Return => return Flow::Return,
                            Flow::Next | Flow::Continue => i += step,
                        }
                    }
                    continue;
                }
                Op::Break => return Flow::Break,
                Op::Continue => return Flow::Continue,
                Op::Return => return Flow::Return,
                Op::Set(var, v) => {
                    self.vars[var.at()] = self.v(*v);
                    continue;
                }
                Op::Store { place, index, value, .. } => {
                    let (buffer, at, n) = self.at(*place, *index);
                    let bytes = self.v(*value).to_le_bytes();
                    self.memory.get_mut(&buffer).unwrap()[at..at + n].copy_from_slice(&bytes[..n]);
                    continue;
                }
                op => self.value(op, inst.out.expect("it defines a value")),
            };
            let out = inst.out.expect("it defines a value");
            self.values[out.at()] = self.mask(self.elem(out), x);
        }
        Flow::Next
    }

    fn value(&self, op: &Op, out: Value) -> u64 {
        match *op {
            Op::Const(x) => x,
            Op::Scalar(p) => self.scalars[&p.0],
            Op::Get(var) => self.vars[var.at()],
            Op::Builtin(Builtin::GroupId(d)) => u64::from(self.group[d as usize]),
            Op::Builtin(Builtin::NumGroups(d)) => u64::from(self.groups[d as usize]),
            Op::Builtin(Builtin::LocalId(d)) => u64::from(self.local[d as usize]),
            Op::Unary(ir::UnaryOp::Not, a) if self.elem(a).is_bool() => u64::from(self.v(a) == 0),
            Op::Unary(ir::UnaryOp::Not, a) => !self.v(a),
            Op::Binary(op, a, b) => self.binary(op, self.elem(a), self.v(a), self.v(b)),
            Op::Compare(op, a, b) => u64::from(self.compare(op, self.elem(a), self.v(a), self.v(b))),
            Op::Select(c, a, b) => self.v(if self.v(c) != 0 { a } else { b }),
            Op::Bitcast(a) => self.v(a),
            Op::Cast(a) => self.cast(self.elem(a), self.elem(out), self.v(a)),
            Op::Load { place, index, .. } => {
                let (buffer, at, n) = self.at(place, index);
                let mut raw = [0; 8];
                raw[..n].copy_from_slice(&self.memory[&buffer][at..at + n]);
                u64::from_le_bytes(raw)
            }
            ref other => panic!("kernel {}: {other:?} is not executed here", self.k.name),
        }
    }

    fn binary(&self, op: BinaryOp, e: Elem, a: u64, b: u64) -> u64 {
        if e == Elem::D(DType::F32) {
            let (a, b) = (float(a), float(b));
            let x = match op {
                BinaryOp::Add => a + b,
                BinaryOp::Mul => a * b,
                _ => panic!("{op:?} of f32 is not executed here"),
            };
            return u64::from(x.to_bits());
        }
        if e == Elem::D(DType::F64) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            return match op {
                BinaryOp::Add => (a + b).to_bits(),
                BinaryOp::Mul => (a * b).to_bits(),
                _ => panic!("{op:?} of f64 is not executed here"),
            };
        }
        let sign_is_nothing = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul);
        assert!(!e.is_float() && (!e.is_signed() || sign_is_nothing), "{op:?} of {e:?} is not executed here");
        let width = size(self.k, e) as u64 * 8;
        match op {
            BinaryOp::Add => a.wrapping_add(b),
            BinaryOp::Sub => a.wrapping_sub(b),
            BinaryOp::Mul => a.wrapping_mul(b),
            BinaryOp::Div => a.checked_div(b).unwrap_or(0),
            BinaryOp::Rem => a.checked_rem(b).unwrap_or(0),
            BinaryOp::Min => a.min(b),
            BinaryOp::Max => a.max(b),
            BinaryOp::And => a & b,
            BinaryOp::Or => a | b,
            BinaryOp::Xor => a ^ b,
            BinaryOp::Shl => a << (b % width),
            BinaryOp::Shr => a >> (b % width),
            BinaryOp::Pow => panic!("pow is not executed here"),
        }
    }

    fn compare(&self, op: CmpOp, e: Elem, a: u64, b: u64) -> bool {
        let order = match e {
            Elem::D(DType::F32) => float(a).partial_cmp(&float(b)),
            Elem::D(DType::F64) => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
            e if e.is_signed() => Some(self.signed(e, a).cmp(&self.signed(e, b))),
            _ => Some(a.cmp(&b)),
        };
        match (op, order) {
            (CmpOp::Ne, None) => true,
            (_, None) => false,
            (CmpOp::Eq, Some(o)) => o.is_eq(),
            (CmpOp::Ne, Some(o)) => o.is_ne(),
            (CmpOp::Lt, Some(o)) => o.is_lt(),
            (CmpOp::Le, Some(o)) => o.is_le(),
            (CmpOp::Gt, Some(o)) => o.is_gt(),
            (CmpOp::Ge, Some(o)) => o.is_ge(),
        }
    }

    fn cast(&self, from: Elem, to: Elem, x: u64) -> u64 {
        match (from, to) {
            (Elem::D(DType::Bool), Elem::D(DType::F32)) => u64::from((x as f32).to_bits()),
            (Elem::D(DType::F16), Elem::D(DType::F32)) => u64::from(half::f16::from_bits(x as u16).to_f32().to_bits()),
            (Elem::D(DType::BF16), Elem::D(DType::F32)) => x << 16,
            (Elem::D(DType::F64), Elem::D(DType::F32)) => u64::from((f64::from_bits(x) as f32).to_bits()),
            (f, t) if f == t => x,
            (f, Elem::D(DType::F32)) if f.is_int() && !f.is_signed() => u64::from((x as f32).to_bits()),
            (f, Elem::D(DType::F32)) if f.is_int() => u64::from((self.signed(f, x) as f32).to_bits()),
            (_, t) if t.is_bool() => u64::from(x != 0),
            (f, t) if !f.is_float() && !t.is_float() => {
                if f.is_signed() {
                    self.signed(f, x) as u64
                } else {
                    x
                }
            }
            (f, t) => panic!("{f:?} to {t:?} is not executed here"),
        }
    }
}
