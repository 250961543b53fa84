//! Memory by lifetime: values in between share slots when they are not needed at the same time.
//!
//! A slot is a buffer of its own and not a part of a larger one: some APIs follow writes per buffer, so that a launch must not
//! read one part of a buffer and write another.

use super::{Launch, Temp, ValueRef};

/// Gives every value that is no output a slot; returns device and bytes of each slot.
pub fn assign(launches: &[Launch], temps: &mut [Temp], outputs: &[ValueRef]) -> Vec<(usize, u64)> {
    let mut last_use = vec![0; temps.len()];
    for (i, l) in launches.iter().enumerate() {
        for v in &l.bindings {
            if let ValueRef::Temp(t) = v {
                last_use[*t] = i;
            }
        }
    }
    let mut slots: Vec<(usize, u64)> = vec![];
    let mut free: Vec<usize> = vec![];
    let mut placed = vec![false; temps.len()];
    for (i, l) in launches.iter().enumerate() {
        for v in &l.bindings {
            let ValueRef::Temp(t) = *v else { continue };
            if placed[t] || outputs.contains(v) {
                continue;
            }
            placed[t] = true;
            let (device, bytes) = (temps[t].device, temps[t].bytes);
            // The smallest that is large enough; else the largest, which grows.
            let fit = free
                .iter()
                .enumerate()
                .filter(|(_, s)| slots[**s].0 == device)
                .min_by_key(|(_, s)| {
                    let size = slots[**s].1;
                    if size >= bytes { (0, size) } else { (1, u64::MAX - size) }
                })
                .map(|(n, _)| n);
            let slot = match fit {
                Some(n) => free.swap_remove(n),
                None => {
                    slots.push((device, 0));
                    slots.len() - 1
                }
            };
            slots[slot].1 = slots[slot].1.max(bytes);
            temps[t].slot = Some(slot);
        }
        // Only after the launch: it must not write what it reads.
        let mut ended: Vec<usize> = l
            .bindings
            .iter()
            .filter_map(|v| match *v {
                ValueRef::Temp(t) if last_use[t] == i => temps[t].slot,
                _ => None,
            })
            .collect();
        ended.sort_unstable();
        ended.dedup();
        free.extend(ended);
    }
    slots
}
