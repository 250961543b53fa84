//! Who the device is, and what it says of itself: complete, plausible, and the same every time it is asked.

use crate::{
    Case, Subject,
    cases::launch::{End, ensure, refused},
};
use anychip::{
    DType, Device,
    hal::{Memory, info::DeviceInfo},
};

/// A name and what must hold of the information.
type Row = (&'static str, fn(&DeviceInfo) -> End);

/// A text that says something.
fn known(what: &str, text: &str) -> End {
    ensure(!text.trim().is_empty() && text.trim() != "unknown", || format!("{what} is {text:?}; a device has a name"))
}

const ROWS: &[Row] = &[
    ("vendor", |i| known("the vendor", &i.identity.vendor)),
    ("name", |i| known("the device's name", &i.identity.name)),
    ("driver", |i| known("the driver's name", &i.identity.driver)),
    ("version", |i| known("the driver's version", &i.identity.version)),
    ("physical", |i| known("the physical id", &i.identity.physical)),
    ("id", |i| {
        known("the id", &i.id)?;
        let fits = i.id.split_once(':').is_none_or(|(name, n)| !name.is_empty() && n.parse::<u32>().is_ok());
        ensure(fits && !i.id.contains(','), || format!("the id {:?} is no name, nor a name and an ordinal", i.id))
    }),
    ("backend", |i| known("the backend", &i.backend)),
    ("memory", |i| {
        let m = &i.memory;
        ensure(m.max_alloc >= 1 << 20, || {
            format!("the largest buffer has {} bytes; less than a MiB is no use", m.max_alloc)
        })?;
        ensure(m.total >= m.max_alloc, || format!("{} bytes in all, {} in one buffer", m.total, m.max_alloc))
    }),
    ("memory-kinds", |i| {
        let kinds = [Memory::Device, Memory::Upload, Memory::Readback];
        ensure(kinds.iter().all(|k| i.memory.kinds.contains(k)), || {
            format!("memory of {:?}; hal needs {kinds:?}", i.memory.kinds)
        })
    }),
    ("limits-workgroup", |i| {
        let l = &i.limits;
        ensure(l.max_workgroup >= 64, || format!("workgroups of {} lanes; library kernels have 64", l.max_workgroup))?;
        let most = l.max_workgroup_dim.iter().map(|n| u64::from(*n)).product::<u64>();
        ensure(l.max_workgroup_dim.iter().all(|n| *n >= 1) && most >= u64::from(l.max_workgroup), || {
            format!("{:?} lanes per dimension make no workgroup of {}", l.max_workgroup_dim, l.max_workgroup)
        })
    }),
    ("limits-grid", |i| {
        ensure(i.limits.max_groups.iter().all(|n| *n >= 1) && i.limits.max_groups[0] >= 256, || {
            format!("{:?} workgroups per dimension", i.limits.max_groups)
        })
    }),
    ("limits-shared", |i| {
        ensure(i.limits.max_shared >= 16 << 10, || {
            format!("{} bytes of shared memory; 16 KiB is the least", i.limits.max_shared)
        })
    }),
    ("limits-bindings", |i| {
        let l = &i.limits;
        ensure(l.max_bindings >= 4, || format!("{} buffers of a kernel; library kernels have 4", l.max_bindings))?;
        ensure(
            l.max_binding_bytes >= 1 << 20 && l.max_binding_bytes <= i.memory.max_alloc.max(l.max_binding_bytes),
            || format!("{} bytes in a binding", l.max_binding_bytes),
        )
    }),
    ("limits-alignment", |i| {
        let l = &i.limits;
        let fits = |n: u64| n.is_power_of_two() && n <= 4096;
        ensure(fits(l.binding_align) && fits(l.copy_align), || {
            format!("bindings at multiples of {}, copies of {}: powers of two are meant", l.binding_align, l.copy_align)
        })
    }),
    ("limits-queues", |i| ensure(i.limits.queues >= 1, || "no queue".into())),
    ("units", |i| ensure(i.units >= 1, || "no parallel unit".into())),
    ("vector", |i| ensure((1..=64).contains(&i.vector), || format!("vectors of {} lanes", i.vector))),
    ("clock", |i| match &i.clock {
        Some(c) => ensure(c.resolution_ns >= 1 && c.resolution_ns < 1_000_000_000, || {
            format!("a clock of {} ns", c.resolution_ns)
        }),
        None => Ok(()),
    }),
    ("subgroups", |i| match &i.subgroups {
        Some(s) => ensure(s.min >= 1 && s.min <= s.max && s.max <= 1024 && s.min.is_power_of_two(), || {
            format!("subgroups of {} to {} lanes", s.min, s.max)
        }),
        None => ensure(!i.features.iter().any(|f| format!("{f:?}").starts_with("Subgroup")), || {
            "features of subgroups and no subgroups".into()
        }),
    }),
    ("fragments", |i| {
        ensure(i.fragments.iter().all(|f| f.m > 0 && f.n > 0 && f.k > 0 && f.acc_bits > 0), || {
            format!("fragments of no elements: {:?}", i.fragments)
        })?;
        let has = i.has(anychip::hal::info::Feature::Fragments);
        ensure(has != i.fragments.is_empty(), || format!("feature Fragments: {has}; shapes: {}", i.fragments.len()))
    }),
    ("types-core", |i| {
        ensure(i.support(DType::F32).arithmetic && i.support(DType::F32).storage, || "no arithmetic in f32".into())?;
        ensure(i.support(DType::U32).arithmetic && i.support(DType::I32).arithmetic, || {
            "no arithmetic in i32 or u32".into()
        })?;
        ensure(i.support(DType::U32).atomics && i.support(DType::I32).atomics, || "no atomics of 32 bits".into())
    }),
    ("arithmetic", |i| {
        ensure(i.arithmetic.contains_key(&DType::F32), || "nothing is said of the arithmetic of f32".into())?;
        for (d, a) in &i.arithmetic {
            let fits = a.div_ulp >= 0.5 && a.div_ulp <= 16.0 && a.sqrt_ulp >= 0.5 && a.sqrt_ulp <= 16.0;
            ensure(fits, || format!("{d}: {} ULPs of a division, {} of a root", a.div_ulp, a.sqrt_ulp))?;
            ensure(!(a.may_reassociate && a.correctly_rounded && !i.kernels), || format!("{d}: sums in any order"))?;
        }
        Ok(())
    }),
];

pub(super) fn cases(all: &mut Vec<Case>) {
    for &(name, holds) in ROWS {
        all.push(Case::new(format!("runtime/identity/info/any/{name}"), "info", None, "info", move |s, _, seen| {
            seen.elements += 1;
            holds(s.info())
        }));
    }
    all.push(Case::new("runtime/identity/open/any/same-every-time", "open", None, "info", |s, _, seen| {
        // Free memory may change between two times; nothing that is stated may.
        let first = s.info().clone();
        for n in 2..5 {
            let again = s.again()?;
            seen.elements += 1;
            let (a, b) = (format!("{first:?}"), format!("{:?}", again.info()));
            let at = a.bytes().zip(b.bytes()).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
            let near = |t: &str| t.chars().skip(at.saturating_sub(30)).take(80).collect::<String>();
            ensure(a == b, || format!("opened time {n}, it says …{}… and not …{}…", near(&b), near(&a)))?;
        }
        Ok(())
    }));
    all.push(Case::new("runtime/identity/open/any/many-times", "open", None, "many", |s, r, seen| {
        for n in 0..10 {
            crate::cases::launch::still_works(&s.again()?, format!("opening time {n}"), r, seen)?;
        }
        Ok(())
    }));
    all.push(Case::new("runtime/identity/open/any/many-at-once", "open", None, "many", |s, r, seen| {
        let all = (0..6).map(|_| s.again()).collect::<anychip::Result<Vec<Subject>>>()?;
        for (n, one) in all.iter().enumerate() {
            crate::cases::launch::still_works(one, format!("opening six, number {n}"), r, seen)?;
        }
        Ok(())
    }));
    all.push(
        Case::new("runtime/identity/list/any/listed", "list", None, "info", |s, _, seen| {
            let listing = Device::list();
            seen.elements += 1;
            let me = s.info();
            let found = listing.devices.iter().find(|d| d.id == me.id);
            let Some(found) = found else {
                // A device of the contract that no driver of this process offers is none of the listing's.
                let driver = me.id.split(':').next().unwrap_or_default();
                let known = listing.devices.iter().any(|d| d.id.split(':').next() == Some(driver));
                ensure(!known, || format!("{} is not listed, others of its driver are", me.id))?;
                return Err(crate::Failure::Unsupported(format!("no driver of this process is named {driver}")));
            };
            ensure(found.identity == me.identity, || {
                format!("listed as {:?}, opened as {:?}", found.identity, me.identity)
            })?;
            ensure(listing.devices.iter().filter(|d| d.id == me.id).count() == 1, || {
                format!("{} is listed twice", me.id)
            })
        })
        .optional(),
    );
    for (name, asked) in
        [("no-such-driver", "no-such-driver:0"), ("ordinal", "cpu:4096"), ("empty", ""), ("half-a-chain", "cpu,")]
    {
        all.push(Case::new(
            format!("runtime/identity/open/any/refused-{name}"),
            "open",
            None,
            "misuse",
            move |_, _, seen| {
                seen.elements += 1;
                refused(format!("opening {asked:?}"), Device::open(asked).map(|_| ()), &[1, 2]).map(|_| ())
            },
        ));
    }
}
