//! Memory by lifetime: values in between share slots when they are not needed at the same time.
//!
//! A slot is a buffer of its own and not a part of a larger one: some APIs follow writes per buffer, so that a launch must not
//! read one part of a buffer and write another. A run takes every slot it uses once and keeps it to its end, so that the bytes of
//! the slots are what values in between take at most; a program that recorded its launches keeps them between its runs, too.

use super::{Launch, Temp, ValueRef};
use serde::Serialize;

/// Which slot each value in between takes.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Device and bytes of each slot.
    pub slots: Vec<(usize, u64)>,
    /// Per value that the plan computes: its slot. `None` for results, which outlive the run, and for what is computed
    /// once and kept.
    pub of: Vec<Option<usize>>,
}

impl Layout {
    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().map(|s| s.1).sum()
    }
}

/// What a plan takes in memory, in bytes, over all devices of its chain. What drivers round up is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Values in between, at most: the sum of the slots, which a run holds to its end.
    pub peak: u64,
    /// Slots that they share.
    pub slots: usize,
    /// Values in between.
    pub values: usize,
    /// What they would take if each had a buffer of its own.
    pub naive: u64,
    /// What a run reads, weights apart.
    pub inputs: u64,
    /// Weights.
    pub constants: u64,
    /// Results, which every run takes anew.
    pub outputs: u64,
    /// What libraries of the devices ask for besides; every launch has its own.
    pub workspace: u64,
    /// Values that follow from the weights alone: computed once, kept as long as the program.
    pub settled: u64,
    /// Of the peak, what a program keeps between its runs, since launches that it recorded name it.
    pub kept: u64,
}

/// From the first launch that uses a value to the last.
#[derive(Clone, Copy)]
struct Life {
    temp: usize,
    first: usize,
    last: usize,
    device: usize,
    bytes: u64,
}

/// Gives every value in between a slot. Launches in `settled` belong to another run: what they write has its own memory.
pub fn assign(launches: &[Launch], temps: &[Temp], outputs: &[ValueRef], settled: &[bool]) -> Layout {
    let mut lives: Vec<Option<Life>> = vec![None; temps.len()];
    for (i, l) in launches.iter().enumerate() {
        for v in &l.bindings {
            let ValueRef::Temp(t) = *v else { continue };
            let Temp { bytes, device } = temps[t];
            let life = lives[t].get_or_insert(Life { temp: t, first: i, last: i, device, bytes });
            life.last = i;
        }
    }
    for (l, _) in launches.iter().zip(settled).filter(|(_, settled)| **settled) {
        if let Some(ValueRef::Temp(t)) = l.bindings.last() {
            lives[*t] = None;
        }
    }
    let lives: Vec<Life> = lives.into_iter().flatten().filter(|l| !outputs.contains(&ValueRef::Temp(l.temp))).collect();
    let (by_size, by_time) = (by_size(&lives, temps.len()), by_time(&lives, temps.len()));
    if by_size.bytes() <= by_time.bytes() { by_size } else { by_time }
}

/// The largest first; each into the first slot that is free for all of its life. Slots never grow.
fn by_size(lives: &[Life], temps: usize) -> Layout {
    let mut order = lives.to_vec();
    order.sort_by_key(|l| (std::cmp::Reverse(l.bytes), l.first));
    let mut layout = Layout { slots: vec![], of: vec![None; temps] };
    let mut taken: Vec<Vec<(usize, usize)>> = vec![];
    for l in order {
        // A launch must not write what it reads: lives that share a launch overlap.
        let free = |slot: usize| taken[slot].iter().all(|&(first, last)| last < l.first || l.last < first);
        let slot = (0..taken.len()).find(|&s| layout.slots[s].0 == l.device && free(s)).unwrap_or_else(|| {
            layout.slots.push((l.device, l.bytes));
            layout.slots.len() - 1
        });
        taken.resize_with(layout.slots.len(), Vec::new);
        taken[slot].push((l.first, l.last));
        layout.of[l.temp] = Some(slot);
    }
    layout
}

/// In the order of the launches; each into the smallest free slot that is large enough, else into the largest, which grows.
fn by_time(lives: &[Life], temps: usize) -> Layout {
    let mut order = lives.to_vec();
    order.sort_by_key(|l| (l.first, l.temp));
    let mut layout = Layout { slots: vec![], of: vec![None; temps] };
    let mut busy_until: Vec<usize> = vec![];
    for l in order {
        let fit = (0..busy_until.len())
            .filter(|&s| layout.slots[s].0 == l.device && busy_until[s] < l.first)
            .min_by_key(|&s| {
                let size = layout.slots[s].1;
                if size >= l.bytes { (0, size) } else { (1, u64::MAX - size) }
            });
        let slot = fit.unwrap_or_else(|| {
            layout.slots.push((l.device, 0));
            busy_until.push(0);
            layout.slots.len() - 1
        });
        layout.slots[slot].1 = layout.slots[slot].1.max(l.bytes);
        busy_until[slot] = l.last;
        layout.of[l.temp] = Some(slot);
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(temp: usize, first: usize, last: usize, bytes: u64) -> Life {
        Life { temp, first, last, device: 0, bytes }
    }

    fn sound(lives: &[Life], l: &Layout) {
        for a in lives {
            let slot = l.of[a.temp].expect("every value has a slot");
            assert!(l.slots[slot].1 >= a.bytes);
            for b in lives.iter().filter(|b| b.temp != a.temp && l.of[b.temp] == Some(slot)) {
                assert!(a.last < b.first || b.last < a.first, "{} and {} share a slot and a launch", a.temp, b.temp);
            }
        }
    }

    #[test]
    fn growing_values_take_what_the_two_largest_take() {
        // A chain in which each value is larger than the one before: in the order of time every slot grows.
        let lives: Vec<Life> = (0..6).map(|i| life(i, i, i + 1, 100 << i)).collect();
        let l = by_size(&lives, 6);
        sound(&lives, &l);
        assert_eq!(l.bytes(), 3200 + 1600);
        sound(&lives, &by_time(&lives, 6));
    }

    #[test]
    fn the_better_of_both_orders_is_sound_on_many_graphs() {
        let mut state = 7u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        for _ in 0..200 {
            let lives: Vec<Life> = (0..12)
                .map(|t| {
                    let first = next(20) as usize;
                    life(t, first, first + next(6) as usize, 16 * (1 + next(64)))
                })
                .collect();
            let both = [by_size(&lives, 12), by_time(&lives, 12)];
            both.iter().for_each(|l| sound(&lives, l));
            // No layout can take less than what lives in one launch.
            let floor = (0..26)
                .map(|i| lives.iter().filter(|l| l.first <= i && i <= l.last).map(|l| l.bytes).sum::<u64>())
                .max()
                .unwrap_or(0);
            let got = both.iter().map(Layout::bytes).min().unwrap_or(0);
            assert!(got >= floor);
        }
    }
}
