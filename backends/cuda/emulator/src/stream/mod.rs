//! Streams: a queue of work and a thread each. Work begins when somebody waits for it or asks about it, or by itself after a while, as
//! the settings say: what forgets to wait for another stream then mostly runs before it, and is seen.

mod api;
mod capture;
mod work;

pub use api::{find, usable};
pub use capture::{Joined, Session};
pub use work::{Copy, Failure, Fill, HostCall, Work};

use crate::{
    calls::lock,
    code::{Code, Outcome},
    context::Context,
    exec,
    settings::{Pace, settings},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// When work begins by itself with [`Pace::Late`].
const LATE: Duration = Duration::from_millis(4);

struct Queue {
    work: VecDeque<(u64, Instant, Work)>,
    submitted: u64,
    completed: u64,
    /// Somebody wants everything up to here.
    wanted: u64,
    /// The thread ends when the queue is empty.
    closing: bool,
    capture: Option<Joined>,
    worker: Option<JoinHandle<()>>,
}

pub struct Stream {
    pub handle: usize,
    pub context: Arc<Context>,
    pub flags: u32,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Stream {
    pub fn new(handle: usize, context: Arc<Context>, flags: u32) -> Stream {
        Stream {
            handle,
            context,
            flags,
            queue: Mutex::new(Queue {
                work: VecDeque::new(),
                submitted: 0,
                completed: 0,
                wanted: 0,
                closing: false,
                capture: None,
                worker: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Does it order itself with the stream of handle 0?
    fn blocking(&self) -> bool {
        self.flags & 1 == 0
    }

    /// Queues work, or makes it a node of the graph that is being captured.
    pub fn submit(self: &Arc<Stream>, work: Work) -> Outcome {
        self.context.check()?;
        if let Some(joined) = lock(&self.queue).capture.as_mut() {
            return joined.add(work);
        }
        self.submit_always(work);
        Ok(())
    }

    /// Queues work; its number on this stream.
    pub fn submit_always(self: &Arc<Stream>, work: Work) -> u64 {
        for (other, upto) in self.implied() {
            self.push(Work::Wait(other, upto));
        }
        self.push(work)
    }

    /// What the stream of handle 0 waits for, and what waits for it.
    fn implied(self: &Arc<Stream>) -> Vec<(Arc<Stream>, u64)> {
        let others = match self.handle {
            0 => lock(&self.context.streams).iter().filter(|s| s.blocking()).cloned().collect(),
            _ if self.blocking() => Vec::from_iter(self.context.used_null_stream()),
            _ => Vec::new(),
        };
        let pending = |other: Arc<Stream>| {
            let queue = lock(&other.queue);
            let upto = (queue.completed < queue.submitted).then_some(queue.submitted);
            drop(queue);
            upto.map(|upto| (other, upto))
        };
        others.into_iter().filter(|other| !Arc::ptr_eq(self, other)).filter_map(pending).collect()
    }

    fn push(self: &Arc<Stream>, work: Work) -> u64 {
        let mut queue = lock(&self.queue);
        queue.submitted += 1;
        let number = queue.submitted;
        queue.work.push_back((number, Instant::now(), work));
        if queue.worker.is_none() {
            let stream = self.clone();
            let worker = std::thread::Builder::new().name("emulated stream".into()).spawn(move || stream.work());
            queue.worker = Some(worker.expect("a thread for a stream"));
        }
        drop(queue);
        self.changed.notify_all();
        number
    }

    /// The number of the last work submitted.
    pub fn last(&self) -> u64 {
        lock(&self.queue).submitted
    }

    /// Somebody wants everything up to here.
    fn want<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, upto: u64) -> MutexGuard<'a, Queue> {
        if queue.wanted < upto {
            queue.wanted = upto;
            self.changed.notify_all();
        }
        queue
    }

    /// Has it come so far? Who asks wants it to.
    pub fn reached(&self, upto: u64) -> bool {
        self.want(lock(&self.queue), upto).completed >= upto
    }

    /// Until it has come so far.
    pub fn wait(&self, upto: u64) {
        let mut queue = self.want(lock(&self.queue), upto);
        while queue.completed < upto {
            queue = self.changed.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Until all that was submitted is done.
    pub fn finish(&self) -> Outcome {
        self.not_capturing()?;
        self.wait(self.last());
        self.context.check()
    }

    /// Drops what has not begun: its context goes.
    pub fn drop_work(&self) {
        let mut queue = lock(&self.queue);
        let dropped = std::mem::take(&mut queue.work);
        if !dropped.is_empty() && queue.completed + dropped.len() as u64 == queue.submitted {
            queue.completed = queue.submitted;
        }
        queue.closing = true;
        drop(queue);
        self.changed.notify_all();
        drop(dropped);
    }

    /// Nothing more comes; what was submitted is still done.
    pub fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closing = true;
        queue.wanted = u64::MAX;
        drop(queue);
        self.changed.notify_all();
    }

    /// Does nothing of it run any more?
    pub fn has_ended(&self) -> bool {
        lock(&self.queue).worker.as_ref().is_none_or(|worker| worker.is_finished())
    }

    /// Until its thread has ended.
    pub fn join(&self) {
        let worker = lock(&self.queue).worker.take();
        if let Some(worker) = worker
            && worker.thread().id() != std::thread::current().id()
        {
            // A thread that has panicked has said so.
            let _ = worker.join();
        }
    }

    /// The next work when it is time for it; `None` when the stream has ended.
    fn next(&self) -> Option<(u64, Work)> {
        let mut queue = lock(&self.queue);
        loop {
            let wait = match queue.work.front() {
                None if queue.closing => return None,
                None => None,
                Some((number, since, _)) => {
                    let left = match settings().pace {
                        Pace::Eager => Some(Duration::ZERO),
                        Pace::Late => Some(LATE.saturating_sub(since.elapsed())),
                        Pace::Lazy => None,
                    };
                    if *number <= queue.wanted || left == Some(Duration::ZERO) {
                        return queue.work.pop_front().map(|(number, _, work)| (number, work));
                    }
                    left
                }
            };
            queue = match wait {
                None => self.changed.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(time) => self.changed.wait_timeout(queue, time).unwrap_or_else(|poisoned| poisoned.into_inner()).0,
            };
        }
    }

    fn work(self: Arc<Stream>) {
        exec::prepare_thread();
        while let Some((number, work)) = self.next() {
            match work {
                Work::Wait(other, upto) => other.wait(upto),
                Work::Mark(moment) => {
                    let _ = moment.set(Instant::now());
                }
                // Memory is given back and the host's functions run whatever has happened.
                work @ (Work::Close(_) | Work::Host(_)) => self.report(work),
                work if self.context.check().is_ok() => self.report(work),
                _ => {}
            }
            let mut queue = lock(&self.queue);
            // Dropped work counts as done.
            queue.completed = if queue.work.is_empty() { queue.submitted } else { number };
            drop(queue);
            self.changed.notify_all();
        }
    }

    fn report(&self, work: Work) {
        if let Err(failure) = work.perform() {
            eprintln!("anychip CUDA emulator: {}", failure.why);
            self.context.strike(failure.code);
        }
    }

    /// Is its work being captured?
    pub fn capturing(&self) -> bool {
        lock(&self.queue).capture.is_some()
    }

    /// An error, and the end of the capture, while its work is being captured.
    pub fn not_capturing(&self) -> Outcome {
        match lock(&self.queue).capture.as_ref() {
            None => Ok(()),
            Some(joined) => {
                joined.session.spoil();
                Err(Code::CAPTURE_UNSUPPORTED)
            }
        }
    }
}
