//! An opened device: its context, its streams, and the tables behind its handles.

use crate::{
    QUEUES,
    api::Api,
    blas::Blas,
    chip::Chip,
    context::{Context, Stream},
    list::List,
    memory::Buffer,
    probe,
    program::Program,
    queue::Queue,
};
use anychip_hal::{
    Command, Completion, DeviceInfo, Error, Exposed, Loaded, Memory, Module, Range, RawBuffer, RawDevice, RawList,
    RawProgram, Result, Submission, Ticket,
    handles::{Buffers, Fate, Table},
    op,
    render::c::Dialect,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// An opened device. Fields are dropped in order: what belongs to the context goes before it.
pub struct Device {
    pub info: DeviceInfo,
    pub chip: Chip,
    pub dialect: Dialect,
    pub fate: Fate,
    pub lists: Table<List>,
    pub programs: Table<Program>,
    pub buffers: Buffers<Buffer>,
    pub queues: Vec<Queue>,
    /// In whose order memory is allocated, where the chip does that.
    pub allocating: Option<Arc<Stream>>,
    /// The vendor's matrix library, opened when the first product is offered; or why it is not there.
    pub blas: OnceLock<std::result::Result<Blas, String>>,
    pub context: Arc<Context>,
}

impl Device {
    /// Opens a device in a context of its own, so that losing one handle loses no other.
    pub fn open(api: &'static Api, ordinal: u32) -> Result<Device> {
        let probe::Probed { device, chip, pools } = probe::probe(api, ordinal)?;
        let info = chip.info();
        // A device that was lost and gives no new context gives none in this process any more.
        let context = Context::create(api, device, &info.id).map_err(|e| match e {
            Error::DeviceLost { device, why, .. } => Error::DeviceLost { device, why, restart: true },
            e => e,
        })?;
        Ok(Device {
            dialect: Dialect::cuda(chip.dialect()),
            chip,
            fate: Fate::default(),
            lists: Table::new(),
            programs: Table::new(),
            buffers: Buffers::default(),
            queues: (0..QUEUES).map(|_| Stream::create(&context).map(Queue::new)).collect::<Result<_>>()?,
            allocating: pools.then(|| Stream::create(&context).map(Arc::new)).transpose()?,
            blas: OnceLock::new(),
            context,
            info,
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let Ok(_here) = self.context.enter() else { return };
        for q in &self.queues {
            // Ends its work first; on a device that is lost it has ended.
            let _ = q.stream.finish();
        }
    }
}

impl RawDevice for Device {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.fate.alive()?;
        self.fate.note(self.create(bytes, memory))
    }

    fn free(&self, buffer: RawBuffer) {
        self.buffers.destroy(buffer);
    }

    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.fate.alive()?;
        let to = self.pinned(buffer, at, from.len())?;
        // Inside the buffer, and by the contract nothing pending uses it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.fate.alive()?;
        let from = self.pinned(buffer, at, to.len())?;
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        self.fate.alive()?;
        self.fate.note(self.takes(graph))
    }

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.fate.alive()?;
        match module {
            Module::Kernel(k) => self.fate.note(self.compile(k, cached)),
            Module::Graph(g) => self.fate.note(self.prepare(g)),
        }
    }

    fn unload(&self, program: RawProgram) {
        self.programs.remove(program.0);
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.fate.alive()?;
        self.fate.note(self.capture(commands))
    }

    fn release(&self, list: RawList) {
        self.lists.remove(list.0);
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.fate.alive()?;
        self.fate.note(self.enqueue(work))
    }

    fn expose(&self, range: Range) -> Result<Exposed> {
        self.fate.alive()?;
        self.exposed(range)
    }

    fn fetch(&self, from: &Exposed, to: Range) -> Result<()> {
        self.fate.alive()?;
        self.fate.note(self.fetched(from, to))
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.fate.alive()?;
        self.fate.note(self.await_ticket(ticket, timeout))
    }
}
