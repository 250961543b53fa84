//! A plan for a reader: per launch what was fused, which schedule and why, what moves and what it should cost; then memory and
//! what fell back.

use super::{Plan, ValueRef, about::About, memory::Layout, memory::MemoryPlan, snapshot::Snapshot};
use crate::{schedule::roofline::Roofline, tune};
use anychip_hal::{DType, device::Device};
use std::fmt::Write as _;

impl Plan {
    /// What a run takes in memory. `inputs`: how many leaves change from run to run; all others are weights. `None`: leaves that
    /// are constants are weights.
    pub fn report(&self, s: &Snapshot, memory: &Layout, inputs: Option<usize>) -> MemoryPlan {
        let mut m = MemoryPlan {
            peak: memory.bytes(),
            slots: memory.slots.len(),
            values: memory.of.iter().flatten().count(),
            naive: memory.of.iter().zip(&self.temps).filter(|(s, _)| s.is_some()).map(|(_, t)| t.bytes).sum(),
            inputs: 0,
            constants: 0,
            outputs: 0,
            workspace: self.launches.iter().map(|l| l.program.workspace()).sum(),
            settled: 0,
            kept: 0,
        };
        for (n, leaf) in s.leaves.iter().enumerate() {
            let bytes = (leaf.elements() * leaf.dtype().size()) as u64;
            match inputs.map_or(leaf.is_constant(), |inputs| n >= inputs) {
                true => m.constants += bytes,
                false => m.inputs += bytes,
            }
        }
        let mut outputs: Vec<usize> =
            self.outputs.iter().filter_map(|v| if let ValueRef::Temp(t) = v { Some(*t) } else { None }).collect();
        outputs.sort_unstable();
        outputs.dedup();
        m.outputs = outputs.into_iter().map(|t| self.temps[t].bytes).sum();
        m
    }

    /// The plan as text. `settled`: launches that run once.
    pub fn explain(&self, s: &Snapshot, chain: &[Device], memory: &MemoryPlan, settled: &[bool]) -> String {
        let mut text = String::new();
        let rooflines: Vec<Roofline> = chain.iter().map(|d| tune::roofline(d.info())).collect();
        let bytes_of = |v: &ValueRef| match *v {
            ValueRef::Leaf(n) => (s.leaves[n].elements() * s.leaves[n].dtype().size()) as u64,
            ValueRef::Temp(t) => self.temps[t].bytes,
        };
        let mut total = 0.0;
        for (i, l) in self.launches.iter().enumerate() {
            let once = settled.get(i).is_some_and(|s| *s);
            let a = &l.about;
            let bytes = a.bytes.unwrap_or_else(|| l.bindings.iter().map(bytes_of).sum());
            let (seconds, bound) = rooflines[l.device].cost(a.flops.unwrap_or(0.0), bytes as f64, a.dtype);
            if !once {
                total += seconds;
            }
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{i:3}  {}  {}{}{}",
                chain[l.device].info().id,
                a.what,
                fused(a),
                if once { " · computed once: it follows from weights" } else { "" }
            );
            let _ = writeln!(text, "     schedule  {} ({}){}", a.schedule, a.origin, why(a));
            let _ = writeln!(
                text,
                "     moves     {} in {} buffers{}",
                size(bytes),
                l.bindings.len(),
                a.flops.map_or(String::new(), |f| format!(", computes {}", operations(f)))
            );
            let _ = writeln!(text, "     should take {:.1} µs, {bound}", seconds * 1e6);
        }
        let _ = writeln!(text, "all launches should take {:.1} µs", total * 1e6);
        for (d, r) in chain.iter().zip(&rooflines) {
            let source = if r.measured { "measured" } else { "guessed from its class; `anychip tune` measures it" };
            let _ = writeln!(
                text,
                "roofline of {}: {:.0} GFLOP/s in {}, {:.1} GB/s ({source})",
                d.info().id,
                r.peak(DType::F32) / 1e9,
                DType::F32,
                r.bandwidth / 1e9
            );
        }
        let _ = writeln!(
            text,
            "memory: {} at most for {} values in between, in {} slots; {} if each had its own",
            size(memory.peak),
            memory.values,
            memory.slots,
            size(memory.naive)
        );
        let _ = writeln!(
            text,
            "        inputs {}, weights {}, results {}, workspaces {}, computed once and kept {}, kept between runs {}",
            size(memory.inputs),
            size(memory.constants),
            size(memory.outputs),
            size(memory.workspace),
            size(memory.settled),
            size(memory.kept)
        );
        for f in &self.fallbacks {
            let _ = writeln!(text, "fell back: {f}");
        }
        text
    }
}

fn fused(a: &About) -> String {
    // Long chains are cut: what matters is that they are one launch.
    const SHOWN: usize = 12;
    match a.fused.len() {
        0 => String::new(),
        n if n <= SHOWN => format!(" · fused: {}", a.fused.join(", ")),
        n => format!(" · fused: {}, … ({n} operations)", a.fused[..SHOWN].join(", ")),
    }
}

fn why(a: &About) -> String {
    if a.why.is_empty() { String::new() } else { format!(": {}", a.why) }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn operations(flops: f64) -> String {
    match flops {
        f if f < 1e5 => format!("{f:.0} FLOP"),
        f if f < 1e9 => format!("{:.1} MFLOP", f / 1e6),
        f => format!("{:.1} GFLOP", f / 1e9),
    }
}
