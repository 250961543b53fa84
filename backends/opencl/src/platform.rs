//! The opened devices of one platform, and when none of them works.
//!
//! For `Effect::LateBinary` (`quirks.rs`): PoCL compiles for such a binary in the same table in which running launches count
//! themselves, one table for the process, and aborts when a launch ends on an entry that nobody launched. So the
//! binary is asked for while no device of the platform works: meanwhile submissions to any of them wait, which the contract
//! otherwise forbids.

use crate::{device::lock, queue::Queue};
use opencl3::{command_queue as clq, device, types::cl_device_id};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak},
};

/// Every opened device of a platform.
#[derive(Default)]
pub struct Platform {
    launching: RwLock<()>,
    opened: Mutex<Vec<Weak<Vec<Queue>>>>,
}

/// By platform. An entry stays when its last device is closed: there are few.
static PLATFORMS: Mutex<BTreeMap<usize, Arc<Platform>>> = Mutex::new(BTreeMap::new());

impl Platform {
    /// The others of this device's platform; it is one of them from now on.
    pub fn of(device: cl_device_id, queues: &Arc<Vec<Queue>>) -> Arc<Platform> {
        // A driver that does not name its platform is taken for one with others like it.
        let platform = device::get_device_info(device, device::CL_DEVICE_PLATFORM).map_or(0, isize::from);
        let shared = lock(&PLATFORMS).entry(platform as usize).or_default().clone();
        let mut opened = lock(&shared.opened);
        opened.retain(|q| q.strong_count() > 0);
        opened.push(Arc::downgrade(queues));
        drop(opened);
        shared
    }

    /// While this is held, nobody is alone.
    pub fn launching(&self) -> RwLockReadGuard<'_, ()> {
        self.launching.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does this while no device of the platform works; `None` when one of them cannot end its work.
    pub fn alone<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        let _alone = self.launching.write().unwrap_or_else(PoisonError::into_inner);
        let opened: Vec<_> = lock(&self.opened).iter().filter_map(Weak::upgrade).collect();
        for queue in opened.iter().flat_map(|all| all.iter()) {
            clq::finish(queue.raw.0).ok()?;
        }
        Some(what())
    }
}
