//! Random kernels against the scalar interpreter: expressions of all kinds, nested branches and loops with break,
//! continue and return, variables, private arrays, vectors; in workgroups of many shapes.

mod common;

use anychip_cpu::vmath::Level;
use anychip_hal::{
    DType, RawDevice,
    ir::{Access, BinaryOp, Builder, Builtin, CmpOp, Elem, Kernel, ParamId, Place, PrivateId, UnaryOp, Value, VarId},
};
use common::{scalar, *};

const INPUT: u64 = 97;

struct Gen {
    b: Builder,
    r: Random,
    /// Values in scope.
    pool: Vec<Value>,
    vars: Vec<VarId>,
    private: PrivateId,
    input: [ParamId; 3],
    out: ParamId,
    gid: Value,
    budget: i32,
}

impl Gen {
    fn dtype(&self, v: Value) -> DType {
        self.b.ty(v).elem().unwrap().dtype().unwrap_or(DType::U32)
    }

    /// A value of a type: from the pool or made.
    fn pick(&mut self, d: DType) -> Value {
        let of: Vec<Value> = self.pool.iter().copied().filter(|&v| self.b.ty(v).elem() == Some(Elem::D(d))).collect();
        if !of.is_empty() && self.r.below(8) != 0 {
            return of[self.r.below(of.len())];
        }
        match d {
            DType::Bool => {
                let x = self.r.below(2) == 1;
                self.b.bool(x)
            }
            DType::F32 => {
                let x = self.r.below(2000) as f32 * 0.25 - 250.0;
                self.b.f32(x)
            }
            d => {
                let small = [0, 1, 2, 3, 7, 8, -1, -3, 100][self.r.below(9)];
                self.b.integer(d, small)
            }
        }
    }

    fn any(&mut self) -> DType {
        [DType::U32, DType::U32, DType::I32, DType::I64, DType::F32, DType::Bool, DType::U8][self.r.below(7)]
    }

    fn small(&mut self, mask: i64) -> Value {
        let v = self.pick(DType::U32);
        let m = self.b.integer(DType::U32, mask);
        self.b.binary(BinaryOp::And, v, m)
    }

    fn expr(&mut self) -> Value {
        use BinaryOp::*;
        let d = self.any();
        let v = match self.r.below(12) {
            0..5 => {
                let (x, y) = (self.pick(d), self.pick(d));
                let ops: &[BinaryOp] = match d {
                    DType::Bool => &[And, Or, Xor],
                    DType::F32 => &[Add, Sub, Mul, Div, Min, Max],
                    _ => &[Add, Sub, Mul, Div, Rem, Min, Max, And, Or, Xor, Shl, Shr, Add, Mul],
                };
                let op = ops[self.r.below(ops.len())];
                self.b.binary(op, x, y)
            }
            5 | 6 => {
                let d = if d == DType::Bool { DType::I32 } else { d };
                let (x, y) = (self.pick(d), self.pick(d));
                let op = [CmpOp::Eq, CmpOp::Ne, CmpOp::Lt, CmpOp::Le, CmpOp::Gt, CmpOp::Ge][self.r.below(6)];
                self.b.compare(op, x, y)
            }
            7 => {
                let (c, x, y) = (self.pick(DType::Bool), self.pick(d), self.pick(d));
                self.b.select(c, x, y)
            }
            8 => {
                let from = self.any();
                let v = self.pick(from);
                self.b.cast(d, v)
            }
            9 => {
                let v = self.pick(d);
                let op = match d {
                    DType::Bool => UnaryOp::Not,
                    DType::F32 => [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Floor][self.r.below(3)],
                    DType::U32 | DType::U8 => [UnaryOp::Not, UnaryOp::CountOnes][self.r.below(2)],
                    _ => [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Not, UnaryOp::CountOnes][self.r.below(4)],
                };
                self.b.unary(op, v)
            }
            10 => {
                // A vector: loaded or made, computed with, taken apart.
                let lanes = [2u8, 4, 8][self.r.below(3)];
                let at = self.small(15);
                let four = self.b.integer(DType::U32, [1, 4, 8][self.r.below(3)]);
                let at = self.b.mul(at, four);
                let at = self.bound(at, lanes as u64);
                let v = self.b.load_vec(Place::Buffer(self.input[1]), at, lanes);
                let w = self.pick(DType::U32);
                let w = self.b.splat(w, lanes);
                let s = self.b.add(v, w);
                let lane = self.r.below(lanes as usize) as u8;
                self.b.extract(s, lane)
            }
            _ => {
                let which = self.r.below(3);
                let at = match self.r.below(3) {
                    0 => self.pick(DType::U32),
                    1 => self.gid,
                    _ => {
                        let c = self.r.below(50) as i64;
                        let c = self.b.integer(DType::U32, c);
                        self.b.add(self.gid, c)
                    }
                };
                let at = self.bound(at, 1);
                self.b.load(Place::Buffer(self.input[which]), at)
            }
        };
        self.pool.push(v);
        v
    }

    /// An index whose `lanes` elements are in the input.
    fn bound(&mut self, at: Value, lanes: u64) -> Value {
        let n = self.b.integer(DType::U32, (INPUT - lanes + 1) as i64);
        self.b.binary(BinaryOp::Rem, at, n)
    }

    fn var(&mut self) -> VarId {
        self.vars[self.r.below(self.vars.len())]
    }

    fn set(&mut self) {
        let v = self.var();
        let old = self.b.get(v);
        let d = self.dtype(old);
        let new = self.pick(d);
        let new = if d == DType::Bool || self.r.below(2) == 0 { new } else { self.b.add(old, new) };
        // Reads after the write, too.
        self.b.set(v, new);
        self.pool.push(old);
        let now = self.b.get(v);
        self.pool.push(now);
    }

    fn block(&mut self, depth: usize, in_loop: bool) {
        let scope = self.pool.len();
        for _ in 0..2 + self.r.below(5) {
            self.budget -= 1;
            if self.budget < 0 {
                break;
            }
            match self.r.below(16) {
                0..6 => {
                    self.expr();
                }
                6..9 => self.set(),
                9 => {
                    let (at, v) = (self.small(7), self.pick(DType::U32));
                    self.b.store(Place::Private(self.private), at, v);
                    let at = self.small(7);
                    let v = self.b.load(Place::Private(self.private), at);
                    self.pool.push(v);
                }
                10 => {
                    let slots = self.b.integer(DType::U32, 4);
                    let slot = self.r.below(4) as i64;
                    let slot = self.b.integer(DType::U32, slot);
                    let at = self.b.mul(self.gid, slots);
                    let at = self.b.add(at, slot);
                    let v = self.pick(DType::U32);
                    self.b.store(Place::Buffer(self.out), at, v);
                }
                11 | 12 if depth > 0 => {
                    let c = self.pick(DType::Bool);
                    self.b.begin_if(c);
                    self.block(depth - 1, in_loop);
                    if self.r.below(2) == 0 {
                        self.b.begin_else();
                        self.block(depth - 1, in_loop);
                    }
                    self.b.end_if();
                }
                13 if depth > 0 => {
                    let (start, end) = (self.small(3), self.small(7));
                    let step = if self.r.below(2) == 0 { self.small(3) } else { self.b.u32(2) };
                    let (start, end, step) = if self.r.below(3) == 0 {
                        let d = [DType::I64, DType::I32, DType::U8][self.r.below(3)];
                        (self.b.cast(d, start), self.b.cast(d, end), self.b.cast(d, step))
                    } else {
                        (start, end, step)
                    };
                    let i = self.b.begin_for(start, end, step, anychip_hal::ir::Unroll::Auto);
                    let scope = self.pool.len();
                    self.pool.push(i);
                    self.block(depth - 1, true);
                    self.pool.truncate(scope);
                    self.b.end_for();
                }
                14 if depth > 0 => {
                    let zero = self.b.u32(0);
                    let counter = self.b.var("counter", zero);
                    let bound = self.small(7);
                    self.b.begin_while();
                    let at = self.b.get(counter);
                    let low = self.b.compare(CmpOp::Lt, at, bound);
                    let extra = self.pick(DType::Bool);
                    let cond = if self.r.below(2) == 0 { low } else { self.b.binary(BinaryOp::And, low, extra) };
                    self.b.while_cond(cond);
                    let one = self.b.u32(1);
                    let next = self.b.get(counter);
                    let next = self.b.add(next, one);
                    self.b.set(counter, next);
                    self.block(depth - 1, true);
                    self.b.end_while();
                }
                15 if in_loop || self.r.below(8) == 0 => {
                    let c = self.pick(DType::Bool);
                    let how = self.r.below(if in_loop { 5 } else { 1 });
                    self.b.when(c, |b| {
                        b.effect(match how {
                            0 => anychip_hal::ir::Op::Return,
                            1 | 2 => anychip_hal::ir::Op::Break,
                            _ => anychip_hal::ir::Op::Continue,
                        });
                    });
                }
                _ => {
                    self.expr();
                }
            }
        }
        self.pool.truncate(scope);
    }
}

fn kernel(seed: u64, workgroup: [u32; 3]) -> Kernel {
    let mut b = Builder::new("random", workgroup);
    let input = [("a", DType::I32), ("b", DType::U32), ("c", DType::F32)].map(|(n, d)| b.buffer(n, d, Access::Read));
    let out = b.buffer("out", DType::U32, Access::ReadWrite);
    let real = b.buffer("real", DType::F32, Access::Write);
    let s = b.scalar("s", DType::U32);
    // Lane in the grid, whatever the dimensions.
    let mut at = b.u32(0);
    for d in [2u8, 1, 0] {
        let g = b.builtin(Builtin::GroupId(d));
        let n = b.builtin(Builtin::NumGroups(d));
        let (g, n) = (b.cast(DType::U32, g), b.cast(DType::U32, n));
        at = b.mul(at, n);
        at = b.add(at, g);
    }
    for d in [2u8, 1, 0] {
        let w = b.u32(workgroup[d as usize]);
        let l = b.builtin(Builtin::LocalId(d));
        at = b.mul(at, w);
        at = b.add(at, l);
    }
    let private = b.private("p", DType::U32, 8);
    let zero = b.u32(0);
    for i in 0..8 {
        let i = b.u32(i);
        b.store(Place::Private(private), i, zero);
    }
    let (i0, f0, t0, l0) = (b.integer(DType::I32, -4), b.f32(1.5), b.bool(true), b.integer(DType::I64, 1 << 40));
    let vars = vec![b.var("u", zero), b.var("i", i0), b.var("f", f0), b.var("t", t0), b.var("l", l0)];
    let lx = b.builtin(Builtin::LocalId(0));
    let pool = vec![at, s, lx];
    let mut g = Gen { b, r: Random(seed | 1), pool, vars, private, input, out, gid: at, budget: 60 };
    for _ in 0..4 {
        g.expr();
    }
    g.block(3, false);
    g.block(3, false);
    // Whoever is left writes its variables.
    let four = g.b.u32(4);
    let base = g.b.mul(at, four);
    for (n, v) in g.vars.clone().into_iter().enumerate() {
        let v = g.b.get(v);
        if g.dtype(v) == DType::F32 {
            g.b.store(Place::Buffer(real), at, v);
        } else {
            let v = g.b.cast(DType::U32, v);
            let slot = g.b.u32(n as u32 % 4);
            let i = g.b.add(base, slot);
            let old = g.b.load(Place::Buffer(out), i);
            let v = g.b.binary(BinaryOp::Xor, v, old);
            g.b.store(Place::Buffer(out), i, v);
        }
    }
    g.b.finish().unwrap()
}

fn compare(dev: &dyn RawDevice, seed: u64, shape: ([u32; 3], [u32; 3])) {
    let (workgroup, groups) = shape;
    let k = kernel(seed, workgroup);
    let lanes = (workgroup.iter().product::<u32>() * groups.iter().product::<u32>()) as usize;
    let mut r = Random(seed.wrapping_mul(77) | 1);
    let a: Vec<i32> = (0..INPUT).map(|_| r.next() as i32 >> r.below(28)).collect();
    let u: Vec<u32> = (0..INPUT).map(|_| r.next() as u32 >> r.below(28)).collect();
    let f: Vec<f32> = (0..INPUT).map(|_| r.below(1000) as f32 - 500.0).collect();
    let start = [bytes(&a), bytes(&u), bytes(&f), vec![0; 16 * lanes], vec![0; 4 * lanes]];
    let mut got = start.clone();
    for idx_bits in [32, 64] {
        got.clone_from_slice(&start);
        let s = r.next() as u32 as u64 >> r.below(24);
        run_with(dev, &k, idx_bits, groups, &mut got, &[s]).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{k}"));
        let l = legal(dev, &k, idx_bits);
        let scalars: Vec<u64> = l
            .params
            .iter()
            .map(|p| match p.kind {
                anychip_hal::ir::ParamKind::Scalar { role: anychip_hal::ir::Role::User, .. } => s,
                _ => 0,
            })
            .collect();
        let mut want = start.clone();
        scalar::run(&l, groups, &mut want, &scalars);
        for i in 0..4 * lanes {
            let (x, y) = (bits_at(&got[3], i, DType::U32), bits_at(&want[3], i, DType::U32));
            assert_eq!(x, y, "seed {seed}, {workgroup:?} × {groups:?}, lane {}, word {}\n{k}", i / 4, i % 4);
        }
        for (x, y) in elements::<f32>(&got[4]).into_iter().zip(elements::<f32>(&want[4])) {
            let right = x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan() || x == 0.0 && y == 0.0;
            assert!(right, "seed {seed}: {x} not {y}\n{k}");
        }
    }
}

#[test]
fn random_kernels_do_what_the_scalar_interpreter_does() {
    let shapes = [
        ([1, 1, 1], [5, 1, 1]),
        ([32, 1, 1], [7, 1, 1]),
        ([64, 1, 1], [40, 1, 1]),
        ([5, 3, 2], [3, 2, 2]),
        ([8, 8, 1], [1, 5, 1]),
        ([256, 1, 1], [9, 1, 1]),
        ([300, 1, 1], [2, 1, 1]),
        ([1, 16, 2], [1, 1, 9]),
    ];
    let devices: Vec<_> = Level::all().map(|l| device(l, 2)).collect();
    let rounds: u64 = std::env::var("ANYCHIP_RANDOM_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(120);
    for seed in 0..rounds {
        let dev = &devices[seed as usize % devices.len()];
        compare(&**dev, seed * 7919 + 13, shapes[seed as usize / devices.len() % shapes.len()]);
    }
}
