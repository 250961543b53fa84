//! Scalars beyond what a device takes at a launch: they lie in a hidden buffer, which the kernel reads once, at its begin.
//!
//! The buffer is the last parameter, read-only, of 32-bit words: the scalars packed by [`Kernel::scalar_layout`] of the
//! kernel before, padded to a whole word.

use super::emit::{Emit, Pass, rewrite};
use crate::{Result, ir::*};
use std::collections::HashMap;

struct Spill {
    values: HashMap<ParamId, Value>,
    /// New numbers of the parameters that stay.
    moved: Vec<ParamId>,
}

/// Moves all scalars of a legalised kernel into a hidden buffer. Offsets and lengths of the layout before stay true.
pub fn spill_scalars(k: &Kernel) -> Result<Kernel> {
    let mut boxes = false;
    visit(&k.body, &mut |i| boxes |= matches!(i.op, Op::CopyTile { .. }));
    if boxes {
        let why = "a device that copies boxes of tensors is told of them by scalars of the launch, of which there are too many";
        return Err(crate::Error::unsupported(format!("kernel {}", k.name), why));
    }
    let (slots, _) = k.scalar_layout();
    let mut e = Emit::new(k.clone());
    let name = e.param_name("scalars", "");
    let mut moved = vec![ParamId(0); k.params.len()];
    e.k.params.clear();
    for (p, to) in k.params.iter().zip(&mut moved) {
        *to = ParamId(e.k.params.len() as u32);
        if matches!(p.kind, ParamKind::Buffer { .. }) {
            e.k.params.push(p.clone());
        }
    }
    let buffer = Place::Buffer(ParamId(e.k.params.len() as u32));
    let kind = ParamKind::Buffer { elem: DType::U32, access: Access::Read, align: 1 };
    e.k.params.push(Param { name, kind });

    let body = std::mem::take(&mut e.k.body);
    e.begin();
    let mut values = HashMap::new();
    for slot in slots {
        if let ParamKind::Scalar { elem, .. } = k.params[slot.param.at()].kind {
            values.insert(slot.param, read(&mut e, buffer, elem, slot));
        }
    }
    let begin = e.end();
    e.k.body = body;
    rewrite(&mut e, &mut Spill { values, moved })?;
    e.k.body.splice(0..0, begin);
    let mut out = e.k;
    super::sweep::sweep(&mut out);
    verify::verify(&out)
        .map_err(|bad| crate::Error::invalid(format!("moving scalars broke a kernel, a bug in anychip: {bad}")))?;
    Ok(out)
}

/// A scalar from its words.
fn read(e: &mut Emit, buffer: Place, elem: Elem, slot: ScalarSlot) -> Value {
    let word = |e: &mut Emit, n: u32| {
        let index = e.bits(Type::IDX, n as u64);
        e.load(buffer, index, Type::U32)
    };
    let low = word(e, slot.offset / 4);
    let code = match slot.bytes {
        8 => {
            let high = word(e, slot.offset / 4 + 1);
            let (low, high) = (e.cast(DType::U64, low), e.cast(DType::U64, high));
            let high = e.bin_c(BinaryOp::Shl, high, 32);
            e.bin(BinaryOp::Or, low, high)
        }
        4 => low,
        bytes => {
            let moved = match slot.offset % 4 {
                0 => low,
                at => e.bin_c(BinaryOp::Shr, low, at as u64 * 8),
            };
            if elem == Elem::D(DType::Bool) {
                let byte = e.bin_c(BinaryOp::And, moved, 0xff);
                return e.cmp_c(CmpOp::Ne, byte, 0);
            }
            e.cast(if bytes == 2 { DType::U16 } else { DType::U8 }, moved)
        }
    };
    match elem {
        Elem::Idx => e.cast(Elem::Idx, code),
        Elem::D(d) => e.bitcast(d, code),
    }
}

impl Pass for Spill {
    fn inst(&mut self, e: &mut Emit, mut inst: Inst) -> Result<()> {
        if let (Op::Scalar(p), out) = (&inst.op, inst.out)
            && let Some(value) = self.values.get(p)
        {
            e.result(out, *value);
            return Ok(());
        }
        match &mut inst.op {
            Op::Load { place: Place::Buffer(p), .. }
            | Op::Store { place: Place::Buffer(p), .. }
            | Op::Atomic { place: Place::Buffer(p), .. }
            | Op::FragLoad { place: Place::Buffer(p), .. }
            | Op::FragStore { place: Place::Buffer(p), .. }
            | Op::CopyAsync { src: p, .. }
            | Op::BufLen(p) => *p = self.moved[p.at()],
            _ => {}
        }
        e.keep(inst, self)
    }
}
