//! One call at a time, for devices whose runtime does not bear overlapping calls ([`DeviceInfo::serialised`]).
//!
//! A blocking wait must not keep others from submitting: it is cut into short slices with the lock released between.

use super::lock;
use crate::{
    Command, Completion, DeviceInfo, Loaded, Memory, Module, RawBuffer, RawDevice, RawList, RawProgram, Result,
    Submission, Ticket, op, wait::Since,
};
use std::{
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

/// How long a wait keeps the device to itself.
const SLICE: Duration = Duration::from_millis(1);

/// Serialises the calls of a device.
pub struct Serial {
    inner: Arc<dyn RawDevice>,
    turn: Mutex<()>,
}

impl Serial {
    /// Wraps a device.
    pub fn new(inner: Arc<dyn RawDevice>) -> Serial {
        Serial { inner, turn: Mutex::new(()) }
    }
}

impl RawDevice for Serial {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn wipes(&self) -> bool {
        self.inner.wipes()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let _turn = lock(&self.turn);
        self.inner.alloc(bytes, memory)
    }
    fn free(&self, buffer: RawBuffer) {
        let _turn = lock(&self.turn);
        self.inner.free(buffer)
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        let _turn = lock(&self.turn);
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let _turn = lock(&self.turn);
        self.inner.host_read(buffer, at, to)
    }
    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        let _turn = lock(&self.turn);
        self.inner.accepts(graph)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let _turn = lock(&self.turn);
        self.inner.load(module, cached)
    }
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        let _turn = lock(&self.turn);
        self.inner.binary(program)
    }
    fn unload(&self, program: RawProgram) {
        let _turn = lock(&self.turn);
        self.inner.unload(program)
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let _turn = lock(&self.turn);
        self.inner.record(commands)
    }
    fn release(&self, list: RawList) {
        let _turn = lock(&self.turn);
        self.inner.release(list)
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let _turn = lock(&self.turn);
        self.inner.submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let begin = Since::now();
        loop {
            let left = begin.left(timeout);
            {
                let _turn = lock(&self.turn);
                if let Some(done) = self.inner.wait(ticket, left.min(SLICE))? {
                    return Ok(Some(done));
                }
            }
            if left.is_zero() {
                return Ok(None);
            }
            // Gives the lock to whoever waits for it: std's mutex is not fair.
            std::thread::yield_now();
        }
    }
    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        let _turn = lock(&self.turn);
        self.inner.notify(ticket, waker)
    }
    fn trim(&self) {
        let _turn = lock(&self.turn);
        self.inner.trim()
    }
}
