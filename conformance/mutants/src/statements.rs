//! What the device says of itself and does not keep.

use crate::{
    Mutant,
    layer::{Broken, Fault, lock, says},
};
use anychip::{
    Error, Result,
    hal::{
        Command, DeviceInfo, Loaded, Memory, Module, RawBuffer, RawDevice, Submission, Ticket,
        info::{Arithmetic, Feature},
    },
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

/// A device that is smaller than it says.
struct Small {
    good: Arc<dyn RawDevice>,
    info: DeviceInfo,
    load: fn(&anychip::hal::ir::Kernel) -> bool,
    alloc: u64,
    scalars: usize,
    seen: Mutex<u32>,
}

fn small(good: Arc<dyn RawDevice>, change: impl FnOnce(&mut DeviceInfo)) -> Small {
    let mut info = good.info().clone();
    change(&mut info);
    Small { good, info, load: |_| true, alloc: u64::MAX, scalars: usize::MAX, seen: Mutex::default() }
}

impl Fault for Small {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        if bytes > self.alloc {
            let why = "the driver has no more".into();
            return Err(Error::OutOfMemory { device: self.info.id.clone(), asked: bytes, why });
        }
        self.good.alloc(bytes, memory)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        match module {
            Module::Kernel(k) if !(self.load)(k) => {
                let message = "too many resources requested for launch".into();
                Err(Error::Backend { backend: self.info.backend.clone(), code: 701, message })
            }
            _ => self.good.load(module, cached),
        }
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        crate::layer::submit_as(&*self.good, work, |all| {
            let mut all = all.to_vec();
            for c in &mut all {
                if let Command::Launch { scalars, .. } = c
                    && scalars.len() > self.scalars
                {
                    *lock(&self.seen) += 1;
                    scalars[self.scalars..].fill(0);
                }
            }
            all
        })
    }
}

static OPENED: AtomicU32 = AtomicU32::new(1);

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "maker-unknown",
        fault: "The device does not say who made it.",
        area: &["runtime/identity/info"],
        killers: &["runtime/identity/info/any/vendor"],
        make: |good| says(good, |i| i.identity.vendor = "unknown".into()),
    },
    Mutant {
        name: "version-empty",
        fault: "The driver's version is an empty text, so that nothing cached can be told from an older one's.",
        area: &["runtime/identity/info"],
        killers: &["runtime/identity/info/any/version"],
        make: |good| says(good, |i| i.identity.version.clear()),
    },
    Mutant {
        name: "statements-change",
        fault: "The device has another number of units every time it is opened.",
        area: &["runtime/identity/open"],
        killers: &["runtime/identity/open/any/same-every-time"],
        make: |good| says(good, |i| i.units = OPENED.fetch_add(1, Ordering::Relaxed)),
    },
    Mutant {
        name: "bindings-overstated",
        fault: "64 buffers of a kernel are stated; of more than eight nothing loads.",
        area: &["runtime/limits/bindings"],
        killers: &["runtime/limits/bindings/any/at"],
        make: |good| Arc::new(Broken(Small { load: |k| k.buffers().count() <= 8, ..small(good, |_| {}) })),
    },
    Mutant {
        name: "workgroup-overstated",
        fault: "Workgroups of more than 256 lanes do not load, and more are stated.",
        area: &["runtime/limits/workgroup"],
        killers: &["runtime/limits/workgroup/any/at"],
        make: |good| Arc::new(Broken(Small { load: |k| k.lanes() <= 256, ..small(good, |_| {}) })),
    },
    Mutant {
        name: "shared-memory-overstated",
        fault: "Kernels with more than half of the stated shared memory do not load.",
        area: &["core/ir/shared/u32/limit"],
        killers: &["core/ir/shared/u32/limit"],
        make: |good| Arc::new(Broken(Small { load: |k| k.shared_bytes() <= 16 << 10, ..small(good, |_| {}) })),
    },
    Mutant {
        name: "scalars-cut",
        fault: "4096 bytes of scalars are stated; those beyond 128 arrive as zeros.",
        area: &["runtime/limits/scalars"],
        killers: &["runtime/limits/scalars/any/below"],
        make: |good| Arc::new(Broken(Small { scalars: 128, ..small(good, |i| i.limits.max_scalars = 4096) })),
    },
    Mutant {
        name: "largest-buffer-overstated",
        fault: "Buffers of a GiB are stated; the driver gives a quarter of that.",
        area: &["runtime/limits/alloc"],
        killers: &["runtime/limits/alloc/any/at"],
        make: |good| {
            let change = |i: &mut DeviceInfo| i.memory.max_alloc = 1 << 30;
            Arc::new(Broken(Small { alloc: 256 << 20, ..small(good, change) }))
        },
    },
    Mutant {
        name: "clock-claimed-and-missing",
        fault: "A clock is claimed and gives no times.",
        area: &["runtime/clock"],
        killers: &["runtime/clock/spans/any/one-per-step"],
        make: |good| {
            struct None_(Arc<dyn RawDevice>);
            impl Fault for None_ {
                fn good(&self) -> &dyn RawDevice {
                    &*self.0
                }
                fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
                    self.0.submit(&Submission { profile: false, ..*work })
                }
            }
            Arc::new(Broken(None_(good)))
        },
    },
    Mutant {
        name: "clock-unclaimed-and-there",
        fault: "Times come from a device that claims no clock.",
        area: &["runtime/clock"],
        killers: &["runtime/clock/spans/any/one-per-step"],
        make: |good| says(good, |i| i.clock = None),
    },
    Mutant {
        name: "exactness-overstated",
        fault: "Division is declared correctly rounded and is off by a unit.",
        area: &["core/facts/ulps"],
        killers: &["core/facts/ulps/f32/div"],
        make: |good| {
            let declared = says(good, |i| {
                i.arithmetic.values_mut().for_each(|a| *a = Arithmetic::IEEE);
                i.features.insert(Feature::Fma);
            });
            crate::layer::kernels(declared, |k| {
                use anychip::hal::{
                    DType,
                    ir::{BinaryOp, Op},
                };
                crate::rewrite::every(k, &mut |w, inst| match inst.op {
                    Op::Binary(BinaryOp::Div, a, b) if w.elem(a) == Some(DType::F32) => {
                        let q = w.binary(BinaryOp::Div, a, b);
                        let more = w.bits(w.ty(q), u64::from((1.0 + f32::EPSILON).to_bits()));
                        w.put(inst.out, Op::Binary(BinaryOp::Mul, q, more));
                        None
                    }
                    _ => Some(inst),
                });
            })
        },
    },
];
