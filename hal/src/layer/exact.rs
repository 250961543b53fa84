//! Exact numerics: every device that can, plays one and the same machine.
//!
//! What a planner makes of a graph, and a legaliser of a kernel, depends on what a device says of itself. So this layer says the same for
//! all of them: few lanes, no subgroups, no functions, no matrix units, floats of 16 bits in memory only, no library. The kernels are then
//! the same, with the same sums in the same order, and [`Numerics::Exact`] has the legaliser leave nothing open in them: products and sums
//! are rounded one by one, quotients and roots correctly. What remains of the chip's own are its memory, its limits for bytes, and its
//! integers: these have one right result whatever computes them.

use super::forward;
use crate::{
    DType, DeviceInfo, Error, Loaded, Module, RawDevice, Result,
    info::{Arithmetic, DeviceClass, Feature, Limits, Numerics, Subnormals, TypeSupport},
    op,
};
use std::sync::Arc;

/// What stands behind the id of a device that is opened so.
pub const SUFFIX: &str = "/exact";

/// A device with [`Numerics::Exact`].
pub struct Exact {
    inner: Arc<dyn RawDevice>,
    info: DeviceInfo,
}

impl Exact {
    /// Wraps a device.
    ///
    /// # Errors
    /// `Unsupported`: its declared arithmetic leaves open what a sum or a product is, it is smaller than the machine that all play, or it
    /// takes no kernels.
    pub fn new(inner: Arc<dyn RawDevice>) -> Result<Exact> {
        let info = machine(inner.info())?;
        Ok(Exact { inner, info })
    }
}

/// Lanes of a workgroup.
const LANES: u32 = 256;
/// Bytes that a workgroup shares.
const SHARED: u32 = 16 << 10;
/// Buffers of a kernel.
const BINDINGS: u32 = 8;
/// Workgroups per dimension.
const GROUPS: u32 = 65_535;

/// The machine on this chip.
fn machine(chip: &DeviceInfo) -> Result<DeviceInfo> {
    let refuse = |why: String| Err(Error::unsupported(format!("exact numerics on {}", chip.id), why));
    if !chip.kernels {
        return refuse("it takes no kernels, and a library of operations sums as it likes".into());
    }
    let open = |d: DType| match chip.arithmetic.get(&d) {
        None => Some("nothing is declared of it"),
        Some(a) if !a.correctly_rounded => Some("sums and products are not declared to be correctly rounded"),
        Some(a) if a.may_contract => Some("its compiler may contract a·b + c"),
        Some(a) if a.may_reassociate => Some("its compiler may compute sums in another order"),
        Some(a) if a.subnormals != Subnormals::Kept => Some("subnormal numbers are not declared to be kept"),
        Some(a) if !a.nan_inf => Some("NaN and infinity are not declared to be honoured"),
        Some(_) => None,
    };
    if let Some(why) = open(DType::F32) {
        return refuse(format!("the arithmetic of f32 leaves results open: {why}"));
    }
    let l = &chip.limits;
    let small = [
        (l.max_workgroup.min(l.max_workgroup_dim[0]), LANES, "lanes of a workgroup"),
        (l.max_shared, SHARED, "bytes of workgroup memory"),
        (l.max_bindings, BINDINGS, "buffers of a kernel"),
        (*l.max_groups.iter().min().unwrap_or(&0), GROUPS, "workgroups per dimension"),
    ];
    if let Some((has, needs, what)) = small.into_iter().find(|(has, needs, _)| has < needs) {
        return refuse(format!("it has {has} {what}, and the machine that all play has {needs}"));
    }
    let mut types = chip.types.clone();
    types.retain(|d, _| *d != DType::F64 || open(*d).is_none());
    for (d, t) in &mut types {
        *t = match d {
            // Converted by integers: rounded once, to even.
            DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => TypeSupport::default(),
            // Sums by atomics come in any order.
            d if d.is_float() => TypeSupport { atomics: false, dot: false, ..*t },
            _ => TypeSupport { dot: false, ..*t },
        };
    }
    let kept = [Feature::Fma, Feature::Idx64, Feature::Atomic64];
    let computes = |d: &DType| matches!(d, DType::F32 | DType::F64) && types.contains_key(d);
    let arithmetic = chip.arithmetic.iter().filter(|(d, _)| computes(d));
    // As the legaliser leaves it; it looks up what the chip itself divides and roots.
    let arithmetic = arithmetic.map(|(d, a)| {
        (*d, Arithmetic { fma_fused: a.fma_fused, div_ulp: a.div_ulp, sqrt_ulp: a.sqrt_ulp, ..Arithmetic::IEEE })
    });
    Ok(DeviceInfo {
        id: format!("{}{SUFFIX}", chip.id),
        class: DeviceClass::DiscreteGpu,
        units: 16,
        vector: 1,
        vector_bytes: 0,
        arithmetic: arithmetic.collect(),
        types,
        features: kept.into_iter().filter(|f| chip.has(*f)).collect(),
        fragments: vec![],
        subgroups: None,
        limits: Limits {
            max_workgroup: LANES,
            max_workgroup_dim: l.max_workgroup_dim.map(|n| n.min(LANES)),
            max_groups: [GROUPS; 3],
            max_shared: SHARED,
            max_bindings: BINDINGS,
            ..l.clone()
        },
        numerics: Numerics::Exact,
        ..chip.clone()
    })
}

impl RawDevice for Exact {
    forward!(
        wipes, alloc, free, host_write, host_read, binary, unload, record, release, submit, wait, notify, expose,
        fetch, trim
    );

    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        Err(library(&self.info, &graph.name))
    }

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        match module {
            Module::Graph(g) => Err(library(&self.info, &g.name)),
            Module::Kernel(_) => self.inner.load(module, cached),
        }
    }
}

fn library(info: &DeviceInfo, what: &str) -> Error {
    Error::unsupported(format!("{what} in the library of {}", info.id), "exact numerics are made of kernels alone")
}
