//! What backends above a driver keep behind their integer handles: tables, what memory is left, whether the device is lost; locks that
//! outlive a panic, and waiting with a time limit.
//!
//! For backends only; nothing above the contract sees it.

use crate::{DeviceInfo, Error, Range, RawBuffer, Result};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Locks; a thread that panicked while it held the lock left nothing half done.
pub fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Things by handle. Handles are never zero and never used again.
pub struct Table<T> {
    next: AtomicU64,
    things: RwLock<HashMap<u64, Arc<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { next: AtomicU64::new(1), things: RwLock::default() }
    }
}

impl<T> Table<T> {
    /// An empty table.
    pub fn new() -> Table<T> {
        Table::default()
    }

    /// Takes a thing in; gives its handle.
    pub fn insert(&self, thing: Arc<T>) -> u64 {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.things.write().unwrap_or_else(PoisonError::into_inner).insert(n, thing);
        n
    }

    /// The thing of a handle.
    pub fn get(&self, n: u64) -> Option<Arc<T>> {
        self.things.read().unwrap_or_else(PoisonError::into_inner).get(&n).cloned()
    }

    /// The thing of a handle; `what` is a program, a list.
    ///
    /// # Errors
    /// `InvalidArgument` that names it: there is none of this handle.
    pub fn find(&self, n: u64, device: &str, what: &str) -> Result<Arc<T>> {
        self.get(n).ok_or_else(|| Error::invalid(format!("{device}: {what} {n} does not exist")))
    }

    /// Takes a thing out.
    pub fn remove(&self, n: u64) -> Option<Arc<T>> {
        self.things.write().unwrap_or_else(PoisonError::into_inner).remove(&n)
    }
}

/// A backend's buffer.
pub trait Bytes {
    /// Its size, as it was asked for.
    fn bytes(&self) -> u64;
}

/// Buffers by handle, counted: many drivers promise more memory than there is, or allocate when a buffer is first used and fail too late.
pub struct Buffers<B> {
    table: Table<B>,
    used: AtomicU64,
}

impl<B> Default for Buffers<B> {
    fn default() -> Buffers<B> {
        Buffers { table: Table::new(), used: AtomicU64::new(0) }
    }
}

impl<B: Bytes> Buffers<B> {
    /// Makes a buffer, if the device's limits let.
    ///
    /// # Errors
    /// `InvalidArgument` for none at all, `OutOfMemory` beyond what one buffer or all may have, and what `make` says.
    pub fn create(&self, info: &DeviceInfo, bytes: u64, make: impl FnOnce() -> Result<B>) -> Result<RawBuffer> {
        let m = &info.memory;
        let refuse = |why: String| Error::OutOfMemory { device: info.id.clone(), asked: bytes, why };
        if bytes == 0 {
            return Err(Error::invalid(format!("{}: a buffer of 0 bytes; 1 or more are accepted", info.id)));
        }
        if bytes > m.max_alloc {
            return Err(refuse(format!("one buffer has at most {} bytes", m.max_alloc)));
        }
        let take = |used: u64| used.checked_add(bytes).filter(|n| *n <= m.total);
        if let Err(used) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            return Err(refuse(format!("{used} of {} bytes are taken", m.total)));
        }
        match make() {
            Ok(buffer) => Ok(RawBuffer(self.table.insert(Arc::new(buffer)))),
            Err(e) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(e)
            }
        }
    }

    /// Lets go of a buffer; whoever still works with it holds it.
    pub fn destroy(&self, buffer: RawBuffer) {
        if let Some(b) = self.table.remove(buffer.0) {
            self.used.fetch_sub(b.bytes(), Ordering::Relaxed);
        }
    }

    /// The buffer of a range.
    ///
    /// # Errors
    /// `InvalidArgument`: there is no such buffer, or the range, in bytes, does not lie in it.
    pub fn range(&self, device: &str, r: &Range) -> Result<Arc<B>> {
        let b = self.table.find(r.buffer.0, device, "buffer")?;
        match r.offset.checked_add(r.bytes) {
            Some(end) if end <= b.bytes() => Ok(b),
            _ => Err(Error::invalid(format!(
                "{device}: bytes {} to {} + {} of a buffer of {} bytes",
                r.offset,
                r.offset,
                r.bytes,
                b.bytes()
            ))),
        }
    }
}

/// Whether a device is lost: once it is, every call gives the error that said so first.
#[derive(Default)]
pub struct Fate(OnceLock<Error>);

impl Fate {
    /// Whether it is not lost.
    ///
    /// # Errors
    /// The one by which it was.
    pub fn alive(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |e| Err(e.clone()))
    }

    /// From now on everything fails with this, or with what came before it.
    pub fn lose(&self, e: Error) -> Error {
        self.0.get_or_init(|| e).clone()
    }

    /// Makes a device that its driver calls gone stay gone.
    pub fn note<T>(&self, r: Result<T>) -> Result<T> {
        r.map_err(|e| match e {
            e @ Error::DeviceLost { .. } => self.lose(e),
            e => e,
        })
    }
}

/// A beginning that time limits count from. A browser has no such clock, and nothing there may wait: any limit is up at once.
pub struct Since(Option<Instant>);

impl Since {
    /// From here on.
    pub fn now() -> Since {
        Since((!cfg!(target_arch = "wasm32")).then(Instant::now))
    }

    /// Time since; in a browser, more than any limit.
    pub fn elapsed(&self) -> Duration {
        self.0.map_or(Duration::MAX, |begin| begin.elapsed())
    }

    /// What is left of a limit.
    pub fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.elapsed())
    }
}

/// Asks until it is so or the time is up, for drivers whose own wait takes no time limit. Short work is answered at once; long work by
/// at most a sixteenth late, and its cores are left to it. `false`: the time is up.
///
/// # Errors
/// What `ended` says.
pub fn ask_until(timeout: Duration, mut ended: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begin = Since::now();
    loop {
        if ended()? {
            return Ok(true);
        }
        let waited = begin.elapsed();
        if waited >= timeout {
            return Ok(false);
        }
        if waited < Duration::from_micros(30) {
            std::thread::yield_now();
        } else {
            let nap = (waited / 16).clamp(Duration::from_micros(10), Duration::from_millis(1));
            std::thread::sleep(nap.min(timeout - waited));
        }
    }
}
