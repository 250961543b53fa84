//! Stretches of a program's launches that bind neither inputs nor results: recorded once, run many times.

use super::exec::{Run, Settled};
use crate::{
    graph::Node,
    plan::{Plan, ValueRef, memory::Layout},
};
use anychip_hal::{
    Result,
    device::{Buffer, Device, Pending, Recorded},
};
use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

/// Fewer launches are queued as fast as a list of them.
const LEAST: usize = 8;
/// The part of a device's memory that all programs together may keep between their runs.
const KEPT: u64 = 16;

/// What programs keep, by the number of the opened device.
static BYTES: LazyLock<Mutex<HashMap<u64, u64>>> = LazyLock::new(Default::default);

fn bytes() -> MutexGuard<'static, HashMap<u64, u64>> {
    BYTES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that all programs together may keep.
fn most(device: &Device) -> u64 {
    device.info().memory.total / KEPT
}

/// Memory that a program keeps, counted until it lets go.
struct Kept {
    device: u64,
    bytes: u64,
}

impl Kept {
    /// `None`: too much for the device.
    fn new(device: &Device, more: u64) -> Option<Kept> {
        let mut all = bytes();
        let kept = all.get(&device.number()).copied().unwrap_or(0);
        let sum = kept.checked_add(more).filter(|&sum| sum <= most(device))?;
        all.insert(device.number(), sum);
        Some(Kept { device: device.number(), bytes: more })
    }

    /// Less than was thought.
    fn shrink(&mut self, to: u64) {
        let mut all = bytes();
        if let Some(kept) = all.get_mut(&self.device) {
            *kept -= self.bytes.saturating_sub(to);
        }
        self.bytes = self.bytes.min(to);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut all = bytes();
        if let Some(kept) = all.get_mut(&self.device) {
            *kept -= self.bytes;
            if *kept == 0 {
                all.remove(&self.device);
            }
        }
    }
}

/// What came of recording.
pub enum Outcome {
    /// Stretches, and what they keep.
    Lists(Lists),
    /// Other programs keep as much as all together may: later, perhaps.
    NoRoom,
    /// The device has no lists, or there is nothing that would be worth one or that could be kept.
    Nothing,
}

/// The recorded stretches of a program on its device, and the memory that they name.
pub struct Lists {
    /// Which launches each stands for.
    stretches: Vec<(Range<usize>, Recorded)>,
    /// The slots of the plan's layout that they use: every run has its values there.
    slots: Vec<Option<Buffer>>,
    /// What the weights still wait for.
    work: Vec<Arc<Pending>>,
    /// What follows from the weights alone, as it was when they were recorded: they name its buffers.
    settled: Option<Arc<Settled>>,
    kept: Kept,
}

impl Lists {
    /// Records what can be, where the device keeps lists of its own. The first `inputs` leaves are the inputs.
    pub fn record(
        plan: &Plan,
        memory: &Layout,
        chain: &[Device],
        leaves: &[Node],
        inputs: usize,
        settled: Option<(&Arc<Settled>, &[bool])>,
    ) -> Result<Outcome> {
        let [device] = chain else { return Ok(Outcome::Nothing) };
        if memory.bytes() > most(device) {
            return Ok(Outcome::Nothing);
        }
        let Some(mut kept) = Kept::new(device, memory.bytes()) else { return Ok(Outcome::NoRoom) };
        let fixed = |n: usize| settled.is_some_and(|(_, launches)| launches[n]);
        let moves = |v: &ValueRef| match *v {
            ValueRef::Leaf(n) => n < inputs,
            ValueRef::Temp(_) => plan.outputs.contains(v),
        };
        let mut run = Run::new(plan, memory, chain, leaves, false);
        run.have(settled.map(|s| &**s.0));
        let mut stretches = vec![];
        let mut next = 0;
        while next < plan.launches.len() {
            let begin = next;
            let stays = |n: &usize| fixed(*n) || !plan.launches[*n].bindings.iter().any(moves);
            next = (begin..plan.launches.len()).find(|n| !stays(n)).unwrap_or(plan.launches.len());
            let own: Vec<usize> = (begin..next).filter(|n| !fixed(*n)).collect();
            if own.len() >= LEAST {
                let steps = own.into_iter().map(|n| run.step(n)).collect::<Result<Vec<_>>>()?;
                let list = device.record(steps)?;
                if !list.is_native() {
                    return Ok(Outcome::Nothing);
                }
                stretches.push((begin..next, list));
            }
            next += 1;
        }
        let (slots, work) = run.kept();
        if stretches.is_empty() {
            return Ok(Outcome::Nothing);
        }
        // The rest of the layout is every run's own.
        kept.shrink(slots.iter().zip(&memory.slots).filter(|(b, _)| b.is_some()).map(|(_, slot)| slot.1).sum());
        let settled = settled.map(|s| s.0.clone());
        Ok(Outcome::Lists(Lists { stretches, slots, work, settled, kept }))
    }

    /// The stretch that begins with a launch.
    pub fn at(&self, launch: usize) -> Option<(usize, &Recorded)> {
        let found = self.stretches.iter().find(|(range, _)| range.start == launch);
        found.map(|(range, list)| (range.end, list))
    }

    /// The buffers of the layout's slots.
    pub fn slots(&self) -> &[Option<Buffer>] {
        &self.slots
    }

    /// Bytes that stay between runs.
    pub fn bytes(&self) -> u64 {
        self.kept.bytes
    }

    /// The lists name buffers that are of no use: a weight did not come to be, or what follows from the weights was computed anew.
    pub fn stale(&self, settled: Option<&Arc<Settled>>) -> bool {
        self.settled.as_ref().map(Arc::as_ptr) != settled.map(Arc::as_ptr)
            || settled.is_some_and(|s| s.failed())
            || self.work.iter().any(|w| matches!(w.poll(), Some(Err(_))))
    }

    /// What the weights still wait for.
    pub fn open(&self) -> impl Iterator<Item = Arc<Pending>> {
        self.work.iter().filter(|w| !matches!(w.poll(), Some(Ok(())))).cloned()
    }
}
