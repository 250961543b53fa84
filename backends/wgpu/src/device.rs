//! An opened device: the tables behind its handles, and how what wgpu reports becomes errors.

use crate::{
    NAME,
    memory::Buffer,
    probe::{Probed, Shaders},
    program::Program,
    queue::{List, State},
};
pub use anychip_hal::handles::lock;
use anychip_hal::handles::{Buffers, Fate, Table};
use anychip_hal::{
    Command, Completion, DeviceInfo, Error, Loaded, Memory, Module, RawBuffer, RawDevice, RawList, RawProgram, Result,
    Submission, Ticket,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// OpenGL has one context, and wgpu ends the process when a thread waits for it longer than a second, as it does where kernels
/// run on the processor: threads take turns here first.
static CONTEXT: Mutex<()> = Mutex::new(());

/// So many programs are unloaded before an empty submission follows.
const DROPPED: u32 = 32;

/// What wgpu's callbacks leave behind.
#[derive(Default)]
pub struct Reported {
    /// The device is gone.
    fate: Fate,
    /// Errors that no call was waiting for; each is told once, by the next call.
    errors: Mutex<Vec<Error>>,
}

/// An opened device.
pub struct Device {
    pub info: DeviceInfo,
    pub shaders: Shaders,
    pub features: wgpu::Features,
    pub raw: wgpu::Device,
    pub queue: wgpu::Queue,
    pub buffers: Buffers<Buffer>,
    pub programs: Table<Program>,
    /// How many programs were unloaded.
    unloaded: AtomicU32,
    pub lists: Table<List>,
    pub state: Mutex<State>,
    /// Threads take turns.
    one_by_one: bool,
    reported: Arc<Reported>,
}

impl Device {
    /// Opens a device of its own, so that losing one handle loses no other.
    pub async fn open(adapter: &wgpu::Adapter, probed: Probed) -> Result<Device> {
        let Probed { info, features, limits, shaders } = probed;
        let wanted = wgpu::DeviceDescriptor {
            label: Some("anychip"),
            required_features: features,
            required_limits: limits,
            ..Default::default()
        };
        let (raw, queue) = adapter.request_device(&wanted).await.map_err(|e| Error::Backend {
            backend: NAME.into(),
            code: 0,
            message: format!("{}: request_device: {e}", info.id),
        })?;
        let reported = Arc::new(Reported::default());
        let (to, id) = (reported.clone(), info.id.clone());
        raw.on_uncaptured_error(Arc::new(move |e: wgpu::Error| lock(&to.errors).push(error(&id, "wgpu", &e, 0))));
        let (to, id) = (reported.clone(), info.id.clone());
        raw.set_device_lost_callback(move |reason, why| {
            // A device that is dropped is not lost.
            if reason != wgpu::DeviceLostReason::Destroyed {
                to.fate.lose(Error::DeviceLost { device: id.clone(), why, restart: false });
            }
        });
        Ok(Device {
            info,
            shaders,
            features,
            raw,
            queue,
            buffers: Buffers::default(),
            programs: Table::new(),
            unloaded: AtomicU32::new(0),
            lists: Table::new(),
            state: Mutex::default(),
            one_by_one: adapter.get_info().backend == wgpu::Backend::Gl,
            reported,
        })
    }

    /// Held while wgpu is called.
    pub fn turn(&self) -> Option<MutexGuard<'static, ()>> {
        self.one_by_one.then(|| lock(&CONTEXT))
    }

    pub fn alive(&self) -> Result<()> {
        self.reported.fate.alive()
    }

    /// An error that came while no call waited for it.
    pub fn earlier(&self) -> Result<()> {
        self.alive()?;
        match lock(&self.reported.errors).pop() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Calls wgpu, and gives the errors of that. In a browser they come later: the next call tells them.
    pub fn guarded<T>(&self, what: &str, asked: u64, call: impl FnOnce() -> T) -> Result<T> {
        if cfg!(target_arch = "wasm32") {
            let made = call();
            return self.earlier().map(|()| made);
        }
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory]
            .map(|f| self.raw.push_error_scope(f));
        let made = call();
        let mut found = None;
        for scope in scopes.into_iter().rev() {
            if let Some(e) = crate::now(scope.pop())? {
                found = Some(error(&self.info.id, what, &e, asked));
            }
        }
        self.alive()?;
        found.map_or(Ok(made), Err)
    }

    pub fn program(&self, p: RawProgram) -> Result<Arc<Program>> {
        self.programs.find(p.0, &self.info.id, "program")
    }
}

/// wgpu's error as one of the contract's.
fn error(device: &str, what: &str, e: &wgpu::Error, asked: u64) -> Error {
    let (code, words) = match e {
        wgpu::Error::OutOfMemory { source } => {
            return Error::OutOfMemory { device: device.into(), asked, why: format!("{what}: {source}") };
        }
        wgpu::Error::Validation { description, .. } => (1, description),
        wgpu::Error::Internal { description, .. } => (2, description),
    };
    Error::Backend { backend: NAME.into(), code, message: format!("{device}: {what}: {words}") }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _turn = self.turn();
        // Work that is under way ends first; a device that is gone has none.
        let _ = self.raw.poll(wgpu::PollType::wait_indefinitely());
    }
}

impl RawDevice for Device {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let _turn = self.turn();
        self.alive()?;
        self.create(bytes, memory)
    }

    /// WebGPU promises it.
    fn wipes(&self) -> bool {
        true
    }

    fn free(&self, buffer: RawBuffer) {
        let _turn = self.turn();
        self.buffers.destroy(buffer);
    }

    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        let _turn = self.turn();
        self.alive()?;
        self.write(buffer, at, from)
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let _turn = self.turn();
        self.alive()?;
        self.read(buffer, at, to)
    }

    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let _turn = self.turn();
        self.alive()?;
        match module {
            Module::Kernel(k) => self.compile(k, cached),
            Module::Graph(g) => Err(Error::unsupported(
                format!("graph {} on {}", g.name, self.info.id),
                "this device takes kernels only",
            )),
        }
    }

    fn unload(&self, program: RawProgram) {
        let _turn = self.turn();
        self.programs.remove(program.0);
        // What was dropped is given back when work is submitted: by wgpu, and by llvmpipe below it.
        if self.unloaded.fetch_add(1, Ordering::Relaxed) % DROPPED == DROPPED - 1 && self.alive().is_ok() {
            self.queue.submit([]);
        }
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let _turn = self.turn();
        self.alive()?;
        let list = self.prepare(commands)?;
        Ok(RawList(self.lists.insert(Arc::new(list))))
    }

    fn release(&self, list: RawList) {
        let _turn = self.turn();
        self.lists.remove(list.0);
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let _turn = self.turn();
        self.earlier()?;
        self.enqueue(work)
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.alive()?;
        self.await_ticket(ticket, timeout)
    }

    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        // Elsewhere callbacks run only while somebody polls: hal does.
        cfg!(target_arch = "wasm32") && self.wake(ticket, waker)
    }
}
