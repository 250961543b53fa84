//! One run of a plan: buffers for its values, launches queued device by device, and the part of a program that is settled.

use super::{
    leaf::{add, leaf_on},
    lists::Lists,
};
use crate::{
    graph::{Node, Placed},
    plan::{Plan, ValueRef, memory::Layout},
};
use anychip_hal::{
    Error, Result,
    device::{Buffer, Device, Pending, Recorded, Slice, Step},
};
use std::sync::Arc;

/// Buffers of one run of a plan.
pub struct Run<'a> {
    plan: &'a Plan,
    memory: &'a Layout,
    chain: &'a [Device],
    leaves: &'a [Node],
    slots: Vec<Option<Buffer>>,
    /// Buffers by value and device, see [`Run::index`].
    at: Vec<Option<Buffer>>,
    queued: Vec<Step>,
    queued_for: usize,
    /// Every submission: one that failed fails what comes of the run, although later ones may not notice.
    submitted: Vec<Arc<Pending>>,
    /// Times are asked for.
    profile: bool,
    /// Work that leaves still wait for.
    before: Vec<Arc<Pending>>,
    /// Values do not share memory: they outlive the run.
    keep: bool,
}

impl<'a> Run<'a> {
    /// Nothing is there yet but the leaves.
    pub fn new(plan: &'a Plan, memory: &'a Layout, chain: &'a [Device], leaves: &'a [Node], profile: bool) -> Run<'a> {
        Run {
            plan,
            memory,
            chain,
            leaves,
            slots: vec![None; memory.slots.len()],
            at: vec![None; (leaves.len() + plan.temps.len()) * chain.len()],
            queued: Vec::with_capacity(plan.launches.len()),
            queued_for: 0,
            submitted: vec![],
            profile,
            before: vec![],
            keep: false,
        }
    }

    /// Leaves first, then what the plan computes; for each a place per device.
    fn index(&self, v: ValueRef, device: usize) -> usize {
        let n = match v {
            ValueRef::Leaf(n) => n,
            ValueRef::Temp(t) => self.leaves.len() + t,
        };
        n * self.chain.len() + device
    }

    fn flush(&mut self) -> Result<()> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let device = &self.chain[self.queued_for];
        let pending = match self.profile {
            false => device.submit(&self.queued)?,
            true => device.submit_profiled(&self.queued)?,
        };
        self.queued.clear();
        self.submitted.push(Arc::new(pending));
        Ok(())
    }

    /// A value's buffer on a device; carried over from another device where needed.
    fn buffer(&mut self, v: ValueRef, device: usize) -> Result<Buffer> {
        let index = self.index(v, device);
        if let Some(b) = &self.at[index] {
            return Ok(b.clone());
        }
        let b = match v {
            ValueRef::Leaf(n) => leaf_on(&self.leaves[n], &self.chain[device], &mut self.before)?,
            ValueRef::Temp(t) if self.plan.temps[t].device == device => self.own(t, device)?,
            ValueRef::Temp(t) => {
                self.flush()?;
                let home = self.plan.temps[t].device;
                let from = self.at[self.index(v, home)].clone();
                let from = from.ok_or_else(|| Error::invalid("a value is used before it is computed"))?;
                self.chain[device].carry(&self.chain[home], &from)?
            }
        };
        self.at[index] = Some(b.clone());
        Ok(b)
    }

    /// Memory for a value that is computed on this device.
    fn own(&mut self, t: usize, device: usize) -> Result<Buffer> {
        let slot = match self.memory.of[t] {
            Some(slot) if !self.keep => slot,
            _ => return self.chain[device].alloc(self.plan.temps[t].bytes),
        };
        if let Some(b) = &self.slots[slot] {
            return Ok(b.clone());
        }
        let b = self.chain[device].alloc(self.memory.slots[slot].1)?;
        self.slots[slot] = Some(b.clone());
        Ok(b)
    }

    fn bytes(&self, v: ValueRef) -> u64 {
        match v {
            ValueRef::Leaf(n) => (self.leaves[n].elements() * self.leaves[n].dtype().size()) as u64,
            ValueRef::Temp(t) => self.plan.temps[t].bytes,
        }
    }

    /// What is computed already is not computed again.
    pub fn have(&mut self, settled: Option<&Settled>) {
        for (v, device, b) in settled.into_iter().flat_map(|s| &s.values) {
            let index = self.index(*v, *device);
            self.at[index] = Some(b.clone());
        }
    }

    /// The buffers of the slots that were needed, and what leaves still wait for.
    pub fn kept(self) -> (Vec<Option<Buffer>>, Vec<Arc<Pending>>) {
        (self.slots, self.before)
    }

    /// Queues the n-th launch.
    fn launch(&mut self, n: usize) -> Result<()> {
        let device = self.plan.launches[n].device;
        if device != self.queued_for {
            self.flush()?;
            self.queued_for = device;
        }
        let step = self.step(n)?;
        self.queued.push(step);
        Ok(())
    }

    /// Queues what was recorded, behind what is queued.
    fn replay(&mut self, list: &Recorded) -> Result<()> {
        self.flush()?;
        self.submitted.push(Arc::new(self.chain[0].run(list)?));
        Ok(())
    }

    /// The n-th launch with its buffers.
    pub fn step(&mut self, n: usize) -> Result<Step> {
        let plan = self.plan;
        let l = &plan.launches[n];
        let mut bindings = Vec::with_capacity(l.bindings.len());
        for &v in &l.bindings {
            let buffer = self.buffer(v, l.device)?;
            let bytes = self.bytes(v);
            bindings.push(Slice { buffer, offset: 0, bytes });
        }
        Ok(Step::Launch { program: l.program.clone(), grid: l.grid, bindings, scalars: l.scalars.clone() })
    }
}

/// Which launches of a program no input has a part in: they follow from its weights alone (a transposed copy, say).
pub fn settled_launches(plan: &Plan, inputs: usize) -> Vec<bool> {
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
    plan.launches.iter().map(|l| !l.bindings.iter().any(|v| depends(v, &temps))).collect()
}

/// True when a launch that every run repeats reads the value of one that is settled.
pub fn read_by_the_rest(plan: &Plan, settled: &[bool], v: ValueRef) -> bool {
    plan.launches.iter().zip(settled).any(|(l, settled)| !settled && l.bindings.contains(&v))
}

/// The values of the settled launches, computed once.
pub struct Settled {
    /// Values, the device on which each lies, and where.
    values: Vec<(ValueRef, usize, Buffer)>,
    /// What computes them.
    work: Vec<Arc<Pending>>,
}

impl Settled {
    /// Computes them.
    pub fn new(plan: &Plan, chain: &[Device], leaves: &[Node], launches: &[bool]) -> Result<Settled> {
        let mut run = Run { keep: true, ..Run::new(plan, &plan.memory, chain, leaves, false) };
        for n in (0..plan.launches.len()).filter(|&n| launches[n]) {
            run.launch(n)?;
        }
        run.flush()?;
        // Only what the rest reads is kept.
        let mut values = vec![];
        for t in 0..plan.temps.len() {
            let v = ValueRef::Temp(t);
            for device in 0..chain.len() {
                let index = run.index(v, device);
                if run.at[index].is_some() && read_by_the_rest(plan, launches, v) {
                    values.extend(run.at[index].take().map(|b| (v, device, b)));
                }
            }
        }
        let mut work = run.before;
        work.extend(run.submitted);
        Ok(Settled { values, work })
    }

    /// Some of them did not come to be.
    pub fn failed(&self) -> bool {
        self.work.iter().any(|w| matches!(w.poll(), Some(Err(_))))
    }
}

/// What a program has ready for a run.
#[derive(Clone, Copy, Default)]
pub struct Prepared<'a> {
    /// What is there already, and which launches that spares.
    pub settled: Option<(&'a Settled, &'a [bool])>,
    /// Launches that are recorded, for a chain of one device and without times; nobody else may queue work with them meanwhile.
    pub lists: Option<&'a Lists>,
}

/// Runs a plan on leaves; the outputs, and every submission that is under way.
pub fn execute(
    plan: &Plan,
    memory: &Layout,
    chain: &[Device],
    leaves: &[Node],
    profile: bool,
    Prepared { settled, lists }: Prepared<'_>,
) -> Result<(Vec<Placed>, Vec<Arc<Pending>>)> {
    let mut run = Run::new(plan, memory, chain, leaves, profile);
    run.have(settled.map(|s| s.0));
    if let Some(lists) = lists {
        run.slots.clone_from_slice(lists.slots());
        lists.open().for_each(|w| add(&mut run.before, &w));
    }
    let mut next = 0;
    while next < plan.launches.len() {
        if let Some((end, list)) = lists.and_then(|l| l.at(next)) {
            run.replay(list)?;
            next = end;
            continue;
        }
        if settled.is_none_or(|(_, launches)| !launches[next]) {
            run.launch(next)?;
        }
        next += 1;
    }
    run.flush()?;
    let mut outputs = Vec::with_capacity(plan.outputs.len());
    for &v in &plan.outputs {
        let device = match v {
            ValueRef::Leaf(_) => 0,
            ValueRef::Temp(t) => plan.temps[t].device,
        };
        outputs.push((device, run.buffer(v, device)?));
    }
    let mut work = run.before;
    let open = settled.into_iter().flat_map(|(s, _)| &s.work).filter(|w| !matches!(w.poll(), Some(Ok(()))));
    open.for_each(|w| add(&mut work, w));
    work.extend(run.submitted.iter().cloned());
    let work: Arc<[Arc<Pending>]> = work.into();
    let outputs = outputs
        .into_iter()
        .map(|(device, buffer)| Placed { device: chain[device].clone(), buffer, work: work.clone() })
        .collect();
    Ok((outputs, run.submitted))
}
