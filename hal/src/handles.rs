//! What every backend keeps behind its integer handles: a table, and locks that outlive a panic.
//!
//! For backends only; nothing above the contract sees it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
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

    /// Takes a thing out.
    pub fn remove(&self, n: u64) -> Option<Arc<T>> {
        self.things.write().unwrap_or_else(PoisonError::into_inner).remove(&n)
    }
}
