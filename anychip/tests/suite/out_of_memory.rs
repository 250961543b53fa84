//! Memory runs out at every allocation in turn: each time an error that says so, nothing leaks, and the device goes on.

use crate::common::numbers;
use anychip::{
    Device, Error, Program, Result, Tensor,
    hal::{
        Command, Completion, DeviceInfo, Driver, Loaded, Memory, Module, RawBuffer, RawDevice, RawList, RawProgram,
        Submission, Ticket, op,
    },
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

/// What a device holds, and when its memory runs out.
#[derive(Default)]
struct Ledger {
    buffers: AtomicI64,
    programs: AtomicI64,
    lists: AtomicI64,
    allocations: AtomicU64,
    /// The first allocation that fails, and the first after it that does not.
    shortage: Mutex<std::ops::Range<u64>>,
}

/// A device whose memory runs out by plan.
struct Tight {
    inner: Arc<dyn RawDevice>,
    ledger: Arc<Ledger>,
}

impl RawDevice for Tight {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        let n = self.ledger.allocations.fetch_add(1, Ordering::SeqCst);
        if self.ledger.shortage.lock().unwrap().contains(&n) {
            return Err(Error::OutOfMemory { device: self.info().id.clone(), asked: bytes, why: "planned".into() });
        }
        let buffer = self.inner.alloc(bytes, memory)?;
        self.ledger.buffers.fetch_add(1, Ordering::SeqCst);
        Ok(buffer)
    }
    fn free(&self, buffer: RawBuffer) {
        self.ledger.buffers.fetch_sub(1, Ordering::SeqCst);
        self.inner.free(buffer);
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        self.inner.host_write(buffer, at, from)
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        self.inner.host_read(buffer, at, to)
    }
    fn accepts(&self, graph: &op::Graph) -> Result<()> {
        self.inner.accepts(graph)
    }
    fn load(&self, module: &Module<'_>, cached: Option<&[u8]>) -> Result<Loaded> {
        let loaded = self.inner.load(module, cached)?;
        self.ledger.programs.fetch_add(1, Ordering::SeqCst);
        Ok(loaded)
    }
    fn binary(&self, program: RawProgram) -> Option<Vec<u8>> {
        self.inner.binary(program)
    }
    fn unload(&self, program: RawProgram) {
        self.ledger.programs.fetch_sub(1, Ordering::SeqCst);
        self.inner.unload(program);
    }
    fn record(&self, commands: &[Command]) -> Result<RawList> {
        let list = self.inner.record(commands)?;
        self.ledger.lists.fetch_add(1, Ordering::SeqCst);
        Ok(list)
    }
    fn release(&self, list: RawList) {
        self.ledger.lists.fetch_sub(1, Ordering::SeqCst);
        self.inner.release(list);
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        self.inner.submit(work)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.inner.wait(ticket, timeout)
    }
    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        self.inner.notify(ticket, waker)
    }
    fn trim(&self) {
        self.inner.trim();
    }
}

/// Opens tight devices of another driver under a name of its own.
struct TightDriver {
    name: String,
    inner: Arc<dyn Driver>,
    ledger: Arc<Ledger>,
}

impl Driver for TightDriver {
    fn name(&self) -> &str {
        &self.name
    }
    fn devices(&self) -> Result<Vec<Result<DeviceInfo>>> {
        let mut found = self.inner.devices()?;
        for (n, info) in found.iter_mut().enumerate() {
            if let Ok(info) = info {
                info.id = format!("{}:{n}", self.name);
            }
        }
        Ok(found)
    }
    fn open(&self, ordinal: u32) -> Result<Arc<dyn RawDevice>> {
        Ok(Arc::new(Tight { inner: self.inner.open(ordinal)?, ledger: self.ledger.clone() }))
    }
}

/// Reductions, products, row operations, copies, a captured program: every way of asking for memory.
fn work(d: &Device) -> Result<Vec<f32>> {
    let x = Tensor::from_vec(numbers(24 * 32, 1, -1.0, 1.0), (24, 32), d)?;
    let w = Tensor::from_vec(numbers(32 * 20, 2, -1.0, 1.0), (32, 20), d)?.constant()?;
    let y = x.matmul(&w)?.softmax(-1)?;
    y.realize()?;
    let program = Program::new(d, std::slice::from_ref(&y), |inputs| {
        let y = inputs[0].matmul(&w.t()?)?;
        Ok(vec![Tensor::cat(&[y.add(&x)?, y.sub(&x)?], 0)?.sum(0)?])
    })?;
    let z = program.run(&[y])?.remove(0);
    z.add(1.0)?.to_vec::<f32>()
}

fn runs_out_everywhere(name: &str, inner: Arc<dyn Driver>) {
    let ledger = Arc::new(Ledger::default());
    anychip::register(Arc::new(TightDriver { name: name.into(), inner, ledger: ledger.clone() }));
    let id = format!("{name}:0");
    let held = || [&ledger.buffers, &ledger.programs, &ledger.lists].map(|n| n.load(Ordering::SeqCst));
    let d = Device::open(&id).unwrap_or_else(|e| panic!("{id}: {e}"));
    let want = work(&d).unwrap();
    drop(d);
    let allocations = ledger.allocations.load(Ordering::SeqCst);
    assert!(allocations >= 5, "{id}: {allocations} allocations");
    assert_eq!(held(), [0; 3], "{id}: held after a run that went well: buffers, programs, lists");

    for n in 0..allocations {
        let d = Device::open(&id).unwrap();
        let first = ledger.allocations.load(Ordering::SeqCst) + n;
        // Long enough that nothing which tries again on its own gets through.
        *ledger.shortage.lock().unwrap() = first..u64::MAX;
        match work(&d) {
            Err(e @ Error::OutOfMemory { .. }) => {
                assert!(e.to_string().contains("planned"), "{id}, allocation {n}: {e}")
            }
            Err(e) => panic!("{id}, allocation {n}: {e}"),
            Ok(_) => panic!("{id}, allocation {n}: no error"),
        }
        *ledger.shortage.lock().unwrap() = 0..0;
        // The same device goes on, and gives the same answer.
        assert_eq!(
            work(&d).unwrap_or_else(|e| panic!("{id}, after allocation {n}: {e}")),
            want,
            "{id}, after allocation {n}"
        );
        drop(d);
        assert_eq!(held(), [0; 3], "{id}, allocation {n}: held when all is let go of: buffers, programs, lists");
    }
}

#[test]
fn memory_runs_out_at_every_allocation_of_the_cpu() {
    runs_out_everywhere("tight-cpu", Arc::new(anychip_cpu::CpuDriver::new()));
}

#[test]
fn memory_runs_out_at_every_allocation_of_opencl() {
    let driver = Arc::new(anychip_opencl::OpenClDriver::new());
    match driver.devices() {
        Ok(found) if found.iter().any(Result::is_ok) => runs_out_everywhere("tight-opencl", driver),
        Ok(_) => println!("SKIPPED: memory runs out on OpenCL: no device works"),
        Err(e) => println!("SKIPPED: memory runs out on OpenCL: {e}"),
    }
}
