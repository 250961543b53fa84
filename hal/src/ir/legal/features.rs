//! What a kernel asks for beyond the core language, and whether the device has the types it computes with.

use super::{math, pairs};
use crate::{
    Error, Result,
    info::{DeviceInfo, Feature},
    ir::*,
};
use std::collections::BTreeSet;

/// The features that a kernel uses; all but `Fma` and `Atomic64` can be lowered where a device lacks them.
pub fn features(k: &Kernel) -> BTreeSet<Feature> {
    let mut uses = BTreeSet::new();
    visit(&k.body, &mut |i| {
        let feature = match &i.op {
            Op::Fma(..) => Feature::Fma,
            Op::GroupReduce(..) => Feature::GroupReduce,
            Op::Builtin(Builtin::SubgroupSize | Builtin::SubgroupLane | Builtin::SubgroupId)
            | Op::Barrier(Scope::Subgroup) => Feature::Subgroup,
            Op::Subgroup { op: SubgroupOp::Reduce(_) | SubgroupOp::ScanAdd, .. } => Feature::SubgroupReduce,
            Op::Subgroup { .. } => Feature::SubgroupShuffle,
            Op::CopyAsync { .. } | Op::CopyCommit | Op::CopyWait(_) => Feature::AsyncCopy,
            Op::CopyTile { .. } | Op::TileCommit { .. } | Op::TileWait { .. } => Feature::TileCopy,
            Op::FragFill(_)
            | Op::FragLoad { .. }
            | Op::FragMma { .. }
            | Op::FragStore { .. }
            | Op::FragEach { .. }
            | Op::FragRows(..)
            | Op::FragMap { .. } => Feature::Fragments,
            Op::Dot4 { .. } => Feature::Dot4,
            Op::Unary(UnaryOp::Erf, _) => Feature::Erf,
            op if math::is_math(op, k) => Feature::Math,
            Op::Atomic { value, .. } if k.ty(*value).elem().is_some_and(|e| k.elem_bytes(e) == 8) => Feature::Atomic64,
            _ => return,
        };
        uses.insert(feature);
    });
    uses
}

/// What cannot be lowered is refused here, with the line that asks for it.
pub(super) fn require(k: &Kernel, info: &DeviceInfo) -> Result<()> {
    let mut fault = None;
    let mut refuse = |loc: Loc, what: String, why: String| {
        fault.get_or_insert_with(|| {
            Error::unsupported(
                format!("kernel {}: {}{what}", k.name, verify::place(k, loc)),
                format!("{}: {why}", info.id),
            )
        });
    };
    visit(&k.body, &mut |i| match &i.op {
        Op::Fma(a, ..) if !info.has(Feature::Fma) => refuse(
            i.loc,
            format!("fma of {}", verify::type_name(k.ty(*a))),
            "the device does not promise a fused multiply-add; mul_add may round twice".into(),
        ),
        Op::Atomic { op, value, .. } => {
            let Some(Elem::D(d)) = k.ty(*value).elem() else { return };
            let wide = d.size() == 8 && d.is_int() && !info.has(Feature::Atomic64);
            if !info.support(d).atomics || wide {
                refuse(i.loc, format!("atomic {op:?} on {d}"), "the device has no such atomics".into());
            }
        }
        _ => {}
    });
    // Types of less than 32 bits and 64-bit integers are lowered; the others must be there.
    let mut used: BTreeSet<DType> = BTreeSet::new();
    let mut add = |e: Option<Elem>| used.extend(e.and_then(Elem::dtype));
    k.values.iter().for_each(|t| add(t.elem()));
    k.shared.iter().chain(&k.private).for_each(|a| add(Some(a.elem)));
    k.vars.iter().for_each(|v| add(v.ty.elem()));
    for p in &k.params {
        match p.kind {
            ParamKind::Buffer { elem, .. } => add(Some(Elem::D(elem))),
            ParamKind::Scalar { elem, .. } => add(Some(elem)),
        }
    }
    for d in used {
        let s = info.support(d);
        let lowered = d.size() < 4 || pairs::paired(d, info);
        let native = s.storage && s.arithmetic;
        if !lowered && !native {
            refuse(Loc::default(), format!("element type {d}"), "the device does not compute with it".into());
        }
    }
    match fault {
        Some(e) => Err(e),
        None => Ok(()),
    }
}
