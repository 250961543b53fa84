//! Failures by plan (`hal::layer::Fault` below hal): which stick, which pass, and what is left afterwards.

use crate::{
    Case, Seen, Subject,
    cases::launch::{End, bump, code, ensure, of_u32, read_all, refused, same, step, to_u32, works},
    oracle::sample::Random,
};
use anychip::{
    Error,
    hal::{
        device::{Checks, Device, Grid, Layers, ScalarArg, Step},
        layer::{Call, Fault, Planned},
    },
};
use std::sync::Arc;

const CALLS: [(&str, Call); 7] = [
    ("alloc", Call::Alloc),
    ("host-write", Call::HostWrite),
    ("host-read", Call::HostRead),
    ("load", Call::Load),
    ("record", Call::Record),
    ("submit", Call::Submit),
    ("wait", Call::Wait),
];

/// The device with a layer of failures below hal, and without any other.
fn faulty(s: &Subject) -> anychip::Result<(Device, Arc<Fault>)> {
    let fault = Arc::new(Fault::new(s.raw()?));
    Ok((Device::with_layers(fault.clone(), &Layers::default()), fault))
}

/// Work that makes every call of the contract at least once; `n` makes its kernel another one.
fn everything(d: &Device, n: u32) -> anychip::Result<Vec<u8>> {
    let mut k = bump()?;
    k.name = format!("bump_{n}");
    k.workgroup = [64 + n, 1, 1];
    let p = d.kernel(&k, Checks::On)?;
    let x = d.alloc_from(&of_u32(0..64))?;
    // Of a size that no pool has yet.
    drop(d.alloc((64 << 10) << n)?);
    let launch = step(&p, Grid::Linear(1), vec![x.all()], &[ScalarArg::U32(5)]);
    d.submit(std::slice::from_ref(&launch))?.wait()?;
    let list = d.record(vec![launch, Step::Fill { dst: x.slice(0, 4), word: 1 }])?;
    d.run(&list)?.wait()?;
    let mut out = vec![0; 256];
    d.download(&x, 0, &mut out)?;
    Ok(out)
}

fn right(what: &str, got: &[u8], seen: &mut Seen) -> End {
    let want: Vec<u32> = (0..64).map(|i| if i == 0 { 1 } else { i + 10 }).collect();
    same(what, &to_u32(got), &want, seen)
}

pub(super) fn cases(all: &mut Vec<Case>) {
    for (name, call) in CALLS {
        for after in [0u64, 1] {
            all.push(Case::new(
                format!("runtime/failure/lost/any/{name}-{after}"),
                "device lost",
                None,
                "failure",
                move |s, r, seen| lost(s, call, after, r, seen),
            ));
        }
        all.push(Case::new(
            format!("runtime/failure/passing/any/{name}"),
            "passing failure",
            None,
            "failure",
            move |s, r, seen| passing(s, call, r, seen),
        ));
    }
    all.push(Case::new("runtime/failure/pending/any/all-of-them", "device lost", None, "failure", pending));
    all.push(Case::new("runtime/failure/reported/any/dropped-work", "passing failure", None, "failure", dropped));
}

/// A loss sticks: everything under way and everything later fails with the first reason; the chip opens again.
fn lost(s: &Subject, call: Call, after: u64, r: &mut Random, seen: &mut Seen) -> End {
    let (d, fault) = faulty(s)?;
    right("before the loss", &everything(&d, 0)?, seen)?;
    let held = d.alloc(64)?;
    let error = |why: &str| Error::DeviceLost { device: d.info().id.clone(), why: why.into(), restart: false };
    fault.plan(Planned { call, after, times: 1, error: error("planned loss") });
    // A second one must not take the place of the first.
    fault.plan(Planned { call, after: 0, times: u64::MAX, error: error("another loss") });
    let mut met = None;
    for n in 1..6 {
        if let Err(e) = everything(&d, n) {
            met = Some(e);
            break;
        }
    }
    let Some(met) = met else {
        let why =
            format!("{call:?} was not called so often on {}: nothing was lost, and the case says nothing", s.device);
        return Err(crate::Failure::Broken(why));
    };
    ensure(met.code() == code::LOST, || format!("a loss in {call:?} came out as: {met}"))?;
    let first = d.lost().map(|e| e.to_string());
    ensure(first.is_some(), || "the device was lost and does not know it".into())?;
    let said = Some(met.to_string());
    for round in 0..3 {
        for (what, e) in [
            ("an allocation", d.alloc(16).map(|_| ())),
            ("a submission", d.submit(&[Step::Fill { dst: held.all(), word: 1 }]).map(|_| ())),
            ("a download", d.download(&held, 0, &mut [0; 64])),
            ("loading", d.kernel(&bump()?, Checks::On).map(|_| ())),
            ("waiting for everything", d.synchronize()),
        ] {
            let e = refused(format!("{what} after a loss, round {round}"), e, &[code::LOST])?;
            let now = Some(e.to_string());
            ensure(now == first || now == said, || format!("{what} after a loss says {e}, first it was {first:?}"))?;
            seen.elements += 1;
        }
    }
    drop((held, d, fault));
    let again = s.plain()?;
    right("after opening it again", &everything(again.chip(), 0)?, seen)?;
    works(again.chip(), "a loss and reopening", r, seen)
}

/// An error that is no loss passes: the call that met it fails, and the next ones are as good as before.
fn passing(s: &Subject, call: Call, r: &mut Random, seen: &mut Seen) -> End {
    let (d, fault) = faulty(s)?;
    right("before the failure", &everything(&d, 0)?, seen)?;
    let error = Error::Backend { backend: "fault".into(), code: 77, message: "planned".into() };
    fault.plan(Planned { call, after: 0, times: 1, error });
    let mut met = None;
    for n in 1..4 {
        match everything(&d, n) {
            Err(e) => {
                met = Some(e);
                break;
            }
            Ok(got) => right("a result beside a failure that was not met", &got, seen)?,
        }
    }
    if let Some(e) = &met {
        ensure(!e.is_lost(), || format!("an error that is no loss came out as one: {e}"))?;
    } else if call != Call::Wait && call != Call::Record {
        return Err(crate::Failure::Broken(format!("an error of {call:?} was swallowed: no call failed")));
    }
    ensure(d.lost().is_none(), || format!("lost after an error that is no loss: {met:?}"))?;
    // The failure of work that nobody waited for may be told once more.
    let _ = d.synchronize();
    right("after the failure", &everything(&d, 9)?, seen)?;
    works(&d, format!("an error of {call:?}"), r, seen)
}

/// Work that was pending when the device was lost fails, all of it, and nobody waits for ever.
fn pending(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let (d, fault) = faulty(s)?;
    works(&d, "opening", r, seen)?;
    let p = d.kernel(&bump()?, Checks::On)?;
    let x = d.alloc_from(&of_u32([0; 64]))?;
    fault.plan(Planned {
        call: Call::Wait,
        after: 0,
        times: u64::MAX,
        error: Error::DeviceLost { device: d.info().id.clone(), why: "planned".into(), restart: false },
    });
    let launch = || step(&p, Grid::Linear(1), vec![x.all()], &[ScalarArg::U32(1)]);
    let mut work = vec![];
    for _ in 0..20 {
        match d.submit(&[launch()]) {
            Ok(p) => work.push(p),
            Err(e) => {
                ensure(e.is_lost(), || format!("submitting to a device that was lost: {e}"))?;
                break;
            }
        }
    }
    for (n, p) in work.iter().enumerate() {
        let e = refused(format!("waiting for work {n} of a lost device"), p.wait(), &[code::LOST])?;
        ensure(p.wait().is_err_and(|again| again == e), || "the second wait says something else".into())?;
        seen.elements += 1;
    }
    Ok(())
}

/// A failure that nobody waited for is told by the next one who waits for anything, once.
fn dropped(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let (d, fault) = faulty(s)?;
    works(&d, "opening", r, seen)?;
    let x = d.alloc_from(&of_u32([0; 64]))?;
    d.synchronize()?;
    let error = Error::Backend { backend: "fault".into(), code: 5, message: "planned".into() };
    fault.plan(Planned { call: Call::Wait, after: 0, times: 1, error });
    drop(d.submit(&[Step::Fill { dst: x.all(), word: 3 }])?);
    let told = d.synchronize();
    let e = refused("waiting for everything after work that failed", told, &[code::BACKEND])?;
    ensure(!e.is_lost(), || format!("an error that is no loss came out as one: {e}"))?;
    d.synchronize()?;
    let _ = read_all(&d, &x)?;
    works(&d, "work that failed unseen", r, seen)
}
