//! Programs: a kernel or a graph made ready for one opened device.
//!
//! A kernel is legalised with 32-bit indices and loaded at once; the 64-bit variant is loaded when a launch needs it.
//! Loading is memoised by content, and threads that ask for the same kernel at the same time compile it once.

use super::Device;
use crate::{
    DeviceInfo, Error, Loaded, Module, RawDevice, RawProgram, Result,
    contract::Resources,
    info::Feature,
    ir::{self, Builtin, Op, ParamKind, Role, ScalarSlot},
    layer::lock,
    op,
};
use rustc_hash::FxHashMap;
use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, Weak},
};

/// Are indices guarded?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checks(bool);

#[allow(non_upper_case_globals)] // reads as a choice: `Checks::On`
impl Checks {
    /// Reads out of bounds give 0, writes out of bounds vanish, loops end.
    pub const On: Checks = Checks(true);

    /// No guards.
    ///
    /// # Safety
    /// Every launch of the kernel must keep all its indices within the buffers bound to it, and all its loops finite.
    pub const unsafe fn off() -> Checks {
        Checks(false)
    }

    /// True for `On`.
    pub fn on(self) -> bool {
        self.0
    }
}

/// A loaded kernel or graph. Clones are handles to the same program.
#[derive(Clone)]
pub struct Program(Arc<Owned>);

struct Owned {
    raw: Arc<dyn RawDevice>,
    device: u64,
    body: Body,
}

pub(super) enum Body {
    Kernel(Box<KernelBody>),
    Graph(GraphBody),
}

pub(super) struct KernelBody {
    pub source: ir::Kernel,
    pub checks: Checks,
    /// It looks at dimensions above 0 of its grid.
    pub uses_dims: bool,
    narrow: Variant,
    wide: OnceLock<Variant>,
    compiling: Mutex<()>,
}

pub(super) struct GraphBody {
    pub source: op::Graph,
    pub program: RawProgram,
    pub resources: Resources,
}

/// A kernel with its indices fixed to 32 or 64 bits.
pub(super) struct Variant {
    pub program: RawProgram,
    pub scalars: Vec<(ScalarSlot, Source)>,
    pub scalar_bytes: u32,
    /// The scalars are more than the device takes at a launch: they are bound last, as a buffer.
    pub spills: bool,
    pub folds: bool,
    pub resources: Resources,
}

/// Where the value of a scalar parameter comes from. Buffers are counted in the order of the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    User(usize),
    /// The high word of the caller's scalar.
    High(usize),
    Offset(usize),
    Len(usize),
    Groups,
}

impl Drop for Owned {
    fn drop(&mut self) {
        match &self.body {
            Body::Kernel(k) => {
                self.raw.unload(k.narrow.program);
                if let Some(wide) = k.wide.get() {
                    self.raw.unload(wide.program);
                }
            }
            Body::Graph(g) => self.raw.unload(g.program),
        }
    }
}

impl Program {
    /// The kernel's or graph's name.
    pub fn name(&self) -> &str {
        match &self.0.body {
            Body::Kernel(k) => &k.source.name,
            Body::Graph(g) => &g.source.name,
        }
    }

    /// The kernel as it was given; `None` for a graph.
    pub fn kernel(&self) -> Option<&ir::Kernel> {
        match &self.0.body {
            Body::Kernel(k) => Some(&k.source),
            Body::Graph(_) => None,
        }
    }

    /// The graph; `None` for a kernel.
    pub fn graph(&self) -> Option<&op::Graph> {
        match &self.0.body {
            Body::Kernel(_) => None,
            Body::Graph(g) => Some(&g.source),
        }
    }

    /// What a launch needs, as the backend found it (for a kernel: with 32-bit indices).
    pub fn resources(&self) -> &Resources {
        match &self.0.body {
            Body::Kernel(k) => &k.narrow.resources,
            Body::Graph(g) => &g.resources,
        }
    }

    /// Bytes of workspace of a graph. A launch that brings no slice for it gets one allocated.
    pub fn workspace(&self) -> u64 {
        self.resources().workspace
    }

    pub(super) fn body(&self) -> &Body {
        &self.0.body
    }

    pub(super) fn device(&self) -> u64 {
        self.0.device
    }

    fn downgrade(&self) -> Weak<Owned> {
        Arc::downgrade(&self.0)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program {} on {}", self.name(), self.0.raw.info().id)
    }
}

impl KernelBody {
    pub fn narrow(&self) -> &Variant {
        &self.narrow
    }

    /// The variant with 64-bit indices, loaded the first time. `why` says what does not fit 32 bits.
    pub fn wide(&self, device: &Device, why: impl Fn() -> String) -> Result<&Variant> {
        if let Some(v) = self.wide.get() {
            return Ok(v);
        }
        if !device.info().has(Feature::Idx64) {
            return Err(Error::unsupported(
                format!("kernel {} with {}", self.source.name, why()),
                format!("{} has 32-bit indices only", device.info().id),
            ));
        }
        let _compiling = lock(&self.compiling);
        if let Some(v) = self.wide.get() {
            return Ok(v);
        }
        let variant = Variant::load(device, &self.source, 64, self.checks)?;
        Ok(self.wide.get_or_init(|| variant))
    }
}

impl Variant {
    fn load(device: &Device, source: &ir::Kernel, idx_bits: u8, checks: Checks) -> Result<Variant> {
        let info = device.info();
        let mut kernel = legalise(source, info, idx_bits, checks)?;
        let place_of: FxHashMap<_, _> = kernel.buffers().enumerate().map(|(n, (p, ..))| (p, n)).collect();
        let (mut user, mut users) = (0, FxHashMap::default());
        let (slots, scalar_bytes) = kernel.scalar_layout();
        let mut scalars = Vec::with_capacity(slots.len());
        let mut folds = false;
        for slot in slots {
            let ParamKind::Scalar { role, .. } = kernel.params[slot.param.at()].kind else { continue };
            let from = match role {
                Role::User => {
                    users.insert(slot.param, user);
                    user += 1;
                    Some(Source::User(user - 1))
                }
                Role::Offset(p) => place_of.get(&p).copied().map(Source::Offset),
                Role::Len(p) => place_of.get(&p).copied().map(Source::Len),
                Role::High(low) => users.get(&low).copied().map(Source::High),
                Role::Groups => {
                    folds = true;
                    Some(Source::Groups)
                }
            };
            let from = from.ok_or_else(|| {
                Error::invalid(format!("kernel {}: a hidden scalar names a parameter that is no buffer", kernel.name))
            })?;
            scalars.push((slot, from));
        }
        let spills = scalar_bytes > info.limits.max_scalars;
        if spills {
            kernel = ir::legal::spill_scalars(&kernel)?;
        }
        fits(&kernel, info)?;
        let Loaded { program, resources, .. } =
            device.raw().load(&Module::Kernel(&kernel), None).map_err(|e| device.flight().note(e))?;
        Ok(Variant { program, scalars, scalar_bytes, spills, folds, resources })
    }
}

fn legalise(kernel: &ir::Kernel, info: &DeviceInfo, idx_bits: u8, checks: Checks) -> Result<ir::Kernel> {
    ir::legal::legalize(kernel, &ir::legal::Target { info, idx_bits, checked: checks.on() })
}

/// Refuses a legalised kernel that is larger than the device; workgroup memory was checked when it was legalised.
fn fits(k: &ir::Kernel, info: &DeviceInfo) -> Result<()> {
    let l = &info.limits;
    let refuse = |why: String| Err(Error::unsupported(format!("kernel {} on {}", k.name, info.id), why));
    let lanes: u64 = k.workgroup.iter().map(|&n| u64::from(n)).product();
    if lanes == 0 || k.workgroup.iter().zip(l.max_workgroup_dim).any(|(&n, max)| n > max) {
        return refuse(format!("its workgroup is {:?}, 1 to {:?} is possible", k.workgroup, l.max_workgroup_dim));
    }
    if lanes > u64::from(l.max_workgroup) {
        return refuse(format!("its workgroup has {lanes} lanes, at most {} are possible", l.max_workgroup));
    }
    let buffers = k.buffers().count();
    if buffers > l.max_bindings as usize {
        return refuse(format!("it has {buffers} buffers, at most {} are possible", l.max_bindings));
    }
    Ok(())
}

fn uses_dims(k: &ir::Kernel) -> bool {
    let mut uses = false;
    ir::visit(&k.body, &mut |inst| {
        if let Op::Builtin(Builtin::GroupId(d) | Builtin::NumGroups(d) | Builtin::GlobalId(d)) = inst.op {
            uses |= d > 0;
        }
    });
    uses
}

type Key = ([u8; 32], u8);
type Slot<T> = Arc<Mutex<Option<T>>>;

/// Programs by content. Kernels stay (a model has dozens); graphs, which have concrete shapes and may hold prepacked
/// weights, live as long as somebody holds them.
#[derive(Default)]
pub(super) struct Loads {
    kernels: Mutex<FxHashMap<Key, Slot<Program>>>,
    graphs: Mutex<FxHashMap<[u8; 32], Slot<Weak<Owned>>>>,
}

impl Loads {
    pub fn kernel(&self, device: &Device, kernel: &ir::Kernel, checks: Checks) -> Result<Program> {
        if !device.info().kernels {
            return Err(Error::unsupported(
                format!("kernel {}", kernel.name),
                format!("{} takes graphs of standard operations only", device.info().id),
            ));
        }
        let key = (kernel.identity(), u8::from(checks.on()));
        let slot = lock(&self.kernels).entry(key).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(p) = &*slot {
            return Ok(p.clone());
        }
        // An index constant that needs 64 bits leaves no narrow variant; then the wide one stands in its place.
        let narrow = Variant::load(device, kernel, 32, checks).or_else(|e| match e {
            Error::Unsupported { .. } if device.info().has(Feature::Idx64) => {
                Variant::load(device, kernel, 64, checks).map_err(|_| e)
            }
            e => Err(e),
        })?;
        let body = Body::Kernel(Box::new(KernelBody {
            source: kernel.clone(),
            checks,
            uses_dims: uses_dims(kernel),
            narrow,
            wide: OnceLock::new(),
            compiling: Mutex::new(()),
        }));
        let program = Program(Arc::new(Owned { raw: device.raw().clone(), device: device.number(), body }));
        Ok(slot.insert(program).clone())
    }

    pub fn graph(&self, device: &Device, graph: &op::Graph) -> Result<Program> {
        graph.check()?;
        let slot = {
            let mut graphs = lock(&self.graphs);
            // Slots whose program is gone are swept when the map has doubled.
            if graphs.len().is_power_of_two() && graphs.len() >= 64 {
                graphs.retain(|_, s| s.try_lock().map_or(true, |s| s.as_ref().is_some_and(|w| w.strong_count() > 0)));
            }
            graphs.entry(graph.identity()).or_default().clone()
        };
        let mut slot = lock(&slot);
        if let Some(owned) = slot.as_ref().and_then(Weak::upgrade) {
            return Ok(Program(owned));
        }
        let Loaded { program, resources, .. } =
            device.raw().load(&Module::Graph(graph), None).map_err(|e| device.flight().note(e))?;
        let body = Body::Graph(GraphBody { source: graph.clone(), program, resources });
        let program = Program(Arc::new(Owned { raw: device.raw().clone(), device: device.number(), body }));
        *slot = Some(program.downgrade());
        Ok(program)
    }
}
