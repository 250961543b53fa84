//! Queues: work goes in at once, tickets rise, ends are asked for. Recorded lists.
//!
//! A ticket is a value of the queue's timeline semaphore. Devices without those have one queue, and a fence per
//! submission.

use crate::{
    device::{Device, Handle, lock},
    recorder::{Slot, Use},
    vk_error::Named,
};
use anychip_hal::{Command, Completion, Error, RawList, Result, Span, Submission, Ticket, Work, handles};
use ash::vk;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

/// How often a list is recorded at most, so that it can be submitted again while it runs.
const COPIES: usize = 4;

/// A queue and what is in it.
pub struct Queue {
    raw: vk::Queue,
    /// Null without timelines.
    timeline: vk::Semaphore,
    /// Held while the driver's queue is used, too.
    state: Mutex<State>,
    handle: Arc<Handle>,
}

#[derive(Default)]
struct State {
    last: u64,
    /// Everything up to this one has ended.
    done: u64,
    pending: VecDeque<Pending>,
    free: Vec<Slot>,
    /// Spans of finished work that nobody has collected.
    spans: BTreeMap<u64, Vec<Span>>,
}

struct Pending {
    value: u64,
    /// Comes back when the work has ended; a list keeps its own.
    slot: Option<Slot>,
    fence: Option<Arc<Fence>>,
}

/// A fence of one submission.
struct Fence(vk::Fence, Arc<Handle>);

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: whoever waits for it holds it; its submission has ended or never began.
        unsafe { self.1.raw.destroy_fence(self.0, None) };
    }
}

/// Recorded commands.
pub struct List {
    commands: Vec<Command>,
    copies: Mutex<Vec<Copy>>,
}

struct Copy {
    slot: Slot,
    last: Option<Ticket>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the device is idle when it is closed.
        unsafe { self.handle.raw.destroy_semaphore(self.timeline, None) };
    }
}

impl Queue {
    pub fn new(handle: &Arc<Handle>, family: u32, n: u32, timeline: bool) -> Result<Queue> {
        // SAFETY: the device was opened with this queue; the structures live until the calls return.
        let raw = unsafe { handle.raw.get_device_queue(family, n) };
        let mut kind = vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        let timeline = match timeline {
            true => unsafe { handle.raw.create_semaphore(&info, None) }.named(&handle.id, "vkCreateSemaphore")?,
            false => vk::Semaphore::null(),
        };
        Ok(Queue { raw, timeline, state: Mutex::default(), handle: handle.clone() })
    }
}

impl Handle {
    /// The value that a timeline has reached.
    fn reached(&self, timeline: vk::Semaphore) -> Result<u64> {
        // SAFETY: the semaphore lives as long as its queue.
        match &self.timeline {
            Some(khr) => unsafe { khr.get_semaphore_counter_value(timeline) },
            None => unsafe { self.raw.get_semaphore_counter_value(timeline) },
        }
        .named(&self.id, "vkGetSemaphoreCounterValue")
    }

    /// Waits for a value of a timeline. `false`: the time is up.
    fn wait_for(&self, timeline: vk::Semaphore, value: u64, nanoseconds: u64) -> Result<bool> {
        let (semaphores, values) = ([timeline], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: as above.
        let ended = match &self.timeline {
            Some(khr) => unsafe { khr.wait_semaphores(&info, nanoseconds) },
            None => unsafe { self.raw.wait_semaphores(&info, nanoseconds) },
        };
        ended_in_time(ended).named(&self.id, "vkWaitSemaphores")
    }
}

fn ended_in_time(r: std::result::Result<(), vk::Result>) -> std::result::Result<bool, vk::Result> {
    match r {
        Ok(()) => Ok(true),
        Err(vk::Result::TIMEOUT | vk::Result::NOT_READY) => Ok(false),
        Err(code) => Err(code),
    }
}

impl Device {
    fn queue(&self, n: u32) -> Result<&Queue> {
        handles::queue(&self.queues, n, &self.info.id)
    }

    pub(crate) fn enqueue(&self, work: &Submission<'_>) -> Result<Ticket> {
        let queue = self.queue(work.queue)?;
        let mut before = vec![];
        for t in work.after {
            let known = lock(&self.queue(t.queue)?.state).last;
            if t.value == 0 || t.value > known {
                return Err(Error::invalid(format!("{}: ticket {t:?} was never given out", self.info.id)));
            }
            if t.queue != work.queue {
                before.push(*t);
            }
        }
        let profile = work.profile && self.info.clock.is_some();
        let use_ = if profile { Use::Timed } else { Use::Once };
        // Held until everything is queued: the order of tickets is the order of the queue.
        let mut state = lock(&queue.state);
        self.retire(queue, &mut state)?;
        match work.work {
            Work::Commands(commands) => self.submit_once(queue, &mut state, work.queue, commands, &before, use_),
            Work::List(list) => {
                let list = self.lists.find(list.0, &self.info.id, "list")?;
                // A recording takes no times.
                match profile {
                    true => self.submit_once(queue, &mut state, work.queue, &list.commands, &before, use_),
                    false => self.submit_list(queue, &mut state, work.queue, &list, &before),
                }
            }
        }
    }

    /// Submits nothing, for drivers that put off until then what they have to do.
    pub(crate) fn nudge(&self) {
        let Some(queue) = self.queues.first() else { return };
        let _held = lock(&queue.state);
        // SAFETY: the device is open, and the queue is locked by its state. What goes wrong is told by the next submission.
        let _ = unsafe { self.handle.raw.queue_submit(queue.raw, &[vk::SubmitInfo::default()], vk::Fence::null()) };
    }

    fn submit_once(
        &self,
        queue: &Queue,
        state: &mut State,
        number: u32,
        commands: &[Command],
        before: &[Ticket],
        use_: Use,
    ) -> Result<Ticket> {
        let mut slot = match state.free.pop() {
            Some(slot) => slot,
            None => Slot::new(&self.handle, self.rest.family)?,
        };
        let done = self.put(&mut slot, commands, use_).and_then(|()| self.send(queue, state, slot.buffer, before));
        match done {
            Ok((value, fence)) => {
                state.pending.push_back(Pending { value, slot: Some(slot), fence });
                Ok(Ticket { queue: number, value })
            }
            Err(e) => {
                state.free.push(slot);
                Err(e)
            }
        }
    }

    fn submit_list(
        &self,
        queue: &Queue,
        state: &mut State,
        number: u32,
        list: &List,
        before: &[Ticket],
    ) -> Result<Ticket> {
        let mut copies = lock(&list.copies);
        let free = copies.iter().position(|c| c.last.is_none_or(|t| self.over(t, number, state)));
        let n = match free {
            Some(n) => n,
            None if copies.len() < COPIES => {
                let mut slot = Slot::new(&self.handle, self.rest.family)?;
                self.put(&mut slot, &list.commands, Use::Again)?;
                copies.push(Copy { slot, last: None });
                copies.len() - 1
            }
            None => {
                drop(copies);
                return self.submit_once(queue, state, number, &list.commands, before, Use::Once);
            }
        };
        let (value, fence) = self.send(queue, state, copies[n].slot.buffer, before)?;
        state.pending.push_back(Pending { value, slot: None, fence });
        let ticket = Ticket { queue: number, value };
        copies[n].last = Some(ticket);
        Ok(ticket)
    }

    /// Has it ended, as far as is known? `held`: the state of queue `number`, which the caller has locked.
    fn over(&self, t: Ticket, number: u32, held: &State) -> bool {
        if t.queue == number {
            return t.value <= held.done;
        }
        // Not waited for: two lists on two queues must not wait for each other.
        self.queues.get(t.queue as usize).is_some_and(|q| q.state.try_lock().is_ok_and(|s| t.value <= s.done))
    }

    /// Hands a command buffer to the driver. After an error nothing of it is under way.
    fn send(
        &self,
        queue: &Queue,
        state: &mut State,
        buffer: vk::CommandBuffer,
        before: &[Ticket],
    ) -> Result<(u64, Option<Arc<Fence>>)> {
        let (raw, id) = (&self.handle.raw, self.info.id.as_str());
        let value = state.last + 1;
        let buffers = [buffer];
        let mut info = vk::SubmitInfo::default().command_buffers(&buffers);
        if queue.timeline == vk::Semaphore::null() {
            // SAFETY: here and below: the device is open, the command buffer is recorded and not pending, the queue is
            // locked by its state, and the structures live until the calls return.
            let fence =
                unsafe { raw.create_fence(&vk::FenceCreateInfo::default(), None) }.named(id, "vkCreateFence")?;
            let fence = Arc::new(Fence(fence, self.handle.clone()));
            unsafe { raw.queue_submit(queue.raw, &[info], fence.0) }.named(id, "vkQueueSubmit")?;
            state.last = value;
            return Ok((value, Some(fence)));
        }
        let semaphores = before.iter().map(|t| Ok(self.queue(t.queue)?.timeline)).collect::<Result<Vec<_>>>()?;
        let waits: Vec<u64> = before.iter().map(|t| t.value).collect();
        let stages = vec![vk::PipelineStageFlags::COMPUTE_SHADER | vk::PipelineStageFlags::TRANSFER; waits.len()];
        let (signals, values) = ([queue.timeline], [value]);
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().wait_semaphore_values(&waits).signal_semaphore_values(&values);
        info = info
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages)
            .signal_semaphores(&signals)
            .push_next(&mut timeline);
        unsafe { raw.queue_submit(queue.raw, &[info], vk::Fence::null()) }.named(id, "vkQueueSubmit")?;
        state.last = value;
        Ok((value, None))
    }

    /// Records commands for many submissions.
    pub(crate) fn prepare(&self, commands: &[Command]) -> Result<RawList> {
        let mut slot = Slot::new(&self.handle, self.rest.family)?;
        self.put(&mut slot, commands, Use::Again)?;
        let list = List { commands: commands.to_vec(), copies: Mutex::new(vec![Copy { slot, last: None }]) };
        Ok(RawList(self.lists.insert(Arc::new(list))))
    }

    pub(crate) fn await_ticket(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let queue = self.queue(ticket.queue)?;
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let fence = {
            let state = lock(&queue.state);
            if ticket.value == 0 || ticket.value > state.last {
                return Err(Error::invalid(format!("{}: ticket {ticket:?} was never given out", self.info.id)));
            }
            if ticket.value <= state.done {
                Err(())
            } else {
                Ok(state.pending.iter().find(|p| p.value == ticket.value).and_then(|p| p.fence.clone()))
            }
        };
        let ended = match fence {
            Err(()) => true,
            // SAFETY: the fence is held while it is waited for.
            Ok(Some(f)) => ended_in_time(unsafe { self.handle.raw.wait_for_fences(&[f.0], true, nanoseconds) })
                .named(&self.info.id, "vkWaitForFences")?,
            Ok(None) => self.handle.wait_for(queue.timeline, ticket.value, nanoseconds)?,
        };
        if !ended {
            return Ok(None);
        }
        let mut state = lock(&queue.state);
        self.retire(queue, &mut state)?;
        Ok(Some(Completion { spans: state.spans.remove(&ticket.value).unwrap_or_default() }))
    }

    /// Takes what has ended out of the queue's list.
    fn retire(&self, queue: &Queue, state: &mut State) -> Result<()> {
        if state.pending.is_empty() {
            return Ok(());
        }
        let timeline = queue.timeline != vk::Semaphore::null();
        let reached = if timeline { self.handle.reached(queue.timeline)? } else { 0 };
        while let Some(p) = state.pending.front() {
            let ended = match &p.fence {
                // SAFETY: the fence lives.
                Some(f) => unsafe { self.handle.raw.get_fence_status(f.0) }.named(&self.info.id, "vkGetFenceStatus")?,
                None => p.value <= reached,
            };
            if !ended {
                break;
            }
            let Some(p) = state.pending.pop_front() else { break };
            state.done = p.value;
            if let Some(slot) = p.slot {
                let spans = slot.spans(self.rest.timestamps)?;
                if !spans.is_empty() {
                    state.spans.insert(p.value, spans);
                }
                state.free.push(slot);
            }
        }
        Ok(())
    }
}
