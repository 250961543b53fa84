//! Rewrites a kernel for one device: after this a backend meets only what the device has.
//!
//! The order matters. Fragments and asynchronous copies become loads and stores first, so that the float conversions see
//! them; reductions follow, because they share in the wider values; guards come last, when every access is there, except
//! that accesses made by a lowering and in range by construction are marked and left alone. Functions that a driver does
//! not promise follow what is made of them: the error function needs the exponential. Integers and storage that the
//! device lacks are rewritten behind the guards, which count elements of the original type.
//!
//! Then what is constant is folded and equal operations are computed once; what a compiler that re-associates would lose is hidden
//! from it; loops lose what does not change, and dead code goes: interpreters and weak compilers gain from it.
//!
//! Afterwards: `idx_bits` is 32 or 64; no `BufLen`, `GlobalId`, `LocalSize`, `Unpack`, `AssumeMultiple`; buffer indices are
//! `idx` with the hidden offset added; the steps of for-loops are at least 1; the condition of `select` has as many lanes
//! as its choices; features that the device lacks are gone. In checked kernels fragments and asynchronous copies
//! are always lowered, because their accesses are guarded one by one. Copies of boxes are lowered in a kernel all or none.

mod align;
mod arith;
mod emit;
mod features;
mod float;
mod fold;
mod fragment;
mod grid;
mod group;
mod guard;
mod hoist;
mod ints;
mod loose;
mod math;
mod pairs;
mod range;
mod small;
mod spill;
mod storage;
mod sweep;
mod tile;

use super::*;
use crate::{
    Error, Result,
    info::{DeviceInfo, Feature},
};
use emit::{Emit, rewrite};

pub use features::features;
pub use spill::spill_scalars;

/// What a kernel is legalised for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The device.
    pub info: &'a DeviceInfo,
    /// Bits of `idx`: 32 or 64.
    pub idx_bits: u8,
    /// Guards every access that is not proven to be in range, and bounds while-loops.
    pub checked: bool,
}

/// Legalises a kernel, verifying it before and after.
///
/// # Errors
/// `InvalidArgument` when the kernel is malformed or legalised already; `Unsupported` when it needs what the device
/// lacks and nothing can stand in for it.
pub fn legalize(k: &Kernel, t: &Target<'_>) -> Result<Kernel> {
    verify::verify(k)?;
    if k.idx_bits != 0 {
        return Err(Error::invalid(format!("kernel {}: it is legalised already, for {}-bit idx", k.name, k.idx_bits)));
    }
    if !matches!(t.idx_bits, 32 | 64) {
        return Err(Error::invalid(format!("idx of {} bits was asked for; 32 and 64 are accepted", t.idx_bits)));
    }
    if k.params.iter().any(|p| matches!(p.kind, ParamKind::Scalar { role, .. } if role != Role::User)) {
        return Err(Error::invalid(format!("kernel {}: hidden parameters are added here, not by authors", k.name)));
    }
    features::require(k, t.info)?;
    let uses = features(k);

    let mut kernel = k.clone();
    kernel.idx_bits = t.idx_bits;
    narrow_constants(&mut kernel)?;
    // Elsewhere a vector that claims to be aligned gains nothing, and C compilers make a fault of an array that is not.
    if t.info.vector_bytes > 0 {
        align::mark(&mut kernel);
    }
    let boxes = uses.contains(&Feature::TileCopy) && !tile::all_native(&kernel, t);
    let mut e = Emit::new(kernel);
    if boxes {
        rewrite(&mut e, &mut tile::Tiles)?;
    }
    let fragments = uses.contains(&Feature::Fragments) && fragment::must_lower(k, t.info, t.checked);
    let copies = uses.contains(&Feature::AsyncCopy) && (t.checked || !t.info.has(Feature::AsyncCopy));
    let mut some = copies;
    visit(&e.k.body, &mut |i| some |= !fragment::is_native_copy(&i.op, &e.k, t.info));
    // A lowered fragment of a subgroup is held by the workgroup: subgroups must then be the workgroup everywhere.
    let of_subgroup = k.values.iter().any(|t| matches!(t, Type::Frag(f) if f.scope == Scope::Subgroup));
    if fragments || some {
        let mut pass = fragment::Fragments::new(&mut e, t.info, fragments, copies, t.checked);
        rewrite(&mut e, &mut pass)?;
        pass.finish(&mut e);
    }
    float::lower(&mut e, t.info)?;
    rewrite(&mut e, &mut arith::Arith::new(t.info))?;
    math::lower(&mut e, t.info)?;
    rewrite(&mut e, &mut group::Group::new(t.info, &uses, fragments && of_subgroup))?;
    math::exact::lower(&mut e, t.info)?;
    guard::lower(&mut e, t.checked)?;
    grid::lower(&mut e, t.info.limits.max_groups)?;
    pairs::lower(&mut e, t.info)?;
    ints::lower(&mut e, t.info)?;
    rewrite(&mut e, &mut fold::Fold::default())?;
    // Behind the folding: equal operands have one name.
    loose::lower(&mut e, t.info)?;
    let mut out = e.k;
    hoist::hoist(&mut out.body, out.values.len());
    sweep::sweep(&mut out);
    if out.shared_bytes() > t.info.limits.max_shared as u64 {
        return Err(Error::unsupported(
            format!("kernel {}: {} bytes of workgroup memory", k.name, out.shared_bytes()),
            format!("{} has {}", t.info.id, t.info.limits.max_shared),
        ));
    }
    verify::verify(&out)
        .map_err(|bad| Error::invalid(format!("legalising broke a kernel, a bug in anychip: {bad}")))?;
    Ok(out)
}

/// Constants hold no bits beyond their type; one of `idx` must be the same number in 32 bits, or a negative one that
/// wraps.
fn narrow_constants(k: &mut Kernel) -> Result<()> {
    let mut body = std::mem::take(&mut k.body);
    let mut fault = None;
    visit_mut(&mut body, &mut |i| {
        if let (Op::Const(bits), Some(Type::Num { elem, .. })) = (&mut i.op, i.out.map(|v| k.values[v.at()])) {
            let width = k.elem_bytes(elem) * 8;
            let low = *bits & (u64::MAX >> (64 - width));
            let number = *bits as i64;
            if elem == Elem::Idx && low != *bits && (number > 0 || number < i32::MIN as i64) {
                fault.get_or_insert((i.loc, *bits));
            }
            *bits = if elem.is_bool() { (low != 0) as u64 } else { low };
        }
    });
    k.body = body;
    match fault {
        None => Ok(()),
        Some((loc, bits)) => Err(Error::unsupported(
            format!("kernel {}: {}the idx constant {bits}", k.name, verify::place(k, loc)),
            "it does not fit 32-bit indices; 64-bit ones hold it",
        )),
    }
}
