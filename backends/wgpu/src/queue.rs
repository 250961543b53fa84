//! Submissions: commands with their bind groups, encoded, handed over, and asked whether they are done.

use crate::{
    device::{Device, lock},
    memory::Buffer,
    program::Program,
};
use anychip_hal::{Command, Completion, Error, Result, Span, Submission, Ticket, Work, wait::ask_until};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// Longest piece of a fill that is copied at once.
const PATTERN: u64 = 1 << 20;
/// Commands whose times one set of queries holds.
const TIMED: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

/// The queue's tickets.
#[derive(Default)]
pub struct State {
    last: u64,
    pending: VecDeque<Pending>,
    /// Spans of finished work that nobody has collected.
    spans: BTreeMap<u64, Vec<Span>>,
    /// Uniform buffers that no work uses.
    uniforms: Vec<wgpu::Buffer>,
}

struct Pending {
    value: u64,
    done: Arc<Done>,
    uniforms: Option<wgpu::Buffer>,
    times: Option<wgpu::Buffer>,
}

#[derive(Default)]
struct Done {
    is: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

/// Commands with everything that can be made before they are submitted.
pub struct List {
    steps: Vec<Step>,
    /// What the host reads and writes.
    host: Vec<Arc<Buffer>>,
}

enum Step {
    /// By way of `between` within one buffer: wgpu copies between two.
    Copy {
        src: wgpu::Buffer,
        from: u64,
        dst: wgpu::Buffer,
        to: u64,
        bytes: u64,
        between: Option<wgpu::Buffer>,
    },
    Clear {
        dst: wgpu::Buffer,
        at: u64,
        bytes: u64,
    },
    Fill {
        pattern: wgpu::Buffer,
        dst: wgpu::Buffer,
        at: u64,
        bytes: u64,
    },
    Launch {
        program: Arc<Program>,
        buffers: wgpu::BindGroup,
        groups: [u32; 3],
        scalars: Vec<u8>,
    },
}

impl Device {
    /// Checks commands and makes their bind groups.
    pub(crate) fn prepare(&self, commands: &[Command]) -> Result<List> {
        self.guarded("commands", 0, || {
            let mut list = List { steps: Vec::with_capacity(commands.len()), host: vec![] };
            for command in commands {
                let step = self.step(command, &mut list.host)?;
                list.steps.push(step);
            }
            Ok(list)
        })?
    }

    fn step(&self, command: &Command, host: &mut Vec<Arc<Buffer>>) -> Result<Step> {
        let id = &self.info.id;
        Ok(match command {
            Command::Copy { src, dst } => {
                let (from, to) = (self.range(src)?, self.range(dst)?);
                if src.bytes != dst.bytes {
                    return Err(Error::invalid(format!("{id}: copy of {} bytes to {}", src.bytes, dst.bytes)));
                }
                let bytes = src.bytes;
                use wgpu::BufferUsages as U;
                let step = Step::Copy {
                    src: from.raw.clone(),
                    from: src.offset,
                    dst: to.raw.clone(),
                    to: dst.offset,
                    bytes,
                    between: Arc::ptr_eq(&from, &to).then(|| self.scratch(bytes, U::COPY_SRC | U::COPY_DST)),
                };
                host.extend([from, to]);
                step
            }
            Command::Fill { dst, word } => {
                let to = self.range(dst)?.raw.clone();
                let (at, bytes) = (dst.offset, dst.bytes);
                match word {
                    0 => Step::Clear { dst: to, at, bytes },
                    word => Step::Fill { pattern: self.pattern(*word, bytes.min(PATTERN))?, dst: to, at, bytes },
                }
            }
            Command::Launch { program, groups, bindings, scalars } => {
                let program = self.program(*program)?;
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
                let held = bindings.iter().map(|r| self.range(r)).collect::<Result<Vec<_>>>()?;
                let entries: Vec<_> = bindings
                    .iter()
                    .zip(&held)
                    .enumerate()
                    .map(|(n, (r, b))| wgpu::BindGroupEntry {
                        binding: n as u32,
                        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                            buffer: &b.raw,
                            offset: r.offset,
                            // Whole words and vectors: what is behind the range is there, and nothing looks at it.
                            size: wgpu::BufferSize::new(r.bytes.next_multiple_of(16).min(b.size() - r.offset)),
                        }),
                    })
                    .collect();
                let buffers = self.raw.create_bind_group(&wgpu::BindGroupDescriptor {
                    label: None,
                    layout: &program.buffers,
                    entries: &entries,
                });
                let mut scalars = scalars.clone();
                scalars.resize(program.block, 0);
                Step::Launch { program, buffers, groups: *groups, scalars }
            }
        })
    }

    fn scratch(&self, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let size = bytes.next_multiple_of(16);
        self.raw.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    fn pattern(&self, word: u32, bytes: u64) -> Result<wgpu::Buffer> {
        let made = self.raw.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage: wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: true,
        });
        let words = word.to_le_bytes().repeat((bytes / 4) as usize);
        made.get_mapped_range_mut(..).map_err(|e| self.unmappable(&e))?.slice(..).copy_from_slice(&words);
        made.unmap();
        Ok(made)
    }

    pub(crate) fn enqueue(&self, work: &Submission<'_>) -> Result<Ticket> {
        if work.queue != 0 {
            return Err(Error::invalid(format!("{}: queue {}; queue 0 exists", self.info.id, work.queue)));
        }
        let list = match work.work {
            Work::Commands(c) => Arc::new(self.prepare(c)?),
            Work::List(l) => self.lists.find(l.0, &self.info.id, "list")?,
        };
        let profile = work.profile && self.info.clock.is_some();
        // Held until everything is queued: the order of tickets is the order of the queue.
        let mut state = lock(&self.state);
        let (uniforms, times) = self.guarded("a submission", 0, || {
            let uniforms = self.uniforms(&list, &mut state);
            let mut encoder = self.raw.create_command_encoder(&Default::default());
            let times = self.encode(&list, uniforms.as_ref(), profile, &mut encoder);
            list.host.iter().for_each(|b| b.unmap());
            self.queue.submit([encoder.finish()]);
            (uniforms, times)
        })?;
        list.host.iter().for_each(|b| b.map());
        if let Some(times) = &times {
            times.map_async(wgpu::MapMode::Read, .., |_| {});
        }
        let done = Arc::new(Done::default());
        let told = done.clone();
        // Called behind the callbacks of the mappings above.
        self.queue.on_submitted_work_done(move || {
            told.is.store(true, Ordering::Release);
            lock(&told.wakers).drain(..).for_each(Waker::wake);
        });
        state.last += 1;
        let value = state.last;
        state.pending.push_back(Pending { value, done, uniforms, times });
        Ok(Ticket { queue: 0, value })
    }

    /// The scalars of all launches, where they lie in a uniform buffer, each at the next place where one may be bound.
    fn uniforms(&self, list: &List, state: &mut State) -> Option<wgpu::Buffer> {
        let mut bytes = vec![];
        for step in &list.steps {
            if let Step::Launch { program, scalars, .. } = step
                && program.uniforms.is_some()
            {
                bytes.resize(bytes.len().next_multiple_of(self.uniform_align()), 0);
                bytes.extend(scalars);
            }
        }
        if bytes.is_empty() {
            return None;
        }
        // A binding covers whole vectors.
        bytes.resize(bytes.len().next_multiple_of(16) + 256, 0);
        let at = state.uniforms.iter().position(|b| b.size() >= bytes.len() as u64);
        let buffer = at.map(|n| state.uniforms.swap_remove(n)).unwrap_or_else(|| {
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            self.scratch((bytes.len() as u64).next_power_of_two(), usage)
        });
        self.queue.write_buffer(&buffer, 0, &bytes);
        Some(buffer)
    }

    fn uniform_align(&self) -> usize {
        self.raw.limits().min_uniform_buffer_offset_alignment.max(16) as usize
    }

    /// Gives the buffer of the commands' times, two each.
    fn encode(
        &self,
        list: &List,
        uniforms: Option<&wgpu::Buffer>,
        profile: bool,
        encoder: &mut wgpu::CommandEncoder,
    ) -> Option<wgpu::Buffer> {
        let sets: Vec<_> = match profile {
            true => list.steps.chunks(TIMED).map(|part| self.queries(part.len() as u32 * 2)).collect(),
            false => vec![],
        };
        let stamp = |encoder: &mut wgpu::CommandEncoder, n: usize, end: u32| {
            if let Some(set) = sets.get(n / TIMED) {
                encoder.write_timestamp(set, (n % TIMED) as u32 * 2 + end);
            }
        };
        let mut at = 0;
        let mut n = 0;
        while n < list.steps.len() {
            stamp(encoder, n, 0);
            let first = n;
            match &list.steps[n] {
                Step::Copy { src, from, dst, to, bytes, between: None } => {
                    encoder.copy_buffer_to_buffer(src, *from, dst, *to, *bytes)
                }
                Step::Copy { src, from, dst, to, bytes, between: Some(between) } => {
                    encoder.copy_buffer_to_buffer(src, *from, between, 0, *bytes);
                    encoder.copy_buffer_to_buffer(between, 0, dst, *to, *bytes);
                }
                Step::Clear { dst, at, bytes } => encoder.clear_buffer(dst, *at, Some(*bytes)),
                Step::Fill { pattern, dst, at, bytes } => {
                    let mut done = 0;
                    while done < *bytes {
                        let part = (bytes - done).min(pattern.size());
                        encoder.copy_buffer_to_buffer(pattern, 0, dst, at + done, part);
                        done += part;
                    }
                }
                // Neighbouring launches share a pass, unless each is timed.
                Step::Launch { .. } => {
                    let mut pass = encoder.begin_compute_pass(&Default::default());
                    while let Some(Step::Launch { program, buffers, groups, scalars }) = list.steps.get(n) {
                        pass.set_pipeline(&program.pipeline);
                        pass.set_bind_group(0, buffers, &[]);
                        match (&program.uniforms, uniforms) {
                            (Some(layout), Some(uniforms)) => {
                                at = usize::next_multiple_of(at, self.uniform_align());
                                let group = self.uniform_group(layout, uniforms, scalars.len());
                                pass.set_bind_group(1, &group, &[at as u32]);
                                at += scalars.len();
                            }
                            _ if !scalars.is_empty() => pass.set_immediates(0, scalars),
                            _ => {}
                        }
                        pass.dispatch_workgroups(groups[0], groups[1], groups[2]);
                        n += 1;
                        if profile {
                            break;
                        }
                    }
                    n -= 1;
                }
            }
            stamp(encoder, first, 1);
            n += 1;
        }
        let size = list.steps.len() as u64 * 16;
        (!sets.is_empty()).then(|| {
            use wgpu::BufferUsages as U;
            let (raw, read) =
                (self.scratch(size, U::QUERY_RESOLVE | U::COPY_SRC), self.scratch(size, U::MAP_READ | U::COPY_DST));
            for (n, set) in sets.iter().enumerate() {
                encoder.resolve_query_set(set, 0..set.count(), &raw, (n * TIMED * 16) as u64);
            }
            encoder.copy_buffer_to_buffer(&raw, 0, &read, 0, size);
            read
        })
    }

    fn uniform_group(&self, layout: &wgpu::BindGroupLayout, uniforms: &wgpu::Buffer, bytes: usize) -> wgpu::BindGroup {
        let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: uniforms,
            offset: 0,
            size: wgpu::BufferSize::new(bytes.next_multiple_of(16) as u64),
        });
        let entries = &[wgpu::BindGroupEntry { binding: 0, resource }];
        self.raw.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries })
    }

    fn queries(&self, count: u32) -> wgpu::QuerySet {
        self.raw.create_query_set(&wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count })
    }

    pub(crate) fn wake(&self, ticket: Ticket, waker: Waker) -> bool {
        let state = lock(&self.state);
        let Some(p) = state.pending.iter().find(|p| p.value == ticket.value) else { return false };
        lock(&p.done.wakers).push(waker);
        // It may have ended before the waker was there.
        if p.done.is.load(Ordering::Acquire) {
            lock(&p.done.wakers).drain(..).for_each(Waker::wake);
        }
        true
    }

    pub(crate) fn await_ticket(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let found = {
            let state = lock(&self.state);
            if ticket.queue != 0 || ticket.value == 0 || ticket.value > state.last {
                return Err(Error::invalid(format!("{}: ticket {ticket:?} was never given out", self.info.id)));
            }
            state.pending.iter().find(|p| p.value == ticket.value).map(|p| p.done.clone())
        };
        if let Some(done) = found {
            if !self.ended(&done, timeout)? {
                return Ok(None);
            }
            self.retire(ticket.value);
        }
        self.earlier()?;
        Ok(Some(Completion { spans: lock(&self.state).spans.remove(&ticket.value).unwrap_or_default() }))
    }

    /// Asks until the time is up. wgpu's own wait is not for two threads: what one waits for another may finish in between, and
    /// wgpu-core 30 then ends the process by an assertion.
    fn ended(&self, done: &Done, timeout: Duration) -> Result<bool> {
        ask_until(timeout, || {
            if !done.is.load(Ordering::Acquire) {
                let _turn = self.turn();
                let _ = self.raw.poll(wgpu::PollType::Poll);
            }
            let ended = done.is.load(Ordering::Acquire);
            if !ended {
                self.alive()?;
            }
            Ok(ended)
        })
    }

    /// Takes everything up to a finished ticket out of the queue's list.
    fn retire(&self, upto: u64) {
        let _turn = self.turn();
        let mut state = lock(&self.state);
        while state.pending.front().is_some_and(|p| p.value <= upto) {
            let Some(p) = state.pending.pop_front() else { break };
            state.uniforms.extend(p.uniforms);
            if let Some(spans) = p.times.as_ref().and_then(|t| self.spans(t)) {
                state.spans.insert(p.value, spans);
            }
        }
    }

    fn spans(&self, times: &wgpu::Buffer) -> Option<Vec<Span>> {
        let view = times.get_mapped_range(..).ok()?;
        let tick = f64::from(self.queue.get_timestamp_period());
        let stamps: Vec<u64> =
            view.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes"))).collect();
        let nanos = |t: u64| if tick == 1.0 { t } else { (t as f64 * tick) as u64 };
        Some(stamps.chunks_exact(2).map(|s| Span { begin: nanos(s[0]), end: nanos(s[1].max(s[0])) }).collect())
    }
}
