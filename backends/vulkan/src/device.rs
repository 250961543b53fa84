//! An opened device: its queues, and the tables behind its handles.

use crate::{
    instance::{self, Instance},
    memory::{Buffer, Heap},
    probe,
    program::{Layout, Program},
    queue::{List, Queue},
    vk_error::Named,
};
pub use anychip_hal::handles::lock;
use anychip_hal::handles::{Buffers, Fate, Table};
use anychip_hal::{
    Command, Completion, DeviceInfo, Error, Loaded, Memory, Module, RawBuffer, RawDevice, RawList, RawProgram, Result,
    Submission, Ticket,
};
use ash::{khr, vk};
use std::{
    collections::HashMap,
    ffi::c_char,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// So many programs are unloaded before a driver is reminded to give them back, which costs it a thread's wakening.
const DESTROYED: u32 = 32;

/// The driver's device. Everything made from it holds it, so that it goes last.
pub struct Handle {
    pub raw: ash::Device,
    pub id: String,
    /// The calls of timeline semaphores where an extension brings them; the version does otherwise.
    pub timeline: Option<khr::timeline_semaphore::Device>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: everything that was made from it held it, and is gone.
        unsafe { self.raw.destroy_device(None) };
    }
}

/// An opened device.
pub struct Device {
    pub info: DeviceInfo,
    pub rest: probe::Rest,
    pub fate: Fate,
    pub lists: Table<List>,
    pub programs: Table<Program>,
    /// How many programs were unloaded.
    pub unloaded: AtomicU32,
    pub buffers: Buffers<Buffer>,
    /// By numbers of buffers and of texels.
    pub layouts: Mutex<HashMap<(usize, usize), Arc<Layout>>>,
    pub queues: Vec<Queue>,
    pub heap: Arc<Heap>,
    pub handle: Arc<Handle>,
}

impl Device {
    /// Opens a device by a handle of its own, so that losing one loses no other.
    pub fn open(instance: &Instance, physical: vk::PhysicalDevice, ordinal: u32) -> Result<Device> {
        let probe::Probed { info, rest, mut switched } = probe::probe(instance, physical, ordinal)?;
        let id = info.id.as_str();
        let priorities = vec![1.0f32; info.limits.queues as usize];
        let queues =
            [vk::DeviceQueueCreateInfo::default().queue_family_index(rest.family).queue_priorities(&priorities)];
        let extensions: Vec<*const c_char> = rest.enabled.extensions.iter().map(|e| e.as_ptr()).collect();
        let made = switched.chain(|features| {
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .push_next(features);
            // SAFETY: only what the device offers is asked for; the structures live until the call returns.
            unsafe { instance.raw.create_device(physical, &info, None) }
        });
        let raw = made.named(id, "vkCreateDevice")?;
        let extension = rest.enabled.extensions.contains(&khr::timeline_semaphore::NAME);
        let timeline = extension.then(|| khr::timeline_semaphore::Device::new(&instance.raw, &raw));
        let handle = Arc::new(Handle { raw, id: id.into(), timeline });
        let heap = Arc::new(Heap::new(instance, physical, &handle)?);
        let queue = |n| Queue::new(&handle, rest.family, n, rest.enabled.timeline);
        Ok(Device {
            queues: (0..info.limits.queues).map(queue).collect::<Result<_>>()?,
            fate: Fate::default(),
            lists: Table::new(),
            programs: Table::new(),
            unloaded: AtomicU32::new(0),
            buffers: Buffers::default(),
            layouts: Mutex::default(),
            heap,
            handle,
            rest,
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
        // What is under way ends first; of a lost device nothing is under way.
        // SAFETY: nobody else holds the device's queues any more.
        let _ = unsafe { self.handle.raw.device_wait_idle() };
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
        self.write(&b, at, from)
    }

    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let b = self.transfer(buffer, at, to.len())?;
        self.read(&b, at, to)
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

    fn unload(&self, program: RawProgram) {
        self.programs.remove(program.0);
        let nth = self.unloaded.fetch_add(1, Ordering::Relaxed);
        if self.rest.late_destroy && nth % DESTROYED == DESTROYED - 1 && self.fate.alive().is_ok() {
            self.nudge();
        }
    }

    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.fate.alive()?;
        self.fate.note(self.prepare(commands))
    }

    fn release(&self, list: RawList) {
        self.lists.remove(list.0);
    }

    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.fate.alive()?;
        instance::validated()?;
        self.fate.note(self.enqueue(work))
    }

    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.fate.alive()?;
        let done = self.fate.note(self.await_ticket(ticket, timeout))?;
        instance::validated()?;
        Ok(done)
    }
}
