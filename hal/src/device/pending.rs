//! A handle to submitted work: wait for it, poll it, await it, read its times. Dropping it neither blocks nor cancels.

use super::{Device, flight::InFlight};
use crate::{Error, Result, Span, Ticket, layer::lock};
use std::{
    fmt,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Work that was submitted.
#[must_use = "without waiting, a failure of this work shows up only at the next download or synchronize"]
pub struct Pending {
    pub(super) device: Device,
    pub(super) work: Option<Arc<InFlight>>,
    /// Which commands each step became; a skipped step became none.
    pub(super) commands: Arc<[Range<usize>]>,
    /// Whom the waiting thread wakes: always who polled last.
    pub(super) watcher: Option<Arc<Mutex<Waker>>>,
}

impl Pending {
    /// Blocks until the work is complete. Errors: what the work failed with, a lost device among it; in a browser, where nothing may
    /// wait, `Timeout` unless it is complete: await it there.
    pub fn wait(&self) -> Result<()> {
        self.wait_up_to(None)
    }

    /// Blocks for at most `limit`; then `Timeout`, and the work goes on.
    pub fn wait_timeout(&self, limit: Duration) -> Result<()> {
        self.wait_up_to(Some(limit))
    }

    fn wait_up_to(&self, limit: Option<Duration>) -> Result<()> {
        let Some(work) = &self.work else { return Ok(()) };
        if !self.device.flight().wait(work, limit) {
            return Err(Error::Timeout {
                what: format!("work {} on {}", work.ticket().value, self.device.info().id),
                after: limit.unwrap_or_default(),
            });
        }
        self.end().unwrap_or(Ok(()))
    }

    /// `None` while it is under way. Never blocks.
    pub fn poll(&self) -> Option<Result<()>> {
        let Some(work) = &self.work else { return Some(Ok(())) };
        self.device.flight().wait(work, Some(Duration::ZERO));
        self.end()
    }

    fn end(&self) -> Option<Result<()>> {
        let end = self.work.as_ref()?.end()?;
        Some(end.as_ref().map(|_| ()).map_err(Clone::clone))
    }

    /// Waits, then gives the time of each step on the device's clock; `None` for a step that needed no command, and
    /// for all steps when no profile was asked for or the device has no clock.
    pub fn spans(&self) -> Result<Vec<Option<Span>>> {
        self.wait()?;
        let empty = Vec::new();
        let spans = match self.work.as_ref().and_then(|w| w.end()) {
            Some(Ok(done)) => &done.spans,
            _ => &empty,
        };
        Ok(self
            .commands
            .iter()
            .map(|range| {
                let of = spans.get(range.clone())?;
                Some(Span { begin: of.iter().map(|s| s.begin).min()?, end: of.iter().map(|s| s.end).max()? })
            })
            .collect())
    }

    /// The ticket; `None` when there was nothing to do.
    pub fn ticket(&self) -> Option<Ticket> {
        self.work.as_ref().map(|w| w.ticket())
    }
}

impl Future for Pending {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(end) = Pending::poll(&self) {
            return Poll::Ready(end);
        }
        let Some(work) = self.work.clone() else { return Poll::Ready(Ok(())) };
        let waker = cx.waker().clone();
        if self.device.flight().notify(&work, waker.clone()) {
            // It may have ended before the device took the waker.
            return Pending::poll(&self).map_or(Poll::Pending, Poll::Ready);
        }
        self.watch(work, waker)
    }
}

impl Pending {
    /// Where the device cannot notify: one thread per handle waits for the work.
    #[cfg(not(target_arch = "wasm32"))]
    fn watch(&mut self, work: Arc<InFlight>, waker: Waker) -> Poll<Result<()>> {
        if let Some(slot) = &self.watcher {
            lock(slot).clone_from(&waker);
            // It may have woken the one before in this moment.
            return Pending::poll(self).map_or(Poll::Pending, Poll::Ready);
        }
        let slot = Arc::new(Mutex::new(waker));
        self.watcher = Some(slot.clone());
        let device = self.device.clone();
        std::thread::spawn(move || {
            device.flight().wait(&work, None);
            lock(&slot).wake_by_ref();
        });
        Poll::Pending
    }

    /// There is one thread: it asks again.
    #[cfg(target_arch = "wasm32")]
    fn watch(&mut self, _: Arc<InFlight>, waker: Waker) -> Poll<Result<()>> {
        waker.wake();
        Poll::Pending
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ticket() {
            Some(t) => write!(f, "Pending {} on {}", t.value, self.device.info().id),
            None => write!(f, "Pending (nothing) on {}", self.device.info().id),
        }
    }
}
