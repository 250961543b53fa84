//! What backends above a driver keep behind their integer handles: tables, what memory is left, whether the device is lost; and locks
//! that outlive a panic.

use crate::{DeviceInfo, Error, Range, RawBuffer, Result};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
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

/// Buffers by handle, counted: many drivers promise more memory than there is, or allocate when a buffer is first used and fail too late.
pub struct Buffers<B> {
    /// With their sizes, as they were asked for.
    table: Table<(Arc<B>, u64)>,
    used: AtomicU64,
}

impl<B> Default for Buffers<B> {
    fn default() -> Buffers<B> {
        Buffers { table: Table::new(), used: AtomicU64::new(0) }
    }
}

impl<B> Buffers<B> {
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
            Ok(buffer) => Ok(RawBuffer(self.table.insert(Arc::new((Arc::new(buffer), bytes))))),
            Err(e) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(e)
            }
        }
    }

    /// Lets go of a buffer; whoever still works with it holds it.
    pub fn destroy(&self, buffer: RawBuffer) {
        if let Some(b) = self.table.remove(buffer.0) {
            self.used.fetch_sub(b.1, Ordering::Relaxed);
        }
    }

    /// The buffer of a range.
    ///
    /// # Errors
    /// `InvalidArgument`: there is no such buffer, or the range, in bytes, does not lie in it.
    pub fn range(&self, device: &str, r: &Range) -> Result<Arc<B>> {
        let held = self.table.find(r.buffer.0, device, "buffer")?;
        let (buffer, bytes) = &*held;
        match r.offset.checked_add(r.bytes) {
            Some(end) if end <= *bytes => Ok(buffer.clone()),
            _ => Err(Error::invalid(format!(
                "{device}: bytes {} to {} + {} of a buffer of {bytes} bytes",
                r.offset, r.offset, r.bytes
            ))),
        }
    }
}

/// The n-th of a device's queues.
///
/// # Errors
/// `InvalidArgument` that says how many there are.
pub fn queue<'q, Q>(queues: &'q [Q], n: u32, device: &str) -> Result<&'q Q> {
    let missing = || Error::invalid(format!("{device}: queue {n}; the number is below {}", queues.len()));
    queues.get(n as usize).ok_or_else(missing)
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
