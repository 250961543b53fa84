//! A scalar interpreter of kernels: one lane after another, one element at a time, written from the language's text and
//! sharing nothing with the vector machine. Without barriers, shared memory and functions of reals.

use anychip_hal::{
    DType,
    ir::{BinaryOp, Block, Builtin, CmpOp, Elem, Inst, Kernel, Op, ParamKind, Place, Type, UnaryOp},
};

/// How control leaves a block.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
    Return,
}

struct Lane<'a> {
    k: &'a Kernel,
    bufs: &'a mut [Vec<u8>],
    scalars: &'a [u64],
    group: [u64; 3],
    local: [u64; 3],
    groups: [u32; 3],
    values: Vec<Vec<u64>>,
    vars: Vec<Vec<u64>>,
    private: Vec<Vec<u64>>,
    steps: u64,
}

/// Runs a legalised kernel. Scalars by parameter, buffers in order.
pub fn run(k: &Kernel, groups: [u32; 3], bufs: &mut [Vec<u8>], scalars: &[u64]) {
    let w = k.workgroup.map(|x| x as u64);
    for g in 0..groups.iter().map(|&g| g as u64).product::<u64>() {
        let (gx, gy) = (groups[0] as u64, groups[1] as u64);
        let group = [g % gx, g / gx % gy, g / gx / gy];
        for l in 0..w.iter().product::<u64>() {
            let local = [l % w[0], l / w[0] % w[1], l / w[0] / w[1]];
            let mut lane = Lane {
                k,
                bufs,
                scalars,
                group,
                local,
                groups,
                values: vec![vec![]; k.values.len()],
                vars: k.vars.iter().map(|v| vec![0; v.ty.lanes() as usize]).collect(),
                private: k.private.iter().map(|a| vec![0; a.len as usize]).collect(),
                steps: 0,
            };
            lane.block(&k.body);
        }
    }
}

fn dtype(k: &Kernel, e: Elem) -> DType {
    e.dtype().unwrap_or(if k.idx_bits == 32 { DType::U32 } else { DType::U64 })
}

fn mask(d: DType) -> u64 {
    u64::MAX >> (64 - 8 * d.size())
}

/// An integer's number.
pub fn number(d: DType, bits: u64) -> i128 {
    let width = 8 * d.size() as u32;
    let low = (bits & mask(d)) as i128;
    if d.is_signed() && low >> (width - 1) & 1 == 1 { low - (1i128 << width) } else { low }
}

fn float(d: DType, bits: u64) -> f64 {
    match d {
        DType::F32 => f32::from_bits(bits as u32) as f64,
        DType::F64 => f64::from_bits(bits),
        DType::F16 => half::f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => half::bf16::from_bits(bits as u16).to_f64(),
        _ => unreachable!(),
    }
}

fn from_float(d: DType, x: f64) -> u64 {
    match d {
        DType::F32 => (x as f32).to_bits() as u64,
        DType::F64 => x.to_bits(),
        DType::F16 => half::f16::from_f64(x).to_bits() as u64,
        DType::BF16 => half::bf16::from_f64(x).to_bits() as u64,
        _ => unreachable!(),
    }
}

pub fn binary(op: BinaryOp, d: DType, a: u64, b: u64) -> u64 {
    if d.is_float() {
        // For f32, +, −, ×, ÷ in f64 rounded once more are correctly rounded (53 ≥ 2·24 + 2).
        let (x, y) = (float(d, a), float(d, b));
        let nan = x.is_nan() || y.is_nan();
        return from_float(
            d,
            match op {
                BinaryOp::Add => x + y,
                BinaryOp::Sub => x - y,
                BinaryOp::Mul => x * y,
                BinaryOp::Div => x / y,
                BinaryOp::Rem => x % y,
                BinaryOp::Min => {
                    if nan {
                        f64::NAN
                    } else if y < x {
                        y
                    } else {
                        x
                    }
                }
                BinaryOp::Max => {
                    if nan {
                        f64::NAN
                    } else if y > x {
                        y
                    } else {
                        x
                    }
                }
                other => unreachable!("{other:?}"),
            },
        );
    }
    let (x, y) = (number(d, a), number(d, b));
    let amount = (b & mask(d)) % (8 * d.size() as u64);
    let r = match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x.wrapping_mul(y),
        BinaryOp::Div => {
            if y == 0 {
                0
            } else {
                x / y
            }
        }
        BinaryOp::Rem => {
            if y == 0 {
                0
            } else {
                x % y
            }
        }
        BinaryOp::Min => x.min(y),
        BinaryOp::Max => x.max(y),
        BinaryOp::And => x & y,
        BinaryOp::Or => x | y,
        BinaryOp::Xor => x ^ y,
        BinaryOp::Shl => x << amount,
        BinaryOp::Shr => x >> amount,
        BinaryOp::Pow => unreachable!(),
    };
    r as u64 & mask(d)
}

pub fn compare(op: CmpOp, d: DType, a: u64, b: u64) -> bool {
    let order =
        if d.is_float() { float(d, a).partial_cmp(&float(d, b)) } else { Some(number(d, a).cmp(&number(d, b))) };
    use std::cmp::Ordering::*;
    match op {
        CmpOp::Eq => order == Some(Equal),
        CmpOp::Ne => order != Some(Equal),
        CmpOp::Lt => order == Some(Less),
        CmpOp::Le => matches!(order, Some(Less | Equal)),
        CmpOp::Gt => order == Some(Greater),
        CmpOp::Ge => matches!(order, Some(Greater | Equal)),
    }
}

pub fn cast(from: DType, to: DType, a: u64) -> u64 {
    if to == DType::Bool {
        return if from.is_float() { (float(from, a) != 0.0) as u64 } else { (a & mask(from) != 0) as u64 };
    }
    if from.is_float() {
        let x = float(from, a);
        if to.is_float() {
            return from_float(to, x);
        }
        let width = 8 * to.size() as u32;
        let (min, max) = if to.is_signed() {
            (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1)
        } else {
            (0, (1i128 << width) - 1)
        };
        return (if x.is_nan() { 0 } else { (x as i128).clamp(min, max) }) as u64 & mask(to);
    }
    let n = number(from, a);
    match to {
        DType::F32 => (n as f32).to_bits() as u64,
        to if to.is_float() => from_float(to, n as f64),
        to => n as u64 & mask(to),
    }
}

pub fn unary(op: UnaryOp, d: DType, a: u64) -> u64 {
    if d == DType::Bool {
        return a ^ 1;
    }
    if d.is_float() {
        let x = float(d, a);
        return match op {
            UnaryOp::IsNan => x.is_nan() as u64,
            UnaryOp::IsInf => x.is_infinite() as u64,
            UnaryOp::Neg => from_float(d, -x),
            UnaryOp::Abs => from_float(d, x.abs()),
            UnaryOp::Sign => from_float(
                d,
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                },
            ),
            UnaryOp::Floor => from_float(d, x.floor()),
            UnaryOp::Ceil => from_float(d, x.ceil()),
            UnaryOp::Trunc => from_float(d, x.trunc()),
            UnaryOp::Round => from_float(d, x.round_ties_even()),
            UnaryOp::Sqrt => from_float(d, x.sqrt()),
            UnaryOp::Recip => from_float(d, 1.0 / x),
            other => unreachable!("{other:?}"),
        };
    }
    let (n, width) = (number(d, a), 8 * d.size() as u32);
    let low = a & mask(d);
    (match op {
        UnaryOp::Neg => (-n) as u64,
        UnaryOp::Abs => n.unsigned_abs() as u64,
        UnaryOp::Sign => n.signum() as u64,
        UnaryOp::Not => !n as u64,
        UnaryOp::CountOnes => low.count_ones() as u64,
        UnaryOp::LeadingZeros => (low.leading_zeros() - (64 - width)) as u64,
        UnaryOp::TrailingZeros => low.trailing_zeros().min(width) as u64,
        UnaryOp::IsNan | UnaryOp::IsInf => 0,
        other => unreachable!("{other:?}"),
    }) & mask(d)
}

impl Lane<'_> {
    fn elem(&self, v: anychip_hal::ir::Value) -> DType {
        dtype(self.k, self.k.ty(v).elem().unwrap())
    }

    fn of(&self, v: anychip_hal::ir::Value) -> Vec<u64> {
        self.values[v.at()].clone()
    }

    fn one(&self, v: anychip_hal::ir::Value) -> u64 {
        self.values[v.at()][0]
    }

    fn block(&mut self, block: &Block) -> Flow {
        for inst in block {
            self.steps += 1;
            assert!(self.steps < 2_000_000, "a loop does not end");
            let flow = self.inst(inst);
            if flow != Flow::On {
                return flow;
            }
        }
        Flow::On
    }

    fn inst(&mut self, inst: &Inst) -> Flow {
        let ty = inst.out.map(|o| self.k.ty(o));
        let lanes = ty.map_or(0, Type::lanes) as usize;
        let d = ty.map_or(DType::U32, |t| dtype(self.k, t.elem().unwrap()));
        let out: Vec<u64> = match &inst.op {
            Op::Const(b) => vec![*b; lanes],
            Op::Scalar(p) => match self.k.params[p.at()].kind {
                ParamKind::Scalar { .. } => vec![self.scalars[p.at()]],
                ParamKind::Buffer { .. } => unreachable!(),
            },
            Op::Builtin(b) => vec![match *b {
                Builtin::GroupId(i) => self.group[i as usize],
                Builtin::NumGroups(i) => self.groups[i as usize] as u64,
                Builtin::LocalId(i) => self.local[i as usize],
                Builtin::LocalSize(i) => self.k.workgroup[i as usize] as u64,
                Builtin::GlobalId(i) => {
                    let i = i as usize;
                    self.group[i] * self.k.workgroup[i] as u64 + self.local[i]
                }
                other => unreachable!("{other:?}"),
            }],
            Op::Unary(op, a) => {
                let d = self.elem(*a);
                self.of(*a).into_iter().map(|a| unary(*op, d, a)).collect()
            }
            Op::Binary(op, a, b) => {
                self.of(*a).into_iter().zip(self.of(*b)).map(|(a, b)| binary(*op, d, a, b)).collect()
            }
            Op::Compare(op, a, b) => {
                let d = self.elem(*a);
                self.of(*a).into_iter().zip(self.of(*b)).map(|(a, b)| compare(*op, d, a, b) as u64).collect()
            }
            Op::Select(c, a, b) => {
                let (c, a, b) = (self.of(*c), self.of(*a), self.of(*b));
                (0..lanes).map(|i| if c[i.min(c.len() - 1)] != 0 { a[i] } else { b[i] }).collect()
            }
            Op::Cast(a) => {
                let from = self.elem(*a);
                self.of(*a).into_iter().map(|a| cast(from, d, a)).collect()
            }
            Op::Bitcast(a) => self.of(*a),
            Op::Vector(of) => of.iter().map(|v| self.one(*v)).collect(),
            Op::Splat(a) => vec![self.one(*a); lanes],
            Op::Extract(a, i) => vec![self.of(*a)[*i as usize]],
            Op::Load { place, index, .. } => {
                let i = number(self.elem(*index), self.one(*index)) as usize;
                (i..i + lanes).map(|i| self.read(*place, i)).collect()
            }
            Op::Store { place, index, value, .. } => {
                let i = number(self.elem(*index), self.one(*index)) as usize;
                for (n, bits) in self.of(*value).into_iter().enumerate() {
                    self.write(*place, i + n, bits);
                }
                vec![]
            }
            Op::Get(v) => self.vars[v.at()].clone(),
            Op::Set(v, a) => {
                self.vars[v.at()] = self.of(*a);
                vec![]
            }
            Op::If { cond, then, otherwise } => {
                return if self.one(*cond) != 0 { self.block(then) } else { self.block(otherwise) };
            }
            Op::For { var, start, end, step, body, .. } => {
                let d = self.elem(*start);
                let (mut at, end) = (number(d, self.one(*start)), number(d, self.one(*end)));
                let step = number(d, self.one(*step)).max(1);
                while at < end {
                    self.values[var.at()] = vec![at as u64 & mask(d)];
                    match self.block(body) {
                        Flow::Break => break,
                        Flow::Return => return Flow::Return,
                        Flow::On | Flow::Continue => {}
                    }
                    at += step;
                }
                vec![]
            }
            Op::While { head, cond, body } => {
                loop {
                    assert!(self.block(head) == Flow::On);
                    if self.one(*cond) == 0 {
                        break;
                    }
                    match self.block(body) {
                        Flow::Break => break,
                        Flow::Return => return Flow::Return,
                        Flow::On | Flow::Continue => {}
                    }
                }
                vec![]
            }
            Op::Break => return Flow::Break,
            Op::Continue => return Flow::Continue,
            Op::Return => return Flow::Return,
            other => unreachable!("{other:?}"),
        };
        if let Some(o) = inst.out {
            self.values[o.at()] = out;
        }
        Flow::On
    }

    fn buffer(&self, p: anychip_hal::ir::ParamId) -> (usize, DType) {
        let n = self.k.buffers().position(|b| b.0 == p).unwrap();
        (n, self.k.buffers().nth(n).unwrap().1)
    }

    fn read(&mut self, place: Place, i: usize) -> u64 {
        match place {
            Place::Buffer(p) => {
                let (n, d) = self.buffer(p);
                let bits = super::bits_at(&self.bufs[n], i, d);
                if d == DType::Bool { (bits != 0) as u64 } else { bits }
            }
            Place::Private(a) => self.private[a.at()][i],
            Place::Shared(_) => unreachable!(),
        }
    }

    fn write(&mut self, place: Place, i: usize, bits: u64) {
        match place {
            Place::Buffer(p) => {
                let (n, d) = self.buffer(p);
                let size = d.size();
                self.bufs[n][i * size..(i + 1) * size].copy_from_slice(&bits.to_le_bytes()[..size]);
            }
            Place::Private(a) => self.private[a.at()][i] = bits,
            Place::Shared(_) => unreachable!(),
        }
    }
}
