//! The contract's face: the driver, and one opened CPU. Handles become allocations and programs here, every range is
//! checked, and what is left runs on a queue.

use crate::{
    graph,
    identity::{self, level_name},
    machine::{self, Bound, Launch},
    memory::{Allocation, Budget, Slice},
    queue::Queue,
    team::Team,
    vmath::Level,
};
use anychip_hal::{
    Command, Completion, DeviceInfo, Driver, Error, Loaded, Memory, Module, Range, RawBuffer, RawDevice, RawList,
    RawProgram, Result, Span, Submission, Ticket, Work, contract::Resources, op, probe::Installed,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

/// Queues of a device: work, and copies beside it.
pub(crate) const QUEUES: u32 = 2;

/// The CPU's driver: one device, always there.
#[derive(Debug, Clone, Default)]
pub struct CpuDriver {
    threads: Option<usize>,
    level: Option<Level>,
    checking: Option<bool>,
}

impl CpuDriver {
    /// The driver with the settings of the environment: `ANYCHIP_CPU_THREADS` (number of threads, default: all cores),
    /// `ANYCHIP_CPU_ISA` (`baseline`, `avx2` or `avx512`, default: the widest there is), `ANYCHIP_CPU_CHECK=1` (the
    /// checking mode). They are read when a device is opened.
    pub fn new() -> CpuDriver {
        CpuDriver::default()
    }

    /// With this number of threads, at least one.
    pub fn with_threads(mut self, threads: usize) -> CpuDriver {
        self.threads = Some(threads);
        self
    }

    /// With this vector width.
    pub fn with_level(mut self, level: Level) -> CpuDriver {
        self.level = Some(level);
        self
    }

    /// In checking mode or not: a kernel that reads or writes out of bounds, reads what nobody wrote, races, or lets
    /// lanes miss a barrier fails with its name and line. Slow, on one thread.
    pub fn with_checking(mut self, checking: bool) -> CpuDriver {
        self.checking = Some(checking);
        self
    }

    fn settings(&self) -> Result<(usize, Level, bool)> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = match (self.threads, std::env::var("ANYCHIP_CPU_THREADS")) {
            (Some(n), _) => n,
            (None, Ok(text)) => text.trim().parse().ok().filter(|n| (1..=4096).contains(n)).ok_or_else(|| {
                Error::invalid(format!("ANYCHIP_CPU_THREADS={text}: a number from 1 to 4096 is accepted"))
            })?,
            (None, Err(_)) => cores,
        };
        let level = match (self.level, std::env::var("ANYCHIP_CPU_ISA")) {
            (Some(level), _) => level,
            (None, Ok(text)) => {
                let all = [Level::Baseline, Level::Avx2, Level::Avx512];
                all.into_iter().find(|&l| level_name(l) == text.trim()).ok_or_else(|| {
                    Error::invalid(format!("ANYCHIP_CPU_ISA={text}: accepted are baseline, avx2, avx512"))
                })?
            }
            (None, Err(_)) => Level::detect(),
        };
        if !level.available() {
            return Err(Error::unsupported(
                format!("vector width {}", level_name(level)),
                "this processor does not have it",
            ));
        }
        let env = || std::env::var("ANYCHIP_CPU_CHECK").is_ok_and(|v| !matches!(v.trim(), "" | "0"));
        Ok((threads.max(1), level, self.checking.unwrap_or_else(env)))
    }
}

impl Driver for CpuDriver {
    fn name(&self) -> &str {
        "cpu"
    }

    fn installed(&self) -> Option<Installed> {
        None
    }

    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        Ok(vec![self.settings().map(|(threads, level, _)| identity::info(level, threads))])
    }

    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        if ordinal != 0 {
            return Err(Error::NoDevice {
                asked: format!("cpu:{ordinal}"),
                why: "there is one CPU device, cpu:0, with all cores".to_string(),
            });
        }
        let (threads, level, checking) = self.settings()?;
        Ok(Arc::new(CpuDevice::open(threads, level, checking)?))
    }
}

/// Teams by their number of threads, shared by all opened devices of the process.
fn team(threads: usize) -> Result<Team> {
    static TEAMS: Mutex<Option<HashMap<usize, Team>>> = Mutex::new(None);
    let mut teams = TEAMS.lock().unwrap_or_else(|e| e.into_inner());
    let teams = teams.get_or_insert_default();
    if let Some(t) = teams.get(&threads) {
        return Ok(t.clone());
    }
    let t = Team::new(threads).map_err(|e| Error::Backend {
        backend: "cpu".to_string(),
        code: i64::from(e.raw_os_error().unwrap_or(0)),
        message: format!("{threads} threads cannot be started: {e}"),
    })?;
    teams.insert(threads, t.clone());
    Ok(t)
}

/// What a program handle stands for.
enum Program {
    Kernel(Box<machine::Program>),
    Graph(graph::Prepared),
}

/// Instructions of lanes, multiply-adds or bytes up to which a submission runs at once, on the thread that submits it: some
/// 10 µs, less than a thread switch.
const QUICK: u64 = 1 << 17;

impl Program {
    /// At most this many instructions of lanes, or multiply-adds, in a launch; the most there is where loops leave it open.
    fn work(&self, groups: &[u32; 3]) -> u64 {
        match self {
            Program::Kernel(p) if machine::straight(&p.body) => {
                let lanes = groups.iter().map(|&g| u64::from(g)).fold(p.lanes() as u64, u64::saturating_mul);
                lanes.saturating_mul(p.weight)
            }
            Program::Kernel(_) => u64::MAX,
            Program::Graph(g) => g.work(),
        }
    }
}

/// A command whose handles are resolved and whose ranges are inside their buffers.
#[derive(Clone)]
enum Step {
    Copy { src: Slice, dst: Slice },
    Fill { dst: Slice, word: u32 },
    Launch { program: Arc<Program>, groups: [u32; 3], bindings: Vec<Slice>, scalars: Vec<u8> },
}

impl Step {
    fn work(&self) -> u64 {
        match self {
            Step::Copy { src, .. } => src.bytes as u64,
            Step::Fill { dst, .. } => dst.bytes as u64,
            Step::Launch { program, groups, .. } => program.work(groups),
        }
    }
}

/// The steps take less than a thread switch.
fn quick(steps: &[Step]) -> bool {
    steps.iter().try_fold(0u64, |sum, s| sum.checked_add(s.work()).filter(|&sum| sum <= QUICK)).is_some()
}

/// What steps need to run.
#[derive(Clone)]
struct Engine {
    team: Team,
    checking: bool,
    epoch: Instant,
}

struct CpuDevice {
    info: DeviceInfo,
    level: Level,
    engine: Engine,
    budget: Arc<Budget>,
    next: AtomicU64,
    buffers: RwLock<HashMap<u64, Arc<Allocation>>>,
    programs: RwLock<HashMap<u64, Arc<Program>>>,
    lists: RwLock<HashMap<u64, Arc<[Step]>>>,
    queues: Vec<Arc<Queue>>,
}

impl Drop for CpuDevice {
    fn drop(&mut self) {
        self.queues.iter().for_each(|q| q.close());
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    // Nothing panics while these are held.
    lock.read().unwrap_or_else(|e| e.into_inner())
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(|e| e.into_inner())
}

impl CpuDevice {
    fn open(threads: usize, level: Level, checking: bool) -> Result<CpuDevice> {
        let info = identity::info(level, threads);
        let budget = Arc::new(Budget { used: AtomicU64::new(0), total: info.memory.total });
        let engine = Engine { team: team(threads)?, checking, epoch: Instant::now() };
        Ok(CpuDevice {
            info,
            level,
            engine,
            budget,
            next: AtomicU64::new(1),
            buffers: RwLock::default(),
            programs: RwLock::default(),
            lists: RwLock::default(),
            queues: (0..QUEUES).map(Queue::start).collect::<Result<_>>()?,
        })
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn slice(&self, what: &str, range: Range) -> Result<Slice> {
        let found = read(&self.buffers).get(&range.buffer.0).cloned();
        let of =
            found.ok_or_else(|| Error::invalid(format!("{what}: there is no buffer {} on cpu", range.buffer.0)))?;
        of.slice(what, range)
    }

    fn queue(&self, number: u32) -> Result<&Arc<Queue>> {
        self.queues
            .get(number as usize)
            .ok_or_else(|| Error::invalid(format!("queue {number} on cpu: there are {QUEUES}, numbered from 0")))
    }

    fn step(&self, command: &Command) -> Result<Step> {
        match command {
            Command::Copy { src, dst } => {
                if src.bytes != dst.bytes {
                    return Err(Error::invalid(format!(
                        "copy on cpu: {} bytes to {} bytes; both ranges have one length",
                        src.bytes, dst.bytes
                    )));
                }
                Ok(Step::Copy { src: self.slice("copy, source", *src)?, dst: self.slice("copy, target", *dst)? })
            }
            Command::Fill { dst, word } => {
                if dst.bytes % 4 != 0 || dst.offset % 4 != 0 {
                    return Err(Error::invalid(format!(
                        "fill on cpu: {} bytes at {}; both are multiples of 4",
                        dst.bytes, dst.offset
                    )));
                }
                Ok(Step::Fill { dst: self.slice("fill", *dst)?, word: *word })
            }
            Command::Launch { program, groups, bindings, scalars } => {
                let found = read(&self.programs).get(&program.0).cloned();
                let program =
                    found.ok_or_else(|| Error::invalid(format!("launch: there is no program {} on cpu", program.0)))?;
                if let Program::Kernel(p) = &*program {
                    check_launch(p, groups, bindings, scalars)?;
                }
                let name = match &*program {
                    Program::Kernel(p) => &p.name,
                    Program::Graph(_) => "a graph",
                };
                let bindings = bindings
                    .iter()
                    .enumerate()
                    .map(|(i, b)| self.slice(&format!("launch of {name}, binding {i}"), *b))
                    .collect::<Result<_>>()?;
                Ok(Step::Launch { program, groups: *groups, bindings, scalars: scalars.clone() })
            }
        }
    }
}

fn check_launch(p: &machine::Program, groups: &[u32; 3], bindings: &[Range], scalars: &[u8]) -> Result<()> {
    let name = &p.name;
    if groups.contains(&0) {
        return Err(Error::invalid(format!("launch of {name} on cpu: {groups:?} workgroups; none may be 0")));
    }
    if bindings.len() != p.buffers.len() {
        return Err(Error::invalid(format!(
            "launch of {name} on cpu: {} bindings; the kernel has {} buffers",
            bindings.len(),
            p.buffers.len()
        )));
    }
    if scalars.len() != p.scalar_bytes {
        return Err(Error::invalid(format!(
            "launch of {name} on cpu: {} bytes of scalars; the kernel takes {}",
            scalars.len(),
            p.scalar_bytes
        )));
    }
    for (range, info) in bindings.iter().zip(&p.buffers) {
        if range.offset % info.elem.size() as u64 != 0 {
            return Err(Error::invalid(format!(
                "launch of {name} on cpu: buffer {} of {} begins at byte {}; a multiple of {} is accepted",
                info.name,
                info.elem,
                range.offset,
                info.elem.size()
            )));
        }
    }
    Ok(())
}

impl Engine {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Runs steps in order; this thread takes part in each.
    fn run(&self, steps: &[Step], profile: bool) -> Result<Completion> {
        let mut spans = Vec::new();
        for step in steps {
            let begin = self.now();
            match step {
                Step::Copy { src, dst } => src.copy_to(dst, &self.team),
                Step::Fill { dst, word } => dst.fill(*word, &self.team),
                Step::Launch { program, groups, bindings, scalars } => match &**program {
                    Program::Kernel(p) => self.launch(p, *groups, bindings, scalars)?,
                    Program::Graph(g) => graph::run(g, bindings, &self.team)?,
                },
            }
            if profile {
                spans.push(Span { begin, end: self.now() });
            }
        }
        Ok(Completion { spans })
    }

    fn launch(&self, p: &machine::Program, groups: [u32; 3], bindings: &[Slice], scalars: &[u8]) -> Result<()> {
        let bound = |i: usize, b: &Slice| {
            let written = |j: usize| p.buffers[j].access.writes();
            let aliased = bindings.iter().enumerate().any(|(j, o)| j != i && written(j) && o.same_buffer(b));
            Bound {
                ptr: b.ptr(),
                len: (b.bytes / p.buffers[i].elem.size()) as u64,
                stable: !written(i) && !aliased,
                shadow: b.shadow().map(|s| s.as_ptr()),
            }
        };
        let buffers = bindings.iter().enumerate().map(|(i, b)| bound(i, b)).collect();
        bindings.iter().zip(&p.buffers).filter(|(_, info)| info.access.writes()).for_each(|(b, _)| b.touch());
        machine::run(p, Launch { buffers, scalars, groups, along: 0 }, &self.team, self.checking)
    }
}

impl RawDevice for CpuDevice {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64, _memory: Memory) -> Result<RawBuffer> {
        let a = Allocation::new(bytes, &self.budget, self.engine.checking, identity::available_memory)?;
        let id = self.id();
        write(&self.buffers).insert(id, Arc::new(a));
        Ok(RawBuffer(id))
    }

    fn wipes(&self) -> bool {
        true
    }

    fn free(&self, buffer: RawBuffer) {
        let gone = write(&self.buffers).remove(&buffer.0);
        drop(gone);
    }

    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.slice("host_write", Range { buffer, offset: at, bytes: from.len() as u64 })?.write(from);
        Ok(())
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.slice("host_read", Range { buffer, offset: at, bytes: to.len() as u64 })?.read(to);
        Ok(())
    }

    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        graph::accepts(graph, self.level)
    }

    fn load(&self, module: &Module<'_>, _cached: Option<&[u8]>) -> Result<Loaded> {
        let (program, resources) = match module {
            Module::Kernel(k) => {
                let p = machine::compile(k, self.level, self.engine.checking)?;
                if p.shared_bytes > self.info.limits.max_shared as usize {
                    return Err(Error::invalid(format!(
                        "kernel {}: {} bytes of shared memory; the CPU takes up to {}",
                        k.name, p.shared_bytes, self.info.limits.max_shared
                    )));
                }
                let resources = Resources { shared: p.shared_bytes as u32, ..Resources::default() };
                (Program::Kernel(Box::new(p)), resources)
            }
            Module::Graph(g) => {
                let g = graph::load(g, self.level)?;
                let resources = Resources { workspace: g.workspace, ..Resources::default() };
                (Program::Graph(g), resources)
            }
        };
        let id = self.id();
        write(&self.programs).insert(id, Arc::new(program));
        Ok(Loaded { program: RawProgram(id), binary: vec![], resources })
    }

    fn unload(&self, program: RawProgram) {
        let gone = write(&self.programs).remove(&program.0);
        drop(gone);
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let steps = commands.iter().map(|c| self.step(c)).collect::<Result<Vec<_>>>()?;
        let id = self.id();
        write(&self.lists).insert(id, steps.into());
        Ok(RawList(id))
    }

    fn release(&self, list: RawList) {
        let gone = write(&self.lists).remove(&list.0);
        drop(gone);
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let queue = self.queue(work.queue)?;
        let steps: Arc<[Step]> = match work.work {
            Work::Commands(commands) => commands.iter().map(|c| self.step(c)).collect::<Result<Vec<_>>>()?.into(),
            Work::List(list) => read(&self.lists)
                .get(&list.0)
                .cloned()
                .ok_or_else(|| Error::invalid(format!("submit: there is no list {} on cpu", list.0)))?,
        };
        // Work of this queue is in order already.
        let mut after = Vec::new();
        for t in work.after.iter().filter(|t| t.queue != work.queue) {
            let other = self.queue(t.queue)?.clone();
            // Refuses a ticket that was never given out, which would be waited for without end.
            other.known(*t)?;
            after.push((other, *t));
        }
        let (engine, profile) = (self.engine.clone(), work.profile);
        if after.is_empty() && !engine.checking && quick(&steps) {
            return Ok(queue.submit_quick(move || engine.run(&steps, profile)));
        }
        Ok(queue.submit(Box::new(move || {
            for (queue, ticket) in after {
                // Its failure is told to whoever waits for it; order is all that is asked here.
                while let Ok(None) = queue.wait(ticket, Duration::from_secs(3600)) {}
            }
            engine.run(&steps, profile)
        })))
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.queue(ticket.queue)?.wait(ticket, timeout)
    }

    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        match self.queue(ticket.queue) {
            Ok(queue) => {
                queue.notify(ticket, waker);
                true
            }
            Err(_) => false,
        }
    }
}
