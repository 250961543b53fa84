//! A layer whose every call does what the good device does, unless it is said otherwise.

use anychip::{
    Result,
    hal::{
        Command, Completion, DeviceInfo, Exposed, Loaded, Memory, Module, Range, RawBuffer, RawDevice, RawList,
        RawProgram, Submission, Ticket, Work, ir::Kernel, op,
    },
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

/// A way to be broken: each method stands for the one of [`RawDevice`] of its name, and asks the good device.
#[allow(missing_docs, reason = "the contract's own methods")]
pub trait Fault: Send + Sync {
    fn good(&self) -> &dyn RawDevice;

    fn info(&self) -> &DeviceInfo {
        self.good().info()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.good().alloc(bytes, memory)
    }
    fn wipes(&self) -> bool {
        self.good().wipes()
    }
    fn free(&self, buffer: RawBuffer) {
        self.good().free(buffer);
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.good().host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.good().host_read(buffer, at, to)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.good().load(module, cached)
    }
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        self.good().binary(program)
    }
    fn unload(&self, program: RawProgram) {
        self.good().unload(program);
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.good().record(commands)
    }
    fn release(&self, list: RawList) {
        self.good().release(list);
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.good().submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.good().wait(ticket, timeout)
    }
    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        self.good().notify(ticket, waker)
    }
}

/// A [`Fault`] as a device.
pub struct Broken<F>(pub F);

impl<F: Fault> RawDevice for Broken<F> {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.0.alloc(bytes, memory)
    }
    fn wipes(&self) -> bool {
        self.0.wipes()
    }
    fn free(&self, buffer: RawBuffer) {
        self.0.free(buffer);
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.0.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.0.host_read(buffer, at, to)
    }
    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        self.0.good().accepts(graph)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        self.0.load(module, cached)
    }
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        self.0.binary(program)
    }
    fn unload(&self, program: RawProgram) {
        self.0.unload(program);
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.0.record(commands)
    }
    fn release(&self, list: RawList) {
        self.0.release(list);
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.0.submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.0.wait(ticket, timeout)
    }
    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        self.0.notify(ticket, waker)
    }
    fn expose(&self, range: Range) -> Result<Exposed> {
        self.0.good().expose(range)
    }
    fn fetch(&self, from: &Exposed, to: Range) -> Result<()> {
        self.0.good().fetch(from, to)
    }
    fn trim(&self) {
        self.0.good().trim();
    }
}

/// What a mutex holds, whoever panicked.
pub fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Commands are other ones on their way to the device, in submissions and in lists.
pub struct Commands {
    good: Arc<dyn RawDevice>,
    change: fn(&DeviceInfo, Vec<Command>) -> Vec<Command>,
}

/// Breaks commands.
pub fn commands(good: Arc<dyn RawDevice>, change: fn(&DeviceInfo, Vec<Command>) -> Vec<Command>) -> Arc<dyn RawDevice> {
    Arc::new(Broken(Commands { good, change }))
}

/// Breaks each command by itself.
pub fn each(good: Arc<dyn RawDevice>, change: fn(&mut Command)) -> Arc<dyn RawDevice> {
    struct Each(Arc<dyn RawDevice>, fn(&mut Command));
    impl Each {
        fn changed(&self, commands: &[Command]) -> Vec<Command> {
            let mut commands = commands.to_vec();
            commands.iter_mut().for_each(self.1);
            commands
        }
    }
    impl Fault for Each {
        fn good(&self) -> &dyn RawDevice {
            &*self.0
        }
        fn record(&self, commands: &[Command]) -> Result<RawList> {
            self.0.record(&self.changed(commands))
        }
        fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
            submit_as(&*self.0, work, |c| self.changed(c))
        }
    }
    Arc::new(Broken(Each(good, change)))
}

/// Submits other commands; a list as it is.
pub fn submit_as(
    good: &dyn RawDevice,
    work: &Submission<'_>,
    change: impl FnOnce(&[Command]) -> Vec<Command>,
) -> Result<Ticket> {
    match work.work {
        Work::Commands(commands) => good.submit(&Submission { work: Work::Commands(&change(commands)), ..*work }),
        Work::List(_) => good.submit(work),
    }
}

impl Fault for Commands {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        self.good.record(&(self.change)(self.good.info(), commands.to_vec()))
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        submit_as(&*self.good, work, |c| (self.change)(self.good.info(), c.to_vec()))
    }
}

/// Kernels are other ones when they are loaded.
struct Kernels {
    good: Arc<dyn RawDevice>,
    change: fn(&mut Kernel),
}

/// Breaks kernels.
pub fn kernels(good: Arc<dyn RawDevice>, change: fn(&mut Kernel)) -> Arc<dyn RawDevice> {
    Arc::new(Broken(Kernels { good, change }))
}

impl Fault for Kernels {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        match module {
            Module::Kernel(k) => {
                let mut k = (*k).clone();
                (self.change)(&mut k);
                self.good.load(&Module::Kernel(&k), None)
            }
            Module::Graph(_) => self.good.load(module, cached),
        }
    }
}

/// Graphs that the device's library takes are other ones on their way to it.
struct Graphs {
    good: Arc<dyn RawDevice>,
    change: fn(&mut op::Graph),
}

/// Breaks what a library computes.
pub fn graphs(good: Arc<dyn RawDevice>, change: fn(&mut op::Graph)) -> Arc<dyn RawDevice> {
    Arc::new(Broken(Graphs { good, change }))
}

impl Fault for Graphs {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        match module {
            Module::Graph(g) => {
                let mut g = (*g).clone();
                (self.change)(&mut g);
                self.good.load(&Module::Graph(&g), None)
            }
            Module::Kernel(_) => self.good.load(module, cached),
        }
    }
}

/// What the device says of itself is something else.
struct Says {
    good: Arc<dyn RawDevice>,
    info: DeviceInfo,
}

/// Breaks what is stated.
pub fn says(good: Arc<dyn RawDevice>, change: impl FnOnce(&mut DeviceInfo)) -> Arc<dyn RawDevice> {
    let mut info = good.info().clone();
    change(&mut info);
    Arc::new(Broken(Says { good, info }))
}

impl Fault for Says {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn info(&self) -> &DeviceInfo {
        &self.info
    }
}

/// Gives bytes back otherwise than they were read.
pub fn reads(
    good: Arc<dyn RawDevice>,
    change: fn(&dyn RawDevice, RawBuffer, u64, &mut [u8]) -> Result<()>,
) -> Arc<dyn RawDevice> {
    struct Reads(Arc<dyn RawDevice>, fn(&dyn RawDevice, RawBuffer, u64, &mut [u8]) -> Result<()>);
    impl Fault for Reads {
        fn good(&self) -> &dyn RawDevice {
            &*self.0
        }
        fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
            (self.1)(&*self.0, buffer, at, to)
        }
    }
    Arc::new(Broken(Reads(good, change)))
}
