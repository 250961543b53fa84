//! Realising nodes, reading values, and programs that replay a plan.
//!
//! Plans are cached by structure and chain. Work is queued and not waited for: errors of the device come out where a value is
//! read, except in a chain of several devices, where a lost device hands over to the next before the history is dropped.

use crate::{
    graph::{Host, Node, Placed},
    plan::{Plan, ValueRef, plan, snapshot::Snapshot},
};
use anychip_hal::{
    Error, Result,
    device::{Buffer, Device, Pending, Slice, Step},
};
use rustc_hash::FxHashMap;
use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

/// Plans kept; beyond this the cache starts afresh.
const PLANS: usize = 512;

/// Structure of the work, and the devices of the chain.
type PlanKey = (String, Vec<u64>);

static CACHE: LazyLock<Mutex<FxHashMap<PlanKey, Arc<Plan>>>> = LazyLock::new(Default::default);

/// The plan for a snapshot, cached by structure and chain.
fn planned(s: &Snapshot, chain: &[Device]) -> Result<Arc<Plan>> {
    let key = (s.key(), chain.iter().map(Device::number).collect::<Vec<_>>());
    if let Some(plan) = CACHE.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(plan.clone());
    }
    let plan = Arc::new(plan(s, chain)?);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= PLANS {
        cache.clear();
    }
    cache.insert(key, plan.clone());
    Ok(plan)
}

/// Forgets every plan made for a device, and with them its programs: for a device that was lost or is no longer used.
pub fn forget(device: &Device) {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.retain(|(_, devices), _| !devices.contains(&device.number()));
}

/// The value of a node on a device: where it lies already, or brought there.
fn leaf_on(node: &Node, device: &Device) -> Result<Placed> {
    let (host, here, elsewhere) = {
        let state = node.state();
        let here = state.placed.iter().find(|p| p.device == *device).cloned();
        let elsewhere: Vec<Placed> = state.placed.iter().filter(|p| p.device != *device).cloned().collect();
        (state.host.clone(), here, elsewhere)
    };
    let mut failed = None;
    if let Some(p) = here {
        match p.failure() {
            None => return Ok(p),
            Some(e) => failed = Some(e),
        }
    }
    let bytes = match host {
        Some(_) => None,
        None => Some(download(node, &elsewhere).map_err(|e| failed.unwrap_or(e))?),
    };
    let buffer = match (&host, &bytes) {
        (Some(host), _) => device.alloc_from(host.bytes())?,
        (None, Some(bytes)) => device.alloc_from(bytes)?,
        (None, None) => return Err(Error::invalid(format!("{node:?} has no value"))),
    };
    let new = Placed::ready(device, buffer);
    let mut state = node.state();
    // Two threads may have brought it at once: one copy is enough.
    if let Some(p) = state.placed.iter().find(|p| p.device == *device && p.failure().is_none()) {
        return Ok(p.clone());
    }
    state.placed.retain(|p| p.device != *device);
    state.placed.push(new.clone());
    Ok(new)
}

/// A value's bytes from the first of its copies that is whole.
fn download(node: &Node, copies: &[Placed]) -> Result<Vec<u8>> {
    let mut bytes = vec![0; node.elements() * node.dtype().size()];
    let mut failed = Error::invalid(format!("{node:?} has no value: it is a parameter, or was never computed"));
    for p in copies {
        match p.wait().and_then(|()| p.device.download(&p.buffer, 0, &mut bytes)) {
            Ok(()) => return Ok(bytes),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}

/// Buffers of one run of a plan.
struct Run<'a> {
    plan: &'a Plan,
    chain: &'a [Device],
    leaves: &'a [Node],
    slots: Vec<Option<Buffer>>,
    /// Values by device; the first entry of a temp is where it was computed.
    at: FxHashMap<(ValueRef, usize), Buffer>,
    queued: Vec<Step>,
    queued_for: usize,
    last: Vec<Option<Arc<Pending>>>,
    /// Every submission, where times are asked for.
    timed: Option<Vec<Arc<Pending>>>,
    /// Work that leaves still wait for.
    before: Vec<Arc<Pending>>,
    /// Values do not share memory: they outlive the run.
    keep: bool,
}

impl Run<'_> {
    fn flush(&mut self) -> Result<()> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let steps = std::mem::take(&mut self.queued);
        let device = &self.chain[self.queued_for];
        match &mut self.timed {
            None => self.last[self.queued_for] = Some(Arc::new(device.submit(&steps)?)),
            Some(timed) => {
                let pending = Arc::new(device.submit_profiled(&steps)?);
                timed.push(pending.clone());
                self.last[self.queued_for] = Some(pending);
            }
        }
        Ok(())
    }

    /// A value's buffer on a device; carried over from another device where needed.
    fn buffer(&mut self, v: ValueRef, device: usize) -> Result<Buffer> {
        if let Some(b) = self.at.get(&(v, device)) {
            return Ok(b.clone());
        }
        let b = match v {
            ValueRef::Leaf(n) => {
                let placed = leaf_on(&self.leaves[n], &self.chain[device])?;
                let open = placed.work.iter().filter(|w| w.poll().is_none());
                self.before.extend(open.cloned());
                placed.buffer
            }
            ValueRef::Temp(t) => {
                let temp = &self.plan.temps[t];
                let home = temp.device;
                if home == device {
                    match temp.slot {
                        None => self.chain[device].alloc(temp.bytes)?,
                        Some(_) if self.keep => self.chain[device].alloc(temp.bytes)?,
                        Some(s) => match &self.slots[s] {
                            Some(b) => b.clone(),
                            None => {
                                let b = self.chain[device].alloc(self.plan.slots[s].1)?;
                                self.slots[s] = Some(b.clone());
                                b
                            }
                        },
                    }
                } else {
                    self.flush()?;
                    let from = self.at.get(&(v, home)).cloned();
                    let from = from.ok_or_else(|| Error::invalid("a value is used before it is computed"))?;
                    let mut bytes = vec![0; temp.bytes as usize];
                    self.chain[home].download(&from, 0, &mut bytes)?;
                    self.chain[device].alloc_from(&bytes)?
                }
            }
        };
        self.at.insert((v, device), b.clone());
        Ok(b)
    }

    fn bytes(&self, v: ValueRef) -> u64 {
        match v {
            ValueRef::Leaf(n) => (self.leaves[n].elements() * self.leaves[n].dtype().size()) as u64,
            ValueRef::Temp(t) => self.plan.temps[t].bytes,
        }
    }
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, chain: &'a [Device], leaves: &'a [Node], profile: bool) -> Run<'a> {
        Run {
            plan,
            chain,
            leaves,
            slots: vec![None; plan.slots.len()],
            at: FxHashMap::default(),
            queued: vec![],
            queued_for: 0,
            last: chain.iter().map(|_| None).collect(),
            timed: profile.then(Vec::new),
            before: vec![],
            keep: false,
        }
    }

    /// Queues the n-th launch.
    fn launch(&mut self, n: usize) -> Result<()> {
        let plan = self.plan;
        let l = &plan.launches[n];
        if l.device != self.queued_for {
            self.flush()?;
            self.queued_for = l.device;
        }
        let mut bindings = Vec::with_capacity(l.bindings.len());
        for &v in &l.bindings {
            let buffer = self.buffer(v, l.device)?;
            let bytes = self.bytes(v);
            bindings.push(Slice { buffer, offset: 0, bytes });
        }
        let (program, grid, scalars) = (l.program.clone(), l.grid, l.scalars.clone());
        self.queued.push(Step::Launch { program, grid, bindings, scalars });
        Ok(())
    }
}

/// The part of a program that follows from its weights alone (a transposed copy, say): computed once.
struct Settled {
    /// Per launch of the plan: it belongs to this part.
    launches: Vec<bool>,
    /// Values and the device on which each lies.
    values: Vec<((ValueRef, usize), Buffer)>,
    /// What computes them.
    work: Vec<Arc<Pending>>,
}

impl Settled {
    /// Computes what no leaf before `inputs` has a part in.
    fn new(plan: &Plan, chain: &[Device], leaves: &[Node], inputs: usize) -> Result<Settled> {
        let depends = |v: &ValueRef, temps: &[bool]| match *v {
            ValueRef::Leaf(n) => n < inputs,
            ValueRef::Temp(t) => temps[t],
        };
        // Results are computed anew by every run: whoever gets one may write into it.
        let mut temps: Vec<bool> = (0..plan.temps.len()).map(|t| plan.outputs.contains(&ValueRef::Temp(t))).collect();
        // A value may be written by several launches (the parts of a concatenation): until nothing changes any more.
        loop {
            let mut changed = false;
            for l in &plan.launches {
                let moves = l.bindings.iter().any(|v| depends(v, &temps));
                for v in l.bindings.last().into_iter().filter(|_| moves) {
                    if let ValueRef::Temp(t) = *v {
                        changed |= !std::mem::replace(&mut temps[t], true);
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let launches: Vec<bool> =
            plan.launches.iter().map(|l| !l.bindings.iter().any(|v| depends(v, &temps))).collect();
        let mut run = Run { keep: true, ..Run::new(plan, chain, leaves, false) };
        for n in (0..plan.launches.len()).filter(|&n| launches[n]) {
            run.launch(n)?;
        }
        run.flush()?;
        // Only what the rest reads is kept.
        let read =
            |v: &ValueRef| plan.launches.iter().zip(&launches).any(|(l, settled)| !settled && l.bindings.contains(v));
        let mut work = run.before;
        work.extend(run.last.into_iter().flatten());
        let values = run.at.into_iter().filter(|((v, _), _)| matches!(v, ValueRef::Temp(_)) && read(v)).collect();
        Ok(Settled { launches, values, work })
    }
}

/// Runs a plan on leaves; the outputs' buffers and devices, and what is under way: the last submission to each device, or all
/// of them, with times asked for.
fn execute(
    plan: &Plan,
    chain: &[Device],
    leaves: &[Node],
    profile: bool,
    settled: Option<&Settled>,
) -> Result<(Vec<Placed>, Vec<Arc<Pending>>)> {
    let mut run = Run::new(plan, chain, leaves, profile);
    if let Some(settled) = settled {
        run.at.extend(settled.values.iter().cloned());
    }
    for n in 0..plan.launches.len() {
        if settled.is_none_or(|s| !s.launches[n]) {
            run.launch(n)?;
        }
    }
    run.flush()?;
    let outputs = plan
        .outputs
        .iter()
        .map(|&v| {
            let device = match v {
                ValueRef::Leaf(_) => 0,
                ValueRef::Temp(t) => plan.temps[t].device,
            };
            Ok((chain[device].clone(), run.buffer(v, device)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut work = run.before;
    work.extend(run.last.iter().flatten().cloned());
    work.extend(settled.into_iter().flat_map(|s| s.work.iter().filter(|w| !matches!(w.poll(), Some(Ok(())))).cloned()));
    let work: Arc<[Arc<Pending>]> = work.into();
    let outputs = outputs.into_iter().map(|(device, buffer)| Placed { device, buffer, work: work.clone() }).collect();
    let under_way = run.timed.unwrap_or_else(|| run.last.into_iter().flatten().collect());
    Ok((outputs, under_way))
}

/// Computes nodes. The first device of the chain that can do a piece of work does it; the device is not waited for.
///
/// # Errors
/// `Unsupported` when no device of the chain can do some piece, `OutOfMemory`, `CompileFailed`, `DeviceLost`.
pub fn realize(nodes: &[Node], chain: &[Device]) -> Result<()> {
    let mut pending: Vec<Node> = vec![];
    for n in nodes {
        if !n.is_realized() && !pending.iter().any(|p| p.id() == n.id()) {
            pending.push(n.clone());
        }
    }
    if pending.is_empty() {
        return Ok(());
    }
    let mut chain = chain.to_vec();
    loop {
        match realize_once(&pending, &chain) {
            Err(e) if e.is_lost() => chain = without_lost(&chain).ok_or(e)?,
            other => return other,
        }
    }
}

/// The chain without the devices that are lost; `None` when no other is left, or none of them is lost.
fn without_lost(chain: &[Device]) -> Option<Vec<Device>> {
    let (lost, left): (Vec<Device>, Vec<Device>) = chain.iter().cloned().partition(|d| d.lost().is_some());
    lost.iter().for_each(forget);
    (!lost.is_empty() && !left.is_empty()).then_some(left)
}

fn realize_once(pending: &[Node], chain: &[Device]) -> Result<()> {
    let s = Snapshot::take(pending, &[]);
    let plan = planned(&s, chain)?;
    let (outputs, under_way) = execute(&plan, chain, &s.leaves, false, None)?;
    if chain.len() > 1 {
        // The next device can take over only while the history is there.
        under_way.iter().try_for_each(|w| w.wait())?;
    }
    for (node, placed) in pending.iter().zip(outputs) {
        node.place(placed);
    }
    Ok(())
}

/// A node's elements, row-major, little-endian; realised on the chain if need be. Waits.
pub fn read(node: &Node, chain: &[Device]) -> Result<Vec<u8>> {
    realize(std::slice::from_ref(node), chain)?;
    let (host, placed) = {
        let state = node.state();
        (state.host.clone(), state.placed.clone())
    };
    if let Some(host) = host {
        return Ok(host.bytes().to_vec());
    }
    download(node, &placed)
}

/// Keeps a copy of a node's value on the host: it survives the loss of its device.
pub fn checkpoint(node: &Node, chain: &[Device]) -> Result<()> {
    let bytes = read(node, chain)?;
    node.keep_on_host(Host::new(bytes));
    Ok(())
}

/// A node's value on a device, dense from the slice's first byte; realised and carried there if need be.
pub fn buffer_of(node: &Node, device: &Device) -> Result<Slice> {
    realize(std::slice::from_ref(node), std::slice::from_ref(device))?;
    let bytes = (node.elements() * node.dtype().size()) as u64;
    Ok(Slice { buffer: leaf_on(node, device)?.buffer, offset: 0, bytes })
}

/// What realising the nodes would do: a line per launch, what was fused, what fell back, memory.
pub fn explain(nodes: &[Node], chain: &[Device]) -> Result<String> {
    let s = Snapshot::take(nodes, &[]);
    Ok(planned(&s, chain)?.explain(chain))
}

/// A captured computation: planned once, run many times on new inputs. May be run from several threads at once.
pub struct Program {
    snapshot: Snapshot,
    /// How many of the snapshot's leaves are inputs: they come first. The rest (weights) is bound for good.
    inputs: usize,
    ready: Mutex<Arc<Ready>>,
}

/// A program's plan for the devices that are left.
struct Ready {
    plan: Arc<Plan>,
    chain: Vec<Device>,
    /// What follows from the weights alone, computed by the first run.
    settled: Mutex<Option<Arc<Settled>>>,
}

impl Ready {
    fn new(snapshot: &Snapshot, chain: Vec<Device>) -> Result<Ready> {
        Ok(Ready { plan: planned(snapshot, &chain)?, chain, settled: Mutex::new(None) })
    }

    fn settled(&self, leaves: &[Node], inputs: usize) -> Result<Arc<Settled>> {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(s) = &*settled {
            return Ok(s.clone());
        }
        let s = Arc::new(Settled::new(&self.plan, &self.chain, leaves, inputs)?);
        *settled = Some(s.clone());
        Ok(s)
    }
}

impl Program {
    /// Captures how `outputs` follow from `inputs`. The inputs' values do not matter; everything else that the outputs need
    /// keeps the value it has now.
    pub fn capture(inputs: &[Node], outputs: &[Node], chain: &[Device]) -> Result<Program> {
        for (i, x) in inputs.iter().enumerate() {
            if inputs[..i].iter().any(|y| y.id() == x.id()) {
                return Err(Error::invalid(format!("program: input {i} is the same tensor as an earlier one")));
            }
        }
        let snapshot = Snapshot::take(outputs, inputs);
        let ready = Ready::new(&snapshot, chain.to_vec())?;
        Ok(Program { snapshot, inputs: inputs.len(), ready: Mutex::new(Arc::new(ready)) })
    }

    /// Runs on inputs of the captured shapes and types; gives the outputs. Does not wait, except on a chain of several devices,
    /// where the next takes over when one is lost.
    ///
    /// # Errors
    /// `ShapeMismatch` or `DTypeMismatch` that names the input.
    pub fn run(&self, inputs: &[Node]) -> Result<Vec<Node>> {
        Ok(self.start(inputs, false)?.0)
    }

    /// Runs, waits, and gives the time that the devices' own clocks saw; `None` where a device has no clock.
    pub fn run_timed(&self, inputs: &[Node]) -> Result<(Vec<Node>, Option<Duration>)> {
        let (outputs, under_way) = self.start(inputs, true)?;
        let mut nanos = Some(0u64);
        for pending in &under_way {
            for span in pending.spans()? {
                nanos = nanos.zip(span).map(|(n, s)| n + s.end.saturating_sub(s.begin));
            }
        }
        Ok((outputs, nanos.map(Duration::from_nanos)))
    }

    fn start(&self, inputs: &[Node], profile: bool) -> Result<(Vec<Node>, Vec<Arc<Pending>>)> {
        if inputs.len() != self.inputs {
            return Err(Error::invalid(format!("program: takes {} inputs, got {}", self.inputs, inputs.len())));
        }
        for (i, (got, want)) in inputs.iter().zip(&self.snapshot.leaves).enumerate() {
            if got.shape() != want.shape() {
                return Err(Error::ShapeMismatch(format!(
                    "program: input {i} has shape {:?}, was captured with {:?}",
                    got.shape(),
                    want.shape()
                )));
            }
            if got.dtype() != want.dtype() {
                return Err(Error::DTypeMismatch(format!(
                    "program: input {i} is {}, was captured as {}",
                    got.dtype(),
                    want.dtype()
                )));
            }
        }
        loop {
            let ready = self.ready();
            match self.start_on(&ready, inputs, profile) {
                Err(e) if e.is_lost() => {
                    let left = without_lost(&ready.chain).ok_or(e)?;
                    let next = Arc::new(Ready::new(&self.snapshot, left)?);
                    *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = next;
                }
                other => return other,
            }
        }
    }

    fn start_on(&self, ready: &Ready, inputs: &[Node], profile: bool) -> Result<(Vec<Node>, Vec<Arc<Pending>>)> {
        realize(inputs, &ready.chain)?;
        let leaves: Vec<Node> = inputs.iter().chain(&self.snapshot.leaves[self.inputs..]).cloned().collect();
        let settled = ready.settled(&leaves, self.inputs)?;
        let (outputs, under_way) = execute(&ready.plan, &ready.chain, &leaves, profile, Some(&settled))?;
        if ready.chain.len() > 1 {
            under_way.iter().try_for_each(|w| w.wait())?;
        }
        let nodes = outputs
            .into_iter()
            .zip(&self.snapshot.outputs)
            .map(|(p, &o)| Node::placed(p, self.snapshot.items[o].dtype, &self.snapshot.items[o].shape))
            .collect();
        Ok((nodes, under_way))
    }

    fn ready(&self) -> Arc<Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a run does: a line per launch, what was fused, memory.
    pub fn explain(&self) -> String {
        let ready = self.ready();
        ready.plan.explain(&ready.chain)
    }
}
