//! A scalar interpreter of legalised kernels: one thread per lane, barriers are real. For small grids in tests.
//!
//! Every access outside an array panics, and buffers lie behind a few poisoned elements that only the hidden offset
//! skips: a guard or an offset that is missing fails the test.

use anychip_hal::{
    DType,
    ir::{build::encode_f64, *},
};
use half::{bf16, f16};
use std::sync::{
    Barrier as Meet,
    atomic::{AtomicU64, Ordering::SeqCst},
};

const OFFSET: usize = 3;
const POISON: u64 = 0xdead_beef_dead_beef;

type Lanes = [u64; 8];
type Cells = Vec<AtomicU64>;

/// What the language leaves to a device.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    /// `MulAdd` rounds once; else twice.
    pub fused: bool,
    /// Floating-point operations take subnormal operands as zeros and give zeros for subnormal results.
    pub flush: bool,
    /// Sums and differences take products that they are made of without rounding them, as compilers do that contract.
    pub contracts: bool,
    /// Units in the last place that divisions and square roots of f32 are off.
    pub sloppy: u32,
    /// Those of f64 as well.
    pub sloppy_doubles: bool,
}

/// Runs a kernel over a linear or three-dimensional grid; `buffers` hold one element's bits each, `scalars` are the
/// user's. `asked`: workgroups of the linear grid, where it is folded.
pub fn run(k: &Kernel, groups: [u32; 3], asked: u64, buffers: &mut [Vec<u64>], scalars: &[u64]) {
    let as_they_are: Vec<DType> = k.buffers().map(|b| b.1).collect();
    run_as(k, &as_they_are, groups, asked, buffers, scalars);
}

/// Elements as the kernel's memory holds them: words where its buffer is one of words and `elem` is smaller. The bits beside
/// the elements, in front and behind, are poisoned.
fn pack(elem: DType, lies: DType, x: &[u64]) -> Vec<u64> {
    if elem.size() > lies.size() {
        let words = x.iter().flat_map(|x| [x & 0xffff_ffff, x >> 32]);
        return std::iter::repeat_n(POISON, 2 * OFFSET).chain(words).collect();
    }
    if elem.size() == lies.size() {
        return std::iter::repeat_n(POISON, OFFSET).chain(x.iter().copied()).collect();
    }
    let mut bytes = vec![0xad; OFFSET * elem.size()];
    bytes.extend(x.iter().flat_map(|x| x.to_le_bytes()[..elem.size()].to_vec()));
    bytes.resize(bytes.len().next_multiple_of(4), 0xad);
    bytes.chunks(4).map(|w| u64::from(u32::from_le_bytes(w.try_into().expect("4 bytes")))).collect()
}

fn unpack(name: &str, elem: DType, lies: DType, n: usize, x: &[u64]) -> Vec<u64> {
    if elem.size() > lies.size() {
        let (front, own) = x.split_at(2 * OFFSET);
        assert!(front.iter().all(|c| *c == POISON), "written before the offset of {name}");
        return own.chunks(2).map(|w| (w[1] << 32) | (w[0] & 0xffff_ffff)).collect();
    }
    if elem.size() == lies.size() {
        assert!(x[..OFFSET].iter().all(|c| *c == POISON), "written before the offset of {name}");
        return x[OFFSET..].to_vec();
    }
    let bytes: Vec<u8> = x.iter().flat_map(|w| (*w as u32).to_le_bytes()).collect();
    let (front, rest) = bytes.split_at(OFFSET * elem.size());
    let (own, behind) = rest.split_at(n * elem.size());
    assert!(front.iter().chain(behind).all(|b| *b == 0xad), "written beside {name}: {bytes:x?}");
    own.chunks(elem.size()).map(|c| c.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))).collect()
}

/// Like [`run`], where buffers of the kernel before had these elements.
pub fn run_as(k: &Kernel, elems: &[DType], groups: [u32; 3], asked: u64, buffers: &mut [Vec<u64>], scalars: &[u64]) {
    run_on(Machine::default(), k, elems, groups, asked, buffers, scalars);
}

/// Like [`run_as`], on a machine of one's choice. The default one rounds `MulAdd` twice, the stricter way, and keeps subnormal
/// numbers.
pub fn run_on(
    machine: Machine,
    k: &Kernel,
    elems: &[DType],
    groups: [u32; 3],
    asked: u64,
    buffers: &mut [Vec<u64>],
    scalars: &[u64],
) {
    let cells = |n: usize| -> Cells { (0..n).map(|_| AtomicU64::new(POISON)).collect() };
    let mut memory = vec![];
    let mut given = vec![];
    let (mut b, mut s) = (0, 0);
    let mut lens = vec![];
    let mut users = vec![];
    for p in &k.params {
        memory.push(vec![]);
        given.push(0);
        lens.push(0);
        match p.kind {
            ParamKind::Buffer { elem, .. } => {
                let at = memory.len() - 1;
                lens[at] = buffers[b].len();
                memory[at] = pack(elems[b], elem, &buffers[b]).into_iter().map(AtomicU64::new).collect();
                b += 1;
            }
            ParamKind::Scalar { role, elem } => {
                *given.last_mut().expect("pushed") = match role {
                    Role::User => {
                        s += 1;
                        users.push((ParamId(memory.len() as u32 - 1), scalars[s - 1]));
                        if elem == Elem::D(DType::U32) { scalars[s - 1] & 0xffff_ffff } else { scalars[s - 1] }
                    }
                    Role::High(p) => users.iter().find(|u| u.0 == p).expect("its low word came before").1 >> 32,
                    Role::Offset(_) => OFFSET as u64,
                    Role::Len(p) => lens[p.at()] as u64,
                    Role::Groups => asked,
                };
            }
        }
    }
    let mut products = vec![None; k.values.len()];
    visit(&k.body, &mut |i| {
        if let (Op::Binary(BinaryOp::Mul, a, b), Some(out)) = (&i.op, i.out) {
            products[out.at()] =
                (machine.contracts && k.ty(out).elem().is_some_and(Elem::is_float)).then_some((*a, *b));
        }
    });
    for g in 0..groups.iter().product::<u32>() {
        let group = [g % groups[0], g / groups[0] % groups[1], g / groups[0] / groups[1]];
        let shared: Vec<Cells> = k.shared.iter().map(|a| cells(a.len as usize)).collect();
        let meet = Meet::new(k.lanes() as usize);
        std::thread::scope(|scope| {
            for lane in 0..k.lanes() {
                let (memory, shared, given, meet, products) = (&memory, &shared, &given, &meet, &products[..]);
                scope.spawn(move || {
                    let mut l = Lane {
                        machine,
                        products,
                        k,
                        lane,
                        group,
                        groups,
                        memory,
                        shared,
                        private: k.private.iter().map(|a| cells(a.len as usize)).collect(),
                        given,
                        meet,
                        values: vec![[0; 8]; k.values.len()],
                        vars: vec![[POISON; 8]; k.vars.len()],
                    };
                    // A lane that fails would leave the others waiting: end the test at once.
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| l.block(&k.body))).is_err() {
                        eprintln!("lane {lane} of group {group:?} failed in\n{k}");
                        std::process::abort();
                    }
                });
            }
        });
    }
    let mut b = 0;
    for (p, m) in k.params.iter().zip(&memory) {
        if let ParamKind::Buffer { elem, .. } = p.kind {
            let now: Vec<u64> = m.iter().map(|c| c.load(SeqCst)).collect();
            buffers[b] = unpack(&p.name, elems[b], elem, buffers[b].len(), &now);
            b += 1;
        }
    }
}

#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
    Return,
}

struct Lane<'a> {
    machine: Machine,
    /// Factors of the values that are products of floats, where the machine contracts.
    products: &'a [Option<(Value, Value)>],
    k: &'a Kernel,
    lane: u32,
    group: [u32; 3],
    groups: [u32; 3],
    memory: &'a [Cells],
    shared: &'a [Cells],
    private: Vec<Cells>,
    given: &'a [u64],
    meet: &'a Meet,
    values: Vec<Lanes>,
    vars: Vec<Lanes>,
}

/// Number of an element type: exact integers, floats as f64.
#[derive(Clone, Copy)]
enum Num {
    I(i128),
    F(f64),
}

fn bits(e: Elem, idx: u8) -> u32 {
    match e {
        Elem::Idx => idx as u32,
        Elem::D(d) => d.size() as u32 * 8,
    }
}

fn decode(e: Elem, x: u64, idx: u8) -> Num {
    match e {
        Elem::D(DType::F16) => Num::F(f16::from_bits(x as u16).to_f64()),
        Elem::D(DType::BF16) => Num::F(bf16::from_bits(x as u16).to_f64()),
        Elem::D(DType::F32) => Num::F(f32::from_bits(x as u32) as f64),
        Elem::D(DType::F64) => Num::F(f64::from_bits(x)),
        Elem::D(DType::F8E4M3 | DType::F8E5M2) => panic!("no small float is left in these tests"),
        Elem::D(DType::Bool) => Num::I((x & 1) as i128),
        e => {
            let s = 64 - bits(e, idx);
            Num::I(if e.is_signed() { (((x << s) as i64) >> s) as i128 } else { ((x << s) >> s) as i128 })
        }
    }
}

fn encode(e: Elem, n: Num, idx: u8) -> u64 {
    match (e, n) {
        (Elem::D(DType::Bool), Num::I(i)) => (i != 0) as u64,
        (Elem::D(DType::Bool), Num::F(f)) => (f != 0.0) as u64,
        (e, Num::F(f)) if e.is_float() => encode_f64(e, f),
        (e, Num::I(i)) if e.is_float() => encode_f64(e, i as f64),
        (Elem::Idx, Num::F(f)) => encode_f64(Elem::D(if idx == 32 { DType::U32 } else { DType::U64 }), f),
        (e, Num::F(f)) => encode_f64(e, f),
        (e, Num::I(i)) => (i as u64) & (u64::MAX >> (64 - bits(e, idx))),
    }
}

fn fused(elem: Elem, a: f64, b: f64, c: f64) -> f64 {
    match elem {
        Elem::D(DType::F64) => a.mul_add(b, c),
        _ => (a as f32).mul_add(b as f32, c as f32) as f64,
    }
}

impl Lane<'_> {
    fn block(&mut self, b: &Block) -> Flow {
        for i in b {
            let flow = self.inst(i);
            if flow != Flow::On {
                return flow;
            }
        }
        Flow::On
    }

    fn num(&self, v: Value, lane: usize) -> Num {
        let e = self.k.ty(v).elem().expect("a number");
        decode(e, self.flushed(e, self.values[v.at()][lane]), self.k.idx_bits)
    }

    /// The bits as this machine computes with them.
    fn flushed(&self, e: Elem, x: u64) -> u64 {
        match e {
            Elem::D(DType::F32) if self.machine.flush && x & 0x7f80_0000 == 0 => x & 0x8000_0000,
            Elem::D(DType::F64) if self.machine.flush && x & 0x7ff0_0000_0000_0000 == 0 => x & 1 << 63,
            _ => x,
        }
    }

    /// A sum or difference of a product and another float, rounded once.
    fn contracted(&self, op: BinaryOp, a: Value, b: Value, l: usize) -> Option<f64> {
        let float = |v: Value| match self.num(v, l) {
            Num::F(x) => x,
            Num::I(_) => panic!("products of floats are floats"),
        };
        let minus = if op == BinaryOp::Sub { -1.0 } else { 1.0 };
        let elem = self.k.ty(a).elem().expect("a number");
        match (self.products[a.at()], self.products[b.at()]) {
            (Some((x, y)), _) => Some(fused(elem, float(x), float(y), float(b) * minus)),
            (None, Some((x, y))) => Some(fused(elem, float(x) * minus, float(y), float(a))),
            _ => None,
        }
    }

    /// A result as far off as this machine's are.
    fn off(&self, e: Elem, x: f64) -> f64 {
        match e {
            Elem::D(DType::F32) if self.machine.sloppy > 0 && x.is_normal() && (x as f32).is_normal() => {
                // Now up, now down.
                let bits = (x as f32).to_bits();
                let by = if bits.count_ones().is_multiple_of(2) {
                    self.machine.sloppy
                } else {
                    self.machine.sloppy.wrapping_neg()
                };
                f32::from_bits(bits.wrapping_add(by)) as f64
            }
            Elem::D(DType::F64) if self.machine.sloppy_doubles && x.is_normal() => {
                let (bits, by) = (x.to_bits(), self.machine.sloppy as u64);
                f64::from_bits(if bits.count_ones().is_multiple_of(2) { bits + by } else { bits - by })
            }
            _ => x,
        }
    }

    fn int(&self, v: Value) -> i128 {
        match self.num(v, 0) {
            Num::I(i) => i,
            Num::F(_) => panic!("an integer was expected"),
        }
    }

    fn cells(&self, p: Place) -> &[AtomicU64] {
        match p {
            Place::Buffer(p) => &self.memory[p.at()],
            Place::Shared(s) => &self.shared[s.at()],
            Place::Private(p) => &self.private[p.at()],
        }
    }

    fn inst(&mut self, i: &Inst) -> Flow {
        let idx = self.k.idx_bits;
        match &i.op {
            Op::If { cond, then, otherwise } => {
                return self.block(if self.int(*cond) != 0 { then } else { otherwise });
            }
            Op::For { var, start, end, step, body, .. } => {
                let e = self.k.ty(*var).elem().expect("an integer");
                let (mut at, end, step) = (self.int(*start), self.int(*end), self.int(*step));
                assert!(step >= 1, "a step below 1 was left");
                while at < end {
                    self.values[var.at()][0] = encode(e, Num::I(at), idx);
                    match self.block(body) {
                        Flow::Break => break,
                        Flow::Return => return Flow::Return,
                        _ => at += step,
                    }
                }
            }
            Op::While { head, cond, body } => loop {
                if self.block(head) == Flow::Return {
                    return Flow::Return;
                }
                if self.int(*cond) == 0 {
                    break;
                }
                match self.block(body) {
                    Flow::Break => break,
                    Flow::Return => return Flow::Return,
                    _ => {}
                }
            },
            Op::Break => return Flow::Break,
            Op::Continue => return Flow::Continue,
            Op::Return => return Flow::Return,
            Op::Barrier(_) => {
                self.meet.wait();
            }
            Op::Set(v, to) => self.vars[v.at()] = self.values[to.at()],
            Op::Atomic { op: op @ (AtomicOp::And | AtomicOp::Or), place, index, value, .. } => {
                let (cell, x) = (&self.cells(*place)[self.int(*index) as usize], self.values[value.at()][0]);
                assert!(i.out.is_none(), "the old value is not for these tests");
                let _ = if *op == AtomicOp::And { cell.fetch_and(x, SeqCst) } else { cell.fetch_or(x, SeqCst) };
            }
            Op::Store { place, index, value, .. } => {
                let at = self.int(*index) as usize;
                for l in 0..self.k.ty(*value).lanes() as usize {
                    self.cells(*place)[at + l].store(self.values[value.at()][l], SeqCst);
                }
            }
            op => {
                let Some(out) = i.out else { panic!("{op:?} without a result") };
                let Type::Num { elem, lanes } = self.k.ty(out) else { panic!("a fragment was left") };
                for l in 0..lanes as usize {
                    self.values[out.at()][l] = self.lane_op(op, elem, l);
                }
            }
        }
        Flow::On
    }

    fn lane_op(&self, op: &Op, out: Elem, l: usize) -> u64 {
        let idx = self.k.idx_bits;
        let [wx, wy, _] = self.k.workgroup;
        let n = match op {
            Op::Const(bits) => return *bits,
            Op::Scalar(p) => return self.given[p.at()],
            Op::Get(v) => return self.vars[v.at()][l],
            Op::Extract(v, lane) => return self.values[v.at()][*lane as usize],
            Op::Vector(of) => return self.values[of[l].at()][0],
            Op::Splat(v) => return self.values[v.at()][0],
            Op::Bitcast(v) => return self.values[v.at()][l],
            Op::Select(c, a, b) => {
                return if self.values[c.at()][l] != 0 { self.values[a.at()][l] } else { self.values[b.at()][l] };
            }
            Op::Load { place, index, .. } => {
                return self.cells(*place)[self.int(*index) as usize + l].load(SeqCst);
            }
            Op::Atomic { op: AtomicOp::Add, place, index, value, .. } => {
                let add = self.values[value.at()][0];
                return self.cells(*place)[self.int(*index) as usize].fetch_add(add, SeqCst);
            }
            Op::Builtin(b) => Num::I(match b {
                Builtin::GroupId(d) => self.group[*d as usize] as i128,
                Builtin::NumGroups(d) => self.groups[*d as usize] as i128,
                Builtin::LocalId(0) => (self.lane % wx) as i128,
                Builtin::LocalId(1) => (self.lane / wx % wy) as i128,
                Builtin::LocalId(_) => (self.lane / wx / wy) as i128,
                other => panic!("{other:?} was left"),
            }),
            Op::Cast(v) => self.num(*v, l),
            Op::Compare(op, a, b) => {
                let order = match (self.num(*a, l), self.num(*b, l)) {
                    (Num::I(a), Num::I(b)) => Some(a.cmp(&b)),
                    (Num::F(a), Num::F(b)) => a.partial_cmp(&b),
                    _ => panic!("operands differ"),
                };
                use std::cmp::Ordering::*;
                Num::I(match op {
                    CmpOp::Eq => order == Some(Equal),
                    CmpOp::Ne => order != Some(Equal),
                    CmpOp::Lt => order == Some(Less),
                    CmpOp::Le => matches!(order, Some(Less | Equal)),
                    CmpOp::Gt => order == Some(Greater),
                    CmpOp::Ge => matches!(order, Some(Greater | Equal)),
                } as i128)
            }
            Op::Unary(op, a) => match (op, self.num(*a, l)) {
                (UnaryOp::Neg, Num::I(a)) => Num::I(-a),
                (UnaryOp::Not, Num::I(a)) if out.is_bool() => Num::I((a == 0) as i128),
                (UnaryOp::Not, Num::I(a)) => Num::I(!a),
                (UnaryOp::Neg, Num::F(a)) => Num::F(-a),
                (UnaryOp::Abs, Num::F(a)) => Num::F(a.abs()),
                (UnaryOp::IsNan, Num::F(a)) => Num::I(a.is_nan() as i128),
                (UnaryOp::Abs, Num::I(a)) => Num::I(a.abs()),
                (UnaryOp::Sign, Num::I(a)) => Num::I(a.signum()),
                (UnaryOp::CountOnes | UnaryOp::LeadingZeros | UnaryOp::TrailingZeros, Num::I(a)) => {
                    let width = bits(out, idx);
                    let low = a as u64 & (u64::MAX >> (64 - width));
                    Num::I(i128::from(match op {
                        UnaryOp::CountOnes => low.count_ones(),
                        UnaryOp::LeadingZeros => low.leading_zeros() - (64 - width),
                        _ => low.trailing_zeros().min(width),
                    }))
                }
                (UnaryOp::Trunc, Num::F(a)) => Num::F(a.trunc()),
                (UnaryOp::Round, Num::F(a)) => Num::F(a.round_ties_even()),
                (UnaryOp::Floor, Num::F(a)) => Num::F(a.floor()),
                (UnaryOp::Ceil, Num::F(a)) => Num::F(a.ceil()),
                (UnaryOp::Sqrt, Num::F(a)) => Num::F(self.off(out, a.sqrt())),
                (op, _) => panic!("{op:?} is not for these tests"),
            },
            Op::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) if self.contracted(*op, *a, *b, l).is_some() => {
                Num::F(self.contracted(*op, *a, *b, l).expect("asked"))
            }
            Op::Binary(op, a, b) => match (op, self.binary(*op, self.num(*a, l), self.num(*b, l), bits(out, idx))) {
                (BinaryOp::Div, Num::F(q)) => Num::F(self.off(out, q)),
                (_, n) => n,
            },
            Op::MulAdd(a, b, c) => match (self.num(*a, l), self.num(*b, l), self.num(*c, l)) {
                (Num::F(a), Num::F(b), Num::F(c)) if self.machine.fused => Num::F(fused(out, a, b, c)),
                (Num::F(a), Num::F(b), Num::F(c)) => {
                    let Num::F(p) = decode(out, self.flushed(out, encode_f64(out, a * b)), idx) else {
                        panic!("a float")
                    };
                    Num::F(p + c)
                }
                (Num::I(a), Num::I(b), Num::I(c)) => Num::I(a.wrapping_mul(b).wrapping_add(c)),
                _ => panic!("operands differ"),
            },
            op => panic!("{op:?} was left by the legaliser, or is not for these tests"),
        };
        self.flushed(out, encode(out, n, idx))
    }

    fn binary(&self, op: BinaryOp, a: Num, b: Num, width: u32) -> Num {
        match (a, b) {
            (Num::F(a), Num::F(b)) => Num::F(match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div => a / b,
                BinaryOp::Min if a.is_nan() || b.is_nan() => f64::NAN,
                BinaryOp::Min => a.min(b),
                BinaryOp::Max if a.is_nan() || b.is_nan() => f64::NAN,
                BinaryOp::Max => a.max(b),
                op => panic!("{op:?} of floats is not for these tests"),
            }),
            (Num::I(a), Num::I(b)) => Num::I(match op {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a.wrapping_mul(b),
                BinaryOp::Div => a.checked_div(b).unwrap_or(0),
                BinaryOp::Rem => a.checked_rem(b).unwrap_or(0),
                BinaryOp::Min => a.min(b),
                BinaryOp::Max => a.max(b),
                BinaryOp::And => a & b,
                BinaryOp::Or => a | b,
                BinaryOp::Xor => a ^ b,
                BinaryOp::Shl => a << (b as u32 % width),
                BinaryOp::Shr => a >> (b as u32 % width),
                BinaryOp::Pow => panic!("powers of integers do not exist"),
            }),
            _ => panic!("operands differ"),
        }
    }
}
