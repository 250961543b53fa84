//! 64-bit integers on devices that have none: each is a pair of 32-bit words, low and high.
//!
//! Buffers of them become buffers of words, twice as long; arrays likewise; variables and scalars become two. Sums carry,
//! products are made of halves, quotients by long division, conversions to floats round once. Comparisons, choices and vectors go
//! word by word. Atomics of 64 bits and some reductions within subgroups have no pairs: the former are refused before; of
//! the latter sums go by halves of words, and products, extremes and prefix sums are refused here.

mod arithmetic;

use super::emit::{Emit, Pass, rewrite};
use crate::{Error, Result, info::DeviceInfo, ir::*};
use arithmetic::{
    Pair, add, choose, constant, divide, each, extended, from_float, is_zero, leading_zeros, less, mul, negate, shift,
    sign_mask, size, sub, sum_by_halves, to_float,
};
use std::collections::HashMap;

/// True for a type that this device holds in pairs: both of 64 bits, where it lacks either.
pub(super) fn paired(d: DType, info: &DeviceInfo) -> bool {
    let both = [DType::I64, DType::U64];
    both.contains(&d) && !both.iter().all(|d| info.support(*d).storage && info.support(*d).arithmetic)
}

struct Pairs {
    /// Types before; later values are no pairs.
    values: Vec<Type>,
    params: Vec<ParamKind>,
    shared: Vec<Elem>,
    private: Vec<Elem>,
    pairs: HashMap<Value, Pair>,
    /// The variable, or the parameter, that holds the high words.
    high_var: HashMap<VarId, VarId>,
    high_param: HashMap<ParamId, ParamId>,
    device: String,
}

fn is_pair(e: Elem) -> bool {
    matches!(e, Elem::D(DType::I64 | DType::U64))
}

fn pair_type(t: Type) -> bool {
    t.elem().is_some_and(is_pair) && matches!(t, Type::Num { .. })
}

fn word(t: Type) -> Type {
    Type::vector(DType::U32, t.lanes())
}

/// Rewrites a kernel whose accesses are guarded, where the device lacks 64-bit integers and the kernel has any.
pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    let any = e.k.values.iter().any(|t| pair_type(*t))
        || e.k.params.iter().any(|p| match p.kind {
            ParamKind::Buffer { elem, .. } => is_pair(Elem::D(elem)),
            ParamKind::Scalar { elem, .. } => is_pair(elem),
        });
    if !any || !paired(DType::I64, info) {
        return Ok(());
    }
    let mut p = Pairs {
        values: e.k.values.clone(),
        params: e.k.params.iter().map(|p| p.kind).collect(),
        shared: e.k.shared.iter().map(|a| a.elem).collect(),
        private: e.k.private.iter().map(|a| a.elem).collect(),
        pairs: HashMap::new(),
        high_var: HashMap::new(),
        high_param: HashMap::new(),
        device: info.id.clone(),
    };
    for t in e.k.values.iter_mut().filter(|t| pair_type(**t)) {
        *t = word(*t);
    }
    for n in 0..e.k.vars.len() {
        let ty = e.k.vars[n].ty;
        if pair_type(ty) {
            e.k.vars[n].ty = word(ty);
            let name = format!("{}_high", e.k.vars[n].name);
            let high = e.var(&name, word(ty));
            p.high_var.insert(VarId(n as u32), high);
        }
    }
    for a in e.k.shared.iter_mut().chain(&mut e.k.private).filter(|a| is_pair(a.elem)) {
        a.elem = Elem::D(DType::U32);
        a.len = a.len.checked_mul(2).ok_or_else(|| {
            Error::unsupported(format!("kernel {}: an array of {} 64-bit integers", e.k.name, a.len), "it is too long")
        })?;
    }
    for n in 0..e.k.params.len() {
        let id = ParamId(n as u32);
        match &mut e.k.params[n].kind {
            ParamKind::Buffer { elem, align, .. } if is_pair(Elem::D(*elem)) => {
                *elem = DType::U32;
                *align = align.saturating_mul(2);
            }
            ParamKind::Scalar { elem, .. } if is_pair(*elem) => {
                *elem = Elem::D(DType::U32);
                let name = e.param_name(&e.k.params[n].name.clone(), "_high");
                let kind = ParamKind::Scalar { elem: Elem::D(DType::U32), role: Role::High(id) };
                p.high_param.insert(id, ParamId(e.k.params.len() as u32));
                e.k.params.push(Param { name, kind });
            }
            _ => {}
        }
    }
    rewrite(e, &mut p)
}

impl Pairs {
    fn pair(&self, v: Value) -> Option<Pair> {
        self.pairs.get(&v).copied()
    }

    fn need(&self, e: &Emit, v: Value) -> Result<Pair> {
        self.pair(v).ok_or_else(|| {
            Error::invalid(format!("kernel {}: %{} is no 64-bit integer, a bug in anychip", e.k.name, v.0))
        })
    }

    fn refuse(&self, e: &Emit, what: &str) -> Error {
        Error::unsupported(
            format!("kernel {}: {what} of 64-bit integers", e.k.name),
            format!("{} has none, and their pairs do not have it", self.device),
        )
    }

    /// The 64-bit element type that a value had.
    fn was(&self, v: Value) -> Option<DType> {
        let t = self.values.get(v.at())?;
        if pair_type(*t) { t.elem()?.dtype() } else { None }
    }

    fn of_pairs(&self, place: Place) -> bool {
        match place {
            Place::Buffer(p) => {
                matches!(self.params.get(p.at()), Some(ParamKind::Buffer { elem, .. }) if is_pair(Elem::D(*elem)))
            }
            Place::Shared(s) => self.shared.get(s.at()).is_some_and(|x| is_pair(*x)),
            Place::Private(s) => self.private.get(s.at()).is_some_and(|x| is_pair(*x)),
        }
    }

    /// An index may be a 64-bit integer itself: within an array its low word says it all.
    fn index(&self, e: &mut Emit, index: Value) -> Value {
        match self.pair(index) {
            Some(p) => e.cast(Elem::Idx, p.low),
            None => index,
        }
    }

    fn load(&self, e: &mut Emit, place: Place, index: Value, lanes: u8, aligned: bool) -> Pair {
        let (mut low, mut high) = (vec![], vec![]);
        let first = e.bin_c(BinaryOp::Mul, index, 2);
        // As many words at once as a vector has.
        for at in (0..lanes).step_by(8) {
            let n = (lanes - at).min(8);
            let from = if at == 0 { first } else { e.bin_c(BinaryOp::Add, first, u64::from(at) * 2) };
            let words = e.op(Type::vector(DType::U32, 2 * n), Op::Load { place, index: from, aligned });
            for i in 0..n {
                low.push(e.op(Type::U32, Op::Extract(words, 2 * i)));
                high.push(e.op(Type::U32, Op::Extract(words, 2 * i + 1)));
            }
        }
        Pair { low: gather(e, low), high: gather(e, high) }
    }

    fn store(&self, e: &mut Emit, place: Place, index: Value, value: Pair, aligned: bool) {
        let lanes = e.ty(value.low).lanes();
        let first = e.bin_c(BinaryOp::Mul, index, 2);
        for at in (0..lanes).step_by(8) {
            let n = (lanes - at).min(8);
            let to = if at == 0 { first } else { e.bin_c(BinaryOp::Add, first, u64::from(at) * 2) };
            let words = (at..at + n).flat_map(|i| [lane(e, value.low, i), lane(e, value.high, i)]).collect();
            let words = gather(e, words);
            e.push(None, Op::Store { place, index: to, value: words, aligned });
        }
    }

    fn unary(&self, e: &mut Emit, op: UnaryOp, a: Pair, is_signed: bool) -> Result<Pair> {
        let lanes = e.ty(a.low).lanes();
        Ok(match op {
            UnaryOp::Neg => negate(e, a),
            UnaryOp::Abs if is_signed => size(e, a),
            UnaryOp::Abs => a,
            UnaryOp::Sign => {
                let zero = is_zero(e, a);
                let (one, none) = (constant(e, lanes, 1), constant(e, lanes, 0));
                let mut s = one;
                if is_signed {
                    let mask = sign_mask(e, a.high);
                    s = each(e, BinaryOp::Or, Pair { low: mask, high: mask }, one);
                    s.high = mask;
                }
                choose(e, zero, none, s)
            }
            UnaryOp::Not => Pair { low: e.un(UnaryOp::Not, a.low), high: e.un(UnaryOp::Not, a.high) },
            UnaryOp::CountOnes => {
                let (x, y) = (e.un(UnaryOp::CountOnes, a.low), e.un(UnaryOp::CountOnes, a.high));
                let n = e.add(x, y);
                extended(e, n)
            }
            UnaryOp::LeadingZeros => {
                let n = leading_zeros(e, a);
                extended(e, n)
            }
            UnaryOp::TrailingZeros => {
                let (low, high) = (e.un(UnaryOp::TrailingZeros, a.low), e.un(UnaryOp::TrailingZeros, a.high));
                let high = e.bin_c(BinaryOp::Add, high, 32);
                let none = e.cmp_c(CmpOp::Eq, a.low, 0);
                let n = e.select(none, high, low);
                extended(e, n)
            }
            op => return Err(self.refuse(e, &format!("{op:?}"))),
        })
    }

    fn binary(&self, e: &mut Emit, op: BinaryOp, a: Pair, b: Pair, is_signed: bool) -> Result<Pair> {
        Ok(match op {
            BinaryOp::Add => add(e, a, b),
            BinaryOp::Sub => sub(e, a, b),
            BinaryOp::Mul => mul(e, a, b),
            BinaryOp::Div => divide(e, a, b, is_signed, false),
            BinaryOp::Rem => divide(e, a, b, is_signed, true),
            BinaryOp::Min => {
                let first = less(e, a, b, is_signed);
                choose(e, first, a, b)
            }
            BinaryOp::Max => {
                let second = less(e, a, b, is_signed);
                choose(e, second, b, a)
            }
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => each(e, op, a, b),
            BinaryOp::Shl | BinaryOp::Shr => {
                let by = e.bin_c(BinaryOp::And, b.low, 63);
                shift(e, op, a, by, is_signed)
            }
            BinaryOp::Pow => return Err(self.refuse(e, "pow")),
        })
    }

    fn compare(&self, e: &mut Emit, op: CmpOp, a: Pair, b: Pair, is_signed: bool) -> Value {
        let (swap, not) = match op {
            CmpOp::Eq | CmpOp::Ne => {
                let (x, y) = (e.bin(BinaryOp::Xor, a.low, b.low), e.bin(BinaryOp::Xor, a.high, b.high));
                let any = e.bin(BinaryOp::Or, x, y);
                return e.cmp_c(op, any, 0);
            }
            CmpOp::Lt => (false, false),
            CmpOp::Gt => (true, false),
            CmpOp::Le => (true, true),
            CmpOp::Ge => (false, true),
        };
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let r = less(e, a, b, is_signed);
        if not { e.un(UnaryOp::Not, r) } else { r }
    }

    /// A number of another type as a pair.
    fn widen(&self, e: &mut Emit, a: Value, to: DType) -> Pair {
        let from = e.elem(a);
        if from.is_float() {
            let x = e.cast(DType::F32, a);
            return from_float(e, x, to.is_signed());
        }
        if !from.is_signed() {
            let low = e.cast(DType::U32, a);
            return extended(e, low);
        }
        let x = e.cast(DType::I32, a);
        let low = e.bitcast(DType::U32, x);
        Pair { low, high: sign_mask(e, low) }
    }

    /// A pair as a number of another type.
    fn narrow(&self, e: &mut Emit, a: Pair, is_signed: bool, to: Elem) -> Value {
        if to.is_bool() {
            let zero = is_zero(e, a);
            return e.un(UnaryOp::Not, zero);
        }
        if to.is_float() {
            let x = to_float(e, a, is_signed);
            return e.cast(to, x);
        }
        e.cast(to, a.low)
    }

    /// A counting loop over pairs, as a while whose head counts: `Continue` comes there, too.
    fn count(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let Op::For { var, start, end, step, body, .. } = inst.op else { return Ok(()) };
        let is_signed = self.was(var).is_some_and(|d| d.is_signed());
        let (start, end, step) = (self.need(e, start)?, self.need(e, end)?, self.need(e, step)?);
        let (low, high) = (e.var("i_low", Type::U32), e.var("i_high", Type::U32));
        let begun = e.var("begun", Type::BOOL);
        let no = e.bits(Type::BOOL, 0);
        for (v, x) in [(low, start.low), (high, start.high), (begun, no)] {
            e.effect(Op::Set(v, x));
        }
        e.begin();
        let again = e.get(begun);
        e.when(again, |e| {
            // Below the end, so that what is left is no negative number; past it, the end itself stands for all.
            let i = Pair { low: e.get(low), high: e.get(high) };
            let left = sub(e, end, i);
            let more = less(e, step, left, false);
            let next = add(e, i, step);
            let next = choose(e, more, next, end);
            e.effect(Op::Set(low, next.low));
            e.effect(Op::Set(high, next.high));
        });
        let yes = e.bits(Type::BOOL, 1);
        e.effect(Op::Set(begun, yes));
        let i = Pair { low: e.get(low), high: e.get(high) };
        let cond = less(e, i, end, is_signed);
        let head = e.end();
        e.begin();
        let i = Pair { low: e.get(low), high: e.get(high) };
        self.pairs.insert(var, i);
        let inner = e.block(body, self)?;
        e.append(inner);
        let body = e.end();
        e.push(None, Op::While { head, cond, body });
        Ok(())
    }
}

fn gather(e: &mut Emit, lanes: Vec<Value>) -> Value {
    match lanes.len() {
        1 => lanes[0],
        n => e.op(Type::vector(DType::U32, n as u8), Op::Vector(lanes)),
    }
}

fn lane(e: &mut Emit, v: Value, n: u8) -> Value {
    match e.ty(v).lanes() {
        1 => v,
        _ => e.op(Type::U32, Op::Extract(v, n)),
    }
}

impl Pass for Pairs {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let was = inst.out.and_then(|v| self.was(v));
        let of = |p: &Pairs, v: Value| p.was(v).is_some_and(|d| d.is_signed());
        let pair = match (&inst.op, inst.out, was) {
            (Op::For { var, .. }, ..) if self.was(*var).is_some() => return self.count(e, inst),
            (Op::Set(v, x), ..) if self.high_var.contains_key(v) => {
                let (v, x) = (*v, self.need(e, *x)?);
                e.effect(Op::Set(v, x.low));
                e.effect(Op::Set(self.high_var[&v], x.high));
                return Ok(());
            }
            (Op::Store { place, index, value, aligned }, ..) => {
                let (place, aligned) = (*place, *aligned);
                let index = self.index(e, *index);
                match self.pair(*value).filter(|_| self.of_pairs(place)) {
                    Some(value) => self.store(e, place, index, value, aligned),
                    None => e.push(None, Op::Store { place, index, value: *value, aligned }),
                }
                return Ok(());
            }
            (Op::Load { place, index, aligned }, Some(out), _) => {
                let (place, aligned) = (*place, *aligned);
                let index = self.index(e, *index);
                if was.is_none() {
                    e.push(Some(out), Op::Load { place, index, aligned });
                    return Ok(());
                }
                self.load(e, place, index, e.ty(out).lanes(), aligned)
            }
            (Op::Atomic { index, .. }, ..) if self.pair(*index).is_some() => {
                let at = self.index(e, *index);
                let mut op = inst.op;
                if let Op::Atomic { index, .. } = &mut op {
                    *index = at;
                }
                e.push(inst.out, op);
                return Ok(());
            }
            (Op::Compare(op, a, b), Some(out), _) if self.pair(*a).is_some() => {
                let (x, y) = (self.need(e, *a)?, self.need(e, *b)?);
                let r = self.compare(e, *op, x, y, of(self, *a));
                e.rename(out, r);
                return Ok(());
            }
            (Op::Cast(a), Some(out), None) if self.pair(*a).is_some() => {
                let x = self.need(e, *a)?;
                let to = e.elem(out);
                let r = self.narrow(e, x, of(self, *a), to);
                e.rename(out, r);
                return Ok(());
            }
            (Op::Extract(a, n), Some(_), Some(_)) => {
                let x = self.need(e, *a)?;
                Pair { low: lane(e, x.low, *n), high: lane(e, x.high, *n) }
            }
            (Op::Const(bits), Some(out), Some(_)) => constant(e, e.ty(out).lanes(), *bits),
            (Op::Scalar(p), Some(_), Some(_)) => {
                let Some(high) = self.high_param.get(p).copied() else {
                    return Err(self.refuse(e, "a scalar"));
                };
                Pair { low: e.op(Type::U32, Op::Scalar(*p)), high: e.op(Type::U32, Op::Scalar(high)) }
            }
            (Op::Get(v), Some(_), Some(_)) => {
                let Some(high) = self.high_var.get(v).copied() else {
                    return Err(self.refuse(e, "a variable"));
                };
                Pair { low: e.get(*v), high: e.get(high) }
            }
            (Op::Unary(op, a), Some(_), Some(d)) => {
                let x = self.need(e, *a)?;
                self.unary(e, *op, x, d.is_signed())?
            }
            (Op::Binary(op, a, b), Some(_), Some(d)) => {
                let (x, y) = (self.need(e, *a)?, self.need(e, *b)?);
                self.binary(e, *op, x, y, d.is_signed())?
            }
            (Op::MulAdd(a, b, c), Some(_), Some(_)) => {
                let (x, y, z) = (self.need(e, *a)?, self.need(e, *b)?, self.need(e, *c)?);
                let p = mul(e, x, y);
                add(e, p, z)
            }
            (Op::Select(c, a, b), Some(_), Some(_)) => {
                let (c, x, y) = (*c, self.need(e, *a)?, self.need(e, *b)?);
                choose(e, c, x, y)
            }
            (Op::Cast(a) | Op::Bitcast(a), Some(_), Some(_)) if self.pair(*a).is_some() => self.need(e, *a)?,
            (Op::Cast(a), Some(_), Some(d)) => self.widen(e, *a, d),
            (Op::AssumeMultiple(a, _), Some(_), Some(_)) => self.need(e, *a)?,
            (Op::Vector(of), Some(_), Some(_)) => {
                let parts = of.iter().map(|v| self.need(e, *v)).collect::<Result<Vec<_>>>()?;
                let low = gather(e, parts.iter().map(|p| p.low).collect());
                Pair { low, high: gather(e, parts.iter().map(|p| p.high).collect()) }
            }
            (Op::Splat(a), Some(out), Some(_)) => {
                let (x, ty) = (self.need(e, *a)?, e.ty(out));
                Pair { low: e.op(ty, Op::Splat(x.low)), high: e.op(ty, Op::Splat(x.high)) }
            }
            (Op::Subgroup { op, value, lane }, Some(out), Some(_)) => {
                let carries = matches!(op, SubgroupOp::ScanAdd)
                    || matches!(op, SubgroupOp::Reduce(r) if !matches!(r, ReduceOp::Sum | ReduceOp::And | ReduceOp::Or | ReduceOp::Xor));
                if carries {
                    return Err(self.refuse(e, "a reduction within subgroups"));
                }
                let (op, lane, x, ty) = (*op, *lane, self.need(e, *value)?, e.ty(out));
                if op == SubgroupOp::Reduce(ReduceOp::Sum) {
                    let word = |e: &mut Emit, value: Value| e.op(ty, Op::Subgroup { op, value, lane });
                    let pair = sum_by_halves(e, x, word);
                    self.pairs.insert(out, pair);
                    return Ok(());
                }
                let low = e.op(ty, Op::Subgroup { op, value: x.low, lane });
                Pair { low, high: e.op(ty, Op::Subgroup { op, value: x.high, lane }) }
            }
            (_, Some(_), Some(_)) => return Err(self.refuse(e, "this operation")),
            _ => return e.keep(inst, self),
        };
        if let Some(out) = inst.out {
            self.pairs.insert(out, pair);
        }
        Ok(())
    }
}
