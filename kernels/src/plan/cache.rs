//! Plans that were made, found again by the structure of the work and the devices it is for.
//!
//! A hash narrows the search and equality decides, so that no other plan is ever taken for the right one. Nothing is
//! written as text here: small eager work passes on its way to every launch.

use super::{
    Plan, plan,
    snapshot::{Item, Snapshot},
};
use anychip_hal::{Result, device::Device};
use rustc_hash::FxHashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Plans kept; beyond this the cache starts afresh.
const PLANS: usize = 512;

struct Entry {
    items: Vec<Item>,
    outputs: Vec<usize>,
    devices: Vec<u64>,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Cache {
    by_hash: FxHashMap<u64, Vec<Entry>>,
    plans: usize,
}

impl Cache {
    fn find(&self, hash: u64, s: &Snapshot, chain: &[Device]) -> Option<&Arc<Plan>> {
        let found = self.by_hash.get(&hash)?.iter().find(|e| {
            e.devices.iter().copied().eq(chain.iter().map(Device::number)) && s.same_work(&e.items, &e.outputs)
        })?;
        Some(&found.plan)
    }
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Default::default);

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plan for a snapshot.
pub fn planned(s: &Snapshot, chain: &[Device]) -> Result<Arc<Plan>> {
    let hash = s.hash();
    if let Some(plan) = cache().find(hash, s, chain) {
        return Ok(plan.clone());
    }
    let plan = Arc::new(plan(s, chain, None)?);
    let entry = Entry {
        items: s.items.clone(),
        outputs: s.outputs.clone(),
        devices: chain.iter().map(Device::number).collect(),
        plan: plan.clone(),
    };
    let mut cache = cache();
    // Programs are freed outside the lock.
    let mut old = FxHashMap::default();
    // Another thread may have made it meanwhile.
    if cache.find(hash, s, chain).is_none() {
        if cache.plans >= PLANS {
            old = std::mem::take(&mut cache.by_hash);
            cache.plans = 0;
        }
        cache.plans += 1;
        cache.by_hash.entry(hash).or_default().push(entry);
    }
    drop(cache);
    drop(old);
    Ok(plan)
}

/// Forgets every plan made for a device, and with them its programs.
pub fn forget(device: &Device) {
    let mut gone = vec![];
    let mut cache = cache();
    for entries in cache.by_hash.values_mut() {
        gone.extend(entries.extract_if(.., |e| e.devices.contains(&device.number())));
    }
    cache.by_hash.retain(|_, entries| !entries.is_empty());
    cache.plans -= gone.len();
    drop(cache);
    drop(gone);
}
