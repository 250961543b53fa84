//! Matrix fragments and asynchronous copies as loads, stores and multiplications.
//!
//! The workgroup acts as the one subgroup that holds a fragment. An accumulator lies in a private array: its element
//! `e = row · n + col` belongs to lane `e mod lanes`, slot `e / lanes`. Operands lie in shared memory, row-major, because
//! every lane reads them all. A product adds its k terms in order, in f32 where the accumulator is narrower.

use super::{
    align::Multiples,
    emit::{Emit, Pass},
};
use crate::{
    Result,
    info::{DeviceInfo, Feature, FragmentShape},
    ir::*,
};
use std::collections::HashMap;

/// Must this kernel's fragments be lowered? Checked ones always, because their accesses are guarded one by one.
pub(super) fn must_lower(k: &Kernel, info: &DeviceInfo, checked: bool) -> bool {
    let mut lower = checked || !info.has(Feature::Fragments);
    // Whole subgroups hold fragments, where their size is known.
    lower |= info.subgroups.as_ref().is_some_and(|s| s.min == s.max && !k.lanes().is_multiple_of(s.max.max(1)));
    for f in k.values.iter().copied().chain(k.vars.iter().map(|v| v.ty)).filter_map(frag_type) {
        let is = |s: &FragmentShape| match f.role {
            FragRole::A => s.a,
            FragRole::B => s.b,
            FragRole::Acc | FragRole::Rows => s.acc,
        };
        let native = info.fragments.iter().any(|s| has(s, k, info, f) && is(s) == f.elem);
        // A fragment is loaded from memory as it lies there. Several subgroups hold sums only.
        lower |= !native || super::ints::emulated(f.elem, info);
        lower |= f.scope != Scope::Subgroup && f.role != FragRole::Acc;
    }
    let multiples = Multiples::of_kernel(k);
    let mut constants = HashMap::new();
    visit(&k.body, &mut |i| {
        if let (Op::Const(n), Some(out)) = (&i.op, i.out) {
            constants.insert(out, *n);
        }
    });
    let known = info.has(Feature::FragmentElements);
    visit(&k.body, &mut |i| {
        let swizzle = match &i.op {
            Op::FragLoad { swizzle, .. } => *swizzle,
            Op::FragMma { a: FragOperand::Tile { swizzle, .. }, b: FragOperand::Reg(_), .. }
            | Op::FragMma { a: FragOperand::Reg(_), b: FragOperand::Tile { swizzle, .. }, .. } => *swizzle,
            Op::FragMma {
                a: FragOperand::Tile { swizzle: a, .. }, b: FragOperand::Tile { swizzle: b, .. }, ..
            } => {
                if *a == Swizzle::NONE {
                    *b
                } else {
                    *a
                }
            }
            _ => Swizzle::NONE,
        };
        let visits = matches!(i.op, Op::FragEach { .. } | Op::FragMap { .. } | Op::FragRows(..));
        lower |= !known && (swizzle != Swizzle::NONE || visits);
        // Lanes hold the same elements of an operand A as of sums where those have two bytes.
        if let Op::FragMap { to, .. } = i.op {
            lower |= matches!(k.vars[to.at()].ty, Type::Frag(f) if f.role == FragRole::A && f.elem.size() != 2);
        }
        if let Op::FragMma { a, b, acc } = &i.op {
            let (Type::Frag(f), Some(left), Some(right)) = (k.ty(*acc), operand_elem(k, a), operand_elem(k, b)) else {
                return;
            };
            let native =
                info.fragments.iter().any(|s| has(s, k, info, f) && (s.a, s.b, s.acc) == (left, right, f.elem));
            lower |= !native;
            // Units that read tiles themselves want them as they are.
            let line = (FragmentShape::LINE / left.size()) as u64;
            let reads = |o: &FragOperand, by_inner: Layout, extent: u16| match *o {
                FragOperand::Reg(_) => false,
                FragOperand::Tile { index, stride, layout, swizzle, .. } => {
                    let whole = 1 << multiples.of(index).min(31) >= 8 * line;
                    let lies = layout == by_inner || u64::from(extent) == line;
                    whole && lies && swizzle == FragmentShape::TILE && constants.get(&stride) == Some(&line)
                }
            };
            let tiles = u64::from(f.k) == line && reads(a, Layout::RowMajor, 0) && reads(b, Layout::ColMajor, f.n);
            lower |= f.scope != Scope::Subgroup && !tiles;
        }
    });
    lower
}

/// Whether a shape of the device is that of a fragment of this kernel.
fn has(s: &FragmentShape, k: &Kernel, info: &DeviceInfo, f: Frag) -> bool {
    let lanes = info.subgroups.as_ref().map_or(0, |of| of.max) * u32::from(s.subgroups);
    let scope = match f.scope {
        Scope::Subgroup => s.subgroups == 1,
        Scope::Workgroup => s.subgroups > 1 && k.lanes() == lanes,
        Scope::Device => false,
    };
    scope && (s.m, s.n, s.k) == (f.m, f.n, f.k)
}

fn frag_type(t: Type) -> Option<Frag> {
    match t {
        Type::Frag(f) => Some(f),
        Type::Num { .. } => None,
    }
}

fn operand_elem(k: &Kernel, o: &FragOperand) -> Option<DType> {
    match o {
        FragOperand::Reg(v) => match k.ty(*v) {
            Type::Frag(f) => Some(f.elem),
            Type::Num { .. } => None,
        },
        FragOperand::Tile { shared, .. } => k.shared[shared.at()].elem.dtype(),
    }
}

/// What is lowered.
pub(super) struct Fragments {
    pub fragments: bool,
    pub copies: bool,
    info: DeviceInfo,
    /// Copies element by element: each has its own guard.
    pub checked: bool,
    values: HashMap<Value, Place>,
    /// Where accumulators are laid out to be reduced, by element type and size.
    rooms: HashMap<(Elem, u32), SharedId>,
    vars: HashMap<VarId, (Place, Frag)>,
}

impl Fragments {
    pub fn new(e: &mut Emit, info: &DeviceInfo, fragments: bool, copies: bool, checked: bool) -> Fragments {
        let mut vars = HashMap::new();
        if fragments {
            for i in 0..e.k.vars.len() {
                if let Type::Frag(f) = e.k.vars[i].ty {
                    vars.insert(VarId(i as u32), (storage(e, f), f));
                    // Nothing uses the variable from now on.
                    e.k.vars[i].ty = Type::U32;
                }
            }
        }
        Fragments {
            fragments,
            copies,
            info: info.clone(),
            checked,
            values: HashMap::new(),
            rooms: HashMap::new(),
            vars,
        }
    }

    /// Types of fragment values, which are no longer defined, become harmless.
    pub fn finish(&self, e: &mut Emit) {
        if self.fragments {
            e.k.values.iter_mut().filter(|t| matches!(t, Type::Frag(_))).for_each(|t| *t = Type::U32);
        }
    }

    fn define(&mut self, e: &mut Emit, out: Value, f: Frag) -> Place {
        let place = storage(e, f);
        self.values.insert(out, place);
        place
    }

    fn at(&self, v: Value) -> Place {
        *self.values.get(&v).expect("fragments are defined before their use, by an operation lowered here")
    }
}

fn frag(e: &Emit, v: Value) -> Frag {
    match e.ty(v) {
        Type::Frag(f) => f,
        Type::Num { .. } => unreachable!("the verifier has checked that this is a fragment"),
    }
}

fn size(f: Frag) -> u32 {
    let (rows, cols) = f.shape();
    rows as u32 * cols as u32
}

/// An array that holds a fragment of this kind.
fn storage(e: &mut Emit, f: Frag) -> Place {
    let elem = Elem::D(f.elem);
    if f.role == FragRole::Acc {
        let len = size(f).div_ceil(e.k.lanes());
        e.k.private.push(Array { name: "fragment".into(), elem, len });
        Place::Private(PrivateId(e.k.private.len() as u32 - 1))
    } else {
        e.k.shared.push(Array { name: "fragment".into(), elem, len: size(f) });
        Place::Shared(SharedId(e.k.shared.len() as u32 - 1))
    }
}

/// An element that a lane holds.
struct Held {
    /// Its number, row-major.
    number: Value,
    /// Which of this lane's it is.
    slot: Value,
    /// Where the fragment's array has it: the slot of an accumulator, the number of an operand.
    at: Value,
}

/// Runs `f` for every element that this lane holds.
fn each(e: &mut Emit, frag: Frag, f: impl FnOnce(&mut Emit, Held)) {
    let (n, lanes) = (size(frag), e.k.lanes());
    let lane = e.lane();
    let (zero, one) = (e.u32(0), e.u32(1));
    let end = e.u32(n.div_ceil(lanes));
    e.count(zero, end, one, |e, slot| {
        let first = e.bin_c(BinaryOp::Mul, slot, lanes as u64);
        let number = e.add(first, lane);
        e.trust(slot);
        e.trust(number);
        let at = if frag.role == FragRole::Acc { slot } else { number };
        let body = |e: &mut Emit| f(e, Held { number, slot, at });
        if n % lanes == 0 {
            body(e);
        } else {
            let exists = e.cmp_c(CmpOp::Lt, number, n as u64);
            e.when(exists, body);
        }
    });
}

/// Changes a fragment's array: an operand's is shared, and lanes still reading it are waited for.
fn write(e: &mut Emit, frag: Frag, f: impl FnOnce(&mut Emit)) {
    let shared = frag.role != FragRole::Acc;
    if shared {
        e.barrier();
    }
    f(e);
    if shared {
        e.barrier();
    }
}

fn row_col(e: &mut Emit, f: Frag, number: Value) -> (Value, Value) {
    let cols = f.shape().1 as u64;
    (e.bin_c(BinaryOp::Div, number, cols), e.bin_c(BinaryOp::Rem, number, cols))
}

/// Index of (row, col) in a matrix, in the type of `first`.
fn matrix_index(e: &mut Emit, first: Value, stride: Value, layout: Layout, row: Value, col: Value) -> Value {
    let elem = e.elem(first);
    let (outer, inner) = match layout {
        Layout::RowMajor => (row, col),
        Layout::ColMajor => (col, row),
    };
    let (outer, inner, stride) = (e.cast(elem, outer), e.cast(elem, inner), e.cast(elem, stride));
    let line = e.mul(outer, stride);
    let at = e.add(first, line);
    e.add(at, inner)
}

/// Buffers are indexed in `idx`, so that the product of row and stride does not wrap sooner than an index may.
fn first_index(e: &mut Emit, place: Place, index: Value) -> Value {
    match place {
        Place::Buffer(_) => e.cast(Elem::Idx, index),
        Place::Shared(_) | Place::Private(_) => e.cast(DType::U32, index),
    }
}

/// The element index after the permutation that [`Swizzle`] describes.
pub(super) fn swizzled(e: &mut Emit, s: Swizzle, elem: Elem, at: Value) -> Value {
    if s.bits == 0 {
        return at;
    }
    let chunk_bits = (16 / e.k.elem_bytes(elem)).trailing_zeros() as u64;
    let mask = (1u64 << s.bits) - 1;
    let row = e.bin_c(BinaryOp::Shr, at, chunk_bits + s.bits as u64);
    let row = e.bin_c(BinaryOp::Shr, row, s.shift as u64);
    let row = e.bin_c(BinaryOp::And, row, mask);
    let flip = e.bin_c(BinaryOp::Shl, row, chunk_bits);
    e.bin(BinaryOp::Xor, at, flip)
}

impl Fragments {
    /// Element (row, col) of an operand.
    fn element(&self, e: &mut Emit, o: &FragOperand, f: Frag, row: Value, col: Value) -> Value {
        match *o {
            FragOperand::Reg(v) => {
                let place = self.at(v);
                let g = frag(e, v);
                let line = e.bin_c(BinaryOp::Mul, row, f.shape().1 as u64);
                let at = e.add(line, col);
                e.trust(at);
                e.load(place, at, Type::scalar(g.elem))
            }
            FragOperand::Tile { shared, index, stride, layout, swizzle } => {
                let elem = e.k.shared[shared.at()].elem;
                let at = matrix_index(e, index, stride, layout, row, col);
                let at = swizzled(e, swizzle, elem, at);
                e.load(Place::Shared(shared), at, Type::scalar(elem))
            }
        }
    }

    fn multiply(&mut self, e: &mut Emit, a: &FragOperand, b: &FragOperand, acc: Value, out: Value) {
        let f = frag(e, acc);
        let from = self.at(acc);
        let to = self.define(e, out, f);
        let elem = Elem::D(f.elem);
        let wide = match f.elem {
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => Elem::D(DType::F32),
            d => Elem::D(d),
        };
        let var = e.var("sum", Type::scalar(wide));
        each(e, f, |e, held| {
            let (row, col) = row_col(e, f, held.number);
            let sum = e.load(from, held.at, Type::scalar(elem));
            let sum = e.cast(wide, sum);
            e.effect(Op::Set(var, sum));
            let (zero, one) = (e.u32(0), e.u32(1));
            let end = e.u32(f.k as u32);
            e.count(zero, end, one, |e, p| {
                let x = self.element(e, a, Frag { role: FragRole::A, ..f }, row, p);
                let y = self.element(e, b, Frag { role: FragRole::B, ..f }, p, col);
                let (x, y) = (e.cast(wide, x), e.cast(wide, y));
                let sum = e.get(var);
                let sum = e.op(Type::scalar(wide), Op::MulAdd(x, y, sum));
                e.effect(Op::Set(var, sum));
            });
            let sum = e.get(var);
            let sum = e.cast(elem, sum);
            e.store(to, held.at, sum);
        });
    }

    /// Reduces the rows of an accumulator: one lane a row, in order.
    fn rows(&mut self, e: &mut Emit, op: ReduceOp, acc: Value, out: Value) {
        let (f, rows) = (frag(e, acc), frag(e, out));
        let (from, to, elem) = (self.at(acc), self.define(e, out, rows), Elem::D(f.elem));
        let room = *self.rooms.entry((elem, size(f))).or_insert_with(|| {
            e.k.shared.push(Array { name: "rows".into(), elem, len: size(f) });
            SharedId(e.k.shared.len() as u32 - 1)
        });
        let op = match op {
            ReduceOp::Sum => BinaryOp::Add,
            ReduceOp::Prod => BinaryOp::Mul,
            ReduceOp::Min => BinaryOp::Min,
            ReduceOp::Max => BinaryOp::Max,
            ReduceOp::And => BinaryOp::And,
            ReduceOp::Or => BinaryOp::Or,
            ReduceOp::Xor => BinaryOp::Xor,
        };
        let var = e.var("row", Type::scalar(elem));
        e.barrier();
        each(e, f, |e, held| {
            let x = e.load(from, held.at, Type::scalar(elem));
            e.store(Place::Shared(room), held.number, x);
        });
        write(e, rows, |e| {
            each(e, rows, |e, held| {
                let first = e.bin_c(BinaryOp::Mul, held.number, u64::from(f.n));
                e.trust(first);
                let x = e.load(Place::Shared(room), first, Type::scalar(elem));
                e.effect(Op::Set(var, x));
                let (one, end) = (e.u32(1), e.u32(u32::from(f.n)));
                e.count(one, end, one, |e, p| {
                    let at = e.add(first, p);
                    e.trust(at);
                    let x = e.load(Place::Shared(room), at, Type::scalar(elem));
                    let sum = e.get(var);
                    let sum = e.bin(op, sum, x);
                    e.effect(Op::Set(var, sum));
                });
                let sum = e.get(var);
                e.store(to, held.at, sum);
            });
        });
    }

    fn copy(e: &mut Emit, f: Frag, from: Place, to: Place) {
        write(e, f, |e| {
            each(e, f, |e, held| {
                let v = e.load(from, held.at, Type::scalar(f.elem));
                e.store(to, held.at, v);
            })
        });
    }

    /// A copy as loads and stores: by vectors where all of it is read, else element by element.
    fn copy_async(&self, e: &mut Emit, c: Copied) {
        let elem = e.k.shared[c.dst.at()].elem;
        let widest = 16 / e.k.elem_bytes(elem) as u32;
        let lanes =
            [8, 4, 2].into_iter().find(|l| !self.checked && *l <= widest && c.elems.is_multiple_of(*l)).unwrap_or(1);
        let Some(take) = c.take else { return c.whole(e, elem, lanes) };
        if lanes > 1 {
            e.begin();
            c.part(e, elem, take);
            let part = e.end();
            let all = e.cmp_c(CmpOp::Ge, take, u64::from(c.elems));
            e.begin();
            c.whole(e, elem, lanes);
            let whole = e.end();
            e.effect(Op::If { cond: all, then: whole, otherwise: part });
        } else {
            c.part(e, elem, take);
        }
    }
}

/// An asynchronous copy.
#[derive(Clone, Copy)]
struct Copied {
    dst: SharedId,
    dst_index: Value,
    src: ParamId,
    src_index: Value,
    elems: u32,
    take: Option<Value>,
    aligned: bool,
}

impl Copied {
    fn whole(self, e: &mut Emit, elem: Elem, lanes: u32) {
        for i in (0..self.elems).step_by(lanes as usize) {
            let from = e.bin_c(BinaryOp::Add, self.src_index, u64::from(i));
            let to = e.bin_c(BinaryOp::Add, self.dst_index, u64::from(i));
            let aligned = self.aligned && lanes > 1;
            let ty = Type::vector(elem, lanes as u8);
            let v = e.op(ty, Op::Load { place: Place::Buffer(self.src), index: from, aligned });
            e.effect(Op::Store { place: Place::Shared(self.dst), index: to, value: v, aligned });
        }
    }

    fn part(self, e: &mut Emit, elem: Elem, take: Value) {
        let ty = Type::scalar(elem);
        let var = e.var("copied", ty);
        for i in 0..u64::from(self.elems) {
            let zero = e.bits(ty, 0);
            e.effect(Op::Set(var, zero));
            let read = e.cmp_c(CmpOp::Gt, take, i);
            e.when(read, |e| {
                let from = e.bin_c(BinaryOp::Add, self.src_index, i);
                let v = e.load(Place::Buffer(self.src), from, ty);
                e.effect(Op::Set(var, v));
            });
            let to = e.bin_c(BinaryOp::Add, self.dst_index, i);
            let v = e.get(var);
            e.store(Place::Shared(self.dst), to, v);
        }
    }
}

/// Whether a device with asynchronous copies makes this one: 4, 8 or 16 bytes that lie aligned.
pub(super) fn is_native_copy(op: &Op, k: &Kernel, info: &DeviceInfo) -> bool {
    let Op::CopyAsync { dst, elems, aligned, .. } = *op else { return true };
    let Some(elem) = k.shared[dst.at()].elem.dtype() else { return false };
    // What lies in memory as something else is copied element by element.
    let bytes = u64::from(elems) * elem.size() as u64;
    matches!(bytes, 4 | 8 | 16) && aligned && !super::ints::emulated(elem, info)
}

impl Pass for Fragments {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let Inst { out, op, loc } = inst;
        match (op, out) {
            (op @ Op::CopyAsync { dst, dst_index, src, src_index, elems, take, aligned }, _)
                if self.copies || !is_native_copy(&op, &e.k, &self.info) =>
            {
                self.copy_async(e, Copied { dst, dst_index, src, src_index, elems, take, aligned })
            }
            (Op::CopyCommit | Op::CopyWait(_), _) if self.copies => {}
            (Op::FragFill(v), Some(out)) if self.fragments => {
                let f = frag(e, out);
                let to = self.define(e, out, f);
                write(e, f, |e| each(e, f, |e, held| e.store(to, held.at, v)));
            }
            (Op::FragLoad { place, index, stride, layout, swizzle, aligned: _ }, Some(out)) if self.fragments => {
                let f = frag(e, out);
                let to = self.define(e, out, f);
                let first = first_index(e, place, index);
                write(e, f, |e| {
                    each(e, f, |e, held| {
                        let (row, col) = row_col(e, f, held.number);
                        let at = matrix_index(e, first, stride, layout, row, col);
                        let at = swizzled(e, swizzle, Elem::D(f.elem), at);
                        let v = e.load(place, at, Type::scalar(f.elem));
                        e.store(to, held.at, v);
                    })
                });
            }
            (Op::FragStore { frag: v, place, index, stride, layout }, _) if self.fragments => {
                let f = frag(e, v);
                let from = self.at(v);
                let first = first_index(e, place, index);
                each(e, f, |e, held| {
                    let (row, col) = row_col(e, f, held.number);
                    let at = matrix_index(e, first, stride, layout, row, col);
                    let v = e.load(from, held.at, Type::scalar(f.elem));
                    e.store(place, at, v);
                });
            }
            (Op::FragMma { a, b, acc }, Some(out)) if self.fragments => self.multiply(e, &a, &b, acc, out),
            (Op::Get(v), Some(out)) if self.vars.contains_key(&v) => {
                let (from, f) = self.vars[&v];
                let to = self.define(e, out, f);
                Self::copy(e, f, from, to);
            }
            (Op::Set(v, value), _) if self.vars.contains_key(&v) => {
                let (to, f) = self.vars[&v];
                let from = self.at(value);
                Self::copy(e, f, from, to);
            }
            (Op::FragRows(op, acc), Some(out)) if self.fragments => self.rows(e, op, acc, out),
            (Op::FragMap { to, of, row, col, elems, result, body }, _) if self.fragments => {
                let (target, f) = self.vars[&to];
                let of: Vec<_> = of.iter().map(|v| (self.at(*v), frag(e, *v).role)).collect();
                let body = e.block(body, self)?;
                e.loc = loc;
                write(e, f, |e| {
                    each(e, f, |e, held| {
                        let cols = e.u32(f.shape().1.into());
                        e.push(Some(row), Op::Binary(BinaryOp::Div, held.number, cols));
                        e.push(Some(col), Op::Binary(BinaryOp::Rem, held.number, cols));
                        for ((place, role), elem) in of.into_iter().zip(elems) {
                            let index = match (role, f.role) {
                                (FragRole::Rows, FragRole::Rows) => held.number,
                                (FragRole::Rows, _) => row,
                                _ => held.slot,
                            };
                            e.trust(index);
                            e.push(Some(elem), Op::Load { place, index, aligned: false });
                        }
                        e.append(body);
                        let x = e.get(result);
                        let x = e.cast(f.elem, x);
                        e.store(target, held.at, x);
                    })
                });
            }
            (Op::FragEach { frag: v, row, col, elem, body }, _) if self.fragments => {
                let f = frag(e, v);
                let from = self.at(v);
                let body = e.block(body, self)?;
                e.loc = loc;
                each(e, f, |e, held| {
                    let cols = e.u32(f.shape().1 as u32);
                    e.push(Some(row), Op::Binary(BinaryOp::Div, held.number, cols));
                    e.push(Some(col), Op::Binary(BinaryOp::Rem, held.number, cols));
                    e.push(Some(elem), Op::Load { place: from, index: held.at, aligned: false });
                    e.append(body);
                });
            }
            (op, out) => e.keep(Inst { out, op, loc }, self)?,
        }
        Ok(())
    }
}
