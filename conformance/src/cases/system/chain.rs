//! Chains: what a device cannot do goes to the next one and is reported; what is lost is taken over, or told; the chip opens again.

use super::{cpu, network, numbers, same_tensors};
use crate::{
    Case, Failure, Seen, Subject,
    cases::launch::{End, code, ensure, refused},
    oracle::{Type, sample::Random},
};
use anychip::{
    DType, Device, Error, Result, Tensor,
    hal::{
        Completion, DeviceInfo, Loaded, Memory, Module, RawBuffer, RawDevice, RawProgram, Submission, Ticket,
        device::{self, Layers},
        layer::{Call, Fault, Planned},
        op,
    },
};
use std::{sync::Arc, time::Duration};

/// A device that says that it lacks something.
struct Lacks {
    inner: Arc<dyn RawDevice>,
    info: DeviceInfo,
}

impl RawDevice for Lacks {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.inner.alloc(bytes, memory)
    }
    fn free(&self, buffer: RawBuffer) {
        self.inner.free(buffer);
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.inner.host_read(buffer, at, to)
    }
    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        let all = graph.inputs.iter().chain(graph.outputs.iter().map(|(_, s)| s));
        match all.into_iter().find(|s| !self.info.types.contains_key(&s.dtype)) {
            Some(s) => Err(Error::unsupported(format!("graph {}", graph.name), format!("it is of {}", s.dtype))),
            None => self.inner.accepts(graph),
        }
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.inner.load(module, cached)
    }
    fn unload(&self, program: RawProgram) {
        self.inner.unload(program);
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.inner.submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.inner.wait(ticket, timeout)
    }
}

/// The subject's chip by another name, so that what explains a placement tells it from the CPU.
fn named(s: &Subject, change: impl FnOnce(&mut DeviceInfo)) -> Result<device::Device> {
    let inner = s.raw()?;
    let mut info = inner.info().clone();
    info.id = "subject:0".into();
    change(&mut info);
    Ok(device::Device::with_layers(Arc::new(Lacks { inner, info }), &Layers::default()))
}

/// f64 is none of its types.
fn without_doubles(i: &mut DeviceInfo) {
    i.types.remove(&DType::F64);
}

fn chained(first: device::Device) -> Result<Device> {
    let mut chain = vec![first];
    chain.extend(cpu()?.chain().iter().cloned());
    Device::from_chain(chain)
}

pub(super) fn cases(all: &mut Vec<Case>) {
    let mut case = |name: &str, about: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        all.push(Case::new(format!("system/chain/{name}"), about, Some(Type::F32), "chain", run));
    };
    case("mixed/f32/types-that-are-missing", "mixed placement", mixed);
    case("mixed/f32/nothing-missing", "mixed placement", |s, r, seen| {
        let d = chained(named(s, |_| ())?)?;
        let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
        let y = network(&x, &w, &d)?;
        let text = y.explain()?;
        ensure(!text.contains("fell back"), || format!("nothing is missing, and something fell back:\n{text}"))?;
        same_tensors("a chain of which the first does all", &y, &network(&x, &w, &cpu()?)?, seen)
    });
    case("mixed/f32/strict-alone", "mixed placement", |s, r, seen| {
        // Without a second device what is missing is an error, and nothing else.
        let d = Device::from_chain(vec![named(s, without_doubles)?])?;
        let x = Tensor::from_vec(numbers(64, r), 64, &d)?;
        let wide = x.to_dtype(DType::F64).and_then(|x| x.add(1.0)?.to_vec::<f64>());
        seen.elements += 1;
        refused("f64 on a device that lacks it, alone", wide, &[code::UNSUPPORTED])?;
        let got = x.add(1.0)?.to_vec::<f32>()?;
        ensure(got.len() == 64, || "the device is of no use afterwards".into())
    });
    for (name, call, after) in [
        ("submit-at-once", Call::Submit, 0u64),
        ("submit-later", Call::Submit, 2),
        ("wait-at-once", Call::Wait, 0),
        ("load", Call::Load, 0),
        ("alloc", Call::Alloc, 1),
        ("host-write", Call::HostWrite, 0),
    ] {
        all.push(Case::new(
            format!("system/chain/loss/f32/taken-over-{name}"),
            "device loss",
            Some(Type::F32),
            "chain",
            move |s, r, seen| taken_over(s, call, after, r, seen),
        ));
    }
    let mut case = |name: &str, about: &str, run: fn(&Subject, &mut Random, &mut Seen) -> End| {
        all.push(Case::new(format!("system/chain/{name}"), about, Some(Type::F32), "chain", run));
    };
    case("loss/f32/strict-is-told", "device loss", strict);
    case("loss/f32/realised-is-told", "device loss", realised);
    case("loss/f32/checkpoint-is-kept", "device loss", |s, r, seen| {
        let (d, fault) = faulty(s)?;
        let chain = chained(d)?;
        let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
        let y = network(&x, &w, &chain)?;
        y.checkpoint()?;
        lose(&fault, Call::Submit, 0);
        same_tensors("a value that was checkpointed before the loss", &y.add(0.0)?, &network(&x, &w, &cpu()?)?, seen)
    });
    case("reopen/f32/after-loss", "reopening", |s, r, seen| {
        let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
        let want = network(&x, &w, &cpu()?)?;
        for round in 0..3 {
            let (d, fault) = faulty(s)?;
            let alone = Device::from_chain(vec![d])?;
            same_tensors("before the loss", &network(&x, &w, &alone)?, &want, seen)?;
            lose(&fault, Call::Submit, round);
            let lost = (0..4).find_map(|_| network(&x, &w, &alone).and_then(|y| y.to_bytes()).err());
            ensure(lost.is_some_and(|e| e.is_lost()), || format!("round {round}: a lost device goes on"))?;
            // Others of the same chip live on.
            same_tensors("another handle while one is lost", &network(&x, &w, &s.device)?, &want, seen)?;
        }
        let again = s.again()?;
        same_tensors("after three losses, opened again", &network(&x, &w, &again.device)?, &want, seen)
    });
}

/// f64 is missing: what is of f64 goes to the CPU, the rest stays, and the placement says so.
fn mixed(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let d = chained(named(s, without_doubles)?)?;
    let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
    let work = |on: &Device| -> Result<Tensor> {
        let y = network(&x, &w, on)?;
        let wide = y.to_dtype(DType::F64)?.mul(1.0 + 2f64.powi(-40))?.cumsum(0)?;
        wide.to_dtype(DType::F32)?.add(&y)
    };
    let y = work(&d)?;
    let text = y.explain()?;
    ensure(text.contains("fell back") && text.contains("cpu"), || {
        format!("f64 is missing on the first device, and the placement does not say where it went:\n{text}")
    })?;
    same_tensors("work on two devices of a chain", &y, &work(&cpu()?)?, seen)
}

fn faulty(s: &Subject) -> Result<(device::Device, Arc<Fault>)> {
    let fault = Arc::new(Fault::new(s.raw()?));
    Ok((device::Device::with_layers(fault.clone(), &Layers::default()), fault))
}

fn lose(fault: &Fault, call: Call, after: u64) {
    let error = Error::DeviceLost { device: fault.info().id.clone(), why: "planned".into(), restart: false };
    fault.plan(Planned { call, after, times: u64::MAX, error });
}

/// The first device is lost on the way; the CPU does the work, and does it right.
fn taken_over(s: &Subject, call: Call, after: u64, r: &mut Random, seen: &mut Seen) -> End {
    let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
    let want = network(&x, &w, &cpu()?)?;
    let (first, fault) = faulty(s)?;
    lose(&fault, call, after);
    let d = chained(first)?;
    let y = network(&x, &w, &d)?;
    same_tensors("work that another device took over", &y, &want, seen)?;
    if d.chain()[0].lost().is_none() {
        return Err(Failure::Broken(format!(
            "{call:?} was not called so often: nothing was lost, and the case says nothing"
        )));
    }
    same_tensors("work after the loss", &network(&x, &w, &d)?, &want, seen)
}

/// Alone, a device that is lost says so, and goes on saying so.
fn strict(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
    let (first, fault) = faulty(s)?;
    let d = Device::from_chain(vec![first])?;
    lose(&fault, Call::Submit, 1);
    for round in 0..3 {
        let got = network(&x, &w, &d).and_then(|y| y.to_bytes());
        if round > 0 || got.is_err() {
            refused(format!("work on a lost device, round {round}"), got, &[code::LOST])?;
        }
        seen.elements += 1;
    }
    Ok(())
}

/// A value that lived on the lost device only cannot be had any more: that is said, and no other value is given.
fn realised(s: &Subject, r: &mut Random, seen: &mut Seen) -> End {
    let (x, w) = (numbers(24 * 32, r), numbers(32 * 20, r));
    let (first, fault) = faulty(s)?;
    let d = chained(first)?;
    let y = network(&x, &w, &d)?;
    y.realize()?;
    d.synchronize()?;
    lose(&fault, Call::Submit, 0);
    lose(&fault, Call::Wait, 0);
    let want = network(&x, &w, &cpu()?)?;
    // Where the host still has what it was computed from it may come back; else it is DeviceLost. Nothing in between.
    match y.to_bytes() {
        Ok(got) => crate::cases::launch::same("a value that was computed again", &got, &want.to_bytes()?, seen),
        Err(e) => {
            seen.elements += 1;
            ensure(e.is_lost(), || format!("a value of a lost device: {e}"))
        }
    }
}
