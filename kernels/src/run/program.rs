//! Programs: a computation planned once and run many times on new inputs.

use super::{
    exec::{Prepared, Settled, execute, read_by_the_rest, settled_launches},
    lists::{Lists, Outcome},
    realize, without_lost,
};
use crate::{
    graph::Node,
    plan::{
        Plan, ValueRef,
        cache::planned,
        memory::{self, Layout, MemoryPlan},
        snapshot::Snapshot,
    },
};
use anychip_hal::{
    Error, Result,
    device::{Device, Pending},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A captured computation: planned once, run many times on new inputs. May be run from several threads at once.
///
/// Where the one device keeps recorded lists, the third run records what binds neither inputs nor results; from then on the program
/// keeps the memory of its values in between until it is dropped, and their lists are queued whole.
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
    /// Per launch: it follows from the weights alone.
    fixed: Vec<bool>,
    /// Memory of what every run computes.
    memory: Layout,
    /// What the fixed launches give, computed by the first run.
    settled: Mutex<Option<Arc<Settled>>>,
    replay: Mutex<Replay>,
}

/// How far a program has come with recording its launches.
struct Replay {
    lists: Option<Lists>,
    /// Runs until recording is tried: what runs once is not worth a list. `None`: the device has no lists, or the program nothing for
    /// them.
    left: Option<u32>,
    /// The runs before the last try; the next waits for twice as many.
    waited: u32,
}

impl Replay {
    fn new() -> Replay {
        Replay { lists: None, left: Some(2), waited: 2 }
    }

    /// There was no memory for lists: perhaps there is some later.
    fn later(&mut self) {
        self.waited = self.waited.saturating_mul(2);
        (self.lists, self.left) = (None, Some(self.waited));
    }
}

impl Ready {
    fn new(snapshot: &Snapshot, chain: Vec<Device>, inputs: usize) -> Result<Ready> {
        let plan = planned(snapshot, &chain)?;
        let fixed = settled_launches(&plan, inputs);
        let memory = memory::assign(&plan.launches, &plan.temps, &plan.outputs, &fixed);
        let (settled, replay) = (Mutex::new(None), Mutex::new(Replay::new()));
        Ok(Ready { plan, chain, fixed, memory, settled, replay })
    }

    fn settled(&self, leaves: &[Node]) -> Result<Option<Arc<Settled>>> {
        if !self.fixed.contains(&true) {
            return Ok(None);
        }
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        // What failed is computed once more.
        if let Some(s) = settled.as_ref().filter(|s| !s.failed()) {
            return Ok(Some(s.clone()));
        }
        let s = Arc::new(Settled::new(&self.plan, &self.chain, leaves, &self.fixed)?);
        *settled = Some(s.clone());
        Ok(Some(s))
    }

    /// What is recorded, if anything, which the third run does. The lock is held while a run is queued: lists have memory of their own.
    fn replay(&self, leaves: &[Node], inputs: usize, settled: Option<&Arc<Settled>>) -> Option<MutexGuard<'_, Replay>> {
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        if replay.lists.as_ref().is_some_and(|lists| lists.stale(settled)) {
            (replay.lists, replay.left) = (None, Some(0));
        }
        match replay.left {
            Some(0) if replay.lists.is_none() => {
                let settled = settled.map(|s| (s, self.fixed.as_slice()));
                match Lists::record(&self.plan, &self.memory, &self.chain, leaves, inputs, settled) {
                    Ok(Outcome::Lists(lists)) => replay.lists = Some(lists),
                    Ok(Outcome::Nothing) => replay.left = None,
                    // The run says for itself what it fails with; a later one may have the memory.
                    Ok(Outcome::NoRoom) | Err(_) => replay.later(),
                }
            }
            Some(left) => replay.left = Some(left.saturating_sub(1)),
            None => {}
        }
        replay.lists.is_some().then_some(replay)
    }

    fn memory(&self, snapshot: &Snapshot, inputs: usize) -> MemoryPlan {
        let settled = (0..self.plan.temps.len()).filter(|&t| {
            let v = ValueRef::Temp(t);
            let written = self.plan.launches.iter().zip(&self.fixed).any(|(l, f)| *f && l.bindings.last() == Some(&v));
            written && read_by_the_rest(&self.plan, &self.fixed, v)
        });
        let settled = settled.map(|t| self.plan.temps[t].bytes).sum();
        let replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = replay.lists.as_ref().map_or(0, Lists::bytes);
        MemoryPlan { settled, kept, ..self.plan.report(snapshot, &self.memory, Some(inputs)) }
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
        let ready = Ready::new(&snapshot, chain.to_vec(), inputs.len())?;
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
                    let next = Arc::new(Ready::new(&self.snapshot, left, self.inputs)?);
                    *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = next;
                }
                other => return other,
            }
        }
    }

    fn start_on(&self, ready: &Ready, inputs: &[Node], profile: bool) -> Result<(Vec<Node>, Vec<Arc<Pending>>)> {
        realize(inputs, &ready.chain)?;
        let leaves: Vec<Node> = inputs.iter().chain(&self.snapshot.leaves[self.inputs..]).cloned().collect();
        let settled = ready.settled(&leaves)?;
        let mut replay = match !profile && ready.chain.len() == 1 {
            true => ready.replay(&leaves, self.inputs, settled.as_ref()),
            false => None,
        };
        let lists = replay.as_deref().and_then(|r| r.lists.as_ref());
        let settled = settled.as_deref().map(|s| (s, ready.fixed.as_slice()));
        let Ready { plan, memory, chain, .. } = ready;
        let listed = lists.is_some();
        let (outputs, under_way) = match execute(plan, memory, chain, &leaves, profile, Prepared { settled, lists }) {
            // What the lists keep may be what is missing.
            Err(Error::OutOfMemory { .. }) if listed => {
                replay.as_deref_mut().into_iter().for_each(Replay::later);
                execute(plan, memory, chain, &leaves, profile, Prepared { settled, lists: None })?
            }
            done => done?,
        };
        drop(replay);
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

    /// What a run takes in memory.
    pub fn memory(&self) -> MemoryPlan {
        self.ready().memory(&self.snapshot, self.inputs)
    }

    /// What a run does: per launch what was fused, the schedule and why, the estimated time; then memory and fallbacks.
    pub fn explain(&self) -> String {
        let ready = self.ready();
        ready.plan.explain(&self.snapshot, &ready.chain, &ready.memory(&self.snapshot, self.inputs), &ready.fixed)
    }
}
