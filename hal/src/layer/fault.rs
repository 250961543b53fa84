//! Fault injection: chosen calls fail with a chosen error, so that tests meet what hardware rarely shows.

use super::{forward, lock};
use crate::{
    Command, Completion, Error, Loaded, Memory, Module, RawBuffer, RawDevice, RawList, Result, Submission, Ticket,
    wait::Since,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the methods of `RawDevice`
pub enum Call {
    Alloc,
    HostWrite,
    HostRead,
    Load,
    Record,
    Submit,
    Wait,
}

/// One failure to come.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Which call.
    pub call: Call,
    /// How many of these calls succeed first, counted from when the plan was made.
    pub after: u64,
    /// How many fail in a row; `u64::MAX` for all that follow.
    pub times: u64,
    /// With what.
    pub error: Error,
}

/// Makes calls of a device fail by plan.
pub struct Fault {
    inner: Arc<dyn RawDevice>,
    plan: Mutex<Vec<Planned>>,
    calls: [AtomicU64; 7],
    flying: Mutex<Flying>,
}

/// What is under way.
#[derive(Default)]
struct Flying {
    /// The last work of each queue.
    last: HashMap<u32, Ticket>,
    /// The loss after which nothing is submitted any more.
    over: Option<Error>,
}

/// How long a device that is to be lost may go on with its work.
const END: Duration = Duration::from_secs(60);

impl Fault {
    /// Wraps a device; nothing fails yet.
    pub fn new(inner: Arc<dyn RawDevice>) -> Fault {
        Fault { inner, plan: Mutex::default(), calls: Default::default(), flying: Mutex::default() }
    }

    /// Adds a failure.
    pub fn plan(&self, planned: Planned) {
        lock(&self.plan).push(planned);
    }

    /// How often a call was made so far.
    pub fn count(&self, call: Call) -> u64 {
        self.calls[call as usize].load(Ordering::Relaxed)
    }

    fn meet(&self, call: Call) -> Result<()> {
        self.calls[call as usize].fetch_add(1, Ordering::Relaxed);
        let mut plan = lock(&self.plan);
        for p in plan.iter_mut().filter(|p| p.call == call) {
            if p.after > 0 {
                p.after -= 1;
            } else if p.times > 0 {
                p.times = if p.times == u64::MAX { u64::MAX } else { p.times - 1 };
                let error = p.error.clone();
                drop(plan);
                if error.is_lost() {
                    self.end(&error);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// A device that is lost does nothing any more, so that callers may free what its work uses: the real one ends it first.
    fn end(&self, error: &Error) {
        // Held to the end: what is being submitted is either among them or fails.
        let mut flying = lock(&self.flying);
        flying.over.get_or_insert_with(|| error.clone());
        let begin = Since::now();
        for &ticket in flying.last.values() {
            while matches!(self.inner.wait(ticket, END), Ok(None)) && begin.elapsed() < END {}
        }
    }
}

impl RawDevice for Fault {
    forward!(info, wipes, free, accepts, binary, unload, release, notify, expose, fetch, trim);

    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.meet(Call::Alloc)?;
        self.inner.alloc(bytes, memory)
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.meet(Call::HostWrite)?;
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.meet(Call::HostRead)?;
        self.inner.host_read(buffer, at, to)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.meet(Call::Load)?;
        self.inner.load(module, cached)
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.meet(Call::Record)?;
        self.inner.record(commands)
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.meet(Call::Submit)?;
        let mut flying = lock(&self.flying);
        if let Some(e) = &flying.over {
            return Err(e.clone());
        }
        let ticket = self.inner.submit(work)?;
        flying.last.insert(work.queue, ticket);
        Ok(ticket)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.meet(Call::Wait)?;
        self.inner.wait(ticket, timeout)
    }
}
