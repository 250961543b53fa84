//! Float types that a device lacks: values are held as f32 and converted where memory is read or written.
//!
//! Held wider is allowed by the language: f16 and bf16 are rounded where they are stored or their bits are taken, not
//! after each operation; the 8-bit formats are also rounded by a cast. Private arrays become f32. Scalars keep their
//! bytes, so that a launch packs the same for every device.

use super::{
    emit::{Emit, Pass, rewrite},
    small,
};
use crate::{Error, Result, info::DeviceInfo, ir::*};
use std::collections::{HashMap, HashSet};

/// How a type is treated.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Native,
    /// The device loads and stores it and converts to f32.
    Stored,
    /// It lies in memory as an integer.
    Coded,
}

const SMALL: [DType; 4] = [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2];

struct Floats {
    mode: [Mode; 4],
    /// Types before.
    values: Vec<Type>,
    shared: Vec<Elem>,
    params: Vec<ParamKind>,
    /// Used by something else than stores.
    computed: HashSet<Value>,
    /// Results of bitcasts from a small float, which were renamed when the pass meets them.
    bits_of: HashMap<Value, DType>,
}

impl Floats {
    fn mode(&self, e: Elem) -> Mode {
        match e {
            Elem::D(d) => SMALL.iter().position(|s| *s == d).map_or(Mode::Native, |i| self.mode[i]),
            Elem::Idx => Mode::Native,
        }
    }

    /// The small float that a value was and no longer is.
    fn was(&self, v: Value) -> Option<DType> {
        let elem = self.values.get(v.at()).and_then(|t| t.elem())?;
        (self.mode(elem) != Mode::Native).then_some(elem.dtype()?)
    }

    /// Element type of a place before, if it is treated.
    fn place(&self, p: Place) -> Option<(DType, Mode)> {
        let elem = match p {
            Place::Buffer(b) => match self.params[b.at()] {
                ParamKind::Buffer { elem, .. } => Elem::D(elem),
                ParamKind::Scalar { .. } => return None,
            },
            Place::Shared(s) => *self.shared.get(s.at())?,
            Place::Private(_) => return None,
        };
        let mode = self.mode(elem);
        (mode != Mode::Native).then_some((elem.dtype()?, mode))
    }

    fn widen(&self, e: Elem) -> Elem {
        if self.mode(e) == Mode::Native { e } else { Elem::D(DType::F32) }
    }

    fn code(&self, e: Elem) -> Elem {
        match e {
            Elem::D(d) if self.mode(e) == Mode::Coded => Elem::D(small::code_type(d)),
            e => e,
        }
    }
}

pub(super) fn lower(e: &mut Emit, info: &DeviceInfo) -> Result<()> {
    let mode = SMALL.map(|d| {
        let s = info.support(d);
        let fp8 = matches!(d, DType::F8E4M3 | DType::F8E5M2);
        match (s.storage, s.arithmetic && !fp8) {
            (true, true) => Mode::Native,
            (true, false) => Mode::Stored,
            (false, _) => Mode::Coded,
        }
    });
    let mut f = Floats {
        mode,
        values: e.k.values.clone(),
        shared: e.k.shared.iter().map(|a| a.elem).collect(),
        params: e.k.params.iter().map(|p| p.kind).collect(),
        computed: HashSet::new(),
        bits_of: HashMap::new(),
    };
    visit(&e.k.body, &mut |i| match &i.op {
        Op::Store { index, .. } => {
            f.computed.insert(*index);
        }
        op => op.operands(&mut |v| {
            f.computed.insert(v);
        }),
    });
    visit(&e.k.body, &mut |i| {
        if let (Op::Bitcast(a), Some(out)) = (&i.op, i.out)
            && let Some(d) = f.was(*a)
        {
            f.bits_of.insert(out, d);
        }
    });
    for t in &mut e.k.values {
        match t {
            Type::Num { elem, .. } => *elem = f.widen(*elem),
            Type::Frag(g) if f.mode(Elem::D(g.elem)) == Mode::Coded => {
                return Err(Error::unsupported(
                    format!("kernel {}: fragments of {}", e.k.name, g.elem),
                    format!("{} multiplies fragments but cannot store this type", info.id),
                ));
            }
            Type::Frag(_) => {}
        }
    }
    for v in &mut e.k.vars {
        if let Type::Num { elem, .. } = &mut v.ty {
            *elem = f.widen(*elem);
        }
    }
    for a in &mut e.k.private {
        a.elem = f.widen(a.elem);
    }
    for a in &mut e.k.shared {
        a.elem = f.code(a.elem);
    }
    for p in &mut e.k.params {
        match &mut p.kind {
            ParamKind::Buffer { elem, .. } => {
                if let Elem::D(d) = f.code(Elem::D(*elem)) {
                    *elem = d;
                }
            }
            ParamKind::Scalar { elem: Elem::D(d), .. } if f.mode(Elem::D(*d)) != Mode::Native => {
                *d = small::code_type(*d)
            }
            ParamKind::Scalar { .. } => {}
        }
    }
    rewrite(e, &mut f)
}

impl Pass for Floats {
    fn inst(&mut self, e: &mut Emit, inst: Inst) -> Result<()> {
        let was_out = inst.out.and_then(|v| self.was(v));
        match (&inst.op, inst.out) {
            (Op::Const(bits), Some(out)) => match was_out {
                Some(d) => e.push(Some(out), Op::Const(small::constant(d, *bits))),
                None => e.push(Some(out), Op::Const(*bits)),
            },
            (Op::Scalar(p), Some(out)) if was_out.is_some() => {
                let d = was_out.expect("checked by the guard of this arm");
                let raw = e.op(Type::scalar(small::code_type(d)), Op::Scalar(*p));
                let x = small::decode(e, d, raw);
                e.rename(out, x);
            }
            (Op::Load { place, index, aligned }, Some(out)) => match self.place(*place) {
                Some((d, mode)) => {
                    let (place, index, aligned) = (*place, *index, *aligned);
                    let lanes = e.ty(out).lanes();
                    let lies = if mode == Mode::Coded { small::code_type(d) } else { d };
                    let raw = e.op(Type::vector(lies, lanes), Op::Load { place, index, aligned });
                    if mode == Mode::Coded {
                        let x = small::decode(e, d, raw);
                        e.rename(out, x);
                    } else {
                        e.push(Some(out), Op::Cast(raw));
                    }
                }
                None => e.keep(inst, self)?,
            },
            (Op::Store { place, index, value, aligned }, _) => match self.place(*place) {
                Some((d, mode)) => {
                    let (place, index, aligned) = (*place, *index, *aligned);
                    let value = if mode == Mode::Coded { small::encode(e, d, *value) } else { e.cast(d, *value) };
                    e.push(None, Op::Store { place, index, value, aligned });
                }
                None => e.keep(inst, self)?,
            },
            (Op::Cast(a), Some(out)) => {
                let a = *a;
                // An explicit conversion rounds, although the value is held wider.
                let rounded = was_out.filter(|_| self.computed.contains(&out));
                match rounded {
                    Some(d) => {
                        let wide = e.cast(DType::F32, a);
                        let code = small::encode(e, d, wide);
                        let x = small::decode(e, d, code);
                        e.rename(out, x);
                    }
                    None if e.ty(a) == e.ty(out) => e.rename(out, a),
                    None => e.keep(inst, self)?,
                }
            }
            (Op::Bitcast(a), Some(out)) => {
                let mut x = *a;
                if let Some(d) = self.bits_of.get(&out) {
                    x = small::encode(e, *d, x);
                }
                match was_out {
                    Some(d) => {
                        let code = e.bitcast(small::code_type(d), x);
                        let wide = small::decode(e, d, code);
                        e.rename(out, wide);
                    }
                    None if e.ty(x) == e.ty(out) => e.rename(out, x),
                    None => e.push(Some(out), Op::Bitcast(x)),
                }
            }
            _ => e.keep(inst, self)?,
        }
        Ok(())
    }
}
