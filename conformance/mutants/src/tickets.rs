//! Work that is said to be done too early, never, or in times that were made up.

use crate::{
    Mutant,
    layer::{Broken, Fault, lock},
};
use anychip::{
    Error, Result,
    hal::{Completion, Memory, RawBuffer, RawDevice, Span, Submission, Ticket},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

struct Early(Arc<dyn RawDevice>);

impl Fault for Early {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn wait(&self, ticket: Ticket, _: Duration) -> Result<Option<Completion>> {
        Ok(Some(self.0.wait(ticket, Duration::ZERO)?.unwrap_or_default()))
    }
}

struct Falling(Arc<dyn RawDevice>);

impl Falling {
    fn turned(t: Ticket) -> Ticket {
        Ticket { value: (1 << 40) - t.value, ..t }
    }
}

impl Fault for Falling {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        let after: Vec<Ticket> = work.after.iter().map(|t| Falling::turned(*t)).collect();
        self.0.submit(&Submission { after: &after, ..*work }).map(Falling::turned)
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        self.0.wait(Falling::turned(ticket), timeout)
    }
    fn notify(&self, ticket: Ticket, waker: Waker) -> bool {
        self.0.notify(Falling::turned(ticket), waker)
    }
}

struct Forgets {
    good: Arc<dyn RawDevice>,
    told: Mutex<HashSet<Ticket>>,
}

impl Fault for Forgets {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        if lock(&self.told).contains(&ticket) {
            return Err(Error::invalid(format!("ticket {} is not known", ticket.value)));
        }
        let end = self.good.wait(ticket, timeout)?;
        if end.is_some() {
            lock(&self.told).insert(ticket);
        }
        Ok(end)
    }
}

struct BlocksOnPoll(Arc<dyn RawDevice>);

impl Fault for BlocksOnPoll {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        // A timeout of zero means for ever, as it does in some interfaces, and nobody signals: until somebody ends the process.
        if timeout.is_zero() {
            std::thread::sleep(Duration::from_secs(3600));
        }
        self.0.wait(ticket, timeout)
    }
}

struct NeverWakes(Arc<dyn RawDevice>);

impl Fault for NeverWakes {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn notify(&self, _: Ticket, _: Waker) -> bool {
        true
    }
}

struct KnowsAll(Arc<dyn RawDevice>);

impl Fault for KnowsAll {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        match self.0.wait(ticket, timeout) {
            Err(Error::InvalidArgument(_)) => Ok(Some(Completion::default())),
            end => end,
        }
    }
}

struct IgnoresAfter {
    good: Arc<dyn RawDevice>,
    held: Mutex<HashMap<u32, u64>>,
}

impl Fault for IgnoresAfter {
    fn good(&self) -> &dyn RawDevice {
        &*self.good
    }
    fn submit(&self, work: &Submission<'_>) -> Result<Ticket> {
        *lock(&self.held).entry(work.queue).or_default() += 1;
        self.good.submit(&Submission { after: &[], ..*work })
    }
}

/// Times on their way to the caller.
struct Times(Arc<dyn RawDevice>, fn(&mut Completion));

impl Fault for Times {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn wait(&self, ticket: Ticket, timeout: Duration) -> Result<Option<Completion>> {
        let mut end = self.0.wait(ticket, timeout)?;
        if let Some(done) = &mut end {
            (self.1)(done);
        }
        Ok(end)
    }
}

struct Swallows(Arc<dyn RawDevice>);

impl Fault for Swallows {
    fn good(&self) -> &dyn RawDevice {
        &*self.0
    }
    fn host_write(&self, buffer: RawBuffer, at: u64, from: &[u8]) -> Result<()> {
        let _ = self.0.host_write(buffer, at, from);
        Ok(())
    }
    fn host_read(&self, buffer: RawBuffer, at: u64, to: &mut [u8]) -> Result<()> {
        let _ = self.0.host_read(buffer, at, to);
        Ok(())
    }
    fn alloc(&self, bytes: u64, memory: Memory) -> Result<RawBuffer> {
        self.0.alloc(bytes, memory)
    }
}

/// A clock that counts on from work to work.
static CLOCK: AtomicU64 = AtomicU64::new(0);

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "ticket-early",
        fault: "Work is said to be complete as soon as somebody asks.",
        area: &["runtime/contract/tickets"],
        killers: &["runtime/contract/tickets/any/complete-means-done"],
        make: |good| Arc::new(Broken(Early(good))),
    },
    Mutant {
        name: "tickets-fall",
        fault: "Later work has a smaller ticket.",
        area: &["runtime/contract/tickets/any/rise"],
        killers: &["runtime/contract/tickets/any/rise"],
        make: |good| Arc::new(Broken(Falling(good))),
    },
    Mutant {
        name: "signal-lost-after-a-wait",
        fault: "A ticket that was waited for is not known any more.",
        area: &["runtime/contract/tickets/any/waited-for-again"],
        killers: &["runtime/contract/tickets/any/waited-for-again"],
        make: |good| Arc::new(Broken(Forgets { good, told: Mutex::default() })),
    },
    Mutant {
        name: "zero-timeout-waits-for-ever",
        fault: "A timeout of zero is taken for none.",
        area: &["runtime/order/wait/u32/zero-timeout"],
        killers: &["runtime/order/wait/u32/zero-timeout"],
        make: |good| Arc::new(Broken(BlocksOnPoll(good))),
    },
    Mutant {
        name: "waker-lost",
        fault: "The device takes a waker and does not wake it.",
        area: &["runtime/contract/tickets/any/wakes"],
        killers: &["runtime/contract/tickets/any/wakes"],
        make: |good| Arc::new(Broken(NeverWakes(good))),
    },
    Mutant {
        name: "unknown-tickets-complete",
        fault: "A ticket that was never given out is complete.",
        area: &["runtime/contract/tickets"],
        killers: &["runtime/contract/tickets/any/never-given"],
        make: |good| Arc::new(Broken(KnowsAll(good))),
    },
    Mutant {
        name: "queues-do-not-wait",
        fault: "Work does not wait for that of another queue.",
        area: &["runtime/contract/queues"],
        killers: &["runtime/contract/queues/any/after"],
        make: |good| Arc::new(Broken(IgnoresAfter { good, held: Mutex::default() })),
    },
    Mutant {
        name: "times-invented",
        fault: "Every launch takes a microsecond by the device's clock.",
        area: &["runtime/clock"],
        killers: &["runtime/clock/growth/any/64-times-the-work"],
        make: |good| {
            Arc::new(Broken(Times(good, |done| {
                for s in &mut done.spans {
                    let begin = CLOCK.fetch_add(1000, Ordering::Relaxed);
                    *s = Span { begin, end: begin + 1000 };
                }
            })))
        },
    },
    Mutant {
        name: "times-backwards",
        fault: "Times begin when the work ends.",
        area: &["runtime/clock"],
        killers: &["runtime/clock/spans/any/one-per-step"],
        make: |good| {
            Arc::new(Broken(Times(good, |done| {
                done.spans.iter_mut().for_each(|s| (s.begin, s.end) = (s.end + 1, s.begin));
            })))
        },
    },
    Mutant {
        name: "times-missing",
        fault: "The last command of a submission has no time.",
        area: &["runtime/clock"],
        killers: &["runtime/clock/spans/any/one-per-step"],
        make: |good| {
            Arc::new(Broken(Times(good, |done| {
                done.spans.pop();
            })))
        },
    },
    Mutant {
        name: "secret-fallback",
        fault: "Launches are computed by the host; the device's clock shows only the handing over.",
        area: &["runtime/clock/growth"],
        killers: &["runtime/clock/growth/any/follows-the-host"],
        make: |good| {
            Arc::new(Broken(Times(good, |done| {
                done.spans.iter_mut().for_each(|s| s.end = s.begin + (s.end - s.begin) / 40);
            })))
        },
    },
    Mutant {
        name: "error-swallowed",
        fault: "Errors of the host's reads and writes are lost: the call says that all is well.",
        area: &["runtime/contract/host"],
        killers: &["runtime/contract/host/any/past-end"],
        make: |good| Arc::new(Broken(Swallows(good))),
    },
];
