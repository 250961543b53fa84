//! Work under way: what it keeps alive, how it ends, and how a lost device ends all of it.
//!
//! Everything that a submission uses is held here until its ticket is complete; it is looked through at each submit,
//! poll and wait. A failure that nobody looked at is not forgotten: the next call that waits reports it.

use super::{Buffer, Program, Recorded};
use crate::{Completion, Error, RawDevice, Result, Submission, Ticket, Work, layer::lock, wait::Since};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, TryLockError},
    time::Duration,
};

/// What a submission uses.
#[derive(Default)]
pub(super) struct Keep {
    pub buffers: Vec<Buffer>,
    pub programs: Vec<Program>,
    pub _recorded: Option<Recorded>,
}

/// A submission and, once known, its end.
pub(super) struct InFlight {
    ticket: Ticket,
    end: OnceLock<Result<Completion>>,
    /// Held by whoever asks the device, because spans are given out once.
    asking: Mutex<()>,
    seen: OnceLock<()>,
    unseen: Arc<Mutex<Option<Error>>>,
}

impl InFlight {
    /// The end, if it is known; the asker has now seen it.
    pub fn end(&self) -> Option<&Result<Completion>> {
        let end = self.end.get();
        if end.is_some() {
            let _ = self.seen.set(());
        }
        end
    }

    pub fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let (Some(Err(e)), None) = (self.end.get(), self.seen.get()) {
            lock(&self.unseen).get_or_insert_with(|| e.clone());
        }
    }
}

/// All work under way on one opened device.
pub(super) struct Flight {
    raw: Arc<dyn RawDevice>,
    queue: Mutex<VecDeque<(Arc<InFlight>, Keep)>>,
    lost: OnceLock<Error>,
    unseen: Arc<Mutex<Option<Error>>>,
}

/// How long one question to the device lasts, so that several threads may wait for the same ticket.
const SLICE: Duration = Duration::from_millis(20);
/// How long the last handle waits for work that is still under way before it gives up its memory instead.
const FAREWELL: Duration = Duration::from_secs(30);

impl Flight {
    pub fn new(raw: Arc<dyn RawDevice>) -> Flight {
        Flight { raw, queue: Mutex::default(), lost: OnceLock::new(), unseen: Arc::default() }
    }

    /// Fails once the device is lost.
    pub fn alive(&self) -> Result<()> {
        match self.lost.get() {
            Some(e) => Err(e.clone()),
            None => Ok(()),
        }
    }

    /// Passes an error on and remembers a loss; the first reason stays.
    pub fn note(&self, e: Error) -> Error {
        if e.is_lost() { self.lost.get_or_init(|| e).clone() } else { e }
    }

    /// A failure of work that nobody waited for, once.
    pub fn unseen(&self) -> Result<()> {
        match lock(&self.unseen).take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Submits. `keep` lives until the work is complete.
    pub fn submit(&self, work: Work<'_>, profile: bool, keep: Keep) -> Result<Arc<InFlight>> {
        self.alive()?;
        self.retire();
        // The lock makes the list's order the order of tickets.
        let mut queue = lock(&self.queue);
        let submission = Submission { queue: 0, after: &[], work, profile };
        let ticket = match self.raw.submit(&submission) {
            Ok(t) => t,
            Err(e) => {
                drop(queue);
                let e = self.note(e);
                self.retire();
                return Err(e);
            }
        };
        let flight = Arc::new(InFlight {
            ticket,
            end: OnceLock::new(),
            asking: Mutex::new(()),
            seen: OnceLock::new(),
            unseen: self.unseen.clone(),
        });
        queue.push_back((flight.clone(), keep));
        Ok(flight)
    }

    /// Asks the device once, for at most `timeout`. True when the end is known.
    fn ask(&self, work: &InFlight, timeout: Duration) -> bool {
        if work.end.get().is_some() {
            return true;
        }
        let _asking = if timeout.is_zero() {
            match work.asking.try_lock() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(p)) => p.into_inner(),
                // Someone waits for it and will write down the end.
                Err(TryLockError::WouldBlock) => return work.end.get().is_some(),
            }
        } else {
            lock(&work.asking)
        };
        if work.end.get().is_some() {
            return true;
        }
        let end = match self.alive() {
            Err(e) => Err(e),
            Ok(()) => match self.raw.wait(work.ticket, timeout) {
                Ok(None) => return false,
                Ok(Some(done)) => Ok(done),
                Err(e) => Err(self.note(e)),
            },
        };
        let _ = work.end.set(end);
        true
    }

    /// Lets go of what finished work kept. Never blocks.
    pub fn retire(&self) {
        let mut done = Vec::new();
        {
            let mut queue = lock(&self.queue);
            while let Some((front, _)) = queue.front() {
                if !self.ask(front, Duration::ZERO) {
                    break;
                }
                done.extend(queue.pop_front());
            }
        }
        // Buffers are freed here, outside the lock.
        drop(done);
    }

    /// Waits for one piece of work. `false`: the time ran out.
    pub fn wait(&self, work: &InFlight, limit: Option<Duration>) -> bool {
        let begin = Since::now();
        loop {
            let left = begin.left(limit.unwrap_or(Duration::MAX)).min(SLICE);
            let done = self.ask(work, left);
            if done || left.is_zero() {
                self.retire();
                return done;
            }
        }
    }

    /// Waits for everything submitted so far, however it ends. `false`: nothing may wait here, and it goes on.
    pub fn drain(&self) -> bool {
        let last = lock(&self.queue).back().map(|(work, _)| work.clone());
        let ended = last.is_none_or(|work| self.wait(&work, None));
        self.retire();
        ended
    }

    /// Waits for everything submitted so far; then reports a failure that nobody saw.
    pub fn synchronize(&self) -> Result<()> {
        let ended = self.drain();
        self.alive()?;
        self.unseen()?;
        match ended {
            true => Ok(()),
            false => Err(Error::Timeout {
                what: "the work under way (a browser lets nothing wait: await its Pending)".into(),
                after: Duration::ZERO,
            }),
        }
    }

    pub fn notify(&self, work: &InFlight, waker: std::task::Waker) -> bool {
        self.raw.notify(work.ticket, waker)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let last = lock(&self.queue).back().map(|(work, _)| work.clone());
        let ended = last.is_none_or(|work| self.wait(&work, Some(FAREWELL)));
        if !ended {
            // The device hangs: memory that it may still write must not be freed.
            std::mem::forget(std::mem::take(&mut *lock(&self.queue)));
        }
    }
}
