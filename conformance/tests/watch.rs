//! The watch sees what a device does beside its buffers, and says so once.

use anychip::{
    Result, Tensor,
    hal::{
        Command, Completion, DeviceInfo, Loaded, Memory, Module, RawBuffer, RawDevice, RawProgram, Submission, Ticket,
        Work, op,
    },
};
use anychip_conformance::{Failure, Subject, watch::POISON};
use std::{sync::Arc, time::Duration};

/// A device whose copies into its memory are four bytes too long, or begin four bytes too early.
struct Sloppy {
    inner: Arc<dyn RawDevice>,
    early: bool,
}

impl RawDevice for Sloppy {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        // Room for what is read too much.
        self.inner.alloc(bytes + if memory == Memory::Device { 0 } else { 16 }, memory)
    }
    fn free(&self, buffer: RawBuffer) {
        self.inner.free(buffer)
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
        self.inner.load(module, cached)
    }
    fn unload(&self, program: RawProgram) {
        self.inner.unload(program)
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let Work::Commands(commands) = work.work else { return self.inner.submit(work) };
        let mut commands = commands.to_vec();
        for c in &mut commands {
            // Of uploads only: what the watch copies goes the other way.
            if let Command::Copy { src, dst } = c
                && src.offset == 0
                && dst.offset >= 256
            {
                src.bytes += 4;
                dst.bytes += 4;
                dst.offset -= if self.early { 4 } else { 0 };
            }
        }
        self.inner.submit(&Submission { work: Work::Commands(&commands), ..*work })
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.inner.wait(ticket, timeout)
    }
}

#[test]
fn a_write_beside_a_buffer_is_seen_once() {
    for (early, words) in [(false, "1 bytes behind the last one"), (true, "1 bytes before the first one")] {
        let make = move || Ok(Arc::new(Sloppy { inner: anychip::open_raw("cpu")?, early }) as Arc<dyn RawDevice>);
        let subject = Subject::from_raw(make).unwrap();
        subject.check().unwrap();
        let held = subject.chip().alloc_from(&[1; 64]).unwrap();
        let Err(Failure::Broken(why)) = subject.check() else { panic!("nothing was seen") };
        assert!(why.contains("beside a buffer of 64 bytes") && why.contains(words), "{why}");
        subject.check().unwrap();
        drop(held);
        drop(subject.chip().alloc_from(&[1; 32]).unwrap());
        let Err(Failure::Broken(why)) = subject.check() else { panic!("nothing was seen of a freed buffer") };
        assert!(why.contains("beside a buffer of 32 bytes") && why.contains(words), "{why}");
    }
}

#[test]
fn a_good_device_works_under_watch() {
    let subject = Subject::open("cpu").unwrap();
    let chip = subject.chip();
    let buffer = chip.alloc(40).unwrap();
    let mut bytes = [0; 40];
    chip.download(&buffer, 0, &mut bytes).unwrap();
    assert_eq!(bytes[..], POISON.to_le_bytes().repeat(10), "new memory holds the pattern");
    let x = Tensor::from_vec((0..1000).map(|i| i as f32).collect::<Vec<_>>(), (10, 100), &subject.device).unwrap();
    let y = x.matmul(&x.t().unwrap()).unwrap().softmax(-1).unwrap().sum(-1).unwrap();
    assert!(y.to_vec1::<f32>().unwrap().iter().all(|s| (s - 1.0).abs() < 1e-5));
    assert!(subject.traffic().unwrap().launches > 0);
    subject.check().unwrap();
    // Handles that an application would have: the same memory, no pattern promised.
    assert!(subject.plain().unwrap().traffic().is_none());
    assert_eq!(subject.again().unwrap().traffic().unwrap().launches, 0);
}
