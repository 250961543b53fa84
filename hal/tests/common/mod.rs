//! A device in memory for hal's tests: it executes copies, fills and legalised kernels on the host, one lane after the
//! other, and counts what a real driver would not tell. Work may be held back, so that tests see it pending.
#![allow(dead_code)] // each test binary uses a part

pub mod lanes;

use anychip_hal::{
    Command, Completion, DType, DeviceInfo, Driver, Error, Loaded, Memory, Module, RawBuffer, RawDevice, RawList,
    RawProgram, Result, Span, Submission, Ticket, Work,
    contract::Resources,
    device::{Device, Layers},
    info::*,
    ir, op,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex},
    task::Waker,
    time::Duration,
};

/// A roomy device: bytes are aligned to nothing, grids are large.
pub fn info() -> DeviceInfo {
    let arithmetic = BTreeMap::from([(DType::F32, Arithmetic::IEEE)]);
    DeviceInfo {
        id: "mock:0".into(),
        backend: "mock".into(),
        identity: Identity::new("anychip", "Mock device", "mock", "1", "none"),
        class: DeviceClass::Accelerator,
        units: 1,
        vector: 1,
        vector_bytes: 0,
        memory: MemoryInfo {
            total: 64 << 20,
            max_alloc: 32 << 20,
            unified: false,
            kinds: vec![Memory::Device, Memory::Upload, Memory::Readback],
        },
        types: DType::ALL.into_iter().map(|d| (d, TypeSupport::ATOMIC)).collect(),
        features: BTreeSet::from([Feature::Idx64]),
        fragments: vec![],
        subgroups: None,
        limits: Limits {
            max_workgroup: 256,
            max_workgroup_dim: [256, 256, 64],
            max_groups: [u32::MAX, 65535, 65535],
            max_shared: 16384,
            max_bindings: 8,
            max_binding_bytes: 16 << 20,
            binding_align: 1,
            copy_align: 1,
            max_scalars: 256,
            queues: 1,
        },
        clock: Some(Clock { resolution_ns: 1 }),
        serialised: false,
        kernels: true,
        arithmetic,
        numerics: Default::default(),
    }
}

/// What a browser's GPU is like, and worse: 256-byte bindings, 4-byte copies, 7 workgroups per row, one call at a time.
pub fn narrow_info() -> DeviceInfo {
    let mut i = info();
    i.limits.binding_align = 256;
    i.limits.copy_align = 4;
    i.limits.max_groups = [7, 1 << 20, 1];
    i.serialised = true;
    i
}

/// Both, for tests that must hold everywhere.
pub fn infos() -> [DeviceInfo; 2] {
    [info(), narrow_info()]
}

/// Opens a mock under validation, without cache and trace.
pub fn open(info: DeviceInfo) -> (Device, Arc<Mock>) {
    let mock = Arc::new(Mock::new(info));
    (Device::with_layers(mock.clone(), &Layers { validate: true, ..Layers::default() }), mock)
}

pub struct Mock {
    info: DeviceInfo,
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
pub struct State {
    pub buffers: HashMap<u64, Vec<u8>>,
    programs: HashMap<u64, Kept>,
    lists: HashMap<u64, Vec<Command>>,
    next: u64,
    held: bool,
    queue: VecDeque<(u64, Vec<Command>, bool)>,
    ended: BTreeMap<u64, Completion>,
    clock: u64,
    /// Commands executed so far.
    pub log: Vec<Command>,
    /// Names of modules compiled, and of those taken from a cached binary.
    pub compiled: Vec<String>,
    pub from_cache: Vec<String>,
    pub unloaded: u64,
    /// Programs have a binary only once they have run; fetching it takes so long.
    pub late: Option<Duration>,
    /// What is read from it is not what is there.
    pub lies: bool,
    wakers: Vec<Waker>,
    /// Calls inside the device now, and the most at once.
    pub inside: u32,
    pub most_inside: u32,
}

enum Kept {
    Kernel(Arc<ir::Kernel>),
    Graph(op::Graph),
}

impl Mock {
    pub fn new(info: DeviceInfo) -> Mock {
        Mock { info, state: Mutex::default(), done: Condvar::new() }
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Keeps submitted work pending until `release`.
    pub fn hold(&self) {
        self.state().held = true;
    }

    /// Executes what was held back.
    pub fn release_held(&self) {
        let mut s = self.state();
        s.held = false;
        s.run();
        let wakers = std::mem::take(&mut s.wakers);
        drop(s);
        self.done.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Launches executed so far: name, grid.
    pub fn launches(&self) -> Vec<(String, [u32; 3])> {
        let s = self.state();
        let name = |p: &RawProgram| match &s.programs[&p.0] {
            Kept::Kernel(k) => format!("{}/{}", k.name, k.idx_bits),
            Kept::Graph(g) => g.name.clone(),
        };
        s.log
            .iter()
            .filter_map(|c| match c {
                Command::Launch { program, groups, .. } => Some((name(program), *groups)),
                _ => None,
            })
            .collect()
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn run(&mut self) {
        while let Some((ticket, commands, profile)) = self.queue.pop_front() {
            let mut spans = vec![];
            for c in commands {
                let begin = self.clock;
                self.execute(&c);
                self.clock += 10;
                spans.push(Span { begin, end: self.clock });
                self.log.push(c);
            }
            self.ended.insert(ticket, Completion { spans: if profile { spans } else { vec![] } });
        }
    }

    fn execute(&mut self, c: &Command) {
        match c {
            Command::Copy { src, dst } => {
                let from = self.buffers[&src.buffer.0][src.offset as usize..][..src.bytes as usize].to_vec();
                let to = self.buffers.get_mut(&dst.buffer.0).unwrap();
                to[dst.offset as usize..][..from.len()].copy_from_slice(&from);
            }
            Command::Fill { dst, word } => {
                let to = self.buffers.get_mut(&dst.buffer.0).unwrap();
                for chunk in to[dst.offset as usize..][..dst.bytes as usize].chunks_exact_mut(4) {
                    chunk.copy_from_slice(&word.to_le_bytes());
                }
            }
            Command::Launch { program, groups, bindings, scalars } => match &self.programs[&program.0] {
                Kept::Kernel(k) => {
                    let k = k.clone();
                    lanes::run(&k, *groups, bindings, scalars, &mut self.buffers);
                }
                // A graph copies its first input to its first output.
                Kept::Graph(g) => {
                    let (src, dst) = (bindings[0], bindings[g.inputs.len()]);
                    let from = self.buffers[&src.buffer.0][src.offset as usize..][..src.bytes as usize].to_vec();
                    let to = self.buffers.get_mut(&dst.buffer.0).unwrap();
                    to[dst.offset as usize..][..from.len()].copy_from_slice(&from);
                }
            },
        }
    }
}

impl RawDevice for Mock {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64, _: Memory) -> Result<RawBuffer> {
        let mut s = self.state();
        let used: u64 = s.buffers.values().map(|b| b.len() as u64).sum();
        if used + bytes > self.info.memory.total {
            let why = format!("{used} of {} bytes are in use", self.info.memory.total);
            return Err(Error::OutOfMemory { device: self.info.id.clone(), asked: bytes, why });
        }
        let id = s.id();
        // Not zero: whoever relies on fresh memory being zero is found out.
        s.buffers.insert(id, vec![0xA5; bytes as usize]);
        Ok(RawBuffer(id))
    }

    fn wipes(&self) -> bool {
        true
    }
    fn free(&self, buffer: RawBuffer) {
        self.state().buffers.remove(&buffer.0).expect("freed twice");
    }

    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.state().buffers.get_mut(&buffer.0).unwrap()[at as usize..][..from.len()].copy_from_slice(from);
        Ok(())
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let s = self.state();
        to.copy_from_slice(&s.buffers[&buffer.0][at as usize..][..to.len()]);
        to[0] ^= s.lies as u8;
        Ok(())
    }

    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        match graph.nodes.len() {
            1 => Ok(()),
            n => Err(Error::unsupported(format!("graph {}", graph.name), format!("it has {n} nodes, not one"))),
        }
    }

    /// The binary is the kernel itself: an altered one that came back would change results.
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        {
            let mut s = self.state();
            s.inside += 1;
            s.most_inside = s.most_inside.max(s.inside);
        }
        std::thread::sleep(Duration::from_millis(2));
        let mut s = self.state();
        s.inside -= 1;
        let id = s.id();
        let (kept, binary) = match module {
            Module::Kernel(k) => {
                let cached: Option<ir::Kernel> = cached.map(|c| serde_json::from_slice(c).expect("a whole binary"));
                match &cached {
                    Some(_) => s.from_cache.push(k.name.clone()),
                    None => s.compiled.push(k.name.clone()),
                }
                let kernel = cached.unwrap_or_else(|| (*k).clone());
                let binary = serde_json::to_vec(&kernel).unwrap();
                (Kept::Kernel(Arc::new(kernel)), binary)
            }
            Module::Graph(g) => {
                self.accepts(g)?;
                s.compiled.push(g.name.clone());
                (Kept::Graph((*g).clone()), vec![])
            }
        };
        s.programs.insert(id, kept);
        let binary = if s.late.is_some() { vec![] } else { binary };
        let workspace = if matches!(module, Module::Graph(_)) { 128 } else { 0 };
        Ok(Loaded { program: RawProgram(id), binary, resources: Resources { workspace, ..Resources::default() } })
    }

    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        let late = self.state().late?;
        std::thread::sleep(late);
        let s = self.state();
        let Kept::Kernel(k) = &s.programs[&program.0] else { return Some(vec![]) };
        let launched = |c: &Command| matches!(c, Command::Launch { program: p, .. } if *p == program);
        assert!(s.log.iter().any(launched), "{} is asked for its binary before it has run", k.name);
        Some(serde_json::to_vec(&**k).unwrap())
    }

    fn unload(&self, program: RawProgram) {
        let mut s = self.state();
        s.programs.remove(&program.0).expect("unloaded twice");
        s.unloaded += 1;
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        if self.info.serialised {
            return Err(Error::unsupported("recording", "this device replays commands"));
        }
        let mut s = self.state();
        let id = s.id();
        s.lists.insert(id, commands.to_vec());
        Ok(RawList(id))
    }

    fn release(&self, list: RawList) {
        self.state().lists.remove(&list.0).expect("released twice");
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let mut s = self.state();
        let ticket = s.id();
        let commands = match work.work {
            Work::Commands(c) => c.to_vec(),
            Work::List(l) => s.lists[&l.0].clone(),
        };
        s.queue.push_back((ticket, commands, work.profile));
        if !s.held {
            s.run();
        }
        Ok(Ticket { queue: work.queue, value: ticket })
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let s = self.state();
        let pending = |s: &mut State| s.queue.iter().any(|(t, ..)| *t == ticket.value);
        let (mut s, _) = self.done.wait_timeout_while(s, timeout, pending).unwrap();
        if pending(&mut s) {
            return Ok(None);
        }
        // The spans are given out once.
        Ok(Some(s.ended.get_mut(&ticket.value).map(std::mem::take).unwrap_or_default()))
    }

    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        if self.info.serialised {
            return false;
        }
        let mut s = self.state();
        match s.queue.iter().any(|(t, ..)| *t == ticket.value) {
            true => s.wakers.push(waker),
            false => waker.wake(),
        }
        true
    }
}

/// A driver of mocks, some of which are broken.
pub struct Mocks {
    pub name: &'static str,
    pub devices: Vec<Result<DeviceInfo>>,
    pub missing: Option<Error>,
    pub distance: u8,
}

impl Driver for Mocks {
    fn distance(&self) -> u8 {
        self.distance
    }

    fn name(&self) -> &str {
        self.name
    }
    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        match &self.missing {
            Some(e) => Err(e.clone()),
            None => Ok(self.devices.clone()),
        }
    }
    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        if let Some(e) = &self.missing {
            return Err(e.clone());
        }
        match self.devices.get(ordinal as usize) {
            Some(Ok(info)) => Ok(Arc::new(Mock::new(info.clone()))),
            Some(Err(e)) => Err(e.clone()),
            None => Err(Error::NoDevice { asked: format!("{}:{ordinal}", self.name), why: "out of range".into() }),
        }
    }
}
