//! Queues: work goes in at once, tickets rise, ends are asked for.

use crate::{
    cl::{self, Named},
    device::{Device, lock},
    program::{Arg, Program},
};
use anychip_hal::{Command, Completion, Error, Result, Span, Submission, Ticket, Work, handles, wait::ask_until};
use opencl3::{command_queue as clq, event as cle, types::cl_event};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

/// Queues of a device: one for work, one for copies beside it.
pub const QUEUES: u32 = 2;

/// An in-order queue and what is in it.
pub struct Queue {
    pub raw: cl::Queue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: u64,
    pending: VecDeque<Pending>,
    /// Spans of finished work that nobody has collected.
    spans: BTreeMap<u64, Vec<Span>>,
    failed: BTreeMap<u64, Error>,
}

struct Pending {
    value: u64,
    end: Arc<cl::Event>,
    /// One event per command, where spans were asked for.
    profiled: Vec<cl::Event>,
}

impl Queue {
    pub fn new(raw: cl::Queue) -> Queue {
        Queue { raw, state: Mutex::default() }
    }
}

/// Execution status of an event: negative after a failure, CL_COMPLETE is 0.
fn status(event: &cl::Event) -> std::result::Result<i32, i32> {
    let bytes = cle::get_event_data(event.0, cle::CL_EVENT_COMMAND_EXECUTION_STATUS)?;
    Ok(i32::from_ne_bytes(bytes.try_into().unwrap_or_default()))
}

fn time(event: &cl::Event, what: u32) -> Option<u64> {
    Some(u64::from_ne_bytes(cle::get_event_profiling_data(event.0, what).ok()?.try_into().ok()?))
}

fn span(event: &cl::Event) -> Option<Span> {
    let begin = time(event, cle::CL_PROFILING_COMMAND_START)?;
    Some(Span { begin, end: time(event, cle::CL_PROFILING_COMMAND_END)?.max(begin) })
}

impl Device {
    fn queue(&self, n: u32) -> Result<&Queue> {
        handles::queue(&self.queues, n, &self.info.id)
    }

    pub(crate) fn enqueue(&self, work: &Submission<'_>) -> Result<Ticket> {
        let queue = self.queue(work.queue)?;
        let commands = match work.work {
            Work::Commands(c) => c,
            Work::List(_) => return Err(Error::unsupported("a recorded list", "this device replays commands")),
        };
        let mut before = vec![];
        for t in work.after.iter().filter(|t| t.queue != work.queue) {
            let state = lock(&self.queue(t.queue)?.state);
            before.extend(state.pending.iter().filter(|p| p.value == t.value).map(|p| p.end.clone()));
        }
        // Held until everything is queued: the order of tickets is the order of the queue.
        let mut state = lock(&queue.state);
        let done = self.put(queue, commands, &before, work.profile && self.info.clock.is_some());
        let (end, profiled) =
            match done.and_then(|d| clq::flush(queue.raw.0).named(&self.info.id, "clFlush").map(|()| d)) {
                Ok(d) => d,
                Err(e) => {
                    // Some of it may be under way; the caller will take its buffers back.
                    let _ = clq::finish(queue.raw.0);
                    return Err(e);
                }
            };
        state.last += 1;
        let value = state.last;
        state.pending.push_back(Pending { value, end: Arc::new(end), profiled });
        Ok(Ticket { queue: work.queue, value })
    }

    fn put(
        &self,
        queue: &Queue,
        commands: &[Command],
        before: &[Arc<cl::Event>],
        profile: bool,
    ) -> Result<(cl::Event, Vec<cl::Event>)> {
        let id = self.info.id.as_str();
        let q = queue.raw.0;
        if !before.is_empty() {
            let waits: Vec<cl_event> = before.iter().map(|e| e.0).collect();
            let barrier = unsafe { clq::enqueue_barrier_with_wait_list(q, waits.len() as u32, waits.as_ptr()) };
            drop(cl::Event(barrier.named(id, "clEnqueueBarrierWithWaitList")?));
        }
        let mut profiled = vec![];
        let mut last = None;
        for command in commands {
            let event = match command {
                Command::Copy { src, dst } => {
                    let (from, to) = (self.range(src)?, self.range(dst)?);
                    let (a, b, n) = (src.offset as usize, dst.offset as usize, src.bytes as usize);
                    if src.bytes != dst.bytes {
                        return Err(Error::invalid(format!("{id}: copy of {} bytes to {}", src.bytes, dst.bytes)));
                    }
                    unsafe { clq::enqueue_copy_buffer(q, from.whole.0, to.whole.0, a, b, n, 0, std::ptr::null()) }
                        .named(id, "clEnqueueCopyBuffer")?
                }
                Command::Fill { dst, word } => {
                    let to = self.range(dst)?;
                    let pattern = word.to_le_bytes();
                    let (at, n) = (dst.offset as usize, dst.bytes as usize);
                    unsafe {
                        clq::enqueue_fill_buffer(q, to.whole.0, pattern.as_ptr().cast(), 4, at, n, 0, std::ptr::null())
                    }
                    .named(id, "clEnqueueFillBuffer")?
                }
                Command::Launch { program, groups, bindings, scalars } => {
                    let program = self.program(*program)?;
                    self.launch(queue, &program, *groups, bindings, scalars)?
                }
            };
            let event = cl::Event(event);
            if profile {
                profiled.extend(last.replace(event));
            } else {
                last = Some(event);
            }
        }
        if let Some(end) = last {
            if profile {
                // The last event is needed twice.
                unsafe { cle::retain_event(end.0) }.named(id, "clRetainEvent")?;
                profiled.push(cl::Event(end.0));
            }
            return Ok((end, profiled));
        }
        let marker = unsafe { clq::enqueue_marker_with_wait_list(q, 0, std::ptr::null()) };
        Ok((cl::Event(marker.named(id, "clEnqueueMarkerWithWaitList")?), profiled))
    }

    fn launch(
        &self,
        queue: &Queue,
        program: &Program,
        groups: [u32; 3],
        bindings: &[anychip_hal::Range],
        scalars: &[u8],
    ) -> Result<cl_event> {
        let id = self.info.id.as_str();
        if bindings.len() != program.bindings || scalars.len() != program.scalars {
            return Err(Error::invalid(format!(
                "{id}: kernel {} takes {} buffers and {} bytes of scalars, got {} and {}",
                program.name,
                program.bindings,
                program.scalars,
                bindings.len(),
                scalars.len()
            )));
        }
        // Parts of buffers live until the launch is queued; from then on the driver holds them.
        let mut parts = vec![];
        let kernel = lock(&program.kernel);
        let mut next = bindings.iter();
        for (n, arg) in program.args.iter().enumerate() {
            let set = match arg {
                Arg::Buffer => {
                    let range = next.next().expect("as many bindings as buffer parameters, checked above");
                    let (mem, part) = self.range(range)?.bind(range.offset, id)?;
                    parts.extend(part);
                    unsafe {
                        opencl3::kernel::set_kernel_arg(kernel.0, n as u32, size_of_val(&mem), (&raw const mem).cast())
                    }
                }
                Arg::Scalar { offset, bytes } => {
                    let at = &scalars[*offset..offset + bytes];
                    unsafe { opencl3::kernel::set_kernel_arg(kernel.0, n as u32, *bytes, at.as_ptr().cast()) }
                }
            };
            set.named(id, &format!("clSetKernelArg {n} of {}", program.name))?;
        }
        let local = program.workgroup.map(|n| n as usize);
        let global: [usize; 3] = std::array::from_fn(|i| groups[i] as usize * local[i]);
        unsafe {
            clq::enqueue_nd_range_kernel(
                queue.raw.0,
                kernel.0,
                3,
                std::ptr::null(),
                global.as_ptr(),
                local.as_ptr(),
                0,
                std::ptr::null(),
            )
        }
        .named(id, &format!("clEnqueueNDRangeKernel of {}", program.name))
    }

    pub(crate) fn await_ticket(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let queue = self.queue(ticket.queue)?;
        let end = {
            let state = lock(&queue.state);
            if ticket.value == 0 || ticket.value > state.last {
                return Err(Error::invalid(format!("{}: ticket {ticket:?} was never given out", self.info.id)));
            }
            state.pending.iter().find(|p| p.value == ticket.value).map(|p| p.end.clone())
        };
        if let Some(end) = end {
            if !self.ended(&end, timeout)? {
                return Ok(None);
            }
            self.retire(queue, ticket.value);
        }
        let mut state = lock(&queue.state);
        if let Some(e) = state.failed.get(&ticket.value) {
            return Err(e.clone());
        }
        Ok(Some(Completion { spans: state.spans.remove(&ticket.value).unwrap_or_default() }))
    }

    /// Asks until the time is up. OpenCL's own wait takes no time limit.
    fn ended(&self, end: &cl::Event, timeout: Duration) -> Result<bool> {
        ask_until(timeout, || {
            let ended = status(end).named(&self.info.id, "clGetEventInfo")? <= 0;
            if ended {
                // By the specification asking for the status is no synchronisation point, after which all queues see what
                // the work wrote; waiting is one. How the work failed is read later.
                let _ = cle::wait_for_events(&[end.0]);
            }
            Ok(ended)
        })
    }

    /// Takes everything up to a finished ticket out of the queue's list.
    fn retire(&self, queue: &Queue, upto: u64) {
        let mut state = lock(&queue.state);
        while state.pending.front().is_some_and(|p| p.value <= upto) {
            let Some(p) = state.pending.pop_front() else { break };
            let code = match status(&p.end) {
                Ok(code) => code,
                Err(code) => code,
            };
            if code < 0 {
                let call = "the end of submitted work";
                let e = match cl::error(&self.info.id, call, code, 0) {
                    e @ Error::OutOfMemory { .. } => e,
                    // What a failed command left behind is unknown, and so is everything that read it.
                    e => {
                        let why = e.to_string();
                        self.fate.lose(Error::DeviceLost { device: self.info.id.clone(), why, restart: false })
                    }
                };
                state.failed.insert(p.value, e);
            } else if !p.profiled.is_empty() {
                let spans: Vec<_> = p.profiled.iter().filter_map(span).collect();
                if spans.len() == p.profiled.len() {
                    state.spans.insert(p.value, spans);
                }
            }
        }
    }
}
