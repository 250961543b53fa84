//! Packed copies of weights, kept as long as the bytes they were made from.
//!
//! A copy belongs to an allocation and a version of its bytes: every write to a buffer raises its version, so that a buffer that was
//! used again for something else is never taken for the old weight.

use crate::{linalg::PackedB, memory::Slice};
use anychip_hal::Result;
use std::sync::{Arc, Mutex, PoisonError};

struct Entry<T> {
    of: crate::memory::Stamp,
    packed: Arc<T>,
}

/// The packed weights of one program.
pub(super) struct PackedWeights<T = PackedB>(Mutex<Vec<Entry<T>>>);

impl<T> Default for PackedWeights<T> {
    fn default() -> Self {
        PackedWeights(Mutex::default())
    }
}

impl<T> PackedWeights<T> {
    /// The packed form of a binding; made now unless the binding was packed before and not written since.
    pub fn get(&self, weight: &Slice, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let now = weight.stamp();
        {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|e| e.of.is_current());
            if let Some(e) = known.iter().find(|e| e.of == now) {
                return Ok(e.packed.clone());
            }
        }
        let packed = Arc::new(make()?);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(Entry { of: now, packed: packed.clone() });
        Ok(packed)
    }
}
