//! A queue: submissions run in order, one at a time, on the queue's own thread or on a thread that waits for them.
//!
//! A waiting thread that finds nothing running takes the work over, and a submission that takes less than a thread switch runs
//! where it is submitted when nothing is before it: small launches cost no switch.

use anychip_hal::{Completion, Error, Result, Ticket};
use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, Weak},
    task::Waker,
    time::{Duration, Instant},
};

/// Work: what to run, and its outcome.
pub(crate) type Job = Box<dyn FnOnce() -> Result<Completion> + Send>;

/// Failed submissions whose error is remembered for later waits.
const REMEMBERED: usize = 4096;
/// A thread that means to wait at least this long runs pending work itself.
const TAKE_OVER: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    pending: VecDeque<(u64, Job)>,
    issued: u64,
    done: u64,
    running: bool,
    /// Threads in `wait`, and whether the queue's thread sleeps: nobody is woken who does not.
    waiting: usize,
    asleep: bool,
    closed: bool,
    /// Errors, and spans that nobody has collected yet.
    results: BTreeMap<u64, Result<Completion>>,
    wakers: Vec<(u64, Waker)>,
}

/// A queue.
pub(crate) struct Queue {
    number: u32,
    state: Mutex<State>,
    /// There may be work to begin.
    begin: Condvar,
    /// Work has finished.
    finished: Condvar,
}

impl Queue {
    /// A queue with its thread; the thread ends when the queue is closed.
    pub fn start(number: u32) -> Result<Arc<Queue>> {
        let queue =
            Arc::new(Queue { number, state: Mutex::default(), begin: Condvar::new(), finished: Condvar::new() });
        let of = Arc::downgrade(&queue);
        std::thread::Builder::new().name(format!("anychip-cpu-queue-{number}")).spawn(move || serve(&of)).map_err(
            |e| Error::Backend {
                backend: "cpu".to_string(),
                code: e.raw_os_error().unwrap_or(0) as i64,
                message: format!("the queue's thread cannot be started: {e}"),
            },
        )?;
        Ok(queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic never leaves the state half changed: jobs run outside the lock.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds work and returns at once.
    pub fn submit(&self, job: Job) -> Ticket {
        let mut s = self.lock();
        s.issued += 1;
        let value = s.issued;
        s.pending.push_back((value, job));
        let wake = !s.running && s.asleep;
        drop(s);
        if wake {
            self.begin.notify_one();
        }
        Ticket { queue: self.number, value }
    }

    /// Runs short work here and now when nothing is before it; else as [`submit`](Self::submit). Its failure, too, is told
    /// by `wait`.
    pub fn submit_quick(&self, job: impl FnOnce() -> Result<Completion> + Send + 'static) -> Ticket {
        let mut s = self.lock();
        if s.running || !s.pending.is_empty() {
            drop(s);
            return self.submit(Box::new(job));
        }
        s.issued += 1;
        let value = s.issued;
        drop(self.run_one(s, value, job));
        Ticket { queue: self.number, value }
    }

    /// Ends the queue's thread once everything pending has run.
    pub fn close(&self) {
        self.lock().closed = true;
        self.begin.notify_all();
    }

    /// Runs the first pending job, outside the lock.
    fn run_first<'a>(&'a self, mut s: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some((value, job)) = s.pending.pop_front() else { return s };
        self.run_one(s, value, job)
    }

    /// Runs a job that is next, outside the lock.
    fn run_one<'a>(
        &'a self,
        mut s: MutexGuard<'a, State>,
        value: u64,
        job: impl FnOnce() -> Result<Completion>,
    ) -> MutexGuard<'a, State> {
        s.running = true;
        drop(s);
        let result = catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
            Err(Error::Backend {
                backend: "cpu".to_string(),
                code: -1,
                message: "the vector machine failed in itself; this is a bug of anychip".to_string(),
            })
        });
        let mut s = self.lock();
        s.running = false;
        s.done = value;
        if !matches!(&result, Ok(c) if c.spans.is_empty()) {
            s.results.insert(value, result);
            if s.results.len() > REMEMBERED {
                s.results.pop_first();
            }
        }
        let mut ready: Vec<(u64, Waker)> = vec![];
        if !s.wakers.is_empty() {
            (ready, s.wakers) = std::mem::take(&mut s.wakers).into_iter().partition(|(at, _)| *at <= value);
        }
        let (more, waiting) = (!s.pending.is_empty() && s.asleep, s.waiting > 0);
        if !more && !waiting && ready.is_empty() {
            return s;
        }
        drop(s);
        if waiting {
            self.finished.notify_all();
        }
        if more {
            self.begin.notify_one();
        }
        ready.into_iter().for_each(|(_, w)| w.wake());
        self.lock()
    }

    fn unknown(&self, ticket: Ticket, issued: u64) -> Error {
        Error::invalid(format!(
            "ticket {} of queue {} on cpu was never given out; the last one is {issued}",
            ticket.value, ticket.queue
        ))
    }

    /// Refuses a ticket that was never given out.
    pub fn known(&self, ticket: Ticket) -> Result<()> {
        let issued = self.lock().issued;
        if ticket.value > issued { Err(self.unknown(ticket, issued)) } else { Ok(()) }
    }

    /// Waits; zero polls. `None`: still pending.
    pub fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let begun = Instant::now();
        let mut s = self.lock();
        if ticket.value > s.issued {
            return Err(self.unknown(ticket, s.issued));
        }
        loop {
            if s.done >= ticket.value {
                return match s.results.get(&ticket.value) {
                    Some(Err(e)) => Err(e.clone()),
                    Some(Ok(_)) => s.results.remove(&ticket.value).transpose(),
                    None => Ok(Some(Completion::default())),
                };
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            if !s.running && left >= TAKE_OVER {
                s = self.run_first(s);
                continue;
            }
            s.waiting += 1;
            s = match self.finished.wait_timeout(s, left) {
                Ok((s, _)) => s,
                Err(e) => e.into_inner().0,
            };
            s.waiting -= 1;
        }
    }

    /// Wakes when the ticket is complete.
    pub fn notify(&self, ticket: Ticket, waker: Waker) {
        let mut s = self.lock();
        if s.done >= ticket.value || ticket.value > s.issued {
            drop(s);
            waker.wake();
        } else {
            s.wakers.push((ticket.value, waker));
        }
    }
}

/// The queue's thread. It holds the queue only while there is something to do.
fn serve(of: &Weak<Queue>) {
    while let Some(queue) = of.upgrade() {
        let mut s = queue.lock();
        while s.pending.is_empty() || s.running {
            if s.closed && s.pending.is_empty() {
                return;
            }
            s.asleep = true;
            s = queue.begin.wait(s).unwrap_or_else(|e| e.into_inner());
            s.asleep = false;
        }
        drop(queue.run_first(s));
    }
}
