//! Validation: both sides of the contract are held to it, call by call.
//!
//! The caller's breaches (a range outside its buffer, a misaligned binding, a buffer freed while work uses it) come back as
//! `InvalidArgument`; the backend's (a handle given twice, tickets that fall, a wrong number of spans) as `Plugin`. hal keeps
//! the rules by itself: this layer is for tests, for new backends, and for `ANYCHIP_VALIDATE=1` when something is odd.

use super::{forward, lock};
use crate::{
    Command, Completion, Error, Loaded, Memory, Module, Range, RawBuffer, RawDevice, RawList, RawProgram, Result,
    Submission, Ticket, Work,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Checks every call of a device.
pub struct Validate {
    inner: Arc<dyn RawDevice>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buffers: FxHashMap<RawBuffer, (u64, Memory)>,
    programs: FxHashMap<RawProgram, Shape>,
    lists: FxHashMap<RawList, Vec<Command>>,
    open: FxHashMap<Ticket, Uses>,
    last: FxHashMap<u32, u64>,
    /// Breaches in calls that return nothing; the next call that can fail says them.
    breach: Option<Error>,
}

/// What a program takes.
struct Shape {
    name: String,
    /// Per buffer of a kernel: is it written? `None` for a graph.
    writes: Option<Vec<bool>>,
    scalars: usize,
}

#[derive(Default)]
struct Uses {
    buffers: FxHashSet<RawBuffer>,
    programs: FxHashSet<RawProgram>,
    list: Option<RawList>,
    commands: usize,
    profile: bool,
}

impl Validate {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn RawDevice>) -> Validate {
        Validate { inner, state: Mutex::default() }
    }

    fn id(&self) -> &str {
        &self.inner.info().id
    }

    fn caller(&self, why: String) -> Error {
        Error::invalid(format!("contract of {}: {why}", self.id()))
    }

    fn backend(&self, why: String) -> Error {
        Error::Plugin { plugin: self.id().to_string(), why }
    }

    /// The state, unless an earlier call broke the contract.
    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>> {
        let mut s = lock(&self.state);
        match s.breach.take() {
            Some(e) => Err(e),
            None => Ok(s),
        }
    }

    fn host_range(&self, buffer: RawBuffer, at: u64, bytes: usize, of: Memory) -> Result<()> {
        let s = self.state()?;
        let Some(&(len, memory)) = s.buffers.get(&buffer) else {
            return Err(self.caller(format!("buffer {} is not allocated", buffer.0)));
        };
        if memory != of {
            return Err(self.caller(format!("the host touches buffer {} of {memory:?} memory as {of:?}", buffer.0)));
        }
        if at.checked_add(bytes as u64).is_none_or(|end| end > len) {
            return Err(self.caller(format!("the host touches {bytes} bytes at {at} of buffer {}'s {len}", buffer.0)));
        }
        if s.open.values().any(|u| u.buffers.contains(&buffer)) {
            return Err(self.caller(format!("the host touches buffer {}, which pending work uses", buffer.0)));
        }
        Ok(())
    }

    fn range(&self, s: &State, what: &str, r: &Range, align: u64) -> Result<()> {
        let Some(&(len, _)) = s.buffers.get(&r.buffer) else {
            return Err(self.caller(format!("{what}: buffer {} is not allocated", r.buffer.0)));
        };
        if r.offset.checked_add(r.bytes).is_none_or(|end| end > len) || r.bytes == 0 {
            return Err(
                self.caller(format!("{what}: {} bytes at {} of buffer {}'s {len}", r.bytes, r.offset, r.buffer.0))
            );
        }
        if !r.offset.is_multiple_of(align.max(1)) {
            return Err(self.caller(format!("{what}: offset {} is no multiple of {align}", r.offset)));
        }
        Ok(())
    }

    fn command(&self, s: &State, c: &Command) -> Result<()> {
        let limits = &self.inner.info().limits;
        match c {
            Command::Copy { src, dst } => {
                self.range(s, "copy from", src, limits.copy_align)?;
                self.range(s, "copy to", dst, limits.copy_align)?;
                if src.bytes != dst.bytes || !src.bytes.is_multiple_of(limits.copy_align.max(1)) {
                    return Err(self.caller(format!("copy: {} bytes to {}", src.bytes, dst.bytes)));
                }
                let apart = src.offset + src.bytes <= dst.offset || dst.offset + dst.bytes <= src.offset;
                if src.buffer == dst.buffer && !apart {
                    return Err(self.caller("copy: the ranges overlap".into()));
                }
            }
            Command::Fill { dst, .. } => {
                self.range(s, "fill", dst, 4)?;
                if !dst.bytes.is_multiple_of(4) {
                    return Err(self.caller(format!("fill: {} bytes", dst.bytes)));
                }
            }
            Command::Launch { program, groups, bindings, scalars } => {
                let Some(shape) = s.programs.get(program) else {
                    return Err(self.caller(format!("launch: program {} is not loaded", program.0)));
                };
                let what = format!("launch of {}", shape.name);
                if groups.iter().zip(limits.max_groups).any(|(&g, max)| g == 0 || g > max) {
                    return Err(self.caller(format!("{what}: grid {groups:?}, limits {:?}", limits.max_groups)));
                }
                for b in bindings {
                    self.range(s, &what, b, limits.binding_align)?;
                    if b.bytes > limits.max_binding_bytes {
                        return Err(self.caller(format!("{what}: a binding of {} bytes", b.bytes)));
                    }
                }
                if scalars.len() != shape.scalars {
                    return Err(self.caller(format!(
                        "{what}: {} bytes of scalars, not {}",
                        scalars.len(),
                        shape.scalars
                    )));
                }
                let Some(writes) = &shape.writes else { return Ok(()) };
                if bindings.len() != writes.len() {
                    return Err(self.caller(format!("{what}: {} bindings, not {}", bindings.len(), writes.len())));
                }
                for (n, b) in bindings.iter().enumerate() {
                    let shared = bindings.iter().enumerate().any(|(m, o)| m != n && o.buffer == b.buffer);
                    if writes[n] && shared {
                        return Err(self.caller(format!("{what}: binding {n} is written and bound twice")));
                    }
                }
            }
        }
        Ok(())
    }

    fn uses(commands: &[Command]) -> Uses {
        let mut uses = Uses { commands: commands.len(), ..Uses::default() };
        for c in commands {
            match c {
                Command::Copy { src, dst } => uses.buffers.extend([src.buffer, dst.buffer]),
                Command::Fill { dst, .. } => uses.buffers.extend([dst.buffer]),
                Command::Launch { program, bindings, .. } => {
                    uses.programs.insert(*program);
                    uses.buffers.extend(bindings.iter().map(|b| b.buffer));
                }
            }
        }
        uses
    }
}

impl RawDevice for Validate {
    forward!(info, accepts, binary, notify, expose, fetch, trim);

    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        drop(self.state()?);
        if bytes == 0 {
            return Err(self.caller("an allocation of no bytes".into()));
        }
        let buffer = self.inner.alloc(bytes, memory)?;
        if buffer.0 == 0 || lock(&self.state).buffers.insert(buffer, (bytes, memory)).is_some() {
            return Err(self.backend(format!("alloc gave buffer {}, which is zero or in use", buffer.0)));
        }
        Ok(buffer)
    }

    fn free(&self, buffer: RawBuffer) {
        let mut s = lock(&self.state);
        let known = s.buffers.remove(&buffer).is_some();
        let used = s.open.values().any(|u| u.buffers.contains(&buffer));
        if !known || used {
            let why = if known { "pending work uses it" } else { "it is not allocated" };
            s.breach.get_or_insert(self.caller(format!("buffer {} is freed: {why}", buffer.0)));
        }
        drop(s);
        if known {
            self.inner.free(buffer);
        }
    }

    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.host_range(buffer, at, from.len(), Memory::Upload)?;
        self.inner.host_write(buffer, at, from)
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.host_range(buffer, at, to.len(), Memory::Readback)?;
        self.inner.host_read(buffer, at, to)
    }

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        drop(self.state()?);
        let (writes, scalars) = match module {
            Module::Kernel(k) if !matches!(k.idx_bits, 32 | 64) => {
                return Err(self.caller(format!("kernel {} is not legalised", k.name)));
            }
            Module::Kernel(k) => {
                (Some(k.buffers().map(|(_, _, a)| a.writes()).collect()), k.scalar_layout().1 as usize)
            }
            Module::Graph(_) => (None, 0),
        };
        let loaded = self.inner.load(module, cached)?;
        let shape = Shape { name: module.name().to_string(), writes, scalars };
        if lock(&self.state).programs.insert(loaded.program, shape).is_some() {
            return Err(self.backend(format!("load gave program {}, which is in use", loaded.program.0)));
        }
        Ok(loaded)
    }

    fn unload(&self, program: RawProgram) {
        let mut s = lock(&self.state);
        let known = s.programs.remove(&program).is_some();
        if !known || s.open.values().any(|u| u.programs.contains(&program)) {
            s.breach.get_or_insert(self.caller(format!("program {} is unloaded twice or while in use", program.0)));
        }
        drop(s);
        if known {
            self.inner.unload(program);
        }
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let s = self.state()?;
        commands.iter().try_for_each(|c| self.command(&s, c))?;
        drop(s);
        let list = self.inner.record(commands)?;
        if lock(&self.state).lists.insert(list, commands.to_vec()).is_some() {
            return Err(self.backend(format!("record gave list {}, which is in use", list.0)));
        }
        Ok(list)
    }

    fn release(&self, list: RawList) {
        let mut s = lock(&self.state);
        let known = s.lists.remove(&list).is_some();
        if !known || s.open.values().any(|u| u.list == Some(list)) {
            s.breach.get_or_insert(self.caller(format!("list {} is released twice or while in use", list.0)));
        }
        drop(s);
        if known {
            self.inner.release(list);
        }
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        // Held over the call, so that no other thread's ticket comes between.
        let mut s = self.state()?;
        if work.queue >= self.inner.info().limits.queues.max(1) {
            return Err(self.caller(format!("queue {} of {}", work.queue, self.inner.info().limits.queues)));
        }
        let mut uses = match work.work {
            Work::Commands(commands) => {
                commands.iter().try_for_each(|c| self.command(&s, c))?;
                Self::uses(commands)
            }
            Work::List(list) => {
                let Some(commands) = s.lists.get(&list) else {
                    return Err(self.caller(format!("list {} is not recorded", list.0)));
                };
                commands.iter().try_for_each(|c| self.command(&s, c))?;
                Uses { list: Some(list), ..Self::uses(commands) }
            }
        };
        uses.profile = work.profile;
        let ticket = self.inner.submit(work)?;
        let last = s.last.insert(work.queue, ticket.value);
        if ticket.queue != work.queue || last.is_some_and(|l| l >= ticket.value) {
            return Err(self.backend(format!("submit gave {ticket:?} on queue {} after {last:?}", work.queue)));
        }
        s.open.insert(ticket, uses);
        Ok(ticket)
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let end = self.inner.wait(ticket, timeout);
        if matches!(end, Ok(None)) {
            return end;
        }
        let mut s = lock(&self.state);
        let uses = s.open.remove(&ticket);
        // All before it on its queue are complete too.
        s.open.retain(|t, _| t.queue != ticket.queue || t.value > ticket.value);
        if let (Ok(Some(done)), Some(uses)) = (&end, uses) {
            let clock = self.inner.info().clock.is_some();
            let fits =
                done.spans.is_empty() && !(uses.profile && clock) || done.spans.len() == uses.commands && uses.profile;
            if !fits {
                let (n, of) = (done.spans.len(), uses.commands);
                return Err(self.backend(format!("{n} spans for {of} commands, profile {}", uses.profile)));
            }
            if let Some(s) = done.spans.iter().find(|s| s.end < s.begin) {
                return Err(self.backend(format!("a span ends at {} and begins at {}", s.end, s.begin)));
            }
        }
        end
    }
}
