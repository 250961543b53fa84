//! Spreads a launch's workgroups over blocks and blocks over threads. The result does not depend on either: a
//! workgroup never sees another's registers, and reductions within it have a fixed order.

use super::{check::Checker, exec::Machine, ops::fence, program::Program};
use crate::team::Team;
use anychip_hal::{Error, Result};
use std::sync::{
    Mutex,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

/// A buffer parameter at a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// First element, aligned to it; the caller keeps it alive and within its allocation.
    pub ptr: *mut u8,
    /// Elements.
    pub len: u64,
    /// Nothing writes it while the launch runs: registers may refer to it.
    pub stable: bool,
    /// In checking mode: per byte, whether it was ever written.
    pub shadow: Option<*const AtomicU8>,
}

/// A launch.
pub(crate) struct Launch<'a> {
    pub buffers: Vec<Bound>,
    pub scalars: &'a [u8],
    pub groups: [u32; 3],
    /// The dimension along which workgroups are batched into blocks.
    pub along: usize,
}

// The pointers are to memory that outlives the launch; kernels that race on it get either value, as on any device.
unsafe impl Sync for Launch<'_> {}

/// Bytes that the registers of a block may fill: three quarters of the smallest first-level cache in use, 32 KiB, leave room
/// for what is read and written.
const BLOCK_BYTES: usize = 24 << 10;
/// A workgroup of this many lanes is a block of its own: numbers of the workgroup are then the same for all lanes.
const ENOUGH_LANES: usize = 512;
/// Lane-instructions below which threads cost more than they give (waking one takes about 5 µs).
const INLINE_WORK: u64 = 1 << 17;

/// Runs a launch on `team`, or on this thread alone when it is small.
pub(crate) fn run(p: &Program, mut launch: Launch<'_>, team: &Team, check: bool) -> Result<()> {
    let threads = team.threads() as u64;
    launch.along = launch.groups.iter().position(|&g| g > 1).unwrap_or(0);
    let along = launch.along;
    let total: u64 = launch.groups.iter().map(|&g| g as u64).product();
    let lanes = p.lanes();
    // At least 1 KiB of f32 for each instruction, so that finding it costs little.
    let target = (BLOCK_BYTES / p.lane_bytes.max(1)).clamp(256, super::MAX_BLOCK);
    // Shared memory of a block stays in the second-level cache.
    let room = (128 << 10) / p.shared_bytes.max(1);
    let most = if lanes >= ENOUGH_LANES { 1 } else { (target / lanes).min(room).max(1) } as u64;
    let even = total.div_ceil(threads * 4).max(1);
    let batch = if check { 1 } else { most.min(even).min(launch.groups[along] as u64) } as u32;
    let rows = launch.groups[along].div_ceil(batch) as u64;
    let blocks = rows * (total / launch.groups[along] as u64);
    let others: Vec<usize> = (0..3).filter(|&d| d != along).collect();
    let block = |machine: &mut Machine<'_>, b: u64| {
        let mut first = [0u32; 3];
        if rows == blocks {
            // A line of workgroups, which most launches are: no divisions.
            first[along] = b as u32 * batch;
        } else {
            let (row, rest) = (b % rows, b / rows);
            first[along] = row as u32 * batch;
            first[others[0]] = (rest % launch.groups[others[0]] as u64) as u32;
            first[others[1]] = (rest / launch.groups[others[0]] as u64) as u32;
        }
        machine.run(first, batch.min(launch.groups[along] - first[along]))
    };
    let work = total.saturating_mul(lanes as u64).saturating_mul(p.weight);
    if check || p.ordered || threads == 1 || blocks == 1 || work < INLINE_WORK {
        let checker = check.then(|| Checker::new(p, &launch));
        let mut machine = Machine::new(p, &launch, batch, checker).map_err(|e| *e)?;
        for b in 0..blocks {
            block(&mut machine, b).map_err(|e| *e)?;
        }
        fence();
        return Ok(());
    }
    // Threads take runs of neighbouring blocks; the first fault in block order is reported.
    let chunk = (blocks / (threads * 8)).clamp(1, 64);
    let next = AtomicU64::new(0);
    let fault: Mutex<Option<(u64, Error)>> = Mutex::new(None);
    let report = |b: u64, e: Error| {
        let mut f = fault.lock().unwrap_or_else(|e| e.into_inner());
        if f.as_ref().is_none_or(|(at, _)| b < *at) {
            *f = Some((b, e));
        }
        next.store(blocks, Ordering::Relaxed);
    };
    let worker = || {
        let mut machine = match Machine::new(p, &launch, batch, None) {
            Ok(m) => m,
            Err(e) => return report(0, *e),
        };
        loop {
            let from = next.fetch_add(chunk, Ordering::Relaxed);
            if from >= blocks {
                return fence();
            }
            for b in from..(from + chunk).min(blocks) {
                if let Err(e) = block(&mut machine, b) {
                    return report(b, *e);
                }
            }
        }
    };
    team.together(threads.min(blocks.div_ceil(chunk)).saturating_sub(1) as usize, &worker);
    match fault.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some((_, e)) => Err(e),
        None => Ok(()),
    }
}
