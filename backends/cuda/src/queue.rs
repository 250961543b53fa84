//! Queues: work goes into a stream at once, an event behind it is its ticket.

use crate::{
    context::{Context, Event, Stream},
    device::Device,
    program::{Arg, Kernel, Program},
};
use anychip_hal::{
    Command, Completion, Error, Range, Result, Span, Submission, Ticket, Work,
    handles::{self, lock},
    wait::ask_until,
};
use cudarc::driver::sys::CUdeviceptr;
use std::{
    collections::{BTreeMap, VecDeque},
    ffi::c_void,
    ptr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A stream and what is in it.
pub struct Queue {
    pub stream: Stream,
    state: Mutex<State>,
}

struct State {
    last: u64,
    pending: VecDeque<Pending>,
    /// Spans of finished work that nobody has collected.
    spans: BTreeMap<u64, Vec<Span>>,
    /// Ends of work that is done, to be recorded again.
    spare: Vec<Event>,
    /// A timed event whose time is known, in nanoseconds: intervals are told in 32 bits, precise only while they are short.
    known: Option<(Event, f64)>,
}

struct Pending {
    value: u64,
    end: Arc<Event>,
    /// Before the first command and behind each, where spans were asked for.
    marks: Vec<Event>,
}

impl Queue {
    pub fn new(stream: Stream) -> Queue {
        let state = State { last: 0, pending: VecDeque::new(), spans: BTreeMap::new(), spare: vec![], known: None };
        Queue { stream, state: Mutex::new(state) }
    }
}

impl State {
    fn event(&mut self, context: &Arc<Context>) -> Result<Event> {
        self.spare.pop().map_or_else(|| Event::create(context, false), Ok)
    }

    /// Times of marks on the device's clock, which began with the first.
    fn times(&mut self, mut marks: Vec<Event>) -> Result<Vec<Span>> {
        let mut times = vec![];
        for mark in &marks {
            times.push(match &self.known {
                Some((event, at)) => at + mark.since(event)?,
                None => match marks.first() {
                    Some(first) => mark.since(first)?,
                    None => 0.0,
                },
            });
        }
        let spans = times.windows(2).map(|t| Span { begin: t[0] as u64, end: t[1].max(t[0]) as u64 }).collect();
        if let (Some(event), Some(at)) = (marks.pop(), times.pop()) {
            self.known = Some((event, at));
        }
        Ok(spans)
    }
}

impl Device {
    fn queue(&self, n: u32) -> Result<&Queue> {
        handles::queue(&self.queues, n, &self.info.id)
    }

    pub(crate) fn enqueue(&self, work: &Submission<'_>) -> Result<Ticket> {
        let queue = self.queue(work.queue)?;
        let list = match work.work {
            Work::List(l) => Some(self.list(l)?),
            Work::Commands(_) => None,
        };
        let mut before = vec![];
        for t in work.after.iter().filter(|t| t.queue != work.queue) {
            let state = lock(&self.queue(t.queue)?.state);
            before.extend(state.pending.iter().find(|p| p.value >= t.value).map(|p| p.end.clone()));
        }
        let _here = self.context.enter()?;
        // Held until everything is queued: the order of tickets is the order of the stream.
        let mut state = lock(&queue.state);
        let put = || {
            before.iter().try_for_each(|e| queue.stream.after(e))?;
            match (work.work, &list) {
                (Work::Commands(c), _) => self.put(&queue.stream, c, work.profile),
                // A graph has no events between its commands: timed, they go one by one.
                (_, Some(list)) if work.profile => self.put(&queue.stream, &list.commands, true),
                (_, Some(list)) => list.launch(&queue.stream).map(|()| vec![]),
                (_, None) => Ok(vec![]),
            }
        };
        let done = put().and_then(|marks| {
            let end = state.event(&self.context)?;
            end.record(&queue.stream).map(|()| (end, marks))
        });
        let (end, marks) = match done {
            Ok(done) => done,
            Err(e) => {
                // Some of it may be under way; the caller will take its buffers back.
                return Err(queue.stream.finish().err().unwrap_or(e));
            }
        };
        state.last += 1;
        let value = state.last;
        state.pending.push_back(Pending { value, end: Arc::new(end), marks });
        Ok(Ticket { queue: work.queue, value })
    }

    /// Commands into a stream, which may be recording; with marks around them. The context is current.
    pub(crate) fn put(&self, stream: &Stream, commands: &[Command], profile: bool) -> Result<Vec<Event>> {
        let (c, api) = (&self.context, self.context.api);
        let mut marks = vec![];
        let mut mark = || -> Result<()> {
            if profile {
                let event = Event::create(c, true)?;
                event.record(stream)?;
                marks.push(event);
            }
            Ok(())
        };
        mark()?;
        for command in commands {
            match command {
                Command::Copy { src, dst } => {
                    let (from, to) = (self.range(src)?, self.range(dst)?);
                    if src.bytes != dst.bytes {
                        let id = &self.info.id;
                        return Err(Error::invalid(format!("{id}: copy of {} bytes to {}", src.bytes, dst.bytes)));
                    }
                    let code = unsafe { (api.cuMemcpyAsync)(to, from, src.bytes as usize, stream.raw) };
                    c.good("cuMemcpyAsync", code)?;
                }
                Command::Fill { dst, word } => {
                    let to = self.range(dst)?;
                    let code = unsafe { (api.cuMemsetD32Async)(to, *word, dst.bytes as usize / 4, stream.raw) };
                    c.good("cuMemsetD32Async", code)?;
                }
                Command::Launch { program, groups, bindings, scalars } => {
                    let program = self.programs.find(program.0, &self.info.id, "program")?;
                    match &*program {
                        Program::Kernel(k) => self.launch(stream, k, *groups, bindings, scalars)?,
                        Program::Product(p) => self.multiply(stream, p, bindings)?,
                    }
                }
            }
            mark()?;
        }
        Ok(marks)
    }

    fn launch(
        &self,
        stream: &Stream,
        program: &Kernel,
        [gx, gy, gz]: [u32; 3],
        bindings: &[Range],
        scalars: &[u8],
    ) -> Result<()> {
        let id = &self.info.id;
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
        // Every value in a word of its own, aligned for any type; the driver copies them before it returns.
        let mut values: Vec<CUdeviceptr> = Vec::with_capacity(program.args.len());
        let mut next = bindings.iter();
        for arg in &program.args {
            values.push(match arg {
                Arg::Buffer => {
                    self.range(next.next().expect("as many bindings as buffer parameters, checked above"))?
                }
                Arg::Scalar { offset, bytes } => {
                    let mut word = [0; 8];
                    word[..*bytes].copy_from_slice(&scalars[*offset..offset + bytes]);
                    u64::from_ne_bytes(word)
                }
            });
        }
        let mut maps = vec![];
        for tensor in &program.tensors {
            let at = self.range(&bindings[tensor.binding])?;
            maps.push(tensor.map(&self.context, &program.name, at, scalars)?);
        }
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| (&raw mut *v).cast()).collect();
        pointers.extend(maps.iter_mut().map(|m| (&raw mut *m).cast::<c_void>()));
        let [x, y, z] = program.workgroup;
        let code = unsafe {
            (self.context.api.cuLaunchKernel)(
                program.function,
                gx,
                gy,
                gz,
                x,
                y,
                z,
                program.shared,
                stream.raw,
                pointers.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        self.context.good(&format!("cuLaunchKernel of {}", program.name), code)
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
        let _here = self.context.enter()?;
        if let Some(end) = end {
            // The driver's own wait takes no time limit.
            if !ask_until(timeout, || end.done())? {
                return Ok(None);
            }
            drop(end);
            self.retire(queue, ticket.value)?;
        }
        Ok(Some(Completion { spans: lock(&queue.state).spans.remove(&ticket.value).unwrap_or_default() }))
    }

    /// Takes everything up to a finished ticket out of the queue's list.
    fn retire(&self, queue: &Queue, upto: u64) -> Result<()> {
        let mut state = lock(&queue.state);
        while state.pending.front().is_some_and(|p| p.value <= upto) {
            let Some(p) = state.pending.pop_front() else { break };
            if !p.marks.is_empty() {
                match state.times(p.marks) {
                    Ok(spans) => drop(state.spans.insert(p.value, spans)),
                    Err(e) if e.is_lost() => return Err(e),
                    // The work went well all the same.
                    Err(_) => {}
                }
            }
            // Not while somebody else still waits for it.
            if let Ok(end) = Arc::try_unwrap(p.end) {
                state.spare.push(end);
            }
        }
        Ok(())
    }
}
