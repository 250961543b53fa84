//! Safe handles over the raw contract: what everything above hal uses.
//!
//! A [`Device`] allocates [`Buffer`]s, loads [`Program`]s and takes [`Step`]s; work is asynchronous and runs in the order
//! in which it was submitted. All handles are cheap to clone, may be used from several threads at once and need not be
//! dropped in any order: memory and programs are given back when the last handle and the last pending use are gone.
//!
//! Everything is checked here, once, so that backends need not: see [`Device::submit`] for the rules. Failures are values:
//! an error in `submit` means that nothing was queued; one of work under way comes from the [`Pending`] handle, or, where
//! nobody holds one, from the next [`Device::download`] or [`Device::synchronize`]. A lost device stays lost: all work under
//! way and every later call fail with the first reason, until it is opened again.
//!
//! ```
//! use anychip_hal::{
//!     DType, Device, Result,
//!     device::{Checks, Grid, Step},
//!     ir::{Access, Builder, Builtin, Place},
//! };
//!
//! /// Doubles every number on the device.
//! fn double(device: &Device, numbers: &[u8]) -> Result<Vec<u8>> {
//!     let mut b = Builder::new("double", [64, 1, 1]);
//!     let x = b.buffer("x", DType::F32, Access::ReadWrite);
//!     let i = b.builtin(Builtin::GlobalId(0));
//!     let v = b.load(Place::Buffer(x), i);
//!     let v = b.add(v, v);
//!     b.store(Place::Buffer(x), i, v);
//!     let program = device.kernel(&b.finish()?, Checks::On)?;
//!
//!     let buffer = device.alloc_from(numbers)?;
//!     let grid = Grid::covering(numbers.len() as u64 / 4, 64);
//!     let launch = Step::Launch { program, grid, bindings: vec![buffer.all()], scalars: vec![] };
//!     device.submit(&[launch])?.wait()?;
//!     let mut doubled = vec![0; numbers.len()];
//!     device.download(&buffer, 0, &mut doubled)?;
//!     Ok(doubled)
//! }
//! ```
//!
//! Files in the order in which one would explain them: `step` (what is asked), `buffer`, `program`, `lower` (the launch
//! rules), `edges` (odd bytes), `flight` and `pending` (work under way), `transfer` (host and device).

mod buffer;
mod edges;
mod flight;
mod lower;
mod pending;
mod program;
mod step;
mod transfer;

pub use buffer::{Buffer, Slice};
pub use pending::Pending;
pub use program::{Checks, Program};
pub use step::{Grid, ScalarArg, Step};

use crate::{
    Command, DeviceInfo, Error, Memory, Range, RawDevice, RawList, Result, Work, ir,
    layer::{self, Cache, MemoryUse, Pool, Serial, Trace, Validate},
    op,
};
use flight::{Flight, InFlight, Keep};
use std::{
    fmt, ops,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// An opened device. Clones are handles to the same one; opening twice gives two that share nothing.
#[derive(Clone)]
pub struct Device(Arc<Opened>);

struct Opened {
    // Declared first, dropped first: work under way ends before anything it uses goes.
    flight: Flight,
    loads: program::Loads,
    merger: OnceLock<Program>,
    raw: Arc<dyn RawDevice>,
    pool: Arc<Pool>,
    number: u64,
}

/// Which layers a device gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// The program cache's folder; `None`: no cache.
    pub cache: Option<PathBuf>,
    /// The trace's file; `None`: no trace.
    pub trace: Option<PathBuf>,
    /// Both sides are held to the contract.
    pub validate: bool,
    /// No freed buffer is used again.
    pub quarantine: bool,
}

impl Layers {
    /// What the environment says: `ANYCHIP_CACHE=off`, `ANYCHIP_CACHE_DIR`, `ANYCHIP_TRACE=<file>`, `ANYCHIP_VALIDATE=1`,
    /// `ANYCHIP_POOL=quarantine`.
    pub fn from_env() -> Layers {
        Layers {
            cache: layer::default_folder(),
            trace: std::env::var_os("ANYCHIP_TRACE").filter(|f| !f.is_empty()).map(PathBuf::from),
            validate: std::env::var("ANYCHIP_VALIDATE").is_ok_and(|v| !v.is_empty() && v != "0"),
            quarantine: std::env::var("ANYCHIP_POOL").is_ok_and(|v| v.trim() == "quarantine"),
        }
    }
}

/// Opened devices so far.
static OPENED: AtomicU64 = AtomicU64::new(1);

/// Buffers are padded to this, so that words around any byte lie within.
const PAD: u64 = 16;

impl Device {
    /// Takes a backend's device and puts the layers on that the environment asks for.
    pub fn new(raw: Arc<dyn RawDevice>) -> Device {
        Device::with_layers(raw, &Layers::from_env())
    }

    /// Takes a backend's device and puts these layers on.
    pub fn with_layers(raw: Arc<dyn RawDevice>, layers: &Layers) -> Device {
        let raw: Arc<dyn RawDevice> = if raw.info().serialised { Arc::new(Serial::new(raw)) } else { raw };
        let pool = Arc::new(if layers.quarantine { Pool::quarantine(raw) } else { Pool::new(raw) });
        let mut raw: Arc<dyn RawDevice> = pool.clone();
        if let Some(folder) = &layers.cache {
            // Without a usable folder every start compiles afresh; nothing else changes.
            if let Ok(cache) = Cache::new(raw.clone(), folder) {
                raw = Arc::new(cache);
            }
        }
        if let Some(path) = &layers.trace {
            match Trace::new(raw.clone(), path) {
                Ok(trace) => raw = Arc::new(trace),
                Err(e) => eprintln!("anychip: no trace is written to {}: {e}", path.display()),
            }
        }
        if layers.validate {
            raw = Arc::new(Validate::new(raw));
        }
        Device(Arc::new(Opened {
            flight: Flight::new(raw.clone()),
            loads: program::Loads::default(),
            merger: OnceLock::new(),
            raw,
            pool,
            number: OPENED.fetch_add(1, Ordering::Relaxed),
        }))
    }

    /// What the device is and can do.
    pub fn info(&self) -> &DeviceInfo {
        self.0.raw.info()
    }

    /// Allocates memory for commands. Its contents are undefined; no bytes are fine.
    ///
    /// # Errors
    /// `OutOfMemory` after everything unused was given back: the device stays usable.
    pub fn alloc(&self, bytes: u64) -> Result<Buffer> {
        self.alloc_in(bytes, Memory::Device)
    }

    /// Allocates and uploads.
    pub fn alloc_from(&self, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.alloc(bytes.len() as u64)?;
        self.upload(&buffer, 0, bytes)?;
        Ok(buffer)
    }

    pub(self) fn alloc_in(&self, bytes: u64, memory: Memory) -> Result<Buffer> {
        self.0.flight.alive()?;
        let too_large = || Error::OutOfMemory {
            device: self.info().id.clone(),
            asked: bytes,
            why: format!("the largest single buffer is {} bytes", self.info().memory.max_alloc),
        };
        let capacity = bytes.max(1).checked_next_multiple_of(PAD).ok_or_else(too_large)?;
        if capacity > self.info().memory.max_alloc {
            return Err(too_large());
        }
        self.0.flight.retire();
        let got = match self.raw().alloc(capacity, memory) {
            // Finished work may free what it kept; the pool has already given back what it held.
            Err(Error::OutOfMemory { .. }) => {
                self.0.flight.drain();
                self.raw().trim();
                self.raw().alloc(capacity, memory)
            }
            other => other,
        };
        let handle = got.map_err(|e| match e {
            Error::OutOfMemory { device, why, .. } => Error::OutOfMemory { device, asked: bytes, why },
            e => self.0.flight.note(e),
        })?;
        Ok(Buffer::own(self.raw(), self.number(), handle, bytes, capacity, memory))
    }

    /// Writes host bytes to a buffer from byte `at` on, in order with submitted work. `from` is read before this returns.
    pub fn upload(&self, to: &Buffer, at: u64, from: &[u8]) -> Result<()> {
        transfer::upload(self, to, at, from)
    }

    /// Reads a buffer's bytes from byte `at` on, after all work submitted before. Blocks.
    ///
    /// # Errors
    /// Also what earlier work failed with, when nobody waited for that work.
    pub fn download(&self, from: &Buffer, at: u64, to: &mut [u8]) -> Result<()> {
        transfer::download(self, from, at, to)
    }

    /// A buffer of another opened device, copied to this one after all work submitted to that: directly where both reach each other,
    /// else through the host. Blocks.
    ///
    /// # Errors
    /// Also what earlier work of that device failed with, when nobody waited for it.
    pub fn carry(&self, from: &Device, buffer: &Buffer) -> Result<Buffer> {
        buffer.all().check(from.number(), &from.info().id, || "carry: the source".into())?;
        let to = self.alloc(buffer.bytes())?;
        if buffer.bytes() > 0 && from.info().backend == self.info().backend {
            from.synchronize()?;
            let whole = |b: &Buffer| Range { buffer: b.handle(), offset: 0, bytes: b.bytes() };
            match from.raw().expose(whole(buffer)).and_then(|e| self.raw().fetch(&e, whole(&to))) {
                Ok(()) => return Ok(to),
                Err(e) if e.is_unsupported() => {}
                Err(e) => return Err(self.0.flight.note(e)),
            }
        }
        let mut bytes = vec![0; buffer.bytes() as usize];
        from.download(buffer, 0, &mut bytes)?;
        self.upload(&to, 0, &bytes)?;
        Ok(to)
    }

    /// Loads a kernel: verified, legalised for this device, compiled (or found in the cache). The same kernel is loaded
    /// once; callers keep the handle, since finding it again means hashing the kernel.
    pub fn kernel(&self, kernel: &ir::Kernel, checks: Checks) -> Result<Program> {
        self.0.flight.alive()?;
        self.0.loads.kernel(self, kernel, checks)
    }

    /// Loads a kernel without guards.
    ///
    /// # Safety
    /// As for [`Checks::off`].
    pub unsafe fn kernel_unchecked(&self, kernel: &ir::Kernel) -> Result<Program> {
        // SAFETY: the caller promises what `Checks::off` asks for.
        self.kernel(kernel, unsafe { Checks::off() })
    }

    /// Loads a graph of standard operations. `Unsupported` says why the device does not take it.
    pub fn graph(&self, graph: &op::Graph) -> Result<Program> {
        self.0.flight.alive()?;
        self.0.loads.graph(self, graph)
    }

    /// Would [`graph`](Self::graph) take it? Cheap.
    pub fn accepts(&self, graph: &op::Graph) -> Result<()> {
        self.raw().accepts(graph)
    }

    /// Queues steps and returns at once. Nothing is queued unless all of them are right:
    ///
    /// * every slice lies within its buffer, which belongs to this opened device;
    /// * a copy's slices are equally long and do not overlap; odd offsets and lengths are fine;
    /// * a launch binds one slice per buffer and one scalar of the right type per scalar; offsets are multiples of the
    ///   element size (and of what the parameter states), lengths of the element size;
    /// * a buffer that a launch writes is bound once in it;
    /// * bindings, scalars and grid are within the device's limits (`Unsupported` otherwise: another device may do it).
    ///
    /// Grids are folded and 64-bit indices chosen as needed. Everything used is kept until the work is complete.
    pub fn submit(&self, steps: &[Step]) -> Result<Pending> {
        self.queue(steps, false)
    }

    /// Like [`submit`](Self::submit), and asks for the time of every step.
    pub fn submit_profiled(&self, steps: &[Step]) -> Result<Pending> {
        self.queue(steps, true)
    }

    fn queue(&self, steps: &[Step], profile: bool) -> Result<Pending> {
        self.0.flight.alive()?;
        let lower::Lowered { commands, keep, steps } = lower::lower(self, steps)?;
        let work = match commands.is_empty() {
            true => None,
            false => Some(self.0.flight.submit(Work::Commands(&commands), profile, keep)?),
        };
        Ok(Pending { device: self.clone(), work, commands: steps.into(), watcher: None })
    }

    /// Checks steps once, for repeated [`run`](Self::run)s.
    pub fn record(&self, steps: Vec<Step>) -> Result<Recorded> {
        self.0.flight.alive()?;
        let lower::Lowered { commands, keep, steps } = lower::lower(self, &steps)?;
        let list = match commands.is_empty() {
            true => None,
            false => match self.raw().record(&commands) {
                Ok(list) => Some(list),
                Err(e) if e.is_unsupported() => None,
                Err(e) => return Err(self.0.flight.note(e)),
            },
        };
        let raw = self.raw().clone();
        let steps = steps.into();
        Ok(Recorded(Arc::new(Recording { raw, device: self.number(), commands, list, steps, _keep: keep })))
    }

    /// Queues what was recorded.
    pub fn run(&self, recorded: &Recorded) -> Result<Pending> {
        self.rerun(recorded, false)
    }

    /// Like [`run`](Self::run), and asks for the time of every step.
    pub fn run_profiled(&self, recorded: &Recorded) -> Result<Pending> {
        self.rerun(recorded, true)
    }

    fn rerun(&self, recorded: &Recorded, profile: bool) -> Result<Pending> {
        let of = &recorded.0;
        if of.device != self.number() {
            return Err(Error::invalid(format!(
                "these steps were recorded on another opened device ({}), not on this one ({})",
                of.raw.info().id,
                self.info().id
            )));
        }
        self.0.flight.alive()?;
        let work = match of.commands.is_empty() {
            true => None,
            false => {
                let keep = Keep { _recorded: Some(recorded.clone()), ..Keep::default() };
                let work = of.list.map_or(Work::Commands(&of.commands), Work::List);
                Some(self.0.flight.submit(work, profile, keep)?)
            }
        };
        Ok(Pending { device: self.clone(), work, commands: of.steps.clone(), watcher: None })
    }

    /// Waits for everything submitted so far.
    ///
    /// # Errors
    /// What work failed with that nobody waited for; in a browser, where nothing may wait, `Timeout` while work is under way: there
    /// await its [`Pending`].
    pub fn synchronize(&self) -> Result<()> {
        self.0.flight.synchronize()
    }

    /// What this opened device holds in memory.
    pub fn memory(&self) -> MemoryUse {
        self.0.flight.retire();
        self.0.pool.memory()
    }

    /// Gives memory that is kept for reuse back to the driver.
    pub fn trim(&self) {
        self.0.flight.retire();
        self.raw().trim();
    }

    /// The first reason why the device was lost, if it was. It has to be opened again.
    pub fn lost(&self) -> Option<Error> {
        self.0.flight.alive().err()
    }

    /// Copies an aligned window, padding included.
    pub(self) fn copy_window(&self, src: &Buffer, at: u64, dst: &Buffer, bytes: u64) -> Result<Arc<InFlight>> {
        let copy = Command::Copy {
            src: Range { buffer: src.handle(), offset: at, bytes },
            dst: Range { buffer: dst.handle(), offset: 0, bytes },
        };
        let keep = Keep { buffers: vec![src.clone(), dst.clone()], ..Keep::default() };
        self.0.flight.submit(Work::Commands(&[copy]), false, keep)
    }

    pub(self) fn raw(&self) -> &Arc<dyn RawDevice> {
        &self.0.raw
    }

    pub(self) fn flight(&self) -> &Flight {
        &self.0.flight
    }

    pub(self) fn merger(&self) -> &OnceLock<Program> {
        &self.0.merger
    }

    /// Tells opened devices of this process apart.
    pub fn number(&self) -> u64 {
        self.0.number
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        self.number() == other.number()
    }
}
impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device {} ({})", self.info().id, self.info().identity.name)
    }
}

/// Steps that were checked and, where the device can, recorded once for many runs. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Recorded(Arc<Recording>);

struct Recording {
    raw: Arc<dyn RawDevice>,
    device: u64,
    commands: Vec<Command>,
    list: Option<RawList>,
    steps: Arc<[ops::Range<usize>]>,
    /// What the commands name stays as long as they may be run.
    _keep: Keep,
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(list) = self.list {
            self.raw.release(list);
        }
    }
}

impl Recorded {
    /// The device keeps them as a list of its own; else each run queues the commands again.
    pub fn is_native(&self) -> bool {
        self.0.list.is_some()
    }

    /// The commands, as the backend sees them.
    pub fn commands(&self) -> &[Command] {
        &self.0.commands
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recorded {} commands for {}", self.0.commands.len(), self.0.raw.info().id)
    }
}
