//! An opened device: its context, its queues, and the tables behind its handles.

use crate::{
    cl::{self, Named},
    memory::Buffer,
    platform::Platform,
    probe,
    program::Program,
    queue::{QUEUES, Queue},
};
pub use anychip_hal::handles::lock;
use anychip_hal::handles::{Buffers, Fate, Table};
use anychip_hal::{
    Completion, DeviceInfo, Error, Loaded, Memory, Module, RawBuffer, RawDevice, RawProgram, Result, Submission,
    Ticket, render::c::Dialect,
};
use opencl3::{command_queue as clq, context::Context, types::cl_device_id};
use std::{sync::Arc, time::Duration};

/// A device id; it belongs to its platform and is never released.
#[derive(Clone, Copy)]
pub struct Id(pub cl_device_id);
// A device id is a name: OpenCL lets every thread use it.
unsafe impl Send for Id {}
unsafe impl Sync for Id {}

/// An opened device. Fields are dropped in order: what belongs to the context goes before it.
pub struct Device {
    pub info: DeviceInfo,
    pub id: Id,
    pub dialect: Dialect,
    pub options: String,
    pub fate: Fate,
    pub programs: Table<Program>,
    pub buffers: Buffers<Buffer>,
    pub queues: Arc<Vec<Queue>>,
    /// All opened devices of the platform, this one among them.
    platform: Arc<Platform>,
    /// For the host's reads and writes, so that they wait for nothing else.
    transfers: cl::Queue,
    pub context: Context,
}

impl Device {
    /// Opens a device in a context of its own, so that losing one handle loses no other.
    pub fn open(device: cl_device_id, ordinal: u32) -> Result<Device> {
        let probe::Probed { info, dialect, options } = probe::probe(device, ordinal)?;
        let id = info.id.as_str();
        let context = Context::from_devices(&[device], &[], None, std::ptr::null_mut());
        let context = context.map_err(|e| cl::error(id, "clCreateContext", e.0, 0))?;
        let queue = |properties: u64| {
            // The call of OpenCL 1.2: deprecated later, and in every loader.
            #[allow(deprecated)]
            let made = unsafe { clq::create_command_queue(context.get(), device, properties) };
            made.named(id, "clCreateCommandQueue").map(cl::Queue)
        };
        let profiling = if info.clock.is_some() { clq::CL_QUEUE_PROFILING_ENABLE } else { 0 };
        let queues = (0..QUEUES).map(|_| queue(profiling).map(Queue::new)).collect::<Result<Vec<_>>>()?;
        let queues = Arc::new(queues);
        let transfers = queue(0)?;
        Ok(Device {
            id: Id(device),
            dialect: Dialect::opencl(dialect),
            options,
            fate: Fate::default(),
            programs: Table::new(),
            buffers: Buffers::default(),
            platform: Platform::of(device, &queues),
            queues,
            transfers,
            context,
            info,
        })
    }

    pub fn program(&self, p: RawProgram) -> Result<Arc<Program>> {
        self.programs.find(p.0, &self.info.id, "program")
    }

    /// The buffer of a transfer, after checking that it fits.
    fn transfer(&self, buffer: RawBuffer, at: u64, bytes: usize) -> Result<Arc<Buffer>> {
        self.fate.alive()?;
        self.range(&anychip_hal::Range { buffer, offset: at, bytes: bytes as u64 })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for q in self.queues.iter() {
            // Drivers that run on the host's threads must not find their program gone.
            let _ = clq::finish(q.raw.0);
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
        let b = self.transfer(buffer, at, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        let (q, p) = (self.transfers.0, from.as_ptr().cast());
        let done =
            unsafe { clq::enqueue_write_buffer(q, b.whole.0, 1, at as usize, from.len(), p, 0, std::ptr::null()) };
        // A blocking write is done with the caller's bytes when it returns, not with the buffer: Intel's CPU runtime keeps a
        // copy, and a launch on another queue would overtake it.
        let done = done.named(&self.info.id, "clEnqueueWriteBuffer").and_then(|e| {
            let e = cl::Event(e);
            opencl3::event::wait_for_events(&[e.0]).named(&self.info.id, "clWaitForEvents")
        });
        self.fate.note(done)
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let b = self.transfer(buffer, at, to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        let (q, p) = (self.transfers.0, to.as_mut_ptr().cast());
        let done = unsafe { clq::enqueue_read_buffer(q, b.whole.0, 1, at as usize, to.len(), p, 0, std::ptr::null()) };
        self.fate.note(done.named(&self.info.id, "clEnqueueReadBuffer").map(|e| drop(cl::Event(e))))
    }

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.fate.alive()?;
        match module {
            Module::Kernel(k) => self.fate.note(self.compile(k, cached)),
            Module::Graph(g) => Err(Error::unsupported(
                format!("graph {} on {}", g.name, self.info.id),
                "this device takes kernels only",
            )),
        }
    }

    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        let Some(program) = self.programs.get(program.0) else { return Some(vec![]) };
        // A device that cannot even end its work is asked for nothing more.
        Some(self.platform.alone(|| self.sealed_binary(&program)).unwrap_or_default())
    }

    fn unload(&self, program: RawProgram) {
        self.programs.remove(program.0);
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.fate.alive()?;
        let _with_others = self.platform.launching();
        self.fate.note(self.enqueue(work))
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.fate.alive()?;
        self.await_ticket(ticket, timeout)
    }
}
